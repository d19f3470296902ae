//! What listing, sorting and searching a mailbox want to know of a message, gathered when it is first read and remembered with the mailbox
//! ([`mailstore::Mailbox::remember`]), so that no message is read twice for it.
//!
//! As bytes, numbers little-endian: version, what is there ([`STRUCTURE`] …), two zeros; lengths of the four texts (4 bytes each); size,
//! arrival, sent, day sent (8 each); then header fields, ENVELOPE, BODYSTRUCTURE, subject as it is compared.

use crate::fetch::body::HEADER_BYTES;
use crate::order;
use imap_proto::{FetchItem, SectionText};
use imap_proto::{envelope, structure};
use mailstore::{Error, Mailbox, Message};
use message::thread::{Item, ancestors};
use message::{Date, Envelope, Subject};
use std::sync::Arc;

/// Of what the bytes consist: another number for each other form, also when ENVELOPE or BODYSTRUCTURE would come out otherwise.
const VERSION: u8 = 1;

const STRUCTURE: u8 = 1;
const SENT: u8 = 2;
const REPLY: u8 = 4;

const TEXTS_AT: usize = 4;
const NUMBERS_AT: usize = 20;
const HEAD_BYTES: usize = 52;

/// The header fields that are remembered, sorted: those of ENVELOPE, and what clients ask for when they list a mailbox.
const FIELDS: [&str; 34] = [
    "bcc",
    "cc",
    "content-class",
    "content-description",
    "content-disposition",
    "content-transfer-encoding",
    "content-type",
    "date",
    "delivered-to",
    "disposition-notification-to",
    "errors-to",
    "from",
    "importance",
    "in-reply-to",
    "list-help",
    "list-id",
    "list-post",
    "list-subscribe",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "mail-followup-to",
    "mail-reply-to",
    "message-id",
    "mime-version",
    "newsgroups",
    "priority",
    "references",
    "reply-to",
    "return-path",
    "sender",
    "subject",
    "to",
    "x-priority",
    "x-spam-flag",
];

/// Whether a header field is among those that are remembered.
pub fn has_field(name: &[u8]) -> bool {
    let mut lower = [0; 32];
    let Some(lower) = lower.get_mut(..name.len()) else { return false };
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    FIELDS.binary_search_by(|field| field.as_bytes().cmp(lower)).is_ok()
}

/// How far an item of FETCH can be made from facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// It takes none.
    Nothing,
    /// Known otherwise too, at some cost.
    IfKnown,
    Header,
    Structure,
    /// They are not enough.
    Message,
}

impl Need {
    pub fn of(item: &FetchItem) -> Need {
        match item {
            FetchItem::Flags | FetchItem::Uid | FetchItem::ModSeq | FetchItem::EmailId | FetchItem::ThreadId => Need::Nothing,
            FetchItem::InternalDate | FetchItem::Size => Need::IfKnown,
            FetchItem::Envelope => Need::Header,
            FetchItem::Structure { extended: true } => Need::Structure,
            FetchItem::Body(item) if item.peek && item.partial.is_none() && item.section.part.is_empty() => match &item.section.text {
                Some(SectionText::Fields { names, not: false }) if names.iter().all(|name| has_field(name.as_bytes())) => Need::Header,
                _ => Need::Message,
            },
            _ => Need::Message,
        }
    }
}

/// Facts about one message.
pub struct Facts(Vec<u8>);

impl Facts {
    /// What is remembered; `None` when it has to be read. Blocking.
    pub fn recall(mailbox: &Arc<Mailbox>, message: &Message) -> Option<Facts> {
        let facts = Facts(mailbox.recall(message)?);
        facts.is_whole().then_some(facts)
    }

