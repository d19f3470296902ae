//! A connection over a Unix socket that is woken only by what it waits for.
//!
//! On a Unix socket the kernel reports "writable" whenever the other side has read something, so a stream that listens for that all the
//! time is woken once more for each message that it sent: between daemons that talk in small messages a good part of all wake-ups. This
//! stream listens for input alone; only when a write finds the socket full does it listen for room, until that write has gone.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::unix::net as std_net;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, ReadHalf, WriteHalf};
use tokio::net::UnixStream;

/// A connected Unix stream socket, for use inside a runtime.
#[derive(Debug)]
pub struct LocalStream {
    socket: AsyncFd<std_net::UnixStream>,
    /// Another descriptor of the same socket, while a write waits for room.
    room: Option<AsyncFd<std_net::UnixStream>>,
}

impl LocalStream {
    /// `socket` must not block (`set_nonblocking`).
    pub fn new(socket: std_net::UnixStream) -> io::Result<LocalStream> {
        Ok(LocalStream { socket: register(socket, Interest::READABLE)?, room: None })
    }

    /// The socket itself, for its options and its peer's credentials.
    pub fn get_ref(&self) -> &std_net::UnixStream {
        self.socket.get_ref()
    }

    /// Two halves for two tasks.
    pub fn into_split(self) -> (ReadHalf<LocalStream>, WriteHalf<LocalStream>) {
        tokio::io::split(self)
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        mut send: impl FnMut(&std_net::UnixStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match send(self.socket.get_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                sent => {
                    self.room = None;
                    return Poll::Ready(sent);
                }
            }
            if let Some(room) = &self.room {
                // What was known is old: wait for the next report.
                ready!(room.poll_write_ready(cx))?.clear_ready();
            } else {
                self.room = Some(register(self.socket.get_ref().try_clone()?, Interest::WRITABLE)?);
            }
        }
    }
}

fn register(socket: std_net::UnixStream, interest: Interest) -> io::Result<AsyncFd<std_net::UnixStream>> {
    // SAFETY: a socket of the standard library owns its descriptor: always the same one, and open until it is dropped, which the
    // `AsyncFd` does after taking it out of the poll set.
    Ok(unsafe { AsyncFd::register_with_interest(socket, interest) }?)
}

impl TryFrom<UnixStream> for LocalStream {
    type Error = io::Error;

    fn try_from(stream: UnixStream) -> io::Result<LocalStream> {
        LocalStream::new(stream.into_std()?)
    }
}

impl AsyncRead for LocalStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.socket.poll_read_ready(cx))?;
            let space = buf.initialize_unfilled();
            let room = space.len();
            match guard.get_inner().read(space) {
                Ok(count) => {
                    // Less than asked for: the socket is empty, and the kernel reports the next bytes anew.
                    if 0 < count && count < room {
                        guard.clear_ready();
                    }
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for LocalStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(cx, |mut socket| socket.write(bytes))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(cx, |mut socket| socket.write_vectored(bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.socket.get_ref().shutdown(Shutdown::Write) {
            // The other side has gone already.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn pair() -> (LocalStream, LocalStream) {
        let (a, b) = std_net::UnixStream::pair().expect("pair");
        let made = [a, b].map(|socket| {
            socket.set_nonblocking(true).expect("non-blocking");
            LocalStream::new(socket).expect("stream")
        });
        made.into()
    }

    #[tokio::test]
    async fn more_than_the_socket_holds_goes_through() {
        let (mut near, mut far) = pair();
        let sent: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
        let expected = sent.clone();
        let writer = tokio::spawn(async move {
            near.write_all(&sent).await.expect("write");
            near.shutdown().await.expect("shutdown");
            let mut answer = Vec::new();
            near.read_to_end(&mut answer).await.expect("read");
            answer
        });
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.expect("read");
        assert!(got == expected);
        far.write_all(b"thanks").await.expect("write");
        drop(far);
        assert_eq!(writer.await.expect("writer"), b"thanks");
    }

    #[tokio::test]
    async fn halves_wait_on_their_own() {
        let (near, far) = pair();
        let (mut near_read, mut near_write) = near.into_split();
        let (mut far_read, mut far_write) = far.into_split();
        let big = vec![7; 1_000_000];
        let echo = tokio::spawn(async move { tokio::io::copy(&mut far_read, &mut far_write).await });
        let expected = big.clone();
        let (_, got) = tokio::join!(near_write.write_all(&big), async {
            let mut got = vec![0; expected.len()];
            near_read.read_exact(&mut got).await.map(|_| got)
        });
        assert!(got.expect("echo") == expected);
        near_write.shutdown().await.expect("shutdown");
        assert_eq!(echo.await.expect("echo").expect("copied"), expected.len() as u64);
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_is_an_error_or_the_end() {
        let (mut near, far) = pair();
        drop(far);
        assert_eq!(near.read(&mut [0; 8]).await.expect("end"), 0);
        assert_eq!(near.write(b"x").await.expect_err("nobody reads").kind(), io::ErrorKind::BrokenPipe);
    }

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    // What this stream is there for: the other side's reading does not wake the one that waits for an answer.
    #[tokio::test]
    async fn the_reading_of_the_other_side_wakes_nobody() {
        let (mut near, mut far) = pair();
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(count.clone());
        let mut space = [0; 8];
        for _ in 0..10 {
            near.write_all(b"word").await.expect("write");
            let mut buf = ReadBuf::new(&mut space);
            assert!(Pin::new(&mut near).poll_read(&mut Context::from_waker(&waker), &mut buf).is_pending());
            let mut got = [0; 4];
            far.read_exact(&mut got).await.expect("read");
            tokio::task::yield_now().await;
        }
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
        far.write_all(b"answer").await.expect("write");
        let mut got = [0; 6];
        near.read_exact(&mut got).await.expect("read");
        assert_eq!(&got, b"answer");
    }
}
