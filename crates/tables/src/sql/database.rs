//! A database with a few connections to it, made when they are needed.
//!
//! Servers are tried in order. One that cannot be reached is left alone for a moment, longer each time up to some seconds, and whoever
//! asks meanwhile is told at once: a server that starts again meets a handful of connections, and nobody waits for one that is away. A
//! connection that broke since its last use is replaced without anybody noticing. All waiting is bounded, in number and in time.

use super::link::Link;
use super::{Kind, Place, Row, Value};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections per table or source of accounts, as Postfix's proxymap had processes.
const CONNECTIONS: usize = 4;
/// Questions that wait for a connection; more are told at once that it cannot be said.
const WAITING_LIMIT: usize = 1_000;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The whole answer, waiting included. What takes longer is a query without an index, or a server that hangs.
const QUERY_TIMEOUT: Duration = Duration::from_secs(4);
/// Each step of a change, which ends with a flush of the disk. No mail waits for it, and who gives up does not know whether it was made.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);
/// Shorter than servers (`wait_timeout`) and firewalls cut idle connections.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// No answer. The text is for our log; it says nothing of passwords.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The database cannot be reached, or has too much to do.
    #[error("{0}")]
    Away(String),
    /// It does not like the statement; or a row cannot be added because it is there already.
    #[error("{why}")]
    Statement { why: String, is_there_already: bool },
}

pub struct Database {
    kind: Kind,
    servers: Arc<[Server]>,
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
}

struct Server {
    place: Place,
    idle: Mutex<Vec<(Link, Instant)>>,
    pause: Mutex<Option<Pause>>,
}

/// Why and how long a server is left alone.
struct Pause {
    until: Instant,
    length: Duration,
    why: String,
}

/// A connection in use. It is kept for others only when it is given back; dropped in the middle of a question or a transaction, it is closed.
struct Lease {
    link: Option<Link>,
    servers: Arc<[Server]>,
    server: usize,
    /// Made for this question, so that it cannot have broken before.
    is_new: bool,
    _turn: OwnedSemaphorePermit,
}

