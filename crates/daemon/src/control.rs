//! The daemon's side of the control socket, `control/<daemon>` in `run_directory`; `ipc::control` has the conversation.
//!
//! The socket's owner and mode decide who may ask (0660; the units give it to facteur-admin): the kernel checks them at connect. A mode
//! is easily set too wide, so the peer is looked at as well: root, our own user, and those in the group of the socket may ask.

use crate::context::Context;
use crate::limits::Limits;
use crate::listen::SocketOptions;
use crate::reload;
use crate::stream::{Peer, Stream};
use config::Endpoint;
use ipc::control::{CONTROL, DEADLINE, IDLE, PART_BYTES, Request, Response, Status};
use ipc::{FrameError, FrameReader, FrameWriter};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Weak};

// Control connections at the same time.
const CONNECTIONS: usize = 32;

type Answer = Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send>>;
type Handler = Arc<dyn Fn(String) -> Answer + Send + Sync>;
type Fact = Box<dyn Fn() -> String + Send + Sync>;

/// The commands that a program answers, and what it says of itself in `facteur status`.
#[derive(Clone, Default)]
pub struct Control {
    shared: Arc<Mutex<Registered>>,
}

#[derive(Default)]
struct Registered {
    handlers: BTreeMap<&'static str, Handler>,
    facts: Vec<(&'static str, Fact)>,
    limits: Vec<Weak<Limits>>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.shared.lock().handlers.keys()).finish()
    }
}

