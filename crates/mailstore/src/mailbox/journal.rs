//! The mailbox's change log (`crate::changelog`) and the state: what others wrote there is learnt, what was found on disk or done is written
//! (`log`), and only then shown to sessions.
//!
//! Where the two differ, in this order: a file that is not there under the name we found is older news than the log; above `settled` the log
//! wins, as who wrote it was stopped before it could rename the file; else the file wins, another program renamed it.

mod log;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::changelog::{Bits, Found, Position, Record, What};
use crate::dir::Stamp;
use crate::error::Result;
use crate::flags::Info;
use crate::mailbox::Folder;
use crate::mailbox::state::State;

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
    /// The last record that told of flags which files were to get.
    announced: u64,
    /// Of messages that are not in the snapshot, and of `unlogged` ones.
    entries: BTreeMap<u32, Entry>,
    /// UIDs whose flags or presence the log does not have.
    unlogged: BTreeSet<u32>,
    /// Those of `unlogged` that get a record whatever the log says: their flags were shown, or the file got them, otherwise than it has it.
    owed: BTreeSet<u32>,
    /// Those of `unlogged` that were shown otherwise than a record above `settled` has them, which is still carried out: a further one then
    /// tells of the change.
    to_come: BTreeSet<u32>,
    /// UIDs of removed messages that the log still has.
    gone: BTreeSet<u32>,
    /// The highest UID that the log has or had.
    last_uid: u32,
    /// There is no log that could be used.
    anew: bool,
    /// A sync failed: the file is given up.
    poisoned: bool,
    /// The file's name is known to be on the disk. Whoever made the file may not have seen to that.
    is_named: bool,
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

    /// Goes on behind a log that was read up to `position` and that had nothing to tell then.
    pub fn resume(&mut self, position: Position, settled: u64, last_uid: u32) {
        (self.position, self.settled, self.last_uid) = (Some(position), settled, last_uid);
    }

    /// What [`Journal::resume`] takes, where log and snapshot say the same.
    pub fn at_rest(&self) -> Option<(Position, u64, u32)> {
        let position = self.position.filter(|_| !self.is_due() && self.entries.is_empty())?;
        Some((position, self.settled, self.last_uid))
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
            self.journal.to_come.remove(uid);
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
        let is_owed = self.journal.owed.contains(&uid) || self.journal.to_come.contains(&uid);
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
        match Bits::of(message.info) == Bits::of(info) {
            // the record that was just written is the one it was owed
            true if is_renamed => _ = self.journal.owed.remove(&uid),
            false if is_renamed => _ = self.journal.owed.insert(uid),
            _ => {}
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
            if matches!(what, What::Flags(_)) {
                self.journal.announced = self.journal.announced.max(modseq);
            }
            match what {
                What::Appeared(list) => list.into_iter().for_each(|(uid, bits, _)| self.learn_flags(uid, bits, modseq)),
                What::Flags(list) => list.into_iter().for_each(|(uid, bits)| self.learn_flags(uid, bits, modseq)),
                What::State(list) => list.into_iter().for_each(|(uid, bits, modseq)| self.learn_flags(uid, bits, modseq)),
                What::Vanished(list) => list.into_iter().try_for_each(|(first, last)| self.learn_vanished(first, last, folder))?,
                What::Settled | What::Other => {}
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

    /// Files have the names of records up to here. What had such a MODSEQ may have been lost in a crash; it is not given again, or a change would
    /// be taken for one that files have got.
    fn learn_settled(&mut self, settled: u64) {
        self.journal.settled = settled;
        self.changed |= settled > self.snapshot.highest_modseq;
        self.snapshot.highest_modseq = self.snapshot.highest_modseq.max(settled);
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
                self.learn_settled(self.journal.settled.max(settled));
                self.learn(records, folder)?;
                (self.journal.position, self.journal.anew) = (Some(position), false);
            }
            Found::Whole { position, .. } if position.header.uid_validity != self.snapshot.uid_validity => self.journal.anew = true,
            Found::Whole { mut records, position, settled } => {
                without_living(&mut records);
                self.learn_settled(settled);
                self.journal.is_named = false;
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

#[cfg(test)]
mod tests;
