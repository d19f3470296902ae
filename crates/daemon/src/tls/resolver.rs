//! Which certificate a client gets.

use super::{Error, der, pem};
use aws_lc_rs::digest;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::ServerName;
use std::path::Path;
use std::sync::Arc;

/// Certificates in the order of the settings; the first is for clients that name nobody we know.
#[derive(Debug)]
pub(crate) struct Certificates(Vec<Arc<CertifiedKey>>);

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

    /// The hash of the certificate that a client got which asked for this name (RFC 5929 §4.1). `None` when several might have been chosen
    /// (RSA and ECDSA for one name), or when its signature has no hash function of its own.
    pub fn end_point(&self, name: Option<&str>) -> Option<Vec<u8>> {
        let name = name.and_then(|name| ServerName::try_from(name).ok());
        let mut candidates = self.0.iter().filter(|c| name.as_ref().is_some_and(|name| Certificates::serves(c, name)));
        let certified = match (candidates.next(), candidates.next(), self.0.as_slice()) {
            (_, _, [only]) => only,
            (Some(only), None, _) => only,
            _ => return None,
        };
        let certificate = certified.cert.first()?;
        let algorithm = match *der::signature_algorithm(certificate)? {
            // md5, sha1 and sha256 with RSA; ECDSA with SHA-1 and SHA-256.
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 4 | 5 | 11] | [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 1] => &digest::SHA256,
            [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 2] => &digest::SHA256,
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 12] | [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 3] => &digest::SHA384,
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 13] | [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 4] => &digest::SHA512,
            _ => return None,
        };
        Some(digest::digest(algorithm, certificate).as_ref().to_vec())
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
