use config::{Endpoint, NotifyClass};
use mail_types::{Domain, Secret};
use smtp_proto::client::{Credentials, Phase};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tables::{Maps, Remote};

/// What `Outbound` goes by; taken from the settings of the whole installation.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The argument of EHLO and LHLO.
    pub helo_name: String,
    /// Names that mean ourselves when they stand in an MX record.
    pub own_names: Vec<String>,
    /// Where our own smtpd listens; mail that would go there loops.
    pub own_listeners: Vec<SocketAddr>,
    /// The whole section of settings, for what is read from it once.
    pub section: config::Outbound,
    /// Who vouches for hosts that are verified; empty: the system's certificates.
    pub ca_file: PathBuf,
    /// The relay host as it is written in the settings, and our login there.
    pub relay_login: Option<(String, Credentials)>,
    pub smtp_port: u16,
    pub connect_timeout: Duration,
    pub timeouts: Timeouts,
    /// Keep what is said, for notices to the postmaster.
    pub transcript: bool,
    pub data_xfer_timeout: Duration,
    /// Octets a second; 0 for no minimum.
    pub min_data_rate: u32,
    pub smtp_cache_time: Duration,
    pub lmtp_cache_time: Duration,
    pub reuse_count_limit: u32,
    pub address_limit: usize,
    pub session_limit: usize,
}

/// How long the answers of other hosts may take (RFC 5321 §4.5.3.2).
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    pub hello: Duration,
    pub starttls: Duration,
    pub reset: Duration,
    pub xforward: Duration,
    pub mail: Duration,
    pub recipient: Duration,
    pub data: Duration,
    pub message: Duration,
    pub quit: Duration,
}

impl Timeouts {
    /// The same for all.
    pub fn all(time: Duration) -> Timeouts {
        Timeouts {
            hello: time,
            starttls: time,
            reset: time,
            xforward: time,
            mail: time,
            recipient: time,
            data: time,
            message: time,
            quit: time,
        }
    }

    fn new(own: &config::Outbound) -> Timeouts {
        Timeouts {
            hello: own.smtp_helo_timeout,
            starttls: own.smtp_starttls_timeout,
            reset: own.smtp_rset_timeout,
            xforward: own.smtp_xforward_timeout,
            mail: own.smtp_mail_timeout,
            recipient: own.smtp_rcpt_timeout,
            data: own.smtp_data_init_timeout,
            message: own.smtp_data_done_timeout,
            quit: own.smtp_quit_timeout,
        }
    }

    pub fn of(&self, phase: Phase) -> Duration {
        match phase {
            Phase::Greeting | Phase::Hello | Phase::Auth => self.hello,
            Phase::StartTls => self.starttls,
            Phase::Reset => self.reset,
            Phase::XForward => self.xforward,
            Phase::Mail => self.mail,
            Phase::Recipient => self.recipient,
            Phase::Data => self.data,
            Phase::Message => self.message,
            Phase::Quit => self.quit,
        }
    }

    /// None of them longer than this.
    pub fn at_most(&self, time: Duration) -> Timeouts {
        Timeouts {
            hello: self.hello.min(time),
            starttls: self.starttls.min(time),
            reset: self.reset.min(time),
            xforward: self.xforward.min(time),
            mail: self.mail.min(time),
            recipient: self.recipient.min(time),
            data: self.data.min(time),
            message: self.message.min(time),
            quit: self.quit.min(time),
        }
    }
}

/// The settings of sending are wrong, or their files cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("outbound.smtp_tls_ca_file: {}: {why}", path.display())]
    CaFile { path: PathBuf, why: String },
    #[error("outbound.{setting}: {source}")]
    Table { setting: &'static str, source: tables::Error },
    #[error("outbound.{setting}: {why}")]
    Value { setting: &'static str, why: String },
}

/// The lookup tables of sending.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    pub tls_policy: Maps,
    pub passwords: Maps,
}

