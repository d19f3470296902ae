//! New passwords.

use crate::scheme::Scheme;
use crate::{Unusable, Writing, digests, name_and_writing, pbkdf2 as pbkdf2_hmac, written};
use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};
use aws_lc_rs::digest;
use sasl::scram::{ITERATIONS, ITERATIONS_LIMIT, Keys, SALT_BYTES};
use sha_crypt::ShaCrypt;
use std::num::NonZeroU32;

/// Cost of new hashes where none is asked for. The most expensive one still checks in well below a tenth of a second.
const BCRYPT_COST: u32 = 10;
/// What bcrypt hashes; it passes over the rest without a word.
const BCRYPT_PASSWORD_LIMIT_BYTES: usize = 72;
const PBKDF2_ROUNDS: u32 = 100_000;

/// A hash before its scheme's name is set before it.
pub(crate) enum Made {
    Text(String),
    Bytes(Vec<u8>),
}

/// Hashes a new password; the result names its scheme. `rounds`: how much it shall cost, in what the scheme counts.
pub fn hash(scheme: &str, password: &str, rounds: Option<u32>) -> Result<String, Unusable> {
    let (name, writing) = name_and_writing(scheme);
    let known = Scheme::named(&name).ok_or_else(|| Unusable::Unknown(mail_types::printable(&name)))?;
    let text = match (known.make.ok_or(Unusable::NotMade(known.name))?(password, rounds)?, writing) {
        (Made::Text(text), None) => text,
        (Made::Text(text), Some(writing)) => written(text.as_bytes(), writing),
        (Made::Bytes(bytes), writing) => written(&bytes, writing.unwrap_or(Writing::Base64)),
    };
    Ok(format!("{{{}}}{text}", mail_types::printable(&scheme.to_ascii_uppercase())))
}

fn rounds_of(name: &'static str, rounds: Option<u32>, usual: u32, least: u32, most: u32) -> Result<u32, Unusable> {
    match rounds.unwrap_or(usual) {
        rounds if (least..=most).contains(&rounds) => Ok(rounds),
        _ => Err(Unusable::Rounds(name, least, most)),
    }
}

fn random<const N: usize>() -> Result<[u8; N], Unusable> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| Unusable::Failed("the random generator"))?;
    Ok(bytes)
}

pub(crate) fn plain(password: &str, _: Option<u32>) -> Result<Made, Unusable> {
    Ok(Made::Text(password.to_owned()))
}

pub(crate) fn argon2id(password: &str, rounds: Option<u32>) -> Result<Made, Unusable> {
    argon2("ARGON2ID", Algorithm::Argon2id, password, rounds)
}

pub(crate) fn argon2i(password: &str, rounds: Option<u32>) -> Result<Made, Unusable> {
    // RFC 9106 §4: Argon2i wants three passes.
    argon2("ARGON2I", Algorithm::Argon2i, password, rounds.or(Some(3)))
}

fn argon2(name: &'static str, algorithm: Algorithm, password: &str, rounds: Option<u32>) -> Result<Made, Unusable> {
    const ROUNDS_LIMIT: u32 = (crate::crypt::ARGON2_WORK_LIMIT_KIB / Params::DEFAULT_M_COST as u64) as u32;
    let rounds = rounds_of(name, rounds, Params::DEFAULT_T_COST, 1, ROUNDS_LIMIT)?;
    let params = Params::new(Params::DEFAULT_M_COST, rounds, Params::DEFAULT_P_COST, None).map_err(|_| Unusable::Failed(name))?;
    let hash = Argon2::new(algorithm, Version::V0x13, params).hash_password(password.as_bytes()).map_err(|_| Unusable::Failed(name))?;
    Ok(Made::Text(hash.to_string()))
}

pub(crate) fn yescrypt(password: &str, rounds: Option<u32>) -> Result<Made, Unusable> {
    const NAME: &str = "YESCRYPT";
    // As crypt(5) counts: 5 is N = 4096 and r = 32, and each step doubles N.
    let cost = rounds_of(NAME, rounds, 5, 3, crate::crypt::YESCRYPT_COST_LIMIT)?;
    let params = yescrypt::Params::new(yescrypt::Mode::default(), 1 << (cost + 7), 32, 1).map_err(|_| Unusable::Failed(NAME))?;
    let hash = yescrypt::CustomizedPasswordHasher::hash_password_with_params(
        &yescrypt::Yescrypt::default(),
        password.as_bytes(),
        &random::<16>()?,
        params,
    );
    Ok(Made::Text(hash.map_err(|_| Unusable::Failed(NAME))?.as_str().to_owned()))
}

