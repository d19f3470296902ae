//! One session: which command is legal when, and what is answered. The states of RFC 1939 §3 carry what belongs to them, and
//! leaving one drops it.

mod authorization;
mod transaction;

use crate::command::{Command, Place, SASL_LINE_LIMIT_BYTES, Wrong};
use crate::dot_stuffing::DotStuffing;
use mail_types::Secret;
use std::collections::VecDeque;
use zeroize::Zeroizing;

/// What holds for one connection.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Text of the greeting, without `+OK`.
    pub greeting: String,
    /// The connection is under TLS already.
    pub tls: bool,
    /// STLS can be offered.
    pub stls: bool,
    /// Passwords are taken without TLS too (Dovecot: `disable_plaintext_auth = no`).
    pub plaintext_login: bool,
    /// What CAPA tells of us (RFC 2449 §6.9); empty: nothing.
    pub implementation: String,
    /// Lines that are no commands before the connection is closed.
    pub error_limit: u32,
    /// After how many days mail is deleted here, whatever clients do (RFC 2449 §6.7); `None`: never.
    pub expire_days: Option<u32>,
    /// Seconds between two logins of an account (RFC 2449 §6.5); 0: no matter.
    pub login_delay_seconds: u64,
    /// LAST of RFC 1460 is there.
    pub last: bool,
}

/// What the driver has to do next.
#[derive(Debug)]
pub enum Step {
    Send(Vec<u8>),
    Ask(Question),
    /// Start TLS, then call [`Session::tls_started`]. Whatever the client sent before is forgotten already.
    StartTls,
    NeedInput,
    Close,
}

/// Bytes of a login, hidden from logs and overwritten when dropped.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Sensitive(pub Zeroizing<Vec<u8>>);

impl std::fmt::Debug for Sensitive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<secret>")
    }
}

/// What only the world outside can answer. Each is answered by one [`Answer`] before the next step.
#[derive(Debug, PartialEq, Eq)]
pub enum Question {
    /// Names of the SASL mechanisms: [`Answer::Mechanisms`].
    Mechanisms,
    /// USER and PASS: [`Answer::Maildrop`] or [`Answer::Refused`].
    Login { user: String, password: Secret },
    /// AUTH: as `Login`, or [`Answer::Challenge`].
    Authenticate { mechanism: String, initial: Option<Sensitive> },
    /// The client's answer to the challenge: as `Authenticate`.
    Respond(Sensitive),
    /// The client gave the exchange up: [`Answer::Done`].
    Cancel,
    /// Open a message (an index of the maildrop): [`Answer::Opened`] or [`Answer::Refused`]. `whole` is false for TOP.
    Open { message: usize, whole: bool },
    /// The next piece of the open message: [`Answer::Piece`] or [`Answer::Broken`].
    More,
    /// QUIT: remove these, remember those as seen, and give the maildrop back, so that the client's next session finds it free:
    /// [`Answer::Done`] or [`Answer::Refused`]. Asked even when there is nothing to change.
    Update { delete: Vec<usize>, seen: Vec<usize> },
}

/// An answer to a [`Question`].
#[derive(Debug)]
pub enum Answer {
    Mechanisms(Vec<String>),
    Challenge(Vec<u8>),
    /// The login is right and the maildrop locked.
    Maildrop(Vec<Entry>),
    Refused(Refusal),
    Opened(Opened),
    /// With CRLF line ends, cut anywhere; `last` when nothing follows.
    Piece {
        bytes: Vec<u8>,
        last: bool,
    },
    /// The message cannot be read to its end. Half of it went out, so the connection is closed.
    Broken,
    Done,
}

/// The beginning of a message.
#[derive(Debug, Default)]
pub struct Opened {
    pub bytes: Vec<u8>,
    pub last: bool,
}

/// One message of the maildrop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Octets with CRLF line ends (RFC 1939 §11).
    pub size: u64,
    /// 1 to 70 characters `!` to `~`, unique in the maildrop (RFC 1939 §7).
    pub unique_id: Box<str>,
}

