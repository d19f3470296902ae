//! The catalogue of attacks on port 25 and 587, in the daemons as they run: what is not shown nearer to the code. S numbers are its own.

use base64::Engine;
use e2e::{Lines, Server, Smtp, eventually, trusting};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// AUTH without TLS and without waiting, for tests that look at what it says.
const OPEN_AUTH: &str = "[smtpd.service.submission]\nsmtpd_tls_security_level = \"may\"\nsmtpd_tls_auth_only = false\nsmtpd_hard_error_limit = 1000\n\
    smtpd_error_sleep_time = \"0s\"\n[authd]\nauth_failure_delay = \"0s\"\nauth_penalty_after = 1000\n";

fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// Processor time of a process so far, in clock ticks.
fn ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process");
    let fields: Vec<&str> = stat.rsplit_once(") ").expect("stat").1.split(' ').collect();
    fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
}

fn resident_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

/// S1, S2: what pretends to end a message, each octet in a segment of its own.
#[test]
fn no_end_but_the_true_one_ends_a_message_however_it_is_cut() {
    let server = Server::start();
    let ends =
        ["\n.\n", "\n.\r", "\r.\n", "\r.\r", "\n.\r\n", "\r.\r\n", "\r\n.\n", "\r\n.\r", "\r\n\0.\r\n", "\r\n.\r\r\n", "\r\r\n.\r\r\n"];
    let kept = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for (n, end) in ends.iter().enumerate() {
            let (server, kept) = (&server, &kept);
            scope.spawn(move || {
                let mut smtp = server.smtp();
                smtp.command("MAIL FROM:<a@elsewhere.test>", 250);
                smtp.command("RCPT TO:<alice@example.test>", 250);
                smtp.command("DATA", 354);
                let text = format!(
                    "Subject: {n}\r\n\r\nbody{end}MAIL FROM:<b@elsewhere.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\nx\r\n.\r\n"
                );
                for octet in text.as_bytes() {
                    smtp.write(&[*octet]);
                    // Nagle is off; this lets the segment go before the next.
                    std::thread::yield_now();
                }
                let reply = smtp.reply().expect("one reply");
                match reply.as_bytes()[0] {
                    b'2' => drop(kept.fetch_add(1, std::sync::atomic::Ordering::Relaxed)),
                    b'5' => {}
                    _ => panic!("{end:?}: {reply}"),
                }
                smtp.command("QUIT", 221);
            });
        }
    });
    let kept = kept.into_inner();
    let mail = server.wait_for_mail("alice@example.test", kept);
    assert!(mail.iter().all(|mail| !mail.contains('\r')), "nothing stray is stored");
    assert!(server.inbox("bob@example.test").is_empty(), "nothing was smuggled");
}

/// S7: what is no login is refused as such, and nobody becomes somebody else.
#[test]
fn strange_credentials_open_nothing_and_break_nothing() {
    let server = Server::builder().settings(OPEN_AUTH).start();
    let mut smtp = Smtp::connect(server.submission_port());
    smtp.command("EHLO client.test", 250);
    let long = "A".repeat(12_000);
    let truncated_utf8 = base64::engine::general_purpose::STANDARD.encode(b"\0al\xc3\0secret");
    for (initial, codes) in [
        ("AGFsaWNl=", "501"),
        ("====", "501"),
        ("%%%%", "501"),
        ("=", "501 535"),
        (&base64("alice@example.test"), "501 535"),
        (&base64("\0alice@example.test"), "501 535"),
        (&base64("\0\0\0\0\0"), "501 535"),
        (&base64("\0alice@example.test\0secret\0"), "501 535"),
        (&base64("\0alice@example.test\0se\0cret"), "501 535"),
        (&truncated_utf8, "501 535"),
        (&base64(&format!("\0{}\0secret", "a".repeat(8000))), "501 535"),
        (&base64("bob@example.test\0alice@example.test\0secret"), "501 535"),
        (&base64("bob@example.test\0\0secret"), "501 535"),
        (&base64("alice@example.test\0\0"), "501 535"),
        (&base64("\0alice@example.test\0"), "501 535"),
        (&long, "501 535"),
    ] {
        smtp.write(format!("AUTH PLAIN {initial}\r\n").as_bytes());
        let reply = smtp.reply().unwrap_or_else(|| panic!("{initial}: the server hung up"));
        assert!(codes.split(' ').any(|code| reply.starts_with(code)), "{initial}: {reply}");
        let reply = smtp.command("MAIL FROM:<alice@example.test>", 250);
        assert!(reply.starts_with("250"));
        smtp.command("RCPT TO:<alice@example.test>", 530);
        smtp.command("RSET", 250);
    }
    // Longer than AUTH may be (RFC 4954 §4): the line is refused, whatever it was.
    smtp.write(format!("AUTH PLAIN {}\r\n", "A".repeat(13_000)).as_bytes());
    let reply = smtp.reply().expect("a reply");
    assert!(reply.starts_with("500 5.5.6") || reply.starts_with("500"), "{reply}");
    smtp.command(&format!("AUTH PLAIN {}", base64("\0alice@example.test\0secret")), 235);
    assert!(!server.log().contains(&base64("\0alice@example.test\0secret")), "no password in the log");
}

