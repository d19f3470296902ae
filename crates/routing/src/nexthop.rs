//! The forms in which a next hop is written: `host`, `host:port`, `[host]`, `[address]:port`, `inet:host:port`, `unix:/path`.

use mail_types::Domain;
use std::fmt;
use std::path::PathBuf;

/// A host that mail goes to by SMTP.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NextHop {
    /// Domain, host name or address literal (with its brackets).
    pub host: Domain,
    /// `None`: the port of mail servers (`smtp_port`).
    pub port: Option<u16>,
    /// Look for MX records of `host`. Never for literals.
    pub mx: bool,
}

/// Where LMTP is spoken.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LmtpTarget {
    Unix(PathBuf),
    Inet { host: Domain, port: u16 },
}

impl NextHop {
    /// The mail servers of a domain.
    pub fn of_domain(domain: &Domain) -> NextHop {
        NextHop { host: domain.clone(), port: None, mx: domain.literal().is_none() }
    }

    /// Parses `host`, `host:port`, `[host]`, `[host]:port`, `[192.0.2.1]:25`, `[2001:db8::1]` or `[ipv6:2001:db8::1]`.
    pub fn parse(text: &str) -> Result<NextHop, String> {
        let wrong = || format!("`{text}` is no next hop (host, host:port, [host] or [host]:port)");
        let text = text.trim();
        if let Some(rest) = text.strip_prefix('[') {
            let (inner, after) = rest.split_once(']').ok_or_else(wrong)?;
            let port = match after.strip_prefix(':') {
                Some(port) => Some(parse_port(port).ok_or_else(wrong)?),
                None if after.is_empty() => None,
                None => return Err(wrong()),
            };
            let literal = match inner.parse::<std::net::IpAddr>() {
                Ok(std::net::IpAddr::V6(ip)) => format!("[ipv6:{ip}]"),
                Ok(ip) => format!("[{ip}]"),
                Err(_) if inner.get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case("ipv6:")) => format!("[{inner}]"),
                Err(_) => inner.to_owned(),
            };
            return Ok(NextHop { host: Domain::parse(&literal).map_err(|_| wrong())?, port, mx: false });
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(parse_port(port).ok_or_else(wrong)?)),
            None => (text, None),
        };
        // A bare address is a frequent slip; it can only mean the host itself.
        if let Ok(ip) = host.parse::<std::net::Ipv4Addr>() {
            return Ok(NextHop { host: Domain::parse(&format!("[{ip}]")).map_err(|_| wrong())?, port, mx: false });
        }
        Ok(NextHop { host: Domain::parse(host).map_err(|_| wrong())?, port, mx: true })
    }
}

impl LmtpTarget {
    /// Parses what stands behind `lmtp:`: `unix:/path`, `inet:host:port`, `host:port`, `[host]:port`, `host` (port 24).
    /// A relative path starts at `base`.
    pub fn parse(text: &str, base: &std::path::Path) -> Result<LmtpTarget, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(format!("`{text}` names no socket"));
            }
            return Ok(LmtpTarget::Unix(base.join(path)));
        }
        let hop = NextHop::parse(text.strip_prefix("inet:").unwrap_or(text))?;
        // RFC 2033 leaves the port open; Postfix's lmtp_tcp_port is 24.
        Ok(LmtpTarget::Inet { host: hop.host, port: hop.port.unwrap_or(24) })
    }
}

/// A number, or one of the names that administrators write.
fn parse_port(text: &str) -> Option<u16> {
    match text {
        "smtp" => Some(25),
        "submission" => Some(587),
        "smtps" | "submissions" => Some(465),
        "lmtp" => Some(24),
        _ => text.parse().ok().filter(|port| *port != 0),
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.mx, self.host.literal()) {
            (false, None) => write!(f, "[{}]", self.host)?,
            _ => write!(f, "{}", self.host)?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for LmtpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LmtpTarget::Unix(path) => write!(f, "unix:{}", path.display()),
            LmtpTarget::Inet { host, port } => write!(f, "inet:{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_hops_are_parsed_or_refused() {
        for (input, want) in [
            ("smtp.free.fr:25", Some(("smtp.free.fr:25", true))),
            ("[smtp.free.fr]:25", Some(("[smtp.free.fr]:25", false))),
            ("[smtp.free.fr]", Some(("[smtp.free.fr]", false))),
            ("Free.FR", Some(("free.fr", true))),
            ("[192.0.2.1]:2525", Some(("[192.0.2.1]:2525", false))),
            ("192.0.2.1", Some(("[192.0.2.1]", false))),
            ("[2001:db8::1]", Some(("[ipv6:2001:db8::1]", false))),
            ("[IPv6:2001:db8::1]:25", Some(("[ipv6:2001:db8::1]:25", false))),
            ("free.fr:submission", Some(("free.fr:587", true))),
            ("free.fr:", None),
            ("free.fr:0", None),
            ("free.fr:70000", None),
            ("[free.fr", None),
            ("[free.fr]x", None),
            ("a b", None),
            ("", None),
        ] {
            let got = NextHop::parse(input);
            assert_eq!(got.as_ref().ok().map(|hop| (hop.to_string(), hop.mx)), want.map(|(text, mx)| (text.to_owned(), mx)), "{input:?}");
            if let Ok(hop) = got {
                assert_eq!(NextHop::parse(&hop.to_string()), Ok(hop), "{input:?} printed");
            }
        }
    }

    #[test]
    fn lmtp_targets_are_parsed_or_refused() {
        let base = std::path::Path::new("/run/facteur");
        for (input, want) in [
            ("unix:/run/dovecot/lmtp", Some("unix:/run/dovecot/lmtp")),
            ("unix:lmtp", Some("unix:/run/facteur/lmtp")),
            ("inet:mail.x.org:24", Some("inet:mail.x.org:24")),
            ("mail.x.org", Some("inet:mail.x.org:24")),
            ("[127.0.0.1]:2003", Some("inet:[127.0.0.1]:2003")),
            ("inet:127.0.0.1:2003", Some("inet:[127.0.0.1]:2003")),
            ("unix:", None),
            ("inet:", None),
        ] {
            assert_eq!(LmtpTarget::parse(input, base).ok().map(|t| t.to_string()).as_deref(), want, "{input:?}");
        }
    }
}
