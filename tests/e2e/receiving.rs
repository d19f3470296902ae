//! Port 25: what is taken, what is refused, and what a message becomes on its way to the mailbox.

use e2e::{Server, Smtp};

#[test]
fn mail_for_our_users_arrives_with_its_trace_headers() {
    let server = Server::start();
    let id = server.send("sender@elsewhere.test", &["alice@example.test"], "Subject: hello\n\n.dot\nbody\n");
    let mail = &server.wait_for_mail("alice@example.test", 1)[0];
    assert!(mail.starts_with("Return-Path: <sender@elsewhere.test>\n"), "{mail}");
    assert!(mail.contains("\nDelivered-To: alice@example.test\n"), "{mail}");
    assert!(mail.contains("Received: from client.test"), "{mail}");
    assert!(mail.contains(&id), "the queue id {id} is in a Received line:\n{mail}");
    assert!(mail.ends_with("Subject: hello\n\n.dot\nbody\n"), "{mail}");
}

#[test]
fn strangers_cannot_relay_and_unknown_users_are_refused_at_rcpt() {
    let server = Server::start();
    let mut smtp = server.smtp();
    smtp.command("MAIL FROM:<a@elsewhere.test>", 250);
    let reply = smtp.command("RCPT TO:<x@gmail.test>", 550);
    assert!(reply.starts_with("550 5.7.1"), "{reply}");
    let reply = smtp.command("RCPT TO:<nobody@example.test>", 550);
    assert!(reply.starts_with("550 5.1.1"), "{reply}");
    for recipient in
        ["a%gmail.test@example.test", "gmail.test!a@example.test", "\"a@gmail.test\"@example.test", "a@[127.0.0.1]", "a@[IPv6:::1]"]
    {
        smtp.command(&format!("RCPT TO:<{recipient}>"), 550);
    }
    smtp.command("RCPT TO:<alice@example.test>", 250);
    smtp.command("QUIT", 221);
}

#[test]
fn the_telnet_session_of_the_guide_works_line_by_line() {
    let server = Server::start();
    let mut smtp = Smtp::connect(server.smtp_port());
    smtp.command("ehlo localhost", 250);
    smtp.command("mail from: root@localhost", 250);
    smtp.command("rcpt to: alice@example.test", 250);
    smtp.command("data", 354);
    smtp.write(b"Subject: Test\r\nTest\r\n");
    smtp.command(".", 250);
    smtp.command("quit", 221);
    assert!(server.wait_for_mail("alice@example.test", 1)[0].contains("Subject: Test"));
}

#[test]
fn with_mynetworks_style_host_the_guides_outside_recipient_is_taken() {
    let server =
        Server::builder().settings("[smtpd]\nmynetworks_style = \"host\"\n[routing]\ntransport_maps = [\"inline:{*=discard:}\"]\n").start();
    let mut smtp = Smtp::connect(server.smtp_port());
    smtp.command("ehlo localhost", 250);
    smtp.command("mail from: root@localhost", 250);
    smtp.command("rcpt to: test@gmail.com", 250);
    smtp.command("quit", 221);
}

#[test]
fn the_extensions_are_announced() {
    let server = Server::start();
    let mut smtp = Smtp::connect(server.smtp_port());
    let reply = smtp.command("EHLO client.test", 250);
    for extension in [
        "PIPELINING",
        "SIZE 52428800",
        "8BITMIME",
        "SMTPUTF8",
        "ENHANCEDSTATUSCODES",
        "CHUNKING",
        "LIMITS RCPTMAX=1000",
        "BINARYMIME",
        "STARTTLS",
        "DSN",
    ] {
        assert!(reply.lines().any(|l| l.get(4..) == Some(extension)), "{extension} is not in\n{reply}");
    }
    assert!(!reply.contains("AUTH"), "no AUTH on port 25:\n{reply}");
}

