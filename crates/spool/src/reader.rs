//! A spool shown without qmgr: for `facteur queue list` and `cat`, beside running daemons or without them.
//!
//! Nothing is changed, and nothing is locked: what is read is a moment's picture.

use crate::outcome::{Ledger, recipient_key};
use crate::queue_file::QueueFiles;
use crate::segment::{Item, Segment};
use crate::{Error, Layout, envelope};
use durable::{Disk, OsDisk};
use mail_types::{Address, Envelope, QueueId};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Threads that look into files at the same time, when there are more than a few.
const LOOKERS: usize = 4;
const FEW: usize = 256;

/// An open spool.
pub struct Reader {
    disk: Arc<dyn Disk>,
    layout: Layout,
    files: QueueFiles,
}

/// A message of the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub id: QueueId,
    pub arrived_micros: u64,
    pub size_bytes: u64,
    pub sender: Option<Address>,
    /// Those without a final outcome.
    pub recipients: Vec<ListedRecipient>,
    pub state: ListedState,
    /// From -9 to 9.
    pub priority: i8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedRecipient {
    pub address: Address,
    /// Why the last attempt failed.
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListedState {
    /// Not tried yet, or being tried.
    Waiting,
    /// To be tried again at this second since 1970.
    Deferred { next_seconds: u64 },
    /// Its sender asked that it waits until this second since 1970, which may be over.
    Asleep { until_seconds: u64 },
    /// Until somebody releases it.
    Held,
}

/// A whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// As it is stored.
    pub envelope_text: String,
    pub envelope: Envelope,
    pub body: Vec<u8>,
}

impl Reader {
    /// Opens the spool at `directory`.
    pub fn open(directory: &Path) -> Result<Reader, Error> {
        Reader::open_on(Arc::new(OsDisk), directory)
    }

    pub fn open_on(disk: Arc<dyn Disk>, directory: &Path) -> Result<Reader, Error> {
        let layout = Layout::new(directory);
        disk.list(layout.root()).map_err(durable::Error::io("list", layout.root()))?;
        let files = QueueFiles::new(disk.clone(), layout.clone());
        Ok(Reader { disk, layout, files })
    }

    /// All messages without a final outcome, oldest first. Damaged ones are left out; qmgr sets them aside.
    pub fn list(&self) -> Result<Vec<Listed>, Error> {
        let ledger = Ledger::read(&*self.disk, &self.layout)?;
        let mut found = BTreeMap::new();
        self.each_record(|generation, offset, id, payload| {
            if !ledger.is_settled(generation, offset)
                && let Ok((stored, body)) = envelope::decode(payload)
            {
                found.insert(id, listed(&ledger, &stored.envelope, (payload.len() - body) as u64));
            }
            true
        })?;
        let ids: Vec<QueueId> = self.file_ids()?.into_iter().filter(|id| !ledger.is_removed(id)).collect();
        found.extend(self.each_file(&ids, &ledger));
        let mut all: Vec<Listed> = found.into_values().collect();
        all.sort_by_key(|l| (l.arrived_micros, l.id));
        Ok(all)
    }

