//! What tables may have beyond those of PostfixAdmin 3.3: switches of services (`smtp_active`, PostfixAdmin 4; ours have `imap_active` and
//! `pop3_active` too), passwords for apps (`mailbox_app_password`), and the secret of a second factor (`totp_secret`) with the addresses that
//! need none (`totp_exception_address`).
//!
//! What is not there is looked for again from time to time: PostfixAdmin may be brought up to date while we run. What was there once has
//! to stay, or its questions fail: a restriction is not to be lost because somebody took a table away for a moment.

use super::write::{Change, WriteError, database_name, refused};
use super::{Accounts, read};
use ipc::accounts as rows;
use ipc::usage::{Login, Note};
use mail_types::Address;
use parking_lot::Mutex;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tables::sql::{Database, Fault, Kind, Value};
use zeroize::Zeroizing;

/// Services that can be switched off for a mailbox, in the column of that name and `_active`.
pub const SERVICES: [&str; 3] = ["smtp", "imap", "pop3"];

const LOOK_EVERY: Duration = Duration::from_secs(300);
/// Passwords for apps that a mailbox may have.
const APP_PASSWORDS_LIMIT: usize = 50;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct There {
    pub switches: [bool; SERVICES.len()],
    pub second_factor: bool,
    pub exceptions: bool,
    pub app_passwords: bool,
}

/// What was found there, and when.
#[derive(Default)]
pub(super) struct Newer(Mutex<Option<(There, Instant)>>);

impl Newer {
    pub(super) async fn there(&self, database: &Database) -> Result<There, Fault> {
        let known = *self.0.lock();
        let before = match known {
            Some((there, since)) if since.elapsed() < LOOK_EVERY => return Ok(there),
            known => known.map(|(there, _)| there).unwrap_or_default(),
        };
        let rows = database.fetch(columns_query(database.kind()).into(), &[]).await?;
        let has = |table: &str, columns: &[&str]| {
            columns.iter().all(|column| rows.iter().any(|row| row.text(0) == table && row.text(1) == *column))
        };
        let there = There {
            switches: std::array::from_fn(|at| before.switches[at] || has("mailbox", &[&format!("{}_active", SERVICES[at])])),
            second_factor: before.second_factor || has("mailbox", &["totp_secret"]),
            exceptions: before.exceptions || has("totp_exception_address", &["ip", "username"]),
            app_passwords: before.app_passwords || has("mailbox_app_password", &["id", "username", "description", "password_hash"]),
        };
        *self.0.lock() = Some((there, Instant::now()));
        Ok(there)
    }
}

/// Tables that may be there, and their columns.
fn columns_query(kind: Kind) -> &'static str {
    match kind {
        Kind::Sqlite => {
            "SELECT 'mailbox', name FROM pragma_table_info('mailbox')
             UNION ALL SELECT 'totp_exception_address', name FROM pragma_table_info('totp_exception_address')
             UNION ALL SELECT 'mailbox_app_password', name FROM pragma_table_info('mailbox_app_password')"
        }
        Kind::Mysql => {
            "SELECT CAST(table_name AS CHAR(64)), CAST(column_name AS CHAR(64)) FROM information_schema.columns
             WHERE table_schema = DATABASE() AND table_name IN ('mailbox', 'totp_exception_address', 'mailbox_app_password')"
        }
        Kind::Pgsql => {
            "SELECT CAST(table_name AS VARCHAR(64)), CAST(column_name AS VARCHAR(64)) FROM information_schema.columns
             WHERE table_schema = ANY (current_schemas(false)) AND table_name IN ('mailbox', 'totp_exception_address', 'mailbox_app_password')"
        }
    }
}

/// A password for one app, hashed.
pub struct AppPassword {
    pub id: u64,
    pub password: Zeroizing<String>,
}

/// How `last_login` names the app with this password.
fn service_of(id: u64) -> String {
    format!("app:{id}")
}

impl Accounts {
    pub(super) async fn newer(&self) -> Result<There, Fault> {
        self.newer.there(&self.database).await
    }

    /// The passwords for apps of an active mailbox.
    pub async fn app_passwords(&self, username: &str) -> Result<Vec<AppPassword>, Fault> {
        if !self.newer().await?.app_passwords {
            return Ok(Vec::new());
        }
        let query = "SELECT p.username, p.id, p.password_hash FROM mailbox_app_password p WHERE p.username = ? ORDER BY p.id";
        let mut found = self.ask(query, &[username.into()]).await?;
        found.retain(|row| row.text(0).to_lowercase() == username && !row.text(2).is_empty());
        if found.len() > APP_PASSWORDS_LIMIT {
            tracing::warn!(
                user = username,
                passwords = found.len(),
                "only the first {APP_PASSWORDS_LIMIT} passwords for apps are looked at"
            );
            found.truncate(APP_PASSWORDS_LIMIT);
        }
        Ok(found.iter().map(|row| AppPassword { id: row.number(1), password: Zeroizing::new(row.text(2).to_owned()) }).collect())
    }

