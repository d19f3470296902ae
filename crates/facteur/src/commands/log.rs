//! `facteur log reopen|find|errors`.

use super::DAEMONS;
use crate::cli::Globals;
use ipc::control::{ControlClient, ControlError};
use mail_types::printable;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Where the daemons' logs are, and what is wrong in them
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Subcommand)]
enum LogCommand {
    /// Open the log file again, after logrotate has renamed it (as SIGUSR1 and doveadm log reopen do)
    Reopen,
    /// Tell where each daemon logs to
    Find,
    /// Show the last warnings and errors of all daemons, since each was started
    Errors,
}

pub async fn run(globals: Globals, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let config = globals.settings()?;
    let (mut failed, mut answers) = (false, Vec::new());
    for daemon in DAEMONS {
        let command = match arguments.command {
            LogCommand::Reopen => "log.reopen",
            LogCommand::Find => "log.find",
            LogCommand::Errors => "log.errors",
        };
        let path = config.socket("control").join(daemon);
        let outcome = async { ControlClient::connect(&path).await?.command_text(command, "").await }.await;
        match outcome {
            Ok(answer) => answers.push((daemon, answer)),
            // One that does not run opens the file when it starts.
            Err(ControlError::Unreachable(..)) => eprintln!("{daemon}: not running"),
            Err(error) => {
                eprintln!("{daemon}: {error}");
                failed = true;
            }
        }
    }
    match arguments.command {
        LogCommand::Reopen => {}
        LogCommand::Find => find(&globals, &answers)?,
        LogCommand::Errors => errors(&globals, &answers)?,
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn find(globals: &Globals, answers: &[(&str, String)]) -> anyhow::Result<()> {
    if globals.json {
        let rows: Vec<Value> = answers.iter().map(|(daemon, place)| json!({ "daemon": daemon, "log": place })).collect();
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        answers.iter().for_each(|(daemon, place)| println!("{daemon}: {}", printable(place)));
    }
    Ok(())
}

fn errors(globals: &Globals, answers: &[(&str, String)]) -> anyhow::Result<()> {
    let mut lines: Vec<(i64, &str, &str)> = Vec::new();
    for (daemon, text) in answers {
        let of =
            text.lines().filter_map(|line| line.split_once(' ')).filter_map(|(second, line)| Some((second.parse().ok()?, *daemon, line)));
        lines.extend(of);
    }
    lines.sort_by_key(|(second, ..)| *second);
    if globals.json {
        let row = |(second, daemon, line): &(i64, &str, &str)| json!({ "time": second, "daemon": daemon, "line": line });
        println!("{}", serde_json::to_string_pretty(&lines.iter().map(row).collect::<Vec<_>>())?);
    } else {
        lines.iter().for_each(|(second, daemon, line)| println!("{} {daemon} {}", crate::table::moment(*second), printable(line)));
    }
    Ok(())
}
