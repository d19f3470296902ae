//! Notices for the postmaster about sessions that went wrong (Postfix `notify_classes`), with what was said.
//!
//! What a session was about follows from our own replies ([`class_of`]). A transcript is kept only where some class is wanted, and is bounded: the
//! beginning and the end of a long session, the beginning of a long line, nothing of messages and passwords. Notices are bounded as well
//! (`error_notice_rate_limit`), so that a flood of bad sessions does not become a flood of mail; how many were left out stands in the next one.

use crate::server::{Server, World};
use config::NotifyClass;
use mail_types::{Address, Client, DsnNotify, EnhancedCode, Envelope, Protocol, Recipient};
use message::Date;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What the postmaster wants to hear of.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    classes: Vec<NotifyClass>,
    recipient: Address,
    per_hour: u32,
}

impl Terms {
    /// `None`: nothing that smtpd could tell.
    pub(crate) fn new(config: &config::Config) -> Option<Terms> {
        let own = [NotifyClass::Policy, NotifyClass::Protocol, NotifyClass::Resource, NotifyClass::Software];
        let classes: Vec<NotifyClass> = own.into_iter().filter(|class| config.qmgr.notify_classes.contains(class)).collect();
        let text = config.expand(&config.qmgr.error_notice_recipient);
        let recipient = match text.contains('@') {
            true => Address::parse(text.trim()).ok(),
            false => Address::parse(&format!("{}@{}", text.trim(), config.main.myorigin)).ok(),
        };
        let per_hour = config.qmgr.error_notice_rate_limit;
        recipient.filter(|_| !classes.is_empty()).map(|recipient| Terms { classes, recipient, per_hour })
    }
}

/// What was said in a session, and which classes it belongs to.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    lines: smtp_proto::Transcript,
    classes: Vec<NotifyClass>,
}

impl Transcript {
    /// Command lines of the client, then what we answered.
    pub(crate) fn add(&mut self, heard: Vec<String>, said: &[u8]) {
        for line in heard {
            self.lines.heard(&line);
        }
        for line in String::from_utf8_lossy(said).lines() {
            self.lines.said(line);
            if let Some(class) = class_of(line).filter(|class| !self.classes.contains(class)) {
                self.classes.push(class);
            }
        }
    }

    fn text(&self) -> String {
        self.lines.text()
    }
}

/// Which class a reply of ours belongs to, by its enhanced code (RFC 3463 §3). Unknown users, greylisting and wrong passwords are everyday life, and
/// belong to none.
fn class_of(line: &str) -> Option<NotifyClass> {
    let (code, rest) = line.split_at_checked(3)?;
    if !code.starts_with(['4', '5']) || matches!(code, "530" | "534" | "535" | "538") {
        return None;
    }
    let EnhancedCode(_, subject, detail) = EnhancedCode::parse(rest.get(1..)?.split(' ').next()?)?;
    match (subject, detail) {
        // The message is too large; the administrator says to come later.
        (3, 2 | 4) => None,
        (3, 5) => Some(NotifyClass::Software),
        (3, _) => Some(NotifyClass::Resource),
        (5, _) => Some(NotifyClass::Protocol),
        (1, 0 | 1 | 6) => None,
        (1 | 7, _) => Some(NotifyClass::Policy),
        _ => None,
    }
}

/// Writes to the postmaster about a session that is over, when its classes are wanted. `client` is `name[address]`, `end` how it ended.
pub(crate) async fn send(server: &Server, world: &World, transcript: &Transcript, client: &str, end: &str) {
    let Some(terms) = &world.notices else { return };
    let classes: Vec<&str> = transcript.classes.iter().filter(|class| terms.classes.contains(class)).map(|class| class.as_str()).collect();
    if classes.is_empty() {
        return;
    }
    let Some(left_out) = server.notice_rate.take(terms.per_hour, Instant::now()) else {
        return tracing::debug!("no notice for the postmaster: error_notice_rate_limit is reached");
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let host = &world.hostname;
    let id = server.spool.next_id();
    let notice = message::notice::Notice {
        id,
        host,
        to: &terms.recipient,
        date: Date::new(i64::try_from(now.as_secs()).unwrap_or(i64::MAX), 0),
        role: "SMTP server",
        peer: client,
        classes: &classes,
        transcript: &transcript.text(),
        end,
        left_out,
    };
    let body = notice.text();
    let envelope = Envelope {
        id,
        arrived_micros: u64::try_from(now.as_micros()).unwrap_or(u64::MAX),
        sender: None,
        recipients: vec![Recipient { notify: DsnNotify::NEVER, ..Recipient::new(terms.recipient.clone()) }],
        body: mail_types::BodyType::EightBitMime,
        smtputf8: terms.recipient.is_utf8(),
        ret: None,
        envid: None,
        hold: false,
        filter: None,
        wishes: Default::default(),
        client: Client { protocol: Protocol { local: true, ..Protocol::default() }, ..Client::default() },
    };
    match server.spool.accept(&envelope, body.as_bytes()).await {
        Ok(receipt) => {
            server.hint(receipt);
            tracing::info!(queue_id = %id, to = %terms.recipient, classes = classes.join(" "), "notice for the postmaster");
        }
        Err(error) => tracing::warn!(%error, classes = classes.join(" "), "a notice for the postmaster cannot be queued"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_have_their_class() {
        for (line, want) in [
            ("250 2.0.0 Ok", None),
            ("220 here.test ESMTP", None),
            ("554 5.7.1 <x>: Relay access denied", Some(NotifyClass::Policy)),
            ("450 4.1.8 <x>: Sender address rejected: Domain not found", Some(NotifyClass::Policy)),
            ("550 5.1.1 <x>: User unknown", None),
            ("450 4.2.0 <x>: Greylisted", None),
            ("535 5.7.8 Error: authentication failed", None),
            ("500 5.5.2 Error: command not recognized", Some(NotifyClass::Protocol)),
            ("503 5.5.1 Error: need MAIL command", Some(NotifyClass::Protocol)),
            ("452 4.3.1 Insufficient system storage", Some(NotifyClass::Resource)),
            ("451 4.3.0 Error: the queue is not available", Some(NotifyClass::Resource)),
            ("451 4.3.5 Server configuration error", Some(NotifyClass::Software)),
            ("421 4.3.2 here.test Service shutting down", None),
            ("552 5.3.4 Error: message file too big", None),
            ("5", None),
            ("500", None),
        ] {
            assert_eq!(class_of(line), want, "{line}");
        }
    }

    #[test]
    fn a_transcript_is_bounded_and_forges_no_line() {
        let mut transcript = Transcript::default();
        for n in 0..1000 {
            transcript.add(vec![format!("NOOP {n} {}", "x".repeat(1000))], b"250 2.0.0 Ok\r\n");
        }
        let text = transcript.text();
        assert!(text.starts_with(" In:  NOOP 0 x") && text.contains("(1920 lines are left out)") && text.len() < 30_000, "{text}");
        let mut transcript = Transcript::default();
        transcript.add(vec!["EHLO a\u{1b}[2Jb".into()], b"");
        assert!(!transcript.text().contains('\u{1b}'));
    }
}
