//! What accounts hold and when they were used: `deliver`, `imapd`, `pop3d` tell `authd`, which keeps it beside the accounts.
//!
//! One way, lossy: a [`Note`] per account at most once a second, the latest state wins, nothing is answered, nothing waits for it. What
//! was not sent when `authd` is away, or more than [`WAITING_LIMIT`] accounts, is dropped: the next note brings the state again.

use crate::LocalStream;
use crate::frame;
use bincode::{Decode, Encode};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The conversation's frames.
pub const USAGE: frame::Conversation = frame::Conversation { name: "usage", kind: 5, version: 1, limit_bytes: 4 << 10 };

/// Accounts whose notes wait for the next sending.
pub const WAITING_LIMIT: usize = 10_000;

const EVERY: Duration = Duration::from_secs(1);

/// What is new about one account.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct Note {
    pub user: String,
    pub stored: Option<Stored>,
    pub login: Option<Login>,
}

/// All that the account holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Stored {
    pub bytes: u64,
    pub messages: u64,
}

/// The last login.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Login {
    /// `imap` or `pop3`.
    pub service: String,
    /// Seconds since 1970.
    pub time: u64,
    /// The client's address as text; empty when it has none.
    pub remote: String,
}

/// Tells `authd`. Cheap to clone; never blocks, never fails.
#[derive(Clone)]
pub struct UsageClient(Arc<Inner>);

struct Inner {
    path: PathBuf,
    waiting: Mutex<HashMap<String, Note>>,
    sending: AtomicBool,
}

impl UsageClient {
    pub fn new(path: impl Into<PathBuf>) -> UsageClient {
        UsageClient(Arc::new(Inner { path: path.into(), waiting: Mutex::default(), sending: AtomicBool::new(false) }))
    }

    /// The account holds this much now.
    pub fn stored(&self, user: &str, bytes: u64, messages: u64) {
        self.note(user, |note| note.stored = Some(Stored { bytes, messages }));
    }

    /// Somebody logged in, just now.
    pub fn login(&self, user: &str, service: &str, remote: Option<IpAddr>) {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let remote = remote.map(|ip| ip.to_canonical().to_string()).unwrap_or_default();
        self.note(user, |note| note.login = Some(Login { service: service.to_owned(), time, remote }));
    }

    fn note(&self, user: &str, change: impl FnOnce(&mut Note)) {
        if user.len() > 512 {
            return;
        }
        {
            let mut waiting = self.0.waiting.lock();
            let full = waiting.len() >= WAITING_LIMIT;
            match waiting.get_mut(user) {
                Some(note) => change(note),
                None if !full => {
                    let mut note = Note { user: user.to_owned(), ..Note::default() };
                    change(&mut note);
                    waiting.insert(user.to_owned(), note);
                }
                None => return,
            }
        }
        if !self.0.sending.swap(true, Ordering::AcqRel) {
            match tokio::runtime::Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn(send(self.0.clone()))),
                Err(_) => self.0.sending.store(false, Ordering::Release),
            }
        }
    }
}

/// Tells `authd` at once, for a program that ends soon; the error says why nobody heard.
pub async fn tell(path: &std::path::Path, notes: &[Note]) -> std::io::Result<()> {
    use tokio::io::AsyncWriteExt;
    let mut out = Vec::new();
    for note in notes {
        // Within limits: user 512 bytes, the rest short.
        let _ = USAGE.encode(note, &mut out);
    }
    let told = async {
        let mut stream = crate::unix::connect(path).await?;
        stream.write_all(&out).await?;
        stream.shutdown().await
    };
    tokio::time::timeout(EVERY, told).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

/// Sends what waits, a second after the first note, and ends when a second brought nothing new.
async fn send(inner: Arc<Inner>) {
    let mut stream: Option<LocalStream> = None;
    loop {
        tokio::time::sleep(EVERY).await;
        let notes = std::mem::take(&mut *inner.waiting.lock());
        if notes.is_empty() {
            inner.sending.store(false, Ordering::Release);
            // A note may have come between the two lines above; it starts a sender of its own, or we go on.
            if inner.waiting.lock().is_empty() || inner.sending.swap(true, Ordering::AcqRel) {
                return;
            }
            continue;
        }
        let mut out = Vec::new();
        for note in notes.values() {
            // Within limits: user 512 bytes, the rest short.
            let _ = USAGE.encode(note, &mut out);
        }
        if stream.is_none() {
            stream = tokio::time::timeout(EVERY, crate::unix::connect(&inner.path)).await.ok().and_then(Result::ok);
        }
        if let Some(open) = &mut stream {
            use tokio::io::AsyncWriteExt;
            let written = tokio::time::timeout(EVERY, open.write_all(&out)).await;
            if !matches!(written, Ok(Ok(()))) {
                stream = None;
            }
        }
    }
}
