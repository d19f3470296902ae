//! Listening sockets passed by systemd or `facteur up` (sd_listen_fds(3)).

use config::Endpoint;
use nix::sys::socket::{SockType, getsockopt, sockopt};
use parking_lot::Mutex;
use socket2::{SockAddr, SockRef};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

const FIRST: RawFd = 3;

/// The sockets that came with the process and nobody has asked for yet.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Mutex<Vec<(Endpoint, OwnedFd)>>,
}

impl Inherited {
    /// Takes what the environment announces. Descriptors that are no listening stream sockets are closed and described
    /// in the second value. As systemd has it, the sockets are ours when `LISTEN_PID` is our pid; `facteur up`, which
    /// cannot know the pid before the process exists, leaves it out.
    ///
    /// # Safety
    /// Descriptors 3 and up must belong to nobody else yet, and no other thread may run: call it first thing in `main`.
    pub unsafe fn take() -> (Inherited, Vec<String>) {
        let get = |name: &str| std::env::var(name).ok();
        let ours = get("LISTEN_PID").is_none_or(|pid| pid.parse() == Ok(std::process::id()));
        let count: RawFd = get("LISTEN_FDS").and_then(|n| n.parse().ok()).filter(|n| (0..=4096).contains(n)).unwrap_or(0);
        let names = get("LISTEN_FDNAMES").unwrap_or_default();
        for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
            // SAFETY: no other thread runs yet.
            unsafe { std::env::remove_var(name) };
        }
        let mut warnings = Vec::new();
        let mut sockets = Vec::new();
        let mut names = names.split(':');
        for fd in FIRST..FIRST + if ours { count } else { 0 } {
            let name = names.next();
            // SAFETY: fcntl on a number that is no descriptor fails and does nothing else.
            if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
                warnings.push(format!("descriptor {fd} was announced by LISTEN_FDS, but is not open"));
                continue;
            }
            // SAFETY: it is open, and by the contract of this function nobody else has it.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            match endpoint_of(&fd, name) {
                Ok(endpoint) => sockets.push((endpoint, fd)),
                Err(error) => warnings.push(format!("an inherited descriptor is closed: {error}")),
            }
        }
        (Inherited { sockets: Mutex::new(sockets) }, warnings)
    }

    /// The socket that is bound to `endpoint`.
    pub fn claim(&self, endpoint: &Endpoint) -> Option<OwnedFd> {
        let mut sockets = self.sockets.lock();
        let at = sockets.iter().position(|(have, _)| same(have, endpoint))?;
        Some(sockets.swap_remove(at).1)
    }

    /// Closes what nobody asked for, so that its clients are refused rather than left waiting.
    pub fn close_rest(&self) -> Vec<Endpoint> {
        std::mem::take(&mut *self.sockets.lock()).into_iter().map(|(endpoint, _)| endpoint).collect()
    }
}

fn same(have: &Endpoint, want: &Endpoint) -> bool {
    match (have, want) {
        (Endpoint::Unix(have), Endpoint::Unix(want)) => have == want || canonical(have).is_some_and(|h| Some(h) == canonical(want)),
        // Where the kernel has no IPv6, systemd binds `[::]` as `0.0.0.0`.
        (Endpoint::Tcp(have), Endpoint::Tcp(want)) => {
            have == want || (have.port() == want.port() && have.ip() == Ipv4Addr::UNSPECIFIED && want.ip() == Ipv6Addr::UNSPECIFIED)
        }
        _ => false,
    }
}

// The file may be reached by a symbolic link (/var/run) or through a directory descriptor.
fn canonical(path: &Path) -> Option<PathBuf> {
    Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?))
}

fn endpoint_of(fd: &OwnedFd, name: Option<&str>) -> io::Result<Endpoint> {
    let fault = |text: &str| io::Error::new(io::ErrorKind::InvalidInput, text);
    let is_stream = getsockopt(&fd.as_fd(), sockopt::SockType)? == SockType::Stream;
    if !is_stream || !getsockopt(&fd.as_fd(), sockopt::AcceptConn)? {
        return Err(fault("it is no listening stream socket"));
    }
    let address: SockAddr = SockRef::from(fd).local_addr()?;
    if let Some(address) = address.as_socket() {
        return Ok(Endpoint::Tcp(address));
    }
    match address.as_pathname() {
        Some(path) => Ok(Endpoint::Unix(resolve(path, name))),
        None => Err(fault("it is bound to neither an IP address nor a path")),
    }
}

// A path longer than 107 bytes was bound through a directory descriptor of the supervisor, whose number means nothing here; the
// supervisor then gives the path as the descriptor's name, with `%` and `:` escaped.
fn resolve(path: &Path, name: Option<&str>) -> PathBuf {
    match name {
        Some(name) if path.starts_with("/proc/self/fd") => PathBuf::from(name.replace("%3A", ":").replace("%25", "%")),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_known_by_its_address() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
        let address = tcp.local_addr().expect("address");
        assert_eq!(endpoint_of(&tcp.into(), None).expect("endpoint"), Endpoint::Tcp(address));
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("s");
        let unix = std::os::unix::net::UnixListener::bind(&path).expect("bind");
        assert_eq!(endpoint_of(&unix.into(), Some("x")).expect("endpoint"), Endpoint::Unix(path));
        let (a, _b) = std::os::unix::net::UnixStream::pair().expect("pair");
        assert!(endpoint_of(&a.into(), None).is_err());
        let file = std::fs::File::open("/dev/null").expect("null");
        assert!(endpoint_of(&file.into(), None).is_err());
    }

    #[test]
    fn a_claimed_socket_is_given_once_and_the_rest_is_closed() {
        let dir = tempfile::tempdir().expect("directory");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).expect("symlink");
        let socket = |name: &str| {
            let path = dir.path().join(name);
            let fd: OwnedFd = std::os::unix::net::UnixListener::bind(&path).expect("bind").into();
            (Endpoint::Unix(path), fd)
        };
        let inherited = Inherited { sockets: Mutex::new(vec![socket("a"), socket("b")]) };
        assert!(inherited.claim(&Endpoint::Unix(link.join("a"))).is_some());
        assert!(inherited.claim(&Endpoint::Unix(dir.path().join("a"))).is_none());
        assert_eq!(inherited.close_rest(), [Endpoint::Unix(dir.path().join("b"))]);
        assert!(inherited.close_rest().is_empty());
    }

    #[test]
    fn a_long_path_comes_as_the_name() {
        assert_eq!(resolve(Path::new("/proc/self/fd/9/auth"), Some("/very%3Along/100%25/auth")), Path::new("/very:long/100%/auth"));
        assert_eq!(resolve(Path::new("/run/auth"), Some("other")), Path::new("/run/auth"));
    }
}
