//! Flags, claiming recent messages, and removal: renames and unlinks.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::attic::Shelf;
use crate::changelog::Bits;
use crate::error::{Error, Result};
use crate::flags::{FlagMode, FlagSet, Info, KeywordBits};
use crate::keywords;
use crate::mailbox::state::{Found, State};
use crate::mailbox::sync::PATIENCE;
use crate::mailbox::{Folder, Mailbox, Stored};
use crate::snapshot::{Message, file_name};

const TRIES: usize = 5;

/// How long the uidlist's lock is waited for with the log locked: whoever has the one may be waiting for the other.
const BRIEFLY: Duration = Duration::from_secs(1);

/// Where removed messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// They are kept as long as the settings say.
    Attic,
    Nothing,
}

impl Mailbox {
    /// Changes flags and keywords of messages; new keywords are made (`Limit` when there is no room or the name is no atom).
    /// With `unchanged_since`, messages whose modseq is higher are left alone. Each message changes as a whole or not at all.
    /// Blocking.
    pub fn store_flags(&self, uids: &[u32], mode: FlagMode, flags: &FlagSet, unchanged_since: Option<u64>) -> Result<Stored> {
        let mut state = self.state.lock();
        if unchanged_since.is_some() {
            // what other programs changed meanwhile counts as well: it gets its MODSEQ first
            self.refresh_locked(&mut state, PATIENCE)?;
        }
        let folder = self.folder()?;
        let bits = self.keyword_bits(&mut state, &folder, &flags.keywords, mode == FlagMode::Remove)?;
        let wanted = |old: Info| match mode {
            FlagMode::Replace => Info { flags: flags.flags, keywords: bits, ..old },
            FlagMode::Add => Info { flags: old.flags | flags.flags, keywords: KeywordBits(old.keywords.0 | bits.0), ..old },
            FlagMode::Remove => Info { flags: old.flags.without(flags.flags), keywords: KeywordBits(old.keywords.0 & !bits.0), ..old },
        };
        // from here on no other process of ours changes flags, and the state has all they did: the comparison of MODSEQs holds (RFC 7162 §3.1.3)
        let mut log = match unchanged_since {
            Some(_) => Some(self.lock_log(&mut state, &folder, PATIENCE)?),
            None => self.lock_log_if_possible(&mut state, &folder),
        };
        let mut stored = Stored::default();
        let mut changes = Vec::new();
        for uid in uids {
            match state.snapshot.find(*uid) {
                None => stored.expunged.push(*uid),
                Some((_, message)) if unchanged_since.is_some_and(|since| message.modseq > since) => stored.modified.push(*uid),
                Some((_, message)) => {
                    stored.done.push(*uid);
                    let info = wanted(message.info);
                    changes.extend((info != message.info).then_some((*uid, info)));
                }
            }
        }
        let modseq = match &mut log {
            Some(log) if !changes.is_empty() => match self.announce(&mut state, log, &changes) {
                Err(_) if unchanged_since.is_none() => None,
                modseq => Some(modseq?),
            },
            _ => None,
        };
        // with a condition only from the flags that it was tried on
        let judged: HashMap<u32, Bits> = match unchanged_since {
            Some(_) => changes.iter().filter_map(|(uid, _)| Some((*uid, Bits::of(state.snapshot.find(*uid)?.1.info)))).collect(),
            None => HashMap::new(),
        };
        let change = |uid: u32, old: Info| judged.get(&uid).is_none_or(|bits| *bits == Bits::of(old)).then(|| wanted(old));
        let (renamed, result) = self.rename_messages(&mut state, &folder, &changes, change, &mut stored);
        if let (Some(log), Some(modseq)) = (&mut log, modseq) {
            changes.iter().for_each(|(uid, info)| state.announced(*uid, *info, modseq, renamed.contains(uid)));
            if let Err(error) = self.even_out(&mut state, &folder, log) {
                tracing::warn!(mailbox = %self.name, %error, "the log of the mailbox cannot be written");
            }
        }
        if modseq.is_none() {
            state.owes(renamed.iter().copied());
        }
        drop(log);
        self.publish(&mut state);
        result.map(|()| stored)
    }

