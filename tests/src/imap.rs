//! IMAP by hand, for tests that look at responses one by one.

use crate::Lines;

/// A plain IMAP session.
#[derive(Debug)]
pub struct Imap {
    lines: Lines,
    tag: u32,
}

impl Imap {
    /// Connects and reads the greeting.
    pub fn connect(port: u16) -> Imap {
        Imap::over(Lines::connect(port))
    }

    /// Reads the greeting of a connection.
    pub fn over(mut lines: Lines) -> Imap {
        let greeting = lines.line().expect("greeting");
        assert!(greeting.starts_with("* OK"), "{greeting}");
        Imap { lines, tag: 0 }
    }

    /// Sends a command without waiting; gives its tag.
    pub fn begin(&mut self, command: &str) -> String {
        self.tag += 1;
        let tag = format!("t{}", self.tag);
        self.lines.write(format!("{tag} {command}\r\n").as_bytes());
        tag
    }

    /// The next response; literals are put in place as they come.
    pub fn response(&mut self) -> String {
        let mut text = String::new();
        loop {
            let line = self.lines.line().expect("a response");
            text.push_str(&line);
            let literal = line.strip_suffix('}').and_then(|l| l.rsplit_once('{')).and_then(|(_, n)| n.parse::<usize>().ok());
            match literal {
                Some(count) => {
                    text.push_str("\r\n");
                    text.push_str(&String::from_utf8_lossy(&self.lines.bytes(count)));
                }
                None => return text,
            }
        }
    }

    /// Reads up to the tagged response: the untagged ones, and the tagged one last.
    pub fn finish(&mut self, tag: &str) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let response = self.response();
            let last = response.starts_with(&format!("{tag} "));
            all.push(response);
            if last {
                return all;
            }
        }
    }

    pub fn command(&mut self, command: &str) -> Vec<String> {
        let tag = self.begin(command);
        self.finish(&tag)
    }

    /// A command that has to be answered with OK; gives the untagged responses.
    pub fn ok(&mut self, command: &str) -> Vec<String> {
        let mut all = self.command(command);
        let last = all.pop().expect("a tagged response");
        assert!(last.split(' ').nth(1) == Some("OK"), "{command:?} was answered with {last:?}");
        all
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.lines.write(bytes);
    }

    /// Appends a message by a synchronising literal.
    pub fn append(&mut self, mailbox: &str, flags: &str, message: &str) {
        let tag = self.begin(&format!("APPEND {mailbox} ({flags}) {{{}}}", message.len()));
        let go = self.response();
        assert!(go.starts_with('+'), "{go}");
        self.write(format!("{message}\r\n").as_bytes());
        let all = self.finish(&tag);
        assert!(all.last().is_some_and(|l| l.contains(" OK ")), "{all:?}");
    }
}
