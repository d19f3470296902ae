//! Cutting the client's bytes into commands: lines and literals, within limits, before any grammar.
//!
//! A command is a line; where a line ends in `{n}` or `{n+}`, n bytes and a further line belong to it (RFC 3501 §4.3,
//! RFC 7888). Cutting needs no more than that: a quoted string cannot hold a line break, and no other text can end in
//! `{n}` in a command the grammar would take. So framer and grammar cannot disagree about where a command ends, which is
//! what an attacker would need to smuggle one.
//!
//! Lines may end in LF alone (people with `nc`); a literal may not be announced by such a line. Each byte is looked at
//! once, and memory is bounded by [`Limits`] whatever the client sends.

/// What one command may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of one command, literals included, messages of APPEND not.
    pub command: usize,
    /// Literals in one command.
    pub literals: u32,
    /// Largest `{n+}` literal that is taken (RFC 7888 §5: 4,096 with LITERAL-).
    pub non_synchronizing: u64,
    /// Bytes of an unwanted `{n+}` literal that are read and forgotten; for more the connection is closed.
    pub drain: u64,
}

impl Limits {
    /// Before login: Dovecot's 8 KiB.
    pub const BEFORE_LOGIN: Limits = Limits { command: 8192, literals: 16, non_synchronizing: 4096, drain: 64 << 10 };
    /// After login.
    pub const AFTER_LOGIN: Limits = Limits { command: 1 << 20, literals: 1000, non_synchronizing: u64::MAX, drain: 128 << 20 };
}

/// What the framer found.
#[derive(Debug, PartialEq)]
pub enum Frame {
    NeedInput,
    /// A whole command, without its last line break.
    Command(Vec<u8>),
    /// The line so far ends in a literal. Answer with one of the `*_literal` calls.
    Literal(Literal),
    /// Bytes of a streamed literal.
    Data(Vec<u8>),
    /// The streamed literal is complete; the next [`Frame::Command`] is what follows it.
    DataEnd,
    /// A command was longer than allowed. Its rest will be passed over. Holds the beginning, for the tag.
    TooLong(Vec<u8>),
    /// `{n+}` that is too large even to pass over: nothing can be understood from here on.
    Hopeless,
}

/// A literal's announcement, at the end of the line so far.
#[derive(Debug, PartialEq, Clone, Copy)]
pub struct Literal {
    pub size: u64,
    /// The client waits for `+` before it sends the bytes.
    pub synchronizing: bool,
    /// `~{n}` (RFC 3516).
    pub binary: bool,
    /// Announced by a line that ends in a bare LF, or by digits that are no number.
    pub malformed: bool,
    /// Where `{` (or `~`) stands in [`Framer::command`].
    pub at: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Cut {
    Line,
    Literal(u64),
    Stream(u64),
    DropLiteral(u64),
    DropLine,
}

/// The cutter. Bytes go in by [`Framer::receive`], frames come out by [`Framer::next_frame`].
pub struct Framer {
    limits: Limits,
    input: Vec<u8>,
    start: usize,
    /// Bytes after `start` that hold no LF.
    scanned: usize,
    command: Vec<u8>,
    literals: u32,
    cut: Cut,
    /// The end of a line that is being passed over, where `{n+}` may stand.
    tail: Vec<u8>,
    /// Lines are lines, `{n}` means nothing (SASL responses, DONE).
    pub plain_lines: bool,
}

impl Framer {
    pub fn new(limits: Limits) -> Framer {
        Framer {
            limits,
            input: Vec::new(),
            start: 0,
            scanned: 0,
            command: Vec::new(),
            literals: 0,
            cut: Cut::Line,
            tail: Vec::new(),
            plain_lines: false,
        }
    }

    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Takes bytes from the client. Call only after [`Frame::NeedInput`], or memory is not bounded.
    pub fn receive(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.input.drain(..self.start);
            self.start = 0;
        }
        self.input.extend_from_slice(bytes);
    }

    /// Bytes received and not yet understood.
    pub fn buffered(&self) -> usize {
        self.input.len() - self.start
    }

