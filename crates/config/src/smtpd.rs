use crate::report::Source;
use crate::setting::{Section, minutes, refuse_unknown, secs};
use crate::value::{Endpoint, Size, on_all_addresses as on};
use crate::{choices, settings};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;
use toml::de::DeValue;

choices! {
    /// Whether clients may, must or cannot use STARTTLS.
    pub enum TlsLevel { None = "none", May = "may", Encrypt = "encrypt" }
}

choices! {
    /// A property of SASL mechanisms (Postfix smtpd_sasl_security_options).
    pub enum SaslOption {
        NoAnonymous = "noanonymous",
        NoPlaintext = "noplaintext",
        NoDictionary = "nodictionary",
        ForwardSecrecy = "forward_secrecy",
        MutualAuth = "mutual_auth",
    }
}

choices! {
    /// What happens to a bare LF or CR in a message.
    pub enum BareNewline { Normalize = "normalize", Reject = "reject" }
}

choices! {
    /// Which clients `mynetworks` holds when it is empty.
    pub enum MynetworksStyle { None = "none", Host = "host", Subnet = "subnet" }
}

choices! {
    /// What comes in front of the SMTP of a client that a proxy hands on.
    pub enum UpstreamProxy { None = "", Haproxy = "haproxy" }
}

choices! {
    /// What happens to a client that fails a test before the greeting: nothing; it is refused at RCPT; it is sent away at once.
    pub enum ScreenAction { Ignore = "ignore", Enforce = "enforce", Drop = "drop" }
}

choices! {
    /// What a restriction does that cannot be told now: it defers, unless something refuses; it defers at once; empty: as `reject_tempfail_action`.
    pub enum TempfailAction { Usual = "", DeferIfPermit = "defer_if_permit", Defer = "defer" }
}

