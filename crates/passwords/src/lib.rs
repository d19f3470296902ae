//! Password schemes: how a stored password is compared with the one a client sent, and how new ones are stored.
//!
//! A stored password is `{SCHEME}text`, with Dovecot's names; `.b64`, `.base64` or `.hex` behind the name says how the text is written. Without
//! a name a default scheme holds; `CRYPT` tells the scheme from the shape of the text. All comparisons take the same time wherever the difference lies.
//! Checking is slow on purpose for the good schemes.

mod crypt;
mod des_crypt;
mod digests;
mod made;
mod md5_crypt;
mod pbkdf2;
mod random;
mod scheme;

use aws_lc_rs::{constant_time, digest};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use scheme::{Kind, SCHEMES, Scheme};
use zeroize::Zeroizing;

pub use made::hash;
pub use random::random_password;
pub use scheme::Strength;

/// The most memory that one hash may take. Hashes that take more are not checked.
pub const MEMORY_LIMIT_BYTES: u64 = 256 << 20;

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
    #[error("{0} cannot be made: a hash that is read costs little, so choose another scheme")]
    NotMade(&'static str),
    #[error("{0}: from {1} to {2} rounds are possible")]
    Rounds(&'static str, u32, u32),
    #[error("{0} looks at {1} bytes of a password only; choose a shorter one, or another scheme")]
    TooLong(&'static str, usize),
    #[error("there is no password behind it")]
    Empty,
}

/// How bytes are written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writing {
    Base64,
    Hex,
}

/// The name of a scheme and, behind a dot, how its text is written. In upper case, so that both compare.
fn name_and_writing(name: &str) -> (String, Option<Writing>) {
    let name = name.to_ascii_uppercase();
    for (suffix, writing) in [(".B64", Writing::Base64), (".BASE64", Writing::Base64), (".HEX", Writing::Hex)] {
        if let Some(name) = name.strip_suffix(suffix) {
            return (name.to_owned(), Some(writing));
        }
    }
    (name, None)
}

/// A stored password, taken apart.
struct Stored<'a> {
    scheme: &'static Scheme,
    writing: Option<Writing>,
    text: &'a str,
}

impl<'a> Stored<'a> {
    fn of(stored: &'a str, default_scheme: &str) -> Result<Stored<'a>, Unusable> {
        let (name, text) = match stored.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            Some((name, text)) => (name, text),
            None => (default_scheme, stored),
        };
        let ((name, writing), named) = (name_and_writing(name), text.len() != stored.len());
        // A `$6$…` in a column of, say, SSHA is what it looks like: `$` is neither base64 nor hex. A plain password may look as it likes.
        let shape = match name.as_str() {
            "CRYPT" if writing.is_none() => crypt::shape(text),
            "PLAIN" | "CLEAR" | "CLEARTEXT" => None,
            _ if !named && text.starts_with('$') => crypt::shape(text),
            _ => None,
        };
        let scheme = Scheme::named(shape.unwrap_or(&name)).ok_or_else(|| match name.as_str() {
            "CRYPT" => Unusable::Unknown("of this CRYPT hash".into()),
            name => Unusable::Unknown(mail_types::printable(name)),
        })?;
        Ok(Stored { scheme, writing, text })
    }

    fn matches(&self, password: &str) -> Result<bool, Unusable> {
        match self.scheme.kind {
            Kind::Text(matches) => matches(&self.as_text()?, password),
            Kind::Bytes { length, matches } => matches(&self.as_bytes(length)?, password.as_bytes()),
        }
    }

    fn as_text(&self) -> Result<Zeroizing<String>, Unusable> {
        let name = self.scheme.name;
        let bytes = match self.writing {
            None => return Ok(Zeroizing::new(self.text.to_owned())),
            Some(writing) => bytes_of(self.text, writing, name)?,
        };
        String::from_utf8(bytes).map(Zeroizing::new).map_err(|_| Unusable::Malformed(name))
    }

    /// As the suffix says, else in hex when the text is as long as that would be, else in base64.
    fn as_bytes(&self, length: usize) -> Result<Zeroizing<Vec<u8>>, Unusable> {
        let writing = self.writing.unwrap_or(if self.text.len() == length * 2 { Writing::Hex } else { Writing::Base64 });
        Ok(Zeroizing::new(bytes_of(self.text, writing, self.scheme.name)?))
    }
}

/// Whether `password` is the one that is stored. An empty one never is: a form of nothing means that there is no password.
pub fn verify(stored: &str, default_scheme: &str, password: &str) -> Result<bool, Unusable> {
    Ok(Stored::of(stored, default_scheme)?.matches(password)? && !password.is_empty())
}

/// Whether a hash made elsewhere could be checked here, and is of a password at all; for hashes that an administrator brings along.
pub fn check_usable(stored: &str, default_scheme: &str) -> Result<(), Unusable> {
    // A wrong password finds every fault that the right one would.
    match Stored::of(stored, default_scheme)?.matches("")? {
        true => Err(Unusable::Empty),
        false => Ok(()),
    }
}

