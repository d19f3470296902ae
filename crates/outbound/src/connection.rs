//! One connection and its session: does what the client machine says.

use crate::settings::Timeouts;
use crate::tls::Trust;
use crate::wire::Wire;
use crate::{Body, Settings};
use smtp_proto::client::{self, Error, Report, Session, Step};
use std::future::Future;
use std::io;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

/// Octets read from a file at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// For replies.
const BUFFER: usize = 4 * 1024;

pub(crate) struct Connection {
    /// Not in the futures, which are moved.
    buffer: Box<[u8]>,
    wire: Wire,
    session: Session,
    /// For people: `mx.x.org[192.0.2.1]:25`, `unix:/run/facteur/lmtp`.
    pub host: String,
    pub tls: Option<String>,
    /// Messages sent.
    pub used: u32,
    pub idle_since: Instant,
}

/// Why a connection could not be made ready for messages.
#[derive(Debug)]
pub(crate) enum OpenError {
    Session {
        error: Error,
        timed_out: bool,
        transcript: String,
    },
    /// The TLS handshake failed; the server may be reached in clear text, where that is allowed.
    Tls(io::Error),
}

/// What became of a message on a connection.
pub(crate) struct Sent {
    pub report: Report,
    /// Why the connection is of no use any more, and whether it was for want of an answer in time.
    pub lost: Option<(Error, bool)>,
    /// Reading the message failed: our own fault, and said nothing about the host.
    pub local_fault: Option<io::Error>,
}

/// How a run of steps ended.
enum Ended {
    Ready,
    StartTls,
    Finished(Report),
    Failed(Error),
    Closed,
    BodyFault(io::Error),
}

struct Driving<'a> {
    settings: &'a Settings,
    timeouts: Timeouts,
    timed_out: bool,
    file: Option<FileReader>,
    /// What is left of the time for a request and the message behind it (Postfix smtp_per_request_deadline).
    transfer: Duration,
}

impl<'a> Driving<'a> {
    fn new(settings: &'a Settings, timeouts: Timeouts) -> Driving<'a> {
        Driving { settings, timeouts, timed_out: false, file: None, transfer: settings.data_xfer_timeout }
    }
}

impl Connection {
    /// Greets the server on a new connection, makes TLS and logs in, as `choices` say.
    pub async fn open(
        wire: Wire,
        host: String,
        choices: client::Settings,
        settings: &Settings,
        tls: Trust<'_>,
    ) -> Result<Connection, OpenError> {
        let wrapped = choices.tls == client::TlsUse::Wrapped;
        // A partner on our side answers soon or is ill; a socket unit may hold its place while nobody is behind it.
        let timeouts = if choices.lmtp { settings.timeouts.at_most(settings.connect_timeout) } else { settings.timeouts };
        let mut connection = Connection {
            wire,
            buffer: vec![0; BUFFER].into(),
            session: Session::new(choices),
            host,
            tls: None,
            used: 0,
            idle_since: Instant::now(),
        };
        if wrapped {
            connection = connection.start_tls(settings, &tls).await?;
        }
        loop {
            let mut driving = Driving::new(settings, timeouts);
            match connection.drive(&mut driving).await {
                Ended::Ready => return Ok(connection),
                Ended::StartTls => {
                    connection = connection.start_tls(settings, &tls).await?;
                    connection.session.tls_started();
                }
                Ended::Failed(error) => {
                    let transcript = connection.transcript();
                    return Err(OpenError::Session { error, timed_out: driving.timed_out, transcript });
                }
                Ended::Closed | Ended::Finished(_) | Ended::BodyFault(_) => {
                    let transcript = connection.transcript();
                    return Err(OpenError::Session { error: Error::Closed("before its greeting"), timed_out: false, transcript });
                }
            }
        }
    }

