//! Hosts by SRV records (RFC 2782; Postfix `use_srv_lookup`), for next hops that an administrator wrote, such as a provider's submission service.

use crate::hosts::Named;
use crate::{Destination, Settings};
use config::SrvService;
use dns::{Error as DnsError, Resolver, Srv};
use mail_types::{Domain, Failure, Outcome};
use std::hash::{BuildHasher, RandomState};

impl Destination {
    /// The service that `use_srv_lookup` has for this next hop. Brackets mean the host itself, as for MX records.
    pub(crate) fn srv(&self, settings: &Settings) -> Option<SrvService> {
        let Destination::Smtp { mx: true, port, .. } = self else { return None };
        let service = match port {
            Some(587) => SrvService::Submission,
            Some(465) => SrvService::Submissions,
            Some(25) | None => SrvService::Smtp,
            Some(_) => return None,
        };
        settings.section.use_srv_lookup.contains(&service).then_some(service)
    }
}

/// The hosts of a service in the order to try; `None`: there are none, and it is to go on as if nobody had asked.
pub(crate) async fn records(
    service: SrvService,
    host: &Domain,
    settings: &Settings,
    resolver: &dyn Resolver,
) -> Result<Option<Vec<Named>>, Outcome> {
    let name = format!("_{}._tcp.{host}", service.as_str());
    let none = |why: &str| Outcome::Bounced(Failure::local((5, 4, 4), format!("{name}: {why}")));
    match resolver.srv(&name).await {
        Ok(records) => {
            // "." as the target: the service is decidedly not there, which no other lookup overrules.
            let offered: Vec<Srv> = records.into_iter().filter(|srv| !srv.host.is_empty() && srv.port != 0).collect();
            if offered.is_empty() { Err(none("the service is not offered")) } else { Ok(Some(in_order(offered, random))) }
        }
        Err(DnsError::NoSuchName | DnsError::NoRecords) if settings.section.allow_srv_lookup_fallback => Ok(None),
        Err(DnsError::Temporary(_)) if settings.section.ignore_srv_lookup_error => Ok(None),
        Err(DnsError::Temporary(why)) => Err(Outcome::Deferred(Failure::local((4, 4, 3), format!("lookup of {name}: {why}")))),
        Err(error) => Err(none(&error.to_string())),
    }
}

/// RFC 2782: by priority; among equals each next one is drawn with a chance in proportion to its weight. `draw(n)` is a number of `0..=n`.
fn in_order(mut records: Vec<Srv>, draw: impl Fn(u32) -> u32) -> Vec<Named> {
    let mut ordered = Vec::with_capacity(records.len());
    // Those without weight stand in front, so that they are drawn with the smallest chance and not never.
    records.sort_by_key(|srv| (srv.priority, srv.weight != 0));
    while let Some(first) = records.first() {
        let priority = first.priority;
        let equals = records.iter().take_while(|srv| srv.priority == priority);
        let drawn = draw(equals.clone().map(|srv| u32::from(srv.weight)).sum());
        let mut sum = 0;
        let at = equals.map(|srv| u32::from(srv.weight)).position(|weight| {
            sum += weight;
            sum >= drawn
        });
        let Srv { host, port, .. } = records.remove(at.unwrap_or(0));
        ordered.push(Named { preference: priority, host, port });
    }
    ordered
}

fn random(limit: u32) -> u32 {
    (RandomState::new().hash_one(limit) % (u64::from(limit) + 1)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_kept_and_weights_decide_among_equals() {
        let srv = |priority, weight, host: &str| Srv { priority, weight, port: 587, host: host.into() };
        let records = || vec![srv(10, 0, "zero"), srv(20, 5, "last"), srv(10, 1, "light"), srv(10, 3, "heavy")];
        for (draw, want) in [
            (0, ["zero", "light", "heavy", "last"]),
            (1, ["light", "heavy", "zero", "last"]),
            (2, ["heavy", "light", "zero", "last"]),
            (4, ["heavy", "light", "zero", "last"]),
        ] {
            let got: Vec<String> = in_order(records(), |limit| draw.min(limit)).into_iter().map(|named| named.host).collect();
            assert_eq!(got, want, "{draw}");
        }
        let firsts: std::collections::HashSet<String> =
            (0..500).filter_map(|_| in_order(records(), random).into_iter().next()).map(|named| named.host).collect();
        assert_eq!(firsts.len(), 3);
    }
}
