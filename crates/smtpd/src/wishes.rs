//! What a client asks of transport with MAIL, and what of it is granted.

use crate::desk::Desk;
use crate::server::seconds_since_1970;
use mail_types::{DeliverBy, Release, Reply, TlsWish, Wishes};
use smtp_proto::server::{Answer, MailFrom, Session};

impl Desk {
    /// Notes what the transaction asks for; `answer` is what has been decided about it.
    pub(crate) async fn take_wishes(&mut self, machine: &Session, mail: &MailFrom, answer: Answer) -> Answer {
        if answer != Answer::Accept {
            return answer;
        }
        let asked = mail.priority.unwrap_or(0);
        let priority = if asked > 0 { asked.min(self.priority_limit(machine).await.unwrap_or(0)) } else { asked };
        self.wishes = granted(mail, seconds_since_1970(), priority);
        if priority == asked {
            return Answer::Accept;
        }
        tracing::info!(asked, priority, "a lower priority is given to the message (smtpd_priority_limit)");
        // RFC 6710 §4.1
        Answer::Reply(Reply::with(250, (2, 3, 6), format!("{priority} is the priority of the message, and not {asked}")))
    }

    /// Up to which priority the header of the message is believed (`smtpd_priority_header`).
    pub(crate) async fn header_priority_limit(&self, machine: &Session, mail: &MailFrom) -> Option<i8> {
        match mail.priority {
            None if self.service.smtpd.smtpd_priority_header => self.priority_limit(machine).await,
            _ => None,
        }
    }

    /// The highest priority that this client may use: strangers have none (RFC 6710 §4.1).
    async fn priority_limit(&self, machine: &Session) -> Option<i8> {
        let facts = self.facts(machine, None);
        let trusted = facts.local || facts.login.is_some() || matches!(self.service.policy.in_mynetworks(&facts).await, Ok(true));
        trusted.then(|| i8::try_from(self.service.smtpd.smtpd_priority_limit).unwrap_or(9))
    }
}

fn granted(mail: &MailFrom, now_seconds: u64, priority: i8) -> Wishes {
    let now = i64::try_from(now_seconds).unwrap_or(i64::MAX);
    Wishes {
        deliver_by: mail.by.map(|by| DeliverBy { at_seconds: now.saturating_add(by.seconds), mode: by.mode, trace: by.trace }),
        release: mail.hold.map(|hold| match hold {
            smtp_proto::grammar::Hold::For(interval) => {
                Release { at_seconds: now_seconds.saturating_add(interval), interval: Some(interval) }
            }
            smtp_proto::grammar::Hold::Until(at_seconds) => Release { at_seconds, interval: None },
        }),
        priority,
        tls: if mail.require_tls { TlsWish::Required } else { TlsWish::Usual },
    }
}

/// For the log line of a message; `None` without wishes.
pub(crate) fn shown(wishes: &Wishes) -> Option<String> {
    (*wishes != Wishes::default()).then(|| wishes.to_string())
}
