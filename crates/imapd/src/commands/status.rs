//! STATUS (RFC 3501 §6.3.10), also for LIST-STATUS (RFC 5819).

use crate::answer::Answer;
use crate::session::Session;
use imap_proto::{Mailbox, StatusItems, encode};
use mailstore::{MailboxName, Status};

pub async fn run(session: &mut Session, mailbox: &Mailbox, items: StatusItems) -> Answer {
    let name = match MailboxName::parse(&mailbox.0) {
        Ok(name) => name,
        Err(error) => return error.into(),
    };
    let asked = name.clone();
    match session.with_account(move |account| account.status(&asked)).await {
        Ok(status) => {
            write(&mut session.connection.wire.out, &name, items, &status);
            Answer::ok("Status completed")
        }
        Err(error) => error.into(),
    }
}

/// RFC 3501 §9: `"STATUS" SP mailbox SP "(" [status-att-list] ")"`
pub fn write(out: &mut Vec<u8>, name: &MailboxName, items: StatusItems, status: &Status) {
    out.extend_from_slice(b"* STATUS ");
    encode::mailbox(out, name.as_str());
    out.extend_from_slice(b" (");
    let mut first = true;
    for (wanted, word, number) in [
        (items.messages, "MESSAGES", status.messages),
        (items.recent, "RECENT", status.recent),
        (items.uid_next, "UIDNEXT", status.uid_next),
        (items.uid_validity, "UIDVALIDITY", status.uid_validity),
        (items.unseen, "UNSEEN", status.unseen),
    ] {
        if !wanted {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(b' ');
        }
        out.extend_from_slice(word.as_bytes());
        out.push(b' ');
        encode::number(out, u64::from(number));
    }
    out.extend_from_slice(b")\r\n");
}
