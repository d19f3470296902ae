//! What the server writes: strings, names, flags, status lines.
//!
//! Everything appends to a buffer, so that many answers leave in one write.

use crate::mutf7;

/// Strings up to this length are quoted where they can be; longer ones travel as literals.
const QUOTED_LIMIT: usize = 1000;

/// Decimal digits, without going through `fmt`: FETCH of a large mailbox writes hundreds of thousands of numbers.
pub fn number(out: &mut Vec<u8>, mut n: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// RFC 3501 §9: `string = quoted / literal`. Quoted when the bytes are short printable ASCII, else a literal. NUL, which
/// neither may hold, becomes 0x80 (what Dovecot sends).
pub fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() <= QUOTED_LIMIT && bytes.iter().all(|&b| (1..0x80).contains(&b) && b != b'\r' && b != b'\n') {
        out.push(b'"');
        for &b in bytes {
            if b == b'"' || b == b'\\' {
                out.push(b'\\');
            }
            out.push(b);
        }
        out.push(b'"');
    } else {
        literal_header(out, bytes.len() as u64);
        let start = out.len();
        out.extend_from_slice(bytes);
        without_nul(&mut out[start..]);
    }
}

/// RFC 5464 §5: `value = nstring / literal8`: a literal8 where there are NULs.
pub fn string8(out: &mut Vec<u8>, bytes: &[u8]) {
    if memchr::memchr(0, bytes).is_none() {
        return string(out, bytes);
    }
    out.push(b'~');
    literal_header(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// `{n}` CRLF: exactly n bytes have to follow.
pub fn literal_header(out: &mut Vec<u8>, size: u64) {
    out.push(b'{');
    number(out, size);
    out.extend_from_slice(b"}\r\n");
}

/// RFC 3516 §7: `literal8 = "~{" number "}" CRLF *OCTET`: exactly `size` bytes have to follow, NUL among them.
pub fn literal8_header(out: &mut Vec<u8>, size: u64) {
    out.push(b'~');
    literal_header(out, size);
}

/// RFC 3501 §9: `CHAR8 = %x01-ff`: a literal holds no NUL.
pub fn without_nul(bytes: &mut [u8]) {
    let mut from = 0;
    while let Some(at) = memchr::memchr(0, &bytes[from..]) {
        bytes[from + at] = 0x80;
        from += at + 1;
    }
}

/// RFC 3501 §9: `nstring = string / nil`
pub fn nstring(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => string(out, bytes),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// RFC 3501 §9: `astring = 1*ASTRING-CHAR / string`; `NIL` is quoted, or it would read as nothing.
pub fn astring(out: &mut Vec<u8>, bytes: &[u8]) {
    let atom = !bytes.is_empty() && bytes.len() <= QUOTED_LIMIT && bytes.iter().all(|&b| crate::cursor::is_astring_char(b));
    if atom && !bytes.eq_ignore_ascii_case(b"NIL") {
        out.extend_from_slice(bytes);
    } else {
        string(out, bytes);
    }
}

/// A mailbox name in modified UTF-7.
pub fn mailbox(out: &mut Vec<u8>, name: &str) {
    astring(out, mutf7::encode(name).as_bytes());
}

/// A mailbox name in UTF-8, for who enabled it (RFC 6855 §3: `quoted =/ DQUOTE *uQUOTED-CHAR DQUOTE`). Names hold no control characters.
pub fn mailbox_utf8(out: &mut Vec<u8>, name: &str) {
    if name.is_ascii() {
        return astring(out, name.as_bytes());
    }
    out.push(b'"');
    for b in name.bytes() {
        if b == b'"' || b == b'\\' {
            out.push(b'\\');
        }
        out.push(b);
    }
    out.push(b'"');
}

/// `(\Seen $Work)`. Keywords that a mailbox on disk has but the grammar has not are left out.
pub fn flags<'a>(out: &mut Vec<u8>, names: impl IntoIterator<Item = &'a str>) {
    out.push(b'(');
    let mut first = true;
    for name in names {
        if !is_flag(name) {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(b' ');
        }
        out.extend_from_slice(name.as_bytes());
    }
    out.push(b')');
}

/// Is it `\Word`, `\*` or a keyword?
fn is_flag(name: &str) -> bool {
    let word = name.strip_prefix('\\').unwrap_or(name);
    name == "\\*" || !word.is_empty() && word.bytes().all(crate::cursor::is_atom_char)
}

/// RFC 3501 §7.1: how a status response begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Ok,
    No,
    Bad,
    Bye,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Status::Ok => "OK",
            Status::No => "NO",
            Status::Bad => "BAD",
            Status::Bye => "BYE",
        }
    }
}

/// `tag STATUS [CODE] text` CRLF; `tag` is `*` for an untagged one, `code` without its brackets or empty. `text` is the
/// server's own; line breaks in it would be a mistake and become spaces.
pub fn status(out: &mut Vec<u8>, tag: &str, status: Status, code: &str, text: &str) {
    out.extend_from_slice(tag.as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.word().as_bytes());
    out.push(b' ');
    if !code.is_empty() {
        out.push(b'[');
        out.extend_from_slice(code.as_bytes());
        out.extend_from_slice(b"] ");
    }
    out.extend(text.bytes().map(|b| if b.is_ascii_control() { b' ' } else { b }));
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cursor::Cursor;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn strings_choose_their_form() {
        assert_eq!(written(|o| string(o, b"a\"b\\")), "\"a\\\"b\\\\\"");
        assert_eq!(written(|o| string(o, b"")), "\"\"");
        assert_eq!(written(|o| string(o, b"a\r\nb")), "{4}\r\na\r\nb");
        assert_eq!(written(|o| string(o, "é".as_bytes())), "{2}\r\né");
        assert_eq!(written(|o| nstring(o, None)), "NIL");
        assert_eq!(written(|o| astring(o, b"nil")), "\"nil\"");
        assert_eq!(written(|o| mailbox(o, "Envoyés")), "Envoy&AOk-s");
        assert_eq!(written(|o| mailbox(o, "a b")), "\"a b\"");
        assert_eq!(written(|o| mailbox_utf8(o, "a&b")), "a&b");
        assert_eq!(written(|o| mailbox_utf8(o, "\u{e9}\"\\")), "\"\u{e9}\\\"\\\\\"");
    }

    #[test]
    fn flags_that_the_grammar_lacks_are_left_out() {
        assert_eq!(written(|o| flags(o, ["\\Seen", "a]b", "$ok", "", "\\*", "a b"])), "(\\Seen $ok \\*)");
    }

    #[test]
    fn status_lines_stay_one_line() {
        assert_eq!(written(|o| status(o, "a", Status::No, "CANNOT", "x\r\ny")), "a NO [CANNOT] x  y\r\n");
    }

    proptest! {
        #[test]
        fn each_string_reads_back(bytes in proptest::collection::vec(1u8..=255, 0..80)) {
            let mut out = Vec::new();
            astring(&mut out, &bytes);
            let mut cursor = Cursor::new(&out);
            prop_assert_eq!(cursor.astring("?").unwrap().into_owned(), bytes);
            prop_assert!(cursor.is_done());
        }
    }
}
