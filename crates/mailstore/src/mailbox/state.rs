//! What a mailbox is known to hold, and how findings on disk change it. No I/O here.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::SystemTime;

use xxhash_rust::xxh3::xxh3_64;

use crate::dir::Stamp;
use crate::flags::{Info, KeywordBits};
use crate::mailbox::journal::Journal;
use crate::snapshot::{Core, Message, Snapshot, file_name};
use crate::uidlist::{Line, Position};

/// The working copy of a mailbox.
#[derive(Default)]
pub(crate) struct State {
    pub snapshot: Snapshot,
    /// Something changed since the last publication.
    pub changed: bool,
    /// Messages still in `new/`.
    pub unclaimed: usize,
    /// Hash of the base name → UID. Verified at use; two names with one hash are found the slow way.
    /// Made when somebody asks: most mailboxes are opened and left as they were.
    index: OnceCell<ByName>,
    /// Fields of uidlist lines (`W2481 P17`) of messages that have such.
    pub fields: BTreeMap<u32, Box<str>>,
    /// Lines of the uidlist whose file we have not seen (base name → line): gone, or not there yet.
    pub unmatched: HashMap<Box<str>, Line>,
    pub guid: String,
    /// How far the uidlist was read; `None` before the first read.
    pub position: Option<Position>,
    /// Lines in the uidlist.
    pub lines: usize,
    /// The uidlist has to be replaced at the next occasion.
    pub rewrite: bool,
    /// An append to the uidlist failed: lines that can be read there may not be on the disk, and are not believed before it is replaced.
    pub unsynced: bool,
    /// Highest UID ever shown: a UID at or below it can no longer be introduced.
    pub highest: u32,
    pub keywords_stamp: Option<Stamp>,
    /// Letters of keywords that files had.
    pub letters: KeywordBits,
    /// `new/` and `cur/` as they were at the last look, and when that was.
    pub looked: Option<(Stamp, Stamp, SystemTime)>,
    /// Where the log of changes says something else.
    pub journal: Journal,
}

/// Keys are hashes already.
type ByName = HashMap<u64, u32, BuildHasherDefault<AsItIs>>;

#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// A file found in `new/` or `cur/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub name: String,
    pub in_new: bool,
}

impl Found {
    /// The file name up to the flags.
    pub fn base(&self) -> &str {
        self.name.split(':').next().unwrap_or(&self.name)
    }

    pub fn info(&self) -> Info {
        self.name.split_once(":2,").map_or(Info::default(), |(_, info)| Info::parse(info))
    }
}

/// True for names that can be messages: what other programs put beside them is left alone.
pub(crate) fn is_message_name(name: &str) -> bool {
    !name.starts_with(['.', ':']) && !name.chars().any(char::is_control)
}

impl State {
    /// The message with this base name.
    pub fn by_base(&self, base: &str) -> Option<&Message> {
        let uid = *self.index.get_or_init(|| index(&self.snapshot)).get(&xxh3_64(base.as_bytes()))?;
        match self.snapshot.find(uid) {
            Some((_, message)) if &*message.core.base == base => Some(message),
            _ => self.snapshot.iter().find(|message| &*message.core.base == base),
        }
    }

    /// Adds a message; its UID is above all known.
    pub fn add(&mut self, uid: u32, fields: &str, found: &Found) {
        let in_fields = fields.split(' ').find_map(|field| field.strip_prefix('W')?.parse().ok());
        let core = Arc::new(Core::new(uid, found.base(), in_fields).with_fields(fields));
        if let Some(index) = self.index.get_mut() {
            index.insert(xxh3_64(core.base.as_bytes()), uid);
        }
        if !fields.is_empty() {
            self.fields.insert(uid, fields.into());
        }
        let modseq = self.modseq_for(uid, found.info());
        let mut message = Message { core, info: Info::default(), in_new: false, odd_name: None, modseq };
        describe(&mut message, found);
        self.letters.0 |= message.info.keywords.0;
        self.unclaimed += usize::from(message.in_new);
        self.snapshot.push(message);
        self.highest = uid;
        self.snapshot.uid_next = self.snapshot.uid_next.max(uid.saturating_add(1));
        self.changed = true;
    }

    /// Notes where and under which name a known message is now. True when that was news.
    pub fn note(&mut self, uid: u32, found: &Found) -> bool {
        let Some((_, message)) = self.snapshot.find(uid) else { return false };
        if message.in_new == found.in_new && message.is_named(&found.name) {
            return false;
        }
        let was_new = message.in_new;
        let (old, modseq) = (message.info, message.modseq);
        self.snapshot.update(uid, |message| describe(message, found));
        let info = found.info();
        self.letters.0 |= info.keywords.0;
        if (old.flags, old.keywords) != (info.flags, info.keywords) {
            self.renamed(uid, old, modseq);
        }
        self.unclaimed = self.unclaimed + usize::from(found.in_new) - usize::from(was_new);
        self.changed = true;
        true
    }

    /// Takes messages away; `gone` is sorted.
    pub fn remove(&mut self, gone: &[u32]) {
        if gone.is_empty() {
            return;
        }
        for uid in gone {
            if let Some((_, message)) = self.snapshot.find(*uid) {
                self.unclaimed -= usize::from(message.in_new);
                let hash = xxh3_64(message.core.base.as_bytes());
                if let Some(index) = self.index.get_mut()
                    && index.get(&hash) == Some(uid)
                {
                    index.remove(&hash);
                }
            }
            self.fields.remove(uid);
        }
        self.snapshot.remove(gone);
        self.unlinked(gone);
        self.changed = true;
    }

    /// Forgets everything because the UIDVALIDITY became another.
    pub fn reset(&mut self) {
        let keep = self.snapshot.emptied();
        *self = State { snapshot: keep, changed: true, keywords_stamp: self.keywords_stamp, ..State::default() };
        self.snapshot.uid_next = 1;
    }

    /// True when the uidlist has become more dead than alive.
    pub fn wants_rewrite(&self) -> bool {
        self.rewrite || self.lines > self.snapshot.len() + self.snapshot.len() / 3 + 50
    }
}

fn index(snapshot: &Snapshot) -> ByName {
    snapshot.iter().map(|message| (xxh3_64(message.core.base.as_bytes()), message.uid())).collect()
}

/// Copies what a file name says into the message.
fn describe(message: &mut Message, found: &Found) {
    message.info = found.info();
    message.in_new = found.in_new;
    let usual = file_name(&message.core.base, message.info, found.in_new);
    message.odd_name = (usual != found.name).then(|| found.name.as_str().into());
}
