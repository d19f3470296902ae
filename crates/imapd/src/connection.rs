//! One connection from greeting to goodbye: TLS, then login (`login.rs`), then the session (`session.rs`).
//!
//! The two halves share only what is in [`Connection`]; nothing of the login's state reaches the session.

use crate::answer::Answer;
use crate::server::Server;
use crate::wire::Wire;
use crate::{login, session};
use config::Config;
use daemon::{Peer, Shutdown, Stream};
use imap_proto::{Limits, Session as Machine, Status, Step, encode};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument;

/// A client's connection: the wire, the protocol machine, and what is known about the client.
pub struct Connection {
    pub server: Arc<Server>,
    /// The settings as they were when the client connected.
    pub config: Arc<Config>,
    pub wire: Wire,
    pub machine: Machine,
    pub peer: Peer,
    pub id: String,
    /// Of the program, or of this connection alone.
    pub end: Shutdown,
}

/// Why nothing more comes from the client.
#[derive(Debug)]
pub enum Gone {
    /// The client closed, or the connection broke.
    Client(String),
    /// The client said nothing for too long.
    Idle,
    /// We are stopping.
    Shutdown,
    /// The conversation came to its end.
    Done(&'static str),
    /// The user is gone, the client is not (RFC 8437).
    Unauthenticated,
}

impl From<io::Error> for Gone {
    fn from(error: io::Error) -> Gone {
        Gone::Client(error.to_string())
    }
}

/// Serves one client to the end.
pub async fn serve(server: Arc<Server>, stream: Stream, peer: Peer, implicit_tls: bool) {
    let id = server.access.session_id();
    let span = tracing::info_span!("session", id = %id, peer = %peer);
    converse(server, stream, peer, id, implicit_tls).instrument(span).await;
}

async fn converse(server: Arc<Server>, stream: Stream, peer: Peer, id: String, implicit_tls: bool) {
    let config = server.config();
    let mut wire = Wire::new(stream, config.imapd.imap_write_timeout);
    if implicit_tls && let Err(error) = Box::pin(wire.start_tls(&server.ctx.tls)).await {
        tracing::info!(reason = %error, "TLS handshake failed");
        return;
    }
    let command = usize::try_from(config.imapd.imap_max_line_length.0).unwrap_or(usize::MAX);
    let drain = config.imapd.append_size_limit.0.saturating_mul(2);
    let mut after_login = Limits { command, drain, ..Limits::AFTER_LOGIN };
    if config.imapd.imap_literal_minus {
        after_login.non_synchronizing = 4096;
    }
    let end = server.ctx.shutdown.of_session();
    let mut connection = Box::new(Connection { server, config, wire, machine: Machine::new(after_login), peer, id, end });
    Box::pin(login::greet(&mut connection)).await;
    loop {
        let login_timeout = connection.config.imapd.login_timeout;
        let entered = match tokio::time::timeout(login_timeout, Box::pin(login::run(&mut connection))).await {
            Ok(Ok(entered)) => entered,
            Ok(Err(gone)) => return Box::pin(connection.part(gone, "before login")).await,
            Err(_) => {
                connection.bye("Login took too long");
                return Box::pin(connection.part(Gone::Done("login took too long"), "before login")).await;
            }
        };
        // A telephone that went away is noticed long before `imap_timeout`.
        connection.wire.keepalive(Duration::from_secs(300));
        match Box::pin(session::run(connection, entered)).await {
            Some(left) => connection = left,
            None => return,
        }
    }
}

impl Connection {
    /// Does the client's password travel safely? Under TLS, and, by setting, from this very machine.
    pub fn is_secured(&self) -> bool {
        let imapd = &self.config.imapd;
        !imapd.disable_plaintext_auth || self.wire.is_tls() || imapd.same_host_is_secured && self.is_same_host()
    }

    /// Dovecot's rule: the client's address is the one it connected to.
    pub fn is_same_host(&self) -> bool {
        match (self.peer.addr, self.peer.local) {
            (Some(remote), Some(local)) => remote.ip().to_canonical() == local.ip().to_canonical(),
            // A Unix socket.
            (None, None) => true,
            _ => false,
        }
    }

    /// The machine's next step that is no mere sending. Reads and sends as needed; `longest` is how long the client may say nothing.
    pub async fn next(&mut self, longest: Duration) -> Result<Step, Gone> {
        loop {
            if let Some(step) = self.advance().await? {
                return Ok(step);
            }
            self.wire.flush().await?;
            self.read(longest).await?;
        }
    }

    /// The machine's next step that is no mere sending; nothing when it needs input.
    pub async fn advance(&mut self) -> Result<Option<Step>, Gone> {
        loop {
            match self.machine.step() {
                Step::NeedInput => return Ok(None),
                Step::Send(bytes) => self.wire.out.extend_from_slice(&bytes),
                Step::Close => {
                    self.wire.flush().await?;
                    return Err(Gone::Done("too many errors"));
                }
                step => {
                    // Many commands in one write may not grow their answers without end (SECURITY I16).
                    self.wire.relieve().await?;
                    return Ok(Some(step));
                }
            }
        }
    }

    /// Reads once.
    async fn read(&mut self, longest: Duration) -> Result<(), Gone> {
        let shutdown = self.end.clone();
        let machine = &mut self.machine;
        tokio::select! {
            biased;
            read = self.wire.read(|bytes| machine.receive(bytes)) => match read? {
                0 => Err(Gone::Client("connection closed".into())),
                _ => Ok(()),
            },
            () = shutdown.wait() => Err(Gone::Shutdown),
            () = tokio::time::sleep(longest) => Err(Gone::Idle),
        }
    }

    pub fn answer(&mut self, tag: &str, answer: &Answer) {
        answer.write(&mut self.wire.out, tag);
    }

    pub fn bye(&mut self, text: &str) {
        encode::status(&mut self.wire.out, "*", Status::Bye, "", text);
    }

    /// The last words, in log and to the client.
    pub async fn part(mut self: Box<Self>, gone: Gone, when: &str) {
        let reason = match &gone {
            Gone::Client(why) => why.as_str(),
            Gone::Idle => {
                self.bye("Disconnected for inactivity");
                "inactivity"
            }
            Gone::Shutdown if !self.server.ctx.shutdown.is_set() => {
                self.bye("Disconnected by the administrator");
                "ended by the administrator"
            }
            Gone::Shutdown => {
                self.bye("Server shutting down");
                "server is stopping"
            }
            Gone::Done(why) => why,
            Gone::Unauthenticated => "unauthenticated",
        };
        tracing::info!(reason, when, bytes_in = self.wire.bytes_in, bytes_out = self.wire.bytes_out, "disconnected");
        self.wire.close().await;
    }
}
