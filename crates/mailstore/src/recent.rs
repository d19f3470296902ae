//! Mailboxes that nobody has open any more, kept for a while: who opens one again finds it as it was, and only has to ask the disk whether
//! something changed. Clients come back all the time; webmail does for each click.
//!
//! What was learnt of them is written down (`index`), when they are left alone for a moment and when they are freed: for the next process, or the
//! next one who comes after long.
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

/// How long a mailbox is left alone before it is written down.
const SAVE_AFTER: Duration = Duration::from_secs(2);

/// Mailboxes kept open while this lives, see [`crate::Store::keep_mailboxes`].
pub struct Recent {
    limit_bytes: u64,
    time: Duration,
    /// The one used last is last.
    kept: Mutex<Vec<Kept>>,
    thread: Arc<(Mutex<Thread>, Condvar)>,
}

struct Kept {
    mailbox: Arc<Mailbox>,
    used: Instant,
    /// Its index is not written again before.
    save_after: Instant,
}

/// What the thread is told.
#[derive(Default)]
struct Thread {
    stopped: bool,
    /// To be written down and freed.
    leaving: Vec<Kept>,
}

impl Recent {
    pub(crate) fn new(limit_bytes: u64, time: Duration) -> Arc<Recent> {
        let recent = Arc::new(Recent { limit_bytes, time, kept: Mutex::default(), thread: Arc::default() });
        let (weak, thread) = (Arc::downgrade(&recent), recent.thread.clone());
        let run = move || forget_in_time(&weak, &thread, time);
        if let Err(error) = std::thread::Builder::new().name("mailstore-recent".into()).stack_size(128 * 1024).spawn(run) {
            tracing::warn!(%error, "cannot start a thread, mailboxes are kept longer than they should");
            recent.thread.0.lock().stopped = true;
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
            None => kept.push(Kept { mailbox: mailbox.clone(), used: now, save_after: now + SAVE_AFTER }),
        }
        let surplus = self.take_surplus(&mut kept, now);
        drop(kept);
        if surplus.is_empty() {
            return;
        }
        // writing and freeing may take a while, and a client waits here
        let mut thread = self.thread.0.lock();
        if !thread.stopped {
            thread.leaving.extend(surplus);
            self.thread.1.notify_all();
        }
    }

    /// Writes down what is known of all mailboxes that are kept, for a program that ends. Blocking.
    pub(crate) fn save_all(&self) {
        let all: Vec<Arc<Mailbox>> = self.kept.lock().iter().map(|entry| entry.mailbox.clone()).collect();
        all.iter().for_each(|mailbox| save(mailbox));
    }

    /// Writes down what changed in mailboxes that are left alone for a moment.
    fn save_due(&self) {
        let now = Instant::now();
        let due: Vec<Arc<Mailbox>> = {
            let mut kept = self.kept.lock();
            let due = kept.iter_mut().filter(|entry| now >= entry.save_after && now >= entry.used + SAVE_AFTER);
            due.map(|entry| {
                // a large one that changes all the time is not written all the time
                entry.save_after = now + SAVE_AFTER + Duration::from_millis(entry.mailbox.snapshot().len() as u64);
                entry.mailbox.clone()
            })
            .collect()
        };
        due.iter().for_each(|mailbox| save(mailbox));
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
        let surplus = self.take_surplus(&mut self.kept.lock(), Instant::now());
        surplus.iter().for_each(|entry| save(&entry.mailbox));
    }
}

impl Drop for Recent {
    fn drop(&mut self) {
        self.thread.0.lock().stopped = true;
        self.thread.1.notify_all();
    }
}

/// What cannot be written now is read the slow way next time, or written later.
fn save(mailbox: &Mailbox) {
    if let Err(error) = mailbox.save() {
        tracing::debug!(mailbox = %mailbox.name(), %error, "the index of a mailbox is not written");
    }
}

