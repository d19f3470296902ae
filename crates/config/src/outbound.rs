use crate::setting::{hours, minutes, secs};
use crate::settings;
use crate::smtpd::TlsLevel;
use mail_types::Secret;
use std::path::PathBuf;
use std::time::Duration;

settings! {
    /// Sending to other hosts (the job of Postfix's smtp program; here a part of qmgr).
    pub struct Outbound in "outbound" {
        /// The name we greet with. Empty: `hostname`.
        smtp_helo_name: String = "", was "Postfix smtp_helo_name";
        /// TLS to other hosts: `may` uses it where offered, certificates are not checked; `encrypt` insists; `none` never.
        smtp_tls_security_level: TlsLevel = TlsLevel::May, was "Postfix smtp_tls_security_level";
        /// Certificates (PEM) of those who vouch for the relay host, which is verified where a password is sent to it. Empty: those that the system trusts.
        smtp_tls_ca_file: PathBuf = "", was "Postfix smtp_tls_CAfile";
        /// The relay host; the same as `routing.relayhost`, which is the usual place to set it.
        relayhost: String = "";
        /// Login name at the relay host. Empty: no login.
        relayhost_user: String = "", was "Postfix smtp_sasl_password_maps";
        /// Password at the relay host; it is sent under TLS only.
        relayhost_password: Secret = Secret::new("");
        /// Time for a connection to come about.
        smtp_connect_timeout: Duration = secs(30), in secs(1)..=minutes(10), was "Postfix smtp_connect_timeout";
        /// Time for the greeting and for the answers to EHLO, MAIL and RCPT.
        smtp_command_timeout: Duration = minutes(5), in secs(1)..=hours(1), was "Postfix smtp_helo_timeout, smtp_mail_timeout, smtp_rcpt_timeout";
        /// Time in which the other host has to take something of the message; what it takes buys it more, by `smtp_min_data_rate`, but never more than this.
        smtp_data_xfer_timeout: Duration = minutes(3), in secs(1)..=hours(1), was "Postfix smtp_data_xfer_timeout";
        /// Bytes a second that the other host has to take at least of a message, so that one octet a minute does not last for ever. 0: no minimum.
        smtp_min_data_rate: u32 = 500u32, in 0..=1_000_000, was "Postfix smtp_min_data_rate, smtp_per_request_deadline";
        /// Time for the answer to the whole message.
        smtp_data_done_timeout: Duration = minutes(10), in secs(1)..=hours(1), was "Postfix smtp_data_done_timeout";
        /// How long an idle connection is kept for the next message.
        smtp_connection_cache_time_limit: Duration = secs(2), in secs(0)..=minutes(5), was "Postfix smtp_connection_cache_time_limit";
        /// Messages sent over one connection.
        smtp_connection_reuse_count_limit: u32 = 100u32, in 1..=100_000, was "Postfix smtp_connection_reuse_count_limit";
        /// Addresses tried for one delivery.
        smtp_mx_address_limit: u32 = 5u32, in 1..=100, was "Postfix smtp_mx_address_limit";
        /// Hosts that one delivery speaks to when the first ones answer with temporary refusals.
        smtp_mx_session_limit: u32 = 2u32, in 1..=100, was "Postfix smtp_mx_session_limit";
        /// How long an idle LMTP connection is kept for the next message.
        lmtp_connection_cache_time_limit: Duration = secs(60), in secs(0)..=minutes(60), was "Postfix lmtp_connection_cache_time_limit";
        /// The port of mail servers.
        smtp_port: u32 = 25u32, in 1..=65535;
    }
}
