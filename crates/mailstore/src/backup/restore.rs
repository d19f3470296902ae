//! A mailbox comes back from a backup: put together out of sight (see `place`), durable, and then shown at once.
//!
//! An INBOX is the root itself and cannot be exchanged as a whole. What takes its place is put together in a directory that then gets the name
//! `..inbox`: from there on it is carried into the root, after a crash by who opens or restores next. Its file `replaced` has what goes, a line
//! each: names of messages up to their flags, and behind a colon other files. As long as its list of UIDs lies in `..inbox` what goes may not be
//! gone yet; afterwards nothing but messages that come is left to do.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::place::{Place, settle_all};
use super::{SMALL_BYTES, SMALL_FILES};
use crate::account::{Account, is_mailbox};
use crate::dir::Dir;
use crate::error::{Error, Result};
use crate::layout::{Layout, is_part};
use crate::mailbox::is_message_name;
use crate::name::MailboxName;
use crate::store::Store;
use crate::uidlist::{self, UidList};
use crate::{cache, changelog, index, keywords, lock, quota, uidvalidity};

/// Longest list of UIDs.
pub(super) const LIST_BYTES: u64 = 1 << 30;

/// How long a running command is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// UIDs that may have been given since the backup was made, where nothing tells how many were.
const UNKNOWN_UIDS: u32 = 1 << 20;

/// UIDs that are left for mail that comes.
const ROOM: u32 = 1 << 24;

/// The INBOX that is being put in the place of the one there.
const COMING: &str = "..inbox";

/// What it replaces.
const REPLACED: &str = "replaced";

/// A mailbox that is put together out of sight, and shown when it is complete. Dropped before, nothing of it stays.
pub struct Restoring {
    account: Arc<Account>,
    name: MailboxName,
    place: Place,
    dir: Dir,
    list: UidList,
    /// The list is ours: nobody ever knew a UID of it.
    is_new: bool,
    /// Base names of messages.
    files: HashSet<String>,
}

impl Account {
    /// Begins to restore a mailbox. `list` is its list of UIDs as [`super::Dump`] or Dovecot has it; `NotAllowed` when it cannot be read. Blocking.
    pub fn restore(self: &Arc<Account>, name: &MailboxName, list: impl Read) -> Result<Restoring> {
        let mut text = Vec::new();
        list.take(LIST_BYTES).read_to_end(&mut text).map_err(|e| Error::io("read", uidlist::FILE, e))?;
        let list = uidlist::parse(&text).ok_or(Error::NotAllowed("the list of UIDs in the backup cannot be read"))?;
        if list.uid_validity > u32::MAX - ROOM {
            return Err(Error::NotAllowed("the UIDVALIDITY in the backup leaves none for other mailboxes"));
        }
        self.begin(name, list, false)
    }

    /// The same where there is no list of UIDs: the messages get new ones. Blocking.
    pub fn restore_without_list(self: &Arc<Account>, name: &MailboxName) -> Result<Restoring> {
        self.begin(name, UidList::new(uidvalidity::next(&self.open_root()?, 0)?), true)
    }

    fn begin(self: &Arc<Account>, name: &MailboxName, list: UidList, is_new: bool) -> Result<Restoring> {
        self.layout().allows(name)?;
        let (place, dir) = Place::make(self.store(), &self.open_root()?)?;
        Ok(Restoring { account: self.clone(), name: name.clone(), place, dir, list, is_new, files: HashSet::new() })
    }
}

impl Restoring {
    /// A small file of the mailbox; one that is not known is left out. `Limit` when it is not small. Blocking.
    pub fn file(&mut self, name: &str, bytes: impl Read) -> Result<()> {
        if let Some(known) = small_files().find(|known| *known == name)
            && write(&self.dir, known, bytes.take(SMALL_BYTES + 1), None)? > SMALL_BYTES
        {
            return Err(Error::Limit("a file of the mailbox is too large"));
        }
        Ok(())
    }

    /// The file of a message, in `new/` or in `cur/`. Blocking.
    pub fn message(&mut self, in_new: bool, name: &str, bytes: impl Read, modified: SystemTime) -> Result<()> {
        if name.contains('/') || !is_message_name(name) {
            return Err(Error::NotAllowed("a file in the backup has a name that no message has"));
        }
        let dir = self.dir.open_dir(if in_new { "new" } else { "cur" })?;
        write(&dir, name, bytes, Some(modified))?;
        self.files.insert(base(name).to_owned());
        Ok(())
    }

