//! Lists of domains and of networks, as `mydestination`, `relay_domains` and `mynetworks` are written.

use crate::cidr::Network;
use crate::spec::split_list;
use crate::text::logical_lines;
use crate::{Context, Error, Table, Unavailable, order};
use mail_types::Domain;
use std::net::IpAddr;

/// Names, `.name` (what lies below), `/file` (more items), `type:table`, each perhaps with `!` in front: first match decides.
#[derive(Debug, Clone, Default)]
pub struct DomainList {
    items: Vec<(bool, DomainItem)>,
    parents_match: bool,
}

#[derive(Debug, Clone)]
enum DomainItem {
    Name(String),
    Below(String),
    Table(Table),
}

impl DomainList {
    /// `parents_match`: a plain name stands also for everything below it, as Postfix has it for `relay_domains`.
    pub fn open(text: &str, parents_match: bool, context: &Context) -> Result<DomainList, Error> {
        let mut items = Vec::new();
        for (wanted, item) in expand(text, context)? {
            let item = if item.contains(':') && !item.starts_with('[') {
                DomainItem::Table(Table::open(&item, context)?)
            } else if let Some(parent) = item.strip_prefix('.') {
                DomainItem::Below(Domain::parse(parent).map_err(|e| Error::spec(&item, e.to_string()))?.as_str().to_owned())
            } else {
                DomainItem::Name(Domain::parse(&item).map_err(|e| Error::spec(&item, e.to_string()))?.as_str().to_owned())
            };
            items.push((wanted, item));
        }
        Ok(DomainList { items, parents_match })
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The item that says the domain belongs to the list, for logs; `None` when it does not belong.
    pub async fn find(&self, domain: &Domain) -> Result<Option<&str>, Unavailable> {
        for (wanted, item) in &self.items {
            let (matched, text) = match item {
                DomainItem::Name(name) => {
                    let below = self.parents_match && order::parents(domain.as_str()).any(|parent| parent == name);
                    (below || name == domain.as_str(), name.as_str())
                }
                DomainItem::Below(name) => (order::parents(domain.as_str()).any(|parent| parent == name), name.as_str()),
                DomainItem::Table(table) => (self.in_table(table, domain).await?, table.spec()),
            };
            if matched {
                return Ok(wanted.then_some(text));
            }
        }
        Ok(None)
    }

    pub async fn contains(&self, domain: &Domain) -> Result<bool, Unavailable> {
        Ok(self.find(domain).await?.is_some())
    }

    async fn in_table(&self, table: &Table, domain: &Domain) -> Result<bool, Unavailable> {
        if table.lookup(domain.as_str()).await?.is_some() {
            return Ok(true);
        }
        if table.is_pattern() || !self.parents_match {
            return Ok(false);
        }
        for parent in order::parents(domain.as_str()) {
            if table.lookup(parent).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The plain names of the list, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.items.iter().filter_map(|(wanted, item)| match item {
            DomainItem::Name(name) if *wanted => Some(name.as_str()),
            _ => None,
        })
    }
}

/// Networks, addresses, `/file`, `cidr:table`, each perhaps with `!` in front: first match decides.
#[derive(Debug, Clone, Default)]
pub struct NetworkList {
    items: Vec<(bool, NetworkItem)>,
}

#[derive(Debug, Clone)]
enum NetworkItem {
    Network(Network),
    Table(Table),
}

impl NetworkList {
    pub fn open(text: &str, context: &Context) -> Result<NetworkList, Error> {
        let mut items = Vec::new();
        for (wanted, item) in expand(text, context)? {
            // A table has its type in letters in front of the colon; an IPv6 address may have letters, but then also a number or brackets.
            let item = match Network::parse(&item) {
                Ok(network) => NetworkItem::Network(network),
                Err(_)
                    if item.split_once(':').is_some_and(|(kind, _)| !kind.is_empty() && kind.chars().all(|c| c.is_ascii_alphabetic())) =>
                {
                    NetworkItem::Table(Table::open(&item, context)?)
                }
                Err(why) => return Err(Error::spec(text, why)),
            };
            items.push((wanted, item));
        }
        Ok(NetworkList { items })
    }

    pub fn of(networks: impl IntoIterator<Item = Network>) -> NetworkList {
        NetworkList { items: networks.into_iter().map(|n| (true, NetworkItem::Network(n))).collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub async fn contains(&self, ip: IpAddr) -> Result<bool, Unavailable> {
        for (wanted, item) in &self.items {
            let matched = match item {
                NetworkItem::Network(network) => network.contains(ip),
                NetworkItem::Table(table) => table.lookup(&ip.to_canonical().to_string()).await?.is_some(),
            };
            if matched {
                return Ok(*wanted);
            }
        }
        Ok(false)
    }
}

/// The items with their sign, `/file` replaced by its content.
fn expand(text: &str, context: &Context) -> Result<Vec<(bool, String)>, Error> {
    let mut items = Vec::new();
    for item in split_list(text) {
        let bare = item.trim_start_matches('!');
        let wanted = (item.len() - bare.len()) % 2 == 0;
        if !bare.starts_with('/') {
            items.push((wanted, bare.to_owned()));
            continue;
        }
        let path = context.base.join(bare);
        let content = std::fs::read_to_string(&path).map_err(|source| Error::File { path: path.clone(), source })?;
        let lines =
            logical_lines(&content).map_err(|line| Error::line(&path, line, "the line begins with white space but continues nothing"))?;
        for line in lines {
            for word in split_list(&line.text) {
                let bare = word.trim_start_matches('!');
                let word_wanted = (word.len() - bare.len()) % 2 == 0;
                if bare.starts_with('/') {
                    return Err(Error::line(&path, line.number, "a file of a list names no further files"));
                }
                items.push((wanted == word_wanted, bare.to_owned()));
            }
        }
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn domain_lists_decide_by_the_first_match() {
        let dir = tempfile::tempdir().expect("dir");
        let file = dir.path().join("more");
        std::fs::write(&file, "# c\nfile.org !not.org\n").expect("write");
        let text = format!("a.org, .b.org !c.d.org d.org, inline:{{ t.org=1 }} {}", file.display());
        let list = DomainList::open(&text, false, &Context::local("/")).expect("list");
        let parents = DomainList::open(&text, true, &Context::local("/")).expect("list");
        for (domain, want, want_parents) in [
            ("a.org", true, true),
            ("x.a.org", false, true),
            ("b.org", false, false),
            ("x.b.org", true, true),
            ("c.d.org", false, false),
            ("e.d.org", false, true),
            ("t.org", true, true),
            ("u.t.org", false, true),
            ("file.org", true, true),
            ("not.org", false, false),
        ] {
            let d = Domain::parse(domain).expect(domain);
            assert_eq!(list.contains(&d).await, Ok(want), "{domain}");
            assert_eq!(parents.contains(&d).await, Ok(want_parents), "{domain} with parents");
        }
        assert!(DomainList::open("a..b", false, &Context::local("/")).is_err());
    }

    #[tokio::test]
    async fn network_lists_decide_by_the_first_match() {
        let list = NetworkList::open("!192.168.1.1, 192.168.0.0/16 [::1]/128 127.0.0.0/8", &Context::local("/")).expect("list");
        for (ip, want) in [("192.168.1.1", false), ("192.168.1.2", true), ("::1", true), ("::ffff:127.0.0.1", true), ("8.8.8.8", false)] {
            assert_eq!(list.contains(ip.parse().expect(ip)).await, Ok(want), "{ip}");
        }
        assert!(NetworkList::open("localhost", &Context::local("/")).is_err());
    }
}
