//! Copying and moving messages between mailboxes of one account.

use nix::errno::Errno;

use crate::dir::Dir;
use crate::error::{Error, Result};
use crate::flags::{Flags, Info};
use crate::keywords;
use crate::mailbox::append::{Step, named, vanished};
use crate::mailbox::change::Fate;
use crate::mailbox::state::Found;
use crate::mailbox::sync::PATIENCE;
use crate::mailbox::{Added, Folder, Mailbox};
use crate::snapshot::{Message, Snapshot};

/// What becomes of a copy when one of its messages is no longer there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// UIDs that no message has mean nothing (RFC 3501 §6.4.8).
    LeaveOut,
    /// Numbers do mean something: `Expunged`, and nothing is copied (RFC 2180 §4.4.1).
    Refuse,
}

/// What copies have of the flags of their messages: by RFC 4314 §4 only what the user may set where they are.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    pub dropped: Flags,
    pub keywords: bool,
}

impl Kept {
    pub const ALL: Kept = Kept { dropped: Flags::NONE, keywords: true };
}

/// What [`Mailbox::move_to`] did.
#[derive(Debug)]
pub struct Moved {
    /// The messages that are in the other mailbox now, and no longer here.
    pub added: Added,
    /// Why the others stayed.
    pub error: Option<Error>,
}

impl Mailbox {
    /// Copies messages with flags and internal dates; all or none. Durable on return. `OverQuota`. Blocking.
    pub fn copy(&self, uids: &[u32], to: &Mailbox, gone: Gone) -> Result<Added> {
        self.copy_with(uids, to, gone, Kept::ALL)
    }

    /// As [`Mailbox::copy`], with some of the flags only.
    pub fn copy_with(&self, uids: &[u32], to: &Mailbox, gone: Gone, kept: Kept) -> Result<Added> {
        self.link_into(uids, to, gone, kept, |bytes, count| to.account.charge(&to.name, bytes, count))
    }

    /// Moves messages; an error means that all are where they were. After a crash each is in exactly one of the two or in both, never in
    /// none. Blocking.
    ///
    /// A rename between directories is atomic for other programs, but a file system may write the two directories in any order;
    /// so the second name is made and synced before the first one goes.
    pub fn move_to(&self, uids: &[u32], to: &Mailbox, gone: Gone) -> Result<Moved> {
        self.move_with(uids, to, gone, Kept::ALL)
    }

    /// As [`Mailbox::move_to`], with some of the flags only.
    pub fn move_with(&self, uids: &[u32], to: &Mailbox, gone: Gone, kept: Kept) -> Result<Moved> {
        // within one account a move needs no room, full or not: what it adds for a moment goes again with the messages here
        let is_same = std::sync::Arc::ptr_eq(&self.account, &to.account);
        let mut added = self.link_into(uids, to, gone, kept, |bytes, count| {
            if is_same {
                return to.account.charge_move(&self.name, &to.name, bytes, count);
            }
            to.account.charge(&to.name, bytes, count)
        })?;
        let (removed, result) = self.expunge_until_error(&added.sources, Fate::Nothing);
        let Err(error) = result else { return Ok(Moved { added, error: None }) };
        // what could not be removed here is taken back there: it would be in both
        let here = self.snapshot();
        let stays = |uid: &u32| removed.binary_search(uid).is_err() && here.find(*uid).is_some();
        let sources = std::mem::take(&mut added.sources);
        let mut back = Vec::new();
        for (source, uid) in sources.into_iter().zip(std::mem::take(&mut added.uids)) {
            if stays(&source) {
                back.push(uid);
            } else {
                added.sources.push(source);
                added.uids.push(uid);
            }
        }
        if let Err(error) = to.expunge_for_good(&back) {
            tracing::error!(mailbox = %to.name, %error, "messages that could not be moved are in both mailboxes");
        }
        if added.uids.is_empty() {
            return Err(error);
        }
        Ok(Moved { added, error: Some(error) })
    }

    /// Size on disk of messages.
    fn weigh(&self, messages: &[Message]) -> Result<u64> {
        messages.iter().map(|message| self.disk_size(message)).sum()
    }

    /// Gives the files of messages second names in `to`, after `charge` let their bytes and number pass.
    fn link_into(&self, uids: &[u32], to: &Mailbox, gone: Gone, kept: Kept, charge: impl Fn(u64, u64) -> Result<()>) -> Result<Added> {
        for _ in 0..5 {
            let snapshot = self.snapshot();
            let messages: Vec<Message> = uids.iter().filter_map(|uid| snapshot.find(*uid)).map(|(_, message)| message.clone()).collect();
            if gone == Gone::Refuse && messages.len() < uids.len() {
                return Err(Error::Expunged);
            }
            if messages.is_empty() {
                return Ok(Added::default());
            }
            let bytes = match self.weigh(&messages) {
                // the look it took is in the next snapshot
                Err(Error::Expunged) => continue,
                weighed => weighed?,
            };
            let count = messages.len() as u64;
            charge(bytes, count)?;
            match self.link_messages(&snapshot, &messages, to, kept) {
                Ok(added) => return Ok(Added { sources: messages.iter().map(Message::uid).collect(), ..added }),
                Err(error) => {
                    to.account.release(&to.name, bytes, count);
                    if !vanished(&error) {
                        return Err(error);
                    }
                }
            }
            // renamed or removed under us: see what is left
            let mut state = self.state.lock();
            self.look(&mut state, PATIENCE)?;
            self.publish(&mut state);
        }
        Err(Error::Expunged)
    }

    fn link_messages(&self, snapshot: &Snapshot, messages: &[Message], to: &Mailbox, kept: Kept) -> Result<Added> {
        let from = self.folder()?;
        let names = |message: &Message| snapshot.keywords.names(message.keywords()).map(str::to_owned).collect::<Vec<_>>();
        let mut state = to.state.lock();
        let folder = to.folder()?;
        let mut files = Vec::with_capacity(messages.len());
        for message in messages {
            let keywords = match names(message) {
                // they get no letter there either
                names if names.is_empty() || !kept.keywords => crate::flags::KeywordBits::NONE,
                names => {
                    // a full mailbox takes the message without the keywords it has no room for
                    let (known, bits, stamp) = keywords::resolve(&folder.dir, &state.snapshot.keywords, &names, true)?;
                    to.adopt_keywords(&mut state, known, stamp);
                    bits
                }
            };
            files.push(named(
                &self.name_for_copy(message),
                Info { flags: message.info.flags.without(kept.dropped), keywords, ..message.info },
            ));
        }
        // as Dovecot does it: the copy knows whose it is
        let fields: Vec<String> = messages.iter().map(|message| format!("G{}", message.core.guid())).collect();
        let added = to.file(&mut state, &folder, &files, &fields, |step, index, dir, name| match step {
            Step::Place => link(&from, &messages[index], dir, name),
            // the bytes are those of a message that is there
            Step::Sync => Ok(()),
        });
        to.publish(&mut state);
        added
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
