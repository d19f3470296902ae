//! Mailboxes on their way to a backup and back: whole, with UIDVALIDITY, UIDs, flags and keywords, in the files they have here, so that a
//! backup that lies in a folder is a Maildir that Dovecot can serve as well.
//!
//! Not part of it: `facteur.log`, `facteur.cache`, `facteur.index` and `maildirsize`, which are made anew. MODSEQs begin anew, so clients with CONDSTORE ask for all flags once.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::SystemTime;

use crate::account::{Account, is_mailbox, prepare_inside};
use crate::dir::Dir;
use crate::error::{Error, Result};
use crate::flags::Keywords;
use crate::layout::{Layout, is_part};
use crate::mailbox::{Mailbox, State};
use crate::name::MailboxName;
use crate::snapshot::{Message, Snapshot, file_name};
use crate::uidlist::{self, UidList};
use crate::{acl, cache, changelog, index, keywords, lock, metadata, uidvalidity};

/// Small files that belong to a mailbox, as they are.
const SMALL_FILES: [&str; 2] = [acl::FILE, metadata::OF_MAILBOX];

/// Longest of these, and of a list of keywords.
const SMALL_BYTES: u64 = 64 << 20;

/// Longest list of UIDs.
const LIST_BYTES: u64 = 1 << 30;

/// How long a running command is waited for.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// A mailbox at one moment. The messages are read one by one with [`Mailbox::raw`].
pub struct Dump {
    /// Files by name: the list of UIDs, which comes first, that of keywords, and what else belongs to the mailbox.
    pub files: Vec<(&'static str, Vec<u8>)>,
    snapshot: Arc<Snapshot>,
}

impl Dump {
    /// The messages by rising UID, with the names of their files: `cur/NAME`, `new/NAME`.
    pub fn messages(&self) -> impl Iterator<Item = (&Message, String)> {
        // by their flags: a file that is still to be renamed has the letters of yesterday
        let name = |message: &Message| file_name(message.base_name(), message.info, message.in_new);
        self.snapshot.iter().map(move |message| (message, format!("{}/{}", if message.in_new { "new" } else { "cur" }, name(message))))
    }
}

impl Mailbox {
    /// All of the mailbox but its messages. Blocking.
    pub fn dump(&self) -> Result<Dump> {
        // it has a GUID from here on
        self.mailbox_id()?;
        self.with_state(|state, dir| {
            let snapshot = Arc::new(state.snapshot.clone());
            let mut files = vec![(uidlist::FILE, list_of(state, &snapshot).into_bytes())];
            let names = keywords_of(&snapshot.keywords);
            if !names.is_empty() {
                files.push((keywords::FILE, names.into_bytes()));
            }
            for name in SMALL_FILES {
                if let Some(bytes) = dir.read_small(name, SMALL_BYTES)? {
                    files.push((name, bytes));
                }
            }
            Ok(Dump { files, snapshot })
        })
    }

