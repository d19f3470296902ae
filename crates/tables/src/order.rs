//! The orders in which Postfix tries keys, as plain lists.

use mail_types::Domain;
use std::net::IpAddr;

/// `a.b.c` → `b.c`, `c`: the domains above this one, nearest first. None for an address literal.
pub fn parents(domain: &str) -> impl Iterator<Item = &str> {
    let start = if domain.starts_with('[') { None } else { domain.split_once('.').map(|(_, rest)| rest) };
    std::iter::successors(start, |d| d.split_once('.').map(|(_, rest)| rest))
}

/// Keys for a client address in access(5): the whole address, then shorter and shorter prefixes of whole octets or groups.
pub fn network_keys(ip: IpAddr) -> Vec<String> {
    let whole = ip.to_canonical().to_string();
    let separator = if ip.to_canonical().is_ipv4() { '.' } else { ':' };
    let mut keys = vec![whole.clone()];
    let mut rest = whole.as_str();
    while let Some((front, _)) = rest.rsplit_once(separator) {
        rest = front.trim_end_matches(separator);
        if rest.is_empty() || keys.last().is_some_and(|k| k == rest) {
            break;
        }
        keys.push(rest.to_owned());
    }
    keys
}

/// Keys for a domain in access(5): itself, then its parents.
pub fn domain_keys(domain: &Domain) -> Vec<&str> {
    std::iter::once(domain.as_str()).chain(parents(domain.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_from_the_whole_to_the_general() {
        assert_eq!(parents("a.b.c").collect::<Vec<_>>(), ["b.c", "c"]);
        assert_eq!(parents("[1.2.3.4]").count(), 0);
        assert_eq!(network_keys("1.2.3.4".parse().expect("ip")), ["1.2.3.4", "1.2.3", "1.2", "1"]);
        assert_eq!(network_keys("2001:db8::1".parse().expect("ip")), ["2001:db8::1", "2001:db8", "2001"]);
        assert_eq!(network_keys("::ffff:1.2.3.4".parse().expect("ip"))[0], "1.2.3.4");
    }
}
