//! Transcripts: conversations written down line by line, and run against a machine or a server.
//!
//! ```text
//! # why this conversation matters
//! S: 220 mx.example.org ESMTP…
//! C: EHLO client
//! S: 250-mx.example.org
//! S: 250 …
//! C: MAIL FROM:<a@example.org>
//! C: RCPT TO:<b@example.org>
//! S: 250 2.1.0 …
//! S: 250 2.1.5 …
//! ! tls
//! C: QUIT
//! S: 221 …
//! S! closed
//! ```
//!
//! | line | meaning |
//! |---|---|
//! | `C: text` | the client sends `text` and CRLF; lines that follow one another are one group, sent at once |
//! | `C\| text` | the same without CRLF |
//! | `S: text` | the server sends this line; `…` (or `...` at the end of the line) stands for any text; nothing more may come |
//! | `S* text` | the server sends lines until one that matches; what comes before it is anything |
//! | `S\| text` | the server sends these bytes without CRLF |
//! | `S! closed` | the server ends the connection |
//! | `C! close` | the client ends the connection |
//! | `! word` | for the driver: [`Machine::directive`], such as the start of TLS or time going by |
//! | `# text` | a remark |
//!
//! In texts `\r \n \t \0 \\ \xHH` stand for bytes, and `\s` for a space at the end of a line. `{N*text}` in a `C` line repeats `text` N times.
//!
//! [`Transcript::check`] runs one transcript three ways against a pure machine: whole groups, byte by byte, and cut at
//! random places; each must give the same answers. [`Transcript::run_stream`] runs it over a connection.

use std::fmt::Write as _;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What a pure protocol machine must offer to be run.
pub trait Machine {
    /// What the server says first, before the client spoke. Empty where the client begins.
    fn greeting(&mut self) -> Vec<u8> {
        Vec::new()
    }

    /// Bytes from the client, cut anywhere; gives what the server answers to them, perhaps nothing yet.
    fn feed(&mut self, bytes: &[u8]) -> Vec<u8>;

    /// The server has ended the connection.
    fn is_closed(&self) -> bool;

    /// `! word` lines; gives what the server sends because of it.
    fn directive(&mut self, word: &str) -> Vec<u8> {
        panic!("this transcript's driver knows no directive `{word}`")
    }

    /// The client has ended the connection.
    fn close(&mut self) -> Vec<u8> {
        Vec::new()
    }
}

/// A parsed transcript.
#[derive(Debug, Clone)]
pub struct Transcript {
    name: String,
    steps: Vec<(usize, Step)>,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Client(Vec<u8>),
    ClientClose,
    Server(Pattern),
    ServerUntil(Pattern),
    ServerClosed,
    Directive(String),
}

/// A line or run of bytes; the pieces stand for themselves, and between them is anything.
#[derive(Debug, Clone, PartialEq)]
struct Pattern {
    pieces: Vec<Vec<u8>>,
    line: bool,
}

/// How the client's bytes are handed to a machine.
#[derive(Debug, Clone, Copy)]
enum Cut {
    Groups,
    Bytes,
    Random(u64),
}

