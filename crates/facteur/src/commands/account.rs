//! `facteur domain`, `user`, `alias`, `alias-domain`: the accounts, through authd, their only writer.

use super::app_password::{self, AppPasswordArguments};
use crate::cli::Globals;
use crate::{password, table};
use anyhow::bail;
use clap::{ArgAction, Args, Subcommand};
use ipc::accounts::{AccountsClient, Alias, AliasDomain, Domain, Mailbox, NewPassword, Request, Services};
use ipc::userdb::UserdbClient;
use serde_json::{Value, json};
use std::process::ExitCode;

/// The domains that this server receives mail for
#[derive(Debug, Args)]
pub struct DomainArguments {
    #[command(subcommand)]
    command: DomainCommand,
}

#[derive(Debug, Subcommand)]
enum DomainCommand {
    /// Add a domain
    Add {
        domain: String,
        #[arg(long, default_value = "")]
        description: String,
    },
    /// List all domains, or one
    List { domain: Option<String> },
    /// Change a domain; what is not named stays as it is
    Change {
        domain: String,
        #[arg(long)]
        description: Option<String>,
        /// Whether mail is received for it
        #[arg(long, value_name = "true|false", action = ArgAction::Set)]
        active: Option<bool>,
        /// Whether its mail is handed on to a primary server (PostfixAdmin: backup MX)
        #[arg(long, value_name = "true|false", action = ArgAction::Set)]
        backupmx: Option<bool>,
    },
    /// Delete a domain
    Delete {
        domain: String,
        /// Also its mailboxes and aliases; the mail on disk stays
        #[arg(long)]
        all: bool,
    },
}

