//! One person's mailboxes. INBOX is the root; where the others lie is in `layout`. In a Maildir++ tree each has, beside `cur`, `new` and `tmp`, an empty
//! file `maildirfolder` (which tells delivery agents that the root is one up).

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::dir::{Dir, Stamp};
use crate::error::{Error, Result};
use crate::flags::Flags;
use crate::layout::{self, Layout};
use crate::lock::SessionLock;
use crate::mailbox::{Gone, Mailbox};
use crate::name::MailboxName;
use crate::quota::{self, Limits, Terms};
use crate::snapshot::Snapshot;
use crate::store::{Store, prepare};
use crate::subscriptions;
use crate::uidlist::UidList;
use crate::{changelog, metadata, uidlist, uidvalidity};

/// Longest list of remembered counts.
const MOST_REMEMBERED: usize = 1000;

/// One person's mail. Shared by all sessions of that person in this process.
pub struct Account {
    store: Arc<Store>,
    root: PathBuf,
    layout: Layout,
    mailboxes: Mutex<HashMap<MailboxName, Weak<Mailbox>>>,
    /// Creation, deletion and renaming, one at a time.
    structure: Mutex<()>,
    /// Replacing of messages, one at a time: each has the room of the one it replaces, and no other has it.
    pub(crate) replacing: Mutex<()>,
    limits: Mutex<Limits>,
    counts: Mutex<HashMap<MailboxName, Counted>>,
}

/// Counts of a mailbox nobody has open, and the directories they were taken from.
#[derive(Clone, Copy)]
struct Counted {
    new: Stamp,
    cur: Stamp,
    list: Stamp,
    log: Stamp,
    status: Status,
}

/// A mailbox in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub name: MailboxName,
    /// False for a level that has children but no mailbox of its own (`\NonExistent`).
    pub exists: bool,
    pub has_children: bool,
}

/// STATUS of a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Status {
    pub messages: u32,
    pub recent: u32,
    pub unseen: u32,
    pub deleted: u32,
    pub uid_next: u32,
    pub uid_validity: u32,
    /// 0 where MODSEQs cannot be kept (RFC 7162 §3.1.7).
    pub highest_modseq: u64,
}

/// Quota of an account: what `maildirsize` counts, and the limits (0 = none).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Quota {
    pub bytes: u64,
    pub messages: u64,
    pub bytes_limit: u64,
    pub messages_limit: u64,
}

