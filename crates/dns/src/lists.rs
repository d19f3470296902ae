//! DNS lists (RFC 5782): lists of addresses and domains that are published as A records in 127.0.0.0/8.
//!
//! A list must not be able to reject the world. What counts as a listing is narrow: an answer in 127.0.0.0/16 that is not one of the codes
//! by which lists say that they did not look (127.0.0.1, a last octet of 255). Everything else (127.255.255.0/24, an address of
//! a parking page, an answer of a resolver that invents addresses) is an error of the list, and no listing. A site may say which answers
//! it wants instead (`=127.0.0.[2..11;13]`); 127.255.255.0/24 and what is not in 127.0.0.0/8 is an error then, too.
//!
//! Before a list is believed it is asked for what RFC 5782 §5 fixes: an address list has 127.0.0.2 and has not 127.0.0.1, a domain list has not
//! `invalid`. A list that fails is suspended: one warning, and a new test after [`RETEST_FAILED`].

use crate::{Error, Resolver};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A list that passed is tested again after this time.
pub const RETEST_PASSED: Duration = Duration::from_secs(3600);
/// A suspended list is tested again after this time.
pub const RETEST_FAILED: Duration = Duration::from_secs(600);

/// A list and what of its answers counts: `domain[=pattern][*weight]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    pub domain: String,
    /// As it is written: `domain` or `domain=pattern`.
    pub text: String,
    filter: Option<[Vec<(u8, u8)>; 4]>,
    pub weight: i32,
}

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    Address(IpAddr),
    Domain(&'a str),
}

/// What a list says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listing {
    Listed {
        code: Ipv4Addr,
        text: Option<String>,
    },
    NotListed,
    /// The list is suspended, or said something that no list says; it has no opinion.
    Unusable,
    /// The DNS cannot tell at the moment.
    Temporary,
}

impl Site {
    /// Reads `zen.spamhaus.org`, `list.test=127.0.0.[2;4..11]`, `list.test=127.0.0.2*3`. The text says what is wrong.
    pub fn parse(text: &str) -> Result<Site, String> {
        let (head, weight) = match text.rsplit_once('*') {
            Some((head, weight)) => (head, weight.parse().map_err(|_| format!("{text:?}: the weight is no number"))?),
            None => (text, 1),
        };
        let (domain, filter) = match head.split_once('=') {
            Some((domain, pattern)) => (domain, Some(octets(pattern).ok_or_else(|| format!("{text:?}: the pattern is not d.d.d.d"))?)),
            None => (head, None),
        };
        let known = mail_types::Domain::parse(domain).ok().filter(|d| d.literal().is_none());
        let domain = known.ok_or_else(|| format!("{text:?}: {domain:?} is no domain"))?.as_str().to_owned();
        Ok(Site { domain, text: head.to_owned(), filter, weight })
    }

    /// Whether an answer is a listing; `None` when no list would give it.
    fn counts(&self, answer: Ipv4Addr) -> Option<bool> {
        let o = answer.octets();
        if o[0] != 127 || o[..3] == [127, 255, 255] {
            return None;
        }
        match &self.filter {
            Some(filter) => {
                Some(filter.iter().zip(o).all(|(ranges, octet)| ranges.iter().any(|(low, high)| (*low..=*high).contains(&octet))))
            }
            None if o[1] != 0 || o[3] == 255 || o == [127, 0, 0, 1] => None,
            None => Some(true),
        }
    }
}

/// `d.d.d.d`; each `d` is a number or `[n;n..m]` (Postfix postconf(5), reject_rbl_client).
fn octets(pattern: &str) -> Option<[Vec<(u8, u8)>; 4]> {
    let mut rest = pattern;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (octet, tail) = match rest.strip_prefix('[') {
            Some(inside) => inside.split_once(']')?,
            None => rest.split_at(rest.find('.').unwrap_or(rest.len())),
        };
        let ranges = octet.split(';').map(|item| {
            let (low, high) = item.split_once("..").unwrap_or((item, item));
            let (low, high) = (low.parse::<u8>().ok()?, high.parse::<u8>().ok()?);
            (low <= high).then_some((low, high))
        });
        all.push(ranges.collect::<Option<Vec<_>>>()?);
        rest = match tail.strip_prefix('.') {
            Some(more) if !more.is_empty() => more,
            None if tail.is_empty() => "",
            _ => return None,
        };
    }
    all.try_into().ok()
}

