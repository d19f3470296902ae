//! A message as it comes in, and its filing for each recipient.

use crate::desk::Destination;
use crate::reply;
use crate::server::Server;
use crate::warning;
use mail_types::Reply;
use mailstore::{Body, Delivered, Error, Identity, LargeLetter, Letter};
use message::trace;
use smtp_proto::server::MailFrom;
use std::sync::Arc;
use tokio::task::JoinSet;

/// A message being received.
#[derive(Default)]
pub enum Coming {
    /// Nothing yet.
    #[default]
    Empty,
    /// In memory.
    Small(Vec<u8>),
    /// On disk, in the mailbox of one of its recipients.
    Large(Box<Large>),
    /// The disk refused it; the rest is thrown away. What was decided about single recipients holds.
    Failed { error: Error, decided: Vec<Option<Reply>> },
}

/// A large message: the file of the recipient at `carrier`, from which the others get copies.
pub struct Large {
    letter: LargeLetter,
    carrier: usize,
    /// What was decided about recipients before the end of the message.
    decided: Vec<Option<Reply>>,
}

/// One transaction's facts that every recipient's delivery needs.
struct Facts {
    identity: Option<Identity>,
    return_path: String,
    full_is_temporary: bool,
    queue_id: String,
}

impl Facts {
    fn new(server: &Server, mail: &MailFrom) -> Facts {
        Facts {
            identity: mail.xfacteur.map(|x| Identity { id: x.id, seconds: x.time_seconds, repeated: x.repeat }),
            return_path: trace::return_path(mail.sender.as_ref()),
            full_is_temporary: server.ctx.config.get().deliver.quota_full_tempfail,
            queue_id: mail.xfacteur.map(|x| x.id.to_string()).unwrap_or_default(),
        }
    }

    fn header(&self, destination: &Destination) -> Vec<u8> {
        let mut header = self.return_path.clone();
        header.push_str(&trace::delivered_to(&destination.address));
        header.into_bytes()
    }
}

impl Coming {
    /// Takes the next piece. A message that gets too large for memory goes to disk.
    pub async fn add(&mut self, chunk: Vec<u8>, server: &Server, mail: &MailFrom, destinations: &[Destination]) {
        let limit = server.ctx.config.get().deliver.message_memory_limit.bytes() as usize;
        *self = match std::mem::take(self) {
            Coming::Empty if chunk.len() <= limit => Coming::Small(chunk),
            Coming::Empty => start_large(chunk, server, mail, destinations).await,
            Coming::Small(mut bytes) if bytes.len() + chunk.len() <= limit => {
                bytes.extend_from_slice(&chunk);
                Coming::Small(bytes)
            }
            Coming::Small(mut bytes) => {
                bytes.extend_from_slice(&chunk);
                start_large(bytes, server, mail, destinations).await
            }
            Coming::Large(mut large) => {
                let written = server.delivery.blocking(move || large.letter.write(&chunk).map(|()| large)).await;
                written.map_or_else(|error| Coming::Failed { error, decided: Vec::new() }, Coming::Large)
            }
            failed @ Coming::Failed { .. } => failed,
        };
    }

    /// The message is complete: files it for all recipients and returns a reply for each, in their order.
    pub async fn file(self, server: &Arc<Server>, mail: &MailFrom, destinations: Vec<Destination>) -> Vec<Reply> {
        let facts = Facts::new(server, mail);
        match self {
            Coming::Empty => file_small(server, &facts, Vec::new(), destinations).await,
            Coming::Small(bytes) => file_small(server, &facts, bytes, destinations).await,
            Coming::Large(large) => file_large(server, &facts, *large, destinations).await,
            Coming::Failed { error, mut decided } => {
                decided.resize(destinations.len(), None);
                let settled = destinations.iter().zip(decided);
                settled.map(|(destination, reply)| reply.unwrap_or_else(|| settle(server, &facts, destination, Err(&error)))).collect()
            }
        }
    }
}

async fn file_small(server: &Arc<Server>, facts: &Facts, bytes: Vec<u8>, destinations: Vec<Destination>) -> Vec<Reply> {
    let body = server.delivery.body(&trace::without_return_path(&bytes));
    let letter = |destination: &Destination, body: Body| Letter {
        location: destination.location.clone(),
        mailbox: destination.mailbox.clone(),
        quota_bytes: destination.quota.0,
        quota_messages: destination.quota.1,
        recipient: destination.address.to_string(),
        identity: facts.identity,
        header: facts.header(destination),
        body,
    };
    if let [destination] = &destinations[..] {
        if trace::was_delivered_to(&bytes, &destination.address) {
            return vec![refuse_loop(server, facts, destination)];
        }
        let result = server.delivery.deliver(letter(destination, body)).await;
        return vec![settle(server, facts, destination, result.as_ref())];
    }
    // all at once, so that they share a round; each answer keeps its place
    let mut replies: Vec<Option<Reply>> = Vec::with_capacity(destinations.len());
    let mut tasks = JoinSet::new();
    for (index, destination) in destinations.iter().enumerate() {
        let loops = trace::was_delivered_to(&bytes, &destination.address);
        replies.push(loops.then(|| refuse_loop(server, facts, destination)));
        if !loops {
            let (delivery, letter) = (server.delivery.clone(), letter(destination, body.clone()));
            tasks.spawn(async move { (index, delivery.deliver(letter).await) });
        }
    }
    while let Some(done) = tasks.join_next().await {
        if let Ok((index, result)) = done {
            replies[index] = Some(settle(server, facts, &destinations[index], result.as_ref()));
        }
    }
    let interrupted = |(reply, destination): (Option<Reply>, &Destination)| {
        reply.unwrap_or_else(|| reply::failure(&destination.address, &Error::Expunged, true))
    };
    replies.into_iter().zip(&destinations).map(interrupted).collect()
}

