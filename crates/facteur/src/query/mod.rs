//! Search queries of the commands that work on messages, in the words of doveadm-search-query(7).
//!
//! [`Query::parse`] is pure: words, the time and the time zone in, a tree out. [`Search`] walks over a mailbox with it.

mod mailboxes;
mod messages;
mod parse;
mod parts;
mod threads;
mod value;

pub use mailboxes::Mask;
pub use messages::{Search, Unreadable};
pub use parse::ParseError;

use imap_proto::SequenceSet;
use mailstore::Flags;

/// Which messages are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query(Key);

/// One key, or several. Deeper than [`Query::parse`] lets them nest there are none, so recursion over them is safe.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    All,
    /// Keys that need no file come first in these two.
    And(Vec<Key>),
    Or(Vec<Key>),
    Not(Box<Key>),
    Mailbox(Mask),
    MailboxGuid(String),
    Numbers(SequenceSet),
    Uids(SequenceSet),
    Guid(String),
    Flags(Flags),
    Keyword(String),
    Recent,
    Received(Span),
    Saved(Span),
    Sent(Span),
    Larger(u64),
    Smaller(u64),
    /// Field and what its text contains; everything contains nothing.
    Header(String, String),
    Body(String),
    Text(String),
    /// A part of the message is so.
    Part(parts::PartKey),
    /// In a thread that has such a message.
    InThread(threads::Algorithm, Box<Key>),
}

/// A stretch of time, its end not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    /// In seconds since 1970.
    from: i64,
    to: i64,
    /// In days since 1970, when days were asked for: a Date header is compared by the day its writer had (RFC 3501 §6.4.4).
    days: Option<(i64, i64)>,
}

impl Query {
    /// True when no message is meant unless its mailbox is named, whichever of several ways a message may fit.
    pub fn names_mailboxes(&self) -> bool {
        self.0.names_mailboxes()
    }
}

impl Key {
    fn names_mailboxes(&self) -> bool {
        match self {
            Key::Mailbox(_) | Key::MailboxGuid(_) => true,
            Key::And(keys) => keys.iter().any(Key::names_mailboxes),
            Key::Or(keys) => keys.iter().all(Key::names_mailboxes),
            Key::InThread(_, key) => key.names_mailboxes(),
            // the mailbox that is named is the one that is not meant
            _ => false,
        }
    }

    /// How much has to be read to know: nothing, the state of a file, its header, all of it.
    fn cost(&self) -> u32 {
        match self {
            Key::Body(_) | Key::Text(_) | Key::Part(_) => 3,
            Key::Header(..) | Key::Sent(_) => 2,
            Key::Received(_) | Key::Saved(_) | Key::Larger(_) | Key::Smaller(_) => 1,
            Key::And(keys) | Key::Or(keys) => keys.iter().map(Key::cost).max().unwrap_or(0),
            Key::Not(key) => key.cost(),
            _ => 0,
        }
    }
}

/// The GUID of a mailbox as Dovecot writes it, of a MAILBOXID, which has a letter in front and the UIDVALIDITY behind it.
pub fn plain_guid(mailbox_id: &str) -> &str {
    mailbox_id.get(1..33).unwrap_or(mailbox_id)
}

/// A single moment, written as dates in queries are; a day means its beginning.
pub fn moment(text: &str, now: i64, zone: jiff::tz::TimeZone) -> Result<i64, ParseError> {
    let span = value::span(text, value::Side::Since, &value::Clock { now, zone });
    span.map(|span| span.from).map_err(ParseError::new)
}
