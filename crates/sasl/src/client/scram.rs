//! SCRAM (RFC 5802, RFC 7677), the client's side, without channel binding.

use super::{Error, Mechanism};
use crate::scram::{Hash, ITERATIONS, ITERATIONS_LIMIT};
use aws_lc_rs::constant_time;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use mail_types::Secret;
use std::num::NonZeroU32;
use zeroize::Zeroizing;

/// With less salt, keys of all passwords could be had from a table.
const SALT_LEAST_BYTES: usize = 8;

pub struct Scram {
    hash: Hash,
    user: String,
    password: Secret,
    nonce: String,
    state: State,
}

enum State {
    Fresh,
    Sent,
    Proved {
        signature: Vec<u8>,
    },
    /// The server has shown that it knows the password.
    Known,
    Over,
}

impl Scram {
    /// `nonce`: printable, without a comma, never used before.
    pub fn new(hash: Hash, user: &str, password: Secret, nonce: &str) -> Scram {
        Scram { hash, user: user.to_owned(), password, nonce: nonce.to_owned(), state: State::Fresh }
    }

    fn bare(&self) -> String {
        // A name that SASLprep forbids, or of which it leaves nothing, goes as it is: the server has to judge it.
        let prepared = stringprep::saslprep(&self.user).ok().filter(|name| !name.is_empty());
        let name = prepared.as_deref().unwrap_or(&self.user);
        format!("n={},r={}", name.replace('=', "=3D").replace(',', "=2C"), self.nonce)
    }

    fn first(&mut self) -> Result<Zeroizing<Vec<u8>>, Error> {
        if self.user.contains('\0') || self.password.reveal().contains('\0') {
            return Err(Error::Nul);
        }
        self.state = State::Sent;
        Ok(Zeroizing::new(format!("n,,{}", self.bare()).into_bytes()))
    }

    // server-first-message = [reserved-mext ","] nonce "," salt "," iteration-count ["," extensions]
    fn prove(&mut self, challenge: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let text = std::str::from_utf8(challenge).map_err(|_| Error::Misbehaved)?;
        let mut attributes = text.split(',');
        let mut attribute = |name: &str| attributes.next().and_then(|a| a.strip_prefix(name)).ok_or(Error::Misbehaved);
        let (nonce, salt, iterations) = (attribute("r=")?, attribute("s=")?, attribute("i=")?);
        // RFC 5802 §5.1: the nonce begins with ours, and has something of the server's.
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err(Error::Misbehaved);
        }
        let salt = BASE64.decode(salt).map_err(|_| Error::Misbehaved)?;
        let iterations: NonZeroU32 = iterations.parse().map_err(|_| Error::Misbehaved)?;
        // Our proof is a hash of the password for whoever asked: one iteration and no salt would make it cheap to guess
        // (RFC 5802 §9; RFC 7677 §4 has the least).
        if salt.len() < SALT_LEAST_BYTES || !(ITERATIONS..=ITERATIONS_LIMIT).contains(&iterations.get()) {
            return Err(Error::Misbehaved);
        }
        let salted = self.hash.salted(self.password.reveal(), &salt, iterations);
        let client = Zeroizing::new(self.hash.hmac(&salted, b"Client Key").as_ref().to_vec());
        let stored = self.hash.digest(&client);
        let without_proof = format!("c=biws,r={nonce}");
        let message = format!("{},{text},{without_proof}", self.bare());
        let signature = self.hash.hmac(stored.as_ref(), message.as_bytes());
        let proof: Vec<u8> = client.iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let server = self.hash.hmac(&salted, b"Server Key");
        self.state = State::Proved { signature: self.hash.hmac(server.as_ref(), message.as_bytes()).as_ref().to_vec() };
        Ok(Zeroizing::new(format!("{without_proof},p={}", BASE64.encode(proof)).into_bytes()))
    }
}

impl Mechanism for Scram {
    fn name(&self) -> &'static str {
        self.hash.mechanism()
    }

    fn initial(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        self.first().ok()
    }

    fn respond(&mut self, challenge: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Fresh => self.first(),
            State::Sent => self.prove(challenge),
            // server-final-message = (server-error / verifier)
            State::Proved { signature } => {
                let told = challenge.strip_prefix(b"v=").and_then(|v| BASE64.decode(v.split(|b| *b == b',').next()?).ok());
                match told.is_some_and(|told| constant_time::verify_slices_are_equal(&told, &signature).is_ok()) {
                    true => {
                        self.state = State::Known;
                        Ok(Zeroizing::default())
                    }
                    false => Err(Error::Misbehaved),
                }
            }
            State::Known | State::Over => Err(Error::OutOfTurn),
        }
    }

    fn finished(&self) -> bool {
        matches!(self.state, State::Known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc5802_and_rfc7677() {
        for (hash, nonce, challenge, want, last) in [
            (
                Hash::Sha1,
                "fyko+d2lbbFgONRv9qkxdawL",
                "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
                "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
                "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
            ),
            (
                Hash::Sha256,
                "rOprNGfwEbeRWgbNEkqO",
                "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
                "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
                "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            ),
        ] {
            let mut scram = Scram::new(hash, "user", Secret::new("pencil"), nonce);
            assert_eq!(scram.initial().expect("first").as_slice(), format!("n,,n=user,r={nonce}").as_bytes());
            assert_eq!(scram.respond(challenge.as_bytes()).expect("proof").as_slice(), want.as_bytes());
            assert!(!scram.finished());
            assert_eq!(scram.respond(last.as_bytes()).expect("the server is known").as_slice(), b"");
            assert!(scram.finished());
            assert_eq!(scram.respond(b""), Err(Error::OutOfTurn));
        }
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_left() {
        let begun = || {
            let mut scram = Scram::new(Hash::Sha1, "a=b,c", Secret::new("pencil"), "x");
            assert_eq!(scram.respond(b"").expect("first").as_slice(), b"n,,n=a=3Db=2Cc,r=x");
            scram
        };
        for challenge in [
            "r=y,s=AAAAAAAAAAA=,i=4096",
            "r=x,s=AAAAAAAAAAA=,i=4096",
            "r=xy,s=!,i=4096",
            "r=xy,s=AAAAAAAAAAA=,i=0",
            "r=xy,s=AAAAAAAAAAA=,i=1",
            "r=xy,s=AAAAAAAAAAA=,i=4095",
            "r=xy,s=AAAAAAAAAAA=,i=4000000000",
            "r=xy,s=AAAAAAAAAA==,i=4096",
            "r=xy,s=,i=4096",
            "m=1,r=xy,s=AAAAAAAAAAA=,i=4096",
            "",
        ] {
            assert_eq!(begun().respond(challenge.as_bytes()), Err(Error::Misbehaved), "{challenge}");
        }
        for last in ["v=AAAA", "e=other-error", "", "v=rmF9pqV8S7suAoZWja4dJRkFsKQ="] {
            let mut scram = begun();
            scram.respond(b"r=xy,s=AAAAAAAAAAA=,i=4096").expect("proof");
            assert_eq!(scram.respond(last.as_bytes()), Err(Error::Misbehaved), "{last}");
            assert!(!scram.finished());
        }
    }
}
