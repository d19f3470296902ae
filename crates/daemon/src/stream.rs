//! A connection of any kind, and who is at its other end.

use crate::tls::{self, ServerTls};
use ipc::LocalStream;
use ipc::auth::Channel;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::SockRef;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// Who is at the other end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// `None` for a Unix socket. An IPv4 address that came over an IPv6 socket is shown as IPv4.
    pub addr: Option<SocketAddr>,
    /// Our own address of this connection.
    pub local: Option<SocketAddr>,
    /// uid, gid and pid of a peer on a Unix socket.
    pub credentials: Option<(u32, u32, i32)>,
}

impl Peer {
    pub fn ip(&self) -> Option<IpAddr> {
        self.addr.map(|a| a.ip())
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.addr, self.credentials) {
            (Some(addr), _) => write!(f, "{addr}"),
            (None, Some((uid, _, pid))) => write!(f, "uid={uid},pid={pid}"),
            (None, None) => f.write_str("local"),
        }
    }
}

/// What TLS agreed on, for Received headers, logs and policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsInfo {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// As IANA names it, such as `TLS13_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// Size of the symmetric key.
    pub bits: u32,
    /// The name that the client asked for.
    pub sni: Option<String>,
    /// SHA-256 of the certificate that the client showed when it was asked for one, and of the key in it: `AA:BB:…`, as Postfix writes them.
    pub client_fingerprints: Vec<String>,
}

/// A connection that a daemon accepted: TCP, Unix, or either under TLS.
#[derive(Debug)]
pub struct Stream {
    kind: Kind,
    // Readiness for writing is unknown to the runtime until its first poll; the first write (a greeting) is tried at once.
    fresh: bool,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpStream),
    Unix(LocalStream),
    Tls(Box<Secured>),
}

#[derive(Debug)]
struct Secured {
    stream: TlsStream<Stream>,
    /// RFC 5929 §4, where it is certain which certificate the client got.
    end_point: Option<Vec<u8>>,
    /// Whom the client's certificate names.
    person: Option<String>,
    fingerprints: Vec<String>,
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Stream {
        Stream { kind: Kind::Tcp(stream), fresh: true }
    }
}

impl TryFrom<UnixStream> for Stream {
    type Error = io::Error;

    fn try_from(stream: UnixStream) -> io::Result<Stream> {
        Ok(Stream { kind: Kind::Unix(stream.try_into()?), fresh: false })
    }
}

impl Stream {
    /// Answers the client's TLS handshake, with a deadline (`tls.handshake_timeout`). Bytes that the client sent before its
    /// ClientHello must have been read and dropped by the caller, else the handshake fails on them, which is right too.
    pub async fn upgrade_tls(self, tls: &ServerTls) -> io::Result<Stream> {
        self.upgrade_tls_asking(tls, tls.asks()).await
    }

    /// As `upgrade_tls`, for who decides itself whether the client is asked for a certificate.
    pub async fn upgrade_tls_asking(self, tls: &ServerTls, asking: bool) -> io::Result<Stream> {
        let loaded = tls.loaded()?;
        let handshake = loaded.acceptor(asking).accept(self);
        match tokio::time::timeout(tls.handshake_timeout(), handshake).await {
            Ok(stream) => {
                let stream = stream?;
                let connection = stream.get_ref().1;
                let end_point = loaded.end_point(connection.server_name());
                // A ticket may bring along a certificate that was shown where it was asked for.
                let shown = connection.peer_certificates().filter(|_| asking);
                let (person, fingerprints) = (loaded.person(shown), shown.map(tls::fingerprints).unwrap_or_default());
                Ok(Stream { kind: Kind::Tls(Box::new(Secured { stream, end_point, person, fingerprints })), fresh: false })
            }
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake took too long")),
        }
    }

    /// `None` while the connection is in clear text.
    pub fn tls_info(&self) -> Option<TlsInfo> {
        let Kind::Tls(secured) = &self.kind else { return None };
        let connection = secured.stream.get_ref().1;
        let suite = connection.negotiated_cipher_suite()?;
        let cipher = format!("{:?}", suite.suite());
        let version = match connection.protocol_version()? {
            rustls::ProtocolVersion::TLSv1_3 => "TLSv1.3",
            _ => "TLSv1.2",
        };
        let bits = if cipher.contains("AES_128") { 128 } else { 256 };
        let sni = connection.server_name().map(str::to_owned);
        Some(TlsInfo { version, cipher, bits, sni, client_fingerprints: secured.fingerprints.clone() })
    }

    pub fn is_tls(&self) -> bool {
        matches!(self.kind, Kind::Tls(_))
    }

