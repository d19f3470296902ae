//! NOTIFY (RFC 5465 §3.1): what the client wants to hear of from now on.

use crate::answer::Answer;
use crate::commands::noop;
use crate::notify::{self, Notify, Trouble, Wishes, weight};
use crate::session::{Outcome, Session};
use imap_proto::notify::{EVENT_NAMES, NotifySet};
use mailstore::Expunges;

/// What the FETCH items of one command may take: they are kept.
const LONGEST_FETCH: usize = 64 << 10;

pub async fn run(session: &mut Session, set: Option<NotifySet>) -> Outcome {
    let set = set.unwrap_or_default();
    if set.groups.iter().any(|group| group.events.unsupported) {
        return Ok(Answer::no(format!("BADEVENT ({})", EVENT_NAMES.join(" ")), "Some of the events are not known here"));
    }
    let most = session.connection.config.imapd.imap_notify_max_mailboxes as usize;
    let (names, fetch) = weight(&set);
    if names > most || fetch > LONGEST_FETCH {
        return Ok(too_much());
    }
    if most == 0 {
        return Ok(Answer::no("CANNOT", "NOTIFY is not in use here (imap_notify_max_mailboxes)"));
    }
    let tell = set.status;
    let begun = begin(session, Wishes::new(Some(set), session.enabled.annotations(&session.realm))).await;
    let (mut notify, out) = match begun {
        Ok(begun) => begun,
        Err(answer) => return Ok(answer),
    };
    session.connection.wire.out.extend_from_slice(&out);
    notify::first_counts(session, &mut notify, tell).await?;
    // RFC 5465 §3.1: as NOOP, also for who does not want to hear of anything there later
    let wants = notify.wants();
    if wants.messages {
        session.set_notify(Some(notify));
        let _ = noop::run(session, "").await;
        session.report(Expunges::Report, true).await?;
    } else {
        session.set_notify(None);
        let _ = noop::run(session, "").await;
        session.report(Expunges::Report, true).await?;
        session.set_notify(Some(notify));
    }
    Ok(Answer::ok("Notify completed"))
}

/// ENABLE METADATA and METADATA-SERVER (RFC 5464 §4.4): changes by others are told with the answers to commands.
pub async fn follow_annotations(session: &mut Session) {
    // RFC 5465 §5.6: who uses NOTIFY says there what it wants to hear of
    if session.notify.as_ref().is_some_and(|notify| notify.is_immediate()) {
        return;
    }
    let wishes = Wishes::new(None, session.enabled.annotations(&session.realm));
    match begin(session, wishes).await {
        Ok((notify, _)) => session.set_notify(Some(notify)),
        Err(answer) => tracing::warn!(reason = %answer.text, "changes of annotations are not told"),
    }
}

async fn begin(session: &Session, wishes: Wishes) -> Result<(Box<Notify>, Vec<u8>), Answer> {
    let (realm, config, enabled) = (session.realm.clone(), session.connection.config.clone(), session.enabled);
    match session.blocking(move || Notify::begin(&realm, &config, enabled, wishes)).await {
        Ok((notify, out)) => Ok((Box::new(notify), out)),
        Err(Trouble::TooMuch) => Err(too_much()),
        Err(Trouble::Store(error)) => Err(error.into()),
    }
}

fn too_much() -> Answer {
    Answer::no("NOTIFICATIONOVERFLOW", "That is more than one session can be told of")
}
