//! FETCH answers, made in batches: a batch ends when enough has gathered to be sent, also in the middle of a message, so that
//! neither a large mailbox nor a large message is ever in memory as a whole on its way out. What is read of a message serves all its items
//! of a batch, and is forgotten while the batch is sent. Items are made one at a time, however many a client asks for, and between two of
//! them others have their turn at the disks when this one's is over.

pub mod binary;
pub mod body;

use crate::answer::Answer;
use crate::facts::{Facts, Need};
use crate::selected::{Selected, Target, Told, write_modseq};
use crate::zone;
use body::{Plan, Reading};
use imap_proto::encode;
use imap_proto::{BinaryItem, FetchItem};
use imap_proto::{envelope, structure};
use mailstore::{FlagMode, FlagSet, Flags, Message, MessageFile};
use std::cell::OnceCell;
use std::collections::{HashSet, VecDeque};
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Messages that get `\Seen` in one go, before they are shown.
const SEEN_BATCH: usize = 50;

/// Read from a message at once.
const CHUNK_BYTES: usize = 64 << 10;

/// How long one FETCH looks for previews that are not to delay it.
const LAZY: Duration = Duration::from_millis(500);

/// A FETCH that is being answered.
pub struct Job {
    targets: VecDeque<Target>,
    items: Arc<[FetchItem]>,
    uid: bool,
    /// How far facts are enough for all items.
    need: Need,
    /// Fetching sets `\Seen`.
    marks_seen: bool,
    /// Message by message, as what is asked for may turn out not to be had (RFC 3516 §4.3).
    marks_late: bool,
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
    /// Messages with an encoding that nobody knows (RFC 3516).
    pub unknown_encoding: bool,
    /// Until then previews are made for who has no time (RFC 8970 §4.1).
    lazy_until: Instant,
}

/// One message's answer, as far as it has come.
struct Open {
    target: Target,
    message: Message,
    /// Where an item needs it.
    file: Option<MessageFile>,
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
    /// As a literal8 may (RFC 3516 §4.3).
    holds_nul: bool,
}

impl Job {
    pub fn new(selected: &Selected, targets: Vec<Target>, items: Vec<FetchItem>, uid: bool) -> Job {
        let shows_body = items.iter().any(|item| match item {
            FetchItem::Body(body) => !body.peek,
            FetchItem::Binary(binary) => !binary.peek,
            _ => false,
        });
        let marks_late = items.iter().any(|item| matches!(item, FetchItem::Binary(_)));
        Job {
            targets: targets.into(),
            need: items.iter().map(Need::of).max().unwrap_or(Need::Nothing),
            items: items.into(),
            uid,
            // RFC 4314 §4
            marks_seen: shows_body && !selected.read_only && selected.rights.contains(mailstore::Rights::SEEN),
            marks_late,
            marked: 0,
            fresh: HashSet::new(),
            told: Told::new(),
            open: None,
            missing: false,
            unreadable: false,
            unknown_encoding: false,
            lazy_until: Instant::now() + LAZY,
        }
    }

    /// Appends answers to `out` until it holds `limit` bytes or it is `until`; true when all is said. Blocking.
    pub fn fill(&mut self, selected: &mut Selected, out: &mut Vec<u8>, limit: usize, until: Instant) -> Result<bool, Answer> {
        while out.len() < limit {
            let whole = OnceCell::new();
            let reading = Reading::new(&whole);
            let open = match self.open.take() {
                Some(open) => Some(open),
                None => {
                    if self.marks_seen && !self.marks_late && self.marked == 0 {
                        self.mark_seen(selected)?;
                    }
                    let Some(target) = self.targets.pop_front() else { return Ok(true) };
                    self.marked = self.marked.saturating_sub(1);
                    self.begin(selected, target, &reading, out)?
                }
            };
            if let Some(mut open) = open
                && !self.go_on(selected, &mut open, &reading, out, limit, until)
            {
                self.open = Some(open);
            }
            if Instant::now() >= until {
                return Ok(self.open.is_none() && self.targets.is_empty());
            }
        }
        Ok(false)
    }

