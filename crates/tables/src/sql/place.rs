//! Where a database is, and as whom we log in there.

use super::Kind;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

/// How long we wait for another program that writes to the same SQLite file. Shorter than a query may take.
const BUSY_TIMEOUT: Duration = Duration::from_secs(3);

/// Where the socket of a local MySQL or MariaDB usually is; `localhost` means it, as with their own client.
const MYSQL_SOCKETS: &[&str] = &["/run/mysqld/mysqld.sock", "/var/run/mysqld/mysqld.sock", "/tmp/mysql.sock"];

/// One server, or a file.
#[derive(Debug, Clone)]
pub enum Place {
    Sqlite(Box<SqliteConnectOptions>),
    Mysql(Box<MySqlConnectOptions>),
    Pgsql(Box<PgConnectOptions>),
}

/// What one logs in with.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    pub database: &'a str,
    pub user: &'a str,
    pub password: Option<&'a str>,
    pub tls: Tls<'a>,
}

/// How the connection to a server is encrypted, and what the server has to prove.
#[derive(Clone, Copy, Default)]
pub struct Tls<'a> {
    pub level: TlsLevel,
    /// PEM files: whom we trust to certify servers (else whom everybody trusts), and what we show of ourselves.
    pub ca: Option<&'a str>,
    pub cert: Option<&'a str>,
    pub key: Option<&'a str>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsLevel {
    Off,
    /// Where the server offers it.
    #[default]
    IfOffered,
    Required,
    /// Certified by one of `ca` or of those whom everybody trusts, for the name that we connect to.
    Verified,
}

impl<'a> Tls<'a> {
    /// With a file of certificates TLS is a must and the server is verified. Others compare no name then unless asked to; but anybody has a
    /// certificate for some name.
    pub fn of_files(ca: Option<&'a str>, cert: Option<&'a str>, key: Option<&'a str>, verify: bool) -> Result<Tls<'a>, String> {
        if cert.is_some() != key.is_some() {
            return Err("has a certificate without its key, or a key without its certificate".into());
        }
        let level = match (verify || ca.is_some(), cert) {
            (true, _) => TlsLevel::Verified,
            (false, Some(_)) => TlsLevel::Required,
            (false, None) => TlsLevel::IfOffered,
        };
        Ok(Tls { level, ca, cert, key })
    }

    fn of_mysql(&self, mut options: MySqlConnectOptions) -> MySqlConnectOptions {
        options = options.ssl_mode(match self.level {
            TlsLevel::Off => MySqlSslMode::Disabled,
            TlsLevel::IfOffered => MySqlSslMode::Preferred,
            TlsLevel::Required => MySqlSslMode::Required,
            TlsLevel::Verified => MySqlSslMode::VerifyIdentity,
        });
        if let Some(ca) = self.ca {
            options = options.ssl_ca(ca);
        }
        match (self.cert, self.key) {
            (Some(cert), Some(key)) => options.ssl_client_cert(cert).ssl_client_key(key),
            _ => options,
        }
    }

    fn of_pgsql(&self, mut options: PgConnectOptions) -> PgConnectOptions {
        options = options.ssl_mode(match self.level {
            TlsLevel::Off => PgSslMode::Disable,
            TlsLevel::IfOffered => PgSslMode::Prefer,
            TlsLevel::Required => PgSslMode::Require,
            TlsLevel::Verified => PgSslMode::VerifyFull,
        });
        if let Some(ca) = self.ca {
            options = options.ssl_root_cert(ca);
        }
        match (self.cert, self.key) {
            (Some(cert), Some(key)) => options.ssl_client_cert(cert).ssl_client_key(key),
            _ => options,
        }
    }
}

impl Place {
    pub fn kind(&self) -> Kind {
        match self {
            Place::Sqlite(_) => Kind::Sqlite,
            Place::Mysql(_) => Kind::Mysql,
            Place::Pgsql(_) => Kind::Pgsql,
        }
    }

