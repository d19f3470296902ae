//! Keeping the state true to the disk: first look, refresh, kernel events, and UIDs for new files.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use crate::error::{Error, Result};
use crate::index::{self, Known};
use crate::keywords;
use crate::lock::{self, DotLock};
use crate::mailbox::listing::{Files, Listing, Lock, is_settled};
use crate::mailbox::state::{Found, State, is_message_name};
use crate::mailbox::{Folder, Mailbox};
use crate::snapshot::Message;
use crate::uidlist::{self, UidList};
use crate::uidvalidity;
use crate::watch::Event;

/// How long a command waits for another process's lock.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How long the threads that follow many mailboxes wait for one.
const BRIEFLY: Duration = Duration::from_millis(500);

impl Mailbox {
    /// Looks at the disk when something may have changed there since the last look (a few system calls when nothing did). For
    /// NOOP, CHECK, POLL and before each command that reports state. Blocking.
    pub fn refresh(&self) -> Result<()> {
        let mut state = self.state.lock();
        self.refresh_locked(&mut state, PATIENCE)
    }

    /// As [`Mailbox::refresh`], for a mailbox that may have been open without a session: meanwhile another program may have given it another
    /// uidlist, and another UIDVALIDITY, without a message to tell that by.
    pub(crate) fn look_again(&self) -> Result<()> {
        let mut state = self.state.lock();
        match self.look_again_at(&mut state) {
            // it got another uidlist while we looked
            Err(Error::Locked { .. }) => self.look_again_at(&mut state),
            other => other,
        }
    }

    /// No session has it open; it is kept for who comes back.
    fn is_only_kept(&self) -> bool {
        self.views.load(Ordering::Acquire) == 0 && self.account.store().recent().is_some()
    }

    /// True when another uidlist stands in the place of the one we read, and no session has numbers that it would have to agree with: UIDs
    /// that we know to be given may then stand for other messages, or come back with the old ones, as when a backup is restored.
    fn was_replaced(&self, state: &State, folder: &Folder) -> Result<bool> {
        let Some(known) = state.position.filter(|_| self.is_only_kept()) else { return Ok(false) };
        Ok(folder.dir.stamp(uidlist::FILE)?.is_some_and(|now| !now.same_file(&known.stamp)))
    }

    /// False when another directory has the mailbox's path by now, as when it is restored: UIDs given in this one would be given again there.
    fn is_in_place(&self, folder: &Folder) -> Result<bool> {
        let there = self.account.open_root()?.stamp(match &*self.account.directory_of(&self.name) {
            "" => ".",
            directory => directory,
        })?;
        let there = there.ok_or(Error::NoSuchMailbox)?;
        Ok(folder.dir.stamp(".")?.is_some_and(|here| there.same_file(&here)))
    }

    fn look_again_at(&self, state: &mut State) -> Result<()> {
        let folder = self.folder_for(state)?;
        if state.position.map(|position| position.stamp) != folder.dir.stamp(uidlist::FILE)? && !self.was_replaced(state, &folder)? {
            self.read_list(state, &folder, None)?;
            state.looked = None;
            self.pending.lock().everything = true;
        }
        // a keyword that no message has yet comes without any event
        self.check_keywords(state, &folder)?;
        self.refresh_in(state, &folder, PATIENCE)
    }

    /// As [`Mailbox::refresh`], but gives up soon on a lock, and on a command that changes the mailbox: for the threads that follow many
    /// mailboxes.
    pub(crate) fn refresh_briefly(&self) -> Result<()> {
        if self.is_only_kept() {
            // nobody waits for it; who opens it looks at all that has come together, not at one file of many that are being put there
            return Ok(());
        }
        let busy = || Error::Locked { path: self.account.root().join(self.account.directory_of(&self.name)) };
        let mut state = self.state.try_lock_for(BRIEFLY).ok_or_else(busy)?;
        self.refresh_locked(&mut state, BRIEFLY)
    }

    pub(crate) fn refresh_locked(&self, state: &mut State, patience: Duration) -> Result<()> {
        let folder = self.folder_for(state)?;
        self.refresh_in(state, &folder, patience)
    }

