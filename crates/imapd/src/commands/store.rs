//! STORE and UID STORE (RFC 3501 §6.4.6).

use crate::answer::Answer;
use crate::selected::flag_set;
use crate::session::Session;
use imap_proto::{FlagChange, Store};
use mailstore::{Expunges, FlagMode};
use std::collections::HashSet;

pub async fn run(session: &mut Session, store: Store) -> Answer {
    let mode = match store.change {
        FlagChange::Replace => FlagMode::Replace,
        FlagChange::Add => FlagMode::Add,
        FlagChange::Remove => FlagMode::Remove,
    };
    let stored = session
        .with_selected(move |selected| {
            if selected.read_only {
                return Err(Answer::no("READ-ONLY", "Mailbox is read-only"));
            }
            let targets = selected.resolve(&store.set, store.uid)?;
            let uids: Vec<u32> = targets.iter().map(|target| target.uid).collect();
            let mut out = Vec::new();
            if uids.is_empty() {
                return Ok((out, HashSet::new(), false));
            }
            let stored = selected.view.mailbox().store_flags(&uids, mode, &flag_set(store.flags), None)?;
            let told: HashSet<u32> = stored.done.iter().copied().collect();
            // A message that went away may keep its number until EXPUNGE can be told (RFC 3501 §7.4.1).
            let expunges = if store.uid { Expunges::Report } else { Expunges::Hold };
            let changes = selected.sync(expunges)?;
            selected.write_changes(&mut out, &changes, &told, store.uid);
            if !store.silent {
                for uid in &stored.done {
                    if let Some((index, message)) = selected.view.snapshot().find(*uid) {
                        selected.write_fetch_flags(&mut out, index as u32 + 1, message, store.uid);
                    }
                }
            }
            Ok((out, told, !stored.expunged.is_empty()))
        })
        .await;
    match stored {
        Ok((out, told, missing)) => {
            session.connection.wire.out.extend_from_slice(&out);
            session.told = told;
            if missing { Answer::no("EXPUNGEISSUED", "Some of the messages no longer exist") } else { Answer::ok("Store completed") }
        }
        Err(answer) => answer,
    }
}
