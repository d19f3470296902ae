//! Changes by other programs, noticed while sessions idle: one inotify descriptor per [`crate::Store`], a watch each on `new/` and `cur/` of
//! mailboxes somebody waits on, one thread that reads events and a few that act on them (acting can mean waiting for a lock).
//!
//! The kernel queues an event before the system call that caused it returns, so a session that asks ([`Notifier::drain`]) sees
//! everything that happened before. Where the kernel has no watches left, mailboxes are looked at every `poll_interval`; so they are where
//! another host may write to the file system, of which the kernel here does not tell.
//!
//! A watch is on a directory, not on its path: [`Mailbox::refresh`] compares the two, and so does the reading thread now and then, so that a
//! mailbox restored from a backup under idle sessions is noticed.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use parking_lot::{Condvar, Mutex};

use crate::dir::Dir;
use crate::error::Error;
use crate::file_system;
use crate::listener::{Ear, Place};
use crate::mailbox::{Directories, Folder, Mailbox};

/// Threads that act on changes.
const WORKERS: usize = 4;

/// After so many poll intervals watched mailboxes are looked at too: a directory above one that was exchanged tells nobody.
const CHECK_ROUNDS: u32 = 30;

/// More events than this for one mailbox and its directories are read instead. Most are of our own changes, and known.
const MOST_EVENTS: usize = 4096;

/// What is watched for in `new/` and `cur/`.
const IN_MESSAGES: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

/// A file appeared in or vanished from a directory (a rename is one of each).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub in_new: bool,
    pub appeared: bool,
    pub name: String,
}

/// Events a mailbox has not applied yet.
#[derive(Default)]
pub(crate) struct Pending {
    pub events: Vec<Event>,
    /// Events were lost, or too many: look at everything.
    pub everything: bool,
    /// The watch has begun since the last look.
    pub begun: bool,
    /// In the queue of the workers.
    queued: bool,
}

pub(crate) struct Notifier {
    inotify: Option<Inotify>,
    targets: Mutex<HashMap<WatchDescriptor, Vec<Target>>>,
    polled: Mutex<Vec<Weak<Mailbox>>>,
    queue: Mutex<VecDeque<Weak<Mailbox>>>,
    wake: Condvar,
    started: AtomicBool,
    stopping: AtomicBool,
    poll_interval: Duration,
}

/// Whom the events of a watch are for.
enum Target {
    Mailbox {
        mailbox: Weak<Mailbox>,
        in_new: bool,
        /// Of the handle.
        lost: Arc<AtomicBool>,
    },
    Ear {
        ear: Weak<Ear>,
        place: Place,
    },
}

/// A mailbox being watched; ends when dropped.
pub(crate) struct WatchHandle {
    notifier: Weak<Notifier>,
    watches: Vec<WatchDescriptor>,
    mailbox: Weak<Mailbox>,
    /// The directories being watched.
    directories: Option<Directories>,
    /// Others may change them of which the kernel does not tell: it is looked at from time to time as well.
    is_shared: bool,
    /// The kernel has ended a watch: its directory is gone. One that is made in its place may get its number.
    lost: Arc<AtomicBool>,
}

impl WatchHandle {
    /// True when these are still the directories being watched.
    pub fn is_on(&self, directories: &Directories) -> bool {
        self.directories.as_ref() == Some(directories) && !self.lost.load(Ordering::Acquire)
    }

    /// True when the kernel reports changes, false when the mailbox is only looked at from time to time.
    pub fn is_live(&self) -> bool {
        !self.watches.is_empty()
    }

    /// True when the kernel reports all changes there are.
    pub fn tells_all(&self) -> bool {
        self.is_live() && !self.is_shared
    }
}

impl Drop for WatchHandle {
    fn drop(&mut self) {
        let Some(notifier) = self.notifier.upgrade() else { return };
        let mut targets = notifier.targets.lock();
        for watch in &self.watches {
            let Some(list) = targets.get_mut(watch) else { continue };
            list.retain(|target| !matches!(target, Target::Mailbox { mailbox, .. } if Weak::ptr_eq(mailbox, &self.mailbox)));
            notifier.end_unused(&mut targets, *watch);
        }
    }
}

