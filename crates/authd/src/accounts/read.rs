//! Questions to the accounts database. Values are always bound, never put into the text of a query.

use super::Accounts;
use ipc::accounts as rows;
use sqlx::sqlite::SqliteRow;
use sqlx::{Error, Row};
use zeroize::Zeroizing;

/// What logins and deliveries want to know of a mailbox.
pub struct MailboxRow {
    pub username: String,
    pub password: Zeroizing<String>,
    /// Relative to the mail root; may be empty.
    pub maildir: String,
    /// 0: no limit.
    pub quota_bytes: u64,
}

/// The tables of `accounts:…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountsTable {
    Domains,
    Mailboxes,
    Aliases,
    AliasDomains,
}

impl AccountsTable {
    pub fn named(name: &str) -> Option<AccountsTable> {
        match name {
            "domains" => Some(AccountsTable::Domains),
            "mailboxes" => Some(AccountsTable::Mailboxes),
            "aliases" => Some(AccountsTable::Aliases),
            "alias_domains" => Some(AccountsTable::AliasDomains),
            _ => None,
        }
    }

    // Inactive is absent, everywhere; a mailbox or alias in an inactive domain too.
    fn query(self) -> &'static str {
        match self {
            AccountsTable::Domains => "SELECT domain FROM domain WHERE domain = ? AND active = 1 AND backupmx = 0",
            AccountsTable::Mailboxes => {
                "SELECT m.maildir FROM mailbox m LEFT JOIN domain d ON d.domain = m.domain
                 WHERE m.username = ? AND m.active = 1 AND COALESCE(d.active, 1) = 1"
            }
            AccountsTable::Aliases => {
                "SELECT a.goto FROM alias a LEFT JOIN domain d ON d.domain = a.domain
                 WHERE a.address = ? AND a.active = 1 AND COALESCE(d.active, 1) = 1"
            }
            AccountsTable::AliasDomains => "SELECT target_domain FROM alias_domain WHERE alias_domain = ? AND active = 1",
        }
    }
}

