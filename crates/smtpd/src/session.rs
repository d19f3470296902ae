//! Drives one connection: bytes, deadlines, TLS, the end.

use crate::deadline::Deadline;
use crate::desk::Desk;
use crate::notice::{self, Transcript};
use crate::rates::Event;
use crate::screen::{Screened, screen};
use crate::server::Server;
use crate::service::Service;
use config::UpstreamProxy;
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

/// Commands are read in pieces of the first size, messages in pieces of the second, so that most come in one, large messages of the third.
const COMMAND_BUFFER: usize = 4 * 1024;
const MESSAGE_BUFFER: usize = 16 * 1024;
const LARGE_MESSAGE_BUFFER: usize = 64 * 1024;

/// Serves one client of the service `name` to the end.
pub(crate) async fn serve(server: Arc<Server>, name: Arc<str>, stream: Stream, peer: Peer) {
    let id = server.session_id();
    let span = tracing::info_span!("session", id = %id, peer = %peer);
    run(server, name, stream, peer, id).instrument(span).await;
}

async fn run(server: Arc<Server>, name: Arc<str>, mut stream: Stream, mut peer: Peer, id: String) {
    let world = server.world();
    let Some(service) = world.services.get(&*name).cloned() else {
        tracing::warn!(service = %name, "the settings have this service no more; it is closed at the next start");
        return;
    };
    if service.smtpd.smtpd_upstream_proxy_protocol == UpstreamProxy::Haproxy
        && let Err(error) = behind_proxy(&service, &mut stream, &mut peer).await
    {
        return tracing::info!(reason = %error, "the proxy is not understood");
    }
    let under_load = server.limits().is_under_load();
    let rated = match peer.ip() {
        Some(ip) if service.is_rated(ip).await => Some(ip),
        _ => None,
    };
    if service.wrapped && rated.is_some_and(|ip| over_rate(&server, &service, ip, Event::NewTls)) {
        return tracing::info!("refused: too many new TLS sessions (smtpd_client_new_tls_session_rate_limit)");
    }
    if service.wrapped {
        stream = match Box::pin(stream.upgrade_tls_asking(&server.tls, service.smtpd.smtpd_tls_ask_ccert)).await {
            Ok(stream) => stream,
            Err(error) => return tracing::info!(reason = %error, "TLS handshake failed"),
        };
    }
    if let Some(ip) = rated.filter(|ip| over_rate(&server, &service, *ip, Event::Connection)) {
        tracing::info!("refused: too many connections (smtpd_client_connection_rate_limit)");
        let text = format!("{} Error: too many connections from {ip}", service.hostname);
        return leave(stream, &Reply::with(421, (4, 7, 0), text)).await;
    }
    let (early, refusal) = match screen(&server, &service, &mut stream, &peer, under_load).await {
        Screened::Goes(early, refusal) => (early, refusal),
        Screened::Leaves(reply) => {
            tracing::info!(reply = %reply, "refused before the greeting");
            return leave(stream, &reply).await;
        }
        Screened::Gone => return tracing::info!("lost connection before the greeting"),
    };
    let (settings, timeout) = service.terms(under_load, peer.ip()).await;
    let mut machine = Session::new(settings, stream.is_tls());
    let transcript = world.notices.is_some().then(Transcript::default);
    if transcript.is_some() {
        machine.keep_heard();
    }
    let asks_certificate = service.smtpd.smtpd_tls_ask_ccert;
    let mut desk = Desk::new(Arc::clone(&server), world, service, peer, id, stream.tls_info(), stream.channel()).await;
    desk.begins(rated.is_some(), refusal);
    let mut connection = Connection { server, machine, desk, timeout, early, transcript, asks_certificate };
    let mut stream = Some(stream);
    let end = connection.converse(&mut stream).await;
    if let Some(transcript) = &connection.transcript {
        let (client, how) = (connection.desk.client_text(), end.in_words());
        notice::send(&connection.server, &connection.desk.world, transcript, &client, &how).await;
    }
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
    /// What the client said before it was greeted.
    early: Vec<u8>,
    /// For a notice to the postmaster, where one is wanted.
    transcript: Option<Transcript>,
    /// Whether the client is asked for a certificate when it begins TLS.
    asks_certificate: bool,
}

