//! The end of an attempt: outcomes are noted, the sender is told, the message goes or waits.
//!
//! Order: notifications are durable before the outcome `bounced` is noted; outcomes are synced before a queue file is
//! removed or a segment reported finished; a message is in its queue file, synced, before its record is settled.

use super::{BATCH, Event, Manager};
use crate::entry::{Active, Entry, Place, State, Target, failure};
use crate::journal::Spot;
use crate::notify::{self, Kind};
use mail_types::{ByMode, DeliverBy, EnhancedCode, Outcome, QueueId};
use outbound::Body;
use spool::Stored;
use spool::outcome::{Record, What, recipient_key};
use std::sync::Arc;

/// When a message whose notifications could not be written is concluded again.
const REPORT_AGAIN_MS: u64 = 5_000;

/// An attempt whose notifications are being written.
pub struct Conclusion {
    active: Active,
    notifications: Vec<QueueId>,
    /// Recipients that are given up now, with a last temporary failure.
    expired: bool,
    warned: bool,
    /// Only a partner could not tell: why.
    stalled: Option<String>,
}

/// A message on its way from the journal to a queue file.
pub struct Move {
    id: QueueId,
    stored: Stored,
    body: Arc<[u8]>,
    memory_bytes: usize,
    then: Then,
}

#[derive(Clone)]
enum Then {
    Defer { next_unix: u64, due: u64, reasons: Vec<(u64, Arc<str>)> },
    Hold,
}

impl Manager {
    pub(super) fn conclude_if_done(&mut self, id: QueueId) {
        if self.active.get(&id).is_some_and(|a| a.outstanding == 0) && !self.concluding.contains_key(&id) {
            self.conclude(id);
        }
    }

    fn conclude(&mut self, id: QueueId) {
        let Some(entry) = self.entries.get(&id).copied() else { return drop(self.deactivate(&id)) };
        if entry.delete {
            return self.delete_now(id);
        }
        // Its body is in memory, and counted, until the message is gone, waits or is in its file.
        let Some(active) = self.active.remove(&id) else { return };
        let untold = is_untold(&active);
        let stalled = (untold && self.may_stall(&entry) && !entry.hold).then(|| {
            let why = active.recipients.iter().filter_map(|t| t.result.as_ref().and_then(failure)).next();
            why.map_or_else(String::new, |failure| failure.reason.clone())
        });
        if !untold && entry.stalled_since > 0 {
            self.release_stalled();
        }
        let envelope = &active.stored.envelope;
        let (arrived, is_bounce) = (notify::began_seconds(envelope), envelope.sender.is_none());
        let backoff = self.settings().backoff;
        // What is held has not failed, and what has stalled has not been tried.
        let any_deferred = stalled.is_none() && !entry.hold && active.recipients.iter().any(is_deferred);
        let over = entry.expire || backoff.is_over(self.now.unix(), arrived, entry.attempts + 1, is_bounce);
        let expired = any_deferred && over;
        let known = self.outcomes.ledger().get(&id);
        // Who said when to be told is told then.
        let late = match envelope.wishes.deliver_by {
            Some(DeliverBy { mode: ByMode::Notify, .. }) => notify::is_late_by_wish(envelope, self.now.unix()),
            _ => self.settings().delay_warning.is_some_and(|after| self.now.unix() >= arrived + after.as_secs()),
        };
        let warn = any_deferred && !expired && late && !known.is_some_and(|m| m.warned);
        let mut written = Vec::new();
        let kinds =
            [(Kind::Failure, true), (Kind::Success, true), (Kind::Delay, warn), (Kind::BounceNotice, true), (Kind::DelayNotice, warn)];
        for (kind, applies) in kinds {
            if applies && let Some(notification) = self.notification(kind, expired, &active) {
                written.push(notification);
            }
        }
        let notifications: Vec<QueueId> = written.iter().map(|(stored, _)| stored.envelope.id).collect();
        // Those that were written before a crash and delivered since are not written again.
        written.retain(|(stored, _)| {
            let id = &stored.envelope.id;
            !self.outcomes.ledger().is_removed(id) && !self.entries.contains_key(id)
        });
        let conclusion = Conclusion { active, notifications, expired, warned: warn, stalled };
        if written.is_empty() {
            return self.finish(id, conclusion);
        }
        self.concluding.insert(id, conclusion);
        let (files, events) = (self.files.clone(), self.events.clone());
        tokio::task::spawn_blocking(move || {
            let _ = events.send(Event::Reported(id, files.write(&written)));
        });
    }

