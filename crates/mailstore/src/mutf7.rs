//! Modified UTF-7, the way mailbox names are written on disk and spoken by clients without UTF8=ACCEPT (RFC 3501 §5.1.3).

/// Writes `name` in modified UTF-7: printable US-ASCII as itself, `&` as `&-`, the rest as `&base64-of-UTF-16-`.
pub fn encode(name: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";
    let mut out = String::with_capacity(name.len());
    let mut run: Vec<u16> = Vec::new();
    let flush = |run: &mut Vec<u16>, out: &mut String| {
        if run.is_empty() {
            return;
        }
        out.push('&');
        let (mut bits, mut count) = (0u32, 0);
        for unit in run.drain(..) {
            bits = (bits << 16) | u32::from(unit);
            count += 16;
            while count >= 6 {
                count -= 6;
                out.push(char::from(ALPHABET[(bits >> count) as usize & 63]));
            }
        }
        if count > 0 {
            out.push(char::from(ALPHABET[(bits << (6 - count)) as usize & 63]));
        }
        out.push('-');
    };
    for c in name.chars() {
        if matches!(c, ' '..='~') {
            flush(&mut run, &mut out);
            out.push(c);
            if c == '&' {
                out.push('-');
            }
        } else {
            run.extend_from_slice(c.encode_utf16(&mut [0; 2]));
        }
    }
    flush(&mut run, &mut out);
    out
}

/// Reads modified UTF-7. `None` when it is not the one right spelling of a name: 8-bit or control characters, an
/// unterminated or empty shift, a lone surrogate, encoded printable US-ASCII, bits left over. One name has one spelling,
/// so that no second spelling of `/` or of somebody's mailbox can slip past a check.
pub fn decode(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '&' {
            if !matches!(c, ' '..='~') {
                return None;
            }
            out.push(c);
            continue;
        }
        let end = rest.find('-')?;
        let shifted = &rest[..end];
        rest = &rest[end + 1..];
        if shifted.is_empty() {
            out.push('&');
            continue;
        }
        let mut units = Vec::with_capacity(shifted.len() * 6 / 16);
        let (mut bits, mut count) = (0u32, 0);
        for b in shifted.bytes() {
            let value = match b {
                b'A'..=b'Z' => b - b'A',
                b'a'..=b'z' => b - b'a' + 26,
                b'0'..=b'9' => b - b'0' + 52,
                b'+' => 62,
                b',' => 63,
                _ => return None,
            };
            bits = (bits << 6) | u32::from(value);
            count += 6;
            if count >= 16 {
                count -= 16;
                units.push((bits >> count) as u16);
                bits &= (1 << count) - 1;
            }
        }
        if count >= 6 || bits != 0 {
            return None;
        }
        for decoded in char::decode_utf16(units) {
            let decoded = decoded.ok()?;
            if matches!(decoded, ' '..='~') {
                return None;
            }
            out.push(decoded);
        }
    }
    // `&AOk-&AOk-` for `&AOkA6Q-` is a second spelling of the same name
    (encode(&out) == text).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_rfc3501_and_of_people() {
        for (name, wire) in [
            ("INBOX", "INBOX"),
            ("Envoyés", "Envoy&AOk-s"),
            ("~peter.mail.台北.日本語", "~peter.mail.&U,BTFw-.&ZeVnLIqe-"),
            ("R&D", "R&-D"),
            ("😀", "&2D3eAA-"),
            ("", ""),
        ] {
            assert_eq!(encode(name), wire);
            assert_eq!(decode(wire).as_deref(), Some(name), "{wire}");
        }
    }

    #[test]
    fn wrong_spellings_are_refused() {
        for wire in ["&", "&AAA", "&AAAA-", "&2AA-", "&AC8-", "&AGE-", "é", "a\r", "&U,BTFw-&ZeVnLIqe-", "&AOk=-", "&AO-", "&AOkA-"] {
            assert_eq!(decode(wire), None, "{wire}");
        }
    }

    proptest! {
        #[test]
        fn decode_reverses_encode(name in "\\PC*") {
            prop_assert_eq!(decode(&encode(&name)), Some(name));
        }

        #[test]
        fn decode_takes_anything(text in any::<String>()) {
            if let Some(name) = decode(&text) {
                prop_assert_eq!(encode(&name), text);
            }
        }
    }
}
