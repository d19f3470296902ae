//! Questions to the accounts database. Values are always bound, never put into the text of a query.

use super::Accounts;
use super::newer::{SERVICES, There, switch_of};
use ipc::accounts as rows;
use tables::sql::{Fault, Row, Value};
use zeroize::Zeroizing;

/// What logins and deliveries want to know of a mailbox.
pub struct MailboxRow {
    pub username: String,
    pub password: Zeroizing<String>,
    /// Relative to the mail root; may be empty.
    pub maildir: String,
    /// 0: no limit.
    pub quota_bytes: u64,
    /// Where a login needs a second factor, the password alone does not do.
    pub has_second_factor: bool,
    /// Which of the services are switched off.
    off: [bool; SERVICES.len()],
}

impl MailboxRow {
    /// Whether the user may log in for this service.
    pub fn may_use(&self, service: &str) -> bool {
        switch_of(service).is_none_or(|at| !self.off[at])
    }
}

/// The tables of `accounts:…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountsTable {
    Domains,
    RelayDomains,
    Mailboxes,
    Aliases,
    AliasDomains,
}

/// PostfixAdmin's row for "all domains" is no domain.
const A_DOMAIN: &str = "d.domain <> 'ALL'";
/// Inactive is absent, everywhere; a mailbox or alias in an inactive domain too.
const ACTIVE_MAILBOX: &str =
    "mailbox m LEFT JOIN domain d ON d.domain = m.domain WHERE m.active = TRUE AND COALESCE(d.active, TRUE) = TRUE";

/// The number of the question for a mailbox, above those of the tables.
const MAILBOX: usize = 100;

impl AccountsTable {
    pub const NAMES: &str = "domains, relay_domains, mailboxes, aliases and alias_domains";

    pub fn named(name: &str) -> Option<AccountsTable> {
        match name {
            "domains" => Some(AccountsTable::Domains),
            "relay_domains" => Some(AccountsTable::RelayDomains),
            "mailboxes" => Some(AccountsTable::Mailboxes),
            "aliases" => Some(AccountsTable::Aliases),
            "alias_domains" => Some(AccountsTable::AliasDomains),
            _ => None,
        }
    }

    /// The key, and the value.
    fn query(self) -> String {
        match self {
            AccountsTable::Domains => {
                format!(
                    "SELECT d.domain, d.domain FROM domain d WHERE {A_DOMAIN} AND d.active = TRUE AND d.backupmx = FALSE AND d.domain = ?"
                )
            }
            AccountsTable::RelayDomains => {
                format!(
                    "SELECT d.domain, d.domain FROM domain d WHERE {A_DOMAIN} AND d.active = TRUE AND d.backupmx = TRUE AND d.domain = ?"
                )
            }
            AccountsTable::Mailboxes => format!("SELECT m.username, m.maildir FROM {ACTIVE_MAILBOX} AND m.username = ?"),
            AccountsTable::Aliases => "SELECT a.address, a.goto FROM alias a LEFT JOIN domain d ON d.domain = a.domain
                 WHERE a.active = TRUE AND COALESCE(d.active, TRUE) = TRUE AND a.address = ?"
                .into(),
            AccountsTable::AliasDomains => {
                // PostfixAdmin has alias domains in `domain` too, and switches them off there.
                "SELECT a.alias_domain, a.target_domain FROM alias_domain a
                 LEFT JOIN domain d ON d.domain = a.alias_domain LEFT JOIN domain t ON t.domain = a.target_domain
                 WHERE a.active = TRUE AND COALESCE(d.active, TRUE) = TRUE AND COALESCE(t.active, TRUE) = TRUE AND a.alias_domain = ?"
                    .into()
            }
        }
    }
}

/// The row whose first column is this name.
pub(super) fn named(found: Vec<Row>, name: &str) -> Option<Row> {
    found.into_iter().find(|row| row.text(0).to_lowercase() == name)
}

impl Accounts {
    /// The active mailbox of this name (of whatever case), in an active domain.
    pub async fn mailbox(&self, username: &str) -> Result<Option<MailboxRow>, Fault> {
        let username = &username.to_lowercase();
        let there = self.newer().await?;
        let second_factor = match there.second_factor {
            true => "CASE WHEN COALESCE(m.totp_secret, '') = '' THEN 0 ELSE 1 END",
            false => "0",
        };
        let query = || {
            format!(
                "SELECT m.username, m.password, m.maildir, m.quota, {second_factor}, {} FROM {ACTIVE_MAILBOX} AND m.username = ?",
                off_columns(&there)
            )
        };
        Ok(self.ask_named(MAILBOX, query, username).await?.map(|row| MailboxRow {
            username: username.to_owned(),
            password: Zeroizing::new(row.text(1).to_owned()),
            maildir: row.text(2).to_owned(),
            quota_bytes: row.number(3),
            has_second_factor: row.flag(4),
            off: off_in(&row, 5),
        }))
    }

    /// The names of all active mailboxes in active domains.
    pub async fn usernames(&self) -> Result<Vec<String>, Fault> {
        let found = self.ask(&format!("SELECT m.username FROM {ACTIVE_MAILBOX} ORDER BY 1"), &[]).await?;
        Ok(found.iter().map(|row| row.text(0).to_lowercase()).collect())
    }

    /// The value of a key in one of the lookup tables.
    pub async fn lookup(&self, table: AccountsTable, key: &str) -> Result<Option<String>, Fault> {
        let key = key.to_lowercase();
        let found = self.ask_named(table as usize, || table.query(), &key).await?;
        Ok(found.map(|row| row.text(1).to_owned()))
    }

