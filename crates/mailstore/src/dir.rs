//! Directories held open, and the few things done inside them. All paths of this crate end here.
//!
//! Every step below an account's root is taken with `openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)`, or component by
//! component with `O_NOFOLLOW` where the kernel lacks it, and everything named is named relative to a directory already
//! held: a symbolic link put in the way at any moment is refused, and nothing behind it is touched (SECURITY D1).

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, RenameFlags, ResolveFlag, openat, openat2, renameat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, fsync, geteuid, linkat, unlinkat};

use crate::error::{Error, Result};

const DIRECTORY: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_RDONLY).union(OFlag::O_CLOEXEC).union(OFlag::O_NOFOLLOW);

/// A directory held open. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Dir {
    fd: Arc<OwnedFd>,
    path: Arc<Path>,
}

/// Enough of a file's state to see whether it is still the one we read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Stamp {
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    pub modified: (i64, i64),
}

impl Stamp {
    pub fn of(stat: &FileStat) -> Stamp {
        Stamp { device: stat.st_dev, inode: stat.st_ino, size: stat.st_size as u64, modified: (stat.st_mtime, stat.st_mtime_nsec) }
    }

    pub fn same_file(&self, other: &Stamp) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

impl Dir {
    /// Opens an account's root. Its parents are the administrator's and may be links; the root itself may not, and must
    /// belong to the user we run as.
    pub fn open_root(path: &Path) -> Result<Dir> {
        let fd = nix::fcntl::open(path, DIRECTORY, Mode::empty()).map_err(|e| link_or(e, "open", path))?;
        Dir::checked(fd, path.to_path_buf())
    }

    /// Opens an account's root, making it and missing parents (mode 0700, each durable).
    pub fn create_root(path: &Path) -> Result<Dir> {
        match Dir::open_root(path) {
            Err(error) if error.is_not_found() => {}
            other => return other,
        }
        let mut missing = vec![path];
        let mut base = path.parent();
        while let Some(parent) = base.filter(|parent| !parent.exists()) {
            missing.push(parent);
            base = parent.parent();
        }
        for directory in missing.into_iter().rev() {
            match std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(directory) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(Error::io("create", directory, e)),
                _ => {}
            }
            if let Some(parent) = directory.parent() {
                let parent_file = File::open(parent).map_err(|e| Error::io("open", parent, e))?;
                parent_file.sync_all().map_err(|e| Error::io("sync", parent, e))?;
            }
        }
        Dir::open_root(path)
    }

