//! Who wants to hear what of which mailbox.

use crate::filter::is_in;
use crate::selected::Wants;
use imap_proto::notify::{EventGroup, Events, NotifySet};
use imap_proto::{FetchItem, Mailbox, MailboxFilter, Section, SectionText};
use mailstore::MailboxName;

/// What is to be told.
#[derive(Debug, Default)]
pub struct Wishes {
    /// Of all mailboxes but the open one.
    groups: Vec<EventGroup>,
    /// Of messages in the open one.
    selected: Option<Events>,
    /// RFC 5465 §6.1.2
    pub delayed: bool,
    pub fetch: Vec<FetchItem>,
    /// The client has used NOTIFY: it hears of things at any time, and of nothing else. Otherwise only of annotations, with the answers to its
    /// commands (RFC 5464 §4.4).
    pub immediate: bool,
}

/// What is to be told of one mailbox while it is not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wish {
    pub messages: bool,
    pub flags: bool,
    pub names: bool,
    pub subscriptions: bool,
    pub metadata: bool,
}

impl Wishes {
    /// What a client asked for; `annotations` as ENABLE says beside it (RFC 5464 §4.4).
    pub fn new(set: Option<NotifySet>, annotations: Enabled) -> Wishes {
        let mut wishes = Wishes { immediate: set.is_some(), ..Wishes::default() };
        for group in set.into_iter().flat_map(|set| set.groups) {
            match group.filter {
                MailboxFilter::Selected | MailboxFilter::SelectedDelayed => {
                    wishes.delayed = group.filter == MailboxFilter::SelectedDelayed;
                    wishes.fetch = group.events.fetch.clone();
                    wishes.selected = Some(group.events);
                }
                _ => wishes.groups.push(group),
            }
        }
        if annotations.mailboxes || annotations.server {
            let events = Events { metadata: annotations.mailboxes, server_metadata: annotations.server, ..Events::default() };
            let public = annotations.public.iter().map(|name| Mailbox(name.as_str().to_owned())).collect();
            wishes.groups.push(EventGroup { filter: MailboxFilter::Personal, events: events.clone() });
            wishes.groups.push(EventGroup { filter: MailboxFilter::Subtree(public), events });
        }
        wishes
    }

    pub fn wants(&self) -> Wants {
        if !self.immediate {
            return Wants::default();
        }
        let selected = self.selected.as_ref();
        Wants { messages: selected.is_some_and(|events| events.messages), flags: selected.is_some_and(|events| events.flags), uids: true }
    }

    /// Is there something to tell of mailboxes that are not open?
    pub fn of_others(&self) -> bool {
        self.server() || self.groups.iter().any(|group| Wish::of(&group.events) != Wish::default())
    }

    /// Annotations of the server are to be told.
    pub fn server(&self) -> bool {
        self.groups.iter().any(|group| group.events.server_metadata)
    }

    /// What is to be told of a mailbox: all that some group wants.
    pub fn about(&self, name: &MailboxName, own: bool, is_subscribed: bool) -> Wish {
        let meant = self.groups.iter().filter(|group| is_in(&group.filter, name, own, is_subscribed));
        meant.fold(Wish::default(), |all, group| all.and(Wish::of(&group.events)))
    }
}

/// Annotations that the client wants to hear of by ENABLE.
#[derive(Debug, Clone, Default)]
pub struct Enabled {
    pub mailboxes: bool,
    pub server: bool,
    /// The prefix of public mailboxes.
    pub public: Option<MailboxName>,
}

impl Wish {
    fn of(events: &Events) -> Wish {
        Wish {
            messages: events.messages,
            flags: events.flags,
            names: events.names,
            subscriptions: events.subscriptions,
            metadata: events.metadata,
        }
    }

    fn and(self, other: Wish) -> Wish {
        Wish {
            messages: self.messages || other.messages,
            flags: self.flags || other.flags,
            names: self.names || other.names,
            subscriptions: self.subscriptions || other.subscriptions,
            metadata: self.metadata || other.metadata,
        }
    }

    pub fn is_none(self) -> bool {
        self == Wish::default()
    }

    /// Needs the right to read (RFC 5465 §5).
    pub fn reads(self) -> bool {
        self.messages || self.metadata
    }
}

/// How much a client's wish takes in memory, about: names of mailboxes, and bytes of FETCH items.
pub fn weight(set: &NotifySet) -> (usize, usize) {
    let names = |filter: &MailboxFilter| match filter {
        MailboxFilter::Subtree(names) | MailboxFilter::SubtreeOne(names) | MailboxFilter::Mailboxes(names) => names.len(),
        _ => 0,
    };
    let items = set.groups.iter().map(|group| items_weight(&group.events.fetch)).sum();
    (set.groups.iter().map(|group| names(&group.filter)).sum(), items)
}

/// Bytes that FETCH items take, about.
pub fn items_weight(items: &[FetchItem]) -> usize {
    let section = |section: &Section| match &section.text {
        Some(SectionText::Fields { names, .. }) => names.iter().map(|name| name.len() + size_of::<String>()).sum::<usize>(),
        _ => 4 * section.part.len(),
    };
    let item = |item: &FetchItem| match item {
        FetchItem::Body(item) => section(&item.section),
        FetchItem::Binary(item) => 4 * item.part.len(),
        FetchItem::BinarySize(part) => 4 * part.len(),
        _ => 0,
    };
    items.iter().map(|of| size_of::<FetchItem>() + item(of)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use imap_proto::Command;
    use imap_proto::cursor::Cursor;

    fn wishes(text: &str) -> Wishes {
        let mut cursor = Cursor::new(text.as_bytes());
        match imap_proto::parse::command("NOTIFY", &mut cursor) {
            Ok(Some(Command::Notify(set))) => Wishes::new(Some(set.unwrap_or_default()), Enabled::default()),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn rfc5465_6_all_groups_that_mean_a_mailbox_hold() {
        let wishes = wishes(" SET (mailboxes INBOX (MessageNew MessageExpunge)) (personal (SubscriptionChange)) (subtree A NONE)");
        let about = |text: &str| wishes.about(&MailboxName::parse(text).unwrap(), true, false);
        assert_eq!(about("INBOX"), Wish { messages: true, subscriptions: true, ..Wish::default() });
        assert_eq!(about("A"), Wish { subscriptions: true, ..Wish::default() });
        assert!(wishes.about(&MailboxName::parse("Public.A").unwrap(), false, true).is_none());
        // RFC 5465 §3.1: who does not name it hears nothing of the selected mailbox
        assert_eq!(wishes.wants(), Wants { messages: false, flags: false, uids: true });
        assert!(!self::wishes(" NONE").of_others() && self::wishes(" NONE").immediate);
    }

    #[test]
    fn long_lists_have_their_weight() {
        let names = vec!["x".repeat(100); 10];
        let fields = SectionText::Fields { names, not: false };
        let item = imap_proto::BodyItem {
            section: Section { part: Vec::new(), text: Some(fields) },
            peek: true,
            partial: None,
            form: imap_proto::BodyForm::Body,
        };
        assert!(items_weight(&[FetchItem::Body(item)]) > 1000);
    }
}