    /// The directories for one look; without them everything has to be looked at when they are back.
    fn folder_for(&self, state: &mut State) -> Result<Folder> {
        if self.is_deleted() {
            return Err(Error::NoSuchMailbox);
        }
        // first, as it tells that watches have ended: what is opened from here on is not older than that
        if self.is_watched() {
            self.account.store().notifier().drain();
        }
        self.folder().inspect_err(|_| self.look_at_all(state))
    }

    fn look_at_all(&self, state: &mut State) {
        self.pending.lock().everything = true;
        state.looked = None;
    }

    fn refresh_in(&self, state: &mut State, folder: &Folder, patience: Duration) -> Result<()> {
        let result = self.make_true(state, folder, patience);
        self.publish_within(state, patience);
        if result.is_err() {
            // what was taken from the queue is not applied
            self.look_at_all(state);
        }
        result
    }

    fn make_true(&self, state: &mut State, folder: &Folder, patience: Duration) -> Result<()> {
        if self.was_replaced(state, folder)? {
            tracing::debug!(mailbox = %self.name, "another uidlist is there, the mailbox is read anew");
            let generation = state.snapshot.generation;
            *state = State::default();
            state.snapshot.generation = generation;
            state.changed = true;
            self.look_in(state, folder, patience)
        } else if self.is_watched() {
            self.refresh_watched(state, folder, patience)
        } else {
            self.look_if_changed(state, folder, patience)
        }
    }

    fn refresh_watched(&self, state: &mut State, folder: &Folder, patience: Duration) -> Result<()> {
        self.follow(folder)?;
        // the log before the events: what it tells of files is among those
        self.read_log(state, folder);
        self.account.store().notifier().drain();
        let pending = std::mem::take(&mut *self.pending.lock());
        if pending.everything {
            return self.look_in(state, folder, patience);
        }
        if pending.begun {
            // the times of the directories tell whether there was anything between the last look and the watch
            self.look_if_changed(state, folder, patience)?;
        }
        if !pending.events.is_empty() {
            self.apply(state, folder, &pending.events, patience)?;
        }
        self.check_names(state, folder)?;
        // a file that the log tells of and no event did was gone again at once, or is among events still to come
        self.pending.lock().everything |= !state.journal.unseen().is_empty();
        Ok(())
    }

    pub(super) fn first_look(&self) -> Result<()> {
        let mut state = self.state.lock();
        let folder = self.folder()?;
        let known = index::read(&folder.dir).inspect_err(|error| tracing::debug!(mailbox = %self.name, %error, "the index cannot be read"));
        // In another uidlist UIDs that the index knows to be given may stand for other messages, or come back with the old ones, as when a backup
        // is restored. Without any, those that were given since the index was written are not known.
        let list = folder.dir.stamp(uidlist::FILE)?;
        let is_of_it = |known: &State| known.position.zip(list).is_some_and(|(position, now)| now.same_file(&position.stamp));
        match known.ok().flatten().filter(is_of_it) {
            Some(known) => {
                let looked = known.looked;
                *state = known;
                state.changed = true;
                self.look_again_at(&mut state)?;
                if state.looked == looked {
                    self.saved.store(self.generation(), Ordering::Release);
                }
            }
            None => {
                self.look_in(&mut state, &folder, PATIENCE)?;
                state.changed = true;
                self.publish(&mut state);
            }
        }
        Ok(())
    }

    /// What there is to write down: nothing where the log or the uidlist still lacks something. `Locked` when it cannot be told now.
    pub(crate) fn known(&self, folder: &Folder) -> Result<Option<Known>> {
        let busy = || Error::Locked { path: folder.dir.path().into() };
        let mut state = self.state.try_lock_for(BRIEFLY).ok_or_else(busy)?;
        let stamps = || Ok::<_, Error>((folder.new.stamp(".")?, folder.cur.stamp(".")?));
        let (before, when) = (stamps()?, SystemTime::now());
        let (Some(new), Some(cur)) = before else { return Ok(None) };
        if !is_settled(&new, when) || !is_settled(&cur, when) {
            return Err(busy());
        }
        self.refresh_locked(&mut state, BRIEFLY)?;
        let is_sure = match self.is_watched() {
            true => self.pending.lock().is_complete(),
            false => state.looked.is_some_and(|(looked_new, looked_cur, _)| (looked_new, looked_cur) == (new, cur)),
        };
        if !is_sure || stamps()? != before {
            return Err(busy());
        }
        let (Some(list), Some((log, settled, last_uid))) = (state.position, state.journal.at_rest()) else { return Ok(None) };
        let is_ahead = state.unmatched.values().any(|line| line.uid > state.highest);
        if state.rewrite || state.unsynced || is_ahead || state.snapshot.uid_validity == 0 {
            return Ok(None);
        }
        Ok(Some(Known {
            snapshot: state.snapshot.clone(),
            fields: state.fields.clone(),
            looked: (new, cur, when),
            list,
            lines: state.lines,
            guid: state.guid.clone(),
            highest: state.highest,
            log,
            settled,
            last_uid,
        }))
    }

