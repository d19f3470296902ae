//! The writer's side of the spool: smtpd hands in messages, one thread makes them durable in batches.
//!
//! Order of things, for promise 1: the batch is written, the segment is synced, then every session of the batch may say
//! 250. When the write or the sync fails, the segment is given up at what it had synced before; the next segment is begun
//! with a header that says so, and synced; only then the sessions of the batch say 451. So no reader can deliver what
//! was refused.

use crate::envelope::{self, Parts};
use crate::ids::Ids;
use crate::segment::{FIRST_RECORD, Item, Segment, encode_closed, encode_message, record_length};
use crate::segments::Stock;
use crate::{Error, LargeWriter, Layout};
use durable::{Batch, Committer, Disk, File, OsDisk};
use mail_types::{Envelope, QueueId};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How the spool is written.
#[derive(Debug, Clone)]
pub struct WriterSettings {
    /// The spool directory.
    pub directory: PathBuf,
    /// Size of a segment, about 64 MiB.
    pub segment_bytes: u64,
    /// Size of a segment that is made while somebody waits, because none is in stock.
    pub first_segment_bytes: u64,
    /// All segments together; when this is reached and qmgr has finished none, mail is refused for a while.
    pub journal_limit_bytes: u64,
    /// Free space on the file system below which mail is refused for a while.
    pub free_space_floor_bytes: u64,
    /// How long `open` waits for an earlier process to end.
    pub lock_wait: Duration,
}

impl WriterSettings {
    /// The defaults for the spool at `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> WriterSettings {
        WriterSettings {
            directory: directory.into(),
            segment_bytes: 64 << 20,
            first_segment_bytes: 4 << 20,
            journal_limit_bytes: 4 << 30,
            free_space_floor_bytes: 75 << 20,
            lock_wait: Duration::from_secs(10),
        }
    }
}

/// Where a message was made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A record of the journal; `synced_to` is how far its segment is synced now.
    Journal { generation: u64, offset: u64, length: u64, synced_to: u64 },
    /// A file `queue/in/ID`.
    File,
}

/// The proof that a message is durable. `record` is envelope text and body for the hint to qmgr; empty for a file.
#[derive(Debug)]
pub struct Receipt {
    pub id: QueueId,
    pub place: Place,
    pub record: Vec<u8>,
}

/// The segment being written, and how far it is synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    pub generation: u64,
    pub synced_to: u64,
}

/// The spool opened for writing. Clones share one journal.
#[derive(Clone)]
pub struct SpoolWriter(Arc<Inner>);

struct Inner {
    settings: WriterSettings,
    ids: Ids,
    stock: Arc<Stock>,
    position: Arc<Mutex<Position>>,
    committer: Committer<Journal>,
    preparer: Mutex<Option<std::thread::JoinHandle<()>>>,
    space: Mutex<Option<(Instant, u64)>>,
    _lock: Option<std::fs::File>,
}

impl SpoolWriter {
    /// Opens the spool on the operating system's disk. Blocks: reads the last segment, begins a new one.
    /// `Error::Locked` when another process still writes after `lock_wait`.
    pub fn open(settings: WriterSettings) -> Result<SpoolWriter, Error> {
        SpoolWriter::open_on(Arc::new(OsDisk), settings)
    }

    /// The same on any disk.
    pub fn open_on(disk: Arc<dyn Disk>, settings: WriterSettings) -> Result<SpoolWriter, Error> {
        let layout = Layout::new(&settings.directory);
        layout.create_for_smtpd(&*disk)?;
        let lock = wait_for_lock(&*disk, &layout, settings.lock_wait)?;
        let ids = Ids::open(disk.clone(), layout.clone())?;
        crate::large::remove_partial(&*disk, &layout);
        let sizes = (settings.segment_bytes, settings.first_segment_bytes, settings.journal_limit_bytes);
        let (stock, previous) = recover(disk, layout, sizes)?;
        let stock = Arc::new(stock);
        let position = Arc::new(Mutex::new(Position::default()));
        let mut journal = Journal { stock: stock.clone(), previous, segment: None, position: position.clone(), buffer: Vec::new() };
        journal.begin(0)?;
        let committer = Committer::start("spool-committer", journal)?;
        let preparer = std::thread::Builder::new()
            .name("spool-segments".into())
            .spawn({
                let stock = stock.clone();
                move || stock.keep_stocked()
            })
            .map_err(durable::Error::io("start a thread for", &settings.directory))?;
        let (preparer, space) = (Mutex::new(Some(preparer)), Mutex::new(None));
        Ok(SpoolWriter(Arc::new(Inner { settings, ids, stock, position, committer, preparer, space, _lock: lock })))
    }

