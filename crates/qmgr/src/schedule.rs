//! Which delivery starts next: a pure machine. The caller brings the time, starts what it is told, and reports back.
//!
//! Its strategies:
//!
//! - **Fairness**: destinations with waiting work stand in a ring; each gets one start per turn. A destination with fifty
//!   thousand messages delays nobody else's.
//! - **Slow start**: a destination begins with a small window of simultaneous deliveries. Each success widens it by one, up to
//!   the limit, as long as the window is made use of (Postfix: a positive feedback of 1).
//! - **Dead site**: a delivery that reaches no host of the destination narrows the window by one, and counts for a share of a
//!   cohort, that of one in the window. When a whole cohort has failed without a success in between, the destination is
//!   dead for the minimal back-off: all that waits for it, and what comes meanwhile, is handed back to be deferred without an
//!   attempt (Postfix: a negative feedback of 1, a failed cohort limit of 1).
//! - **Rate delay**: where one is set, a destination gets one delivery at a time, and the next one only so long after its end.
//! - **Partner**: `deliver` on this machine may be started again at any moment. When it is not reached, its work waits for a
//!   moment (a second or so), then one delivery tries; nothing is deferred. When that has gone on for ten moments, the
//!   partner is absent: its work is handed back, and so is what comes meanwhile, but for one try each moment.
//! - **Share**: how much of the places and memory one destination's work takes is known, so that the caller can keep some
//!   of both for the others.
//! - **Ceiling**: all deliveries to other hosts together have a limit; the partner is outside of it. An eighth of it is kept for
//!   destinations that nothing is on its way to yet: a few slow ones with wide windows cannot stand in everybody's way.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// The numbers of the strategies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub initial_window: u32,
    pub smtp: Pace,
    pub lmtp: Pace,
    pub partner_window: u32,
    /// Deliveries to other hosts at the same time.
    pub total: u32,
    /// How long a dead destination is left alone, in milliseconds.
    pub dead_ms: u64,
    /// How long a partner is left alone, in milliseconds.
    pub partner_retry_ms: u64,
    /// After how long a partner counts as absent, in milliseconds.
    pub partner_patience_ms: u64,
}

/// How fast deliveries follow each other at destinations of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Simultaneous deliveries at most.
    pub window: u32,
    /// From the end of one delivery to the start of the next, in milliseconds; 0: none, and several at once.
    pub delay_ms: u64,
}

/// What a destination is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Other hosts, by SMTP.
    Smtp,
    /// Other hosts, by LMTP.
    Lmtp,
    /// Our own `deliver`, or what stands for it on this machine.
    Partner,
}

impl Limits {
    /// `None` for the partner, which has rules of its own.
    fn pace(&self, kind: Kind) -> Option<Pace> {
        match kind {
            Kind::Smtp => Some(self.smtp),
            Kind::Lmtp => Some(self.lmtp),
            Kind::Partner => None,
        }
    }

    fn first_window(&self, kind: Kind) -> u64 {
        1000 * u64::from(self.pace(kind).map_or(self.partner_window, |pace| pace.window.min(self.initial_window)))
    }
}

/// Work that is measured by the memory it takes.
pub trait Weight {
    fn bytes(&self) -> usize;
}

/// What a destination's work takes, waiting and running.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    pub jobs: usize,
    pub bytes: usize,
}

/// Deliveries `J` to destinations `D`.
#[derive(Debug)]
pub struct Schedule<D, J> {
    limits: Limits,
    destinations: HashMap<D, Destination<J>>,
    /// Destinations that have waiting work, each once.
    ring: VecDeque<D>,
    busy: u32,
}

#[derive(Debug)]
struct Destination<J> {
    waiting: VecDeque<J>,
    busy: u32,
    /// In thousandths of a delivery.
    window: u64,
    /// Not before this time.
    closed_until: u64,
    /// The rate delay: no delivery starts before this time.
    paused_until: u64,
    /// Failures since the last success, in thousandths of a cohort.
    failed: u64,
    kind: Kind,
    /// Since when a partner was not reached.
    lost_since: Option<u64>,
    share: Share,
    in_ring: bool,
}

impl<J> Destination<J> {
    fn is_partner(&self) -> bool {
        self.kind == Kind::Partner
    }

    fn is_open(&self, now: u64, limits: &Limits) -> bool {
        let one_by_one = limits.pace(self.kind).is_some_and(|pace| pace.delay_ms > 0);
        let window = if one_by_one { 1000 } else { self.window.max(1000) };
        self.closed_until <= now && self.paused_until <= now && u64::from(self.busy) * 1000 < window
    }

