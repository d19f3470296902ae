//! smtpd ↔ qmgr: where accepted messages lie. The spool is the truth; this conversation only saves qmgr from looking.
//!
//! smtpd connects to the socket `queue` (qmgr listens; for the group of smtpd) and speaks first:
//!
//! ```text
//! smtpd: Hello { position }                       on every connection
//! smtpd: Hints [ … ]                              as messages become durable, many in one write
//! smtpd: Position { generation, synced_to }       after a second without hints, where something changed; and every five
//! qmgr:  Finished { generation }                  all outcomes of this segment are synced
//! smtpd: Recycled { generation }                  the segment is gone durably; its outcomes may be forgotten
//! ```
//!
//! A hint carries the record itself when it is small, so that qmgr does not read the disk for the usual message. Nothing
//! is acknowledged. A lost hint costs a delay: qmgr notices the gap in front of the next one, or is told the position,
//! and reads the segment. When qmgr is slow or away, smtpd keeps at most [`PENDING_BYTES`] and then drops records, then
//! hints. A `Finished` that gets no answer (smtpd stopped, or its disk failed) is repeated on the next connection.
//!
//! Silence means nothing to smtpd: it accepts mail all the same. For qmgr, a closed connection means that the newest
//! segment is trusted only as far as its own records say, until smtpd is back.
//!
//! Limits: a frame of 4 MiB; a frame that has begun arrives within five seconds; one connection counts, the newest.

use crate::LocalStream;
use crate::frame::{Conversation, FrameError, FrameReader, FrameWriter};
use bincode::{Decode, Encode};
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc};

pub const QUEUE: Conversation = Conversation { name: "queue", kind: 2, version: 1, limit_bytes: 4 << 20 };

/// A record that is larger is not carried along; qmgr reads it from the segment.
pub const RECORD_LIMIT_BYTES: usize = 320 << 10;
/// What smtpd keeps for a qmgr that does not read.
pub const PENDING_BYTES: usize = 8 << 20;
/// Hints without records that smtpd keeps.
const PENDING_HINTS: usize = 50_000;
/// Hints in one frame are ended when they hold so much.
const FRAME_BYTES: usize = 1 << 20;
const RECONNECT: Duration = Duration::from_millis(200);
const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// The segment that is written, and how far it is synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct Position {
    pub generation: u64,
    pub synced_to: u64,
}

/// Where a message lies.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Hint {
    /// A record of the journal; `record` is its payload, empty when it is not carried along.
    Journal { generation: u64, offset: u64, length: u64, synced_to: u64, record: Vec<u8> },
    /// A file in `queue/in`; its name is the queue id.
    File { id: String },
    /// Deferred messages for this domain are to be tried now (ETRN). A lost one is asked for again by whoever waits.
    Flush { domain: String },
}

