//! The envelope: what SMTP says about a message outside of it.

use crate::{Address, QueueId, Wishes};
use std::net::IpAddr;

/// Everything known about an accepted message beside its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    pub id: QueueId,
    /// When it was accepted: microseconds since 1970, by the clock of that moment.
    pub arrived_micros: u64,
    /// `None` is the null sender `<>`.
    pub sender: Option<Address>,
    pub recipients: Vec<Recipient>,
    pub body: BodyType,
    /// The client asked for SMTPUTF8 (RFC 6531 §3.4).
    pub smtputf8: bool,
    /// DSN RET= (RFC 3461 §4.3).
    pub ret: Option<DsnReturn>,
    /// DSN ENVID=, decoded from xtext (RFC 3461 §4.4).
    pub envid: Option<String>,
    pub wishes: Wishes,
    /// To be kept in the queue until somebody releases it.
    pub hold: bool,
    /// A content filter that it goes to instead of its destinations, as `transport:next hop`.
    pub filter: Option<String>,
    pub client: Client,
}

/// One recipient of the envelope with its DSN parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    pub address: Address,
    pub notify: DsnNotify,
    /// DSN ORCPT= as `type;address`, decoded from xtext (RFC 3461 §4.2).
    pub orcpt: Option<String>,
}

impl Recipient {
    /// A recipient without DSN parameters.
    pub fn new(address: Address) -> Recipient {
        Recipient { address, notify: DsnNotify::default(), orcpt: None }
    }
}

/// Who handed the message in; for logs and the Received header.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Client {
    pub ip: Option<IpAddr>,
    /// The argument of HELO or EHLO; hostile text.
    pub helo: String,
    /// Name from reverse DNS that was confirmed forward.
    pub name: Option<String>,
    /// The login name when authenticated.
    pub login: Option<String>,
    pub protocol: Protocol,
}

/// How the message came in, as the `with` clause names it (RFC 3848, RFC 6531 §3.7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Protocol {
    pub extended: bool,
    pub tls: bool,
    pub authenticated: bool,
    pub lmtp: bool,
    /// From the `sendmail` command or made by Facteur itself.
    pub local: bool,
}

impl Protocol {
    /// `ESMTPSA`, `SMTP`, `LMTP`, `UTF8SMTPS`, `local`, …
    pub fn name(&self, smtputf8: bool) -> &'static str {
        match (self, smtputf8) {
            (Protocol { local: true, .. }, _) => "local",
            (Protocol { lmtp: true, tls, authenticated, .. }, false) => {
                ["LMTP", "LMTPS", "LMTPA", "LMTPSA"][usize::from(*tls) + 2 * usize::from(*authenticated)]
            }
            (Protocol { lmtp: true, tls, authenticated, .. }, true) => {
                ["UTF8LMTP", "UTF8LMTPS", "UTF8LMTPA", "UTF8LMTPSA"][usize::from(*tls) + 2 * usize::from(*authenticated)]
            }
            (Protocol { extended: false, .. }, _) => "SMTP",
            (Protocol { tls, authenticated, .. }, false) => {
                ["ESMTP", "ESMTPS", "ESMTPA", "ESMTPSA"][usize::from(*tls) + 2 * usize::from(*authenticated)]
            }
            (Protocol { tls, authenticated, .. }, true) => {
                ["UTF8SMTP", "UTF8SMTPS", "UTF8SMTPA", "UTF8SMTPSA"][usize::from(*tls) + 2 * usize::from(*authenticated)]
            }
        }
    }
}

/// BODY= (RFC 6152 §2, RFC 3030 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyType {
    #[default]
    SevenBit,
    EightBitMime,
    BinaryMime,
}

/// RET= (RFC 3461 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DsnReturn {
    Full,
    Headers,
}

/// NOTIFY= (RFC 3461 §4.1). The default is what holds without the parameter: failure, and delay as the server likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DsnNotify {
    /// The parameter was given; then only what is named counts.
    pub given: bool,
    pub success: bool,
    pub failure: bool,
    pub delay: bool,
}

impl DsnNotify {
    /// NOTIFY=NEVER.
    pub const NEVER: DsnNotify = DsnNotify { given: true, success: false, failure: false, delay: false };

    /// NOTIFY=NEVER was said.
    pub fn is_never(&self) -> bool {
        *self == DsnNotify::NEVER
    }

    pub fn wants_failure(&self) -> bool {
        !self.given || self.failure
    }

    pub fn wants_success(&self) -> bool {
        self.given && self.success
    }

    pub fn wants_delay(&self) -> bool {
        !self.given || self.delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_with_clause_names_the_protocol() {
        let esmtp = Protocol { extended: true, ..Protocol::default() };
        assert_eq!(Protocol::default().name(false), "SMTP");
        assert_eq!(esmtp.name(false), "ESMTP");
        assert_eq!(Protocol { tls: true, authenticated: true, ..esmtp }.name(false), "ESMTPSA");
        assert_eq!(Protocol { tls: true, ..esmtp }.name(true), "UTF8SMTPS");
        assert_eq!(Protocol { lmtp: true, extended: true, ..Protocol::default() }.name(false), "LMTP");
    }

    #[test]
    fn notify_never_silences_what_the_default_reports() {
        assert!(DsnNotify::default().wants_failure());
        assert!(!DsnNotify::default().wants_success());
        assert!(!DsnNotify::NEVER.wants_failure());
        assert!(!DsnNotify::NEVER.wants_delay());
    }
}