    /// An SQLite file that is only read.
    pub fn file(path: &Path) -> Place {
        Place::Sqlite(Box::new(SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY_TIMEOUT)))
    }

    /// An SQLite file of others, which is changed too.
    pub fn changed_file(path: &Path) -> Place {
        Place::Sqlite(Box::new(writable(path)))
    }

    /// An SQLite file of ours, made when it is not there; a change is on disk when it is committed.
    pub fn own_file(path: &Path) -> Place {
        Place::Sqlite(Box::new(writable(path).create_if_missing(true).journal_mode(SqliteJournalMode::Wal).optimize_on_close(true, None)))
    }

    /// A server as Postfix's `hosts` names it: `host`, `host:port`, `inet:host:port` or `unix:/path`.
    pub fn server(kind: Kind, host_text: &str, login: Login<'_>) -> Result<Place, String> {
        let host = host(host_text)?;
        Ok(match kind {
            Kind::Sqlite => return Err("an SQLite database is a file".into()),
            Kind::Mysql => {
                let mut options = login.tls.of_mysql(mysql(MySqlConnectOptions::new())).username(login.user).database(login.database);
                if let Some(password) = login.password {
                    options = options.password(password);
                }
                let options = match host {
                    Host::Socket(path) => options.socket(path),
                    Host::Tcp(name, port) => mysql_host(options, name, port),
                };
                Place::Mysql(Box::new(options))
            }
            Kind::Pgsql => {
                let mut options = login.tls.of_pgsql(PgConnectOptions::new_without_pgpass()).username(login.user).database(login.database);
                if let Some(password) = login.password {
                    options = options.password(password);
                }
                let options = match host {
                    // libpq takes the directory of the socket, or the socket itself.
                    Host::Socket(path) => {
                        options.socket(Path::new(path).parent().filter(|_| path.contains(".s.PGSQL.")).unwrap_or(Path::new(path)))
                    }
                    Host::Tcp(name, port) => options.host(name).port(port.unwrap_or(5432)),
                };
                Place::Pgsql(Box::new(options.application_name("facteur")))
            }
        })
    }

    /// `mysql://user:password@host:port/database`, `postgresql://…`, `sqlite:/path`; `password` when it is kept elsewhere. What sqlx knows
    /// behind a `?` works: `socket=`, `ssl-mode=`, `ssl-ca=`.
    pub fn url(url: &str, password: Option<&str>) -> Result<Place, String> {
        let (scheme, rest) = url.split_once(':').ok_or("is no URL")?;
        // The error of a wrong URL may quote it, with the password.
        let wrong = |_| "is no URL of the form mysql://user@host/database (odd characters are written as %XX)".to_owned();
        match scheme {
            "sqlite" => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                if path.is_empty() {
                    return Err("has no path".into());
                }
                Ok(Place::Sqlite(Box::new(writable(Path::new(path)))))
            }
            "mysql" | "mariadb" => {
                let mut options = mysql(MySqlConnectOptions::from_str(&format!("mysql:{rest}")).map_err(wrong)?);
                if options.get_database().is_none() {
                    return Err("names no database".into());
                }
                if let Some(password) = password {
                    options = options.password(password);
                }
                let authority = rest.trim_start_matches('/').split(['/', '?']).next().unwrap_or_default();
                let has_port = authority.rsplit('@').next().is_some_and(|host| host.contains(':'));
                if options.get_socket().is_none() && options.get_host() == "localhost" && !has_port {
                    options = mysql_host(options, "localhost", None);
                }
                Ok(Place::Mysql(Box::new(options)))
            }
            "postgresql" | "postgres" | "pgsql" => {
                let mut options = PgConnectOptions::from_str(&format!("postgresql:{rest}")).map_err(wrong)?;
                if options.get_database().is_none() {
                    return Err("names no database".into());
                }
                if let Some(password) = password {
                    options = options.password(password);
                }
                Ok(Place::Pgsql(Box::new(options.application_name("facteur"))))
            }
            other => Err(format!("{}: is none of mysql:, postgresql:, sqlite:", mail_types::printable(other))),
        }
    }
}