/// Why something was refused; the text goes to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Wrong name or password: `[AUTH]` (RFC 3206 §4).
    Credentials(String),
    /// Another session has the maildrop: `[IN-USE]` (RFC 2449 §8.1.1).
    InUse(String),
    /// The last login was a moment ago: `[LOGIN-DELAY]` (RFC 2449 §8.1.2).
    TooSoon(String),
    /// Later it may work: `[SYS/TEMP]` (RFC 3206 §3).
    Temporary(String),
    /// Somebody has to repair something: `[SYS/PERM]`.
    Permanent(String),
    /// No code.
    Other(String),
}

/// What a session did, for the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    pub retrieved: u64,
    pub tops: u64,
    /// Octets of messages sent, with dot-stuffing.
    pub octets: u64,
    /// Messages in the maildrop at login, and removed at QUIT.
    pub messages: u64,
    pub deleted: u64,
}

/// One session.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    state: State,
    input: Input,
    out: Vec<u8>,
    /// What a driver's answer is to be used for.
    asked: Option<Asked>,
    todo: VecDeque<Todo>,
    errors: u32,
    utf8: bool,
    statistics: Statistics,
}

#[derive(Debug)]
enum State {
    /// The name of a USER command.
    Authorization(Option<String>),
    /// AUTH waits for the client's response.
    Sasl,
    Transaction(Maildrop),
    /// Nothing more is read; closed once all is sent.
    Ended,
}

#[derive(Debug, Default)]
struct Maildrop {
    entries: Vec<Entry>,
    deleted: Vec<bool>,
    seen: Vec<bool>,
    /// LAST (RFC 1460): the highest message that was retrieved.
    last: usize,
}

/// What goes on before the next command is read.
#[derive(Debug)]
enum Todo {
    Ask(Asked, Question),
    StartTls,
    /// A listing in pieces: of sizes or unique ids, from that message on.
    List {
        unique_ids: bool,
        next: usize,
    },
}

#[derive(Debug)]
enum Asked {
    /// For CAPA (true) or a bare AUTH (false).
    Mechanisms(bool),
    Login,
    Cancel,
    Open {
        message: usize,
        lines: Option<u64>,
    },
    More(DotStuffing),
    Update(u64),
}

// Answers are sent when this much has gathered, so that a slow reader holds the session, not memory.
const GATHER_BYTES: usize = 16 * 1024;

impl Session {
    pub fn new(settings: Settings) -> Session {
        let mut session = Session {
            settings,
            state: State::Authorization(None),
            input: Input::default(),
            out: Vec::new(),
            asked: None,
            todo: VecDeque::new(),
            errors: 0,
            utf8: false,
            statistics: Statistics::default(),
        };
        // No `<…>` here: it would offer APOP (RFC 1939 §7).
        let greeting = session.settings.greeting.clone();
        session.ok(&greeting);
        session
    }

    /// Bytes from the client.
    pub fn receive(&mut self, bytes: &[u8]) {
        if !matches!(self.state, State::Ended) {
            self.input.push(bytes);
        }
    }

    /// What to do next.
    pub fn step(&mut self) -> Step {
        debug_assert!(self.asked.is_none(), "a question waits for its answer");
        loop {
            if self.out.len() >= GATHER_BYTES {
                return Step::Send(std::mem::take(&mut self.out));
            }
            if let Some(todo) = self.todo.pop_front() {
                match self.work(todo) {
                    Some(step) => return step,
                    None => continue,
                }
            }
            if matches!(self.state, State::Ended) {
                return if self.out.is_empty() { Step::Close } else { Step::Send(std::mem::take(&mut self.out)) };
            }
            match self.input.line(matches!(self.state, State::Sasl)) {
                Some(line) => self.line(line),
                None if self.out.is_empty() => return Step::NeedInput,
                None => return Step::Send(std::mem::take(&mut self.out)),
            }
        }
    }

