//! A message on its way through `header_checks`, `mime_header_checks`, `nested_header_checks`, `body_checks` and header rewriting.
//!
//! The MIME structure is followed as far as boundaries go: a part's header ends the body before it. A field that is longer than
//! `header_size_limit` is judged by its beginning; its rest shares its fate, and so does the rest of a line that is longer.

use super::rewrite::Form;
use super::{Cleanup, Findings};
use mail_types::{Address, EnhancedCode, printable};
use message::ContentType;
use std::sync::Arc;
use tables::{Maps, Unavailable};

/// Postfix: mime_nesting_limit, mime_boundary_length_limit, line_length_limit.
const NESTING: usize = 100;
const BOUNDARY_BYTES: usize = 2048;
const LINE_BYTES: usize = 2048;
/// Copies that one message may get.
const BCC_LIMIT: usize = 20;
/// Fields that `mime_header_checks` looks at, wherever they stand (header_checks(5)).
const MIME_FIELDS: [&str; 6] =
    ["Content-Description", "Content-Disposition", "Content-ID", "Content-Transfer-Encoding", "Content-Type", "MIME-Version"];

pub struct Scan {
    cleanup: Arc<Cleanup>,
    rewrites: bool,
    place: Place,
    /// Bytes without a line end yet.
    pending: Vec<u8>,
    /// The field that may go on.
    field: Vec<u8>,
    /// Whether the field or line whose rest is still coming is kept.
    rest: Option<bool>,
    /// The line that was taken last had no end yet.
    unended: bool,
    boundaries: Vec<Vec<u8>>,
    /// Of the header that is being read.
    content: Content,
    /// Octets of this part that `body_checks` has seen.
    seen: usize,
    findings: Findings,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Header(Kind),
    Body,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Primary,
    Part,
    Nested,
}

#[derive(Default)]
enum Content {
    #[default]
    Plain,
    Multipart(Vec<u8>),
    Message,
}

/// What becomes of a field or line.
enum Fate {
    Keep,
    Drop,
    Prepend(String),
    Replace(String),
}

impl Fate {
    /// Whether the field or line itself stays.
    fn keeps(&self) -> bool {
        matches!(self, Fate::Keep | Fate::Prepend(_))
    }
}

impl Scan {
    pub(super) fn new(cleanup: Arc<Cleanup>, rewrites: bool) -> Scan {
        Scan {
            cleanup,
            rewrites,
            place: Place::Header(Kind::Primary),
            pending: Vec::new(),
            field: Vec::new(),
            rest: None,
            unended: false,
            boundaries: Vec::new(),
            content: Content::Plain,
            seen: 0,
            findings: Findings::default(),
        }
    }

    /// Takes a piece of the message, and gives what is decided of it. Lines end with CRLF.
    pub async fn take(&mut self, piece: &[u8]) -> Result<Vec<u8>, Unavailable> {
        let mut out = Vec::with_capacity(piece.len() + 64);
        let mut bytes = std::mem::take(&mut self.pending);
        // What was held back has no line end: pieces of one octet each must not have it searched again and again.
        let mut from = bytes.len();
        bytes.extend_from_slice(piece);
        let mut at = 0;
        while !self.has_done_all() {
            let Some(end) = bytes[from..].iter().position(|b| *b == b'\n') else { break };
            self.line(&bytes[at..from + end + 1], &mut out).await?;
            at = from + end + 1;
            from = at;
        }
        if self.has_done_all() {
            out.append(&mut self.field);
            out.extend_from_slice(&bytes[at..]);
            return Ok(out);
        }
        // A line without end is not waited for.
        if bytes.len() - at > self.cleanup.header_limit {
            self.line(&bytes[at..], &mut out).await?;
            at = bytes.len();
        }
        bytes.drain(..at);
        self.pending = bytes;
        Ok(out)
    }

    /// Only the header of the message itself is rewritten; with no tables of checks nothing looks at what follows it.
    fn has_done_all(&self) -> bool {
        self.place != Place::Header(Kind::Primary) && !self.cleanup.checks()
    }

    /// What was held back, at the end of the message.
    pub async fn finish(&mut self) -> Result<Vec<u8>, Unavailable> {
        let mut out = Vec::new();
        let last = std::mem::take(&mut self.pending);
        if !last.is_empty() {
            self.line(&last, &mut out).await?;
        }
        self.end_field(&mut out).await?;
        Ok(out)
    }

