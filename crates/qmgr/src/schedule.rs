//! Which delivery starts next: a pure machine. The caller brings the time, starts what it is told, and reports back.
//!
//! Its strategies:
//!
//! - **Fairness**: destinations with waiting work stand in a ring; each gets one start per turn. A destination with fifty
//!   thousand messages delays nobody else's.
//! - **Urgency**: within a destination the jobs stand in a [`Waiting`] line, by the priority of their messages.
//! - **Slow start**: a destination begins with a small window of simultaneous deliveries. Each success widens it by one, up to
//!   the limit, as long as the window is made use of (Postfix: a positive feedback of 1).
//! - **Dead site**: a delivery that reaches no host of the destination narrows the window by one, and counts for a share of a
//!   cohort, that of one in the window. When a whole cohort has failed without a success in between, the destination is
//!   dead for the minimal back-off: all that waits for it, and what comes meanwhile, is handed back to be deferred without an
//!   attempt (Postfix: a negative feedback of 1, a failed cohort limit of 1). What somebody asks for since it died tries it once
//!   more, and that destination alone.
//! - **Rate delay**: where one is set, a destination gets one delivery at a time, and the next one only so long after its end.
//! - **Lanes**: all destinations of a transport share its limit of deliveries and its own rate delay.
//! - **Partner**: `deliver` on this machine may be started again at any moment. When it is not reached, its work waits for a
//!   moment (a second or so), then one delivery tries; nothing is deferred. When that has gone on for ten moments, the
//!   partner is absent: its work is handed back, and so is what comes meanwhile, but for one try each moment.
//! - **Share**: how much of the places and memory one destination's work takes is known, and that of a lane with a limit, so that the
//!   caller can keep some of both for the others: many destinations behind one slow lane wait as one that is slow.
//! - **Ceiling**: all deliveries to other hosts together have a limit; the partner is outside of it. An eighth of it is kept for
//!   destinations that nothing is on its way to yet: a few slow ones with wide windows cannot stand in everybody's way.

use crate::waiting::Waiting;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// The numbers of the strategies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub initial_window: u32,
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

/// How fast deliveries of a transport follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Simultaneous deliveries at most.
    pub window: u32,
    /// From the end of one delivery to the start of the next, in milliseconds; 0: none, and several at once.
    pub delay_ms: u64,
    /// Names the transport; all its destinations share the next two.
    pub lane: u64,
    pub lane_window: u32,
    pub lane_delay_ms: u64,
}

/// What a destination is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Other hosts, at this pace.
    Remote(Pace),
    /// Our own `deliver`, or what stands for it on this machine.
    Partner,
}

impl Kind {
    /// The lane, where it may be what this destination's work waits for.
    pub fn narrow_lane(self) -> Option<u64> {
        self.pace().filter(Pace::has_narrow_lane).map(|pace| pace.lane)
    }

    /// `None` for the partner, which has rules of its own.
    fn pace(self) -> Option<Pace> {
        match self {
            Kind::Remote(pace) => Some(pace),
            Kind::Partner => None,
        }
    }
}

/// What all destinations of a transport share.
#[derive(Debug, Clone, Copy, Default)]
struct Lane {
    busy: u32,
    paused_until: u64,
    share: Share,
}

impl Pace {
    /// Whether the lane holds its destinations up, rather than each of them itself.
    fn has_narrow_lane(&self) -> bool {
        self.lane_delay_ms > 0 || self.lane_window < u32::MAX
    }
}

impl Limits {
    fn first_window(&self, kind: Kind) -> u64 {
        1000 * u64::from(kind.pace().map_or(self.partner_window, |pace| pace.window.min(self.initial_window)))
    }
}

/// Work that is measured by the memory it takes.
pub trait Weight {
    fn bytes(&self) -> usize;

    /// How urgent it is.
    fn priority(&self) -> i8 {
        0
    }
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
    lanes: HashMap<u64, Lane>,
    /// Destinations that have waiting work, each once.
    ring: VecDeque<D>,
    busy: u32,
    careful: bool,
}