    fn look_if_changed(&self, state: &mut State, folder: &Folder, patience: Duration) -> Result<()> {
        self.read_log(state, folder);
        if let Some((new, cur, when)) = state.looked.filter(|_| state.journal.unseen().is_empty()) {
            let same = folder.new.stamp(".")? == Some(new) && folder.cur.stamp(".")? == Some(cur);
            if same && is_settled(&new, when) && is_settled(&cur, when) {
                return self.check_names(state, folder);
            }
        }
        self.look_in(state, folder, patience)
    }

    /// Reads both directories and makes the state what they say.
    pub(super) fn look(&self, state: &mut State, patience: Duration) -> Result<()> {
        let folder = self.folder()?;
        self.look_in(state, &folder, patience)
    }

    pub(super) fn look_in(&self, state: &mut State, folder: &Folder, patience: Duration) -> Result<()> {
        if state.position.is_none() {
            self.read_list(state, folder, None)?;
        }
        self.read_log(state, folder);
        let logged = state.journal.unseen();
        let first_time = state.highest == 0;
        // a message that only the log knows is there unless a listing in which nothing moved says otherwise
        let all_logged = |files: &Files| {
            let listed = state.unmatched.values().filter(|line| files.contains_key(&line.base));
            let listed: HashSet<u32> = listed.map(|line| line.uid).collect();
            logged.iter().all(|uid| listed.contains(uid))
        };
        let listing = self.listing(folder, Lock::Wait(patience), |files| {
            missing(state, files).is_empty()
                && (!first_time || state.unmatched.keys().all(|base| files.contains_key(base)))
                && (logged.is_empty() || all_logged(files))
        })?;
        let Listing { files: found, looked, is_sure } = listing;
        // with files renamed all the time, what we did not see may be there all the same
        let gone = if is_sure { missing(state, &found) } else { Vec::new() };
        for (base, file) in &found {
            if let Some(uid) = state.by_base(base).map(Message::uid) {
                state.note(uid, file);
            }
        }
        state.remove(&gone);
        let new: Vec<Found> = found.into_iter().filter(|(base, _)| state.by_base(base).is_none()).map(|(_, file)| file).collect();
        self.check_keywords(state, folder)?;
        let all_in = self.introduce_if_room(state, folder, new, patience)?;
        if all_in && is_sure {
            state.never_seen(&logged);
            if first_time {
                state.never_logged();
            }
        }
        state.looked = looked.filter(|_| all_in && is_sure);
        if !is_sure {
            self.pending.lock().everything = true;
        }
        Ok(())
    }

    /// As `introduce`. A full or read-only disk hides new mail, which has no place in the uidlist, but what is known can be read (and
    /// removed): false then, and the next refresh tries again.
    fn introduce_if_room(&self, state: &mut State, folder: &Folder, new: Vec<Found>, patience: Duration) -> Result<bool> {
        match self.introduce(state, folder, new, patience) {
            Err(error) if error.cannot_write() && state.snapshot.uid_validity != 0 => {
                tracing::warn!(mailbox = %self.name, %error, "new messages wait until the disk can be written to");
                self.pending.lock().everything = true;
                Ok(false)
            }
            done => done.map(|()| true),
        }
    }

    /// Looks for the names of letters that have none: another program may give them to files before it writes the names.
    fn check_names(&self, state: &mut State, folder: &Folder) -> Result<()> {
        let nameless = state.letters.iter().any(|letter| state.snapshot.keywords.name(letter).is_none());
        if nameless { self.check_keywords(state, folder) } else { Ok(()) }
    }

