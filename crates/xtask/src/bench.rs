//! `cargo xtask bench`: load beside the peers, see tests/bench/README.md.

use crate::tools;
use std::process::Command;

/// Build for release and measure beside Postfix and Dovecot (as root: the peers change uid)
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What tests/bench/run.sh takes: smtp, idle, imap, and options behind --
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    tools::run(tools::cargo().args(["build", "--release"]))?;
    let root = tools::root();
    tools::run(
        Command::new(root.join("tests/bench/run.sh")).arg(tools::target().join("release")).args(&arguments.arguments).current_dir(&root),
    )
}
