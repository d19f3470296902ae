//! In the place of `ldap` where that was not built in.

use crate::dovecot_file::Fields;
use crate::names::Names;
use mail_types::Secret;
use std::convert::Infallible;
use std::net::IpAddr;
use std::path::Path;

/// There is none.
#[derive(Clone)]
pub struct LdapSource(Infallible);

/// There is none.
#[derive(Clone)]
pub struct Binding(Infallible);

impl LdapSource {
    pub fn open(_: &Path) -> anyhow::Result<LdapSource> {
        anyhow::bail!("this authd was built without LDAP: build with --features ldap")
    }

    pub fn scheme(&self) -> Option<&str> {
        match self.0 {}
    }

    pub async fn password(&self, _: &str, _: &str, _: Option<IpAddr>, _: bool) -> anyhow::Result<Option<(Fields, Option<Binding>)>> {
        match self.0 {}
    }

    pub async fn user(&self, _: &str) -> anyhow::Result<Option<Fields>> {
        match self.0 {}
    }

    pub async fn users(&self, _: &Names) -> anyhow::Result<Vec<String>> {
        match self.0 {}
    }
}

impl Binding {
    pub async fn proves(&self, _: &Secret) -> anyhow::Result<bool> {
        match self.0 {}
    }
}
