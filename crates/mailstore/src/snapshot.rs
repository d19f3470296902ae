//! The messages of a mailbox at one moment, immutable and shared.
//!
//! Messages stand in chunks of a few hundred behind `Arc`s, so a change copies one chunk, and a session that still holds
//! an older snapshot costs the chunks that differ, not the mailbox.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use xxhash_rust::xxh3::xxh3_128;

use crate::flags::{Flags, Info, KeywordBits, Keywords};

const CHUNK: usize = 256;

/// What never changes about a message, held once however many snapshots show it.
pub(crate) struct Core {
    pub uid: u32,
    /// File name up to, not with, `:2,`.
    pub base: Box<str>,
    /// What Dovecot calls the message's GUID, where it is another's name: of the message that this one was copied from.
    guid: Option<Box<str>>,
    /// Size on disk; `u64::MAX` until known.
    size: AtomicU64,
    /// Size with CRLF line ends; `u64::MAX` until known.
    virtual_size: AtomicU64,
    /// Seconds since 1970; `i64::MIN` until known.
    internal_date: AtomicI64,
}

impl Core {
    pub fn new(uid: u32, base: &str, virtual_size: Option<u64>) -> Core {
        Core {
            uid,
            size: AtomicU64::new(size_in_name(base, b'S').unwrap_or(u64::MAX)),
            virtual_size: AtomicU64::new(virtual_size.or_else(|| size_in_name(base, b'W')).unwrap_or(u64::MAX)),
            internal_date: AtomicI64::new(i64::MIN),
            base: base.into(),
            guid: None,
        }
    }

    /// As it was known before; nothing is looked for in the name.
    pub fn known(uid: u32, base: &str, guid: &str, size: u64, virtual_size: u64, internal_date: i64) -> Core {
        Core {
            uid,
            base: base.into(),
            guid: (!guid.is_empty()).then(|| guid.into()),
            size: AtomicU64::new(size),
            virtual_size: AtomicU64::new(virtual_size),
            internal_date: AtomicI64::new(internal_date),
        }
    }

    /// The GUID where it is another's name.
    pub fn own_guid(&self) -> Option<&str> {
        self.guid.as_deref()
    }

    /// As the fields of its line in the uidlist say: `W2481 Gname`.
    pub fn with_fields(mut self, fields: &str) -> Core {
        self.guid = fields.split(' ').find_map(|field| field.strip_prefix('G')).map(Into::into);
        self
    }

    /// Dovecot's GUID: the name of the file, or of the one it is a copy of.
    pub fn guid(&self) -> Cow<'_, str> {
        match &self.guid {
            Some(guid) => Cow::Borrowed(guid),
            None => Cow::Owned(self.base.replace(' ', "_")),
        }
    }

    pub fn size(&self) -> Option<u64> {
        Some(self.size.load(Ordering::Relaxed)).filter(|size| *size != u64::MAX)
    }

    pub fn virtual_size(&self) -> Option<u64> {
        Some(self.virtual_size.load(Ordering::Relaxed)).filter(|size| *size != u64::MAX)
    }

    pub fn internal_date(&self) -> Option<i64> {
        Some(self.internal_date.load(Ordering::Relaxed)).filter(|date| *date != i64::MIN)
    }

    pub fn set_size(&self, size: u64) {
        self.size.store(size, Ordering::Relaxed);
    }

    pub fn set_virtual_size(&self, size: u64) {
        self.virtual_size.store(size, Ordering::Relaxed);
    }

    pub fn set_internal_date(&self, seconds: i64) {
        self.internal_date.store(seconds, Ordering::Relaxed);
    }
}

/// The number behind `,S=` or `,W=` in a file name.
pub(crate) fn size_in_name(base: &str, letter: u8) -> Option<u64> {
    base.split(',').skip(1).find_map(|field| {
        let (key, digits) = field.split_once('=')?;
        let fits = key.as_bytes() == [letter] && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        fits.then(|| digits.parse().ok()).flatten()
    })
}

/// One message as a snapshot shows it. Cheap to clone.
#[derive(Clone)]
pub struct Message {
    pub(crate) core: Arc<Core>,
    pub(crate) info: Info,
    /// Still in `new/`: nobody has claimed it as recent.
    pub(crate) in_new: bool,
    /// The file's name, where it is not the one we would give (`:2,` missing, letters out of order).
    pub(crate) odd_name: Option<Arc<str>>,
    pub(crate) modseq: u64,
}

impl Message {
    pub fn uid(&self) -> u32 {
        self.core.uid
    }

    pub fn flags(&self) -> Flags {
        self.info.flags
    }

    /// Keywords; names by [`Snapshot::keywords`].
    pub fn keywords(&self) -> KeywordBits {
        self.info.keywords
    }

    /// Rises with each change of this message's flags or keywords, by whatever program (RFC 7162 §3.1).
    pub fn modseq(&self) -> u64 {
        self.modseq
    }

    /// File name without flags: unique in the account, never changes, so POP3 can offer it as UIDL.
    pub fn base_name(&self) -> &str {
        &self.core.base
    }

