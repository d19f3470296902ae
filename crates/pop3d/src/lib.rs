//! POP3 server: wiring and driving of the machine in `pop3-proto`. `main.rs` has the page for administrators.

mod desk;
mod maildrop;
mod server;
mod session;

use anyhow::Context as _;
use daemon::{Context, Service, SocketOptions};
use server::{Server, Terms};

/// Serves until shutdown. The error names what could not be set up.
pub async fn run(ctx: Context) -> anyhow::Result<()> {
    let config = ctx.config.get();
    mailstore::check_settings(&config).map_err(anyhow::Error::msg)?;
    ctx.check_on_reload(mailstore::check_settings);
    let server = Server::new(ctx.clone())?;
    ctx.check_on_reload(|config| Terms::of(config).map(drop));
    let mut service =
        Service::new(&ctx, |config| (config.pop3d.client_limit as usize, config.pop3d.client_connection_count_limit as usize));
    // A refused client of the TLS port could not read a text.
    let refusal = b"-ERR [SYS/TEMP] Too many connections, try again later.\r\n";
    for (setting, endpoints, tls, refusal) in
        [("pop3d.listen", &config.pop3d.listen, false, &refusal[..]), ("pop3d.listen_tls", &config.pop3d.listen_tls, true, b"")]
    {
        let server = server.clone();
        let handler = move |stream, peer| session::serve(server.clone(), stream, peer, tls);
        service.listen(endpoints, &SocketOptions::mode(0o666).refusal(refusal), handler).context(setting)?;
    }
    service.run(|config| server.reload(config)).await?;
    Ok(())
}
