//! SELECT and EXAMINE (RFC 3501 §6.3.1, §6.3.2).

use crate::answer::Answer;
use crate::place::{Place, may_change};
use crate::selected::{Selected, write_count};
use crate::session::Session;
use imap_proto::{Mailbox, Status, encode};
use mailstore::{Access, Rights};

pub async fn run(session: &mut Session, mailbox: &Mailbox, read_only: bool) -> Answer {
    // RFC 3501 §6.3.1: the old mailbox is closed even when the new one cannot be opened.
    let had = session.selected.take().is_some();
    session.connection.machine.selected(false);
    let rev2 = session.enabled.rev2;
    if had && rev2 {
        // RFC 9051 §7.1: what comes from here on is of the other mailbox.
        encode::status(&mut session.connection.wire.out, "*", Status::Ok, "CLOSED", "Previous mailbox is closed");
    }
    let Place { spot, rights } = match session.place(mailbox, Rights::READ).await {
        Ok(place) => place,
        Err(answer) => return answer,
    };
    // RFC 4314 §5.2
    let read_only = read_only || !may_change(rights);
    let opened = session
        .with_account(move |_| {
            let mailbox = spot.account.open(&spot.name)?;
            mailbox.refresh()?;
            let access = if read_only { Access::ReadOnly } else { Access::ReadWrite };
            let view = mailbox.view(access)?;
            // A disk that cannot be written to may keep an old mailbox from having one.
            let id = view.mailbox().mailbox_id().inspect_err(|error| tracing::warn!(%error, "mailbox has no MAILBOXID")).ok();
            let mut selected = Selected::new(spot.shown, view, read_only);
            selected.rights = rights;
            Ok::<_, mailstore::Error>((selected, id))
        })
        .await;
    let (mut selected, id) = match opened {
        Ok(opened) => opened,
        Err(error) => return Answer::from(error),
    };
    selected.rev2 = rev2;
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
    session.selected = Some(selected);
    session.connection.machine.selected(true);
    if read_only { Answer::ok_with("READ-ONLY", "Examine completed") } else { Answer::ok_with("READ-WRITE", "Select completed") }
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
        && !selected.rev2
    {
        fact("UNSEEN", first as u32 + 1, "First unseen");
    }
    fact("UIDVALIDITY", snapshot.uid_validity(), "UIDs valid");
    fact("UIDNEXT", snapshot.uid_next(), "Predicted next UID");
}
