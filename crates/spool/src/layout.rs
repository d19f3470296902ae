//! Names inside the spool directory.

use durable::{Disk, Error, create_dir_all};
use mail_types::QueueId;
use std::path::{Path, PathBuf};

/// The spool directory.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

const SEGMENT_SUFFIX: &str = ".segment";

impl Layout {
    pub fn new(root: impl Into<PathBuf>) -> Layout {
        Layout { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    pub fn segment(&self, generation: u64) -> PathBuf {
        self.root.join(format!("journal/{generation:016x}{SEGMENT_SUFFIX}"))
    }

    pub fn incoming(&self) -> PathBuf {
        self.root.join("queue/in")
    }

    pub fn incoming_file(&self, id: &QueueId) -> PathBuf {
        self.root.join("queue/in").join(id.as_str())
    }

    pub fn queue(&self) -> PathBuf {
        self.root.join("queue")
    }

    pub fn queue_directory(&self, id: &QueueId) -> PathBuf {
        self.root.join("queue").join(id.directory())
    }

    pub fn queue_file(&self, id: &QueueId) -> PathBuf {
        self.queue_directory(id).join(id.as_str())
    }

    pub fn outcomes(&self) -> PathBuf {
        self.root.join("queue/outcomes")
    }

    pub fn outcome_file(&self, number: u64) -> PathBuf {
        self.root.join(format!("queue/outcomes/{number:016x}"))
    }

    /// Room for the next outcome file.
    pub fn outcome_spare(&self) -> PathBuf {
        self.root.join("queue/outcomes/spare")
    }

    pub fn corrupt(&self) -> PathBuf {
        self.root.join("corrupt")
    }

    pub fn maildrop(&self) -> PathBuf {
        self.root.join("maildrop")
    }

    /// Creates what smtpd writes to. An installation has it from tmpfiles.d, with owners and groups.
    pub fn create_for_smtpd(&self, disk: &dyn Disk) -> Result<(), Error> {
        self.create_root(disk)?;
        create_dir_all(disk, &self.root, &self.journal(), 0o750)
    }

    /// Creates what qmgr writes to. `queue` can be passed through by smtpd, on its way to `queue/in`, but not listed.
    pub fn create_for_qmgr(&self, disk: &dyn Disk) -> Result<(), Error> {
        self.create_root(disk)?;
        for (path, mode) in
            [(self.queue(), 0o711), (self.incoming(), 0o1770), (self.outcomes(), 0o700), (self.corrupt(), 0o700), (self.maildrop(), 0o1730)]
        {
            create_dir_all(disk, &self.root, &path, mode)?;
        }
        // What is there may have been made by a start that ended before its name was durable.
        [self.queue(), self.root.clone()].iter().try_for_each(|path| disk.sync_dir(path).map_err(Error::io("sync", path)))
    }

    fn create_root(&self, disk: &dyn Disk) -> Result<(), Error> {
        // Above the spool directory nothing is ours to create, but the chain from an empty --root is.
        create_dir_all(disk, Path::new("/"), &self.root, 0o755)
    }

    /// Generations for which there is a file, in order. Other names in the directory are left alone.
    pub fn generations(&self, disk: &dyn Disk) -> Result<Vec<u64>, Error> {
        let mut generations: Vec<u64> = list_or_empty(disk, &self.journal())?
            .into_iter()
            .filter(|e| e.is_file)
            .filter_map(|e| parse_hex(e.name.strip_suffix(SEGMENT_SUFFIX)?))
            .collect();
        generations.sort_unstable();
        Ok(generations)
    }

    /// Numbers of the outcome files, in order.
    pub fn outcome_numbers(&self, disk: &dyn Disk) -> Result<Vec<u64>, Error> {
        let mut numbers: Vec<u64> =
            list_or_empty(disk, &self.outcomes())?.into_iter().filter(|e| e.is_file).filter_map(|e| parse_hex(&e.name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }
}

pub(crate) fn list_or_empty(disk: &dyn Disk, path: &Path) -> Result<Vec<durable::Entry>, Error> {
    match disk.list(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        result => result.map_err(Error::io("list", path)),
    }
}

fn parse_hex(text: &str) -> Option<u64> {
    let ok = text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    ok.then(|| u64::from_str_radix(text, 16).ok())?
}
