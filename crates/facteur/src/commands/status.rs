//! `facteur status`.

use super::DAEMONS;
use crate::cli::Globals;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use ipc::control::{ControlClient, ControlError, Status};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Show each daemon: process, age, sessions, version, and why its last reload was refused
///
/// The exit code is 1 when one of them does not answer.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// One daemon [default: all]
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(DAEMONS))]
    daemon: Option<String>,
}

pub async fn run(globals: Globals, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let config = globals.settings()?;
    let mut asked = Vec::new();
    for daemon in DAEMONS.into_iter().filter(|d| arguments.daemon.as_deref().is_none_or(|only| only == *d)) {
        let path = config.socket("control").join(daemon);
        // All at once: a daemon that hangs costs its own time only.
        asked.push((daemon, tokio::spawn(async move { ask(&path).await })));
    }
    let mut answers = Vec::new();
    for (daemon, task) in asked {
        answers.push((daemon, task.await?));
    }
    if globals.json {
        let all: Vec<Value> = answers.iter().map(|(daemon, answer)| as_json(daemon, answer)).collect();
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        print_table(&answers);
    }
    Ok(if answers.iter().all(|(_, answer)| answer.is_ok()) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn ask(path: &std::path::Path) -> Result<Status, ControlError> {
    ControlClient::connect(path).await?.status().await
}

fn as_json(daemon: &str, answer: &Result<Status, ControlError>) -> Value {
    match answer {
        Ok(status) => json!({
            "daemon": daemon,
            "running": true,
            "pid": status.pid,
            "version": status.version,
            "started": status.started,
            "loaded": status.loaded,
            "sessions": status.sessions,
            "sessions_total": status.sessions_total,
            "stopping": status.stopping,
            "reload_error": if status.reload_error.is_empty() { Value::Null } else { json!(status.reload_error) },
            "facts": status.facts.iter().map(|(name, value)| (name.clone(), json!(value))).collect::<serde_json::Map<_, _>>(),
        }),
        Err(error) => json!({ "daemon": daemon, "running": false, "error": error.to_string() }),
    }
}

fn print_table(answers: &[(&str, Result<Status, ControlError>)]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["daemon", "pid", "up", "sessions", "since start", "version", ""]);
    for (daemon, answer) in answers {
        match answer {
            Ok(status) => {
                let mut notes: Vec<String> = status.facts.iter().map(|(name, value)| format!("{name}={value}")).collect();
                if status.stopping {
                    notes.push("stopping".into());
                }
                table.add_row([
                    (*daemon).to_owned(),
                    status.pid.to_string(),
                    age(Duration::from_secs(now.saturating_sub(status.started))),
                    status.sessions.to_string(),
                    status.sessions_total.to_string(),
                    status.version.clone(),
                    notes.join(" "),
                ]);
            }
            Err(_) => {
                table.add_row([*daemon, "-", "-", "-", "-", "-", "does not answer"]);
            }
        }
    }
    println!("{table}");
    for (daemon, answer) in answers {
        match answer {
            Ok(status) if !status.reload_error.is_empty() => println!("\n{daemon}: the last reload was refused:\n{}", status.reload_error),
            Ok(_) => {}
            Err(error) => eprintln!("{daemon}: {error}"),
        }
    }
}

/// `3d 4h`, `5h 10m`, `12m 3s`, `7s`.
fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, m) => format!("{m}m {}s", seconds % 60),
        (0, h, m) => format!("{h}h {m}m"),
        (d, h, _) => format!("{d}d {h}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_two_units() {
        for (seconds, want) in [(7, "7s"), (723, "12m 3s"), (18_600, "5h 10m"), (273_600, "3d 4h")] {
            assert_eq!(age(Duration::from_secs(seconds)), want);
        }
    }

    #[test]
    fn a_daemon_that_does_not_answer_is_in_the_json_too() {
        let value = as_json("qmgr", &Err(ControlError::Closed));
        assert_eq!((value["daemon"].as_str(), value["running"].as_bool()), (Some("qmgr"), Some(false)));
        let status = Status { pid: 7, facts: vec![("queued".into(), "3".into())], ..Status::default() };
        let value = as_json("qmgr", &Ok(status));
        assert_eq!(value["pid"], 7);
        assert_eq!(value["facts"]["queued"], "3");
        assert!(value["reload_error"].is_null());
    }
}