impl Transcript {
    /// Parses a transcript; `name` stands in front of complaints. Panics with the line of an error: it is for tests.
    pub fn parse(name: &str, text: &str) -> Transcript {
        let mut steps: Vec<(usize, Step)> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim_end();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mark = line.get(..2).unwrap_or(line);
            let rest = line.get(2..).unwrap_or("");
            let rest = rest.strip_prefix(' ').unwrap_or(rest);
            let bytes = |text: &str| unescape(text).unwrap_or_else(|why| panic!("{name}:{number}: {why}"));
            let step = match mark {
                "C:" | "C|" => {
                    let mut sent = bytes(&repeat(rest));
                    if mark == "C:" {
                        sent.extend_from_slice(b"\r\n");
                    }
                    if let Some((_, Step::Client(group))) = steps.last_mut() {
                        group.extend_from_slice(&sent);
                        continue;
                    }
                    Step::Client(sent)
                }
                "S:" | "S|" | "S*" => {
                    let text = rest.strip_suffix("...").map_or_else(|| rest.to_owned(), |front| format!("{front}…"));
                    let pattern = Pattern { pieces: text.split('…').map(bytes).collect(), line: mark != "S|" };
                    if mark == "S*" { Step::ServerUntil(pattern) } else { Step::Server(pattern) }
                }
                "S!" if rest == "closed" => Step::ServerClosed,
                "C!" if rest == "close" => Step::ClientClose,
                _ if line.starts_with("! ") => Step::Directive(line[2..].trim().to_owned()),
                _ => panic!("{name}:{number}: expected C: C| C! S: S| S* S! ! or #, found {line:?}"),
            };
            steps.push((number, step));
        }
        Transcript { name: name.to_owned(), steps }
    }

    /// Reads a transcript file.
    pub fn read(path: impl AsRef<std::path::Path>) -> Transcript {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Transcript::parse(&path.display().to_string(), &text)
    }

    /// All `*.txt` files of a folder, in order of name.
    pub fn read_all(folder: impl AsRef<std::path::Path>) -> Vec<Transcript> {
        let folder = folder.as_ref();
        let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut paths: Vec<_> =
            entries.map(|e| e.expect("directory entry").path()).filter(|p| p.extension().is_some_and(|e| e == "txt")).collect();
        paths.sort();
        paths.iter().map(Transcript::read).collect()
    }

    /// Where it came from.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All bytes the client sends, for seeding a fuzzer.
    pub fn client_bytes(&self) -> Vec<u8> {
        let groups = self.steps.iter().filter_map(|(_, step)| if let Step::Client(bytes) = step { Some(bytes.as_slice()) } else { None });
        groups.collect::<Vec<_>>().concat()
    }

    /// Runs against fresh machines: whole groups, byte by byte, and cut at twenty sets of random places. Panics where the server's side differs.
    pub fn check<M: Machine>(&self, mut machine: impl FnMut() -> M) {
        self.run(&mut machine(), Cut::Groups);
        self.run(&mut machine(), Cut::Bytes);
        for seed in 1..=20 {
            self.run(&mut machine(), Cut::Random(seed));
        }
    }

    fn run(&self, machine: &mut impl Machine, cut: Cut) {
        let mut random = if let Cut::Random(seed) = cut { Random(seed) } else { Random(1) };
        let mut heard = Heard { bytes: machine.greeting(), how: format!("{cut:?}"), ..Heard::default() };
        for (at, (number, step)) in self.steps.iter().enumerate() {
            heard.at = format!("{}:{number}", self.name);
            match step {
                Step::Client(bytes) => {
                    heard.expect_silence();
                    let mut rest = bytes.as_slice();
                    while !rest.is_empty() {
                        let length = match cut {
                            Cut::Groups => rest.len(),
                            Cut::Bytes => 1,
                            Cut::Random(_) => 1 + random.below(rest.len().min(40)),
                        };
                        heard.bytes.extend(machine.feed(&rest[..length]));
                        rest = &rest[length..];
                    }
                }
                Step::ClientClose => {
                    heard.expect_silence();
                    heard.bytes.extend(machine.close());
                }
                Step::Directive(word) => {
                    heard.expect_silence();
                    heard.bytes.extend(machine.directive(word));
                }
                Step::Server(pattern) => {
                    if let Err(Missing) = heard.take(pattern, at, &self.steps) {
                        heard.fail(&format!("expected {}, heard no more than {}", pattern.show(), show(&heard.bytes)));
                    }
                }
                Step::ServerUntil(pattern) => {
                    if let Err(Missing) = heard.take_until(pattern) {
                        heard.fail(&format!("expected a line {}, heard {}", pattern.show(), show(&heard.bytes)));
                    }
                }
                Step::ServerClosed => {
                    heard.expect_silence();
                    if !machine.is_closed() {
                        heard.fail("expected the server to close");
                    }
                }
            }
        }
        heard.expect_silence();
    }

    /// Runs over a connection. `! word` lines hand the stream to `directive`, which gives it back, perhaps wrapped in TLS. Each answer
    /// must come within `deadline`. Panics where the server's side differs.
    pub async fn run_stream<S>(&self, stream: S, deadline: Duration, mut directive: impl AsyncFnMut(&str, S) -> S)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut stream = Some(stream);
        let mut heard = Heard { how: "connection".to_owned(), ..Heard::default() };
        for (at, (number, step)) in self.steps.iter().enumerate() {
            heard.at = format!("{}:{number}", self.name);
            let Some(open) = stream.as_mut() else { heard.fail("the client has closed already") };
            match step {
                Step::Client(bytes) => {
                    heard.expect_silence();
                    // A server that refuses may close while we still write.
                    let _ = open.write_all(bytes).await;
                    let _ = open.flush().await;
                }
                Step::ClientClose => drop(stream.take()),
                Step::Directive(word) => {
                    heard.expect_silence();
                    let given = stream.take().expect("checked above");
                    stream = Some(directive(word, given).await);
                }
                Step::Server(pattern) => {
                    while heard.take(pattern, at, &self.steps).is_err() {
                        heard.read_more(open, deadline, pattern).await;
                    }
                }
                Step::ServerUntil(pattern) => {
                    while heard.take_until(pattern).is_err() {
                        heard.read_more(open, deadline, pattern).await;
                    }
                }
                Step::ServerClosed => {
                    let mut rest = Vec::new();
                    match tokio::time::timeout(deadline, open.read_to_end(&mut rest)).await {
                        Ok(_) => heard.bytes.extend(rest),
                        Err(_) => heard.fail("the server did not close in time"),
                    }
                    heard.expect_silence();
                }
            }
        }
        heard.expect_silence();
    }
}

