//! Changes of the accounts database. Each is one transaction, checked first and on disk when it returns.

use super::Accounts;
use ipc::usage::Note;
use mail_types::{Address, Domain};
use sqlx::pool::PoolConnection;
use sqlx::{Connection, Row, Sqlite, Transaction};
use zeroize::Zeroizing;

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// It cannot be; for the person who asked.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

fn refused<T>(reason: impl Into<String>) -> Result<T, WriteError> {
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

/// A transaction and the right to write; committed by `done`, undone when dropped.
struct Change<'a> {
    transaction: Transaction<'a, Sqlite>,
}

impl Change<'_> {
    async fn there(&mut self, query: &'static str, name: &str) -> Result<bool, WriteError> {
        Ok(sqlx::query(query).bind(name).fetch_optional(&mut *self.transaction).await?.is_some())
    }

    async fn domain(&mut self, domain: &str) -> Result<bool, WriteError> {
        self.there("SELECT 1 FROM domain WHERE domain = ?", domain).await
    }

    async fn need_domain(&mut self, domain: &Domain) -> Result<(), WriteError> {
        if self.domain(domain.as_str()).await? {
            return Ok(());
        }
        refused(format!("the domain {domain} is not there; add it first"))
    }

    async fn mailbox(&mut self, address: &str) -> Result<bool, WriteError> {
        self.there("SELECT 1 FROM mailbox WHERE username = ?", address).await
    }

    async fn alias(&mut self, address: &str) -> Result<bool, WriteError> {
        self.there("SELECT 1 FROM alias WHERE address = ?", address).await
    }

    async fn alias_domain(&mut self, domain: &str) -> Result<bool, WriteError> {
        self.there("SELECT 1 FROM alias_domain WHERE alias_domain = ?", domain).await
    }

    /// Runs a statement with text parameters; the number of rows it touched.
    async fn run(&mut self, statement: &'static str, parameters: &[&str]) -> Result<u64, WriteError> {
        let query = parameters.iter().fold(sqlx::query(statement), |query, parameter| query.bind(*parameter));
        Ok(query.execute(&mut *self.transaction).await?.rows_affected())
    }

    async fn done(self) -> Result<(), WriteError> {
        Ok(self.transaction.commit().await?)
    }
}

impl Accounts {
    async fn connection(&self) -> Result<PoolConnection<Sqlite>, WriteError> {
        Ok(self.pool.acquire().await?)
    }

    pub async fn domain_add(&self, domain: &Domain, description: &str) -> Result<(), WriteError> {
        let _alone = self.writer.lock().await;
        let mut connection = self.connection().await?;
        let mut change = Change { transaction: connection.begin_with("BEGIN IMMEDIATE").await? };
        if domain.literal().is_some() {
            return refused("an address literal cannot be a domain of ours");
        }
        if change.domain(domain.as_str()).await? {
            return refused(format!("the domain {domain} is there already"));
        }
        if change.alias_domain(domain.as_str()).await? {
            return refused(format!("{domain} is an alias domain"));
        }
        let statement = "INSERT INTO domain (domain, description, transport, created, modified)
             VALUES (?, ?, 'virtual', strftime('%Y-%m-%d %H:%M:%S', 'now'), strftime('%Y-%m-%d %H:%M:%S', 'now'))";
        change.run(statement, &[domain.as_str(), description]).await?;
        change.done().await
    }

    pub async fn domain_change(
        &self,
        domain: &Domain,
        description: Option<&str>,
        active: Option<bool>,
        backupmx: Option<bool>,
    ) -> Result<(), WriteError> {
        let _alone = self.writer.lock().await;
        let mut connection = self.connection().await?;
        let mut change = Change { transaction: connection.begin_with("BEGIN IMMEDIATE").await? };
        let touched = sqlx::query(
            "UPDATE domain SET description = COALESCE(?2, description), active = COALESCE(?3, active), backupmx = COALESCE(?4, backupmx),
             modified = strftime('%Y-%m-%d %H:%M:%S', 'now') WHERE domain = ?1",
        )
        .bind(domain.as_str())
        .bind(description)
        .bind(active.map(i64::from))
        .bind(backupmx.map(i64::from))
        .execute(&mut *change.transaction)
        .await?
        .rows_affected();
        if touched == 0 {
            return refused(format!("the domain {domain} is not there"));
        }
        change.done().await
    }