    /// The file of a message as it lies on the disk, its size and its time, which is when the message came. `Expunged`. Blocking.
    pub fn raw(&self, uid: u32) -> Result<(File, u64, SystemTime)> {
        self.with_file(uid, |dir, name, _| {
            let file = dir.open_file(name)?;
            let metadata = file.metadata().map_err(|e| Error::io("stat", dir.at(name), e))?;
            let modified = metadata.modified().map_err(|e| Error::io("stat", dir.at(name), e))?;
            Ok((file, metadata.len(), modified))
        })
    }
}

fn list_of(state: &State, snapshot: &Snapshot) -> String {
    let mut out = format!("3 V{} N{} G{}\n", snapshot.uid_validity, snapshot.uid_next, state.guid);
    for message in snapshot.iter() {
        let fields = state.fields.get(&message.uid()).map_or("", |fields| fields);
        uidlist::write_line(&mut out, message.uid(), fields, message.base_name());
    }
    out
}

fn keywords_of(keywords: &Keywords) -> String {
    let slots = keywords.slots().iter().enumerate();
    slots.filter_map(|(index, name)| name.as_ref().map(|name| format!("{index} {name}\n"))).collect()
}

/// A mailbox that is put together out of sight, and shown when it is complete. Dropped before, nothing of it stays.
pub struct Restoring {
    account: Arc<Account>,
    name: MailboxName,
    root: Dir,
    /// Where it is put together: a directory that begins with two dots, which no mailbox does.
    place: String,
    dir: Dir,
    list: UidList,
    /// Files by base name with where they are.
    files: std::collections::HashMap<String, (bool, String)>,
    bytes: u64,
}

impl Account {
    /// Begins to restore a mailbox. `list` is its list of UIDs as [`Dump`] or Dovecot has it; `NotAllowed` when it cannot be read. Blocking.
    pub fn restore(self: &Arc<Account>, name: &MailboxName, list: impl Read) -> Result<Restoring> {
        let mut text = Vec::new();
        list.take(LIST_BYTES).read_to_end(&mut text).map_err(|e| Error::io("read", uidlist::FILE, e))?;
        let list = uidlist::parse(&text).ok_or(Error::NotAllowed("the list of UIDs in the backup cannot be read"))?;
        let root = self.open_root()?;
        self.layout().allows(name)?;
        let place = format!("..restored.{}", self.store().unique_name());
        let dir = prepare_inside(&root, &place)?;
        Ok(Restoring { account: self.clone(), name: name.clone(), root, place, dir, list, files: Default::default(), bytes: 0 })
    }
}

impl Restoring {
    /// A small file of the mailbox; one that is not known is left out. Blocking.
    pub fn file(&mut self, name: &str, bytes: impl Read) -> Result<()> {
        if let Some(known) = SMALL_FILES.into_iter().chain([keywords::FILE]).find(|known| *known == name) {
            self.write(&self.dir.clone(), known, bytes, None)?;
        }
        Ok(())
    }

    /// The file of a message, in `new/` or in `cur/`. Blocking.
    pub fn message(&mut self, in_new: bool, name: &str, bytes: impl Read, modified: SystemTime) -> Result<()> {
        if name.contains('/') || !crate::mailbox::is_message_name(name) {
            return Err(Error::NotAllowed("a file in the backup has a name that no message has"));
        }
        let dir = self.dir.open_dir(if in_new { "new" } else { "cur" })?;
        self.bytes += self.write(&dir, name, bytes, Some(modified))?;
        let base = name.split(':').next().unwrap_or(name).to_owned();
        self.files.insert(base, (in_new, name.to_owned()));
        Ok(())
    }

    fn write(&self, dir: &Dir, name: &str, mut bytes: impl Read, modified: Option<SystemTime>) -> Result<u64> {
        let mut file = dir.create(name)?;
        let written = std::io::copy(&mut bytes, &mut file)
            .and_then(|length| modified.map_or(Ok(()), |modified| file.set_modified(modified)).map(|()| length));
        written.map_err(|e| Error::io("write", dir.at(name), e))
    }

    /// Shows the mailbox, durable on return, and returns how many messages it has. A mailbox of that name that holds messages stays as it is,
    /// `AlreadyExists`, unless it is to be replaced. The quota does not hold: what was there is put back. Blocking.
    pub fn finish(mut self, replace: bool) -> Result<usize> {
        let messages = self.files.len();
        self.pass_known_uids()?;
        self.write_list()?;
        // everything that was written, in one go
        nix::unistd::syncfs(&self.dir).map_err(|e| Error::io("sync", self.dir.path(), e))?;
        let (account, name) = (self.account.clone(), self.name.clone());
        account.restructure(|root| {
            let directory = account.directory_of(&name);
            if is_mailbox(root, &directory) && !replace && !account.open(&name)?.snapshot().is_empty() {
                return Err(Error::AlreadyExists);
            }
            // numbers given from now on are above the one that comes back
            uidvalidity::next(root, self.list.uid_validity)?;
            if name.is_inbox() { self.show_inbox(root) } else { self.show(root, &directory) }
        })?;
        account.forget(&self.name);
        account.recount_quota()?;
        Ok(messages)
    }

