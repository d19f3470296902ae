//! Reading a message: files with LF and with CRLF line ends, always shown with CRLF.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::dir::Stamp;
use crate::memory::{Memory, Taken};
use crate::snapshot::{Core, Message};

const BUFFER: usize = 64 * 1024;

/// Up to this a message is read in one go.
const SMALL: u64 = 256 << 10;

/// Most headers end before.
const HEADER_READ: u64 = 6 << 10;

/// The largest message that is read as a whole, counted with CRLF line ends, and what all such messages of a process may take together. Larger
/// ones can be read in pieces only: a file that somebody put there must not take our memory.
pub const LARGEST_WHOLE: u64 = 256 << 20;

/// How many places are remembered for a mailbox.
const MOST_PLACES: usize = 32;

/// A place in a file with LF line ends: where the piece begins that was read last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    /// Counted with CRLF line ends.
    shown: u64,
    /// Counted on disk.
    disk: u64,
    /// The byte before.
    last: u8,
}

/// Where readers of large messages began, so that a client that fetches one in many pieces does not have it read from its start for each.
#[derive(Default)]
pub(crate) struct Places(Mutex<VecDeque<(Stamp, Place)>>);

impl Places {
    /// The place nearest before `offset`.
    fn before(&self, file: &Stamp, offset: u64) -> Place {
        let places = self.0.lock();
        let fitting = places.iter().filter(|(of, place)| of == file && place.shown <= offset).map(|(_, place)| *place);
        fitting.max_by_key(|place| place.shown).unwrap_or_default()
    }

    fn remember(&self, file: &Stamp, place: Place) {
        if place.shown == 0 {
            return;
        }
        let mut places = self.0.lock();
        // one for each reader that goes forward
        let fitting = places.iter().enumerate().filter(|(_, (of, other))| of == file && other.shown <= place.shown);
        match fitting.max_by_key(|(_, (_, other))| other.shown).map(|(at, _)| at) {
            Some(old) => drop(places.remove(old)),
            None if places.len() >= MOST_PLACES => drop(places.pop_front()),
            None => {}
        }
        places.push_back((*file, place));
    }
}

/// A message opened for reading; readable to the end even when it is expunged meanwhile.
pub struct MessageFile {
    file: Arc<File>,
    disk_size: u64,
    core: Arc<Core>,
    stamp: Stamp,
    places: Arc<Places>,
    memory: Arc<Memory>,
}

/// A whole message in memory, CRLF line ends. Its bytes count among those that all sessions may hold ([`LARGEST_WHOLE`]): who has one neither
/// reads another nor waits for a client.
pub struct Whole {
    bytes: Vec<u8>,
    _taken: Taken,
}

impl Whole {
    pub(crate) fn new(bytes: Vec<u8>, taken: Taken) -> Whole {
        Whole { bytes, _taken: taken }
    }
}

impl std::ops::Deref for Whole {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl MessageFile {
    pub(crate) fn new(file: File, core: Arc<Core>, places: Arc<Places>, memory: Arc<Memory>) -> io::Result<MessageFile> {
        let stat = nix::sys::stat::fstat(&file)?;
        let stamp = Stamp::of(&stat);
        if core.internal_date().is_none() {
            core.set_internal_date(stat.st_mtime);
        }
        Ok(MessageFile { file: Arc::new(file), disk_size: stamp.size, core, stamp, places, memory })
    }

    /// Whether it is the file of this message, and not of one that has its UID since the mailbox got another UIDVALIDITY.
    pub fn is_of(&self, message: &Message) -> bool {
        self.core.base == message.core.base
    }

    /// Size on disk.
    pub fn disk_size(&self) -> u64 {
        self.disk_size
    }

    /// Size with CRLF line ends. Reads the file once when not known; a size in the name that does not fit the file (somebody
    /// changed it) is counted too.
    pub fn size(&self) -> io::Result<u64> {
        if let Some(size) =
            self.core.virtual_size().filter(|size| *size >= self.disk_size && self.core.size().is_none_or(|known| known == self.disk_size))
        {
            return Ok(size);
        }
        let (mut size, mut last) = (self.disk_size, 0);
        let mut buffer = vec![0; BUFFER];
        let mut offset = 0;
        loop {
            let got = self.file.read_at(&mut buffer, offset)?;
            if got == 0 {
                break;
            }
            size += bare_line_feeds(&buffer[..got], last);
            last = buffer[got - 1];
            offset += got as u64;
        }
        self.core.set_size(self.disk_size);
        self.core.set_virtual_size(size);
        Ok(size)
    }

    /// True when what is on disk is what clients get: no line feed without a carriage return.
    fn is_verbatim(&self) -> bool {
        self.core.virtual_size() == Some(self.disk_size) && self.core.size() == Some(self.disk_size)
    }