impl Tables {
    /// Opens the tables that the settings name. Blocks on the disk.
    pub fn open(config: &config::Config, remote: Arc<dyn Remote>) -> Result<Tables, SetupError> {
        let context = tables::Context::new(config.directory(), remote);
        let open = |setting, items: &[String]| {
            Maps::open(&config.expand(&items.join(", ")), &context).map_err(|source| SetupError::Table { setting, source })
        };
        Ok(Tables {
            tls_policy: open("smtp_tls_policy_maps", &config.outbound.smtp_tls_policy_maps)?,
            passwords: open("smtp_sasl_password_maps", &config.outbound.smtp_sasl_password_maps)?,
        })
    }
}

impl Settings {
    /// Reads the file of the password, where there is one. Blocks on the disk.
    pub fn new(config: &config::Config) -> Result<Settings, SetupError> {
        let own = &config.outbound;
        let helo_name = if own.smtp_helo_name.is_empty() { config.main.hostname.clone() } else { own.smtp_helo_name.clone() };
        let listeners = config.services.values().flat_map(|service| &service.listener.listen).filter_map(|endpoint| match endpoint {
            Endpoint::Tcp(address) => Some(*address),
            Endpoint::Unix(_) => None,
        });
        let login = match !own.relayhost.is_empty() && !own.relayhost_user.is_empty() {
            true => Some((own.relayhost.clone(), Credentials { login: own.relayhost_user.clone(), password: relay_password(own)? })),
            false => None,
        };
        Ok(Settings {
            own_names: vec![config.main.hostname.to_lowercase(), helo_name.to_lowercase()],
            helo_name,
            own_listeners: listeners.collect(),
            section: own.clone(),
            ca_file: own.smtp_tls_ca_file.clone(),
            relay_login: login,
            smtp_port: own.smtp_port as u16,
            connect_timeout: own.smtp_connect_timeout,
            timeouts: Timeouts::new(own),
            transcript: config.qmgr.notify_classes.iter().any(|c| matches!(c, NotifyClass::Protocol | NotifyClass::Resource)),
            data_xfer_timeout: own.smtp_data_xfer_timeout,
            min_data_rate: own.smtp_min_data_rate,
            smtp_cache_time: own.smtp_connection_cache_time_limit,
            lmtp_cache_time: own.lmtp_connection_cache_time_limit,
            reuse_count_limit: own.smtp_connection_reuse_count_limit,
            address_limit: own.smtp_mx_address_limit as usize,
            session_limit: own.smtp_mx_session_limit as usize,
        })
    }

    /// The login for a host, when it is the relay host.
    pub(crate) fn login_at(&self, host: &Domain, port: Option<u16>) -> Option<&Credentials> {
        let (relay, credentials) = self.relay_login.as_ref()?;
        let (name, relay_port) = split_port(relay.trim());
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let host = host.as_str().trim_start_matches('[').trim_end_matches(']');
        let same_host = name.eq_ignore_ascii_case(host) || format!("ipv6:{name}").eq_ignore_ascii_case(host);
        (same_host && relay_port.or(port) == port.or(relay_port)).then_some(credentials)
    }

    /// Whether our own smtpd answers at this address.
    pub(crate) fn is_own(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        if ip.is_unspecified() {
            return true;
        }
        self.own_listeners.iter().filter(|l| l.port() == address.port()).any(|listener| {
            let own = listener.ip().to_canonical();
            own == ip || (own.is_unspecified() && is_this_machine(ip))
        })
    }
}

/// The kernel would use the same address as its own to go there; nothing is sent to find out.
fn is_this_machine(ip: IpAddr) -> bool {
    let any: SocketAddr = if ip.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { (std::net::Ipv6Addr::UNSPECIFIED, 0).into() };
    let local = UdpSocket::bind(any).and_then(|socket| socket.connect((ip, 9)).and_then(|()| socket.local_addr()));
    ip.is_loopback() || local.is_ok_and(|local| local.ip().to_canonical() == ip)
}

