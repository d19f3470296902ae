//! IMAP's section names: which bytes `BODY[1.2.HEADER.FIELDS (…)]` means (RFC 9051 §6.4.5.1).

use crate::header::{empty_line, fields};
use crate::mime::{Kind, Message, Part};
use std::borrow::Cow;

/// What is wanted of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want<'w> {
    /// `BODY[]`, `BODY[1.2]`: the whole message, or the body of the part.
    All,
    /// `HEADER`: the header of the message, or of the message inside a `message/rfc822` part.
    Header,
    /// `HEADER.FIELDS (…)`: the named fields and an empty line.
    HeaderFields(&'w [&'w str]),
    /// `HEADER.FIELDS.NOT (…)`: all other fields and the empty line.
    HeaderFieldsNot(&'w [&'w str]),
    /// `TEXT`: the body of the message, or of the message inside a `message/rfc822` part.
    Text,
    /// `1.2.MIME`: the header of the part itself.
    Mime,
}

/// The bytes of a section; line ends as they stand in the message (see [`crate::crlf`]).
pub type Section<'a> = Cow<'a, [u8]>;

impl<'a> Message<'a> {
    /// The part that a section path names: `[]` is the message, `[1, 2]` the second part of the first.
    pub fn at(&self, path: &[u32]) -> Option<&Part<'a>> {
        let mut part = self.root();
        for (depth, number) in path.iter().enumerate() {
            // RFC 9051 §6.4.5.1: a message part hands numbers on to the message inside; a message that is no multipart
            // has one part, 1, which is its body.
            if depth > 0 && part.kind == Kind::Message {
                part = self.children(part).next()?;
                if part.kind != Kind::Multipart {
                    if *number != 1 {
                        return None;
                    }
                    continue;
                }
            }
            let index = usize::try_from(*number).ok()?.checked_sub(1)?;
            part = match part.kind {
                Kind::Multipart => self.children(part).nth(index)?,
                _ if depth == 0 && index == 0 => part,
                _ => return None,
            };
        }
        Some(part)
    }

    /// The bytes of a section; `None` when the message has no such part.
    pub fn section(&self, path: &[u32], want: Want<'_>) -> Option<Section<'a>> {
        let part = self.at(path)?;
        if want == Want::All {
            let whole = path.is_empty();
            return Some(Cow::Borrowed(if whole { self.bytes() } else { part.body_bytes() }));
        }
        if want == Want::Mime {
            return (!path.is_empty()).then(|| Cow::Borrowed(part.header_bytes()));
        }
        let message = match (path.is_empty(), part.kind) {
            (true, _) => part,
            (false, Kind::Message) => self.children(part).next()?,
            (false, _) => return None,
        };
        Some(match want {
            Want::Text => Cow::Borrowed(message.body_bytes()),
            Want::HeaderFields(names) => pick(message.header_bytes(), |name| named(names, name)),
            Want::HeaderFieldsNot(names) => pick(message.header_bytes(), |name| !named(names, name)),
            _ => Cow::Borrowed(message.header_bytes()),
        })
    }
}

fn named(names: &[&str], name: &[u8]) -> bool {
    names.iter().any(|n| n.as_bytes().eq_ignore_ascii_case(name))
}

/// The fields of `header` whose name `wanted` takes, and an empty line with the line end that the header uses.
pub fn pick<'a>(header: &'a [u8], wanted: impl Fn(&[u8]) -> bool) -> Section<'a> {
    let mut out = Vec::new();
    let mut iter = fields(header);
    for field in iter.by_ref() {
        if wanted(field.name()) {
            out.extend_from_slice(field.raw());
            if !field.raw().ends_with(b"\n") {
                out.extend_from_slice(b"\r\n");
            }
        }
    }
    let rest = &header[iter.position()..];
    let empty = &rest[..empty_line(rest)];
    out.extend_from_slice(if empty.is_empty() { b"\r\n" } else { empty });
    Cow::Owned(out)
}
