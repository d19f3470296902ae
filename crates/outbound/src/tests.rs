//! Deliveries to servers that follow a script (SECURITY Q8 to Q12).

use crate::settings::Timeouts;
use crate::{Attempt, Body, Destination, Message, NamedBy, Outbound, Settings, Tables};
use config::SmtpTlsLevel;
use mail_types::{Address, BodyType, Domain, Outcome, QueueId, Recipient, Secret};
use smtp_proto::client::Credentials;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use testkit::{Act, FakeDns, Sink};

mod downgrades;
mod hostile;
mod lmtp;
mod mx;
mod policies;
mod relay;
mod wishes;

const TEXT: &str = "Subject: test\r\n\r\nhello\r\n";

fn settings() -> Settings {
    let file = Path::new("/etc/facteur/facteur.toml");
    let config = config::Config::from_texts(file, &[(file.into(), "hostname = \"mx.us.org\"".into())]).expect("settings");
    let time = Duration::from_secs(10);
    Settings { connect_timeout: time, timeouts: Timeouts::all(time), data_xfer_timeout: time, ..Settings::new(&config).expect("no files") }
}

fn at_level(level: SmtpTlsLevel) -> Settings {
    let section = config::Outbound { smtp_tls_security_level: level, ..settings().section };
    Settings { section, ..settings() }
}

/// A carrier whose names come from `dns`.
fn outbound(settings: Settings, dns: &FakeDns) -> Outbound {
    with_tables(settings, Tables::default(), dns)
}

fn with_tables(settings: Settings, tables: Tables, dns: &FakeDns) -> Outbound {
    let dns = config::Dns { nameservers: vec![dns.address()], timeout: Duration::from_millis(500), ..config::Dns::default() };
    Outbound::new(settings, tables, Arc::new(dns::Dns::new(&dns).expect("settings"))).expect("settings")
}

/// A carrier for hosts that need no names.
async fn plain() -> Outbound {
    outbound(settings(), &FakeDns::start("").await)
}

fn message(text: impl AsRef<[u8]>) -> Message {
    Message {
        id: QueueId::from_parts(1_800_000_000, 1, 2),
        sender: Some(Address::parse("from@us.org").expect("address")),
        body_type: BodyType::SevenBit,
        smtputf8: false,
        ret: None,
        envid: None,
        wishes: Default::default(),
        accepted_seconds: 1_800_000_000,
        repeat: false,
        named_by: NamedBy::Relay,
        client: None,
        body: Body::memory(text.as_ref().to_vec()),
    }
}

fn in_file(text: &[u8]) -> Body {
    let mut file = tempfile::tempfile().expect("file");
    std::io::Write::write_all(&mut file, b"header of the spool file").expect("write");
    std::io::Write::write_all(&mut file, text).expect("write");
    Body::File { front: Arc::default(), file: Arc::new(file), offset: 24, length: text.len() as u64 }
}

fn to(addresses: &[&str]) -> Vec<Recipient> {
    addresses.iter().map(|a| Recipient::new(Address::parse(a).expect(a))).collect()
}

/// The sink itself, by its address.
fn at(sink: &Sink) -> Destination {
    Destination::Smtp { host: Domain::parse("[127.0.0.1]").expect("literal"), port: Some(sink.port()), mx: false }
}

/// Each outcome in a few words.
fn short(attempt: &Attempt) -> Vec<String> {
    let one = |outcome: &Outcome| match outcome {
        Outcome::Delivered { .. } => "delivered".to_owned(),
        Outcome::Deferred(failure) => format!("deferred {}", failure.status),
        Outcome::Bounced(failure) => format!("bounced {}", failure.status),
    };
    attempt.outcomes.iter().map(one).collect()
}

fn reason(attempt: &Attempt) -> &str {
    match &attempt.outcomes[0] {
        Outcome::Delivered { reply } => reply.text(),
        Outcome::Deferred(failure) | Outcome::Bounced(failure) => &failure.reason,
    }
}

#[tokio::test]
async fn a_message_is_delivered_as_it_is() {
    let sink = Sink::smtp().start().await;
    let outbound = plain().await;
    let text = "Subject: dots\r\n\r\n.\r\n..\r\n.x\r\nend\r\n";
    let attempt = outbound.deliver(&at(&sink), &message(text), &to(&["a@x.org", "b@x.org"])).await;
    assert_eq!(short(&attempt), ["delivered", "delivered"]);
    assert!(attempt.reached && attempt.relay.expect("relay").ends_with(&format!("[127.0.0.1]:{}", sink.port())));
    let messages = sink.messages();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].body, text.as_bytes());
    assert_eq!(messages[0].recipients, ["RCPT TO:<a@x.org>", "RCPT TO:<b@x.org>"]);
    assert!(messages[0].mail.starts_with("MAIL FROM:<from@us.org> SIZE="), "{}", messages[0].mail);
    assert_eq!(sink.commands()[0], "EHLO mx.us.org");
}