    /// Begins the answer for a message; `None` when there is nothing to say about it.
    fn begin(&mut self, selected: &mut Selected, target: Target, reading: &Reading<'_>, out: &mut Vec<u8>) -> Result<Option<Open>, Answer> {
        let Some(message) = selected.view.message(target.number).cloned() else { return Ok(None) };
        let message = self.as_marked(selected, message);
        if self.need != Need::Message {
            match self.write_known(selected, target, &message, out) {
                Ok(()) => {}
                Err(failure) => self.failed(target, failure)?,
            }
            return Ok(None);
        }
        match self.plan(selected, target, message, reading) {
            Ok(mut open) => {
                if self.marks_seen && self.marks_late && !open.message.flags().contains(Flags::SEEN) {
                    self.mark(selected, vec![target.uid])?;
                    open.message = self.as_marked(selected, open.message);
                }
                selected.write_fetch_start(out, target);
                return Ok(Some(open));
            }
            Err(failure) => self.failed(target, failure)?,
        }
        Ok(None)
    }

    /// There is nothing to say about a message.
    fn failed(&mut self, target: Target, failure: Failure) -> Result<(), Answer> {
        match failure {
            Failure::Gone => self.missing = true,
            Failure::UnknownEncoding => self.unknown_encoding = true,
            Failure::Unreadable(why) if self.unreadable => tracing::debug!(uid = target.uid, why, "message cannot be read"),
            Failure::Unreadable(why) => {
                tracing::error!(uid = target.uid, why, "message cannot be read");
                self.unreadable = true;
            }
            Failure::Answer(answer) => return Err(answer),
        }
        Ok(())
    }