    /// Forgets everything received.
    pub fn clear(&mut self) {
        self.input = Vec::new();
        self.start = 0;
        self.scanned = 0;
        self.command = Vec::new();
        self.cut = Cut::Line;
    }

    /// The command so far: lines without line break at the end, literals as `{n}` CRLF and bytes.
    pub fn command(&self) -> &[u8] {
        &self.command
    }

    /// The literal belongs to the command.
    pub fn accept_literal(&mut self, literal: Literal) {
        self.command.extend_from_slice(b"\r\n");
        self.cut = Cut::Literal(literal.size);
    }

    /// The literal is handed out as [`Frame::Data`].
    pub fn stream_literal(&mut self, literal: Literal) {
        self.command = Vec::new();
        self.cut = Cut::Stream(literal.size);
    }

    /// The command is given up. A synchronising literal will not come; any other is read and forgotten, with the line
    /// behind it. False when it is too large for that.
    pub fn refuse_literal(&mut self, literal: Literal) -> bool {
        self.command = Vec::new();
        self.literals = 0;
        if literal.synchronizing {
            self.cut = Cut::Line;
            return true;
        }
        self.cut = Cut::DropLiteral(literal.size);
        literal.size <= self.limits.drain
    }

    /// Gives up a streamed literal that is still coming: the rest of it and of its line is read and forgotten. Called
    /// once all its data is there, it only drops the line.
    pub fn abandon_stream(&mut self) {
        if let Cut::Stream(left) = self.cut {
            self.cut = Cut::DropLiteral(left);
        }
    }

    pub fn next_frame(&mut self) -> Frame {
        loop {
            match self.cut {
                Cut::Line => {
                    if let Some(frame) = self.line() {
                        return frame;
                    }
                }
                Cut::Literal(left) => {
                    let take = left.min(self.buffered() as u64) as usize;
                    self.command.extend_from_slice(&self.input[self.start..self.start + take]);
                    self.start += take;
                    if (take as u64) < left {
                        self.cut = Cut::Literal(left - take as u64);
                        return self.need_input();
                    }
                    self.cut = Cut::Line;
                }
                Cut::Stream(0) => {
                    self.cut = Cut::Line;
                    return Frame::DataEnd;
                }
                Cut::Stream(left) => {
                    if self.buffered() == 0 {
                        return self.need_input();
                    }
                    let take = left.min(self.buffered() as u64) as usize;
                    self.cut = Cut::Stream(left - take as u64);
                    if self.start == 0 && take == self.input.len() {
                        return Frame::Data(std::mem::take(&mut self.input));
                    }
                    let data = self.input[self.start..self.start + take].to_vec();
                    self.start += take;
                    return Frame::Data(data);
                }
                Cut::DropLiteral(left) => {
                    let take = left.min(self.buffered() as u64) as usize;
                    self.start += take;
                    if (take as u64) < left {
                        self.cut = Cut::DropLiteral(left - take as u64);
                        return self.need_input();
                    }
                    self.cut = Cut::DropLine;
                }
                Cut::DropLine => {
                    let end = memchr::memchr(b'\n', &self.input[self.start..]);
                    let piece = end.map_or(self.buffered(), |at| at + 1);
                    // Only the end of the line matters: `{` 20 digits `+}` CRLF.
                    const TAIL: usize = 32;
                    let from = self.start + piece - piece.min(TAIL);
                    self.tail.extend_from_slice(&self.input[from..self.start + piece]);
                    let excess = self.tail.len().saturating_sub(TAIL);
                    self.tail.drain(..excess);
                    self.start += piece;
                    if end.is_none() {
                        return self.need_input();
                    }
                    let line = std::mem::take(&mut self.tail);
                    let literal = announced(strip_line_end(&line).0).filter(|l| !l.synchronizing);
                    self.cut = literal.map_or(Cut::Line, |l| Cut::DropLiteral(l.size));
                    if literal.is_some_and(|l| l.size > self.limits.drain) {
                        return Frame::Hopeless;
                    }
                }
            }
        }
    }

