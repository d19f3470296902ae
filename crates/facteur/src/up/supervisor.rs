//! Watching over the daemons: start, restart, signals, end.

use super::accounts::{self, NewAccount};
use super::sockets::{self, Held};
use super::spawn::{self, LowNumbers, Plan};
use super::{forward, layout};
use crate::commands::DAEMONS;
use anyhow::Context as _;
use config::Config;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::rc::Rc;
use std::time::Duration;
use tokio::net::UnixDatagram;
use tokio::process::Child;
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, timeout};

/// A daemon that died sooner than this after its start is given a moment before the next.
const HASTY: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(300);
/// How long the start of all daemons may take.
const START: Duration = Duration::from_secs(60);
/// The exit code of a daemon whose settings are wrong.
const EX_CONFIG: i32 = 78;

/// The server with its sockets bound and nothing started yet.
#[derive(Debug)]
pub struct Server {
    config: Rc<Config>,
    binaries: PathBuf,
    numbers: Rc<LowNumbers>,
    sockets: Vec<(&'static str, Vec<Held>)>,
    _lock: layout::Lock,
}

/// Binds every socket, so that nothing is started when one of them is taken.
pub async fn start(config: &Config, binaries: &Path) -> anyhow::Result<Server> {
    let lock = layout::lock(config).await?;
    let numbers = LowNumbers::reserve().context("cannot reserve descriptors")?;
    let mut all = Vec::new();
    for daemon in DAEMONS {
        all.push((daemon, sockets::bind(daemon, config).await?));
    }
    let config = Rc::new(config.clone());
    Ok(Server { config, binaries: binaries.to_owned(), numbers: Rc::new(numbers), sockets: all, _lock: lock })
}

enum Event {
    Ready(&'static str),
    /// Its settings are wrong: it will not come up by trying.
    Hopeless(&'static str),
}

impl Server {
    /// Runs the daemons until SIGTERM or Ctrl-C.
    pub async fn serve(self, users: Vec<NewAccount>) -> anyhow::Result<ExitCode> {
        let local = LocalSet::new();
        local.run_until(self.watch(users)).await
    }

    async fn watch(self, users: Vec<NewAccount>) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::install()?;
        let (events, mut heard) = mpsc::unbounded_channel();
        let (orders, order) = watch::channel(Order::Run);
        let mut keepers = Vec::new();
        for (daemon, sockets) in self.sockets {
            let keeper = Keeper {
                daemon,
                sockets,
                config: self.config.clone(),
                binary: self.binaries.join(daemon),
                numbers: self.numbers.clone(),
                events: events.clone(),
                order: order.clone(),
            };
            keepers.push(tokio::task::spawn_local(keeper.keep()));
        }
        let outcome = tokio::select! {
            outcome = timeout(START, get_ready(&mut heard, &self.config, users)) => match outcome {
                Ok(outcome) => outcome,
                Err(_) => Err(anyhow::anyhow!("not all daemons were ready within {START:?}")),
            },
            () = signals.end(&orders) => {
                stop(&orders, keepers).await;
                return Ok(ExitCode::SUCCESS);
            }
        };
        if let Err(error) = outcome {
            stop(&orders, keepers).await;
            return Err(error);
        }
        {
            let mut stdout = io::stdout().lock();
            stdout.write_all(b"ready\n")?;
            stdout.flush()?;
        }
        signals.end(&orders).await;
        stop(&orders, keepers).await;
        Ok(ExitCode::SUCCESS)
    }
}

async fn get_ready(heard: &mut mpsc::UnboundedReceiver<Event>, config: &Config, users: Vec<NewAccount>) -> anyhow::Result<()> {
    let mut waiting: Vec<&str> = DAEMONS.to_vec();
    let mut users = Some(users);
    while !waiting.is_empty() || users.is_some() {
        if !waiting.contains(&"authd")
            && let Some(users) = users.take()
        {
            accounts::make(config, users).await?;
            continue;
        }
        match heard.recv().await {
            Some(Event::Ready(daemon)) => waiting.retain(|d| *d != daemon),
            Some(Event::Hopeless(daemon)) => anyhow::bail!("{daemon} cannot start; its reason stands above"),
            None => anyhow::bail!("all daemons have ended"),
        }
    }
    Ok(())
}

async fn stop(orders: &watch::Sender<Order>, keepers: Vec<tokio::task::JoinHandle<()>>) {
    orders.send_replace(Order::Stop);
    for keeper in keepers {
        // A keeper that panicked has been shown; the kernel ends its daemon with us.
        let _ = keeper.await;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Run,
    /// Pass this signal on. The number makes two in a row different.
    Signal(Signal, u64),
    Stop,
}

struct Signals {
    terminate: SignalStream,
    interrupt: SignalStream,
    hangup: SignalStream,
    reopen: SignalStream,
    count: u64,
}

impl Signals {
    fn install() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
            count: 0,
        })
    }

