//! Waiting that grows with failed logins.
//!
//! Failures are counted per user and address together (IPv6: its /64), and per address over all users. From some number on each
//! further attempt waits its turn: one at a time, spaced by a delay that grows from half a second to two and a half. Attempts that would
//! have to wait longer than that are answered with a temporary failure without looking at the password. So guessing from one place comes
//! down to some 25 tries a minute however many connections it uses, and the owner at another address notices
//! nothing. Upper and lower case are one user. A right password ends the count of its user and address. Addresses of this machine and of trusted networks (webmail) are not
//! counted over all users: many people are behind them.

use crate::passwd_file::Network;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_millis(2_500);
/// Of a name that is longer than any user's, so much tells it from others.
const NAME_LIMIT_BYTES: usize = 255;
/// An address may fail this many times more over all users than with one.
const ADDRESS_FACTOR: u32 = 4;
const ENTRIES_LIMIT: usize = 100_000;

pub struct Penalty {
    /// Programs that log in for many people.
    trusted: Vec<Network>,
    after: u32,
    window: Duration,
    failed: Mutex<HashMap<(Option<IpAddr>, String), Failures>>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
    /// When the next attempt may be looked at.
    next: Instant,
}

/// Too many attempts wait already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

impl Penalty {
    /// `after` failures within `window` before attempts have to wait.
    pub fn new(after: u32, window: Duration, trusted: Vec<Network>) -> Penalty {
        Penalty { trusted, after, window, failed: Mutex::default() }
    }

    /// How long an attempt that comes now has to wait.
    pub fn wait(&self, remote: Option<IpAddr>, user: &str, now: Instant) -> Result<Duration, TooMany> {
        let mut failed = self.failed.lock();
        let mut longest = Duration::ZERO;
        // Over all users first: who is refused there takes no turn at the other.
        for (key, after) in self.keys(remote, user) {
            let Some(entry) = failed.get_mut(&key) else { continue };
            if now.saturating_duration_since(entry.last) >= self.window {
                failed.remove(&key);
                continue;
            }
            if entry.count < after {
                continue;
            }
            let delay = (SHORTEST * (entry.count - after + 1).min(5)).min(LONGEST);
            let turn = entry.next.max(now);
            let wait = turn - now + delay;
            if wait > LONGEST {
                return Err(TooMany);
            }
            entry.next = turn + delay;
            longest = longest.max(wait);
        }
        Ok(longest)
    }

    /// The password was wrong. A user without a name is nobody: only the address has failed.
    pub fn failure(&self, remote: Option<IpAddr>, user: &str, now: Instant) {
        let mut failed = self.failed.lock();
        if failed.len() >= ENTRIES_LIMIT {
            let window = self.window;
            failed.retain(|_, entry| now.saturating_duration_since(entry.last) < window);
            if failed.len() >= ENTRIES_LIMIT {
                // What counts for little goes: those that do not wait yet.
                let after = self.after;
                failed.retain(|_, entry| entry.count >= after);
            }
            if failed.len() >= ENTRIES_LIMIT {
                failed.clear();
            }
        }
        for (key, _) in self.keys(remote, user) {
            let entry = failed.entry(key).or_insert(Failures { count: 0, last: now, next: now });
            if now.saturating_duration_since(entry.last) >= self.window {
                *entry = Failures { count: 0, last: now, next: now };
            }
            entry.count = entry.count.saturating_add(1);
            entry.last = now;
        }
    }

    /// The password was right. Of a user without a name (a token may be all that a client sends) nothing is counted but what the address
    /// did to all users, and that stays.
    pub fn success(&self, remote: Option<IpAddr>, user: &str) {
        if !user.is_empty() {
            self.failed.lock().remove(&(remote.map(network), name(user)));
        }
    }

    fn keys(&self, remote: Option<IpAddr>, user: &str) -> Vec<((Option<IpAddr>, String), u32)> {
        let mut keys = Vec::with_capacity(2);
        let many = |ip: &IpAddr| ip.to_canonical().is_loopback() || self.trusted.iter().any(|net| net.holds(ip.to_canonical()));
        if let Some(ip) = remote.filter(|ip| !many(ip)) {
            keys.push(((Some(network(ip)), String::new()), self.after.saturating_mul(ADDRESS_FACTOR)));
        }
        if !user.is_empty() {
            keys.push(((remote.map(network), name(user)), self.after));
        }
        keys
    }
}

/// A user's name as it is counted. Names nobody can have come as long as a client likes, and are many.
fn name(user: &str) -> String {
    let mut name = user.to_lowercase();
    name.truncate(name.floor_char_boundary(NAME_LIMIT_BYTES));
    name
}

