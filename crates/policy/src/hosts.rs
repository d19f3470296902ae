//! The hosts behind a name: `check_sender_mx_access` and its kin.

use crate::access::{find_host, find_ip};
use crate::check::{Run, Said, lookup_error};
use crate::restriction::{Hosts, Subject};
use std::net::IpAddr;
use tables::{Found, Maps};

/// Looks for each host behind the subject by its names and addresses; the first that the table has.
pub(crate) async fn find_hosts(run: &Run<'_>, subject: Subject, hosts: Hosts, maps: &Maps) -> Result<Option<Found>, Said> {
    let unavailable = |_| lookup_error(&run.subject_text(subject));
    let (Some(name), Some(resolver)) = (name(run, subject), run.policy.resolver.as_deref()) else { return Ok(None) };
    if let Some(ip) = literal(&name) {
        // What stands for itself is its own mail server, and has no other names.
        return if hosts == Hosts::Ns { Ok(None) } else { find_ip(maps, ip).await.map_err(unavailable) };
    }
    let names = names(resolver, &name, hosts).await.map_err(|_| run.dns_failure(subject))?;
    for host in names {
        if let Some(found) = find_host(maps, &host).await.map_err(unavailable)? {
            return Ok(Some(found));
        }
        let addresses = match resolver.addresses(&host).await {
            Ok(addresses) => addresses,
            Err(dns::Error::Temporary(_)) => return Err(run.dns_failure(subject)),
            Err(_) => continue,
        };
        for ip in addresses {
            if let Some(found) = find_ip(maps, ip).await.map_err(unavailable)? {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

/// The domain of a subject.
fn name(run: &Run<'_>, subject: Subject) -> Option<String> {
    let facts = run.facts;
    let name = match subject {
        Subject::Client => facts.client_name?.to_owned(),
        Subject::ReverseClient => facts.reverse_name?.to_owned(),
        Subject::Helo => facts.helo?.to_owned(),
        Subject::Sender => facts.sender??.domain().as_str().to_owned(),
        Subject::Recipient => facts.recipient?.domain().as_str().to_owned(),
        Subject::Login => return None,
        Subject::Etrn => facts.etrn_domain?.to_owned(),
    };
    Some(name.trim_end_matches('.').to_lowercase())
}

/// `[192.0.2.1]`, `[IPv6:2001:db8::1]`.
fn literal(name: &str) -> Option<IpAddr> {
    let inner = name.strip_prefix('[')?.strip_suffix(']')?;
    inner.strip_prefix("ipv6:").unwrap_or(inner).parse().ok()
}

async fn names(resolver: &dyn dns::Resolver, name: &str, hosts: Hosts) -> Result<Vec<String>, dns::Error> {
    match hosts {
        Hosts::A => Ok(vec![name.to_owned()]),
        Hosts::Mx => match resolver.mx(name).await {
            Ok(records) if dns::is_null_mx(&records) => Ok(Vec::new()),
            Ok(records) => Ok(records.into_iter().map(|mx| mx.host).collect()),
            // RFC 5321 §5.1: without MX records the host itself.
            Err(dns::Error::NoRecords) => Ok(vec![name.to_owned()]),
            Err(dns::Error::NoSuchName) => Ok(Vec::new()),
            Err(error) => Err(error),
        },
        Hosts::Ns => {
            // The zone that has the name; a top-level domain is nobody's own.
            for zone in std::iter::once(name).chain(tables::order::parents(name)).filter(|zone| zone.contains('.')) {
                match resolver.ns(zone).await {
                    Ok(servers) => return Ok(servers),
                    Err(error @ dns::Error::Temporary(_)) => return Err(error),
                    Err(_) => {}
                }
            }
            Ok(Vec::new())
        }
    }
}
