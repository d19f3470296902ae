//! The start: what the spool holds, without reading the messages themselves.

use super::{Carriers, Counts, Event, Inputs, Manager};
use crate::clock::Clock;
use crate::entry::{Entry, Place, State};
use crate::journal::Journal;
use crate::schedule::Schedule;
use crate::waiting::Waiting;
use durable::Disk;
use ipc::queue::FromQmgr;
use mail_types::QueueId;
use parking_lot::Mutex;
use spool::outcome::Record;
use spool::{Layout, Outcomes, QueueFiles};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use tokio::sync::mpsc;

/// The ends that others hold.
pub struct Handles {
    pub events: mpsc::UnboundedSender<Event>,
    pub peer: mpsc::Sender<super::FromPeer>,
    pub carriers: mpsc::Sender<Carriers>,
    pub counts: Arc<Mutex<Counts>>,
}

impl Manager {
    /// Opens the spool. Blocks while outcomes and names are read; a hundred thousand messages take a second or so.
    pub async fn open(disk: Arc<dyn Disk>, carriers: Carriers) -> Result<(Manager, Inputs, Handles), spool::Error> {
        let layout = Layout::new(&carriers.settings.spool);
        let files = QueueFiles::new(disk.clone(), layout.clone());
        let opening = {
            let (disk, layout, files) = (disk.clone(), layout.clone(), files.clone());
            move || {
                let outcomes = Outcomes::open(disk.clone(), layout.clone())?;
                // What smtpd has renamed or removed is so for good before it is forgotten here.
                let journal = layout.journal();
                if disk.exists(&journal).map_err(durable::Error::io("stat", &journal))? {
                    disk.sync_dir(&journal).map_err(durable::Error::io("sync", &journal))?;
                }
                let generations: HashSet<u64> = layout.generations(&*disk)?.into_iter().collect();
                Ok::<_, spool::Error>((outcomes, generations, files.list()?))
            }
        };
        let opened = tokio::task::spawn_blocking(opening).await;
        let (outcomes, generations, names) = opened.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        let (events, events_in) = mpsc::unbounded_channel();
        let (peer, peer_in) = mpsc::channel(64);
        let (carriers_out, carriers_in) = mpsc::channel(1);
        let counts = Arc::<Mutex<Counts>>::default();
        let clock = Clock::start();
        let mut manager = Manager {
            now: clock.now(),
            clock,
            schedule: Schedule::new(carriers.settings.limits),
            carriers,
            journal: Journal::new(disk, layout.clone()),
            layout,
            search: Arc::default(),
            flushed_domains: HashMap::new(),
            files,
            outcomes,
            entries: HashMap::new(),
            active: HashMap::new(),
            active_count: 0,
            held_count: 0,
            memory_bytes: 0,
            ready: Waiting::default(),
            timers: BTreeSet::new(),
            stalled: VecDeque::new(),
            probe_at: 0,
            released_at: 0,
            in_flight: 0,
            unreached: HashMap::new(),
            loading: false,
            to_move: Vec::new(),
            moving: Vec::new(),
            flushing: None,
            flush_at: None,
            unrecorded: false,
            unlink_after_flush: Vec::new(),
            sync_waiters: Vec::new(),
            concluding: HashMap::new(),
            peer: None::<(u64, mpsc::UnboundedSender<FromQmgr>)>,
            position: None,
            early: BTreeMap::new(),
            gap_until: None,
            look_at: 0,
            events: events.clone(),
            counts: counts.clone(),
            announced_down: HashSet::new(),
            absences: HashMap::new(),
            last_absence: 0,
            aside: HashMap::new(),
            unreported: HashMap::new(),
            report_fault: false,
            notice_rate: daemon::Hourly::default(),
        };
        manager.take_files(names);
        manager.take_segments(&generations);
        manager.survey().await;
        tracing::info!(messages = manager.entries.len(), deferred = manager.timers.len(), held = manager.held_count, "the queue is open");
        let inputs = Inputs { events: events_in, peer: peer_in, carriers: carriers_in };
        Ok((manager, inputs, Handles { events, peer, carriers: carriers_out, counts }))
    }

    fn take_files(&mut self, names: Vec<QueueId>) {
        let backoff = self.settings().backoff;
        // Those that are gone already are forgotten with the next compaction.
        let there: HashSet<QueueId> = names.iter().copied().collect();
        let gone: Vec<QueueId> = self.outcomes.ledger().removed().filter(|id| !there.contains(id)).copied().collect();
        gone.into_iter().for_each(|id| self.outcomes.unlinked(id));
        for id in names {
            if self.outcomes.ledger().is_removed(&id) {
                self.unlink_after_flush.push(id);
                self.flush_at = Some(self.now.ms);
                continue;
            }
            let mut entry = Entry::new(Place::File);
            let mut state = State::Ready;
            if let Some(known) = self.outcomes.ledger().get(&id) {
                (entry.attempts, entry.expire) = (known.attempts, known.expired);
                let wait = backoff.clamp(self.now.unix(), known.next_seconds).as_millis() as u64;
                if known.held == Some(true) {
                    state = State::Held;
                } else if wait > 0 && !known.expired {
                    state = State::Deferred(self.now.ms + wait);
                }
            }
            // Another qmgr may have been at it when it ended.
            entry.repeat = true;
            self.entries.insert(id, entry);
            self.set_state(&id, state);
        }
    }

    fn take_segments(&mut self, generations: &HashSet<u64>) {
        let remembered: Vec<u64> = self.outcomes.ledger().generations().collect();
        for generation in remembered {
            if !generations.contains(&generation) {
                self.note(Record::Recycled { generation }, false);
            } else if let Some(limit) = self.outcomes.ledger().limit(generation) {
                self.journal.remember_limit(generation, limit);
            }
        }
    }
}