    /// Waits for the signal to end, and passes others on to the daemons.
    async fn end(&mut self, orders: &watch::Sender<Order>) {
        loop {
            let pass_on = tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => Signal::SIGHUP,
                _ = self.reopen.recv() => Signal::SIGUSR1,
            };
            self.count += 1;
            orders.send_replace(Order::Signal(pass_on, self.count));
        }
    }
}

/// Keeps one daemon running.
struct Keeper {
    daemon: &'static str,
    sockets: Vec<Held>,
    config: Rc<Config>,
    binary: PathBuf,
    numbers: Rc<LowNumbers>,
    events: mpsc::UnboundedSender<Event>,
    order: watch::Receiver<Order>,
}

impl Keeper {
    async fn keep(mut self) {
        let notify = match Notify::bind(&self.config, self.daemon) {
            Ok(notify) => notify,
            Err(error) => return say(self.daemon, &format!("cannot make its readiness socket: {error}")),
        };
        let mut was_ready = false;
        while *self.order.borrow_and_update() != Order::Stop {
            let began = Instant::now();
            let plan = Plan { binary: self.binary.clone(), settings: &self.config.file, sockets: &self.sockets, notify: &notify.path };
            match spawn::start(&plan, &self.numbers) {
                Ok(mut child) => {
                    if let Some(stderr) = child.stderr.take()
                        && let Err(error) = stderr.into_owned_fd().and_then(|fd| forward::forward(self.daemon, fd.into()))
                    {
                        say(self.daemon, &format!("its log cannot be passed on: {error}"));
                    }
                    let Some(status) = self.attend(&mut child, &notify, &mut was_ready).await else { return };
                    say(self.daemon, &format!("ended ({status}); starting it again"));
                    if status.code() == Some(EX_CONFIG) && !was_ready {
                        // Nobody listens any more when the supervisor is ending already.
                        let _ = self.events.send(Event::Hopeless(self.daemon));
                    }
                }
                Err(error) => say(self.daemon, &format!("cannot start {}: {error}", self.binary.display())),
            }
            if began.elapsed() < HASTY {
                sleep(MOMENT).await;
            }
        }
    }

    /// Waits for the daemon's end and passes signals on; `None` when it ended because it was told to.
    async fn attend(&mut self, child: &mut Child, notify: &Notify, was_ready: &mut bool) -> Option<ExitStatus> {
        let mut told = false;
        loop {
            tokio::select! {
                status = child.wait() => match status {
                    Ok(status) => return Some(status),
                    Err(error) => {
                        say(self.daemon, &format!("cannot be waited for: {error}"));
                        return None;
                    }
                },
                () = notify.ready(), if !told => {
                    told = true;
                    if !std::mem::replace(was_ready, true) {
                        // Nobody listens any more once all were ready.
                        let _ = self.events.send(Event::Ready(self.daemon));
                    }
                }
                changed = self.order.changed() => {
                    let order = if changed.is_ok() { *self.order.borrow() } else { Order::Stop };
                    match order {
                        Order::Run => {}
                        Order::Signal(signal, _) => send(child, signal),
                        Order::Stop => {
                            self.end(child).await;
                            return None;
                        }
                    }
                }
            }
        }
    }

    async fn end(&self, child: &mut Child) {
        send(child, Signal::SIGTERM);
        // The daemon cuts its sessions off by itself; this is for one that hangs.
        let longest = self.config.main.shutdown_grace + Duration::from_secs(8);
        if timeout(longest, child.wait()).await.is_err() {
            say(self.daemon, "did not stop in time and is killed");
            send(child, Signal::SIGKILL);
            // It was killed; there is nothing else it could do.
            let _ = child.wait().await;
        }
    }
}

fn send(child: &Child, signal: Signal) {
    if let Some(pid) = child.id() {
        // It may have ended just now.
        let _ = kill(Pid::from_raw(pid as i32), signal);
    }
}

fn say(daemon: &str, text: &str) {
    eprintln!("facteur: {daemon}: {text}");
}

/// Where one daemon tells that it is ready (sd_notify(3)).
struct Notify {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Notify {
    fn bind(config: &Config, daemon: &str) -> io::Result<Notify> {
        let mut path = config.socket(&format!("notify-{daemon}"));
        if path.as_os_str().len() > 107 {
            // The daemons' side cannot reach long paths.
            path = std::env::temp_dir().join(format!("facteur-{}-{daemon}", std::process::id()));
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(Notify { socket: UnixDatagram::bind(&path)?, path })
    }

    /// Returns when the daemon says READY=1. Cancel safe.
    async fn ready(&self) {
        let mut message = [0; 512];
        loop {
            match self.socket.recv(&mut message).await {
                Ok(length) if message[..length].split(|b| *b == b'\n').any(|line| line == b"READY=1") => return,
                Ok(_) => {}
                Err(_) => std::future::pending().await,
            }
        }
    }
}

impl Drop for Notify {
    fn drop(&mut self) {
        // A stale one is replaced at the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}
