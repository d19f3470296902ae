//! Mailboxes that come, go and are renamed, subscriptions and rights (RFC 5465 §5.4, §5.5, §5.9).

use super::Trouble;
use super::wishes::{Wish, Wishes};
use crate::commands::enable::Enabled;
use crate::commands::list::{Facts, facts_of, write_notice};
use crate::place::Realm;
use config::Config;
use mailstore::{MailboxName, Rights};
use std::collections::{BTreeMap, BTreeSet};

/// The mailboxes that somebody wants to hear of, as the client knows them.
#[derive(Default)]
pub struct Names {
    known: BTreeMap<MailboxName, Entry>,
    /// The client did something to these itself.
    did: Vec<MailboxName>,
    begun: bool,
}

/// A mailbox, or a name that is subscribed to or above others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Entry {
    wish: Wish,
    /// There is a mailbox, though the client may not know.
    exists: bool,
    /// The client may know.
    visible: bool,
    readable: bool,
    subscribed: bool,
    /// What stays when it is renamed; where names matter.
    id: Option<String>,
}

/// A mailbox's old name and its new one.
pub type Renamed = (MailboxName, MailboxName);

/// A LIST response that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Notice {
    name: MailboxName,
    old_name: Option<MailboxName>,
    no_access: bool,
}

impl Names {
    /// Looks at all names, and writes what changed since the last time; at first, what the client cannot be told of. Gives what was renamed. Blocking.
    pub fn look(
        &mut self,
        realm: &Realm,
        config: &Config,
        enabled: Enabled,
        wishes: &Wishes,
        out: &mut Vec<u8>,
    ) -> Result<Vec<Renamed>, Trouble> {
        let all = realm.list_all()?;
        let visible = all.iter().filter(|(_, rights)| rights.contains(Rights::LOOKUP)).map(|(name, rights)| (name.clone(), *rights));
        let facts = facts_of(visible.collect(), realm, &config.imapd, true)?;
        let about = |name: &MailboxName| {
            let own = realm.locate(name.as_str()).is_ok_and(|spot| spot.own);
            wishes.about(name, own, facts.get(name).is_some_and(|facts| facts.subscribed))
        };
        let mut known = BTreeMap::new();
        for name in all.keys().chain(facts.keys()).collect::<BTreeSet<_>>() {
            let wish = about(name);
            if wish.is_none() {
                continue;
            }
            if known.len() >= config.imapd.imap_notify_max_mailboxes as usize {
                return Err(Trouble::TooMuch);
            }
            let facts = facts.get(name).copied().unwrap_or_default();
            let mut entry = Entry {
                wish,
                exists: all.contains_key(name),
                visible: facts.exists,
                readable: facts.exists && facts.rights.contains(Rights::READ),
                subscribed: facts.subscribed,
                id: None,
            };
            if wish.names && entry.visible {
                entry.id = self.known.get(name).and_then(|entry| entry.id.clone()).or_else(|| id(realm, name));
            }
            known.insert(name.clone(), entry);
        }
        let known_before = std::mem::replace(&mut self.known, known);
        let did = std::mem::take(&mut self.did);
        if std::mem::replace(&mut self.begun, true) {
            let is_own = |name: &MailboxName| did.iter().any(|top| name == top || name.is_below(top));
            let (notices, renamed) = differences(&known_before, &self.known, about, is_own);
            notices.iter().for_each(|notice| write(out, notice, facts.get(&notice.name), enabled));
            return Ok(renamed);
        }
        // RFC 5465 §3.1: mailboxes that the client may know of but not look into
        for (name, _) in self.known.iter().filter(|(_, entry)| entry.visible && !entry.readable && entry.wish.reads()) {
            write(out, &Notice { name: name.clone(), old_name: None, no_access: true }, facts.get(name), enabled);
        }
        Ok(Vec::new())
    }

    pub fn did(&mut self, names: &[MailboxName]) {
        if self.begun {
            self.did.extend_from_slice(names);
        }
    }

    pub fn wishes_of(&self, name: &MailboxName) -> Option<Wish> {
        self.known.get(name).map(|entry| entry.wish)
    }

    pub fn all(&self) -> impl Iterator<Item = &MailboxName> {
        self.known.keys()
    }