impl End {
    fn in_words(&self) -> String {
        match self {
            End::Closed => "The session ended in order.".into(),
            End::Lost(_) => "Session aborted, reason: lost connection".into(),
            End::Timeout => "Session aborted, reason: timeout".into(),
            End::TlsFailed(error) => {
                format!("Session aborted, reason: TLS handshake failed: {}", mail_types::printable(&error.to_string()))
            }
        }
    }
}

impl Connection {
    /// Runs the machine until it closes. `stream` is empty afterwards when TLS broke it.
    async fn converse(&mut self, stream: &mut Option<Stream>) -> End {
        let shutdown = self.desk.end.clone();
        let mut stop = pin!(shutdown.wait());
        let mut stopping = false;
        let mut deadline = Deadline::new(Instant::now(), self.timeout, self.desk.min_data_rate());
        let mut clock = pin!(tokio::time::sleep_until(deadline.at()));
        let (mut buffer, mut filled) = (Vec::new(), false);
        let mut timed_out = false;
        loop {
            let Some(open) = stream.as_mut() else { return End::Lost(None) };
            self.machine.tell_time(crate::server::seconds_since_1970());
            match self.machine.step() {
                Step::Send(bytes) => {
                    if let Some(transcript) = &mut self.transcript {
                        transcript.add(self.machine.take_heard(), &bytes);
                    }
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
                    match Box::pin(plain.upgrade_tls_asking(&self.server.tls, self.asks_certificate)).await {
                        Ok(upgraded) => {
                            self.desk.tls_started(upgraded.tls_info(), upgraded.channel());
                            *stream = Some(upgraded);
                        }
                        Err(error) => return End::TlsFailed(error),
                    }
                    self.machine.tls_started();
                    deadline.said(Instant::now(), false);
                }
                Step::NeedInput if !self.early.is_empty() => {
                    let early = std::mem::take(&mut self.early);
                    self.machine.receive(&early);
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
    let wanted = match receiving {
        false => COMMAND_BUFFER,
        true if filled && buffer.len() >= MESSAGE_BUFFER => LARGE_MESSAGE_BUFFER,
        true => buffer.len().max(MESSAGE_BUFFER),
    };
    if buffer.len() != wanted {
        *buffer = vec![0; wanted];
    }
}

/// Reads the PROXY header: from there on the client is the one that it names.
async fn behind_proxy(service: &Service, stream: &mut Stream, peer: &mut Peer) -> io::Result<()> {
    let listed = match peer.ip() {
        _ if service.proxy_hosts.is_empty() => true,
        Some(ip) => matches!(service.proxy_hosts.contains(ip).await, Ok(true)),
        None => false,
    };
    if !listed {
        return Err(io::Error::other("not in smtpd_upstream_proxy_hosts"));
    }
    let header = tokio::time::timeout(service.smtpd.smtpd_upstream_proxy_timeout, crate::proxy_header::read(stream)).await??;
    if let Some((client, own)) = header {
        tracing::info!(client = %client, "behind a proxy");
        (peer.addr, peer.local, peer.credentials) = (Some(client), Some(own), None);
    }
    Ok(())
}

/// Counts an event of a client that the rate limits hold for.
pub(crate) fn over_rate(server: &Server, service: &Service, ip: std::net::IpAddr, event: Event) -> bool {
    let smtpd = &service.smtpd;
    let limit = match event {
        Event::Connection => smtpd.smtpd_client_connection_rate_limit,
        Event::Message => smtpd.smtpd_client_message_rate_limit,
        Event::Recipient => smtpd.smtpd_client_recipient_rate_limit,
        Event::NewTls => smtpd.smtpd_client_new_tls_session_rate_limit,
        Event::Auth => smtpd.smtpd_client_auth_rate_limit,
    };
    server.rates.over(&service.name, ip, event, limit, smtpd.anvil_rate_time_unit, std::time::Instant::now())
}

/// Says `reply` and goes.
async fn leave(mut stream: Stream, reply: &Reply) {
    let mut bytes = Vec::new();
    reply.write(&mut bytes);
    // Whether the client still listens does not matter.
    let _ = tokio::time::timeout(Duration::from_secs(1), async {
        send(&mut stream, &bytes).await?;
        stream.shutdown().await
    })
    .await;
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
