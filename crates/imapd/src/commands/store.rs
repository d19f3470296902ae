//! STORE and UID STORE (RFC 3501 §6.4.6).

use crate::answer::Answer;
use crate::place::{forbidden, permitted};
use crate::selected::{SYSTEM, Told, flag_set};
use crate::session::Session;
use imap_proto::{FlagChange, Store};
use mailstore::{Expunges, FlagMode, FlagSet, Flags, KeywordBits, Keywords, Mailbox, Message, Rights};

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
            let mailbox = selected.view.mailbox();
            let (mode, flags) = permit(selected.rights, mailbox, &uids, mode, flag_set(store.flags))?;
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

/// What of a change the rights allow (RFC 4314 §4); `NOPERM` when that is nothing. Flags that may not be touched stay, so that replacing becomes taking
/// away and adding.
fn permit(rights: Rights, mailbox: &Mailbox, uids: &[u32], mode: FlagMode, flags: FlagSet) -> Result<(FlagMode, FlagSet), Answer> {
    let forbidden = forbidden(rights);
    let may_write = rights.contains(Rights::WRITE);
    if forbidden == Flags::NONE {
        return Ok((mode, flags));
    }
    let wanted = flags.clone();
    let allowed = permitted(rights, flags);
    if mode != FlagMode::Replace {
        let nothing = allowed == FlagSet::default() && wanted != allowed;
        return if nothing { Err(Answer::no("NOPERM", "Permission denied")) } else { Ok((mode, allowed)) };
    }
    let every = SYSTEM.into_iter().fold(Flags::NONE, |all, (flag, _)| all | flag);
    if every.without(forbidden) == Flags::NONE {
        return Err(Answer::no("NOPERM", "Permission denied"));
    }
    let mut gone = FlagSet::new(every.without(forbidden).without(allowed.flags));
    if may_write {
        let is_kept = |name: &&str| allowed.keywords.iter().any(|kept| kept == name);
        gone.keywords = mailbox.snapshot().keywords().iter().filter(|name| !is_kept(name)).map(str::to_owned).collect();
    }
    mailbox.store_flags(uids, FlagMode::Remove, &gone, None)?;
    Ok((FlagMode::Add, allowed))
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
