//! Ports 587 and 465: who may send, and only under TLS.

use crate::clients::python;
use e2e::{Server, Smtp, eventually};

#[test]
fn nothing_but_starttls_is_taken_in_clear_text_on_587() {
    let server = Server::start();
    let mut smtp = Smtp::connect(server.submission_port());
    let reply = smtp.command("EHLO client.test", 250);
    assert!(!reply.contains("AUTH"), "AUTH is not offered before TLS:\n{reply}");
    assert!(smtp.command("MAIL FROM:<alice@example.test>", 530).contains("STARTTLS"));
    smtp.command("AUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdABzZWNyZXQ=", 530);
}

#[test]
fn commands_injected_behind_starttls_are_never_answered() {
    let server = Server::start();
    let mut smtp = Smtp::connect(server.submission_port());
    smtp.command("EHLO client.test", 250);
    smtp.write(b"STARTTLS\r\nNOOP\r\nMAIL FROM:<x@y.test>\r\n");
    let first = smtp.reply().unwrap_or_default();
    assert!(first.starts_with("220") || first.starts_with('5') || first.is_empty(), "{first}");
    // Whatever comes now is TLS or the end, and no reply to the injected commands.
    if let Some(next) = smtp.reply() {
        assert!(!next.starts_with("250"), "{next}");
    }
}

#[test]
fn python_submits_with_login_under_starttls_and_implicit_tls() {
    let server = Server::start();
    let Some(python) = python("python_submits") else { return };
    let submit = |port: u16, mode: &str, user: &str, password: &str| {
        python.run([e2e::client("submit.py").to_str().expect("path"), &port.to_string(), mode, user, password, "bob@example.test"])
    };
    assert!(submit(server.submission_port(), "starttls", "alice@example.test", "secret").status.success());
    assert!(submit(server.submissions_port(), "tls", "alice@example.test", "secret").status.success());
    let mails = server.wait_for_mail("bob@example.test", 2);
    for mail in &mails {
        assert!(mail.contains("\nDate: ") && mail.contains("\nMessage-ID: <"), "missing headers are added:\n{mail}");
        assert!(mail.contains("with ESMTPSA"), "{mail}");
    }
    let wrong = submit(server.submission_port(), "starttls", "alice@example.test", "wrong");
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("535"), "{}", String::from_utf8_lossy(&wrong.stderr));
    let anonymous = submit(server.submission_port(), "starttls-anonymous", "", "");
    assert!(!anonymous.status.success());
    assert!(!server.log().contains("secret"), "no password in the log");
}

/// Port 587 as it is from the start, but for TLS, so that replies can be looked at one by one.
const CLEAR: &str = "[smtpd.service.submission]\nsmtpd_tls_security_level = \"may\"\nsmtpd_tls_auth_only = false\n";

/// A session on port 587 that has logged in as alice@example.test.
fn alice(server: &Server) -> Smtp {
    let mut smtp = Smtp::connect(server.submission_port());
    smtp.command("EHLO client.test", 250);
    smtp.command("AUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdABzZWNyZXQ=", 235);
    smtp
}

/// S25.
#[test]
fn a_login_sends_as_itself_and_its_aliases_only() {
    let server = Server::builder().settings(CLEAR).start();
    server.facteur_ok(&["alias", "add", "info@example.test", "alice@example.test"]);
    server.facteur_ok(&["alias", "add", "team@example.test", "alice@example.test", "bob@example.test"]);
    let mut smtp = alice(&server);
    for (sender, code) in [
        ("alice@example.test", 250),
        ("Alice+news@Example.test", 250),
        ("info@example.test", 250),
        ("", 250),
        ("bob@example.test", 553),
        ("team@example.test", 250),
        ("ceo@elsewhere.test", 553),
    ] {
        smtp.command(&format!("MAIL FROM:<{sender}>"), 250);
        let reply = smtp.command("RCPT TO:<bob@example.test>", code);
        assert!(code == 250 || reply.contains("5.7.1") && reply.contains("not owned by user alice@example.test"), "{reply}");
        smtp.command("RSET", 250);
    }
}

