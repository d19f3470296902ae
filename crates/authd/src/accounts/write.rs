//! Changes of the accounts database. Each is one transaction, checked first and committed when it returns.

use super::newer::SERVICES;
use super::{Accounts, read};
use mail_types::{Address, Domain};
use std::sync::atomic::{AtomicU64, Ordering};
use tables::sql::{Fault, Kind, Transaction, Value};
use tokio::sync::MutexGuard;
use zeroize::Zeroizing;

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// It cannot be; for the person who asked.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Database(Fault),
}

impl From<Fault> for WriteError {
    fn from(fault: Fault) -> WriteError {
        match fault {
            // Somebody else (PostfixAdmin) was quicker than our look whether it is there.
            Fault::Statement { is_there_already: true, .. } => WriteError::Refused("it is there already".into()),
            fault => WriteError::Database(fault),
        }
    }
}

pub(super) fn refused<T>(reason: impl Into<String>) -> Result<T, WriteError> {
    Err(WriteError::Refused(reason.into()))
}

/// A mailbox to be added; the password is hashed already.
pub struct NewMailbox {
    pub address: Address,
    pub password: Zeroizing<String>,
    pub name: String,
    pub maildir: String,
    pub quota_bytes: u64,
}

/// What is to be another in a mailbox; `None` leaves a column as it is, and the password is hashed already.
#[derive(Default)]
pub struct MailboxChange {
    pub password: Option<Zeroizing<String>>,
    pub name: Option<String>,
    pub quota_bytes: Option<u64>,
    pub active: Option<bool>,
    /// In the order of `SERVICES`.
    pub services: [Option<bool>; SERVICES.len()],
}

/// A transaction and the right to write; committed by `done`, undone when dropped.
pub(super) struct Change<'a> {
    transaction: Transaction,
    changes: &'a AtomicU64,
    _alone: MutexGuard<'a, ()>,
}

