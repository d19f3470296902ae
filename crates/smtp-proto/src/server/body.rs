//! The message itself: DATA (RFC 5321 §4.1.1.4) and BDAT (RFC 3030).

use super::{BareNewline, Pending, Question, Session, State, Step};
use crate::dot_stuffing::Decoder;
use mail_types::Reply;

/// A message of more than this many octets is handed out in pieces of about this size.
const PIECE: usize = 64 * 1024;

/// The message as it comes in.
#[derive(Debug)]
pub(super) struct Body {
    decoder: Decoder,
    bytes: Vec<u8>,
    pub(super) handed_out: u64,
    over_limit: bool,
}

/// One BDAT command.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) size: u64,
    pub(super) remaining: u64,
    pub(super) last: bool,
    /// It was refused and answered; its octets are read and dropped.
    pub(super) refused: bool,
}

impl Body {
    pub(super) fn new(decoder: Decoder, expected: Option<u64>) -> Body {
        // A client's word is worth at most one piece of memory.
        let room = expected.map_or(2048, |size| size.clamp(512, PIECE as u64) as usize + 256);
        Body { decoder, bytes: Vec::with_capacity(room), handed_out: 0, over_limit: false }
    }

    pub(super) fn is_over_limit(&self) -> bool {
        self.over_limit
    }

    fn size(&self) -> u64 {
        self.handed_out + self.bytes.len() as u64
    }

    fn check_limit(&mut self, limit: u64) {
        if limit > 0 && self.size() > limit {
            self.over_limit = true;
        }
        if self.over_limit {
            self.bytes = Vec::new();
        }
    }

    fn piece(&mut self, least: usize) -> Option<Step> {
        if self.over_limit || self.bytes.is_empty() || self.bytes.len() < least {
            return None;
        }
        self.handed_out += self.bytes.len() as u64;
        Some(Step::Body(std::mem::take(&mut self.bytes)))
    }
}

impl Session {
    pub(super) fn data(&mut self) -> Option<Step> {
        let limit = self.settings.size_limit;
        let body = self.body.as_mut().expect("a body exists while DATA runs");
        let used = body.decoder.decode(self.input.pending(), &mut body.bytes);
        self.input.consume(used);
        body.check_limit(limit);
        if body.decoder.ended() {
            return self.end_of_message();
        }
        body.piece(PIECE).or_else(|| self.need_input())
    }

    pub(super) fn chunk(&mut self) -> Option<Step> {
        let limit = self.settings.size_limit;
        let State::Chunk(chunk) = &mut self.state else { unreachable!("called in this state only") };
        let here = self.input.pending();
        let here = &here[..here.len().min(usize::try_from(chunk.remaining).unwrap_or(usize::MAX))];
        let used = here.len();
        chunk.remaining -= used as u64;
        if !chunk.refused {
            let body = self.body.as_mut().expect("a body exists while a chunk is taken");
            body.decoder.decode(here, &mut body.bytes);
            if chunk.remaining == 0 && chunk.last {
                body.decoder.finish(&mut body.bytes);
            }
            body.check_limit(limit);
        }
        self.input.consume(used);
        let (size, done, last, refused) = (chunk.size, chunk.remaining == 0, chunk.last, chunk.refused);
        if refused {
            if done {
                self.state = State::Commands;
                return None;
            }
            return self.need_input();
        }
        if done && last {
            return self.end_of_message();
        }
        let body = self.body.as_mut().expect("a body exists while a chunk is taken");
        if let Some(step) = body.piece(PIECE) {
            return Some(step);
        }
        if !done {
            return self.need_input();
        }
        self.state = State::Commands;
        match self.body_fault() {
            Some(reply) => {
                // RFC 3030 §2: what was sent so far is worthless; further chunks get 503.
                self.leave_transaction();
                self.reply(reply);
            }
            None => self.reply(Reply::with(250, (2, 0, 0), format!("{size} octets received"))),
        }
        None
    }

    /// Hands out what is left, then asks the owner to take responsibility.
    fn end_of_message(&mut self) -> Option<Step> {
        if self.body_fault().is_none()
            && let Some(step) = self.body.as_mut().expect("a body exists at its end").piece(1)
        {
            return Some(step);
        }
        self.state = State::Commands;
        let recipients = self.transaction.as_ref().map_or(0, |t| t.recipients.len());
        if let Some(reply) = self.body_fault() {
            self.leave_transaction();
            // RFC 2033 §4.2
            for _ in 0..if self.settings.lmtp { recipients } else { 1 } {
                self.reply(reply.clone());
            }
            return None;
        }
        self.body = None;
        let transaction = self.transaction.take().expect("a body belongs to a transaction");
        self.overshoot = 0;
        Some(self.ask(Pending::Message(recipients), Question::Message(transaction)))
    }

    fn body_fault(&self) -> Option<Reply> {
        let body = self.body.as_ref()?;
        if body.over_limit {
            return Some(super::too_big());
        }
        let rejected = self.settings.bare_newline == BareNewline::Reject && body.decoder.saw_bare_newline();
        rejected.then(|| Reply::with(550, (5, 5, 2), "Error: a bare CR or LF in the message"))
    }

    /// The owner's word about the message, one reply per recipient in LMTP (RFC 2033 §4.2), one in SMTP.
    pub(super) fn message_replies(&mut self, recipients: usize, mut replies: Vec<Reply>) {
        let wanted = if self.settings.lmtp { recipients } else { 1 };
        replies.resize(wanted, Reply::with(451, (4, 3, 0), "Internal error"));
        if replies.iter().any(|reply| reply.is_positive()) {
            self.errors = 0;
            self.junk = 0;
        }
        for reply in replies {
            self.reply(reply);
        }
    }
}
