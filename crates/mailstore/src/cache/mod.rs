//! What was read from messages once and is asked for again and again. Two files of one form, each one per mailbox, beside its `cur/`:
//! `facteur.cache` for what lists are made of, and `facteur.search` for signatures, which tell that a message does not contain some
//! words. They are worth nothing but time: delete them, and they fill again. What their records hold is the business of who reads messages
//! (`imapd`; of signatures `message/src/signature.rs` tells), who also sees to it that records of an older kind are not taken for new ones.
//!
//! All numbers little-endian. Header, 16 bytes: `facteur-cache 1\n` or `facteur-search 1`. Then records, each of
//!
//! | bytes | what |
//! |--:|---|
//! | 4 | `FcR1` |
//! | 4 | length of the content, at most 256 KiB |
//! | 4 | UID |
//! | 4 | check: lower half of the XXH3-64 of the content, seeded with all other numbers of the record |
//! | 8 | key: XXH3-64 of the file's name up to the flags |
//! | … | content |
//!
//! A message's content never changes (RFC 3501 §2.3.1.1), nor the name it has there, so a record that fits both is true, whatever has become
//! of UIDVALIDITY. Of two records of one message the later one counts. Records are appended, in one write for many, by several processes,
//! without lock and without sync: what a crash leaves of a record fails its check, and the message is read again. A file in which the
//! next record cannot be found, or that is more dead than alive, is replaced.
//!
//! A signature takes at most a tenth of the text of its message, headers and decoded parts, and 264 bytes; with the record around it 288.

mod file;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::dir::Dir;
use crate::error::{Error, Result};
use crate::mailbox::Mailbox;
use file::{Known, Scan};

/// One of the files.
pub(crate) struct Kind {
    pub file: &'static str,
    temporary: &'static str,
    header: &'static [u8; 16],
}

/// What lists are made of.
pub(crate) static FACTS: Kind = Kind { file: "facteur.cache", temporary: "facteur.cache.tmp", header: b"facteur-cache 1\n" };

/// What cannot be found in messages.
pub(crate) static SIGNATURES: Kind = Kind { file: "facteur.search", temporary: "facteur.search.tmp", header: b"facteur-search 1" };

/// A longer content is not kept: reading the message costs as much.
const LARGEST_CONTENT: usize = 256 << 10;

/// So much waits in memory to be appended.
const WAITING_BYTES: usize = 256 << 10;

/// How long a file that could not be written, on a full disk for one, is left alone.
const FAILED_PAUSE: Duration = Duration::from_secs(60);

/// Files up to this are left as they are, however dead.
const SHORT_BYTES: u64 = 256 << 10;

/// What all places of a process may take together, as far as they are not in use.
const PLACES_BYTES: usize = 32 << 20;

/// What one place takes in memory, about.
const PLACE_BYTES: usize = 32;

/// The records of a mailbox, as far as this process knows them.
pub(crate) struct Cache {
    kind: &'static Kind,
    inner: Mutex<Inner>,
    room: Arc<Room>,
}

#[derive(Default)]
struct Inner {
    /// UIDVALIDITY, and the UID up to which all messages have records, or there is a reason why they have none.
    complete_to: (u32, u32),
    /// The file as it is open now, with a number of its own; `None` when there is none.
    file: Option<(u64, Arc<File>)>,
    /// The file was looked for since [`Cache::open`].
    looked: bool,
    /// Which file the places are of.
    known: Option<Known>,
    places: BTreeMap<u32, Place>,
    /// Bytes of records that others have replaced.
    dead: u64,
    /// The rest of the file cannot be made out.
    damaged: bool,
    /// Records to be appended, and their UIDs with their places there.
    waiting: Vec<u8>,
    fresh: BTreeMap<u32, Place>,
    /// Writing failed: not tried again before.
    failed_until: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// Where the record begins.
    offset: u64,
    /// Of the content.
    length: u32,
}

/// Which mailboxes have places in memory, and how many.
#[derive(Default)]
pub(crate) struct Room {
    count: AtomicUsize,
    mailboxes: Mutex<VecDeque<Weak<Mailbox>>>,
}

impl Room {
    /// Notes that `mailbox` has places now; makes others forget theirs when there are too many, those first that have had them longest.
    pub fn note(&self, mailbox: &Arc<Mailbox>) {
        let mut mailboxes = self.mailboxes.lock();
        mailboxes.retain(|other| other.strong_count() > 0 && other.as_ptr() != Arc::as_ptr(mailbox));
        let mut excess = self.count.load(Ordering::Relaxed).saturating_sub(PLACES_BYTES / PLACE_BYTES);
        let mut forget = Vec::new();
        while excess > 0
            && let Some(other) = mailboxes.pop_front()
        {
            if let Some(other) = other.upgrade() {
                excess = excess.saturating_sub(other.caches().map(Cache::places).iter().sum());
                forget.push(other);
            }
        }
        mailboxes.push_back(Arc::downgrade(mailbox));
        drop(mailboxes);
        forget.iter().flat_map(|other| other.caches()).for_each(Cache::forget);
    }
}