/// The name to ask for: `1.2.0.192.list.test`, `example.org.list.test`.
fn query(subject: Subject<'_>, list: &str) -> String {
    match subject {
        Subject::Domain(domain) => format!("{}.{list}", domain.trim_end_matches('.')),
        Subject::Address(ip) => match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, c, d] = ip.octets();
                format!("{d}.{c}.{b}.{a}.{list}")
            }
            IpAddr::V6(ip) => {
                let nibbles = ip.octets().into_iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
                nibbles.map(|n| format!("{n:x}.")).collect::<String>() + list
            }
        },
    }
}

/// Asks lists, and knows which of them can be believed. Shared by all sessions; as large as the settings have lists.
pub struct Lists {
    resolver: Arc<dyn Resolver>,
    self_test: bool,
    health: Mutex<HashMap<(String, bool), Health>>,
    silent: Mutex<HashMap<String, Silence>>,
}

/// A list that does not answer.
#[derive(Debug, Clone, Copy)]
struct Silence {
    failures: u32,
    since: Instant,
}

/// After so many failures in a row a list is left alone for a while: every client and every recipient would wait for it.
const FAILURES: u32 = 3;
const LEFT_ALONE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy)]
struct Health {
    good: bool,
    tested: Instant,
}

impl Lists {
    /// `self_test`: whether lists are tested before they are believed.
    pub fn new(resolver: Arc<dyn Resolver>, self_test: bool) -> Lists {
        Lists { resolver, self_test, health: Mutex::default(), silent: Mutex::default() }
    }

    /// Whether `site` has `subject`.
    pub async fn ask(&self, site: &Site, subject: Subject<'_>, now: Instant) -> Listing {
        let name = query(subject, &site.domain);
        if self.is_silent(&site.domain, now) {
            return Listing::Temporary;
        }
        let answers = self.resolver.v4(&name).await;
        self.note(&site.domain, matches!(answers, Err(Error::Temporary(_))), now);
        let answers = match answers {
            Ok(answers) => answers,
            Err(Error::NoSuchName | Error::NoRecords) => return Listing::NotListed,
            Err(Error::Temporary(_)) => return Listing::Temporary,
        };
        let counted: Vec<Option<bool>> = answers.iter().map(|answer| site.counts(*answer)).collect();
        let Some(at) = counted.iter().position(|counts| *counts == Some(true)) else {
            if let Some(at) = counted.iter().position(Option::is_none) {
                tracing::info!(list = site.domain, query = %mail_types::printable(&name), answer = %answers[at], "an answer of a DNS list that is no listing");
                return Listing::Unusable;
            }
            return Listing::NotListed;
        };
        if self.self_test && !self.is_believed(&site.domain, matches!(subject, Subject::Address(_)), now).await {
            return Listing::Unusable;
        }
        let text = match self.resolver.txt(&name).await {
            Ok(texts) => texts.into_iter().next().map(|text| text.chars().take(500).collect()),
            Err(_) => None,
        };
        Listing::Listed { code: answers[at], text }
    }

    fn is_silent(&self, list: &str, now: Instant) -> bool {
        let silent = self.silent.lock();
        silent.get(list).is_some_and(|s| s.failures >= FAILURES && now.saturating_duration_since(s.since) < LEFT_ALONE)
    }

    fn note(&self, list: &str, failed: bool, now: Instant) {
        let mut silent = self.silent.lock();
        if !failed {
            if silent.remove(list).is_some_and(|s| s.failures >= FAILURES) {
                tracing::info!(list, "a DNS list answers again");
            }
            return;
        }
        let known = silent.entry(list.to_owned()).or_insert(Silence { failures: 0, since: now });
        (known.failures, known.since) = (known.failures.saturating_add(1), now);
        if known.failures == FAILURES {
            tracing::warn!(list, "a DNS list does not answer and is asked less often");
        }
    }

