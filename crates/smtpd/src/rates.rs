//! How often a client may do something (Postfix anvil).
//!
//! Time is cut into windows of `anvil_rate_time_unit`, the same for all clients; what is counted is forgotten at the end of a window. So memory
//! is bounded by [`CLIENTS`] and there is nothing to keep in order. Clients beyond that many in one window are not counted.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Counters in one window.
const CLIENTS: usize = 100_000;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    Connection,
    Message,
    Recipient,
    NewTls,
    Auth,
}

/// Shared by all services.
#[derive(Default)]
pub(crate) struct Rates(Mutex<Window>);

#[derive(Default)]
struct Window {
    began: Option<Instant>,
    counts: HashMap<(IpAddr, Event), u32>,
}

impl Rates {
    /// Counts an event; true when the client has had more than `limit` of them in this window.
    pub(crate) fn over(&self, ip: IpAddr, event: Event, limit: u32, unit: Duration, now: Instant) -> bool {
        if limit == 0 {
            return false;
        }
        let mut window = self.0.lock();
        if window.began.is_none_or(|began| now.saturating_duration_since(began) >= unit) {
            window.began = Some(now);
            window.counts = HashMap::new();
        }
        let key = (counted_as(ip), event);
        if window.counts.len() >= CLIENTS && !window.counts.contains_key(&key) {
            return false;
        }
        let count = window.counts.entry(key).or_insert(0);
        *count = count.saturating_add(1);
        *count > limit
    }
}

/// One customer usually has a whole /64 of IPv6.
pub(crate) fn counted_as(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let s = ip.segments();
            Ipv6Addr::new(s[0], s[1], s[2], s[3], 0, 0, 0, 0).into()
        }
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_by_client_and_window() {
        let rates = Rates::default();
        let (start, unit) = (Instant::now(), Duration::from_secs(60));
        let ip = |text: &str| text.parse::<IpAddr>().expect("ip");
        for (at, client, event, want) in [
            (0, "192.0.2.1", Event::Message, false),
            (1, "192.0.2.1", Event::Message, false),
            (2, "::ffff:192.0.2.1", Event::Message, true),
            (3, "192.0.2.1", Event::Auth, false),
            (4, "192.0.2.2", Event::Message, false),
            (5, "2001:db8::1", Event::Message, false),
            (6, "2001:db8::2", Event::Message, false),
            (7, "2001:db8::3:1", Event::Message, true),
            (8, "2001:db8:0:1::1", Event::Message, false),
            (59, "192.0.2.1", Event::Message, true),
            (60, "192.0.2.1", Event::Message, false),
        ] {
            let now = start + Duration::from_secs(at);
            assert_eq!(rates.over(ip(client), event, 2, unit, now), want, "{client} at {at}");
        }
        assert!(!rates.over(ip("192.0.2.9"), Event::Connection, 0, unit, start));
    }

    #[test]
    fn strangers_cannot_fill_the_memory() {
        let rates = Rates::default();
        let now = Instant::now();
        for n in 0..u32::try_from(CLIENTS).expect("small") + 1000 {
            rates.over(IpAddr::from(n.to_be_bytes()), Event::Connection, 1, Duration::from_secs(60), now);
        }
        assert_eq!(rates.0.lock().counts.len(), CLIENTS);
    }
}