    fn notification(&self, kind: Kind, expired: bool, active: &Active) -> Option<(Stored, Arc<[u8]>)> {
        let settings = self.settings();
        let to = notify::addressee(kind, &active.stored, settings)?;
        let concerns = |target: &&Target| match (kind, &target.result) {
            (Kind::Failure | Kind::BounceNotice, Some(Outcome::Bounced(_))) => true,
            (Kind::Failure | Kind::BounceNotice, Some(Outcome::Deferred(_))) => expired,
            (Kind::Success, Some(Outcome::Delivered { .. })) => true,
            (Kind::Delay | Kind::DelayNotice, Some(Outcome::Deferred(_))) => true,
            _ => false,
        };
        let to_postmaster = active.stored.envelope.sender.is_none();
        let targets: Vec<&Target> = active.recipients.iter().filter(concerns).filter(|t| to_postmaster || notify::wants(kind, t)).collect();
        if targets.is_empty() {
            return None;
        }
        let (stored, body) = notify::build(kind, &to, active, &targets, self.now, settings);
        let about = active.stored.envelope.id;
        tracing::info!(queue_id = %about, notification = %stored.envelope.id, to = %to, kind = ?kind, "sender notification");
        Some((stored, body))
    }

    /// Notifications are durable, or cannot be written now. Then the message gives up its place and its memory; what became of its
    /// recipients is remembered, so that nobody is asked twice, and the notifications are made anew in a moment.
    pub(super) fn reported(&mut self, id: QueueId, written: Result<(), spool::Error>) {
        let Some(conclusion) = self.concluding.remove(&id) else { return };
        let error = match written {
            Ok(()) => {
                self.report_fault = false;
                for &notification in &conclusion.notifications {
                    self.new_file(notification);
                }
                return self.finish(id, conclusion);
            }
            Err(error) => error,
        };
        if !std::mem::replace(&mut self.report_fault, true) {
            tracing::error!(queue_id = id.as_str(), %error, "a notification cannot be written; trying again every moment");
        }
        self.release(conclusion.active.memory_bytes);
        match self.entries.get(&id) {
            Some(entry) if entry.delete => self.delete_now(id),
            Some(_) => {
                self.unreported.insert(id, conclusion.active.recipients);
                self.set_state(&id, State::Deferred(self.now.ms + REPORT_AGAIN_MS));
            }
            None => {}
        }
    }

    fn finish(&mut self, id: QueueId, conclusion: Conclusion) {
        let Conclusion { active, expired, warned, notifications, stalled } = conclusion;
        let Some(entry) = self.entries.get(&id).copied() else { return self.release(active.memory_bytes) };
        if entry.delete {
            self.release(active.memory_bytes);
            return self.delete_now(id);
        }
        if expired {
            for target in active.recipients.iter().filter(|t| is_deferred(t)) {
                let reason = target.result.as_ref().and_then(failure).map_or("", |f| f.reason.as_str());
                tracing::info!(queue_id = id.as_str(), to = %target.recipient.address, status = "bounced", reason, "expired");
            }
        }
        let waits = !expired && active.recipients.iter().any(is_deferred);
        let prompt = !notifications.is_empty()
            || active.recipients.iter().any(|t| t.relayed || !matches!(t.result, Some(Outcome::Delivered { .. })));
        if !waits {
            self.release(active.memory_bytes);
            return self.remove(id, entry.place, prompt);
        }
        self.note_done(&active, prompt && stalled.is_none());
        if let Some(why) = stalled {
            self.release(active.memory_bytes);
            return self.stall(id, &why);
        }
        if warned {
            self.note(Record::Warned { id }, prompt);
        }
        self.defer(id, entry, active);
    }

    /// Nothing more is to be done for the message.
    fn remove(&mut self, id: QueueId, place: Place, prompt: bool) {
        match place {
            Place::Journal(spot) => self.settle_record(id, spot, prompt),
            Place::File => {}
        }
        if place == Place::File || self.entries.get(&id).is_some_and(|entry| entry.stray) {
            self.note(Record::Removed { id }, true);
            self.unlink_after_flush.push(id);
        }
        self.drop_entry(&id);
        tracing::info!(queue_id = id.as_str(), "removed");
    }

    pub(super) fn settle_record(&mut self, id: QueueId, spot: Spot, prompt: bool) {
        self.note(Record::Settled { generation: spot.generation, id, offsets: vec![spot.offset] }, prompt);
        self.journal.settle(spot);
    }

    /// The record of a message that lives on in a file needs nothing more. `Settled` forgets what is known of the message, so that what
    /// of it matters to the file is noted again behind it.
    pub(super) fn settle_living(&mut self, id: QueueId, spot: Spot, matters: impl Fn(&Record) -> bool) {
        let known = self.outcomes.ledger().get(&id).map_or_else(Vec::new, |known| known.records(id));
        self.settle_record(id, spot, false);
        known.into_iter().filter(matters).for_each(|record| self.note(record, false));
    }

