//! What TLS has to prove, for single destinations, and who logs in where.

use super::*;
use tables::Maps;
use testkit::temp_dir;

fn maps(text: &str) -> Maps {
    Maps::open(text, &tables::Context::local("/")).expect(text)
}

/// Sends to `mx.test` (whose certificate the sink has) as the mail server of `x.test`, under a policy.
async fn under(sink: &Sink, policy: &str) -> Attempt {
    let dir = temp_dir();
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, sink.certificate()).expect("write");
    let dns = FakeDns::start("x.test MX 10 mx.test\nmx.test A 127.0.0.1").await;
    let settings = Settings { ca_file, smtp_port: sink.port(), ..settings() };
    let tables = Tables { tls_policy: maps(&format!("inline:{{ {{x.test = {policy}}} }}")), ..Tables::default() };
    let destination = Destination::parse("x.test").expect("name");
    with_tables(settings, tables, &dns).deliver(&destination, &message(TEXT), &to(&["a@x.test"])).await
}

/// Q10.
#[tokio::test]
async fn a_policy_is_met_or_the_mail_waits() {
    let sink = Sink::smtp().starttls().start().await;
    let (der, wrong) = (fingerprint(&sink), "00:".repeat(31) + "00");
    for (policy, want) in [
        ("none".to_owned(), "delivered"),
        ("may".to_owned(), "delivered"),
        ("encrypt".to_owned(), "delivered"),
        ("encrypt protocols=>=TLSv1.3".to_owned(), "delivered"),
        ("verify".to_owned(), "delivered"),
        ("verify match=nexthop".to_owned(), "deferred 4.7.5"),
        // The MX record may be forged: its host proves nothing about the destination.
        ("secure".to_owned(), "deferred 4.7.5"),
        ("secure match=x.org:mx.test".to_owned(), "delivered"),
        ("secure match=.test".to_owned(), "delivered"),
        ("secure match=.mx.test".to_owned(), "deferred 4.7.5"),
        (format!("fingerprint match={der}"), "delivered"),
        (format!("fingerprint match={wrong}|{der}"), "delivered"),
        (format!("fingerprint match={wrong}"), "deferred 4.7.5"),
        ("dane-only".to_owned(), "deferred 4.7.5"),
    ] {
        let attempt = under(&sink, &policy).await;
        assert_eq!(short(&attempt), [want], "{policy}: {}", reason(&attempt));
        assert_eq!(attempt.tls.is_some(), want == "delivered" && policy != "none", "{policy}");
    }
    assert!(sink.messages().iter().filter(|m| !m.tls).count() == 1, "only `none` goes in clear");
}

/// Q10.
#[tokio::test]
async fn a_host_without_tls_gets_nothing_that_needs_it() {
    let plain = Sink::smtp().start().await;
    let sink = Sink::smtp().starttls().start().await;
    for policy in ["encrypt", "verify", "secure", &format!("fingerprint match={}", fingerprint(&sink))] {
        let dns = FakeDns::start("x.test MX 10 mx.test\nmx.test A 127.0.0.1").await;
        let (_dir, ca_file) = certificate_file(&sink);
        let settings = Settings { smtp_port: plain.port(), ca_file, ..settings() };
        let tables = Tables { tls_policy: maps(&format!("inline:{{ {{x.test = {policy}}} }}")), ..Tables::default() };
        let destination = Destination::parse("x.test").expect("name");
        let attempt = with_tables(settings, tables, &dns).deliver(&destination, &message(TEXT), &to(&["a@x.test"])).await;
        assert_eq!(short(&attempt), ["deferred 4.7.4"], "{policy}: {}", reason(&attempt));
    }
    assert!(plain.messages().is_empty() && !plain.commands().iter().any(|c| c.starts_with("MAIL")));
}

fn certificate_file(sink: &Sink) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = temp_dir();
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, sink.certificate()).expect("write");
    (dir, file)
}

fn fingerprint(sink: &Sink) -> String {
    let (_dir, file) = certificate_file(sink);
    let certificates = daemon::tls::certificates(&file).expect("certificate");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &certificates[0]);
    digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

#[tokio::test]
async fn sessions_are_resumed() {
    let sink = Sink::smtp().starttls().start().await;
    let section = config::Outbound { smtp_tls_security_level: SmtpTlsLevel::Encrypt, smtp_tls_loglevel: 1, ..settings().section };
    let outbound = outbound(Settings { section, reuse_count_limit: 1, ..settings() }, &FakeDns::start("").await);
    for resumed in [false, true, true] {
        let attempt = outbound.deliver(&at(&sink), &message(TEXT), &to(&["a@x.org"])).await;
        assert_eq!(short(&attempt), ["delivered"]);
        assert_eq!(attempt.tls.expect("TLS").ends_with("(resumed)"), resumed);
    }
    assert_eq!(sink.connections(), 3);
}

#[tokio::test]
async fn each_sender_logs_in_by_its_own_name() {
    let sink = Sink::smtp().keyword("AUTH PLAIN").starttls().start().await;
    let dns = FakeDns::start("mx.test A 127.0.0.1").await;
    let (_dir, ca_file) = certificate_file(&sink);
    let destination = Destination::parse(&format!("[mx.test]:{}", sink.port())).expect("host");
    let table = format!("inline:{{ {}=house:pw, from@us.org=ann:pw, mx.test=other:pw }}", destination.next_hop());
    let section = config::Outbound { smtp_sender_dependent_authentication: true, ..settings().section };
    let tables = Tables { passwords: maps(&table), ..Tables::default() };
    let outbound = with_tables(Settings { section, ca_file, ..settings() }, tables, &dns);
    let second = Message { sender: Some(Address::parse("bob@us.org").expect("address")), ..message(TEXT) };
    for message in [&message(TEXT), &second, &message(TEXT)] {
        let attempt = outbound.deliver(&destination, message, &to(&["a@gmail.com"])).await;
        assert_eq!(short(&attempt), ["delivered"], "{}", reason(&attempt));
    }
    let logins: Vec<_> = sink.messages().into_iter().map(|m| m.login.expect("login")).collect();
    let (ann, house) = ("PLAIN AGFubgBwdw==", "PLAIN AGhvdXNlAHB3");
    assert_eq!(logins, [ann, house, ann]);
    assert_eq!(sink.connections(), 2, "a connection is used by its own login only");
}

