//! What all sessions of the program share.

use config::Config;
use daemon::Context;
use ipc::auth::{AuthClient, Mechanism};
use ipc::usage::UsageClient;
use ipc::userdb::UserdbClient;
use mailstore::Store;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Accounts remembered as having their special mailboxes.
const PREPARED_LIMIT: usize = 100_000;

/// How long the greeting waits for authd to name its mechanisms.
const MECHANISMS_DEADLINE: Duration = Duration::from_millis(500);

/// Shared by all sessions.
pub struct Server {
    pub ctx: Context,
    pub auth: AuthClient,
    pub userdb: UserdbClient,
    pub usage: UsageClient,
    pub store: Arc<Store>,
    /// Bounds the threads that wait for disks.
    io: Semaphore,
    sessions: AtomicU64,
    logins: Mutex<HashMap<(String, IpAddr), u32>>,
    prepared: Mutex<HashSet<PathBuf>>,
    mechanisms: Mutex<Option<Arc<[Mechanism]>>>,
}

/// One of the sessions an account may have from one address; given back when dropped.
pub struct LoginSlot {
    server: Arc<Server>,
    key: Option<(String, IpAddr)>,
}

impl Server {
    pub fn new(ctx: Context) -> Arc<Server> {
        let config = ctx.config.get();
        let socket = |path: &Path, name: &str| if path.as_os_str().is_empty() { config.socket(name) } else { path.to_owned() };
        let settings = mailstore::Settings {
            line_ends: match config.mail.line_ends {
                config::LineEnds::Lf => mailstore::LineEnds::Lf,
                config::LineEnds::Crlf => mailstore::LineEnds::Crlf,
            },
            hostname: config.main.hostname.clone(),
            ..mailstore::Settings::default()
        };
        Arc::new(Server {
            auth: AuthClient::new(socket(&config.imapd.auth_socket_path, "auth")),
            userdb: UserdbClient::new(socket(&config.imapd.userdb_socket_path, "userdb")),
            usage: UsageClient::new(config.socket("usage")),
            store: Store::new(settings),
            io: Semaphore::new(config.imapd.io_threads as usize),
            sessions: AtomicU64::new(first_session()),
            logins: Mutex::default(),
            prepared: Mutex::default(),
            mechanisms: Mutex::default(),
            ctx,
        })
    }

    pub fn config(&self) -> Arc<Config> {
        self.ctx.config.get()
    }

    /// A session's id in logs, different from all others of the last years.
    pub fn session_id(&self) -> String {
        const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let mut number = self.sessions.fetch_add(1, Ordering::Relaxed);
        let mut id = Vec::with_capacity(10);
        while number > 0 {
            id.push(DIGITS[(number % 32) as usize]);
            number /= 32;
        }
        id.reverse();
        String::from_utf8(id).unwrap_or_default()
    }

    /// Runs what may wait for the disk on one of the threads for that. A panic in it ends the session that asked.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let permit = self.io.acquire().await.expect("the semaphore is never closed");
        let span = tracing::Span::current();
        let result = tokio::task::spawn_blocking(move || span.in_scope(work)).await;
        drop(permit);
        match result {
            Ok(value) => value,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is going away, and this task with it.
            Err(_) => std::future::pending().await,
        }
    }

    /// The mechanisms authd has, or had when it was last asked; PLAIN, which every server must have (RFC 3501 §6.2.2), while
    /// nobody knows.
    pub async fn mechanisms(&self) -> Arc<[Mechanism]> {
        if let Ok(Ok(found)) = tokio::time::timeout(MECHANISMS_DEADLINE, self.auth.mechanisms()).await {
            *self.mechanisms.lock() = Some(found.clone());
            return found;
        }
        let plain = || Mechanism { name: "PLAIN".into(), plaintext: true, private: false, anonymous: false };
        self.mechanisms.lock().clone().unwrap_or_else(|| Arc::new([plain()]))
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

/// Ids go on from the clock, so that a restart does not repeat them.
fn first_session() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |d| d.as_millis() as u64)
}
