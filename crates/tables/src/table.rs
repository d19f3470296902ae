use crate::asked::Asked;
use crate::cdb::{Cdb, compiled_path};
use crate::cidr::Networks;
use crate::compound::Compound;
use crate::pattern::Patterns;
use crate::spec::{split_list, unbrace};
use crate::text::{Entries, parse_aliases, parse_table};
use crate::watched::Watched;
use crate::{Error, NoRemote, Remote, Unavailable};
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a specification needs beside its text.
#[derive(Clone)]
pub struct Context {
    /// Where relative paths begin: the directory of `facteur.toml`.
    pub base: PathBuf,
    /// Who answers for databases.
    pub remote: Arc<dyn Remote>,
}

impl Context {
    pub fn new(base: impl Into<PathBuf>, remote: Arc<dyn Remote>) -> Context {
        Context { base: base.into(), remote }
    }

    /// Without databases: questions to them fail temporarily.
    pub fn local(base: impl Into<PathBuf>) -> Context {
        Context::new(base, Arc::new(NoRemote))
    }
}

/// How the text file of a `hash:` table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `key whitespace value`
    #[default]
    Table,
    /// `name: value, value` (aliases(5))
    Aliases,
}

/// One open table. Cheap to clone.
#[derive(Clone)]
pub struct Table(Arc<Inner>);

struct Inner {
    spec: String,
    kind: Kind,
}

impl Format {
    pub(crate) fn parse(self, path: &Path, text: &str) -> Result<Entries, Error> {
        match self {
            Format::Table => parse_table(path, text),
            Format::Aliases => parse_aliases(path, text),
        }
    }
}

enum Kind {
    Compiled(Arc<Watched<Cdb>>),
    Text(Arc<Watched<Entries>>),
    Inline(Entries),
    Static(Arc<str>),
    Fail,
    Patterns(Arc<Watched<Patterns>>),
    Networks(Arc<Watched<Networks>>),
    Remote { name: String, remote: Arc<dyn Remote> },
    Compound(Compound),
    Asked(Asked),
}

/// The value of a key, and the line of the file it stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hit {
    pub value: Arc<str>,
    pub line: Option<u32>,
}

impl Table {
    /// Opens a table. Text files are read here, which blocks on the disk.
    pub fn open(spec: &str, context: &Context) -> Result<Table, Error> {
        Table::open_as(spec, Format::Table, context)
    }

    /// Opens a table whose text file, if it has one, is written in `format`.
    pub fn open_as(spec: &str, format: Format, context: &Context) -> Result<Table, Error> {
        let bare = spec.trim();
        let bare = bare.strip_prefix("proxy:").unwrap_or(bare);
        let (kind, name) = bare.split_once(':').ok_or_else(|| Error::spec(spec, "is not of the form type:name"))?;
        if name.trim().is_empty() && kind != "static" && kind != "fail" {
            return Err(Error::spec(spec, "has no name behind the type"));
        }
        let path = || context.base.join(name);
        let kind = match kind {
            // As in Postfix the compiled file counts, also when the text is newer.
            "cdb" if compiled_path(&path()).exists() => Kind::Compiled(Watched::open_with(compiled_path(&path()), Box::new(Cdb::open))?),
            "hash" | "texthash" | "btree" | "cdb" | "dbm" | "lmdb" | "sdbm" => {
                let opened = Watched::open(path(), Box::new(move |path, text| format.parse(path, text)));
                Kind::Text(opened.map_err(|error| with_hint(error, kind, &path()))?)
            }
            "unix" => match name {
                "passwd.byname" => Kind::Text(Watched::open("/etc/passwd".into(), Box::new(parse_passwd))?),
                "group.byname" => Kind::Text(Watched::open("/etc/group".into(), Box::new(parse_passwd))?),
                _ => return Err(Error::spec(spec, "only unix:passwd.byname and unix:group.byname exist")),
            },
            "inline" => Kind::Inline(parse_inline(spec, name)?),
            "static" => Kind::Static(unbrace(name.trim()).into()),
            "fail" => Kind::Fail,
            "regexp" | "pcre" => Kind::Patterns(Watched::open(path(), Box::new(Patterns::parse))?),
            "cidr" => Kind::Networks(Watched::open(path(), Box::new(Networks::parse))?),
            "unionmap" | "pipemap" | "randmap" => Kind::Compound(Compound::open(spec, kind, name, context)?),
            "socketmap" => Kind::Asked(Asked::socketmap(spec, name, &context.base)?),
            "tcp" => Kind::Asked(Asked::tcp(spec, name)?),
            "accounts" => match name {
                "domains" | "mailboxes" | "aliases" | "alias_domains" => {
                    Kind::Remote { name: bare.to_owned(), remote: context.remote.clone() }
                }
                _ => return Err(Error::spec(spec, "accounts: has the tables domains, mailboxes, aliases and alias_domains")),
            },
            "mysql" | "pgsql" | "sqlite" => Kind::Remote { name: format!("{kind}:{}", path().display()), remote: context.remote.clone() },
            _ => {
                return Err(Error::spec(
                    spec,
                    "unknown table type (hash, texthash, regexp, pcre, cidr, inline, static, fail, unix, unionmap, pipemap, randmap, socketmap, tcp, accounts, mysql, pgsql, sqlite)",
                ));
            }
        };
        Ok(Table(Arc::new(Inner { spec: spec.trim().to_owned(), kind })))
    }

