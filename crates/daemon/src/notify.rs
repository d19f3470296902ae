//! Telling systemd how we are (sd_notify(3)). Without systemd all of this does nothing.

use crate::shutdown::Shutdown;
use sd_notify::NotifyState;
use std::time::Duration;

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(error = %error, "cannot tell the service manager");
    }
}

pub fn ready() {
    send(&[NotifyState::Ready]);
}

pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(_) => send(&[NotifyState::Reloading]),
    }
}

pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// Reports every third of the watchdog's time that the runtime still turns. It ends with the process, so that a stuck drain is
/// ended by systemd too.
pub fn start_watchdog(shutdown: &Shutdown) {
    let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| *limit >= Duration::from_millis(30)) else { return };
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(limit / 3);
        loop {
            tick.tick().await;
            send(&[NotifyState::Watchdog]);
            if shutdown.is_set() && shutdown.running() == 0 {
                return;
            }
        }
    });
}
