//! From a stored message to deliveries: aliases are expanded, once, and each recipient gets its route.

use crate::entry::{Job, Line, Target, delivered};
use crate::settings::Settings;
use mail_types::{Failure, Outcome, Recipient, Reply};
use outbound::{Destination, NamedBy};
use routing::{LmtpTarget, Route, Router, Unavailable};
use spool::Stored;
use spool::outcome::{MessageLedger, recipient_key};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What became of it.
pub struct Prepared {
    /// The recipients that stand for those of the envelope, when they are others; to be journalled.
    pub expanded: Option<Vec<Recipient>>,
    pub targets: Vec<Target>,
    pub jobs: Vec<Job>,
}

/// `known` is what the outcome journal has of the message. `Unavailable`: a table could not tell; nothing was decided.
pub async fn prepare(
    router: Arc<Router>,
    settings: Arc<Settings>,
    stored: Arc<Stored>,
    known: Option<MessageLedger>,
) -> Result<Prepared, Unavailable> {
    let known = known.unwrap_or_default();
    let envelope = &stored.envelope;
    // A requeue goes back to the first recipients (Postfix postsuper -r).
    let whole = if known.requeued && !stored.first.is_empty() { &stored.first } else { &envelope.recipients };
    let mut expanded = None;
    let mut failures = Vec::new();
    let recipients = match known.expanded {
        Some(ref recipients) => recipients.clone(),
        // What comes back from the filter is expanded then, so that nobody gets two copies.
        None if envelope.filter.is_some() => envelope.recipients.clone(),
        None if stored.expanded && !known.requeued => envelope.recipients.clone(),
        None => {
            // What was expanded before has had its copies.
            let copies = !is_our_bounce(&stored) && !stored.expanded;
            let expansion = router.expand(envelope.sender.as_ref(), whole, copies).await?;
            // Where a table is wrong for now the message waits as it is: half an expansion cannot be journalled.
            if let Some((at, outcome)) = expansion.failures.iter().find(|(_, o)| matches!(o, Outcome::Deferred(_))) {
                return Ok(all_deferred(&stored, &known, whole.get(*at), outcome));
            }
            let recipients: Vec<Recipient> = expansion.recipients.into_iter().map(|e| e.recipient).collect();
            failures = expansion.failures;
            // Recipients that come to nothing stay in the list, so that their bounce is journalled like any outcome.
            let failed = failures.iter().filter_map(|(at, _)| whole.get(*at)).cloned();
            let all: Vec<Recipient> = recipients.iter().cloned().chain(failed).collect();
            let same = all.len() == envelope.recipients.len() && all.iter().zip(&envelope.recipients).all(|(a, b)| a == b);
            // What has failed is no address to deliver to, and the journal could not tell: it is expanded anew after a restart.
            expanded = ((!same || known.requeued) && failures.is_empty()).then_some(all.clone());
            all
        }
    };
    let fresh_failures: HashMap<u64, Outcome> =
        failures.into_iter().filter_map(|(at, outcome)| Some((recipient_key(&whole.get(at)?.address), outcome))).collect();
    let mut targets: Vec<Target> = Vec::with_capacity(recipients.len());
    let mut jobs: Vec<Job> = Vec::new();
    let mut open_jobs: HashMap<(Line, NamedBy), usize> = HashMap::new();
    let mut settled: HashSet<u64> = known.done.iter().map(|(key, _)| *key).collect();
    let several = recipients.len() > 1;
    for recipient in recipients {
        let key = recipient_key(&recipient.address);
        if settled.contains(&key) || (several && !settled.insert(key)) {
            continue;
        }
        let mut target = Target {
            recipient,
            key,
            result: fresh_failures.get(&key).cloned(),
            relay: None,
            relayed: false,
            untold: false,
            passed_on: false,
            traced: false,
        };
        if target.result.is_none() {
            let routed = match &envelope.filter {
                Some(filter) => router.filtered(filter, &target.recipient.address),
                None => router.route(&target.recipient.address, envelope.sender.as_ref()).await?,
            };
            let named_by = NamedBy::of(routed.is_by_recipient(&target.recipient.address), routed.is_by_relayhost());
            let (to, partner) = match routed.route {
                Route::Local => (Some(settings.local.clone()), true),
                Route::Lmtp(LmtpTarget::Unix(path)) => (Some(Destination::LmtpUnix(path)), true),
                Route::Lmtp(LmtpTarget::Inet { host, port }) => (Some(Destination::LmtpInet { host, port }), false),
                Route::Smtp(hop) => (Some(Destination::Smtp { host: hop.host, port: hop.port, mx: hop.mx }), false),
                Route::Error(outcome) => {
                    target.result = Some(outcome);
                    (None, false)
                }
                Route::Discard => {
                    target.result = Some(delivered(Reply::with(250, (2, 0, 0), "discarded")));
                    target.relay = Some("discard".into());
                    (None, false)
                }
            };
            if let Some(to) = to {
                target.relayed = matches!(to, Destination::Smtp { .. });
                let limit =
                    if partner { settings.recipient_limit } else { settings.terms(&routed.transport, to.is_lmtp()).recipient_limit };
                let full = |job: &Job| job.members.len() >= limit;
                let key = (Line { transport: routed.transport, to }, named_by);
                let at = match open_jobs.get(&key) {
                    Some(&at) if !full(&jobs[at]) => at,
                    _ => {
                        jobs.push(Job { to: key.0.clone(), partner, named_by, members: Vec::new(), lost: 0 });
                        open_jobs.insert(key, jobs.len() - 1);
                        jobs.len() - 1
                    }
                };
                jobs[at].members.push(targets.len());
            }
        }
        targets.push(target);
    }
    Ok(Prepared { expanded, targets, jobs })
}

