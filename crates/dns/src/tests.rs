use crate::{Dns, Error, Mx, Resolver, confirmed_name, is_null_mx};
use std::time::Duration;
use testkit::FakeDns;

fn settings(server: &FakeDns) -> config::Dns {
    config::Dns { nameservers: vec![server.address()], timeout: Duration::from_millis(300), attempts: 2, ..config::Dns::default() }
}

async fn resolver(zones: &str) -> (Dns, FakeDns) {
    let server = FakeDns::start(zones).await;
    (Dns::new(&settings(&server)).expect("settings"), server)
}

#[tokio::test]
async fn mail_hosts_come_by_preference() {
    let (dns, _server) =
        resolver("x.org MX 20 B.x.org\nx.org MX 10 a.x.org\nnull.org MX 0 .\nbare.org A 192.0.2.1\nalias.org CNAME x.org").await;
    let want = [Mx { preference: 10, host: "a.x.org".into() }, Mx { preference: 20, host: "b.x.org".into() }];
    assert_eq!(dns.mx("X.org").await.as_deref(), Ok(&want[..]));
    assert_eq!(dns.mx("x.org.").await.as_deref(), Ok(&want[..]));
    assert_eq!(dns.mx("alias.org").await.as_deref(), Ok(&want[..]));
    assert!(is_null_mx(&dns.mx("null.org").await.expect("null MX")));
    assert_eq!(dns.mx("bare.org").await, Err(Error::NoRecords));
    assert_eq!(dns.mx("none.org").await, Err(Error::NoSuchName));
    assert_eq!(dns.mx("no such..name").await, Err(Error::NoSuchName));
}

#[tokio::test]
async fn addresses_of_both_kinds_are_found() {
    let zones = "a.org A 192.0.2.1\na.org AAAA 2001:db8::1\nfour.org A 192.0.2.2\nempty.org EMPTY\nc1.org CNAME c2.org\nc2.org CNAME four.org\nlost.org CNAME gone.org";
    let (dns, _server) = resolver(zones).await;
    let ips = |list: &[&str]| list.iter().map(|ip| ip.parse().expect("ip")).collect::<Vec<std::net::IpAddr>>();
    assert_eq!(dns.addresses("a.org").await, Ok(ips(&["2001:db8::1", "192.0.2.1"])));
    assert_eq!(dns.addresses("four.org").await, Ok(ips(&["192.0.2.2"])));
    assert_eq!(dns.addresses("c1.org").await, Ok(ips(&["192.0.2.2"])));
    assert_eq!(dns.addresses("empty.org").await, Err(Error::NoRecords));
    assert_eq!(dns.addresses("none.org").await, Err(Error::NoSuchName));
    assert!(dns.addresses("lost.org").await.is_err());
}

#[tokio::test]
async fn failures_are_temporary_and_kept_in_proportion() {
    let (dns, server) = resolver("broken.org SERVFAIL\nrefused.org REFUSED\nslow.org SILENT").await;
    for name in ["broken.org", "refused.org", "slow.org"] {
        assert!(matches!(dns.mx(name).await, Err(Error::Temporary(_))), "{name}");
    }
    // Each recipient of a message asks again; the silent server is not waited for again.
    let asked = server.asked().len();
    for _ in 0..100 {
        assert!(matches!(dns.mx("slow.org").await, Err(Error::Temporary(_))));
    }
    assert_eq!(server.asked().len(), asked);
    assert_eq!(crate::hickory::failure_ttl(Duration::from_millis(6500)), Duration::from_secs(60));
    assert_eq!(crate::hickory::failure_ttl(Duration::from_millis(300)), Duration::from_secs(3));
    assert_eq!(crate::hickory::failure_ttl(Duration::ZERO), Duration::from_secs(1));
    // With no cache there is no memory of failures either.
    let none = Dns::new(&config::Dns { cache_max_ttl: Duration::ZERO, ..settings(&server) }).expect("settings");
    assert!(none.mx("broken.org").await.is_err());
    server.remove("broken.org");
    server.add("broken.org MX 10 mx.org");
    assert!(none.mx("broken.org").await.is_ok());
}