#[derive(Debug)]
struct Destination<J> {
    waiting: Waiting<J>,
    busy: u32,
    /// In thousandths of a delivery.
    window: u64,
    /// Not before this time.
    closed_until: u64,
    /// When that was found.
    closed_at: u64,
    /// The rate delay: no delivery starts before this time.
    paused_until: u64,
    /// Failures since the last success, in thousandths of a cohort.
    failed: u64,
    kind: Kind,
    /// Since when a partner was not reached.
    lost_since: Option<u64>,
    share: Share,
    in_ring: bool,
    recognises: bool,
}

impl<J> Destination<J> {
    fn is_partner(&self) -> bool {
        self.kind == Kind::Partner
    }

    fn is_open(&self, now: u64) -> bool {
        let one_by_one = self.kind.pace().is_some_and(|pace| pace.delay_ms > 0);
        let window = if one_by_one { 1000 } else { self.window.max(1000) };
        self.closed_until <= now && self.paused_until <= now && u64::from(self.busy) * 1000 < window
    }

    fn is_absent(&self, now: u64, limits: &Limits) -> bool {
        self.lost_since.is_some_and(|since| now >= since + limits.partner_patience_ms)
    }

    fn hand_back(&mut self, lanes: &mut HashMap<u64, Lane>) -> Vec<J>
    where
        J: Weight,
    {
        let jobs: Vec<J> = self.waiting.take(|_| true);
        jobs.iter().for_each(|job| self.leaves(job, lanes));
        jobs
    }

    fn leaves(&mut self, job: &impl Weight, lanes: &mut HashMap<u64, Lane>) {
        self.share.less(job);
        if let Some(lane) = self.kind.pace().and_then(|pace| lanes.get_mut(&pace.lane)) {
            lane.share.less(job);
        }
    }
}

impl Share {
    fn more(&mut self, job: &impl Weight) {
        self.jobs += 1;
        self.bytes += job.bytes();
    }

    fn less(&mut self, job: &impl Weight) {
        self.jobs = self.jobs.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(job.bytes());
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
        Schedule { limits, destinations: HashMap::new(), lanes: HashMap::new(), ring: VecDeque::new(), busy: 0, careful: false }
    }

    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Whether nothing may start but deliveries to those who recognise a repetition; all other work keeps its place.
    pub fn set_careful(&mut self, on: bool) {
        self.careful = on;
    }

    /// Whether a destination recognises a repetition. Until it is heard of, the partner does, and nobody else.
    pub fn set_recognises(&mut self, to: &D, recognises: bool) {
        if let Some(destination) = self.destinations.get_mut(to) {
            destination.recognises = recognises;
        }
    }