/// A notification that qmgr made: its id is derived, and it is never copied to anybody (`always_bcc`).
fn is_our_bounce(stored: &Stored) -> bool {
    stored.envelope.id.as_str().starts_with('Z')
}

/// What stands for a message when a table could not tell in all the time it was given: nobody gets it now, for this reason.
pub fn untold(stored: &Stored, known: Option<&MessageLedger>, why: &Unavailable) -> Prepared {
    let outcome = Outcome::Deferred(Failure::local((4, 3, 0), why.to_string()));
    undecided(stored, known.unwrap_or(&MessageLedger::default()), |_| outcome.clone())
}

fn all_deferred(stored: &Stored, known: &MessageLedger, wrong: Option<&Recipient>, outcome: &Outcome) -> Prepared {
    let because = match (outcome, wrong) {
        (Outcome::Deferred(failure), Some(r)) if stored.envelope.recipients.len() > 1 => {
            let reason = format!("waits for <{}>: {}", r.address, failure.reason);
            Outcome::Deferred(Failure { reason, ..failure.clone() })
        }
        _ => outcome.clone(),
    };
    undecided(stored, known, |recipient| if wrong == Some(recipient) { outcome.clone() } else { because.clone() })
}

/// The recipients that are left, as far as it is known who they are, without a way.
fn undecided(stored: &Stored, known: &MessageLedger, outcome: impl Fn(&Recipient) -> Outcome) -> Prepared {
    let recipients = known.expanded.as_ref().unwrap_or(&stored.envelope.recipients);
    let targets = recipients.iter().map(|recipient| Target {
        key: recipient_key(&recipient.address),
        recipient: recipient.clone(),
        result: Some(outcome(recipient)),
        relay: None,
        relayed: false,
        untold: true,
        passed_on: false,
        traced: false,
    });
    let done = |target: &Target| known.done.iter().any(|(key, _)| *key == target.key);
    Prepared { expanded: None, targets: targets.filter(|target| !done(target)).collect(), jobs: Vec::new() }
}
