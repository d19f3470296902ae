//! `facteur admin`: whom PostfixAdmin's pages let in.

use super::account::{PasswordArguments, change, client, show, yes};
use crate::cli::Globals;
use anyhow::bail;
use clap::{ArgAction, Args, Subcommand};
use ipc::accounts::{Admin, Request};
use serde_json::{Value, json};
use std::process::ExitCode;

/// The people who may use PostfixAdmin's pages, for some domains or for all
#[derive(Debug, Args)]
pub struct AdminArguments {
    #[command(subcommand)]
    command: AdminCommand,
}

#[derive(Debug, Subcommand)]
enum AdminCommand {
    /// Add an admin; the password is asked for, or read from standard input when that is no terminal
    Add {
        address: String,
        /// The domains that the admin may change
        domains: Vec<String>,
        /// For all domains, and other admins
        #[arg(long)]
        all_domains: bool,
        #[command(flatten)]
        password: PasswordArguments,
    },
    /// List all admins, or one
    List { address: Option<String> },
    /// Change an admin; what is not named stays as it is
    Change {
        address: String,
        /// The domains instead of those before
        domains: Vec<String>,
        #[arg(long, value_name = "true|false", action = ArgAction::Set)]
        all_domains: Option<bool>,
        #[arg(long, value_name = "true|false", action = ArgAction::Set)]
        active: Option<bool>,
    },
    /// Set a new password
    Passwd {
        address: String,
        #[command(flatten)]
        password: PasswordArguments,
    },
    /// Delete an admin
    Delete { address: String },
}

pub async fn run(globals: Globals, arguments: AdminArguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        AdminCommand::Add { address: username, domains, all_domains, password } => {
            if domains.is_empty() && !all_domains {
                bail!("say for which domains, or --all-domains");
            }
            let password = password.read(&username)?;
            let done = format!("{username}: added");
            change(&globals, Request::AdminAdd { username, password, domains, all_domains }, done).await
        }
        AdminCommand::Change { address: username, domains, all_domains, active } => {
            if domains.is_empty() && all_domains.is_none() && active.is_none() {
                bail!("say what to change: domains, --all-domains or --active");
            }
            let done = format!("{username}: changed");
            let domains = (!domains.is_empty()).then_some(domains);
            change(&globals, Request::AdminChange { username, password: None, domains, all_domains, active }, done).await
        }
        AdminCommand::Passwd { address: username, password } => {
            let password = Some(password.read(&username)?);
            let done = format!("{username}: the new password holds");
            change(&globals, Request::AdminChange { username, password, domains: None, all_domains: None, active: None }, done).await
        }
        AdminCommand::Delete { address: username } => {
            let done = format!("{username}: deleted");
            change(&globals, Request::AdminDelete { username }, done).await
        }
        AdminCommand::List { address } => {
            let rows = client(&globals)?.admins(address.as_deref()).await?;
            show(&globals, address.as_deref(), &["admin", "active", "domains"], rows.iter().map(row).collect())
        }
    }
}

fn row(row: &Admin) -> (Vec<String>, Value) {
    let domains = if row.all_domains { "all".to_owned() } else { row.domains.join(", ") };
    let cells = vec![row.username.clone(), yes(row.active), domains];
    let value = json!({
        "address": row.username, "domains": row.domains, "all_domains": row.all_domains, "active": row.active,
        "created": row.created, "modified": row.modified,
    });
    (cells, value)
}