impl Control {
    /// Answers the command `name` (`queue.list`): the handler gets the payload, and its error is shown to the administrator. It has
    /// [`DEADLINE`]; then it is dropped.
    pub fn on<H, F, A>(&self, name: &'static str, handler: H)
    where
        H: Fn(String) -> F + Send + Sync + 'static,
        F: Future<Output = Result<A, String>> + Send + 'static,
        A: Into<Vec<u8>>,
    {
        let boxed: Handler = Arc::new(move |payload| {
            let answer = handler(payload);
            Box::pin(async move { answer.await.map(Into::into) })
        });
        self.shared.lock().handlers.insert(name, boxed);
    }

    /// A line of `facteur status`: asked for each time, so it has to be quick.
    pub fn fact(&self, name: &'static str, value: impl Fn() -> String + Send + Sync + 'static) {
        self.shared.lock().facts.push((name, Box::new(value)));
    }

    pub(crate) fn count(&self, limits: &Arc<Limits>) {
        self.shared.lock().limits.push(Arc::downgrade(limits));
    }

    fn sessions(&self) -> (u64, u64) {
        let shared = self.shared.lock();
        let counted = shared.limits.iter().filter_map(Weak::upgrade);
        counted.fold((0, 0), |(open, all), limits| (open + limits.open() as u64, all + limits.accepted()))
    }

    fn handler(&self, name: &str) -> Option<Handler> {
        self.shared.lock().handlers.get(name).cloned()
    }
}

/// Opens the control socket and answers until the end.
pub(crate) fn start(ctx: &Context, started: u64) -> io::Result<()> {
    let path = ctx.config.get().socket("control").join(ctx.name);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let listener = ctx.listen(&Endpoint::Unix(path.clone()), &SocketOptions::mode(0o660))?.without_readiness();
    let (ctx, limits) = (ctx.clone(), Limits::new(CONNECTIONS, 0));
    // The administrator may ask during the drain too; this task ends with the process.
    tokio::spawn(async move {
        loop {
            let Ok((stream, peer)) = listener.accept().await else {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            };
            let Ok(slot) = limits.enter(&peer) else { continue };
            let (ctx, path) = (ctx.clone(), path.clone());
            tokio::spawn(async move {
                let asking = peer.clone();
                let admitted = tokio::task::spawn_blocking(move || may_ask(&asking, &path)).await.unwrap_or(false);
                if !admitted {
                    tracing::warn!(peer = %peer, "refused at the control socket: neither root nor in the group of the socket");
                } else if let Err(error) = converse(&ctx, stream, &peer, started).await {
                    tracing::info!(peer = %peer, error = %error, "control connection ended");
                }
                drop(slot);
            });
        }
    });
    Ok(())
}

/// Root, our own user, and the members of the group that the socket at `path` belongs to. Asks the user database of the machine.
fn may_ask(peer: &Peer, path: &Path) -> bool {
    let Some((uid, gid, _)) = peer.credentials else { return false };
    if uid == 0 || uid == nix::unistd::geteuid().as_raw() {
        return true;
    }
    let Ok(group) = std::fs::metadata(path).map(|socket| socket.gid()) else { return false };
    gid == group || is_member(uid, gid, group)
}

fn is_member(uid: u32, gid: u32, group: u32) -> bool {
    let Ok(Some(user)) = nix::unistd::User::from_uid(uid.into()) else { return false };
    let Ok(name) = std::ffi::CString::new(user.name) else { return false };
    nix::unistd::getgrouplist(&name, gid.into()).is_ok_and(|groups| groups.iter().any(|member| member.as_raw() == group))
}

async fn converse(ctx: &Context, stream: Stream, peer: &Peer, started: u64) -> Result<(), FrameError> {
    let (read, write) = tokio::io::split(stream);
    let (mut reader, mut writer) = (FrameReader::new(read, CONTROL), FrameWriter::new(write, CONTROL));
    loop {
        let Ok(request) = tokio::time::timeout(IDLE, reader.next()).await else { return Ok(()) };
        let Some(request) = request? else { return Ok(()) };
        match request {
            Request::Status => writer.push(&Response::Status(status(ctx, started)))?,
            Request::Reload => {
                tracing::info!(peer = %peer, "reload asked for");
                match ctx.reloader.reload().await {
                    Ok(()) => writer.push(&Response::Done)?,
                    Err(reason) => writer.push(&Response::Failed(reason))?,
                }
            }
            Request::Command { name, payload } => match run(ctx, &name, payload).await {
                Ok(answer) => {
                    for part in answer.chunks(PART_BYTES) {
                        writer.send(&Response::Part(part.to_vec())).await?;
                    }
                    writer.push(&Response::Done)?;
                }
                Err(reason) => writer.push(&Response::Failed(reason))?,
            },
        }
        writer.flush().await?;
    }
}

async fn run(ctx: &Context, name: &str, payload: String) -> Result<Vec<u8>, String> {
    let handler = ctx.control.handler(name).ok_or_else(|| format!("{} has no command {name}", ctx.name))?;
    // A task of its own: a panic in it is an answer, and the connection lives.
    let mut task = tokio::spawn(handler(payload));
    match tokio::time::timeout(DEADLINE, &mut task).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(format!("{name} failed inside {}; its log has the reason", ctx.name)),
        Err(_) => {
            task.abort();
            Err(format!("{name} did not end within {DEADLINE:?}"))
        }
    }
}

fn status(ctx: &Context, started: u64) -> Status {
    let report = ctx.reloader.report();
    let (sessions, sessions_total) = ctx.control.sessions();
    let facts = ctx.control.shared.lock().facts.iter().map(|(name, value)| ((*name).to_owned(), value())).collect();
    Status {
        daemon: ctx.name.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        started,
        sessions,
        sessions_total,
        loaded: report.loaded,
        reload_error: report.error,
        stopping: ctx.shutdown.is_set(),
        facts,
    }
}

