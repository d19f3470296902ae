//! The form in which a host takes a message: its own, or converted where the host lacks BINARYMIME or 8BITMIME.

use crate::message::HEADER_LIMIT as HEADER_BYTES;
use crate::{Body, Message, demands, downgrade};
use mail_types::{Address, BodyType, Failure, Outcome, Recipient, TlsWish};
use smtp_proto::XFacteur;
use smtp_proto::client::{self, Capabilities};
use smtp_proto::server::MailFrom;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Large messages that are in memory at the same time, because they had to be converted.
const LARGE: usize = 4;
/// So long a message waits for its place among them, while it keeps a connection; then it is tried again later.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes messages fit for hosts.
pub(crate) struct Forms {
    large: Arc<Semaphore>,
}

/// A message as hosts take it that lack BINARYMIME, or 8BITMIME too: made once for all recipients and connections of a delivery.
pub(crate) struct Converted {
    eight_bit: bool,
    tunnelled: bool,
    body_type: BodyType,
    /// `None`: as it is.
    body: Option<Arc<Vec<u8>>>,
    /// Kept as long as a large message is in memory.
    _room: Option<OwnedSemaphorePermit>,
}

impl Default for Forms {
    fn default() -> Forms {
        Forms { large: Arc::new(Semaphore::new(LARGE)) }
    }
}

/// What XFORWARD tells of a message.
fn forward(message: &Message) -> Vec<(&'static str, Option<String>)> {
    let Some(client) = &message.client else { return Vec::new() };
    let address = client.ip.map(|ip| match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("IPV6:{ip}"),
    });
    let local = client.protocol.local;
    vec![
        ("NAME", client.name.clone()),
        ("ADDR", address),
        ("PROTO", (!local).then(|| client.protocol.name(message.smtputf8).to_owned())),
        ("HELO", Some(client.helo.clone())),
        ("IDENT", Some(message.id.to_string())),
        ("SOURCE", Some(if local { "LOCAL" } else { "REMOTE" }.to_owned())),
    ]
}

/// What a host is known by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Host<'a> {
    pub capabilities: &'a Capabilities,
    /// TLS has shown who it is.
    pub proved: bool,
    /// It gets the priority in the header (RFC 6758).
    pub tunnelled: bool,
}

impl Forms {
    /// The message for these recipients, in a form that the server takes, and its bytes where they come piece by piece. `Err`: there is none.
    pub(crate) async fn of(
        &self,
        message: &Message,
        mut recipients: Vec<Recipient>,
        repeat: bool,
        host: Host<'_>,
        converted: &mut Option<Converted>,
    ) -> Result<(client::Message, Body), Outcome> {
        let Host { capabilities, proved, tunnelled } = host;
        let changed;
        let message = match tunnelled {
            true => {
                changed = Message { body: with_priority(message).await.map_err(|error| unread(&error))?, ..message.clone() };
                &changed
            }
            false => message,
        };
        let (mut body_type, mut body) = (message.body_type, as_it_is(&message.body));
        let eight_bit = capabilities.eight_bit_mime;
        let takes_it = match body_type {
            BodyType::BinaryMime => capabilities.binary_mime && capabilities.chunking,
            BodyType::EightBitMime => eight_bit,
            BodyType::SevenBit => true,
        };
        if !takes_it {
            let known = converted.take().filter(|known| (known.eight_bit, known.tunnelled) == (eight_bit, tunnelled));
            let known = match known {
                Some(known) => known,
                None => Converted { tunnelled, ..self.convert(message, eight_bit).await? },
            };
            body_type = known.body_type;
            if let Some(bytes) = &known.body {
                body = client::Body::Memory(bytes.clone());
            }
            *converted = Some(known);
        }
        let mut smtputf8 = message.smtputf8;
        // The session looks into memory by itself; of a file it knows nothing.
        if smtputf8 && !capabilities.smtputf8 && matches!(body, client::Body::Stream { .. }) {
            let utf8 = |address: &Address| address.is_utf8();
            let addresses = message.sender.as_ref().is_some_and(utf8) || recipients.iter().any(|r| utf8(&r.address));
            smtputf8 = addresses || !file_is_ascii(&message.body, HEADER_BYTES).await?;
        }
        let now_seconds = demands::now_seconds();
        demands::with_delay_reports(message, &mut recipients, capabilities, now_seconds);
        let xfacteur = XFacteur { id: message.id, time_seconds: message.accepted_seconds, repeat };
        let mail = MailFrom {
            sender: message.sender.clone(),
            body: body_type,
            smtputf8,
            size: None,
            ret: message.ret,
            envid: message.envid.clone(),
            by: demands::by(message, now_seconds),
            hold: None,
            priority: Some(message.wishes.priority),
            require_tls: proved && message.wishes.tls == TlsWish::Required,
            xfacteur: Some(xfacteur),
        };
        Ok((client::Message { mail, recipients, forward: forward(message), body }, message.body.clone()))
    }

