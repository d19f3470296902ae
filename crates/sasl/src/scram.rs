//! SCRAM (RFC 5802, RFC 7677): what a server keeps of a password, and the arithmetic both sides share.
//!
//! ```text
//! SaltedPassword := Hi(Normalize(password), salt, i)
//! ClientKey      := HMAC(SaltedPassword, "Client Key")         StoredKey := H(ClientKey)
//! ServerKey      := HMAC(SaltedPassword, "Server Key")
//! ClientProof    := ClientKey XOR HMAC(StoredKey, AuthMessage)
//! ```
//! Who reads the keys of a server can check logins, not log in; who reads those and sees one exchange can.

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::num::NonZeroU32;
use zeroize::Zeroizing;

/// The fewest iterations that a server may announce (RFC 7677 §4); also what Dovecot makes.
pub const ITERATIONS: u32 = 4_096;
/// More is a mistake, or somebody who wants us to be busy.
pub const ITERATIONS_LIMIT: u32 = 1_000_000;
/// Length of new salts.
pub const SALT_BYTES: usize = 16;
const SALT_LIMIT_BYTES: usize = 1_024;

/// The hash function that gives a mechanism its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hash {
    Sha1,
    Sha256,
}

impl Hash {
    /// `SCRAM-SHA-1`, `SCRAM-SHA-256`: names of mechanisms and of password schemes.
    pub fn mechanism(self) -> &'static str {
        match self {
            Hash::Sha1 => "SCRAM-SHA-1",
            Hash::Sha256 => "SCRAM-SHA-256",
        }
    }

    pub(crate) fn digest(self, bytes: &[u8]) -> digest::Digest {
        digest::digest(self.algorithm(), bytes)
    }

    pub(crate) fn hmac(self, key: &[u8], bytes: &[u8]) -> hmac::Tag {
        let algorithm = match self {
            Hash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Hash::Sha256 => hmac::HMAC_SHA256,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), bytes)
    }

    fn algorithm(self) -> &'static digest::Algorithm {
        match self {
            Hash::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Hash::Sha256 => &digest::SHA256,
        }
    }

    fn length(self) -> usize {
        self.algorithm().output_len()
    }

    /// Hi(password, salt, iterations): PBKDF2 with one block. The password after SASLprep, where that allows it.
    pub(crate) fn salted(self, password: &str, salt: &[u8], iterations: NonZeroU32) -> Zeroizing<Vec<u8>> {
        let prepared = stringprep::saslprep(password).ok().filter(|p| !p.is_empty());
        let algorithm = match self {
            Hash::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Hash::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
        };
        let mut salted = Zeroizing::new(vec![0; self.length()]);
        pbkdf2::derive(algorithm, iterations, salt, prepared.as_deref().unwrap_or(password).as_bytes(), &mut salted);
        salted
    }
}

