//! A file that is read again by itself when it changed.

use crate::Error;
use arc_swap::ArcSwap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

/// How often a file is looked at.
const CHECK_MS: u64 = 1000;
/// A file changed in place is left alone until it was quiet for so long: an editor may be in the middle of writing it.
const QUIET_MS: u128 = 250;
/// Larger files are read on the blocking pool, while questions are answered from the old content.
const LARGE_BYTES: u64 = 1 << 20;

type Parse<T> = Box<dyn Fn(&Path, &str) -> Result<T, Error> + Send + Sync>;
type Load<T> = Box<dyn Fn(&Path, File) -> Result<T, Error> + Send + Sync>;

pub(crate) struct Watched<T> {
    path: PathBuf,
    load: Load<T>,
    state: ArcSwap<Loaded<T>>,
    started: Instant,
    /// Milliseconds since `started`.
    next_check: AtomicU64,
}

struct Loaded<T> {
    stamp: Option<Stamp>,
    data: Arc<T>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    device: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(meta: &std::fs::Metadata) -> Stamp {
        Stamp {
            inode: meta.ino(),
            device: meta.dev(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// Reads a file of text. Blocks on the disk.
    pub fn open(path: PathBuf, parse: Parse<T>) -> Result<Arc<Watched<T>>, Error> {
        Watched::open_with(path, Box::new(move |path, file| parse(path, &text(path, file)?)))
    }

    /// The same with a file of any kind.
    pub fn open_with(path: PathBuf, load: Load<T>) -> Result<Arc<Watched<T>>, Error> {
        let (stamp, data) = read(&path, &load)?;
        let state = ArcSwap::from_pointee(Loaded { stamp: Some(stamp), data: Arc::new(data) });
        Ok(Arc::new(Watched { path, load, state, started: Instant::now(), next_check: AtomicU64::new(CHECK_MS) }))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The content, at most about a second behind the file.
    pub fn current(self: &Arc<Self>) -> Arc<T> {
        let now = self.started.elapsed().as_millis() as u64;
        let due = self.next_check.load(Ordering::Relaxed);
        // One question does the looking; those beside it answer from what is there.
        if now >= due && self.next_check.compare_exchange(due, now + CHECK_MS, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.check();
        }
        self.state.load().data.clone()
    }

    fn check(self: &Arc<Self>) {
        let old = self.state.load().stamp;
        let meta = match std::fs::metadata(&self.path) {
            Ok(meta) => meta,
            Err(error) => {
                // Named once per disappearance, not once per second.
                if old.is_some() {
                    tracing::error!(file = %self.path.display(), %error, "table file is gone: its last content stays in force");
                    self.keep(None);
                }
                return;
            }
        };
        let new = Stamp::of(&meta);
        let replaced = old.is_none_or(|old| (old.inode, old.device) != (new.inode, new.device));
        let age = meta.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        if old == Some(new) || (!replaced && age.is_some_and(|age| age.as_millis() < QUIET_MS)) {
            return;
        }
        if new.size > LARGE_BYTES && tokio::runtime::Handle::try_current().is_ok() {
            let this = self.clone();
            tokio::task::spawn_blocking(move || this.reload(new));
        } else {
            self.reload(new);
        }
    }

    fn reload(&self, seen: Stamp) {
        match read(&self.path, &self.load) {
            Ok((stamp, data)) => {
                tracing::info!(file = %self.path.display(), "table file read again");
                self.state.store(Arc::new(Loaded { stamp: Some(stamp), data: Arc::new(data) }));
            }
            Err(error) => {
                tracing::error!(file = %self.path.display(), %error, "changed table file is wrong: its last good content stays in force");
                self.keep(Some(seen));
            }
        }
    }

    fn keep(&self, stamp: Option<Stamp>) {
        let data = self.state.load().data.clone();
        self.state.store(Arc::new(Loaded { stamp, data }));
    }

    #[cfg(test)]
    pub fn check_now(self: &Arc<Self>) {
        self.check();
    }
}

fn read<T>(path: &Path, load: &Load<T>) -> Result<(Stamp, T), Error> {
    let file_error = |source| Error::File { path: path.into(), source };
    let file = File::open(path).map_err(file_error)?;
    // Stamp before content: a change in between is then seen at the next look.
    let meta = file.metadata().map_err(file_error)?;
    if !meta.is_file() {
        return Err(file_error(std::io::Error::other("is not a regular file")));
    }
    Ok((Stamp::of(&meta), load(path, file)?))
}

/// All of a file.
pub(crate) fn text(path: &Path, mut file: File) -> Result<String, Error> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut file, &mut bytes).map_err(|source| Error::File { path: path.into(), source })?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..good].iter().filter(|b| **b == b'\n').count() as u32 + 1;
        Error::line(path, line, "is not UTF-8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(path: &Path, text: &str) -> Result<u32, Error> {
        text.trim().parse().map_err(|_| Error::line(path, 1, "no number"))
    }

    fn age(path: &Path) {
        let file = std::fs::File::options().append(true).open(path).expect("open");
        file.set_modified(SystemTime::now() - std::time::Duration::from_secs(5)).expect("set time");
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_wrong_one_is_not_believed() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("n");
        std::fs::write(&path, "1").expect("write");
        let watched = Watched::open(path.clone(), Box::new(number)).expect("open");
        assert_eq!(*watched.current(), 1);
        std::fs::write(&path, "22").expect("write");
        age(&path);
        watched.check_now();
        assert_eq!(*watched.current(), 22);
        std::fs::write(&path, "junk").expect("write");
        age(&path);
        watched.check_now();
        assert_eq!(*watched.current(), 22);
        std::fs::remove_file(&path).expect("remove");
        watched.check_now();
        assert_eq!(*watched.current(), 22);
        std::fs::write(&path, "4").expect("write");
        watched.check_now();
        assert_eq!(*watched.current(), 4);
    }

    #[test]
    fn a_replaced_file_is_read_at_once() {
        let dir = tempfile::tempdir().expect("dir");
        let (path, new) = (dir.path().join("n"), dir.path().join("new"));
        std::fs::write(&path, "1").expect("write");
        let watched = Watched::open(path.clone(), Box::new(number)).expect("open");
        std::fs::write(&new, "2").expect("write");
        std::fs::rename(&new, &path).expect("rename");
        watched.check_now();
        assert_eq!(*watched.current(), 2);
    }

    #[test]
    fn bytes_that_are_no_utf8_are_named_by_line() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("n");
        std::fs::write(&path, b"a\nb\xff\n").expect("write");
        let error = Watched::open(path.clone(), Box::new(number)).err().expect("no utf-8");
        assert_eq!(error.to_string(), format!("{}:2: is not UTF-8", path.display()));
    }
}
