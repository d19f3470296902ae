//! `control/<daemon>`: an administrator asks a daemon.
//!
//! `facteur` connects, sends one [`Request`] after another and reads the answers in order: any number of
//! [`Response::Part`], then [`Response::Done`] or [`Response::Failed`]; a status request has [`Response::Status`] alone.
//! The daemon answers within [`DEADLINE`] or closes; a client waits a little longer. A client that is silent for
//! [`IDLE`] is closed. Who may connect is a matter of the socket's owner and mode.
//!
//! Status and reload are the same everywhere; further commands are named by each program (`queue.list`, `session.list`, …)
//! and carry a string each way, JSON where it has structure.

use crate::frame::{Conversation, FrameError, FrameReader, FrameWriter};
use bincode::{Decode, Encode};
use std::path::Path;
use std::time::Duration;

use crate::LocalStream;
use tokio::io::{ReadHalf, WriteHalf};

/// Version 1. A request or a part has at most 1 MiB.
pub const CONTROL: Conversation = Conversation { name: "control", kind: 1, version: 1, limit_bytes: 1 << 20 };

/// How long a daemon may work on one request.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// How long a control connection may be silent.
pub const IDLE: Duration = Duration::from_secs(300);

/// Bytes of an answer in one part.
pub const PART_BYTES: usize = 256 << 10;

// The longest answer that a client puts together; a message of the queue may be this long.
const LONGEST_ANSWER_BYTES: usize = 1 << 30;

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Request {
    Status,
    /// Read settings, tables and certificates again. Answered by `Done`, or `Failed` with the reason, and the old ones stay.
    Reload,
    Command {
        name: String,
        payload: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Response {
    Status(Status),
    Part(Vec<u8>),
    Done,
    /// For people: why not.
    Failed(String),
}

/// How a daemon is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct Status {
    pub daemon: String,
    pub version: String,
    pub pid: u32,
    /// Seconds since 1970.
    pub started: u64,
    /// Connections that are open now, and since the start.
    pub sessions: u64,
    pub sessions_total: u64,
    /// Seconds since 1970 of the last time that settings were taken.
    pub loaded: u64,
    /// Why the last reload was refused; empty when it was not.
    pub reload_error: String,
    /// The process is draining: it accepts nothing new and ends soon.
    pub stopping: bool,
    /// What the program says of itself: name and value.
    pub facts: Vec<(String, String)>,
}

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody answers at the socket.
    #[error("{0}: {1}")]
    Unreachable(String, std::io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the daemon closed the connection without an answer")]
    Closed,
    #[error("no answer within {0:?}")]
    Silent(Duration),
    #[error("an answer that does not belong to the request")]
    Unexpected,
    /// The daemon's own words.
    #[error("{0}")]
    Failed(String),
}

/// The asking side.
#[derive(Debug)]
pub struct ControlClient {
    reader: FrameReader<ReadHalf<LocalStream>>,
    writer: FrameWriter<WriteHalf<LocalStream>>,
}

impl ControlClient {
    pub async fn connect(path: &Path) -> Result<ControlClient, ControlError> {
        let stream = crate::unix::connect(path).await.map_err(|e| ControlError::Unreachable(path.display().to_string(), e))?;
        Ok(ControlClient::new(stream))
    }

    pub fn new(stream: LocalStream) -> ControlClient {
        let (read, write) = stream.into_split();
        ControlClient { reader: FrameReader::new(read, CONTROL), writer: FrameWriter::new(write, CONTROL) }
    }

    pub async fn status(&mut self) -> Result<Status, ControlError> {
        self.writer.send(&Request::Status).await?;
        match self.response(Duration::from_secs(5)).await? {
            Response::Status(status) => Ok(status),
            Response::Failed(reason) => Err(ControlError::Failed(reason)),
            Response::Part(_) | Response::Done => Err(ControlError::Unexpected),
        }
    }

    pub async fn reload(&mut self) -> Result<(), ControlError> {
        self.writer.send(&Request::Reload).await?;
        self.answer().await.map(drop)
    }

    /// Asks for `name`; the answer as bytes, since it may be a message.
    pub async fn command(&mut self, name: &str, payload: &str) -> Result<Vec<u8>, ControlError> {
        self.writer.send(&Request::Command { name: name.into(), payload: payload.into() }).await?;
        self.answer().await
    }

    /// As [`ControlClient::command`], for answers in text.
    pub async fn command_text(&mut self, name: &str, payload: &str) -> Result<String, ControlError> {
        String::from_utf8(self.command(name, payload).await?).map_err(|_| ControlError::Unexpected)
    }

    async fn answer(&mut self) -> Result<Vec<u8>, ControlError> {
        let mut answer = Vec::new();
        loop {
            match self.response(DEADLINE + Duration::from_secs(5)).await? {
                Response::Part(part) if answer.len() + part.len() <= LONGEST_ANSWER_BYTES => answer.extend_from_slice(&part),
                Response::Done => return Ok(answer),
                Response::Failed(reason) => return Err(ControlError::Failed(reason)),
                Response::Part(_) | Response::Status(_) => return Err(ControlError::Unexpected),
            }
        }
    }

    async fn response(&mut self, wait: Duration) -> Result<Response, ControlError> {
        let next = tokio::time::timeout(wait, self.reader.next()).await.map_err(|_| ControlError::Silent(wait))?;
        next?.ok_or(ControlError::Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_in_parts_is_put_together() {
        let (ours, theirs) = tokio::net::UnixStream::pair().expect("pair");
        let mut client = ControlClient::new(ours.try_into().expect("stream"));
        let (read, write) = theirs.into_split();
        let (mut reader, mut writer) = (FrameReader::new(read, CONTROL), FrameWriter::new(write, CONTROL));
        let server = async {
            let request: Option<Request> = reader.next().await.expect("sound");
            assert_eq!(request, Some(Request::Command { name: "queue.cat".into(), payload: "X".into() }));
            for part in [b"one ".to_vec(), b"two".to_vec()] {
                writer.push(&Response::Part(part)).expect("fits");
            }
            writer.send(&Response::Done).await.expect("sent");
        };
        let (answer, ()) = tokio::join!(client.command_text("queue.cat", "X"), server);
        assert_eq!(answer.expect("answer"), "one two");
    }

    #[tokio::test]
    async fn a_refusal_carries_its_reason() {
        let (ours, theirs) = tokio::net::UnixStream::pair().expect("pair");
        let mut client = ControlClient::new(ours.try_into().expect("stream"));
        let mut writer = FrameWriter::new(theirs, CONTROL);
        writer.send(&Response::Failed("line 3: unknown key".into())).await.expect("sent");
        let error = client.reload().await.expect_err("refused");
        assert_eq!(error.to_string(), "line 3: unknown key");
    }

    #[test]
    fn the_encoding_is_what_it_always_was() {
        let mut out = Vec::new();
        CONTROL.encode(&Request::Reload, &mut out).expect("fits");
        assert_eq!(out[..12], *b"FCTR\x01\x01\0\0\x01\0\0\0");
        assert_eq!(out[20..], [1]);
        out.clear();
        CONTROL.encode(&Request::Command { name: "a".into(), payload: "bc".into() }, &mut out).expect("fits");
        assert_eq!(out[20..], [2, 1, b'a', 2, b'b', b'c']);
        out.clear();
        CONTROL.encode(&Response::Part(vec![9, 8]), &mut out).expect("fits");
        assert_eq!(out[20..], [1, 2, 9, 8]);
    }
}
