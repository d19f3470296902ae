//! `facteur mailbox` and the like, beside a running server.

use e2e::{PASSWORD, Server, binary};
use serde_json::Value;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

const ALICE: &str = "alice@example.test";
const BOB: &str = "bob@example.test";

pub fn json(server: &Server, args: &[&str]) -> Value {
    let output = server.facteur(&[&["--json"], args].concat());
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}: {}", String::from_utf8_lossy(&output.stdout)))
}

fn lines(server: &Server, args: &[&str]) -> Vec<String> {
    server.facteur_ok(args).lines().map(str::to_owned).collect()
}

fn code(server: &Server, args: &[&str]) -> Option<i32> {
    server.facteur(args).status.code()
}

#[test]
fn mailboxes_are_made_renamed_and_deleted_beside_a_session() {
    let server = Server::start();
    let mut imap = server.imap(ALICE);
    server.facteur_ok(&["mailbox", "create", "-s", "-u", ALICE, "Projets", "Projets.Été"]);
    // told in modified UTF-7 to a client that has not said otherwise
    assert!(imap.ok("LIST \"\" Projets*").iter().any(|line| line.contains("Projets.&AMk-t&AOk-")));
    assert_eq!(lines(&server, &["mailbox", "list", "-u", ALICE, "Projets*"]), ["Projets", "Projets.Été"]);
    assert_eq!(lines(&server, &["mailbox", "list", "-s", "-u", ALICE, "Projets.%"]), ["Projets.Été"]);
    assert_eq!(code(&server, &["mailbox", "create", "-u", ALICE, "Projets"]), Some(1), "it is there");
    imap.append("Projets", "\\Seen", "Subject: one\r\n\r\nx\r\n");
    let counted = json(&server, &["mailbox", "status", "-u", ALICE, "messages unseen,vsize uidvalidity", "Projets"]);
    assert_eq!((&counted[0]["messages"], &counted[0]["unseen"], &counted[0]["vsize"]), (&1.into(), &0.into(), &19.into()), "{counted}");
    server.facteur_ok(&["mailbox", "rename", "-s", "-u", ALICE, "Projets", "Travail"]);
    let after = json(&server, &["mailbox", "status", "-u", ALICE, "uidvalidity", "Travail"]);
    assert_eq!(after[0]["uidvalidity"], counted[0]["uidvalidity"]);
    assert!(imap.ok("LSUB \"\" Travail").iter().any(|line| line.contains("Travail")));
    assert_eq!(code(&server, &["mailbox", "delete", "--empty", "-u", ALICE, "Travail"]), Some(1), "there is a message in it");
    server.facteur_ok(&["mailbox", "delete", "--recursive", "--unsubscribe", "-u", ALICE, "Travail"]);
    assert_eq!(lines(&server, &["mailbox", "list", "-u", ALICE, "Travail*"]), [""; 0]);
    assert!(imap.ok("LIST \"\" Travail*").is_empty());
    server.facteur_ok(&["mailbox", "subscribe", "-u", ALICE, "Sent"]);
    server.facteur_ok(&["mailbox", "unsubscribe", "-u", ALICE, "Sent"]);
    assert!(!lines(&server, &["mailbox", "list", "-s", "-u", ALICE]).contains(&"Sent".to_owned()));
    assert_eq!(code(&server, &["mailbox", "create", "-u", ALICE, "a/b"]), Some(2));
    assert_eq!(code(&server, &["mailbox", "list", "-u", "nobody@example.test"]), Some(1));
    assert_eq!(code(&server, &["mailbox", "list"]), Some(2), "whose?");
}

