//! The accounts database, with PostfixAdmin's tables: an SQLite file that authd makes and keeps, or PostfixAdmin's own database in MySQL
//! (MariaDB), PostgreSQL or SQLite, whose tables stay as PostfixAdmin made them.
//!
//! Columns and their defaults are PostfixAdmin's, so that its web pages and everybody's queries work on them. Among our programs authd is
//! the only writer; a change is committed before it is answered. Statements are written once, for all three kinds of database.
//! Names are kept and asked for in lower case; a row whose name is another one (by a collation that takes é for e) is not the one
//! that was asked for.

mod admins;
mod known;
#[cfg(test)]
mod live_tests;
mod newer;
mod read;
mod schema;
#[cfg(test)]
mod tests;
mod usage;
mod write;

use anyhow::Context;
use config::{AccountsKind, Config};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tables::sql::{Database, Fault, Place, Row, Value};
use zeroize::Zeroizing;

pub use admins::NewAdmin;
pub use newer::AppPassword;
pub use read::AccountsTable;
pub use write::{MailboxChange, NewMailbox, WriteError};

/// Where the accounts are.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// Our own SQLite file.
    Own(PathBuf),
    /// PostfixAdmin's database.
    PostfixAdmin { url: String, password: Option<Zeroizing<String>> },
}

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    database: Arc<Database>,
    /// Our writes come one after the other; they need not meet in the database's locks.
    writer: Arc<tokio::sync::Mutex<()>>,
    logins: Arc<usage::LastLogins>,
    is_own: bool,
    /// Of our own file only: others' databases tell nobody when they change.
    known: Option<Arc<known::Known>>,
    newer: Arc<newer::Newer>,
    changes: Arc<AtomicU64>,
}

impl Source {
    /// Reads the password's file.
    pub fn of(config: &Config) -> anyhow::Result<Source> {
        let authd = &config.authd;
        if authd.accounts == AccountsKind::Own {
            return Ok(Source::Own(match authd.accounts_database.as_os_str().is_empty() {
                true => config.main.state_directory.join("accounts.sqlite"),
                false => authd.accounts_database.clone(),
            }));
        }
        let file = &authd.accounts_password_file;
        let password = match file.as_os_str().is_empty() {
            true => None,
            false => Some(first_line(file).context("authd.accounts_password_file")?),
        };
        let source = Source::PostfixAdmin { url: config.expand(&authd.accounts_url), password };
        source.place()?;
        Ok(source)
    }

    fn place(&self) -> anyhow::Result<Place> {
        match self {
            Source::Own(path) => Ok(Place::own_file(path)),
            Source::PostfixAdmin { url, password } => {
                Place::url(url, password.as_ref().map(|p| p.as_str())).map_err(|why| anyhow::anyhow!("authd.accounts_url {why}"))
            }
        }
    }
}

/// A password in a file of its own.
pub fn first_line(file: &Path) -> anyhow::Result<Zeroizing<String>> {
    let text = Zeroizing::new(std::fs::read_to_string(file).with_context(|| file.display().to_string())?);
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

impl Accounts {
    /// Our own database is made where there is none, and its tables are brought up to date. PostfixAdmin's need not be reachable yet.
    pub async fn open(source: &Source) -> anyhow::Result<Accounts> {
        let database = Database::new(vec![source.place()?]).map_err(anyhow::Error::msg)?;
        let logins = match source {
            Source::Own(_) => usage::LastLogins::kept(),
            Source::PostfixAdmin { .. } => usage::LastLogins::default(),
        };
        let mut accounts = Accounts {
            database: Arc::new(database),
            writer: Arc::default(),
            logins: Arc::new(logins),
            is_own: matches!(source, Source::Own(_)),
            known: None,
            newer: Arc::default(),
            changes: Arc::default(),
        };
        if let Source::Own(path) = source {
            schema::bring_up_to_date(&accounts.database).await.with_context(|| format!("accounts database {}", path.display()))?;
            accounts.known = known::Known::new(path).map(Arc::new);
        }
        Ok(accounts)
    }

    /// Closes all connections, which also folds SQLite's WAL into the file.
    pub async fn close(&self) {
        self.database.close().await;
    }

    /// The number of changes that were made through us; what was read before is old when it is another.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Whether an answer comes from this machine's disk, and waits for nobody's lock: readers of our file never do, those of PostfixAdmin's
    /// SQLite wait while it writes.
    pub fn is_local(&self) -> bool {
        self.is_own
    }

    async fn ask(&self, statement: &str, values: &[Value]) -> Result<Vec<Row>, Fault> {
        self.database.fetch(self.database.kind().placeholders(statement), values).await
    }

    /// The row whose first column is `name`, from memory where that holds. `question` is the number of the statement, which has one parameter.
    async fn ask_named(&self, question: usize, statement: impl FnOnce() -> String, name: &str) -> Result<Option<Row>, Fault> {
        let ask = async || Ok(read::named(self.ask(&statement(), &[name.into()]).await?, name));
        let Some((known, stamp)) = self.known.as_ref().and_then(|known| Some((known, known.stamp()?))) else { return ask().await };
        if let Some(row) = known.get(stamp, question, name) {
            return Ok(row);
        }
        let row = ask().await?;
        known.keep(stamp, question, name, row.clone());
        Ok(row)
    }
}
