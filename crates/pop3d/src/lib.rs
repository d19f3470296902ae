//! POP3 server: wiring and driving of the machine in `pop3-proto`. `main.rs` has the page for administrators.

mod desk;
mod maildrop;
mod server;
mod session;
mod uidl;

use anyhow::Context as _;
use daemon::{Context, SocketOptions};
use server::Server;
use std::sync::Arc;

/// Serves until shutdown. The error names what could not be set up.
pub async fn run(mut ctx: Context) -> anyhow::Result<()> {
    let config = ctx.config.get();
    let server = Server::new(ctx.clone())?;
    let limits = ctx.limits(config.pop3d.client_limit as usize, config.pop3d.client_connection_count_limit as usize);
    ctx.check_on_reload(|config| uidl::Format::parse(&config.pop3d.pop3_uidl_format).map(drop));

    let plain = config.pop3d.listen.iter().map(|endpoint| (endpoint, false));
    let tls = config.pop3d.listen_tls.iter().map(|endpoint| (endpoint, true));
    let mut loops = Vec::new();
    for (endpoint, tls) in plain.chain(tls) {
        // A refused client of the TLS port could not read a text.
        let refusal: &[u8] = if tls { b"" } else { b"-ERR [SYS/TEMP] Too many connections, try again later.\r\n" };
        let listener = ctx.listen(endpoint, &SocketOptions::mode(0o666).refusal(refusal)).context("pop3d.listen")?;
        let server = server.clone();
        let handler = move |stream, peer| session::serve(Arc::clone(&server), stream, peer, tls);
        loops.push(tokio::spawn(daemon::serve(listener, limits.clone(), ctx.shutdown.clone(), handler)));
    }
    ctx.ready();

    let shutdown = ctx.shutdown.clone();
    loop {
        tokio::select! {
            () = shutdown.wait() => break,
            () = ctx.config.changed() => {
                let config = ctx.config.get();
                limits.set(config.pop3d.client_limit as usize, config.pop3d.client_connection_count_limit as usize);
                server.reload(&config);
            }
        }
    }
    for accepting in loops {
        accepting.await.context("the accept loop")?;
    }
    Ok(())
}
