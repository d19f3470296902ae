//! What the commands on mail print: rows as they come, and on a terminal how far they are.

use mail_types::printable;
use serde_json::Value;
use std::io::{IsTerminal as _, Write as _, stderr, stdout};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// A command that ends sooner shows no progress.
const QUIET: Duration = Duration::from_secs(1);

/// Between two lines of progress.
const EVERY: Duration = Duration::from_millis(100);

/// Standard output in rows, as text or as one array of JSON, and progress on standard error where that is a terminal.
pub struct Screen {
    pub json: bool,
    /// Rows of text begin with the account.
    pub many: bool,
    rows: usize,
    failed: bool,
    progress: Option<Progress>,
}

struct Progress {
    begun: Instant,
    shown: Option<Instant>,
    done: usize,
    all: usize,
}

impl Screen {
    pub fn new(json: bool, many: bool) -> Screen {
        Screen { json, many, rows: 0, failed: false, progress: None }
    }

    /// So many accounts are ahead.
    pub fn expect(&mut self, all: usize) {
        let progress = Progress { begun: Instant::now(), shown: None, done: 0, all };
        self.progress = stderr().is_terminal().then_some(progress);
    }

    /// The next account.
    pub fn at(&mut self, name: &str) {
        if let Some(progress) = &mut self.progress {
            progress.done += 1;
        }
        self.doing(name);
    }

    /// What is being done, for whoever waits.
    pub fn doing(&mut self, what: &str) {
        let Some(progress) = &mut self.progress else { return };
        let due = progress.shown.map_or(QUIET <= progress.begun.elapsed(), |shown| EVERY <= shown.elapsed());
        if due {
            progress.shown = Some(Instant::now());
            let count = if progress.all > 1 { format!("{}/{} ", progress.done, progress.all) } else { String::new() };
            let _ = write!(stderr(), "\r\x1b[K{count}{}", printable(what));
        }
    }

    fn clear(&mut self) {
        if let Some(progress) = &mut self.progress
            && progress.shown.is_some()
        {
            progress.shown = Some(Instant::now());
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }

    /// A row: `value` for programs, `text` for people, with the account in front where there may be several.
    pub fn row(&mut self, person: &str, value: Value, text: &str) {
        if self.json {
            return self.json_row(&value);
        }
        let text = printable(text);
        let line = if self.many { format!("{} {text}\n", printable(person)) } else { format!("{text}\n") };
        self.raw(line.as_bytes());
    }

    fn json_row(&mut self, value: &Value) {
        let begin = if self.rows == 0 { "[\n" } else { ",\n" };
        self.rows += 1;
        self.raw(format!("{begin}{value}").as_bytes());
    }

    /// Bytes for standard output, as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.clear();
        // Who closed it wants no more, and ends us by SIGPIPE.
        let _ = stdout().lock().write_all(bytes);
    }

    /// Something went wrong with one account.
    pub fn failed(&mut self, person: &str, error: &anyhow::Error) {
        self.clear();
        self.failed = true;
        eprintln!("facteur: {}: {}", printable(person), printable(&format!("{error:#}")));
    }

    /// A word to a person who looks; a script hears nothing.
    pub fn note(&mut self, text: &str) {
        if stderr().is_terminal() {
            self.clear();
            eprintln!("{}", printable(text));
        }
    }

    /// Ends the rows; the exit code tells whether something failed.
    pub fn end(&mut self) -> anyhow::Result<ExitCode> {
        self.clear();
        if self.json {
            let end = if self.rows == 0 { "[]\n" } else { "\n]\n" };
            stdout().lock().write_all(end.as_bytes())?;
        }
        stdout().lock().flush()?;
        Ok(if self.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}
