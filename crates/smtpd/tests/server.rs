//! The whole server in this process, on real sockets and a real spool, without any partner: what it accepts, and what it refuses.

use daemon::{Context, Shutdown};
use spool::{Listed, ListedState, Reader};
use std::path::{Path, PathBuf};
use std::time::Duration;
use testkit::transcript::Transcript;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};

#[path = "server/deciding.rs"]
mod deciding;
#[path = "server/relaying.rs"]
mod relaying;

const DEADLINE: Duration = Duration::from_secs(60);

/// A running server.
struct Server {
    folder: tempfile::TempDir,
    port: u16,
    shutdown: Shutdown,
    running: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Server {
    /// Starts it with these lines at the end of its `[smtpd]` section.
    async fn start(smtpd: &str) -> Server {
        let folder = testkit::temp_dir();
        let root = folder.path().to_owned();
        // What qmgr and tmpfiles.d make.
        std::fs::create_dir_all(root.join("spool/queue/in")).expect("spool");
        std::fs::create_dir_all(root.join("run")).expect("run");
        let port = testkit::free_port();
        let text = format!(
            r#"
            hostname = "here.test"
            spool_directory = "spool"
            run_directory = "run"
            state_directory = "state"
            [routing]
            virtual_mailbox_domains = ["here.test"]
            relay_domains = ["behind.test"]
            virtual_mailbox_maps = ["inline:{{ ann@here.test=a, bob@here.test=b, busy@here.test=c, pelé@here.test=d }}"]
            virtual_alias_maps = []
            alias_domain_maps = []
            [smtpd.service.smtp]
            listen = ["127.0.0.1:{port}"]
            [smtpd.service.submission]
            listen = []
            [smtpd.service.submissions]
            listen = []
            [smtpd]
            mynetworks_style = "none"
            smtpd_error_sleep_time = "0s"
            queue_minfree = 0
            {smtpd}
            "#
        );
        let file = root.join("facteur.toml");
        let config = config::Config::from_texts(&file, &[(file.clone(), text)]).unwrap_or_else(|report| panic!("{report}"));
        let ctx = Context::detached("smtpd", config).expect("context");
        let shutdown = ctx.shutdown.clone();
        let running = tokio::spawn(smtpd::run(ctx));
        let mut server = Server { folder, port, shutdown, running };
        let listening = async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            () = listening => {}
            ended = &mut server.running => panic!("the server did not start: {ended:?}"),
            () = tokio::time::sleep(DEADLINE) => panic!("the server does not listen"),
        }
        server
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn connect(&self) -> Client<TcpStream> {
        Client::greeted(TcpStream::connect(("127.0.0.1", self.port)).await.expect("connect")).await
    }

    /// Ends the server in order and looks at what is left in the spool.
    async fn stop(self) -> Spool {
        self.shutdown.set();
        tokio::time::timeout(DEADLINE, self.running).await.expect("the server did not stop").expect("no panic").expect("no error");
        Spool { reader: Reader::open(&self.folder.path().join("spool")).expect("spool"), folder: self.folder }
    }
}

struct Spool {
    reader: Reader,
    folder: tempfile::TempDir,
}

impl Spool {
    fn list(&self) -> Vec<Listed> {
        self.reader.list().expect("list")
    }

    fn body(&self, listed: &Listed) -> String {
        let found = self.reader.find(&listed.id).expect("find").expect("there");
        String::from_utf8(found.body).expect("text")
    }

    fn files(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("spool/queue/in")).expect("folder").count()
    }
}