    /// What the tables said so far.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    async fn line(&mut self, line: &[u8], out: &mut Vec<u8>) -> Result<(), Unavailable> {
        if self.findings.reject.is_some() || self.findings.discard {
            out.append(&mut self.field);
            out.extend_from_slice(line);
            return Ok(());
        }
        if std::mem::replace(&mut self.unended, !line.ends_with(b"\n")) {
            self.rest_of_line(line, out);
            return Ok(());
        }
        let Place::Header(kind) = self.place else { return self.body_line(line, out).await };
        let text = line.strip_suffix(b"\n").map_or(line, |l| l.strip_suffix(b"\r").unwrap_or(l));
        if let (Some(kept), [b' ' | b'\t', ..]) = (self.rest, text) {
            if kept {
                out.extend_from_slice(line);
            }
            return Ok(());
        }
        if matches!(text, [b' ' | b'\t', ..]) && !self.field.is_empty() {
            self.field.extend_from_slice(line);
            if self.field.len() > self.cleanup.header_limit {
                self.rest = Some(self.end_field(out).await?);
            }
            return Ok(());
        }
        self.end_field(out).await?;
        self.rest = None;
        let is_boundary = kind != Kind::Primary && self.boundary_of(text).is_some();
        let is_field = message::fields(line).next().is_some_and(|field| !field.name().is_empty());
        if is_field && !is_boundary {
            self.field.extend_from_slice(line);
            if self.unended {
                self.rest = Some(self.end_field(out).await?);
            }
            return Ok(());
        }
        self.end_header();
        if text.is_empty() {
            out.extend_from_slice(line);
            return Ok(());
        }
        self.place = Place::Body;
        Box::pin(self.body_line(line, out)).await
    }

    fn rest_of_line(&mut self, rest: &[u8], out: &mut Vec<u8>) {
        if self.rest != Some(false) {
            out.extend_from_slice(rest);
        }
        if self.place == Place::Body {
            self.seen += rest.len();
            self.rest = self.rest.filter(|_| self.unended);
        }
    }

    /// The empty line behind a header: what follows is told by its Content-Type.
    fn end_header(&mut self) {
        self.place = Place::Body;
        self.seen = 0;
        match std::mem::take(&mut self.content) {
            Content::Plain => {}
            Content::Multipart(boundary) if self.boundaries.len() < NESTING && boundary.len() <= BOUNDARY_BYTES => {
                self.boundaries.push(boundary);
            }
            Content::Multipart(_) => {}
            Content::Message => self.place = Place::Header(Kind::Nested),
        }
    }

    /// The place of the boundary that the line is, and whether it closes.
    fn boundary_of(&self, text: &[u8]) -> Option<(usize, bool)> {
        let name = text.strip_prefix(b"--")?;
        let found = self.boundaries.iter().enumerate().filter(|(_, boundary)| name.starts_with(boundary));
        let (place, boundary) = found.max_by_key(|(_, boundary)| boundary.len())?;
        Some((place, name[boundary.len()..].starts_with(b"--")))
    }

    async fn body_line(&mut self, line: &[u8], out: &mut Vec<u8>) -> Result<(), Unavailable> {
        let text = line.strip_suffix(b"\n").map_or(line, |l| l.strip_suffix(b"\r").unwrap_or(l));
        if let Some((place, closes)) = self.boundary_of(text) {
            self.boundaries.truncate(if closes { place } else { place + 1 });
            self.seen = 0;
            if !closes {
                self.place = Place::Header(Kind::Part);
            }
            out.extend_from_slice(line);
            return Ok(());
        }
        if self.cleanup.body.is_empty() || self.seen >= self.cleanup.body_limit {
            out.extend_from_slice(line);
            return Ok(());
        }
        self.seen += line.len();
        let key = String::from_utf8_lossy(&text[..text.len().min(LINE_BYTES)]).into_owned();
        let cleanup = self.cleanup.clone();
        let fate = self.ask(&cleanup.body, "body_checks", &key).await?;
        self.rest = self.unended.then(|| fate.keeps());
        write(fate, line, out);
        Ok(())
    }

    /// The field that was read is whole, or as long as fields may be. Tells whether it is kept.
    async fn end_field(&mut self, out: &mut Vec<u8>) -> Result<bool, Unavailable> {
        if self.field.is_empty() {
            return Ok(true);
        }
        let raw = std::mem::take(&mut self.field);
        let Place::Header(kind) = self.place else {
            out.extend_from_slice(&raw);
            return Ok(true);
        };
        let Some(field) = message::fields(&raw).next() else { return Ok(true) };
        let is_mime = MIME_FIELDS.iter().any(|name| field.is(name));
        if field.is("Content-Type") {
            self.content = content_of(field.value());
        }
        let cleanup = self.cleanup.clone();
        let (maps, setting) = match kind {
            _ if is_mime => (&cleanup.mime, "mime_header_checks"),
            Kind::Primary => (&cleanup.header, "header_checks"),
            Kind::Part => (&cleanup.mime, "mime_header_checks"),
            Kind::Nested => (&cleanup.nested, "nested_header_checks"),
        };
        let fate = if maps.is_empty() {
            Fate::Keep
        } else {
            let limit = raw.len().min(cleanup.header_limit);
            let key = String::from_utf8_lossy(&raw[..limit]).replace("\r\n", "\n");
            self.ask(maps, setting, key.trim_end_matches('\n')).await?
        };
        if let (Fate::Keep | Fate::Prepend(_), Kind::Primary, true) = (&fate, kind, self.rewrites)
            && let Some(changed) = cleanup.rewriter.field(&field, Form::Ours).await?
        {
            write(fate, &changed, out);
            return Ok(true);
        }
        let keeps = fate.keeps();
        write(fate, &raw, out);
        Ok(keeps)
    }

    /// Asks a table about a field or line, and carries out what it says of the message.
    async fn ask(&mut self, maps: &Maps, setting: &'static str, key: &str) -> Result<Fate, Unavailable> {
        let Some(found) = maps.lookup(key).await? else { return Ok(Fate::Keep) };
        let value = found.value.trim();
        let (word, text) = value.split_once(char::is_whitespace).unwrap_or((value, ""));
        let (word, text) = (word.to_ascii_uppercase(), text.trim());
        let shown: String = printable(key).chars().take(200).collect();
        if !matches!(word.as_str(), "DUNNO" | "IGNORE") {
            tracing::info!(setting, rule = %format_args!("{}:{}", found.table, found.line.unwrap_or(0)), action = %word, text = %shown, "{text}");
        }
        match word.as_str() {
            "DUNNO" | "INFO" | "WARN" => {}
            "IGNORE" | "STRIP" => return Ok(Fate::Drop),
            "HOLD" => self.findings.hold = true,
            "DISCARD" => self.findings.discard = true,
            "PREPEND" if !text.is_empty() => return Ok(Fate::Prepend(text.to_owned())),
            "REPLACE" if !text.is_empty() => return Ok(Fate::Replace(text.to_owned())),
            "REJECT" => {
                let (code, rest) = text.split_once(' ').unwrap_or((text, ""));
                let (code, text) = match EnhancedCode::parse(code) {
                    Some(code) => (code, rest.trim()),
                    None => (EnhancedCode(5, 7, 1), text),
                };
                let text = if text.is_empty() { "message content rejected" } else { text };
                self.findings.reject = Some((code, text.to_owned()));
            }
            "FILTER" if text.split_once(':').is_some_and(|(transport, _)| !transport.is_empty()) => {
                self.findings.filter = Some(text.to_owned())
            }
            "REDIRECT" | "BCC" => match Address::parse(text) {
                Ok(address) if word == "BCC" && self.findings.bcc.len() < BCC_LIMIT => {
                    if !self.findings.bcc.contains(&address) {
                        self.findings.bcc.push(address);
                    }
                }
                Ok(_) if word == "BCC" => {}
                Ok(address) => self.findings.redirect = Some(address),
                Err(error) => tracing::error!(setting, rule = %found, "`{text}`: {error}"),
            },
            _ => tracing::error!(setting, rule = %found, "`{word}` is no action of this table: passed over"),
        }
        Ok(Fate::Keep)
    }
}

fn write(fate: Fate, as_it_is: &[u8], out: &mut Vec<u8>) {
    // What a table has put in is one line, whatever a `$1` of it held.
    let mut put = |text: String| {
        out.extend(text.bytes().map(|b| if b == b'\r' || b == b'\n' { b' ' } else { b }));
        out.extend_from_slice(b"\r\n");
    };
    match fate {
        Fate::Drop => {}
        Fate::Replace(text) => put(text),
        Fate::Prepend(text) => {
            put(text);
            out.extend_from_slice(as_it_is);
        }
        Fate::Keep => out.extend_from_slice(as_it_is),
    }
}

fn content_of(value: &[u8]) -> Content {
    match ContentType::parse(value) {
        Some(kind) if kind.is("multipart", "*") => match kind.params.get("boundary") {
            Some(boundary) if !boundary.trim_ascii_end().is_empty() => Content::Multipart(boundary.trim_ascii_end().to_vec()),
            _ => Content::Plain,
        },
        Some(kind) if kind.is("message", "rfc822") || kind.is("message", "global") => Content::Message,
        _ => Content::Plain,
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
