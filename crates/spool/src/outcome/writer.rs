//! The thread that writes the outcome journal.

use super::{FIRST_RECORD, Ledger, Record, frame};
use crate::{Error, Layout};
use durable::{Batch, Disk, File};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use xxhash_rust::xxh3::xxh3_64;

const MAGIC: &[u8; 8] = b"FCTOUTC1";
/// So much is filled with zeros ahead. Crash tests copy all of it many times.
const AHEAD_BYTES: u64 = if cfg!(test) { 64 << 10 } else { 4 << 20 };

pub(super) struct Work {
    pub(super) records: Vec<Record>,
    pub(super) compact: Option<Compaction>,
}

/// A new file is to begin with this snapshot, after these directories were synced.
pub(super) struct Compaction {
    pub(super) snapshot: Vec<Record>,
    pub(super) directories: Vec<PathBuf>,
    /// Whether it came through.
    pub(super) done: Arc<OnceLock<bool>>,
}

impl Drop for Compaction {
    fn drop(&mut self) {
        let _ = self.done.set(false); // unless it was said to be done
    }
}

pub(super) struct Writer {
    disk: Arc<dyn Disk>,
    layout: Layout,
    number: u64,
    file: Option<File>,
    end: u64,
    zeroed: u64,
    /// What could not be written, not even to a new file; it comes first.
    unwritten: Vec<Record>,
}

impl Writer {
    pub(super) fn new(disk: Arc<dyn Disk>, layout: Layout, number: u64) -> Writer {
        Writer { disk, layout, number, file: None, end: 0, zeroed: 0, unwritten: Vec::new() }
    }

    /// Writes a new file with `records` beside the old one, and goes on in it.
    pub(super) fn begin(&mut self, number: u64, records: &[Record]) -> Result<(), durable::Error> {
        let mut bytes = vec![0; FIRST_RECORD];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&number.to_le_bytes());
        let sum = xxh3_64(&bytes[..56]);
        bytes[56..64].copy_from_slice(&sum.to_le_bytes());
        for record in records {
            let at = bytes.len() as u64;
            frame(record, number, at, &mut bytes);
        }
        let (path, spare) = (self.layout.outcome_file(number), self.layout.outcome_spare());
        let file = match File::open(&*self.disk, &spare, true) {
            Ok(file) => file,
            Err(error) => {
                if !error.is_not_found() {
                    let _ = self.disk.remove(&spare); // nothing that we have put there
                }
                File::create(&*self.disk, &spare, 0o600)?
            }
        };
        let size = match fill(&file, &bytes) {
            Ok(size) => size,
            Err(error) => {
                if !error.is_full() {
                    let _ = self.disk.remove(&spare); // the next try takes another one
                }
                return Err(error);
            }
        };
        // From here on the new file may be what the next start reads: nothing more may go to the old one.
        (self.number, self.file) = (number, None);
        self.disk.rename(&spare, &path).map_err(durable::Error::io("rename", &spare))?;
        let directory = self.layout.outcomes();
        self.disk.sync_dir(&directory).map_err(durable::Error::io("sync", &directory))?;
        (self.file, self.end, self.zeroed) = (Some(file), bytes.len() as u64, size);
        Ok(())
    }

    /// Takes room for the next file while there is some, as much as this one has: on a full disk it is what lets the journal be compacted,
    /// begun anew after a fault, and opened at all.
    pub(super) fn make_spare(&self) {
        let spare = self.layout.outcome_spare();
        let make = || {
            let file = match File::open(&*self.disk, &spare, true) {
                Err(error) if error.is_not_found() => File::create(&*self.disk, &spare, 0o600),
                opened => opened,
            }?;
            let size = file.size()?;
            if size >= self.zeroed {
                return Ok(true);
            }
            let grown = file.grow(size, self.zeroed)?;
            file.sync()?;
            Ok::<_, durable::Error>(grown == self.zeroed)
        };
        match make() {
            Ok(true) => {}
            Ok(false) => tracing::warn!(file = %spare.display(), "the disk is full: there is no room for the next outcome file"),
            Err(error) => tracing::warn!(%error, "there is no room for the next outcome file"),
        }
    }

    /// Removes what came before the file. What stays has a lower number, counts for nothing and goes the next time.
    pub(super) fn remove_others(&self) {
        let numbers = self.layout.outcome_numbers(&*self.disk).inspect_err(|error| tracing::warn!(%error, "old outcome files stay"));
        for number in numbers.unwrap_or_default().into_iter().filter(|number| *number < self.number) {
            let path = self.layout.outcome_file(number);
            if let Err(error) = self.disk.remove(&path) {
                tracing::warn!(file = %path.display(), %error, "an old outcome file stays");
            }
        }
    }

    fn append(&mut self, works: &[Work]) -> Result<(), durable::Error> {
        let mut bytes = Vec::new();
        for record in self.unwritten.iter().chain(works.iter().flat_map(|w| &w.records)) {
            frame(record, self.number, self.end + bytes.len() as u64, &mut bytes);
        }
        let path = || self.layout.outcome_file(self.number);
        let Some(file) = &self.file else { return Err(durable::Error::Poisoned { path: path() }) };
        if bytes.is_empty() {
            return Ok(());
        }
        let end = self.end + bytes.len() as u64;
        let grows = end > self.zeroed;
        if grows {
            self.zeroed = file.grow(self.zeroed, end + AHEAD_BYTES)?;
            if end > self.zeroed {
                return Err(durable::Error::io("write", &path())(std::io::ErrorKind::StorageFull.into()));
            }
        }
        file.write_at(&bytes, self.end)?;
        file.sync()?;
        self.end = end;
        self.unwritten.clear();
        if grows {
            self.make_spare();
        }
        Ok(())
    }

    /// What the file says is written anew: after a failed sync nothing can be promised in it, and on a full disk the new one is shorter.
    fn start_over(&mut self, extra: &[Work]) -> Result<(), Error> {
        self.unwritten.extend(extra.iter().flat_map(|w| &w.records).cloned());
        if self.file.as_ref().is_some_and(File::is_poisoned) {
            self.file = None;
        }
        let mut ledger = Ledger::read(&*self.disk, &self.layout)?;
        self.unwritten.iter().for_each(|record| ledger.apply(record.clone()));
        self.begin(self.number + 1, &ledger.snapshot(&[]))?;
        self.unwritten.clear();
        self.remove_others();
        self.make_spare();
        Ok(())
    }

    fn compact(&mut self, compaction: &Compaction) -> Result<(), durable::Error> {
        for directory in &compaction.directories {
            if self.disk.exists(directory).map_err(durable::Error::io("stat", directory))? {
                match self.disk.sync_dir(directory) {
                    // Large messages lie in `queue/in` and need no directory of their own.
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                    synced => synced.map_err(durable::Error::io("sync", directory))?,
                }
            }
        }
        self.begin(self.number + 1, &compaction.snapshot)?;
        let _ = compaction.done.set(true);
        self.remove_others();
        self.make_spare();
        Ok(())
    }
}

