//! Frames: how a message of a private conversation stands on a stream.
//!
//! ```text
//! offset size
//!      0    4  magic "FCTR"
//!      4    1  version of the conversation
//!      5    1  kind: which conversation
//!      6    2  zero
//!      8    4  length of the payload, little endian
//!     12    8  XXH3-64 of the payload, little endian
//!     20       payload: one message in bincode 2 (standard configuration)
//! ```
//!
//! A frame that breaks a rule (magic, version, kind, length, checksum, a payload that does not decode or has bytes left)
//! ends the conversation: the reader returns an error, its owner drops the peer and goes on with the others. Nothing is
//! allocated for a length before it was compared with the limit, and bincode has a limit of its own.
//!
//! A frame that began has [`FrameReader::DEADLINE`] to arrive whole; between frames a peer may be silent for ever.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{Decode, Encode};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use xxhash_rust::xxh3::xxh3_64;

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 20;

const MAGIC: [u8; 4] = *b"FCTR";
// The memory a decoded message may claim. Lengths on the wire are bounded by the conversation; this stops a short frame
// that announces a long vector.
const DECODE_LIMIT: usize = 16 << 20;
const READ_AT_ONCE: usize = 16 << 10;
// What a reader keeps of its buffer after a large frame.
const BUFFER_KEPT: usize = 64 << 10;

type Bincode = Configuration<LittleEndian, Varint, Limit<DECODE_LIMIT>>;

fn bincode_config() -> Bincode {
    bincode::config::standard().with_limit::<DECODE_LIMIT>()
}

/// What the frames of one conversation have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conversation {
    /// For logs: `queue`, `lookup`, …
    pub name: &'static str,
    /// Unique among conversations, so that a client at the wrong socket is noticed.
    pub kind: u8,
    /// Raised whenever a message changes; both ends are of one release.
    pub version: u8,
    /// The longest payload.
    pub limit_bytes: u32,
}

