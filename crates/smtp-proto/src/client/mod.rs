//! The client side of SMTP (RFC 5321) and LMTP (RFC 2033).
//!
//! ```text
//! loop { match session.step() {
//!     Step::Send(bytes)  => stream.write_all(&bytes).await?,
//!     Step::NeedInput    => match stream.read(&mut buffer).await? { 0 => session.closed(), n => session.receive(&buffer[..n]) },
//!     Step::StartTls     => { stream = upgrade(stream).await?; session.tls_started() }
//!     Step::Ready        => match next { Some(message) => session.deliver(message), None => session.quit() },
//!     Step::NeedBody     => match file.read(&mut buffer)? { 0 => session.end_of_body(), n => session.body(&buffer[..n]) },
//!     Step::Finished(report) => …, Step::Failed(error) => …, Step::Close => return,
//! } }
//! ```
//!
//! One session carries many messages. With PIPELINING a message's MAIL, RCPTs and DATA go in one `Send`; with CHUNKING, where
//! `Settings::chunking` allows it, the message itself goes along, so that a delivery is one write and one read.
//!
//! A connection that was kept idle may have been closed by the server meanwhile, with or without 421: when `Failed` comes after a
//! `Finished` in which nobody was decided, or decided by 421 at `Stage::Mail`, trying again on a new connection is right.

mod forward;
mod message;
mod replies;
mod transaction;

pub use message::{Awaited, Body, Capabilities, Credentials, Error, Limits, Message, Phase, Report, Said, Settings, Stage, Step, TlsUse};

use crate::Transcript;
use crate::input::Input;
use base64::{Engine, engine::general_purpose::STANDARD};
use mail_types::{Reply, Secret};
use replies::ReplyReader;
use transaction::Transaction;

/// One connection.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    state: State,
    input: Input,
    replies: ReplyReader,
    out: Vec<u8>,
    capabilities: Capabilities,
    tls: bool,
    /// Replies heard so far.
    heard: u64,
    transcript: Option<Transcript>,
    /// There was a transaction.
    used: bool,
    /// The last transaction did not end by an accepted message: RSET comes before the next.
    reset_due: bool,
    report: Option<Report>,
    error: Option<Error>,
}

#[derive(Debug)]
enum State {
    Greeting,
    /// EHLO or LHLO is on its way.
    Ehlo,
    Helo,
    StartTls,
    TlsHandshake,
    AuthPlain,
    /// AUTH LOGIN; what is still to be sent, last first.
    AuthLogin(Vec<Secret>),
    Ready,
    Transaction(Box<Transaction>),
    Quit,
    Failed,
    Closed,
}

impl Session {
    /// A session on a new connection.
    pub fn new(settings: Settings) -> Session {
        Session {
            tls: settings.tls == TlsUse::Wrapped,
            transcript: settings.transcript.then(Transcript::default),
            settings,
            state: State::Greeting,
            input: Input::default(),
            replies: ReplyReader::default(),
            out: Vec::new(),
            capabilities: Capabilities::default(),
            heard: 0,
            used: false,
            reset_due: false,
            report: None,
            error: None,
        }
    }

    /// Takes bytes from the server; of any number, cut at any place.
    pub fn receive(&mut self, bytes: &[u8]) {
        if !matches!(self.state, State::Failed | State::Closed) {
            self.input.receive(bytes);
        }
    }

    /// The server has closed the connection, or it broke.
    pub fn closed(&mut self) {
        let during = match &self.state {
            State::Quit | State::Failed | State::Closed => {
                self.state = State::Closed;
                return;
            }
            State::Greeting => "before its greeting",
            State::Ehlo | State::Helo => "at EHLO",
            State::StartTls | State::TlsHandshake => "at STARTTLS",
            State::AuthPlain | State::AuthLogin(_) => "at AUTH",
            State::Ready => "while idle",
            State::Transaction(transaction) => transaction.whereabouts(),
        };
        self.fail(Error::Closed(during));
    }

    /// What to do next.
    pub fn step(&mut self) -> Step {
        loop {
            if !self.out.is_empty() {
                return Step::Send(std::mem::take(&mut self.out));
            }
            if let Some(report) = self.report.take() {
                return Step::Finished(report);
            }
            if let Some(error) = self.error.take() {
                return Step::Failed(error);
            }
            match &mut self.state {
                State::Failed | State::Closed => return Step::Close,
                State::TlsHandshake => return Step::StartTls,
                State::Ready if self.input.is_empty() => return Step::Ready,
                State::Transaction(transaction) if transaction.wants_body() => return Step::NeedBody,
                _ => {}
            }
            match self.replies.read(&mut self.input) {
                Ok(Some(reply)) => self.heard(reply),
                Ok(None) if matches!(self.state, State::Ready) => self.fail(Error::PeerMisbehaved("it speaks without being asked")),
                Ok(None) => return Step::NeedInput,
                Err(error) => self.fail(error),
            }
        }
    }

