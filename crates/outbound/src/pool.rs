//! Connections that wait for the next message to the same destination.

use crate::connection::Connection;
use crate::policy::Policy;
use crate::{Destination, Settings};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Connections kept for one destination; more are closed at once.
const PER_DESTINATION: usize = 64;

/// What connections have in common: a message finds only those that were made under its own policy and login.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Way {
    pub destination: Destination,
    pub policy: Arc<Policy>,
    /// The name of our login.
    pub login: Option<String>,
}

pub(crate) struct Pool {
    settings: Arc<Settings>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    idle: HashMap<Way, Vec<Connection>>,
    sweeping: bool,
}

impl Pool {
    pub fn new(settings: Arc<Settings>) -> Arc<Pool> {
        Arc::new(Pool { settings, state: Mutex::default() })
    }

    /// The connection that was used last: the others may so come to their end.
    pub async fn take(&self, way: &Way) -> Option<Connection> {
        loop {
            let mut connection = self.state.lock().idle.get_mut(way)?.pop()?;
            if connection.is_fresh().await {
                return Some(connection);
            }
        }
    }

    /// Drops what waits for a destination whose other end went away.
    pub fn forget(&self, way: &Way) {
        self.state.lock().idle.remove(way);
    }

    /// Keeps a connection that is ready for another message.
    pub fn put(self: &Arc<Self>, way: &Way, connection: Connection) {
        let time = self.cache_time(way);
        if time.is_zero() || connection.is_exhausted() || (!way.destination.is_lmtp() && connection.used >= self.settings.reuse_count_limit)
        {
            return self.say_goodbye(connection);
        }
        let (surplus, sweep) = {
            let mut state = self.state.lock();
            let surplus = match state.idle.get_mut(way) {
                Some(waiting) if waiting.len() >= PER_DESTINATION => Some(connection),
                Some(waiting) => {
                    waiting.push(connection);
                    None
                }
                None => {
                    state.idle.insert(way.clone(), vec![connection]);
                    None
                }
            };
            (surplus, !std::mem::replace(&mut state.sweeping, true))
        };
        surplus.into_iter().for_each(|connection| self.say_goodbye(connection));
        if sweep {
            tokio::spawn(sweep_until_empty(Arc::downgrade(self)));
        }
    }

    /// Says goodbye on all waiting connections.
    pub async fn close(&self) {
        let all = std::mem::take(&mut self.state.lock().idle);
        for connection in all.into_values().flatten() {
            connection.quit(&self.settings).await;
        }
    }

    fn say_goodbye(&self, connection: Connection) {
        let settings = self.settings.clone();
        tokio::spawn(async move { connection.quit(&settings).await });
    }

    fn cache_time(&self, way: &Way) -> Duration {
        if way.destination.is_lmtp() { self.settings.lmtp_cache_time } else { self.settings.smtp_cache_time }
    }

    /// Ends what has waited too long. `false` when nothing waits any more.
    fn sweep(&self) -> bool {
        let now = Instant::now();
        let mut expired = Vec::new();
        let mut state = self.state.lock();
        state.idle.retain(|way, waiting| {
            let time = self.cache_time(way);
            expired.extend(waiting.extract_if(.., |connection| now.duration_since(connection.idle_since) >= time));
            !waiting.is_empty()
        });
        state.sweeping = !state.idle.is_empty();
        let more = state.sweeping;
        drop(state);
        expired.into_iter().for_each(|connection| self.say_goodbye(connection));
        more
    }
}

async fn sweep_until_empty(pool: std::sync::Weak<Pool>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        match pool.upgrade() {
            Some(pool) if pool.sweep() => {}
            _ => return,
        }
    }
}
