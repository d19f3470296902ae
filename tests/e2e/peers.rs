//! Real Postfix and real Dovecot on the other side, in both directions.

use e2e::{Dovecot, Imap, PASSWORD, Postfix, Server, Smtp, chown_all, eventually, open_to_all};

const FROM_HERE: &str = "[smtpd]\nmynetworks = [\"127.0.0.0/8\"]\n";

#[test]
fn postfix_relays_to_us() {
    let server = Server::start();
    let relay = format!("relayhost = [127.0.0.1]:{}\n", server.smtp_port());
    let Some(postfix) = Postfix::start("postfix_relays_to_us", server.ports().spare(1), &relay, &[]) else { return };
    let mut smtp = Smtp::connect(postfix.port());
    smtp.command("EHLO client.test", 250);
    for n in 0..10 {
        smtp.send("a@elsewhere.test", &["alice@example.test", "bob@example.test"], &format!("Subject: {n}\n\n.dots\n..\n"));
    }
    let mails = server.wait_for_mail("alice@example.test", 10);
    assert!(mails.iter().all(|m| m.contains("with ESMTPS") && m.ends_with("\n.dots\n..\n")), "{}", mails[0]);
    server.wait_for_mail("bob@example.test", 10);
}

#[test]
fn we_relay_to_postfix_and_its_refusals_come_back() {
    let ports = e2e::PortBase::take();
    let settings = "virtual_mailbox_domains = far.test\nvirtual_mailbox_maps = texthash:$config_directory/boxes\nsmtpd_reject_unlisted_recipient = yes\n";
    let Some(postfix) = Postfix::start("we_relay_to_postfix", ports.spare(1), settings, &[("boxes", "carol@far.test carol/\n")]) else {
        return;
    };
    let server = Server::builder()
        .settings(&format!("{FROM_HERE}[routing]\ntransport_maps = [\"inline:{{far.test=smtp:[127.0.0.1]:{}}}\"]\n", postfix.port()))
        .start();
    for n in 0..10 {
        server.send("alice@example.test", &["carol@far.test"], &format!("Subject: {n}\n\n.dots\n"));
    }
    eventually("ten messages at Postfix", || (postfix.mail("carol").len() == 10).then_some(()), || postfix.log());
    assert!(postfix.mail("carol").iter().all(|m| m.ends_with("\n.dots\n")));
    server.send("alice@example.test", &["nobody@far.test"], "Subject: refused\n\nx\n");
    let bounce = &server.wait_for_mail("alice@example.test", 1)[0];
    assert!(bounce.contains("Status: 5.1.1") && bounce.contains("Remote-MTA: dns;"), "{bounce}");
}

#[test]
fn postfix_hands_mail_to_our_deliver_by_lmtp() {
    let ports = e2e::PortBase::take();
    let lmtp = ports.spare(2);
    let server = Server::builder().settings(&format!("[deliver]\nlisten = [\"unix:lmtp\", \"127.0.0.1:{lmtp}\"]\n")).start();
    let settings = format!("virtual_mailbox_domains = example.test\nvirtual_transport = lmtp:inet:127.0.0.1:{lmtp}\n");
    let Some(postfix) = Postfix::start("postfix_hands_mail_to_our_deliver", ports.spare(1), &settings, &[]) else { return };
    let mut smtp = Smtp::connect(postfix.port());
    smtp.command("EHLO client.test", 250);
    smtp.send("a@elsewhere.test", &["alice@example.test", "nobody@example.test"], "Subject: by LMTP\n\nx\n");
    server.wait_for_mail("alice@example.test", 1);
    eventually("the refusal of the other", || postfix.log().contains("5.1.1").then_some(()), || postfix.log());
}

#[test]
fn we_hand_mail_to_dovecot_by_lmtp() {
    let ports = e2e::PortBase::take();
    let Some(dovecot) = Dovecot::start("we_hand_mail_to_dovecot_by_lmtp", None, (ports.spare(3), ports.spare(4))) else { return };
    let socket = dovecot.lmtp_socket();
    let server = Server::builder()
        .settings(&format!("[routing]\ntransport_maps = [\"inline:{{example.test=lmtp:unix:{}}}\"]\n", socket.display()))
        .start();
    server.send("a@elsewhere.test", &["alice@example.test"], "Subject: to Dovecot\n\nx\n");
    let mut imap = Imap::connect(dovecot.imap_port());
    imap.ok(&format!("LOGIN alice@example.test {PASSWORD}"));
    eventually(
        "the message at Dovecot",
        || imap.ok("STATUS INBOX (MESSAGES)").join("").contains("MESSAGES 1").then_some(()),
        || dovecot.log() + &server.log(),
    );
}