    /// Mailboxes whose messages matter.
    pub fn counted(&self) -> impl Iterator<Item = &MailboxName> {
        self.known.iter().filter(|(_, entry)| entry.readable && entry.wish.messages).map(|(name, _)| name)
    }

    /// Mailboxes whose annotations matter.
    pub fn annotated(&self) -> impl Iterator<Item = &MailboxName> {
        self.known.iter().filter(|(_, entry)| entry.readable && entry.wish.metadata).map(|(name, _)| name)
    }

    /// Both, to be compared with later.
    pub fn followed(&self) -> BTreeSet<MailboxName> {
        self.counted().chain(self.annotated()).cloned().collect()
    }

    /// Mailboxes to be watched, the own ones and the public ones by the names in their accounts, with whether their messages matter.
    pub fn to_follow(&self, realm: &Realm) -> (BTreeMap<MailboxName, bool>, BTreeMap<MailboxName, bool>) {
        let (mut own, mut public) = (BTreeMap::new(), BTreeMap::new());
        // a level that is no mailbox is a directory all the same where they lie in each other
        for (name, entry) in &self.known {
            let Ok(spot) = realm.locate(name.as_str()) else { continue };
            // rights may come and go, and mailboxes below
            if entry.wish.names || entry.wish.reads() {
                let messages = entry.wish.messages && entry.readable;
                if spot.own {
                    own.insert(spot.name, messages)
                } else {
                    public.insert(spot.name, messages)
                };
            }
        }
        (own, public)
    }
}

fn id(realm: &Realm, name: &MailboxName) -> Option<String> {
    let spot = realm.locate(name.as_str()).ok()?;
    spot.account.mailbox_id(&spot.name).ok()
}

fn write(out: &mut Vec<u8>, notice: &Notice, facts: Option<&Facts>, enabled: Enabled) {
    write_notice(out, &notice.name, facts.copied().unwrap_or_default(), notice.old_name.as_ref(), notice.no_access, enabled);
}

/// What is to be told of what changed, and what was renamed. `about` gives the wish about any name; what is the client's own doing is passed over.
fn differences(
    before: &BTreeMap<MailboxName, Entry>,
    now: &BTreeMap<MailboxName, Entry>,
    about: impl Fn(&MailboxName) -> Wish,
    is_own: impl Fn(&MailboxName) -> bool,
) -> (Vec<Notice>, Vec<Renamed>) {
    let none = Entry::default();
    let was = |name: &MailboxName| before.get(name).unwrap_or(&none);
    let is = |name: &MailboxName| now.get(name).unwrap_or(&none);
    let came = |name: &&MailboxName| is(name).visible && !was(name).visible;
    let went = |name: &&MailboxName| was(name).visible && !is(name).visible;
    let gone_ids: BTreeMap<&str, &MailboxName> =
        before.keys().filter(went).filter_map(|name| Some((was(name).id.as_deref()?, name))).collect();
    // by the new name
    let renamed: BTreeMap<&MailboxName, &MailboxName> = now
        .keys()
        .filter(came)
        .filter(|name| is(name).wish.names)
        .filter_map(|name| Some((name, *gone_ids.get(is(name).id.as_deref()?)?)))
        .collect();
    let left: BTreeSet<&MailboxName> = renamed.values().copied().collect();
    let mut notices: BTreeMap<MailboxName, Notice> = BTreeMap::new();
    let mut due = |name: &MailboxName, old_name: Option<&MailboxName>, no_access: bool| {
        let new = || Notice { name: name.clone(), old_name: None, no_access: false };
        let notice = notices.entry(name.clone()).or_insert_with(new);
        notice.old_name = notice.old_name.take().or_else(|| old_name.cloned());
        notice.no_access |= no_access;
    };
    for name in before.keys().chain(now.keys()).collect::<BTreeSet<_>>().into_iter().filter(|name| !is_own(name)) {
        let (old, new) = (was(name), is(name));
        let wish = if now.contains_key(name) { new.wish } else { old.wish };
        if let Some(old_name) = renamed.get(name) {
            // RFC 5465 §5.4: those below go along, without a word
            if !goes_along(name, old_name, &renamed) {
                due(name, Some(old_name), false);
            }
            continue;
        }
        if wish.names && (came(&name) || went(&name) && !left.contains(name)) {
            due(name, None, false);
            // RFC 5465 §5.4: the parent is affected too
            if let Some(parent) = name.parent().filter(|parent| about(parent).names) {
                due(&parent, None, false);
            }
        }
        let (could, can) = (old.readable, new.readable);
        if wish.reads() && old.exists && new.exists && could != can {
            due(name, None, !can);
        }
        if wish.subscriptions && old.subscribed != new.subscribed {
            due(name, None, false);
        }
    }
    (notices.into_values().collect(), renamed.into_iter().map(|(new, old)| (old.clone(), new.clone())).collect())
}