/// A directory somebody listens to; ends when dropped.
pub(crate) struct EarWatch {
    notifier: Weak<Notifier>,
    watch: WatchDescriptor,
    ear: Weak<Ear>,
    place: Place,
}

impl Drop for EarWatch {
    fn drop(&mut self) {
        let Some(notifier) = self.notifier.upgrade() else { return };
        let mut targets = notifier.targets.lock();
        let Some(list) = targets.get_mut(&self.watch) else { return };
        list.retain(|target| !matches!(target, Target::Ear { ear, place } if Weak::ptr_eq(ear, &self.ear) && *place == self.place));
        notifier.end_unused(&mut targets, self.watch);
    }
}

impl Notifier {
    pub fn new(poll_interval: Duration) -> Arc<Notifier> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)
            .inspect_err(|error| tracing::warn!(%error, "no inotify: opened mailboxes are looked at from time to time"))
            .ok();
        Arc::new(Notifier {
            inotify,
            targets: Mutex::default(),
            polled: Mutex::default(),
            queue: Mutex::default(),
            wake: Condvar::new(),
            started: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            poll_interval,
        })
    }

    /// Follows a mailbox from now on. What changed before is looked at by a worker.
    pub fn watch(self: &Arc<Notifier>, mailbox: &Arc<Mailbox>, folder: &Folder) -> WatchHandle {
        self.start();
        let mut handle = WatchHandle {
            notifier: Arc::downgrade(self),
            watches: Vec::new(),
            mailbox: Arc::downgrade(mailbox),
            directories: None,
            is_shared: file_system::is_shared(&folder.cur),
            lost: Arc::default(),
        };
        for in_new in [true, false] {
            // held while the watch is made: its first event finds the target
            let mut targets = self.targets.lock();
            match self.add_watch(folder.part(in_new), IN_MESSAGES) {
                Ok(watch) => {
                    let (mailbox, lost) = (handle.mailbox.clone(), handle.lost.clone());
                    targets.entry(watch).or_default().push(Target::Mailbox { mailbox, in_new, lost });
                    handle.watches.push(watch);
                }
                Err(error) => {
                    drop(targets);
                    tracing::warn!(mailbox = %mailbox.name(), %error, "cannot watch a mailbox, it is looked at from time to time (fs.inotify.max_user_watches)");
                    self.polled.lock().push(handle.mailbox.clone());
                    // what it watches so far ends with it
                    return WatchHandle {
                        watches: Vec::new(),
                        directories: None,
                        is_shared: handle.is_shared,
                        lost: Arc::default(),
                        notifier: handle.notifier.clone(),
                        mailbox: handle.mailbox.clone(),
                    };
                }
            }
        }
        handle.directories = folder.directories().ok();
        if handle.is_shared {
            self.polled.lock().push(handle.mailbox.clone());
        }
        mailbox.pending().lock().begun = true;
        self.enqueue(mailbox);
        handle
    }

    /// Lets an ear hear what happens in a directory.
    pub fn listen(self: &Arc<Notifier>, dir: &Dir, ear: &Arc<Ear>, place: Place) -> nix::Result<EarWatch> {
        self.start();
        // `new/` and `cur/` are watched for mailboxes too: the kernel has one watch for a directory, and so one mask
        let flags = if matches!(place, Place::Messages(_)) { IN_MESSAGES } else { IN_MESSAGES | AddWatchFlags::IN_MODIFY };
        let mut targets = self.targets.lock();
        let watch = self.add_watch(dir, flags)?;
        let ear = Arc::downgrade(ear);
        targets.entry(watch).or_default().push(Target::Ear { ear: ear.clone(), place: place.clone() });
        Ok(EarWatch { notifier: Arc::downgrade(self), watch, ear, place })
    }

    fn add_watch(&self, dir: &Dir, flags: AddWatchFlags) -> nix::Result<WatchDescriptor> {
        let inotify = self.inotify.as_ref().ok_or(nix::errno::Errno::ENOSYS)?;
        // through the descriptor: the very directory we opened, not what a link put in its place points to
        let through = format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd());
        inotify.add_watch(through.as_str(), flags).or_else(|_| inotify.add_watch(dir.path(), flags | AddWatchFlags::IN_DONT_FOLLOW))
    }

    /// Ends a watch that nobody needs any more.
    fn end_unused(&self, targets: &mut HashMap<WatchDescriptor, Vec<Target>>, watch: WatchDescriptor) {
        if targets.get(&watch).is_some_and(Vec::is_empty) {
            targets.remove(&watch);
            if let Some(inotify) = &self.inotify {
                // fails when the directory is gone, and the watch with it
                let _ = inotify.rm_watch(watch);
            }
        }
    }

    /// Hands out all events the kernel has. Mailboxes that got some are queued for the workers.
    pub fn drain(self: &Arc<Notifier>) {
        let Some(inotify) = &self.inotify else { return };
        // an Arc dropped here may be a mailbox's last one, whose watch ends then: not while `targets` is locked
        let mut touched: Vec<Arc<Mailbox>> = Vec::new();
        {
            // reading and handing out under one lock, so that events of a mailbox stay in order
            let targets = self.targets.lock();
            loop {
                let events = match inotify.read_events() {
                    Ok(events) if events.is_empty() => break,
                    Ok(events) => events,
                    Err(_) => break,
                };
                for event in events {
                    if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                        tracing::warn!("the kernel lost events, all watched mailboxes are looked at (fs.inotify.max_queued_events)");
                        touched.extend(all_lost(targets.values().flatten()));
                        continue;
                    }
                    let ended = AddWatchFlags::IN_IGNORED | AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_UNMOUNT;
                    for target in targets.get(&event.wd).into_iter().flatten() {
                        match target {
                            Target::Mailbox { mailbox, in_new, lost } => {
                                if event.mask.intersects(ended) {
                                    lost.store(true, Ordering::Release);
                                }
                                let Some(mailbox) = mailbox.upgrade() else { continue };
                                mailbox.pending().lock().take(&event, *in_new);
                                touched.push(mailbox);
                            }
                            Target::Ear { ear, place } => {
                                let file = event.name.as_ref().map(|name| name.to_string_lossy());
                                if let Some(ear) = ear.upgrade() {
                                    ear.hear(place, file.as_deref(), event.mask.contains(AddWatchFlags::IN_ISDIR));
                                }
                            }
                        }
                    }
                }
            }
        }
        for mailbox in &touched {
            self.enqueue(mailbox);
        }
    }

    fn enqueue(&self, mailbox: &Arc<Mailbox>) {
        if !std::mem::replace(&mut mailbox.pending().lock().queued, true) {
            self.queue.lock().push_back(Arc::downgrade(mailbox));
            self.wake.notify_one();
        }
    }

    fn start(self: &Arc<Notifier>) {
        if self.started.swap(true, Ordering::AcqRel) {
            return;
        }
        for number in 0..=WORKERS {
            let notifier = Arc::downgrade(self);
            let run = move || if number == 0 { follow(&notifier) } else { work(&notifier) };
            if let Err(error) = std::thread::Builder::new().name("mailstore".into()).stack_size(512 * 1024).spawn(run) {
                tracing::error!(%error, "cannot start a thread, changes by other programs are noticed late");
            }
        }
    }

    /// Ends the threads, soon.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.wake.notify_all();
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Queues the mailboxes of whose changes the kernel does not tell, where a session waits: who comes to another looks first.
    fn poll_unwatched(&self) {
        let mut alive = Vec::new();
        self.polled.lock().retain(|mailbox| {
            alive.extend(mailbox.upgrade());
            mailbox.strong_count() > 0
        });
        alive.iter().filter(|mailbox| mailbox.is_awaited() && !mailbox.is_deleted()).for_each(|mailbox| self.enqueue(mailbox));
    }

    /// Queues the mailboxes that have a watch.
    fn check_watched(&self) {
        let upgrade = |target: &Target| match target {
            Target::Mailbox { mailbox, in_new: true, .. } => mailbox.upgrade(),
            _ => None,
        };
        let alive: Vec<Arc<Mailbox>> = self.targets.lock().values().flatten().filter_map(upgrade).collect();
        alive.iter().for_each(|mailbox| self.enqueue(mailbox));
    }
}

