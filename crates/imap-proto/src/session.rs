//! The order of things: which command may come when, what a continuation belongs to, and when to give up.
//!
//! No socket, no clock, no mailbox. The driver loops over [`Session::step`]; what it learns (the password was right, the
//! mailbox is open) it tells by the methods between. Whether a command is *granted* is decided elsewhere.

use crate::command::{Append, AppendPiece, Command};
use crate::cursor::{Cursor, Dialect};
use crate::encode::{self, Status};
use crate::error::{ParseError, ParseErrorKind};
use crate::frame::{Frame, Framer, Limits, Literal};
use crate::parse::{self, Announced, AppendStart, Place};
use mail_types::Secret;

/// RFC 3501 §3: the states of a session. Logout is [`Step::Close`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    NotAuthenticated,
    Authenticated,
    Selected,
}

/// What the driver has to do next.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Read from the client, then [`Session::receive`].
    NeedInput,
    /// Send these bytes.
    Send(Vec<u8>),
    /// Carry out a command and send its tagged answer. It is legal in the current state.
    Command { tag: String, command: Command },
    /// Judge an APPEND or REPLACE before its message comes: [`Session::accept_append`] or [`Session::refuse_append`].
    Append { tag: String, append: Append },
    /// Judge further pieces of the same APPEND, in the same way (RFC 3502, RFC 4469).
    AppendMore { tag: String, pieces: Vec<AppendPiece> },
    /// A piece of the message.
    AppendData(Vec<u8>),
    /// The message and its command are complete: keep it, send the tagged answer.
    AppendEnd { tag: String },
    /// The command turned out wrong after the message: throw the message away and send this answer.
    AppendBroken(Vec<u8>),
    /// The client's answer to [`Session::challenge`], in base64; `None` when it gave up (`*`) or wrote something that is
    /// none: the exchange is over, and the driver answers BAD (RFC 3501 §6.2.2).
    Sasl(Option<Secret>),
    /// IDLE is over: by DONE, or by something else (`false`).
    IdleEnd(bool),
    /// Send what is buffered and close.
    Close,
}

