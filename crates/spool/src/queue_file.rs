//! Queue files: a file per message for what waits longer.
//!
//! `queue/XX/ID`, where XX are the last two characters of the id: the text of `envelope.rs` with the lines `size` and
//! `xxh3`, then the body. A file never changes once its message lives in it; what became of its recipients stands in the outcome
//! journal (outcome.rs). While it is written it is called `ID.new`; such a file means nothing and is removed.
//!
//! Large messages come the same way into `queue/in/ID` from smtpd (large.rs), and qmgr moves them to `queue/XX/ID`.
//!
//! What is no message of ours in these directories, or is damaged, goes to `corrupt/` under a name that tells where it
//! was; it is neither followed, opened nor deleted.

use crate::envelope::{self, BodySum, Parts, Stored};
use crate::layout::list_or_empty;
use crate::{Error, Layout};
use durable::{Disk, File};
use mail_types::QueueId;
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// From so many files on, one flush of the file system is cheaper than a sync for each and for each of their directories.
const TOGETHER: usize = 8;

/// The queue files of a spool.
#[derive(Debug, Clone)]
pub struct QueueFiles {
    disk: Arc<dyn Disk>,
    layout: Layout,
    /// Directories whose own names are durable. Those that are there may have been made by somebody whose sync of `queue` failed.
    lasting: Arc<Mutex<HashSet<PathBuf>>>,
}

/// A message that was read from its file: the envelope, and where the body lies.
#[derive(Debug)]
pub struct QueueFile {
    pub stored: Stored,
    pub body_offset: u64,
    pub body_bytes: u64,
    file: File,
}

impl QueueFile {
    /// The body, when it is not larger than `limit_bytes`.
    pub fn body(&self, limit_bytes: u64) -> Result<Vec<u8>, Error> {
        if self.body_bytes > limit_bytes {
            return Err(Error::damaged(self.file.path(), format!("{} bytes of body are more than {limit_bytes}", self.body_bytes)));
        }
        let mut body = vec![0; self.body_bytes as usize];
        self.file.read_exact_at(&mut body, self.body_offset)?;
        if self.stored.body.is_some_and(|sum| sum.xxh3 != xxh3_64(&body)) {
            return Err(Error::damaged(self.file.path(), "the body does not match its checksum"));
        }
        Ok(body)
    }

    /// Reads part of the body.
    pub fn read_body_at(&self, buffer: &mut [u8], at: u64) -> Result<usize, Error> {
        Ok(self.file.read_at(buffer, self.body_offset + at)?)
    }

    /// Reads all of the body against its checksum.
    pub fn verify(&self) -> Result<(), Error> {
        let mut sum = Xxh3::new();
        let mut buffer = vec![0; 256 << 10];
        let mut at = 0;
        while at < self.body_bytes {
            let n = self.read_body_at(&mut buffer, at)?;
            if n == 0 {
                break;
            }
            sum.update(&buffer[..n]);
            at += n as u64;
        }
        if at != self.body_bytes || self.stored.body.is_some_and(|want| want.xxh3 != sum.digest()) {
            return Err(Error::damaged(self.file.path(), "the body does not match its checksum"));
        }
        Ok(())
    }

    /// The file for streaming; `None` on a simulated disk.
    pub fn to_std(&self) -> Result<Option<std::fs::File>, Error> {
        Ok(self.file.to_std()?)
    }

    pub fn path(&self) -> &Path {
        self.file.path()
    }
}

impl QueueFiles {
    pub fn new(disk: Arc<dyn Disk>, layout: Layout) -> QueueFiles {
        QueueFiles { disk, layout, lasting: Arc::default() }
    }

