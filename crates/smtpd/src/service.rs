//! One listener's settings, ready for use.

use config::{Config, SaslOption, TlsLevel};
use dns::Resolver;
use dns::lists::{Lists, Site};
use ipc::auth::{AuthClient, Channel, Mechanism};
use parking_lot::Mutex;
use policy::greylist::{Seen, Terms};
use policy::{Outside, Policy};
use smtp_proto::server::Settings;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tables::{Context, DomainList, NetworkList};

pub(crate) struct Service {
    pub(crate) name: String,
    machine: Arc<Settings>,
    /// The same while nearly all connections are in use: one error ends a session (Postfix STRESS_README).
    under_load: Arc<Settings>,
    /// For programs on this machine, which hand in whole letters: a letter with many wrong recipients is an error of none of them, and
    /// one that is cut off would only come again.
    local: Arc<Settings>,
    pub(crate) smtpd: config::Smtpd,
    pub(crate) wrapped: bool,
    pub(crate) policy: Policy,
    pub(crate) mynetworks: NetworkList,
    /// `postscreen_dnsbl_sites`.
    pub(crate) screen_sites: Vec<Site>,
    pub(crate) xclient_hosts: NetworkList,
    pub(crate) xforward_hosts: NetworkList,
    pub(crate) proxy_hosts: NetworkList,
    /// Whom the rate limits do not hold for; empty: `mynetworks`.
    rate_exceptions: NetworkList,
    /// What ETRN flushes; empty: `relay_domains`.
    pub(crate) flush_domains: DomainList,
    pub(crate) auth: AuthClient,
    pub(crate) hostname: String,
    /// What AUTH offered when the SASL server was last heard of.
    mechanisms: Mutex<Option<Arc<[Mechanism]>>>,
}

/// What a service is made from, beside its own settings.
pub(crate) struct Parts<'a> {
    pub(crate) config: &'a Config,
    pub(crate) context: &'a Context,
    pub(crate) resolver: &'a Arc<dyn Resolver>,
    pub(crate) dns_lists: &'a Arc<Lists>,
    pub(crate) outside: Arc<dyn Outside>,
    pub(crate) auth: AuthClient,
    pub(crate) tls_available: bool,
    pub(crate) greylist: (Arc<Terms>, Arc<Seen>),
}

impl Service {
    pub(crate) fn new(name: &str, service: &config::Service, parts: Parts<'_>) -> Result<Service, String> {
        let Parts { config, context, resolver, dns_lists, outside, auth, tls_available, greylist: (terms, seen) } = parts;
        let mut smtpd = service.smtpd.clone();
        smtpd.smtpd_sasl_local_domain = config.expand(&smtpd.smtpd_sasl_local_domain);
        smtpd.content_filter = config.expand(&smtpd.content_filter);
        let wrapped = service.listener.smtpd_tls_wrappermode;
        if !tls_available && !service.listener.listen.is_empty() && (wrapped || smtpd.smtpd_tls_security_level == TlsLevel::Encrypt) {
            tracing::warn!(
                service = name,
                "no certificate is set (tls.cert_file): clients of this service, which have to use TLS, will not get in"
            );
        }
        let mynetworks = routing::mynetworks(&smtpd.mynetworks, smtpd.mynetworks_style, context).map_err(|e| format!("mynetworks: {e}"))?;
        let delimiters = &config.routing.recipient_delimiter;
        let policy = Policy::new(&smtpd, delimiters, mynetworks.clone(), Some(resolver.clone()), context).map_err(|e| e.to_string())?;
        let mut policy = policy.in_world(outside, dns_lists.clone());
        // Where people log in nobody is told to come again.
        if !smtpd.smtpd_sasl_auth_enable {
            policy = policy.with_greylist(terms, seen);
        }
        let networks =
            |setting: &str, items: &[String]| NetworkList::open(&items.join(", "), context).map_err(|error| format!("{setting}: {error}"));
        let sites = smtpd.postscreen_dnsbl_sites.iter().flat_map(|line| tables::split_list(line)).map(Site::parse);
        let flushed = if smtpd.fast_flush_domains.is_empty() { &config.routing.relay_domains } else { &smtpd.fast_flush_domains };
        let flush_domains = DomainList::open(&flushed.join(", "), true, context).map_err(|error| format!("fast_flush_domains: {error}"))?;
        let machine = crate::settings::machine(config, &smtpd, wrapped, tls_available);
        let under_load = Settings { hard_error_limit: 1, junk_command_limit: 1, ..machine.clone() };
        let local = Settings { private: true, soft_error_limit: u32::MAX, hard_error_limit: u32::MAX, ..machine.clone() };
        Ok(Service {
            name: name.to_owned(),
            machine: Arc::new(machine),
            under_load: Arc::new(under_load),
            local: Arc::new(local),
            wrapped,
            policy,
            mynetworks,
            screen_sites: sites.collect::<Result<_, _>>().map_err(|why| format!("postscreen_dnsbl_sites: {why}"))?,
            xclient_hosts: networks("smtpd_authorized_xclient_hosts", &smtpd.smtpd_authorized_xclient_hosts)?,
            xforward_hosts: networks("smtpd_authorized_xforward_hosts", &smtpd.smtpd_authorized_xforward_hosts)?,
            proxy_hosts: networks("smtpd_upstream_proxy_hosts", &smtpd.smtpd_upstream_proxy_hosts)?,
            rate_exceptions: networks("smtpd_client_event_limit_exceptions", &smtpd.smtpd_client_event_limit_exceptions)?,
            flush_domains,
            smtpd,
            auth,
            hostname: config.main.hostname.clone(),
            mechanisms: Mutex::new(None),
        })
    }

