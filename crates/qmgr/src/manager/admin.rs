//! What administrators ask for: `facteur queue flush|hold|release|delete|requeue|expire`.

use super::{Admin, Changed, Command, Manager, Which};
use crate::entry::{Job, State};
use mail_types::QueueId;
use spool::outcome::Record;

/// So long a domain is not searched for again, whoever asks.
const FLUSH_PAUSE_MS: u64 = 60_000;

impl Manager {
    pub(super) fn admin(&mut self, Admin { command, answer }: Admin) {
        let (which, act): (_, fn(&mut Manager, QueueId) -> bool) = match command {
            Command::Sync => (Which::These(Vec::new()), Manager::flush_one),
            Command::Flush(which) => (which, Manager::flush_one),
            Command::FlushDomain(ids) => (Which::These(ids), Manager::wake_one),
            Command::Hold(which) => (which, Manager::hold_one),
            Command::Release(which) => (which, Manager::release_one),
            Command::Delete(which) => (which, Manager::delete_one),
            Command::Requeue(which) => (which, Manager::requeue_one),
            Command::Expire(which) => (which, Manager::expire_one),
        };
        let (known, unknown) = match which {
            Which::All => (self.entries.keys().copied().collect(), Vec::new()),
            Which::These(ids) => ids.into_iter().partition::<Vec<_>, _>(|id| self.entries.contains_key(id)),
        };
        let changed = known.into_iter().filter(|id| act(self, *id)).count();
        // Deliveries that have not begun do not begin any more.
        let entries = &self.entries;
        let unwanted = self.schedule.take_waiting(|job| entries.get(&job.id).is_some_and(|entry| entry.delete || entry.hold));
        unwanted.into_iter().for_each(|job| self.not_wanted(job));
        // The answer goes out when what was noted is durable.
        let (sender, waiter) = tokio::sync::oneshot::channel();
        self.sync_waiters.push(sender);
        self.flush_at = Some(self.now.ms);
        tokio::spawn(async move {
            let done = waiter.await.unwrap_or_else(|_| Err("qmgr is stopping".into()));
            let _ = answer.send(done.map(|()| Changed { changed, unknown }));
        });
    }

    /// ETRN: looks for the messages of a domain, which takes the disk, and flushes them. One search at a time, and for each domain one in
    /// [`FLUSH_PAUSE_MS`]; strangers may ask for it, so that of the hosts that are dead those for other domains stay so.
    pub(super) fn flush_domain(&mut self, domain: String) {
        let (domain, now) = (domain.to_ascii_lowercase(), self.now.ms);
        self.flushed_domains.retain(|_, at| now.saturating_sub(*at) < FLUSH_PAUSE_MS);
        if self.flushed_domains.contains_key(&domain) {
            return tracing::debug!(domain, "flush: done a moment ago");
        }
        let Some(searching) = self.search.clone().try_lock_owned().ok() else {
            return tracing::info!(domain, "flush: a search is under way already");
        };
        self.flushed_domains.insert(domain.clone(), now);
        let (spool, events) = (self.layout.root().to_owned(), self.events.clone());
        tokio::task::spawn_blocking(move || {
            let listed = spool::Reader::open(&spool).and_then(|reader| reader.list());
            drop(searching);
            let at_domain = |m: &spool::Listed| m.recipients.iter().any(|r| r.address.domain().as_str().eq_ignore_ascii_case(&domain));
            let ids: Vec<QueueId> = match listed {
                Ok(listed) => listed.into_iter().filter(at_domain).map(|message| message.id).collect(),
                Err(error) => return tracing::warn!(domain, %error, "flush: the spool cannot be read"),
            };
            tracing::info!(domain, messages = ids.len(), "flush");
            if ids.is_empty() {
                return;
            }
            // Nobody waits for the answer.
            let (answer, _) = tokio::sync::oneshot::channel();
            let _ = events.send(super::Event::Admin(Admin { command: Command::FlushDomain(ids), answer }));
        });
    }

    /// When somebody asked for what goes to a destination, for the sake of this message or of a domain that it is for; 0: nobody did.
    pub(super) fn asked_at(&self, id: QueueId, job: &Job) -> u64 {
        let message = self.entries.get(&id).map_or(0, |entry| entry.asked_at);
        if self.flushed_domains.is_empty() {
            return message;
        }
        let recipients = self.active.get(&id).map_or(&[][..], |active| &active.recipients);
        let domains = job.members.iter().map(|at| recipients[*at].recipient.address.domain().as_str().to_ascii_lowercase());
        domains.filter_map(|domain| self.flushed_domains.get(&domain).copied()).max().unwrap_or(0).max(message)
    }

    fn flush_one(&mut self, id: QueueId) -> bool {
        self.asked_for(id);
        self.wake_one(id)
    }

    /// Destinations that are dead now are tried for it.
    fn asked_for(&mut self, id: QueueId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.asked_at = self.now.ms;
        }
    }

    fn wake_one(&mut self, id: QueueId) -> bool {
        match self.entries.get(&id).map(|e| e.state) {
            Some(State::Deferred(_) | State::Stalled) => {
                self.set_state(&id, State::Ready);
                true
            }
            // Its attempt is over, and where it waits is being written.
            Some(State::Active) if !self.active.contains_key(&id) => {
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.flush = true;
                }
                true
            }
            Some(state) => matches!(state, State::Ready | State::Active | State::Aside),
            None => false,
        }
    }

    fn hold_one(&mut self, id: QueueId) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        match entry.state {
            State::Held => return false,
            // Kept once its attempt has ended, if anything is left of it then; also by another qmgr.
            State::Active => {
                entry.hold = true;
                self.note(Record::Held { id, held: true }, true);
            }
            // Read, moved to a file where it is not in one, and held.
            _ => {
                entry.hold = true;
                self.note(Record::Held { id, held: true }, true);
                if !matches!(self.entries[&id].state, State::Ready) {
                    self.set_state(&id, State::Ready);
                }
            }
        }
        true
    }

    fn release_one(&mut self, id: QueueId) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        let was = entry.state == State::Held || entry.hold;
        entry.hold = false;
        if was {
            self.note(Record::Held { id, held: false }, true);
            if self.entries[&id].state == State::Held {
                tracing::info!(queue_id = id.as_str(), "released");
                self.set_state(&id, State::Ready);
            }
        }
        was
    }

    fn delete_one(&mut self, id: QueueId) -> bool {
        match self.entries.get_mut(&id) {
            Some(entry) if entry.state == State::Active => entry.delete = true,
            Some(_) => self.delete_now(id),
            None => return false,
        }
        true
    }

    /// Back to the recipients that the message was accepted for (Postfix postsuper -r); those with a final outcome are passed over. An attempt that runs
    /// keeps the recipients it has; the next one has others.
    fn requeue_one(&mut self, id: QueueId) -> bool {
        self.note(Record::Expanded { id, recipients: Vec::new() }, true);
        tracing::info!(queue_id = id.as_str(), "requeued");
        match self.entries.get(&id).map(|e| e.state) {
            Some(State::Held) => true,
            _ => self.flush_one(id),
        }
    }

    fn expire_one(&mut self, id: QueueId) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        entry.expire = true;
        self.asked_for(id);
        self.note(Record::Expired { id }, true);
        tracing::info!(queue_id = id.as_str(), "expired by an administrator");
        self.release_one(id) || self.flush_one(id)
    }
}
