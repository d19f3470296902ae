use parking_lot::Mutex;
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3600);

/// So many of something in an hour, and a count of what was left out.
#[derive(Debug, Default)]
pub struct Hourly(Mutex<(Option<Instant>, u32, u32)>);

impl Hourly {
    /// `Some`: one may go; so many were left out before it.
    pub fn take(&self, per_hour: u32, now: Instant) -> Option<u32> {
        let mut counts = self.0.lock();
        let (began, sent, left_out) = &mut *counts;
        if began.is_none_or(|began| now.saturating_duration_since(began) >= HOUR) {
            (*began, *sent) = (Some(now), 0);
        }
        if *sent >= per_hour {
            *left_out = left_out.saturating_add(1);
            return None;
        }
        *sent += 1;
        Some(std::mem::take(left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_has_its_limit_and_what_is_left_out_is_counted() {
        let (rate, now) = (Hourly::default(), Instant::now());
        let went: Vec<Option<u32>> = (0..5).map(|_| rate.take(2, now)).collect();
        assert_eq!(went, [Some(0), Some(0), None, None, None]);
        assert_eq!(rate.take(2, now + HOUR), Some(3));
    }
}
