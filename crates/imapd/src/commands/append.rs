//! APPEND (RFC 3501 §6.3.11) of one or several messages (RFC 3502), with APPENDUID (RFC 4315 §3); REPLACE (RFC 8508). Messages go to disk
//! while they come, and into the mailbox all together or not at all. They may come in octets (RFC 3516), or in parts of which some are on the
//! server already (RFC 4469).

use crate::answer::Answer;
use crate::commands::catenate;
use crate::connection::Gone;
use crate::place::{Place, judge, permitted};
use crate::selected::flag_set;
use crate::session::Session;
use imap_proto::sequence::write_set;
use imap_proto::{Append, AppendPiece, Replaces, Status, encode};
use mailstore::{Added, Expunges, FlagSet, Incoming, Mailbox, MailboxName, Rights, Scratch};
use message::Encoding;
use std::sync::Arc;

/// Written to disk at once.
const WRITE_BYTES: usize = 256 << 10;

/// Messages of one APPEND. Each holds a file open.
const MOST_TOGETHER: usize = 100;

/// An APPEND whose messages are coming.
pub struct Filing {
    tag: String,
    mailbox: Arc<Mailbox>,
    /// Its name for the client.
    shown: MailboxName,
    rights: Rights,
    replaces: Option<Old>,
    /// Messages that are complete.
    done: Vec<Incoming>,
    current: Option<Current>,
    /// Of all messages so far.
    size: u64,
    /// Of the URL before.
    part: catenate::Known,
}

/// The message that a REPLACE removes.
struct Old {
    mailbox: Arc<Mailbox>,
    uid: u32,
    /// The message may take minutes to come, and the UID be another's by then.
    uid_validity: u32,
}

/// The message that is coming.
struct Current {
    bytes: Bytes,
    flags: FlagSet,
    date: Option<i64>,
    size: u64,
    waiting: Vec<u8>,
}

/// Where it goes.
enum Bytes {
    /// Nothing has come.
    None {
        catenated: bool,
    },
    Lines(Incoming),
    /// What is put together, or is octets (`binary`) and has to become lines.
    Scratch {
        scratch: Scratch,
        binary: bool,
    },
}

/// Judges the APPEND before its message comes, so that a large one is not sent in vain.
pub async fn begin(session: &mut Session, tag: &str, append: Append) -> Result<Option<Box<Filing>>, Gone> {
    let Append { mailbox, replaces, pieces } = append;
    let begun = match open(session, tag, mailbox, replaces).await {
        Ok(filing) => take(session, filing, pieces).await,
        Err(answer) => Err(answer),
    };
    Ok(go_on(session, tag, begun))
}

/// Judges further pieces. When they cannot be taken, messages before them are not kept either.
pub async fn more(session: &mut Session, tag: &str, filing: &mut Option<Box<Filing>>, pieces: Vec<AppendPiece>) -> Result<(), Gone> {
    match filing.take() {
        Some(open) => {
            let taken = take(session, open, pieces).await;
            *filing = go_on(session, tag, taken);
        }
        None => session.connection.machine.refuse_append(),
    }
    Ok(())
}

fn go_on(session: &mut Session, tag: &str, begun: Result<Box<Filing>, Answer>) -> Option<Box<Filing>> {
    match begun {
        Ok(filing) => {
            let go_on = session.connection.machine.accept_append();
            session.connection.wire.out.extend_from_slice(&go_on);
            Some(filing)
        }
        Err(answer) => {
            session.connection.answer(tag, &answer);
            session.connection.machine.refuse_append();
            None
        }
    }
}