    /// Begins to send a message. Only when `step` has said `Ready`.
    pub fn deliver(&mut self, message: Message) {
        debug_assert!(matches!(self.state, State::Ready), "deliver() before Ready");
        match Transaction::begin(message, &self.settings, &self.capabilities, self.reset_due) {
            Ok(mut transaction) => {
                if self.used {
                    // What was said about other messages.
                    self.transcript = self.settings.transcript.then(Transcript::default);
                }
                self.used = true;
                transaction.pump(&mut self.out);
                if let Some(transcript) = &mut self.transcript {
                    transaction.said().for_each(|line| transcript.said(&line));
                }
                self.state = State::Transaction(Box::new(transaction));
            }
            Err(report) => self.report = Some(report),
        }
    }

    /// A piece of a `Body::Stream`. Only when `step` has said `NeedBody`.
    pub fn body(&mut self, bytes: &[u8]) {
        if let State::Transaction(transaction) = &mut self.state {
            transaction.body(bytes, &mut self.out);
        }
    }

    /// The stream is complete.
    pub fn end_of_body(&mut self) {
        if let State::Transaction(transaction) = &mut self.state
            && !transaction.end_of_body(&mut self.out)
        {
            // The server waits for octets that do not exist; only closing the connection tells it so.
            self.out.clear();
            self.fail(Error::BodySize);
        }
    }

    /// Says goodbye. Only when `step` has said `Ready`; otherwise just close the connection.
    pub fn quit(&mut self) {
        if matches!(self.state, State::Ready) {
            self.send("QUIT");
            self.state = State::Quit;
        } else {
            self.state = State::Closed;
        }
    }

    /// TLS is up; what was said before is forgotten (RFC 3207 §4.2).
    pub fn tls_started(&mut self) {
        self.tls = true;
        self.capabilities = Capabilities::default();
        self.hello();
    }

    /// What the server has announced.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The answer that is due when `step` says `NeedInput`; how long it may take is the caller's choice (RFC 5321 §4.5.3.2).
    pub fn awaited(&self) -> Awaited {
        let phase = match &self.state {
            State::Greeting => Phase::Greeting,
            State::Ehlo | State::Helo => Phase::Hello,
            State::StartTls | State::TlsHandshake => Phase::StartTls,
            State::AuthPlain | State::AuthLogin(_) => Phase::Auth,
            State::Transaction(transaction) => transaction.phase(),
            State::Ready | State::Quit | State::Failed | State::Closed => Phase::Quit,
        };
        Awaited { phase, replies: self.heard }
    }

    /// What was said in this transaction, and before the first one; without messages and passwords. Empty unless `Settings::transcript`.
    pub fn transcript(&self) -> String {
        self.transcript.as_ref().map(Transcript::text).unwrap_or_default()
    }

    pub fn is_tls(&self) -> bool {
        self.tls
    }

    fn send(&mut self, line: &str) {
        self.send_shown(line, line);
    }

