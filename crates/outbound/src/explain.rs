//! What TLS would have to prove at a destination, and what says so: for `facteur explain`.

use crate::logins::Logins;
use crate::policy::{NameMatch, Policies, Why};
use crate::{Destination, NamedBy, Settings, SetupError, Tables};
use config::SmtpTlsLevel;
use mail_types::{Address, Outcome};

/// Asks the same settings and tables as [`crate::Outbound`], without certificates and connections.
pub struct TlsExplainer {
    settings: Settings,
    policies: Policies,
    logins: Logins,
}

/// The TLS policy of a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsChoice {
    pub level: SmtpTlsLevel,
    /// Of what the certificate has to have one, in words; empty: nothing is proved.
    pub proof: String,
    /// The login that is sent there.
    pub login: Option<String>,
    /// The setting that decided, and the line of its table.
    pub setting: &'static str,
    pub because: String,
}

impl TlsExplainer {
    /// Opened tables come from [`Tables::open`].
    pub fn new(settings: Settings, tables: Tables) -> Result<TlsExplainer, SetupError> {
        let policies = Policies::new(&settings.section, tables.tls_policy)?;
        let logins = Logins { maps: tables.passwords, by_sender: settings.section.smtp_sender_dependent_authentication };
        Ok(TlsExplainer { settings, policies, logins })
    }

    /// `Err`: a table cannot tell, or what it says cannot be understood; mail waits.
    pub async fn explain(&self, destination: &Destination, named_by: NamedBy, sender: Option<&Address>) -> Result<TlsChoice, Outcome> {
        let credentials = self.logins.of(destination, named_by, sender, &self.settings).await?;
        let by_srv = destination.srv(&self.settings).is_some();
        let (policy, why) = self.policies.explain(destination, credentials.is_some(), by_srv).await?;
        let (setting, because) = match why {
            Why::Setting => ("smtp_tls_security_level", String::new()),
            Why::Table(found) => ("smtp_tls_policy_maps", found.to_string()),
            Why::Password => ("smtp_sasl_password_maps", "a password is sent to verified hosts only".to_owned()),
        };
        let names = policy.names.iter().map(|name| match name {
            NameMatch::Hostname => "hostname".to_owned(),
            NameMatch::Nexthop => "nexthop".to_owned(),
            NameMatch::DotNexthop => "dot-nexthop".to_owned(),
            NameMatch::Name(name) => name.clone(),
            NameMatch::Below(name) => format!(".{name}"),
        });
        let proof = match policy.fingerprints.len() {
            0 => names.collect::<Vec<_>>().join(":"),
            count => format!("one of {count} fingerprints"),
        };
        Ok(TlsChoice { level: policy.level, proof, login: credentials.map(|c| c.login), setting, because })
    }
}
