//! STORE and UID STORE (RFC 3501 §6.4.6).

use crate::answer::Answer;
use crate::selected::{Told, flag_set};
use crate::session::Session;
use imap_proto::{FlagChange, Store};
use mailstore::{Expunges, FlagMode, FlagSet, Flags, KeywordBits, Keywords, Message};

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
                return Ok((out, Told::new(), false));
            }
            let flags = flag_set(store.flags);
            let mailbox = selected.view.mailbox();
            let stored = mailbox.store_flags(&uids, mode, &flags, None)?;
            // What the client can work out by itself; what others changed it has to be told, also after .SILENT (RFC 3501 §6.4.6).
            let keywords = keyword_bits(&flags, mailbox.snapshot().keywords());
            let known =
                |uid: &u32| selected.view.snapshot().find(*uid).map(|(_, message)| (*uid, expected(message, mode, &flags, keywords)));
            let mut told: Told = stored.done.iter().filter_map(known).collect();
            // A message that went away may keep its number until EXPUNGE can be told (RFC 3501 §7.4.1).
            let expunges = if store.uid { Expunges::Report } else { Expunges::Hold };
            let changes = selected.sync(expunges)?;
            if !store.silent {
                let now = |uid: &u32| selected.view.snapshot().find(*uid).map(|(_, message)| (*uid, (message.flags(), message.keywords())));
                told = stored.done.iter().filter_map(now).collect();
            }
            selected.write_changes(&mut out, &changes, &mut told, store.uid);
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

/// The flags of a message as the client knew it, after its own change.
fn expected(message: &Message, mode: FlagMode, change: &FlagSet, bits: KeywordBits) -> (Flags, KeywordBits) {
    let (flags, keywords) = (message.flags(), message.keywords());
    match mode {
        FlagMode::Replace => (change.flags, bits),
        FlagMode::Add => (flags | change.flags, KeywordBits(keywords.0 | bits.0)),
        FlagMode::Remove => (flags.without(change.flags), KeywordBits(keywords.0 & !bits.0)),
    }
}

fn keyword_bits(change: &FlagSet, keywords: &Keywords) -> KeywordBits {
    KeywordBits(change.keywords.iter().filter_map(|name| keywords.index(name)).fold(0, |bits, index| bits | 1 << index))
}
