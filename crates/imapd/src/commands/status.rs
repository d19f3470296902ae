//! STATUS (RFC 3501 §6.3.10), also for LIST-STATUS (RFC 5819), with SIZE (RFC 8438), DELETED (RFC 9051), DELETED-STORAGE (RFC 9208), APPENDLIMIT (RFC 7889) and
//! HIGHESTMODSEQ (RFC 7162).

use crate::answer::Answer;
use crate::commands::enable::Enabled;
use crate::place::Spot;
use crate::session::{SLICE, Session};
use imap_proto::{StatusItems, encode};
use mailstore::{Flags, Mailbox, MailboxName, Message, Rights, Status};
use std::time::Instant;

pub async fn run(session: &mut Session, mailbox: &imap_proto::Mailbox, items: StatusItems) -> Answer {
    let spot = match session.place(mailbox, Rights::READ).await {
        Ok(place) => place.spot,
        Err(answer) => return answer,
    };
    match tell(session, &spot, items).await {
        Ok(()) => Answer::ok("Status completed"),
        Err(answer) => answer,
    }
}

/// Finds out and writes the response.
pub async fn tell(session: &mut Session, spot: &Spot, items: StatusItems) -> Result<(), Answer> {
    let asked = spot.clone();
    let status = session.with_account(move |_| asked.account.status(&asked.name)).await?;
    let size = if items.size { total_size(session, spot, |_| true, Mailbox::size).await? } else { 0 };
    // RFC 9208 §4.1.4: what an EXPUNGE gives back, which is what quota counts.
    let deleted = match items.deleted_storage {
        true => total_size(session, spot, |message| message.flags().contains(Flags::DELETED), Mailbox::disk_size).await?,
        false => 0,
    };
    let asked = spot.clone();
    // where it cannot be made, as on a full disk, the rest can be told all the same
    let id = match items.mailbox_id {
        true => session.with_account(move |_| asked.account.mailbox_id(&asked.name)).await.inspect_err(no_id).ok(),
        false => None,
    };
    let limit = session.connection.config.imapd.append_size_limit.0;
    let enabled = session.enabled;
    write(&mut session.connection.wire.out, &spot.shown, items, &status, Found { size, deleted, limit, id, enabled });
    Ok(())
}

/// The response where counting was done already.
pub fn write_counts(out: &mut Vec<u8>, enabled: Enabled, name: &MailboxName, items: StatusItems, status: &Status) {
    write(out, name, items, status, Found { size: 0, deleted: 0, limit: 0, id: None, enabled });
}

fn no_id(error: &mailstore::Error) {
    tracing::warn!(%error, "the MAILBOXID cannot be made");
}

/// The sum of the sizes of some messages. Where file names do not tell them, files are read; so it is done in slices of time.
async fn total_size(
    session: &mut Session,
    spot: &Spot,
    counts: fn(&Message) -> bool,
    size: fn(&Mailbox, &Message) -> mailstore::Result<u64>,
) -> Result<u64, Answer> {
    let asked = spot.clone();
    let mailbox = session.with_account(move |_| asked.account.open(&asked.name)).await?;
    let (mut total, mut next) = (0u64, 0);
    loop {
        let mailbox = mailbox.clone();
        let done;
        (total, next, done) = session
            .with_account(move |_| {
                let (snapshot, until, from) = (mailbox.snapshot(), Instant::now() + SLICE, next);
                for message in snapshot.iter().filter(|message| message.uid() >= from && counts(message)) {
                    match size(&mailbox, message) {
                        Ok(size) => total += size,
                        Err(mailstore::Error::Expunged) => {}
                        Err(error) => return Err(error),
                    }
                    next = message.uid() + 1;
                    if Instant::now() >= until {
                        return Ok((total, next, false));
                    }
                }
                Ok((total, next, true))
            })
            .await?;
        if done {
            return Ok(total);
        }
        session.may_go_on()?;
    }
}

/// What takes more than counting.
struct Found {
    size: u64,
    deleted: u64,
    limit: u64,
    id: Option<String>,
    enabled: Enabled,
}

/// RFC 3501 §9: `"STATUS" SP mailbox SP "(" [status-att-list] ")"`
fn write(out: &mut Vec<u8>, name: &MailboxName, items: StatusItems, status: &Status, found: Found) {
    out.extend_from_slice(b"* STATUS ");
    found.enabled.write_name(out, name.as_str());
    out.extend_from_slice(b" (");
    let mut first = true;
    for (wanted, word, number) in [
        (items.messages, "MESSAGES", status.messages.into()),
        (items.recent, "RECENT", status.recent.into()),
        (items.uid_next, "UIDNEXT", status.uid_next.into()),
        (items.uid_validity, "UIDVALIDITY", status.uid_validity.into()),
        (items.unseen, "UNSEEN", status.unseen.into()),
        (items.deleted, "DELETED", status.deleted.into()),
        (items.deleted_storage, "DELETED-STORAGE", found.deleted),
        (items.size, "SIZE", found.size),
        (items.append_limit, "APPENDLIMIT", found.limit),
        (items.highest_modseq, "HIGHESTMODSEQ", status.highest_modseq),
    ] {
        if !wanted {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(b' ');
        }
        out.extend_from_slice(word.as_bytes());
        out.push(b' ');
        encode::number(out, number);
    }
    if let Some(id) = found.id {
        // RFC 8474 §4.3
        out.extend_from_slice(if first { b"MAILBOXID (" } else { b" MAILBOXID (" });
        out.extend_from_slice(id.as_bytes());
        out.push(b')');
    }
    out.extend_from_slice(b")\r\n");
}