    /// What holds for a session that begins now; `client` is none at a local socket.
    pub(crate) async fn terms(&self, under_load: bool, client: Option<IpAddr>) -> (Arc<Settings>, Duration) {
        let (settings, time) = if under_load {
            (&self.under_load, self.smtpd.smtpd_timeout.min(self.smtpd.smtpd_timeout_under_load))
        } else {
            (&self.machine, self.smtpd.smtpd_timeout)
        };
        let Some(client) = client else { return (self.local.clone(), time) };
        let listed = async |list: &NetworkList| matches!(list.contains(client).await, Ok(true));
        let (xclient, xforward) = (listed(&self.xclient_hosts).await, listed(&self.xforward_hosts).await);
        if xclient || xforward {
            return (Arc::new(Settings { xclient, xforward, ..(**settings).clone() }), time);
        }
        (settings.clone(), time)
    }

    /// Whether the rate limits hold for a client.
    pub(crate) async fn is_rated(&self, ip: IpAddr) -> bool {
        let exceptions = if self.rate_exceptions.is_empty() { &self.mynetworks } else { &self.rate_exceptions };
        !matches!(exceptions.contains(ip).await, Ok(true))
    }

    /// What the answer to EHLO may offer: what the SASL server has, or had when it was last there. A client that is told of no AUTH
    /// gives up for good; one that hears 454 comes again.
    pub(crate) async fn mechanisms(&self, tls: bool, channel: &Channel) -> Arc<str> {
        const PATIENCE: Duration = Duration::from_secs(1);
        let asked = tokio::time::timeout(PATIENCE, self.auth.mechanisms()).await;
        let mut known = self.mechanisms.lock();
        if let Ok(Ok(list)) = asked {
            *known = Some(list);
        }
        let barred = if tls { &self.smtpd.smtpd_sasl_tls_security_options } else { &self.smtpd.smtpd_sasl_security_options };
        match &*known {
            Some(list) => offered(list, barred, channel).into(),
            None if barred.contains(&SaslOption::NoPlaintext) => "".into(),
            None => "PLAIN LOGIN".into(),
        }
    }
}

fn offered(list: &[Mechanism], barred: &[SaslOption], channel: &Channel) -> String {
    // As Postfix: what a mechanism is or lacks, and the option that bars it.
    let allowed = |m: &&Mechanism| {
        let is_barred = |option: &SaslOption| match option {
            SaslOption::NoPlaintext => m.plaintext,
            SaslOption::NoAnonymous => m.anonymous,
            SaslOption::NoDictionary => m.dictionary,
            SaslOption::MutualAuth => !m.mutual,
            // TLS has that, or there is none.
            SaslOption::ForwardSecrecy => false,
        };
        m.fits(channel) && !barred.iter().any(is_barred)
    };
    list.iter().filter(allowed).map(|m| m.name.as_str()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mechanisms_are_offered_as_the_options_allow() {
        let mechanism = |name: &str, plaintext, anonymous| Mechanism { name: name.into(), plaintext, anonymous, ..Mechanism::default() };
        let scram = Mechanism { mutual: true, ..mechanism("SCRAM-SHA-256", false, false) };
        let cram = Mechanism { dictionary: true, ..mechanism("CRAM-MD5", false, false) };
        let plus = Mechanism { private: true, binds: true, mutual: true, ..mechanism("SCRAM-SHA-256-PLUS", false, false) };
        let list = [mechanism("PLAIN", true, false), mechanism("ANONYMOUS", false, true), plus, scram, cram];
        for (barred, want) in [
            (&[SaslOption::NoAnonymous][..], "PLAIN SCRAM-SHA-256 CRAM-MD5"),
            (&[SaslOption::NoAnonymous, SaslOption::NoDictionary, SaslOption::NoPlaintext], "SCRAM-SHA-256"),
            (&[], "PLAIN ANONYMOUS SCRAM-SHA-256 CRAM-MD5"),
            (&[SaslOption::NoDictionary], "PLAIN ANONYMOUS SCRAM-SHA-256"),
            (&[SaslOption::MutualAuth], "SCRAM-SHA-256"),
        ] {
            assert_eq!(offered(&list, barred, &Channel::default()), want, "{barred:?}");
        }
        let channel = Channel { bindings: vec![("tls-exporter".into(), vec![7; 32])], certificate: None };
        assert_eq!(offered(&list, &[SaslOption::MutualAuth], &channel), "SCRAM-SHA-256-PLUS SCRAM-SHA-256");
    }
}
