//! DES-CRYPT, thirteen characters: crypt(3) of the seventies. Only to let people in. It looks at eight characters of a
//! password, and at seven bits of each.
//!
//! DES (FIPS 46-3) enciphers a block of zeros 25 times, the password being the key; the salt (the first two characters) exchanges
//! bits of the expansion E, so that hardware made for DES cannot be used. Blocks are numbers here, their first bit the highest.

use super::{Unusable, same};
use crate::crypt::LETTERS;

const NAME: &str = "DES-CRYPT";

pub(crate) fn matches(text: &str, password: &[u8]) -> Result<bool, Unusable> {
    if text.len() != 13 || !text.bytes().all(|byte| LETTERS.contains(&byte)) {
        return Err(Unusable::Malformed(NAME));
    }
    let letter = |byte: u8| LETTERS.iter().position(|l| *l == byte).unwrap_or_default() as u64;
    let bytes = text.as_bytes();
    let salt = letter(bytes[0]) | letter(bytes[1]) << 6;
    Ok(same(encode(cipher(key(password), salt)).as_bytes(), &bytes[2..]))
}

/// Seven bits of each of eight characters, each followed by a parity bit that DES leaves out of account.
fn key(password: &[u8]) -> u64 {
    let mut key = [0; 8];
    for (key, byte) in key.iter_mut().zip(password) {
        *key = byte << 1;
    }
    u64::from_be_bytes(key)
}

fn encode(block: u64) -> String {
    // 64 bits, two zeros behind them, in eleven letters.
    let bits = u128::from(block) << 2;
    (0..11).rev().map(|at| LETTERS[(bits >> (6 * at) & 0x3f) as usize] as char).collect()
}

fn cipher(key: u64, salt: u64) -> u64 {
    let keys = schedule(key);
    let mut block = 0;
    for _ in 0..25 {
        let start = permute(block, 64, &IP);
        let (mut left, mut right) = (start >> 32, start & 0xffff_ffff);
        for key in keys {
            (left, right) = (right, left ^ round(right, key, salt));
        }
        block = permute(right << 32 | left, 64, &FP);
    }
    block
}

fn round(right: u64, key: u64, salt: u64) -> u64 {
    let mut wide = permute(right, 32, &E);
    // Bit n of the salt exchanges bits n and n + 24 of the 48.
    for bit in (0..12).filter(|bit| salt >> bit & 1 == 1) {
        let (high, low) = (47 - bit, 23 - bit);
        let differ = (wide >> high ^ wide >> low) & 1;
        wide ^= differ << high | differ << low;
    }
    wide ^= key;
    let mut out = 0;
    for (number, table) in S.iter().enumerate() {
        let six = (wide >> (42 - 6 * number) & 0x3f) as usize;
        // The outer bits choose the row.
        let at = (six & 0x20 | (six & 1) << 4 | six >> 1 & 0xf) & 0x3f;
        out = out << 4 | u64::from(table[at]);
    }
    permute(out, 32, &P)
}

fn schedule(key: u64) -> [u64; 16] {
    const SHIFTS: [u32; 16] = [1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1];
    let turn = |half: u64, by: u32| (half << by | half >> (28 - by)) & 0x0fff_ffff;
    let chosen = permute(key, 64, &PC1);
    let (mut c, mut d) = (chosen >> 28, chosen & 0x0fff_ffff);
    SHIFTS.map(|by| {
        (c, d) = (turn(c, by), turn(d, by));
        permute(c << 28 | d, 56, &PC2)
    })
}

/// Bit n of the result is bit `table[n]` of the value, counted from 1 at the highest of `width` bits.
fn permute(value: u64, width: u32, table: &[u8]) -> u64 {
    table.iter().fold(0, |out, from| out << 1 | value >> (width - u32::from(*from)) & 1)
}

