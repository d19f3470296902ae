//! `cidr:` tables (cidr_table(5)) and the networks they are made of.
//!
//! ```text
//! 192.0.2.0/24        result
//! !2001:db8::/32      result          when the address lies outside
//! if 10.0.0.0/8 … endif               the lines between count only inside (or, with !, outside)
//! ```

use crate::Error;
use crate::table::Hit;
use crate::text::logical_lines;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

/// `address/length`; an address alone stands for itself. IPv4-mapped IPv6 addresses count as IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    length: u8,
}

impl Network {
    /// The network of `length` bits that `address` lies in.
    pub fn new(address: IpAddr, length: u8) -> Option<Network> {
        let address = address.to_canonical();
        let (bits, width) = bits(address);
        if length > width {
            return None;
        }
        let masked = bits & mask(length, width);
        let address = if width == 32 { IpAddr::V4((masked as u32).into()) } else { IpAddr::V6(masked.into()) };
        Some(Network { address, length })
    }

    /// Parses `192.0.2.0/24`, `[2001:db8::]/32`, `2001:db8::/32` or a plain address. Bits behind the length must be zero.
    pub fn parse(text: &str) -> Result<Network, String> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        // Postfix writes IPv6 in main.cf in brackets, also with the length inside.
        let bare = address.trim_start_matches('[').trim_end_matches(']');
        let address: IpAddr = bare.parse().map_err(|_| format!("`{text}` is no network (address/length)"))?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            Some(length) => length.trim_end_matches(']').parse().map_err(|_| format!("`{text}` has no number behind the slash"))?,
            None => width,
        };
        let network = Network::new(address, length).ok_or_else(|| format!("`{text}`: the length is at most {width}"))?;
        if network.address != address.to_canonical() {
            return Err(format!("`{text}` has bits set behind the network's length (meant: {network})"));
        }
        Ok(network)
    }

    pub fn contains(&self, ip: IpAddr) -> bool {
        let (ip, ip_width) = bits(ip.to_canonical());
        let (network, width) = bits(self.address);
        width == ip_width && ip & mask(self.length, width) == network
    }
}

fn bits(ip: IpAddr) -> (u128, u8) {
    match ip {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)), 32),
        IpAddr::V6(ip) => (u128::from(ip), 128),
    }
}

fn mask(length: u8, width: u8) -> u128 {
    let ones = if width == 32 { u128::from(u32::MAX) } else { u128::MAX };
    if length == 0 { 0 } else { ones << (width - length) & ones }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// The rules of one file, in order.
pub struct Networks(Vec<Rule>);

struct Rule {
    line: u32,
    network: Network,
    negated: bool,
    then: Then,
}

enum Then {
    Answer(Arc<str>),
    Else(usize),
}

impl Networks {
    /// Parses a file of this format; the error names the line.
    pub fn parse(path: &Path, text: &str) -> Result<Networks, Error> {
        let mut rules: Vec<Rule> = Vec::new();
        let mut open_ifs: Vec<usize> = Vec::new();
        let lines =
            logical_lines(text).map_err(|line| Error::line(path, line, "the line begins with white space but continues nothing"))?;
        for line in lines {
            let wrong = |why: String| Error::line(path, line.number, why);
            let mut words = line.text.splitn(2, char::is_whitespace);
            let mut word = words.next().unwrap_or_default();
            let mut rest = words.next().unwrap_or_default().trim();
            if word.eq_ignore_ascii_case("endif") {
                let at = open_ifs.pop().ok_or_else(|| wrong("endif without if".into()))?;
                let end = rules.len();
                rules[at].then = Then::Else(end);
                continue;
            }
            let is_if = word.eq_ignore_ascii_case("if");
            if is_if {
                (word, rest) = rest.split_once(char::is_whitespace).map_or((rest, ""), |(w, r)| (w, r.trim()));
                if !rest.is_empty() {
                    return Err(wrong("there is text behind the network of an if".into()));
                }
                open_ifs.push(rules.len());
            } else if rest.is_empty() {
                return Err(wrong("there is no result behind the network".into()));
            }
            let network = Network::parse(word.trim_start_matches('!')).map_err(wrong)?;
            let then = if is_if { Then::Else(usize::MAX) } else { Then::Answer(rest.into()) };
            rules.push(Rule { line: line.number, network, negated: word.starts_with('!'), then });
        }
        match open_ifs.pop() {
            Some(at) => Err(Error::line(path, rules[at].line, "if without endif")),
            None => Ok(Networks(rules)),
        }
    }

    pub(crate) fn find(&self, ip: IpAddr) -> Option<Hit> {
        let mut at = 0;
        while let Some(rule) = self.0.get(at) {
            at += 1;
            match (&rule.then, rule.network.contains(ip) != rule.negated) {
                (Then::Else(end), false) => at = *end,
                (Then::Answer(value), true) => return Some(Hit { value: value.clone(), line: Some(rule.line) }),
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses() {
        for (network, ip, want) in [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "::1", false),
            ("127.0.0.1", "::ffff:127.0.0.1", true),
            ("[2001:db8::]/32", "2001:db8:1::9", true),
            ("[::1/128]", "::1", true),
            ("::/0", "1::", true),
        ] {
            let got = Network::parse(network).expect(network).contains(ip.parse().expect(ip));
            assert_eq!(got, want, "{network} {ip}");
        }
        assert!(Network::parse("192.0.2.1/24").expect_err("bits").contains("meant: 192.0.2.0/24"));
        assert!(Network::parse("192.0.2.0/33").is_err());
        assert!(Network::parse("mail.x.org").is_err());
    }

    #[test]
    fn rules_answer_in_order_and_wrong_lines_are_named() {
        let table = "10.1.0.0/16 inner\nif 10.0.0.0/8\n10.2.0.0/16 two\n!10.3.0.0/16 rest\nendif\n::1 six";
        let networks = Networks::parse(Path::new("c"), table).expect("table");
        for (ip, want) in [
            ("10.1.2.3", Some("inner")),
            ("10.2.0.1", Some("two")),
            ("10.9.0.1", Some("rest")),
            ("10.3.0.1", None),
            ("::1", Some("six")),
            ("9.9.9.9", None),
        ] {
            assert_eq!(networks.find(ip.parse().expect(ip)).map(|h| h.value.to_string()).as_deref(), want, "{ip}");
        }
        for (table, want) in [
            ("10.0.0.0/8", "c:1: there is no result behind the network"),
            ("x/8 y", "c:1: `x/8` is no network (address/length)"),
            ("if 10.0.0.0/8", "c:1: if without endif"),
        ] {
            assert_eq!(Networks::parse(Path::new("c"), table).err().expect(table).to_string(), want);
        }
    }
}
