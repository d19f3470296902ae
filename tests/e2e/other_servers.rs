//! Exim and OpenSMTPD on the other side, in both directions: what the extensions promise holds across implementations.

use e2e::{Exim, OpenSmtpd, PortBase, Server, Smtp, Unpacked, eventually};

/// RFC 3030, chosen by `smtp_chunking`: Exim logs such a message with a K.
#[test]
fn we_send_to_exim_by_bdat() {
    let ports = PortBase::take();
    let settings = format!(
        "[smtpd]\nmynetworks = [\"127.0.0.0/8\"]\n[routing]\ntransport_maps = [\"inline:{{far.test=smtp:[127.0.0.1]:{}}}\"]\n\
         [outbound]\nsmtp_tls_security_level = \"encrypt\"\nsmtp_chunking = true\n",
        ports.spare(1)
    );
    let server = Server::builder().settings(&settings).start();
    let Some(exim) = Exim::start("we_send_to_exim_by_bdat", ports.spare(1), server.smtp_port()) else { return };
    we_send_to_the_peer(exim.peer(), &server);
    let log = exim.peer().log();
    let received: Vec<&str> = log.lines().filter(|line| line.contains(" <= alice@example.test ")).collect();
    assert!(received.len() >= 10 && received.iter().all(|line| line.contains(" K ")), "{log}");
}

/// Trusts the peers as a backup MX or smarthost would be trusted, and sends far.test to `port`, with TLS at this level.
fn server_beside(port: u16, level: &str) -> Server {
    let settings = format!(
        "[smtpd]\nmynetworks = [\"127.0.0.0/8\"]\n[routing]\ntransport_maps = [\"inline:{{far.test=smtp:[127.0.0.1]:{port}}}\"]\n\
         [outbound]\nsmtp_tls_security_level = \"{level}\"\n"
    );
    Server::builder().settings(&settings).start()
}

/// Ten messages, with dots and eight-bit text, from a client of the peer to a mailbox of ours.
fn the_peer_sends_to_us(peer: &Unpacked, port: u16, server: &Server) {
    let mut smtp = Smtp::connect(port);
    smtp.command("EHLO client.test", 250);
    for n in 0..10 {
        smtp.command("MAIL FROM:<carol@far.test> BODY=8BITMIME", 250);
        for user in ["alice", "bob"] {
            smtp.command(&format!("RCPT TO:<{user}@example.test>"), 250);
        }
        smtp.command("DATA", 354);
        smtp.write(format!("Subject: {n}\r\n\r\n..dots\r\n...\r\nh\u{e9}\r\n").as_bytes());
        smtp.command(".", 250);
    }
    for user in ["alice", "bob"] {
        eventually("ten messages", || (server.inbox(&format!("{user}@example.test")).len() >= 10).then_some(()), || peer.log());
        for mail in server.wait_for_mail(&format!("{user}@example.test"), 10) {
            assert!(mail.contains("with ESMTPS") && mail.ends_with("\n.dots\n..\nh\u{e9}\n"), "{mail}");
        }
    }
    // Whom we refuse, the peer reports to the sender, by our words.
    smtp.send("bob@example.test", &["nobody@example.test"], "Subject: refused\n\nx\n");
    let bounce = server.wait_for_mail("bob@example.test", 11).pop().expect("eleven");
    assert!(bounce.contains("nobody@example.test") && bounce.contains("5.1.1") && bounce.starts_with("Return-Path: <>\n"), "{bounce}");
}

/// The same in the other direction, and what comes back: refused at RCPT, refused later, delivered.
fn we_send_to_the_peer(peer: &Unpacked, server: &Server) {
    let mut smtp = server.smtp();
    for n in 0..10 {
        smtp.command("MAIL FROM:<alice@example.test> BODY=8BITMIME", 250);
        smtp.command("RCPT TO:<carol@far.test>", 250);
        smtp.command("DATA", 354);
        smtp.write(format!("Subject: {n}\r\n\r\n..dots\r\n...\r\nh\u{e9}\r\n").as_bytes());
        smtp.command(".", 250);
    }
    for mail in peer.wait_for_mail("carol", 10) {
        let text = mail.replace("\r\n", "\n");
        assert!(text.contains("\n.dots\n..\nh\u{e9}\n"), "{mail}");
    }
    server.send("alice@example.test", &["nobody@far.test"], "Subject: refused\n\nx\n");
    let bounce = server.wait_for_mail("alice@example.test", 1).pop().expect("one");
    for want in ["Status: 5.", "Remote-MTA: dns;", "Diagnostic-Code: smtp; 5", "Final-Recipient: rfc822; nobody@far.test", "Action: failed"]
    {
        assert!(bounce.contains(want), "{want:?} in\n{bounce}");
    }
    server.send("bob@example.test", &["late@far.test"], "Subject: late\n\nx\n");
    let returned = server.wait_for_mail("bob@example.test", 1).pop().expect("one");
    assert!(returned.contains("late@far.test") && returned.starts_with("Return-Path: <>\n"), "{returned}");
}

/// The one report of a success that has come after `before` other messages.
fn the_report(server: &Server, user: &str, before: usize) -> String {
    let mail = server.wait_for_mail(user, before + 1);
    let mut reports = mail.into_iter().filter(|mail| mail.contains("Action: delivered"));
    let report = reports.next().expect("a report");
    assert!(reports.next().is_none());
    report
}