    /// What Dovecot calls the GUID of the message: the name of its first file, which copies keep.
    pub fn guid(&self) -> Cow<'_, str> {
        self.core.guid()
    }

    /// Still in `new/`: no IMAP session has selected the mailbox since it came.
    pub fn is_in_new(&self) -> bool {
        self.in_new
    }

    /// Names the content: the same for a message and its copies, in whatever mailbox, and for no other message of the account
    /// (RFC 8474 §5.1). As lasting as the file's name and the uidlist.
    pub fn email_id(&self) -> u128 {
        xxh3_128(self.core.guid().as_bytes())
    }

    /// Size on disk where known without touching the disk (`,S=` or looked up before).
    pub fn known_disk_size(&self) -> Option<u64> {
        self.core.size()
    }

    /// Size with CRLF line ends where known without touching the disk. Else ask [`crate::Mailbox::size`].
    pub fn known_size(&self) -> Option<u64> {
        self.core.virtual_size()
    }

    /// Arrival time, seconds since 1970, where known without touching the disk. Else ask [`crate::Mailbox::internal_date`].
    pub fn known_internal_date(&self) -> Option<i64> {
        self.core.internal_date()
    }

    pub(crate) fn file_name(&self) -> String {
        match &self.odd_name {
            Some(name) => name.to_string(),
            None => file_name(&self.core.base, self.info, self.in_new),
        }
    }

    pub(crate) fn is_named(&self, name: &str) -> bool {
        match &self.odd_name {
            Some(odd) => &**odd == name,
            None => name.starts_with(&*self.core.base) && file_name(&self.core.base, self.info, self.in_new) == name,
        }
    }
}

/// Usual name of the file: `:2,` and flags in `cur/`, and in `new/` only when there are flags (as Dovecot saves a message
/// that has flags and is recent).
pub(crate) fn file_name(base: &str, info: Info, in_new: bool) -> String {
    let mut name = String::with_capacity(base.len() + 8);
    name.push_str(base);
    if !in_new || info != Info::default() {
        info.write(&mut name);
    }
    name
}

/// All messages of a mailbox at one moment, by rising UID.
#[derive(Clone, Default)]
pub struct Snapshot {
    chunks: Vec<Arc<Vec<Message>>>,
    /// Index of the first message of each chunk.
    starts: Vec<usize>,
    len: usize,
    pub(crate) uid_validity: u32,
    pub(crate) uid_next: u32,
    pub(crate) highest_modseq: u64,
    /// All MODSEQs are in the log.
    pub(crate) lasting: bool,
    pub(crate) keywords: Keywords,
    /// Rises with every published change; what [`crate::Mailbox::changes`] carries.
    pub(crate) generation: u64,
}