    fn checked(fd: OwnedFd, path: PathBuf) -> Result<Dir> {
        let stat = fstat(&fd).map_err(|e| Error::io("stat", &path, e))?;
        if stat.st_uid != geteuid().as_raw() {
            return Err(Error::Unsafe { path, what: "directory belongs to another user" });
        }
        Ok(Dir { fd: Arc::new(fd), path: path.into() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn at(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.path.to_path_buf() } else { self.path.join(name) }
    }

    /// Opens a directory below: `cur`, `.Sent/new`; an empty name is this directory.
    pub fn open_dir(&self, below: &str) -> Result<Dir> {
        if below.is_empty() {
            return Ok(self.clone());
        }
        let path = self.at(below);
        let fd = beneath(self.fd.as_fd(), below, DIRECTORY).map_err(|e| link_or(e, "open", &path))?;
        Dir::checked(fd, path)
    }

    /// The directory that holds what has this path below, opened, and its name in there: system calls that take names follow links on the way.
    pub fn holder<'a>(&self, below: &'a str) -> Result<(Dir, &'a str)> {
        match below.rsplit_once('/') {
            Some((above, name)) => Ok((self.open_dir(above)?, name)),
            None => Ok((self.clone(), below)),
        }
    }

    /// Makes a directory; false when it is there already.
    pub fn make_dir(&self, name: &str) -> Result<bool> {
        match mkdirat(&*self.fd, name, Mode::S_IRWXU) {
            Ok(()) => Ok(true),
            Err(Errno::EEXIST) => Ok(false),
            Err(e) => Err(Error::io("create", self.at(name), e)),
        }
    }

    /// Creates a file that must not exist yet, mode 0600, for writing.
    pub fn create(&self, name: &str) -> Result<File> {
        self.open_at(name, OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY).map_err(|e| Error::io("create", self.at(name), e))
    }

    /// As [`Dir::create`], for writing and reading back.
    pub fn create_readable(&self, name: &str) -> Result<File> {
        self.open_at(name, OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR).map_err(|e| Error::io("create", self.at(name), e))
    }

    /// Creates a file or empties the one there.
    pub fn create_or_truncate(&self, name: &str) -> Result<File> {
        self.open_at(name, OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_WRONLY).map_err(|e| Error::io("create", self.at(name), e))
    }

    /// Puts a small file in place of the one there, durable on return: what is read is the old one or the new one, also after a crash. The
    /// caller holds a lock, and so has `temporary` to itself.
    pub fn replace(&self, name: &str, temporary: &str, bytes: &[u8]) -> Result<()> {
        let mut file = self.create_or_truncate(temporary)?;
        if let Err(error) = file.write_all(bytes).and_then(|()| file.sync_all()) {
            let _ = self.unlink(temporary);
            return Err(Error::io("write", self.at(temporary), error));
        }
        self.rename(temporary, self, name)?;
        self.sync()
    }

    /// A small file's bytes; `None` when it is not there. Of one longer than `limit` it is `Limit`.
    pub fn read_small(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let file = match self.open_file(name) {
            Ok(file) => file,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| Error::io("read", self.at(name), e))?;
        if bytes.len() as u64 > limit { Err(Error::Limit("a file of the mailbox is too large")) } else { Ok(Some(bytes)) }
    }

    /// Opens a regular file for reading.
    pub fn open_file(&self, name: &str) -> Result<File> {
        self.open_regular(name, OFlag::O_RDONLY)
    }

    /// Opens a regular file for reading and appending.
    pub fn open_append(&self, name: &str) -> Result<File> {
        self.open_regular(name, OFlag::O_RDWR | OFlag::O_APPEND)
    }

    /// Opens a regular file for reading and writing, making an empty one when it is not there.
    pub fn open_or_create(&self, name: &str) -> Result<File> {
        self.open_regular(name, OFlag::O_CREAT | OFlag::O_RDWR)
    }

    /// Opens a regular file for reading and appending, making an empty one when it is not there.
    pub fn open_or_create_append(&self, name: &str) -> Result<File> {
        self.open_regular(name, OFlag::O_CREAT | OFlag::O_RDWR | OFlag::O_APPEND)
    }

    fn open_regular(&self, name: &str, flags: OFlag) -> Result<File> {
        // O_NONBLOCK: a FIFO put in a message's place must not make us wait
        let file = self.open_at(name, flags | OFlag::O_NONBLOCK).map_err(|e| link_or(e, "open", &self.at(name)))?;
        let stat = fstat(&file).map_err(|e| Error::io("stat", self.at(name), e))?;
        if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            return Err(Error::Unsafe { path: self.at(name), what: "not a regular file" });
        }
        Ok(file)
    }

    fn open_at(&self, name: &str, flags: OFlag) -> nix::Result<File> {
        openat(&*self.fd, name, flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW, Mode::S_IRUSR | Mode::S_IWUSR).map(File::from)
    }

    /// State of a file, links not followed; `None` when it is not there.
    pub fn stat(&self, name: &str) -> Result<Option<FileStat>> {
        match fstatat(&*self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(e) => Err(Error::io("stat", self.at(name), e)),
        }
    }

    pub fn stamp(&self, name: &str) -> Result<Option<Stamp>> {
        Ok(self.stat(name)?.map(|stat| Stamp::of(&stat)))
    }

    /// Renames; replaces what has the new name.
    pub fn rename(&self, from: &str, to_dir: &Dir, to: &str) -> Result<()> {
        renameat2(&*self.fd, from, &*to_dir.fd, to, RenameFlags::empty()).map_err(|e| Error::io("rename", self.at(from), e))
    }

    /// Renames; fails when the new name is taken.
    pub fn rename_new(&self, from: &str, to_dir: &Dir, to: &str) -> Result<()> {
        match renameat2(&*self.fd, from, &*to_dir.fd, to, RenameFlags::RENAME_NOREPLACE) {
            // file systems that do not know the flag: names are unique, the check is a belt
            Err(Errno::EINVAL | Errno::ENOSYS) => self.rename(from, to_dir, to),
            Err(e) => Err(Error::io("rename", self.at(from), e)),
            Ok(()) => Ok(()),
        }
    }

    /// Two names for each other's, at once; false where the file system cannot do that.
    pub fn exchange(&self, name: &str, other_dir: &Dir, other: &str) -> Result<bool> {
        match renameat2(&*self.fd, name, &*other_dir.fd, other, RenameFlags::RENAME_EXCHANGE) {
            Err(Errno::EINVAL | Errno::ENOSYS) => Ok(false),
            Err(e) => Err(Error::io("rename", self.at(name), e)),
            Ok(()) => Ok(true),
        }
    }