    fn is_absent(&self, now: u64, limits: &Limits) -> bool {
        self.lost_since.is_some_and(|since| now >= since + limits.partner_patience_ms)
    }

    fn hand_back(&mut self) -> Vec<J>
    where
        J: Weight,
    {
        let jobs: Vec<J> = self.waiting.drain(..).collect();
        jobs.iter().for_each(|job| self.leaves(job));
        jobs
    }

    fn leaves(&mut self, job: &impl Weight) {
        self.share.jobs = self.share.jobs.saturating_sub(1);
        self.share.bytes = self.share.bytes.saturating_sub(job.bytes());
    }
}

/// What `Schedule::done` is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    Yes,
    No,
    /// It was not tried; nothing is learnt.
    Untried,
}

impl<D: Clone + Eq + Hash, J: Weight> Schedule<D, J> {
    pub fn new(limits: Limits) -> Schedule<D, J> {
        Schedule { limits, destinations: HashMap::new(), ring: VecDeque::new(), busy: 0 }
    }

    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Adds work. `Err` hands it back: the destination is dead until the time that stands beside it.
    pub fn add(&mut self, now: u64, to: &D, kind: Kind, job: J) -> Result<(), (J, u64)> {
        let window = self.limits.first_window(kind);
        let destination = self.destinations.entry(to.clone()).or_insert_with(|| Destination {
            waiting: VecDeque::new(),
            busy: 0,
            window,
            closed_until: 0,
            paused_until: 0,
            failed: 0,
            kind,
            lost_since: None,
            share: Share::default(),
            in_ring: false,
        });
        if destination.closed_until > now && (kind != Kind::Partner || destination.is_absent(now, &self.limits)) {
            return Err((job, destination.closed_until));
        }
        destination.share.jobs += 1;
        destination.share.bytes += job.bytes();
        destination.waiting.push_back(job);
        if !destination.in_ring {
            destination.in_ring = true;
            self.ring.push_back(to.clone());
        }
        Ok(())
    }

    /// The next delivery to start now.
    pub fn next(&mut self, now: u64) -> Option<(D, J)> {
        for _ in 0..self.ring.len() {
            let to = self.ring.pop_front()?;
            let Some(destination) = self.destinations.get_mut(&to) else { continue };
            let total = self.limits.total;
            let common = if destination.busy == 0 { total } else { total - total / 8 };
            let room = destination.is_partner() || self.busy < common;
            if !room || !destination.is_open(now, &self.limits) {
                self.ring.push_back(to);
                continue;
            }
            let job = destination.waiting.pop_front();
            destination.in_ring = !destination.waiting.is_empty();
            if destination.in_ring {
                self.ring.push_back(to.clone());
            }
            if let Some(job) = job {
                destination.busy += 1;
                self.busy += u32::from(!destination.is_partner());
                return Some((to, job));
            }
        }
        None
    }

    /// A delivery has ended. Gives back the work of a destination that is dead or absent from now on, and until when.
    pub fn done(&mut self, now: u64, to: &D, job: &J, reached: Reached) -> (Vec<J>, u64) {
        if let Some(destination) = self.destinations.get_mut(to) {
            destination.leaves(job);
        }
        self.ended(now, to, reached)
    }

    /// A delivery has ended, and is to be begun anew: before all others (`first`), or after those that wait. For a partner
    /// that was not reached, or was lost in the middle.
    pub fn again(&mut self, now: u64, to: &D, job: J, first: bool) -> (Vec<J>, u64) {
        if let Some(destination) = self.destinations.get_mut(to) {
            if first {
                destination.waiting.push_front(job)
            } else {
                destination.waiting.push_back(job)
            }
            if !destination.in_ring {
                destination.in_ring = true;
                self.ring.push_back(to.clone());
            }
        }
        self.ended(now, to, Reached::No)
    }

