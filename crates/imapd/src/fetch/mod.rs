//! FETCH answers, made in batches: a batch ends when enough has gathered to be sent, also in the middle of a message, so that
//! neither a large mailbox nor a large message is ever in memory as a whole on its way out.

pub mod body;
pub mod envelope;
pub mod structure;

use crate::answer::Answer;
use crate::selected::{Selected, Target};
use crate::zone;
use body::Source;
use imap_proto::FetchItem;
use imap_proto::encode;
use mailstore::{FlagMode, FlagSet, Flags, Message};
use std::collections::{HashSet, VecDeque};
use std::io::Read;

/// Messages that get `\Seen` in one go, before they are shown.
const SEEN_BATCH: usize = 50;

/// Read from a message at once.
const CHUNK_BYTES: usize = 64 << 10;

/// A FETCH that is being answered.
pub struct Job {
    targets: VecDeque<Target>,
    items: Vec<FetchItem>,
    uid: bool,
    /// Fetching sets `\Seen`.
    marks_seen: bool,
    /// Targets at the front that have been marked already.
    marked: usize,
    /// Messages that this command marked: their flags go into their answers.
    fresh: HashSet<u32>,
    /// The rest of a message, in the middle of its answer.
    open: Option<Open>,
    /// Messages that went away meanwhile.
    pub missing: bool,
}

/// What is left of one message's answer.
struct Open {
    parts: VecDeque<Part>,
}

enum Part {
    Text(Vec<u8>),
    Stream { reader: Box<dyn Read + Send>, left: u64 },
}

impl Job {
    pub fn new(selected: &Selected, targets: Vec<Target>, items: Vec<FetchItem>, uid: bool) -> Job {
        let shows_body = items.iter().any(|item| matches!(item, FetchItem::Body(body) if !body.peek));
        Job {
            targets: targets.into(),
            items,
            uid,
            marks_seen: shows_body && !selected.read_only,
            marked: 0,
            fresh: HashSet::new(),
            open: None,
            missing: false,
        }
    }

