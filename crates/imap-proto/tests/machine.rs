//! The transcripts of `tests/transcripts/imap/machine`, run against the pure machine: in whole groups, byte by byte, in
//! random cuts. A desk that says yes to everything stands in for imapd.

use imap_proto::encode::{self, Status};
use imap_proto::{Append, AppendPiece, Command, Limits, Session, Step};
use testkit::{Machine, Transcript};

struct Yes {
    session: Session,
    closed: bool,
    sasl: String,
    idle: String,
    stored: usize,
}

impl Yes {
    fn new() -> Yes {
        let limits = Limits { command: 4096, literals: 20, drain: 1000, ..Limits::AFTER_LOGIN };
        Yes { session: Session::new(limits), closed: false, sasl: String::new(), idle: String::new(), stored: 0 }
    }

    /// Takes what is not too large. A URL counts as long as it is.
    fn judge(&mut self, tag: &str, pieces: &[AppendPiece], out: &mut Vec<u8>) {
        if pieces.iter().any(|piece| matches!(piece, AppendPiece::Literal { size: 501.., .. })) {
            encode::status(out, tag, Status::No, "TOOBIG", "Message is too large");
            return self.session.refuse_append();
        }
        self.stored += pieces.iter().map(|piece| if let AppendPiece::Url(url) = piece { url.len() } else { 0 }).sum::<usize>();
        out.extend(self.session.accept_append());
    }

    fn command(&mut self, tag: String, command: Command, out: &mut Vec<u8>) {
        let name = format!("{command:?}");
        let name = name.split([' ', '(']).next().unwrap_or_default();
        match command {
            Command::Login { ref password, .. } if password.reveal() != "pw" => {
                return encode::status(out, &tag, Status::No, "AUTHENTICATIONFAILED", "wrong");
            }
            Command::Login { .. } | Command::Authenticate { initial: Some(_), .. } => self.session.authenticated(),
            Command::Authenticate { .. } => {
                self.sasl = tag;
                return out.extend(self.session.challenge(""));
            }
            Command::Idle => {
                self.idle = tag;
                return out.extend(self.session.idle());
            }
            Command::StartTls => self.session.tls_started(),
            Command::Select { .. } => self.session.selected(true),
            Command::Close | Command::Unselect => self.session.selected(false),
            Command::Logout => {
                encode::status(out, "*", Status::Bye, "", "bye");
                encode::status(out, &tag, Status::Ok, "", name);
                return self.session.close();
            }
            _ => {}
        }
        encode::status(out, &tag, Status::Ok, "", name);
    }
}

impl Machine for Yes {
    fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.session.receive(bytes);
        loop {
            match self.session.step() {
                Step::NeedInput => return out,
                Step::Close => {
                    self.closed = true;
                    return out;
                }
                Step::Send(bytes) => out.extend(bytes),
                Step::Command { tag, command } => self.command(tag, command, &mut out),
                Step::Append { tag, append: Append { pieces, .. } } => {
                    self.stored = 0;
                    self.judge(&tag, &pieces, &mut out);
                }
                // One sum for all of them.
                Step::AppendMore { tag, pieces } => self.judge(&tag, &pieces, &mut out),
                Step::AppendData(data) => self.stored += data.len(),
                Step::AppendEnd { tag } => encode::status(&mut out, &tag, Status::Ok, "", &format!("stored {}", self.stored)),
                Step::AppendBroken(answer) => out.extend(answer),
                Step::Sasl(Some(_)) => {
                    self.session.authenticated();
                    encode::status(&mut out, &self.sasl, Status::Ok, "", "in");
                }
                Step::Sasl(None) => {
                    self.session.authentication_over();
                    encode::status(&mut out, &self.sasl, Status::Bad, "", "cancelled");
                }
                Step::IdleEnd(done) => {
                    let status = if done { Status::Ok } else { Status::Bad };
                    encode::status(&mut out, &self.idle, status, "", "idle over");
                }
            }
        }
    }

    fn is_closed(&self) -> bool {
        self.closed
    }
}

