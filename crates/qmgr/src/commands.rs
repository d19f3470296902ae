//! The commands that `facteur queue` sends: `queue.list`, `queue.cat`, `queue.flush`, `queue.hold`, `queue.release`,
//! `queue.delete`, `queue.requeue`, `queue.expire`.
//!
//! `list` and `cat` are answered by a reader of the spool, as `facteur` does it by itself when qmgr is down. `list` answers an
//! array of messages; `cat` (the payload is a queue id) the bytes. The others get `{"ids": [...]}`, `{"all": true}` or, for
//! `flush`, `{"site": "example.org"}`, and answer `{"changed": 3, "unknown": ["..."]}` once that is durable.

use crate::manager::{Admin, Changed, Command, Event, Which};
use daemon::Context;
use mail_types::QueueId;
use serde::{Deserialize, Serialize};
use spool::{Listed, ListedState, Reader};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Chosen {
    #[serde(default)]
    all: bool,
    #[serde(default)]
    ids: Vec<String>,
    site: Option<String>,
}

#[derive(Serialize)]
struct ShownMessage {
    id: String,
    arrived: u64,
    size: u64,
    sender: Option<String>,
    state: &'static str,
    next: Option<u64>,
    priority: i8,
    recipients: Vec<ShownRecipient>,
}

#[derive(Serialize)]
struct ShownRecipient {
    address: String,
    reason: Option<String>,
}

struct Desk {
    spool: PathBuf,
    events: mpsc::UnboundedSender<Event>,
}

pub fn register(ctx: &Context, spool: PathBuf, events: mpsc::UnboundedSender<Event>) {
    let desk = Arc::new(Desk { spool, events });
    let at = desk.clone();
    ctx.control.on("queue.list", move |_| {
        let desk = at.clone();
        async move {
            let listed: Vec<_> = desk.read(|reader| reader.list()).await?.into_iter().map(shown).collect();
            serde_json::to_vec(&listed).map_err(|error| error.to_string())
        }
    });
    let at = desk.clone();
    ctx.control.on("queue.cat", move |payload: String| {
        let desk = at.clone();
        async move {
            let id = parse_id(&payload)?;
            let found = desk.read(move |reader| reader.find(&id)).await?;
            let found = found.ok_or_else(|| format!("there is no message {id} in the queue"))?;
            Ok::<_, String>([found.envelope_text.into_bytes(), found.body].concat())
        }
    });
    type Make = fn(Which) -> Command;
    let commands: [(&'static str, Make); 6] = [
        ("queue.flush", Command::Flush),
        ("queue.hold", Command::Hold),
        ("queue.release", Command::Release),
        ("queue.delete", Command::Delete),
        ("queue.requeue", Command::Requeue),
        ("queue.expire", Command::Expire),
    ];
    for (name, make) in commands {
        let at = desk.clone();
        ctx.control.on(name, move |payload: String| {
            let desk = at.clone();
            async move {
                let which = desk.which(&payload).await?;
                let Changed { changed, unknown } = desk.ask(make(which)).await?;
                let unknown: Vec<_> = unknown.iter().map(QueueId::as_str).collect();
                Ok::<_, String>(serde_json::json!({ "changed": changed, "unknown": unknown }).to_string())
            }
        });
    }
}

impl Desk {
    async fn ask(&self, command: Command) -> Result<Changed, String> {
        let (answer, waiter) = oneshot::channel();
        let gone = || "qmgr is stopping".to_owned();
        self.events.send(Event::Admin(Admin { command, answer })).map_err(|_| gone())?;
        waiter.await.map_err(|_| gone())?
    }

    /// Reads the spool as it is when everything noted so far is on disk.
    async fn read<T: Send + 'static>(&self, work: impl FnOnce(Reader) -> Result<T, spool::Error> + Send + 'static) -> Result<T, String> {
        self.ask(Command::Sync).await?;
        let spool = self.spool.clone();
        match tokio::task::spawn_blocking(move || work(Reader::open(&spool)?)).await {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(_) => Err("the reader of the spool has failed; the log has the reason".into()),
        }
    }

    async fn which(&self, payload: &str) -> Result<Which, String> {
        let chosen: Chosen = serde_json::from_str(payload).map_err(|error| format!("no choice of messages: {error}"))?;
        if chosen.all {
            return Ok(Which::All);
        }
        let Some(site) = chosen.site else {
            return Ok(Which::These(chosen.ids.iter().map(|id| parse_id(id)).collect::<Result<_, _>>()?));
        };
        let listed = self.read(|reader| reader.list()).await?;
        let at_site = |message: &Listed| message.recipients.iter().any(|r| r.address.domain().as_str().eq_ignore_ascii_case(&site));
        Ok(Which::These(listed.into_iter().filter(at_site).map(|message| message.id).collect()))
    }
}

fn shown(message: Listed) -> ShownMessage {
    let (state, next) = match message.state {
        ListedState::Waiting => ("waiting", None),
        ListedState::Deferred { next_seconds } => ("deferred", Some(next_seconds)),
        ListedState::Asleep { until_seconds } => ("asleep", Some(until_seconds)),
        ListedState::Held => ("held", None),
    };
    let recipients = message.recipients.into_iter().map(|r| ShownRecipient { address: r.address.to_string(), reason: r.reason });
    ShownMessage {
        id: message.id.to_string(),
        arrived: message.arrived_micros / 1_000_000,
        size: message.size_bytes,
        sender: message.sender.map(|sender| sender.to_string()),
        state,
        next,
        priority: message.priority,
        recipients: recipients.collect(),
    }
}

fn parse_id(text: &str) -> Result<QueueId, String> {
    QueueId::parse(text.trim()).map_err(|error| format!("{:?}: {error}", text.trim()))
}