    /// A line that is shown to people in another form.
    fn send_shown(&mut self, line: &str, shown: &str) {
        if let Some(transcript) = &mut self.transcript {
            transcript.said(shown);
        }
        self.out.extend_from_slice(line.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    fn fail(&mut self, error: Error) {
        if let State::Transaction(transaction) = std::mem::replace(&mut self.state, State::Failed) {
            self.report = Some(transaction.into_report());
        }
        self.input.clear();
        self.error = Some(error);
    }

    fn hello(&mut self) {
        let verb = if self.settings.lmtp { "LHLO" } else { "EHLO" };
        self.send(&format!("{verb} {}", self.settings.helo_name));
        self.state = State::Ehlo;
    }

    fn heard(&mut self, reply: Reply) {
        self.heard += 1;
        if let Some(transcript) = &mut self.transcript {
            transcript.heard(&reply.to_string());
        }
        if reply.code() == 421 && !matches!(self.state, State::Greeting | State::Quit) {
            if let State::Transaction(transaction) = &mut self.state {
                transaction.closing(&reply);
            }
            return self.fail(Error::Closing(reply));
        }
        match &mut self.state {
            State::Greeting if reply.code() / 100 == 2 => self.hello(),
            State::Greeting => self.fail(Error::Greeting(reply)),
            State::Ehlo if reply.code() / 100 == 2 => {
                self.capabilities = capabilities(&reply);
                self.after_hello();
            }
            State::Ehlo if reply.is_permanent() && !self.settings.lmtp => {
                self.send(&format!("HELO {}", self.settings.helo_name));
                self.state = State::Helo;
            }
            State::Helo if reply.code() / 100 == 2 => {
                self.capabilities = Capabilities::default();
                self.after_hello();
            }
            State::Ehlo | State::Helo => self.fail(Error::Hello(reply)),
            State::StartTls if reply.code() / 100 == 2 => {
                if self.input.is_empty() {
                    self.state = State::TlsHandshake;
                } else {
                    // Replies that would be believed under TLS.
                    self.fail(Error::PeerMisbehaved("it sent plaintext behind its answer to STARTTLS"));
                }
            }
            State::StartTls if self.settings.tls == TlsUse::Require => self.fail(Error::TlsRefused(reply)),
            State::StartTls => self.authenticate(),
            State::AuthPlain if reply.code() / 100 == 2 => self.state = State::Ready,
            State::AuthLogin(rest) if reply.code() == 334 && !rest.is_empty() => {
                let secret = rest.pop().expect("checked by the guard");
                self.send_shown(secret.reveal(), "(a part of the login)");
            }
            State::AuthLogin(rest) if reply.code() / 100 == 2 && rest.is_empty() => self.state = State::Ready,
            State::AuthPlain | State::AuthLogin(_) => self.fail(Error::AuthRefused(reply)),
            State::Transaction(transaction) => {
                transaction.heard(reply, &mut self.out);
                if let Some(transcript) = &mut self.transcript {
                    transaction.said().for_each(|line| transcript.said(&line));
                }
                if transaction.is_over() {
                    let State::Transaction(transaction) = std::mem::replace(&mut self.state, State::Ready) else {
                        unreachable!("matched above")
                    };
                    self.reset_due = transaction.reset_due();
                    if transaction.is_out_of_step() {
                        self.error = Some(Error::PeerMisbehaved("it took a message for nobody"));
                        self.state = State::Failed;
                    }
                    self.report = Some(transaction.into_report());
                }
            }
            State::Quit => self.state = State::Closed,
            State::Ready => self.fail(Error::PeerMisbehaved("it speaks without being asked")),
            State::TlsHandshake | State::Failed | State::Closed => {}
        }
    }

    fn after_hello(&mut self) {
        if self.tls || self.settings.tls == TlsUse::Never {
            return self.authenticate();
        }
        if self.capabilities.starttls {
            self.send("STARTTLS");
            self.state = State::StartTls;
        } else if self.settings.tls == TlsUse::Require {
            self.fail(Error::TlsNotOffered);
        } else {
            self.authenticate();
        }
    }

    fn authenticate(&mut self) {
        let Some(credentials) = self.settings.credentials.clone() else {
            self.state = State::Ready;
            return;
        };
        if !self.tls && !self.settings.auth_without_tls {
            return self.fail(Error::TlsNotOffered);
        }
        let offers = |name: &str| self.capabilities.auth.iter().any(|m| m == name);
        if offers("PLAIN") {
            // RFC 4616 §2
            let message = Secret::new(format!("\0{}\0{}", credentials.login, credentials.password.reveal()));
            let line = Secret::new(format!("AUTH PLAIN {}", STANDARD.encode(message.reveal())));
            self.send_shown(line.reveal(), "AUTH PLAIN (login)");
            self.state = State::AuthPlain;
        } else if offers("LOGIN") {
            self.send("AUTH LOGIN");
            let password = Secret::new(STANDARD.encode(credentials.password.reveal()));
            self.state = State::AuthLogin(vec![password, Secret::new(STANDARD.encode(&credentials.login))]);
        } else {
            self.fail(Error::AuthNotOffered);
        }
    }
}

/// Reads the keywords of an answer to EHLO (RFC 5321 §4.1.1.1).
fn capabilities(reply: &Reply) -> Capabilities {
    let mut found = Capabilities::default();
    for line in reply.text().split('\n').skip(1) {
        let mut words = line.split(' ').filter(|w| !w.is_empty()).map(str::to_ascii_uppercase);
        match words.next().as_deref() {
            Some("PIPELINING") => found.pipelining = true,
            Some("CHUNKING") => found.chunking = true,
            Some("8BITMIME") => found.eight_bit_mime = true,
            Some("BINARYMIME") => found.binary_mime = true,
            Some("SMTPUTF8") => found.smtputf8 = true,
            Some("DSN") => found.dsn = true,
            Some("STARTTLS") => found.starttls = true,
            Some("ENHANCEDSTATUSCODES") => found.enhanced_status_codes = true,
            Some("XFACTEUR") => found.xfacteur = true,
            // RFC 1870 §4: 0 is no fixed limit.
            Some("SIZE") => found.size = Some(words.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0)),
            Some("MT-PRIORITY") => found.priority = true,
            Some("REQUIRETLS") => found.require_tls = true,
            // RFC 2852 §2: further options stand behind commas.
            Some("DELIVERBY") => {
                found.deliver_by = Some(words.next().and_then(|w| w.split(',').next().and_then(|n| n.parse().ok())).unwrap_or(0));
            }
            Some("LIMITS") => found.limits = limits(words),
            Some("XFORWARD") => found.xforward = words.collect(),
            Some("AUTH") => found.auth = words.collect(),
            _ => {}
        }
    }
    found
}

// limits-keyword-value = limits-param *( SP limits-param ), limits-param = limit-name "=" limit-value     ; RFC 9422 §3
/// What is malformed, zero or unknown is no limit.
fn limits(words: impl Iterator<Item = String>) -> Limits {
    let mut limits = Limits::default();
    for word in words {
        let Some((name, value)) = word.split_once('=') else { continue };
        let sound = (1..=6).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit());
        let value = value.parse().ok().filter(|n| sound && *n > 0);
        match name {
            "MAILMAX" => limits.transactions = value,
            "RCPTMAX" => limits.recipients = value,
            "RCPTDOMAINMAX" => limits.recipient_domains = value,
            _ => {}
        }
    }
    limits
}

#[cfg(test)]
mod tests;
