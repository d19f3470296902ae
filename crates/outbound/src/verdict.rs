//! What a reply, or the lack of one, means for a recipient.

use mail_types::{EnhancedCode, Failure, Outcome, Reply, printable};
use smtp_proto::client::{Error, Said, Stage};

/// Octets of a reply that are kept for logs and notifications.
const TEXT_LIMIT: usize = 1000;

/// What a reply decides about a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Final(Outcome),
    /// Another host, or a later time, may say otherwise.
    Soft(Failure),
    /// The host takes no more recipients in this transaction; the next one may begin at once.
    TooMany(Failure),
}

pub(crate) fn of_reply(said: &Said, host: &str) -> Verdict {
    if said.local {
        let failure = Failure { status: status(&said.reply), reason: format!("{} ({host})", said.reply.text()), remote: None };
        return Verdict::Final(Outcome::Bounced(failure));
    }
    let reply = capped(&said.reply);
    if reply.is_positive() {
        return Verdict::Final(Outcome::Delivered { reply });
    }
    let place = match said.stage {
        Stage::Mail => "MAIL FROM",
        Stage::Recipient => "RCPT TO",
        Stage::Data => "DATA",
        Stage::Message => "end of DATA",
    };
    let reason = printable(&format!("host {host} said: {reply} (in reply to {place})"));
    let failure = Failure { status: status(&reply), reason, remote: Some((host.to_owned(), reply.clone())) };
    // RFC 5321 §4.5.3.1.10: 452, and 552 from old servers, mean too many recipients; 5.2.2 is a full mailbox.
    let full = reply.enhanced().is_some_and(|e| e.1 == 2 || e.1 == 3);
    if said.stage == Stage::Recipient && matches!(reply.code(), 452 | 552) && !full {
        let soft = EnhancedCode(4, failure.status.1, failure.status.2);
        return Verdict::TooMany(Failure { status: soft, ..failure });
    }
    if reply.is_permanent() { Verdict::Final(Outcome::Bounced(failure)) } else { Verdict::Soft(failure) }
}

/// What the system says of an error. Rust puts the number behind it, which means nothing to the sender who reads it in a notification.
pub(crate) fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    let number = error.raw_os_error().map(|number| format!(" (os error {number})"));
    number.and_then(|number| text.strip_suffix(&number).map(str::to_owned)).unwrap_or(text)
}

/// Why a host could not be spoken to. Only refusals that a server means for good bounce, and only when no other host is left.
pub(crate) fn of_error(error: &Error, host: &str, timed_out: bool) -> Outcome {
    let said = |status: EnhancedCode, reply: &Reply, reason: String| Failure {
        status,
        reason: printable(&reason),
        remote: Some((host.to_owned(), capped(reply))),
    };
    match error {
        // RFC 7504 §3: this host never takes mail. Other 5xx greetings are often meant for now (smtp_skip_5xx_greeting).
        Error::Greeting(reply) if matches!(reply.code(), 521 | 556) => {
            Outcome::Bounced(said(status(reply), reply, format!("host {host} takes no mail: {}", capped(reply))))
        }
        Error::Greeting(reply) | Error::Closing(reply) => {
            let status = status(reply);
            let reason = format!("host {host} refused to talk to me: {}", capped(reply));
            Outcome::Deferred(said(EnhancedCode(4, status.1, status.2), reply, reason))
        }
        Error::Hello(reply) if reply.is_permanent() => {
            Outcome::Bounced(said(status(reply), reply, format!("host {host} refused our EHLO: {}", capped(reply))))
        }
        Error::Hello(reply) => Outcome::Deferred(said(status(reply), reply, format!("host {host} refused our EHLO: {}", capped(reply)))),
        Error::TlsNotOffered => Outcome::Deferred(Failure::local((4, 7, 4), format!("TLS is required, but host {host} does not offer it"))),
        Error::TlsRefused(reply) => {
            Outcome::Deferred(said(EnhancedCode(4, 7, 4), reply, format!("TLS is required, but host {host} refused it: {}", capped(reply))))
        }
        Error::AuthNotOffered => Outcome::Deferred(Failure::local((4, 7, 0), format!("host {host} offers no way to log in that we know"))),
        Error::AuthRefused(reply) => {
            Outcome::Deferred(said(EnhancedCode(4, 7, 8), reply, format!("host {host} refused our login: {}", capped(reply))))
        }
        Error::Closed(place) if timed_out => {
            Outcome::Deferred(Failure::local((4, 4, 2), format!("host {host} did not answer in time {place}")))
        }
        Error::Closed(place) => Outcome::Deferred(Failure::local((4, 4, 2), format!("lost the connection with {host} {place}"))),
        Error::PeerMisbehaved(what) => Outcome::Deferred(Failure::local((4, 5, 0), format!("host {host} does not speak SMTP: {what}"))),
        Error::BodySize => Outcome::Deferred(Failure::local((4, 3, 0), "the message in the spool changed while it was sent")),
    }
}

