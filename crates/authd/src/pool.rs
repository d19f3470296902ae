//! Threads that check passwords. A good hash costs tens of milliseconds of a processor and megabytes on purpose, so a bounded number
//! of checks runs at a time, in a bounded amount of memory, a bounded number waits, and more are refused at once: a flood of logins
//! costs its senders, not our memory, and lookups go on meanwhile. The threads have a lower priority than others.

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::oneshot;

/// What all checks that run may take together: half of what the unit lets authd have.
const MEMORY_LIMIT_BYTES: u64 = 2 * passwords::MEMORY_LIMIT_BYTES;

struct Job {
    memory_bytes: u64,
    run: Box<dyn FnOnce() + Send>,
}

/// The pool. Its threads end when it is dropped.
pub struct Pool {
    queue: Arc<Queue>,
    limit: usize,
    taken: AtomicU64,
}

struct Queue {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Taken by the jobs that run.
    memory_bytes: u64,
    ended: bool,
}

impl State {
    /// The next job, when there is memory for it. Those behind it wait as well, or a great one would never have its turn.
    fn next(&mut self) -> Option<Job> {
        let job = self.jobs.pop_front_if(|job| self.memory_bytes + job.memory_bytes <= MEMORY_LIMIT_BYTES)?;
        self.memory_bytes += job.memory_bytes;
        Some(job)
    }
}

/// All threads are busy and too many checks wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many password checks wait")]
pub struct Busy;

impl Pool {
    /// Starts the threads; 0 means one per processor.
    pub fn new(threads: usize, limit: usize) -> std::io::Result<Pool> {
        let threads = if threads == 0 { std::thread::available_parallelism().map_or(1, |n| n.get()) } else { threads };
        let queue = Arc::new(Queue { state: Mutex::default(), work: Condvar::new() });
        let pool = Pool { queue, limit, taken: AtomicU64::new(0) };
        for number in 0..threads {
            let queue = pool.queue.clone();
            std::thread::Builder::new().name(format!("hash-{number}")).spawn(move || {
                let_others_go_first();
                queue.work();
            })?;
        }
        Ok(pool)
    }

    /// Runs `job`, which takes so much memory, on a thread of the pool. When the future is dropped before a thread took the job, the job is not run.
    pub async fn run<T: Send + 'static>(&self, memory_bytes: u64, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let (done, result) = oneshot::channel();
        {
            let mut state = self.queue.state.lock();
            if state.jobs.len() >= self.limit {
                return Err(Busy);
            }
            let run = Box::new(move || {
                if !done.is_closed() {
                    // Nobody waits any more: that is all it can mean.
                    let _ = done.send(job());
                }
            });
            state.jobs.push_back(Job { memory_bytes: memory_bytes.min(MEMORY_LIMIT_BYTES), run });
        }
        self.taken.fetch_add(1, Ordering::Relaxed);
        self.queue.work.notify_one();
        // The sender is lost only when the job panicked.
        result.await.map_err(|_| Busy)
    }

    /// Checks that were taken on since the start.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Checks that wait for a thread.
    pub fn waiting(&self) -> usize {
        self.queue.state.lock().jobs.len()
    }
}

/// Lowers the priority of this thread: who delivers mail or answers lookups does not wait for those who guess passwords.
fn let_others_go_first() {
    const NICE: libc::c_int = 5;
    // On Linux a priority is that of one thread, 0 being the calling one.
    // SAFETY: takes numbers only. It may fail, which leaves things as they are.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.queue.state.lock().ended = true;
        self.queue.work.notify_all();
    }
}

impl Queue {
    fn work(&self) {
        loop {
            let job = {
                let mut state = self.state.lock();
                loop {
                    if state.ended {
                        return;
                    }
                    match state.next() {
                        Some(job) => break job,
                        None => self.work.wait(&mut state),
                    }
                }
            };
            // A job that panics must not take the thread with it.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job.run));
            if job.memory_bytes > 0 {
                self.state.lock().memory_bytes -= job.memory_bytes;
                // Others may fit now, and they may be several.
                self.work.notify_all();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn jobs_beyond_the_limit_are_refused_and_the_others_done() {
        let pool = Arc::new(Pool::new(1, 2).expect("threads"));
        let (go, gate) = std::sync::mpsc::channel::<()>();
        let (busy, began) = oneshot::channel();
        let start = |pool: &Arc<Pool>, n: u32| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.run(0, move || n).await })
        };
        let first = {
            let pool = pool.clone();
            tokio::spawn(async move {
                pool.run(0, move || {
                    let _ = busy.send(());
                    let _ = gate.recv();
                    1
                })
                .await
            })
        };
        began.await.expect("the thread has begun");
        let (second, third) = (start(&pool, 2), start(&pool, 3));
        while pool.waiting() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.run(0, || 4).await, Err(Busy));
        go.send(()).expect("the gate");
        for (task, want) in [(first, 1), (second, 2), (third, 3)] {
            assert_eq!(task.await.expect("task"), Ok(want));
        }
    }

    #[tokio::test]
    async fn threads_that_hash_let_others_go_first() {
        let pool = Pool::new(1, 1).expect("threads");
        // SAFETY: takes numbers only.
        let nice = || unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let (own, hashing) = (nice(), pool.run(0, nice).await.expect("run"));
        assert!(hashing > own || own >= 5, "{own} {hashing}");
    }

    #[tokio::test]
    async fn a_panic_costs_one_job_only() {
        let pool = Pool::new(1, 10).expect("threads");
        assert_eq!(pool.run(MEMORY_LIMIT_BYTES, || -> u32 { panic!("on purpose") }).await, Err(Busy));
        assert_eq!(pool.run(MEMORY_LIMIT_BYTES, || 7).await, Ok(7));
    }

    #[tokio::test]
    async fn jobs_that_run_together_have_so_much_memory_together() {
        let pool = Arc::new(Pool::new(4, 100).expect("threads"));
        let running = Arc::new(AtomicU64::new(0));
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let (pool, running) = (pool.clone(), running.clone());
                tokio::spawn(async move {
                    let job = move || {
                        let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                        std::thread::sleep(std::time::Duration::from_millis(5));
                        running.fetch_sub(1, Ordering::SeqCst);
                        now
                    };
                    pool.run(passwords::MEMORY_LIMIT_BYTES, job).await.expect("done")
                })
            })
            .collect();
        for task in tasks {
            assert!(task.await.expect("task") <= 2);
        }
        // The last one's is given back after its answer, by a thread that lets others go first.
        while pool.queue.state.lock().memory_bytes > 0 {
            tokio::task::yield_now().await;
        }
    }
}
