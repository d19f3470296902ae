//! Deliveries: started as the schedule allows, and what came of them.

use super::{Event, Manager};
use crate::entry::{JobId, Line, failure};
use crate::leaving::with_generic_addresses;
use crate::schedule::Reached;
use mail_types::{ByMode, Failure, Outcome, QueueId};
use outbound::{Attempt, Message};
use spool::outcome::{Record, What};

/// A job whose partner was lost in the middle is begun anew so often before its recipients are deferred: a message that
/// brings the partner down must not stand in everybody's way.
const LOST: u8 = 10;

impl Manager {
    pub(super) fn start_deliveries(&mut self) {
        while let Some((to, job)) = self.schedule.next(self.now.ms) {
            let entry = self.entries.get(&job.id);
            let Some(active) = self.active.get(&job.id).filter(|_| entry.is_some_and(|e| !e.delete && !e.hold)) else {
                self.schedule.done(self.now.ms, &to, &job, Reached::Untried);
                self.not_wanted(job);
                continue;
            };
            let envelope = &active.stored.envelope;
            if envelope.wishes.is_given_up(self.now.unix()) {
                self.schedule.done(self.now.ms, &to, &job, Reached::Untried);
                self.decide_job(job.id, job.at(), &super::load::too_late());
                self.conclude_if_done(job.id);
                continue;
            }
            let message = Message {
                id: job.id,
                sender: envelope.sender.clone(),
                body_type: envelope.body,
                smtputf8: envelope.smtputf8,
                ret: envelope.ret,
                envid: envelope.envid.clone(),
                wishes: envelope.wishes,
                accepted_seconds: envelope.arrived_micros / 1_000_000,
                repeat: entry.is_some_and(|e| e.repeat) || active.jobs[job.at()].lost > 0,
                named_by: active.jobs[job.at()].named_by,
                client: self.settings().xforward.then(|| envelope.client.clone()),
                body: active.body.clone(),
            };
            let members = &active.jobs[job.at()].members;
            let recipients: Vec<_> = members.iter().map(|at| active.recipients[*at].recipient.clone()).collect();
            let (outbound, events) = (self.carriers.outbound.clone(), self.events.clone());
            // A content filter gets the message as it is, and hands it back so.
            let generic = !to.to.is_lmtp() && envelope.filter.is_none() && self.carriers.router.has_generic();
            let router = generic.then(|| self.carriers.router.clone());
            self.in_flight += 1;
            // Boxed: a task is moved several times on its way, and a delivery is some kilobytes.
            tokio::spawn(Box::pin(async move {
                let count = recipients.len();
                let leaving = match router {
                    Some(router) => Box::pin(with_generic_addresses(&router, message, recipients)).await,
                    None => Ok((message, recipients)),
                };
                let attempt = match leaving {
                    Ok((message, recipients)) => outbound.deliver(&to.to, &message, &recipients).await,
                    Err(outcome) => Attempt::untried(outcome, count),
                };
                let _ = events.send(Event::Delivered { job, to, attempt });
            }));
        }
    }

    pub(super) fn delivered(&mut self, job: JobId, to: Line, attempt: Attempt) {
        self.in_flight -= 1;
        let Some(active) = self.active.get_mut(&job.id) else {
            self.schedule.done(self.now.ms, &to, &job, Reached::Untried);
            return;
        };
        let partner = active.jobs[job.at()].partner;
        let Attempt { outcomes, relay, reached, untried, recognises, repeatable, unreadable, passed_on, told_time, trouble, .. } = attempt;
        let from_somebody = active.stored.envelope.sender.is_some();
        // Lost connections are the partner's, not the message's; what cannot be read here is neither's.
        let lost = |outcome: &Outcome| matches!(outcome, Outcome::Deferred(failure) if failure.remote.is_none());
        let was_lost = partner && !unreadable && !untried && outcomes.iter().any(lost);
        // Others than our deliver would file it once more each time (Dovecot): that waits as long as any other failure.
        let again = was_lost && (!reached || (repeatable && active.jobs[job.at()].lost < LOST));
        let by = active.stored.envelope.wishes.deliver_by;
        // RFC 2852 §4.1.4: a host that knows nothing of the time will not tell when it is over.
        let traced = |told: bool| by.is_some_and(|by| by.trace || (by.mode == ByMode::Notify && !told && !by.is_over(self.now.unix())));
        for (at, (passed_on, told)) in active.jobs[job.at()].members.iter().zip(passed_on.into_iter().zip(told_time)) {
            let target = &mut active.recipients[*at];
            (target.passed_on, target.traced, target.untold) = (passed_on, traced(told), untried);
        }
        // Not of notices and bounces: they would breed.
        if let Some(trouble) = trouble.filter(|_| from_somebody) {
            self.tell_of(job.id, trouble);
        }
        if again || (!reached && !untried) {
            self.note_unreached(&to, outcomes.iter().find_map(failure), partner);
        } else if self.announced_down.remove(&to) {
            tracing::info!(relay = %to, "it answers again");
        }
        if reached {
            self.schedule.set_recognises(&to, recognises);
        }
        if reached && !was_lost {
            self.unreached.remove(&to);
            self.partner_is_back(&to);
        }
        let members = self.active[&job.id].jobs[job.at()].members.clone();
        if again {
            self.start_again(job, &to, reached, outcomes, relay);
            self.note_delivered(job.id, &members);
        } else {
            let others = self.active[&job.id].outstanding > 1;
            for (at, outcome) in members.iter().zip(outcomes) {
                self.take_outcome(job.id, *at, outcome, relay.clone());
            }
            if let Some(active) = self.active.get_mut(&job.id) {
                active.outstanding -= 1;
            }
            if others {
                self.note_delivered(job.id, &members);
            }
            let learnt = match (untried, reached && !was_lost) {
                (true, _) => Reached::Untried,
                (_, true) => Reached::Yes,
                (_, false) => Reached::No,
            };
            let (back, until) = self.schedule.done(self.now.ms, &to, &job, learnt);
            self.hand_back(back, until);
        }
        self.conclude_if_done(job.id);
    }

