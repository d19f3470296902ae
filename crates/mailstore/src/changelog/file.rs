//! The file: opened, locked, read from where one stopped, appended to, replaced.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::{End, FILE, HEADER_BYTES, Header, Record, What, decode, decode_settled, encode, encode_settled};
use crate::dir::{Dir, Stamp};
use crate::error::{Error, Result};

const TEMPORARY: &str = "facteur.log.tmp";

/// Largest log there is: what is longer was not written by us, who shorten it long before (to some 64 bytes a message).
const LARGEST_BYTES: u64 = 128 << 20;

/// Where we stopped reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub header: Header,
    /// Bytes read up to the end of the last complete record.
    pub offset: u64,
    pub stamp: Stamp,
}

/// What a read gave.
#[derive(Debug)]
pub(crate) enum Found {
    /// No log, or none of use: it has to be made anew.
    /// `highest` is the highest MODSEQ that can be read all the same.
    Nothing { damaged: bool, highest: u64 },
    /// Records since the position asked for.
    More { records: Vec<Record>, position: Position, settled: u64 },
    /// Another file than that of the position, from its start.
    Whole { records: Vec<Record>, position: Position, settled: u64 },
}

/// Reads what is new since `known`, or everything, without the lock.
pub(crate) fn read(dir: &Dir, known: Option<&Position>) -> Result<Found> {
    match dir.open_file(FILE) {
        Ok(file) => read_from(dir, &file, known),
        Err(error) if error.is_not_found() => Ok(Found::Nothing { damaged: false, highest: 0 }),
        Err(error) => Err(error),
    }
}

fn stamp_of(dir: &Dir, file: &File) -> Result<Stamp> {
    nix::sys::stat::fstat(file).map(|stat| Stamp::of(&stat)).map_err(|e| Error::io("stat", dir.at(FILE), e))
}

fn read_from(dir: &Dir, mut file: &File, known: Option<&Position>) -> Result<Found> {
    let failed = |e| Error::io("read", dir.at(FILE), e);
    let stamp = stamp_of(dir, file)?;
    let mut bytes = [0; HEADER_BYTES];
    if stamp.size < HEADER_BYTES as u64 {
        // an empty file is one that somebody is about to fill
        return Ok(Found::Nothing { damaged: stamp.size > 0, highest: 0 });
    }
    file.read_exact_at(&mut bytes, 0).map_err(failed)?;
    let Some((header, at_first)) = Header::decode(&bytes).zip(decode_settled(&bytes)) else {
        return Ok(Found::Nothing { damaged: true, highest: 0 });
    };
    let same = known.filter(|known| known.header == header && known.offset <= stamp.size);
    if stamp.size > LARGEST_BYTES {
        return Ok(Found::Nothing { damaged: true, highest: header.floor });
    }
    let start = same.map_or(HEADER_BYTES as u64, |known| known.offset);
    let mut text = Vec::with_capacity((stamp.size - start) as usize);
    file.seek(SeekFrom::Start(start)).map_err(failed)?;
    // what others append meanwhile is for the next time
    file.take(stamp.size - start).read_to_end(&mut text).map_err(failed)?;
    let (mut records, read, end) = decode(&text, header.log_id);
    // each file begins with the state
    if end == End::Damaged || (records.is_empty() && same.is_none()) {
        let highest = records.iter().map(|record| record.modseq).chain([at_first, header.floor]).max();
        return Ok(Found::Nothing { damaged: true, highest: highest.unwrap_or(0) });
    }
    let position = Position { header, offset: start + read as u64, stamp };
    let settled = records.extract_if(.., |record| record.what == What::Settled).map(|record| record.modseq).fold(at_first, u64::max);
    if same.is_some() { Ok(Found::More { records, position, settled }) } else { Ok(Found::Whole { records, position, settled }) }
}

/// True when the file was made by a program that knew an earlier version only.
fn is_old(dir: &Dir, file: &File) -> Result<bool> {
    let mut bytes = [0; HEADER_BYTES];
    file.read_exact_at(&mut bytes, 0).map_err(|e| Error::io("read", dir.at(FILE), e))?;
    Ok(Header::is_old(&bytes))
}

