//! CRAM-MD5 (RFC 2195): what a server keeps of a password, and the digest of both sides.
//!
//! HMAC-MD5 begins each of its two hashes with one block made of the key alone. The state after that block is all that a digest
//! needs, so a server may keep the two states (`{CRAM-MD5}`, `{HMAC-MD5}`) instead of the password: 32 bytes, first the outer one.
//! They open only this mechanism, but they open it whole: who reads them can log in with it.

use aws_lc_rs::constant_time;
use md5::block_api::compress;
use md5::{Digest, Md5};
use zeroize::Zeroizing;

const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// The two states.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<secret>")
    }
}

impl Key {
    pub fn derive(password: &str) -> Key {
        // RFC 2104 §2: a key longer than a block is hashed first.
        let mut block = Zeroizing::new([0; 64]);
        match password.as_bytes() {
            long if long.len() > 64 => block[..16].copy_from_slice(&Md5::digest(long)),
            short => block[..short.len()].copy_from_slice(short),
        }
        let mut key = Zeroizing::new([0; 32]);
        for (half, pad) in key.chunks_exact_mut(16).zip([0x5c, 0x36]) {
            let padded = Zeroizing::new(block.map(|byte| byte ^ pad));
            half.copy_from_slice(&bytes(after(START, &padded)));
        }
        Key(key)
    }

    /// From the 32 bytes that are kept.
    pub fn of_bytes(bytes: &[u8]) -> Option<Key> {
        bytes.try_into().ok().map(|bytes| Key(Zeroizing::new(bytes)))
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// HMAC-MD5 of a challenge.
    pub fn digest(&self, challenge: &[u8]) -> [u8; 16] {
        let inner = finish(state(&self.0[16..]), challenge);
        finish(state(&self.0[..16]), &inner)
    }

    pub(crate) fn proves(&self, challenge: &[u8], hex: &[u8]) -> bool {
        let want: String = self.digest(challenge).iter().map(|byte| format!("{byte:02x}")).collect();
        constant_time::verify_slices_are_equal(want.as_bytes(), &hex.to_ascii_lowercase()).is_ok()
    }
}

fn after(mut state: [u32; 4], block: &[u8; 64]) -> [u32; 4] {
    compress(&mut state, std::slice::from_ref(block));
    state
}

/// The rest of an MD5 whose first block is done already.
fn finish(mut state: [u32; 4], message: &[u8]) -> [u8; 16] {
    let mut padded = message.to_vec();
    padded.push(0x80);
    // The length takes the last eight bytes of a block.
    padded.resize((padded.len() + 8).next_multiple_of(64), 0);
    let bits = (64 + message.len() as u64) * 8;
    let end = padded.len();
    padded[end - 8..].copy_from_slice(&bits.to_le_bytes());
    for block in padded.chunks_exact(64) {
        state = after(state, block.try_into().expect("a chunk has 64 bytes"));
    }
    bytes(state)
}

fn bytes(state: [u32; 4]) -> [u8; 16] {
    let mut out = [0; 16];
    for (out, word) in out.chunks_exact_mut(4).zip(state) {
        out.copy_from_slice(&word.to_le_bytes());
    }
    out
}

fn state(bytes: &[u8]) -> [u32; 4] {
    let mut state = [0; 4];
    for (word, bytes) in state.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_le_bytes(bytes.try_into().expect("a chunk has 4 bytes"));
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn digests_are_those_of_the_rfcs() {
        // RFC 2195 §2
        let challenge = b"<1896.697170952@postoffice.reston.mci.net>";
        assert_eq!(hex(&Key::derive("tanstaaftanstaaf").digest(challenge)), "b913a602c7eda7a495b4e6e7334d3890");
        // RFC 2202 §2, case 2
        assert_eq!(hex(&Key::derive("Jefe").digest(b"what do ya want for nothing?")), "750c783e6ab0b503eaa86e310a5db738");
    }

    #[test]
    fn the_rest_of_a_hash_is_padded_as_the_whole_would_be() {
        for length in 0..200 {
            let (first, rest) = ([b'x'; 64], vec![b'y'; length]);
            let whole: [u8; 16] = Md5::digest([&first[..], &rest].concat()).into();
            assert_eq!(finish(after(START, &first), &rest), whole, "{length}");
        }
    }

    #[test]
    fn a_key_is_what_dovecot_keeps() {
        // `doveadm pw -s CRAM-MD5 -p 'clé 42'`
        assert_eq!(hex(Key::derive("clé 42").as_bytes()), "e6375315f3bc32a29f29724fca27208f863b87be908d51f621d80f0f948692f7");
    }
}
