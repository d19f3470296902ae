//! Passwords that were right lately.
//!
//! Webmail logs in for every page, phones for every folder; hashing each time would cost more than the mail. What is
//! remembered is a keyed hash over service, user, stored password and given password, all of it, in memory only. So nothing can be read back,
//! a changed password counts at once because its stored form is another, and no user can be let in by what another one
//! did (CVE-2025-30189). Wrong passwords are not remembered: they cannot lock anybody out.

use aws_lc_rs::hmac;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::{Duration, Instant};

pub struct Verified {
    key: hmac::Key,
    limit: usize,
    ttl: Duration,
    known: Mutex<HashMap<[u8; 32], Instant>>,
}

/// What a check was about, as it is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark([u8; 32]);

impl Verified {
    /// `limit` entries at most, each for `ttl`.
    pub fn new(limit: usize, ttl: Duration) -> anyhow::Result<Verified> {
        let mut secret = zeroize::Zeroizing::new([0; 32]);
        getrandom::fill(&mut *secret)?;
        Ok(Verified { key: hmac::Key::new(hmac::HMAC_SHA256, &*secret), limit, ttl, known: Mutex::default() })
    }

    pub fn mark(&self, service: &str, user: &str, stored: &str, password: &str) -> Mark {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [service, user, stored, password] {
            // Lengths keep "ab" + "c" from being "a" + "bc".
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part.as_bytes());
        }
        Mark(context.sign().as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// Whether this was found right not long ago.
    pub fn holds(&self, mark: &Mark, now: Instant) -> bool {
        self.known.lock().get(&mark.0).is_some_and(|since| now.saturating_duration_since(*since) < self.ttl)
    }

    pub fn remember(&self, mark: Mark, now: Instant) {
        if self.limit == 0 {
            return;
        }
        let mut known = self.known.lock();
        if known.len() >= self.limit {
            known.retain(|_, since| now.saturating_duration_since(*since) < self.ttl);
            if known.len() >= self.limit {
                // Half of them go, the older half; sorting is rare and short.
                let mut times: Vec<Instant> = known.values().copied().collect();
                times.sort_unstable();
                let middle = times[times.len() / 2];
                known.retain(|_, since| *since > middle);
            }
        }
        known.insert(mark.0, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_service_user_stored_and_given_password_hold() {
        let verified = Verified::new(10, Duration::from_secs(60)).expect("random");
        let now = Instant::now();
        verified.remember(verified.mark("imap", "ann", "{PLAIN}pw", "pw"), now);
        assert!(verified.holds(&verified.mark("imap", "ann", "{PLAIN}pw", "pw"), now));
        for (service, user, stored, password) in [
            ("smtp", "ann", "{PLAIN}pw", "pw"),
            ("imap", "bob", "{PLAIN}pw", "pw"),
            ("imap", "ann", "{PLAIN}new", "pw"),
            ("imap", "ann", "{PLAIN}pw", "other"),
            ("imapa", "nn", "{PLAIN}pw", "pw"),
        ] {
            assert!(!verified.holds(&verified.mark(service, user, stored, password), now), "{service} {user}");
        }
        assert!(!verified.holds(&verified.mark("imap", "ann", "{PLAIN}pw", "pw"), now + Duration::from_secs(60)));
    }

    #[test]
    fn the_number_of_entries_is_bounded() {
        let verified = Verified::new(100, Duration::from_secs(60)).expect("random");
        let start = Instant::now();
        for n in 0..1000 {
            verified.remember(verified.mark("imap", &n.to_string(), "", ""), start + Duration::from_millis(n));
        }
        assert!(verified.known.lock().len() <= 100);
        let last = verified.mark("imap", "999", "", "");
        assert!(verified.holds(&last, start + Duration::from_secs(1)));
    }
}
