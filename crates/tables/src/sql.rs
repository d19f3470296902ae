//! Tables in SQL databases, described by Postfix's own files: sqlite_table(5), mysql_table(5), pgsql_table(5).
//!
//! ```text
//! user = postfix_user              dbpath = /var/lib/postfixadmin/db.sqlite    (sqlite)
//! password = secret
//! hosts = localhost
//! dbname = postfix_db
//! query = SELECT goto FROM alias WHERE address='%s' AND active = true
//! ```
//! Known names: `hosts` `user` `password` `dbname` `dbpath` `query` `result_format` `domain` `expansion_limit`, and the older `table`
//! `select_field` `where_field` `additional_conditions`. Values of keys are always bound as parameters, never put into the
//! text of a query, whatever the file writes around `%s`.
//!
//! Only `authd` turns the feature `sql` on; other programs ask it.

mod database;
mod link;
mod pgsql;
mod place;
mod query;
mod settings;

use crate::Unavailable;
pub use database::{Database, Fault, Transaction};
pub use link::{Row, Value, is_true};
pub use place::{Login, Place, Tls, TlsLevel};
pub use query::{Asker, Query};
use query::{Key, ResultFormat};
use settings::Settings;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// An open SQL table. Connections are made with the first question.
pub struct SqlTable {
    spec: String,
    path: PathBuf,
    modified: Option<SystemTime>,
    database: Database,
    query: Query,
    format: ResultFormat,
    domains: Option<Vec<String>>,
    expansion_limit: usize,
}

/// Which kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Mysql,
    Pgsql,
}

impl Kind {
    /// A statement with `?` for each parameter, as this kind of database writes it. It may have no other `?`.
    pub fn placeholders(self, statement: &str) -> Arc<str> {
        if self != Kind::Pgsql {
            return statement.into();
        }
        let mut text = String::with_capacity(statement.len() + 8);
        for (n, part) in statement.split('?').enumerate() {
            if n > 0 {
                text.push_str(&format!("${n}"));
            }
            text.push_str(part);
        }
        text.into()
    }
}

impl SqlTable {
    /// Reads the file at `path`; `kind` is `sqlite`, `mysql` or `pgsql`. Needs a runtime.
    pub fn open(kind: &str, path: &Path) -> Result<SqlTable, crate::Error> {
        let spec = format!("{kind}:{}", path.display());
        let kind = match kind {
            "sqlite" => Kind::Sqlite,
            "mysql" => Kind::Mysql,
            "pgsql" => Kind::Pgsql,
            _ => return Err(crate::Error::spec(&spec, "is no sqlite:, mysql: or pgsql: table")),
        };
        let fail = |source| crate::Error::File { path: path.to_owned(), source };
        let modified = std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
        let text = std::fs::read_to_string(path).map_err(fail)?;
        let wrong = |why: String| crate::Error::spec(&spec, why);
        let settings = Settings::parse(&text).map_err(|(line, why)| crate::Error::line(path, line, why))?;
        let query = Query::compile(&settings.query(kind).map_err(wrong)?, kind).map_err(wrong)?;
        let format = ResultFormat::compile(settings.get("result_format").unwrap_or("%s")).map_err(wrong)?;
        let domains = settings.get("domain").map(settings::domains).transpose().map_err(wrong)?;
        let expansion_limit = settings.number("expansion_limit").map_err(wrong)?;
        let database = places(kind, &settings, path).and_then(Database::new).map_err(wrong)?;
        Ok(SqlTable { path: path.to_owned(), modified, database, query, format, domains, expansion_limit, spec })
    }

    /// Whether the file is still the one that was read.
    pub fn is_current(&self) -> bool {
        self.modified.is_some() && std::fs::metadata(&self.path).and_then(|meta| meta.modified()).ok() == self.modified
    }

    /// The value of `key`: all columns of all rows, formatted, joined by commas.
    pub async fn lookup(&self, key: &str) -> Result<Option<String>, Unavailable> {
        let key = Key::of(key);
        if let Some(domains) = &self.domains {
            // As Postfix: only whole addresses in one of these domains are looked up.
            let searched = key.domain.is_some_and(|domain| domains.iter().any(|d| d.eq_ignore_ascii_case(domain)));
            if !searched || key.local.is_empty() {
                return Ok(None);
            }
        }
        let Some(parameters) = self.query.parameters(&key) else { return Ok(None) };
        let rows = self.database.fetch(self.query.text(), &parameters).await.map_err(|fault| self.unavailable(fault.to_string()))?;
        let values = rows.iter().flat_map(|row| row.values.iter().flatten());
        let results: Vec<String> = values.filter(|v| !v.is_empty()).filter_map(|value| self.format.apply(value, &key)).collect();
        if self.expansion_limit > 0 && results.len() > self.expansion_limit {
            return Err(self.unavailable(format!("more than {} values for one key", self.expansion_limit)));
        }
        Ok((!results.is_empty()).then(|| results.join(",")))
    }

    fn unavailable(&self, why: String) -> Unavailable {
        Unavailable { table: self.spec.clone(), why }
    }
}

/// A word that switches something on or off.
pub fn yes_or_no(word: &str) -> Option<bool> {
    let is = |words: &[&str]| words.iter().any(|known| word.eq_ignore_ascii_case(known));
    match (is(&["yes", "true", "1", "on"]), is(&["no", "false", "0", "off"])) {
        (false, false) => None,
        (yes, _) => Some(yes),
    }
}

/// Where the file of a table says that its database is.
fn places(kind: Kind, settings: &Settings, file: &Path) -> Result<Vec<Place>, String> {
    if kind == Kind::Sqlite {
        let path = settings.get("dbpath").ok_or("has no dbpath")?;
        return Ok(vec![Place::file(&file.parent().unwrap_or(Path::new("/")).join(path))]);
    }
    let login = Login {
        database: settings.get("dbname").ok_or("has no dbname")?,
        user: settings.get("user").unwrap_or("postfix"),
        password: settings.get("password"),
        tls: Tls::of_files(
            settings.get("tls_CAfile"),
            settings.get("tls_cert_file"),
            settings.get("tls_key_file"),
            settings.is_on("tls_verify_cert")?,
        )?,
    };
    let hosts = crate::split_list(settings.get("hosts").unwrap_or("localhost"));
    hosts.into_iter().map(|host| Place::server(kind, host, login)).collect()
}

#[cfg(test)]
mod live_tests;
#[cfg(test)]
mod tests;
