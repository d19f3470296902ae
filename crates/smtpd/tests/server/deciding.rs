//! What restrictions, limits, proxies and the time before the greeting do to real sessions.

use super::*;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

/// What the server says to these bytes until it waits for more or hangs up, the first line.
async fn raw(server: &Server, bytes: &[u8]) -> Client<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).await.expect("connect");
    stream.write_all(bytes).await.expect("write");
    Client { stream: BufReader::new(stream) }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_send_messages_elsewhere() {
    let access = "inline:{ {r@x.test = REDIRECT bob@here.test}, {b@x.test = BCC bob@here.test} }";
    let server = Server::start(&format!("smtpd_sender_restrictions = [\"check_sender_access {access}\"]")).await;
    let mut client = server.connect().await;
    for sender in ["r@x.test", "b@x.test", "n@x.test"] {
        assert_eq!(code(&client.message(sender, "ann@here.test", "Subject: x\r\n").await), "250 2.0.0", "{sender}");
    }
    let spool = server.stop().await;
    let listed = spool.list();
    for (sender, want) in
        [("r@x.test", &["bob@here.test"][..]), ("b@x.test", &["ann@here.test", "bob@here.test"]), ("n@x.test", &["ann@here.test"])]
    {
        let found = listed.iter().find(|l| l.sender.as_ref().is_some_and(|s| s.to_string() == sender)).expect("kept");
        let got: Vec<String> = found.recipients.iter().map(|r| r.address.to_string()).collect();
        assert_eq!(got, want, "{sender}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_service_is_asked_over_its_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    let service = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accept");
        let mut question = Vec::new();
        while !question.ends_with(b"\n\n") {
            question.push(stream.read_u8().await.expect("question"));
        }
        stream.write_all(b"action=REJECT not you\n\n").await.expect("answer");
        String::from_utf8(question).expect("text")
    });
    let check = format!("check_policy_service {{ inet:127.0.0.1:{port}, try_limit=1 }}");
    let server = Server::start(&format!("smtpd_recipient_restrictions = [\"{check}\"]")).await;
    let replies = server.connect().await.envelope("a@x.test", "ann@here.test").await;
    assert_eq!(replies[2], "554 5.7.1 <ann@here.test>: Recipient address rejected: not you");
    let question = service.await.expect("service");
    for line in ["protocol_state=RCPT", "protocol_name=ESMTP", "client_address=127.0.0.1", "helo_name=client.test", "sender=a@x.test"] {
        assert!(question.lines().any(|l| l == line), "{line} in {question}");
    }
    // It is away now.
    let replies = server.connect().await.envelope("a@x.test", "ann@here.test").await;
    assert_eq!(code(&replies[2]), "451 4.3.5");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_so_many_events_in_a_time() {
    let limits = "anvil_rate_time_unit = \"1h\"\nsmtpd_client_message_rate_limit = 2\nsmtpd_client_recipient_rate_limit = 3";
    let server = Server::start(limits).await;
    let mut client = server.connect().await;
    client.say("EHLO client.test").await;
    client.say("MAIL FROM:<a@x.test>").await;
    for want in ["250 2.1.5", "250 2.1.5", "250 2.1.5", "450 4.7.1"] {
        assert_eq!(code(&client.say("RCPT TO:<ann@here.test>").await), want);
    }
    client.say("RSET").await;
    assert_eq!(code(&client.say("MAIL FROM:<a@x.test>").await), "250 2.1.0");
    client.say("RSET").await;
    // On another connection as well.
    let mut client = server.connect().await;
    client.say("EHLO client.test").await;
    assert_eq!(client.say("MAIL FROM:<a@x.test>").await, "450 4.7.1 Error: too much mail from [127.0.0.1]");
    server.stop().await;
    let exempt = format!("{limits}\nsmtpd_client_event_limit_exceptions = [\"127.0.0.0/8\"]");
    let server = Server::start(&exempt).await;
    let mut client = server.connect().await;
    client.say("EHLO client.test").await;
    for _ in 0..5 {
        assert_eq!(code(&client.say("MAIL FROM:<a@x.test>").await), "250 2.1.0");
        client.say("RSET").await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_before_the_greeting_is_no_mail_server() {
    let server = Server::start("postscreen_greet_action = \"drop\"\npostscreen_greet_wait = \"30s\"").await;
    let mut client = raw(&server, b"EHLO client.test\r\n").await;
    assert_eq!(client.reply().await, "521 5.5.1 Protocol error");
    assert_eq!(client.reply().await, "");
    server.stop().await;
    let server = Server::start("postscreen_greet_action = \"enforce\"\npostscreen_greet_wait = \"30s\"").await;
    let mut client = raw(&server, b"EHLO client.test\r\n").await;
    assert!(client.reply().await.starts_with("220 "));
    assert!(client.reply().await.starts_with("250 "));
    client.say("MAIL FROM:<a@x.test>").await;
    assert_eq!(client.say("RCPT TO:<ann@here.test>").await, "550 5.5.1 Protocol error");
    server.stop().await;
    // Who waits is greeted, and need not wait again.
    let server = Server::start("postscreen_greet_action = \"drop\"\npostscreen_greet_wait = \"1s\"").await;
    let replies = server.connect().await.envelope("a@x.test", "ann@here.test").await;
    assert_eq!(code(&replies[2]), "250 2.1.5");
    let mut client = raw(&server, b"").await;
    let mut line = String::new();
    client.stream.read_line(&mut line).await.expect("read");
    assert!(line.starts_with("220 "), "{line}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_says_for_whom_it_connects() {
    let settings = "smtpd_upstream_proxy_protocol = \"haproxy\"\nsmtpd_peername_lookup = false\n\
        smtpd_recipient_restrictions = [\"check_client_access inline:{ {192.0.2.7 = REJECT seven} }\"]";
    let server = Server::start(settings).await;
    for (header, want) in [
        (&b"PROXY TCP4 192.0.2.7 192.0.2.25 40000 25\r\n"[..], "554 5.7.1"),
        (b"PROXY TCP4 192.0.2.8 192.0.2.25 40000 25\r\n", "250 2.1.5"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc0\0\x02\x19\x9c\x40\0\x19", "554 5.7.1"),
    ] {
        let mut client = raw(&server, header).await;
        assert!(client.reply().await.starts_with("220 "));
        assert_eq!(code(&client.envelope("a@x.test", "ann@here.test").await[2]), want);
    }
    let mut client = raw(&server, b"EHLO client.test\r\n").await;
    // The connection is over, with or without a reset for what was not read.
    let mut said = Vec::new();
    let ended = tokio::time::timeout(DEADLINE, client.stream.read_to_end(&mut said)).await.expect("an end in time");
    assert!(said.is_empty(), "{ended:?} {said:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_client_may_speak_for_another() {
    let settings = "smtpd_authorized_xclient_hosts = [\"127.0.0.1\"]\nsmtpd_authorized_xforward_hosts = [\"127.0.0.1\"]\n\
        smtpd_peername_lookup = false\ndisable_vrfy_command = true\n\
        smtpd_recipient_restrictions = [\"check_client_access inline:{ {192.0.2.7 = REJECT seven}, {bad.test = REJECT bad} }\"]";
    let server = Server::start(settings).await;
    let mut client = server.connect().await;
    assert_eq!(code(&client.say("VRFY ann").await), "502 5.5.1");
    for (line, want) in [
        ("XCLIENT ADDR=192.0.2.7", "554 5.7.1"),
        ("XCLIENT ADDR=192.0.2.8 NAME=mx.bad.test", "554 5.7.1"),
        ("XCLIENT ADDR=IPV6:2001:db8::7 NAME=[UNAVAILABLE]", "250 2.1.5"),
    ] {
        assert!(client.say(line).await.starts_with("220 "), "{line}");
        let replies = client.envelope("a@x.test", "ann@here.test").await;
        assert_eq!(code(&replies[2]), want, "{line}");
        // 354 came where the recipient was taken.
        client.say(if replies[3].starts_with("354") { "." } else { "RSET" }).await;
    }
    for wrong in ["XCLIENT", "XCLIENT ADDR=x", "XCLIENT FOO=bar", "XCLIENT NAME=a+0Ab"] {
        assert_eq!(code(&client.say(wrong).await), "501 5.5.4", "{wrong}");
    }
    let mut client = server.connect().await;
    client.say("EHLO filter.test").await;
    assert_eq!(code(&client.say("XFORWARD ADDR=198.51.100.9 NAME=far.test HELO=far").await), "250 2.0.0");
    assert_eq!(code(&client.further_message("f@x.test", "ann@here.test", "Subject: x\r\n").await), "250 2.0.0");
    // It held for that message; RSET undoes it too.
    assert_eq!(code(&client.further_message("g@x.test", "ann@here.test", "Subject: x\r\n").await), "250 2.0.0");
    client.say("XFORWARD ADDR=198.51.100.9 HELO=far").await;
    client.say("RSET").await;
    assert_eq!(code(&client.further_message("h@x.test", "ann@here.test", "Subject: x\r\n").await), "250 2.0.0");
    let spool = server.stop().await;
    let listed = spool.list();
    assert_eq!(listed.len(), 4);
    for (sender, want) in [("f@x.test", "198.51.100.9"), ("g@x.test", "127.0.0.1"), ("h@x.test", "127.0.0.1")] {
        let found = listed.iter().find(|l| l.sender.as_ref().is_some_and(|s| s.to_string() == sender)).expect("kept");
        let client = spool.reader.find(&found.id).expect("find").expect("there").envelope.client;
        assert_eq!(client.ip.map(|ip| ip.to_string()).as_deref(), Some(want), "{sender}");
    }
}

/// The envelope of a large message is written first, and may grow until its end.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_added_late_finds_room() {
    let copy = |n| format!("check_sender_access inline:{{ {{a@x.test = BCC copy{n}@a-rather-long-name.here.test}} }}");
    let bcc: Vec<String> = (0..40).map(copy).collect();
    let settings = format!(
        "journal_message_limit = \"4K\"\nsmtpd_authorized_xforward_hosts = [\"127.0.0.1\"]\nsmtpd_end_of_data_restrictions = {bcc:?}"
    );
    let server = Server::start(&settings).await;
    let mut client = server.connect().await;
    client.say("EHLO filter.test").await;
    assert_eq!(code(&client.say(&format!("XFORWARD HELO={}", "h".repeat(400))).await), "250 2.0.0");
    let text = format!("Subject: x\r\n\r\n{}", "0123456789\r\n".repeat(30_000));
    assert_eq!(code(&client.further_message("a@x.test", "ann@here.test", &text).await), "250 2.0.0");
    let spool = server.stop().await;
    let listed = spool.list();
    assert_eq!((listed.len(), spool.files(), listed[0].recipients.len()), (1, 1, 41));
    assert!(spool.body(&listed[0]).ends_with(&format!("{text}\r\n")));
}

/// A message that our own header makes too long for the journal has it once.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_at_the_journals_limit_is_edited_once() {
    let server = Server::start("journal_message_limit = \"4K\"").await;
    let mut client = server.connect().await;
    for length in (3_600..4_200).step_by(50) {
        let text = format!("Subject: x\r\n\r\n{}", "y".repeat(length));
        assert_eq!(code(&client.message("a@x.test", "ann@here.test", &text).await), "250 2.0.0", "{length}");
    }
    let spool = server.stop().await;
    for listed in spool.list() {
        let body = spool.body(&listed);
        assert_eq!(body.matches("Received: from").count(), 1, "{}", body.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_recipient_the_end_of_a_message_knows_it() {
    let settings = "smtpd_data_restrictions = [\"check_recipient_access inline:{ {ann@here.test = REJECT not alone} }\"]";
    let server = Server::start(settings).await;
    let mut client = server.connect().await;
    client.say("EHLO client.test").await;
    client.say("MAIL FROM:<a@x.test>").await;
    client.say("RCPT TO:<ann@here.test>").await;
    assert_eq!(client.say("DATA").await, "554 5.7.1 <ann@here.test>: Recipient address rejected: not alone");
    client.say("RCPT TO:<bob@here.test>").await;
    assert!(client.say("DATA").await.starts_with("354 "));
    client.say(".").await;
    server.stop().await;
}

/// nginx gives no REVERSE_NAME.
#[tokio::test(flavor = "multi_thread")]
async fn the_name_that_a_proxy_tells_is_the_reverse_name_too() {
    let settings = "smtpd_authorized_xclient_hosts = [\"127.0.0.1\"]\nsmtpd_client_restrictions = [\"reject_unknown_reverse_client_hostname\"]\n\
        smtpd_delay_reject = true\nunknown_client_reject_code = 550";
    let server = Server::start(settings).await;
    let mut client = server.connect().await;
    // This machine needs no name server to have a name.
    assert_eq!(code(&client.envelope("a@x.test", "ann@here.test").await[2]), "250 2.1.5");
    client.say(".").await;
    for (line, want) in [
        ("XCLIENT NAME=mx.far.test ADDR=192.0.2.7", "250 2.1.5"),
        ("XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.8", "550 5.7.2"),
        ("XCLIENT NAME=[TEMPUNAVAIL] ADDR=192.0.2.9", "450 4.4.3"),
    ] {
        assert!(client.say(line).await.starts_with("220 "), "{line}");
        let replies = client.envelope("a@x.test", "ann@here.test").await;
        assert_eq!(code(&replies[2]), want, "{line}");
        client.say(if replies[3].starts_with("354") { "." } else { "RSET" }).await;
    }
    server.stop().await;
}

/// RFC 6758: the header stands for MAIL where that is set, of clients that are trusted, up to what they may ask for.
#[tokio::test(flavor = "multi_thread")]
async fn a_priority_in_the_header_is_believed_of_clients_of_ours() {
    for (settings, parameter, header, want) in [
        ("mynetworks = [\"127.0.0.0/8\"]\nsmtpd_priority_header = true", "", "MT-Priority: 9\r\n", 4),
        ("mynetworks = [\"127.0.0.0/8\"]\nsmtpd_priority_header = true", "", "MT-Priority: -2\r\n", -2),
        ("mynetworks = [\"127.0.0.0/8\"]\nsmtpd_priority_header = true", " MT-PRIORITY=1", "MT-Priority: 9\r\n", 1),
        ("mynetworks = [\"127.0.0.0/8\"]\nsmtpd_priority_header = true", "", "MT-Priority: 3\r\nMT-Priority: 3\r\n", 0),
        ("mynetworks = [\"127.0.0.0/8\"]", "", "MT-Priority: 3\r\n", 0),
        ("smtpd_priority_header = true", "", "MT-Priority: 3\r\n", 0),
        ("smtpd_priority_header = true", "", "MT-Priority: -3\r\n", 0),
    ] {
        let server = Server::start(settings).await;
        let mut client = server.connect().await;
        client.say("EHLO c.test").await;
        assert_eq!(code(&client.say(&format!("MAIL FROM:<a@x.test>{parameter}")).await), "250 2.1.0", "{settings}");
        client.say("RCPT TO:<ann@here.test>").await;
        client.say("DATA").await;
        assert_eq!(code(&client.say(&format!("{header}Subject: x\r\n\r\nx\r\n.")).await), "250 2.0.0");
        assert_eq!(server.stop().await.list()[0].priority, want, "{settings} {parameter} {header}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn etrn_is_for_domains_that_we_keep_mail_for() {
    let settings = "fast_flush_domains = [\"far.test\"]\nsmtpd_etrn_restrictions = [\"check_etrn_access inline:{no.far.test=REJECT}\"]";
    let server = Server::start(settings).await;
    let mut client = server.connect().await;
    assert_eq!(code(&client.say("ETRN far.test").await), "503 5.5.1");
    client.say("EHLO client.test").await;
    for (line, want) in [
        ("ETRN far.test", "250 2.0.0"),
        ("ETRN @below.far.test", "250 2.0.0"),
        ("ETRN no.far.test", "554 5.7.1"),
        ("ETRN other.test", "459 4.7.1"),
        ("ETRN a b", "501 5.5.4"),
        ("ETRN", "501 5.5.4"),
    ] {
        assert_eq!(code(&client.say(line).await), want, "{line}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greylisted_client_gets_in_when_it_comes_again() {
    let server = Server::start("smtpd_recipient_restrictions = [\"check_greylist\"]\n[greylist]\ndelay = \"1s\"").await;
    let mut client = server.connect().await;
    let replies = client.envelope("a@x.test", "ann@here.test").await;
    assert_eq!(replies[2], "450 4.2.0 <ann@here.test>: Recipient address rejected: Greylisted for 1 seconds");
    let accepted = async {
        while !client.say("RCPT TO:<ann@here.test>").await.starts_with("250 ") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(DEADLINE, accepted).await.expect("accepted at last");
    drop(client);
    let kept = server.path("state/smtpd/greylist");
    let spool = server.stop().await;
    let text = std::fs::read_to_string(kept).expect("kept for the next start");
    assert!(text.contains("\t127.0.0.0/24\tann@here.test\ta@x.test\n") && text.contains("passed\t"), "{text}");
    drop(spool);
}

#[tokio::test(flavor = "multi_thread")]
async fn greylisting_leaves_services_with_logins_alone() {
    let server = Server::start("smtpd_sasl_auth_enable = true\nsmtpd_recipient_restrictions = [\"check_greylist\"]").await;
    let replies = server.connect().await.envelope("a@x.test", "ann@here.test").await;
    assert_eq!(code(&replies[2]), "250 2.1.5");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_postmaster_gets_the_transcript_of_a_bad_session() {
    let server = Server::start(
        "[qmgr]\nnotify_classes = [\"policy\", \"protocol\"]\nerror_notice_recipient = \"ann@here.test\"\nerror_notice_rate_limit = 1",
    )
    .await;
    for _ in 0..3 {
        let mut client = server.connect().await;
        client.envelope("a@x.test", "b@elsewhere.test").await;
        for wrong in ["AUTH PLAIN AGFubgBzZWNyZXQ=", " AUTH PLAIN AGFubgBzZWNyZXQ=", "auth=PLAIN AGFubgBzZWNyZXQ=", "AUTH"] {
            client.say(wrong).await;
            client.say("c2VjcmV0IHRvbw==").await;
        }
        client.say("NOOP").await;
        client.say("NONSENSE").await;
        client.say("QUIT").await;
        assert_eq!(client.reply().await, "");
    }
    // A good session says nothing.
    let mut client = server.connect().await;
    client.message("a@x.test", "bob@here.test", "Subject: good\r\n").await;
    client.say("QUIT").await;
    let spool = server.stop().await;
    let listed = spool.list();
    let notices: Vec<_> = listed.iter().filter(|l| l.sender.is_none()).collect();
    assert_eq!((listed.len(), notices.len()), (2, 1), "one an hour");
    let body = spool.body(notices[0]);
    for part in
        ["Subject: Facteur SMTP server: errors from [127.0.0.1]", " In:  RCPT TO:<b@elsewhere.test>", " Out: 550 5.7.1", " In:  NONSENSE"]
    {
        assert!(body.contains(part), "{part} in {body}");
    }
    assert!(!body.contains("AGFubgBzZWNyZXQ") && !body.contains("c2VjcmV0") && body.contains(" In:  AUTH (hidden)"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_one_error_ends_a_session() {
    let server = Server::start("smtpd_client_limit = 5\nsmtpd_client_connection_count_limit = 0").await;
    let mut quiet = server.connect().await;
    assert_eq!(code(&quiet.say("NONSENSE").await), "500 5.5.2");
    assert_eq!(code(&quiet.say("NOOP").await), "250 2.0.0", "nobody is in a hurry");
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(server.connect().await);
    }
    // More than four fifths of the places are taken.
    let mut late = server.connect().await;
    assert_eq!(code(&late.say("NONSENSE").await), "500 5.5.2");
    assert_eq!(code(&late.reply().await), "421 4.7.0");
    // Who was there before keeps what it has.
    assert_eq!(code(&quiet.say("NONSENSE").await), "500 5.5.2");
    assert_eq!(code(&quiet.say("NOOP").await), "250 2.0.0");
    drop(others);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_filter_is_named_by_setting_table_and_content() {
    let checks = "[cleanup]\nheader_checks = [\"inline:{ {Subject: odd = FILTER smtp:[127.0.0.3]:3} }\"]";
    let access = "inline:{ {b@x.test = FILTER smtp:[127.0.0.2]:2} }";
    let server = Server::start(&format!(
        "content_filter = \"smtp:[127.0.0.1]:1\"\nsmtpd_sender_restrictions = [\"check_sender_access {access}\"]\n{checks}"
    ))
    .await;
    let mut client = server.connect().await;
    client.say("EHLO filtered.test").await;
    for (wish, code) in [("BY=100;R", "555"), ("MT-PRIORITY=1", "250")] {
        let said = client.say(&format!("MAIL FROM:<a@x.test> {wish}")).await;
        assert!(said.starts_with(code), "{said}");
    }
    client.say("RSET").await;
    for (sender, subject) in [("a@x.test", "plain"), ("b@x.test", "plain"), ("c@x.test", "odd")] {
        assert_eq!(code(&client.message(sender, "ann@here.test", &format!("Subject: {subject}\r\n")).await), "250 2.0.0", "{sender}");
    }
    let spool = server.stop().await;
    for (sender, want) in [("a@x.test", "[127.0.0.1]:1"), ("b@x.test", "[127.0.0.2]:2"), ("c@x.test", "[127.0.0.3]:3")] {
        let listed = spool.list();
        let found = listed.iter().find(|l| l.sender.as_ref().is_some_and(|s| s.to_string() == sender)).expect("kept");
        let text = spool.reader.find(&found.id).expect("find").expect("there").envelope_text;
        assert!(text.contains(&format!("filter smtp:{want}\n")), "{text}");
    }
}