struct Client<S> {
    stream: BufReader<S>,
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Client<S> {
    async fn greeted(stream: S) -> Client<S> {
        let mut client = Client { stream: BufReader::new(stream) };
        assert!(client.reply().await.starts_with("220 "));
        client
    }

    /// The last line of the next reply; empty when the connection is closed.
    async fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            tokio::time::timeout(DEADLINE, self.stream.read_line(&mut line)).await.expect("a reply in time").expect("read");
            if line.as_bytes().get(3) != Some(&b'-') {
                return line.trim_end().to_owned();
            }
        }
    }

    async fn say(&mut self, text: &str) -> String {
        self.send(format!("{text}\r\n").as_bytes()).await;
        self.reply().await
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("write");
    }

    /// EHLO, the envelope and DATA; the reply to each.
    async fn envelope(&mut self, sender: &str, recipient: &str) -> Vec<String> {
        let mut replies = vec![self.say("EHLO client.test").await];
        for line in [format!("MAIL FROM:<{sender}>"), format!("RCPT TO:<{recipient}>"), "DATA".into()] {
            replies.push(self.say(&line).await);
        }
        replies
    }

    async fn message(&mut self, sender: &str, recipient: &str, text: &str) -> String {
        let replies = self.envelope(sender, recipient).await;
        assert!(replies[3].starts_with("354"), "{replies:?}");
        self.say(&format!("{text}\r\n.")).await
    }

    /// The same without EHLO, which would make the session begin anew.
    async fn further_message(&mut self, sender: &str, recipient: &str, text: &str) -> String {
        for (line, want) in [(format!("MAIL FROM:<{sender}>"), "250"), (format!("RCPT TO:<{recipient}>"), "250"), ("DATA".into(), "354")] {
            let reply = self.say(&line).await;
            assert!(reply.starts_with(want), "{line}: {reply}");
        }
        self.say(&format!("{text}\r\n.")).await
    }
}

fn code(reply: &str) -> &str {
    reply.get(..9).unwrap_or(reply)
}

