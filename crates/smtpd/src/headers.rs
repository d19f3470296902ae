//! What is put in front of a message, and what is seen in its header on the way.

use mail_types::{Address, printable};
use message::Date;

/// What a submission server adds and removes (RFC 6409 §8).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Submission<'a> {
    pub(crate) sender: Option<&'a Address>,
    pub(crate) hostname: &'a str,
    pub(crate) now_seconds: u64,
    pub(crate) random: u64,
}

/// What happens to the header of a message.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Edits<'a> {
    /// Our Received field and whatever tables want in front.
    pub(crate) front: &'a str,
    pub(crate) submission: Option<Submission<'a>>,
    /// Whether somebody will ask who the authors are.
    pub(crate) authors: bool,
    /// Authentication-Results that claim to be this server's are removed (RFC 8601 §5).
    pub(crate) not_from: Option<&'a str>,
}

/// A message as it goes to the spool.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Assembled {
    pub(crate) bytes: Vec<u8>,
    /// Received fields, without ours.
    pub(crate) hops: usize,
    /// For the log.
    pub(crate) message_id: String,
    pub(crate) authors: Authors,
    /// `TLS-Required: No` (RFC 8689 §3).
    pub(crate) tls_optional: bool,
    /// The one `MT-Priority` field (RFC 6758), when its value is one.
    pub(crate) priority: Option<i8>,
    /// Length of the header as it came.
    pub(crate) header_bytes: usize,
}

/// The From fields of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Authors {
    pub(crate) fields: usize,
    pub(crate) addresses: Vec<Address>,
    /// Something in it is no address, or there are more than anybody writes.
    pub(crate) unclear: bool,
}

/// Each author may cost a lookup.
const MAX_AUTHORS: usize = 50;

impl Authors {
    fn add(&mut self, value: &[u8]) {
        self.fields += 1;
        for entry in message::address::parse(value) {
            let message::Entry::Mailbox(mailbox) = entry else { continue };
            match mailbox.address() {
                Some(address) if self.addresses.len() < MAX_AUTHORS => self.addresses.push(address),
                _ => {
                    self.unclear = true;
                    return;
                }
            }
        }
    }
}

/// Fields that tell what the recipients must not learn, or that final delivery writes (Postfix message_drop_headers).
const DROPPED: [&str; 4] = ["Bcc", "Resent-Bcc", "Content-Length", "Return-Path"];

