//! Content-Type, Content-Disposition and their parameters (RFC 2045 §5.1, RFC 2183, RFC 2231).

use crate::lexer::Lexer;
use crate::{MAX_PARAMS, charset};
use std::borrow::Cow;

/// A media type with parameters. Names are as written; compare with [`ContentType::is`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentType<'a> {
    pub kind: Cow<'a, [u8]>,
    pub subtype: Cow<'a, [u8]>,
    pub params: Params<'a>,
}

/// A disposition (`inline`, `attachment`, …) with parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disposition<'a> {
    pub kind: Cow<'a, [u8]>,
    pub params: Params<'a>,
}

/// One parameter as IMAP shows it: continuations (`name*0`, `name*1`) joined, quotes removed. A name that ends in `*`
/// has a value in RFC 2231's encoding, `charset'language'percent-encoded`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param<'a> {
    pub name: Cow<'a, [u8]>,
    pub value: Cow<'a, [u8]>,
}

/// Parameters in the order of the field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Params<'a>(pub Vec<Param<'a>>);

impl<'a> Params<'a> {
    pub fn iter(&self) -> std::slice::Iter<'_, Param<'a>> {
        self.0.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of the first parameter of that name, in any case, not decoded.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|p| p.name.eq_ignore_ascii_case(name.as_bytes())).map(|p| &*p.value)
    }

    /// The value as text: RFC 2231's encoding is decoded, and so are encoded words, which many programs put there
    /// although RFC 2047 §5 forbids it.
    pub fn text(&self, name: &str) -> Option<String> {
        let extended = self.0.iter().find(|p| p.name.strip_suffix(b"*").is_some_and(|n| n.eq_ignore_ascii_case(name.as_bytes())));
        match extended {
            Some(param) => Some(decode_extended(&param.value)),
            None => self.get(name).map(crate::words::decode),
        }
    }
}

impl<'a> ContentType<'a> {
    /// `text/plain; charset=us-ascii`, which holds where nothing else is said (RFC 2045 §5.2).
    pub fn text_plain() -> ContentType<'static> {
        let charset = Param { name: Cow::Borrowed(b"charset"), value: Cow::Borrowed(b"us-ascii") };
        ContentType { kind: Cow::Borrowed(b"text"), subtype: Cow::Borrowed(b"plain"), params: Params(vec![charset]) }
    }

    pub(crate) fn simple(kind: &'static str, subtype: &'static str) -> ContentType<'static> {
        ContentType { kind: Cow::Borrowed(kind.as_bytes()), subtype: Cow::Borrowed(subtype.as_bytes()), params: Params::default() }
    }

    /// Parses a field value. `None` without a `type/subtype`; RFC 2045 §5.2 then says `text/plain`.
    pub fn parse(value: &'a [u8]) -> Option<ContentType<'a>> {
        let mut lexer = Lexer::new(value);
        lexer.skip_cfws();
        let kind = lexer.until(is_token_end);
        lexer.skip_cfws();
        if kind.is_empty() || !lexer.eat(b'/') {
            return None;
        }
        lexer.skip_cfws();
        let subtype = lexer.until(is_token_end);
        if subtype.is_empty() {
            return None;
        }
        Some(ContentType { kind: Cow::Borrowed(kind), subtype: Cow::Borrowed(subtype), params: parse_params(&mut lexer) })
    }

    /// Whether it is `kind/subtype`; `*` as subtype stands for any.
    pub fn is(&self, kind: &str, subtype: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind.as_bytes()) && (subtype == "*" || self.subtype.eq_ignore_ascii_case(subtype.as_bytes()))
    }
}

impl<'a> Disposition<'a> {
    pub fn parse(value: &'a [u8]) -> Option<Disposition<'a>> {
        let mut lexer = Lexer::new(value);
        let kind = first_word(&mut lexer)?;
        Some(Disposition { kind: Cow::Borrowed(kind), params: parse_params(&mut lexer) })
    }

    /// The kind alone.
    pub(crate) fn kind_of(value: &'a [u8]) -> Option<&'a [u8]> {
        first_word(&mut Lexer::new(value))
    }
}

fn first_word<'a>(lexer: &mut Lexer<'a>) -> Option<&'a [u8]> {
    lexer.skip_cfws();
    Some(lexer.until(is_token_end)).filter(|word| !word.is_empty())
}

fn is_token_end(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\r' | b'\n' | b'(' | b')' | b';' | b'/' | b'=' | b'"' | b',' | b'<' | b'>')
}

