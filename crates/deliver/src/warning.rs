//! Tells the owner of an account that it gets full (`quota_warning`): a message in INBOX, filed as any other. No program is run.

use crate::desk::Destination;
use crate::server::Server;
use config::QuotaWarning;
use mailstore::{Delivered, Letter, MailboxName};
use message::{Date, trace};
use std::time::{SystemTime, UNIX_EPOCH};

/// Looks whether a delivery passed a mark; the message then is filed by the way, and its own size passes no mark.
pub fn look(server: &Server, destination: &Destination, delivered: &Delivered) {
    let config = server.ctx.config.get();
    let Some(after) = delivered.usage else { return };
    let before = (after.0.saturating_sub(delivered.size), after.1.saturating_sub(1));
    let passed = config.deliver.quota_warning.iter().filter(|mark| mark.is_passed(destination.quota, before, after));
    let Some(mark) = passed.max_by_key(|mark| mark.percent) else { return };
    tracing::info!(user = destination.user, %mark, "quota mark passed");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let id = trace::message_id(now.as_secs(), u64::from(now.subsec_nanos()) << 32 | after.0 & 0xffff_ffff, &config.main.hostname);
    let text = text(&config.main.hostname, destination, *mark, after, &id, now.as_secs());
    let letter = Letter {
        location: destination.location.clone(),
        mailbox: MailboxName::inbox(),
        quota_bytes: destination.quota.0,
        quota_messages: destination.quota.1,
        recipient: destination.user.clone(),
        identity: None,
        header: trace::return_path(None).into_bytes(),
        body: server.delivery.body(&[text.as_bytes()]),
    };
    let (delivery, user) = (server.delivery.clone(), destination.user.clone());
    // a mailbox too full for the warning is told of by what comes next, to its sender
    tokio::spawn(async move {
        if let Err(error) = delivery.deliver(letter).await {
            tracing::info!(user, %error, "quota warning not filed");
        }
    });
}

fn text(host: &str, destination: &Destination, mark: QuotaWarning, (bytes, messages): (u64, u64), id: &str, seconds: u64) -> String {
    let (what, state) = match mark.messages {
        true => ("messages", format!("{messages} of {} messages", destination.quota.1)),
        false => ("space", format!("{} of {} KiB", bytes.div_ceil(1024), destination.quota.0.div_ceil(1024))),
    };
    format!(
        "From: Mail Delivery System <postmaster@{host}>\r\nTo: <{user}>\r\nSubject: Your mailbox is more than {percent}% full\r\n\
         Date: {date}\r\nMessage-ID: {id}\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
         The mailbox of {user} uses {state}.\r\n\r\n\
         When it has no {what} left, new mail goes back to those who sent it. Delete what\r\nyou do not need any more, and empty the trash.\r\n",
        user = destination.user,
        percent = mark.percent,
        date = Date::new(i64::try_from(seconds).unwrap_or(i64::MAX), 0),
    )
}