impl Account {
    pub(crate) fn new(store: Arc<Store>, root: PathBuf, layout: Layout) -> Arc<Account> {
        Arc::new(Account {
            store,
            root,
            layout,
            mailboxes: Mutex::default(),
            structure: Mutex::new(()),
            replacing: Mutex::default(),
            limits: Mutex::default(),
            counts: Mutex::default(),
        })
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Directory of INBOX.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// The mailbox's directory below the root.
    pub(crate) fn directory_of(&self, name: &MailboxName) -> String {
        self.layout.directory(name)
    }

    pub(crate) fn open_root(&self) -> Result<Dir> {
        Dir::open_root(&self.root)
    }

    /// For who comes to an account that others have open: what was removed under them is made anew, as it would be without them.
    pub(crate) fn make_sure(&self) -> Result<()> {
        match self.open_root() {
            Err(error) if error.is_not_found() => {
                tracing::warn!(path = %self.root.display(), "the Maildir was removed, it is made anew");
                let names: Vec<MailboxName> = self.mailboxes.lock().keys().cloned().collect();
                names.iter().for_each(|name| self.forget(name));
                self.counts.lock().clear();
                prepare(&Dir::create_root(&self.root)?)
            }
            other => other.map(drop),
        }
    }

    /// All mailboxes and the levels above them, sorted by name, INBOX first.
    pub fn list(&self) -> Result<Vec<Listed>> {
        let root = self.open_root()?;
        let mut found: BTreeMap<MailboxName, Listed> = BTreeMap::new();
        let inbox = MailboxName::inbox();
        found.insert(inbox.clone(), Listed { name: inbox.clone(), exists: true, has_children: false });
        for (name, directory) in self.layout.candidates(&root)? {
            if !is_mailbox(&root, &directory) {
                continue;
            }
            let mut level = name.clone();
            found.entry(name.clone()).or_insert_with(|| Listed { name, exists: true, has_children: false }).exists = true;
            while let Some(parent) = level.parent() {
                let above =
                    found.entry(parent.clone()).or_insert_with(|| Listed { name: parent.clone(), exists: false, has_children: true });
                above.has_children = true;
                level = parent;
            }
        }
        let mut list: Vec<Listed> = found.remove(&inbox).into_iter().collect();
        list.extend(found.into_values());
        Ok(list)
    }

    /// True when the mailbox is there.
    pub fn exists(&self, name: &MailboxName) -> Result<bool> {
        Ok(name.is_inbox() || is_mailbox(&self.open_root()?, &self.directory_of(name)))
    }

    /// Makes a mailbox, durable on return. `AlreadyExists`, `Limit`.
    pub fn create(&self, name: &MailboxName) -> Result<()> {
        let _structure = self.structure.lock();
        self.create_locked(&self.open_root()?, name)
    }

    fn create_locked(&self, root: &Dir, name: &MailboxName) -> Result<()> {
        self.layout.allows(name)?;
        if name.is_inbox() || is_mailbox(root, &self.directory_of(name)) {
            return Err(Error::AlreadyExists);
        }
        if self.layout.candidates(root)?.len() >= self.store.settings.mailbox_limit {
            return Err(Error::Limit("account has as many mailboxes as it can have"));
        }
        make_mailbox(root, self.layout, &self.directory_of(name))
    }

    /// Removes a mailbox and its messages, which are kept in the attic where the settings want that; mailboxes below stay (RFC 9051 §6.3.5). INBOX:
    /// `NotAllowed`.
    pub fn delete(&self, name: &MailboxName) -> Result<()> {
        if name.is_inbox() {
            return Err(Error::NotAllowed("INBOX cannot be deleted"));
        }
        let _structure = self.structure.lock();
        let root = self.open_root()?;
        let directory = self.directory_of(name);
        if !is_mailbox(&root, &directory) {
            return Err(Error::NoSuchMailbox);
        }
        let used = mailbox_usage(&root, &directory);
        let kept = if matches!(used, Ok((_, 0))) { None } else { self.crate_for(name)? };
        let is_kept = match &kept {
            Some(kept) => match self.take_out(&root, &directory, &kept.dir, &kept.leaf) {
                // what did not get there goes at once
                Err(Error::NoSpace { .. }) => false,
                taken => taken.map(|()| true)?,
            },
            None => false,
        };
        if !is_kept {
            self.remove(&root, &directory)?;
        }
        self.forget(name);
        if let Some(kept) = kept {
            kept.lighten();
            let (bytes, messages) = *used.as_ref().unwrap_or(&(0, 0));
            kept.close(bytes, messages);
        }
        self.layout.clear_above(&root, &directory);
        if let Ok((bytes, messages)) = used {
            self.release(name, bytes, messages);
        }
        Ok(())
    }

    /// Removes a mailbox for good. It is renamed out of sight first, so that nobody finds half of it; the name begins with two dots, which no
    /// mailbox has.
    fn remove(&self, root: &Dir, directory: &str) -> Result<()> {
        let doomed = format!("..deleted.{}", self.store.unique_name());
        match self.take_out(root, directory, root, &doomed) {
            Ok(()) => root.remove_tree(&doomed),
            // who deletes wants room, also where there is none to do it well
            Err(Error::NoSpace { .. }) if self.layout == Layout::Fs => {
                let dir = root.open_dir(directory)?;
                for part in ["cur", "new", "tmp"] {
                    match dir.remove_tree(part) {
                        Err(error) if error.is_not_found() => {}
                        other => other?,
                    }
                }
                let mut names = Vec::new();
                dir.each_file(|_| true, |name| names.push(name.to_owned()))?;
                names.iter().try_for_each(|name| dir.unlink(name).map(drop))
            }
            Err(error) => Err(error),
        }
    }

    /// Takes a mailbox out of sight, to the name `doomed` in `place`; durable on return. What lies below it stays.
    fn take_out(&self, root: &Dir, directory: &str, place: &Dir, doomed: &str) -> Result<()> {
        let (holder, leaf) = root.holder(directory)?;
        let dir = holder.open_dir(leaf)?;
        let is_below = |name: &String| !layout::is_part(name);
        if self.layout == Layout::Fs && dir.dir_names()?.iter().any(is_below) {
            place.make_dir(doomed)?;
            let to = place.open_dir(doomed)?;
            // `cur` first: without it the mailbox is not there
            let mut taken = vec!["cur".to_owned(), "new".to_owned(), "tmp".to_owned()];
            dir.each_file(|_| true, |name| taken.push(name.to_owned()))?;
            for name in taken {
                match dir.rename_new(&name, &to, &name) {
                    Err(error) if error.is_not_found() => {}
                    other => other?,
                }
            }
            return dir.sync();
        }
        holder.rename_new(leaf, place, doomed)?;
        holder.sync()?;
        place.sync()
    }

    /// Renames a mailbox and all below it. From INBOX: its messages move to the new mailbox, INBOX stays (RFC 9051 §6.3.6).
    pub fn rename(self: &Arc<Account>, from: &MailboxName, to: &MailboxName) -> Result<()> {
        let _structure = self.structure.lock();
        let root = self.open_root()?;
        self.layout.allows(to)?;
        if to.is_inbox() || is_mailbox(&root, &self.directory_of(to)) {
            return Err(Error::AlreadyExists);
        }
        if from.is_inbox() {
            self.create_locked(&root, to)?;
            // the mailbox is there: what it lacks must not keep the messages from moving
            if let Err(error) = self.inherit_rights(to) {
                tracing::error!(mailbox = %to, %error, "a new mailbox lacks the rights of the one above");
            }
            if let Err(error) = metadata::copy(&root, &root.open_dir(&self.directory_of(to))?) {
                tracing::error!(mailbox = %to, %error, "a new mailbox lacks the annotations of INBOX");
            }
            let (inbox, target) = (self.open(from)?, self.open(to)?);
            let uids: Vec<u32> = inbox.snapshot().iter().map(|message| message.uid()).collect();
            let moved = inbox.move_to(&uids, &target, Gone::LeaveOut)?;
            return moved.error.map_or(Ok(()), Err);
        }
        if to.is_below(from) {
            return Err(Error::NotAllowed("a mailbox cannot be moved below itself"));
        }
        let mut pairs = Vec::new();
        for (name, directory) in self.layout.candidates(&root)? {
            if (name == *from || name.is_below(from)) && is_mailbox(&root, &directory) {
                let target = name.moved(from, to).map_err(|_| Error::NotAllowed("a mailbox below would get a name that is too long"))?;
                if is_mailbox(&root, &self.directory_of(&target)) {
                    return Err(Error::AlreadyExists);
                }
                pairs.push((name, target));
            }
        }
        if pairs.is_empty() {
            return Err(Error::NoSuchMailbox);
        }
        pairs.sort();
        match self.layout {
            Layout::MaildirPlusPlus => self.move_each(&root, &pairs)?,
            Layout::Fs => self.move_tree(&root, from, to, &pairs)?,
        }
        let rules = &self.store.settings.quota;
        if pairs.iter().any(|(name, target)| rules.ignores(name) != rules.ignores(target))
            && let Err(error) = quota::recount(&root, self.terms())
        {
            tracing::warn!(%error, "maildirsize is wrong until it is counted anew");
        }
        Ok(())
    }

    /// Gives each mailbox its new name; none when one cannot have it. Durable on return.
    fn move_each(&self, root: &Dir, pairs: &[(MailboxName, MailboxName)]) -> Result<()> {
        for (done, (name, target)) in pairs.iter().enumerate() {
            if let Err(error) = root.rename_new(&name.directory(), root, &target.directory()) {
                for (name, target) in &pairs[..done] {
                    let _ = root.rename_new(&target.directory(), root, &name.directory());
                }
                return Err(error);
            }
            self.forget(name);
        }
        root.sync()
    }

    /// The same where those below go along by themselves.
    fn move_tree(&self, root: &Dir, from: &MailboxName, to: &MailboxName, pairs: &[(MailboxName, MailboxName)]) -> Result<()> {
        let (old, new) = (self.directory_of(from), self.directory_of(to));
        self.layout.make_above(root, &new)?;
        let ((old_holder, old_leaf), (new_holder, new_leaf)) = (root.holder(&old)?, root.holder(&new)?);
        // a level above others has the name already
        if new_holder.stat(new_leaf)?.is_some() {
            return Err(Error::AlreadyExists);
        }
        old_holder.rename_new(old_leaf, &new_holder, new_leaf)?;
        pairs.iter().for_each(|(name, _)| self.forget(name));
        old_holder.sync()?;
        new_holder.sync()?;
        self.layout.clear_above(root, &old);
        Ok(())
    }

    /// Takes INBOX for one POP3 session; `Locked` when another has it, of whatever program. Blocking, but never waits.
    pub fn lock_session(&self) -> Result<SessionLock> {
        SessionLock::take(&self.open_root()?)
    }

    /// Names subscribed to, sorted; they need not exist.
    pub fn subscriptions(&self) -> Result<Vec<MailboxName>> {
        subscriptions::read(&self.open_root()?)
    }

    pub fn subscribe(&self, name: &MailboxName) -> Result<()> {
        subscriptions::change(&self.open_root()?, name, true).map(drop)
    }

    pub fn unsubscribe(&self, name: &MailboxName) -> Result<()> {
        subscriptions::change(&self.open_root()?, name, false).map(drop)
    }

    /// The mailbox's shared state, loaded from disk when nobody in this process has it open. `NoSuchMailbox`.
    pub fn open(self: &Arc<Account>, name: &MailboxName) -> Result<Arc<Mailbox>> {
        let mailbox = self.open_unkept(name)?;
        if let Some(recent) = self.store.recent() {
            recent.note(&mailbox);
        }
        Ok(mailbox)
    }

    /// As [`Account::open`], for a glance, which is no reason to keep this mailbox instead of another.
    fn open_unkept(self: &Arc<Account>, name: &MailboxName) -> Result<Arc<Mailbox>> {
        // held while loading: two states of one mailbox must never be
        let mut mailboxes = self.mailboxes.lock();
        if let Some(mailbox) = mailboxes.get(name).and_then(Weak::upgrade).filter(|mailbox| !mailbox.is_deleted()) {
            drop(mailboxes);
            if self.store.recent().is_some() {
                // who came back once comes back again: from here on a change costs what changed, not a look at everything
                mailbox.start_watching();
            }
            mailbox.look_again()?;
            return Ok(mailbox);
        }
        mailboxes.retain(|_, mailbox| mailbox.strong_count() > 0);
        let mailbox = Mailbox::load(self, name)?;
        mailboxes.insert(name.clone(), Arc::downgrade(&mailbox));
        Ok(mailbox)
    }

    /// Counts without opening a session; from memory when the mailbox is open or unchanged since the last time.
    pub fn status(self: &Arc<Account>, name: &MailboxName) -> Result<Status> {
        let open = self.mailboxes.lock().get(name).and_then(Weak::upgrade).filter(|mailbox| !mailbox.is_deleted());
        if let Some(mailbox) = open {
            mailbox.refresh()?;
            return Ok(count(&mailbox.snapshot()));
        }
        let stamps = || {
            let dir = self.open_root()?.open_dir(&self.directory_of(name))?;
            Ok::<_, Error>((dir.stamp("new")?, dir.stamp("cur")?, dir.stamp(uidlist::FILE)?, dir.stamp(changelog::FILE)?))
        };
        let known = self.counts.lock().get(name).copied();
        if let Some(known) = known
            && let Ok(found) = stamps()
            && found == (Some(known.new), Some(known.cur), Some(known.list), Some(known.log))
        {
            return Ok(known.status);
        }
        let before = SystemTime::now();
        let mailbox = self.open_unkept(name)?;
        let status = count(&mailbox.snapshot());
        let is_settled = |stamp: &Stamp| UNIX_EPOCH + Duration::from_secs(stamp.modified.0.max(0) as u64 + 1) < before;
        if mailbox.snapshot().has_modseqs()
            && let Ok((Some(new), Some(cur), Some(list), Some(log))) = stamps()
            && [new, cur, list, log].iter().all(is_settled)
        {
            let mut counts = self.counts.lock();
            if counts.len() >= MOST_REMEMBERED {
                counts.clear();
            }
            counts.insert(name.clone(), Counted { new, cur, list, log, status });
        }
        Ok(status)
    }

    /// Names a mailbox whatever it is called, see [`Mailbox::mailbox_id`]. Reads the first line of its uidlist only, where that is enough.
    pub fn mailbox_id(self: &Arc<Account>, name: &MailboxName) -> Result<String> {
        let dir = match self.open_root()?.open_dir(&self.directory_of(name)) {
            Err(error) if error.is_not_found() => return Err(Error::NoSuchMailbox),
            other => other?,
        };
        match uidlist::read_id(&dir)? {
            Some(id) => Ok(id),
            None => self.open_unkept(name)?.mailbox_id(),
        }
    }

    /// Waits until a mailbox that is being made, removed or renamed by this process is so.
    pub fn settle(&self) {
        drop(self.structure.lock());
    }

    /// Sets the limits of this account (from the user database; 0 = none). Appends and copies obey them from now on.
    pub fn set_quota_limits(&self, bytes: u64, messages: u64) {
        *self.limits.lock() = Limits { bytes, messages };
    }

    /// What the account uses, by `maildirsize` or counted anew.
    pub fn quota(&self) -> Result<Quota> {
        let terms = self.terms();
        let used = quota::usage(&self.open_root()?, terms)?;
        Ok(Quota {
            bytes: used.bytes.max(0) as u64,
            messages: used.messages.max(0) as u64,
            bytes_limit: terms.limits.bytes,
            messages_limit: terms.limits.messages,
        })
    }

    /// The limits of the account in bytes and messages (0: none). Does not block.
    pub fn quota_limits(&self) -> (u64, u64) {
        let limits = *self.limits.lock();
        (limits.bytes, limits.messages)
    }

    /// Counts what the account uses anew, whatever `maildirsize` says.
    pub fn recount_quota(&self) -> Result<Quota> {
        quota::recount(&self.open_root()?, self.terms())?;
        self.quota()
    }

    fn terms(&self) -> Terms<'_> {
        Terms { limits: *self.limits.lock(), rules: &self.store.settings.quota, layout: self.layout }
    }