#[tokio::test]
async fn a_body_in_a_file_is_streamed() {
    let text = format!("Subject: large\r\n\r\n{}", ".line of text\r\n".repeat(40_000));
    for sink in [Sink::smtp().start().await, Sink::smtp().keywords("PIPELINING").start().await] {
        let attempt =
            plain().await.deliver(&at(&sink), &Message { body: in_file(text.as_bytes()), ..message("") }, &to(&["a@x.org"])).await;
        assert_eq!(short(&attempt), ["delivered"], "{}", reason(&attempt));
        assert!(sink.messages()[0].body == text.as_bytes());
    }
}

#[tokio::test]
async fn a_file_that_is_too_short_is_our_fault_and_sends_no_half_message() {
    let sink = Sink::smtp().start().await;
    let Body::File { file, offset, .. } = in_file(b"Subject: x\r\n\r\nhi\r\n") else { panic!("a file") };
    let body = Body::File { front: Arc::default(), file, offset, length: 100_000 };
    let attempt = plain().await.deliver(&at(&sink), &Message { body, ..message("") }, &to(&["a@x.org"])).await;
    assert_eq!(short(&attempt), ["deferred 4.3.0"]);
    assert!(attempt.unreadable && attempt.reached && sink.messages().is_empty());
}

#[tokio::test]
async fn it_is_known_which_hosts_report_further_by_themselves() {
    for (keywords, want) in [("PIPELINING DSN", [true, false]), ("PIPELINING", [false, false])] {
        let sink = Sink::smtp().keywords(keywords).on("RCPT TO:<bad@", Act::reply("550 5.1.1 no such user")).start().await;
        let attempt = plain().await.deliver(&at(&sink), &message(TEXT), &to(&["a@x.org", "bad@x.org"])).await;
        assert_eq!(short(&attempt), ["delivered", "bounced 5.1.1"]);
        assert_eq!((attempt.passed_on, attempt.unreadable), (want.to_vec(), false), "{keywords}");
    }
}

#[tokio::test]
async fn a_destination_is_greeted_without_a_message() {
    let sink = Sink::smtp().start().await;
    let outbound = plain().await;
    assert!(outbound.greets(&at(&sink)).await);
    assert_eq!(short(&outbound.deliver(&at(&sink), &message(TEXT), &to(&["a@x.org"])).await), ["delivered"]);
    assert_eq!(sink.connections(), 1, "the connection is used");
    let busy = Sink::smtp().on("connect", Act::reply("421 4.3.2 busy")).start().await;
    assert!(!outbound.greets(&at(&busy)).await);
    let dir = testkit::temp_dir();
    assert!(!outbound.greets(&Destination::LmtpUnix(dir.path().join("none"))).await);
}

/// Q12.
#[tokio::test]
async fn bodies_are_normalised() {
    for (text, want) in [
        ("Subject: x\r\n\r\nno end", "Subject: x\r\n\r\nno end\r\n"),
        ("Subject: x\r\n\r\na\nb\rc\r\n", "Subject: x\r\n\r\na\r\nb\r\nc\r\n"),
        ("Subject: x\r\n\r\n\n.\nMAIL FROM:<evil@x.org>\r\n", "Subject: x\r\n\r\n\r\n.\r\nMAIL FROM:<evil@x.org>\r\n"),
        ("", ""),
    ] {
        let sink = Sink::smtp().start().await;
        let attempt = plain().await.deliver(&at(&sink), &message(text), &to(&["a@x.org"])).await;
        assert_eq!(short(&attempt), ["delivered"], "{text:?}");
        let messages = sink.messages();
        assert_eq!(messages.len(), 1, "{text:?}");
        assert_eq!(String::from_utf8_lossy(&messages[0].body), want, "{text:?}");
    }
}

#[tokio::test]
async fn each_recipient_has_its_own_outcome() {
    let sink = Sink::smtp()
        .on("RCPT TO:<bad@", Act::reply("550 5.1.1 no such user"))
        .on("RCPT TO:<later@", Act::reply("450 4.2.0 busy"))
        .start()
        .await;
    let attempt = plain().await.deliver(&at(&sink), &message(TEXT), &to(&["bad@x.org", "a@x.org", "later@x.org"])).await;
    assert_eq!(short(&attempt), ["bounced 5.1.1", "delivered", "deferred 4.2.0"]);
    let want = format!("host 127.0.0.1[127.0.0.1]:{} said: 550 5.1.1 no such user (in reply to RCPT TO)", sink.port());
    assert_eq!(reason(&attempt), want);
    assert_eq!(sink.messages()[0].recipients, ["RCPT TO:<a@x.org>"]);
}

