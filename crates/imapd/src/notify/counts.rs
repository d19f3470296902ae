//! Messages in mailboxes that are not open: what the client was told last, and STATUS responses for what is otherwise now (RFC 5465 §5.1 to §5.3).

use super::Notify;
use super::wishes::Wish;
use crate::commands::status::write_counts;
use crate::connection::Gone;
use crate::selected::Selected;
use crate::session::Session;
use imap_proto::StatusItems;
use mailstore::{Added, MailboxName, Status, Touched};
use std::collections::BTreeMap;

/// What the client knows.
#[derive(Default)]
pub struct Counts {
    known: BTreeMap<MailboxName, Status>,
    /// To be looked at again although nothing was heard.
    due: BTreeMap<MailboxName, Touched>,
}

impl Counts {
    /// The mailbox was open until now: that far the client knows.
    pub fn left(&mut self, selected: &Selected) {
        let snapshot = selected.view.snapshot();
        let known = Status {
            messages: snapshot.len() as u32,
            unseen: snapshot.unseen().0 as u32,
            uid_next: snapshot.uid_next(),
            uid_validity: snapshot.uid_validity(),
            highest_modseq: if selected.no_modseq { 0 } else { selected.view.highest_modseq() },
            ..Status::default()
        };
        self.known.insert(selected.name.clone(), known);
        self.due.insert(selected.name.clone(), Touched { messages: true, annotations: false });
    }

    /// The client put messages there itself; where others did meanwhile, that is told with them.
    pub fn filed(&mut self, mailbox: &MailboxName, added: &Added) {
        if let (Some(known), Some((first, last))) = (self.known.get_mut(mailbox), added.uids.first().zip(added.uids.last()))
            && known.uid_validity == added.uid_validity
            && known.uid_next == *first
            && (last - first) as usize + 1 == added.uids.len()
        {
            known.messages += added.uids.len() as u32;
            known.uid_next = last.saturating_add(1);
        }
    }

    pub fn due(&mut self) -> BTreeMap<MailboxName, Touched> {
        std::mem::take(&mut self.due)
    }

    /// What is known of a mailbox holds under its new name.
    pub fn renamed(&mut self, old: &MailboxName, new: &MailboxName) {
        if let Some(known) = self.known.remove(old) {
            self.known.insert(new.clone(), known);
        }
    }

    /// Forgets mailboxes.
    pub fn retain(&mut self, keeps: impl Fn(&MailboxName) -> bool) {
        self.known.retain(|name, _| keeps(name));
    }
}

/// What changed and is to be told; nothing when that is nothing. `modseqs`: the client speaks CONDSTORE.
fn difference(wish: Wish, known: &Status, now: &Status, modseqs: bool) -> Option<StatusItems> {
    let is_other = known.uid_validity != now.uid_validity;
    let messages = known.messages != now.messages || known.uid_next != now.uid_next || is_other;
    let unseen = wish.flags && known.unseen != now.unseen;
    let modseq = known.highest_modseq != now.highest_modseq;
    let flags = wish.flags && (unseen || modseq && modseqs);
    (messages || flags).then(|| StatusItems {
        messages,
        uid_next: messages,
        uid_validity: is_other || flags,
        unseen: unseen && flags,
        highest_modseq: modseqs,
        ..StatusItems::default()
    })
}

async fn look(session: &Session, name: &MailboxName) -> Option<Status> {
    let spot = session.realm.locate(name.as_str()).ok()?;
    let shown = name.clone();
    let status = session.blocking(move || spot.account.status(&spot.name)).await;
    match status {
        Ok(status) => Some(status),
        Err(mailstore::Error::NoSuchMailbox) => None,
        Err(error) => {
            tracing::warn!(mailbox = %mail_types::printable(shown.as_str()), %error, "a mailbox cannot be looked at");
            None
        }
    }
}

