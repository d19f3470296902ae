use crate::setting::{hours, millis, minutes, secs};
use crate::settings;
use std::time::Duration;

settings! {
    /// How names are looked up.
    pub struct Dns in "dns" {
        /// Resolvers as `address` or `address:port`. Empty: those of `/etc/resolv.conf`.
        nameservers: Vec<String> = Vec::<String>::new();
        /// How long one attempt at one resolver may take.
        timeout: Duration = secs(3), in millis(100)..=secs(30);
        /// How often a question is asked again.
        attempts: u32 = 2u32, in 1..=10;
        /// Asks with letters in random case, which a forged answer would have to know. A resolver that does not keep the case is asked by TCP.
        case_randomization: bool = true;
        /// The longest that an answer is kept, whatever its TTL says.
        cache_max_ttl: Duration = hours(1), in secs(0)..=hours(24);
        /// The longest that "there is no such name" is kept.
        cache_negative_ttl: Duration = minutes(1), in secs(0)..=hours(1);
        /// Answers kept at most.
        cache_entries: u32 = 10_000u32, in 0..=1_000_000;
    }
}
