//! Connections to the servers of a directory, made when they are needed and kept for the next question.
//!
//! There are two sets: of one identity those that search, and of whoever came last those that try passwords, so that a user's bind never
//! changes who searches. Servers are tried in order. One that cannot be reached is left alone for a moment, longer each time up to some seconds, and whoever
//! asks meanwhile is told at once. A connection that broke since its last use is replaced without anybody noticing. All waiting is
//! bounded, in number and in time.

use super::entry::Entry;
use super::settings::Settings;
use ldap3::adapters::{Adapter, EntriesOnly, PagedResults};
use ldap3::{DerefAliases, Ldap, LdapConnAsync, LdapConnSettings, LdapError, Scope, SearchOptions};
use parking_lot::Mutex;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroizing;

/// Connections of each set.
const CONNECTIONS: usize = 4;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The whole answer, waiting included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);
/// All users at once are more.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);
/// Shorter than servers and firewalls cut idle connections.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// Of one user there is one entry. The second tells that the filter finds too much.
const ONE_LIMIT: usize = 2;
/// Of all users. More are no directory of people, or a server that never ends.
const LIST_LIMIT: usize = 1_000_000;
/// RFC 2696. Active Directory gives no more than a thousand at a time.
const PAGE: i32 = 500;

/// RFC 4511 §4.1.9 and appendix A.
mod code {
    pub const SUCCESS: u32 = 0;
    pub const SIZE_LIMIT_EXCEEDED: u32 = 4;
    pub const NO_SUCH_OBJECT: u32 = 32;
    /// Of an entry without a password.
    pub const INAPPROPRIATE_AUTHENTICATION: u32 = 48;
    pub const INVALID_CREDENTIALS: u32 = 49;
}

/// No answer. The text is for our log; it says nothing of passwords.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("{0}")]
    Away(String),
    /// The place to begin at does not exist.
    #[error("there is no entry {0}")]
    NoBase(String),
    #[error("more than one entry")]
    Several,
    #[error("the server refuses: {0}")]
    Refused(String),
}

/// What a user's bind came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    Right,
    Wrong,
    /// There is no such entry.
    Nobody,
}

struct Server {
    uri: String,
    pause: Mutex<Option<Pause>>,
}

/// Why and how long a server is left alone.
struct Pause {
    until: Instant,
    length: Duration,
    why: String,
}

/// Connections of one set.
pub struct Links {
    servers: Arc<[Server]>,
    connection: LdapConnSettings,
    identity: Option<(String, Zeroizing<String>)>,
    free: Arc<Semaphore>,
    idle: Mutex<Vec<(Ldap, Instant)>>,
}

/// A connection in use. Dropped in the middle of a question it is closed.
struct Lease {
    link: Ldap,
    /// Made for this question, so that it cannot have broken before.
    is_new: bool,
    _turn: OwnedSemaphorePermit,
}

/// A search.
pub struct Search {
    pub base: String,
    pub scope: Scope,
    pub deref: DerefAliases,
    pub filter: String,
    pub wanted: Vec<String>,
}

impl Links {
    /// Those that search, and those that try passwords.
    pub fn of(settings: &mut Settings) -> (Links, Links) {
        let servers: Arc<[Server]> = settings.servers.iter().map(|uri| Server { uri: uri.clone(), pause: Mutex::default() }).collect();
        let set = |identity| Links {
            servers: servers.clone(),
            connection: settings.connection.clone(),
            identity,
            free: Arc::new(Semaphore::new(CONNECTIONS)),
            idle: Mutex::default(),
        };
        (set(settings.identity.take()), set(None))
    }

    /// The entry of a user.
    pub async fn one(&self, search: &Search) -> Result<Option<Entry>, Fault> {
        match self.search(search, ONE_LIMIT, ANSWER_TIMEOUT).await? {
            (entries, _) if entries.len() >= ONE_LIMIT => Err(Fault::Several),
            (_, false) => Err(Fault::Several),
            (entries, true) => Ok(entries.into_iter().next()),
        }
    }

    /// All entries.
    pub async fn all(&self, search: &Search) -> Result<Vec<Entry>, Fault> {
        match self.search(search, LIST_LIMIT, LIST_TIMEOUT).await? {
            (entries, true) => Ok(entries),
            (_, false) => Err(Fault::Refused("it does not give all entries (a limit of size for this dn)".into())),
        }
    }

    /// At most so many entries, and whether they are all.
    async fn search(&self, search: &Search, limit: usize, timeout: Duration) -> Result<(Vec<Entry>, bool), Fault> {
        let deadline = Instant::now() + timeout;
        loop {
            let mut lease = self.lease(deadline).await?;
            match within(deadline, found(&mut lease.link, search, limit)).await {
                Ok((entries, result)) => {
                    // Whoever stops early leaves a connection on which answers still come.
                    if let Some(result) = result {
                        self.give_back(lease);
                        return match result.rc {
                            code::SUCCESS => Ok((entries, true)),
                            code::SIZE_LIMIT_EXCEEDED => Ok((entries, false)),
                            code::NO_SUCH_OBJECT => Err(Fault::NoBase(search.base.clone())),
                            _ => Err(Fault::Refused(shown(&result))),
                        };
                    }
                    return Ok((entries, false));
                }
                Err(broken) => self.after(broken, lease)?,
            }
        }
    }

