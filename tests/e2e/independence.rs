//! Each daemon dies and comes back alone; what got 250 arrives exactly once, and clients see a temporary failure at worst.

use e2e::{PASSWORD, Server, Smtp, eventually, queue_ids, try_send};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

const DAEMONS: [&str; 6] = ["smtpd", "qmgr", "deliver", "imapd", "pop3d", "authd"];

#[test]
fn daemons_killed_at_random_lose_and_double_nothing() {
    let server = Server::builder().settings("[smtpd]\nsmtpd_client_connection_count_limit = 0\n").start();
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("clock").as_nanos() as u64;
    eprintln!("seed {seed}");
    let rounds = std::env::var("FACTEUR_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(20);
    let (sent, killing) = (AtomicUsize::new(0), AtomicBool::new(true));
    let accepted = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while killing.load(Ordering::Relaxed) || accepted.lock().expect("ids").len() < 2000 {
                    let n = sent.fetch_add(1, Ordering::Relaxed);
                    if let Some(id) = try_send(server.smtp_port(), n) {
                        accepted.lock().expect("ids").push(id);
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
            });
        }
        let mut random = seed | 1;
        for _ in 0..rounds {
            for daemon in DAEMONS {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                std::thread::sleep(Duration::from_millis((random >> 33) % 100));
                let signal = if random >> 63 == 0 { Signal::SIGKILL } else { Signal::SIGTERM };
                if let Some(pid) = server.pid(daemon) {
                    let _ = kill(Pid::from_raw(pid), signal);
                }
            }
        }
        killing.store(false, Ordering::Relaxed);
    });
    let accepted = accepted.into_inner().expect("ids");
    let all = || [queue_ids(&server, "alice@example.test"), queue_ids(&server, "bob@example.test")].concat();
    eventually(
        "an empty queue",
        || (server.facteur(&["--json", "queue", "list"]).stdout.trim_ascii() == b"[]").then_some(()),
        || server.log(),
    );
    let mut count: HashMap<String, usize> = HashMap::new();
    for id in all() {
        *count.entry(id).or_default() += 1;
    }
    let lost: Vec<_> = accepted.iter().filter(|id| !count.contains_key(*id)).collect();
    let doubled: Vec<_> = count.iter().filter(|(_, n)| **n > 1).collect();
    assert!(lost.is_empty() && doubled.is_empty(), "{} accepted; lost {lost:?}, doubled {doubled:?}", accepted.len());
}

/// Stops a daemon from coming back by freezing it: the partner is silent, as behind a socket unit.
struct Frozen(Pid);

