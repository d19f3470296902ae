//! What was said in a session, for people: the beginning and the end of a long one, the beginning of a long line.

use mail_types::printable;
use std::collections::VecDeque;

/// Lines kept of the beginning of a session, and as many of its end.
const LINES: usize = 40;
const LINE_CHARS: usize = 200;

/// Lines that were heard and said. Callers leave out messages and secrets.
#[derive(Debug, Clone, Default)]
pub struct Transcript {
    first: Vec<String>,
    last: VecDeque<String>,
    omitted: usize,
}

impl Transcript {
    /// A line from the other side.
    pub fn heard(&mut self, line: &str) {
        self.line("In: ", line);
    }

    /// A line of ours.
    pub fn said(&mut self, line: &str) {
        self.line("Out:", line);
    }

    fn line(&mut self, who: &str, text: &str) {
        let shown: String = printable(text).chars().take(LINE_CHARS).collect();
        let line = format!(" {who} {shown}");
        if self.first.len() < LINES {
            return self.first.push(line);
        }
        if self.last.len() == LINES {
            self.last.pop_front();
            self.omitted += 1;
        }
        self.last.push_back(line);
    }

    /// All of it, a line each, with CRLF.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let omitted = (self.omitted > 0).then(|| format!(" ({} lines are left out)", self.omitted));
        for line in self.first.iter().chain(&omitted).chain(&self.last) {
            text.push_str(line);
            text.push_str("\r\n");
        }
        text
    }
}