/// The people who have a mailbox
#[derive(Debug, Args)]
pub struct UserArguments {
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Add a mailbox; the password is asked for, or read from standard input when that is no terminal
    Add {
        address: String,
        /// The person's name
        #[arg(long, default_value = "")]
        name: String,
        /// Most that the mailbox may hold, such as 500M or 2G; 0 is no limit
        #[arg(long, default_value = "0", value_parser = size)]
        quota: u64,
        #[command(flatten)]
        password: PasswordArguments,
    },
    /// List all mailboxes, those of a domain, or one
    List {
        #[arg(value_name = "DOMAIN|ADDRESS")]
        of: Option<String>,
        /// All users that can log in, of whatever passdb: also those of passwd-files
        #[arg(long)]
        all: bool,
    },
    /// Show where the mail of users lies, and what else the user database has of them
    Lookup {
        #[arg(required = true, value_name = "USER")]
        users: Vec<String>,
        /// Only the value of this field
        #[arg(short, long)]
        field: Option<String>,
    },
    /// Change a mailbox; what is not named stays as it is
    Change {
        address: String,
        #[arg(long)]
        name: Option<String>,
        /// Most that the mailbox may hold, such as 500M or 2G; 0 is no limit
        #[arg(long, value_parser = size)]
        quota: Option<u64>,
        /// Whether the person may log in and mail is received
        #[arg(long, value_name = "true|false", action = ArgAction::Set)]
        active: Option<bool>,
        /// Whether the person may log in to send mail
        #[arg(long, value_name = "true|false", action = ArgAction::Set)]
        smtp: Option<bool>,
        /// Whether the person may log in to read mail by IMAP
        #[arg(long, value_name = "true|false", action = ArgAction::Set)]
        imap: Option<bool>,
        /// Whether the person may log in to read mail by POP3
        #[arg(long, value_name = "true|false", action = ArgAction::Set)]
        pop3: Option<bool>,
    },
    AppPassword(AppPasswordArguments),
    /// Set a new password; it holds at once
    Passwd {
        address: String,
        #[command(flatten)]
        password: PasswordArguments,
    },
    /// Delete a mailbox and its alias; the mail on disk stays
    Delete {
        address: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct PasswordArguments {
    /// Take the password from the first line of standard input
    #[arg(long)]
    password_stdin: bool,
    /// Take a hash that was made elsewhere, such as {SHA512-CRYPT}$6$…
    #[arg(long, value_name = "{SCHEME}HASH", conflicts_with = "password_stdin")]
    hash: Option<String>,
}

/// Addresses whose mail goes to other addresses
#[derive(Debug, Args)]
pub struct AliasArguments {
    #[command(subcommand)]
    command: AliasCommand,
}

#[derive(Debug, Subcommand)]
enum AliasCommand {
    /// Add an alias; @DOMAIN catches what no other address of the domain does
    Add {
        #[arg(value_name = "ADDRESS|@DOMAIN")]
        address: String,
        #[arg(required = true)]
        goto: Vec<String>,
    },
    /// List all aliases, those of a domain, or one
    List {
        #[arg(value_name = "DOMAIN|ADDRESS")]
        of: Option<String>,
    },
    /// Change where an alias goes, or whether it is active
    Change {
        #[arg(value_name = "ADDRESS|@DOMAIN")]
        address: String,
        goto: Vec<String>,
        #[arg(long, value_name = "true|false", action = ArgAction::Set)]
        active: Option<bool>,
    },
    /// Delete an alias
    Delete {
        #[arg(value_name = "ADDRESS|@DOMAIN")]
        address: String,
    },
}

/// Domains all of whose addresses mean the same address in another domain
#[derive(Debug, Args)]
pub struct AliasDomainArguments {
    #[command(subcommand)]
    command: AliasDomainCommand,
}

#[derive(Debug, Subcommand)]
enum AliasDomainCommand {
    /// Add an alias domain
    Add { alias_domain: String, target_domain: String },
    /// List all alias domains, or those that mean one domain
    List { of: Option<String> },
    /// Delete an alias domain
    Delete { alias_domain: String },
}

pub(super) fn client(globals: &Globals) -> anyhow::Result<AccountsClient> {
    Ok(AccountsClient::new(globals.settings()?.socket("accounts")))
}

pub(super) async fn change(globals: &Globals, request: Request, done: String) -> anyhow::Result<ExitCode> {
    client(globals)?.ask(request).await?;
    if !globals.json {
        println!("{done}");
    }
    Ok(ExitCode::SUCCESS)
}

// A list that is empty because nothing of that name is there is a failure; no accounts at all are none.
pub(super) fn show(globals: &Globals, of: Option<&str>, header: &[&str], rows: Vec<(Vec<String>, Value)>) -> anyhow::Result<ExitCode> {
    if globals.json {
        let values: Vec<Value> = rows.iter().map(|(_, value)| value.clone()).collect();
        println!("{}", serde_json::to_string_pretty(&values)?);
    } else if !rows.is_empty() {
        table::print(header, rows.iter().map(|(cells, _)| cells.clone()));
    }
    match of {
        Some(of) if rows.is_empty() => {
            eprintln!("facteur: nothing is there for {of}");
            Ok(ExitCode::FAILURE)
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

pub async fn domain(globals: Globals, arguments: DomainArguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        DomainCommand::Add { domain, description } => {
            let done = format!("{domain}: added");
            change(&globals, Request::DomainAdd { domain, description }, done).await
        }
        DomainCommand::Change { domain, description, active, backupmx } => {
            let done = format!("{domain}: changed");
            change(&globals, Request::DomainChange { domain, description, active, backupmx }, done).await
        }
        DomainCommand::Delete { domain, all } => {
            let done = format!("{domain}: deleted");
            change(&globals, Request::DomainDelete { domain, all }, done).await
        }
        DomainCommand::List { domain } => {
            let rows = client(&globals)?.domains(domain.as_deref()).await?;
            let rows = rows.iter().map(domain_row).collect();
            show(&globals, domain.as_deref(), &["domain", "mailboxes", "aliases", "active", "description"], rows)
        }
    }
}

fn domain_row(row: &Domain) -> (Vec<String>, Value) {
    let description = if row.backupmx { format!("{} (backup MX)", row.description) } else { row.description.clone() };
    let cells = vec![row.domain.clone(), row.mailboxes.to_string(), row.aliases.to_string(), yes(row.active), description];
    let value = json!({
        "domain": row.domain, "description": row.description, "active": row.active, "backupmx": row.backupmx,
        "mailboxes": row.mailboxes, "aliases": row.aliases, "created": row.created, "modified": row.modified,
    });
    (cells, value)
}

pub async fn user(globals: Globals, arguments: UserArguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        UserCommand::Add { address, name, quota, password } => {
            let password = password.read(&address)?;
            let done = format!("{address}: added");
            change(&globals, Request::MailboxAdd { address, password, name, quota_bytes: quota }, done).await
        }
        UserCommand::Passwd { address, password } => {
            let password = Some(password.read(&address)?);
            let done = format!("{address}: the new password holds");
            let services = Services::default();
            change(&globals, Request::MailboxChange { address, password, name: None, quota_bytes: None, active: None, services }, done)
                .await
        }
        UserCommand::Change { address, name, quota, active, smtp, imap, pop3 } => {
            let services = Services { smtp, imap, pop3 };
            if name.is_none() && quota.is_none() && active.is_none() && services == Services::default() {
                bail!("say what to change: --name, --quota, --active, --smtp, --imap or --pop3");
            }
            let done = format!("{address}: changed");
            change(&globals, Request::MailboxChange { address, password: None, name, quota_bytes: quota, active, services }, done).await
        }
        UserCommand::AppPassword(arguments) => app_password::run(globals, arguments).await,
        UserCommand::Delete { address } => {
            let done = format!("{address}: deleted; the mail on disk is still there");
            change(&globals, Request::MailboxDelete { address }, done).await
        }
        UserCommand::Lookup { users, field } => lookup(&globals, &users, field.as_deref()).await,
        UserCommand::List { of, all: true } => list_all(&globals, of.as_deref()).await,
        UserCommand::List { of, all: false } => {
            let rows = client(&globals)?.mailboxes(of.as_deref()).await?;
            let rows = rows.iter().map(user_row).collect();
            show(&globals, of.as_deref(), &["address", "used", "quota", "active", "password", "name"], rows)
        }
    }
}

/// Names as the user database has them. authd can list what a static one covers, from the passdbs.
async fn list_all(globals: &Globals, of: Option<&str>) -> anyhow::Result<ExitCode> {
    let mut names = UserdbClient::new(globals.settings()?.socket("userdb")).list().await?;
    names.retain(|name| of.is_none_or(|of| name == of || name.rsplit_once('@').is_some_and(|(_, domain)| domain == of)));
    let rows = names.into_iter().map(|name| (vec![name.clone()], json!({ "address": name }))).collect();
    show(globals, of, &["address"], rows)
}

/// As `doveadm user`. A user who is not there makes the exit code 67, as there.
async fn lookup(globals: &Globals, users: &[String], field: Option<&str>) -> anyhow::Result<ExitCode> {
    const EXIT_NO_USER: u8 = 67;
    let userdb = UserdbClient::new(globals.settings()?.socket("userdb"));
    let mut code = ExitCode::SUCCESS;
    let mut values = Vec::new();
    for user in users {
        let Some(found) = userdb.ask(user, "facteur").await? else {
            eprintln!("facteur: {}: there is no such user", mail_types::printable(user));
            code = ExitCode::from(EXIT_NO_USER);
            continue;
        };
        let mut fields = vec![("user".to_owned(), found.name.clone())];
        fields.extend(found.fields.iter().filter(|(name, _)| name != "user").cloned());
        fields.retain(|(name, _)| field.is_none_or(|field| field == name));
        match (globals.json, field) {
            (true, _) => values.push(fields.into_iter().collect::<std::collections::BTreeMap<_, _>>()),
            (false, Some(_)) => fields.iter().for_each(|(_, value)| println!("{}", mail_types::printable(value))),
            (false, None) => {
                table::print(&["field", "value"], fields.into_iter().map(|(name, value)| vec![name, mail_types::printable(&value)]));
            }
        }
    }
    if globals.json {
        println!("{}", serde_json::to_string_pretty(&values)?);
    }
    Ok(code)
}

fn user_row(row: &Mailbox) -> (Vec<String>, Value) {
    let used = row.used_bytes.map_or("-".into(), table::bytes);
    let quota = if row.quota_bytes == 0 { "-".into() } else { table::bytes(row.quota_bytes) };
    let active = match (row.active, &row.off[..]) {
        (true, [_, ..]) => format!("yes, no {}", row.off.join(" ")),
        (active, _) => yes(active),
    };
    let cells = vec![row.username.clone(), used, quota, active, row.scheme.clone(), row.name.clone()];
    let value = json!({
        "address": row.username, "name": row.name, "maildir": row.maildir, "quota_bytes": row.quota_bytes, "used_bytes": row.used_bytes,
        "active": row.active, "off": row.off, "scheme": row.scheme, "created": row.created, "modified": row.modified,
    });
    (cells, value)
}

pub async fn alias(globals: Globals, arguments: AliasArguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        AliasCommand::Add { address, goto } => {
            let done = format!("{address}: added");
            change(&globals, Request::AliasAdd { address, goto: split(goto) }, done).await
        }
        AliasCommand::Change { address, goto, active } => {
            let goto = split(goto);
            if goto.is_empty() && active.is_none() {
                bail!("say where the alias goes, or --active");
            }
            let done = format!("{address}: changed");
            change(&globals, Request::AliasChange { address, goto: (!goto.is_empty()).then_some(goto), active }, done).await
        }
        AliasCommand::Delete { address } => {
            let done = format!("{address}: deleted");
            change(&globals, Request::AliasDelete { address }, done).await
        }
        AliasCommand::List { of } => {
            let rows = client(&globals)?.aliases(of.as_deref()).await?;
            let rows = rows.iter().map(alias_row).collect();
            show(&globals, of.as_deref(), &["alias", "active", "goes to"], rows)
        }
    }
}

// `a@x b@y` and `a@x,b@y` alike, as in alias files.
fn split(goto: Vec<String>) -> Vec<String> {
    goto.iter().flat_map(|g| g.split(',')).map(str::trim).filter(|g| !g.is_empty()).map(str::to_owned).collect()
}

fn alias_row(row: &Alias) -> (Vec<String>, Value) {
    let cells = vec![row.address.clone(), yes(row.active), row.goto.join(", ")];
    let value = json!({ "address": row.address, "goto": row.goto, "active": row.active, "created": row.created, "modified": row.modified });
    (cells, value)
}

pub async fn alias_domain(globals: Globals, arguments: AliasDomainArguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        AliasDomainCommand::Add { alias_domain, target_domain } => {
            let done = format!("{alias_domain}: added");
            change(&globals, Request::AliasDomainAdd { alias_domain, target_domain }, done).await
        }
        AliasDomainCommand::Delete { alias_domain } => {
            let done = format!("{alias_domain}: deleted");
            change(&globals, Request::AliasDomainDelete { alias_domain }, done).await
        }
        AliasDomainCommand::List { of } => {
            let rows = client(&globals)?.alias_domains(of.as_deref()).await?;
            let rows = rows.iter().map(alias_domain_row).collect();
            show(&globals, of.as_deref(), &["alias domain", "active", "means"], rows)
        }
    }
}

fn alias_domain_row(row: &AliasDomain) -> (Vec<String>, Value) {
    let cells = vec![row.alias_domain.clone(), yes(row.active), row.target_domain.clone()];
    let value = json!({
        "alias_domain": row.alias_domain, "target_domain": row.target_domain, "active": row.active,
        "created": row.created, "modified": row.modified,
    });
    (cells, value)
}

pub(super) fn yes(active: bool) -> String {
    if active { "yes" } else { "no" }.into()
}

// As the settings write sizes: K, M, G, T times 1024.
fn size(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let shift = match text[split..].trim().to_ascii_uppercase().trim_end_matches("IB").trim_end_matches('B') {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err("write a size as 500M or 2G".into()),
    };
    let number: u64 = text[..split].parse().map_err(|_| "write a size as 500M or 2G".to_owned())?;
    number.checked_mul(1 << shift).filter(|bytes| *bytes <= 1 << 60).ok_or_else(|| "that is too much".into())
}

impl PasswordArguments {
    pub(super) fn read(&self, address: &str) -> anyhow::Result<NewPassword> {
        if let Some(hash) = &self.hash {
            if !hash.starts_with('{') {
                bail!("a hash begins with its scheme: {{ARGON2ID}}, {{SHA512-CRYPT}}, …");
            }
            return Ok(NewPassword::hashed(hash.clone()));
        }
        Ok(NewPassword::plain(&**password::new(&format!("New password for {address}: "), self.password_stdin)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_or_refused() {
        for (text, want) in [
            ("0", Ok(0)),
            ("1000", Ok(1000)),
            ("500M", Ok(500 << 20)),
            ("2g", Ok(2 << 30)),
            ("1 GiB", Ok(1 << 30)),
            ("10KB", Ok(10 << 10)),
            ("", Err(())),
            ("M", Err(())),
            ("-1", Err(())),
            ("1.5G", Err(())),
            ("99999999999T", Err(())),
        ] {
            assert_eq!(size(text).map_err(drop), want, "{text:?}");
        }
    }

    #[test]
    fn a_hash_names_its_scheme() {
        let hash = |hash: &str| PasswordArguments { password_stdin: false, hash: Some(hash.into()) }.read("a@b");
        assert!(hash("{ARGON2ID}$argon2id$x").expect("hash").is_hashed());
        assert!(hash("plain").is_err());
    }

    #[test]
    fn goals_may_be_separated_by_commas() {
        assert_eq!(split(vec!["a@x, b@x".into(), "c@x,".into()]), ["a@x", "b@x", "c@x"]);
    }
}