    fn work(&mut self, todo: Todo) -> Option<Step> {
        match todo {
            Todo::Ask(asked, question) => {
                // What is done already should not wait for a password check or the disk.
                let slow = !matches!(question, Question::Open { .. } | Question::More);
                if slow && !self.out.is_empty() {
                    self.todo.push_front(Todo::Ask(asked, question));
                    return Some(Step::Send(std::mem::take(&mut self.out)));
                }
                self.asked = Some(asked);
                Some(Step::Ask(question))
            }
            Todo::StartTls if !self.out.is_empty() => {
                self.todo.push_front(Todo::StartTls);
                Some(Step::Send(std::mem::take(&mut self.out)))
            }
            Todo::StartTls => {
                // Nothing said before TLS counts after it (RFC 2595 §4): neither commands in our buffer, nor USER.
                self.input = Input::default();
                self.state = State::Authorization(None);
                Some(Step::StartTls)
            }
            Todo::List { unique_ids, next } => {
                self.list_piece(unique_ids, next);
                None
            }
        }
    }

    /// The answer to the question of the last step.
    pub fn answer(&mut self, answer: Answer) {
        let Some(asked) = self.asked.take() else { return };
        match (asked, answer) {
            (Asked::Mechanisms(capa), Answer::Mechanisms(names)) => self.mechanisms(capa, &names),
            (Asked::Login, answer) => self.login_answered(answer),
            // Begun again and again, an exchange costs the partner as much as a wrong password.
            (Asked::Cancel, _) => self.fault("Authentication cancelled."),
            (Asked::Open { message, lines }, answer) => self.opened(message, lines, answer),
            (Asked::More(stuffing), Answer::Piece { bytes, last }) => self.piece(stuffing, &bytes, last),
            (Asked::More(_), _) => {
                // The client has half a message; only an end without the final dot tells it so.
                self.state = State::Ended;
            }
            (Asked::Update(count), answer) => self.updated(count, answer),
            (Asked::Mechanisms(capa), _) => self.mechanisms(capa, &[]),
        }
    }

    /// TLS is up.
    pub fn tls_started(&mut self) {
        self.settings.tls = true;
    }

    /// Ends the session from our side with a last word, as for a client that is silent too long. Nothing is deleted.
    pub fn end(&mut self, text: &str) {
        if !matches!(self.state, State::Ended) {
            self.err("[SYS/TEMP] ", text);
            self.state = State::Ended;
            self.todo.clear();
        }
    }

    /// Whether somebody has logged in.
    pub fn is_authenticated(&self) -> bool {
        matches!(self.state, State::Transaction(_))
    }

    pub fn statistics(&self) -> Statistics {
        self.statistics
    }

    fn line(&mut self, line: Line) {
        if matches!(self.state, State::Sasl) {
            return self.sasl_response(line);
        }
        let parsed = match &line {
            Line::Whole(bytes) => Command::parse(bytes),
            Line::TooLong => Err(Wrong::TooLong),
        };
        match parsed {
            Ok((Command::Last, _)) if !self.settings.last => self.wrong(Wrong::Unknown),
            Ok((command, place)) => self.command(command, place),
            Err(wrong) => self.wrong(wrong),
        }
    }

    fn command(&mut self, command: Command, place: Place) {
        match (&mut self.state, place) {
            (_, Place::Anywhere) => match command {
                Command::Capa => self.todo.push_back(Todo::Ask(Asked::Mechanisms(true), Question::Mechanisms)),
                Command::Quit => self.quit(),
                Command::Lang(wanted) => self.lang(wanted.as_deref()),
                _ => self.ok(""),
            },
            (State::Authorization(_), Place::Authorization) => self.authorization(command),
            (State::Transaction(_), Place::Transaction) => self.transaction(command),
            (State::Transaction(_), _) => self.fault("You are logged in already."),
            _ => self.fault("Log in first."),
        }
    }

    /// RFC 6856 §3.2: all our texts are English, also by default (`*`); a wish for its dialect is met by it (RFC 4647 §3.4).
    fn lang(&mut self, wanted: Option<&str>) {
        let Some(wanted) = wanted else {
            self.ok("Language listing follows:");
            return self.out.extend_from_slice(b"en English\r\n.\r\n");
        };
        let language = wanted.split('-').next().unwrap_or_default();
        if wanted == "*" || language.eq_ignore_ascii_case("en") {
            self.ok("en Language is English.")
        } else {
            self.err("", "Language is not supported.")
        }
    }

