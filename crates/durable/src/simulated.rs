//! A disk in memory that forgets what was not synced: for crash tests.
//!
//! Every changing call is a step. [`SimulatedDisk::power_off_after`] lets so many steps happen and fails all later ones;
//! [`SimulatedDisk::reboot`] then gives one of the disks that a power cut could leave: of each unsynced write any of its
//! 512-byte sectors or none, of the names not yet synced either the first ones or any of them, unsynced directories
//! perhaps not at all. [`SimulatedDisk::after_kill`] gives what `kill -9` leaves: everything that was done, and what was
//! unsynced is so still. Harsher than ext4 or XFS, which order more than POSIX says.

use crate::{Disk, DiskFile, Entry, FileSystem};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Clones are the same disk.
#[derive(Debug, Clone)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Debug, Clone, Default)]
struct State {
    inodes: Vec<Inode>,
    cached: Names,
    durable: Names,
    pending: Vec<NameChange>,
    steps: u64,
    power_off_at: Option<u64>,
    fail_at: Option<u64>,
    fail_next_sync: bool,
    fail_sync_dir: Option<PathBuf>,
    full: bool,
    room: Option<usize>,
    broken: Option<PathBuf>,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    cached: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Size(usize),
}

#[derive(Debug, Clone)]
struct Names {
    files: BTreeMap<PathBuf, usize>,
    directories: BTreeSet<PathBuf>,
}

impl Default for Names {
    fn default() -> Names {
        Names { files: BTreeMap::new(), directories: [PathBuf::from("/")].into() }
    }
}

#[derive(Debug, Clone)]
enum NameChange {
    Link(PathBuf, usize),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf, usize),
    Directory(PathBuf),
}

impl SimulatedDisk {
    /// An empty disk with the directory `/`.
    pub fn new() -> SimulatedDisk {
        SimulatedDisk(Arc::default())
    }

    /// Lets `steps` more changing calls succeed; all later calls fail.
    pub fn power_off_after(&self, steps: u64) {
        let mut state = self.0.lock();
        state.power_off_at = Some(state.steps + steps);
    }

    /// Whether a call has failed for want of power.
    pub fn is_off(&self) -> bool {
        let state = self.0.lock();
        state.power_off_at.is_some_and(|at| state.steps >= at)
    }

    /// After `steps` more changing calls one fails and does nothing.
    pub fn fail_once_after(&self, steps: u64) {
        let mut state = self.0.lock();
        state.fail_at = Some(state.steps + steps);
    }

    /// Whether the one failure is still to come.
    pub fn is_failure_ahead(&self) -> bool {
        self.0.lock().fail_at.is_some()
    }

    /// How many changing calls there were.
    pub fn steps(&self) -> u64 {
        self.0.lock().steps
    }

    /// The next sync of a file fails, and what it should have synced is lost at the next power cut (as Linux does it).
    pub fn fail_next_sync(&self) {
        self.0.lock().fail_next_sync = true;
    }

    /// The next sync of this directory fails, and the files that it should have made durable there are lost at the next power cut, whatever
    /// is synced later.
    pub fn fail_next_sync_dir(&self, directory: &Path) {
        self.0.lock().fail_sync_dir = Some(directory.into());
    }

    /// From now on, writes that make a file longer fail with ENOSPC.
    pub fn set_full(&self, full: bool) {
        self.0.lock().full = full;
    }

    /// From now on all files together have so many bytes at most, whatever else happens; those that have no name count for nothing.
    pub fn set_room(&self, bytes: Option<usize>) {
        self.0.lock().room = bytes;
    }

    /// How many bytes all files together have.
    pub fn used(&self) -> usize {
        self.0.lock().used()
    }

    /// From now on nothing in this directory can be written or synced.
    pub fn set_broken(&self, directory: Option<&Path>) {
        self.0.lock().broken = directory.map(Path::to_path_buf);
    }

    /// How many names a directory has.
    pub fn list_len(&self, directory: &Path) -> usize {
        self.list(directory).map_or(0, |entries| entries.len())
    }

    /// Changes a byte of a file behind everybody's back.
    pub fn damage(&self, path: &Path, offset: usize) {
        let mut state = self.0.lock();
        let inode = state.cached.files[path];
        let inode = &mut state.inodes[inode];
        inode.cached[offset] ^= 0x55;
        if let Some(byte) = inode.durable.get_mut(offset) {
            *byte ^= 0x55;
        }
    }

