//! Which records of smtpd's journal are known, and which segments are finished.
//!
//! Hints come in order, each at the place where the one before ended. Where one does not, and at the start, after a
//! reconnect and when smtpd says how far it is, the segments are read from where knowledge ends up to where they were
//! synced. Nothing here keeps bodies; a record is noted by its place.

use durable::Disk;
use mail_types::QueueId;
use spool::{Header, Item, Layout, QueueFiles, Segment};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// A record of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Spot {
    pub generation: u64,
    pub offset: u64,
    pub length: u64,
}

/// What is known of one segment.
#[derive(Debug, Default)]
struct Track {
    /// All records below are known.
    known_to: u64,
    /// How far the segment was synced, once its writer has left it.
    limit: Option<u64>,
    /// Records without a final outcome.
    open: HashSet<u64>,
    /// When smtpd was told that it is finished.
    told_at: Option<u64>,
}

/// Bytes that are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    pub spot: Spot,
    pub id: Option<QueueId>,
}

/// What a look into the segments brought.
#[derive(Debug, Default)]
pub struct Survey {
    pub messages: Vec<(Spot, QueueId)>,
    pub damages: Vec<Damage>,
    /// Segments whose limit is known from now on.
    pub limits: Vec<(u64, u64)>,
    known: Vec<(u64, u64)>,
    /// Below the newest, without any record.
    unused: Vec<u64>,
}

/// The segments as qmgr knows them.
#[derive(Debug)]
pub struct Journal {
    disk: Arc<dyn Disk>,
    layout: Layout,
    tracks: BTreeMap<u64, Track>,
}

impl Journal {
    pub fn new(disk: Arc<dyn Disk>, layout: Layout) -> Journal {
        Journal { disk, layout, tracks: BTreeMap::new() }
    }

    /// Takes a hint. `false` when something lies between it and what is known: then a survey is needed. `None`: known already.
    pub fn hint(&mut self, spot: Spot) -> Option<bool> {
        let newest = self.tracks.keys().next_back().copied().unwrap_or(0);
        let Some(track) = self.tracks.get_mut(&spot.generation) else {
            return if spot.generation > newest { Some(false) } else { None };
        };
        if spot.offset < track.known_to {
            return None;
        }
        if spot.offset > track.known_to || spot.generation != newest {
            return Some(false);
        }
        track.known_to = spot.offset + spot.length;
        track.open.insert(spot.offset);
        Some(true)
    }

    /// Takes back a hint that turned out to be of no use, so that a survey looks there.
    pub fn unknow(&mut self, spot: Spot) {
        if let Some(track) = self.tracks.get_mut(&spot.generation) {
            track.known_to = spot.offset;
            track.open.remove(&spot.offset);
        }
    }

    /// Up to where the records of a segment are known.
    pub fn known_to(&self, generation: u64) -> u64 {
        self.tracks.get(&generation).map_or(0, |track| track.known_to)
    }

    pub fn knows(&self, generation: u64) -> bool {
        self.tracks.contains_key(&generation)
    }

    /// What a survey would have to look for; it is carried out elsewhere, because it blocks.
    pub fn plan(&self) -> Plan {
        let known = self.tracks.iter().map(|(g, t)| (*g, (t.known_to, t.limit))).collect();
        Plan { disk: self.disk.clone(), layout: self.layout.clone(), known }
    }

    /// Takes what a survey found.
    pub fn learn(&mut self, survey: &Survey) {
        for &(generation, known_to) in &survey.known {
            let track = self.tracks.entry(generation).or_default();
            track.known_to = track.known_to.max(known_to);
        }
        for &(generation, limit) in &survey.limits {
            self.tracks.entry(generation).or_default().limit = Some(limit);
        }
        for &generation in &survey.unused {
            let track = self.tracks.entry(generation).or_default();
            (track.limit, track.known_to) = (Some(0), 0);
        }
        for (spot, _) in &survey.messages {
            self.tracks.entry(spot.generation).or_default().open.insert(spot.offset);
        }
        for damage in &survey.damages {
            self.tracks.entry(damage.spot.generation).or_default().open.insert(damage.spot.offset);
        }
    }

