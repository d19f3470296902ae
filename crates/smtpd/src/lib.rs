//! SMTP server: wiring and driving of the machine in `smtp-proto`. `main.rs` has the page for administrators.
//!
//! [`server`] is what all sessions share, [`service`] what one listener's settings come to, [`session`] drives one connection,
//! [`desk`] answers the machine's questions, [`intake`] takes a message in and makes it durable.

mod auth;
mod client_name;
mod deadline;
mod desk;
mod greylist;
mod headers;
mod intake;
mod notice;
mod outside;
mod ownership;
mod proxied;
mod proxy_header;
mod rates;
mod screen;
mod server;
mod service;
mod session;
mod settings;
mod wishes;

use anyhow::Context as _;
use daemon::{Context, SocketOptions};
use server::Server;
use std::sync::Arc;

/// Serves until shutdown. The error names what could not be set up.
pub async fn run(mut ctx: Context) -> anyhow::Result<()> {
    let config = ctx.config.get();
    let server = Server::start(&ctx).await?;
    let checking = Arc::clone(&server);
    ctx.check_on_reload(move |config| checking.build(config).map(drop));

    let mut loops = Vec::new();
    for (name, service) in &config.services {
        // A refused client of a TLS port could not read a text.
        let refusal: &[u8] = if service.listener.smtpd_tls_wrappermode { b"" } else { b"421 4.7.0 Error: too many connections\r\n" };
        let options = SocketOptions::mode(0o666).refusal(refusal);
        for endpoint in &service.listener.listen {
            let listener = ctx.listen(endpoint, &options).with_context(|| format!("smtpd.service.{name}"))?;
            let (limits, shutdown) = (server.limits(), ctx.shutdown.clone());
            let (server, name) = (Arc::clone(&server), Arc::<str>::from(name.as_str()));
            let handler = move |stream, peer| session::serve(Arc::clone(&server), Arc::clone(&name), stream, peer);
            loops.push(tokio::spawn(daemon::serve(listener, limits, shutdown, handler)));
        }
    }
    ctx.ready();

    let shutdown = ctx.shutdown.clone();
    loop {
        tokio::select! {
            () = shutdown.wait() => break,
            () = ctx.config.changed() => server.reload(ctx.config.get()).await,
        }
    }
    for accepting in loops {
        accepting.await.context("the accept loop")?;
    }
    let grace = ctx.config.get().main.shutdown_grace;
    if !shutdown.drained(grace).await {
        tracing::warn!(sessions = shutdown.running(), "sessions cut off at the end of shutdown_grace");
    }
    server.close().await;
    Ok(())
}
