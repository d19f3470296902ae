//! Backups of accounts, quota, import, and sessions as an administrator sees them.

use crate::mail_tools::json;
use e2e::{PASSWORD, Server, eventually, run, tool};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

const ALICE: &str = "alice@example.test";
const BOB: &str = "bob@example.test";

/// All that an IMAP client remembers of a mailbox's messages.
fn known(server: &Server, user: &str, mailbox: &str) -> Vec<String> {
    let mut imap = server.imap(user);
    let mut known: Vec<String> = imap.ok(&format!("EXAMINE \"{mailbox}\""));
    known.retain(|line| line.contains("UIDVALIDITY"));
    known.extend(imap.ok("UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[] EMAILID)"));
    known
}

fn filled() -> Server {
    let server = Server::start();
    server.facteur_ok(&["mailbox", "create", "-s", "-u", ALICE, "Projets.Été", "Empty"]);
    let mut imap = server.imap(ALICE);
    for n in 0..4 {
        for mailbox in ["INBOX", "Projets.&AMk-t&AOk-"] {
            let flags = if n % 2 == 0 { "\\Seen $Work" } else { "\\Flagged" };
            imap.append(&format!("\"{mailbox}\""), flags, &format!("Subject: {n}\r\n\r\nx\r\n"));
        }
    }
    server.facteur_ok(&["mailbox", "expunge", "-u", ALICE, "mailbox", "*", "subject", "2"]);
    server
}

#[test]
fn an_account_comes_back_as_it_was_from_a_tar_and_from_a_folder() {
    let server = filled();
    let path = |name: &str| server.root().join(name).to_str().expect("path").to_owned();
    let before: Vec<_> = ["INBOX", "Projets.&AMk-t&AOk-"].map(|mailbox| known(&server, ALICE, mailbox)).into();
    for target in [path("alice.tar"), path("alice")] {
        server.facteur_ok(&["backup", "-u", ALICE, &target]);
        assert!(!server.facteur(&["backup", "-u", ALICE, &target]).status.success(), "an older backup is not written over");
        // what happens since is undone
        server.facteur_ok(&["mailbox", "delete", "-r", "-u", ALICE, "Projets", "Empty"]);
        server.facteur_ok(&["mailbox", "flags", "-u", ALICE, "replace", "", "all"]);
        server.facteur_ok(&["mailbox", "expunge", "-u", ALICE, "mailbox", "INBOX", "uid", "1"]);
        let refused = server.facteur(&["restore", "-u", ALICE, "--mailbox", "INBOX", &target]);
        assert!(String::from_utf8_lossy(&refused.stderr).contains("--replace"), "messages that are there are not replaced unasked");
        server.facteur_ok(&["restore", "-u", ALICE, "--replace", &target]);
        let after: Vec<_> = ["INBOX", "Projets.&AMk-t&AOk-"].map(|mailbox| known(&server, ALICE, mailbox)).into();
        assert_eq!(after, before, "{target}");
        let names = server.facteur_ok(&["mailbox", "list", "-s", "-u", ALICE]);
        assert!(names.contains("Projets.Été") && names.contains("Empty"), "{names}");
    }
    // to another account, with the mail going on as if nothing had been
    let counted = json(&server, &["restore", "-u", BOB, &path("alice.tar")]);
    // with the mailboxes that logging in made
    assert!(
        counted.as_array().is_some_and(|rows| rows.iter().any(|row| row["mailbox"] == "Projets.Été" && row["messages"] == 3)),
        "{counted}"
    );
    assert_eq!(known(&server, BOB, "INBOX"), before[0]);
    server.send("x@y.test", &[BOB], "Subject: new\n\nx\n");
    // its UID is above all that may have been given since the backup was made
    let is_above = |line: &String| line.contains(&format!("UID {} ", 5 + (1 << 20)));
    eventually("the next UID", || known(&server, BOB, "INBOX").iter().any(is_above).then_some(()), || server.log());
    let damaged = path("damaged.tar");
    let tar = std::fs::read(path("alice.tar")).expect("tar");
    std::fs::write(&damaged, &tar[..tar.len() - 2000]).expect("written");
    assert_eq!(server.facteur(&["restore", "-u", BOB, "--replace", &damaged]).status.code(), Some(1));
    // all accounts, each with a tar of its own
    server.facteur_ok(&["backup", "-A", &path("all")]);
    assert!(server.root().join("all").join(format!("{BOB}.tar")).exists());
}

