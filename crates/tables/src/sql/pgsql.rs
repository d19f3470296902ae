//! Parameters of administrators' queries in PostgreSQL.
//!
//! A literal in a query takes the type of what it is compared with; a parameter declared as text does not, and one that is left open is
//! expected in that type's binary form. So the server is asked once what it takes each parameter for, and text is cast to that.

use super::Value;
use sqlx::postgres::{PgConnection, PgTypeInfo};
use sqlx::{AssertSqlSafe, Either, Executor, SqlSafeStr, Statement, TypeInfo};
use std::collections::HashMap;
use std::sync::Arc;

/// Types for which a text parameter does as well as a literal.
const TEXTS: &[&str] = &["TEXT", "VARCHAR", "CHAR", "NAME", "UNKNOWN", "\"CHAR\""];

/// Statements remembered for a connection; a table has one, a source of accounts a handful.
const REMEMBERED: usize = 64;

/// Whether any value is an administrator's parameter.
pub(super) fn has_keys(values: &[Value]) -> bool {
    values.iter().any(|value| matches!(value, Value::Key(_)))
}

/// `text` with its parameters cast to what they stand beside, where they are an administrator's.
pub(super) async fn typed(
    connection: &mut PgConnection,
    known: &mut HashMap<Arc<str>, Arc<str>>,
    text: Arc<str>,
    values: &[Value],
) -> Result<Arc<str>, sqlx::Error> {
    if !has_keys(values) {
        return Ok(text);
    }
    if let Some(typed) = known.get(&text) {
        return Ok(typed.clone());
    }
    let typed = match connection.prepare_with(AssertSqlSafe(text.clone()).into_sql_str(), &[]).await {
        Ok(statement) => match statement.parameters() {
            Some(Either::Left(types)) => cast(&text, types.iter().map(PgTypeInfo::name)),
            _ => text.to_string(),
        },
        // A parameter of which it cannot tell, such as the argument of a function of many types, is text then.
        Err(sqlx::Error::Database(error)) if matches!(error.code().as_deref(), Some("42P18" | "42P08" | "42725")) => text.to_string(),
        Err(error) => return Err(error),
    };
    if known.len() >= REMEMBERED {
        known.clear();
    }
    let typed: Arc<str> = typed.into();
    known.insert(text, typed.clone());
    Ok(typed)
}

/// Writes a cast around each `$n` outside of quotes whose type is not among [`TEXTS`].
fn cast<'a>(text: &str, types: impl Iterator<Item = &'a str>) -> String {
    let types: Vec<&str> = types.collect();
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\'', '"', '$']) {
        let (before, special) = rest.split_at(at);
        out.push_str(before);
        let quote = special.chars().next().filter(|&c| c != '$');
        let length = match quote {
            // a doubled quote is the end of one and the beginning of the next
            Some(quote) => special[1..].find(quote).map_or(special.len(), |end| end + 2),
            None => 1 + special[1..].find(|c: char| !c.is_ascii_digit()).unwrap_or(special.len() - 1),
        };
        let (token, after) = special.split_at(length);
        let number = token[1..].parse::<usize>().ok().filter(|_| quote.is_none());
        match number.and_then(|n| types.get(n.checked_sub(1)?)).filter(|name| !TEXTS.contains(name) && **name != "?") {
            Some(name) => out.push_str(&format!("CAST(CAST({token} AS text) AS {name})")),
            None => out.push_str(token),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_cast() {
        for (text, types, want) in [
            ("SELECT a FROM b WHERE c = $1", &["TEXT"][..], "SELECT a FROM b WHERE c = $1"),
            ("SELECT a FROM b WHERE c = $1", &["citext"], "SELECT a FROM b WHERE c = CAST(CAST($1 AS text) AS citext)"),
            (
                "SELECT $2||'$1'||\"$1\"||'it''s $1'||$1",
                &["INT4", "TEXT"],
                "SELECT $2||'$1'||\"$1\"||'it''s $1'||CAST(CAST($1 AS text) AS INT4)",
            ),
            ("SELECT $10", &["INT4"], "SELECT $10"),
            ("SELECT '$1", &["INT4"], "SELECT '$1"),
            ("SELECT $", &["INT4"], "SELECT $"),
        ] {
            assert_eq!(cast(text, types.iter().copied()), want);
        }
    }
}
