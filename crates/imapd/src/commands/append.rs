//! APPEND (RFC 3501 §6.3.11), with APPENDUID (RFC 4315 §3). The message goes to disk while it comes.

use crate::answer::Answer;
use crate::connection::Gone;
use crate::selected::flag_set;
use crate::session::Session;
use imap_proto::Append;
use mailstore::{Expunges, Incoming, Mailbox, MailboxName};
use std::sync::Arc;

/// Written to disk at once.
const WRITE_BYTES: usize = 256 << 10;

/// A message that is coming.
pub struct Message {
    tag: String,
    mailbox: Arc<Mailbox>,
    incoming: Incoming,
    waiting: Vec<u8>,
    size: u64,
}

/// Judges the APPEND before its message comes, so that a large one is not sent in vain.
pub async fn begin(session: &mut Session, tag: &str, append: Append) -> Result<Option<Message>, Gone> {
    match open(session, tag, append).await {
        Ok(message) => {
            let go_on = session.connection.machine.accept_append();
            session.connection.wire.out.extend_from_slice(&go_on);
            Ok(Some(message))
        }
        Err(answer) => {
            session.connection.answer(tag, &answer);
            session.connection.machine.refuse_append();
            Ok(None)
        }
    }
}

async fn open(session: &Session, tag: &str, append: Append) -> Result<Message, Answer> {
    let limit = session.connection.config.imapd.append_size_limit.0;
    if append.size > limit {
        return Err(Answer::no("TOOBIG", format!("Message is larger than {limit} bytes (append_size_limit)")));
    }
    if append.size == 0 {
        return Err(Answer::no("CANNOT", "Message is empty"));
    }
    let name = MailboxName::parse(&append.mailbox.0)?;
    let Append { flags, date, size, .. } = append;
    let (mailbox, incoming) = session
        .with_account(move |account| {
            let mailbox = account.open(&name).map_err(|error| match error {
                // RFC 3501 §6.3.11: the client may create it and try again.
                mailstore::Error::NoSuchMailbox => Answer::no("TRYCREATE", "Mailbox does not exist"),
                error => error.into(),
            })?;
            let mut incoming = mailbox.incoming(size)?;
            incoming.describe(flag_set(flags), date.map(|date| date.unix));
            Ok::<_, Answer>((mailbox, incoming))
        })
        .await?;
    Ok(Message { tag: tag.to_owned(), mailbox, incoming, waiting: Vec::new(), size })
}

/// Takes a piece of the message.
pub async fn data(session: &mut Session, message: &mut Option<Message>, data: Vec<u8>) -> Result<(), Gone> {
    let Some(open) = message else { return Ok(()) };
    if open.waiting.is_empty() {
        open.waiting = data;
    } else {
        open.waiting.extend_from_slice(&data);
    }
    if open.waiting.len() < WRITE_BYTES {
        return Ok(());
    }
    if let Some(open) = message.take() {
        match write(session, open).await {
            Ok(open) => *message = Some(open),
            Err((tag, answer)) => {
                // The rest of the message is read and forgotten.
                session.connection.machine.refuse_append();
                session.connection.answer(&tag, &answer);
            }
        }
    }
    Ok(())
}

async fn write(session: &Session, mut message: Message) -> Result<Message, (String, Answer)> {
    session
        .connection
        .server
        .access
        .blocking(move || {
            let waiting = std::mem::take(&mut message.waiting);
            match message.incoming.write(&waiting) {
                Ok(()) => Ok(message),
                Err(error) => Err((message.tag, error.into())),
            }
        })
        .await
}

/// The message is complete: files it, tells its UID.
pub async fn end(session: &mut Session, tag: &str, message: Option<Message>) -> Result<(), Gone> {
    // Refused before; the answer has been sent.
    let Some(message) = message else { return Ok(()) };
    let answer = match keep(session, message).await {
        Ok(code) => Answer::ok_with(code, "Append completed"),
        Err(answer) => answer,
    };
    session.finish(tag, &answer, Expunges::Report, false).await
}

async fn keep(session: &Session, message: Message) -> Result<String, Answer> {
    let size = message.size;
    let message = write(session, message).await.map_err(|(_, answer)| answer)?;
    let Message { mailbox, incoming, .. } = message;
    let name = mailbox.name().clone();
    let added = session.connection.server.access.blocking(move || mailbox.append(vec![incoming])).await?;
    let uid = added.uids.first().copied().unwrap_or_default();
    tracing::info!(mailbox = %mail_types::printable(name.as_str()), uid, size, "appended");
    Ok(format!("APPENDUID {} {uid}", added.uid_validity))
}