    /// The whole answer, from what is remembered of the message.
    fn write_known(&mut self, selected: &Selected, target: Target, message: &Message, out: &mut Vec<u8>) -> Result<(), Failure> {
        let mailbox = selected.view.mailbox();
        let facts = match self.need {
            Need::Header | Need::Structure => Some(Facts::get(mailbox, message, self.need == Need::Structure)?),
            Need::IfKnown if self.items.contains(&FetchItem::InternalDate) && message.known_internal_date().is_none() => {
                Facts::recall(mailbox, message)
            }
            _ => None,
        };
        let facts = facts.as_ref();
        let arrived = |_| facts.map_or_else(|| mailbox.internal_date(message), |facts| Ok(facts.arrived()));
        let arrived = self.items.contains(&FetchItem::InternalDate).then_some(()).map(arrived).transpose()?;
        let size = |_| facts.map_or_else(|| mailbox.size(message), |facts| Ok(facts.size()));
        let size = self.items.contains(&FetchItem::Size).then_some(()).map(size).transpose()?;
        selected.write_fetch_start(out, target);
        let items = self.items.clone();
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                out.push(b' ');
            }
            match (item, facts) {
                (FetchItem::InternalDate, _) => write_internal_date(out, arrived.unwrap_or_default()),
                (FetchItem::Size, _) => write_size(out, size.unwrap_or_default()),
                (FetchItem::Envelope, Some(facts)) => {
                    out.extend_from_slice(b"ENVELOPE ");
                    out.extend_from_slice(facts.envelope());
                }
                (FetchItem::Structure { .. }, Some(facts)) => {
                    out.extend_from_slice(b"BODYSTRUCTURE ");
                    out.extend_from_slice(facts.structure().unwrap_or_default());
                }
                (FetchItem::Body(item), Some(facts)) => body::write_fields(facts.header(), item, out),
                _ => self.write_property(selected, target, message, item, out),
            }
        }
        if self.uid && !items.contains(&FetchItem::Uid) {
            out.extend_from_slice(b" UID ");
            encode::number(out, u64::from(target.uid));
        }
        out.extend_from_slice(b")\r\n");
        Ok(())
    }

    /// An item that the mailbox knows of each message.
    fn write_property(&mut self, selected: &Selected, target: Target, message: &Message, item: &FetchItem, out: &mut Vec<u8>) {
        match item {
            FetchItem::Uid => {
                out.extend_from_slice(b"UID ");
                encode::number(out, u64::from(target.uid));
            }
            FetchItem::Flags => self.write_flags(selected, message, out),
            FetchItem::ModSeq => write_modseq(out, message),
            FetchItem::EmailId => out.extend_from_slice(format!("EMAILID (M{:032x})", message.email_id()).as_bytes()),
            // RFC 8474 §5.2: it would have to stay the same whatever comes later.
            FetchItem::ThreadId => out.extend_from_slice(b"THREADID NIL"),
            _ => {}
        }
    }

    /// RFC 3501 §6.4.5: fetching a body sets `\Seen`; the changed flags belong into the answer.
    fn mark_seen(&mut self, selected: &Selected) -> Result<(), Answer> {
        self.marked = self.targets.len().min(SEEN_BATCH);
        let unseen = |target: &&Target| selected.view.message(target.number).is_some_and(|m| !m.flags().contains(Flags::SEEN));
        let uids: Vec<u32> = self.targets.iter().take(self.marked).filter(unseen).map(|target| target.uid).collect();
        if uids.is_empty() { Ok(()) } else { self.mark(selected, uids) }
    }

    fn mark(&mut self, selected: &Selected, uids: Vec<u32>) -> Result<(), Answer> {
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
    fn plan(&self, selected: &mut Selected, target: Target, message: Message, reading: &Reading<'_>) -> Result<Open, Failure> {
        let mut file: Option<MessageFile> = None;
        let mut plan = Vec::with_capacity(self.items.len());
        for item in self.items.iter() {
            let mailbox = selected.view.mailbox();
            plan.push(match item {
                FetchItem::Flags | FetchItem::Uid | FetchItem::ModSeq | FetchItem::EmailId | FetchItem::ThreadId => Plan::Make,
                FetchItem::SaveDate => {
                    mailbox.save_date(&message)?;
                    Plan::Make
                }
                // without a word when it cannot be had at once
                FetchItem::Preview { lazy: true } if Instant::now() >= self.lazy_until => Plan::Nil,
                FetchItem::InternalDate => {
                    mailbox.internal_date(&message)?;
                    Plan::Make
                }
                FetchItem::Size => {
                    mailbox.size(&message)?;
                    Plan::Make
                }
                _ => {
                    if file.is_none() {
                        file = Some(mailbox.read(target.uid)?);
                    }
                    let file = file.as_ref().expect("just opened");
                    match item {
                        FetchItem::Structure { .. } => reading.message(file).map(|_| Plan::Make)?,
                        FetchItem::Body(item) => reading.plan(file, item, target.uid, &mut selected.part)?,
                        FetchItem::Preview { .. } => reading.beginning(file).map(|_| Plan::Make)?,
                        FetchItem::Binary(BinaryItem { part, .. }) | FetchItem::BinarySize(part) => {
                            binary::find(reading, file, part, target.uid, &selected.decoding)?.map_or(Plan::Nil, Plan::Decode)
                        }
                        _ => reading.header(file).map(|_| Plan::Make)?,
                    }
                }
            });
        }
        Ok(Open { target, message, file, plan, next: 0, stream: None })
    }

    /// Appends items, one at least, up to `limit` or until `until`; true when the answer is complete.
    fn go_on(
        &mut self,
        selected: &Selected,
        open: &mut Open,
        reading: &Reading<'_>,
        out: &mut Vec<u8>,
        limit: usize,
        until: Instant,
    ) -> bool {
        let items = self.items.clone();
        let first = open.next;
        loop {
            if let Some(stream) = &mut open.stream {
                if !stream.go_on(out, limit) {
                    return false;
                }
                open.stream = None;
            }
            let Some(item) = items.get(open.next) else { break };
            if out.len() >= limit || open.next > first && Instant::now() >= until {
                return false;
            }
            if open.next > 0 {
                out.push(b' ');
            }
            self.write_item(selected, open, reading, item, out);
            open.next += 1;
        }
        let uid = open.target.uid;
        if self.fresh.contains(&uid) && !items.contains(&FetchItem::Flags) {
            out.push(b' ');
            self.write_flags(selected, &open.message, out);
        }
        // RFC 7162 §3.2.4: flags that this command changed come with UID and MODSEQ
        let marked = self.fresh.contains(&uid) && selected.aware.modseqs;
        if marked && !items.contains(&FetchItem::ModSeq) {
            out.push(b' ');
            write_modseq(out, &open.message);
        }
        if (self.uid || marked) && !selected.uid_only && !items.contains(&FetchItem::Uid) {
            out.extend_from_slice(b" UID ");
            encode::number(out, u64::from(uid));
        }
        out.extend_from_slice(b")\r\n");
        true
    }

    fn write_item(&mut self, selected: &Selected, open: &mut Open, reading: &Reading<'_>, item: &FetchItem, out: &mut Vec<u8>) {
        let mailbox = selected.view.mailbox();
        let message = &open.message;
        let file = open.file.as_ref();
        match item {
            FetchItem::InternalDate => write_internal_date(out, mailbox.internal_date(message).unwrap_or_default()),
            FetchItem::Size => write_size(out, mailbox.size(message).unwrap_or_default()),
            FetchItem::Envelope => {
                out.extend_from_slice(b"ENVELOPE ");
                envelope::write(out, again(file.map(|file| reading.header(file))).unwrap_or_default());
            }
            FetchItem::Structure { extended } => {
                out.extend_from_slice(if *extended { b"BODYSTRUCTURE " } else { b"BODY " });
                match again(file.map(|file| reading.message(file))) {
                    Some(message) => structure::write(out, message, *extended),
                    None => structure::write(out, &message::Message::parse(b""), *extended),
                }
            }
            FetchItem::Body(item) => {
                body::write_name(out, item);
                out.push(b' ');
                let Some(file) = file else { return out.extend_from_slice(b"NIL") };
                let rest = reading.write(file, item, open.plan[open.next], out);
                open.stream = rest.map(|(reader, left)| Stream { reader, left, holds_nul: false });
            }
            FetchItem::SaveDate => {
                out.extend_from_slice(b"SAVEDATE ");
                zone::local(mailbox.save_date(message).unwrap_or_default()).write(out);
            }
            FetchItem::Preview { .. } => {
                out.extend_from_slice(b"PREVIEW ");
                let beginning = again(file.filter(|_| open.plan[open.next] != Plan::Nil).map(|file| reading.beginning(file)));
                let text = beginning.map(|beginning| message::preview(&message::Message::parse(beginning)));
                encode::nstring(out, text.as_deref().map(str::as_bytes));
            }
            FetchItem::Binary(item) => {
                binary::write_name(out, "BINARY", &item.part, item.partial);
                let (Some(file), Plan::Decode(coded)) = (file, open.plan[open.next]) else { return out.extend_from_slice(b"NIL") };
                let rest = binary::write(file, coded, open.target.uid, item, &selected.decoding, out);
                open.stream = rest.map(|rest| Stream { reader: rest.reader, left: rest.length, holds_nul: true });
            }
            FetchItem::BinarySize(part) => {
                binary::write_name(out, "BINARY.SIZE", part, None);
                let (Some(file), Plan::Decode(coded)) = (file, open.plan[open.next]) else { return out.push(b'0') };
                binary::write_size(file, coded, open.target.uid, part, &selected.decoding, out);
            }
            _ => {
                let (target, message) = (open.target, open.message.clone());
                self.write_property(selected, target, &message, item, out);
            }
        }
    }

    /// A message that this very command marked as the mailbox knows it, as the session's numbering does not yet. Once for each answer: flags and the
    /// MODSEQ that is told with them are of one moment, or the client would take later changes for known.
    fn as_marked(&self, selected: &Selected, message: Message) -> Message {
        if !self.fresh.contains(&message.uid()) {
            return message;
        }
        let now = selected.view.mailbox().snapshot();
        now.find(message.uid()).map_or(message, |(_, now)| now.clone())
    }

    fn write_flags(&mut self, selected: &Selected, message: &Message, out: &mut Vec<u8>) {
        out.extend_from_slice(b"FLAGS ");
        if self.fresh.contains(&message.uid()) {
            self.told.insert(message.uid(), (message.flags(), message.keywords()));
        }
        selected.write_message_flags(out, message);
    }

    /// Flags that were told to be new.
    pub fn into_told(self) -> Told {
        self.told
    }
}