/// The address; of an IPv6 address its /64, of which one household has all.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("address"))
    }

    #[test]
    fn other_letters_are_no_other_user() {
        let penalty = Penalty::new(2, Duration::from_secs(60), Vec::new());
        let now = Instant::now();
        for name in ["ann", "ANN"] {
            assert_eq!(penalty.wait(ip("127.0.0.1"), "Ann", now), Ok(Duration::ZERO));
            penalty.failure(ip("127.0.0.1"), name, now);
        }
        assert_ne!(penalty.wait(ip("127.0.0.1"), "aNN", now), Ok(Duration::ZERO));
        penalty.success(ip("127.0.0.1"), "Ann");
        assert_eq!(penalty.wait(ip("127.0.0.1"), "ann", now), Ok(Duration::ZERO));
    }

    #[test]
    fn long_names_take_no_more_room_than_users() {
        let penalty = Penalty::new(1, Duration::from_secs(60), Vec::new());
        let now = Instant::now();
        for end in ["a", "é", "\u{1f600}"] {
            penalty.failure(ip("127.0.0.1"), &format!("{}{end}", "é".repeat(1000)), now);
        }
        let failed = penalty.failed.lock();
        assert!(failed.len() == 1 && failed.keys().all(|(_, name)| name.len() <= NAME_LIMIT_BYTES));
    }

    #[test]
    fn who_gives_no_name_does_not_end_what_the_address_did_to_all() {
        let penalty = Penalty::new(1, Duration::from_secs(60), Vec::new());
        let now = Instant::now();
        for n in 0..ADDRESS_FACTOR {
            penalty.failure(ip("192.0.2.1"), &n.to_string(), now);
        }
        penalty.success(ip("192.0.2.1"), "");
        assert_ne!(penalty.wait(ip("192.0.2.1"), "ann", now), Ok(Duration::ZERO));
    }

    #[test]
    fn attempts_wait_longer_and_longer_and_in_turn() {
        let penalty = Penalty::new(3, Duration::from_secs(60), Vec::new());
        let now = Instant::now();
        for _ in 0..3 {
            assert_eq!(penalty.wait(ip("192.0.2.1"), "ann", now), Ok(Duration::ZERO));
            penalty.failure(ip("192.0.2.1"), "ann", now);
        }
        assert_eq!(penalty.wait(ip("192.0.2.1"), "ann", now), Ok(SHORTEST));
        // A second one at the same moment waits for its turn; many are refused.
        assert_eq!(penalty.wait(ip("192.0.2.1"), "ann", now), Ok(SHORTEST * 2));
        let refused = (0..20).filter(|_| penalty.wait(ip("192.0.2.1"), "ann", now) == Err(TooMany)).count();
        assert!(refused >= 17, "{refused}");
        for _ in 0..10 {
            penalty.failure(ip("192.0.2.1"), "ann", now);
        }
        let later = now + Duration::from_secs(10);
        assert_eq!(penalty.wait(ip("192.0.2.1"), "ann", later), Ok(LONGEST));
    }

    #[test]
    fn an_attacker_does_not_lock_the_owner_out() {
        let penalty = Penalty::new(3, Duration::from_secs(60), Vec::new());
        let now = Instant::now();
        for _ in 0..100 {
            penalty.failure(ip("192.0.2.1"), "ann", now);
        }
        assert!(penalty.wait(ip("192.0.2.1"), "ann", now) != Ok(Duration::ZERO));
        assert_eq!(penalty.wait(ip("198.51.100.7"), "ann", now), Ok(Duration::ZERO));
        // The attacker's address waits with any user.
        assert!(penalty.wait(ip("192.0.2.1"), "bob", now) != Ok(Duration::ZERO));
    }

    #[test]
    fn failures_of_nobody_count_for_their_address() {
        let penalty = Penalty::new(1, Duration::from_secs(60), Vec::new());
        let now = Instant::now();
        for _ in 0..ADDRESS_FACTOR {
            assert_eq!(penalty.wait(ip("192.0.2.1"), "ann", now), Ok(Duration::ZERO));
            penalty.failure(ip("192.0.2.1"), "", now);
        }
        assert_eq!(penalty.wait(ip("192.0.2.1"), "ann", now), Ok(SHORTEST));
        penalty.failure(None, "", now);
        assert_eq!(penalty.wait(None, "ann", now), Ok(Duration::ZERO));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_mapped_ipv4_is_ipv4() {
        let penalty = Penalty::new(1, Duration::from_secs(60), Vec::new());
        let now = Instant::now();
        penalty.failure(ip("2001:db8::1"), "ann", now);
        assert_eq!(penalty.wait(ip("2001:db8::ffff:1"), "ann", now), Ok(SHORTEST));
        assert_eq!(penalty.wait(ip("2001:db8:0:1::1"), "ann", now), Ok(Duration::ZERO));
        penalty.failure(ip("::ffff:192.0.2.1"), "ann", now);
        assert_eq!(penalty.wait(ip("192.0.2.1"), "ann", now), Ok(SHORTEST));
    }

    #[test]
    fn success_and_time_end_the_count_and_webmail_is_not_one_address() {
        let penalty = Penalty::new(1, Duration::from_secs(60), Vec::new());
        let now = Instant::now();
        penalty.failure(ip("192.0.2.1"), "ann", now);
        penalty.success(ip("192.0.2.1"), "ann");
        assert_eq!(penalty.wait(ip("192.0.2.1"), "ann", now), Ok(Duration::ZERO));
        penalty.failure(ip("192.0.2.1"), "ann", now);
        assert_eq!(penalty.wait(ip("192.0.2.1"), "ann", now + Duration::from_secs(60)), Ok(Duration::ZERO));
        for _ in 0..100 {
            penalty.failure(ip("127.0.0.1"), "ann", now);
        }
        assert_eq!(penalty.wait(ip("127.0.0.1"), "bob", now), Ok(Duration::ZERO));
        penalty.failure(None, "ann", now);
        assert_eq!(penalty.wait(None, "ann", now), Ok(SHORTEST));
    }

    #[test]
    fn people_behind_one_webmail_do_not_wait_for_each_other() {
        let trusted = vec![Network::parse("192.0.2.0/24").expect("network")];
        let penalty = Penalty::new(1, Duration::from_secs(60), trusted);
        let now = Instant::now();
        for _ in 0..100 {
            penalty.failure(ip("192.0.2.1"), "ann", now);
        }
        assert_eq!(penalty.wait(ip("192.0.2.1"), "bob", now), Ok(Duration::ZERO));
        assert_ne!(penalty.wait(ip("192.0.2.1"), "ann", now), Ok(Duration::ZERO));
    }
}