struct Missing;

/// What the server said and no step has taken yet.
#[derive(Default)]
struct Heard {
    bytes: Vec<u8>,
    at: String,
    how: String,
    told: String,
}

impl Heard {
    fn take(&mut self, pattern: &Pattern, at: usize, steps: &[(usize, Step)]) -> Result<(), Missing> {
        let length = if pattern.line {
            line_length(&self.bytes).ok_or(Missing)?
        } else if pattern.pieces.len() == 1 {
            // Plain bytes: as many as the pattern has.
            let wanted = pattern.pieces[0].len();
            if self.bytes.len() < wanted {
                return Err(Missing);
            }
            wanted
        } else {
            // Bytes with a gap take all there is, so they stand before a line of the client or at the end.
            let last = steps.get(at + 1).is_none_or(|(_, step)| !matches!(step, Step::Server(_)));
            if self.bytes.is_empty() || !last {
                return Err(Missing);
            }
            self.bytes.len()
        };
        let line: Vec<u8> = self.bytes.drain(..length).collect();
        let body = if pattern.line { strip_line_end(&line) } else { &line };
        if !pattern.matches(body) {
            self.fail(&format!("expected {}, got {}, then {}", pattern.show(), show(&line), show(&self.bytes)));
        }
        let _ = writeln!(self.told, "S {}", show(&line));
        Ok(())
    }

    fn take_until(&mut self, pattern: &Pattern) -> Result<(), Missing> {
        let mut start = 0;
        while let Some(length) = line_length(&self.bytes[start..]) {
            let end = start + length;
            if pattern.matches(strip_line_end(&self.bytes[start..end])) {
                let _ = writeln!(self.told, "S {}", show(&self.bytes[..end]));
                self.bytes.drain(..end);
                return Ok(());
            }
            start = end;
        }
        Err(Missing)
    }

    async fn read_more(&mut self, stream: &mut (impl AsyncRead + Unpin), deadline: Duration, pattern: &Pattern) {
        let mut buffer = [0; 4096];
        match tokio::time::timeout(deadline, stream.read(&mut buffer)).await {
            Ok(Ok(n)) if n > 0 => self.bytes.extend_from_slice(&buffer[..n]),
            Ok(end) => self.fail(&format!("expected {}, the connection ended ({end:?}) after {}", pattern.show(), show(&self.bytes))),
            Err(_) => self.fail(&format!("expected {} in time, heard {}", pattern.show(), show(&self.bytes))),
        }
    }

    fn expect_silence(&self) {
        if !self.bytes.is_empty() {
            self.fail(&format!("the server said more than expected: {}", show(&self.bytes)));
        }
    }

    fn fail(&self, why: &str) -> ! {
        panic!("{} ({}): {why}\nbefore that:\n{}", self.at, self.how, self.told)
    }
}

fn line_length(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|b| *b == b'\n').map(|at| at + 1)
}

fn strip_line_end(line: &[u8]) -> &[u8] {
    // A bare LF from the server is an error that the pattern shall show.
    line.strip_suffix(b"\r\n").unwrap_or(line)
}

impl Pattern {
    fn matches(&self, line: &[u8]) -> bool {
        let (first, rest) = self.pieces.split_first().expect("split gives at least one piece");
        let Some(mut line) = line.strip_prefix(first.as_slice()) else { return false };
        let Some((last, middle)) = rest.split_last() else { return line.is_empty() };
        for piece in middle {
            match line.windows(piece.len().max(1)).position(|w| w == piece.as_slice()) {
                _ if piece.is_empty() => {}
                Some(at) => line = &line[at + piece.len()..],
                None => return false,
            }
        }
        line.ends_with(last)
    }

    fn show(&self) -> String {
        self.pieces.iter().map(|piece| show(piece)).collect::<Vec<_>>().join("…")
    }
}

