//! From a destination to the addresses to try, in order (RFC 5321 §5.1).
//!
//! MX hosts come by preference, equal ones in random order, each with its IPv6 addresses first; without MX records the host itself is
//! one. When we are among the MX hosts ourselves, we and all hosts of our preference and above fall away, so that backup servers do not
//! hand mail in circles. Questions are bounded: the addresses of at most so many hosts are asked for as are needed to fill the address limit.

use crate::srv;
use crate::{Destination, Settings};
use config::SrvService;
use dns::{Error as DnsError, Mx, Resolver};
use mail_types::{Domain, Failure, Outcome};
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::Duration;

/// An address to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    /// The name for TLS and for people; an address where there is no name.
    pub name: String,
    pub address: SocketAddr,
    /// TLS from the first byte on.
    pub wrapped: bool,
}

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub host: &'a Domain,
    pub port: u16,
    /// By MX records.
    pub mx: bool,
    /// By SRV records of this service, before all else.
    pub srv: Option<SrvService>,
    /// The host was chosen by the administrator and not by the recipient's address, so that its absence is our error and defers.
    pub configured: bool,
}

/// A name that addresses are asked for.
pub(crate) struct Named {
    /// The preference of an MX record, the priority of an SRV record.
    pub preference: u16,
    pub host: String,
    pub port: u16,
}

/// `mx.x.org[192.0.2.1]:25`
impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}]:{}", self.name, self.address.ip(), self.address.port())
    }
}

/// Hosts whose addresses are asked for at most, whatever an MX answer lists.
const HOST_LIMIT: usize = 12;
/// All questions for one destination together take no longer.
const DEADLINE: Duration = Duration::from_secs(60);

/// The addresses to try. `Err` says what that means for all recipients.
pub(crate) async fn find(wanted: Wanted<'_>, settings: &Settings, resolver: &dyn Resolver) -> Result<Vec<Host>, Outcome> {
    let host = wanted.host;
    match tokio::time::timeout(DEADLINE, find_all(wanted, settings, resolver)).await {
        Ok(Ok(hosts)) => Ok(hosts),
        Ok(Err(Outcome::Bounced(failure))) if wanted.configured => {
            tracing::error!(host = %host, "next hop: {}", failure.reason);
            Err(Outcome::Deferred(Failure::local((4, 3, 5), format!("mail system configuration error: {}", failure.reason))))
        }
        Ok(Err(outcome)) => Err(outcome),
        Err(_) => Err(Outcome::Deferred(Failure::local((4, 4, 3), format!("name lookup of {host} took too long")))),
    }
}

async fn find_all(wanted: Wanted<'_>, settings: &Settings, resolver: &dyn Resolver) -> Result<Vec<Host>, Outcome> {
    let Wanted { host, port, .. } = wanted;
    let bounced = |status, reason: String| Outcome::Bounced(Failure::local(status, reason));
    if let Some(ip) = host.literal() {
        let only = Host { name: ip.to_string(), address: SocketAddr::new(ip, port), wrapped: port == 465 };
        return if settings.is_own(only.address) {
            Err(bounced((5, 4, 6), format!("mail for {host} loops back to myself")))
        } else {
            Ok(vec![only])
        };
    }
    let by_srv = match wanted.srv {
        Some(service) => srv::records(service, host, settings, resolver).await?,
        None => None,
    };
    let implicit_tls = wanted.srv == Some(SrvService::Submissions) && by_srv.is_some();
    let (mut records, listed) = match by_srv {
        Some(records) => (records, true),
        None => by_mx(wanted, resolver).await?,
    };
    if let Some(own) = records.iter().filter(|named| settings.own_names.contains(&named.host)).map(|named| named.preference).min() {
        records.retain(|named| named.preference < own);
    }
    let (mut found, mut failure, mut asked) = (Vec::new(), None, 0);
    let mut own_preference = None;
    for named in &records {
        if own_preference.is_some_and(|own| named.preference >= own) || found.len() >= settings.address_limit * 2 || asked == HOST_LIMIT {
            break;
        }
        asked += 1;
        match resolver.addresses(&named.host).await {
            Ok(addresses) => {
                let addresses: Vec<_> = addresses.into_iter().map(|ip| SocketAddr::new(ip, named.port)).collect();
                if addresses.iter().any(|address| settings.is_own(*address)) {
                    own_preference = Some(named.preference);
                    found.retain(|(preference, _)| *preference < named.preference);
                    continue;
                }
                found.extend(addresses.into_iter().map(|address| {
                    let wrapped = implicit_tls || address.port() == 465;
                    (named.preference, Host { name: named.host.clone(), address, wrapped })
                }));
            }
            Err(DnsError::Temporary(why)) => {
                let text = format!("name lookup of {}: {why}", named.host);
                failure = Some(Outcome::Deferred(Failure::local((4, 4, 3), text)));
            }
            Err(error) if listed => {
                failure.get_or_insert_with(|| {
                    bounced((5, 4, 4), format!("the mail server {} of {host} cannot be found: {error}", named.host))
                });
            }
            Err(error) => failure = Some(bounced((5, 4, 4), format!("{host} cannot be found: {error}"))),
        }
    }
    if !found.is_empty() {
        return Ok(found.into_iter().map(|(_, host)| host).collect());
    }
    if let Some(outcome) = failure {
        return Err(outcome);
    }
    Err(bounced((5, 4, 6), format!("mail for {host} loops back to myself")))
}

