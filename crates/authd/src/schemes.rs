//! Password schemes: how a stored password is compared with the one a client sent.
//!
//! A stored password is `{SCHEME}text`, with Dovecot's names; `.b64` or `.hex` behind the name says how the text is written. Without a name
//! a default scheme holds; `CRYPT` tells the scheme from the shape (`$6$…`), as crypt(3). All comparisons take the same time
//! wherever the difference lies. Checking is slow on purpose for the good schemes; it belongs on [`crate::pool`].

mod md5_crypt;

use argon2::password_hash::phc;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use aws_lc_rs::{constant_time, digest};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use md5::{Digest, Md5};
use sha_crypt::ShaCrypt;
use zeroize::Zeroizing;

/// Upper bounds of what a stored hash may cost; beyond is a mistake or an attack on our memory.
const ARGON2_MEMORY_LIMIT_KIB: u32 = 1 << 20;
const ARGON2_TIME_LIMIT: u32 = 100;
const BCRYPT_COST_LIMIT: u32 = 16;
const SHA_CRYPT_ROUNDS_LIMIT: u32 = 10_000_000;

/// The schemes that new passwords can be hashed with, the default first.
pub const NEW: &[&str] = &["ARGON2ID", "BLF-CRYPT", "SHA512-CRYPT", "SHA256-CRYPT", "SSHA512", "SSHA256", "PLAIN"];

/// Cost of new hashes. The most expensive one still checks in well below a tenth of a second.
const NEW_BCRYPT_COST: u32 = 10;

/// A stored password cannot be compared with anything. Says nothing of its content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("unknown password scheme {0}")]
    Unknown(String),
    #[error("malformed {0} hash")]
    Malformed(&'static str),
    #[error("a {0} hash that would cost too much")]
    TooExpensive(&'static str),
    #[error("{0} failed")]
    Failed(&'static str),
}

/// The scheme of a stored password, in upper case and without `.b64`, and the text behind it.
pub fn split<'a>(stored: &'a str, default_scheme: &str) -> (String, Option<Writing>, &'a str) {
    let (name, text) = match stored.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        Some((name, text)) => (name.to_ascii_uppercase(), text),
        None => (default_scheme.to_ascii_uppercase(), stored),
    };
    for (suffix, writing) in [(".B64", Writing::Base64), (".BASE64", Writing::Base64), (".HEX", Writing::Hex)] {
        if let Some(name) = name.strip_suffix(suffix) {
            return (name.to_owned(), Some(writing), text);
        }
    }
    (name, None, text)
}

/// How bytes are written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writing {
    Base64,
    Hex,
}

/// Whether `password` is the one that is stored.
pub fn verify(stored: &str, default_scheme: &str, password: &str) -> Result<bool, Unusable> {
    let (name, writing, text) = split(stored, default_scheme);
    let password = password.as_bytes();
    match name.as_str() {
        "PLAIN" | "CLEAR" | "CLEARTEXT" => match writing {
            None => Ok(same(text.as_bytes(), password)),
            Some(writing) => Ok(same(&Zeroizing::new(bytes_of(text, writing, "PLAIN")?), password)),
        },
        "CRYPT" => crypt(text, password),
        "ARGON2ID" | "ARGON2I" | "ARGON2" => argon2(text, password),
        "BLF-CRYPT" => bcrypt(text, password),
        "SHA512-CRYPT" | "SHA256-CRYPT" => sha_crypt(text, password),
        "MD5-CRYPT" => md5_crypt::verify(text, password),
        // Dovecot's MD5 is either, by its shape.
        "MD5" if text.starts_with("$1$") => md5_crypt::verify(text, password),
        "MD5" | "PLAIN-MD5" | "LDAP-MD5" => {
            let hashed = hash_bytes(text, writing, 16, "MD5")?;
            Ok(same(&hashed, &Md5::digest(password)))
        }
        "SMD5" => salted(text, writing, 16, "SMD5", |parts| Md5::digest(parts.concat()).to_vec(), password),
        "SHA" | "SHA1" => plain_digest(text, writing, &digest::SHA1_FOR_LEGACY_USE_ONLY, "SHA1", password),
        "SHA256" => plain_digest(text, writing, &digest::SHA256, "SHA256", password),
        "SHA512" => plain_digest(text, writing, &digest::SHA512, "SHA512", password),
        "SSHA" => salted_digest(text, writing, &digest::SHA1_FOR_LEGACY_USE_ONLY, "SSHA", password),
        "SSHA256" => salted_digest(text, writing, &digest::SHA256, "SSHA256", password),
        "SSHA512" => salted_digest(text, writing, &digest::SHA512, "SSHA512", password),
        _ => Err(Unusable::Unknown(mail_types::printable(&name))),
    }
}