    /// Appends answers to `out` until it holds `limit` bytes; true when all is said. Blocking.
    pub fn fill(&mut self, selected: &mut Selected, out: &mut Vec<u8>, limit: usize) -> Result<bool, Answer> {
        while out.len() < limit {
            if let Some(open) = &mut self.open {
                if open.go_on(out, limit)? {
                    self.open = None;
                }
                continue;
            }
            if self.marks_seen && self.marked == 0 {
                self.mark_seen(selected)?;
            }
            let Some(target) = self.targets.pop_front() else { return Ok(true) };
            self.marked = self.marked.saturating_sub(1);
            let Some(message) = selected.view.message(target.number).cloned() else { continue };
            match self.message(selected, target, &message, out) {
                Ok(open) => self.open = open,
                Err(Failure::Gone) => self.missing = true,
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
        selected.view.mailbox().store_flags(&uids, FlagMode::Add, &FlagSet::new(Flags::SEEN), None)?;
        self.fresh.extend(uids);
        Ok(())
    }

    /// Begins one message's answer in `out`; what is too large for it comes back.
    fn message(&self, selected: &Selected, target: Target, message: &Message, out: &mut Vec<u8>) -> Result<Option<Open>, Failure> {
        let start = out.len();
        let mut writer = Writer { out, parts: VecDeque::new(), source: None };
        let result = self.write_items(selected, target, message, &mut writer);
        let parts = writer.parts;
        if let Err(failure) = result {
            // Nothing has been promised yet: parts of a message are only streamed once all of them are known.
            out.truncate(start);
            return Err(failure);
        }
        Ok((!parts.is_empty()).then_some(Open { parts }))
    }

    fn write_items(&self, selected: &Selected, target: Target, message: &Message, writer: &mut Writer<'_>) -> Result<(), Failure> {
        let mailbox = selected.view.mailbox();
        let text = writer.text();
        text.extend_from_slice(b"* ");
        encode::number(text, u64::from(target.number));
        text.extend_from_slice(b" FETCH (");
        let fresh = self.fresh.contains(&target.uid);
        let with_flags = fresh && !self.items.contains(&FetchItem::Flags);
        for (at, item) in self.items.iter().enumerate() {
            if at > 0 {
                writer.text().push(b' ');
            }
            match item {
                FetchItem::Uid => {
                    writer.text().extend_from_slice(b"UID ");
                    encode::number(writer.text(), u64::from(target.uid));
                }
                FetchItem::Flags => self.write_flags(selected, message, fresh, writer.text()),
                FetchItem::InternalDate => {
                    let at = mailbox.internal_date(message)?;
                    writer.text().extend_from_slice(b"INTERNALDATE ");
                    zone::local(at).write(writer.text());
                }
                FetchItem::Size => {
                    let size = mailbox.size(message)?;
                    writer.text().extend_from_slice(b"RFC822.SIZE ");
                    encode::number(writer.text(), size);
                }
                FetchItem::Envelope => {
                    writer.text().extend_from_slice(b"ENVELOPE ");
                    let (source, text) = writer.source(selected, target.uid)?;
                    envelope::write(text, source.header()?);
                }
                FetchItem::Structure { extended } => {
                    writer.text().extend_from_slice(if *extended { b"BODYSTRUCTURE " } else { b"BODY " });
                    let (source, text) = writer.source(selected, target.uid)?;
                    structure::write(text, &message::Message::parse(source.whole()?), *extended);
                }
                FetchItem::Body(item) => {
                    body::write_name(writer.text(), item);
                    writer.text().push(b' ');
                    let (source, text) = writer.source(selected, target.uid)?;
                    let Some(mut piece) = source.section(&item.section)? else {
                        text.extend_from_slice(b"NIL");
                        continue;
                    };
                    if let Some(partial) = item.partial {
                        piece = piece.partial(partial);
                    }
                    if let Some((from, length)) = piece.write(text) {
                        let reader = source.file.reader(from)?;
                        writer.stream(reader, length);
                    }
                }
            }
        }
        if with_flags {
            writer.text().push(b' ');
            self.write_flags(selected, message, true, writer.text());
        }
        if self.uid && !self.items.contains(&FetchItem::Uid) {
            writer.text().extend_from_slice(b" UID ");
            encode::number(writer.text(), u64::from(target.uid));
        }
        writer.text().extend_from_slice(b")\r\n");
        Ok(())
    }

    fn write_flags(&self, selected: &Selected, message: &Message, fresh: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(b"FLAGS ");
        if fresh {
            // Marked by this very command: the mailbox knows, the session's numbering does not yet.
            let now = selected.view.mailbox().snapshot();
            if let Some((_, message)) = now.find(message.uid()) {
                return selected.write_message_flags(out, message);
            }
        }
        selected.write_message_flags(out, message);
    }

    /// UIDs whose new flags have been told.
    pub fn into_told(self) -> HashSet<u32> {
        self.fresh
    }
}

impl Open {
    /// Appends up to `limit`; true when the message is complete.
    fn go_on(&mut self, out: &mut Vec<u8>, limit: usize) -> Result<bool, Answer> {
        while let Some(part) = self.parts.front_mut() {
            match part {
                Part::Text(text) => {
                    out.append(text);
                    self.parts.pop_front();
                }
                Part::Stream { left: 0, .. } => {
                    self.parts.pop_front();
                }
                Part::Stream { reader, left } => {
                    if out.len() >= limit {
                        return Ok(false);
                    }
                    let start = out.len();
                    let take = (*left).min(CHUNK_BYTES as u64);
                    let read = reader.by_ref().take(take).read_to_end(out);
                    let count = (out.len() - start) as u64;
                    if read.is_err() || count == 0 {
                        // The size was promised. Spaces keep the client in step; the log tells what happened.
                        tracing::error!(error = ?read.err(), missing = *left, "message is shorter than it was, or cannot be read");
                        out.resize(start + take as usize, b' ');
                        *left -= take;
                        continue;
                    }
                    encode::without_nul(&mut out[start..]);
                    *left -= count;
                }
            }
        }
        Ok(true)
    }
}

/// Where one message's answer goes: straight to the output until the first streamed part, then into pieces.
struct Writer<'o> {
    out: &'o mut Vec<u8>,
    parts: VecDeque<Part>,
    source: Option<Source>,
}

impl Writer<'_> {
    fn text(&mut self) -> &mut Vec<u8> {
        match self.parts.back_mut() {
            Some(Part::Text(text)) => text,
            _ => self.out,
        }
    }

    fn stream(&mut self, reader: Box<dyn Read + Send>, left: u64) {
        self.parts.push_back(Part::Stream { reader, left });
        self.parts.push_back(Part::Text(Vec::new()));
    }

    /// The message, opened at first need, and where to write.
    fn source(&mut self, selected: &Selected, uid: u32) -> Result<(&mut Source, &mut Vec<u8>), Failure> {
        if self.source.is_none() {
            self.source = Some(Source::new(selected.view.mailbox().read(uid)?));
        }
        let text = match self.parts.back_mut() {
            Some(Part::Text(text)) => text,
            _ => &mut *self.out,
        };
        Ok((self.source.as_mut().expect("just made"), text))
    }
}

/// Why a message has no answer.
enum Failure {
    /// Another session or program removed it.
    Gone,
    Answer(Answer),
}

impl From<mailstore::Error> for Failure {
    fn from(error: mailstore::Error) -> Failure {
        match error {
            mailstore::Error::Expunged => Failure::Gone,
            error => Failure::Answer(error.into()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::Answer(error.into())
    }
}