    async fn start_tls(self, settings: &Settings, trust: &Trust<'_>) -> Result<Connection, OpenError> {
        let Wire::Tcp(stream) = self.wire else {
            return Err(OpenError::Tls(io::Error::other("TLS is made on TCP connections only")));
        };
        let stream = match timeout(settings.timeouts.starttls, trust.tls.connect(trust.host, trust.nexthop, trust.policy, stream)).await {
            Ok(made) => made.map_err(OpenError::Tls)?,
            Err(_) => return Err(OpenError::Tls(io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake took too long"))),
        };
        if settings.section.smtp_tls_loglevel > 0 {
            trust.log(&self.host, &stream);
        }
        let wire = Wire::Tls(Box::new(stream));
        Ok(Connection { tls: wire.tls_name(), wire, ..self })
    }

    pub fn capabilities(&self) -> &client::Capabilities {
        self.session.capabilities()
    }

    /// What was said about this message, when that is kept.
    pub fn transcript(&self) -> String {
        self.session.transcript()
    }

    /// The server takes no more transactions in this session (RFC 9422 §4.1).
    pub fn is_exhausted(&self) -> bool {
        self.capabilities().limits.transactions.is_some_and(|limit| self.used >= limit)
    }

    /// Whether it can be used again: the server has neither closed it nor said anything.
    pub async fn is_fresh(&mut self) -> bool {
        !self.wire.is_disturbed().await
    }

    /// Sends a message; only on a connection that is ready.
    pub async fn send(&mut self, message: client::Message, body: &Body, settings: &Settings) -> Sent {
        self.used += 1;
        let file = match (&message.body, body) {
            (client::Body::Stream { .. }, Body::File { .. }) => Some(FileReader { body: body.clone(), at: 0 }),
            _ => None,
        };
        let count = message.recipients.len();
        self.session.deliver(message);
        let mut driving = Driving { file, ..Driving::new(settings, settings.timeouts) };
        let mut sent = Sent { report: Report { recipients: vec![None; count] }, lost: None, local_fault: None };
        loop {
            match self.drive(&mut driving).await {
                Ended::Finished(report) => sent.report = report,
                Ended::Ready => break,
                Ended::Failed(error) => {
                    sent.lost = Some((error, driving.timed_out));
                    break;
                }
                Ended::BodyFault(error) => {
                    sent.lost = Some((Error::BodySize, false));
                    sent.local_fault = Some(error);
                    break;
                }
                Ended::Closed | Ended::StartTls => {
                    sent.lost = Some((Error::Closed("at the end of the message"), false));
                    break;
                }
            }
        }
        self.idle_since = Instant::now();
        sent
    }

    /// Says goodbye and closes.
    pub async fn quit(mut self, settings: &Settings) {
        self.session.quit();
        let mut driving = Driving::new(settings, settings.timeouts);
        self.drive(&mut driving).await;
    }

    /// Carries out steps until one of them is news for the caller.
    async fn drive(&mut self, driving: &mut Driving<'_>) -> Ended {
        let mut awaited = None;
        let mut deadline = tokio::time::Instant::now();
        loop {
            match self.session.step() {
                Step::Send(bytes) => {
                    match self.write(&bytes, driving).await {
                        Ok(Ok(())) => {}
                        Ok(Err(_)) => self.last_words().await,
                        Err(_) => {
                            driving.timed_out = true;
                            self.session.closed();
                        }
                    }
                    awaited = None;
                }
                Step::NeedInput => {
                    // Each answer has its time, however many pieces it comes in.
                    let next = self.session.awaited();
                    if awaited.replace(next) != Some(next) {
                        deadline = tokio::time::Instant::now() + driving.timeouts.of(next.phase);
                    }
                    match tokio::time::timeout_at(deadline, self.wire.read(&mut self.buffer)).await {
                        Ok(Ok(n)) if n > 0 => {
                            driving.transfer = driving.settings.data_xfer_timeout;
                            self.session.receive(&self.buffer[..n]);
                        }
                        Ok(_) => self.session.closed(),
                        Err(_) => {
                            driving.timed_out = true;
                            self.session.closed();
                        }
                    }
                }
                Step::NeedBody => match &mut driving.file {
                    None => self.session.end_of_body(),
                    Some(file) => match file.next().await {
                        Ok(bytes) if bytes.is_empty() => self.session.end_of_body(),
                        Ok(bytes) => self.session.body(&bytes),
                        Err(error) => return Ended::BodyFault(error),
                    },
                },
                Step::Ready => return Ended::Ready,
                Step::StartTls => return Ended::StartTls,
                Step::Finished(report) => return Ended::Finished(report),
                Step::Failed(error) => return Ended::Failed(error),
                Step::Close => return Ended::Closed,
            }
        }
    }

    /// Writes what the other host takes in time: each octet buys it its share, so that a host that drains slowly ends some day.
    async fn write(&mut self, bytes: &[u8], driving: &mut Driving<'_>) -> Result<io::Result<()>, Elapsed> {
        let (longest, rate) = (driving.settings.data_xfer_timeout, driving.settings.min_data_rate);
        let mut rest = bytes;
        while !rest.is_empty() {
            let began = Instant::now();
            let count = match timeout(driving.transfer, self.wire.write(rest)).await? {
                Ok(0) => return Ok(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => count,
                Err(error) => return Ok(Err(error)),
            };
            rest = &rest[count..];
            driving.transfer = match rate {
                0 => longest,
                rate => {
                    let bought = Duration::from_secs_f64(count as f64 / f64::from(rate));
                    (driving.transfer.saturating_sub(began.elapsed()) + bought).min(longest)
                }
            };
        }
        timeout(driving.transfer, self.wire.flush()).await
    }

    /// The server closed while we were writing: it may have said why before.
    async fn last_words(&mut self) {
        if let Ok(Ok(n)) = timeout(Duration::from_secs(1), self.wire.read(&mut self.buffer)).await
            && n > 0
        {
            self.session.receive(&self.buffer[..n]);
            // A reply is taken in before the end of the connection is.
            return;
        }
        self.session.closed();
    }
}

struct FileReader {
    body: Body,
    at: u64,
}

impl FileReader {
    /// The next piece; empty at the end. A file that is shorter than it was said to be is an error.
    fn next(&mut self) -> impl Future<Output = io::Result<Vec<u8>>> + use<> {
        let (body, at) = (self.body.clone(), self.at);
        let size = (body.len() - at).min(CHUNK_BYTES as u64) as usize;
        self.at += size as u64;
        async move {
            if size == 0 {
                return Ok(Vec::new());
            }
            let reading = tokio::task::spawn_blocking(move || {
                let mut bytes = vec![0; size];
                body.read_exact_at(&mut bytes, at).map(|()| bytes)
            });
            reading.await.map_err(io::Error::other)?
        }
    }
}
