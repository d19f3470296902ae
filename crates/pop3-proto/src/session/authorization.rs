//! Before login: CAPA, STLS, USER and PASS, AUTH.

use super::{Answer, Asked, Entry, Line, Maildrop, Question, Sensitive, Session, State, Todo};
use crate::command::Command;
use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use zeroize::Zeroizing;

// Some clients leave the padding out.
const TOLERANT: GeneralPurpose =
    GeneralPurpose::new(&base64::alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

impl Session {
    fn may_login(&self) -> bool {
        self.settings.tls || self.settings.plaintext_login
    }

    pub(super) fn authorization(&mut self, command: Command) {
        match command {
            Command::Stls if self.settings.tls => self.fault("TLS is active already."),
            Command::Stls if !self.settings.stls => self.fault("TLS is not available."),
            Command::Stls => {
                self.ok("Begin TLS negotiation now.");
                self.todo.push_back(Todo::StartTls);
            }
            Command::Utf8 => {
                // RFC 6856 §2.1. Nothing changes: messages go out as they are.
                self.utf8 = true;
                self.ok("");
            }
            // A name without TLS is refused at once, before the password follows in clear text.
            Command::User(_) | Command::Pass(_) | Command::Auth { mechanism: Some(_), .. } if !self.may_login() => {
                self.err("", "Begin TLS first (STLS): a password is not to be sent in clear text.");
                self.count_error();
            }
            Command::User(name) => {
                self.state = State::Authorization(Some(name));
                self.ok("");
            }
            Command::Pass(password) => {
                // RFC 1939 §7: PASS comes right after a successful USER; a failed one wants USER again.
                let State::Authorization(name) = &mut self.state else { return };
                match name.take() {
                    Some(user) => self.todo.push_back(Todo::Ask(Asked::Login, Question::Login { user, password })),
                    None => self.fault("USER first."),
                }
            }
            Command::Auth { mechanism: None, .. } => {
                self.todo.push_back(Todo::Ask(Asked::Mechanisms(false), Question::Mechanisms));
            }
            Command::Auth { mechanism: Some(mechanism), initial } => {
                let initial = match initial.as_ref().map(|text| decode(text.reveal().as_bytes())) {
                    None => None,
                    Some(Some(bytes)) => Some(bytes),
                    Some(None) => return self.fault("The initial response is no base64."),
                };
                self.todo.push_back(Todo::Ask(Asked::Login, Question::Authenticate { mechanism, initial }));
            }
            _ => self.fault("Log in first."),
        }
    }

    // After too many errors the connection ends.
    pub(super) fn count_error(&mut self) {
        self.errors += 1;
        if self.errors >= self.settings.error_limit {
            self.err("", "Too many errors.");
            self.state = State::Ended;
        }
    }

    pub(super) fn sasl_response(&mut self, line: Line) {
        self.state = State::Authorization(None);
        let Line::Whole(text) = line else { return self.sasl_failed("The response is too long.") };
        // RFC 5034 §4: a line of one `*` gives up.
        if &**text == b"*" {
            return self.todo.push_back(Todo::Ask(Asked::Cancel, Question::Cancel));
        }
        match decode(&text) {
            Some(bytes) => self.todo.push_back(Todo::Ask(Asked::Login, Question::Respond(bytes))),
            None => self.sasl_failed("The response is no base64."),
        }
    }

    // The partner has to forget the exchange as well.
    fn sasl_failed(&mut self, text: &str) {
        self.count_error();
        if !matches!(self.state, State::Ended) {
            self.err("", text);
        }
        // The answer "cancelled" would be a second one.
        self.todo.push_back(Todo::Ask(Asked::Login, Question::Cancel));
    }

    pub(super) fn login_answered(&mut self, answer: Answer) {
        match answer {
            Answer::Challenge(challenge) => {
                // RFC 5034 §4
                self.out.extend_from_slice(format!("+ {}\r\n", STANDARD.encode(challenge)).as_bytes());
                self.state = State::Sasl;
            }
            Answer::Maildrop(entries) => {
                self.errors = 0;
                self.statistics.messages = entries.len() as u64;
                self.ok("Logged in.");
                self.state = State::Transaction(Maildrop::new(entries));
            }
            Answer::Refused(refusal) => {
                self.refused(&refusal);
                self.count_error();
            }
            _ => {}
        }
    }

    // RFC 2449 §5, or the list a bare AUTH asks for.
    pub(super) fn mechanisms(&mut self, capa: bool, names: &[String]) {
        let names = if self.may_login() { names } else { &[] };
        self.ok("");
        if !capa {
            for name in names {
                self.out.extend_from_slice(name.as_bytes());
                self.out.extend_from_slice(b"\r\n");
            }
            return self.out.extend_from_slice(b".\r\n");
        }
        let authorization = matches!(self.state, State::Authorization(_));
        let mut capabilities: Vec<String> =
            ["CAPA", "TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "UTF8", "LANG"].map(String::from).to_vec();
        capabilities.push(self.settings.expire_days.map_or_else(|| "EXPIRE NEVER".into(), |days| format!("EXPIRE {days}")));
        if self.settings.login_delay_seconds > 0 {
            capabilities.push(format!("LOGIN-DELAY {}", self.settings.login_delay_seconds));
        }
        if authorization && self.settings.stls && !self.settings.tls {
            capabilities.push("STLS".into());
        }
        if authorization && self.may_login() {
            capabilities.push("USER".into());
        }
        if self.may_login() && !names.is_empty() {
            capabilities.push(format!("SASL {}", names.join(" ")));
        }
        if !self.settings.implementation.is_empty() {
            capabilities.push(format!("IMPLEMENTATION {}", self.settings.implementation));
        }
        self.out.extend_from_slice(format!("{}\r\n.\r\n", capabilities.join("\r\n")).as_bytes());
    }
}

impl Maildrop {
    fn new(entries: Vec<Entry>) -> Maildrop {
        let none = vec![false; entries.len()];
        Maildrop { deleted: none.clone(), seen: none, entries, last: 0 }
    }
}

// RFC 5034 §4: `=` is an initial response of nothing.
fn decode(text: &[u8]) -> Option<Sensitive> {
    if text == b"=" {
        return Some(Sensitive::default());
    }
    TOLERANT.decode(text).ok().map(|bytes| Sensitive(Zeroizing::new(bytes)))
}