    /// Writes files for these messages; when it returns `Ok` all of them are durable. One that is there already is replaced: it was left
    /// by a move that failed, after which some recipients of its message were delivered to; or its directory could not be synced, and a
    /// second sync of what the first one gave up proves nothing.
    pub fn write(&self, messages: &[(Stored, Arc<[u8]>)]) -> Result<(), Error> {
        let file_system = self.disk.file_system(&self.layout.queue()).map_err(durable::Error::io("open", &self.layout.queue()))?;
        let mut directories = BTreeSet::new();
        let mut fresh = Vec::new();
        for (stored, body) in messages {
            let id = stored.envelope.id;
            let (path, directory) = (self.layout.queue_file(&id), self.layout.queue_directory(&id));
            if !directories.contains(&directory) {
                self.disk.create_dir(&directory, 0o700).map_err(durable::Error::io("create", &directory))?;
                directories.insert(directory);
            }
            let temporary = path.with_extension("new");
            match self.disk.remove(&temporary) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(durable::Error::io("remove", &temporary)(e).into()),
                _ => {}
            }
            let mut bytes = Vec::with_capacity(1024 + body.len());
            let sum = BodySum { size_bytes: body.len() as u64, xxh3: xxh3_64(body) };
            let Stored { envelope, expanded, first, .. } = stored;
            envelope::encode_parts(Parts { envelope, expanded: *expanded, first, body: Some(sum) }, 0, &mut bytes);
            if bytes.len() > envelope::LIMIT_BYTES {
                return Err(Error::damaged(&path, "the envelope is larger than could be read again"));
            }
            bytes.extend_from_slice(body);
            let file = File::create(&*self.disk, &temporary, 0o600)?;
            file.write_at(&bytes, 0)?;
            fresh.push((file, temporary, path));
        }
        // Content before names, names before `Ok`: each file alone, or all together.
        let flush = || file_system.flush().map_err(durable::Error::io("flush", &self.layout.queue()));
        let together = fresh.len() >= TOGETHER;
        if together {
            flush()?;
        }
        for (file, temporary, path) in fresh {
            if !together {
                file.sync()?;
            }
            self.disk.rename(&temporary, &path).map_err(durable::Error::io("rename", &temporary))?;
        }
        let sync = |directory: &Path| self.disk.sync_dir(directory).map_err(durable::Error::io("sync", directory));
        if together {
            flush()?;
        } else {
            directories.iter().try_for_each(|directory| sync(directory))?;
            let all_last = directories.iter().all(|directory| self.lasting.lock().contains(directory));
            if !all_last {
                sync(&self.layout.queue())?;
            }
        }
        self.lasting.lock().extend(directories);
        Ok(())
    }

    /// Opens the file of a message, in `queue/XX` or `queue/in`. `Error::is_not_found` when there is none.
    pub fn open(&self, id: &QueueId) -> Result<QueueFile, Error> {
        match self.open_path(&self.layout.queue_file(id), id) {
            Err(error) if error.is_not_found() => self.open_path(&self.layout.incoming_file(id), id),
            result => result,
        }
    }

    fn open_path(&self, path: &Path, id: &QueueId) -> Result<QueueFile, Error> {
        let file = File::open(&*self.disk, path, false).map_err(|error| match error {
            // A link, FIFO or directory under the name of a message.
            durable::Error::Io { ref source, .. } if is_odd(source) => Error::damaged(path, "not a regular file"),
            error => error.into(),
        })?;
        let size = file.size()?;
        let mut head = vec![0; size.min(4096) as usize];
        file.read_exact_at(&mut head, 0)?;
        let decoded = match envelope::decode(&head) {
            Err(envelope::Damage::Unended) if size > 4096 => {
                head.resize(size.min(envelope::LIMIT_BYTES as u64) as usize, 0);
                file.read_exact_at(&mut head, 0)?;
                envelope::decode(&head)
            }
            decoded => decoded,
        };
        let (stored, body) = decoded.map_err(|damage| Error::of_envelope(path, damage))?;
        let body_bytes = size - body as u64;
        if stored.envelope.id != *id {
            return Err(Error::damaged(path, format!("it holds the message {}", stored.envelope.id)));
        }
        if stored.body.is_some_and(|sum| sum.size_bytes != body_bytes) {
            return Err(Error::damaged(path, format!("its body has {body_bytes} bytes, not what its envelope says")));
        }
        Ok(QueueFile { stored, body_offset: body as u64, body_bytes, file })
    }

    /// Removes the file of a message whose outcomes are synced. That it is gone already is no error.
    pub fn remove(&self, id: &QueueId) -> Result<(), Error> {
        for path in [self.layout.queue_file(id), self.layout.incoming_file(id)] {
            match self.disk.remove(&path) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(durable::Error::io("remove", &path)(e).into()),
            }
        }
        Ok(())
    }

    /// Ids of all queue files, those in `queue/in` among them. What does not belong is set aside.
    pub fn list(&self) -> Result<Vec<QueueId>, Error> {
        let mut ids = self.list_incoming()?;
        for entry in list_or_empty(&*self.disk, &self.layout.queue())? {
            let name = entry.name;
            let is_bucket = !entry.is_file && name.len() == 2 && name != "in";
            if is_bucket {
                self.list_directory(&self.layout.queue().join(name), &mut ids)?;
            } else if entry.is_file {
                self.set_aside(&self.layout.queue().join(name), "a file that does not belong here");
            }
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// Ids of the messages that smtpd has put into `queue/in`.
    pub fn list_incoming(&self) -> Result<Vec<QueueId>, Error> {
        let mut ids = Vec::new();
        self.list_directory(&self.layout.incoming(), &mut ids)?;
        Ok(ids)
    }

    fn list_directory(&self, directory: &Path, ids: &mut Vec<QueueId>) -> Result<(), Error> {
        let incoming = directory == self.layout.incoming();
        for entry in list_or_empty(&*self.disk, directory)? {
            let path = directory.join(&entry.name);
            match QueueId::parse(&entry.name) {
                Ok(id) if entry.is_file && (incoming || directory == self.layout.queue_directory(&id)) => ids.push(id),
                _ if entry.is_file && incoming && entry.name.ends_with(".part") => {} // smtpd is writing it
                _ if entry.is_file && !incoming && entry.name.ends_with(".new") => {
                    // Begun before a crash; the message is still where it came from.
                    self.disk.remove(&path).map_err(durable::Error::io("remove", &path))?;
                }
                _ => self.set_aside(&path, "it does not belong here"),
            }
        }
        Ok(())
    }

    /// Moves whatever is at `path` to `corrupt/`, and says so. A name that cannot be moved stays and is reported again.
    pub fn set_aside(&self, path: &Path, reason: &str) {
        match self.aside_name(path).and_then(|to| self.disk.rename(path, &to).map(|()| to)) {
            Ok(to) => tracing::error!(file = %path.display(), moved_to = %to.display(), reason, "set aside what is damaged"),
            Err(error) => tracing::error!(file = %path.display(), reason, %error, "cannot set aside what is damaged"),
        }
    }

    /// Sets aside the file of a message, wherever it is.
    pub fn set_aside_message(&self, id: &QueueId, reason: &str) {
        for path in [self.layout.queue_file(id), self.layout.incoming_file(id)] {
            if self.disk.exists(&path).unwrap_or(true) {
                self.set_aside(&path, reason);
            }
        }
    }

    /// Keeps the bytes of a damaged record. After `Ok` they are durable, so that the record may be settled.
    pub fn set_aside_bytes(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, Error> {
        let to = self.layout.corrupt().join(name);
        durable::replace(&*self.disk, &to, bytes, 0o600)?;
        tracing::error!(file = %to.display(), bytes = bytes.len(), "set aside a damaged record");
        Ok(to)
    }

    fn aside_name(&self, path: &Path) -> std::io::Result<PathBuf> {
        let relative = path.strip_prefix(self.layout.root()).unwrap_or(path).to_string_lossy().replace('/', "_");
        let mut to = self.layout.corrupt().join(&relative);
        let mut count = 1;
        while self.disk.exists(&to)? {
            count += 1;
            to = self.layout.corrupt().join(format!("{relative}.{count}"));
        }
        Ok(to)
    }
}

// ELOOP: a symbolic link with O_NOFOLLOW. ENXIO: a socket or device. InvalidInput: what `Disk::open` found to be no file.
fn is_odd(error: &std::io::Error) -> bool {
    const ELOOP: i32 = 40;
    const ENXIO: i32 = 6;
    error.kind() == std::io::ErrorKind::InvalidInput || matches!(error.raw_os_error(), Some(ELOOP | ENXIO))
}
