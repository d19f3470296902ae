use super::*;
use testkit::temp_dir;

async fn relay(sink: &Sink, ca: &str, wrapped_name: &str) -> (Attempt, tempfile::TempDir) {
    let dir = temp_dir();
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, ca).expect("write");
    let dns = FakeDns::start(&format!("{wrapped_name} A 127.0.0.1")).await;
    let credentials = Credentials { login: "me@free.fr".into(), password: Secret::new("pass word") };
    let login = (format!("[{wrapped_name}]:{}", sink.port()), credentials);
    let outbound = outbound(Settings { relay_login: Some(login), ca_file, ..settings() }, &dns);
    let destination = Destination::Smtp { host: Domain::parse(wrapped_name).expect("name"), port: Some(sink.port()), mx: false };
    (outbound.deliver(&destination, &message(TEXT), &to(&["a@gmail.com"])).await, dir)
}

#[tokio::test]
async fn we_log_in_at_the_relay_host() {
    for (mechanisms, want) in [("PLAIN LOGIN", "PLAIN AG1lQGZyZWUuZnIAcGFzcyB3b3Jk"), ("LOGIN", "LOGIN bWVAZnJlZS5mcg== cGFzcyB3b3Jk")] {
        let sink = Sink::smtp().keyword(&format!("AUTH {mechanisms}")).starttls().start().await;
        let (attempt, _dir) = relay(&sink, sink.certificate(), "mx.test").await;
        assert_eq!(short(&attempt), ["delivered"], "{}", reason(&attempt));
        let messages = sink.messages();
        assert_eq!((messages[0].login.as_deref(), messages[0].tls), (Some(want), true));
    }
}

/// Q10.
#[tokio::test]
async fn the_password_goes_to_a_verified_host_only() {
    // A certificate of another maker.
    let other = Sink::smtp().starttls().start().await;
    let sink = Sink::smtp().keyword("AUTH PLAIN").starttls().start().await;
    let (attempt, _dir) = relay(&sink, other.certificate(), "mx.test").await;
    assert_eq!(short(&attempt), ["deferred 4.7.5"]);
    // The right maker, but another name.
    let (attempt, _dir) = relay(&sink, sink.certificate(), "other.test").await;
    assert_eq!(short(&attempt), ["deferred 4.7.5"]);
    // No TLS at all.
    let plain = Sink::smtp().keyword("AUTH PLAIN").start().await;
    let (attempt, _dir) = relay(&plain, sink.certificate(), "mx.test").await;
    assert_eq!(short(&attempt), ["deferred 4.7.4"]);
    for sink in [&sink, &plain] {
        assert!(!sink.commands().iter().any(|c| c.starts_with("AUTH")), "{:?}", sink.commands());
    }
}

#[tokio::test]
async fn a_refused_login_defers() {
    let sink = Sink::smtp().keyword("AUTH PLAIN").starttls().on("AUTH", Act::reply("535 5.7.8 no")).start().await;
    let (attempt, _dir) = relay(&sink, sink.certificate(), "mx.test").await;
    assert_eq!(short(&attempt), ["deferred 4.7.8"]);
    assert!(!reason(&attempt).contains("pass"));
    let sink = Sink::smtp().starttls().start().await;
    let (attempt, _dir) = relay(&sink, sink.certificate(), "mx.test").await;
    assert_eq!(short(&attempt), ["deferred 4.7.0"]);
}

#[tokio::test]
async fn the_relay_host_that_knows_our_password_is_taken_by_its_name() {
    let sink = Sink::smtp().keyword("AUTH PLAIN").starttls().start().await;
    let dir = temp_dir();
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, sink.certificate()).expect("write");
    let dns = FakeDns::start("mx.test A 127.0.0.1\nmx.test MX 10 thief.test\nthief.test A 127.0.0.9").await;
    let credentials = Credentials { login: "me@free.fr".into(), password: Secret::new("pw") };
    // Written without brackets, which elsewhere asks for MX records.
    let login = (format!("mx.test:{}", sink.port()), credentials);
    let outbound = outbound(Settings { relay_login: Some(login), ca_file, ..settings() }, &dns);
    let destination = Destination::Smtp { host: Domain::parse("mx.test").expect("name"), port: Some(sink.port()), mx: true };
    let attempt = outbound.deliver(&destination, &message(TEXT), &to(&["a@gmail.com"])).await;
    assert_eq!(short(&attempt), ["delivered"], "{}", reason(&attempt));
    assert!(!dns.asked().iter().any(|question| question.ends_with("MX")), "{:?}", dns.asked());
}

#[tokio::test]
async fn a_missing_certificate_file_is_an_error_at_start() {
    let credentials = Credentials { login: "me".into(), password: Secret::new("pw") };
    let settings = Settings { relay_login: Some(("relay".into(), credentials)), ca_file: "/none/ca.pem".into(), ..settings() };
    let dns = dns::Dns::new(&config::Dns { nameservers: vec!["127.0.0.1:1".into()], ..config::Dns::default() }).expect("settings");
    let error = Outbound::new(settings, Tables::default(), Arc::new(dns)).err().expect("no file").to_string();
    assert!(error.starts_with("outbound.smtp_tls_ca_file: /none/ca.pem:"), "{error}");
}
