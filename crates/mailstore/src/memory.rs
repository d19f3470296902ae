//! What messages read as a whole may take of this process's memory, all sessions together.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// Bytes to be had, given out in the order in which they were asked for: a large message does not wait behind small ones for ever.
pub(crate) struct Memory {
    limit: u64,
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Default)]
struct Queue {
    used: u64,
    /// Number of who asks next.
    last: u64,
    /// Number of whose turn it is.
    turn: u64,
}

/// Bytes taken; given back when dropped.
pub(crate) struct Taken {
    memory: Arc<Memory>,
    bytes: u64,
}

impl Memory {
    pub fn new(limit: u64) -> Arc<Memory> {
        Arc::new(Memory { limit, queue: Mutex::default(), wake: Condvar::new() })
    }

    /// Takes `bytes`, or all there are when that is less; waits until others gave back enough. Who holds some must neither ask for more nor
    /// wait for anybody.
    pub fn take(self: &Arc<Memory>, bytes: u64) -> Taken {
        let bytes = bytes.min(self.limit);
        let mut queue = self.queue.lock();
        let number = queue.last;
        queue.last += 1;
        while queue.turn != number || queue.used + bytes > self.limit {
            self.wake.wait(&mut queue);
        }
        queue.turn += 1;
        queue.used += bytes;
        drop(queue);
        // there may be enough for the next one too
        self.wake.notify_all();
        Taken { memory: self.clone(), bytes }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.memory.queue.lock().used -= self.bytes;
        self.memory.wake.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn together_they_never_take_more_than_there_is() {
        let memory = Memory::new(100);
        let (now, most) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for thread in 0..8u64 {
                let (memory, now, most) = (&memory, &now, &most);
                scope.spawn(move || {
                    for round in 0..200 {
                        let bytes = (thread * 31 + round * 17) % 120;
                        let taken = memory.take(bytes);
                        let had = now.fetch_add(taken.bytes, Ordering::SeqCst) + taken.bytes;
                        most.fetch_max(had, Ordering::SeqCst);
                        std::thread::yield_now();
                        now.fetch_sub(taken.bytes, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!((60..=100).contains(&most.load(Ordering::SeqCst)), "{most:?}");
        assert_eq!(memory.queue.lock().used, 0);
    }
}
