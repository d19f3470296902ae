//! What is changed about a message when it leaves by SMTP: its addresses get the form of `smtp_generic_maps`, in envelope and header.
//!
//! Every attempt makes the change anew from the message as it was accepted, so that tables may be mended meanwhile.

use mail_types::{Failure, Outcome, Recipient};
use outbound::{Body, Message};
use routing::{Router, Unavailable};

/// A header is no longer than this, or is left as it is.
const HEADER_LIMIT: usize = 1 << 20;

/// The message and its recipients as other hosts see them. `Err`: that cannot be told now.
pub async fn with_generic_addresses(
    router: &Router,
    mut message: Message,
    mut recipients: Vec<Recipient>,
) -> Result<(Message, Vec<Recipient>), Outcome> {
    let header = header(&message.body).await.map_err(|error| later((4, 3, 0), format!("the message cannot be read: {error}")))?;
    let untold = |error: Unavailable| later((4, 3, 0), error.to_string());
    if let Some(sender) = &message.sender {
        message.sender = Some(router.generic(sender).await.map_err(untold)?);
    }
    for recipient in &mut recipients {
        recipient.address = router.generic(&recipient.address).await.map_err(untold)?;
    }
    if let Some(changed) = router.generic_header(&header).await.map_err(untold)? {
        message.body = message.body.with_header(&changed, header.len());
    }
    Ok((message, recipients))
}

fn later(status: (u8, u16, u16), why: String) -> Outcome {
    Outcome::Deferred(Failure::local(status, why))
}

/// The header with its empty line.
async fn header(body: &Body) -> std::io::Result<Vec<u8>> {
    let read = |body: &Body| {
        let mut front = vec![0; usize::try_from(body.len()).unwrap_or(usize::MAX).min(HEADER_LIMIT)];
        body.read_exact_at(&mut front, 0)?;
        let whole = front.len() as u64 == body.len() || message::header_ends(&front);
        front.truncate(if whole { message::header_length(&front) } else { 0 });
        Ok(front)
    };
    match body {
        Body::Memory(bytes) => {
            let bytes = bytes.as_ref().as_ref();
            Ok(bytes[..message::header_length(bytes)].to_vec())
        }
        Body::File { .. } => {
            let body = body.clone();
            tokio::task::spawn_blocking(move || read(&body)).await.map_err(std::io::Error::other)?
        }
    }
}
