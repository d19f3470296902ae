//! `sql`: passwords and users by queries of the administrator's own, in the file of Dovecot's driver of that name.
//!
//! ```text
//! driver = mysql                    (mysql, pgsql, sqlite)
//! connect = host=localhost dbname=postfix_db user=postfix_user password=secret     (sqlite: the path)
//! default_pass_scheme = MD5
//! password_query = SELECT username AS user, password, '/home/vmail/%u' AS userdb_home FROM mailbox \
//!   WHERE username = '%u' AND active = '1'
//! user_query = SELECT '/home/vmail/%u' AS home, 5000 AS uid, 5000 AS gid FROM mailbox WHERE username = '%u'
//! iterate_query = SELECT username FROM mailbox
//! update_query = UPDATE mailbox SET password = '%{new_password}' WHERE username = '%u' AND password = '%{old_password}'
//! ```
//! A `\` at its end continues a line. The name of a column is the name of a field, NULL is no field. A password query gives `password` and may
//! give `user` (the name from then on), `nologin`, `allow_nets`, `nopassword`, and `userdb_…`, which the user database `prefetch` takes; a user
//! query `home`, `mail`, `uid`, `gid`, `quota_rule`, or the older `quota` (`dirsize:storage=N`, in bytes as PostfixAdmin has them, or
//! `maildir:storage=N`). An update query is ours: it stores another hash (`auth_upgrade_scheme`) in the place of the old one. Values are bound as parameters: nothing in a name becomes part of the query.

use crate::dovecot_file::{self, Fields};
use crate::names::Names;
use anyhow::{Context, bail};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tables::sql::{Asker, Database, Kind, Login, Place, Query, Row, Tls, TlsLevel, yes_or_no};
use zeroize::Zeroizing;

/// What the file may have.
const KNOWN: [&str; 7] = ["driver", "connect", "default_pass_scheme", "password_query", "user_query", "iterate_query", "update_query"];

/// An open file of queries. Cheap to clone.
#[derive(Clone)]
pub struct SqlSource(Arc<Inner>);

struct Inner {
    path: PathBuf,
    database: Database,
    scheme: Option<String>,
    password: Option<Query>,
    user: Option<Query>,
    iterate: Option<Query>,
    update: Option<Query>,
}

fn fields(row: &Row) -> Fields {
    let known = row.names.iter().zip(&row.values).filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
    Fields(known.collect())
}

impl SqlSource {
    /// Reads the file; connects to nothing.
    pub fn open(path: &Path) -> anyhow::Result<SqlSource> {
        let text = Zeroizing::new(std::fs::read_to_string(path).with_context(|| path.display().to_string())?);
        let inner = read(&text, path).with_context(|| path.display().to_string())?;
        Ok(SqlSource(Arc::new(inner)))
    }

    pub fn has_password_query(&self) -> bool {
        self.0.password.is_some()
    }

    pub fn has_user_query(&self) -> bool {
        self.0.user.is_some()
    }

    pub fn has_update_query(&self) -> bool {
        self.0.update.is_some()
    }

    /// Has another hash stored where the old one still is; whether it was. `asked` is who the password query found `user` for.
    pub async fn replace_password(&self, asked: &Asker<'_>, user: &str, old: &str, new: &str) -> anyhow::Result<bool> {
        let name = || format!("update_query of {}", self.0.path.display());
        let query = self.0.update.as_ref().with_context(name)?;
        let asker = Asker { user, old_password: old, new_password: new, ..Asker::default() };
        let Some(values) = query.parameters_for(&asker) else { return Ok(false) };
        let mut transaction = self.0.database.begin().await.with_context(name)?;
        let rows = transaction.execute(query.text(), &values).await.with_context(name)?;
        // The name is one user's: a query that forgets to ask for it must not give all the same password.
        anyhow::ensure!(rows <= 1, "{} would change {rows} rows", name());
        if rows > 0 {
            // What the next login will find. A column that is too short cuts a text without a word, and nobody would get in any more.
            let query = self.0.password.as_ref().context("there is no password_query")?;
            let values = query.parameters_for(asked).with_context(name)?;
            let found = transaction.fetch(query.text(), &values).await.with_context(name)?;
            let is_kept = matches!(&found[..], [row] if fields(row).get("password") == Some(new));
            if !is_kept {
                transaction.rollback().await.with_context(name)?;
                bail!("{} does not store what it is given, as password_query finds it: is its column too short?", name());
            }
        }
        transaction.commit().await.with_context(name)?;
        Ok(rows > 0)
    }

