use super::*;

fn domain(host: &str, port: u16) -> Destination {
    Destination::Smtp { host: Domain::parse(host).expect("domain"), port: Some(port), mx: true }
}

#[tokio::test]
async fn the_next_mail_host_is_tried() {
    for act in [Act::Close, Act::reply("421 4.3.2 busy"), Act::reply("554 5.3.2 not today")] {
        let dns = FakeDns::start("x.org MX 10 a.x.org\nx.org MX 20 b.x.org\na.x.org A 127.0.0.1\nb.x.org A 127.0.0.2").await;
        let first = Sink::smtp().on("connect", act.clone()).start().await;
        let second = Sink::smtp().start_at(&format!("127.0.0.2:{}", first.port())).await;
        let attempt = outbound(settings(), &dns).deliver(&domain("x.org", first.port()), &message(TEXT), &to(&["a@x.org"])).await;
        assert_eq!(short(&attempt), ["delivered"], "{act:?}");
        assert_eq!((second.messages().len(), attempt.relay), (1, Some(format!("b.x.org[127.0.0.2]:{}", first.port()))));
    }
}

#[tokio::test]
async fn only_those_with_a_temporary_refusal_go_to_the_next_host() {
    let dns = FakeDns::start("x.org MX 10 a.x.org\nx.org MX 20 b.x.org\na.x.org A 127.0.0.1\nb.x.org A 127.0.0.2").await;
    let first =
        Sink::smtp().on("RCPT TO:<later@", Act::reply("450 4.2.0 busy")).on("RCPT TO:<bad@", Act::reply("550 5.1.1 no")).start().await;
    let second = Sink::smtp().start_at(&format!("127.0.0.2:{}", first.port())).await;
    let recipients = to(&["a@x.org", "later@x.org", "bad@x.org"]);
    let attempt = outbound(settings(), &dns).deliver(&domain("x.org", first.port()), &message(TEXT), &recipients).await;
    assert_eq!(short(&attempt), ["delivered", "delivered", "bounced 5.1.1"]);
    assert_eq!(second.messages()[0].recipients, ["RCPT TO:<later@x.org>"]);
}

#[tokio::test]
async fn the_host_itself_is_used_without_mx() {
    let dns = FakeDns::start("x.org A 127.0.0.1").await;
    let sink = Sink::smtp().start().await;
    let attempt = outbound(settings(), &dns).deliver(&domain("x.org", sink.port()), &message(TEXT), &to(&["a@x.org"])).await;
    assert_eq!(short(&attempt), ["delivered"]);
}

/// Q11.
#[tokio::test]
async fn names_that_lead_nowhere_bounce_or_defer() {
    let dns = FakeDns::start(
        "null.org MX 0 .\nbroken.org SERVFAIL\nempty.org EMPTY\nlost.org MX 10 gone.org\nslowmx.org MX 10 slow.org\nslow.org SERVFAIL\n\
         loop.org CNAME loop2.org\nloop2.org CNAME loop.org",
    )
    .await;
    for (host, want) in [
        ("null.org", "bounced 5.1.10"),
        ("none.org", "bounced 5.4.4"),
        ("empty.org", "bounced 5.4.4"),
        ("lost.org", "bounced 5.4.4"),
        ("broken.org", "deferred 4.4.3"),
        ("slowmx.org", "deferred 4.4.3"),
    ] {
        let attempt = outbound(settings(), &dns).deliver(&domain(host, 25), &message(TEXT), &to(&[&format!("a@{host}")])).await;
        assert_eq!(short(&attempt), [want], "{host}: {}", reason(&attempt));
        assert!(!attempt.reached);
    }
    let attempt = outbound(settings(), &dns).deliver(&domain("loop.org", 25), &message(TEXT), &to(&["a@loop.org"])).await;
    assert!(!matches!(attempt.outcomes[0], Outcome::Delivered { .. }));
    // A next hop that the administrator wrote is not the sender's fault.
    let attempt = outbound(settings(), &dns).deliver(&domain("none.org", 25), &message(TEXT), &to(&["a@x.org"])).await;
    assert_eq!(short(&attempt), ["deferred 4.3.5"]);
}

/// Q11.
#[tokio::test]
async fn mail_does_not_loop_back_to_ourselves() {
    let zones = "name.org MX 10 mx.us.org\nbackup.org MX 5 down.org\nbackup.org MX 10 mx.us.org\nbackup.org MX 10 other.org\nbackup.org MX 20 worse.org\n\
                 down.org A 127.0.0.9\nother.org A 127.0.0.1\nworse.org A 127.0.0.1\nmx.us.org A 192.0.2.1\naddr.org MX 10 host.addr.org\nhost.addr.org A 127.0.0.1\n\
                 zero.org MX 10 z.zero.org\nz.zero.org A 0.0.0.0";
    let dns = FakeDns::start(zones).await;
    let sink = Sink::smtp().start().await;
    let port = sink.port();
    let own = Settings { own_listeners: vec![([0, 0, 0, 0], port).into()], ..settings() };
    for (host, want) in [
        ("name.org", "bounced 5.4.6"),
        ("addr.org", "bounced 5.4.6"),
        ("zero.org", "bounced 5.4.6"),
        ("[127.0.0.1]", "bounced 5.4.6"),
        // The better host is down; those of our preference and above are left alone.
        ("backup.org", "deferred 4.4.1"),
    ] {
        // 127.0.0.9 belongs to this machine as well, so the listener is on 127.0.0.1 only where it matters.
        let listeners = if host == "backup.org" { Vec::new() } else { own.own_listeners.clone() };
        let settings = Settings { own_listeners: listeners, ..own.clone() };
        let attempt = outbound(settings, &dns).deliver(&domain(host, port), &message(TEXT), &to(&[&format!("a@{host}")])).await;
        assert_eq!(short(&attempt), [want], "{host}: {}", reason(&attempt));
    }
    assert_eq!(sink.connections(), 0);
}