    /// UIDs that were given since the backup was made are not given to others: clients may know them.
    fn pass_known_uids(&mut self) -> Result<()> {
        match self.account.status(&self.name) {
            Ok(now) if now.uid_validity == self.list.uid_validity => self.list.next_uid = self.list.next_uid.max(now.uid_next),
            Ok(_) | Err(Error::NoSuchMailbox) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Lines whose file is not there go; files that have no line get UIDs when somebody looks.
    fn write_list(&mut self) -> Result<()> {
        let mut body = String::new();
        self.list.lines.retain(|line| self.files.contains_key(&*line.base));
        for line in &self.list.lines {
            uidlist::write_line(&mut body, line.uid, &line.fields, &line.base);
        }
        uidlist::replace(&self.dir, self.list.uid_validity, self.list.next_uid, &self.list.guid, &body).map(drop)
    }

    fn show(&mut self, root: &Dir, directory: &str) -> Result<()> {
        let doomed = format!("..deleted.{}", self.account.store().unique_name());
        let had = is_mailbox(root, directory);
        let layout = self.account.layout();
        layout.make_above(root, directory)?;
        let (holder, leaf) = root.holder(directory)?;
        // where mailboxes lie in each other, those below would be lost with it
        if layout == Layout::Fs && holder.stat(leaf)?.is_some() && holder.open_dir(leaf)?.dir_names()?.iter().any(|name| !is_part(name)) {
            return Err(Error::NotAllowed("mailboxes lie below this one, so it cannot be replaced as a whole"));
        }
        if had {
            holder.rename_new(leaf, root, &doomed)?;
        }
        let shown = root.rename_new(&self.place, &holder, leaf);
        if shown.is_err() && had {
            root.rename_new(&doomed, &holder, leaf)?;
        }
        shown?;
        holder.sync()?;
        root.sync()?;
        if had { root.remove_tree(&doomed) } else { Ok(()) }
    }

    /// INBOX is the root itself: its files change places one by one, by rising UID, under the lock that every program needs to give UIDs.
    fn show_inbox(&mut self, root: &Dir) -> Result<()> {
        let _lock = lock::lock(root, uidlist::LOCK, PATIENCE)?;
        let doomed = format!("..deleted.{}", self.account.store().unique_name());
        let old = prepare_inside(root, &doomed)?;
        for part in ["new", "cur"] {
            let (from, to) = (root.open_dir(part)?, old.open_dir(part)?);
            for name in from.names()?.into_iter().filter(|name| crate::mailbox::is_message_name(name)) {
                from.rename(&name, &to, &name)?;
            }
        }
        for name in [changelog::FILE, cache::FILE, index::FILE] {
            root.unlink(name)?;
        }
        for name in SMALL_FILES.into_iter().chain([keywords::FILE]) {
            match self.dir.is_file(name)? {
                true => self.dir.rename(name, root, name)?,
                false => drop(root.unlink(name)?),
            }
        }
        self.dir.rename(uidlist::FILE, root, uidlist::FILE)?;
        let listed: Vec<String> = self.list.lines.iter().map(|line| line.base.to_string()).collect();
        let first: Vec<(bool, String)> = listed.iter().filter_map(|base| self.files.remove(base)).collect();
        for (in_new, name) in first.into_iter().chain(std::mem::take(&mut self.files).into_values()) {
            let part = if in_new { "new" } else { "cur" };
            self.dir.open_dir(part)?.rename_new(&name, &root.open_dir(part)?, &name)?;
        }
        for dir in [&root.open_dir("new")?, &root.open_dir("cur")?, root] {
            dir.sync()?;
        }
        root.remove_tree(&doomed)
    }
}

impl Drop for Restoring {
    fn drop(&mut self) {
        // of INBOX the empty folder, of one that was given up all
        if let Ok(Some(_)) = self.root.stat(&self.place)
            && let Err(error) = self.root.remove_tree(&self.place)
        {
            tracing::warn!(%error, "what was restored for nothing stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FlagSet, Flags, Location, Settings, Store};

    struct World {
        _temp: tempfile::TempDir,
        account: Arc<Account>,
        other: Arc<Account>,
    }

    fn world() -> World {
        let temp = tempfile::tempdir().expect("folder");
        let store = Store::new(Settings::default());
        let account = |name: &str| store.account(&Location::maildir(temp.path().join(name)).expect("location")).expect("account");
        World { account: account("a"), other: account("b"), _temp: temp }
    }

    fn name(text: &str) -> MailboxName {
        MailboxName::parse(text).expect(text)
    }

    fn fill(account: &Arc<Account>, mailbox: &str) -> Arc<Mailbox> {
        let name = name(mailbox);
        if !name.is_inbox() {
            account.create(&name).expect("made");
        }
        let mailbox = account.open(&name).expect("there");
        for n in 0..4 {
            let mut incoming = mailbox.incoming(0).expect("room");
            incoming.write(format!("Subject: {n}\n\nx\n").as_bytes()).expect("written");
            let keywords = if n == 2 { vec!["$Work".to_owned()] } else { Vec::new() };
            let flags = if n == 1 { Flags::SEEN } else { Flags::NONE };
            incoming.describe(FlagSet { flags, keywords }, Some(1_700_000_000 + n));
            mailbox.append(vec![incoming]).expect("filed");
        }
        mailbox.expunge(&[1]).expect("removed");
        mailbox
    }

    /// All that a client can see.
    fn seen(mailbox: &Arc<Mailbox>) -> Vec<String> {
        let snapshot = mailbox.snapshot();
        let line = |message: &Message| {
            let keywords: Vec<&str> = snapshot.keywords.names(message.keywords()).collect();
            let date = mailbox.internal_date(message).expect("date");
            let text = mailbox.read(message.uid()).expect("file").read_all().expect("text");
            let text = String::from_utf8_lossy(&text).into_owned();
            format!("{} {:?} {keywords:?} {} {date} {} {text}", message.uid(), message.flags(), message.in_new, message.guid())
        };
        let head = format!("{} {} {}", snapshot.uid_validity(), snapshot.uid_next(), mailbox.mailbox_id().expect("id"));
        std::iter::once(head).chain(snapshot.iter().map(line)).collect()
    }

    fn carry(from: &Arc<Mailbox>, to: &Arc<Account>, name: &MailboxName, replace: bool) -> Result<usize> {
        let dump = from.dump()?;
        let mut restoring = to.restore(name, &dump.files[0].1[..])?;
        for (file, bytes) in &dump.files[1..] {
            restoring.file(file, &bytes[..])?;
        }
        for (message, path) in dump.messages() {
            let (file, _, modified) = from.raw(message.uid())?;
            let (part, file_name) = path.split_once('/').expect("a part");
            restoring.message(part == "new", file_name, file, modified)?;
        }
        restoring.finish(replace)
    }

    #[test]
    fn a_mailbox_comes_back_with_everything_that_clients_know_of_it() {
        let world = world();
        for mailbox in ["Box.Été", "INBOX"] {
            let from = fill(&world.account, mailbox);
            assert_eq!(carry(&from, &world.other, from.name(), false).expect("restored"), 3);
            let back = world.other.open(from.name()).expect("there");
            assert_eq!(seen(&back), seen(&from), "{mailbox}");
            // and goes on from there
            let mut incoming = back.incoming(0).expect("room");
            incoming.write(b"x").expect("written");
            assert_eq!(back.append(vec![incoming]).expect("filed").uids, [5]);
        }
        let hidden = world.other.open_root().expect("root").names().expect("names");
        assert!(hidden.iter().all(|name| !name.starts_with("..")), "{hidden:?}");
    }

    #[test]
    fn messages_that_are_there_are_replaced_only_when_that_is_wanted() {
        let world = world();
        for mailbox in ["Box", "INBOX"] {
            let (from, old) = (fill(&world.account, mailbox), fill(&world.other, mailbox));
            let before = seen(&old);
            assert!(matches!(carry(&from, &world.other, from.name(), false), Err(Error::AlreadyExists)));
            assert_eq!(seen(&old), before);
            carry(&from, &world.other, from.name(), true).expect("restored");
            assert_eq!(seen(&world.other.open(from.name()).expect("there")), seen(&from), "{mailbox}");
        }
    }

    #[test]
    fn where_mailboxes_lie_in_each_other_none_is_lost_with_the_one_above() {
        let world = world();
        let from = fill(&world.account, "Box");
        let temp = tempfile::tempdir().expect("folder");
        let place = format!("maildir:{}/fs:LAYOUT=fs", temp.path().display());
        let account = Store::new(Settings::default()).account(&Location::expand(&place, "ann", None).expect("location")).expect("account");
        carry(&from, &account, &name("A.B"), false).expect("restored");
        assert_eq!(seen(&account.open(&name("A.B")).expect("there")), seen(&from));
        assert!(temp.path().join("fs/A/B/cur").is_dir());
        for replace in [false, true] {
            assert!(matches!(carry(&from, &account, &name("A"), replace), Err(Error::NotAllowed(_))));
        }
        assert!(matches!(carry(&from, &account, &name("A.cur"), false), Err(Error::NotAllowed(_))));
        carry(&from, &account, &name("A.B"), true).expect("replaced");
        assert_eq!(seen(&account.open(&name("A.B")).expect("there")), seen(&from));
    }

    #[test]
    fn uids_given_since_the_backup_are_not_given_again() {
        let world = world();
        for mailbox in ["Box", "INBOX"] {
            let from = fill(&world.account, mailbox);
            let dump = from.dump().expect("dump");
            let mut incoming = from.incoming(0).expect("room");
            incoming.write(b"x").expect("written");
            assert_eq!(from.append(vec![incoming]).expect("filed").uids, [5]);
            let restoring = world.account.restore(from.name(), &dump.files[0].1[..]).expect("begins");
            restoring.finish(true).expect("restored");
            drop(from);
            assert_eq!(world.account.open(&name(mailbox)).expect("there").snapshot().uid_next(), 6, "{mailbox}");
        }
    }

    /// A session that has INBOX open hears of it: by its UIDVALIDITY, as all it knew is void.
    #[test]
    fn an_open_inbox_follows_what_is_restored_by_another_process() {
        let world = world();
        // made in the same second both would have the same one
        std::fs::write(world.other.root().join(uidlist::FILE), "3 V1234567 N1 G3085f01b7f11094c501100008c4a11c1\n").expect("list");
        let (from, open) = (fill(&world.account, "INBOX"), fill(&world.other, "INBOX"));
        // two stores are two processes
        let other = Store::new(Settings::default());
        let account = other.account(&Location::maildir(world.other.root()).expect("location")).expect("account");
        carry(&from, &account, &MailboxName::inbox(), true).expect("restored");
        open.refresh().expect("looks");
        assert_eq!(seen(&open), seen(&from));
    }

    #[test]
    fn a_backup_with_names_that_lead_elsewhere_is_refused() {
        let world = world();
        let list = b"3 V1 N5 G3085f01b7f11094c501100008c4a11c1\n";
        let mut restoring = world.other.restore(&name("Box"), &list[..]).expect("begins");
        for file in ["../x", "a/b", ".hidden", "", "a\nb"] {
            assert!(restoring.message(false, file, &b"x"[..], SystemTime::now()).is_err(), "{file:?}");
        }
        restoring.file("../../evil", &b"x"[..]).expect("left out");
        drop(restoring);
        assert!(world.other.restore(&name("Box"), &b"no list"[..]).is_err());
        let names = world.other.open_root().expect("root").names().expect("names");
        assert!(names.iter().all(|name| !name.starts_with("..")), "{names:?}");
    }
}
