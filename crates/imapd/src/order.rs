//! What SORT and THREAD compare messages by (RFC 5256 §2, §3; RFC 5957; RFC 6203 §6), read from their headers.

use crate::facts::Facts;
use crate::search::Scores;
use crate::selected::{Selected, Target};
use imap_proto::{SortBy, SortKey};
use mailstore::{Error, Message};
use message::thread::Item;
use message::{Entry, Envelope, collation_key};
use std::cmp::Ordering;
use std::time::Instant;

/// Longer texts are compared by their beginning.
const KEY_CHARS: usize = 512;

/// What one SORT or THREAD may gather. A million ordinary messages take less.
const GATHERED_BYTES: usize = 256 << 20;

/// What a fact takes in memory.
pub trait Weight {
    fn bytes(&self) -> usize;
}

impl Weight for Vec<Key> {
    fn bytes(&self) -> usize {
        let text = |key: &Key| if let Key::Text(text) = key { text.len() } else { 0 };
        size_of::<Vec<Key>>() + self.iter().map(|key| size_of::<Key>() + text(key)).sum::<usize>()
    }
}

impl Weight for Item {
    fn bytes(&self) -> usize {
        size_of::<Item>() + self.subject.len() + size_of_val(&self.references[..])
    }
}

/// One value of a message, for one criterion.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Number(i64),
    Text(String),
}

/// Facts of messages that are being gathered: those of `T`, for the targets before `next`.
pub struct Gathering<T> {
    pub targets: Vec<Target>,
    pub facts: Vec<T>,
    next: usize,
    bytes: usize,
    /// Messages that could not be read for now are left out.
    pub incomplete: bool,
}

impl<T: Weight> Gathering<T> {
    pub fn new(targets: Vec<Target>) -> Gathering<T> {
        Gathering { facts: Vec::with_capacity(targets.len()), targets, next: 0, bytes: 0, incomplete: false }
    }

    /// More was found than may be in memory.
    pub fn is_too_much(&self) -> bool {
        self.bytes > GATHERED_BYTES
    }

    /// Goes on until `until`; true at the end. Messages that are gone by now are left out. Blocking.
    pub fn go_on(&mut self, selected: &Selected, until: Instant, read: impl Fn(&Selected, &Message) -> mailstore::Result<T>) -> bool {
        while let Some(target) = self.targets.get(self.next).copied() {
            let read = selected.view.message(target.number).ok_or(Error::Expunged).and_then(|message| read(selected, message));
            match read {
                Ok(facts) => {
                    self.bytes += facts.bytes();
                    self.facts.push(facts);
                    self.targets[self.facts.len() - 1] = target;
                }
                Err(error) => {
                    self.incomplete |= !error.is_lasting();
                    tracing::debug!(uid = target.uid, %error, "message cannot be sorted");
                }
            }
            self.next += 1;
            if self.is_too_much() || Instant::now() >= until {
                break;
            }
        }
        let done = self.next >= self.targets.len();
        if done {
            self.targets.truncate(self.facts.len());
            self.next = self.targets.len();
        }
        done
    }
}

/// The values of a message for each criterion of `order`. Blocking.
pub fn keys(selected: &Selected, message: &Message, order: &[SortKey], scores: &Scores) -> mailstore::Result<Vec<Key>> {
    let mailbox = selected.view.mailbox();
    let needs_facts = order.iter().any(|key| !matches!(key.by, SortBy::Arrival | SortBy::Size | SortBy::Relevancy));
    let facts = if needs_facts { Some(Facts::get(mailbox, message, false)?) } else { None };
    let needs_addresses = order.iter().any(|key| {
        let needs_none = matches!(key.by, SortBy::Arrival | SortBy::Size | SortBy::Relevancy | SortBy::Date | SortBy::Subject);
        !needs_none
    });
    let header = facts.as_ref().filter(|_| needs_addresses).map_or(&[][..], Facts::header);
    let envelope = Envelope::parse(header);
    let value = |key: &SortKey| {
        Ok(match key.by {
            SortBy::Arrival => Key::Number(mailbox.internal_date(message)?),
            // RFC 6203 §6: the highest score first
            SortBy::Relevancy => Key::Number(-i64::from(scores.of(message.uid()))),
            SortBy::Size => Key::Number(i64::try_from(mailbox.size(message)?).unwrap_or(i64::MAX)),
            // RFC 5256 §2.2: the Date field in UTC; INTERNALDATE where there is none that can be read
            SortBy::Date => Key::Number(facts.as_ref().map_or(0, |facts| facts.sent().unwrap_or(facts.arrived()))),
            SortBy::Subject => Key::Text(facts.as_ref().map_or("", Facts::subject).to_owned()),
            SortBy::From => Key::Text(text(&mailbox_of(&envelope.from))),
            SortBy::To => Key::Text(text(&mailbox_of(&envelope.to))),
            SortBy::Cc => Key::Text(text(&mailbox_of(&envelope.cc))),
            SortBy::DisplayFrom => Key::Text(text(&display(&envelope.from))),
            SortBy::DisplayTo => Key::Text(text(&display(&envelope.to))),
        })
    };
    order.iter().map(value).collect()
}