async fn open(session: &Session, tag: &str, mailbox: imap_proto::Mailbox, replaces: Option<Replaces>) -> Result<Box<Filing>, Answer> {
    let replaces = match replaces {
        Some(replaces) => Some(old(session, &replaces)?),
        None => None,
    };
    session.look_around().await;
    let Place { spot, rights } = session.target(&mailbox).await?;
    let shown = spot.shown.clone();
    let opened = session.with_account(move |_| spot.account.open(&spot.name)).await;
    let mailbox = opened.map_err(|error| match error {
        // RFC 3501 §6.3.11: the client may create it and try again.
        mailstore::Error::NoSuchMailbox => Answer::no("TRYCREATE", "Mailbox does not exist"),
        error => error.into(),
    })?;
    Ok(Box::new(Filing { tag: tag.to_owned(), mailbox, shown, rights, replaces, done: Vec::new(), current: None, size: 0, part: None }))
}

/// The message that a REPLACE means.
fn old(session: &Session, replaces: &Replaces) -> Result<Old, Answer> {
    if session.enabled.uid_only && !replaces.uid {
        return Err(Answer::uid_required());
    }
    let Some(selected) = &session.selected else { return Err(Answer::bad("No mailbox selected")) };
    if selected.read_only {
        return Err(Answer::no("READ-ONLY", "Mailbox is read-only"));
    }
    // RFC 8508 §3.4: as APPEND, STORE and EXPUNGE together.
    judge(selected.rights, Rights::MARK | Rights::EXPUNGE)?;
    match selected.resolve(&replaces.message, replaces.uid)?[..] {
        [target] if !selected.view.is_expunged(target.uid) => {
            let (mailbox, uid_validity) = (selected.view.mailbox().clone(), selected.view.snapshot().uid_validity());
            Ok(Old { mailbox, uid: target.uid, uid_validity })
        }
        _ => Err(Answer::no("EXPUNGEISSUED", "Message to be replaced does not exist")),
    }
}

async fn take(session: &mut Session, mut filing: Box<Filing>, pieces: Vec<AppendPiece>) -> Result<Box<Filing>, Answer> {
    for piece in pieces {
        match piece {
            AppendPiece::Message { flags, date, catenated } => {
                if filing.current.is_some() {
                    filing = complete(session, filing).await?;
                }
                if filing.done.len() >= MOST_TOGETHER {
                    return Err(Answer::no("LIMIT", format!("More than {MOST_TOGETHER} messages in one APPEND")));
                }
                let (flags, date) = (permitted(filing.rights, flag_set(flags)), date.map(|date| date.unix));
                let bytes = Bytes::None { catenated };
                filing.current = Some(Current { bytes, flags, date, size: 0, waiting: Vec::new() });
            }
            AppendPiece::Url(url) => {
                filing = write(session, filing).await.map_err(|(_, answer)| answer)?;
                filing = add_url(session, filing, url).await?;
                session.may_go_on()?;
            }
            AppendPiece::Literal { utf8: true, .. } if !session.enabled.utf8 => {
                // RFC 6855 §4
                return Err(Answer::no("CANNOT", "UTF8=ACCEPT is not enabled"));
            }
            AppendPiece::Literal { size, binary, .. } => {
                filing = write(session, filing).await.map_err(|(_, answer)| answer)?;
                filing = expect(session, filing, size, binary).await?;
            }
        }
    }
    Ok(filing)
}

/// Makes ready for a literal that comes next.
async fn expect(session: &Session, mut filing: Box<Filing>, size: u64, is_binary: bool) -> Result<Box<Filing>, Answer> {
    let limit = session.connection.config.imapd.append_size_limit.0;
    let Some(current) = &mut filing.current else { return Err(Answer::bad("Expected a message")) };
    current.size = current.size.saturating_add(size);
    // of what is put together a piece may be empty
    if !matches!(current.bytes, Bytes::Scratch { .. } | Bytes::None { catenated: true }) || current.size > 0 {
        judge_size(current.size, limit)?;
    }
    filing.size += size;
    let work = move || {
        let Filing { mailbox, replaces, current: Some(current), size, .. } = &mut *filing else { return Ok(filing) };
        match &mut current.bytes {
            Bytes::None { catenated } if *catenated || is_binary => {
                current.bytes = Bytes::Scratch { scratch: mailbox.scratch()?, binary: is_binary };
            }
            Bytes::None { .. } => current.bytes = Bytes::Lines(incoming(mailbox, replaces.as_ref(), *size)?),
            Bytes::Scratch { binary, .. } => *binary |= is_binary,
            Bytes::Lines(_) => {}
        }
        Ok(filing)
    };
    session.blocking(work).await.map_err(|error: mailstore::Error| error.into())
}

