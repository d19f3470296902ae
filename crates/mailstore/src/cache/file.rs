//! The file: records made and checked, found, read, appended, replaced.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{Kind, LARGEST_CONTENT, Place};
use crate::dir::{Dir, Stamp};
use crate::error::{Error, Result};

const HEADER_BYTES: usize = 16;
const MAGIC: [u8; 4] = *b"FcR1";
const RECORD_BYTES: usize = 24;

/// Read from the file at once, where what is wanted lies one behind the other.
const WINDOW_BYTES: usize = 64 << 10;

/// Which file was read, and how far.
pub(super) struct Known {
    device: u64,
    inode: u64,
    /// Behind the last record found.
    pub end: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scan {
    /// Up to the end, or to a record that somebody is writing.
    Done,
    Damaged,
}

impl Known {
    pub fn new(stamp: &Stamp) -> Known {
        Known { device: stamp.device, inode: stamp.inode, end: HEADER_BYTES as u64 }
    }

    /// Still the same file, no shorter than it was.
    pub fn is(&self, stamp: &Stamp) -> bool {
        (self.device, self.inode) == (stamp.device, stamp.inode) && stamp.size >= self.end
    }
}

/// Stands for the file's name in a record.
pub(super) fn key(base: &str) -> u64 {
    xxh3_64(base.as_bytes())
}

/// A number for an open file that no other gets.
pub(super) fn number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn check(content: &[u8], uid: u32, key: u64) -> u32 {
    xxh3_64_with_seed(content, key ^ (u64::from(uid) << 32) ^ content.len() as u64) as u32
}

pub(super) fn write_record(out: &mut Vec<u8>, uid: u32, key: u64, content: &[u8]) {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&(content.len() as u32).to_le_bytes());
    out.extend_from_slice(&uid.to_le_bytes());
    out.extend_from_slice(&check(content, uid, key).to_le_bytes());
    out.extend_from_slice(&key.to_le_bytes());
    out.extend_from_slice(content);
}

/// Length and UID of the record that begins here.
fn begin(record: &[u8]) -> Option<(u32, u32)> {
    let number = |at: usize| Some(u32::from_le_bytes(record.get(at..at + 4)?.try_into().ok()?));
    let length = number(4)?;
    (record.starts_with(&MAGIC) && length as usize <= LARGEST_CONTENT).then_some((length, number(8)?))
}

/// The content of the record that begins here, when it is whole and of this message.
pub(super) fn content(record: &[u8], uid: u32, key: u64) -> Option<&[u8]> {
    let (length, of) = begin(record)?;
    let content = record.get(RECORD_BYTES..RECORD_BYTES + length as usize)?;
    let fits = of == uid && record[16..24] == key.to_le_bytes() && record[12..16] == check(content, uid, key).to_le_bytes();
    fits.then_some(content)
}

