//! A line in which the more urgent stand in front, and nobody waits for ever.
//!
//! - **Urgency**: the highest level goes first (RFC 6710 §5.1); within a level, who came first.
//! - **Patience**: of [`TURNS`] that leave, one is who has waited longest, whatever the level. So urgent mail without end takes seven
//!   eighths, and the rest goes on in the order of its arrival.

use std::collections::{BTreeMap, VecDeque};

const TURNS: u32 = 8;

#[derive(Debug)]
pub struct Waiting<T> {
    /// By level, each with the number of its arrival. No level is empty.
    levels: BTreeMap<i8, VecDeque<(u64, T)>>,
    arrivals: u64,
    turns: u32,
}

impl<T> Default for Waiting<T> {
    fn default() -> Waiting<T> {
        Waiting { levels: BTreeMap::new(), arrivals: 0, turns: 0 }
    }
}

impl<T> Waiting<T> {
    pub fn push_back(&mut self, priority: i8, item: T) {
        self.arrivals += 1;
        self.levels.entry(priority).or_default().push_back((self.arrivals, item));
    }

    /// Before all others of its level, as if it had been there first.
    pub fn push_front(&mut self, priority: i8, item: T) {
        self.levels.entry(priority).or_default().push_front((0, item));
    }

    pub fn pop(&mut self) -> Option<T> {
        let highest = *self.levels.last_key_value()?.0;
        let mut level = highest;
        if self.levels.len() > 1 {
            self.turns += 1;
            if self.turns.is_multiple_of(TURNS) {
                let oldest = |(_, items): &(&i8, &VecDeque<(u64, T)>)| items.front().map_or(u64::MAX, |(arrival, _)| *arrival);
                level = self.levels.iter().min_by_key(oldest).map_or(highest, |(level, _)| *level);
            }
        }
        let items = self.levels.get_mut(&level)?;
        let item = items.pop_front().map(|(_, item)| item);
        if items.is_empty() {
            self.levels.remove(&level);
        }
        item
    }

    pub fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    /// Takes out those that are wanted, the urgent ones first.
    pub fn take(&mut self, mut wanted: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        for items in self.levels.values_mut().rev() {
            if items.iter().any(|(_, item)| wanted(item)) {
                let (out, rest) = std::mem::take(items).into_iter().partition::<Vec<_>, _>(|(_, item)| wanted(item));
                *items = rest.into();
                taken.extend(out.into_iter().map(|(_, item)| item));
            }
        }
        self.levels.retain(|_, items| !items.is_empty());
        taken
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.levels.values().map(VecDeque::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_urgent_go_first_and_the_patient_every_eighth_time() {
        let mut waiting = Waiting::default();
        (0..3).for_each(|n| waiting.push_back(-4, format!("slow{n}")));
        waiting.push_back(0, "usual".into());
        (0..20).for_each(|n| waiting.push_back(4, format!("urgent{n}")));
        let order: Vec<String> = std::iter::from_fn(|| waiting.pop()).collect();
        let at = |name: &str| order.iter().position(|item| item == name).expect(name);
        assert_eq!((at("urgent0"), at("urgent6"), at("slow0"), at("urgent7")), (0, 6, 7, 8));
        assert_eq!((at("slow1"), at("usual"), at("slow2")), (15, 22, 23), "{order:?}");
        assert!(waiting.is_empty() && waiting.pop().is_none());
    }

    #[test]
    fn without_levels_it_is_a_line_as_any() {
        let mut waiting = Waiting::default();
        (0..20).for_each(|n| waiting.push_back(0, n));
        waiting.push_front(0, 99);
        assert_eq!(waiting.take(|n| n % 2 == 0), [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]);
        assert_eq!(waiting.len(), 11);
        assert_eq!(std::iter::from_fn(|| waiting.pop()).collect::<Vec<_>>(), [99, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19]);
    }
}