/// Whether a hash made elsewhere could be checked here; for hashes that an administrator brings along.
pub fn check_usable(stored: &str, default_scheme: &str) -> Result<(), Unusable> {
    // A wrong password finds every fault that the right one would.
    verify(stored, default_scheme, "\u{1}").map(drop)
}

/// Hashes a new password; the result names its scheme.
pub fn hash(scheme: &str, password: &str) -> Result<String, Unusable> {
    let scheme = scheme.to_ascii_uppercase();
    let bytes = password.as_bytes();
    let text = match scheme.as_str() {
        "ARGON2ID" => Argon2::default().hash_password(bytes).map_err(|_| Unusable::Failed("ARGON2ID"))?.to_string(),
        "BLF-CRYPT" => bcrypt::hash(bytes, NEW_BCRYPT_COST).map_err(|_| Unusable::Failed("BLF-CRYPT"))?,
        "SHA512-CRYPT" => ShaCrypt::SHA512.hash_password(bytes).map_err(|_| Unusable::Failed("SHA512-CRYPT"))?.as_str().to_owned(),
        "SHA256-CRYPT" => ShaCrypt::SHA256.hash_password(bytes).map_err(|_| Unusable::Failed("SHA256-CRYPT"))?.as_str().to_owned(),
        "SSHA512" => new_salted(&digest::SHA512, bytes)?,
        "SSHA256" => new_salted(&digest::SHA256, bytes)?,
        "PLAIN" => password.to_owned(),
        _ => return Err(Unusable::Unknown(mail_types::printable(&scheme))),
    };
    Ok(format!("{{{scheme}}}{text}"))
}

fn same(a: &[u8], b: &[u8]) -> bool {
    // The lengths of two digests are the same whatever they are of.
    let (a, b) = (digest::digest(&digest::SHA256, a), digest::digest(&digest::SHA256, b));
    constant_time::verify_slices_are_equal(a.as_ref(), b.as_ref()).is_ok()
}

fn crypt(text: &str, password: &[u8]) -> Result<bool, Unusable> {
    match text.as_bytes() {
        [b'$', b'1', b'$', ..] => md5_crypt::verify(text, password),
        [b'$', b'2', ..] => bcrypt(text, password),
        [b'$', b'5' | b'6', b'$', ..] => sha_crypt(text, password),
        [b'$', b'a', b'r', ..] => argon2(text, password),
        _ => Err(Unusable::Unknown("of this CRYPT hash".into())),
    }
}

fn argon2(text: &str, password: &[u8]) -> Result<bool, Unusable> {
    let hash = phc::PasswordHash::new(text).map_err(|_| Unusable::Malformed("ARGON2"))?;
    let params = argon2::Params::try_from(&hash).map_err(|_| Unusable::Malformed("ARGON2"))?;
    if params.m_cost() > ARGON2_MEMORY_LIMIT_KIB || params.t_cost() > ARGON2_TIME_LIMIT {
        return Err(Unusable::TooExpensive("ARGON2"));
    }
    match Argon2::default().verify_password(password, &hash) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(_) => Err(Unusable::Malformed("ARGON2")),
    }
}

