//! The mailbox's change log (`crate::changelog`) and the state: what others wrote there is learnt, what was found on disk or done is written,
//! and only then shown to sessions.
//!
//! Where the two differ, in this order: a file that is not there under the name we found is older news than the log; above `settled` the log
//! wins, as who wrote it was stopped before it could rename the file; else the file wins, another program renamed it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::changelog::{self, Bits, Found, Header, Locked, Position, Record, What, next_modseq, ranges};
use crate::dir::Stamp;
use crate::error::{Error, Result};
use crate::flags::Info;
use crate::mailbox::state::State;
use crate::mailbox::{Folder, Mailbox};
use crate::snapshot::file_name;
use crate::uidlist;

/// A log of no more bytes is left as it is.
const SHORT_BYTES: u64 = 64 << 10;

/// Bytes of log per message that are still left as they are.
const BYTES_PER_MESSAGE: u64 = 64;

/// Ranges of removed messages that a shorter file keeps.
const MOST_VANISHED: usize = 1024;

/// Times of directories further ahead are no clock that was set back, but wrong.
const DAY_MICROS: u64 = 86_400_000_000;

/// How long the log's lock is waited for: holders need milliseconds, and meanwhile nobody here gets at the mailbox.
const LOG_PATIENCE: Duration = Duration::from_secs(2);

/// How long a log that could not be written is left alone.
const FAILED_PAUSE: Duration = Duration::from_secs(30);

/// How long the lock of a log is not waited for when that was in vain.
const LOCKED_PAUSE: Duration = Duration::from_secs(10);

/// What the log says of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    bits: Bits,
    modseq: u64,
}

/// What the log says, as far as it was read, where that is not what the snapshot says.
#[derive(Default)]
pub(crate) struct Journal {
    position: Option<Position>,
    /// Files have the names of records up to this MODSEQ.
    settled: u64,
    /// Of messages that are not in the snapshot, and of `unlogged` ones.
    entries: BTreeMap<u32, Entry>,
    /// UIDs whose flags or presence the log does not have.
    unlogged: BTreeSet<u32>,
    /// Those of `unlogged` that get a record whatever the log says: their flags were shown, or the file got them, otherwise than it has it.
    owed: BTreeSet<u32>,
    /// UIDs of removed messages that the log still has.
    gone: BTreeSet<u32>,
    /// The highest UID that the log has or had.
    last_uid: u32,
    /// There is no log that could be used.
    anew: bool,
    /// A sync failed: the file is given up.
    poisoned: bool,
    /// The file is new, and its name may not be on the disk.
    is_new: bool,
    /// Why the log cannot be written was told.
    complained: bool,
    /// The log could not be written.
    failed: Option<Failed>,
}

#[derive(Clone, Copy)]
enum Failed {
    /// Not tried again before.
    Until(Instant),
    /// Somebody held the lock: not waited for again before.
    Locked(Instant),
}

impl Journal {
    /// True when something has to be written.
    pub fn is_due(&self) -> bool {
        self.position.is_none() || self.anew || self.poisoned || !self.unlogged.is_empty() || !self.gone.is_empty()
    }

    /// UIDs that only the log knows.
    pub fn unseen(&self) -> Vec<u32> {
        self.entries.keys().copied().filter(|uid| !self.unlogged.contains(uid)).collect()
    }

    fn is_at(&self, stamp: Option<Stamp>) -> bool {
        self.position.map(|position| position.stamp) == stamp
    }
}

impl State {
    /// The MODSEQ of a message just found, which is about to be added.
    pub(super) fn modseq_for(&mut self, uid: u32, info: Info) -> u64 {
        match self.journal.entries.get(&uid).copied() {
            Some(entry) if entry.bits == Bits::of(info) => {
                self.journal.entries.remove(&uid);
                entry.modseq
            }
            known => {
                self.journal.unlogged.insert(uid);
                known.map_or(self.snapshot.highest_modseq.max(1), |entry| entry.modseq)
            }
        }
    }

