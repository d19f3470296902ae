//! A segment of the journal: its format (version 1), and how it is read.
//!
//! A segment is a preallocated file `journal/<generation as 16 hexadecimal digits>.segment`, about 64 MiB. Numbers are
//! little-endian. At offset 0 stands its header of 64 bytes:
//!
//! ```text
//!  0  8  "FCTJRNL1"                 32  8  seconds since 1970 when it was begun
//!  8  8  generation                 40 16  zeros
//! 16  8  previous generation, or 0  56  8  XXH3-64 of bytes 0..56
//! 24  8  synced limit of that one
//! ```
//!
//! From offset 4096 on follow records, each at a multiple of 64 and padded with zeros to the next:
//!
//! ```text
//!  0  4  "FREC"                     32  8  how far this segment was synced when the record was written
//!  4  4  kind: 1 message, 2 closed  40 24  queue id, padded with zeros
//!  8  8  generation                 64  8  XXH3-64 of the payload
//! 16  8  offset of this record      72  8  XXH3-64 of bytes 0..72
//! 24  8  length of the payload      80     payload: envelope text and body (envelope.rs)
//! ```
//!
//! What a record promises depends on the synced limit of its segment: everything below was synced before somebody said 250.
//! The limit is stated by the header of the next segment, and meanwhile by the hints of smtpd and by what later records
//! say in their fourth field. What lies above may be there, but its client was told 451 or nothing. A segment that is
//! used again keeps old bytes behind the new records; they carry another generation and so are not seen. A file whose
//! header is of another generation, or blank, was renamed or prepared for use and has no records yet.
//!
//! A `closed` record is the last of a segment whose writer stopped in order; everything before it was synced.

use crate::Error;
use durable::File;
use mail_types::QueueId;
use xxhash_rust::xxh3::xxh3_64;

pub(crate) const FIRST_RECORD: u64 = 4096;
pub(crate) const HEADER_BYTES: usize = 64;
const ALIGN: u64 = 64;
const RECORD_HEADER: usize = 80;
const MAGIC: &[u8; 8] = b"FCTJRNL1";
const RECORD_MAGIC: &[u8; 4] = b"FREC";
const MESSAGE: u32 = 1;
const CLOSED: u32 = 2;

