//! `cargo xtask check`: what can be judged without running anything.

mod layering;
mod source;

use crate::{docs, tools, units};
use anyhow::bail;

/// Formatting, warnings, layering of crates, generated documents, systemd units
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Leave out what needs the compiler: formatting and warnings
    #[arg(long)]
    pub quick: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if !arguments.quick {
        tools::run(tools::cargo().args(["fmt", "--all", "--check"]))?;
        tools::run(tools::cargo().args(["clippy", "--workspace", "--all-targets"]).args(tools::FEATURES).args(["--", "-D", "warnings"]))?;
        // Without what is off in a plain build.
        tools::run(tools::cargo().args(["clippy", "-p", "authd", "--", "-D", "warnings"]))?;
    }
    let mut problems = layering::problems()?;
    problems.extend(source::problems()?);
    for (path, text) in docs::generated()? {
        if std::fs::read_to_string(&path).unwrap_or_default() != text {
            problems.push(format!("{} is not what the source says: run cargo xtask docs", path.display()));
        }
    }
    match units::problems()? {
        Some(more) => problems.extend(more),
        None => println!("skipped: systemd-analyze is not installed, the units are not judged"),
    }
    for problem in &problems {
        eprintln!("{problem}");
    }
    if !problems.is_empty() {
        bail!("{} problems", problems.len());
    }
    println!("checks passed");
    Ok(())
}