    /// Cuts the next line, `None` to go on.
    fn line(&mut self) -> Option<Frame> {
        let fresh = self.start + self.scanned;
        let Some(at) = memchr::memchr(b'\n', &self.input[fresh..]) else {
            self.scanned = self.buffered();
            if self.command.len() + self.buffered() > self.limits.command {
                return Some(self.too_long(self.input.len()));
            }
            return Some(self.need_input());
        };
        let end = fresh + at + 1;
        self.scanned = 0;
        if self.command.len() + (end - self.start) > self.limits.command + 2 {
            return Some(self.too_long(self.start));
        }
        let (line, bare_lf) = strip_line_end(&self.input[self.start..end]);
        let before = self.command.len();
        self.command.extend_from_slice(line);
        self.start = end;
        if self.plain_lines {
            return Some(Frame::Command(std::mem::take(&mut self.command)));
        }
        let Some(mut literal) = announced(&self.command[before..]) else {
            self.literals = 0;
            return Some(Frame::Command(std::mem::take(&mut self.command)));
        };
        literal.at += before;
        literal.malformed |= bare_lf;
        self.literals += 1;
        if self.literals > self.limits.literals {
            return Some(self.too_long_literal(literal));
        }
        Some(Frame::Literal(literal))
    }

    /// May the literal be part of the command in memory?
    pub fn fits(&self, literal: Literal) -> bool {
        literal.size <= (self.limits.command - self.command.len().min(self.limits.command)) as u64
            && (literal.synchronizing || literal.size <= self.limits.non_synchronizing)
    }

    fn too_long(&mut self, from: usize) -> Frame {
        let mut beginning = std::mem::take(&mut self.command);
        if beginning.is_empty() {
            let end = self.input.len().min(self.start + crate::parse::TAG_LIMIT + 1);
            beginning.extend_from_slice(&self.input[self.start..end]);
        }
        self.literals = 0;
        self.scanned = 0;
        if from == self.input.len() {
            // No end of line yet. Its last bytes may begin a `{n+}`.
            self.tail = self.input[from.saturating_sub(32).max(self.start)..].to_vec();
        }
        self.start = from;
        self.cut = Cut::DropLine;
        Frame::TooLong(beginning)
    }

    fn too_long_literal(&mut self, literal: Literal) -> Frame {
        let beginning = std::mem::take(&mut self.command);
        if self.refuse_literal(literal) { Frame::TooLong(beginning) } else { Frame::Hopeless }
    }

    /// An idle session holds no buffer: a thousand of them would hold a thousand.
    fn need_input(&mut self) -> Frame {
        if self.buffered() == 0 {
            self.input = Vec::new();
            self.start = 0;
            self.scanned = 0;
        }
        Frame::NeedInput
    }
}

/// The line without its end, and whether that was a bare LF.
fn strip_line_end(line: &[u8]) -> (&[u8], bool) {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    match line.strip_suffix(b"\r") {
        Some(line) => (line, false),
        None => (line, true),
    }
}

