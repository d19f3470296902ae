//! The server side of SMTP (RFC 5321) and LMTP (RFC 2033).
//!
//! A session goes through `Connect` → greeting → `Hello` → transactions (`Mail`, `Recipient`s, `Data`, body, `Message`) → QUIT. The
//! machine knows syntax, order and limits; whether a client, sender or recipient is wanted is asked by [`Step::Ask`]. Replies of
//! commands that came in one segment leave in one [`Step::Send`].
//!
//! After STARTTLS nothing of the plaintext session survives: a segment that holds anything behind STARTTLS ends the session with 554,
//! and [`Session::tls_started`] forgets HELO, login and transaction.

mod body;
mod commands;
mod extensions;
mod proxied;
mod question;
mod settings;

pub use proxied::{TEMPORARILY_UNAVAILABLE, UNAVAILABLE};
pub use question::{Answer, MailFrom, Question, Step, Transaction};
pub use settings::{BareNewline, Settings, TlsOffer};

use crate::input::{Input, Line};
use body::{Body, Chunk};
use mail_types::{Protocol, Recipient, Reply, Secret};
use std::sync::Arc;

/// RFC 4954 §4: an AUTH line may have this many octets.
const AUTH_LINE_LIMIT: usize = 12_288;

/// One connection.
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
    state: State,
    input: Input,
    out: Vec<u8>,
    tls: bool,
    hello: Option<Hello>,
    mechanisms: Option<Arc<str>>,
    login: Option<String>,
    transaction: Option<Box<Transaction>>,
    /// The message of the transaction, from DATA or the first BDAT on.
    body: Option<Body>,
    now_seconds: u64,
    /// Transactions begun.
    transactions: u32,
    /// Recipients refused because there were too many.
    overshoot: usize,
    errors: u32,
    junk: u32,
    sleep: bool,
    abandon: bool,
    cancel_auth: bool,
    ran_ahead: bool,
    resets: u64,
    /// Command lines since they were last asked for, where somebody wants to know.
    heard: Option<Vec<String>>,
    /// What comes now may be a password.
    hides: bool,
}

#[derive(Debug)]
struct Hello {
    name: String,
    extended: bool,
}

/// What the next bytes mean.
#[derive(Debug)]
enum State {
    New,
    /// A question is open; the data to go on with once it is answered.
    Asked(Pending),
    Commands,
    /// The rest of a command line that was too long.
    SkipLine,
    /// A response to an AUTH challenge.
    AuthResponse,
    Data,
    Chunk(Chunk),
    /// The 220 to STARTTLS is in `out`.
    TlsNext,
    TlsHandshake,
    Closing,
    Closed,
}

#[derive(Debug)]
enum Pending {
    Connect,
    Hello(Hello),
    Auth,
    Mail(MailFrom),
    Recipient(Recipient),
    StartTls,
    Etrn,
    /// With the login and the HELO that it brings.
    XClient {
        login: Option<Option<String>>,
        hello: Option<String>,
    },
    XForward,
    Data,
    FirstChunk(Chunk),
    /// The transaction is with the owner; so many recipients wait for replies.
    Message(usize),
}

impl Session {
    /// A session on a new connection; `tls` when it is already under TLS (port 465).
    pub fn new(settings: Arc<Settings>, tls: bool) -> Session {
        Session {
            settings,
            state: State::New,
            input: Input::default(),
            out: Vec::new(),
            tls,
            hello: None,
            mechanisms: None,
            login: None,
            transaction: None,
            body: None,
            now_seconds: 0,
            transactions: 0,
            overshoot: 0,
            errors: 0,
            junk: 0,
            sleep: false,
            abandon: false,
            cancel_auth: false,
            ran_ahead: false,
            resets: 0,
            heard: None,
            hides: false,
        }
    }

    /// Command lines are kept for [`Session::take_heard`] from now on, without what AUTH has.
    pub fn keep_heard(&mut self) {
        self.heard.get_or_insert_default();
    }

