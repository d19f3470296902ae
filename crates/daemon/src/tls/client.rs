//! Certificates of clients: asked for in the handshake, judged after it.
//!
//! Another mail server shows whatever certificate it has, and its mail is taken all the same; a handshake that only those survive whom we know would
//! keep the others out. So any certificate is taken whose key the client has, and only one that `ca_file` vouches for names somebody.

use super::{Error, der};
use aws_lc_rs::digest::{SHA256, digest};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use std::sync::Arc;

/// Asks for a certificate, and takes any.
#[derive(Debug)]
pub(super) struct Asking {
    algorithms: WebPkiSupportedAlgorithms,
    /// Whose certificates are of use here: clients with several choose by that.
    hints: Vec<DistinguishedName>,
}

impl Asking {
    pub fn new(provider: &CryptoProvider, roots: Option<&RootCertStore>) -> Asking {
        Asking { algorithms: provider.signature_verification_algorithms, hints: roots.map(RootCertStore::subjects).unwrap_or_default() }
    }
}

impl ClientCertVerifier for Asking {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Those who may vouch for clients.
#[derive(Debug)]
pub(super) struct Trust(Arc<dyn ClientCertVerifier>);

impl Trust {
    pub fn new(roots: RootCertStore, provider: &Arc<CryptoProvider>) -> Result<Trust, Error> {
        let built = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
        Ok(Trust(built.map_err(|error| rustls::Error::General(error.to_string()))?))
    }

    /// Whom a chain names that is vouched for.
    pub fn person(&self, chain: &[CertificateDer<'_>]) -> Option<String> {
        let (own, intermediates) = chain.split_first()?;
        match self.0.verify_client_cert(own, intermediates, UnixTime::now()) {
            Ok(_) => der::person(own),
            Err(error) => {
                tracing::info!(%error, "a client's certificate is not trusted");
                None
            }
        }
    }
}

/// SHA-256 of a client's own certificate and of the key in it, which stays when a certificate is renewed.
pub(crate) fn fingerprints(chain: &[CertificateDer<'_>]) -> Vec<String> {
    let Some(own) = chain.first() else { return Vec::new() };
    let key = ParsedCertificate::try_from(own).ok().map(|parsed| parsed.subject_public_key_info());
    let written = |bytes: &[u8]| {
        let hex = digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>();
        hex.join(":")
    };
    std::iter::once(written(own)).chain(key.as_deref().map(written)).collect()
}
