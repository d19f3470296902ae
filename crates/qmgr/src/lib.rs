//! The queue manager: owns the queue, expands and routes, schedules, retries, bounces. `main.rs` is its manual page.
//!
//! One task owns all state ([`manager`]); decisions that can be made without it are apart and pure: which delivery is next
//! ([`schedule`]), when to try again ([`backoff`]), which parts of the journal are known ([`journal`]).

mod backoff;
mod clock;
mod commands;
mod entry;
mod journal;
mod leaving;
mod listener;
mod manager;
mod notify;
mod pickup;
mod prepare;
mod schedule;
mod settings;
mod waiting;

use anyhow::Context as _;
use config::{Config, Endpoint};
use daemon::{Context, SocketOptions};
use dns::Resolver;
use manager::{Carriers, Manager};
use outbound::Outbound;
use routing::Router;
use settings::Settings;
use std::sync::Arc;
use std::time::Duration;
use tables::Remote;

/// Connections to the `queue` socket at the same time; one smtpd, and its predecessor while it ends.
const CONNECTIONS: usize = 8;

/// Runs the program until it is told to stop.
pub async fn run(ctx: Context) -> anyhow::Result<()> {
    let config = ctx.config.get();
    let resolver = dns::Dns::new(&config.dns)?;
    run_with(ctx, Arc::new(resolver)).await
}

/// The same with a resolver of the caller's choice.
pub async fn run_with(ctx: Context, resolver: Arc<dyn Resolver>) -> anyhow::Result<()> {
    let config = ctx.config.get();
    let remote = remote(&config);
    let first = carriers(config.clone(), remote.clone(), resolver.clone()).await?;
    let spool = first.settings.spool.clone();
    let disk = Arc::new(durable::OsDisk);
    let (manager, inputs, handles) =
        Manager::open(disk, first).await.with_context(|| format!("opening the queue in {}", spool.display()))?;
    commands::register(&ctx, spool, handles.events);
    for (name, value) in [
        ("queued", (|c| c.total) as fn(manager::Counts) -> usize),
        ("active", |c| c.active),
        ("deferred", |c| c.deferred),
        ("held", |c| c.held),
    ] {
        let counts = handles.counts.clone();
        ctx.control.fact(name, move || value(*counts.lock()).to_string());
    }
    let grace = config.main.shutdown_grace.saturating_sub(Duration::from_millis(500));
    let stop = ctx.shutdown.clone();
    let managing = ctx.shutdown.spawn(async move { manager.run(inputs, async move { stop.wait().await }, grace).await });
    let listener = ctx.listen(&Endpoint::Unix(ipc::queue::socket(&config.main.run_directory)), &SocketOptions::mode(0o660))?;
    let peer = handles.peer;
    let trusted = Arc::new(listener::Trusted::new(&config.qmgr.queue_trusted_users));
    let shutdown = ctx.shutdown.clone();
    tokio::spawn(daemon::serve(listener, ctx.limits(CONNECTIONS, 0), shutdown.clone(), move |stream, from| {
        let (peer, shutdown, admitted) = (peer.clone(), shutdown.clone(), trusted.admits(&from));
        async move {
            if !admitted {
                return tracing::warn!(peer = %from, "refused at the queue socket: not among queue_trusted_users");
            }
            tokio::select! {
                () = listener::serve(stream, from, peer) => {}
                () = shutdown.wait() => {}
            }
        }
    }));
    ctx.shutdown.spawn(pickup::run(ctx.config.clone(), ctx.shutdown.clone()));
    ctx.check_on_reload({
        let remote = remote.clone();
        move |config| {
            Router::new(config, remote.clone()).map_err(|error| error.to_string())?;
            outbound::Settings::new(config).map_err(|error| error.to_string())?;
            let tables = outbound::Tables::open(config, remote.clone()).map_err(|error| error.to_string())?;
            outbound::Policies::new(&config.outbound, tables.tls_policy).map(drop).map_err(|error| error.to_string())
        }
    });
    let mut changes = ctx.config.clone();
    let watch = async {
        loop {
            changes.changed().await;
            match carriers(changes.get(), remote.clone(), resolver.clone()).await {
                Ok(carriers) => drop(handles.carriers.send(carriers).await),
                Err(error) => tracing::error!(%error, "the new settings cannot be used; the old ones stay"),
            }
        }
    };
    tokio::select! {
        () = ctx.shutdown.wait() => {}
        () = watch => {}
        ended = managing => {
            ended.context("the queue manager has failed")?;
            return Ok(());
        }
    }
    Ok(())
}

async fn carriers(config: Arc<Config>, remote: Arc<dyn Remote>, resolver: Arc<dyn Resolver>) -> anyhow::Result<Carriers> {
    // Tables are opened on the way.
    tokio::task::spawn_blocking(move || {
        let router = Router::new(&config, remote.clone())?;
        let tables = outbound::Tables::open(&config, remote)?;
        let outbound = Outbound::new(outbound::Settings::new(&config)?, tables, resolver)?;
        Ok(Carriers { settings: Arc::new(Settings::new(&config)), router: Arc::new(router), outbound })
    })
    .await?
}

/// Tables that authd answers for.
fn remote(config: &Config) -> Arc<dyn Remote> {
    let client = ipc::lookup::LookupClient::new(config.socket("lookup"));
    tables::remote(move |table, key| {
        let client = client.clone();
        async move { client.get(&table, &key).await.map_err(|error| error.to_string()) }
    })
}
