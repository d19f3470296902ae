//! SORT and THREAD (RFC 5256), ESORT (RFC 5267 §3).

use crate::answer::Answer;
use crate::commands::search::{
    Correlator, Facts, INCOMPLETE, find, follow, highest_modseq, keep, relevancy, taken, write_esearch, write_modseq,
};
use crate::context::Context;
use crate::order::{self, Gathering, Weight};
use crate::search::Scores;
use crate::selected::{Selected, Target};
use crate::session::{SLICE, Session};
use imap_proto::{Search, Sort, ThreadAlgorithm, encode};
use mailstore::Message;
use message::thread::{Forest, Item, ordered_subject, references, refs};
use std::sync::Arc;
use std::time::Instant;

pub async fn sort(session: &mut Session, tag: &str, request: Sort) -> Answer {
    let Sort { search, order } = request;
    let (uid, returns) = (search.uid, search.returns);
    if let Some(answer) = taken(session, tag, returns) {
        return answer;
    }
    let update = returns.is_some_and(|returns| returns.update).then(|| (search.key.clone(), search.charset.clone(), search.fetch.clone()));
    let with_modseq = search.key.has_modseq();
    let order = Arc::new(order);
    let by = order.clone();
    let read = move |selected: &Selected, message: &Message, scores: &Scores| order::keys(selected, message, &by, scores);
    let (gathered, incomplete, scores) = match search_and_gather(session, search, read).await {
        Ok(gathered) => gathered,
        Err(answer) => return answer,
    };
    let by = order.clone();
    let (keys, sorted): (Vec<_>, Vec<Target>) = session
        .with_account(move |_| {
            let mut all: Vec<_> = gathered.facts.into_iter().zip(gathered.targets).collect();
            all.sort_by(|(a, _), (b, _)| order::compare(&by, a, b));
            all.into_iter().unzip()
        })
        .await;
    keep(session, returns, if incomplete { &[] } else { &sorted });
    let modseq = if with_modseq { highest_modseq(session.selected.as_ref(), returns, &sorted) } else { None };
    let relevancy = relevancy(returns, &sorted, &scores);
    let numbers: Vec<u32> = sorted.iter().map(|target| if uid { target.uid } else { target.number }).collect();
    let out = &mut session.connection.wire.out;
    match returns {
        Some(returns) if !returns.tells() => {}
        Some(returns) => write_esearch(out, Correlator::of(tag), uid, returns, &numbers, Facts { relevancy, modseq }),
        None => {
            out.extend_from_slice(b"* SORT");
            for number in &numbers {
                out.push(b' ');
                encode::number(out, u64::from(*number));
            }
            write_modseq(out, modseq);
            out.extend_from_slice(b"\r\n");
        }
    }
    if let Some((key, charset, fetch)) = update.filter(|_| !incomplete) {
        let correlator = Correlator::of(tag).written(uid);
        follow(session, Context::new(tag, correlator, uid, key, charset, &sorted).sorted(order, keys).telling(fetch));
    }
    end(incomplete, "Sort completed")
}

pub async fn thread(session: &mut Session, search: Search, algorithm: ThreadAlgorithm) -> Answer {
    let uid = search.uid;
    let item = |selected: &Selected, message: &Message, _: &Scores| order::item(selected, message);
    let (gathered, incomplete, _) = match search_and_gather(session, search, item).await {
        Ok(gathered) => gathered,
        Err(answer) => return answer,
    };
    let Gathering { targets, facts, .. } = gathered;
    let written = session
        .with_account(move |_| {
            let forest: fn(&[Item]) -> Forest = match algorithm {
                ThreadAlgorithm::OrderedSubject => ordered_subject,
                ThreadAlgorithm::References => references,
                ThreadAlgorithm::Refs => refs,
            };
            let forest = forest(&facts);
            let mut out = b"* THREAD".to_vec();
            if !forest.roots.is_empty() {
                out.push(b' ');
            }
            forest.write(&mut out, |item| if uid { targets[item].uid } else { targets[item].number });
            out.extend_from_slice(b"\r\n");
            out
        })
        .await;
    session.connection.wire.out.extend_from_slice(&written);
    end(incomplete, "Thread completed")
}

fn end(incomplete: bool, text: &'static str) -> Answer {
    // What stands in the answer is true; but a client must not take the others for messages that do not match.
    if incomplete { Answer::no("UNAVAILABLE", INCOMPLETE) } else { Answer::ok(text) }
}

/// Searches, and reads what is wanted of each message found, in slices of time.
async fn search_and_gather<T: Weight + Send + 'static>(
    session: &mut Session,
    search: Search,
    read: impl Fn(&Selected, &Message, &Scores) -> mailstore::Result<T> + Clone + Send + 'static,
) -> Result<(Gathering<T>, bool, Arc<Scores>), Answer> {
    let returns = search.returns;
    let found = find(session, search).await.inspect_err(|answer| {
        tracing::debug!(?answer, ?returns, "nothing to sort");
    });
    let mut found = match found {
        Ok(found) => found,
        Err(answer) => {
            keep(session, returns.filter(|_| answer.status == imap_proto::Status::No), &[]);
            return Err(answer);
        }
    };
    let incomplete = found.incomplete;
    let scores = Arc::new(found.take_scores());
    let known = scores.clone();
    match gather(session, found.into_found(), move |selected, message| read(selected, message, &known)).await {
        Ok((gathered, more)) => Ok((gathered, incomplete || more, scores)),
        Err(answer) => {
            if answer.status == imap_proto::Status::No {
                keep(session, returns, &[]);
            }
            Err(answer)
        }
    }
}

/// Reads what is wanted of each of these messages, in slices of time; true when some could not be read for now.
pub async fn gather<T: Weight + Send + 'static>(
    session: &mut Session,
    found: Vec<Target>,
    read: impl Fn(&Selected, &Message) -> mailstore::Result<T> + Clone + Send + 'static,
) -> Result<(Gathering<T>, bool), Answer> {
    let mut gathering = Gathering::new(found);
    loop {
        let read = read.clone();
        let done;
        (gathering, done) = session
            .with_selected_patiently(move |selected| {
                let done = gathering.go_on(selected, Instant::now() + SLICE, read);
                (gathering, done)
            })
            .await;
        if gathering.is_too_much() {
            return Err(Answer::no("LIMIT", "Too many messages to be put into order at once"));
        }
        if done {
            let incomplete = gathering.incomplete;
            return Ok((gathering, incomplete));
        }
        session.may_go_on()?;
    }
}
