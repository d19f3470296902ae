//! Segments in stock: prepared ahead of need by a thread of their own, and used again when qmgr has finished with them.

use crate::ids::now_seconds;
use crate::segment::{FIRST_RECORD, HEADER_BYTES, Header};
use crate::{Error, Layout};
use durable::{Disk, File};
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What the journal needs to make and reuse its segments.
#[derive(Debug)]
pub(crate) struct Stock {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) layout: Layout,
    segment_bytes: u64,
    first_segment_bytes: u64,
    journal_limit_bytes: u64,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug)]
struct State {
    next_generation: u64,
    /// Prepared and synced, without records; oldest generation first.
    spares: VecDeque<(u64, File)>,
    /// Every segment on disk and its size.
    sizes: BTreeMap<u64, u64>,
    /// The segment being written, and all after it, are never recycled.
    current: u64,
    stopping: bool,
}

impl Stock {
    pub(crate) fn new(disk: Arc<dyn Disk>, layout: Layout, sizes: (u64, u64, u64), found: BTreeMap<u64, u64>) -> Stock {
        let (segment_bytes, first_segment_bytes, journal_limit_bytes) = sizes;
        let next_generation = found.keys().next_back().map_or(1, |last| last + 1);
        let state = State { next_generation, spares: VecDeque::new(), sizes: found, current: 0, stopping: false };
        Stock {
            disk,
            layout,
            segment_bytes: segment_bytes.max(FIRST_RECORD * 2).next_multiple_of(4096),
            first_segment_bytes: first_segment_bytes.max(FIRST_RECORD * 2).next_multiple_of(4096),
            journal_limit_bytes,
            state: Mutex::new(state),
            wake: Condvar::new(),
        }
    }

    /// A file found at the start that was prepared or renamed, and never written to.
    pub(crate) fn add_spare(&self, generation: u64, file: File) {
        self.state.lock().spares.push_back((generation, file));
    }

    /// Begins a segment whose record room is at least `room` bytes: its header says how far the previous one was synced,
    /// and is synced itself.
    pub(crate) fn begin(&self, previous: (u64, u64), room: u64) -> Result<(u64, File, u64), Error> {
        let (generation, file) = self.take(room)?;
        let header = Header { generation, previous: previous.0, previous_limit: previous.1, begun_seconds: now_seconds() };
        file.write_at(&header.encode(), 0)?;
        file.sync()?;
        let size = file.size()?;
        self.state.lock().current = generation;
        self.wake.notify_one();
        Ok((generation, file, size))
    }

    fn take(&self, room: u64) -> Result<(u64, File), Error> {
        let need = FIRST_RECORD + room;
        loop {
            let (generation, file, size, fresh) = {
                let mut state = self.state.lock();
                let Some((generation, file)) = state.spares.pop_front() else { break };
                let size = state.sizes.get(&generation).copied().unwrap_or(0);
                if size < need {
                    continue; // it stays on disk without records until a start finds it again
                }
                if generation > state.current {
                    return Ok((generation, file));
                }
                // It was prepared while a younger one was made in a hurry; generations only grow, so it gets a new name.
                state.next_generation += 1;
                let fresh = state.next_generation - 1;
                state.sizes.remove(&generation);
                state.sizes.insert(fresh, size);
                (generation, file, size, fresh)
            };
            drop(file);
            let renamed = self.reuse(&self.layout.segment(generation), fresh).and_then(|file| {
                let directory = self.layout.journal();
                self.disk.sync_dir(&directory).map_err(durable::Error::io("sync", &directory))?;
                Ok(file)
            });
            match renamed {
                Ok(file) => return Ok((fresh, file)),
                Err(error) => {
                    tracing::warn!(%error, bytes = size, "a prepared segment is not used");
                    self.discard(generation, fresh);
                }
            }
        }
        // Nothing in stock: a small one is soon made.
        self.create(self.first_segment_bytes.max(need.next_multiple_of(4096)))
    }

    /// A prepared segment that could not get a new name goes, under whichever it has: it holds nothing. What cannot be removed counts.
    fn discard(&self, generation: u64, fresh: u64) {
        let gone = |generation| match self.disk.remove(&self.layout.segment(generation)) {
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
            Ok(()) => true,
        };
        if [gone(generation), gone(fresh)] == [true, true] {
            self.state.lock().sizes.remove(&fresh);
        }
    }

    fn create(&self, size: u64) -> Result<(u64, File), Error> {
        let generation = {
            let mut state = self.state.lock();
            let total: u64 = state.sizes.values().sum();
            if total + size > self.journal_limit_bytes {
                return Err(Error::Full(format!("the journal has {total} of {} bytes", self.journal_limit_bytes)));
            }
            state.next_generation += 1;
            let generation = state.next_generation - 1;
            state.sizes.insert(generation, size);
            generation
        };
        let path = self.layout.segment(generation);
        let made = File::create(&*self.disk, &path, 0o640).and_then(|file| {
            file.zero(0, size)?;
            file.sync()?;
            let directory = self.layout.journal();
            self.disk.sync_dir(&directory).map_err(durable::Error::io("sync", &directory))?;
            Ok(file)
        });
        made.map(|file| (generation, file)).map_err(|error| {
            // Zeros only, so nothing is lost; and room is given back when it was the disk's end that stopped us.
            let _ = self.disk.remove(&path);
            self.state.lock().sizes.remove(&generation);
            error.into()
        })
    }