    async fn convert(&self, message: &Message, eight_bit: bool) -> Result<Converted, Outcome> {
        if message.body_type != BodyType::BinaryMime {
            let body = in_seven_bits(&message.body).await?.map(Arc::new);
            return Ok(Converted { eight_bit, tunnelled: false, body_type: BodyType::SevenBit, body, _room: None });
        }
        let (bytes, room) = self.in_lines(message, eight_bit).await?;
        let body_type = if bytes.is_ascii() { BodyType::SevenBit } else { BodyType::EightBitMime };
        Ok(Converted { eight_bit, tunnelled: false, body_type, body: Some(Arc::new(bytes)), _room: room })
    }

    /// RFC 3030 §3: what the host does not take as it is becomes valid MIME in lines, or is returned. A DKIM signature over binary parts
    /// does not survive, as RFC 6376 §5.3 warns those who sign such; the message does.
    async fn in_lines(&self, message: &Message, eight_bit: bool) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), Outcome> {
        let (body, mut room) = (message.body.clone(), None);
        if matches!(body, Body::File { .. }) {
            let place = tokio::time::timeout(PATIENCE, self.large.clone().acquire_owned()).await;
            let busy = || Outcome::Deferred(Failure::local((4, 3, 2), "too many large messages are being converted"));
            room = place.map_err(|_| busy())?.ok();
        }
        let converting = tokio::task::spawn_blocking(move || match &body {
            Body::Memory(bytes) => Ok(message::binary::in_lines(bytes.as_ref().as_ref(), eight_bit)),
            Body::File { .. } => {
                let mut bytes = vec![0; usize::try_from(body.len()).map_err(std::io::Error::other)?];
                body.read_exact_at(&mut bytes, 0)?;
                Ok(message::binary::in_lines(&bytes, eight_bit))
            }
        });
        let converted = converting.await.map_err(|error| unread(&std::io::Error::other(error)))?;
        let converted = converted.map_err(|error| unread(&error))?.ok_or_else(|| {
            let reason = "the message has binary parts, which the host does not take, and cannot be converted";
            Outcome::Bounced(Failure::local((5, 6, 1), reason))
        })?;
        Ok((converted, room))
    }
}

/// RFC 6758 §3.3: the fields that are there go, and what is the message's priority stands in one of ours.
async fn with_priority(message: &Message) -> std::io::Result<Body> {
    let header = message.body.header().await?;
    let (mut text, mut copied, mut found) = (Vec::with_capacity(header.len() + 20), 0, false);
    for field in message::fields(&header).filter(|field| field.is("MT-Priority")) {
        text.extend_from_slice(&header[copied..field.offset()]);
        copied = field.offset() + field.raw().len();
        found = true;
    }
    let priority = message.wishes.priority;
    if !found && (priority == 0 || header.is_empty()) {
        return Ok(message.body.clone());
    }
    text.extend_from_slice(&header[copied..]);
    let changed = [format!("MT-Priority: {priority}\r\n").as_bytes(), &text].concat();
    Ok(message.body.with_header(&changed, header.len()))
}

fn as_it_is(body: &Body) -> client::Body {
    match body {
        Body::Memory(bytes) => client::Body::Memory(bytes.clone()),
        Body::File { .. } => client::Body::Stream { size: body.len() },
    }
}

/// `None`: it is in seven bits as it stands.
async fn in_seven_bits(body: &Body) -> Result<Option<Vec<u8>>, Outcome> {
    let no_way = || {
        let reason = "the message has 8-bit text, which the host does not take, and cannot be converted";
        Outcome::Bounced(Failure::local((5, 6, 3), reason))
    };
    match body {
        Body::Memory(bytes) if bytes.as_ref().as_ref().is_ascii() => Ok(None),
        Body::Memory(bytes) => downgrade::to_seven_bit(bytes.as_ref().as_ref()).ok_or_else(no_way).map(Some),
        Body::File { .. } if file_is_ascii(body, usize::MAX).await? => Ok(None),
        Body::File { .. } => Err(no_way()),
    }
}

fn unread(error: &std::io::Error) -> Outcome {
    Outcome::Deferred(Failure::local((4, 3, 0), format!("the message cannot be read from the spool: {error}")))
}

/// Whether the file has ASCII only: in its header, when `limit` bounds the look, else in all of it.
async fn file_is_ascii(body: &Body, limit: usize) -> Result<bool, Outcome> {
    if matches!(body, Body::Memory(_)) {
        return Ok(true);
    }
    let (body, length) = (body.clone(), body.len().min(limit as u64));
    let header_only = limit == HEADER_BYTES;
    let looking = tokio::task::spawn_blocking(move || -> std::io::Result<bool> {
        let mut at = 0;
        let mut buffer = vec![0; 64 * 1024];
        while at < length {
            let size = buffer.len().min((length - at) as usize);
            body.read_exact_at(&mut buffer[..size], at)?;
            let piece = &buffer[..size];
            let end = if header_only { piece.windows(4).position(|w| w == b"\r\n\r\n") } else { None };
            if !piece[..end.unwrap_or(size)].is_ascii() {
                return Ok(false);
            }
            if end.is_some() {
                break;
            }
            // A blank line may lie across two pieces.
            at += if size > 3 && at + (size as u64) < length { size as u64 - 3 } else { size as u64 };
        }
        Ok(true)
    });
    match looking.await {
        Ok(Ok(ascii)) => Ok(ascii),
        Ok(Err(error)) => Err(unread(&error)),
        Err(error) => Err(unread(&std::io::Error::other(error))),
    }
}
