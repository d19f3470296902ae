use mail_types::Domain;
use std::fmt;
use std::path::PathBuf;

/// Where a message goes next. Equal destinations share connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Destination {
    /// SMTP to the mail servers of a domain (`mx`), or to the host itself. `port` `None` is `smtp_port`.
    Smtp { host: Domain, port: Option<u16>, mx: bool },
    /// LMTP on a Unix socket.
    LmtpUnix(PathBuf),
    /// LMTP over TCP.
    LmtpInet { host: Domain, port: u16 },
}

impl Destination {
    /// Whether LMTP is spoken there.
    pub fn is_lmtp(&self) -> bool {
        !matches!(self, Destination::Smtp { .. })
    }

    /// A host as settings write it: `host` (its MX records), `host:port`, `[host]`, `[host]:port`, `[192.0.2.1]:25`, `[2001:db8::1]`.
    pub fn parse(text: &str) -> Result<Destination, String> {
        let wrong = || format!("`{text}` is no host (host, host:port, [host] or [host]:port)");
        let (inner, port, mx) = match text.trim().strip_prefix('[') {
            Some(rest) => {
                let (inner, after) = rest.split_once(']').ok_or_else(wrong)?;
                let port = if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or_else(wrong)?) };
                (inner, port, false)
            }
            None => {
                let (host, port) = text.trim().split_once(':').map_or((text.trim(), None), |(host, port)| (host, Some(port)));
                (host, port, true)
            }
        };
        let port = match port {
            Some(port) => Some(port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?),
            None => None,
        };
        let ip = inner.trim_start_matches("ipv6:").trim_start_matches("IPv6:").parse::<std::net::IpAddr>();
        let host = match ip {
            Ok(std::net::IpAddr::V6(ip)) => format!("[ipv6:{ip}]"),
            Ok(ip) => format!("[{ip}]"),
            Err(_) => inner.to_owned(),
        };
        Ok(Destination::Smtp { host: Domain::parse(&host).map_err(|_| wrong())?, port, mx: mx && ip.is_err() })
    }

    /// The next hop as tables have it for their key: `x.org`, `x.org:587`, `[mail.x.org]:587`, `[192.0.2.1]`.
    pub fn next_hop(&self) -> String {
        match self {
            Destination::Smtp { host, port, mx } => {
                let port = port.map(|p| format!(":{p}")).unwrap_or_default();
                match host.literal() {
                    Some(ip) => format!("[{ip}]{port}"),
                    None if *mx => format!("{host}{port}"),
                    None => format!("[{host}]{port}"),
                }
            }
            Destination::LmtpUnix(path) => format!("unix:{}", path.display()),
            Destination::LmtpInet { host, port } => format!("inet:{host}:{port}"),
        }
    }

    /// The name that a certificate of this destination holds.
    pub(crate) fn certificate_name(&self) -> String {
        match self {
            Destination::Smtp { host, .. } | Destination::LmtpInet { host, .. } => {
                host.literal().map_or_else(|| host.as_str().to_owned(), |ip| ip.to_string())
            }
            Destination::LmtpUnix(_) => String::new(),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::Smtp { host, port, mx } => {
                let port = port.map(|p| format!(":{p}")).unwrap_or_default();
                if *mx || host.literal().is_some() { write!(f, "smtp:{host}{port}") } else { write!(f, "smtp:[{host}]{port}") }
            }
            Destination::LmtpUnix(path) => write!(f, "lmtp:unix:{}", path.display()),
            Destination::LmtpInet { host, port } => write!(f, "lmtp:inet:{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_written_as_postfix_does() {
        for (text, want) in [
            ("x.org", Some("x.org")),
            ("x.org:587", Some("x.org:587")),
            ("[mx.x.org]", Some("[mx.x.org]")),
            ("[mx.x.org]:587", Some("[mx.x.org]:587")),
            ("[192.0.2.1]:25", Some("[192.0.2.1]:25")),
            ("192.0.2.1", Some("[192.0.2.1]")),
            ("[2001:db8::1]:25", Some("[2001:db8::1]:25")),
            ("[IPv6:2001:db8::1]", Some("[2001:db8::1]")),
            ("[x.org", None),
            ("[x.org]587", None),
            ("x.org:0", None),
            ("", None),
        ] {
            assert_eq!(Destination::parse(text).ok().map(|d| d.next_hop()).as_deref(), want, "{text}");
        }
    }
}
