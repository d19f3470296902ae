//! Which mailboxes a query can mean: the others are not opened.

use super::{Key, Query};
use mailstore::{MailboxName, SEPARATOR};

/// A mailbox by its name, or several: `*` stands for anything, `%` for anything but a separator (RFC 9051 §6.3.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask(String);

impl Mask {
    /// `INBOX` is meant in any case, as the first level, too.
    pub fn new(text: &str) -> Mask {
        let (first, rest) = text.find(SEPARATOR).map_or((text, ""), |at| text.split_at(at));
        Mask(if first.eq_ignore_ascii_case("INBOX") { format!("INBOX{rest}") } else { text.to_owned() })
    }

    pub fn matches(&self, name: &MailboxName) -> bool {
        matches(self.0.as_bytes(), name.as_str().as_bytes())
    }

    /// The mailbox, when the mask can mean only one.
    pub fn single(&self) -> Option<MailboxName> {
        if self.0.contains(['*', '%']) { None } else { MailboxName::parse(&self.0).ok() }
    }
}

/// Wildcards by going back to the last one only: `%` gives up at a separator, and then the `*` before it goes on.
fn matches(mask: &[u8], name: &[u8]) -> bool {
    let (mut m, mut n) = (0, 0);
    // where to go on after a mismatch: behind the wildcard, and what it had eaten
    let mut star: Option<(usize, usize)> = None;
    let mut percent: Option<(usize, usize)> = None;
    loop {
        match mask.get(m) {
            Some(b'*') => {
                (star, percent) = (Some((m + 1, n)), None);
                m += 1;
                continue;
            }
            Some(b'%') => {
                percent = Some((m + 1, n));
                m += 1;
                continue;
            }
            Some(byte) if name.get(n) == Some(byte) => {
                m += 1;
                n += 1;
                continue;
            }
            None if n == name.len() => return true,
            _ => {}
        }
        if let Some((behind, eaten)) = percent
            && name.get(eaten).is_some_and(|byte| *byte != SEPARATOR as u8)
        {
            percent = Some((behind, eaten + 1));
            (m, n) = (behind, eaten + 1);
        } else if let Some((behind, eaten)) = star.filter(|(_, eaten)| *eaten < name.len()) {
            (star, percent) = (Some((behind, eaten + 1)), None);
            (m, n) = (behind, eaten + 1);
        } else {
            return false;
        }
    }
}

impl Query {
    /// False when no message of the mailbox can be meant.
    pub fn may_mean(&self, name: &MailboxName, guid: &str) -> bool {
        decide(&self.0, name, guid) != Some(false)
    }

    /// True when a mailbox has to be known by more than its name.
    pub fn asks_for_guid(&self) -> bool {
        fn asks(key: &Key) -> bool {
            match key {
                Key::MailboxGuid(_) => true,
                Key::And(keys) | Key::Or(keys) => keys.iter().any(asks),
                Key::Not(key) | Key::InThread(_, key) => asks(key),
                _ => false,
            }
        }
        asks(&self.0)
    }

    /// The mailboxes that are named in full: one that is not there is worth a word.
    pub fn named(&self) -> Vec<MailboxName> {
        fn collect(key: &Key, names: &mut Vec<MailboxName>) {
            match key {
                Key::Mailbox(mask) => names.extend(mask.single()),
                Key::And(keys) | Key::Or(keys) => keys.iter().for_each(|key| collect(key, names)),
                Key::InThread(_, key) => collect(key, names),
                _ => {}
            }
        }
        let mut names = Vec::new();
        collect(&self.0, &mut names);
        names
    }
}

/// What the mailbox alone tells of a key; `None` when it takes a message.
pub(super) fn decide(key: &Key, name: &MailboxName, guid: &str) -> Option<bool> {
    match key {
        Key::All => Some(true),
        Key::Mailbox(mask) => Some(mask.matches(name)),
        Key::MailboxGuid(wanted) => Some(is_guid(wanted, guid)),
        Key::Not(key) => decide(key, name, guid).map(|holds| !holds),
        Key::InThread(_, key) => decide(key, name, guid),
        Key::And(keys) => fold(keys, name, guid, false),
        Key::Or(keys) => fold(keys, name, guid, true),
        _ => None,
    }
}

/// `settling` decides alone; else all have to be known.
fn fold(keys: &[Key], name: &MailboxName, guid: &str, settling: bool) -> Option<bool> {
    let mut all_known = true;
    for key in keys {
        match decide(key, name, guid) {
            Some(holds) if holds == settling => return Some(settling),
            Some(_) => {}
            None => all_known = false,
        }
    }
    all_known.then_some(!settling)
}

/// As Dovecot writes it, or as MAILBOXID has it in IMAP, where the UIDVALIDITY is behind it.
fn is_guid(wanted: &str, id: &str) -> bool {
    id.eq_ignore_ascii_case(wanted) || crate::query::plain_guid(id).eq_ignore_ascii_case(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    fn name(text: &str) -> MailboxName {
        MailboxName::parse(text).expect(text)
    }

    #[test]
    fn masks_are_those_of_list() {
        for (mask, mailbox, want) in [
            ("Trash", "Trash", true),
            ("trash", "Trash", false),
            ("inbox", "INBOX", true),
            ("inbox.x", "INBOX.x", true),
            ("*", "A.B", true),
            ("%", "A", true),
            ("%", "A.B", false),
            ("A.%", "A.B", true),
            ("A.%", "A.B.C", false),
            ("A*C", "A.B.C", true),
            ("%.C", "A.B.C", false),
            ("*.%C", "A.B.xC", true),
            ("*%", "A.B", true),
            ("%*", "A.B", true),
            ("*b*b*b", "abbb", true),
            ("*b*b*b*b", "abbb", false),
            ("A%B%C", "A1B2C", true),
            ("Tra*", "Trash", true),
            ("", "A", false),
            ("Envoyés*", "Envoyés.2026", true),
        ] {
            assert_eq!(Mask::new(mask).matches(&name(mailbox)), want, "{mask} {mailbox}");
        }
    }

    #[test]
    fn only_mailboxes_that_can_be_meant_are_opened() {
        let id = "F3085f01b7f11094c501100008c4a11c14c0c8e50";
        for (query, mailbox, want) in [
            ("all", "A", true),
            ("seen", "A", true),
            ("mailbox A", "A", true),
            ("mailbox A", "B", false),
            ("mailbox A seen", "B", false),
            ("mailbox A or seen", "B", true),
            ("mailbox A or mailbox B", "B", true),
            ("mailbox A mailbox B", "B", false),
            ("not mailbox A", "A", false),
            ("not ( mailbox A seen )", "A", true),
            ("not ( mailbox A seen )", "B", true),
            ("not all", "A", false),
            ("mailbox-guid 3085F01b7f11094c501100008c4a11c1", "A", true),
            ("mailbox-guid F3085f01b7f11094c501100008c4a11c14c0c8e50", "A", true),
            ("mailbox-guid 3085f01b7f11094c501100008c4a11c2", "A", false),
        ] {
            let words: Vec<&str> = query.split(' ').collect();
            let query = Query::parse(&words, 0, TimeZone::UTC).expect(query);
            assert_eq!(query.may_mean(&name(mailbox), id), want, "{words:?} {mailbox}");
        }
    }
}