pub(crate) fn bcrypt(password: &str, rounds: Option<u32>) -> Result<Made, Unusable> {
    if password.len() > BCRYPT_PASSWORD_LIMIT_BYTES {
        return Err(Unusable::TooLong("BLF-CRYPT", BCRYPT_PASSWORD_LIMIT_BYTES));
    }
    let cost = rounds_of("BLF-CRYPT", rounds, BCRYPT_COST, 4, crate::crypt::BCRYPT_COST_LIMIT)?;
    let parts = bcrypt::hash_with_result(password, cost).map_err(|_| Unusable::Failed("BLF-CRYPT"))?;
    // `$2y$`: PHP, and with it PostfixAdmin, knows no `$2b$`.
    Ok(Made::Text(parts.format_for_version(bcrypt::Version::TwoY)))
}

pub(crate) fn sha512_crypt(password: &str, rounds: Option<u32>) -> Result<Made, Unusable> {
    sha_crypt("SHA512-CRYPT", ShaCrypt::SHA512, password, rounds)
}

pub(crate) fn sha256_crypt(password: &str, rounds: Option<u32>) -> Result<Made, Unusable> {
    sha_crypt("SHA256-CRYPT", ShaCrypt::SHA256, password, rounds)
}

fn sha_crypt(name: &'static str, usual: ShaCrypt, password: &str, rounds: Option<u32>) -> Result<Made, Unusable> {
    let hasher = match rounds {
        None => usual,
        Some(_) => {
            let rounds = rounds_of(name, rounds, 5_000, 1_000, crate::crypt::SHA_CRYPT_ROUNDS_LIMIT)?;
            let algorithm = if name == "SHA256-CRYPT" { sha_crypt::Algorithm::Sha256Crypt } else { sha_crypt::Algorithm::Sha512Crypt };
            ShaCrypt::new(algorithm, sha_crypt::Params::new(rounds).map_err(|_| Unusable::Failed(name))?)
        }
    };
    // Twelve bytes are sixteen letters, all of a salt that crypt(3) looks at; the library's own salts are longer, and its hashes ours alone.
    let hash = hasher.hash_password_with_salt(password.as_bytes(), &random::<12>()?).map_err(|_| Unusable::Failed(name))?;
    Ok(Made::Text(hash.as_str().to_owned()))
}

pub(crate) fn pbkdf2(password: &str, rounds: Option<u32>) -> Result<Made, Unusable> {
    let rounds = rounds_of("PBKDF2", rounds, PBKDF2_ROUNDS, 1_000, pbkdf2_hmac::ROUNDS_LIMIT)?;
    let salt = written(&random::<16>()?, Writing::Hex);
    let hash = pbkdf2_hmac::hashed(password, &salt, NonZeroU32::new(rounds).expect("at least a thousand"));
    Ok(Made::Text(format!("$1${salt}${rounds}${}", written(&hash, Writing::Hex))))
}

pub(crate) fn scram_sha1(password: &str, rounds: Option<u32>) -> Result<Made, Unusable> {
    scram(sasl::scram::Hash::Sha1, password, rounds)
}

pub(crate) fn scram_sha256(password: &str, rounds: Option<u32>) -> Result<Made, Unusable> {
    scram(sasl::scram::Hash::Sha256, password, rounds)
}

fn scram(hash: sasl::scram::Hash, password: &str, rounds: Option<u32>) -> Result<Made, Unusable> {
    let rounds = rounds_of(hash.mechanism(), rounds, ITERATIONS, ITERATIONS, ITERATIONS_LIMIT)?;
    Ok(Made::Text(Keys::derive(hash, password, &random::<SALT_BYTES>()?, rounds).text()))
}

pub(crate) fn ssha512(password: &str, _: Option<u32>) -> Result<Made, Unusable> {
    ssha(&digest::SHA512, password)
}

pub(crate) fn ssha256(password: &str, _: Option<u32>) -> Result<Made, Unusable> {
    ssha(&digest::SHA256, password)
}

fn ssha(algorithm: &'static digest::Algorithm, password: &str) -> Result<Made, Unusable> {
    let salt = random::<16>()?;
    Ok(Made::Bytes([digests::salted_digest(algorithm, password.as_bytes(), &salt), salt.to_vec()].concat()))
}
