//! One mailbox: the state all its sessions in this process share, and what can be done with it.
//!
//! [`State`] is the working copy behind one lock; every change ends in [`Mailbox::publish`], which shows a new immutable
//! [`Snapshot`] to the sessions and counts [`Mailbox::changes`] up. `sync` keeps the state true to the disk, `append`,
//! `transfer` and `change` alter both, `journal` writes down what changed, `read` opens messages, `recall` knows what was read of them before, `sign` what cannot be found in them.

mod append;
mod change;
mod journal;
mod listing;
mod read;
mod recall;
mod resync;
mod sign;
mod state;
mod sync;
mod transfer;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::account::Account;
use crate::cache::{Cache, FACTS, SIGNATURES};
use crate::dir::Dir;
use crate::error::{Error, Result};
use crate::message_file::Places;
use crate::name::MailboxName;
use crate::snapshot::Snapshot;
use crate::view::{Access, View};
use crate::watch::{Pending, WatchHandle};
use crate::{index, lock, uidlist};

pub use read::Pop3Fields;
pub use recall::Hold;
pub(crate) use state::{State, is_message_name};
use sync::PATIENCE;
pub use transfer::{Gone, Kept, Moved};

/// Fewer messages are read as fast without an index.
const WORTH_SAVING: usize = 100;

/// A mailbox opened in this process: one shared state for all sessions.
pub struct Mailbox {
    me: Weak<Mailbox>,
    account: Arc<Account>,
    name: MailboxName,
    state: Mutex<State>,
    published: RwLock<Arc<Snapshot>>,
    generation: AtomicU64,
    notify: watch::Sender<u64>,
    deleted: AtomicBool,
    /// Messages of the current snapshot still in `new/`.
    unclaimed: AtomicBool,
    /// Kernel events not yet applied.
    pending: Mutex<Pending>,
    watching: Mutex<Option<WatchHandle>>,
    /// Where readers of this mailbox's messages stopped.
    places: Arc<Places>,
    /// Sessions that have it open.
    pub(crate) views: AtomicUsize,
    held: recall::Held,
    /// What is remembered of messages, and what cannot be found in them.
    cache: Cache,
    signatures: Cache,
    /// The snapshot that is in the index, or cannot be.
    saved: AtomicU64,
}

/// UIDs a command gave out, for APPENDUID and COPYUID (RFC 4315).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Added {
    pub uid_validity: u32,
    /// UIDs of the source, in the order of `uids`; empty for APPEND. Messages that were gone are left out.
    pub sources: Vec<u32>,
    /// UIDs given, rising.
    pub uids: Vec<u32>,
}

/// What STORE did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// UIDs whose flags are now as wanted (also those that were so before).
    pub done: Vec<u32>,
    /// UIDs refused because they changed since `unchanged_since`.
    pub modified: Vec<u32>,
    /// UIDs that no longer exist.
    pub expunged: Vec<u32>,
}

/// The directories of a mailbox, open for one operation. Nothing is held open between operations: thousands of idle sessions
/// cost no descriptors.
pub(crate) struct Folder {
    pub dir: Dir,
    pub new: Dir,
    pub cur: Dir,
}

/// Device and inode of `new/` and `cur/`.
pub(crate) type Directories = [(u64, u64); 2];

impl Folder {
    pub fn directories(&self) -> Result<Directories> {
        let number = |dir: &Dir| Ok(dir.stamp(".")?.map_or((0, 0), |stamp| (stamp.device, stamp.inode)));
        Ok([number(&self.new)?, number(&self.cur)?])
    }

    pub fn part(&self, in_new: bool) -> &Dir {
        if in_new { &self.new } else { &self.cur }
    }

    pub fn tmp(&self) -> Result<Dir> {
        match self.dir.open_dir("tmp") {
            // some tools leave empty directories out of a copied store
            Err(error) if error.is_not_found() => {
                self.dir.make_dir("tmp")?;
                self.dir.open_dir("tmp")
            }
            other => other,
        }
    }
}

impl Mailbox {
    /// Loads the mailbox from disk. `NoSuchMailbox`.
    pub(crate) fn load(account: &Arc<Account>, name: &MailboxName) -> Result<Arc<Mailbox>> {
        let mailbox = Arc::new_cyclic(|me| Mailbox {
            me: me.clone(),
            account: account.clone(),
            name: name.clone(),
            state: Mutex::new(State::default()),
            published: RwLock::new(Arc::new(Snapshot::default())),
            generation: AtomicU64::new(0),
            notify: watch::Sender::new(0),
            deleted: AtomicBool::new(false),
            unclaimed: AtomicBool::new(false),
            pending: Mutex::new(Pending::default()),
            watching: Mutex::new(None),
            places: Arc::default(),
            views: AtomicUsize::new(0),
            held: recall::Held::default(),
            cache: Cache::new(&FACTS, account.store().cache_room().clone()),
            signatures: Cache::new(&SIGNATURES, account.store().cache_room().clone()),
            saved: AtomicU64::new(0),
        });
        mailbox.first_look()?;
        Ok(mailbox)
    }

    pub fn name(&self) -> &MailboxName {
        &self.name
    }

    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Opens a session's view. Blocking.
    pub fn view(self: &Arc<Mailbox>, access: Access) -> Result<View> {
        View::new(self.clone(), access)
    }

