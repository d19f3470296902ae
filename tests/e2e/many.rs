//! Many clients at once, clients that do not read, and mailboxes with odd things in them.

use e2e::{Imap, Lines, PASSWORD, Server, eventually, trusting};

/// Resident memory of a process in KiB.
fn resident_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// `E2E_IDLE_CLIENTS` sets how many; else 1,000, or as many as this process may have descriptors for.
fn clients() -> usize {
    let wanted = std::env::var("E2E_IDLE_CLIENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(1000);
    let (soft, _) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).expect("limit");
    let room = usize::try_from(soft).unwrap_or(usize::MAX).saturating_sub(200);
    if room < wanted {
        println!("only {room} clients instead of {wanted}: ulimit -n is {soft}");
    }
    wanted.min(room)
}

/// SECURITY I14, without its rate of deliveries.
#[test]
fn each_of_a_thousand_idle_clients_over_tls_hears_of_new_mail() {
    const THREADS: usize = 8;
    let settings = "[imapd]\nmail_max_userip_connections = 0\nclient_connection_count_limit = 0\n";
    let server = Server::builder().settings(settings).start();
    let tls = trusting(&server.root().join("etc/tls/cert.pem"));
    let imapd = server.pid("imapd").expect("imapd runs");
    let count = clients();
    let before = resident_kib(imapd);
    let connect = || {
        let mut imap = Imap::over(Lines::connect_tls(server.imaps_port(), &tls));
        imap.ok(&format!("LOGIN alice@example.test {PASSWORD}"));
        imap.ok("SELECT INBOX");
        imap.begin("IDLE");
        assert!(imap.response().starts_with('+'));
        imap
    };
    let mut idle: Vec<Imap> = std::thread::scope(|scope| {
        let share = |n: usize| count / THREADS + usize::from(n < count % THREADS);
        let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || (0..share(n)).map(|_| connect()).collect::<Vec<_>>())).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("clients")).collect()
    });
    assert_eq!(idle.len(), count);
    let each = resident_kib(imapd).saturating_sub(before) / count.max(1) as u64;
    println!("{count} idle clients over TLS: {each} KiB each in imapd");
    // far above what it is, and far below what would be a leak
    assert!(each < 1024, "{each} KiB for each idle client");

    server.send("ann@elsewhere.test", &["alice@example.test"], "Subject: news\n\nx\n");
    for imap in &mut idle {
        let mut told = imap.response();
        while !told.ends_with("EXISTS") {
            told = imap.response();
        }
        assert_eq!(told, "* 1 EXISTS");
    }
}

/// SECURITY I16.
#[test]
fn a_client_that_never_reads_is_cut_off_and_hurts_nobody() {
    let server = Server::builder().settings("[imapd]\ndisable_plaintext_auth = false\nimap_write_timeout = \"2s\"\n").start();
    let imapd = server.pid("imapd").expect("imapd runs");
    let mut other = server.imap("bob@example.test");
    other.ok("SELECT INBOX");
    let mut greedy = server.imap("alice@example.test");
    greedy.append("INBOX", "", &format!("Subject: large\r\n\r\n{}", "0123456789abcdef\r\n".repeat(300_000)));
    greedy.ok("SELECT INBOX");
    let before = resident_kib(imapd);
    let ask = "x FETCH 1 (BODY.PEEK[] BODYSTRUCTURE BODY.PEEK[TEXT])\r\n".repeat(200);
    greedy.write(ask.as_bytes());
    // others are answered all the while, until the log says that the greedy one has gone
    eventually(
        "the end of the client that does not read",
        || {
            other.ok("NOOP");
            server.log().contains("the client takes nothing").then_some(())
        },
        || server.log(),
    );
    let grown = resident_kib(imapd).saturating_sub(before);
    assert!(grown < 128 << 10, "imapd grew by {grown} KiB");
    let mut more = server.imap("alice@example.test");
    assert!(more.ok("SELECT INBOX").contains(&"* 1 EXISTS".to_owned()));
}

#[test]
fn directories_links_and_fifos_in_a_mailbox_are_no_mail() {
    let server = Server::builder().settings("[imapd]\ndisable_plaintext_auth = false\n[pop3d]\ndisable_plaintext_auth = false\n").start();
    server.send("ann@elsewhere.test", &["alice@example.test"], "Subject: one\n\nbody\n");
    server.wait_for_mail("alice@example.test", 1);
    let maildir = server.maildir("alice@example.test");
    std::fs::create_dir(maildir.join("cur/1.directory.host:2,S")).expect("directory");
    std::os::unix::fs::symlink("/etc/passwd", maildir.join("new/2.link.host")).expect("link");
    nix::unistd::mkfifo(&maildir.join("new/3.fifo.host"), nix::sys::stat::Mode::S_IRWXU).expect("fifo");

    let mut pop3 = Lines::connect(server.pop3_port());
    assert!(pop3.line().is_some_and(|line| line.starts_with("+OK")));
    for (command, answer) in [
        ("USER alice@example.test".to_owned(), "+OK"),
        (format!("PASS {PASSWORD}"), "+OK"),
        ("STAT".to_owned(), "+OK 1 "),
        ("RETR 1".to_owned(), "+OK"),
    ] {
        pop3.write(format!("{command}\r\n").as_bytes());
        let line = pop3.line().expect("an answer");
        assert!(line.starts_with(answer), "{command}: {line}");
    }
    while pop3.line().expect("the message") != "." {}
    pop3.write(b"QUIT\r\n");
    assert!(pop3.line().is_some_and(|line| line.starts_with("+OK")));

    let mut imap = server.imap("alice@example.test");
    assert!(imap.ok("SELECT INBOX").contains(&"* 1 EXISTS".to_owned()));
    assert!(imap.ok("FETCH 1:* (RFC822.SIZE BODYSTRUCTURE BODY[])").join("\n").contains("Subject: one"));
    assert_eq!(imap.ok("SEARCH TEXT body")[0], "* SEARCH 1");
    assert!(maildir.join("new/3.fifo.host").exists());
}
