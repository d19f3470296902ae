//! `cargo xtask up`: a server to look at, two accounts, and the proof that mail flows between them.

use crate::mail::{Account, Trust, fetch, submit};
use crate::tools;
use anyhow::{Context as _, bail, ensure};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const ALICE: Account<'static> = Account { address: "alice@demo.test", password: "alice-demo" };
const BOB: Account<'static> = Account { address: "bob@demo.test", password: "bob-demo" };
const DELIVERY: Duration = Duration::from_secs(30);

/// Build everything, run it in ./var with two demo accounts, send a message, read it back, and tell how to connect
///
/// Stays in the foreground with the logs of all daemons; Ctrl-C stops it.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Stop after the message was read back
    #[arg(long)]
    check: bool,
    /// Build for release
    #[arg(long)]
    release: bool,
    /// The folder that holds everything [default: ./var]
    #[arg(long)]
    root: Option<PathBuf>,
    /// As in `facteur up`
    #[arg(long, default_value_t = 2000)]
    port_base: u16,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut build = tools::cargo();
    build.arg("build");
    if arguments.release {
        build.arg("--release");
    }
    tools::run(&mut build)?;
    let binaries = tools::target().join(if arguments.release { "release" } else { "debug" });
    let root = arguments.root.clone().unwrap_or_else(|| tools::root().join("var"));
    let mut server = Server::start(&binaries, &root, arguments.port_base)?;
    // A child inherits what is blocked, so these are blocked after it started; and before the first thread, so that only the one that
    // waits for them gets them.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    let pid = server.pid();
    std::thread::spawn(move || {
        while signals.wait().is_ok() {
            // It may have ended already.
            let _ = kill(pid, Signal::SIGTERM);
        }
    });
    let outcome = server.wait_until_ready().and_then(|ready| round_trip(&root, arguments.port_base, ready));
    if outcome.is_err() || arguments.check {
        server.stop()?;
        return outcome;
    }
    tell(&root, arguments.port_base);
    server.wait()
}

struct Server {
    child: Child,
    started: Instant,
}

impl Server {
    fn start(binaries: &Path, root: &Path, port_base: u16) -> anyhow::Result<Server> {
        let mut command = Command::new(binaries.join("facteur"));
        command.arg("up").arg("--root").arg(root).arg("--port-base").arg(port_base.to_string());
        for account in [&ALICE, &BOB] {
            command.arg("--user").arg(format!("{}:{}", account.address, account.password));
        }
        let started = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start facteur up")?;
        Ok(Server { child, started })
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<Duration> {
        let stdout = self.child.stdout.take().context("facteur up has no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(line == "ready\n", "facteur up did not become ready; its reasons stand above");
        Ok(self.started.elapsed())
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        // It may have ended already.
        let _ = kill(self.pid(), Signal::SIGTERM);
        self.wait()
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        let status = self.child.wait()?;
        ensure!(status.success(), "facteur up ended ({status})");
        Ok(())
    }
}

fn round_trip(root: &Path, base: u16, ready: Duration) -> anyhow::Result<()> {
    let trust = Trust::file(&root.join("etc/tls/cert.pem"))?;
    let token = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    let id = format!("<{token}.xtask@demo.test>");
    let text = format!(
        "From: Alice <{}>\r\nTo: Bob <{}>\r\nSubject: Facteur works\r\nMessage-ID: {id}\r\n\r\nHello Bob,\r\n\r\nthis went by submission, queue and LMTP into your mailbox.\r\n",
        ALICE.address, BOB.address
    );
    let sent = Instant::now();
    let answer = submit(base + 587, &trust, &ALICE, BOB.address, &text).context("cannot send a message by submission")?;
    let message = loop {
        if let Some(message) = fetch(base + 993, &trust, &BOB, &id).context("cannot read mail by IMAP")? {
            break message;
        }
        if sent.elapsed() > DELIVERY {
            bail!("the message ({answer}) was not in the mailbox after {DELIVERY:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    ensure!(message.contains("this went by submission, queue and LMTP"), "the message came back without its body:\n{message}");
    println!("ready after {} ms; a message from {} to {}:", ready.as_millis(), ALICE.address, BOB.address);
    println!("  sent by submission: {answer}");
    println!("  read back by IMAP after {} ms", sent.elapsed().as_millis());
    Ok(())
}

fn tell(root: &Path, base: u16) {
    println!("\nHow to connect (host 127.0.0.1; the certificate signs itself: {}):", root.join("etc/tls/cert.pem").display());
    for (what, port, how) in [
        ("SMTP", 525, "as another mail server would; STARTTLS offered"),
        ("submission", 587, "STARTTLS, then login"),
        ("submissions", 465, "TLS, then login"),
        ("IMAP", 143, "STARTTLS, then login"),
        ("IMAPS", 993, "TLS, then login"),
        ("POP3", 110, "STLS, then login"),
        ("POP3S", 995, "TLS, then login"),
    ] {
        println!("  {what:<12} port {:<6} {how}", base + port);
    }
    println!("Logins:");
    for account in [&ALICE, &BOB] {
        println!("  {:<18} password {}", account.address, account.password);
    }
    println!("Everything lies in {}; settings in etc/facteur.toml. Ctrl-C stops it.\n", root.display());
}