    /// A message's file was found with other flags than `before`, or was given others.
    pub(super) fn renamed(&mut self, uid: u32, before: Info, modseq: u64) {
        if self.journal.unlogged.insert(uid) {
            self.journal.entries.insert(uid, Entry { bits: Bits::of(before), modseq });
            if modseq > self.journal.settled {
                // Its record has been carried out, or overtaken: what the file has now is newer.
                self.journal.owed.insert(uid);
            }
        }
        self.compare(uid);
    }

    /// These have got their flags without a record, which is to be written.
    pub(super) fn owes(&mut self, uids: impl IntoIterator<Item = u32>) {
        self.journal.owed.extend(uids);
    }

    /// Messages are no more.
    pub(super) fn unlinked(&mut self, uids: &[u32]) {
        for uid in uids {
            self.journal.unlogged.remove(uid);
            self.journal.owed.remove(uid);
            self.journal.entries.remove(uid);
            self.journal.gone.insert(*uid);
        }
    }

    /// UIDs that the log has and of which there is no file.
    pub(super) fn never_seen(&mut self, uids: &[u32]) {
        for uid in uids {
            if self.snapshot.find(*uid).is_none() && self.journal.entries.remove(uid).is_some() {
                self.journal.gone.insert(*uid);
            }
        }
    }

    /// At the first look, where it can be relied on: what the log never had and the uidlist has a line for was told and removed before a crash
    /// took the records of both.
    pub(super) fn never_logged(&mut self) {
        let last = self.journal.last_uid;
        let lost = self.unmatched.values().map(|line| line.uid).filter(|uid| *uid > last && self.snapshot.find(*uid).is_none());
        self.journal.gone.extend(lost);
    }

    /// Log and message are compared once more.
    fn compare(&mut self, uid: u32) {
        let Some(entry) = self.journal.entries.get(&uid).copied() else { return };
        let is_owed = self.journal.owed.contains(&uid);
        if !is_owed && self.snapshot.find(uid).is_some_and(|(_, message)| Bits::of(message.info) == entry.bits) {
            self.journal.entries.remove(&uid);
            self.journal.unlogged.remove(&uid);
            self.set_modseq(uid, entry.modseq);
        }
    }

    /// The rename that `announce` told of was tried. Where it came about the file has what the log says, or more: another program was there
    /// first, and a further record says what it is. Else the log has to be put right.
    pub(super) fn announced(&mut self, uid: u32, info: Info, modseq: u64, is_renamed: bool) {
        let Some((_, message)) = self.snapshot.find(uid) else { return };
        if is_renamed && Bits::of(message.info) != Bits::of(info) {
            self.journal.owed.insert(uid);
        }
        self.journal.entries.insert(uid, Entry { bits: Bits::of(info), modseq });
        self.journal.unlogged.insert(uid);
        self.compare(uid);
    }

    fn set_modseq(&mut self, uid: u32, modseq: u64) {
        if self.snapshot.find(uid).is_some_and(|(_, message)| message.modseq < modseq) {
            self.snapshot.update(uid, |message| message.modseq = modseq);
            self.changed = true;
        }
    }

    /// The log has flags for a message.
    fn learn_flags(&mut self, uid: u32, bits: Bits, modseq: u64) {
        let entry = Entry { bits, modseq };
        let Some((_, message)) = self.snapshot.find(uid) else {
            self.journal.entries.insert(uid, entry);
            return;
        };
        let differs = Bits::of(message.info) != bits;
        if differs && !self.journal.unlogged.contains(&uid) && modseq <= self.journal.settled {
            return self.take_over(uid, entry);
        }
        self.journal.entries.insert(uid, entry);
        self.journal.unlogged.insert(uid);
        self.compare(uid);
    }

