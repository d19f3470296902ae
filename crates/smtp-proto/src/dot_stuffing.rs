//! Message bytes on the wire (RFC 5321 §4.5.2), and line ends that are none.
//!
//! Reading: only CRLF.CRLF ends a message sent by DATA. A CR or LF that stands alone is a line end of a client that knows no better;
//! it becomes CRLF, and what follows it is a new line as far as the leading dot is concerned, but never the end of the message. So
//! nothing that leaves here can be taken for the end of a message by the next host, however lax that is (SMTP smuggling,
//! CVE-2023-51764 and its kin).

use memchr::memchr2;

/// Where in a line the decoder stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before the first octet of a line. `after_crlf`: the line before ended by a true CRLF (or this is the first line).
    LineStart {
        after_crlf: bool,
    },
    Middle,
    /// Behind a CR inside a line.
    Cr,
    /// Behind a dot at the start of a line (not written yet).
    Dot {
        after_crlf: bool,
    },
    /// Behind such a dot and a CR.
    DotCr {
        after_crlf: bool,
    },
    /// Behind CRLF.CRLF.
    End,
    /// In a message whose octets are no lines.
    Binary,
}

/// Undoes dot-stuffing and makes all line ends CRLF. Bytes may come cut at any place.
#[derive(Debug)]
pub struct Decoder {
    at: At,
    dots: bool,
    bare: bool,
}

impl Decoder {
    /// For a message sent by DATA.
    pub fn data() -> Decoder {
        Decoder { at: At::LineStart { after_crlf: true }, dots: true, bare: false }
    }

    /// For a message sent by BDAT: no dots, no end mark.
    pub fn chunks() -> Decoder {
        Decoder { at: At::LineStart { after_crlf: true }, dots: false, bare: false }
    }

    /// For a message sent by BDAT as BODY=BINARYMIME: every octet stays what it is (RFC 3030 §3).
    pub fn binary() -> Decoder {
        Decoder { at: At::Binary, dots: false, bare: false }
    }

    /// A CR or LF that stood alone was seen.
    pub fn saw_bare_newline(&self) -> bool {
        self.bare
    }

    /// The end mark has been read.
    pub fn ended(&self) -> bool {
        self.at == At::End
    }

    /// Appends what `input` means to `out` and returns how many octets were used: all of them, or those up to the end mark.
    pub fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        if self.at == At::Binary {
            out.extend_from_slice(input);
            return input.len();
        }
        let mut used = 0;
        while used < input.len() && self.at != At::End {
            if self.at == At::Middle {
                let run = memchr2(b'\r', b'\n', &input[used..]).unwrap_or(input.len() - used);
                out.extend_from_slice(&input[used..used + run]);
                used += run;
                // The usual line end, in one step.
                if input[used..].starts_with(b"\r\n") {
                    out.extend_from_slice(b"\r\n");
                    used += 2;
                    self.at = At::LineStart { after_crlf: true };
                    continue;
                }
                if used == input.len() {
                    break;
                }
            }
            self.at = self.octet(input[used], out);
            used += 1;
        }
        used
    }

    fn octet(&mut self, octet: u8, out: &mut Vec<u8>) -> At {
        match (self.at, octet) {
            (At::LineStart { after_crlf }, b'.') if self.dots => At::Dot { after_crlf },
            (At::LineStart { .. } | At::Middle, b'\r') => At::Cr,
            (At::LineStart { .. } | At::Middle, b'\n') => self.bare_end(out),
            (At::LineStart { .. } | At::Middle, octet) => {
                out.push(octet);
                At::Middle
            }
            (At::Cr, b'\n') => {
                out.extend_from_slice(b"\r\n");
                At::LineStart { after_crlf: true }
            }
            (At::Cr, octet) => {
                self.at = self.bare_end(out);
                self.octet(octet, out)
            }
            // The stuffed dot is gone; the line goes on behind it.
            (At::Dot { after_crlf }, b'\r') => At::DotCr { after_crlf },
            (At::Dot { .. }, octet) => {
                self.at = At::Middle;
                self.octet(octet, out)
            }
            (At::DotCr { after_crlf: true }, b'\n') => At::End,
            (At::DotCr { after_crlf: false }, b'\n') => {
                out.extend_from_slice(b"\r\n");
                At::LineStart { after_crlf: true }
            }
            (At::DotCr { .. }, octet) => {
                self.at = self.bare_end(out);
                self.octet(octet, out)
            }
            (At::End | At::Binary, _) => self.at,
        }
    }

    fn bare_end(&mut self, out: &mut Vec<u8>) -> At {
        self.bare = true;
        out.extend_from_slice(b"\r\n");
        At::LineStart { after_crlf: false }
    }

    /// Ends a message sent by BDAT: a last line without its end gets one.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        match self.at {
            At::Binary => return,
            At::LineStart { .. } | At::End => {}
            At::Cr | At::DotCr { .. } => {
                self.bare = true;
                out.extend_from_slice(b"\r\n");
            }
            At::Middle | At::Dot { .. } => out.extend_from_slice(b"\r\n"),
        }
        self.at = At::End;
    }
}

