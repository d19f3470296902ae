use mail_types::Outcome;
use smtp_proto::client;

/// What became of a message at a destination.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// In the order of the recipients.
    pub outcomes: Vec<Outcome>,
    /// The last host that was spoken to, such as `mx.x.org[192.0.2.1]:25`; for the `relay=` of logs.
    pub relay: Option<String>,
    /// `TLSv1.3 with TLS13_AES_256_GCM_SHA384` when the message went under TLS.
    pub tls: Option<String>,
    /// Some host was ready for mail. When not, the destination as a whole is down, and other messages need not try now.
    pub reached: bool,
    /// Nobody was asked: how to go there (TLS policy, login) could not be told, which says nothing about the destination.
    pub untried: bool,
    /// The last server that was spoken to announced XFACTEUR: it would recognise a repetition.
    pub recognises: bool,
    /// What was lost in the middle may be sent again at once: the server has nothing of it, or would recognise it.
    pub repeatable: bool,
    /// The message could not be read here, which says nothing about the destination.
    pub unreadable: bool,
    /// For each recipient: a host has taken it together with what reports its sender wants, and reports further itself.
    pub passed_on: Vec<bool>,
    /// For each recipient: a host has taken it and knows by when it is wanted (RFC 2852).
    pub told_time: Vec<bool>,
    /// A session that the postmaster may want to hear of.
    pub trouble: Option<Trouble>,
}

/// A session that went wrong by more than a host's refusal.
#[derive(Debug, Clone)]
pub struct Trouble {
    pub kind: TroubleKind,
    pub host: String,
    /// Lines with CRLF; empty when none is kept.
    pub transcript: String,
    /// What went wrong.
    pub why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TroubleKind {
    /// The host, or we, did not keep to the protocol.
    Protocol,
    /// The message could not be read here.
    Resource,
}

/// Whether a reply says that a command was not understood, or came out of turn (Postfix smtp(8), smtp_check_code).
pub(crate) fn is_protocol_trouble(said: &client::Said) -> bool {
    !said.local && matches!(said.reply.code(), 500..=509 | 555)
}

impl Attempt {
    /// No host was asked, for this reason.
    pub fn untried(outcome: Outcome, recipients: usize) -> Attempt {
        Attempt {
            outcomes: vec![outcome; recipients],
            relay: None,
            tls: None,
            reached: false,
            untried: true,
            recognises: false,
            repeatable: false,
            unreadable: false,
            passed_on: vec![false; recipients],
            told_time: vec![false; recipients],
            trouble: None,
        }
    }
}
