//! The resolver of the programs: hickory asks and parses, we decide what an answer means and how long it is kept.

use crate::cache::Cache;
use crate::{ADDRESS_LIMIT, Answer, Error, MX_LIMIT, Mx, Resolver, Srv, TXT_LIMIT_BYTES};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts, ServerOrderingStrategy};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The settings of name lookup are wrong or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("dns.nameservers: `{0}` is not an address or address:port")]
    Nameserver(String),
    #[error("cannot set up name lookup: {0}")]
    Resolver(String),
}

/// Answers through name servers. Cheap to clone: clones share the cache.
#[derive(Clone)]
pub struct Dns(Arc<Inner>);

/// How long an answer holds that is for one transaction only (TTL 0, RFC 1035 §3.2.1): each recipient of a message asks again.
const TRANSACTION: Duration = Duration::from_secs(5);
/// A failure holds ten times as long as it took, within these bounds: a tenth of the time at most is spent waiting for servers that are away.
const FAILURE_LEAST: Duration = Duration::from_secs(1);
const FAILURE_MOST: Duration = Duration::from_secs(60);

struct Inner {
    resolver: TokioResolver,
    cache: Cache<(Box<str>, RecordType), Arc<[RData]>>,
    deadline: Duration,
    max_ttl: Duration,
    negative_ttl: Duration,
}

impl Dns {
    /// Sets up by the section `dns`. Must be called inside the runtime.
    pub fn new(settings: &config::Dns) -> Result<Dns, SetupError> {
        let config = if settings.nameservers.is_empty() {
            // Mail names are complete: the search list of the system must not make other names of them.
            ResolverConfig::from_name_servers(system_servers())
        } else {
            let servers = settings.nameservers.iter().map(|text| name_server(text)).collect::<Result<_, _>>()?;
            ResolverConfig::from_name_servers(servers)
        };
        let servers = config.name_servers().len().max(1) as u32;
        let mut options = ResolverOpts::default();
        options.timeout = settings.timeout;
        // Hickory counts the attempts after the first one.
        options.attempts = settings.attempts.saturating_sub(1) as usize;
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
        options.case_randomization = settings.case_randomization;
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        let resolver = builder.build().map_err(|e| SetupError::Resolver(e.to_string()))?;
        Ok(Dns(Arc::new(Inner {
            resolver,
            cache: Cache::new(settings.cache_entries as usize),
            // Each attempt may go to each server in turn, two at a time.
            deadline: settings.timeout * settings.attempts.max(1) * servers.div_ceil(2) + Duration::from_millis(500),
            max_ttl: settings.cache_max_ttl,
            negative_ttl: settings.cache_negative_ttl,
        })))
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Result<Arc<[RData]>, Error> {
        let name = name.strip_suffix('.').unwrap_or(name).to_lowercase();
        // A name that cannot be one exists nowhere. The final dot keeps the search list out.
        let asked = Name::from_utf8(format!("{name}.")).map_err(|_| Error::NoSuchName)?;
        self.ask_name(name.into(), asked, kind).await
    }

    async fn ask_name(&self, key: Box<str>, name: Name, kind: RecordType) -> Result<Arc<[RData]>, Error> {
        let inner = &self.0;
        let key = (key, kind);
        let start = Instant::now();
        if let Some(answer) = inner.cache.get(&key, start) {
            return answer;
        }
        let answer = tokio::time::timeout(inner.deadline, inner.resolver.lookup(name, kind)).await;
        let (answer, ttl) = match answer {
            Err(_) => (Err(Error::Temporary("no answer in time".into())), failure_ttl(start.elapsed())),
            Ok(Ok(lookup)) => {
                let data: Arc<[RData]> =
                    lookup.answers().iter().map(|record| &record.data).filter(|data| data.record_type() == kind).cloned().collect();
                let ttl = lookup.answers().iter().map(|record| record.ttl).min().unwrap_or(0);
                // A CNAME that leads to a name without such records.
                let answer = if data.is_empty() { Err(Error::NoRecords) } else { Ok(data) };
                (answer, Duration::from_secs(ttl.into()).max(TRANSACTION))
            }
            Ok(Err(NetError::Dns(DnsError::NoRecordsFound(none)))) => {
                let ttl = none.negative_ttl.map_or(inner.negative_ttl, |ttl| {
                    Duration::from_secs(ttl.into()).clamp(TRANSACTION.min(inner.negative_ttl), inner.negative_ttl)
                });
                match none.response_code {
                    ResponseCode::NXDomain => (Err(Error::NoSuchName), ttl),
                    ResponseCode::NoError => (Err(Error::NoRecords), ttl),
                    other => (Err(Error::Temporary(format!("the name server answers {other}"))), failure_ttl(start.elapsed())),
                }
            }
            Ok(Err(error)) => (Err(Error::Temporary(mail_types::printable(&error.to_string()))), failure_ttl(start.elapsed())),
        };
        let ttl = ttl.min(inner.max_ttl);
        if !ttl.is_zero() {
            inner.cache.insert(key, answer.clone(), Instant::now() + ttl);
        }
        answer
    }
}

pub(crate) fn failure_ttl(took: Duration) -> Duration {
    (took * 10).clamp(FAILURE_LEAST, FAILURE_MOST)
}

impl Resolver for Dns {
    fn mx<'a>(&'a self, domain: &'a str) -> Answer<'a, Vec<Mx>> {
        Box::pin(async move {
            let data = self.ask(domain, RecordType::MX).await?;
            let mut records: Vec<Mx> = data
                .iter()
                .filter_map(|data| match data {
                    RData::MX(mx) => Some(Mx { preference: mx.preference, host: host_text(&mx.exchange) }),
                    _ => None,
                })
                .collect();
            records.sort_by_key(|mx| mx.preference);
            records.truncate(MX_LIMIT);
            Ok(records)
        })
    }

