//! What can go wrong with the spool, by what the caller can do about it.

use crate::envelope::Damage;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The disk, or the room the settings give the journal, is used up: 452 for the client, later it may work.
    #[error("no room in the spool: {0}")]
    Full(String),
    /// A file-system call failed: 451 for the client; nothing was promised.
    #[error(transparent)]
    File(Arc<durable::Error>),
    /// What was read is not what was written.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged { path: PathBuf, reason: String },
    /// A newer Facteur has written it: it waits for that one.
    #[error("{}: the message is of version {version}, which a newer Facteur has written", path.display())]
    Newer { path: PathBuf, version: u32 },
    /// Another process has the spool open for writing.
    #[error("{} is held by another process", .0.display())]
    Locked(PathBuf),
}

impl From<durable::Error> for Error {
    fn from(error: durable::Error) -> Error {
        if error.is_full() { Error::Full(error.to_string()) } else { Error::File(Arc::new(error)) }
    }
}

impl Error {
    /// What is wrong with the text in front of a message.
    pub fn of_envelope(path: &std::path::Path, damage: Damage) -> Error {
        match damage {
            Damage::Newer(version) => Error::Newer { path: path.to_path_buf(), version },
            damage => Error::damaged(path, damage),
        }
    }

    pub(crate) fn damaged(path: &std::path::Path, reason: impl ToString) -> Error {
        Error::Damaged { path: path.to_path_buf(), reason: reason.to_string() }
    }

    /// Whether the file is simply not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::File(error) if error.is_not_found())
    }
}
