//! Starting a daemon with the sockets that are held for it, as systemd would.

use super::sockets::Held;
use config::Endpoint;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::{Child, Command};

// sd_listen_fds(3): the first one passed.
const FIRST: RawFd = 3;
/// As many sockets as one daemon can be passed.
const MOST: RawFd = 256;

/// Keeps the numbers that passed sockets get in a child from being used here: the child's own pipe for reporting a failed exec
/// could otherwise have one of them. Held as long as daemons are started.
#[derive(Debug)]
pub struct LowNumbers(#[allow(dead_code, reason = "held for its drop only")] Vec<OwnedFd>);

impl LowNumbers {
    pub fn reserve() -> io::Result<LowNumbers> {
        let null = File::open("/dev/null")?;
        let mut held = Vec::new();
        loop {
            let copy: OwnedFd = null.try_clone()?.into();
            let number = copy.as_raw_fd();
            held.push(copy);
            if number >= FIRST + MOST {
                return Ok(LowNumbers(held));
            }
        }
    }
}

/// What a start needs.
#[derive(Debug)]
pub struct Plan<'a> {
    pub binary: PathBuf,
    pub settings: &'a Path,
    pub sockets: &'a [Held],
    pub notify: &'a Path,
}

pub fn start(plan: &Plan<'_>, _numbers: &LowNumbers) -> io::Result<Child> {
    if plan.sockets.len() > MOST as usize {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("more than {MOST} sockets for one daemon")));
    }
    let mut command = Command::new(&plan.binary);
    command.arg("--config").arg(plan.settings);
    command.env("LISTEN_FDS", plan.sockets.len().to_string()).env("LISTEN_FDNAMES", names(plan.sockets)).env_remove("LISTEN_PID");
    command.env("NOTIFY_SOCKET", plan.notify).env_remove("WATCHDOG_USEC").env_remove("JOURNAL_STREAM");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    // Ctrl-C reaches every process of the terminal's group; the supervisor decides when daemons stop.
    command.process_group(0);
    let numbers: Vec<RawFd> = plan.sockets.iter().map(|held| held.socket.as_raw_fd()).collect();
    let parent = std::process::id() as libc::pid_t;
    // SAFETY: between fork and exec only system calls are made, on memory that was prepared before.
    unsafe {
        command.pre_exec(move || {
            // No descriptor of ours lies in 3..3+MOST (`LowNumbers`), so none is overwritten before it was copied.
            for (target, number) in (FIRST..).zip(&numbers) {
                if libc::dup2(*number, target) == -1 {
                    return Err(io::Error::last_os_error());
                }
            }
            // When the supervisor is killed, its daemons end too rather than hold ports that nobody watches.
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) == -1 {
                return Err(io::Error::last_os_error());
            }
            if libc::getppid() != parent {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        });
    }
    command.spawn()
}

// A socket with a long path is bound through a descriptor of ours; the daemon knows it by this name.
fn names(sockets: &[Held]) -> String {
    let name = |held: &Held| match &held.endpoint {
        Endpoint::Tcp(address) => format!("tcp-{}", address.port()),
        Endpoint::Unix(path) => path.to_string_lossy().replace('%', "%25").replace(':', "%3A"),
    };
    sockets.iter().map(name).collect::<Vec<_>>().join(":")
}
