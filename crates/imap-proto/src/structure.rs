//! BODY and BODYSTRUCTURE (RFC 3501 §7.4.2).
//!
//! Recursion follows MIME nesting, which `message` bounds at 100.

use crate::encode::{nstring, number, string};
use message::{Disposition, Kind, Message, Params, Part};

/// Writes the structure of the whole message; `extended` for BODYSTRUCTURE.
pub fn write(out: &mut Vec<u8>, message: &Message<'_>, extended: bool) {
    body(out, message, message.root(), extended);
}

/// RFC 3501 §9: `body = "(" (body-type-1part / body-type-mpart) ")"`
fn body(out: &mut Vec<u8>, message: &Message<'_>, part: &Part<'_>, extended: bool) {
    out.push(b'(');
    match part.kind {
        Kind::Multipart => multipart(out, message, part, extended),
        _ => single(out, message, part, extended),
    }
    out.push(b')');
}

/// RFC 3501 §9: `body-type-mpart = 1*body SP media-subtype [SP body-ext-mpart]`
fn multipart(out: &mut Vec<u8>, message: &Message<'_>, part: &Part<'_>, extended: bool) {
    let mut empty = true;
    for child in message.children(part) {
        body(out, message, child, extended);
        empty = false;
    }
    if empty {
        // The grammar wants one body at least.
        out.extend_from_slice(b"(\"text\" \"plain\" NIL NIL NIL \"7bit\" 0 0");
        if extended {
            out.extend_from_slice(b" NIL NIL NIL NIL");
        }
        out.push(b')');
    }
    out.push(b' ');
    string(out, &part.content_type.subtype);
    if extended {
        // body-ext-mpart = body-fld-param SP body-fld-dsp SP body-fld-lang SP body-fld-loc
        out.push(b' ');
        params(out, &part.content_type.params);
        out.push(b' ');
        disposition_language_location(out, part);
    }
}

/// RFC 3501 §9: `body-type-1part = (body-type-basic / body-type-msg / body-type-text) [SP body-ext-1part]`
fn single(out: &mut Vec<u8>, message: &Message<'_>, part: &Part<'_>, extended: bool) {
    let kind = &part.content_type;
    // What claims to hold other parts but was not taken apart (no boundary, too deep) would break the client's grammar.
    let opaque = part.kind == Kind::Other && (kind.is("multipart", "*") || kind.is("message", "rfc822") || kind.is("message", "global"));
    if opaque {
        out.extend_from_slice(b"\"application\" \"octet-stream\"");
    } else {
        string(out, &kind.kind);
        out.push(b' ');
        string(out, &kind.subtype);
    }
    // body-fields = body-fld-param SP body-fld-id SP body-fld-desc SP body-fld-enc SP body-fld-octets
    out.push(b' ');
    params(out, &kind.params);
    out.push(b' ');
    nstring(out, part.id().as_deref());
    out.push(b' ');
    nstring(out, part.description().as_deref());
    out.push(b' ');
    string(out, part.encoding_name().unwrap_or(b"7bit"));
    out.push(b' ');
    number(out, part.body_size);
    match part.kind {
        Kind::Text => {
            out.push(b' ');
            number(out, part.body_lines);
        }
        Kind::Message => {
            // body-type-msg = media-message SP body-fields SP envelope SP body SP body-fld-lines
            if let Some(inner) = message.children(part).next() {
                out.push(b' ');
                crate::envelope::write(out, inner.header_bytes());
                out.push(b' ');
                body(out, message, inner, extended);
                out.push(b' ');
                number(out, part.body_lines);
            }
        }
        Kind::Multipart | Kind::Other => {}
    }
    if extended {
        // body-ext-1part = body-fld-md5 SP body-fld-dsp SP body-fld-lang SP body-fld-loc
        out.push(b' ');
        nstring(out, part.md5().as_deref());
        out.push(b' ');
        disposition_language_location(out, part);
    }
}

/// RFC 3501 §9: `body-fld-param = "(" string SP string *(SP string SP string) ")" / nil`
fn params(out: &mut Vec<u8>, params: &Params<'_>) {
    if params.is_empty() {
        return out.extend_from_slice(b"NIL");
    }
    out.push(b'(');
    for (at, param) in params.iter().enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        string(out, &param.name);
        out.push(b' ');
        string(out, &param.value);
    }
    out.push(b')');
}

fn disposition_language_location(out: &mut Vec<u8>, part: &Part<'_>) {
    match part.disposition() {
        // body-fld-dsp = "(" string SP body-fld-param ")" / nil
        Some(Disposition { kind, params: list }) => {
            out.push(b'(');
            string(out, &kind);
            out.push(b' ');
            params(out, &list);
            out.push(b')');
        }
        None => out.extend_from_slice(b"NIL"),
    }
    out.push(b' ');
    match part.language().as_slice() {
        [] => out.extend_from_slice(b"NIL"),
        // body-fld-lang = nstring / "(" string *(SP string) ")"
        [one] => string(out, one),
        many => {
            out.push(b'(');
            for (at, tag) in many.iter().enumerate() {
                if at > 0 {
                    out.push(b' ');
                }
                string(out, tag);
            }
            out.push(b')');
        }
    }
    out.push(b' ');
    nstring(out, part.location().as_deref());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn structure(text: &str, extended: bool) -> String {
        let mut out = Vec::new();
        write(&mut out, &Message::parse(text.as_bytes()), extended);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn a_plain_message() {
        let text = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\none\r\ntwo\r\n";
        assert_eq!(structure(text, false), "(\"text\" \"plain\" (\"charset\" \"utf-8\") NIL NIL \"8bit\" 10 2)");
        assert_eq!(structure(text, true), "(\"text\" \"plain\" (\"charset\" \"utf-8\") NIL NIL \"8bit\" 10 2 NIL NIL NIL NIL)");
    }

    #[test]
    fn nested_parts_with_a_message_inside() {
        let text = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\nContent-Disposition: inline\r\n\r\n<p>\r\n--b\r\n\
            Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nx\r\n--b--\r\n";
        assert_eq!(
            structure(text, false),
            "((\"text\" \"html\" NIL NIL NIL \"7bit\" 3 0)(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 16 (NIL \"in\" NIL NIL NIL NIL NIL NIL NIL NIL) \
             (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 1 0) 2) \"mixed\")"
        );
        assert!(structure(text, true).ends_with("\"mixed\" (\"boundary\" \"b\") NIL NIL NIL)"));
        assert!(structure(text, true).contains("NIL (\"inline\" NIL) NIL NIL)"));
    }

    #[test]
    fn an_empty_multipart_gets_a_part() {
        let text = "Content-Type: multipart/mixed; boundary=b\r\n\r\nnothing\r\n";
        assert!(structure(text, false).starts_with("((\"text\" \"plain\" "), "{}", structure(text, false));
    }

    #[test]
    fn a_thousand_levels_stay_parseable() {
        let mut text = String::new();
        for level in 0..1000 {
            text.push_str(&format!("Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n"));
        }
        let shown = structure(&text, true);
        assert_eq!(shown.matches('(').count(), shown.matches(')').count());
    }
}
