//! Dot locks as Dovecot takes them: a file `NAME.lock` created with `O_EXCL`, holding `PID:HOSTNAME`.
//!
//! A lock is stale, and removed, when its process is gone (same host) or when it has not changed for as long as [`Rules`] say (other hosts,
//! unreadable content). Our own locks also hold a flock(2) on the file, which the kernel gives back when the process dies: who has it may
//! judge and remove the file, nobody else may, so that of two that find a stale lock one takes it.

use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::dir::{Dir, Stamp};
use crate::error::{Error, Result};

/// How long a lock counts as held.
#[derive(Clone, Copy)]
struct Rules {
    /// Without a change of the file, when its owner cannot be asked for.
    unknown: Duration,
    /// Even when its owner lives; for locks that are touched.
    known: Duration,
}

/// Locks for the time of a change (Dovecot's own limit). A living owner keeps it, however long it takes.
const CHANGE: Rules = Rules { unknown: Duration::from_secs(120), known: Duration::MAX };

/// Dovecot's POP3_SESSION_DOTLOCK_STALE_TIMEOUT_SECS.
const SESSION: Rules = Rules { unknown: Duration::from_secs(5 * 60), known: Duration::from_secs(5 * 60) };

/// Dovecot's name, made by its `pop3_lock_session`.
const SESSION_FILE: &str = "dovecot-pop3-session.lock";

/// A lock held; removed when dropped.
pub(crate) struct DotLock {
    dir: Dir,
    name: String,
    file: Held,
}

/// The file of a lock, with flock where the file system has that.
enum Held {
    Flock(Flock<File>),
    Plain(File),
}

impl Held {
    fn file(&self) -> &File {
        match self {
            Held::Flock(file) => file,
            Held::Plain(file) => file,
        }
    }
}

/// A mailbox taken by one POP3 session (RFC 1939 §4), with Dovecot's lock file; given back when dropped.
pub struct SessionLock(DotLock);

impl SessionLock {
    /// How often the owner has to [`SessionLock::touch`] it.
    pub const TOUCH_EVERY: Duration = Duration::from_secs(2 * 60);

    /// Never waits for the other session: `Locked`.
    pub(crate) fn take(dir: &Dir) -> Result<SessionLock> {
        take(dir, SESSION_FILE, Duration::ZERO, SESSION).map(SessionLock)
    }

    /// Tells other programs that the session lives. Blocking.
    pub fn touch(&self) {
        if let Err(error) = self.0.file.file().set_modified(SystemTime::now()) {
            tracing::warn!(path = %self.0.dir.at(&self.0.name).display(), %error, "cannot touch the lock of the mailbox");
        }
    }
}

/// Takes the lock `name` in `dir`, waiting at most `patience`.
pub(crate) fn lock(dir: &Dir, name: &str, patience: Duration) -> Result<DotLock> {
    take(dir, name, patience, CHANGE)
}

