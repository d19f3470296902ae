//! The queue manager itself: one task that owns all state, and is told by others what happened.
//!
//! Its rounds: take what was reported, let time pass, fill the free places among the active messages, start what the
//! schedule allows, hand outcomes to the disk. Whatever waits (disk, network, tables that are not in memory) does so in
//! tasks of its own that report by an [`Event`].

mod absence;
mod admin;
mod attempt;
mod conclude;
mod intake;
mod load;
mod start;
mod trouble;

use crate::clock::{Clock, Now};
use crate::entry::{Active, Entry, JobId, Line, State, Target};
use crate::journal::Journal;
use crate::prepare::Prepared;
use crate::schedule::Schedule;
use crate::settings::Settings;
use crate::waiting::Waiting;
use ipc::queue::{FromQmgr, FromSmtpd};
use mail_types::{Failure, QueueId};
use outbound::{Attempt, Outbound};
use parking_lot::Mutex;
use routing::{Router, Unavailable};
use spool::{Layout, Outcomes, QueueFiles};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

pub use load::Loaded;

/// Outcomes that nobody waits for are handed to the disk after this time at most.
const LAZY_FLUSH_MS: u64 = 100;
/// `queue/in` is looked at so often, should a hint be lost.
const LOOK_MS: u64 = 5_000;
/// smtpd is told again that a segment is finished when it has not taken it out of use by then.
const FINISHED_MS: u64 = 60_000;
/// Messages read from the disk, or moved to files, in one go.
const BATCH: usize = 128;
/// Stalled messages that are tried again at once.
const PROBES: usize = 20;
/// So many times the partner's moment a message stalls before it is deferred in the ordinary way.
const STALLS: u64 = 30;

/// How long the last outcomes may take to be written at the end.
const CLOSING: Duration = Duration::from_secs(5);

/// What others report.
pub enum Event {
    Loaded(Vec<(QueueId, Result<Loaded, spool::Error>)>),
    Prepared(QueueId, Result<Prepared, Unavailable>),
    Delivered {
        job: JobId,
        to: Line,
        attempt: Attempt,
    },
    /// A partner that was absent was asked whether it is there again.
    Greeted {
        to: Line,
        there: bool,
    },
    /// The notifications of a message are durable, or were not written.
    Reported(QueueId, Result<(), spool::Error>),
    Moved(Result<(), spool::Error>),
    /// A notice about a session is durable, or was not written.
    Noticed(QueueId, Result<(), spool::Error>),
    Flushed(Result<(), spool::Error>),
    Unlinked(Vec<QueueId>),
    Admin(Admin),
}

/// What smtpd's connection reports.
pub enum FromPeer {
    Opened { serial: u64, sender: mpsc::UnboundedSender<FromQmgr> },
    Said(FromSmtpd),
    Closed { serial: u64 },
}

/// What an administrator asks for.
pub struct Admin {
    pub command: Command,
    pub answer: oneshot::Sender<Result<Changed, String>>,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    pub changed: usize,
    /// Those that are not in the queue.
    pub unknown: Vec<QueueId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Outcomes are handed to the disk, so that a reader of the spool sees what is.
    Sync,
    Flush(Which),
    /// ETRN, which asks for the dead hosts of its domain alone.
    FlushDomain(Vec<QueueId>),
    Hold(Which),
    Release(Which),
    Delete(Which),
    /// Aliases are expanded anew, and it is tried now.
    Requeue(Which),
    /// One more attempt; what then still fails goes back to the sender.
    Expire(Which),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    All,
    These(Vec<QueueId>),
}

/// Numbers for `facteur status`, kept current by the manager.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    pub total: usize,
    pub active: usize,
    pub deferred: usize,
    pub held: usize,
}

/// The parts that a reload replaces.
#[derive(Clone)]
pub struct Carriers {
    pub settings: Arc<Settings>,
    pub router: Arc<Router>,
    pub outbound: Outbound,
}