    /// Shows the mailbox, durable on return, and returns how many messages it has. A mailbox of that name that holds messages stays as it is,
    /// `AlreadyExists`, unless it is to be replaced; what comes into it meanwhile is kept. The quota does not hold: what was there is put back.
    /// Blocking.
    pub fn finish(mut self, replace: bool) -> Result<usize> {
        let messages = self.files.len();
        // everything that was written, in one go
        nix::unistd::syncfs(&self.dir).map_err(|e| Error::io("sync", self.dir.path(), e))?;
        let (account, name) = (self.account.clone(), self.name.clone());
        account.restructure(|root| {
            go_on(account.store(), root, PATIENCE)?;
            let directory = account.directory_of(&name);
            if is_mailbox(root, &directory) && !replace && !account.open(&name)?.snapshot().is_empty() {
                return Err(Error::AlreadyExists);
            }
            if name.is_inbox() { self.show_inbox(root, replace) } else { self.show(root, &directory, replace) }
        })?;
        account.forget(&self.name);
        account.recount_quota()?;
        Ok(messages)
    }

    /// UIDs that were given since the backup was made are not given to others: clients may know them. `old` is the mailbox that is there, locked,
    /// so that none are given from here on.
    fn pass_given_uids(&mut self, root: &Dir, old: Option<&Dir>) -> Result<()> {
        let list = &mut self.list;
        let given = old.map(|old| uidlist::read(old, None, true)).transpose()?;
        if self.is_new {
            if let Some(uidlist::Found::Whole(now, _)) = given
                && now.uid_validity >= list.uid_validity
            {
                list.uid_validity = uidvalidity::next(root, now.uid_validity.saturating_add(1))?;
            }
            return Ok(());
        }
        let next = match given {
            Some(uidlist::Found::Whole(now, _)) if (now.uid_validity, &now.guid) == (list.uid_validity, &list.guid) => {
                list.next_uid.max(now.next_uid)
            }
            // that mailbox is gone, and with it how far it was
            _ => list.next_uid.saturating_add(UNKNOWN_UIDS),
        };
        if next < u32::MAX - ROOM {
            list.next_uid = next;
            // numbers given from now on are above the one that comes back
            return uidvalidity::next(root, list.uid_validity).map(drop);
        }
        tracing::warn!(mailbox = %self.name, "there is no room above the UIDs in the backup: its messages get others");
        (list.uid_validity, list.next_uid) = (uidvalidity::next(root, list.uid_validity + 1)?, 1);
        list.lines.clear();
        Ok(())
    }

    /// Lines whose file is not there go; files that have no line get UIDs when somebody looks.
    fn write_list(&mut self) -> Result<()> {
        let mut body = String::new();
        self.list.lines.retain(|line| self.files.contains(&*line.base));
        for line in &self.list.lines {
            uidlist::write_line(&mut body, line.uid, &line.fields, &line.base);
        }
        uidlist::replace(&self.dir, self.list.uid_validity, self.list.next_uid, &self.list.guid, &body).map(drop)
    }

    fn show(&mut self, root: &Dir, directory: &str, replace: bool) -> Result<()> {
        let layout = self.account.layout();
        layout.make_above(root, directory)?;
        let (holder, leaf) = root.holder(directory)?;
        // where mailboxes lie in each other, those below would be lost with it
        if layout == Layout::Fs && holder.stat(leaf)?.is_some() && holder.open_dir(leaf)?.dir_names()?.iter().any(|name| !is_part(name)) {
            return Err(Error::NotAllowed("mailboxes lie below this one, so it cannot be replaced as a whole"));
        }
        let old = if is_mailbox(root, directory) { Some(holder.open_dir(leaf)?) } else { None };
        let lock = old.as_ref().map(|old| lock::lock(old, uidlist::LOCK, PATIENCE)).transpose()?;
        self.pass_given_uids(root, old.as_ref())?;
        self.write_list()?;
        let replaced = match &old {
            Some(old) if replace => bases(old)?,
            _ => HashSet::new(),
        };
        self.place.show(directory, old.is_some(), &replaced)?;
        self.place.settle()?;
        drop(lock);
        Ok(())
    }

    /// Under the lock that every program needs to give UIDs.
    fn show_inbox(&mut self, root: &Dir, replace: bool) -> Result<()> {
        let _lock = lock::lock(root, uidlist::LOCK, PATIENCE)?;
        self.prepare_inbox(root, replace)?;
        carry_inbox(self.account.store(), root)
    }

    /// From here on the INBOX is the one that comes, whatever happens.
    fn prepare_inbox(&mut self, root: &Dir, replace: bool) -> Result<()> {
        self.pass_given_uids(root, Some(root))?;
        self.write_list()?;
        let mut replaced: Vec<String> = if replace { bases(root)?.into_iter().collect() } else { Vec::new() };
        for name in small_files() {
            if !self.dir.is_file(name)? {
                replaced.push(format!(":{name}"));
            }
        }
        self.dir.replace(REPLACED, "replaced.tmp", replaced.join("\n").as_bytes())?;
        let (place, mailbox) = self.place.mailbox();
        place.rename_new(mailbox, root, COMING)?;
        root.sync()
    }
}

