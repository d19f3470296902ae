//! All accounts of this process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::account::Account;
use crate::attic::Keeping;
use crate::backup;
use crate::cache::Room;
use crate::dir::{Dir, host_part};
use crate::error::{Error, Result};
use crate::location::Location;
use crate::memory::Memory;
use crate::message_file::LARGEST_WHOLE;
use crate::quota_rules::QuotaRules;
use crate::recent::Recent;
use crate::watch::Notifier;

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
    /// Rules for single mailboxes, and grace.
    pub quota: QuotaRules,
    /// Largest cache of message contents of one mailbox, in bytes; 0: none is kept.
    pub cache_limit: u64,
    /// Largest file of signatures of one mailbox, in bytes; 0: none are made.
    pub signature_limit: u64,
    /// What becomes of removed messages.
    pub keeping: Keeping,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            line_ends: LineEnds::Lf,
            hostname: "localhost".into(),
            poll_interval: Duration::from_secs(1),
            mailbox_limit: 10_000,
            quota: QuotaRules::default(),
            cache_limit: 1 << 30,
            signature_limit: 0,
            keeping: Keeping::default(),
        }
    }
}

impl From<&config::Config> for Settings {
    fn from(config: &config::Config) -> Settings {
        Settings {
            line_ends: match config.mail.line_ends {
                config::LineEnds::Lf => LineEnds::Lf,
                config::LineEnds::Crlf => LineEnds::Crlf,
            },
            hostname: config.main.hostname.clone(),
            quota: QuotaRules::new(&config.mail.quota_rule, config.mail.quota_grace),
            cache_limit: config.mail.mail_cache_max_size.0,
            signature_limit: if config.imapd.fts { config.imapd.fts_max_size.0 } else { 0 },
            keeping: Keeping { time: config.mail.lazy_expunge_time, limit: config.mail.lazy_expunge_limit.0 },
            ..Settings::default()
        }
    }
}

/// All accounts of this process; one per process is enough. Cheap to share.
pub struct Store {
    pub(crate) settings: Settings,
    host: String,
    accounts: Mutex<HashMap<Location, Weak<Account>>>,
    notifier: Arc<Notifier>,
    /// Mailboxes that were used lately, while somebody wants them kept.
    recent: Mutex<Weak<Recent>>,
    /// For messages read as a whole.
    memory: Arc<Memory>,
    /// For what is known of caches.
    cache_room: Arc<Room>,
    sequence: AtomicU32,
    process: u32,
}

impl Store {
    pub fn new(settings: Settings) -> Arc<Store> {
        Arc::new(Store {
            host: host_part(&settings.hostname),
            notifier: Notifier::new(settings.poll_interval),
            recent: Mutex::default(),
            memory: Memory::new(LARGEST_WHOLE),
            cache_room: Arc::default(),
            settings,
            accounts: Mutex::default(),
            sequence: AtomicU32::new(0),
            process: std::process::id(),
        })
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The account at `location`; the same one for all who ask while somebody holds it. Its Maildir is created when missing.
    pub fn account(self: &Arc<Store>, location: &Location) -> Result<Arc<Account>> {
        let known = |accounts: &HashMap<Location, Weak<Account>>| accounts.get(location).and_then(Weak::upgrade);
        let account = known(&self.accounts.lock());
        if let Some(account) = account {
            account.make_sure()?;
            self.go_on(&account.open_root()?);
            return Ok(account);
        }
        let root = Dir::create_root(location.root())?;
        prepare(&root)?;
        self.go_on(&root);
        let mut accounts = self.accounts.lock();
        if let Some(account) = known(&accounts) {
            return Ok(account);
        }
        accounts.retain(|_, account| account.strong_count() > 0);
        let account = Account::new(self.clone(), location.root().to_path_buf(), location.layout());
        accounts.insert(location.clone(), Arc::downgrade(&account));
        drop(accounts);
        account.sweep_attic();
        Ok(account)
    }

    /// What a restore that was interrupted left undone must not keep anybody from the rest of the mail.
    fn go_on(&self, root: &Dir) {
        match backup::go_on(self, root, Duration::ZERO) {
            Ok(()) | Err(Error::Locked { .. }) => {}
            Err(error) => tracing::error!(path = %root.path().display(), %error, "a mailbox stays half restored"),
        }
    }

    /// From now on mailboxes stay open for `time` after their last use, as many as take no more than `limit_bytes` together; as long as what
    /// is returned lives.
    pub fn keep_mailboxes(&self, limit_bytes: u64, time: Duration) -> Arc<Recent> {
        let recent = Recent::new(limit_bytes, time);
        *self.recent.lock() = Arc::downgrade(&recent);
        recent
    }

    /// For a program that ends: writes down what is known of mailboxes that were kept. Whatever was answered is in the Maildir by then, so there
    /// is nothing to wait for. Blocking.
    pub fn finish(&self) {
        if let Some(recent) = self.recent() {
            recent.save_all();
        }
    }

    pub(crate) fn recent(&self) -> Option<Arc<Recent>> {
        self.recent.lock().upgrade()
    }

    pub(crate) fn notifier(&self) -> &Arc<Notifier> {
        &self.notifier
    }

    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    pub(crate) fn cache_room(&self) -> &Arc<Room> {
        &self.cache_room
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// A file name no other file on any host has: time, microseconds, process, a count, host (as Dovecot and maildir(5)).
    pub(crate) fn unique_name(&self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        format!("{}.M{}P{}Q{sequence}.{}", now.as_secs(), now.subsec_micros(), self.process, self.host)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.notifier.stop();
    }
}

/// Makes what INBOX needs. Durable when something had to be made.
pub(crate) fn prepare(root: &Dir) -> Result<()> {
    let mut made = false;
    for part in ["tmp", "new", "cur"] {
        made |= root.make_dir(part)?;
    }
    if made {
        root.sync()?;
    }
    Ok(())
}
