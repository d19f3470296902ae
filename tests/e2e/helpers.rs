//! What stands beside a mail server: a load balancer in front of it, a policy service behind it.

use e2e::{Lines, Server, Smtp, Unpacked, connect_from, eventually};

/// A policy service as Postfix users know it: the first try is put off, one after the delay is taken.
#[test]
fn postgrey_is_asked_and_obeyed() {
    let Some(mut postgrey) = Unpacked::find("postgrey", &["postgrey"], "postgrey_is_asked_and_obeyed") else { return };
    postgrey.folder_of(0, "var/lib/postgrey");
    for list in ["whitelist_clients", "whitelist_recipients"] {
        postgrey.file(&format!("etc/postgrey/{list}"), "");
    }
    let ports = e2e::PortBase::take();
    let listen = format!("--inet=127.0.0.1:{}", ports.spare(1));
    let args = [listen.as_str(), "--delay=1", "--greylist-text=come again in %s s", "--lookup-by-host", "--auto-whitelist-clients=0"];
    postgrey.start("postgrey", &args, ports.spare(1));
    let settings = format!(
        "[smtpd]\nsmtpd_error_sleep_time = \"0s\"\nsmtpd_recipient_restrictions = [\"reject_unauth_destination\", \"check_policy_service inet:127.0.0.1:{}\"]\n",
        ports.spare(1)
    );
    let server = Server::builder().settings(&settings).start();
    let mut smtp = server.smtp();
    smtp.command("MAIL FROM:<a@elsewhere.test>", 250);
    let reply = smtp.command("RCPT TO:<alice@example.test>", 450);
    assert!(reply.contains("come again in 1 s"), "{reply}");
    // It goes by whole seconds of its own clock; twenty errors would end the session.
    let taken = || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        smtp.write(b"RCPT TO:<alice@example.test>\r\n");
        smtp.reply().expect("a reply").starts_with("250").then_some(())
    };
    eventually("the second try", taken, || postgrey.log());
    smtp.command("DATA", 354);
    smtp.write(b"Subject: after all\r\n\r\nx\r\n");
    smtp.command(".", 250);
    let mail = &server.wait_for_mail("alice@example.test", 1)[0];
    assert!(mail.contains("X-Greylist: delayed "), "PREPEND: {mail}");
    // A new sender waits again; it is away, and what the setting says holds.
    drop(postgrey);
    smtp.command("MAIL FROM:<b@elsewhere.test>", 250);
    let reply = smtp.command("RCPT TO:<alice@example.test>", 451);
    assert!(reply.contains("4.3.5"), "{reply}");
}

/// Behind haproxy the client's address is that of the PROXY header, version 1 or 2; health checks disturb nobody.
#[test]
fn haproxy_tells_who_the_client_is() {
    let Some(mut haproxy) = Unpacked::find("haproxy", &[], "haproxy_tells_who_the_client_is") else { return };
    let ports = e2e::PortBase::take();
    let (behind, one, two, six) = (ports.spare(1), ports.spare(2), ports.spare(3), ports.spare(4));
    let backend = |name: &str, send: &str| {
        format!("backend {name}\n  source 127.0.0.3\n  server smtpd 127.0.0.1:{behind} {send} check inter 200 check-send-proxy\n")
    };
    haproxy.file(
        "haproxy.cfg",
        &format!(
            "global\n  maxconn 50\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n\
             frontend f1\n  bind 127.0.0.1:{one}\n  default_backend v1\n\
             frontend f2\n  bind 127.0.0.1:{two}\n  default_backend v2\n\
             frontend f6\n  bind [::1]:{six}\n  default_backend v2\n{}{}",
            backend("v1", "send-proxy"),
            backend("v2", "send-proxy-v2")
        ),
    );
    let settings = format!(
        "[smtpd]\nsmtpd_peername_lookup = false\nsmtpd_client_connection_count_limit = 5\n\
         [smtpd.service.behind]\nlisten = [\"127.0.0.1:{behind}\"]\nsmtpd_upstream_proxy_protocol = \"haproxy\"\n\
         smtpd_upstream_proxy_hosts = [\"127.0.0.3\"]\nsmtpd_recipient_restrictions = [\"check_client_access inline:{{ {{127.0.0.7=REJECT seven}} }}\"]\n"
    );
    let server = Server::builder().settings(&settings).start();
    let config = haproxy.folder().join("haproxy.cfg").display().to_string();
    haproxy.start("haproxy", &["-db", "-f", &config], one);
    for (n, port) in [one, two].into_iter().enumerate() {
        let mut smtp = Smtp::connect(port);
        smtp.command("EHLO client.test", 250);
        smtp.send("a@elsewhere.test", &["alice@example.test"], "Subject: through it\n\nx\n");
        let mail = server.wait_for_mail("alice@example.test", n + 1).pop().expect("mail");
        assert!(mail.contains("Received: from client.test (localhost [127.0.0.1])"), "{mail}");
        // Another client of the same proxy.
        let mut smtp = Smtp::over(Lines::over(connect_from([127, 0, 0, 7], port)));
        smtp.command("EHLO client.test", 250);
        smtp.command("MAIL FROM:<a@elsewhere.test>", 250);
        let reply = smtp.command("RCPT TO:<alice@example.test>", 554);
        assert!(reply.contains("seven"), "{reply}");
    }
    // Six is another family than the proxy's own connection.
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        let mut smtp = Smtp::over(Lines::over(std::net::TcpStream::connect(("::1", six)).expect("connection")));
        smtp.command("EHLO client.test", 250);
        smtp.send("a@elsewhere.test", &["bob@example.test"], "Subject: six\n\nx\n");
        let mail = server.wait_for_mail("bob@example.test", 1).pop().expect("mail");
        assert!(mail.contains("[IPv6:::1]"), "{mail}");
    }
    // S27: whoever is no proxy of ours is sent away, whatever he says of himself.
    let mut stranger = Lines::connect(behind);
    stranger.write(b"PROXY TCP4 127.0.0.9 127.0.0.1 4000 25\r\nEHLO x\r\n");
    assert_eq!(stranger.line(), None);
}
