//! One connection, many questions: the engine under the conversations with `authd`.
//!
//! All askers of a program share one connection. A question carries a number that is never used twice on a connection, so
//! the answers may come in any order, and an answer nobody waits for any more is dropped: it can reach no other asker.
//! The connection is made when the first question needs it, and again when it was lost, so a partner that was restarted
//! is back with the next question. Silence for a whole deadline counts as a lost connection.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

/// The partner did not answer: not there, gone in mid-question, silent until the deadline, or not speaking our language.
///
/// Never says anything about what was asked: the right answer to one's own client is a temporary failure.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct Unavailable {
    path: PathBuf,
    reason: String,
}

impl Unavailable {
    pub fn new(path: impl Into<PathBuf>, reason: impl Into<String>) -> Unavailable {
        Unavailable { path: path.into(), reason: reason.into() }
    }
}

/// Limits that hold for every conversation here.
const UNSENT_LIMIT_BYTES: usize = 4 << 20;
const PENDING_LIMIT: usize = 65_536;
const REPLIES_LIMIT: usize = 1_000_000;
/// How long a partner that did not greet is left alone before the next attempt.
const REST_AFTER_SILENCE: Duration = Duration::from_millis(500);

/// Bytes that came in and were not understood yet.
#[derive(Debug, Default)]
pub struct Input {
    bytes: Vec<u8>,
    taken: usize,
}

impl Input {
    /// What has not been taken.
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// Marks `count` more bytes as understood.
    pub fn take(&mut self, count: usize) {
        self.taken = (self.taken + count).min(self.bytes.len());
    }

    /// Takes the next line without its LF. `Err` when it is longer than `limit_bytes`.
    pub fn line(&mut self, limit_bytes: usize) -> Result<Option<&[u8]>, String> {
        let start = self.taken;
        match self.bytes[start..].iter().position(|b| *b == b'\n') {
            Some(length) if length <= limit_bytes => {
                self.taken = start + length + 1;
                Ok(Some(&self.bytes[start..start + length]))
            }
            None if self.rest().len() <= limit_bytes => Ok(None),
            _ => Err(format!("a line is longer than {limit_bytes} bytes")),
        }
    }

    /// Adds bytes at the end; what was taken is forgotten first.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.forget_taken();
        self.bytes.extend_from_slice(bytes);
    }

    /// Reads once from `source`; `Ok(0)` at its end.
    pub async fn fill(&mut self, source: &mut (impl AsyncReadExt + Unpin)) -> io::Result<usize> {
        self.forget_taken();
        self.bytes.reserve(8192);
        source.read_buf(&mut self.bytes).await
    }

    fn forget_taken(&mut self) {
        if self.taken > 0 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        if self.bytes.is_empty() && self.bytes.capacity() > 65_536 {
            self.bytes = Vec::new();
        }
    }
}

/// One answer, or one of several, to the question `id`.
pub(crate) struct Incoming<R> {
    pub id: u32,
    pub reply: R,
    /// Whether the question is settled by it.
    pub last: bool,
}

/// What the engine has to know of a protocol.
pub(crate) trait Talk: Send + Sync + 'static {
    type Hello: Send + Sync + 'static;
    type Reply: Send + 'static;

    /// What the client says first; may be nothing.
    fn greeting(&self) -> Vec<u8>;
    /// Takes the server's greeting, once it is all there.
    fn hello(&self, input: &mut Input) -> Result<Option<Self::Hello>, String>;
    /// Takes the next answer, once it is all there. `Err` ends the connection.
    fn reply(&self, input: &mut Input) -> Result<Option<Incoming<Self::Reply>>, String>;
    /// What tells the partner that nobody waits for the answer to a question any more; nothing, where it would not mind.
    fn forget(_id: u32) -> Option<Vec<u8>> {
        None
    }
}

pub(crate) struct Mux<C: Talk> {
    path: PathBuf,
    conversation: Arc<C>,
    deadline: Duration,
    patience: Duration,
    current: tokio::sync::Mutex<Option<Arc<Connection<C>>>>,
    /// The same connection again, to be had without waiting.
    open: Mutex<Option<Arc<Connection<C>>>>,
    silent: Mutex<Option<(Instant, Unavailable)>>,
}

