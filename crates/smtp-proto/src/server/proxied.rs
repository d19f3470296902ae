//! Commands by which one mail system speaks for another: XCLIENT, XFORWARD; and ETRN, by which it asks for its mail.

use super::{Hello, Pending, Question, Session, State, Step};
use mail_types::{Reply, xtext_decode};

/// The attributes of XCLIENT (Postfix XCLIENT_README).
pub(super) const XCLIENT: &[&str] = &["NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT", "REVERSE_NAME"];
/// The attributes of XFORWARD (Postfix XFORWARD_README).
pub(super) const XFORWARD: &[&str] = &["NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE"];

/// What stands for a value that is not known.
pub const UNAVAILABLE: &str = "[UNAVAILABLE]";
/// What stands for a value that cannot be known at the moment.
pub const TEMPORARILY_UNAVAILABLE: &str = "[TEMPUNAVAIL]";

impl Session {
    // etrn = "ETRN" SP [option] node-name                                        ; RFC 1985 §5
    pub(super) fn etrn(&mut self, argument: &str) -> Option<Step> {
        let domain = argument.strip_prefix(['@', '#']).unwrap_or(argument);
        let reply = if !self.settings.etrn {
            Reply::with(502, (5, 5, 1), "Error: command not implemented")
        } else if self.hello.is_none() {
            Reply::with(503, (5, 5, 1), "Error: send HELO/EHLO first")
        } else if self.transaction.is_some() {
            Reply::with(503, (5, 5, 1), "Error: MAIL transaction in progress")
        } else if mail_types::Domain::parse(domain).map_or(true, |d| d.literal().is_some()) {
            Reply::with(501, (5, 5, 4), "Error: invalid parameter syntax")
        } else {
            let question = Question::Etrn(domain.to_ascii_lowercase());
            return Some(self.ask(Pending::Etrn, question));
        };
        self.reply(reply);
        None
    }

    // xclient = "XCLIENT" 1*( SP attribute-name "=" attribute-value )            ; xtext
    pub(super) fn xclient(&mut self, argument: &str) -> Option<Step> {
        let attributes = match self.attributes(argument, self.settings.xclient, XCLIENT) {
            Ok(attributes) => attributes,
            Err(reply) => {
                self.reply(reply);
                return None;
            }
        };
        let value = |name: &str| attributes.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        let known = |value: String| (!value.is_empty() && value != UNAVAILABLE && value != TEMPORARILY_UNAVAILABLE).then_some(value);
        let pending = Pending::XClient { login: value("LOGIN").map(known), hello: value("HELO").and_then(known) };
        Some(self.ask(pending, Question::XClient(attributes)))
    }

    pub(super) fn xforward(&mut self, argument: &str) -> Option<Step> {
        match self.attributes(argument, self.settings.xforward, XFORWARD) {
            Ok(attributes) => Some(self.ask(Pending::XForward, Question::XForward(attributes))),
            Err(reply) => {
                self.reply(reply);
                None
            }
        }
    }

    fn attributes(&self, argument: &str, allowed: bool, names: &[&str]) -> Result<Vec<(String, String)>, Reply> {
        if !allowed {
            return Err(Reply::with(550, (5, 7, 0), "Error: insufficient authorization"));
        }
        if self.transaction.is_some() {
            return Err(Reply::with(503, (5, 5, 1), "Error: MAIL transaction in progress"));
        }
        let wrong = || Reply::with(501, (5, 5, 4), "Error: bad attribute name or value");
        let read = |word: &str| {
            let (name, value) = word.split_once('=')?;
            let name = names.iter().find(|n| n.eq_ignore_ascii_case(name))?;
            let value = xtext_decode(value).filter(|v| v.len() <= 512 && !v.chars().any(char::is_control))?;
            Some(((*name).to_owned(), value))
        };
        let found = argument.split(' ').filter(|w| !w.is_empty()).map(|w| read(w).ok_or_else(wrong)).collect::<Result<Vec<_>, _>>()?;
        if found.is_empty() { Err(wrong()) } else { Ok(found) }
    }

    /// The session begins anew, as that of another client.
    pub(super) fn begin_as(&mut self, login: Option<Option<String>>, hello: Option<String>) {
        self.leave_transaction();
        self.hello = hello.map(|name| Hello { name, extended: true });
        self.login = login.unwrap_or_default();
        self.state = State::New;
    }
}
