//! `facteur.log`: what changed in a mailbox and when, so that a client that was away learns just that (CONDSTORE and QRESYNC, RFC 7162). One
//! per mailbox, beside `dovecot-uidlist`. A cache: messages, their UIDs and flags are in the Maildir; without this file (deleted, damaged, of
//! another version or UIDVALIDITY) it is made anew, all messages get a new MODSEQ, and clients ask for the flags of all messages once.
//!
//! Header, 64 bytes; numbers here and below are little-endian:
//!
//! ```text
//!  0  8  "facteurL"
//!  8  2  version, 2        10  2  length of the header
//! 12  4  UIDVALIDITY
//! 16  8  log id: random, stays while MODSEQs go on from each other, another when the log is made anew
//! 24  8  file number: 1, one more whenever the file is replaced by a shorter one
//! 32  8  floor: of messages removed at this MODSEQ or below nothing is known
//! 40  8  XXH3-64 of the 40 bytes before
//! 48  8  settled: files have the names that records up to this MODSEQ gave them, as it was when the file was made
//! 56  8  settled xor "settled!"
//! ```
//! Version 1 is read too: there `settled` was overwritten in place. Who is about to write puts a file of version 2 in its place, with the same
//! log id and records.
//!
//! Records follow, appended only: length of the payload (4), its complement (4), XXH3-64 of the payload with the log id as seed (8), payload:
//! kind (1), MODSEQ (8), entries until its end. Flags are 4 bytes: keywords `a` to `z` in bits 0 to 25 (names in `dovecot-keywords`), `D F R S T`
//! in bits 26 to 30.
//!
//! ```text
//! kind 1  appeared   UID (4), flags (4), length of the name (2), file name up to its flags
//! kind 2  flags      UID (4), flags (4)
//! kind 3  vanished   first UID (4), last UID (4)
//! kind 4  state      UID (4), flags (4), MODSEQ of the message (8): all messages, in a file that replaced another behind what vanished lately
//! kind 5  settled    nothing: from here on the record's MODSEQ is what `settled` of the header was so far
//! ```
//! A kind not known is passed over. Within a log id the records from a MODSEQ on are all that another node needs to follow: it asks for those
//! above the highest it has, or begins anew when the floor is higher.
//!
//! MODSEQs rise with each change and never go back, also when this file is lost: the next one is the highest so far plus one, or the
//! microseconds since 1970 where that is higher (it is, unless a mailbox had a million changes in each second of its life). For a log made
//! anew the times of the mailbox's directories count as the clock does, so a clock that was set back does no harm.
//!
//! Written under flock(2) on the file itself. Whoever has it waits for the uidlist's lock briefly only, as the holder of that may wait for
//! this one. Changes of flags are
//! synced before the files are renamed, and files are renamed before anybody is told: a flag that was acknowledged is in the file's name, and
//! losing the log loses no flag. After a crash in between, or where the crash took renames back, records above `settled` win over file names.
//! So what says that names are settled must not be on the disk before they are. It is appended behind the renames, without a sync: ext4 and XFS
//! have in their journals a file's new size, without which the record is not there, behind names that were changed before. (An overwrite
//! in place they write whenever they like.) On other file systems `cur/` is synced first.
//! Otherwise file names win: what another program did gets its record when it is noticed, settled before it is written. Records of messages that
//! appeared need no sync: lost in a crash, the messages are found again, with a higher MODSEQ, or the uidlist knows that they were there.
//!
//! Reading needs no lock. A record cut short at the end of the file, or zeros there, are what a crash left (with the lock held) or what
//! somebody is writing (without): cut off, or not there yet. Anything else that does not fit its sum is damage, and makes the log anew.

mod file;

pub(crate) use file::{Found, Locked, Position, read};

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::flags::{Flags, Info, KeywordBits};

pub(crate) const FILE: &str = "facteur.log";

const MAGIC: &[u8; 8] = b"facteurL";
const VERSION: u16 = 2;
/// The earliest that is read.
const FIRST_VERSION: u16 = 1;
pub(crate) const HEADER_BYTES: usize = 64;
const SETTLED_AT: u64 = 48;
const SETTLED_CHECK: u64 = u64::from_le_bytes(*b"settled!");
const RECORD_HEADER_BYTES: usize = 16;
/// Kind and MODSEQ.
const PAYLOAD_HEADER_BYTES: usize = 9;
/// Longest payload we write; longer ones are damage.
const LONGEST_PAYLOAD: usize = 1 << 20;

/// Flags and keywords as the log has them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Bits(u32);

impl Bits {
    const FLAGS_AT: u32 = 26;