fn writable(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(path).synchronous(SqliteSynchronous::Full).busy_timeout(BUSY_TIMEOUT).foreign_keys(false)
}

/// Queries mean what they mean to other clients: `||` is "or", and times are those of the server.
fn mysql(options: MySqlConnectOptions) -> MySqlConnectOptions {
    options.pipes_as_concat(false).no_engine_substitution(false).timezone(None)
}

fn mysql_host(options: MySqlConnectOptions, name: &str, port: Option<u16>) -> MySqlConnectOptions {
    match (name, port) {
        ("localhost", None) => match MYSQL_SOCKETS.iter().find(|path| Path::new(path).exists()) {
            Some(path) => options.socket(path),
            None => options.host("127.0.0.1"),
        },
        (name, port) => options.host(name).port(port.unwrap_or(3306)),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Host<'a> {
    Socket(&'a str),
    Tcp(&'a str, Option<u16>),
}

fn host(text: &str) -> Result<Host<'_>, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(Host::Socket(path));
    }
    if text.contains("://") {
        return Err(format!("hosts: {text}: write host, host:port or unix:/path, and the rest in settings of their own"));
    }
    let text = text.strip_prefix("inet:").unwrap_or(text);
    match text.rsplit_once(':') {
        // An IPv6 address has colons of its own.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            let port = port.parse().map_err(|_| format!("hosts: {text}: the port is no number"))?;
            Ok(Host::Tcp(host.trim_matches(['[', ']']), Some(port)))
        }
        _ => Ok(Host::Tcp(text.trim_matches(['[', ']']), None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_as_postfix_writes_them() {
        for (text, want) in [
            ("localhost", Ok(Host::Tcp("localhost", None))),
            ("db.example.org:3307", Ok(Host::Tcp("db.example.org", Some(3307)))),
            ("inet:192.0.2.1:3307", Ok(Host::Tcp("192.0.2.1", Some(3307)))),
            ("unix:/run/mysqld/mysqld.sock", Ok(Host::Socket("/run/mysqld/mysqld.sock"))),
            ("2001:db8::1", Ok(Host::Tcp("2001:db8::1", None))),
            ("[2001:db8::1]:5432", Ok(Host::Tcp("2001:db8::1", Some(5432)))),
        ] {
            assert_eq!(host(text), want, "{text}");
        }
        assert!(host("db:x").is_err());
        assert!(host("postgresql://db/x").is_err());
    }

    #[test]
    fn urls_name_a_place_and_faults_never_show_the_password() {
        for (url, kind) in [
            ("mysql://u:p%40x@127.0.0.1:3307/postfix_db", Kind::Mysql),
            ("mariadb://u@localhost/postfix_db?ssl-mode=disabled", Kind::Mysql),
            ("postgresql://u:p@db.example.org/postfix", Kind::Pgsql),
            ("postgres:///postfix?host=/run/postgresql&user=u", Kind::Pgsql),
            ("sqlite:/var/lib/postfixadmin/db.sqlite", Kind::Sqlite),
            ("sqlite:///var/lib/postfixadmin/db.sqlite", Kind::Sqlite),
        ] {
            assert_eq!(Place::url(url, None).map(|place| place.kind()), Ok(kind), "{url}");
        }
        for url in [
            "mysql://u:secret@host:port/db",
            "mysql://u:secret@host",
            "oracle://u:secret@h/d",
            "secret",
            "sqlite:",
            "postgresql://u:secret@h",
        ] {
            let error = Place::url(url, None).expect_err(url);
            assert!(!error.contains("secret"), "{url}: {error}");
        }
    }
}
