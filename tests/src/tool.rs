//! Clients and peers: found by name, run with a time limit, reported when they are missing.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A program that is installed.
#[derive(Debug, Clone)]
pub struct Tool {
    path: PathBuf,
}

/// Looks for a client or peer. When it is not installed, the test is noted as skipped and gets `None`; with
/// `FACTEUR_REQUIRE_PEERS` set, it fails.
pub fn tool(name: &str, test: &str) -> Option<Tool> {
    let folders = std::env::var("PATH").unwrap_or_default();
    let found =
        folders.split(':').chain(["/usr/sbin", "/sbin", "/usr/lib/postfix/sbin"]).map(|f| Path::new(f).join(name)).find(|p| p.is_file());
    if let Some(path) = found {
        return Some(Tool { path });
    }
    skipped(name, test);
    None
}

/// Notes a test as skipped for want of `name`; a failure when `FACTEUR_REQUIRE_PEERS` is set.
pub fn skipped(name: &str, test: &str) {
    assert!(std::env::var_os("FACTEUR_REQUIRE_PEERS").is_none(), "{name} is not there");
    let exe = std::env::current_exe().expect("own path");
    let list = exe.ancestors().nth(3).unwrap_or(Path::new("/tmp")).join("e2e-skipped.txt");
    let note = std::fs::File::options().create(true).append(true).open(&list);
    let _ = note.and_then(|mut f| writeln!(f, "{name}: {test}"));
    eprintln!("SKIPPED {name}: {test}");
}

/// Notes a test as skipped for want of a library that no package of Debian has: nobody has to have it.
pub fn absent(library: &str, test: &str) {
    eprintln!("SKIPPED {library}: {test}");
}

/// A script in `tests/clients`.
pub fn client(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}

impl Tool {
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn command(&self) -> Command {
        Command::new(&self.path)
    }

    /// Runs it with these arguments for a minute and a half at most.
    pub fn run<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        run(self.command().args(args), "")
    }

    /// Runs it with a text as its standard input.
    pub fn run_with_input<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>, input: &str) -> Output {
        run(self.command().args(args), input)
    }

    /// Runs it; it has to succeed. Gives its standard output.
    pub fn ok<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let output = self.run(args);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}: {}\n{out}\n{err}", self.path.display(), output.status);
        out.into_owned()
    }
}

/// Runs a command to its end, for a minute and a half at most.
pub fn run(command: &mut Command, input: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    let (done, watch) = std::sync::mpsc::channel::<()>();
    let guard = std::thread::spawn(move || {
        if watch.recv_timeout(Duration::from_secs(90)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    });
    let output = child.wait_with_output().expect("output");
    drop(done);
    let _ = guard.join();
    let _ = writer.join();
    output
}

/// A peer that runs in the background until dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
}

impl Daemon {
    pub fn start(command: &mut Command) -> Daemon {
        Daemon { child: command.stdin(Stdio::null()).spawn().expect("the peer starts") }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.child.try_wait().ok().flatten().is_none() {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
