//! Connections to the three kinds of databases. Pools are made without connecting; hosts are tried in order.

use super::Kind;
use super::settings::Settings;
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::pool::PoolOptions;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, ColumnIndex, Decode, MySqlPool, PgPool, Row, SqlitePool, Type};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Connections per table and host, as Postfix's proxymap had processes.
const CONNECTIONS: u32 = 4;
/// Longer than the askers wait: a slow answer still warms the connection for the next one.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// The whole answer of one host. What takes longer is a query without an index, or a server that hangs.
const QUERY_TIMEOUT: Duration = Duration::from_secs(4);
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
const ROWS_LIMIT: usize = 10_000;

/// Where the socket of a local MySQL or MariaDB usually is; `localhost` means it, as with their own client.
const MYSQL_SOCKETS: &[&str] = &["/run/mysqld/mysqld.sock", "/var/run/mysqld/mysqld.sock", "/tmp/mysql.sock"];

pub(super) struct Database(Vec<Pool>);

enum Pool {
    Sqlite(SqlitePool),
    Mysql(MySqlPool),
    Pgsql(PgPool),
}

fn options<DB: sqlx::Database>(options: PoolOptions<DB>) -> PoolOptions<DB> {
    options.max_connections(CONNECTIONS).acquire_timeout(ACQUIRE_TIMEOUT).idle_timeout(IDLE_TIMEOUT)
}

/// Where a database server is.
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

impl Database {
    pub fn open(kind: Kind, settings: &Settings, file: &Path) -> Result<Database, String> {
        if kind == Kind::Sqlite {
            let path = settings.get("dbpath").ok_or("has no dbpath")?;
            let path = file.parent().unwrap_or(Path::new("/")).join(path);
            let connect = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(Duration::from_secs(2));
            return Ok(Database(vec![Pool::Sqlite(options(SqlitePoolOptions::new()).connect_lazy_with(connect))]));
        }
        let hosts = settings.get("hosts").unwrap_or("localhost");
        let name = settings.get("dbname").ok_or("has no dbname")?;
        let user = settings.get("user").unwrap_or("postfix");
        let mut pools = Vec::new();
        for text in crate::split_list(hosts) {
            let host = host(text)?;
            pools.push(match kind {
                Kind::Mysql => {
                    let mut connect = MySqlConnectOptions::new().username(user).database(name);
                    if let Some(password) = settings.get("password") {
                        connect = connect.password(password);
                    }
                    connect = match host {
                        Host::Socket(path) => connect.socket(path),
                        Host::Tcp("localhost", None) => match MYSQL_SOCKETS.iter().find(|path| Path::new(path).exists()) {
                            Some(path) => connect.socket(path),
                            None => connect.host("127.0.0.1"),
                        },
                        Host::Tcp(host, port) => connect.host(host).port(port.unwrap_or(3306)),
                    };
                    Pool::Mysql(options(MySqlPoolOptions::new()).connect_lazy_with(connect))
                }
                _ => {
                    let mut connect = PgConnectOptions::new_without_pgpass().username(user).database(name).application_name("facteur");
                    if let Some(password) = settings.get("password") {
                        connect = connect.password(password);
                    }
                    connect = match host {
                        // libpq takes the directory of the socket, or the socket itself.
                        Host::Socket(path) => {
                            connect.socket(Path::new(path).parent().filter(|_| path.contains(".s.PGSQL.")).unwrap_or(Path::new(path)))
                        }
                        Host::Tcp(host, port) => connect.host(host).port(port.unwrap_or(5432)),
                    };
                    Pool::Pgsql(options(PgPoolOptions::new()).connect_lazy_with(connect))
                }
            });
        }
        if pools.is_empty() { Err("has no hosts".into()) } else { Ok(Database(pools)) }
    }

    /// All columns of all rows as texts, in order.
    pub async fn fetch(&self, text: Arc<str>, parameters: &[String]) -> Result<Vec<String>, String> {
        let mut last = String::new();
        for pool in &self.0 {
            let fetched = match tokio::time::timeout(QUERY_TIMEOUT, pool.fetch(&text, parameters)).await {
                Ok(fetched) => fetched,
                Err(_) => {
                    last = format!("no answer within {QUERY_TIMEOUT:?}");
                    continue;
                }
            };
            match fetched {
                Ok(values) => return Ok(values),
                // The server is not there: the next one may be. Anything else is its answer.
                Err(error @ (sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_))) => {
                    last = error.to_string()
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        Err(last)
    }
}

impl Pool {
    async fn fetch(&self, text: &Arc<str>, parameters: &[String]) -> Result<Vec<String>, sqlx::Error> {
        macro_rules! fetch {
            ($pool:expr, $text_of:ident) => {{
                let query = parameters.iter().fold(sqlx::query(AssertSqlSafe(text.clone())), |q, p| q.bind(p.as_str()));
                query.fetch_all($pool).await.and_then(|rows| texts(&rows, $text_of))
            }};
        }
        match self {
            Pool::Sqlite(pool) => fetch!(pool, sqlite_text),
            Pool::Mysql(pool) => fetch!(pool, mysql_text),
            Pool::Pgsql(pool) => fetch!(pool, pgsql_text),
        }
    }
}

fn texts<R: Row>(rows: &[R], text: fn(&R, usize) -> Result<Option<String>, sqlx::Error>) -> Result<Vec<String>, sqlx::Error> {
    let mut values = Vec::new();
    for row in rows.iter().take(ROWS_LIMIT) {
        for column in 0..row.len() {
            values.extend(text(row, column)?);
        }
    }
    Ok(values)
}

/// A column as `T`, written as text; `None` when it is of another type.
fn as_text<'r, R, T>(row: &'r R, column: usize) -> Option<Option<String>>
where
    R: Row,
    T: Decode<'r, R::Database> + Type<R::Database> + ToString,
    usize: ColumnIndex<R>,
{
    row.try_get::<Option<T>, _>(column).ok().map(|value| value.map(|value| value.to_string()))
}

fn wrong_type(column: usize) -> sqlx::Error {
    sqlx::Error::Decode(format!("column {} is neither text nor number", column + 1).into())
}

fn sqlite_text(row: &sqlx::sqlite::SqliteRow, column: usize) -> Result<Option<String>, sqlx::Error> {
    as_text::<_, String>(row, column)
        .or_else(|| as_text::<_, i64>(row, column))
        .or_else(|| as_text::<_, f64>(row, column))
        .ok_or_else(|| wrong_type(column))
}

fn mysql_text(row: &sqlx::mysql::MySqlRow, column: usize) -> Result<Option<String>, sqlx::Error> {
    as_text::<_, String>(row, column)
        .or_else(|| as_text::<_, i64>(row, column))
        .or_else(|| as_text::<_, u64>(row, column))
        .or_else(|| as_text::<_, f64>(row, column))
        // CONCAT and such give binary strings on some servers.
        .or_else(|| row.try_get::<Option<Vec<u8>>, _>(column).ok().map(|bytes| bytes.and_then(|bytes| String::from_utf8(bytes).ok())))
        .ok_or_else(|| wrong_type(column))
}

fn pgsql_text(row: &sqlx::postgres::PgRow, column: usize) -> Result<Option<String>, sqlx::Error> {
    as_text::<_, String>(row, column)
        .or_else(|| as_text::<_, i64>(row, column))
        .or_else(|| as_text::<_, i32>(row, column))
        .or_else(|| as_text::<_, i16>(row, column))
        .or_else(|| as_text::<_, bool>(row, column))
        .or_else(|| as_text::<_, f64>(row, column))
        .ok_or_else(|| wrong_type(column))
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
}
