//! Content-Transfer-Encodings (RFC 2045 §6), piece by piece and without ever failing.

use std::borrow::Cow;

/// How a body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// 7bit, 8bit, binary, and whatever we do not know.
    #[default]
    Identity,
    Base64,
    QuotedPrintable,
}

impl Encoding {
    /// From the name in the header, in any case.
    pub fn parse(name: &[u8]) -> Encoding {
        match &*name.trim_ascii().to_ascii_lowercase() {
            b"base64" => Encoding::Base64,
            b"quoted-printable" => Encoding::QuotedPrintable,
            _ => Encoding::Identity,
        }
    }

    /// A decoder for pieces of any size.
    pub fn decoder(self) -> Decoder {
        match self {
            Encoding::Identity => Decoder::Identity,
            Encoding::Base64 => Decoder::Base64(Base64::default()),
            Encoding::QuotedPrintable => Decoder::QuotedPrintable(QuotedPrintable::default()),
        }
    }

    /// Decodes a whole body.
    pub fn decode(self, body: &[u8]) -> Cow<'_, [u8]> {
        if self == Encoding::Identity {
            return Cow::Borrowed(body);
        }
        let mut out = Vec::with_capacity(body.len());
        let mut decoder = self.decoder();
        decoder.push(body, &mut out);
        decoder.finish(&mut out);
        Cow::Owned(out)
    }
}

/// A decoder in the middle of a body.
#[derive(Debug, Clone)]
pub enum Decoder {
    Identity,
    Base64(Base64),
    QuotedPrintable(QuotedPrintable),
}

impl Decoder {
    /// Takes the next piece and appends what it decodes to.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        match self {
            Decoder::Identity => out.extend_from_slice(piece),
            Decoder::Base64(decoder) => decoder.push(piece, out),
            Decoder::QuotedPrintable(decoder) => decoder.push(piece, out),
        }
    }

    /// The body has ended.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        match self {
            Decoder::Identity => {}
            Decoder::Base64(decoder) => decoder.finish(out),
            Decoder::QuotedPrintable(decoder) => decoder.finish(out),
        }
    }
}

/// Base64 that passes over everything outside of its alphabet (RFC 2045 §6.8), and goes on behind padding, as bodies glued
/// from two encoders have it.
#[derive(Debug, Clone, Default)]
pub struct Base64 {
    bits: u32,
    held: u32,
}

const OUTSIDE: u8 = 0xff;
const PADDING: u8 = 0xfe;
static SEXTETS: [u8; 256] = sextets();

const fn sextets() -> [u8; 256] {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut table = [OUTSIDE; 256];
    let mut at = 0;
    while at < 64 {
        table[alphabet[at] as usize] = at as u8;
        at += 1;
    }
    table[b'=' as usize] = PADDING;
    table
}

impl Base64 {
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        out.reserve(piece.len() / 4 * 3 + 3);
        for b in piece {
            match SEXTETS[usize::from(*b)] {
                OUTSIDE => {}
                PADDING => self.finish(out),
                value => {
                    self.bits = self.bits << 6 | u32::from(value);
                    self.held += 1;
                    if self.held == 4 {
                        out.extend_from_slice(&self.bits.to_be_bytes()[1..]);
                        (self.bits, self.held) = (0, 0);
                    }
                }
            }
        }
    }

    /// Puts out what a cut-off end still holds.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let bytes = (self.bits << (6 * (4 - self.held.min(4)))).to_be_bytes();
        match self.held {
            2 => out.push(bytes[1]),
            3 => out.extend_from_slice(&bytes[1..3]),
            _ => {}
        }
        (self.bits, self.held) = (0, 0);
    }
}

/// Quoted-printable (RFC 2045 §6.7): soft line breaks and white space before line ends go; a `=` that begins nothing stays.
#[derive(Debug, Clone, Default)]
pub struct QuotedPrintable {
    // "=", "=X", "= \t\r" or white space that may be at the end of a line; bounded, see HELD.
    held: Vec<u8>,
    // In encoded words white space is never at the end of a line.
    keep_space: bool,
}

// White space longer than this is text whatever follows, so that the memory stays bounded.
const HELD: usize = 1000;