fn take(dir: &Dir, name: &str, patience: Duration, rules: Rules) -> Result<DotLock> {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_millis(1);
    loop {
        match dir.create(name) {
            Ok(file) => {
                if let Some(lock) = hold(dir, name, file)? {
                    return Ok(lock);
                }
                continue;
            }
            Err(error) if error.is_taken() => {}
            Err(error) => return Err(error),
        }
        if remove_stale(dir, name, rules)? {
            continue;
        }
        if Instant::now() >= deadline {
            return Err(Error::Locked { path: dir.at(name) });
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Makes the file just created a lock. `None` when somebody took it for a stale one.
fn hold(dir: &Dir, name: &str, file: File) -> Result<Option<DotLock>> {
    // waits only for somebody who looks at this moment whether it is stale
    let held = match Flock::lock(file, FlockArg::LockExclusive) {
        Ok(file) => Held::Flock(file),
        Err((file, _)) => Held::Plain(file),
    };
    let lock = DotLock { dir: dir.clone(), name: name.to_owned(), file: held };
    if !lock.is_ours()? {
        return Ok(None);
    }
    // the content is for others' staleness check only: a failed write makes a lock that ages out
    let _ = lock.file.file().write_all(format!("{}:{}", std::process::id(), hostname()).as_bytes());
    Ok(Some(lock))
}

/// Removes the lock when its holder is gone. True when it is worth trying again at once.
fn remove_stale(dir: &Dir, name: &str, rules: Rules) -> Result<bool> {
    let file = match dir.open_file(name) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(true),
        Err(error) => return Err(error),
    };
    let (file, is_flocked) = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => (Held::Flock(file), true),
        Err((_, Errno::EWOULDBLOCK)) => return Ok(false),
        Err((file, _)) => (Held::Plain(file), false),
    };
    let stat = nix::sys::stat::fstat(file.file()).map_err(|e| Error::io("stat", dir.at(name), e))?;
    let mut content = String::new();
    // content that is no text names no owner
    let _ = file.file().take(512).read_to_string(&mut content);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    let age = Duration::from_secs(now.saturating_sub(stat.st_mtime).max(0) as u64);
    let owner = content.trim().split_once(':').filter(|(_, host)| *host == hostname()).and_then(|(pid, _)| pid.parse::<u32>().ok());
    let is_stale = match owner {
        // every lock of this process has its flock: with our number and without one it is that of a predecessor
        Some(pid) if pid == std::process::id() && is_flocked => true,
        Some(pid) => !is_alive(pid, stat.st_mtime, age, rules) || age > rules.known,
        None => age > rules.unknown,
    };
    // removed meanwhile, and maybe taken anew: with the flock held on the file there, nobody of us removes it now
    if !is_stale || !dir.stamp(name)?.is_some_and(|found| found.same_file(&Stamp::of(&stat))) {
        return Ok(false);
    }
    tracing::warn!(lock = %dir.at(name).display(), holder = %content.escape_debug(), "removing the lock of a process that is gone");
    dir.unlink(name)?;
    Ok(true)
}

/// True when process `pid` exists and was there when the lock was made. In a container every daemon gets the same pid
/// after a restart, so the number alone says little.
fn is_alive(pid: u32, locked_at: i64, age: Duration, rules: Rules) -> bool {
    let Some(number) = i32::try_from(pid).ok().filter(|number| *number > 0) else { return false };
    if nix::sys::signal::kill(nix::unistd::Pid::from_raw(number), None) == Err(Errno::ESRCH) {
        return false;
    }
    match started_at(number) {
        // a second of tolerance: clocks are compared in whole seconds
        Some(started) => started <= locked_at + 1,
        // proc(5) hidden by a sandbox: nobody holds a lock on a mailbox that long
        None => age <= rules.unknown,
    }
}

/// Start of a process in seconds since 1970, from proc(5).
fn started_at(pid: i32) -> Option<i64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // field 22; the second field (the command) may hold spaces and brackets
    let ticks: i64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    // not from /proc/stat: ProcSubset=pid of our units hides it
    let clock = |id| nix::time::clock_gettime(id).ok().map(|time| time.tv_sec());
    let boot = clock(nix::time::ClockId::CLOCK_REALTIME)? - clock(nix::time::ClockId::CLOCK_BOOTTIME)?;
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    Some(boot + ticks / per_second)
}

/// The name Dovecot writes: gethostname(), not the configured one.
fn hostname() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default()
}

impl DotLock {
    /// False when the file there is another's: ours was overridden. Size and time change when content is written, so the file's identity
    /// decides.
    fn is_ours(&self) -> Result<bool> {
        let stat = nix::sys::stat::fstat(self.file.file()).map_err(|e| Error::io("stat", self.dir.at(&self.name), e))?;
        Ok(self.dir.stamp(&self.name)?.is_some_and(|found| found.same_file(&Stamp::of(&stat))))
    }
}

