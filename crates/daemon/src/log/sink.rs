//! The buffer between those who log and the file, pipe or journal that may be slow.

use parking_lot::{Condvar, Mutex};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

// How long the writer lets lines gather once it was woken: under load a wake-up per line would cost more than the line.
const GATHER: Duration = Duration::from_millis(20);

/// Where lines go. Dropping it writes what waits.
#[derive(Debug)]
pub struct Sink {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
    journal: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    written: Condvar,
    limit_bytes: usize,
}

#[derive(Debug)]
struct State {
    waiting: Vec<u8>,
    dropped: u64,
    target: Arc<Target>,
    // The writer sleeps without a time limit; only then does it have to be woken.
    idle: bool,
    urgent: bool,
    // The writer holds lines that it has not written yet.
    writing: bool,
    end: bool,
}

#[derive(Debug)]
struct Target {
    path: Option<PathBuf>,
    file: Option<File>,
}

impl Target {
    fn open(path: Option<&Path>) -> io::Result<Arc<Target>> {
        let file = match path {
            Some(path) => {
                let open = OpenOptions::new().append(true).create(true).mode(0o640).open(path);
                Some(open.map_err(|e| io::Error::new(e.kind(), format!("log file {}: {e}", path.display())))?)
            }
            None => None,
        };
        Ok(Arc::new(Target { path: path.map(Path::to_owned), file }))
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        match &self.file {
            Some(file) => (&*file).write_all(bytes),
            None => io::stderr().lock().write_all(bytes),
        }
    }
}

impl Sink {
    /// `None` writes to standard error. At most `limit_bytes` wait.
    pub fn start(file: Option<&Path>, limit_bytes: usize) -> io::Result<Sink> {
        let state = State {
            waiting: Vec::with_capacity(8 << 10),
            dropped: 0,
            target: Target::open(file)?,
            idle: false,
            urgent: false,
            writing: false,
            end: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), wake: Condvar::new(), written: Condvar::new(), limit_bytes });
        let theirs = shared.clone();
        let writer = std::thread::Builder::new().name("log".into()).spawn(move || theirs.run())?;
        Ok(Sink { shared, writer: Some(writer), journal: file.is_none() && stderr_is_journal() })
    }

    /// Whether standard error goes to the journal, which adds time and program itself.
    pub fn is_journal(&self) -> bool {
        self.journal
    }

    /// The file that lines go to; none: standard error.
    pub fn file(&self) -> Option<PathBuf> {
        self.shared.state.lock().target.path.clone()
    }

    /// Takes a line. Never waits for the disk.
    pub fn put(&self, line: &[u8], urgent: bool) {
        let mut state = self.shared.state.lock();
        if state.waiting.len() + line.len() > self.shared.limit_bytes {
            state.dropped += 1;
            return;
        }
        state.waiting.extend_from_slice(line);
        let wake = state.idle || (urgent && !state.urgent);
        state.idle = false;
        state.urgent |= urgent;
        drop(state);
        if wake {
            self.shared.wake.notify_one();
        }
    }

    /// Another file from now on; on an error the old one stays.
    pub fn set_file(&self, file: Option<&Path>) -> io::Result<()> {
        let same = self.shared.state.lock().target.path.as_deref() == file;
        if same {
            return Ok(());
        }
        let target = Target::open(file)?;
        self.shared.state.lock().target = target;
        Ok(())
    }

    /// Opens the same file by its name again.
    pub fn reopen(&self) -> io::Result<()> {
        let path = self.shared.state.lock().target.path.clone();
        let target = Target::open(path.as_deref())?;
        self.shared.state.lock().target = target;
        Ok(())
    }

    /// Waits until everything so far is written, a second at most.
    pub fn flush(&self) {
        let deadline = std::time::Instant::now() + Duration::from_secs(1);
        let mut state = self.shared.state.lock();
        state.urgent = true;
        self.shared.wake.notify_one();
        while !state.waiting.is_empty() || state.writing {
            if self.shared.written.wait_until(&mut state, deadline).timed_out() {
                return;
            }
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.state.lock().end = true;
        self.shared.wake.notify_one();
        if let Some(writer) = self.writer.take() {
            // A panic there has been shown on standard error; nothing is left to do.
            let _ = writer.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut taken = Vec::with_capacity(8 << 10);
        loop {
            let mut state = self.state.lock();
            while state.waiting.is_empty() && state.dropped == 0 {
                if state.end {
                    return;
                }
                state.urgent = false;
                state.idle = true;
                self.wake.wait(&mut state);
            }
            state.idle = false;
            if !state.urgent && !state.end {
                self.wake.wait_for(&mut state, GATHER);
            }
            state.urgent = false;
            std::mem::swap(&mut taken, &mut state.waiting);
            let dropped = std::mem::take(&mut state.dropped);
            let target = state.target.clone();
            state.writing = true;
            drop(state);
            if dropped > 0 {
                taken.extend_from_slice(format!("warn log lines dropped because the log was slow count={dropped}\n").as_bytes());
            }
            // A full disk or a closed pipe loses these lines; mail goes on.
            let _ = target.write(&taken);
            taken.clear();
            taken.shrink_to(64 << 10);
            self.state.lock().writing = false;
            self.written.notify_all();
        }
    }
}

// systemd names device and inode of the journal's stream (systemd.exec(5), JOURNAL_STREAM); a redirected stderr is another.
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(found) = std::fs::metadata("/proc/self/fd/2") else { return false };
    stream == format!("{}:{}", found.dev(), found.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_and_a_renamed_file_is_left_on_reopen() {
        let dir = tempfile::tempdir().expect("directory");
        let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
        let sink = Sink::start(Some(&path), 1000).expect("sink");
        sink.put(b"one\n", false);
        sink.flush();
        std::fs::rename(&path, &old).expect("rename");
        sink.put(b"two\n", true);
        sink.flush();
        sink.reopen().expect("reopen");
        sink.put(b"three\n", false);
        drop(sink);
        assert_eq!(std::fs::read_to_string(old).expect("old"), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(path).expect("new"), "three\n");
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("log");
        let sink = Sink::start(Some(&path), 10).expect("sink");
        sink.put(b"longer than ten bytes\n", false);
        sink.put(b"short\n", false);
        drop(sink);
        let text = std::fs::read_to_string(path).expect("log");
        assert!(text.contains("short\n") && text.contains("dropped because the log was slow count=1\n"), "{text}");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named_and_the_old_one_stays() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("log");
        let sink = Sink::start(Some(&path), 1000).expect("sink");
        let error = sink.set_file(Some(&dir.path().join("no/such/log"))).expect_err("no directory");
        assert!(error.to_string().contains("no/such/log"), "{error}");
        sink.put(b"still here\n", false);
        drop(sink);
        assert_eq!(std::fs::read_to_string(path).expect("log"), "still here\n");
    }
}
