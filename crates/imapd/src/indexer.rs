//! Indexes mailboxes while there is nothing else to do: gives their messages signatures (`facteur.search`), so that searches for text need not read
//! them all.
//!
//! One thread, one mailbox after the other, message by message; never while a command is at work, except that after [`LONGEST_PAUSE`] it does one
//! message: a busy server has its mailboxes indexed slowly, not never. It works half of the time at most. Mailboxes are noted when a client opens them or hears of new
//! messages in them; one that nobody has in memory any more is let be. Whatever is not indexed is read when it is searched.

use mailstore::Mailbox;
use message::Message;
use message::signature::Signer;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How long it works on end, when one message does not take longer.
const SLICE: Duration = Duration::from_millis(20);

/// How long commands keep it from working.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How often it looks whether they still do.
const LOOK: Duration = Duration::from_millis(20);

/// Mailboxes that wait. Others are noted when they are opened again.
const MOST_WAITING: usize = 1000;

/// Ends its thread when dropped.
pub struct Indexer(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Commands that are at work.
    busy: AtomicUsize,
}

#[derive(Default)]
struct Queue {
    stopped: bool,
    waiting: VecDeque<Weak<Mailbox>>,
}

/// A command that is at work while this lives.
pub struct Busy(Arc<Shared>);

impl Indexer {
    pub fn start() -> Indexer {
        let shared: Arc<Shared> = Arc::default();
        let own = shared.clone();
        if let Err(error) = std::thread::Builder::new().name("imapd-indexer".into()).spawn(move || own.run()) {
            tracing::warn!(%error, "cannot start a thread, mailboxes are not indexed");
            shared.queue.lock().stopped = true;
        }
        Indexer(shared)
    }

    /// There may be messages to be indexed.
    pub fn note(&self, mailbox: &Arc<Mailbox>) {
        let mut queue = self.0.queue.lock();
        let mailbox = Arc::downgrade(mailbox);
        if !queue.stopped && queue.waiting.len() < MOST_WAITING && !queue.waiting.iter().any(|other| other.ptr_eq(&mailbox)) {
            queue.waiting.push_back(mailbox);
            self.0.wake.notify_one();
        }
    }

    pub fn busy(&self) -> Busy {
        self.0.busy.fetch_add(1, Ordering::Relaxed);
        Busy(self.0.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Indexer {
    fn drop(&mut self) {
        self.0.queue.lock().stopped = true;
        self.0.wake.notify_one();
    }
}

impl Shared {
    fn run(&self) {
        while let Some(mailbox) = self.next() {
            // memory for it is there only while there is work
            let mut signer = None;
            while self.may_work() && index(&mailbox, &mut signer) {}
        }
    }

    /// Waits for a mailbox; `None` at the end.
    fn next(&self) -> Option<Weak<Mailbox>> {
        let mut queue = self.queue.lock();
        while !queue.stopped {
            match queue.waiting.pop_front() {
                Some(mailbox) => return Some(mailbox),
                None => self.wake.wait(&mut queue),
            }
        }
        None
    }

    /// Waits until no command is at work, or for long enough; false at the end.
    fn may_work(&self) -> bool {
        let end = Instant::now() + LONGEST_PAUSE;
        let mut queue = self.queue.lock();
        while !queue.stopped && self.busy.load(Ordering::Relaxed) > 0 && Instant::now() < end {
            self.wake.wait_for(&mut queue, LOOK);
        }
        !queue.stopped
    }
}

/// One slice of work; true when there is more to do.
fn index(mailbox: &Weak<Mailbox>, signer: &mut Option<Signer>) -> bool {
    let Some(mailbox) = mailbox.upgrade() else { return false };
    let begun = Instant::now();
    let done = mailbox.sign(begun + SLICE, |whole| signer.get_or_insert_default().sign(&Message::parse(whole)));
    if let Err(error) = &done {
        tracing::debug!(mailbox = %mailbox.name(), %error, "mailbox is not indexed");
    }
    drop(mailbox);
    let more = done.is_ok_and(|done| !done);
    if more {
        std::thread::sleep(begun.elapsed().min(SLICE));
    }
    more
}
