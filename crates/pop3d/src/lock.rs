//! One session per mailbox: the file `dovecot-pop3-session.lock` in its folder, as Dovecot makes it with `pop3_lock_session`.
//!
//! The file holds `<pid>:<host>`. It is stale when that process of this host is gone, or when nobody touched it for five minutes; its owner
//! touches it every two. Our own sessions also hold a flock(2) on it, which the kernel gives back when the process dies, so that two
//! who find a stale file cannot both take it: only who has the flock may remove it.

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const NAME: &str = "dovecot-pop3-session.lock";

/// Dovecot's POP3_SESSION_DOTLOCK_STALE_TIMEOUT_SECS.
const STALE_AFTER: Duration = Duration::from_secs(5 * 60);

/// How often the owner touches the file.
pub const TOUCH_EVERY: Duration = Duration::from_secs(2 * 60);

/// The mailboxes that this process has locked.
#[derive(Debug, Clone, Default)]
pub struct Locks(Arc<Mutex<HashSet<PathBuf>>>);

/// A locked mailbox; given back when dropped.
#[derive(Debug)]
pub struct SessionLock {
    locks: Locks,
    root: PathBuf,
    file: Option<Flock<File>>,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("another session has the mailbox")]
    InUse,
    #[error("{path}: {error}", path = path.display())]
    Io { path: PathBuf, error: io::Error },
}

impl Locks {
    /// Locks the mailbox whose folder is `root`. Blocking, but never waits for the other session.
    pub fn acquire(&self, root: &Path) -> Result<SessionLock, LockError> {
        if !self.0.lock().insert(root.to_owned()) {
            return Err(LockError::InUse);
        }
        // From here on dropping it takes the entry back.
        let mut lock = SessionLock { locks: self.clone(), root: root.to_owned(), file: None };
        lock.file = Some(lock.create()?);
        Ok(lock)
    }
}

impl SessionLock {
    fn path(&self) -> PathBuf {
        self.root.join(NAME)
    }

    fn create(&self) -> Result<Flock<File>, LockError> {
        let path = self.path();
        let fail = |error: io::Error| LockError::Io { path: path.clone(), error };
        // Each turn either ends or removes one stale file; somebody who makes new ones all the time is a session.
        for _ in 0..5 {
            let new = OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW).open(&path);
            match new {
                Ok(file) => {
                    let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                        Ok(file) => file,
                        // Somebody looks whether it is stale, at this moment.
                        Err((_, Errno::EWOULDBLOCK)) => return Err(LockError::InUse),
                        Err((_, error)) => return Err(fail(error.into())),
                    };
                    // Who holds it is for people to read. On a full disk one must still be able to log in and delete mail.
                    let _ = file.write_all(format!("{}:{}", std::process::id(), host()).as_bytes());
                    return Ok(file);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match remove_stale(&path) {
                    Ok(true) => {}
                    Ok(false) => return Err(LockError::InUse),
                    Err(error) => return Err(fail(error)),
                },
                Err(error) => return Err(fail(error)),
            }
        }
        Err(LockError::InUse)
    }

    /// Tells other programs that the session lives. Blocking.
    pub fn touch(&self) {
        if let Some(file) = &self.file
            && let Err(error) = file.set_modified(SystemTime::now())
        {
            tracing::warn!(path = %self.path().display(), %error, "cannot touch the lock of the mailbox");
        }
    }
}

impl Drop for SessionLock {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            let path = self.path();
            // Dovecot may have taken it over, had we been stopped for long.
            let ours =
                matches!((file.metadata(), std::fs::symlink_metadata(&path)), (Ok(a), Ok(b)) if (a.dev(), a.ino()) == (b.dev(), b.ino()));
            if ours && let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot remove the lock of the mailbox");
            }
        }
        self.locks.0.lock().remove(&self.root);
    }
}

// True when the file is gone now.
fn remove_stale(path: &Path) -> io::Result<bool> {
    let file = match OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => file,
        Err((_, Errno::EWOULDBLOCK)) => return Ok(false),
        Err((_, error)) => return Err(error.into()),
    };
    let (held, named) = match std::fs::symlink_metadata(path) {
        Ok(named) => (file.metadata()?, named),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    if (held.dev(), held.ino()) != (named.dev(), named.ino()) {
        // Another file by now; look again.
        return Ok(true);
    }
    let mut owner = String::new();
    // A file that is no text has no owner to ask for.
    let _ = (&mut *file).take(300).read_to_string(&mut owner);
    let age = held.modified()?.elapsed().unwrap_or_default();
    if age < STALE_AFTER && owner_lives(&owner) {
        return Ok(false);
    }
    tracing::info!(path = %path.display(), owner = %mail_types::printable(&owner), "removing the lock of a session that is gone");
    std::fs::remove_file(path)?;
    Ok(true)
}

// An owner that we cannot judge (another host, a file just made) counts as alive. We hold the flock, so it is no session of ours:
// our own number there is that of a predecessor.
fn owner_lives(owner: &str) -> bool {
    let Some((pid, at)) = owner.trim().split_once(':') else { return true };
    let Ok(pid) = pid.parse::<i32>() else { return true };
    if at != host() || pid <= 0 {
        return true;
    }
    pid as u32 != std::process::id() && nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None) != Err(Errno::ESRCH)
}

fn host() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_has_one_session_at_a_time() {
        let folder = testkit::temp_dir();
        let locks = Locks::default();
        let lock = locks.acquire(folder.path()).expect("free");
        assert!(matches!(locks.acquire(folder.path()), Err(LockError::InUse)));
        // As another process would see it.
        assert!(matches!(Locks::default().acquire(folder.path()), Err(LockError::InUse)));
        lock.touch();
        drop(lock);
        assert!(!folder.path().join(NAME).exists());
        drop(locks.acquire(folder.path()).expect("free again"));
    }

    #[test]
    fn locks_of_other_programs_are_respected_while_their_owner_lives() {
        let folder = testkit::temp_dir();
        let path = folder.path().join(NAME);
        let parent = nix::unistd::getppid();
        for (owner, free) in [
            (format!("{parent}:{}", host()), false),
            ("1:another.host".to_owned(), false),
            (String::new(), false),
            // Ours in name, but without the flock: of a process before us.
            (format!("{}:{}", std::process::id(), host()), true),
            // Numbers of processes end far below.
            (format!("{}:{}", i32::MAX, host()), true),
        ] {
            std::fs::write(&path, &owner).expect("write");
            assert_eq!(Locks::default().acquire(folder.path()).is_ok(), free, "{owner}");
            let _ = std::fs::remove_file(&path);
        }
        std::fs::write(&path, "1:another.host").expect("write");
        let old = SystemTime::now() - STALE_AFTER - Duration::from_secs(1);
        File::options().write(true).open(&path).and_then(|f| f.set_modified(old)).expect("touch");
        assert!(Locks::default().acquire(folder.path()).is_ok());
    }

    #[test]
    fn a_failure_is_no_session() {
        let folder = testkit::temp_dir();
        let locks = Locks::default();
        let missing = folder.path().join("missing");
        assert!(matches!(locks.acquire(&missing), Err(LockError::Io { .. })));
        assert!(matches!(locks.acquire(&missing), Err(LockError::Io { .. })));
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join(NAME)).expect("link");
        assert!(matches!(locks.acquire(folder.path()), Err(LockError::Io { .. })));
    }
}
