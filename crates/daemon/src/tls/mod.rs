//! TLS as a server: certificates chosen by name, taken anew while sessions run.
//!
//! TLS 1.2 and 1.3 with aws-lc-rs; nothing older. A client that announces an application protocol other than ours gets an alert
//! (ALPACA). Sessions are resumed by tickets whose keys live and rotate in this process.

mod client;
mod der;
mod pem;
mod resolver;

use arc_swap::ArcSwapOption;
use client::{Asking, Trust};
use config::{Config, Tls, TlsVersion};
use resolver::Certificates;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::TlsAcceptor;

pub(crate) use client::fingerprints;
pub use pem::{certificates, private_key};

/// Why certificates were not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("tls: {}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("tls: {} does not belong to {}: {error}", key.display(), cert.display())]
    Pair { cert: PathBuf, key: PathBuf, error: rustls::Error },
    #[error("tls: {}: {why}", shown(file))]
    Roots { file: PathBuf, why: String },
    #[error("tls: cert_file and key_file go together; one of them is empty")]
    Half,
    #[error("tls: {0}")]
    Setup(#[from] rustls::Error),
}

/// What a server needs for TLS handshakes. Shared by all listeners; replaced as a whole on reload.
#[derive(Debug)]
pub struct ServerTls {
    alpn: Option<&'static str>,
    ticketer: Option<Arc<dyn rustls::server::ProducesTickets>>,
    current: ArcSwapOption<Loaded>,
}

#[derive(Debug)]
pub(crate) struct Loaded {
    settings: Tls,
    config: Arc<ServerConfig>,
    /// The same, and clients are asked for a certificate.
    asking: Arc<ServerConfig>,
    trust: Option<Trust>,
    certificates: Arc<Certificates>,
    // Device, inode, size and change time of each file when it was read.
    stamps: Vec<Stamp>,
}

type Stamp = (u64, u64, u64, i64, i64);

/// Settings and certificates that were read and found sound, not in force yet.
#[derive(Debug)]
pub struct Prepared(Option<Arc<Loaded>>);

impl ServerTls {
    /// A server without certificates; [`ServerTls::prepare`] and [`ServerTls::take`] give it some.
    pub fn new(alpn: Option<&'static str>) -> Result<ServerTls, Error> {
        let ticketer = match alpn {
            Some(_) => Some(rustls::crypto::aws_lc_rs::Ticketer::new()?),
            None => None,
        };
        Ok(ServerTls { alpn, ticketer, current: ArcSwapOption::empty() })
    }

    /// Reads the certificates that `config` names. Reads files.
    pub fn prepare(&self, config: &Config) -> Result<Prepared, Error> {
        let (Some(alpn), Some(ticketer)) = (self.alpn, &self.ticketer) else { return Ok(Prepared(None)) };
        let settings = &config.tls;
        let pairs = pairs(settings)?;
        if pairs.is_empty() {
            return Ok(Prepared(None));
        }
        // Before reading: a file that changes meanwhile is then read again.
        let stamps = stamps(settings);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let certificates = Arc::new(Certificates::load(&pairs, &provider)?);
        let versions: &[&rustls::SupportedProtocolVersion] = match settings.min_protocol {
            TlsVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            TlsVersion::Tls13 => &[&rustls::version::TLS13],
        };
        let roots = match settings.ca_file.as_os_str().is_empty() {
            true => None,
            false => Some(roots(&settings.ca_file)?),
        };
        let asking = Arc::new(Asking::new(&provider, roots.as_ref()));
        let server = |asking: Option<Arc<Asking>>| {
            let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions)?;
            let builder = match asking {
                Some(asking) => builder.with_client_cert_verifier(asking),
                None => builder.with_no_client_auth(),
            };
            let mut server = builder.with_cert_resolver(certificates.clone());
            // Once it is set, rustls answers a client that offers only others with no_application_protocol (RFC 7301 §3.2).
            server.alpn_protocols = vec![alpn.as_bytes().to_vec()];
            server.ticketer = ticketer.clone();
            server.send_tls13_tickets = 2;
            // Stateless tickets serve both versions; a cache beside them would only hold memory.
            server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
            Ok::<_, rustls::Error>(Arc::new(server))
        };
        let (config, asking) = (server(None)?, server(Some(asking))?);
        let trust = roots.map(|roots| Trust::new(roots, &provider)).transpose()?;
        Ok(Prepared(Some(Arc::new(Loaded { settings: settings.clone(), config, asking, trust, certificates, stamps }))))
    }

    /// Puts what was prepared in force for handshakes from now on; running sessions keep what they have.
    pub fn take(&self, prepared: Prepared) {
        self.current.store(prepared.0);
    }

    /// Whether there is a certificate, so that STARTTLS may be offered.
    pub fn is_available(&self) -> bool {
        self.current.load().is_some()
    }

    /// Whether this program serves TLS at all, with or without a certificate at the moment.
    pub fn is_served(&self) -> bool {
        self.alpn.is_some()
    }

    /// Whether a certificate or key file is another than when it was read. Asks the file system.
    pub fn files_changed(&self) -> bool {
        self.current.load().as_ref().is_some_and(|loaded| stamps(&loaded.settings) != loaded.stamps)
    }

    /// Whether clients of IMAP and POP3 are asked for a certificate.
    pub(crate) fn asks(&self) -> bool {
        self.current.load().as_ref().is_some_and(|loaded| loaded.settings.ssl_verify_client_cert)
    }

    /// What is in force for a handshake that begins now.
    pub(crate) fn loaded(&self) -> io::Result<Arc<Loaded>> {
        self.current.load_full().ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "no certificate is set"))
    }

    pub(crate) fn handshake_timeout(&self) -> Duration {
        self.current.load().as_ref().map_or(Duration::from_secs(30), |loaded| loaded.settings.handshake_timeout)
    }
}

