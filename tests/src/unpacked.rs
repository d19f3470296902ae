//! Peers whose packages exclude each other: they are unpacked beside the build (`unpack` in tests/peers.txt), and each runs in
//! namespaces where it looks installed.

use crate::tool::{client, skipped};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A program of an unpacked package with files of its own; ended with everything it started when dropped.
#[derive(Debug)]
pub struct Unpacked {
    package: PathBuf,
    folder: tempfile::TempDir,
    running: Option<Child>,
}

impl Unpacked {
    /// `None`, noted as skipped, when the package is not there or cannot be used. `users` get an account and a group each, from uid 5200 on.
    pub fn find(package: &str, users: &[&str], test: &str) -> Option<Unpacked> {
        let exe = std::env::current_exe().expect("own path");
        let unpacked = exe.ancestors().nth(3).expect("the target folder").join("peers").join(package);
        if !unpacked.is_dir() {
            skipped(package, test);
            return None;
        }
        let folder = tempfile::Builder::new().prefix("facteur-peer-").tempdir().expect("temporary folder");
        crate::open_to_all(folder.path());
        for name in ["etc", "run", "var/lib", "var/spool", "var/cache", "mail"] {
            std::fs::create_dir_all(folder.path().join(name)).expect("folder");
        }
        let mut passwd = std::fs::read_to_string("/etc/passwd").expect("passwd");
        let mut group = std::fs::read_to_string("/etc/group").expect("group");
        for (n, user) in users.iter().enumerate() {
            let id = 5200 + n;
            // A machine that has the user already keeps it: the first line of a name counts.
            passwd = format!("{user}:x:{id}:{id}::/nonexistent:/bin/sh\n{passwd}");
            group = format!("{user}:x:{id}:\n{group}");
        }
        let peer = Unpacked { package: unpacked, folder, running: None };
        peer.file("etc/passwd", &passwd);
        peer.file("etc/group", &group);
        let possible = peer.command("true").output();
        if !possible.is_ok_and(|output| output.status.success()) {
            skipped(&format!("{package} in namespaces, as root"), test);
            return None;
        }
        Some(peer)
    }

    /// Where its files are: `etc`, `run`, `var/lib`, `var/spool` and `var/cache` are what it sees under these names, the rest is at this path.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the package lies.
    pub fn package(&self) -> &Path {
        &self.package
    }

    pub fn file(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
        std::fs::write(path, text).expect("file");
    }

    /// A folder that the `n`th user owns.
    pub fn folder_of(&self, n: u32, name: &str) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(&path).expect("folder");
        nix::unistd::chown(&path, Some((5200 + n).into()), Some((5200 + n).into())).expect("chown");
    }

    /// A command in namespaces of its own, to which arguments can be added.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]).arg(client("unpacked.sh"));
        command.arg(&self.package).arg(self.folder.path()).arg(program);
        command
    }

    /// Starts it in the background, its output in `output`, and waits until it listens on a port of 127.0.0.1.
    pub fn start(&mut self, program: &str, args: &[&str], port: u16) {
        let output = std::fs::File::create(self.folder.path().join("output")).expect("output");
        let mut command = self.command(program);
        command.args(args).stdin(Stdio::null()).stdout(output.try_clone().expect("output")).stderr(output);
        self.running = Some(command.spawn().expect("unshare starts"));
        let listening = || std::net::TcpStream::connect(("127.0.0.1", port)).ok();
        crate::eventually(&format!("{program} to listen"), listening, || self.log());
    }

    /// The messages in the Maildir `mail/NAME`, in order.
    pub fn mail(&self, name: &str) -> Vec<String> {
        let folder = self.folder.path().join("mail").join(name).join("new");
        let mut files: Vec<_> = std::fs::read_dir(folder).into_iter().flatten().map(|e| e.expect("entry").path()).collect();
        files.sort();
        files.iter().map(|f| String::from_utf8_lossy(&std::fs::read(f).unwrap_or_default()).into_owned()).collect()
    }

    /// Waits until there are so many, and gives them.
    pub fn wait_for_mail(&self, name: &str, count: usize) -> Vec<String> {
        crate::eventually(&format!("{count} messages for {name}"), || (self.mail(name).len() >= count).then_some(()), || self.log());
        let mail = self.mail(name);
        assert_eq!(mail.len(), count, "messages for {name}");
        mail
    }

    /// What it has printed, and the files in `log`.
    pub fn log(&self) -> String {
        let logs = std::fs::read_dir(self.folder.path().join("log")).into_iter().flatten().map(|e| e.expect("entry").path());
        let files = std::iter::once(self.folder.path().join("output")).chain(logs);
        files.map(|file| String::from_utf8_lossy(&std::fs::read(file).unwrap_or_default()).into_owned()).collect()
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        if let Some(mut unshare) = self.running.take() {
            // The program is the init of its namespace: with it ends whatever it has started. It would not die with unshare, having
            // been set-user-ID (prctl(2), PR_SET_PDEATHSIG).
            for pid in crate::children(unshare.id() as i32) {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
            }
            let _ = unshare.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- log of the peer {}\n{}", self.package.display(), self.log());
        }
    }
}