    /// The specification as it was written.
    pub fn spec(&self) -> &str {
        &self.0.spec
    }

    /// The file behind the table, when it has one that this process reads.
    pub fn path(&self) -> Option<&Path> {
        match &self.0.kind {
            Kind::Compiled(file) => Some(file.path()),
            Kind::Text(file) => Some(file.path()),
            Kind::Patterns(file) => Some(file.path()),
            Kind::Networks(file) => Some(file.path()),
            _ => None,
        }
    }

    /// Whether its keys are patterns, or its owner knows best what leads to what. Such tables see whole addresses only, never their parts
    /// (regexp_table(5), tcp_table(5), socketmap_table(5)).
    pub fn is_pattern(&self) -> bool {
        match &self.0.kind {
            Kind::Patterns(_) | Kind::Networks(_) | Kind::Asked(_) => true,
            Kind::Compound(compound) => compound.is_pattern(),
            _ => false,
        }
    }

    /// Whether it has the same answer to every question.
    pub fn is_static(&self) -> bool {
        matches!(self.0.kind, Kind::Static(_))
    }

    /// Whether a question leaves this process.
    pub fn is_remote(&self) -> bool {
        match &self.0.kind {
            Kind::Remote { .. } | Kind::Asked(_) => true,
            Kind::Compound(compound) => compound.is_remote(),
            _ => false,
        }
    }

    /// The value of `key`. Keys are compared without case. Only remote tables wait for anything.
    pub async fn lookup(&self, key: &str) -> Result<Option<Arc<str>>, Unavailable> {
        Ok(self.find(key).await?.map(|hit| hit.value))
    }

    pub(crate) async fn find(&self, key: &str) -> Result<Option<Hit>, Unavailable> {
        match &self.0.kind {
            Kind::Compiled(file) => match file.current().get(&fold(key)) {
                Ok(value) => Ok(value.map(|value| Hit { value: value.into(), line: None })),
                Err(error) => Err(self.unavailable(&error.to_string())),
            },
            Kind::Text(file) => Ok(entry(&file.current(), key)),
            Kind::Inline(entries) => Ok(entry(entries, key).map(|hit| Hit { line: None, ..hit })),
            Kind::Static(value) => Ok(Some(Hit { value: value.clone(), line: None })),
            Kind::Fail => Err(self.unavailable("a fail: table always fails")),
            Kind::Patterns(file) => Ok(file.current().find(key)),
            Kind::Networks(file) => {
                let address = key.strip_prefix('[').and_then(|k| k.strip_suffix(']')).unwrap_or(key);
                Ok(address.parse::<IpAddr>().ok().and_then(|ip| file.current().find(ip)))
            }
            // Boxed: such tables ask tables.
            Kind::Compound(compound) => Box::pin(compound.find(key)).await.map_err(|e| self.unavailable(&e.to_string())),
            Kind::Asked(asked) => match asked.lookup(&fold(key)).await {
                Ok(value) => Ok(value.map(|value| Hit { value: value.into(), line: None })),
                Err(why) => Err(self.unavailable(&why)),
            },
            Kind::Remote { name, remote } => match remote.lookup(name, &fold(key)).await {
                Ok(value) => Ok(value.map(|value| Hit { value: value.into(), line: None })),
                Err(why) => Err(self.unavailable(&why)),
            },
        }
    }

    fn unavailable(&self, why: &str) -> Unavailable {
        Unavailable { table: self.0.spec.clone(), why: why.to_owned() }
    }

    /// All keys and values of a table that can be listed: text and inline tables.
    pub fn entries(&self) -> Option<Vec<(String, String)>> {
        let list = |entries: &Entries| {
            let mut all: Vec<_> = entries.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
            all.sort();
            all
        };
        match &self.0.kind {
            Kind::Compiled(file) => file.current().entries().ok(),
            Kind::Text(file) => Some(list(&file.current())),
            Kind::Inline(entries) => Some(list(entries)),
            _ => None,
        }
    }
}

/// What Postfix has compiled to a format that is not read here, and whose text is gone, can be had back from it.
fn with_hint(error: Error, kind: &str, path: &Path) -> Error {
    let Error::File { source, .. } = &error else { return error };
    let compiled = ["lmdb", "db", "dir"].iter().map(|end| PathBuf::from(format!("{}.{end}", path.display()))).find(|path| path.exists());
    match compiled {
        Some(compiled) if source.kind() == std::io::ErrorKind::NotFound => {
            let (text, compiled) = (path.display(), compiled.display());
            let why =
                format!("the text {text} is what is read, and not {compiled}; `postmap -s {kind}:{text} > {text}` of Postfix writes it");
            Error::spec(&format!("{kind}:{text}"), why)
        }
        _ => error,
    }
}