impl Hint {
    fn weight(&self) -> usize {
        match self {
            Hint::Journal { record, .. } => record.len() + 64,
            Hint::File { .. } | Hint::Flush { .. } => 64,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum FromSmtpd {
    Hello(Position),
    Hints(Vec<Hint>),
    Position(Position),
    Recycled { generation: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum FromQmgr {
    Finished { generation: u64 },
}

/// What the client needs of the journal's writer.
pub trait JournalSide: Send + Sync + 'static {
    fn position(&self) -> Position;
    /// Takes a finished segment out of use, durably; `false` when that failed. Called where it may block.
    fn recycle(&self, generation: u64) -> bool;
}

/// smtpd's end. Cheap to clone; ends when the last clone is dropped.
#[derive(Clone)]
pub struct QueueClient(Arc<Inner>);

struct Inner {
    pending: Arc<Pending>,
    connected: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Pending {
    queue: Mutex<Buffer>,
    wake: Notify,
}

#[derive(Default)]
struct Buffer {
    hints: Vec<Hint>,
    bytes: usize,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl QueueClient {
    /// Starts the task that connects to `socket`, for ever again. Needs a runtime.
    pub fn start(socket: impl Into<PathBuf>, journal: Arc<dyn JournalSide>) -> QueueClient {
        let (pending, connected) = (Arc::<Pending>::default(), Arc::<AtomicBool>::default());
        let task = tokio::spawn(keep_connected(socket.into(), journal, pending.clone(), connected.clone()));
        QueueClient(Arc::new(Inner { pending, connected, task }))
    }

    /// Hands a hint in. Never waits. What is handed in while qmgr is away is dropped: it will look for itself.
    pub fn hint(&self, mut hint: Hint) {
        if !self.0.connected.load(Ordering::Relaxed) {
            return;
        }
        let mut buffer = self.0.pending.queue.lock();
        if buffer.hints.len() >= PENDING_HINTS {
            return;
        }
        if let Hint::Journal { record, .. } = &mut hint
            && (record.len() > RECORD_LIMIT_BYTES || buffer.bytes + record.len() > PENDING_BYTES)
        {
            *record = Vec::new();
        }
        buffer.bytes += hint.weight();
        buffer.hints.push(hint);
        let first = buffer.hints.len() == 1;
        drop(buffer);
        if first {
            self.0.pending.wake.notify_one();
        }
    }

    /// Whether qmgr is there.
    pub fn connected(&self) -> bool {
        self.0.connected.load(Ordering::Relaxed)
    }
}

async fn keep_connected(socket: PathBuf, journal: Arc<dyn JournalSide>, pending: Arc<Pending>, connected: Arc<AtomicBool>) {
    let mut missing = false;
    loop {
        match crate::unix::connect(&socket).await {
            Ok(stream) => {
                tracing::info!(socket = %socket.display(), "connected to qmgr");
                missing = false;
                connected.store(true, Ordering::Relaxed);
                let (read, write) = stream.into_split();
                let error = tell(read, write, &journal, &pending).await;
                connected.store(false, Ordering::Relaxed);
                *pending.queue.lock() = Buffer::default();
                tracing::warn!(%error, "lost qmgr; mail is accepted and waits in the spool");
            }
            Err(error) if !missing => {
                missing = true;
                tracing::warn!(socket = %socket.display(), %error, "qmgr is not there; mail is accepted and waits in the spool");
            }
            Err(_) => {}
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

/// One connection; returns why it ended.
async fn tell(
    read: ReadHalf<LocalStream>,
    write: WriteHalf<LocalStream>,
    journal: &Arc<dyn JournalSide>,
    pending: &Arc<Pending>,
) -> FrameError {
    let (recycled, answers) = mpsc::channel(64);
    tokio::select! {
        error = hear(read, journal.clone(), recycled) => error,
        error = say(write, journal.clone(), pending, answers) => error,
    }
}

async fn hear(read: impl AsyncRead + Unpin, journal: Arc<dyn JournalSide>, recycled: mpsc::Sender<u64>) -> FrameError {
    let mut reader = FrameReader::new(read, QUEUE);
    loop {
        let generation = match reader.next::<FromQmgr>().await {
            Ok(Some(FromQmgr::Finished { generation })) => generation,
            Ok(None) => return std::io::Error::from(std::io::ErrorKind::ConnectionAborted).into(),
            Err(error) => return error,
        };
        let (journal, recycled) = (journal.clone(), recycled.clone());
        let done = tokio::task::spawn_blocking(move || journal.recycle(generation)).await;
        if done.unwrap_or(false) && recycled.send(generation).await.is_err() {
            return std::io::Error::from(std::io::ErrorKind::BrokenPipe).into();
        }
    }
}

async fn say(
    write: impl AsyncWrite + Unpin,
    journal: Arc<dyn JournalSide>,
    pending: &Pending,
    mut answers: mpsc::Receiver<u64>,
) -> FrameError {
    let mut writer = FrameWriter::new(write, QUEUE);
    let mut told = journal.position();
    if let Err(error) = send(&mut writer, &FromSmtpd::Hello(told)).await {
        return error;
    }
    let mut idle_seconds = 0;
    loop {
        let step = tokio::select! {
            () = pending.wake.notified() => {
                let buffer = std::mem::take(&mut *pending.queue.lock());
                idle_seconds = 0;
                send_hints(&mut writer, buffer.hints, &mut told).await
            }
            Some(generation) = answers.recv() => send(&mut writer, &FromSmtpd::Recycled { generation }).await,
            () = tokio::time::sleep(Duration::from_secs(1)) => {
                idle_seconds += 1;
                let now = journal.position();
                if now != told || idle_seconds >= 5 {
                    (told, idle_seconds) = (now, 0);
                    send(&mut writer, &FromSmtpd::Position(now)).await
                } else {
                    Ok(())
                }
            }
        };
        if let Err(error) = step {
            return error;
        }
    }
}

async fn send_hints<W: AsyncWrite + Unpin>(writer: &mut FrameWriter<W>, hints: Vec<Hint>, told: &mut Position) -> Result<(), FrameError> {
    let mut frame = Vec::with_capacity(hints.len());
    let mut bytes = 0;
    for hint in hints {
        if let Hint::Journal { generation, synced_to, .. } = hint {
            *told = (*told).max_of(Position { generation, synced_to });
        }
        bytes += hint.weight();
        frame.push(hint);
        if bytes >= FRAME_BYTES {
            bytes = 0;
            send(writer, &FromSmtpd::Hints(std::mem::take(&mut frame))).await?;
        }
    }
    if frame.is_empty() { Ok(()) } else { send(writer, &FromSmtpd::Hints(frame)).await }
}

async fn send<W: AsyncWrite + Unpin>(writer: &mut FrameWriter<W>, message: &FromSmtpd) -> Result<(), FrameError> {
    match tokio::time::timeout(WRITE_DEADLINE, writer.send(message)).await {
        Ok(result) => result,
        Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
    }
}

impl Position {
    /// The later of two positions.
    pub fn max_of(self, other: Position) -> Position {
        if (other.generation, other.synced_to) > (self.generation, self.synced_to) { other } else { self }
    }
}

/// qmgr's end of one connection: its two halves.
pub fn accept<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(read: R, write: W) -> (FrameReader<R>, FrameWriter<W>) {
    (FrameReader::new(read, QUEUE), FrameWriter::new(write, QUEUE))
}

/// The socket's path in `run_directory`.
pub fn socket(run_directory: &Path) -> PathBuf {
    run_directory.join("queue")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Journal(Mutex<Vec<u64>>);

    impl JournalSide for Journal {
        fn position(&self) -> Position {
            Position { generation: 7, synced_to: 4096 }
        }
        fn recycle(&self, generation: u64) -> bool {
            self.0.lock().push(generation);
            generation != 13
        }
    }

    fn hint(n: u64, record: usize) -> Hint {
        Hint::Journal { generation: 7, offset: 4096 + 64 * n, length: 64, synced_to: 4096 + 64 * (n + 1), record: vec![7; record] }
    }

    #[test]
    fn the_encoding_is_what_it_always_was() {
        let mut out = Vec::new();
        let hints = FromSmtpd::Hints(vec![hint(0, 2), Hint::File { id: "A1".into() }, Hint::Flush { domain: "b".into() }]);
        QUEUE.encode(&hints, &mut out).expect("fits");
        assert_eq!(out[..8], *b"FCTR\x01\x02\0\0");
        assert_eq!(out[20..], [1, 3, 0, 7, 251, 0, 16, 64, 251, 64, 16, 2, 7, 7, 1, 2, b'A', b'1', 2, 1, b'b']);
    }

    #[tokio::test]
    async fn hints_go_out_finished_comes_in_and_the_client_reconnects() {
        let dir = tempfile::tempdir().expect("directory");
        let path = socket(dir.path());
        let listener = tokio::net::UnixListener::bind(&path).expect("bind");
        let journal = Arc::new(Journal(Mutex::default()));
        let client = QueueClient::start(&path, journal.clone());
        for round in 0..2 {
            let (stream, _) = listener.accept().await.expect("accept");
            let (read, write) = stream.into_split();
            let (mut reader, mut writer) = accept(read, write);
            let hello = reader.next::<FromSmtpd>().await.expect("sound");
            assert_eq!(hello, Some(FromSmtpd::Hello(Position { generation: 7, synced_to: 4096 })));
            for n in 0..100 {
                client.hint(hint(n, if n == 50 { RECORD_LIMIT_BYTES + 1 } else { 10 }));
            }
            let mut got = Vec::new();
            while got.len() < 100 {
                match reader.next::<FromSmtpd>().await.expect("sound").expect("open") {
                    FromSmtpd::Hints(hints) => got.extend(hints),
                    other => panic!("{other:?}"),
                }
            }
            assert!((0..100).all(|n| got[n as usize] == hint(n, if n == 50 { 0 } else { 10 })));
            writer.send(&FromQmgr::Finished { generation: 13 }).await.expect("send");
            writer.send(&FromQmgr::Finished { generation: round }).await.expect("send");
            loop {
                match reader.next::<FromSmtpd>().await.expect("sound").expect("open") {
                    FromSmtpd::Recycled { generation } => {
                        assert_eq!(generation, round, "a segment that could not be recycled is not reported");
                        break;
                    }
                    FromSmtpd::Position(_) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(*journal.0.lock(), [13, 0, 13, 1]);
    }

    #[tokio::test]
    async fn what_waits_for_a_slow_qmgr_is_bounded() {
        let dir = tempfile::tempdir().expect("directory");
        let client = QueueClient::start(socket(dir.path()), Arc::new(Journal(Mutex::default())));
        client.hint(hint(0, 10));
        assert!(client.0.pending.queue.lock().hints.is_empty(), "qmgr is away");
        client.0.connected.store(true, Ordering::Relaxed);
        for n in 0..60_000 {
            client.hint(hint(n, 1000));
        }
        let buffer = client.0.pending.queue.lock();
        assert_eq!(buffer.hints.len(), PENDING_HINTS);
        assert!(buffer.bytes <= PENDING_BYTES + PENDING_HINTS * 64);
    }
}