/// Why a conversation ended, or a message could not be sent. After any of these the stream is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the peer does not speak in frames")]
    Magic,
    #[error("the peer speaks version {theirs} of `{name}`, we speak {ours}")]
    Version { name: &'static str, theirs: u8, ours: u8 },
    #[error("the peer holds another conversation (kind {theirs}) than `{name}`")]
    Kind { name: &'static str, theirs: u8 },
    #[error("a frame of {length} bytes is longer than the {limit} of `{name}`")]
    TooLong { name: &'static str, length: u64, limit: u32 },
    #[error("a frame's checksum is wrong")]
    Checksum,
    #[error("a frame's payload is no message of `{name}`: {reason}")]
    Payload { name: &'static str, reason: String },
    #[error("the peer closed inside a frame")]
    Truncated,
    #[error("a frame did not arrive whole within {0:?}")]
    Slow(Duration),
}

impl Conversation {
    /// Appends `message` as one frame to `out`. `TooLong` leaves `out` as it was.
    pub fn encode<M: Encode>(&self, message: &M, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let start = out.len();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[self.version, self.kind, 0, 0]);
        out.extend_from_slice(&[0; 12]);
        let mut tail = Tail(out);
        let encoded = bincode::encode_into_writer(message, &mut tail, bincode_config());
        let length = (out.len() - start - HEADER_BYTES) as u64;
        if let Err(error) = encoded {
            out.truncate(start);
            return Err(FrameError::Payload { name: self.name, reason: error.to_string() });
        }
        if length > u64::from(self.limit_bytes) {
            out.truncate(start);
            return Err(FrameError::TooLong { name: self.name, length, limit: self.limit_bytes });
        }
        let checksum = xxh3_64(&out[start + HEADER_BYTES..]);
        out[start + 8..start + 12].copy_from_slice(&(length as u32).to_le_bytes());
        out[start + 12..start + 20].copy_from_slice(&checksum.to_le_bytes());
        Ok(())
    }

    /// Takes one frame from the front of `bytes`: the message and the length of its frame, or `None` when more bytes are
    /// needed. Faults in the header are found as soon as it is there.
    pub fn decode<M: Decode<()>>(&self, bytes: &[u8]) -> Result<Option<(M, usize)>, FrameError> {
        let known = bytes.len().min(MAGIC.len());
        if bytes[..known] != MAGIC[..known] {
            return Err(FrameError::Magic);
        }
        let Some(header) = bytes.get(..HEADER_BYTES) else { return Ok(None) };
        let (theirs, kind) = (header[4], header[5]);
        if kind != self.kind {
            return Err(FrameError::Kind { name: self.name, theirs: kind });
        }
        if theirs != self.version {
            return Err(FrameError::Version { name: self.name, theirs, ours: self.version });
        }
        if header[6..8] != [0, 0] {
            return Err(FrameError::Magic);
        }
        let length = u32::from_le_bytes(header[8..12].try_into().expect("four bytes"));
        if length > self.limit_bytes {
            return Err(FrameError::TooLong { name: self.name, length: length.into(), limit: self.limit_bytes });
        }
        let end = HEADER_BYTES + length as usize;
        let Some(payload) = bytes.get(HEADER_BYTES..end) else { return Ok(None) };
        if xxh3_64(payload) != u64::from_le_bytes(header[12..20].try_into().expect("eight bytes")) {
            return Err(FrameError::Checksum);
        }
        let (message, used) = bincode::decode_from_slice(payload, bincode_config())
            .map_err(|error| FrameError::Payload { name: self.name, reason: error.to_string() })?;
        if used != payload.len() {
            return Err(FrameError::Payload { name: self.name, reason: format!("{} bytes left over", payload.len() - used) });
        }
        Ok(Some((message, end)))
    }
}

struct Tail<'a>(&'a mut Vec<u8>);

impl bincode::enc::write::Writer for Tail<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Reads the messages of one conversation from a stream. One read brings as many frames as have arrived.
#[derive(Debug)]
pub struct FrameReader<R> {
    stream: R,
    conversation: Conversation,
    buffer: Vec<u8>,
    // Frames before this place have been handed out.
    start: usize,
    deadline: Duration,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// How long a frame may take from its first byte to its last.
    pub const DEADLINE: Duration = Duration::from_secs(5);

    pub fn new(stream: R, conversation: Conversation) -> FrameReader<R> {
        FrameReader { stream, conversation, buffer: Vec::new(), start: 0, deadline: Self::DEADLINE }
    }

    /// The same with another time for a frame to arrive whole.
    pub fn with_deadline(self, deadline: Duration) -> FrameReader<R> {
        FrameReader { deadline, ..self }
    }

    /// The next message; `None` when the peer closed between two frames. Cancel safe: a frame that has arrived in part
    /// stays in the buffer.
    pub async fn next<M: Decode<()>>(&mut self) -> Result<Option<M>, FrameError> {
        if let Some(message) = self.buffered()? {
            return Ok(Some(message));
        }
        let mut deadline = None;
        loop {
            let begun = self.start < self.buffer.len();
            let read = match (begun, deadline) {
                (false, _) => self.fill().await?,
                (true, when) => {
                    let when = *deadline.insert(when.unwrap_or_else(|| tokio::time::Instant::now() + self.deadline));
                    tokio::time::timeout_at(when, self.fill()).await.map_err(|_| FrameError::Slow(self.deadline))??
                }
            };
            if read == 0 {
                return if begun { Err(FrameError::Truncated) } else { Ok(None) };
            }
            if let Some(message) = self.buffered()? {
                return Ok(Some(message));
            }
        }
    }

    /// A message that has already arrived, without waiting or reading.
    pub fn buffered<M: Decode<()>>(&mut self) -> Result<Option<M>, FrameError> {
        match self.conversation.decode(&self.buffer[self.start..])? {
            Some((message, length)) => {
                self.start += length;
                if self.start == self.buffer.len() {
                    self.start = 0;
                    self.buffer.clear();
                    self.buffer.shrink_to(BUFFER_KEPT);
                }
                Ok(Some(message))
            }
            None => Ok(None),
        }
    }

    async fn fill(&mut self) -> Result<usize, FrameError> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        // The rest of a long frame in one go, once its length is known (and was found acceptable by `decode`).
        let wanted = match self.buffer.get(8..12) {
            Some(length) => {
                let length = u32::from_le_bytes(length.try_into().expect("four bytes")).min(self.conversation.limit_bytes);
                (HEADER_BYTES + length as usize).saturating_sub(self.buffer.len())
            }
            None => 0,
        };
        self.buffer.reserve(wanted.max(READ_AT_ONCE));
        Ok(self.stream.read_buf(&mut self.buffer).await?)
    }

    pub fn get_ref(&self) -> &R {
        &self.stream
    }
}