impl Database {
    /// `places` are of one kind, and hold the same. Connects to nothing.
    pub fn new(places: Vec<Place>) -> Result<Database, String> {
        let kind = places.first().ok_or("has no hosts")?.kind();
        let servers = places.into_iter().map(|place| Server { place, idle: Mutex::default(), pause: Mutex::default() }).collect();
        Ok(Database { kind, servers, free: Arc::new(Semaphore::new(CONNECTIONS)), waiting: AtomicUsize::new(0) })
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// All rows. `text` has this database's own placeholders, see [`Kind::placeholders`].
    pub async fn fetch(&self, text: Arc<str>, values: &[Value]) -> Result<Vec<Row>, Fault> {
        let deadline = Instant::now() + QUERY_TIMEOUT;
        loop {
            let mut lease = self.lease(deadline).await?;
            match within(deadline, lease.link().fetch(text.clone(), values)).await {
                Ok(rows) => {
                    lease.give_back();
                    return Ok(rows);
                }
                Err(error) => self.after(error, lease, QUERY_TIMEOUT)?,
            }
        }
    }

    /// Begins a transaction, which takes the right to write at once where the database has such a thing.
    pub async fn begin(&self) -> Result<Transaction, Fault> {
        let deadline = Instant::now() + CHANGE_TIMEOUT;
        let begin = match self.kind {
            Kind::Sqlite => "BEGIN IMMEDIATE",
            Kind::Mysql => "START TRANSACTION",
            Kind::Pgsql => "BEGIN",
        };
        loop {
            let mut lease = self.lease(deadline).await?;
            match within(deadline, lease.link().command(begin)).await {
                Ok(()) => return Ok(Transaction { lease, kind: self.kind }),
                Err(error) => self.after(error, lease, CHANGE_TIMEOUT)?,
            }
        }
    }

    /// Closes what is idle and waits for what is in use; nothing can be asked afterwards.
    pub async fn close(&self) {
        let all = tokio::time::timeout(QUERY_TIMEOUT, self.free.acquire_many(CONNECTIONS as u32)).await;
        for server in self.servers.iter() {
            let idle = std::mem::take(&mut *lock(&server.idle));
            for (link, _) in idle {
                let _ = tokio::time::timeout(CONNECT_TIMEOUT, link.close()).await;
            }
        }
        drop(all);
        self.free.close();
    }

    /// What an error on a connection means: another try, or a fault.
    fn after(&self, error: Broken, mut lease: Lease, waited: Duration) -> Result<(), Fault> {
        match error {
            Broken::Late => {
                if let Some(link) = lease.link.take() {
                    link.give_up();
                }
                Err(Fault::Away(format!("no answer within {waited:?}")))
            }
            Broken::Sql(error) => match Meaning::of(&error) {
                // The server was started again since; its other connections are as old.
                Meaning::Gone if !lease.is_new => {
                    lock(&lease.servers[lease.server].idle).clear();
                    Ok(())
                }
                Meaning::Gone => {
                    lease.servers[lease.server].leave_alone(error.to_string());
                    Ok(())
                }
                Meaning::Answer { is_there_already, keep } => {
                    if keep {
                        lease.give_back();
                    }
                    Err(Fault::Statement { why: error.to_string(), is_there_already })
                }
            },
        }
    }

    /// A connection, when it is our turn.
    async fn lease(&self, deadline: Instant) -> Result<Lease, Fault> {
        let turn = self.turn(deadline).await?;
        let mut why = String::new();
        for (at, server) in self.servers.iter().enumerate() {
            let (link, is_new) = match server.idle_link() {
                Some(link) => (link, false),
                None => match server.connect(deadline).await {
                    Ok(link) => (link, true),
                    Err(reason) => {
                        why = reason;
                        continue;
                    }
                },
            };
            return Ok(Lease { link: Some(link), servers: self.servers.clone(), server: at, is_new, _turn: turn });
        }
        Err(Fault::Away(why))
    }

    async fn turn(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, Fault> {
        if let Ok(turn) = self.free.clone().try_acquire_owned() {
            return Ok(turn);
        }
        let busy = || Fault::Away("too many questions wait for the database".into());
        struct Place<'a>(&'a AtomicUsize);
        impl Drop for Place<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _place = Place(&self.waiting);
        if before >= WAITING_LIMIT {
            return Err(busy());
        }
        match tokio::time::timeout_at(deadline.into(), self.free.clone().acquire_owned()).await {
            Ok(turn) => turn.map_err(|_| Fault::Away("the database is being closed".into())),
            Err(_) => Err(busy()),
        }
    }
}

/// Changes that are made together or not at all; dropped without `commit`, they are not made.
pub struct Transaction {
    lease: Lease,
    kind: Kind,
}

impl Transaction {
    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub async fn fetch(&mut self, text: Arc<str>, values: &[Value]) -> Result<Vec<Row>, Fault> {
        let deadline = Instant::now() + CHANGE_TIMEOUT;
        let link = self.lease.link();
        let fetched = async {
            link.learn_types(&text, values).await?;
            link.fetch(text, values).await
        };
        within(deadline, fetched).await.map_err(Broken::fault)
    }

    /// The number of rows that were touched.
    pub async fn execute(&mut self, text: Arc<str>, values: &[Value]) -> Result<u64, Fault> {
        let deadline = Instant::now() + CHANGE_TIMEOUT;
        let link = self.lease.link();
        let executed = async {
            link.learn_types(&text, values).await?;
            link.execute(text, values).await
        };
        within(deadline, executed).await.map_err(Broken::fault)
    }

    pub async fn commit(self) -> Result<(), Fault> {
        self.end("COMMIT").await
    }

    pub async fn rollback(self) -> Result<(), Fault> {
        self.end("ROLLBACK").await
    }

