//! What programs share that give clients their mail (IMAP, POP3): who checks logins, the threads that wait for disks, ids of sessions.

use config::Config;
use ipc::auth::{AuthClient, Mechanism};
use ipc::usage::UsageClient;
use ipc::userdb::UserdbClient;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
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
    /// How many of them one account has at most.
    io_of_account: usize,
    shares: Mutex<HashMap<PathBuf, Weak<Semaphore>>>,
    sessions: AtomicU64,
    mechanisms: Mutex<Option<Arc<[Mechanism]>>>,
}

/// An account's share of the threads that wait for disks: whatever it does with its mail, and whatever lock in there nobody gives back, the
/// threads of the others are not taken. One for all its sessions.
#[derive(Clone)]
pub struct Share(Arc<Semaphore>);

impl MailAccess {
    /// An empty socket path means authd's own.
    pub fn new(config: &Config, auth_socket: &Path, userdb_socket: &Path, io_threads: u32) -> MailAccess {
        let socket = |path: &Path, name: &str| if path.as_os_str().is_empty() { config.socket(name) } else { path.to_owned() };
        MailAccess {
            auth: AuthClient::new(socket(auth_socket, "auth")),
            userdb: UserdbClient::new(socket(userdb_socket, "userdb")),
            usage: UsageClient::new(config.socket("usage")),
            io: Semaphore::new(io_threads as usize),
            io_of_account: (io_threads as usize / 4).max(1),
            shares: Mutex::default(),
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

    /// The share of the account whose mail is at `root`.
    pub fn share(&self, root: &Path) -> Share {
        let mut shares = self.shares.lock();
        if let Some(known) = shares.get(root).and_then(Weak::upgrade) {
            return Share(known);
        }
        shares.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Semaphore::new(self.io_of_account));
        shares.insert(root.to_owned(), Arc::downgrade(&share));
        Share(share)
    }

    /// Runs what may wait for the disk on one of the threads for that, as soon as the account has one of its own free and there is one; who
    /// asks first has the first. A panic in it ends the session that asked.
    pub async fn blocking<T: Send + 'static>(&self, share: &Share, work: impl FnOnce() -> T + Send + 'static) -> T {
        let _of_account = share.0.acquire().await.expect("the semaphore is never closed");
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
        let plain = || Mechanism { name: "PLAIN".into(), plaintext: true, ..Mechanism::default() };
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
        let asked = tokio::spawn(async move {
            {
                let share = asking.share(Path::new("/mail/ann"));
                asking.blocking(&share, || panic!("on purpose")).await
            }
        });
        assert!(asked.await.is_err_and(|error| error.is_panic()));
        assert_eq!(access.blocking(&access.share(Path::new("/mail/ann")), || 7).await, 7);
        assert_ne!(access.session_id(), access.session_id());
    }

    /// All sessions of an account together have a quarter of the threads, and at least one.
    #[tokio::test]
    async fn one_account_does_not_take_the_threads_of_another() {
        use std::sync::atomic::{AtomicBool, AtomicUsize};
        for (io_threads, most) in [(8, 2), (4, 1), (2, 1)] {
            let access = Arc::new(access(io_threads));
            let (running, seen, release) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
            let works: Vec<_> = (0..2 * io_threads)
                .map(|_| {
                    let (access, running, seen, release) = (access.clone(), running.clone(), seen.clone(), release.clone());
                    tokio::spawn(async move {
                        let share = access.share(Path::new("/mail/ann"));
                        let wait = move || {
                            seen.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                            while !release.load(Ordering::SeqCst) {
                                std::thread::sleep(Duration::from_millis(1));
                            }
                            running.fetch_sub(1, Ordering::SeqCst);
                        };
                        access.blocking(&share, wait).await;
                    })
                })
                .collect();
            while seen.load(Ordering::SeqCst) < most {
                tokio::task::yield_now().await;
            }
            let share = access.share(Path::new("/mail/bob"));
            let other = tokio::time::timeout(Duration::from_secs(20), access.blocking(&share, || 7)).await;
            release.store(true, Ordering::SeqCst);
            assert_eq!(other, Ok(7), "{io_threads} threads");
            for work in works {
                work.await.expect("no panic");
            }
            assert_eq!(seen.load(Ordering::SeqCst), most, "{io_threads} threads");
        }
        let access = access(8);
        drop(access.share(Path::new("/mail/ann")));
        access.share(Path::new("/mail/bob"));
        assert_eq!(access.shares.lock().len(), 1);
    }
}
