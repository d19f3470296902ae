//! Binary MIME for hosts that take lines only: binary parts become base64 (RFC 3030 §3, RFC 2045 §6).

use crate::{ContentType, Kind, MAX_PARTS, Message, Part};
use std::ops::Range;

/// Octets in one line of base64: 76 characters.
const LINE: usize = 57;
/// RFC 5322 §2.1.1, without the line end.
const LONGEST_LINE: usize = 998;

/// The message with every part in lines: what is binary, or not what its Content-Transfer-Encoding says, becomes base64; so does what
/// has octets above 127 unless `eight_bit`. Parts that are encoded already stay as they are, so that nothing is encoded twice.
///
/// `None` where that would change what somebody signed (RFC 1847 §2.1), or something that must not be encoded (RFC 2045 §6.4), or that
/// is not in lines and is encoded by a way we do not know (§6.3), or where the structure is too large to be sure of. Stray line ends in headers and between parts are left in place.
pub fn in_lines(raw: &[u8], eight_bit: bool) -> Option<Vec<u8>> {
    let message = Message::parse(raw);
    if message.parts().len() >= MAX_PARTS {
        return None;
    }
    let mut edits: Vec<(Range<usize>, Vec<u8>)> = Vec::new();
    for part in message.parts() {
        let is_leaf = !matches!(part.kind, Kind::Multipart | Kind::Message);
        let declared = part.encoding_name();
        let says = |names: &[&[u8]]| declared.is_some_and(|name| names.iter().any(|n| name.eq_ignore_ascii_case(n)));
        let is_binary = says(&[b"binary"]);
        let encoded = says(&[b"base64", b"quoted-printable"]);
        let encode = is_leaf && !encoded && (is_binary || !fits(part.body_bytes(), eight_bit));
        if !encode && !is_binary {
            continue;
        }
        // another name in the place of an encoding we do not know would lose it
        let is_unknown = declared.is_some() && !says(&[b"7bit", b"8bit", b"binary"]);
        if encode && (is_composite(part) || is_unknown) {
            return None;
        }
        if is_signed(&message, part) {
            return None;
        }
        let name = if encode { "base64" } else { declared_for(part, eight_bit) };
        relabel(part, name, &mut edits);
        if encode {
            edits.push((part.body.clone(), base64(part.body_bytes(), ends_message(raw, part))));
        }
    }
    let mut out = Vec::with_capacity(raw.len() / 3 * 4 + raw.len() / 50 + 256);
    if !edits.is_empty() && !message.root().header_fields().any(|field| field.is("MIME-Version")) {
        out.extend_from_slice(b"MIME-Version: 1.0\r\n");
    }
    let mut at = 0;
    for (range, text) in edits {
        out.extend_from_slice(&raw[at..range.start]);
        out.extend_from_slice(&text);
        at = range.end;
    }
    out.extend_from_slice(&raw[at..]);
    // What stands outside of parts.
    (!out.contains(&0) && (eight_bit || out.is_ascii())).then_some(out)
}

/// As the header has it: a multipart without a boundary is a leaf, and may all the same not be encoded.
fn is_composite(part: &Part<'_>) -> bool {
    let field = part.header_fields().find(|field| field.is("Content-Type"));
    let declared = field.and_then(|field| ContentType::parse(field.value()));
    declared.is_some_and(|kind| kind.is("multipart", "*") || kind.is("message", "*"))
}

/// Whether the body is 7bit or 8bit text (RFC 2045 §2.7, 2.8).
fn fits(body: &[u8], eight_bit: bool) -> bool {
    let mut lines = body.split(|b| *b == b'\n').peekable();
    while let Some(line) = lines.next() {
        let is_last = lines.peek().is_none();
        let text = line.strip_suffix(b"\r").unwrap_or(line);
        let ended = is_last || text.len() < line.len();
        if !ended || text.len() > LONGEST_LINE || text.iter().any(|b| matches!(b, 0 | b'\r')) {
            return false;
        }
        // The CR of a last line has no LF.
        if is_last && text.len() < line.len() {
            return false;
        }
    }
    eight_bit || body.is_ascii()
}