    /// The file has the name that the log gave it.
    fn take_over(&mut self, uid: u32, entry: Entry) {
        let Some((_, message)) = self.snapshot.find(uid) else { return };
        self.unclaimed -= usize::from(message.in_new);
        self.snapshot.update(uid, |message| {
            message.info = entry.bits.onto(message.info);
            (message.in_new, message.odd_name, message.modseq) = (false, None, message.modseq.max(entry.modseq));
        });
        self.changed = true;
    }

    fn learn(&mut self, records: Vec<Record>, folder: &Folder) -> Result<()> {
        for Record { modseq, what } in records {
            self.journal.last_uid = self.journal.last_uid.max(what.last_uid());
            self.changed |= modseq > self.snapshot.highest_modseq;
            self.snapshot.highest_modseq = self.snapshot.highest_modseq.max(modseq);
            match what {
                What::Appeared(list) => list.into_iter().for_each(|(uid, bits, _)| self.learn_flags(uid, bits, modseq)),
                What::Flags(list) => list.into_iter().for_each(|(uid, bits)| self.learn_flags(uid, bits, modseq)),
                What::State(list) => list.into_iter().for_each(|(uid, bits, modseq)| self.learn_flags(uid, bits, modseq)),
                What::Vanished(list) => list.into_iter().try_for_each(|(first, last)| self.learn_vanished(first, last, folder))?,
                What::Other => {}
            }
        }
        Ok(())
    }

    /// Messages that have their file nevertheless stay, and are told to have appeared: no UID changes because somebody overlooked a file.
    fn learn_vanished(&mut self, first: u32, last: u32, folder: &Folder) -> Result<()> {
        if first > last {
            return Ok(());
        }
        let (mut lost, mut kept) = (Vec::new(), Vec::new());
        let here = self.snapshot.iter_from(self.snapshot.first_from(first)).take_while(|message| message.uid() <= last);
        for message in here {
            let is_there = folder.part(message.in_new).is_file(&message.file_name())?;
            if is_there { kept.push(message.uid()) } else { lost.push(message.uid()) }
        }
        self.remove(&lost);
        let journal = &mut self.journal;
        let known: Vec<u32> = journal.entries.range(first..=last).map(|(uid, _)| *uid).collect();
        known.iter().for_each(|uid| _ = journal.entries.remove(uid));
        let gone: Vec<u32> = journal.gone.range(first..=last).copied().collect();
        gone.iter().for_each(|uid| _ = journal.gone.remove(uid));
        journal.unlogged.extend(kept);
        Ok(())
    }

    fn learn_found(&mut self, found: Found, folder: &Folder) -> Result<()> {
        match found {
            Found::Nothing { damaged, highest } => {
                self.snapshot.highest_modseq = self.snapshot.highest_modseq.max(highest);
                if damaged {
                    tracing::warn!("the log of a mailbox is damaged, it is made anew");
                }
                self.journal.anew = true;
            }
            Found::More { records, position, settled } => {
                self.journal.settled = settled;
                self.learn(records, folder)?;
                (self.journal.position, self.journal.anew) = (Some(position), false);
            }
            Found::Whole { position, .. } if position.header.uid_validity != self.snapshot.uid_validity => self.journal.anew = true,
            Found::Whole { mut records, position, settled } => {
                without_living(&mut records);
                self.journal.settled = settled;
                // what it does not name is not in it
                self.journal.entries.clear();
                self.journal.unlogged = self.snapshot.iter().map(|message| message.uid()).collect();
                self.learn(records, folder)?;
                (self.journal.position, self.journal.anew) = (Some(position), false);
            }
        }
        Ok(())
    }

    /// The MODSEQ up to which the snapshot shows all that the log says.
    pub(super) fn shown_modseq(&self) -> u64 {
        let is_ahead = |(uid, entry): &(&u32, &Entry)| self.snapshot.find(**uid).is_none_or(|(_, message)| message.modseq < entry.modseq);
        let ahead = self.journal.entries.iter().filter(is_ahead).map(|(_, entry)| entry.modseq.saturating_sub(1));
        ahead.min().map_or(self.snapshot.highest_modseq, |below| below.min(self.snapshot.highest_modseq))
    }

