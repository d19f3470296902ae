//! Queries with `%s`, `%u`, `%d` and `%1` to `%9` in them, turned into text with parameters.
//!
//! Postfix escapes the key and puts it into the text. We leave the text alone: a string in quotes that has a `%` becomes one parameter as a
//! whole (`'%u@%d'`), a bare `%s` becomes one too. So no key can end a string, in whatever character set.

use super::Kind;
use std::sync::Arc;

/// A key and its parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key<'a> {
    pub whole: &'a str,
    /// Before the last @; the whole key without one.
    pub local: &'a str,
    pub domain: Option<&'a str>,
}

impl<'a> Key<'a> {
    pub fn of(whole: &'a str) -> Key<'a> {
        match whole.rsplit_once('@') {
            Some((local, domain)) => Key { whole, local, domain: Some(domain) },
            None => Key { whole, local: whole, domain: None },
        }
    }

    /// Label `n` of the domain from the right, from 1; of a key without @, of the key itself.
    fn label(&self, n: usize) -> Option<&'a str> {
        self.domain.unwrap_or(self.whole).rsplit('.').nth(n - 1)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// `%s` of the key.
    Whole,
    Local,
    Domain,
    Label(usize),
    /// `%s` of the value, in a result format.
    Value,
    ValueLocal,
    ValueDomain,
}

#[derive(Debug, Clone)]
pub(super) struct Query {
    text: Arc<str>,
    parameters: Vec<Vec<Piece>>,
}

impl Query {
    pub fn compile(query: &str, kind: Kind) -> Result<Query, String> {
        let mut text = String::with_capacity(query.len());
        let mut parameters: Vec<Vec<Piece>> = Vec::new();
        let mut chars = query.chars().peekable();
        let placeholder = |text: &mut String, parameters: &mut Vec<Vec<Piece>>, pieces: Vec<Piece>| {
            parameters.push(pieces);
            match kind {
                Kind::Pgsql => text.push_str(&format!("${}", parameters.len())),
                Kind::Sqlite | Kind::Mysql => text.push('?'),
            }
        };
        while let Some(c) = chars.next() {
            match c {
                '\'' | '"' => {
                    let mut inner = String::new();
                    loop {
                        match chars.next() {
                            Some(q) if q == c => {
                                if chars.peek() != Some(&c) {
                                    break;
                                }
                                // A doubled quote is one quote inside.
                                chars.next();
                                inner.push(c);
                            }
                            Some('\\') if kind == Kind::Mysql => {
                                inner.push(chars.next().ok_or("a string in the query does not end")?);
                            }
                            Some(other) => inner.push(other),
                            None => return Err("a string in the query does not end".into()),
                        }
                    }
                    let is_string = c == '\'' || kind == Kind::Mysql;
                    if is_string && inner.contains('%') {
                        placeholder(&mut text, &mut parameters, pieces(&inner, false)?);
                    } else {
                        text.push(c);
                        text.push_str(&inner.replace(c, &format!("{c}{c}")));
                        text.push(c);
                    }
                }
                '%' => {
                    let mut variable = String::from('%');
                    variable.extend(chars.next());
                    match pieces(&variable, false)?.pop() {
                        Some(Piece::Text(percent)) => text.push_str(&percent),
                        Some(piece) => placeholder(&mut text, &mut parameters, vec![piece]),
                        None => {}
                    }
                }
                // They would be taken for placeholders.
                '?' if kind != Kind::Pgsql => return Err("the query has a ? outside of a string".into()),
                c => text.push(c),
            }
        }
        Ok(Query { text: text.into(), parameters })
    }

    /// The text with placeholders.
    pub fn text(&self) -> Arc<str> {
        self.text.clone()
    }

    /// The parameters for a key; `None` when the query does not concern such a key.
    pub fn parameters(&self, key: &Key<'_>) -> Option<Vec<String>> {
        self.parameters.iter().map(|pieces| fill(pieces, key, "")).collect()
    }
}

/// What a value becomes, such as `%u@example.net` or `relay:[%s]`.
#[derive(Debug, Clone)]
pub(super) struct ResultFormat(Vec<Piece>);

impl ResultFormat {
    pub fn compile(format: &str) -> Result<ResultFormat, String> {
        pieces(format, true).map(ResultFormat)
    }

