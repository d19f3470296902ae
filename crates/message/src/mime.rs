//! The MIME structure of a message in one pass over its lines (RFC 2045, RFC 2046), with byte offsets.
//!
//! Boundaries match as RFC 2046 §5.1.1 says: at the beginning of a line, whatever follows; of several that match, the
//! longest is meant, so that one boundary may be the prefix of another. The line end before a boundary belongs to it.

use crate::content::{ContentType, Disposition};
use crate::header::{empty_line, fields, unfold};
use crate::{Encoding, Field, MAX_DEPTH, MAX_PARTS, charset};
use memchr::memchr_iter;
use std::borrow::Cow;
use std::ops::Range;

/// A message and its parts. Borrows the bytes; [`Message::parse`] never fails.
#[derive(Debug, Clone)]
pub struct Message<'a> {
    raw: &'a [u8],
    parts: Vec<Part<'a>>,
}

/// What a part is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `text/*`: IMAP shows its lines.
    Text,
    /// A multipart with a boundary. It may have no children at all: IMAP then needs a made-up empty one.
    Multipart,
    /// `message/rfc822` or `message/global`: exactly one child, the message inside.
    Message,
    /// Anything else, and what lies too deep.
    Other,
}

/// One part. The root is the message itself; a message inside a `message/rfc822` part is a part of its own.
#[derive(Debug, Clone)]
pub struct Part<'a> {
    raw: &'a [u8],
    pub kind: Kind,
    /// The header with its empty line, in the bytes of the whole message.
    pub header: Range<usize>,
    /// The body without the line end before the next boundary.
    pub body: Range<usize>,
    /// Octets of the header when each line ends in CRLF.
    pub header_size: u64,
    /// Octets of the body when each line ends in CRLF.
    pub body_size: u64,
    /// Line ends in header and body.
    pub header_lines: u64,
    pub body_lines: u64,
    /// What to treat the part as: the declared type, else RFC 2045's default (`text/plain`, in a digest `message/rfc822`).
    pub content_type: ContentType<'a>,
    /// Whether `content_type` was declared.
    pub declared: bool,
    fields: Mime<'a>,
    children: Vec<usize>,
    parent: Option<usize>,
}

#[derive(Debug, Clone, Default)]
struct Mime<'a> {
    content_type: Option<&'a [u8]>,
    disposition: Option<&'a [u8]>,
    encoding: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
    description: Option<&'a [u8]>,
    md5: Option<&'a [u8]>,
    language: Option<&'a [u8]>,
    location: Option<&'a [u8]>,
}

impl<'a> Part<'a> {
    /// The bytes of the header, with the empty line.
    pub fn header_bytes(&self) -> &'a [u8] {
        &self.raw[self.header.clone()]
    }

    /// The bytes of the body, as they stand in the message (encoded).
    pub fn body_bytes(&self) -> &'a [u8] {
        &self.raw[self.body.clone()]
    }

    /// Content-Disposition (RFC 2183).
    pub fn disposition(&self) -> Option<Disposition<'a>> {
        Disposition::parse(self.fields.disposition?)
    }

    /// The first word of Content-Disposition; its parameters are not read.
    pub fn disposition_kind(&self) -> Option<&'a [u8]> {
        Disposition::kind_of(self.fields.disposition?)
    }

    /// Content-Transfer-Encoding as a word, without comments; `None` when absent (7bit).
    pub fn encoding_name(&self) -> Option<&'a [u8]> {
        let mut lexer = crate::lexer::Lexer::new(self.fields.encoding?);
        lexer.skip_cfws();
        let word = lexer.until(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n' | b'(' | b';'));
        (!word.is_empty()).then_some(word)
    }

    /// How the body is encoded; unknown encodings count as none.
    pub fn encoding(&self) -> Encoding {
        self.encoding_name().map_or(Encoding::Identity, Encoding::parse)
    }

    /// Content-ID, unfolded.
    pub fn id(&self) -> Option<Cow<'a, [u8]>> {
        self.fields.id.map(unfold).filter(|v| !v.is_empty())
    }

    /// Content-Description, unfolded, encoded words left as they are.
    pub fn description(&self) -> Option<Cow<'a, [u8]>> {
        self.fields.description.map(unfold).filter(|v| !v.is_empty())
    }

    /// Content-MD5 (RFC 1864).
    pub fn md5(&self) -> Option<Cow<'a, [u8]>> {
        self.fields.md5.map(unfold).filter(|v| !v.is_empty())
    }

    /// Content-Location (RFC 2557).
    pub fn location(&self) -> Option<Cow<'a, [u8]>> {
        self.fields.location.map(unfold).filter(|v| !v.is_empty())
    }

    /// Content-Language (RFC 3282): the tags of the list.
    pub fn language(&self) -> Vec<&'a [u8]> {
        let mut out = Vec::new();
        let mut lexer = crate::lexer::Lexer::new(self.fields.language.unwrap_or_default());
        while lexer.peek().is_some() && out.len() < crate::MAX_PARAMS {
            lexer.skip_cfws();
            let tag = lexer.until(|b| !(b.is_ascii_alphanumeric() || b == b'-'));
            if tag.is_empty() {
                lexer.advance();
            } else {
                out.push(tag);
            }
        }
        out
    }

    /// The body with its transfer encoding undone.
    pub fn decoded(&self) -> Cow<'a, [u8]> {
        self.encoding().decode(self.body_bytes())
    }

    /// The body as text: transfer encoding undone, charset turned into UTF-8. Never fails.
    pub fn text(&self) -> String {
        charset::decode(self.content_type.params.get("charset").unwrap_or(b"us-ascii"), &self.decoded())
    }

    /// The header fields of the part.
    pub fn header_fields(&self) -> crate::Fields<'a> {
        fields(self.header_bytes())
    }
}

