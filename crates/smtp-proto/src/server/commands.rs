//! The commands, as a table, and what each does.

use super::body::{Body, Chunk};
use super::{Hello, Pending, Question, Session, State, Step, TlsOffer, Transaction};
use crate::dot_stuffing::Decoder;
use crate::grammar;
use mail_types::{BodyType, Domain, Recipient, Reply, Secret};
use std::collections::HashSet;

/// Command lines kept between two replies, and of each of them.
const HEARD_LIMIT: usize = 100;
const HEARD_OCTETS: usize = 300;

struct Command {
    verb: &'static str,
    /// SMTP, LMTP or both.
    smtp: bool,
    lmtp: bool,
    /// Answered although TLS is required and not there yet.
    before_tls: bool,
    /// Nothing may follow in the same segment (RFC 2920 §3.1, RFC 4954 §4).
    last: bool,
    /// Counts against `junk_command_limit`.
    junk: bool,
    run: fn(&mut Session, &str) -> Option<Step>,
}

const COMMON: Command =
    Command { verb: "", smtp: true, lmtp: true, before_tls: false, last: false, junk: false, run: |session, _| session.say(unknown()) };

const COMMANDS: &[Command] = &[
    Command { verb: "MAIL", run: Session::mail, ..COMMON },
    Command { verb: "RCPT", run: Session::rcpt, ..COMMON },
    Command { verb: "DATA", last: true, run: Session::data_command, ..COMMON },
    Command { verb: "BDAT", run: Session::bdat, ..COMMON },
    Command { verb: "EHLO", lmtp: false, before_tls: true, last: true, junk: true, run: |s, arg| s.hello_command(arg, true), ..COMMON },
    Command { verb: "HELO", lmtp: false, before_tls: true, last: true, junk: true, run: |s, arg| s.hello_command(arg, false), ..COMMON },
    Command { verb: "LHLO", smtp: false, before_tls: true, last: true, junk: true, run: |s, arg| s.hello_command(arg, true), ..COMMON },
    Command { verb: "STARTTLS", before_tls: true, last: true, run: Session::starttls, ..COMMON },
    Command { verb: "AUTH", last: true, run: Session::auth, ..COMMON },
    Command { verb: "RSET", junk: true, run: Session::rset, ..COMMON },
    Command { verb: "NOOP", before_tls: true, junk: true, run: |s, _| s.say(Reply::with(250, (2, 0, 0), "Ok")), ..COMMON },
    // RFC 5321 §3.5.3, §7.3: says nothing about who exists.
    Command { verb: "VRFY", junk: true, run: Session::vrfy, ..COMMON },
    Command { verb: "EXPN", junk: true, run: |s, _| s.say(Reply::with(502, (5, 5, 1), "Error: command not implemented")), ..COMMON },
    Command { verb: "ETRN", lmtp: false, junk: true, run: Session::etrn, ..COMMON },
    Command { verb: "XCLIENT", lmtp: false, last: true, run: Session::xclient, ..COMMON },
    Command { verb: "XFORWARD", lmtp: false, run: Session::xforward, ..COMMON },
    Command { verb: "HELP", junk: true, run: Session::help, ..COMMON },
    Command { verb: "QUIT", before_tls: true, run: Session::quit, ..COMMON },
];

fn unknown() -> Reply {
    Reply::with(500, (5, 5, 2), "Error: command not recognized")
}

fn out_of_order(text: &'static str) -> Reply {
    Reply::with(503, (5, 5, 1), text)
}