#[test]
fn transcripts_give_the_same_answers_however_they_are_cut() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/transcripts/imap/machine");
    let transcripts = Transcript::read_all(folder);
    assert!(transcripts.len() >= 5, "transcripts are missing in {folder}");
    for transcript in transcripts {
        transcript.check(Yes::new);
    }
}

/// SECURITY I5. Bytes that come later are read by the TLS handshake, which fails on them.
#[test]
fn nothing_behind_starttls_is_carried_out() {
    let mut machine = Yes::new();
    let answer = machine.feed(b"a STARTTLS\r\nb LOGIN u pw\r\n");
    assert!(machine.is_closed());
    assert!(answer.starts_with(b"a BAD "), "{}", answer.escape_ascii());
    assert_eq!(Yes::new().feed(b"a STARTTLS\r\n"), b"a OK StartTls\r\n");
}

/// SECURITY I1 and I2: whatever is sent, nothing panics, and the stack of a small thread is enough.
#[test]
fn floods_end_in_a_refusal_on_a_small_stack() {
    let floods: Vec<Vec<u8>> = vec![
        vec![b'x'; 1 << 20],
        [b"a ".as_slice(), &vec![b'('; 1 << 20]].concat(),
        b"a {0+}\r\n".repeat(100_000),
        b"{1+}\r\n".repeat(100_000),
        b"\r\n".repeat(100_000),
        b"a NOOP\r\n".repeat(50_000),
        [b"a LOGIN u pw\r\nb SELECT x\r\nc SEARCH ".as_slice(), &b"NOT (".repeat(800), b"\r\nd NOOP\r\n"].concat(),
        [b"a LOGIN u pw\r\nb SELECT x\r\nc SEARCH ".as_slice(), &b"OR OR ".repeat(600), b"\r\nd NOOP\r\n"].concat(),
        [b"a LOGIN u pw\r\nb SELECT x\r\nc FETCH 1 BODY[".as_slice(), &b"1.".repeat(1500), b"]\r\nd NOOP\r\n"].concat(),
        [b"a LOGIN u pw\r\n".as_slice(), &vec![b'y'; 1 << 20], b"\r\nd NOOP\r\n"].concat(),
    ];
    std::thread::Builder::new()
        .stack_size(256 << 10)
        .spawn(move || {
            for flood in floods {
                let mut machine = Yes::new();
                let mut answers = Vec::new();
                for piece in flood.chunks(16 << 10) {
                    if machine.is_closed() {
                        break;
                    }
                    answers.extend(machine.feed(piece));
                }
                let start = flood[..flood.len().min(40)].escape_ascii();
                assert!(machine.is_closed() || answers.windows(4).any(|w| w == b"d OK" || w == b"a OK"), "{start}");
            }
        })
        .expect("thread")
        .join()
        .expect("no panic");
}

proptest::proptest! {
    #[test]
    fn junk_never_panics(pieces in proptest::collection::vec(proptest::sample::select(WORDS), 0..40), tail in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40)) {
        let mut machine = Yes::new();
        machine.feed(b"a LOGIN u pw\r\na SELECT x\r\n");
        for piece in pieces {
            if machine.is_closed() { break; }
            machine.feed(piece.as_bytes());
        }
        if !machine.is_closed() {
            machine.feed(&tail);
        }
    }
}

const WORDS: &[&str] = &[
    "a ",
    "UID ",
    "FETCH ",
    "1:*",
    ",",
    "(",
    ")",
    "BODY[",
    "]",
    "<0.5>",
    "HEADER.FIELDS ",
    "{3}\r\n",
    "{3+}\r\n",
    "abc",
    "\r\n",
    "\n",
    "SEARCH ",
    "OR ",
    "NOT ",
    "STORE ",
    "+FLAGS ",
    "\\Seen",
    "\"",
    "\\",
    "APPEND ",
    "x ",
    "LIST ",
    "\"\" ",
    "*",
    "%",
    "RETURN ",
    "STATUS ",
    "{99999999999999999999}\r\n",
    "~{2+}\r\n",
    "IDLE\r\n",
    "DONE\r\n",
    "&AOk-",
    "0",
    "4294967296",
    "1-Jan-2020",
];
