//! TLS as a client: unverified to hosts of the Internet, whose certificates say nothing without MTA-STS or DANE; verified where
//! a password is sent.

use crate::SetupError;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The two ways of trusting a server.
#[derive(Clone)]
pub(crate) struct ClientTls {
    anybody: Arc<ClientConfig>,
    /// Only made when there is a password to send.
    verified: Option<Arc<ClientConfig>>,
}

impl ClientTls {
    /// `verify_by`: make the verifying way too, by this file of certificates or, when it is empty, by those of the system. Reads files.
    pub fn new(verify_by: Option<&Path>) -> Result<ClientTls, SetupError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = || {
            ClientConfig::builder_with_provider(provider.clone())
                .with_safe_default_protocol_versions()
                .map_err(|e| SetupError::Tls(e.to_string()))
        };
        let anybody = builder()?.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider.clone()))).with_no_client_auth();
        let verified = match verify_by {
            None => None,
            Some(file) => Some(Arc::new(builder()?.with_root_certificates(roots(file)?).with_no_client_auth())),
        };
        Ok(ClientTls { anybody: Arc::new(anybody), verified })
    }

    /// Makes TLS on a connection to `host`, a name or an address.
    pub async fn connect(&self, host: &str, verify: bool, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = match (verify, &self.verified) {
            (false, _) => &self.anybody,
            (true, Some(verified)) => verified,
            (true, None) => return Err(io::Error::other("no certificates to verify the server with")),
        };
        let name =
            ServerName::try_from(host.to_owned()).map_err(|_| io::Error::other("the name of the server cannot stand in a certificate"))?;
        TlsConnector::from(config.clone()).connect(name, stream).await
    }
}

fn roots(file: &Path) -> Result<RootCertStore, SetupError> {
    let mut roots = RootCertStore::empty();
    let certificates = if file.as_os_str().is_empty() {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "a certificate of the system cannot be read");
        }
        found.certs
    } else {
        daemon::tls::certificates(file).map_err(|e| SetupError::CaFile { path: file.to_owned(), why: e.to_string() })?
    };
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        let why = "there is no certificate to verify the relay host with".to_owned();
        return Err(SetupError::CaFile { path: file.to_owned(), why });
    }
    Ok(roots)
}

/// Takes every certificate; the signatures of the handshake still have to be those of its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