#[tokio::test]
async fn circles_of_cnames_end() {
    let (dns, server) = resolver("a.org CNAME b.org\nb.org CNAME a.org\nself.org CNAME self.org").await;
    assert!(dns.addresses("a.org").await.is_err());
    assert!(dns.mx("self.org").await.is_err());
    assert!(server.asked().len() < 60, "{}", server.asked().len());
}

#[tokio::test]
async fn a_resolver_that_is_down_is_a_temporary_failure() {
    let settings = config::Dns {
        nameservers: vec![format!("127.0.0.1:{}", testkit::free_port())],
        timeout: Duration::from_millis(200),
        attempts: 1,
        ..config::Dns::default()
    };
    let dns = Dns::new(&settings).expect("settings");
    assert!(matches!(dns.mx("x.org").await, Err(Error::Temporary(_))));
}

#[tokio::test]
async fn ten_thousand_mail_hosts_are_cut() {
    let (dns, server) = resolver("").await;
    for n in 0..1000 {
        server.add(&format!("many.org MX {n} h{n}.many.org"));
    }
    let records = dns.mx("many.org").await.expect("answer by TCP");
    assert_eq!((records.len(), records[49].preference), (crate::MX_LIMIT, 49));
}

#[tokio::test]
async fn answers_are_kept_for_their_time() {
    let (dns, server) = resolver("x.org 300 MX 10 a.x.org\nnow.org 0 MX 10 a.x.org").await;
    for _ in 0..3 {
        dns.mx("x.org").await.expect("answer");
        dns.mx("none.org").await.expect_err("no such name");
        dns.mx("now.org").await.expect("answer");
    }
    let asked = server.asked();
    let count = |name: &str| asked.iter().filter(|q| **q == format!("{name} MX")).count();
    assert_eq!((count("x.org"), count("none.org"), count("now.org")), (1, 1, 1), "an answer for now is one for the transaction");
}

#[tokio::test]
async fn names_of_addresses_are_confirmed() {
    let zones = "1.2.0.192.in-addr.arpa PTR good.org\ngood.org A 192.0.2.1\n2.2.0.192.in-addr.arpa PTR liar.org\nliar.org A 192.0.2.99\n\
                 3.2.0.192.in-addr.arpa PTR slow.org\nslow.org SERVFAIL\n1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR six.org\nsix.org AAAA 2001:db8::1";
    let (dns, _server) = resolver(zones).await;
    let name = async |ip: &str| confirmed_name(&dns, ip.parse().expect("ip")).await;
    assert_eq!(name("192.0.2.1").await, Ok(Some("good.org".into())));
    assert_eq!(name("::ffff:192.0.2.1").await, Ok(Some("good.org".into())));
    assert_eq!(name("192.0.2.2").await, Ok(None));
    assert_eq!(name("192.0.2.9").await, Ok(None));
    assert_eq!(name("2001:db8::1").await, Ok(Some("six.org".into())));
    assert!(matches!(name("192.0.2.3").await, Err(Error::Temporary(_))));
}

#[tokio::test]
async fn texts_are_joined_and_utf8_names_are_asked_in_ascii() {
    let (dns, server) = resolver("x.org TXT v=spf1 -all\nxn--bcher-kva.example A 192.0.2.5").await;
    assert_eq!(dns.txt("x.org").await, Ok(vec!["v=spf1 -all".into()]));
    assert!(dns.addresses("bücher.example").await.is_ok());
    assert!(server.asked().iter().any(|q| q.starts_with("xn--bcher-kva.example")));
}

#[test]
fn wrong_name_servers_are_named() {
    let settings = config::Dns { nameservers: vec!["resolver.local".into()], ..config::Dns::default() };
    let error = Dns::new(&settings).err().expect("no address");
    assert_eq!(error.to_string(), "dns.nameservers: `resolver.local` is not an address or address:port");
}
