//! One message on its way: which commands have been sent, which replies are due, and what they decide.

use super::forward;
use super::{Body, Capabilities, Message, Phase, Report, Said, Settings, Stage};
use crate::dot_stuffing::{Encoder, is_normal};
use mail_types::{Address, BodyType, DsnNotify, DsnReturn, Recipient, Reply, xtext_encode};
use std::collections::VecDeque;

#[derive(Debug)]
pub(super) struct Transaction {
    message: Message,
    lmtp: bool,
    pipelining: bool,
    chunking: bool,
    capabilities: Capabilities,
    /// XFORWARD commands.
    forward: Vec<String>,
    /// What to send next; not yet sent commands are those from here on.
    next: Next,
    due: VecDeque<Due>,
    verdicts: Vec<Option<Said>>,
    accepted: Vec<bool>,
    body: BodyState,
    out_of_step: bool,
    /// What was said since it was last asked for, for a transcript.
    said: Option<Vec<String>>,
    /// The message itself was accepted or refused by the server, which ends the transaction on its side.
    concluded: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Reset,
    Forward(usize),
    Mail,
    Recipient(usize),
    Data,
    Nothing,
}

/// A reply that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Reset,
    Forward,
    Mail,
    Recipient(usize),
    Data,
    /// The reply to the whole message.
    Message,
    /// The reply to the message for one recipient (LMTP).
    MessageFor(usize),
    /// The replies to BDAT LAST in LMTP: how many is known once the RCPT replies are.
    Messages,
}

#[derive(Debug)]
enum BodyState {
    NotYet,
    /// A stream goes out as it is (BDAT); so many octets are missing.
    Raw(u64),
    /// A stream goes out dot-stuffed.
    Stuffed(Box<Encoder>),
    Sent,
}

impl Transaction {
    /// Checks what can be known beforehand; `Err` is a report without a word to the server.
    pub(super) fn begin(
        mut message: Message,
        settings: &Settings,
        capabilities: &Capabilities,
        reset: bool,
    ) -> Result<Transaction, Report> {
        let size = match &message.body {
            Body::Memory(bytes) => bytes.as_ref().as_ref().len() as u64,
            Body::Stream { size } => *size,
        };
        message.mail.size = Some(size);
        let fault = if capabilities.size.flatten().is_some_and(|limit| size > limit) {
            // RFC 1870 §6.1: no need to ask.
            Some(Reply::with(552, (5, 3, 4), "The message is larger than the server takes"))
        } else if message.mail.body == BodyType::BinaryMime && !(capabilities.binary_mime && capabilities.chunking) {
            // RFC 3030 §3: binary data goes nowhere else, under no circumstances.
            Some(Reply::with(554, (5, 6, 1), "The message is binary, which the server does not take"))
        } else if message.mail.smtputf8 && !capabilities.smtputf8 && needs_smtputf8(&message) {
            // RFC 6531 §3.5, RFC 5321 §2.4
            Some(Reply::with(553, (5, 6, 7), "The message needs SMTPUTF8, which the server does not offer"))
        } else {
            None
        };
        let binary = message.mail.body == BodyType::BinaryMime;
        let count = message.recipients.len();
        if let Some(reply) = fault {
            return Err(Report { recipients: vec![Some(Said { stage: Stage::Mail, reply, local: true }); count] });
        }
        if count == 0 {
            return Err(Report { recipients: Vec::new() });
        }
        Ok(Transaction {
            lmtp: settings.lmtp,
            pipelining: capabilities.pipelining,
            chunking: (settings.chunking && capabilities.xfacteur || settings.bdat || binary) && capabilities.chunking,
            forward: forward::commands(&message.forward, &capabilities.xforward),
            capabilities: capabilities.clone(),
            next: if reset { Next::Reset } else { Next::Forward(0) },
            due: VecDeque::new(),
            verdicts: vec![None; count],
            message,
            accepted: vec![false; count],
            body: BodyState::NotYet,
            out_of_step: false,
            said: settings.transcript.then(Vec::new),
            concluded: false,
        })
    }

    pub(super) fn wants_body(&self) -> bool {
        matches!(self.body, BodyState::Raw(_) | BodyState::Stuffed(_))
    }

    pub(super) fn is_over(&self) -> bool {
        self.due.is_empty() && self.next == Next::Nothing && !self.wants_body()
    }

    pub(super) fn reset_due(&self) -> bool {
        !self.concluded
    }

    pub(super) fn is_out_of_step(&self) -> bool {
        self.out_of_step
    }

    pub(super) fn into_report(self) -> Report {
        Report { recipients: self.verdicts }
    }

