//! Text that came from a peer: made safe to show, hidden when it is secret, xtext.

use std::fmt;
use zeroize::Zeroizing;

/// The text with each control character as an escape (`\r`, `\n`, `\u{1b}`), cut after 1,000 characters: nothing a peer
/// sends can forge a log line, move a terminal's cursor, or fill a disk.
pub fn printable(text: &str) -> String {
    const LIMIT: usize = 1000;
    let mut out = String::with_capacity(text.len().min(LIMIT));
    for (count, c) in text.chars().enumerate() {
        if count == LIMIT {
            out.push('…');
            break;
        }
        // Bidi overrides and line separators reorder or break what a person reads.
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// A password or SASL exchange. Shows as `<secret>` wherever it is printed, and is overwritten when dropped.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(Zeroizing::new(text.into()))
    }

    /// The secret itself; never hand this to a log.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// Encodes as xtext (RFC 3461 §4): everything but printable ASCII, `+` and `=` becomes `+HH`.
pub fn xtext_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if (33..=126).contains(&b) && b != b'+' && b != b'=' {
            out.push(b as char);
        } else {
            out.push_str(&format!("+{b:02X}"));
        }
    }
    out
}

/// Decodes xtext (RFC 3461 §4). `None` for malformed text, for bytes that are no UTF-8, and for CR, LF or NUL, which
/// have no business in a parameter and would forge headers later.
pub fn xtext_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        match b {
            b'+' => {
                let mut digit = || match bytes.next()? {
                    d @ b'0'..=b'9' => Some(d - b'0'),
                    d @ b'A'..=b'F' => Some(d - b'A' + 10),
                    _ => None,
                };
                out.push(digit()? << 4 | digit()?);
            }
            33..=126 if b != b'=' => out.push(b),
            _ => return None,
        }
    }
    let text = String::from_utf8(out).ok()?;
    (!text.contains(['\r', '\n', '\0'])).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn printable_escapes_what_could_forge_a_line() {
        assert_eq!(printable("a\r\nb\x1b[0m\0é"), "a\\r\\nb\\u{1b}[0m\\u{0}é");
        assert_eq!(printable(&"x".repeat(5000)).chars().count(), 1001);
    }

    #[test]
    fn secrets_do_not_print() {
        assert_eq!(format!("{:?}", Secret::new("pw")), "<secret>");
    }

    #[test]
    fn xtext_refuses_line_breaks_and_junk() {
        assert_eq!(xtext_decode("a+2Bb"), Some("a+b".into()));
        for bad in ["+0D", "+0A", "+00", "+2", "+2b", "a=b", "a b", "+FF"] {
            assert_eq!(xtext_decode(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn xtext_round_trip(text in "[^\\r\\n\\x00]{0,40}") {
            prop_assert_eq!(xtext_decode(&xtext_encode(&text)), Some(text));
        }
    }
}
