//! Several tables behind one setting, searched in order, and the orders of keys for addresses and domains.

use crate::spec::split_list;
use crate::{Context, Error, Format, Table, Unavailable, order};
use mail_types::{Address, Domain};
use std::fmt;
use std::sync::Arc;

/// The tables of a setting such as `virtual_alias_maps = hash:/a, proxy:mysql:/b`.
#[derive(Debug, Clone, Default)]
pub struct Maps {
    tables: Vec<Table>,
}

/// A value, and where it was found.
#[derive(Debug, Clone)]
pub struct Found {
    pub value: Arc<str>,
    pub table: Table,
    pub key: String,
    /// The line of the table's file, from 1.
    pub line: Option<u32>,
}

/// `hash:/etc/facteur/virtual:12 "ann@x.org" = "bob@x.org"`, for logs and `facteur map query`.
impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.table)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, " {:?} = {:?}", self.key, &*self.value)
    }
}

/// The value with its line; nothing; or why the table cannot tell.
pub type Told = Result<Option<(Arc<str>, Option<u32>)>, String>;

/// One key asked of one table, for `facteur map query`.
#[derive(Debug, Clone)]
pub struct Step {
    pub table: String,
    pub key: String,
    pub answer: Told,
    /// The table was not asked: its patterns see whole addresses only.
    pub skipped: bool,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}: ", self.table, self.key)?;
        match &self.answer {
            _ if self.skipped => f.write_str("not asked, patterns see whole addresses only"),
            Ok(Some((value, Some(line)))) => write!(f, "{value:?} (line {line})"),
            Ok(Some((value, None))) => write!(f, "{value:?}"),
            Ok(None) => f.write_str("no such key"),
            Err(why) => write!(f, "unavailable: {why}"),
        }
    }
}

/// How an address is looked for.
#[derive(Debug, Clone, Copy)]
pub struct AddressOrder<'a> {
    /// `recipient_delimiter`.
    pub delimiters: &'a str,
    /// The domain is one of this host's own names, so that the bare local part is a key too (virtual(5)).
    pub bare: bool,
    /// `@domain` is the last key.
    pub catch_all: bool,
}

/// An address found, and the `+detail` that the key did not cover.
#[derive(Debug, Clone)]
pub struct AddressFound {
    pub found: Found,
    pub unmatched_detail: Option<String>,
    /// It was the `@domain` key that answered.
    pub catch_all: bool,
}

impl Maps {
    /// Opens all tables of a setting. Blocks on the disk.
    pub fn open(text: &str, context: &Context) -> Result<Maps, Error> {
        Maps::open_as(text, Format::Table, context)
    }

    pub fn open_as(text: &str, format: Format, context: &Context) -> Result<Maps, Error> {
        let tables = split_list(text).into_iter().map(|spec| Table::open_as(spec, format, context)).collect::<Result<_, _>>()?;
        Ok(Maps { tables })
    }

    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// Looks for a whole key.
    pub async fn lookup(&self, key: &str) -> Result<Option<Found>, Unavailable> {
        self.find(key, true).await
    }

    /// Looks for a part of an address or name; tables of patterns are passed over.
    pub async fn lookup_part(&self, key: &str) -> Result<Option<Found>, Unavailable> {
        self.find(key, false).await
    }

    async fn find(&self, key: &str, whole: bool) -> Result<Option<Found>, Unavailable> {
        for table in &self.tables {
            if !whole && table.is_pattern() {
                continue;
            }
            if let Some(hit) = table.find(key).await? {
                return Ok(Some(Found { value: hit.value, table: table.clone(), key: key.to_owned(), line: hit.line }));
            }
        }
        Ok(None)
    }

    /// virtual(5): `user+detail@domain`, `user@domain`, then `user+detail` and `user` when `bare`, then `@domain`.
    pub async fn address(&self, address: &Address, order: AddressOrder<'_>) -> Result<Option<AddressFound>, Unavailable> {
        if self.tables.is_empty() {
            return Ok(None);
        }
        for key in address_keys(address, order) {
            if let Some(found) = self.find(&key.text, key.whole).await? {
                let unmatched_detail =
                    if key.drops_detail { address.split_detail(order.delimiters).map(|(_, d)| d.to_owned()) } else { None };
                return Ok(Some(AddressFound { found, unmatched_detail, catch_all: key.catch_all }));
            }
        }
        Ok(None)
    }