    /// Gives files the flags they are to have, or leaves them alone where `change` gives none: then they go from `done` to `modified`, and what
    /// went away to `expunged`. Returns the UIDs whose files now have the names they should.
    fn rename_messages(
        &self,
        state: &mut State,
        folder: &Folder,
        changes: &[(u32, Info)],
        change: impl Fn(u32, Info) -> Option<Info>,
        stored: &mut Stored,
    ) -> (HashSet<u32>, Result<()>) {
        let (mut renamed, mut failed) = (HashSet::new(), HashSet::new());
        let mut result = Ok(());
        for (uid, _) in changes {
            match self.rename_message(state, folder, *uid, |info| change(*uid, info), false) {
                Ok(true) => _ = renamed.insert(*uid),
                Ok(false) => {
                    // what another program made of it stays
                    renamed.insert(*uid);
                    failed.insert(*uid);
                    stored.modified.push(*uid);
                }
                Err(Error::Expunged) => {
                    failed.insert(*uid);
                    stored.expunged.push(*uid);
                }
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        stored.done.retain(|uid| !failed.contains(uid));
        (renamed, result)
    }

    /// Moves the messages of `new/` to `cur/` and returns their UIDs: the caller's session shows them as `\Recent`. Where nothing can be
    /// written they stay in `new/` for a later session: reading goes on.
    pub(crate) fn claim_recent(&self) -> Result<Vec<u32>> {
        if !self.has_unclaimed() {
            return Ok(Vec::new());
        }
        let mut state = self.state.lock();
        let uids: Vec<u32> = state.snapshot.iter().filter(|message| message.in_new).map(Message::uid).collect();
        if uids.is_empty() {
            return Ok(uids);
        }
        let folder = self.folder()?;
        let mut claimed = Vec::with_capacity(uids.len());
        for uid in uids {
            // another program may have claimed it first
            let still_new = |state: &State| state.snapshot.find(uid).is_some_and(|(_, message)| message.in_new);
            if !still_new(&state) {
                continue;
            }
            match self.rename_message(&mut state, &folder, uid, Some, true) {
                Ok(_) => claimed.push(uid),
                Err(Error::Expunged) => {}
                Err(error) => {
                    tracing::warn!(mailbox = %self.name, %error, "new messages cannot be moved to cur");
                    break;
                }
            }
        }
        self.publish(&mut state);
        Ok(claimed)
    }

    /// Removes messages, whatever their flags; returns the UIDs that were there. They are kept in the attic where the settings want that. Blocking.
    pub fn expunge(&self, uids: &[u32]) -> Result<Vec<u32>> {
        let (removed, result) = self.expunge_until_error(uids, Fate::Attic);
        result.map(|()| removed)
    }

    /// Removes messages for good, such as are somewhere else or should never have been here.
    pub(super) fn expunge_for_good(&self, uids: &[u32]) -> Result<Vec<u32>> {
        let (removed, result) = self.expunge_until_error(uids, Fate::Nothing);
        result.map(|()| removed)
    }

    /// As [`Mailbox::expunge`]; on an error the UIDs that had gone before it.
    pub(super) fn expunge_until_error(&self, uids: &[u32], fate: Fate) -> (Vec<u32>, Result<()>) {
        let mut state = self.state.lock();
        let opened = self.folder().and_then(|folder| {
            let is_any = fate == Fate::Attic && uids.iter().any(|uid| state.snapshot.find(*uid).is_some());
            Ok((folder, if is_any { self.account.shelf(&self.name)? } else { None }))
        });
        let (folder, mut shelf) = match opened {
            Ok(opened) => opened,
            Err(error) => return (Vec::new(), Err(error)),
        };
        // others look into the log for why a file went only when it is written there
        let mut log = self.lock_log_if_possible(&mut state, &folder);
        let mut removed = Vec::new();
        let mut bytes = 0;
        let mut result = Ok(());
        let mut wanted = uids.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        for uid in wanted {
            match self.remove_message(&mut state, &folder, uid, shelf.as_mut()) {
                Ok(size) => {
                    bytes += size;
                    removed.push(uid);
                }
                Err(Error::Expunged) => {}
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        let gone: Vec<u32> = removed.iter().copied().filter(|uid| state.snapshot.find(*uid).is_some()).collect();
        state.remove(&gone);
        if let Some(log) = &mut log
            && let Err(error) = self.even_out(&mut state, &folder, log)
        {
            tracing::warn!(mailbox = %self.name, %error, "the log of the mailbox cannot be written");
        }
        drop(log);
        self.publish(&mut state);
        drop(state);
        if let Some(shelf) = shelf {
            shelf.close();
        }
        if !removed.is_empty() {
            self.account.release(&self.name, bytes, removed.len() as u64);
        }
        (removed, result)
    }

    /// Takes the file of a message away, to the shelf if there is one, and returns its size. The state still has the message.
    fn remove_message(&self, state: &mut State, folder: &Folder, uid: u32, mut shelf: Option<&mut Shelf>) -> Result<u64> {
        for _ in 0..TRIES {
            let Some((_, message)) = state.snapshot.find(uid) else { return Err(Error::Expunged) };
            let (dir, name) = (folder.part(message.in_new), message.file_name());
            let size = match message.known_disk_size() {
                Some(size) => size,
                None => dir.stat(&name)?.map_or(0, |stat| stat.st_size as u64),
            };
            let is_gone = match &mut shelf {
                Some(shelf) => shelf.take(dir, message, &state.snapshot.keywords, size)?,
                None => dir.unlink(&name)?,
            };
            if is_gone {
                return Ok(size);
            }
            self.look_in(state, folder, BRIEFLY)?;
        }
        Err(Error::Expunged)
    }

    /// Renames a message to the flags `change` makes of its present ones; false when it makes none. The new name is in `cur/` when the flags
    /// differ or `claim`.
    fn rename_message(
        &self,
        state: &mut State,
        folder: &Folder,
        uid: u32,
        change: impl Fn(Info) -> Option<Info>,
        claim: bool,
    ) -> Result<bool> {
        for _ in 0..TRIES {
            let Some((_, message)) = state.snapshot.find(uid) else { return Err(Error::Expunged) };
            let Some(info) = change(message.info) else { return Ok(false) };
            if info == message.info && !(claim && message.in_new) {
                return Ok(true);
            }
            let old = message.file_name();
            let new = Found { name: file_name(message.base_name(), info, false), in_new: false };
            match folder.part(message.in_new).rename(&old, &folder.cur, &new.name) {
                Ok(()) => {
                    state.note(uid, &new);
                    return Ok(true);
                }
                Err(error) if error.is_not_found() => self.look_in(state, folder, BRIEFLY)?,
                Err(error) => return Err(error),
            }
        }
        Err(Error::Expunged)
    }

    /// Letters of keywords; unknown ones are made, unless they are only to be removed.
    pub(super) fn keyword_bits(&self, state: &mut State, folder: &Folder, names: &[String], only_known: bool) -> Result<KeywordBits> {
        if names.is_empty() {
            return Ok(KeywordBits::NONE);
        }
        if only_known {
            let known = &state.snapshot.keywords;
            return Ok(KeywordBits(names.iter().filter_map(|name| known.index(name)).fold(0, |bits, index| bits | 1 << index)));
        }
        let (known, bits, stamp) = keywords::resolve(&folder.dir, &state.snapshot.keywords, names, false)?;
        self.adopt_keywords(state, known, stamp);
        Ok(bits)
    }

    pub(super) fn adopt_keywords(&self, state: &mut State, known: crate::flags::Keywords, stamp: Option<crate::dir::Stamp>) {
        if known != state.snapshot.keywords {
            state.snapshot.keywords = known;
            state.changed = true;
        }
        if stamp.is_some() {
            state.keywords_stamp = stamp;
        }
    }
}