/// Begins the file of the first recipient that can have one.
async fn start_large(bytes: Vec<u8>, server: &Server, mail: &MailFrom, destinations: &[Destination]) -> Coming {
    let facts = Facts::new(server, mail);
    let mut decided = vec![None; destinations.len()];
    let mut last = None;
    for (index, destination) in destinations.iter().enumerate() {
        if trace::was_delivered_to(&bytes, &destination.address) {
            decided[index] = Some(refuse_loop(server, &facts, destination));
        }
    }
    for (carrier, destination) in destinations.iter().enumerate() {
        if decided[carrier].is_some() {
            continue;
        }
        let announced = mail.size.unwrap_or(0);
        match server.delivery.large(&destination.location, &destination.mailbox, destination.quota, announced).await {
            Ok(mut letter) => {
                let (identity, recipient, header) = (facts.identity, destination.address.to_string(), facts.header(destination));
                let begin = move || {
                    letter.address(identity, &recipient, &header)?;
                    for piece in trace::without_return_path(&bytes) {
                        letter.write(piece)?;
                    }
                    Ok(letter)
                };
                return match server.delivery.blocking(begin).await {
                    Ok(letter) => Coming::Large(Box::new(Large { letter, carrier, decided })),
                    Err(error) => Coming::Failed { error, decided },
                };
            }
            Err(error) => {
                decided[carrier] = Some(settle(server, &facts, destination, Err(&error)));
                last = Some(error);
            }
        }
    }
    Coming::Failed { error: last.unwrap_or(Error::Expunged), decided }
}

async fn file_large(server: &Arc<Server>, facts: &Facts, large: Large, destinations: Vec<Destination>) -> Vec<Reply> {
    let Large { letter, carrier, decided } = large;
    let mut replies = decided;
    let mut source = Some(letter);
    for (index, destination) in destinations.iter().enumerate() {
        if index == carrier || replies[index].is_some() {
            continue;
        }
        let Some(mut from) = source.take() else { break };
        let size = from.size();
        let copied = match server.delivery.large(&destination.location, &destination.mailbox, destination.quota, size).await {
            Ok(mut copy) => {
                let (identity, recipient, header) = (facts.identity, destination.address.to_string(), facts.header(destination));
                let work = move || {
                    let copied = copy.address(identity, &recipient, &header).and_then(|()| from.copy_to(&mut copy)).map(|()| copy);
                    Ok((from, copied))
                };
                match server.delivery.blocking(work).await {
                    Ok((from, copied)) => {
                        source = Some(from);
                        copied
                    }
                    Err(error) => Err(error),
                }
            }
            Err(error) => {
                source = Some(from);
                Err(error)
            }
        };
        let result = match copied {
            Ok(copy) => server.delivery.deliver_large(copy).await,
            Err(error) => Err(error),
        };
        replies[index] = Some(settle(server, facts, destination, result.as_ref()));
    }
    if let Some(letter) = source {
        let result = server.delivery.deliver_large(letter).await;
        replies[carrier] = Some(settle(server, facts, &destinations[carrier], result.as_ref()));
    }
    let interrupted = |(reply, destination): (Option<Reply>, &Destination)| {
        reply.unwrap_or_else(|| reply::failure(&destination.address, &Error::Expunged, true))
    };
    replies.into_iter().zip(&destinations).map(interrupted).collect()
}

/// Logs, counts and answers what became of one recipient.
fn settle(server: &Server, facts: &Facts, destination: &Destination, result: Result<&Delivered, &Error>) -> Reply {
    server.count(result.is_ok());
    match result {
        Ok(delivered) => {
            tracing::info!(
                queue_id = facts.queue_id,
                to = %destination.address,
                user = destination.user,
                mailbox = %destination.mailbox,
                file = delivered.file,
                size = delivered.size,
                repeated = delivered.duplicate,
                "delivered"
            );
            if let Some((bytes, messages)) = delivered.usage {
                server.usage.stored(&destination.user, bytes, messages);
                warning::look(server, destination, delivered);
            }
            reply::saved(&destination.address, delivered.duplicate)
        }
        Err(error) => {
            let reply = reply::failure(&destination.address, error, facts.full_is_temporary);
            let (queue_id, status) = (&facts.queue_id, reply.code());
            match error {
                Error::OverQuota { .. } => {
                    tracing::info!(queue_id, to = %destination.address, user = destination.user, status, reason = %error, "not delivered");
                }
                _ => {
                    tracing::error!(queue_id, to = %destination.address, user = destination.user, status, reason = %error, "not delivered")
                }
            }
            reply
        }
    }
}

fn refuse_loop(server: &Server, facts: &Facts, destination: &Destination) -> Reply {
    server.count(false);
    tracing::info!(queue_id = facts.queue_id, to = %destination.address, reason = "mail loop", "not delivered");
    reply::looping(&destination.address)
}
