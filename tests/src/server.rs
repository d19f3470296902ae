//! A whole server, started and stopped by the test.

use crate::ports::PortBase;
use crate::{Imap, Smtp};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// The password of every account that the tests make.
pub const PASSWORD: &str = "secret";

/// How a server is to be started.
#[derive(Debug, Default)]
pub struct ServerBuilder {
    users: Vec<String>,
    settings: String,
    files: Vec<(String, String)>,
}

impl ServerBuilder {
    /// An account; its password is `PASSWORD`.
    pub fn user(mut self, address: &str) -> Self {
        self.users.push(address.to_owned());
        self
    }

    /// Settings in TOML, read after those that `facteur up` writes (as `conf.d/50-test.toml`).
    pub fn settings(mut self, toml: &str) -> Self {
        self.settings.push_str(toml);
        self
    }

    /// A file below `etc/`, such as a table.
    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    pub fn start(self) -> Server {
        let folder = tempfile::Builder::new().prefix("facteur-e2e-").tempdir().expect("temporary folder");
        let root = folder.path().to_owned();
        self.start_in(root, Some(folder))
    }

    /// Starts it in a folder that the test looks after itself.
    pub fn start_at(self, root: &Path) -> Server {
        self.start_in(root.to_owned(), None)
    }

    fn start_in(self, root: PathBuf, folder: Option<tempfile::TempDir>) -> Server {
        let ports = PortBase::take();
        let etc = root.join("etc");
        std::fs::create_dir_all(etc.join("conf.d")).expect("etc folder");
        let settings = self.settings.replace("$BASE", &ports.base().to_string());
        std::fs::write(etc.join("conf.d/50-test.toml"), settings).expect("test settings");
        for (name, text) in &self.files {
            std::fs::write(etc.join(name), text).expect("test file");
        }
        let mut server = Server { root, folder, ports, users: self.users, up: None };
        server.up();
        server
    }
}

/// A running server. Dropped: stopped, and its folder removed; after a failed test the folder stays and is named.
#[derive(Debug)]
pub struct Server {
    root: PathBuf,
    folder: Option<tempfile::TempDir>,
    ports: PortBase,
    users: Vec<String>,
    up: Option<Up>,
}

#[derive(Debug)]
struct Up {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Server {
    /// A server with the accounts alice@example.test and bob@example.test.
    pub fn start() -> Server {
        Server::builder().start()
    }

    pub fn builder() -> ServerBuilder {
        ServerBuilder::default().user("alice@example.test").user("bob@example.test")
    }

