//! What the owner of a server session may choose.

use mail_types::Domain;
use std::time::Duration;

/// The choices of one service; shared by all its sessions.
#[derive(Debug, Clone)]
pub struct Settings {
    /// LMTP (RFC 2033) instead of SMTP: LHLO, and a reply per recipient after the end of data.
    pub lmtp: bool,
    /// Our name, in the greeting and in the answer to EHLO.
    pub hostname: String,
    /// What the greeting says after the name, `ESMTP Facteur`.
    pub banner: String,
    /// The domain of addresses that come without one (`<postmaster>`).
    pub origin: Option<Domain>,
    /// Largest message in octets; 0 for no limit. Announced by SIZE.
    pub size_limit: u64,
    /// MAIL only after HELO, EHLO or LHLO.
    pub helo_required: bool,
    /// Recipients of one transaction; the next ones get 452.
    pub recipient_limit: usize,
    /// How many recipients above the limit are refused patiently; after that each counts as an error.
    pub recipient_overshoot_limit: usize,
    /// Different domains among the recipients of one transaction; the next ones get 452. 0: no limit.
    pub recipient_domain_limit: usize,
    /// Transactions of one session; the next one gets 421. 0: no limit.
    pub transaction_limit: u32,
    /// Longest command line in octets without its line end (AUTH may have 12,288, RFC 4954 §4).
    pub line_limit: usize,
    /// From this many errors on, each reply waits for `error_sleep`.
    pub soft_error_limit: u32,
    /// At this many errors the session ends with 421.
    pub hard_error_limit: u32,
    pub error_sleep: Duration,
    /// NOOP, RSET, VRFY, HELO and empty chunks above this number count as errors; a finished message starts the count anew.
    pub junk_command_limit: u32,
    pub bare_newline: BareNewline,
    pub tls: TlsOffer,
    /// Whether a handshake could be made now. Without a certificate STARTTLS is answered with 454.
    pub tls_available: bool,
    /// AUTH only under TLS (`smtpd_tls_auth_only`).
    pub tls_auth_only: bool,
    /// Commands that run ahead of a reply that they must wait for (RFC 2920 §3.1) end the session with 554.
    pub forbid_unauth_pipelining: bool,
    /// First words that are no SMTP and end the session at once, in upper case.
    pub forbidden_commands: Vec<String>,
    /// EHLO keywords that are not announced, in upper case.
    pub discard_ehlo_keywords: Vec<String>,
    /// DELIVERBY (RFC 2852): the least time in seconds of a message that is to be returned when it is late; `None`: not offered.
    pub deliver_by: Option<u64>,
    /// FUTURERELEASE (RFC 4865): for how many seconds a message may be held; 0: not offered.
    pub future_release: u64,
    /// MT-PRIORITY (RFC 6710).
    pub priority: bool,
    /// REQUIRETLS (RFC 8689), under TLS, or where nobody else can hear (`private`).
    pub require_tls: bool,
    /// The client is on this machine, at a Unix socket.
    pub private: bool,
    /// Messages whose octets are no lines are taken (RFC 3030 §3).
    pub binary_mime: bool,
    /// VRFY is refused.
    pub disable_vrfy: bool,
    /// ETRN (RFC 1985) is announced and asked about.
    pub etrn: bool,
    /// The peer may say for whom it speaks (Postfix XCLIENT_README), or from whom a message is (XFORWARD_README).
    pub xclient: bool,
    pub xforward: bool,
    /// Announce XFACTEUR and take its parameters: only for peers that are trusted.
    pub xfacteur: bool,
}

/// What to do with a CR or LF that stands alone in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BareNewline {
    /// It becomes CRLF.
    #[default]
    Normalise,
    /// The message is refused with 550 5.5.2.
    Reject,
}

/// Whether STARTTLS is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsOffer {
    #[default]
    Off,
    May,
    /// Without TLS only NOOP, EHLO, STARTTLS and QUIT are answered (RFC 3207 §4).
    Required,
}

impl Settings {
    /// The defaults of Postfix for a host of this name, without TLS.
    pub fn new(hostname: &str) -> Settings {
        Settings {
            lmtp: false,
            hostname: hostname.into(),
            banner: "ESMTP Facteur".into(),
            origin: Domain::parse(hostname).ok(),
            size_limit: 52_428_800,
            helo_required: true,
            recipient_limit: 1000,
            recipient_overshoot_limit: 1000,
            recipient_domain_limit: 0,
            transaction_limit: 0,
            line_limit: 4096,
            soft_error_limit: 10,
            hard_error_limit: 20,
            error_sleep: Duration::from_secs(1),
            junk_command_limit: 100,
            bare_newline: BareNewline::Normalise,
            tls: TlsOffer::Off,
            tls_available: true,
            tls_auth_only: true,
            forbid_unauth_pipelining: true,
            forbidden_commands: ["CONNECT", "GET", "POST"].map(String::from).to_vec(),
            discard_ehlo_keywords: Vec::new(),
            deliver_by: Some(0),
            future_release: 0,
            priority: true,
            require_tls: true,
            private: false,
            binary_mime: true,
            disable_vrfy: false,
            etrn: false,
            xclient: false,
            xforward: false,
            xfacteur: false,
        }
    }

    /// Defaults for an LMTP server of this name (RFC 2033). The peer is a mail transfer agent of our own: no limit on what it already
    /// accepted, and none on errors, which are about recipients and not about the peer.
    pub fn lmtp(hostname: &str) -> Settings {
        Settings {
            lmtp: true,
            banner: "LMTP Facteur".into(),
            size_limit: 0,
            // Mailboxes hold lines, and IMAP shows them; who has binary parts encodes them first.
            binary_mime: false,
            // Wishes end where a message is delivered.
            deliver_by: None,
            priority: false,
            require_tls: false,
            soft_error_limit: u32::MAX,
            hard_error_limit: u32::MAX,
            junk_command_limit: u32::MAX,
            ..Settings::new(hostname)
        }
    }
}