#[test]
fn a_smuggled_message_stays_inside_the_first() {
    let server = Server::start();
    for (at, end) in ["\n.\n", "\n.\r\n", "\r.\r", "\r\n.\n", "\r\n.\r", "\r.\r\n", "\n.\r"].iter().enumerate() {
        let mut smtp = server.smtp();
        smtp.command("MAIL FROM:<a@elsewhere.test>", 250);
        smtp.command("RCPT TO:<alice@example.test>", 250);
        smtp.command("DATA", 354);
        let text = format!(
            "Subject: one {at}\r\n\r\nbody{end}MAIL FROM:<b@elsewhere.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\nsmuggled\r\n.\r\n"
        );
        smtp.write(text.as_bytes());
        let reply = smtp.reply().expect("one reply");
        assert!(reply.starts_with("250") || reply.starts_with('5'), "{end:?}: {reply}");
        smtp.command("NOOP", 250);
    }
    server.wait_for_mail("alice@example.test", 7);
    assert!(server.inbox("bob@example.test").is_empty(), "nothing was smuggled");
}

#[test]
fn pipelined_commands_and_chunks_are_answered_in_order() {
    let server = Server::start();
    let mut smtp = server.smtp();
    smtp.write(b"MAIL FROM:<a@elsewhere.test> BODY=8BITMIME\r\nRCPT TO:<alice@example.test>\r\nRCPT TO:<nobody@example.test>\r\nBDAT 12\r\nSubject: x\r\nBDAT 8 LAST\r\n\r\nbody\r\n");
    let codes: Vec<String> = (0..5).map(|_| smtp.reply().expect("reply")[..3].to_owned()).collect();
    assert_eq!(codes, ["250", "250", "550", "250", "250"]);
    assert!(server.wait_for_mail("alice@example.test", 1)[0].ends_with("Subject: x\n\nbody\n"));
}

#[test]
fn a_message_too_large_is_refused_by_size_and_by_count() {
    let server = Server::builder().settings("[smtpd]\nmessage_size_limit = \"64K\"\n").start();
    let mut smtp = server.smtp();
    let reply = smtp.command("MAIL FROM:<a@elsewhere.test> SIZE=70000", 552);
    assert!(reply.starts_with("552 5.3.4"), "{reply}");
    smtp.command("MAIL FROM:<a@elsewhere.test>", 250);
    smtp.command("RCPT TO:<alice@example.test>", 250);
    smtp.command("DATA", 354);
    smtp.write("x".repeat(60).as_bytes());
    for _ in 0..1200 {
        smtp.write(format!("{}\r\n", "x".repeat(60)).as_bytes());
    }
    smtp.command("\r\n.", 552);
    smtp.send("a@elsewhere.test", &["alice@example.test"], "Subject: small\n\nx\n");
    server.wait_for_mail("alice@example.test", 1);
}

#[test]
fn a_large_message_goes_through_a_file_of_its_own_and_arrives_whole() {
    let server = Server::start();
    let body: String = (0..40_000).map(|n| format!("line {n} of a message that does not fit into the journal\n")).collect();
    server.send("a@elsewhere.test", &["alice@example.test", "bob@example.test"], &format!("Subject: large\n\n{body}"));
    for user in ["alice@example.test", "bob@example.test"] {
        assert!(server.wait_for_mail(user, 1)[0].ends_with(&body), "the body arrives byte for byte");
    }
}

#[test]
fn detail_addresses_and_aliases_reach_their_account() {
    let server = Server::start();
    server.facteur_ok(&["alias", "add", "info@example.test", "alice@example.test,bob@example.test"]);
    server.send("a@elsewhere.test", &["alice+lists@example.test"], "Subject: detail\n\nx\n");
    server.wait_for_mail("alice@example.test", 1);
    server.send("a@elsewhere.test", &["info@example.test"], "Subject: alias\n\nx\n");
    server.wait_for_mail("alice@example.test", 2);
    server.wait_for_mail("bob@example.test", 1);
}

#[test]
fn too_many_errors_end_the_session() {
    let server = Server::builder().settings("[smtpd]\nsmtpd_error_sleep_time = \"0s\"\n").start();
    let mut smtp = server.smtp();
    let mut replies = 0;
    while replies < 100 {
        smtp.write(b"NONSENSE\r\n");
        match smtp.reply() {
            Some(reply) if reply.starts_with("421") => break,
            Some(reply) => assert!(reply.starts_with('5'), "{reply}"),
            None => break,
        }
        replies += 1;
    }
    assert!((19..=21).contains(&replies), "cut off after {replies} errors");
}