pub struct Manager {
    clock: Clock,
    now: Now,
    carriers: Carriers,
    layout: Layout,
    /// Held while the messages of a domain are looked for.
    search: Arc<tokio::sync::Mutex<()>>,
    /// Domains that ETRN has flushed of late, and when.
    flushed_domains: HashMap<String, u64>,
    files: QueueFiles,
    outcomes: Outcomes,
    journal: Journal,
    entries: HashMap<QueueId, Entry>,
    active: HashMap<QueueId, Active>,
    /// Entries in `State::Active`, also those whose `Active` is being made.
    active_count: usize,
    held_count: usize,
    memory_bytes: usize,
    ready: Waiting<QueueId>,
    timers: BTreeSet<(u64, QueueId)>,
    stalled: VecDeque<QueueId>,
    probe_at: u64,
    /// When all that stalls was tried last.
    released_at: u64,
    schedule: Schedule<Line, JobId>,
    in_flight: usize,
    /// Why destinations could not be reached when they last were tried.
    unreached: HashMap<Line, Failure>,
    loading: bool,
    to_move: Vec<conclude::Move>,
    moving: Vec<conclude::Move>,
    flushing: Option<FlushWork>,
    flush_at: Option<u64>,
    /// The last outcomes could not be made durable.
    unrecorded: bool,
    unlink_after_flush: Vec<QueueId>,
    sync_waiters: Vec<oneshot::Sender<Result<(), String>>>,
    concluding: HashMap<QueueId, conclude::Conclusion>,
    peer: Option<(u64, mpsc::UnboundedSender<FromQmgr>)>,
    position: Option<(u64, u64)>,
    /// Hints that came before those in front of them: length and record by place.
    early: BTreeMap<(u64, u64), (u64, Vec<u8>)>,
    gap_until: Option<u64>,
    look_at: u64,
    events: mpsc::UnboundedSender<Event>,
    counts: Arc<Mutex<Counts>>,
    announced_down: HashSet<Line>,
    absences: HashMap<Line, absence::Absence>,
    last_absence: u32,
    /// What waits for crowded destinations.
    aside: HashMap<absence::Crowd, VecDeque<QueueId>>,
    /// What became of the recipients of messages whose notifications could not be written.
    unreported: HashMap<QueueId, Vec<Target>>,
    /// The last notification could not be written.
    report_fault: bool,
    notice_rate: daemon::Hourly,
}

#[derive(Default)]
struct FlushWork {
    unlink: Vec<QueueId>,
    finished: Vec<u64>,
    waiters: Vec<oneshot::Sender<Result<(), String>>>,
}

/// The receiving ends.
pub struct Inputs {
    pub events: mpsc::UnboundedReceiver<Event>,
    pub peer: mpsc::Receiver<FromPeer>,
    pub carriers: mpsc::Receiver<Carriers>,
}

impl Manager {
    /// Runs until `stop` is done; then lets what is in flight end, for `grace` at most, and hands everything to the disk.
    pub async fn run(mut self, mut inputs: Inputs, stop: impl Future<Output = ()>, grace: Duration) {
        let mut events = Vec::with_capacity(256);
        let mut said = Vec::with_capacity(64);
        tokio::pin!(stop);
        loop {
            if self.gap_until.is_some_and(|until| until <= self.clock.now().ms) {
                self.survey().await;
            }
            self.step();
            let wake = Duration::from_millis(self.wake_at().saturating_sub(self.now.ms));
            tokio::select! {
                biased;
                () = &mut stop => break,
                _ = inputs.events.recv_many(&mut events, 256) => {}
                _ = inputs.peer.recv_many(&mut said, 16) => {}
                Some(carriers) = inputs.carriers.recv() => self.reload(carriers),
                () = tokio::time::sleep(wake) => {}
            }
            // What comes in never waits for a pause of what goes out.
            while said.len() < 16
                && let Ok(word) = inputs.peer.try_recv()
            {
                said.push(word);
            }
            if let Ok(carriers) = inputs.carriers.try_recv() {
                self.reload(carriers);
            }
            self.now = self.clock.now();
            for event in events.drain(..) {
                self.happened(event);
            }
            for word in said.drain(..) {
                self.peer_said(word).await;
            }
        }
        self.drain(inputs.events, grace).await;
    }