fn show(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(2000)];
    format!("\"{}\"", shown.escape_ascii())
}

fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match chars.next() {
            Some('r') => out.push(b'\r'),
            Some('n') => out.push(b'\n'),
            Some('t') => out.push(b'\t'),
            Some('0') => out.push(0),
            Some('s') => out.push(b' '),
            Some('\\') => out.push(b'\\'),
            Some('x') => {
                let digits: String = chars.by_ref().take(2).collect();
                out.push(u8::from_str_radix(&digits, 16).map_err(|_| format!("\\x{digits} is no byte"))?);
            }
            other => return Err(format!("unknown escape \\{}", other.map_or(String::new(), String::from))),
        }
    }
    Ok(out)
}

/// `{N*text}` becomes N times `text`; other braces stay.
fn repeat(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        rest = &rest[open..];
        let parsed = rest.find('}').and_then(|close| {
            let (count, piece) = rest[1..close].split_once('*')?;
            Some((close, count.parse::<usize>().ok()?, piece))
        });
        match parsed {
            Some((close, count, piece)) => {
                out.push_str(&piece.repeat(count));
                rest = &rest[close + 1..];
            }
            None => {
                out.push('{');
                rest = &rest[1..];
            }
        }
    }
    out + rest
}

/// Xorshift: the same cuts in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers each line with `ok LINE`, `quit` with `bye`.
    #[derive(Default)]
    struct Echo {
        line: Vec<u8>,
        closed: bool,
    }

    impl Machine for Echo {
        fn greeting(&mut self) -> Vec<u8> {
            b"hello you\r\n".to_vec()
        }
        fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
            let mut out = Vec::new();
            for b in bytes {
                self.line.push(*b);
                if self.line.ends_with(b"\r\n") {
                    if self.line == b"quit\r\n" {
                        self.closed = true;
                        out.extend_from_slice(b"bye\r\n");
                    } else {
                        out.extend_from_slice(b"ok ");
                        out.extend_from_slice(&self.line);
                    }
                    self.line.clear();
                }
            }
            out
        }
        fn is_closed(&self) -> bool {
            self.closed
        }
        fn directive(&mut self, word: &str) -> Vec<u8> {
            format!("did {word}\r\n").into_bytes()
        }
    }

    const GOOD: &str = "# greets\nS: hello …\nC: a\nC: {3*bc}\nC| d\nC: e\\x41\nS: ok a\nS: ok bcbcbc\nS: ok …A\n! tls\nS: did tls\nC: x\nC: y\nC: z\nS* ok z\nC: quit\nS: bye\nS! closed\n";

    #[test]
    fn a_transcript_runs_in_all_cuts() {
        let transcript = Transcript::parse("t", GOOD);
        transcript.check(Echo::default);
        assert!(transcript.client_bytes().starts_with(b"a\r\nbcbcbc\r\ndeA\r\n"));
    }

    #[test]
    fn what_differs_is_told_with_its_line() {
        for (text, want) in [
            ("S: hello there", "t:1"),
            ("C: a", "said more than expected"),
            ("S: hello…\nC: a\nS: no", "t:3 (Groups): expected \"no\", got \"ok a\\r\\n\""),
            ("S: hello…\nC: a\nS: ok a\nS: more", "heard no more than"),
            ("S: hello…\nS! closed", "expected the server to close"),
            ("X: y", "expected C:"),
        ] {
            let result = std::panic::catch_unwind(|| Transcript::parse("t", text).check(Echo::default));
            let message = result.expect_err(text);
            let message = message.downcast_ref::<String>().expect("panics with text");
            assert!(message.contains(want), "{text:?}: {message}");
        }
    }

    #[tokio::test]
    async fn a_transcript_runs_over_a_connection() {
        let (client, mut server) = tokio::io::duplex(1000);
        let serving = async move {
            let mut echo = Echo::default();
            server.write_all(&echo.greeting()).await.expect("write");
            let mut buffer = [0; 7];
            while !echo.closed {
                let n = server.read(&mut buffer).await.expect("read");
                server.write_all(&echo.feed(&buffer[..n])).await.expect("write");
            }
        };
        let text = GOOD.replace("! tls\nS: did tls\n", "! tls\n");
        let transcript = Transcript::parse("t", &text);
        let mut directives = Vec::new();
        let running = transcript.run_stream(client, Duration::from_secs(10), async |word, stream| {
            directives.push(word.to_owned());
            stream
        });
        tokio::join!(serving, running);
        assert_eq!(directives, ["tls"]);
    }
}
