//! FETCH answers, made in batches: a batch ends when enough has gathered to be sent, also in the middle of a message, so that
//! neither a large mailbox nor a large message is ever in memory as a whole on its way out. Items are made one at a time, however many
//! a client asks for: what is read of a message for them is forgotten while a batch is sent.

pub mod body;
pub mod envelope;
pub mod structure;

use crate::answer::Answer;
use crate::selected::{Selected, Target, Told};
use crate::zone;
use body::{Plan, Source};
use imap_proto::FetchItem;
use imap_proto::encode;
use mailstore::{FlagMode, FlagSet, Flags, Message};
use std::collections::{HashSet, VecDeque};
use std::io::Read;
use std::sync::Arc;
use std::time::Instant;

/// Messages that get `\Seen` in one go, before they are shown.
const SEEN_BATCH: usize = 50;

/// Read from a message at once.
const CHUNK_BYTES: usize = 64 << 10;

/// A FETCH that is being answered.
pub struct Job {
    targets: VecDeque<Target>,
    items: Arc<[FetchItem]>,
    uid: bool,
    /// Fetching sets `\Seen`.
    marks_seen: bool,
    /// Targets at the front that have been marked already.
    marked: usize,
    /// Messages that this command marked: their flags go into their answers.
    fresh: HashSet<u32>,
    /// Flags that went into answers.
    told: Told,
    /// The rest of a message, in the middle of its answer.
    open: Option<Open>,
    /// Messages that went away meanwhile.
    pub missing: bool,
    /// Messages that cannot be read; the log has the first.
    pub unreadable: bool,
}

/// One message's answer, as far as it has come.
struct Open {
    target: Target,
    message: Message,
    source: Option<Source>,
    /// What each item is made from.
    plan: Vec<Plan>,
    /// Item to write next.
    next: usize,
    stream: Option<Stream>,
}

/// Bytes of the message on their way out.
struct Stream {
    reader: Box<dyn Read + Send>,
    left: u64,
}

impl Job {
    pub fn new(selected: &Selected, targets: Vec<Target>, items: Vec<FetchItem>, uid: bool) -> Job {
        let shows_body = items.iter().any(|item| matches!(item, FetchItem::Body(body) if !body.peek));
        Job {
            targets: targets.into(),
            items: items.into(),
            uid,
            marks_seen: shows_body && !selected.read_only,
            marked: 0,
            fresh: HashSet::new(),
            told: Told::new(),
            open: None,
            missing: false,
            unreadable: false,
        }
    }

    /// Appends answers to `out` until it holds `limit` bytes or it is `until`; true when all is said. Blocking.
    pub fn fill(&mut self, selected: &mut Selected, out: &mut Vec<u8>, limit: usize, until: Instant) -> Result<bool, Answer> {
        while out.len() < limit {
            if let Some(mut open) = self.open.take() {
                if !self.go_on(selected, &mut open, out, limit) {
                    // While the client takes its time, nothing of the message stays in memory.
                    open.source.iter_mut().for_each(Source::forget);
                    self.open = Some(open);
                }
                if Instant::now() >= until {
                    return Ok(self.open.is_none() && self.targets.is_empty());
                }
                continue;
            }
            if self.marks_seen && self.marked == 0 {
                self.mark_seen(selected)?;
            }
            let Some(target) = self.targets.pop_front() else { return Ok(true) };
            self.marked = self.marked.saturating_sub(1);
            let Some(message) = selected.view.message(target.number).cloned() else { continue };
            match self.begin(selected, target, message) {
                Ok(open) => {
                    out.extend_from_slice(b"* ");
                    encode::number(out, u64::from(target.number));
                    out.extend_from_slice(b" FETCH (");
                    self.open = Some(open);
                }
                Err(Failure::Gone) => self.missing = true,
                Err(Failure::Unreadable(why)) if self.unreadable => tracing::debug!(uid = target.uid, why, "message cannot be read"),
                Err(Failure::Unreadable(why)) => {
                    tracing::error!(uid = target.uid, why, "message cannot be read");
                    self.unreadable = true;
                }
                Err(Failure::Answer(answer)) => return Err(answer),
            }
        }
        Ok(false)
    }

    /// RFC 3501 §6.4.5: fetching a body sets `\Seen`; the changed flags belong into the answer.
    fn mark_seen(&mut self, selected: &mut Selected) -> Result<(), Answer> {
        self.marked = self.targets.len().min(SEEN_BATCH);
        let unseen = |target: &&Target| selected.view.message(target.number).is_some_and(|m| !m.flags().contains(Flags::SEEN));
        let uids: Vec<u32> = self.targets.iter().take(self.marked).filter(unseen).map(|target| target.uid).collect();
        if uids.is_empty() {
            return Ok(());
        }
        match selected.view.mailbox().store_flags(&uids, FlagMode::Add, &FlagSet::new(Flags::SEEN), None) {
            Ok(_) => self.fresh.extend(uids),
            Err(error @ mailstore::Error::NoSuchMailbox) => return Err(error.into()),
            // On a full disk mail can still be read.
            Err(error) => {
                tracing::warn!(%error, "fetched messages cannot be marked as seen");
                self.marks_seen = false;
            }
        }
        Ok(())
    }

