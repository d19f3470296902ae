//! `facteur auth`: passwords and logins, as `doveadm pw` and `doveadm auth`.

mod hash;
mod test;

use crate::cli::Globals;
use std::process::ExitCode;

/// Hash passwords, and try logins
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: AuthCommand,
}

#[derive(Debug, clap::Subcommand)]
enum AuthCommand {
    Hash(hash::Arguments),
    Test(test::Arguments),
}

pub fn run(globals: &Globals, arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        AuthCommand::Hash(arguments) => hash::run(globals, &arguments),
        AuthCommand::Test(arguments) => super::wait(test::run(globals, &arguments)),
    }
}
