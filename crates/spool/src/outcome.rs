//! The journal of outcomes: what became of every message, kept by qmgr (format version 1).
//!
//! `queue/outcomes/<number as 16 hexadecimal digits>`; the file with the highest number counts, it begins with a
//! snapshot of what its predecessor said and still matters. Files are filled with zeros ahead of the writing. `spare` is
//! room for the next file, filled with zeros (or with what was left of an attempt to begin it) and as large as the present
//! one; it means nothing until it has a number. Numbers are little-endian. At offset 0 stands a header of 64 bytes:
//!
//! ```text
//!  0  8  "FCTOUTC1"       16 40  zeros
//!  8  8  number           56  8  XXH3-64 of bytes 0..56
//! ```
//!
//! From offset 64 on follow records, each at a multiple of 8 and padded with zeros to the next:
//!
//! ```text
//!  0  4  length of the payload, at least 1      8  8  XXH3-64 of the payload, its seed is number + offset
//!  4  4  zeros                                 16     payload
//! ```
//!
//! A payload is one byte of kind and what the kind has (`id` is 17 characters, a text is a u32 length and its bytes):
//!
//! ```text
//!  1 settled   generation u64, id, count u32, offsets u64…   these records of the segment need nothing more
//!  2 expanded  id, text                 the recipients that stand for the envelope's, as its `rcpt` lines; none: they are to be expanded anew
//!  3 done      id, what u8, key u64     a recipient has its final outcome: 1 delivered, 2 bounced, 3 deleted
//!  4 deferred  id, next u64, attempts u32, count u32, (key u64, text)…   when to try again and why
//!  5 held      id, u8                   1: by an operator's word it waits; 0: it was released
//!  6 removed   id                       a queue file needs nothing more, and is deleted next
//!  7 limit     generation u64, u64      how far a segment was synced, once its writer has left it
//!  8 recycled  generation u64           the segment is gone; nothing of it need be remembered
//!  9 warned    id                       the sender was told of the delay
//! 10 expired   id                       by an operator's word its next attempt is its last
//! ```
//!
//! A recipient's `key` is the XXH3-64 of its address: it is the same in the record, in the queue file, and after expansion.
//!
//! Order: a final outcome is synced before the message's last copy may go (the segment by `finished`, the queue file by
//! removal). A torn or damaged record is skipped; the worst that follows is a delivery repeated.

mod ledger;
mod writer;

pub use ledger::{Ledger, MessageLedger};

use crate::envelope::{parse_recipient, write_recipient};
use crate::{Error, Layout};
use durable::{Committer, Disk, File};
use mail_types::{Address, QueueId, Recipient};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use writer::{Compaction, Work, Writer};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

const FIRST_RECORD: usize = 64;
/// Outcome files are compacted long before.
const LIMIT_BYTES: u64 = 4 << 30;

/// How the outcome journal knows a recipient of a message.
pub fn recipient_key(address: &Address) -> u64 {
    xxh3_64(address.to_string().as_bytes())
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    Settled { generation: u64, id: QueueId, offsets: Vec<u64> },
    Expanded { id: QueueId, recipients: Vec<Recipient> },
    Done { id: QueueId, what: What, key: u64 },
    Deferred { id: QueueId, next_seconds: u64, attempts: u32, reasons: Vec<(u64, Arc<str>)> },
    Held { id: QueueId, held: bool },
    Removed { id: QueueId },
    Limit { generation: u64, limit: u64 },
    Recycled { generation: u64 },
    Warned { id: QueueId },
    Expired { id: QueueId },
}

/// A final outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Delivered = 1,
    Bounced = 2,
    Deleted = 3,
}

