//! One session's look at a mailbox: what its sequence numbers mean, and what changed since it last looked.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::{Error, Result};
use crate::mailbox::Mailbox;
use crate::snapshot::{Message, Snapshot};

/// How a session opens a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// SELECT: claims messages of `new/` as recent, moving them to `cur/`.
    ReadWrite,
    /// EXAMINE, and POP3: changes nothing by looking.
    ReadOnly,
}

/// Whether a sync may take messages away from the session's numbering. IMAP forbids it while FETCH, STORE or SEARCH (without
/// UID) is in progress (RFC 9051 §7.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expunges {
    Report,
    Hold,
    /// Messages that came keep out of the numbering as well: only flags are brought up to date, for a client that wants to hear of nothing
    /// (RFC 5465 §3.1).
    Freeze,
}

/// What a sync found. Numbers are sequence numbers, counted from 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// To be announced one by one in this order: highest first, so that the lower numbers stay true.
    pub expunged: Vec<u32>,
    /// UIDs of the same messages, same order.
    pub expunged_uids: Vec<u32>,
    /// Number of messages, when messages were added.
    pub exists: Option<u32>,
    /// Number of recent messages of this session, when that changed.
    pub recent: Option<u32>,
    /// Messages whose flags or keywords changed, in the new numbering, rising. New messages are not in here.
    pub flags: Vec<u32>,
    /// Messages of which only the MODSEQ changed (a flag was set and taken back), rising.
    pub modseqs: Vec<u32>,
    /// New keywords are known (untagged FLAGS and PERMANENTFLAGS are due).
    pub keywords: bool,
    /// The mailbox's UIDVALIDITY is another one: everything the session knew is void, it has to be closed.
    pub uid_validity: bool,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        *self == Changes::default()
    }
}

/// A session's numbering of a mailbox. Small: the messages are shared with all other sessions.
pub struct View {
    mailbox: Open,
    snapshot: Arc<Snapshot>,
    /// Generation of the mailbox's snapshot this view is made from (a view that holds expunges back has one of its own).
    seen: u64,
    /// UIDs that are gone but still numbered here, rising.
    held: Vec<u32>,
    /// Messages from this UID on were kept out.
    frozen: Option<u32>,
    /// Up to this MODSEQ all was told.
    told: u64,
    access: Access,
    /// UIDs this session claimed as recent, rising, as ranges.
    recent: Vec<(u32, u32)>,
}

/// A mailbox that a session has open.
struct Open(Arc<Mailbox>);

impl Open {
    fn new(mailbox: Arc<Mailbox>) -> Open {
        mailbox.views.fetch_add(1, Ordering::AcqRel);
        Open(mailbox)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.views.fetch_sub(1, Ordering::AcqRel);
    }
}

impl std::ops::Deref for Open {
    type Target = Mailbox;

    fn deref(&self) -> &Mailbox {
        &self.0
    }
}

impl View {
    pub(crate) fn new(mailbox: Arc<Mailbox>, access: Access) -> Result<View> {
        // from here on the numbers of messages have to stay
        let open = Open::new(mailbox);
        let mailbox = &open.0;
        let recent = match access {
            Access::ReadWrite => mailbox.claim_recent()?,
            Access::ReadOnly => Vec::new(),
        };
        let snapshot = mailbox.snapshot();
        let (seen, told) = (snapshot.generation, snapshot.highest_modseq());
        let mut view = View { mailbox: open, seen, snapshot, held: Vec::new(), frozen: None, told, access, recent: Vec::new() };
        view.add_recent(&recent);
        Ok(view)
    }

