use crate::setting::{hours, minutes, secs};
use crate::{choices, settings};
use mail_types::Secret;
use std::path::PathBuf;
use std::time::Duration;

choices! {
    /// What TLS has to prove before mail leaves.
    pub enum SmtpTlsLevel {
        None = "none",
        May = "may",
        Encrypt = "encrypt",
        Fingerprint = "fingerprint",
        Verify = "verify",
        Secure = "secure",
    }
}

choices! {
    /// How certificates are digested to compare them with fingerprints.
    pub enum FingerprintDigest { Sha1 = "sha1", Sha256 = "sha256", Sha384 = "sha384", Sha512 = "sha512" }
}

choices! {
    /// Services that SRV records are looked up for.
    pub enum SrvService { Smtp = "smtp", Submission = "submission", Submissions = "submissions" }
}

settings! {
    /// Sending to other hosts (the job of Postfix's smtp program; here a part of qmgr).
    pub struct Outbound in "outbound" {
        /// The name we greet with. Empty: `hostname`.
        smtp_helo_name: String = "", was "Postfix smtp_helo_name";
        /// TLS to other hosts: `none`; `may` uses it where offered, certificates are not checked; `encrypt` insists; `fingerprint` knows the certificate; `verify`
        /// wants a trusted certificate for the host's name; `secure` one for the name of the destination, which no forged MX record can change. Mail waits
        /// where a level cannot be met; only `may` ever goes back to clear text.
        smtp_tls_security_level: SmtpTlsLevel = SmtpTlsLevel::May, was "Postfix smtp_tls_security_level";
        /// Tables of levels for single destinations: the key is the next hop as it is written (`example.org`, `[mail.example.org]:587`) or `.example.org`
        /// for what is below; the value a level, then perhaps `match=NAME:NAME`, `protocols=>=TLSv1.3`.
        smtp_tls_policy_maps: Vec<String> = Vec::<String>::new(), was "Postfix smtp_tls_policy_maps";
        /// TLS versions at the level `may`: `>=TLSv1.2`, `>=TLSv1.3`, `!TLSv1.2` and the like. Older ones than 1.2 do not exist here.
        smtp_tls_protocols: String = ">=TLSv1.2", was "Postfix smtp_tls_protocols";
        /// TLS versions at the levels above `may`.
        smtp_tls_mandatory_protocols: String = ">=TLSv1.2", was "Postfix smtp_tls_mandatory_protocols";
        /// Names of which the certificate has to hold one at the level `verify`: `hostname`, `nexthop`, `dot-nexthop` (any name below the next hop), `example.org`, `.example.org`.
        smtp_tls_verify_cert_match: Vec<String> = ["hostname"].map(String::from), was "Postfix smtp_tls_verify_cert_match";
        /// The same at the level `secure`.
        smtp_tls_secure_cert_match: Vec<String> = ["nexthop", "dot-nexthop"].map(String::from), was "Postfix smtp_tls_secure_cert_match";
        /// Fingerprints of certificates or of their public keys, at the level `fingerprint`: `AB:CD:…`.
        smtp_tls_fingerprint_cert_match: Vec<String> = Vec::<String>::new(), was "Postfix smtp_tls_fingerprint_cert_match";
        /// The digest that fingerprints are made by.
        smtp_tls_fingerprint_digest: FingerprintDigest = FingerprintDigest::Sha256, was "Postfix smtp_tls_fingerprint_digest";
        /// With 1 or more each TLS handshake with another host is logged: version, cipher, and whether the host was verified. 2 and more also tell the policy that was found.
        smtp_tls_loglevel: u32 = 0u32, in 0..=4, was "Postfix smtp_tls_loglevel";
        /// Certificates (PEM) of those who vouch for hosts that are verified: those where a password is sent, and those at the levels `verify` and `secure`. Empty: those that the system trusts.
        smtp_tls_ca_file: PathBuf = "", was "Postfix smtp_tls_CAfile";
        /// The relay host; the same as `routing.relayhost`, which is the usual place to set it.
        relayhost: String = "";
        /// Login name at the relay host. Empty: no login.
        relayhost_user: String = "", was "Postfix smtp_sasl_password_maps";
        /// Password at the relay host; it is sent under TLS only. Settings have to be readable by everybody (`sendmail` reads them as its caller): better `relayhost_password_file`.
        relayhost_password: Secret = Secret::new("");
        /// File whose first line is the password at the relay host, in place of `relayhost_password`. Only qmgr opens it: mode 0640, group facteur-queue.
        relayhost_password_file: PathBuf = "";
        /// Tables of logins `name:password` at next hops; the key is the next hop as it is written (`[smtp.free.fr]:587`), or its name alone. They are sent to verified hosts only.
        smtp_sasl_password_maps: Vec<String> = Vec::<String>::new(), was "Postfix smtp_sasl_password_maps";
        /// Senders (`ann@example.org`, `@example.org`) are keys of `smtp_sasl_password_maps` too, and asked for first, where the next hop is a relay host (`relayhost`, `sender_dependent_relayhost_maps`, `default_transport`).
        smtp_sender_dependent_authentication: bool = false, was "Postfix smtp_sender_dependent_authentication";
        /// Tables that give addresses another form in mail that leaves by SMTP, in envelope and header: `user@domain`, `user` (of `myorigin`), `@domain`. Mail to content filters and by
        /// LMTP keeps its addresses.
        smtp_generic_maps: Vec<String> = Vec::<String>::new(), was "Postfix smtp_generic_maps";
        /// Services whose hosts are found by SRV records (RFC 2782) of next hops without brackets: `submission` (next hops with `:submission` or `:587`), `submissions`
        /// (465, TLS from the first byte), `smtp` (all others). A password is then sent to hosts only whose certificate has the name of the next hop.
        use_srv_lookup: Vec<SrvService> = Vec::<SrvService>::new(), was "Postfix use_srv_lookup";
        /// Without SRV records: MX records and addresses, as if `use_srv_lookup` did not have the service. Else such mail bounces.
        allow_srv_lookup_fallback: bool = false, was "Postfix allow_srv_lookup_fallback";
        /// The same where SRV records cannot be looked up. Else such mail waits.
        ignore_srv_lookup_error: bool = false, was "Postfix ignore_srv_lookup_error";
        /// Hosts that take mail whose destination is not found or does not take it now: `host`, `host:port`, `[host]:port`.
        smtp_fallback_relay: Vec<String> = Vec::<String>::new(), was "Postfix smtp_fallback_relay";
        /// IPv4 address of this machine that mail leaves from. Empty: the system chooses.
        smtp_bind_address: String = "", was "Postfix smtp_bind_address";
        /// The same for IPv6.
        smtp_bind_address6: String = "", was "Postfix smtp_bind_address6";
        /// Time for a connection to come about.
        smtp_connect_timeout: Duration = secs(30), in secs(1)..=minutes(10), was "Postfix smtp_connect_timeout";
        /// Time for the greeting, and for each answer to EHLO, LHLO, HELO and AUTH. These times hold for SMTP and LMTP; each answer has its own, also where commands are sent ahead (PIPELINING).
        smtp_helo_timeout: Duration = minutes(5), in secs(1)..=hours(1), was "Postfix smtp_helo_timeout";
        /// Time for the answer to STARTTLS, and for the TLS handshake.
        smtp_starttls_timeout: Duration = minutes(5), in secs(1)..=hours(1), was "Postfix smtp_starttls_timeout";
        /// Time for the answer to MAIL.
        smtp_mail_timeout: Duration = minutes(5), in secs(1)..=hours(1), was "Postfix smtp_mail_timeout";
        /// Time for the answer to each RCPT.
        smtp_rcpt_timeout: Duration = minutes(5), in secs(1)..=hours(1), was "Postfix smtp_rcpt_timeout";
        /// Time for the answer to DATA, before the message is sent.
        smtp_data_init_timeout: Duration = minutes(2), in secs(1)..=hours(1), was "Postfix smtp_data_init_timeout";
        /// Time in which the other host has to take something of the message; what it takes buys it more, by `smtp_min_data_rate`, but never more than this.
        smtp_data_xfer_timeout: Duration = minutes(3), in secs(1)..=hours(1), was "Postfix smtp_data_xfer_timeout";
        /// Bytes a second that the other host has to take at least of a message, so that one octet a minute does not last for ever. 0: no minimum.
        smtp_min_data_rate: u32 = 500u32, in 0..=1_000_000, was "Postfix smtp_min_data_rate, smtp_per_request_deadline";
        /// Time for the answer to the whole message. An answer that comes later leaves open whether the other host has the message, which it then gets again.
        smtp_data_done_timeout: Duration = minutes(10), in secs(1)..=hours(1), was "Postfix smtp_data_done_timeout";
        /// Hosts without MT-PRIORITY get the priority of a message in its header, as `MT-Priority` (RFC 6758), for the next one that knows it; such fields that were there are
        /// replaced, which breaks signatures over them.
        smtp_priority_header: bool = false;
        /// Messages go by BDAT (RFC 3030) to hosts that announce CHUNKING, and not by DATA. Binary messages always do.
        smtp_chunking: bool = false;
        /// Content filters and other hosts that announce XFORWARD are told which client a message came from: name, address, HELO, protocol, and the queue id here.
        smtp_send_xforward_command: bool = false, was "Postfix smtp_send_xforward_command, lmtp_send_xforward_command";
        /// Time for the answer to XFORWARD.
        smtp_xforward_timeout: Duration = minutes(5), in secs(1)..=hours(1), was "Postfix smtp_xforward_timeout";
        /// Time for the answer to RSET, between two messages.
        smtp_rset_timeout: Duration = secs(20), in secs(1)..=hours(1), was "Postfix smtp_rset_timeout";
        /// Time for the answer to QUIT. Nothing depends on it; Postfix has 5 minutes here, but does not wait at all unless `smtp_skip_quit_response` says so.
        smtp_quit_timeout: Duration = secs(2), in secs(1)..=hours(1), was "Postfix smtp_quit_timeout, smtp_skip_quit_response";
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
