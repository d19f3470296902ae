//! Mailboxes that mail is delivered to, with their directories open, so that a delivery does not walk the tree again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::stat::{fstat, lstat};
use nix::sys::statfs::{BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, fstatfs};
use parking_lot::Mutex;

use crate::account::{Account, make_mailbox};
use crate::dir::Dir;
use crate::error::{Error, Result};
use crate::location::Location;
use crate::name::MailboxName;
use crate::store::Store;

/// Age at which a file in `tmp/` is a leftover (maildir(5)).
const ORPHAN_SECONDS: i64 = 36 * 3600;

/// An open mailbox to deliver to.
pub(crate) struct Target {
    account: Arc<Account>,
    location: Location,
    mailbox: MailboxName,
    pub root: Dir,
    /// The mailbox's directory.
    pub dir: Dir,
    pub tmp: Dir,
    pub new: Dir,
    device: u64,
    inode: u64,
    allows_rounds: bool,
}

impl Target {
    /// Opens a mailbox, making it when it is not there. Removes leftovers from its `tmp/`.
    pub fn open(store: &Arc<Store>, location: &Location, mailbox: &MailboxName) -> Result<Target> {
        let account = store.account(location)?;
        let root = match Dir::open_root(location.root()) {
            // the account was known, but its directory was removed
            Err(error) if error.is_not_found() => Dir::create_root(location.root())?,
            other => other?,
        };
        crate::store::prepare(&root)?;
        account.layout().allows(mailbox)?;
        let directory = account.directory_of(mailbox);
        let dir = match root.open_dir(&directory) {
            Err(error) if error.is_not_found() => {
                make_mailbox(&root, account.layout(), &directory)?;
                root.open_dir(&directory)?
            }
            other => other?,
        };
        let part = |name| match dir.open_dir(name) {
            Err(error) if error.is_not_found() => {
                make_mailbox(&root, account.layout(), &directory)?;
                dir.open_dir(name)
            }
            other => other,
        };
        let (tmp, new) = (part("tmp")?, part("new")?);
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        if let Err(error) = purge(&tmp, seconds) {
            tracing::warn!(%error, "cannot clear tmp");
        }
        let stat = fstat(&new).map_err(|e| Error::io("stat", new.path(), e))?;
        let kind = fstatfs(&new).map_err(|e| Error::io("stat", new.path(), e))?.filesystem_type();
        // file systems whose syncfs is known to cover names as well as contents, and to report errors
        let allows_rounds = [EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC].contains(&kind);
        Ok(Target {
            account,
            location: location.clone(),
            mailbox: mailbox.clone(),
            root,
            dir,
            tmp,
            new,
            device: stat.st_dev,
            inode: stat.st_ino,
            allows_rounds,
        })
    }

    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    pub fn mailbox(&self) -> &MailboxName {
        &self.mailbox
    }

    pub fn device(&self) -> u64 {
        self.device
    }

    pub fn allows_rounds(&self) -> bool {
        self.allows_rounds
    }

    /// False when the mailbox was removed, renamed or replaced since it was opened.
    fn is_current(&self) -> bool {
        lstat(self.new.path()).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (self.device, self.inode))
    }
}

/// Removes files nobody can be writing any more. Times of the inode count too: the time of the file may be a given internal date.
pub(crate) fn purge(tmp: &Dir, now: i64) -> Result<()> {
    for name in tmp.names()? {
        let Some(stat) = tmp.stat(&name)? else { continue };
        if stat.st_mode & libc::S_IFMT == libc::S_IFREG && now - stat.st_mtime.max(stat.st_ctime) > ORPHAN_SECONDS {
            tracing::info!(file = %tmp.at(&name).display(), "removing what an interrupted delivery left");
            tmp.unlink(&name)?;
        }
    }
    Ok(())
}

/// The targets used last.
pub(crate) struct Targets {
    kept: usize,
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    clock: u64,
    targets: HashMap<(Location, MailboxName), (Arc<Target>, u64)>,
}

impl Targets {
    pub fn new(kept: usize) -> Targets {
        Targets { kept, used: Mutex::default() }
    }

    /// A target that is still what it was. One system call.
    pub fn get(&self, location: &Location, mailbox: &MailboxName) -> Option<Arc<Target>> {
        let key = (location.clone(), mailbox.clone());
        let target = {
            let mut used = self.used.lock();
            used.clock += 1;
            let clock = used.clock;
            let (target, when) = used.targets.get_mut(&key)?;
            *when = clock;
            target.clone()
        };
        if target.is_current() {
            return Some(target);
        }
        self.used.lock().targets.remove(&key);
        None
    }

    pub fn put(&self, target: Arc<Target>) {
        let mut used = self.used.lock();
        if used.targets.len() >= self.kept {
            // the older half goes at once, so that this is rare
            let mut ages: Vec<u64> = used.targets.values().map(|(_, when)| *when).collect();
            ages.sort_unstable();
            let middle = ages[ages.len() / 2];
            used.targets.retain(|_, (_, when)| *when > middle);
        }
        used.clock += 1;
        let clock = used.clock;
        used.targets.insert((target.location.clone(), target.mailbox.clone()), (target, clock));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_go_after_36_hours() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::create_root(&temp.path().join("tmp")).unwrap();
        std::fs::write(dir.at("1.a"), "x").unwrap();
        dir.make_dir("directory").unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
        purge(&dir, now + 35 * 3600).unwrap();
        assert!(dir.at("1.a").exists());
        purge(&dir, now + 37 * 3600).unwrap();
        assert_eq!(dir.names().unwrap(), ["directory"]);
    }

    #[test]
    fn a_replaced_mailbox_is_opened_anew_and_old_targets_make_room() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::new(crate::Settings::default());
        let location = |n: usize| Location::maildir(temp.path().join(format!("user{n}"))).unwrap();
        let targets = Targets::new(4);
        let inbox = MailboxName::inbox();
        targets.put(Arc::new(Target::open(&store, &location(0), &inbox).unwrap()));
        assert!(targets.get(&location(0), &inbox).is_some());
        std::fs::rename(temp.path().join("user0"), temp.path().join("moved")).unwrap();
        assert!(targets.get(&location(0), &inbox).is_none());
        for n in 1..20 {
            targets.put(Arc::new(Target::open(&store, &location(n), &inbox).unwrap()));
        }
        assert!(targets.used.lock().targets.len() <= 4);
        assert!(targets.get(&location(19), &inbox).is_some());
    }
}
