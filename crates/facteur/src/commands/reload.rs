//! `facteur reload [DAEMON]`.

use super::DAEMONS;
use crate::cli::Globals;
use ipc::control::{ControlClient, ControlError};
use std::process::ExitCode;

/// Read settings, tables and certificates again, without dropping a session
///
/// A daemon that finds something wrong keeps what it has and says why.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// One daemon [default: all that run]
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(DAEMONS))]
    daemon: Option<String>,
}

pub async fn run(globals: Globals, arguments: Arguments) -> anyhow::Result<ExitCode> {
    // Wrong settings are found here once, rather than six times.
    let config = globals.settings()?;
    let mut failed = false;
    for daemon in DAEMONS.into_iter().filter(|d| arguments.daemon.as_deref().is_none_or(|only| only == *d)) {
        let path = config.socket("control").join(daemon);
        let outcome = async { ControlClient::connect(&path).await?.reload().await }.await;
        match outcome {
            Ok(()) => println!("{daemon}: reloaded"),
            Err(error @ ControlError::Unreachable(..)) => {
                println!("{daemon}: not running ({error})");
                failed |= arguments.daemon.is_some();
            }
            Err(error) => {
                println!("{daemon}: {error}");
                failed = true;
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
