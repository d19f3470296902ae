//! IMAP and POP3 as clients use them, by hand; two sessions where one acts and the other watches.

use e2e::{Lines, Server, eventually};

const SETTINGS: &str = "[imapd]\ndisable_plaintext_auth = false\n[pop3d]\ndisable_plaintext_auth = false\n";

fn server() -> Server {
    Server::builder().settings(SETTINGS).start()
}

#[test]
fn a_message_is_seen_by_imap_with_its_parts() {
    let server = server();
    server.send("ann@elsewhere.test", &["alice@example.test"], "From: Ann <ann@elsewhere.test>\nSubject: one\n\nbody\n");
    server.wait_for_mail("alice@example.test", 1);
    let mut imap = server.imap("alice@example.test");
    let select = imap.ok("SELECT INBOX");
    assert!(select.contains(&"* 1 EXISTS".to_owned()), "{select:?}");
    let fetch = imap.ok("FETCH 1 (UID FLAGS ENVELOPE BODYSTRUCTURE BODY.PEEK[TEXT] RFC822.SIZE)").join("\n");
    assert!(fetch.contains("\"one\"") && fetch.contains("BODY[TEXT] {6}\r\nbody\r\n"), "{fetch}");
    let all = imap.ok("FETCH 1 BODY[]").join("\n");
    assert!(all.contains("\\Seen") || imap.ok("FETCH 1 FLAGS").join("").contains("\\Seen"), "{all}");
}

/// What a delivered message gives to clients of today: RFC 3516, 4469, 8474, 8508, 8514, 8970, 9051.
#[test]
fn a_delivered_message_is_previewed_decoded_and_put_into_another() {
    let server = server();
    let text = "From: ann@elsewhere.test\nSubject: x\nMIME-Version: 1.0\nContent-Type: text/html\nContent-Transfer-Encoding: base64\n\nPHA+T25lPHA+VHdv\n";
    server.send("ann@elsewhere.test", &["alice@example.test"], text);
    server.wait_for_mail("alice@example.test", 1);
    let mut imap = server.imap("alice@example.test");
    assert!(imap.ok("ENABLE IMAP4rev2 UTF8=ACCEPT").contains(&"* ENABLED IMAP4rev2 UTF8=ACCEPT".to_owned()));
    imap.ok("CREATE \"été\"");
    let select = imap.ok("SELECT INBOX").join("\n");
    assert!(select.contains("[MAILBOXID (F") && !select.contains("RECENT"), "{select}");
    let fetch = imap.ok("FETCH 1 (PREVIEW EMAILID SAVEDATE BINARY.SIZE[1] BINARY.PEEK[1])").join("\n");
    assert!(fetch.contains("PREVIEW \"One Two\"") && fetch.contains("BINARY.SIZE[1] 12 BINARY[1] {12}\r\n<p>One<p>Two"), "{fetch}");
    let id = imap.ok("FETCH 1 EMAILID").join("").split_once("EMAILID (").map(|(_, id)| id[..33].to_owned()).unwrap();
    imap.ok("COPY 1 \"été\"");
    imap.ok("UID REPLACE 1 INBOX CATENATE (URL ;UID=1/;SECTION=HEADER URL ;UID=1/;SECTION=TEXT)");
    assert!(imap.ok("SEARCH TEXT two").join("").ends_with(" ALL 1"));
    imap.ok("SELECT \"été\"");
    assert!(imap.ok(&format!("SEARCH EMAILID {id}")).join("").ends_with(" ALL 1"));
}