    /// MODSEQs can be relied on: those shown are in the log.
    fn is_lasting(&self) -> bool {
        !self.journal.is_due()
    }
}

impl Mailbox {
    /// Learns what others wrote since the last look; a system call when they did not. A log that cannot be read keeps no mailbox closed:
    /// `write_log` tries to make it anew, and tells of that.
    pub(super) fn read_log(&self, state: &mut State, folder: &Folder) {
        // without UIDs there is nothing to tell
        if state.snapshot.uid_validity == 0 {
            return;
        }
        let learnt = match folder.dir.stamp(changelog::FILE) {
            Ok(stamp) if state.journal.is_at(stamp) => return,
            Ok(_) => changelog::read(&folder.dir, state.journal.position.as_ref()).and_then(|found| state.learn_found(found, folder)),
            Err(error) => Err(error),
        };
        if let Err(error) = learnt {
            tracing::debug!(mailbox = %self.name, %error, "the log of the mailbox cannot be read");
            state.journal.anew = true;
        }
    }

    /// Writes what the log does not have yet. Where it cannot be written messages are shown all the same, and [`crate::Snapshot::has_modseqs`]
    /// says that their MODSEQs are worth nothing.
    pub(super) fn write_log(&self, state: &mut State, patience: Duration) {
        let now = Instant::now();
        let patience = match state.journal.failed {
            Some(Failed::Until(when)) if now < when => None,
            Some(Failed::Locked(when)) if now < when => Some(Duration::ZERO),
            _ => Some(patience.min(LOG_PATIENCE)),
        };
        if state.snapshot.uid_validity != 0
            && state.journal.is_due()
            && let Some(patience) = patience
        {
            let written = self.folder().and_then(|folder| self.lock_log(state, &folder, patience));
            state.journal.failed = match &written {
                Ok(_) | Err(Error::NoSuchMailbox) => None,
                Err(Error::Locked { .. }) => Some(Failed::Locked(now + LOCKED_PAUSE)),
                Err(_) => Some(Failed::Until(now + FAILED_PAUSE)),
            };
            match written {
                Ok(_) => state.journal.complained = false,
                Err(Error::NoSuchMailbox) => {}
                Err(error) if !state.journal.complained => {
                    tracing::warn!(mailbox = %self.name, %error, "the log of the mailbox cannot be written");
                    state.journal.complained = true;
                }
                Err(error) => tracing::debug!(mailbox = %self.name, %error, "the log of the mailbox cannot be written"),
            }
        }
        let is_lasting = state.is_lasting();
        if !is_lasting {
            // what is shown now without a record gets one even when it is taken back
            let State { journal, snapshot, .. } = state;
            let is_behind = |uid: &u32, entry: &Entry| snapshot.find(*uid).is_some_and(|(_, message)| message.modseq < entry.modseq);
            let shown = journal.unlogged.iter().filter(|uid| journal.entries.get(uid).is_none_or(|entry| !is_behind(uid, entry)));
            journal.owed.extend(shown);
        }
        state.changed |= state.snapshot.lasting != is_lasting;
        state.snapshot.lasting = is_lasting;
    }

    /// Locks the log, learns what others wrote and writes what it does not have yet: then state and log are the same.
    pub(super) fn lock_log(&self, state: &mut State, folder: &Folder, patience: Duration) -> Result<Locked> {
        let mut log = Locked::take(&folder.dir, patience)?;
        let found = log.read(state.journal.position.as_ref())?;
        state.learn_found(found, folder)?;
        self.even_out(state, folder, &mut log)?;
        Ok(log)
    }

    /// As [`Mailbox::lock_log`], for a change that is to be made also where there can be no log, or somebody keeps it locked: it gets its
    /// record later.
    pub(super) fn lock_log_if_possible(&self, state: &mut State, folder: &Folder) -> Option<Locked> {
        self.lock_log(state, folder, LOG_PATIENCE)
            .inspect_err(|error| tracing::debug!(mailbox = %self.name, %error, "a change without the log"))
            .ok()
    }

