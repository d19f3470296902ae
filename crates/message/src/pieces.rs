//! The text of a part, decoded piece by piece, so that a large one is never in memory a second time.

use crate::transfer::Decoder;
use crate::{Part, charset};

/// Taken from the body at once, as it stands in the message.
const PIECE_BYTES: usize = 64 << 10;

/// A part's text on its way. Holds no more than two pieces, and nothing of the message, which may be read anew between two calls.
pub struct Pieces {
    /// How much of the body was taken.
    taken: usize,
    /// `None` at the end of the body.
    decoder: Option<Decoder>,
    /// Decoded, without the end of its last word: a charset's characters may be cut there.
    tail: Vec<u8>,
}

impl Pieces {
    pub fn new(part: &Part<'_>) -> Pieces {
        Pieces { taken: 0, decoder: Some(part.encoding().decoder()), tail: Vec::new() }
    }

    /// The next piece, which may be empty, and how many bytes of the body were taken for it. `part` is the one it was made for.
    pub fn next(&mut self, part: &Part<'_>) -> Option<(String, usize)> {
        let decoder = self.decoder.as_mut()?;
        let rest = part.body_bytes().get(self.taken..).unwrap_or_default();
        let piece = &rest[..rest.len().min(PIECE_BYTES)];
        let label = part.content_type.params.get("charset").unwrap_or(b"us-ascii");
        decoder.push(piece, &mut self.tail);
        self.taken += piece.len();
        let end = if piece.len() == rest.len() {
            decoder.finish(&mut self.tail);
            self.decoder = None;
            self.tail.len()
        } else {
            cut(label, &self.tail)
        };
        let text = charset::decode(label, &self.tail[..end]);
        self.tail.drain(..end);
        Some((text, piece.len()))
    }
}

/// Where `bytes` can be cut without cutting a character, or what a charset has shifted to: behind white space, where every charset of mail is
/// back at the beginning (RFC 1468, RFC 2152). Where there is none for a whole piece, no person wrote the text: UTF-8 is cut between two
/// characters, of others one may be lost.
fn cut(label: &[u8], bytes: &[u8]) -> usize {
    if label.len() >= 6 && label[..6].eq_ignore_ascii_case(b"utf-16") {
        let even = bytes.len() & !1;
        let is_big = label[6..].eq_ignore_ascii_case(b"be");
        let is_half = even >= 2 && matches!(bytes[if is_big { even - 2 } else { even - 1 }], 0xd8..=0xdb);
        return if is_half { even - 2 } else { even };
    }
    match bytes.iter().rposition(u8::is_ascii_whitespace) {
        Some(space) => space + 1,
        None if bytes.len() < PIECE_BYTES => 0,
        None => {
            let begins = |at: &usize| bytes[*at] & 0xc0 != 0x80;
            (bytes.len() - 4..bytes.len()).rev().find(begins).filter(|at| bytes[*at] >= 0xc0).unwrap_or(bytes.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;

    fn whole(header: &str, body: &[u8]) -> Vec<u8> {
        [header.as_bytes(), b"\r\n\r\n", body].concat()
    }

    fn joined(whole: &[u8]) -> (String, usize) {
        let message = Message::parse(whole);
        let mut pieces = Pieces::new(message.root());
        let (mut text, mut count) = (String::new(), 0);
        while let Some((piece, _)) = pieces.next(message.root()) {
            assert!(piece.len() <= 6 * PIECE_BYTES && pieces.tail.len() <= PIECE_BYTES, "{} {}", piece.len(), pieces.tail.len());
            text.push_str(&piece);
            count += 1;
        }
        (text, count)
    }

    /// Every way of encoding, cut in pieces, gives the text that the whole gives.
    #[test]
    fn pieces_are_the_text_of_the_whole() {
        let quoted = "caf=C3=A9 =\r\nna=C3=AFve 3 =3D 3\r\n".repeat(9000);
        let jis = b"\x1b$B$\"$$\x1b(B\r\n and\r\n".repeat(9000);
        let utf16: Vec<u8> = "a😀é ".repeat(30_000).encode_utf16().flat_map(u16::to_be_bytes).collect();
        let utf16_less: Vec<u8> = utf16.chunks(2).flat_map(|unit| [unit[1], unit[0]]).collect();
        for (header, body) in [
            ("X: y", "plain words\r\n".repeat(20_000).into_bytes()),
            ("Content-Type: text/plain; charset=utf-8", "é".repeat(100_000).into_bytes()),
            ("Content-Type: text/plain; charset=utf-8", format!("x{}", "é😀".repeat(50_000)).into_bytes()),
            ("Content-Type: text/plain; charset=iso-8859-1", b"\xe9t\xe9 ".repeat(50_000)),
            ("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable", quoted.into_bytes()),
            ("Content-Type: text/plain; charset=iso-2022-jp", jis),
            ("Content-Type: text/plain; charset=utf-16be", utf16),
            ("Content-Type: text/plain; charset=utf-16le", utf16_less),
            ("Content-Type: text/plain; charset=utf-7", b"A+ImIDkQ. Hi Mom -+Jjo--!\r\n".repeat(9000)),
            ("Content-Transfer-Encoding: base64", b"w6l0w6kg\r\n".repeat(20_000)),
            ("X: empty", Vec::new()),
        ] {
            let whole = whole(header, &body);
            let (text, count) = joined(&whole);
            assert!(text == Message::parse(&whole).root().text(), "{header}: {count} pieces");
            assert!(count > 1 || body.is_empty(), "{header}");
        }
    }

    #[test]
    fn a_body_that_decodes_to_nothing_is_passed_over_in_pieces() {
        let (text, count) = joined(&whole("Content-Transfer-Encoding: base64", &b"*".repeat(300_000)));
        assert_eq!((text.as_str(), count), ("", 5));
    }
}
