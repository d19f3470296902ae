//! Files that get their names later: flags of many messages are in the log, on the disk and told to the client before the files are renamed.
//!
//! The log is enough. As long as a file is behind, `settled` stays below its record, so that whoever opens the mailbox, after a crash or in
//! another process, renames the file and goes on from there (`even_out`). In this process a message that is behind has its flags, and the name
//! of its file as `Message::odd_name`. A worker renames a few at a time, and gives way to every command in between; what has to be written
//! into the log other than flags first waits until nothing is behind.
//!
//! Other programs may rename such a file as any other. What they made of its flags is kept, with what our record changes put on top.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::flags::{Flags, Info, KeywordBits};
use crate::mailbox::change::TRIES;
use crate::mailbox::state::{Found, State};
use crate::mailbox::{Folder, Mailbox};
use crate::snapshot::file_name;

/// Changes of flags that are renamed at once: it takes no longer than waking a worker.
pub(super) const FEW: usize = 16;

/// Files renamed at a time. Their events are fewer than make a look at everything cheaper.
const AT_ONCE: usize = 64;

/// How long a worker waits for a lock: commands wait for it meanwhile.
const AT_MOST: Duration = Duration::from_millis(50);

impl State {
    /// The log has these flags for a message, and its file is to follow.
    pub(super) fn put_off(&mut self, uid: u32, info: Info, modseq: u64) {
        let mut is_behind = false;
        self.snapshot.update(uid, |message| {
            let name = message.file_name();
            (message.info, message.odd_name, message.modseq) = (info, None, modseq);
            is_behind = message.file_name() != name;
            message.odd_name = is_behind.then(|| name.into());
        });
        if is_behind {
            self.behind.insert(uid)
        } else {
            self.behind.remove(&uid)
        };
        self.changed = true;
    }

    /// The file of a message that is behind was found under another name. True when the name is all the message is to have.
    pub(super) fn catch_up_with(&mut self, uid: u32, found: &Found) {
        let Some((_, message)) = self.snapshot.find(uid) else { return };
        let before = Found { name: message.file_name(), in_new: message.in_new }.info();
        let (wanted, modseq, was_new) = (message.info, message.modseq, message.in_new);
        let there = found.info();
        let info = merged(before, wanted, there);
        let is_behind = (info.flags, info.keywords) != (there.flags, there.keywords);
        self.snapshot.update(uid, |message| {
            message.info = info;
            message.in_new = found.in_new;
            let usual = file_name(&message.core.base, info, found.in_new);
            message.odd_name = (usual != found.name).then(|| found.name.as_str().into());
        });
        if !is_behind {
            self.behind.remove(&uid);
        }
        if (wanted.flags, wanted.keywords) != (info.flags, info.keywords) {
            self.renamed(uid, wanted, modseq);
        }
        self.unclaimed = self.unclaimed + usize::from(found.in_new) - usize::from(was_new);
        self.changed = true;
    }
}

/// What becomes of a file that was to get the flags `wanted` instead of those `before`, and that has others `there` by now.
fn merged(before: Info, wanted: Info, there: Info) -> Info {
    let flags = before.flags.bits() ^ wanted.flags.bits();
    let keywords = before.keywords.0 ^ wanted.keywords.0;
    Info {
        flags: Flags::from_bits(there.flags.bits() & !flags | wanted.flags.bits() & flags),
        keywords: KeywordBits(there.keywords.0 & !keywords | wanted.keywords.0 & keywords),
        other: there.other,
    }
}

impl Mailbox {
    /// Has a worker rename what is behind.
    pub(super) fn rename_later(&self, state: &mut State) {
        if !state.behind.is_empty()
            && !std::mem::replace(&mut state.renaming, true)
            && let Some(me) = self.me.upgrade()
        {
            self.account.store().notifier().rename_later(me);
        }
    }

    /// Renames some files that are behind; true when there are more. For the workers: `Locked` when somebody else has to come first.
    pub(crate) fn rename_some(&self) -> Result<bool> {
        let mut state = self.state.lock();
        let done = self.rename_some_of(&mut state);
        // what cannot be done is tried again before the next record is written, and by who opens the mailbox next
        state.renaming = matches!(done, Ok(true) | Err(Error::Locked { .. }));
        done
    }

    fn rename_some_of(&self, state: &mut State) -> Result<bool> {
        if state.behind.is_empty() || self.is_deleted() {
            return Ok(false);
        }
        let folder = self.folder()?;
        // who copies messages right now finds them by the names they have
        let _names = self.names.try_write().ok_or_else(|| Error::Locked { path: folder.dir.path().into() })?;
        let mut log = self.lock_log(state, &folder, AT_MOST)?;
        let mut done = self.carry_out(state, &folder, AT_ONCE);
        if done.is_ok() && state.behind.is_empty() {
            done = self.even_out(state, &folder, &mut log);
        }
        drop(log);
        if self.is_watched() {
            self.pass_over_own_events(state, &folder);
        }
        self.publish(state);
        done.map(|()| !state.behind.is_empty())
    }

    /// Renames up to `most` files that are behind. The log is locked.
    pub(super) fn carry_out(&self, state: &mut State, folder: &Folder, most: usize) -> Result<()> {
        let uids: Vec<u32> = state.behind.iter().copied().take(most).collect();
        uids.into_iter().try_for_each(|uid| self.carry_out_one(state, folder, uid))
    }

    fn carry_out_one(&self, state: &mut State, folder: &Folder, uid: u32) -> Result<()> {
        for _ in 0..TRIES {
            let Some((_, message)) = state.snapshot.find(uid).filter(|_| state.behind.contains(&uid)) else { return Ok(()) };
            let was_new = message.in_new;
            let name = file_name(&message.core.base, message.info, false);
            match folder.part(was_new).rename(&message.file_name(), &folder.cur, &name) {
                Ok(()) => {
                    state.snapshot.update(uid, |message| (message.in_new, message.odd_name) = (false, None));
                    state.unclaimed -= usize::from(was_new);
                    state.behind.remove(&uid);
                    state.renamed = true;
                }
                // renamed or removed by another program
                Err(error) if error.is_not_found() => self.look_briefly(state, folder)?,
                Err(error) => return Err(error),
            }
        }
        if state.behind.contains(&uid) { Err(Error::Locked { path: folder.cur.path().into() }) } else { Ok(()) }
    }

    /// What the kernel tells of our own renames is no news; there are too few of them to make anybody look at everything.
    fn pass_over_own_events(&self, state: &mut State, folder: &Folder) {
        self.account.store().notifier().drain();
        let events = {
            let mut pending = self.pending.lock();
            if pending.everything { Vec::new() } else { std::mem::take(&mut pending.events) }
        };
        if let Err(error) = self.apply(state, folder, &events, AT_MOST) {
            tracing::debug!(mailbox = %self.name, %error, "changes are looked at later");
            self.pending.lock().everything = true;
        }
    }
}

#[cfg(test)]
mod tests;
