//! `facteur greylist`: who has to come again, and who is known. smtpd is asked.

use crate::cli::Globals;
use anyhow::{Context as _, bail};
use ipc::control::ControlClient;
use serde::{Deserialize, Serialize};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Show or clear the memory of greylisting (`check_greylist`)
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: GreylistCommand,
}

#[derive(Debug, clap::Subcommand)]
enum GreylistCommand {
    /// List who waits (first try), who has passed and which clients are known (last message)
    List {
        /// Only lines whose client, sender or recipient has this text
        text: Option<String>,
    },
    /// Forget them: they begin anew
    Clear {
        /// Lines whose client, sender or recipient has this text
        text: Option<String>,
        /// Everything
        #[arg(long, conflicts_with = "text")]
        all: bool,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    state: String,
    client: String,
    sender: String,
    recipient: String,
    /// Since 1970.
    seconds: u64,
    successes: u32,
}

#[derive(Debug, Deserialize)]
struct Cleared {
    forgotten: usize,
}

pub async fn run(globals: Globals, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let config = globals.settings()?;
    let path = config.socket("control").join("smtpd");
    let ask = async |name: &str, text: &str| ControlClient::connect(&path).await?.command(name, text).await;
    match arguments.command {
        GreylistCommand::List { text } => {
            let answer = ask("greylist.list", &text.unwrap_or_default()).await?;
            let mut lines: Vec<Line> = serde_json::from_slice(&answer).context("smtpd's answer cannot be read")?;
            lines.sort_by(|a, b| (&a.state, a.seconds, &a.client).cmp(&(&b.state, b.seconds, &b.client)));
            if globals.json {
                println!("{}", serde_json::to_string_pretty(&lines)?);
            } else {
                print(&lines);
            }
        }
        GreylistCommand::Clear { text, all } => {
            let text = text.unwrap_or_default();
            if text.trim().is_empty() && !all {
                bail!("say what to forget, or --all");
            }
            let cleared: Cleared = serde_json::from_slice(&ask("greylist.clear", &text).await?).context("smtpd's answer cannot be read")?;
            if globals.json {
                println!("{}", serde_json::json!({ "forgotten": cleared.forgotten }));
            } else {
                println!("{} forgotten", cleared.forgotten);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(lines: &[Line]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let rows = lines.iter().map(|line| {
        let sender = if line.sender.is_empty() && line.state != "client" { "<>" } else { &line.sender };
        let successes = if line.state == "client" { line.successes.to_string() } else { String::new() };
        let age = crate::table::age(now.saturating_sub(line.seconds));
        vec![line.state.clone(), age, line.client.clone(), sender.to_owned(), line.recipient.clone(), successes]
    });
    crate::table::print(&["state", "age", "client", "sender", "recipient", "successes"], rows);
}