/// Writes the messages of one conversation to a stream: any number of frames, then one write.
#[derive(Debug)]
pub struct FrameWriter<W> {
    stream: W,
    conversation: Conversation,
    buffer: Vec<u8>,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    pub fn new(stream: W, conversation: Conversation) -> FrameWriter<W> {
        FrameWriter { stream, conversation, buffer: Vec::new() }
    }

    /// Adds a message to what the next [`FrameWriter::flush`] sends.
    pub fn push<M: Encode>(&mut self, message: &M) -> Result<(), FrameError> {
        self.conversation.encode(message, &mut self.buffer)
    }

    /// Bytes that wait for a flush.
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Writes all that waits. Not cancel safe: after a cancelled flush the peer may have seen a part of a frame, so the
    /// connection has to be dropped.
    pub async fn flush(&mut self) -> Result<(), FrameError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let result = self.stream.write_all(&self.buffer).await;
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_KEPT);
        result?;
        Ok(self.stream.flush().await?)
    }

    /// `push` and `flush`.
    pub async fn send<M: Encode>(&mut self, message: &M) -> Result<(), FrameError> {
        self.push(message)?;
        self.flush().await
    }

    pub fn get_ref(&self) -> &W {
        &self.stream
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TALK: Conversation = Conversation { name: "test", kind: 200, version: 3, limit_bytes: 1000 };

    #[derive(Debug, PartialEq, Encode, Decode)]
    enum Message {
        Ping(u64),
        Text { key: String, value: Option<Vec<u8>> },
    }

    fn frame(message: &Message) -> Vec<u8> {
        let mut out = Vec::new();
        TALK.encode(message, &mut out).expect("fits");
        out
    }

    fn text() -> Message {
        Message::Text { key: "ann".into(), value: Some(vec![1, 2, 255]) }
    }

    #[test]
    fn the_encoding_is_what_it_always_was() {
        let golden = b"FCTR\x03\xc8\0\0\x04\0\0\0";
        let bytes = frame(&Message::Ping(1000));
        assert_eq!(&bytes[..12], golden);
        assert_eq!(bytes[12..20], [20, 231, 36, 126, 154, 105, 62, 143]);
        assert_eq!(bytes[20..], [0, 251, 0xe8, 3]);
        assert_eq!(frame(&text())[20..], [1, 3, b'a', b'n', b'n', 1, 3, 1, 2, 255]);
    }

    #[test]
    fn a_frame_cut_anywhere_waits_for_the_rest() {
        let bytes = frame(&text());
        for cut in 0..bytes.len() {
            assert!(matches!(TALK.decode::<Message>(&bytes[..cut]), Ok(None)), "cut at {cut}");
        }
        let (message, used) = TALK.decode::<Message>(&bytes).expect("sound").expect("whole");
        assert_eq!((message, used), (text(), bytes.len()));
    }

    #[test]
    fn a_flipped_bit_anywhere_is_an_error() {
        let bytes = frame(&text());
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                let got = TALK.decode::<Message>(&bad);
                // A length that grew waits for bytes that never come; the reader's deadline ends that.
                let longer = (8..12).contains(&at) && matches!(got, Ok(None));
                assert!(got.is_err() || longer, "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn a_hostile_header_is_refused_before_anything_is_allocated() {
        let header = |magic: &[u8; 4], version: u8, kind: u8, length: u32| {
            let mut bytes = magic.to_vec();
            bytes.extend_from_slice(&[version, kind, 0, 0]);
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&[0; 8]);
            bytes
        };
        let decode = |bytes: Vec<u8>| TALK.decode::<Message>(&bytes);
        assert!(matches!(decode(header(b"GET ", 3, 200, 0)), Err(FrameError::Magic)));
        assert!(matches!(decode(b"EHLO".to_vec()), Err(FrameError::Magic)));
        assert!(matches!(decode(header(b"FCTR", 2, 200, 0)), Err(FrameError::Version { theirs: 2, ours: 3, .. })));
        assert!(matches!(decode(header(b"FCTR", 3, 7, 0)), Err(FrameError::Kind { theirs: 7, .. })));
        assert!(matches!(decode(header(b"FCTR", 3, 200, u32::MAX)), Err(FrameError::TooLong { length: 0xffff_ffff, .. })));
        assert!(matches!(decode(header(b"FCTR", 3, 200, 1001)), Err(FrameError::TooLong { .. })));
    }

    #[test]
    fn a_short_frame_that_announces_a_long_vector_is_refused() {
        // Text, key of 2^62 bytes.
        let mut payload = vec![1, 253];
        payload.extend_from_slice(&(1u64 << 62).to_le_bytes());
        let mut bytes = b"FCTR\x03\xc8\0\0".to_vec();
        bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&xxh3_64(&payload).to_le_bytes());
        bytes.extend_from_slice(&payload);
        assert!(matches!(TALK.decode::<Message>(&bytes), Err(FrameError::Payload { .. })));
    }

    #[test]
    fn bytes_after_the_message_are_an_error() {
        let payload = [0, 7, 7];
        let mut bytes = b"FCTR\x03\xc8\0\0\x03\0\0\0".to_vec();
        bytes.extend_from_slice(&xxh3_64(&payload).to_le_bytes());
        bytes.extend_from_slice(&payload);
        assert!(matches!(TALK.decode::<Message>(&bytes), Err(FrameError::Payload { .. })));
    }

    #[test]
    fn a_message_over_the_limit_is_not_sent() {
        let mut out = b"before".to_vec();
        let long = Message::Text { key: "x".repeat(1000), value: None };
        assert!(matches!(TALK.encode(&long, &mut out), Err(FrameError::TooLong { .. })));
        assert_eq!(out, b"before");
    }

    #[tokio::test]
    async fn many_frames_go_in_one_write_and_come_out_in_order() {
        let (a, b) = tokio::io::duplex(1 << 20);
        let mut writer = FrameWriter::new(a, TALK);
        for n in 0..5000 {
            writer.push(&Message::Ping(n)).expect("fits");
        }
        writer.flush().await.expect("room in the pipe");
        drop(writer);
        let mut reader = FrameReader::new(b, TALK);
        for n in 0..5000 {
            assert_eq!(reader.next::<Message>().await.expect("sound"), Some(Message::Ping(n)));
        }
        assert_eq!(reader.next::<Message>().await.expect("closed between frames"), None);
    }

    #[tokio::test]
    async fn a_peer_that_closes_inside_a_frame_is_noticed() {
        let (mut a, b) = tokio::io::duplex(1000);
        a.write_all(&frame(&text())[..21]).await.expect("room");
        drop(a);
        assert!(matches!(FrameReader::new(b, TALK).next::<Message>().await, Err(FrameError::Truncated)));
    }

    #[tokio::test]
    async fn a_frame_that_never_ends_meets_the_deadline() {
        let (mut a, b) = tokio::io::duplex(1000);
        a.write_all(b"FC").await.expect("room");
        let mut reader = FrameReader::new(b, TALK).with_deadline(Duration::ZERO);
        assert!(matches!(reader.next::<Message>().await, Err(FrameError::Slow(_))));
    }
}