#[test]
fn an_idle_session_hears_of_new_mail_and_of_flags_set_elsewhere() {
    let server = server();
    let mut watcher = server.imap("alice@example.test");
    watcher.ok("SELECT INBOX");
    let idle = watcher.begin("IDLE");
    assert!(watcher.response().starts_with('+'));
    server.send("a@elsewhere.test", &["alice@example.test"], "Subject: new\n\nx\n");
    let mut seen = watcher.response();
    while !seen.ends_with("EXISTS") {
        seen = watcher.response();
    }
    assert_eq!(seen, "* 1 EXISTS");
    let mut actor = server.imap("alice@example.test");
    actor.ok("SELECT INBOX");
    actor.ok("STORE 1 +FLAGS (\\Flagged)");
    let mut flags = watcher.response();
    while !flags.contains("FETCH") {
        flags = watcher.response();
    }
    assert!(flags.contains("\\Flagged"), "{flags}");
    actor.ok("STORE 1 +FLAGS (\\Deleted)");
    actor.ok("EXPUNGE");
    let mut expunge = watcher.response();
    while !expunge.contains("EXPUNGE") {
        expunge = watcher.response();
    }
    assert_eq!(expunge, "* 1 EXPUNGE");
    watcher.write(b"DONE\r\n");
    watcher.finish(&idle);
}

/// RFC 5267 §4.3, RFC 7377: mail comes by SMTP, and one session has a search that follows it while another searches everywhere.
#[test]
fn a_search_follows_what_is_delivered() {
    let server = server();
    let mut watcher = server.imap("alice@example.test");
    watcher.ok("SELECT INBOX");
    watcher.ok("UID SEARCH RETURN (UPDATE COUNT PARTIAL -1:-10) SUBJECT wanted");
    let idle = watcher.begin("IDLE");
    assert!(watcher.response().starts_with('+'));
    server.send("a@elsewhere.test", &["alice@example.test"], "Subject: other\n\nx\n");
    server.send("a@elsewhere.test", &["alice@example.test"], "Subject: wanted\n\nx\n");
    let mut seen = watcher.response();
    while !seen.contains("ADDTO") {
        seen = watcher.response();
    }
    assert!(seen.starts_with("* ESEARCH (TAG \"") && seen.contains("\") UID ADDTO (0 "), "{seen}");
    watcher.write(b"DONE\r\n");
    watcher.finish(&idle);
    let found = server.imap("alice@example.test").ok("ESEARCH IN (personal) RETURN (COUNT) SUBJECT wanted");
    assert!(found.len() == 1 && found[0].contains("MAILBOX INBOX") && found[0].ends_with("COUNT 1"), "{found:?}");
}

#[test]
fn a_file_dropped_into_new_by_any_program_appears_in_idle() {
    let server = server();
    let mut imap = server.imap("alice@example.test");
    imap.ok("SELECT INBOX");
    imap.begin("IDLE");
    assert!(imap.response().starts_with('+'));
    let maildir = server.maildir("alice@example.test");
    std::fs::write(maildir.join("tmp/1.foreign.host"), "Subject: dropped\n\nx\n").expect("write");
    std::fs::rename(maildir.join("tmp/1.foreign.host"), maildir.join("new/1.foreign.host")).expect("rename");
    let mut seen = imap.response();
    while !seen.ends_with("EXISTS") {
        seen = imap.response();
    }
    assert_eq!(seen, "* 1 EXISTS");
}

#[test]
fn mailboxes_are_made_renamed_listed_and_removed() {
    let server = server();
    let mut imap = server.imap("alice@example.test");
    imap.ok("CREATE Projects.2026");
    imap.append("Projects.2026", "\\Seen", "Subject: a\r\n\r\nx\r\n");
    let list = imap.ok("LIST \"\" *").join("\n");
    assert!(list.contains("Projects.2026"), "{list}");
    imap.ok("RENAME Projects.2026 Old");
    let status = imap.ok("STATUS Old (MESSAGES UIDNEXT UNSEEN)").join("\n");
    assert!(status.contains("MESSAGES 1") && status.contains("UNSEEN 0"), "{status}");
    imap.ok("SELECT Old");
    let copied = imap.command("COPY 1 INBOX").pop().expect("tagged");
    assert!(copied.contains("[COPYUID "), "{copied}");
    imap.ok("CLOSE");
    imap.ok("DELETE Old");
    assert!(!imap.ok("LIST \"\" *").join("\n").contains("Old"));
    assert!(server.maildir("alice@example.test").join("dovecot-uidlist").exists());
}

