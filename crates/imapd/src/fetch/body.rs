//! Which bytes `BODY[section]<partial>` means, as pieces that can be sent without holding the message.

use imap_proto::encode::{self, literal_header};
use imap_proto::{BodyForm, BodyItem, Section, SectionText};
use mailstore::MessageFile;
use message::{Message, Want};
use std::borrow::Cow;
use std::io;

/// Ready bytes, or a stretch of the message (counted with CRLF line ends) that is read while it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Bytes(Vec<u8>),
    Stretch { from: u64, length: u64 },
}

/// Stretches up to this are copied at once when the message is in memory anyway.
const COPY_BYTES: u64 = 16 << 10;

/// A header beyond this is not looked at (SECURITY: 10 MB of header is what Dovecot takes too).
pub const HEADER_BYTES: usize = 10 << 20;

/// A message being fetched: what has been read of it.
pub struct Source {
    pub file: MessageFile,
    header: Option<Vec<u8>>,
    whole: Option<Vec<u8>>,
}

impl Source {
    pub fn new(file: MessageFile) -> Source {
        Source { file, header: None, whole: None }
    }

    /// The header with its empty line, CRLF line ends.
    pub fn header(&mut self) -> io::Result<&[u8]> {
        if let Some(whole) = &self.whole {
            return Ok(&whole[..message::header_length(whole).min(HEADER_BYTES)]);
        }
        if self.header.is_none() {
            self.header = Some(self.file.read_header(HEADER_BYTES)?);
        }
        Ok(self.header.as_deref().unwrap_or_default())
    }

    /// The whole message, CRLF line ends. For what needs its structure.
    pub fn whole(&mut self) -> io::Result<&[u8]> {
        if self.whole.is_none() {
            self.header = None;
            self.whole = Some(self.file.read_all()?);
        }
        Ok(self.whole.as_deref().unwrap_or_default())
    }

    /// What the item means; `None` (NIL) when the message has no such part.
    pub fn section(&mut self, section: &Section) -> io::Result<Option<Piece>> {
        if section.part.is_empty() {
            match &section.text {
                None => return Ok(Some(Piece::Stretch { from: 0, length: self.file.size()? })),
                Some(SectionText::Header) => return Ok(Some(Piece::Bytes(self.header()?.to_vec()))),
                Some(SectionText::Text) => {
                    let from = self.header()?.len() as u64;
                    return Ok(Some(Piece::Stretch { from, length: self.file.size()?.saturating_sub(from) }));
                }
                Some(fields @ SectionText::Fields { .. }) => {
                    let header = Message::parse(self.header()?);
                    return Ok(header.section(&[], want(fields, &names(fields))).map(|found| Piece::Bytes(found.into_owned())));
                }
                Some(SectionText::Mime) => return Ok(None),
            }
        }
        let whole = self.whole()?;
        let message = Message::parse(whole);
        let names = section.text.as_ref().map(names).unwrap_or_default();
        let wanted = section.text.as_ref().map_or(Want::All, |text| want(text, &names));
        Ok(message.section(&section.part, wanted).map(|found| match found {
            Cow::Borrowed(bytes) if bytes.len() as u64 > COPY_BYTES => {
                // The slice lies in `whole`; its place there is its place in the message.
                let from = (bytes.as_ptr() as usize - whole.as_ptr() as usize) as u64;
                Piece::Stretch { from, length: bytes.len() as u64 }
            }
            found => Piece::Bytes(found.into_owned()),
        }))
    }
}

fn names(text: &SectionText) -> Vec<&str> {
    match text {
        SectionText::Fields { names, .. } => names.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    }
}

