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
        /// The domain of login names that have none.
        smtpd_sasl_local_domain: String = "", was "Postfix smtpd_sasl_local_domain";
        /// What a mechanism must not be to be offered without TLS: `noanonymous`, `noplaintext` (the password crosses the wire as it is, as with PLAIN
        /// and LOGIN). `nodictionary`, `forward_secrecy` and `mutual_auth` are taken, and exclude nothing that authd offers.
        smtpd_sasl_security_options: Vec<SaslOption> = vec![SaslOption::NoAnonymous], was "Postfix smtpd_sasl_security_options";
        /// The same under TLS.
        smtpd_sasl_tls_security_options: Vec<SaslOption> = vec![SaslOption::NoAnonymous], was "Postfix smtpd_sasl_tls_security_options";
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
        /// Whether the restrictions for client, HELO and sender wait until RCPT, when it is known what the client wanted.
        smtpd_delay_reject: bool = true, was "Postfix smtpd_delay_reject";
        /// Whether a recipient that nobody knows is refused although the restrictions would let it through.
        smtpd_reject_unlisted_recipient: bool = true, was "Postfix smtpd_reject_unlisted_recipient";
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
        /// Recipients of one message.
        smtpd_recipient_limit: u32 = 1000u32, in 100..=100_000, was "Postfix smtpd_recipient_limit";
        /// Recipients beyond the limit after which the client is cut off.
        smtpd_recipient_overshoot_limit: u32 = 1000u32, in 1..=100_000, was "Postfix smtpd_recipient_overshoot_limit";
        /// The delay of each reply once the client has made `smtpd_soft_error_limit` errors.
        smtpd_error_sleep_time: Duration = secs(1), in secs(0)..=minutes(1), was "Postfix smtpd_error_sleep_time";
        /// Errors after which replies are delayed.
        smtpd_soft_error_limit: u32 = 10u32, in 0..=1000, was "Postfix smtpd_soft_error_limit";
        /// Errors after which the client is cut off.
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
