//! Answers of our own accounts file that still hold.
//!
//! A question to SQLite goes to a thread and back; a webmail asks the same ones for every page. The file is in WAL mode, where every change,
//! by whatever program, becomes visible by a new header of the index of the log, in shared memory that is a file beside it
//! (`-shm`, 48 bytes at its start: a count of changes, the last valid frame, checksums; "WAL-mode file format" of SQLite's documentation). So an
//! answer holds as long as that header is what it was before the question was asked. A header that is read while it is being written fits
//! no other, and so costs one question.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use tables::sql::Row;

/// Answers; one is some hundred bytes.
const LIMIT: usize = 16_384;

const HEADER_BYTES: usize = 48;

pub(super) struct Known {
    database: PathBuf,
    index: PathBuf,
    open: Mutex<Option<(File, u64)>>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    stamp: Option<Stamp>,
    rows: HashMap<(usize, String), Option<Row>>,
}

/// What the database was at a time: device and inode of the file, header of the log's index.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    file: (u64, u64),
    header: [u8; HEADER_BYTES],
}

impl Known {
    /// `None` when the file's own name cannot be found out: SQLite puts its files beside what a link leads to.
    pub fn new(database: &Path) -> Option<Known> {
        let database = database.canonicalize().ok()?;
        let mut index = database.as_os_str().to_owned();
        index.push("-shm");
        Some(Known { database, index: index.into(), open: Mutex::default(), held: Mutex::default() })
    }

    /// What the database is now. A few system calls on local files; `None` when it cannot be told, as before the first connection.
    pub fn stamp(&self) -> Option<Stamp> {
        let database = std::fs::metadata(&self.database).ok()?;
        let inode = std::fs::metadata(&self.index).ok()?.ino();
        let mut open = self.open.lock();
        if open.as_ref().is_none_or(|(_, known)| *known != inode) {
            let file = File::open(&self.index).ok()?;
            let inode = file.metadata().ok()?.ino();
            *open = Some((file, inode));
        }
        let mut header = [0; HEADER_BYTES];
        open.as_ref()?.0.read_exact_at(&mut header, 0).ok()?;
        // nothing was read or written through it yet
        (header != [0; HEADER_BYTES]).then_some(Stamp { file: (database.dev(), database.ino()), header })
    }

    /// The answer to question number `question` about `key`, when it holds.
    pub fn get(&self, stamp: Stamp, question: usize, key: &str) -> Option<Option<Row>> {
        let mut held = self.held.lock();
        if held.stamp != Some(stamp) {
            *held = Held { stamp: Some(stamp), rows: HashMap::new() };
            return None;
        }
        held.rows.get(&(question, key.to_owned())).cloned()
    }

    /// Remembers an answer that was asked for after `stamp` was taken.
    pub fn keep(&self, stamp: Stamp, question: usize, key: &str, row: Option<Row>) {
        let mut held = self.held.lock();
        if held.stamp != Some(stamp) {
            return;
        }
        if held.rows.len() >= LIMIT {
            held.rows.clear();
        }
        held.rows.insert((question, key.to_owned()), row);
    }
}