fn write_internal_date(out: &mut Vec<u8>, unix: i64) {
    out.extend_from_slice(b"INTERNALDATE ");
    zone::local(unix).write(out);
}

fn write_size(out: &mut Vec<u8>, size: u64) {
    out.extend_from_slice(b"RFC822.SIZE ");
    encode::number(out, size);
}

/// What an EMAILID stands for (RFC 8474 §6: its letters have to be those that were told).
pub fn email_id(text: &str) -> Option<u128> {
    let digits = text.strip_prefix('M')?;
    let written = digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    written.then(|| u128::from_str_radix(digits, 16).ok()).flatten()
}

/// What [`Job::plan`] could read and was forgotten since; nothing when that went wrong in between, as the answer has begun.
fn again<T>(read: Option<std::io::Result<T>>) -> Option<T> {
    read?.inspect_err(|error| tracing::error!(%error, "message cannot be read again")).ok()
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
            if !self.holds_nul {
                encode::without_nul(&mut out[start..]);
            }
            self.left -= count;
        }
        true
    }
}

/// Why a message has no answer.
pub enum Failure {
    /// Another session or program removed it.
    Gone,
    /// This one cannot be read; others may.
    Unreadable(String),
    /// A part is encoded in a way that nobody knows.
    UnknownEncoding,
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

#[cfg(test)]
mod tests {
    use super::*;
    use imap_proto::{BodyForm, BodyItem, Section, SectionText};
    use mailstore::{Access, Location, MailboxName, Settings, Store};

