//! The accounts database: PostfixAdmin's tables in an SQLite file that authd makes and keeps.
//!
//! Columns and their defaults are PostfixAdmin's own, so that its web pages and everybody's queries work on them. authd is the only
//! writer among our programs; a change is on disk (WAL, synced) before it is answered. `PRAGMA user_version` counts our
//! versions of the schema; older ones are brought up to date at start, newer ones are refused.

mod read;
mod schema;
#[cfg(test)]
mod tests;
mod write;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use std::path::Path;
use std::time::Duration;

pub use read::AccountsTable;
pub use write::{NewMailbox, WriteError};

/// How long one of our connections waits for another program that writes (PostfixAdmin).
const BUSY_TIMEOUT: Duration = Duration::from_secs(4);

/// The open database. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    pool: SqlitePool,
    /// Our writes come one after the other; they need not meet in SQLite's lock.
    writer: std::sync::Arc<tokio::sync::Mutex<()>>,
}

impl Accounts {
    /// Opens the database, makes it where there is none, and brings its tables up to date.
    pub async fn open(path: &Path) -> anyhow::Result<Accounts> {
        use anyhow::Context;
        let at = || format!("accounts database {}", path.display());
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(false)
            .optimize_on_close(true, None);
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            .acquire_timeout(Duration::from_secs(4))
            .test_before_acquire(false)
            .connect_with(options)
            .await
            .with_context(at)?;
        schema::bring_up_to_date(&pool).await.with_context(at)?;
        Ok(Accounts { pool, writer: std::sync::Arc::default() })
    }

    /// Closes all connections, which also folds the WAL into the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
