//! SMTP by hand, for tests that look at replies one by one.

use crate::Lines;

/// A plain SMTP session.
#[derive(Debug)]
pub struct Smtp {
    lines: Lines,
}

impl Smtp {
    /// Connects and reads the greeting.
    pub fn connect(port: u16) -> Smtp {
        Smtp::over(Lines::connect(port))
    }

    /// Reads the greeting of a connection.
    pub fn over(lines: Lines) -> Smtp {
        let mut smtp = Smtp { lines };
        let greeting = smtp.reply().expect("greeting");
        assert!(greeting.starts_with("220 "), "{greeting}");
        smtp
    }

    /// A session whose greeting is not there, or is yet to be read.
    pub fn silent(lines: Lines) -> Smtp {
        Smtp { lines }
    }

    pub fn into_lines(self) -> Lines {
        self.lines
    }

    /// The next reply, its lines joined by `\n`; `None` when the server has hung up.
    pub fn reply(&mut self) -> Option<String> {
        let mut text = String::new();
        loop {
            let line = self.lines.line()?;
            let last = line.as_bytes().get(3) != Some(&b'-');
            text.push_str(&line);
            if last {
                return Some(text);
            }
            text.push('\n');
        }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.lines.write(bytes);
    }

    /// Sends a line to a server that may have hung up already.
    pub fn reply_or_end(&mut self, line: &str) -> Option<String> {
        self.lines.try_write(format!("{line}\r\n").as_bytes()).ok()?;
        self.reply()
    }

    /// Sends a line and checks the code of the reply.
    pub fn command(&mut self, line: &str, code: u16) -> String {
        self.write(format!("{line}\r\n").as_bytes());
        let reply = self.reply().unwrap_or_else(|| panic!("the server hung up at {line:?}"));
        assert!(reply.starts_with(&code.to_string()), "{line:?} was answered with {reply:?}");
        reply
    }

    /// Sends one message (`text` with LF line ends) and gives its queue id.
    pub fn send(&mut self, from: &str, to: &[&str], text: &str) -> String {
        self.command(&format!("MAIL FROM:<{from}>"), 250);
        for recipient in to {
            self.command(&format!("RCPT TO:<{recipient}>"), 250);
        }
        self.command("DATA", 354);
        let body: String =
            text.lines().map(|line| if line.starts_with('.') { format!(".{line}\r\n") } else { format!("{line}\r\n") }).collect();
        self.write(body.as_bytes());
        let reply = self.command(".", 250);
        reply.rsplit(' ').next().expect("a queue id").to_owned()
    }
}
