//! What the records of the outcome journal say together.

use super::{Record, What};
use mail_types::{QueueId, Recipient};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// What the records say together.
#[derive(Debug, Default)]
pub struct Ledger {
    segments: BTreeMap<u64, SegmentLedger>,
    messages: HashMap<QueueId, MessageLedger>,
    /// Queue files that may still be there, or come back after a power cut.
    removed: HashSet<QueueId>,
    /// Reasons are often the same for thousands of messages.
    reasons: HashSet<Arc<str>>,
}

#[derive(Debug, Default)]
struct SegmentLedger {
    limit: Option<u64>,
    // Offsets are multiples of 64 in files below 256 GiB.
    settled: HashSet<u32>,
}

/// What is known of a message beside its envelope.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageLedger {
    /// The recipients that stand for the envelope's, once aliases were expanded.
    pub expanded: Option<Vec<Recipient>>,
    /// The recipients are to be expanded anew (`Expanded` without any).
    pub requeued: bool,
    /// Recipients with a final outcome.
    pub done: Vec<(u64, What)>,
    pub next_seconds: u64,
    pub attempts: u32,
    pub reasons: Vec<(u64, Arc<str>)>,
    /// `None`: as the envelope says.
    pub held: Option<bool>,
    pub warned: bool,
    /// Its next attempt is its last.
    pub expired: bool,
}

impl MessageLedger {
    pub fn is_done(&self, key: u64) -> bool {
        self.done.iter().any(|(k, _)| *k == key)
    }

    /// What says all of this again, for a message that lives on when its record is settled.
    pub fn records(&self, id: QueueId) -> Vec<Record> {
        let mut records = Vec::new();
        if let Some(recipients) = &self.expanded {
            records.push(Record::Expanded { id, recipients: recipients.clone() });
        } else if self.requeued {
            records.push(Record::Expanded { id, recipients: Vec::new() });
        }
        records.extend(self.done.iter().map(|&(key, what)| Record::Done { id, what, key }));
        if self.attempts > 0 || self.next_seconds > 0 {
            let (next_seconds, attempts, reasons) = (self.next_seconds, self.attempts, self.reasons.clone());
            records.push(Record::Deferred { id, next_seconds, attempts, reasons });
        }
        if let Some(held) = self.held {
            records.push(Record::Held { id, held });
        }
        if self.warned {
            records.push(Record::Warned { id });
        }
        if self.expired {
            records.push(Record::Expired { id });
        }
        records
    }

    pub fn reason(&self, key: u64) -> Option<&Arc<str>> {
        self.reasons.iter().find(|(k, _)| *k == key).map(|(_, reason)| reason)
    }
}

impl Ledger {
    pub(super) fn apply(&mut self, record: Record) {
        match record {
            Record::Settled { generation, id, offsets } => {
                let settled = &mut self.segments.entry(generation).or_default().settled;
                settled.extend(offsets.iter().map(|o| (o / 64) as u32));
                // A message that was moved has its state from its queue file's records, which come after this one.
                self.messages.remove(&id);
            }
            Record::Expanded { id, recipients } => {
                let message = self.message(id);
                message.requeued = recipients.is_empty();
                message.expanded = (!recipients.is_empty()).then_some(recipients);
            }
            Record::Done { id, what, key } => {
                let message = self.message(id);
                if !message.is_done(key) {
                    message.done.push((key, what));
                }
            }
            Record::Deferred { id, next_seconds, attempts, reasons } => {
                let reasons = reasons.into_iter().map(|(key, reason)| (key, self.intern(reason))).collect();
                let message = self.message(id);
                message.next_seconds = next_seconds;
                message.attempts = attempts;
                message.reasons = reasons;
            }
            Record::Held { id, held } => self.message(id).held = Some(held),
            Record::Removed { id } => {
                self.messages.remove(&id);
                self.removed.insert(id);
            }
            Record::Limit { generation, limit } => self.segments.entry(generation).or_default().limit = Some(limit),
            Record::Recycled { generation } => drop(self.segments.remove(&generation)),
            Record::Warned { id } => self.message(id).warned = true,
            Record::Expired { id } => self.message(id).expired = true,
        }
    }

    fn message(&mut self, id: QueueId) -> &mut MessageLedger {
        self.messages.entry(id).or_default()
    }

    fn intern(&mut self, reason: Arc<str>) -> Arc<str> {
        if let Some(known) = self.reasons.get(&reason) {
            return known.clone();
        }
        if self.reasons.len() >= 4096 {
            self.reasons.clear(); // messages keep what they have
        }
        self.reasons.insert(reason.clone());
        reason
    }

    /// Whether the record at this place needs nothing more.
    pub fn is_settled(&self, generation: u64, offset: u64) -> bool {
        self.segments.get(&generation).is_some_and(|s| s.settled.contains(&((offset / 64) as u32)))
    }

    /// How far a segment was synced, where that is known for good.
    pub fn limit(&self, generation: u64) -> Option<u64> {
        self.segments.get(&generation)?.limit
    }

    /// Segments of which something is remembered.
    pub fn generations(&self) -> impl Iterator<Item = u64> + '_ {
        self.segments.keys().copied()
    }

    pub fn get(&self, id: &QueueId) -> Option<&MessageLedger> {
        self.messages.get(id)
    }

    /// Whether a queue file of this name needs nothing more.
    pub fn is_removed(&self, id: &QueueId) -> bool {
        self.removed.contains(id)
    }

    /// Ids of queue files that need nothing more.
    pub fn removed(&self) -> impl Iterator<Item = &QueueId> + '_ {
        self.removed.iter()
    }

    /// Ids of all messages of which something is remembered.
    pub fn ids(&self) -> impl Iterator<Item = &QueueId> + '_ {
        self.messages.keys()
    }

    /// The queue file cannot come back any more.
    pub(super) fn forget_removed(&mut self, id: &QueueId) {
        self.removed.remove(id);
    }

    /// All of it as records, but for queue files in `gone`.
    pub(super) fn snapshot(&self, gone: &[QueueId]) -> Vec<Record> {
        let mut records = Vec::new();
        // Any id serves where a settled record stands for many.
        let nobody = QueueId::from_parts(0, 0, 0);
        for (&generation, segment) in &self.segments {
            if let Some(limit) = segment.limit {
                records.push(Record::Limit { generation, limit });
            }
            let offsets: Vec<u64> = segment.settled.iter().map(|o| u64::from(*o) * 64).collect();
            records.extend(offsets.chunks(4096).map(|c| Record::Settled { generation, id: nobody, offsets: c.to_vec() }));
        }
        records.extend(self.messages.iter().flat_map(|(&id, message)| message.records(id)));
        let gone: HashSet<&QueueId> = gone.iter().collect();
        records.extend(self.removed.iter().filter(|id| !gone.contains(id)).map(|&id| Record::Removed { id }));
        records
    }
}