/// Q11.
#[tokio::test]
async fn a_thousand_mail_hosts_cost_a_handful_of_attempts() {
    let dns = FakeDns::start("").await;
    for n in 0..1000 {
        dns.add(&format!("many.org MX {n} h{n}.many.org"));
        dns.add(&format!("h{n}.many.org A 127.0.0.1"));
    }
    let sink = Sink::smtp().on("connect", Act::reply("421 4.3.2 busy")).start().await;
    let attempt = outbound(settings(), &dns).deliver(&domain("many.org", sink.port()), &message(TEXT), &to(&["a@many.org"])).await;
    assert_eq!(short(&attempt), ["deferred 4.3.2"]);
    assert_eq!(sink.connections(), 5);
    assert!(dns.asked().len() <= 60, "{}", dns.asked().len());
}

#[tokio::test]
async fn it_bounces_only_when_every_host_refuses_for_good() {
    let dns = FakeDns::start("x.org MX 10 a.x.org\nx.org MX 20 b.x.org\na.x.org A 127.0.0.1\nb.x.org A 127.0.0.2").await;
    let first = Sink::smtp().on("connect", Act::reply("521 never")).start().await;
    // Nobody listens at 127.0.0.2.
    let attempt = outbound(settings(), &dns).deliver(&domain("x.org", first.port()), &message(TEXT), &to(&["a@x.org"])).await;
    assert_eq!(short(&attempt), ["deferred 4.4.1"]);
    let _second = Sink::smtp().on("connect", Act::reply("521 never")).start_at(&format!("127.0.0.2:{}", first.port())).await;
    let attempt = outbound(settings(), &dns).deliver(&domain("x.org", first.port()), &message(TEXT), &to(&["a@x.org"])).await;
    assert_eq!(short(&attempt), ["bounced 5.0.0"]);
}

fn with_srv(allow_fallback: bool, ignore_error: bool) -> Settings {
    let section = config::Outbound {
        use_srv_lookup: vec![config::SrvService::Submission],
        allow_srv_lookup_fallback: allow_fallback,
        ignore_srv_lookup_error: ignore_error,
        ..settings().section
    };
    Settings { section, ..settings() }
}

#[tokio::test]
async fn rfc2782_srv_records_name_host_and_port() {
    let sink = Sink::smtp().start().await;
    let dead = testkit::free_port();
    let dns = FakeDns::start(&format!(
        "_submission._tcp.x.org SRV 20 0 {} b.x.org\n_submission._tcp.x.org SRV 10 0 {dead} a.x.org\nx.org A 127.0.0.9\n\
         a.x.org A 127.0.0.1\nb.x.org A 127.0.0.1",
        sink.port()
    ))
    .await;
    let attempt = outbound(with_srv(false, false), &dns).deliver(&domain("x.org", 587), &message(TEXT), &to(&["a@x.org"])).await;
    assert_eq!(short(&attempt), ["delivered"], "{}", reason(&attempt));
    assert_eq!(attempt.relay, Some(format!("b.x.org[127.0.0.1]:{}", sink.port())));
    // Brackets, other ports and services that are not in the setting: no question.
    let asked = dns.asked().len();
    for destination in
        [domain("x.org", dead), Destination::parse("[a.x.org]:587").expect("host"), Destination::parse("x.org").expect("host")]
    {
        outbound(with_srv(false, false), &dns).deliver(&destination, &message(TEXT), &to(&["a@x.org"])).await;
    }
    assert!(!dns.asked()[asked..].iter().any(|question| question.ends_with("SRV")), "{:?}", dns.asked());
}

#[tokio::test]
async fn without_srv_records_the_settings_decide() {
    let zone = "x.org EMPTY\n_submission._tcp.off.org SRV 0 0 0 .\n_submission._tcp.broken.org SERVFAIL\nbroken.org EMPTY\noff.org EMPTY";
    for (host, fallback, ignore, want) in [
        ("x.org", false, false, "_submission._tcp.x.org: "),
        ("x.org", true, false, "x.org cannot be found"),
        ("off.org", true, true, "_submission._tcp.off.org: the service is not offered"),
        ("broken.org", true, false, "lookup of _submission._tcp.broken.org: "),
        ("broken.org", false, true, "broken.org cannot be found"),
    ] {
        let dns = FakeDns::start(zone).await;
        let attempt =
            outbound(with_srv(fallback, ignore), &dns).deliver(&domain(host, 587), &message(TEXT), &to(&[&format!("a@{host}")])).await;
        assert!(reason(&attempt).starts_with(want), "{host} {fallback} {ignore}: {}", reason(&attempt));
    }
}
