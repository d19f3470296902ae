//! Large messages: streamed to `queue/in/ID.part`, and named `queue/in/ID` when they are whole and synced.

use crate::envelope::{BodySum, Parts, SHORTEST_PAD, encode_parts};
use crate::writer::{Place, Receipt};
use crate::{Error, Layout};
use durable::{Disk, File};
use mail_types::Envelope;
use std::path::PathBuf;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

const PART: &str = ".part";
/// Chunks are gathered to so many bytes before they are written.
const GATHER: usize = 256 << 10;

/// A message on its way to a file. Dropped without commit, it leaves nothing behind.
pub struct LargeWriter {
    part: Option<Part>,
    gathered: Vec<u8>,
}

struct Part {
    disk: Arc<dyn Disk>,
    layout: Layout,
    envelope: Envelope,
    head_bytes: usize,
    body: BodySum,
    sum: Box<Xxh3>,
    file: Option<File>,
    path: PathBuf,
    committed: bool,
}

impl LargeWriter {
    pub(crate) fn new(disk: Arc<dyn Disk>, layout: Layout, envelope: &Envelope) -> LargeWriter {
        let path = layout.incoming().join(format!("{}{PART}", envelope.id));
        let mut head = Vec::new();
        encode_parts(Parts::accepted(envelope, Some(BodySum { size_bytes: u64::MAX, xxh3: 0 })), 0, &mut head);
        let part = Part {
            disk,
            layout,
            envelope: envelope.clone(),
            // Room for what an end of data usually adds: hold, body, smtputf8, a copy for somebody.
            head_bytes: (head.len() + 512).next_multiple_of(64),
            body: BodySum::default(),
            sum: Box::default(),
            file: None,
            path,
            committed: false,
        };
        LargeWriter { part: Some(part), gathered: Vec::new() }
    }

    /// Adds to the body. After an error the writer is of no more use than to be dropped.
    pub async fn append(&mut self, chunk: &[u8]) -> Result<(), Error> {
        self.gathered.extend_from_slice(chunk);
        if self.gathered.len() < GATHER { Ok(()) } else { self.flush().await }
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let bytes = std::mem::take(&mut self.gathered);
        let part = self.part.take().ok_or_else(gone)?;
        let (part, mut bytes, result) = blocking(move || {
            let mut part = part;
            let result = part.write(&bytes);
            (part, bytes, result)
        })
        .await?;
        self.part = Some(part);
        bytes.clear();
        self.gathered = bytes;
        result
    }

    /// Makes the message durable with its final envelope, whose id must be that of the first; the rest may differ. On `Ok` the client may
    /// be told 250.
    pub async fn commit(mut self, envelope: &Envelope) -> Result<Receipt, Error> {
        self.flush().await?;
        let mut part = self.part.take().ok_or_else(gone)?;
        part.envelope = envelope.clone();
        blocking(move || part.commit()).await?
    }
}

fn gone() -> Error {
    Error::from(durable::Error::Stopped)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| gone())
}

impl Part {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(File::create(&*self.disk, &self.path, 0o640)?),
        };
        file.write_at(bytes, self.head_bytes as u64 + self.body.size_bytes)?;
        self.body.size_bytes += bytes.len() as u64;
        self.sum.update(bytes);
        Ok(())
    }

    fn commit(&mut self) -> Result<Receipt, Error> {
        self.body.xxh3 = self.sum.digest();
        let mut head = Vec::with_capacity(self.head_bytes);
        encode_parts(Parts::accepted(&self.envelope, Some(self.body)), self.head_bytes, &mut head);
        if head.len() != self.head_bytes {
            self.make_room((head.len() + SHORTEST_PAD).next_multiple_of(64))?;
            head.clear();
            encode_parts(Parts::accepted(&self.envelope, Some(self.body)), self.head_bytes, &mut head);
        }
        if head.len() != self.head_bytes {
            return Err(Error::damaged(&self.path, "the envelope does not fill its place"));
        }
        let file = self.file.as_ref().ok_or_else(gone)?;
        file.write_at(&head, 0)?;
        file.sync()?;
        let id = self.envelope.id;
        let name = self.layout.incoming_file(&id);
        self.disk.rename(&self.path, &name).map_err(durable::Error::io("rename", &self.path))?;
        self.path = name;
        let directory = self.layout.incoming();
        self.disk.sync_dir(&directory).map_err(durable::Error::io("sync", &directory))?;
        self.committed = true;
        Ok(Receipt { id, place: Place::File, record: Vec::new() })
    }
}

impl Part {
    /// The envelope has become larger than what was left free for it: moves the body back. From its end, so that nothing is
    /// overwritten that has not been moved yet.
    fn make_room(&mut self, head_bytes: usize) -> Result<(), Error> {
        let file = self.file.as_ref().ok_or_else(gone)?;
        let (from, to) = (self.head_bytes as u64, head_bytes as u64);
        let mut piece = vec![0; GATHER.min(usize::try_from(self.body.size_bytes).unwrap_or(GATHER))];
        let mut left = self.body.size_bytes;
        while left > 0 {
            let length = (piece.len() as u64).min(left);
            left -= length;
            let piece = &mut piece[..length as usize];
            file.read_exact_at(piece, from + left)?;
            file.write_at(piece, to + left)?;
        }
        self.head_bytes = head_bytes;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Also when the directory could not be synced: the client hears 451, so the message must not be found.
        if !self.committed && self.file.is_some() {
            let _ = self.disk.remove(&self.path);
        }
    }
}

/// Removes what a killed process had begun.
pub(crate) fn remove_partial(disk: &dyn Disk, layout: &Layout) {
    let directory = layout.incoming();
    for entry in disk.list(&directory).unwrap_or_default() {
        if entry.is_file && entry.name.ends_with(PART) {
            let path = directory.join(&entry.name);
            match disk.remove(&path) {
                Ok(()) => tracing::info!(file = %path.display(), "removed what an interrupted client had sent"),
                Err(error) => tracing::warn!(file = %path.display(), %error, "cannot remove"),
            }
        }
    }
}
