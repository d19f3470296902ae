//! `smtp_tls_policy_maps` at a real Postfix: what goes there under each level, and how.

use e2e::{Names, Postfix, Server, certificate, eventually, fingerprint};

/// (policy, host, port offers TLS, what is expected: `Some(true)` delivered with TLS, `Some(false)` in clear, `None` waits)
type Case<'a> = (&'a str, &'a str, bool, Option<bool>);

#[test]
fn each_level_of_tls_holds_at_postfix() {
    let test = "each_level_of_tls_holds_at_postfix";
    let keys = tempfile::tempdir().expect("folder");
    e2e::open_to_all(keys.path());
    certificate(keys.path(), &["*.good.test"]);
    let known = format!("fingerprint match={}", fingerprint(&keys.path().join("cert.pem")));
    let unknown = format!("fingerprint match={}", vec!["00"; 32].join(":"));
    let cases: &[Case<'_>] = &[
        ("none", "a.good.test", true, Some(false)),
        ("may", "b.good.test", true, Some(true)),
        ("may", "c.good.test", false, Some(false)),
        ("encrypt", "d.other.test", true, Some(true)),
        ("encrypt", "e.good.test", false, None),
        ("verify", "f.good.test", true, Some(true)),
        ("verify", "g.other.test", true, None),
        ("verify match=h.good.test", "h.other.test", true, Some(true)),
        ("verify", "i.good.test", false, None),
        ("secure", "j.good.test", true, Some(true)),
        ("secure", "k.other.test", true, None),
        ("secure match=.good.test", "l.other.test", true, Some(true)),
        (&known, "m.other.test", true, Some(true)),
        (&unknown, "n.good.test", true, None),
        (&known, "o.good.test", false, None),
    ];
    let ports = e2e::PortBase::take();
    let domain = |host: &str| format!("{}.dest.test", &host[..1]);
    let main_cf = format!(
        "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = {0}/cert.pem\nsmtpd_tls_key_file = {0}/key.pem\nsmtpd_tls_received_header = yes\n\
         virtual_mailbox_domains = {1}\nvirtual_mailbox_maps = static:carol/\n",
        keys.path().display(),
        cases.iter().map(|case| domain(case.1)).collect::<Vec<_>>().join(" "),
    );
    let plain = format!("127.0.0.1:{} inet n - n - - smtpd\n  -o smtpd_tls_security_level=none\n", ports.spare(2));
    let Some(postfix) = Postfix::start_with(test, ports.spare(1), &main_cf, &plain, &[]) else { return };

    let names = Names::start(&cases.iter().map(|case| format!("{} A 127.0.0.1\n", case.1)).collect::<String>());
    let hop = |case: &Case<'_>| format!("[{}]:{}", case.1, ports.spare(if case.2 { 1 } else { 2 }));
    let transports: String = cases.iter().map(|case| format!("{} smtp:{}\n", domain(case.1), hop(case))).collect();
    let policies: String = cases.iter().map(|case| format!("{} {}\n", hop(case), case.0)).collect();
    let settings = format!(
        "{}[smtpd]\nmynetworks = [\"127.0.0.0/8\"]\n[routing]\ntransport_maps = [\"hash:transport\"]\n\
         [outbound]\nsmtp_tls_policy_maps = [\"hash:tls_policy\"]\nsmtp_tls_ca_file = \"{}/cert.pem\"\n",
        names.settings(),
        keys.path().display()
    );
    let server = Server::builder().settings(&settings).file("transport", &transports).file("tls_policy", &policies).start();
    let mut smtp = server.smtp();
    for case in cases {
        smtp.send("alice@example.test", &[&format!("carol@{}", domain(case.1))], &format!("Subject: at {}.\n\nx\n", case.1));
    }
    for case in cases {
        let (policy, host, ..) = case;
        let Some(encrypted) = case.3 else {
            let waits = || server.log().lines().any(|l| l.contains(&format!("to=carol@{} ", domain(host))) && l.contains("dsn=4.7."));
            eventually(&format!("{policy} to {host} to wait"), || waits().then_some(()), || server.log());
            continue;
        };
        let found = || postfix.mail("carol").into_iter().find(|mail| mail.contains(&format!("Subject: at {host}.")));
        let mail = eventually(&format!("{policy} to {host}"), found, || server.log() + &postfix.log());
        assert_eq!(mail.contains("with ESMTPS"), encrypted, "{policy} to {host}: {mail}");
    }
    assert_eq!(postfix.mail("carol").len(), cases.iter().filter(|case| case.3.is_some()).count());
}