    /// The whole message with CRLF line ends, in memory once. `FileTooLarge` above [`LARGEST_WHOLE`]. Waits while other messages take the
    /// memory there is for this.
    pub fn read_all(&self) -> io::Result<Whole> {
        // at most each byte is a bare line feed, whatever the name says
        let size = if self.disk_size > LARGEST_WHOLE { self.disk_size } else { self.size()?.min(2 * self.disk_size) };
        if size > LARGEST_WHOLE {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let taken = self.memory.take(size);
        if self.disk_size <= SMALL
            && let Some(bytes) = self.read_small(self.disk_size as usize, size as usize)?
        {
            return Ok(Whole { bytes, _taken: taken });
        }
        let mut bytes = Vec::with_capacity(size as usize + 1);
        // a file that has grown since is another message
        self.reader(0)?.take(2 * self.disk_size).read_to_end(&mut bytes)?;
        Ok(Whole { bytes, _taken: taken })
    }

    /// The message up to byte `length` on disk, in one read; `None` when it has become shorter than it was.
    fn read_small(&self, length: usize, shown: usize) -> io::Result<Option<Vec<u8>>> {
        let mut raw = vec![0; length];
        match self.file.read_exact_at(&mut raw, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        if self.is_verbatim() {
            return Ok(Some(raw));
        }
        let mut bytes = Vec::with_capacity(shown + 1);
        to_crlf(&raw, 0, &mut bytes);
        Ok(Some(bytes))
    }

    /// At most `length` bytes from `offset`, both counted with CRLF line ends. Shorter only at the end of the message.
    pub fn read_range(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        self.reader(offset)?.take(length as u64).read_to_end(&mut out)?;
        Ok(out)
    }

    /// A reader over the message with CRLF line ends, from `offset` on, holding one buffer of 64 KiB. To find `offset`, a file with LF line
    /// ends is read from where the last reader before it began, or from its start.
    pub fn reader(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.open_at(offset)?))
    }

    fn open_at(&self, offset: u64) -> io::Result<CrlfReader> {
        let verbatim = self.is_verbatim();
        let start = if verbatim { Place { shown: offset, disk: offset, last: 0 } } else { self.places.before(&self.stamp, offset) };
        let mut reader = CrlfReader {
            file: self.file.clone(),
            offset: start.disk,
            raw: Vec::new(),
            ready: Vec::new(),
            at: 0,
            last: start.last,
            piece: start,
            verbatim,
        };
        if !verbatim {
            io::copy(&mut (&mut reader).take(offset - start.shown), &mut io::sink())?;
            self.places.remember(&self.stamp, reader.piece);
        }
        Ok(reader)
    }

    /// The header with the empty line behind it, CRLF line ends; at most `limit` bytes.
    pub fn read_header(&self, limit: usize) -> io::Result<Vec<u8>> {
        let first = self.disk_size.min(HEADER_READ) as usize;
        if let Some(mut out) = self.read_small(first, first + first / 16)?
            && let Some(end) = header_end(&out, 0)
        {
            out.truncate(end.min(limit));
            return Ok(out);
        }
        let mut out = Vec::new();
        let mut reader = self.reader(0)?;
        let mut chunk = vec![0; 8 * 1024];
        while out.len() < limit {
            let got = reader.read(&mut chunk)?;
            if got == 0 {
                break;
            }
            let from = out.len().saturating_sub(3);
            out.extend_from_slice(&chunk[..got]);
            if let Some(end) = header_end(&out, from) {
                out.truncate(end);
                break;
            }
        }
        out.truncate(limit);
        Ok(out)
    }
}

/// Behind the empty line; what lies before `from` was looked at.
fn header_end(bytes: &[u8], from: usize) -> Option<usize> {
    if bytes.starts_with(b"\r\n") {
        return Some(2);
    }
    memchr::memmem::find(&bytes[from..], b"\r\n\r\n").map(|end| from + end + 4)
}

struct CrlfReader {
    file: Arc<File>,
    offset: u64,
    raw: Vec<u8>,
    ready: Vec<u8>,
    at: usize,
    last: u8,
    /// Where what is in `ready` begins.
    piece: Place,
    verbatim: bool,
}

impl Read for CrlfReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.verbatim {
            let got = self.file.read_at(out, self.offset)?;
            self.offset += got as u64;
            return Ok(got);
        }
        if self.at == self.ready.len() {
            self.piece = Place { shown: self.piece.shown + self.ready.len() as u64, disk: self.offset, last: self.last };
            self.raw.resize(BUFFER, 0);
            let got = self.file.read_at(&mut self.raw, self.offset)?;
            self.offset += got as u64;
            self.ready.clear();
            self.at = 0;
            self.last = to_crlf(&self.raw[..got], self.last, &mut self.ready);
        }
        let take = out.len().min(self.ready.len() - self.at);
        out[..take].copy_from_slice(&self.ready[self.at..self.at + take]);
        self.at += take;
        Ok(take)
    }
}

