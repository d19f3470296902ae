//! Encoded words in header fields (RFC 2047).

use crate::charset;
use crate::transfer::{Base64, QuotedPrintable};
use memchr::memmem;

/// Decodes a field value as text. White space between two encoded words vanishes (RFC 2047 §6.2); neighbours with the
/// same charset are put together before they are decoded, because some programs cut characters in two. What is no valid encoded
/// word stays as it is; raw 8-bit is UTF-8 or else windows-1252.
pub fn decode(value: &[u8]) -> String {
    if memmem::find(value, b"=?").is_none() {
        return charset::decode_unknown(value);
    }
    let mut out = String::with_capacity(value.len());
    // Bytes of the last encoded words, not decoded yet, and their charset.
    let mut held: Option<(&[u8], Vec<u8>)> = None;
    let mut rest = value;
    while let Some(start) = memmem::find(rest, b"=?") {
        let before = &rest[..start];
        let Some((word, length)) = Word::read(&rest[start..]) else {
            release(&mut held, &mut out);
            out.push_str(&charset::decode_unknown(&rest[..start + 2]));
            rest = &rest[start + 2..];
            continue;
        };
        if held.is_none() || !before.iter().all(u8::is_ascii_whitespace) {
            release(&mut held, &mut out);
            out.push_str(&charset::decode_unknown(before));
        }
        match &mut held {
            Some((charset, bytes)) if charset.eq_ignore_ascii_case(word.charset) => word.decode(bytes),
            _ => {
                release(&mut held, &mut out);
                let mut bytes = Vec::new();
                word.decode(&mut bytes);
                held = Some((word.charset, bytes));
            }
        }
        rest = &rest[start + length..];
    }
    release(&mut held, &mut out);
    out.push_str(&charset::decode_unknown(rest));
    out
}

fn release(held: &mut Option<(&[u8], Vec<u8>)>, out: &mut String) {
    if let Some((charset, bytes)) = held.take() {
        out.push_str(&charset::decode(charset, &bytes));
    }
}

struct Word<'a> {
    charset: &'a [u8],
    base64: bool,
    text: &'a [u8],
}

impl<'a> Word<'a> {
    // "=?" charset "?" encoding "?" encoded-text "?=". Longer than RFC 2047's 75 is taken; spaces in Q text too.
    fn read(bytes: &'a [u8]) -> Option<(Word<'a>, usize)> {
        const LONGEST: usize = 4096;
        let bytes = &bytes[..bytes.len().min(LONGEST)];
        let charset_end = 2 + memchr::memchr(b'?', &bytes[2..])?;
        let charset = &bytes[2..charset_end];
        if charset.is_empty() || !charset.iter().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        let base64 = match bytes.get(charset_end + 1..charset_end + 3)? {
            [b'b' | b'B', b'?'] => true,
            [b'q' | b'Q', b'?'] => false,
            _ => return None,
        };
        let text_start = charset_end + 3;
        let text_end = text_start + memmem::find(&bytes[text_start..], b"?=")?;
        // RFC 2231 §5: charset*language.
        let charset = charset.split(|b| *b == b'*').next().unwrap_or(charset);
        Some((Word { charset, base64, text: &bytes[text_start..text_end] }, text_end + 2))
    }

    fn decode(&self, out: &mut Vec<u8>) {
        if self.base64 {
            let mut decoder = Base64::default();
            decoder.push(self.text, out);
            decoder.finish(out);
        } else {
            let spaced: Vec<u8> = self.text.iter().map(|b| if *b == b'_' { b' ' } else { *b }).collect();
            let mut decoder = QuotedPrintable::header();
            decoder.push(&spaced, out);
            decoder.finish(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn encoded_words_are_decoded() {
        for (input, want) in [
            ("plain", "plain"),
            ("=?ISO-8859-1?Q?a?=", "a"),
            ("=?ISO-8859-1?Q?a?= b", "a b"),
            ("=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
            ("=?ISO-8859-1?Q?a?=\r\n  =?utf-8?B?w6k=?=", "aé"),
            ("=?ISO-8859-1?Q?a_b?=", "a b"),
            ("=?utf-8?q?=C3=A9t=C3=A9?=", "été"),
            ("=?utf-8?b?w6l0w6k?=", "été"),
            ("=?utf-8?q?=C3?= =?utf-8?q?=A9?=", "é"),
            ("=?utf-8?b?w6?= x", "\u{fffd} x"),
            ("=?us-ascii*en?q?hi?=", "hi"),
            ("=?x-unknown?q?=E9?=", "é"),
            ("=?utf-8?x?abc?=", "=?utf-8?x?abc?="),
            ("=?utf-8?q?abc", "=?utf-8?q?abc"),
            ("=??q?abc?=", "=??q?abc?="),
            ("=?utf-8?q??=x", "x"),
            ("a =?utf-8?q?b=?= c", "a b= c"),
            ("a=?utf-8?q?b?=c", "abc"),
            ("=?=?utf-8?q?b?=", "=?b"),
            ("=?utf-8?q?a b?=", "a b"),
            ("=?utf-7?q?+AOk-?=", "é"),
        ] {
            assert_eq!(decode(input.as_bytes()), want, "{input:?}");
        }
        assert_eq!(decode(b"caf\xe9"), "café");
    }

    #[test]
    fn many_words_take_linear_time() {
        assert_eq!(decode("=?utf-8?q?a?= ".repeat(100_000).as_bytes()).trim_end().len(), 100_000);
        decode("=?".repeat(100_000).as_bytes());
        decode("=?a?q?".repeat(100_000).as_bytes());
    }

    proptest! {
        #[test]
        fn no_input_fails(input in "[=?qbQB_ a8\\-utf]{0,60}") {
            decode(input.as_bytes());
        }
    }
}