/// The header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub generation: u64,
    /// The segment written before this one (0: none) and how far it was synced.
    pub previous: u64,
    pub previous_limit: u64,
    pub begun_seconds: u64,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        for (at, value) in [(8, self.generation), (16, self.previous), (24, self.previous_limit), (32, self.begun_seconds)] {
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        let sum = xxh3_64(&bytes[..56]);
        bytes[56..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<Header> {
        if &bytes[..8] != MAGIC || number(bytes, 56) != xxh3_64(&bytes[..56]) {
            return None;
        }
        Some(Header {
            generation: number(bytes, 8),
            previous: number(bytes, 16),
            previous_limit: number(bytes, 24),
            begun_seconds: number(bytes, 32),
        })
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// The room a record with such a payload takes.
pub(crate) fn record_length(payload: usize) -> u64 {
    (RECORD_HEADER + payload).next_multiple_of(ALIGN as usize) as u64
}

/// Appends a record that will stand at `offset`.
pub(crate) fn encode_message(generation: u64, offset: u64, synced_to: u64, id: &QueueId, payload: &[u8], out: &mut Vec<u8>) {
    encode_record(MESSAGE, generation, offset, synced_to, id.as_str().as_bytes(), payload, out);
}

/// Appends the record that closes a segment.
pub(crate) fn encode_closed(generation: u64, offset: u64, out: &mut Vec<u8>) {
    encode_record(CLOSED, generation, offset, offset, b"", b"", out);
}

fn encode_record(kind: u32, generation: u64, offset: u64, synced_to: u64, id: &[u8], payload: &[u8], out: &mut Vec<u8>) {
    let mut header = [0; RECORD_HEADER];
    header[..4].copy_from_slice(RECORD_MAGIC);
    header[4..8].copy_from_slice(&kind.to_le_bytes());
    for (at, value) in [(8, generation), (16, offset), (24, payload.len() as u64), (32, synced_to), (64, xxh3_64(payload))] {
        header[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    header[40..40 + id.len()].copy_from_slice(id);
    let sum = xxh3_64(&header[..72]);
    header[72..].copy_from_slice(&sum.to_le_bytes());
    let end = out.len() + record_length(payload.len()) as usize;
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
    out.resize(end, 0);
}

struct RecordHeader {
    kind: u32,
    payload: u64,
    synced_to: u64,
    id: Option<QueueId>,
    sum: u64,
}

impl RecordHeader {
    fn decode(bytes: &[u8], generation: u64, offset: u64) -> Option<RecordHeader> {
        if &bytes[..4] != RECORD_MAGIC || number(bytes, 8) != generation || number(bytes, 16) != offset {
            return None;
        }
        if number(bytes, 72) != xxh3_64(&bytes[..72]) {
            return None;
        }
        let id = std::str::from_utf8(&bytes[40..57]).ok().and_then(|t| QueueId::parse(t).ok());
        let kind = u32::from_le_bytes(bytes[4..8].try_into().expect("four bytes"));
        Some(RecordHeader { kind, payload: number(bytes, 24), synced_to: number(bytes, 32), id, sum: number(bytes, 64) })
    }

    fn length(&self) -> u64 {
        (RECORD_HEADER as u64).saturating_add(self.payload).checked_next_multiple_of(ALIGN).unwrap_or(u64::MAX)
    }
}

/// A segment opened for reading.
#[derive(Debug)]
pub struct Segment {
    file: File,
    generation: u64,
    header: Option<Header>,
    size_bytes: u64,
}

impl Segment {
    /// `generation` is the one in the file's name.
    pub fn open(disk: &dyn durable::Disk, path: &std::path::Path, generation: u64) -> Result<Segment, Error> {
        Segment::of(File::open(disk, path, false)?, generation)
    }

    pub(crate) fn of(file: File, generation: u64) -> Result<Segment, Error> {
        let size_bytes = file.size()?;
        let mut bytes = [0; HEADER_BYTES];
        let header = match size_bytes < HEADER_BYTES as u64 {
            true => None,
            false => {
                file.read_exact_at(&mut bytes, 0)?;
                Header::decode(&bytes).filter(|h| h.generation == generation)
            }
        };
        Ok(Segment { file, generation, header, size_bytes })
    }

    /// The header, when the segment has one of its generation.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Whether there is mail in it: it has a header, or a damaged one and a record behind it.
    pub fn is_used(&self) -> Result<bool, Error> {
        Ok(self.header.is_some() || self.scan(FIRST_RECORD, FIRST_RECORD + (1 << 20), false).next()?.is_some())
    }

    /// Walks over the records from `from` (0: all) to `to`. `to_is_limit`: everything below `to` was synced, so what is no
    /// record there is damage; otherwise the walk ends where no more records follow.
    pub fn scan(&self, from: u64, to: u64, to_is_limit: bool) -> Scan<'_> {
        let to = to.min(self.size_bytes);
        Scan {
            segment: self,
            at: from.max(FIRST_RECORD),
            to,
            to_is_limit,
            stated: 0,
            payload: Vec::new(),
            window: Vec::new(),
            window_at: 0,
        }
    }

    /// The payload of the message at `offset`, or `Error::Damaged`.
    pub fn read(&self, offset: u64) -> Result<(Option<QueueId>, Vec<u8>), Error> {
        let mut scan = self.scan(offset, u64::MAX, false);
        match scan.next()? {
            Some(Item::Message { offset: at, id, .. }) if at == offset => Ok((Some(id), std::mem::take(&mut scan.payload))),
            _ => Err(Error::damaged(self.file.path(), format!("no record at {offset}"))),
        }
    }

    /// The raw bytes of a range, to set them aside.
    pub fn raw(&self, offset: u64, length: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; length.min(self.size_bytes.saturating_sub(offset)) as usize];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    pub(crate) fn into_file(self) -> File {
        self.file
    }
}

/// One thing met on the walk over a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// A whole message; `Scan::payload` has its bytes until the next step.
    Message { offset: u64, length: u64, id: QueueId },
    /// Bytes that are no record, or a record whose payload is damaged; then its id may be known.
    Damaged { offset: u64, length: u64, id: Option<QueueId> },
    /// The writer stopped in order here.
    Closed { offset: u64 },
}

/// The walk over a segment.
pub struct Scan<'a> {
    segment: &'a Segment,
    at: u64,
    to: u64,
    to_is_limit: bool,
    stated: u64,
    payload: Vec<u8>,
    window: Vec<u8>,
    window_at: u64,
}

impl Scan<'_> {
    /// The next item; `None` at the end.
    #[expect(clippy::should_implement_trait, reason = "a step can fail, and lends the payload")]
    pub fn next(&mut self) -> Result<Option<Item>, Error> {
        if self.at + RECORD_HEADER as u64 > self.to {
            return Ok(None);
        }
        let offset = self.at;
        match self.header_at(offset)? {
            Some(header) if header.length() <= self.to - offset => {
                self.stated = self.stated.max(header.synced_to);
                self.at += header.length();
                if header.kind == CLOSED {
                    return Ok(Some(Item::Closed { offset }));
                }
                self.payload.resize(header.payload as usize, 0);
                let mut payload = std::mem::take(&mut self.payload);
                self.fill(&mut payload, offset + RECORD_HEADER as u64)?;
                self.payload = payload;
                let length = header.length();
                match header.id {
                    Some(id) if header.kind == MESSAGE && xxh3_64(&self.payload) == header.sum => {
                        Ok(Some(Item::Message { offset, length, id }))
                    }
                    id => Ok(Some(Item::Damaged { offset, length, id })),
                }
            }
            _ => self.skip_damage(offset),
        }
    }

    fn skip_damage(&mut self, offset: u64) -> Result<Option<Item>, Error> {
        let mut at = offset + ALIGN;
        while at + RECORD_HEADER as u64 <= self.to {
            if self.header_at(at)?.is_some_and(|h| h.length() <= self.to - at) {
                self.at = at;
                return Ok(Some(Item::Damaged { offset, length: at - offset, id: None }));
            }
            at += ALIGN;
        }
        self.at = self.to;
        Ok(self.to_is_limit.then_some(Item::Damaged { offset, length: self.to - offset, id: None }))
    }

    fn header_at(&mut self, at: u64) -> Result<Option<RecordHeader>, Error> {
        const WINDOW: u64 = 256 << 10;
        let inside = at >= self.window_at && at + RECORD_HEADER as u64 <= self.window_at + self.window.len() as u64;
        if !inside {
            self.window.resize(WINDOW.min(self.to - at) as usize, 0);
            self.segment.file.read_exact_at(&mut self.window, at)?;
            self.window_at = at;
        }
        let bytes = &self.window[(at - self.window_at) as usize..];
        Ok(RecordHeader::decode(&bytes[..RECORD_HEADER], self.segment.generation, at))
    }

    fn fill(&mut self, buffer: &mut [u8], at: u64) -> Result<(), Error> {
        let start = at.wrapping_sub(self.window_at) as usize;
        match self.window.get(start..start.saturating_add(buffer.len())) {
            Some(bytes) => buffer.copy_from_slice(bytes),
            None => self.segment.file.read_exact_at(buffer, at)?,
        }
        Ok(())
    }

    /// The payload of the message just met.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Up to where the records met so far say that the segment was synced.
    pub fn stated_limit(&self) -> u64 {
        self.stated
    }

    /// Where the walk stands.
    pub fn offset(&self) -> u64 {
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use durable::simulated::SimulatedDisk;
    use std::path::Path;

    fn id(n: u32) -> QueueId {
        QueueId::from_parts(1_795_000_000, 1, n)
    }

    fn segment_with(payloads: &[&[u8]]) -> (SimulatedDisk, Vec<u64>, u64) {
        let disk = SimulatedDisk::new();
        let file = File::create(&disk, Path::new("/s"), 0o640).expect("create");
        file.zero(0, 1 << 20).expect("zero");
        file.write_at(&Header { generation: 9, previous: 8, previous_limit: 77, begun_seconds: 5 }.encode(), 0).expect("write");
        let mut at = FIRST_RECORD;
        let mut offsets = Vec::new();
        for (n, payload) in payloads.iter().enumerate() {
            let mut out = Vec::new();
            encode_message(9, at, FIRST_RECORD, &id(n as u32), payload, &mut out);
            file.write_at(&out, at).expect("write");
            offsets.push(at);
            at += out.len() as u64;
        }
        (disk, offsets, at)
    }

    fn items(disk: &SimulatedDisk, to: u64, limit: bool) -> Vec<Item> {
        let segment = Segment::open(disk, Path::new("/s"), 9).expect("open");
        let mut scan = segment.scan(0, to, limit);
        let mut items = Vec::new();
        while let Some(item) = scan.next().expect("scan") {
            items.push(item);
        }
        items
    }

    #[test]
    fn records_are_read_back_and_the_walk_ends_at_the_zeros() {
        let (disk, offsets, end) = segment_with(&[b"one", &[7; 300_000], b"three"]);
        let segment = Segment::open(&disk, Path::new("/s"), 9).expect("open");
        assert_eq!(segment.header().map(|h| (h.previous, h.previous_limit)), Some((8, 77)));
        assert_eq!(items(&disk, u64::MAX, false).len(), 3);
        assert_eq!(items(&disk, end, true).len(), 3);
        assert_eq!(segment.read(offsets[1]).expect("read"), (Some(id(1)), vec![7; 300_000]));
        assert!(segment.read(offsets[1] + 64).is_err());
        assert!(Segment::open(&disk, Path::new("/s"), 10).expect("open").header().is_none());
    }

    #[test]
    fn damage_hides_no_other_record() {
        let (disk, offsets, end) = segment_with(&[b"one", b"two", b"three", b"four"]);
        disk.damage(Path::new("/s"), offsets[0] as usize + 81); // payload
        disk.damage(Path::new("/s"), offsets[2] as usize + 9); // header
        let length = offsets[1] - offsets[0];
        let want = [
            Item::Damaged { offset: offsets[0], length, id: Some(id(0)) },
            Item::Message { offset: offsets[1], length, id: id(1) },
            Item::Damaged { offset: offsets[2], length, id: None },
            Item::Message { offset: offsets[3], length, id: id(3) },
        ];
        assert_eq!(items(&disk, u64::MAX, false), want);
        assert_eq!(items(&disk, end, true), want);
        disk.damage(Path::new("/s"), offsets[3] as usize);
        assert_eq!(items(&disk, u64::MAX, false).len(), 2, "without a limit the end is where no record follows");
        assert_eq!(items(&disk, end, true).last(), Some(&Item::Damaged { offset: offsets[2], length: 2 * length, id: None }));
    }

    #[test]
    fn a_hostile_length_is_damage() {
        let mut out = Vec::new();
        encode_message(9, FIRST_RECORD, 0, &id(1), b"x", &mut out);
        out[24..32].copy_from_slice(&u64::MAX.to_le_bytes());
        let sum = xxh3_64(&out[..72]);
        out[72..80].copy_from_slice(&sum.to_le_bytes());
        let (disk, _, end) = segment_with(&[b"one"]);
        let file = File::open(&disk, Path::new("/s"), true).expect("open");
        file.write_at(&out, FIRST_RECORD).expect("write");
        assert_eq!(items(&disk, end, true), [Item::Damaged { offset: FIRST_RECORD, length: end - FIRST_RECORD, id: None }]);
    }
}
