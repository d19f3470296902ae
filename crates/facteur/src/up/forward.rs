//! What daemons write on standard error, passed on to ours.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};

/// Passes on whole lines until the daemon closes its end, in a thread of its own: a terminal that is stopped must not stop the
/// supervisor. The daemons' own log lines name their program after the time; others get the name in front.
pub fn forward(daemon: &'static str, stderr: File) -> std::io::Result<()> {
    let copy = move || {
        let mut reader = BufReader::with_capacity(64 << 10, stderr);
        let mut out = Vec::new();
        loop {
            let bytes = match reader.fill_buf() {
                Ok(b"") | Err(_) => break,
                Ok(bytes) => bytes,
            };
            let used = match bytes.iter().rposition(|b| *b == b'\n') {
                Some(at) => at + 1,
                None => bytes.len(),
            };
            out.clear();
            for line in bytes[..used].split_inclusive(|b| *b == b'\n') {
                if !names_its_program(line, daemon) {
                    out.extend_from_slice(daemon.as_bytes());
                    out.extend_from_slice(b": ");
                }
                out.extend_from_slice(line);
                if !line.ends_with(b"\n") {
                    out.push(b'\n');
                }
            }
            reader.consume(used);
            // When nobody reads our standard error any more, the daemons go on all the same.
            let _ = std::io::stderr().lock().write_all(&out);
        }
    };
    std::thread::Builder::new().name(format!("log-{daemon}")).spawn(copy).map(drop)
}

fn names_its_program(line: &[u8], daemon: &str) -> bool {
    let mut words = line.splitn(3, |b| *b == b' ');
    let first = words.next().unwrap_or_default();
    first.first() == Some(&b'{')
        || first.strip_suffix(b":") == Some(daemon.as_bytes())
        || (first.len() > 10 && first[10] == b'T' && words.next() == Some(daemon.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_are_left_as_they_are() {
        for (line, want) in [
            ("2026-11-22T15:07:40.123456+01:00 smtpd info started", true),
            ("{\"time\":\"2026\"}", true),
            ("smtpd: cannot start", true),
            ("thread 'main' panicked", false),
            ("2026-11-22T15:07:40.123456+01:00 qmgr info started", false),
            ("", false),
        ] {
            assert_eq!(names_its_program(line.as_bytes(), "smtpd"), want, "{line}");
        }
    }
}