    /// `OverQuota` when so much more would not fit into the mailbox. A `delivery` has grace.
    pub(crate) fn check_room(&self, name: &MailboxName, delivery: bool, bytes: u64, messages: u64) -> Result<()> {
        let terms = self.terms();
        let room = terms.rules.room(name, terms.limits, delivery);
        if room.limits.is_none() || terms.rules.ignores(name) {
            return Ok(());
        }
        quota::check(&self.open_root()?, terms, room, bytes, messages)
    }

    /// Takes room for what a client puts into the mailbox, or `OverQuota`.
    pub(crate) fn charge(&self, name: &MailboxName, bytes: u64, messages: u64) -> Result<()> {
        self.charge_in(&self.open_root()?, name, false, bytes, messages).map(drop)
    }

    /// As [`Account::charge`], with the root already open; returns what the account uses then, where that is counted.
    pub(crate) fn charge_in(
        &self,
        root: &Dir,
        name: &MailboxName,
        delivery: bool,
        bytes: u64,
        messages: u64,
    ) -> Result<Option<(u64, u64)>> {
        let terms = self.terms();
        if terms.rules.ignores(name) {
            return Ok(None);
        }
        let used = quota::charge(root, terms, terms.rules.room(name, terms.limits, delivery), bytes, messages)?;
        Ok(used.map(|used| (used.bytes.max(0) as u64, used.messages.max(0) as u64)))
    }

