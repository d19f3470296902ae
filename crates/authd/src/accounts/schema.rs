//! The tables, as PostfixAdmin 3.3 has them, in SQLite's words. Names are compared without regard to case, as MySQL does.

use sqlx::{AssertSqlSafe, Connection, Row, SqlitePool};

/// One step per version; step N brings a database of version N to N + 1. Steps are never changed once released.
const STEPS: &[&[&str]] = &[&[
    "CREATE TABLE IF NOT EXISTS domain (
        domain VARCHAR(255) NOT NULL COLLATE NOCASE PRIMARY KEY,
        description VARCHAR(255) NOT NULL DEFAULT '',
        aliases INTEGER NOT NULL DEFAULT 0,
        mailboxes INTEGER NOT NULL DEFAULT 0,
        maxquota BIGINT NOT NULL DEFAULT 0,
        quota BIGINT NOT NULL DEFAULT 0,
        transport VARCHAR(255) NOT NULL DEFAULT 'virtual',
        backupmx TINYINT NOT NULL DEFAULT 0,
        created DATETIME NOT NULL DEFAULT '2000-01-01 00:00:00',
        modified DATETIME NOT NULL DEFAULT '2000-01-01 00:00:00',
        active TINYINT NOT NULL DEFAULT 1,
        password_expiry INTEGER DEFAULT 0)",
    "CREATE TABLE IF NOT EXISTS mailbox (
        username VARCHAR(255) NOT NULL COLLATE NOCASE PRIMARY KEY,
        password VARCHAR(255) NOT NULL,
        name VARCHAR(255) NOT NULL DEFAULT '',
        maildir VARCHAR(255) NOT NULL,
        quota BIGINT NOT NULL DEFAULT 0,
        local_part VARCHAR(255) NOT NULL,
        domain VARCHAR(255) NOT NULL COLLATE NOCASE,
        created DATETIME NOT NULL DEFAULT '2000-01-01 00:00:00',
        modified DATETIME NOT NULL DEFAULT '2000-01-01 00:00:00',
        active TINYINT NOT NULL DEFAULT 1,
        phone VARCHAR(30) NOT NULL DEFAULT '',
        email_other VARCHAR(255) NOT NULL DEFAULT '',
        token VARCHAR(255) NOT NULL DEFAULT '',
        token_validity DATETIME NOT NULL DEFAULT '2000-01-01 00:00:00',
        password_expiry DATETIME NOT NULL DEFAULT '2000-01-01 00:00:00')",
    "CREATE INDEX IF NOT EXISTS mailbox_domain ON mailbox (domain)",
    "CREATE TABLE IF NOT EXISTS alias (
        address VARCHAR(255) NOT NULL COLLATE NOCASE PRIMARY KEY,
        goto TEXT NOT NULL,
        domain VARCHAR(255) NOT NULL COLLATE NOCASE,
        created DATETIME NOT NULL DEFAULT '2000-01-01 00:00:00',
        modified DATETIME NOT NULL DEFAULT '2000-01-01 00:00:00',
        active TINYINT NOT NULL DEFAULT 1)",
    "CREATE INDEX IF NOT EXISTS alias_domain_of ON alias (domain)",
    "CREATE TABLE IF NOT EXISTS alias_domain (
        alias_domain VARCHAR(255) NOT NULL COLLATE NOCASE PRIMARY KEY,
        target_domain VARCHAR(255) NOT NULL DEFAULT '' COLLATE NOCASE,
        created DATETIME NOT NULL DEFAULT '2000-01-01 00:00:00',
        modified DATETIME NOT NULL DEFAULT '2000-01-01 00:00:00',
        active TINYINT NOT NULL DEFAULT 1)",
    "CREATE INDEX IF NOT EXISTS alias_domain_target ON alias_domain (target_domain)",
    // What a mailbox holds, where PostfixAdmin looks for it.
    "CREATE TABLE IF NOT EXISTS quota2 (
        username VARCHAR(255) NOT NULL COLLATE NOCASE PRIMARY KEY,
        bytes BIGINT NOT NULL DEFAULT 0,
        messages INTEGER NOT NULL DEFAULT 0)",
    // Ours.
    "CREATE TABLE IF NOT EXISTS last_login (
        username VARCHAR(255) NOT NULL COLLATE NOCASE,
        service VARCHAR(16) NOT NULL,
        time BIGINT NOT NULL,
        remote VARCHAR(64) NOT NULL DEFAULT '',
        PRIMARY KEY (username, service))",
]];

/// The version that this program makes and needs.
pub(super) const VERSION: i64 = STEPS.len() as i64;

pub(super) async fn bring_up_to_date(pool: &SqlitePool) -> anyhow::Result<()> {
    let mut connection = pool.acquire().await?;
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let version: i64 = sqlx::query("PRAGMA user_version").fetch_one(&mut *transaction).await?.try_get(0)?;
    if version > VERSION {
        anyhow::bail!("the database has version {version}, made by a later release; this one knows {VERSION}");
    }
    for step in &STEPS[version.max(0) as usize..] {
        for statement in *step {
            sqlx::query(*statement).execute(&mut *transaction).await?;
        }
    }
    if version != VERSION {
        sqlx::query(AssertSqlSafe(format!("PRAGMA user_version = {VERSION}"))).execute(&mut *transaction).await?;
        tracing::info!(from = version, to = VERSION, "accounts database brought up to date");
    }
    transaction.commit().await?;
    Ok(())
}