/// Events were lost: all that is watched has to be looked at. Gives the mailboxes.
fn all_lost<'a>(targets: impl Iterator<Item = &'a Target>) -> Vec<Arc<Mailbox>> {
    let mut mailboxes = Vec::new();
    for target in targets {
        match target {
            Target::Mailbox { mailbox, .. } => mailboxes.extend(mailbox.upgrade()),
            Target::Ear { ear, .. } => drop(ear.upgrade().inspect(|ear| ear.lost())),
        }
    }
    mailboxes.iter().for_each(|mailbox| mailbox.pending().lock().everything = true);
    mailboxes
}

impl Pending {
    /// What is applied of it is all that happened.
    pub fn is_complete(&self) -> bool {
        !self.everything && !self.begun
    }

    fn take(&mut self, event: &nix::sys::inotify::InotifyEvent, in_new: bool) {
        let appeared = event.mask.intersects(AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO);
        match event.name.as_ref().map(|name| name.to_str()) {
            Some(Some(name)) if self.events.len() < MOST_EVENTS => self.events.push(Event { in_new, appeared, name: name.to_owned() }),
            Some(None) => {}
            // the directory itself went, or there are too many
            _ => {
                self.everything = true;
                self.events.clear();
            }
        }
    }
}

/// The thread that waits for the kernel.
fn follow(notifier: &Weak<Notifier>) {
    let (mut polled, mut rounds) = (Instant::now(), 0u32);
    while let Some(notifier) = notifier.upgrade().filter(|notifier| !notifier.is_stopping()) {
        let timeout = PollTimeout::try_from(notifier.poll_interval).unwrap_or(PollTimeout::MAX);
        let ready = match &notifier.inotify {
            Some(inotify) => poll(&mut [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)], timeout).unwrap_or(0),
            None => {
                std::thread::sleep(notifier.poll_interval);
                0
            }
        };
        if ready > 0 {
            notifier.drain();
        }
        // also where events never stop coming
        if ready == 0 || polled.elapsed() >= notifier.poll_interval {
            polled = Instant::now();
            rounds = rounds.wrapping_add(1);
            notifier.poll_unwatched();
            if rounds.is_multiple_of(CHECK_ROUNDS) {
                notifier.check_watched();
            }
        }
    }
}

