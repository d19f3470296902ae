//! COMPRESS=DEFLATE (RFC 4978): raw DEFLATE (RFC 1951) in both directions, below the protocol and above TLS.
//!
//! What a client sends may grow a thousandfold. It is unpacked piece by piece into the caller's buffer, so that nothing is held but
//! the octets as they came, at most one read of them.
//!
//! A client may go back to plain text behind a command (UNAUTHENTICATE, RFC 8437 §4.1), where it flushes or ends its data. So nothing
//! behind a flush is touched before what is before it has been handed out.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::io;

/// Room for what is packed in one go.
const PIECE: usize = 16 << 10;

/// How a flush ends: an empty stored block (RFC 1951 §3.2.4).
const FLUSHED: [u8; 4] = [0, 0, 0xff, 0xff];
/// An empty last block, for a client that flushes and then ends.
const END: [u8; 2] = [3, 0];

/// Both directions of one connection.
pub struct Deflate {
    unpack: Decompress,
    pack: Compress,
    /// Came from the client and is not unpacked yet.
    pending: Vec<u8>,
    /// Octets of `pending` that are.
    done: usize,
    /// Those that may be: up to what looks like a flush.
    open: usize,
    /// The octets of a flush that stand before `open`.
    flushed: usize,
    /// All is unpacked up to a flush.
    at_flush: bool,
    /// The client has ended its data.
    ended: bool,
    /// What the client packs next is not meant for us.
    leaving: bool,
    /// The buffer was full the last time: there may be more without a further octet.
    more: bool,
}

impl Deflate {
    pub fn new() -> Deflate {
        Deflate {
            unpack: Decompress::new(false),
            pack: Compress::new(Compression::fast(), false),
            pending: Vec::new(),
            done: 0,
            open: 0,
            flushed: 0,
            at_flush: false,
            ended: false,
            leaving: false,
            more: false,
        }
    }

    /// Takes octets from the client.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Unpacks into `out`; 0 when more has to be received first, or all is over.
    pub fn unpack(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.is_over() {
                return Ok(0);
            }
            if self.ended {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the client ended its compressed data"));
            }
            if self.done == self.open && !self.more {
                if self.open == self.pending.len() {
                    // An idle session holds nothing.
                    (self.pending, self.done, self.open) = (Vec::new(), 0, 0);
                    return Ok(0);
                }
                self.open_to_flush();
            }
            let (taken, made) = (self.unpack.total_in(), self.unpack.total_out());
            let status = self.unpack.decompress(&self.pending[self.done..self.open], out, FlushDecompress::None).map_err(invalid)?;
            self.done += (self.unpack.total_in() - taken) as usize;
            let made = (self.unpack.total_out() - made) as usize;
            self.more = made == out.len();
            self.ended = status == Status::StreamEnd;
            self.at_flush = self.flushed == FLUSHED.len() && self.done == self.open && !self.more;
            if made > 0 {
                return Ok(made);
            }
        }
    }

    /// Octets that look like a flush and are none cost a round and no more.
    fn open_to_flush(&mut self) {
        if self.flushed == FLUSHED.len() {
            self.flushed = 0;
        }
        while let Some(&octet) = self.pending.get(self.open) {
            self.open += 1;
            self.flushed = match self.flushed {
                at if octet == FLUSHED[at] => at + 1,
                // Three zeros end with two.
                2 if octet == 0 => 2,
                _ => usize::from(octet == 0),
            };
            if self.flushed == FLUSHED.len() {
                return;
            }
        }
    }

    /// The command that ends compression has been carried out. Nothing is packed any more; the client's side ends at its flush, which
    /// may still be on its way.
    pub fn leave(&mut self) {
        self.leaving = true;
    }

    pub fn is_left(&self) -> bool {
        self.leaving
    }

    /// Whether what comes next is plain.
    pub fn is_over(&self) -> bool {
        self.leaving && (self.at_flush || self.ended)
    }

    /// What came behind all that was unpacked.
    pub fn end(self) -> Vec<u8> {
        let rest = &self.pending[self.done..];
        rest.strip_prefix(&END).filter(|_| !self.ended).unwrap_or(rest).to_vec()
    }

    /// Packs an answer, so that the client can read all of it.
    pub fn pack(&mut self, mut bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut packed = Vec::with_capacity(bytes.len() / 2 + 64);
        loop {
            packed.reserve(PIECE);
            let (taken, room) = (self.pack.total_in(), packed.capacity());
            self.pack.compress_vec(bytes, &mut packed, FlushCompress::Sync).map_err(|e| io::Error::other(e.to_string()))?;
            bytes = &bytes[(self.pack.total_in() - taken) as usize..];
            // Room left over means that all is flushed.
            if bytes.is_empty() && packed.len() < room {
                return Ok(packed);
            }
        }
    }
}