    fn ended(&mut self, now: u64, to: &D, reached: Reached) -> (Vec<J>, u64) {
        let Some(destination) = self.destinations.get_mut(to) else { return (Vec::new(), 0) };
        let was_busy = destination.busy;
        destination.busy = was_busy.saturating_sub(1);
        self.busy -= u32::from(!destination.is_partner() && self.busy > 0);
        let limits = &self.limits;
        let pace = limits.pace(destination.kind);
        if let Some(pace) = pace.filter(|pace| pace.delay_ms > 0 && reached != Reached::Untried) {
            destination.paused_until = now + pace.delay_ms;
        }
        match (reached, pace) {
            (Reached::Untried, _) => {}
            (Reached::Yes, None) => {
                destination.window = u64::from(limits.partner_window) * 1000;
                destination.closed_until = 0;
                destination.lost_since = None;
            }
            (Reached::No, None) => {
                // One at a time until it answers again.
                destination.window = 1000;
                destination.closed_until = now + limits.partner_retry_ms;
                destination.lost_since.get_or_insert(now);
                if destination.is_absent(now, limits) {
                    return (destination.hand_back(), destination.closed_until);
                }
            }
            (Reached::Yes, Some(pace)) => {
                destination.failed = 0;
                // A window that nobody makes use of does not grow.
                if destination.window < 1000 * u64::from(was_busy + limits.initial_window) {
                    destination.window = (destination.window + 1000).min(u64::from(pace.window) * 1000);
                }
                destination.closed_until = 0;
            }
            (Reached::No, Some(_)) => {
                destination.failed += 1_000_000 / destination.window.max(1000);
                destination.window = destination.window.saturating_sub(1000).max(1000);
                if destination.failed >= 1000 && destination.closed_until <= now {
                    destination.closed_until = now + limits.dead_ms;
                    // The first attempt afterwards goes alone.
                    destination.window = 1000;
                    return (destination.hand_back(), destination.closed_until);
                }
            }
        }
        (Vec::new(), destination.closed_until)
    }

    /// Takes waiting work out.
    pub fn take_waiting(&mut self, mut wanted: impl FnMut(&J) -> bool) -> Vec<J> {
        let mut taken = Vec::new();
        for destination in self.destinations.values_mut() {
            if destination.waiting.iter().any(&mut wanted) {
                let (out, rest) = std::mem::take(&mut destination.waiting).into_iter().partition::<Vec<_>, _>(&mut wanted);
                destination.waiting = rest.into();
                out.iter().for_each(|job| destination.leaves(job));
                taken.extend(out);
            }
        }
        taken
    }

    /// What the work for this destination takes.
    pub fn share(&self, to: &D) -> Share {
        self.destinations.get(to).map_or(Share::default(), |d| d.share)
    }

    /// An absent partner may be tried at once.
    pub fn reopen(&mut self, to: &D) {
        if let Some(destination) = self.destinations.get_mut(to) {
            destination.closed_until = 0;
        }
    }

    /// When `next` may have something again without anything being reported: a partner's moment or a rate delay is over.
    pub fn wake_at(&self, now: u64) -> Option<u64> {
        let waiting = self.ring.iter().filter_map(|to| self.destinations.get(to));
        waiting.map(|d| d.closed_until.max(d.paused_until)).filter(|until| *until > now).min()
    }

    /// Forgets what is dead, so that everything is tried now (`facteur queue flush`).
    pub fn revive(&mut self) {
        for destination in self.destinations.values_mut() {
            destination.closed_until = 0;
            destination.failed = 0;
            destination.lost_since = None;
        }
    }

    /// Drops what is remembered of destinations without work. To be called now and then.
    pub fn tidy(&mut self, now: u64) {
        // An absence is remembered a little longer.
        let patience = self.limits.partner_patience_ms;
        let until =
            |d: &Destination<J>| if d.lost_since.is_some() { d.closed_until + patience } else { d.closed_until.max(d.paused_until) };
        self.destinations.retain(|_, d| d.busy > 0 || !d.waiting.is_empty() || until(d) > now);
    }