/// RFC 7888 §8: `literal = "{" number ["+"] "}"` at the end of a line; RFC 3516 §7: `literal8 = "~{" number ["+"] "}"`.
fn announced(line: &[u8]) -> Option<Literal> {
    let inner = line.strip_suffix(b"}")?;
    let (inner, synchronizing) = match inner.strip_suffix(b"+") {
        Some(inner) => (inner, false),
        None => (inner, true),
    };
    let digits = inner.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let (head, digits) = inner.split_at(inner.len() - digits);
    let head = head.strip_suffix(b"{").filter(|_| !digits.is_empty())?;
    let binary = head.ends_with(b"~");
    let at = head.len() - binary as usize;
    // RFC 3501 §9: number is below 2^32; RFC 9051 has number64. A number beyond both cannot be a size.
    let size = crate::cursor::decimal(digits);
    Some(Literal { size: size.unwrap_or(u64::MAX), synchronizing, binary, malformed: size.is_none(), at })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Limits = Limits { command: 64, literals: 3, non_synchronizing: 16, drain: 100 };

    fn framer(bytes: &[u8]) -> Framer {
        let mut framer = Framer::new(SMALL);
        framer.receive(bytes);
        framer
    }

    #[test]
    fn lines_and_literals_make_one_command() {
        let mut f = framer(b"a LOGIN {2}\r\nme \"x\"\r\nb NOOP\n");
        let Frame::Literal(literal) = f.next_frame() else { panic!() };
        assert_eq!((literal.size, literal.synchronizing, literal.at), (2, true, 8));
        f.accept_literal(literal);
        assert_eq!(f.next_frame(), Frame::Command(b"a LOGIN {2}\r\nme \"x\"".to_vec()));
        assert_eq!(f.next_frame(), Frame::Command(b"b NOOP".to_vec()));
        assert_eq!(f.next_frame(), Frame::NeedInput);
    }

    #[test]
    fn a_refused_non_synchronising_literal_is_passed_over_with_its_line() {
        let mut f = framer(b"a FOO {3+}\r\nx\r\n {2+}\r\nyy\r\nb NOOP\r\n");
        let Frame::Literal(literal) = f.next_frame() else { panic!() };
        assert!(f.refuse_literal(literal));
        assert_eq!(f.next_frame(), Frame::Command(b"b NOOP".to_vec()));
    }

    #[test]
    fn a_refused_synchronising_literal_never_comes() {
        let mut f = framer(b"a FOO {3}\r\nb NOOP\r\n");
        let Frame::Literal(literal) = f.next_frame() else { panic!() };
        assert!(f.refuse_literal(literal));
        assert_eq!(f.next_frame(), Frame::Command(b"b NOOP".to_vec()));
    }

    #[test]
    fn long_lines_are_passed_over_in_sync() {
        for chunk in [1, 7, 1000] {
            let text = [b"a ".as_slice(), &[b'x'; 500], b" {5+}\r\n\r\nb N {4}\r\nc NOOP\r\n"].concat();
            let mut f = Framer::new(SMALL);
            let mut seen = Vec::new();
            for piece in text.chunks(chunk) {
                f.receive(piece);
                loop {
                    match f.next_frame() {
                        Frame::NeedInput => break,
                        frame => seen.push(frame),
                    }
                }
                assert!(f.command.len() + f.input.len() <= 64 + 1000 + 66);
            }
            // The literal swallows `\r\nb N`; ` {4}` announces a synchronising one that never comes.
            assert!(matches!(&seen[0], Frame::TooLong(start) if start.starts_with(b"a x")), "{seen:?}");
            assert_eq!(seen[1..], [Frame::Command(b"c NOOP".to_vec())], "{chunk}");
        }
    }

    #[test]
    fn too_many_literals_are_too_long() {
        let mut f = framer(b"a {0+}\r\n{0+}\r\n{0+}\r\n{0+}\r\n\r\nb NOOP\r\n");
        for _ in 0..3 {
            let Frame::Literal(literal) = f.next_frame() else { panic!() };
            f.accept_literal(literal);
        }
        assert!(matches!(f.next_frame(), Frame::TooLong(_)));
        assert_eq!(f.next_frame(), Frame::Command(b"b NOOP".to_vec()));
    }

    #[test]
    fn literals_that_are_none() {
        let literal = |bytes| match framer(bytes).next_frame() {
            Frame::Literal(literal) => Some(literal),
            _ => None,
        };
        assert_eq!(literal(b"a x {-1}\r\n"), None);
        assert_eq!(literal(b"a x {}\r\n"), None);
        assert!(literal(b"a x {99999999999999999999}\r\n").unwrap().malformed);
        assert!(literal(b"a x {5}\n").unwrap().malformed);
        assert!(literal(b"a x ~{5}\r\n").unwrap().binary);
    }

    #[test]
    fn an_idle_framer_holds_no_buffer() {
        let mut f = framer(b"a NOOP\r\n");
        while f.next_frame() != Frame::NeedInput {}
        assert_eq!(f.input.capacity() + f.command.capacity() + f.tail.capacity(), 0);
    }
}
