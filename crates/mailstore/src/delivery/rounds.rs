//! Deliveries in rounds: what waits is written to `tmp/` together, one `syncfs` makes it durable, then all get their names, which the
//! next round's `syncfs` makes durable; only then are they answered. One thread per file system does it, so there is no lock and no
//! hop between steps.
//!
//! Why one flush is enough for names: `syncfs` writes back every dirty inode of the file system, directories included, and waits
//! (ext4 with a journal: a commit; without: `sync_blockdev`, which holds directory blocks; XFS: a log force; btrfs: a transaction commit).
//! Its errors are reported to descriptors opened before the write that failed, so the descriptor is opened before each round.
//!
//! A message that comes alone takes the plain way: file synced, named, directory synced; two syncs of one file, no waiting for others.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::syncfs;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::delivery::letter::Sheet;
use crate::delivery::target::Target;
use crate::delivery::{ALONE_AT_ONCE, Delivered};
use crate::error::{Error, Result};

/// A flush that takes longer than this on average may be slower than syncing files one by one in many threads: somebody else writes a
/// lot. Which is faster is measured then.
const SLOW: Duration = Duration::from_millis(20);

/// How long messages go alone where that was faster, before rounds are tried again.
const GIVEN_UP_FOR: Duration = Duration::from_secs(10);

/// How long messages go alone to measure it.
const TRIAL: Duration = Duration::from_millis(500);

/// How long such a measurement is believed.
const BELIEVED_FOR: Duration = Duration::from_secs(60);

/// Most messages in one round: bounds what a failed flush costs.
const LARGEST_ROUND: usize = 512;

struct Job {
    target: Arc<Target>,
    sheet: Sheet,
    reply: oneshot::Sender<Result<Delivered>>,
}

impl Job {
    /// Ends its claim first: who hears the answer may ask for the same again at once.
    fn answer(self, result: Result<Delivered>) {
        drop(self.sheet);
        // Who asked may be gone.
        let _ = self.reply.send(result);
    }
}

/// A message that has its name, not yet durably.
struct Named {
    job: Job,
    delivered: Delivered,
}

pub(crate) struct Rounds {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
    device: u64,
    started: Instant,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Milliseconds since `started` until which rounds are given up.
    given_up_until: AtomicU64,
    /// Moving average of how long a message takes alone, with many at it, in microseconds (0: not known); and when that was, in
    /// milliseconds since `started`.
    alone_micros: AtomicU64,
    alone_at: AtomicU64,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Job>,
    closed: bool,
}