settings! {
    /// Receiving mail. Each of these settings can be overridden for one listener in `[smtpd.service.NAME]`.
    pub struct Smtpd in "smtpd" {
        /// The largest message taken.
        message_size_limit: Size = Size::mib(50), in Size(1024)..=Size(1 << 40), was "Postfix message_size_limit";
        /// Whether clients can use STARTTLS (`may`), have to before they do anything else (`encrypt`), or cannot (`none`).
        smtpd_tls_security_level: TlsLevel = TlsLevel::May, was "Postfix smtpd_tls_security_level";
        /// Whether AUTH is offered.
        smtpd_sasl_auth_enable: bool = false, was "Postfix smtpd_sasl_auth_enable";
        /// Whether AUTH is offered and taken only under TLS.
        smtpd_tls_auth_only: bool = true, was "Postfix smtpd_tls_auth_only";
        /// The socket of the SASL server, which speaks Dovecot's auth protocol. Empty: authd's own, `auth` in `run_directory`.
        smtpd_sasl_path: PathBuf = "", was "Postfix smtpd_sasl_path";
        /// The domain of login names that clients type without one, whatever the mechanism; names in certificates and tokens belong to that of the SASL server. Empty: that of the SASL server (`auth_default_realm`). A Dovecot at `smtpd_sasl_path` has its own only.
        smtpd_sasl_local_domain: String = "", was "Postfix smtpd_sasl_local_domain";
        /// What a mechanism must not be to be offered without TLS: `noanonymous`, `noplaintext` (the password crosses the wire as it is, as with PLAIN
        /// and LOGIN), `nodictionary` (who listens can try passwords, as with CRAM-MD5). `mutual_auth`: only those by which the server shows that
        /// it knows the password too, as SCRAM. `forward_secrecy` is taken, and excludes nothing.
        smtpd_sasl_security_options: Vec<SaslOption> = vec![SaslOption::NoAnonymous], was "Postfix smtpd_sasl_security_options";
        /// The same under TLS.
        smtpd_sasl_tls_security_options: Vec<SaslOption> = vec![SaslOption::NoAnonymous], was "Postfix smtpd_sasl_tls_security_options";
        /// Whether clients are asked for a certificate, by which they may log in (`tls.ca_file`, `tls.auth_ssl_username_from_cert`). Those without one are served all the same.
        smtpd_tls_ask_ccert: bool = false, was "Postfix smtpd_tls_ask_ccert";
        /// Tables of fingerprints of clients' certificates, or of the keys in them, that `permit_tls_clientcerts` lets relay: SHA-256 as `AA:BB:…`. What they have on the right does not matter. Asks with `smtpd_tls_ask_ccert`.
        relay_clientcerts: Vec<String> = Vec::<String>::new(), was "Postfix relay_clientcerts";
        /// With 1 or more each TLS handshake is logged with its version and cipher.
        smtpd_tls_loglevel: u32 = 0u32, in 0..=4, was "Postfix smtpd_tls_loglevel";
        /// Clients that may do more, as addresses and networks (`192.0.2.0/24`, `[2001:db8::]/32`).
        mynetworks: Vec<String> = Vec::<String>::new(), was "Postfix mynetworks";
        /// Which clients belong to `mynetworks` when that is empty: `none`; `host`: this machine; `subnet`: the networks it is on.
        mynetworks_style: MynetworksStyle = MynetworksStyle::Host, was "Postfix mynetworks_style";
        /// Restrictions at connect, in order; the first that decides, decides.
        smtpd_client_restrictions: Vec<String> = Vec::<String>::new(), was "Postfix smtpd_client_restrictions";
        /// Restrictions at HELO and EHLO.
        smtpd_helo_restrictions: Vec<String> = Vec::<String>::new(), was "Postfix smtpd_helo_restrictions";
        /// Restrictions at MAIL FROM.
        smtpd_sender_restrictions: Vec<String> = Vec::<String>::new(), was "Postfix smtpd_sender_restrictions";
        /// Restrictions at RCPT TO that decide about relaying; they come before `smtpd_recipient_restrictions`.
        smtpd_relay_restrictions: Vec<String> = ["permit_mynetworks", "permit_sasl_authenticated", "reject_unauth_destination"].map(String::from), was "Postfix smtpd_relay_restrictions";
        /// Restrictions at RCPT TO.
        smtpd_recipient_restrictions: Vec<String> = Vec::<String>::new(), was "Postfix smtpd_recipient_restrictions";
        /// Restrictions at DATA.
        smtpd_data_restrictions: Vec<String> = Vec::<String>::new(), was "Postfix smtpd_data_restrictions";
        /// Restrictions at the end of the message.
        smtpd_end_of_data_restrictions: Vec<String> = Vec::<String>::new(), was "Postfix smtpd_end_of_data_restrictions";
        /// Restrictions at ETRN.
        smtpd_etrn_restrictions: Vec<String> = Vec::<String>::new(), was "Postfix smtpd_etrn_restrictions";
        /// Named lists of restrictions, `name = restriction, restriction`; the name then stands for them in the lists, and as an action in access tables.
        smtpd_restriction_classes: Vec<String> = Vec::<String>::new(), was "Postfix smtpd_restriction_classes";
        /// Whether the restrictions for client, HELO and sender wait until RCPT, when it is known what the client wanted.
        smtpd_delay_reject: bool = true, was "Postfix smtpd_delay_reject";
        /// Whether a recipient that nobody knows is refused although the restrictions would let it through.
        smtpd_reject_unlisted_recipient: bool = true, was "Postfix smtpd_reject_unlisted_recipient";
        /// Whether a sender in one of our domains that nobody has there is refused.
        smtpd_reject_unlisted_sender: bool = false, was "Postfix smtpd_reject_unlisted_sender";
        /// The networks of the first MX of a domain that `permit_mx_backup` takes mail for; empty: any.
        permit_mx_backup_networks: Vec<String> = Vec::<String>::new(), was "Postfix permit_mx_backup_networks";
        /// Reply code of `reject`.
        reject_code: u32 = 554u32, in 400..=599, was "Postfix reject_code";
        /// Reply code of `defer`.
        defer_code: u32 = 450u32, in 400..=499, was "Postfix defer_code";
        /// Reply code of REJECT in an access table.
        access_map_reject_code: u32 = 554u32, in 400..=599, was "Postfix access_map_reject_code";
        /// Reply code of DEFER in an access table, and of `defer_if_permit` and `defer_if_reject`.
        access_map_defer_code: u32 = 450u32, in 400..=499, was "Postfix access_map_defer_code";
        /// Reply code of `reject_invalid_helo_hostname`.
        invalid_hostname_reject_code: u32 = 501u32, in 400..=599, was "Postfix invalid_hostname_reject_code";
        /// Reply code of `reject_non_fqdn_helo_hostname`, `reject_non_fqdn_sender` and `reject_non_fqdn_recipient`.
        non_fqdn_reject_code: u32 = 504u32, in 400..=599, was "Postfix non_fqdn_reject_code";
        /// Reply code of `reject_rbl_client` and its kin.
        maps_rbl_reject_code: u32 = 554u32, in 400..=599, was "Postfix maps_rbl_reject_code";
        /// Reply code of `reject_multi_recipient_bounce`.
        multi_recipient_bounce_reject_code: u32 = 550u32, in 400..=599, was "Postfix multi_recipient_bounce_reject_code";
        /// Reply code of `reject_plaintext_session`.
        plaintext_reject_code: u32 = 450u32, in 400..=599, was "Postfix plaintext_reject_code";
        /// Reply code of `reject_unauth_destination`.
        relay_domains_reject_code: u32 = 550u32, in 400..=599, was "Postfix relay_domains_reject_code";
        /// Reply code of `reject_unknown_sender_domain` and `reject_unknown_recipient_domain`.
        unknown_address_reject_code: u32 = 450u32, in 400..=599, was "Postfix unknown_address_reject_code";
        /// Reply code of `reject_unknown_client_hostname` and `reject_unknown_reverse_client_hostname`.
        unknown_client_reject_code: u32 = 450u32, in 400..=599, was "Postfix unknown_client_reject_code";
        /// Reply code of `reject_unknown_helo_hostname`.
        unknown_hostname_reject_code: u32 = 450u32, in 400..=599, was "Postfix unknown_hostname_reject_code";
        /// What a restriction does whose lookup fails for the moment: `defer_if_permit` (450, unless another restriction refuses), `defer` (450 at once).
        reject_tempfail_action: TempfailAction = TempfailAction::DeferIfPermit, was "Postfix reject_tempfail_action";
        /// The same for `reject_unknown_sender_domain` and `reject_unknown_recipient_domain`.
        unknown_address_tempfail_action: TempfailAction = TempfailAction::Usual, was "Postfix unknown_address_tempfail_action";
        /// The same for `reject_unknown_helo_hostname`.
        unknown_helo_hostname_tempfail_action: TempfailAction = TempfailAction::Usual, was "Postfix unknown_helo_hostname_tempfail_action";
        /// A content filter that all mail goes to first, as `transport:next hop` (`smtp:[127.0.0.1]:10024`). It hands the mail back to a service of its own, where
        /// this is empty. Aliases are followed when it comes back. DELIVERBY and REQUIRETLS are not offered: the filter would not hand them back.
        content_filter: String = "", was "Postfix content_filter";
        /// How long one question to a policy service may take.
        smtpd_policy_service_timeout: Duration = secs(100), in secs(1)..=minutes(60), was "Postfix smtpd_policy_service_timeout";
        /// How often a policy service is asked before `smtpd_policy_service_default_action` holds.
        smtpd_policy_service_try_limit: u32 = 2u32, in 1..=10, was "Postfix smtpd_policy_service_try_limit";
        /// The pause between two tries.
        smtpd_policy_service_retry_delay: Duration = secs(1), in secs(0)..=minutes(1), was "Postfix smtpd_policy_service_retry_delay";
        /// What holds when a policy service does not answer, as an action of an access table.
        smtpd_policy_service_default_action: String = "451 4.3.5 Server configuration problem", was "Postfix smtpd_policy_service_default_action";
        /// The attribute `policy_context` of questions to policy services.
        smtpd_policy_service_policy_context: String = "", was "Postfix smtpd_policy_service_policy_context";
        /// What a client is told that a DNS list has.
        default_rbl_reply: String = "$rbl_code Service unavailable; $rbl_class [$rbl_what] blocked using $rbl_domain${rbl_reason?; $rbl_reason}", was "Postfix default_rbl_reply";
        /// Other texts for single lists: the list as it stands in the restriction, and the reply.
        rbl_reply_maps: Vec<String> = Vec::<String>::new(), was "Postfix rbl_reply_maps";
        /// Whether a DNS list is believed only while it has 127.0.0.2 and has not 127.0.0.1 (a list of domains: has not `invalid`).
        dnsbl_self_test: bool = true;
        /// Tables that say which logins may use a sender address (`user@domain`, or `@domain` for all of it); for `reject_sender_login_mismatch`
        /// and its kin. Empty: a login may use its own address, with or without `+extension`, and those aliases that lead to it, be it with others.
        smtpd_sender_login_maps: Vec<String> = Vec::<String>::new(), was "Postfix smtpd_sender_login_maps";
        /// Whether the From header is held to the same rule when the client has logged in: one From field, and each address in it the login's own.
        /// On for `submission` and `submissions`.
        smtpd_reject_header_from_mismatch: bool = false;
        /// Whether MAIL is taken after HELO or EHLO only.
        smtpd_helo_required: bool = true, was "Postfix smtpd_helo_required";
        /// Whether the name of a client is looked up in the DNS, for logs, the Received header and restrictions.
        smtpd_peername_lookup: bool = true, was "Postfix smtpd_peername_lookup";
        /// Whether a client that sends commands ahead where it has to wait for a reply is cut off.
        smtpd_forbid_unauth_pipelining: bool = true, was "Postfix smtpd_forbid_unauth_pipelining";
        /// First words that are no SMTP, and end the session.
        smtpd_forbidden_commands: Vec<String> = ["CONNECT", "GET", "POST"].map(String::from), was "Postfix smtpd_forbidden_commands";
        /// Keywords that the answer to EHLO leaves out, such as `CHUNKING`.
        smtpd_discard_ehlo_keywords: Vec<String> = Vec::<String>::new(), was "Postfix smtpd_discard_ehlo_keywords";
        /// The longest command line in bytes (AUTH may have 12,288).
        smtpd_line_limit: u32 = 4096u32, in 512..=65_536, was "Postfix line_length_limit";
        /// Whether VRFY is refused; else it is answered with 252, whoever is asked for.
        disable_vrfy_command: bool = false, was "Postfix disable_vrfy_command";
        /// Domains that clients may have flushed by ETRN; empty: `relay_domains`.
        fast_flush_domains: Vec<String> = Vec::<String>::new(), was "Postfix fast_flush_domains";
        /// Clients, as in `mynetworks`, that may use XCLIENT: say for whom they speak.
        smtpd_authorized_xclient_hosts: Vec<String> = Vec::<String>::new(), was "Postfix smtpd_authorized_xclient_hosts";
        /// Clients, as in `mynetworks`, that may use XFORWARD: say from whom they have a message, for logs.
        smtpd_authorized_xforward_hosts: Vec<String> = Vec::<String>::new(), was "Postfix smtpd_authorized_xforward_hosts";
        /// `haproxy`: each connection begins with a PROXY header, version 1 or 2, and is over without one.
        smtpd_upstream_proxy_protocol: UpstreamProxy = UpstreamProxy::None, was "Postfix smtpd_upstream_proxy_protocol";
        /// How long the PROXY header may take.
        smtpd_upstream_proxy_timeout: Duration = secs(5), in secs(1)..=minutes(1), was "Postfix smtpd_upstream_proxy_timeout";
        /// The proxies, as in `mynetworks`; others are sent away. Empty: whoever reaches the listener is one.
        smtpd_upstream_proxy_hosts: Vec<String> = Vec::<String>::new();
        /// The time that the rate limits count in.
        anvil_rate_time_unit: Duration = secs(60), in secs(1)..=minutes(1440), was "Postfix anvil_rate_time_unit";
        /// Connections of one client (IPv6: one /64) in `anvil_rate_time_unit`; 0: no limit. So for the next four.
        smtpd_client_connection_rate_limit: u32 = 0u32, was "Postfix smtpd_client_connection_rate_limit";
        /// Messages of one client in that time.
        smtpd_client_message_rate_limit: u32 = 0u32, was "Postfix smtpd_client_message_rate_limit";
        /// Recipients of one client in that time, known or not.
        smtpd_client_recipient_rate_limit: u32 = 0u32, was "Postfix smtpd_client_recipient_rate_limit";
        /// TLS handshakes of one client in that time.
        smtpd_client_new_tls_session_rate_limit: u32 = 0u32, was "Postfix smtpd_client_new_tls_session_rate_limit";
        /// AUTH commands of one client in that time.
        smtpd_client_auth_rate_limit: u32 = 0u32, was "Postfix smtpd_client_auth_rate_limit";
        /// Clients that the rate limits do not hold for; empty: `mynetworks`.
        smtpd_client_event_limit_exceptions: Vec<String> = Vec::<String>::new(), was "Postfix smtpd_client_event_limit_exceptions";
        /// What happens to a client that speaks before it is greeted; other than `ignore`, an unknown client waits `postscreen_greet_wait` for the end
        /// of the greeting. Services with AUTH or TLS from the first byte, and clients of `mynetworks`, are not tested.
        postscreen_greet_action: ScreenAction = ScreenAction::Ignore, was "Postfix postscreen_greet_action";
        /// How long an unknown client waits for the end of the greeting; a third while nearly all connections are in use.
        postscreen_greet_wait: Duration = secs(6), in secs(1)..=secs(30), was "Postfix postscreen_greet_wait";
        /// How long a client that waited is not tested again.
        postscreen_greet_ttl: Duration = minutes(1440), in secs(1)..=minutes(43_200), was "Postfix postscreen_greet_ttl";
        /// DNS lists that are asked before the greeting: `list`, `list=127.0.0.[2..11]`, `list*weight`, a negative weight for lists of good clients.
        postscreen_dnsbl_sites: Vec<String> = Vec::<String>::new(), was "Postfix postscreen_dnsbl_sites";
        /// The sum of weights from which a client fails.
        postscreen_dnsbl_threshold: u32 = 1u32, in 1..=1000, was "Postfix postscreen_dnsbl_threshold";
        /// What happens to a client that fails.
        postscreen_dnsbl_action: ScreenAction = ScreenAction::Ignore, was "Postfix postscreen_dnsbl_action";
        /// How long the lists may take; who does not answer has no weight.
        postscreen_dnsbl_timeout: Duration = secs(10), in secs(1)..=minutes(1), was "Postfix postscreen_dnsbl_timeout";
        /// How long a client that passed is not looked up again.
        postscreen_dnsbl_ttl: Duration = minutes(60), in secs(1)..=minutes(1440), was "Postfix postscreen_dnsbl_max_ttl";
        /// Recipients of one message.
        smtpd_recipient_limit: u32 = 1000u32, in 100..=100_000, was "Postfix smtpd_recipient_limit";
        /// Recipients beyond the limit after which the client is cut off.
        smtpd_recipient_overshoot_limit: u32 = 1000u32, in 1..=100_000, was "Postfix smtpd_recipient_overshoot_limit";
        /// Different domains among the recipients of one message; 0: no limit. Clients are told this limit and the next by LIMITS, as they are `smtpd_recipient_limit`.
        smtpd_recipient_domain_limit: u32 = 0u32, in 0..=100_000;
        /// Messages of one session, after which the client has to connect anew; 0: no limit.
        smtpd_transaction_limit: u32 = 0u32, in 0..=100_000;
        /// The delay of each reply once the client has made `smtpd_soft_error_limit` errors.
        smtpd_error_sleep_time: Duration = secs(1), in secs(0)..=minutes(1), was "Postfix smtpd_error_sleep_time";
        /// The least time that a client may name by which its message is to be delivered or returned (`BY=seconds;R`); it is announced by DELIVERBY. 0: any.
        smtpd_deliver_by_minimum: Duration = secs(0), in secs(0)..=minutes(10_080);
        /// How long the message of a client that has logged in may wait for its release (FUTURERELEASE: `HOLDFOR`, `HOLDUNTIL`). 0: not offered.
        smtpd_future_release_limit: Duration = secs(0), in secs(0)..=minutes(525_600);
        /// The highest priority (MT-PRIORITY, up to 9) that clients may ask for who have logged in or are of `mynetworks`. Others get 0 at most.
        smtpd_priority_limit: u32 = 4u32, in 0..=9;
        /// Whether the header field `MT-Priority` (RFC 6758) stands for a priority that MAIL does not name: that of clients who have logged in or are of `mynetworks`, up to
        /// `smtpd_priority_limit`. Anybody can write such a field: only where those clients are to be believed.
        smtpd_priority_header: bool = false;
        /// Whether REQUIRETLS is offered under TLS: such a message leaves only to hosts that prove who they are and offer it too, or goes back. It is not
        /// offered where `smtp_tls_security_level` is `none`.
        requiretls_enable: bool = true, was "Postfix requiretls_enable";
        /// Whether `TLS-Required: No` in the header of a message lowers the TLS that its delivery insists on to `may`.
        tls_required_enable: bool = true, was "Postfix tls_required_enable";
        /// Errors after which replies are delayed.
        smtpd_soft_error_limit: u32 = 10u32, in 0..=1000, was "Postfix smtpd_soft_error_limit";
        /// Errors after which the client is cut off. At a Unix socket, where programs of this machine speak, errors are not counted.
        smtpd_hard_error_limit: u32 = 20u32, in 1..=1000, was "Postfix smtpd_hard_error_limit";
        /// NOOP, RSET, VRFY and such between two messages that count as no error.
        smtpd_junk_command_limit: u32 = 100u32, in 1..=10_000, was "Postfix smtpd_junk_command_limit";
        /// How long a client may take for one command, or send nothing.
        smtpd_timeout: Duration = minutes(5), in secs(1)..=minutes(60), was "Postfix smtpd_timeout";
        /// The same while more than four fifths of `smtpd_client_limit` are in use.
        smtpd_timeout_under_load: Duration = secs(10), in secs(1)..=minutes(60), was "Postfix smtpd_timeout";
        /// Bytes a second that a client has to send at least during a message.
        smtpd_min_data_rate: u32 = 500u32, in 0..=1_000_000, was "Postfix smtpd_min_data_rate";
        /// Connections at the same time.
        smtpd_client_limit: u32 = 2000u32, in 1..=100_000, was "Postfix default_process_limit";
        /// Connections at the same time from one address (IPv6: one /64). Does not hold for `mynetworks`.
        smtpd_client_connection_count_limit: u32 = 50u32, in 0..=100_000, was "Postfix smtpd_client_connection_count_limit";
        /// Connections at the same time from one user of this machine, over the socket `submit`; 0: no limit. Does not hold for root.
        smtpd_local_connection_count_limit: u32 = 50u32, in 0..=100_000;
        /// A bare LF or CR inside a message: turned into CRLF (`normalize`; some web programs send such), or refused (`reject`).
        smtpd_forbid_bare_newline: BareNewline = BareNewline::Normalize, was "Postfix smtpd_forbid_bare_newline";
        /// `Received:` headers after which a message counts as looping.
        hopcount_limit: u32 = 50u32, in 10..=1000, was "Postfix hopcount_limit";
        /// The largest header of a message, all fields together; above, the message is refused. It is kept in memory while it comes in.
        smtpd_message_header_limit: Size = Size::mib(1), in Size::kib(64)..=Size::mib(16);
        /// Space that has to be left in the queue; below, or below 1.5 times `message_size_limit`, MAIL is answered with 452.
        queue_minfree: Size = Size(0), was "Postfix queue_minfree";
        /// The greeting behind `220 hostname`.
        smtpd_banner: String = "ESMTP Facteur", was "Postfix smtpd_banner";
        /// Whether a Date and a Message-ID are added where they are missing (submission only).
        always_add_missing_headers: bool = false, was "Postfix always_add_missing_headers";
        /// A message above this goes to a file of its own at once; below, through the journal.
        journal_message_limit: Size = Size::kib(256), in Size::kib(4)..=Size::mib(4);
    }
}