/// What a multipart or message is called once its parts are in lines.
fn declared_for(part: &Part<'_>, eight_bit: bool) -> &'static str {
    if eight_bit && !part.body_bytes().is_ascii() { "8bit" } else { "7bit" }
}

fn is_signed(message: &Message<'_>, part: &Part<'_>) -> bool {
    let mut around = message.parent(part);
    while let Some(parent) = around {
        if parent.content_type.is("multipart", "signed") {
            return true;
        }
        around = message.parent(parent);
    }
    false
}

fn ends_message(raw: &[u8], part: &Part<'_>) -> bool {
    part.body.end == raw.len()
}

/// Gives the part another Content-Transfer-Encoding.
fn relabel(part: &Part<'_>, name: &str, edits: &mut Vec<(Range<usize>, Vec<u8>)>) {
    let label = format!("Content-Transfer-Encoding: {name}\r\n").into_bytes();
    let mut label = Some(label);
    let mut end = part.header.start;
    let first = edits.len();
    for field in part.header_fields() {
        let start = part.header.start + field.offset();
        end = start + field.raw().len();
        if field.is("Content-Transfer-Encoding") {
            edits.push((start..end, label.take().unwrap_or_default()));
        }
    }
    if let Some(label) = label.take() {
        // A header that is nothing but the empty line, or lacks even that.
        let has_end = part.header.end > end;
        let text = if has_end { label } else { [label, b"\r\n".to_vec()].concat() };
        edits.insert(first, (end..end, text));
    }
}

fn base64(body: &[u8], with_line_end: bool) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::with_capacity(body.len() / 3 * 4 + body.len() / LINE * 2 + 8);
    for (at, line) in body.chunks(LINE).enumerate() {
        if at > 0 {
            out.extend_from_slice(b"\r\n");
        }
        for group in line.chunks(3) {
            let bits = group.iter().fold(0, |bits, b| bits << 8 | u32::from(*b)) << (8 * (3 - group.len()));
            let digit = |n: u32| DIGITS[(bits >> (18 - 6 * n) & 63) as usize];
            out.extend((0..4).map(|n| if n as usize <= group.len() { digit(n) } else { b'=' }));
        }
    }
    if with_line_end {
        out.extend_from_slice(b"\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(raw: &[u8], eight_bit: bool) -> String {
        in_lines(raw, eight_bit).map_or("none".into(), |out| String::from_utf8_lossy(&out).into_owned())
    }

    #[test]
    fn binary_parts_become_base64_and_others_stay() {
        let part = |head: &str, body: &str| format!("--b\r\n{head}\r\n\r\n{body}\r\n");
        let mixed = |head: &str, parts: &str| {
            format!("MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n{head}\r\n{parts}--b--\r\n")
        };
        let cte = |name: &str| format!("Content-Type: image/png\r\nContent-Transfer-Encoding: {name}");
        for (raw, eight_bit, want) in [
            (
                "Subject: x\r\nContent-Transfer-Encoding: BINARY\r\n\r\na\0b\n\r".to_owned(),
                true,
                "MIME-Version: 1.0\r\nSubject: x\r\nContent-Transfer-Encoding: base64\r\n\r\nYQBiCg0=\r\n".to_owned(),
            ),
            (
                mixed("Content-Transfer-Encoding: binary\r\n", &(part(&cte("binary"), "\0\r\n\r") + &part("X: y", "é"))),
                true,
                mixed("Content-Transfer-Encoding: 8bit\r\n", &(part(&cte("base64"), "AA0KDQ==") + &part("X: y", "é"))),
            ),
            (
                mixed("", &(part(&cte("binary"), "a\0") + &part("X: y", "é"))),
                false,
                mixed("", &(part(&cte("base64"), "YQA=") + &part("X: y\r\nContent-Transfer-Encoding: base64", "w6k="))),
            ),
            // Encoded already: never twice.
            (mixed("", &part(&cte("base64"), "YQA=")), false, mixed("", &part(&cte("base64"), "YQA="))),
            // It says 7bit, and is not.
            (mixed("", &part(&cte("7bit"), "a\nb")), true, mixed("", &part(&cte("base64"), "YQpi"))),
            // A message inside, whose part is binary.
            (
                format!(
                    "MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: binary\r\n\r\nSubject: in\r\n{}\r\n\r\n\0",
                    cte("binary")
                ),
                true,
                format!(
                    "MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: in\r\n{}\r\n\r\nAA==\r\n",
                    cte("base64")
                ),
            ),
            ("Subject: text\r\n\r\nplain\r\n".to_owned(), false, "Subject: text\r\n\r\nplain\r\n".to_owned()),
        ] {
            assert_eq!(shown(raw.as_bytes(), eight_bit), want, "{raw:?}");
        }
    }

    #[test]
    fn what_must_not_be_encoded_is_left_to_the_sender() {
        let inner = "--b\r\nContent-Transfer-Encoding: binary\r\n\r\n\0\r\n--b--\r\n";
        for raw in [
            format!("Content-Type: multipart/signed; boundary=b\r\n\r\n{inner}"),
            "Content-Type: message/partial; id=x; number=1\r\nContent-Transfer-Encoding: binary\r\n\r\n\0".to_owned(),
            "Content-Type: multipart/mixed\r\nContent-Transfer-Encoding: binary\r\n\r\n\0".to_owned(),
            format!("Content-Type: multipart/mixed; boundary=b\r\n\r\npreamble \0\r\n{inner}"),
            "Content-Transfer-Encoding: x-uuencode\r\n\r\nbegin 644 a\n#86)C\nend\n".to_owned(),
        ] {
            assert_eq!(in_lines(raw.as_bytes(), true), None, "{raw:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_encoded_decodes_to_the_same(a in proptest::collection::vec(any::<u8>(), 0..200), b in "[\\r\\n\\x00-]{0,20}", eight_bit in any::<bool>()) {
            // A body cannot hold its own boundary.
            let head = |text: &str| [text.as_bytes(), b"\r\nContent-Transfer-Encoding: binary\r\n\r\n"].concat();
            let raw = [
                b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=zzzzzzzzzz\r\n\r\n--zzzzzzzzzz\r\n".to_vec(),
                head("Content-Type: a/b"), a.clone(), b"\r\n--zzzzzzzzzz\r\n".to_vec(),
                head("X: y"), b.clone().into_bytes(), b"\r\n--zzzzzzzzzz--\r\n".to_vec(),
            ].concat();
            let out = in_lines(&raw, eight_bit).expect("simple");
            prop_assert!(out.is_ascii() && out.split(|b| *b == b'\n').all(|line| line.len() <= 77));
            let parsed = Message::parse(&out);
            let bodies: Vec<Vec<u8>> = parsed.children(parsed.root()).map(|part| part.decoded().into_owned()).collect();
            prop_assert_eq!(bodies, vec![a, b.into_bytes()]);
        }
    }
}