#[test]
fn an_open_session_goes_on_when_its_mailbox_is_restored() {
    let server = filled();
    let tar = server.root().join("alice.tar");
    server.facteur_ok(&["backup", "-u", ALICE, tar.to_str().expect("path")]);
    let mut imap = server.imap(ALICE);
    imap.ok("SELECT INBOX");
    server.facteur_ok(&["mailbox", "expunge", "-u", ALICE, "mailbox", "INBOX", "all"]);
    imap.ok("NOOP");
    server.facteur_ok(&["restore", "-u", ALICE, "--replace", tar.to_str().expect("path")]);
    let mut again = server.imap(ALICE);
    assert!(again.ok("STATUS INBOX (MESSAGES)").join("").contains("MESSAGES 3"));
}

#[test]
fn quota_is_told_and_counted_anew_and_a_mailbox_made_sound() {
    let server = filled();
    let quota = json(&server, &["quota", "get", "-u", ALICE]);
    assert_eq!((&quota[0]["messages"], &quota[0]["bytes_limit"]), (&6.into(), &serde_json::Value::Null), "{quota}");
    // nobody else has a mailbox yet
    let recounted = json(&server, &["quota", "recalc", "-A"]);
    assert!(matches!(recounted.as_array().map(Vec::as_slice), Some([only]) if only["user"] == ALICE), "{recounted}");
    std::fs::write(server.maildir(ALICE).join("new/1.by.hand"), "Subject: by hand\n\nx\n").expect("file");
    let indexed = json(&server, &["index", "-u", ALICE, "INBOX"]);
    assert_eq!(indexed[0]["messages"], 4, "{indexed}");
    server.facteur_ok(&["force-resync", "-u", ALICE, "*"]);
    assert_eq!(json(&server, &["quota", "get", "-u", ALICE])[0]["messages"], 7);
}

#[test]
fn mail_of_another_maildir_is_imported() {
    let server = filled();
    let source = format!("maildir:{}", server.maildir(ALICE).display());
    server.facteur_ok(&["import", "-s", "-u", BOB, &source, "Imported", "seen", "not", "mailbox", "INBOX"]);
    let rows = json(&server, &["fetch", "-u", BOB, "mailbox flags hdr.subject", "all"]);
    assert_eq!(rows.as_array().map(Vec::len), Some(1), "{rows}");
    assert_eq!((&rows[0]["mailbox"], &rows[0]["hdr.subject"]), (&"Imported.Projets.Été".into(), &"0".into()));
    assert!(rows[0]["flags"].as_str().is_some_and(|flags| flags.contains("\\Seen") && flags.contains("$Work")), "{rows}");
    assert_eq!(server.facteur(&["import", "-u", BOB, "/nowhere", "", "all"]).status.code(), Some(1));
}

/// What Python and mutt wrote, in a folder of theirs.
const PYTHON: &str = r#"
import mailbox, sys
box = mailbox.mbox(sys.argv[1])
first = mailbox.mboxMessage("Subject: first\n\nFrom here\n>From there\nFrom x@y.test Mon Nov 23 11:00:00 2026\nX: y\n")
first.set_from("x@y.test", (2026, 11, 20, 10, 0, 0, 4, 324, 0))
first.set_flags("RFA")
first["X-Keywords"] = "$Work  NonJunk                "
first["X-UID"] = "77"
box.add(first)
for n in range(300):
    box.add("Subject: %d\n\n%s\n" % (n, "x" * 2000))
box.flush()
"#;