/// Starts the control socket of a detached context: for tests.
pub fn start_detached(ctx: &Context) -> io::Result<()> {
    start(ctx, reload::now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::Config;
    use ipc::control::{ControlClient, ControlError};
    use tokio::io::AsyncWriteExt;

    fn context(dir: &std::path::Path) -> Context {
        let file = dir.join("facteur.toml");
        std::fs::write(&file, "hostname = \"mx.test\"\nrun_directory = \"run\"\n").expect("write");
        Context::detached("qmgr", Config::load(&file).expect("settings")).expect("context")
    }

    #[tokio::test]
    async fn an_administrator_can_ask_reload_and_command() {
        let dir = tempfile::tempdir().expect("directory");
        let ctx = context(dir.path());
        ctx.control.fact("queued", || "3".into());
        ctx.control.on("queue.cat", |id: String| async move { Ok(id.repeat(PART_BYTES)) });
        ctx.control.on("queue.hold", |id: String| async move { Err::<String, _>(format!("there is no {id}")) });
        ctx.control.on("panic", |_| async move { if ctx_is_fine() { panic!("told to") } else { Ok("") } });
        let limits = ctx.limits(10, 0);
        let _slot = limits.enter(&Peer::default()).expect("room");
        start_detached(&ctx).expect("socket");
        let path = dir.path().join("run/control/qmgr");
        let mut client = ControlClient::connect(&path).await.expect("connect");
        let status = client.status().await.expect("status");
        assert_eq!((status.daemon.as_str(), status.pid, status.sessions), ("qmgr", std::process::id(), 1));
        assert_eq!(status.facts, [("queued".to_owned(), "3".to_owned())]);
        client.reload().await.expect("reload");
        std::fs::write(dir.path().join("facteur.toml"), "hostname = 7").expect("write");
        assert!(client.reload().await.expect_err("wrong").to_string().contains("facteur.toml:1"));
        assert!(client.status().await.expect("status").reload_error.contains("hostname"));
        assert_eq!(client.command("queue.cat", "abc").await.expect("cat").len(), 3 * PART_BYTES);
        assert_eq!(client.command("queue.hold", "X").await.expect_err("no").to_string(), "there is no X");
        assert_eq!(client.command("x", "").await.expect_err("no").to_string(), "qmgr has no command x");
        assert!(matches!(client.command("panic", "").await, Err(ControlError::Failed(_))));
        assert_eq!(client.command_text("queue.cat", "").await.expect("empty"), "");
    }

    #[test]
    fn strangers_may_not_ask_whatever_the_mode_of_the_socket() {
        let dir = tempfile::tempdir().expect("directory");
        let group = std::fs::metadata(dir.path()).expect("metadata").gid();
        let own = nix::unistd::geteuid().as_raw();
        let peer = |uid: u32, gid: u32| Peer { credentials: Some((uid, gid, 1)), ..Peer::default() };
        for (uid, gid, want) in [(0, 0, true), (own, 4711, true), (4711, group, true), (4711, group + 4711, false)] {
            assert_eq!(may_ask(&peer(uid, gid), dir.path()), want, "{uid} {gid}");
        }
        assert!(!may_ask(&Peer::default(), dir.path()), "no credentials");
        assert!(!may_ask(&peer(4711, group), &dir.path().join("gone")));
    }

    fn ctx_is_fine() -> bool {
        true
    }

    #[tokio::test]
    async fn garbage_drops_the_peer_and_nobody_else() {
        let dir = tempfile::tempdir().expect("directory");
        let ctx = context(dir.path());
        start_detached(&ctx).expect("socket");
        let path = dir.path().join("run/control/qmgr");
        let mut good = ControlClient::connect(&path).await.expect("connect");
        let mut wrong_version = b"FCTR\x09\x01\0\0\x01\0\0\0".to_vec();
        wrong_version.extend_from_slice(&[0; 8]);
        let mut endless = b"FCTR\x01\x01\0\0\xff\xff\xff\xff".to_vec();
        endless.extend_from_slice(&[0; 8]);
        for garbage in [b"GET / HTTP/1.0\r\n\r\n".to_vec(), vec![0; 4096], vec![0xff; 20], wrong_version, endless] {
            let mut bad = ipc::unix::connect(&path).await.expect("connect");
            bad.write_all(&garbage).await.expect("write");
            let mut answer = Vec::new();
            // Closed with a reset when bytes were left unread.
            let _ = tokio::io::AsyncReadExt::read_to_end(&mut bad, &mut answer).await;
            assert!(answer.is_empty());
            assert_eq!(good.status().await.expect("alive").daemon, "qmgr");
        }
    }
}