pub(crate) struct Connection<C: Talk> {
    pub hello: C::Hello,
    path: PathBuf,
    patience: Duration,
    write: OwnedWriteHalf,
    unsent: Mutex<Vec<u8>>,
    more: Notify,
    pending: Mutex<HashMap<u32, Pending<C::Reply>>>,
    next_id: AtomicU32,
    received: AtomicU64,
    closed: AtomicBool,
    close: Notify,
}

struct Pending<R> {
    replies: Vec<R>,
    done: oneshot::Sender<Vec<R>>,
}

/// Why a question got no answer.
enum Lost {
    /// The connection broke: another one may have the answer.
    Broken(Unavailable),
    Final(Unavailable),
}

impl<C: Talk> Mux<C> {
    pub fn new(path: impl Into<PathBuf>, conversation: C, deadline: Duration) -> Mux<C> {
        Mux {
            path: path.into(),
            conversation: Arc::new(conversation),
            deadline,
            patience: Duration::ZERO,
            current: tokio::sync::Mutex::new(None),
            open: Mutex::new(None),
            silent: Mutex::new(None),
        }
    }

    /// The same for a partner that may hold an answer back on purpose: when the deadline has passed, and the partner
    /// still greets, its answer is waited for so much longer.
    pub fn with_patience(mut self, patience: Duration) -> Mux<C> {
        self.patience = patience;
        self
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Asks and waits for all answers. The question is asked a second time when the connection broke before its answer,
    /// so only questions that may be repeated go through here.
    pub async fn ask(&self, question: impl Fn(u32) -> Vec<u8>) -> Result<Vec<C::Reply>, Unavailable> {
        self.ask_on(question).await.map(|(_, _, replies)| replies)
    }

    /// As [`Mux::ask`], for questions that must not be repeated.
    pub async fn ask_once(&self, question: impl Fn(u32) -> Vec<u8>) -> Result<Vec<C::Reply>, Unavailable> {
        let until = Instant::now() + self.deadline;
        let connection = self.connection(until).await?;
        let id = connection.new_id();
        connection.ask_again(id, &question(id), until).await
    }

    /// As [`Mux::ask`]; says also over which connection and under which number.
    pub async fn ask_on(&self, question: impl Fn(u32) -> Vec<u8>) -> Result<(Arc<Connection<C>>, u32, Vec<C::Reply>), Unavailable> {
        let until = Instant::now() + self.deadline;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let connection = self.connection(until).await?;
            let id = connection.new_id();
            match connection.exchange(id, &question(id), until).await {
                Ok(replies) => return Ok((connection, id, replies)),
                Err(Lost::Broken(_)) if attempts < 2 && Instant::now() < until => continue,
                Err(Lost::Broken(e) | Lost::Final(e)) => return Err(e),
            }
        }
    }

