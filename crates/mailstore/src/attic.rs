//! The attic: where removed messages are kept for a while, when the settings want that (lazy expunge). Out of sight of clients, not in the quota,
//! and not in backups.
//!
//! ```text
//! facteur.expunged/                      tmp/facteur.expunged/ with LAYOUT=fs
//!   swept                                when it was last swept, and bytes in it: `1795392000 52345`
//!   1795392000/                          what was removed on the day that begins then (seconds since 1970)
//!     cur/ .Sent/cur/ .A.B/cur/
//!   1795421234.M1P2Q3.host/              a mailbox that was deleted then, whole
//!     .A.B/cur/ .A.B/new/ .A.B/dovecot-uidlist …
//!   gone/                                boxes that are being removed
//! ```
//! A message that is removed is renamed into `cur` of the mailbox of its name in today's box, with its flags; a mailbox that is deleted goes as a whole, by
//! one rename. So a message is in one place or in the other, and removing costs no more than it did. Each box is an account of its own in a Maildir++
//! tree, whatever the layout around it: it can be opened, searched and moved from as any other. When a message was removed is told by the change time of its file, or
//! by the box.
//!
//! Dovecot shows each directory in a tree of `LAYOUT=fs` as a mailbox, whatever its name, but for `cur`, `new` and `tmp`; from there it clears files only.
//!
//! A box goes when its last message has been kept long enough: it is renamed into `gone`, where it is no box any more, and from there its files go, a
//! bounded number at a time. Whoever opens the account or removes messages looks for old boxes once in an hour, and takes some files out of `gone`.
//! When the attic is full, or the disk, older boxes go first; what still has no room then is removed at once, as without an attic: somebody who deletes
//! wants room. Any other failure keeps the message in its mailbox, and the operator is told.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::account::{Account, is_mailbox};
use crate::dir::Dir;
use crate::error::{Error, Result};
use crate::flags::{Info, KeywordBits, Keywords};
use crate::keywords;
use crate::layout::Layout;
use crate::location::Location;
use crate::mailbox::Mailbox;
use crate::name::MailboxName;
use crate::quota;
use crate::snapshot::{Message, file_name};
use crate::store::Store;
use crate::{cache, changelog, index};

const SWEPT: &str = "swept";
const GONE: &str = "gone";
const DAY: u64 = 86_400;

/// Between two looks at what is old.
const HOUR: u64 = 3600;

/// Files removed at one go; and a multiple of the messages that came in, so that never more come than go.
const MOST: usize = 1000;
const MOST_EACH: usize = 4;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Keeping {
    /// How long a removed message is kept; zero: not at all.
    pub time: Duration,
    /// Bytes that are kept of one account; 0: any number.
    pub limit: u64,
}

/// A box of the attic: mailboxes have the names they had.
pub struct Expunged {
    pub account: Arc<Account>,
    seconds: u64,
}

impl Expunged {
    /// When a message was removed, seconds since 1970. `Expunged` when it is no longer there. Blocking.
    pub fn removed_at(&self, mailbox: &Mailbox, uid: u32) -> Result<i64> {
        let changed = mailbox.with_file(uid, |dir, name, _| {
            dir.stat(name)?.map(|stat| stat.st_ctime).ok_or_else(|| Error::io("stat", dir.at(name), nix::errno::Errno::ENOENT))
        })?;
        // files of a mailbox that was deleted as a whole did not change by that
        Ok(changed.max(self.seconds as i64))
    }
}

/// The place for what is removed from one mailbox now.
pub(crate) struct Shelf {
    attic: Attic,
    dir: Dir,
    cur: Dir,
    keywords: Keywords,
    messages: usize,
    bytes: u64,
}