fn want<'w>(text: &SectionText, names: &'w [&'w str]) -> Want<'w> {
    match text {
        SectionText::Header => Want::Header,
        SectionText::Fields { not: false, .. } => Want::HeaderFields(names),
        SectionText::Fields { not: true, .. } => Want::HeaderFieldsNot(names),
        SectionText::Text => Want::Text,
        SectionText::Mime => Want::Mime,
    }
}

impl Piece {
    /// Cuts out `<first.count>`; beyond the end there is nothing (RFC 3501 §6.4.5).
    pub fn partial(self, (first, count): (u32, u32)) -> Piece {
        let (first, count) = (u64::from(first), u64::from(count));
        match self {
            Piece::Bytes(bytes) => {
                let from = first.min(bytes.len() as u64) as usize;
                let to = (first + count).min(bytes.len() as u64) as usize;
                Piece::Bytes(bytes[from..to].to_vec())
            }
            Piece::Stretch { from, length } => {
                let skip = first.min(length);
                Piece::Stretch { from: from + skip, length: count.min(length - skip) }
            }
        }
    }

    /// Writes it as a string, or only the announcement of a literal: then the stretch that has to follow is returned.
    pub fn write(self, out: &mut Vec<u8>) -> Option<(u64, u64)> {
        match self {
            Piece::Bytes(bytes) => {
                literal(out, &bytes);
                None
            }
            Piece::Stretch { from, length } => {
                literal_header(out, length);
                (length > 0).then_some((from, length))
            }
        }
    }
}

/// Bodies always travel as literals: some clients read nothing else there.
fn literal(out: &mut Vec<u8>, bytes: &[u8]) {
    literal_header(out, bytes.len() as u64);
    let start = out.len();
    out.extend_from_slice(bytes);
    encode::without_nul(&mut out[start..]);
}

/// The name of the item in the answer: `BODY[1.HEADER.FIELDS (FROM)]<0>` (RFC 3501 §7.4.2).
pub fn write_name(out: &mut Vec<u8>, item: &BodyItem) {
    match item.form {
        BodyForm::Rfc822 => return out.extend_from_slice(b"RFC822"),
        BodyForm::Rfc822Header => return out.extend_from_slice(b"RFC822.HEADER"),
        BodyForm::Rfc822Text => return out.extend_from_slice(b"RFC822.TEXT"),
        BodyForm::Body => {}
    }
    out.extend_from_slice(b"BODY[");
    for (at, part) in item.section.part.iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        encode::number(out, u64::from(*part));
    }
    if let Some(text) = &item.section.text {
        if !item.section.part.is_empty() {
            out.push(b'.');
        }
        match text {
            SectionText::Header => out.extend_from_slice(b"HEADER"),
            SectionText::Text => out.extend_from_slice(b"TEXT"),
            SectionText::Mime => out.extend_from_slice(b"MIME"),
            SectionText::Fields { names, not } => {
                out.extend_from_slice(if *not { b"HEADER.FIELDS.NOT (" } else { b"HEADER.FIELDS (" });
                for (at, name) in names.iter().enumerate() {
                    if at > 0 {
                        out.push(b' ');
                    }
                    encode::astring(out, name.as_bytes());
                }
                out.push(b')');
            }
        }
    }
    out.push(b']');
    if let Some((first, _)) = item.partial {
        out.push(b'<');
        encode::number(out, u64::from(first));
        out.push(b'>');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partials_never_pass_the_end() {
        for ((first, count), want) in [((0, 3), "abc"), ((2, 100), "cde"), ((5, 1), ""), ((u32::MAX, u32::MAX), "")] {
            assert_eq!(Piece::Bytes(b"abcde".to_vec()).partial((first, count)), Piece::Bytes(want.into()));
            let stretch = Piece::Stretch { from: 10, length: 5 }.partial((first, count));
            let skip = u64::from(first).min(5);
            assert_eq!(stretch, Piece::Stretch { from: 10 + skip, length: want.len() as u64 });
        }
    }

    #[test]
    fn items_are_named_as_asked() {
        let item = BodyItem {
            section: Section { part: vec![1, 2], text: Some(SectionText::Fields { names: vec!["From".into(), "X-A".into()], not: true }) },
            peek: true,
            partial: Some((7, 9)),
            form: BodyForm::Body,
        };
        let mut out = Vec::new();
        write_name(&mut out, &item);
        assert_eq!(out, b"BODY[1.2.HEADER.FIELDS.NOT (From X-A)]<7>");
    }
}
