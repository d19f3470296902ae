//! CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE (RFC 3501 §6.3.3 to §6.3.7).

use crate::answer::Answer;
use crate::session::Session;
use imap_proto::{Mailbox, SpecialUse};
use mailstore::{MailboxName, SEPARATOR};

pub async fn create(session: &mut Session, mailbox: &Mailbox, special_use: Option<SpecialUse>) -> Answer {
    if special_use.is_some() {
        // RFC 6154 §3: uses are given by setting here.
        return Answer::no("USEATTR", "Special uses are set by the administrator");
    }
    // RFC 3501 §6.3.3: a separator at the end announces mailboxes below, and is not part of the name.
    let text = mailbox.0.strip_suffix(SEPARATOR).unwrap_or(&mailbox.0);
    let name = match MailboxName::parse(text) {
        Ok(name) if name.is_inbox() => return Answer::no("ALREADYEXISTS", "INBOX exists already"),
        Ok(name) => name,
        Err(error) => return error.into(),
    };
    let created = session.with_account(move |account| {
        account.create(&name)?;
        account.mailbox_id(&name)
    });
    match created.await {
        // RFC 8474 §4.1
        Ok(id) => Answer::ok_with(format!("MAILBOXID ({id})"), "Create completed"),
        Err(error) => error.into(),
    }
}

pub async fn delete(session: &mut Session, mailbox: &Mailbox) -> Answer {
    let name = match MailboxName::parse(&mailbox.0) {
        Ok(name) if name.is_inbox() => return Answer::no("CANNOT", "INBOX cannot be deleted"),
        Ok(name) => name,
        Err(error) => return error.into(),
    };
    let gone = name.clone();
    match session.with_account(move |account| account.delete(&name)).await {
        Ok(()) => {
            leave(session, |selected| *selected == gone);
            Answer::ok("Delete completed")
        }
        Err(error) => error.into(),
    }
}

pub async fn rename(session: &mut Session, from: &Mailbox, to: &Mailbox) -> Answer {
    let to_text = to.0.strip_suffix(SEPARATOR).unwrap_or(&to.0);
    let (from, to) = match (MailboxName::parse(&from.0), MailboxName::parse(to_text)) {
        (Ok(from), Ok(to)) => (from, to),
        (Err(error), _) | (_, Err(error)) => return error.into(),
    };
    if to.is_inbox() {
        return Answer::no("ALREADYEXISTS", "INBOX exists already");
    }
    let gone = from.clone();
    match session.with_account(move |account| account.rename(&from, &to)).await {
        Ok(()) => {
            // Renaming INBOX only moves its messages; any other mailbox, and those below, are elsewhere afterwards.
            leave(session, |selected| !gone.is_inbox() && (*selected == gone || selected.is_below(&gone)));
            Answer::ok("Rename completed")
        }
        Err(error) => error.into(),
    }
}

/// Closes the open mailbox when it went by this session's own wish, as Dovecot does. After a NO it stays open.
fn leave(session: &mut Session, goes: impl Fn(&MailboxName) -> bool) {
    if session.selected.as_ref().is_some_and(|selected| goes(&selected.name)) {
        session.selected = None;
        session.connection.machine.selected(false);
    }
}

pub async fn subscribe(session: &mut Session, mailbox: &Mailbox, on: bool) -> Answer {
    let text = mailbox.0.strip_suffix(SEPARATOR).unwrap_or(&mailbox.0);
    let name = match MailboxName::parse(text) {
        Ok(name) => name,
        Err(error) => return error.into(),
    };
    let changed = session
        .with_account(move |account| {
            if !on {
                return account.unsubscribe(&name);
            }
            // RFC 3501 §6.3.6 allows the check; a name that never existed in the list helps nobody.
            if !account.exists(&name)? {
                return Err(mailstore::Error::NoSuchMailbox);
            }
            account.subscribe(&name)
        })
        .await;
    match changed {
        Ok(()) => Answer::ok(if on { "Subscribe completed" } else { "Unsubscribe completed" }),
        Err(error) => error.into(),
    }
}