#[tokio::test]
async fn refusals_at_each_stage_are_understood() {
    for (moment, reply, want) in [
        ("MAIL", "550 5.7.1 go away", "bounced 5.7.1"),
        ("MAIL", "451 4.3.0 later", "deferred 4.3.0"),
        ("DATA", "554 5.5.1 no", "bounced 5.5.1"),
        ("DATA", "250 what", "deferred 4.5.0"),
        ("end of data", "554 5.7.1 spam", "bounced 5.7.1"),
        ("end of data", "451 4.7.1 greylisted", "deferred 4.7.1"),
        ("end of data", "354 what", "deferred 4.5.0"),
        ("connect", "554 no service", "deferred 4.0.0"),
        ("connect", "521 never", "bounced 5.0.0"),
        ("connect", "421 4.3.2 too busy", "deferred 4.3.2"),
        ("EHLO", "421 4.3.2 too busy", "deferred 4.3.2"),
        ("RCPT", "421 4.3.2 closing", "deferred 4.3.2"),
    ] {
        let sink = Sink::smtp().on(moment, Act::reply(reply)).start().await;
        let attempt = plain().await.deliver(&at(&sink), &message(TEXT), &to(&["a@x.org"])).await;
        assert_eq!(short(&attempt), [want], "{moment} {reply}: {}", reason(&attempt));
        assert!(sink.messages().is_empty());
    }
}

#[tokio::test]
async fn a_server_without_ehlo_gets_helo_one_command_at_a_time() {
    let sink = Sink::smtp().on("EHLO", Act::reply("500 what")).start().await;
    let attempt = plain().await.deliver(&at(&sink), &message(TEXT), &to(&["a@x.org"])).await;
    assert_eq!(short(&attempt), ["delivered"]);
    assert_eq!(sink.commands(), ["EHLO mx.us.org", "HELO mx.us.org", "MAIL FROM:<from@us.org>", "RCPT TO:<a@x.org>", "DATA"]);
}

#[tokio::test]
async fn recipients_beyond_the_servers_limit_go_in_the_next_transaction() {
    let sink = Sink::smtp()
        .on_first(1, "RCPT TO:<a@", Act::reply("250 ok"))
        .on_first(1, "RCPT TO:<b@", Act::reply("452 4.5.3 too many"))
        .start()
        .await;
    let attempt = plain().await.deliver(&at(&sink), &message(TEXT), &to(&["a@x.org", "b@x.org"])).await;
    assert_eq!(short(&attempt), ["delivered", "delivered"]);
    assert_eq!((sink.messages().len(), sink.connections()), (2, 1));
}

#[tokio::test]
async fn rfc9422_the_limits_of_a_server_cut_batches_and_end_sessions() {
    let everybody = ["a@x.org", "b@y.org", "c@x.org", "d@x.org", "e@z.org"];
    for (limits, want) in [
        ("LIMITS RCPTMAX=2", vec![(1, "ab"), (1, "cd"), (1, "e")]),
        ("LIMITS RCPTDOMAINMAX=1", vec![(1, "acd"), (1, "b"), (1, "e")]),
        ("LIMITS RCPTMAX=2 RCPTDOMAINMAX=1 MAILMAX=2", vec![(1, "ac"), (1, "b"), (2, "d"), (2, "e")]),
        ("LIMITS RCPTMAX=3 MAILMAX=1", vec![(1, "abc"), (2, "de")]),
    ] {
        let sink = Sink::smtp().keyword(limits).start().await;
        let outbound = plain().await;
        let attempt = outbound.deliver(&at(&sink), &message(TEXT), &to(&everybody)).await;
        assert_eq!(short(&attempt), ["delivered"; 5], "{limits}");
        let names = |m: &testkit::sink::Received| m.recipients.iter().filter_map(|r| r.chars().nth(9)).collect::<String>();
        let got: Vec<_> = sink.messages().iter().map(|m| (m.connection, names(m))).collect();
        assert_eq!(got, want.into_iter().map(|(c, n)| (c, n.to_owned())).collect::<Vec<_>>(), "{limits}");
    }
}