/// Puts `bytes` into the file that is to be the next one, and zeros behind them; returns its size.
fn fill(file: &File, bytes: &[u8]) -> Result<u64, durable::Error> {
    let (end, old) = (bytes.len() as u64, file.size()?);
    let mut size = file.grow(old, end + AHEAD_BYTES)?.max(old);
    if size < end {
        return Err(durable::Error::io("write", file.path())(std::io::ErrorKind::StorageFull.into()));
    }
    // The room that a long journal needed is given back some day.
    if size > 4 * (end + AHEAD_BYTES) {
        size = end + AHEAD_BYTES;
        file.truncate(size)?;
    }
    file.write_at(bytes, 0)?;
    // An earlier try may have left records that bear the same number.
    file.zero(end, old.min(size))?;
    file.sync()?;
    Ok(size)
}

impl Batch for Writer {
    type Item = Work;
    type Done = Result<(), Error>;

    fn commit(&mut self, works: &mut Vec<Work>) -> Vec<Result<(), Error>> {
        let result = match self.append(works) {
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::error!(%error, "outcomes were not made durable; beginning a new file");
                self.start_over(works)
            }
        };
        if let Err(error) = &result {
            tracing::error!(%error, "the outcome journal cannot be written; deliveries may be repeated after a crash");
        } else if let Some(at) = works.iter().rposition(|w| w.compact.is_some()) {
            let compaction = works[at].compact.take().expect("found above");
            // The snapshot knows what was noted up to its own work; what was handed in since follows it.
            let later = match self.compact(&compaction) {
                Ok(()) => self.append(&works[at + 1..]),
                // The old file is still the one that counts, and has everything.
                Err(error) if self.file.is_some() => {
                    tracing::warn!(%error, "the outcome journal could not be compacted");
                    Ok(())
                }
                Err(error) => Err(error),
            };
            if let Err(error) = later {
                tracing::error!(%error, "outcomes were not made durable; beginning a new file");
                let later = self.start_over(&works[at + 1..]);
                return works.iter().enumerate().map(|(n, _)| if n > at { later.clone() } else { Ok(()) }).collect();
            }
        }
        works.iter().map(|_| result.clone()).collect()
    }
}
