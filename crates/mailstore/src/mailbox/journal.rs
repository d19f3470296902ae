//! The mailbox's change log (`crate::changelog`) and the state: what others wrote there is learnt, what was found on disk or done is written,
//! and only then shown to sessions.
//!
//! Where the two differ, in this order: a file that is not there under the name we found is older news than the log; above `settled` the log
//! wins, as who wrote it was stopped before it could rename the file; else the file wins, another program renamed it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::changelog::{self, Bits, Found, Header, Locked, Position, Record, What, next_modseq, ranges};
use crate::dir::Stamp;
use crate::error::{Error, Result};
use crate::flags::Info;
use crate::mailbox::state::State;
use crate::mailbox::sync::PATIENCE;
use crate::mailbox::{Folder, Mailbox};
use crate::snapshot::file_name;
use crate::uidlist;

/// A log of no more bytes is left as it is.
const SHORT_BYTES: u64 = 64 << 10;

/// Bytes of log per message that are still left as they are.
const BYTES_PER_MESSAGE: u64 = 64;

/// Ranges of removed messages that a shorter file keeps.
const MOST_VANISHED: usize = 4096;

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
    /// UIDs of removed messages that the log still has.
    gone: BTreeSet<u32>,
    /// There is no log that could be used.
    anew: bool,
    /// A sync failed: the file is given up.
    poisoned: bool,
    /// Why the log cannot be written was told.
    complained: bool,
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
        }
        self.compare(uid);
    }

    /// Messages are no more.
    pub(super) fn unlinked(&mut self, uids: &[u32]) {
        for uid in uids {
            self.journal.unlogged.remove(uid);
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

    /// Log and message are compared once more.
    fn compare(&mut self, uid: u32) {
        let Some(entry) = self.journal.entries.get(&uid).copied() else { return };
        if self.snapshot.find(uid).is_some_and(|(_, message)| Bits::of(message.info) == entry.bits) {
            self.journal.entries.remove(&uid);
            self.journal.unlogged.remove(&uid);
            self.set_modseq(uid, entry.modseq);
        }
    }

    fn set_modseq(&mut self, uid: u32, modseq: u64) {
        if self.snapshot.find(uid).is_some_and(|(_, message)| message.modseq != modseq) {
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
            (message.in_new, message.odd_name, message.modseq) = (false, None, entry.modseq);
        });
        self.changed = true;
    }

    fn learn(&mut self, records: Vec<Record>) {
        for Record { modseq, what } in records {
            self.changed |= modseq > self.snapshot.highest_modseq;
            self.snapshot.highest_modseq = self.snapshot.highest_modseq.max(modseq);
            match what {
                What::Appeared(list) => list.into_iter().for_each(|(uid, bits, _)| self.learn_flags(uid, bits, modseq)),
                What::Flags(list) => list.into_iter().for_each(|(uid, bits)| self.learn_flags(uid, bits, modseq)),
                What::State(list) => list.into_iter().for_each(|(uid, bits, modseq)| self.learn_flags(uid, bits, modseq)),
                What::Vanished(list) => list.into_iter().for_each(|(first, last)| self.learn_vanished(first, last)),
                What::Other => {}
            }
        }
    }

    fn learn_vanished(&mut self, first: u32, last: u32) {
        if first > last {
            return;
        }
        let here = self.snapshot.iter_from(self.snapshot.first_from(first)).map(|message| message.uid());
        let here: Vec<u32> = here.take_while(|uid| *uid <= last).collect();
        self.remove(&here);
        let journal = &mut self.journal;
        let known: Vec<u32> = journal.entries.range(first..=last).map(|(uid, _)| *uid).collect();
        known.iter().for_each(|uid| _ = journal.entries.remove(uid));
        let gone: Vec<u32> = journal.gone.range(first..=last).copied().collect();
        gone.iter().for_each(|uid| _ = journal.gone.remove(uid));
    }

    fn learn_found(&mut self, found: Found) {
        match found {
            Found::Nothing { damaged } => {
                if damaged {
                    tracing::warn!("the log of a mailbox is damaged, it is made anew");
                }
                self.journal.anew = true;
            }
            Found::More { records, position, settled } => {
                (self.journal.position, self.journal.settled) = (Some(position), settled);
                self.learn(records);
            }
            Found::Whole { position, .. } if position.header.uid_validity != self.snapshot.uid_validity => self.journal.anew = true,
            Found::Whole { records, position, settled } => {
                (self.journal.position, self.journal.settled) = (Some(position), settled);
                // what it does not name is not in it
                self.journal.entries.clear();
                self.journal.unlogged = self.snapshot.iter().map(|message| message.uid()).collect();
                self.learn(records);
            }
        }
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
        let found = match folder.dir.stamp(changelog::FILE) {
            Ok(stamp) if state.journal.is_at(stamp) => return,
            Ok(_) => changelog::read(&folder.dir, state.journal.position.as_ref()),
            Err(error) => Err(error),
        };
        match found {
            Ok(found) => state.learn_found(found),
            Err(error) => {
                tracing::debug!(mailbox = %self.name, %error, "the log of the mailbox cannot be read");
                state.journal.anew = true;
            }
        }
    }

    /// Writes what the log does not have yet. Where it cannot be written messages are shown all the same, and [`crate::Snapshot::has_modseqs`]
    /// says that their MODSEQs are worth nothing.
    pub(super) fn write_log(&self, state: &mut State, patience: Duration) {
        if state.snapshot.uid_validity != 0 && state.journal.is_due() {
            let written = self.folder().and_then(|folder| self.lock_log(state, &folder, patience));
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
        state.changed |= state.snapshot.lasting != is_lasting;
        state.snapshot.lasting = is_lasting;
    }

    /// Locks the log, learns what others wrote and writes what it does not have yet: then state and log are the same.
    pub(super) fn lock_log(&self, state: &mut State, folder: &Folder, patience: Duration) -> Result<Locked> {
        let mut log = Locked::take(&folder.dir, patience)?;
        state.journal.anew = false;
        let found = log.read(state.journal.position.as_ref())?;
        state.learn_found(found);
        self.even_out(state, folder, &mut log)?;
        Ok(log)
    }

    /// As [`Mailbox::lock_log`], for a change that is to be made also where there can be no log.
    pub(super) fn lock_log_if_possible(&self, state: &mut State, folder: &Folder) -> Result<Option<Locked>> {
        match self.lock_log(state, folder, PATIENCE) {
            Err(error @ Error::Locked { .. }) => Err(error),
            Err(error) => {
                tracing::debug!(mailbox = %self.name, %error, "a change without the log");
                Ok(None)
            }
            locked => locked.map(Some),
        }
    }

    /// Writes the flags that files are about to get; on the disk on return. Gives their MODSEQ.
    pub(super) fn announce(&self, state: &mut State, log: &mut Locked, flags: &[(u32, Info)]) -> Result<u64> {
        let entries = flags.iter().map(|(uid, info)| (*uid, Bits::of(*info))).collect();
        self.append_log(state, log, &[What::Flags(entries)], true)
    }

    /// The rename that `announce` told of was tried: where it did not come about, the log has to be put right.
    pub(super) fn announced(&self, state: &mut State, uid: u32, info: Info, modseq: u64) {
        if state.snapshot.find(uid).is_some() {
            state.journal.entries.insert(uid, Entry { bits: Bits::of(info), modseq });
            state.journal.unlogged.insert(uid);
            state.compare(uid);
        }
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
            // above what is settled: whoever wrote it was stopped before the rename
            if is_stale || entry.modseq > state.journal.settled && dir.rename(&message.file_name(), &folder.cur, &given).is_ok() {
                state.take_over(uid, entry);
                state.compare(uid);
            } else {
                flags.push((uid, bits));
            }
        }
        let vanished = ranges(state.journal.gone.iter().copied());
        let mut what = Vec::new();
        let changed: Vec<u32> = appeared.iter().map(|(uid, ..)| *uid).chain(flags.iter().map(|(uid, _)| *uid)).collect();
        // A flag that another program set and took back must not get its old MODSEQ again: synced. The others are found again.
        let sync = !flags.is_empty();
        what.extend((!appeared.is_empty()).then_some(What::Appeared(appeared)));
        what.extend((!flags.is_empty()).then_some(What::Flags(flags)));
        what.extend((!vanished.is_empty()).then_some(What::Vanished(vanished)));
        if !what.is_empty() {
            let modseq = self.append_log(state, log, &what, sync)?;
            changed.iter().for_each(|uid| state.set_modseq(*uid, modseq));
            let journal = &mut state.journal;
            changed.iter().for_each(|uid| _ = journal.entries.remove(uid));
            journal.gone.clear();
        }
        state.journal.unlogged.clear();
        let highest = state.snapshot.highest_modseq;
        if state.journal.settled < highest
            && let Some(position) = state.journal.position
        {
            state.journal.position = Some(log.settle(&position, highest)?);
            state.journal.settled = highest;
        }
        self.shorten(state, log)
    }

    fn append_log(&self, state: &mut State, log: &mut Locked, what: &[What], sync: bool) -> Result<u64> {
        let position = state.journal.position.ok_or(Error::NotAllowed("the mailbox has no log"))?;
        let modseq = next_modseq(state.snapshot.highest_modseq, now());
        let records: Vec<Record> = what.iter().map(|what| Record { modseq, what: what.clone() }).collect();
        let appended = log.append(&position, &records, sync);
        state.journal.poisoned |= log.is_broken();
        state.journal.position = Some(appended?);
        state.snapshot.highest_modseq = modseq;
        state.changed = true;
        Ok(modseq)
    }

    /// A log for a mailbox that has none: all messages have changed as far as it knows.
    fn begin_log(&self, state: &mut State, folder: &Folder, log: &mut Locked) -> Result<()> {
        let stamps = [folder.new.stamp(".")?, folder.cur.stamp(".")?, folder.dir.stamp(uidlist::FILE)?];
        let changed = stamps.iter().flatten().map(|stamp| micros(stamp.modified)).max().unwrap_or(0);
        // a clock that was set back must not give MODSEQs that clients had before; those of the last change may be a little younger
        let clock = if changed > now() { changed + 1_000_000 } else { now() };
        let modseq = next_modseq(state.snapshot.highest_modseq, clock);
        let uids: Vec<u32> = state.snapshot.iter().map(|message| message.uid()).collect();
        uids.iter().for_each(|uid| state.set_modseq(*uid, modseq));
        state.snapshot.highest_modseq = modseq;
        state.changed = true;
        let header = Header { uid_validity: state.snapshot.uid_validity, log_id: new_id(), number: 1, floor: modseq };
        let position = log.replace(header, modseq, &[state_record(state)])?;
        let complained = state.journal.complained;
        state.journal = Journal { position: Some(position), settled: modseq, complained, ..Journal::default() };
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
        for record in records.into_iter().rev() {
            let What::Vanished(list) = &record.what else { continue };
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
        kept.push(state_record(state));
        let header = Header { number: position.header.number + 1, floor, ..position.header };
        state.journal.position = Some(log.replace(header, state.journal.settled, &kept)?);
        Ok(())
    }

    /// UIDs of messages removed after `since`, as ranges in any order; `None` when the log does not reach back so far (RFC 7162 §3.2.6).
    /// Blocking.
    pub fn vanished_since(&self, since: u64) -> Result<Option<Vec<(u32, u32)>>> {
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
        Ok(Some(vanished.flatten().collect()))
    }
}

fn state_record(state: &State) -> Record {
    let known = state.snapshot.iter().map(|message| (message.uid(), Bits::of(message.info), message.modseq));
    let unseen = state.journal.entries.iter().map(|(uid, entry)| (*uid, entry.bits, entry.modseq));
    let mut all: Vec<(u32, Bits, u64)> = known.chain(unseen).collect();
    all.sort_unstable_by_key(|(uid, ..)| *uid);
    all.dedup_by_key(|(uid, ..)| *uid);
    Record { modseq: state.snapshot.highest_modseq, what: What::State(all) }
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