fn bcrypt(text: &str, password: &[u8]) -> Result<bool, Unusable> {
    let cost = text.split('$').nth(2).and_then(|cost| cost.parse::<u32>().ok()).ok_or(Unusable::Malformed("BLF-CRYPT"))?;
    if cost > BCRYPT_COST_LIMIT {
        return Err(Unusable::TooExpensive("BLF-CRYPT"));
    }
    bcrypt::verify(password, text).map_err(|_| Unusable::Malformed("BLF-CRYPT"))
}

fn sha_crypt(text: &str, password: &[u8]) -> Result<bool, Unusable> {
    const NAME: &str = "SHA-CRYPT";
    let rounds = text.split('$').nth(2).and_then(|field| field.strip_prefix("rounds="));
    if let Some(rounds) = rounds {
        let rounds: u32 = rounds.parse().map_err(|_| Unusable::Malformed(NAME))?;
        if rounds > SHA_CRYPT_ROUNDS_LIMIT {
            return Err(Unusable::TooExpensive(NAME));
        }
    }
    let hash = sha_crypt::PasswordHashRef::new(text).map_err(|_| Unusable::Malformed(NAME))?;
    match ShaCrypt::default().verify_password(password, hash) {
        Ok(()) => Ok(true),
        Err(sha_crypt::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(_) => Err(Unusable::Malformed(NAME)),
    }
}

fn plain_digest(
    text: &str,
    writing: Option<Writing>,
    algorithm: &'static digest::Algorithm,
    name: &'static str,
    password: &[u8],
) -> Result<bool, Unusable> {
    let hashed = hash_bytes(text, writing, algorithm.output_len(), name)?;
    Ok(same(&hashed, digest::digest(algorithm, password).as_ref()))
}

fn salted_digest(
    text: &str,
    writing: Option<Writing>,
    algorithm: &'static digest::Algorithm,
    name: &'static str,
    password: &[u8],
) -> Result<bool, Unusable> {
    let make = |parts: [&[u8]; 2]| {
        let mut context = digest::Context::new(algorithm);
        parts.iter().for_each(|part| context.update(part));
        context.finish().as_ref().to_vec()
    };
    salted(text, writing, algorithm.output_len(), name, make, password)
}

/// digest(password salt) salt
fn salted(
    text: &str,
    writing: Option<Writing>,
    length: usize,
    name: &'static str,
    make: impl Fn([&[u8]; 2]) -> Vec<u8>,
    password: &[u8],
) -> Result<bool, Unusable> {
    let bytes = bytes_of(text, writing.unwrap_or(Writing::Base64), name)?;
    let (hashed, salt) = bytes.split_at_checked(length).ok_or(Unusable::Malformed(name))?;
    Ok(same(hashed, &make([password, salt])))
}

fn new_salted(algorithm: &'static digest::Algorithm, password: &[u8]) -> Result<String, Unusable> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|_| Unusable::Failed("the random generator"))?;
    let mut context = digest::Context::new(algorithm);
    context.update(password);
    context.update(&salt);
    Ok(STANDARD.encode([context.finish().as_ref(), &salt].concat()))
}

/// A digest of `length` bytes: as its name says, else in hex when it is long enough for that, else in base64.
fn hash_bytes(text: &str, writing: Option<Writing>, length: usize, name: &'static str) -> Result<Vec<u8>, Unusable> {
    let writing = writing.unwrap_or(if text.len() == length * 2 { Writing::Hex } else { Writing::Base64 });
    let bytes = bytes_of(text, writing, name)?;
    if bytes.len() == length { Ok(bytes) } else { Err(Unusable::Malformed(name)) }
}

fn bytes_of(text: &str, writing: Writing, name: &'static str) -> Result<Vec<u8>, Unusable> {
    let bytes = match writing {
        Writing::Base64 => STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).ok(),
        Writing::Hex => (text.is_ascii() && text.len().is_multiple_of(2))
            .then(|| (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect())
            .flatten(),
    };
    bytes.ok_or(Unusable::Malformed(name))
}

#[cfg(test)]
mod tests;