    /// The scheme of passwords that name none.
    pub fn scheme(&self) -> Option<&str> {
        self.0.scheme.as_deref()
    }

    pub async fn password(&self, user: &str, service: &str, remote: Option<IpAddr>) -> anyhow::Result<Option<Fields>> {
        let remote = remote.map(|ip| ip.to_string()).unwrap_or_default();
        self.one(self.0.password.as_ref(), "password_query", &Asker { user, service, remote: &remote, ..Asker::default() }).await
    }

    pub async fn user(&self, user: &str) -> anyhow::Result<Option<Fields>> {
        self.one(self.0.user.as_ref(), "user_query", &Asker { user, ..Asker::default() }).await
    }

    /// The names of all users. Without an `iterate_query` they cannot be told.
    pub async fn users(&self, names: &Names) -> anyhow::Result<Vec<String>> {
        let query = self.0.iterate.as_ref().with_context(|| format!("{} has no iterate_query", self.0.path.display()))?;
        let rows = self.0.database.fetch(query.text(), &[]).await?;
        let name = |row: &Row| {
            let fields = fields(row);
            // Either whole names, or parts, as in Dovecot.
            match (fields.get("username").or(fields.get("user")), fields.get("domain")) {
                (Some(user), Some(domain)) if !user.contains('@') => names.normal(&format!("{user}@{domain}")),
                (Some(user), _) => names.normal(user),
                (None, _) => names.normal(row.text(0)),
            }
        };
        Ok(rows.iter().filter_map(name).collect())
    }

    async fn one(&self, query: Option<&Query>, name: &str, asker: &Asker<'_>) -> anyhow::Result<Option<Fields>> {
        let query = query.with_context(|| format!("{} has no {name}", self.0.path.display()))?;
        let Some(values) = query.parameters_for(asker) else { return Ok(None) };
        let rows = self.0.database.fetch(query.text(), &values).await.with_context(|| format!("{name} of {}", self.0.path.display()))?;
        match &rows[..] {
            [] => Ok(None),
            [row] => Ok(Some(fields(row))),
            _ => bail!("{name} of {}: more than one row for {}", self.0.path.display(), mail_types::printable(asker.user)),
        }
    }
}

fn read(text: &str, path: &Path) -> anyhow::Result<Inner> {
    let settings = dovecot_file::settings(text, &KNOWN)?;
    let get = |name: &str| settings.get(name).map(|value| value.as_str()).filter(|value| !value.is_empty());
    let kind = match get("driver").context("has no driver")? {
        "mysql" => Kind::Mysql,
        "pgsql" => Kind::Pgsql,
        "sqlite" => Kind::Sqlite,
        other => bail!("driver = {} is none of mysql, pgsql, sqlite", mail_types::printable(other)),
    };
    let places = places(kind, get("connect").context("has no connect")?, path, get("update_query").is_some())?;
    let query = |name: &str| get(name).map(|text| Query::dovecot(text, kind)).transpose().map_err(|why| anyhow::anyhow!("{name}: {why}"));
    let update = query("update_query")?;
    if let Some(lacking) = update.as_ref().and_then(Query::lacks_for_replacing) {
        bail!(
            "update_query lacks {lacking}: it is to store '%{{new_password}}' for '%u' where password = '%{{old_password}}' still, and nowhere else"
        );
    }
    Ok(Inner {
        path: path.to_owned(),
        database: Database::new(places).map_err(|why| anyhow::anyhow!("connect {why}"))?,
        scheme: get("default_pass_scheme").map(str::to_owned),
        password: query("password_query")?,
        user: query("user_query")?,
        iterate: query("iterate_query")?,
        update,
    })
}