    pub fn of(info: Info) -> Bits {
        Bits(info.keywords.0 & ((1 << Bits::FLAGS_AT) - 1) | u32::from(info.flags.bits()) << Bits::FLAGS_AT)
    }

    /// What `info` is with these flags and keywords.
    pub fn onto(self, info: Info) -> Info {
        let flags = Flags::from_bits((self.0 >> Bits::FLAGS_AT) as u8);
        Info { flags, keywords: KeywordBits(self.0 & ((1 << Bits::FLAGS_AT) - 1)), ..info }
    }
}

/// What happened at one MODSEQ.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    pub modseq: u64,
    pub what: What,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum What {
    Appeared(Vec<(u32, Bits, Box<str>)>),
    Flags(Vec<(u32, Bits)>),
    /// Ranges of UIDs.
    Vanished(Vec<(u32, u32)>),
    /// With each message's own MODSEQ.
    State(Vec<(u32, Bits, u64)>),
    /// Files have the names that records up to this MODSEQ gave them.
    Settled,
    /// Of a later version.
    Other,
}

impl What {
    /// The highest UID in it.
    pub fn last_uid(&self) -> u32 {
        let last = match self {
            What::Appeared(list) => list.iter().map(|(uid, ..)| *uid).max(),
            What::Flags(list) => list.iter().map(|(uid, _)| *uid).max(),
            What::Vanished(list) => list.iter().map(|(_, last)| *last).max(),
            What::State(list) => list.iter().map(|(uid, ..)| *uid).max(),
            What::Settled | What::Other => None,
        };
        last.unwrap_or(0)
    }
}

/// Which log this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Header {
    pub uid_validity: u32,
    pub log_id: u64,
    pub number: u64,
    pub floor: u64,
}

impl Header {
    fn encode(&self) -> [u8; SETTLED_AT as usize] {
        let mut bytes = [0; SETTLED_AT as usize];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&(HEADER_BYTES as u16).to_le_bytes());
        bytes[12..16].copy_from_slice(&self.uid_validity.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.log_id.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.number.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.floor.to_le_bytes());
        let sum = xxh3_64(&bytes[..40]);
        bytes[40..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<Header> {
        let number = |at: usize| u64_at(bytes, at);
        let is_known = (FIRST_VERSION..=VERSION).contains(&u16_at(bytes, 8)?);
        let known = bytes[..8] == *MAGIC && is_known && usize::from(u16_at(bytes, 10)?) == HEADER_BYTES;
        if !known || number(40)? != xxh3_64(&bytes[..40]) {
            return None;
        }
        Some(Header { uid_validity: u32_at(bytes, 12)?, log_id: number(16)?, number: number(24)?, floor: number(32)? })
    }

    /// True for one of an earlier version, which is not appended to.
    fn is_old(bytes: &[u8; HEADER_BYTES]) -> bool {
        u16_at(bytes, 8).is_some_and(|version| version < VERSION)
    }
}

fn encode_settled(settled: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&settled.to_le_bytes());
    bytes[8..].copy_from_slice(&(settled ^ SETTLED_CHECK).to_le_bytes());
    bytes
}

fn decode_settled(bytes: &[u8; HEADER_BYTES]) -> Option<u64> {
    let (settled, check) = (u64_at(bytes, 48)?, u64_at(bytes, 56)?);
    (settled ^ SETTLED_CHECK == check).then_some(settled)
}

/// The MODSEQ after `highest` at `micros` since 1970. Positive, and below 2^63 (RFC 7162 §3.1).
pub(crate) fn next_modseq(highest: u64, micros: u64) -> u64 {
    // a clock beyond the year 2250 is none; at its end MODSEQs still rise
    let clock = if micros < 1 << 53 { micros } else { 0 };
    highest.saturating_add(1).max(clock).min(i64::MAX as u64)
}

/// Appends the encoded record; a long one as several with the same MODSEQ.
pub(crate) fn encode(out: &mut Vec<u8>, log_id: u64, record: &Record) {
    match &record.what {
        What::Appeared(entries) => chunks(out, log_id, 1, record.modseq, entries, |payload, (uid, bits, name)| {
            payload.extend_from_slice(&uid.to_le_bytes());
            payload.extend_from_slice(&bits.0.to_le_bytes());
            // file systems end at 255 bytes
            let name = name.as_bytes().get(..usize::from(u16::MAX)).unwrap_or(name.as_bytes());
            payload.extend_from_slice(&(name.len() as u16).to_le_bytes());
            payload.extend_from_slice(name);
        }),
        What::Flags(entries) => chunks(out, log_id, 2, record.modseq, entries, |payload, (uid, bits)| {
            payload.extend_from_slice(&uid.to_le_bytes());
            payload.extend_from_slice(&bits.0.to_le_bytes());
        }),
        What::Vanished(entries) => chunks(out, log_id, 3, record.modseq, entries, |payload, (first, last)| {
            payload.extend_from_slice(&first.to_le_bytes());
            payload.extend_from_slice(&last.to_le_bytes());
        }),
        What::State(entries) => chunks(out, log_id, 4, record.modseq, entries, |payload, (uid, bits, modseq)| {
            payload.extend_from_slice(&uid.to_le_bytes());
            payload.extend_from_slice(&bits.0.to_le_bytes());
            payload.extend_from_slice(&modseq.to_le_bytes());
        }),
        What::Settled => chunks::<()>(out, log_id, 5, record.modseq, &[], |_, ()| {}),
        What::Other => {}
    }
}