impl Snapshot {
    /// Number of messages.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn uid_validity(&self) -> u32 {
        self.uid_validity
    }

    /// The UID the next message gets at the earliest (RFC 3501 §2.3.1.1).
    pub fn uid_next(&self) -> u32 {
        self.uid_next
    }

    /// The highest MODSEQ given in this mailbox, also to removed messages (RFC 7162 §3.1.2.1).
    pub fn highest_modseq(&self) -> u64 {
        self.highest_modseq
    }

    /// False while MODSEQs cannot be kept, as on a full or read-only disk (`NOMODSEQ`, RFC 7162 §3.1.2.2).
    pub fn has_modseqs(&self) -> bool {
        self.lasting
    }

    pub fn keywords(&self) -> &Keywords {
        &self.keywords
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Message by index, counted from 0: sequence number - 1.
    pub fn get(&self, index: usize) -> Option<&Message> {
        let chunk = self.starts.partition_point(|start| *start <= index).checked_sub(1)?;
        self.chunks[chunk].get(index - self.starts[chunk])
    }

    /// Index and message of a UID.
    pub fn find(&self, uid: u32) -> Option<(usize, &Message)> {
        let index = self.first_from(uid);
        let message = self.get(index)?;
        (message.uid() == uid).then_some((index, message))
    }

    /// Index of the first message with this UID or a higher one; `len()` when there is none.
    pub fn first_from(&self, uid: u32) -> usize {
        let chunk = self.chunks.partition_point(|chunk| chunk.last().is_some_and(|message| message.uid() < uid));
        match self.chunks.get(chunk) {
            Some(messages) => self.starts[chunk] + messages.partition_point(|message| message.uid() < uid),
            None => self.len,
        }
    }

    /// All messages by rising UID.
    pub fn iter(&self) -> impl Iterator<Item = &Message> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// Messages from index `from` on.
    pub fn iter_from(&self, from: usize) -> impl Iterator<Item = &Message> {
        let chunk = self.starts.partition_point(|start| *start <= from).saturating_sub(1);
        let skip = from - self.starts.get(chunk).copied().unwrap_or(0);
        self.chunks[chunk.min(self.chunks.len())..].iter().flat_map(|chunk| chunk.iter()).skip(skip)
    }

    /// Number of messages without `\Seen`, and index of the first such.
    pub fn unseen(&self) -> (usize, Option<usize>) {
        let (mut count, mut first) = (0, None);
        for (index, message) in self.iter().enumerate() {
            if !message.flags().contains(Flags::SEEN) {
                count += 1;
                first = first.or(Some(index));
            }
        }
        (count, first)
    }

    /// Adds messages whose UIDs are above all present ones.
    pub(crate) fn push(&mut self, message: Message) {
        debug_assert!(self.iter_from(self.len.saturating_sub(1)).last().is_none_or(|last| last.uid() < message.uid()));
        if self.chunks.last().is_none_or(|chunk| chunk.len() >= CHUNK) {
            self.starts.push(self.len);
            self.chunks.push(Arc::new(Vec::new()));
        }
        if let Some(chunk) = self.chunks.last_mut() {
            Arc::make_mut(chunk).push(message);
        }
        self.len += 1;
    }

    /// Changes one message in place (its chunk is copied when another snapshot shares it).
    pub(crate) fn update(&mut self, uid: u32, change: impl FnOnce(&mut Message)) {
        if let Some((index, _)) = self.find(uid) {
            let chunk = self.starts.partition_point(|start| *start <= index) - 1;
            let start = self.starts[chunk];
            change(&mut Arc::make_mut(&mut self.chunks[chunk])[index - start]);
        }
    }

    /// Removes messages; `gone` is sorted by rising UID.
    pub(crate) fn remove(&mut self, gone: &[u32]) {
        if gone.is_empty() {
            return;
        }
        for chunk in &mut self.chunks {
            let (Some(first), Some(last)) = (chunk.first(), chunk.last()) else { continue };
            let from = gone.partition_point(|uid| *uid < first.uid());
            if gone.get(from).is_some_and(|uid| *uid <= last.uid()) {
                Arc::make_mut(chunk).retain(|message| gone.binary_search(&message.uid()).is_err());
            }
        }
        self.chunks.retain(|chunk| !chunk.is_empty());
        self.recount();
    }

    /// The same mailbox without its messages.
    pub(crate) fn emptied(&self) -> Snapshot {
        Snapshot { keywords: self.keywords.clone(), chunks: Vec::new(), starts: Vec::new(), len: 0, ..*self }
    }

    fn recount(&mut self) {
        self.starts.clear();
        self.len = 0;
        for chunk in &self.chunks {
            self.starts.push(self.len);
            self.len += chunk.len();
        }
    }

    /// The chunks, for comparing two snapshots without looking into equal ones.
    pub(crate) fn chunks(&self) -> &[Arc<Vec<Message>>] {
        &self.chunks
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn message(uid: u32) -> Message {
        Message {
            core: Arc::new(Core::new(uid, &format!("{uid}.x,S=10,W=11"), None)),
            info: Info::default(),
            in_new: false,
            odd_name: None,
            modseq: 1,
        }
    }

    pub(crate) fn snapshot(uids: impl IntoIterator<Item = u32>) -> Snapshot {
        let mut snapshot = Snapshot::default();
        uids.into_iter().for_each(|uid| snapshot.push(message(uid)));
        snapshot
    }

    #[test]
    fn messages_are_found_by_number_and_uid_across_chunks() {
        let mut snapshot = snapshot((1..=1000).map(|n| n * 3));
        assert_eq!(snapshot.len(), 1000);
        for index in [0, 1, 255, 256, 257, 999] {
            let uid = (index as u32 + 1) * 3;
            assert_eq!(snapshot.get(index).unwrap().uid(), uid);
            assert_eq!(snapshot.find(uid).unwrap().0, index);
            assert_eq!(snapshot.first_from(uid - 1), index);
            assert_eq!(snapshot.iter_from(index).next().unwrap().uid(), uid);
        }
        assert!(snapshot.get(1000).is_none() && snapshot.find(4).is_none());
        assert_eq!(snapshot.first_from(3001), 1000);
        let removed: Vec<u32> = (1..=300).map(|n| n * 3).collect();
        snapshot.remove(&removed);
        assert_eq!((snapshot.len(), snapshot.get(0).unwrap().uid()), (700, 903));
        assert_eq!(snapshot.iter_from(0).count(), 700);
        assert_eq!(snapshot.iter_from(700).count(), 0);
        assert_eq!(Snapshot::default().iter_from(0).count(), 0);
    }

    #[test]
    fn an_older_snapshot_keeps_what_it_showed() {
        let old = snapshot(1..=600);
        let mut new = old.clone();
        new.update(300, |message| message.info.flags = Flags::SEEN);
        new.remove(&[1]);
        assert_eq!(old.find(300).unwrap().1.flags(), Flags::NONE);
        assert_eq!((old.len(), new.len()), (600, 599));
        assert!(Arc::ptr_eq(&old.chunks[2], &new.chunks[2]));
    }

    #[test]
    fn sizes_are_read_from_names() {
        assert_eq!(size_in_name("1.M2.host,S=123,W=130", b'S'), Some(123));
        assert_eq!(size_in_name("1.M2.host,S=123,W=130", b'W'), Some(130));
        for name in ["1.M2.host", "1,S=", "1,S=-1", "1,S=99999999999999999999", "S=1"] {
            assert_eq!(size_in_name(name, b'S'), None, "{name}");
        }
    }
}
