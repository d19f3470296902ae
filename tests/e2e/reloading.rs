//! SIGHUP: new settings without a dropped session, and old ones where the new are wrong.

use e2e::{PASSWORD, Server, Smtp, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const DAEMONS: [&str; 6] = ["smtpd", "qmgr", "deliver", "imapd", "pop3d", "authd"];

fn hang_up(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGHUP).expect("SIGHUP");
}

/// Sends SIGHUP and waits for a new line of the daemon's log with these words.
fn reload(server: &Server, daemon: &str, pid: i32, words: &str) {
    let count = || server.log().lines().filter(|line| line.contains(&format!(" {daemon} ")) && line.contains(words)).count();
    let before = count();
    hang_up(pid);
    eventually(&format!("{daemon} to say {words:?}"), || (count() > before).then_some(()), || server.log());
}

#[test]
fn no_login_fails_while_authd_reloads() {
    let server = Server::builder().settings("[imapd]\ndisable_plaintext_auth = false\nclient_connection_count_limit = 0\n").start();
    let (logins, reloading) = (AtomicUsize::new(0), AtomicBool::new(true));
    let authd = server.pid("authd").expect("a process id");
    let login = format!("LOGIN alice@example.test {PASSWORD}");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while reloading.load(Ordering::Relaxed) {
                    let answer = e2e::Imap::connect(server.imap_port()).command(&login).pop().expect("tagged");
                    if !answer.contains(" OK") {
                        reloading.store(false, Ordering::Relaxed);
                        panic!("{answer}");
                    }
                    logins.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..20 {
            let before = logins.load(Ordering::Relaxed);
            hang_up(authd);
            eventually(
                "more logins",
                || (logins.load(Ordering::Relaxed) > before + 4 || !reloading.load(Ordering::Relaxed)).then_some(()),
                || server.log(),
            );
        }
        reloading.store(false, Ordering::Relaxed);
    });
    assert!(server.log().matches("settings reloaded").count() > 0, "{}", server.log());
}

#[test]
fn each_daemon_keeps_its_settings_when_the_new_file_is_broken() {
    let server = Server::builder().settings("[imapd]\ndisable_plaintext_auth = false\n[pop3d]\ndisable_plaintext_auth = false\n").start();
    let pids = DAEMONS.map(|daemon| (daemon, server.pid(daemon).expect("a process id")));
    let broken = server.root().join("etc/conf.d/60-broken.toml");
    for text in ["[smtpd]\nno_such_setting = 1\n", "[log]\nlevel = ", "[qmgr]\nminimal_backoff_time = \"0s\"\n"] {
        std::fs::write(&broken, text).expect("settings");
        for (daemon, pid) in pids {
            reload(&server, daemon, pid, "settings not reloaded; the old ones stay");
        }
        // All of them work as before.
        server.send("a@elsewhere.test", &["alice@example.test"], "Subject: x\n\nx\n");
        server.imap("alice@example.test").ok("SELECT INBOX");
        let mut pop = e2e::Lines::connect(server.pop3_port());
        pop.line();
        pop.write(format!("USER bob@example.test\r\nPASS {PASSWORD}\r\n").as_bytes());
        pop.line();
        assert!(pop.line().is_some_and(|line| line.starts_with("+OK")), "{text:?}");
        // What is right again is taken.
        std::fs::write(&broken, "").expect("settings");
        for (daemon, pid) in pids {
            reload(&server, daemon, pid, "settings reloaded");
        }
    }
    server.wait_for_mail("alice@example.test", 3);
    for (daemon, pid) in pids {
        assert_eq!(server.pid(daemon), Some(pid), "{daemon} was not started anew");
    }
    Smtp::connect(server.smtp_port()).command("QUIT", 221);
}