    /// Writes the flags that files are about to get; on the disk on return. Gives their MODSEQ.
    pub(super) fn announce(&self, state: &mut State, log: &mut Locked, flags: &[(u32, Info)]) -> Result<u64> {
        let entries = flags.iter().map(|(uid, info)| (*uid, Bits::of(*info))).collect();
        let modseq = next_modseq(state.snapshot.highest_modseq, now());
        self.append_log(state, log, &[What::Flags(entries)], modseq, true)
    }

    /// Brings log and state together. The log is locked and was read to its end.
    pub(super) fn even_out(&self, state: &mut State, folder: &Folder, log: &mut Locked) -> Result<()> {
        if state.journal.anew || state.journal.poisoned {
            return self.begin_log(state, folder, log);
        }
        let (mut appeared, mut flags) = (Vec::new(), Vec::new());
        for uid in state.journal.unlogged.clone() {
            let Some((_, message)) = state.snapshot.find(uid) else { continue };
            let bits = Bits::of(message.info);
            let Some(entry) = state.journal.entries.get(&uid).copied() else {
                appeared.push((uid, bits, message.core.base.clone()));
                continue;
            };
            let dir = folder.part(message.in_new);
            let given = file_name(&message.core.base, entry.bits.onto(message.info), false);
            let is_stale = !dir.is_file(&message.file_name())?;
            let is_owed = state.journal.owed.contains(&uid);
            // above what is settled: whoever wrote it was stopped before the rename
            let is_due = entry.modseq > state.journal.settled && !is_owed;
            if is_stale || is_due && dir.rename(&message.file_name(), &folder.cur, &given).is_ok() {
                state.take_over(uid, entry);
                state.compare(uid);
                flags.extend(is_owed.then_some((uid, entry.bits)));
            } else {
                flags.push((uid, bits));
            }
        }
        let vanished = ranges(state.journal.gone.iter().copied());
        let mut what = Vec::new();
        let changed: Vec<u32> = appeared.iter().map(|(uid, ..)| *uid).chain(flags.iter().map(|(uid, _)| *uid)).collect();
        // A flag that another program set and took back must not get its old MODSEQ again: synced. The others are found again.
        // So are removals: a file that comes back in a crash is told to have appeared only by a log that says it went.
        let sync = !flags.is_empty() || !vanished.is_empty();
        what.extend((!appeared.is_empty()).then_some(What::Appeared(appeared)));
        what.extend((!flags.is_empty()).then_some(What::Flags(flags)));
        what.extend((!vanished.is_empty()).then_some(What::Vanished(vanished)));
        if !what.is_empty() {
            // files have what these records say already: settled first, so that they never win over what another program makes of a file
            let modseq = next_modseq(state.snapshot.highest_modseq, now());
            self.settle_log(state, log, modseq)?;
            let modseq = self.append_log(state, log, &what, modseq, sync)?;
            changed.iter().for_each(|uid| state.set_modseq(*uid, modseq));
            let journal = &mut state.journal;
            changed.iter().for_each(|uid| _ = journal.entries.remove(uid));
            journal.gone.clear();
        }
        state.journal.unlogged.clear();
        state.journal.owed.clear();
        self.settle_log(state, log, state.snapshot.highest_modseq)?;
        self.shorten(state, log)
    }

    fn settle_log(&self, state: &mut State, log: &mut Locked, modseq: u64) -> Result<()> {
        if state.journal.settled < modseq
            && let Some(position) = state.journal.position
        {
            state.journal.position = Some(log.settle(&position, modseq)?);
            state.journal.settled = modseq;
        }
        Ok(())
    }

