//! What all sessions share.

use crate::uidl;
use config::Config;
use daemon::Context;
use ipc::auth::{AuthClient, Mechanism};
use ipc::usage::UsageClient;
use ipc::userdb::UserdbClient;
use mailstore::Store;
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// How long CAPA waits for authd to name its mechanisms.
const MECHANISMS_DEADLINE: Duration = Duration::from_millis(500);

/// Shared by all sessions.
pub struct Server {
    pub ctx: Context,
    pub auth: AuthClient,
    pub userdb: UserdbClient,
    pub usage: UsageClient,
    pub store: Arc<Store>,
    uidl: Mutex<uidl::Format>,
    /// Bounds the threads that wait for disks.
    io: Semaphore,
    sessions: AtomicU64,
    mechanisms: Mutex<Option<Arc<[Mechanism]>>>,
}

impl Server {
    pub fn new(ctx: Context) -> anyhow::Result<Arc<Server>> {
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
        let uidl = uidl::Format::parse(&config.pop3d.pop3_uidl_format).map_err(anyhow::Error::msg)?;
        Ok(Arc::new(Server {
            auth: AuthClient::new(socket(&config.pop3d.auth_socket_path, "auth")),
            userdb: UserdbClient::new(socket(&config.pop3d.userdb_socket_path, "userdb")),
            usage: UsageClient::new(config.socket("usage")),
            store: Store::new(settings),
            uidl: Mutex::new(uidl),
            io: Semaphore::new(config.pop3d.io_threads as usize),
            sessions: AtomicU64::new(first_session()),
            mechanisms: Mutex::default(),
            ctx,
        }))
    }

    pub fn config(&self) -> Arc<Config> {
        self.ctx.config.get()
    }

    /// Takes what follows from new settings. Sockets and threads stay as they were at the start.
    pub fn reload(&self, config: &Config) {
        // It was checked before the settings were taken.
        if let Ok(format) = uidl::Format::parse(&config.pop3d.pop3_uidl_format) {
            *self.uidl.lock() = format;
        }
    }

    pub fn uidl(&self) -> uidl::Format {
        self.uidl.lock().clone()
    }

    /// A session's id in logs, different from all others of the last years.
    pub fn session_id(&self) -> String {
        const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let mut number = self.sessions.fetch_add(1, Ordering::Relaxed);
        let mut id = Vec::with_capacity(10);
        while number > 0 {
            id.push(DIGITS[(number % 32) as usize] as char);
            number /= 32;
        }
        id.into_iter().rev().collect()
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

    /// Names of the mechanisms authd has, or had when it was last asked; PLAIN while nobody knows.
    pub async fn mechanisms(&self) -> Vec<String> {
        let found = match tokio::time::timeout(MECHANISMS_DEADLINE, self.auth.mechanisms()).await {
            Ok(Ok(found)) => {
                *self.mechanisms.lock() = Some(found.clone());
                Some(found)
            }
            _ => self.mechanisms.lock().clone(),
        };
        match found {
            Some(found) => found.iter().filter(|m| !m.private && !m.anonymous).map(|m| m.name.clone()).collect(),
            None => vec!["PLAIN".into()],
        }
    }
}

/// Ids go on from the clock, so that a restart does not repeat them.
fn first_session() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |d| d.as_millis() as u64)
}