#[test]
fn postfix_authenticates_against_our_authd() {
    let server =
        Server::builder().settings("[[authd.unix_listener]]\npath = \"auth-postfix\"\nkind = \"client\"\nmode = \"0666\"\n").start();
    for folder in [server.root().to_owned(), server.root().join("run")] {
        open_to_all(&folder);
    }
    let socket = server.root().join("run/auth-postfix");
    let settings = format!(
        "smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\nsmtpd_sasl_path = {}\nrelayhost = [127.0.0.1]:{}\n",
        socket.display(),
        server.smtp_port()
    );
    let Some(postfix) = Postfix::start("postfix_authenticates_against_our_authd", server.ports().spare(1), &settings, &[]) else { return };
    let mut smtp = Smtp::connect(postfix.port());
    assert!(smtp.command("EHLO client.test", 250).contains("AUTH PLAIN LOGIN") || smtp.command("EHLO client.test", 250).contains("PLAIN"));
    smtp.command("AUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdAB3cm9uZw==", 535);
    smtp.command("AUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdABzZWNyZXQ=", 235);
    drop(smtp);
    let mut smtp = Smtp::connect(postfix.port());
    smtp.command("EHLO client.test", 250);
    smtp.command("AUTH LOGIN", 334);
    smtp.command("YWxpY2VAZXhhbXBsZS50ZXN0", 334);
    smtp.command("c2VjcmV0", 235);
}

#[test]
fn our_smtpd_authenticates_against_dovecot() {
    let ports = e2e::PortBase::take();
    let Some(dovecot) = Dovecot::start("our_smtpd_authenticates_against_dovecot", None, (ports.spare(3), ports.spare(4))) else { return };
    let server = Server::builder()
        .settings(&format!(
            "[smtpd]\nsmtpd_sasl_path = \"{}\"\nsmtpd_sasl_auth_enable = true\nsmtpd_tls_auth_only = false\n",
            dovecot.auth_socket().display()
        ))
        .start();
    let mut smtp = server.smtp();
    smtp.command("AUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdAB3cm9uZw==", 535);
    smtp.command("AUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdABzZWNyZXQ=", 235);
}

/// UIDVALIDITY, and every message with UID, flags and subject, as an IMAP server tells them.
fn listing(port: u16) -> Vec<String> {
    let mut imap = Imap::connect(port);
    imap.ok(&format!("LOGIN alice@example.test {PASSWORD}"));
    let mut all = Vec::new();
    for mailbox in ["INBOX", "Work.Sub"] {
        let select = imap.ok(&format!("EXAMINE {mailbox}"));
        let validity = select.iter().find(|l| l.contains("UIDVALIDITY")).expect("UIDVALIDITY").split(']').next().expect("code").to_owned();
        all.push(format!("{mailbox} {validity}"));
        for response in imap.ok("UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])") {
            if !response.contains(" FETCH ") {
                continue;
            }
            let word = |name: &str| response.split(name).nth(1).expect(name).trim_start().to_owned();
            let uid = word("UID ").split([' ', ')']).next().expect("uid").to_owned();
            let flags = word("FLAGS (");
            let mut flags: Vec<&str> =
                flags.split(')').next().expect("flags").split(' ').filter(|f| !f.is_empty() && *f != "\\Recent").collect();
            flags.sort();
            let subject = word("Subject: ");
            all.push(format!("{uid} {flags:?} {}", subject.lines().next().expect("subject")));
        }
    }
    all
}

#[test]
fn a_store_moves_from_dovecot_to_us_and_back_with_every_uid_and_flag() {
    let mut server = Server::builder().settings("[imapd]\ndisable_plaintext_auth = false\n").start();
    let mail = server.root().join("mail");
    let ports = e2e::PortBase::take();
    let test = "a_store_moves_from_dovecot_to_us_and_back";
    open_to_all(server.root());
    server.stop();
    std::fs::create_dir_all(&mail).expect("mail");
    let Some(dovecot) = Dovecot::start(test, Some(&mail), (ports.spare(3), ports.spare(4))) else { return };
    let mut imap = Imap::connect(dovecot.imap_port());
    imap.ok(&format!("LOGIN alice@example.test {PASSWORD}"));
    imap.ok("CREATE Work.Sub");
    imap.ok("SUBSCRIBE Work.Sub");
    for n in 0..5 {
        imap.append("INBOX", if n == 2 { "\\Seen $Label1 Another" } else { "\\Flagged" }, &format!("Subject: inbox {n}\r\n\r\nx\r\n"));
        imap.append("Work.Sub", "\\Answered", &format!("Subject: work {n}\r\n\r\nx\r\n"));
    }
    imap.ok("SELECT INBOX");
    imap.ok("STORE 2 +FLAGS (\\Deleted)");
    imap.ok("EXPUNGE");
    imap.ok("LOGOUT");
    let before = listing(dovecot.imap_port());
    assert_eq!(before.len(), 2 + 4 + 5);
    drop(dovecot);
    // Mail belongs to whoever serves it: one uid for all of it.
    chown_all(&mail, nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    server.up();
    assert_eq!(listing(server.imap_port()), before, "as Dovecot left it");
    let mut imap = server.imap("alice@example.test");
    assert!(imap.ok("LSUB \"\" *").join("").contains("Work.Sub"));
    imap.ok("SELECT INBOX");
    imap.ok("STORE 1 +FLAGS ($Label2 \\Answered)");
    imap.append("INBOX", "\\Draft", "Subject: ours\r\n\r\nx\r\n");
    imap.ok("COPY 1 Work.Sub");
    imap.ok("STORE 2 +FLAGS (\\Deleted)");
    imap.ok("EXPUNGE");
    imap.ok("LOGOUT");
    let changed = listing(server.imap_port());
    server.stop();
    let Some(dovecot) = Dovecot::start(test, Some(&mail), (ports.spare(3), ports.spare(4))) else { return };
    assert_eq!(listing(dovecot.imap_port()), changed, "as we left it");
}
