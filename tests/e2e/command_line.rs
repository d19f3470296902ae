//! What an administrator does by hand.

use e2e::{Server, eventually};

#[test]
fn status_names_all_six_daemons() {
    let server = Server::start();
    let status = server.facteur_ok(&["--json", "status"]);
    for daemon in ["smtpd", "qmgr", "deliver", "imapd", "pop3d", "authd"] {
        assert!(status.contains(&format!("\"{daemon}\"")), "{daemon} is not in {status}");
        assert!(server.pid(daemon).is_some(), "{daemon} has a process id in {status}");
    }
}

#[test]
fn domains_users_and_aliases_are_added_listed_and_deleted() {
    let server = Server::start();
    server.facteur_ok(&["domain", "add", "second.test"]);
    server.facteur_with_input(&["user", "add", "carol@second.test"], "pass word\n");
    assert!(server.facteur_ok(&["--json", "domain", "list"]).contains("second.test"));
    assert!(server.facteur_ok(&["--json", "user", "list"]).contains("carol@second.test"));
    server.send("a@elsewhere.test", &["carol@second.test"], "Subject: x\n\nx\n");
    server.wait_for_mail("carol@second.test", 1);
    server.facteur_ok(&["alias", "add", "info@second.test", "carol@second.test"]);
    assert!(server.facteur_ok(&["--json", "alias", "list"]).contains("info@second.test"));
    server.facteur_ok(&["alias", "delete", "info@second.test"]);
    assert!(!server.facteur_ok(&["--json", "alias", "list"]).contains("info@second.test"));
    server.facteur_with_input(&["user", "passwd", "carol@second.test"], "other\n");
    server.facteur_ok(&["user", "delete", "carol@second.test"]);
    assert!(!server.facteur_ok(&["--json", "user", "list"]).contains("carol"));
    server.facteur_ok(&["domain", "delete", "second.test"]);
    let twice = server.facteur(&["domain", "delete", "second.test"]);
    assert_eq!(twice.status.code(), Some(1), "what is not there cannot be deleted");
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    let server = Server::start();
    assert_eq!(server.facteur(&["no-such-command"]).status.code(), Some(2));
    assert_eq!(server.facteur(&["queue", "cat", "not-an-id"]).status.code(), Some(2));
    assert_eq!(server.facteur(&["queue", "cat", "1NCNCNC0000000000"]).status.code(), Some(1));
}

#[test]
fn config_show_tells_what_is_in_force_what_differs_and_the_defaults() {
    let server = Server::builder().settings("[smtpd]\nhopcount_limit = 33\n").start();
    let changed = server.facteur_ok(&["config", "show", "-n"]);
    assert!(changed.contains("hopcount_limit = 33") && !changed.contains("smtpd_banner"), "{changed}");
    assert!(server.facteur_ok(&["config", "show", "-d"]).contains("hopcount_limit = 50"));
    assert!(server.facteur_ok(&["config", "show"]).contains("hopcount_limit = 33"));
    assert!(server.facteur_ok(&["--json", "config", "show"]).contains("33"));
    server.facteur_ok(&["config", "check"]);
}

#[test]
fn a_reload_with_a_broken_file_keeps_the_old_settings_and_says_why() {
    let server = Server::start();
    let file = server.root().join("etc/conf.d/50-test.toml");
    std::fs::write(&file, "[smtpd]\nmesage_size_limit = 5\n").expect("write");
    let output = server.facteur(&["reload"]);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success() && text.contains("mesage_size_limit") && text.contains(":2"), "{text}");
    server.send("a@elsewhere.test", &["alice@example.test"], "Subject: x\n\nx\n");
    server.wait_for_mail("alice@example.test", 1);
    std::fs::write(&file, "[smtpd]\nmessage_size_limit = \"64K\"\n").expect("write");
    server.facteur_ok(&["reload"]);
    eventually("the new limit", || server.smtp().command("EHLO x.test", 250).contains("SIZE 65536").then_some(()), || server.log());
}

#[test]
fn map_query_says_what_a_table_answers_and_exits_1_for_a_miss() {
    let server = Server::builder().file("colours", "# a table\nred   #ff0000\nGreen green\n").start();
    let table = format!("texthash:{}", server.root().join("etc/colours").display());
    assert_eq!(server.facteur_ok(&["map", "query", &table, "red"]).trim(), "#ff0000");
    assert_eq!(server.facteur_ok(&["map", "query", &table, "green"]).trim(), "green");
    assert_eq!(server.facteur(&["map", "query", &table, "blue"]).status.code(), Some(1));
    assert!(server.facteur_ok(&["map", "query", "accounts:mailboxes", "alice@example.test"]).contains("alice"));
}

#[test]
fn completions_and_the_manual_page_are_generated() {
    let server = Server::start();
    assert!(server.facteur_ok(&["completions", "bash"]).contains("facteur"));
    assert!(server.facteur_ok(&["man"]).contains(".TH"));
}