/// What THREAD wants to know of a message. Blocking.
pub fn item(selected: &Selected, message: &Message) -> mailstore::Result<Item> {
    Facts::get(selected.view.mailbox(), message, false).map(|facts| facts.item())
}

/// The order of two messages whose values are these; equal ones stay as they stand in the mailbox.
pub fn compare(order: &[SortKey], a: &[Key], b: &[Key]) -> Ordering {
    let each = order.iter().zip(a.iter().zip(b)).map(|(key, (a, b))| if key.reverse { b.cmp(a) } else { a.cmp(b) });
    each.fold(Ordering::Equal, Ordering::then)
}

/// A text as it is compared, or its beginning.
pub fn text(text: &str) -> String {
    let cut = |text: &str| text.char_indices().nth(KEY_CHARS).map_or(text.len(), |(at, _)| at);
    let mut key = collation_key(&text[..cut(text)]);
    // One letter may be taken apart into eighteen.
    key.truncate(cut(&key));
    key.shrink_to_fit();
    key
}

/// RFC 5256 §3: `addr-mailbox` of the first address.
fn mailbox_of(list: &[Entry<'_>]) -> String {
    match list.first() {
        Some(Entry::Mailbox(mailbox)) => String::from_utf8_lossy(&mailbox.mailbox).into_owned(),
        Some(Entry::GroupStart(name)) => String::from_utf8_lossy(name).into_owned(),
        _ => String::new(),
    }
}

/// RFC 5957 §3: the name of the first address, decoded; the address where there is none.
fn display(list: &[Entry<'_>]) -> String {
    match list.first() {
        Some(Entry::Mailbox(mailbox)) => match mailbox.name_text().filter(|name| !name.is_empty()) {
            Some(name) => name,
            None => format!("{}@{}", String::from_utf8_lossy(&mailbox.mailbox), String::from_utf8_lossy(&mailbox.host)),
        },
        Some(Entry::GroupStart(name)) => message::words::decode(name),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_criterion_decides_and_reverse_is_its_own() {
        let key = |reverse, by| SortKey { reverse, by };
        let order = [key(false, SortBy::Subject), key(true, SortBy::Date)];
        let values = |subject: &str, date| vec![Key::Text(subject.into()), Key::Number(date)];
        assert_eq!(compare(&order, &values("A", 1), &values("B", 0)), Ordering::Less);
        assert_eq!(compare(&order, &values("A", 1), &values("A", 0)), Ordering::Less);
        assert_eq!(compare(&order, &values("A", 1), &values("A", 1)), Ordering::Equal);
    }

    #[test]
    fn names_are_what_people_see() {
        let header = b"From: =?utf-8?q?Zo=C3=AB?= <a@x.org>\r\nTo: b@x.org\r\nCc: friends: c@x.org;\r\n\r\n";
        let envelope = Envelope::parse(header);
        assert_eq!((display(&envelope.from), mailbox_of(&envelope.from)), ("Zoë".into(), "a".into()));
        assert_eq!((display(&envelope.to), mailbox_of(&envelope.cc)), ("b@x.org".into(), "friends".into()));
        assert_eq!(display(&[]), "");
        assert_eq!(text(&"\u{fdfa}".repeat(1000)).chars().count(), KEY_CHARS);
    }
}