    /// Room for what moves here from another mailbox of the account. In sum that changes nothing, full or not; out of a mailbox
    /// that is not counted it is as if it were new.
    pub(crate) fn charge_move(&self, from: &MailboxName, to: &MailboxName, bytes: u64, messages: u64) -> Result<()> {
        let rules = &self.store.settings.quota;
        if rules.ignores(from) {
            return self.charge(to, bytes, messages);
        }
        if !rules.ignores(to)
            && let Err(error) = self.open_root().and_then(|root| quota::charge_always(&root, bytes, messages))
        {
            tracing::warn!(%error, "maildirsize is too low until it is counted anew");
        }
        Ok(())
    }

    /// Gives room back.
    pub(crate) fn release(&self, name: &MailboxName, bytes: u64, messages: u64) {
        if let Ok(root) = self.open_root() {
            self.release_in(&root, name, bytes, messages);
        }
    }

    pub(crate) fn release_in(&self, root: &Dir, name: &MailboxName, bytes: u64, messages: u64) {
        if !self.store.settings.quota.ignores(name) {
            quota::release(root, bytes, messages);
        }
    }

    /// Does something to mailboxes as wholes, while nobody else in this process does.
    pub(crate) fn restructure<T>(&self, work: impl FnOnce(&Dir) -> Result<T>) -> Result<T> {
        let _structure = self.structure.lock();
        work(&self.open_root()?)
    }

