//! `ldap`: passwords and users of a directory (RFC 4511), by the file of Dovecot's driver of that name.
//!
//! ```text
//! uris = ldap://ldap.example.org            (or hosts = …; ldaps://, ldapi://%2Fpath; several are tried in order)
//! tls = yes                                 (StartTLS)
//! tls_ca_cert_file = /etc/ssl/directory.pem (empty: certificates of the system)
//! dn = cn=mail,dc=example,dc=org            (who searches; without it nobody does)
//! dnpass = secret
//! base = ou=people,dc=example,dc=org
//! auth_bind = yes                           (the server compares passwords; else userPassword is read and compared here)
//! pass_filter = (&(objectClass=inetOrgPerson)(mail=%u))
//! pass_attrs = mail=user, userPassword=password
//! user_filter = (&(objectClass=inetOrgPerson)(mail=%u))
//! user_attrs = =home=/home/vmail/%u, mailQuota=quota_rule=*:bytes=%$
//! iterate_filter = (objectClass=inetOrgPerson)
//! iterate_attrs = mail=user
//! ```
//! Fields mean what they mean in `sql`.

mod entry;
mod link;
mod settings;
mod template;

use crate::dovecot_file::Fields;
use crate::names::Names;
use anyhow::Context;
use link::{Bound, Fault, Links, Search};
use mail_types::Secret;
use settings::{Query, Settings};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use template::Asker;
use zeroize::Zeroizing;

/// An open file of settings. Cheap to clone.
#[derive(Clone)]
pub struct LdapSource(Arc<Inner>);

struct Inner {
    path: PathBuf,
    settings: Settings,
    searching: Links,
    binding: Links,
}

/// Who compares a password: the directory.
#[derive(Clone)]
pub struct Binding {
    source: LdapSource,
    dn: String,
}

impl LdapSource {
    /// Reads the file; connects to nothing.
    pub fn open(path: &Path) -> anyhow::Result<LdapSource> {
        let text = Zeroizing::new(std::fs::read_to_string(path).with_context(|| path.display().to_string())?);
        let mut settings = Settings::read(&text, path).with_context(|| path.display().to_string())?;
        let (searching, binding) = Links::of(&mut settings);
        Ok(LdapSource(Arc::new(Inner { path: path.to_owned(), settings, searching, binding })))
    }

    /// The scheme of passwords that name none.
    pub fn scheme(&self) -> Option<&str> {
        self.0.settings.scheme.as_deref()
    }

    /// What the directory has of a user for a login, and who compares the password when that is not to be done here. When `to_check` is set
    /// a user may be there who is not, until the password is shown: `auth_bind_userdn` names entries without a look at them.
    pub async fn password(
        &self,
        user: &str,
        service: &str,
        remote: Option<IpAddr>,
        to_check: bool,
    ) -> anyhow::Result<Option<(Fields, Option<Binding>)>> {
        let settings = &self.0.settings;
        let remote = remote.map(|ip| ip.to_string()).unwrap_or_default();
        let asker = Asker { user, service, remote: &remote };
        let binding = |dn: String| Some(Binding { source: self.clone(), dn }).filter(|_| settings.auth_bind);
        if let Some(template) = settings.auth_bind_userdn.as_ref().filter(|_| to_check) {
            return Ok(Some((Fields(Vec::new()), binding(template.fill(&asker)))));
        }
        let found = self.one(&settings.pass, "pass_filter", &asker).await?;
        Ok(found.map(|(fields, dn)| (fields, binding(dn))))
    }

    pub async fn user(&self, user: &str) -> anyhow::Result<Option<Fields>> {
        let found = self.one(&self.0.settings.user, "user_filter", &Asker { user, ..Asker::default() }).await?;
        Ok(found.map(|(fields, _)| fields))
    }

    /// The names of all users.
    pub async fn users(&self, names: &Names) -> anyhow::Result<Vec<String>> {
        let query = &self.0.settings.iterate;
        let entries = self.0.searching.all(&self.search(query, &Asker::default())).await;
        let entries = entries.with_context(|| format!("iterate_filter of {}", self.0.path.display()))?;
        let name = |entry| {
            let fields = query.map.fields(entry, &Asker::default());
            match (fields.get("user").or(fields.get("username")), fields.get("domain")) {
                (Some(user), Some(domain)) if !user.contains('@') => names.normal(&format!("{user}@{domain}")),
                (Some(user), _) => names.normal(user),
                (None, _) => None,
            }
        };
        Ok(entries.iter().filter_map(name).collect())
    }

    async fn one(&self, query: &Query, name: &str, asker: &Asker<'_>) -> anyhow::Result<Option<(Fields, String)>> {
        let found = match self.0.searching.one(&self.search(query, asker)).await {
            // A domain that nobody has made a place for has no users.
            Err(Fault::NoBase(_)) if self.0.settings.base.varies() => None,
            found => found.with_context(|| format!("{name} of {} for {}", self.0.path.display(), mail_types::printable(asker.user)))?,
        };
        Ok(found.map(|entry| (query.map.fields(&entry, asker), entry.dn)))
    }

    fn search(&self, query: &Query, asker: &Asker<'_>) -> Search {
        let settings = &self.0.settings;
        Search {
            base: settings.base.fill(asker),
            scope: settings.scope,
            deref: settings.deref,
            filter: query.filter.fill(asker),
            wanted: query.map.wanted(),
        }
    }
}

impl Binding {
    /// Whether it is the password. Nothing is remembered of it: whether it still holds is the directory's to say.
    pub async fn proves(&self, password: &Secret) -> anyhow::Result<bool> {
        let bound = self.source.0.binding.bind(&self.dn, password.reveal()).await;
        Ok(bound.with_context(|| format!("auth_bind of {}", self.source.0.path.display()))? == Bound::Right)
    }
}

#[cfg(test)]
mod live_tests;