#[test]
fn pop3_reads_and_deletes_only_at_quit() {
    let server = server();
    server.send("a@elsewhere.test", &["alice@example.test"], "Subject: one\n\n.dot\n");
    server.wait_for_mail("alice@example.test", 1);
    let session = |commands: &[&str]| -> Vec<String> {
        let mut lines = Lines::connect(server.pop3_port());
        let mut all = vec![lines.line().expect("greeting")];
        for command in commands {
            lines.write(format!("{command}\r\n").as_bytes());
            all.push(lines.line().expect("reply"));
            if command.starts_with("RETR") {
                while let Some(line) = lines.line() {
                    if line == "." {
                        break;
                    }
                    all.push(line);
                }
            }
        }
        all
    };
    let login = ["USER alice@example.test", "PASS secret"];
    let all = session(&[login[0], login[1], "STAT", "RETR 1", "DELE 1"]);
    assert!(all.iter().all(|l| !l.starts_with("-ERR")), "{all:?}");
    assert!(all.contains(&"..dot".to_owned()), "{all:?}");
    // The connection was cut without QUIT: nothing is deleted.
    eventually(
        "the lock to be released",
        || session(&[login[0], login[1], "STAT", "QUIT"])[3].starts_with("+OK 1 ").then_some(()),
        || server.log(),
    );
    session(&[login[0], login[1], "DELE 1", "QUIT"]);
    assert!(server.inbox("alice@example.test").is_empty());
}

#[test]
fn clear_text_logins_are_refused_by_default_settings_that_require_tls() {
    let server = Server::builder().settings("[imapd]\nsame_host_is_secured = false\n[pop3d]\nsame_host_is_secured = false\n").start();
    let mut imap = e2e::Imap::connect(server.imap_port());
    assert!(imap.ok("CAPABILITY").join("").contains("LOGINDISABLED"));
    let refused = imap.command("LOGIN alice@example.test secret").pop().expect("tagged");
    assert!(refused.contains(" NO "), "{refused}");
}

#[test]
fn quota_annotations_and_rights_hold_between_delivery_and_clients() {
    let settings = format!(
        "{SETTINGS}[mail]\nquota_rule = [\"*:storage=8\", \"Trash:storage=+100%\"]\nquota_grace = \"0\"\n[deliver]\nquota_full_tempfail = false\n"
    );
    let server = Server::builder().settings(&settings).start();
    let mut imap = server.imap("alice@example.test");
    let capabilities = imap.ok("CAPABILITY").join("");
    let announced: Vec<&str> = capabilities.split_whitespace().collect();
    for word in ["QUOTA", "QUOTA=RES-STORAGE", "QUOTA=RES-MESSAGE", "METADATA", "METADATA-SERVER", "ACL", "RIGHTS=texk", "LIST-MYRIGHTS"] {
        assert!(announced.contains(&word), "{word} in {capabilities}");
    }
    server.send("a@elsewhere.test", &["alice@example.test"], &format!("Subject: big\n\n{}\n", "x".repeat(6000)));
    server.wait_for_mail("alice@example.test", 1);
    let quota = imap.ok("GETQUOTAROOT INBOX").join("\n");
    assert!(quota.contains("(STORAGE 7 8)"), "{quota}");
    imap.ok("SELECT INBOX");
    let refused = imap.command("COPY 1 Sent").pop().unwrap_or_default();
    assert!(refused.contains("NO [OVERQUOTA]"), "{refused}");
    // mail still goes into Trash, by its own rule
    imap.ok("COPY 1 Trash");
    imap.ok("SETMETADATA Trash (/private/comment \"rubbish\")");
    imap.ok("RENAME Trash Bin");
    assert_eq!(imap.ok("GETMETADATA Bin /private/comment"), ["* METADATA Bin (/private/comment \"rubbish\")"]);
    imap.ok("SETACL Bin bob@example.test lr");
    let acl = std::fs::read_to_string(server.maildir("alice@example.test").join(".Bin/dovecot-acl")).expect("dovecot-acl");
    assert_eq!(acl, "user=bob@example.test lr\n");
}
