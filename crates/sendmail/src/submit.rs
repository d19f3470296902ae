//! Handing a letter to smtpd over a Unix socket: SMTP without a runtime, every wait bounded.

use crate::Letter;
use mail_types::{Address, EnhancedCode, Reply, xtext_encode};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long to wait for the first word: a socket that is held for a daemon that is away accepts all the same.
pub const GREETING: Duration = Duration::from_secs(10);
const COMMAND: Duration = Duration::from_secs(60);
/// The end of the data means a disk, and maybe a filter (RFC 5321 §4.5.3.2.6).
const END_OF_DATA: Duration = Duration::from_secs(600);

const LINE_BYTES: u64 = 4096;
const REPLY_LINES: usize = 100;
/// Recipients that are told to smtpd before its answers are read.
const WINDOW: usize = 50;

/// What became of it.
#[derive(Debug)]
pub struct Submitted {
    /// The answer to the message; `None` when nothing was sent.
    pub accepted: Option<Reply>,
    /// Recipients that were refused, by their place.
    pub refused: Vec<(usize, Reply)>,
}

#[derive(Debug)]
pub enum Failure {
    /// Nobody answers.
    Away(String),
    /// Not now.
    Later(String),
    /// All of it was refused.
    Refused(Reply),
}

/// What holds when some recipients are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partly {
    /// Nothing is sent.
    Never,
    /// The others get it; a temporary refusal still means that nothing is sent.
    Refused,
    /// The same, and a temporary refusal counts as a final one.
    Expired,
}

/// Submits `letter`. `heard` gets every line of the conversation.
pub fn submit(socket: &Path, letter: &Letter, partly: Partly, heard: &mut dyn FnMut(&str)) -> Result<Submitted, Failure> {
    let stream = UnixStream::connect(socket).map_err(|error| Failure::Away(format!("{}: {error}", socket.display())))?;
    let mut talk = Talk::new(stream, heard).map_err(lost)?;
    let outcome = talk.transaction(letter, partly);
    // What was answered stands whether or not the farewell arrives.
    let _ = talk.say("QUIT");
    outcome
}

fn lost(error: std::io::Error) -> Failure {
    Failure::Later(format!("the conversation with smtpd broke off: {error}"))
}

/// A negative reply to the whole.
fn judged(reply: Reply) -> Failure {
    if reply.is_permanent() { Failure::Refused(reply) } else { Failure::Later(reply.to_string()) }
}

struct Talk<'a> {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
    heard: &'a mut dyn FnMut(&str),
}

