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
    /// What could not be written even to a new file; it comes first when one can be made.
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
        let path = self.layout.outcome_file(number);
        let fresh = path.with_extension("new");
        match self.disk.remove(&fresh) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(durable::Error::io("remove", &fresh)(e)),
            _ => {}
        }
        let file = File::create(&*self.disk, &fresh, 0o600)?;
        file.write_at(&bytes, 0)?;
        let end = bytes.len() as u64;
        file.zero(end, end + AHEAD_BYTES)?;
        file.sync()?;
        // From here on the new file may be what the next start reads: nothing more may go to the old one.
        (self.number, self.file) = (number, None);
        self.disk.rename(&fresh, &path).map_err(durable::Error::io("rename", &fresh))?;
        let directory = self.layout.outcomes();
        self.disk.sync_dir(&directory).map_err(durable::Error::io("sync", &directory))?;
        (self.file, self.end, self.zeroed) = (Some(file), end, end + AHEAD_BYTES);
        Ok(())
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
        for record in works.iter().flat_map(|w| &w.records) {
            frame(record, self.number, self.end + bytes.len() as u64, &mut bytes);
        }
        let Some(file) = &self.file else {
            return Err(durable::Error::Poisoned { path: self.layout.outcome_file(self.number) });
        };
        if bytes.is_empty() {
            return Ok(());
        }
        if self.end + bytes.len() as u64 > self.zeroed {
            let to = self.end + bytes.len() as u64 + AHEAD_BYTES;
            file.zero(self.zeroed, to)?;
            self.zeroed = to;
        }
        file.write_at(&bytes, self.end)?;
        file.sync()?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// After a failed sync nothing can be promised in the old file: what it says is written anew.
    fn start_over(&mut self, extra: &[Work]) -> Result<(), Error> {
        self.unwritten.extend(extra.iter().flat_map(|w| &w.records).cloned());
        let mut ledger = Ledger::read(&*self.disk, &self.layout)?;
        self.unwritten.iter().for_each(|record| ledger.apply(record.clone()));
        self.begin(self.number + 1, &ledger.snapshot(&[]))?;
        self.unwritten.clear();
        self.remove_others();
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
        Ok(())
    }
}

impl Batch for Writer {
    type Item = Work;
    type Done = Result<(), Error>;

    fn commit(&mut self, works: &mut Vec<Work>) -> Vec<Result<(), Error>> {
        let result = match self.append(works) {
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::error!(%error, "outcomes were not made durable; beginning a new file");
                self.file = None;
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
                self.file = None;
                let later = self.start_over(&works[at + 1..]);
                return works.iter().enumerate().map(|(n, _)| if n > at { later.clone() } else { Ok(()) }).collect();
            }
        }
        works.iter().map(|_| result.clone()).collect()
    }
}