impl Drop for DotLock {
    fn drop(&mut self) {
        if self.is_ours().is_ok_and(|ours| ours)
            && let Err(error) = self.dir.unlink(&self.name)
        {
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

    fn set_age(dir: &Dir, name: &str, age: Duration) {
        File::options().write(true).open(dir.at(name)).unwrap().set_modified(SystemTime::now() - age).unwrap();
    }

    fn dead_process() -> u32 {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let dead = child.id();
        child.wait().unwrap();
        dead
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
        let parent = nix::unistd::getppid();
        for (owner, free) in [
            (format!("{}:{}", dead_process(), hostname()), true),
            // numbers of processes end far below
            (format!("{}:{}", i32::MAX, hostname()), true),
            (format!("{parent}:{}", hostname()), false),
            ("1:another-host".to_owned(), false),
            (String::new(), false),
            // ours in name, but without the flock: of a process before us
            (format!("{}:{}", std::process::id(), hostname()), true),
        ] {
            for rules in [CHANGE, SESSION] {
                std::fs::write(dir.at("x.lock"), &owner).unwrap();
                assert_eq!(take(&dir, "x.lock", Duration::ZERO, rules).is_ok(), free, "{owner}");
            }
        }
        std::fs::write(dir.at("x.lock"), "1:another-host").unwrap();
        set_age(&dir, "x.lock", Duration::from_secs(200));
        assert!(take(&dir, "x.lock", Duration::ZERO, SESSION).is_err());
        drop(lock(&dir, "x.lock", Duration::ZERO).unwrap());
    }

    #[test]
    fn a_session_that_no_longer_touches_its_lock_loses_it_to_another_program() {
        let (_temp, dir) = temp();
        // pid 1 was there before
        std::fs::write(dir.at(SESSION_FILE), format!("1:{}", hostname())).unwrap();
        set_age(&dir, SESSION_FILE, Duration::from_secs(301));
        drop(SessionLock::take(&dir).unwrap());
        // ours is not taken away from us, whatever its time says: the flock proves that we live
        let held = SessionLock::take(&dir).unwrap();
        set_age(&dir, SESSION_FILE, Duration::from_secs(301));
        assert!(matches!(SessionLock::take(&dir), Err(Error::Locked { .. })));
        held.touch();
        assert!(
            std::fs::metadata(dir.at(SESSION_FILE)).unwrap().modified().unwrap().elapsed().unwrap_or_default() < Duration::from_secs(200)
        );
    }

    #[test]
    fn of_many_that_find_a_stale_lock_one_at_a_time_has_it() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let (_temp, dir) = temp();
        let stale = format!("{}:{}", dead_process(), hostname());
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        for _ in 0..200 {
            std::fs::write(dir.at("x.lock"), &stale).unwrap();
            let start = std::sync::Barrier::new(4);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        start.wait();
                        let held = lock(&dir, "x.lock", Duration::from_secs(30)).unwrap();
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(held);
                    });
                }
            });
        }
        assert_eq!(most.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_stale_lock_that_somebody_looks_at_is_left_to_him() {
        let (_temp, dir) = temp();
        std::fs::write(dir.at("x.lock"), format!("{}:{}", dead_process(), hostname())).unwrap();
        let other = Flock::lock(File::open(dir.at("x.lock")).unwrap(), FlockArg::LockExclusive).unwrap();
        assert!(matches!(lock(&dir, "x.lock", Duration::ZERO), Err(Error::Locked { .. })));
        drop(other);
        drop(lock(&dir, "x.lock", Duration::ZERO).unwrap());
    }

    #[test]
    fn a_link_in_place_of_a_lock_is_a_failure() {
        let (_temp, dir) = temp();
        std::os::unix::fs::symlink("/etc/passwd", dir.at(SESSION_FILE)).unwrap();
        assert!(matches!(SessionLock::take(&dir), Err(Error::Unsafe { .. })));
    }

    /// The child of the test below, under strace.
    #[test]
    fn child_asks_when_a_process_started() {
        if std::env::var_os("MAILSTORE_STARTED").is_some() {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
            let started = started_at(std::process::id() as i32).map(|started| (now - 600..=now + 1).contains(&started));
            println!("started lately {started:?}");
        }
    }

    /// Our units hide all of proc(5) but the processes; a living owner keeps its lock there too.
    #[test]
    fn when_a_process_started_is_known_without_the_rest_of_proc() {
        let output = std::process::Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-P", "/proc/stat", "-e", "inject=openat:error=ENOENT"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "lock::tests::child_asks_when_a_process_started", "--nocapture"])
            .env("MAILSTORE_STARTED", "1")
            .output();
        let Ok(output) = output else {
            println!("skipped: strace is not installed");
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("started lately Some(true)"), "{text} {}", String::from_utf8_lossy(&output.stderr));
    }

    #[test]
    fn our_own_pid_in_a_lock_from_before_we_started_is_stale() {
        let (_temp, dir) = temp();
        // as seen where flock is not to be had
        let long_ago = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64 - 86_400;
        assert!(!is_alive(std::process::id(), long_ago, Duration::from_secs(86_400), CHANGE));
        std::fs::write(dir.at("x.lock"), format!("{}:{}", std::process::id(), hostname())).unwrap();
        set_age(&dir, "x.lock", Duration::from_secs(86_400));
        drop(lock(&dir, "x.lock", Duration::ZERO).unwrap());
    }
}
