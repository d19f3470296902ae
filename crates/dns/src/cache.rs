//! Answers kept until their time is up, in bounded memory.
//!
//! Two generations: new answers go into the young one; when that is half of the limit it becomes the old one and the old one is
//! dropped. An answer used from the old generation moves to the young one. So memory is bounded without a list to keep in order.

use crate::Error;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Instant;

pub(crate) struct Cache<K, V> {
    half: usize,
    state: Mutex<Generations<K, V>>,
}

struct Generations<K, V> {
    young: HashMap<K, Kept<V>>,
    old: HashMap<K, Kept<V>>,
}

type Kept<V> = (Instant, Result<V, Error>);

impl<K: Hash + Eq + Clone, V: Clone> Cache<K, V> {
    /// Keeps at most about `entries` answers; none for 0.
    pub fn new(entries: usize) -> Cache<K, V> {
        Cache { half: entries.div_ceil(2), state: Mutex::new(Generations { young: HashMap::new(), old: HashMap::new() }) }
    }

    pub fn get(&self, key: &K, now: Instant) -> Option<Result<V, Error>> {
        let mut state = self.state.lock();
        if let Some((until, answer)) = state.young.get(key) {
            return (*until > now).then(|| answer.clone());
        }
        let kept = state.old.remove(key).filter(|(until, _)| *until > now)?;
        let answer = kept.1.clone();
        self.put(&mut state, key.clone(), kept);
        Some(answer)
    }

    pub fn insert(&self, key: K, answer: Result<V, Error>, until: Instant) {
        if self.half > 0 {
            self.put(&mut self.state.lock(), key, (until, answer));
        }
    }

    fn put(&self, state: &mut Generations<K, V>, key: K, kept: Kept<V>) {
        if state.young.len() >= self.half {
            state.old = std::mem::take(&mut state.young);
        }
        state.young.insert(key, kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn answers_end_with_their_time_and_memory_is_bounded() {
        let cache = Cache::new(10);
        let now = Instant::now();
        for n in 0..1000 {
            cache.insert(n, Ok(n), now + Duration::from_secs(10));
            let state = cache.state.lock();
            assert!(state.young.len() + state.old.len() <= 10);
        }
        assert_eq!(cache.get(&999, now), Some(Ok(999)));
        assert_eq!(cache.get(&0, now), None);
        assert_eq!(cache.get(&999, now + Duration::from_secs(10)), None);
        cache.insert(1, Err(Error::NoSuchName), now + Duration::from_secs(1));
        assert_eq!(cache.get(&1, now), Some(Err(Error::NoSuchName)));
    }

    #[test]
    fn an_answer_in_use_outlives_generations() {
        let cache = Cache::new(10);
        let (now, until) = (Instant::now(), Instant::now() + Duration::from_secs(60));
        cache.insert(-1, Ok(-1), until);
        for n in 0..100 {
            cache.insert(n, Ok(n), until);
            assert_eq!(cache.get(&-1, now), Some(Ok(-1)), "after {n}");
        }
        let none = Cache::new(0);
        none.insert(1, Ok(1), until);
        assert_eq!(none.get(&1, now), None);
    }
}
