//! `facteur.index`: what was known of a mailbox when it was last looked at, so that opening it again need not read its directories, its uidlist and its
//! log. One per mailbox, beside `dovecot-uidlist`. A cache: deleted, damaged, or of another version, it is as if there were none.
//!
//! A mailbox read from it is as one that this process has had open since: the uidlist and the log are read from where they had been read to, and
//! the directories when their times are others. So it may be old, as long as what it says was true then.
//!
//! Header, 64 bytes; numbers here and below are little-endian:
//!
//! ```text
//!  0  8  "facteurI"
//!  8  4  version, 1          12  4  number of messages
//! 16  8  length of the file  24  8  XXH3-64 of what is behind the header
//! 32 24  zeros               56  8  XXH3-64 of the 56 bytes before
//! ```
//!
//! Facts, 272 bytes: stamps of `new/` and `cur/` (each device, inode, size, seconds, nanoseconds of the time of change: 8 each), when they were
//! looked at (seconds, nanoseconds: 8 each); of the uidlist its stamp, the bytes read and the hash of their ends; of the log UIDVALIDITY, log id, file
//! number, floor (8 each), the bytes read, its stamp and `settled`; UIDVALIDITY, next UID, highest UID shown, lines of the uidlist, highest UID
//! in the log, length of the GUID (4 each), highest MODSEQ (8).
//!
//! Then the GUID of the mailbox, and for each message, by rising UID, 56 bytes:
//!
//! ```text
//!  0  4  UID                  4  1  flags `D F R S T` in bits 0 to 4   5  1  1: in `new/`
//!  6  2  length of the name   8  4  keywords `a` to `z` in bits 0 to 25
//! 12  4  other letters `A` to `Z` in bits 0 to 25                      16  8  MODSEQ
//! 24  8  size on disk        32  8  size with CRLF line ends           40  8  internal date
//! 48  2  length of a file name that is not as we would write it        50  2  length of the GUID
//! 52  4  length of the fields in the uidlist
//! ```
//! Sizes of 2^64 - 1 and a date of -2^63 are not known. Behind all of them stand the texts, in the same order: name up to the flags, file name, GUID, fields.
//!
//! Written without a sync under a name of its own and renamed; the sums tell what a crash left of it.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use xxhash_rust::xxh3::xxh3_64;

use crate::changelog::{self, Header};
use crate::dir::{Dir, Stamp};
use crate::error::{Error, Result};
use crate::flags::{Flags, Info, KeywordBits};
use crate::mailbox::State;
use crate::mailbox::is_message_name;
use crate::snapshot::{Core, Message, Snapshot};
use crate::uidlist;

pub(crate) const FILE: &str = "facteur.index";
const TEMPORARY: &str = "facteur.index.tmp";
const MAGIC: &[u8; 8] = b"facteurI";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 64;
const FACT_BYTES: usize = 272;
const MESSAGE_BYTES: usize = 56;

/// Largest file read.
const LARGEST_BYTES: u64 = 1 << 30;

/// What is written: taken from the state at once, and encoded without its lock.
pub(crate) struct Known {
    pub snapshot: Snapshot,
    pub fields: std::collections::BTreeMap<u32, Box<str>>,
    pub looked: (Stamp, Stamp, SystemTime),
    pub list: uidlist::Position,
    pub lines: usize,
    pub guid: String,
    pub highest: u32,
    pub log: changelog::Position,
    pub settled: u64,
    pub last_uid: u32,
}

/// Writes the index of the mailbox in `dir`.
pub(crate) fn write(dir: &Dir, known: &Known) -> Result<()> {
    let bytes = encode(known);
    dir.clear(TEMPORARY)?;
    let mut file = dir.create(TEMPORARY)?;
    if let Err(error) = file.write_all(&bytes) {
        let _ = dir.unlink(TEMPORARY);
        return Err(Error::io("write", dir.at(TEMPORARY), error));
    }
    dir.rename(TEMPORARY, dir, FILE)
}

/// The mailbox as the index has it; `None` where there is none of use.
pub(crate) fn read(dir: &Dir) -> Result<Option<State>> {
    Ok(dir.read_small(FILE, LARGEST_BYTES)?.and_then(|bytes| decode(&bytes)))
}

