//! Delivery status notifications: what the sender is told, and when nobody is.
//!
//! - A failure is reported when the recipient's NOTIFY wants it (it does when nothing is said), a delay once per message
//!   by setting, a success when asked for.
//! - The null sender is never answered. A notification of ours that cannot be delivered goes to
//!   `double_bounce_recipient` when that is set; what cannot be delivered there is dropped with a log line.
//! - The postmaster gets copies with headers only of failures and delays, where `notify_classes` has them.
//! - A notification's queue id follows from the message's, the kind and the recipients, so that a repeat after a crash
//!   finds what was already written.

use crate::clock::Now;
use crate::entry::{Active, Target, failure};
use crate::settings::Settings;
use mail_types::{
    Address, BodyType, ByMode, Client, DsnReturn, EnhancedCode, Envelope, Outcome, Protocol, QueueId, Recipient, TlsWish, Wishes,
};
use message::Date;
use message::dsn::{Action, Dsn, Status};
use outbound::Body;
use spool::Stored;
use std::sync::Arc;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// Why the sender is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Failure,
    Success,
    Delay,
    /// To the postmaster.
    BounceNotice,
    DelayNotice,
}

impl Kind {
    fn is_notice(self) -> bool {
        matches!(self, Kind::BounceNotice | Kind::DelayNotice)
    }
}

/// Whom to tell about these recipients, if anybody.
pub fn addressee(kind: Kind, stored: &Stored, settings: &Settings) -> Option<Address> {
    match &stored.envelope.sender {
        Some(_) if kind == Kind::BounceNotice => settings.bounce_notice.clone(),
        Some(_) if kind == Kind::DelayNotice => settings.delay_notice.clone(),
        Some(sender) => Some(sender.clone()),
        // Ours, to a sender that cannot be reached.
        None if kind == Kind::Failure && stored.envelope.id.as_str().starts_with('Z') => {
            let postmaster = settings.double_bounce.clone()?;
            let already = stored.envelope.recipients.iter().any(|r| r.address == postmaster);
            (!already).then_some(postmaster)
        }
        None => None,
    }
}

/// Whether this recipient's NOTIFY wants such a report.
pub fn wants(kind: Kind, target: &Target) -> bool {
    let notify = &target.recipient.notify;
    match kind {
        Kind::Failure => notify.wants_failure(),
        Kind::Success => target.wants_success(),
        Kind::Delay => notify.wants_delay(),
        // What the sender wants to hear is the sender's business.
        Kind::BounceNotice | Kind::DelayNotice => true,
    }
}