/// A thread that brings mailboxes up to date.
fn work(notifier: &Weak<Notifier>) {
    while let Some(notifier) = notifier.upgrade().filter(|notifier| !notifier.is_stopping()) {
        let next = {
            let mut queue = notifier.queue.lock();
            if queue.is_empty() {
                notifier.wake.wait_for(&mut queue, Duration::from_secs(1));
            }
            queue.pop_front()
        };
        let Some(mailbox) = next.and_then(|next| next.upgrade()) else { continue };
        mailbox.pending().lock().queued = false;
        match mailbox.refresh_briefly() {
            Ok(()) | Err(Error::NoSuchMailbox) => {}
            Err(Error::Locked { .. }) => {
                // the pause keeps a lock held for long from making us spin
                std::thread::sleep(Duration::from_millis(100));
                notifier.enqueue(&mailbox);
            }
            Err(error) => tracing::warn!(mailbox = %mailbox.name(), %error, "cannot look at a mailbox"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::Location;
    use crate::name::MailboxName;
    use crate::store::{Settings, Store};

    /// The directories made in the place of removed ones may have their very numbers.
    #[test]
    fn a_watch_on_a_removed_directory_is_on_no_directory() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::new(Settings::default());
        let account = store.account(&Location::maildir(temp.path().join("m")).unwrap()).unwrap();
        let mailbox = account.open(&MailboxName::inbox()).unwrap();
        for part in ["new", "cur"] {
            let folder = mailbox.folder().unwrap();
            let directories = folder.directories().unwrap();
            let handle = store.notifier().watch(&mailbox, &folder);
            store.notifier().drain();
            assert!(handle.is_live() && handle.is_on(&directories));
            // a removed directory is there while somebody has it open: we, and the threads of the store for a moment
            drop(folder);
            std::fs::remove_dir(temp.path().join("m").join(part)).unwrap();
            let begun = Instant::now();
            while handle.is_on(&directories) {
                assert!(begun.elapsed() < Duration::from_secs(20), "{part}");
                std::thread::sleep(Duration::from_millis(1));
                store.notifier().drain();
            }
        }
    }
}