/// Entries a record has at most: all kinds stay far below [`LONGEST_PAYLOAD`].
const CHUNK: usize = 1 << 12;

fn chunks<T>(out: &mut Vec<u8>, log_id: u64, kind: u8, modseq: u64, entries: &[T], mut write: impl FnMut(&mut Vec<u8>, &T)) {
    // a state without messages still tells the MODSEQ
    let pieces = entries.chunks(CHUNK).chain(entries.is_empty().then_some(entries));
    for piece in pieces {
        let start = out.len();
        out.resize(start + RECORD_HEADER_BYTES, 0);
        out.push(kind);
        out.extend_from_slice(&modseq.to_le_bytes());
        piece.iter().for_each(|entry| write(out, entry));
        let payload = &out[start + RECORD_HEADER_BYTES..];
        let (length, sum) = (payload.len() as u32, xxh3_64_with_seed(payload, log_id));
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
        out[start + 4..start + 8].copy_from_slice(&(!length).to_le_bytes());
        out[start + 8..start + 16].copy_from_slice(&sum.to_le_bytes());
    }
}

/// How reading records ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// All bytes were records.
    Whole,
    /// The last record is cut short.
    Torn,
    Damaged,
}

/// Reads records; gives also how many bytes they took.
pub(crate) fn decode(bytes: &[u8], log_id: u64) -> (Vec<Record>, usize, End) {
    let (mut records, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = if rest.iter().all(|byte| *byte == 0) || rest.len() < RECORD_HEADER_BYTES { End::Torn } else { End::Damaged };
        let (Some(length), Some(check), Some(sum)) = (u32_at(rest, 0), u32_at(rest, 4), u64_at(rest, 8)) else {
            return (records, at, end);
        };
        let length = length as usize;
        if check != !(length as u32) || !(PAYLOAD_HEADER_BYTES..=LONGEST_PAYLOAD).contains(&length) {
            return (records, at, end);
        }
        let Some(payload) = rest.get(RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + length) else { return (records, at, End::Torn) };
        let record = if xxh3_64_with_seed(payload, log_id) == sum { decode_payload(payload) } else { None };
        let Some(record) = record else { return (records, at, End::Damaged) };
        records.push(record);
        at += RECORD_HEADER_BYTES + length;
    }
    (records, at, End::Whole)
}