impl<'a> Message<'a> {
    /// Reads the structure of `raw`.
    pub fn parse(raw: &'a [u8]) -> Message<'a> {
        Walk::new(raw).run()
    }

    /// The bytes that were parsed.
    pub fn bytes(&self) -> &'a [u8] {
        self.raw
    }

    pub fn root(&self) -> &Part<'a> {
        &self.parts[0]
    }

    /// All parts, each before its children.
    pub fn parts(&self) -> &[Part<'a>] {
        &self.parts
    }

    /// The children of a part of this message, in order.
    pub fn children<'s>(&'s self, part: &'s Part<'a>) -> impl ExactSizeIterator<Item = &'s Part<'a>> + DoubleEndedIterator {
        part.children.iter().map(|id| &self.parts[*id])
    }

    /// The part around a part of this message.
    pub fn parent(&self, part: &Part<'a>) -> Option<&Part<'a>> {
        part.parent.map(|id| &self.parts[id])
    }
}

// Line ends passed, and how many of them were bare LF.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    lines: u64,
    bare: u64,
}

#[derive(Clone, Copy)]
struct Opened {
    at: usize,
    count: Count,
}

struct Walk<'a> {
    raw: &'a [u8],
    parts: Vec<Part<'a>>,
    // Where header and body of the part in the same place began.
    begun: Vec<(Opened, Opened)>,
    // Open parts, the root first, and the boundaries among them with their place in `open`.
    open: Vec<usize>,
    boundaries: Vec<(usize, Cow<'a, [u8]>)>,
    in_header: bool,
}

impl<'a> Walk<'a> {
    fn new(raw: &'a [u8]) -> Walk<'a> {
        let mut walk = Walk { raw, parts: Vec::new(), begun: Vec::new(), open: Vec::new(), boundaries: Vec::new(), in_header: true };
        walk.begin(Opened { at: 0, count: Count::default() });
        walk
    }

    fn run(mut self) -> Message<'a> {
        let mut count = Count::default();
        let mut line = 0;
        for lf in memchr_iter(b'\n', self.raw) {
            let before = count;
            count.lines += 1;
            let bare = lf == 0 || self.raw[lf - 1] != b'\r';
            count.bare += u64::from(bare);
            self.line(line..lf + 1, before, count);
            line = lf + 1;
        }
        if line < self.raw.len() {
            self.line(line..self.raw.len(), count, count);
        }
        let end = Opened { at: self.raw.len(), count };
        self.close(0, end, end);
        Message { raw: self.raw, parts: self.parts }
    }

    fn line(&mut self, line: Range<usize>, before: Count, after: Count) {
        if !self.boundaries.is_empty()
            && self.raw[line.clone()].starts_with(b"--")
            && let Some((place, closing)) = self.matching(&self.raw[line.clone()])
        {
            return self.boundary(place, closing, Opened { at: line.start, count: before }, Opened { at: line.end, count: after });
        }
        if self.in_header && empty_line(&self.raw[line.clone()]) > 0 {
            self.header_ends(Opened { at: line.end, count: after }, false);
        }
    }

    // The longest boundary that the line begins with; of equal ones the innermost.
    fn matching(&self, line: &[u8]) -> Option<(usize, bool)> {
        let text = &line[2..];
        let (place, boundary) = self
            .boundaries
            .iter()
            .enumerate()
            .filter(|(_, (_, boundary))| text.starts_with(boundary))
            .max_by_key(|(_, (_, boundary))| boundary.len())
            .map(|(place, (_, boundary))| (place, boundary))?;
        Some((place, text[boundary.len()..].starts_with(b"--")))
    }

    fn boundary(&mut self, place: usize, closing: bool, start: Opened, next: Opened) {
        if !closing && self.parts.len() >= MAX_PARTS {
            // What follows belongs to the body of the part that is open now.
            self.boundaries.clear();
            return;
        }
        let depth = self.boundaries[place].0;
        self.close(depth + 1, self.without_line_end(start), start);
        self.in_header = false;
        if closing {
            self.boundaries.truncate(place);
        } else {
            self.boundaries.truncate(place + 1);
            self.begin(next);
        }
    }

