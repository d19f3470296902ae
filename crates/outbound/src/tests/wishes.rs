//! REQUIRETLS and `TLS-Required: No` (RFC 8689), priorities in the header (RFC 6758).

use super::*;
use mail_types::{TlsWish, Wishes};
use tables::Maps;

/// Sends under a policy for the destination; the certificate of the sink is believed, or that of `trusted` where it has none.
async fn sent(trusted: &Sink, sink: &Sink, destination: &str, policy: &str, tls: TlsWish, sender: Option<&str>) -> Attempt {
    let dir = testkit::temp_dir();
    let ca_file = dir.path().join("ca.pem");
    let believed = if sink.certificate().is_empty() { trusted } else { sink };
    std::fs::write(&ca_file, believed.certificate()).expect("write");
    let dns = FakeDns::start("x.test MX 10 mx.test\nmx.test A 127.0.0.1\nmx.test MX 10 mx.test").await;
    let settings = Settings { ca_file, smtp_port: sink.port(), ..settings() };
    let table = format!("inline:{{ {{{destination} = {policy}}} }}");
    let tables = Tables { tls_policy: Maps::open(&table, &tables::Context::local("/")).expect("table"), ..Tables::default() };
    let wishes = Wishes { tls, ..Wishes::default() };
    let sender = sender.map(|text| Address::parse(text).expect("address"));
    let message = Message { wishes, sender, ..message(TEXT) };
    let destination = Destination::parse(destination).expect("name");
    with_tables(settings, tables, &dns).deliver(&destination, &message, &to(&["a@x.test"])).await
}

#[tokio::test]
async fn requiretls_goes_only_to_hosts_that_prove_themselves_and_promise_the_same() {
    let good = Sink::smtp().starttls().keyword("REQUIRETLS").start().await;
    let forgetful = Sink::smtp().starttls().start().await;
    let plain = Sink::smtp().keyword("REQUIRETLS").start().await;
    for (sink, destination, policy, want) in [
        // The host that the administrator named.
        (&good, "[mx.test]", "may", "delivered"),
        (&good, "[mx.test]", "none", "delivered"),
        // Without DNSSEC an MX record may be forged: the certificate has to hold the name of the destination.
        (&good, "x.test", "may", "bounced 5.7.10"),
        (&good, "x.test", "verify", "bounced 5.7.10"),
        (&good, "mx.test", "may", "delivered"),
        (&good, "x.test", "secure match=mx.test", "delivered"),
        (&forgetful, "[mx.test]", "may", "bounced 5.7.30"),
        (&plain, "[mx.test]", "may", "bounced 5.7.10"),
    ] {
        let before = sink.messages().len();
        let attempt = sent(&good, sink, destination, policy, TlsWish::Required, Some("from@us.org")).await;
        assert_eq!(short(&attempt), [want], "{destination} {policy}: {}", reason(&attempt));
        let new = &sink.messages()[before..];
        assert_eq!(new.len(), usize::from(want == "delivered"));
        assert!(new.iter().all(|m| m.tls && m.mail.ends_with(" REQUIRETLS")), "{new:?}");
    }
    // §5: a notification is not lost for it, and says REQUIRETLS only where that is true.
    for (sink, destination, policy, told) in [
        (&plain, "x.test", "may", false),
        (&good, "x.test", "may", false),
        (&good, "[mx.test]", "verify", true),
        (&forgetful, "[mx.test]", "verify", false),
    ] {
        let attempt = sent(&good, sink, destination, policy, TlsWish::Required, None).await;
        assert_eq!(short(&attempt), ["delivered"], "{}", reason(&attempt));
        assert_eq!(sink.messages().last().expect("message").mail.contains("REQUIRETLS"), told);
    }
}

/// RFC 6758 §3.3.
#[tokio::test]
async fn a_priority_goes_through_hosts_that_do_not_know_it_in_the_header() {
    let text = "MT-Priority: 9\r\nSubject: x\r\nmt-priority: 8\r\n\r\nMT-Priority: body\r\n";
    for (tunnel, keywords, priority, text, want) in [
        (true, "", 4, text, "MT-Priority: 4\r\nSubject: x\r\n\r\nMT-Priority: body\r\n"),
        (true, "", 0, text, "MT-Priority: 0\r\nSubject: x\r\n\r\nMT-Priority: body\r\n"),
        (true, "", -3, "Subject: x\r\n\r\nx\r\n", "MT-Priority: -3\r\nSubject: x\r\n\r\nx\r\n"),
        (true, "", 0, "Subject: x\r\n\r\nx\r\n", "Subject: x\r\n\r\nx\r\n"),
        (true, "MT-PRIORITY MIXER", 4, text, text),
        (false, "", 4, text, text),
    ] {
        for in_file in [false, true] {
            let sink = Sink::smtp();
            let sink = if keywords.is_empty() { sink } else { sink.keyword(keywords) };
            let sink = sink.start().await;
            let section = config::Outbound { smtp_priority_header: tunnel, ..settings().section };
            let outbound = outbound(Settings { section, ..settings() }, &FakeDns::start("").await);
            let body = if in_file { super::in_file(text.as_bytes()) } else { Body::memory(text) };
            let wishes = mail_types::Wishes { priority, ..Default::default() };
            outbound.deliver(&at(&sink), &Message { body, wishes, ..message("") }, &to(&["a@x.org"])).await;
            let got = &sink.messages()[0];
            assert_eq!(String::from_utf8_lossy(&got.body), want, "{tunnel} {keywords} {priority} {in_file}");
            assert_eq!(got.mail.contains("MT-PRIORITY"), !keywords.is_empty(), "{}", got.mail);
        }
    }
}

#[tokio::test]
async fn every_mx_host_is_asked_before_it_goes_back() {
    let first = Sink::smtp().starttls().start().await;
    let dns = FakeDns::start("x.test MX 10 a.test\nx.test MX 20 b.test\na.test A 127.0.0.1\nb.test A 127.0.0.1").await;
    let settings = Settings { smtp_port: first.port(), ..settings() };
    let message = Message { wishes: Wishes { tls: TlsWish::Required, ..Wishes::default() }, ..message(TEXT) };
    let destination = Destination::parse("x.test").expect("name");
    let attempt = outbound(settings, &dns).deliver(&destination, &message, &to(&["a@x.test"])).await;
    assert_eq!(short(&attempt), ["bounced 5.7.10"], "{}", reason(&attempt));
    assert_eq!(first.connections(), 2, "each host is asked");
}

#[tokio::test]
async fn tls_required_no_is_delivered_without_proof_and_without_tls() {
    let plain = Sink::smtp().start().await;
    let good = Sink::smtp().starttls().start().await;
    for policy in ["none", "may", "encrypt", "verify match=no.test", "secure"] {
        for sink in [&plain, &good] {
            let attempt = sent(&good, sink, "x.test", policy, TlsWish::Optional, Some("from@us.org")).await;
            assert_eq!(short(&attempt), ["delivered"], "{policy}: {}", reason(&attempt));
        }
        // TLS is used all the same where it can be had.
        assert_eq!(good.messages().last().expect("message").tls, policy != "none", "{policy}");
    }
}