    /// The open connection, or a new one.
    pub async fn connection(&self, until: Instant) -> Result<Arc<Connection<C>>, Unavailable> {
        if let Some(open) = self.open.lock().as_ref().filter(|c| c.is_open()) {
            return Ok(open.clone());
        }
        let late = |_| Unavailable::new(&self.path, "no connection before the deadline");
        let mut current = timeout_at(until, self.current.lock()).await.map_err(late)?;
        if let Some(open) = current.as_ref().filter(|c| c.is_open()) {
            return Ok(open.clone());
        }
        if let Some((when, error)) = &*self.silent.lock()
            && when.elapsed() < REST_AFTER_SILENCE
        {
            return Err(error.clone());
        }
        *current = None;
        match timeout_at(until, self.connect()).await {
            Ok(made) => {
                let made = made?;
                *self.open.lock() = Some(made.clone());
                *current = Some(made.clone());
                Ok(made)
            }
            Err(_) => {
                let error = Unavailable::new(&self.path, "takes connections, but does not greet");
                *self.silent.lock() = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    async fn connect(&self) -> Result<Arc<Connection<C>>, Unavailable> {
        let fail = |what: &str, e: io::Error| Unavailable::new(&self.path, format!("{what}: {e}"));
        let stream = crate::unix::connect_plain(&self.path).await.map_err(|e| fail("connect", e))?;
        let (mut read, write) = stream.into_split();
        let greeting = self.conversation.greeting();
        let mut sent = 0;
        while sent < greeting.len() {
            write.writable().await.map_err(|e| fail("greet", e))?;
            match write.try_write(&greeting[sent..]) {
                Ok(count) => sent += count,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(fail("greet", e)),
            }
        }
        let mut input = Input::default();
        let hello = loop {
            if let Some(hello) = self.conversation.hello(&mut input).map_err(|e| Unavailable::new(&self.path, e))? {
                break hello;
            }
            if input.fill(&mut read).await.map_err(|e| fail("read its greeting", e))? == 0 {
                return Err(Unavailable::new(&self.path, "closed the connection before its greeting"));
            }
        };
        let connection = Arc::new(Connection {
            hello,
            path: self.path.clone(),
            patience: self.patience,
            write,
            unsent: Mutex::new(Vec::new()),
            more: Notify::new(),
            pending: Mutex::new(HashMap::new()),
            next_id: AtomicU32::new(1),
            received: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            close: Notify::new(),
        });
        tokio::spawn(read_answers(self.conversation.clone(), connection.clone(), read, input));
        tokio::spawn(write_rest(connection.clone()));
        Ok(connection)
    }
}

impl<C: Talk> Drop for Mux<C> {
    fn drop(&mut self) {
        if let Some(open) = self.open.lock().take() {
            open.shut();
        }
    }
}

impl<C: Talk> Connection<C> {
    /// A number that was never used on this connection. The connection is given up long before they run out.
    pub fn new_id(&self) -> u32 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Acquire) && self.next_id.load(Ordering::Relaxed) < u32::MAX / 2
    }

    /// Asks once more under a number that had its answer, in conversations with more than one step.
    pub async fn ask_again(&self, id: u32, question: &[u8], until: Instant) -> Result<Vec<C::Reply>, Unavailable> {
        match self.exchange(id, question, until).await {
            Ok(replies) => Ok(replies),
            Err(Lost::Broken(e) | Lost::Final(e)) => Err(e),
        }
    }

    /// Sends something that has no answer.
    pub fn tell(&self, bytes: &[u8]) -> Result<(), Unavailable> {
        self.send(bytes)
    }

    async fn exchange(&self, id: u32, question: &[u8], until: Instant) -> Result<Vec<C::Reply>, Lost> {
        let (done, answer) = oneshot::channel();
        {
            let mut pending = self.pending.lock();
            if pending.len() >= PENDING_LIMIT {
                return Err(Lost::Final(Unavailable::new(&self.path, "too many questions are open")));
            }
            pending.insert(id, Pending { replies: Vec::new(), done });
        }
        // From here on the number is given back on every way out, also when the asker is dropped.
        let _settled = Settled { connection: self, id };
        let broken = || Unavailable::new(&self.path, "the connection broke before the answer");
        // The reader empties `pending` after it has set `closed`.
        if self.closed.load(Ordering::Acquire) {
            return Err(Lost::Broken(broken()));
        }
        let received = self.received.load(Ordering::Relaxed);
        self.send(question).map_err(Lost::Broken)?;
        let mut answer = answer;
        let mut waited = timeout_at(until, &mut answer).await;
        if waited.is_err() && !self.patience.is_zero() && self.still_greets().await {
            waited = timeout_at(until + self.patience, answer).await;
        }
        match waited {
            Ok(Ok(replies)) => Ok(replies),
            Ok(Err(_)) => Err(Lost::Broken(broken())),
            Err(_) => {
                if self.received.load(Ordering::Relaxed) == received {
                    self.shut();
                }
                Err(Lost::Final(Unavailable::new(&self.path, "no answer before the deadline")))
            }
        }
    }

    /// Whether the partner says anything to a new connection.
    async fn still_greets(&self) -> bool {
        const AT_ONCE: Duration = Duration::from_millis(500);
        let greets = async {
            let mut stream = crate::unix::connect_plain(&self.path).await.ok()?;
            let mut byte = [0];
            stream.read_exact(&mut byte).await.ok()
        };
        matches!(timeout(AT_ONCE, greets).await, Ok(Some(_)))
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Unavailable> {
        let mut unsent = self.unsent.lock();
        let mut sent = 0;
        if unsent.is_empty() {
            // The usual case: the socket has room, and no other task has to wake.
            match self.write.try_write(bytes) {
                Ok(count) => sent = count,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => {
                    self.shut();
                    return Err(Unavailable::new(&self.path, format!("write: {e}")));
                }
            }
        }
        if sent < bytes.len() {
            if unsent.len() + bytes.len() > UNSENT_LIMIT_BYTES {
                return Err(Unavailable::new(&self.path, "does not read our questions"));
            }
            unsent.extend_from_slice(&bytes[sent..]);
            self.more.notify_one();
        }
        Ok(())
    }

    fn shut(&self) {
        self.closed.store(true, Ordering::Release);
        self.close.notify_waiters();
        self.close.notify_one();
        self.more.notify_one();
    }
}

struct Settled<'a, C: Talk> {
    connection: &'a Connection<C>,
    id: u32,
}

impl<C: Talk> Drop for Settled<'_, C> {
    fn drop(&mut self) {
        let given_up = self.connection.pending.lock().remove(&self.id).is_some();
        if given_up
            && !self.connection.closed.load(Ordering::Acquire)
            && let Some(line) = C::forget(self.id)
        {
            // A connection that breaks forgets by itself.
            let _ = self.connection.send(&line);
        }
    }
}