    /// Names the mailbox whatever it is called (RFC 8474 §4): the GUID that its uidlist has, which goes along when it is renamed, with the
    /// UIDVALIDITY, as Dovecot keeps the GUID when that changes. Blocking where the uidlist has none yet.
    pub fn mailbox_id(&self) -> Result<String> {
        let mut state = self.state.lock();
        if state.guid.is_empty() || state.rewrite {
            let folder = self.folder()?;
            let lock = lock::lock(&folder.dir, uidlist::LOCK, sync::PATIENCE)?;
            self.introduce_locked(&mut state, &folder, Vec::new(), &lock)?;
            if state.guid.is_empty() || state.rewrite {
                self.rewrite(&mut state, &folder, &lock)?;
            }
            self.publish(&mut state);
        }
        Ok(uidlist::mailbox_id(&state.guid, state.snapshot.uid_validity))
    }

    /// Looks at the mailbox as it is now, with its directory.
    pub(crate) fn with_state<T>(&self, work: impl FnOnce(&State, &Dir) -> Result<T>) -> Result<T> {
        let mut state = self.state.lock();
        self.refresh_locked(&mut state, PATIENCE)?;
        work(&state, &self.folder()?.dir)
    }

    /// What this process knows of the mailbox. Never blocks.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.published.read().clone()
    }

    /// Number of the current snapshot. Never blocks.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Writes down what is known, for who opens the mailbox next; `Locked` when it changed just now, or is being changed. Nothing is written
    /// where that is so already, or where reading everything is soon done. Blocking.
    pub(crate) fn save(&self) -> Result<()> {
        let generation = self.generation();
        if self.saved.load(Ordering::Acquire) == generation || self.snapshot().len() < WORTH_SAVING || self.is_deleted() {
            return Ok(());
        }
        let folder = self.folder()?;
        if let Some(known) = self.known(&folder)? {
            index::write(&folder.dir, &known)?;
        }
        self.saved.store(generation, Ordering::Release);
        Ok(())
    }

    /// Counts up whenever a new snapshot is there, and when the mailbox was deleted: an IDLE session waits on it, then calls
    /// [`View::sync`]. From the first call on, changes by other programs arrive here within a second without anybody calling
    /// [`Mailbox::refresh`].
    pub fn changes(self: &Arc<Mailbox>) -> watch::Receiver<u64> {
        self.start_watching();
        self.notify.subscribe()
    }

    /// True once the mailbox was deleted or renamed; sessions should close it.
    pub fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// Tells all sessions that the mailbox is no more.
    pub(crate) fn mark_deleted(&self) {
        if !self.deleted.swap(true, Ordering::AcqRel) {
            self.notify.send_modify(|count| *count += 1);
        }
    }

    pub(crate) fn has_unclaimed(&self) -> bool {
        self.unclaimed.load(Ordering::Acquire)
    }

    /// Opens the mailbox's directories; `NoSuchMailbox` (and marks it deleted) when they are gone.
    pub(crate) fn folder(&self) -> Result<Folder> {
        let open = || {
            let dir = self.account.open_root()?.open_dir(&self.account.directory_of(&self.name))?;
            let part = |name| match dir.open_dir(name) {
                Err(error) if error.is_not_found() && self.name.is_inbox() => {
                    dir.make_dir(name)?;
                    dir.sync()?;
                    dir.open_dir(name)
                }
                other => other,
            };
            Ok(Folder { new: part("new")?, cur: part("cur")?, dir: dir.clone() })
        };
        open().map_err(|error: Error| {
            if error.is_not_found() {
                self.mark_deleted();
                return Error::NoSuchMailbox;
            }
            error
        })
    }

    /// Shows the sessions what the state has become, after it was written down.
    fn publish(&self, state: &mut State) {
        self.publish_within(state, PATIENCE);
    }

    fn publish_within(&self, state: &mut State, patience: Duration) {
        self.write_log(state, patience);
        let highest_modseq = state.shown_modseq();
        let is_same = self.published.read().highest_modseq == highest_modseq;
        if !std::mem::take(&mut state.changed) && is_same {
            return;
        }
        state.snapshot.generation += 1;
        let mut snapshot = state.snapshot.clone();
        snapshot.highest_modseq = highest_modseq;
        let snapshot = Arc::new(snapshot);
        let generation = snapshot.generation;
        *self.published.write() = snapshot;
        self.unclaimed.store(state.unclaimed > 0, Ordering::Release);
        self.generation.store(generation, Ordering::Release);
        self.notify.send_modify(|count| *count += 1);
    }

    /// Kernel events wait to be applied.
    pub(crate) fn pending(&self) -> &Mutex<Pending> {
        &self.pending
    }

    pub(crate) fn start_watching(self: &Arc<Mailbox>) {
        let mut watching = self.watching.lock();
        if watching.is_some() || self.is_deleted() {
            return;
        }
        if let Ok(folder) = self.folder() {
            *watching = Some(self.account.store().notifier().watch(self, &folder));
        }
    }

    /// Watches the directories that have the mailbox's path now, when others were watched so far.
    fn follow(&self, folder: &Folder) -> Result<()> {
        let directories = folder.directories()?;
        let mut watching = self.watching.lock();
        if watching.as_ref().is_none_or(|handle| !handle.is_live() || handle.is_on(&directories)) {
            return Ok(());
        }
        tracing::warn!(mailbox = %self.name, path = %folder.dir.path().display(), "another directory is in the mailbox's place");
        // the old watch ends first: one of the two directories may be the same
        *watching = None;
        *watching = self.me.upgrade().map(|me| self.account.store().notifier().watch(&me, folder));
        self.pending.lock().everything = true;
        Ok(())
    }

    /// True when the kernel tells us of all changes.
    fn is_watched(&self) -> bool {
        self.watching.lock().as_ref().is_some_and(WatchHandle::tells_all)
    }

    /// True when somebody waits for changes.
    pub(crate) fn is_awaited(&self) -> bool {
        self.notify.receiver_count() > 0
    }
}