    /// Notes the recipients that are final, for a message that goes on.
    fn note_done(&mut self, active: &Active, prompt: bool) {
        let id = active.stored.envelope.id;
        for target in &active.recipients {
            let what = match &target.result {
                Some(Outcome::Delivered { .. }) => What::Delivered,
                Some(Outcome::Bounced(_)) => What::Bounced,
                _ => continue,
            };
            self.note(Record::Done { id, what, key: target.key }, prompt);
        }
    }

    fn defer(&mut self, id: QueueId, mut entry: Entry, active: Active) {
        entry.attempts += 1;
        entry.repeat = true;
        entry.stalled_since = 0;
        let wait = self.settings().backoff.wait(entry.attempts).as_millis() as u64;
        let due = (self.now.ms + wait).max(active.not_before);
        // By the time that the sender named something has to happen.
        let by = active.stored.envelope.wishes.deliver_by.filter(|by| !by.is_over(self.now.unix()));
        let left = by.and_then(|by| u64::try_from(by.remaining(self.now.unix())).ok());
        let due = left.map_or(due, |seconds| due.min(self.now.ms.saturating_add(seconds.saturating_mul(1000))));
        let next_unix = self.now.unix() + (due - self.now.ms) / 1000;
        let reasons = active.recipients.iter().filter_map(|t| match &t.result {
            Some(Outcome::Deferred(failure)) => Some((t.key, failure.reason.as_str().into())),
            _ => None,
        });
        let then = Then::Defer { next_unix, due, reasons: reasons.collect() };
        if let Some(kept) = self.entries.get_mut(&id) {
            (kept.attempts, kept.repeat, kept.stalled_since) = (entry.attempts, entry.repeat, entry.stalled_since);
            kept.absence = active.absence;
        }
        if entry.hold {
            return self.keep(id, entry.place, &active, Then::Hold);
        }
        self.keep(id, entry.place, &active, then);
    }

    /// The message waits from now on: in a file of its own, where it is not in one already.
    fn keep(&mut self, id: QueueId, place: Place, active: &Active, then: Then) {
        let body = match (&active.body, place) {
            (Body::Memory(bytes), Place::Journal(_)) => Arc::<[u8]>::from(bytes.as_ref().as_ref()),
            // Records are read to memory, so that this is in a file.
            (_, Place::File) | (Body::File { .. }, Place::Journal(_)) => {
                self.release(active.memory_bytes);
                return self.wait(id, then);
            }
        };
        let mut stored = (*active.stored).clone();
        let first = stored.envelope.recipients.clone();
        let known = self.outcomes.ledger().get(&id);
        let expanded = known.and_then(|m| m.expanded.clone());
        if active.recipients.is_empty() {
            // Held before it was looked at in this run; an earlier one may have expanded it and reached some.
            let all = expanded.clone().unwrap_or(std::mem::take(&mut stored.envelope.recipients));
            let done = |r: &mail_types::Recipient| known.is_some_and(|m| m.is_done(recipient_key(&r.address)));
            stored.envelope.recipients = all.into_iter().filter(|r| !done(r)).collect();
            stored.expanded |= expanded.is_some();
        } else {
            stored.envelope.recipients = active.recipients.iter().filter(|t| is_deferred(t)).map(|t| t.recipient.clone()).collect();
            // What was deferred as a whole because an alias table is wrong has not been expanded.
            stored.expanded |= expanded.is_some() || !active.jobs.is_empty();
        }
        // What aliases have led to does not tell where it came from.
        if stored.envelope.recipients.iter().any(|left| !first.iter().any(|r| r.address == left.address)) {
            stored.first = first;
        }
        self.to_move.push(Move { id, stored, body, memory_bytes: active.memory_bytes, then });
    }

