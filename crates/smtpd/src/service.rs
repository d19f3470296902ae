//! One listener's settings, ready for use.

use config::{Config, SaslOption, TlsLevel};
use dns::Resolver;
use ipc::auth::{AuthClient, Mechanism};
use parking_lot::Mutex;
use policy::Policy;
use smtp_proto::server::Settings;
use std::sync::Arc;
use std::time::Duration;
use tables::{Context, NetworkList};

pub(crate) struct Service {
    pub(crate) name: String,
    machine: Arc<Settings>,
    /// The same while nearly all connections are in use: one error ends a session (Postfix STRESS_README).
    under_load: Arc<Settings>,
    pub(crate) smtpd: config::Smtpd,
    pub(crate) wrapped: bool,
    pub(crate) policy: Policy,
    pub(crate) mynetworks: NetworkList,
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
    pub(crate) auth: AuthClient,
    pub(crate) tls_available: bool,
}

impl Service {
    pub(crate) fn new(name: &str, service: &config::Service, parts: Parts<'_>) -> Result<Service, String> {
        let Parts { config, context, resolver, auth, tls_available } = parts;
        let smtpd = service.smtpd.clone();
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
        let machine = crate::settings::machine(config, &smtpd, wrapped, tls_available);
        let under_load = Settings { hard_error_limit: 1, junk_command_limit: 1, ..machine.clone() };
        Ok(Service {
            name: name.to_owned(),
            machine: Arc::new(machine),
            under_load: Arc::new(under_load),
            smtpd,
            wrapped,
            policy,
            mynetworks,
            auth,
            hostname: config.main.hostname.clone(),
            mechanisms: Mutex::new(None),
        })
    }

    /// What holds for a session that begins now.
    pub(crate) fn terms(&self, under_load: bool) -> (Arc<Settings>, Duration) {
        if under_load {
            (self.under_load.clone(), self.smtpd.smtpd_timeout.min(self.smtpd.smtpd_timeout_under_load))
        } else {
            (self.machine.clone(), self.smtpd.smtpd_timeout)
        }
    }

    /// What the answer to EHLO may offer: what the SASL server has, or had when it was last there. A client that is told of no AUTH
    /// gives up for good; one that hears 454 comes again.
    pub(crate) async fn mechanisms(&self, tls: bool) -> Arc<str> {
        const PATIENCE: Duration = Duration::from_secs(1);
        let asked = tokio::time::timeout(PATIENCE, self.auth.mechanisms()).await;
        let mut known = self.mechanisms.lock();
        if let Ok(Ok(list)) = asked {
            *known = Some(list);
        }
        let barred = if tls { &self.smtpd.smtpd_sasl_tls_security_options } else { &self.smtpd.smtpd_sasl_security_options };
        match &*known {
            Some(list) => offered(list, barred).into(),
            None if barred.contains(&SaslOption::NoPlaintext) => "".into(),
            None => "PLAIN LOGIN".into(),
        }
    }
}

fn offered(list: &[Mechanism], barred: &[SaslOption]) -> String {
    let allowed = |m: &&Mechanism| {
        !(m.private || m.anonymous && barred.contains(&SaslOption::NoAnonymous) || m.plaintext && barred.contains(&SaslOption::NoPlaintext))
    };
    list.iter().filter(allowed).map(|m| m.name.as_str()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mechanisms_are_offered_as_the_options_allow() {
        let mechanism = |name: &str, plaintext, anonymous| Mechanism { name: name.into(), plaintext, private: false, anonymous };
        let list = [mechanism("PLAIN", true, false), mechanism("ANONYMOUS", false, true), mechanism("SCRAM-SHA-256", false, false)];
        for (barred, want) in [
            (&[SaslOption::NoAnonymous][..], "PLAIN SCRAM-SHA-256"),
            (&[SaslOption::NoAnonymous, SaslOption::NoDictionary, SaslOption::NoPlaintext], "SCRAM-SHA-256"),
            (&[], "PLAIN ANONYMOUS SCRAM-SHA-256"),
        ] {
            assert_eq!(offered(&list, barred), want, "{barred:?}");
        }
    }
}
