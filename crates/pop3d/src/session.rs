//! Drives one connection: bytes between the machine and the stream, questions to the desk, time.

use crate::desk::Desk;
use crate::server::Server;
use daemon::{Login, Peer, Shutdown, Stream};
use pop3_proto::{Session, Settings, Step};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};
use tracing::Instrument;
use zeroize::Zeroizing;

const READ_BYTES: usize = 4096;

/// How a session ended, for the log.
#[derive(Debug)]
enum End {
    /// QUIT, or too many errors: the machine closed.
    Closed,
    /// The client went away.
    Gone,
    Idle,
    SlowReader,
    Shutdown,
    Tls(io::Error),
}

impl End {
    fn reason(&self) -> &'static str {
        match self {
            End::Closed => "logged out",
            End::Gone => "client went away",
            End::Idle => "silent for too long",
            End::SlowReader => "client does not read",
            End::Shutdown => "shutting down",
            End::Tls(_) => "TLS failed",
        }
    }
}

/// Serves one connection; with `tls`, TLS comes before everything else.
pub async fn serve(server: Arc<Server>, stream: Stream, peer: Peer, tls: bool) {
    let id = server.access.session_id();
    let span = tracing::info_span!("session", id = %id, peer = %peer);
    let desk = Desk::new(server.clone(), peer.clone(), id.clone());
    let end = server.ctx.shutdown.of_session();
    Driver { server, desk, peer, id, end, login: None }.run(stream, tls).instrument(span).await;
}

struct Driver {
    server: Arc<Server>,
    desk: Desk,
    peer: Peer,
    id: String,
    /// Of the program, or of this connection alone.
    end: Shutdown,
    /// Since somebody is logged in.
    login: Option<Login>,
}

