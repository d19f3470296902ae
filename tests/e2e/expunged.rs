//! Messages that were removed and are kept (`mail.lazy_expunge_time`), as clients and administrators meet them.

use crate::mail_tools::json;
use e2e::{Lines, PASSWORD, Server, eventually};

const ALICE: &str = "alice@example.test";

fn server() -> Server {
    let server = Server::builder().settings("[mail]\nlazy_expunge_time = \"7d\"\n[pop3d]\ndisable_plaintext_auth = false\n").start();
    let mut imap = server.imap(ALICE);
    imap.ok("CREATE Work");
    for n in 0..4 {
        imap.append("INBOX", "\\Seen $Todo", &format!("Subject: inbox {n}\r\nFrom: ann@example.test\r\n\r\nx\r\n"));
        imap.append("Work", "", &format!("Subject: work {n}\r\n\r\nx\r\n"));
    }
    server
}

fn pop3_deletes(server: &Server, number: u32) {
    let mut lines = Lines::connect(server.pop3_port());
    lines.line().expect("greeting");
    for command in [format!("USER {ALICE}"), format!("PASS {PASSWORD}"), format!("DELE {number}"), "QUIT".into()] {
        lines.write(format!("{command}\r\n").as_bytes());
        let reply = lines.line().expect("reply");
        assert!(reply.starts_with("+OK"), "{command}: {reply}");
    }
}

fn subjects(server: &Server, mailbox: &str) -> Vec<String> {
    let rows = json(server, &["fetch", "-u", ALICE, "hdr.subject", "mailbox", mailbox]);
    let mut all: Vec<String> =
        rows.as_array().expect("rows").iter().map(|row| row["hdr.subject"].as_str().expect("text").to_owned()).collect();
    all.sort();
    all
}

#[test]
fn what_clients_remove_comes_back_by_a_command() {
    let server = server();
    let mut imap = server.imap(ALICE);
    imap.ok("SELECT INBOX");
    imap.ok("STORE 1 +FLAGS.SILENT (\\Deleted)");
    imap.ok("EXPUNGE");
    imap.ok("UID MOVE 2 Work");
    imap.ok("CLOSE");
    pop3_deletes(&server, 1);
    imap.ok("DELETE Work");
    let listed = json(&server, &["mailbox", "restore", "-u", ALICE, "--list"]);
    let rows = listed.as_array().expect("rows");
    assert_eq!(rows.len(), 7, "{listed}");
    assert!(
        rows.iter().any(|row| row["mailbox"] == "INBOX" && row["hdr.subject"] == "inbox 0" && row["flags"].as_str().is_some()),
        "{listed}"
    );
    assert!(!imap.ok("LIST \"\" *").join("").contains("expunged"));
    // nothing is that young or that old
    for none in [["--since", "2099-01-01"], ["--mailbox", "Other"]] {
        let args = [&["mailbox", "restore", "-u", ALICE, "--list"], &none[..]].concat();
        assert_eq!(json(&server, &args), serde_json::json!([]));
    }
    server.facteur_ok(&["mailbox", "restore", "-u", ALICE, "--since", "1h", "--mailbox", "IN*", "subject", "0"]);
    imap.ok("SELECT INBOX");
    assert_eq!(subjects(&server, "INBOX"), ["inbox 0", "inbox 3"]);
    let told =
        eventually("the message", || imap.ok("FETCH 1:* (FLAGS)").into_iter().find(|line| line.contains("* 2 FETCH")), || server.log());
    assert!(told.contains("\\Seen") && told.contains("$Todo") && !told.contains("\\Deleted"), "{told}");
    server.facteur_ok(&["mailbox", "restore", "-A"]);
    assert_eq!(subjects(&server, "Work"), ["inbox 1", "work 0", "work 1", "work 2", "work 3"]);
    assert_eq!(json(&server, &["mailbox", "restore", "-u", ALICE, "--list"]), serde_json::json!([]));
    // and what nobody wants any more goes for good
    imap.ok("SELECT Work");
    imap.ok("STORE 1:* +FLAGS (\\Deleted)");
    imap.ok("EXPUNGE");
    server.facteur_ok(&["mailbox", "purge", "-A"]);
    assert_eq!(json(&server, &["mailbox", "restore", "-u", ALICE, "--list"]).as_array().map(Vec::len), Some(5));
    server.facteur_ok(&["mailbox", "purge", "-A", "--everything"]);
    assert_eq!(json(&server, &["mailbox", "restore", "-u", ALICE, "--list"]), serde_json::json!([]));
}