impl Talk<'_> {
    fn new(stream: UnixStream, heard: &mut dyn FnMut(&str)) -> std::io::Result<Talk<'_>> {
        stream.set_write_timeout(Some(COMMAND))?;
        let writer = stream.try_clone()?;
        Ok(Talk { reader: BufReader::new(stream), writer, heard })
    }

    fn transaction(&mut self, letter: &Letter, partly: Partly) -> Result<Submitted, Failure> {
        let greeting = self.reply(GREETING).map_err(|error| Failure::Away(format!("smtpd does not greet: {error}")))?;
        if !greeting.is_positive() {
            return Err(judged(greeting));
        }
        let extensions = self.ask("EHLO localhost")?;
        let offers = |word: &str| extensions.text().lines().any(|l| l.split(' ').next().is_some_and(|w| w.eq_ignore_ascii_case(word)));
        let dsn = offers("DSN");
        let mut mail = format!("MAIL FROM:<{}>", letter.sender.as_ref().map(Address::to_string).unwrap_or_default());
        if !letter.message.is_ascii() && offers("8BITMIME") {
            mail.push_str(" BODY=8BITMIME");
        }
        let addresses = letter.sender.iter().chain(&letter.recipients);
        if addresses.into_iter().any(Address::is_utf8) && offers("SMTPUTF8") {
            mail.push_str(" SMTPUTF8");
        }
        if dsn && !letter.ret.is_empty() {
            mail.push_str(&format!(" RET={}", letter.ret));
        }
        if dsn && !letter.envid.is_empty() {
            mail.push_str(&format!(" ENVID={}", xtext_encode(&letter.envid)));
        }
        if letter.require_tls {
            // Never sent without: who asked for it is told.
            if !offers("REQUIRETLS") {
                return Err(Failure::Refused(Reply::with(
                    550,
                    (5, 7, 30),
                    "REQUIRETLS is not offered here (requiretls_enable, content_filter)",
                )));
            }
            mail.push_str(" REQUIRETLS");
        }
        self.ask(&mail)?;
        let notify = if dsn && !letter.notify.is_empty() { format!(" NOTIFY={}", letter.notify) } else { String::new() };
        let refused = self.recipients(letter, &notify, offers("PIPELINING"))?;
        if let Some((_, reply)) = refused.iter().find(|(_, reply)| !reply.is_permanent() && partly != Partly::Expired) {
            return Err(Failure::Later(reply.to_string()));
        }
        let nobody = refused.len() == letter.recipients.len();
        if nobody || (partly == Partly::Never && !refused.is_empty()) {
            return Ok(Submitted { accepted: None, refused });
        }
        self.ask("DATA")?;
        self.writer.write_all(&dot_stuffed(&letter.message)).map_err(lost)?;
        let accepted = self.expect(END_OF_DATA)?;
        Ok(Submitted { accepted: Some(accepted), refused })
    }

    fn recipients(&mut self, letter: &Letter, notify: &str, pipelining: bool) -> Result<Vec<(usize, Reply)>, Failure> {
        let mut refused = Vec::new();
        let window = if pipelining { WINDOW } else { 1 };
        for (round, recipients) in letter.recipients.chunks(window).enumerate() {
            for recipient in recipients {
                self.say(&format!("RCPT TO:<{recipient}>{notify}")).map_err(lost)?;
            }
            for at in 0..recipients.len() {
                let reply = self.reply(COMMAND).map_err(lost)?;
                // 421: the session is over, whoever was asked about.
                if reply.code() == 421 {
                    return Err(judged(reply));
                }
                if !reply.is_positive() {
                    refused.push((round * window + at, reply));
                }
            }
        }
        Ok(refused)
    }

    fn ask(&mut self, command: &str) -> Result<Reply, Failure> {
        self.say(command).map_err(lost)?;
        self.expect(COMMAND)
    }

    fn expect(&mut self, patience: Duration) -> Result<Reply, Failure> {
        let reply = self.reply(patience).map_err(lost)?;
        if reply.is_positive() { Ok(reply) } else { Err(judged(reply)) }
    }

    fn say(&mut self, command: &str) -> std::io::Result<()> {
        (self.heard)(&format!(">>> {command}"));
        self.writer.write_all(format!("{command}\r\n").as_bytes())
    }

    /// Reads one reply; its text is that of all lines.
    fn reply(&mut self, patience: Duration) -> std::io::Result<Reply> {
        let broken = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
        self.reader.get_ref().set_read_timeout(Some(patience))?;
        let mut lines = Vec::new();
        let mut enhanced = None;
        for _ in 0..REPLY_LINES {
            let mut line = Vec::new();
            self.reader.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line)?;
            if line.is_empty() {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            (self.heard)(&line);
            let code = line.get(..3).and_then(|c| c.parse().ok()).filter(|c| (200..600).contains(c));
            let code: u16 = code.ok_or_else(|| broken("that is no SMTP reply"))?;
            let text = line.get(4..).unwrap_or_default();
            let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
            let status = EnhancedCode::parse(first);
            lines.push(if status.is_some() { rest } else { text }.to_owned());
            enhanced = enhanced.or(status);
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply::new(code, enhanced, lines.join("\n")));
            }
        }
        Err(broken("a reply of too many lines"))
    }
}