/// The names of MX records in the order to try, or the host itself; and whether there were such records.
async fn by_mx(wanted: Wanted<'_>, resolver: &dyn Resolver) -> Result<(Vec<Named>, bool), Outcome> {
    let Wanted { host, port, .. } = wanted;
    let mut records = if wanted.mx { mx_records(host, resolver).await? } else { Vec::new() };
    if records.is_empty() {
        return Ok((vec![Named { preference: 0, host: host.as_str().to_owned(), port }], false));
    }
    shuffle_equals(&mut records);
    Ok((records.into_iter().map(|mx| Named { preference: mx.preference, host: mx.host, port }).collect(), true))
}

async fn mx_records(host: &Domain, resolver: &dyn Resolver) -> Result<Vec<Mx>, Outcome> {
    match resolver.mx(host.as_str()).await {
        // RFC 7505 §4.1
        Ok(records) if dns::is_null_mx(&records) => {
            Err(Outcome::Bounced(Failure::local((5, 1, 10), format!("the domain {host} takes no mail (null MX)"))))
        }
        Ok(mut records) => {
            records.retain(|mx| !mx.host.is_empty());
            Ok(records)
        }
        // RFC 5321 §5.1: no MX, the host itself.
        Err(DnsError::NoRecords) => Ok(Vec::new()),
        Err(DnsError::NoSuchName) => Err(Outcome::Bounced(Failure::local((5, 4, 4), format!("the domain {host} does not exist")))),
        Err(DnsError::Temporary(why)) => {
            Err(Outcome::Deferred(Failure::local((4, 4, 3), format!("lookup of the mail servers of {host}: {why}"))))
        }
    }
}

/// Random order among equal preferences (RFC 5321 §5.1), from lowest to highest.
fn shuffle_equals(records: &mut [Mx]) {
    let random = RandomState::new();
    records.sort_by_cached_key(|mx| (mx.preference, random.hash_one(&mx.host)));
}

impl Destination {
    /// Host, port and whether MX records are looked for, for what is reached by TCP.
    pub(crate) fn tcp(&self, settings: &Settings) -> Option<(&Domain, u16, bool)> {
        match self {
            Destination::Smtp { host, port, mx } => Some((host, port.unwrap_or(settings.smtp_port), *mx)),
            Destination::LmtpInet { host, port } => Some((host, *port, false)),
            Destination::LmtpUnix(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_preferences_are_shuffled_and_others_keep_their_order() {
        let mut firsts = std::collections::HashSet::new();
        for _ in 0..200 {
            let mut records: Vec<_> = [(20, "d"), (10, "a"), (10, "b"), (10, "c"), (5, "z")]
                .map(|(preference, host)| Mx { preference, host: host.into() })
                .into();
            shuffle_equals(&mut records);
            assert_eq!((records[0].host.as_str(), records[4].host.as_str()), ("z", "d"));
            firsts.insert(records[1].host.clone());
        }
        assert_eq!(firsts.len(), 3);
    }
}
