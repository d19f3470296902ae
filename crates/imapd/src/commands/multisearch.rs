//! ESEARCH (RFC 7377): one search in several mailboxes, without selecting them.

use crate::answer::Answer;
use crate::commands::search::{Correlator, Facts, INCOMPLETE, find, follow, highest_modseq, keep, relevancy, taken, write_esearch};
use crate::context::Context;
use crate::filter::Known;
use crate::search::{self, Scores};
use crate::selected::{Selected, Target};
use crate::session::{Outcome, SLICE, Session};
use imap_proto::{MailboxFilter, Search, encode};
use mailstore::{Access, MailboxName};
use std::sync::Arc;
use std::time::Instant;

/// Mailboxes one command may search (RFC 7377 §2.4).
const MOST_MAILBOXES: usize = 10_000;

pub async fn run(session: &mut Session, tag: &str, sources: Vec<MailboxFilter>, search: Search) -> Outcome {
    // RFC 7377 §2.2: without sources, the selected mailbox.
    let with_selected = sources.is_empty() || sources.contains(&MailboxFilter::Selected);
    let update = search.returns.is_some_and(|returns| returns.update);
    if session.selected.is_none() && (with_selected || update) {
        return Ok(Answer::bad("No mailbox selected"));
    }
    if let Some(answer) = taken(session, tag, search.returns) {
        return Ok(answer);
    }
    let mut incomplete = false;
    let realm = session.realm.clone();
    let mut others = match session.with_account(move |_| Known::of(&realm).map(|known| known.matching(&sources))).await {
        Ok(others) => others,
        Err(error) => return Ok(error.into()),
    };
    if others.len() > MOST_MAILBOXES {
        return Ok(Answer::no("LIMIT", format!("More than {MOST_MAILBOXES} mailboxes to search")));
    }
    if with_selected {
        others.retain(|name| session.selected.as_ref().is_none_or(|selected| selected.name != *name));
        match in_selected(session, tag, &search).await {
            Ok(missed) => incomplete |= missed,
            Err(answer) => return Ok(answer),
        }
        session.connection.wire.relieve().await?;
    } else if update {
        // RFC 7377 §2.2: updates are of the selected mailbox, which is not searched.
        let code = format!("NOUPDATE \"{tag}\"");
        encode::status(&mut session.connection.wire.out, "*", imap_proto::Status::No, &code, "The selected mailbox is not searched");
    }
    let search = Arc::new(search);
    for name in others {
        match in_other(session, tag, &search, name).await {
            Ok(missed) => incomplete |= missed,
            Err(answer) => return Ok(answer),
        }
        session.connection.wire.relieve().await?;
    }
    Ok(if incomplete { Answer::no("UNAVAILABLE", INCOMPLETE) } else { Answer::ok("Search completed") })
}

/// Searches the selected mailbox; true when some messages could not be read.
async fn in_selected(session: &mut Session, tag: &str, search: &Search) -> Result<bool, Answer> {
    let mut found = match find(session, search.clone()).await {
        Ok(found) => found,
        Err(answer) => {
            // RFC 5182 §2.1: NO empties what is kept.
            if answer.status == imap_proto::Status::No {
                keep(session, search.returns, &[]);
            }
            return Err(answer);
        }
    };
    let incomplete = found.incomplete;
    let scores = found.take_scores();
    let found = found.into_found();
    keep(session, search.returns, if incomplete { &[] } else { &found });
    let Some(selected) = &session.selected else { return Ok(incomplete) };
    let (name, uid_validity) = (selected.name.clone(), selected.view.snapshot().uid_validity());
    let correlator = Correlator { tag, mailbox: Some((&name, uid_validity, session.enabled)) };
    tell(&mut session.connection.wire.out, selected, correlator, search, &found, &scores);
    if search.returns.is_some_and(|returns| returns.update) && !incomplete {
        let (key, charset) = (search.key.clone(), search.charset.clone());
        follow(session, Context::new(tag, correlator.written(true), true, key, charset, &found).telling(search.fetch.clone()));
    }
    Ok(incomplete)
}

/// Searches a mailbox that is not selected. One that went away meanwhile has nothing to find.
async fn in_other(session: &mut Session, tag: &str, search: &Arc<Search>, name: MailboxName) -> Result<bool, Answer> {
    session.may_go_on()?;
    let (begun, spot, aware) = (search.clone(), session.realm.locate(name.as_str())?, session.aware);
    let opened = session
        .with_account(move |_| {
            let view = spot.account.open(&spot.name)?.view(Access::ReadOnly)?;
            let other = Selected::glance(spot.shown, view, true, aware);
            let search = search::Search::new(&other, &begun.key, begun.charset.as_deref());
            Ok::<_, mailstore::Error>((other, search))
        })
        .await;
    let (mut other, mut work) = match opened {
        Ok((other, search)) => (other, search?),
        Err(mailstore::Error::NoSuchMailbox) => return Ok(false),
        Err(error) => {
            tracing::warn!(mailbox = %name, %error, "mailbox cannot be searched");
            return Ok(true);
        }
    };
    loop {
        let done;
        (other, work, done) = session
            .blocking(move || {
                let hold = other.view.mailbox().hold();
                let done = work.go_on(&other, Instant::now() + SLICE);
                drop(hold);
                (other, work, done)
            })
            .await;
        match done {
            Ok(true) => break,
            Ok(false) => {
                session.may_go_on()?;
                let _ = session.tell_progress().await;
            }
            // Deleted while it was searched.
            Err(_) if other.view.mailbox().is_deleted() => return Ok(false),
            Err(answer) => return Err(answer),
        }
    }
    let incomplete = work.incomplete;
    let correlator = Correlator { tag, mailbox: Some((&name, other.view.snapshot().uid_validity(), session.enabled)) };
    let scores = work.take_scores();
    tell(&mut session.connection.wire.out, &other, correlator, search, &work.into_found(), &scores);
    Ok(incomplete)
}

/// RFC 7377 §2.1: one response for each mailbox in which something was found, none for others.
fn tell(out: &mut Vec<u8>, selected: &Selected, correlator: Correlator<'_>, search: &Search, found: &[Target], scores: &Scores) {
    if let Some(returns) = search.returns.filter(|returns| returns.tells() && !found.is_empty()) {
        let uids: Vec<u32> = found.iter().map(|target| target.uid).collect();
        let modseq = if search.key.has_modseq() { highest_modseq(Some(selected), Some(returns), found) } else { None };
        let relevancy = relevancy(Some(returns), found, scores);
        write_esearch(out, correlator, true, returns, &uids, Facts { relevancy, modseq });
    }
}
