//! A file with one writer, that stops promising once it has failed.

use crate::error::is_full;
use crate::{Disk, DiskFile, Error};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// An open file and its path. After the first failed write or sync every further write or sync is `Error::Poisoned`.
#[derive(Debug)]
pub struct File {
    inner: Box<dyn DiskFile>,
    path: PathBuf,
    poisoned: AtomicBool,
}

impl File {
    pub fn create(disk: &dyn Disk, path: &Path, mode: u32) -> Result<File, Error> {
        let inner = disk.create(path, mode).map_err(Error::io("create", path))?;
        Ok(File { inner, path: path.to_path_buf(), poisoned: AtomicBool::new(false) })
    }

    pub fn open(disk: &dyn Disk, path: &Path, writable: bool) -> Result<File, Error> {
        let inner = disk.open(path, writable).map_err(Error::io("open", path))?;
        Ok(File { inner, path: path.to_path_buf(), poisoned: AtomicBool::new(false) })
    }

    /// Writes all of `bytes` at `offset`.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), Error> {
        self.promise("write", |f| f.write_at(bytes, offset))
    }

    /// Fills the range with zeros, so that later writes change no metadata and a sync of them is one disk write.
    pub fn zero(&self, from: u64, to: u64) -> Result<(), Error> {
        const CHUNK: u64 = 1 << 20;
        let zeros = vec![0; CHUNK.min(to.saturating_sub(from)) as usize];
        let mut at = from;
        while at < to {
            let n = CHUNK.min(to - at);
            self.write_at(&zeros[..n as usize], at)?;
            at += n;
        }
        Ok(())
    }

    /// Lengthens the file with zeros, as far as the disk has room, and returns where they end. That the disk is full is no fault of the file:
    /// nothing was promised about room to come, and nothing is poisoned.
    pub fn grow(&self, from: u64, to: u64) -> Result<u64, Error> {
        let (mut at, mut chunk) = (from, 1 << 20);
        let zeros = vec![0; to.saturating_sub(from).min(chunk) as usize];
        while at < to {
            if self.is_poisoned() {
                return Err(Error::Poisoned { path: self.path.clone() });
            }
            let n = chunk.min(to - at);
            match self.inner.write_at(&zeros[..n as usize], at) {
                Ok(()) => at += n,
                Err(error) if is_full(&error) && chunk > 4096 => chunk /= 2,
                Err(error) if is_full(&error) => break,
                Err(error) => return self.promise("write", |_| Err(error)).map(|()| at),
            }
        }
        Ok(at)
    }

    /// Shortens the file.
    pub fn truncate(&self, to: u64) -> Result<(), Error> {
        self.promise("truncate", |f| f.set_size(to))
    }

    /// Makes what was written durable.
    pub fn sync(&self) -> Result<(), Error> {
        self.promise("sync", |f| f.sync_data())
    }

    /// Overwrites a range with zeros where a write or sync has failed, so that what lies there is not taken for a promise by whoever
    /// reads it next. Nothing is promised by that; the file stays what it is.
    pub fn wipe(&self, from: u64, length: usize) -> Result<(), Error> {
        let wiped = self.inner.write_at(&vec![0; length], from).and_then(|()| self.inner.sync_data());
        wiped.map_err(Error::io("wipe", &self.path))
    }

    fn promise(&self, step: &'static str, act: impl FnOnce(&dyn DiskFile) -> std::io::Result<()>) -> Result<(), Error> {
        if self.poisoned.load(Ordering::Acquire) {
            return Err(Error::Poisoned { path: self.path.clone() });
        }
        act(&*self.inner).map_err(|e| {
            self.poisoned.store(true, Ordering::Release);
            Error::io(step, &self.path)(e)
        })
    }

    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Error> {
        self.inner.read_at(buffer, offset).map_err(Error::io("read", &self.path))
    }

    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), Error> {
        self.inner.read_exact_at(buffer, offset).map_err(Error::io("read", &self.path))
    }

    pub fn read_all(&self, limit_bytes: u64) -> Result<Vec<u8>, Error> {
        self.inner.read_all(limit_bytes).map_err(Error::io("read", &self.path))
    }

    pub fn size(&self) -> Result<u64, Error> {
        self.inner.size().map_err(Error::io("stat", &self.path))
    }

    pub fn changed_seconds(&self) -> Result<u64, Error> {
        self.inner.changed_seconds().map_err(Error::io("stat", &self.path))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A second handle as the standard library's file, for streaming; `None` on a simulated disk.
    pub fn to_std(&self) -> Result<Option<std::fs::File>, Error> {
        self.inner.to_std().map_err(Error::io("duplicate", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::SimulatedDisk;

    #[test]
    fn a_file_grows_as_far_as_there_is_room_and_stays_good() {
        let disk = SimulatedDisk::new();
        let file = File::create(&disk, Path::new("/f"), 0o600).expect("create");
        disk.set_room(Some(10_000));
        assert_eq!(file.grow(0, 100_000).expect("as far as it goes"), 8192);
        file.write_at(b"one", 8000).expect("there is room for that");
        disk.set_room(None);
        assert_eq!(file.grow(8192, 10_000).expect("room again"), 10_000);
        file.sync().expect("nothing is poisoned");
    }

    #[test]
    fn after_a_failed_sync_nothing_is_promised_again() {
        let disk = SimulatedDisk::new();
        let file = File::create(&disk, Path::new("/f"), 0o600).expect("create");
        file.write_at(b"one", 0).expect("write");
        disk.fail_next_sync();
        assert!(matches!(file.sync(), Err(Error::Io { step: "sync", .. })));
        assert!(matches!(file.sync(), Err(Error::Poisoned { .. })));
        assert!(matches!(file.write_at(b"two", 0), Err(Error::Poisoned { .. })));
        file.wipe(1, 2).expect("a last word");
        assert_eq!(file.read_all(10).expect("read"), b"o\0\0");
        assert!(file.is_poisoned());
    }
}
