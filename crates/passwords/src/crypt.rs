//! Hashes of crypt(3): the scheme is told by the shape.

use crate::scheme::{Kind, Scheme};
use crate::{Unusable, des_crypt};
use argon2::password_hash::phc;
use argon2::{Argon2, PasswordVerifier};
use sha_crypt::ShaCrypt;

/// Upper bounds of what a stored hash may cost; beyond is a mistake or an attack on our memory.
const ARGON2_TIME_LIMIT: u32 = 100;
/// Memory times passes: one gigabyte gone through once is about a second.
pub(crate) const ARGON2_WORK_LIMIT_KIB: u64 = 1 << 20;
/// The greatest of crypt(5) whose memory is within [`crate::MEMORY_LIMIT_BYTES`]: 2^(cost + 19) bytes.
pub(crate) const YESCRYPT_COST_LIMIT: u32 = 9;
pub(crate) const BCRYPT_COST_LIMIT: u32 = 16;
pub(crate) const SHA_CRYPT_ROUNDS_LIMIT: u32 = 10_000_000;

/// How crypt(3) writes six bits; not base64.
pub(crate) const LETTERS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The scheme of a hash that comes without a name.
pub(crate) fn shape(text: &str) -> Option<&'static str> {
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| text.starts_with(prefix));
    let of_crypt = |byte: u8| LETTERS.contains(&byte);
    match text {
        _ if begins(&["$1$"]) => Some("MD5-CRYPT"),
        _ if begins(&["$2a$", "$2b$", "$2x$", "$2y$"]) => Some("BLF-CRYPT"),
        _ if begins(&["$5$"]) => Some("SHA256-CRYPT"),
        _ if begins(&["$6$"]) => Some("SHA512-CRYPT"),
        _ if begins(&["$y$"]) => Some("YESCRYPT"),
        _ if begins(&["$argon2id$"]) => Some("ARGON2ID"),
        _ if begins(&["$argon2i$"]) => Some("ARGON2I"),
        _ if text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit()) => Some("PLAIN-MD5"),
        _ if text.len() == 13 && text.bytes().all(of_crypt) => Some("DES-CRYPT"),
        _ => None,
    }
}

/// `{CRYPT.B64}`: the shape shows only now.
pub(crate) fn any(text: &str, password: &str) -> Result<bool, Unusable> {
    match shape(text).and_then(Scheme::named).map(|scheme| &scheme.kind) {
        Some(Kind::Text(matches)) => matches(text, password),
        _ => Err(Unusable::Unknown("of this CRYPT hash".into())),
    }
}

/// The memory that a check of this hash takes. `None`: little, or it is no hash that could be checked.
pub(crate) fn memory_bytes(text: &str) -> Option<u64> {
    match shape(text)? {
        "YESCRYPT" => yescrypt_memory_bytes(&yescrypt_params(text)?),
        "ARGON2ID" | "ARGON2I" => {
            let params = argon2::Params::try_from(&phc::PasswordHash::new(text).ok()?).ok()?;
            Some(u64::from(params.m_cost()) * 1024)
        }
        _ => None,
    }
}

fn yescrypt_params(text: &str) -> Option<yescrypt::Params> {
    text.split('$').nth(2)?.parse().ok()
}

fn yescrypt_memory_bytes(params: &yescrypt::Params) -> Option<u64> {
    params.n().checked_mul(u64::from(params.r()))?.checked_mul(u64::from(params.p()))?.checked_mul(128)
}

pub(crate) fn argon2(text: &str, password: &str) -> Result<bool, Unusable> {
    let hash = phc::PasswordHash::new(text).map_err(|_| Unusable::Malformed("ARGON2"))?;
    let params = argon2::Params::try_from(&hash).map_err(|_| Unusable::Malformed("ARGON2"))?;
    let (memory, passes) = (u64::from(params.m_cost()), params.t_cost());
    if memory * 1024 > crate::MEMORY_LIMIT_BYTES || passes > ARGON2_TIME_LIMIT || memory * u64::from(passes) > ARGON2_WORK_LIMIT_KIB {
        return Err(Unusable::TooExpensive("ARGON2"));
    }
    match Argon2::default().verify_password(password.as_bytes(), &hash) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(_) => Err(Unusable::Malformed("ARGON2")),
    }
}

pub(crate) fn bcrypt(text: &str, password: &str) -> Result<bool, Unusable> {
    let cost = text.split('$').nth(2).and_then(|cost| cost.parse::<u32>().ok()).ok_or(Unusable::Malformed("BLF-CRYPT"))?;
    if cost > BCRYPT_COST_LIMIT {
        return Err(Unusable::TooExpensive("BLF-CRYPT"));
    }
    bcrypt::verify(password, text).map_err(|_| Unusable::Malformed("BLF-CRYPT"))
}

pub(crate) fn sha_crypt(text: &str, password: &str) -> Result<bool, Unusable> {
    const NAME: &str = "SHA-CRYPT";
    let rounds = text.split('$').nth(2).and_then(|field| field.strip_prefix("rounds="));
    if let Some(rounds) = rounds {
        let rounds: u32 = rounds.parse().map_err(|_| Unusable::Malformed(NAME))?;
        if rounds > SHA_CRYPT_ROUNDS_LIMIT {
            return Err(Unusable::TooExpensive(NAME));
        }
    }
    let hash = sha_crypt::PasswordHashRef::new(text).map_err(|_| Unusable::Malformed(NAME))?;
    match ShaCrypt::default().verify_password(password.as_bytes(), hash) {
        Ok(()) => Ok(true),
        Err(sha_crypt::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(_) => Err(Unusable::Malformed(NAME)),
    }
}

pub(crate) fn yescrypt(text: &str, password: &str) -> Result<bool, Unusable> {
    const NAME: &str = "YESCRYPT";
    let hash = text.split('$').nth(4).unwrap_or_default();
    // The library would find an empty hash right for every password.
    if hash.len() != 43 {
        return Err(Unusable::Malformed(NAME));
    }
    // What it costs is known before any memory is taken. Only parameters such as libxcrypt makes: others multiply the time.
    let known = yescrypt_params(text).ok_or(Unusable::Malformed(NAME))?;
    let usual = yescrypt::Params::new(yescrypt::Mode::default(), known.n(), known.r(), known.p()).is_ok_and(|usual| usual == known);
    if !usual || yescrypt_memory_bytes(&known).is_none_or(|bytes| bytes > crate::MEMORY_LIMIT_BYTES) {
        return Err(Unusable::TooExpensive(NAME));
    }
    let hash = yescrypt::PasswordHashRef::new(text).map_err(|_| Unusable::Malformed(NAME))?;
    match yescrypt::Yescrypt::default().verify_password(password.as_bytes(), hash) {
        Ok(()) => Ok(true),
        Err(yescrypt::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(_) => Err(Unusable::Malformed(NAME)),
    }
}

pub(crate) fn des(text: &str, password: &str) -> Result<bool, Unusable> {
    des_crypt::matches(text, password.as_bytes())
}
