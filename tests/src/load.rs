//! Messages sent one after the other by a client that keeps a ledger of its 250s.

use crate::Server;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

/// One try to send a message; gives the queue id of its 250. Anything else has to be a temporary failure or a lost connection.
pub fn try_send(port: u16, n: usize) -> Option<String> {
    let mut writer = TcpStream::connect(("127.0.0.1", port)).ok()?;
    writer.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let mut reader = BufReader::new(writer.try_clone().ok()?);
    let mut reply = || -> Option<String> {
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            assert!(!line.starts_with('5'), "a permanent failure for a good message: {line}");
            if line.as_bytes().get(3) != Some(&b'-') {
                return line.starts_with(['2', '3']).then(|| line.trim_end().to_owned());
            }
        }
    };
    reply()?;
    let user = if n.is_multiple_of(2) { "alice" } else { "bob" };
    let rcpt = format!("RCPT TO:<{user}@example.test>\r\n");
    for command in ["EHLO client.test\r\n", "MAIL FROM:<a@elsewhere.test>\r\n", &rcpt, "DATA\r\n"] {
        writer.write_all(command.as_bytes()).ok()?;
        reply()?;
    }
    writer.write_all(format!("Subject: {n}\r\n\r\nmessage {n}\r\n.\r\n").as_bytes()).ok()?;
    reply()?.rsplit(' ').next().map(str::to_owned)
}

/// The queue id inside the name of a Maildir file.
pub fn queue_ids(server: &Server, user: &str) -> Vec<String> {
    let mut ids = Vec::new();
    for folder in ["new", "cur"] {
        for entry in std::fs::read_dir(server.maildir(user).join(folder)).into_iter().flatten() {
            let name = entry.expect("entry").file_name().into_string().expect("text");
            ids.push(name.split('.').nth(1).and_then(|part| part.split('_').next()).expect("a queue id").to_owned());
        }
    }
    ids
}
