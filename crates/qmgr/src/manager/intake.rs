//! Messages come in: by hints, and by looking into the spool where hints are missing.

use super::{FromPeer, Manager};
use crate::entry::{Entry, Place, State};
use crate::journal::Spot;
use ipc::queue::{FromSmtpd, Hint};
use mail_types::QueueId;
use spool::envelope;
use spool::outcome::Record;

/// How long a gap between hints may take to close by itself.
const GAP_MS: u64 = 100;
/// Hints that wait behind a gap.
const EARLY_LIMIT: usize = 5_000;

impl Manager {
    pub(super) async fn peer_said(&mut self, word: FromPeer) {
        match word {
            FromPeer::Opened { serial, sender } => {
                // The newest connection counts: an old smtpd may still be ending.
                self.peer = Some((serial, sender));
                self.journal.forget_told();
                self.flush_at = Some(self.now.ms);
            }
            FromPeer::Closed { serial } => {
                if self.peer.as_ref().is_some_and(|(at, _)| *at == serial) {
                    (self.peer, self.position) = (None, None);
                    tracing::info!("smtpd has left");
                }
            }
            FromPeer::Said(FromSmtpd::Hello(position) | FromSmtpd::Position(position)) => {
                self.position = self.position.max(Some((position.generation, position.synced_to)));
                if self.journal.known_to(position.generation) < position.synced_to {
                    self.survey().await;
                }
                self.look_for_files();
            }
            FromPeer::Said(FromSmtpd::Hints(hints)) => self.hints(hints).await,
            FromPeer::Said(FromSmtpd::Recycled { generation }) => {
                self.journal.recycled(generation);
                self.note(Record::Recycled { generation }, false);
            }
        }
    }

    async fn hints(&mut self, hints: Vec<Hint>) {
        for hint in hints {
            match hint {
                Hint::Journal { generation, offset, length, synced_to, record } => {
                    self.position = self.position.max(Some((generation, synced_to)));
                    self.early.insert((generation, offset), (length, record));
                }
                Hint::Flush { domain } => self.flush_domain(domain),
                Hint::File { id } => {
                    if let Ok(id) = QueueId::parse(&id) {
                        self.new_file(id);
                    }
                }
            }
        }
        if self.take_early() {
            self.survey().await;
        }
    }

    /// Takes the hints that continue what is known. Sessions of smtpd hand theirs in as they wake, so those of one batch may
    /// come in any order, and a gap is given a moment to close. `true`: the segments have to be read.
    fn take_early(&mut self) -> bool {
        while let Some(((generation, offset), (length, mut record))) = self.early.pop_first() {
            let spot = Spot { generation, offset, length };
            match self.journal.hint(spot) {
                None => {}
                Some(true) if self.take_record(spot, &mut record) => {}
                Some(true) => {
                    // Not carried along, or damaged on the way.
                    self.journal.unknow(spot);
                    return true;
                }
                Some(false) => {
                    let new_segment = !self.journal.knows(generation);
                    self.early.insert((generation, offset), (length, record));
                    self.gap_until.get_or_insert(self.now.ms + GAP_MS);
                    return new_segment || self.early.len() > EARLY_LIMIT;
                }
            }
        }
        self.gap_until = None;
        false
    }

    /// A message that came with its hint. `false`: what came is no message.
    fn take_record(&mut self, spot: Spot, record: &mut Vec<u8>) -> bool {
        let Ok((stored, body_at)) = envelope::decode(record) else { return false };
        let id = stored.envelope.id;
        let ledger = self.outcomes.ledger();
        if ledger.is_settled(spot.generation, spot.offset) || ledger.is_removed(&id) || self.entries.contains_key(&id) {
            self.found_record(spot, id);
            return true;
        }
        let priority = stored.envelope.wishes.priority;
        self.entries.insert(id, Entry { priority, ..Entry::new(Place::Journal(spot)) });
        let settings = self.settings();
        let room = self.active_count < settings.active_limit && self.memory_bytes + record.len() <= settings.body_memory_bytes;
        if room && self.ready.is_empty() {
            self.set_state(&id, State::Active);
            self.loaded(id, Ok(super::Loaded::from_record(stored, std::mem::take(record), body_at)));
        } else {
            self.line_up(id);
        }
        true
    }

    /// Reads the segments from where knowledge ends.
    pub(super) async fn survey(&mut self) {
        let (plan, position) = (self.journal.plan(), self.position);
        let files = self.files.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let survey = plan.survey(position)?;
            let safe = plan.set_aside(&files, &survey.damages);
            Ok::<_, spool::Error>((survey, safe))
        });
        let (survey, safe) = match looked.await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::error!(%error, "the journal cannot be read; trying again");
                self.gap_until = Some(self.clock.now().ms + 1000);
                return;
            }
            Err(_) => return,
        };
        self.journal.learn(&survey);
        for &(generation, limit) in &survey.limits {
            if self.outcomes.ledger().limit(generation) != Some(limit) {
                self.note(Record::Limit { generation, limit }, false);
            }
        }
        for damage in safe {
            let id = damage.id.unwrap_or(QueueId::from_parts(0, 0, 0));
            let offsets = vec![damage.spot.offset];
            self.note(Record::Settled { generation: damage.spot.generation, id, offsets }, false);
            self.journal.settle(damage.spot);
        }
        for (spot, id) in survey.messages {
            self.found_record(spot, id);
        }
        self.gap_until = None;
        // What was read is known now; the rest stays early.
        if self.take_early() {
            self.gap_until = Some(self.now.ms + GAP_MS);
        }
        // A segment may have become finished by this alone.
        self.flush_at.get_or_insert(self.now.ms + super::LAZY_FLUSH_MS);
    }

    fn found_record(&mut self, spot: Spot, id: QueueId) {
        if self.outcomes.ledger().is_settled(spot.generation, spot.offset) {
            return self.journal.settle(spot);
        }
        match self.entries.get(&id) {
            // The file wins over the record. It may be older than outcomes in the journal.
            Some(entry) if entry.place == Place::File => self.settle_living(id, spot, |_| true),
            Some(_) => {}
            // It was moved to a file, and delivered; what said that it was moved is lost.
            None if self.outcomes.ledger().is_removed(&id) => self.settle_record(id, spot, false),
            None => {
                let known = self.outcomes.ledger().get(&id);
                let mut entry = Entry::new(Place::Journal(spot));
                // Another qmgr may have worked on it.
                entry.repeat = true;
                entry.attempts = known.map_or(0, |m| m.attempts);
                entry.expire = known.is_some_and(|m| m.expired);
                let held = known.and_then(|m| m.held) == Some(true);
                self.entries.insert(id, entry);
                if held { self.set_state(&id, State::Held) } else { self.line_up(id) }
            }
        }
    }

    pub(super) fn new_file(&mut self, id: QueueId) {
        if self.entries.contains_key(&id) || self.outcomes.ledger().is_removed(&id) {
            return;
        }
        self.entries.insert(id, Entry::new(Place::File));
        self.line_up(id);
    }

    /// Large messages whose hints were lost.
    pub(super) fn look_for_files(&mut self) {
        match self.files.list_incoming() {
            Ok(ids) => {
                for id in ids {
                    if self.outcomes.ledger().is_removed(&id) {
                        self.unlink_after_flush.push(id);
                        self.flush_at.get_or_insert(self.now.ms);
                    } else {
                        self.new_file(id);
                    }
                }
            }
            Err(error) => tracing::error!(%error, "large messages cannot be looked for"),
        }
    }
}
