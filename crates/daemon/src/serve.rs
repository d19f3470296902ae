//! The accept loop.

use crate::limits::{Limits, Refusal, Slot};
use crate::listen::Listener;
use crate::shutdown::Shutdown;
use crate::stream::{Peer, Stream};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

// How long to leave connections in the backlog when descriptors or memory have run out.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Accepts connections until `shutdown` is set, and starts `handler` for each in a task of its own that the end waits for.
/// The slot is held until the handler is done. A handler that panics ends its own session only.
///
/// Returns once nothing is accepted any more; sessions may still run, see [`Shutdown::drained`].
pub async fn serve<H, F>(listener: Listener, limits: Arc<Limits>, shutdown: Shutdown, handler: H)
where
    H: Fn(Stream, Peer) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.wait() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_about_the_peer(&error) => continue,
            Err(error) => {
                // EMFILE, ENFILE, ENOBUFS, ENOMEM: the connection stays in the backlog, and without a pause this loop would spin.
                tracing::error!(error = %error, open = limits.open(), "cannot accept a connection");
                tokio::select! {
                    () = shutdown.wait() => return,
                    () = tokio::time::sleep(BACK_OFF) => continue,
                }
            }
        };
        match limits.enter(&peer) {
            Ok(slot) => {
                // Boxed: a task is moved several times on its way, and a session is some kilobytes.
                shutdown.spawn(session(slot, Box::pin(handler(stream, peer))));
            }
            Err(why) => refuse(stream, &peer, why, listener.refusal),
        }
    }
}

async fn session(slot: Slot, handler: impl Future<Output = ()>) {
    handler.await;
    drop(slot);
}

// The connection failed before we saw it.
fn is_about_the_peer(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted)
        || matches!(error.raw_os_error(), Some(libc::EPROTO | libc::EPERM | libc::ENETDOWN | libc::EHOSTUNREACH | libc::ENETUNREACH))
}

fn refuse(mut stream: Stream, peer: &Peer, why: Refusal, text: &'static [u8]) {
    let reason = match why {
        Refusal::TooMany => "too many connections",
        Refusal::TooManyFromThisAddress => "too many connections from this address",
        Refusal::TooManyFromThisUser => "too many connections from this user",
    };
    tracing::info!(peer = %peer, reason, "connection refused");
    if text.is_empty() {
        return;
    }
    // The socket is new and its buffer empty: this write is done at once, or not at all.
    let mut write = std::pin::pin!(stream.write(text));
    let _ = write.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Context;
    use crate::listen::SocketOptions;
    use config::{Config, Endpoint};
    use tokio::io::AsyncReadExt;

    fn context() -> Context {
        let config = Config::defaults(std::path::Path::new("/etc/facteur/facteur.toml")).expect("defaults");
        Context::detached("deliver", config).expect("context")
    }

    fn listener(refusal: &'static [u8]) -> (Listener, std::net::SocketAddr) {
        let endpoint = Endpoint::Tcp("127.0.0.1:0".parse().expect("address"));
        let listener = context().listen(&endpoint, &SocketOptions::default().refusal(refusal)).expect("bind");
        let address = listener.local_addr().expect("address");
        (listener, address)
    }

    #[tokio::test]
    async fn a_client_over_the_limit_hears_why_and_a_place_comes_back() {
        let (listener, address) = listener(b"421 too many\r\n");
        let shutdown = Shutdown::new();
        let limits = Limits::new(10, 1);
        let loop_ended = tokio::spawn(serve(listener, limits.clone(), shutdown.clone(), |mut stream, _| async move {
            let _ = stream.write_all(b"220 hello\r\n").await;
            let _ = stream.read(&mut [0; 10]).await;
        }));
        let mut first = tokio::net::TcpStream::connect(address).await.expect("connect");
        let mut text = [0; 11];
        first.read_exact(&mut text).await.expect("greeting");
        assert_eq!(&text, b"220 hello\r\n");
        let mut second = tokio::net::TcpStream::connect(address).await.expect("connect");
        let mut refusal = Vec::new();
        second.read_to_end(&mut refusal).await.expect("refusal");
        assert_eq!(refusal, b"421 too many\r\n");
        drop(first);
        while limits.open() > 0 {
            tokio::task::yield_now().await;
        }
        let mut third = tokio::net::TcpStream::connect(address).await.expect("connect");
        third.read_exact(&mut text).await.expect("greeting");
        drop(third);
        shutdown.set();
        loop_ended.await.expect("loop");
        assert!(shutdown.drained(Duration::from_secs(60)).await);
    }

    #[tokio::test]
    async fn a_session_that_panics_does_not_take_the_others_along() {
        let (listener, address) = listener(b"");
        let shutdown = Shutdown::new();
        let limits = Limits::new(10, 0);
        let serving = tokio::spawn(serve(listener, limits.clone(), shutdown.clone(), |mut stream, _| async move {
            let mut byte = [0];
            if stream.read(&mut byte).await.is_ok_and(|n| n == 1) && byte == *b"!" {
                panic!("told to");
            }
            let _ = stream.write_all(&byte).await;
        }));
        let talk = |byte: &'static [u8]| async move {
            let mut stream = tokio::net::TcpStream::connect(address).await.expect("connect");
            stream.write_all(byte).await.expect("write");
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            answer
        };
        assert_eq!(talk(b"!").await, b"");
        assert_eq!(talk(b"a").await, b"a");
        shutdown.set();
        serving.await.expect("loop");
        assert!(shutdown.drained(Duration::from_secs(60)).await);
        assert_eq!(limits.open(), 0);
    }
}
