//! The user database: the server's side of Dovecot's auth master protocol ([`ipc::userdb`]).

use crate::state::State;
use arc_swap::ArcSwap;
use ipc::Input;
use ipc::userdb::LINE_LIMIT_BYTES;
use ipc::userdb::server::{self, ClientLine};
use mail_types::printable;
use std::sync::Arc;

/// Answers are written whenever so much has come together.
const WRITE_AT_BYTES: usize = 64 << 10;

pub(super) async fn serve(mut stream: daemon::Stream, state: &Arc<ArcSwap<State>>) -> anyhow::Result<()> {
    let mut out = server::greeting();
    let mut input = Input::default();
    let mut greeted = false;
    loop {
        while let Some(line) = input.line(LINE_LIMIT_BYTES).map_err(anyhow::Error::msg)? {
            let line = server::parse(line).map_err(anyhow::Error::msg)?;
            match (&line, greeted) {
                (ClientLine::Version { major: 1 }, false) => greeted = true,
                (ClientLine::Version { .. }, _) => anyhow::bail!("the client speaks another version of the protocol"),
                (_, false) => anyhow::bail!("the client does not say its version first"),
                _ => answer(line, &state.load_full(), &mut out, &mut stream).await?,
            }
            if out.len() >= WRITE_AT_BYTES {
                super::write(&mut stream, &out).await?;
                out.clear();
            }
        }
        if !out.is_empty() {
            super::write(&mut stream, &out).await?;
            out.clear();
        }
        if input.fill(&mut stream).await? == 0 {
            return Ok(());
        }
    }
}

async fn answer(line: ClientLine, state: &State, out: &mut Vec<u8>, stream: &mut daemon::Stream) -> anyhow::Result<()> {
    let directory = &state.desk.directory;
    match line {
        ClientLine::User { id, name, service } => match directory.user(&name).await {
            Ok(Some(found)) => out.extend(server::user(id, &found.name, &found.fields)),
            Ok(None) => out.extend(server::not_found(id)),
            Err(error) => out.extend(failed(id, &name, &service, &error)),
        },
        ClientLine::Pass { id, name, service } => {
            let known = match directory.names.normal(&name) {
                Some(user) => directory.known(&user).await,
                None => Ok(None),
            };
            match known {
                // Who may ask here may know that there is a password, but no one needs it.
                Ok(Some(user)) => out.extend(server::pass(id, &user, &[])),
                Ok(None) => out.extend(server::not_found(id)),
                Err(error) => out.extend(failed(id, &name, &service, &error)),
            }
        }
        ClientLine::List { id } => match directory.list().await {
            Ok(names) => {
                for name in names {
                    out.extend(server::listed(id, &name));
                    if out.len() >= WRITE_AT_BYTES {
                        super::write(stream, out).await?;
                        out.clear();
                    }
                }
                out.extend(server::done(id, true));
            }
            Err(error) => {
                tracing::error!(error = %format!("{error:#}"), "users cannot be listed");
                out.extend(server::done(id, false));
            }
        },
        ClientLine::Unknown { id: Some(id) } => out.extend(server::fail(id, "no such command")),
        ClientLine::Unknown { id: None } | ClientLine::Version { .. } => {}
    }
    Ok(())
}

fn failed(id: u32, name: &str, service: &str, error: &anyhow::Error) -> Vec<u8> {
    tracing::error!(user = %printable(name), service = %printable(service), error = %format!("{error:#}"), "user lookup failed");
    server::fail(id, "Internal error occurred")
}
