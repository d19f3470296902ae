//! From the settings of a service to those of the protocol machine.

use config::{BareNewline, Config, SmtpTlsLevel, TlsLevel};
use mail_types::Domain;
use smtp_proto::server::{self, TlsOffer};

pub(crate) fn machine(config: &Config, smtpd: &config::Smtpd, wrapped: bool, tls_available: bool) -> server::Settings {
    server::Settings {
        lmtp: false,
        hostname: config.main.hostname.clone(),
        banner: smtpd.smtpd_banner.clone(),
        origin: Domain::parse(&config.main.myorigin).ok(),
        size_limit: smtpd.message_size_limit.0,
        helo_required: smtpd.smtpd_helo_required,
        recipient_limit: smtpd.smtpd_recipient_limit as usize,
        recipient_overshoot_limit: smtpd.smtpd_recipient_overshoot_limit as usize,
        recipient_domain_limit: smtpd.smtpd_recipient_domain_limit as usize,
        transaction_limit: smtpd.smtpd_transaction_limit,
        line_limit: smtpd.smtpd_line_limit as usize,
        soft_error_limit: smtpd.smtpd_soft_error_limit,
        hard_error_limit: smtpd.smtpd_hard_error_limit,
        error_sleep: smtpd.smtpd_error_sleep_time,
        junk_command_limit: smtpd.smtpd_junk_command_limit,
        bare_newline: match smtpd.smtpd_forbid_bare_newline {
            BareNewline::Normalize => server::BareNewline::Normalise,
            BareNewline::Reject => server::BareNewline::Reject,
        },
        tls: match smtpd.smtpd_tls_security_level {
            // Under TLS from the first byte on there is nothing to start.
            _ if wrapped => TlsOffer::Off,
            TlsLevel::Encrypt => TlsOffer::Required,
            TlsLevel::May if tls_available => TlsOffer::May,
            TlsLevel::May | TlsLevel::None => TlsOffer::Off,
        },
        tls_available,
        tls_auth_only: smtpd.smtpd_tls_auth_only,
        forbid_unauth_pipelining: smtpd.smtpd_forbid_unauth_pipelining,
        forbidden_commands: upper(&smtpd.smtpd_forbidden_commands),
        discard_ehlo_keywords: upper(&smtpd.smtpd_discard_ehlo_keywords),
        disable_vrfy: smtpd.disable_vrfy_command,
        // What goes through a filter comes back without them, so that nothing here could keep the promise.
        deliver_by: smtpd.content_filter.is_empty().then_some(smtpd.smtpd_deliver_by_minimum.as_secs()),
        future_release: smtpd.smtpd_future_release_limit.as_secs(),
        priority: true,
        // What comes so has to leave so, or go back: not where no TLS is ever made.
        require_tls: smtpd.requiretls_enable
            && smtpd.content_filter.is_empty()
            && config.outbound.smtp_tls_security_level != SmtpTlsLevel::None,
        private: false,
        binary_mime: true,
        etrn: true,
        // Of single clients, see `Service::terms`.
        xclient: false,
        xforward: false,
        xfacteur: false,
    }
}

fn upper(words: &[String]) -> Vec<String> {
    words.iter().map(|word| word.to_ascii_uppercase()).collect()
}