/// When each command may come (RFC 3501 §6). The one place that says so.
const TABLE: &[(&str, Legal)] = &[
    ("CAPABILITY", Legal::Always),
    ("NOOP", Legal::Always),
    ("LOGOUT", Legal::Always),
    ("ID", Legal::Always),
    ("STARTTLS", Legal::BeforeLogin),
    ("LOGIN", Legal::BeforeLogin),
    ("AUTHENTICATE", Legal::BeforeLogin),
    ("ENABLE", Legal::From(State::Authenticated)),
    ("NAMESPACE", Legal::From(State::Authenticated)),
    ("SELECT", Legal::From(State::Authenticated)),
    ("EXAMINE", Legal::From(State::Authenticated)),
    ("UNAUTHENTICATE", Legal::From(State::Authenticated)),
    ("COMPRESS", Legal::From(State::Authenticated)),
    ("CREATE", Legal::From(State::Authenticated)),
    ("DELETE", Legal::From(State::Authenticated)),
    ("RENAME", Legal::From(State::Authenticated)),
    ("SUBSCRIBE", Legal::From(State::Authenticated)),
    ("UNSUBSCRIBE", Legal::From(State::Authenticated)),
    ("LIST", Legal::From(State::Authenticated)),
    ("LSUB", Legal::From(State::Authenticated)),
    ("STATUS", Legal::From(State::Authenticated)),
    ("GETQUOTA", Legal::From(State::Authenticated)),
    ("GETQUOTAROOT", Legal::From(State::Authenticated)),
    ("SETQUOTA", Legal::From(State::Authenticated)),
    ("GETMETADATA", Legal::From(State::Authenticated)),
    ("SETMETADATA", Legal::From(State::Authenticated)),
    ("SETACL", Legal::From(State::Authenticated)),
    ("DELETEACL", Legal::From(State::Authenticated)),
    ("GETACL", Legal::From(State::Authenticated)),
    ("LISTRIGHTS", Legal::From(State::Authenticated)),
    ("MYRIGHTS", Legal::From(State::Authenticated)),
    ("APPEND", Legal::From(State::Authenticated)),
    ("REPLACE", Legal::From(State::Selected)),
    ("UID REPLACE", Legal::From(State::Selected)),
    ("IDLE", Legal::From(State::Authenticated)),
    ("NOTIFY", Legal::From(State::Authenticated)),
    ("ESEARCH", Legal::From(State::Authenticated)),
    ("CHECK", Legal::From(State::Selected)),
    ("CLOSE", Legal::From(State::Selected)),
    ("UNSELECT", Legal::From(State::Selected)),
    ("EXPUNGE", Legal::From(State::Selected)),
    ("UID EXPUNGE", Legal::From(State::Selected)),
    ("SEARCH", Legal::From(State::Selected)),
    ("UID SEARCH", Legal::From(State::Selected)),
    ("CANCELUPDATE", Legal::From(State::Selected)),
    ("SORT", Legal::From(State::Selected)),
    ("UID SORT", Legal::From(State::Selected)),
    ("THREAD", Legal::From(State::Selected)),
    ("UID THREAD", Legal::From(State::Selected)),
    ("FETCH", Legal::From(State::Selected)),
    ("UID FETCH", Legal::From(State::Selected)),
    ("STORE", Legal::From(State::Selected)),
    ("UID STORE", Legal::From(State::Selected)),
    ("COPY", Legal::From(State::Selected)),
    ("UID COPY", Legal::From(State::Selected)),
    ("MOVE", Legal::From(State::Selected)),
    ("UID MOVE", Legal::From(State::Selected)),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Legal {
    Always,
    BeforeLogin,
    From(State),
}

impl Legal {
    /// Why the command may not come now.
    fn objection(self, state: State) -> Option<&'static str> {
        match self {
            Legal::BeforeLogin if state != State::NotAuthenticated => Some("Already logged in"),
            Legal::From(State::Selected) if state == State::Authenticated => Some("No mailbox selected"),
            Legal::From(_) if state == State::NotAuthenticated => Some("Log in first"),
            _ => None,
        }
    }
}

/// What the next bytes belong to.
#[derive(Debug)]
enum Mode {
    Commands,
    /// The driver has to judge an APPEND. Without a literal it ends here.
    AppendAsked {
        tag: String,
        literal: Option<Literal>,
        place: Place,
    },
    /// A message, or a part of one, is coming.
    Appending {
        tag: String,
        place: Place,
    },
    /// It has come; the rest of the command line has not.
    AppendTail {
        tag: String,
        place: Place,
    },
    /// Everything has come.
    AppendDone {
        tag: String,
    },
    Sasl,
    Idle,
    Closing,
}

/// Wrong commands in a row before the connection is closed (Dovecot: 20).
const BAD_LIMIT: u32 = 20;
/// The same before login.
const BAD_LIMIT_BEFORE_LOGIN: u32 = 5;

/// One connection's protocol state.
pub struct Session {
    framer: Framer,
    state: State,
    mode: Mode,
    bad_commands: u32,
    after_login: Limits,
    /// No command has come yet.
    fresh: bool,
    dialect: Dialect,
}

