//! Tables made of others: `unionmap:{a, b}`, `pipemap:{a, b}`, `randmap:{x, y}` (Postfix DATABASE_README).

use crate::spec::{split_list, unbrace};
use crate::table::Hit;
use crate::{Context, Error, Table, Unavailable};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// How deep such tables may stand in each other.
const DEPTH: usize = 8;

pub(crate) enum Compound {
    /// All answers, joined by commas.
    Union(Vec<Table>),
    /// Each answer is the question to the next.
    Pipe(Vec<Table>),
    /// One of the texts, whatever the key is.
    Random(Vec<Arc<str>>),
}

impl Compound {
    pub fn open(spec: &str, kind: &str, name: &str, context: &Context) -> Result<Compound, Error> {
        let wrong = || Error::spec(spec, format!("expected {kind}:{{ …, … }}"));
        let inner = name.trim().strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).ok_or_else(wrong)?;
        if spec.matches("map:{").count() > DEPTH {
            return Err(Error::spec(spec, "stands too deep in other tables"));
        }
        let items = split_list(inner);
        if items.is_empty() {
            return Err(wrong());
        }
        let tables = || items.iter().map(|item| Table::open(unbrace(item), context)).collect::<Result<Vec<_>, _>>();
        Ok(match kind {
            "unionmap" => Compound::Union(tables()?),
            "pipemap" => Compound::Pipe(tables()?),
            _ => Compound::Random(items.iter().map(|item| unbrace(item).into()).collect()),
        })
    }

    /// Patterns see whole addresses only, so what begins with them does.
    pub fn is_pattern(&self) -> bool {
        match self {
            Compound::Union(tables) => tables.iter().any(Table::is_pattern),
            Compound::Pipe(tables) => tables.first().is_some_and(Table::is_pattern),
            Compound::Random(_) => false,
        }
    }

    pub fn is_remote(&self) -> bool {
        matches!(self, Compound::Union(tables) | Compound::Pipe(tables) if tables.iter().any(Table::is_remote))
    }

    pub async fn find(&self, key: &str) -> Result<Option<Hit>, Unavailable> {
        let value: Arc<str> = match self {
            Compound::Union(tables) => {
                let mut values = Vec::new();
                for table in tables {
                    values.extend(table.lookup(key).await?);
                }
                if values.is_empty() {
                    return Ok(None);
                }
                values.join(",").into()
            }
            Compound::Pipe(tables) => {
                let mut value: Arc<str> = key.into();
                for table in tables {
                    let Some(answer) = table.lookup(&value).await? else { return Ok(None) };
                    value = answer;
                }
                value
            }
            Compound::Random(texts) => {
                let random = RandomState::new().hash_one(key) as usize;
                texts[random % texts.len()].clone()
            }
        };
        Ok(Some(Hit { value, line: None }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(spec: &str, key: &str) -> Result<Option<String>, String> {
        let table = Table::open(spec, &Context::local("/")).map_err(|e| e.to_string())?;
        table.lookup(key).await.map(|v| v.map(|v| v.to_string())).map_err(|e| e.to_string())
    }

    #[tokio::test]
    async fn tables_of_tables_answer_as_postfix_has_it() {
        for (spec, key, want) in [
            ("unionmap:{inline:{a=1, b=2}, inline:{a=3}}", "a", Some("1,3")),
            ("unionmap:{inline:{a=1, b=2}, inline:{a=3}}", "b", Some("2")),
            ("unionmap:{inline:{a=1}, inline:{a=3}}", "c", None),
            ("pipemap:{inline:{a=b}, inline:{b=c}}", "a", Some("c")),
            ("pipemap:{inline:{a=b}, inline:{c=d}}", "a", None),
            ("pipemap:{unionmap:{inline:{a=b}, static:x}, inline:{{b,x = both}}}", "a", Some("both")),
            ("proxy:unionmap:{static:1, static:2}", "k", Some("1,2")),
            ("randmap:{one}", "k", Some("one")),
        ] {
            assert_eq!(ask(spec, key).await.as_ref().map(Option::as_deref), Ok(want), "{spec} {key}");
        }
        assert!(ask("unionmap:{inline:{a=1}, fail:x}", "a").await.is_err(), "half an answer is none");
        let mut seen = std::collections::HashSet::new();
        for _ in 0..200 {
            seen.extend(ask("randmap:{one, two}", "k").await.expect("answer"));
        }
        assert_eq!(seen.len(), 2);
    }

    #[tokio::test]
    async fn wrong_ones_say_why() {
        for spec in ["unionmap:x", "pipemap:{}", "pipemap:{nothing}", "randmap:"] {
            assert!(ask(spec, "k").await.is_err(), "{spec}");
        }
    }
}