fn decode_payload(payload: &[u8]) -> Option<Record> {
    let (kind, modseq) = (*payload.first()?, u64_at(payload, 1)?);
    let entries = payload.get(PAYLOAD_HEADER_BYTES..)?;
    let fixed = |size: usize| (entries.len() % size == 0).then(|| entries.chunks_exact(size));
    let what = match kind {
        1 => {
            let (mut all, mut at) = (Vec::new(), 0);
            while at < entries.len() {
                let length = usize::from(u16_at(entries, at + 8)?);
                let name = std::str::from_utf8(entries.get(at + 10..at + 10 + length)?).ok()?;
                all.push((u32_at(entries, at)?, Bits(u32_at(entries, at + 4)?), name.into()));
                at += 10 + length;
            }
            What::Appeared(all)
        }
        2 => What::Flags(fixed(8)?.map(|entry| Some((u32_at(entry, 0)?, Bits(u32_at(entry, 4)?)))).collect::<Option<_>>()?),
        3 => What::Vanished(fixed(8)?.map(|entry| Some((u32_at(entry, 0)?, u32_at(entry, 4)?))).collect::<Option<_>>()?),
        4 => What::State(
            fixed(16)?.map(|entry| Some((u32_at(entry, 0)?, Bits(u32_at(entry, 4)?), u64_at(entry, 8)?))).collect::<Option<_>>()?,
        ),
        5 => What::Settled,
        _ => What::Other,
    };
    Some(Record { modseq, what })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Rising UIDs as ranges.
pub(crate) fn ranges(uids: impl IntoIterator<Item = u32>) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for uid in uids {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(uid) => *last = uid,
            _ => ranges.push((uid, uid)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bits(text: &str) -> Bits {
        Bits::of(Info::parse(text))
    }

    fn sample() -> Vec<Record> {
        vec![
            Record { modseq: 7, what: What::State(vec![(1, bits("S"), 3), (2, bits("DFRSTaz"), 7)]) },
            Record { modseq: 8, what: What::Appeared(vec![(3, bits(""), "1.M2.host,S=3".into()), (4, bits("b"), "x".into())]) },
            Record { modseq: 9, what: What::Flags(vec![(3, bits("S"))]) },
            Record { modseq: 9, what: What::Settled },
            Record { modseq: 10, what: What::Vanished(vec![(1, 2), (4, 4)]) },
        ]
    }

    fn encoded(records: &[Record]) -> Vec<u8> {
        let mut out = Vec::new();
        records.iter().for_each(|record| encode(&mut out, 5, record));
        out
    }

    #[test]
    fn flags_and_keywords_fit_and_foreign_letters_stay() {
        let info = Info::parse("PDFRSTaz");
        assert_eq!(Bits::of(info).onto(Info::parse("PX")), Info { other: Info::parse("PX").other, ..info });
    }

    #[test]
    fn what_is_written_reads_back_in_order() {
        assert_eq!(decode(&encoded(&sample()), 5), (sample(), encoded(&sample()).len(), End::Whole));
        let many = Record { modseq: 1, what: What::Flags((1..=10_000).map(|uid| (uid, Bits(uid))).collect()) };
        let (records, ..) = decode(&encoded(std::slice::from_ref(&many)), 5);
        assert_eq!(records.len(), 3);
        assert!(records.iter().all(|record| record.modseq == 1));
    }

    /// Cut anywhere, what stands before stays and the rest was never told to anybody; the same with the zeros that a file system may put there.
    #[test]
    fn a_tail_torn_at_any_byte_is_cut() {
        let whole = encoded(&sample());
        let ends: Vec<usize> = (0..=5).map(|count| encoded(&sample()[..count]).len()).collect();
        for cut in 0..whole.len() {
            let complete = ends.iter().rposition(|end| *end <= cut).unwrap();
            let want = if ends.contains(&cut) { End::Whole } else { End::Torn };
            assert_eq!(decode(&whole[..cut], 5), (sample()[..complete].to_vec(), ends[complete], want), "{cut}");
            if ends.contains(&cut) {
                let mut zeros = whole[..cut].to_vec();
                zeros.resize(whole.len() + 5, 0);
                assert_eq!(decode(&zeros, 5), (sample()[..complete].to_vec(), ends[complete], End::Torn), "{cut}");
            }
        }
    }

    #[test]
    fn a_damaged_byte_is_seen_wherever_it_is() {
        let whole = encoded(&sample());
        for at in 0..whole.len() {
            for flip in [1, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] ^= flip;
                let (records, _, end) = decode(&damaged, 5);
                assert_eq!(end, End::Damaged, "{at} {flip}");
                assert_eq!(records, sample()[..records.len()], "{at}");
            }
        }
        // of another log
        assert_eq!(decode(&whole, 6).2, End::Damaged);
    }

    #[test]
    fn a_header_with_a_damaged_byte_is_none() {
        let header = Header { uid_validity: 9, log_id: 5, number: 2, floor: 77 };
        let mut bytes = [0; HEADER_BYTES];
        bytes[..48].copy_from_slice(&header.encode());
        bytes[48..].copy_from_slice(&encode_settled(1234));
        assert_eq!((Header::decode(&bytes), decode_settled(&bytes)), (Some(header), Some(1234)));
        for at in 0..48 {
            let mut damaged = bytes;
            damaged[at] ^= 1;
            assert_eq!(Header::decode(&damaged), None, "{at}");
        }
        for at in 48..64 {
            let mut damaged = bytes;
            damaged[at] ^= 1;
            assert_eq!((Header::decode(&damaged), decode_settled(&damaged)), (Some(header), None), "{at}");
        }
    }

    #[test]
    fn modseqs_rise_whatever_the_clock_does() {
        let now = 1_700_000_000_000_000;
        let first = next_modseq(0, now);
        assert_eq!(first, now);
        assert_eq!(next_modseq(first, now), first + 1);
        assert_eq!(next_modseq(first + 5, now - 1000), first + 6);
        assert_eq!(next_modseq(first, now + 1000), now + 1000);
        assert_eq!((next_modseq(0, 0), next_modseq(first, u64::MAX)), (1, first + 1));
        assert_eq!(next_modseq(u64::MAX, 0), i64::MAX as u64);
    }

    proptest! {
        #[test]
        fn bytes_of_others_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            decode(&bytes, 5);
            decode_payload(&bytes);
        }
    }
}