    /// A mailbox with one message, opened.
    fn selected(text: &str) -> (tempfile::TempDir, Selected) {
        let temp = tempfile::tempdir().unwrap();
        let account = Store::new(Settings::default()).account(&Location::maildir(temp.path().join("m")).unwrap()).unwrap();
        let mailbox = account.open(&MailboxName::inbox()).unwrap();
        let mut incoming = mailbox.incoming(text.len() as u64).unwrap();
        incoming.write(text.as_bytes()).unwrap();
        mailbox.append(vec![incoming]).unwrap();
        let view = mailbox.view(Access::ReadOnly).unwrap();
        (temp, Selected::new(MailboxName::inbox(), view, true, Default::default()))
    }

    fn item(part: &[u32], text: Option<SectionText>) -> FetchItem {
        let section = Section { part: part.to_vec(), text };
        FetchItem::Body(BodyItem { section, peek: true, partial: None, form: BodyForm::Body })
    }

    /// The answer in batches, and what was read from files for each.
    fn batches(selected: &mut Selected, items: &[FetchItem], until: Instant) -> Vec<(Vec<u8>, u64)> {
        let mut job = Job::new(selected, vec![Target { number: 1, uid: 1 }], items.to_vec(), false);
        let mut batches = Vec::new();
        loop {
            let (mut out, before) = (Vec::new(), bytes_read());
            let done = job.fill(selected, &mut out, 256 << 10, until).unwrap();
            batches.push((out, bytes_read() - before));
            if done {
                return batches;
            }
        }
    }

