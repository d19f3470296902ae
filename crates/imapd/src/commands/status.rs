//! STATUS (RFC 3501 §6.3.10), also for LIST-STATUS (RFC 5819), with SIZE (RFC 8438), DELETED (RFC 9051) and APPENDLIMIT (RFC 7889).

use crate::answer::Answer;
use crate::commands::enable::Enabled;
use crate::session::{SLICE, Session};
use imap_proto::{Mailbox, StatusItems, encode};
use mailstore::{MailboxName, Status};
use std::time::Instant;

pub async fn run(session: &mut Session, mailbox: &Mailbox, items: StatusItems) -> Answer {
    let name = match MailboxName::parse(&mailbox.0) {
        Ok(name) => name,
        Err(error) => return error.into(),
    };
    match tell(session, &name, items).await {
        Ok(()) => Answer::ok("Status completed"),
        Err(answer) => answer,
    }
}

/// Finds out and writes the response.
pub async fn tell(session: &mut Session, name: &MailboxName, items: StatusItems) -> Result<(), Answer> {
    let asked = name.clone();
    let status = session.with_account(move |account| account.status(&asked)).await?;
    let size = if items.size { total_size(session, name).await? } else { 0 };
    let asked = name.clone();
    let id = if items.mailbox_id { Some(session.with_account(move |account| account.mailbox_id(&asked)).await?) } else { None };
    let limit = session.connection.config.imapd.append_size_limit.0;
    let enabled = session.enabled;
    write(&mut session.connection.wire.out, name, items, &status, Found { size, limit, id, enabled });
    Ok(())
}

/// The sum of all sizes. Where file names do not tell them, files are read; so it is done in slices of time.
async fn total_size(session: &mut Session, name: &MailboxName) -> Result<u64, Answer> {
    let asked = name.clone();
    let mailbox = session.with_account(move |account| account.open(&asked)).await?;
    let (mut total, mut next) = (0u64, 0);
    loop {
        let mailbox = mailbox.clone();
        let done;
        (total, next, done) = session
            .with_account(move |_| {
                let (snapshot, until, from) = (mailbox.snapshot(), Instant::now() + SLICE, next);
                for message in snapshot.iter().filter(|message| message.uid() >= from) {
                    match mailbox.size(message) {
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
        (items.size, "SIZE", found.size),
        (items.append_limit, "APPENDLIMIT", found.limit),
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