/// The memory that a comparison with this takes, never more than [`MEMORY_LIMIT_BYTES`]; 0 where it is next to nothing.
pub fn memory_bytes(stored: &str, default_scheme: &str) -> u64 {
    let Ok(stored) = Stored::of(stored, default_scheme) else { return 0 };
    if matches!(stored.scheme.name, "PLAIN" | "CLEAR" | "CLEARTEXT") {
        return 0;
    }
    let bytes = stored.as_text().ok().and_then(|text| crypt::memory_bytes(&text)).unwrap_or_default();
    // What would take more is refused before it takes any.
    if bytes > MEMORY_LIMIT_BYTES { 0 } else { bytes }
}

/// The scheme of a stored password, as people know it.
pub fn scheme_of(stored: &str, default_scheme: &str) -> Option<&'static str> {
    Stored::of(stored, default_scheme).ok().map(|stored| stored.scheme.name)
}

/// How well the password is kept. `None`: it is of no scheme that is known.
pub fn strength(stored: &str, default_scheme: &str) -> Option<Strength> {
    Stored::of(stored, default_scheme).ok().map(|stored| stored.scheme.strength)
}

/// How well a scheme keeps passwords.
pub fn strength_of_scheme(name: &str) -> Option<Strength> {
    Scheme::named(&name_and_writing(name).0).map(|scheme| scheme.strength)
}

/// All schemes that can be checked, and whether new passwords can be hashed with them; the best first.
pub fn schemes() -> impl Iterator<Item = (&'static str, bool)> {
    SCHEMES.iter().map(|scheme| (scheme.name, scheme.make.is_some()))
}

/// Whether new passwords can be hashed with a scheme, named in any case.
pub fn can_make(name: &str) -> bool {
    Scheme::named(&name_and_writing(name).0).is_some_and(|scheme| scheme.make.is_some())
}

/// What a mechanism that never shows the password needs to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// SCRAM with this hash; `salt` and `iterations` for keys that have to be made from a plain password.
    Scram {
        hash: sasl::scram::Hash,
        salt: &'a [u8],
        iterations: u32,
    },
    HmacMd5,
}

/// Whether a stored password may serve a mechanism that never shows the password: it is of that kind, or plain. Quick. One that nobody can
/// read is said to, for `keys` to say what is wrong with it.
pub fn may_serve(stored: &str, default_scheme: &str, kind: sasl::server::Kind) -> bool {
    let Ok(stored) = Stored::of(stored, default_scheme) else { return true };
    match (stored.scheme.name, kind) {
        ("PLAIN" | "CLEAR" | "CLEARTEXT", _) => !stored.text.is_empty(),
        (name, sasl::server::Kind::Scram(hash)) => name == hash.mechanism(),
        (name, sasl::server::Kind::HmacMd5) => matches!(name, "CRAM-MD5" | "HMAC-MD5"),
    }
}

/// Keys from a stored password, when it is one of that kind or plain. `None`: it is stored otherwise, or there is no password behind
/// it, and the mechanism cannot serve this user. Keys of SCRAM cost one derivation, of whatever they come.
pub fn keys(stored: &str, default_scheme: &str, wanted: Wanted<'_>) -> Result<Option<sasl::server::Found>, Unusable> {
    use sasl::cram_md5::Key;
    use sasl::scram::Keys;
    use sasl::server::Found;
    let stored = Stored::of(stored, default_scheme)?;
    let name = stored.scheme.name;
    if matches!(name, "PLAIN" | "CLEAR" | "CLEARTEXT") {
        let text = stored.as_text()?;
        return Ok((!text.is_empty()).then(|| match wanted {
            Wanted::Scram { hash, salt, iterations } => Found::Scram(Keys::derive(hash, &text, salt, iterations)),
            Wanted::HmacMd5 => Found::HmacMd5(Key::derive(&text)),
        }));
    }
    Ok(match wanted {
        Wanted::Scram { hash, .. } if name == hash.mechanism() => {
            let keys = digests::scram_keys(hash, &stored.as_text()?)?;
            (!keys.are_of("")).then_some(Found::Scram(keys))
        }
        Wanted::HmacMd5 if matches!(name, "CRAM-MD5" | "HMAC-MD5") => {
            let key = Key::of_bytes(&stored.as_bytes(32)?).ok_or(Unusable::Malformed("CRAM-MD5"))?;
            (key != Key::derive("")).then_some(Found::HmacMd5(key))
        }
        _ => None,
    })
}

fn same(a: &[u8], b: &[u8]) -> bool {
    // The lengths of two digests are the same whatever they are of.
    let (a, b) = (digest::digest(&digest::SHA256, a), digest::digest(&digest::SHA256, b));
    constant_time::verify_slices_are_equal(a.as_ref(), b.as_ref()).is_ok()
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

fn written(bytes: &[u8], writing: Writing) -> String {
    match writing {
        Writing::Base64 => STANDARD.encode(bytes),
        Writing::Hex => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

#[cfg(test)]
mod tests;
