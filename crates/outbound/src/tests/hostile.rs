//! Servers that do not keep to the protocol: each costs bounded time and memory and defers.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Q8.
#[tokio::test]
async fn hostile_replies_are_cut_and_defer() {
    let cases: [(&str, Act); 12] = [
        ("connect", Act::Flood(vec![b'x'; 8192])),
        ("connect", Act::Flood(b"220-hello\r\n".to_vec())),
        ("EHLO", Act::Flood(b"250-for ever\r\n".to_vec())),
        ("connect", Act::Raw(b"999 odd\r\n".to_vec())),
        ("connect", Act::Raw(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())),
        ("connect", Act::Raw(vec![0; 100_000])),
        ("MAIL", Act::Flood(b"250-more\r\n".to_vec())),
        ("end of data", Act::Flood(b"250-more\r\n".to_vec())),
        ("connect", Act::Close),
        ("EHLO", Act::Close),
        ("RCPT", Act::Close),
        ("end of data", Act::Close),
    ];
    for (moment, act) in cases {
        let shown = format!("{moment} {}", format!("{act:?}").chars().take(40).collect::<String>());
        let sink = Sink::smtp().on(moment, act).start().await;
        let attempt = plain().await.deliver(&at(&sink), &message(TEXT), &to(&["a@x.org"])).await;
        assert!(matches!(&attempt.outcomes[0], Outcome::Deferred(_)), "{shown}: {:?}", attempt.outcomes);
        assert!(reason(&attempt).len() < 2000 && !reason(&attempt).contains(['\0', '\n']), "{shown}");
    }
}

/// Q8.
#[tokio::test]
async fn silence_ends_by_the_clock() {
    for moment in ["connect", "EHLO", "MAIL", "RCPT", "end of data"] {
        let sink = Sink::smtp().on(moment, Act::Silence).start().await;
        let time = Duration::from_millis(300);
        let settings = Settings { timeouts: Timeouts::all(time), data_xfer_timeout: time, ..settings() };
        let outbound = outbound(settings, &FakeDns::start("").await);
        let attempt = outbound.deliver(&at(&sink), &message(TEXT), &to(&["a@x.org"])).await;
        assert_eq!(short(&attempt), ["deferred 4.4.2"], "{moment}");
        assert!(reason(&attempt).contains("did not answer in time"), "{moment}: {}", reason(&attempt));
    }
}

/// A host that is slow to answer RCPT does not get the ten minutes of a message's end, nor the other way round.
#[tokio::test]
async fn each_answer_has_a_time_of_its_own() {
    let (short_time, long) = (Duration::from_millis(300), Timeouts::all(Duration::from_secs(3600)));
    for (moment, timeouts, place) in [
        ("connect", Timeouts { hello: short_time, ..long }, "before its greeting"),
        ("EHLO", Timeouts { hello: short_time, ..long }, "at EHLO"),
        ("STARTTLS", Timeouts { starttls: short_time, ..long }, "at STARTTLS"),
        ("MAIL", Timeouts { mail: short_time, ..long }, "at MAIL FROM"),
        ("RCPT TO:<b@", Timeouts { recipient: short_time, ..long }, "at RCPT TO"),
        ("DATA", Timeouts { data: short_time, ..long }, "at DATA"),
        ("end of data", Timeouts { message: short_time, ..long }, "at the end of the message"),
        ("RSET", Timeouts { reset: short_time, ..long }, "at MAIL FROM"),
    ] {
        for keywords in ["PIPELINING STARTTLS", "STARTTLS"] {
            // Refused once, so that a second message begins with RSET.
            let refused = Act::reply("550 5.1.1 no such user");
            let sink = Sink::smtp().keywords(keywords).on(moment, Act::Silence).on("RCPT TO:<bad@", refused).start().await;
            let section = config::Outbound { smtp_tls_security_level: SmtpTlsLevel::None, ..settings().section };
            let section = if moment == "STARTTLS" { settings().section } else { section };
            let outbound = outbound(Settings { timeouts, section, ..settings() }, &FakeDns::start("").await);
            if moment == "RSET" {
                outbound.deliver(&at(&sink), &message(TEXT), &to(&["bad@x.org"])).await;
            }
            let message = message(TEXT);
            let (to, way) = (to(&["a@x.org", "b@x.org"]), at(&sink));
            let attempt = tokio::time::timeout(Duration::from_secs(30), outbound.deliver(&way, &message, &to)).await;
            let attempt = attempt.unwrap_or_else(|_| panic!("{moment} waits for another answer's time"));
            assert!(reason(&attempt).contains(&format!("did not answer in time {place}")), "{moment}: {}", reason(&attempt));
        }
    }
}