    /// One of the disks that a power cut now may leave.
    pub fn reboot(&self, seed: u64) -> SimulatedDisk {
        let state = self.0.lock();
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut names = state.durable.clone();
        let in_order = random.coin();
        for change in &state.pending {
            if random.below(4) == 0 {
                if in_order {
                    break;
                }
                continue;
            }
            names.apply(change);
        }
        let lives = |names: &Names, path: &Path| path.ancestors().skip(1).all(|p| names.directories.contains(p));
        let kept = names.clone();
        names.files.retain(|path, _| lives(&kept, path));
        names.directories.retain(|path| lives(&kept, path));
        let inodes = state.inodes.iter().map(|inode| inode.torn(&mut random)).collect();
        let after = State { inodes, cached: names.clone(), durable: names, ..State::default() };
        SimulatedDisk(Arc::new(Mutex::new(after)))
    }

    /// The disk as the next process finds it when this one was killed.
    pub fn after_kill(&self) -> SimulatedDisk {
        let mut state = self.0.lock().clone();
        (state.power_off_at, state.fail_at) = (None, None);
        SimulatedDisk(Arc::new(Mutex::new(state)))
    }
}

impl Default for SimulatedDisk {
    fn default() -> SimulatedDisk {
        SimulatedDisk::new()
    }
}

impl Inode {
    fn make_durable(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            match change {
                Change::Size(size) => self.durable.resize(size, 0),
                Change::Write { offset, bytes } => write(&mut self.durable, offset, &bytes),
            }
        }
    }

    fn torn(&self, random: &mut Random) -> Inode {
        let mut bytes = self.durable.clone();
        let whole = random.coin();
        for change in &self.unsynced {
            if random.below(3) == 0 {
                continue;
            }
            match change {
                Change::Size(size) => bytes.resize(*size, 0),
                Change::Write { offset, bytes: new } => {
                    let mut at = 0;
                    while at < new.len() {
                        let sector = (512 - (offset + at) % 512).min(new.len() - at);
                        if whole || random.coin() {
                            write(&mut bytes, offset + at, &new[at..at + sector]);
                        }
                        at += sector;
                    }
                }
            }
        }
        Inode { cached: bytes.clone(), durable: bytes, unsynced: Vec::new() }
    }
}

fn write(bytes: &mut Vec<u8>, offset: usize, new: &[u8]) {
    if bytes.len() < offset + new.len() {
        bytes.resize(offset + new.len(), 0);
    }
    bytes[offset..offset + new.len()].copy_from_slice(new);
}

impl Names {
    fn apply(&mut self, change: &NameChange) {
        match change {
            NameChange::Link(path, inode) => drop(self.files.insert(path.clone(), *inode)),
            NameChange::Unlink(path) => drop(self.files.remove(path)),
            NameChange::Rename(from, to, inode) => {
                self.files.remove(from);
                self.files.insert(to.clone(), *inode);
            }
            NameChange::Directory(path) => drop(self.directories.insert(path.clone())),
        }
    }
}

impl NameChange {
    fn touches(&self, directory: &Path) -> bool {
        match self {
            NameChange::Link(path, _) | NameChange::Unlink(path) | NameChange::Directory(path) => path.parent() == Some(directory),
            NameChange::Rename(from, to, _) => from.parent() == Some(directory) || to.parent() == Some(directory),
        }
    }
}

