//! Which certificate a client gets.

use super::{Error, pem};
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::ServerName;
use std::path::Path;
use std::sync::Arc;

/// Certificates in the order of the settings; the first is for clients that name nobody we know.
#[derive(Debug)]
pub(super) struct Certificates(Vec<Arc<CertifiedKey>>);

impl Certificates {
    pub fn load(pairs: &[(&Path, &Path)], provider: &CryptoProvider) -> Result<Certificates, Error> {
        let mut all = Vec::new();
        for (cert, key) in pairs {
            let file = |path: &Path| {
                let path = path.to_owned();
                move |error| Error::File { path, error }
            };
            let chain = pem::certificates(cert).map_err(file(cert))?;
            let der = pem::private_key(key).map_err(file(key))?;
            let pair = |error| Error::Pair { cert: cert.to_path_buf(), key: key.to_path_buf(), error };
            // Fails when the key is not that of the first certificate.
            all.push(Arc::new(CertifiedKey::from_der(chain, der, provider).map_err(pair)?));
        }
        Ok(Certificates(all))
    }

    fn serves(certified: &CertifiedKey, name: &ServerName<'_>) -> bool {
        certified
            .cert
            .first()
            .and_then(|der| ParsedCertificate::try_from(der).ok())
            .is_some_and(|parsed| verify_server_name(&parsed, name).is_ok())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let usable = |c: &&Arc<CertifiedKey>| c.key.choose_scheme(hello.signature_schemes()).is_some();
        if self.0.len() > 1
            && let Some(name) = hello.server_name().and_then(|name| ServerName::try_from(name).ok())
            && let Some(certified) = self.0.iter().filter(usable).find(|c| Certificates::serves(c, &name))
        {
            return Some(certified.clone());
        }
        // An unknown name gets the default one: mail clients and servers ask for all sorts of names.
        self.0.iter().find(usable).or(self.0.first()).cloned()
    }
}