    /// Takes the results of what still runs; starts nothing.
    async fn drain(mut self, mut events: mpsc::UnboundedReceiver<Event>, grace: Duration) {
        let end = tokio::time::Instant::now() + grace;
        self.ready = Waiting::default();
        // Notifications that could not be written are made again after the start.
        while self.in_flight > 0 || !self.concluding.is_empty() || !self.moving.is_empty() || !self.to_move.is_empty() {
            match tokio::time::timeout_at(end, events.recv()).await {
                Ok(Some(event)) => {
                    self.now = self.clock.now();
                    self.happened(event);
                    self.move_some();
                }
                _ => break,
            }
        }
        // Who asks now is told at once that we are stopping.
        drop(events);
        let carriers = self.carriers.clone();
        // A disk that does not answer does not keep the program; what is not written is delivered again.
        let closing = tokio::task::spawn_blocking(move || self.outcomes.close());
        if tokio::time::timeout(CLOSING, closing).await.is_err() {
            tracing::error!("the outcomes could not be written in time; deliveries may be repeated");
        }
        let _ = tokio::time::timeout(Duration::from_millis(500), carriers.outbound.close()).await;
    }

    fn happened(&mut self, event: Event) {
        match event {
            Event::Loaded(messages) => {
                self.loading = false;
                for (id, result) in messages {
                    self.loaded(id, result);
                }
            }
            Event::Prepared(id, result) => self.prepared(id, result),
            Event::Delivered { job, to, attempt } => self.delivered(job, to, attempt),
            Event::Greeted { to, there } => self.greeted(&to, there),
            Event::Reported(id, written) => self.reported(id, written),
            Event::Moved(result) => self.moved(result),
            Event::Noticed(id, written) => self.noticed(id, written),
            Event::Flushed(result) => self.flushed(result),
            Event::Unlinked(ids) => ids.into_iter().for_each(|id| self.outcomes.unlinked(id)),
            Event::Admin(admin) => self.admin(admin),
        }
    }

    fn step(&mut self) {
        self.now = self.clock.now();
        while let Some(&(due, id)) = self.timers.first() {
            if due > self.now.ms {
                break;
            }
            self.timers.pop_first();
            self.make_ready(id);
        }
        if self.now.ms >= self.probe_at && !self.stalled.is_empty() {
            self.probe_at = self.now.ms + self.settings().partner_retry.as_millis() as u64;
            for _ in 0..PROBES {
                let Some(id) = self.stalled.pop_front() else { break };
                self.goes_on(id);
            }
        }
        if self.now.ms >= self.look_at {
            self.look_at = self.now.ms + LOOK_MS;
            self.look_for_files();
            self.schedule.tidy(self.now.ms);
            if self.journal.forget_told_before(self.now.ms.saturating_sub(FINISHED_MS)) {
                self.flush_at.get_or_insert(self.now.ms);
            }
        }
        self.greet_absent();
        self.activate();
        self.start_deliveries();
        self.move_some();
        self.flush_if_due();
        *self.counts.lock() =
            Counts { total: self.entries.len(), active: self.active_count, deferred: self.timers.len(), held: self.held_count };
    }

    fn wake_at(&self) -> u64 {
        let timer = self.timers.first().map(|(due, _)| *due);
        let probe = (!self.stalled.is_empty()).then_some(self.probe_at);
        let partner = self.schedule.wake_at(self.now.ms);
        let flush = self.flush_at.filter(|_| self.flushing.is_none());
        [timer, probe, partner, flush, self.gap_until, self.greet_at()].into_iter().flatten().min().unwrap_or(u64::MAX).min(self.look_at)
    }

    fn settings(&self) -> &Settings {
        &self.carriers.settings
    }

    fn reload(&mut self, carriers: Carriers) {
        self.schedule.set_limits(carriers.settings.limits);
        let old = std::mem::replace(&mut self.carriers, carriers);
        tokio::spawn(async move { old.outbound.close().await });
    }

    fn make_ready(&mut self, id: QueueId) {
        if let Some(entry) = self.entries.get_mut(&id)
            && matches!(entry.state, State::Deferred(_) | State::Stalled)
        {
            entry.state = State::Ready;
            self.line_up(id);
        }
    }

    /// One that has stalled, unless something else has become of it since.
    fn goes_on(&mut self, id: QueueId) {
        if self.entries.get(&id).is_some_and(|entry| entry.state == State::Stalled) {
            self.make_ready(id);
        }
    }

    /// Puts a ready message into its line.
    fn line_up(&mut self, id: QueueId) {
        self.ready.push_back(self.priority_of(&id), id);
    }

    fn priority_of(&self, id: &QueueId) -> i8 {
        self.entries.get(id).map_or(0, |entry| entry.priority)
    }