/// S8: what one client sends to authd through smtpd does not end the logins of others.
#[test]
fn broken_logins_of_one_leave_those_of_others_alone() {
    let server = Server::builder().settings(OPEN_AUTH).start();
    let port = server.submission_port();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let breaker = scope.spawn(|| {
            let mut smtp = Smtp::connect(port);
            smtp.command("EHLO client.test", 250);
            let mut count = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) && count < 400 {
                smtp.write(b"AUTH PLAIN\r\n");
                smtp.reply().expect("334");
                smtp.write(if count % 2 == 0 { b"*\r\n" } else { b"\xff=bad=\r\n" });
                let reply = smtp.reply().expect("a reply");
                assert!(reply.starts_with("501"), "{reply}");
                count += 1;
            }
            count
        });
        let logins: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..5 {
                        let mut smtp = Smtp::connect(port);
                        smtp.command("EHLO client.test", 250);
                        smtp.command(&format!("AUTH PLAIN {}", base64("\0alice@example.test\0secret")), 235);
                    }
                })
            })
            .collect();
        logins.into_iter().for_each(|login| login.join().expect("each login"));
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(breaker.join().expect("the other goes on") > 0);
    });
}

/// S16: recipients without end.
#[test]
fn recipients_beyond_the_limit_wait_and_then_the_client_is_sent_away() {
    let settings = "[smtpd]\nsmtpd_recipient_limit = 200\nsmtpd_recipient_overshoot_limit = 300\n";
    let server = Server::builder().settings(settings).start();
    let mut smtp = server.smtp();
    smtp.command("MAIL FROM:<a@elsewhere.test>", 250);
    for part in 0..6 {
        let commands: String = (0..100).map(|n| format!("RCPT TO:<alice+{part}{n}@example.test>\r\n")).collect();
        smtp.write(commands.as_bytes());
        if part >= 5 {
            break;
        }
        for n in 0..100 {
            let reply = smtp.reply().expect("a reply");
            let want = if part < 2 { "250" } else { "452 4.5.3" };
            assert!(reply.starts_with(want), "{part}{n}: {reply}");
        }
    }
    let replies: Vec<String> = std::iter::from_fn(|| smtp.reply()).collect();
    assert!(replies.last().is_some_and(|last| last.starts_with("421")), "{replies:?}");
    // Those that were taken are not lost by it: within the limit the message goes to each of them.
    let mut smtp = server.smtp();
    let all: Vec<String> = (0..200).map(|n| format!("alice+{n}@example.test")).collect();
    smtp.send("a@elsewhere.test", &all.iter().map(String::as_str).collect::<Vec<_>>(), "Subject: many\n\nx\n");
    server.wait_for_mail("alice@example.test", 200);
}