    /// A queue id that never was and never will be again.
    pub fn next_id(&self) -> QueueId {
        self.0.ids.next()
    }

    /// Whether a message of so many bytes may be taken: `Error::Full` when the disk comes near its end or qmgr is too far
    /// behind. Asks the file system once a second at most.
    pub fn check_space(&self, message_bytes: u64) -> Result<(), Error> {
        if !self.0.stock.has_room() {
            return Err(Error::Full("the journal has reached its limit; qmgr is behind".into()));
        }
        let mut space = self.0.space.lock();
        let free = match *space {
            Some((at, free)) if at.elapsed() < Duration::from_secs(1) => free,
            _ => {
                let directory = &self.0.settings.directory;
                let free = self.0.stock.disk.free_bytes(directory).map_err(durable::Error::io("stat", directory))?;
                *space = Some((Instant::now(), free));
                free
            }
        };
        let need = self.0.settings.free_space_floor_bytes.saturating_add(message_bytes);
        if free < need {
            return Err(Error::Full(format!("{free} bytes are free, {need} are wanted")));
        }
        Ok(())
    }

    /// Makes a message durable in the journal; on `Ok` the client may be told 250. On an error nothing of it will be
    /// delivered. When the future is dropped the message may still be taken, as when a client goes away before the reply.
    pub async fn accept(&self, envelope: &Envelope, body: &[u8]) -> Result<Receipt, Error> {
        let mut record = Vec::with_capacity(512 + 48 * envelope.recipients.len() + body.len());
        envelope::encode_parts(Parts::accepted(envelope, None), 0, &mut record);
        record.extend_from_slice(body);
        self.0.committer.submit(Waiting { id: envelope.id, record }).await?
    }

    /// Begins a message that is streamed to a file of its own, because its body is larger than [`crate::LARGE_BYTES`].
    pub fn large(&self, envelope: &Envelope) -> LargeWriter {
        LargeWriter::new(self.0.stock.disk.clone(), self.0.stock.layout.clone(), envelope)
    }

    pub fn position(&self) -> Position {
        *self.0.position.lock()
    }

    /// qmgr reported `finished generation`: the segment is renamed to a new generation, or removed, durably. Blocks. May
    /// be repeated.
    pub fn recycle(&self, generation: u64) -> Result<(), Error> {
        self.0.stock.recycle(generation)
    }

