//! The start counter that keeps queue ids from ever coming again.
//!
//! `journal/state` is text: the line `facteur-journal-state 1`, then `start N`. Each start of smtpd adds one, durably,
//! before the first id is made. Where the file is lost or damaged, a random start stands in: together with the second of
//! acceptance and the sequence it meets no earlier id.

use crate::{Error, Layout};
use durable::{Disk, File, replace};
use mail_types::{QueueId, QueueIds};
use parking_lot::RwLock;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

const VERSION_LINE: &str = "facteur-journal-state 1";
const STARTS: u32 = 1 << 25;

#[derive(Debug)]
pub(crate) struct Ids {
    disk: Arc<dyn Disk>,
    layout: Layout,
    current: RwLock<QueueIds>,
}

impl Ids {
    pub(crate) fn open(disk: Arc<dyn Disk>, layout: Layout) -> Result<Ids, Error> {
        let start = next_start(&*disk, &layout)?;
        Ok(Ids { disk, layout, current: RwLock::new(QueueIds::new(start)) })
    }

    /// A new id.
    pub(crate) fn next(&self) -> QueueId {
        let seconds = now_seconds();
        loop {
            if let Some(id) = self.current.read().next(seconds) {
                return id;
            }
            // 33 million messages without a restart: begin a new start, once.
            let mut current = self.current.write();
            if let Some(id) = current.next(seconds) {
                return id;
            }
            let start = next_start(&*self.disk, &self.layout).unwrap_or_else(|error| {
                tracing::warn!(%error, "the start counter cannot be kept; a random one stands in");
                random_start()
            });
            *current = QueueIds::new(start);
        }
    }
}

fn next_start(disk: &dyn Disk, layout: &Layout) -> Result<u32, Error> {
    let path = layout.journal().join("state");
    let last = match File::open(disk, &path, false) {
        Ok(file) => parse(&file.read_all(4096)?),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error.into()),
    };
    let start = match last {
        Some(last) => (last + 1) % STARTS,
        None => random_start(),
    };
    replace(disk, &path, format!("{VERSION_LINE}\nstart {start}\n").as_bytes(), 0o640)?;
    Ok(start)
}

fn parse(bytes: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(bytes).ok()?;
    let start = text.strip_prefix(VERSION_LINE)?.strip_prefix("\nstart ")?.strip_suffix('\n')?;
    start.parse().ok().filter(|n| *n < STARTS)
}

fn random_start() -> u32 {
    getrandom::u32().unwrap_or_else(|_| now_seconds() as u32) % STARTS
}

pub(crate) fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use durable::simulated::SimulatedDisk;

    #[test]
    fn every_start_has_a_number_of_its_own_also_after_a_power_cut() {
        let mut disk = SimulatedDisk::new();
        let layout = Layout::new("/spool");
        layout.create_for_smtpd(&disk).expect("directories");
        let mut seen = std::collections::HashSet::new();
        for step in 0..60 {
            disk.power_off_after(step % 7);
            if let Ok(start) = next_start(&disk, &layout) {
                assert!(seen.insert(start), "start {start} came again");
            }
            disk = disk.reboot(step);
        }
        assert!(seen.len() > 10);
    }

    #[test]
    fn a_damaged_counter_is_replaced_by_a_random_one() {
        for text in
            ["", "facteur-journal-state 2\nstart 1\n", "facteur-journal-state 1\nstart 99999999\n", "facteur-journal-state 1\nstart 1"]
        {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse(b"facteur-journal-state 1\nstart 41\n"), Some(41));
    }
}
