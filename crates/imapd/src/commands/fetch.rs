//! FETCH and UID FETCH (RFC 3501 §6.4.5), with CHANGEDSINCE and VANISHED (RFC 7162 §3.1.4.1, §3.2.6); how answers are made is in
//! `crate::fetch`. Where one command is about more messages than it may be, the newest are answered for (RFC 9738).

use crate::answer::Answer;
use crate::fetch::Job;
use crate::resync;
use crate::selected::{Selected, limit};
use crate::session::{Outcome, SLICE, Session};
use crate::wire::OUT_BYTES;
use imap_proto::{FetchItem, FetchModifiers, SequenceSet};
use std::time::Instant;

/// What is asked for.
pub struct Request {
    pub set: SequenceSet,
    pub uid: bool,
    pub items: Vec<FetchItem>,
    pub modifiers: FetchModifiers,
    /// Numbers and UIDs that the client knows (RFC 7162 §3.2.5.2).
    pub samples: Option<(SequenceSet, SequenceSet)>,
    /// How many messages are answered for; 0: any number.
    pub most: u32,
}

pub async fn run(session: &mut Session, request: Request) -> Outcome {
    if request.modifiers.vanished && !session.aware.vanished {
        // RFC 7162 §3.2.6
        return Ok(Answer::bad("ENABLE QRESYNC comes first"));
    }
    let mut begun = Some(request);
    let mut job: Option<Job> = None;
    let mut limited = None;
    loop {
        let out = std::mem::take(&mut session.connection.wire.out);
        let (back, out, left, filled) = session
            .with_selected({
                let begun = begun.take();
                let taken = job.take();
                let limited = limited.take();
                move |selected| {
                    let mut out = out;
                    let (mut job, limited) = match (taken, begun) {
                        (Some(job), _) => (job, limited),
                        (None, Some(request)) => match begin(selected, request, &mut out) {
                            Ok(begun) => begun,
                            Err(answer) => return (None, out, None, Err(answer)),
                        },
                        (None, None) => return (None, out, limited, Ok(true)),
                    };
                    let filled = job.fill(selected, &mut out, OUT_BYTES, Instant::now() + SLICE);
                    (Some(job), out, limited, filled)
                }
            })
            .await;
        session.connection.wire.out = out;
        limited = left;
        match filled {
            Ok(false) => {
                session.connection.wire.relieve().await?;
                job = back;
            }
            Ok(true) => {
                let missing = back.as_ref().is_some_and(|job| job.missing);
                let unknown_encoding = back.as_ref().is_some_and(|job| job.unknown_encoding);
                let unreadable = back.as_ref().is_some_and(|job| job.unreadable);
                session.told = back.map(Job::into_told).unwrap_or_default();
                session.connection.wire.relieve().await?;
                return Ok(if missing {
                    Answer::no("EXPUNGEISSUED", "Some of the messages no longer exist")
                } else if unreadable {
                    Answer::no("UNAVAILABLE", "Some of the messages cannot be read, see the server's log")
                } else if unknown_encoding {
                    // RFC 3516 §4.3
                    Answer::no("UNKNOWN-CTE", "Some of the parts have a Content-Transfer-Encoding that is not known")
                } else if let Some(code) = limited {
                    Answer::ok_with(code, "Fetch completed for the newest of the messages")
                } else {
                    Answer::ok("Fetch completed")
                });
            }
            Err(answer) => return Ok(answer),
        }
    }
}

/// Finds the messages, and tells which are no more before any of those that are (RFC 7162 §3.2.6). Blocking.
fn begin(selected: &Selected, request: Request, out: &mut Vec<u8>) -> Result<(Job, Option<String>), Answer> {
    let Request { set, uid, items, modifiers, samples, most } = request;
    if items.contains(&FetchItem::ModSeq) {
        selected.needs_modseqs()?;
    }
    let mut targets = selected.resolve(&set, uid)?;
    if let Some(partial) = modifiers.partial {
        // RFC 9394 §3.3: these places first, and of them what was changed (§3.4).
        let range = partial.of(targets.len());
        targets.truncate(range.end);
        targets.drain(..range.start);
    }
    if let Some(since) = modifiers.changed_since {
        if modifiers.vanished {
            resync::write_vanished(selected, &set, since, samples.as_ref(), out)?;
        }
        targets.retain(|target| selected.view.message(target.number).is_some_and(|message| message.modseq() > since));
    }
    let limited = limit(&mut targets, most, |target| target.uid);
    Ok((Job::new(selected, targets, items, uid), limited))
}