#[rustfmt::skip]
const IP: [u8; 64] = [
    58, 50, 42, 34, 26, 18, 10, 2, 60, 52, 44, 36, 28, 20, 12, 4, 62, 54, 46, 38, 30, 22, 14, 6, 64, 56, 48, 40, 32, 24, 16, 8,
    57, 49, 41, 33, 25, 17, 9, 1, 59, 51, 43, 35, 27, 19, 11, 3, 61, 53, 45, 37, 29, 21, 13, 5, 63, 55, 47, 39, 31, 23, 15, 7,
];
#[rustfmt::skip]
const FP: [u8; 64] = [
    40, 8, 48, 16, 56, 24, 64, 32, 39, 7, 47, 15, 55, 23, 63, 31, 38, 6, 46, 14, 54, 22, 62, 30, 37, 5, 45, 13, 53, 21, 61, 29,
    36, 4, 44, 12, 52, 20, 60, 28, 35, 3, 43, 11, 51, 19, 59, 27, 34, 2, 42, 10, 50, 18, 58, 26, 33, 1, 41, 9, 49, 17, 57, 25,
];
#[rustfmt::skip]
const E: [u8; 48] = [
    32, 1, 2, 3, 4, 5, 4, 5, 6, 7, 8, 9, 8, 9, 10, 11, 12, 13, 12, 13, 14, 15, 16, 17,
    16, 17, 18, 19, 20, 21, 20, 21, 22, 23, 24, 25, 24, 25, 26, 27, 28, 29, 28, 29, 30, 31, 32, 1,
];
#[rustfmt::skip]
const P: [u8; 32] = [
    16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10, 2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6, 22, 11, 4, 25,
];
#[rustfmt::skip]
const PC1: [u8; 56] = [
    57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60, 52, 44, 36,
    63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29, 21, 13, 5, 28, 20, 12, 4,
];
#[rustfmt::skip]
const PC2: [u8; 48] = [
    14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2,
    41, 52, 31, 37, 47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32,
];
#[rustfmt::skip]
const S: [[u8; 64]; 8] = [
    [14, 4, 13, 1, 2, 15, 11, 8, 3, 10, 6, 12, 5, 9, 0, 7, 0, 15, 7, 4, 14, 2, 13, 1, 10, 6, 12, 11, 9, 5, 3, 8,
     4, 1, 14, 8, 13, 6, 2, 11, 15, 12, 9, 7, 3, 10, 5, 0, 15, 12, 8, 2, 4, 9, 1, 7, 5, 11, 3, 14, 10, 0, 6, 13],
    [15, 1, 8, 14, 6, 11, 3, 4, 9, 7, 2, 13, 12, 0, 5, 10, 3, 13, 4, 7, 15, 2, 8, 14, 12, 0, 1, 10, 6, 9, 11, 5,
     0, 14, 7, 11, 10, 4, 13, 1, 5, 8, 12, 6, 9, 3, 2, 15, 13, 8, 10, 1, 3, 15, 4, 2, 11, 6, 7, 12, 0, 5, 14, 9],
    [10, 0, 9, 14, 6, 3, 15, 5, 1, 13, 12, 7, 11, 4, 2, 8, 13, 7, 0, 9, 3, 4, 6, 10, 2, 8, 5, 14, 12, 11, 15, 1,
     13, 6, 4, 9, 8, 15, 3, 0, 11, 1, 2, 12, 5, 10, 14, 7, 1, 10, 13, 0, 6, 9, 8, 7, 4, 15, 14, 3, 11, 5, 2, 12],
    [7, 13, 14, 3, 0, 6, 9, 10, 1, 2, 8, 5, 11, 12, 4, 15, 13, 8, 11, 5, 6, 15, 0, 3, 4, 7, 2, 12, 1, 10, 14, 9,
     10, 6, 9, 0, 12, 11, 7, 13, 15, 1, 3, 14, 5, 2, 8, 4, 3, 15, 0, 6, 10, 1, 13, 8, 9, 4, 5, 11, 12, 7, 2, 14],
    [2, 12, 4, 1, 7, 10, 11, 6, 8, 5, 3, 15, 13, 0, 14, 9, 14, 11, 2, 12, 4, 7, 13, 1, 5, 0, 15, 10, 3, 9, 8, 6,
     4, 2, 1, 11, 10, 13, 7, 8, 15, 9, 12, 5, 6, 3, 0, 14, 11, 8, 12, 7, 1, 14, 2, 13, 6, 15, 0, 9, 10, 4, 5, 3],
    [12, 1, 10, 15, 9, 2, 6, 8, 0, 13, 3, 4, 14, 7, 5, 11, 10, 15, 4, 2, 7, 12, 9, 5, 6, 1, 13, 14, 0, 11, 3, 8,
     9, 14, 15, 5, 2, 8, 12, 3, 7, 0, 4, 10, 1, 13, 11, 6, 4, 3, 2, 12, 9, 5, 15, 10, 11, 14, 1, 7, 6, 0, 8, 13],
    [4, 11, 2, 14, 15, 0, 8, 13, 3, 12, 9, 7, 5, 10, 6, 1, 13, 0, 11, 7, 4, 9, 1, 10, 14, 3, 5, 12, 2, 15, 8, 6,
     1, 4, 11, 13, 12, 3, 7, 14, 10, 15, 6, 8, 0, 5, 9, 2, 6, 11, 13, 8, 1, 4, 10, 7, 9, 5, 0, 15, 14, 2, 3, 12],
    [13, 2, 8, 4, 6, 15, 11, 1, 10, 9, 3, 14, 5, 0, 12, 7, 1, 15, 13, 8, 10, 3, 7, 4, 12, 5, 6, 11, 0, 14, 9, 2,
     7, 11, 4, 1, 9, 12, 14, 2, 0, 6, 10, 13, 15, 3, 5, 8, 2, 1, 14, 7, 4, 10, 8, 13, 15, 12, 9, 0, 3, 5, 6, 11],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_libcrypt_are_understood() {
        // Made by libxcrypt.
        for (password, hash) in [
            ("", "abmF1QH4PEr.E"),
            ("secret", "abNANd1rDfiNc"),
            ("password", "..UZoIyj/Hy/c"),
            ("clé 42", "zZU2FcfV.rqYA"),
            ("longer than eight", "/9WA0FqLiuayc"),
            ("longer t", "/9WA0FqLiuayc"),
            ("Ω~|{}", "Qxy9F3.wUOsfc"),
        ] {
            assert_eq!(matches(hash, password.as_bytes()), Ok(true), "{password}");
            assert_eq!(matches(hash, b"other"), Ok(false));
        }
        assert!(matches("abNANd1rDfiN", b"").is_err());
        assert!(matches("a!NANd1rDfiNc", b"").is_err());
    }
}