/// RFC 3461: what the sender wants to know goes through us and the peer, and comes back.
fn a_success_is_reported_by_the_peer(server: &Server, user: &str, before: usize, wanted: &[&str]) {
    let mut smtp = server.smtp();
    smtp.command(&format!("MAIL FROM:<{user}> RET=HDRS ENVID=our-id"), 250);
    smtp.command("RCPT TO:<carol@far.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;first@far.test", 250);
    smtp.command("DATA", 354);
    smtp.write(b"Subject: noted\r\n\r\nbody\r\n");
    smtp.command(".", 250);
    let report = the_report(server, user, before);
    for want in wanted.iter().chain(&["message/delivery-status", "Action: delivered", "rfc822; carol@far.test"]) {
        assert!(
            report.replace("rfc822;carol", "rfc822; carol").contains(want),
            "{want:?} in
{report}"
        );
    }
    assert!(report.starts_with("Return-Path: <>\n") && !report.contains("\nbody\n"), "{report}");
}

/// The same the other way round: the peer gives us the wish of its client.
fn a_success_is_reported_by_us(port: u16, server: &Server, user: &str, before: usize) {
    let mut smtp = Smtp::connect(port);
    smtp.command("EHLO client.test", 250);
    smtp.command(&format!("MAIL FROM:<{user}> RET=HDRS ENVID=their-id"), 250);
    smtp.command("RCPT TO:<alice@example.test> NOTIFY=SUCCESS ORCPT=rfc822;first@example.test", 250);
    smtp.command("DATA", 354);
    smtp.write(b"Subject: noted\r\n\r\nbody\r\n");
    smtp.command(".", 250);
    let report = the_report(server, user, before);
    for want in ["Original-Envelope-Id: their-id", "Original-Recipient: rfc822; first@example.test", "Action: delivered"] {
        assert!(report.replace("rfc822;first", "rfc822; first").contains(want), "{want:?} in\n{report}");
    }
}

#[test]
fn exim_and_we_exchange_mail() {
    let ports = PortBase::take();
    let server = server_beside(ports.spare(1), "encrypt");
    let Some(exim) = Exim::start("exim_and_we_exchange_mail", ports.spare(1), server.smtp_port()) else { return };
    the_peer_sends_to_us(exim.peer(), exim.port(), &server);
    // Exim sends by BDAT where it can, and says so by the K.
    assert!(exim.peer().log().contains(" K C=\"250 "), "{}", exim.peer().log());
    a_success_is_reported_by_us(exim.port(), &server, "bob@example.test", 11);
}

#[test]
fn we_and_exim_exchange_mail_and_reports() {
    let ports = PortBase::take();
    let server = server_beside(ports.spare(1), "encrypt");
    let Some(exim) = Exim::start("we_and_exim_exchange_mail_and_reports", ports.spare(1), server.smtp_port()) else { return };
    we_send_to_the_peer(exim.peer(), &server);
    let wanted = ["multipart/report", "Original-Envelope-ID: our-id", "Original-Recipient: rfc822;first@far.test"];
    a_success_is_reported_by_the_peer(&server, "alice@example.test", 1, &wanted);
    // RFC 6531, both ways.
    let mut smtp = server.smtp();
    smtp.command("MAIL FROM:<alice@example.test> SMTPUTF8", 250);
    smtp.command("RCPT TO:<zoé@far.test>", 250);
    smtp.command("DATA", 354);
    smtp.write("Subject: é\r\nTo: zoé@far.test\r\n\r\nx\r\n".as_bytes());
    smtp.command(".", 250);
    assert!(exim.peer().wait_for_mail("zoe", 1)[0].contains("Subject: é"));
    let mut smtp = Smtp::connect(exim.port());
    smtp.command("EHLO client.test", 250);
    smtp.command("MAIL FROM:<zoé@far.test> SMTPUTF8", 250);
    smtp.command("RCPT TO:<bob@example.test>", 250);
    smtp.command("DATA", 354);
    smtp.write("Subject: à bob\r\n\r\nx\r\n".as_bytes());
    smtp.command(".", 250);
    let mail = server.wait_for_mail("bob@example.test", 2).pop().expect("two");
    assert!(mail.starts_with("Return-Path: <zoé@far.test>\n") && mail.contains("with UTF8SMTPS"), "{mail}");
}

#[test]
fn opensmtpd_and_we_exchange_mail() {
    let ports = PortBase::take();
    let server = server_beside(ports.spare(1), "may");
    let Some(peer) = OpenSmtpd::start("opensmtpd_and_we_exchange_mail", ports.spare(1), server.smtp_port()) else { return };
    the_peer_sends_to_us(peer.peer(), peer.port(), &server);
    a_success_is_reported_by_us(peer.port(), &server, "bob@example.test", 11);
}

/// OpenSMTPD 6.8 offers STARTTLS and cannot do it with OpenSSL 3 (Debian 12; its issue 1171): at the level `may` its mail goes in plaintext.
#[test]
fn we_and_opensmtpd_exchange_mail_and_reports() {
    let ports = PortBase::take();
    let server = server_beside(ports.spare(1), "may");
    let Some(peer) = OpenSmtpd::start("we_and_opensmtpd_exchange_mail_and_reports", ports.spare(1), server.smtp_port()) else { return };
    we_send_to_the_peer(peer.peer(), &server);
    // It tells neither ENVID nor ORCPT.
    a_success_is_reported_by_the_peer(&server, "alice@example.test", 1, &[]);
}