    fn wrong(&mut self, wrong: Wrong) {
        match wrong {
            Wrong::TooLong => self.fault("The line is too long."),
            Wrong::Unknown => self.fault("Unknown command."),
            Wrong::Syntax(want) => self.fault(&format!("Expected {want}.")),
            // Clients probe for messages; that is no sign of an attack.
            Wrong::Number if matches!(self.state, State::Transaction(_)) => self.err("", "There is no such message."),
            Wrong::Number => self.fault("Log in first."),
        }
    }

    // An error that counts: after too many the connection ends.
    fn fault(&mut self, text: &str) {
        self.err("", text);
        self.count_error();
    }

    fn ok(&mut self, text: &str) {
        self.reply("+OK", "", text);
    }

    fn err(&mut self, code: &str, text: &str) {
        self.reply("-ERR", code, text);
    }

    fn refused(&mut self, refusal: &Refusal) {
        let (code, text) = match refusal {
            Refusal::Credentials(text) => ("[AUTH] ", text),
            Refusal::InUse(text) => ("[IN-USE] ", text),
            Refusal::TooSoon(text) => ("[LOGIN-DELAY] ", text),
            Refusal::Temporary(text) => ("[SYS/TEMP] ", text),
            Refusal::Permanent(text) => ("[SYS/PERM] ", text),
            Refusal::Other(text) => ("", text),
        };
        self.err(code, text);
    }

    // RFC 1939 §3: an answer has at most 512 characters. Texts of others may hold anything.
    fn reply(&mut self, indicator: &str, code: &str, text: &str) {
        self.out.extend_from_slice(indicator.as_bytes());
        if !(code.is_empty() && text.is_empty()) {
            self.out.push(b' ');
        }
        self.out.extend_from_slice(code.as_bytes());
        self.out.extend(text.bytes().take(400).map(|b| if b.is_ascii_control() { b' ' } else { b }));
        self.out.extend_from_slice(b"\r\n");
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Line {
    Whole(Zeroizing<Vec<u8>>),
    TooLong,
}

/// What the client sent and no command took yet. Holds at most one line and what came behind it in one read.
#[derive(Debug, Default)]
struct Input {
    bytes: Zeroizing<Vec<u8>>,
    /// Up to here there is no line end.
    searched: usize,
    skipping: Skipping,
}

/// Whether the rest of a line that was too long is still to come.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Skipping {
    #[default]
    No,
    Untold,
    Told,
}

impl Input {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    // The next line without its end. A line that is too long is dropped as it comes and told once: at its end, or at once where
    // `tell_now`, because a SASL response of endless length is no response.
    fn line(&mut self, tell_now: bool) -> Option<Line> {
        loop {
            let Some(at) = memchr::memchr(b'\n', &self.bytes[self.searched..]) else {
                self.searched = self.bytes.len();
                if self.bytes.len() > SASL_LINE_LIMIT_BYTES {
                    self.take(self.bytes.len());
                    if self.skipping == Skipping::No {
                        self.skipping = if tell_now { Skipping::Told } else { Skipping::Untold };
                        return tell_now.then_some(Line::TooLong);
                    }
                }
                return None;
            };
            let line = self.take(self.searched + at + 1);
            match std::mem::take(&mut self.skipping) {
                Skipping::Told => continue,
                Skipping::Untold => return Some(Line::TooLong),
                Skipping::No => {}
            }
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            // `accepts_bare_line_feed`: people type at servers.
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            return Some(Line::Whole(Zeroizing::new(text.to_vec())));
        }
    }

    fn take(&mut self, length: usize) -> Zeroizing<Vec<u8>> {
        let rest = self.bytes.split_off(length);
        self.searched = 0;
        Zeroizing::new(std::mem::replace(&mut *self.bytes, rest))
    }
}

#[cfg(test)]
mod tests;
