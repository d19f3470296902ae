//! Backups of accounts: a tar, or a folder with the same files in it.
//!
//! ```text
//! facteur-backup              version, account, time
//! Maildir/dovecot-uidlist     INBOX, as mailstore::Dump has it
//! Maildir/cur/NAME
//! Maildir/subscriptions
//! Maildir/.Sent/dovecot-uidlist …
//! home/.dovecot.sieve         Sieve scripts, where there are any
//! home/sieve/NAME
//! ```
//! A folder that is a Maildir itself, as Dovecot has it, can be restored from, too.

pub mod tar;

use anyhow::{Context as _, bail};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The first file of a backup; the number is the version of the layout.
pub const LABEL: &str = "facteur-backup";

/// Where a backup goes.
pub enum Sink {
    Tar(tar::Writer<File>),
    Folder(PathBuf),
}

impl Sink {
    pub fn file(&mut self, path: &str, size: u64, modified: SystemTime, bytes: impl Read) -> anyhow::Result<()> {
        match self {
            Sink::Tar(tar) => tar.file(path, size, modified, bytes).with_context(|| path.to_owned()),
            Sink::Folder(folder) => {
                let path = folder.join(path);
                let write = || {
                    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
                    std::io::copy(&mut bytes.take(size), &mut file)?;
                    file.set_modified(modified)
                };
                write().with_context(|| path.display().to_string())
            }
        }
    }

    pub fn folder(&mut self, path: &str) -> anyhow::Result<()> {
        match self {
            Sink::Tar(tar) => tar.folder(path).with_context(|| path.to_owned()),
            Sink::Folder(folder) => {
                let path = folder.join(path);
                std::fs::create_dir_all(&path).with_context(|| path.display().to_string())
            }
        }
    }

    /// Complete and on the disk; before that it is no backup.
    pub fn finish(self) -> anyhow::Result<()> {
        match self {
            Sink::Tar(tar) => {
                let file = tar.finish()?;
                match file.sync_all() {
                    // a pipe or a terminal has nothing to sync
                    Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
                    synced => Ok(synced?),
                }
            }
            Sink::Folder(folder) => Ok(nix::unistd::syncfs(File::open(folder)?)?),
        }
    }
}

/// A file in a backup.
#[derive(Debug, Clone)]
pub struct Entry {
    pub modified: SystemTime,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Tar { offset: u64, size: u64 },
    File(PathBuf),
}

/// A backup to restore from: what files it has, by their paths.
pub struct Source {
    pub entries: BTreeMap<String, Entry>,
    tar: Option<File>,
}

impl Source {
    /// A tar that can be read at any place.
    pub fn tar(mut file: File) -> anyhow::Result<Source> {
        file.seek(SeekFrom::Start(0))?;
        let mut entries = BTreeMap::new();
        for entry in tar::Reader::new(std::io::BufReader::new(file.try_clone()?)) {
            let entry = entry?;
            let place = match &entry.link {
                None => Place::Tar { offset: entry.offset, size: entry.size },
                // the bytes stand in the archive itself: what is outside is never looked at
                Some(link) => {
                    let first: Option<&Entry> = entries.get(&plain(link));
                    first.map(|first| first.place.clone()).with_context(|| format!("{}: {link} is not in the archive", entry.path))?
                }
            };
            entries.insert(plain(&entry.path), Entry { modified: entry.modified, place });
        }
        Source { entries, tar: Some(file) }.checked()
    }

    /// A folder: a backup, or a Maildir, whose files then are below `Maildir/`.
    pub fn folder(folder: &Path) -> anyhow::Result<Source> {
        let mut entries = BTreeMap::new();
        let prefix = if folder.join("cur").is_dir() { "Maildir/" } else { "" };
        collect(folder, prefix, 0, &mut entries)?;
        Source { entries, tar: None }.checked()
    }

    fn checked(self) -> anyhow::Result<Source> {
        if !self.entries.keys().any(|path| path.starts_with("Maildir/")) {
            bail!("this is no backup: there is no Maildir in it");
        }
        Ok(self)
    }

    /// The bytes of a file.
    pub fn open(&self, entry: &Entry) -> anyhow::Result<Box<dyn Read + '_>> {
        match (&entry.place, &self.tar) {
            (Place::Tar { offset, size }, Some(tar)) => {
                let mut tar: &File = tar;
                tar.seek(SeekFrom::Start(*offset))?;
                Ok(Box::new(std::io::BufReader::new(tar.take(*size))))
            }
            (Place::File(path), _) => {
                let open = File::options().read(true).custom_flags(libc::O_NOFOLLOW).open(path);
                Ok(Box::new(open.with_context(|| path.display().to_string())?))
            }
            (Place::Tar { .. }, None) => bail!("the tar is gone"),
        }
    }

    /// The mailboxes: the directory of each (`Maildir`, `Maildir/.Sent`), by the lists of UIDs, without which UIDs could not be kept.
    pub fn mailboxes(&self) -> Vec<String> {
        let folders = self.entries.keys().filter_map(|path| path.strip_suffix("/dovecot-uidlist"));
        folders.filter(|folder| folder.split('/').count() <= 2 && folder.starts_with("Maildir")).map(str::to_owned).collect()
    }

    /// Files below a directory, with the rest of their paths.
    pub fn below<'s>(&'s self, folder: &str) -> impl Iterator<Item = (&'s str, &'s Entry)> + use<'s> {
        let prefix = format!("{folder}/");
        let first = self.entries.range(prefix.clone()..);
        first.map_while(move |(path, entry)| path.strip_prefix(&prefix).map(|rest| (rest, entry)))
    }
}

/// A path as it is looked for: `.//a/./b` is `a/b`.
fn plain(path: &str) -> String {
    path.split('/').filter(|level| !matches!(*level, "" | ".")).collect::<Vec<_>>().join("/")
}

fn collect(folder: &Path, prefix: &str, depth: usize, entries: &mut BTreeMap<String, Entry>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let (kind, Ok(name)) = (entry.file_type()?, entry.file_name().into_string()) else { continue };
        let path = format!("{prefix}{name}");
        if kind.is_dir() && depth < 4 {
            collect(&entry.path(), &format!("{path}/"), depth + 1, entries)?;
        } else if kind.is_file() {
            let modified = entry.metadata()?.modified()?;
            entries.insert(path, Entry { modified, place: Place::File(entry.path()) });
        }
    }
    Ok(())
}
