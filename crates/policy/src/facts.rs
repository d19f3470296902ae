//! What a verdict is made from.

use mail_types::Address;
use std::net::IpAddr;

/// When a list is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Client,
    Helo,
    Sender,
    Relay,
    Recipient,
    Data,
    EndOfData,
    Etrn,
}

impl Stage {
    pub(crate) const ALL: [Stage; 8] =
        [Stage::Client, Stage::Helo, Stage::Sender, Stage::Relay, Stage::Recipient, Stage::Data, Stage::EndOfData, Stage::Etrn];

    /// The setting that has the list.
    pub fn setting(self) -> &'static str {
        match self {
            Stage::Client => "smtpd_client_restrictions",
            Stage::Helo => "smtpd_helo_restrictions",
            Stage::Sender => "smtpd_sender_restrictions",
            Stage::Relay => "smtpd_relay_restrictions",
            Stage::Recipient => "smtpd_recipient_restrictions",
            Stage::Data => "smtpd_data_restrictions",
            Stage::EndOfData => "smtpd_end_of_data_restrictions",
            Stage::Etrn => "smtpd_etrn_restrictions",
        }
    }
}

/// What is known when a list is asked; what is not known yet is `None`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts<'a> {
    pub client_ip: Option<IpAddr>,
    pub client_port: Option<u16>,
    /// The name of the client that DNS confirms.
    pub client_name: Option<&'a str>,
    /// The name could not be looked up at the moment.
    pub client_name_unavailable: bool,
    /// The name of the client, confirmed or not.
    pub reverse_name: Option<&'a str>,
    pub reverse_name_unavailable: bool,
    /// The client is a process of this machine on the local socket.
    pub local: bool,
    /// Our name, and our address of this connection.
    pub server_name: Option<&'a str>,
    pub server_ip: Option<IpAddr>,
    pub server_port: Option<u16>,
    pub helo: Option<&'a str>,
    /// The client said EHLO.
    pub extended: bool,
    pub tls: bool,
    /// Version, cipher and size of the key.
    pub tls_terms: Option<(&'a str, &'a str, u32)>,
    /// Fingerprints of the client's certificate and of its key.
    pub client_fingerprints: &'a [String],
    pub login: Option<&'a str>,
    pub mechanism: Option<&'a str>,
    /// `Some(None)` is the null sender.
    pub sender: Option<Option<&'a Address>>,
    /// What `routing` says about the sender; asked when [`crate::Policy::wants_sender_destination`].
    pub sender_destination: Option<&'a Destination>,
    pub recipient: Option<&'a Address>,
    /// What `routing` says about the recipient.
    pub destination: Option<&'a Destination>,
    /// How many recipients the transaction has.
    pub recipients: usize,
    /// Octets of the message: as the client said at MAIL, or as they came.
    pub size: u64,
    pub queue_id: Option<&'a str>,
    /// A name of this transaction, for policy services.
    pub instance: &'a str,
    /// The argument of ETRN.
    pub etrn_domain: Option<&'a str>,
    /// The client sent commands ahead where it had to wait for a reply.
    pub unauth_pipelining: bool,
    /// Whether the sender is the login's own without any table that says so: its name, or an alias that leads to it alone. Asked when
    /// `smtpd_sender_login_maps` is empty; `None`: nobody is logged in, or there is no sender.
    pub sender_is_own: Option<Ownership>,
}

/// Whether an address belongs to a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    Own,
    Foreign,
    /// Cannot be told at the moment.
    Unavailable,
}

/// Whose a recipient is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// We are the last or the backup server of its domain. `listed`: we know this very address. The text says what decided.
    Ours { listed: bool, reason: String },
    /// Was ours; the table says where it is now (Postfix relocated(5)).
    Moved { to: String, reason: String },
    /// To take it would be to relay.
    Elsewhere { reason: String },
    /// Cannot be told at the moment.
    Unavailable { reason: String },
}

impl Destination {
    /// What decided.
    pub fn reason(&self) -> &str {
        match self {
            Destination::Ours { reason, .. }
            | Destination::Moved { reason, .. }
            | Destination::Elsewhere { reason }
            | Destination::Unavailable { reason } => reason,
        }
    }
}
