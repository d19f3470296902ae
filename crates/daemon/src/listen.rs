//! Listening sockets: taken from the supervisor, or bound here.

use crate::context::Ready;
use crate::inherited::Inherited;
use crate::stream::{Peer, Stream};
use config::Endpoint;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::path::Path;
use std::sync::Arc;
use tokio::net::{TcpListener, UnixListener};

/// Who may connect to a Unix socket, and how many may wait. Without effect on TCP, save for the backlog, and on a socket
/// that a supervisor has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketOptions {
    pub mode: u32,
    /// Names or numbers; `None` leaves the owner as it is.
    pub user: Option<String>,
    pub group: Option<String>,
    pub backlog: i32,
    /// What a client hears that is refused for too many connections, such as `421 …`; empty: the connection is just closed.
    pub refusal: &'static [u8],
}

impl Default for SocketOptions {
    fn default() -> SocketOptions {
        SocketOptions { mode: 0o600, user: None, group: None, backlog: 1024, refusal: b"" }
    }
}

impl SocketOptions {
    pub fn mode(mode: u32) -> SocketOptions {
        SocketOptions { mode, ..SocketOptions::default() }
    }

    pub fn refusal(self, refusal: &'static [u8]) -> SocketOptions {
        SocketOptions { refusal, ..self }
    }
}

/// A socket that accepts connections.
#[derive(Debug)]
pub struct Listener {
    kind: Kind,
    pub(crate) refusal: &'static [u8],
    /// The address of accepted connections, when it does not have to be asked for each.
    local: Option<SocketAddr>,
    inherited: bool,
    /// Told at the first accept.
    ready: Option<Arc<Ready>>,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Makes a listener of a socket that came with the process, or binds. Needs a runtime.
    pub(crate) fn open(endpoint: &Endpoint, options: &SocketOptions, inherited: &Inherited, ready: &Arc<Ready>) -> io::Result<Listener> {
        if let Some(fd) = inherited.claim(endpoint) {
            return Listener::from_fd(fd, endpoint, options.refusal, true, ready);
        }
        Listener::from_fd(bind(endpoint, options)?, endpoint, options.refusal, false, ready)
    }

    fn from_fd(fd: OwnedFd, endpoint: &Endpoint, refusal: &'static [u8], inherited: bool, ready: &Arc<Ready>) -> io::Result<Listener> {
        let ready = Some(ready.clone());
        let socket = Socket::from(fd);
        socket.set_nonblocking(true)?;
        match endpoint {
            Endpoint::Tcp(_) => {
                // Linux hands it on to every accepted connection.
                socket.set_tcp_nodelay(true)?;
                let listener = TcpListener::from_std(socket.into())?;
                let local = listener.local_addr().ok().filter(|a| !a.ip().is_unspecified());
                Ok(Listener { kind: Kind::Tcp(listener), refusal, local, inherited, ready })
            }
            Endpoint::Unix(_) => {
                let listener = UnixListener::from_std(socket.into())?;
                Ok(Listener { kind: Kind::Unix(listener), refusal, local: None, inherited, ready })
            }
        }
    }

    /// The bound address; `None` for a Unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Tcp(listener) => listener.local_addr().ok(),
            Kind::Unix(_) => None,
        }
    }

    /// Whether a supervisor holds the socket, so that clients wait in its backlog while we are away.
    pub fn is_inherited(&self) -> bool {
        self.inherited
    }

    /// For a listener whose accepts do not mean that the program serves.
    pub(crate) fn without_readiness(self) -> Listener {
        Listener { ready: None, ..self }
    }

    /// The next connection. Cancel safe.
    pub async fn accept(&self) -> io::Result<(Stream, Peer)> {
        if let Some(ready) = &self.ready {
            ready.tell();
        }
        match &self.kind {
            Kind::Tcp(listener) => {
                let (stream, addr) = listener.accept().await?;
                let local = match self.local {
                    Some(local) => Some(local),
                    None => stream.local_addr().ok().map(canonical),
                };
                Ok((stream.into(), Peer { addr: Some(canonical(addr)), local, credentials: None }))
            }
            Kind::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let credentials = stream.peer_cred().ok().map(|c| (c.uid(), c.gid(), c.pid().unwrap_or(0)));
                Ok((stream.try_into()?, Peer { credentials, ..Peer::default() }))
            }
        }
    }
}

fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// A socket that listens at `endpoint`, not yet used by any runtime: for a supervisor that passes it on.
pub fn bind(endpoint: &Endpoint, options: &SocketOptions) -> io::Result<OwnedFd> {
    Ok(match endpoint {
        Endpoint::Tcp(address) => bind_tcp(*address, options.backlog)?.into(),
        Endpoint::Unix(path) => bind_unix(path, options)?.into(),
    })
}

/// Binds a TCP socket. `[::]` takes IPv4 too; any other IPv6 address takes IPv6 only.
fn bind_tcp(address: SocketAddr, backlog: i32) -> io::Result<Socket> {
    let socket = match Socket::new(Domain::for_address(address), Type::STREAM, None) {
        // A kernel without IPv6 still serves all of its addresses.
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) && address.ip() == Ipv6Addr::UNSPECIFIED => {
            return bind_tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())), backlog);
        }
        socket => socket?,
    };
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // Connections of a predecessor that still linger do not keep us from starting.
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(backlog)?;
    Ok(socket)
}

/// Binds a Unix socket in place of a stale one, with owner and mode set before anybody can connect.
fn bind_unix(path: &Path, options: &SocketOptions) -> io::Result<Socket> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            if ipc::unix::connect_blocking(path).is_ok() {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another program listens there"));
            }
            std::fs::remove_file(path)?;
        }
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let user = options.user.as_deref().map(user_id).transpose()?;
    let group = options.group.as_deref().map(group_id).transpose()?;
    let listener = ipc::unix::bind(path)?;
    // Until chmod the mode follows the umask, which lets nobody else in.
    let finish = || -> io::Result<()> {
        if user.is_some() || group.is_some() {
            chown(path, user, group)?;
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(options.mode))?;
        SockRef::from(&listener).listen(options.backlog)
    };
    if let Err(error) = finish() {
        // What was made here must not be taken for a socket that works; the error tells what happened.
        let _ = std::fs::remove_file(path);
        return Err(error);
    }
    Ok(Socket::from(OwnedFd::from(listener)))
}

/// The uid of a user name, or a number.
pub fn user_id(name: &str) -> io::Result<u32> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    match nix::unistd::User::from_name(name)? {
        Some(user) => Ok(user.uid.as_raw()),
        None => Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no user {name}"))),
    }
}

/// The gid of a group name, or a number.
pub fn group_id(name: &str) -> io::Result<u32> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    match nix::unistd::Group::from_name(name)? {
        Some(group) => Ok(group.gid.as_raw()),
        None => Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no group {name}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bind"));
        let live = bind_unix(&path, &SocketOptions::mode(0o660)).expect("stale one replaced");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode() & 0o7777;
        assert_eq!(mode, 0o660);
        assert_eq!(bind_unix(&path, &SocketOptions::default()).expect_err("live").kind(), io::ErrorKind::AddrInUse);
        drop(live);
        std::fs::remove_file(&path).expect("remove");
        std::fs::write(&path, "precious").expect("write");
        assert_eq!(bind_unix(&path, &SocketOptions::default()).expect_err("a file").kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "precious");
    }

    #[test]
    fn an_unknown_group_leaves_no_socket_behind() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("s");
        let options = SocketOptions { group: Some("no-such-group".into()), ..SocketOptions::default() };
        assert_eq!(bind_unix(&path, &options).expect_err("no group").to_string(), "there is no group no-such-group");
        assert!(!path.exists());
    }
}