    /// Ends the writer in order, after the last session: what waits is committed and the segment is closed, so that qmgr
    /// need not wait for the next start to trust all of it. Blocks.
    pub fn close(&self) {
        self.0.committer.close();
        self.0.stock.stop();
        if let Some(preparer) = self.0.preparer.lock().take() {
            let _ = preparer.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stock.stop();
    }
}

fn wait_for_lock(disk: &dyn Disk, layout: &Layout, wait: Duration) -> Result<Option<std::fs::File>, Error> {
    let path = layout.journal().join("lock");
    let until = Instant::now() + wait;
    loop {
        match disk.lock(&path, 0o640) {
            Ok(lock) => return Ok(lock),
            Err(e) if e.kind() != std::io::ErrorKind::WouldBlock => return Err(durable::Error::io("lock", &path)(e).into()),
            Err(_) if Instant::now() >= until => return Err(Error::Locked(path)),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Looks at what an earlier process left: the newest segment with records, up to where they go, synced now so that the
/// next header may say so; and segments that were prepared but never begun.
fn recover(disk: Arc<dyn Disk>, layout: Layout, sizes: (u64, u64, u64)) -> Result<(Stock, (u64, u64)), Error> {
    let mut found = BTreeMap::new();
    let mut unused = Vec::new();
    let mut newest = None;
    for generation in layout.generations(&*disk)?.into_iter().rev() {
        let segment = Segment::of(File::open(&*disk, &layout.segment(generation), true)?, generation)?;
        found.insert(generation, segment.size_bytes());
        if newest.is_some() {
            continue;
        }
        if segment.is_used()? { newest = Some(segment) } else { unused.push((generation, segment)) }
    }
    let mut previous = (0, 0);
    if let Some(segment) = newest {
        let mut scan = segment.scan(0, u64::MAX, false);
        let mut limit = FIRST_RECORD;
        while let Some(item) = scan.next()? {
            if !matches!(item, Item::Closed { .. }) {
                limit = scan.offset();
            }
        }
        previous = (segment.generation(), limit);
        // A killed process may have left records in the page cache that were not synced yet.
        segment.into_file().sync()?;
    }
    if !unused.is_empty() {
        // The process that made them may have been killed before their names were durable.
        disk.sync_dir(&layout.journal()).map_err(durable::Error::io("sync", &layout.journal()))?;
    }
    let stock = Stock::new(disk, layout, sizes, found);
    for (generation, segment) in unused.into_iter().rev() {
        stock.add_spare(generation, segment.into_file());
    }
    Ok((stock, previous))
}

struct Waiting {
    id: QueueId,
    record: Vec<u8>,
}

/// The journal as the committer's thread has it.
struct Journal {
    stock: Arc<Stock>,
    /// The segment written last and how far it was synced, for the next one's header.
    previous: (u64, u64),
    segment: Option<Current>,
    position: Arc<Mutex<Position>>,
    buffer: Vec<u8>,
}

struct Current {
    generation: u64,
    file: File,
    size: u64,
    synced: u64,
}

impl Journal {
    /// Begins the next segment. A few are tried, as the disk may fail in one place only.
    fn begin(&mut self, room: u64) -> Result<(), Error> {
        self.retire();
        let mut tries = 0;
        loop {
            match self.stock.begin(self.previous, room) {
                Ok((generation, file, size)) => {
                    self.segment = Some(Current { generation, file, size, synced: FIRST_RECORD });
                    self.previous = (generation, FIRST_RECORD);
                    *self.position.lock() = Position { generation, synced_to: FIRST_RECORD };
                    return Ok(());
                }
                Err(error) if tries == 2 || matches!(error, Error::Full(_)) => return Err(error),
                Err(error) => tracing::error!(%error, "a segment could not be begun; trying another"),
            }
            tries += 1;
        }
    }

    fn retire(&mut self) {
        if let Some(current) = self.segment.take() {
            self.previous = (current.generation, current.synced);
        }
    }

    /// Commits those of `items` that fit into one segment; returns how many.
    fn commit_some(&mut self, items: &mut [Waiting], done: &mut Vec<Result<Receipt, Error>>) -> usize {
        let first = record_length(items[0].record.len());
        let fits = self.segment.as_ref().is_some_and(|s| s.synced + first <= s.size);
        if !fits && let Err(error) = self.begin(first) {
            done.extend(items.iter().map(|_| Err(error.clone())));
            return items.len();
        }
        let current = self.segment.as_mut().expect("begun above");
        self.buffer.clear();
        let mut count = 0;
        let mut places = Vec::with_capacity(items.len());
        for item in items.iter() {
            let offset = current.synced + self.buffer.len() as u64;
            let length = record_length(item.record.len());
            if offset + length > current.size {
                break;
            }
            encode_message(current.generation, offset, current.synced, &item.id, &item.record, &mut self.buffer);
            places.push((offset, length));
            count += 1;
        }
        match current.file.write_at(&self.buffer, current.synced).and_then(|()| current.file.sync()) {
            Ok(()) => {
                current.synced += self.buffer.len() as u64;
                let (generation, synced_to) = (current.generation, current.synced);
                *self.position.lock() = Position { generation, synced_to };
                done.extend(items[..count].iter_mut().zip(places).map(|(item, (offset, length))| {
                    let place = Place::Journal { generation, offset, length, synced_to };
                    Ok(Receipt { id: item.id, place, record: std::mem::take(&mut item.record) })
                }));
            }
            Err(error) => {
                tracing::error!(%error, messages = count, "a batch was not made durable; its clients are told to come again");
                let error = Error::from(error);
                // The next header states the limit before anybody hears of the failure. When no segment can be begun at all, what was
                // refused is at least overwritten, so that a start after a kill does not find it; the next batch tries again
                // with the same statement.
                let failed = self.segment.take().expect("written to above");
                self.previous = (failed.generation, failed.synced);
                if let Err(error) = self.begin(0) {
                    tracing::error!(%error, "no segment can be written");
                    if let Err(error) = failed.file.wipe(failed.synced, self.buffer.len()) {
                        tracing::error!(%error, "what was refused may be delivered all the same");
                    }
                }
                done.extend((0..count).map(|_| Err(error.clone())));
            }
        }
        // One large batch does not keep its memory.
        self.buffer.shrink_to(4 << 20);
        count
    }
}

impl Batch for Journal {
    type Item = Waiting;
    type Done = Result<Receipt, Error>;

    fn commit(&mut self, items: &mut Vec<Waiting>) -> Vec<Self::Done> {
        let mut done = Vec::with_capacity(items.len());
        let mut at = 0;
        while at < items.len() {
            at += self.commit_some(&mut items[at..], &mut done);
        }
        done
    }

    fn close(&mut self) {
        if let Some(current) = &self.segment {
            let mut record = Vec::new();
            encode_closed(current.generation, current.synced, &mut record);
            if current.synced + record.len() as u64 <= current.size {
                let closed = current.file.write_at(&record, current.synced).and_then(|()| current.file.sync());
                if let Err(error) = closed {
                    tracing::warn!(%error, "the segment was not closed");
                }
            }
        }
    }
}
