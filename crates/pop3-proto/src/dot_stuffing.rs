//! Multi-line answers (RFC 1939 §3): a dot in front of each line that begins with one, and a last line of one dot.

use memchr::memchr_iter;

/// The state of one message on its way out. Takes pieces cut anywhere, with CRLF line ends.
#[derive(Debug, Clone)]
pub struct DotStuffing {
    // The last two bytes that went out.
    last: [u8; 2],
    // TOP: lines of the body that may still come; `None` while all may.
    lines: Option<u64>,
    in_header: bool,
    full: bool,
}

impl DotStuffing {
    /// The whole message, or with `lines` its header, the empty line, and that many lines of the body (TOP, RFC 1939 §7).
    pub fn new(lines: Option<u64>) -> DotStuffing {
        DotStuffing { last: *b"\r\n", lines, in_header: true, full: false }
    }

    /// Nothing more is wanted: TOP has its lines.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Appends a piece to `out`.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        if self.full || piece.is_empty() {
            return;
        }
        out.reserve(piece.len() + 64);
        // The place in `piece` up to which all is in `out`.
        let mut from = 0;
        if self.at_line_start() {
            self.line_begins(piece, 0, &mut from, out);
        }
        for lf in memchr_iter(b'\n', piece) {
            if self.lines.is_some() && self.line_ended(piece, lf) {
                out.extend_from_slice(&piece[from..=lf]);
                self.last = *b"\r\n";
                return;
            }
            if lf + 1 < piece.len() {
                self.line_begins(piece, lf + 1, &mut from, out);
            }
        }
        out.extend_from_slice(&piece[from..]);
        self.last = match piece {
            [.., a, b] => [*a, *b],
            [b] => [self.last[1], *b],
            [] => self.last,
        };
    }

    fn at_line_start(&self) -> bool {
        self.last[1] == b'\n'
    }

    fn line_begins(&self, piece: &[u8], at: usize, from: &mut usize, out: &mut Vec<u8>) {
        if piece[at] == b'.' {
            out.extend_from_slice(&piece[*from..at]);
            out.push(b'.');
            *from = at;
        }
    }

    // For TOP: whether this line end is the last one wanted.
    fn line_ended(&mut self, piece: &[u8], lf: usize) -> bool {
        let before = |n: usize| lf.checked_sub(n).map_or_else(|| self.last.get((2 + lf).wrapping_sub(n)).copied(), |at| Some(piece[at]));
        if self.in_header {
            // The empty line: LF CR LF, or CR LF at the very beginning.
            let empty = before(1) == Some(b'\r') && before(2) == Some(b'\n');
            self.in_header = !empty;
            self.full = empty && self.lines == Some(0);
        } else if let Some(lines) = &mut self.lines {
            *lines = lines.saturating_sub(1);
            self.full = *lines == 0;
        }
        self.full
    }

    /// Ends the answer: a line end where the message had none (POP3 cannot say otherwise), and the dot.
    pub fn finish(self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.last == *b"\r\n" { b".\r\n" } else { b"\r\n.\r\n" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stuffed(message: &str, lines: Option<u64>, cut: usize) -> String {
        let mut out = Vec::new();
        let mut state = DotStuffing::new(lines);
        for piece in message.as_bytes().chunks(cut) {
            state.push(piece, &mut out);
        }
        state.finish(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn rfc1939_3_dot_stuffing_byte_for_byte() {
        for (message, want) in [
            ("", ".\r\n"),
            ("a\r\n", "a\r\n.\r\n"),
            ("a", "a\r\n.\r\n"),
            (".\r\n", "..\r\n.\r\n"),
            ("..\r\n", "...\r\n.\r\n"),
            (".", "..\r\n.\r\n"),
            ("a\r\n.b\r\n.\r\nc.\r\n", "a\r\n..b\r\n..\r\nc.\r\n.\r\n"),
            ("a\r\n\r\n.\r\n", "a\r\n\r\n..\r\n.\r\n"),
            ("a\r", "a\r\r\n.\r\n"),
        ] {
            for cut in 1..=message.len().max(1) {
                assert_eq!(stuffed(message, None, cut), want, "{message:?} in pieces of {cut}");
            }
        }
    }

    #[test]
    fn top_gives_the_header_and_that_many_lines() {
        let message = "A: 1\r\nB: 2\r\n\r\none\r\n.two\r\n\r\nfour";
        for (lines, want) in [
            (0, "A: 1\r\nB: 2\r\n\r\n.\r\n"),
            (1, "A: 1\r\nB: 2\r\n\r\none\r\n.\r\n"),
            (2, "A: 1\r\nB: 2\r\n\r\none\r\n..two\r\n.\r\n"),
            (3, "A: 1\r\nB: 2\r\n\r\none\r\n..two\r\n\r\n.\r\n"),
            (4, "A: 1\r\nB: 2\r\n\r\none\r\n..two\r\n\r\nfour\r\n.\r\n"),
            (u64::MAX, "A: 1\r\nB: 2\r\n\r\none\r\n..two\r\n\r\nfour\r\n.\r\n"),
        ] {
            for cut in 1..=message.len() {
                assert_eq!(stuffed(message, Some(lines), cut), want, "{lines} lines in pieces of {cut}");
            }
        }
        for cut in 1..4 {
            assert_eq!(stuffed("\r\nbody\r\n", Some(0), cut), "\r\n.\r\n");
            assert_eq!(stuffed("A: 1\r\n", Some(0), cut), "A: 1\r\n.\r\n");
        }
    }

    proptest! {
        #[test]
        fn what_is_stuffed_can_be_unstuffed(message in "[a.\\r\\n]{0,40}", cut in 1usize..9) {
            let message = message.replace("\r\n", "\n").replace('\r', "").replace('\n', "\r\n");
            let out = stuffed(&message, None, cut);
            let lines: Vec<&str> = out.strip_suffix(".\r\n").expect("end").split_inclusive("\r\n").collect();
            let back: String = lines.iter().map(|line| line.strip_prefix('.').unwrap_or(line)).collect();
            let whole = if message.is_empty() || message.ends_with("\r\n") { message } else { message + "\r\n" };
            prop_assert_eq!(back, whole);
        }
    }
}