impl Record {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Record::Settled { generation, id, offsets } => {
                out.push(1);
                out.extend_from_slice(&generation.to_le_bytes());
                put_id(id, out);
                out.extend_from_slice(&(offsets.len() as u32).to_le_bytes());
                offsets.iter().for_each(|o| out.extend_from_slice(&o.to_le_bytes()));
            }
            Record::Expanded { id, recipients } => {
                out.push(2);
                put_id(id, out);
                let mut text = String::new();
                for recipient in recipients {
                    // Writing to a String does not fail.
                    let _ = write_recipient(recipient, &mut text);
                }
                put_text(&text, out);
            }
            Record::Done { id, what, key } => {
                out.push(3);
                put_id(id, out);
                out.push(*what as u8);
                out.extend_from_slice(&key.to_le_bytes());
            }
            Record::Deferred { id, next_seconds, attempts, reasons } => {
                out.push(4);
                put_id(id, out);
                out.extend_from_slice(&next_seconds.to_le_bytes());
                out.extend_from_slice(&attempts.to_le_bytes());
                out.extend_from_slice(&(reasons.len() as u32).to_le_bytes());
                for (key, reason) in reasons {
                    out.extend_from_slice(&key.to_le_bytes());
                    put_text(reason, out);
                }
            }
            Record::Held { id, held } => {
                out.push(5);
                put_id(id, out);
                out.push(u8::from(*held));
            }
            Record::Removed { id } => {
                out.push(6);
                put_id(id, out);
            }
            Record::Limit { generation, limit } => {
                out.push(7);
                out.extend_from_slice(&generation.to_le_bytes());
                out.extend_from_slice(&limit.to_le_bytes());
            }
            Record::Recycled { generation } => {
                out.push(8);
                out.extend_from_slice(&generation.to_le_bytes());
            }
            Record::Warned { id } => {
                out.push(9);
                put_id(id, out);
            }
            Record::Expired { id } => {
                out.push(10);
                put_id(id, out);
            }
        }
    }

    fn decode(payload: &[u8]) -> Option<Record> {
        let mut take = Take(payload);
        let record = match take.u8()? {
            1 => {
                let (generation, id, count) = (take.u64()?, take.id()?, take.u32()?);
                let offsets = (0..count).map(|_| take.u64()).collect::<Option<_>>()?;
                Record::Settled { generation, id, offsets }
            }
            2 => {
                let id = take.id()?;
                let text = take.text()?;
                let recipients = text.lines().map(|l| parse_recipient(l.strip_prefix("rcpt ")?)).collect::<Option<_>>()?;
                Record::Expanded { id, recipients }
            }
            3 => {
                let id = take.id()?;
                let what = match take.u8()? {
                    1 => What::Delivered,
                    2 => What::Bounced,
                    3 => What::Deleted,
                    _ => return None,
                };
                Record::Done { id, what, key: take.u64()? }
            }
            4 => {
                let (id, next_seconds, attempts, count) = (take.id()?, take.u64()?, take.u32()?, take.u32()?);
                let reasons = (0..count).map(|_| Some((take.u64()?, take.text()?.into()))).collect::<Option<_>>()?;
                Record::Deferred { id, next_seconds, attempts, reasons }
            }
            5 => Record::Held { id: take.id()?, held: take.u8()? != 0 },
            6 => Record::Removed { id: take.id()? },
            7 => Record::Limit { generation: take.u64()?, limit: take.u64()? },
            8 => Record::Recycled { generation: take.u64()? },
            9 => Record::Warned { id: take.id()? },
            10 => Record::Expired { id: take.id()? },
            _ => return None,
        };
        take.0.is_empty().then_some(record)
    }
}

fn put_id(id: &QueueId, out: &mut Vec<u8>) {
    out.extend_from_slice(id.as_str().as_bytes());
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

struct Take<'a>(&'a [u8]);

impl<'a> Take<'a> {
    fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(front)
    }
    fn u8(&mut self) -> Option<u8> {
        Some(self.bytes(1)?[0])
    }
    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(4)?.try_into().ok()?))
    }
    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(8)?.try_into().ok()?))
    }
    fn id(&mut self) -> Option<QueueId> {
        QueueId::parse(std::str::from_utf8(self.bytes(17)?).ok()?).ok()
    }
    fn text(&mut self) -> Option<&'a str> {
        let length = self.u32()? as usize;
        std::str::from_utf8(self.bytes(length)?).ok()
    }
}

impl Ledger {
    /// Reads what the newest outcome file says, without changing anything. For a reader beside a running qmgr.
    pub fn read(disk: &dyn Disk, layout: &Layout) -> Result<Ledger, Error> {
        let mut ledger = Ledger::default();
        let Some(&number) = layout.outcome_numbers(disk)?.last() else { return Ok(ledger) };
        let file = File::open(disk, &layout.outcome_file(number), false)?;
        let bytes = file.read_all(LIMIT_BYTES)?;
        let skipped = walk(&bytes, number, |record| ledger.apply(record));
        if skipped > 0 {
            tracing::warn!(file = %file.path().display(), skipped, "places in the outcome journal are damaged; deliveries may be repeated");
        }
        Ok(ledger)
    }
}

/// Calls `each` for every whole record; returns how many damaged places lie between them.
fn walk(bytes: &[u8], number: u64, mut each: impl FnMut(Record)) -> usize {
    let mut at = FIRST_RECORD;
    let (mut skipped, mut in_damage) = (0, false);
    while at + 16 <= bytes.len() {
        match record_at(bytes, number, at) {
            Some((record, next)) => {
                skipped += usize::from(std::mem::take(&mut in_damage));
                each(record);
                at = next;
            }
            None => {
                in_damage = true;
                at += 8;
            }
        }
    }
    skipped
}

fn record_at(bytes: &[u8], number: u64, at: usize) -> Option<(Record, usize)> {
    let length = u32::from_le_bytes(bytes[at..at + 4].try_into().ok()?) as usize;
    if length == 0 {
        return None;
    }
    let payload = bytes.get(at + 16..(at + 16).checked_add(length)?)?;
    let sum = u64::from_le_bytes(bytes[at + 8..at + 16].try_into().ok()?);
    if sum != xxh3_64_with_seed(payload, number.wrapping_add(at as u64)) {
        return None;
    }
    Some((Record::decode(payload)?, (at + 16 + length).next_multiple_of(8)))
}

