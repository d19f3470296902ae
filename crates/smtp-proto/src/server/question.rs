//! What the machine asks its owner, and what the owner may answer.

use crate::XFacteur;
use crate::grammar::{By, Hold};
use mail_types::{Address, BodyType, DsnReturn, Recipient, Reply, Secret};
use std::sync::Arc;
use std::time::Duration;

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Write these bytes. Replies of one pipelined group come together.
    Send(Vec<u8>),
    /// Find an answer and call [`super::Session::answer`].
    Ask(Question),
    /// Decoded bytes of the message of the present transaction, with CRLF line ends unless it is BINARYMIME; about 64 KiB at most, except that a message below
    /// that comes as one chunk.
    Body(Vec<u8>),
    /// The message whose bytes came by `Body` will not be completed: drop them.
    Abandon,
    /// An AUTH exchange that had been asked about was given up by the client: forget it.
    CancelAuth,
    /// Wait so long; the client has made many errors.
    Sleep(Duration),
    /// Make TLS on the connection, then call [`super::Session::tls_started`]. The 220 has been sent; no plaintext is left in the machine.
    StartTls,
    /// Read from the peer and call [`super::Session::receive`]; at the end of the stream drop the session.
    NeedInput,
    /// The session has ended; everything to send has been handed out.
    Close,
}

/// A decision that is not the machine's to make.
#[derive(Debug, PartialEq, Eq)]
pub enum Question {
    /// A client has connected: `Accept`, or a refusal that is said instead of the greeting. Asked first.
    Connect,
    /// HELO, EHLO or LHLO with this argument (at most 512 characters, no control characters, otherwise unchecked).
    Hello { name: String, extended: bool },
    /// AUTH: begin an exchange. The initial response is checked base64, still encoded; `Some("")` is an empty response.
    /// Answer with `Challenge`, `Authenticated`, or a refusal.
    Auth { mechanism: String, initial: Option<Secret> },
    /// The client's response to a challenge: checked base64, still encoded.
    AuthResponse(Secret),
    /// May this transaction begin?
    Mail(MailFrom),
    /// Is this a recipient? The transaction so far is [`super::Session::transaction`].
    Recipient(Recipient),
    /// STARTTLS: may a handshake be made now?
    StartTls,
    /// ETRN: may the queue for this domain or host be tried now, and was it begun? The argument without a leading `@` or `#`.
    Etrn(String),
    /// XCLIENT of a peer that may: attributes, decoded. When they are accepted the session begins anew with `Connect`.
    XClient(Vec<(String, String)>),
    /// XFORWARD of a peer that may: attributes, decoded.
    XForward(Vec<(String, String)>),
    /// DATA or the first BDAT: may the message come?
    Data,
    /// All bytes of the message have been handed out. Take responsibility, then answer: in SMTP one `Reply` (or `Accept`), in LMTP
    /// `Replies`, one per accepted recipient in their order.
    Message(Box<Transaction>),
}

/// The owner's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Yes, in the machine's usual words.
    Accept,
    /// Yes to `Hello`, and these SASL mechanisms may be announced (`PLAIN LOGIN`), if AUTH is possible at this moment at all.
    Mechanisms(Arc<str>),
    /// A positive reply is yes in these words; a negative one is no.
    Reply(Reply),
    /// To `Message` in LMTP: one per recipient.
    Replies(Vec<Reply>),
    /// To `Auth` and `AuthResponse`: the next challenge in base64.
    Challenge(String),
    /// To `Auth` and `AuthResponse`: the client is this user.
    Authenticated(String),
    /// Say this and end the session. 421 and 521 in a plain `Reply` end it as well.
    Disconnect(Reply),
}

/// MAIL FROM with its parameters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MailFrom {
    /// `None` is `<>`.
    pub sender: Option<Address>,
    pub body: BodyType,
    pub smtputf8: bool,
    /// SIZE=, what the client thinks the message will have (RFC 1870 §6).
    pub size: Option<u64>,
    pub ret: Option<DsnReturn>,
    pub envid: Option<String>,
    pub by: Option<By>,
    pub hold: Option<Hold>,
    /// MT-PRIORITY=, from -9 to 9; whether it is granted is the owner's to say.
    pub priority: Option<i8>,
    pub require_tls: bool,
    /// XID=, XTIME=, XREPEAT, when the peer is trusted.
    pub xfacteur: Option<XFacteur>,
}

/// The envelope as it grows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transaction {
    pub mail: MailFrom,
    /// The accepted ones.
    pub recipients: Vec<Recipient>,
}