/// Removes it: what it says is in doubt.
pub(crate) fn remove(dir: &Dir) -> Result<()> {
    dir.unlink(FILE).map(drop)
}

fn encode(known: &Known) -> Vec<u8> {
    let count = known.snapshot.len();
    let mut out = Vec::with_capacity(HEADER_BYTES + FACT_BYTES + count * (MESSAGE_BYTES + 64));
    out.resize(HEADER_BYTES, 0);
    put_stamp(&mut out, &known.looked.0);
    put_stamp(&mut out, &known.looked.1);
    let when = known.looked.2.duration_since(UNIX_EPOCH).unwrap_or_default();
    put(&mut out, when.as_secs());
    put(&mut out, u64::from(when.subsec_nanos()));
    put_stamp(&mut out, &known.list.stamp);
    put(&mut out, known.list.offset);
    put(&mut out, known.list.mark());
    let Header { uid_validity, log_id, number, floor } = known.log.header;
    [u64::from(uid_validity), log_id, number, floor, known.log.offset].into_iter().for_each(|number| put(&mut out, number));
    put_stamp(&mut out, &known.log.stamp);
    put(&mut out, known.settled);
    let snapshot = &known.snapshot;
    let lines = u32::try_from(known.lines).unwrap_or(u32::MAX);
    for number in [snapshot.uid_validity, snapshot.uid_next, known.highest, lines, known.last_uid, known.guid.len() as u32] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    put(&mut out, snapshot.highest_modseq);
    debug_assert_eq!(out.len(), HEADER_BYTES + FACT_BYTES);
    out.extend_from_slice(known.guid.as_bytes());
    let fields = |message: &Message| known.fields.get(&message.uid()).map_or("", |fields| fields);
    for message in snapshot.iter() {
        let Message { core, info, in_new, odd_name, modseq } = message;
        out.extend_from_slice(&core.uid.to_le_bytes());
        out.extend_from_slice(&[info.flags.bits(), u8::from(*in_new)]);
        out.extend_from_slice(&(core.base.len() as u16).to_le_bytes());
        out.extend_from_slice(&info.keywords.0.to_le_bytes());
        out.extend_from_slice(&info.other.to_le_bytes());
        put(&mut out, *modseq);
        put(&mut out, core.size().unwrap_or(u64::MAX));
        put(&mut out, core.virtual_size().unwrap_or(u64::MAX));
        put(&mut out, core.internal_date().unwrap_or(i64::MIN) as u64);
        out.extend_from_slice(&(odd_name.as_deref().map_or(0, str::len) as u16).to_le_bytes());
        out.extend_from_slice(&(core.own_guid().map_or(0, str::len) as u16).to_le_bytes());
        out.extend_from_slice(&(fields(message).len() as u32).to_le_bytes());
    }
    for message in snapshot.iter() {
        let texts =
            [&*message.core.base, message.odd_name.as_deref().unwrap_or(""), message.core.own_guid().unwrap_or(""), fields(message)];
        texts.iter().for_each(|text| out.extend_from_slice(text.as_bytes()));
    }
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&(count as u32).to_le_bytes());
    put(&mut header, out.len() as u64);
    put(&mut header, xxh3_64(&out[HEADER_BYTES..]));
    header.resize(HEADER_BYTES - 8, 0);
    let sum = xxh3_64(&header);
    put(&mut header, sum);
    out[..HEADER_BYTES].copy_from_slice(&header);
    out
}

fn put(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_stamp(out: &mut Vec<u8>, stamp: &Stamp) {
    [stamp.device, stamp.inode, stamp.size, stamp.modified.0 as u64, stamp.modified.1 as u64]
        .into_iter()
        .for_each(|number| put(out, number));
}

/// Numbers and texts, one after the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.bytes(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(8)?.try_into().ok()?))
    }

    fn stamp(&mut self) -> Option<Stamp> {
        let (device, inode, size) = (self.u64()?, self.u64()?, self.u64()?);
        Some(Stamp { device, inode, size, modified: (self.u64()? as i64, self.u64()? as i64) })
    }
}

