//! `facteur queue`: what waits to be delivered. qmgr is asked; where it does not answer, the spool is read.

mod filter;
mod group;
mod show;

use crate::cli::Globals;
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use config::Config;
use filter::Filter;
use ipc::control::{ControlClient, ControlError};
use mail_types::{QueueId, printable};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use spool::{ListedState, Reader};
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Ids in one request; it may have a mebibyte.
const BATCH: usize = 10_000;

/// Show the queue, and decide about messages in it
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: QueueCommand,
}

#[derive(Debug, Subcommand)]
enum QueueCommand {
    /// List the messages that wait, with the reason of the last failure (as mailq)
    List {
        #[command(flatten)]
        filter: Filter,
        /// Count them instead, the largest group first
        #[arg(long, value_enum, value_name = "WHAT")]
        group_by: Option<group::By>,
        /// In the form of Postfix's mailq, for scripts
        #[arg(long, conflicts_with = "group_by")]
        mailq: bool,
    },
    /// Count recipients by domain and by the age of their messages, in minutes (as qshape)
    Histogram {
        #[command(flatten)]
        filter: Filter,
        /// By the domain of the sender
        #[arg(long)]
        by_sender: bool,
    },
    /// Print a message: its envelope, then header and body (as postcat -q)
    Cat { id: QueueId },
    /// Try again now: all messages, or some (as postqueue -f, -i, -s)
    Flush {
        ids: Vec<QueueId>,
        /// Only messages with a recipient in this domain; the same as --domain
        #[arg(long, value_name = "DOMAIN", conflicts_with_all = ["ids", "domain"])]
        site: Option<String>,
        #[command(flatten)]
        filter: Filter,
    },
    /// Keep messages in the queue until they are released (as postsuper -h)
    Hold(Chosen),
    /// Let held messages go on (as postsuper -H)
    Release(Chosen),
    /// Expand aliases anew and try again now (as postsuper -r)
    Requeue(Chosen),
    /// Try once more, then send back to the sender what still fails (as postsuper -e)
    Expire(Chosen),
    /// Delete messages; nobody is told (as postsuper -d)
    Delete(Chosen),
}

#[derive(Debug, Args)]
struct Chosen {
    ids: Vec<QueueId>,
    /// All messages
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    #[command(flatten)]
    filter: Filter,
    /// Do not ask before messages that were not named by their ids are deleted or expired
    #[arg(long)]
    yes: bool,
}

/// A message as qmgr tells it.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
struct Listed {
    id: String,
    /// Seconds since 1970.
    arrived: u64,
    size: u64,
    sender: Option<String>,
    state: String,
    next: Option<u64>,
    /// From -9 to 9.
    #[serde(default)]
    priority: i8,
    recipients: Vec<ListedRecipient>,
}

#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
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
    let desk = Desk { globals: &globals, config: &config };
    match arguments.command {
        QueueCommand::List { filter, group_by, mailq } => desk.list(&filter, group_by, mailq).await,
        QueueCommand::Histogram { filter, by_sender } => desk.histogram(&filter, by_sender).await,
        QueueCommand::Cat { id } => cat(&config, &id).await,
        QueueCommand::Flush { ids, site: Some(site), .. } if ids.is_empty() => {
            desk.change("queue.flush", &[json!({ "site": site.to_lowercase() })], "to be tried now").await
        }
        QueueCommand::Flush { ids, filter, .. } => {
            let all = ids.is_empty() && filter.is_empty();
            desk.decide("queue.flush", Chosen { ids, all, filter, yes: true }, "to be tried now").await
        }
        QueueCommand::Hold(chosen) => desk.decide("queue.hold", Chosen { yes: true, ..chosen }, "held").await,
        QueueCommand::Release(chosen) => desk.decide("queue.release", Chosen { yes: true, ..chosen }, "released").await,
        QueueCommand::Requeue(chosen) => desk.decide("queue.requeue", Chosen { yes: true, ..chosen }, "requeued").await,
        QueueCommand::Expire(chosen) => desk.decide("queue.expire", chosen, "expired").await,
        QueueCommand::Delete(chosen) => desk.decide("queue.delete", chosen, "deleted").await,
    }
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

struct Desk<'a> {
    globals: &'a Globals,
    config: &'a Config,
}

