//! Passwords that were right or wrong lately.
//!
//! Webmail logs in for every page, phones for every folder; hashing each time would cost more than the mail, and so would a phone that goes
//! on with the password of last year. What is remembered is a keyed hash over service, user, stored password, the scheme that it has where it
//! names none, and given password, all of it, in memory only. So nothing can be read back, a changed password counts at once because its stored form is another, and no user can be let in by
//! what another one did (CVE-2025-30189). Who is not there is compared with nobody's password and remembered in the same way. Right and wrong ones
//! are remembered apart: who guesses makes nobody else's login slow.

use crate::memory::Memory;
use aws_lc_rs::hmac;
use std::time::{Duration, Instant};

pub struct Verified {
    key: hmac::Key,
    right: Memory<Mark, ()>,
    wrong: Memory<Mark, ()>,
}

/// What a check was about, as it is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark([u8; 32]);

impl Verified {
    /// `limit` entries of each kind at most, right ones for `ttl`, wrong ones for `negative_ttl`.
    pub fn new(limit: usize, ttl: Duration, negative_ttl: Duration) -> anyhow::Result<Verified> {
        let mut secret = zeroize::Zeroizing::new([0; 32]);
        getrandom::fill(&mut *secret)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*secret);
        Ok(Verified { key, right: Memory::new(limit, ttl), wrong: Memory::new(limit, negative_ttl) })
    }

    /// `stored`: the text and its default scheme.
    pub fn mark(&self, service: &str, user: &str, (stored, scheme): (&str, &str), password: &str) -> Mark {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [service, user, stored, scheme, password] {
            // Lengths keep "ab" + "c" from being "a" + "bc".
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part.as_bytes());
        }
        Mark(context.sign().as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// Whether this was found right, or wrong, not long ago.
    pub fn verdict(&self, mark: &Mark, now: Instant) -> Option<bool> {
        match (self.right.get(mark, now), self.wrong.get(mark, now)) {
            (Some(()), _) => Some(true),
            (None, Some(())) => Some(false),
            (None, None) => None,
        }
    }

    pub fn remember(&self, mark: Mark, is_right: bool, now: Instant) {
        let memory = if is_right { &self.right } else { &self.wrong };
        memory.insert(mark, (), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_service_user_stored_and_given_password_hold() {
        let verified = Verified::new(10, Duration::from_secs(60), Duration::from_secs(5)).expect("random");
        let now = Instant::now();
        for is_right in [true, false] {
            let given = if is_right { "pw" } else { "wrong" };
            verified.remember(verified.mark("imap", "ann", ("pw", "PLAIN"), given), is_right, now);
            let at = |time| verified.verdict(&verified.mark("imap", "ann", ("pw", "PLAIN"), given), time);
            assert_eq!(at(now), Some(is_right));
            for (service, user, stored, password) in [
                ("smtp", "ann", ("pw", "PLAIN"), given),
                ("imap", "bob", ("pw", "PLAIN"), given),
                ("imap", "ann", ("new", "PLAIN"), given),
                ("imap", "ann", ("pw", "PLAIN-MD5"), given),
                ("imap", "ann", ("pw", "PLAIN"), "other"),
                ("imapa", "nn", ("pw", "PLAIN"), given),
                ("imap", "ann", ("pwP", "LAIN"), given),
            ] {
                assert_eq!(verified.verdict(&verified.mark(service, user, stored, password), now), None, "{service} {user} {stored:?}");
            }
            assert_eq!(at(now + Duration::from_secs(5)), is_right.then_some(true));
            assert_eq!(at(now + Duration::from_secs(60)), None);
        }
    }

    #[test]
    fn who_guesses_drives_nobody_out() {
        let verified = Verified::new(100, Duration::from_secs(60), Duration::from_secs(60)).expect("random");
        let now = Instant::now();
        let right = verified.mark("imap", "ann", ("", ""), "");
        verified.remember(right, true, now);
        for n in 0..1000 {
            verified.remember(verified.mark("imap", &n.to_string(), ("", ""), ""), false, now);
        }
        assert_eq!(verified.verdict(&right, now), Some(true));
    }
}
