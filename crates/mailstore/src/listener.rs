//! What happens in an account, for somebody who has none of its mailboxes open (NOTIFY, RFC 5465): hints from the kernel about which mailboxes to
//! look at again, without reading any of them.
//!
//! A [`Listener`] watches the account's root (mailboxes made, removed, renamed, subscribed), and of each mailbox it follows the directory
//! (rights, annotations, the log of flags) and, where messages matter, `new/` and `cur/`: at most three watches a mailbox, shared by all listeners of
//! the process. What it tells may be nothing at all in the end; that it tells nothing where something happened is no way it can be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::account::Account;
use crate::dir::Dir;
use crate::error::{Error, Result};
use crate::name::MailboxName;
use crate::watch::EarWatch;
use crate::{acl, cache, metadata, subscriptions};

/// What happened since it was last asked. Names are those of the account.
#[derive(Debug, Default)]
pub struct News {
    /// Mailboxes came, went or were renamed, subscriptions or rights changed.
    pub names: bool,
    /// Annotations of the account changed.
    pub annotations: bool,
    pub mailboxes: BTreeMap<MailboxName, Touched>,
    /// The kernel lost events: anything may have happened.
    pub everything: bool,
}

/// What happened in a mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Messages came or went, flags changed.
    pub messages: bool,
    pub annotations: bool,
}

/// Hears what happens in an account; ends when dropped.
pub struct Listener {
    account: Arc<Account>,
    ear: Arc<Ear>,
    root: Option<EarWatch>,
    followed: BTreeMap<MailboxName, Followed>,
}

/// Watches of one mailbox.
#[derive(Default)]
struct Followed {
    /// None for INBOX, whose directory is the root.
    dir: Option<EarWatch>,
    /// `new/` and `cur/`.
    parts: Vec<EarWatch>,
}

/// Where events arrive.
pub(crate) struct Ear {
    heard: Mutex<Heard>,
    wake: Arc<Notify>,
}

#[derive(Default)]
struct Heard {
    news: News,
    /// Mailboxes whose directories are elsewhere or gone.
    lost: BTreeSet<MailboxName>,
    root_lost: bool,
}

/// What a watched directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Root,
    Mailbox(MailboxName),
    /// `new/` or `cur/`.
    Messages(MailboxName),
}

