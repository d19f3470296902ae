//! COMPRESS=DEFLATE (RFC 4978): raw DEFLATE (RFC 1951) in both directions, below the protocol and above TLS.
//!
//! What a client sends may grow a thousandfold. It is unpacked piece by piece into the caller's buffer, so that nothing is held but
//! the octets as they came, at most one read of them.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::io;

/// Room for what is packed in one go.
const PIECE: usize = 16 << 10;

/// Both directions of one connection.
pub struct Deflate {
    unpack: Decompress,
    pack: Compress,
    /// Came from the client and is not unpacked yet.
    pending: Vec<u8>,
    /// Octets of `pending` that are.
    done: usize,
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
            more: false,
        }
    }

    /// Takes octets from the client.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Unpacks into `out`; 0 when more has to be received first.
    pub fn unpack(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.done == self.pending.len() && !self.more {
            return Ok(0);
        }
        let (taken, made) = (self.unpack.total_in(), self.unpack.total_out());
        let status = self.unpack.decompress(&self.pending[self.done..], out, FlushDecompress::None).map_err(invalid)?;
        self.done += (self.unpack.total_in() - taken) as usize;
        let made = (self.unpack.total_out() - made) as usize;
        self.more = made == out.len();
        if self.done == self.pending.len() {
            // An idle session holds nothing.
            (self.pending, self.done) = (Vec::new(), 0);
        }
        match status {
            Status::StreamEnd => Err(io::Error::new(io::ErrorKind::InvalidData, "the client ended its compressed data")),
            _ => Ok(made),
        }
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
    fn damaged_data_and_an_end_are_errors() {
        let mut deflate = Deflate::new();
        deflate.receive(b"a NOOP\r\n");
        assert!(deflate.unpack(&mut [0; 100]).is_err());
        let mut ended = Vec::with_capacity(100);
        let mut pack = Compress::new(Compression::fast(), false);
        pack.compress_vec(b"x", &mut ended, FlushCompress::Finish).expect("pack");
        let mut deflate = Deflate::new();
        deflate.receive(&ended);
        assert!(deflate.unpack(&mut [0; 100]).is_err());
    }
}