async fn read_answers<C: Talk>(conversation: Arc<C>, connection: Arc<Connection<C>>, mut read: OwnedReadHalf, mut input: Input) {
    let reason = loop {
        match deal_out(&*conversation, &connection, &mut input) {
            Ok(()) => {}
            Err(reason) => break reason,
        }
        tokio::select! {
            _ = connection.close.notified() => break "given up".to_string(),
            got = input.fill(&mut read) => match got {
                Ok(0) => break "closed by the partner".to_string(),
                Ok(count) => { connection.received.fetch_add(count as u64, Ordering::Relaxed); }
                Err(e) => break e.to_string(),
            },
        }
        if connection.closed.load(Ordering::Acquire) {
            break "given up".to_string();
        }
    };
    tracing::debug!(socket = %connection.path.display(), reason, "connection ended");
    connection.closed.store(true, Ordering::Release);
    connection.more.notify_one();
    connection.pending.lock().clear();
}

fn deal_out<C: Talk>(conversation: &C, connection: &Connection<C>, input: &mut Input) -> Result<(), String> {
    while let Some(incoming) = conversation.reply(input)? {
        let mut pending = connection.pending.lock();
        if !incoming.last {
            if let Some(waiting) = pending.get_mut(&incoming.id) {
                if waiting.replies.len() >= REPLIES_LIMIT {
                    return Err(format!("more than {REPLIES_LIMIT} answers to one question"));
                }
                waiting.replies.push(incoming.reply);
            }
        } else if let Some(mut waiting) = pending.remove(&incoming.id) {
            drop(pending);
            waiting.replies.push(incoming.reply);
            let _ = waiting.done.send(waiting.replies);
        }
    }
    Ok(())
}

async fn write_rest<C: Talk>(connection: Arc<Connection<C>>) {
    loop {
        connection.more.notified().await;
        loop {
            if connection.closed.load(Ordering::Acquire) {
                return;
            }
            if connection.unsent.lock().is_empty() {
                break;
            }
            let writable = timeout(Duration::from_secs(5), connection.write.writable()).await;
            if !matches!(writable, Ok(Ok(()))) {
                connection.shut();
                return;
            }
            let mut unsent = connection.unsent.lock();
            match connection.write.try_write(&unsent) {
                Ok(count) => drop(unsent.drain(..count)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => {
                    drop(unsent);
                    connection.shut();
                    return;
                }
            }
        }
    }
}
