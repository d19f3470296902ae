//! One connection to a database, and its rows as texts.

use super::{Place, pgsql};
use futures_util::{Stream, TryStreamExt};
use sqlx::mysql::{MySqlConnection, MySqlDatabaseError, MySqlRow};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Column, ColumnIndex, ConnectOptions, Connection, Decode, Row as _, Type};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A query whose rows take more memory than this is a fault: no list of ours is longer, and one without a condition shall not fill our memory.
const MEMORY_LIMIT: usize = 256 << 20;
/// SQLite looks so often, in steps of its machine, whether anybody still waits for it.
const PROGRESS_STEPS: i32 = 10_000;

/// A parameter of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Text(String),
    /// A text in an administrator's query, compared as a literal in its place would be: PostgreSQL has no `integer = text`, and knows no
    /// upper and lower case in `citext = text` any more.
    Key(String),
    Number(i64),
    Flag(bool),
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Value {
        Value::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Value {
        Value::Flag(flag)
    }
}

/// A row; every value as the text that the database's own client would print.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    pub names: Arc<[String]>,
    pub values: Vec<Option<String>>,
}

impl Row {
    /// Column `n` from 0; NULL and what is not there are empty.
    pub fn text(&self, n: usize) -> &str {
        self.values.get(n).and_then(|value| value.as_deref()).unwrap_or_default()
    }

    pub fn optional(&self, n: usize) -> Option<&str> {
        self.values.get(n)?.as_deref()
    }

    /// A number that cannot be below zero; what is none is zero.
    pub fn number(&self, n: usize) -> u64 {
        self.text(n).parse::<i64>().map_or(0, |number| number.max(0) as u64)
    }

    /// A truth value, however the database has it.
    pub fn flag(&self, n: usize) -> bool {
        is_true(self.text(n))
    }
}

/// MySQL and SQLite have 1, PostgreSQL `t`.
pub fn is_true(text: &str) -> bool {
    !matches!(text, "" | "0" | "f" | "false" | "n" | "no")
}

pub(super) enum Link {
    Sqlite { connection: SqliteConnection, given_up: Arc<AtomicBool> },
    Mysql(MySqlConnection),
    Pgsql { connection: PgConnection, typed: HashMap<Arc<str>, Arc<str>> },
}

/// Binds the values.
macro_rules! bound {
    ($text:expr, $values:expr) => {{
        let mut query = sqlx::query(AssertSqlSafe($text));
        for value in $values {
            query = match value {
                Value::Text(text) | Value::Key(text) => query.bind(text.as_str()),
                Value::Number(number) => query.bind(*number),
                Value::Flag(flag) => query.bind(*flag),
            };
        }
        query
    }};
}

impl Link {
    // Boxed: the compiler cannot see through sqlx's futures that they may change threads.
    pub fn connect(place: &Place) -> Pin<Box<dyn Future<Output = Result<Link, sqlx::Error>> + Send>> {
        match place.clone() {
            Place::Sqlite(options) => Box::pin(async move {
                let mut connection = options.connect().await?;
                let given_up = Arc::new(AtomicBool::new(false));
                let seen = given_up.clone();
                connection.lock_handle().await?.set_progress_handler(PROGRESS_STEPS, move || !seen.load(Ordering::Relaxed));
                Ok(Link::Sqlite { connection, given_up })
            }),
            Place::Mysql(options) => Box::pin(async move { Ok(Link::Mysql(options.connect().await?)) }),
            Place::Pgsql(options) => {
                Box::pin(async move { Ok(Link::Pgsql { connection: options.connect().await?, typed: HashMap::new() }) })
            }
        }
    }

    pub async fn fetch(&mut self, text: Arc<str>, values: &[Value]) -> Result<Vec<Row>, sqlx::Error> {
        match self {
            Link::Sqlite { connection, .. } => rows(bound!(text, values).fetch(&mut *connection), sqlite_text).await,
            Link::Mysql(connection) => match rows(bound!(text, values).fetch(&mut *connection), mysql_text).await {
                Err(error) if cannot_be_in_a_column(&error, values) => Ok(Vec::new()),
                done => done,
            },
            Link::Pgsql { connection, typed } => {
                let text = pgsql::typed(connection, typed, text, values).await?;
                rows(bound!(text, values).fetch(&mut *connection), pgsql_text).await
            }
        }
    }

    /// The number of rows that were touched (in MySQL too those that had the new values already).
    pub async fn execute(&mut self, text: Arc<str>, values: &[Value]) -> Result<u64, sqlx::Error> {
        Ok(match self {
            Link::Sqlite { connection, .. } => bound!(text, values).execute(&mut *connection).await?.rows_affected(),
            Link::Mysql(connection) => bound!(text, values).execute(&mut *connection).await?.rows_affected(),
            Link::Pgsql { connection, typed } => {
                let text = pgsql::typed(connection, typed, text, values).await?;
                bound!(text, values).execute(&mut *connection).await?.rows_affected()
            }
        })
    }

    /// Learns what the parameters of a statement are before it is run in a transaction, which a look that fails would end.
    pub async fn learn_types(&mut self, text: &Arc<str>, values: &[Value]) -> Result<(), sqlx::Error> {
        let Link::Pgsql { connection, typed } = self else { return Ok(()) };
        if typed.contains_key(text) || !pgsql::has_keys(values) {
            return Ok(());
        }
        sqlx::raw_sql("SAVEPOINT types").execute(&mut *connection).await?;
        let learned = pgsql::typed(connection, typed, text.clone(), values).await;
        sqlx::raw_sql("ROLLBACK TO SAVEPOINT types").execute(&mut *connection).await?;
        learned.map(drop)
    }