impl Session {
    /// Judges one command line and runs it.
    pub(super) fn command(&mut self, line: &[u8], bare: bool) -> Option<Step> {
        self.note_heard(line);
        if bare && self.settings.bare_newline == super::BareNewline::Reject {
            return self.say(Reply::with(521, (5, 5, 2), format!("{} Error: bare <LF> received", self.settings.hostname)));
        }
        let line = match std::str::from_utf8(line) {
            Ok(line) if !line.chars().any(char::is_control) => line,
            _ => return self.say(Reply::with(501, (5, 5, 2), "Error: a character that no command may have")),
        };
        let (verb, argument) = grammar::verb(line);
        let extended = self.hello.as_ref().is_some_and(|h| h.extended);
        let lmtp = self.settings.lmtp;
        let command = COMMANDS.iter().find(|c| c.verb == verb && if lmtp { c.lmtp } else { c.smtp });

        // Who does not wait where SMTP says so is not speaking with us, but has somebody else speak (RFC 2920 §3.1). STARTTLS
        // is never forgiven: what follows it would count as said under TLS.
        let ahead = !self.input.is_empty() && verb != "QUIT";
        let must_wait = !extended || command.is_some_and(|c| c.last);
        if ahead && must_wait && (self.settings.forbid_unauth_pipelining || verb == "STARTTLS") {
            Reply::with(554, (5, 5, 0), "Error: SMTP protocol synchronization").write(&mut self.out);
            self.close();
            return None;
        }
        self.ran_ahead |= ahead && must_wait;
        let Some(command) = command else {
            if self.settings.forbidden_commands.contains(&verb) {
                Reply::with(554, (5, 5, 1), "Error: this is a mail server").write(&mut self.out);
                self.close();
                return None;
            }
            return self.say(unknown());
        };
        if self.settings.tls == TlsOffer::Required && !self.tls && !command.before_tls {
            return self.refuse_chunk_or(verb == "BDAT", argument, Reply::with(530, (5, 7, 0), "Must issue a STARTTLS command first"));
        }
        if command.junk {
            self.count_junk();
            if matches!(self.state, State::Closing) {
                return None;
            }
        }
        (command.run)(self, argument)
    }

    /// Keeps a command line for a transcript, but not what AUTH has, nor what a client that was refused it says all the same.
    fn note_heard(&mut self, line: &[u8]) {
        let Some(heard) = &mut self.heard else { return };
        let text = String::from_utf8_lossy(&line[..line.len().min(HEARD_OCTETS)]);
        // As an eye reads it, not as the grammar does: `AUTH=PLAIN ...` and ` AUTH PLAIN ...` are no commands, and no less secret.
        let verb = text.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
        let verb = verb.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
        let known = COMMANDS.iter().any(|c| c.verb.eq_ignore_ascii_case(verb));
        self.hides = verb.eq_ignore_ascii_case("AUTH") || self.hides && !known;
        if heard.len() < HEARD_LIMIT {
            heard.push(if self.hides { "AUTH (hidden)".into() } else { text.into_owned() });
        }
    }

    /// Says `reply` and goes on with the next command.
    fn say(&mut self, reply: Reply) -> Option<Step> {
        self.reply(reply);
        None
    }

    fn count_junk(&mut self) {
        // As Postfix, the limit is what may have come before: with a limit of 1 (under load) EHLO, STARTTLS and EHLO still pass.
        let over = self.junk > self.settings.junk_command_limit;
        self.junk = self.junk.saturating_add(1);
        if over {
            self.count_error();
        }
    }

    // ehlo = ( "EHLO" / "HELO" / "LHLO" ) SP ( Domain / address-literal )        ; RFC 5321 §4.1.1.1, RFC 2033 §4.1
    // Real clients send all kinds of names; whether that is welcome is policy's to say.
    fn hello_command(&mut self, argument: &str, extended: bool) -> Option<Step> {
        if argument.is_empty() || argument.len() > 512 {
            return self.say(Reply::with(501, (5, 5, 4), if extended { "Syntax: EHLO hostname" } else { "Syntax: HELO hostname" }));
        }
        // RFC 5321 §4.1.4: like RSET.
        self.leave_transaction();
        self.resets += 1;
        let hello = Hello { name: argument.to_string(), extended };
        let question = Question::Hello { name: argument.to_string(), extended };
        Some(self.ask(Pending::Hello(hello), question))
    }

