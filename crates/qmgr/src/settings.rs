//! What qmgr takes from the settings.

use crate::backoff::Backoff;
use crate::schedule::{Limits, Pace};
use config::{Config, Endpoint, NotifyClass, TransportProtocol};
use mail_types::{Address, Domain};
use outbound::Destination;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Settings {
    pub spool: PathBuf,
    pub hostname: String,
    pub backoff: Backoff,
    pub limits: Limits,
    pub delay_warning: Option<Duration>,
    pub active_limit: usize,
    pub body_memory_bytes: usize,
    transports: Vec<(String, Terms)>,
    usual: [(TransportProtocol, Terms); 2],
    /// Recipients of one delivery to deliver.
    pub recipient_limit: usize,
    pub bounce_size_limit: usize,
    pub double_bounce: Option<Address>,
    /// Who hears of mail that was returned, and of mail that is late; `None`: nobody but the sender.
    pub bounce_notice: Option<Address>,
    pub delay_notice: Option<Address>,
    pub partner_retry: Duration,
    pub session_notices: Option<SessionNotices>,
    /// Who handed a message in is told to hosts that announce XFORWARD.
    pub xforward: bool,
    /// Our own deliver.
    pub local: Destination,
}

/// Who hears of sessions with other hosts that went wrong, and of which.
#[derive(Debug, Clone)]
pub struct SessionNotices {
    pub classes: Vec<NotifyClass>,
    pub to: Address,
    pub per_hour: u32,
}

fn session_notices(config: &Config, per_hour: u32) -> Option<SessionNotices> {
    let ours = |class: &NotifyClass| matches!(class, NotifyClass::Protocol | NotifyClass::Resource);
    let classes: Vec<NotifyClass> = config.qmgr.notify_classes.iter().copied().filter(ours).collect();
    let to = postmaster(config, &config.qmgr.error_notice_recipient).filter(|_| !classes.is_empty())?;
    Some(SessionNotices { classes, to, per_hour })
}

/// An address of the settings; a bare name is one of `myorigin`.
fn postmaster(config: &Config, text: &str) -> Option<Address> {
    match config.expand(text).trim() {
        "" => None,
        text if text.contains('@') => Address::parse(text).ok(),
        text => Domain::parse(&config.main.myorigin).ok().and_then(|origin| Address::new(text, origin).ok()),
    }
}

/// How mail goes over a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    pub pace: Pace,
    /// Recipients of one delivery.
    pub recipient_limit: usize,
}

impl Settings {
    /// The terms of a transport by its name.
    pub fn terms(&self, transport: &str, lmtp: bool) -> Terms {
        let own = self.transports.iter().find(|(name, _)| name == transport).map(|(_, terms)| *terms);
        let usual = self.usual[usize::from(lmtp)].1;
        // Each has a lane of its own, also without a word in the settings.
        own.unwrap_or_else(|| Terms { pace: Pace { lane: lane(transport), ..usual.pace }, ..usual })
    }