/// S25.
#[test]
fn the_from_header_is_the_logins_own() {
    let server = Server::builder().settings(CLEAR).start();
    server.facteur_ok(&["alias", "add", "info@example.test", "alice@example.test"]);
    let mut smtp = alice(&server);
    let mut send = |header: &str, code: u16| {
        smtp.command("MAIL FROM:<alice@example.test>", 250);
        smtp.command("RCPT TO:<bob@example.test>", 250);
        smtp.command("DATA", 354);
        smtp.write(format!("{header}Subject: x\r\n\r\nbody\r\n").as_bytes());
        smtp.command(".", code)
    };
    for from in [
        "From: alice@example.test\r\n",
        "From: \"The boss, ceo@elsewhere.test\" <alice+x@example.test>, info@example.test\r\n",
        "From: us: info@example.test, alice@example.test;\r\n",
        "",
    ] {
        send(from, 250);
    }
    let large = "X: y\r\n".repeat(100_000);
    for from in [
        "From: bob@example.test\r\n",
        "From: alice@example.test, ceo@elsewhere.test\r\n",
        "From: us: alice@example.test, bob@example.test;\r\n",
        "From: =?utf-8?q?alice=40example=2Etest?= <bob@example.test>\r\n",
        "From: =?utf-8?q?alice=40example=2Etest?=\r\n",
        "From: alice@example.test\r\nFrom: alice@example.test\r\n",
        "From: alice@example.test\r\nfROM :\r\n bob@example.test\r\n",
        "From: nobody:;\r\n",
        // Far down in a header that does not fit the journal.
        &format!("{large}From: bob@example.test\r\n"),
    ] {
        let reply = send(from, 550);
        assert!(reply.contains("5.7.1") && reply.contains("From header rejected"), "{reply}");
    }
    assert_eq!(server.wait_for_mail("bob@example.test", 4).len(), 4);
}

#[test]
fn sending_as_somebody_else_can_be_allowed() {
    let free = "smtpd_sender_restrictions = []\nsmtpd_reject_header_from_mismatch = false\n";
    let server = Server::builder().settings(&format!("{CLEAR}{free}")).start();
    alice(&server).send("ceo@elsewhere.test", &["bob@example.test"], "From: ceo@elsewhere.test\n\nbody\n");
    server.wait_for_mail("bob@example.test", 1);
    drop(server);
    let table = "smtpd_sender_login_maps = [\"inline:{ ceo@elsewhere.test=alice@example.test }\"]\n";
    let server = Server::builder().settings(&format!("{CLEAR}{table}")).start();
    let mut smtp = alice(&server);
    smtp.send("ceo@elsewhere.test", &["bob@example.test"], "From: ceo@elsewhere.test\n\nbody\n");
    smtp.command("MAIL FROM:<alice@example.test>", 250);
    smtp.command("RCPT TO:<bob@example.test>", 553);
    server.wait_for_mail("bob@example.test", 1);
}

/// RFC 2852, 3030, 4865, 6710, 8689 §5: what one server takes on the next one hears, and keeps with the message.
#[test]
fn what_a_sender_asks_of_transport_goes_on_to_the_next_host() {
    let far = Server::builder().settings("[smtpd]\nmynetworks = [\"127.0.0.0/8\"]\n[routing]\nrelayhost = \"[127.0.0.1]:1\"\n").start();
    let server = Server::builder().settings(&format!("[routing]\nrelayhost = \"[127.0.0.1]:{}\"\n{CLEAR}", far.smtp_port())).start();
    let mut smtp = alice(&server);
    let asked = "MT-PRIORITY=2 BY=9000;N BODY=BINARYMIME HOLDFOR=1";
    smtp.command(&format!("MAIL FROM:<alice@example.test> {asked}"), 250);
    smtp.command("RCPT TO:<zoe@far.test> NOTIFY=NEVER", 250);
    let message = b"From: alice@example.test\r\nTLS-Required: No\r\nSubject: x\r\n\r\na\0b\nc";
    smtp.write(format!("BDAT {} LAST\r\n", message.len()).as_bytes());
    smtp.write(message);
    assert!(smtp.reply().is_some_and(|reply| reply.starts_with("250 ")), "{}", server.log());
    let listed = || serde_json::from_slice::<serde_json::Value>(&far.facteur(&["--json", "queue", "list"]).stdout).ok();
    let id = || Some(listed()?.as_array()?.first()?["id"].as_str()?.to_owned());
    let id = eventually("the message", id, || server.log() + &far.log());
    let kept = far.facteur(&["queue", "cat", &id]).stdout;
    let text = String::from_utf8_lossy(&kept);
    for want in ["\ndeliver-by ", " notify\n", "\npriority 2\n", "\nbody binarymime\n", "\ntls optional\n", "a\0b\nc"] {
        assert!(text.contains(want), "{want:?} is not in\n{text}");
    }
    assert!(!text.contains("\nrelease "), "the wait was the first server's: {text}");
}