#[tokio::test]
async fn a_session_that_may_hold_no_more_messages_is_renewed() {
    let sink = Sink::smtp().keyword("LIMITS MAILMAX=2").start().await;
    let outbound = plain().await;
    for _ in 0..5 {
        assert_eq!(short(&outbound.deliver(&at(&sink), &message(TEXT), &to(&["a@x.org"])).await), ["delivered"]);
    }
    assert_eq!(sink.messages().iter().map(|m| m.connection).collect::<Vec<_>>(), [1, 1, 2, 2, 3]);
    // Temporary refusals of all of a batch end at this host, and are not asked again on another connection.
    let busy = Sink::smtp().keyword("LIMITS MAILMAX=1 RCPTMAX=1").on("RCPT", Act::reply("450 4.2.0 later")).start().await;
    let attempt = plain().await.deliver(&at(&busy), &message(TEXT), &to(&["a@x.org", "b@x.org"])).await;
    assert_eq!(short(&attempt), ["deferred 4.2.0"; 2]);
}

#[tokio::test]
async fn many_messages_share_a_connection() {
    let sink = Sink::smtp().start().await;
    let outbound = outbound(Settings { reuse_count_limit: 3, ..settings() }, &FakeDns::start("").await);
    for _ in 0..4 {
        assert_eq!(short(&outbound.deliver(&at(&sink), &message(TEXT), &to(&["a@x.org"])).await), ["delivered"]);
    }
    let by: Vec<_> = sink.messages().iter().map(|m| m.connection).collect();
    assert_eq!(by, [1, 1, 1, 2]);
    outbound.close().await;
    assert_eq!(sink.commands().iter().filter(|c| *c == "QUIT").count(), 2);
}

#[tokio::test]
async fn a_refused_message_leaves_the_connection_for_the_next() {
    let sink = Sink::smtp().on_first(1, "MAIL", Act::reply("550 5.7.1 no")).start().await;
    let outbound = plain().await;
    assert_eq!(short(&outbound.deliver(&at(&sink), &message(TEXT), &to(&["a@x.org"])).await), ["bounced 5.7.1"]);
    assert_eq!(short(&outbound.deliver(&at(&sink), &message(TEXT), &to(&["a@x.org"])).await), ["delivered"]);
    assert_eq!(sink.connections(), 1);
}

#[tokio::test]
async fn a_connection_that_died_while_idle_is_replaced_at_once() {
    for act in [Act::Close, Act::ReplyAndClose("421 4.4.2 idle too long".into())] {
        let sink = Sink::smtp().on_first(1, "RSET", act.clone()).on_first(1, "MAIL FROM:<second@", act).start().await;
        let outbound = plain().await;
        assert_eq!(short(&outbound.deliver(&at(&sink), &message(TEXT), &to(&["a@x.org"])).await), ["delivered"]);
        let second = Message { sender: Some(Address::parse("second@us.org").expect("address")), ..message(TEXT) };
        assert_eq!(short(&outbound.deliver(&at(&sink), &second, &to(&["a@x.org"])).await), ["delivered"]);
        assert_eq!((sink.messages().len(), sink.connections()), (2, 2));
    }
}

#[tokio::test]
async fn tls_is_used_where_it_is_offered_and_left_out_where_it_fails() {
    let good = Sink::smtp().starttls().start().await;
    let broken = Sink::smtp().keyword("STARTTLS").start().await;
    let refused = Sink::smtp().starttls().on("STARTTLS", Act::reply("454 4.7.0 not now")).start().await;
    let none = Sink::smtp().start().await;
    for (level, sink, want, tls) in [
        (SmtpTlsLevel::May, &good, "delivered", true),
        (SmtpTlsLevel::Encrypt, &good, "delivered", true),
        (SmtpTlsLevel::None, &good, "delivered", false),
        (SmtpTlsLevel::May, &broken, "delivered", false),
        (SmtpTlsLevel::Encrypt, &broken, "deferred 4.7.5", false),
        (SmtpTlsLevel::May, &refused, "delivered", false),
        (SmtpTlsLevel::Encrypt, &refused, "deferred 4.7.4", false),
        (SmtpTlsLevel::May, &none, "delivered", false),
        (SmtpTlsLevel::Encrypt, &none, "deferred 4.7.4", false),
    ] {
        let outbound = outbound(at_level(level), &FakeDns::start("").await);
        let attempt = outbound.deliver(&at(sink), &message(TEXT), &to(&["a@x.org"])).await;
        assert_eq!((short(&attempt)[0].as_str(), attempt.tls.is_some()), (want, tls), "{level:?}: {}", reason(&attempt));
        if want == "delivered" {
            assert_eq!(sink.messages().last().expect("message").tls, tls);
        }
    }
}
