//! What may not stand in the way of other mail: partners that are absent, and destinations for which too much waits.
//!
//! - Mail for an absent partner is deferred like any other, so that it takes no place and can expire, be held or deleted. The
//!   partner is greeted every moment; once it answers, one message goes ahead, and with its success all follow.
//! - A destination, or the lane of a transport with a limit of its own, is crowded when its work takes more than three times of what is left of places or memory. So one alone
//!   gets three quarters, two get three sevenths each, and some is always left. What comes for it stands aside, unread.

use super::{BATCH, Event, Manager};
use crate::entry::{Job, Line, State};
use crate::schedule::{Kind, Share};
use mail_types::{Failure, QueueId};

/// A share of what is left that one destination may take.
const SHARE: usize = 3;

/// What too much waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Crowd {
    Line(Line),
    Lane(u64),
}

/// A partner that is absent.
pub struct Absence {
    /// Entries that wait for its end have this number.
    serial: u32,
    greet_at: u64,
    greeting: bool,
}

impl Manager {
    /// The number of a partner's absence; it begins with the first question.
    pub(super) fn absence_of(&mut self, to: &Line) -> u32 {
        if let Some(absence) = self.absences.get(to) {
            return absence.serial;
        }
        self.last_absence = self.last_absence.wrapping_add(1).max(1);
        let greet_at = self.now.ms + self.retry_ms();
        self.absences.insert(to.clone(), Absence { serial: self.last_absence, greet_at, greeting: false });
        self.last_absence
    }

    pub(super) fn is_absent(&self, serial: u32) -> bool {
        self.absences.values().any(|absence| absence.serial == serial)
    }

    /// Asks absent partners, those for which mail waits, whether they are there again.
    pub(super) fn greet_absent(&mut self) {
        let due = |absence: &Absence| !absence.greeting && absence.greet_at <= self.now.ms;
        let due: Vec<_> = self.absences.iter().filter(|(_, a)| due(a)).map(|(to, a)| (to.clone(), a.serial)).collect();
        for (to, serial) in due {
            if self.first_waiting(serial).is_none() {
                self.absences.remove(&to);
                continue;
            }
            if let Some(absence) = self.absences.get_mut(&to) {
                absence.greeting = true;
            }
            let (outbound, events) = (self.carriers.outbound.clone(), self.events.clone());
            tokio::spawn(async move {
                let there = outbound.greets(&to.to).await;
                let _ = events.send(Event::Greeted { to, there });
            });
        }
    }

    pub(super) fn greet_at(&self) -> Option<u64> {
        self.absences.values().filter(|absence| !absence.greeting).map(|absence| absence.greet_at).min()
    }

    pub(super) fn greeted(&mut self, to: &Line, there: bool) {
        let greet_at = self.now.ms + self.retry_ms();
        let Some(absence) = self.absences.get_mut(to) else { return };
        (absence.greeting, absence.greet_at) = (false, greet_at);
        let serial = absence.serial;
        if there && let Some(id) = self.first_waiting(serial) {
            self.schedule.reopen(to);
            self.set_state(&id, State::Ready);
        }
    }

    /// It has taken a message: what waited for it goes on.
    pub(super) fn partner_is_back(&mut self, to: &Line) {
        let Some(absence) = self.absences.remove(to) else { return };
        for id in self.waiting(absence.serial).collect::<Vec<_>>() {
            self.set_state(&id, State::Ready);
        }
    }

    fn first_waiting(&self, serial: u32) -> Option<QueueId> {
        self.waiting(serial).next()
    }

    fn waiting(&self, serial: u32) -> impl Iterator<Item = QueueId> + '_ {
        let waits = move |id: &QueueId| self.entries.get(id).is_some_and(|entry| entry.absence == serial);
        self.timers.iter().map(|(_, id)| *id).filter(waits)
    }

    fn retry_ms(&self) -> u64 {
        self.settings().partner_retry.as_millis() as u64
    }

    /// Whether so much is taken that one destination could be crowded.
    pub(super) fn is_tight(&self) -> bool {
        let (places, bytes) = self.left();
        self.active_count > SHARE * places || self.memory_bytes > SHARE * bytes
    }

    /// The pace of a job's destination.
    pub(super) fn kind(&self, job: &Job) -> Kind {
        match job.partner {
            true => Kind::Partner,
            false => Kind::Remote(self.settings().terms(&job.to.transport, job.to.to.is_lmtp()).pace),
        }
    }

    /// What of a job's way is crowded.
    pub(super) fn crowded(&self, job: &Job) -> Option<Crowd> {
        let (places, bytes) = self.left();
        let too_much = |share: Share| share.jobs > SHARE * places || share.bytes > SHARE * bytes;
        let lane = || self.kind(job).narrow_lane().filter(|lane| too_much(self.schedule.lane_share(*lane)));
        let line = too_much(self.schedule.share(&job.to)).then(|| Crowd::Line(job.to.clone()));
        line.or_else(|| lane().map(Crowd::Lane))
    }

    fn left(&self) -> (usize, usize) {
        let settings = self.settings();
        let places = settings.active_limit.saturating_sub(self.active_count);
        (places, settings.body_memory_bytes.saturating_sub(self.memory_bytes))
    }

    /// Puts a message aside when it goes to crowded destinations only. `false`: some of it can be delivered.
    pub(super) fn stands_aside(&mut self, id: QueueId) -> bool {
        let Some(active) = self.active.get(&id) else { return false };
        let decided = active.recipients.iter().any(|target| target.result.is_some());
        let crowds: Option<Vec<Crowd>> = active.jobs.iter().map(|job| self.crowded(job)).collect();
        let Some(crowd) = crowds.filter(|_| !decided).and_then(|crowds| crowds.into_iter().next()) else { return false };
        self.deactivate(&id);
        self.set_state(&id, State::Aside);
        self.aside.entry(crowd).or_default().push_back(id);
        true
    }

    /// Why recipients at a crowded destination wait while the others of their message go on.
    pub(super) fn crowd(to: &Line) -> Failure {
        Failure::local((4, 4, 5), format!("too much mail waits for {to}"))
    }

    /// What stands aside goes to the front of the line once half of what its destination may take is free.
    pub(super) fn call_back(&mut self) {
        if self.aside.is_empty() {
            return;
        }
        let (places, bytes) = self.left();
        let mut called = Vec::new();
        for (crowd, ids) in &mut self.aside {
            let share = match crowd {
                Crowd::Line(to) => self.schedule.share(to),
                Crowd::Lane(lane) => self.schedule.lane_share(*lane),
            };
            if 2 * share.jobs <= SHARE * places && 2 * share.bytes <= SHARE * bytes {
                called.extend(ids.drain(..ids.len().min(BATCH)));
            }
        }
        self.aside.retain(|_, ids| !ids.is_empty());
        for id in called.into_iter().rev() {
            if let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.state == State::Aside) {
                entry.state = State::Ready;
                let priority = entry.priority;
                self.ready.push_front(priority, id);
            }
        }
    }
}
