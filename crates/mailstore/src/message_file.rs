//! Reading a message: files with LF and with CRLF line ends, always shown with CRLF.

use std::io;

/// A message opened for reading; readable to the end even when it is expunged meanwhile.
pub struct MessageFile {}

impl MessageFile {
    /// Size on disk.
    pub fn disk_size(&self) -> u64 {
        unimplemented!()
    }

    /// Size with CRLF line ends. Reads the file once when not known.
    pub fn size(&self) -> io::Result<u64> {
        unimplemented!()
    }

    /// The whole message with CRLF line ends.
    pub fn read_all(&self) -> io::Result<Vec<u8>> {
        unimplemented!()
    }

    /// At most `length` bytes from `offset`, both counted with CRLF line ends. Shorter only at the end of the message.
    pub fn read_range(&self, _offset: u64, _length: usize) -> io::Result<Vec<u8>> {
        unimplemented!()
    }

    /// A reader over the message with CRLF line ends, from `offset` on, holding one buffer of 64 KiB.
    pub fn reader(&self, _offset: u64) -> io::Result<Box<dyn io::Read + Send>> {
        unimplemented!()
    }

    /// The header with the empty line behind it, CRLF line ends; at most `limit` bytes.
    pub fn read_header(&self, _limit: usize) -> io::Result<Vec<u8>> {
        unimplemented!()
    }
}

/// Copies `bytes` to `out` with every line end as CRLF. `last` is the byte before (0 at the start); returns the last byte
/// seen, for the next call. A CR without LF stays as it is.
pub fn to_crlf(bytes: &[u8], last: u8, out: &mut Vec<u8>) -> u8 {
    let mut start = 0;
    for at in memchr_lf(bytes) {
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

fn memchr_lf(bytes: &[u8]) -> impl Iterator<Item = usize> {
    bytes.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at)
}
