//! SELECT and EXAMINE (RFC 3501 §6.3.1, §6.3.2), with what changed since the client was here last (RFC 7162 §3.2.5).

use crate::answer::Answer;
use crate::commands::fetch;
use crate::place::{Place, may_change};
use crate::selected::{Selected, write_count};
use crate::session::{Outcome, Session};
use imap_proto::{FetchItem, FetchModifiers, Mailbox, Resync, SelectParameters, SequenceSet, Status, encode};
use mailstore::{Access, Rights};

pub async fn run(session: &mut Session, mailbox: &Mailbox, read_only: bool, parameters: SelectParameters) -> Outcome {
    if parameters.resync.is_some() && !session.aware.vanished {
        // RFC 7162 §3.2.5
        return Ok(Answer::bad("ENABLE QRESYNC comes first"));
    }
    if session.selected.is_some() {
        // RFC 7162 §3.2.11, RFC 9051 §7.1: what comes from here on is of the other mailbox.
        encode::status(&mut session.connection.wire.out, "*", Status::Ok, "CLOSED", "Previous mailbox is closed");
    }
    // RFC 3501 §6.3.1: the old mailbox is closed even when the new one cannot be opened.
    session.leave();
    let rev2 = session.enabled.rev2;
    let spot = match session.locate(mailbox) {
        Ok(spot) => spot,
        Err(answer) => return Ok(answer),
    };
    if parameters.condstore {
        session.become_aware(false);
    }
    let (aware, realm) = (session.aware, session.realm.clone());
    // One piece of work for the rights and the mailbox: a webmail selects one for each click.
    let opened = session
        .blocking(move || {
            let Place { spot, rights } = realm.place(spot, Rights::READ)?;
            // RFC 4314 §5.2
            let read_only = read_only || !may_change(rights);
            let access = if read_only { Access::ReadOnly } else { Access::ReadWrite };
            let view = spot.account.open(&spot.name)?.view(access)?;
            // A disk that cannot be written to may keep an old mailbox from having one.
            let id = view.mailbox().mailbox_id().inspect_err(|error| tracing::warn!(%error, "mailbox has no MAILBOXID")).ok();
            let mut selected = Selected::new(spot.shown, view, read_only, aware);
            selected.rights = rights;
            Ok::<_, Answer>((selected, id))
        })
        .await;
    let (mut selected, id) = match opened {
        Ok(opened) => opened,
        Err(answer) => return Ok(answer),
    };
    let read_only = selected.read_only;
    selected.rev2 = rev2;
    selected.uid_only = session.enabled.uid_only;
    selected.wants = session.wants();
    write(&mut session.connection.wire.out, &selected);
    if rev2 {
        // RFC 9051 §6.3.2: the name as it is.
        let out = &mut session.connection.wire.out;
        out.extend_from_slice(b"* LIST () \".\" ");
        session.enabled.write_name(out, selected.name.as_str());
        out.extend_from_slice(b"\r\n");
    }
    if let Some(id) = id {
        // RFC 8474 §4.2
        encode::status(&mut session.connection.wire.out, "*", Status::Ok, &format!("MAILBOXID ({id})"), "Mailbox's own id");
    }
    let missed = parameters.resync.and_then(|resync| missed(&selected, resync));
    session.connection.server.index(selected.view.mailbox());
    session.selected = Some(selected);
    session.connection.machine.selected(true);
    if let Some(missed) = missed {
        let told = fetch::run(session, missed).await?;
        if told.status != Status::Ok {
            // what it did not hear of it has to ask for: a client takes OK for being up to date
            session.leave();
            return Ok(told);
        }
    }
    Ok(if read_only { Answer::ok_with("READ-ONLY", "Examine completed") } else { Answer::ok_with("READ-WRITE", "Select completed") })
}

/// RFC 7162 §3.2.5.1: the same as `UID FETCH known-uids (FLAGS) (CHANGEDSINCE modseq VANISHED)`; nothing when the client's UIDs are of another
/// UIDVALIDITY.
fn missed(selected: &Selected, resync: Resync) -> Option<fetch::Request> {
    let snapshot = selected.view.snapshot();
    if selected.no_modseq || resync.uid_validity != snapshot.uid_validity() || snapshot.uid_next() <= 1 {
        return None;
    }
    Some(fetch::Request {
        set: resync.known.unwrap_or_else(|| SequenceSet::range(1, snapshot.uid_next() - 1)),
        uid: true,
        items: vec![FetchItem::Uid, FetchItem::Flags, FetchItem::ModSeq],
        modifiers: FetchModifiers { changed_since: Some(resync.modseq), vanished: true, partial: None },
        samples: resync.samples,
        // a client takes it for all
        most: 0,
    })
}

fn write(out: &mut Vec<u8>, selected: &Selected) {
    let snapshot = selected.view.snapshot();
    selected.write_flags(out);
    write_count(out, snapshot.len() as u32, "EXISTS");
    if !selected.rev2 {
        write_count(out, selected.view.recent_count(), "RECENT");
    }
    let mut fact = |code: &str, number: u32, text: &str| {
        out.extend_from_slice(b"* OK [");
        out.extend_from_slice(code.as_bytes());
        out.push(b' ');
        encode::number(out, u64::from(number));
        out.extend_from_slice(b"] ");
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(b"\r\n");
    };
    if let (_, Some(first)) = snapshot.unseen()
        && !(selected.rev2 || selected.uid_only)
    {
        fact("UNSEEN", first as u32 + 1, "First unseen");
    }
    fact("UIDVALIDITY", snapshot.uid_validity(), "UIDs valid");
    fact("UIDNEXT", snapshot.uid_next(), "Predicted next UID");
    selected.write_highest_modseq(out);
}
