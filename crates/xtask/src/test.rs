//! `cargo xtask test`: what every change has to pass.

use crate::{check, fuzz, peers, tools};
use anyhow::{Context as _, bail};
use std::io::{BufRead, BufReader};
use std::process::Stdio;

/// Everything a change has to pass: checks, unit tests, end-to-end tests with real peers, a short run of the fuzzers
///
/// As root on Debian the peers (tests/peers.txt) are installed first; elsewhere tests whose peer is missing are named as skipped.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How long each fuzz target runs; 0 leaves them out
    #[arg(long, default_value_t = 20)]
    fuzz_seconds: u64,
    /// Install no packages
    #[arg(long)]
    offline: bool,
    /// Fail when anything was skipped
    #[arg(long)]
    require_all: bool,
}

#[derive(Debug, Default)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: Vec<String>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let peers = !arguments.offline && peers::install()?;
    check::run(&check::Arguments { quick: false })?;
    // The end-to-end tests start these.
    tools::run(tools::cargo().args(["build", "--workspace", "--bins"]).args(tools::FEATURES))?;
    let mut counts = Counts::default();
    let list = tools::target().join("e2e-skipped.txt");
    match std::fs::remove_file(&list) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).context("cannot remove the list of skipped tests"),
        _ => {}
    }
    let tests_passed = cargo_test(peers, &mut counts)?;
    if let Ok(text) = std::fs::read_to_string(&list) {
        counts.skipped.extend(text.lines().map(str::to_owned));
    }
    let fuzzed = match arguments.fuzz_seconds {
        0 => Ok(()),
        _ if !fuzz::is_possible() => {
            counts.skipped.push("fuzzing: needs Linux on x86-64 and g++".into());
            Ok(())
        }
        seconds => fuzz::run(&fuzz::Arguments { seconds, targets: Vec::new() }),
    };
    for skipped in &counts.skipped {
        println!("skipped: {skipped}");
    }
    if let Err(error) = &fuzzed {
        println!("fuzzing: {error:#}");
        counts.failed += 1;
    }
    println!("{} passed, {} failed, {} skipped", counts.passed, counts.failed, counts.skipped.len());
    if !tests_passed || fuzzed.is_err() {
        bail!("not everything passed");
    }
    if arguments.require_all && !counts.skipped.is_empty() {
        bail!("not everything was tested");
    }
    Ok(())
}

/// Runs the tests of the workspace and adds up what cargo says of each binary.
fn cargo_test(peers: bool, counts: &mut Counts) -> anyhow::Result<bool> {
    let mut command = tools::cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]).args(tools::FEATURES).stdout(Stdio::piped());
    if peers {
        command.env("FACTEUR_REQUIRE_PEERS", "1");
    }
    eprintln!("$ cargo test --workspace --no-fail-fast");
    let mut child = command.spawn().context("cannot run cargo test")?;
    let stdout = child.stdout.take().context("cargo test has no output")?;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        println!("{line}");
        if let Some((passed, failed)) = result_of(&line) {
            counts.passed += passed;
            counts.failed += failed;
        }
    }
    let status = child.wait()?;
    if !status.success() && counts.failed == 0 {
        // It did not even build.
        counts.failed = 1;
    }
    Ok(status.success())
}

/// Of `test result: ok. 29 passed; 0 failed; …`.
fn result_of(line: &str) -> Option<(u64, u64)> {
    let rest = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let mut numbers = rest.split("; ").filter_map(|part| part.split_once(' ')?.0.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted() {
        let line = "test result: FAILED. 14 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s";
        assert_eq!(result_of(line), Some((14, 2)));
        assert_eq!(result_of("test a ... ok"), None);
    }
}
