//! When a deferred message is tried again, and when it is given up.
//!
//! - **Backoff**: the wait doubles with each attempt, from `minimal_backoff_time` to `maximal_backoff_time`, as Postfix has it.
//! - **Lifetime**: a message is given up when it is older than its lifetime and has been tried often enough for that age.
//!   The second half is there for clocks: a wall clock that jumps ten years ahead makes every message old at once, and
//!   must not bounce them all.

use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    pub minimal: Duration,
    pub maximal: Duration,
    pub lifetime: Duration,
    pub bounce_lifetime: Duration,
}

impl Backoff {
    /// The wait after so many attempts (at least one).
    pub fn wait(&self, attempts: u32) -> Duration {
        let doubled = self.minimal.saturating_mul(1u32.checked_shl(attempts.saturating_sub(1)).filter(|n| *n > 0).unwrap_or(u32::MAX));
        doubled.min(self.maximal).max(Duration::from_millis(100))
    }

    fn lifetime_of(&self, is_bounce: bool) -> Duration {
        if is_bounce { self.bounce_lifetime } else { self.lifetime }
    }

    /// When the message will be given up, in seconds since 1970.
    pub fn until(&self, arrived_unix: u64, is_bounce: bool) -> u64 {
        arrived_unix.saturating_add(self.lifetime_of(is_bounce).as_secs())
    }

    /// Whether a message is given up after its last attempt failed.
    pub fn is_over(&self, now_unix: u64, arrived_unix: u64, attempts: u32, is_bounce: bool) -> bool {
        let enough = self.lifetime_of(is_bounce).as_secs() / (4 * self.maximal.as_secs().max(1));
        now_unix >= self.until(arrived_unix, is_bounce) && u64::from(attempts) >= enough
    }

    /// How far in the future an attempt may be planned: a time read from the disk that lies beyond was planned by
    /// another clock.
    pub fn clamp(&self, now_unix: u64, next_unix: u64) -> Duration {
        Duration::from_secs(next_unix.saturating_sub(now_unix)).min(self.maximal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSTFIX: Backoff = Backoff {
        minimal: Duration::from_secs(300),
        maximal: Duration::from_secs(4000),
        lifetime: Duration::from_secs(5 * 86400),
        bounce_lifetime: Duration::from_secs(86400),
    };

    #[test]
    fn the_wait_doubles_up_to_the_longest() {
        let waits: Vec<u64> = (1..8).map(|n| POSTFIX.wait(n).as_secs()).collect();
        assert_eq!(waits, [300, 600, 1200, 2400, 4000, 4000, 4000]);
        assert_eq!(POSTFIX.wait(u32::MAX).as_secs(), 4000);
    }

    /// Q15.
    #[test]
    fn a_message_is_given_up_when_it_is_old_and_was_tried_often() {
        let day = 86400;
        assert!(!POSTFIX.is_over(4 * day, 0, 100, false));
        assert!(POSTFIX.is_over(5 * day, 0, 100, false));
        assert!(POSTFIX.is_over(day, 0, 20, true));
        assert!(!POSTFIX.is_over(3650 * day, 0, 2, false), "the clock jumped");
        let at_once = Backoff { lifetime: Duration::ZERO, ..POSTFIX };
        assert!(at_once.is_over(10, 10, 1, false));
    }

    /// Q15.
    #[test]
    fn no_clock_makes_it_wait_for_ever() {
        assert_eq!(POSTFIX.clamp(1000, 1300).as_secs(), 300);
        assert_eq!(POSTFIX.clamp(1000, 1_000_000_000).as_secs(), 4000);
        assert_eq!(POSTFIX.clamp(1000, 5).as_secs(), 0);
    }
}