#[test]
fn mboxes_that_python_and_mutt_wrote_are_imported() {
    let test = "mboxes_that_python_and_mutt_wrote_are_imported";
    let (Some(python), Some(mutt)) = (tool("python3", test), tool("mutt", test)) else { return };
    let server = Server::start();
    let folder = server.root().join("their");
    std::fs::create_dir_all(folder.join("lists")).expect("folder");
    let path = |name: &str| folder.join(name).to_str().expect("path").to_owned();
    assert!(python.run(["-c", PYTHON, &path("lists/py")]).status.success());
    let rc = format!("set from=a@x.test sendmail=/bin/true copy=yes record={} encode_from=no mbox_type=mbox\n", path("sent"));
    std::fs::write(path(".muttrc"), rc).expect("muttrc");
    for (subject, text) in [("one", "a\nFrom a@x.test Mon Nov 23 11:00:00 2026\nb\n"), ("two", "c\n")] {
        let sent = run(mutt.command().args(["-n", "-F", &path(".muttrc"), "-s", subject, "b@x.test"]), text);
        assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    }
    std::fs::write(path("inbox"), "").expect("empty");
    std::fs::write(path("notes"), "no mbox\n").expect("notes");
    let source = format!("mbox:{folder}", folder = folder.display());
    // the file that is none is told, and the rest is there
    let told = server.facteur(&["import", "-s", "-u", BOB, &source, "", "all"]);
    assert_eq!(told.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&told.stderr).contains("their/notes: this is no mbox"), "{}", String::from_utf8_lossy(&told.stderr));
    let rows = json(&server, &["fetch", "-u", BOB, "mailbox seq flags date.received text", "mailbox", "lists.py", "subject", "first"]);
    assert_eq!(rows.as_array().map(Vec::len), Some(1), "{rows}");
    let text = rows[0]["text"].as_str().expect("text").replace('\r', "");
    assert_eq!(text, "Subject: first\n\nFrom here\nFrom there\nFrom x@y.test Mon Nov 23 11:00:00 2026\nX: y\n");
    let flags = rows[0]["flags"].as_str().expect("flags");
    assert!(["\\Seen", "\\Flagged", "\\Answered", "$Work", "NonJunk"].iter().all(|flag| flags.contains(flag)), "{flags}");
    assert!(rows[0]["date.received"].as_str().is_some_and(|date| date.starts_with("2026-11-20")), "{rows}");
    assert_eq!(json(&server, &["search", "-u", BOB, "mailbox", "lists.py"]).as_array().map(Vec::len), Some(301));
    let sent = json(&server, &["fetch", "-u", BOB, "flags hdr.subject hdr.status body", "mailbox", "sent"]);
    assert_eq!(sent.as_array().map(Vec::len), Some(2), "{sent}");
    assert!(
        sent[0]["body"].as_str().is_some_and(|body| body.replace('\r', "") == "a\nFrom a@x.test Mon Nov 23 11:00:00 2026\nb\n"),
        "{sent}"
    );
    assert_eq!(
        (&sent[1]["hdr.subject"], &sent[1]["hdr.status"], &sent[1]["flags"]),
        (&"two".into(), &"".into(), &"\\Seen".into()),
        "{sent}"
    );
    // only what a query means; one file is INBOX
    server.facteur_ok(&["import", "-u", BOB, &format!("mbox:{}", path("lists/py")), "Old", "flagged"]);
    assert_eq!(json(&server, &["search", "-u", BOB, "mailbox", "Old.INBOX"]).as_array().map(Vec::len), Some(1));
    let tmp = std::fs::read_dir(server.maildir(BOB).join("tmp")).expect("tmp").count();
    assert_eq!(tmp, 0, "what was unpacked is gone");
}

struct Lines(BufReader<TcpStream>);

impl Lines {
    fn connect(port: u16) -> Lines {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
        stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).expect("timeout");
        Lines(BufReader::new(stream))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    fn say(&mut self, line: &str) -> String {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).expect("written");
        self.line()
    }
}