    /// With `all`, its mailboxes, aliases and alias domains go too; else a domain that has any stays.
    pub async fn domain_delete(&self, domain: &Domain, all: bool) -> Result<(), WriteError> {
        let _alone = self.writer.lock().await;
        let mut connection = self.connection().await?;
        let mut change = Change { transaction: connection.begin_with("BEGIN IMMEDIATE").await? };
        let name = domain.as_str();
        if !all {
            let row = sqlx::query(
                "SELECT (SELECT COUNT(*) FROM mailbox WHERE domain = ?1), (SELECT COUNT(*) FROM alias WHERE domain = ?1),
                 (SELECT COUNT(*) FROM alias_domain WHERE target_domain = ?1)",
            )
            .bind(name)
            .fetch_one(&mut *change.transaction)
            .await?;
            let (mailboxes, aliases, alias_domains): (i64, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            if mailboxes + aliases + alias_domains > 0 {
                return refused(format!("{domain} still has {mailboxes} mailboxes, {aliases} aliases and {alias_domains} alias domains"));
            }
        }
        change.run("DELETE FROM quota2 WHERE username IN (SELECT username FROM mailbox WHERE domain = ?)", &[name]).await?;
        change.run("DELETE FROM last_login WHERE username IN (SELECT username FROM mailbox WHERE domain = ?)", &[name]).await?;
        change.run("DELETE FROM mailbox WHERE domain = ?", &[name]).await?;
        change.run("DELETE FROM alias WHERE domain = ?", &[name]).await?;
        change.run("DELETE FROM alias_domain WHERE target_domain = ?", &[name]).await?;
        if change.run("DELETE FROM domain WHERE domain = ?", &[name]).await? == 0 {
            return refused(format!("the domain {domain} is not there"));
        }
        change.done().await
    }

    /// Adds a mailbox and the alias that leads it to itself, as PostfixAdmin does.
    pub async fn mailbox_add(&self, new: &NewMailbox) -> Result<(), WriteError> {
        let _alone = self.writer.lock().await;
        let mut connection = self.connection().await?;
        let mut change = Change { transaction: connection.begin_with("BEGIN IMMEDIATE").await? };
        let address = new.address.to_lowercase();
        let name = database_name(&address)?;
        change.need_domain(address.domain()).await?;
        if change.mailbox(&name).await? {
            return refused(format!("the mailbox {name} is there already"));
        }
        if change.alias(&name).await? {
            return refused(format!("{name} is an alias"));
        }
        sqlx::query(
            "INSERT INTO mailbox (username, password, name, maildir, quota, local_part, domain, created, modified)
             VALUES (?, ?, ?, ?, ?, ?, ?, strftime('%Y-%m-%d %H:%M:%S', 'now'), strftime('%Y-%m-%d %H:%M:%S', 'now'))",
        )
        .bind(&name)
        .bind(new.password.as_str())
        .bind(&new.name)
        .bind(&new.maildir)
        .bind(i64::try_from(new.quota_bytes).unwrap_or(i64::MAX))
        .bind(address.local())
        .bind(address.domain().as_str())
        .execute(&mut *change.transaction)
        .await?;
        change.run(INSERT_ALIAS, &[&name, &name, address.domain().as_str()]).await?;
        change.done().await
    }

    /// `None` leaves a column as it is; the password is hashed already.
    pub async fn mailbox_change(
        &self,
        address: &Address,
        password: Option<&str>,
        name: Option<&str>,
        quota_bytes: Option<u64>,
        active: Option<bool>,
    ) -> Result<(), WriteError> {
        let _alone = self.writer.lock().await;
        let mut connection = self.connection().await?;
        let mut change = Change { transaction: connection.begin_with("BEGIN IMMEDIATE").await? };
        let username = database_name(&address.to_lowercase())?;
        let touched = sqlx::query(
            "UPDATE mailbox SET password = COALESCE(?2, password), name = COALESCE(?3, name), quota = COALESCE(?4, quota),
             active = COALESCE(?5, active), modified = strftime('%Y-%m-%d %H:%M:%S', 'now') WHERE username = ?1",
        )
        .bind(&username)
        .bind(password)
        .bind(name)
        .bind(quota_bytes.map(|q| i64::try_from(q).unwrap_or(i64::MAX)))
        .bind(active.map(i64::from))
        .execute(&mut *change.transaction)
        .await?
        .rows_affected();
        if touched == 0 {
            return refused(format!("the mailbox {username} is not there"));
        }
        if let Some(active) = active {
            // PostfixAdmin keeps the alias of a mailbox as active as the mailbox.
            let active = if active { "1" } else { "0" };
            change.run("UPDATE alias SET active = CAST(?1 AS INTEGER) WHERE address = ?2", &[active, &username]).await?;
        }
        change.done().await
    }

    pub async fn mailbox_delete(&self, address: &Address) -> Result<(), WriteError> {
        let _alone = self.writer.lock().await;
        let mut connection = self.connection().await?;
        let mut change = Change { transaction: connection.begin_with("BEGIN IMMEDIATE").await? };
        let username = database_name(&address.to_lowercase())?;
        if change.run("DELETE FROM mailbox WHERE username = ?", &[&username]).await? == 0 {
            return refused(format!("the mailbox {username} is not there"));
        }
        for statement in
            ["DELETE FROM alias WHERE address = ?", "DELETE FROM quota2 WHERE username = ?", "DELETE FROM last_login WHERE username = ?"]
        {
            change.run(statement, &[&username]).await?;
        }
        change.done().await
    }

    /// `local` is empty for the catch-all `@domain`.
    pub async fn alias_add(&self, local: &str, domain: &Domain, goto: &[Address]) -> Result<(), WriteError> {
        let _alone = self.writer.lock().await;
        let mut connection = self.connection().await?;
        let mut change = Change { transaction: connection.begin_with("BEGIN IMMEDIATE").await? };
        let name = alias_name(local, domain)?;
        let goto = goto_text(goto)?;
        change.need_domain(domain).await?;
        if change.mailbox(&name).await? {
            return refused(format!("{name} is a mailbox; change its alias instead"));
        }
        if change.alias(&name).await? {
            return refused(format!("the alias {name} is there already"));
        }
        change.run(INSERT_ALIAS, &[&name, &goto, domain.as_str()]).await?;
        change.done().await
    }

    pub async fn alias_change(
        &self,
        local: &str,
        domain: &Domain,
        goto: Option<&[Address]>,
        active: Option<bool>,
    ) -> Result<(), WriteError> {
        let _alone = self.writer.lock().await;
        let mut connection = self.connection().await?;
        let mut change = Change { transaction: connection.begin_with("BEGIN IMMEDIATE").await? };
        let name = alias_name(local, domain)?;
        let goto = goto.map(goto_text).transpose()?;
        let touched = sqlx::query(
            "UPDATE alias SET goto = COALESCE(?2, goto), active = COALESCE(?3, active),
             modified = strftime('%Y-%m-%d %H:%M:%S', 'now') WHERE address = ?1",
        )
        .bind(&name)
        .bind(goto)
        .bind(active.map(i64::from))
        .execute(&mut *change.transaction)
        .await?
        .rows_affected();
        if touched == 0 {
            return refused(format!("the alias {name} is not there"));
        }
        change.done().await
    }

    pub async fn alias_delete(&self, local: &str, domain: &Domain) -> Result<(), WriteError> {
        let _alone = self.writer.lock().await;
        let mut connection = self.connection().await?;
        let mut change = Change { transaction: connection.begin_with("BEGIN IMMEDIATE").await? };
        let name = alias_name(local, domain)?;
        if change.mailbox(&name).await? {
            return refused(format!("{name} is a mailbox; its alias goes with it"));
        }
        if change.run("DELETE FROM alias WHERE address = ?", &[&name]).await? == 0 {
            return refused(format!("the alias {name} is not there"));
        }
        change.done().await
    }

    pub async fn alias_domain_add(&self, alias: &Domain, target: &Domain) -> Result<(), WriteError> {
        let _alone = self.writer.lock().await;
        let mut connection = self.connection().await?;
        let mut change = Change { transaction: connection.begin_with("BEGIN IMMEDIATE").await? };
        if alias == target {
            return refused("a domain cannot be its own alias");
        }
        change.need_domain(target).await?;
        // PostfixAdmin has alias domains in `domain` too; ours need not be, but if it is, it may have nothing of its own.
        let own = change.there("SELECT 1 FROM mailbox WHERE domain = ?", alias.as_str()).await?
            || change.there("SELECT 1 FROM alias WHERE domain = ?", alias.as_str()).await?;
        if own {
            return refused(format!("{alias} has mailboxes or aliases of its own"));
        }
        if change.alias_domain(alias.as_str()).await? {
            return refused(format!("the alias domain {alias} is there already"));
        }
        if change.alias_domain(target.as_str()).await? {
            return refused(format!("{target} is an alias domain itself"));
        }
        let statement = "INSERT INTO alias_domain (alias_domain, target_domain, created, modified)
             VALUES (?, ?, strftime('%Y-%m-%d %H:%M:%S', 'now'), strftime('%Y-%m-%d %H:%M:%S', 'now'))";
        change.run(statement, &[alias.as_str(), target.as_str()]).await?;
        change.done().await
    }

    pub async fn alias_domain_delete(&self, alias: &Domain) -> Result<(), WriteError> {
        let _alone = self.writer.lock().await;
        let mut connection = self.connection().await?;
        let mut change = Change { transaction: connection.begin_with("BEGIN IMMEDIATE").await? };
        if change.run("DELETE FROM alias_domain WHERE alias_domain = ?", &[alias.as_str()]).await? == 0 {
            return refused(format!("the alias domain {alias} is not there"));
        }
        change.done().await
    }

    /// Keeps what the other daemons told, all in one transaction. Notes on mailboxes that are not there are dropped.
    pub async fn keep_usage(&self, notes: &[Note]) -> Result<(), WriteError> {
        let _alone = self.writer.lock().await;
        let mut connection = self.connection().await?;
        let mut change = Change { transaction: connection.begin_with("BEGIN IMMEDIATE").await? };
        for note in notes {
            if !change.mailbox(&note.user).await? {
                continue;
            }
            if let Some(stored) = note.stored {
                sqlx::query("INSERT OR REPLACE INTO quota2 (username, bytes, messages) VALUES (?, ?, ?)")
                    .bind(&note.user)
                    .bind(i64::try_from(stored.bytes).unwrap_or(i64::MAX))
                    .bind(i64::try_from(stored.messages).unwrap_or(i64::MAX))
                    .execute(&mut *change.transaction)
                    .await?;
            }
            if let Some(login) = &note.login {
                sqlx::query("INSERT OR REPLACE INTO last_login (username, service, time, remote) VALUES (?, ?, ?, ?)")
                    .bind(&note.user)
                    .bind(&login.service)
                    .bind(i64::try_from(login.time).unwrap_or(i64::MAX))
                    .bind(&login.remote)
                    .execute(&mut *change.transaction)
                    .await?;
            }
        }
        change.done().await
    }
}

const INSERT_ALIAS: &str = "INSERT INTO alias (address, goto, domain, created, modified)
     VALUES (?, ?, ?, strftime('%Y-%m-%d %H:%M:%S', 'now'), strftime('%Y-%m-%d %H:%M:%S', 'now'))";

/// An address as the database has it: lower case, without quotes. What would need quotes, or be split at a comma by others, is refused.
fn database_name(address: &Address) -> Result<String, WriteError> {
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