impl Desk<'_> {
    async fn list(&self, filter: &Filter, group_by: Option<group::By>, mailq: bool) -> anyhow::Result<ExitCode> {
        let listed = self.chosen(filter).await?;
        if let Some(by) = group_by {
            let groups = group::groups(&listed, by);
            return self.print(&groups, || group::print(&groups, now()));
        }
        self.print(&listed, || match mailq {
            true => print!("{}", show::mailq(&listed, &jiff::tz::TimeZone::system())),
            false if listed.is_empty() && !filter.is_empty() => println!("No message in the queue is like that."),
            false => print!("{}", show::list(&listed, now())),
        })
    }

    async fn histogram(&self, filter: &Filter, by_sender: bool) -> anyhow::Result<ExitCode> {
        let rows = group::histogram(&self.chosen(filter).await?, by_sender, now());
        self.print(&rows, || group::print_histogram(&rows))
    }

    fn print(&self, value: &impl Serialize, people: impl FnOnce()) -> anyhow::Result<ExitCode> {
        match self.globals.json {
            true => println!("{}", serde_json::to_string_pretty(value)?),
            false => people(),
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn chosen(&self, filter: &Filter) -> anyhow::Result<Vec<Listed>> {
        let mut listed: Vec<Listed> = match ask(self.config, "queue.list", "").await? {
            Some(answer) => serde_json::from_slice(&answer).context("qmgr's answer cannot be read")?,
            None => {
                eprintln!("facteur: qmgr does not answer; this is what lies in the spool");
                from_spool(self.config)?
            }
        };
        let now = now();
        listed.retain(|message| filter.takes(message, now));
        Ok(listed)
    }

    /// Does something to the chosen messages; says how many they are, and asks, before those are lost that nobody has named.
    async fn decide(&self, name: &str, chosen: Chosen, done: &str) -> anyhow::Result<ExitCode> {
        let named = !chosen.ids.is_empty();
        if named && !chosen.filter.is_empty() {
            bail!("choose by ids or by a filter, not both");
        }
        if !named && !chosen.all && chosen.filter.is_empty() {
            bail!("choose messages by their ids, by a filter, or with --all");
        }
        let ids: Vec<String> = if named {
            chosen.ids.iter().map(QueueId::to_string).collect()
        } else if chosen.all && chosen.filter.is_empty() && chosen.yes {
            return self.change(name, &[json!({ "all": true })], done).await;
        } else {
            let listed = self.chosen(&chosen.filter).await?;
            let octets = listed.iter().map(|m| m.size).sum();
            let recipients: usize = listed.iter().map(|m| m.recipients.len()).sum();
            if !chosen.yes && !listed.is_empty() {
                let count = listed.len() as u64;
                let what = format!("{count} {} to {recipients} recipients, {}", messages(count), crate::table::bytes(octets));
                if !confirmed(&format!("{what}, would be {done}"))? {
                    eprintln!("facteur: nothing was done; --yes does it without asking");
                    return Ok(ExitCode::FAILURE);
                }
            }
            listed.into_iter().map(|message| message.id).collect()
        };
        let requests: Vec<Value> = ids.chunks(BATCH).map(|ids| json!({ "ids": ids })).collect();
        self.change(name, &requests, done).await
    }

    async fn change(&self, name: &str, requests: &[Value], done: &str) -> anyhow::Result<ExitCode> {
        let mut result = Changed { changed: 0, unknown: Vec::new() };
        for request in requests {
            let Some(answer) = ask(self.config, name, &request.to_string()).await? else {
                bail!("qmgr does not answer; only it may change the queue ({} {done} before)", result.changed);
            };
            let part: Changed = serde_json::from_slice(&answer).context("qmgr's answer cannot be read")?;
            result.changed += part.changed;
            result.unknown.extend(part.unknown);
        }
        let told = json!({ "changed": result.changed, "unknown": result.unknown });
        self.print(&told, || println!("{} {} {done}", result.changed, messages(result.changed)))?;
        for id in &result.unknown {
            eprintln!("facteur: there is no message {} in the queue", printable(id));
        }
        Ok(if result.unknown.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Shows what would be done; asks where somebody sits in front of it.
fn confirmed(what: &str) -> anyhow::Result<bool> {
    eprint!("{what}. ");
    if !std::io::stdin().is_terminal() {
        eprintln!();
        return Ok(false);
    }
    eprint!("Go on? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

fn messages(count: u64) -> &'static str {
    if count == 1 { "message" } else { "messages" }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn from_spool(config: &Config) -> anyhow::Result<Vec<Listed>> {
    let reader = Reader::open(&config.main.spool_directory)?;
    let listed = reader.list()?.into_iter().map(|message| {
        let (state, next) = match message.state {
            ListedState::Waiting => ("waiting", None),
            ListedState::Deferred { next_seconds } => ("deferred", Some(next_seconds)),
            ListedState::Asleep { until_seconds } => ("asleep", Some(until_seconds)),
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
            priority: message.priority,
            recipients: recipients.collect(),
        }
    });
    Ok(listed.collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_qmgr_tells_is_understood() {
        let text = r#"[{"id":"X","arrived":1,"size":2,"sender":null,"state":"active","next":null,"recipients":[{"address":"a@b","reason":null}]}]"#;
        let read: Vec<Listed> = serde_json::from_str(text).expect("reads");
        assert_eq!(read[0].recipients[0].address, "a@b");
        let changed: Changed = serde_json::from_str(r#"{"changed":3}"#).expect("reads");
        assert_eq!((changed.changed, changed.unknown.len()), (3, 0));
    }
}
