//! Programs that people use: swaks, curl, msmtp, mbsync, fetchmail, mutt, Python's libraries.

use e2e::{PASSWORD, Server, Tool, eventually, tool};
use std::path::Path;

pub fn python(test: &str) -> Option<Tool> {
    tool("python3", test)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

#[test]
fn swaks_receives_submits_and_is_refused() {
    let Some(swaks) = tool("swaks", "swaks_receives_submits_and_is_refused") else { return };
    let server = Server::start();
    let port = server.smtp_port().to_string();
    swaks.ok(["--server", "127.0.0.1", "--port", &port, "--from", "a@elsewhere.test", "--to", "alice@example.test", "--helo", "h.test"]);
    swaks.ok([
        "--server",
        "127.0.0.1",
        "--port",
        &port,
        "--tls",
        "--from",
        "a@elsewhere.test",
        "--to",
        "alice@example.test",
        "--helo",
        "h.test",
    ]);
    let refused =
        swaks.run(["--server", "127.0.0.1", "--port", &port, "--from", "a@elsewhere.test", "--to", "x@elsewhere.test", "--helo", "h.test"]);
    assert_eq!(refused.status.code(), Some(24), "swaks tells a refused recipient by 24: {}", String::from_utf8_lossy(&refused.stdout));
    for mechanism in ["PLAIN", "LOGIN"] {
        for (port, tls) in [(server.submission_port(), "--tls"), (server.submissions_port(), "--tls-on-connect")] {
            swaks.ok([
                "--server",
                "127.0.0.1",
                "--port",
                &port.to_string(),
                tls,
                "--auth",
                mechanism,
                "--auth-user",
                "alice@example.test",
                "--auth-password",
                PASSWORD,
                "--from",
                "alice@example.test",
                "--to",
                "bob@example.test",
                "--helo",
                "h.test",
            ]);
        }
    }
    server.wait_for_mail("alice@example.test", 2);
    server.wait_for_mail("bob@example.test", 4);
}

#[test]
fn curl_sends_and_reads_with_and_without_tls() {
    let Some(curl) = tool("curl", "curl_sends_and_reads_with_and_without_tls") else { return };
    let server = Server::start();
    let folder = tempfile::tempdir().expect("folder");
    let mail = folder.path().join("mail");
    std::fs::write(&mail, "From: alice@example.test\r\nSubject: by curl\r\n\r\nbody\r\n").expect("mail");
    let login = format!("alice@example.test:{PASSWORD}");
    let common = ["-sS", "-k", "--max-time", "60"];
    let smtp = format!("smtp://127.0.0.1:{}/h.test", server.smtp_port());
    curl.ok(common.iter().copied().chain([
        &*smtp,
        "--mail-from",
        "a@elsewhere.test",
        "--mail-rcpt",
        "alice@example.test",
        "--upload-file",
        text(&mail),
    ]));
    for url in
        [format!("smtp://127.0.0.1:{}/h.test", server.submission_port()), format!("smtps://127.0.0.1:{}/h.test", server.submissions_port())]
    {
        curl.ok(common.iter().copied().chain([
            &*url,
            "--ssl-reqd",
            "-u",
            &login,
            "--mail-from",
            "alice@example.test",
            "--mail-rcpt",
            "alice@example.test",
            "--upload-file",
            text(&mail),
        ]));
    }
    server.wait_for_mail("alice@example.test", 3);
    for (url, tls) in [
        (format!("imap://127.0.0.1:{}/INBOX;MAILINDEX=1", server.imap_port()), "--ssl-reqd"),
        (format!("imaps://127.0.0.1:{}/INBOX;MAILINDEX=3", server.imaps_port()), "--ssl-reqd"),
        (format!("pop3://127.0.0.1:{}/1", server.pop3_port()), "--ssl-reqd"),
        (format!("pop3s://127.0.0.1:{}/3", server.pop3s_port()), "--ssl-reqd"),
    ] {
        let out = curl.ok(common.iter().copied().chain([&*url, tls, "-u", &login]));
        assert!(out.contains("Subject: by curl") && out.ends_with("body\r\n"), "{url}: {out}");
    }
    let wrong =
        curl.run(common.iter().copied().chain([&*format!("imaps://127.0.0.1:{}/", server.imaps_port()), "-u", "alice@example.test:wrong"]));
    assert_eq!(wrong.status.code(), Some(67), "curl tells a refused login by 67");
}

#[test]
fn python_reads_with_imaplib_and_poplib() {
    let Some(python) = python("python_reads_with_imaplib_and_poplib") else { return };
    let server = Server::start();
    for n in 0..3 {
        server.send("a@elsewhere.test", &["alice@example.test"], &format!("Subject: number {n}\n\nbody {n}\n"));
    }
    server.wait_for_mail("alice@example.test", 3);
    let out = python.ok([
        text(&e2e::client("read.py")),
        &server.imaps_port().to_string(),
        &server.pop3s_port().to_string(),
        "alice@example.test",
        PASSWORD,
    ]);
    assert_eq!(out.trim(), "all well");
}

/// IMAPClient (PyPI) and imapflow (npm) are in no package of Debian: `PYTHONPATH` and `NODE_PATH` tell where they are.
#[test]
fn libraries_of_programs_do_what_gmail_clients_do() {
    const TEST: &str = "libraries_of_programs_do_what_gmail_clients_do";
    for (interpreter, probe, library, script) in [
        ("python3", ["-c", "import imapclient"], "IMAPClient", "imapclient_ops.py"),
        ("node", ["-e", "require('imapflow')"], "imapflow", "imapflow_ops.cjs"),
    ] {
        let found = std::process::Command::new(interpreter).args(probe).output();
        if !found.is_ok_and(|found| found.status.success()) {
            e2e::absent(library, TEST);
            continue;
        }
        let Some(interpreter) = tool(interpreter, TEST) else { continue };
        let server = Server::start();
        let out = interpreter.ok([text(&e2e::client(script)), &server.imaps_port().to_string(), "alice@example.test", PASSWORD]);
        assert_eq!(out.trim(), "all well", "{library}");
    }
}

#[test]
fn msmtp_submits() {
    let Some(msmtp) = tool("msmtp", "msmtp_submits") else { return };
    let server = Server::start();
    let output = msmtp.run_with_input(
        [
            "--host=127.0.0.1",
            &format!("--port={}", server.submission_port()),
            "--tls=on",
            "--tls-starttls=on",
            "--tls-certcheck=off",
            "--auth=plain",
            "--user=alice@example.test",
            &format!("--passwordeval=echo {PASSWORD}"),
            "--from=alice@example.test",
            "bob@example.test",
        ],
        "Subject: by msmtp\n\nbody\n",
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    server.wait_for_mail("bob@example.test", 1);
}

#[test]
fn mbsync_synchronises_both_ways_and_then_has_nothing_to_do() {
    let Some(mbsync) = tool("mbsync", "mbsync_synchronises_both_ways_and_then_has_nothing_to_do") else { return };
    let server = Server::builder().settings("[imapd]\ndisable_plaintext_auth = false\n").start();
    server.send("a@elsewhere.test", &["alice@example.test"], "Subject: from the server\n\nx\n");
    server.wait_for_mail("alice@example.test", 1);
    let folder = tempfile::tempdir().expect("folder");
    let local = folder.path().join("local");
    std::fs::create_dir_all(&local).expect("local");
    let rc = folder.path().join("mbsyncrc");
    let settings = format!(
        "IMAPAccount a\nHost 127.0.0.1\nPort {}\nUser alice@example.test\nPass {PASSWORD}\nSSLType None\nAuthMechs LOGIN\n\nIMAPStore far\nAccount a\n\nMaildirStore near\nPath {}/\nInbox {}/INBOX\nSubFolders Verbatim\n\nChannel c\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nExpunge Both\nSyncState *\n",
        server.imap_port(),
        text(&local),
        text(&local)
    );
    std::fs::write(&rc, settings).expect("mbsyncrc");
    mbsync.ok(["-c", text(&rc), "-a"]);
    let inbox = local.join("INBOX");
    let count = |path: &Path| ["new", "cur"].iter().map(|f| std::fs::read_dir(path.join(f)).map(|d| d.count()).unwrap_or(0)).sum::<usize>();
    assert_eq!(count(&inbox), 1);
    std::fs::write(inbox.join("cur/1.local:2,S"), "Subject: from the client\n\nx\n").expect("local message");
    mbsync.ok(["-c", text(&rc), "-a"]);
    server.wait_for_mail("alice@example.test", 2);
    let mut imap = server.imap("alice@example.test");
    imap.ok("SELECT INBOX");
    imap.ok("STORE 1 +FLAGS (\\Flagged)");
    imap.ok("CREATE Archive2");
    imap.append("Archive2", "", "Subject: archived\r\n\r\nx\r\n");
    mbsync.ok(["-c", text(&rc), "-a"]);
    let flagged =
        std::fs::read_dir(inbox.join("cur")).expect("cur").any(|e| e.expect("entry").file_name().to_string_lossy().contains(":2,F"));
    assert!(flagged, "the flag came over");
    assert_eq!(count(&local.join("Archive2")), 1);
    mbsync.ok(["-c", text(&rc), "-a"]);
    assert_eq!((count(&inbox), server.inbox("alice@example.test").len()), (2, 2), "a further run changes nothing");
}

#[test]
fn offlineimap_synchronises_both_ways_and_then_has_nothing_to_do() {
    let Some(offlineimap) = tool("offlineimap", "offlineimap_synchronises_both_ways_and_then_has_nothing_to_do") else { return };
    let server = Server::builder().settings("[imapd]\ndisable_plaintext_auth = false\n").start();
    for n in 0..3 {
        server.send("a@elsewhere.test", &["alice@example.test"], &format!("Subject: from the server {n}\n\nx\n"));
    }
    server.wait_for_mail("alice@example.test", 3);
    let mut imap = server.imap("alice@example.test");
    imap.ok("CREATE Work.Deep");
    imap.append("Work.Deep", "\\Flagged", "Subject: deep\r\nMessage-ID: <deep@example.test>\r\n\r\nx\r\n");
    let folder = tempfile::tempdir().expect("folder");
    let local = folder.path().join("local");
    let rc = folder.path().join("offlineimaprc");
    let settings = format!(
        "[general]\naccounts = a\nmetadata = {}/meta\nui = basic\nmaxsyncaccounts = 1\n[Account a]\nlocalrepository = near\nremoterepository = far\n\
         [Repository near]\ntype = Maildir\nlocalfolders = {}\n\
         [Repository far]\ntype = IMAP\nremotehost = 127.0.0.1\nremoteport = {}\nremoteuser = alice@example.test\nremotepass = {PASSWORD}\nssl = no\nstarttls = no\nusecompression = yes\nexpunge = yes\n",
        text(folder.path()),
        text(&local),
        server.imap_port()
    );
    std::fs::write(&rc, settings).expect("offlineimaprc");
    let sync = || offlineimap.ok(["-o", "-c", text(&rc)]);
    let files = |name: &str| -> Vec<String> {
        let folder = local.join(name);
        let names = ["new", "cur"].iter().flat_map(|part| std::fs::read_dir(folder.join(part)).expect("folder"));
        names.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned()).collect()
    };
    sync();
    assert_eq!((files("INBOX").len(), files("Work.Deep").len()), (3, 1));
    assert!(files("Work.Deep")[0].ends_with(":2,F"), "{:?}", files("Work.Deep"));
    // both sides change
    std::fs::write(local.join("INBOX/cur/1000.local.host:2,S"), "Subject: from the client\n\nx\n").expect("local message");
    imap.ok("SELECT INBOX");
    imap.ok("STORE 1 +FLAGS (\\Answered)");
    imap.ok("STORE 2 +FLAGS (\\Deleted)");
    imap.ok("EXPUNGE");
    sync();
    server.wait_for_mail("alice@example.test", 3);
    assert_eq!(files("INBOX").len(), 3);
    assert!(files("INBOX").iter().any(|name| name.contains(":2,R")), "{:?}", files("INBOX"));
    imap.ok("NOOP");
    let (near, far) = (files("INBOX"), imap.ok("UID FETCH 1:* (FLAGS)"));
    sync();
    assert_eq!((files("INBOX"), imap.ok("UID FETCH 1:* (FLAGS)")), (near, far), "a further run changes nothing");
}

#[test]
fn fetchmail_fetches_each_message_once() {
    let Some(fetchmail) = tool("fetchmail", "fetchmail_fetches_each_message_once") else { return };
    let server = Server::start();
    server.send("a@elsewhere.test", &["alice@example.test"], "Subject: to fetch\n\nx\n");
    server.wait_for_mail("alice@example.test", 1);
    let folder = tempfile::tempdir().expect("folder");
    let rc = folder.path().join("fetchmailrc");
    let out = folder.path().join("fetched");
    for (protocol, port, ssl) in [("IMAP", server.imaps_port(), "ssl"), ("POP3", server.pop3s_port(), "ssl")] {
        let _ = std::fs::remove_file(&out);
        let settings = format!(
            "poll 127.0.0.1 protocol {protocol} service {port} uidl user \"alice@example.test\" password \"{PASSWORD}\" {ssl} sslcertck no keep mda \"/bin/sh -c 'cat >> {}'\"\n",
            text(&out)
        )
        .replace("sslcertck no", "no sslcertck");
        let settings = if protocol == "IMAP" { settings.replace(" uidl", "") } else { settings };
        std::fs::write(&rc, settings).expect("fetchmailrc");
        std::os::unix::fs::PermissionsExt::set_mode(&mut std::fs::metadata(&rc).expect("rc").permissions(), 0o600);
        std::process::Command::new("chmod").arg("600").arg(&rc).status().expect("chmod");
        let ids = folder.path().join(format!("ids-{protocol}"));
        let run = || {
            let pid = folder.path().join(format!("pid-{protocol}"));
            fetchmail.run(["-f", text(&rc), "-i", text(&ids), "--pidfile", text(&pid), "--nosyslog"])
        };
        let first = run();
        assert!(
            first.status.success(),
            "{protocol}: {} {}",
            String::from_utf8_lossy(&first.stdout),
            String::from_utf8_lossy(&first.stderr)
        );
        assert!(std::fs::read_to_string(&out).expect("fetched").contains("Subject: to fetch"));
        assert_eq!(run().status.code(), Some(1), "{protocol}: nothing new the second time");
    }
}

#[test]
fn mutt_reads_and_saves_a_message() {
    let Some(mutt) = tool("mutt", "mutt_reads_and_saves_a_message") else { return };
    let server = Server::builder().settings("[imapd]\ndisable_plaintext_auth = false\n").start();
    server.send("a@elsewhere.test", &["alice@example.test"], "From: a@elsewhere.test\nSubject: for mutt\n\nx\n");
    server.wait_for_mail("alice@example.test", 1);
    let folder = tempfile::tempdir().expect("folder");
    let rc = folder.path().join("muttrc");
    std::fs::write(
        &rc,
        format!("set folder=imap://127.0.0.1:{}/\nset spoolfile=+INBOX\nset imap_user=alice@example.test\nset imap_pass={PASSWORD}\nset ssl_starttls=no\nset ssl_force_tls=no\nset header_cache=\nset confirmcreate=no\nset confirmappend=no\nset quit=yes\nset delete=yes\nset move=no\n", server.imap_port()),
    )
    .expect("muttrc");
    // mutt wants a terminal; script(1) of util-linux gives it one.
    let command = format!("TERM=xterm {} -F {} -e 'push s+Saved<enter>q'", mutt.path().display(), text(&rc));
    let output = e2e::run(std::process::Command::new("script").args(["-qec", &command, "/dev/null"]).env("HOME", folder.path()), "");
    let mut imap = server.imap("alice@example.test");
    let list = imap.ok("LIST \"\" *").join("\n");
    assert!(list.contains("Saved"), "{list}\n{}", String::from_utf8_lossy(&output.stdout));
    let status = imap.ok("STATUS Saved (MESSAGES)").join("");
    assert!(status.contains("MESSAGES 1"), "{status}");
    eventually("the message to leave INBOX", || server.inbox("alice@example.test").is_empty().then_some(()), || server.log());
}