    /// A limit that the outcome journal remembers.
    pub fn remember_limit(&mut self, generation: u64, limit: u64) {
        self.tracks.entry(generation).or_default().limit = Some(limit);
    }

    /// The record needs nothing more.
    pub fn settle(&mut self, spot: Spot) {
        if let Some(track) = self.tracks.get_mut(&spot.generation) {
            track.open.remove(&spot.offset);
        }
    }

    /// Segments whose records all have final outcomes, and which smtpd has not been told of. To be told once the outcomes
    /// noted so far are synced.
    pub fn take_finished(&mut self, now: u64) -> Vec<u64> {
        let done = self
            .tracks
            .iter_mut()
            .filter(|(_, t)| t.told_at.is_none() && t.open.is_empty() && t.limit.is_some_and(|limit| t.known_to >= limit));
        done.map(|(generation, track)| {
            track.told_at = Some(now);
            *generation
        })
        .collect()
    }

    /// On a new connection all of them are told again.
    pub fn forget_told(&mut self) {
        self.tracks.values_mut().for_each(|t| t.told_at = None);
    }

    /// smtpd may have failed to use a segment again: those that it was told of before then are told again. `true`: there are some.
    pub fn forget_told_before(&mut self, then: u64) -> bool {
        let late = self.tracks.values_mut().filter(|t| t.told_at.is_some_and(|at| at < then));
        late.map(|t| t.told_at = None).count() > 0
    }

    /// smtpd has taken the segment out of use.
    pub fn recycled(&mut self, generation: u64) {
        self.tracks.remove(&generation);
    }

    /// Records without a final outcome.
    #[cfg(test)]
    fn open(&self) -> usize {
        self.tracks.values().map(|t| t.open.len()).sum()
    }
}

/// A look into the segments that is to be made.
#[derive(Debug)]
pub struct Plan {
    disk: Arc<dyn Disk>,
    layout: Layout,
    known: BTreeMap<u64, (u64, Option<u64>)>,
}

impl Plan {
    /// Looks. `position`: the segment that smtpd writes and how far it is synced, as it has told. Blocks.
    pub fn survey(&self, position: Option<(u64, u64)>) -> Result<Survey, spool::Error> {
        let mut survey = Survey::default();
        let mut segments = BTreeMap::new();
        for generation in self.layout.generations(&*self.disk)? {
            match Segment::open(&*self.disk, &self.layout.segment(generation), generation) {
                Ok(segment) => drop(segments.insert(generation, segment)),
                Err(error) if error.is_not_found() => {} // used again just now
                Err(error) => return Err(error),
            }
        }
        let stated: BTreeMap<u64, u64> =
            segments.values().filter_map(Segment::header).map(|h: &Header| (h.previous, h.previous_limit)).collect();
        let by_header = segments.iter().filter(|(_, s)| s.header().is_some()).map(|(g, _)| *g).max();
        let newest = by_header.max(position.map(|(g, _)| g)).unwrap_or(0);
        for (&generation, segment) in &segments {
            if generation > newest {
                // Prepared for later, unless its header is what is damaged.
                if !segment.is_used()? {
                    continue;
                }
            }
            let (known_to, limit) = self.known.get(&generation).copied().unwrap_or((0, None));
            if limit.is_some_and(|limit| known_to >= limit) {
                continue;
            }
            let limit = limit.or(stated.get(&generation).copied());
            self.look(segment, known_to, limit, generation >= newest, position, &mut survey)?;
        }
        Ok(survey)
    }

