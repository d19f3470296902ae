//! Copying and moving messages between mailboxes of one account.

use nix::errno::Errno;

use crate::dir::Dir;
use crate::error::{Error, Result};
use crate::flags::Info;
use crate::keywords;
use crate::mailbox::append::{named, vanished};
use crate::mailbox::state::Found;
use crate::mailbox::sync::PATIENCE;
use crate::mailbox::{Added, Folder, Mailbox};
use crate::snapshot::Message;

impl Mailbox {
    /// Copies messages with flags and internal dates; all or none of those that still exist. Durable on return. Blocking.
    pub fn copy(&self, uids: &[u32], to: &Mailbox) -> Result<Added> {
        let (bytes, count) = self.weigh(uids);
        to.account.charge(bytes, count)?;
        self.link_into(uids, to).inspect_err(|_| to.account.release(bytes, count))
    }

    /// Moves messages. After a crash each is in exactly one of the two or in both, never in none. Blocking.
    ///
    /// A rename between directories is atomic for other programs, but a file system may write the two directories in any order;
    /// so the second name is made and synced before the first one goes.
    pub fn move_to(&self, uids: &[u32], to: &Mailbox) -> Result<Added> {
        let added = self.link_into(uids, to)?;
        let (bytes, count) = self.weigh(&added.sources);
        let removed = self.expunge(&added.sources)?;
        // expunge gave back what it removed, but the account still has the mail
        if std::sync::Arc::ptr_eq(&self.account, &to.account) {
            self.account.charge_always(bytes, removed.len().min(count as usize) as u64);
        }
        Ok(added)
    }

    /// Size on disk and number of messages that exist.
    fn weigh(&self, uids: &[u32]) -> (u64, u64) {
        let snapshot = self.snapshot();
        let sizes: Vec<u64> =
            uids.iter().filter_map(|uid| snapshot.find(*uid)).map(|(_, message)| self.disk_size(message).unwrap_or(0)).collect();
        (sizes.iter().sum(), sizes.len() as u64)
    }

    /// Gives the files of messages second names in `to`.
    fn link_into(&self, uids: &[u32], to: &Mailbox) -> Result<Added> {
        for _ in 0..5 {
            let snapshot = self.snapshot();
            let messages: Vec<Message> = uids.iter().filter_map(|uid| snapshot.find(*uid)).map(|(_, message)| message.clone()).collect();
            let from = self.folder()?;
            let names = |message: &Message| snapshot.keywords.names(message.keywords()).map(str::to_owned).collect::<Vec<_>>();

            let mut state = to.state.lock();
            let folder = to.folder()?;
            let mut files = Vec::with_capacity(messages.len());
            for message in &messages {
                let keywords = match names(message) {
                    names if names.is_empty() => crate::flags::KeywordBits::NONE,
                    names => {
                        // a full mailbox takes the message without the keywords it has no room for
                        let (known, bits, stamp) = keywords::resolve(&folder.dir, &state.snapshot.keywords, &names, true)?;
                        to.adopt_keywords(&mut state, known, stamp);
                        bits
                    }
                };
                files.push(named(&self.name_for_copy(message), Info { keywords, ..message.info }));
            }
            let added = to.file(&mut state, &folder, &files, |index, dir, name| link(&from, &messages[index], dir, name));
            to.publish(&mut state);
            drop(state);
            match added {
                Ok(added) => return Ok(Added { sources: messages.iter().map(Message::uid).collect(), ..added }),
                Err(error) if vanished(&error) => {
                    // renamed or removed under us: see what is left
                    let mut state = self.state.lock();
                    self.look(&mut state, PATIENCE)?;
                    self.publish(&mut state);
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::Expunged)
    }

    /// A fresh unique name with the sizes of the old one: the old name could come back with an old UID.
    fn name_for_copy(&self, message: &Message) -> String {
        let mut base = self.account.store().unique_name();
        for (letter, size) in [('S', message.known_disk_size()), ('W', message.known_size())] {
            if let Some(size) = size {
                base.push_str(&format!(",{letter}={size}"));
            }
        }
        base
    }
}

/// A second name for the file of `message`, or a synced copy where the file system has no links or no room for one more.
fn link(from: &Folder, message: &Message, to: &Dir, name: &str) -> Result<()> {
    let source = Found { name: message.file_name(), in_new: message.in_new };
    let dir = from.part(source.in_new);
    // link(2) does not look at what the file is: never give a second name to something put in a message's place
    match dir.stat(&source.name)? {
        None => return Err(Error::Expunged),
        Some(stat) if stat.st_mode & libc::S_IFMT != libc::S_IFREG => {
            return Err(Error::Unsafe { path: dir.at(&source.name), what: "not a regular file" });
        }
        Some(_) => {}
    }
    match dir.link(&source.name, to, name) {
        Ok(()) => Ok(()),
        Err(Errno::EMLINK | Errno::EXDEV | Errno::EPERM | Errno::EOPNOTSUPP) => copy_bytes(dir, &source.name, to, name),
        Err(e) => Err(Error::io("link", dir.at(&source.name), e)),
    }
}

fn copy_bytes(from: &Dir, source: &str, to: &Dir, name: &str) -> Result<()> {
    let mut input = from.open_file(source)?;
    let mut output = to.create(name)?;
    let copied = std::io::copy(&mut input, &mut output)
        .and_then(|_| input.metadata()?.modified())
        .and_then(|modified| output.set_modified(modified))
        .and_then(|()| output.sync_all());
    copied.map_err(|e| {
        // the caller removes what was placed; this one it does not know of yet
        let _ = to.unlink(name);
        Error::io("copy", from.at(source), e)
    })
}