    fn append_log(&self, state: &mut State, log: &mut Locked, what: &[What], modseq: u64, sync: bool) -> Result<u64> {
        let position = state.journal.position.ok_or(Error::NotAllowed("the mailbox has no log"))?;
        let records: Vec<Record> = what.iter().map(|what| Record { modseq, what: what.clone() }).collect();
        if sync && std::mem::take(&mut state.journal.is_new) {
            log.sync_name().inspect_err(|_| state.journal.is_new = true)?;
        }
        let appended = log.append(&position, &records, sync);
        state.journal.poisoned |= log.is_broken();
        state.journal.position = Some(appended?);
        state.journal.last_uid = what.iter().map(What::last_uid).fold(state.journal.last_uid, u32::max);
        state.snapshot.highest_modseq = modseq;
        state.changed = true;
        Ok(modseq)
    }

    /// A log for a mailbox that has none: all messages have changed as far as it knows.
    fn begin_log(&self, state: &mut State, folder: &Folder, log: &mut Locked) -> Result<()> {
        if uidlist::read_validity(&folder.dir)?.is_some_and(|validity| validity != state.snapshot.uid_validity) {
            // the log may be that of the uidlist, and what we know is over
            state.position = None;
            state.looked = None;
            self.pending.lock().everything = true;
            return Err(Error::NotAllowed("the mailbox has another UIDVALIDITY by now"));
        }
        let stamps = [folder.new.stamp(".")?, folder.cur.stamp(".")?, folder.dir.stamp(uidlist::FILE)?];
        let changed = stamps.iter().flatten().map(|stamp| micros(stamp.modified)).max().unwrap_or(0);
        // a clock that was set back must not give MODSEQs that clients had before; those of the last change may be a little younger
        let is_near = (now()..now() + DAY_MICROS).contains(&changed);
        let clock = if is_near { changed + 1_000_000 } else { now() };
        let modseq = next_modseq(state.snapshot.highest_modseq, clock);
        let header = Header { uid_validity: state.snapshot.uid_validity, log_id: new_id(), number: 1, floor: modseq };
        // nothing has changed before it is written: what cannot be written is tried again and again
        // Lost in a crash, it is made once more. Where a sync failed a file is needed that is on the disk.
        let sync = state.journal.poisoned;
        let position = log.replace(header, modseq, &[state_record(state, Some(modseq))], sync)?;
        let uids: Vec<u32> = state.snapshot.iter().map(|message| message.uid()).collect();
        uids.iter().for_each(|uid| state.set_modseq(*uid, modseq));
        state.snapshot.highest_modseq = modseq;
        state.changed = true;
        let complained = state.journal.complained;
        let last_uid = state.snapshot.uid_next.saturating_sub(1);
        state.journal = Journal { position: Some(position), settled: modseq, is_new: !sync, last_uid, complained, ..Journal::default() };
        tracing::debug!(mailbox = %self.name, modseq, "the mailbox has a new log");
        Ok(())
    }

    /// Replaces a log that has become much longer than what it says. State and log are the same.
    fn shorten(&self, state: &mut State, log: &mut Locked) -> Result<()> {
        let Some(position) = state.journal.position else { return Ok(()) };
        let messages = (state.snapshot.len() + state.journal.entries.len()) as u64;
        if position.offset <= SHORT_BYTES + messages * BYTES_PER_MESSAGE {
            return Ok(());
        }
        let Found::Whole { records, .. } = log.read(None)? else {
            state.journal.anew = true;
            return Ok(());
        };
        let mut floor = position.header.floor;
        let mut kept: Vec<Record> = Vec::new();
        let mut room = MOST_VANISHED;
        let all = state_record(state, None);
        let living: Vec<u32> = match &all.what {
            What::State(list) => list.iter().map(|(uid, ..)| *uid).collect(),
            _ => Vec::new(),
        };
        for mut record in records.into_iter().rev() {
            let What::Vanished(list) = &mut record.what else { continue };
            *list = except(list, &living);
            if list.is_empty() {
                continue;
            }
            match room.checked_sub(list.len()) {
                Some(left) => room = left,
                // all older ones are forgotten with it
                None => {
                    floor = floor.max(record.modseq);
                    break;
                }
            }
            kept.push(record);
        }
        // of one MODSEQ all or none
        kept.retain(|record| record.modseq > floor);
        kept.reverse();
        kept.push(all);
        let header = Header { number: position.header.number + 1, floor, ..position.header };
        state.journal.position = Some(log.replace(header, state.journal.settled, &kept, true)?);
        Ok(())
    }