    fn look(
        &self,
        segment: &Segment,
        known_to: u64,
        limit: Option<u64>,
        is_newest: bool,
        position: Option<(u64, u64)>,
        survey: &mut Survey,
    ) -> Result<(), spool::Error> {
        let generation = segment.generation();
        let synced = position.filter(|(g, _)| *g == generation).map(|(_, to)| to);
        let trusted = limit.or(synced);
        let mut scan = segment.scan(known_to, trusted.unwrap_or(u64::MAX), trusted.is_some());
        let mut met = Vec::new();
        let mut closed = None;
        let mut end = known_to;
        while let Some(item) = scan.next()? {
            match item {
                Item::Closed { offset } => closed = Some(offset),
                item => {
                    met.push(item);
                    end = scan.offset();
                }
            }
        }
        // Of the newest segment only what its own records, or its closing, vouch for is taken without smtpd's word. One that has
        // lost its successor is taken as it is.
        let (to, final_limit) = match (limit, synced, closed) {
            (Some(limit), _, _) => (limit.max(known_to), Some(limit)),
            (None, _, Some(offset)) => (offset, Some(offset)),
            (None, Some(to), None) => (to.max(known_to), None),
            (None, None, None) if is_newest => (scan.stated_limit().min(end).max(known_to), None),
            (None, None, None) => (end, Some(end)),
        };
        for item in met {
            match item {
                Item::Message { offset, length, id } if offset + length <= to => {
                    survey.messages.push((Spot { generation, offset, length }, id));
                }
                Item::Damaged { offset, length, id } if offset + length <= to => {
                    survey.damages.push(Damage { spot: Spot { generation, offset, length }, id });
                }
                _ => {}
            }
        }
        if final_limit.is_some() && end == 0 && segment.header().is_none() {
            survey.unused.push(generation);
        } else {
            survey.known.push((generation, to));
            survey.limits.extend(final_limit.map(|limit| (generation, limit)));
        }
        Ok(())
    }

    /// Copies damaged bytes to `corrupt/`; those that are safe there are returned. Blocks.
    pub fn set_aside(&self, files: &QueueFiles, damages: &[Damage]) -> Vec<Damage> {
        let mut safe = Vec::new();
        for damage in damages {
            let Spot { generation, offset, length } = damage.spot;
            let name = format!("journal_{generation:016x}_{offset}");
            let kept = Segment::open(&*self.disk, &self.layout.segment(generation), generation)
                .and_then(|segment| segment.raw(offset, length))
                .and_then(|bytes| files.set_aside_bytes(&name, &bytes));
            match kept {
                Ok(_) => safe.push(*damage),
                Err(error) => tracing::error!(generation, offset, %error, "cannot set aside a damaged record"),
            }
        }
        safe
    }