    /// Finds out what each item is made from. All that can fail is tried here: once an answer has begun it has to come to its end.
    fn begin(&self, selected: &mut Selected, target: Target, message: Message) -> Result<Open, Failure> {
        let mut source: Option<Source> = None;
        let mut plan = Vec::with_capacity(self.items.len());
        for item in self.items.iter() {
            let mailbox = selected.view.mailbox();
            plan.push(match item {
                FetchItem::Flags | FetchItem::Uid => Plan::Make,
                FetchItem::InternalDate => {
                    mailbox.internal_date(&message)?;
                    Plan::Make
                }
                FetchItem::Size => {
                    mailbox.size(&message)?;
                    Plan::Make
                }
                FetchItem::Envelope | FetchItem::Structure { .. } | FetchItem::Body(_) => {
                    if source.is_none() {
                        source = Some(Source::new(mailbox.read(target.uid)?));
                    }
                    let source = source.as_mut().expect("just opened");
                    match item {
                        FetchItem::Structure { .. } => source.whole().map(|_| Plan::Make)?,
                        FetchItem::Body(item) => source.plan(item, target.uid, &mut selected.part)?,
                        _ => source.header().map(|_| Plan::Make)?,
                    }
                }
            });
        }
        Ok(Open { target, message, source, plan, next: 0, stream: None })
    }

    /// Appends items up to `limit`; true when the answer is complete.
    fn go_on(&mut self, selected: &Selected, open: &mut Open, out: &mut Vec<u8>, limit: usize) -> bool {
        let items = self.items.clone();
        loop {
            if let Some(stream) = &mut open.stream {
                if !stream.go_on(out, limit) {
                    return false;
                }
                open.stream = None;
            }
            let Some(item) = items.get(open.next) else { break };
            if out.len() >= limit {
                return false;
            }
            if open.next > 0 {
                out.push(b' ');
            }
            self.write_item(selected, open, item, out);
            open.next += 1;
        }
        let uid = open.target.uid;
        if self.fresh.contains(&uid) && !items.contains(&FetchItem::Flags) {
            out.push(b' ');
            self.write_flags(selected, &open.message, out);
        }
        if self.uid && !items.contains(&FetchItem::Uid) {
            out.extend_from_slice(b" UID ");
            encode::number(out, u64::from(uid));
        }
        out.extend_from_slice(b")\r\n");
        true
    }

    fn write_item(&mut self, selected: &Selected, open: &mut Open, item: &FetchItem, out: &mut Vec<u8>) {
        let mailbox = selected.view.mailbox();
        let message = &open.message;
        match item {
            FetchItem::Uid => {
                out.extend_from_slice(b"UID ");
                encode::number(out, u64::from(open.target.uid));
            }
            FetchItem::Flags => self.write_flags(selected, message, out),
            FetchItem::InternalDate => {
                out.extend_from_slice(b"INTERNALDATE ");
                zone::local(mailbox.internal_date(message).unwrap_or_default()).write(out);
            }
            FetchItem::Size => {
                out.extend_from_slice(b"RFC822.SIZE ");
                encode::number(out, mailbox.size(message).unwrap_or_default());
            }
            FetchItem::Envelope => {
                out.extend_from_slice(b"ENVELOPE ");
                envelope::write(out, again(open.source.as_mut().map(Source::header)));
            }
            FetchItem::Structure { extended } => {
                out.extend_from_slice(if *extended { b"BODYSTRUCTURE " } else { b"BODY " });
                structure::write(out, &message::Message::parse(again(open.source.as_mut().map(Source::whole))), *extended);
            }
            FetchItem::Body(item) => {
                body::write_name(out, item);
                out.push(b' ');
                let Some(source) = open.source.as_mut() else { return out.extend_from_slice(b"NIL") };
                open.stream = source.write(item, open.plan[open.next], out).map(|(reader, left)| Stream { reader, left });
            }
        }
    }

    fn write_flags(&mut self, selected: &Selected, message: &Message, out: &mut Vec<u8>) {
        out.extend_from_slice(b"FLAGS ");
        let uid = message.uid();
        if self.fresh.contains(&uid) {
            // Marked by this very command: the mailbox knows, the session's numbering does not yet.
            let now = selected.view.mailbox().snapshot();
            if let Some((_, message)) = now.find(uid) {
                self.told.insert(uid, (message.flags(), message.keywords()));
                return selected.write_message_flags(out, message);
            }
        }
        selected.write_message_flags(out, message);
    }

    /// Flags that were told to be new.
    pub fn into_told(self) -> Told {
        self.told
    }
}

/// What [`Job::begin`] could read and was forgotten since; nothing when that went wrong in between, as the answer has begun.
fn again(read: Option<std::io::Result<&[u8]>>) -> &[u8] {
    match read {
        Some(Ok(bytes)) => bytes,
        Some(Err(error)) => {
            tracing::error!(%error, "message cannot be read again");
            b""
        }
        None => b"",
    }
}

impl Stream {
    /// Appends up to `limit`; true when it is all there.
    fn go_on(&mut self, out: &mut Vec<u8>, limit: usize) -> bool {
        while self.left > 0 {
            if out.len() >= limit {
                return false;
            }
            let start = out.len();
            let take = self.left.min(CHUNK_BYTES as u64);
            let read = self.reader.by_ref().take(take).read_to_end(out);
            let count = (out.len() - start) as u64;
            if read.is_err() || count == 0 {
                // The size was promised. Spaces keep the client in step; the log tells what happened.
                tracing::error!(error = ?read.err(), missing = self.left, "message is shorter than it was, or cannot be read");
                out.resize(start + take as usize, b' ');
                self.left -= take;
                continue;
            }
            encode::without_nul(&mut out[start..]);
            self.left -= count;
        }
        true
    }
}

/// Why a message has no answer.
enum Failure {
    /// Another session or program removed it.
    Gone,
    /// This one cannot be read; others may.
    Unreadable(String),
    Answer(Answer),
}

impl From<mailstore::Error> for Failure {
    fn from(error: mailstore::Error) -> Failure {
        match error {
            mailstore::Error::Expunged => Failure::Gone,
            error @ mailstore::Error::NoSuchMailbox => Failure::Answer(error.into()),
            error => Failure::Unreadable(error.to_string()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::Unreadable(error.to_string())
    }
}