impl Change<'_> {
    /// Whether the first column of a row is `name`.
    pub(super) async fn there(&mut self, query: &str, name: &str) -> Result<bool, WriteError> {
        let text = self.transaction.kind().placeholders(query);
        Ok(read::named(self.transaction.fetch(text, &[name.into()]).await?, name).is_some())
    }

    async fn domain(&mut self, domain: &str) -> Result<bool, WriteError> {
        self.there("SELECT domain FROM domain WHERE domain = ? AND domain <> 'ALL'", domain).await
    }

    pub(super) async fn need_domain(&mut self, domain: &Domain) -> Result<(), WriteError> {
        if self.domain(domain.as_str()).await? {
            return Ok(());
        }
        refused(format!("the domain {domain} is not there; add it first"))
    }

    pub(super) async fn mailbox(&mut self, address: &str) -> Result<bool, WriteError> {
        self.there("SELECT username FROM mailbox WHERE username = ?", address).await
    }

    /// The stored password of a mailbox.
    async fn password(&mut self, username: &str) -> Result<Option<Zeroizing<String>>, WriteError> {
        let text = self.transaction.kind().placeholders("SELECT username, password FROM mailbox WHERE username = ?");
        let row = read::named(self.transaction.fetch(text, &[username.into()]).await?, username);
        Ok(row.map(|row| Zeroizing::new(row.text(1).to_owned())))
    }

    async fn alias(&mut self, address: &str) -> Result<bool, WriteError> {
        self.there("SELECT address FROM alias WHERE address = ?", address).await
    }

    async fn alias_domain(&mut self, domain: &str) -> Result<bool, WriteError> {
        self.there("SELECT alias_domain FROM alias_domain WHERE alias_domain = ?", domain).await
    }

    /// Runs a statement; the number of rows it touched.
    pub(super) async fn run(&mut self, statement: &str, values: &[Value]) -> Result<u64, WriteError> {
        let text = self.transaction.kind().placeholders(statement);
        Ok(self.transaction.execute(text, values).await?)
    }

    /// Deletes the row of this name; false when there is none. What a collation takes for the name is not it, and stays.
    pub(super) async fn delete(&mut self, table: &str, key: (&str, &str)) -> Result<bool, WriteError> {
        let (column, name) = key;
        let is_there = self.there(&format!("SELECT {column} FROM {table} WHERE {column} = ?"), name).await?;
        Ok(is_there && self.run(&format!("DELETE FROM {table} WHERE {column} = ?"), &[name.into()]).await? > 0)
    }

    /// Changes the columns that have a new value, and the time of the change; the number of rows that were there. What a collation takes
    /// for the name is not it, and stays as it is.
    pub(super) async fn update(
        &mut self,
        table: &str,
        key: (&str, &str),
        columns: impl IntoIterator<Item = (&str, Option<Value>)>,
    ) -> Result<u64, WriteError> {
        if !self.there(&format!("SELECT {0} FROM {table} WHERE {0} = ?", key.0), key.1).await? {
            return Ok(0);
        }
        let mut statement = format!("UPDATE {table} SET modified = CURRENT_TIMESTAMP");
        let mut values = Vec::new();
        for (column, value) in columns {
            if let Some(value) = value {
                statement.push_str(&format!(", {column} = ?"));
                values.push(value);
            }
        }
        statement.push_str(&format!(" WHERE {} = ?", key.0));
        values.push(key.1.into());
        self.run(&statement, &values).await
    }

    /// Whether the database has a table that not every PostfixAdmin makes.
    async fn has_table(&mut self, table: &str) -> Result<bool, WriteError> {
        let query = match self.transaction.kind() {
            Kind::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table' AND name = ?",
            Kind::Mysql => "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?",
            Kind::Pgsql => {
                "SELECT CAST(table_name AS text) FROM information_schema.tables
                 WHERE table_schema = ANY (current_schemas(false)) AND CAST(table_name AS text) = ?"
            }
        };
        self.there(query, table).await
    }

    /// Deletes what belongs to mailboxes in the tables that are not ours; `whose` is a condition on their names with one parameter.
    async fn delete_belongings(&mut self, whose: &str, value: &str) -> Result<(), WriteError> {
        for (table, column) in BELONGINGS {
            if self.has_table(table).await? {
                self.run(&format!("DELETE FROM {table} WHERE {column} {whose}"), &[value.into()]).await?;
            }
        }
        Ok(())
    }

    /// Deletes from where all users of a domain need no second factor: who has the domain next has not said so.
    async fn delete_exceptions(&mut self, domain: &str) -> Result<(), WriteError> {
        if self.has_table("totp_exception_address").await? {
            let names = [domain.into(), format!("@{domain}").into()];
            self.run("DELETE FROM totp_exception_address WHERE username IN (?, ?)", &names).await?;
        }
        Ok(())
    }

    pub(super) async fn done(self) -> Result<(), WriteError> {
        let done = self.transaction.commit().await;
        // Whatever was said of it, it may have been done.
        self.changes.fetch_add(1, Ordering::Release);
        Ok(done?)
    }

    /// As `done`, of what changes no account.
    pub(super) async fn kept(self) -> Result<(), WriteError> {
        Ok(self.transaction.commit().await?)
    }
}

/// Where PostfixAdmin keeps more about a mailbox, and under which column; in an order that PostgreSQL's references allow.
const BELONGINGS: [(&str, &str); 5] = [
    ("vacation_notification", "on_vacation"),
    ("vacation", "email"),
    ("fetchmail", "mailbox"),
    ("mailbox_app_password", "username"),
    ("totp_exception_address", "username"),
];