settings! {
    /// A listener of smtpd. `smtp`, `submission`, `submissions` and `submit` are there from the start; `listen = []` turns one off.
    pub struct Listener in "smtpd.service.NAME" {
        /// Where it listens.
        listen: Vec<Endpoint> = Vec::new(), was "Postfix inet_interfaces";
        /// TLS from the first byte on (port 465).
        smtpd_tls_wrappermode: bool = false, was "Postfix smtpd_tls_wrappermode";
    }
}

/// One listener with all smtpd settings as they hold for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    pub listener: Listener,
    pub smtpd: Smtpd,
}

impl Service {
    pub(crate) fn over(smtpd: &Smtpd) -> Service {
        Service { listener: Listener::default(), smtpd: smtpd.clone() }
    }

    /// Unix sockets without a folder lie in `run_directory`.
    pub(crate) fn resolve(&mut self, run_directory: &std::path::Path) {
        for endpoint in &mut self.listener.listen {
            endpoint.start_in(run_directory);
        }
    }

    /// The services that are there without a word in the settings.
    pub(crate) fn built_in(smtpd: &Smtpd) -> BTreeMap<String, Service> {
        let mut smtp = Service::over(smtpd);
        smtp.listener.listen = on(25);
        // Whoever logs in speaks for himself. In front of the list: what stands behind a `permit` is not asked.
        let mut own_senders = vec!["reject_authenticated_sender_login_mismatch".to_owned()];
        own_senders.extend(smtpd.smtpd_sender_restrictions.iter().cloned());
        let mut submission = Service::over(smtpd);
        submission.smtpd.smtpd_sender_restrictions = own_senders.clone();
        submission.smtpd.smtpd_reject_header_from_mismatch = true;
        submission.smtpd.smtpd_future_release_limit = minutes(43_200);
        submission.listener.listen = on(587);
        submission.smtpd.smtpd_tls_security_level = TlsLevel::Encrypt;
        submission.smtpd.smtpd_sasl_auth_enable = true;
        submission.smtpd.always_add_missing_headers = true;
        submission.smtpd.smtpd_relay_restrictions = ["permit_sasl_authenticated", "reject"].map(String::from).into();
        let mut submissions = submission.clone();
        submissions.listener.listen = on(465);
        submissions.listener.smtpd_tls_wrappermode = true;
        let mut submit = Service::over(smtpd);
        submit.listener.listen = vec![Endpoint::Unix("submit".into())];
        submit.smtpd.smtpd_tls_security_level = TlsLevel::None;
        submit.smtpd.always_add_missing_headers = true;
        submit.smtpd.smtpd_sender_restrictions = own_senders;
        submit.smtpd.smtpd_reject_header_from_mismatch = true;
        submit.smtpd.smtpd_relay_restrictions = ["permit_mynetworks", "reject"].map(String::from).into();
        [("smtp", smtp), ("submission", submission), ("submissions", submissions), ("submit", submit)]
            .map(|(name, service)| (name.to_owned(), service))
            .into()
    }
}

pub(crate) fn read_services(services: &Spanned<DeValue<'_>>, smtpd: &Smtpd, into: &mut BTreeMap<String, Service>, source: &mut Source<'_>) {
    let Some(table) = services.get_ref().as_table() else {
        source.fault(Some(services.span().start), "smtpd.service must be a table", Some("write [smtpd.service.submission]".into()));
        return;
    };
    for (name, value) in table {
        let prefix = format!("smtpd.service.{}", name.get_ref());
        let Some(inner) = value.get_ref().as_table() else {
            source.fault(Some(value.span().start), format!("{prefix} must be a table"), Some(format!("write [{prefix}]")));
            continue;
        };
        let service = into.entry(name.get_ref().to_string()).or_insert_with(|| Service::over(smtpd));
        service.listener.read_known(inner, &prefix, source);
        service.smtpd.read_known(inner, &prefix, source);
        let keys = Listener::keys();
        let own = keys.iter().map(|k| k.name);
        let known: Vec<&str> = own.chain(Smtpd::keys().iter().map(|k| k.name)).collect();
        refuse_unknown(inner, &prefix, source, &known);
    }
}