    /// A mailbox is no more under this name.
    pub(crate) fn forget(&self, name: &MailboxName) {
        self.counts.lock().remove(name);
        if let Some(mailbox) = self.mailboxes.lock().remove(name).and_then(|mailbox| mailbox.upgrade()) {
            mailbox.mark_deleted();
        }
    }
}

/// Makes the directory of a mailbox with everything in it, durable on return. `cur` comes last: without it the mailbox is not there.
pub(crate) fn make_mailbox(root: &Dir, layout: Layout, directory: &str) -> Result<()> {
    layout.make_above(root, directory)?;
    let (holder, leaf) = root.holder(directory)?;
    holder.make_dir(leaf)?;
    let dir = holder.open_dir(leaf)?;
    dir.make_dir("tmp")?;
    dir.make_dir("new")?;
    if layout == Layout::MaildirPlusPlus {
        match dir.create("maildirfolder") {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {}
            other => drop(other?),
        }
    }
    if dir.stat(uidlist::FILE)?.is_none() {
        let list = UidList::new(uidvalidity::next(root, 0)?);
        uidlist::replace(&dir, list.uid_validity, list.next_uid, &list.guid, "")?;
    }
    dir.make_dir("cur")?;
    dir.sync()?;
    holder.sync()
}

/// A directory with all that a mailbox has but its list, for what is put together or taken apart there.
pub(crate) fn prepare_inside(root: &Dir, directory: &str) -> Result<Dir> {
    root.make_dir(directory)?;
    let dir = root.open_dir(directory)?;
    for part in ["tmp", "new", "cur"] {
        dir.make_dir(part)?;
    }
    drop(dir.create("maildirfolder")?);
    Ok(dir)
}