fn relay_password(own: &config::Outbound) -> Result<Secret, SetupError> {
    let file = &own.relayhost_password_file;
    if file.as_os_str().is_empty() {
        return Ok(own.relayhost_password.clone());
    }
    let wrong = |why: String| SetupError::Value { setting: "relayhost_password_file", why: format!("{}: {why}", file.display()) };
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    match text.lines().next().filter(|line| !line.is_empty()) {
        Some(password) => Ok(Secret::new(password)),
        None => Err(wrong("its first line is empty".into())),
    }
}

/// `host:25` → `host`, 25. The colons of an IPv6 address stand in brackets.
fn split_port(text: &str) -> (&str, Option<u16>) {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().ok()),
        _ => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn settings() -> Settings {
        let file = std::path::Path::new("/etc/facteur/facteur.toml");
        Settings::new(&config::Config::from_texts(file, &[(file.into(), "hostname = \"mx.us.org\"".into())]).expect("settings"))
            .expect("no files")
    }

    #[test]
    fn the_password_may_have_a_file_of_its_own() {
        let dir = tempfile::tempdir().expect("directory");
        let (file, password) = (dir.path().join("facteur.toml"), dir.path().join("password"));
        let text = "hostname = \"mx.us.org\"\n[outbound]\nrelayhost = \"[smtp.free.fr]\"\nrelayhost_user = \"me\"\n\
            relayhost_password_file = \"password\"\n";
        let config = config::Config::from_texts(&file, &[(file.clone(), text.into())]).expect("settings");
        let error = Settings::new(&config).expect_err("it is not there").to_string();
        assert!(error.starts_with("outbound.relayhost_password_file: "), "{error}");
        std::fs::write(&password, "pass word\nnot this\n").expect("write");
        let login = Settings::new(&config).expect("settings").relay_login.expect("login");
        assert_eq!((login.1.login.as_str(), login.1.password.reveal()), ("me", "pass word"));
        std::fs::write(&password, "\n").expect("write");
        assert!(Settings::new(&config).is_err());
    }

    #[test]
    fn the_login_is_for_the_relay_host_only() {
        let credentials = Credentials { login: "me".into(), password: Secret::new("pw") };
        for (relay, host, port, want) in [
            ("smtp.free.fr:25", "smtp.free.fr", Some(25), true),
            ("[smtp.free.fr]:587", "smtp.free.fr", Some(587), true),
            ("[smtp.free.fr]:587", "smtp.free.fr", Some(25), false),
            ("smtp.free.fr", "smtp.free.fr", None, true),
            ("smtp.free.fr", "free.fr", None, false),
            ("[192.0.2.1]", "[192.0.2.1]", None, true),
            ("[2001:db8::1]:465", "[ipv6:2001:db8::1]", Some(465), true),
        ] {
            let settings = Settings { relay_login: Some((relay.into(), credentials.clone())), ..settings() };
            let host = Domain::parse(host).expect("host");
            assert_eq!(settings.login_at(&host, port).is_some(), want, "{relay} {host} {port:?}");
        }
    }

    #[test]
    fn our_own_listeners_are_known() {
        let listeners = vec!["0.0.0.0:2525".parse().expect("address"), "127.0.0.7:25".parse().expect("address")];
        let settings = Settings { own_listeners: listeners, ..settings() };
        for (address, want) in [
            ("127.0.0.1:2525", true),
            ("127.0.0.1:2526", false),
            ("127.0.0.7:25", true),
            ("127.0.0.8:25", false),
            ("0.0.0.0:9", true),
            ("[::]:25", true),
            ("192.0.2.77:2525", false),
        ] {
            assert_eq!(settings.is_own(address.parse().expect("address")), want, "{address}");
        }
    }
}