    /// Gives a file a second name; the plain system error, since callers fall back on several.
    pub fn link(&self, from: &str, to_dir: &Dir, to: &str) -> nix::Result<()> {
        linkat(&*self.fd, from, &*to_dir.fd, to, AtFlags::empty())
    }

    /// Removes a file; false when it was not there.
    pub fn unlink(&self, name: &str) -> Result<bool> {
        match unlinkat(&*self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(e) => Err(Error::io("remove", self.at(name), e)),
        }
    }

    /// Makes way for a temporary file of ours: removes what a crash left there, and an empty directory of whoever.
    pub fn clear(&self, name: &str) -> Result<()> {
        match self.unlink(name) {
            Err(Error::Io { source, .. }) if matches!(source.raw_os_error(), Some(libc::EISDIR | libc::EPERM)) => self.remove_dir(name),
            other => other.map(drop),
        }
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, name: &str) -> Result<()> {
        unlinkat(&*self.fd, name, UnlinkatFlags::RemoveDir).map_err(|e| Error::io("remove", self.at(name), e))
    }

    /// Removes a directory and all in it, never following a link.
    pub fn remove_tree(&self, name: &str) -> Result<()> {
        let below = self.open_dir(name)?;
        let mut rounds = 3;
        loop {
            for entry in below.names()? {
                match below.unlink(&entry) {
                    Err(Error::Io { source, .. }) if matches!(source.raw_os_error(), Some(libc::EISDIR | libc::EPERM)) => {
                        below.remove_tree(&entry)?
                    }
                    other => drop(other?),
                }
            }
            rounds -= 1;
            match self.remove_dir(name) {
                // who had it open made a file in the meantime
                Err(Error::Io { source, .. }) if rounds > 0 && source.raw_os_error() == Some(libc::ENOTEMPTY) => {}
                other => return other,
            }
        }
    }

    /// Makes the names in this directory durable.
    pub fn sync(&self) -> Result<()> {
        fsync(&*self.fd).map_err(|e| Error::io("sync", &self.path, e))
    }