/// Finds out what there is at first, and tells it when that is wanted (RFC 5465 §3.1).
pub async fn begin(session: &mut Session, notify: &mut Notify, name: &MailboxName, tell: bool) -> Result<(), Gone> {
    if is_open(session, name) {
        return Ok(());
    }
    let Some(status) = look(session, name).await else { return Ok(()) };
    if tell {
        let flags = notify.names.wishes_of(name).is_some_and(|wish| wish.flags);
        let items = StatusItems { messages: true, uid_next: true, uid_validity: true, highest_modseq: flags, ..StatusItems::default() };
        write_counts(&mut session.connection.wire.out, session.enabled, name, items, &status);
        session.connection.wire.relieve().await?;
    }
    notify.counts.known.insert(name.clone(), status);
    Ok(())
}

/// Looks at a mailbox where something may have happened, and tells what did.
pub async fn compare(session: &mut Session, notify: &mut Notify, name: &MailboxName) -> Result<(), Gone> {
    let Some(wish) = notify.names.wishes_of(name).filter(|wish| wish.messages) else { return Ok(()) };
    if is_open(session, name) || !notify.names.counted().any(|counted| counted == name) {
        return Ok(());
    }
    let Some(now) = look(session, name).await else { return Ok(()) };
    // of a mailbox that was not there before the client knows that it is empty
    let empty = Status { uid_next: now.uid_next, messages: 0, ..now };
    let known = notify.counts.known.insert(name.clone(), now).unwrap_or(empty);
    if let Some(items) = difference(wish, &known, &now, session.aware.modseqs) {
        write_counts(&mut session.connection.wire.out, session.enabled, name, items, &now);
        session.connection.wire.relieve().await?;
    }
    Ok(())
}

/// What happens in the open mailbox is told in other ways.
fn is_open(session: &Session, name: &MailboxName) -> bool {
    session.selected.as_ref().is_some_and(|selected| selected.name == *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_is_a_change() {
        let known = Status { messages: 3, uid_next: 10, uid_validity: 1, unseen: 1, highest_modseq: 7, ..Status::default() };
        let messages = Wish { messages: true, ..Wish::default() };
        let flags = Wish { flags: true, ..messages };
        let more = Status { messages: 4, uid_next: 11, unseen: 2, highest_modseq: 8, ..known };
        let seen = Status { unseen: 0, highest_modseq: 8, ..known };
        let flagged = Status { highest_modseq: 8, ..known };
        let none = StatusItems::default();
        let counts = StatusItems { messages: true, uid_next: true, ..none };
        for (wish, now, modseqs, want) in [
            (messages, more, false, Some(counts)),
            (messages, more, true, Some(StatusItems { highest_modseq: true, ..counts })),
            (messages, seen, true, None),
            (flags, more, false, Some(StatusItems { uid_validity: true, unseen: true, ..counts })),
            (flags, seen, false, Some(StatusItems { uid_validity: true, unseen: true, ..none })),
            (flags, flagged, false, None),
            (flags, flagged, true, Some(StatusItems { uid_validity: true, highest_modseq: true, ..none })),
            (messages, Status { uid_validity: 2, ..known }, false, Some(StatusItems { uid_validity: true, ..counts })),
            (flags, known, true, None),
        ] {
            assert_eq!(difference(wish, &known, &now, modseqs), want, "{wish:?} {now:?} {modseqs}");
        }
    }

    #[test]
    fn what_the_client_did_itself_is_no_news() {
        let mailbox = MailboxName::inbox();
        let known = Status { messages: 3, uid_next: 10, uid_validity: 1, ..Status::default() };
        let mut counts = Counts { known: BTreeMap::from([(mailbox.clone(), known)]), due: BTreeMap::new() };
        counts.filed(&mailbox, &Added { uid_validity: 1, sources: vec![], uids: vec![10, 11] });
        assert_eq!(counts.known[&mailbox], Status { messages: 5, uid_next: 12, ..known });
        // another's came before it
        counts.filed(&mailbox, &Added { uid_validity: 1, sources: vec![], uids: vec![14] });
        assert_eq!(counts.known[&mailbox].messages, 5);
    }
}