impl Cache {
    pub fn new(kind: &'static Kind, room: Arc<Room>) -> Cache {
        Cache { kind, inner: Mutex::default(), room }
    }

    fn places(&self) -> usize {
        self.inner.lock().places.len()
    }

    /// Forgets the places, if nobody is at work with them.
    fn forget(&self) {
        let mut inner = self.inner.lock();
        if inner.file.is_none() {
            self.room.count.fetch_sub(inner.places.len(), Ordering::Relaxed);
            inner.places.clear();
            (inner.known, inner.dead, inner.complete_to) = (None, 0, (0, 0));
        }
    }

    /// The content kept for a message, if there is one. Reads the file, and first, when that has not been done since the last
    /// [`Cache::close`], what is new in it; then `true` comes with it.
    pub fn get(&self, dir: &Dir, uid: u32, base: &str) -> (Option<Vec<u8>>, bool) {
        let mut inner = self.inner.lock();
        let key = file::key(base);
        if let Some(place) = inner.fresh.get(&uid) {
            return (file::content(&inner.waiting[place.offset as usize..], uid, key).map(<[u8]>::to_vec), false);
        }
        let first = !inner.looked;
        if first {
            self.look(&mut inner, dir);
        }
        let found = inner.places.get(&uid).copied().zip(inner.file.clone());
        drop(inner);
        (found.and_then(|(place, (number, file))| file::read(number, &file, place, uid, key)), first)
    }

    /// Up to this UID all messages have records, as far as is known since the file is there; 0: none is known to. Opens it; then `true` comes with it, as
    /// with [`Cache::get`].
    pub fn complete_to(&self, dir: &Dir, uid_validity: u32) -> (u32, bool) {
        let mut inner = self.inner.lock();
        let first = !inner.looked;
        if first {
            self.look(&mut inner, dir);
        }
        (if inner.complete_to.0 == uid_validity { inner.complete_to.1 } else { 0 }, first)
    }

    /// More of them have. `since` is what [`Cache::complete_to`] said before: another file may be in the place of that one meanwhile.
    pub fn is_complete_to(&self, uid_validity: u32, since: u32, uid: u32) {
        let mut inner = self.inner.lock();
        if since == 0 || inner.complete_to == (uid_validity, since) {
            inner.complete_to = (uid_validity, uid);
        }
    }

    /// Whether there is room for more, and the disk lets us write.
    pub fn takes_more(&self, limit: u64) -> bool {
        self.inner.lock().takes_more(limit)
    }