#[test]
fn who_is_logged_in_is_shown_and_can_be_sent_away() {
    let server =
        Server::builder().settings("[smtpd.service.submission]\nsmtpd_tls_auth_only = false\nsmtpd_tls_security_level = \"may\"\n").start();
    assert_eq!(json(&server, &["who"]).as_array().map(Vec::len), Some(0));
    let mut imap = server.imap(ALICE);
    let mut other = server.imap(BOB);
    let mut pop3 = Lines::connect(server.pop3_port());
    assert!(pop3.line().starts_with("+OK"));
    assert!(pop3.say(&format!("USER {ALICE}")).starts_with("+OK"));
    assert!(pop3.say(&format!("PASS {PASSWORD}")).starts_with("+OK"));
    let mut smtp = Lines::connect(server.submission_port());
    assert!(smtp.line().starts_with("220"));
    let mut line = smtp.say("EHLO client.test");
    while line.starts_with("250-") {
        line = smtp.line();
    }
    let secret = e2e_base64(&format!("\0{ALICE}\0{PASSWORD}"));
    assert!(smtp.say(&format!("AUTH PLAIN {secret}")).starts_with("235"));
    let who = json(&server, &["who"]);
    let services: Vec<&str> = who.as_array().expect("array").iter().filter_map(|row| row["service"].as_str()).collect();
    assert_eq!(services, ["imap", "pop3", "submission", "imap"], "{who}");
    assert_eq!(who[0]["address"], "127.0.0.1");
    assert_eq!(json(&server, &["who", "bob@*"]).as_array().map(Vec::len), Some(1));
    assert_eq!(json(&server, &["who", "--from", "127.0.0.0/8", "--service", "pop3"]).as_array().map(Vec::len), Some(1));
    assert!(server.facteur_ok(&["who"]).contains(ALICE));
    assert!(server.facteur_ok(&["who", "--each"]).contains("submission"));

    assert_eq!(server.facteur(&["kick"]).status.code(), Some(2), "whom?");
    assert_eq!(server.facteur(&["kick", "nobody@example.test"]).status.code(), Some(1));
    let idle = imap.begin("IDLE");
    assert!(imap.response().starts_with('+'), "{idle}");
    assert_eq!(json(&server, &["kick", ALICE]).as_array().map(Vec::len), Some(3));
    assert!(imap.response().starts_with("* BYE Disconnected by the administrator"));
    assert!(pop3.line().starts_with("-ERR [SYS/TEMP] Disconnected by the administrator"));
    assert!(smtp.line().starts_with("421"));
    other.ok("NOOP");
    eventually("one to be left", || (json(&server, &["who"]).as_array().map(Vec::len) == Some(1)).then_some(()), || server.log());
    let session = json(&server, &["who"])[0]["session"].as_str().expect("id").to_owned();
    server.facteur_ok(&["kick", "--session", &session]);
    assert!(other.response().starts_with("* BYE"));
}

fn e2e_base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[test]
fn the_log_is_found_and_its_errors_are_told() {
    let server = Server::builder().settings("[log]\nfile = \"../facteur.log\"\n").start();
    let places = json(&server, &["log", "find"]);
    assert_eq!(places.as_array().map(Vec::len), Some(6), "{places}");
    assert!(places[0]["log"].as_str().is_some_and(|place| place.ends_with("facteur.log")), "{places}");
    // the mail of an account cannot be opened
    let maildir = server.maildir(ALICE);
    std::fs::create_dir_all(maildir.parent().expect("parent")).expect("folders");
    std::fs::write(&maildir, "no folder").expect("a file in its place");
    let mut imap = e2e::Imap::connect(server.imap_port());
    assert!(imap.command(&format!("LOGIN {ALICE} {PASSWORD}")).last().is_some_and(|line| line.contains(" NO ")));
    let errors = json(&server, &["log", "errors"]);
    assert!(errors.as_array().expect("array").iter().any(|row| row["daemon"] == "imapd"), "{errors}");
    assert!(server.facteur_ok(&["log", "errors"]).contains("imapd"));
}