impl Rounds {
    /// Starts the thread for a file system. `None` when the system gives no thread: messages go alone then.
    pub fn start(device: u64) -> Option<Rounds> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            given_up_until: AtomicU64::new(0),
            alone_micros: AtomicU64::new(0),
            alone_at: AtomicU64::new(0),
        });
        let started = Instant::now();
        let mut worker = Worker { shared: shared.clone(), started, average: Duration::ZERO, batch: 0.0 };
        let thread = std::thread::Builder::new().name("rounds".into()).spawn(move || worker.run());
        let thread = thread.inspect_err(|error| tracing::error!(%error, "cannot start a thread for deliveries")).ok()?;
        Some(Rounds { shared, thread: Some(thread), device, started })
    }

    pub fn device(&self) -> u64 {
        self.device
    }

    /// False while flushes of this file system are slow.
    pub fn is_worth_it(&self) -> bool {
        self.started.elapsed().as_millis() as u64 >= self.shared.given_up_until.load(Ordering::Relaxed)
    }

    /// Notes how long a message took that went alone.
    pub fn note_alone(&self, took: Duration) {
        let (took, known) = (took.as_micros() as u64, self.shared.alone_micros.load(Ordering::Relaxed));
        let average = if known == 0 { took } else { (known * 7 + took) / 8 };
        self.shared.alone_micros.store(average.max(1), Ordering::Relaxed);
        self.shared.alone_at.store(self.started.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Hands in a message at once and waits until it is durable. A dropped future does not take it back.
    pub fn submit(&self, target: Arc<Target>, sheet: Sheet) -> impl Future<Output = Result<Delivered>> + use<> {
        let (reply, answer) = oneshot::channel();
        let was_empty = {
            let mut queue = self.shared.queue.lock();
            queue.waiting.push(Job { target, sheet, reply });
            queue.waiting.len() == 1
        };
        if was_empty {
            self.shared.wake.notify_one();
        }
        async move { answer.await.unwrap_or(Err(Error::Limit("delivery was interrupted"))) }
    }
}

impl Drop for Rounds {
    fn drop(&mut self) {
        self.shared.queue.lock().closed = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Worker {
    shared: Arc<Shared>,
    started: Instant,
    /// Moving averages: time of a flush, messages it served.
    average: Duration,
    batch: f64,
}

impl Worker {
    fn run(&mut self) {
        let mut named: Vec<Named> = Vec::new();
        let mut jobs: Vec<Job> = Vec::new();
        while self.take(&mut jobs, named.is_empty()) {
            if named.is_empty() && jobs.len() == 1 {
                for job in jobs.drain(..) {
                    let done = job.sheet.file_alone(&job.target);
                    job.answer(done);
                }
            } else {
                named = self.round(&mut jobs, named);
            }
        }
    }

    /// Takes what waits; waits itself only when nothing is half done. False at the end.
    fn take(&self, jobs: &mut Vec<Job>, may_wait: bool) -> bool {
        let mut queue = self.shared.queue.lock();
        while queue.waiting.is_empty() && may_wait {
            if queue.closed {
                return false;
            }
            self.shared.wake.wait(&mut queue);
        }
        if queue.waiting.len() <= LARGEST_ROUND {
            std::mem::swap(&mut queue.waiting, jobs);
        } else {
            jobs.extend(queue.waiting.drain(..LARGEST_ROUND));
        }
        true
    }

    /// One round: writes `jobs`, flushes, answers the round before, names these.
    fn round(&mut self, jobs: &mut Vec<Job>, before: Vec<Named>) -> Vec<Named> {
        // opened before the first write, or the error of that write would be nobody's
        let anchor = jobs.first().map(|job| &job.target).or_else(|| before.first().map(|named| &named.job.target)).map(flush_handle);
        let mut written = Vec::with_capacity(jobs.len());
        for job in jobs.drain(..) {
            match job.sheet.begin(&job.target) {
                Ok(None) => match job.sheet.write(&job.target) {
                    Ok(_) => written.push(job),
                    Err(error) => {
                        job.sheet.give_up_tmp(&job.target);
                        job.answer(Err(error));
                    }
                },
                done => job.answer(done.and_then(|earlier| earlier.ok_or(Error::Expunged))),
            }
        }
        let flushed = match anchor {
            _ if written.is_empty() && before.is_empty() => return Vec::new(),
            Some(Ok(handle)) => self.flush(&handle, written.len().max(before.len())),
            Some(Err(error)) => Err(error),
            None => return Vec::new(),
        };
        if let Err(error) = flushed {
            return self.alone_instead(written, before, &error);
        }
        for named in before {
            named.job.answer(Ok(named.delivered));
        }
        let mut named = Vec::with_capacity(written.len());
        for job in written {
            match job.sheet.place(&job.target) {
                Ok(delivered) => named.push(Named { job, delivered }),
                Err(error) => job.answer(Err(error)),
            }
        }
        named
    }

    /// The flush failed: nothing of both rounds can be promised, and a second flush would hide the error. All are temporary failures
    /// and leave nothing.
    fn alone_instead(&self, written: Vec<Job>, before: Vec<Named>, error: &Error) -> Vec<Named> {
        tracing::error!(%error, messages = written.len() + before.len(), "flush of the file system failed, its deliveries are undone");
        let again = |target: &Target| Error::io("flush", target.new.path(), std::io::Error::other(error.to_string()));
        for job in written {
            job.sheet.give_up_tmp(&job.target);
            let error = again(&job.target);
            job.answer(Err(error));
        }
        for Named { job, delivered } in before {
            if !delivered.duplicate {
                job.sheet.give_up_new(&job.target);
            }
            let error = again(&job.target);
            job.answer(Err(error));
        }
        Vec::new()
    }

    fn flush(&mut self, handle: &OwnedFd, messages: usize) -> Result<()> {
        let start = Instant::now();
        let result = syncfs(handle).map_err(|e| Error::io("flush", "file system of the mail", e));
        self.average = (self.average * 7 + start.elapsed()) / 8;
        self.batch = (self.batch * 7.0 + messages as f64) / 8.0;
        if self.average > SLOW {
            self.consider_alone();
        }
        result
    }

    /// Flushes are slow: lets messages go alone for a while, if that is faster, or to find out whether it is.
    fn consider_alone(&mut self) {
        let now = self.started.elapsed();
        let alone = self.shared.alone_micros.load(Ordering::Relaxed);
        let measured = Duration::from_millis(self.shared.alone_at.load(Ordering::Relaxed));
        let pause = if alone == 0 || now > measured + BELIEVED_FOR {
            self.shared.alone_micros.store(0, Ordering::Relaxed);
            TRIAL
        } else if is_alone_faster(self.batch, self.average, Duration::from_micros(alone)) {
            GIVEN_UP_FOR
        } else {
            return;
        };
        tracing::debug!(
            flush_milliseconds = self.average.as_millis() as u64,
            alone_micros = alone,
            "flushes are slow, deliveries go one by one for a while"
        );
        self.shared.given_up_until.store((now + pause).as_millis() as u64, Ordering::Relaxed);
    }
}

/// Compares messages per second: a flush serves a batch, alone up to sixteen are at work.
fn is_alone_faster(batch: f64, flush: Duration, alone: Duration) -> bool {
    let at_once = batch.min(ALONE_AT_ONCE as f64).max(1.0);
    at_once / alone.as_secs_f64() > batch.max(1.0) / flush.as_secs_f64()
}

/// A descriptor of its own (errors are reported once per open file).
fn flush_handle(target: &Arc<Target>) -> Result<OwnedFd> {
    openat(&target.new, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|e| Error::io("open", target.new.path(), e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_faster_way_is_taken() {
        let millis = Duration::from_millis;
        assert!(is_alone_faster(2.0, millis(100), millis(5)));
        assert!(is_alone_faster(16.0, millis(25), millis(5)));
        assert!(!is_alone_faster(20.0, millis(23), millis(50)));
        assert!(!is_alone_faster(400.0, millis(25), millis(5)));
    }
}
