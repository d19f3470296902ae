//! The bytes that have come and are not used up yet.

/// A buffer that is filled at one end and used up at the other.
#[derive(Debug, Default)]
pub struct Input {
    bytes: Vec<u8>,
    start: usize,
    /// Up to here no line end was found.
    searched: usize,
}

/// What the front of the buffer holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A line, without its LF or CRLF. `bare` says that the CR was missing.
    Complete { bytes: Vec<u8>, bare: bool },
    /// No line end yet.
    Partial,
    /// More than the limit; the line was thrown away. `ended` says that its end was seen too, else `skip_line` has to find it.
    TooLong { ended: bool },
}

// A buffer that a long body has blown up is given back when it is empty.
const KEEP_CAPACITY: usize = 16 * 1024;

impl Input {
    pub fn receive(&mut self, bytes: &[u8]) {
        if self.start == self.bytes.len() {
            self.clear();
        } else if self.start > 0 {
            self.bytes.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    pub fn pending(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.bytes.len());
        self.searched = self.searched.max(self.start);
    }

    pub fn clear(&mut self) {
        if self.bytes.capacity() > KEEP_CAPACITY {
            self.bytes = Vec::new();
        } else {
            self.bytes.clear();
        }
        self.start = 0;
        self.searched = 0;
    }

    /// Cuts a line of at most `limit` octets (without its end).
    pub fn line(&mut self, limit: usize) -> Line {
        self.searched = self.searched.max(self.start);
        let Some(at) = memchr::memchr(b'\n', &self.bytes[self.searched..]).map(|at| self.searched + at) else {
            self.searched = self.bytes.len();
            if self.bytes.len() - self.start > limit + 1 {
                self.clear();
                return Line::TooLong { ended: false };
            }
            return Line::Partial;
        };
        let line = &self.bytes[self.start..at];
        let (line, bare) = match line.strip_suffix(b"\r") {
            Some(line) => (line, false),
            None => (line, true),
        };
        if line.len() > limit {
            self.consume(at + 1 - self.start);
            return Line::TooLong { ended: true };
        }
        let line = Line::Complete { bytes: line.to_vec(), bare };
        self.consume(at + 1 - self.start);
        line
    }

    /// Throws bytes away up to and with the next LF. Whether it was found.
    pub fn skip_line(&mut self) -> bool {
        match memchr::memchr(b'\n', self.pending()) {
            Some(at) => {
                self.consume(at + 1);
                true
            }
            None => {
                self.clear();
                false
            }
        }
    }
}