/// A name above was renamed in the same way.
fn goes_along(name: &MailboxName, old_name: &MailboxName, renamed: &BTreeMap<&MailboxName, &MailboxName>) -> bool {
    let above = |name: &MailboxName| std::iter::successors(name.parent(), MailboxName::parent).collect::<Vec<_>>();
    above(name).iter().any(|top| {
        let old_top = renamed.get(top);
        old_top.is_some_and(|old_top| old_name.moved(old_top, top).is_ok_and(|moved| old_name.is_below(old_top) && moved == *name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Wish = Wish { names: true, subscriptions: true, messages: false, flags: false, metadata: false };
    const READS: Wish = Wish { messages: true, names: false, subscriptions: false, flags: false, metadata: false };

    fn name(text: &str) -> MailboxName {
        MailboxName::parse(text).unwrap()
    }

    /// `A=1` has the id 1; `-` behind it is not readable, `!` not visible, `+` is subscribed.
    fn world(text: &str, wish: Wish) -> BTreeMap<MailboxName, Entry> {
        let entry = |word: &str| {
            let (text, rest) = word.split_once('=').unwrap();
            let id = Some(rest.trim_end_matches(['-', '!', '+']).to_owned());
            let visible = !rest.contains('!');
            let readable = visible && !rest.contains('-');
            (name(text), Entry { wish, exists: true, visible, readable, subscribed: rest.contains('+'), id })
        };
        text.split_whitespace().map(entry).collect()
    }

    fn told(before: &str, now: &str, wish: Wish, own: &str) -> String {
        let (notices, _) = differences(&world(before, wish), &world(now, wish), |_| wish, |name| name.as_str() == own);
        let show = |notice: &Notice| {
            let old = notice.old_name.as_ref().map(|old| format!("<{old}")).unwrap_or_default();
            format!("{}{old}{}", notice.name, if notice.no_access { "-" } else { "" })
        };
        notices.iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn rfc5465_5_4_mailboxes_come_go_and_are_renamed() {
        for (before, now, want) in [
            ("A=1", "A=1", ""),
            ("A=1", "A=1 B=2", "B"),
            ("A=1", "A=1 A.B.C=2", "A.B A.B.C"),
            ("A=1 B.X=2", "A=1", "B B.X"),
            ("A=1", "B=1", "B<A"),
            // below it
            ("A=1 A.X=2 A.X.Y=3", "B=1 B.X=2 B.X.Y=3", "B<A"),
            // each by itself
            ("A=1 A.X=2", "B=1 C=2", "B<A C<A.X"),
            // rights
            ("A=1!", "A=1", "A"),
            ("A=1", "A=1!", "A"),
            // subscriptions
            ("A=1", "A=1+", "A"),
            ("A=1+", "A=1", "A"),
        ] {
            assert_eq!(told(before, now, NAMES, "none"), want, "{before} -> {now}");
        }
        assert_eq!(told("A=1", "A=1 B=2 C=3", NAMES, "B"), "C");
        assert_eq!(told("A=1", "B=2", READS, "none"), "");
    }

    #[test]
    fn rfc5465_5_9_rights_that_are_lost_and_given() {
        for (before, now, want) in [
            ("A=1", "A=1-", "A-"),
            ("A=1", "A=1!", "A-"),
            ("A=1!", "A=1", "A"),
            ("A=1-", "A=1", "A"),
            ("A=1-", "A=1!", ""),
            ("A=1", "", ""),
        ] {
            assert_eq!(told(before, now, READS, "none"), want, "{before} -> {now}");
        }
    }
}