    /// Journals what was delivered while other recipients of the message are still waited for, which may be for hours: a restart must
    /// not deliver it again. A recipient whose sender wants to hear of success is journalled with that notification.
    fn note_delivered(&mut self, id: QueueId, members: &[usize]) {
        let Some(active) = self.active.get(&id) else { return };
        let done: Vec<_> = members
            .iter()
            .map(|at| &active.recipients[*at])
            .filter(|t| matches!(t.result, Some(Outcome::Delivered { .. })) && !t.wants_success())
            .map(|t| (t.key, t.relayed))
            .collect();
        for (key, relayed) in done {
            self.note(Record::Done { id, what: What::Delivered, key }, relayed);
        }
    }

    /// Jobs of a destination that is dead or absent.
    fn hand_back(&mut self, jobs: Vec<JobId>, until: u64) {
        for job in jobs {
            self.not_tried(job, until);
            self.conclude_if_done(job.id);
        }
    }

    /// The partner was not there, or was lost: what is undecided goes back into its line. A message in whose middle the partner was lost
    /// may be the reason for that, so that the others go first.
    fn start_again(&mut self, job: JobId, to: &Line, reached: bool, outcomes: Vec<Outcome>, relay: Option<String>) {
        let members = self.active[&job.id].jobs[job.at()].members.clone();
        let mut rest = Vec::new();
        for (at, outcome) in members.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Deferred(failure) if failure.remote.is_none() => rest.push(at),
                outcome => self.take_outcome(job.id, at, outcome, relay.clone()),
            }
        }
        if let Some(active) = self.active.get_mut(&job.id) {
            active.jobs[job.at()].members = rest;
            active.jobs[job.at()].lost += u8::from(reached);
        }
        let (back, until) = self.schedule.again(self.now.ms, to, job, !reached);
        self.hand_back(back, until);
    }

    fn note_unreached(&mut self, to: &Line, why: Option<&Failure>, partner: bool) {
        let Some(why) = why else { return };
        if partner && self.announced_down.insert(to.clone()) {
            tracing::warn!(relay = %to, reason = %why.reason, "it does not answer; mail for it waits and is tried every moment");
        }
        if self.unreached.len() < 10_000 {
            self.unreached.insert(to.clone(), why.clone());
        }
    }

    fn take_outcome(&mut self, id: QueueId, at: usize, outcome: Outcome, relay: Option<String>) {
        let Some(active) = self.active.get_mut(&id) else { return };
        let target = &mut active.recipients[at];
        target.result = Some(outcome);
        target.relay = relay;
        self.log_outcome(id, at, None);
    }

    /// One line per recipient and attempt, with the words that administrators know.
    pub(super) fn log_outcome(&self, id: QueueId, at: usize, verdict: Option<&str>) {
        let Some(active) = self.active.get(&id) else { return };
        let target = &active.recipients[at];
        let Some(result) = &target.result else { return };
        let delay = self.now.unix_micros.saturating_sub(active.stored.envelope.arrived_micros) / 10_000;
        let (status, dsn, said): (_, _, std::borrow::Cow<'_, str>) = match result {
            Outcome::Delivered { reply } => ("sent", reply.enhanced().map_or("2.0.0".into(), |e| e.to_string()), reply.to_string().into()),
            Outcome::Deferred(failure) => ("deferred", failure.status.to_string(), failure.reason.as_str().into()),
            Outcome::Bounced(failure) => ("bounced", failure.status.to_string(), failure.reason.as_str().into()),
        };
        let status = verdict.unwrap_or(status);
        let original = target.recipient.orcpt.as_deref().and_then(|o| o.split_once(';')).map_or("", |(_, address)| address);
        tracing::info!(
            queue_id = id.as_str(),
            to = %target.recipient.address,
            orig_to = %mail_types::printable(original),
            relay = target.relay.as_deref().unwrap_or("none"),
            delay = format_args!("{}.{:02}", delay / 100, delay % 100),
            dsn,
            status,
            reply = %said,
            "{}",
            match status {
                "sent" => "delivered",
                other => other,
            }
        );
    }
}