/// Adds what a URL means (RFC 4469 §3).
async fn add_url(session: &Session, mut filing: Box<Filing>, url: String) -> Result<Box<Filing>, Answer> {
    let limit = session.connection.config.imapd.append_size_limit.0;
    let found = catenate::find(session, &url)?;
    let realm = session.realm.clone();
    let work = move || {
        let Some(current) = &mut filing.current else { return Err(Answer::bad("Expected a message")) };
        if let Bytes::None { .. } = current.bytes {
            current.bytes = Bytes::Scratch { scratch: filing.mailbox.scratch()?, binary: false };
        }
        let Bytes::Scratch { scratch, .. } = &mut current.bytes else { return Err(Answer::bad("Expected a part")) };
        let added = catenate::copy(&realm, &found, &mut filing.part, scratch, current.size, limit)?;
        current.size += added;
        filing.size += added;
        Ok(filing)
    };
    session.blocking(work).await
}

fn judge_size(size: u64, limit: u64) -> Result<(), Answer> {
    match size {
        // RFC 3502 §6.3.11: an error also when others came before.
        0 => Err(Answer::no("CANNOT", "Message is empty")),
        size if size > limit => Err(catenate::too_big(limit)),
        _ => Ok(()),
    }
}

fn incoming(mailbox: &Mailbox, replaces: Option<&Old>, size: u64) -> mailstore::Result<Incoming> {
    match replaces {
        Some(old) => mailbox.incoming_instead(size, &old.mailbox, old.uid),
        None => mailbox.incoming(size),
    }
}

/// Takes a piece of a literal.
pub async fn data(session: &mut Session, filing: &mut Option<Box<Filing>>, data: Vec<u8>) -> Result<(), Gone> {
    let Some(Filing { current: Some(current), .. }) = filing.as_deref_mut() else { return Ok(()) };
    if current.waiting.is_empty() {
        current.waiting = data;
    } else {
        current.waiting.extend_from_slice(&data);
    }
    if current.waiting.len() < WRITE_BYTES {
        return Ok(());
    }
    if let Some(open) = filing.take() {
        match write(session, open).await {
            Ok(open) => *filing = Some(open),
            Err((tag, answer)) => {
                // The rest of the message is read and forgotten.
                session.connection.machine.refuse_append();
                session.connection.answer(&tag, &answer);
            }
        }
    }
    Ok(())
}

async fn write(session: &Session, mut filing: Box<Filing>) -> Result<Box<Filing>, (String, Answer)> {
    let waiting = filing.current.as_mut().map(|current| std::mem::take(&mut current.waiting)).unwrap_or_default();
    if waiting.is_empty() {
        return Ok(filing);
    }
    let work = move || {
        let written = match filing.current.as_mut().map(|current| &mut current.bytes) {
            Some(Bytes::Lines(incoming)) => incoming.write(&waiting),
            Some(Bytes::Scratch { scratch, .. }) => scratch.write(&waiting),
            _ => Ok(()),
        };
        match written {
            Ok(()) => Ok(filing),
            Err(error) => Err((filing.tag, error.into())),
        }
    };
    session.blocking(work).await
}