    /// Reads the payloads of these records. Blocks.
    pub fn read(&self, spots: &[(QueueId, Spot)]) -> Vec<(QueueId, Result<Vec<u8>, spool::Error>)> {
        let mut open: Option<Segment> = None;
        let mut read = |id: QueueId, spot: Spot| {
            if open.as_ref().is_none_or(|s| s.generation() != spot.generation) {
                open = Some(Segment::open(&*self.disk, &self.layout.segment(spot.generation), spot.generation)?);
            }
            let (found, payload) = open.as_ref().expect("opened above").read(spot.offset)?;
            match found {
                Some(found) if found == id => Ok(payload),
                _ => Err(spool::Error::Damaged {
                    path: self.layout.segment(spot.generation),
                    reason: format!("another message stands at {}", spot.offset),
                }),
            }
        };
        spots.iter().map(|&(id, spot)| (id, read(id, spot))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use durable::simulated::SimulatedDisk;
    use mail_types::{Address, BodyType, Client, Envelope, Recipient};
    use spool::{Place, SpoolWriter, WriterSettings};

    fn writer(disk: &SimulatedDisk) -> SpoolWriter {
        let settings = WriterSettings {
            segment_bytes: 32 << 10,
            first_segment_bytes: 16 << 10,
            free_space_floor_bytes: 0,
            ..WriterSettings::new("/spool")
        };
        SpoolWriter::open_on(Arc::new(disk.clone()), settings).expect("open")
    }

    fn accept(writer: &SpoolWriter) -> (QueueId, Spot, u64) {
        let envelope = Envelope {
            id: writer.next_id(),
            arrived_micros: 1,
            sender: None,
            recipients: vec![Recipient::new(Address::parse("bob@example.org").expect("address"))],
            body: BodyType::SevenBit,
            smtputf8: false,
            ret: None,
            envid: None,
            wishes: Default::default(),
            hold: false,
            filter: None,
            client: Client::default(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        let receipt = runtime.block_on(writer.accept(&envelope, &[b'x'; 1500])).expect("accept");
        let Place::Journal { generation, offset, length, synced_to } = receipt.place else { panic!("small") };
        (receipt.id, Spot { generation, offset, length }, synced_to)
    }

    fn journal(disk: &SimulatedDisk) -> Journal {
        Journal::new(Arc::new(disk.clone()), Layout::new("/spool"))
    }

    fn survey(journal: &mut Journal, position: Option<(u64, u64)>) -> Survey {
        let survey = journal.plan().survey(position).expect("survey");
        journal.learn(&survey);
        survey
    }

    #[test]
    fn hints_in_order_need_no_look_and_a_gap_does() {
        let disk = SimulatedDisk::new();
        let writer = writer(&disk);
        let mut journal = journal(&disk);
        let start = writer.position();
        survey(&mut journal, Some((start.generation, start.synced_to)));
        let (_, a, _) = accept(&writer);
        let (_, b, _) = accept(&writer);
        let (_, c, synced) = accept(&writer);
        assert_eq!(journal.hint(a), Some(true));
        assert_eq!(journal.hint(a), None, "known already");
        assert_eq!(journal.hint(c), Some(false), "b is missing");
        let found = survey(&mut journal, Some((c.generation, synced)));
        assert_eq!(found.messages.iter().map(|(s, _)| *s).collect::<Vec<_>>(), [b, c]);
        assert_eq!(journal.hint(c), None);
        assert_eq!(journal.open(), 3);
    }

    #[test]
    fn a_segment_is_finished_when_it_was_left_and_all_of_it_is_settled() {
        let disk = SimulatedDisk::new();
        let writer = writer(&disk);
        let mut journal = journal(&disk);
        let start = writer.position();
        survey(&mut journal, Some((start.generation, start.synced_to)));
        let mut all = Vec::new();
        while all.last().is_none_or(|s: &Spot| s.generation == start.generation) {
            let (_, spot, _) = accept(&writer);
            if journal.hint(spot) == Some(false) {
                assert_ne!(spot.generation, start.generation);
                let position = writer.position();
                let found = survey(&mut journal, Some((position.generation, position.synced_to)));
                assert_eq!(found.messages.len(), 1);
            }
            all.push(spot);
        }
        let last = all.pop().expect("one");
        for (n, spot) in all.iter().enumerate() {
            assert!(journal.take_finished(5).is_empty(), "{n}");
            journal.settle(*spot);
        }
        assert_eq!(journal.take_finished(5), [start.generation]);
        assert!(!journal.forget_told_before(5) && journal.take_finished(5).is_empty(), "told once");
        assert!(journal.forget_told_before(6), "smtpd did nothing");
        assert_eq!(journal.take_finished(7), [start.generation]);
        journal.forget_told();
        assert_eq!(journal.take_finished(5), [start.generation]);
        writer.recycle(start.generation).expect("recycle");
        journal.recycled(start.generation);
        journal.settle(last);
        assert!(journal.take_finished(5).is_empty(), "it is still written");
    }

    #[test]
    fn without_smtpd_the_newest_segment_is_trusted_as_far_as_its_records_say() {
        let disk = SimulatedDisk::new();
        let writer = writer(&disk);
        let (a, _, _) = accept(&writer);
        let (b, _, _) = accept(&writer);
        let ids = |survey: Survey| survey.messages.iter().map(|(_, id)| *id).collect::<Vec<_>>();
        assert_eq!(ids(survey(&mut journal(&disk), None)), [a], "only b's record says that a was synced");
        writer.close();
        assert_eq!(ids(survey(&mut journal(&disk), None)), [a, b], "closed in order");
    }

    #[test]
    fn at_the_start_everything_below_the_limits_is_found_once() {
        let disk = SimulatedDisk::new();
        let first = writer(&disk);
        let mut ids: Vec<QueueId> = (0..40).map(|_| accept(&first).0).collect();
        drop(first);
        let second = writer(&disk.after_kill());
        drop(second);
        let disk = disk.after_kill();
        let again = writer(&disk);
        ids.push(accept(&again).0);
        let position = again.position();
        let mut journal = journal(&disk);
        let found = survey(&mut journal, Some((position.generation, position.synced_to)));
        assert_eq!(found.messages.iter().map(|(_, id)| *id).collect::<Vec<_>>(), ids);
        assert!(survey(&mut journal, Some((position.generation, position.synced_to))).messages.is_empty());
    }
}