#[test]
fn old_mail_is_expunged_for_all_accounts_as_doveadm_does() {
    let server = Server::start();
    for user in [ALICE, BOB] {
        server.facteur_ok(&["mailbox", "create", "-u", user, "Old"]);
        let mut imap = server.imap(user);
        for n in 0..3 {
            imap.append("Old", "", &format!("Subject: {n}\r\n\r\nx\r\n"));
        }
    }
    let mut watching = server.imap(BOB);
    watching.ok("SELECT Old");
    // nothing is older than an hour, and everything is newer
    for query in ["savedbefore", "before"] {
        server.facteur_ok(&["expunge", "-A", "mailbox", "Old", query, "1h"]);
    }
    assert_eq!(lines(&server, &["search", "-A", "mailbox", "Old"]).len(), 6);
    for query in [&["savedsince", "1h"][..], &["mailbox", "Old", "or", "savedsince", "1h"], &["not", "mailbox", "INBOX"]] {
        assert_eq!(code(&server, &[&["expunge", "-A"], query].concat()), Some(2), "{query:?} names no mailbox");
    }
    assert_eq!(code(&server, &["expunge", "-A", "mailbox", "Old", "savedbefore", "15"]), Some(2));
    let dry = json(&server, &["mailbox", "expunge", "--dry-run", "-A", "mailbox", "Old", "savedsince", "1h"]);
    assert_eq!((dry.as_array().map(Vec::len), &dry[1]["messages"]), (Some(2), &3.into()), "{dry}");
    server.facteur_ok(&["expunge", "-u", ALICE, "mailbox", "Old", "subject", "1"]);
    assert_eq!(lines(&server, &["search", "-u", ALICE, "mailbox", "Old"]).len(), 2);
    // quiet: this runs from cron
    assert_eq!(server.facteur_ok(&["expunge", "-A", "mailbox", "Old", "savedsince", "1h"]), "");
    assert_eq!(lines(&server, &["search", "-A", "mailbox", "Old"]), [""; 0]);
    let told = watching.ok("NOOP");
    assert_eq!(told.iter().filter(|line| line.ends_with(" EXPUNGE")).count(), 3, "{told:?}");
    server.facteur_ok(&["mailbox", "expunge", "-d", "-u", BOB, "mailbox", "Old", "all"]);
    assert!(!lines(&server, &["mailbox", "list", "-u", BOB]).contains(&"Old".to_owned()));
}

#[test]
fn messages_are_saved_found_shown_flagged_and_moved() {
    let server = Server::start();
    let file = server.root().join("message");
    std::fs::write(&file, "From: Ann <ann@x.test>\nSubject: =?utf-8?q?=C3=89t=C3=A9?=\nDate: Mon, 23 Nov 2026 12:00:00 +0100\n\nbody\n")
        .expect("file");
    let file = file.to_str().expect("path");
    let saved = json(&server, &["mailbox", "save", "-u", ALICE, "--flags", "\\Flagged work", "--received", "2026-01-02", file]);
    assert_eq!(saved[0]["uid"], 1, "{saved}");
    server.facteur_with_input(&["save", "-u", ALICE, "-m", "INBOX"], "Subject: second\n\nx\n");
    let mut imap = server.imap(ALICE);
    imap.ok("SELECT INBOX");
    let fetched = imap.ok("UID FETCH 1 (FLAGS INTERNALDATE)").join("\n");
    assert!(fetched.contains("\\Flagged") && fetched.contains("work") && fetched.contains(" 2-Jan-2026"), "{fetched}");
    let rows = json(&server, &["fetch", "-u", ALICE, "uid mailbox hdr.subject flags size.virtual guid text", "from", "ann"]);
    let row = &rows[0];
    assert_eq!((&row["uid"], &row["mailbox"], &row["hdr.subject"]), (&1.into(), &"INBOX".into(), &"Été".into()), "{rows}");
    assert_eq!(row["flags"], "\\Flagged work");
    assert!(row["text"].as_str().is_some_and(|text| text.ends_with("\r\n\r\nbody\r\n")));
    assert_eq!(rows.as_array().map(Vec::len), Some(1));
    assert_eq!(server.facteur_ok(&["fetch", "-f", "flow", "-u", ALICE, "uid,seq", "subject", "second"]), "uid=2 seq=2\n");
    assert_eq!(server.facteur_ok(&["fetch", "-f", "tab", "-u", ALICE, "uid hdr.subject", "all"]), "uid\thdr.subject\n1\tÉté\n2\tsecond\n");
    assert_eq!(server.facteur_ok(&["fetch", "-u", ALICE, "uid body", "1"]), "uid: 1\nbody:\nbody\r\n\u{c}\n");
    assert_eq!(code(&server, &["fetch", "-u", ALICE, "nothing", "all"]), Some(2));

    server.facteur_ok(&["mailbox", "flags", "-u", ALICE, "add", "\\Seen later", "uid", "1"]);
    server.facteur_ok(&["mailbox", "flags", "-u", ALICE, "remove", "work", "all"]);
    let told = imap.ok("NOOP");
    let told = told.iter().find(|line| line.contains("FETCH")).expect("flags are told");
    assert!(told.contains("\\Seen") && told.contains("later") && !told.contains("work"), "{told}");
    server.facteur_ok(&["mailbox", "flags", "-u", ALICE, "replace", "", "uid", "1"]);
    assert_eq!(lines(&server, &["search", "-u", ALICE, "unseen", "unflagged", "unkeyword", "later"]).len(), 2);

    assert_eq!(code(&server, &["mailbox", "copy", "-u", ALICE, "None", "all"]), Some(1), "there is no such mailbox");
    server.facteur_ok(&["mailbox", "copy", "--create", "-u", ALICE, "Box", "subject", "second"]);
    server.facteur_ok(&["mailbox", "move", "-u", ALICE, "Box", "mailbox", "INBOX", "from", "ann"]);
    assert_eq!(
        lines(&server, &["fetch", "-f", "flow", "-u", ALICE, "hdr.subject", "mailbox", "Box"]),
        ["hdr.subject=second", "hdr.subject=Été"]
    );
    // of another account
    server.facteur_ok(&["mailbox", "move", "-u", BOB, "INBOX", "user", ALICE, "mailbox", "Box"]);
    assert_eq!(lines(&server, &["search", "-u", BOB, "mailbox", "INBOX"]).len(), 2);
    assert_eq!(lines(&server, &["search", "-u", ALICE, "mailbox", "Box"]).len(), 0);
    assert_eq!(lines(&server, &["search", "-A", "all"]).len(), 3);
    assert!(
        lines(&server, &["search", "-u", "*@example.test", "all"])[0].starts_with(ALICE),
        "the account is told where there are several"
    );
}