    fn without_line_end(&self, start: Opened) -> Opened {
        let Opened { at, mut count } = start;
        if at == 0 || self.raw[at - 1] != b'\n' {
            return start;
        }
        let bare = at < 2 || self.raw[at - 2] != b'\r';
        count.lines -= 1;
        count.bare -= u64::from(bare);
        Opened { at: at - if bare { 1 } else { 2 }, count }
    }

    fn begin(&mut self, at: Opened) {
        let id = self.parts.len();
        let parent = self.open.last().copied();
        if let Some(parent) = parent {
            self.parts[parent].children.push(id);
        }
        self.parts.push(Part {
            raw: self.raw,
            kind: Kind::Other,
            header: at.at..at.at,
            body: at.at..at.at,
            header_size: 0,
            body_size: 0,
            header_lines: 0,
            body_lines: 0,
            content_type: ContentType::simple("text", "plain"),
            declared: false,
            fields: Mime::default(),
            children: Vec::new(),
            parent,
        });
        self.begun.push((at, at));
        self.open.push(id);
        self.in_header = true;
    }

    // `cut`: the header ended by a boundary or the end of the message, so there is no body.
    fn header_ends(&mut self, end: Opened, cut: bool) {
        let Some(&id) = self.open.last() else { return };
        self.in_header = false;
        let begun = self.begun[id].0;
        self.begun[id].1 = end;
        let header = begun.at..end.at;
        let fields = mime_fields(&self.raw[header.clone()]);
        let in_digest = self.parts[id].parent.is_some_and(|p| self.parts[p].content_type.is("multipart", "digest"));
        let declared = fields.content_type.and_then(ContentType::parse);
        let is_declared = declared.is_some();
        let mut content_type = declared.unwrap_or_else(|| match in_digest {
            true => ContentType::simple("message", "rfc822"),
            false => ContentType::text_plain(),
        });
        let too_deep = self.open.len() >= MAX_DEPTH;
        let mut boundary: Option<Cow<'a, [u8]>> = None;
        let kind = if content_type.is("multipart", "*") {
            match content_type.params.get("boundary").filter(|b| !b.is_empty()) {
                Some(_) if too_deep => Kind::Other,
                Some(b) => {
                    boundary = Some(Cow::Owned(b.trim_ascii_end().to_vec()));
                    Kind::Multipart
                }
                // RFC 2045 §5.2: what cannot be understood is plain text.
                None => {
                    content_type = ContentType::text_plain();
                    Kind::Text
                }
            }
        } else if content_type.is("message", "rfc822") || content_type.is("message", "global") {
            if too_deep || self.parts.len() >= MAX_PARTS { Kind::Other } else { Kind::Message }
        } else if content_type.is("text", "*") {
            Kind::Text
        } else {
            Kind::Other
        };
        if kind == Kind::Other
            && (content_type.is("multipart", "*") || content_type.is("message", "rfc822") || content_type.is("message", "global"))
        {
            content_type = ContentType::simple("application", "octet-stream");
        }
        let part = &mut self.parts[id];
        part.header_size = (end.at - begun.at) as u64 + end.count.bare - begun.count.bare;
        part.header_lines = end.count.lines - begun.count.lines;
        part.header = header;
        part.fields = fields;
        part.kind = kind;
        part.declared = is_declared;
        part.content_type = content_type;
        match kind {
            Kind::Multipart if !cut => {
                if let Some(boundary) = boundary.filter(|b| !b.is_empty()) {
                    self.boundaries.push((self.open.len() - 1, boundary));
                }
            }
            Kind::Message => self.begin(end),
            _ => {}
        }
    }

    // Ends all open parts from that depth on. `end` is without the line end of the boundary, `line` with it.
    fn close(&mut self, depth: usize, end: Opened, line: Opened) {
        // A message part that ends inside its header still gets its (empty) child, so this may open a part or two.
        while self.in_header && self.open.len() > depth {
            self.header_ends(line, true);
        }
        while self.open.len() > depth {
            let Some(id) = self.open.pop() else { break };
            let begun = self.begun[id].1;
            let end = if end.at < begun.at { begun } else { end };
            let part = &mut self.parts[id];
            part.body = begun.at..end.at;
            part.body_size = (end.at - begun.at) as u64 + end.count.bare - begun.count.bare;
            part.body_lines = end.count.lines - begun.count.lines;
        }
    }
}

fn mime_fields(header: &[u8]) -> Mime<'_> {
    let mut mime = Mime::default();
    for field in fields(header) {
        let name = field.name();
        if name.len() < 10 || !name[..8].eq_ignore_ascii_case(b"content-") {
            continue;
        }
        let slot = match &name[8..].to_ascii_lowercase()[..] {
            b"type" => &mut mime.content_type,
            b"disposition" => &mut mime.disposition,
            b"transfer-encoding" => &mut mime.encoding,
            b"id" => &mut mime.id,
            b"description" => &mut mime.description,
            b"md5" => &mut mime.md5,
            b"language" => &mut mime.language,
            b"location" => &mut mime.location,
            _ => continue,
        };
        slot.get_or_insert(Field::value(&field));
    }
    mime
}

#[cfg(test)]
mod tests;
