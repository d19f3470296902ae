//! The commands that `facteur queue` sends: `queue.list`, `queue.cat`, `queue.flush`, `queue.hold`, `queue.release`,
//! `queue.delete`.
//!
//! `list` and `cat` are answered by a reader of the spool, as `facteur` does it by itself when qmgr is down. The payload of
//! the others is a queue id or `ALL`; `flush` without one means all.

use crate::manager::{Admin, Command, Event, Which};
use daemon::Context;
use mail_types::QueueId;
use spool::Reader;
use std::path::PathBuf;
use tokio::sync::{mpsc, oneshot};

pub fn register(ctx: &Context, spool: PathBuf, events: mpsc::UnboundedSender<Event>) {
    let ask = move |command: Command| {
        let events = events.clone();
        async move {
            let (answer, waiter) = oneshot::channel();
            let gone = || "qmgr is stopping".to_owned();
            events.send(Event::Admin(Admin { command, answer })).map_err(|_| gone())?;
            waiter.await.map_err(|_| gone())?
        }
    };
    let reads = (ask.clone(), spool);
    let (sync, directory) = reads.clone();
    ctx.control.on("queue.list", move |_| {
        let (sync, directory) = (sync.clone(), directory.clone());
        async move {
            sync(Command::Sync).await?;
            blocking(move || Ok(spool::render(&Reader::open(&directory)?.list()?).into_bytes())).await
        }
    });
    let (sync, directory) = reads;
    ctx.control.on("queue.cat", move |payload: String| {
        let (sync, directory) = (sync.clone(), directory.clone());
        async move {
            let id = parse_id(&payload)?;
            sync(Command::Sync).await?;
            let found = blocking(move || Reader::open(&directory)?.find(&id)).await?;
            let found = found.ok_or_else(|| format!("{id} is not in the queue"))?;
            Ok::<_, String>([found.envelope_text.into_bytes(), found.body].concat())
        }
    });
    let commands: [(&'static str, fn(Which) -> Command); 4] = [
        ("queue.flush", Command::Flush),
        ("queue.hold", Command::Hold),
        ("queue.release", Command::Release),
        ("queue.delete", Command::Delete),
    ];
    for (name, make) in commands {
        let ask = ask.clone();
        ctx.control.on(name, move |payload: String| {
            let which = match payload.trim() {
                "" if name == "queue.flush" => Ok(Which::All),
                "ALL" => Ok(Which::All),
                text => parse_id(text).map(Which::One),
            };
            let ask = ask.clone();
            async move { ask(make(which?)).await }
        });
    }
}

fn parse_id(text: &str) -> Result<QueueId, String> {
    QueueId::parse(text.trim()).map_err(|error| format!("{:?}: {error}", text.trim()))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, spool::Error> + Send + 'static) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("the reader of the spool has failed; the log has the reason".into()),
    }
}