    pub async fn list_domains(&self, domain: Option<&str>) -> Result<Vec<rows::Row>, Fault> {
        let (condition, values) = wanted(" AND d.domain = ?", domain);
        let query = format!(
            "SELECT d.domain, d.description, d.backupmx, d.active, CAST(d.created AS CHAR(19)), CAST(d.modified AS CHAR(19)),
                 (SELECT COUNT(*) FROM mailbox m WHERE m.domain = d.domain),
                 (SELECT COUNT(*) FROM alias a WHERE a.domain = d.domain AND a.address NOT IN (SELECT username FROM mailbox))
             FROM domain d WHERE {A_DOMAIN}{condition} ORDER BY 1"
        );
        let row = |row: &Row| {
            rows::Row::Domain(rows::Domain {
                domain: row.text(0).to_owned(),
                description: row.text(1).to_owned(),
                backupmx: row.flag(2),
                active: row.flag(3),
                created: row.text(4).to_owned(),
                modified: row.text(5).to_owned(),
                mailboxes: row.number(6),
                aliases: row.number(7),
            })
        };
        Ok(self.ask(&query, &values).await?.iter().map(row).collect())
    }

    /// Mailboxes: all, of a domain, or the one of an address.
    pub async fn list_mailboxes(&self, of: Option<&str>) -> Result<Vec<rows::Row>, Fault> {
        let off = off_columns(&self.newer().await?);
        let (condition, values) = wanted(" WHERE m.username = ? OR m.domain = ?", of);
        let query = format!(
            "SELECT m.username, m.name, m.maildir, m.quota, m.active, m.password, q.bytes, CAST(m.created AS CHAR(19)),
                 CAST(m.modified AS CHAR(19)), {off}
             FROM mailbox m LEFT JOIN quota2 q ON q.username = m.username{condition} ORDER BY m.domain, m.username"
        );
        let row = |row: &Row| {
            let password = row.text(5);
            rows::Row::Mailbox(rows::Mailbox {
                username: row.text(0).to_owned(),
                name: row.text(1).to_owned(),
                maildir: row.text(2).to_owned(),
                quota_bytes: row.number(3),
                active: row.flag(4),
                scheme: passwords::scheme_of(password, "CRYPT").unwrap_or("CRYPT").to_owned(),
                used_bytes: row.optional(6).map(|_| row.number(6)),
                created: row.text(7).to_owned(),
                modified: row.text(8).to_owned(),
                off: SERVICES.iter().zip(off_in(row, 9)).filter(|(_, off)| *off).map(|(service, _)| (*service).to_owned()).collect(),
            })
        };
        Ok(self.ask(&query, &values).await?.iter().map(row).collect())
    }

    /// Aliases: all, of a domain, or one; without those that only lead a mailbox to itself, unless asked for by address.
    pub async fn list_aliases(&self, of: Option<&str>) -> Result<Vec<rows::Row>, Fault> {
        let (condition, values) = match of {
            Some(_) => wanted(" WHERE address = ? OR (domain = ? AND LOWER(address) <> LOWER(goto))", of),
            None => (" WHERE LOWER(address) <> LOWER(goto)", Vec::new()),
        };
        let query = format!(
            "SELECT address, goto, active, CAST(created AS CHAR(19)), CAST(modified AS CHAR(19)) FROM alias{condition} ORDER BY domain, address"
        );
        let row = |row: &Row| {
            rows::Row::Alias(rows::Alias {
                address: row.text(0).to_owned(),
                goto: row.text(1).split(',').map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect(),
                active: row.flag(2),
                created: row.text(3).to_owned(),
                modified: row.text(4).to_owned(),
            })
        };
        Ok(self.ask(&query, &values).await?.iter().map(row).collect())
    }

    pub async fn list_alias_domains(&self, of: Option<&str>) -> Result<Vec<rows::Row>, Fault> {
        let (condition, values) = wanted(" WHERE alias_domain = ? OR target_domain = ?", of);
        let query = format!(
            "SELECT alias_domain, target_domain, active, CAST(created AS CHAR(19)), CAST(modified AS CHAR(19)) FROM alias_domain{condition}
             ORDER BY 1"
        );
        let row = |row: &Row| {
            rows::Row::AliasDomain(rows::AliasDomain {
                alias_domain: row.text(0).to_owned(),
                target_domain: row.text(1).to_owned(),
                active: row.flag(2),
                created: row.text(3).to_owned(),
                modified: row.text(4).to_owned(),
            })
        };
        Ok(self.ask(&query, &values).await?.iter().map(row).collect())
    }
}

/// For each service whether it is switched off for a mailbox, as far as the tables know.
fn off_columns(there: &There) -> String {
    let column = |(service, there): (&&str, &bool)| match there {
        true => format!("CASE WHEN m.{service}_active = TRUE THEN 0 ELSE 1 END"),
        false => "0".to_owned(),
    };
    SERVICES.iter().zip(&there.switches).map(column).collect::<Vec<_>>().join(", ")
}

fn off_in(row: &Row, first: usize) -> [bool; SERVICES.len()] {
    std::array::from_fn(|at| row.flag(first + at))
}

/// A condition and its values, when something is asked for.
pub(super) fn wanted<'a>(condition: &'a str, of: Option<&str>) -> (&'a str, Vec<Value>) {
    match of {
        Some(name) => (condition, vec![name.into(); condition.matches('?').count()]),
        None => ("", Vec::new()),
    }
}
