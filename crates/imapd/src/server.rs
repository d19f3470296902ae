//! What all sessions of the program share.

use crate::indexer::{Busy, Indexer};
use crate::lately::Lately;
use config::Config;
use daemon::{Context, MailAccess};
use mailstore::{Mailbox, Recent, Shares, Store};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::OwnedMutexGuard;

/// Accounts remembered as having their special mailboxes.
const PREPARED_LIMIT: usize = 100_000;

/// Between two times that the list of shared mailboxes is made anew: it looks into all accounts.
const AGAIN: Duration = Duration::from_secs(60);

/// When somebody last took it.
type Turn = tokio::sync::Mutex<Option<Instant>>;

/// Shared by all sessions.
pub struct Server {
    pub ctx: Context,
    pub access: MailAccess,
    pub store: Arc<Store>,
    pub lately: Lately,
    /// Keeps mailboxes open for clients that come back.
    _recent: Option<Arc<Recent>>,
    /// Where mailboxes are indexed.
    indexer: Option<Indexer>,
    logins: Mutex<HashMap<(String, IpAddr), u32>>,
    prepared: Mutex<HashSet<PathBuf>>,
    /// Held by who makes the list of shared mailboxes anew.
    making_shares: Arc<Turn>,
}

/// One of the sessions an account may have from one address; given back when dropped.
pub struct LoginSlot {
    server: Arc<Server>,
    key: Option<(String, IpAddr)>,
}

impl Server {
    pub fn new(ctx: Context) -> Arc<Server> {
        let config = ctx.config.get();
        let imapd = &config.imapd;
        let store = Store::new(mailstore::Settings::from(&*config));
        let size = imapd.imap_mailbox_cache_size.0;
        Arc::new(Server {
            _recent: (size > 0).then(|| store.keep_mailboxes(size, imapd.imap_mailbox_cache_time)),
            access: MailAccess::new(&config, &imapd.auth_socket_path, &imapd.userdb_socket_path, imapd.io_threads),
            indexer: (imapd.fts && imapd.fts_autoindex).then(Indexer::start),
            store,
            lately: Lately::default(),
            logins: Mutex::default(),
            prepared: Mutex::default(),
            making_shares: Arc::default(),
            ctx,
        })
    }

    pub fn config(&self) -> Arc<Config> {
        self.ctx.config.get()
    }

    /// A mailbox may have messages that are not indexed.
    pub fn index(&self, mailbox: &Arc<Mailbox>) {
        if let Some(indexer) = &self.indexer {
            indexer.note(mailbox);
        }
    }

    /// A client waits while this lives.
    pub fn busy(&self) -> Option<Busy> {
        self.indexer.as_ref().map(Indexer::busy)
    }

    /// Who has shared mailboxes with whom.
    pub fn shares(&self) -> Shares {
        Shares::below(&self.config().mail.virtual_mailbox_base)
    }

    /// The turn to make that list anew; `None` while somebody does, or did just now.
    pub fn makes_shares(&self) -> Option<OwnedMutexGuard<Option<Instant>>> {
        let mut turn = self.making_shares.clone().try_lock_owned().ok()?;
        if turn.is_some_and(|last| last.elapsed() < AGAIN) {
            return None;
        }
        *turn = Some(Instant::now());
        Some(turn)
    }

    /// Counts a login; `None` when the account has `limit` from this address already (0: any number).
    pub fn count_login(self: &Arc<Server>, user: &str, ip: Option<IpAddr>, limit: u32) -> Option<LoginSlot> {
        let Some(ip) = ip.filter(|_| limit > 0) else {
            return Some(LoginSlot { server: self.clone(), key: None });
        };
        let key = (user.to_owned(), ip.to_canonical());
        let mut logins = self.logins.lock();
        let count = logins.entry(key.clone()).or_insert(0);
        if *count >= limit {
            return None;
        }
        *count += 1;
        drop(logins);
        Some(LoginSlot { server: self.clone(), key: Some(key) })
    }

    /// True the first time an account is seen, or when too many were since.
    pub fn is_new_account(&self, root: &Path) -> bool {
        let mut prepared = self.prepared.lock();
        if prepared.len() >= PREPARED_LIMIT {
            prepared.clear();
        }
        prepared.insert(root.to_owned())
    }
}

impl Drop for LoginSlot {
    fn drop(&mut self) {
        let Some(key) = &self.key else { return };
        let mut logins = self.server.logins.lock();
        if let Some(count) = logins.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                logins.remove(key);
            }
        }
    }
}
