//! Mailbox names: LIST patterns, special uses.

use config::Imapd;
use imap_proto::SpecialUse;
use mailstore::{MailboxName, SEPARATOR};

/// The mailboxes that have a special use, by setting.
pub fn special(config: &Imapd) -> impl Iterator<Item = (SpecialUse, &str)> {
    [
        (SpecialUse::Drafts, &config.drafts_mailbox),
        (SpecialUse::Sent, &config.sent_mailbox),
        (SpecialUse::Trash, &config.trash_mailbox),
        (SpecialUse::Junk, &config.junk_mailbox),
        (SpecialUse::Archive, &config.archive_mailbox),
    ]
    .into_iter()
    .filter(|(_, name)| !name.is_empty())
    .map(|(r#use, name)| (r#use, name.as_str()))
}

/// What the mailbox is for (RFC 6154).
pub fn special_use(config: &Imapd, name: &MailboxName) -> Option<SpecialUse> {
    special(config).find(|(_, special)| *special == name.as_str()).map(|(r#use, _)| r#use)
}

/// A LIST pattern, ready to match (RFC 3501 §6.3.8).
///
/// Matching follows all readings of the pattern at once instead of trying one after the other, so that no pattern takes
/// longer than its length times the name's (CVE-2021-40110).
pub struct Pattern {
    items: Vec<Item>,
    /// The same in capitals, for INBOX, whose case means nothing.
    capitals: Vec<Item>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Item {
    Char(char),
    /// `*`
    Any,
    /// `%`
    Level,
}

/// Patterns with more items match no name that can exist.
const PATTERN_ITEMS: usize = 2500;

impl Pattern {
    /// `reference` stands in front of the pattern, as in Dovecot.
    pub fn new(reference: &str, pattern: &str) -> Pattern {
        let mut items = Vec::new();
        for c in reference.chars().chain(pattern.chars()) {
            let item = match c {
                '*' => Item::Any,
                '%' => Item::Level,
                c => Item::Char(c),
            };
            // A run of wildcards is one: `*` when there is one in it.
            match (items.last_mut(), item) {
                (Some(Item::Any), Item::Any | Item::Level) | (Some(Item::Level), Item::Level) => {}
                (Some(last @ Item::Level), Item::Any) => *last = Item::Any,
                _ => items.push(item),
            }
        }
        let capital = |item: &Item| match item {
            Item::Char(c) => Item::Char(c.to_ascii_uppercase()),
            other => *other,
        };
        Pattern { capitals: items.iter().map(capital).collect(), items }
    }

    pub fn matches(&self, name: &str) -> bool {
        if self.items.len() > PATTERN_ITEMS {
            return false;
        }
        if name == "INBOX" { matches(&self.capitals, name) } else { matches(&self.items, name) }
    }
}

fn matches(items: &[Item], name: &str) -> bool {
    // `active[i]`: the name so far can be read as `items[..i]`.
    let mut active = vec![false; items.len() + 1];
    let mut next = active.clone();
    active[0] = true;
    skip_wildcards(items, &mut active);
    for c in name.chars() {
        next.fill(false);
        for (i, item) in items.iter().enumerate().filter(|(i, _)| active[*i]) {
            match item {
                Item::Char(wanted) => next[i + 1] |= *wanted == c,
                Item::Any => next[i] = true,
                Item::Level => next[i] |= c != SEPARATOR,
            }
        }
        skip_wildcards(items, &mut next);
        std::mem::swap(&mut active, &mut next);
        if !active.contains(&true) {
            return false;
        }
    }
    active[items.len()]
}

/// Wildcards may stand for nothing.
fn skip_wildcards(items: &[Item], active: &mut [bool]) {
    for (i, item) in items.iter().enumerate() {
        if active[i] && !matches!(item, Item::Char(_)) {
            active[i + 1] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_of_rfc3501_6_3_8() {
        for (reference, pattern, name, want) in [
            ("", "*", "A.B.C", true),
            ("", "%", "A", true),
            ("", "%", "A.B", false),
            ("", "A.%", "A.B", true),
            ("", "A.%", "A.B.C", false),
            ("", "A.*", "A.B.C", true),
            ("", "A*", "A", true),
            ("A.", "%", "A.B", true),
            ("", "inbox", "INBOX", true),
            ("", "i%x", "INBOX", true),
            ("", "sent", "Sent", false),
            ("", "%.%", "A.B", true),
            ("", "*.B", "A.B.C", false),
            ("", "*B*", "A.B.C", true),
            ("", "%*%", "A.B", true),
            ("", "Envoy\u{e9}%", "Envoy\u{e9}s", true),
            ("", "", "A", false),
        ] {
            let pattern_text = pattern;
            assert_eq!(Pattern::new(reference, pattern).matches(name), want, "{reference:?} {pattern_text:?} {name}");
        }
    }

    #[test]
    fn hostile_patterns_take_no_time() {
        let name = "a.".repeat(120) + "b";
        assert!(Pattern::new("", &"*%".repeat(5000)).matches(&name));
        assert!(!Pattern::new("", &("*%".repeat(5000) + "c")).matches(&name));
        assert!(!Pattern::new("", &"*a".repeat(5000)).matches(&name));
        assert!(!Pattern::new("", &("*a".repeat(500) + "c")).matches(&name));
    }
}