/// S19: no descriptor is left. Those that are there go on, nothing spins, and service returns with the first free one.
#[test]
fn without_descriptors_the_server_waits_and_does_not_spin() {
    let server = Server::builder().settings("[smtpd]\nsmtpd_client_connection_count_limit = 0\n").start();
    server.send("a@elsewhere.test", &["alice@example.test"], "Subject: before\n\nx\n");
    server.wait_for_mail("alice@example.test", 1);
    let pid = server.pid("smtpd").expect("a process id");
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("/proc").count();
    let mut there = server.smtp();
    let Some(prlimit) = e2e::tool("prlimit", "without_descriptors_the_server_waits_and_does_not_spin") else { return };
    prlimit.ok(["--pid".to_owned(), pid.to_string(), format!("--nofile={0}:{0}", open + 8)]);
    let crowd: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(("127.0.0.1", server.smtp_port())).expect("the backlog")).collect();
    let refused = || server.log().contains("Too many open files") || server.log().contains("accept");
    eventually("the shortage to be told", || refused().then_some(()), || server.log());
    let before = ticks(pid);
    std::thread::sleep(Duration::from_secs(2));
    let used = ticks(pid) - before;
    assert!(used < 100, "{used} ticks of processor time in two seconds");
    let lines = server.log().lines().filter(|line| line.contains("Too many open files")).count();
    assert!(lines < 50, "{lines} lines about it");
    there.send("a@elsewhere.test", &["alice@example.test"], "Subject: during\n\nx\n");
    server.wait_for_mail("alice@example.test", 2);
    drop(crowd);
    server.send("a@elsewhere.test", &["alice@example.test"], "Subject: after\n\nx\n");
    server.wait_for_mail("alice@example.test", 3);
}

/// S20: a body without end is counted, not kept.
#[test]
fn a_body_without_end_takes_no_more_room_than_the_limit() {
    let server = Server::builder().settings("[smtpd]\nmessage_size_limit = \"1M\"\n").start();
    let pid = server.pid("smtpd").expect("a process id");
    let mut smtp = server.smtp();
    smtp.command("MAIL FROM:<a@elsewhere.test>", 250);
    smtp.command("RCPT TO:<alice@example.test>", 250);
    smtp.command("DATA", 354);
    let before = resident_kib(pid);
    let chunk = format!("{}\r\n", "x".repeat(998)).repeat(64);
    let spool = || -> u64 {
        let folders = ["spool/queue/in", "spool/journal"].map(|name| server.root().join(name));
        let files = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
        files.filter_map(|entry| entry.ok()?.metadata().ok()).map(|meta| std::os::unix::fs::MetadataExt::blocks(&meta) * 512).sum()
    };
    let room = spool();
    for n in 0..1000 {
        smtp.write(chunk.as_bytes());
        if n % 250 == 249 {
            assert!(spool() < room + (4 << 20), "{} octets in the spool", spool() - room);
            let more = resident_kib(pid).saturating_sub(before);
            assert!(more < 16 << 10, "{more} KiB more in memory");
        }
    }
    let reply = smtp.command(".", 552);
    assert!(reply.starts_with("552 5.3.4"), "{reply}");
    for chunk in ["BDAT -1", "BDAT 18446744073709551616 LAST", "BDAT x", "BDAT"] {
        smtp.command("MAIL FROM:<a@elsewhere.test>", 250);
        smtp.command("RCPT TO:<alice@example.test>", 250);
        smtp.write(format!("{chunk}\r\n").as_bytes());
        let reply = smtp.reply().expect("a reply");
        assert!(reply.starts_with('5'), "{chunk}: {reply}");
        // A length that cannot be read leaves no way to find the next command.
        match smtp.reply_or_end("RSET") {
            Some(reply) => assert!(reply.starts_with("250"), "{chunk}: {reply}"),
            None => smtp = server.smtp(),
        }
    }
    smtp.send("a@elsewhere.test", &["alice@example.test"], "Subject: small\n\nx\n");
    server.wait_for_mail("alice@example.test", 1);
}

/// S21, S22: headers that cost more to read than to send.
#[test]
fn headers_of_any_shape_cost_time_in_proportion() {
    let server = Server::start();
    let pid = server.pid("smtpd").expect("a process id");
    let addresses = |count: usize| format!("To: {}\r\n", vec!["a@b.test"; count].join(",\r\n "));
    let shapes = [
        ("lines", "X: y\r\n".repeat(100_000)),
        ("addresses", addresses(80_000)),
        ("one field", format!("X: {}\r\n", " y\r\n".repeat(200_000))),
        ("parentheses", format!("To: {}\r\n", "(".repeat(900_000))),
        ("hops", "Received: from a by b; Thu, 1 Jan 1970 00:00:00 +0000\r\n".repeat(51)),
    ];
    for (name, header) in shapes {
        let before = ticks(pid);
        let mut smtp = server.smtp();
        smtp.command("MAIL FROM:<a@elsewhere.test>", 250);
        smtp.command("RCPT TO:<alice@example.test>", 250);
        smtp.command("DATA", 354);
        smtp.write(header.as_bytes());
        smtp.write(b"\r\nbody\r\n.\r\n");
        let reply = smtp.reply().expect("a reply");
        assert!(reply.starts_with("250") || reply.starts_with('5'), "{name}: {reply}");
        assert_eq!(name == "hops", reply.starts_with("554 5.4.6"), "{name}: {reply}");
        let used = ticks(pid) - before;
        assert!(used < 200, "{name}: {used} ticks for {} octets", header.len());
    }
}

