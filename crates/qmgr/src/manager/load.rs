//! From the line of ready messages to active ones: read from the spool, expanded, routed.

use super::{BATCH, Event, Manager, STALLS};
use crate::entry::{Active, Entry, Job, JobId, Place, State};
use crate::prepare::{Prepared, prepare, untold};
use mail_types::{Failure, Outcome, QueueId};
use outbound::Body;
use routing::Unavailable;
use spool::outcome::Record;
use spool::{QueueFiles, Stored, envelope};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// A message that was read.
pub struct Loaded {
    stored: Stored,
    body: Body,
    body_bytes: u64,
    memory_bytes: usize,
}

/// A record and where its body begins, without a copy.
struct RecordBody(Vec<u8>, usize);

impl AsRef<[u8]> for RecordBody {
    fn as_ref(&self) -> &[u8] {
        &self.0[self.1..]
    }
}

impl Loaded {
    pub(super) fn from_record(stored: Stored, record: Vec<u8>, body_at: usize) -> Loaded {
        let (memory_bytes, body_bytes) = (record.len(), (record.len() - body_at) as u64);
        Loaded { stored, body: Body::memory(RecordBody(record, body_at)), body_bytes, memory_bytes }
    }

    fn from_payload(id: QueueId, payload: Vec<u8>, path: std::path::PathBuf) -> Result<Loaded, spool::Error> {
        let (stored, body_at) = envelope::decode(&payload).map_err(|damage| spool::Error::of_envelope(&path, damage))?;
        if stored.envelope.id != id {
            let reason = format!("it holds the message {}", stored.envelope.id);
            return Err(spool::Error::Damaged { path, reason });
        }
        Ok(Loaded::from_record(stored, payload, body_at))
    }

    fn from_file(files: &QueueFiles, id: QueueId) -> Result<Loaded, spool::Error> {
        let file = files.open(&id)?;
        let body_bytes = file.body_bytes;
        if body_bytes > spool::LARGE_BYTES as u64
            && let Some(handle) = file.to_std()?
        {
            file.verify()?;
            let body = Body::File { front: Arc::default(), file: Arc::new(handle), offset: file.body_offset, length: body_bytes };
            return Ok(Loaded { stored: file.stored, body, body_bytes, memory_bytes: 4096 });
        }
        let bytes = file.body(u64::from(u32::MAX))?;
        Ok(Loaded { stored: file.stored, memory_bytes: bytes.len() + 4096, body: Body::memory(bytes), body_bytes })
    }
}

/// So often a message in whose middle an absent partner was lost is not taken for the reason.
const SUSPECT: u32 = 3;

/// A message of a newer version is looked at again after this time.
const NEWER_MS: u64 = 3_600_000;

/// Between two releases of what has stalled.
const RELEASE_MS: u64 = 250;

impl Manager {
    /// Fills free places among the active messages.
    pub(super) fn activate(&mut self) {
        if self.loading {
            return;
        }
        self.call_back();
        if self.ready.is_empty() {
            return;
        }
        let settings = self.settings();
        let (active_limit, memory_limit) = (settings.active_limit, settings.body_memory_bytes);
        let (mut records, mut files) = (Vec::new(), Vec::new());
        while records.len() + files.len() < BATCH && self.active_count < active_limit && self.memory_bytes < memory_limit {
            let Some(id) = self.ready.pop() else { break };
            let Some(entry) = self.entries.get(&id).filter(|e| e.state == State::Ready) else { continue };
            match entry.place {
                Place::Journal(spot) => records.push((id, spot)),
                Place::File => files.push(id),
            }
            self.set_state(&id, State::Active);
        }
        if records.is_empty() && files.is_empty() {
            return;
        }
        self.loading = true;
        records.sort_by_key(|(_, spot)| (spot.generation, spot.offset));
        let (plan, queue_files, layout, events) = (self.journal.plan(), self.files.clone(), self.layout.clone(), self.events.clone());
        tokio::task::spawn_blocking(move || {
            let spots: std::collections::HashMap<QueueId, u64> = records.iter().map(|(id, s)| (*id, s.generation)).collect();
            let from_records = plan
                .read(&records)
                .into_iter()
                .map(|(id, result)| (id, result.and_then(|payload| Loaded::from_payload(id, payload, layout.segment(spots[&id])))));
            let mut loaded: Vec<_> = from_records.collect();
            loaded.extend(files.into_iter().map(|id| (id, Loaded::from_file(&queue_files, id))));
            let _ = events.send(Event::Loaded(loaded));
        });
    }