    /// The answer to EHLO, with what we can do at this moment.
    pub(super) fn greet(&mut self, hello: Hello) {
        let settings = self.settings.clone();
        if !hello.extended {
            self.hello = Some(hello);
            return self.reply(Reply::new(250, None, settings.hostname.clone()));
        }
        let mut lines = vec!["PIPELINING".to_string()];
        lines.push(if settings.size_limit > 0 { format!("SIZE {}", settings.size_limit) } else { "SIZE".into() });
        if settings.etrn {
            lines.push("ETRN".into());
        }
        if settings.tls != TlsOffer::Off && !self.tls {
            lines.push("STARTTLS".into());
        }
        if let Some(mechanisms) = self.mechanisms.as_ref().filter(|m| self.may_authenticate() && !m.is_empty()) {
            lines.push(format!("AUTH {mechanisms}"));
        }
        lines.extend(["ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "SMTPUTF8"].map(String::from));
        lines.extend(self.extensions());
        lines.push("CHUNKING".into());
        if settings.xclient {
            lines.push(format!("XCLIENT {}", super::proxied::XCLIENT.join(" ")));
        }
        if settings.xforward {
            lines.push(format!("XFORWARD {}", super::proxied::XFORWARD.join(" ")));
        }
        if settings.xfacteur {
            lines.push("XFACTEUR".into());
        }
        let keyword = |line: &str| line.split(' ').next().unwrap_or_default().to_string();
        lines.retain(|line| !settings.discard_ehlo_keywords.contains(&keyword(line)));
        lines.insert(0, settings.hostname.clone());
        self.hello = Some(hello);
        self.reply(Reply::new(250, None, lines.join("\n")));
    }

    fn may_authenticate(&self) -> bool {
        self.tls || !(self.settings.tls_auth_only || self.settings.tls == TlsOffer::Required)
    }

    // RFC 3207 §4
    fn starttls(&mut self, argument: &str) -> Option<Step> {
        let reply = if !argument.is_empty() {
            Reply::with(501, (5, 5, 4), "Syntax: STARTTLS")
        } else if self.tls {
            out_of_order("Error: TLS already active")
        } else if self.settings.tls == TlsOffer::Off {
            Reply::with(502, (5, 5, 1), "Error: TLS is not offered here")
        } else if !self.settings.tls_available {
            Reply::with(454, (4, 7, 0), "TLS not available due to temporary reason")
        } else {
            return Some(self.ask(Pending::StartTls, Question::StartTls));
        };
        self.say(reply)
    }

    // auth = "AUTH" SP mechanism [SP initial-response]                          ; RFC 4954 §4
    fn auth(&mut self, argument: &str) -> Option<Step> {
        if let Some(reply) = self.auth_fault() {
            return self.say(reply);
        }
        let (mechanism, initial) = match argument.split_once(' ') {
            Some((mechanism, initial)) => (mechanism.to_ascii_uppercase(), Some(initial.trim_start_matches(' '))),
            None => (argument.to_ascii_uppercase(), None),
        };
        let known = self.mechanisms.as_ref().is_some_and(|list| list.split(' ').any(|m| m.eq_ignore_ascii_case(&mechanism)));
        if mechanism.is_empty() {
            return self.say(Reply::with(501, (5, 5, 4), "Syntax: AUTH mechanism"));
        }
        if !known {
            return self.say(Reply::with(504, (5, 5, 4), "Unrecognized authentication mechanism"));
        }
        // RFC 4954 §4: "=" stands for an empty initial response.
        let initial = initial.map(|text| if text == "=" { "" } else { text });
        if initial.is_some_and(|text| !grammar::is_base64(text)) {
            return self.say(Reply::with(501, (5, 5, 2), "Error: malformed base64"));
        }
        let question = Question::Auth { mechanism, initial: initial.map(Secret::new) };
        Some(self.ask(Pending::Auth, question))
    }

    fn auth_fault(&self) -> Option<Reply> {
        if self.login.is_some() {
            Some(out_of_order("Error: already authenticated"))
        } else if !self.may_authenticate() {
            // RFC 4954 §6
            Some(Reply::with(538, (5, 7, 11), "Encryption required for authentication"))
        } else if self.hello.as_ref().is_none_or(|h| !h.extended) {
            Some(out_of_order("Error: send EHLO first"))
        } else if self.mechanisms.as_ref().is_none_or(|m| m.is_empty()) {
            Some(out_of_order("Error: authentication is not offered here"))
        } else if self.transaction.is_some() {
            Some(out_of_order("Error: MAIL transaction in progress"))
        } else {
            None
        }
    }

    fn mail(&mut self, argument: &str) -> Option<Step> {
        if self.settings.helo_required && self.hello.is_none() {
            return self.say(out_of_order(if self.settings.lmtp { "Error: send LHLO first" } else { "Error: send HELO/EHLO first" }));
        }
        if self.transaction.is_some() {
            return self.say(out_of_order("Error: nested MAIL command"));
        }
        // RFC 9422 §4.1: who was told MAILMAX knows; the others come again.
        if self.settings.transaction_limit > 0 && self.transactions >= self.settings.transaction_limit {
            return self.say(Reply::with(421, (4, 7, 0), format!("{} Error: too many messages in one session", self.settings.hostname)));
        }
        let mail = match grammar::mail_from(argument, self.settings.origin.as_ref(), self.settings.xfacteur) {
            Ok(mail) => mail,
            Err(error) => return self.say(error.reply(true)),
        };
        if let Some(reply) = self.extension_fault(&mail) {
            return self.say(reply);
        }
        // RFC 1870 §6.1
        if self.settings.size_limit > 0 && mail.size.is_some_and(|size| size > self.settings.size_limit) {
            return self.say(Reply::with(552, (5, 3, 4), "Message size exceeds fixed limit"));
        }
        Some(self.ask(Pending::Mail(mail.clone()), Question::Mail(mail)))
    }

    fn rcpt(&mut self, argument: &str) -> Option<Step> {
        let Some(transaction) = self.transaction.as_ref().filter(|_| self.body.is_none()) else {
            return self.say(out_of_order("Error: need MAIL command"));
        };
        // RFC 5321 §4.5.3.1.10
        if transaction.recipients.len() >= self.settings.recipient_limit {
            return self.too_many("Error: too many recipients");
        }
        match grammar::rcpt_to(argument, self.settings.origin.as_ref(), transaction.mail.smtputf8) {
            Ok(recipient) if self.settings.recipient_domain_limit > 0 && self.is_a_domain_too_many(&recipient) => {
                self.too_many("Error: too many domains among the recipients")
            }
            Ok(recipient) => Some(self.ask(Pending::Recipient(recipient.clone()), Question::Recipient(recipient))),
            Err(error) => self.say(error.reply(false)),
        }
    }

    /// Patiently, up to a limit of its own.
    fn too_many(&mut self, text: &'static str) -> Option<Step> {
        self.overshoot += 1;
        let reply = Reply::with(452, (4, 5, 3), text);
        if self.overshoot > self.settings.recipient_overshoot_limit {
            return self.say(reply);
        }
        reply.write(&mut self.out);
        None
    }

    // RFC 9422 §4.3
    fn is_a_domain_too_many(&self, recipient: &Recipient) -> bool {
        let known = self.transaction.iter().flat_map(|t| &t.recipients).map(|r| r.address.domain());
        let known: HashSet<&Domain> = known.collect();
        known.len() >= self.settings.recipient_domain_limit && !known.contains(recipient.address.domain())
    }

    /// Why DATA or a first BDAT cannot be.
    fn data_fault(&self) -> Option<Reply> {
        match &self.transaction {
            None => Some(out_of_order("Error: need RCPT command")),
            // RFC 2033 §4.2 has 503 for this; RFC 5321 §3.3 has 554.
            Some(t) if t.recipients.is_empty() && self.settings.lmtp => Some(out_of_order("Error: no valid recipients")),
            Some(t) if t.recipients.is_empty() => Some(Reply::with(554, (5, 5, 1), "Error: no valid recipients")),
            Some(_) => None,
        }
    }

    fn data_command(&mut self, argument: &str) -> Option<Step> {
        let fault = if !argument.is_empty() {
            Some(Reply::with(501, (5, 5, 4), "Syntax: DATA"))
        } else if self.body.is_some() {
            // RFC 3030 §2
            Some(out_of_order("Error: DATA after BDAT"))
        } else if self.is_binary() {
            // RFC 3030 §3
            Some(out_of_order("Error: BODY=BINARYMIME needs BDAT"))
        } else {
            self.data_fault()
        };
        match fault {
            Some(reply) => self.say(reply),
            None => Some(self.ask(Pending::Data, Question::Data)),
        }
    }

    fn is_binary(&self) -> bool {
        self.transaction.as_ref().is_some_and(|t| t.mail.body == BodyType::BinaryMime)
    }

    fn bdat(&mut self, argument: &str) -> Option<Step> {
        let (size, last) = match grammar::bdat(argument) {
            Ok(chunk) => chunk,
            Err(error) => {
                // Nobody knows how many of the next octets are the message's: taking them for commands would be smuggling.
                error.reply(true).write(&mut self.out);
                self.close();
                return None;
            }
        };
        if size == 0 && !last {
            self.count_junk();
            if matches!(self.state, State::Closing) {
                return None;
            }
        }
        if let Some(reply) = self.data_fault() {
            return self.refuse_chunk_or(true, argument, reply);
        }
        let chunk = Chunk { size, remaining: size, last, refused: false };
        let limit = self.settings.size_limit;
        if limit > 0 && size > limit {
            self.refuse_chunk(chunk, super::too_big());
            return None;
        }
        if self.body.is_some() {
            self.state = State::Chunk(chunk);
            return None;
        }
        Some(self.ask(Pending::FirstChunk(chunk), Question::Data))
    }

    /// Refuses a command; the octets behind a refused BDAT are read and dropped.
    fn refuse_chunk_or(&mut self, is_chunk: bool, argument: &str, reply: Reply) -> Option<Step> {
        if is_chunk && let Ok((size, last)) = grammar::bdat(argument) {
            self.state = State::Chunk(Chunk { size, remaining: size, last, refused: true });
        }
        self.say(reply)
    }

    /// Refuses a chunk of a running transaction, which ends with it. A last chunk is answered per recipient in LMTP (RFC 2033 §4.2).
    fn refuse_chunk(&mut self, chunk: Chunk, reply: Reply) {
        let replies = match &self.transaction {
            Some(t) if self.settings.lmtp && chunk.last => t.recipients.len(),
            _ => 1,
        };
        self.leave_transaction();
        self.state = State::Chunk(Chunk { refused: true, ..chunk });
        for _ in 0..replies {
            self.reply(reply.clone());
        }
    }

    fn rset(&mut self, argument: &str) -> Option<Step> {
        if !argument.is_empty() {
            return self.say(Reply::with(501, (5, 5, 4), "Syntax: RSET"));
        }
        self.leave_transaction();
        self.resets += 1;
        self.say(Reply::with(250, (2, 0, 0), "Ok"))
    }

    fn vrfy(&mut self, argument: &str) -> Option<Step> {
        self.say(if argument.is_empty() {
            Reply::with(501, (5, 5, 4), "Syntax: VRFY address")
        } else if self.settings.disable_vrfy {
            Reply::with(502, (5, 5, 1), "VRFY command is disabled")
        } else {
            Reply::with(252, (2, 0, 0), "Send the message, and we shall see")
        })
    }

    fn help(&mut self, _: &str) -> Option<Step> {
        let verbs = if self.settings.lmtp {
            "LHLO MAIL RCPT DATA BDAT RSET NOOP VRFY QUIT"
        } else {
            "HELO EHLO MAIL RCPT DATA BDAT RSET NOOP VRFY QUIT"
        };
        self.say(Reply::with(214, (2, 0, 0), verbs))
    }

    fn quit(&mut self, _: &str) -> Option<Step> {
        Reply::with(221, (2, 0, 0), "Bye").write(&mut self.out);
        self.close();
        None
    }

    /// The owner said yes; `words` replace the usual ones.
    pub(super) fn accepted(&mut self, pending: Pending, words: Option<Reply>) {
        let or = |code: u16, status, text: &'static str| words.clone().unwrap_or_else(|| Reply::with(code, status, text));
        match pending {
            Pending::Connect => {
                if !self.input.is_empty() && self.settings.forbid_unauth_pipelining {
                    // Spoke before it was greeted (RFC 5321 §4.3.1).
                    Reply::with(554, (5, 5, 0), "Error: SMTP protocol synchronization").write(&mut self.out);
                    return self.close();
                }
                let greeting = format!("{} {}", self.settings.hostname, self.settings.banner);
                self.reply(words.unwrap_or_else(|| Reply::new(220, None, greeting)));
            }
            Pending::Hello(hello) => self.greet(hello),
            // An exchange that goes on or succeeds has answers of its own.
            Pending::Auth => self.reply(Reply::with(454, (4, 7, 0), "Temporary authentication failure")),
            Pending::Mail(mail) => {
                self.transactions += 1;
                self.transaction = Some(Box::new(Transaction { mail, recipients: Vec::with_capacity(1) }));
                self.reply(or(250, (2, 1, 0), "Ok"));
            }
            Pending::Recipient(recipient) => {
                self.transaction.as_mut().expect("RCPT is asked within a transaction").recipients.push(recipient);
                self.reply(or(250, (2, 1, 5), "Ok"));
            }
            Pending::StartTls => {
                Reply::with(220, (2, 0, 0), "Ready to start TLS").write(&mut self.out);
                self.state = State::TlsNext;
            }
            Pending::Etrn => self.reply(or(250, (2, 0, 0), "Queuing started")),
            Pending::XClient { login, hello } => self.begin_as(login, hello),
            Pending::XForward => self.reply(or(250, (2, 0, 0), "Ok")),
            Pending::Data => {
                self.begin_body(Decoder::data());
                self.state = State::Data;
                self.out.extend_from_slice(b"354 End data with <CR><LF>.<CR><LF>\r\n");
            }
            Pending::FirstChunk(chunk) => {
                self.begin_body(if self.is_binary() { Decoder::binary() } else { Decoder::chunks() });
                self.state = State::Chunk(chunk);
            }
            Pending::Message(_) => unreachable!("answered by message_replies"),
        }
    }

    fn begin_body(&mut self, decoder: Decoder) {
        let expected = self.transaction.as_ref().and_then(|t| t.mail.size);
        self.body = Some(Body::new(decoder, expected));
    }

    /// The greeting of a client that is refused: RFC 5321 §4.3.2 and RFC 7504 §3 know 554, 521 and 421 there, and nothing else.
    fn unwelcome(reply: &Reply) -> Reply {
        let code = match reply.code() {
            code @ (421 | 521 | 554) => code,
            400..500 => 421,
            _ => 554,
        };
        Reply::new(code, reply.enhanced(), reply.text().to_owned())
    }

    /// The owner said no.
    pub(super) fn refused(&mut self, pending: Pending, reply: Reply) {
        match pending {
            Pending::Connect => {
                // RFC 5321 §3.1: after 554 the client may only QUIT; most just go, so do we.
                Self::unwelcome(&reply).write(&mut self.out);
                return self.close();
            }
            Pending::FirstChunk(chunk) => return self.refuse_chunk(chunk, reply),
            _ => {}
        }
        self.reply(reply);
    }
}
