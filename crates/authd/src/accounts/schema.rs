//! The tables, as PostfixAdmin 3.3 has them, in SQLite's words. Names are compared without regard to case, as MySQL does.

use tables::sql::Database;

/// One step per version; step N brings a database of version N to N + 1. Steps are never changed once released.
const STEPS: &[&[&str]] = &[FIRST, ADMINS, SERVICES];

const FIRST: &[&str] = &[
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
];

/// Whom PostfixAdmin's pages let in.
const ADMINS: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS admin (
        username VARCHAR(255) NOT NULL COLLATE NOCASE PRIMARY KEY,
        password VARCHAR(255) NOT NULL,
        created DATETIME NOT NULL DEFAULT '2000-01-01 00:00:00',
        modified DATETIME NOT NULL DEFAULT '2000-01-01 00:00:00',
        active TINYINT NOT NULL DEFAULT 1,
        superadmin TINYINT NOT NULL DEFAULT 0,
        phone VARCHAR(30) NOT NULL DEFAULT '',
        email_other VARCHAR(255) NOT NULL DEFAULT '',
        token VARCHAR(255) NOT NULL DEFAULT '',
        token_validity DATETIME NOT NULL DEFAULT '2000-01-01 00:00:00')",
    "CREATE TABLE IF NOT EXISTS domain_admins (
        username VARCHAR(255) NOT NULL COLLATE NOCASE,
        domain VARCHAR(255) NOT NULL COLLATE NOCASE,
        created DATETIME NOT NULL DEFAULT '2000-01-01 00:00:00',
        active TINYINT NOT NULL DEFAULT 1)",
    "CREATE INDEX IF NOT EXISTS domain_admins_of ON domain_admins (username)",
];

/// Services that are switched off for a mailbox, and passwords for apps, as later versions of PostfixAdmin have them (`imap_active` and `pop3_active`
/// are ours). Numbers are not used twice: they name an app in `last_login`.
const SERVICES: &[&str] = &[
    "ALTER TABLE mailbox ADD COLUMN smtp_active TINYINT NOT NULL DEFAULT 1",
    "ALTER TABLE mailbox ADD COLUMN imap_active TINYINT NOT NULL DEFAULT 1",
    "ALTER TABLE mailbox ADD COLUMN pop3_active TINYINT NOT NULL DEFAULT 1",
    "CREATE TABLE mailbox_app_password (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        username VARCHAR(255) NOT NULL COLLATE NOCASE,
        description VARCHAR(255) NOT NULL DEFAULT '',
        password_hash VARCHAR(255) NOT NULL)",
    "CREATE INDEX mailbox_app_password_of ON mailbox_app_password (username)",
];

pub(super) async fn bring_up_to_date(database: &Database) -> anyhow::Result<()> {
    let mut transaction = database.begin().await?;
    let rows = transaction.fetch("PRAGMA user_version".into(), &[]).await?;
    let version = rows.first().map_or(0, |row| row.number(0)) as usize;
    if version > STEPS.len() {
        anyhow::bail!("the database has version {version}, made by a later release; this one knows {}", STEPS.len());
    }
    for step in &STEPS[version..] {
        for statement in *step {
            transaction.execute((*statement).into(), &[]).await?;
        }
    }
    if version < STEPS.len() {
        transaction.execute(format!("PRAGMA user_version = {}", STEPS.len()).into(), &[]).await?;
        tracing::info!(from = version, to = STEPS.len(), "accounts database brought up to date");
    }
    transaction.commit().await?;
    Ok(())
}
