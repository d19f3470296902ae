//! The administrator's command and the supervisor behind `facteur up`. `main.rs` says what it is for.

pub mod archive;
pub mod cli;
pub mod commands;
pub mod mail;
pub mod password;
pub mod query;
pub mod table;
pub mod up;
pub mod usage;

use clap::Parser;
use nix::sys::signal::SigSet;
use std::process::ExitCode;

/// Wrong arguments, as clap has it, or wrong settings.
pub const EXIT_SETTINGS: u8 = 2;

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    // A closed pipe (`facteur queue list | head`) ends us quietly, as it does every other command.
    // SAFETY: no other thread runs yet, and the default action needs no handler.
    if unsafe { nix::sys::signal::signal(nix::sys::signal::Signal::SIGPIPE, nix::sys::signal::SigHandler::SigDfl) }.is_err() {
        return ExitCode::FAILURE;
    }
    // Signals that a parent has blocked would reach neither us nor the daemons that `up` starts.
    if SigSet::empty().thread_set_mask().is_err() {
        return ExitCode::FAILURE;
    }
    let cli = cli::Cli::parse();
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) => match error.downcast_ref::<config::Report>() {
            Some(report) => {
                eprintln!("{report}");
                ExitCode::from(EXIT_SETTINGS)
            }
            None => {
                eprintln!("facteur: {error:#}");
                let is_usage = error.is::<usage::Usage>() || error.is::<query::ParseError>();
                if is_usage { ExitCode::from(EXIT_SETTINGS) } else { ExitCode::FAILURE }
            }
        },
    }
}