    /// Command lines, and a word for the message.
    pub(super) fn said(&mut self) -> impl Iterator<Item = String> {
        self.said.as_mut().map(std::mem::take).unwrap_or_default().into_iter()
    }

    /// Notes the commands that were written since `out` had this length.
    fn note(&mut self, out: &[u8], from: usize) {
        if let Some(said) = &mut self.said {
            said.extend(out[from..].split(|b| *b == b'\n').take(1).map(|line| String::from_utf8_lossy(line).trim_end().to_owned()));
        }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.due.front() {
            Some(Due::Reset) => Phase::Reset,
            Some(Due::Forward) => Phase::XForward,
            Some(Due::Mail) => Phase::Mail,
            Some(Due::Recipient(_)) => Phase::Recipient,
            Some(Due::Data) => Phase::Data,
            Some(Due::Message | Due::MessageFor(_) | Due::Messages) | None => Phase::Message,
        }
    }

    /// Where the transaction stood when the connection was lost.
    pub(super) fn whereabouts(&self) -> &'static str {
        match self.due.front() {
            Some(Due::Reset | Due::Forward | Due::Mail) => "at MAIL FROM",
            Some(Due::Recipient(_)) => "at RCPT TO",
            Some(Due::Data) => "at DATA",
            _ if self.wants_body() => "while the message was sent",
            _ => "at the end of the message",
        }
    }

    /// Sends what may be sent: with PIPELINING as much as there is (RFC 2920 §3.1), else one command per reply.
    pub(super) fn pump(&mut self, out: &mut Vec<u8>) {
        while self.next != Next::Nothing && (self.pipelining || self.due.is_empty()) {
            let from = out.len();
            match self.next {
                Next::Reset => {
                    out.extend_from_slice(b"RSET\r\n");
                    self.due.push_back(Due::Reset);
                    self.next = Next::Forward(0);
                }
                Next::Forward(at) => match self.forward.get(at) {
                    Some(command) => {
                        out.extend_from_slice(command.as_bytes());
                        out.extend_from_slice(b"\r\n");
                        self.due.push_back(Due::Forward);
                        self.next = Next::Forward(at + 1);
                    }
                    None => self.next = Next::Mail,
                },
                Next::Mail => {
                    self.write_mail(out);
                    self.due.push_back(Due::Mail);
                    self.next = Next::Recipient(0);
                }
                Next::Recipient(at) => {
                    write_rcpt(&self.message.recipients[at], &self.capabilities, out);
                    self.due.push_back(Due::Recipient(at));
                    self.next = if at + 1 < self.message.recipients.len() { Next::Recipient(at + 1) } else { Next::Data };
                }
                // Hosts that take BDAT in one write with the rest are our own: another one has the whole message on the way while its
                // answers to MAIL and RCPT are, and a connection lost then would leave open what it has.
                Next::Data if self.chunking && !self.capabilities.xfacteur && !self.due.is_empty() => return,
                Next::Data if self.chunking => {
                    self.next = Next::Nothing;
                    self.due.push_back(if self.lmtp { Due::Messages } else { Due::Message });
                    self.write_chunk(out);
                }
                Next::Data => {
                    out.extend_from_slice(b"DATA\r\n");
                    self.due.push_back(Due::Data);
                    self.next = Next::Nothing;
                }
                Next::Nothing => unreachable!("the loop's condition"),
            }
            if out.len() > from {
                self.note(out, from);
            }
        }
    }

    fn write_mail(&self, out: &mut Vec<u8>) {
        let mail = &self.message.mail;
        write_path(b"MAIL FROM:<", mail.sender.as_ref(), out);
        if self.capabilities.size.is_some() {
            out.extend_from_slice(format!(" SIZE={}", mail.size.unwrap_or_default()).as_bytes());
        }
        match mail.body {
            BodyType::BinaryMime => out.extend_from_slice(b" BODY=BINARYMIME"),
            BodyType::EightBitMime if self.capabilities.eight_bit_mime => out.extend_from_slice(b" BODY=8BITMIME"),
            _ => {}
        }
        if self.capabilities.smtputf8 && mail.smtputf8 {
            out.extend_from_slice(b" SMTPUTF8");
        }
        if self.capabilities.dsn {
            match mail.ret {
                Some(DsnReturn::Full) => out.extend_from_slice(b" RET=FULL"),
                Some(DsnReturn::Headers) => out.extend_from_slice(b" RET=HDRS"),
                None => {}
            }
            if let Some(envid) = &mail.envid {
                out.extend_from_slice(format!(" ENVID={}", xtext_encode(envid)).as_bytes());
            }
        }
        if let Some(by) = mail.by.filter(|_| self.capabilities.deliver_by.is_some()) {
            out.extend_from_slice(format!(" BY={by}").as_bytes());
        }
        if let Some(priority) = mail.priority.filter(|_| self.capabilities.priority) {
            out.extend_from_slice(format!(" MT-PRIORITY={priority}").as_bytes());
        }
        if mail.require_tls && self.capabilities.require_tls {
            out.extend_from_slice(b" REQUIRETLS");
        }
        if let Some(xfacteur) = mail.xfacteur.filter(|_| self.capabilities.xfacteur) {
            xfacteur.write(out);
        }
        out.extend_from_slice(b"\r\n");
    }

    fn write_chunk(&mut self, out: &mut Vec<u8>) {
        match &self.message.body {
            Body::Memory(bytes) => {
                let bytes = bytes.as_ref().as_ref();
                let normal;
                let bytes = if is_normal(bytes) || self.message.mail.body == BodyType::BinaryMime {
                    bytes
                } else {
                    normal = normalised(bytes);
                    &normal
                };
                out.reserve(bytes.len() + 32);
                out.extend_from_slice(format!("BDAT {} LAST\r\n", bytes.len()).as_bytes());
                out.extend_from_slice(bytes);
                self.body = BodyState::Sent;
            }
            Body::Stream { size } => {
                out.extend_from_slice(format!("BDAT {size} LAST\r\n").as_bytes());
                self.body = BodyState::Raw(*size);
            }
        }
    }

    pub(super) fn body(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match &mut self.body {
            BodyState::Raw(missing) => {
                let used = bytes.len().min(usize::try_from(*missing).unwrap_or(usize::MAX));
                out.extend_from_slice(&bytes[..used]);
                // More than was announced would be taken for commands; `end_of_body` finds out.
                *missing = if used < bytes.len() { u64::MAX } else { *missing - used as u64 };
            }
            BodyState::Stuffed(encoder) => encoder.encode(bytes, out),
            BodyState::NotYet | BodyState::Sent => {}
        }
    }

    /// Whether the stream had the announced length.
    pub(super) fn end_of_body(&mut self, out: &mut Vec<u8>) -> bool {
        match std::mem::replace(&mut self.body, BodyState::Sent) {
            BodyState::Raw(missing) => missing == 0,
            BodyState::Stuffed(mut encoder) => {
                encoder.finish(out);
                true
            }
            BodyState::NotYet | BodyState::Sent => true,
        }
    }

    pub(super) fn heard(&mut self, reply: Reply, out: &mut Vec<u8>) {
        match self.due.pop_front() {
            // The servers that refuse RSET have forgotten the transaction as well; those that refuse XFORWARD know less of the message.
            Some(Due::Reset | Due::Forward) | None => {}
            Some(Due::Mail) => {
                if !completes(&reply) {
                    self.decide_all(Stage::Mail, &reply);
                    if !self.pipelining {
                        self.next = Next::Nothing;
                    }
                }
            }
            Some(Due::Recipient(at)) => {
                if completes(&reply) && self.verdicts[at].is_none() {
                    self.accepted[at] = true;
                } else {
                    self.decide(at, Stage::Recipient, &reply);
                }
                // Nobody is left, and nothing of the message has been sent.
                if self.next == Next::Data && self.due.is_empty() && !self.anyone_accepted() {
                    self.next = Next::Nothing;
                }
            }
            Some(Due::Data) => self.heard_data(reply, out),
            Some(Due::Message) => {
                self.decide_all(Stage::Message, &reply);
                self.concluded = self.anyone_accepted();
            }
            Some(Due::MessageFor(at)) => {
                self.decide(at, Stage::Message, &reply);
                self.concluded = true;
            }
            Some(Due::Messages) => {
                self.expect_per_recipient();
                match self.due.pop_front() {
                    Some(Due::MessageFor(at)) => {
                        self.decide(at, Stage::Message, &reply);
                        self.concluded = true;
                    }
                    // Nobody was accepted: one reply, which says so.
                    _ => self.decide_all(Stage::Data, &reply),
                }
            }
        }
        self.pump(out);
    }

    fn heard_data(&mut self, reply: Reply, out: &mut Vec<u8>) {
        if reply.code() != 354 {
            return self.decide_all(Stage::Data, &reply);
        }
        if !self.anyone_accepted() {
            // RFC 2920 §3.1: the server took DATA although it took no recipient; it gets an empty message. An LMTP server then
            // answers any number of times.
            out.extend_from_slice(b".\r\n");
            self.body = BodyState::Sent;
            self.out_of_step = self.lmtp;
            if !self.lmtp {
                self.due.push_back(Due::Message);
            }
            return;
        }
        if let Some(said) = &mut self.said {
            said.push("(the message)".to_owned());
        }
        match &self.message.body {
            Body::Memory(bytes) => {
                let mut encoder = Encoder::default();
                encoder.encode(bytes.as_ref().as_ref(), out);
                encoder.finish(out);
                self.body = BodyState::Sent;
            }
            Body::Stream { .. } => self.body = BodyState::Stuffed(Box::default()),
        }
        if self.lmtp {
            self.expect_per_recipient();
        } else {
            self.due.push_back(Due::Message);
        }
    }

    /// RFC 2033 §4.2: one reply per accepted recipient, in the order of RCPT.
    fn expect_per_recipient(&mut self) {
        self.due.extend((0..self.accepted.len()).filter(|at| self.accepted[*at]).map(Due::MessageFor));
    }

    /// 421: the session is over; what is undecided is deferred by it.
    pub(super) fn closing(&mut self, reply: &Reply) {
        let stage = match self.due.front() {
            Some(Due::Reset | Due::Forward | Due::Mail) => Stage::Mail,
            Some(Due::Recipient(_)) => Stage::Recipient,
            Some(Due::Data) => Stage::Data,
            _ => Stage::Message,
        };
        self.decide_all(stage, reply);
    }

    fn anyone_accepted(&self) -> bool {
        self.accepted.contains(&true)
    }

    fn decide(&mut self, at: usize, stage: Stage, reply: &Reply) {
        if self.verdicts[at].is_none() {
            // A yes at another stage than the message's end delivers nothing: a server that says 250 to DATA is confused.
            let reply = if reply.is_positive() && !(stage == Stage::Message && completes(reply)) {
                Reply::with(451, (4, 5, 0), format!("The server gave an unexpected answer: {reply}"))
            } else {
                reply.clone()
            };
            self.verdicts[at] = Some(Said { stage, reply, local: false });
        }
    }

    fn decide_all(&mut self, stage: Stage, reply: &Reply) {
        for at in 0..self.verdicts.len() {
            self.decide(at, stage, reply);
        }
    }
}

