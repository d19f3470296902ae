//! Unix sockets by path, of any length.
//!
//! `sun_path` holds 107 bytes; a path such as `var/run/…` below a deep directory is longer. Then the directory is opened
//! and the socket named `/proc/self/fd/N/name`, which the kernel resolves to the same place.

use crate::LocalStream;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net as std_net;
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;

// One byte of the 108 is the final NUL.
const LONGEST_PATH_BYTES: usize = 107;

/// A path that fits into a socket address, and the open directory it may go through.
struct ShortPath {
    path: PathBuf,
    _directory: Option<File>,
}

fn shorten(path: &Path) -> io::Result<ShortPath> {
    if path.as_os_str().len() <= LONGEST_PATH_BYTES {
        return Ok(ShortPath { path: path.to_owned(), _directory: None });
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a socket needs a file name"));
    };
    let directory =
        File::options().read(true).custom_flags(nix::libc::O_PATH | nix::libc::O_DIRECTORY | nix::libc::O_CLOEXEC).open(parent)?;
    let mut short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    short.push(name);
    Ok(ShortPath { path: short, _directory: Some(directory) })
}

/// Connects to the stream socket at `path`. `ECONNREFUSED` and `ENOENT` mean that nobody serves it at the moment.
pub async fn connect(path: &Path) -> io::Result<LocalStream> {
    connect_plain(path).await?.try_into()
}

/// As [`connect`], for a writer that is tried without waiting by many tasks at once.
pub(crate) async fn connect_plain(path: &Path) -> io::Result<UnixStream> {
    let short = shorten(path)?;
    UnixStream::connect(&short.path).await
}

/// As [`connect`], for code without a runtime. Blocks while the backlog of the other side is full.
pub fn connect_blocking(path: &Path) -> io::Result<std_net::UnixStream> {
    let short = shorten(path)?;
    std_net::UnixStream::connect(&short.path)
}

/// Binds and listens at `path` (non-blocking). The path must not exist; who binds in place of a stale file uses
/// `daemon::Context::listen`, which also sets owner and mode.
pub fn bind(path: &Path) -> io::Result<std_net::UnixListener> {
    let short = shorten(path)?;
    let listener = std_net::UnixListener::bind(&short.path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_path_longer_than_a_socket_address_works() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let deep = dir.path().join("d".repeat(90)).join("e".repeat(90));
        std::fs::create_dir_all(&deep).expect("directories");
        let path = deep.join("socket");
        assert!(path.as_os_str().len() > LONGEST_PATH_BYTES);
        let listener = tokio::net::UnixListener::from_std(bind(&path).expect("bind")).expect("listener");
        let mut client = connect(&path).await.expect("connect");
        let (mut server, _) = listener.accept().await.expect("accept");
        client.write_all(b"hi").await.expect("write");
        let mut got = [0; 2];
        server.read_exact(&mut got).await.expect("read");
        assert_eq!(&got, b"hi");
    }

    #[test]
    fn connecting_where_nobody_listens_says_so() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let error = connect_blocking(&dir.path().join("nobody")).expect_err("nobody is there");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
