//! IMAP's ENVELOPE (RFC 9051 §7.5.2): ten facts of a header, in one pass over it.

use crate::address::{self, Entry};
use crate::header::{fields, unfold};
use std::borrow::Cow;

/// The fields of ENVELOPE. Texts are unfolded; encoded words and 8-bit are left as they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Envelope<'a> {
    pub date: Option<Cow<'a, [u8]>>,
    pub subject: Option<Cow<'a, [u8]>>,
    pub from: Vec<Entry<'a>>,
    sender: Vec<Entry<'a>>,
    reply_to: Vec<Entry<'a>>,
    pub to: Vec<Entry<'a>>,
    pub cc: Vec<Entry<'a>>,
    pub bcc: Vec<Entry<'a>>,
    pub in_reply_to: Option<Cow<'a, [u8]>>,
    pub message_id: Option<Cow<'a, [u8]>>,
}

impl<'a> Envelope<'a> {
    /// Reads the header at the beginning of `message`. Of a text field that comes twice the first counts; address
    /// fields that come several times, as RFC 822 allowed, are put together.
    pub fn parse(message: &'a [u8]) -> Envelope<'a> {
        let mut envelope = Envelope::default();
        for field in fields(message) {
            let mut lower = [0u8; 11];
            let name = field.name();
            let Some(lower) = lower.get_mut(..name.len()) else { continue };
            lower.copy_from_slice(name);
            lower.make_ascii_lowercase();
            let text = || Some(unfold(field.value()));
            match &*lower {
                b"date" if envelope.date.is_none() => envelope.date = text(),
                b"subject" if envelope.subject.is_none() => envelope.subject = text(),
                b"in-reply-to" if envelope.in_reply_to.is_none() => envelope.in_reply_to = text(),
                b"message-id" if envelope.message_id.is_none() => envelope.message_id = text(),
                b"from" => add(&mut envelope.from, field.value()),
                b"sender" => add(&mut envelope.sender, field.value()),
                b"reply-to" => add(&mut envelope.reply_to, field.value()),
                b"to" => add(&mut envelope.to, field.value()),
                b"cc" => add(&mut envelope.cc, field.value()),
                b"bcc" => add(&mut envelope.bcc, field.value()),
                _ => {}
            }
        }
        envelope
    }

    /// Sender; From where it is missing or empty (RFC 9051 §7.5.2).
    pub fn sender(&self) -> &[Entry<'a>] {
        if self.sender.is_empty() { &self.from } else { &self.sender }
    }

    /// Reply-To; From where it is missing or empty (RFC 9051 §7.5.2).
    pub fn reply_to(&self) -> &[Entry<'a>] {
        if self.reply_to.is_empty() { &self.from } else { &self.reply_to }
    }
}

fn add<'a>(list: &mut Vec<Entry<'a>>, value: &'a [u8]) {
    if list.is_empty() {
        *list = address::parse(value);
    } else if list.len() < crate::MAX_ADDRESSES {
        list.extend(address::parse(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facts_of_the_envelope_are_found() {
        let message = b"Received: x\r\nDATE: Mon, 7 Feb 1994 21:52:25 -0800\r\nFrom: Fred <f@x.org>\r\nSubject:\r\n folded\r\n\ttext\r\n\
            To: a@x.org\r\nto: b@x.org\r\nSender:\r\nMessage-ID: <1@x>\r\nSubject: second\r\nIn-Reply-To: <0@x>\r\n\r\nCc: not@here";
        let envelope = Envelope::parse(message);
        assert_eq!(envelope.date.as_deref(), Some(&b"Mon, 7 Feb 1994 21:52:25 -0800"[..]));
        assert_eq!(envelope.subject.as_deref(), Some(&b"folded\ttext"[..]));
        assert_eq!(envelope.to.len(), 2);
        assert_eq!(envelope.sender(), &envelope.from[..]);
        assert_eq!(envelope.reply_to(), &envelope.from[..]);
        assert!(envelope.cc.is_empty());
        assert_eq!(envelope.message_id.as_deref(), Some(&b"<1@x>"[..]));
        assert_eq!(envelope.in_reply_to.as_deref(), Some(&b"<0@x>"[..]));
        assert_eq!(Envelope::parse(b""), Envelope::default());
    }
}