/// Builds the notification about `targets` (those are never empty).
pub fn build(kind: Kind, to: &Address, active: &Active, targets: &[&Target], now: Now, settings: &Settings) -> (Stored, Arc<[u8]>) {
    let envelope = &active.stored.envelope;
    let id = derived_id(kind, &envelope.id, targets);
    let date = Date::new(now.unix() as i64, 0);
    let arrived = envelope.arrived_micros / 1_000_000;
    let until = settings.backoff.until(began_seconds(envelope), envelope.sender.is_none());
    // RFC 2852 §4.1.3
    let late = kind != Kind::Success && is_late_by_wish(envelope, now.unix());
    let statuses: Vec<Status<'_>> = targets
        .iter()
        .map(|target| {
            let failed = target.result.as_ref().and_then(failure);
            let status = match (&target.result, failed) {
                (_, Some(_)) if late => EnhancedCode(4, 4, 7),
                (_, Some(failure)) => failure.status,
                (Some(Outcome::Delivered { reply }), _) => reply.enhanced().unwrap_or(EnhancedCode(2, 0, 0)),
                _ => EnhancedCode(4, 0, 0),
            };
            let action = match kind {
                Kind::Failure | Kind::BounceNotice => Action::Failed,
                Kind::Delay | Kind::DelayNotice => Action::Delayed,
                Kind::Success if target.relayed => Action::Relayed,
                Kind::Success => Action::Delivered,
            };
            Status {
                original: target.recipient.orcpt.as_deref(),
                recipient: &target.recipient.address,
                action,
                // A message that was given up carries the last temporary failure; its report is final (RFC 3464 §2.3.4).
                status: if action == Action::Failed { EnhancedCode(5, status.1, status.2) } else { status },
                remote: failed.and_then(|f| f.remote.as_ref()).map(|(host, reply)| (host.as_str(), reply)),
                reason: failed.map_or("", |f| f.reason.as_str()),
                last_attempt: (kind != Kind::Success).then_some(date),
                retry_until: (action == Action::Delayed).then(|| Date::new(until as i64, 0)),
            }
        })
        .collect();
    let message_id = message::trace::message_id(now.unix(), xxh3_64(id.as_str().as_bytes()), &settings.hostname);
    let original = original(active, settings.bounce_size_limit);
    let notification = Dsn {
        host: &settings.hostname,
        id: envelope.id,
        to,
        date,
        message_id: &message_id,
        envid: envelope.envid.as_deref(),
        arrival: Date::new(arrived as i64, 0),
        recipients: &statuses,
        original: &original,
        wishes: envelope.wishes,
        returned: if kind.is_notice() || !may_return_all(envelope) { Some(DsnReturn::Headers) } else { envelope.ret },
        postmaster: kind.is_notice(),
        full_limit: settings.bounce_size_limit,
        smtputf8: envelope.smtputf8,
    }
    .build();
    let bounce = Envelope {
        id,
        arrived_micros: now.unix_micros,
        sender: None,
        // Nobody is told about the fate of a notification.
        recipients: vec![Recipient { notify: mail_types::DsnNotify::NEVER, ..Recipient::new(to.clone()) }],
        body: if notification.eight_bit { BodyType::EightBitMime } else { BodyType::SevenBit },
        smtputf8: notification.smtputf8,
        ret: None,
        envid: None,
        wishes: inherited(envelope.wishes),
        hold: false,
        filter: None,
        client: Client { protocol: Protocol { local: true, ..Protocol::default() }, ..Client::default() },
    };
    (Stored::new(bounce), notification.bytes.into())
}

/// A report goes in lines, which a binary message would not survive; and what demanded TLS does not come back whole (RFC 8689 §5).
fn may_return_all(envelope: &Envelope) -> bool {
    envelope.body != BodyType::BinaryMime && envelope.wishes.tls != TlsWish::Required
}

/// What of the message's wishes holds for a report about it: its priority (RFC 6710 §4.6) and its need of TLS (RFC 8689 §5).
fn inherited(wishes: Wishes) -> Wishes {
    let tls = if wishes.tls == TlsWish::Required { TlsWish::Required } else { TlsWish::Usual };
    Wishes { priority: wishes.priority, tls, ..Wishes::default() }
}

/// When the life of a message in the queue began: a message that had to wait is as young as its release.
pub fn began_seconds(envelope: &Envelope) -> u64 {
    let release = envelope.wishes.release.map_or(0, |release| release.at_seconds);
    release.max(envelope.arrived_micros / 1_000_000)
}

/// Its sender wanted to be told at this moment that it is late (BY=…;N).
pub fn is_late_by_wish(envelope: &Envelope, now_seconds: u64) -> bool {
    envelope.wishes.deliver_by.is_some_and(|by| by.mode == ByMode::Notify && by.is_over(now_seconds))
}

fn derived_id(kind: Kind, id: &QueueId, targets: &[&Target]) -> QueueId {
    let mut keys: Vec<u64> = targets.iter().map(|t| t.key).collect();
    keys.sort_unstable();
    let mut text = format!("{kind:?} {id}");
    for key in keys {
        text.push_str(&format!(" {key:016x}"));
    }
    QueueId::derived(xxh3_128(text.as_bytes()))
}

/// The message, or so much of its front that its header is there and its length is beyond the limit.
fn original(active: &Active, full_limit: usize) -> Vec<u8> {
    match &active.body {
        Body::Memory(bytes) => bytes.as_ref().as_ref().to_vec(),
        Body::File { file, offset, length, .. } => {
            use std::os::unix::fs::FileExt;
            let mut front = vec![0; (*length).min((full_limit as u64 + 1).max(128 << 10)) as usize];
            let mut done = 0;
            while done < front.len() {
                match file.read_at(&mut front[done..], offset + done as u64) {
                    Ok(0) => break,
                    Ok(n) => done += n,
                    Err(error) => {
                        tracing::warn!(queue_id = %active.stored.envelope.id, %error, "the message cannot be read for its report");
                        break;
                    }
                }
            }
            front.truncate(done);
            front
        }
    }
}
