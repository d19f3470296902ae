//! `facteur queue`: what waits to be delivered. qmgr is asked; where it does not answer, the spool is read.

use crate::cli::Globals;
use crate::table;
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use config::Config;
use ipc::control::{ControlClient, ControlError};
use mail_types::{QueueId, printable};
use serde::{Deserialize, Serialize};
use serde_json::json;
use spool::{ListedState, Reader};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Show the queue, and decide about messages in it
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: QueueCommand,
}

#[derive(Debug, Subcommand)]
enum QueueCommand {
    /// List the messages that wait, with the reason of the last failure (as mailq)
    List,
    /// Print a message: its envelope, then header and body (as postcat -q)
    Cat { id: QueueId },
    /// Try again now: all messages, some, or those for one domain (as postqueue -f, -i, -s)
    Flush {
        ids: Vec<QueueId>,
        /// Only messages with a recipient in this domain
        #[arg(long, value_name = "DOMAIN", conflicts_with = "ids")]
        site: Option<String>,
    },
    /// Keep messages in the queue until they are released (as postsuper -h)
    Hold(Chosen),
    /// Let held messages go on (as postsuper -H)
    Release(Chosen),
    /// Delete messages; nobody is told (as postsuper -d)
    Delete(Chosen),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Chosen {
    ids: Vec<QueueId>,
    /// All messages
    #[arg(long)]
    all: bool,
}

/// A message as qmgr tells it.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Listed {
    id: String,
    /// Seconds since 1970.
    arrived: u64,
    size: u64,
    sender: Option<String>,
    state: String,
    next: Option<u64>,
    recipients: Vec<ListedRecipient>,
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct ListedRecipient {
    address: String,
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Changed {
    changed: u64,
    #[serde(default)]
    unknown: Vec<String>,
}

pub async fn run(globals: Globals, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let config = globals.settings()?;
    match arguments.command {
        QueueCommand::List => list(&globals, &config).await,
        QueueCommand::Cat { id } => cat(&config, &id).await,
        QueueCommand::Flush { ids, site: Some(site) } if ids.is_empty() => {
            change(&globals, &config, "queue.flush", json!({ "site": site.to_lowercase() }), "to be tried now").await
        }
        QueueCommand::Flush { ids, .. } => change(&globals, &config, "queue.flush", chosen(&ids, ids.is_empty()), "to be tried now").await,
        QueueCommand::Hold(c) => change(&globals, &config, "queue.hold", chosen(&c.ids, c.all), "held").await,
        QueueCommand::Release(c) => change(&globals, &config, "queue.release", chosen(&c.ids, c.all), "released").await,
        QueueCommand::Delete(c) => change(&globals, &config, "queue.delete", chosen(&c.ids, c.all), "deleted").await,
    }
}

fn chosen(ids: &[QueueId], all: bool) -> serde_json::Value {
    if all { json!({ "all": true }) } else { json!({ "ids": ids.iter().map(QueueId::as_str).collect::<Vec<_>>() }) }
}

/// Asks qmgr; `None` when it does not answer.
async fn ask(config: &Config, name: &str, payload: &str) -> anyhow::Result<Option<Vec<u8>>> {
    let path = config.socket("control").join("qmgr");
    let answer = async { ControlClient::connect(&path).await?.command(name, payload).await }.await;
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(ControlError::Unreachable(_, error)) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(error).with_context(|| format!("{}", path.display()))
        }
        Err(ControlError::Unreachable(..) | ControlError::Closed) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn list(globals: &Globals, config: &Config) -> anyhow::Result<ExitCode> {
    let listed = match ask(config, "queue.list", "").await? {
        Some(answer) => serde_json::from_slice(&answer).context("qmgr's answer cannot be read")?,
        None => {
            eprintln!("facteur: qmgr does not answer; this is what lies in the spool");
            from_spool(config)?
        }
    };
    if globals.json {
        println!("{}", serde_json::to_string_pretty(&listed)?);
    } else {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        print!("{}", shown(&listed, now));
    }
    Ok(ExitCode::SUCCESS)
}

fn from_spool(config: &Config) -> anyhow::Result<Vec<Listed>> {
    let reader = Reader::open(&config.main.spool_directory)?;
    let listed = reader.list()?.into_iter().map(|message| {
        let (state, next) = match message.state {
            ListedState::Waiting => ("waiting", None),
            ListedState::Deferred { next_seconds } => ("deferred", Some(next_seconds)),
            ListedState::Held => ("held", None),
        };
        let recipients = message.recipients.into_iter().map(|r| ListedRecipient { address: r.address.to_string(), reason: r.reason });
        Listed {
            id: message.id.to_string(),
            arrived: message.arrived_micros / 1_000_000,
            size: message.size_bytes,
            sender: message.sender.map(|sender| sender.to_string()),
            state: state.into(),
            next,
            recipients: recipients.collect(),
        }
    });
    Ok(listed.collect())
}

// One line per message, then its recipients, each with what went wrong.
fn shown(listed: &[Listed], now: u64) -> String {
    if listed.is_empty() {
        return "The queue is empty.\n".into();
    }
    let mut out = String::new();
    for message in listed {
        let state = match message.next {
            Some(next) if next > now => format!("{}, again in {}", message.state, table::age(next - now)),
            Some(_) => format!("{}, again now", message.state),
            None => message.state.clone(),
        };
        let sender = message.sender.as_deref().map_or("<> (a notification)".into(), printable);
        let age = table::age(now.saturating_sub(message.arrived));
        // Writing to a String does not fail.
        let _ = writeln!(out, "{}  {:>9}  {age:>7}  {sender}  ({state})", printable(&message.id), table::bytes(message.size));
        for recipient in &message.recipients {
            let _ = writeln!(out, "    {}", printable(&recipient.address));
            if let Some(reason) = &recipient.reason {
                let _ = writeln!(out, "        {}", printable(reason));
            }
        }
    }
    let octets = listed.iter().map(|m| m.size).sum();
    let plural = if listed.len() == 1 { "" } else { "s" };
    let _ = writeln!(out, "{} message{plural}, {}", listed.len(), table::bytes(octets));
    out
}

async fn cat(config: &Config, id: &QueueId) -> anyhow::Result<ExitCode> {
    let bytes = match ask(config, "queue.cat", id.as_str()).await? {
        Some(bytes) => bytes,
        None => match Reader::open(&config.main.spool_directory)?.find(id)? {
            Some(found) => [found.envelope_text.as_bytes(), &found.body].concat(),
            None => bail!("there is no message {id} in the queue"),
        },
    };
    std::io::stdout().lock().write_all(&bytes)?;
    Ok(ExitCode::SUCCESS)
}

async fn change(globals: &Globals, config: &Config, name: &str, payload: serde_json::Value, done: &str) -> anyhow::Result<ExitCode> {
    let Some(answer) = ask(config, name, &payload.to_string()).await? else {
        bail!("qmgr does not answer; only it may change the queue");
    };
    let result: Changed = serde_json::from_slice(&answer).context("qmgr's answer cannot be read")?;
    if globals.json {
        println!("{}", serde_json::to_string_pretty(&json!({ "changed": result.changed, "unknown": result.unknown }))?);
    } else {
        let plural = if result.changed == 1 { "" } else { "s" };
        println!("{} message{plural} {done}", result.changed);
    }
    for id in &result.unknown {
        eprintln!("facteur: there is no message {} in the queue", printable(id));
    }
    Ok(if result.unknown.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed() -> Listed {
        Listed {
            id: "01JQ0000000000001".into(),
            arrived: 1000,
            size: 2048,
            sender: Some("ann@example.org".into()),
            state: "deferred".into(),
            next: Some(5000),
            recipients: vec![ListedRecipient { address: "bob@x.org".into(), reason: Some("connection\x1b[1m refused".into()) }],
        }
    }

    #[test]
    fn the_list_reads_like_mailq_and_nothing_moves_the_cursor() {
        let bounce = Listed { sender: None, next: None, state: "waiting".into(), recipients: Vec::new(), ..listed() };
        assert_eq!(
            shown(&[listed(), bounce], 1900),
            "01JQ0000000000001    2.0 KiB   15m 0s  ann@example.org  (deferred, again in 51m 40s)\n    bob@x.org\n        \
             connection\\u{1b}[1m refused\n01JQ0000000000001    2.0 KiB   15m 0s  <> (a notification)  (waiting)\n2 messages, 4.0 KiB\n"
        );
        assert_eq!(shown(&[], 0), "The queue is empty.\n");
    }

    #[test]
    fn what_qmgr_tells_is_understood() {
        let text = r#"[{"id":"X","arrived":1,"size":2,"sender":null,"state":"active","next":null,"recipients":[{"address":"a@b","reason":null}]}]"#;
        let read: Vec<Listed> = serde_json::from_str(text).expect("reads");
        assert_eq!(read[0].recipients[0].address, "a@b");
        let changed: Changed = serde_json::from_str(r#"{"changed":3}"#).expect("reads");
        assert_eq!((changed.changed, changed.unknown.len()), (3, 0));
    }
}
