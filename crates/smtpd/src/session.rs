//! Drives one connection: bytes, deadlines, TLS, the end.

use crate::deadline::Deadline;
use crate::desk::Desk;
use crate::server::Server;
use daemon::{Peer, Stream};
use mail_types::Reply;
use smtp_proto::server::{Session, Step};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use tracing::Instrument;

/// Commands and small messages are read in pieces of the first size, large messages in growing ones.
const COMMAND_BUFFER: usize = 4 * 1024;
const MESSAGE_BUFFER: usize = 64 * 1024;

/// Serves one client of the service `name` to the end.
pub(crate) async fn serve(server: Arc<Server>, name: Arc<str>, stream: Stream, peer: Peer) {
    let id = server.session_id();
    let span = tracing::info_span!("session", id = %id, peer = %peer);
    run(server, name, stream, peer, id).instrument(span).await;
}

async fn run(server: Arc<Server>, name: Arc<str>, mut stream: Stream, peer: Peer, id: String) {
    let world = server.world();
    let Some(service) = world.services.get(&*name).cloned() else {
        tracing::warn!(service = %name, "the settings have this service no more; it is closed at the next start");
        return;
    };
    if service.wrapped {
        stream = match Box::pin(stream.upgrade_tls(&server.tls)).await {
            Ok(stream) => stream,
            Err(error) => return tracing::info!(reason = %error, "TLS handshake failed"),
        };
    }
    let (settings, timeout) = service.terms(server.limits().is_under_load());
    let machine = Session::new(settings, stream.is_tls());
    let desk = Desk::new(Arc::clone(&server), world, service, peer, id, stream.tls_info()).await;
    let mut connection = Connection { server, machine, desk, timeout };
    let mut stream = Some(stream);
    let end = connection.converse(&mut stream).await;
    connection.desk.ended(&connection.machine, end);
    if let Some(mut stream) = stream
        && stream.is_tls()
    {
        // close_notify; a client that is gone already does not matter.
        let _ = tokio::time::timeout(Duration::from_secs(1), stream.shutdown()).await;
    }
}

/// Why a session is over.
#[derive(Debug)]
pub(crate) enum End {
    /// QUIT, or we said goodbye.
    Closed,
    /// The client went away.
    Lost(Option<io::Error>),
    Timeout,
    TlsFailed(io::Error),
}

struct Connection {
    server: Arc<Server>,
    machine: Session,
    desk: Desk,
    timeout: Duration,
}

impl Connection {
    /// Runs the machine until it closes. `stream` is empty afterwards when TLS broke it.
    async fn converse(&mut self, stream: &mut Option<Stream>) -> End {
        let shutdown = self.server.shutdown.clone();
        let mut stop = pin!(shutdown.wait());
        let mut stopping = false;
        let mut deadline = Deadline::new(Instant::now(), self.timeout, self.desk.min_data_rate());
        let mut clock = pin!(tokio::time::sleep_until(deadline.at()));
        let (mut buffer, mut filled) = (Vec::new(), false);
        let mut timed_out = false;
        loop {
            let Some(open) = stream.as_mut() else { return End::Lost(None) };
            match self.machine.step() {
                Step::Send(bytes) => {
                    match tokio::time::timeout(self.timeout, send(open, &bytes)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => return End::Lost(Some(error)),
                        Err(_) => return End::Timeout,
                    }
                    deadline.said(Instant::now(), self.machine.is_receiving());
                }
                Step::Ask(question) => {
                    let answer = Box::pin(self.desk.answer(&self.machine, question)).await;
                    self.machine.answer(answer);
                }
                Step::Body(piece) => Box::pin(self.desk.piece(piece)).await,
                Step::Abandon => self.desk.abandon(),
                Step::CancelAuth => self.desk.cancel_auth(),
                Step::Sleep(time) => tokio::time::sleep(time).await,
                Step::StartTls => {
                    let plain = stream.take().expect("checked at the top of the loop");
                    match Box::pin(plain.upgrade_tls(&self.server.tls)).await {
                        Ok(upgraded) => {
                            self.desk.tls_started(upgraded.tls_info());
                            *stream = Some(upgraded);
                        }
                        Err(error) => return End::TlsFailed(error),
                    }
                    self.machine.tls_started();
                    deadline.said(Instant::now(), false);
                }
                Step::NeedInput => {
                    if shutdown.is_set() {
                        if self.machine.is_idle() {
                            self.machine.disconnect(goodbye(self.desk.hostname()));
                            continue;
                        }
                        if !std::mem::replace(&mut stopping, true) {
                            deadline.ends_within(Instant::now(), *self.server.grace.read());
                        }
                    }
                    let receiving = self.machine.is_receiving();
                    fit(&mut buffer, receiving, filled);
                    if clock.deadline() != deadline.at() {
                        clock.as_mut().reset(deadline.at());
                    }
                    tokio::select! {
                        biased;
                        read = open.read(&mut buffer) => match read {
                            Ok(0) => return if timed_out { End::Timeout } else { End::Lost(None) },
                            Ok(count) => {
                                self.machine.receive(&buffer[..count]);
                                filled = count == buffer.len();
                                // What is thrown away buys no time either: a message that is too large ends soon.
                                if receiving && !stopping && !self.machine.is_over_limit() {
                                    deadline.took(Instant::now(), count);
                                }
                            }
                            Err(error) => return End::Lost(Some(error)),
                        },
                        () = clock.as_mut() => {
                            timed_out = true;
                            let reply = match stopping {
                                true => goodbye(self.desk.hostname()),
                                // It would be no smaller at the next try.
                                false if self.machine.is_over_limit() => smtp_proto::server::too_big(),
                                false => too_slow(self.desk.hostname()),
                            };
                            self.machine.disconnect(reply);
                        }
                        () = stop.as_mut(), if !stopping && !shutdown.is_set() => {}
                    }
                }
                Step::Close => return if timed_out { End::Timeout } else { End::Closed },
            }
        }
    }
}

/// Makes the buffer ready for the next read: small between messages, so that idle sessions cost little, and larger while a client
/// fills it.
fn fit(buffer: &mut Vec<u8>, receiving: bool, filled: bool) {
    if receiving && filled && buffer.len() < MESSAGE_BUFFER {
        buffer.resize(buffer.len() * 4, 0);
    } else if buffer.is_empty() || (!receiving && buffer.len() > COMMAND_BUFFER) {
        *buffer = vec![0; COMMAND_BUFFER];
    }
}

async fn send(stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

fn goodbye(hostname: &str) -> Reply {
    Reply::with(421, (4, 3, 2), format!("{hostname} Service shutting down, try again later"))
}

fn too_slow(hostname: &str) -> Reply {
    Reply::with(421, (4, 4, 2), format!("{hostname} Error: timeout exceeded"))
}
