//! A certificate that signs itself: enough to try TLS with, and for clients that are told to trust it.

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use std::path::Path;
use std::time::{Duration, SystemTime};

const LIFETIME: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Writes certificate and key for `names` where they are not there. The key is readable by its owner only.
pub fn make(cert: &Path, key: &Path, names: &[String]) -> anyhow::Result<()> {
    if cert.exists() && key.exists() {
        return Ok(());
    }
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, names.first().map_or("localhost", String::as_str));
    // A day back, for clients whose clock is late.
    params.not_before = (SystemTime::now() - Duration::from_secs(86_400)).into();
    params.not_after = (SystemTime::now() + LIFETIME).into();
    let pair = KeyPair::generate()?;
    let made = params.self_signed(&pair)?;
    // Both outlive a power cut: a start that finds an empty file has no way on.
    durable::replace(&durable::OsDisk, key, pair.serialize_pem().as_bytes(), 0o600)?;
    durable::replace(&durable::OsDisk, cert, made.pem().as_bytes(), 0o644)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_there_is_kept_and_the_key_is_private() {
        let dir = tempfile::tempdir().expect("directory");
        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        make(&cert, &key, &["mx.test".into(), "127.0.0.1".into()]).expect("made");
        assert_eq!(std::fs::metadata(&key).expect("key").permissions().mode() & 0o777, 0o600);
        assert_eq!(daemon::tls::certificates(&cert).expect("reads").len(), 1);
        daemon::tls::private_key(&key).expect("reads");
        let before = std::fs::read(&cert).expect("read");
        make(&cert, &key, &["other.test".into()]).expect("kept");
        assert_eq!(std::fs::read(&cert).expect("read"), before);
    }
}