// parameter := attribute "=" value, value := token / quoted-string (RFC 2045 §5.1).
// Outlook and others write `name=my file.pdf`: an unquoted value reaches to the `;` when more than a comment follows.
fn parse_params<'a>(lexer: &mut Lexer<'a>) -> Params<'a> {
    let mut found: Vec<Param<'a>> = Vec::new();
    let mut continued = false;
    while found.len() < MAX_PARAMS {
        lexer.skip_cfws();
        lexer.until(|b| b == b';');
        if !lexer.eat(b';') {
            break;
        }
        lexer.skip_cfws();
        let name = lexer.until(is_token_end);
        lexer.skip_cfws();
        if name.is_empty() || !lexer.eat(b'=') {
            continue;
        }
        lexer.skip_cfws();
        let value = match lexer.peek() {
            Some(b'"') => lexer.quoted(),
            _ => unquoted(lexer),
        };
        continued |= name.contains(&b'*');
        found.push(Param { name: Cow::Borrowed(name), value });
    }
    Params(if continued { join(found) } else { found })
}

fn unquoted<'a>(lexer: &mut Lexer<'a>) -> Cow<'a, [u8]> {
    let start = lexer.clone();
    let token = lexer.until(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n' | b'(' | b';'));
    lexer.skip_cfws();
    if matches!(lexer.peek(), None | Some(b';')) {
        return Cow::Borrowed(token);
    }
    *lexer = start;
    let all = lexer.until(|b| b == b';').trim_ascii_end();
    crate::header::unfold(all)
}

// RFC 2231 §3: `name*0`, `name*1*`, … in any order. A gap ends the value.
fn join(found: Vec<Param<'_>>) -> Vec<Param<'_>> {
    let mut out: Vec<Param<'_>> = Vec::with_capacity(found.len());
    // (place in `out`, number, extended, value)
    let mut pieces: Vec<(usize, u32, bool, Cow<'_, [u8]>)> = Vec::new();
    for param in found {
        match split_continuation(&param.name) {
            None => out.push(param),
            Some((base, number, extended)) => {
                let same = |p: &Param<'_>| p.name.strip_suffix(b"*0").is_some_and(|n| n.eq_ignore_ascii_case(base));
                let place = out.iter().position(same).unwrap_or_else(|| {
                    out.push(Param { name: Cow::Owned([base, b"*0"].concat()), value: Cow::Borrowed(b"") });
                    out.len() - 1
                });
                pieces.push((place, number, extended, param.value));
            }
        }
    }
    pieces.sort_by_key(|(place, number, ..)| (*place, *number));
    for group in pieces.chunk_by(|a, b| a.0 == b.0) {
        let in_order = || group.iter().enumerate().take_while(|(at, piece)| piece.1 == *at as u32).map(|(_, piece)| piece);
        let extended = in_order().any(|piece| piece.2);
        let mut value = Vec::new();
        for (.., piece_extended, piece) in in_order() {
            if extended && !piece_extended {
                if value.is_empty() {
                    value.extend_from_slice(b"''");
                }
                piece.iter().for_each(|b| percent_encode(*b, &mut value));
            } else {
                value.extend_from_slice(piece);
            }
        }
        let target = &mut out[group[0].0];
        let base = target.name.len() - 2;
        let mut name = target.name[..base].to_vec();
        if extended {
            name.push(b'*');
        }
        *target = Param { name: Cow::Owned(name), value: Cow::Owned(value) };
    }
    out
}

// `name*N` and `name*N*`; not `name*`, which stands alone.
fn split_continuation(name: &[u8]) -> Option<(&[u8], u32, bool)> {
    let (name, extended) = name.strip_suffix(b"*").map_or((name, false), |n| (n, true));
    let star = memchr::memrchr(b'*', name)?;
    let digits = std::str::from_utf8(&name[star + 1..]).ok()?;
    let number = digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))?;
    (star > 0).then_some((&name[..star], number, extended))
}

fn percent_encode(b: u8, out: &mut Vec<u8>) {
    if b.is_ascii_alphanumeric() || b"!#$&+-.^_`{|}~".contains(&b) {
        out.push(b);
    } else {
        out.extend_from_slice(format!("%{b:02X}").as_bytes());
    }
}

// RFC 2231 §4: charset'language'text with %XX.
fn decode_extended(value: &[u8]) -> String {
    let mut parts = value.splitn(3, |b| *b == b'\'');
    let (label, text) = match (parts.next(), parts.next(), parts.next()) {
        (Some(label), Some(_), Some(text)) => (label, text),
        _ => (&b"utf-8"[..], value),
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        let hex = |b: &u8| (*b as char).to_digit(16);
        match (first, tail) {
            (b'%', [a, b, tail @ ..]) if hex(a).is_some() && hex(b).is_some() => {
                bytes.push((hex(a).unwrap_or(0) * 16 + hex(b).unwrap_or(0)) as u8);
                rest = tail;
            }
            _ => bytes.push(*first),
        }
    }
    charset::decode(label, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &str) -> String {
        let parsed = match ContentType::parse(value.as_bytes()) {
            Some(parsed) => parsed,
            None => return "none".into(),
        };
        let mut out = format!("{}/{}", String::from_utf8_lossy(&parsed.kind), String::from_utf8_lossy(&parsed.subtype));
        for p in parsed.params.iter() {
            out += &format!(" [{}={}]", String::from_utf8_lossy(&p.name), String::from_utf8_lossy(&p.value));
        }
        out
    }

    #[test]
    fn content_types_are_parsed() {
        for (input, want) in [
            ("text/plain; charset=us-ascii (Plain text)", "text/plain [charset=us-ascii]"),
            ("text/plain; charset=\"us-ascii\"", "text/plain [charset=us-ascii]"),
            (" Multipart/Mixed ; boundary = \"a;b\" ; x=y", "Multipart/Mixed [boundary=a;b] [x=y]"),
            ("text / (c) html;charset=utf-8;", "text/html [charset=utf-8]"),
            ("image/png; name=my file.png; x=1", "image/png [name=my file.png] [x=1]"),
            ("image/png; name=\"un\\\"q\"", "image/png [name=un\"q]"),
            ("text/plain;;; a=b", "text/plain [a=b]"),
            ("text/plain; junk; a=b", "text/plain [a=b]"),
            ("text/plain charset=utf-8", "text/plain"),
            ("multipart/mixed; boundary==_a/b=", "multipart/mixed [boundary==_a/b=]"),
            ("text/plain; a=\"open", "text/plain [a=open]"),
            ("text", "none"),
            ("", "none"),
            ("/plain", "none"),
            ("((((text/plain", "none"),
            ("a/b; t*0=\"x\"; t*1=y", "a/b [t=xy]"),
            ("a/b; t*1=y; u=2; t*0=x", "a/b [t=xy] [u=2]"),
            ("a/b; t*0*=utf-8''%e2; t*1*=%82%ac; t*2=\" z\"", "a/b [t*=utf-8''%e2%82%ac%20z]"),
            ("a/b; t*0=x; t*2=z", "a/b [t=x]"),
            ("a/b; t*=utf-8'fr'%C3%A9", "a/b [t*=utf-8'fr'%C3%A9]"),
            ("a/b; t*99999999999=x", "a/b [t*99999999999=x]"),
            ("a/b; *0=x", "a/b [*0=x]"),
        ] {
            assert_eq!(shown(input), want, "{input:?}");
        }
    }

    #[test]
    fn parameters_become_text() {
        for (input, want) in [
            ("attachment; filename*=utf-8'fr'%C3%A9t%C3%A9.txt", "été.txt"),
            ("attachment; filename*=iso-8859-1''%E9", "é"),
            ("attachment; filename=plain; filename*=utf-8''%E2%82%AC", "€"),
            ("attachment; filename*0*=utf-8''%E2; filename*1*=%82%AC; filename*2=\" b\"", "€ b"),
            ("attachment; filename=\"=?utf-8?q?=C3=A9?=\"", "é"),
            ("attachment; filename*=broken", "broken"),
            ("attachment; filename*=utf-8''%zz%4", "%zz%4"),
        ] {
            let disposition = Disposition::parse(input.as_bytes()).expect("kind");
            assert_eq!(disposition.params.text("filename").as_deref(), Some(want), "{input:?}");
        }
    }

    #[test]
    fn parameters_beyond_the_limit_are_passed_over() {
        let many: String = (0..100_000).map(|n| format!("; x*{n}=a")).collect();
        let value = format!("a/b{many}");
        let parsed = ContentType::parse(value.as_bytes()).expect("type");
        assert_eq!(parsed.params.get("x").map(<[u8]>::len), Some(MAX_PARAMS));
    }
}