    /// UIDs of messages removed after `since`, as ranges in any order; `None` when the log does not reach back so far (RFC 7162 §3.2.6).
    /// Blocking.
    pub fn vanished_since(&self, since: u64) -> Result<Option<Vec<(u32, u32)>>> {
        let is_up_to_date = |state: &State| state.is_lasting() && since >= state.snapshot.highest_modseq;
        if is_up_to_date(&self.state.lock()) {
            return Ok(Some(Vec::new()));
        }
        let folder = self.folder()?;
        let Found::Whole { records, position, .. } = changelog::read(&folder.dir, None)? else { return Ok(None) };
        if position.header.uid_validity != self.snapshot().uid_validity() || since < position.header.floor {
            return Ok(None);
        }
        let newer = records.into_iter().filter(|record| record.modseq > since);
        let vanished = newer.filter_map(|record| match record.what {
            What::Vanished(list) => Some(list),
            _ => None,
        });
        let vanished: Vec<(u32, u32)> = vanished.flatten().collect();
        let living: Vec<u32> = self.snapshot().iter().map(|message| message.uid()).collect();
        Ok(Some(except(&vanished, &living)))
    }
}

/// In a file that was replaced, removals stand before the state: a message that is in the state came back since.
fn without_living(records: &mut [Record]) {
    let Some(end) = records.iter().rposition(|record| matches!(record.what, What::State(_))) else { return };
    let mut living = Vec::new();
    for record in &records[..=end] {
        if let What::State(list) = &record.what {
            living.extend(list.iter().map(|(uid, ..)| *uid));
        }
    }
    living.sort_unstable();
    for record in &mut records[..end] {
        if let What::Vanished(list) = &mut record.what {
            *list = except(list, &living);
        }
    }
}

/// Ranges without the `living` UIDs, which rise.
fn except(list: &[(u32, u32)], living: &[u32]) -> Vec<(u32, u32)> {
    let mut left = Vec::with_capacity(list.len());
    for (first, last) in list.iter().copied() {
        let mut next = Some(first);
        let within = living[living.partition_point(|uid| *uid < first)..].iter().take_while(|uid| **uid <= last);
        for uid in within {
            left.extend(next.filter(|next| next < uid).map(|next| (next, *uid - 1)));
            next = uid.checked_add(1);
        }
        left.extend(next.filter(|next| *next <= last).map(|next| (next, last)));
    }
    left
}

/// All messages; with `changed`, as if all had changed then.
fn state_record(state: &State, changed: Option<u64>) -> Record {
    let known = state.snapshot.iter().map(|message| (message.uid(), Bits::of(message.info), changed.unwrap_or(message.modseq)));
    let unseen = state.journal.entries.iter().map(|(uid, entry)| (*uid, entry.bits, changed.unwrap_or(entry.modseq)));
    let mut all: Vec<(u32, Bits, u64)> = known.chain(unseen).collect();
    all.sort_by_key(|(uid, ..)| *uid);
    all.dedup_by_key(|(uid, ..)| *uid);
    Record { modseq: changed.unwrap_or(state.snapshot.highest_modseq), what: What::State(all) }
}

/// Microseconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

fn micros((seconds, nanos): (i64, i64)) -> u64 {
    (seconds.max(0) as u64).saturating_mul(1_000_000).saturating_add(nanos.max(0) as u64 / 1000)
}

/// Random; without a random source the clock and the process are unique enough.
fn new_id() -> u64 {
    let mut bytes = [0; 8];
    if getrandom::fill(&mut bytes).is_err() {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        bytes = (nanos ^ u64::from(std::process::id()) << 40).to_le_bytes();
    }
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests;