    /// Whether another segment could be begun as far as the journal's limit goes.
    pub(crate) fn has_room(&self) -> bool {
        let state = self.state.lock();
        !state.spares.is_empty() || state.sizes.values().sum::<u64>() + self.first_segment_bytes <= self.journal_limit_bytes
    }

    /// qmgr needs nothing of `generation` any more. After `Ok` no crash brings its records back.
    pub(crate) fn recycle(&self, generation: u64) -> Result<(), Error> {
        let path = self.layout.segment(generation);
        let directory = self.layout.journal();
        let (size, fresh) = {
            let mut state = self.state.lock();
            if generation >= state.current {
                return Err(Error::damaged(&path, "to be recycled, but it is being written"));
            }
            let size = state.sizes.remove(&generation);
            let keep = size == Some(self.segment_bytes) && state.spares.is_empty();
            if keep {
                state.next_generation += 1;
            }
            (size, keep.then_some(state.next_generation - 1))
        };
        let done = match (size, fresh) {
            (None, _) => Ok(None), // it was recycled before, and the answer got lost
            (Some(_), None) => self.disk.remove(&path).map_err(durable::Error::io("remove", &path)).map(|()| None),
            (Some(size), Some(fresh)) => self.reuse(&path, fresh).map(|file| Some((fresh, size, file))),
        };
        let done = match done {
            Err(error) if error.is_not_found() => Ok(None),
            done => done,
        };
        let synced = done.and_then(|done| {
            self.disk.sync_dir(&directory).map_err(durable::Error::io("sync", &directory))?;
            Ok(done)
        });
        let mut state = self.state.lock();
        match synced {
            Ok(Some((fresh, size, file))) => {
                state.sizes.insert(fresh, size);
                state.spares.push_back((fresh, file));
                state.spares.make_contiguous().sort_by_key(|(generation, _)| *generation);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) => {
                // Wherever it is now, it counts, and qmgr will ask again.
                state.sizes.insert(generation, size.unwrap_or(self.segment_bytes));
                Err(error.into())
            }
        }
    }

    fn reuse(&self, path: &std::path::Path, fresh: u64) -> Result<File, durable::Error> {
        let new = self.layout.segment(fresh);
        self.disk.rename(path, &new).map_err(durable::Error::io("rename", path))?;
        let file = File::open(&*self.disk, &new, true)?;
        file.write_at(&[0; HEADER_BYTES], 0)?;
        file.sync()?;
        Ok(file)
    }

    /// Keeps one full-size spare in stock until `stop`; runs on its own thread.
    pub(crate) fn keep_stocked(&self) {
        loop {
            let mut state = self.state.lock();
            while !state.stopping && !state.spares.is_empty() {
                self.wake.wait(&mut state);
            }
            if state.stopping {
                return;
            }
            drop(state);
            match self.create(self.segment_bytes) {
                Ok((generation, file)) => {
                    let mut state = self.state.lock();
                    state.spares.push_back((generation, file));
                    state.spares.make_contiguous().sort_by_key(|(generation, _)| *generation);
                }
                Err(error) => {
                    tracing::warn!(%error, "no segment could be prepared");
                    let mut state = self.state.lock();
                    if !state.stopping {
                        self.wake.wait_for(&mut state, std::time::Duration::from_secs(5));
                    }
                }
            }
        }
    }

    pub(crate) fn stop(&self) {
        self.state.lock().stopping = true;
        self.wake.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use durable::simulated::SimulatedDisk;

    #[test]
    fn a_prepared_segment_that_gets_no_new_name_goes_and_does_not_count() {
        // The rename, and the sync behind it.
        for fault in 0..4 {
            let disk = SimulatedDisk::new();
            let layout = Layout::new("/spool");
            layout.create_for_smtpd(&disk).expect("directories");
            let stock = Stock::new(Arc::new(disk.clone()), layout.clone(), (64 << 10, 16 << 10, 1 << 20), BTreeMap::new());
            let (old, file) = stock.create(64 << 10).expect("prepared");
            stock.add_spare(old, file);
            // A younger one was begun in the meantime.
            stock.state.lock().current = old + 5;
            stock.state.lock().next_generation = old + 6;
            disk.fail_once_after(fault);
            let (taken, _) = stock.take(1).expect("another");
            assert!(!disk.is_failure_ahead() && taken > old + 6, "fault {fault}: {taken}");
            let there = layout.generations(&disk).expect("list");
            let counted: Vec<u64> = stock.state.lock().sizes.keys().copied().collect();
            assert_eq!((there.as_slice(), counted.as_slice()), ([taken].as_slice(), [taken].as_slice()), "fault {fault}");
        }
    }
}
