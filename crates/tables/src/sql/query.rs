//! Queries with `%s`, `%u`, `%d` and `%1` to `%9` in them, turned into text with parameters.
//!
//! Postfix escapes the key and puts it into the text. We leave the text alone: a string in quotes that has a `%` becomes one parameter as a
//! whole (`'%u@%d'`), a bare `%s` becomes one too. So no key can end a string, in whatever character set.

use super::{Kind, Value};
use std::sync::Arc;

/// A key and its parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key<'a> {
    pub whole: &'a str,
    /// Before the last @; the whole key without one.
    pub local: &'a str,
    pub domain: Option<&'a str>,
    asker: Asker<'a>,
}

/// Who is asked for, in Dovecot's queries.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asker<'a> {
    pub user: &'a str,
    /// Such as `imap`; empty when nobody logs in.
    pub service: &'a str,
    pub remote: &'a str,
    /// What is stored, and what is to be stored in its place.
    pub old_password: &'a str,
    pub new_password: &'a str,
}

/// Whose names the variables of a query have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Words {
    /// `%s` is the key, `%u` its local part.
    Postfix,
    /// The same, and `%s` is the value.
    PostfixResult,
    /// `%u` is the user, `%n` the local part, `%s` the service; also `%{user}`, and `%L` for lower case, which names have anyway.
    Dovecot,
}

