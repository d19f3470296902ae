//! The sockets: who may connect, and which conversation is held.

mod accounts;
mod client;
mod lookup;
mod usage;
mod userdb;

#[cfg(test)]
mod tests;

use crate::state::State;
use arc_swap::ArcSwap;
use config::{AuthSocket, Config, Endpoint, SocketKind};
use daemon::{Context, Peer, SocketOptions, Stream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long a partner may take to read what we write.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// A socket as it is to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    pub path: PathBuf,
    pub kind: SocketKind,
    pub options: SocketOptions,
    group: String,
}

/// The sockets of the settings, and at its usual place each conversation that they do not mention.
pub fn sockets(config: &Config) -> Vec<Socket> {
    let named = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let socket = |listener: &AuthSocket| Socket {
        path: config.main.run_directory.join(&listener.path),
        kind: listener.kind,
        options: SocketOptions {
            mode: listener.mode.0,
            user: named(&listener.user),
            group: named(&listener.group),
            ..SocketOptions::default()
        },
        group: listener.group.clone(),
    };
    let mut sockets: Vec<Socket> = config.authd.unix_listener.iter().map(socket).collect();
    let usual = [
        (SocketKind::Client, "auth"),
        (SocketKind::Userdb, "userdb"),
        (SocketKind::Lookup, "lookup"),
        (SocketKind::Accounts, "accounts"),
        (SocketKind::Usage, "usage"),
    ];
    for (kind, name) in usual {
        if !config.authd.unix_listener.iter().any(|listener| listener.kind == kind) {
            sockets.push(socket(&AuthSocket { path: name.to_owned(), kind, ..AuthSocket::default() }));
        }
    }
    sockets
}

/// Opens a socket and serves it until shutdown, in tasks of their own.
pub fn open(ctx: &Context, socket: Socket, state: &Arc<ArcSwap<State>>) -> std::io::Result<()> {
    let config = ctx.config.get();
    let listener = ctx.listen(&Endpoint::Unix(socket.path.clone()), &socket.options)?;
    let limits = ctx.limits(config.authd.client_limit as usize, 0);
    let peers = Arc::new(Peers::of(&socket, &config));
    let (state, kind, shutdown) = (state.clone(), socket.kind, ctx.shutdown.clone());
    let handler = move |stream: Stream, peer: Peer| {
        let (state, peers, shutdown) = (state.clone(), peers.clone(), shutdown.clone());
        async move {
            if !peers.may_connect(kind, &peer) {
                tracing::warn!(socket = kind.as_str(), peer = %peer, "a program that may not connect was refused");
                return;
            }
            let ended = async {
                match kind {
                    SocketKind::Client => client::serve(stream, &state).await,
                    SocketKind::Userdb => userdb::serve(stream, &state).await,
                    SocketKind::Lookup => lookup::serve(stream, &state).await,
                    SocketKind::Accounts => accounts::serve(stream, &peer, &state).await,
                    SocketKind::Usage => usage::serve(stream, &state).await,
                }
            };
            tokio::select! {
                // What was asked in the last moment has no answer; the asker sees a lost connection and asks the next of us.
                () = shutdown.wait() => {}
                ended = ended => if let Err(error) = ended {
                    tracing::info!(socket = kind.as_str(), peer = %peer, error = %format!("{error:#}"), "conversation ended");
                }
            }
        }
    };
    ctx.shutdown.spawn(daemon::serve(listener, limits, ctx.shutdown.clone(), handler));
    Ok(())
}

/// Who may connect, beyond what owner and mode of the socket say. Logins, lookups and usage are open to whom the mode lets in; the user
/// database and changes of accounts look at the peer itself as well, since a mode is easily set too wide.
struct Peers {
    own: u32,
    mail: u32,
    group: Option<u32>,
    /// Members of the socket's group by /etc/group.
    members: Vec<u32>,
    /// The settings give the socket an owner: that user may connect.
    owner: Option<u32>,
}

impl Peers {
    fn of(socket: &Socket, config: &Config) -> Peers {
        let group = match socket.group.parse() {
            Ok(id) => nix::unistd::Group::from_gid(nix::unistd::Gid::from_raw(id)).ok().flatten(),
            Err(_) => nix::unistd::Group::from_name(&socket.group).ok().flatten(),
        };
        let uid = |name: &String| match name.parse() {
            Ok(id) => Some(id),
            Err(_) => nix::unistd::User::from_name(name).ok().flatten().map(|user| user.uid.as_raw()),
        };
        Peers {
            own: nix::unistd::geteuid().as_raw(),
            mail: config.mail.mail_uid,
            members: group.iter().flat_map(|group| group.mem.iter().filter_map(uid)).collect(),
            group: group.map(|group| group.gid.as_raw()),
            owner: socket.options.user.as_ref().and_then(uid),
        }
    }

    fn may_connect(&self, kind: SocketKind, peer: &Peer) -> bool {
        let Some((uid, gid, _)) = peer.credentials else { return false };
        let trusted = uid == 0 || uid == self.own || Some(uid) == self.owner || Some(gid) == self.group || self.members.contains(&uid);
        match kind {
            SocketKind::Accounts => trusted,
            SocketKind::Userdb => trusted || uid == self.mail,
            SocketKind::Client | SocketKind::Lookup | SocketKind::Usage => true,
        }
    }
}

/// Writes with a deadline: a partner that does not read is cut off.
async fn write(stream: &mut (impl tokio::io::AsyncWrite + Unpin), bytes: &[u8]) -> anyhow::Result<()> {
    use tokio::io::AsyncWriteExt;
    match tokio::time::timeout(WRITE_DEADLINE, stream.write_all(bytes)).await {
        Ok(written) => Ok(written?),
        Err(_) => anyhow::bail!("the partner does not read our answers"),
    }
}