    pub fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox.0
    }

    pub fn access(&self) -> Access {
        self.access
    }

    /// The messages as this session numbers them.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Message by sequence number, counted from 1.
    pub fn message(&self, number: u32) -> Option<&Message> {
        self.snapshot.get((number as usize).checked_sub(1)?)
    }

    /// True when the message is gone from the mailbox but still has a number here.
    pub fn is_expunged(&self, uid: u32) -> bool {
        self.held.binary_search(&uid).is_ok()
    }

    /// The highest MODSEQ up to which the session was told everything: while expunges are held back, one before theirs (RFC 7162 §3.2).
    pub fn highest_modseq(&self) -> u64 {
        if self.held.is_empty() && self.frozen.is_none() { self.snapshot.highest_modseq() } else { self.told }
    }

    /// The UID from which on messages are new to the session.
    pub fn first_new(&self) -> u32 {
        self.frozen.unwrap_or(self.snapshot.uid_next())
    }

    /// True while messages that are gone still have numbers here.
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// True when this session is the one to show the message as `\Recent`.
    pub fn is_recent(&self, uid: u32) -> bool {
        let after = self.recent.partition_point(|(first, _)| *first <= uid);
        after > 0 && uid <= self.recent[after - 1].1
    }

    /// Number of messages that are `\Recent` here. In a read-only view: what a read-write one would claim.
    pub fn recent_count(&self) -> u32 {
        match self.access {
            Access::ReadOnly => self.snapshot.iter().filter(|message| message.in_new).count() as u32,
            Access::ReadWrite => {
                let count = |(first, last): &(u32, u32)| {
                    let end = last.checked_add(1).map_or(self.snapshot.len(), |after| self.snapshot.first_from(after));
                    end - self.snapshot.first_from(*first)
                };
                self.recent.iter().map(count).sum::<usize>() as u32
            }
        }
    }

    /// True when [`View::sync`] would find something, as far as this process knows. No system call.
    pub fn is_stale(&self) -> bool {
        self.mailbox.generation() != self.seen
    }

    /// Brings the view up to what this process knows of the mailbox ([`Mailbox::refresh`] first looks at the disk) and tells
    /// what changed. Does not touch the disk except, in a read-write view, to claim new messages (a rename each): call it
    /// where blocking is allowed. `NoSuchMailbox`, and no other error: a session that says a command is done has told what it changed.
    pub fn sync(&mut self, expunges: Expunges) -> Result<Changes> {
        let due = expunges == Expunges::Report && !self.held.is_empty() || expunges != Expunges::Freeze && self.frozen.is_some();
        if !self.is_stale() && !due {
            return Ok(Changes::default());
        }
        let recent_before = self.recent_count();
        if self.access == Access::ReadWrite {
            match self.mailbox.claim_recent() {
                Ok(claimed) => self.add_recent(&claimed),
                Err(Error::NoSuchMailbox) => return Err(Error::NoSuchMailbox),
                // they stay new; what changed is told all the same
                Err(error) => tracing::warn!(mailbox = %self.mailbox.name(), %error, "new messages cannot be claimed"),
            }
        }
        let mut changes = self.adopt(self.mailbox.snapshot(), expunges);
        let recent = self.recent_count();
        changes.recent = (recent != recent_before).then_some(recent);
        Ok(changes)
    }

    fn add_recent(&mut self, uids: &[u32]) {
        for uid in uids {
            match self.recent.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(*uid) => *last = *uid,
                Some((_, last)) if *last >= *uid => {}
                _ => self.recent.push((*uid, *uid)),
            }
        }
    }

    /// Replaces the session's snapshot by `newer` and tells the difference.
    fn adopt(&mut self, newer: Arc<Snapshot>, expunges: Expunges) -> Changes {
        self.told = self.highest_modseq();
        let older = std::mem::replace(&mut self.snapshot, newer.clone());
        self.seen = newer.generation;
        let mut changes = Changes { keywords: older.keywords != newer.keywords, ..Changes::default() };
        if older.uid_validity != newer.uid_validity {
            self.held.clear();
            self.frozen = None;
            return Changes { uid_validity: true, ..Changes::default() };
        }
        let mut difference = difference(&older, &newer);
        let before = self.frozen.take().unwrap_or(older.uid_next());
        let freezes = expunges == Expunges::Freeze && (difference.added || before < older.uid_next());
        self.held.clear();
        if expunges != Expunges::Report && !difference.gone.is_empty() || freezes {
            self.held.extend(difference.gone.iter().filter_map(|index| older.get(*index)).map(Message::uid));
            self.frozen = freezes.then_some(before);
            self.snapshot = Arc::new(with_ghosts(&older, &newer, &difference.gone, self.frozen));
            difference.gone.clear();
            difference.added &= !freezes;
        }
        for index in difference.gone.iter().rev() {
            changes.expunged.push(*index as u32 + 1);
            changes.expunged_uids.extend(older.get(*index).map(Message::uid));
        }
        let numbers = |uids: &[u32]| uids.iter().filter_map(|uid| self.snapshot.find(*uid).map(|(index, _)| index as u32 + 1)).collect();
        changes.flags = numbers(&difference.changed);
        changes.modseqs = numbers(&difference.moved);
        changes.exists = difference.added.then_some(self.snapshot.len() as u32);
        changes
    }
}

struct Difference {
    /// Indexes in the older snapshot, rising.
    gone: Vec<usize>,
    /// UIDs.
    changed: Vec<u32>,
    /// UIDs with another MODSEQ only.
    moved: Vec<u32>,
    added: bool,
}

/// Compares two snapshots of one mailbox; equal chunks are skipped.
fn difference(older: &Snapshot, newer: &Snapshot) -> Difference {
    let mut found = Difference { gone: Vec::new(), changed: Vec::new(), moved: Vec::new(), added: false };
    let same = older.chunks().iter().zip(newer.chunks()).take_while(|(a, b)| Arc::ptr_eq(a, b)).count();
    let skipped: usize = older.chunks()[..same].iter().map(|chunk| chunk.len()).sum();
    let mut new = newer.iter_from(skipped).peekable();
    for (index, old) in older.iter_from(skipped).enumerate() {
        while new.next_if(|message| message.uid() < old.uid()).is_some() {
            found.added = true;
        }
        match new.next_if(|message| message.uid() == old.uid()) {
            None => found.gone.push(skipped + index),
            Some(message) if message.info.flags != old.info.flags || message.info.keywords != old.info.keywords => {
                found.changed.push(old.uid());
            }
            Some(message) if message.modseq != old.modseq => found.moved.push(old.uid()),
            Some(_) => {}
        }
    }
    found.added |= new.next().is_some();
    found
}

/// `newer` with the messages it lost since `older` still in their places; without those `from` a UID on, if there is one.
fn with_ghosts(older: &Snapshot, newer: &Snapshot, gone: &[usize], from: Option<u32>) -> Snapshot {
    let mut merged = newer.emptied();
    let mut ghosts = gone.iter().filter_map(|index| older.get(*index)).peekable();
    for message in newer.iter().take_while(|message| from.is_none_or(|from| message.uid() < from)) {
        while let Some(ghost) = ghosts.next_if(|ghost| ghost.uid() < message.uid()) {
            merged.push(ghost.clone());
        }
        merged.push(message.clone());
    }
    ghosts.for_each(|ghost| merged.push(ghost.clone()));
    merged
}