impl<'a> Key<'a> {
    pub fn of(whole: &'a str) -> Key<'a> {
        match whole.rsplit_once('@') {
            Some((local, domain)) => Key { whole, local, domain: Some(domain), asker: Asker::default() },
            None => Key { whole, local: whole, domain: None, asker: Asker::default() },
        }
    }

    /// In Dovecot a user without a domain has an empty one.
    fn of_asker(asker: &Asker<'a>) -> Key<'a> {
        let key = Key::of(asker.user);
        Key { domain: Some(key.domain.unwrap_or_default()), asker: *asker, ..key }
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
    Service,
    Remote,
    OldPassword,
    NewPassword,
    /// `%s` of the value, in a result format.
    Value,
    ValueLocal,
    ValueDomain,
}

/// A query whose variables have become parameters.
#[derive(Debug, Clone)]
pub struct Query {
    text: Arc<str>,
    parameters: Vec<Vec<Piece>>,
}

impl Query {
    /// With Postfix's variables.
    pub(super) fn compile(query: &str, kind: Kind) -> Result<Query, String> {
        Query::read(query, kind, Words::Postfix)
    }

    /// With Dovecot's variables: `%u %n %d %s %r`, also as `%{user}` and so on.
    pub fn dovecot(query: &str, kind: Kind) -> Result<Query, String> {
        Query::read(query, kind, Words::Dovecot)
    }

    fn read(query: &str, kind: Kind, words: Words) -> Result<Query, String> {
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
                        placeholder(&mut text, &mut parameters, pieces(&inner, words)?);
                    } else {
                        text.push(c);
                        text.push_str(&inner.replace(c, &format!("{c}{c}")));
                        text.push(c);
                    }
                }
                '%' => {
                    let mut variable = String::from('%');
                    variable.extend(chars.next());
                    if words == Words::Dovecot && variable == "%L" {
                        variable.extend(chars.next());
                    }
                    while words == Words::Dovecot && variable.contains('{') && !variable.ends_with('}') {
                        variable.push(chars.next().ok_or("a %{ in the query does not end")?);
                    }
                    match pieces(&variable, words)?.pop() {
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

    /// What a query that replaces a password lacks.
    pub fn lacks_for_replacing(&self) -> Option<&'static str> {
        let lacks = |pieces: &[Piece]| !self.parameters.iter().flatten().any(|piece| pieces.contains(piece));
        let needed: [(&str, &[Piece]); 3] =
            [("%{new_password}", &[Piece::NewPassword]), ("%{old_password}", &[Piece::OldPassword]), ("%u", &[Piece::Whole, Piece::Local])];
        needed.into_iter().find(|(_, pieces)| lacks(pieces)).map(|(name, _)| name)
    }

    /// The parameters for a key; `None` when the query does not concern such a key.
    pub(super) fn parameters(&self, key: &Key<'_>) -> Option<Vec<Value>> {
        self.parameters.iter().map(|pieces| fill(pieces, key, "").map(Value::Key)).collect()
    }

    /// The parameters for a user.
    pub fn parameters_for(&self, asker: &Asker<'_>) -> Option<Vec<Value>> {
        self.parameters(&Key::of_asker(asker))
    }
}

/// What a value becomes, such as `%u@example.net` or `relay:[%s]`.
#[derive(Debug, Clone)]
pub(super) struct ResultFormat(Vec<Piece>);

impl ResultFormat {
    pub fn compile(format: &str) -> Result<ResultFormat, String> {
        pieces(format, Words::PostfixResult).map(ResultFormat)
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
            Piece::Service => out.push_str(key.asker.service),
            Piece::Remote => out.push_str(key.asker.remote),
            Piece::OldPassword => out.push_str(key.asker.old_password),
            Piece::NewPassword => out.push_str(key.asker.new_password),
            Piece::Value => out.push_str(value),
            Piece::ValueLocal => out.push_str(Some(Key::of(value).local).filter(|local| !local.is_empty())?),
            Piece::ValueDomain => out.push_str(Key::of(value).domain?),
        }
    }
    Some(out)
}

fn pieces(text: &str, words: Words) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            plain.push(c);
            continue;
        }
        let piece = match (chars.next(), words) {
            (Some('%'), _) => {
                plain.push('%');
                continue;
            }
            (None, _) => return Err("ends with a lone %".into()),
            (Some(letter), Words::Dovecot) => dovecot_piece(letter, &mut chars)?,
            (Some('s'), Words::PostfixResult) => Piece::Value,
            (Some('u'), Words::PostfixResult) => Piece::ValueLocal,
            (Some('d'), Words::PostfixResult) => Piece::ValueDomain,
            (Some('s' | 'S'), _) => Piece::Whole,
            (Some('u' | 'U'), _) => Piece::Local,
            (Some('d' | 'D'), _) => Piece::Domain,
            (Some(n @ '1'..='9'), _) => Piece::Label(n as usize - '0' as usize),
            (Some(other), _) => return Err(format!("%{other} is not known")),
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

fn dovecot_piece(letter: char, chars: &mut std::str::Chars<'_>) -> Result<Piece, String> {
    let letter = if letter == 'L' { chars.next().ok_or("ends with a lone %L")? } else { letter };
    if letter != '{' {
        return match letter {
            'u' => Ok(Piece::Whole),
            'n' => Ok(Piece::Local),
            'd' => Ok(Piece::Domain),
            's' => Ok(Piece::Service),
            'r' => Ok(Piece::Remote),
            other => Err(format!("%{other} is not known")),
        };
    }
    let (name, _) = chars.as_str().split_once('}').ok_or("a %{ does not end")?;
    let piece = match name {
        "user" => Piece::Whole,
        "username" => Piece::Local,
        "domain" => Piece::Domain,
        "service" | "protocol" => Piece::Service,
        "rip" | "remote_ip" => Piece::Remote,
        "old_password" => Piece::OldPassword,
        "new_password" => Piece::NewPassword,
        _ => return Err(format!("%{{{name}}} is not known")),
    };
    chars.nth(name.chars().count());
    Ok(piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(text: &str) -> Value {
        Value::Key(text.to_owned())
    }

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
            let want = parameters.map(|p| p.into_iter().map(bound).collect::<Vec<_>>());
            assert_eq!(compiled.parameters(&Key::of(key)), want, "{query}");
        }
        for bad in ["SELECT '%x'", "SELECT 'a", "SELECT ?", "SELECT %"] {
            assert!(Query::compile(bad, Kind::Sqlite).is_err(), "{bad}");
        }
    }

    #[test]
    fn dovecots_variables_have_their_own_meanings() {
        let asker = Asker { user: "ann@x.org", service: "imap", remote: "192.0.2.1", old_password: "{PLAIN}%u", new_password: "$6$x" };
        for (query, text, parameters) in [
            (
                "SELECT '/home/vmail/%u' AS home WHERE username = '%u'",
                "SELECT ? AS home WHERE username = ?",
                vec!["/home/vmail/ann@x.org", "ann@x.org"],
            ),
            ("SELECT a WHERE b = '%n' AND c = '%Ld'", "SELECT a WHERE b = ? AND c = ?", vec!["ann", "x.org"]),
            ("SELECT a WHERE b = '%{user}-%{domain}' AND s = %s", "SELECT a WHERE b = ? AND s = ?", vec!["ann@x.org-x.org", "imap"]),
            (
                "UPDATE a SET p = '%{new_password}' WHERE b = '%u' AND p = '%{old_password}'",
                "UPDATE a SET p = ? WHERE b = ? AND p = ?",
                vec!["$6$x", "ann@x.org", "{PLAIN}%u"],
            ),
            ("SELECT a WHERE b = %{username} AND r LIKE '%r%%'", "SELECT a WHERE b = ? AND r LIKE ?", vec!["ann", "192.0.2.1%"]),
        ] {
            let compiled = Query::dovecot(query, Kind::Mysql).expect(query);
            assert_eq!(&*compiled.text(), text, "{query}");
            assert_eq!(compiled.parameters_for(&asker), Some(parameters.into_iter().map(bound).collect()), "{query}");
        }
        let without_domain = Asker { user: "ann", ..Asker::default() };
        let compiled = Query::dovecot("SELECT a WHERE b = '%d'", Kind::Sqlite).expect("query");
        assert_eq!(compiled.parameters_for(&without_domain), Some(vec![bound("")]));
        for bad in ["SELECT '%w'", "SELECT '%{pw'", "SELECT %{", "SELECT '%L'"] {
            assert!(Query::dovecot(bad, Kind::Sqlite).is_err(), "{bad}");
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
