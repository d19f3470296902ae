//! PBKDF2 (RFC 8018 §5.2) with HMAC-SHA-1, as Dovecot writes it: `$1$salt$rounds$hash`, the salt as it is, the hash in hex.

use crate::{Unusable, Writing, bytes_of, same};
use aws_lc_rs::pbkdf2::{PBKDF2_HMAC_SHA1, derive};
use std::num::NonZeroU32;

const NAME: &str = "PBKDF2";
const LENGTH_BYTES: usize = 20;
pub(crate) const ROUNDS_LIMIT: u32 = 10_000_000;

pub(crate) fn matches(text: &str, password: &str) -> Result<bool, Unusable> {
    let mut fields = text.strip_prefix("$1$").ok_or(Unusable::Malformed(NAME))?.split('$');
    let (Some(salt), Some(rounds), Some(hash), None) = (fields.next(), fields.next(), fields.next(), fields.next()) else {
        return Err(Unusable::Malformed(NAME));
    };
    let rounds: NonZeroU32 = rounds.parse().map_err(|_| Unusable::Malformed(NAME))?;
    if rounds.get() > ROUNDS_LIMIT {
        return Err(Unusable::TooExpensive(NAME));
    }
    let hash = bytes_of(hash, Writing::Hex, NAME)?;
    if hash.len() != LENGTH_BYTES {
        return Err(Unusable::Malformed(NAME));
    }
    Ok(same(&hash, &hashed(password, salt, rounds)))
}

pub(crate) fn hashed(password: &str, salt: &str, rounds: NonZeroU32) -> [u8; LENGTH_BYTES] {
    let mut out = [0; LENGTH_BYTES];
    derive(PBKDF2_HMAC_SHA1, rounds, salt.as_bytes(), password.as_bytes(), &mut out);
    out
}