    /// transport(5): `user+detail@domain`, `user@domain`, `domain`, `.parent` domains from the nearest up, `*`.
    pub async fn transport(&self, address: &Address, delimiters: &str) -> Result<Option<Found>, Unavailable> {
        for key in transport_keys(address, delimiters) {
            if let Some(found) = self.find(&key.text, key.whole).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// A domain: itself, then its parents, as `.parent` or, with `parents_match`, as plain `parent`
    /// (Postfix `parent_domain_matches_subdomains`).
    pub async fn domain(&self, domain: &Domain, parents_match: bool) -> Result<Option<Found>, Unavailable> {
        if let Some(found) = self.find(domain.as_str(), true).await? {
            return Ok(Some(found));
        }
        for parent in order::parents(domain.as_str()) {
            let found = if parents_match { self.find(parent, false).await? } else { self.find(&format!(".{parent}"), false).await? };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Asks as [`Maps::lookup`], and tells each step; it ends with the first answer or failure.
    pub async fn explain(&self, key: &str) -> Vec<Step> {
        self.explain_keys(vec![Key::whole(key.to_owned())]).await
    }

    /// Asks as [`Maps::address`], and tells each step.
    pub async fn explain_address(&self, address: &Address, order: AddressOrder<'_>) -> Vec<Step> {
        self.explain_keys(address_keys(address, order)).await
    }

    /// Asks as [`Maps::transport`], and tells each step.
    pub async fn explain_transport(&self, address: &Address, delimiters: &str) -> Vec<Step> {
        self.explain_keys(transport_keys(address, delimiters)).await
    }

    async fn explain_keys(&self, keys: Vec<Key>) -> Vec<Step> {
        let mut steps = Vec::new();
        for key in keys {
            for table in &self.tables {
                let skipped = !key.whole && table.is_pattern();
                let answer = if skipped { Ok(None) } else { table.find(&key.text).await };
                let answer = answer.map(|hit| hit.map(|hit| (hit.value, hit.line))).map_err(|e| e.why);
                let end = !matches!(answer, Ok(None));
                steps.push(Step { table: table.spec().to_owned(), key: key.text.clone(), answer, skipped });
                if end {
                    return steps;
                }
            }
        }
        steps
    }
}

struct Key {
    text: String,
    whole: bool,
    drops_detail: bool,
    catch_all: bool,
}

impl Key {
    fn whole(text: String) -> Key {
        Key { text, whole: true, drops_detail: false, catch_all: false }
    }

    fn part(text: String) -> Key {
        Key { text, whole: false, drops_detail: false, catch_all: false }
    }
}

fn address_keys(address: &Address, order: AddressOrder<'_>) -> Vec<Key> {
    let mut keys = Vec::with_capacity(3);
    let user = address.split_detail(order.delimiters).map(|(user, _)| user);
    keys.push(Key::whole(text_of(address)));
    if let Some(user) = &user {
        keys.push(Key { drops_detail: true, ..Key::part(text_of(user)) });
    }
    if order.bare {
        keys.push(Key::part(address.local().to_owned()));
        if let Some(user) = &user {
            keys.push(Key { drops_detail: true, ..Key::part(user.local().to_owned()) });
        }
    }
    if order.catch_all {
        keys.push(Key { catch_all: true, ..Key::part(format!("@{}", address.domain())) });
    }
    keys
}

fn transport_keys(address: &Address, delimiters: &str) -> Vec<Key> {
    let mut keys = vec![Key::whole(text_of(address))];
    keys.extend(address.split_detail(delimiters).map(|(user, _)| Key::part(text_of(&user))));
    keys.push(Key::part(address.domain().as_str().to_owned()));
    keys.extend(order::parents(address.domain().as_str()).map(|parent| Key::part(format!(".{parent}"))));
    keys.push(Key::part("*".to_owned()));
    keys
}

/// Tables know addresses without quotes, as Postfix looks them up.
fn text_of(address: &Address) -> String {
    let mut text = String::with_capacity(address.local().len() + 1 + address.domain().as_str().len());
    text.push_str(address.local());
    text.push('@');
    text.push_str(address.domain().as_str());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps(text: &str) -> Maps {
        Maps::open(text, &Context::local("/")).expect(text)
    }

    fn address(text: &str) -> Address {
        Address::parse(text).expect(text)
    }

    #[tokio::test]
    async fn addresses_are_looked_up_as_virtual_5_says() {
        let m = maps("inline:{ ann@x.org=whole, ann+vip@x.org=vip, root=bare, @y.org=all }");
        let order = AddressOrder { delimiters: "+", bare: true, catch_all: true };
        for (key, want) in [
            ("Ann@x.org", Some(("whole", None, false))),
            ("ann+vip@x.org", Some(("vip", None, false))),
            ("ann+a+b@x.org", Some(("whole", Some("a+b"), false))),
            ("root+d@z.org", Some(("bare", Some("d"), false))),
            ("any@y.org", Some(("all", None, true))),
            ("any@z.org", None),
        ] {
            let got = m.address(&address(key), order).await.expect("answer");
            let got = got.as_ref().map(|a| (&*a.found.value, a.unmatched_detail.as_deref(), a.catch_all));
            assert_eq!(got, want, "{key}");
        }
        let found = m.address(&address("root@z.org"), AddressOrder { bare: false, ..order }).await.expect("answer");
        assert!(found.is_none());
    }

    #[tokio::test]
    async fn transports_are_looked_up_as_transport_5_says() {
        let m = maps("inline:{ ann@x.org=user, x.org=domain, .x.org=below, *=rest }");
        for (key, want) in [("ann+x@x.org", "user"), ("bob@x.org", "domain"), ("bob@a.b.x.org", "below"), ("bob@y.org", "rest")] {
            assert_eq!(&*m.transport(&address(key), "+").await.expect("answer").expect(key).value, want, "{key}");
        }
    }

    #[tokio::test]
    async fn domains_are_found_by_their_parents() {
        let m = maps("inline:{ x.org=a, .y.org=b }");
        let d = |s| Domain::parse(s).expect("domain");
        assert!(m.domain(&d("a.x.org"), true).await.expect("answer").is_some());
        assert!(m.domain(&d("a.x.org"), false).await.expect("answer").is_none());
        assert!(m.domain(&d("a.y.org"), false).await.expect("answer").is_some());
    }

    #[tokio::test]
    async fn patterns_see_whole_addresses_only() {
        let dir = tempfile::tempdir().expect("dir");
        std::fs::write(dir.path().join("p"), "/^ann@/ yes\n/^@/ never\n").expect("write");
        let m = Maps::open("regexp:p", &Context::local(dir.path())).expect("table");
        let order = AddressOrder { delimiters: "+", bare: false, catch_all: true };
        assert!(m.address(&address("ann@x.org"), order).await.expect("answer").is_some());
        assert!(m.address(&address("ann+d@x.org"), order).await.expect("answer").is_none());
        let steps = m.explain_address(&address("ann+d@x.org"), order).await;
        let text: Vec<_> = steps.iter().map(Step::to_string).collect();
        assert_eq!(
            text,
            [
                "regexp:p \"ann+d@x.org\": no such key",
                "regexp:p \"ann@x.org\": not asked, patterns see whole addresses only",
                "regexp:p \"@x.org\": not asked, patterns see whole addresses only"
            ]
        );
    }

    #[tokio::test]
    async fn an_earlier_tables_failure_is_not_skipped() {
        let m = maps("fail:, static:yes");
        assert!(m.lookup("k").await.is_err());
        assert_eq!(m.explain("k").await.len(), 1);
        assert!(maps("").lookup("k").await.expect("answer").is_none());
    }
}