    /// Deliveries that run or wait.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.destinations.values().map(|d| d.waiting.len() + d.busy as usize).sum()
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        initial_window: 2,
        smtp: Pace { window: 4, delay_ms: 0 },
        lmtp: Pace { window: 4, delay_ms: 2000 },
        partner_window: 3,
        total: 5,
        dead_ms: 300_000,
        partner_retry_ms: 1000,
        partner_patience_ms: 10_000,
    };

    impl Weight for u32 {
        fn bytes(&self) -> usize {
            100
        }
    }

    fn schedule() -> Schedule<&'static str, u32> {
        Schedule::new(LIMITS)
    }

    fn start_all(s: &mut Schedule<&'static str, u32>, now: u64) -> Vec<(&'static str, u32)> {
        std::iter::from_fn(|| s.next(now)).collect()
    }

    #[test]
    fn destinations_take_turns_and_a_long_queue_delays_nobody() {
        let mut s = schedule();
        for n in 0..1000 {
            s.add(0, &"busy", Kind::Smtp, n).expect("alive");
        }
        s.add(0, &"a", Kind::Smtp, 7).expect("alive");
        s.add(0, &"b", Kind::Smtp, 8).expect("alive");
        assert_eq!(start_all(&mut s, 0), [("busy", 0), ("a", 7), ("b", 8), ("busy", 1)]);
        assert!(start_all(&mut s, 0).is_empty(), "the window is full");
        assert_eq!(s.len(), 1002);
    }

    #[test]
    fn success_widens_the_window_up_to_the_limit() {
        let mut s = schedule();
        for n in 0..100 {
            s.add(0, &"a", Kind::Smtp, n).expect("alive");
        }
        assert_eq!(start_all(&mut s, 0).len(), 2);
        let mut busy = 2;
        for _ in 0..30 {
            s.done(0, &"a", &0, Reached::Yes);
            busy = busy - 1 + start_all(&mut s, 0).len();
        }
        assert_eq!(busy, 4);
    }

    #[test]
    fn a_dead_destination_hands_back_its_work_until_the_back_off_is_over() {
        let mut s = schedule();
        for n in 0..10 {
            s.add(0, &"a", Kind::Smtp, n).expect("alive");
        }
        assert_eq!(start_all(&mut s, 0).len(), 2);
        assert!(s.done(5, &"a", &0, Reached::No).0.is_empty());
        let (back, until) = s.done(5, &"a", &0, Reached::No);
        assert_eq!((back.len(), until), (8, 300_005));
        assert_eq!(s.add(6, &"a", Kind::Smtp, 50), Err((50, 300_005)));
        s.add(300_005, &"a", Kind::Smtp, 51).expect("tried again");
        s.add(300_005, &"a", Kind::Smtp, 52).expect("tried again");
        assert_eq!(start_all(&mut s, 300_005), [("a", 51)], "alone at first");
        assert_eq!(s.done(300_006, &"a", &0, Reached::No).0, [52]);
    }

    #[test]
    fn a_success_in_between_keeps_a_destination_alive() {
        let mut s = schedule();
        for n in 0..40 {
            s.add(0, &"a", Kind::Smtp, n).expect("alive");
        }
        start_all(&mut s, 0);
        for _ in 0..10 {
            assert!(s.done(0, &"a", &0, Reached::No).0.is_empty(), "half of it gets through");
            s.done(0, &"a", &0, Reached::Yes);
            assert!(!start_all(&mut s, 0).is_empty());
        }
    }

    #[test]
    fn a_window_that_is_not_used_stays_as_it_is() {
        let mut s = schedule();
        for n in 0..20 {
            s.add(0, &"a", Kind::Smtp, n).expect("alive");
            assert_eq!(start_all(&mut s, 0).len(), 1);
            s.done(0, &"a", &n, Reached::Yes);
        }
        for n in 0..9 {
            s.add(0, &"a", Kind::Smtp, n).expect("alive");
        }
        assert_eq!(start_all(&mut s, 0).len(), 3, "one more than the first two");
    }

    #[test]
    fn a_rate_delay_lets_one_go_at_a_time_and_holds_up_nobody_else() {
        let mut s = schedule();
        for n in 0..3 {
            s.add(0, &"slow", Kind::Lmtp, n).expect("alive");
        }
        s.add(0, &"a", Kind::Smtp, 9).expect("alive");
        assert_eq!(start_all(&mut s, 0), [("slow", 0), ("a", 9)]);
        s.done(500, &"slow", &0, Reached::Yes);
        assert_eq!((s.next(2499), s.wake_at(2499)), (None, Some(2500)));
        assert_eq!(start_all(&mut s, 2500), [("slow", 1)]);
        s.done(2600, &"slow", &0, Reached::Yes);
        s.add(2601, &"slow", Kind::Lmtp, 7).expect("alive");
        s.tidy(2601);
        assert_eq!(s.next(4599), None);
        assert_eq!(start_all(&mut s, 4600), [("slow", 2)]);
    }

    #[test]
    fn slow_destinations_do_not_take_all_places() {
        let mut s = Schedule::new(Limits { initial_window: 8, smtp: Pace { window: 8, delay_ms: 0 }, total: 16, ..LIMITS });
        for to in ["slow", "slower"] {
            for n in 0..100 {
                s.add(0, &to, Kind::Smtp, n).expect("alive");
            }
        }
        assert_eq!(start_all(&mut s, 0).len(), 14);
        s.add(1, &"quick", Kind::Smtp, 1).expect("alive");
        s.add(1, &"quick", Kind::Smtp, 2).expect("alive");
        assert_eq!(start_all(&mut s, 1), [("quick", 1)]);
        s.done(2, &"quick", &1, Reached::Yes);
        assert_eq!(start_all(&mut s, 2), [("quick", 2)]);
    }

    #[test]
    fn a_partner_is_asked_again_soon_and_loses_no_work() {
        let mut s = schedule();
        for n in 0..5 {
            s.add(0, &"deliver", Kind::Partner, n).expect("always");
        }
        let started = start_all(&mut s, 0);
        assert_eq!(started.len(), 3);
        for (to, job) in started.into_iter().rev() {
            assert!(s.again(10, &to, job, true).0.is_empty());
        }
        assert_eq!(s.next(500), None);
        assert_eq!(s.wake_at(500), Some(1010));
        assert_eq!(start_all(&mut s, 1010), [("deliver", 0)], "one probe");
        s.done(1011, &"deliver", &0, Reached::Yes);
        assert_eq!(start_all(&mut s, 1011), [("deliver", 1), ("deliver", 2), ("deliver", 3)]);
    }

    #[test]
    fn an_absent_partner_gets_its_work_back_and_one_try_each_moment() {
        let mut s = schedule();
        for n in 0..5 {
            s.add(0, &"deliver", Kind::Partner, n).expect("patience");
        }
        let mut now = 0;
        let back = loop {
            let (to, job) = s.next(now).expect("a try each moment");
            let (back, until) = s.again(now, &to, job, true);
            if !back.is_empty() {
                break back;
            }
            assert_eq!(s.share(&"deliver"), Share { jobs: 5, bytes: 500 });
            now = until;
        };
        assert_eq!((now, back.len(), s.share(&"deliver")), (10_000, 5, Share::default()));
        assert_eq!(s.add(10_500, &"deliver", Kind::Partner, 7), Err((7, 11_000)));
        s.add(11_000, &"deliver", Kind::Partner, 8).expect("one try");
        let (to, job) = s.next(11_000).expect("one try");
        assert_eq!(s.again(11_001, &to, job, true).0, [8]);
        s.reopen(&"deliver");
        s.add(11_002, &"deliver", Kind::Partner, 9).expect("it greets");
        s.next(11_002).expect("it greets");
        s.done(11_003, &"deliver", &9, Reached::Yes);
        for n in 0..5 {
            s.add(11_004, &"deliver", Kind::Partner, n).expect("it is there");
        }
        assert_eq!(start_all(&mut s, 11_004).len(), 3);
        s.again(11_005, &"deliver", 0, true);
        assert!(s.add(11_006, &"deliver", Kind::Partner, 10).is_ok(), "patience begins anew");
    }

    #[test]
    fn work_that_brings_its_partner_down_lets_the_others_go_first() {
        let mut s = schedule();
        for n in 0..2 {
            s.add(0, &"deliver", Kind::Partner, n).expect("always");
        }
        s.next(0).expect("the first");
        s.again(0, &"deliver", 0, false);
        assert_eq!(s.next(1000), Some(("deliver", 1)));
    }

    #[test]
    fn waiting_work_can_be_taken_out() {
        let mut s = schedule();
        for n in 0..6 {
            s.add(0, &"a", Kind::Smtp, n).expect("alive");
        }
        assert_eq!(start_all(&mut s, 0).len(), 2);
        assert_eq!(s.take_waiting(|n| n % 2 == 0), [2, 4]);
        assert_eq!((s.len(), s.share(&"a").jobs), (4, 4));
        s.done(0, &"a", &0, Reached::Untried);
        assert_eq!(start_all(&mut s, 0), [("a", 3)], "the window is as it was");
    }

    #[test]
    fn all_hosts_together_have_a_ceiling_that_the_partner_is_not_under() {
        let mut s = schedule();
        for to in ["a", "b", "c", "d"] {
            s.add(0, &to, Kind::Smtp, 1).expect("alive");
            s.add(0, &to, Kind::Smtp, 2).expect("alive");
        }
        s.add(0, &"deliver", Kind::Partner, 9).expect("always");
        let started = start_all(&mut s, 0);
        assert_eq!(started.len(), 6);
        assert!(started.contains(&("deliver", 9)));
        s.done(0, &"a", &0, Reached::Yes);
        assert_eq!(start_all(&mut s, 0).len(), 1);
    }

    #[test]
    fn what_is_idle_is_forgotten() {
        let mut s = schedule();
        s.add(0, &"a", Kind::Smtp, 1).expect("alive");
        s.next(0);
        s.done(0, &"a", &0, Reached::Yes);
        s.tidy(1);
        assert!(s.is_empty() && s.destinations.is_empty());
    }
}