/// The thread that writes down what is left alone, and frees what nobody came back to.
fn forget_in_time(recent: &Weak<Recent>, thread: &(Mutex<Thread>, Condvar), time: Duration) {
    let pause = (time / 4).clamp(Duration::from_millis(100), Duration::from_secs(10));
    loop {
        let leaving = {
            let mut told = thread.0.lock();
            if !told.stopped && told.leaving.is_empty() {
                thread.1.wait_for(&mut told, pause);
            }
            if told.stopped {
                return;
            }
            std::mem::take(&mut told.leaving)
        };
        leaving.iter().for_each(|entry| save(&entry.mailbox));
        drop(leaving);
        let Some(recent) = recent.upgrade() else { return };
        recent.forget_idle();
        recent.save_due();
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
        wait_until_gone(&b);
        assert!(a.upgrade().is_some() && c.upgrade().is_some());
        drop(recent);
        [&a, &c].into_iter().for_each(wait_until_gone);
        assert!(open("a").upgrade().is_none());
    }

    /// As a backup that is put back has it: under the same UIDVALIDITY UIDs that we know to be gone.
    #[test]
    fn a_mailbox_that_got_another_uidlist_meanwhile_has_the_uids_of_that() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("a");
        let store = Store::new(Settings::default());
        let _recent = store.keep_mailboxes(1 << 20, Duration::from_secs(3600));
        let account = store.account(&Location::maildir(&root).unwrap()).unwrap();
        let uids = || -> Vec<u32> {
            let mailbox = account.open(&MailboxName::inbox()).unwrap();
            mailbox.view(crate::Access::ReadOnly).unwrap().snapshot().iter().map(crate::Message::uid).collect()
        };
        let mailbox = account.open(&MailboxName::inbox()).unwrap();
        for _ in 0..4 {
            let mut incoming = mailbox.incoming(3).unwrap();
            incoming.describe(crate::FlagSet::new(crate::Flags::SEEN), None);
            incoming.write(b"x\r\n").unwrap();
            mailbox.append(vec![incoming]).unwrap();
        }
        mailbox.expunge(&[3]).unwrap();
        drop(mailbox);
        assert_eq!(uids(), [1, 2, 4]);
        let list = std::fs::read(root.join("dovecot-uidlist")).unwrap();
        let files: Vec<_> = std::fs::read_dir(root.join("cur")).unwrap().map(|entry| entry.unwrap().path()).collect();
        // once with the watch that a second opening begins, and once without
        for _ in 0..2 {
            files.iter().for_each(|file| std::fs::remove_file(file).unwrap());
            assert_eq!(uids(), [0; 0]);
            std::fs::write(root.join("new-list"), &list).unwrap();
            std::fs::rename(root.join("new-list"), root.join("dovecot-uidlist")).unwrap();
            files.iter().for_each(|file| std::fs::write(file, "x\n").unwrap());
            assert_eq!(uids(), [1, 2, 4]);
        }
    }

    /// Clients ask for the STATUS of each mailbox there is.
    #[test]
    fn a_glance_at_a_mailbox_takes_no_room() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::new(Settings::default());
        let _recent = store.keep_mailboxes(BYTES_PER_MAILBOX, Duration::from_secs(3600));
        let kept = weak(&store, &temp.path().join("a"));
        let other = store.account(&Location::maildir(temp.path().join("b")).unwrap()).unwrap();
        other.status(&MailboxName::inbox()).unwrap();
        other.mailbox_id(&MailboxName::inbox()).unwrap();
        assert!(kept.upgrade().is_some());
    }

    #[test]
    fn what_nobody_comes_back_to_is_freed() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::new(Settings::default());
        let _recent = store.keep_mailboxes(1 << 20, Duration::from_millis(200));
        let mailbox = weak(&store, &temp.path().join("a"));
        wait_until_gone(&mailbox);
    }

    /// The next one who opens it sees what is there now, although there was no session to look, nor a message to tell by.
    #[test]
    fn a_mailbox_replaced_while_nobody_had_it_open_has_another_uidvalidity() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::new(Settings::default());
        let _recent = store.keep_mailboxes(1 << 20, Duration::from_secs(3600));
        let account = store.account(&Location::maildir(temp.path().join("m")).unwrap()).unwrap();
        let open = || account.open(&MailboxName::inbox()).unwrap();
        let mailbox = Arc::downgrade(&open());
        let list = temp.path().join("m").join(crate::uidlist::FILE);
        std::fs::write(&list, "3 V1234567 N9 G3085f01b7f11094c501100008c4a11c1\n").unwrap();
        let again = open();
        assert!(Weak::ptr_eq(&mailbox, &Arc::downgrade(&again)));
        assert_eq!((again.snapshot().uid_validity(), again.snapshot().uid_next()), (1_234_567, 9));
    }

    #[test]
    fn what_is_freed_is_written_down_for_the_next_process() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::new(Settings::default());
        let account = store.account(&Location::maildir(temp.path()).unwrap()).unwrap();
        for number in 0..200 {
            std::fs::write(temp.path().join(format!("cur/{number}.x.host:2,S")), "x\n").unwrap();
        }
        let recent = store.keep_mailboxes(1 << 20, Duration::from_secs(3600));
        drop(account.open(&MailboxName::inbox()).unwrap());
        let begun = Instant::now();
        // by itself, when it is left alone
        while !temp.path().join("facteur.index").exists() {
            assert!(begun.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(5));
        }
        std::fs::remove_file(temp.path().join("facteur.index")).unwrap();
        // or when the program ends
        std::fs::write(temp.path().join("cur/200.x.host:2,S"), "x\n").unwrap();
        drop(account.open(&MailboxName::inbox()).unwrap());
        std::thread::sleep(Duration::from_millis(100));
        store.finish();
        assert!(temp.path().join("facteur.index").exists());
        drop(recent);
    }

    fn wait_until_gone(mailbox: &Weak<Mailbox>) {
        let begun = Instant::now();
        while mailbox.upgrade().is_some() {
            assert!(begun.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
