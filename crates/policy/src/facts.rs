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
}

impl Stage {
    pub(crate) const ALL: [Stage; 7] =
        [Stage::Client, Stage::Helo, Stage::Sender, Stage::Relay, Stage::Recipient, Stage::Data, Stage::EndOfData];

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
        }
    }
}

/// What is known when a list is asked; what is not known yet is `None`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts<'a> {
    pub client_ip: Option<IpAddr>,
    /// The name of the client that DNS confirms.
    pub client_name: Option<&'a str>,
    /// The name could not be looked up at the moment.
    pub client_name_unavailable: bool,
    /// The client is a process of this machine on the local socket.
    pub local: bool,
    pub helo: Option<&'a str>,
    pub tls: bool,
    pub login: Option<&'a str>,
    /// `Some(None)` is the null sender.
    pub sender: Option<Option<&'a Address>>,
    pub recipient: Option<&'a Address>,
    /// What `routing` says about the recipient.
    pub destination: Option<&'a Destination>,
    /// How many recipients the transaction has.
    pub recipients: usize,
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
    /// To take it would be to relay.
    Elsewhere { reason: String },
    /// Cannot be told at the moment.
    Unavailable { reason: String },
}