    /// A statement without parameters or rows, such as COMMIT, which MySQL does not prepare.
    pub async fn command(&mut self, text: &'static str) -> Result<(), sqlx::Error> {
        match self {
            Link::Sqlite { connection, .. } => sqlx::raw_sql(text).execute(&mut *connection).await.map(drop),
            Link::Mysql(connection) => sqlx::raw_sql(text).execute(&mut *connection).await.map(drop),
            Link::Pgsql { connection, .. } => sqlx::raw_sql(text).execute(&mut *connection).await.map(drop),
        }
    }

    pub async fn close(self) {
        // Nothing is open on it; a server that hears no goodbye notices by itself.
        let _ = match self {
            Link::Sqlite { connection, .. } => connection.close().await,
            Link::Mysql(connection) => connection.close().await,
            Link::Pgsql { connection, .. } => connection.close().await,
        };
    }

    /// Nobody waits for its answer any more. Servers see the connection go; SQLite has to be told.
    pub fn give_up(self) {
        if let Link::Sqlite { given_up, .. } = self {
            given_up.store(true, Ordering::Relaxed);
        }
    }
}

/// MySQL does not compare a text with a column whose character set lacks one of its characters ("Illegal mix of collations"): so no
/// row has it. Of texts that every character set has, it is a fault of the query.
fn cannot_be_in_a_column(error: &sqlx::Error, values: &[Value]) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    let number = error.try_downcast_ref::<MySqlDatabaseError>().map(MySqlDatabaseError::number);
    number == Some(1267) && values.iter().any(|value| matches!(value, Value::Text(text) | Value::Key(text) if !text.is_ascii()))
}

/// Rows as they come, so that a limit holds before they are all here.
async fn rows<R: sqlx::Row>(
    mut found: impl Stream<Item = Result<R, sqlx::Error>> + Unpin,
    text: fn(&R, usize) -> Option<Option<String>>,
) -> Result<Vec<Row>, sqlx::Error> {
    let wrong_type = |name: &String| sqlx::Error::Decode(format!("column {name} is neither text nor number; CAST it to one").into());
    let (mut rows, mut memory): (Vec<Row>, usize) = (Vec::new(), 0);
    while let Some(row) = found.try_next().await? {
        let names = match rows.first() {
            Some(first) => first.names.clone(),
            None => row.columns().iter().map(|column| column.name().to_owned()).collect(),
        };
        let values = names.iter().enumerate().map(|(n, name)| text(&row, n).ok_or_else(|| wrong_type(name)));
        let values: Vec<Option<String>> = values.collect::<Result<_, sqlx::Error>>()?;
        memory += size_of::<Row>()
            + values.iter().map(|value| size_of::<Option<String>>() + value.as_ref().map_or(0, String::len)).sum::<usize>();
        if memory > MEMORY_LIMIT {
            return Err(sqlx::Error::Decode(
                format!("the rows take more than {} MiB; the query lacks a condition", MEMORY_LIMIT >> 20).into(),
            ));
        }
        rows.push(Row { names, values });
    }
    Ok(rows)
}

/// A column as `T`, written as text; `None` when it is of another type.
fn as_text<'r, R, T>(row: &'r R, column: usize) -> Option<Option<String>>
where
    R: sqlx::Row,
    T: Decode<'r, R::Database> + Type<R::Database> + ToString,
    usize: ColumnIndex<R>,
{
    row.try_get::<Option<T>, _>(column).ok().map(|value| value.map(|value| value.to_string()))
}

fn sqlite_text(row: &SqliteRow, column: usize) -> Option<Option<String>> {
    as_text::<_, String>(row, column).or_else(|| as_text::<_, i64>(row, column)).or_else(|| as_text::<_, f64>(row, column))
}

fn mysql_text(row: &MySqlRow, column: usize) -> Option<Option<String>> {
    as_text::<_, String>(row, column)
        .or_else(|| as_text::<_, i64>(row, column))
        .or_else(|| as_text::<_, u64>(row, column))
        .or_else(|| as_text::<_, f64>(row, column))
        // CONCAT and such give binary strings on some servers.
        .or_else(|| row.try_get::<Option<Vec<u8>>, _>(column).ok().map(|bytes| bytes.and_then(|bytes| String::from_utf8(bytes).ok())))
        // Sums are DECIMAL, which the server sends in letters.
        .or_else(|| match row.column(column).type_info().to_string().as_str() {
            "DECIMAL" => row.try_get_unchecked::<Option<String>, _>(column).ok(),
            _ => None,
        })
}

fn pgsql_text(row: &PgRow, column: usize) -> Option<Option<String>> {
    as_text::<_, String>(row, column)
        .or_else(|| as_text::<_, i64>(row, column))
        .or_else(|| as_text::<_, i32>(row, column))
        .or_else(|| as_text::<_, i16>(row, column))
        .or_else(|| row.try_get::<Option<bool>, _>(column).ok().map(|flag| flag.map(|flag| if flag { "t" } else { "f" }.to_owned())))
        .or_else(|| as_text::<_, f64>(row, column))
        .or_else(|| as_text::<_, f32>(row, column))
}