/// A directory with `cur` in it is a mailbox; links are none.
pub(crate) fn is_mailbox(root: &Dir, directory: &str) -> bool {
    root.open_dir(directory)
        .is_ok_and(|dir| dir.stat("cur").is_ok_and(|stat| stat.is_some_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFDIR)))
}

/// Bytes and messages in a mailbox, by the names of its files.
fn mailbox_usage(root: &Dir, directory: &str) -> Result<(u64, u64)> {
    let mut used = (0, 0);
    for part in ["new", "cur"] {
        let (bytes, messages) = quota::weigh(&root.open_dir(&format!("{directory}/{part}"))?)?;
        used = (used.0 + bytes, used.1 + messages);
    }
    Ok(used)
}

fn count(snapshot: &Snapshot) -> Status {
    let mut status = Status {
        messages: snapshot.len() as u32,
        uid_next: snapshot.uid_next(),
        uid_validity: snapshot.uid_validity(),
        highest_modseq: if snapshot.has_modseqs() { snapshot.highest_modseq() } else { 0 },
        ..Status::default()
    };
    for message in snapshot.iter() {
        status.recent += u32::from(message.in_new);
        status.unseen += u32::from(!message.flags().contains(Flags::SEEN));
        status.deleted += u32::from(message.flags().contains(Flags::DELETED));
    }
    status
}