    fn srv<'a>(&'a self, name: &'a str) -> Answer<'a, Vec<Srv>> {
        Box::pin(async move {
            let data = self.ask(name, RecordType::SRV).await?;
            let found = data.iter().filter_map(|data| match data {
                RData::SRV(srv) => Some(Srv { priority: srv.priority, weight: srv.weight, port: srv.port, host: host_text(&srv.target) }),
                _ => None,
            });
            let mut records: Vec<Srv> = found.collect();
            records.sort_by_key(|srv| srv.priority);
            records.truncate(MX_LIMIT);
            Ok(records)
        })
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Answer<'a, Vec<IpAddr>> {
        Box::pin(async move {
            let (six, four) = tokio::join!(self.ask(host, RecordType::AAAA), self.ask(host, RecordType::A));
            let mut found = Vec::new();
            for data in [&six, &four].into_iter().flatten() {
                found.extend(data.iter().filter_map(|data| match data {
                    RData::AAAA(ip) => Some(IpAddr::V6(ip.0)),
                    RData::A(ip) => Some(IpAddr::V4(ip.0)),
                    _ => None,
                }));
            }
            found.truncate(ADDRESS_LIMIT);
            match (six, four) {
                _ if !found.is_empty() => Ok(found),
                (Err(error @ Error::Temporary(_)), _) | (_, Err(error @ Error::Temporary(_))) => Err(error),
                (Err(Error::NoRecords), _) | (_, Err(Error::NoRecords)) => Err(Error::NoRecords),
                _ => Err(Error::NoSuchName),
            }
        })
    }

    fn v4<'a>(&'a self, name: &'a str) -> Answer<'a, Vec<Ipv4Addr>> {
        Box::pin(async move {
            let data = self.ask(name, RecordType::A).await?;
            let found = data.iter().filter_map(|data| match data {
                RData::A(ip) => Some(ip.0),
                _ => None,
            });
            Ok(found.take(ADDRESS_LIMIT).collect())
        })
    }

    fn ns<'a>(&'a self, domain: &'a str) -> Answer<'a, Vec<String>> {
        Box::pin(async move {
            let data = self.ask(domain, RecordType::NS).await?;
            let found = data.iter().filter_map(|data| match data {
                RData::NS(name) => Some(host_text(name)),
                _ => None,
            });
            Ok(found.take(MX_LIMIT).collect())
        })
    }

    fn ptr<'a>(&'a self, ip: IpAddr) -> Answer<'a, Vec<String>> {
        Box::pin(async move {
            let ip = ip.to_canonical();
            let data = self.ask_name(ip.to_string().into(), Name::from(ip), RecordType::PTR).await?;
            let names = data.iter().filter_map(|data| match data {
                RData::PTR(name) => Some(host_text(name)),
                _ => None,
            });
            // A name with odd characters would stand in logs and headers.
            let names: Vec<String> = names.filter(|n| mail_types::Domain::parse(n).is_ok()).take(ADDRESS_LIMIT).collect();
            if names.is_empty() { Err(Error::NoRecords) } else { Ok(names) }
        })
    }

    fn txt<'a>(&'a self, name: &'a str) -> Answer<'a, Vec<String>> {
        Box::pin(async move {
            let data = self.ask(name, RecordType::TXT).await?;
            let mut size = 0;
            let texts = data.iter().filter_map(|data| match data {
                RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
                _ => None,
            });
            Ok(texts
                .take_while(|text| {
                    size += text.len();
                    size <= TXT_LIMIT_BYTES
                })
                .collect())
        })
    }
}

/// Lower case, without the final dot; the root is empty.
fn host_text(name: &Name) -> String {
    let text = name.to_lowercase().to_ascii();
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

/// Those of `/etc/resolv.conf`; without any the resolver of this machine, as resolv.conf(5) has it.
fn system_servers() -> Vec<NameServerConfig> {
    let found = hickory_resolver::system_conf::read_system_conf().map(|(config, _)| config.name_servers().to_vec());
    match found {
        Ok(servers) if !servers.is_empty() => servers,
        Ok(_) => vec![NameServerConfig::udp_and_tcp(std::net::Ipv4Addr::LOCALHOST.into())],
        Err(error) => {
            tracing::warn!(%error, "/etc/resolv.conf cannot be read: names are asked of 127.0.0.1");
            vec![NameServerConfig::udp_and_tcp(std::net::Ipv4Addr::LOCALHOST.into())]
        }
    }
}

fn name_server(text: &str) -> Result<NameServerConfig, SetupError> {
    let address = text
        .parse::<SocketAddr>()
        .or_else(|_| text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)))
        .map_err(|_| SetupError::Nameserver(text.to_owned()))?;
    let connection = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![connection(ConnectionConfig::udp()), connection(ConnectionConfig::tcp())];
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    server.connections = connections;
    Ok(server)
}
