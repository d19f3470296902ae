//! The mail delivery agent: an LMTP server in front of `mailstore`. `main.rs` has the page for administrators.
//!
//! `session` drives the protocol machine, `desk` knows recipients, `message` collects a message and files it, `reply` says how it went, `warning` tells owners of accounts that get full.

mod desk;
mod message;
mod reply;
mod server;
mod session;
mod warning;

use anyhow::Context as _;
use config::Endpoint;
use daemon::{Context, Service, SocketOptions};
use server::Server;

/// Serves until shutdown. The error names what could not be set up.
pub async fn run(ctx: Context) -> anyhow::Result<()> {
    let config = ctx.config.get();
    mailstore::check_settings(&config).map_err(anyhow::Error::msg)?;
    ctx.check_on_reload(mailstore::check_settings);
    let server = Server::new(ctx.clone())?;
    let mut service = Service::new(&ctx, |config| (config.deliver.client_limit as usize, 0));
    let facts = server.clone();
    ctx.control.fact("delivered", move || facts.delivered().to_string());
    let facts = server.clone();
    ctx.control.fact("not delivered", move || facts.failed().to_string());

    let mut endpoints = config.deliver.listen.clone();
    if endpoints.is_empty() {
        endpoints.push(Endpoint::Unix(config.socket("lmtp")));
    }
    let name = |text: &String| (!text.is_empty()).then(|| text.clone());
    let options = SocketOptions {
        mode: config.deliver.lmtp_socket_mode.0,
        user: name(&config.deliver.lmtp_socket_user),
        group: name(&config.deliver.lmtp_socket_group),
        ..SocketOptions::default()
    }
    .refusal(b"421 4.3.2 Too many connections, try again later\r\n");
    let sessions = server.clone();
    let handler = move |stream, peer| session::serve(sessions.clone(), stream, peer);
    service.listen(&endpoints, &options, handler).context("deliver.listen")?;
    service.run(|config| server.reload(config)).await?;
    Ok(())
}
