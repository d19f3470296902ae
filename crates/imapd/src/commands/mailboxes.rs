//! CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE (RFC 3501 §6.3.3 to §6.3.7).

use crate::answer::Answer;
use crate::place::{Realm, Spot, judge};
use crate::session::Session;
use imap_proto::{Mailbox, SpecialUse};
use mailstore::{MailboxName, Rights, SEPARATOR};

pub async fn create(session: &mut Session, mailbox: &Mailbox, special_use: Option<SpecialUse>) -> Answer {
    if special_use.is_some() {
        // RFC 6154 §3: uses are given by setting here.
        return Answer::no("USEATTR", "Special uses are set by the administrator");
    }
    // RFC 3501 §6.3.3: a separator at the end announces mailboxes below, and is not part of the name.
    let text = mailbox.0.strip_suffix(SEPARATOR).unwrap_or(&mailbox.0);
    let spot = match session.realm.locate(text) {
        Ok(spot) if spot.shown.is_inbox() => return Answer::no("ALREADYEXISTS", "INBOX exists already"),
        Ok(spot) => spot,
        Err(answer) => return answer,
    };
    let realm = session.realm.clone();
    let shown = spot.shown.clone();
    let created = session
        .blocking(move || {
            realm.may_create(&spot)?;
            spot.account.create(&spot.name)?;
            // from here on the mailbox is there
            let failed = |error: &mailstore::Error| tracing::error!(mailbox = %spot.name, %error, "a new mailbox lacks something");
            let _ = spot.account.inherit_rights(&spot.name).inspect_err(failed);
            Ok::<_, Answer>(spot.account.mailbox_id(&spot.name).inspect_err(failed).ok())
        })
        .await;
    if created.is_ok() {
        session.did(&[shown]);
    }
    match created {
        // RFC 8474 §4.1
        Ok(Some(id)) => Answer::ok_with(format!("MAILBOXID ({id})"), "Create completed"),
        Ok(None) => Answer::ok("Create completed"),
        Err(answer) => answer,
    }
}

pub async fn delete(session: &mut Session, mailbox: &Mailbox) -> Answer {
    let spot = match session.locate(mailbox) {
        Ok(spot) if spot.shown.is_inbox() => return Answer::no("CANNOT", "INBOX cannot be deleted"),
        Ok(_) => match session.place(mailbox, Rights::DELETE).await {
            Ok(place) => place.spot,
            Err(answer) => return answer,
        },
        Err(answer) => return answer,
    };
    let gone = spot.shown.clone();
    match session.with_account(move |_| spot.account.delete(&spot.name)).await {
        Ok(()) => {
            leave(session, |selected| *selected == gone);
            session.did(&[gone]);
            Answer::ok("Delete completed")
        }
        Err(error) => error.into(),
    }
}

pub async fn rename(session: &mut Session, from: &Mailbox, to: &Mailbox) -> Answer {
    let to_text = to.0.strip_suffix(SEPARATOR).unwrap_or(&to.0);
    let (from, to) = match (session.locate(from), session.realm.locate(to_text)) {
        (Ok(from), Ok(to)) => (from, to),
        (Err(answer), _) | (_, Err(answer)) => return answer,
    };
    if to.shown.is_inbox() {
        return Answer::no("ALREADYEXISTS", "INBOX exists already");
    }
    if !std::sync::Arc::ptr_eq(&from.account, &to.account) {
        return Answer::no("CANNOT", "A mailbox cannot be renamed to belong to somebody else");
    }
    let (gone, came, is_inbox) = (from.shown.clone(), to.shown.clone(), from.name.is_inbox());
    let realm = session.realm.clone();
    let renamed = session
        .blocking(move || {
            rename_allowed(&realm, &from, &to)?;
            hides_nothing(&realm, &from, &to)?;
            Ok::<_, Answer>(from.account.rename(&from.name, &to.name)?)
        })
        .await;
    match renamed {
        Ok(()) => {
            // Renaming INBOX only moves its messages; any other mailbox, and those below, are elsewhere afterwards.
            leave(session, |selected| !is_inbox && (*selected == gone || selected.is_below(&gone)));
            session.did(&[gone, came]);
            Answer::ok("Rename completed")
        }
        Err(answer) => answer,
    }
}

/// RFC 4314 §4: `x` on the mailbox, `k` on the new parent; a mailbox below goes along, whatever the rights on it. From INBOX, which stays, messages move: as for MOVE.
fn rename_allowed(realm: &Realm, from: &Spot, to: &Spot) -> Result<(), Answer> {
    let needs = if from.name.is_inbox() { Rights::READ | Rights::MARK | Rights::EXPUNGE } else { Rights::DELETE };
    match realm.rights(from) {
        // A level without a mailbox of its own has nothing to ask; `Account::rename` knows whether there is something below.
        Err(mailstore::Error::NoSuchMailbox) if from.own => {}
        rights => judge(rights?, needs)?,
    }
    realm.may_create(to)
}

/// A mailbox below must not get a name that is one of nobody's or somebody else's: nobody would find it any more.
fn hides_nothing(realm: &Realm, from: &Spot, to: &Spot) -> Result<(), Answer> {
    for prefix in realm.prefixes().filter(|prefix| from.own && prefix.is_below(&to.shown)) {
        let rest = &prefix.as_str()[to.shown.as_str().len()..];
        let Ok(before) = MailboxName::parse(&format!("{}{rest}", from.name)) else { continue };
        if realm.account.list()?.iter().any(|listed| listed.name == before || listed.name.is_below(&before)) {
            return Err(Answer::no("CANNOT", "A mailbox below would have a name that is not for one's own"));
        }
    }
    Ok(())
}

/// Closes the open mailbox when it went by this session's own wish, as Dovecot does. After a NO it stays open.
fn leave(session: &mut Session, goes: impl Fn(&MailboxName) -> bool) {
    if session.selected.as_ref().is_some_and(|selected| goes(&selected.name)) {
        session.leave();
    }
}

pub async fn subscribe(session: &mut Session, mailbox: &Mailbox, on: bool) -> Answer {
    let text = mailbox.0.strip_suffix(SEPARATOR).unwrap_or(&mailbox.0);
    if on {
        // RFC 3501 §6.3.6 allows the check, and RFC 4314 §4 then wants `l`; a name that never existed in the list helps nobody.
        if let Err(answer) = session.place(&Mailbox(text.to_owned()), Rights::LOOKUP).await {
            return answer;
        }
    }
    let name = match MailboxName::parse(text) {
        Ok(name) => name,
        Err(error) => return error.into(),
    };
    let shown = name.clone();
    let changed = session.with_account(move |account| if on { account.subscribe(&name) } else { account.unsubscribe(&name) }).await;
    if changed.is_ok() {
        session.did(&[shown]);
    }
    match changed {
        Ok(()) => Answer::ok(if on { "Subscribe completed" } else { "Unsubscribe completed" }),
        Err(error) => error.into(),
    }
}
