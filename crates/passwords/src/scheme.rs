//! The table of schemes.

use crate::made::{self, Made};
use crate::{Unusable, crypt, digests, md5_crypt, pbkdf2, same};

/// How well a scheme keeps a password from somebody who has read the database; weaker ones are less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strength {
    /// The password itself, or a hash that tables of hashes open.
    None,
    /// Salted, but a graphics card tries billions a second.
    Fast,
    /// Many rounds of a fast hash.
    Rounds,
    /// Made to be slow on hardware of every kind.
    Hard,
}

/// Hashes a password, with a number of rounds when one is asked for.
pub(crate) type Make = fn(&str, Option<u32>) -> Result<Made, Unusable>;

pub(crate) struct Scheme {
    pub name: &'static str,
    pub kind: Kind,
    pub strength: Strength,
    /// `None`: not worth being made.
    pub make: Option<Make>,
}

pub(crate) enum Kind {
    /// The text is compared as it is; a suffix means that this text is written in base64 or hex once more.
    Text(fn(&str, &str) -> Result<bool, Unusable>),
    /// Bytes. Without a suffix they are in base64, or in hex when they are so many; 0: never in hex.
    Bytes { length: usize, matches: fn(&[u8], &[u8]) -> Result<bool, Unusable> },
}

impl Scheme {
    /// By its name in upper case.
    pub fn named(name: &str) -> Option<&'static Scheme> {
        SCHEMES.iter().find(|scheme| scheme.name == name)
    }
}

const fn text(name: &'static str, strength: Strength, matches: fn(&str, &str) -> Result<bool, Unusable>, make: Option<Make>) -> Scheme {
    Scheme { name, kind: Kind::Text(matches), strength, make }
}

const fn bytes(name: &'static str, strength: Strength, length: usize, matches: fn(&[u8], &[u8]) -> Result<bool, Unusable>) -> Scheme {
    Scheme { name, kind: Kind::Bytes { length, matches }, strength, make: None }
}

const fn making(mut scheme: Scheme, make: Make) -> Scheme {
    scheme.make = Some(make);
    scheme
}

fn plain(stored: &str, password: &str) -> Result<bool, Unusable> {
    Ok(same(stored.as_bytes(), password.as_bytes()))
}

/// As long as it comes: who could tell a hash in hex from one with a salt in base64?
const SALTED: usize = 0;

/// The default for new passwords first, then by strength.
pub(crate) const SCHEMES: &[Scheme] = &[
    text("ARGON2ID", Strength::Hard, crypt::argon2, Some(made::argon2id)),
    text("ARGON2I", Strength::Hard, crypt::argon2, Some(made::argon2i)),
    text("ARGON2", Strength::Hard, crypt::argon2, None),
    text("YESCRYPT", Strength::Hard, crypt::yescrypt, Some(made::yescrypt)),
    text("BLF-CRYPT", Strength::Hard, crypt::bcrypt, Some(made::bcrypt)),
    text("SHA512-CRYPT", Strength::Rounds, crypt::sha_crypt, Some(made::sha512_crypt)),
    text("SHA256-CRYPT", Strength::Rounds, crypt::sha_crypt, Some(made::sha256_crypt)),
    text("PBKDF2", Strength::Rounds, pbkdf2::matches, Some(made::pbkdf2)),
    text("SCRAM-SHA-256", Strength::Rounds, digests::scram_sha256, Some(made::scram_sha256)),
    text("SCRAM-SHA-1", Strength::Rounds, digests::scram_sha1, Some(made::scram_sha1)),
    making(bytes("SSHA512", Strength::Fast, SALTED, digests::ssha512), made::ssha512),
    making(bytes("SSHA256", Strength::Fast, SALTED, digests::ssha256), made::ssha256),
    bytes("SSHA", Strength::Fast, SALTED, digests::ssha),
    bytes("SMD5", Strength::Fast, SALTED, digests::smd5),
    text("MD5-CRYPT", Strength::Fast, md5_crypt::matches, None),
    text("DES-CRYPT", Strength::Fast, crypt::des, None),
    bytes("CRAM-MD5", Strength::None, 32, digests::hmac_md5),
    bytes("HMAC-MD5", Strength::None, 32, digests::hmac_md5),
    bytes("SHA512", Strength::None, 64, digests::sha512),
    bytes("SHA256", Strength::None, 32, digests::sha256),
    bytes("SHA1", Strength::None, 20, digests::sha1),
    bytes("SHA", Strength::None, 20, digests::sha1),
    // Dovecot's MD5 is MD5-CRYPT; old databases have 32 hex digits under that name.
    text("MD5", Strength::None, digests::md5_by_shape, None),
    bytes("PLAIN-MD5", Strength::None, 16, digests::md5),
    bytes("LDAP-MD5", Strength::None, 16, digests::md5),
    text("PLAIN", Strength::None, plain, Some(made::plain)),
    text("CLEARTEXT", Strength::None, plain, Some(made::plain)),
    text("CLEAR", Strength::None, plain, None),
    // By shape, and so never met here but with a suffix.
    text("CRYPT", Strength::Rounds, crypt::any, Some(made::bcrypt)),
];
