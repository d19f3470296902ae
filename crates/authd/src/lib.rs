//! `authd`: passwords, the user database, and tables that live in databases. See `main.rs` for the manual.

mod accounts;
mod chain;
mod directory;
mod dovecot_file;
mod exchange;
#[cfg(feature = "ldap")]
mod ldap;
#[cfg(not(feature = "ldap"))]
#[path = "ldap_absent.rs"]
mod ldap;
mod login;
mod memory;
mod names;
mod passwd_file;
mod penalty;
mod pool;
mod salts;
mod serve;
mod sql;
mod state;
mod tables;
mod tokens;
mod verified;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use state::State;
use std::sync::Arc;

/// Serves until shutdown.
pub async fn run(ctx: daemon::Context) -> anyhow::Result<()> {
    let config = ctx.config.get();
    let state = Arc::new(ArcSwap::from_pointee(State::open(&config, None).await?));
    for socket in serve::sockets(&config) {
        let path = socket.path.display().to_string();
        serve::open(&ctx, socket, &state).with_context(|| format!("socket {path}"))?;
    }
    ctx.check_on_reload(|config| state::check(config).map_err(|error| format!("{error:#}")));
    let shown = state.clone();
    ctx.control.fact("passwords hashed", move || {
        let (taken, waiting) = shown.load().desk.hashing();
        format!("{taken}, {waiting} waiting")
    });
    ctx.ready();

    let mut settings = ctx.config.clone();
    loop {
        tokio::select! {
            () = ctx.shutdown.wait() => break,
            () = settings.changed() => {
                let config = settings.get();
                match State::open(&config, Some(&state.load_full())).await {
                    Ok(new) => state.store(Arc::new(new)),
                    Err(error) => tracing::error!(error = %format!("{error:#}"), "the new settings cannot be taken; the old ones stay in force"),
                }
            }
        }
    }
    ctx.shutdown.drained(config.main.shutdown_grace).await;
    state.load_full().accounts.close().await;
    Ok(())
}