impl Listener {
    /// Listens to what happens to the account as a whole. `wake` is called when there is news. `Limit` when the kernel has no watches left.
    /// Blocking.
    pub fn new(account: &Arc<Account>, wake: &Arc<Notify>) -> Result<Listener> {
        let ear = Arc::new(Ear { heard: Mutex::default(), wake: wake.clone() });
        let mut listener = Listener { account: account.clone(), ear, root: None, followed: BTreeMap::new() };
        listener.root = Some(listener.watch(&account.open_root()?, Place::Root)?);
        Ok(listener)
    }

    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Follows these mailboxes from now on, and no others; `true`: their messages too. One that is gone is left out. `Limit` when the kernel has
    /// no watches left. Blocking.
    pub fn follow(&mut self, wanted: &BTreeMap<MailboxName, bool>) -> Result<()> {
        let (lost, root_lost) = {
            let mut heard = self.ear.heard.lock();
            (std::mem::take(&mut heard.lost), std::mem::take(&mut heard.root_lost))
        };
        let root = self.account.open_root()?;
        if root_lost || self.root.is_none() {
            self.root = None;
            self.root = Some(self.watch(&root, Place::Root)?);
        }
        self.followed.retain(|name, _| wanted.contains_key(name) && !lost.contains(name) && !root_lost);
        for (name, messages) in wanted {
            let known = self.followed.remove(name);
            match self.followed(&root, name, *messages, known) {
                Ok(followed) => drop(self.followed.insert(name.clone(), followed)),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn followed(&self, root: &Dir, name: &MailboxName, messages: bool, known: Option<Followed>) -> Result<Followed> {
        let is_new = known.is_none();
        let mut followed = known.unwrap_or_default();
        if !messages {
            followed.parts.clear();
        }
        if !is_new && (!messages || !followed.parts.is_empty()) {
            return Ok(followed);
        }
        let dir = root.open_dir(&self.account.directory_of(name))?;
        if is_new && !name.is_inbox() {
            followed.dir = Some(self.watch(&dir, Place::Mailbox(name.clone()))?);
        }
        for part in ["new", "cur"].into_iter().filter(|_| messages) {
            followed.parts.push(self.watch(&dir.open_dir(part)?, Place::Messages(name.clone()))?);
        }
        Ok(followed)
    }

    fn watch(&self, dir: &Dir, place: Place) -> Result<EarWatch> {
        use nix::errno::Errno;
        self.account.store().notifier().listen(dir, &self.ear, place).map_err(|error| match error {
            Errno::ENOSPC | Errno::ENOMEM | Errno::ENOSYS => {
                tracing::warn!(%error, "the kernel has no watches left for NOTIFY (fs.inotify.max_user_watches)");
                Error::Limit("the kernel has no watches left")
            }
            error => Error::io("watch", dir.path(), error),
        })
    }

    /// What is new. Does not block.
    pub fn take(&self) -> News {
        std::mem::take(&mut self.ear.heard.lock().news)
    }
}

impl Ear {
    /// Something happened in a directory: to itself (`None`), or to something in it.
    pub fn hear(&self, place: &Place, file: Option<&str>, is_dir: bool) {
        let mut heard = self.heard.lock();
        if !heard.note(place, file, is_dir) {
            return;
        }
        drop(heard);
        self.wake.notify_one();
    }

    /// Events were lost.
    pub fn lost(&self) {
        self.heard.lock().news.everything = true;
        self.wake.notify_one();
    }
}

impl Heard {
    /// True when that is news.
    fn note(&mut self, place: &Place, file: Option<&str>, is_dir: bool) -> bool {
        let inbox = MailboxName::inbox();
        let (name, is_root) = match place {
            Place::Root => (&inbox, true),
            Place::Mailbox(name) | Place::Messages(name) => (name, false),
        };
        let Some(file) = file else {
            self.news.names = true;
            match is_root {
                true => self.root_lost = true,
                false => self.lost.extend([name.clone()]),
            }
            // what is there in its place has other messages
            self.news.mailboxes.insert(name.clone(), Touched { messages: true, annotations: true });
            return true;
        };
        let mut touched = Touched::default();
        match file {
            _ if matches!(place, Place::Messages(_)) => touched.messages = true,
            metadata::OF_MAILBOX => touched.annotations = true,
            metadata::OF_SERVER if is_root => self.news.annotations = true,
            acl::FILE => self.news.names = true,
            // a mailbox, or what makes one
            _ if is_dir => self.news.names = true,
            subscriptions::FILE if is_root => self.news.names = true,
            // locks, and files that are to get another name
            _ if file.ends_with(".lock") || file.ends_with(".tmp") || file == "maildirsize" => return false,
            // what somebody learnt by reading
            _ if file == cache::FACTS.file || file == cache::SIGNATURES.file => return false,
            _ => touched.messages = true,
        }
        if touched != Touched::default() {
            let known = self.news.mailboxes.entry(name.clone()).or_default();
            known.messages |= touched.messages;
            known.annotations |= touched.annotations;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::Location;
    use crate::metadata::AnnotationLimits;
    use crate::store::{Settings, Store};
    use std::time::{Duration, Instant};

    struct World {
        _temp: tempfile::TempDir,
        account: Arc<Account>,
        listener: Listener,
    }

    impl World {
        fn new(mailboxes: &[&str], followed: &[(&str, bool)]) -> World {
            let temp = tempfile::tempdir().unwrap();
            let account = Store::new(Settings::default()).account(&Location::maildir(temp.path().join("m")).unwrap()).unwrap();
            mailboxes.iter().for_each(|text| account.create(&name(text)).unwrap());
            let mut listener = Listener::new(&account, &Arc::default()).unwrap();
            listener.follow(&followed.iter().map(|(text, messages)| (name(text), *messages)).collect()).unwrap();
            World { _temp: temp, account, listener }
        }

        /// Waits for news that is as wanted.
        fn until(&self, is: impl Fn(&News) -> bool) -> News {
            let begun = Instant::now();
            let mut all = News::default();
            loop {
                self.account.store().notifier().drain();
                let news = self.listener.take();
                all.names |= news.names;
                all.annotations |= news.annotations;
                all.mailboxes.extend(news.mailboxes);
                if is(&all) {
                    return all;
                }
                assert!(begun.elapsed() < Duration::from_secs(20), "{all:?}");
                std::thread::sleep(Duration::from_millis(1));
            }
        }

        fn append(&self, text: &str) {
            let mailbox = self.account.open(&name(text)).unwrap();
            let mut incoming = mailbox.incoming(0).unwrap();
            incoming.write(b"x\r\n").unwrap();
            mailbox.append(vec![incoming]).unwrap();
        }
    }

    fn name(text: &str) -> MailboxName {
        MailboxName::parse(text).unwrap()
    }

    fn is_touched(news: &News, text: &str) -> bool {
        news.mailboxes.get(&name(text)).is_some_and(|touched| touched.messages)
    }

    #[test]
    fn what_is_followed_is_heard_and_nothing_else() {
        let world = World::new(&["A", "B", "C"], &[("INBOX", true), ("A", true), ("C", false)]);
        world.append("A");
        world.append("B");
        world.append("INBOX");
        let news = world.until(|news| is_touched(news, "A") && is_touched(news, "INBOX"));
        assert!(!news.names && !news.mailboxes.contains_key(&name("B")), "{news:?}");
        let limits = AnnotationLimits { value_bytes: 100, entries: 10, bytes: 1000 };
        let entries = || vec![("/private/comment".to_owned(), Some(b"x".to_vec()))];
        world.account.annotate(Some(&name("C")), entries(), limits).unwrap();
        world.until(|news| news.mailboxes.get(&name("C")).is_some_and(|touched| touched.annotations));
        world.account.annotate(None, entries(), limits).unwrap();
        world.until(|news| news.annotations);
        // no more
        let mut world = world;
        world.listener.follow(&BTreeMap::new()).unwrap();
        world.until(|_| true);
        world.append("A");
        world.account.subscribe(&name("A")).unwrap();
        let news = world.until(|news| news.names);
        assert!(!news.mailboxes.contains_key(&name("A")), "{news:?}");
    }

    #[test]
    fn a_mailbox_made_anew_under_its_name_is_followed_again() {
        let mut world = World::new(&["A"], &[("A", true)]);
        world.account.delete(&name("A")).unwrap();
        world.account.create(&name("A")).unwrap();
        // the directory that was watched is removed, which is told last
        world.until(|news| news.names);
        let begun = Instant::now();
        loop {
            world.listener.follow(&BTreeMap::from([(name("A"), true)])).unwrap();
            world.append("A");
            world.account.store().notifier().drain();
            if is_touched(&world.listener.take(), "A") {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(20));
        }
    }

    #[test]
    fn names_and_rights_are_heard_of() {
        let world = World::new(&["A"], &[("A", false)]);
        let quiet = |world: &World| world.until(|_| true).names;
        world.account.create(&name("B")).unwrap();
        world.until(|news| news.names);
        while quiet(&world) {}
        world.account.rename(&name("B"), &name("C")).unwrap();
        world.until(|news| news.names);
        while quiet(&world) {}
        let rights = crate::Rights::parse("lr").unwrap();
        world.account.set_rights(&name("A"), &crate::Subject::Anyone, false, crate::RightsChange::Replace, rights).unwrap();
        world.until(|news| news.names);
    }
}