impl Accounts {
    pub(super) async fn change(&self) -> Result<Change<'_>, WriteError> {
        let alone = self.writer.lock().await;
        self.logins.are_kept(&self.database).await?;
        Ok(Change { transaction: self.database.begin().await?, changes: &self.changes, _alone: alone })
    }

    pub async fn domain_add(&self, domain: &Domain, description: &str) -> Result<(), WriteError> {
        let mut change = self.change().await?;
        if domain.literal().is_some() {
            return refused("an address literal cannot be a domain of ours");
        }
        if change.domain(domain.as_str()).await? {
            return refused(format!("the domain {domain} is there already"));
        }
        if change.alias_domain(domain.as_str()).await? {
            return refused(format!("{domain} is an alias domain"));
        }
        change.run(INSERT_DOMAIN, &[domain.as_str().into(), description.into()]).await?;
        change.done().await
    }

    pub async fn domain_change(
        &self,
        domain: &Domain,
        description: Option<&str>,
        active: Option<bool>,
        backupmx: Option<bool>,
    ) -> Result<(), WriteError> {
        let mut change = self.change().await?;
        let columns =
            [("description", description.map(Value::from)), ("active", active.map(Value::from)), ("backupmx", backupmx.map(Value::from))];
        if change.update("domain", ("domain", domain.as_str()), columns).await? == 0 {
            return refused(format!("the domain {domain} is not there"));
        }
        change.done().await
    }

    /// With `all`, its mailboxes, aliases and alias domains go too; else a domain that has any stays.
    pub async fn domain_delete(&self, domain: &Domain, all: bool) -> Result<(), WriteError> {
        let mut change = self.change().await?;
        let name = domain.as_str();
        if !change.domain(name).await? {
            return refused(format!("the domain {domain} is not there"));
        }
        if !all {
            let query = change.transaction.kind().placeholders(
                "SELECT (SELECT COUNT(*) FROM mailbox WHERE domain = ?), (SELECT COUNT(*) FROM alias WHERE domain = ?),
                 (SELECT COUNT(*) FROM alias_domain WHERE target_domain = ?)",
            );
            let rows = change.transaction.fetch(query, &[name.into(), name.into(), name.into()]).await?;
            let row = rows.first().cloned().unwrap_or_default();
            let (mailboxes, aliases, alias_domains) = (row.number(0), row.number(1), row.number(2));
            if mailboxes + aliases + alias_domains > 0 {
                return refused(format!("{domain} still has {mailboxes} mailboxes, {aliases} aliases and {alias_domains} alias domains"));
            }
        }
        self.logins.forget_domain(&mut change, name).await?;
        change.delete_belongings("IN (SELECT username FROM mailbox WHERE domain = ?)", name).await?;
        change.delete_exceptions(name).await?;
        for statement in [
            "DELETE FROM quota2 WHERE username IN (SELECT username FROM mailbox WHERE domain = ?)",
            "DELETE FROM mailbox WHERE domain = ?",
            "DELETE FROM alias WHERE domain = ?",
            "DELETE FROM alias_domain WHERE target_domain = ?",
            "DELETE FROM alias_domain WHERE alias_domain = ?",
            "DELETE FROM domain_admins WHERE domain = ?",
        ] {
            change.run(statement, &[name.into()]).await?;
        }
        if change.run("DELETE FROM domain WHERE domain = ?", &[name.into()]).await? == 0 {
            return refused(format!("the domain {domain} is not there"));
        }
        change.done().await
    }

    /// Adds a mailbox and the alias that leads it to itself, as PostfixAdmin does.
    pub async fn mailbox_add(&self, new: &NewMailbox) -> Result<(), WriteError> {
        let mut change = self.change().await?;
        let address = new.address.to_lowercase();
        let name = database_name(&address)?;
        change.need_domain(address.domain()).await?;
        if change.mailbox(&name).await? {
            return refused(format!("the mailbox {name} is there already"));
        }
        if change.alias(&name).await? {
            return refused(format!("{name} is an alias"));
        }
        // of somebody who had this name before: PostfixAdmin leaves some of it
        change.delete_belongings("= ?", &name).await?;
        let domain = address.domain().as_str();
        let statement = "INSERT INTO mailbox (username, password, name, maildir, quota, local_part, domain, created, modified)
             VALUES (?, ?, ?, ?, ?, ?, ?, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)";
        let values = [
            name.as_str().into(),
            new.password.as_str().into(),
            new.name.as_str().into(),
            new.maildir.as_str().into(),
            new.quota_bytes.into(),
            address.local().into(),
            domain.into(),
        ];
        change.run(statement, &values).await?;
        change.run(INSERT_ALIAS, &[name.as_str().into(), name.as_str().into(), domain.into()]).await?;
        change.done().await
    }

    pub async fn mailbox_change(&self, address: &Address, new: &MailboxChange) -> Result<(), WriteError> {
        let there = self.newer().await?;
        let mut change = self.change().await?;
        let username = database_name(&address.to_lowercase())?;
        let switches = SERVICES.map(|service| format!("{service}_active"));
        let mut columns = vec![
            ("password", new.password.as_ref().map(|password| Value::from(password.as_str()))),
            ("name", new.name.as_deref().map(Value::from)),
            ("quota", new.quota_bytes.map(Value::from)),
            ("active", new.active.map(Value::from)),
        ];
        for ((column, switch), there) in switches.iter().zip(new.services).zip(there.switches) {
            if switch.is_some() && !there {
                return refused(format!("the accounts database has no column {column} in its table mailbox"));
            }
            columns.push((column, switch.map(Value::from)));
        }
        if change.update("mailbox", ("username", &username), columns).await? == 0 {
            return refused(format!("the mailbox {username} is not there"));
        }
        if let Some(active) = new.active {
            // PostfixAdmin keeps the alias of a mailbox as active as the mailbox.
            change.run("UPDATE alias SET active = ? WHERE address = ?", &[active.into(), username.into()]).await?;
        }
        change.done().await
    }

    /// Puts another hash of the same password in the place of `old`; whether that was still there. The time of the last change stays: the
    /// password is the same.
    pub async fn replace_password(&self, username: &str, old: &str, new: &str) -> Result<bool, WriteError> {
        let mut change = self.change().await?;
        // Databases may compare without regard to case.
        if change.password(username).await?.is_none_or(|password| *password != old) {
            return Ok(false);
        }
        let statement = "UPDATE mailbox SET password = ? WHERE username = ? AND password = ?";
        let replaced = change.run(statement, &[new.into(), username.into(), old.into()]).await? > 0;
        if replaced && change.password(username).await?.is_none_or(|password| *password != new) {
            return refused("the database does not keep the new hash as it is: the column mailbox.password is too short");
        }
        change.done().await?;
        Ok(replaced)
    }

    pub async fn mailbox_delete(&self, address: &Address) -> Result<(), WriteError> {
        let mut change = self.change().await?;
        let username = database_name(&address.to_lowercase())?;
        if !change.delete("mailbox", ("username", &username)).await? {
            return refused(format!("the mailbox {username} is not there"));
        }
        self.logins.forget(&mut change, &username).await?;
        change.delete_belongings("= ?", &username).await?;
        change.delete("alias", ("address", &username)).await?;
        change.delete("quota2", ("username", &username)).await?;
        change.done().await
    }

    /// `local` is empty for the catch-all `@domain`.
    pub async fn alias_add(&self, local: &str, domain: &Domain, goto: &[Address]) -> Result<(), WriteError> {
        let mut change = self.change().await?;
        let name = alias_name(local, domain)?;
        let goto = goto_text(goto)?;
        change.need_domain(domain).await?;
        if change.mailbox(&name).await? {
            return refused(format!("{name} is a mailbox; change its alias instead"));
        }
        if change.alias(&name).await? {
            return refused(format!("the alias {name} is there already"));
        }
        change.run(INSERT_ALIAS, &[name.into(), goto.into(), domain.as_str().into()]).await?;
        change.done().await
    }

    pub async fn alias_change(
        &self,
        local: &str,
        domain: &Domain,
        goto: Option<&[Address]>,
        active: Option<bool>,
    ) -> Result<(), WriteError> {
        let mut change = self.change().await?;
        let name = alias_name(local, domain)?;
        let goto = goto.map(goto_text).transpose()?;
        let columns = [("goto", goto.map(Value::from)), ("active", active.map(Value::from))];
        if change.update("alias", ("address", &name), columns).await? == 0 {
            return refused(format!("the alias {name} is not there"));
        }
        change.done().await
    }

    pub async fn alias_delete(&self, local: &str, domain: &Domain) -> Result<(), WriteError> {
        let mut change = self.change().await?;
        let name = alias_name(local, domain)?;
        if change.mailbox(&name).await? {
            return refused(format!("{name} is a mailbox; its alias goes with it"));
        }
        if !change.delete("alias", ("address", &name)).await? {
            return refused(format!("the alias {name} is not there"));
        }
        change.done().await
    }

    pub async fn alias_domain_add(&self, alias: &Domain, target: &Domain) -> Result<(), WriteError> {
        let mut change = self.change().await?;
        if alias == target {
            return refused("a domain cannot be its own alias");
        }
        change.need_domain(target).await?;
        // if it is in `domain` too, it may have nothing of its own
        let own = change.there("SELECT DISTINCT domain FROM mailbox WHERE domain = ?", alias.as_str()).await?
            || change.there("SELECT DISTINCT domain FROM alias WHERE domain = ?", alias.as_str()).await?;
        if own {
            return refused(format!("{alias} has mailboxes or aliases of its own"));
        }
        if change.alias_domain(alias.as_str()).await? {
            return refused(format!("the alias domain {alias} is there already"));
        }
        if change.alias_domain(target.as_str()).await? {
            return refused(format!("{target} is an alias domain itself"));
        }
        // PostfixAdmin lists an alias domain among the domains, and in PostgreSQL its table refers to theirs.
        if !self.is_own && !change.domain(alias.as_str()).await? {
            change.run(INSERT_DOMAIN, &[alias.as_str().into(), "".into()]).await?;
        }
        let statement = "INSERT INTO alias_domain (alias_domain, target_domain, created, modified)
             VALUES (?, ?, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)";
        change.run(statement, &[alias.as_str().into(), target.as_str().into()]).await?;
        change.done().await
    }

    pub async fn alias_domain_delete(&self, alias: &Domain) -> Result<(), WriteError> {
        let mut change = self.change().await?;
        if !change.delete("alias_domain", ("alias_domain", alias.as_str())).await? {
            return refused(format!("the alias domain {alias} is not there"));
        }
        change.done().await
    }
}

