//! What a message demands of the host that it is handed to, beyond taking it.

use crate::Message;
use mail_types::{ByMode, DsnNotify, Failure, Recipient, TlsWish};
use smtp_proto::client::Capabilities;
use smtp_proto::grammar::By;
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// The message may only go where TLS proves the host (RFC 8689 §4.2.1). Notifications go all the same (§5).
pub(crate) fn demands_tls(message: &Message) -> bool {
    message.wishes.tls == TlsWish::Required && message.sender.is_some()
}

/// Why this host may not have the message. Another host of the destination may.
pub(crate) fn unmet(message: &Message, capabilities: &Capabilities, now_seconds: u64) -> Option<Failure> {
    if demands_tls(message) && !capabilities.require_tls {
        return Some(Failure::local((5, 7, 30), "REQUIRETLS support required, and the host does not announce it"));
    }
    // RFC 2852 §4.1.4.1
    let by = message.wishes.deliver_by.filter(|by| by.mode == ByMode::Return)?;
    match capabilities.deliver_by {
        None => Some(Failure::local((5, 3, 3), "the message has to be delivered by a certain time, and the host does not know DELIVERBY")),
        Some(least) if by.remaining(now_seconds) < i64::try_from(least).unwrap_or(i64::MAX).max(1) => {
            Some(Failure::local((5, 4, 7), format!("the host wants {least} seconds, and the message has to be delivered before")))
        }
        Some(_) => None,
    }
}

/// BY= for the next host.
pub(crate) fn by(message: &Message, now_seconds: u64) -> Option<By> {
    let by = message.wishes.deliver_by?;
    Some(By { seconds: by.remaining(now_seconds), mode: by.mode, trace: by.trace })
}

/// A host that does not know by when the message is wanted is to tell at least of its delay (RFC 2852 §4.1.4.2).
pub(crate) fn with_delay_reports(message: &Message, recipients: &mut [Recipient], capabilities: &Capabilities, now_seconds: u64) {
    let wants = message.wishes.deliver_by.is_some_and(|by| by.mode == ByMode::Notify && !by.is_over(now_seconds));
    if !wants || capabilities.deliver_by.is_some() {
        return;
    }
    for recipient in recipients.iter_mut().filter(|r| !r.notify.is_never()) {
        let asked = recipient.notify;
        recipient.notify = DsnNotify { given: true, success: asked.success, failure: asked.failure || !asked.given, delay: true };
    }
}