    /// Reads `dovecot-keywords` when it changed.
    fn check_keywords(&self, state: &mut State, folder: &Folder) -> Result<()> {
        let stamp = keywords::stamp(&folder.dir)?;
        if stamp != state.keywords_stamp {
            let (read, stamp) = keywords::read(&folder.dir)?;
            state.keywords_stamp = stamp;
            if read != state.snapshot.keywords {
                state.snapshot.keywords = read;
                state.changed = true;
            }
        }
        Ok(())
    }

    /// Applies what the kernel told: the usual case of a delivery costs no reading of directories.
    fn apply(&self, state: &mut State, folder: &Folder, events: &[Event], patience: Duration) -> Result<()> {
        let (mut new, mut vanished): (Vec<Found>, Vec<Found>) = (Vec::new(), Vec::new());
        for event in events.iter().filter(|event| is_message_name(&event.name)) {
            let file = Found { name: event.name.clone(), in_new: event.in_new };
            let known =
                state.by_base(file.base()).map(|message| (message.uid(), message.in_new == file.in_new && message.is_named(&file.name)));
            match (known, event.appeared) {
                (Some((_, true)), true) | (Some((_, false)) | None, false) => {}
                (Some((_, true)), false) => vanished.push(file),
                (Some((uid, false)), true) => {
                    if folder.part(file.in_new).is_file(&file.name)? {
                        state.note(uid, &file);
                    }
                }
                (None, true) => {
                    if folder.part(file.in_new).is_file(&file.name)? {
                        new.push(file);
                    }
                }
            }
        }
        let still_named = |state: &State, file: &Found| {
            state.by_base(file.base()).is_some_and(|message| message.in_new == file.in_new && message.is_named(&file.name))
        };
        for file in vanished {
            // renamed to a name told in the same breath, or put back
            if still_named(state, &file) && !folder.part(file.in_new).is_file(&file.name)? {
                return self.look_in(state, folder, patience);
            }
        }
        self.check_keywords(state, folder)?;
        new.dedup_by(|a, b| a.base() == b.base());
        new.retain(|file| state.by_base(file.base()).is_none());
        self.introduce_if_room(state, folder, new, patience).map(drop)
    }

    /// Gives UIDs to files not known yet: those the uidlist has for them, else new ones, appended to it and synced first.
    fn introduce(&self, state: &mut State, folder: &Folder, new: Vec<Found>, patience: Duration) -> Result<()> {
        if new.is_empty() && state.snapshot.uid_validity != 0 && !state.rewrite {
            return Ok(());
        }
        // what the list knows needs no lock, and is shown also when nothing can be written and the list is damaged or old
        let first_time = state.highest == 0 && state.position.is_some() && !state.unsynced && state.snapshot.uid_validity != 0;
        let (listed, new): (Vec<Found>, Vec<Found>) =
            new.into_iter().partition(|file| first_time && state.unmatched.contains_key(file.base()));
        self.place_listed(state, listed);
        if new.is_empty() && !state.rewrite && state.snapshot.uid_validity != 0 {
            return Ok(());
        }
        let lock = lock::lock(&folder.dir, uidlist::LOCK, patience)?;
        self.introduce_locked(state, folder, new, &lock)
    }

