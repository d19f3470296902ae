//! MD5-CRYPT, `$1$salt$hash`: what PostfixAdmin made for many years. Only to let people in; new passwords never get it.

use super::{Unusable, same};
use crate::crypt::LETTERS;
use md5::{Digest, Md5};

const NAME: &str = "MD5-CRYPT";

pub(crate) fn matches(text: &str, password: &str) -> Result<bool, Unusable> {
    let (salt, hash) = text.strip_prefix("$1$").and_then(|rest| rest.split_once('$')).ok_or(Unusable::Malformed(NAME))?;
    if hash.len() != 22 {
        return Err(Unusable::Malformed(NAME));
    }
    let salt = &salt.as_bytes()[..salt.len().min(8)];
    Ok(same(encode(&digest(password.as_bytes(), salt)).as_bytes(), hash.as_bytes()))
}

// The algorithm of Poul-Henning Kamp, as in FreeBSD's crypt(3) of 1994.
fn digest(password: &[u8], salt: &[u8]) -> [u8; 16] {
    let inner = Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize();
    let mut outer = Md5::new().chain_update(password).chain_update(b"$1$").chain_update(salt);
    for at in (0..password.len()).step_by(16) {
        outer.update(&inner[..(password.len() - at).min(16)]);
    }
    let mut length = password.len();
    while length > 0 {
        outer.update(if length & 1 == 1 { &[0][..] } else { &password[..1] });
        length >>= 1;
    }
    let mut last: [u8; 16] = outer.finalize().into();
    for round in 0..1000 {
        let mut next = Md5::new();
        next.update(if round & 1 == 1 { password } else { &last });
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        next.update(if round & 1 == 1 { &last } else { password });
        last = next.finalize().into();
    }
    last
}

fn encode(hash: &[u8; 16]) -> String {
    let mut out = String::with_capacity(22);
    let mut put = |mut bits: u32, letters: u32| {
        for _ in 0..letters {
            out.push(LETTERS[(bits & 0x3f) as usize] as char);
            bits >>= 6;
        }
    };
    for (a, b, c) in [(0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5)] {
        put(u32::from(hash[a]) << 16 | u32::from(hash[b]) << 8 | u32::from(hash[c]), 4);
    }
    put(u32::from(hash[11]), 2);
    out
}
