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