    /// As `introduce`, with the lock held. Also brings in whatever others listed meanwhile, so that UIDs given next are above.
    pub(super) fn introduce_locked(&self, state: &mut State, folder: &Folder, new: Vec<Found>, lock: &DotLock) -> Result<()> {
        // while the lock was waited for
        if self.was_replaced(state, folder)? || !self.is_in_place(folder)? {
            return Err(Error::Locked { path: folder.dir.path().into() });
        }
        let mut files: HashMap<Box<str>, Found> = new.into_iter().map(|file| (file.base().into(), file)).collect();
        self.read_list(state, folder, Some(lock))?;
        let unseen = |state: &State, files: &HashMap<Box<str>, Found>| {
            state.unmatched.iter().any(|(base, line)| line.uid > state.highest && !files.contains_key(base))
        };
        if unseen(state, &files) {
            // others gave UIDs to files we have not seen: they come first, or their UIDs would be out of order
            for (base, file) in self.listing(folder, Lock::Held, |files| !unseen(state, files))?.files {
                if state.by_base(&base).is_none() {
                    files.insert(base, file);
                }
            }
        }
        files.retain(|base, _| state.by_base(base).is_none());
        let (listed, mut unlisted): (Vec<Found>, Vec<Found>) =
            files.into_values().partition(|file| state.unmatched.get(file.base()).is_some_and(|line| line.uid > state.highest));
        if state.unsynced && !listed.is_empty() {
            // a failed sync is not tried again: what it was to write may be gone from the memory it came from
            self.rewrite(state, folder, lock)?;
        }
        self.place_listed(state, listed);
        // oldest first, by the seconds every Maildir name begins with
        unlisted.sort_by_cached_key(|file| {
            let seconds: u64 = file.name.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0);
            (seconds, file.name.clone())
        });
        let bases: Vec<Box<str>> = unlisted.iter().map(|file| file.base().into()).collect();
        let uids = self.assign(state, folder, &bases, &[], lock)?;
        for (uid, file) in uids.into_iter().zip(&unlisted) {
            let fields = state.unmatched.remove(file.base()).map(|line| line.fields).unwrap_or_default();
            state.add(uid, &fields, file);
            tracing::debug!(mailbox = %self.name, uid, file = file.base(), "message has a UID");
        }
        if state.wants_rewrite() {
            self.rewrite(state, folder, lock)?;
        }
        Ok(())
    }

    /// Adds files under the UIDs the list has for them.
    fn place_listed(&self, state: &mut State, files: Vec<Found>) {
        let mut listed: Vec<(u32, Box<str>, Found)> =
            files.into_iter().filter_map(|file| state.unmatched.remove(file.base()).map(|line| (line.uid, line.fields, file))).collect();
        listed.sort_by_key(|(uid, ..)| *uid);
        for (uid, fields, file) in listed {
            state.add(uid, &fields, &file);
        }
    }

    /// Takes UIDs for files named `bases`, durable on return; their lines get `fields`, or those they had. The messages are not added yet.
    pub(super) fn assign(
        &self,
        state: &mut State,
        folder: &Folder,
        bases: &[Box<str>],
        fields: &[String],
        lock: &DotLock,
    ) -> Result<Vec<u32>> {
        if bases.is_empty() {
            return Ok(Vec::new());
        }
        let first = state.snapshot.uid_next.max(state.highest.saturating_add(1)).max(1);
        if first > u32::MAX - 1 - bases.len() as u32 {
            return Err(Error::Limit("mailbox has used up its UIDs"));
        }
        let uids: Vec<u32> = (first..).take(bases.len()).collect();
        let mut text = String::new();
        for (index, (uid, base)) in uids.iter().zip(bases).enumerate() {
            let known = || state.unmatched.get(base).map_or("", |line| &line.fields);
            let fields = fields.get(index).map_or_else(known, String::as_str);
            uidlist::write_line(&mut text, *uid, fields, base);
        }
        let appended = match state.position {
            Some(position) if !state.rewrite => uidlist::append(&folder.dir, &position, &text).inspect_err(|_| {
                // the UIDs of lines that stay are read again with the lock, and go into the new file
                (state.rewrite, state.unsynced) = (true, true);
            })?,
            _ => None,
        };
        state.snapshot.uid_next = first + bases.len() as u32;
        match appended {
            Some(position) => {
                state.position = Some(position);
                state.lines += bases.len();
            }
            None => self.rewrite_with(state, folder, &text, bases, lock)?,
        }
        Ok(uids)
    }

    pub(super) fn rewrite(&self, state: &mut State, folder: &Folder, lock: &DotLock) -> Result<()> {
        self.rewrite_with(state, folder, "", &[], lock)
    }

    /// Replaces the uidlist by what we know, `more` (lines of the files `bases`) behind it. Lines of files that we have not seen stay when the
    /// file is there all the same: another process may have told their UIDs.
    fn rewrite_with(&self, state: &mut State, folder: &Folder, more: &str, bases: &[Box<str>], _lock: &DotLock) -> Result<()> {
        if !state.unmatched.is_empty() {
            let files = self.listing(folder, Lock::Held, |_| false)?.files;
            let again: HashSet<&str> = bases.iter().map(|base| &**base).collect();
            state.unmatched.retain(|base, _| files.contains_key(base) && !again.contains(&**base));
        }
        let known = state
            .snapshot
            .iter()
            .map(|message| (message.uid(), state.fields.get(&message.uid()).map_or("", |fields| fields), message.base_name()));
        let unseen = state.unmatched.values().map(|line| (line.uid, &*line.fields, &*line.base));
        let mut lines: Vec<(u32, &str, &str)> = known.chain(unseen).collect();
        lines.sort_unstable();
        lines.dedup_by_key(|(uid, ..)| *uid);
        let mut body = String::with_capacity(lines.len() * 64 + more.len());
        lines.iter().for_each(|(uid, fields, base)| uidlist::write_line(&mut body, *uid, fields, base));
        body.push_str(more);
        let count = lines.len() + bases.len();
        if state.guid.is_empty() {
            state.guid = UidList::new(1).guid;
        }
        let position = uidlist::replace(&folder.dir, state.snapshot.uid_validity, state.snapshot.uid_next, &state.guid, &body)?;
        state.position = Some(position);
        state.lines = count;
        (state.rewrite, state.unsynced) = (false, false);
        Ok(())
    }

    /// Reads what is new in the uidlist. With the lock held, a missing or useless one is made anew: from memory when this process
    /// knows the mailbox, else with another UIDVALIDITY.
    fn read_list(&self, state: &mut State, folder: &Folder, lock: Option<&DotLock>) -> Result<()> {
        match uidlist::read(&folder.dir, state.position.as_ref(), lock.is_some())? {
            uidlist::Found::Same => {}
            uidlist::Found::More(lines, position) => {
                state.position = Some(position);
                state.lines += lines.len();
                for line in lines {
                    state.snapshot.uid_next = state.snapshot.uid_next.max(line.uid.saturating_add(1));
                    if state.by_base(&line.base).is_none() {
                        state.unmatched.insert(line.base.clone(), line);
                    }
                }
            }
            uidlist::Found::Whole(list, position) => {
                if state.snapshot.uid_validity != 0 && state.snapshot.uid_validity != list.uid_validity {
                    tracing::warn!(mailbox = %self.name, "UIDVALIDITY was changed by another program");
                    state.reset();
                }
                self.adopt(state, list);
                state.position = Some(position);
            }
            uidlist::Found::Nothing { damaged } => {
                if damaged {
                    tracing::warn!(mailbox = %self.name, file = %folder.dir.at(uidlist::FILE).display(), "uidlist is damaged, it is made anew");
                }
                state.rewrite = true;
                if lock.is_some() && state.snapshot.uid_validity == 0 {
                    let root = self.account.open_root()?;
                    state.snapshot.uid_validity = uidvalidity::next(&root, 0)?;
                    state.snapshot.uid_next = 1;
                    state.changed = true;
                }
            }
        }
        Ok(())
    }

    /// Compares a list read from its start with what is known.
    fn adopt(&self, state: &mut State, list: UidList) {
        state.guid = list.guid;
        state.lines = list.lines.len();
        state.rewrite |= list.rewrite;
        state.unmatched.clear();
        state.changed |= state.snapshot.uid_validity != list.uid_validity;
        state.snapshot.uid_validity = list.uid_validity;
        state.snapshot.uid_next = state.snapshot.uid_next.max(list.next_uid);
        let mut listed = 0;
        let mut moved = Vec::new();
        for line in list.lines {
            match state.by_base(&line.base).map(Message::uid) {
                Some(uid) if uid == line.uid => listed += 1,
                Some(uid) => {
                    // another program took the file for a new message: it is one, then
                    moved.push(uid);
                    state.unmatched.insert(line.base.clone(), line);
                }
                // of two lines for one file the later is true
                None => drop(state.unmatched.insert(line.base.clone(), line)),
            }
        }
        moved.sort_unstable();
        moved.dedup();
        state.remove(&moved);
        // lines of ours that are no longer there have to come back
        state.rewrite |= listed < state.snapshot.len();
    }
}

/// UIDs of messages that are in no directory.
fn missing(state: &State, found: &HashMap<Box<str>, Found>) -> Vec<u32> {
    state.snapshot.iter().filter(|message| !found.contains_key(message.base_name())).map(Message::uid).collect()
}
