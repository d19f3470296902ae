//! What qmgr takes from the settings.

use crate::backoff::Backoff;
use crate::schedule::{Limits, Pace};
use config::{Config, Endpoint, NotifyClass};
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
    pub recipient_limit: usize,
    pub bounce_size_limit: usize,
    pub double_bounce: Option<Address>,
    /// Who hears of mail that was returned, and of mail that is late; `None`: nobody but the sender.
    pub bounce_notice: Option<Address>,
    pub delay_notice: Option<Address>,
    pub partner_retry: Duration,
    /// Our own deliver.
    pub local: Destination,
}

impl Settings {
    pub fn new(config: &Config) -> Settings {
        let own = &config.qmgr;
        let postmaster = |class, text: &str| match config.expand(text).trim() {
            _ if !own.notify_classes.contains(&class) => None,
            "" => None,
            text if text.contains('@') => Address::parse(text).ok(),
            text => Domain::parse(&config.main.myorigin).ok().and_then(|origin| Address::new(text, origin).ok()),
        };
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
                smtp: pace(own.smtp_destination_concurrency_limit, own.smtp_destination_rate_delay, own),
                lmtp: pace(own.lmtp_destination_concurrency_limit, own.lmtp_destination_rate_delay, own),
                partner_window: own.local_destination_concurrency_limit,
                total: own.default_process_limit,
                dead_ms: own.minimal_backoff_time.as_millis() as u64,
                partner_retry_ms: own.partner_retry_time.as_millis() as u64,
                partner_patience_ms: 10 * own.partner_retry_time.as_millis() as u64,
            },
            delay_warning: (!own.delay_warning_time.is_zero()).then_some(own.delay_warning_time),
            active_limit: own.qmgr_message_active_limit as usize,
            body_memory_bytes: own.body_memory_limit.0 as usize,
            recipient_limit: own.default_destination_recipient_limit as usize,
            bounce_size_limit: own.bounce_size_limit.0 as usize,
            double_bounce: postmaster(NotifyClass::DoubleBounce, &own.double_bounce_recipient),
            bounce_notice: postmaster(NotifyClass::Bounce, &own.bounce_notice_recipient),
            delay_notice: postmaster(NotifyClass::Delay, &own.delay_notice_recipient),
            partner_retry: own.partner_retry_time,
            local: local_destination(config),
        }
    }
}

/// Of one kind of destinations; 0 means: as all.
fn pace(window: u32, delay: Duration, own: &config::Qmgr) -> Pace {
    let delay = if delay.is_zero() { own.default_destination_rate_delay } else { delay };
    Pace { window: if window == 0 { own.default_destination_concurrency_limit } else { window }, delay_ms: delay.as_millis() as u64 }
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