impl QuotedPrintable {
    /// For the Q encoding of header fields.
    pub fn header() -> QuotedPrintable {
        QuotedPrintable { held: Vec::new(), keep_space: true }
    }

    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        out.reserve(piece.len());
        let mut at = 0;
        while at < piece.len() {
            if self.held.is_empty() {
                let plain = |b: &u8| *b != b'=' && (self.keep_space || !matches!(b, b' ' | b'\t' | b'\r'));
                let length = piece[at..].iter().position(|b| !plain(b)).unwrap_or(piece.len() - at);
                out.extend_from_slice(&piece[at..at + length]);
                at += length;
            }
            if let Some(b) = piece.get(at) {
                self.special(*b, out);
                at += 1;
            }
        }
    }

    fn special(&mut self, b: u8, out: &mut Vec<u8>) {
        match (&self.held[..], b) {
            ([], _) if b == b'=' || (!self.keep_space && matches!(b, b' ' | b'\t' | b'\r')) => self.held.push(b),
            ([], _) => out.push(b),
            ([b'='], _) if b.is_ascii_hexdigit() => self.held.push(b),
            ([b'=', high], _) if high.is_ascii_hexdigit() => {
                let digit = |b: u8| (b as char).to_digit(16);
                match (digit(*high), digit(b)) {
                    (Some(high), Some(low)) => {
                        out.push((high * 16 + low) as u8);
                        self.held.clear();
                    }
                    _ => self.flush(b, out),
                }
            }
            // A soft line break, with white space that transport added.
            ([b'=', ..], b'\n') => self.held.clear(),
            ([b'=', ..], b' ' | b'\t' | b'\r') if self.held.len() < HELD => self.held.push(b),
            ([b'=', ..], _) => self.flush(b, out),
            // White space at the end of a line, and the line end.
            (_, b'\n') => {
                if self.held.ends_with(b"\r") {
                    out.push(b'\r');
                }
                out.push(b'\n');
                self.held.clear();
            }
            (_, b' ' | b'\t' | b'\r') if self.held.len() < HELD => self.held.push(b),
            _ => self.flush(b, out),
        }
    }

    // What was held is text after all; `b` comes behind it.
    fn flush(&mut self, b: u8, out: &mut Vec<u8>) {
        out.append(&mut self.held);
        if b == b'=' || (!self.keep_space && matches!(b, b' ' | b'\t' | b'\r')) {
            self.held.push(b);
        } else {
            out.push(b);
        }
    }

    /// The body has ended: a soft line break at the end goes, anything else that was held is text.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let soft = self.held.len() > 1 && self.held[0] == b'=' && self.held[1..].iter().all(u8::is_ascii_whitespace);
        let trailing = self.held.iter().all(u8::is_ascii_whitespace);
        if !soft && !trailing {
            out.append(&mut self.held);
        }
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(encoding: Encoding, input: &str) -> String {
        String::from_utf8_lossy(&encoding.decode(input.as_bytes())).into_owned()
    }

    #[test]
    fn base64_is_decoded_whatever_stands_between() {
        for (input, want) in [
            ("", ""),
            ("YQ==", "a"),
            ("YWI=", "ab"),
            ("YWJj", "abc"),
            ("YW\r\nJj\r\n", "abc"),
            ("YQ", "a"),
            ("Y", ""),
            ("YQ==YmM=", "abc"),
            ("*Y!Q(=)=", "a"),
            ("====", ""),
        ] {
            assert_eq!(decode(Encoding::Base64, input), want, "{input:?}");
        }
    }

    #[test]
    fn quoted_printable_is_decoded_whatever_is_broken() {
        for (input, want) in [
            ("a=3Db", "a=b"),
            ("a=3db", "a=b"),
            ("soft=\r\nbreak", "softbreak"),
            ("soft=\nbreak", "softbreak"),
            ("soft= \t\r\nbreak", "softbreak"),
            ("trail  \r\nx", "trail\r\nx"),
            ("trail\t\nx", "trail\nx"),
            ("in  side", "in  side"),
            ("a=", "a="),
            ("a=\r\n", "a"),
            ("a=4", "a=4"),
            ("a=ZZ", "a=ZZ"),
            ("a=4Z", "a=4Z"),
            ("==41", "=A"),
            ("=4=41", "=4A"),
            ("= =41", "= A"),
            ("a\rb", "a\rb"),
            ("end  ", "end"),
        ] {
            assert_eq!(decode(Encoding::QuotedPrintable, input), want, "{input:?}");
        }
    }

    #[test]
    fn endless_white_space_is_not_kept_in_memory() {
        let mut decoder = QuotedPrintable::default();
        let mut out = Vec::new();
        for _ in 0..1000 {
            decoder.push(&[b' '; 1000], &mut out);
            assert!(decoder.held.len() <= HELD);
        }
    }

    proptest! {
        #[test]
        fn pieces_decode_like_the_whole(input in "[=\\r\\n \\t4aAZ/+]{0,60}", cuts in proptest::collection::vec(1usize..8, 0..40)) {
            for encoding in [Encoding::Base64, Encoding::QuotedPrintable, Encoding::Identity] {
                let whole = encoding.decode(input.as_bytes()).into_owned();
                let mut out = Vec::new();
                let mut decoder = encoding.decoder();
                let mut rest = input.as_bytes();
                for cut in &cuts {
                    let (piece, tail) = rest.split_at((*cut).min(rest.len()));
                    decoder.push(piece, &mut out);
                    rest = tail;
                }
                decoder.push(rest, &mut out);
                decoder.finish(&mut out);
                prop_assert_eq!(&out, &whole);
            }
        }
    }
}
