//! Group commit: one thread makes durable, together, what many sessions hand in.
//!
//! Sessions submit and wait. The thread takes everything that waits as one batch and commits it with one sync; what
//! arrives meanwhile is the next batch. So a single session never waits for company, and under load batches grow by
//! themselves until the disk keeps up.

use crate::Error;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use tokio::sync::oneshot;

/// What the thread does with a batch. Runs on the committer's own thread and may block.
pub trait Batch: Send + 'static {
    type Item: Send + 'static;
    type Done: Send + 'static;

    /// Commits `items` and returns one result for each, in their order. The vector is emptied and used again.
    fn commit(&mut self, items: &mut Vec<Self::Item>) -> Vec<Self::Done>;

    /// The committer ends: no item will come any more.
    fn close(&mut self) {}
}

/// A handle to the thread. Dropping it lets the thread finish what waits, and waits for it.
pub struct Committer<B: Batch> {
    shared: Arc<Shared<B>>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

type Waiting<B> = (<B as Batch>::Item, Option<oneshot::Sender<<B as Batch>::Done>>);

struct Shared<B: Batch> {
    queue: Mutex<Queue<B>>,
    wake: Condvar,
}

struct Queue<B: Batch> {
    waiting: Vec<Waiting<B>>,
    sleeping: bool,
    closed: bool,
}

impl<B: Batch> Committer<B> {
    pub fn start(name: &str, batch: B) -> Result<Committer<B>, Error> {
        let queue = Mutex::new(Queue { waiting: Vec::new(), sleeping: false, closed: false });
        let shared = Arc::new(Shared { queue, wake: Condvar::new() });
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn({
                let shared = shared.clone();
                move || run(&shared, batch)
            })
            .map_err(Error::io("start a thread for", std::path::Path::new(name)))?;
        Ok(Committer { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Hands in an item at once (before the future is first polled) and waits for its result. A dropped future does not
    /// take the item back. `Error::Stopped` when the committer was closed before.
    pub fn submit(&self, item: B::Item) -> impl Future<Output = Result<B::Done, Error>> + Send + use<B> {
        let (send, receive) = oneshot::channel();
        self.push(item, Some(send));
        async move { receive.await.map_err(|_| Error::Stopped) }
    }

    /// Hands in an item whose result nobody waits for.
    pub fn submit_unwatched(&self, item: B::Item) {
        self.push(item, None);
    }

    fn push(&self, item: B::Item, send: Option<oneshot::Sender<B::Done>>) {
        let mut queue = self.shared.queue.lock();
        if queue.closed {
            return; // the dropped sender tells the waiter
        }
        queue.waiting.push((item, send));
        if std::mem::take(&mut queue.sleeping) {
            drop(queue);
            self.shared.wake.notify_one();
        }
    }

    /// How many items wait for the next batch.
    pub fn waiting(&self) -> usize {
        self.shared.queue.lock().waiting.len()
    }

    /// Ends the thread after it has committed what waits, and waits for that.
    pub fn close(&self) {
        self.shared.queue.lock().closed = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

impl<B: Batch> Drop for Committer<B> {
    fn drop(&mut self) {
        self.close();
    }
}

/// Whatever ends the thread, nobody may wait for it for ever.
struct Ended<'a, B: Batch>(&'a Shared<B>);

impl<B: Batch> Drop for Ended<'_, B> {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        queue.closed = true;
        queue.waiting.clear();
    }
}

fn run<B: Batch>(shared: &Shared<B>, mut batch: B) {
    let _ended = Ended(shared);
    let mut taken: Vec<Waiting<B>> = Vec::new();
    let mut items = Vec::new();
    let mut senders = Vec::new();
    loop {
        {
            let mut queue = shared.queue.lock();
            while queue.waiting.is_empty() && !queue.closed {
                queue.sleeping = true;
                shared.wake.wait(&mut queue);
            }
            queue.sleeping = false;
            if queue.waiting.is_empty() {
                break;
            }
            std::mem::swap(&mut queue.waiting, &mut taken);
        }
        for (item, sender) in taken.drain(..) {
            items.push(item);
            senders.push(sender);
        }
        let done = batch.commit(&mut items);
        debug_assert_eq!(done.len(), senders.len());
        items.clear();
        for (sender, done) in senders.drain(..).zip(done) {
            if let Some(sender) = sender {
                let _ = sender.send(done);
            }
        }
    }
    batch.close();
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Gather(Arc<Mutex<Vec<Vec<u32>>>>, Arc<std::sync::Barrier>);

    impl Batch for Gather {
        type Item = u32;
        type Done = u32;
        fn commit(&mut self, items: &mut Vec<u32>) -> Vec<u32> {
            if items.contains(&0) {
                self.1.wait();
            }
            self.0.lock().push(items.clone());
            items.iter().map(|n| n * 2).collect()
        }
    }

    #[test]
    fn what_waits_during_a_commit_is_the_next_batch() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let gate = Arc::new(std::sync::Barrier::new(2));
        let committer = Committer::start("test", Gather(seen.clone(), gate.clone())).expect("thread");
        let first = committer.submit(0);
        while committer.waiting() > 0 {
            std::thread::yield_now();
        }
        let rest: Vec<_> = (1..=50).map(|n| committer.submit(n)).collect();
        gate.wait();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        runtime.block_on(async {
            assert_eq!(first.await.expect("done"), 0);
            for (n, done) in rest.into_iter().enumerate() {
                assert_eq!(done.await.expect("done"), (n as u32 + 1) * 2);
            }
        });
        committer.close();
        assert_eq!(seen.lock().iter().map(Vec::len).collect::<Vec<_>>(), [1, 50]);
        assert!(matches!(runtime.block_on(committer.submit(1)), Err(Error::Stopped)));
    }
}