    /// What is remembered, or else read, and remembered from now on; with the structure when that is asked for. Blocking.
    pub fn get(mailbox: &Arc<Mailbox>, message: &Message, structure: bool) -> mailstore::Result<Facts> {
        if let Some(facts) = Facts::recall(mailbox, message).filter(|facts| !structure || facts.structure().is_some()) {
            return Ok(facts);
        }
        let unreadable = |source| Error::Io { step: "read", path: message.base_name().into(), source };
        let file = mailbox.read(message.uid())?;
        if !file.is_of(message) {
            return Err(Error::Expunged);
        }
        let size = file.size().map_err(unreadable)?;
        let arrived = mailbox.internal_date(message)?;
        let facts = match structure {
            true => {
                let whole = file.read_all().map_err(unreadable)?;
                let parsed = message::Message::parse(&whole);
                let header = parsed.root().header_bytes();
                Facts::gather(&header[..header.len().min(HEADER_BYTES)], Some(&parsed), size, arrived)
            }
            false => Facts::gather(&file.read_header(HEADER_BYTES).map_err(unreadable)?, None, size, arrived),
        };
        mailbox.remember(message, &facts.0);
        Ok(facts)
    }

    fn gather(header: &[u8], whole: Option<&message::Message<'_>>, size: u64, arrived: i64) -> Facts {
        let kept = message::pick(header, has_field);
        let read = Envelope::parse(&kept);
        let date = read.date.as_deref().and_then(Date::parse);
        let subject = read.subject.as_deref().map(Subject::parse).unwrap_or_default();
        let has = |what: u8, is: bool| if is { what } else { 0 };
        let bits = has(STRUCTURE, whole.is_some()) | has(SENT, date.is_some()) | has(REPLY, subject.is_reply);
        let mut out = Vec::with_capacity(HEAD_BYTES + 2 * kept.len() + 512);
        out.extend_from_slice(&[VERSION, bits, 0, 0]);
        out.resize(NUMBERS_AT, 0);
        out.extend_from_slice(&size.to_le_bytes());
        out.extend_from_slice(&arrived.to_le_bytes());
        out.extend_from_slice(&date.as_ref().map_or(0, Date::unix).to_le_bytes());
        out.extend_from_slice(&date.map_or(0, |date| crate::search::day_number(date.day())).to_le_bytes());
        let mut begin = out.len();
        let mut close = |out: &mut Vec<u8>, text: usize| {
            let length = (out.len() - begin) as u32;
            out[TEXTS_AT + 4 * text..][..4].copy_from_slice(&length.to_le_bytes());
            begin = out.len();
        };
        out.extend_from_slice(&kept);
        close(&mut out, 0);
        envelope::write_parsed(&mut out, &read);
        close(&mut out, 1);
        if let Some(whole) = whole {
            structure::write(&mut out, whole, true);
        }
        close(&mut out, 2);
        out.extend_from_slice(order::text(&subject.base).as_bytes());
        close(&mut out, 3);
        Facts(out)
    }

    fn is_whole(&self) -> bool {
        self.0.len() >= HEAD_BYTES
            && self.0[0] == VERSION
            && (0..4).map(|text| u64::from(self.length(text))).sum::<u64>() + HEAD_BYTES as u64 == self.0.len() as u64
            && std::str::from_utf8(self.text(3)).is_ok()
    }

    fn length(&self, text: usize) -> u32 {
        u32::from_le_bytes(self.0[TEXTS_AT + 4 * text..][..4].try_into().expect("four bytes"))
    }

    fn text(&self, text: usize) -> &[u8] {
        let begin = HEAD_BYTES + (0..text).map(|before| self.length(before) as usize).sum::<usize>();
        &self.0[begin..begin + self.length(text) as usize]
    }

    fn number(&self, at: usize) -> i64 {
        i64::from_le_bytes(self.0[NUMBERS_AT + 8 * at..][..8].try_into().expect("eight bytes"))
    }

    fn has(&self, what: u8) -> bool {
        self.0[1] & what != 0
    }

    /// RFC822.SIZE.
    pub fn size(&self) -> u64 {
        self.number(0) as u64
    }

    /// INTERNALDATE, seconds since 1970.
    pub fn arrived(&self) -> i64 {
        self.number(1)
    }

    /// The Date field, seconds since 1970.
    pub fn sent(&self) -> Option<i64> {
        self.has(SENT).then(|| self.number(2))
    }

    /// The day of the Date field as its writer saw it, in days since 1970.
    pub fn sent_day(&self) -> Option<i64> {
        self.has(SENT).then(|| self.number(3))
    }

    /// Header fields that [`has_field`] knows, and an empty line.
    pub fn header(&self) -> &[u8] {
        self.text(0)
    }