impl Driver {
    async fn run(mut self, stream: Stream, tls: bool) {
        let stream = match tls {
            true => match stream.upgrade_tls(&self.server.ctx.tls).await {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::info!(%error, "TLS handshake failed");
                    return;
                }
            },
            false => stream,
        };
        let config = self.server.config();
        let same_host = config.pop3d.same_host_is_secured && self.is_same_host();
        self.desk.secured = tls || same_host;
        self.desk.channel = stream.channel();
        let mut session = Session::new(Settings {
            greeting: config.pop3d.login_greeting.clone(),
            tls,
            stls: self.server.ctx.tls.is_available(),
            plaintext_login: !config.pop3d.disable_plaintext_auth || same_host,
            implementation: "Facteur".into(),
            error_limit: config.pop3d.error_limit,
            expire_days: Some(config.pop3d.pop3_expire_days).filter(|days| *days > 0),
            login_delay_seconds: config.pop3d.pop3_login_delay.as_secs(),
            last: config.pop3d.pop3_enable_last,
        });
        let mut stream = Some(stream);
        let end = self.drive(&mut stream, &mut session).await;
        // First the mailbox, then the connection: a client that comes back at once finds it free.
        self.desk.close();
        if let (Some(mut stream), End::Closed | End::Shutdown) = (stream, &end) {
            // close_notify, and what the kernel still holds goes out.
            let _ = timeout(Duration::from_secs(5), stream.shutdown()).await;
        }
        let done = session.statistics();
        let user = self.desk.user().map(mail_types::printable);
        if let End::Tls(error) = &end {
            tracing::info!(%error, "TLS handshake failed");
        }
        match user {
            Some(user) => tracing::info!(
                user,
                reason = end.reason(),
                messages = done.messages,
                retrieved = done.retrieved,
                top = done.tops,
                deleted = done.deleted,
                octets = done.octets,
                "session closed"
            ),
            None => tracing::debug!(reason = end.reason(), "session closed without a login"),
        }
    }

    fn is_same_host(&self) -> bool {
        match (self.peer.addr, self.peer.local) {
            (Some(remote), Some(local)) => remote.ip().to_canonical() == local.ip().to_canonical(),
            _ => self.peer.credentials.is_some(),
        }
    }

    async fn drive(&mut self, stream: &mut Option<Stream>, session: &mut Session) -> End {
        let login_by = Instant::now() + self.server.config().pop3d.login_timeout;
        let mut buffer = Zeroizing::new(vec![0; READ_BYTES]);
        loop {
            let Some(open) = stream.as_mut() else { return End::Gone };
            match session.step() {
                Step::Send(bytes) => match self.send(open, &bytes).await {
                    Ok(true) => {}
                    Ok(false) => return End::SlowReader,
                    Err(_) => return End::Gone,
                },
                Step::Ask(question) => {
                    let answer = self.desk.answer(question).await;
                    session.answer(answer);
                    self.tell_login(open);
                }
                Step::StartTls => match self.upgrade(stream).await {
                    Ok(()) => {
                        self.desk.secured = true;
                        self.desk.channel = stream.as_ref().map(Stream::channel).unwrap_or_default();
                        session.tls_started();
                    }
                    Err(error) => return End::Tls(error),
                },
                Step::NeedInput => {
                    let patience = if session.is_authenticated() {
                        self.server.config().pop3d.pop3_timeout
                    } else {
                        login_by.saturating_duration_since(Instant::now())
                    };
                    match self.read(open, &mut buffer, patience).await {
                        Ok(0) => return End::Gone,
                        Ok(length) => session.receive(&buffer[..length]),
                        Err(End::Shutdown) => {
                            session.end(if self.server.ctx.shutdown.is_set() {
                                "The server is shutting down."
                            } else {
                                "Disconnected by the administrator."
                            });
                            if let Step::Send(bytes) = session.step() {
                                let _ = self.send(open, &bytes).await;
                            }
                            return End::Shutdown;
                        }
                        Err(end) => return end,
                    }
                }
                Step::Close => return End::Closed,
            }
        }
    }

    async fn upgrade(&mut self, stream: &mut Option<Stream>) -> io::Result<()> {
        let plain = stream.take().ok_or(io::ErrorKind::NotConnected)?;
        *stream = Some(plain.upgrade_tls(&self.server.ctx.tls).await?);
        Ok(())
    }

    // RFC 1939 §3: a client that is silent is cut off without a word, and nothing is deleted.
    async fn read(&mut self, stream: &mut Stream, buffer: &mut [u8], patience: Duration) -> Result<usize, End> {
        tokio::select! {
            biased;
            read = timeout(patience, stream.read(buffer)) => match read {
                Ok(Ok(length)) => Ok(length),
                Ok(Err(_)) => Err(End::Gone),
                Err(_) => Err(End::Idle),
            },
            () = self.end.wait() => Err(End::Shutdown),
        }
    }

    // False when the client took nothing for too long.
    async fn send(&mut self, stream: &mut Stream, bytes: &[u8]) -> io::Result<bool> {
        let patience = self.server.config().pop3d.pop3_write_timeout;
        let mut rest = bytes;
        while !rest.is_empty() {
            match timeout(patience, stream.write(rest)).await {
                Ok(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(Ok(length)) => rest = &rest[length..],
                Ok(Err(error)) => return Err(error),
                Err(_) => return Ok(false),
            }
        }
        match timeout(patience, stream.flush()).await {
            Ok(flushed) => flushed.map(|()| true),
            Err(_) => Ok(false),
        }
    }

    fn tell_login(&mut self, stream: &Stream) {
        if self.login.is_some() {
            return;
        }
        if let Some(user) = self.desk.user() {
            let tls = stream.tls_info().map_or("none", |info| info.version);
            tracing::info!(user = %mail_types::printable(user), tls, "logged in");
            let tls = stream.is_tls();
            self.login = Some(self.server.ctx.sessions.enter(&self.id, user, "pop3", &self.peer, tls, &self.end));
        }
    }
}