    /// A message was read, or could not be.
    pub(super) fn loaded(&mut self, id: QueueId, result: Result<Loaded, spool::Error>) {
        let Some(entry) = self.entries.get(&id).copied() else { return };
        let loaded = match result {
            Ok(loaded) => loaded,
            Err(error) => return self.unreadable(id, error),
        };
        if entry.delete {
            return self.delete_now(id);
        }
        let envelope = &loaded.stored.envelope;
        if let Some(kept) = self.entries.get_mut(&id) {
            kept.priority = envelope.wishes.priority;
        }
        let known = self.outcomes.ledger().get(&id);
        // What has slept was told of before.
        if entry.attempts == 0 && !self.unreported.contains_key(&id) && known.is_none_or(|m| m.next_seconds == 0) {
            let from = envelope.sender.as_ref().map(ToString::to_string).unwrap_or_default();
            let (bytes, recipients) = (loaded.body_bytes, envelope.recipients.len());
            tracing::info!(queue_id = id.as_str(), from, size = bytes, nrcpt = recipients, "queued");
        }
        let held = entry.hold || known.and_then(|m| m.held).unwrap_or(envelope.hold);
        let mut active = Active {
            stored: Arc::new(loaded.stored),
            body: loaded.body,
            memory_bytes: loaded.memory_bytes,
            recipients: Vec::new(),
            jobs: Vec::new(),
            outstanding: 0,
            not_before: 0,
            absence: 0,
        };
        self.memory_bytes += active.memory_bytes;
        let stored = active.stored.clone();
        let known = known.cloned();
        // It has had its attempt; only its sender could not be told.
        if let Some(recipients) = self.unreported.remove(&id) {
            active.recipients = recipients;
            self.active.insert(id, active);
            return self.conclude_if_done(id);
        }
        self.active.insert(id, active);
        if let Some(entry) = self.entries.get_mut(&id) {
            // The attempt that was asked for begins.
            entry.flush = false;
        }
        if held {
            return self.put_on_hold(id);
        }
        if let Some(until) = stored.envelope.wishes.sleeps_until(self.now.unix()) {
            return self.put_to_sleep(id, until);
        }
        if stored.envelope.wishes.release.is_some() && entry.attempts == 0 {
            tracing::info!(queue_id = id.as_str(), "released, as its sender asked");
        }
        let (router, settings) = (self.carriers.router.clone(), self.carriers.settings.clone());
        let mut preparing = Box::pin(prepare(router, settings, stored, known));
        // Tables in memory and cached answers are ready at once; only other questions get a task.
        match preparing.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => self.prepared(id, result),
            Poll::Pending => {
                let events = self.events.clone();
                tokio::spawn(async move {
                    let result = preparing.await;
                    let _ = events.send(Event::Prepared(id, result));
                });
            }
        }
    }

    fn unreadable(&mut self, id: QueueId, error: spool::Error) {
        let Some(place) = self.entries.get(&id).map(|e| e.place) else { return };
        match (&error, place) {
            (spool::Error::Damaged { reason, .. }, Place::File) => {
                self.files.set_aside_message(&id, reason);
                self.drop_entry(&id);
            }
            (spool::Error::Damaged { .. }, Place::Journal(spot)) => {
                let (plan, files) = (self.journal.plan(), self.files.clone());
                // Rare enough to be done here and now.
                let damage = crate::journal::Damage { spot, id: Some(id) };
                if plan.set_aside(&files, &[damage]).is_empty() {
                    return self.set_state(&id, State::Deferred(self.now.ms + 60_000));
                }
                tracing::error!(queue_id = id.as_str(), %error, "the message is damaged");
                self.settle_record(id, spot, true);
                self.drop_entry(&id);
            }
            (error, Place::File) if error.is_not_found() => {
                tracing::warn!(queue_id = id.as_str(), "the queue file was removed by somebody else");
                self.note(Record::Removed { id }, false);
                self.drop_entry(&id);
            }
            (spool::Error::Newer { .. }, _) => {
                tracing::error!(queue_id = id.as_str(), %error, "the message stays where it is");
                self.set_state(&id, State::Deferred(self.now.ms + NEWER_MS));
            }
            _ => {
                tracing::error!(queue_id = id.as_str(), %error, "the message cannot be read; trying again in a minute");
                self.set_state(&id, State::Deferred(self.now.ms + 60_000));
            }
        }
    }

    /// Recipients and their routes are known.
    pub(super) fn prepared(&mut self, id: QueueId, result: Result<Prepared, Unavailable>) {
        let prepared = match result {
            Ok(prepared) => {
                if self.entries.get(&id).is_some_and(|e| e.stalled_since > 0) {
                    self.release_stalled();
                }
                prepared
            }
            Err(why) if self.entries.get(&id).is_some_and(|e| self.may_stall(e)) => {
                self.deactivate(&id);
                return self.stall(id, &why.to_string());
            }
            // It waits and expires like any other, and its sender is told.
            Err(why) => {
                let Some(active) = self.active.get(&id) else { return };
                untold(&active.stored, self.outcomes.ledger().get(&id), &why)
            }
        };
        if let Some(recipients) = prepared.expanded {
            self.note(Record::Expanded { id, recipients }, false);
        }
        let Some(active) = self.active.get_mut(&id) else { return };
        active.outstanding = prepared.jobs.len();
        active.recipients = prepared.targets;
        active.jobs = prepared.jobs;
        for at in 0..active.recipients.len() {
            let target = &self.active[&id].recipients[at];
            if target.result.is_some() {
                self.log_outcome(id, at, None);
            }
        }
        if self.active[&id].stored.envelope.wishes.is_given_up(self.now.unix()) {
            (0..self.active[&id].jobs.len()).for_each(|number| self.decide_job(id, number, &too_late()));
        }
        if self.active[&id].outstanding == 0 {
            return self.conclude_if_done(id);
        }
        let tight = self.is_tight();
        if tight && self.stands_aside(id) {
            return;
        }
        let bytes = u32::try_from(self.active[&id].memory_bytes).unwrap_or(u32::MAX);
        let priority = self.priority_of(&id);
        for number in 0..self.active[&id].jobs.len() {
            let job = JobId { id, number: number as u32, bytes, priority };
            let way = &self.active[&id].jobs[number];
            let (to, kind, asked) = (way.to.clone(), self.kind(way), self.asked_at(id, way));
            let crowded = tight && self.crowded(way).is_some();
            self.schedule.revive(self.now.ms, &to, asked);
            if crowded {
                self.defer_job(job, &Manager::crowd(&to));
            } else if let Err((job, until)) = self.schedule.add(self.now.ms, &to, kind, job) {
                self.not_tried(job, until);
            }
        }
        self.conclude_if_done(id);
    }

    /// The job's destination is dead or absent: its recipients are deferred without an attempt.
    pub(super) fn not_tried(&mut self, job: JobId, until: u64) {
        let Some(active) = self.active.get(&job.id) else { return };
        let Job { to, partner, lost, .. } = &active.jobs[job.at()];
        let why = self.unreached.get(to).cloned();
        let why = why.unwrap_or_else(|| Failure::local((4, 4, 1), "the destination could not be reached"));
        let failure = Failure { reason: format!("delivery temporarily suspended: {}", why.reason), remote: None, ..why };
        // What was lost in the middle may be what brings the partner down: once that was seen some times it waits as long as any other.
        let attempts = self.entries.get(&job.id).map_or(0, |entry| entry.attempts);
        let absent = (*partner && (*lost == 0 || attempts < SUSPECT)).then(|| to.clone());
        let absence = absent.map_or(0, |to| self.absence_of(&to));
        let Some(active) = self.active.get_mut(&job.id) else { return };
        active.not_before = active.not_before.max(until);
        active.absence = active.absence.max(absence);
        self.defer_job(job, &failure);
    }

    /// Its recipients are deferred for this reason.
    pub(super) fn defer_job(&mut self, job: JobId, failure: &Failure) {
        self.decide_job(job.id, job.at(), &Outcome::Deferred(failure.clone()));
    }

    /// Its recipients have this outcome without an attempt.
    pub(super) fn decide_job(&mut self, id: QueueId, number: usize, outcome: &Outcome) {
        let Some(active) = self.active.get_mut(&id) else { return };
        active.outstanding -= 1;
        let members = active.jobs[number].members.clone();
        for at in &members {
            active.recipients[*at].result.get_or_insert(outcome.clone());
        }
        members.into_iter().for_each(|at| self.log_outcome(id, at, None));
    }

    /// Its message was held or deleted while it waited.
    pub(super) fn not_wanted(&mut self, job: JobId) {
        if let Some(active) = self.active.get_mut(&job.id) {
            active.outstanding -= 1;
            self.conclude_if_done(job.id);
        }
    }

    /// A partner could not tell: the message is tried again in a moment, and no attempt is counted.
    pub(super) fn stall(&mut self, id: QueueId, why: &str) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.stalled_since == 0 {
            tracing::warn!(queue_id = id.as_str(), reason = why, "deferred for a moment");
            entry.stalled_since = self.now.ms.max(1);
        }
        // A partner may have filed it before it was lost, and the next attempt knows nothing of this one.
        entry.repeat = true;
        self.set_state(&id, State::Stalled);
    }

    /// Whether it may be tried every moment, as it is for some time: authd may be starting, or being started again and again.
    pub(super) fn may_stall(&self, entry: &Entry) -> bool {
        let patience = STALLS * self.settings().partner_retry.as_millis() as u64;
        !entry.expire && (entry.stalled_since == 0 || self.now.ms < entry.stalled_since + patience)
    }

    /// A partner answers again: what waited for it goes on. Not at each answer: another may still be missing.
    pub(super) fn release_stalled(&mut self) {
        if self.now.ms < self.released_at + RELEASE_MS {
            return;
        }
        self.released_at = self.now.ms;
        while let Some(id) = self.stalled.pop_front() {
            self.goes_on(id);
        }
    }
}

/// RFC 2852 §4.1.3: it was to be returned when it is late.
pub(super) fn too_late() -> Outcome {
    Outcome::Bounced(Failure::local((5, 4, 7), "delivery time expired"))
}