/// The enhanced code of a reply, or what its first digit says.
fn status(reply: &Reply) -> EnhancedCode {
    let class = (reply.code() / 100) as u8;
    reply.enhanced().filter(|e| e.0 == class).unwrap_or(EnhancedCode(if class == 3 { 4 } else { class }, 0, 0))
}

fn capped(reply: &Reply) -> Reply {
    if reply.text().len() <= TEXT_LIMIT {
        return reply.clone();
    }
    let mut end = TEXT_LIMIT;
    while !reply.text().is_char_boundary(end) {
        end -= 1;
    }
    Reply::new(reply.code(), reply.enhanced(), format!("{}…", &reply.text()[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_system_are_told_in_words() {
        assert_eq!(words(&std::io::Error::from_raw_os_error(111)), "Connection refused");
        assert_eq!(words(&std::io::Error::other("too slow")), "too slow");
    }

    fn said(stage: Stage, code: u16, enhanced: Option<(u8, u16, u16)>) -> Said {
        let enhanced = enhanced.map(|(a, b, c)| EnhancedCode(a, b, c));
        Said { stage, reply: Reply::new(code, enhanced, "text"), local: false }
    }

    #[test]
    fn replies_decide_by_their_first_digit() {
        for (stage, code, enhanced, want) in [
            (Stage::Message, 250, Some((2, 0, 0)), "delivered"),
            (Stage::Message, 451, None, "soft 4.0.0"),
            (Stage::Message, 554, Some((5, 7, 1)), "bounced 5.7.1"),
            (Stage::Recipient, 550, None, "bounced 5.0.0"),
            (Stage::Recipient, 450, Some((4, 2, 0)), "soft 4.2.0"),
            (Stage::Recipient, 452, Some((4, 5, 3)), "too many 4.5.3"),
            (Stage::Recipient, 552, None, "too many 4.0.0"),
            (Stage::Recipient, 552, Some((5, 2, 2)), "bounced 5.2.2"),
            (Stage::Recipient, 452, Some((4, 2, 2)), "soft 4.2.2"),
            (Stage::Mail, 421, None, "soft 4.0.0"),
            (Stage::Mail, 552, Some((5, 3, 4)), "bounced 5.3.4"),
        ] {
            let got = match of_reply(&said(stage, code, enhanced), "h") {
                Verdict::Final(Outcome::Delivered { .. }) => "delivered".to_owned(),
                Verdict::Final(Outcome::Bounced(f)) => format!("bounced {}", f.status),
                Verdict::Final(Outcome::Deferred(f)) => format!("deferred {}", f.status),
                Verdict::Soft(f) => format!("soft {}", f.status),
                Verdict::TooMany(f) => format!("too many {}", f.status),
            };
            assert_eq!(got, want, "{stage:?} {code} {enhanced:?}");
        }
    }

    #[test]
    fn what_a_host_says_is_capped_and_on_one_line() {
        let said = Said { stage: Stage::Recipient, reply: Reply::new(550, None, "x\n".repeat(20_000)), local: false };
        let Verdict::Final(Outcome::Bounced(failure)) = of_reply(&said, "mx") else { panic!("550 bounces") };
        assert!(failure.reason.len() < 1500 && !failure.reason.contains('\n'));
        assert!(failure.remote.expect("remote").1.text().len() < 1100);
    }
}
