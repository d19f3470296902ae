//! Answers of our own accounts file that still hold.
//!
//! A question to SQLite goes to a thread and back; a webmail asks the same ones for every page. An answer holds as long as the file and its
//! write-ahead log are what they were before it was asked for: every change, by whatever program, goes through a write to one of them, which
//! sets its time. Times move in ticks (of some milliseconds; of seconds on file systems that know nothing finer), so an answer is remembered
//! only when the last change was longer ago than a tick when it was asked for: a change that comes later then has another time.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tables::sql::Row;

/// Longer than a tick of any kernel; and than one of file systems with coarse times, whose fractions of seconds are zero.
const TICK: Duration = Duration::from_millis(50);
const COARSE_TICK: Duration = Duration::from_millis(2_100);
/// Answers; one is some hundred bytes.
const LIMIT: usize = 16_384;

pub(super) struct Known {
    files: [PathBuf; 2],
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    stamp: Option<Stamp>,
    rows: HashMap<(usize, String), Option<Row>>,
}

/// What both files were at a time: device, inode, size, time of the last write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp([Option<(u64, u64, u64, SystemTime)>; 2]);

impl Stamp {
    /// Whether a change after `now` shows in it.
    fn is_settled(&self, now: SystemTime) -> bool {
        self.0.iter().flatten().all(|(.., modified)| {
            let is_coarse = modified.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|time| time.subsec_nanos() == 0);
            now.duration_since(*modified).is_ok_and(|age| age >= if is_coarse { COARSE_TICK } else { TICK })
        })
    }
}

impl Known {
    pub fn new(database: &Path) -> Known {
        let mut log = database.as_os_str().to_owned();
        log.push("-wal");
        Known { files: [database.to_owned(), log.into()], held: Mutex::default() }
    }

    /// What the files are now. Two system calls on a local file; `None` when they cannot be looked at.
    pub fn stamp(&self) -> Option<Stamp> {
        let mut stamp = Stamp([None; 2]);
        for (of_file, path) in stamp.0.iter_mut().zip(&self.files) {
            match std::fs::metadata(path) {
                Ok(meta) => *of_file = Some((meta.dev(), meta.ino(), meta.size(), meta.modified().ok()?)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(_) => return None,
            }
        }
        Some(stamp)
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

    /// Remembers an answer that was asked for when the files were as in `stamp`.
    pub fn keep(&self, stamp: Stamp, asked: SystemTime, question: usize, key: &str, row: Option<Row>) {
        if !stamp.is_settled(asked) {
            return;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_until_one_of_the_files_is_written_to() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("accounts.sqlite");
        std::fs::write(&file, "a").expect("write");
        let known = Known::new(&file);
        let row = Some(Row { values: vec![Some("x".into())], ..Row::default() });
        let later = || SystemTime::now() + Duration::from_secs(10);
        let stamp = known.stamp().expect("stamp");
        assert_eq!(known.get(stamp, 1, "k"), None);
        known.keep(stamp, SystemTime::now() - Duration::from_secs(1), 1, "k", row.clone());
        assert_eq!(known.get(stamp, 1, "k"), None, "a change may have been in the same tick");
        known.keep(stamp, later(), 1, "k", row.clone());
        known.keep(stamp, later(), 1, "nobody", None);
        assert_eq!((known.get(stamp, 1, "k"), known.get(stamp, 1, "nobody")), (Some(row.clone()), Some(None)));
        assert_eq!((known.get(stamp, 2, "k"), known.get(stamp, 1, "other")), (None, None));

        std::fs::write(folder.path().join("accounts.sqlite-wal"), "frame").expect("write");
        let now = known.stamp().expect("stamp");
        assert_eq!(known.get(now, 1, "k"), None);
        // asked for before the change, and told after it
        known.keep(stamp, later(), 1, "k", row);
        assert_eq!(known.get(now, 1, "k"), None);
    }
}