    /// Whether the list passed its test. Without an answer to the test it is not believed, and tested again at once.
    async fn is_believed(&self, list: &str, addresses: bool, now: Instant) -> bool {
        let key = (list.to_owned(), addresses);
        let known = self.health.lock().get(&key).copied();
        if let Some(health) = known {
            let pause = if health.good { RETEST_PASSED } else { RETEST_FAILED };
            if now.saturating_duration_since(health.tested) < pause {
                return health.good;
            }
        }
        let Ok(fault) = self.test(list, addresses).await else { return known.is_some_and(|h| h.good) };
        match &fault {
            Some(fault) if known.is_none_or(|h| h.good) => {
                tracing::warn!(list, fault, "a DNS list fails its test (RFC 5782 section 5) and is suspended");
            }
            None if known.is_some_and(|h| !h.good) => tracing::info!(list, "a DNS list passes its test again"),
            _ => {}
        }
        let good = fault.is_none();
        self.health.lock().insert(key, Health { good, tested: now });
        good
    }

    /// What is wrong with a list. RFC 5782 §5.
    async fn test(&self, list: &str, addresses: bool) -> Result<Option<&'static str>, Error> {
        let has = async |subject| match self.resolver.v4(&query(subject, list)).await {
            Ok(_) => Ok(true),
            Err(Error::NoSuchName | Error::NoRecords) => Ok(false),
            Err(error) => Err(error),
        };
        if !addresses {
            return Ok(has(Subject::Domain("invalid")).await?.then_some("it has the domain \"invalid\""));
        }
        if has(Subject::Address(Ipv4Addr::new(127, 0, 0, 1).into())).await? {
            return Ok(Some("it has 127.0.0.1"));
        }
        Ok((!has(Subject::Address(Ipv4Addr::new(127, 0, 0, 2).into())).await?).then_some("it has not 127.0.0.2"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_read_as_postfix_reads_them() {
        for (text, answer, want) in [
            ("l.test", "127.0.0.2", Ok(Some(true))),
            ("l.test", "127.0.1.6", Ok(Some(true))),
            ("l.test", "127.0.10.3", Ok(Some(true))),
            ("l.test", "127.0.0.1", Ok(None)),
            ("l.test", "127.0.0.255", Ok(None)),
            ("l.test", "127.0.1.255", Ok(None)),
            ("l.test", "127.255.255.254", Ok(None)),
            ("l.test", "127.1.0.2", Ok(None)),
            ("l.test", "192.0.2.1", Ok(None)),
            ("l.test=127.0.0.2", "127.0.0.2", Ok(Some(true))),
            ("l.test=127.0.0.2", "127.0.0.3", Ok(Some(false))),
            ("l.test=127.0.0.[2..4;10]", "127.0.0.3", Ok(Some(true))),
            ("l.test=127.0.0.[2..4;10]", "127.0.0.10", Ok(Some(true))),
            ("l.test=127.0.0.[2..4;10]", "127.0.0.5", Ok(Some(false))),
            ("l.test=127.[0..255].[0..255].[0..255]", "127.255.255.254", Ok(None)),
            ("l.test=[0..255].0.2.1", "192.0.2.1", Ok(None)),
            ("l.test=127.0.0", "", Err(())),
            ("l.test=127.0.0.[2", "", Err(())),
            ("l.test=127.0.0.[4..2]", "", Err(())),
            ("l.test=127.0.0.2.", "", Err(())),
            ("l.test=127.0.0.256", "", Err(())),
            ("l.test*x", "", Err(())),
            ("a b", "", Err(())),
        ] {
            let site = Site::parse(text).map_err(|_| ());
            assert_eq!(site.map(|s| s.counts(answer.parse().expect("ip"))), want, "{text} {answer}");
        }
        let site = Site::parse("L.test=127.0.0.2*-3").expect("site");
        assert_eq!((site.domain.as_str(), site.text.as_str(), site.weight), ("l.test", "L.test=127.0.0.2", -3));
    }

    #[test]
    fn addresses_are_asked_for_backwards() {
        let ip = |text: &str| Subject::Address(text.parse().expect("ip"));
        assert_eq!(query(ip("192.0.2.7"), "l.test"), "7.2.0.192.l.test");
        assert_eq!(query(ip("::ffff:192.0.2.7"), "l.test"), "7.2.0.192.l.test");
        let six = query(ip("2001:db8::17"), "l.test");
        assert!(six.starts_with("7.1.0.0.") && six.ends_with(".8.b.d.0.1.0.0.2.l.test"), "{six}");
        assert_eq!(query(Subject::Domain("x.test."), "l.test"), "x.test.l.test");
    }

    #[tokio::test]
    async fn a_list_that_does_not_answer_is_left_alone_for_a_while() {
        let dns = testkit::dns::FakeDns::start("1.0.0.10.l.test SERVFAIL\n2.0.0.10.l.test SERVFAIL\n3.0.0.10.l.test SERVFAIL").await;
        let settings = config::Dns { nameservers: vec![dns.address()], ..config::Dns::default() };
        let lists = Lists::new(Arc::new(crate::Dns::new(&settings).expect("dns")), false);
        let site = Site::parse("l.test").expect("site");
        let start = Instant::now();
        let ask = async |n: u8, after: Duration| lists.ask(&site, Subject::Address([10, 0, 0, n].into()), start + after).await;
        for n in 1..=3 {
            assert_eq!(ask(n, Duration::ZERO).await, Listing::Temporary);
        }
        let asked = dns.asked().len();
        assert_eq!(ask(4, Duration::from_secs(29)).await, Listing::Temporary);
        assert_eq!(dns.asked().len(), asked, "not asked");
        assert_eq!(ask(4, LEFT_ALONE).await, Listing::NotListed);
        assert_eq!(ask(5, LEFT_ALONE).await, Listing::NotListed);
    }

    #[tokio::test]
    async fn a_list_cannot_reject_the_world() {
        let dns = testkit::dns::FakeDns::start(
            "2.0.0.127.good.test A 127.0.0.2
             7.2.0.192.good.test A 127.0.0.4
             7.2.0.192.good.test TXT listed for a reason
             8.2.0.192.good.test A 127.255.255.254
             9.2.0.192.good.test SERVFAIL
             7.2.0.192.all.test A 127.0.0.2
             2.0.0.127.all.test A 127.0.0.2
             1.0.0.127.all.test A 127.0.0.2
             7.2.0.192.gone.test A 127.0.0.2
             7.2.0.192.parked.test A 192.0.2.80
             x.test.names.test A 127.0.1.2
             x.test.every.test A 127.0.1.2
             invalid.every.test A 127.0.1.2",
        )
        .await;
        let settings = config::Dns { nameservers: vec![dns.address()], ..config::Dns::default() };
        let lists = Lists::new(Arc::new(crate::Dns::new(&settings).expect("dns")), true);
        let listed = |code: [u8; 4], text: Option<&str>| Listing::Listed { code: code.into(), text: text.map(String::from) };
        let seven = Subject::Address([192, 0, 2, 7].into());
        for (list, subject, want) in [
            ("good.test", seven, listed([127, 0, 0, 4], Some("listed for a reason"))),
            ("good.test=127.0.0.[2;3]", seven, Listing::NotListed),
            ("good.test", Subject::Address([192, 0, 2, 8].into()), Listing::Unusable),
            ("good.test", Subject::Address([192, 0, 2, 9].into()), Listing::Temporary),
            ("good.test", Subject::Address([192, 0, 2, 10].into()), Listing::NotListed),
            ("all.test", seven, Listing::Unusable),
            ("gone.test", seven, Listing::Unusable),
            ("parked.test", seven, Listing::Unusable),
            ("names.test", Subject::Domain("x.test"), listed([127, 0, 1, 2], None)),
            ("every.test", Subject::Domain("x.test"), Listing::Unusable),
        ] {
            assert_eq!(lists.ask(&Site::parse(list).expect("site"), subject, Instant::now()).await, want, "{list} {subject:?}");
        }
        // The test is made once, and again when its time has come.
        let now = Instant::now();
        let all = Site::parse("all.test").expect("site");
        let tests = || dns.asked().iter().filter(|q| q.starts_with("1.0.0.127.all.test")).count();
        assert_eq!(lists.ask(&all, seven, now).await, Listing::Unusable);
        assert_eq!(tests(), 1);
        let without = Lists::new(Arc::new(crate::Dns::new(&settings).expect("dns")), false);
        assert_eq!(without.ask(&all, seven, now).await, listed([127, 0, 0, 2], None));
    }
}