    /// The command lines since the last call. To be called at each `Step::Send`.
    pub fn take_heard(&mut self) -> Vec<String> {
        self.heard.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Takes bytes from the peer; of any number, cut at any place.
    pub fn receive(&mut self, bytes: &[u8]) {
        if !matches!(self.state, State::Closing | State::Closed) {
            self.input.receive(bytes);
        }
    }

    /// Tells the time, in seconds since 1970. Before `step`, where FUTURERELEASE is offered.
    pub fn tell_time(&mut self, now_seconds: u64) {
        self.now_seconds = now_seconds;
    }

    /// What to do next. Must not be called while a question is open.
    pub fn step(&mut self) -> Step {
        loop {
            if std::mem::take(&mut self.abandon) {
                return Step::Abandon;
            }
            if std::mem::take(&mut self.cancel_auth) {
                return Step::CancelAuth;
            }
            let step = match &mut self.state {
                State::New => Some(self.ask(Pending::Connect, Question::Connect)),
                State::Asked(_) => unreachable!("step() while a question is open"),
                State::Commands => self.next_command(),
                State::SkipLine => self.skip_line(),
                State::AuthResponse => self.auth_response(),
                State::Data => self.data(),
                State::Chunk(_) => self.chunk(),
                State::TlsNext => self.flush().or_else(|| {
                    self.state = State::TlsHandshake;
                    Some(Step::StartTls)
                }),
                State::TlsHandshake => Some(Step::StartTls),
                State::Closing => self.flush().or_else(|| {
                    self.state = State::Closed;
                    None
                }),
                State::Closed => Some(Step::Close),
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    /// Answers the open question.
    pub fn answer(&mut self, answer: Answer) {
        let State::Asked(pending) = std::mem::replace(&mut self.state, State::Commands) else {
            unreachable!("answer() without a question");
        };
        if let Answer::Disconnect(reply) = answer {
            self.leave_transaction();
            return self.disconnect(reply);
        }
        match (pending, answer) {
            (Pending::Message(recipients), Answer::Replies(replies)) => self.message_replies(recipients, replies),
            (Pending::Message(recipients), Answer::Accept) => {
                self.message_replies(recipients, vec![Reply::with(250, (2, 0, 0), "Ok"); if self.settings.lmtp { recipients } else { 1 }]);
            }
            (Pending::Message(recipients), Answer::Reply(reply)) => {
                self.message_replies(recipients, vec![reply; if self.settings.lmtp { recipients } else { 1 }]);
            }
            (Pending::Auth, Answer::Challenge(challenge)) => {
                self.out.extend_from_slice(format!("334 {challenge}\r\n").as_bytes());
                self.state = State::AuthResponse;
            }
            (Pending::Auth, Answer::Authenticated(login)) => {
                self.login = Some(login);
                self.reply(Reply::with(235, (2, 7, 0), "Authentication successful"));
            }
            (pending, Answer::Reply(reply)) if !reply.is_positive() => self.refused(pending, reply),
            (Pending::Hello(hello), Answer::Mechanisms(mechanisms)) => {
                self.mechanisms = Some(mechanisms);
                self.greet(hello);
            }
            (pending, Answer::Accept) => self.accepted(pending, None),
            (pending, Answer::Reply(reply)) => self.accepted(pending, Some(reply)),
            // An answer to another question: the owner's mistake costs a temporary failure.
            (pending, _) => self.refused(pending, Reply::with(451, (4, 3, 0), "Internal error")),
        }
    }

    /// TLS is up: the session begins anew, without a greeting (RFC 3207 §4.2).
    pub fn tls_started(&mut self) {
        self.leave_transaction();
        self.input.clear();
        self.tls = true;
        self.hello = None;
        self.mechanisms = None;
        self.login = None;
        self.junk = 0;
        self.state = State::Commands;
    }

    /// Says `reply` and ends the session, whatever it was doing: deadlines, shutdown.
    pub fn disconnect(&mut self, reply: Reply) {
        if matches!(self.state, State::Closing | State::Closed) {
            return;
        }
        if matches!(self.state, State::AuthResponse) {
            self.cancel_auth = true;
        }
        self.leave_transaction();
        reply.write(&mut self.out);
        self.state = State::Closing;
        self.input.clear();
    }

    /// How often the client has begun anew, with RSET, EHLO or HELO.
    pub fn resets(&self) -> u64 {
        self.resets
    }

    /// The client has sent commands ahead where it had to wait (`forbid_unauth_pipelining` is off).
    pub fn ran_ahead(&self) -> bool {
        self.ran_ahead
    }

    /// The client said EHLO or LHLO.
    pub fn is_extended(&self) -> bool {
        self.hello.as_ref().is_some_and(|h| h.extended)
    }

    /// The argument of HELO, EHLO or LHLO.
    pub fn hello(&self) -> Option<&str> {
        self.hello.as_ref().map(|h| h.name.as_str())
    }

    /// The name the client has logged in with.
    pub fn login(&self) -> Option<&str> {
        self.login.as_deref()
    }

    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The transaction between MAIL and the end of data.
    pub fn transaction(&self) -> Option<&Transaction> {
        self.transaction.as_deref()
    }

    /// A message is coming in just now (DATA or BDAT).
    pub fn is_receiving(&self) -> bool {
        self.body.is_some()
    }

    /// The message that is coming in is too large already: the rest of it is thrown away, and 552 is said at its end.
    pub fn is_over_limit(&self) -> bool {
        self.body.as_ref().is_some_and(Body::is_over_limit)
    }

    /// Nothing would be lost if the session ended now.
    pub fn is_idle(&self) -> bool {
        self.transaction.is_none() && !matches!(self.state, State::Asked(_))
    }

    /// How the session speaks, for the Received header.
    pub fn protocol(&self) -> Protocol {
        Protocol {
            extended: self.hello.as_ref().is_some_and(|h| h.extended),
            tls: self.tls,
            authenticated: self.login.is_some(),
            lmtp: self.settings.lmtp,
            local: false,
        }
    }

    /// How many errors the client has made.
    pub fn errors(&self) -> u32 {
        self.errors
    }

    fn ask(&mut self, pending: Pending, question: Question) -> Step {
        self.state = State::Asked(pending);
        Step::Ask(question)
    }

    /// What is to be written now, if anything; a tarpitted client waits first.
    fn flush(&mut self) -> Option<Step> {
        if self.out.is_empty() {
            return None;
        }
        if std::mem::take(&mut self.sleep) && !self.settings.error_sleep.is_zero() {
            return Some(Step::Sleep(self.settings.error_sleep));
        }
        Some(Step::Send(std::mem::take(&mut self.out)))
    }

    fn need_input(&mut self) -> Option<Step> {
        self.flush().or(Some(Step::NeedInput))
    }

    /// Appends a reply; counts it when it is an error, and ends the session when it says so or when there were too many.
    fn reply(&mut self, reply: Reply) {
        reply.write(&mut self.out);
        if matches!(reply.code(), 421 | 521) {
            return self.close();
        }
        if !reply.is_positive() {
            self.count_error();
        }
        if self.errors > self.settings.soft_error_limit {
            self.sleep = true;
        }
    }

    fn count_error(&mut self) {
        self.errors += 1;
        if self.errors >= self.settings.hard_error_limit && !matches!(self.state, State::Closing) {
            Reply::with(421, (4, 7, 0), format!("{} Error: too many errors", self.settings.hostname)).write(&mut self.out);
            self.close();
        }
    }

    fn close(&mut self) {
        self.leave_transaction();
        self.input.clear();
        self.state = State::Closing;
    }

    /// Forgets the transaction; the owner is told when it has had bytes of it.
    fn leave_transaction(&mut self) {
        self.transaction = None;
        self.overshoot = 0;
        if self.body.take().is_some_and(|body| body.handed_out > 0) {
            self.abandon = true;
        }
    }

    fn next_command(&mut self) -> Option<Step> {
        let auth = self.input.pending().get(..5).is_some_and(|head| head.eq_ignore_ascii_case(b"AUTH "));
        let limit = if auth { AUTH_LINE_LIMIT } else { self.settings.line_limit };
        match self.input.line(limit) {
            Line::Complete { bytes, bare } => self.command(&bytes, bare),
            Line::Partial => self.need_input(),
            Line::TooLong { ended } => {
                if !ended {
                    self.state = State::SkipLine;
                }
                self.reply(Reply::with(500, (5, 5, 2), "Error: line too long"));
                None
            }
        }
    }

    fn skip_line(&mut self) -> Option<Step> {
        if self.input.skip_line() {
            self.state = State::Commands;
            return None;
        }
        self.need_input()
    }

    /// RFC 4954 §4: the client's answer to a challenge, or `*`.
    fn auth_response(&mut self) -> Option<Step> {
        let reply = match self.input.line(AUTH_LINE_LIMIT) {
            Line::Partial => return self.need_input(),
            Line::TooLong { ended } => {
                self.state = if ended { State::Commands } else { State::SkipLine };
                Reply::with(500, (5, 5, 6), "Authentication exchange line is too long")
            }
            Line::Complete { bytes, .. } => {
                self.state = State::Commands;
                match String::from_utf8(bytes) {
                    Ok(text) if text == "*" => Reply::with(501, (5, 7, 0), "Authentication aborted"),
                    Ok(text) if crate::grammar::is_base64(&text) => {
                        return Some(self.ask(Pending::Auth, Question::AuthResponse(Secret::new(text))));
                    }
                    _ => Reply::with(501, (5, 5, 2), "Error: malformed base64"),
                }
            }
        };
        self.cancel_auth = true;
        self.reply(reply);
        None
    }
}

/// RFC 1870 §6.3: what is said of a message that turned out larger than we take.
pub fn too_big() -> Reply {
    Reply::with(552, (5, 3, 4), "Error: message file too big")
}

#[cfg(test)]
mod tests;
