//! Which bytes `BODY[section]<partial>` means, so that they can be sent without holding the message.

use imap_proto::encode::{self, literal_header};
use imap_proto::{BodyForm, BodyItem, Section, SectionText};
use mailstore::{MessageFile, Whole};
use message::{Message, Want};
use std::borrow::Cow;
use std::io::{self, Read};

/// What an item is made from; small, as there may be thousands of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// A stretch of the message, counted with CRLF line ends.
    Stretch { from: u64, length: u64 },
    /// The message has no such part.
    Nil,
    /// Made when its turn comes: a selection of header fields, and what is no section.
    Make,
}

/// Stretches up to this are copied when the message is in memory anyway.
const COPY_BYTES: u64 = 64 << 10;

/// A header beyond this is not looked at (SECURITY: 10 MB of header is what Dovecot takes too).
pub const HEADER_BYTES: usize = 10 << 20;

/// A message being fetched: what has been read of it.
pub struct Source {
    file: MessageFile,
    header: Option<Vec<u8>>,
    whole: Option<Whole>,
}

impl Source {
    pub fn new(file: MessageFile) -> Source {
        Source { file, header: None, whole: None }
    }

    /// Gives memory back; it is read again when needed again.
    pub fn forget(&mut self) {
        (self.header, self.whole) = (None, None);
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

    /// Finds the bytes an item means. `known` is where the part begins that this session fetched a piece of last, so that the next piece
    /// costs no look at the whole message.
    pub fn plan(&mut self, item: &BodyItem, uid: u32, known: &mut Option<(u32, Section, u64, u64)>) -> io::Result<Plan> {
        let plan = match known {
            Some((of, section, from, length)) if item.partial.is_some() && *of == uid && *section == item.section => {
                Plan::Stretch { from: *from, length: *length }
            }
            _ => self.section(&item.section)?,
        };
        if let (Plan::Stretch { from, length }, Some(_), false) = (plan, item.partial, item.section.part.is_empty()) {
            *known = Some((uid, item.section.clone(), from, length));
        }
        Ok(match (plan, item.partial) {
            (Plan::Stretch { from, length }, Some(partial)) => {
                let (skip, length) = cut(length, partial);
                Plan::Stretch { from: from + skip, length }
            }
            (plan, _) => plan,
        })
    }

    fn section(&mut self, section: &Section) -> io::Result<Plan> {
        if section.part.is_empty() {
            return Ok(match &section.text {
                None => Plan::Stretch { from: 0, length: self.file.size()? },
                Some(SectionText::Header) => Plan::Stretch { from: 0, length: self.header()?.len() as u64 },
                Some(SectionText::Text) => {
                    let from = self.header()?.len() as u64;
                    Plan::Stretch { from, length: self.file.size()?.saturating_sub(from) }
                }
                Some(SectionText::Fields { .. }) => self.header().map(|_| Plan::Make)?,
                Some(SectionText::Mime) => Plan::Nil,
            });
        }
        let whole = self.whole()?;
        let names = section.text.as_ref().map(names).unwrap_or_default();
        let wanted = section.text.as_ref().map_or(Want::All, |text| want(text, &names));
        Ok(match Message::parse(whole).section(&section.part, wanted) {
            // The slice lies in `whole`; its place there is its place in the message.
            Some(Cow::Borrowed(bytes)) => match (bytes.as_ptr() as usize).checked_sub(whole.as_ptr() as usize) {
                Some(from) if from + bytes.len() <= whole.len() => Plan::Stretch { from: from as u64, length: bytes.len() as u64 },
                // a constant, as of a header that is not there
                _ => Plan::Make,
            },
            Some(Cow::Owned(_)) => Plan::Make,
            None => Plan::Nil,
        })
    }

    /// Writes an item as a literal (some clients read nothing else there), or only its announcement: then what has to follow is returned.
    pub fn write(&mut self, item: &BodyItem, plan: Plan, out: &mut Vec<u8>) -> Option<(Box<dyn Read + Send>, u64)> {
        match plan {
            Plan::Nil => out.extend_from_slice(b"NIL"),
            Plan::Make => match self.make(item) {
                Ok(bytes) => literal(out, &bytes),
                // It could be read before; the answer has begun.
                Err(error) => {
                    tracing::error!(%error, "message cannot be read again");
                    out.extend_from_slice(b"NIL");
                }
            },
            Plan::Stretch { from, length } => {
                if let Some(bytes) = self.in_memory(from, length) {
                    literal(out, bytes);
                    return None;
                }
                literal_header(out, length);
                let failed = |error: io::Error| -> Box<dyn Read + Send> {
                    tracing::error!(%error, "message cannot be read again");
                    Box::new(io::empty())
                };
                return (length > 0).then(|| (self.file.reader(from).unwrap_or_else(failed), length));
            }
        }
        None
    }

    fn in_memory(&self, from: u64, length: u64) -> Option<&[u8]> {
        if length > COPY_BYTES {
            return None;
        }
        let (from, to) = (usize::try_from(from).ok()?, usize::try_from(from + length).ok()?);
        [self.whole.as_deref(), self.header.as_deref()].into_iter().flatten().find_map(|bytes| bytes.get(from..to))
    }

    /// What is no stretch of the message.
    fn make(&mut self, item: &BodyItem) -> io::Result<Vec<u8>> {
        let section = &item.section;
        let bytes = if section.part.is_empty() { self.header()? } else { self.whole()? };
        let names = section.text.as_ref().map(names).unwrap_or_default();
        let wanted = section.text.as_ref().map_or(Want::All, |text| want(text, &names));
        let message = Message::parse(bytes);
        let found = message.section(&section.part, wanted).unwrap_or_default();
        Ok(match item.partial {
            Some(partial) => {
                let (skip, length) = cut(found.len() as u64, partial);
                found[skip as usize..(skip + length) as usize].to_vec()
            }
            None => found.into_owned(),
        })
    }
}

/// Cuts `<first.count>` out of `length` bytes: how many to skip, and how many are left; beyond the end there is nothing (RFC 3501 §6.4.5).
fn cut(length: u64, (first, count): (u32, u32)) -> (u64, u64) {
    let skip = u64::from(first).min(length);
    (skip, u64::from(count).min(length - skip))
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
        for (partial, want) in [((0, 3), (0, 3)), ((2, 100), (2, 3)), ((5, 1), (5, 0)), ((u32::MAX, u32::MAX), (5, 0))] {
            assert_eq!(cut(5, partial), want);
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
