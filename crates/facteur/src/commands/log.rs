//! `facteur log reopen`.

use super::DAEMONS;
use crate::cli::Globals;
use ipc::control::{ControlClient, ControlError};
use std::process::ExitCode;

/// Tell the daemons about their log file
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Debug, clap::Subcommand)]
enum LogCommand {
    /// Open the log file again, after logrotate has renamed it (as SIGUSR1 and doveadm log reopen do)
    Reopen,
}

pub async fn run(globals: Globals, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let LogCommand::Reopen = arguments.command;
    let config = globals.settings()?;
    let mut failed = false;
    for daemon in DAEMONS {
        let path = config.socket("control").join(daemon);
        let outcome = async { ControlClient::connect(&path).await?.command("log.reopen", "").await }.await;
        match outcome {
            Ok(_) => {}
            // One that does not run opens the file when it starts.
            Err(ControlError::Unreachable(..)) => eprintln!("{daemon}: not running"),
            Err(error) => {
                eprintln!("{daemon}: {error}");
                failed = true;
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