/// Copies `bytes` to `out` with every line end as CRLF. `last` is the byte before (0 at the start); returns the last byte
/// seen, for the next call. A CR without LF stays as it is.
pub fn to_crlf(bytes: &[u8], last: u8, out: &mut Vec<u8>) -> u8 {
    let mut start = 0;
    for at in memchr::memchr_iter(b'\n', bytes) {
        let before = if at == 0 { last } else { bytes[at - 1] };
        if before != b'\r' {
            out.extend_from_slice(&bytes[start..at]);
            out.push(b'\r');
            start = at;
        }
    }
    out.extend_from_slice(&bytes[start..]);
    bytes.last().copied().unwrap_or(last)
}

/// Number of line feeds without a carriage return in front.
pub(crate) fn bare_line_feeds(bytes: &[u8], last: u8) -> u64 {
    memchr::memchr_iter(b'\n', bytes).filter(|at| (if *at == 0 { last } else { bytes[at - 1] }) != b'\r').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(bytes: &[u8], name: &str) -> MessageFile {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, bytes).unwrap();
        MessageFile::new(file, Arc::new(Core::new(1, name, None)), Arc::default(), Memory::new(LARGEST_WHOLE)).unwrap()
    }

    #[test]
    fn lf_and_crlf_files_read_alike() {
        for bytes in [&b"A: b\n\nhello\nworld"[..], b"A: b\r\n\r\nhello\r\nworld", b"A: b\r\n\nhello\r\nworld"] {
            let message = file(bytes, "x");
            let whole = message.read_all().unwrap();
            assert_eq!(*whole, *b"A: b\r\n\r\nhello\r\nworld");
            // nothing but the message itself
            assert!(whole.bytes.capacity() <= whole.len() + 1);
            assert_eq!(message.size().unwrap(), 20);
            assert_eq!(message.read_header(100).unwrap(), b"A: b\r\n\r\n");
            assert_eq!(message.read_range(5, 6).unwrap(), b"\n\r\nhel");
            assert_eq!(message.read_range(18, 100).unwrap(), b"ld");
            assert_eq!(message.read_range(100, 100).unwrap(), b"");
        }
    }

    #[test]
    fn pieces_one_after_the_other_are_not_read_from_the_start() {
        let lines: String = (0..60_000).map(|n| format!("line {n}\n")).collect();
        let message = file(lines.as_bytes(), "x");
        let whole = message.read_all().unwrap();
        let mut offset = 0;
        while offset < whole.len() {
            let piece = message.read_range(offset as u64, 50_001).unwrap();
            assert_eq!(piece, whole[offset..whole.len().min(offset + 50_001)]);
            offset += piece.len();
            let begin = message.open_at(offset as u64).unwrap().piece.shown;
            assert!(begin + 2 * BUFFER as u64 > offset as u64, "{begin} for {offset}");
            assert!(message.places.before(&message.stamp, offset as u64).shown + 2 * BUFFER as u64 > offset as u64, "{offset}");
        }
        assert_eq!(message.places.0.lock().len(), 1);
        assert_eq!(message.read_range(3, 10).unwrap(), whole[3..13]);
        // many readers in many messages
        for n in 0..100 {
            message.places.remember(&Stamp { inode: n, ..Stamp::default() }, Place { shown: 1, disk: 1, last: 0 });
        }
        assert_eq!(message.places.0.lock().len(), MOST_PLACES);
    }

    #[test]
    fn a_file_too_large_for_memory_is_read_in_pieces_only() {
        let large = tempfile::tempfile().unwrap();
        large.set_len(LARGEST_WHOLE + 1).unwrap();
        let message = MessageFile::new(large, Arc::new(Core::new(1, "x", None)), Arc::default(), Memory::new(LARGEST_WHOLE)).unwrap();
        assert_eq!(message.read_all().err().unwrap().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(message.read_range(0, 3).unwrap(), [0; 3]);
    }

    #[test]
    fn a_size_in_the_name_that_lies_is_corrected() {
        assert_eq!(file(b"a\n", "x,S=1,W=1").size().unwrap(), 3);
        assert_eq!(file(b"a\n", "x,S=2,W=3").size().unwrap(), 3);
    }

    #[test]
    fn headers_end_where_they_end() {
        for (bytes, header) in [(&b"\nbody"[..], &b"\r\n"[..]), (b"", b""), (b"A: b", b"A: b"), (b"A: b\n", b"A: b\r\n")] {
            assert_eq!(file(bytes, "x").read_header(100).unwrap(), header);
        }
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same(bytes in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a')], 0..64), cut in 0usize..64) {
            let cut = cut.min(bytes.len());
            let (mut whole, mut parts) = (Vec::new(), Vec::new());
            to_crlf(&bytes, 0, &mut whole);
            let last = to_crlf(&bytes[..cut], 0, &mut parts);
            to_crlf(&bytes[cut..], last, &mut parts);
            prop_assert_eq!(&whole, &parts);
            prop_assert_eq!(bare_line_feeds(&whole, 0), 0);
            prop_assert_eq!(whole.len() as u64, bytes.len() as u64 + bare_line_feeds(&bytes, 0));
        }
    }
}