/// Root may ask for what the mail user does: whatever is made belongs to the mail user, and links lead nowhere.
#[test]
fn what_root_makes_belongs_to_the_mail_user() {
    if !nix::unistd::geteuid().is_root() {
        e2e::skipped("root", "what_root_makes_belongs_to_the_mail_user");
        return;
    }
    const NOBODY: u32 = 65_534;
    // outside of folders of root's alone
    let folder = tempfile::Builder::new().prefix("facteur-owner-").tempdir_in("/var/tmp").expect("folder");
    std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY)).expect("chown");
    let programs = folder.path().join("bin");
    std::fs::create_dir(&programs).expect("folder");
    for name in ["facteur", "authd", "deliver", "qmgr", "smtpd", "imapd", "pop3d"] {
        std::fs::copy(binary(name), programs.join(name)).expect("a copy that everybody can run");
    }
    let ports = e2e::PortBase::take();
    let root = folder.path().join("server");
    let mut command = Command::new(programs.join("facteur"));
    command.arg("up").arg("--root").arg(&root).args(["--port-base", &ports.base().to_string(), "--user", &format!("{ALICE}:{PASSWORD}")]);
    let mut up = command.uid(NOBODY).gid(NOBODY).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts");
    let mut told = std::io::BufReader::new(up.stdout.take().expect("piped"));
    let mut line = String::new();
    while line != "ready\n" {
        line.clear();
        assert_ne!(std::io::BufRead::read_line(&mut told, &mut line).expect("a line"), 0, "the server does not start");
    }
    let run = |args: &[&str]| {
        let output =
            Command::new(programs.join("facteur")).arg("--root").arg(&root).args(args).stdin(Stdio::null()).output().expect("runs");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["mailbox", "create", "-s", "-u", ALICE, "Box"]);
    run(&["mailbox", "save", "-u", ALICE, "-m", "Box"]);
    run(&["mailbox", "flags", "-u", ALICE, "add", "keyword", "all"]);
    let mut owners = Vec::new();
    all_below(&root.join("mail"), &mut owners);
    assert!(owners.len() > 8 && owners.iter().all(|(_, uid)| *uid == NOBODY), "{owners:?}");
    let pid = nix::unistd::Pid::from_raw(up.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("signal");
    up.wait().expect("ends");
}

fn all_below(folder: &Path, owners: &mut Vec<(String, u32)>) {
    for entry in std::fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry")) {
        let metadata = std::fs::symlink_metadata(entry.path()).expect("metadata");
        owners.push((entry.path().display().to_string(), metadata.uid()));
        if metadata.is_dir() {
            all_below(&entry.path(), owners);
        }
    }
}
