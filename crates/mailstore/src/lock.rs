//! Dot locks as Dovecot takes them: a file `NAME.lock` created with `O_EXCL`, holding `PID:HOSTNAME`.
//!
//! A lock is stale, and removed, when its process is gone (same host) or, for other hosts and unreadable content, when it
//! has not changed for two minutes (Dovecot's own limit).

use std::io::{Read, Write};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::dir::{Dir, Stamp};
use crate::error::{Error, Result};

const STALE_AFTER_SECONDS: i64 = 120;

/// A lock held; removed when dropped.
pub(crate) struct DotLock {
    dir: Dir,
    name: String,
    stamp: Option<Stamp>,
}

/// Takes the lock `name` in `dir`, waiting at most `patience`.
pub(crate) fn lock(dir: &Dir, name: &str, patience: Duration) -> Result<DotLock> {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_millis(1);
    loop {
        match dir.create(name) {
            Ok(mut file) => {
                // content is for others' staleness check only: a failed write makes a lock that ages out
                let content = format!("{}:{}", std::process::id(), hostname());
                let _ = file.write_all(content.as_bytes());
                let stamp = nix::sys::stat::fstat(&file).ok().map(|stat| Stamp::of(&stat));
                return Ok(DotLock { dir: dir.clone(), name: name.to_owned(), stamp });
            }
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        if remove_stale(dir, name)? {
            continue;
        }
        if Instant::now() >= deadline {
            return Err(Error::Locked { path: dir.at(name) });
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Removes the lock when its holder is gone. True when it is worth trying again at once.
fn remove_stale(dir: &Dir, name: &str) -> Result<bool> {
    let mut content = String::new();
    let file = match dir.open_file(name) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(true),
        Err(error) => return Err(error),
    };
    let stat = nix::sys::stat::fstat(&file).map_err(|e| Error::io("stat", dir.at(name), e))?;
    let _ = file.take(512).read_to_string(&mut content);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    let stale = match content.split_once(':') {
        Some((pid, host)) if host == hostname() => match pid.parse() {
            Ok(pid) => !is_alive(pid, stat.st_mtime, now),
            Err(_) => now - stat.st_mtime > STALE_AFTER_SECONDS,
        },
        _ => now - stat.st_mtime > STALE_AFTER_SECONDS,
    };
    // somebody else may have removed it and taken the lock since we read it
    if !stale || dir.stamp(name)? != Some(Stamp::of(&stat)) {
        return Ok(false);
    }
    tracing::warn!(lock = %dir.at(name).display(), holder = %content.escape_debug(), "removing the lock of a process that is gone");
    dir.unlink(name)?;
    Ok(true)
}

/// True when process `pid` exists and was there when the lock was made. In a container every daemon gets the same pid
/// after a restart, so the number alone says little.
fn is_alive(pid: i32, locked_at: i64, now: i64) -> bool {
    if pid <= 0 || nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None) == Err(nix::errno::Errno::ESRCH) {
        return false;
    }
    match started_at(pid) {
        // a second of tolerance: boot time is given in whole seconds
        Some(started) => started <= locked_at + 1,
        // proc(5) hidden by a sandbox: nobody holds a lock on a mailbox that long
        None => now - locked_at <= STALE_AFTER_SECONDS,
    }
}

/// Start of a process in seconds since 1970, from proc(5).
fn started_at(pid: i32) -> Option<i64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // field 22; the second field (the command) may hold spaces and brackets
    let ticks: i64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let boot: i64 =
        std::fs::read_to_string("/proc/stat").ok()?.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    Some(boot + ticks / per_second)
}

/// The name Dovecot writes: gethostname(), not the configured one.
fn hostname() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default()
}

impl Drop for DotLock {
    fn drop(&mut self) {
        // overridden while we held it: the file there is another's. Size and time change when content was written, so
        // the file's identity decides
        let ours = match (self.dir.stamp(&self.name), self.stamp) {
            (Ok(Some(found)), Some(made)) => found.same_file(&made),
            _ => false,
        };
        if ours && let Err(error) = self.dir.unlink(&self.name) {
            tracing::warn!(%error, "cannot remove a lock of ours");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temp() -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::create_root(&temp.path().join("m")).unwrap();
        (temp, dir)
    }

    #[test]
    fn a_lock_excludes_and_is_gone_after() {
        let (_temp, dir) = temp();
        let held = lock(&dir, "x.lock", Duration::ZERO).unwrap();
        assert!(matches!(lock(&dir, "x.lock", Duration::from_millis(5)), Err(Error::Locked { .. })));
        drop(held);
        assert!(dir.stat("x.lock").unwrap().is_none());
    }

    #[test]
    fn locks_of_dead_processes_and_old_foreign_ones_are_removed() {
        let (_temp, dir) = temp();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let dead = child.id();
        child.wait().unwrap();
        std::fs::write(dir.at("x.lock"), format!("{dead}:{}", hostname())).unwrap();
        drop(lock(&dir, "x.lock", Duration::ZERO).unwrap());

        std::fs::write(dir.at("x.lock"), "1:another-host").unwrap();
        assert!(lock(&dir, "x.lock", Duration::ZERO).is_err());
        let long_ago = SystemTime::now() - Duration::from_secs(200);
        File::options().write(true).open(dir.at("x.lock")).unwrap().set_modified(long_ago).unwrap();
        drop(lock(&dir, "x.lock", Duration::ZERO).unwrap());
    }

    #[test]
    fn our_own_pid_in_a_lock_from_before_we_started_is_stale() {
        let (_temp, dir) = temp();
        std::fs::write(dir.at("x.lock"), format!("{}:{}", std::process::id(), hostname())).unwrap();
        assert!(lock(&dir, "x.lock", Duration::ZERO).is_err());
        let long_ago = SystemTime::now() - Duration::from_secs(86_400);
        File::options().write(true).open(dir.at("x.lock")).unwrap().set_modified(long_ago).unwrap();
        drop(lock(&dir, "x.lock", Duration::ZERO).unwrap());
    }

    use std::fs::File;
}
