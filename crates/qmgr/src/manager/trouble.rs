//! Notices for the postmaster about sessions with other hosts that went wrong (Postfix smtp(8) with `notify_classes`).

use super::{Event, Manager};
use config::NotifyClass;
use mail_types::{BodyType, Client, DsnNotify, Envelope, Protocol, QueueId, Recipient};
use message::Date;
use message::notice::Notice;
use outbound::{Trouble, TroubleKind};
use spool::Stored;
use std::time::Instant;
use xxhash_rust::xxh3::xxh3_128;

impl Manager {
    /// Writes a notice, when its class is wanted and the hour has room for one. It is news and no promise: what cannot be written is left out.
    pub(super) fn tell_of(&self, about: QueueId, trouble: Trouble) {
        let Some(notices) = &self.settings().session_notices else { return };
        let class = match trouble.kind {
            TroubleKind::Protocol => NotifyClass::Protocol,
            TroubleKind::Resource => NotifyClass::Resource,
        };
        if !notices.classes.contains(&class) {
            return;
        }
        let Some(left_out) = self.notice_rate.take(notices.per_hour, Instant::now()) else {
            return tracing::debug!("no notice for the postmaster: error_notice_rate_limit is reached");
        };
        let (to, now) = (notices.to.clone(), self.now);
        let id = QueueId::derived(xxh3_128(format!("session {about} {} {}", trouble.host, now.unix_micros).as_bytes()));
        let notice = Notice {
            id,
            host: &self.settings().hostname,
            to: &to,
            date: Date::new(now.unix() as i64, 0),
            role: "SMTP client",
            peer: &trouble.host,
            classes: &[class.as_str()],
            transcript: &trouble.transcript,
            end: &format!("{} (message {about})", trouble.why),
            left_out,
        };
        let text = notice.text();
        let envelope = Envelope {
            id,
            arrived_micros: now.unix_micros,
            sender: None,
            recipients: vec![Recipient { notify: DsnNotify::NEVER, ..Recipient::new(to.clone()) }],
            body: if text.is_ascii() { BodyType::SevenBit } else { BodyType::EightBitMime },
            smtputf8: to.is_utf8(),
            ret: None,
            envid: None,
            wishes: Default::default(),
            hold: false,
            filter: None,
            client: Client { protocol: Protocol { local: true, ..Protocol::default() }, ..Client::default() },
        };
        tracing::info!(queue_id = %about, notification = %id, to = %to, class = class.as_str(), host = %mail_types::printable(&trouble.host), "notice for the postmaster");
        let (files, events) = (self.files.clone(), self.events.clone());
        tokio::task::spawn_blocking(move || {
            let _ = events.send(Event::Noticed(id, files.write(&[(Stored::new(envelope), text.into_bytes().into())])));
        });
    }

    pub(super) fn noticed(&mut self, id: QueueId, written: Result<(), spool::Error>) {
        match written {
            Ok(()) => self.new_file(id),
            Err(error) => tracing::warn!(queue_id = id.as_str(), %error, "a notice for the postmaster cannot be written"),
        }
    }
}