const INSERT_DOMAIN: &str = "INSERT INTO domain (domain, description, transport, created, modified)
     VALUES (?, ?, 'virtual', CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)";

const INSERT_ALIAS: &str = "INSERT INTO alias (address, goto, domain, created, modified)
     VALUES (?, ?, ?, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)";

/// An address as the database has it: lower case, without quotes. What would need quotes, or be split at a comma by others, is refused.
pub(super) fn database_name(address: &Address) -> Result<String, WriteError> {
    let text = address.to_string();
    if text.starts_with('"') || text.contains([',', ';', '/']) {
        return refused(format!("{text}: the part before the @ has a character that accounts cannot have"));
    }
    Ok(text)
}

fn alias_name(local: &str, domain: &Domain) -> Result<String, WriteError> {
    if local.is_empty() {
        return Ok(format!("@{domain}"));
    }
    let address = Address::new(local, domain.clone()).map_err(|e| WriteError::Refused(format!("{local}@{domain}: {e}")))?;
    database_name(&address.to_lowercase())
}

fn goto_text(goto: &[Address]) -> Result<String, WriteError> {
    if goto.is_empty() {
        return refused("an alias needs at least one address to go to");
    }
    if goto.len() > 1000 {
        return refused("an alias with more than 1000 addresses is a mailing list");
    }
    let names: Result<Vec<String>, WriteError> = goto.iter().map(|a| database_name(&a.to_lowercase())).collect();
    Ok(names?.join(","))
}
