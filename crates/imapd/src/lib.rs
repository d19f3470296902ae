//! The IMAP daemon: gives clients their mailboxes. `main.rs` has the manual page.
//!
//! | subject | file |
//! |---|---|
//! | what all sessions share | `server` |
//! | a connection; before login; after login | `connection`, `login`, `session` |
//! | the open mailbox of a session | `selected` |
//! | one file per command | `commands/` |
//! | how FETCH answers are made; how SEARCH finds | `fetch/`, `search/` |
//!
//! The protocol itself is in `imap_proto`, mailboxes are in `mailstore`.

mod answer;
mod capability;
mod commands;
mod connection;
mod fetch;
mod login;
mod names;
mod search;
mod selected;
mod server;
mod session;
mod wire;
mod zone;

use anyhow::Context as _;
use daemon::{Context, SocketOptions};
use server::Server;

/// Serves until shutdown.
pub async fn run(ctx: Context) -> anyhow::Result<()> {
    zone::load();
    let config = ctx.config.get();
    let imapd = &config.imapd;
    let limits = ctx.limits(imapd.client_limit as usize, imapd.client_connection_count_limit as usize);
    let options = SocketOptions::default().refusal(b"* BYE Too many connections, try again later\r\n");
    let mut listeners = Vec::new();
    for (endpoints, implicit_tls) in [(&imapd.listen, false), (&imapd.listen_tls, true)] {
        for endpoint in endpoints {
            if implicit_tls && !ctx.tls.is_available() {
                tracing::warn!(%endpoint, "no certificate is set (tls.cert_file): clients cannot be served here until there is one");
            }
            let listener = ctx.listen(endpoint, &options).with_context(|| format!("listen on {endpoint}"))?;
            listeners.push((listener, implicit_tls));
        }
    }
    anyhow::ensure!(!listeners.is_empty(), "imapd.listen and imapd.listen_tls are both empty: there is nothing to do");
    let server = Server::new(ctx.clone());
    let mut tasks = Vec::new();
    for (listener, implicit_tls) in listeners {
        let server = server.clone();
        let serve = daemon::serve(listener, limits.clone(), ctx.shutdown.clone(), move |stream, peer| {
            connection::serve(server.clone(), stream, peer, implicit_tls)
        });
        tasks.push(tokio::spawn(serve));
    }
    let reloads = tokio::spawn({
        let ctx = ctx.clone();
        async move {
            let mut settings = ctx.config.clone();
            loop {
                settings.changed().await;
                let imapd = &settings.get().imapd;
                limits.set(imapd.client_limit as usize, imapd.client_connection_count_limit as usize);
            }
        }
    });
    ctx.ready();
    for task in tasks {
        task.await?;
    }
    reloads.abort();
    // Sessions say goodbye at once; commands that are being carried out come to their end.
    ctx.shutdown.drained(config.main.shutdown_grace).await;
    Ok(())
}
