//! TLS as a client: how much of the server's certificate is believed follows from the policy of its destination.
//!
//! Unverified to hosts of the Internet in general, whose certificates say nothing without MTA-STS or DANE; by fingerprint or by a chain to those
//! whom we trust where a policy or a password asks for it. Sessions are resumed, each only under the policy that it was made by.

use crate::SetupError;
use crate::policy::{NameMatch, Policy};
use aws_lc_rs::digest;
use config::FingerprintDigest;
use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Policies, each with its next hop, whose sessions are remembered at the same time.
const REMEMBERED: usize = 256;

/// Whom a connection goes to, and what has to be proved there.
#[derive(Clone, Copy)]
pub(crate) struct Trust<'a> {
    pub tls: &'a ClientTls,
    /// Name or address of the server.
    pub host: &'a str,
    /// The name of the destination that it serves.
    pub nexthop: &'a str,
    pub policy: &'a Arc<Policy>,
}

impl Trust<'_> {
    /// One line about a handshake, with the words of Postfix.
    pub fn log(&self, host: &str, stream: &TlsStream<TcpStream>) {
        let connection = stream.get_ref().1;
        tracing::info!(
            host = %host,
            level = self.policy.level.as_str(),
            protocol = connection.protocol_version().and_then(|version| version.as_str()).unwrap_or("unknown"),
            cipher = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("unknown"),
            resumed = connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
            "{} TLS connection established",
            if self.policy.is_verified() { "verified" } else { "untrusted" }
        );
    }
}

/// Makes TLS. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ClientTls(Arc<Inner>);

struct Inner {
    provider: Arc<CryptoProvider>,
    /// Read at start where the settings verify hosts; else when the first message demands it.
    roots: OnceLock<Arc<RootCertStore>>,
    ca_file: PathBuf,
    digest: FingerprintDigest,
    made: Mutex<HashMap<Judgement, Arc<ClientConfig>>>,
}

/// What a certificate is judged by: sessions resumed under one of these were judged by the same.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Judgement {
    policy: Arc<Policy>,
    /// Host and next hop, as far as they count.
    names: Option<(String, String)>,
}

impl ClientTls {
    /// Certificates are verified by `ca_file` or, when it is empty, by those of the system. `verifies`: the settings do so; reads files.
    pub fn new(ca_file: &Path, verifies: bool, digest: FingerprintDigest) -> Result<ClientTls, SetupError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let known = if verifies {
            OnceLock::from(Arc::new(
                daemon::tls::roots(ca_file).map_err(|e| SetupError::CaFile { path: ca_file.to_owned(), why: e.to_string() })?,
            ))
        } else {
            OnceLock::new()
        };
        Ok(ClientTls(Arc::new(Inner { provider, roots: known, ca_file: ca_file.to_owned(), digest, made: Mutex::default() })))
    }

    /// Makes TLS on a connection to `host`, a name or an address, which serves `nexthop`.
    pub async fn connect(&self, host: &str, nexthop: &str, policy: &Arc<Policy>, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = server_name(host).ok_or_else(|| io::Error::other("the name of the server cannot stand in a certificate"))?;
        let names = (!policy.names.is_empty()).then(|| (host.to_owned(), nexthop.to_owned()));
        let config = self.0.config(Judgement { policy: policy.clone(), names })?;
        TlsConnector::from(config).connect(name, stream).await
    }
}

impl Inner {
    fn config(&self, trust: Judgement) -> io::Result<Arc<ClientConfig>> {
        if let Some(made) = self.made.lock().get(&trust) {
            return Ok(made.clone());
        }
        let mut versions = Vec::new();
        versions.extend(trust.policy.versions.tls12.then_some(&rustls::version::TLS12));
        versions.extend(trust.policy.versions.tls13.then_some(&rustls::version::TLS13));
        let judge = Judge { provider: self.provider.clone(), roots: self.roots(&trust.policy)?, digest: self.digest, trust: trust.clone() };
        let config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&versions)
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(judge))
            .with_no_client_auth();
        let config = Arc::new(config);
        let mut made = self.made.lock();
        if made.len() >= REMEMBERED {
            made.clear();
        }
        made.insert(trust, config.clone());
        Ok(config)
    }
}

impl Inner {
    /// What cannot be read now says nothing about the host: its mail waits, and they are read again.
    fn roots(&self, policy: &Policy) -> io::Result<Arc<RootCertStore>> {
        if let Some(roots) = self.roots.get() {
            return Ok(roots.clone());
        }
        if policy.names.is_empty() {
            return Ok(Arc::new(RootCertStore::empty()));
        }
        let read = daemon::tls::roots(&self.ca_file).map_err(|error| {
            tracing::error!(%error, "other hosts cannot be verified");
            io::Error::other(format!("other hosts cannot be verified: {error}"))
        })?;
        Ok(self.roots.get_or_init(|| Arc::new(read)).clone())
    }
}

fn server_name(text: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(text.to_owned()).ok()
}

/// Judges certificates by a policy; the signatures of the handshake have to be those of the certificate's key in any case.
struct Judge {
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    digest: FingerprintDigest,
    trust: Judgement,
}

impl std::fmt::Debug for Judge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Judge({:?})", self.trust.policy.level)
    }
}

impl Judge {
    fn has_fingerprint(&self, certificate: &CertificateDer<'_>) -> bool {
        let algorithm = match self.digest {
            FingerprintDigest::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            FingerprintDigest::Sha256 => &digest::SHA256,
            FingerprintDigest::Sha384 => &digest::SHA384,
            FingerprintDigest::Sha512 => &digest::SHA512,
        };
        let is_listed = |bytes: &[u8]| {
            let found = digest::digest(algorithm, bytes);
            self.trust.policy.fingerprints.iter().any(|wanted| wanted == found.as_ref())
        };
        let key = ParsedCertificate::try_from(certificate).map(|parsed| parsed.subject_public_key_info());
        is_listed(certificate) || key.is_ok_and(|key| is_listed(&key))
    }

    fn has_name(&self, certificate: &CertificateDer<'_>, parsed: &ParsedCertificate<'_>) -> bool {
        let (host, nexthop) = self.trust.names.as_ref().map_or(("", ""), |(host, nexthop)| (host, nexthop));
        let is = |name: &str| server_name(name).is_some_and(|name| verify_server_name(parsed, &name).is_ok());
        let below = |domain: &str| {
            let end = format!(".{domain}");
            let is_below = |name: &str| name.len() > end.len() && name.to_ascii_lowercase().ends_with(&end);
            webpki::EndEntityCert::try_from(certificate).is_ok_and(|certificate| certificate.valid_dns_names().any(is_below))
        };
        self.trust.policy.names.iter().any(|wanted| match wanted {
            NameMatch::Hostname => is(host),
            NameMatch::Nexthop => is(nexthop),
            NameMatch::DotNexthop => below(nexthop),
            NameMatch::Name(name) => is(name),
            NameMatch::Below(name) => below(name),
        })
    }
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let policy = &self.trust.policy;
        if !policy.is_verified() {
            return Ok(ServerCertVerified::assertion());
        }
        if policy.names.is_empty() {
            return match self.has_fingerprint(certificate) {
                true => Ok(ServerCertVerified::assertion()),
                false => Err(Error::General("the certificate has none of the fingerprints".into())),
            };
        }
        let parsed = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
        if self.has_name(certificate, &parsed) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::NotValidForName))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
