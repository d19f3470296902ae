//! `facteur user app-password`: passwords for single apps, beside the mailbox's own.
//!
//! They are made here and leave this program hashed. Being random and long they need no slow hash, so that an app that logs in for every
//! folder costs next to nothing.

use super::account::{client, show};
use crate::cli::Globals;
use crate::table;
use anyhow::Context;
use clap::{Args, Subcommand};
use ipc::accounts::{AppPassword, NewPassword, Request};
use serde_json::{Value, json};
use std::process::ExitCode;

const SCHEME: &str = "SSHA512";

/// Passwords for single apps, which serve for IMAP, POP3 and SMTP beside the mailbox's own
#[derive(Debug, Args)]
pub(super) struct AppPasswordArguments {
    #[command(subcommand)]
    command: AppPasswordCommand,
}

#[derive(Debug, Subcommand)]
enum AppPasswordCommand {
    /// Make one; it is shown this once only
    Add {
        address: String,
        /// What it is for
        note: String,
    },
    /// List them: all, those of a domain, or of a mailbox
    List {
        #[arg(value_name = "DOMAIN|ADDRESS")]
        of: Option<String>,
    },
    /// Delete the one of this number; it ends at once
    Delete { address: String, number: u64 },
}

pub(super) async fn run(globals: Globals, arguments: AppPasswordArguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        AppPasswordCommand::Add { address, note } => {
            let password = passwords::random_password()?;
            let hash = passwords::hash(SCHEME, &password, None).context("the password cannot be hashed")?;
            client(&globals)?.ask(Request::AppPasswordAdd { address: address.clone(), note, password: NewPassword::hashed(hash) }).await?;
            match globals.json {
                true => println!("{}", json!({ "address": address, "password": password.as_str() })),
                false => {
                    eprintln!("{address}: the new password, which is not shown again:");
                    println!("{}", password.as_str());
                }
            }
            Ok(ExitCode::SUCCESS)
        }
        AppPasswordCommand::Delete { address, number } => {
            let done = format!("{address}: password {number} deleted");
            super::account::change(&globals, Request::AppPasswordDelete { address, id: number }, done).await
        }
        AppPasswordCommand::List { of } => {
            let rows = client(&globals)?.app_passwords(of.as_deref()).await?;
            show(&globals, of.as_deref(), &["address", "number", "last used", "from", "note"], rows.iter().map(row).collect())
        }
    }
}

fn row(row: &AppPassword) -> (Vec<String>, Value) {
    let used = row.last_used.map_or("-".into(), |time| table::moment(i64::try_from(time).unwrap_or(i64::MAX)));
    let cells = vec![row.username.clone(), row.id.to_string(), used, row.remote.clone(), row.note.clone()];
    let value = json!({ "address": row.username, "number": row.id, "note": row.note, "last_used": row.last_used, "remote": row.remote });
    (cells, value)
}
