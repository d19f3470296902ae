//! `facteur status`.

use super::DAEMONS;
use crate::cli::Globals;
use crate::table;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use ipc::control::{ControlClient, ControlError, Status};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

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
    let mut shown = Table::new();
    shown.load_style(NOTHING).set_header(["daemon", "pid", "up", "sessions", "since start", "version", ""]);
    for (daemon, answer) in answers {
        match answer {
            Ok(status) => {
                let mut notes: Vec<String> = status.facts.iter().map(|(name, value)| format!("{name}={value}")).collect();
                if status.stopping {
                    notes.push("stopping".into());
                }
                shown.add_row([
                    (*daemon).to_owned(),
                    status.pid.to_string(),
                    table::age(now.saturating_sub(status.started)),
                    status.sessions.to_string(),
                    status.sessions_total.to_string(),
                    status.version.clone(),
                    notes.join(" "),
                ]);
            }
            Err(_) => {
                shown.add_row([*daemon, "-", "-", "-", "-", "-", "does not answer"]);
            }
        }
    }
    println!("{shown}");
    for (daemon, answer) in answers {
        match answer {
            Ok(status) if !status.reload_error.is_empty() => println!("\n{daemon}: the last reload was refused:\n{}", status.reload_error),
            Ok(_) => {}
            Err(error) => eprintln!("{daemon}: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