fn frame(record: &Record, number: u64, at: u64, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + 16, 0);
    record.encode(out);
    let length = out.len() - start - 16;
    let sum = xxh3_64_with_seed(&out[start + 16..], number.wrapping_add(at));
    out[start..start + 4].copy_from_slice(&(length as u32).to_le_bytes());
    out[start + 8..start + 16].copy_from_slice(&sum.to_le_bytes());
    let padded = start + (16 + length).next_multiple_of(8);
    out.resize(padded, 0);
}

/// The outcome journal opened for writing; the ledger it has in memory is what its records say together.
pub struct Outcomes {
    ledger: Ledger,
    pending: Vec<Record>,
    /// Files unlinked since the last compaction: their directories are synced before they are forgotten.
    unlinked: Vec<QueueId>,
    /// Those that a compaction under way forgets, if it comes through.
    forgetting: Option<(Vec<QueueId>, Arc<OnceLock<bool>>)>,
    committer: Committer<Writer>,
    written: usize,
    compact_at: usize,
    layout: Layout,
    _lock: Option<std::fs::File>,
}

impl Outcomes {
    /// Opens the journal: reads it, and begins a new file with what still matters. Blocks.
    pub fn open(disk: Arc<dyn Disk>, layout: Layout) -> Result<Outcomes, Error> {
        layout.create_for_qmgr(&*disk)?;
        let path = layout.outcomes().join("lock");
        let lock = disk.lock(&path, 0o600).map_err(|e| match e.kind() {
            std::io::ErrorKind::WouldBlock => Error::Locked(path.clone()),
            _ => durable::Error::io("lock", &path)(e).into(),
        })?;
        let ledger = Ledger::read(&*disk, &layout)?;
        let old = layout.outcome_numbers(&*disk)?;
        let number = old.last().copied().unwrap_or(0);
        let mut writer = Writer::new(disk, layout.clone(), number);
        let snapshot = ledger.snapshot(&[]);
        let written = snapshot.len();
        writer.remove_others();
        writer.begin(number + 1, &snapshot)?;
        writer.remove_others();
        writer.make_spare();
        let committer = Committer::start("outcome-committer", writer)?;
        let compact_at = compact_after(written);
        Ok(Outcomes {
            ledger,
            pending: Vec::new(),
            unlinked: Vec::new(),
            forgetting: None,
            committer,
            written,
            compact_at,
            layout,
            _lock: lock,
        })
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Notes a record. It is known at once, and durable after a later `flush`.
    pub fn note(&mut self, record: Record) {
        self.pending.push(record.clone());
        self.ledger.apply(record);
    }

    /// Whether anything noted has not been handed to the disk.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Makes what was noted so far durable. The work begins at once; waiting is the caller's choice.
    pub fn flush(&mut self) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        self.written += self.pending.len();
        let mut work = Work { records: std::mem::take(&mut self.pending), compact: None };
        self.end_forgetting();
        if self.written >= self.compact_at && self.forgetting.is_none() {
            let compaction = self.compaction();
            self.written = compaction.snapshot.len();
            self.compact_at = compact_after(self.written);
            work.compact = Some(compaction);
        }
        let done = self.committer.submit(work);
        async move { done.await? }
    }

    fn compaction(&mut self) -> Compaction {
        let gone = std::mem::take(&mut self.unlinked);
        let mut directories: Vec<PathBuf> = gone.iter().map(|id| self.layout.queue_directory(id)).collect();
        directories.push(self.layout.incoming());
        directories.sort();
        directories.dedup();
        let (snapshot, done) = (self.ledger.snapshot(&gone), Arc::default());
        self.forgetting = Some((gone, Arc::clone(&done)));
        Compaction { snapshot, directories, done }
    }

    /// What is gone is forgotten once the file that does not mention it is there; else the next compaction has it again.
    fn end_forgetting(&mut self) {
        let Some(done) = self.forgetting.as_ref().and_then(|(_, done)| done.get().copied()) else { return };
        let gone = self.forgetting.take().map_or_else(Vec::new, |(gone, _)| gone);
        if done {
            gone.iter().for_each(|id| self.ledger.forget_removed(id));
        } else {
            self.unlinked.extend(gone);
        }
    }

    /// A removed queue file has been unlinked.
    pub fn unlinked(&mut self, id: QueueId) {
        self.unlinked.push(id);
    }

    /// Ends the writer; what was noted is written first. Blocks.
    pub fn close(&mut self) {
        drop(self.flush()); // the committer has it; closing waits
        self.committer.close();
    }
}

fn compact_after(live_records: usize) -> usize {
    (4 * live_records).max(300_000)
}

#[cfg(test)]
#[path = "outcome_tests.rs"]
mod tests;
