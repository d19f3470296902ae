//! Certificates and keys out of PEM files. The only place that uses rustls-pemfile, which is archived.

use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::path::Path;

// More is no certificate chain, and would be read into memory.
const LONGEST_FILE_BYTES: u64 = 1 << 20;

fn read(path: &Path) -> io::Result<Vec<u8>> {
    if std::fs::metadata(path)?.len() > LONGEST_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is longer than 1 MiB"));
    }
    std::fs::read(path)
}

/// The certificates of a chain, the server's own first. Never empty.
pub fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let text = read(path)?;
    let chain = rustls_pemfile::certs(&mut text.as_slice()).collect::<Result<Vec<_>, _>>()?;
    if chain.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file holds no certificate (PEM, BEGIN CERTIFICATE)"));
    }
    Ok(chain)
}

/// The first private key: PKCS #8, PKCS #1 or SEC1, without a passphrase.
pub fn private_key(path: &Path) -> io::Result<PrivateKeyDer<'static>> {
    let text = read(path)?;
    rustls_pemfile::private_key(&mut text.as_slice())?.ok_or_else(|| {
        let encrypted = text.windows(9).any(|w| w == b"ENCRYPTED");
        let reason = if encrypted { "the key is encrypted; remove its passphrase" } else { "the file holds no private key (PEM)" };
        io::Error::new(io::ErrorKind::InvalidData, reason)
    })
}
