//! One LMTP connection: drives the machine of `smtp-proto`.

use crate::desk::{self, Destination};
use crate::message::Coming;
use crate::server::Server;
use daemon::{Peer, Stream};
use mail_types::Reply;
use smtp_proto::server::{Answer, MailFrom, Question, Session, Step};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Small messages come with their commands in one read.
const BUFFER: usize = 32 * 1024;

/// Serves a connection to its end.
pub async fn serve(server: Arc<Server>, stream: Stream, peer: Peer) {
    let mut driver = Driver {
        session: Session::new(server.settings_for(&peer), false),
        server,
        stream,
        mail: MailFrom::default(),
        destinations: Vec::new(),
        coming: Coming::default(),
    };
    match driver.run().await {
        Ok(()) => tracing::debug!(%peer, "session closed"),
        Err(error) => tracing::debug!(%peer, %error, "session ended"),
    }
}

struct Driver {
    server: Arc<Server>,
    stream: Stream,
    session: Session,
    mail: MailFrom,
    /// Of the accepted recipients, in their order.
    destinations: Vec<Destination>,
    coming: Coming,
}

impl Driver {
    async fn run(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        loop {
            match self.session.step() {
                Step::Send(bytes) => {
                    let limit = self.server.ctx.config.get().deliver.lmtp_timeout;
                    timed(limit, self.stream.write_all(&bytes)).await?;
                }
                Step::Ask(question) => {
                    let answer = self.answer(question).await;
                    self.session.answer(answer);
                }
                Step::Body(chunk) => self.coming.add(chunk, &self.server, &self.mail, &self.destinations).await,
                Step::Abandon => self.coming = Coming::Empty,
                Step::NeedInput => match self.read(&mut buffer).await? {
                    Some(0) => return Ok(()),
                    Some(length) => self.session.receive(&buffer[..length]),
                    None => self.session.disconnect(Reply::with(
                        421,
                        (4, 3, 2),
                        "service is being stopped or the client said nothing for too long",
                    )),
                },
                Step::Sleep(pause) => tokio::time::sleep(pause).await,
                Step::CancelAuth => {}
                // not offered, so never asked for
                Step::StartTls | Step::Close => return Ok(()),
            }
        }
    }

    /// Reads some bytes; `None` when the session has to end.
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let config = self.server.ctx.config.get();
        let idle = self.session.is_idle();
        let limit = if idle { config.deliver.lmtp_idle_timeout } else { config.deliver.lmtp_timeout };
        let shutdown = &self.server.ctx.shutdown;
        tokio::select! {
            biased;
            length = self.stream.read(buffer) => length.map(Some),
            // a transaction that has begun may come to its end
            () = shutdown.wait(), if idle => Ok(None),
            () = tokio::time::sleep(limit) => Ok(None),
        }
    }

    async fn answer(&mut self, question: Question) -> Answer {
        match question {
            Question::Connect | Question::Hello { .. } | Question::Data => Answer::Accept,
            Question::Mail(mail) => {
                self.mail = mail;
                self.destinations.clear();
                self.coming = Coming::Empty;
                Answer::Accept
            }
            Question::Recipient(recipient) => match desk::find(&self.server, &recipient.address).await {
                Ok(destination) => {
                    self.destinations.push(destination);
                    Answer::Accept
                }
                Err(reply) => Answer::Reply(reply),
            },
            Question::Message(_) => {
                let (coming, destinations) = (std::mem::take(&mut self.coming), std::mem::take(&mut self.destinations));
                Answer::Replies(coming.file(&self.server, &self.mail, destinations).await)
            }
            // Nothing that this server announces.
            Question::Auth { .. }
            | Question::AuthResponse(_)
            | Question::StartTls
            | Question::Etrn(_)
            | Question::XClient(_)
            | Question::XForward(_) => Answer::Reply(Reply::with(503, (5, 5, 1), "not on this server")),
        }
    }
}

async fn timed<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