    /// Whether somebody with a second factor may use the mailbox's own password from this address: as the user, all users of the
    /// domain, or everybody may.
    pub async fn is_excepted(&self, username: &str, remote: Option<IpAddr>) -> Result<bool, Fault> {
        let Some(remote) = remote else { return Ok(false) };
        if !self.newer().await?.exceptions {
            return Ok(false);
        }
        let domain = username.split_once('@').map_or("", |(_, domain)| domain);
        let at_domain = format!("@{domain}");
        let query = "SELECT e.username, e.ip FROM totp_exception_address e
             WHERE e.username IS NULL OR e.username = ? OR e.username = ? OR e.username = ?";
        let found = self.ask(query, &[username.into(), domain.into(), at_domain.as_str().into()]).await?;
        Ok(found.iter().any(|row| {
            let whose = row.optional(0).map(str::to_lowercase);
            let is_meant = whose.is_none_or(|whose| [username, domain, &at_domain].contains(&whose.as_str()));
            is_meant && row.text(1).trim().parse().is_ok_and(|ip: IpAddr| ip.to_canonical() == remote)
        }))
    }

    /// Keeps when and from where an app has used its password.
    pub async fn app_password_used(&self, username: &str, id: u64, remote: Option<IpAddr>) -> Result<(), WriteError> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let login = Login { service: service_of(id), time, remote: remote.map(|ip| ip.to_string()).unwrap_or_default() };
        self.keep_usage(&[Note { user: username.to_owned(), stored: None, login: Some(login) }]).await
    }

    /// The number of the new password, which is hashed already.
    pub async fn app_password_add(&self, address: &Address, note: &str, password: &str) -> Result<(), WriteError> {
        let mut change = self.change_app_passwords().await?;
        let username = database_name(&address.to_lowercase())?;
        if !change.mailbox(&username).await? {
            return refused(format!("the mailbox {username} is not there"));
        }
        if self.app_passwords(&username).await?.len() >= APP_PASSWORDS_LIMIT {
            return refused(format!("{username} has {APP_PASSWORDS_LIMIT} passwords for apps already"));
        }
        let statement = "INSERT INTO mailbox_app_password (username, description, password_hash) VALUES (?, ?, ?)";
        change.run(statement, &[username.into(), note.into(), password.into()]).await?;
        change.done().await
    }

    pub async fn app_password_delete(&self, address: &Address, id: u64) -> Result<(), WriteError> {
        let mut change = self.change_app_passwords().await?;
        let username = database_name(&address.to_lowercase())?;
        let values: [Value; 2] = [username.as_str().into(), id.into()];
        if change.run("DELETE FROM mailbox_app_password WHERE username = ? AND id = ?", &values).await? == 0 {
            return refused(format!("{username} has no password for apps of the number {id}"));
        }
        self.logins.forget_service(&mut change, &username, &service_of(id)).await?;
        change.done().await
    }

    async fn change_app_passwords(&self) -> Result<Change<'_>, WriteError> {
        if !self.newer().await?.app_passwords {
            return refused("the accounts database has no table mailbox_app_password (PostfixAdmin 3.4 makes it)");
        }
        self.change().await
    }

    /// Passwords for apps: all, of a domain, or of a mailbox.
    pub async fn list_app_passwords(&self, of: Option<&str>) -> Result<Vec<rows::Row>, Fault> {
        if !self.newer().await?.app_passwords {
            return Ok(Vec::new());
        }
        let (condition, values) = read::wanted(" WHERE p.username = ? OR m.domain = ?", of);
        let query = format!(
            "SELECT p.username, p.id, p.description FROM mailbox_app_password p JOIN mailbox m ON m.username = p.username{condition} ORDER BY 1, 2"
        );
        let found = self.ask(&query, &values).await?;
        let mut uses = std::collections::HashMap::new();
        if self.logins.are_kept(&self.database).await? {
            for row in
                self.ask("SELECT l.username, l.service, l.time, l.remote FROM last_login l WHERE l.service LIKE 'app:%'", &[]).await?
            {
                uses.insert((row.text(0).to_lowercase(), row.text(1).to_owned()), (row.number(2), row.text(3).to_owned()));
            }
        }
        let row = |row: &tables::sql::Row| {
            let (username, id) = (row.text(0).to_lowercase(), row.number(1));
            let used = uses.get(&(username.clone(), service_of(id))).cloned();
            let (last_used, remote) = used.map_or((None, String::new()), |(time, remote)| (Some(time), remote));
            rows::Row::AppPassword(rows::AppPassword { username, id, note: row.text(2).to_owned(), last_used, remote })
        };
        Ok(found.iter().map(row).collect())
    }
}

/// Whether a service is one of those that can be switched off, and which.
pub fn switch_of(service: &str) -> Option<usize> {
    let service = if service == "submission" { "smtp" } else { service };
    SERVICES.iter().position(|known| *known == service)
}
