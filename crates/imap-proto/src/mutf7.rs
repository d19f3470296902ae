//! Modified UTF-7 (RFC 3501 §5.1.3): how mailbox names travel, and how Dovecot writes them on disk.
//!
//! Printable ASCII stands for itself, `&` is `&-`, everything else is UTF-16BE in base64 with `,` for `/` and without
//! padding, between `&` and `-`.

use base64::Engine;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &IMAP_MUTF7,
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(base64::engine::DecodePaddingMode::RequireNone),
);

/// Encodes a name. Control characters are encoded too, so the result is always printable ASCII.
pub fn encode(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut shifted = Vec::new();
    for c in name.chars() {
        if matches!(c, ' '..='~') {
            flush(&mut shifted, &mut out);
            out.push(c);
            if c == '&' {
                out.push('-');
            }
        } else {
            let mut units = [0; 2];
            shifted.extend(c.encode_utf16(&mut units).iter().flat_map(|unit| unit.to_be_bytes()));
        }
    }
    flush(&mut shifted, &mut out);
    out
}

fn flush(shifted: &mut Vec<u8>, out: &mut String) {
    if !shifted.is_empty() {
        out.push('&');
        BASE64.encode_string(&shifted, out);
        out.push('-');
        shifted.clear();
    }
}

/// Decodes a name. `None` unless it is exactly what [`encode`] makes of the result: an unterminated shift, printable
/// ASCII in base64, a lone surrogate, or two shifts where one would do would give one mailbox two names.
pub fn decode(name: &[u8]) -> Option<String> {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((&b, tail)) = rest.split_first() {
        rest = tail;
        match b {
            b'&' => {
                let end = memchr::memchr(b'-', rest)?;
                let shifted = &rest[..end];
                rest = &rest[end + 1..];
                if shifted.is_empty() {
                    out.push('&');
                    continue;
                }
                let bytes = BASE64.decode(shifted).ok()?;
                if bytes.len() % 2 != 0 {
                    return None;
                }
                let units = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
                for c in char::decode_utf16(units) {
                    out.push(c.ok()?);
                }
            }
            b' '..=b'~' => out.push(b as char),
            _ => return None,
        }
    }
    (encode(&out).as_bytes() == name).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_names_of_rfc3501_5_1_3_and_of_real_clients() {
        for (name, wire) in [
            ("INBOX", "INBOX"),
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("R&D", "R&-D"),
            ("Éléments envoyés", "&AMk-l&AOk-ments envoy&AOk-s"),
            ("😀", "&2D3eAA-"),
            ("a\tb", "a&AAk-b"),
        ] {
            assert_eq!(encode(name), wire);
            assert_eq!(decode(wire.as_bytes()).as_deref(), Some(name));
        }
    }

    #[test]
    fn what_is_not_canonical_is_refused() {
        for bad in [
            "&",
            "a&AOk",
            "&2AA-",      // lone surrogate
            "&AC8-",      // a slash in disguise
            "&AGE-",      // printable ASCII in base64
            "&AOk-&AOk-", // two shifts in a row
            "&AOl-",      // bits left over
            "&AO-",       // half a unit
            "&A/k-",      // plain base64's slash
            "&Jjo!",
            "caf\u{e9}",
        ] {
            assert_eq!(decode(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_name_survives_the_round_trip(name in ".{0,60}") {
            prop_assert_eq!(decode(encode(&name).as_bytes()), Some(name));
        }

        #[test]
        fn junk_never_panics(name in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Some(text) = decode(&name) {
                prop_assert_eq!(encode(&text).into_bytes(), name);
            }
        }
    }
}