    /// `None` when the format asks for a part that the value or key does not have.
    pub fn apply(&self, value: &str, key: &Key<'_>) -> Option<String> {
        fill(&self.0, key, value)
    }
}

fn fill(pieces: &[Piece], key: &Key<'_>, value: &str) -> Option<String> {
    let mut out = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Whole => out.push_str(key.whole),
            Piece::Local if key.local.is_empty() => return None,
            Piece::Local => out.push_str(key.local),
            Piece::Domain => out.push_str(key.domain?),
            Piece::Label(n) => out.push_str(key.label(*n)?),
            Piece::Value => out.push_str(value),
            Piece::ValueLocal => out.push_str(Some(Key::of(value).local).filter(|local| !local.is_empty())?),
            Piece::ValueDomain => out.push_str(Key::of(value).domain?),
        }
    }
    Some(out)
}

fn pieces(text: &str, of_result: bool) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            plain.push(c);
            continue;
        }
        let piece = match chars.next() {
            Some('%') => {
                plain.push('%');
                continue;
            }
            Some('s') if of_result => Piece::Value,
            Some('u') if of_result => Piece::ValueLocal,
            Some('d') if of_result => Piece::ValueDomain,
            Some('s' | 'S') => Piece::Whole,
            Some('u' | 'U') => Piece::Local,
            Some('d' | 'D') => Piece::Domain,
            Some(n @ '1'..='9') => Piece::Label(n as usize - '0' as usize),
            Some(other) => return Err(format!("%{other} is not known")),
            None => return Err("ends with a lone %".into()),
        };
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(piece);
    }
    if !plain.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_become_parameters_and_the_rest_stays() {
        for (kind, query, text, key, parameters) in [
            (
                Kind::Mysql,
                "SELECT goto FROM alias WHERE address='%s' AND active = true",
                "SELECT goto FROM alias WHERE address=? AND active = true",
                "ann@x.org",
                Some(vec!["ann@x.org"]),
            ),
            (Kind::Pgsql, "SELECT a WHERE b='%u@%d' AND c = %s", "SELECT a WHERE b=$1 AND c = $2", "a@b", Some(vec!["a@b", "a@b"])),
            (Kind::Sqlite, "SELECT 'x''y' WHERE a LIKE '100%%'", "SELECT 'x''y' WHERE a LIKE ?", "k", Some(vec!["100%"])),
            (Kind::Sqlite, "SELECT \"%s\" WHERE a='%d'", "SELECT \"%s\" WHERE a=?", "no-domain", None),
            (Kind::Mysql, "SELECT a WHERE b=\"%s\"", "SELECT a WHERE b=?", "k", Some(vec!["k"])),
            (Kind::Mysql, "SELECT a WHERE b='it\\'s %s'", "SELECT a WHERE b=?", "k", Some(vec!["it's k"])),
            (Kind::Sqlite, "SELECT a WHERE b='%u'", "SELECT a WHERE b=?", "@x.org", None),
            (Kind::Sqlite, "SELECT a WHERE b='%2.%1'", "SELECT a WHERE b=?", "u@mx.example.org", Some(vec!["example.org"])),
            (Kind::Sqlite, "SELECT a WHERE b='%3'", "SELECT a WHERE b=?", "u@x.org", None),
            (Kind::Sqlite, "SELECT 5 %% 2", "SELECT 5 % 2", "k", Some(vec![])),
            (Kind::Sqlite, "SELECT a WHERE b='%s'", "SELECT a WHERE b=?", "' OR 1=1; --", Some(vec!["' OR 1=1; --"])),
        ] {
            let compiled = Query::compile(query, kind).expect(query);
            assert_eq!(&*compiled.text(), text, "{query}");
            let want = parameters.map(|p| p.into_iter().map(String::from).collect::<Vec<_>>());
            assert_eq!(compiled.parameters(&Key::of(key)), want, "{query}");
        }
        for bad in ["SELECT '%x'", "SELECT 'a", "SELECT ?", "SELECT %"] {
            assert!(Query::compile(bad, Kind::Sqlite).is_err(), "{bad}");
        }
    }

    #[test]
    fn results_are_formatted() {
        for (format, value, key, want) in [
            ("%s", "v", "k", Some("v")),
            ("smtp:[%s]", "mx", "k", Some("smtp:[mx]")),
            ("%u", "a@b", "k", Some("a")),
            ("%d", "a", "k", None),
            ("%S/%U/%D", "v", "a@b", Some("a@b/a/b")),
        ] {
            let got = ResultFormat::compile(format).expect(format).apply(value, &Key::of(key));
            assert_eq!(got.as_deref(), want, "{format}");
        }
    }
}
