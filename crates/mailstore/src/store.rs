//! All accounts of this process.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::account::Account;
use crate::error::Result;
use crate::location::Location;

/// How line ends of messages we write look on disk. Both are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LineEnds {
    /// What Dovecot writes and local tools like.
    #[default]
    Lf,
    /// As on the wire.
    Crlf,
}

/// What the store needs to know of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    pub line_ends: LineEnds,
    /// Our host's name, part of file names.
    pub hostname: String,
    /// How often opened mailboxes are looked at when the kernel has no inotify watches left.
    pub poll_interval: Duration,
    /// Most mailboxes one account can have.
    pub mailbox_limit: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { line_ends: LineEnds::Lf, hostname: "localhost".into(), poll_interval: Duration::from_secs(1), mailbox_limit: 10_000 }
    }
}

/// All accounts of this process; one per process is enough. Cheap to share.
pub struct Store {
    pub(crate) settings: Settings,
}

impl Store {
    pub fn new(settings: Settings) -> Arc<Store> {
        Arc::new(Store { settings })
    }

    /// The account at `location`; the same one for all who ask while somebody holds it. Its Maildir is created when missing.
    pub fn account(self: &Arc<Store>, location: &Location) -> Result<Arc<Account>> {
        let root: PathBuf = location.root().to_path_buf();
        unimplemented!("{root:?} {:?}", self.settings)
    }
}
