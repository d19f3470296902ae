//! APPEND (RFC 3501 §6.3.11) of one or several messages (RFC 3502), with APPENDUID (RFC 4315 §3). They go to disk while they come, and
//! into the mailbox all together or not at all.

use crate::answer::Answer;
use crate::connection::Gone;
use crate::selected::flag_set;
use crate::session::Session;
use imap_proto::sequence::write_set;
use imap_proto::{Append, AppendNext};
use mailstore::{Expunges, Incoming, Mailbox, MailboxName};
use std::sync::Arc;

/// Written to disk at once.
const WRITE_BYTES: usize = 256 << 10;

/// Messages of one APPEND. Each holds a file open.
const MOST_TOGETHER: usize = 100;

/// A message that is coming, with those that came before it in the same APPEND.
pub struct Message {
    tag: String,
    mailbox: Arc<Mailbox>,
    before: Vec<Incoming>,
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

/// Judges a further message. When it cannot be taken, those before it are not kept either.
pub async fn next(session: &mut Session, tag: &str, message: &mut Option<Message>, next: AppendNext) -> Result<(), Gone> {
    let Some(open) = message.take() else {
        session.connection.machine.refuse_append();
        return Ok(());
    };
    match further(session, open, next).await {
        Ok(open) => {
            *message = Some(open);
            let go_on = session.connection.machine.accept_append();
            session.connection.wire.out.extend_from_slice(&go_on);
        }
        Err(answer) => {
            session.connection.answer(tag, &answer);
            session.connection.machine.refuse_append();
        }
    }
    Ok(())
}

async fn further(session: &Session, open: Message, next: AppendNext) -> Result<Message, Answer> {
    judge_size(session, next.size)?;
    if open.before.len() + 1 >= MOST_TOGETHER {
        return Err(Answer::no("LIMIT", format!("More than {MOST_TOGETHER} messages in one APPEND")));
    }
    let mut open = write(session, open).await.map_err(|(_, answer)| answer)?;
    let work = move || {
        let mut incoming = open.mailbox.incoming(open.size + next.size)?;
        incoming.describe(flag_set(next.flags), next.date.map(|date| date.unix));
        open.before.push(std::mem::replace(&mut open.incoming, incoming));
        open.size += next.size;
        Ok(open)
    };
    session.blocking(work).await.map_err(|error: mailstore::Error| error.into())
}

fn judge_size(session: &Session, size: u64) -> Result<(), Answer> {
    let limit = session.connection.config.imapd.append_size_limit.0;
    match size {
        // RFC 3502 §6.3.11: an error also when others came before.
        0 => Err(Answer::no("CANNOT", "Message is empty")),
        size if size > limit => Err(Answer::no("TOOBIG", format!("Message is larger than {limit} bytes (append_size_limit)"))),
        _ => Ok(()),
    }
}

async fn open(session: &Session, tag: &str, append: Append) -> Result<Message, Answer> {
    judge_size(session, append.size)?;
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
    Ok(Message { tag: tag.to_owned(), mailbox, before: Vec::new(), incoming, waiting: Vec::new(), size })
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
    let Message { mailbox, before, incoming, .. } = message;
    let name = mailbox.name().clone();
    let all = before.into_iter().chain([incoming]).collect();
    let added = session.blocking(move || mailbox.append(all)).await?;
    let mut uids = Vec::new();
    write_set(&mut uids, added.uids);
    let uids = String::from_utf8_lossy(&uids);
    tracing::info!(mailbox = %mail_types::printable(name.as_str()), %uids, size, "appended");
    Ok(format!("APPENDUID {} {uids}", added.uid_validity))
}