impl State {
    fn step(&mut self) -> io::Result<()> {
        if self.power_off_at.is_some_and(|at| self.steps >= at) {
            return Err(io::Error::other("the power is off"));
        }
        self.steps += 1;
        if self.fail_at.is_some_and(|at| at < self.steps) {
            self.fail_at = None;
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        Ok(())
    }

    fn used(&self) -> usize {
        let named: BTreeSet<usize> = self.cached.files.values().copied().collect();
        named.into_iter().map(|inode| self.inodes[inode].cached.len()).sum()
    }

    /// Whether a file may be changed.
    fn check(&self, inode: usize) -> io::Result<()> {
        let inside = |broken: &Path| self.cached.files.iter().any(|(path, of)| *of == inode && path.parent() == Some(broken));
        if self.broken.as_deref().is_some_and(inside) { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
    }

    fn change(&mut self, change: NameChange) {
        self.cached.apply(&change);
        self.pending.push(change);
    }

    fn parent(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(parent) if self.cached.directories.contains(parent) => Ok(()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Disk for SimulatedDisk {
    fn create(&self, path: &Path, _mode: u32) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.0.lock();
        state.step()?;
        state.parent(path)?;
        if state.broken.is_some() && state.broken.as_deref() == path.parent() {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        if state.cached.files.contains_key(path) || state.cached.directories.contains(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.change(NameChange::Link(path.into(), inode));
        Ok(Box::new(SimulatedFile { disk: self.clone(), inode }))
    }

    fn open(&self, path: &Path, _writable: bool) -> io::Result<Box<dyn DiskFile>> {
        let state = self.0.lock();
        let inode = *state.cached.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(SimulatedFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        state.parent(to)?;
        let inode = *state.cached.files.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.change(NameChange::Rename(from.into(), to.into(), inode));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        if !state.cached.files.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.step()?;
        state.change(NameChange::Unlink(path.into()));
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        if !state.cached.directories.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if state.fail_sync_dir.as_deref() == Some(path) {
            state.fail_sync_dir = None;
            state.pending.retain(|change| !change.touches(path) || matches!(change, NameChange::Directory(_)));
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let pending = std::mem::take(&mut state.pending);
        for change in pending {
            if change.touches(path) { state.durable.apply(&change) } else { state.pending.push(change) }
        }
        Ok(())
    }

    fn file_system(&self, _path: &Path) -> io::Result<Box<dyn FileSystem>> {
        Ok(Box::new(self.clone()))
    }

    fn create_dir(&self, path: &Path, _mode: u32) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.cached.directories.contains(path) {
            return Ok(());
        }
        state.step()?;
        state.parent(path)?;
        state.change(NameChange::Directory(path.into()));
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let state = self.0.lock();
        if !state.cached.directories.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let entry = |p: &Path, is_file| {
            let name = p.file_name().filter(|_| p.parent() == Some(path))?.to_str()?.to_string();
            Some(Entry { name, is_file })
        };
        let files = state.cached.files.keys().filter_map(|p| entry(p, true));
        Ok(files.chain(state.cached.directories.iter().filter_map(|p| entry(p, false))).collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.0.lock();
        Ok(state.cached.files.contains_key(path) || state.cached.directories.contains(path))
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        Ok(if self.0.lock().full { 0 } else { 1 << 40 })
    }

    fn lock(&self, _path: &Path, _mode: u32) -> io::Result<Option<std::fs::File>> {
        Ok(None)
    }
}

impl FileSystem for SimulatedDisk {
    fn flush(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        if std::mem::take(&mut state.fail_next_sync) {
            state.inodes.iter_mut().for_each(|inode| inode.unsynced.clear());
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        state.inodes.iter_mut().for_each(Inode::make_durable);
        for change in std::mem::take(&mut state.pending) {
            state.durable.apply(&change);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    inode: usize,
}

impl DiskFile for SimulatedFile {
    fn write_at(&self, new: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.step()?;
        state.check(self.inode)?;
        let growth = (offset as usize + new.len()).saturating_sub(state.inodes[self.inode].cached.len());
        if growth > 0 && (state.full || state.room.is_some_and(|room| state.used() + growth > room)) {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        let inode = &mut state.inodes[self.inode];
        write(&mut inode.cached, offset as usize, new);
        inode.unsynced.push(Change::Write { offset: offset as usize, bytes: new.to_vec() });
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.0.lock();
        let rest = state.inodes[self.inode].cached.get(offset as usize..).unwrap_or(&[]);
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let fails_now = state.fail_at.is_some_and(|at| at <= state.steps);
        if !fails_now {
            state.step()?;
        }
        let broken = state.check(self.inode).is_err();
        let failed = std::mem::take(&mut state.fail_next_sync) || (fails_now && state.step().is_err()) || broken;
        let inode = &mut state.inodes[self.inode];
        if failed {
            inode.unsynced.clear();
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        inode.make_durable();
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().inodes[self.inode].cached.len() as u64)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.step()?;
        let inode = &mut state.inodes[self.inode];
        inode.cached.resize(size as usize, 0);
        inode.unsynced.push(Change::Size(size as usize));
        Ok(())
    }

    fn changed_seconds(&self) -> io::Result<u64> {
        Ok(0)
    }

    fn to_std(&self) -> io::Result<Option<std::fs::File>> {
        Ok(None)
    }
}

// xorshift64*: the same cuts for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 33) % n
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}
