//! What is changed about a message when it leaves by SMTP: its addresses get the form of `smtp_generic_maps`, in envelope and header.
//!
//! Every attempt makes the change anew from the message as it was accepted, so that tables may be mended meanwhile.

use mail_types::{Failure, Outcome, Recipient};
use outbound::Message;
use routing::{Router, Unavailable};

/// The message and its recipients as other hosts see them. `Err`: that cannot be told now.
pub async fn with_generic_addresses(
    router: &Router,
    mut message: Message,
    mut recipients: Vec<Recipient>,
) -> Result<(Message, Vec<Recipient>), Outcome> {
    let header = message.body.header().await.map_err(|error| later((4, 3, 0), format!("the message cannot be read: {error}")))?;
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