    /// Opens the file and learns what is new there.
    fn look(&self, inner: &mut Inner, dir: &Dir) {
        inner.looked = true;
        let before = inner.places.len();
        if let Err(error) = inner.look(self.kind, dir) {
            tracing::debug!(file = self.kind.file, %error, "cache cannot be read");
            inner.start_over();
        }
        let after = inner.places.len();
        if after >= before {
            self.room.count.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.room.count.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    /// Keeps a content for a message; written at [`Cache::close`] at the latest.
    pub fn add(&self, dir: &Dir, limit: u64, uid: u32, base: &str, content: &[u8]) {
        let mut inner = self.inner.lock();
        if content.len() > LARGEST_CONTENT || !inner.takes_more(limit) {
            return;
        }
        let place = Place { offset: inner.waiting.len() as u64, length: content.len() as u32 };
        file::write_record(&mut inner.waiting, uid, file::key(base), content);
        inner.fresh.insert(uid, place);
        if inner.waiting.len() >= WAITING_BYTES {
            self.write(&mut inner, dir);
        }
    }

    /// Writes what waits, and lets go of the file.
    pub fn close(&self, dir: Option<&Dir>) {
        let mut inner = self.inner.lock();
        if !inner.waiting.is_empty()
            && let Some(dir) = dir
        {
            self.write(&mut inner, dir);
        }
        inner.file = None;
        inner.looked = false;
    }

    fn write(&self, inner: &mut Inner, dir: &Dir) {
        if !inner.looked {
            self.look(inner, dir);
        }
        let before = inner.places.len();
        if let Err(error) = inner.append(self.kind, dir) {
            // A full or read-only disk: it goes on without.
            tracing::debug!(file = self.kind.file, %error, "cache cannot be written");
            inner.failed_until = Some(Instant::now() + FAILED_PAUSE);
        }
        inner.waiting = Vec::new();
        inner.fresh.clear();
        if inner.damaged {
            self.replace(inner, dir);
        }
        self.room.count.fetch_add(inner.places.len().saturating_sub(before), Ordering::Relaxed);
    }

    /// Replaces the file by one of the records of living messages, when most of it is dead or it is damaged; `lives` tells which are.
    pub fn shorten(&self, dir: &Dir, messages: usize, lives: impl Fn(u32) -> bool) {
        let mut inner = self.inner.lock();
        let (Some(known), Some(_)) = (&inner.known, &inner.file) else { return };
        let end = known.end;
        if inner.has_failed() || !inner.damaged && end <= SHORT_BYTES {
            return;
        }
        if inner.places.len() > messages + messages / 8 {
            let (before, mut dead) = (inner.places.len(), 0);
            inner.places.retain(|uid, place| {
                let lives = lives(*uid);
                dead += if lives { 0 } else { u64::from(place.length) };
                lives
            });
            inner.dead += dead;
            self.room.count.fetch_sub(before - inner.places.len(), Ordering::Relaxed);
        }
        if inner.damaged || inner.dead * 2 >= end {
            self.replace(&mut inner, dir);
        }
    }

    /// Replaces the file by one of the records that have a place.
    fn replace(&self, inner: &mut Inner, dir: &Dir) {
        let Some((_, file)) = &inner.file else { return };
        match file::replace(self.kind, dir, file, inner.places.values().copied()) {
            Ok(()) => {
                inner.file = None;
                self.look(inner, dir);
            }
            Err(error) => {
                tracing::debug!(file = self.kind.file, %error, "cache cannot be replaced");
                inner.failed_until = Some(Instant::now() + FAILED_PAUSE);
            }
        }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.room.count.fetch_sub(self.inner.get_mut().places.len(), Ordering::Relaxed);
    }
}

impl Inner {
    fn has_failed(&self) -> bool {
        self.failed_until.is_some_and(|until| Instant::now() < until)
    }

    fn takes_more(&self, limit: u64) -> bool {
        !self.has_failed() && self.known.as_ref().map_or(0, |known| known.end) < limit
    }

    fn start_over(&mut self) {
        self.places.clear();
        (self.file, self.known, self.dead, self.damaged, self.complete_to) = (None, None, 0, false, (0, 0));
    }

    fn look(&mut self, kind: &Kind, dir: &Dir) -> Result<()> {
        let Some((file, stamp)) = file::open(kind, dir)? else {
            self.start_over();
            return Ok(());
        };
        if self.known.as_ref().is_none_or(|known| !known.is(&stamp)) {
            self.start_over();
            self.known = Some(Known::new(&stamp));
        }
        self.damaged = self.scan(kind, &file, stamp.size).map_err(|e| Error::io("read", dir.at(kind.file), e))? == Scan::Damaged;
        self.file = Some((file::number(), Arc::new(file)));
        Ok(())
    }

    /// Learns what records there are up to `size`.
    fn scan(&mut self, kind: &Kind, file: &File, size: u64) -> std::io::Result<Scan> {
        let (Some(known), places, dead) = (&mut self.known, &mut self.places, &mut self.dead) else { return Ok(Scan::Done) };
        file::scan(kind, file, known, size, |uid, place| {
            if let Some(old) = places.insert(uid, place) {
                *dead += u64::from(old.length);
            }
        })
    }

    fn append(&mut self, kind: &Kind, dir: &Dir) -> Result<()> {
        let (file, begin, stamp) = file::append(kind, dir, self.file.as_ref().map(|(_, file)| file), &self.waiting)?;
        if self.known.as_ref().is_none_or(|known| !known.is(&stamp)) {
            self.start_over();
            self.known = Some(Known::new(&stamp));
        }
        let end = begin + self.waiting.len() as u64;
        let found = self.known.as_ref().map_or(begin, |known| known.end);
        if found != begin {
            // what others wrote in between; or the rest of a record that was torn, behind which nothing would be found
            self.damaged = self.scan(kind, &file, begin).map_err(|e| Error::io("read", dir.at(kind.file), e))? == Scan::Damaged
                || self.known.as_ref().is_none_or(|known| known.end != begin);
        }
        for (uid, place) in &self.fresh {
            if let Some(old) = self.places.insert(*uid, Place { offset: begin + place.offset, ..*place }) {
                self.dead += u64::from(old.length);
            }
        }
        if let Some(known) = self.known.as_mut().filter(|_| !self.damaged) {
            known.end = end;
        }
        self.file = Some((file::number(), file));
        Ok(())
    }
}