/// Makes the current message one that can be filed.
async fn complete(session: &Session, filing: Box<Filing>) -> Result<Box<Filing>, Answer> {
    let mut filing = write(session, filing).await.map_err(|(_, answer)| answer)?;
    let Some(current) = filing.current.take() else { return Ok(filing) };
    judge_size(current.size, session.connection.config.imapd.append_size_limit.0)?;
    let work = move || {
        let mut complete = match current.bytes {
            Bytes::Lines(incoming) => incoming,
            Bytes::Scratch { scratch, binary } => {
                let mut incoming = incoming(&filing.mailbox, filing.replaces.as_ref(), filing.size)?;
                in_lines(scratch, binary, &mut incoming)?;
                incoming
            }
            Bytes::None { .. } => return Err(Answer::no("CANNOT", "Message is empty")),
        };
        complete.describe(current.flags, current.date);
        filing.done.push(complete);
        Ok(filing)
    };
    session.blocking(work).await
}

/// RFC 3516 §4.4: octets become base64 where other clients could not read them, or not without loss; nothing else is touched (§6).
fn in_lines(mut scratch: Scratch, binary: bool, incoming: &mut Incoming) -> Result<(), Answer> {
    if binary {
        let whole = scratch.read_all()?;
        if !is_lines(&whole) {
            let lines = message::binary::in_lines(&whole, true);
            let lines = lines.ok_or_else(|| Answer::no("UNKNOWN-CTE", "Message is binary where it cannot be encoded"))?;
            return Ok(incoming.write(&lines)?);
        }
    }
    Ok(scratch.copy_to(incoming)?)
}

/// Is the message the same when it is read line by line, by a client that knows neither NUL nor `binary`?
fn is_lines(whole: &[u8]) -> bool {
    let is_bare = |at: usize| at == 0 || whole[at - 1] != b'\r';
    let says_binary = |part: &message::Part<'_>| {
        part.encoding() == Encoding::Identity && part.encoding_name().is_some_and(|name| name.eq_ignore_ascii_case(b"binary"))
    };
    memchr::memchr(0, whole).is_none()
        && !memchr::memchr_iter(b'\n', whole).any(is_bare)
        && !message::Message::parse(whole).parts().iter().any(says_binary)
}

/// All messages are complete: files them, tells their UIDs.
pub async fn end(session: &mut Session, tag: &str, filing: Option<Box<Filing>>) -> Result<(), Gone> {
    // Refused before; the answer has been sent.
    let Some(filing) = filing else { return Ok(()) };
    let replaces = filing.replaces.is_some();
    let answer = match keep(session, filing).await {
        Ok(code) if replaces => {
            // RFC 8508 §4.3: before the EXPUNGE response, which follows with the report of changes.
            encode::status(&mut session.connection.wire.out, "*", Status::Ok, &code, "Replacement message ready");
            session.removed = true;
            Answer::ok("Replace completed")
        }
        Ok(code) => Answer::ok_with(code, "Append completed"),
        Err(answer) => answer,
    };
    session.finish(tag, &answer, Expunges::Report, false).await
}

async fn keep(session: &mut Session, filing: Box<Filing>) -> Result<String, Answer> {
    let Filing { mailbox, shown, mut done, replaces, size, .. } = *complete(session, filing).await?;
    let name = mailbox.name().clone();
    let work = move || match (replaces, done.pop()) {
        (Some(old), _) if old.mailbox.snapshot().uid_validity() != old.uid_validity => Err(mailstore::Error::Expunged),
        (Some(old), Some(message)) => mailbox.replace(message, &old.mailbox, old.uid),
        (_, last) => {
            done.extend(last);
            mailbox.append(done)
        }
    };
    let filed: mailstore::Result<Added> = session.blocking(work).await;
    let added = filed?;
    session.filed(&shown, &added);
    let mut uids = Vec::new();
    write_set(&mut uids, added.uids);
    let uids = String::from_utf8_lossy(&uids);
    tracing::info!(mailbox = %mail_types::printable(name.as_str()), %uids, size, "appended");
    Ok(format!("APPENDUID {} {uids}", added.uid_validity))
}