impl Frozen {
    fn new(server: &Server, daemon: &str) -> Frozen {
        let pid = Pid::from_raw(server.pid(daemon).expect("a process id"));
        kill(pid, Signal::SIGSTOP).expect("SIGSTOP");
        Frozen(pid)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

#[test]
fn a_silent_authd_is_a_temporary_failure_and_not_a_wrong_answer() {
    let server = Server::builder().settings("[imapd]\ndisable_plaintext_auth = false\n[pop3d]\ndisable_plaintext_auth = false\n").start();
    let frozen = Frozen::new(&server, "authd");
    let mut imap = e2e::Imap::connect(server.imap_port());
    let login = format!("LOGIN alice@example.test {PASSWORD}");
    let refused = imap.command(&login).pop().expect("tagged");
    assert!(refused.contains("NO [UNAVAILABLE]"), "{refused}");
    let mut pop = e2e::Lines::connect(server.pop3_port());
    pop.line();
    pop.write(format!("USER bob@example.test\r\nPASS {PASSWORD}\r\n").as_bytes());
    pop.line();
    let refused = pop.line().expect("reply");
    assert!(refused.starts_with("-ERR [SYS/TEMP]"), "{refused}");
    let mut smtp = server.smtp();
    smtp.command("MAIL FROM:<a@elsewhere.test>", 250);
    smtp.write(b"RCPT TO:<never-asked@example.test>\r\n");
    let reply = smtp.reply().expect("reply");
    assert!(reply.starts_with("45"), "{reply}");
    drop(frozen);
    eventually("a login", || e2e::Imap::connect(server.imap_port()).command(&login).pop()?.contains(" OK").then_some(()), || server.log());
    eventually(
        "a refusal",
        || {
            let mut smtp = server.smtp();
            smtp.command("MAIL FROM:<a@elsewhere.test>", 250);
            smtp.write(b"RCPT TO:<never-asked@example.test>\r\n");
            smtp.reply()?.starts_with("550").then_some(())
        },
        || server.log(),
    );
}

#[test]
fn mail_is_accepted_without_qmgr_and_delivered_once_it_is_back() {
    let server = Server::start();
    let frozen = Frozen::new(&server, "qmgr");
    let mut smtp = Smtp::connect(server.smtp_port());
    smtp.command("EHLO client.test", 250);
    for n in 0..20 {
        smtp.send("a@elsewhere.test", &["alice@example.test"], &format!("Subject: {n}\n\nx\n"));
    }
    drop(frozen);
    server.wait_for_mail("alice@example.test", 20);
}

#[test]
fn mail_waits_for_deliver_and_arrives_once_it_is_back() {
    let server = Server::start();
    let frozen = Frozen::new(&server, "deliver");
    for n in 0..5 {
        server.send("a@elsewhere.test", &["alice@example.test"], &format!("Subject: {n}\n\nx\n"));
    }
    assert!(server.inbox("alice@example.test").is_empty());
    drop(frozen);
    server.wait_for_mail("alice@example.test", 5);
}

#[test]
fn a_daemon_that_dies_is_there_again() {
    let server = Server::start();
    for daemon in DAEMONS {
        let before = server.pid(daemon).expect("a process id");
        kill(Pid::from_raw(before), Signal::SIGKILL).expect("kill");
        eventually(&format!("{daemon} again"), || server.pid(daemon).filter(|pid| *pid != before), || server.log());
    }
    server.send("a@elsewhere.test", &["alice@example.test"], "Subject: after\n\nx\n");
    server.wait_for_mail("alice@example.test", 1);
}

/// Q17: whoever gets at a socket of ours and speaks nonsense harms himself.
#[test]
fn nonsense_on_any_socket_ends_that_connection_and_no_daemon() {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    let server = Server::start();
    let mut sockets = Vec::new();
    for folder in [server.root().join("run"), server.root().join("run/control")] {
        for entry in std::fs::read_dir(folder).expect("folder") {
            let path = entry.expect("entry").path();
            let kind = std::fs::symlink_metadata(&path).expect("metadata").file_type();
            if std::os::unix::fs::FileTypeExt::is_socket(&kind) {
                sockets.push(path);
            }
        }
    }
    assert!(sockets.len() >= 10, "{sockets:?}");
    let before: Vec<_> = DAEMONS.iter().map(|daemon| server.pid(daemon)).collect();
    let mut open = Vec::new();
    for path in &sockets {
        let nonsense: [Vec<u8>; 6] = [
            vec![0xff; 100_000],
            vec![0; 100_000],
            // Lengths of all shapes in front of nothing.
            [0xffff_ffff_u32.to_le_bytes(), 0xffff_ffff_u32.to_be_bytes()].concat(),
            b"VERSION\t99\t0\nHANDSHAKE\n".to_vec(),
            b"\x01\x00\x00\x00\x7f".to_vec(),
            (0..50_000_u32).flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()).collect(),
        ];
        for bytes in nonsense {
            let mut stream = match UnixStream::connect(path) {
                Ok(stream) => stream,
                // Where systemd's notices would come.
                Err(error) if error.raw_os_error() == Some(libc::EPROTOTYPE) => {
                    let _ = std::os::unix::net::UnixDatagram::unbound().expect("socket").send_to(&bytes[..bytes.len().min(4000)], path);
                    continue;
                }
                Err(error) => panic!("{}: {error}", path.display()),
            };
            stream.set_write_timeout(Some(Duration::from_millis(200))).expect("timeout");
            stream.set_read_timeout(Some(Duration::from_millis(20))).expect("timeout");
            let _ = stream.write_all(&bytes);
            let _ = stream.read(&mut [0; 1000]);
            // Some stay open, as a peer that hangs does.
            open.push(stream);
        }
    }
    server.send("a@elsewhere.test", &["alice@example.test"], "Subject: all the same\n\nx\n");
    server.wait_for_mail("alice@example.test", 1);
    drop(open);
    server.imap("alice@example.test").ok("LOGOUT");
    server.send("a@elsewhere.test", &["alice@example.test"], "Subject: after\n\nx\n");
    server.wait_for_mail("alice@example.test", 2);
    let after: Vec<_> = DAEMONS.iter().map(|daemon| server.pid(daemon)).collect();
    assert_eq!(before, after, "no daemon has died");
}
