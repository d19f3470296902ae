//! From the command line to the program's `run`, and back to the exit code.

use crate::context::Context;
use crate::inherited::Inherited;
use crate::log::Logging;
use crate::program::Program;
use crate::sandbox::{self, Confinement};
use crate::{control, notify, reload};
use clap::Parser;
use config::Config;
use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// sysexits(3): the settings are wrong; starting again would not help.
const EX_CONFIG: u8 = 78;

// How often certificate files are looked at.
const CERTIFICATES_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug, Parser)]
#[command(version, about = "A daemon of the Facteur mail server; usually started by systemd or `facteur up`")]
struct Arguments {
    /// The settings file
    #[arg(long, value_name = "FILE", default_value = "/etc/facteur/facteur.toml", conflicts_with = "root")]
    config: PathBuf,
    /// A folder that holds everything; its settings are in etc/facteur.toml
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

/// The whole life of a daemon. The exit code is 0 after a drain, 78 when the settings are wrong, 1 when the program failed.
pub fn main<R, F, E>(name: &'static str, run: R) -> ExitCode
where
    R: FnOnce(Context) -> F,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    // SAFETY: nothing has been opened and no thread started.
    let (inherited, warnings) = unsafe { Inherited::take() };
    let arguments = Arguments::parse();
    let file = arguments.root.map_or(arguments.config, |root| root.join("etc/facteur.toml"));
    let program = Program::named(name);
    let config = match Config::load(&file) {
        Ok(config) => config,
        Err(report) => return fail(name, EX_CONFIG, &report),
    };
    if let Err(error) = sandbox::restrict_process(program.umask) {
        return fail(name, 1, &format!("cannot give up core dumps and privileges: {error}"));
    }
    raise_descriptor_limit();
    give_large_memory_back();
    let confinement = match config.main.sandbox {
        true => sandbox::confine(&sandbox::writable(name, &config)),
        false => Confinement::None("turned off by the setting `sandbox`".into()),
    };
    // Fails only when one is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let logging = match Logging::start(name, &config.log) {
        Ok(logging) => logging,
        Err(error) => return fail(name, EX_CONFIG, &error),
    };
    log_panics();
    let workers = config.main.worker_threads as usize;
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(workers).thread_name(name).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(name, 1, &format!("cannot start: {error}")),
    };
    let code = runtime.block_on(async {
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        if nix::unistd::geteuid().is_root() {
            tracing::warn!("running as root: what breaks into this program owns the machine; see the units in systemd/");
        }
        let ctx = match Context::new(program, config, inherited) {
            Ok(ctx) => ctx,
            Err(error) => {
                tracing::error!(error = %error, "cannot start");
                return EX_CONFIG;
            }
        };
        ctx.reloader.set_logging(logging.clone());
        let reopening = logging.clone();
        ctx.control.on("log.reopen", move |_| {
            let reopened = reopen(&reopening);
            async move { reopened.map(|()| "") }
        });
        let asked = logging.clone();
        ctx.control.on("log.find", move |_| {
            let place = asked.place();
            async move { Ok(place) }
        });
        let asked = logging.clone();
        ctx.control.on("log.errors", move |_| {
            let recent = asked.recent();
            async move { Ok(recent) }
        });
        let running = run(ctx.clone());
        live(ctx, logging.clone(), confinement, running).await
    });
    // Sessions that outlived the drain end here.
    runtime.shutdown_background();
    logging.flush();
    ExitCode::from(code)
}

async fn live<E: std::fmt::Display + Send + 'static>(
    ctx: Context,
    logging: Logging,
    confinement: Confinement,
    running: impl Future<Output = Result<(), E>> + Send + 'static,
) -> u8 {
    let started = reload::now();
    let signals = match Signals::install() {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!(error = %error, "cannot listen for signals");
            return 1;
        }
    };
    if let Err(error) = control::start(&ctx, started) {
        tracing::error!(error = %error, "cannot open the control socket");
        return 1;
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), sandbox = ?confinement, "started");
    notify::start_watchdog(&ctx.shutdown);
    tokio::spawn(signals.watch(ctx.clone(), logging));
    tokio::spawn(watch_certificates(ctx.clone()));
    // A task: a panic of the program itself becomes an error here.
    let mut running = tokio::spawn(running);
    let outcome = tokio::select! {
        outcome = &mut running => outcome,
        () = overdue(&ctx) => {
            tracing::warn!("the program did not end in time");
            return 0;
        }
    };
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::error!(error = %format!("{error:#}"), "stopped");
            return 1;
        }
        Err(_) => {
            tracing::error!("stopped by a panic");
            return 1;
        }
    }
    ctx.shutdown.set();
    let grace = ctx.config.get().main.shutdown_grace;
    if !ctx.shutdown.drained(grace).await {
        tracing::warn!(sessions = ctx.shutdown.running(), "sessions cut off at the end of shutdown_grace");
    }
    tracing::info!("stopped");
    0
}

// The program has the grace for its sessions, and a little for itself.
async fn overdue(ctx: &Context) {
    ctx.shutdown.wait().await;
    tokio::time::sleep(ctx.config.get().main.shutdown_grace + Duration::from_secs(3)).await;
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    reopen: Signal,
}

impl Signals {
    fn install() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
        })
    }

    async fn watch(mut self, ctx: Context, logging: Logging) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => stop(&ctx, "SIGTERM"),
                _ = self.interrupt.recv() => stop(&ctx, "SIGINT"),
                _ = self.hangup.recv() => {
                    // The reason of a refusal has been logged.
                    let _ = ctx.reloader.reload().await;
                }
                _ = self.reopen.recv() => {
                    // The reason of a failure has been logged.
                    let _ = reopen(&logging);
                }
            }
        }
    }
}

fn reopen(logging: &Logging) -> Result<(), String> {
    match logging.reopen() {
        Ok(()) => {
            tracing::info!("log opened again");
            Ok(())
        }
        Err(error) => {
            tracing::error!(error = %error, "cannot open the log again");
            Err(error.to_string())
        }
    }
}

fn stop(ctx: &Context, signal: &'static str) {
    if !ctx.shutdown.is_set() {
        tracing::info!(signal, "stopping");
        notify::stopping();
        ctx.shutdown.set();
    }
}

async fn watch_certificates(ctx: Context) {
    let mut tick = tokio::time::interval(CERTIFICATES_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while ctx.tls.is_served() {
        tick.tick().await;
        let reloader = ctx.reloader.clone();
        // A panic there has been logged.
        let _ = tokio::task::spawn_blocking(move || reloader.reload_certificates()).await;
    }
}

fn fail(name: &str, code: u8, reason: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("{name}: {reason}");
    ExitCode::from(code)
}

// A panic is a fault of ours: its place and text belong into the log, and its session ends; the others go on.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let text = panic.payload_as_str().unwrap_or("no text");
        let thread = std::thread::current();
        tracing::error!(place, text, thread = thread.name().unwrap_or_default(), "panic");
    }));
}

/// Blocks of a megabyte and more go back to the system when they are freed. Left to itself the allocator raises this bound to 32 MiB, and a
/// burst of Argon2 (19 MiB each) or of large messages stays in the process for good.
fn give_large_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a plain call; no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
    }
}

// Each connection is a descriptor; the soft limit of 1,024 is for programs that use select(2).
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        // Without it the accept loop backs off earlier; nothing else changes.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard.min(1 << 20), hard);
    }
}
