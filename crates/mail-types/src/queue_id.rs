//! Queue ids: the one name by which a message can be followed from connection to mailbox.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

// Crockford's base 32 without I, L, O, U: no two characters look alike, and sorting the text sorts by time.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const LENGTH: usize = 17;

/// 17 characters `[0-9A-Z]`: 7 for the second of acceptance, 5 for the start counter of the program that made it, 5 for
/// a sequence. The start counter is persisted before its first use, so an id never comes again, whatever the clock does.
///
/// Ids of bounces are derived (`QueueId::derived`) and begin with `Z`; those made from time reach `Z` in about a thousand years.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueId([u8; LENGTH]);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a queue id has 17 characters of 0-9 and A-Z without I, L, O, U")]
pub struct QueueIdError;

impl QueueId {
    /// The id made of these three numbers: seconds since 1970 (35 bits used), start counter and sequence (25 bits each).
    pub fn from_parts(seconds: u64, start: u32, sequence: u32) -> QueueId {
        let mut text = [0; LENGTH];
        encode(&mut text[..7], seconds);
        encode(&mut text[7..12], u64::from(start));
        encode(&mut text[12..], u64::from(sequence));
        QueueId(text)
    }

    /// An id that follows from `hash` alone, for messages that qmgr makes itself and must find again after a crash.
    pub fn derived(hash: u128) -> QueueId {
        let mut text = [b'Z'; LENGTH];
        encode(&mut text[1..9], hash as u64 & 0xff_ffff_ffff);
        encode(&mut text[9..], (hash >> 64) as u64 & 0xff_ffff_ffff);
        QueueId(text)
    }

    pub fn parse(text: &str) -> Result<QueueId, QueueIdError> {
        let bytes: [u8; LENGTH] = text.as_bytes().try_into().map_err(|_| QueueIdError)?;
        if bytes.iter().all(|b| ALPHABET.contains(b)) { Ok(QueueId(bytes)) } else { Err(QueueIdError) }
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("made of ASCII only")
    }

    /// The two characters that name the directory of its queue file: they change with every message.
    pub fn directory(&self) -> &str {
        &self.as_str()[LENGTH - 2..]
    }
}

fn encode(text: &mut [u8], mut value: u64) {
    for place in text.iter_mut().rev() {
        *place = ALPHABET[(value & 31) as usize];
        value >>= 5;
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for QueueId {
    type Err = QueueIdError;
    fn from_str(text: &str) -> Result<QueueId, QueueIdError> {
        QueueId::parse(text)
    }
}

/// The generator of one running program. `start` must have been persisted (and synced) before, and be new.
#[derive(Debug)]
pub struct QueueIds {
    start: u32,
    next: AtomicU32,
}

impl QueueIds {
    pub fn new(start: u32) -> QueueIds {
        QueueIds { start, next: AtomicU32::new(0) }
    }

    /// A new id. After 2^25 of them `None`: the caller then persists a new start counter and makes a new generator.
    pub fn next(&self, seconds: u64) -> Option<QueueId> {
        let sequence = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < 1 << 25).then_some(n + 1)).ok()?;
        Some(QueueId::from_parts(seconds, self.start, sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_never_repeat() {
        let a = QueueId::from_parts(1_800_000_000, 7, 3);
        assert_eq!(a.as_str().len(), 17);
        assert!(QueueId::from_parts(1_800_000_001, 0, 0) > a);
        assert!(QueueId::from_parts(1_800_000_000, 7, 4) > a);
        assert_eq!(QueueId::parse(a.as_str()), Ok(a));
        assert!(QueueId::parse("../../etc/passwd!").is_err());
        let ids = QueueIds::new((1 << 25) - 1);
        let made: std::collections::HashSet<_> = (0..1000).map(|_| ids.next(0).expect("room")).collect();
        assert_eq!(made.len(), 1000);
    }

    #[test]
    fn a_generator_ends_before_it_repeats() {
        let ids = QueueIds { start: 1, next: AtomicU32::new((1 << 25) - 1) };
        assert!(ids.next(5).is_some());
        assert!(ids.next(5).is_none());
    }

    #[test]
    fn derived_ids_stand_apart() {
        let id = QueueId::derived(0x1234_5678_9abc_def0_1234_5678_9abc_def0);
        assert!(id.as_str().starts_with('Z'));
        assert_eq!(QueueId::parse(id.as_str()), Ok(id));
        assert_ne!(id, QueueId::derived(1));
    }
}
