//! COPY (RFC 3501 §6.4.7), MOVE (RFC 6851), with COPYUID (RFC 4315 §3).

use crate::answer::Answer;
use crate::place::{forbidden, judge};
use crate::selected::limit;
use crate::session::Session;
use imap_proto::sequence::write_set;
use imap_proto::{Mailbox, SequenceSet, Status, encode};
use mailstore::{Added, Gone, Kept, Rights};

pub async fn run(session: &mut Session, set: SequenceSet, uid: bool, mailbox: &Mailbox, remove: bool) -> Answer {
    let place = match session.target(mailbox).await {
        Ok(place) => place,
        Err(answer) => return answer,
    };
    let shown = place.spot.shown.clone();
    let most = session.connection.config.imapd.imap_message_limit;
    let copied = session
        .with_selected_patiently(move |selected| {
            if remove && selected.read_only {
                return Err(Answer::no("READ-ONLY", "Mailbox is read-only"));
            }
            if remove {
                // RFC 6851 §4.5: as COPY, STORE and EXPUNGE together.
                judge(selected.rights, Rights::MARK | Rights::EXPUNGE)?;
            }
            let mut uids: Vec<u32> = selected.resolve(&set, uid)?.iter().map(|target| target.uid).collect();
            let limited = limit(&mut uids, most, |uid| *uid);
            if !remove && limited.is_some() {
                // all or none (RFC 3501 §6.4.7)
                return Err(Answer::no(format!("MESSAGELIMIT {most}"), "Too many messages for one COPY"));
            }
            let to = place.spot.account.open(&place.spot.name).map_err(|error| match error {
                // RFC 3501 §6.4.7: the client may create it and try again.
                mailstore::Error::NoSuchMailbox => Answer::no("TRYCREATE", "Mailbox does not exist"),
                error => error.into(),
            })?;
            if uids.is_empty() {
                return Ok((Added::default(), None, None));
            }
            let from = selected.view.mailbox();
            let gone = if uid { Gone::LeaveOut } else { Gone::Refuse };
            let kept = Kept { dropped: forbidden(place.rights), keywords: place.rights.contains(Rights::WRITE) };
            if remove {
                let moved = from.move_with(&uids, &to, gone, kept)?;
                return Ok((moved.added, moved.error, limited));
            }
            Ok((from.copy_with(&uids, &to, gone, kept)?, None, None))
        })
        .await;
    let (added, error, limited) = match copied {
        Ok(copied) => copied,
        Err(answer) => return answer,
    };
    session.filed(&shown, &added);
    let done = if remove { "Move completed" } else { "Copy completed" };
    // RFC 4315 §3: without messages there is no COPYUID.
    if added.uids.is_empty() {
        return Answer::ok(done);
    }
    let code = copy_uid(&added);
    if !remove {
        return Answer::ok_with(code, done);
    }
    // RFC 6851 §4.3: before the EXPUNGE responses, which follow with the report of changes.
    encode::status(&mut session.connection.wire.out, "*", Status::Ok, &code, "Moved UIDs");
    session.removed = true;
    // Those that COPYUID does not name are where they were.
    match (error, limited) {
        (Some(error), _) => error.into(),
        (None, Some(code)) => Answer::ok_with(code, "Move completed for the newest of the messages"),
        (None, None) => Answer::ok(done),
    }
}

/// RFC 4315 §4: `"COPYUID" SP nz-number SP uid-set SP uid-set`
fn copy_uid(added: &Added) -> String {
    let mut code = b"COPYUID ".to_vec();
    encode::number(&mut code, u64::from(added.uid_validity));
    code.push(b' ');
    write_set(&mut code, added.sources.iter().copied());
    code.push(b' ');
    write_set(&mut code, added.uids.iter().copied());
    String::from_utf8_lossy(&code).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copyuid_names_both_sides_in_order() {
        let added = Added { uid_validity: 38, sources: vec![304, 319, 320], uids: vec![3956, 3957, 3958] };
        assert_eq!(copy_uid(&added), "COPYUID 38 304,319:320 3956:3958");
    }
}
