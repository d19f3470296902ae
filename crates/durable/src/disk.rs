//! The file-system calls that storage code may use, and their plain implementation.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// A file system. All paths are taken as they are; symbolic links are never followed in the last component.
pub trait Disk: Send + Sync + std::fmt::Debug {
    /// Creates a file that must not exist, for reading and writing.
    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a regular file. Anything else (symbolic link, FIFO, directory, device) is an error and never waits.
    fn open(&self, path: &Path, writable: bool) -> io::Result<Box<dyn DiskFile>>;
    /// Renames within the file system, replacing what has the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// The file system that `path` lies on, to be flushed as a whole. Taken before the writes that the flush is for: their errors are reported
    /// to descriptors opened before.
    fn file_system(&self, path: &Path) -> io::Result<Box<dyn FileSystem>>;
    /// Creates one directory; that it is there already is no error.
    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// The entries of a directory in no order.
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>>;
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Bytes that an ordinary user may still write.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
    /// Takes the lock file at `path`, which is held until the result is dropped and by the kernel taken from a process
    /// that dies. `WouldBlock` when another holds it. `None` on a simulated disk, which has one process.
    fn lock(&self, path: &Path, mode: u32) -> io::Result<Option<fs::File>>;
}

/// A whole file system.
pub trait FileSystem: Send + Sync + std::fmt::Debug {
    /// Makes everything that was written to it and named on it durable (syncfs): content, sizes, names. One flush for many files costs
    /// little more than one for a single file.
    fn flush(&self) -> io::Result<()>;
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    /// A regular file, by what the directory says; anything else is not ours.
    pub is_file: bool,
}

/// An open file.
pub trait DiskFile: Send + Sync + std::fmt::Debug {
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Reads up to `buffer.len()` bytes; 0 is the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Makes the content durable, and the size where it changed (fdatasync).
    fn sync_data(&self) -> io::Result<()>;
    fn size(&self) -> io::Result<u64>;
    fn set_size(&self, size: u64) -> io::Result<()>;
    /// Seconds since 1970 of the last change.
    fn changed_seconds(&self) -> io::Result<u64>;
    /// The file for whom wants to stream it; `None` on a simulated disk.
    fn to_std(&self) -> io::Result<Option<fs::File>>;

    /// Reads the whole range; a file that ends before is an error.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            match self.read_at(&mut buffer[done..], offset + done as u64)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => done += n,
            }
        }
        Ok(())
    }

    /// Reads the whole file, refusing more than `limit_bytes`.
    fn read_all(&self, limit_bytes: u64) -> io::Result<Vec<u8>> {
        let size = self.size()?;
        if size > limit_bytes {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("{size} bytes, more than {limit_bytes}")));
        }
        let mut bytes = vec![0; size as usize];
        self.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

/// The operating system's files.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsDisk;

impl Disk for OsDisk {
    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn DiskFile>> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(mode)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(path)?;
        Ok(Box::new(OsFile(file)))
    }

    fn open(&self, path: &Path, writable: bool) -> io::Result<Box<dyn DiskFile>> {
        // O_NONBLOCK: opening a FIFO that somebody put there must not wait for a writer.
        let file = fs::OpenOptions::new()
            .read(true)
            .write(writable)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK)
            .open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Box::new(OsFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    fn file_system(&self, path: &Path) -> io::Result<Box<dyn FileSystem>> {
        Ok(Box::new(OsFileSystem(fs::File::open(path)?)))
    }

    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
        match fs::DirBuilder::new().mode(mode).create(path) {
            // The sticky bit and what the umask took away need a second call.
            Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && fs::symlink_metadata(path)?.is_dir() => Ok(()),
            Err(e) => Err(e),
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            // A name that is no UTF-8 is none of ours, and is shown in a form that no file of ours has.
            let name = entry.file_name().into_string().unwrap_or_else(|odd| format!("?{}", odd.to_string_lossy()));
            entries.push(Entry { name, is_file: entry.file_type()?.is_file() });
        }
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        match fs::symlink_metadata(path) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = nix::sys::statvfs::statvfs(path)?;
        Ok(stat.blocks_available() * stat.fragment_size())
    }

    fn lock(&self, path: &Path, mode: u32) -> io::Result<Option<fs::File>> {
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(mode)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(fs::TryLockError::Error(e)) => Err(e),
        }
    }
}

#[derive(Debug)]
struct OsFileSystem(fs::File);

impl FileSystem for OsFileSystem {
    fn flush(&self) -> io::Result<()> {
        Ok(nix::unistd::syncfs(&self.0)?)
    }
}

#[derive(Debug)]
struct OsFile(fs::File);

impl DiskFile for OsFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        // Not retried on EINTR by hand: fdatasync is not interrupted on local file systems, and an error is final.
        match unsafe { libc::fdatasync(self.0.as_raw_fd()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.0.set_len(size)
    }

    fn changed_seconds(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.mtime().max(0) as u64)
    }

    fn to_std(&self) -> io::Result<Option<fs::File>> {
        self.0.try_clone().map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_fifos_and_directories_are_not_opened() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let at = |name: &str| dir.path().join(name);
        OsDisk.create(&at("file"), 0o640).expect("create").write_at(b"x", 0).expect("write");
        std::os::unix::fs::symlink(at("file"), at("link")).expect("symlink");
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRUSR).expect("mkfifo");
        OsDisk.create_dir(&at("dir"), 0o1770).expect("mkdir");
        assert_eq!(fs::metadata(at("dir")).expect("stat").mode() & 0o7777, 0o1770);
        assert!(OsDisk.open(&at("file"), false).is_ok());
        for odd in ["link", "fifo", "dir"] {
            assert!(OsDisk.open(&at(odd), false).is_err(), "{odd}");
        }
        assert!(OsDisk.create(&at("file"), 0o640).is_err());
        assert!(OsDisk.create_dir(&at("file"), 0o700).is_err());
        assert!(OsDisk.create_dir(&at("dir"), 0o700).is_ok());
    }

    #[test]
    fn a_lock_is_held_once() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("lock");
        let held = OsDisk.lock(&path, 0o600).expect("lock");
        assert_eq!(OsDisk.lock(&path, 0o600).expect_err("held").kind(), io::ErrorKind::WouldBlock);
        drop(held);
        assert!(OsDisk.lock(&path, 0o600).is_ok());
    }
}