#[tokio::test(flavor = "multi_thread")]
async fn transcripts_hold_over_connections() {
    let access = "inline:{ {busy@here.test = 451 4.3.0 Try later} }";
    let server =
        Server::start(&format!("message_size_limit = 10000\nsmtpd_recipient_restrictions = [\"check_recipient_access {access}\"]")).await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/transcripts/smtp");
    for transcript in Transcript::read_all(folder) {
        let text = std::fs::read_to_string(transcript.name()).expect("transcript");
        // This server has no certificate; TLS is tried end to end.
        if text.contains("STARTTLS") {
            continue;
        }
        let stream = TcpStream::connect(("127.0.0.1", server.port)).await.expect("connect");
        transcript.run_stream(stream, DEADLINE, async |_, stream| stream).await;
    }
    assert!(!server.stop().await.list().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_message_is_in_the_spool_with_its_trace() {
    let server = Server::start("").await;
    let mut client = server.connect().await;
    let reply = client.message("root@localhost", "ann@here.test", "Subject: Test\r\nTest").await;
    let id = reply.strip_prefix("250 2.0.0 Ok: queued as ").expect("queued").to_owned();
    let spool = server.stop().await;
    let listed = spool.list();
    assert_eq!((listed.len(), listed[0].id.as_str()), (1, id.as_str()));
    let body = spool.body(&listed[0]);
    let start = format!(
        "Received: from client.test (localhost [127.0.0.1])\r\n\tby here.test (Facteur) with ESMTP id {id}\r\n\tfor <ann@here.test>; "
    );
    assert!(body.starts_with(&start), "{body}");
    assert!(body.ends_with(" +0000\r\nSubject: Test\r\n\r\nTest\r\n"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn client_disconnect_in_data_leaves_no_spool_file() {
    let server = Server::start("journal_message_limit = \"4K\"").await;
    for size in [10, 2_000, 300_000] {
        let mut client = server.connect().await;
        client.envelope("a@x.test", "ann@here.test").await;
        client.send("x".repeat(size).as_bytes()).await;
        drop(client);
    }
    let mut client = server.connect().await;
    let large = format!("Subject: large\r\n\r\n{}", "y\r\n".repeat(200_000));
    assert!(client.message("a@x.test", "ann@here.test", &large).await.starts_with("250 2.0.0 Ok: queued as "));
    let spool = server.stop().await;
    let listed = spool.list();
    assert_eq!((listed.len(), spool.files()), (1, 1));
    assert!(spool.body(&listed[0]).ends_with(&format!("{large}\r\n")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_private_is_removed_from_all_of_a_header_however_long() {
    let server = Server::start("journal_message_limit = \"4K\"\nalways_add_missing_headers = true").await;
    let mut client = server.connect().await;
    let filler = format!("X-Filler: {}\r\n", "x".repeat(68));
    let long = filler.repeat(8_000);
    let text = format!("{long}Bcc: hidden@x.test\r\nSubject: x\r\n\r\nBcc: not private\r\n");
    assert_eq!(code(&client.message("a@x.test", "ann@here.test", &text).await), "250 2.0.0");
    let too_long = filler.repeat(14_000);
    for text in [format!("{too_long}\r\nbody"), too_long.clone(), format!("{}\r\n", "x".repeat(1_200_000))] {
        assert_eq!(code(&client.message("a@x.test", "ann@here.test", &text).await), "552 5.3.4");
    }
    let body_only = format!("\r\n{}", "x\r\n".repeat(500_000));
    assert_eq!(code(&client.message("a@x.test", "ann@here.test", &body_only).await), "250 2.0.0");
    let spool = server.stop().await;
    let listed = spool.list();
    let body = spool.body(&listed[0]);
    assert!(!body.contains("hidden@x.test") && body.contains("Bcc: not private"));
    assert_eq!((listed.len(), spool.files()), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_limit_below_the_journals_holds_too() {
    let server = Server::start("journal_message_limit = \"4M\"\nsmtpd_message_header_limit = \"64K\"").await;
    let mut client = server.connect().await;
    let header = "X: y\r\n".repeat(20_000);
    assert_eq!(code(&client.message("a@x.test", "ann@here.test", &format!("{header}\r\nbody")).await), "552 5.3.4");
    assert_eq!(code(&client.message("a@x.test", "ann@here.test", &format!("Subject: x\r\n\r\n{header}")).await), "250 2.0.0");
    assert_eq!(server.stop().await.list().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_do_not_speak_in_our_name() {
    let text = "Authentication-Results: HERE.test; dkim=pass\r\nAuthentication-Results: other.test; dkim=pass\r\nSubject: x\r\n";
    for (settings, kept) in [("", false), ("mynetworks = [\"127.0.0.1\"]", true)] {
        let server = Server::start(settings).await;
        server.connect().await.message("a@x.test", "ann@here.test", text).await;
        let spool = server.stop().await;
        let body = spool.body(&spool.list()[0]);
        assert_eq!((body.contains("HERE.test"), body.contains("other.test")), (kept, true), "{settings} {body}");
    }
}

/// S22.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_goes_in_circles_is_refused() {
    let server = Server::start("hopcount_limit = 10").await;
    let mut client = server.connect().await;
    let text = format!("{}Subject: x\r\n", "Received: from a by b; now\r\n".repeat(11));
    assert_eq!(code(&client.message("a@x.test", "ann@here.test", &text).await), "554 5.4.6");
    assert_eq!(code(&client.message("a@x.test", "ann@here.test", &text[28..]).await), "250 2.0.0");
    assert_eq!(server.stop().await.list().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_looked_up_is_refused_for_now() {
    let server = Server::start("smtpd_sender_restrictions = [\"check_sender_access accounts:mailboxes\"]").await;
    let mut client = server.connect().await;
    let replies = client.envelope("a@x.test", "ann@here.test").await;
    assert_eq!(replies.iter().map(|r| code(r)).collect::<Vec<_>>(), ["250 CHUNK", "250 2.1.0", "451 4.3.0", "554 5.5.1"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_sasl_server_is_a_temporary_failure() {
    let server = Server::start("smtpd_sasl_auth_enable = true\nsmtpd_tls_auth_only = false").await;
    let mut client = server.connect().await;
    client.send(b"EHLO client.test\r\n").await;
    let mut offered = false;
    loop {
        let mut line = String::new();
        client.stream.read_line(&mut line).await.expect("line");
        offered |= line.trim_end() == "250-AUTH PLAIN LOGIN";
        if line.starts_with("250 ") {
            break;
        }
    }
    assert!(offered);
    assert_eq!(code(&client.say("AUTH PLAIN AGFubgBzZWNyZXQ=").await), "454 4.7.0");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_hold_and_discard() {
    let access = "inline:{ hold@x.test=HOLD, drop@x.test=DISCARD, {head@x.test=PREPEND X-Seen: yes} }";
    let server = Server::start(&format!("smtpd_sender_restrictions = [\"check_sender_access {access}\"]")).await;
    let mut client = server.connect().await;
    for sender in ["hold@x.test", "drop@x.test", "head@x.test"] {
        assert_eq!(code(&client.message(sender, "ann@here.test", "Subject: x\r\n").await), "250 2.0.0", "{sender}");
    }
    let spool = server.stop().await;
    let listed = spool.list();
    let of = |sender: &str| listed.iter().find(|l| l.sender.as_ref().is_some_and(|s| s.to_string() == sender));
    assert!(matches!(of("hold@x.test").expect("kept").state, ListedState::Held));
    assert!(of("drop@x.test").is_none());
    let seen = of("head@x.test").expect("kept");
    let body = spool.body(seen);
    assert!(body.starts_with("X-Seen: yes\r\nReceived: ") && body.contains("\r\nSubject: x\r\n"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_socket_knows_who_speaks_and_completes_messages() {
    let server = Server::start("").await;
    let stream = UnixStream::connect(server.path("run/submit")).await.expect("connect");
    let mut client = Client::greeted(stream).await;
    let reply = client.message("ann@here.test", "far@elsewhere.test", "Subject: x\r\nBcc: hidden@x.test\r\n\r\nbody").await;
    assert_eq!(code(&reply), "250 2.0.0");
    let spool = server.stop().await;
    let listed = spool.list();
    let found = spool.reader.find(&listed[0].id).expect("find").expect("there");
    assert!(found.envelope.client.protocol.local && found.envelope.client.login.is_some());
    let body = spool.body(&listed[0]);
    for part in ["Received: by here.test (Facteur) with local id ", "\r\nMessage-ID: <", "\r\nDate: ", "\r\nFrom: ann@here.test\r\n"] {
        assert!(body.contains(part), "{part:?} in {body}");
    }
    assert!(!body.contains("hidden"), "{body}");
}

/// `sendmail`, and qmgr for what it left, name all recipients of a letter at once, and need an answer about each.
#[tokio::test]
async fn the_local_socket_answers_about_every_recipient() {
    let server = Server::start("").await;
    let stream = UnixStream::connect(server.path("run/submit")).await.expect("connect");
    let mut client = Client::greeted(stream).await;
    client.say("EHLO localhost").await;
    client.say("MAIL FROM:<ann@here.test>").await;
    for n in 0..40 {
        let reply = client.say(&format!("RCPT TO:<nobody{n}@here.test>")).await;
        assert_eq!(code(&reply), "550 5.1.1", "{n}");
    }
    assert_eq!(code(&client.say("RCPT TO:<bob@here.test>").await), "250 2.1.5");
    server.stop().await;
}

/// S18: what keeps to the letter of each deadline, and would never end.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_only_buys_time_is_cut_off() {
    let server = Server::start("smtpd_timeout = \"3s\"\nmessage_size_limit = 1024").await;
    // One octet per chunk, each command well in time.
    let mut client = server.connect().await;
    client.say("EHLO client.test").await;
    client.say("MAIL FROM:<a@x.test>").await;
    client.say("RCPT TO:<ann@here.test>").await;
    let mut last = String::new();
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if client.stream.write_all(b"BDAT 1\r\nx").await.is_err() {
            break;
        }
        last = client.reply().await;
        if !last.starts_with("250") {
            break;
        }
    }
    assert!(last.is_empty() || last.starts_with("421 4.4.2"), "{last}");
    // What will be refused at its end anyway, at a good rate.
    let mut client = server.connect().await;
    client.envelope("a@x.test", "ann@here.test").await;
    let mut ended = None;
    for _ in 0..200 {
        let _ = client.stream.write_all(&[b'x'; 100]).await;
        match tokio::time::timeout(Duration::from_millis(50), client.reply()).await {
            Ok(reply) => {
                ended = Some(reply);
                break;
            }
            Err(_) => continue,
        }
    }
    assert_eq!(ended.as_deref().map(code), Some("552 5.3.4"));
    assert!(server.stop().await.list().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_client_is_greeted_with_a_code_that_greetings_have() {
    for (settings, want) in [
        ("smtpd_client_restrictions = [\"reject\"]\nsmtpd_sasl_auth_enable = true", "554 5.7.1"),
        ("smtpd_client_restrictions = [\"defer\"]", "421 4.3.2"),
        ("smtpd_client_restrictions = [\"check_client_access inline:{ {127.0.0.1 = 550 5.7.1 go away} }\"]", "554 5.7.1"),
    ] {
        let server = Server::start(&format!("smtpd_delay_reject = false\n{settings}")).await;
        let mut client = Client { stream: BufReader::new(TcpStream::connect(("127.0.0.1", server.port)).await.expect("connect")) };
        assert_eq!(code(&client.reply().await), want, "{settings}");
        assert_eq!(client.reply().await, "");
        server.stop().await;
    }
}

/// S26: whatever a client has said when it goes, only a whole message stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_cut_at_any_octet_leaves_nothing_but_whole_messages() {
    let server = Server::start("journal_message_limit = \"4K\"").await;
    let large = format!("Subject: x\r\n\r\n{}.\r\n", "y\r\n".repeat(2_000));
    let parts = ["EHLO c.test\r\n", "MAIL FROM:<a@x.test>\r\n", "RCPT TO:<ann@here.test>\r\n", "DATA\r\n", &large];
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let head = length - large.len();
    // Every octet of the commands, and of both ends of the message.
    let mut whole = 0;
    for cut in (0..head + 40).chain(length - 40..=length) {
        let mut client = server.connect().await;
        let mut left = cut;
        for part in parts {
            client.send(&part.as_bytes()[..left.min(part.len())]).await;
            if left < part.len() {
                break;
            }
            left -= part.len();
            whole += usize::from(client.reply().await.starts_with("250 2.0.0 Ok: queued"));
        }
    }
    let spool = server.stop().await;
    assert_eq!((whole, spool.list().len(), spool.files()), (1, 1, 1));
    assert!(spool.body(&spool.list()[0]).ends_with("y\r\n"));
}

/// S28: the client does not wait for what it asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_kept_when_the_client_goes_before_its_reply() {
    let server = Server::start("").await;
    for half_close in [true, false] {
        let mut client = server.connect().await;
        client.envelope("a@x.test", "ann@here.test").await;
        client.send(b"Subject: x\r\n\r\nbody\r\n.\r\nQUIT\r\n").await;
        if half_close {
            client.stream.shutdown().await.expect("shutdown");
            assert_eq!(code(&client.reply().await), "250 2.0.0");
        }
        drop(client);
    }
    let spool = loop {
        let mut client = server.connect().await;
        client.say("QUIT").await;
        let reader = Reader::open(&server.path("spool")).expect("spool");
        if reader.list().expect("list").len() == 2 {
            break server.stop().await;
        }
    };
    assert_eq!(spool.list().len(), 2);
}

/// S15.
#[tokio::test(flavor = "multi_thread")]
async fn long_lines_stay_as_they_are() {
    let server = Server::start("").await;
    let mut client = server.connect().await;
    let text: String = [998, 1000, 2000, 65_536, 300_000].map(|length| format!("{}\r\n", "z".repeat(length))).concat();
    assert_eq!(code(&client.message("a@x.test", "ann@here.test", &format!("Subject: x\r\n\r\n{text}end")).await), "250 2.0.0");
    let spool = server.stop().await;
    assert!(spool.body(&spool.list()[0]).ends_with(&format!("Subject: x\r\n\r\n{text}end\r\n")));
}

/// S9: no way of writing an address makes a relay of us.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_do_not_get_through_us_by_any_spelling() {
    let server = Server::start("smtpd_hard_error_limit = 1000").await;
    for sender in ["", "ann@here.test", "a@x.test"] {
        let mut client = server.connect().await;
        client.say("EHLO c.test").await;
        assert_eq!(code(&client.say(&format!("MAIL FROM:<{sender}>")).await), "250 2.1.0");
        for recipient in [
            "a@ext.test",
            "@here.test:a@ext.test",
            "@ext.test,@here.test:a@ext.test",
            "a%ext.test@here.test",
            "a%ext.test@behind.test",
            "ext.test!a@behind.test",
            "\"a@ext.test\"@behind.test",
            "ext.test!a@here.test",
            "\"a@ext.test\"@here.test",
            "a@ext.test@here.test",
            "a@here.test@ext.test",
            "a@[127.0.0.1]",
            "a@[IPv6:::1]",
            "a@ext.test,ann@here.test",
            "a@ext.test.",
            "a@here.test.",
        ] {
            let reply = client.say(&format!("RCPT TO:<{recipient}>")).await;
            assert!(reply.starts_with('5'), "{sender:?} {recipient}: {reply}");
        }
        assert_eq!(code(&client.say("DATA").await), "554 5.5.1");
    }
    assert!(server.stop().await.list().is_empty());
}

/// S11, S12, S23, S27: odd words are refused or taken as what they are, and the session goes on.
#[tokio::test(flavor = "multi_thread")]
async fn odd_arguments_are_data_or_errors() {
    let server = Server::start("smtpd_hard_error_limit = 1000").await;
    let mut client = server.connect().await;
    for (line, want) in [
        ("XCLIENT ADDR=127.0.0.1 LOGIN=ann@here.test", "550 5.7.0"),
        ("XFORWARD NAME=spike.test", "550 5.7.0"),
        ("PROXY TCP4 127.0.0.1 127.0.0.1 1 25", "500 5.5.2"),
        ("EHLO a\0b", "501 5.5.2"),
        ("EHLO \x1b[31m", "501 5.5.2"),
        ("HELO [::1]", "250 here."),
        ("HELO p\u{e9}l\u{e9}.test", "250 here."),
        ("MAIL FROM:<;touch /tmp/p;>", "501 5."),
        ("MAIL FROM:<`id`@x.test>", "250 2.1.0"),
        ("RSET", "250 2.0.0"),
        ("MAIL FROM:<|id@x.test>", "250 2.1.0"),
        ("RCPT TO:<${run{id}}@here.test>", "550 5.1.1"),
        ("RCPT TO:<../../x@here.test>", "550 5.1.1"),
        ("RCPT TO:<\"/etc/passwd\"@here.test>", "550 5.1.1"),
        ("RCPT TO:<-oQ/tmp@here.test>", "550 5.1.1"),
        ("RCPT TO:<\"\"@here.test>", "5"),
        ("RSET", "250 2.0.0"),
    ] {
        let reply = client.say(line).await;
        assert!(reply.starts_with(want), "{line:?}: {reply}");
    }
    server.stop().await;
    let server = Server::start("").await;
    let mut client = server.connect().await;
    assert_eq!(code(&client.say(&format!("EHLO {}", "x".repeat(65_536))).await), "500 5.5.2");
    assert!(client.say("EHLO c.test").await.starts_with("250"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_a_temporary_failure() {
    let server = Server::start("").await;
    let mut client = server.connect().await;
    client.say("EHLO client.test").await;
    assert_eq!(code(&client.say("MAIL FROM:<a@x.test> SIZE=1000").await), "250 2.1.0");
    server.stop().await;
    // More than any disk of a test machine has.
    let server = Server::start("message_size_limit = 1000000000000").await;
    let mut client = server.connect().await;
    client.say("EHLO client.test").await;
    assert_eq!(code(&client.say("MAIL FROM:<a@x.test>").await), "452 4.3.1");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_lets_a_transaction_end_and_tells_the_idle() {
    let server = Server::start("").await;
    let (mut busy, mut idle) = (server.connect().await, server.connect().await);
    busy.envelope("a@x.test", "ann@here.test").await;
    idle.say("EHLO client.test").await;
    server.shutdown.set();
    assert_eq!(code(&idle.reply().await), "421 4.3.2");
    assert_eq!(idle.reply().await, "");
    assert_eq!(code(&busy.say("Subject: x\r\n\r\n.").await), "250 2.0.0");
    assert_eq!(code(&busy.reply().await), "421 4.3.2");
    assert_eq!(server.stop().await.list().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn restrictions_that_make_no_sense_do_not_start() {
    let folder = testkit::temp_dir();
    let file = folder.path().join("facteur.toml");
    let text = "hostname = \"here.test\"\nspool_directory = \"spool\"\n[smtpd]\nsmtpd_relay_restrictions = [\"permit\"]\n";
    std::fs::create_dir_all(folder.path().join("spool/queue/in")).expect("spool");
    let config = config::Config::from_texts(&file, &[(file.clone(), text.to_owned())]).unwrap_or_else(|report| panic!("{report}"));
    let error = smtpd::run(Context::detached("smtpd", config).expect("context")).await.expect_err("refused");
    assert!(format!("{error:#}").contains("would relay mail for everybody"), "{error:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn content_is_checked_and_addresses_get_their_form() {
    let tables = testkit::temp_dir();
    let table = |name: &str, text: &str| {
        std::fs::write(tables.path().join(name), text).expect("write");
        format!("[\"regexp:{}\"]", tables.path().join(name).display())
    };
    let header = table("header", "/^Subject: spam/ REJECT 5.7.2 no spam\n/^X-Old/ IGNORE\n/^X-To: (.*)/ REDIRECT $1\n/^X-Hold/ HOLD\n");
    let body = table("body", "/^virus$/ REJECT\n/^copy$/ BCC bob@here.test\n/^gone$/ DISCARD\n/^later$/ REJECT 4.7.0 not now\n");
    let server = Server::start(&format!(
        "journal_message_limit = \"4K\"\n[cleanup]\nheader_checks = {header}\nbody_checks = {body}\nbody_checks_size_limit = \"100M\"\n\
         canonical_maps = [\"inline:{{ old@away.test=new@away.test }}\"]"
    ))
    .await;
    let mut client = server.connect().await;
    let long = "x\r\n".repeat(10_000);
    for (sender, text, want) in [
        ("a@x.test", "Subject: spam\r\n\r\nhi", "550 5.7.2"),
        ("a@x.test", "Subject: x\r\n\r\nvirus", "550 5.7.1"),
        ("a@x.test", "Subject: x\r\n\r\nlater", "451 4.7.0"),
        ("a@x.test", "Subject: x\r\n\r\ngone", "250 2.0.0"),
        ("a@x.test", &format!("Subject: x\r\n\r\n{long}virus"), "550 5.7.1"),
        ("held@x.test", "X-Hold: y\r\n\r\nhi", "250 2.0.0"),
        ("to@x.test", "X-To: busy@here.test\r\n\r\nhi", "250 2.0.0"),
        ("copy@x.test", &format!("X-Old: y\r\nSubject: x\r\n\r\n{long}copy"), "250 2.0.0"),
        ("old@away.test", "From: Old <old@away.test>\r\n\r\nold@away.test", "250 2.0.0"),
    ] {
        assert_eq!(code(&client.message(sender, "ann@here.test", text).await), want, "{sender}");
    }
    let spool = server.stop().await;
    let listed = spool.list();
    assert_eq!((listed.len(), spool.files()), (4, 1));
    let of = |sender: &str| listed.iter().find(|l| l.sender.as_ref().is_some_and(|s| s.to_string() == sender)).expect(sender);
    let to = |sender: &str| of(sender).recipients.iter().map(|r| r.address.to_string()).collect::<Vec<_>>().join(" ");
    assert!(matches!(of("held@x.test").state, ListedState::Held));
    assert_eq!(to("to@x.test"), "busy@here.test");
    assert_eq!(to("copy@x.test"), "ann@here.test bob@here.test");
    assert!(!spool.body(of("copy@x.test")).contains("X-Old"));
    assert!(spool.body(of("new@away.test")).ends_with("\r\nFrom: Old <new@away.test>\r\n\r\nold@away.test\r\n"));
}