impl Shelf {
    /// Takes the file of a message out of `from`; false when it is not there. `names` are those of its keywords.
    pub fn take(&mut self, from: &Dir, message: &Message, names: &Keywords, size: u64) -> Result<bool> {
        let info = Info { keywords: self.letters(message, names)?, ..message.info };
        let (old, mut new) = (message.file_name(), file_name(message.base_name(), info, false));
        let mut has_made_room = false;
        loop {
            match from.rename_new(&old, &self.cur, &new) {
                Ok(()) => {
                    self.messages += 1;
                    self.bytes += size;
                    return Ok(true);
                }
                // unless it is the box that went
                Err(error) if error.is_not_found() && from.stat(&old)?.is_none() => return Ok(false),
                // the message was removed before, and brought back under its name by other means
                Err(error) if error.is_taken() => new = file_name(&self.attic.store.unique_name(), info, false),
                Err(error @ Error::NoSpace { .. }) if !has_made_room => {
                    self.attic.make_room(&error);
                    has_made_room = true;
                }
                Err(Error::NoSpace { .. }) => return from.unlink(&old),
                // of a mailbox on a file system of its own nothing can be kept; it must be possible to remove it all the same
                Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::CrossesDevices => {
                    tracing::warn!(path = %from.path().display(), "removed messages cannot be kept: the mailbox is on another file system");
                    return from.unlink(&old);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The letters that the message's keywords have here.
    fn letters(&mut self, message: &Message, names: &Keywords) -> Result<KeywordBits> {
        let wanted: Vec<String> = names.names(message.keywords()).map(str::to_owned).collect();
        if wanted.is_empty() {
            return Ok(KeywordBits::NONE);
        }
        match keywords::resolve(&self.dir, &self.keywords, &wanted, true) {
            Ok((known, bits, _)) => {
                self.keywords = known;
                Ok(bits)
            }
            // the message counts for more than its keywords
            Err(Error::NoSpace { .. }) => Ok(KeywordBits::NONE),
            Err(error) => Err(error),
        }
    }

    /// Notes how much came in.
    pub fn close(self) {
        if self.messages > 0 {
            self.attic.took(self.bytes);
            self.attic.clear_some(self.messages.saturating_mul(MOST_EACH));
        }
    }
}

/// A place for a mailbox that is deleted.
pub(crate) struct Crate {
    attic: Attic,
    pub dir: Dir,
    pub leaf: String,
}

impl Crate {
    /// What is made anew for whoever opens the mailbox does not have to be kept: it may be larger than the messages, and is in no quota.
    pub fn lighten(&self) {
        if self.dir.stat(&self.leaf).is_ok_and(|stat| stat.is_none()) {
            return;
        }
        for name in [cache::FACTS.file, cache::SIGNATURES.file, index::FILE, changelog::FILE] {
            if let Err(error) = self.dir.open_dir(&self.leaf).and_then(|dir| dir.unlink(name)) {
                tracing::warn!(path = %self.dir.at(&self.leaf).display(), %error, "a deleted mailbox keeps what it does not need");
            }
        }
    }

    pub fn close(self, bytes: u64, messages: u64) {
        self.attic.took(bytes);
        self.attic.clear_some((messages as usize).saturating_mul(MOST_EACH));
    }
}

impl Account {
    /// Opens the place for what is removed from a mailbox; `None` when nothing is to be kept, or there is no room.
    pub(crate) fn shelf(&self, name: &MailboxName) -> Result<Option<Shelf>> {
        let Some(attic) = self.attic_with_room()? else { return Ok(None) };
        let shelf = attic.with_room(|attic| {
            let day = attic.now / DAY * DAY;
            attic.dir.make_dir(&day.to_string())?;
            let mut dir = attic.dir.open_dir(&day.to_string())?;
            if !name.is_inbox() {
                dir.make_dir(&name.directory())?;
                dir = dir.open_dir(&name.directory())?;
            }
            for part in ["new", "cur"] {
                dir.make_dir(part)?;
            }
            Ok((dir.open_dir("cur")?, keywords::read(&dir)?.0, dir))
        })?;
        Ok(shelf.map(|(cur, keywords, dir)| Shelf { attic, dir, cur, keywords, messages: 0, bytes: 0 }))
    }

    /// Opens a place for a mailbox that is to go as a whole; `None` as above.
    pub(crate) fn crate_for(&self, name: &MailboxName) -> Result<Option<Crate>> {
        let Some(attic) = self.attic_with_room()? else { return Ok(None) };
        let dir = attic.with_room(|attic| {
            let name = attic.store.unique_name();
            attic.dir.make_dir(&name)?;
            // before a whole mailbox goes there
            attic.dir.sync()?;
            attic.dir.open_dir(&name)
        })?;
        Ok(dir.map(|dir| Crate { attic, dir, leaf: name.directory() }))
    }

    /// Looks after what is old, when nobody did in the last hour. Blocking.
    pub(crate) fn sweep_attic(&self) {
        let swept = self.attic(false).and_then(|attic| attic.map_or(Ok(()), |attic| attic.sweep_if_due().map(drop)));
        if let Err(error) = swept {
            tracing::warn!(account = %self.root().display(), %error, "removed messages that were kept long enough stay");
        }
    }

    /// What was removed and is still kept, oldest first. Blocking.
    pub fn expunged(&self) -> Result<Vec<Expunged>> {
        let Some(attic) = self.attic(false)? else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        for (seconds, name) in attic.boxes()? {
            let location =
                Location::maildir(attic.dir.at(&name)).map_err(|_| Error::NotAllowed("removed messages lie where no mail can be"))?;
            match self.store().account(&location) {
                Ok(account) => all.push(Expunged { account, seconds }),
                // swept meanwhile
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error),
            }
            attic.complete(&name);
        }
        Ok(all)
    }

    /// Removes for good what was kept long enough, or all; returns the number of files. Blocking.
    pub fn purge_expunged(&self, all: bool) -> Result<usize> {
        let Some(attic) = self.attic(false)? else { return Ok(0) };
        let mut budget = usize::MAX;
        match all {
            true => attic.clear(&mut budget)?,
            false => drop(attic.sweep()?),
        }
        attic.clear_gone(&mut budget)?;
        Ok(usize::MAX - budget)
    }

    fn attic_with_room(&self) -> Result<Option<Attic>> {
        let keeping = self.store().settings.keeping;
        if keeping.time.is_zero() {
            return Ok(None);
        }
        let attic = match self.attic(true) {
            Err(Error::NoSpace { .. }) => return Ok(None),
            attic => attic?,
        };
        let Some(attic) = attic else { return Ok(None) };
        let bytes = attic.sweep_if_due()?;
        if keeping.limit == 0 || bytes < keeping.limit || attic.shrink()? < keeping.limit {
            return Ok(Some(attic));
        }
        tracing::warn!(account = %self.root().display(), limit = keeping.limit, "more was removed today than is kept: the rest goes at once");
        Ok(None)
    }

    fn attic(&self, make: bool) -> Result<Option<Attic>> {
        let root = self.open_root()?;
        let place = match self.layout() {
            Layout::MaildirPlusPlus => "facteur.expunged",
            Layout::Fs => "tmp/facteur.expunged",
        };
        let dir = match root.open_dir(place) {
            Err(error) if error.is_not_found() && make => {
                if let Some((above, _)) = place.rsplit_once('/') {
                    root.make_dir(above)?;
                }
                let (holder, leaf) = root.holder(place)?;
                holder.make_dir(leaf)?;
                holder.sync()?;
                root.open_dir(place)?
            }
            Err(error) if error.is_not_found() => return Ok(None),
            other => other?,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Ok(Some(Attic { dir, keeping: self.store().settings.keeping, now, store: self.store().clone() }))
    }
}

struct Attic {
    dir: Dir,
    keeping: Keeping,
    now: u64,
    store: Arc<Store>,
}

impl Attic {
    /// All boxes with the time in their name, oldest first.
    fn boxes(&self) -> Result<Vec<(u64, String)>> {
        let seconds = |name: &String| name.split('.').next().and_then(|digits| digits.parse().ok());
        let mut all: Vec<(u64, String)> = self.dir.dir_names()?.into_iter().filter_map(|name| Some((seconds(&name)?, name))).collect();
        all.sort();
        Ok(all)
    }

    /// A mailbox that has others below it comes in pieces, `cur` first; after a crash the rest may not be there.
    fn complete(&self, name: &str) {
        let completed = self.dir.open_dir(name).and_then(|dir| {
            for (_, directory) in Layout::MaildirPlusPlus.candidates(&dir)? {
                if is_mailbox(&dir, &directory) {
                    dir.open_dir(&directory)?.make_dir("new")?;
                }
            }
            Ok(())
        });
        if let Err(error) = completed {
            tracing::warn!(path = %self.dir.at(name).display(), %error, "a mailbox that was deleted may not be seen");
        }
    }

    /// The box that messages are put into today stays, as somebody may be at it; and that of yesterday for an hour, as somebody may have begun then.
    fn is_open(&self, name: &str) -> bool {
        name.parse().is_ok_and(|day| [self.now, self.now.saturating_sub(HOUR)].map(|time| time / DAY * DAY).contains(&day))
    }

    fn bytes_in(&self, name: &str) -> Result<u64> {
        let dir = match self.dir.open_dir(name) {
            Err(error) if error.is_not_found() => return Ok(0),
            other => other?,
        };
        let mailboxes = Layout::MaildirPlusPlus.candidates(&dir)?.into_iter().map(|(_, directory)| directory + "/");
        let mut bytes = 0;
        for mailbox in std::iter::once(String::new()).chain(mailboxes) {
            for part in ["new", "cur"] {
                match dir.open_dir(&format!("{mailbox}{part}")) {
                    Ok(part) => bytes += quota::weigh(&part)?.0,
                    Err(error) if error.is_not_found() => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(bytes)
    }

    /// When the attic was last swept, and the bytes in it since.
    fn note(&self) -> Option<(u64, u64)> {
        let text = self.dir.read_small(SWEPT, 64).ok().flatten()?;
        let (swept, bytes) = std::str::from_utf8(&text).ok()?.strip_suffix('\n')?.split_once(' ')?;
        Some((swept.parse().ok()?, bytes.parse().ok()?))
    }

    /// Not under a lock: what is lost between two processes comes right with the next sweep.
    fn write_note(&self, swept: u64, bytes: u64) {
        let written = self.dir.create_or_truncate(SWEPT).and_then(|mut file| {
            std::io::Write::write_all(&mut file, format!("{swept} {bytes}\n").as_bytes())
                .map_err(|e| Error::io("write", self.dir.at(SWEPT), e))
        });
        if let Err(error) = written {
            tracing::debug!(%error, "how much removed mail is kept is counted anew the next time");
        }
    }

    fn took(&self, bytes: u64) {
        if let Some((swept, before)) = self.note() {
            self.write_note(swept, before.saturating_add(bytes));
        }
    }

    /// Returns the bytes in the attic.
    fn sweep_if_due(&self) -> Result<u64> {
        match self.note() {
            Some((swept, bytes)) if swept <= self.now && self.now - swept < HOUR => {
                self.clear_some(MOST);
                Ok(bytes)
            }
            _ => {
                let bytes = self.sweep()?;
                self.clear_some(MOST);
                Ok(bytes)
            }
        }
    }

    /// Discards boxes whose last message was kept long enough, and counts what is left.
    fn sweep(&self) -> Result<u64> {
        let mut bytes = 0;
        for (seconds, name) in self.boxes()? {
            let is_old = seconds.saturating_add(DAY).saturating_add(self.keeping.time.as_secs()) <= self.now;
            if is_old {
                self.discard(&name)?;
                tracing::debug!(path = %self.dir.at(&name).display(), "removed messages were kept long enough");
                continue;
            }
            bytes += self.bytes_in(&name)?;
        }
        self.write_note(self.now, bytes);
        Ok(bytes)
    }

    /// Discards the oldest boxes until what is kept is below the limit, but for today's; returns the bytes left.
    fn shrink(&self) -> Result<u64> {
        // counted anew: what was brought back since is still in the note
        let held = self.boxes()?.into_iter().map(|(_, name)| Ok((self.bytes_in(&name)?, name)));
        let held: Vec<(u64, String)> = held.collect::<Result<_>>()?;
        let mut bytes = held.iter().map(|(bytes, _)| bytes).sum::<u64>();
        for (held, name) in held {
            if bytes < self.keeping.limit {
                break;
            }
            if self.is_open(&name) {
                continue;
            }
            self.discard(&name)?;
            bytes = bytes.saturating_sub(held);
            tracing::info!(path = %self.dir.at(&name).display(), "removed messages go early to make room (mail.lazy_expunge_limit)");
        }
        self.write_note(self.now, bytes);
        Ok(bytes)
    }

    /// Removes all.
    fn clear(&self, budget: &mut usize) -> Result<()> {
        for (_, name) in self.boxes()? {
            if !self.is_open(&name) {
                self.remove(&name, budget)?;
                continue;
            }
            let dir = self.dir.open_dir(&name)?;
            let mailboxes = dir.dir_names()?.into_iter().filter(|name| name.starts_with('.')).map(|name| name + "/cur");
            for cur in std::iter::once("cur".to_owned()).chain(mailboxes) {
                match dir.open_dir(&cur) {
                    Ok(cur) => empty(&cur, budget)?,
                    Err(error) if error.is_not_found() => {}
                    Err(error) => return Err(error),
                }
            }
        }
        self.sweep().map(drop)
    }

    /// A box is no box any more; a mailbox may be locked, and of a box of many messages the files go later.
    fn discard(&self, name: &str) -> Result<()> {
        let gone = self.dir.make_dir(GONE).and_then(|_| self.dir.open_dir(GONE));
        let renamed = gone.and_then(|gone| match self.dir.rename_new(name, &gone, name) {
            Err(error) if error.is_taken() => self.dir.rename_new(name, &gone, &self.store.unique_name()),
            other => other,
        });
        match renamed {
            // somebody else did, or took `gone` away as it was empty: then it is for the next one
            Err(error) if error.is_not_found() => Ok(()),
            Err(Error::NoSpace { .. }) => self.remove(name, &mut { MOST }).map(drop),
            other => other,
        }
    }

    /// Removes files of discarded boxes. When that fails they wait for the next one.
    fn clear_some(&self, most: usize) {
        if let Err(error) = self.clear_gone(&mut { most }) {
            tracing::warn!(path = %self.dir.at(GONE).display(), %error, "removed messages that were kept long enough stay");
        }
    }

    fn clear_gone(&self, budget: &mut usize) -> Result<()> {
        let gone = match self.dir.open_dir(GONE) {
            Err(error) if error.is_not_found() => return Ok(()),
            other => other?,
        };
        for name in gone.dir_names()? {
            match remove_some(&gone, &name, budget) {
                Ok(true) => {}
                // somebody else is at it
                Err(error) if error.is_not_found() => {}
                other => return other.map(drop),
            }
        }
        // unless there is one again
        let _ = self.dir.remove_dir(GONE);
        Ok(())
    }

    /// Removes a box as far as `budget` goes; true when all of it is gone.
    fn remove(&self, name: &str, budget: &mut usize) -> Result<bool> {
        match remove_some(&self.dir, name, budget) {
            Err(error) if error.is_not_found() => Ok(true),
            other => other,
        }
    }

    /// Does `work`, again when there was no room and some could be made; `None` when there is none all the same.
    fn with_room<T>(&self, work: impl Fn(&Attic) -> Result<T>) -> Result<Option<T>> {
        for _ in 0..2 {
            match work(self) {
                Err(error @ Error::NoSpace { .. }) => self.make_room(&error),
                other => return other.map(Some),
            }
        }
        Ok(None)
    }

    /// The disk is full: the oldest box makes room, as far as one go does.
    fn make_room(&self, error: &Error) {
        tracing::warn!(%error, "no room to keep removed messages: the oldest go, then what is removed now");
        self.clear_some(MOST);
        let oldest = self.boxes().map(|boxes| boxes.into_iter().find(|(_, name)| !self.is_open(name)));
        let made = oldest.and_then(|oldest| oldest.map_or(Ok(true), |(_, name)| self.remove(&name, &mut { MOST })));
        if let Err(error) = made {
            tracing::warn!(%error, "old removed messages cannot make room");
        }
    }
}

/// Removes files of a directory.
fn empty(dir: &Dir, budget: &mut usize) -> Result<()> {
    for name in dir.names()? {
        if *budget == 0 {
            return Ok(());
        }
        *budget -= usize::from(dir.unlink(&name)?);
    }
    Ok(())
}

/// Removes a directory and what is in it, as many files as `budget` has; true when all is gone. Links are not followed.
fn remove_some(from: &Dir, name: &str, budget: &mut usize) -> Result<bool> {
    let dir = from.open_dir(name)?;
    let below = dir.dir_names()?;
    for name in &below {
        match remove_some(&dir, name, budget) {
            Ok(true) => {}
            Err(error) if error.is_not_found() => {}
            other => return other,
        }
    }
    empty(&dir, budget)?;
    if *budget == 0 {
        return Ok(false);
    }
    match from.remove_dir(name) {
        // somebody has it open and wrote a file
        Err(Error::Io { source, .. }) if source.raw_os_error() == Some(libc::ENOTEMPTY) => Ok(false),
        other => other.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FlagSet, Flags, Settings};

    fn account(folder: &std::path::Path) -> (Arc<Account>, Arc<Mailbox>) {
        let keeping = Keeping { time: Duration::from_secs(7 * DAY), limit: 1 };
        let store = Store::new(Settings { keeping, ..Settings::default() });
        let account = store.account(&Location::maildir(folder.join("m")).expect("location")).expect("account");
        let inbox = account.open(&MailboxName::inbox()).expect("INBOX");
        let mut incoming = inbox.incoming(0).expect("room");
        incoming.write(b"Subject: x\n\n").expect("written");
        incoming.describe(FlagSet::new(Flags::SEEN), None);
        inbox.append(vec![incoming]).expect("filed");
        (account, inbox)
    }

    /// An EXPUNGE that began before midnight goes on with the box of the day before.
    #[test]
    fn the_box_of_yesterday_stays_for_an_hour() {
        let folder = tempfile::tempdir().expect("folder");
        let (account, _inbox) = account(folder.path());
        let mut attic = account.attic(true).expect("attic").expect("there");
        let today = attic.now / DAY * DAY;
        for (now, open) in [(today, true), (today + HOUR - 1, true), (today + HOUR, false), (today + DAY - 1, false)] {
            let yesterday = (today - DAY).to_string();
            std::fs::create_dir_all(attic.dir.at(&yesterday).join("cur")).expect("made");
            std::fs::write(attic.dir.at(&yesterday).join("cur/1.x,S=5:2,"), "x").expect("written");
            attic.now = now;
            attic.shrink().expect("shrunk");
            assert_eq!(attic.dir.stat(&yesterday).expect("stat").is_some(), open, "{}", now - today);
            assert!(attic.is_open(&today.to_string()));
        }
    }

    /// The message is there: that is no success.
    #[test]
    fn a_message_whose_box_is_gone_is_not_taken_for_one_that_is_gone() {
        let folder = tempfile::tempdir().expect("folder");
        let (account, inbox) = account(folder.path());
        let mut shelf = account.shelf(&MailboxName::inbox()).expect("shelf").expect("room");
        std::fs::remove_dir_all(shelf.dir.path()).expect("removed");
        let snapshot = inbox.snapshot();
        let message = snapshot.get(0).expect("one");
        let cur = Dir::open_root(&account.root().join("cur")).expect("open");
        assert!(shelf.take(&cur, message, snapshot.keywords(), 5).is_err());
        std::fs::remove_file(cur.at(&message.file_name())).expect("removed");
        assert!(!shelf.take(&cur, message, snapshot.keywords(), 5).expect("gone"));
    }
}
