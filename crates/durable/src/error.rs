//! What can go wrong with a file, and where.

use std::io;
use std::path::{Path, PathBuf};

/// `open queue/4F/4F2A: permission denied`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file-system call failed.
    #[error("{step} {}: {source}", path.display())]
    Io { step: &'static str, path: PathBuf, source: io::Error },
    /// An earlier write or sync of this file failed; nothing can be promised about it any more.
    #[error("{} is poisoned by an earlier failed write or sync", path.display())]
    Poisoned { path: PathBuf },
    /// The committer thread has ended.
    #[error("the committer has stopped")]
    Stopped,
}

impl Error {
    /// For `map_err`: names the step and the file.
    pub fn io(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Io { step, path, source }
    }

    /// Whether the file or directory is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether the disk, the quota or the inodes are used up (the peer then learns 452 rather than 451).
    pub fn is_full(&self) -> bool {
        matches!(self, Error::Io { source, .. } if is_full(source))
    }
}

pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
