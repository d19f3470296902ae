//! What goes in and what comes out of a client session.

use crate::server::MailFrom;
use mail_types::{Recipient, Reply, Secret};
use std::fmt;
use std::sync::Arc;

/// The choices of one connection.
#[derive(Debug, Clone)]
pub struct Settings {
    /// LMTP: LHLO, and a reply per recipient after the end of data.
    pub lmtp: bool,
    /// Our name, the argument of EHLO.
    pub helo_name: String,
    pub tls: TlsUse,
    /// Log in with these, if the server offers AUTH.
    pub credentials: Option<Credentials>,
    /// Log in also where the connection is not under TLS.
    pub auth_without_tls: bool,
    /// Send messages by BDAT where the server announces CHUNKING, and XFACTEUR: everything goes in one write. When the connection is lost
    /// it cannot be told whether the server has the message, so that this is for those who recognise a repetition; others get DATA,
    /// which also spares the bytes of a message that no recipient gets.
    pub chunking: bool,
    /// Send messages by BDAT to all who announce CHUNKING: once the answers to MAIL and RCPT are there, in one write.
    pub bdat: bool,
    /// Keep what is said, for [`super::Session::transcript`].
    pub transcript: bool,
}

impl Settings {
    /// SMTP with opportunistic TLS, as to any host of the Internet.
    pub fn smtp(helo_name: &str) -> Settings {
        Settings {
            lmtp: false,
            helo_name: helo_name.into(),
            tls: TlsUse::May,
            credentials: None,
            auth_without_tls: false,
            chunking: false,
            bdat: false,
            transcript: false,
        }
    }

    /// LMTP on a Unix socket, as to `deliver`.
    pub fn lmtp(helo_name: &str) -> Settings {
        Settings { lmtp: true, tls: TlsUse::Never, chunking: true, ..Settings::smtp(helo_name) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsUse {
    Never,
    /// When the server offers STARTTLS. A refusal of the command is no error.
    #[default]
    May,
    /// Or `Error::TlsNotOffered`.
    Require,
    /// The connection is under TLS from its first byte (port 465).
    Wrapped,
}

#[derive(Debug, Clone)]
pub struct Credentials {
    pub login: String,
    pub password: Secret,
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Write these bytes.
    Send(Vec<u8>),
    /// Read from the peer and call `receive`; at the end of the stream call `closed`.
    NeedInput,
    /// Make TLS, then call `tls_started`. When that fails the session is of no use.
    StartTls,
    /// The server waits for a message: call `deliver` or `quit`.
    Ready,
    /// Hand in a piece of the body by `body`; only for `Body::Stream`.
    NeedBody,
    /// The transaction that `deliver` began is over.
    Finished(Report),
    /// The session is of no use any more. A transaction in progress has been reported by `Finished` before.
    Failed(Error),
    /// After `quit`: the server has said goodbye; close the connection.
    Close,
}

/// A message to send.
#[derive(Debug, Clone)]
pub struct Message {
    /// What is announced of it; parameters that the server does not know are left out. `size` is set by the session.
    pub mail: MailFrom,
    pub recipients: Vec<Recipient>,
    /// Who handed the message in, as attributes of XFORWARD: `NAME`, `ADDR`, …; `None` is not known. Servers that announce XFORWARD are told.
    pub forward: Vec<(&'static str, Option<String>)>,
    pub body: Body,
}

/// The bytes of a message, with CRLF line ends. Stray CR or LF become CRLF, a missing last line end is added (except in a stream that
/// goes by BDAT, which is sent as it is). A BINARYMIME message goes by BDAT, octet for octet, or not at all.
#[derive(Clone)]
pub enum Body {
    Memory(Arc<dyn AsRef<[u8]> + Send + Sync>),
    /// Comes piece by piece by `Session::body`; `size` octets in all.
    Stream {
        size: u64,
    },
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Body::Memory(bytes) => write!(f, "Memory({} octets)", bytes.as_ref().as_ref().len()),
            Body::Stream { size } => write!(f, "Stream({size} octets)"),
        }
    }
}

/// What the server said about each recipient of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// In the order of `Message::recipients`. `None`: the connection was lost before the server had decided.
    pub recipients: Vec<Option<Said>>,
}

/// The reply that decided about a recipient. Positive only at `Stage::Message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub stage: Stage,
    pub reply: Reply,
    /// The reply is our own finding (SIZE exceeded, SMTPUTF8 not offered) and not the server's words.
    pub local: bool,
}

/// Which command a reply answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Mail,
    Recipient,
    Data,
    /// The end of the message.
    Message,
}

/// What the server owes an answer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Greeting,
    Hello,
    StartTls,
    Auth,
    Reset,
    XForward,
    Mail,
    Recipient,
    /// DATA itself.
    Data,
    /// The end of the message.
    Message,
    Quit,
}

/// The answer that is awaited. Another value than before: another answer, for which time begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Awaited {
    pub phase: Phase,
    /// Answers that came before.
    pub replies: u64,
}

/// Why a session is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the server refused the connection: {0}")]
    Greeting(Reply),
    #[error("the server refused EHLO and HELO: {0}")]
    Hello(Reply),
    #[error("the server does not offer STARTTLS")]
    TlsNotOffered,
    #[error("the server refused STARTTLS: {0}")]
    TlsRefused(Reply),
    #[error("the server offers no AUTH mechanism that we know")]
    AuthNotOffered,
    #[error("the server refused our login: {0}")]
    AuthRefused(Reply),
    /// 421 where another reply was due.
    #[error("the server closes the connection: {0}")]
    Closing(Reply),
    #[error("the server closed the connection {0}")]
    Closed(&'static str),
    /// Bytes that are no SMTP reply, or more of them than a reply has.
    #[error("the server does not speak SMTP: {0}")]
    PeerMisbehaved(&'static str),
    /// A stream was not as long as its `size` said: our own fault.
    #[error("the message is not as long as was announced")]
    BodySize,
}

/// What the server announced in its answer to EHLO or LHLO.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    pub pipelining: bool,
    pub chunking: bool,
    pub eight_bit_mime: bool,
    pub binary_mime: bool,
    pub smtputf8: bool,
    pub dsn: bool,
    pub starttls: bool,
    pub enhanced_status_codes: bool,
    pub xfacteur: bool,
    pub priority: bool,
    pub require_tls: bool,
    /// DELIVERBY was announced; with its least time in seconds, 0 where none is said.
    pub deliver_by: Option<u64>,
    /// SIZE was announced; with its limit, when there is one.
    pub size: Option<Option<u64>>,
    pub limits: Limits,
    /// Attributes of XFORWARD in upper case.
    pub xforward: Vec<String>,
    /// AUTH mechanisms in upper case.
    pub auth: Vec<String>,
}

/// What the server takes at most (RFC 9422 §4); `None`: it did not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Transactions of one session.
    pub transactions: Option<u32>,
    /// Recipients of one transaction.
    pub recipients: Option<u32>,
    /// Different domains among them.
    pub recipient_domains: Option<u32>,
}