    fn wait(&mut self, id: QueueId, then: Then) {
        match then {
            Then::Defer { next_unix, due, reasons } => {
                let (attempts, absence) = self.entries.get(&id).map_or((1, 0), |e| (e.attempts, e.absence));
                let flush = self.entries.get_mut(&id).is_some_and(|e| std::mem::take(&mut e.flush));
                // The partner that it is deferred for may have come back meanwhile; another qmgr does not know of it and tries at once.
                let due = if flush || (absence != 0 && !self.is_absent(absence)) { self.now.ms } else { due };
                let next_seconds = if flush || absence != 0 { self.now.unix() } else { next_unix };
                self.note(Record::Deferred { id, next_seconds, attempts, reasons }, false);
                self.set_state(&id, State::Deferred(due));
            }
            Then::Hold => {
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.hold = false;
                }
                self.note(Record::Held { id, held: true }, true);
                self.set_state(&id, State::Held);
                tracing::info!(queue_id = id.as_str(), "held");
            }
        }
    }

    /// Moves what has gathered to queue files.
    pub(super) fn move_some(&mut self) {
        if !self.moving.is_empty() || self.to_move.is_empty() {
            return;
        }
        self.moving = self.to_move.drain(..self.to_move.len().min(BATCH)).collect();
        let messages: Vec<_> = self.moving.iter().map(|m| (m.stored.clone(), m.body.clone())).collect();
        let (files, events) = (self.files.clone(), self.events.clone());
        tokio::task::spawn_blocking(move || {
            let _ = events.send(Event::Moved(files.write(&messages)));
        });
    }

    pub(super) fn moved(&mut self, result: Result<(), spool::Error>) {
        for Move { id, stored, memory_bytes, then, .. } in std::mem::take(&mut self.moving) {
            self.release(memory_bytes);
            let Some(entry) = self.entries.get(&id).copied() else { continue };
            if let Some(kept) = self.entries.get_mut(&id) {
                (kept.place, kept.stray) = if result.is_ok() { (Place::File, false) } else { (entry.place, true) };
            }
            if let (Ok(()), Place::Journal(spot)) = (&result, entry.place) {
                // The file has the recipients that are left. Who is done has to be known where a requeue could lead there again.
                // As it has to where a requeue has been asked for and waits for its next attempt.
                let requeued = self.outcomes.ledger().get(&id).is_some_and(|known| known.requeued);
                let again = requeued || !stored.first.is_empty();
                self.settle_living(id, spot, |record| match record {
                    Record::Held { .. } | Record::Warned { .. } | Record::Expired { .. } => true,
                    Record::Done { .. } => again,
                    Record::Expanded { .. } => requeued,
                    _ => false,
                });
            }
            if entry.delete {
                self.delete_now(id);
                continue;
            }
            // Where no file could be written (a full disk) the message waits in the journal.
            self.wait(id, if entry.hold { Then::Hold } else { then });
        }
        if let Err(error) = result {
            tracing::error!(%error, "deferred messages could not be moved to files; they stay in the journal");
        }
    }

    /// Takes an active message that nobody has tried yet out of the flow.
    pub(super) fn put_on_hold(&mut self, id: QueueId) {
        let (Some(entry), Some(active)) = (self.entries.get(&id).copied(), self.active.remove(&id)) else { return };
        self.no_absence(id);
        self.keep(id, entry.place, &active, Then::Hold);
    }

    /// It does not wait for an absent partner any more.
    fn no_absence(&mut self, id: QueueId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.absence = 0;
        }
    }

    /// Its sender asked for a later release (RFC 4865). It wakes now and then to look at the clock, which may be set.
    pub(super) fn put_to_sleep(&mut self, id: QueueId, until: u64) {
        let (Some(entry), Some(active)) = (self.entries.get(&id).copied(), self.active.remove(&id)) else { return };
        let now = self.now.unix();
        let wait = self.settings().backoff.clamp(now, until).as_millis() as u64;
        if self.outcomes.ledger().get(&id).is_none_or(|m| m.next_seconds == 0) {
            tracing::info!(queue_id = id.as_str(), until = %mail_types::timestamp::write(until), "asleep");
        }
        self.no_absence(id);
        self.keep(id, entry.place, &active, Then::Defer { next_unix: until, due: self.now.ms + wait, reasons: Vec::new() });
    }

    /// By an administrator's word, without a report to anybody.
    pub(super) fn delete_now(&mut self, id: QueueId) {
        let Some(entry) = self.entries.get(&id).copied() else { return };
        self.deactivate(&id);
        tracing::info!(queue_id = id.as_str(), "deleted by an administrator");
        self.remove(id, entry.place, true);
    }
}

/// Whether only a partner on this machine could not tell (deliver without authd, a table of ours): for some time no attempt that counts.
fn is_untold(active: &Active) -> bool {
    let by_partner = |target: &Target| match &target.result {
        // A table that is away; one that holds nonsense (4.3.5) waits for the administrator.
        Some(Outcome::Deferred(failure)) if target.untold => failure.status == EnhancedCode(4, 3, 0),
        // 4.3.x: the mail system there, not the mailbox (RFC 3463 §3.4).
        Some(Outcome::Deferred(failure)) => !target.relayed && failure.status.1 == 3 && failure.remote.is_some(),
        _ => true,
    };
    active.recipients.iter().any(is_deferred)
        && active.recipients.iter().all(by_partner)
        && !active.recipients.iter().any(|t| matches!(t.result, Some(Outcome::Bounced(_))))
}

fn is_deferred(target: &Target) -> bool {
    matches!(target.result, Some(Outcome::Deferred(_)) | None)
}
