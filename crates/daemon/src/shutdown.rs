//! The end of a daemon: said once, heard by every session.

use std::future::Future;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A handle that is cheap to clone. Once it is set it stays set.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    pub fn new() -> Shutdown {
        Shutdown::default()
    }

    /// Asks everything to end.
    pub fn set(&self) {
        self.token.cancel();
        self.tasks.close();
    }

    /// One for a session: set when this one is, or by [`Shutdown::cut`] alone.
    pub fn of_session(&self) -> Shutdown {
        Shutdown { token: self.token.child_token(), tasks: self.tasks.clone() }
    }

    /// Asks what listens to this handle to end, and nothing else.
    pub fn cut(&self) {
        self.token.cancel();
    }

    pub fn is_set(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until it is set; at once when it is. Cancel safe.
    pub async fn wait(&self) {
        self.token.cancelled().await;
    }

    /// Starts a task that the end waits for: a session, a committer.
    pub fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Tasks that still run.
    pub fn running(&self) -> usize {
        self.tasks.len()
    }

    /// Waits for the tasks that were started with [`Shutdown::spawn`]; `false` when some still run after `longest`.
    pub async fn drained(&self, longest: Duration) -> bool {
        self.tasks.close();
        tokio::time::timeout(longest, self.tasks.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_waits_for_tasks_and_gives_up_on_stuck_ones() {
        let shutdown = Shutdown::new();
        let heard = shutdown.clone();
        shutdown.spawn(async move { heard.wait().await });
        assert!(!shutdown.is_set());
        shutdown.set();
        assert!(shutdown.drained(Duration::from_secs(60)).await);
        shutdown.spawn(std::future::pending::<()>());
        assert!(!shutdown.drained(Duration::ZERO).await);
        assert_eq!(shutdown.running(), 1);
    }
}