    /// Tries a password. An empty one is none: servers say yes to a name without a password, and mean nobody (RFC 4513 §5.1.2).
    pub async fn bind(&self, dn: &str, password: &str) -> Result<Bound, Fault> {
        if dn.is_empty() || password.is_empty() {
            return Ok(Bound::Wrong);
        }
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let mut lease = self.lease(deadline).await?;
            match within(deadline, lease.link.simple_bind(dn, password)).await {
                Ok(result) => {
                    let bound = match result.rc {
                        code::SUCCESS => Bound::Right,
                        code::INVALID_CREDENTIALS | code::INAPPROPRIATE_AUTHENTICATION => Bound::Wrong,
                        code::NO_SUCH_OBJECT => Bound::Nobody,
                        _ => return Err(Fault::Refused(shown(&result))),
                    };
                    self.give_back(lease);
                    return Ok(bound);
                }
                Err(broken) => self.after(broken, lease)?,
            }
        }
    }

    /// What it means that a connection broke: another try, or a fault.
    fn after(&self, broken: Broken, lease: Lease) -> Result<(), Fault> {
        match broken {
            Broken::Late => Err(Fault::Away("no answer in time".into())),
            // The server was started again since; the other connections are as old.
            Broken::Gone(_) if !lease.is_new => {
                self.idle.lock().clear();
                Ok(())
            }
            Broken::Gone(why) => Err(Fault::Away(why)),
        }
    }

    async fn lease(&self, deadline: Instant) -> Result<Lease, Fault> {
        let turn = tokio::time::timeout_at(deadline.into(), self.free.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(Fault::Away("too many questions wait for the directory".into())) };
        if let Some(link) = self.idle_link() {
            return Ok(Lease { link, is_new: false, _turn: turn });
        }
        let mut why = String::new();
        for server in self.servers.iter() {
            match self.connect(server, deadline).await {
                Ok(link) => return Ok(Lease { link, is_new: true, _turn: turn }),
                Err(reason) => why = format!("{}: {reason}", server.uri),
            }
        }
        Err(Fault::Away(why))
    }

    fn idle_link(&self) -> Option<Ldap> {
        let mut idle = self.idle.lock();
        while let Some((mut link, since)) = idle.pop() {
            if since.elapsed() >= IDLE_TIMEOUT {
                // It is the youngest: the others are too old as well.
                idle.clear();
            } else if !link.is_closed() {
                return Some(link);
            }
        }
        None
    }

    fn give_back(&self, lease: Lease) {
        self.idle.lock().push((lease.link, Instant::now()));
    }

    async fn connect(&self, server: &Server, deadline: Instant) -> Result<Ldap, String> {
        if let Some(pause) = &*server.pause.lock()
            && pause.until > Instant::now()
        {
            return Err(pause.why.clone());
        }
        let opened = async {
            let (connection, mut link) = LdapConnAsync::with_settings(self.connection.clone(), &server.uri).await?;
            tokio::spawn(async move {
                if let Err(error) = connection.drive().await {
                    tracing::debug!(%error, "a connection to the directory ended");
                }
            });
            let bound = match &self.identity {
                Some((dn, password)) => Some(link.simple_bind(dn, password).await?),
                None => None,
            };
            Ok((link, bound))
        };
        let why = match within(deadline.min(Instant::now() + CONNECT_TIMEOUT), opened).await {
            Ok((_, Some(refused))) if refused.rc != code::SUCCESS => format!("dn may not log in: {}", shown(&refused)),
            Ok((link, _)) => {
                *server.pause.lock() = None;
                return Ok(link);
            }
            Err(Broken::Late) => "no answer to a new connection".to_owned(),
            Err(Broken::Gone(why)) => why,
        };
        server.leave_alone(why.clone());
        Err(why)
    }
}

impl Server {
    fn leave_alone(&self, why: String) {
        let mut pause = self.pause.lock();
        let length = pause.as_ref().map_or(FIRST_PAUSE, |before| (before.length * 2).min(LONGEST_PAUSE));
        *pause = Some(Pause { until: Instant::now() + length, length, why });
    }
}

/// The entries of a search, and how it ended; `None` when there were more than wanted. Referrals to other servers are passed over.
async fn found(link: &mut Ldap, search: &Search, limit: usize) -> Result<(Vec<Entry>, Option<ldap3::LdapResult>), LdapError> {
    let in_pages = limit > PAGE as usize;
    let options = SearchOptions::new().deref(search.deref).sizelimit(if in_pages { 0 } else { limit as i32 });
    let mut adapters: Vec<Box<dyn Adapter<'_, String, Vec<String>>>> = vec![Box::new(EntriesOnly::new())];
    if in_pages {
        adapters.push(Box::new(PagedResults::new(PAGE)));
    }
    let stream = link.with_search_options(options).streaming_search_with(
        adapters,
        &search.base,
        search.scope,
        &search.filter,
        search.wanted.clone(),
    );
    let mut stream = stream.await?;
    let mut entries = Vec::new();
    while let Some(entry) = stream.next().await? {
        if entries.len() >= limit {
            return Ok((entries, None));
        }
        entries.extend(Entry::of(entry.0));
    }
    Ok((entries, Some(stream.finish().await)))
}

enum Broken {
    Late,
    Gone(String),
}

/// An answer before `deadline`. The library panics where a server does not speak LDAP: that is this connection's end, not ours.
async fn within<T>(deadline: Instant, answer: impl Future<Output = Result<T, LdapError>>) -> Result<T, Broken> {
    let mut answer = std::pin::pin!(answer);
    let caught = poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(result)) => Poll::Ready(result.map_err(|error| Broken::Gone(error.to_string()))),
        Err(_) => Poll::Ready(Err(Broken::Gone("the server does not speak LDAP".into()))),
    });
    match tokio::time::timeout_at(deadline.into(), caught).await {
        Ok(result) => result,
        Err(_) => Err(Broken::Late),
    }
}

/// What a server says. The text is its own.
fn shown(result: &ldap3::LdapResult) -> String {
    let text: String = mail_types::printable(&result.text).to_string().chars().take(200).collect();
    format!("{text} (result {})", result.rc)
}