/// Edits the header of `message`, which has CRLF line ends and holds at least the whole header. A header that is not followed by an
/// empty line gets one.
pub(crate) fn assemble(message: &[u8], edits: Edits<'_>) -> Assembled {
    let Edits { front, submission, .. } = edits;
    let (mut hops, mut message_id) = (0, String::new());
    let mut missing = message::trace::Missing { date: true, message_id: true, from: true };
    let mut dropped = Vec::new();
    let mut authors = Authors::default();
    let mut tls_optional = false;
    let mut priorities = Vec::new();
    let mut fields = message::fields(message);
    let mut body = None;
    for field in fields.by_ref() {
        if field.name().is_empty() {
            body = Some(field.offset());
            break;
        }
        match field.name().len() {
            8 if field.is("Received") => hops += 1,
            4 if field.is("Date") => missing.date = false,
            4 if field.is("From") => {
                missing.from = false;
                if edits.authors {
                    authors.add(field.value());
                }
            }
            10 if field.is("Message-ID") => {
                missing.message_id = false;
                message_id = printable(&field.text());
            }
            11 if field.is("MT-Priority") => priorities.push(priority(&field.unfolded())),
            12 if field.is("TLS-Required") => tls_optional |= field.unfolded().eq_ignore_ascii_case(b"no"),
            _ => {}
        }
        let private = submission.is_some() && DROPPED.iter().any(|name| field.is(name));
        if private || edits.not_from.is_some_and(|name| claims_to_be(&field, name)) {
            dropped.push(field.offset()..field.offset() + field.raw().len());
        }
    }
    let body_at = body.unwrap_or(fields.position());
    let mut bytes = Vec::with_capacity(front.len() + message.len() + 256);
    bytes.extend_from_slice(front.as_bytes());
    if let Some(submission) = submission {
        let added = submission.fields(missing);
        if let Some(id) = added.message_id {
            message_id = id;
        }
        bytes.extend_from_slice(added.text.as_bytes());
    }
    let mut at = 0;
    for range in dropped {
        bytes.extend_from_slice(&message[at..range.start]);
        at = range.end;
    }
    bytes.extend_from_slice(&message[at..body_at]);
    if body.is_some() {
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(&message[body_at..]);
    // Of several one is forged, and it cannot be told which.
    let priority = if let [only] = priorities[..] { only } else { None };
    Assembled { bytes, hops, message_id, authors, tls_optional, priority, header_bytes: body_at }
}

// priority-header-field = "MT-Priority:" [CFWS] priority-value [CFWS] CRLF     ; RFC 6758 §4
// priority-value = (["-"] NZDIGIT) / "0"                                       ; RFC 6710 §3
fn priority(value: &[u8]) -> Option<i8> {
    let text = std::str::from_utf8(value).ok()?;
    let word = text.split_once('(').map_or(text, |(front, _)| front).trim();
    word.parse().ok().filter(|n: &i8| (-9..=9).contains(n) && n.to_string() == word)
}

fn claims_to_be(field: &message::Field<'_>, hostname: &str) -> bool {
    field.is("Authentication-Results") && {
        let name = message::trace::authserv_id(field.value());
        name.strip_suffix(b".").unwrap_or(&name).eq_ignore_ascii_case(hostname.as_bytes())
    }
}

struct Added {
    text: String,
    message_id: Option<String>,
}

impl Submission<'_> {
    fn fields(&self, missing: message::trace::Missing) -> Added {
        let mut text = String::new();
        let mut message_id = None;
        if missing.message_id {
            let id = message::trace::message_id(self.now_seconds, self.random, self.hostname);
            text.push_str(&format!("Message-ID: {id}\r\n"));
            message_id = Some(id);
        }
        if missing.date {
            text.push_str(&format!("Date: {}\r\n", Date::new(i64::try_from(self.now_seconds).unwrap_or(i64::MAX), 0)));
        }
        if missing.from {
            match self.sender {
                Some(sender) => text.push_str(&format!("From: {sender}\r\n")),
                None => text.push_str(&format!("From: MAILER-DAEMON@{}\r\n", self.hostname)),
            }
        }
        Added { text, message_id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relayed_message_only_gets_the_front() {
        for (message, want) in [
            ("Subject: x\r\n\r\nbody\r\n", "F: f\r\nSubject: x\r\n\r\nbody\r\n"),
            ("Subject: x\r\nBcc: y\r\n\r\n", "F: f\r\nSubject: x\r\nBcc: y\r\n\r\n"),
            // The guide's telnet session: no empty line behind the header.
            ("Subject: Test\r\nTest\r\n", "F: f\r\nSubject: Test\r\n\r\nTest\r\n"),
            ("hello\r\n", "F: f\r\n\r\nhello\r\n"),
            ("\r\nhello\r\n", "F: f\r\n\r\nhello\r\n"),
            ("", "F: f\r\n"),
            ("Subject: x\r\n", "F: f\r\nSubject: x\r\n"),
        ] {
            let got = assemble(message.as_bytes(), Edits { front: "F: f\r\n", ..Edits::default() });
            assert_eq!(String::from_utf8_lossy(&got.bytes), want, "{message:?}");
        }
    }

    #[test]
    fn a_submission_gets_what_it_lacks_and_loses_what_is_private() {
        let sender = Address::parse("ann@x.test").expect("address");
        let submission = Some(Submission { sender: Some(&sender), hostname: "mx.test", now_seconds: 1_700_000_000, random: 35 });
        let assemble = |message: &[u8]| assemble(message, Edits { submission, ..Edits::default() });
        let got = assemble(b"Subject: x\r\nBcc: secret@x.test,\r\n more@x.test\r\nTo: y\r\n\r\nBcc: stays\r\n");
        let text = String::from_utf8_lossy(&got.bytes);
        assert!(text.contains("Message-ID: <") && text.contains("@mx.test>\r\n"), "{text}");
        assert!(
            text.contains("Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nFrom: ann@x.test\r\nSubject: x\r\nTo: y\r\n\r\nBcc: stays\r\n"),
            "{text}"
        );
        assert!(got.message_id.ends_with("@mx.test>"));

        let whole = b"Date: d\r\nFrom: f\r\nMessage-Id: <i@j>\r\n\r\n";
        let got = assemble(whole);
        assert_eq!((got.bytes.as_slice(), got.message_id.as_str()), (&whole[..], "<i@j>"));
    }

    #[test]
    fn hops_are_counted_in_the_header_only() {
        let message = "Received: a\r\nReceived: b\r\n c\r\nX: y\r\n\r\nReceived: d\r\n";
        assert_eq!(assemble(message.as_bytes(), Edits::default()).hops, 2);
    }

    #[test]
    fn results_that_claim_to_be_ours_are_removed() {
        let message = "Authentication-Results: MX.test;\r\n\tspf=pass\r\nAuthentication-Results: other.test; none\r\n\
            authentication-results : \"mx.test\" 1; none\r\nAuthentication-Results: (mx.test) mx.test.evil.test; none\r\n\
            Authentication-Results: (x) mx.test.; none\r\n\r\nAuthentication-Results: mx.test; body\r\n";
        let got = assemble(message.as_bytes(), Edits { not_from: Some("mx.test"), ..Edits::default() });
        assert_eq!(
            String::from_utf8_lossy(&got.bytes),
            "Authentication-Results: other.test; none\r\nAuthentication-Results: (mx.test) mx.test.evil.test; none\r\n\r\n\
            Authentication-Results: mx.test; body\r\n"
        );
        assert_eq!(assemble(message.as_bytes(), Edits::default()).bytes, message.as_bytes());
    }

    #[test]
    fn rfc6758_one_priority_field_is_believed_and_several_are_not() {
        for (header, want) in [
            ("MT-Priority: 4\r\n", Some(4)),
            ("mt-priority:\r\n -9 (low)\r\n", Some(-9)),
            ("MT-Priority: 0\r\n", Some(0)),
            ("MT-Priority: 10\r\n", None),
            ("MT-Priority: +4\r\n", None),
            ("MT-Priority: 04\r\n", None),
            ("MT-Priority: high\r\n", None),
            ("MT-Priority: 4\r\nMT-Priority: 4\r\n", None),
            ("X: y\r\n", None),
        ] {
            let message = format!("{header}\r\nMT-Priority: 9\r\n");
            assert_eq!(assemble(message.as_bytes(), Edits::default()).priority, want, "{header:?}");
        }
    }

    #[test]
    fn authors_are_all_addresses_of_all_from_fields() {
        let many = format!("{}z@x.test", "a@x.test, ".repeat(MAX_AUTHORS));
        for (from, want, unclear) in [
            ("ann@x.test", &["ann@x.test"][..], false),
            ("Ann <ann@x.test>, \"B, c\" <bob@x.test>", &["ann@x.test", "bob@x.test"], false),
            ("team: ann@x.test, bob@x.test;", &["ann@x.test", "bob@x.test"], false),
            ("=?utf-8?q?boss=40y.test?= <ann@x.test>", &["ann@x.test"], false),
            ("=?utf-8?q?boss=40y.test?=", &[], true),
            ("undisclosed:;", &[], false),
            ("ann", &[], true),
            ("", &[], false),
            (&many, &["a@x.test"; MAX_AUTHORS], true),
        ] {
            let message = format!("From: {from}\r\nX: y\r\n\r\nFrom: body@x.test\r\n");
            let got = assemble(message.as_bytes(), Edits { authors: true, ..Edits::default() }).authors;
            let addresses: Vec<String> = got.addresses.iter().map(Address::to_string).collect();
            assert_eq!(
                (got.fields, addresses.as_slice(), got.unclear),
                (1, want.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>().as_slice(), unclear),
                "{from}"
            );
        }
        let twice = assemble(b"From: a@x.test\r\nfrom : b@x.test\r\n\r\n", Edits { authors: true, ..Edits::default() });
        assert_eq!(twice.authors.fields, 2);
    }
}
