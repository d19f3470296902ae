//! Clients that mean harm, or behave as if: others are served meanwhile, and it ends.

use e2e::{Server, eventually};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// What a trickling client does when it has got as far as this.
#[derive(Debug, Clone, Copy)]
enum Trickle {
    /// Says nothing at all.
    Silence,
    /// One octet after the other of a command without an end.
    Command,
    /// The same inside DATA.
    Message,
    /// The same inside BDAT, one chunk per octet.
    Chunks,
    /// The same inside a TLS handshake.
    Handshake,
}

struct Client {
    stream: TcpStream,
    kind: Trickle,
}

impl Client {
    fn new(server: &Server, kind: Trickle) -> Client {
        let port = if matches!(kind, Trickle::Handshake) { server.submissions_port() } else { server.smtp_port() };
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
        let opening: &[u8] = match kind {
            Trickle::Silence => b"",
            // A record of 512 octets is announced.
            Trickle::Handshake => b"\x16\x03\x01\x02\x00",
            Trickle::Command => b"EHLO ",
            Trickle::Message | Trickle::Chunks => {
                let mut said = vec!["EHLO client.test", "MAIL FROM:<a@elsewhere.test>", "RCPT TO:<alice@example.test>"];
                said.extend(matches!(kind, Trickle::Message).then_some("DATA"));
                stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
                read_reply(&mut stream);
                for line in said {
                    stream.write_all(format!("{line}\r\n").as_bytes()).expect("write");
                    read_reply(&mut stream);
                }
                b""
            }
        };
        stream.write_all(opening).expect("write");
        stream.set_nonblocking(true).expect("nonblocking");
        Client { stream, kind }
    }

    /// Sends the next octet; false when the server has hung up.
    fn drip(&mut self) -> bool {
        let octet: &[u8] = match self.kind {
            Trickle::Silence => b"",
            Trickle::Chunks => b"BDAT 1\r\nx",
            Trickle::Command | Trickle::Message | Trickle::Handshake => b"x",
        };
        let open = |error: std::io::Error| error.kind() == ErrorKind::WouldBlock;
        if let Err(error) = self.stream.write_all(octet) {
            return open(error);
        }
        let mut buffer = [0; 1024];
        match self.stream.read(&mut buffer) {
            Ok(count) => count > 0,
            Err(error) => open(error),
        }
    }
}

fn read_reply(stream: &mut TcpStream) {
    let mut text = Vec::new();
    let mut buffer = [0; 1024];
    // The last line of a reply has a space behind its code.
    while !text.ends_with(b"\r\n") || !text.split(|b| *b == b'\n').any(|line| line.get(3) == Some(&b' ')) {
        let count = stream.read(&mut buffer).expect("a reply");
        assert!(count > 0, "the server hung up after {:?}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&buffer[..count]);
    }
}

/// S18.
#[test]
fn hundreds_of_trickling_connections_disturb_nobody_and_end_by_the_clock() {
    let settings = "[smtpd]\nsmtpd_timeout = \"5s\"\nsmtpd_client_connection_count_limit = 0\n[tls]\nhandshake_timeout = \"5s\"\n";
    let server = Server::builder().settings(settings).start();
    let kinds = [Trickle::Silence, Trickle::Command, Trickle::Message, Trickle::Chunks, Trickle::Handshake];
    let mut clients: Vec<Client> = (0..400).map(|n| Client::new(&server, kinds[n % kinds.len()])).collect();
    let mut sent = 0;
    eventually(
        "all trickling clients to be cut off",
        || {
            if sent < 20 {
                server.send("b@elsewhere.test", &["bob@example.test"], "Subject: in between\n\nx\n");
                sent += 1;
            }
            clients.retain_mut(Client::drip);
            clients.is_empty().then_some(())
        },
        || server.log(),
    );
    assert_eq!(sent, 20, "all of them were served in between");
    server.wait_for_mail("bob@example.test", 20);
    assert!(server.inbox("alice@example.test").is_empty(), "nothing of a broken message is delivered");
    let sessions = || {
        let status: serde_json::Value = serde_json::from_str(&server.facteur_ok(&["--json", "status", "smtpd"])).expect("JSON");
        status[0]["sessions"].as_u64()
    };
    eventually("the sessions to be gone", || (sessions() == Some(0)).then_some(()), || server.log());
}

#[test]
fn a_client_that_never_reads_is_cut_off() {
    let server = Server::builder().settings("[smtpd]\nsmtpd_timeout = \"2s\"\n").start();
    let mut deaf = TcpStream::connect(("127.0.0.1", server.smtp_port())).expect("connect");
    deaf.set_nonblocking(true).expect("nonblocking");
    let flood = b"VRFY somebody\r\n".repeat(1000);
    deaf.write_all(b"EHLO client.test\r\n").expect("write");
    // The greeting is not waited for either; what runs ahead of it is refused, unless the server was quicker.
    eventually(
        "the server to hang up",
        || match deaf.write(&flood) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Some(()),
            _ => None,
        },
        || server.log(),
    );
    server.send("a@elsewhere.test", &["alice@example.test"], "Subject: after\n\nx\n");
    server.wait_for_mail("alice@example.test", 1);
}

/// S19: connections that are reset at once leave nothing open.
#[test]
fn thousands_of_resets_leave_no_descriptor_behind() {
    let server = Server::builder().settings("[smtpd]\nsmtpd_client_connection_count_limit = 0\n").start();
    server.send("a@elsewhere.test", &["alice@example.test"], "Subject: before\n\nx\n");
    server.wait_for_mail("alice@example.test", 1);
    let pid = server.pid("smtpd").expect("a process id");
    let descriptors = || std::fs::read_dir(format!("/proc/{pid}/fd")).expect("/proc").count();
    let before = descriptors();
    for port in [server.smtp_port(), server.submissions_port()] {
        for _ in 0..2000 {
            let stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
            let linger = libc::linger { l_onoff: 1, l_linger: 0 };
            nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::Linger, &linger).expect("linger");
        }
    }
    eventually("the descriptors to be as many as before", || (descriptors() <= before).then_some(()), || server.log());
    server.send("a@elsewhere.test", &["alice@example.test"], "Subject: after\n\nx\n");
    server.wait_for_mail("alice@example.test", 2);
}
