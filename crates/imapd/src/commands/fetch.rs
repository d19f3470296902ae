//! FETCH and UID FETCH (RFC 3501 §6.4.5); how answers are made is in `crate::fetch`.

use crate::answer::Answer;
use crate::fetch::Job;
use crate::session::{Outcome, SLICE, Session};
use crate::wire::OUT_BYTES;
use imap_proto::{FetchItem, FetchModifiers, SequenceSet};
use std::time::Instant;

pub async fn run(session: &mut Session, set: SequenceSet, uid: bool, items: Vec<FetchItem>, modifiers: FetchModifiers) -> Outcome {
    let mut begun = Some((set, items));
    let mut job: Option<Job> = None;
    loop {
        let out = std::mem::take(&mut session.connection.wire.out);
        let (back, out, filled) = session
            .with_selected({
                let begun = begun.take();
                let taken = job.take();
                move |selected| {
                    let mut out = out;
                    let mut job = match (taken, begun) {
                        (Some(job), _) => job,
                        (None, Some((set, items))) => match selected.resolve(&set, uid) {
                            Ok(mut targets) => {
                                if let Some(partial) = modifiers.partial {
                                    // RFC 9394 §3.3
                                    let range = partial.of(targets.len());
                                    targets.truncate(range.end);
                                    targets.drain(..range.start);
                                }
                                Job::new(selected, targets, items, uid)
                            }
                            Err(answer) => return (None, out, Err(answer)),
                        },
                        (None, None) => return (None, out, Ok(true)),
                    };
                    let filled = job.fill(selected, &mut out, OUT_BYTES, Instant::now() + SLICE);
                    (Some(job), out, filled)
                }
            })
            .await;
        session.connection.wire.out = out;
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
                } else {
                    Answer::ok("Fetch completed")
                });
            }
            Err(answer) => return Ok(answer),
        }
    }
}