impl Accounts {
    /// The active mailbox of this name, in an active domain.
    pub async fn mailbox(&self, username: &str) -> Result<Option<MailboxRow>, Error> {
        let row = sqlx::query(
            "SELECT m.username, m.password, m.maildir, m.quota FROM mailbox m LEFT JOIN domain d ON d.domain = m.domain
             WHERE m.username = ? AND m.active = 1 AND COALESCE(d.active, 1) = 1",
        )
        .bind(username)
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| {
            Ok(MailboxRow {
                username: row.try_get::<String, _>(0)?.to_lowercase(),
                password: Zeroizing::new(row.try_get(1)?),
                maildir: row.try_get(2)?,
                quota_bytes: row.try_get::<i64, _>(3)?.max(0) as u64,
            })
        })
        .transpose()
    }

    /// The names of all active mailboxes in active domains.
    pub async fn usernames(&self) -> Result<Vec<String>, Error> {
        let rows = sqlx::query(
            "SELECT m.username FROM mailbox m LEFT JOIN domain d ON d.domain = m.domain
             WHERE m.active = 1 AND COALESCE(d.active, 1) = 1 ORDER BY 1",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|row| Ok(row.try_get::<String, _>(0)?.to_lowercase())).collect()
    }

    /// The value of a key in one of the lookup tables.
    pub async fn lookup(&self, table: AccountsTable, key: &str) -> Result<Option<String>, Error> {
        let row = sqlx::query(table.query()).bind(key.to_lowercase()).fetch_optional(&self.pool).await?;
        row.map(|row| row.try_get(0)).transpose()
    }

    pub async fn list_domains(&self, domain: Option<&str>) -> Result<Vec<rows::Row>, Error> {
        let found = sqlx::query(
            "SELECT d.domain, d.description, d.backupmx, d.active, d.created, d.modified,
                 (SELECT COUNT(*) FROM mailbox m WHERE m.domain = d.domain),
                 (SELECT COUNT(*) FROM alias a WHERE a.domain = d.domain AND a.address NOT IN (SELECT username FROM mailbox))
             FROM domain d WHERE d.domain <> 'ALL' AND (?1 IS NULL OR d.domain = ?1) ORDER BY 1",
        )
        .bind(domain)
        .fetch_all(&self.pool)
        .await?;
        let row = |row: &SqliteRow| {
            Ok(rows::Row::Domain(rows::Domain {
                domain: row.try_get(0)?,
                description: row.try_get(1)?,
                backupmx: flag(row, 2)?,
                active: flag(row, 3)?,
                created: row.try_get(4)?,
                modified: row.try_get(5)?,
                mailboxes: number(row, 6)?,
                aliases: number(row, 7)?,
            }))
        };
        found.iter().map(row).collect()
    }

    /// Mailboxes: all, of a domain, or the one of an address.
    pub async fn list_mailboxes(&self, of: Option<&str>) -> Result<Vec<rows::Row>, Error> {
        let found = sqlx::query(
            "SELECT m.username, m.name, m.maildir, m.quota, m.active, m.password, q.bytes, m.created, m.modified
             FROM mailbox m LEFT JOIN quota2 q ON q.username = m.username
             WHERE ?1 IS NULL OR m.username = ?1 OR m.domain = ?1 ORDER BY m.domain, m.username",
        )
        .bind(of)
        .fetch_all(&self.pool)
        .await?;
        let row = |row: &SqliteRow| {
            let password = Zeroizing::new(row.try_get::<String, _>(5)?);
            Ok(rows::Row::Mailbox(rows::Mailbox {
                username: row.try_get(0)?,
                name: row.try_get(1)?,
                maildir: row.try_get(2)?,
                quota_bytes: number(row, 3)?,
                active: flag(row, 4)?,
                scheme: passwords::scheme_of(&password, "CRYPT").unwrap_or("CRYPT").to_owned(),
                used_bytes: row.try_get::<Option<i64>, _>(6)?.map(|n| n.max(0) as u64),
                created: row.try_get(7)?,
                modified: row.try_get(8)?,
            }))
        };
        found.iter().map(row).collect()
    }

    /// Aliases: all, of a domain, or one; without those that only lead a mailbox to itself, unless asked for by address.
    pub async fn list_aliases(&self, of: Option<&str>) -> Result<Vec<rows::Row>, Error> {
        let found = sqlx::query(
            "SELECT address, goto, active, created, modified FROM alias
             WHERE (?1 IS NULL OR domain = ?1 OR address = ?1) AND (address = ?1 OR address <> goto COLLATE NOCASE) ORDER BY domain, address",
        )
        .bind(of)
        .fetch_all(&self.pool)
        .await?;
        let row = |row: &SqliteRow| {
            Ok(rows::Row::Alias(rows::Alias {
                address: row.try_get(0)?,
                goto: row.try_get::<String, _>(1)?.split(',').map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect(),
                active: flag(row, 2)?,
                created: row.try_get(3)?,
                modified: row.try_get(4)?,
            }))
        };
        found.iter().map(row).collect()
    }

    pub async fn list_alias_domains(&self, of: Option<&str>) -> Result<Vec<rows::Row>, Error> {
        let found = sqlx::query(
            "SELECT alias_domain, target_domain, active, created, modified FROM alias_domain
             WHERE ?1 IS NULL OR alias_domain = ?1 OR target_domain = ?1 ORDER BY 1",
        )
        .bind(of)
        .fetch_all(&self.pool)
        .await?;
        let row = |row: &SqliteRow| {
            Ok(rows::Row::AliasDomain(rows::AliasDomain {
                alias_domain: row.try_get(0)?,
                target_domain: row.try_get(1)?,
                active: flag(row, 2)?,
                created: row.try_get(3)?,
                modified: row.try_get(4)?,
            }))
        };
        found.iter().map(row).collect()
    }
}

fn flag(row: &SqliteRow, column: usize) -> Result<bool, Error> {
    Ok(row.try_get::<i64, _>(column)? != 0)
}

fn number(row: &SqliteRow, column: usize) -> Result<u64, Error> {
    Ok(row.try_get::<i64, _>(column)?.max(0) as u64)
}