    /// By this thread, from files.
    fn bytes_read() -> u64 {
        let counts = std::fs::read_to_string("/proc/thread-self/io").unwrap();
        counts.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
    }

    fn joined(batches: &[(Vec<u8>, u64)]) -> String {
        String::from_utf8(batches.iter().flat_map(|(out, _)| out.clone()).collect()).unwrap()
    }

    #[test]
    fn a_turn_that_is_over_ends_between_two_items() {
        let (_temp, mut selected) =
            selected("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n");
        let items = [
            item(&[1], None),
            item(&[2], None),
            item(&[3], None),
            FetchItem::Structure { extended: false },
            item(&[1], Some(SectionText::Mime)),
        ];
        let at_once = batches(&mut selected, &items, Instant::now() + std::time::Duration::from_secs(3600));
        let in_turns = batches(&mut selected, &items, Instant::now());
        assert_eq!((at_once.len(), in_turns.len()), (1, items.len()));
        assert_eq!(joined(&at_once), joined(&in_turns));
        assert!(
            joined(&at_once).starts_with("* 1 FETCH (BODY[1] {3}\r\none BODY[2] {3}\r\ntwo BODY[3] NIL BODY (("),
            "{}",
            joined(&at_once)
        );
    }

    /// RFC 7162 §3.1.4: a client that has this MODSEQ is not told of the flag any more.
    #[test]
    fn flags_and_modseq_of_an_answer_are_of_one_moment() {
        let (_temp, read_only) = selected("Subject: x\r\n\r\nbody\r\n");
        let mailbox = read_only.view.mailbox().clone();
        let view = mailbox.view(Access::ReadWrite).unwrap();
        let mut selected = Selected::new(MailboxName::inbox(), view, false, Default::default());
        let body = BodyItem { section: Section { part: Vec::new(), text: None }, peek: false, partial: None, form: BodyForm::Body };
        let items = vec![FetchItem::Flags, FetchItem::Body(body), FetchItem::ModSeq];
        let mut job = Job::new(&selected, vec![Target { number: 1, uid: 1 }], items, false);
        let mut out = Vec::new();
        assert!(!job.fill(&mut selected, &mut out, 256 << 10, Instant::now()).unwrap());
        let marked = mailbox.snapshot().get(0).unwrap().modseq();
        mailbox.store_flags(&[1], FlagMode::Add, &FlagSet::new(Flags::FLAGGED), None).unwrap();
        while !job.fill(&mut selected, &mut out, 256 << 10, Instant::now()).unwrap() {}
        let out = String::from_utf8(out).unwrap();
        assert!(out.starts_with("* 1 FETCH (FLAGS (\\Seen") && out.ends_with(&format!("MODSEQ ({marked}))\r\n")), "{out}");
    }

    /// RFC 8970 §3.2: without LAZY there is always one.
    #[test]
    fn previews_that_would_take_too_long_are_left_out_for_who_has_no_time() {
        let (_temp, mut selected) = selected("Subject: x\r\n\r\nHello there\r\n");
        let mut answer = |lazy, late: bool| {
            let mut job = Job::new(&selected, vec![Target { number: 1, uid: 1 }], vec![FetchItem::Preview { lazy }], false);
            if late {
                job.lazy_until = Instant::now();
            }
            let mut out = Vec::new();
            assert!(job.fill(&mut selected, &mut out, 1 << 20, Instant::now() + Duration::from_secs(3600)).unwrap());
            String::from_utf8(out).unwrap()
        };
        assert_eq!(answer(true, true), "* 1 FETCH (PREVIEW NIL)\r\n");
        for (lazy, late) in [(false, true), (true, false), (false, false)] {
            assert_eq!(answer(lazy, late), "* 1 FETCH (PREVIEW \"Hello there\")\r\n");
        }
    }