    /// Names of all entries but `.` and `..`; such that are not UTF-8 are left out (none of ours, nor of Dovecot).
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        self.each_name(|name| names.push(name.to_owned()))?;
        Ok(names)
    }

    /// The names of the directories in this one; links are none.
    pub fn dir_names(&self) -> Result<Vec<String>> {
        let (mut names, mut unsure) = (Vec::new(), Vec::new());
        self.each_entry(|name, kind| match kind {
            Some(nix::dir::Type::Directory) => names.push(name.to_owned()),
            // a file system that does not tell with the name
            None => unsure.push(name.to_owned()),
            Some(_) => {}
        })?;
        for name in unsure {
            if self.stat(&name)?.is_some_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFDIR) {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Calls `each` with the name of every entry.
    pub fn each_name(&self, mut each: impl FnMut(&str)) -> Result<()> {
        self.each_entry(|name, _| each(name))
    }

    /// Names of the regular files for which `wanted` is true. What else may lie in a mail directory (directories, links, FIFOs) is left alone:
    /// nothing of it is opened or followed.
    pub fn each_file(&self, wanted: impl Fn(&str) -> bool, mut each: impl FnMut(&str)) -> Result<()> {
        let mut unsure = Vec::new();
        self.each_entry(|name, kind| match kind {
            _ if !wanted(name) => {}
            Some(nix::dir::Type::File) => each(name),
            Some(_) => tracing::debug!(file = %self.at(name).display(), "not a regular file, left alone"),
            // a file system that does not tell with the name
            None => unsure.push(name.to_owned()),
        })?;
        for name in unsure {
            if self.is_file(&name)? {
                each(&name);
            }
        }
        Ok(())
    }

    /// True when the name is there and is a regular file.
    pub fn is_file(&self, name: &str) -> Result<bool> {
        Ok(self.stat(name)?.is_some_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFREG))
    }

    fn each_entry(&self, mut each: impl FnMut(&str, Option<nix::dir::Type>)) -> Result<()> {
        // a descriptor of its own: reading moves the offset, which clones of this one share
        let mut open = nix::dir::Dir::openat(&*self.fd, ".", DIRECTORY, Mode::empty()).map_err(|e| Error::io("open", &self.path, e))?;
        for entry in open.iter() {
            let entry = entry.map_err(|e| Error::io("read", &self.path, e))?;
            match entry.file_name().to_str() {
                Ok("." | "..") => {}
                Ok(name) => each(name, entry.file_type()),
                Err(_) => tracing::debug!(directory = %self.path.display(), "a file name that is not UTF-8 is left alone"),
            }
        }
        Ok(())
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A symbolic link with `O_NOFOLLOW | O_DIRECTORY` says ENOTDIR, with `O_NOFOLLOW` alone ELOOP.
fn link_or(error: Errno, step: &'static str, path: &Path) -> Error {
    let is_link = || std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_symlink());
    match error {
        Errno::ELOOP | Errno::EXDEV => Error::Unsafe { path: path.to_path_buf(), what: "symbolic link refused" },
        Errno::ENOTDIR if is_link() => Error::Unsafe { path: path.to_path_buf(), what: "symbolic link refused" },
        error => Error::io(step, path, error),
    }
}

/// Opens a directory below `base` without following any link on the way.
fn beneath(base: BorrowedFd<'_>, below: &str, flags: OFlag) -> nix::Result<OwnedFd> {
    static MISSING: AtomicBool = AtomicBool::new(false);
    if !MISSING.load(Ordering::Relaxed) {
        let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        match openat2(base, below, how) {
            // EPERM: seccomp filters of container managers from before openat2 answer so
            Err(Errno::ENOSYS | Errno::EPERM) => MISSING.store(true, Ordering::Relaxed),
            other => return other,
        }
    }
    let mut held: Option<OwnedFd> = None;
    for component in below.split('/') {
        if matches!(component, "" | "." | "..") {
            return Err(Errno::EXDEV);
        }
        let next = match &held {
            Some(fd) => openat(fd, component, flags, Mode::empty())?,
            None => openat(base, component, flags, Mode::empty())?,
        };
        held = Some(next);
    }
    held.ok_or(Errno::ENOENT)
}

/// A part of a Maildir file name that names our host: `/` and `:` written as the Maildir rules say, `,` would begin a field.
pub(crate) fn host_part(hostname: &str) -> String {
    let mut out = String::with_capacity(hostname.len());
    for c in hostname.chars().filter(|c| !c.is_control() && !c.is_whitespace()).take(64) {
        match c {
            '/' => out.push_str("\\057"),
            ':' => out.push_str("\\072"),
            ',' => out.push_str("\\054"),
            c => out.push(c),
        }
    }
    if out.is_empty() { "localhost".into() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_refused_at_every_level() {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path();
        std::fs::create_dir_all(base.join("other/new")).unwrap();
        let root = Dir::create_root(&base.join("a/b/Maildir")).unwrap();
        root.make_dir(".Sent").unwrap();
        std::os::unix::fs::symlink(base.join("other"), root.at(".Link")).unwrap();
        std::os::unix::fs::symlink(base.join("other/new"), root.at(".Sent/new")).unwrap();
        std::os::unix::fs::symlink(base.join("a/b/Maildir"), base.join("root-link")).unwrap();
        std::fs::write(base.join("other/secret"), "x").unwrap();
        std::os::unix::fs::symlink(base.join("other/secret"), root.at("message")).unwrap();
        nix::unistd::mkfifo(&root.at("fifo"), Mode::S_IRWXU).unwrap();
        for refused in [".Link", ".Link/new", ".Sent/new"] {
            assert!(matches!(root.open_dir(refused), Err(Error::Unsafe { .. })), "{refused}");
        }
        assert!(matches!(Dir::open_root(&base.join("root-link")), Err(Error::Unsafe { .. })));
        assert!(matches!(root.open_file("message"), Err(Error::Unsafe { .. })));
        assert!(matches!(root.open_file("fifo"), Err(Error::Unsafe { .. })));
        assert!(root.open_dir("../b").is_err());
        assert!(root.create("message").is_err());
        assert_eq!(std::fs::read(base.join("other/secret")).unwrap(), b"x");
    }

    #[test]
    fn a_tree_is_removed_without_following_links() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temp.path().join("keep")).unwrap();
        std::fs::write(temp.path().join("keep/file"), "x").unwrap();
        let root = Dir::create_root(&temp.path().join("root")).unwrap();
        std::fs::create_dir_all(root.at("tree/a/b")).unwrap();
        std::os::unix::fs::symlink(temp.path().join("keep"), root.at("tree/a/link")).unwrap();
        root.remove_tree("tree").unwrap();
        assert!(root.stat("tree").unwrap().is_none());
        assert!(temp.path().join("keep/file").exists());
    }
}
