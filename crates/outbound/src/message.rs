use mail_types::{Address, BodyType, Client, DsnReturn, QueueId, Wishes};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// No header is longer (SECURITY, limits).
pub(crate) const HEADER_LIMIT: usize = 1 << 20;

/// A message to carry: what the envelope says, and its bytes.
#[derive(Debug, Clone)]
pub struct Message {
    pub id: QueueId,
    /// `None` is the null sender.
    pub sender: Option<Address>,
    pub body_type: BodyType,
    /// The sender asked for SMTPUTF8.
    pub smtputf8: bool,
    pub ret: Option<DsnReturn>,
    pub envid: Option<String>,
    pub wishes: Wishes,
    /// When it was accepted, in seconds since 1970.
    pub accepted_seconds: u64,
    /// An earlier attempt for these recipients may have succeeded without our knowing; our `deliver` then looks for it.
    pub repeat: bool,
    pub named_by: NamedBy,
    /// Who handed it in, where that is told to hosts that announce XFORWARD.
    pub client: Option<Client>,
    pub body: Body,
}

/// Who named the next hop. A password goes only where it was meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NamedBy {
    /// The recipient's address, which is anybody's choice.
    Recipient,
    /// The administrator, for the recipient.
    Transport,
    /// The administrator, for the sender or for all that leaves: a relay host.
    Relay,
}

impl NamedBy {
    /// From what is known of a route.
    pub fn of(is_by_recipient: bool, is_by_relayhost: bool) -> NamedBy {
        match (is_by_recipient, is_by_relayhost) {
            (true, _) => NamedBy::Recipient,
            (false, true) => NamedBy::Relay,
            (false, false) => NamedBy::Transport,
        }
    }
}

/// The bytes of a message, with CRLF line ends. Cheap to clone.
#[derive(Clone)]
pub enum Body {
    Memory(Arc<dyn AsRef<[u8]> + Send + Sync>),
    /// `front`, which is usually empty, and `length` octets of a file from `offset` on; read piece by piece.
    File {
        front: Arc<[u8]>,
        file: Arc<File>,
        offset: u64,
        length: u64,
    },
}

impl Body {
    /// A body in memory.
    pub fn memory(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Body {
        Body::Memory(Arc::new(bytes))
    }

    pub fn len(&self) -> u64 {
        match self {
            Body::Memory(bytes) => bytes.as_ref().as_ref().len() as u64,
            Body::File { front, length, .. } => front.len() as u64 + length,
        }
    }

    /// The header with its empty line; of a message in a file nothing, when that is longer than any header.
    pub async fn header(&self) -> io::Result<Vec<u8>> {
        let body = match self {
            Body::Memory(bytes) => {
                let bytes = bytes.as_ref().as_ref();
                return Ok(bytes[..message::header_length(bytes)].to_vec());
            }
            Body::File { .. } => self.clone(),
        };
        let reading = tokio::task::spawn_blocking(move || {
            let mut front = vec![0; usize::try_from(body.len()).unwrap_or(usize::MAX).min(HEADER_LIMIT)];
            body.read_exact_at(&mut front, 0)?;
            let whole = front.len() as u64 == body.len() || message::header_ends(&front);
            front.truncate(if whole { message::header_length(&front) } else { 0 });
            Ok(front)
        });
        reading.await.map_err(io::Error::other)?
    }

    /// Fills `buffer` with the octets from `at` on. Blocks on the disk; octets that are not there are an error.
    pub fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let memory = match self {
            Body::Memory(bytes) => bytes.as_ref().as_ref(),
            Body::File { front, .. } => front,
        };
        let held = &memory[usize::try_from(at).unwrap_or(usize::MAX).min(memory.len())..];
        let (now, rest) = buffer.split_at_mut(held.len().min(buffer.len()));
        now.copy_from_slice(&held[..now.len()]);
        match self {
            _ if rest.is_empty() => Ok(()),
            Body::Memory(_) => Err(io::ErrorKind::UnexpectedEof.into()),
            Body::File { front, file, offset, .. } => {
                let from = (at + now.len() as u64) - front.len() as u64;
                file.read_exact_at(rest, offset + from)
            }
        }
    }

    /// The same message with another header: what was its first `length` octets.
    pub fn with_header(&self, header: &[u8], length: usize) -> Body {
        match self {
            Body::Memory(bytes) => Body::memory([header, &bytes.as_ref().as_ref()[length..]].concat()),
            Body::File { front, file, offset, length: rest } => {
                let (in_front, in_file) = (length.min(front.len()), length.saturating_sub(front.len()) as u64);
                let front = [header, &front[in_front..]].concat().into();
                Body::File { front, file: file.clone(), offset: offset + in_file, length: rest - in_file }
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if matches!(self, Body::Memory(_)) { "Memory" } else { "File" };
        write!(f, "{kind}({} octets)", self.len())
    }
}