/// 2yz (RFC 5321 §4.2.1).
fn completes(reply: &Reply) -> bool {
    reply.code() / 100 == 2
}

fn needs_smtputf8(message: &Message) -> bool {
    let utf8_address = |address: Option<&Address>| address.is_some_and(Address::is_utf8);
    if utf8_address(message.mail.sender.as_ref()) || message.recipients.iter().any(|r| r.address.is_utf8()) {
        return true;
    }
    match &message.body {
        Body::Memory(bytes) => {
            let bytes = bytes.as_ref().as_ref();
            let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(bytes.len());
            !bytes[..end].is_ascii()
        }
        Body::Stream { .. } => true,
    }
}

fn normalised(bytes: &[u8]) -> Vec<u8> {
    let (mut lines, mut normal) = (crate::dot_stuffing::Decoder::chunks(), Vec::with_capacity(bytes.len() + 64));
    lines.decode(bytes, &mut normal);
    lines.finish(&mut normal);
    normal
}

fn write_path(start: &[u8], address: Option<&Address>, out: &mut Vec<u8>) {
    out.extend_from_slice(start);
    if let Some(address) = address {
        out.extend_from_slice(address.to_string().as_bytes());
    }
    out.push(b'>');
}

fn write_rcpt(recipient: &Recipient, capabilities: &Capabilities, out: &mut Vec<u8>) {
    write_path(b"RCPT TO:<", Some(&recipient.address), out);
    if capabilities.dsn {
        write_notify(&recipient.notify, out);
        if let Some((kind, address)) = recipient.orcpt.as_deref().and_then(|o| o.split_once(';')) {
            out.extend_from_slice(format!(" ORCPT={kind};{}", xtext_encode(address)).as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn write_notify(notify: &DsnNotify, out: &mut Vec<u8>) {
    if !notify.given {
        return;
    }
    let words = [(notify.success, "SUCCESS"), (notify.failure, "FAILURE"), (notify.delay, "DELAY")];
    let words: Vec<&str> = words.iter().filter(|(given, _)| *given).map(|(_, word)| *word).collect();
    let value = if words.is_empty() { "NEVER".into() } else { words.join(",") };
    out.extend_from_slice(format!(" NOTIFY={value}").as_bytes());
}