/// Q8: The host takes a little of the message well before each deadline.
#[tokio::test]
async fn a_host_that_drains_slowly_ends_by_the_clock() {
    /// More than the buffers between us.
    const SIZE: usize = 16_000_000;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    let host = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accept");
        let mut buffer = vec![0; 16 * 1024];
        for reply in ["220 x.org\r\n", "250 x.org\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n"] {
            if !reply.starts_with("220") {
                assert!(stream.read(&mut buffer).await.expect("a command") > 0);
            }
            stream.write_all(reply.as_bytes()).await.expect("reply");
        }
        let mut taken = 0;
        while taken < SIZE {
            tokio::time::sleep(Duration::from_millis(20)).await;
            match stream.read(&mut buffer).await {
                Ok(count @ 1..) => taken += count,
                _ => return,
            }
        }
        stream.write_all(b"250 ok\r\n").await.expect("reply");
    });
    let settings = Settings { data_xfer_timeout: Duration::from_secs(1), min_data_rate: 1_000_000_000, ..settings() };
    let outbound = outbound(settings, &FakeDns::start("").await);
    let destination = Destination::Smtp { host: Domain::parse("[127.0.0.1]").expect("literal"), port: Some(address.port()), mx: false };
    let text = "x".repeat(78) + "\r\n";
    let large = Message { body: in_file(text.repeat(SIZE / 80).as_bytes()), ..message("") };
    let attempt = outbound.deliver(&destination, &large, &to(&["a@x.org"])).await;
    assert_eq!(short(&attempt), ["deferred 4.4.2"], "{}", reason(&attempt));
    host.abort();
}

/// Q8.
#[tokio::test]
async fn control_characters_of_a_server_reach_nobody() {
    let sink = Sink::smtp().on("RCPT", Act::Raw(b"550 5.1.1 \x1b[31mred\0\x07 <user>\r\n".to_vec())).start().await;
    let attempt = plain().await.deliver(&at(&sink), &message(TEXT), &to(&["a@x.org"])).await;
    assert_eq!(short(&attempt), ["bounced 5.1.1"]);
    assert!(!reason(&attempt).chars().any(char::is_control), "{:?}", reason(&attempt));
}

/// Q9.
#[tokio::test]
async fn replies_before_tls_are_not_believed_after_it() {
    // The injected reply would answer the EHLO under TLS.
    let sink = Sink::smtp().starttls().on("STARTTLS", Act::Raw(b"220 go\r\n250-injected\r\n250 AUTH PLAIN\r\n".to_vec())).start().await;
    let outbound = outbound(at_level(SmtpTlsLevel::Encrypt), &FakeDns::start("").await);
    let attempt = outbound.deliver(&at(&sink), &message(TEXT), &to(&["a@x.org"])).await;
    assert!(matches!(&attempt.outcomes[0], Outcome::Deferred(_)), "{:?}", attempt.outcomes);
    assert!(sink.messages().is_empty());
}

#[tokio::test]
async fn an_answer_lost_after_the_message_is_not_asked_for_elsewhere() {
    let dns = FakeDns::start("x.org MX 10 a.x.org\nx.org MX 20 b.x.org\na.x.org A 127.0.0.1\nb.x.org A 127.0.0.2").await;
    let first = Sink::smtp().on("end of data", Act::Close).start().await;
    let second = Sink::smtp().start_at(&format!("127.0.0.2:{}", first.port())).await;
    let destination = Destination::Smtp { host: Domain::parse("x.org").expect("domain"), port: Some(first.port()), mx: true };
    let attempt = outbound(settings(), &dns).deliver(&destination, &message(TEXT), &to(&["a@x.org"])).await;
    assert_eq!(short(&attempt), ["deferred 4.4.2"]);
    assert_eq!(second.connections(), 0);
}