impl Loaded {
    /// What answers a handshake, asking for the client's certificate or not.
    pub fn acceptor(&self, asking: bool) -> TlsAcceptor {
        TlsAcceptor::from(if asking { self.asking.clone() } else { self.config.clone() })
    }

    /// See [`Certificates::end_point`].
    pub fn end_point(&self, name: Option<&str>) -> Option<Vec<u8>> {
        self.certificates.end_point(name)
    }

    /// Whom the client's certificates name, when that is to be known.
    pub fn person(&self, chain: Option<&[CertificateDer<'_>]>) -> Option<String> {
        let trust = self.trust.as_ref().filter(|_| self.settings.auth_ssl_username_from_cert)?;
        trust.person(chain?)
    }
}

/// The certificates of `file`, by which others are verified; of the system when it is empty. Reads files.
pub fn roots(file: &Path) -> Result<RootCertStore, Error> {
    let fail = |why: String| Error::Roots { file: file.to_owned(), why };
    let certificates = if file.as_os_str().is_empty() {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "a certificate of the system cannot be read");
        }
        found.certs
    } else {
        certificates(file).map_err(|error| fail(error.to_string()))?
    };
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(fail("there is no certificate to verify others with".into()));
    }
    Ok(roots)
}

fn shown(file: &Path) -> std::path::Display<'_> {
    let file = if file.as_os_str().is_empty() { Path::new("certificates of the system") } else { file };
    file.display()
}

fn pairs(settings: &Tls) -> Result<Vec<(&Path, &Path)>, Error> {
    let mut pairs = Vec::new();
    let further = settings.certificate.iter().map(|c| (&c.cert_file, &c.key_file));
    for (cert, key) in std::iter::once((&settings.cert_file, &settings.key_file)).chain(further) {
        match (cert.as_os_str().is_empty(), key.as_os_str().is_empty()) {
            (true, true) => {}
            (false, false) => pairs.push((cert.as_path(), key.as_path())),
            _ => return Err(Error::Half),
        }
    }
    Ok(pairs)
}

fn stamps(settings: &Tls) -> Vec<Stamp> {
    let files = pairs(settings).unwrap_or_default().into_iter().flat_map(|(cert, key)| [cert, key]).chain([settings.ca_file.as_path()]);
    files
        .map(|file| match std::fs::metadata(file) {
            Ok(m) => (m.dev(), m.ino(), m.size(), m.ctime(), m.ctime_nsec()),
            Err(_) => (0, 0, 0, 0, 0),
        })
        .collect()
}

#[cfg(test)]
mod tests;