/// `None` when there is none.
pub(super) fn open(kind: &Kind, dir: &Dir) -> Result<Option<(File, Stamp)>> {
    match dir.open_append(kind.file) {
        Ok(file) => stamp(kind, dir, &file).map(|stamp| Some((file, stamp))),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn stamp(kind: &Kind, dir: &Dir, file: &File) -> Result<Stamp> {
    nix::sys::stat::fstat(file).map(|stat| Stamp::of(&stat)).map_err(|e| Error::io("stat", dir.at(kind.file), e))
}

/// Finds the records from `known.end` up to `size`, and moves `known.end` behind the last whole one.
pub(super) fn scan(kind: &Kind, file: &File, known: &mut Known, size: u64, mut found: impl FnMut(u32, Place)) -> io::Result<Scan> {
    if known.end == HEADER_BYTES as u64 && size >= known.end {
        let mut header = [0; HEADER_BYTES];
        file.read_exact_at(&mut header, 0)?;
        if header != *kind.header {
            return Ok(Scan::Damaged);
        }
    }
    let mut window = Window::default();
    while known.end + RECORD_BYTES as u64 <= size {
        let Some((length, uid)) = window.at(file, known.end, RECORD_BYTES, WINDOW_BYTES)?.and_then(begin) else {
            return Ok(Scan::Damaged);
        };
        let next = known.end + RECORD_BYTES as u64 + u64::from(length);
        if next > size {
            break;
        }
        found(uid, Place { offset: known.end, length });
        known.end = next;
    }
    Ok(Scan::Done)
}

/// A stretch of a file that was read.
#[derive(Default)]
struct Window {
    /// Number of the file, where that matters.
    of: u64,
    from: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// `length` bytes from `offset`; reads `ahead` bytes when they are not there. `None` at the end of the file.
    fn at(&mut self, file: &File, offset: u64, length: usize, ahead: usize) -> io::Result<Option<&[u8]>> {
        let inside = |window: &Window| {
            let at = usize::try_from(offset.checked_sub(window.from)?).ok()?;
            (at + length <= window.bytes.len()).then_some(at)
        };
        let mut at = inside(self);
        if at.is_none() {
            self.bytes.resize(ahead.max(length), 0);
            self.from = offset;
            let mut got = 0;
            while got < self.bytes.len() {
                match file.read_at(&mut self.bytes[got..], offset + got as u64) {
                    Ok(0) => break,
                    Ok(count) => got += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        self.bytes.clear();
                        return Err(error);
                    }
                }
            }
            self.bytes.truncate(got);
            at = inside(self);
        }
        Ok(at.map(|at| &self.bytes[at..at + length]))
    }

    /// Whether a record there is likely to be one of many that are read one after the other.
    fn is_near(&self, number: u64, offset: u64) -> bool {
        let end = self.from + self.bytes.len() as u64;
        self.of == number && (self.from..end + WINDOW_BYTES as u64).contains(&offset)
    }
}

/// The content of the record at `place`, when it is whole and of this message.
pub(super) fn read(number: u64, file: &File, place: Place, uid: u32, key: u64) -> Option<Vec<u8>> {
    thread_local! {
        static WINDOW: RefCell<Window> = RefCell::default();
    }
    WINDOW.with_borrow_mut(|window| {
        let length = RECORD_BYTES + place.length as usize;
        let ahead = if window.is_near(number, place.offset) { WINDOW_BYTES } else { length };
        if window.of != number {
            *window = Window { of: number, ..Window::default() };
        }
        let record = window.at(file, place.offset, length, ahead);
        let found = record.inspect_err(|error| tracing::debug!(%error, "cache cannot be read")).ok().flatten();
        let found = found.and_then(|record| content(record, uid, key)).map(<[u8]>::to_vec);
        if window.bytes.capacity() > 4 * WINDOW_BYTES {
            *window = Window::default();
        }
        found
    })
}

/// Appends records, to `file` or to the one that is there or is made; and where they begin.
pub(super) fn append(kind: &Kind, dir: &Dir, file: Option<&Arc<File>>, records: &[u8]) -> Result<(Arc<File>, u64, Stamp)> {
    let file = match file {
        Some(file) => file.clone(),
        None => Arc::new(dir.open_or_create_append(kind.file)?),
    };
    let failed = |e| Error::io("write", dir.at(kind.file), e);
    let is_empty = stamp(kind, dir, &file)?.size == 0;
    if is_empty {
        (&*file).write_all(&[&kind.header[..], records].concat()).map_err(failed)?;
    } else {
        (&*file).write_all(records).map_err(failed)?;
    }
    let end = (&*file).stream_position().map_err(failed)?;
    let stamp = stamp(kind, dir, &file)?;
    Ok((file, end.saturating_sub(records.len() as u64), stamp))
}

/// Puts a file with these records in the place of `file`.
pub(super) fn replace(kind: &Kind, dir: &Dir, file: &File, living: impl Iterator<Item = Place>) -> Result<()> {
    // left by who was stopped; another process at the same work loses, and goes on with a file that no longer has a name
    dir.unlink(kind.temporary)?;
    let made = dir.create(kind.temporary)?;
    let copy = || -> io::Result<()> {
        let mut out = io::BufWriter::with_capacity(WINDOW_BYTES, &made);
        out.write_all(kind.header)?;
        let mut window = Window::default();
        for place in living {
            let length = RECORD_BYTES + place.length as usize;
            // whether it is whole is seen when it is used
            if let Some(record) = window.at(file, place.offset, length, WINDOW_BYTES)?.filter(|record| begin(record).is_some()) {
                out.write_all(record)?;
            }
        }
        out.flush()
    };
    if let Err(error) = copy() {
        let _ = dir.unlink(kind.temporary);
        return Err(Error::io("write", dir.at(kind.temporary), error));
    }
    dir.rename(kind.temporary, dir, kind.file)
}