    /// Adds work. `Err` hands it back: the destination is dead until the time that stands beside it.
    pub fn add(&mut self, now: u64, to: &D, kind: Kind, job: J) -> Result<(), (J, u64)> {
        let window = self.limits.first_window(kind);
        let destination = self.destinations.entry(to.clone()).or_insert_with(|| Destination {
            waiting: Waiting::default(),
            busy: 0,
            window,
            closed_until: 0,
            closed_at: 0,
            paused_until: 0,
            failed: 0,
            kind,
            lost_since: None,
            share: Share::default(),
            in_ring: false,
            recognises: kind == Kind::Partner,
        });
        // A reload may have changed the pace.
        destination.kind = kind;
        if destination.closed_until > now && (kind != Kind::Partner || destination.is_absent(now, &self.limits)) {
            return Err((job, destination.closed_until));
        }
        destination.share.more(&job);
        if let Some(pace) = kind.pace() {
            self.lanes.entry(pace.lane).or_default().share.more(&job);
        }
        destination.waiting.push_back(job.priority(), job);
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
            let free = destination.kind.pace().is_none_or(|pace| {
                let lane = self.lanes.get(&pace.lane).copied().unwrap_or_default();
                lane.paused_until <= now && lane.busy < if pace.lane_delay_ms > 0 { 1 } else { pace.lane_window }
            });
            let room = free && (destination.is_partner() || self.busy < common);
            if !room || !destination.is_open(now) || (self.careful && !destination.recognises) {
                self.ring.push_back(to);
                continue;
            }
            let job = destination.waiting.pop();
            destination.in_ring = !destination.waiting.is_empty();
            if destination.in_ring {
                self.ring.push_back(to.clone());
            }
            if let Some(job) = job {
                destination.busy += 1;
                self.busy += u32::from(!destination.is_partner());
                if let Some(pace) = destination.kind.pace() {
                    self.lanes.entry(pace.lane).or_default().busy += 1;
                }
                return Some((to, job));
            }
        }
        None
    }

    /// A delivery has ended. Gives back the work of a destination that is dead or absent from now on, and until when.
    pub fn done(&mut self, now: u64, to: &D, job: &J, reached: Reached) -> (Vec<J>, u64) {
        if let Some(destination) = self.destinations.get_mut(to) {
            destination.leaves(job, &mut self.lanes);
        }
        self.ended(now, to, reached)
    }

    /// A delivery has ended, and is to be begun anew: before all others (`first`), or after those that wait. For a partner
    /// that was not reached, or was lost in the middle.
    pub fn again(&mut self, now: u64, to: &D, job: J, first: bool) -> (Vec<J>, u64) {
        if let Some(destination) = self.destinations.get_mut(to) {
            if first {
                destination.waiting.push_front(job.priority(), job)
            } else {
                destination.waiting.push_back(job.priority(), job)
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
        let pace = destination.kind.pace();
        if let Some((pace, lane)) = pace.and_then(|pace| Some((pace, self.lanes.get_mut(&pace.lane)?))) {
            lane.busy = lane.busy.saturating_sub(1);
            if reached != Reached::Untried {
                lane.paused_until = now + pace.lane_delay_ms;
            }
        }
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
                (destination.closed_at, destination.closed_until) = (now, now + limits.partner_retry_ms);
                destination.lost_since.get_or_insert(now);
                if destination.is_absent(now, limits) {
                    return (destination.hand_back(&mut self.lanes), destination.closed_until);
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
                    (destination.closed_at, destination.closed_until) = (now, now + limits.dead_ms);
                    // The first attempt afterwards goes alone.
                    destination.window = 1000;
                    return (destination.hand_back(&mut self.lanes), destination.closed_until);
                }
            }
        }
        (Vec::new(), destination.closed_until)
    }

    /// Takes waiting work out.
    pub fn take_waiting(&mut self, mut wanted: impl FnMut(&J) -> bool) -> Vec<J> {
        let mut taken = Vec::new();
        for destination in self.destinations.values_mut() {
            let out = destination.waiting.take(&mut wanted);
            out.iter().for_each(|job| destination.leaves(job, &mut self.lanes));
            taken.extend(out);
        }
        taken
    }

    /// What the work for this destination takes.
    pub fn share(&self, to: &D) -> Share {
        self.destinations.get(to).map_or(Share::default(), |d| d.share)
    }

    /// What the work in this lane takes.
    pub fn lane_share(&self, lane: u64) -> Share {
        self.lanes.get(&lane).map_or(Share::default(), |lane| lane.share)
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
        let lane = |d: &Destination<J>| d.kind.pace().and_then(|pace| self.lanes.get(&pace.lane)).map_or(0, |lane| lane.paused_until);
        waiting.map(|d| d.closed_until.max(d.paused_until).max(lane(d))).filter(|until| *until > now).min()
    }

    /// Somebody asked for work of this destination at this time: if it is dead it is tried again, unless that was found since then.
    pub fn revive(&mut self, now: u64, to: &D, asked: u64) {
        if let Some(destination) = self.destinations.get_mut(to).filter(|d| d.closed_until > now && d.closed_at <= asked) {
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
        self.lanes.retain(|_, lane| lane.busy > 0 || lane.share.jobs > 0 || lane.paused_until > now);
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
#[path = "schedule_tests.rs"]
mod tests;
