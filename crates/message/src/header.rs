//! Header fields: where they begin and end, whatever their content (RFC 5322 §2.2).

use crate::words;
use memchr::memchr;
use std::borrow::Cow;

/// One header field with its continuation lines. A line without a colon is a field with an empty name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    raw: &'a [u8],
    offset: usize,
    name_end: usize,
    value_start: usize,
}

impl<'a> Field<'a> {
    /// The name as written, without space before the colon; empty for a line that is no field.
    pub fn name(&self) -> &'a [u8] {
        &self.raw[..self.name_end]
    }

    /// Whether this is the field `name`, in any case.
    pub fn is(&self, name: &str) -> bool {
        self.name().eq_ignore_ascii_case(name.as_bytes())
    }

    /// What stands behind the colon, folds and all, without the last line end.
    pub fn value(&self) -> &'a [u8] {
        let value = &self.raw[self.value_start..];
        let value = value.strip_suffix(b"\n").unwrap_or(value);
        value.strip_suffix(b"\r").unwrap_or(value)
    }

    /// The value on one line: line ends of folds removed (RFC 5322 §2.2.3), without white space at both ends.
    pub fn unfolded(&self) -> Cow<'a, [u8]> {
        unfold(self.value())
    }

    /// The value as text: unfolded, encoded words decoded, raw 8-bit as UTF-8 or else windows-1252.
    pub fn text(&self) -> String {
        words::decode(&self.unfolded())
    }

    /// The whole field with its line end(s).
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Where the field begins in the bytes given to [`fields`].
    pub fn offset(&self) -> usize {
        self.offset
    }
}

/// Removes line ends that precede white space, and white space at both ends.
pub(crate) fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    let value = value.trim_ascii();
    if memchr(b'\n', value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut out = Vec::with_capacity(value.len());
    for line in value.split(|b| *b == b'\n') {
        out.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
    }
    Cow::Owned(out)
}

/// The fields of a message or part, up to the empty line or the end.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Fields<'_> {
    /// Where the next field, or the empty line, begins.
    pub fn position(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let rest = self.bytes.get(self.at..)?;
        if rest.is_empty() || empty_line(rest) > 0 {
            return None;
        }
        let mut end = 0;
        loop {
            end += memchr(b'\n', &rest[end..]).map_or(rest.len() - end, |lf| lf + 1);
            // A line of nothing but white space continues the field too (RFC 5322 §4.2).
            if !matches!(rest.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        let raw = &rest[..end];
        let first_line = memchr(b'\n', raw).map_or(raw.len(), |lf| lf);
        let (name_end, value_start) = match memchr(b':', &raw[..first_line]) {
            // RFC 5322 §4.5: space before the colon is obsolete; inside the name it makes the line no field.
            Some(colon) => {
                let name = raw[..colon].trim_ascii_end();
                if name.iter().all(|b| b.is_ascii_graphic() || *b >= 0x80) { (name.len(), colon + 1) } else { (0, 0) }
            }
            None => (0, 0),
        };
        let field = Field { raw, offset: self.at, name_end, value_start };
        self.at += end;
        Some(field)
    }
}

/// Length of the empty line that `bytes` begins with; 0 when it begins with something else.
pub(crate) fn empty_line(bytes: &[u8]) -> usize {
    match bytes {
        [b'\n', ..] => 1,
        [b'\r', b'\n', ..] => 2,
        _ => 0,
    }
}

/// Iterates over the header fields at the beginning of `message`.
pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields { bytes: message, at: 0 }
}

/// The first field of that name, in any case.
pub fn find<'a>(message: &'a [u8], name: &str) -> Option<Field<'a>> {
    fields(message).find(|field| field.is(name))
}

/// Whether the whole header is there, when more bytes may follow: an empty line or a line that is no field ends it. What is not closed
/// by a line end can still become anything.
pub fn header_ends(bytes: &[u8]) -> bool {
    let mut fields = fields(bytes);
    let ended = fields.by_ref().any(|field| field.name().is_empty() && memchr(b'\n', field.raw()).is_some());
    ended || empty_line(&bytes[fields.position()..]) > 0
}

/// Where the body begins: after the empty line, or at the end when there is none.
pub fn header_length(message: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let rest = &message[at..];
        match empty_line(rest) {
            0 => {}
            length => return at + length,
        }
        match memchr(b'\n', rest) {
            Some(lf) => at += lf + 1,
            None => return message.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_known_to_be_whole() {
        for (bytes, want) in [
            ("A: b\r\n\r\n", true),
            ("A: b\r\n\r\nbody", true),
            ("A: b\n\n", true),
            ("\r\nbody", true),
            ("A: b\r\nno field\r\n", true),
            ("A: b\r\nno field", false),
            ("A: b\r\n", false),
            ("A: b\r\n\r", false),
            ("A: b", false),
            ("A: b\r\n c", false),
            ("", false),
        ] {
            assert_eq!(header_ends(bytes.as_bytes()), want, "{bytes:?}");
        }
    }
    use proptest::prelude::*;

    fn names(message: &[u8]) -> Vec<String> {
        fields(message).map(|f| String::from_utf8_lossy(f.name()).into_owned()).collect()
    }

    #[test]
    fn fields_are_found_with_folds_and_either_line_end() {
        for message in ["From: a\r\nSubject: one\r\n two\r\nTo : b\r\n\r\nbody: x", "From: a\nSubject: one\n two\nTo : b\n\nbody: x"] {
            assert_eq!(names(message.as_bytes()), ["From", "Subject", "To"]);
            let subject = find(message.as_bytes(), "SUBJECT").expect("there");
            assert_eq!(&*subject.unfolded(), b"one two");
            assert!(subject.value().ends_with(b" two"));
            assert_eq!(&message.as_bytes()[header_length(message.as_bytes())..], b"body: x");
            assert_eq!(&message.as_bytes()[subject.offset()..][..7], b"Subject");
        }
    }

    #[test]
    fn odd_lines_do_not_end_the_header() {
        for (input, want, rest) in [
            ("From x Mon\nA: 1\n\nb", vec!["", "A"], "b"),
            (" lead\nA: 1\n\nb", vec!["", "A"], "b"),
            ("A: 1\n  \nB: 2\n\nb", vec!["A", "B"], "b"),
            ("no colon here\nA: 1\n\nb", vec!["", "A"], "b"),
            ("two words: x\nA: 1\n\nb", vec!["", "A"], "b"),
            (":x\n\nb", vec![""], "b"),
            ("\nb", vec![], "b"),
            ("\r\nb", vec![], "b"),
            ("A: 1", vec!["A"], ""),
            ("A: 1\n", vec!["A"], ""),
            ("", vec![], ""),
            ("A: 1\r\n\r\n", vec!["A"], ""),
        ] {
            assert_eq!(names(input.as_bytes()), want, "{input:?}");
            assert_eq!(&input[header_length(input.as_bytes())..], rest, "{input:?}");
        }
    }

    proptest! {
        #[test]
        fn the_raw_fields_are_the_header(input in "[aA:\\r\\n \\t]{0,60}") {
            let joined: Vec<u8> = fields(input.as_bytes()).flat_map(|f| f.raw().to_vec()).collect();
            let length = header_length(input.as_bytes());
            prop_assert!(input.as_bytes()[..length].starts_with(&joined));
            prop_assert!(length - joined.len() <= 2);
        }
    }
}