    /// The message of this id wherever it lies: a queue file, or the journal, also when it was delivered and its segment
    /// was not used again yet.
    pub fn find(&self, id: &QueueId) -> Result<Option<Found>, Error> {
        match self.files.open(id) {
            Ok(file) => {
                let mut head = Vec::new();
                envelope::encode(&file.stored, &mut head);
                let body = file.body(u64::from(u32::MAX))?;
                return Ok(Some(make_found(head, file.stored.envelope, body)));
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        let mut found = None;
        self.each_record(|_, _, at, payload| {
            if at == *id
                && let Ok((stored, body)) = envelope::decode(payload)
            {
                found = Some(make_found(payload[..body].to_vec(), stored.envelope, payload[body..].to_vec()));
            }
            found.is_none()
        })?;
        Ok(found)
    }

    /// Calls `each` for every whole record until it says `false`.
    fn each_record(&self, mut each: impl FnMut(u64, u64, QueueId, &[u8]) -> bool) -> Result<(), Error> {
        let generations = self.layout.generations(&*self.disk)?;
        let mut limits = BTreeMap::new();
        let mut segments = Vec::new();
        for generation in generations {
            match Segment::open(&*self.disk, &self.layout.segment(generation), generation) {
                Ok(segment) => {
                    limits.extend(segment.header().map(|h| (h.previous, h.previous_limit)));
                    segments.push(segment);
                }
                Err(error) if error.is_not_found() => {} // smtpd has just renamed it
                Err(error) => return Err(error),
            }
        }
        for segment in segments {
            if !segment.is_used()? {
                continue;
            }
            let generation = segment.generation();
            let limit = limits.get(&generation).copied();
            let mut scan = segment.scan(0, limit.unwrap_or(u64::MAX), limit.is_some());
            while let Some(item) = scan.next()? {
                if let Item::Message { offset, id, .. } = item
                    && !each(generation, offset, id, scan.payload())
                {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Looks into many files, on several processors: that is nearly all of the time that a long list takes.
    fn each_file(&self, ids: &[QueueId], ledger: &Ledger) -> Vec<(QueueId, Listed)> {
        let look = |ids: &[QueueId]| -> Vec<(QueueId, Listed)> {
            let open = |id: &QueueId| self.files.open(id).ok().map(|file| (*id, listed(ledger, &file.stored.envelope, file.body_bytes)));
            ids.iter().filter_map(open).collect()
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(LOOKERS);
        if threads < 2 || ids.len() < FEW {
            return look(ids);
        }
        let look = &look;
        std::thread::scope(|scope| {
            let parts: Vec<_> = ids.chunks(ids.len().div_ceil(threads)).map(|part| (part, scope.spawn(move || look(part)))).collect();
            // What a thread could not do is done here.
            parts.into_iter().flat_map(|(part, thread)| thread.join().unwrap_or_else(|_| look(part))).collect()
        })
    }

    fn file_ids(&self) -> Result<Vec<QueueId>, Error> {
        let mut ids = Vec::new();
        for entry in crate::layout::list_or_empty(&*self.disk, &self.layout.queue())? {
            if !entry.is_file && entry.name.len() == 2 {
                let directory = self.layout.queue().join(&entry.name);
                let entries = crate::layout::list_or_empty(&*self.disk, &directory)?;
                ids.extend(entries.into_iter().filter(|e| e.is_file).filter_map(|e| QueueId::parse(&e.name).ok()));
            }
        }
        Ok(ids)
    }
}

fn make_found(text: Vec<u8>, envelope: Envelope, body: Vec<u8>) -> Found {
    Found { envelope_text: String::from_utf8_lossy(&text).into_owned(), envelope, body }
}

fn listed(ledger: &Ledger, envelope: &Envelope, size_bytes: u64) -> Listed {
    let known = ledger.get(&envelope.id);
    let recipients = known.and_then(|m| m.expanded.as_ref()).unwrap_or(&envelope.recipients);
    let pending = recipients.iter().filter(|r| !known.is_some_and(|m| m.is_done(recipient_key(&r.address))));
    let recipients = pending.map(|r| {
        let reason = known.and_then(|m| m.reason(recipient_key(&r.address))).map(|reason| reason.to_string());
        ListedRecipient { address: r.address.clone(), reason }
    });
    let state = match known {
        _ if known.and_then(|m| m.held).unwrap_or(envelope.hold) => ListedState::Held,
        Some(m) if m.attempts > 0 => ListedState::Deferred { next_seconds: m.next_seconds },
        _ => envelope.wishes.release.map_or(ListedState::Waiting, |release| ListedState::Asleep { until_seconds: release.at_seconds }),
    };
    Listed {
        id: envelope.id,
        arrived_micros: envelope.arrived_micros,
        size_bytes,
        sender: envelope.sender.clone(),
        recipients: recipients.collect(),
        state,
        priority: envelope.wishes.priority,
    }
}
