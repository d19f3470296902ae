//! Mailboxes that nobody has open any more, kept for a while: who opens one again finds it as it was, and only has to ask the disk whether
//! something changed. Clients come back all the time; webmail does for each click.
//!
//! Bounded by what the mailboxes take together, and by time. Whoever wants it holds the [`Recent`]; the store only knows of it, as a mailbox
//! holds its store.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::mailbox::Mailbox;

/// Most mailboxes kept: each has two inotify watches at most.
const MOST: usize = 1000;

/// What a message of an open mailbox takes: its entry, its name, its place in the index by name.
const BYTES_PER_MESSAGE: u64 = 256;

/// What a mailbox takes without its messages.
const BYTES_PER_MAILBOX: u64 = 4096;

/// Mailboxes kept open while this lives, see [`crate::Store::keep_mailboxes`].
pub struct Recent {
    limit_bytes: u64,
    time: Duration,
    /// The one used last is last.
    kept: Mutex<Vec<Kept>>,
    stop: Arc<(Mutex<bool>, Condvar)>,
}

struct Kept {
    mailbox: Arc<Mailbox>,
    used: Instant,
}

impl Recent {
    pub(crate) fn new(limit_bytes: u64, time: Duration) -> Arc<Recent> {
        let recent = Arc::new(Recent { limit_bytes, time, kept: Mutex::default(), stop: Arc::default() });
        let (weak, stop) = (Arc::downgrade(&recent), recent.stop.clone());
        let run = move || forget_in_time(&weak, &stop, time);
        if let Err(error) = std::thread::Builder::new().name("mailstore-recent".into()).stack_size(128 * 1024).spawn(run) {
            tracing::warn!(%error, "cannot start a thread, mailboxes are kept longer than they should");
        }
        recent
    }

    /// Keeps a mailbox that was just opened.
    pub(crate) fn note(&self, mailbox: &Arc<Mailbox>) {
        let now = Instant::now();
        let mut kept = self.kept.lock();
        match kept.iter().position(|entry| Arc::ptr_eq(&entry.mailbox, mailbox)) {
            Some(index) => {
                kept[index].used = now;
                kept[index..].rotate_left(1);
            }
            None => kept.push(Kept { mailbox: mailbox.clone(), used: now }),
        }
        let surplus = self.take_surplus(&mut kept, now);
        drop(kept);
        // not while locked: what is freed here may be large
        drop(surplus);
    }

    /// Takes out what was not used for long, what is no more, and the oldest until the rest fits.
    fn take_surplus(&self, kept: &mut Vec<Kept>, now: Instant) -> Vec<Kept> {
        let mut room = self.limit_bytes;
        let mut count = 0;
        let mut stays: Vec<bool> = kept
            .iter()
            .rev()
            .map(|entry| {
                let bytes = BYTES_PER_MAILBOX + entry.mailbox.snapshot().len() as u64 * BYTES_PER_MESSAGE;
                let fits = bytes <= room && count < MOST && now.duration_since(entry.used) < self.time && !entry.mailbox.is_deleted();
                if fits {
                    room -= bytes;
                    count += 1;
                }
                fits
            })
            .collect();
        if stays.iter().all(|stays| *stays) {
            return Vec::new();
        }
        let (left, gone) = kept.drain(..).partition(|_| stays.pop().unwrap_or(false));
        *kept = left;
        gone
    }

    fn forget_idle(&self) {
        let mut kept = self.kept.lock();
        let surplus = self.take_surplus(&mut kept, Instant::now());
        drop(kept);
        drop(surplus);
    }
}

impl Drop for Recent {
    fn drop(&mut self) {
        *self.stop.0.lock() = true;
        self.stop.1.notify_all();
    }
}

/// The thread that frees what nobody came back to.
fn forget_in_time(recent: &Weak<Recent>, stop: &(Mutex<bool>, Condvar), time: Duration) {
    let pause = (time / 4).clamp(Duration::from_millis(100), Duration::from_secs(60));
    let mut stopped = stop.0.lock();
    while !*stopped {
        stop.1.wait_for(&mut stopped, pause);
        let Some(recent) = recent.upgrade().filter(|_| !*stopped) else { return };
        parking_lot::MutexGuard::unlocked(&mut stopped, || {
            recent.forget_idle();
            // it may be the last one, and its end wants the lock
            drop(recent);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::Location;
    use crate::name::MailboxName;
    use crate::store::{Settings, Store};

    fn weak(store: &Arc<Store>, path: &std::path::Path) -> Weak<Mailbox> {
        let account = store.account(&Location::maildir(path).unwrap()).unwrap();
        Arc::downgrade(&account.open(&MailboxName::inbox()).unwrap())
    }

    #[test]
    fn what_was_used_last_is_kept_as_far_as_there_is_room_and_until_nobody_holds_it() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::new(Settings::default());
        let open = |name: &str| weak(&store, &temp.path().join(name));
        assert!(open("a").upgrade().is_none());
        let recent = store.keep_mailboxes(2 * BYTES_PER_MAILBOX, Duration::from_secs(3600));
        let (a, b) = (open("a"), open("b"));
        assert!(a.upgrade().is_some() && b.upgrade().is_some());
        // the same one, which is now the younger of the two
        assert!(Weak::ptr_eq(&open("a"), &a));
        let c = open("c");
        assert_eq!([&a, &b, &c].map(|mailbox| mailbox.upgrade().is_some()), [true, false, true]);
        drop(recent);
        let begun = Instant::now();
        while a.upgrade().is_some() || c.upgrade().is_some() {
            assert!(begun.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(open("a").upgrade().is_none());
    }

    #[test]
    fn what_nobody_comes_back_to_is_freed() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::new(Settings::default());
        let _recent = store.keep_mailboxes(1 << 20, Duration::from_millis(200));
        let mailbox = weak(&store, &temp.path().join("a"));
        let begun = Instant::now();
        while mailbox.upgrade().is_some() {
            assert!(begun.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