    pub fn new(config: &Config) -> Settings {
        let own = &config.qmgr;
        let wanted = |class, text: &str| postmaster(config, text).filter(|_| own.notify_classes.contains(&class));
        Settings {
            spool: config.main.spool_directory.clone(),
            hostname: config.main.hostname.clone(),
            backoff: Backoff {
                minimal: own.minimal_backoff_time,
                maximal: own.maximal_backoff_time.max(own.minimal_backoff_time),
                lifetime: own.maximal_queue_lifetime,
                bounce_lifetime: own.bounce_queue_lifetime,
            },
            limits: Limits {
                initial_window: own.initial_destination_concurrency,
                partner_window: own.local_destination_concurrency_limit,
                total: own.default_process_limit,
                dead_ms: own.minimal_backoff_time.as_millis() as u64,
                partner_retry_ms: own.partner_retry_time.as_millis() as u64,
                partner_patience_ms: 10 * own.partner_retry_time.as_millis() as u64,
            },
            delay_warning: (!own.delay_warning_time.is_zero()).then_some(own.delay_warning_time),
            active_limit: own.qmgr_message_active_limit as usize,
            body_memory_bytes: own.body_memory_limit.0 as usize,
            transports: own.transport.iter().map(|transport| (transport.name.clone(), terms(transport, own))).collect(),
            usual: [TransportProtocol::Smtp, TransportProtocol::Lmtp].map(|protocol| (protocol, usual(protocol, own))),
            recipient_limit: own.default_destination_recipient_limit as usize,
            bounce_size_limit: own.bounce_size_limit.0 as usize,
            double_bounce: wanted(NotifyClass::DoubleBounce, &own.double_bounce_recipient),
            bounce_notice: wanted(NotifyClass::Bounce, &own.bounce_notice_recipient),
            delay_notice: wanted(NotifyClass::Delay, &own.delay_notice_recipient),
            partner_retry: own.partner_retry_time,
            session_notices: session_notices(config, own.error_notice_rate_limit),
            xforward: config.outbound.smtp_send_xforward_command,
            local: local_destination(config),
        }
    }
}

/// What holds for all that speak a protocol.
fn usual(protocol: TransportProtocol, own: &config::Qmgr) -> Terms {
    let (window, delay, recipients) = match protocol {
        TransportProtocol::Smtp => {
            (own.smtp_destination_concurrency_limit, own.smtp_destination_rate_delay, own.smtp_destination_recipient_limit)
        }
        TransportProtocol::Lmtp => {
            (own.lmtp_destination_concurrency_limit, own.lmtp_destination_rate_delay, own.lmtp_destination_recipient_limit)
        }
    };
    let pace = Pace {
        window: or(window, own.default_destination_concurrency_limit),
        delay_ms: ms(or(delay, own.default_destination_rate_delay)),
        lane: lane(protocol.as_str()),
        lane_window: u32::MAX,
        lane_delay_ms: ms(own.default_transport_rate_delay),
    };
    Terms { pace, recipient_limit: or(recipients, own.default_destination_recipient_limit) as usize }
}

fn terms(transport: &config::Transport, own: &config::Qmgr) -> Terms {
    let usual = usual(transport.protocol, own);
    let pace = Pace {
        window: or(transport.destination_concurrency_limit, usual.pace.window),
        delay_ms: or(ms(transport.destination_rate_delay), usual.pace.delay_ms),
        lane: lane(&transport.name),
        lane_window: or(transport.process_limit, u32::MAX),
        lane_delay_ms: or(ms(transport.transport_rate_delay), usual.pace.lane_delay_ms),
    };
    Terms { pace, recipient_limit: or(transport.destination_recipient_limit as usize, usual.recipient_limit) }
}

/// 0 means: as all.
fn or<T: Default + PartialEq>(value: T, usual: T) -> T {
    if value == T::default() { usual } else { value }
}

fn ms(time: Duration) -> u64 {
    time.as_millis() as u64
}

fn lane(transport: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(transport.as_bytes())
}

fn local_destination(config: &Config) -> Destination {
    // A Unix socket before a port: only there deliver knows who we are.
    let listen = &config.deliver.listen;
    let unix = listen.iter().find(|e| matches!(e, Endpoint::Unix(_)));
    match unix.or(listen.first()) {
        Some(Endpoint::Unix(path)) => Destination::LmtpUnix(path.clone()),
        Some(Endpoint::Tcp(address)) => {
            let host = match address.ip() {
                ip if ip.is_unspecified() => "[127.0.0.1]".to_owned(),
                std::net::IpAddr::V4(ip) => format!("[{ip}]"),
                std::net::IpAddr::V6(ip) => format!("[ipv6:{ip}]"),
            };
            let host = Domain::parse(&host).expect("an address literal is a domain");
            Destination::LmtpInet { host, port: address.port() }
        }
        None => Destination::LmtpUnix(config.socket("lmtp")),
    }
}
