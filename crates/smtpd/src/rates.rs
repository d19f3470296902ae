//! How often a client may do something (Postfix anvil).
//!
//! Each service counts for itself. Time is cut into windows of its `anvil_rate_time_unit`, the same for all clients; what is counted is forgotten
//! at the end of a window. So memory is bounded by [`CLIENTS`] and there is nothing to keep in order. When more clients than that come in
//! one window, those that came once are forgotten first.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Counters of one service.
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

/// What is counted, by service.
#[derive(Default)]
pub(crate) struct Rates(Mutex<HashMap<String, Window>>);

#[derive(Default)]
struct Window {
    began: Option<Instant>,
    counts: HashMap<(IpAddr, Event), u32>,
}

impl Rates {
    /// Counts an event; true when the client has had more than `limit` of them in this window.
    pub(crate) fn over(&self, service: &str, ip: IpAddr, event: Event, limit: u32, unit: Duration, now: Instant) -> bool {
        if limit == 0 {
            return false;
        }
        let mut windows = self.0.lock();
        if !windows.contains_key(service) {
            windows.insert(service.to_owned(), Window::default());
        }
        let window = windows.get_mut(service).expect("inserted above");
        if window.began.is_none_or(|began| now.saturating_duration_since(began) >= unit) {
            window.began = Some(now);
            window.counts = HashMap::new();
        }
        let key = (counted_as(ip), event);
        if window.counts.len() >= CLIENTS && !window.counts.contains_key(&key) {
            window.counts.retain(|_, count| *count > 1);
            if window.counts.len() >= CLIENTS {
                window.counts.clear();
            }
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
        let (rates, smtp) = (Rates::default(), "smtp");
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
            assert_eq!(rates.over(smtp, ip(client), event, 2, unit, now), want, "{client} at {at}");
        }
        assert!(!rates.over(smtp, ip("192.0.2.9"), Event::Connection, 0, unit, start));
        // What happens at another service, whose window is shorter, changes nothing here.
        let submission = "submission";
        for at in 0..5 {
            let now = start + unit * (at + 2);
            assert!(!rates.over(smtp, ip("192.0.2.8"), Event::Message, 5, unit * 100, now), "{at}");
            assert!(!rates.over(submission, ip("192.0.2.8"), Event::Message, 1, unit, now), "{at}");
        }
        assert!(rates.over(smtp, ip("192.0.2.8"), Event::Message, 5, unit * 100, start + unit * 7));
    }

    #[test]
    fn strangers_cannot_fill_the_memory() {
        let (rates, smtp) = (Rates::default(), "smtp");
        let now = Instant::now();
        let over = |n: u32| rates.over(smtp, IpAddr::from(n.to_be_bytes()), Event::Connection, 1, Duration::from_secs(60), now);
        assert!(!over(7) && over(7));
        for n in 1000..u32::try_from(CLIENTS).expect("small") + 2000 {
            over(n);
        }
        assert!(rates.0.lock()["smtp"].counts.len() <= CLIENTS);
        assert!(over(7), "who came often is not forgotten for them");
        assert!(!over(5_000_000) && over(5_000_000), "and who is new is counted");
    }
}
