//! Mboxes as an account: unpacked beside the mail that they are for, so that queries, numbers and copying are those of any other account, and what
//! is copied takes no more room. It goes when the import is over; what one left behind that was killed goes with the next.

use crate::archive::mbox::Reader;
use crate::mail::{Person, Post};
use anyhow::{Context as _, bail};
use jiff::tz::TimeZone;
use mailstore::{Account, Location, Mailbox, MailboxName, mutf7};
use nix::fcntl::{Flock, FlockArg};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files that are open at once: they are opened with the rights of the caller, and read as the mail user.
const MOST_FILES: usize = 500;

/// Deepest folder that is looked into.
const DEEPEST: usize = 30;

/// Messages, and bytes, that are made durable in one go.
const BATCH: usize = 100;
const BATCH_BYTES: usize = 64 << 20;

const READ_BYTES: usize = 256 << 10;

/// In `tmp`, which is no mailbox in any layout.
const PREFIX: &str = "facteur.import.";

/// Files that are to be read.
#[derive(Default)]
pub struct Mboxes {
    /// Each as the mailbox of that name.
    files: BTreeMap<MailboxName, (PathBuf, File)>,
    /// Files whose names no mailbox can have.
    unfit: Vec<PathBuf>,
}

impl Mboxes {
    /// `FILE`, or `FOLDER[:INBOX=FILE]`, as Dovecot writes locations.
    pub fn open(text: &str) -> anyhow::Result<Mboxes> {
        let mut words = text.split(':');
        let path = Path::new(words.next().unwrap_or_default());
        let mut found = Mboxes::default();
        let open = |path: &Path| File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path);
        let inbox = words.map(|word| word.strip_prefix("INBOX=").with_context(|| format!("mbox: {word}: only INBOX= can be set")));
        let inbox = inbox.collect::<anyhow::Result<Vec<&str>>>()?;
        if path.is_dir() {
            let folder = File::options().read(true).custom_flags(libc::O_DIRECTORY).open(path);
            found.add_folder(&folder.with_context(|| path.display().to_string())?, path, "", 0)?;
        } else {
            found.add(MailboxName::inbox(), path.to_owned(), open(path))?;
        }
        for path in inbox {
            found.add(MailboxName::inbox(), path.into(), open(Path::new(path)))?;
        }
        Ok(found)
    }

    fn add(&mut self, name: MailboxName, path: PathBuf, file: std::io::Result<File>) -> anyhow::Result<()> {
        let file = file.with_context(|| path.display().to_string())?;
        if !file.metadata()?.is_file() {
            bail!("{} is no file", path.display());
        }
        if self.files.len() >= MOST_FILES {
            bail!("there are more than {MOST_FILES} files: import folder by folder");
        }
        if let Some((other, _)) = self.files.get(&name) {
            bail!("{name}: is this {}, or {}?", other.display(), path.display());
        }
        self.files.insert(name, (path, file));
        Ok(())
    }

    /// No link is followed: the folder may be somebody's who is not the caller.
    fn add_folder(&mut self, folder: &File, path: &Path, above: &str, depth: usize) -> anyhow::Result<()> {
        let open = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
        let mut entries = std::fs::read_dir(&open)?.collect::<std::io::Result<Vec<_>>>().with_context(|| path.display().to_string())?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let (kind, Ok(file_name)) = (entry.file_type()?, entry.file_name().into_string()) else { continue };
            let path = path.join(&file_name);
            // lists and indexes of programs, and what they lock with
            let is_other = file_name.starts_with('.')
                || file_name.starts_with("dovecot")
                || file_name.ends_with(".lock")
                || file_name.ends_with(".msf");
            if is_other || !(kind.is_dir() || kind.is_file()) {
                continue;
            }
            // Thunderbird has the mailboxes below `X` in the folder `X.sbd`
            let level = if kind.is_dir() { file_name.strip_suffix(".sbd").unwrap_or(&file_name) } else { &file_name };
            let name = format!("{above}{}", mutf7::decode(level).as_deref().unwrap_or(level));
            let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | if kind.is_dir() { libc::O_DIRECTORY } else { 0 };
            let file = File::options().read(true).custom_flags(flags).open(open.join(&file_name));
            match kind.is_dir() {
                true if depth >= DEEPEST => bail!("{}: the folders are nested too deeply", path.display()),
                true => self.add_folder(&file.with_context(|| path.display().to_string())?, &path, &format!("{name}."), depth + 1)?,
                false => match MailboxName::parse(&name).ok().filter(|_| !level.contains('.')) {
                    Some(name) => self.add(name, path, file)?,
                    None => self.unfit.push(path),
                },
            }
        }
        Ok(())
    }
}

