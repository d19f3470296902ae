//! What a program gets to run with.

use crate::control::Control;
use crate::inherited::Inherited;
use crate::limits::Limits;
use crate::listen::{Listener, SocketOptions};
use crate::notify;
use crate::program::Program;
use crate::reload::Reloader;
use crate::sessions::Sessions;
use crate::shutdown::Shutdown;
use crate::tls::{self, ServerTls};
use arc_swap::ArcSwap;
use config::{Config, Endpoint};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;

// After this a socket that came with the process and was not asked for is closed.
const UNCLAIMED_AFTER: Duration = Duration::from_secs(2);

/// Everything a daemon's `run` needs; cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    /// The program's name: `smtpd`, …
    pub name: &'static str,
    /// The settings in force.
    pub config: Reloadable<Config>,
    pub shutdown: Shutdown,
    pub tls: Arc<ServerTls>,
    /// Where the program registers its own commands for `facteur`.
    pub control: Control,
    /// Who is logged in.
    pub sessions: Sessions,
    pub(crate) inherited: Arc<Inherited>,
    pub(crate) reloader: Arc<Reloader>,
    pub(crate) ready: Arc<Ready>,
}

impl Context {
    pub(crate) fn new(program: Program, config: Config, inherited: Inherited) -> Result<Context, tls::Error> {
        let tls = Arc::new(ServerTls::new(program.alpn)?);
        tls.take(tls.prepare(&config)?);
        let config = Reloadable::new(config);
        let inherited = Arc::new(inherited);
        let (control, sessions) = (Control::default(), Sessions::default());
        sessions.answer_on(&control);
        Ok(Context {
            name: program.name,
            shutdown: Shutdown::new(),
            control,
            sessions,
            reloader: Arc::new(Reloader::new(config.clone(), tls.clone())),
            ready: Arc::new(Ready { told: AtomicBool::new(false), inherited: inherited.clone() }),
            config,
            tls,
            inherited,
        })
    }

    /// A context without signals, control socket and service manager: for tests that call `run` themselves.
    pub fn detached(name: &'static str, config: Config) -> Result<Context, tls::Error> {
        Context::new(Program::named(name), config, Inherited::default())
    }

    /// A listening socket at `endpoint`: the one that systemd or `facteur up` holds for it, else a new one. The options' mode,
    /// user and group concern new Unix sockets. The error names the endpoint.
    pub fn listen(&self, endpoint: &Endpoint, options: &SocketOptions) -> io::Result<Listener> {
        match Listener::open(endpoint, options, &self.inherited, &self.ready) {
            Ok(listener) => {
                tracing::debug!(endpoint = %endpoint, inherited = listener.is_inherited(), "listening");
                Ok(listener)
            }
            Err(error) => Err(io::Error::new(error.kind(), format!("cannot listen on {endpoint}: {error}"))),
        }
    }

    /// Limits whose connections `facteur status` counts as this program's sessions.
    pub fn limits(&self, total: usize, per_ip: usize) -> Arc<Limits> {
        let limits = Limits::new(total, per_ip);
        self.control.count(&limits);
        limits
    }

    /// Adds a check of new settings before they are taken, such as reading the tables they name. An error refuses the reload, is
    /// logged and shown by `facteur reload`. It may block on files; the program takes what changed when [`Reloadable::changed`]
    /// returns.
    pub fn check_on_reload(&self, check: impl Fn(&Config) -> Result<(), String> + Send + Sync + 'static) {
        self.reloader.add_check(Box::new(check));
    }

    /// Says that the program serves. The first `accept` on any of its listeners says so too.
    pub fn ready(&self) {
        self.ready.tell();
    }
}

/// A value that can be replaced while the program runs.
#[derive(Debug)]
pub struct Reloadable<T> {
    current: Arc<ArcSwap<T>>,
    generation: watch::Receiver<u64>,
    sender: Arc<watch::Sender<u64>>,
}

impl<T> Clone for Reloadable<T> {
    fn clone(&self) -> Self {
        Reloadable { current: self.current.clone(), generation: self.generation.clone(), sender: self.sender.clone() }
    }
}

impl<T> Reloadable<T> {
    pub fn new(value: T) -> Reloadable<T> {
        let (sender, generation) = watch::channel(0);
        Reloadable { current: Arc::new(ArcSwap::from_pointee(value)), generation, sender: Arc::new(sender) }
    }

    /// The value in force. A few nanoseconds; hold it for one question or one session, not for ever.
    pub fn get(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// Waits for the next change since this handle was made or last waited. Cancel safe.
    pub async fn changed(&mut self) {
        // We hold a sender ourselves, so the channel is never closed.
        let _ = self.generation.changed().await;
    }

    /// Another value from now on; every clone sees it.
    pub fn set(&self, value: T) {
        self.current.store(Arc::new(value));
        self.sender.send_modify(|generation| *generation += 1);
    }
}

/// Readiness, told once.
#[derive(Debug)]
pub(crate) struct Ready {
    told: AtomicBool,
    inherited: Arc<Inherited>,
}

impl Ready {
    pub fn tell(&self) {
        if self.told.load(Ordering::Relaxed) || self.told.swap(true, Ordering::Relaxed) {
            return;
        }
        notify::ready();
        let inherited = self.inherited.clone();
        tokio::spawn(async move {
            tokio::time::sleep(UNCLAIMED_AFTER).await;
            for endpoint in inherited.close_rest() {
                tracing::warn!(endpoint = %endpoint, "a socket was passed to this program that its settings do not mention; it is closed");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_is_seen_by_every_handle_once() {
        let a = Reloadable::new(1);
        let mut b = a.clone();
        a.set(2);
        assert_eq!(*b.get(), 2);
        b.changed().await;
        let again = tokio::time::timeout(Duration::ZERO, b.changed()).await;
        assert!(again.is_err());
    }
}
