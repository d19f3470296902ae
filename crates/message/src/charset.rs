//! Charsets to UTF-8. Unknown names and malformed bytes give replacement characters, never an error.

use encoding_rs::Encoding;

/// Decodes `bytes` from the charset `label` (any case, quotes and RFC 2231 language already gone).
pub fn decode(label: &[u8], bytes: &[u8]) -> String {
    let label = label.trim_ascii();
    if is_ascii_label(label) {
        return decode_unknown(bytes);
    }
    if label.eq_ignore_ascii_case(b"utf-7") || label.eq_ignore_ascii_case(b"unicode-1-1-utf-7") {
        return decode_utf7(bytes);
    }
    match Encoding::for_label_no_replacement(label) {
        // The name is the sender's promise; a byte order mark is not asked.
        Some(encoding) => encoding.decode_without_bom_handling(bytes).0.into_owned(),
        None => decode_unknown(bytes),
    }
}

/// Whether [`decode`] knows the charset.
pub fn is_known(label: &[u8]) -> bool {
    let label = label.trim_ascii();
    is_ascii_label(label) || label.eq_ignore_ascii_case(b"utf-7") || Encoding::for_label_no_replacement(label).is_some()
}

/// 8-bit bytes of which nothing is known, or which claim to be ASCII: UTF-8 if they are, else windows-1252.
pub fn decode_unknown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => encoding_rs::WINDOWS_1252.decode_without_bom_handling(bytes).0.into_owned(),
    }
}

fn is_ascii_label(label: &[u8]) -> bool {
    [&b"us-ascii"[..], b"ascii", b"ansi_x3.4-1968", b"unknown-8bit", b"x-unknown", b"8bit", b""]
        .iter()
        .any(|n| label.eq_ignore_ascii_case(n))
}

// RFC 2152. encoding_rs leaves UTF-7 out, as browsers must; mail has it still.
fn decode_utf7(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(plus) = memchr::memchr(b'+', rest) {
        push_ascii(&rest[..plus], &mut out);
        rest = &rest[plus + 1..];
        let length = rest.iter().position(|b| sextet(*b).is_none()).unwrap_or(rest.len());
        let (shifted, tail) = rest.split_at(length);
        rest = tail.strip_prefix(b"-").unwrap_or(tail);
        if shifted.is_empty() {
            out.push(if tail.starts_with(b"-") { '+' } else { char::REPLACEMENT_CHARACTER });
            continue;
        }
        let (mut bits, mut held, mut units) = (0u32, 0, Vec::with_capacity(length / 2));
        for value in shifted.iter().filter_map(|b| sextet(*b)) {
            bits = bits << 6 | value;
            held += 6;
            if held >= 16 {
                held -= 16;
                units.push((bits >> held) as u16);
                bits &= (1 << held) - 1;
            }
        }
        out.extend(char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)));
    }
    push_ascii(rest, &mut out);
    out
}

fn push_ascii(bytes: &[u8], out: &mut String) {
    out.extend(bytes.iter().map(|b| if b.is_ascii() { *b as char } else { char::REPLACEMENT_CHARACTER }));
}

fn sextet(b: u8) -> Option<u32> {
    match b {
        b'A'..=b'Z' => Some(u32::from(b - b'A')),
        b'a'..=b'z' => Some(u32::from(b - b'a') + 26),
        b'0'..=b'9' => Some(u32::from(b - b'0') + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charsets_become_utf8() {
        for (label, bytes, want) in [
            ("utf-8", &b"\xc3\xa9"[..], "é"),
            ("UTF-8", b"\xc3", "\u{fffd}"),
            ("iso-8859-1", b"\xe9", "é"),
            ("iso-8859-15", b"\xa4", "€"),
            ("windows-1251", b"\xcf", "П"),
            ("iso-2022-jp", b"\x1b$B$\"\x1b(B", "あ"),
            ("gb18030", b"\xc4\xe3", "你"),
            ("us-ascii", b"\xe9", "é"),
            ("us-ascii", b"\xc3\xa9", "é"),
            ("no-such-charset", b"abc\xe9", "abcé"),
            ("", b"abc", "abc"),
            ("utf-7", b"Hi Mom -+Jjo--!", "Hi Mom -☺-!"),
            ("utf-7", b"A+ImIDkQ.", "A≢Α."),
            ("utf-7", b"1 +- 1", "1 + 1"),
            ("utf-7", b"+2Fg-", "\u{fffd}"),
            ("utf-7", b"+", "\u{fffd}"),
            ("utf-7", b"\xff+A", "\u{fffd}"),
        ] {
            assert_eq!(decode(label.as_bytes(), bytes), want, "{label} {bytes:?}");
        }
        assert!(is_known(b"KOI8-R") && !is_known(b"klingon"));
    }
}
