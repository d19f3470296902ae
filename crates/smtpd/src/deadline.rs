//! How long a client may take: a limit for each command, and a budget for a message.

use std::time::Duration;
use tokio::time::Instant;

/// When the client is cut off. A command has the whole timeout from the reply before it. A message begins with as much; then each of
/// its octets buys its share, and nothing else does, so that neither one octet a minute nor one per BDAT chunk lasts for ever
/// (Postfix smtpd_min_data_rate). RFC 5321 §4.5.3.2 gives time for each block instead.
#[derive(Debug)]
pub(crate) struct Deadline {
    at: Instant,
    timeout: Duration,
    /// Octets a second; 0 for no minimum.
    min_data_rate: u32,
    in_message: bool,
}

impl Deadline {
    pub(crate) fn new(now: Instant, timeout: Duration, min_data_rate: u32) -> Deadline {
        Deadline { at: now + timeout, timeout, min_data_rate, in_message: false }
    }

    pub(crate) fn at(&self) -> Instant {
        self.at
    }

    /// Something was said to the client. `receiving`: a message is coming in.
    pub(crate) fn said(&mut self, now: Instant, receiving: bool) {
        if !receiving || !self.in_message || self.min_data_rate == 0 {
            self.at = now + self.timeout;
        }
        self.in_message = receiving;
    }

    /// So many octets of a message have come.
    pub(crate) fn took(&mut self, now: Instant, octets: usize) {
        let latest = now + self.timeout;
        self.at = match self.min_data_rate {
            0 => latest,
            rate => (self.at + Duration::from_secs_f64(octets as f64 / f64::from(rate))).min(latest),
        };
    }

    /// What has begun may come to its end, for so long.
    pub(crate) fn ends_within(&mut self, now: Instant, grace: Duration) {
        self.at = now + grace;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(300);

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_message_begins_with_the_whole_time_however_late_it_begins() {
        let start = Instant::now();
        let mut deadline = Deadline::new(start, TIMEOUT, 500);
        // MAIL, RCPT and DATA in one segment, and the 354.
        let late = start + seconds(290);
        deadline.said(late, true);
        assert_eq!(deadline.at(), late + TIMEOUT);
    }

    #[test]
    fn octets_buy_their_share_and_never_more_than_the_timeout() {
        let start = Instant::now();
        let mut deadline = Deadline::new(start, TIMEOUT, 500);
        deadline.said(start, true);
        deadline.took(start + seconds(100), 5_000);
        assert_eq!(deadline.at(), start + TIMEOUT + seconds(10));
        deadline.took(start + seconds(100), 1_000_000);
        assert_eq!(deadline.at(), start + seconds(100) + TIMEOUT);
    }

    #[test]
    fn chunks_of_one_octet_run_out_of_time() {
        let start = Instant::now();
        let mut now = start;
        let mut deadline = Deadline::new(start, TIMEOUT, 500);
        let mut chunks = 0;
        while now < deadline.at() {
            deadline.took(now, 9);
            deadline.said(now, true);
            now += seconds(50);
            chunks += 1;
        }
        assert!(chunks < 10, "{chunks}");
        deadline.said(now, false);
        assert_eq!(deadline.at(), now + TIMEOUT, "the next command has its time");
    }

    #[test]
    fn without_a_minimum_each_octet_has_the_timeout() {
        let start = Instant::now();
        let mut deadline = Deadline::new(start, TIMEOUT, 0);
        deadline.said(start, true);
        deadline.took(start + seconds(299), 1);
        deadline.said(start + seconds(299), true);
        assert_eq!(deadline.at(), start + seconds(299) + TIMEOUT);
    }
}
