//! Mixed load for a while: descriptors, threads and memory of every daemon stay where they were.
//! `FACTEUR_SOAK_SECONDS` says how long (`cargo xtask campaign soak`).

use e2e::{PASSWORD, Server, try_send};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

#[derive(Debug, Clone)]
struct Use {
    name: String,
    descriptors: usize,
    threads: usize,
    memory_kib: usize,
}

fn measure(server: &Server) -> Vec<Use> {
    let mut all: Vec<Use> = server
        .daemons()
        .into_iter()
        .map(|pid| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a daemon died under load");
            let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim().to_owned();
            Use {
                name: field("Name:"),
                descriptors: std::fs::read_dir(format!("/proc/{pid}/fd")).map(|d| d.count()).unwrap_or(0),
                threads: field("Threads:").parse().unwrap_or(0),
                memory_kib: field("VmRSS:").trim_end_matches(" kB").parse().unwrap_or(0),
            }
        })
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// Reads INBOX, and empties it, so that what is measured does not depend on how much mail there is.
fn read_and_empty(server: &Server, user: &str) {
    let mut imap = e2e::Imap::connect(server.imap_port());
    imap.ok(&format!("LOGIN {user} {PASSWORD}"));
    imap.ok("SELECT INBOX");
    imap.command("FETCH 1:* (UID FLAGS ENVELOPE BODYSTRUCTURE BODY.PEEK[])");
    imap.command("STORE 1:* +FLAGS.SILENT (\\Deleted)");
    imap.ok("EXPUNGE");
    imap.ok("LOGOUT");
}

#[test]
fn load_leaves_nothing_behind() {
    let seconds = std::env::var("FACTEUR_SOAK_SECONDS").ok().and_then(|n| n.parse().ok()).unwrap_or(120);
    let server = Server::builder()
        .settings("[smtpd]\nsmtpd_client_connection_count_limit = 0\n[imapd]\ndisable_plaintext_auth = false\n[pop3d]\ndisable_plaintext_auth = false\n")
        .start();
    let (on, sent, failed) = (AtomicBool::new(true), AtomicUsize::new(0), AtomicUsize::new(0));
    let (early, late) = std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while on.load(Ordering::Relaxed) {
                    let n = sent.fetch_add(1, Ordering::Relaxed);
                    if try_send(server.smtp_port(), n).is_none() {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
        }
        for user in ["alice@example.test", "bob@example.test"] {
            let (server, on) = (&server, &on);
            scope.spawn(move || {
                while on.load(Ordering::Relaxed) {
                    read_and_empty(server, user);
                    std::thread::sleep(Duration::from_millis(50));
                }
            });
        }
        scope.spawn(|| {
            while on.load(Ordering::Relaxed) {
                let mut pop = e2e::Lines::connect(server.pop3_port());
                for command in ["USER alice@example.test", &format!("PASS {PASSWORD}"), "STAT", "QUIT"] {
                    pop.write(format!("{command}\r\n").as_bytes());
                    pop.line();
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        std::thread::sleep(Duration::from_secs(seconds / 3));
        let early = measure(&server);
        std::thread::sleep(Duration::from_secs(seconds - seconds / 3));
        let late = measure(&server);
        on.store(false, Ordering::Relaxed);
        (early, late)
    });
    assert_eq!(failed.load(Ordering::Relaxed), 0, "of {} messages", sent.load(Ordering::Relaxed));
    assert_eq!((early.len(), late.len()), (6, 6), "all daemons are there");
    for (early, late) in early.iter().zip(&late) {
        assert!(late.descriptors <= early.descriptors + 30, "{early:?}, later {late:?}");
        // Pools grow when the disk is slow, up to their limits: 2 workers, 8 `io_threads` or 16 deliveries that go alone (and as many that
        // open a mailbox for the first time), and the threads that log, commit, watch (five of the mail store, and one for mailboxes that are kept).
        let limit = if late.name == "deliver" { 2 + 16 + 16 + 6 } else { 2 + 8 + 8 };
        assert!(late.threads <= limit, "{early:?}, later {late:?}");
        assert!(late.memory_kib <= early.memory_kib * 5 / 4 + 8192, "{early:?}, later {late:?}");
    }
}