/// S24: nobody learns who has an account, but by RCPT.
#[test]
fn known_and_unknown_users_get_the_same_words() {
    let server = Server::builder().settings(OPEN_AUTH).start();
    let mut smtp = server.smtp();
    let mut said = |line: &str, name: &str| {
        smtp.write(format!("{line}\r\n").as_bytes());
        smtp.reply().expect("a reply").replace(name, "NAME")
    };
    for verb in ["VRFY", "EXPN"] {
        let replies = ["alice@example.test", "nobody@example.test"].map(|name| said(&format!("{verb} {name}"), name));
        assert_eq!(replies[0], replies[1]);
        assert!(["252", "502"].iter().any(|code| replies[0].starts_with(code)), "{}", replies[0]);
    }
    let mut smtp = Smtp::connect(server.submission_port());
    smtp.command("EHLO client.test", 250);
    let mut refusal = |user: &str| smtp.command(&format!("AUTH PLAIN {}", base64(&format!("\0{user}\0wrong"))), 535);
    assert_eq!(refusal("alice@example.test"), refusal("nobody@example.test"));
}

/// S27: PROXY headers that lie about their length, or end before it.
#[test]
fn a_proxy_header_is_whole_or_the_connection_ends() {
    let settings = "[smtpd.service.behind]\nlisten = [\"127.0.0.1:$BEHIND\"]\nsmtpd_upstream_proxy_protocol = \"haproxy\"\n\
        smtpd_upstream_proxy_timeout = \"1s\"\n";
    let ports = e2e::PortBase::take();
    let port = ports.spare(1);
    let server = Server::builder().settings(&settings.replace("$BEHIND", &port.to_string())).start();
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    let ipv4 = [192, 0, 2, 7, 192, 0, 2, 25, 0x9c, 0x40, 0, 25];
    let v2 = |kind: &[u8], length: u16, rest: &[u8]| [&signature[..], kind, &length.to_be_bytes(), rest].concat();
    let cut_tlv = [&ipv4[..], &[0x04, 0x00, 0x09, 0]].concat();
    let bad: [(&str, Vec<u8>); 9] = [
        ("version 2 of 65535 octets", v2(&[0x21, 0x11], 65535, &[0; 65535])),
        ("fewer octets than an address", v2(&[0x21, 0x11], 4, &ipv4[..4])),
        ("a cut TLV", v2(&[0x21, 0x11], cut_tlv.len() as u16, &cut_tlv)),
        ("version 3", v2(&[0x31, 0x11], 12, &ipv4)),
        ("an unknown command", v2(&[0x2f, 0x11], 12, &ipv4)),
        ("a header that never ends", v2(&[0x21, 0x11], 12, &ipv4[..6])),
        ("version 1 without an end", [&b"PROXY TCP4 "[..], &[b'1'; 200]].concat()),
        ("version 1 with words for numbers", b"PROXY TCP4 a b c d\r\n".to_vec()),
        ("no header", b"EHLO client.test\r\n".to_vec()),
    ];
    for (name, header) in bad {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
        // The server may be gone before all of it is written.
        let _ = stream.write_all(&header);
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said).into_owned();
        // A TLV is of no concern to us: such a header may be taken by its addresses.
        assert!(said.is_empty() || name == "a cut TLV" && said.starts_with("220"), "{name}: {said:?}");
    }
    let mut smtp = Smtp::over({
        let mut lines = Lines::connect(port);
        lines.write(&v2(&[0x21, 0x11], 12, &ipv4));
        lines
    });
    smtp.command("EHLO client.test", 250);
    server.send("a@elsewhere.test", &["alice@example.test"], "Subject: alive\n\nx\n");
    server.wait_for_mail("alice@example.test", 1);
}