    /// What a login can be bound to, and how the client is known. Nothing in clear text.
    pub fn channel(&self) -> Channel {
        let Kind::Tls(secured) = &self.kind else { return Channel::default() };
        let mut bindings = Vec::new();
        let connection = secured.stream.get_ref().1;
        // RFC 9266 §4.2: with TLS 1.2 only where the handshake had an extended master secret, which rustls does not tell.
        if connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3)
            && let Ok(key) = connection.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b""))
        {
            bindings.push(("tls-exporter".to_owned(), key.to_vec()));
        }
        bindings.extend(secured.end_point.clone().map(|data| ("tls-server-end-point".to_owned(), data)));
        Channel { bindings, certificate: secured.person.clone() }
    }

    /// Makes the kernel answer a peer that is already gone with a reset rather than wait for it.
    pub fn abort(self) {
        if let Kind::Tcp(stream) = &self.kind {
            // Dropping follows either way; the option only changes how.
            let _ = SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
        }
    }

    /// Asks the kernel to look for a dead peer (connections that may be silent for long, such as IDLE).
    pub fn keepalive(&self, idle: std::time::Duration) -> io::Result<()> {
        match &self.kind {
            Kind::Tcp(stream) => SockRef::from(stream).set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(idle)),
            Kind::Unix(_) => Ok(()),
            Kind::Tls(secured) => secured.stream.get_ref().0.keepalive(idle),
        }
    }

    /// True when the peer is known to be gone, so that nobody waits for what is being made. Asks the kernel, reads nothing. A peer without TLS
    /// that only sends no more may still read; under TLS none does that.
    pub fn is_gone(&self) -> bool {
        match &self.kind {
            Kind::Tcp(stream) => shows(stream, PollFlags::empty()),
            Kind::Tls(secured) => match &secured.stream.get_ref().0.kind {
                Kind::Tcp(stream) => shows(stream, SENDS_NO_MORE),
                _ => false,
            },
            Kind::Unix(_) => false,
        }
    }

    fn write_at_once(&mut self, bytes: &[u8]) -> Option<io::Result<usize>> {
        if !std::mem::take(&mut self.fresh) {
            return None;
        }
        let sent = match &self.kind {
            Kind::Tcp(stream) => SockRef::from(stream).send_with_flags(bytes, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT),
            Kind::Unix(_) | Kind::Tls(_) => return None,
        };
        match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock || error.kind() == io::ErrorKind::Interrupted => None,
            sent => Some(sent),
        }
    }
}

/// The peer has closed its half.
const SENDS_NO_MORE: PollFlags = PollFlags::from_bits_retain(libc::POLLRDHUP);

/// Whether the connection is broken, or in one of these states.
fn shows(stream: &TcpStream, states: PollFlags) -> bool {
    let mut asked = [PollFd::new(stream.as_fd(), states)];
    let is_any = |found: PollFlags| found.intersects(states | PollFlags::POLLHUP | PollFlags::POLLERR);
    // `None`: a state without a name in nix, which is one that was asked for
    poll(&mut asked, PollTimeout::ZERO).is_ok() && asked[0].revents().is_none_or(is_any)
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().kind {
            Kind::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Kind::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Kind::Tls(secured) => match ready!(Pin::new(&mut secured.stream).poll_read(cx, buf)) {
                // Many clients close the connection without close_notify; protocols of mail say themselves when they end.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
                result => Poll::Ready(result),
            },
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.fresh
            && let Some(sent) = this.write_at_once(buf)
        {
            return Poll::Ready(sent);
        }
        match &mut this.kind {
            Kind::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Kind::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Kind::Tls(secured) => Pin::new(&mut secured.stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().kind {
            Kind::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Kind::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Kind::Tls(secured) => Pin::new(&mut secured.stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().kind {
            Kind::Tcp(_) | Kind::Unix(_) => Poll::Ready(Ok(())),
            Kind::Tls(secured) => Pin::new(&mut secured.stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().kind {
            Kind::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Kind::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Kind::Tls(secured) => Pin::new(&mut secured.stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listener");
        let client = TcpStream::connect(listener.local_addr().expect("address")).await.expect("connects");
        (client, listener.accept().await.expect("accepted").0)
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_is_noticed_without_reading() {
        let (client, server) = pair().await;
        assert!(!shows(&server, SENDS_NO_MORE));
        Stream::from(client).abort();
        server.readable().await.expect("an event");
        assert!(Stream::from(server).is_gone());
    }

    #[tokio::test]
    async fn a_peer_that_only_sends_no_more_is_not_gone_unless_under_tls() {
        let (client, mut server) = pair().await;
        SockRef::from(&client).shutdown(std::net::Shutdown::Write).expect("half closed");
        assert_eq!(server.read(&mut [0; 1]).await.expect("the end"), 0);
        assert!(shows(&server, SENDS_NO_MORE));
        assert!(!Stream::from(server).is_gone());
    }
}