#[tokio::test]
async fn a_senders_login_is_for_its_relay_host_only() {
    let sink = Sink::smtp().keyword("AUTH PLAIN").starttls().start().await;
    let dns = FakeDns::start("mx.test A 127.0.0.1").await;
    let (_dir, ca_file) = certificate_file(&sink);
    let destination = Destination::parse(&format!("[mx.test]:{}", sink.port())).expect("host");
    let by_sender = "inline:{ from@us.org=ann:pw }".to_owned();
    let by_host = format!("inline:{{ {}=ann:pw }}", destination.next_hop());
    for (table, named_by, want) in [
        (&by_sender, NamedBy::Relay, true),
        (&by_sender, NamedBy::Transport, false),
        (&by_sender, NamedBy::Recipient, false),
        (&"static:ann:pw".to_owned(), NamedBy::Transport, true),
        (&"static:ann:pw".to_owned(), NamedBy::Recipient, false),
        (&by_host, NamedBy::Recipient, true),
    ] {
        let section = config::Outbound { smtp_sender_dependent_authentication: true, ..settings().section };
        let tables = Tables { passwords: maps(table), ..Tables::default() };
        let outbound = with_tables(Settings { section, ca_file: ca_file.clone(), ..settings() }, tables, &dns);
        let attempt = outbound.deliver(&destination, &Message { named_by, ..message(TEXT) }, &to(&["a@gmail.com"])).await;
        assert_eq!(short(&attempt), ["delivered"], "{table} {named_by:?}: {}", reason(&attempt));
        assert_eq!(sink.messages().pop().expect("message").login.is_some(), want, "{table} {named_by:?}");
    }
}

#[tokio::test]
async fn where_the_way_cannot_be_told_nobody_is_tried() {
    let sink = Sink::smtp().start().await;
    let bad = "inline:{ from@us.org=nonsense }";
    let section = config::Outbound { smtp_sender_dependent_authentication: true, ..settings().section };
    for (tables, want) in [
        (Tables { passwords: maps("fail:"), ..Tables::default() }, "deferred 4.3.0"),
        (Tables { tls_policy: maps("fail:"), ..Tables::default() }, "deferred 4.3.0"),
        (Tables { passwords: maps(bad), ..Tables::default() }, "deferred 4.3.5"),
    ] {
        let outbound = with_tables(Settings { section: section.clone(), ..settings() }, tables, &FakeDns::start("").await);
        let attempt = outbound.deliver(&at(&sink), &message(TEXT), &to(&["a@x.org"])).await;
        assert_eq!((short(&attempt), attempt.reached, attempt.untried), (vec![want.to_owned()], false, true), "{}", reason(&attempt));
    }
    assert_eq!(sink.connections(), 0);
}

#[tokio::test]
async fn what_is_not_taken_goes_to_the_fallback_relay() {
    let fallback = Sink::smtp().start().await;
    let busy = Sink::smtp().on("RCPT", Act::reply("450 4.2.0 later")).start().await;
    let refuses = Sink::smtp().on("RCPT", Act::reply("550 5.1.1 no such user")).start().await;
    let dns = FakeDns::start("null.test MX 0 .").await;
    let section = config::Outbound { smtp_fallback_relay: vec![format!("[127.0.0.1]:{}", fallback.port())], ..settings().section };
    let outbound = outbound(Settings { section, ..settings() }, &dns);
    let nowhere = Destination::parse("gone.test").expect("name");
    let null = Destination::parse("null.test").expect("name");
    for (destination, address, want, taken) in [
        (&at(&busy), "a@x.org", "delivered", 1),
        (&at(&refuses), "a@x.org", "bounced 5.1.1", 1),
        (&nowhere, "a@gone.test", "delivered", 2),
        (&null, "a@null.test", "bounced 5.1.10", 2),
    ] {
        let attempt = outbound.deliver(destination, &message(TEXT), &to(&[address])).await;
        assert_eq!(short(&attempt), [want], "{destination}: {}", reason(&attempt));
        assert_eq!(fallback.messages().len(), taken, "{destination}");
    }
}

#[tokio::test]
async fn wrong_settings_are_named_at_start() {
    let dns = FakeDns::start("").await;
    let dns = config::Dns { nameservers: vec![dns.address()], ..config::Dns::default() };
    let base = config::Outbound::default();
    for (section, want) in [
        (config::Outbound { smtp_bind_address: "::1".into(), ..base.clone() }, "outbound.smtp_bind_address:"),
        (config::Outbound { smtp_fallback_relay: vec!["a b".into()], ..base.clone() }, "outbound.smtp_fallback_relay:"),
        (config::Outbound { smtp_tls_protocols: "SSLv3".into(), ..base.clone() }, "outbound.smtp_tls_protocols:"),
        (config::Outbound { smtp_tls_security_level: SmtpTlsLevel::Fingerprint, ..base.clone() }, "outbound.smtp_tls_security_level:"),
    ] {
        let resolver = Arc::new(dns::Dns::new(&dns).expect("settings"));
        let error = Outbound::new(Settings { section, ..settings() }, Tables::default(), resolver).err().expect(want).to_string();
        assert!(error.starts_with(want), "{error}");
    }
}
