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

pub mod mbox;
pub mod tar;

use anyhow::{Context as _, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The first file of a backup; the number is the version of the layout.
pub const LABEL: &str = "facteur-backup";

/// The list of UIDs of a mailbox.
pub const LIST: &str = "dovecot-uidlist";

/// Deepest nesting of folders that is looked into: mailboxes of `LAYOUT=fs` lie in each other.
const DEEPEST: usize = 40;

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

    /// The directories of mailboxes (`Maildir`, `Maildir/.Sent`): where a list of UIDs or a message is. What is out of sight in a Maildir, as names
    /// that begin with two dots, `tmp`, and messages that were removed, is left out.
    pub fn mailboxes(&self) -> BTreeSet<&str> {
        let folder = |path: &'_ str| -> Option<usize> {
            let (folder, file) = path.rsplit_once('/')?;
            match folder.rsplit_once('/') {
                _ if file == LIST => Some(folder.len()),
                Some((mailbox, "cur" | "new")) if !file.starts_with('.') => Some(mailbox.len()),
                _ => None,
            }
        };
        let folders = self.entries.keys().filter_map(|path| path.get(..folder(path)?));
        folders.filter(|folder| is_in_sight(folder)).collect()
    }

    /// Files below a directory, with the rest of their paths.
    pub fn below<'s>(&'s self, folder: &str) -> impl Iterator<Item = (&'s str, &'s Entry)> + use<'s> {
        let prefix = format!("{folder}/");
        let first = self.entries.range(prefix.clone()..);
        first.map_while(move |(path, entry)| path.strip_prefix(&prefix).map(|rest| (rest, entry)))
    }
}

fn is_in_sight(folder: &str) -> bool {
    let mut levels = folder.split('/');
    levels.next() == Some("Maildir") && !levels.any(|level| level == "tmp" || level.starts_with("..") || level == "facteur.expunged")
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
        if kind.is_dir() && depth < DEEPEST {
            collect(&entry.path(), &format!("{path}/"), depth + 1, entries)?;
        } else if kind.is_file() {
            let modified = entry.metadata()?.modified()?;
            entries.insert(path, Entry { modified, place: Place::File(entry.path()) });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(files: &[&str]) -> (tempfile::TempDir, anyhow::Result<Source>) {
        let temp = tempfile::tempdir().expect("folder");
        for file in files {
            let path = temp.path().join(file);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("made");
            std::fs::write(path, "x").expect("written");
        }
        let source = Source::folder(temp.path());
        (temp, source)
    }

    #[test]
    fn a_folder_with_messages_is_a_mailbox_with_or_without_a_list() {
        let (_temp, source) = source(&[
            "cur/1.a:2,S",
            ".Sent/new/2.b",
            ".Empty/dovecot-uidlist",
            "Work/2026/Q1/cur/3.c:2,",
            // nothing of this is mail that anybody sees
            "tmp/facteur.expunged/1795392000/cur/4.d:2,S",
            "facteur.expunged/1795392000/.Sent/dovecot-uidlist",
            "..restoring/1.M2P3Q4.h/mailbox/cur/5.e:2,S",
            ".Sent/tmp/6.f",
            "courierimapsubscribed",
        ]);
        let source = source.expect("a Maildir");
        let found: Vec<&str> = source.mailboxes().into_iter().collect();
        assert_eq!(found, ["Maildir", "Maildir/.Empty", "Maildir/.Sent", "Maildir/Work/2026/Q1"]);
    }
}