fn entry(entries: &Entries, key: &str) -> Option<Hit> {
    entries.get(&fold(key)).map(|(value, line)| Hit { value, line: Some(line) })
}

fn fold(key: &str) -> Cow<'_, str> {
    let folded = key.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase());
    if folded { Cow::Borrowed(key) } else { Cow::Owned(key.to_lowercase()) }
}

/// `name:rest` lines of passwd(5) and group(5); the value is the whole line, as Postfix gives it.
fn parse_passwd(_path: &Path, text: &str) -> Result<Entries, Error> {
    let mut entries = Entries::default();
    for (number, line) in (1u32..).zip(text.lines()) {
        if let Some((name, _)) = line.split_once(':').filter(|(name, _)| !name.is_empty() && !name.starts_with('#')) {
            entries.insert(name, line, number);
        }
    }
    Ok(entries)
}

/// `{ key=value, key=value, {key = value with spaces} }`
fn parse_inline(spec: &str, name: &str) -> Result<Entries, Error> {
    let inner = name.trim();
    let inner =
        inner.strip_prefix('{').and_then(|i| i.strip_suffix('}')).ok_or_else(|| Error::spec(spec, "expected inline:{ key=value, … }"))?;
    let mut entries = Entries::default();
    for item in split_list(inner) {
        let (key, value) = unbrace(item).split_once('=').ok_or_else(|| Error::spec(spec, format!("`{item}` is not key=value")))?;
        let (key, value) = (key.trim(), value.trim());
        if key.is_empty() || value.is_empty() {
            return Err(Error::spec(spec, format!("`{item}` is not key=value")));
        }
        if !entries.insert(key, value, 0) {
            return Err(Error::spec(spec, format!("the key `{key}` stands there twice")));
        }
    }
    if entries.len() == 0 {
        return Err(Error::spec(spec, "holds no key=value"));
    }
    Ok(entries)
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({})", self.0.spec)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.spec)
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
    async fn tables_without_a_file_answer() {
        for (spec, key, want) in [
            ("inline:{ a=b, {C D = e f} }", "A", Some("b")),
            ("inline:{ a=b, {C D = e f} }", "c d", Some("e f")),
            ("inline:{ a=b }", "x", None),
            ("static:5000", "anything", Some("5000")),
            ("static:{ two words }", "k", Some("two words")),
            ("proxy:static:1", "k", Some("1")),
            ("proxy:unix:passwd.byname", "root", Some("root:x:0:0:root:/root:/bin/bash")),
        ] {
            let got = ask(spec, key).await.expect(spec);
            match want {
                Some(w) if w.starts_with("root:") => assert!(got.expect(spec).starts_with("root:")),
                _ => assert_eq!(got.as_deref(), want, "{spec} {key}"),
            }
        }
    }

    #[tokio::test]
    async fn wrong_specifications_say_why() {
        for (spec, want) in [
            ("/etc/aliases", "is not of the form"),
            ("hash:", "has no name"),
            ("hsah:/etc/x", "unknown table type"),
            ("inline:a=b", "expected inline:{"),
            ("inline:{ a }", "is not key=value"),
            ("inline:{ a=b, a=c }", "twice"),
            ("accounts:people", "has the tables"),
            ("unix:shadow.byname", "only unix:passwd.byname"),
            ("hash:/nonexistent/file", "No such file"),
        ] {
            let error = ask(spec, "k").await.expect_err(spec);
            assert!(error.contains(want), "{spec}: {error}");
        }
    }

    #[tokio::test]
    async fn a_missing_partner_is_a_temporary_failure_not_a_miss() {
        assert!(ask("accounts:domains", "x.org").await.expect_err("no remote").contains("unavailable"));
        assert!(ask("fail:", "x.org").await.is_err());
    }

    #[tokio::test]
    async fn remote_tables_are_asked_by_absolute_path_and_folded_key() {
        let remote = crate::remote(|table, key| async move { Ok(Some(format!("{table} {key}"))) });
        let context = Context::new("/etc/facteur", remote);
        for (spec, want) in [
            ("proxy:mysql:virtual.cf", "mysql:/etc/facteur/virtual.cf ann@x.org"),
            ("pgsql:/srv/v.cf", "pgsql:/srv/v.cf ann@x.org"),
            ("accounts:aliases", "accounts:aliases ann@x.org"),
        ] {
            let table = Table::open(spec, &context).expect(spec);
            assert_eq!(table.lookup("Ann@X.org").await.expect("answer").as_deref(), Some(want));
        }
    }
}