    /// Whatever a message is like, what is remembered of it shows what reading it would.
    #[test]
    fn answers_from_memory_are_those_from_the_message() {
        let nested: String =
            (0..120).map(|level| format!("Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n")).collect();
        let many: String = (0..3000).map(|n| format!("To: a{n}@x.org\r\n")).collect();
        let texts = [
            "Subject: x\r\n\r\nbody\r\n",
            "\r\nno header\r\n",
            "Subject: no end",
            "no header at all\r\n",
            "From: a@x.org\r\nno field\r\nSubject : late\r\n\r\nx\r\n",
            "Subject: =?utf-8?q?=C3=A9?=\r\n folded\r\nsubject: two\r\nDate: nonsense\r\nTo: a@x.org,\r\n\tb@x.org\r\nX-A: 1\r\n\r\nbody",
            "From: \"q\\\"\" <a@x.org>\r\nTo: g: b@x.org, c@x.org;\r\nReferences: <1@x>\r\n <2@x>\r\nContent-Type: text/html; charset=x\r\n\r\n<p>\r\n",
            "Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nx\r\n",
            "Subject: nul \0 and 8-bit \u{e9}\r\n\r\n\0\r\n",
            &nested,
            &many,
        ];
        let all = || Some(SectionText::Fields { names: ["subject", "TO", "From", "content-type"].map(String::from).to_vec(), not: false });
        let none = || Some(SectionText::Fields { names: vec!["cc".into()], not: false });
        let sets = [
            vec![FetchItem::Envelope],
            vec![FetchItem::Uid, FetchItem::Flags, FetchItem::InternalDate, FetchItem::Size],
            vec![FetchItem::Structure { extended: true }, FetchItem::Envelope, FetchItem::ModSeq, FetchItem::EmailId],
            vec![item(&[], all()), FetchItem::Size, item(&[], none()), FetchItem::ThreadId],
        ];
        for text in texts {
            for items in &sets {
                let (_temp, mut selected) = selected(text);
                let mut answer = |need: Option<Need>| {
                    let _hold = selected.view.mailbox().hold();
                    let mut job = Job::new(&selected, vec![Target { number: 1, uid: 1 }], items.clone(), true);
                    assert!(job.need < Need::Message);
                    job.need = need.unwrap_or(job.need);
                    let mut out = Vec::new();
                    assert!(job.fill(&mut selected, &mut out, 1 << 30, Instant::now() + Duration::from_secs(3600)).unwrap());
                    String::from_utf8_lossy(&out).into_owned()
                };
                let read = answer(Some(Need::Message));
                assert_eq!([answer(None), answer(None)], [read.clone(), read], "{text:.100}");
            }
        }
    }

    /// Fields of a part larger together than a batch: the message is read for the plan, and then the header of the part.
    #[test]
    fn a_batch_goes_on_without_reading_the_message_again() {
        let inner: String = (0..4000).map(|n| format!("X-{n}: {}\r\n", "v".repeat(60))).collect();
        let filler = "0123456789abcdef\r\n".repeat(200_000);
        let (_temp, mut selected) = selected(&format!(
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n{filler}\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n{inner}\r\nbody\r\n--b--\r\n"
        ));
        let fields = |name: &str| SectionText::Fields { names: vec![name.to_owned()], not: true };
        let items: Vec<FetchItem> = (0..6).map(|n| item(&[2], Some(fields(&format!("X-{n}"))))).collect();
        let batches = batches(&mut selected, &items, Instant::now() + std::time::Duration::from_secs(3600));
        assert!(batches.len() >= 5, "{}", batches.len());
        // once more to find the place in a file with LF line ends
        let later: u64 = batches[1..].iter().map(|(_, read)| read).sum();
        assert!(later < 2 * filler.len() as u64, "{later} of {}", filler.len());
        let text = joined(&batches);
        assert_eq!(text.matches("X-3999: v").count(), 6);
        assert_eq!(text.matches("\r\nX-3: v").count(), 5);
    }
}
