//! What is remembered for some time, in bounded number.

use parking_lot::Mutex;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

pub struct Memory<K, V> {
    limit: usize,
    ttl: Duration,
    known: Mutex<HashMap<K, (V, Instant)>>,
}

impl<K: Eq + Hash, V: Copy> Memory<K, V> {
    /// `limit` entries at most, each for `ttl`; nothing is remembered when either is zero.
    pub fn new(limit: usize, ttl: Duration) -> Memory<K, V> {
        Memory { limit, ttl, known: Mutex::default() }
    }

    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q, now: Instant) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.known.lock().get(key).filter(|(_, since)| now.saturating_duration_since(*since) < self.ttl).map(|(value, _)| *value)
    }

    pub fn insert(&self, key: K, value: V, now: Instant) {
        if self.limit == 0 || self.ttl.is_zero() {
            return;
        }
        let mut known = self.known.lock();
        if known.len() >= self.limit && !known.contains_key(&key) {
            known.retain(|_, (_, since)| now.saturating_duration_since(*since) < self.ttl);
            if known.len() >= self.limit {
                // Half of them go, the older half; sorting is rare and short.
                let mut times: Vec<Instant> = known.values().map(|(_, since)| *since).collect();
                times.sort_unstable();
                let middle = times[times.len() / 2];
                known.retain(|_, (_, since)| *since > middle);
            }
        }
        known.insert(key, (value, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_entries_is_bounded_and_the_older_ones_go() {
        let memory = Memory::new(100, Duration::from_secs(60));
        let start = Instant::now();
        for n in 0..1000_u64 {
            memory.insert(n, n, start + Duration::from_millis(n));
            assert!(memory.known.lock().len() <= 100);
        }
        assert_eq!((memory.get(&999, start + Duration::from_secs(1)), memory.get(&0, start)), (Some(999), None));
        for n in [1, 2] {
            memory.insert(7, n, start + Duration::from_secs(n));
        }
        assert_eq!(memory.get(&7, start + Duration::from_secs(61)), Some(2));
        assert_eq!(memory.get(&7, start + Duration::from_secs(62)), None);
    }

    #[test]
    fn without_room_or_time_nothing_is_remembered() {
        for (limit, ttl) in [(0, Duration::from_secs(60)), (10, Duration::ZERO)] {
            let memory = Memory::new(limit, ttl);
            memory.insert(1, (), Instant::now());
            assert!(memory.known.lock().is_empty());
        }
    }
}
