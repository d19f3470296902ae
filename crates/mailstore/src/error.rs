//! What can go wrong in the mail store, told by what the caller can do about it.

use std::io;
use std::path::{Path, PathBuf};

/// Result of nearly everything here.
pub type Result<T> = std::result::Result<T, Error>;

/// Variants say what the caller can do; unsure means [`Error::Io`], which is temporary.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such mailbox.
    #[error("no such mailbox")]
    NoSuchMailbox,
    /// A mailbox of that name is there already.
    #[error("mailbox already exists")]
    AlreadyExists,
    /// The operation is not possible with this mailbox (deleting INBOX, renaming a mailbox below itself).
    #[error("{0}")]
    NotAllowed(&'static str),
    /// The message is gone: another session or program removed it. Tell the client so (`EXPUNGEISSUED`).
    #[error("message no longer exists")]
    Expunged,
    /// The account's quota would be passed; nothing was stored.
    #[error("quota exceeded: {used} of {limit} {unit} in use")]
    OverQuota { used: u64, limit: u64, unit: &'static str },
    /// The disk, its inodes or the file system's own quota are used up; nothing was stored. Temporary.
    #[error("no space left: {path}")]
    NoSpace {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A bound of ours: too many keywords, too many mailboxes. The text says which.
    #[error("{0}")]
    Limit(&'static str),
    /// Another process holds a lock for too long. Temporary.
    #[error("{path}: locked by another process for too long")]
    Locked { path: PathBuf },
    /// A symbolic link, a foreign owner or a wrong file type where mail should be. Nothing behind it was touched.
    #[error("{path}: {what}")]
    Unsafe { path: PathBuf, what: &'static str },
    /// Anything else the system said. Temporary.
    #[error("{step} {path}: {source}")]
    Io {
        step: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Sorts an error of the system into the right variant. `step` is a verb: `open`, `write`, `rename`.
    pub(crate) fn io(step: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Error {
        let source = source.into();
        let path = path.as_ref().to_path_buf();
        match source.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => Error::NoSpace { path, source },
            Some(libc::ELOOP) => Error::Unsafe { path, what: "symbolic link refused" },
            _ => Error::Io { step, path, source },
        }
    }

    /// True when the same request may succeed later without anybody changing a setting or deleting mail.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Error::NoSpace { .. } | Error::Locked { .. } | Error::Io { .. } | Error::Unsafe { .. })
    }

    /// True when a message that gave this will give it again until somebody does something about its file: it is gone, too large to be held, or
    /// not a file of ours. Unsure means false.
    pub fn is_lasting(&self) -> bool {
        match self {
            Error::Expunged | Error::Unsafe { .. } => true,
            Error::Io { source, .. } => matches!(source.kind(), io::ErrorKind::FileTooLarge | io::ErrorKind::PermissionDenied),
            _ => false,
        }
    }

    /// True when nothing can be written where mail lies: no room, a file system or directory that is read-only. Reading can go on.
    pub fn cannot_write(&self) -> bool {
        match self {
            Error::NoSpace { .. } => true,
            Error::Io { source, .. } => matches!(source.raw_os_error(), Some(libc::EROFS | libc::EACCES | libc::EPERM)),
            _ => false,
        }
    }

    /// True when the system answered that the name is taken.
    pub(crate) fn is_taken(&self) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists)
    }

    /// True when the system answered that the file or directory is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_by_itself_is_not_lasting() {
        for (number, lasting) in [
            (libc::EIO, false),
            (libc::EMFILE, false),
            (libc::ENOMEM, false),
            (libc::ENOSPC, false),
            (libc::EACCES, true),
            (libc::EFBIG, true),
            (libc::ELOOP, true),
        ] {
            assert_eq!(Error::io("open", "x", io::Error::from_raw_os_error(number)).is_lasting(), lasting, "{number}");
        }
        assert!(!Error::Locked { path: "x".into() }.is_lasting() && Error::Expunged.is_lasting());
    }
}
