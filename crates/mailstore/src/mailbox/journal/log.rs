//! Writing the log, and reading it for what happened since.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{Entry, Failed, Journal, except};
use crate::changelog::{self, Bits, Found, Header, Locked, Record, What, next_modseq, ranges};
use crate::error::{Error, Result};
use crate::file_system;
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

impl Mailbox {
    /// Learns what others wrote since the last look; a system call when they did not. A log that cannot be read keeps no mailbox closed:
    /// `write_log` tries to make it anew, and tells of that.
    pub(in crate::mailbox) fn read_log(&self, state: &mut State, folder: &Folder) {
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
    pub(in crate::mailbox) fn write_log(&self, state: &mut State, patience: Duration) {
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
            // but not against a record whose file may not have its name: who asked for that was told it is done, or will be
            let is_to_come = |uid: &u32| journal.entries.get(uid).is_some_and(|entry| entry.modseq > journal.settled);
            let (to_come, owed): (Vec<u32>, Vec<u32>) =
                shown.filter(|uid| !journal.owed.contains(uid)).copied().partition(|uid| is_to_come(uid));
            journal.to_come.extend(to_come);
            journal.owed.extend(owed);
        }
        state.changed |= state.snapshot.lasting != is_lasting;
        state.snapshot.lasting = is_lasting;
    }

    /// Locks the log, learns what others wrote and writes what it does not have yet: then state and log are the same.
    pub(in crate::mailbox) fn lock_log(&self, state: &mut State, folder: &Folder, patience: Duration) -> Result<Locked> {
        let mut log = Locked::take(&folder.dir, patience)?;
        let found = log.read(state.journal.position.as_ref())?;
        state.learn_found(found, folder)?;
        if log.was_cut() && !state.journal.anew {
            // whatever the clock says, no MODSEQ may come again that was in the lost records
            let modseq = next_modseq(state.snapshot.highest_modseq, latest(state, folder)?);
            self.append_log(state, &mut log, &[What::Flags(Vec::new())], modseq, true)?;
        }
        self.even_out(state, folder, &mut log)?;
        Ok(log)
    }

    /// As [`Mailbox::lock_log`], for a change that is to be made also where there can be no log, or somebody keeps it locked: it gets its
    /// record later.
    pub(in crate::mailbox) fn lock_log_if_possible(&self, state: &mut State, folder: &Folder) -> Option<Locked> {
        self.lock_log(state, folder, LOG_PATIENCE)
            .inspect_err(|error| tracing::debug!(mailbox = %self.name, %error, "a change without the log"))
            .ok()
    }

    /// Writes the flags that files are about to get; on the disk on return. Gives their MODSEQ.
    pub(in crate::mailbox) fn announce(&self, state: &mut State, log: &mut Locked, flags: &[(u32, Info)]) -> Result<u64> {
        let entries = flags.iter().map(|(uid, info)| (*uid, Bits::of(*info))).collect();
        let modseq = next_modseq(state.snapshot.highest_modseq, now());
        state.journal.announced = modseq;
        self.append_log(state, log, &[What::Flags(entries)], modseq, true)
    }

    /// Brings log and state together. The log is locked and was read to its end.
    pub(in crate::mailbox) fn even_out(&self, state: &mut State, folder: &Folder, log: &mut Locked) -> Result<()> {
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
            let was_shown = is_owed || state.journal.to_come.contains(&uid);
            // above what is settled: whoever wrote it was stopped before the rename
            let is_due = entry.modseq > state.journal.settled && !is_owed;
            if is_stale || is_due && dir.rename(&message.file_name(), &folder.cur, &given).is_ok() {
                state.take_over(uid, entry);
                state.compare(uid);
                flags.extend(was_shown.then_some((uid, entry.bits)));
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
            self.settle_log(state, folder, log, modseq)?;
            let modseq = self.append_log(state, log, &what, modseq, sync)?;
            changed.iter().for_each(|uid| state.set_modseq(*uid, modseq));
            let journal = &mut state.journal;
            changed.iter().for_each(|uid| _ = journal.entries.remove(uid));
            journal.gone.clear();
        }
        state.journal.unlogged.clear();
        state.journal.owed.clear();
        state.journal.to_come.clear();
        self.settle_log(state, folder, log, state.snapshot.highest_modseq)?;
        self.shorten(state, log)
    }

    /// Files have the names of records up to `modseq`.
    fn settle_log(&self, state: &mut State, folder: &Folder, log: &mut Locked, modseq: u64) -> Result<()> {
        let Some(position) = state.journal.position.filter(|_| state.journal.settled < modseq) else { return Ok(()) };
        // else what is appended now is on the disk only when names that were changed before are
        if state.journal.announced > state.journal.settled && !file_system::keeps_order(&folder.cur) {
            folder.cur.sync()?;
        }
        let settled = log.settle(&position, modseq);
        state.journal.poisoned |= log.is_broken();
        state.journal.position = Some(settled?);
        state.journal.settled = modseq;
        // what comes next has a higher one, also when what was to have this cannot be written
        state.snapshot.highest_modseq = state.snapshot.highest_modseq.max(modseq);
        Ok(())
    }

    fn append_log(&self, state: &mut State, log: &mut Locked, what: &[What], modseq: u64, sync: bool) -> Result<u64> {
        let position = state.journal.position.ok_or(Error::NotAllowed("the mailbox has no log"))?;
        let records: Vec<Record> = what.iter().map(|what| Record { modseq, what: what.clone() }).collect();
        if sync && !state.journal.is_named {
            log.sync_name()?;
            state.journal.is_named = true;
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
        let modseq = next_modseq(state.snapshot.highest_modseq, latest(state, folder)?);
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
        state.journal = Journal { position: Some(position), settled: modseq, is_named: sync, last_uid, complained, ..Journal::default() };
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

/// All messages; with `changed`, as if all had changed then.
fn state_record(state: &State, changed: Option<u64>) -> Record {
    let known = state.snapshot.iter().map(|message| (message.uid(), Bits::of(message.info), changed.unwrap_or(message.modseq)));
    let unseen = state.journal.entries.iter().map(|(uid, entry)| (*uid, entry.bits, changed.unwrap_or(entry.modseq)));
    let mut all: Vec<(u32, Bits, u64)> = known.chain(unseen).collect();
    all.sort_by_key(|(uid, ..)| *uid);
    all.dedup_by_key(|(uid, ..)| *uid);
    Record { modseq: changed.unwrap_or(state.snapshot.highest_modseq), what: What::State(all) }
}

/// Microseconds since 1970, now or when the mailbox changed last: a clock that was set back must not give MODSEQs that clients had before.
fn latest(state: &State, folder: &Folder) -> Result<u64> {
    // the log as it was read, not as it was left when it was cut
    let log = state.journal.position.map(|position| position.stamp);
    let stamps = [folder.new.stamp(".")?, folder.cur.stamp(".")?, folder.dir.stamp(uidlist::FILE)?, log];
    let changed = stamps.iter().flatten().map(|stamp| micros(stamp.modified)).max().unwrap_or(0);
    // those of the last change may be a little younger
    let is_near = (now()..now() + DAY_MICROS).contains(&changed);
    Ok(if is_near { changed + 1_000_000 } else { now() })
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