/// Messages of mboxes in an account of their own, until this is dropped.
pub struct Unpacked {
    account: Arc<Account>,
    folder: PathBuf,
    _lock: Flock<File>,
}

impl Unpacked {
    /// Unpacks all; a file that is no mbox, or cannot be read, is told, and left out as a whole.
    pub fn new(post: &mut Post, person: &Person, account: &Account, mboxes: &Mboxes) -> anyhow::Result<Unpacked> {
        let tmp = account.root().join("tmp");
        clear(&tmp)?;
        let folder = tmp.join(format!("{PREFIX}{}.{}", std::process::id(), jiff::Timestamp::now().as_nanosecond()));
        std::fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        let lock = lock(&folder)?.context("somebody else unpacks here")?;
        std::fs::create_dir(folder.join("cur"))?;
        let unpacked = Unpacked { account: post.foreign(&Location::maildir(&folder)?)?, folder, _lock: lock };
        for path in &mboxes.unfit {
            post.screen.failed(&person.name, &anyhow::anyhow!("{}: no mailbox can have this name", path.display()));
        }
        for (name, (path, file)) in &mboxes.files {
            post.screen.doing(&format!("{} {name}", person.name));
            let mailbox = match name.is_inbox() {
                true => unpacked.account.open(name)?,
                false => unpacked.account.create(name).and_then(|()| unpacked.account.open(name))?,
            };
            if let Err(error) = unpack(&mailbox, file) {
                post.screen.failed(&person.name, &error.context(path.display().to_string()));
                let uids: Vec<u32> = mailbox.snapshot().iter().map(mailstore::Message::uid).collect();
                mailbox.expunge(&uids)?;
            }
        }
        Ok(unpacked)
    }

    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            tracing::warn!(path = %self.folder.display(), %error, "what was unpacked stays until the next import");
        }
    }
}

fn unpack(mailbox: &Mailbox, mut file: &File) -> anyhow::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    // what comes from here on is for another time
    let input = file.take(file.metadata()?.len());
    let mut reader = Reader::new(BufReader::with_capacity(READ_BYTES, input), TimeZone::system())?;
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while let Some(head) = reader.message()? {
        let mut incoming = mailbox.incoming(0)?;
        incoming.write(&head.header)?;
        bytes += head.header.len();
        reader.text(|piece| {
            bytes += piece.len();
            incoming.write(piece).map_err(anyhow::Error::from)
        })?;
        incoming.describe(head.flags, head.date);
        batch.push(incoming);
        if batch.len() >= BATCH || bytes >= BATCH_BYTES {
            mailbox.append(std::mem::take(&mut batch))?;
            bytes = 0;
        }
    }
    if !batch.is_empty() {
        mailbox.append(batch)?;
    }
    Ok(())
}

/// Removes what imports left that were killed.
fn clear(tmp: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(tmp).with_context(|| tmp.display().to_string())? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) && entry.file_type()?.is_dir() {
            let folder = entry.path();
            if let Ok(Some(_lock)) = lock(&folder) {
                std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
            }
        }
    }
    Ok(())
}

/// Held as long as the process lives; `None` when another has it.
fn lock(folder: &Path) -> anyhow::Result<Option<Flock<File>>> {
    let folder = File::options().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(folder)?;
    match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EAGAIN)) => Ok(None),
        Err((_, error)) => Err(error.into()),
    }
}