    /// Frees a place among the active messages.
    fn deactivate(&mut self, id: &QueueId) -> Option<Active> {
        let active = self.active.remove(id);
        if let Some(active) = &active {
            self.release(active.memory_bytes);
        }
        active
    }

    /// A body is no longer in memory.
    fn release(&mut self, memory_bytes: usize) {
        self.memory_bytes -= memory_bytes.min(self.memory_bytes);
    }

    fn set_state(&mut self, id: &QueueId, state: State) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let was = std::mem::replace(&mut entry.state, state);
        self.active_count -= usize::from(was == State::Active);
        self.active_count += usize::from(state == State::Active);
        self.held_count -= usize::from(was == State::Held);
        self.held_count += usize::from(state == State::Held);
        if let State::Deferred(due) = was {
            self.timers.remove(&(due, *id));
        }
        match state {
            State::Deferred(due) => drop(self.timers.insert((due, *id))),
            State::Stalled => {
                if self.stalled.is_empty() {
                    self.probe_at = self.now.ms + self.settings().partner_retry.as_millis() as u64;
                }
                self.stalled.push_back(*id);
            }
            State::Ready => self.line_up(*id),
            State::Active | State::Held | State::Aside => {}
        }
    }

    fn drop_entry(&mut self, id: &QueueId) {
        self.unreported.remove(id);
        if let Some(entry) = self.entries.remove(id) {
            self.active_count -= usize::from(entry.state == State::Active);
            self.held_count -= usize::from(entry.state == State::Held);
            if let State::Deferred(due) = entry.state {
                self.timers.remove(&(due, *id));
            }
        }
    }

    /// Outcomes noted since the last flush are to be on disk soon (`prompt`), or within a moment.
    fn note(&mut self, record: spool::outcome::Record, prompt: bool) {
        self.outcomes.note(record);
        let due = if prompt { self.now.ms } else { self.now.ms + LAZY_FLUSH_MS };
        self.flush_at = Some(self.flush_at.map_or(due, |at| at.min(due)));
    }

    fn flush_if_due(&mut self) {
        if self.flushing.is_some() || self.flush_at.is_none_or(|at| at > self.now.ms) {
            return;
        }
        self.flush_at = None;
        let work = FlushWork {
            unlink: std::mem::take(&mut self.unlink_after_flush),
            finished: self.journal.take_finished(self.now.ms),
            waiters: std::mem::take(&mut self.sync_waiters),
        };
        self.flushing = Some(work);
        let done = self.outcomes.flush();
        let events = self.events.clone();
        tokio::spawn(async move {
            let _ = events.send(Event::Flushed(done.await));
        });
    }

    fn flushed(&mut self, result: Result<(), spool::Error>) {
        let Some(work) = self.flushing.take() else { return };
        let answer = result.clone().map_err(|error| error.to_string());
        for waiter in work.waiters {
            let _ = waiter.send(answer.clone());
        }
        if result.is_ok() == self.unrecorded {
            self.unrecorded = result.is_err();
            // What cannot be recorded goes only to those who would recognise it after a restart.
            self.schedule.set_careful(self.unrecorded);
            match &result {
                Ok(()) => tracing::info!("outcomes are recorded again"),
                Err(error) => tracing::error!(%error, "outcomes cannot be recorded; mail for other hosts waits for that"),
            }
        }
        if result.is_err() {
            // Nothing of it may go yet. The next flush writes everything again.
            self.unlink_after_flush.extend(work.unlink);
            self.journal.forget_told();
            self.flush_at = Some(self.now.ms + 1000);
            return;
        }
        if let Some((_, sender)) = &self.peer {
            for generation in work.finished {
                let _ = sender.send(FromQmgr::Finished { generation });
            }
        } else if !work.finished.is_empty() {
            self.journal.forget_told(); // told on the next connection
        }
        if !work.unlink.is_empty() {
            let (files, events) = (self.files.clone(), self.events.clone());
            tokio::task::spawn_blocking(move || {
                let gone = |id: &QueueId| match files.remove(id) {
                    Ok(()) => true,
                    Err(error) => {
                        tracing::error!(queue_id = %id, %error, "a finished message cannot be removed");
                        false
                    }
                };
                let _ = events.send(Event::Unlinked(work.unlink.into_iter().filter(gone).collect()));
            });
        }
    }
}

#[cfg(test)]
mod tests;