    async fn end(mut self, how: &'static str) -> Result<(), Fault> {
        let deadline = Instant::now() + CHANGE_TIMEOUT;
        within(deadline, self.lease.link().command(how)).await.map_err(Broken::fault)?;
        self.lease.give_back();
        Ok(())
    }
}

impl Server {
    fn idle_link(&self) -> Option<Link> {
        let mut idle = lock(&self.idle);
        while let Some((link, since)) = idle.pop() {
            if since.elapsed() < IDLE_TIMEOUT {
                return Some(link);
            }
            // It is the youngest: the others are too old as well.
            idle.clear();
            tokio::spawn(link.close());
        }
        None
    }

    async fn connect(&self, deadline: Instant) -> Result<Link, String> {
        if let Some(why) = self.left_alone() {
            return Err(why);
        }
        let why = match within(deadline.min(Instant::now() + CONNECT_TIMEOUT), Link::connect(&self.place)).await {
            Ok(link) => {
                *lock(&self.pause) = None;
                return Ok(link);
            }
            Err(Broken::Late) => "no answer to a new connection".to_owned(),
            Err(Broken::Sql(error)) => error.to_string(),
        };
        self.leave_alone(why.clone());
        Err(why)
    }

    fn left_alone(&self) -> Option<String> {
        lock(&self.pause).as_ref().filter(|pause| Instant::now() < pause.until).map(|pause| pause.why.clone())
    }

    fn leave_alone(&self, why: String) {
        let mut pause = lock(&self.pause);
        let now = Instant::now();
        let length = match &*pause {
            // Several had begun to connect at the same time.
            Some(pause) if now < pause.until => return,
            Some(pause) => (pause.length * 2).min(LONGEST_PAUSE),
            None => FIRST_PAUSE,
        };
        *pause = Some(Pause { until: now + length, length, why });
    }
}

impl Lease {
    fn link(&mut self) -> &mut Link {
        self.link.as_mut().expect("taken only by the end of the lease")
    }

    fn give_back(mut self) {
        if let Some(link) = self.link.take() {
            lock(&self.servers[self.server].idle).push((link, Instant::now()));
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            link.give_up();
        }
    }
}

/// Why there is no result.
enum Broken {
    Late,
    Sql(sqlx::Error),
}

impl Broken {
    /// What it means to a change.
    fn fault(self) -> Fault {
        match self {
            Broken::Late => Fault::Away(format!("no answer within {CHANGE_TIMEOUT:?}")),
            Broken::Sql(error) => match Meaning::of(&error) {
                Meaning::Gone => Fault::Away(error.to_string()),
                Meaning::Answer { is_there_already, .. } => Fault::Statement { why: error.to_string(), is_there_already },
            },
        }
    }
}

enum Meaning {
    Gone,
    /// `keep`: the fault is the statement's or the row's. Else the connection may say the same to every question, as PostgreSQL does of a
    /// statement that was prepared before a column changed, or a server that has become read-only: a new one is asked the next time.
    Answer {
        is_there_already: bool,
        keep: bool,
    },
}

impl Meaning {
    fn of(error: &sqlx::Error) -> Meaning {
        match error {
            sqlx::Error::Database(error) => {
                let code = error.code().unwrap_or_default();
                // PostgreSQL: connection exceptions, too many connections, shutting down, starting up. MySQL: too many connections,
                // server shutdown, killed.
                let gone = code.starts_with("08") || matches!(&*code, "53300" | "57P01" | "57P02" | "57P03" | "08S01" | "70100");
                // SQLSTATE: data, integrity, syntax or access; SQLite has numbers of its own
                let keep = ["22", "23", "42"].iter().any(|class| code.starts_with(class)) || code.len() != 5;
                if gone { Meaning::Gone } else { Meaning::Answer { is_there_already: error.is_unique_violation(), keep } }
            }
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => Meaning::Gone,
            _ => Meaning::Answer { is_there_already: false, keep: true },
        }
    }
}

async fn within<T>(deadline: Instant, future: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Broken> {
    match tokio::time::timeout_at(deadline.into(), future).await {
        Ok(result) => result.map_err(Broken::Sql),
        Err(_) => Err(Broken::Late),
    }
}

/// Nothing is left half done under these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