/// `host=a host=b port=3306 dbname=x user=y password=z`; for SQLite the path of the file.
fn places(kind: Kind, connect: &str, file: &Path, is_changed: bool) -> anyhow::Result<Vec<Place>> {
    if kind == Kind::Sqlite {
        let path = file.parent().unwrap_or(Path::new("/")).join(connect);
        return Ok(vec![if is_changed { Place::changed_file(&path) } else { Place::file(&path) }]);
    }
    let (mut hosts, mut port, mut database, mut user, mut password) = (Vec::new(), None, None, None, None);
    let (mut ca, mut cert, mut key, mut level, mut verify) = (None, None, None, None, false);
    for word in words(connect)? {
        let (name, value) = word.split_once('=').context("connect has a word that is not name=value")?;
        let value = Zeroizing::new(value.to_owned());
        match name {
            "host" | "hostaddr" => hosts.push(value),
            "port" => port = Some(value),
            "dbname" => database = Some(value),
            "user" => user = Some(value),
            "password" => password = Some(value),
            // MySQL's words, then PostgreSQL's
            "ssl_ca" | "sslrootcert" => ca = Some(value),
            "ssl_cert" | "sslcert" => cert = Some(value),
            "ssl_key" | "sslkey" => key = Some(value),
            "ssl_verify_server_cert" => verify = yes_or_no(&value).context("connect: ssl_verify_server_cert is neither yes nor no")?,
            "sslmode" if kind == Kind::Pgsql => level = Some(tls_level(&value)?),
            // Waiting and the number of connections are bounded here in any case.
            "connect_timeout" | "maxconns" | "client_flags" | "connect_attempts" => {}
            other => bail!("connect: {} is not known here", mail_types::printable(other)),
        }
    }
    if hosts.is_empty() {
        hosts.push(Zeroizing::new("localhost".to_owned()));
    }
    let [ca, cert, key] = [&ca, &cert, &key].map(|file| file.as_ref().map(|file| file.as_str()));
    let tls = Tls::of_files(ca, cert, key, verify).map_err(|why| anyhow::anyhow!("connect {why}"))?;
    let level = match level {
        // whoever names files wants them used
        Some(TlsLevel::Off) if tls.level == TlsLevel::IfOffered => TlsLevel::Off,
        level => level.unwrap_or_default().max(tls.level),
    };
    let login = Login {
        database: database.as_ref().context("connect has no dbname")?,
        user: user.as_ref().context("connect has no user")?,
        password: password.as_ref().map(|password| password.as_str()),
        tls: Tls { level, ..tls },
    };
    let place = |host: &Zeroizing<String>| {
        let host = match (host.starts_with('/'), &port) {
            (true, _) => format!("unix:{}", host.as_str()),
            (false, Some(port)) if host.contains(':') => format!("[{}]:{}", host.as_str(), port.as_str()),
            (false, Some(port)) => format!("{}:{}", host.as_str(), port.as_str()),
            (false, None) => host.to_string(),
        };
        Place::server(kind, &host, login).map_err(|why| anyhow::anyhow!("connect: {why}"))
    };
    hosts.iter().map(place).collect()
}

/// libpq's `sslmode`.
fn tls_level(mode: &str) -> anyhow::Result<TlsLevel> {
    Ok(match mode {
        "disable" => TlsLevel::Off,
        "allow" | "prefer" => TlsLevel::IfOffered,
        "require" => TlsLevel::Required,
        "verify-ca" | "verify-full" => TlsLevel::Verified,
        other => bail!("connect: sslmode={} is not known here", mail_types::printable(other)),
    })
}

/// Words with white space between them; `'…'` holds some together, with `\` before a quote of its own, as in libpq.
fn words(text: &str) -> anyhow::Result<Vec<Zeroizing<String>>> {
    let mut words = Vec::new();
    let mut word = Zeroizing::new(String::new());
    let mut quoted = false;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' if quoted || word.ends_with('=') => quoted = !quoted,
            '\\' if quoted => word.extend(chars.next()),
            c if c.is_whitespace() && !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    if quoted {
        bail!("connect has a ' that does not end");
    }
    if !word.is_empty() {
        words.push(word);
    }
    Ok(words)
}

#[cfg(test)]
mod live_tests;
#[cfg(test)]
mod tests;