/// Writes a message for DATA: line ends become CRLF, leading dots are doubled. Bytes may come cut at any place.
#[derive(Debug)]
pub struct Encoder {
    lines: Decoder,
    line_start: bool,
    normal: Vec<u8>,
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder { lines: Decoder::chunks(), line_start: true, normal: Vec::new() }
    }
}

impl Encoder {
    pub fn encode(&mut self, input: &[u8], out: &mut Vec<u8>) {
        self.normal.clear();
        self.lines.decode(input, &mut self.normal);
        self.stuff(out);
    }

    /// Ends the last line if need be, and appends the end mark.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.normal.clear();
        self.lines.finish(&mut self.normal);
        self.stuff(out);
        out.extend_from_slice(b".\r\n");
    }

    fn stuff(&mut self, out: &mut Vec<u8>) {
        out.reserve(self.normal.len() + 16);
        let mut rest = self.normal.as_slice();
        while !rest.is_empty() {
            if self.line_start && rest[0] == b'.' {
                out.push(b'.');
            }
            // The decoder has left no LF that does not end a line.
            let line = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            self.line_start = rest[line - 1] == b'\n';
            out.extend_from_slice(&rest[..line]);
            rest = &rest[line..];
        }
    }
}

/// Whether all line ends are CRLF and the last line has one, so that BDAT may carry the bytes as they are.
pub fn is_normal(body: &[u8]) -> bool {
    let mut rest = body;
    while let Some(at) = memchr2(b'\r', b'\n', rest) {
        if !rest[at..].starts_with(b"\r\n") {
            return false;
        }
        rest = &rest[at + 2..];
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode_in(cuts: &[&[u8]]) -> (Vec<u8>, usize, bool) {
        let (mut decoder, mut out, mut used) = (Decoder::data(), Vec::new(), 0);
        for cut in cuts {
            used += decoder.decode(cut, &mut out);
        }
        (out, used, decoder.ended())
    }

    #[test]
    fn rfc5321_4_5_2_dot_stuffing() {
        for (wire, message) in [
            ("a\r\n.\r\n", "a\r\n"),
            (".\r\n", ""),
            ("..\r\n.\r\n", ".\r\n"),
            (".a\r\n.\r\n", "a\r\n"),
            ("...\r\nx.\r\n.\r\n", "..\r\nx.\r\n"),
            ("\r\n\r\n.\r\n", "\r\n\r\n"),
        ] {
            assert_eq!(decode_in(&[wire.as_bytes()]), (message.into(), wire.len(), true), "{wire:?}");
        }
    }

    /// S1 and S2: a second envelope behind each of these stays inside the one message, wherever the bytes are cut.
    #[test]
    fn only_crlf_dot_crlf_ends_a_message() {
        for mark in
            ["\n.\n", "\n.\r", "\r.\n", "\r.\r", "\n.\r\n", "\r.\r\n", "\r\n.\n", "\r\n.\r", "\r\n\0.\r\n", "\r\n.\r\r\n", "\r\r\n.\r\r\n"]
        {
            let wire = format!("Subject: x\r\n\r\nfirst{mark}MAIL FROM:<b@x>\r\nRCPT TO:<c@x>\r\nDATA\r\nsecond\r\n.\r\n");
            let wire = wire.as_bytes();
            let whole = decode_in(&[wire]);
            assert!(whole.2 && whole.1 == wire.len(), "{mark:?} ended early at {}", whole.1);
            assert!(is_normal(&whole.0), "{mark:?} left a stray line end in {:?}", String::from_utf8_lossy(&whole.0));
            assert!(String::from_utf8_lossy(&whole.0).contains("MAIL FROM:<b@x>\r\nRCPT TO"), "{mark:?}");
            for at in 0..wire.len() {
                assert_eq!(decode_in(&[&wire[..at], &wire[at..]]), whole, "{mark:?} cut at {at}");
            }
            let octets: Vec<&[u8]> = wire.chunks(1).collect();
            assert_eq!(decode_in(&octets), whole, "{mark:?} octet by octet");
        }
    }

    #[test]
    fn bare_line_ends_become_crlf_and_are_reported() {
        for (wire, message, bare) in [
            ("a\nb\r\n.\r\n", "a\r\nb\r\n", true),
            ("a\rb\r\n.\r\n", "a\r\nb\r\n", true),
            ("a\r\r\nb\r\n.\r\n", "a\r\n\r\nb\r\n", true),
            ("a\n.b\r\n.\r\n", "a\r\nb\r\n", true),
            ("a\n\nb\r\n.\r\n", "a\r\n\r\nb\r\n", true),
            ("a\r\nb\r\n.\r\n", "a\r\nb\r\n", false),
        ] {
            let (mut decoder, mut out) = (Decoder::data(), Vec::new());
            assert_eq!(decoder.decode(wire.as_bytes(), &mut out), wire.len(), "{wire:?}");
            assert_eq!((String::from_utf8_lossy(&out).as_ref(), decoder.saw_bare_newline()), (message, bare), "{wire:?}");
        }
    }

    #[test]
    fn chunks_keep_dots_and_get_a_last_line_end() {
        for (wire, message, bare) in [
            ("a\r\n.\r\nb\r\n", "a\r\n.\r\nb\r\n", false),
            ("a", "a\r\n", false),
            ("a\r", "a\r\n", true),
            ("a\nb", "a\r\nb\r\n", true),
            ("", "", false),
        ] {
            let (mut decoder, mut out) = (Decoder::chunks(), Vec::new());
            for octet in wire.as_bytes().chunks(1) {
                assert_eq!(decoder.decode(octet, &mut out), 1);
            }
            decoder.finish(&mut out);
            assert_eq!((String::from_utf8_lossy(&out).as_ref(), decoder.saw_bare_newline()), (message, bare), "{wire:?}");
        }
    }

    #[test]
    fn binary_messages_stay_octet_for_octet() {
        let every: Vec<u8> = (0..=255).chain([b'\r', b'\r', b'\n', b'.', b'\r', b'\n', b'\r']).collect();
        let (mut decoder, mut out) = (Decoder::binary(), Vec::new());
        for piece in every.chunks(3) {
            assert_eq!(decoder.decode(piece, &mut out), piece.len());
        }
        decoder.finish(&mut out);
        assert!(out == every && !decoder.saw_bare_newline() && !decoder.ended());
    }

    #[test]
    fn a_long_line_is_passed_on_octet_for_octet() {
        for length in [998, 1000, 2000, 65536] {
            let wire = format!("{}\r\n.\r\n", "x".repeat(length));
            assert_eq!(decode_in(&[wire.as_bytes()]).0, wire.as_bytes()[..length + 2]);
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_the_normal_form(text in "[ab.\\r\\n]{0,40}", cut in 0usize..40) {
            let bytes = text.as_bytes();
            let cut = cut.min(bytes.len());
            let (mut encoder, mut wire) = (Encoder::default(), Vec::new());
            encoder.encode(&bytes[..cut], &mut wire);
            encoder.encode(&bytes[cut..], &mut wire);
            encoder.finish(&mut wire);
            let (mut normal, mut lines) = (Vec::new(), Decoder::chunks());
            lines.decode(bytes, &mut normal);
            lines.finish(&mut normal);
            prop_assert!(is_normal(&normal));
            let (message, used, ended) = decode_in(&[&wire]);
            prop_assert!(ended && used == wire.len());
            prop_assert_eq!(message, normal);
        }

        #[test]
        fn cuts_make_no_difference(text in "[a.\\r\\n]{0,30}", at in 0usize..30) {
            let bytes = text.as_bytes();
            let at = at.min(bytes.len());
            let whole = decode_in(&[bytes]);
            let first = decode_in(&[&bytes[..at], &bytes[at..]]);
            prop_assert_eq!(whole, first);
        }
    }
}
