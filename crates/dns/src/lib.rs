//! Questions to the domain name system, as mail needs them.
//!
//! [`Resolver`] is the trait that other crates ask; [`Dns`] answers with hickory for transport and parsing and with an own
//! cache that keeps to the TTLs, within the bounds of the settings. `testkit` has a server to point it at.
//!
//! Three ways of getting nothing are kept apart, because mail does different things with each: [`Error::NoSuchName`],
//! [`Error::NoRecords`], and [`Error::Temporary`], which only ever defers. Work per question is bounded: a deadline over all attempts, CNAME chains
//! of hickory's limit of 8, [`MX_LIMIT`] and [`ADDRESS_LIMIT`] records looked at.

mod cache;
mod hickory;
pub mod lists;

pub use hickory::{Dns, SetupError};

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;

/// MX records used of an answer, those of the lowest preference first.
pub const MX_LIMIT: usize = 50;
/// Addresses used of an answer.
pub const ADDRESS_LIMIT: usize = 50;
/// Names of one address that [`confirmed_name`] tries.
pub const PTR_LIMIT: usize = 5;
/// Text kept of TXT records of one name, in octets.
pub const TXT_LIMIT_BYTES: usize = 64 * 1024;

/// An MX record. `host` is in lower case, without a trailing dot; empty for the null MX.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mx {
    pub preference: u16,
    pub host: String,
}

/// An SRV record (RFC 2782). `host` is in lower case, without a trailing dot; empty: the service is not offered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Srv {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    pub host: String,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// NXDOMAIN: the name does not exist, with any type. Also names that no DNS name can be.
    #[error("no such name")]
    NoSuchName,
    /// The name exists, without records of this type.
    #[error("no records of this type")]
    NoRecords,
    /// Time-out, SERVFAIL, refusal, loops: ask again later.
    #[error("temporary DNS failure: {0}")]
    Temporary(String),
}

/// What a [`Resolver`] gives.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// Whoever answers questions to the DNS. Names are taken with or without a trailing dot, also with labels in UTF-8. Answers are never empty.
pub trait Resolver: Send + Sync {
    /// MX records, lowest preference first. See [`is_null_mx`].
    fn mx<'a>(&'a self, domain: &'a str) -> Answer<'a, Vec<Mx>>;

    /// SRV records of `_service._proto.domain`, lowest priority first, otherwise as they came.
    fn srv<'a>(&'a self, name: &'a str) -> Answer<'a, Vec<Srv>>;

    /// Addresses of a host: A and AAAA, in the order of the answers, IPv6 first. One kind that fails temporarily does not hide
    /// the other kind that is there.
    fn addresses<'a>(&'a self, host: &'a str) -> Answer<'a, Vec<IpAddr>>;

    /// A records alone, as DNS lists have them.
    fn v4<'a>(&'a self, name: &'a str) -> Answer<'a, Vec<Ipv4Addr>>;

    /// Names of the name servers of a zone, in lower case; `NoRecords` and `NoSuchName` also for what lies inside of a zone.
    fn ns<'a>(&'a self, domain: &'a str) -> Answer<'a, Vec<String>>;

    /// Names of an address.
    fn ptr<'a>(&'a self, ip: IpAddr) -> Answer<'a, Vec<String>>;

    /// TXT records; the strings of each are joined (RFC 7208 §3.3). Octets that are no UTF-8 are replaced.
    fn txt<'a>(&'a self, name: &'a str) -> Answer<'a, Vec<String>>;
}

/// RFC 7505: a single MX with an empty host says that the domain takes no mail.
pub fn is_null_mx(records: &[Mx]) -> bool {
    matches!(records, [only] if only.host.is_empty())
}

/// The name of `ip` that has `ip` among its addresses, as a client's name in logs and the Received header.
/// `Ok(None)` when it has none that is confirmed so.
pub async fn confirmed_name(resolver: &dyn Resolver, ip: IpAddr) -> Result<Option<String>, Error> {
    let names = match resolver.ptr(ip).await {
        Ok(names) => names,
        Err(Error::Temporary(why)) => return Err(Error::Temporary(why)),
        Err(_) => return Ok(None),
    };
    let mut failure = None;
    for name in names.into_iter().take(PTR_LIMIT) {
        match resolver.addresses(&name).await {
            Ok(addresses) if addresses.iter().any(|a| a.to_canonical() == ip.to_canonical()) => return Ok(Some(name)),
            Err(error @ Error::Temporary(_)) => failure = Some(error),
            _ => {}
        }
    }
    failure.map_or(Ok(None), Err)
}

#[cfg(test)]
mod tests;