fn decode(bytes: &[u8]) -> Option<State> {
    let (header, body) = bytes.split_at_checked(HEADER_BYTES)?;
    let mut reader = Reader(header);
    let is_ours = reader.bytes(8)? == MAGIC && reader.u32()? == VERSION;
    let count = reader.u32()? as usize;
    let (length, sum) = (reader.u64()?, reader.u64()?);
    let (checked, check) = header.split_at(HEADER_BYTES - 8);
    if !is_ours || length != bytes.len() as u64 || xxh3_64(checked) != Reader(check).u64()? || xxh3_64(body) != sum {
        return None;
    }
    let mut reader = Reader(body);
    let (new, cur) = (reader.stamp()?, reader.stamp()?);
    let when = UNIX_EPOCH.checked_add(Duration::new(reader.u64()?, reader.u64()?.min(999_999_999) as u32))?;
    let list = (reader.stamp()?, reader.u64()?, reader.u64()?);
    let header =
        Header { uid_validity: reader.u64()?.try_into().ok()?, log_id: reader.u64()?, number: reader.u64()?, floor: reader.u64()? };
    let log = changelog::Position { header, offset: reader.u64()?, stamp: reader.stamp()? };
    let settled = reader.u64()?;
    let mut state = State::default();
    (state.snapshot.uid_validity, state.snapshot.uid_next) = (reader.u32()?, reader.u32()?);
    (state.highest, state.lines) = (reader.u32()?, reader.u32()? as usize);
    let last_uid = reader.u32()?;
    let guid_length = reader.u32()? as usize;
    state.snapshot.highest_modseq = reader.u64()?;
    state.guid = std::str::from_utf8(reader.bytes(guid_length)?).ok()?.to_owned();
    state.position = Some(uidlist::Position::known(list.0, list.1, list.2));
    state.looked = Some((new, cur, when));
    state.journal.resume(log, settled, last_uid);
    let messages = Reader(reader.bytes(count.checked_mul(MESSAGE_BYTES)?)?);
    add_messages(&mut state, messages, std::str::from_utf8(reader.0).ok()?)?;
    (state.snapshot.uid_validity != 0 && state.highest < state.snapshot.uid_next).then_some(state)
}

fn add_messages(state: &mut State, mut reader: Reader<'_>, mut texts: &str) -> Option<()> {
    // the sums say that we wrote it; names lead to files all the same, and must not lead out of the mailbox
    if texts.contains(['/', '\0']) {
        return None;
    }
    let mut take = |length: usize| {
        let (text, rest) = texts.split_at_checked(length)?;
        texts = rest;
        Some(text)
    };
    let mut last = 0;
    while !reader.0.is_empty() {
        let uid = reader.u32()?;
        let &[flags, in_new] = reader.bytes(2)? else { return None };
        let base_length = usize::from(reader.u16()?);
        let info = Info { flags: Flags::from_bits(flags), keywords: KeywordBits(reader.u32()?), other: reader.u32()? };
        let modseq = reader.u64()?;
        let (size, virtual_size, date) = (reader.u64()?, reader.u64()?, reader.u64()? as i64);
        let (odd_length, guid_length) = (usize::from(reader.u16()?), usize::from(reader.u16()?));
        let fields_length = reader.u32()? as usize;
        let (base, odd, guid, fields) = (take(base_length)?, take(odd_length)?, take(guid_length)?, take(fields_length)?);
        if uid <= last || uid > state.highest || !is_message_name(base) || base.is_empty() || odd.starts_with('.') {
            return None;
        }
        last = uid;
        let core = Arc::new(Core::known(uid, base, guid, size, virtual_size, date));
        if !fields.is_empty() {
            state.fields.insert(uid, fields.into());
        }
        state.unclaimed += usize::from(in_new != 0);
        let odd_name = (!odd.is_empty()).then(|| odd.into());
        state.snapshot.push(Message { core, info, in_new: in_new != 0, odd_name, modseq });
    }
    texts.is_empty().then_some(())
}

#[cfg(test)]
mod tests;