/// S29: what is no TLS of today ends with an alert or with silence, and only for who sent it.
#[test]
fn broken_and_old_tls_is_refused() {
    let server = Server::start();
    let port = server.submissions_port();
    let record = |kind: u8, version: [u8; 2], length: u16| [vec![kind, version[0], version[1]], length.to_be_bytes().to_vec()].concat();
    let junk: [Vec<u8>; 5] = [
        b"EHLO client.test\r\n".to_vec(),
        // A record longer than 2^14 (RFC 8446 §5.1).
        [record(22, [3, 1], 0x4001), vec![1; 0x4001]].concat(),
        // A ClientHello that announces 16 MiB.
        [record(22, [3, 1], 4), vec![1, 0xff, 0xff, 0xff]].concat(),
        // SSL 2.
        vec![0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10],
        [record(23, [3, 3], 5), b"hello".to_vec()].concat(),
    ];
    for bytes in junk {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("timeout");
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        assert!(!String::from_utf8_lossy(&said).contains("220"), "{said:?}");
    }
    if let Some(openssl) = e2e::tool("openssl", "broken_and_old_tls_is_refused") {
        let connect = format!("127.0.0.1:{port}");
        let dial = |more: &[&str], input: &str| {
            let output = openssl.run_with_input([&["s_client", "-connect", &connect, "-cipher", "ALL:@SECLEVEL=0"], more].concat(), input);
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
        };
        for (more, want) in [
            (&["-tls1"][..], "alert"),
            (&["-tls1_1"], "alert"),
            // Another protocol's client was led here (ALPACA).
            (&["-alpn", "h2"], "alert"),
            (&["-tls1_2", "-cipher", "RC4-SHA:AES128-SHA"], "alert"),
        ] {
            let said = dial(more, "QUIT\r\n");
            assert!(said.contains(want) && !said.contains("\n220 "), "{more:?}: {said}");
        }
        assert!(dial(&["-tls1_2", "-alpn", "smtp", "-quiet"], "QUIT\n").contains("220 "));
    }
    let tls = trusting(&server.root().join("etc/tls/cert.pem"));
    let mut smtp = Smtp::over(Lines::connect_tls(port, &tls));
    smtp.command("EHLO client.test", 250);
}

/// S13: no argument brings a control character in, not in disguise either.
#[test]
fn control_characters_are_no_part_of_an_argument() {
    let server = Server::builder().settings("[smtpd]\nsmtpd_hard_error_limit = 1000\nsmtpd_error_sleep_time = \"0s\"\n").start();
    let mut smtp = server.smtp();
    for line in [
        "MAIL FROM:<a\0b@elsewhere.test>",
        "MAIL FROM:<a\rb@elsewhere.test>",
        "MAIL FROM:<\"a\0\"@elsewhere.test>",
        "MAIL FROM:<a@elsewhere.test> ENVID=a+0D+0AX-Forged:+20yes",
        "MAIL FROM:<a@elsewhere.test> ENVID=a+00",
        "MAIL FROM:<a@elsewhere.test> BODY=8BIT\0MIME",
        "MAIL FROM:<a@elsewhere.test> SIZE=1\0",
    ] {
        smtp.write(format!("{line}\r\n").as_bytes());
        let reply = smtp.reply().unwrap_or_else(|| panic!("{line:?}: the server hung up"));
        assert!(reply.starts_with('5'), "{line:?}: {reply}");
    }
    smtp.command("MAIL FROM:<a@elsewhere.test>", 250);
    for line in ["RCPT TO:<alice@example.test> ORCPT=rfc822;a+0D+0Ab", "RCPT TO:<alice@example.test\0>", "RCPT TO:<al\0ice@example.test>"] {
        smtp.write(format!("{line}\r\n").as_bytes());
        let reply = smtp.reply().unwrap_or_else(|| panic!("{line:?}: the server hung up"));
        assert!(reply.starts_with('5'), "{line:?}: {reply}");
    }
    assert!(!server.log().contains('\0') && !server.log().contains('\r'), "the log is escaped");
}
