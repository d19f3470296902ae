//! Ports 587 and 465: who may send, and only under TLS.

use crate::clients::python;
use e2e::{Server, Smtp};

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