impl Session {
    /// `after_login` are the limits that hold once somebody is authenticated; before, [`Limits::BEFORE_LOGIN`].
    pub fn new(after_login: Limits) -> Session {
        Session {
            framer: Framer::new(Limits::BEFORE_LOGIN),
            state: State::NotAuthenticated,
            mode: Mode::Commands,
            bad_commands: 0,
            after_login,
            fresh: true,
            dialect: Dialect::default(),
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// Takes bytes from the client, after [`Step::NeedInput`].
    pub fn receive(&mut self, bytes: &[u8]) {
        self.framer.receive(bytes);
    }

    /// Is there nothing received that has not been understood?
    pub fn is_drained(&self) -> bool {
        self.framer.buffered() == 0
    }

    /// Somebody is logged in.
    pub fn authenticated(&mut self) {
        self.state = State::Authenticated;
        self.mode = Mode::Commands;
        self.framer.plain_lines = false;
        self.framer.set_limits(self.after_login);
        self.bad_commands = 0;
    }

    /// Nobody is logged in any more (RFC 8437 §3).
    pub fn unauthenticated(&mut self) {
        self.state = State::NotAuthenticated;
        self.mode = Mode::Commands;
        self.framer.set_limits(Limits::BEFORE_LOGIN);
        self.bad_commands = 0;
        self.dialect = Dialect::default();
    }

    /// The client has enabled what changes how it is read.
    pub fn speaks(&mut self, dialect: Dialect) {
        self.dialect = dialect;
    }

    /// AUTHENTICATE failed or was refused; commands go on.
    pub fn authentication_over(&mut self) {
        self.mode = Mode::Commands;
        self.framer.plain_lines = false;
    }

    /// A mailbox is open, or (`false`) none is.
    pub fn selected(&mut self, open: bool) {
        self.state = if open { State::Selected } else { State::Authenticated };
    }

    /// Asks the client for the next SASL response; `challenge` in base64. Returns what to send.
    pub fn challenge(&mut self, challenge: &str) -> Vec<u8> {
        self.mode = Mode::Sasl;
        self.framer.plain_lines = true;
        format!("+ {challenge}\r\n").into_bytes()
    }

    /// IDLE begins (RFC 2177); the next line ends it. Returns what to send.
    pub fn idle(&mut self) -> Vec<u8> {
        self.mode = Mode::Idle;
        self.framer.plain_lines = true;
        b"+ idling\r\n".to_vec()
    }

    /// Is a command what comes next, and nothing that belongs to one? Between commands untagged responses may go out at any time.
    pub fn is_between_commands(&self) -> bool {
        matches!(self.mode, Mode::Commands)
    }

    pub fn is_idle(&self) -> bool {
        matches!(self.mode, Mode::Idle)
    }

    /// TLS begins: nothing said before it counts (RFC 3501 §6.2.1).
    pub fn tls_started(&mut self) {
        self.framer.clear();
        self.bad_commands = 0;
    }

    /// The APPEND may go on. Returns what to send before reading.
    pub fn accept_append(&mut self) -> Vec<u8> {
        let Mode::AppendAsked { tag, literal, place } = std::mem::replace(&mut self.mode, Mode::Commands) else { return Vec::new() };
        let Some(literal) = literal else {
            self.mode = Mode::AppendDone { tag };
            return Vec::new();
        };
        self.framer.stream_literal(literal);
        self.mode = Mode::Appending { tag, place };
        if literal.synchronizing { b"+ OK\r\n".to_vec() } else { Vec::new() }
    }

    /// The APPEND is refused; the driver has answered. A message that comes anyway is read and forgotten, or the session
    /// ends when it is too large for that. Also stops one that is under way.
    pub fn refuse_append(&mut self) {
        match std::mem::replace(&mut self.mode, Mode::Commands) {
            Mode::AppendAsked { literal: None, .. } => {}
            Mode::AppendAsked { literal: Some(literal), .. } => {
                if !self.framer.refuse_literal(literal) {
                    self.mode = Mode::Closing;
                }
            }
            Mode::Appending { .. } => self.framer.abandon_stream(),
            other => self.mode = other,
        }
    }

    /// No more commands are taken.
    pub fn close(&mut self) {
        self.mode = Mode::Closing;
        self.framer.clear();
    }

    /// What to do next.
    pub fn step(&mut self) -> Step {
        loop {
            if matches!(self.mode, Mode::Closing) {
                return Step::Close;
            }
            if let Mode::AppendDone { tag } = &mut self.mode {
                let tag = std::mem::take(tag);
                self.mode = Mode::Commands;
                return Step::AppendEnd { tag };
            }
            let step = match self.framer.next_frame() {
                Frame::NeedInput => return Step::NeedInput,
                Frame::Command(line) => self.line(line),
                Frame::Literal(literal) => self.literal(literal),
                Frame::Data(data) => Some(Step::AppendData(data)),
                Frame::DataEnd => {
                    if let Mode::Appending { tag, place } = std::mem::replace(&mut self.mode, Mode::Commands) {
                        self.mode = Mode::AppendTail { tag, place };
                    }
                    None
                }
                Frame::TooLong(beginning) => Some(self.too_long(&beginning)),
                Frame::Hopeless => Some(self.bye("", "Literal is too large")),
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    fn line(&mut self, line: Vec<u8>) -> Option<Step> {
        match std::mem::replace(&mut self.mode, Mode::Commands) {
            Mode::Sasl => {
                self.framer.plain_lines = false;
                Some(Session::sasl(&line))
            }
            Mode::Idle => {
                self.framer.plain_lines = false;
                // RFC 2177 §3: DONE, in any case.
                Some(Step::IdleEnd(line.trim_ascii().eq_ignore_ascii_case(b"DONE")))
            }
            Mode::AppendTail { tag, place } => match parse::append_more(&line, place, None) {
                Ok(Some((pieces, _))) if pieces.is_empty() => Some(Step::AppendEnd { tag }),
                Ok(Some((pieces, place))) => {
                    self.mode = Mode::AppendAsked { tag: tag.clone(), literal: None, place };
                    Some(Step::AppendMore { tag, pieces })
                }
                Ok(None) => Some(self.broken_append(&tag, None, ParseError::syntax("Unexpected text after the message"))),
                Err(error) => Some(self.broken_append(&tag, None, error)),
            },
            mode => {
                self.mode = mode;
                self.command(&line)
            }
        }
    }

    /// Something follows the message that may not.
    fn broken_append(&mut self, tag: &str, literal: Option<Literal>, error: ParseError) -> Step {
        let answer = match literal {
            Some(literal) => self.refuse_literal(tag, literal, error),
            None => self.bad(tag, error),
        };
        match answer {
            Step::Send(answer) => Step::AppendBroken(answer),
            other => other,
        }
    }

    fn sasl(line: &[u8]) -> Step {
        // RFC 3501 §6.2.2: `*` cancels.
        // The driver answers by another challenge, by `authenticated`, or by `authentication_over`.
        let response = match line {
            b"*" => None,
            b"" => Some(Secret::default()),
            _ => parse::session::base64_text(line).ok(),
        };
        Step::Sasl(response)
    }

    fn command(&mut self, line: &[u8]) -> Option<Step> {
        let first = std::mem::take(&mut self.fresh);
        // Outlook sends an empty line now and then; telnet users do.
        if line.is_empty() {
            return self.junk_line();
        }
        let mut cursor = Cursor::in_dialect(line, self.dialect);
        let Some(tag) = parse::tag(&mut cursor) else {
            return Some(self.bad("*", ParseError::syntax("Command has no valid tag")));
        };
        if !cursor.take(b' ') {
            return Some(self.bad(&tag, ParseError::syntax("Command is missing")));
        }
        let verb = match verb(&mut cursor) {
            Ok(verb) => verb,
            // A web browser, or one that was sent here (`GET / HTTP/1.1`).
            Err(_) if first && self.state == State::NotAuthenticated => return Some(self.bye("", "This is an IMAP server")),
            Err(error) => return Some(self.bad(&tag, error)),
        };
        let Some((_, legal)) = TABLE.iter().find(|(name, _)| *name == verb) else {
            return Some(self.bad(&tag, ParseError::syntax("Unknown command")));
        };
        if let Some(why) = legal.objection(self.state) {
            return Some(self.bad(&tag, ParseError::syntax(why)));
        }
        let command = match parse::command(&verb, &mut cursor) {
            Ok(Some(command)) => command,
            // APPEND or REPLACE without a literal: all that it is made of is in mailboxes already.
            Ok(None) => {
                return Some(match parse::append_start(line, None, self.dialect) {
                    AppendStart::Message { tag, append, place } => self.append(tag, append, place, None),
                    AppendStart::Broken { tag, error } => self.bad(&tag, error),
                    AppendStart::No => self.bad(&tag, ParseError::syntax("Expected a message literal")),
                });
            }
            Err(error) => return Some(self.bad(&tag, error)),
        };
        if command == Command::StartTls && !self.is_drained() {
            // CVE-2011-0411: text behind STARTTLS was written by somebody in the middle, or by nobody sane.
            self.framer.clear();
            return Some(self.bye(&tag, "Nothing may follow STARTTLS before TLS"));
        }
        self.bad_commands = 0;
        Some(Step::Command { tag, command })
    }

    fn junk_line(&mut self) -> Option<Step> {
        self.bad_commands += 1;
        (self.bad_commands > BAD_LIMIT).then(|| self.bye("", "Too many invalid commands"))
    }

    fn literal(&mut self, literal: Literal) -> Option<Step> {
        let announced = Announced { size: literal.size, binary: literal.binary };
        if let Mode::AppendTail { tag, place } = &self.mode {
            let (tag, place) = (tag.clone(), *place);
            return self.further_literal(tag, place, literal, announced);
        }
        let line = self.framer.command();
        let before = &line[..literal.at];
        let tag = parse::tag(&mut Cursor::new(before)).unwrap_or_else(|| "*".into());
        if literal.malformed {
            return Some(self.refuse_literal(&tag, literal, ParseError::syntax("Literal is malformed")));
        }
        // Before login nobody appends: the literal is judged as any other, which is small.
        if self.state != State::NotAuthenticated {
            match parse::append_start(before, Some(announced), self.dialect) {
                AppendStart::No => {}
                AppendStart::Message { append: Append { replaces: Some(_), .. }, .. } if self.state != State::Selected => {
                    return Some(self.refuse_literal(&tag, literal, ParseError::syntax("No mailbox selected")));
                }
                AppendStart::Message { tag, append, place } => return Some(self.append(tag, append, place, Some(literal))),
                AppendStart::Broken { tag, error } => return Some(self.refuse_literal(&tag, literal, error)),
            }
        }
        // RFC 5464 §5: a value may be a literal8.
        if literal.binary && !(self.state != State::NotAuthenticated && is_set_metadata(before)) {
            return Some(self.refuse_literal(&tag, literal, ParseError::syntax("literal8 is for messages and annotations only")));
        }
        if !self.framer.fits(literal) {
            return Some(self.refuse_literal(&tag, literal, ParseError::too_big("Literal is too large")));
        }
        self.framer.accept_literal(literal);
        literal.synchronizing.then(|| Step::Send(b"+ OK\r\n".to_vec()))
    }

    fn append(&mut self, tag: String, append: Append, place: Place, literal: Option<Literal>) -> Step {
        self.bad_commands = 0;
        self.mode = Mode::AppendAsked { tag: tag.clone(), literal, place };
        Step::Append { tag, append }
    }

    /// A literal behind one of an APPEND is of another part, of another message (RFC 3502), or a URL.
    fn further_literal(&mut self, tag: String, place: Place, literal: Literal, announced: Announced) -> Option<Step> {
        let found = match parse::append_more(&self.framer.command()[..literal.at], place, Some(announced)) {
            _ if literal.malformed => Err(ParseError::syntax("Literal is malformed")),
            Ok(None) if !self.framer.fits(literal) => Err(ParseError::too_big("Literal is too large")),
            found => found,
        };
        match found {
            Ok(Some((pieces, place))) => {
                self.mode = Mode::AppendAsked { tag: tag.clone(), literal: Some(literal), place };
                Some(Step::AppendMore { tag, pieces })
            }
            Ok(None) => {
                self.framer.accept_literal(literal);
                literal.synchronizing.then(|| Step::Send(b"+ OK\r\n".to_vec()))
            }
            Err(error) => {
                self.mode = Mode::Commands;
                Some(self.broken_append(&tag, Some(literal), error))
            }
        }
    }

    fn refuse_literal(&mut self, tag: &str, literal: Literal, error: ParseError) -> Step {
        if self.framer.refuse_literal(literal) { self.bad(tag, error) } else { self.bye(tag, error.what) }
    }

    fn too_long(&mut self, beginning: &[u8]) -> Step {
        if let Mode::AppendTail { tag, .. } = &self.mode {
            let tag = tag.clone();
            self.mode = Mode::Commands;
            return self.broken_append(&tag, None, ParseError::too_big("Command is too long"));
        }
        let tag = parse::tag(&mut Cursor::new(beginning));
        // A tag of any length may be a flood without end; nothing sensible begins like that.
        let Some(tag) = tag.filter(|tag| tag.len() < beginning.len()) else {
            return self.bye("", "Command line is too long");
        };
        if self.state == State::NotAuthenticated {
            return self.bye(&tag, "Command is too long");
        }
        match std::mem::replace(&mut self.mode, Mode::Commands) {
            Mode::Idle => {
                self.framer.plain_lines = false;
                Step::IdleEnd(false)
            }
            _ => self.bad(&tag, ParseError::too_big("Command is too long")),
        }
    }

    /// The tagged refusal, or BYE after too many.
    fn bad(&mut self, tag: &str, error: ParseError) -> Step {
        self.bad_commands += 1;
        let limit = if self.state == State::NotAuthenticated { BAD_LIMIT_BEFORE_LOGIN } else { BAD_LIMIT };
        let mut out = self.refusal(tag, error);
        if self.bad_commands >= limit {
            encode::status(&mut out, "*", Status::Bye, "", "Too many invalid commands");
            self.close();
        }
        Step::Send(out)
    }

    fn refusal(&self, tag: &str, error: ParseError) -> Vec<u8> {
        let mut out = Vec::new();
        let (status, code) = match error.kind {
            ParseErrorKind::Syntax => (Status::Bad, ""),
            ParseErrorKind::TooBig => (Status::Bad, "TOOBIG"),
            ParseErrorKind::BadMailbox => (Status::No, "CANNOT"),
            ParseErrorKind::BadCharset => (Status::No, "BADCHARSET"),
        };
        encode::status(&mut out, tag, status, code, error.what);
        out
    }

    /// BYE, with a tagged BAD before it when there is a tag.
    fn bye(&mut self, tag: &str, text: &str) -> Step {
        let mut out = Vec::new();
        if !tag.is_empty() && tag != "*" {
            encode::status(&mut out, tag, Status::Bad, "", text);
        }
        encode::status(&mut out, "*", Status::Bye, "", text);
        self.close();
        Step::Send(out)
    }
}

fn is_set_metadata(line: &[u8]) -> bool {
    let mut cursor = Cursor::new(line);
    parse::tag(&mut cursor).is_some() && cursor.take(b' ') && verb(&mut cursor).is_ok_and(|verb| verb == "SETMETADATA")
}

/// The command's name in capitals, `UID FETCH` as one.
fn verb(cursor: &mut Cursor<'_>) -> Result<String, ParseError> {
    const WHAT: &str = "Command is missing";
    let mut verb = cursor.atom(WHAT)?.to_ascii_uppercase();
    if verb.len() > 20 || !verb.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err(ParseError::syntax("Unknown command"));
    }
    if verb == "UID" {
        cursor.space()?;
        verb.push(' ');
        verb.push_str(&cursor.atom(WHAT)?.to_ascii_uppercase());
    }
    Ok(verb)
}
