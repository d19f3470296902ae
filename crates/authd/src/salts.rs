//! Salts of SCRAM for those who have none stored: users with a plain password, and users who are not there.
//!
//! A salt is told to whoever asks for it, so it must not tell who exists: it is the same at each question, also after a restart, and different for
//! each name and each hash, as stored ones are. So it is made from both with a secret, which is kept in `scram-secret` in the state directory.

use anyhow::Context;
use aws_lc_rs::hmac;
use sasl::scram::{Hash, SALT_BYTES};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use zeroize::Zeroizing;

const FILE: &str = "scram-secret";
const SECRET_BYTES: usize = 32;

pub struct Salts(hmac::Key);

impl Salts {
    /// Reads the secret, or makes one. A lost one only makes salts change.
    pub fn open(directory: &Path) -> anyhow::Result<Salts> {
        let path = directory.join(FILE);
        let at = || format!("secret for salts {}", path.display());
        let secret = match std::fs::read(&path) {
            Ok(secret) if secret.len() == SECRET_BYTES => Zeroizing::new(secret),
            Ok(_) => Salts::make(directory, &path).with_context(at)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Salts::make(directory, &path).with_context(at)?,
            Err(error) => return Err(error).with_context(at),
        };
        Ok(Salts(hmac::Key::new(hmac::HMAC_SHA256, &secret)))
    }

    fn make(directory: &Path, path: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        let mut secret = Zeroizing::new(vec![0; SECRET_BYTES]);
        getrandom::fill(&mut secret)?;
        // Whole or not at all.
        let new = directory.join(format!("{FILE}.new"));
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&secret)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        Ok(secret)
    }

    /// The salt of a name for keys of this hash.
    pub fn of(&self, hash: Hash, name: &str) -> [u8; SALT_BYTES] {
        // No name of a hash has a NUL.
        let tag = hmac::sign(&self.0, format!("{}\0{name}", hash.mechanism()).as_bytes());
        let mut salt = [0; SALT_BYTES];
        salt.copy_from_slice(&tag.as_ref()[..SALT_BYTES]);
        salt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn salts_stay_the_same_over_restarts_and_differ_between_names() {
        let directory = tempfile::tempdir().expect("directory");
        let first = Salts::open(directory.path()).expect("made");
        let again = Salts::open(directory.path()).expect("read");
        let ann = |salts: &Salts| salts.of(Hash::Sha256, "ann@x.org");
        assert_eq!(ann(&first), ann(&again));
        assert_ne!(ann(&first), first.of(Hash::Sha256, "bob@x.org"));
        // A user whose keys are stored for both has two, so everybody has.
        assert_ne!(ann(&first), first.of(Hash::Sha1, "ann@x.org"));
        std::fs::write(directory.path().join(FILE), "short").expect("write");
        let other = Salts::open(directory.path()).expect("made anew");
        assert_ne!(ann(&first), ann(&other));
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(directory.path().join(FILE)).expect("file").permissions().mode() & 0o777, 0o600);
    }
}
