//! Making a mailbox's files true again, whatever happened to them.

use crate::dir::Dir;
use crate::error::Result;
use crate::index;
use crate::lock;
use crate::mailbox::Mailbox;
use crate::mailbox::sync::PATIENCE;
use crate::uidlist;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What is older in `tmp/` belongs to nobody (maildir(5)).
const ABANDONED: Duration = Duration::from_secs(36 * 3600);

impl Mailbox {
    /// Reads everything anew, gives UIDs to what has none, and replaces the list of UIDs by one with what is there; what was left half written
    /// in `tmp/` goes. UIDs that clients know stay. Returns how many files went. Blocking.
    pub fn resync(&self) -> Result<usize> {
        let mut state = self.state.lock();
        let folder = self.folder()?;
        index::remove(&folder.dir)?;
        (state.looked, state.position) = (None, None);
        self.look_in(&mut state, &folder, PATIENCE)?;
        let lock = lock::lock(&folder.dir, uidlist::LOCK, PATIENCE)?;
        self.introduce_locked(&mut state, &folder, Vec::new(), &lock)?;
        self.rewrite(&mut state, &folder, &lock)?;
        drop(lock);
        self.publish(&mut state);
        sweep(&folder.tmp()?)
    }
}

fn sweep(tmp: &Dir) -> Result<usize> {
    let mut swept = 0;
    for name in tmp.names()? {
        let Some(stat) = tmp.stat(&name)? else { continue };
        let modified = UNIX_EPOCH + Duration::from_secs(stat.st_mtime.max(0) as u64);
        let is_file = stat.st_mode & libc::S_IFMT == libc::S_IFREG;
        if is_file && SystemTime::now().duration_since(modified).is_ok_and(|age| age > ABANDONED) {
            swept += usize::from(tmp.unlink(&name)?);
        }
    }
    Ok(swept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Location, MailboxName, Settings, Store};

    #[test]
    fn a_mailbox_is_made_sound_and_keeps_its_uids() {
        let temp = tempfile::tempdir().expect("folder");
        let root = temp.path().join("m");
        let account = Store::new(Settings::default()).account(&Location::maildir(&root).expect("location")).expect("account");
        let mailbox = account.open(&MailboxName::inbox()).expect("INBOX");
        for _ in 0..3 {
            let mut incoming = mailbox.incoming(0).expect("room");
            incoming.write(b"Subject: x\n\nx\n").expect("written");
            mailbox.append(vec![incoming]).expect("filed");
        }
        mailbox.expunge(&[2]).expect("removed");
        std::fs::write(root.join("cur/1.foreign.host:2,S"), "Subject: put there by hand\n\nx\n").expect("written");
        let old = SystemTime::now() - ABANDONED - Duration::from_secs(60);
        for (name, modified) in [("old", old), ("fresh", SystemTime::now())] {
            let file = std::fs::File::create(root.join("tmp").join(name)).expect("made");
            file.set_modified(modified).expect("aged");
        }
        assert_eq!(mailbox.resync().expect("sound"), 1);
        let uids: Vec<u32> = mailbox.snapshot().iter().map(|message| message.uid()).collect();
        assert_eq!(uids, [1, 3, 4]);
        let list = std::fs::read_to_string(root.join("dovecot-uidlist")).expect("list");
        assert_eq!(list.lines().count(), 4, "{list}");
        assert!(root.join("tmp/fresh").exists() && !root.join("tmp/old").exists());
    }
}
