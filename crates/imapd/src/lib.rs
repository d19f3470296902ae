//! The IMAP daemon: gives clients their mailboxes. `main.rs` has the manual page.
//!
//! | subject | file |
//! |---|---|
//! | what all sessions share | `server` |
//! | a connection; before login; after login | `connection`, `login` (`referral` where that is elsewhere), `session` |
//! | the open mailbox of a session | `selected` |
//! | whose a mailbox is, and who may do what there; what other users have shared | `place`, `others` |
//! | what a client that was away has missed | `resync` |
//! | what a client wants to hear of unasked; how it is woken | `notify/`, `wake` |
//! | one file per command | `commands/` |
//! | how FETCH answers are made; how SEARCH finds | `fetch/`, `search/` |
//! | what is done while nobody waits | `indexer` |
//!
//! The protocol itself is in `imap_proto`, mailboxes are in `mailstore`.

mod answer;
mod capability;
mod commands;
mod connection;
mod context;
mod deflate;
mod facts;
mod fetch;
mod filter;
mod indexer;
mod lately;
mod login;
mod names;
mod notify;
mod order;
mod others;
mod place;
mod referral;
mod resync;
mod search;
mod selected;
mod server;
mod session;
mod wake;
mod wire;
mod zone;

use anyhow::Context as _;
use daemon::{Context, Service, SocketOptions};
use server::Server;

/// Serves until shutdown.
pub async fn run(ctx: Context) -> anyhow::Result<()> {
    zone::load();
    let config = ctx.config.get();
    let imapd = &config.imapd;
    anyhow::ensure!(
        !imapd.listen.is_empty() || !imapd.listen_tls.is_empty(),
        "imapd.listen and imapd.listen_tls are both empty: there is nothing to do"
    );
    if !imapd.listen_tls.is_empty() && !ctx.tls.is_available() {
        tracing::warn!("no certificate is set (tls.cert_file): clients of imapd.listen_tls cannot be served until there is one");
    }
    mailstore::check_settings(&config).map_err(anyhow::Error::msg)?;
    ctx.check_on_reload(mailstore::check_settings);
    let server = Server::new(ctx.clone());
    let mut service =
        Service::new(&ctx, |config| (config.imapd.client_limit as usize, config.imapd.client_connection_count_limit as usize));
    let options = SocketOptions::default().refusal(b"* BYE Too many connections, try again later\r\n");
    for (setting, endpoints, implicit_tls) in [("imapd.listen", &imapd.listen, false), ("imapd.listen_tls", &imapd.listen_tls, true)] {
        let server = server.clone();
        let handler = move |stream, peer| connection::serve(server.clone(), stream, peer, implicit_tls);
        service.listen(endpoints, &options, handler).context(setting)?;
    }
    service.run(|_| ()).await?;
    // Sessions say goodbye at once; commands that are being carried out come to their end.
    ctx.shutdown.drained(config.main.shutdown_grace).await;
    // who opens these mailboxes next need not read them as a whole
    tokio::task::spawn_blocking(move || server.store.finish()).await.ok();
    Ok(())
}
