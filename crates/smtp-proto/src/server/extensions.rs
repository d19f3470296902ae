//! Extensions that let a sender ask something of the transport: DELIVERBY (RFC 2852), FUTURERELEASE (RFC 4865), MT-PRIORITY (RFC 6710),
//! REQUIRETLS (RFC 8689), BINARYMIME (RFC 3030). What is not announced to a client is not taken from it.

use super::{MailFrom, Session, Settings};
use crate::grammar::{self, Hold};
use mail_types::{BodyType, ByMode, Reply, timestamp};

impl Session {
    /// Their lines in the answer to EHLO.
    pub(super) fn extensions(&self) -> Vec<String> {
        let settings = &self.settings;
        let mut lines = Vec::new();
        // RFC 2852 §2: without a number nothing is said about the least time.
        lines.extend(settings.deliver_by.map(|least| if least == 0 { "DELIVERBY".into() } else { format!("DELIVERBY {least}") }));
        if settings.future_release > 0 {
            let latest = timestamp::write(self.now_seconds + settings.future_release);
            lines.push(format!("FUTURERELEASE {} {latest}", settings.future_release));
        }
        if settings.priority {
            lines.push("MT-PRIORITY MIXER".into());
        }
        if settings.require_tls && self.is_private() {
            lines.push("REQUIRETLS".into());
        }
        lines.push(format!("LIMITS {}", limits(settings)));
        // RFC 3030 §3: only together with CHUNKING.
        if settings.binary_mime && !is_hidden(settings, "CHUNKING") {
            lines.push("BINARYMIME".into());
        }
        lines
    }

    /// Why a transaction with these parameters cannot be.
    pub(super) fn extension_fault(&self, mail: &MailFrom) -> Option<Reply> {
        let settings = &self.settings;
        let asked = [
            (mail.by.is_some(), "DELIVERBY", settings.deliver_by.is_some()),
            (mail.hold.is_some(), "FUTURERELEASE", settings.future_release > 0),
            (mail.priority.is_some(), "MT-PRIORITY", settings.priority),
            (mail.require_tls, "REQUIRETLS", settings.require_tls),
            (mail.body == BodyType::BinaryMime, "BINARYMIME", settings.binary_mime),
        ];
        if asked.iter().any(|(asked, keyword, there)| *asked && (!there || is_hidden(settings, keyword))) {
            return Some(grammar::Error::ParameterUnknown.reply(true));
        }
        if mail.require_tls && !self.is_private() {
            return Some(Reply::with(530, (5, 7, 10), "REQUIRETLS needs TLS"));
        }
        // RFC 2852 §3
        if let (Some(by), Some(least)) = (mail.by, settings.deliver_by)
            && by.mode == ByMode::Return
            && by.seconds < i64::try_from(least).unwrap_or(i64::MAX)
        {
            return Some(Reply::with(555, (5, 5, 4), format!("The time to deliver by is less than {least} seconds")));
        }
        self.hold_fault(mail)
    }

    /// Whether nobody between the client and us hears what is said: what RFC 8689 §4.1 asks TLS for.
    fn is_private(&self) -> bool {
        self.tls || self.settings.private
    }

    // RFC 4865 §4.2
    fn hold_fault(&self, mail: &MailFrom) -> Option<Reply> {
        let interval = mail.hold?.interval(self.now_seconds);
        let wrong = |text: String| Some(Reply::with(501, (5, 5, 4), text));
        if self.login.is_none() {
            // §6: without a login anybody could fill the queue for a month.
            return Some(Reply::with(530, (5, 7, 0), "Authentication required"));
        }
        match interval {
            Some(1..) if interval <= Some(self.settings.future_release) => {}
            Some(1..) => return wrong(format!("A message is held for {} seconds at most", self.settings.future_release)),
            _ => return wrong("The time of release is over".into()),
        }
        // §5.2.2
        let late = mail.by.is_some_and(|by| by.seconds < interval.and_then(|i| i64::try_from(i).ok()).unwrap_or(i64::MAX));
        if late { wrong("The time of release is behind the time to deliver by".into()) } else { None }
    }
}

impl Hold {
    /// Seconds from now on; `None` when the moment is over.
    pub fn interval(self, now_seconds: u64) -> Option<u64> {
        match self {
            Hold::For(seconds) => Some(seconds),
            Hold::Until(at) => at.checked_sub(now_seconds),
        }
    }
}

fn is_hidden(settings: &Settings, keyword: &str) -> bool {
    settings.discard_ehlo_keywords.iter().any(|word| word == keyword)
}

/// The limits that clients may go by (RFC 9422 §4).
fn limits(settings: &Settings) -> String {
    let mut limits = format!("RCPTMAX={}", settings.recipient_limit);
    if settings.transaction_limit > 0 {
        limits.push_str(&format!(" MAILMAX={}", settings.transaction_limit));
    }
    if settings.recipient_domain_limit > 0 {
        limits.push_str(&format!(" RCPTDOMAINMAX={}", settings.recipient_domain_limit));
    }
    limits
}
