//! STORE and UID STORE (RFC 3501 §6.4.6), also on condition (RFC 7162 §3.1.3).

use crate::answer::Answer;
use crate::place::{forbidden, permitted};
use crate::selected::{SYSTEM, Target, Told, flag_set, limit};
use crate::session::Session;
use imap_proto::sequence::write_set;
use imap_proto::{FlagChange, Status, Store, encode};
use mailstore::{Expunges, FlagMode, FlagSet, Flags, KeywordBits, Keywords, Mailbox, Message, Rights, Stored};
use std::collections::HashSet;

pub async fn run(session: &mut Session, store: Store) -> Answer {
    let mode = match store.change {
        FlagChange::Replace => FlagMode::Replace,
        FlagChange::Add => FlagMode::Add,
        FlagChange::Remove => FlagMode::Remove,
    };
    let most = session.connection.config.imapd.imap_message_limit;
    let stored = session
        .with_selected_patiently(move |selected| {
            if selected.read_only {
                return Err(Answer::no("READ-ONLY", "Mailbox is read-only"));
            }
            if store.unchanged_since.is_some() {
                selected.needs_modseqs()?;
            }
            let mut targets = selected.resolve(&store.set, store.uid)?;
            let limited = limit(&mut targets, most, |target| target.uid);
            let uids: Vec<u32> = targets.iter().map(|target| target.uid).collect();
            let mut out = Vec::new();
            if uids.is_empty() {
                return Ok((out, Told::new(), false, String::new(), None));
            }
            let mailbox = selected.view.mailbox();
            let change = permit(selected.rights, mailbox, mode, flag_set(store.flags))?;
            let stored = change.store(mailbox, &uids, store.unchanged_since)?;
            let Permitted { mode, flags, .. } = change;
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
            for uid in &stored.done {
                let Some((index, message)) = selected.view.snapshot().find(*uid) else { continue };
                if !store.silent {
                    selected.write_fetch_flags(&mut out, index as u32 + 1, message, store.uid);
                } else if selected.aware.modseqs {
                    // RFC 7162 §3.1.3: the MODSEQ is told after .SILENT too
                    selected.write_fetch_modseq(&mut out, index as u32 + 1, message);
                }
            }
            for uid in &stored.modified {
                // RFC 7162 §3.1.3: recommended, so that the client need not ask why
                if let Some((index, message)) = selected.view.snapshot().find(*uid).filter(|_| !told.contains_key(uid)) {
                    selected.write_fetch_flags(&mut out, index as u32 + 1, message, store.uid);
                    told.insert(*uid, (message.flags(), message.keywords()));
                }
            }
            let modified = modified(&stored.modified, &targets, store.uid);
            Ok((out, told, !stored.expunged.is_empty(), modified, limited))
        })
        .await;
    match stored {
        Ok((out, told, missing, modified, limited)) => {
            session.connection.wire.out.extend_from_slice(&out);
            session.told = told;
            if let (Some(code), false) = (&limited, modified.is_empty() && !missing) {
                // the tagged answer has a code already
                encode::status(&mut session.connection.wire.out, "*", Status::No, code, "Only the newest of the messages were changed");
            }
            match (missing, modified.is_empty()) {
                (false, true) => match limited {
                    Some(code) => Answer::ok_with(code, "Store completed for the newest of the messages"),
                    None => Answer::ok("Store completed"),
                },
                (false, false) => Answer::ok_with(modified, "Some of the messages were changed by others"),
                (true, true) => Answer::no("EXPUNGEISSUED", "Some of the messages no longer exist"),
                (true, false) => Answer::no(modified, "Some of the messages no longer exist, others were changed"),
            }
        }
        Err(answer) => answer,
    }
}

/// A change as the rights allow it.
struct Permitted {
    /// Taken away before.
    gone: Option<FlagSet>,
    mode: FlagMode,
    flags: FlagSet,
}

impl Permitted {
    fn store(&self, mailbox: &Mailbox, uids: &[u32], unchanged_since: Option<u64>) -> mailstore::Result<Stored> {
        let Some(gone) = &self.gone else { return mailbox.store_flags(uids, self.mode, &self.flags, unchanged_since) };
        let first = mailbox.store_flags(uids, FlagMode::Remove, gone, unchanged_since)?;
        let second = mailbox.store_flags(&first.done, self.mode, &self.flags, None)?;
        let expunged = [first.expunged, second.expunged].concat();
        Ok(Stored { done: second.done, modified: first.modified, expunged })
    }
}

/// What of a change the rights allow (RFC 4314 §4); `NOPERM` when that is nothing. Flags that may not be touched stay, so that replacing becomes taking
/// away and adding.
fn permit(rights: Rights, mailbox: &Mailbox, mode: FlagMode, flags: FlagSet) -> Result<Permitted, Answer> {
    let forbidden = forbidden(rights);
    let may_write = rights.contains(Rights::WRITE);
    if forbidden == Flags::NONE {
        return Ok(Permitted { gone: None, mode, flags });
    }
    let wanted = flags.clone();
    let allowed = permitted(rights, flags);
    if mode != FlagMode::Replace {
        let nothing = allowed == FlagSet::default() && wanted != allowed;
        return if nothing { Err(Answer::no("NOPERM", "Permission denied")) } else { Ok(Permitted { gone: None, mode, flags: allowed }) };
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
    Ok(Permitted { gone: Some(gone), mode: FlagMode::Add, flags: allowed })
}

/// RFC 7162 §7: `"MODIFIED" SP sequence-set`, with the numbers that the client used; empty when there are none.
fn modified(uids: &[u32], targets: &[Target], uid: bool) -> String {
    if uids.is_empty() {
        return String::new();
    }
    let failed: HashSet<u32> = uids.iter().copied().collect();
    let failed = targets.iter().filter(|target| failed.contains(&target.uid));
    let mut code = b"MODIFIED ".to_vec();
    write_set(&mut code, failed.map(|target| if uid { target.uid } else { target.number }));
    String::from_utf8_lossy(&code).into_owned()
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