/// The log, open for writing, and nobody else's to write until this is dropped.
pub(crate) struct Locked {
    dir: Dir,
    file: Flock<File>,
    /// What a failed write or sync left is unknown: the file has to be replaced.
    is_broken: bool,
    /// A record was lost in a crash.
    is_cut: bool,
}

impl Locked {
    /// Opens the log, making an empty one when there is none, and waits for its lock no longer than `patience`.
    pub fn take(dir: &Dir, patience: Duration) -> Result<Locked> {
        let deadline = Instant::now() + patience;
        let mut pause = Duration::from_millis(1);
        loop {
            let mut file = dir.open_or_create(FILE)?;
            loop {
                match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                    Ok(file) => {
                        let locked = Locked { dir: dir.clone(), file, is_broken: false, is_cut: false };
                        // replaced while we waited: the one to lock is the one that has the name now
                        let here = stamp_of(dir, &locked.file)?;
                        if dir.stamp(FILE)?.is_some_and(|named| named.same_file(&here)) {
                            return Ok(locked);
                        }
                        if Instant::now() >= deadline {
                            return Err(Error::Locked { path: dir.at(FILE) });
                        }
                        break;
                    }
                    Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) => {
                        if Instant::now() >= deadline {
                            return Err(Error::Locked { path: dir.at(FILE) });
                        }
                        std::thread::sleep(pause);
                        pause = (pause * 2).min(Duration::from_millis(50));
                        file = back;
                    }
                    Err((_, error)) => return Err(Error::io("lock", dir.at(FILE), error)),
                }
            }
        }
    }

    /// Reads what is new since `known`, or everything; cuts off what a crash left of a record. A file of an earlier version becomes one of this.
    pub fn read(&mut self, known: Option<&Position>) -> Result<Found> {
        let found = read_from(&self.dir, &self.file, known)?;
        let (Found::More { position, .. } | Found::Whole { position, .. }) = &found else { return Ok(found) };
        if position.offset < position.stamp.size {
            tracing::warn!(file = %self.dir.at(FILE).display(), "the end of the log was lost in a crash");
            self.file.set_len(position.offset).map_err(|e| Error::io("cut", self.dir.at(FILE), e))?;
            self.is_cut = true;
        }
        if is_old(&self.dir, &self.file)? {
            return self.renew();
        }
        Ok(found)
    }

    /// Puts a file of this version in the place of one of an earlier version.
    fn renew(&mut self) -> Result<Found> {
        let found = read_from(&self.dir, &self.file, None)?;
        let Found::Whole { records, position, settled } = found else { return Ok(found) };
        let header = Header { number: position.header.number + 1, ..position.header };
        let position = self.replace(header, settled, &records, true)?;
        Ok(Found::Whole { records, position, settled })
    }

    /// True once after a read found that records are missing which may have been told.
    pub fn was_cut(&mut self) -> bool {
        std::mem::take(&mut self.is_cut)
    }

    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Appends records behind `position`, which is the end of the file. Synced when `sync`: on the disk before the caller goes on. On an
    /// error nothing of them stays, unless the file [`Locked::is_broken`].
    pub fn append(&mut self, position: &Position, records: &[Record], sync: bool) -> Result<Position> {
        let mut bytes = Vec::new();
        records.iter().for_each(|record| encode(&mut bytes, position.header.log_id, record));
        if let Err(error) = self.file.write_all_at(&bytes, position.offset) {
            self.is_broken = self.file.set_len(position.offset).is_err();
            return Err(Error::io("write", self.dir.at(FILE), error));
        }
        if sync && let Err(error) = self.file.sync_data() {
            // a failed sync is not tried again
            self.is_broken = true;
            return Err(Error::io("sync", self.dir.at(FILE), error));
        }
        Ok(Position { offset: position.offset + bytes.len() as u64, stamp: stamp_of(&self.dir, &self.file)?, ..*position })
    }

    /// Makes the file's name durable, which [`Locked::replace`] does only when it is to.
    pub fn sync_name(&self) -> Result<()> {
        self.dir.sync()
    }

    /// Notes that files have the names that records up to `modseq` gave them.
    pub fn settle(&mut self, position: &Position, modseq: u64) -> Result<Position> {
        self.append(position, &[Record { modseq, what: What::Settled }], false)
    }

    /// Puts another file in the place of this one, which then is the locked one; durable on return when `sync`.
    pub fn replace(&mut self, header: Header, settled: u64, records: &[Record], sync: bool) -> Result<Position> {
        let dir = &self.dir;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + records.len() * 64);
        bytes.extend_from_slice(&header.encode());
        bytes.extend_from_slice(&encode_settled(settled));
        records.iter().for_each(|record| encode(&mut bytes, header.log_id, record));
        // what a crash left there
        dir.clear(TEMPORARY)?;
        let file = dir.create_readable(TEMPORARY)?;
        // locked before it has the name: nobody gets in between
        let mut file = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| Error::io("lock", dir.at(TEMPORARY), e))?;
        if let Err(error) = file.write_all(&bytes).and_then(|()| if sync { file.sync_all() } else { Ok(()) }) {
            let _ = dir.unlink(TEMPORARY);
            return Err(Error::io("write", dir.at(TEMPORARY), error));
        }
        dir.rename(TEMPORARY, dir, FILE)?;
        if sync {
            dir.sync()?;
        }
        let stamp = stamp_of(dir, &file)?;
        self.file = file;
        self.is_broken = false;
        Ok(Position { header, offset: stamp.size, stamp })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changelog::{Bits, What};

    fn folder() -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::create_root(&temp.path().join("m")).unwrap();
        (temp, dir)
    }

    fn flags(modseq: u64) -> Record {
        Record { modseq, what: What::Flags(vec![(modseq as u32, Bits::default())]) }
    }

    const HEADER: Header = Header { uid_validity: 1, log_id: 2, number: 1, floor: 0 };

    fn modseqs(found: Found) -> Vec<u64> {
        match found {
            Found::More { records, .. } | Found::Whole { records, .. } => records.iter().map(|record| record.modseq).collect(),
            Found::Nothing { .. } => panic!("no log"),
        }
    }

    #[test]
    fn readers_go_on_where_they_stopped_and_begin_anew_in_another_file() {
        let (_temp, dir) = folder();
        assert!(matches!(read(&dir, None), Ok(Found::Nothing { damaged: false, .. })));
        let mut log = Locked::take(&dir, Duration::ZERO).unwrap();
        assert!(matches!(log.read(None), Ok(Found::Nothing { damaged: false, .. })));
        let begun = log.replace(HEADER, 0, &[flags(1)], true).unwrap();
        let after = log.append(&begun, &[flags(2), flags(3)], true).unwrap();
        assert_eq!(modseqs(read(&dir, Some(&begun)).unwrap()), [2, 3]);
        assert_eq!(modseqs(read(&dir, Some(&after)).unwrap()), [0; 0]);
        log.replace(Header { number: 2, ..HEADER }, 3, &[flags(3)], true).unwrap();
        assert!(matches!(read(&dir, Some(&after)), Ok(Found::Whole { settled: 3, .. })));
    }

    #[test]
    fn the_lock_is_on_the_file_that_has_the_name() {
        let (_temp, dir) = folder();
        let mut log = Locked::take(&dir, Duration::ZERO).unwrap();
        assert!(matches!(Locked::take(&dir, Duration::from_millis(5)), Err(Error::Locked { .. })));
        log.replace(HEADER, 0, &[flags(1)], true).unwrap();
        assert!(matches!(Locked::take(&dir, Duration::from_millis(5)), Err(Error::Locked { .. })));
        drop(log);
        assert_eq!(modseqs(Locked::take(&dir, Duration::ZERO).unwrap().read(None).unwrap()), [1]);
    }

    #[test]
    fn a_torn_end_is_left_to_its_writer_without_the_lock_and_cut_with_it() {
        let (_temp, dir) = folder();
        let mut log = Locked::take(&dir, Duration::ZERO).unwrap();
        let begun = log.replace(HEADER, 0, &[flags(1)], true).unwrap();
        log.append(&begun, &[flags(2)], false).unwrap();
        let whole = std::fs::read(dir.at(FILE)).unwrap();
        drop(log);
        for cut in begun.offset as usize + 1..whole.len() {
            std::fs::write(dir.at(FILE), &whole[..cut]).unwrap();
            assert_eq!(modseqs(read(&dir, Some(&begun)).unwrap()), [0; 0]);
            assert_eq!(std::fs::metadata(dir.at(FILE)).unwrap().len(), cut as u64);
            assert_eq!(modseqs(Locked::take(&dir, Duration::ZERO).unwrap().read(None).unwrap()), [1]);
            assert_eq!(std::fs::metadata(dir.at(FILE)).unwrap().len(), begun.offset, "{cut}");
        }
    }

    /// Puts the file down as a program of version 1 would have.
    fn make_old(dir: &Dir) {
        let mut bytes = std::fs::read(dir.at(FILE)).unwrap();
        bytes[8..10].copy_from_slice(&1u16.to_le_bytes());
        let sum = xxhash_rust::xxh3::xxh3_64(&bytes[..40]);
        bytes[40..48].copy_from_slice(&sum.to_le_bytes());
        std::fs::write(dir.at(FILE), bytes).unwrap();
    }

    #[test]
    fn a_file_of_an_earlier_version_is_read_and_replaced_by_who_has_the_lock() {
        let (_temp, dir) = folder();
        let begun = Locked::take(&dir, Duration::ZERO).unwrap().replace(HEADER, 1, &[flags(1), flags(2)], true).unwrap();
        make_old(&dir);
        let Ok(Found::More { records, position, settled: 1 }) = read(&dir, Some(&begun)) else { panic!("not read") };
        assert_eq!(records, []);
        // overwritten in place by a program of that version
        let file = std::fs::File::options().write(true).open(dir.at(FILE)).unwrap();
        file.write_all_at(&encode_settled(2), 48).unwrap();
        assert!(matches!(read(&dir, Some(&position)), Ok(Found::More { settled: 2, .. })));
        let mut log = Locked::take(&dir, Duration::ZERO).unwrap();
        let Ok(Found::Whole { records, position, settled: 2 }) = log.read(Some(&position)) else { panic!("not replaced") };
        assert_eq!((records, position.header), (vec![flags(1), flags(2)], Header { number: 2, ..HEADER }));
        assert!(!is_old(&dir, &log.file).unwrap());
        log.append(&position, &[flags(3)], false).unwrap();
        assert_eq!(modseqs(read(&dir, None).unwrap()), [1, 2, 3]);
    }

    /// What was written stays as it is: an overwrite may reach the disk before anything that was done before it.
    #[test]
    fn settling_appends() {
        let (_temp, dir) = folder();
        let mut log = Locked::take(&dir, Duration::ZERO).unwrap();
        let begun = log.replace(HEADER, 0, &[flags(1)], true).unwrap();
        let before = std::fs::read(dir.at(FILE)).unwrap();
        let after = log.settle(&begun, 1).unwrap();
        assert!(std::fs::read(dir.at(FILE)).unwrap().starts_with(&before));
        assert!(matches!(read(&dir, Some(&begun)), Ok(Found::More { settled: 1, .. })));
        assert!(matches!(read(&dir, None), Ok(Found::Whole { settled: 1, .. })));
        // it says nothing new
        assert!(matches!(read(&dir, Some(&after)), Ok(Found::More { settled: 0, .. })));
    }

    /// Writers in several threads, as processes are to each other: nobody's record is lost, MODSEQs rise.
    #[test]
    fn of_many_writers_each_finds_what_the_others_wrote() {
        let (_temp, dir) = folder();
        Locked::take(&dir, Duration::ZERO).unwrap().replace(HEADER, 0, &[flags(1)], true).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let mut log = Locked::take(&dir, Duration::from_secs(30)).unwrap();
                        let Found::Whole { records, position, .. } = log.read(None).unwrap() else { panic!() };
                        let highest = records.last().unwrap().modseq;
                        log.append(&position, &[flags(highest + 1)], false).unwrap();
                        if highest % 17 == 0 {
                            let header = Header { number: position.header.number + 1, ..HEADER };
                            log.replace(header, 0, &records.into_iter().chain([flags(highest + 1)]).collect::<Vec<_>>(), true).unwrap();
                        }
                    }
                });
            }
        });
        assert_eq!(modseqs(read(&dir, None).unwrap()), (1..=201).collect::<Vec<_>>());
    }
}
