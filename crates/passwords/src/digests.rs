//! Hashes of one round, plain and salted, and keys of mechanisms.

use crate::{Unusable, md5_crypt, same};
use aws_lc_rs::digest;
use md5::{Digest, Md5};
use sasl::scram::{Hash, Keys};

pub(crate) fn scram_keys(hash: Hash, text: &str) -> Result<Keys, Unusable> {
    Keys::parse(hash, text).ok_or(Unusable::Malformed(hash.mechanism()))
}

pub(crate) fn scram_sha1(text: &str, password: &str) -> Result<bool, Unusable> {
    Ok(scram_keys(Hash::Sha1, text)?.are_of(password))
}

pub(crate) fn scram_sha256(text: &str, password: &str) -> Result<bool, Unusable> {
    Ok(scram_keys(Hash::Sha256, text)?.are_of(password))
}

pub(crate) fn hmac_md5(stored: &[u8], password: &[u8]) -> Result<bool, Unusable> {
    let password = std::str::from_utf8(password).map_err(|_| Unusable::Failed("CRAM-MD5"))?;
    whole(stored, sasl::cram_md5::Key::derive(password).as_bytes(), "CRAM-MD5")
}

pub(crate) fn md5_by_shape(text: &str, password: &str) -> Result<bool, Unusable> {
    if text.starts_with("$1$") {
        return md5_crypt::matches(text, password);
    }
    let writing = if text.len() == 32 { crate::Writing::Hex } else { crate::Writing::Base64 };
    md5(&crate::bytes_of(text, writing, "MD5")?, password.as_bytes())
}

pub(crate) fn md5(stored: &[u8], password: &[u8]) -> Result<bool, Unusable> {
    whole(stored, &Md5::digest(password), "MD5")
}

pub(crate) fn sha1(stored: &[u8], password: &[u8]) -> Result<bool, Unusable> {
    whole(stored, digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, password).as_ref(), "SHA1")
}

pub(crate) fn sha256(stored: &[u8], password: &[u8]) -> Result<bool, Unusable> {
    whole(stored, digest::digest(&digest::SHA256, password).as_ref(), "SHA256")
}

pub(crate) fn sha512(stored: &[u8], password: &[u8]) -> Result<bool, Unusable> {
    whole(stored, digest::digest(&digest::SHA512, password).as_ref(), "SHA512")
}

fn whole(stored: &[u8], made: &[u8], name: &'static str) -> Result<bool, Unusable> {
    if stored.len() == made.len() { Ok(same(stored, made)) } else { Err(Unusable::Malformed(name)) }
}

/// digest(password salt) salt
fn salted(stored: &[u8], length: usize, name: &'static str, make: impl Fn(&[u8]) -> Vec<u8>) -> Result<bool, Unusable> {
    let (hashed, salt) = stored.split_at_checked(length).ok_or(Unusable::Malformed(name))?;
    Ok(same(hashed, &make(salt)))
}

pub(crate) fn smd5(stored: &[u8], password: &[u8]) -> Result<bool, Unusable> {
    salted(stored, 16, "SMD5", |salt| Md5::new().chain_update(password).chain_update(salt).finalize().to_vec())
}

pub(crate) fn ssha(stored: &[u8], password: &[u8]) -> Result<bool, Unusable> {
    salted(stored, 20, "SSHA", |salt| salted_digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, password, salt))
}

pub(crate) fn ssha256(stored: &[u8], password: &[u8]) -> Result<bool, Unusable> {
    salted(stored, 32, "SSHA256", |salt| salted_digest(&digest::SHA256, password, salt))
}

pub(crate) fn ssha512(stored: &[u8], password: &[u8]) -> Result<bool, Unusable> {
    salted(stored, 64, "SSHA512", |salt| salted_digest(&digest::SHA512, password, salt))
}

pub(crate) fn salted_digest(algorithm: &'static digest::Algorithm, password: &[u8], salt: &[u8]) -> Vec<u8> {
    let mut context = digest::Context::new(algorithm);
    context.update(password);
    context.update(salt);
    context.finish().as_ref().to_vec()
}