/// The message as DATA carries it, with the final dot (RFC 5321 §4.5.2).
fn dot_stuffed(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + message.len() / 50 + 8);
    for line in message.split_inclusive(|b| *b == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    if !out.is_empty() && !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A server that answers each line by what the script says for its beginning.
    fn against(script: &'static [(&'static str, &'static str)], partly: Partly) -> Result<Submitted, Failure> {
        demanding(false, script, partly)
    }

    fn demanding(require_tls: bool, script: &'static [(&'static str, &'static str)], partly: Partly) -> Result<Submitted, Failure> {
        let folder = tempfile::tempdir().expect("folder");
        let socket = folder.path().join("submit");
        let listener = UnixListener::bind(&socket).expect("listens");
        let server = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("accepts");
            let mut writer = stream.try_clone().expect("clone");
            let _ = writer.write_all(b"220 x\r\n");
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if let Some((_, answer)) = script.iter().find(|(begin, _)| line.starts_with(begin)) {
                    let _ = writer.write_all(answer.replace('|', "\r\n").as_bytes());
                    let _ = writer.write_all(b"\r\n");
                }
                if line == "QUIT" {
                    break;
                }
            }
        });
        let address = |text: &str| Address::parse(text).expect("address");
        let letter = Letter {
            sender: Some(address("a@x")),
            recipients: vec![address("b@x"), address("no@x")],
            message: b"Subject: x\r\n\r\n.y\r\n".to_vec(),
            require_tls,
            ..Letter::default()
        };
        let result = submit(&socket, &letter, partly, &mut |_| {});
        drop(letter);
        server.join().expect("server");
        result
    }

    const USUAL: [(&str, &str); 5] =
        [("EHLO", "250-x|250 PIPELINING"), ("MAIL", "250 ok"), ("RCPT TO:<b@", "250 ok"), ("DATA", "354 go"), (".", "250 2.0.0 queued")];

    #[test]
    fn one_refused_recipient_stops_all_of_it_or_is_told() {
        const SCRIPT: &[(&str, &str)] =
            &[USUAL[0], USUAL[1], USUAL[2], ("RCPT", "550 5.1.1 no such user"), USUAL[3], (". ", ""), (".", "250 q")];
        let got = against(SCRIPT, Partly::Never).expect("answers");
        assert!(got.accepted.is_none());
        assert_eq!(got.refused[0].1.to_string(), "550 5.1.1 no such user");
    }

    /// RFC 8689: it never goes without the parameter.
    #[test]
    fn requiretls_is_asked_for_or_nothing_is_sent() {
        assert!(matches!(demanding(true, &USUAL, Partly::Refused), Err(Failure::Refused(_))));
        const SCRIPT: &[(&str, &str)] = &[
            ("EHLO", "250-x|250-PIPELINING|250 REQUIRETLS"),
            ("MAIL FROM:<a@x> REQUIRETLS", "250 ok"),
            ("MAIL", "555 no"),
            USUAL[2],
            USUAL[3],
            ("RCPT", "550 5.1.1 no"),
            USUAL[4],
        ];
        assert!(demanding(true, SCRIPT, Partly::Refused).expect("answers").accepted.is_some());
    }

    #[test]
    fn what_cannot_be_told_now_is_later() {
        const SCRIPT: &[(&str, &str)] = &[USUAL[0], USUAL[1], USUAL[2], ("RCPT", "451 4.3.0 table away")];
        assert!(matches!(against(SCRIPT, Partly::Refused), Err(Failure::Later(_))));
        const BUSY: &[(&str, &str)] = &[("EHLO", "421 busy")];
        assert!(matches!(against(BUSY, Partly::Never), Err(Failure::Later(_))));
        const NO: &[(&str, &str)] = &[USUAL[0], ("MAIL", "553 5.7.1 not yours")];
        assert!(matches!(against(NO, Partly::Never), Err(Failure::Refused(_))));
        const GARBAGE: &[(&str, &str)] = &[("EHLO", "hello there")];
        assert!(matches!(against(GARBAGE, Partly::Never), Err(Failure::Later(_))));
    }

    #[test]
    fn dots_are_stuffed_and_the_end_is_marked() {
        for (message, want) in [("", ".\r\n"), ("a\r\n", "a\r\n.\r\n"), (".\r\n..a\r\n", "..\r\n...a\r\n.\r\n"), ("x", "x\r\n.\r\n")] {
            assert_eq!(String::from_utf8_lossy(&dot_stuffed(message.as_bytes())), want, "{message:?}");
        }
    }
}