/// Carries on what a crash, or an error, left half done. Where somebody has the uidlist of INBOX locked for longer than `patience`, who may be
/// at it, it is `Locked`. Blocking.
pub(crate) fn go_on(store: &Store, root: &Dir, patience: Duration) -> Result<()> {
    settle_all(store, root)?;
    if root.stat(COMING)?.is_none() {
        return Ok(());
    }
    let _lock = lock::lock(root, uidlist::LOCK, patience)?;
    if root.stat(COMING)?.is_none() {
        return Ok(());
    }
    tracing::warn!(path = %root.path().display(), "an INBOX is half restored, this goes on");
    carry_inbox(store, root)
}

/// Each step can be repeated. The uidlist is locked.
fn carry_inbox(store: &Store, root: &Dir) -> Result<()> {
    let coming = root.open_dir(COMING)?;
    if coming.is_file(uidlist::FILE)? {
        let replaced = coming.read_small(REPLACED, LIST_BYTES)?.unwrap_or_default();
        let replaced = String::from_utf8_lossy(&replaced);
        let replaced: HashSet<&str> = replaced.lines().collect();
        for part in ["new", "cur"] {
            let dir = root.open_dir(part)?;
            for name in dir.names()?.iter().filter(|name| is_message_name(name) && replaced.contains(base(name))) {
                dir.unlink(name)?;
            }
        }
        for name in [changelog::FILE, cache::FACTS.file, cache::SIGNATURES.file, index::FILE] {
            root.unlink(name)?;
        }
        for name in small_files() {
            if coming.is_file(name)? {
                coming.rename(name, root, name)?;
            } else if replaced.contains(&*format!(":{name}")) {
                root.unlink(name)?;
            }
        }
        // none of the messages that come may be taken for one that goes
        for dir in [&root.open_dir("new")?, &root.open_dir("cur")?, root] {
            dir.sync()?;
        }
        coming.rename(uidlist::FILE, root, uidlist::FILE)?;
        coming.sync()?;
        root.sync()?;
    }
    let numbers: HashMap<Box<str>, u32> = match uidlist::read(root, None, true)? {
        uidlist::Found::Whole(list, _) => list.lines.into_iter().map(|line| (line.base, line.uid)).collect(),
        _ => HashMap::new(),
    };
    let mut files = Vec::new();
    for part in ["new", "cur"] {
        match coming.open_dir(part) {
            // all of it is carried, and it was being removed
            Err(error) if error.is_not_found() => {}
            dir => files.extend(dir?.names()?.into_iter().map(|name| (part, name))),
        }
    }
    // sessions see them come in the order of their UIDs
    files.sort_by_key(|(_, name)| numbers.get(base(name)).copied().unwrap_or(u32::MAX));
    for (part, name) in files {
        put(store, &coming.open_dir(part)?, &name, &root.open_dir(part)?)?;
    }
    for dir in [&root.open_dir("new")?, &root.open_dir("cur")?] {
        dir.sync()?;
    }
    quota::forget(root)?;
    root.remove_tree(COMING)
}

/// Moves the file of a message; where another has its name it gets one of its own.
pub(super) fn put(store: &Store, from: &Dir, name: &str, to: &Dir) -> Result<()> {
    match from.rename_new(name, to, name) {
        Err(error) if error.is_taken() => {
            let flags = name.strip_prefix(base(name)).unwrap_or("");
            from.rename_new(name, to, &format!("{}{flags}", store.unique_name()))
        }
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

fn write(dir: &Dir, name: &str, mut bytes: impl Read, modified: Option<SystemTime>) -> Result<u64> {
    let mut file = dir.create(name)?;
    let written = std::io::copy(&mut bytes, &mut file)
        .and_then(|length| modified.map_or(Ok(()), |modified| file.set_modified(modified)).map(|()| length));
    written.map_err(|e| Error::io("write", dir.at(name), e))
}

fn small_files() -> impl Iterator<Item = &'static str> {
    SMALL_FILES.into_iter().chain([keywords::FILE])
}

/// The messages in a mailbox.
fn bases(dir: &Dir) -> Result<HashSet<String>> {
    let mut found = HashSet::new();
    for part in ["new", "cur"] {
        let names = dir.open_dir(part)?.names()?;
        found.extend(names.iter().filter(|name| is_message_name(name)).map(|name| base(name).to_owned()));
    }
    Ok(found)
}

pub(super) fn base(name: &str) -> &str {
    name.split(':').next().unwrap_or(name)
}