    /// Starts `facteur up` and waits for its `ready`.
    pub fn up(&mut self) {
        assert!(self.up.is_none(), "the server runs already");
        let mut command = Command::new(binary("facteur"));
        command.arg("up").arg("--root").arg(self.root()).arg("--port-base").arg(self.ports.base().to_string());
        for user in &self.users {
            command.arg("--user").arg(format!("{user}:{PASSWORD}"));
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("facteur starts");
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().expect("piped");
        let copy = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                copy.lock().expect("log").push_str(&format!("{line}\n"));
            }
        });
        let stdout = child.stdout.take().expect("piped");
        let (sender, ready) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        self.up = Some(Up { child, log });
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            match ready.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line == "ready" => break,
                Ok(_) => {}
                Err(_) => panic!("the server did not become ready:\n{}", self.log()),
            }
        }
    }

    /// Stops it as Ctrl-C does and waits until it is gone.
    pub fn stop(&mut self) {
        if let Some(mut up) = self.up.take() {
            let pid = nix::unistd::Pid::from_raw(up.child.id() as i32);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
            let deadline = Instant::now() + Duration::from_secs(30);
            while up.child.try_wait().expect("wait").is_none() {
                if Instant::now() > deadline {
                    let _ = up.child.kill();
                    let _ = up.child.wait();
                    panic!("the server did not stop within 30 s:\n{}", up.log.lock().expect("log"));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// Kills `facteur up` and every daemon at once, as a power cut does.
    pub fn kill(&mut self) {
        let Some(mut up) = self.up.take() else { return };
        let daemons: Vec<i32> = crate::children(up.child.id() as i32);
        for pid in std::iter::once(up.child.id() as i32).chain(daemons.iter().copied()) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
        let _ = up.child.wait();
        eventually("the daemons to be gone", || daemons.iter().all(|pid| !is_alive(*pid)).then_some(()), String::new);
    }

    /// The process ids of the daemons.
    pub fn daemons(&self) -> Vec<i32> {
        self.up.as_ref().map(|up| crate::children(up.child.id() as i32)).unwrap_or_default()
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn ports(&self) -> &PortBase {
        &self.ports
    }

    pub fn smtp_port(&self) -> u16 {
        self.ports.base() + 525
    }
    pub fn submission_port(&self) -> u16 {
        self.ports.base() + 587
    }
    pub fn submissions_port(&self) -> u16 {
        self.ports.base() + 465
    }
    pub fn imap_port(&self) -> u16 {
        self.ports.base() + 143
    }
    pub fn imaps_port(&self) -> u16 {
        self.ports.base() + 993
    }
    pub fn pop3_port(&self) -> u16 {
        self.ports.base() + 110
    }
    pub fn pop3s_port(&self) -> u16 {
        self.ports.base() + 995
    }

    /// Everything the daemons have logged so far.
    pub fn log(&self) -> String {
        self.up.as_ref().map(|up| up.log.lock().expect("log").clone()).unwrap_or_default()
    }

    /// Runs `facteur --root DIR ARGS`.
    pub fn facteur(&self, args: &[&str]) -> Output {
        Command::new(binary("facteur")).arg("--root").arg(self.root()).args(args).stdin(Stdio::null()).output().expect("facteur runs")
    }

    /// The standard output of `facteur --root DIR ARGS`, which has to succeed.
    pub fn facteur_ok(&self, args: &[&str]) -> String {
        let output = self.facteur(args);
        assert!(output.status.success(), "facteur {args:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// The same with a text as its standard input.
    pub fn facteur_with_input(&self, args: &[&str], input: &str) {
        let output = crate::run(Command::new(binary("facteur")).arg("--root").arg(self.root()).args(args), input);
        assert!(output.status.success(), "facteur {args:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }

    /// The process id of a daemon, by `facteur status`.
    pub fn pid(&self, daemon: &str) -> Option<i32> {
        let output = self.facteur(&["--json", "status"]);
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        let list = status.as_array()?;
        let entry = list.iter().find(|e| e["name"] == daemon || e["daemon"] == daemon)?;
        entry["pid"].as_i64().map(|pid| pid as i32)
    }

    /// The Maildir of an account.
    pub fn maildir(&self, address: &str) -> PathBuf {
        let (name, domain) = address.split_once('@').expect("an address");
        self.root().join("mail").join(domain).join(name).join("Maildir")
    }

    /// The messages in INBOX, as they lie on disk, in order of delivery.
    pub fn inbox(&self, address: &str) -> Vec<String> {
        let mut files: Vec<PathBuf> = Vec::new();
        for folder in ["new", "cur"] {
            if let Ok(entries) = std::fs::read_dir(self.maildir(address).join(folder)) {
                files.extend(entries.map(|e| e.expect("entry").path()));
            }
        }
        files.sort_by_key(|path| path.file_name().map(|n| n.to_owned()));
        files.iter().filter_map(|path| std::fs::read(path).ok()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect()
    }

    /// Waits until INBOX holds `count` messages and gives them; more than that is a failure.
    pub fn wait_for_mail(&self, address: &str, count: usize) -> Vec<String> {
        eventually(&format!("{count} messages for {address}"), || (self.inbox(address).len() >= count).then_some(()), || self.log());
        let inbox = self.inbox(address);
        assert_eq!(inbox.len(), count, "messages for {address}");
        inbox
    }

    /// An SMTP session on port 25 (of this server), after EHLO.
    pub fn smtp(&self) -> Smtp {
        let mut smtp = Smtp::connect(self.smtp_port());
        smtp.command("EHLO client.test", 250);
        smtp
    }

    /// Sends one message to port 25 and gives its queue id.
    pub fn send(&self, from: &str, to: &[&str], text: &str) -> String {
        self.smtp().send(from, to, text)
    }

    /// A logged-in IMAP session.
    pub fn imap(&self, user: &str) -> Imap {
        let mut imap = Imap::connect(self.imap_port());
        imap.ok(&format!("LOGIN {user} {PASSWORD}"));
        imap
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the server in {}\n{}", self.root().display(), self.log());
            if let Some(mut up) = self.up.take() {
                let pid = nix::unistd::Pid::from_raw(up.child.id() as i32);
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
                let _ = up.child.wait();
            }
            if let Some(folder) = self.folder.take() {
                let _ = folder.keep();
            }
        } else {
            self.stop();
        }
    }
}

/// Whether a process is there and no zombie.
fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// The processes that `parent` has started.
pub fn children(parent: i32) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").expect("/proc");
    let pids = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let is_child = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<i32>().ok()) == Some(parent)
    };
    pids.filter(is_child).collect()
}

/// Asks `look` again and again until it gives something, for a minute at most.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>, context: impl Fn() -> String) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited a minute for {what}\n{}", context());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A program of Facteur, beside the test in the build folder.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("own path");
    let folder = test.parent().and_then(Path::parent).expect("target/debug");
    let path = folder.join(name);
    assert!(path.exists(), "{} is not built: run `cargo build --workspace` first, or `cargo xtask test`", path.display());
    path
}
