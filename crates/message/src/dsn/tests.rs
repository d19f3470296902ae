use super::*;
use crate::{Message, fields};

fn address(text: &str) -> Address {
    Address::parse(text).expect("address")
}

fn dsn<'a>(to: &'a Address, recipients: &'a [Status<'a>], original: &'a [u8]) -> Dsn<'a> {
    Dsn {
        host: "mail.us.org",
        id: QueueId::from_parts(1_795_360_092, 1, 1),
        to,
        date: Date::new(1_795_360_092, 0),
        message_id: "<1@mail.us.org>",
        envid: Some("QQ314159"),
        arrival: Date::new(1_795_360_000, 0),
        recipients,
        original,
        returned: None,
        wishes: Default::default(),
        full_limit: 50_000,
        postmaster: false,
        smtputf8: false,
    }
}

fn failed<'a>(recipient: &'a Address, reply: &'a Reply) -> Status<'a> {
    Status {
        original: Some("rfc822;bob@alias.org"),
        recipient,
        action: Action::Failed,
        status: EnhancedCode(5, 1, 1),
        remote: Some(("mx.x.org", reply)),
        reason: "",
        last_attempt: Some(Date::new(1_795_360_091, 0)),
        retry_until: None,
    }
}

#[test]
fn a_bounce_is_a_report_of_three_parts() {
    let (to, bob) = (address("ann@us.org"), address("bob@x.org"));
    let reply = Reply::with(550, (5, 1, 1), "no such user\nreally");
    let built = dsn(&to, &[failed(&bob, &reply)], b"Subject: hi\n\nbody\n").build();
    assert!(!built.eight_bit && !built.smtputf8);
    assert!(crlf::is_crlf(&built.bytes));
    let message = Message::parse(&built.bytes);
    let root = message.root();
    assert!(root.content_type.is("multipart", "report"));
    assert_eq!(root.content_type.params.get("report-type"), Some(&b"delivery-status"[..]));
    let parts: Vec<_> = message.children(root).collect();
    assert_eq!(parts.len(), 3);
    assert!(parts[0].text().contains("<bob@x.org>: host mx.x.org said: 550 5.1.1 no such user really"), "{}", parts[0].text());
    assert!(parts[1].content_type.is("message", "delivery-status"));
    let report = String::from_utf8_lossy(parts[1].body_bytes()).into_owned();
    let (per_message, per_recipient) = report.split_once("\r\n\r\n").expect("two blocks");
    assert_eq!(
        per_message,
        format!(
            "Original-Envelope-Id: QQ314159\r\nReporting-MTA: dns; mail.us.org\r\nX-Facteur-Queue-ID: {}\r\n\
             Arrival-Date: Sun, 22 Nov 2026 15:06:40 +0000",
            QueueId::from_parts(1_795_360_092, 1, 1)
        )
    );
    assert_eq!(
        per_recipient.trim_end(),
        "Original-Recipient: rfc822; bob@alias.org\r\nFinal-Recipient: rfc822; bob@x.org\r\nAction: failed\r\nStatus: 5.1.1\r\n\
         Remote-MTA: dns; mx.x.org\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user really\r\n\
         Last-Attempt-Date: Sun, 22 Nov 2026 15:08:11 +0000"
    );
    assert!(parts[2].content_type.is("message", "rfc822"));
    assert_eq!(parts[2].body_bytes(), b"Subject: hi\r\n\r\nbody\r\n");
}

#[test]
fn headers_alone_are_returned_when_asked_or_when_it_is_large() {
    let (to, bob) = (address("ann@us.org"), address("bob@x.org"));
    let reply = Reply::with(550, (5, 1, 1), "no");
    let recipients = [failed(&bob, &reply)];
    let original = b"Subject: hi\r\n\r\nbody\r\n";
    let base = dsn(&to, &recipients, original);
    let delayed = [Status { action: Action::Delayed, retry_until: Some(Date::new(1_795_900_000, 0)), ..recipients[0] }];
    let asked = Dsn { returned: Some(DsnReturn::Headers), ..base };
    let large = Dsn { full_limit: 10, ..base };
    let delay = Dsn { recipients: &delayed, ..base };
    for dsn in [asked, large, delay] {
        let built = dsn.build();
        let message = Message::parse(&built.bytes);
        let last = message.children(message.root()).last().expect("parts");
        assert!(last.content_type.is("text", "rfc822-headers"));
        assert_eq!(last.body_bytes(), b"Subject: hi\r\n\r\n");
    }
    let text = String::from_utf8(delay.build().bytes).expect("text");
    assert!(text.contains("Subject: Delayed Mail") && text.contains("\r\nWill-Retry-Until: ") && text.contains("Action: delayed"));
    let relayed = [Status { action: Action::Relayed, ..recipients[0] }];
    assert!(String::from_utf8_lossy(&Dsn { recipients: &relayed, ..base }.build().bytes).contains("Subject: Successful"));
}

#[test]
fn utf8_addresses_are_written_as_the_reader_can_take_them() {
    let (to, bob) = (address("ann@us.org"), address("pelé@exämple.org"));
    let reply = Reply::with(550, (5, 1, 1), "né");
    let recipients = [Status { original: Some("utf-8;pelé@exämple.org"), ..failed(&bob, &reply) }];
    let base = dsn(&to, &recipients, b"Subject: hi\r\n\r\nbody\r\n");
    let built = base.build();
    let message = Message::parse(&built.bytes);
    let report = message.children(message.root()).nth(1).expect("report");
    assert!(report.content_type.is("message", "delivery-status") && report.body_bytes().is_ascii());
    let text = String::from_utf8_lossy(report.body_bytes()).into_owned();
    assert!(text.contains("Final-Recipient: utf-8; pel\\x{E9}@ex\\x{E4}mple.org"), "{text}");
    assert!(built.eight_bit && !built.smtputf8);

    let built = Dsn { smtputf8: true, ..base }.build();
    let message = Message::parse(&built.bytes);
    let report = message.children(message.root()).nth(1).expect("report");
    assert!(built.smtputf8 && report.content_type.is("message", "global-delivery-status"));
    assert!(String::from_utf8_lossy(report.body_bytes()).contains("Final-Recipient: utf-8; pelé@exämple.org"));
}

#[test]
fn no_text_of_a_peer_forges_a_line_or_a_boundary() {
    let (to, bob) = (address("ann@us.org"), address("bob@x.org"));
    let id = QueueId::from_parts(1_795_360_092, 1, 1);
    let reply = Reply::with(550, (5, 1, 1), format!("{}\nAction: delivered", "x".repeat(5000)));
    let original = format!("Subject: hi\r\n\r\n--=_facteur_{id}--\r\n");
    let recipients = [Status { original: Some("rfc822;a\r\nStatus: 2.0.0"), ..failed(&bob, &reply) }];
    let built = Dsn { envid: Some("a\r\nX: y"), ..dsn(&to, &recipients, original.as_bytes()) }.build();
    let message = Message::parse(&built.bytes);
    let parts: Vec<_> = message.children(message.root()).collect();
    assert_eq!(parts.len(), 3);
    assert_eq!(parts[2].body_bytes(), original.as_bytes());
    let blocks = parts[1].body_bytes();
    assert!(!fields(blocks).any(|f| f.is("X")));
    let text = String::from_utf8_lossy(blocks).into_owned();
    assert_eq!(text.matches("\r\nAction:").count(), 1);
    assert_eq!(text.matches("\r\nStatus:").count(), 1);
    assert!(text.lines().all(|l| l.len() < 998));
}