    /// As FETCH shows it.
    pub fn envelope(&self) -> &[u8] {
        self.text(1)
    }

    /// As FETCH BODYSTRUCTURE shows it.
    pub fn structure(&self) -> Option<&[u8]> {
        self.has(STRUCTURE).then(|| self.text(2))
    }

    /// The base subject as it is compared.
    pub fn subject(&self) -> &str {
        std::str::from_utf8(self.text(3)).unwrap_or_default()
    }

    /// What THREAD wants to know.
    pub fn item(&self) -> Item {
        let (mut id, mut references, mut in_reply_to) = (None, None, None);
        for field in message::fields(self.header()) {
            let to = match field.name() {
                name if name.eq_ignore_ascii_case(b"Message-ID") => &mut id,
                name if name.eq_ignore_ascii_case(b"References") => &mut references,
                name if name.eq_ignore_ascii_case(b"In-Reply-To") => &mut in_reply_to,
                _ => continue,
            };
            if to.is_none() {
                *to = Some(field.value());
            }
        }
        Item {
            sent: self.sent().unwrap_or(self.arrived()),
            arrived: self.arrived(),
            subject: self.subject().to_owned(),
            is_reply: self.has(REPLY),
            id: id.and_then(|value| message::thread::message_ids(value).next()).map(|id| message::thread::Id::of(&id)),
            references: ancestors(references, in_reply_to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_what_the_message_says() {
        let text = "Return-Path: <r@x.org>\r\nReceived: by x\r\nDate: Mon, 7 Feb 1994 21:52:25 -0800\r\nFrom: Fred <f@x.org>\r\n\
            Subject: Re: [list]  =?utf-8?q?=C3=89t=C3=A9?=\r\nX-Other: y\r\nMessage-ID: <1@x>\r\nReferences: <a@x>\r\n\t<b@x>\r\n\r\nbody\r\n";
        let parsed = message::Message::parse(text.as_bytes());
        let facts = Facts::gather(parsed.root().header_bytes(), Some(&parsed), 17, 5);
        assert!(facts.is_whole());
        assert_eq!((facts.size(), facts.arrived(), facts.sent(), facts.sent_day()), (17, 5, Some(760_686_745), Some(8803)));
        let header = String::from_utf8_lossy(facts.header()).into_owned();
        assert!(header.starts_with("Return-Path: <r@x.org>\r\nDate:") && header.ends_with("<b@x>\r\n\r\n"), "{header}");
        assert!(!header.contains("X-Other") && !header.contains("Received"));
        let mut envelope = Vec::new();
        envelope::write(&mut envelope, text.as_bytes());
        assert_eq!(facts.envelope(), envelope);
        let mut shown = Vec::new();
        structure::write(&mut shown, &parsed, true);
        assert_eq!(facts.structure(), Some(&shown[..]));
        let item = facts.item();
        assert_eq!((item.sent, item.is_reply, item.references.len(), item.id.is_some()), (760_686_745, true, 2, true));
        assert_eq!(facts.subject(), order::text("Été"));

        let facts = Facts::gather(b"\r\n", None, 2, 9);
        assert!(facts.is_whole());
        assert_eq!((facts.sent(), facts.sent_day(), facts.structure(), facts.item().sent), (None, None, None, 9));
    }

    #[test]
    fn what_is_no_facts_is_not_believed() {
        let facts = Facts::gather(b"Subject: x\r\n\r\n", None, 2, 9);
        for cut in 0..facts.0.len() {
            assert!(!Facts(facts.0[..cut].to_vec()).is_whole(), "{cut}");
        }
        let mut other = facts.0.clone();
        other[0] += 1;
        assert!(!Facts(other).is_whole());
        let mut longer = facts.0;
        longer[TEXTS_AT..TEXTS_AT + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(!Facts(longer).is_whole());
    }

    #[test]
    fn the_fields_are_sorted() {
        assert!(FIELDS.is_sorted() && FIELDS.iter().all(|field| field.len() <= 32));
        assert!(has_field(b"SUBJECT") && has_field(b"x-Priority") && !has_field(b"received") && !has_field(b""));
        assert!(!has_field(&[b'a'; 1000]));
    }
}
