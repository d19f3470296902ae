//! NAME
//!     cargo xtask - the project's chores
//!
//! SYNOPSIS
//!     cargo xtask up | test | check | docs | bench | fuzz | campaign | install | peers [OPTIONS]
//!
//! DESCRIPTION
//!     One command for each thing that is done to the project rather than by it. `up` shows that it works on this machine; `test` is what
//!     every change has to pass; the others are parts of these, or for releases. `cargo xtask help COMMAND` has the options.
//!
//! FILES
//!     Everything below the workspace: target/, var/ (made by `up`), tests/, systemd/, etc/, docs/.
//!
//! DIAGNOSTICS
//!     The exit code is 0 when all went well, else 1; what failed stands on standard error.

mod bench;
mod campaign;
mod check;
mod docs;
mod fuzz;
mod install;
mod mail;
mod peers;
mod test;
mod tools;
mod units;
mod up;

use clap::Parser;
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "The project's chores")]
enum Chore {
    Up(up::Arguments),
    Test(test::Arguments),
    Check(check::Arguments),
    Docs(docs::Arguments),
    Bench(bench::Arguments),
    Fuzz(fuzz::Arguments),
    Install(install::Arguments),
    /// Gets the clients and peers of the end-to-end tests (tests/peers.txt), as root on Debian; `test` does it too
    Peers,
    Campaign(campaign::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Chore::parse() {
        Chore::Up(arguments) => up::run(&arguments),
        Chore::Test(arguments) => test::run(&arguments),
        Chore::Check(arguments) => check::run(&arguments),
        Chore::Docs(arguments) => docs::run(&arguments),
        Chore::Bench(arguments) => bench::run(&arguments),
        Chore::Fuzz(arguments) => fuzz::run(&arguments),
        Chore::Install(arguments) => install::run(&arguments),
        Chore::Peers => peers::install().and_then(|there| if there { Ok(()) } else { Err(anyhow::anyhow!("the peers are not there")) }),
        Chore::Campaign(arguments) => campaign::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
