//! Filing new messages.

use crate::error::{Error, Result};
use crate::flags::Info;
use crate::incoming::Incoming;
use crate::lock;
use crate::mailbox::state::{Found, State};
use crate::mailbox::sync::PATIENCE;
use crate::mailbox::{Added, Folder, Mailbox};
use crate::scratch::Scratch;
use crate::snapshot::{Message, file_name};
use crate::uidlist;

impl Mailbox {
    /// Starts a message for [`Mailbox::append`]; `size` is its announced size (0 if unknown), checked against the quota at once.
    /// Blocking.
    pub fn incoming(&self, size: u64) -> Result<Incoming> {
        self.account.check_room(&self.name, false, size, 1)?;
        Incoming::new(self.folder()?.tmp()?, self.account.store())
    }

    /// As [`Mailbox::incoming`], for one that replaces the message `uid` of `of` in the same account: only what it is larger by needs room
    /// (RFC 8508 §3.4). `Expunged` when there is no such message.
    pub fn incoming_instead(&self, size: u64, of: &Mailbox, uid: u32) -> Result<Incoming> {
        // what is announced has CRLF line ends, as clients count
        self.check_net_room(size, of, uid, Mailbox::size)?;
        Incoming::new(self.folder()?.tmp()?, self.account.store())
    }

    fn check_net_room(&self, size: u64, of: &Mailbox, uid: u32, measure: impl Fn(&Mailbox, &Message) -> Result<u64>) -> Result<()> {
        let snapshot = of.snapshot();
        let (_, old) = snapshot.find(uid).ok_or(Error::Expunged)?;
        if !std::sync::Arc::ptr_eq(&self.account, &of.account) {
            return self.account.check_room(&self.name, false, size, 1);
        }
        match size.saturating_sub(measure(of, old)?) {
            0 => Ok(()),
            more => self.account.check_room(&self.name, false, more, 0),
        }
    }

    /// Bytes for a message that is still to be put together. Blocking.
    pub fn scratch(&self) -> Result<Scratch> {
        Scratch::new(&self.folder()?.tmp()?, self.account.store())
    }

    /// Files a message and removes the message `uid` of `of`. The new one is durable before the old one goes:
    /// after a crash there may be both, and never none. An error means that the old one stays and the new one is not kept. When somebody
    /// else removed the old one meanwhile, the new one is kept if there is room for it as for any other. Blocking.
    pub fn replace(&self, mut message: Incoming, of: &Mailbox, uid: u32) -> Result<Added> {
        message.finish()?;
        let bytes = message.disk_size();
        let _turn = self.account.replacing.lock();
        let is_there = match self.check_net_room(bytes, of, uid, Mailbox::disk_size) {
            Ok(()) => true,
            Err(Error::Expunged) => false,
            Err(error) => return Err(error),
        };
        match is_there && std::sync::Arc::ptr_eq(&self.account, &of.account) {
            true => self.account.charge_move(&of.name, &self.name, bytes, 1)?,
            false => self.account.charge(&self.name, bytes, 1)?,
        }
        let added = self.place(vec![message]).inspect_err(|_| self.account.release(&self.name, bytes, 1))?;
        let error = match of.expunge(&[uid]) {
            // of many that replace one message at once, one has its room
            Ok(removed) if removed.is_empty() && is_there => match self.account.check_room(&self.name, false, 0, 0) {
                Ok(()) => return Ok(added),
                Err(error) => error,
            },
            Ok(_) => return Ok(added),
            Err(error) => error,
        };
        if let Err(error) = self.expunge_for_good(&added.uids) {
            tracing::error!(mailbox = %self.name, %error, "a message and the one that was to replace it are both there");
        }
        Err(error)
    }

    /// Files messages: all or none. Durable on return (files and directory synced, UIDs on disk). Blocking.
    pub fn append(&self, mut messages: Vec<Incoming>) -> Result<Added> {
        for message in &mut messages {
            message.finish()?;
        }
        let bytes = messages.iter().map(Incoming::disk_size).sum();
        let count = messages.len() as u64;
        self.account.charge(&self.name, bytes, count)?;
        self.place(messages).inspect_err(|_| self.account.release(&self.name, bytes, count))
    }

    fn place(&self, mut messages: Vec<Incoming>) -> Result<Added> {
        let mut state = self.state.lock();
        let folder = self.folder()?;
        let mut files = Vec::with_capacity(messages.len());
        for message in &messages {
            let keywords = self.keyword_bits(&mut state, &folder, &message.flags.keywords, false)?;
            let info = Info { flags: message.flags.flags, keywords, other: 0 };
            files.push(named(&message.final_base(), info));
        }
        let added = self.file(&mut state, &folder, &files, &[], |step, index, dir, name| match step {
            Step::Place => messages[index].place(dir, name),
            Step::Sync => messages[index].sync(),
        });
        self.publish(&mut state);
        added
    }

    /// Puts files into the mailbox by `put` (a rename or a link, by index) and gives them UIDs, with `fields` in their lines of the uidlist
    /// where there are any; all durable on return. On an error nothing of them stays.
    ///
    /// Names and lines are written before anything is synced: where the file system has a journal, one commit then takes all of it, and the
    /// other syncs find nothing left to do.
    pub(super) fn file(
        &self,
        state: &mut State,
        folder: &Folder,
        files: &[Found],
        fields: &[String],
        mut put: impl FnMut(Step, usize, &crate::dir::Dir, &str) -> Result<()>,
    ) -> Result<Added> {
        let lock = lock::lock(&folder.dir, uidlist::LOCK, PATIENCE)?;
        // what others filed gets its UIDs first
        self.introduce_locked(state, folder, Vec::new(), &lock)?;
        let mut placed = 0;
        let mut work = || {
            for (index, file) in files.iter().enumerate() {
                put(Step::Place, index, folder.part(file.in_new), &file.name)?;
                placed = index + 1;
            }
            let bases: Vec<Box<str>> = files.iter().map(|file| file.base().into()).collect();
            let uids = self.assign(state, folder, &bases, fields, &lock)?;
            for (index, file) in files.iter().enumerate() {
                put(Step::Sync, index, folder.part(file.in_new), &file.name)?;
            }
            for in_new in [true, false] {
                if files.iter().any(|file| file.in_new == in_new) {
                    folder.part(in_new).sync()?;
                }
            }
            Ok(uids)
        };
        match work() {
            Ok(uids) => {
                for (index, (uid, file)) in uids.iter().zip(files).enumerate() {
                    state.add(*uid, fields.get(index).map_or("", String::as_str), file);
                }
                Ok(Added { uid_validity: state.snapshot.uid_validity, sources: Vec::new(), uids })
            }
            Err(error) => {
                for file in &files[..placed] {
                    if let Err(error) = folder.part(file.in_new).unlink(&file.name) {
                        tracing::warn!(%error, "a message that could not be filed stays");
                    }
                }
                Err(error)
            }
        }
    }
}

/// What is done with a file that comes into a mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// It gets its name there.
    Place,
    /// Its bytes are made durable; the name is by the directory.
    Sync,
}

/// Where a message goes: `cur/` when it has flags, so that every program sees them; else `new/`, where it is recent for the next
/// session that selects the mailbox.
pub(super) fn named(base: &str, info: Info) -> Found {
    let in_new = info == Info::default();
    Found { name: file_name(base, info, in_new), in_new }
}

/// An error that means the source has no such file any more.
pub(super) fn vanished(error: &Error) -> bool {
    error.is_not_found() || matches!(error, Error::Expunged)
}
