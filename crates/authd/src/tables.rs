//! The tables that may be asked for: those of the accounts database, and SQL tables of the settings.

use crate::accounts::{Accounts, AccountsTable};
use config::Config;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tables::sql::SqlTable;

pub struct Tables {
    accounts: Accounts,
    /// Empty: whatever lies in `folder`.
    allowed: Vec<String>,
    folder: PathBuf,
    open: Mutex<HashMap<String, Arc<SqlTable>>>,
}

impl Tables {
    pub fn new(config: &Config, accounts: Accounts) -> Tables {
        let folder = config.directory().to_owned();
        let absolute = |spec: &String| {
            let spec = spec.strip_prefix("proxy:").unwrap_or(spec);
            match spec.split_once(':') {
                Some((kind, path)) => format!("{kind}:{}", folder.join(path).display()),
                None => spec.to_owned(),
            }
        };
        let allowed = config.authd.lookup_tables.iter().map(absolute).collect();
        Tables { accounts, allowed, folder, open: Mutex::default() }
    }

    /// Whether an answer comes from this machine's disk.
    pub fn is_quick(&self, table: &str) -> bool {
        table.starts_with("accounts:") && self.accounts.is_local()
    }

    /// The value of `key`. An error is "cannot tell".
    pub async fn lookup(&self, table: &str, key: &str) -> anyhow::Result<Option<String>> {
        if let Some(name) = table.strip_prefix("accounts:") {
            return match AccountsTable::named(name) {
                Some(table) => Ok(self.accounts.lookup(table, key).await?),
                None => anyhow::bail!("accounts: has the tables {}", AccountsTable::NAMES),
            };
        }
        let open = self.table(table)?;
        Ok(open.lookup(key).await?)
    }

    fn table(&self, spec: &str) -> anyhow::Result<Arc<SqlTable>> {
        if let Some(open) = self.open.lock().get(spec)
            && open.is_current()
        {
            return Ok(open.clone());
        }
        let (kind, path) = spec.split_once(':').unwrap_or((spec, ""));
        let path = Path::new(path);
        // Whoever may ask must not choose which file is read as a table with credentials.
        let allowed = match self.allowed.is_empty() {
            true => path.starts_with(&self.folder) && !path.components().any(|c| c == std::path::Component::ParentDir),
            false => self.allowed.iter().any(|allowed| allowed == spec),
        };
        anyhow::ensure!(allowed, "this table is not among authd.lookup_tables");
        let table = Arc::new(SqlTable::open(kind, path)?);
        self.open.lock().insert(spec.to_owned(), table.clone());
        Ok(table)
    }
}