fn invalid(error: flate2::DecompressError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the client's compressed data are damaged: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(deflate: &mut Deflate, packed: &[u8], piece: usize) -> Vec<u8> {
        let mut all = Vec::new();
        let mut out = vec![0; piece];
        for byte in packed {
            deflate.receive(&[*byte]);
            loop {
                match deflate.unpack(&mut out).expect("data") {
                    0 => break,
                    count => all.extend_from_slice(&out[..count]),
                }
            }
        }
        all
    }

    #[test]
    fn what_is_packed_is_unpacked_at_any_cut() {
        let (mut server, mut client) = (Deflate::new(), Deflate::new());
        for text in
            [b"a OK done\r\n".to_vec(), vec![7; 300_000], (0..200_000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect(), b"b".to_vec()]
        {
            let packed = server.pack(&text).expect("pack");
            assert_eq!(unpacked(&mut client, &packed, 1000), text);
        }
    }

    #[test]
    fn a_bomb_is_unpacked_in_pieces() {
        let packed = Deflate::new().pack(&vec![b'x'; 50_000_000]).expect("pack");
        assert!(packed.len() < 1_000_000);
        let mut deflate = Deflate::new();
        deflate.receive(&packed);
        let (mut out, mut total) = ([0; 4096], 0);
        while let count @ 1.. = deflate.unpack(&mut out).expect("data") {
            total += count;
        }
        assert_eq!((total, deflate.pending.capacity()), (50_000_000, 0));
    }

    #[test]
    fn plain_text_behind_a_flush_or_an_end_is_left_alone() {
        let text = |n: usize| [b"a UNAUTHENTICATE ".to_vec(), vec![0; n], b"\r\n".to_vec()].concat();
        for n in 0..300 {
            let flushed = Deflate::new().pack(&text(n)).expect("pack");
            assert!(flushed.ends_with(&FLUSHED));
            let mut ended = Vec::with_capacity(1000);
            Compress::new(Compression::fast(), false).compress_vec(&text(n), &mut ended, FlushCompress::Finish).expect("pack");
            let both = [&flushed[..], &END].concat();
            for packed in [flushed, ended, both] {
                let mut deflate = Deflate::new();
                let all = [&packed[..], b"b LOGIN x y\r\n"].concat();
                // The flush stands on both sides of a read.
                let (first, rest) = all.split_at(packed.len().saturating_sub(n % 6));
                let (mut got, mut out) = (Vec::new(), [0; 100]);
                for piece in [first, rest] {
                    deflate.receive(piece);
                    while !deflate.is_over()
                        && let count @ 1.. = deflate.unpack(&mut out).expect("data")
                    {
                        got.extend_from_slice(&out[..count]);
                        if got == text(n) {
                            deflate.leave();
                        }
                    }
                }
                assert!(deflate.is_over(), "{n}");
                assert_eq!((got, deflate.end()), (text(n), b"b LOGIN x y\r\n".to_vec()), "{n}");
            }
        }
    }

    #[test]
    fn damaged_data_and_an_end_are_errors() {
        let mut deflate = Deflate::new();
        deflate.receive(b"a NOOP\r\n");
        assert!(deflate.unpack(&mut [0; 100]).is_err());
        let mut ended = Vec::with_capacity(100);
        let mut pack = Compress::new(Compression::fast(), false);
        pack.compress_vec(b"x", &mut ended, FlushCompress::Finish).expect("pack");
        let mut deflate = Deflate::new();
        deflate.receive(&ended);
        assert_eq!(deflate.unpack(&mut [0; 100]).expect("the last of it"), 1);
        assert!(deflate.unpack(&mut [0; 100]).is_err());
    }
}