/// What a server keeps of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    pub hash: Hash,
    pub iterations: u32,
    pub salt: Vec<u8>,
    stored: Zeroizing<Vec<u8>>,
    server: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("hash", &self.hash).field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl Keys {
    /// Makes keys from a password; `iterations` of 0 count as 1. Slow on purpose.
    pub fn derive(hash: Hash, password: &str, salt: &[u8], iterations: u32) -> Keys {
        let rounds = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
        let salted = hash.salted(password, salt, rounds);
        let client = Zeroizing::new(hash.hmac(&salted, b"Client Key").as_ref().to_vec());
        Keys {
            hash,
            iterations: rounds.get(),
            salt: salt.to_vec(),
            stored: Zeroizing::new(hash.digest(&client).as_ref().to_vec()),
            server: Zeroizing::new(hash.hmac(&salted, b"Server Key").as_ref().to_vec()),
        }
    }

    /// Reads `iterations,salt,StoredKey,ServerKey`, the last three in base64: Dovecot's way to write them. `None` for anything else,
    /// and for more iterations than are good for anybody.
    pub fn parse(hash: Hash, text: &str) -> Option<Keys> {
        let mut fields = text.split(',');
        let iterations = fields.next()?.parse().ok().filter(|n| (1..=ITERATIONS_LIMIT).contains(n))?;
        let mut bytes = || BASE64.decode(fields.next()?).ok();
        let (salt, stored, server) = (bytes()?, bytes()?, bytes()?);
        let sound = fields.next().is_none() && !salt.is_empty() && salt.len() <= SALT_LIMIT_BYTES;
        let sound = sound && stored.len() == hash.length() && server.len() == hash.length();
        sound.then(|| Keys { hash, iterations, salt, stored: Zeroizing::new(stored), server: Zeroizing::new(server) })
    }

    /// The form that [`Keys::parse`] reads.
    pub fn text(&self) -> String {
        let [salt, stored, server] = [&self.salt, &*self.stored, &*self.server].map(|bytes| BASE64.encode(bytes));
        format!("{},{salt},{stored},{server}", self.iterations)
    }

    /// Whether these are the keys of `password`. As slow as [`Keys::derive`].
    pub fn are_of(&self, password: &str) -> bool {
        let other = Keys::derive(self.hash, password, &self.salt, self.iterations);
        constant_time::verify_slices_are_equal(&other.stored, &self.stored).is_ok()
    }

    /// Whether `proof` shows knowledge of the password (RFC 5802 §3: H(ClientProof XOR ClientSignature) = StoredKey).
    pub(crate) fn prove(&self, proof: &[u8], message: &[u8]) -> bool {
        let signature = self.hash.hmac(&self.stored, message);
        if proof.len() != signature.as_ref().len() {
            return false;
        }
        let client: Zeroizing<Vec<u8>> = Zeroizing::new(proof.iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect());
        constant_time::verify_slices_are_equal(self.hash.digest(&client).as_ref(), &self.stored).is_ok()
    }

    pub(crate) fn signature(&self, message: &[u8]) -> Vec<u8> {
        self.hash.hmac(&self.server, message).as_ref().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_and_read_as_dovecot_does() {
        // `doveadm pw -s SCRAM-SHA-1 -p 'clé 42'`, likewise SHA-256.
        let made = [
            (Hash::Sha1, "4096,Zjw1/7+K9CnyChdIrjsxcQ==,gIfrfbscrSz1VJrO2N34/gzK4SY=,pJN3Ipo3jJya91euH29rA4cRbSg="),
            (
                Hash::Sha256,
                "4096,rbLkIvSJRPc39c9BBN4vhQ==,4Vg8SJy/OcteDlyszsCTk4qGPRkBHeqvtSlvLCxQ4W8=,l09APc/Le/155ZmJmljAwFNwjxPs6L5AcpXIWTWVfQ8=",
            ),
        ];
        for (hash, text) in made {
            let keys = Keys::parse(hash, text).expect("keys");
            assert!(keys.are_of("clé 42"));
            assert!(!keys.are_of("clé 43"));
            assert_eq!(keys.text(), text);
            assert_eq!(Keys::derive(hash, "clé 42", &keys.salt, 4096), keys);
        }
        for bad in [
            "",
            "4096",
            "0,AAAA,AAAA,AAAA",
            "4096,AAAA,AAAA,AAAA",
            "99999999,AAAA,gIfrfbscrSz1VJrO2N34/gzK4SY=,pJN3Ipo3jJya91euH29rA4cRbSg=",
            "4096,,gIfrfbscrSz1VJrO2N34/gzK4SY=,pJN3Ipo3jJya91euH29rA4cRbSg=",
            "4096,AAAA,gIfrfbscrSz1VJrO2N34/gzK4SY=,pJN3Ipo3jJya91euH29rA4cRbSg=,x",
        ] {
            assert!(Keys::parse(Hash::Sha1, bad).is_none(), "{bad}");
        }
    }
}
