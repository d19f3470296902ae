//! What programs share that give clients their mail (IMAP, POP3): who checks logins, the threads that wait for disks, ids of sessions.

use config::Config;
use ipc::auth::{AuthClient, Mechanism};
use ipc::usage::UsageClient;
use ipc::userdb::UserdbClient;
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// How long a client waits for authd to name its mechanisms.
const MECHANISMS_DEADLINE: Duration = Duration::from_millis(500);

/// Shared by all sessions of a program.
pub struct MailAccess {
    pub auth: AuthClient,
    pub userdb: UserdbClient,
    pub usage: UsageClient,
    /// Bounds the threads that wait for disks.
    io: Semaphore,
    sessions: AtomicU64,
    mechanisms: Mutex<Option<Arc<[Mechanism]>>>,
}

impl MailAccess {
    /// An empty socket path means authd's own.
    pub fn new(config: &Config, auth_socket: &Path, userdb_socket: &Path, io_threads: u32) -> MailAccess {
        let socket = |path: &Path, name: &str| if path.as_os_str().is_empty() { config.socket(name) } else { path.to_owned() };
        MailAccess {
            auth: AuthClient::new(socket(auth_socket, "auth")),
            userdb: UserdbClient::new(socket(userdb_socket, "userdb")),
            usage: UsageClient::new(config.socket("usage")),
            io: Semaphore::new(io_threads as usize),
            sessions: AtomicU64::new(first_session()),
            mechanisms: Mutex::default(),
        }
    }

    /// A session's id in logs, different from all others of the last years.
    pub fn session_id(&self) -> String {
        const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let mut number = self.sessions.fetch_add(1, Ordering::Relaxed);
        let mut id = Vec::with_capacity(10);
        while number > 0 {
            id.push(char::from(DIGITS[(number % 32) as usize]));
            number /= 32;
        }
        id.into_iter().rev().collect()
    }

    /// Runs what may wait for the disk on one of the threads for that; who asks first has the first free one. A panic in it ends the
    /// session that asked.
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

    /// The mechanisms authd has, or had when it was last asked; PLAIN, which every IMAP server must have (RFC 3501 §6.2.2), while nobody
    /// knows.
    pub async fn mechanisms(&self) -> Arc<[Mechanism]> {
        if let Ok(Ok(found)) = tokio::time::timeout(MECHANISMS_DEADLINE, self.auth.mechanisms()).await {
            *self.mechanisms.lock() = Some(found.clone());
            return found;
        }
        let plain = || Mechanism { name: "PLAIN".into(), plaintext: true, private: false, anonymous: false };
        self.mechanisms.lock().clone().unwrap_or_else(|| Arc::new([plain()]))
    }
}

/// Ids go on from the clock, so that a restart does not repeat them.
fn first_session() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |d| d.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(io_threads: u32) -> MailAccess {
        let mut config = Config::defaults(std::path::Path::new("facteur.toml")).expect("defaults");
        config.main.run_directory = "/nowhere".into();
        MailAccess::new(&config, Path::new(""), Path::new(""), io_threads)
    }

    #[tokio::test]
    async fn without_authd_plain_is_announced() {
        assert_eq!(access(1).mechanisms().await[0].name, "PLAIN");
    }

    #[tokio::test]
    async fn a_panic_ends_the_one_who_asked_and_ids_differ() {
        let access = Arc::new(access(1));
        let asking = access.clone();
        let asked = tokio::spawn(async move { asking.blocking(|| panic!("on purpose")).await });
        assert!(asked.await.is_err_and(|error| error.is_panic()));
        assert_eq!(access.blocking(|| 7).await, 7);
        assert_ne!(access.session_id(), access.session_id());
    }
}
