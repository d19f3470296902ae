//! Who gets through us, and who does not: names that look like ours, and clients that claim to be somebody else.

use super::*;
use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;

/// S9: what looks like a name of ours is not one. Where the letters are the same by RFC 5890 it is ours, and has no such user.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_looks_like_ours_is_not_ours() {
    let server = Server::start("smtpd_hard_error_limit = 1000").await;
    let mut client = server.connect().await;
    client.say("EHLO c.test").await;
    assert_eq!(code(&client.say("MAIL FROM:<zoé@x.test> SMTPUTF8").await), "250 2.1.0");
    for domain in [
        "h\u{435}re.test",
        "here.t\u{435}st",
        "xn--hre-3kd.test",
        "\u{ff48}ere.test",
        "here\u{3002}test",
        "here\u{ff0e}test",
        "here.test\u{200b}",
        "\u{feff}here.test",
        "here.test\u{2024}x",
        "here.test.x",
        "xhere.test",
        "sub.here.test",
        "HERE.TEST",
    ] {
        let reply = client.say(&format!("RCPT TO:<stranger@{domain}>")).await;
        let ours = code(&reply) == "550 5.1.1";
        assert!(reply.starts_with('5') && (!ours || domain.to_lowercase().nfkc_is("here.test")), "{domain:?}: {reply}");
    }
    assert_eq!(code(&client.say("DATA").await), "554 5.5.1");
    assert!(server.stop().await.list().is_empty());
}

/// The few forms above that are the same name.
trait SameName {
    fn nfkc_is(&self, name: &str) -> bool;
}

impl SameName for String {
    fn nfkc_is(&self, name: &str) -> bool {
        let plain: String = self
            .chars()
            .filter_map(|c| match c {
                '\u{200b}' | '\u{feff}' => None,
                '\u{ff48}' => Some('h'),
                '\u{3002}' | '\u{ff0e}' => Some('.'),
                c => Some(c),
            })
            .collect();
        plain == name
    }
}

/// S27: a PROXY header of who is no proxy of ours makes nobody of it; the connection ends without a word.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_no_proxy() {
    let settings =
        "smtpd_upstream_proxy_protocol = \"haproxy\"\nsmtpd_upstream_proxy_hosts = [\"192.0.2.1\"]\nmynetworks = [\"10.0.0.0/8\"]";
    let server = Server::start(settings).await;
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).await.expect("connect");
    let _ =
        stream.write_all(b"PROXY TCP4 10.0.0.1 10.0.0.2 40000 25\r\nEHLO c.test\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@ext.test>\r\n").await;
    let mut said = Vec::new();
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut said)).await.expect("an end in time");
    let said = String::from_utf8_lossy(&said);
    assert!(!said.contains("250 ") && !said.contains("10.0.0.1"), "{said}");
    assert!(server.stop().await.list().is_empty());
}

/// Networks that may relay are those of the client, whatever HELO, the sender or a parameter says.
#[tokio::test(flavor = "multi_thread")]
async fn no_word_of_a_client_makes_it_one_of_ours() {
    let server = Server::start("mynetworks = [\"10.0.0.0/8\"]\nsmtpd_hard_error_limit = 1000").await;
    for (hello, mail) in [
        ("EHLO [10.0.0.1]", "MAIL FROM:<ann@here.test>"),
        ("EHLO localhost", "MAIL FROM:<root@localhost>"),
        ("HELO here.test", "MAIL FROM:<>"),
        ("EHLO c.test", "MAIL FROM:<ann@[10.0.0.1]>"),
        ("EHLO c.test", "MAIL FROM:<a@x.test> AUTH=ann@here.test"),
    ] {
        let mut client = server.connect().await;
        client.say(hello).await;
        // Not offered to whom has not logged in: a word, or an unknown parameter.
        client.say(mail).await;
        let reply = client.say("RCPT TO:<b@ext.test>").await;
        assert!(reply.starts_with('5'), "{hello} {mail}: {reply}");
    }
    assert!(server.stop().await.list().is_empty());
}

/// S19: one more than is allowed hears 421, and those of other addresses do not notice.
#[tokio::test(flavor = "multi_thread")]
async fn the_connection_too_many_is_turned_away_and_others_are_served() {
    let server = Server::start("smtpd_client_connection_count_limit = 3\nsmtpd_client_event_limit_exceptions = [\"192.0.2.1\"]").await;
    // Who looked whether the server listens may not be forgotten yet.
    let mut mine = Vec::new();
    while mine.len() < 3 {
        let mut client = Client { stream: BufReader::new(TcpStream::connect(("127.0.0.1", server.port)).await.expect("connect")) };
        if client.reply().await.starts_with("220 ") {
            mine.push(client);
        }
    }
    let mut late = Client { stream: BufReader::new(TcpStream::connect(("127.0.0.1", server.port)).await.expect("connect")) };
    assert!(late.reply().await.starts_with("421 "));
    let socket = TcpSocket::new_v4().expect("socket");
    socket.bind("127.0.0.2:0".parse().expect("address")).expect("bind");
    let other = socket.connect(([127, 0, 0, 1], server.port).into()).await.expect("connect");
    let mut other = Client::greeted(other).await;
    assert_eq!(code(&other.message("a@x.test", "ann@here.test", "Subject: x\r\n").await), "250 2.0.0");
    assert_eq!(code(&mine[0].say("NOOP").await), "250 2.0.0");
    // A place that is given back can be had again.
    mine.pop().expect("three").say("QUIT").await;
    loop {
        let mut again = Client { stream: BufReader::new(TcpStream::connect(("127.0.0.1", server.port)).await.expect("connect")) };
        match again.reply().await {
            reply if reply.starts_with("220") => break,
            reply => assert!(reply.starts_with("421 "), "{reply}"),
        }
    }
    assert_eq!(server.stop().await.list().len(), 1);
}
