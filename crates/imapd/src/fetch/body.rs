//! Which bytes `BODY[section]<partial>` means, so that they can be sent without holding the message.

use super::binary::Coded;
use imap_proto::encode::{self, literal_header};
use imap_proto::{BodyForm, BodyItem, Section, SectionText};
use mailstore::{MessageFile, Whole};
use message::{Message, Want};
use std::borrow::Cow;
use std::cell::OnceCell;
use std::io::{self, Read};

/// What an item is made from; small, as there may be thousands of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// A stretch of the message, counted with CRLF line ends.
    Stretch { from: u64, length: u64 },
    /// A selection of the fields of the header that lies there.
    Fields { from: u64, length: u64 },
    /// A part without its encoding.
    Decode(Coded),
    /// The message has no such part.
    Nil,
    /// No section: made when its turn comes.
    Make,
}

/// Stretches up to this are copied when they are in memory anyway.
const COPY_BYTES: u64 = 64 << 10;

/// A header beyond this is not looked at (SECURITY: 10 MB of header is what Dovecot takes too).
pub const HEADER_BYTES: usize = 10 << 20;

/// A preview is made from so much of a message.
const BEGINNING_BYTES: usize = 256 << 10;

/// What was read of a message, for all items that are made in one go: it is read and taken apart once for them. Nothing of it stays while
/// the client takes its time.
pub struct Reading<'w> {
    header: OnceCell<Vec<u8>>,
    beginning: OnceCell<Vec<u8>>,
    whole: &'w OnceCell<Whole>,
    parsed: OnceCell<Message<'w>>,
}

impl<'w> Reading<'w> {
    /// `whole` is where the message goes when all of it is needed.
    pub fn new(whole: &'w OnceCell<Whole>) -> Reading<'w> {
        Reading { header: OnceCell::new(), beginning: OnceCell::new(), whole, parsed: OnceCell::new() }
    }

    /// The header with its empty line, CRLF line ends.
    pub fn header(&self, file: &MessageFile) -> io::Result<&[u8]> {
        if let Some(whole) = self.whole.get() {
            return Ok(&whole[..message::header_length(whole).min(HEADER_BYTES)]);
        }
        keep(&self.header, || file.read_header(HEADER_BYTES)).map(Vec::as_slice)
    }

    /// The beginning of the message, header and body.
    pub fn beginning(&self, file: &MessageFile) -> io::Result<&[u8]> {
        if let Some(whole) = self.whole.get() {
            return Ok(&whole[..whole.len().min(BEGINNING_BYTES)]);
        }
        keep(&self.beginning, || file.read_range(0, BEGINNING_BYTES)).map(Vec::as_slice)
    }

    /// The message with its parts, for what needs its structure.
    pub fn message(&self, file: &MessageFile) -> io::Result<&Message<'w>> {
        keep(&self.parsed, || Ok(Message::parse(keep(self.whole, || file.read_all())?)))
    }

    /// Finds the bytes an item means. `known` is where the part begins that this session fetched a piece of last, so that the next piece
    /// costs no look at the whole message.
    pub fn plan(&self, file: &MessageFile, item: &BodyItem, uid: u32, known: &mut Option<(u32, Section, u64, u64)>) -> io::Result<Plan> {
        let plan = match known {
            Some((of, section, from, length)) if item.partial.is_some() && *of == uid && *section == item.section => {
                Plan::Stretch { from: *from, length: *length }
            }
            _ => self.section(file, &item.section)?,
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

    fn section(&self, file: &MessageFile, section: &Section) -> io::Result<Plan> {
        if section.part.is_empty() {
            let header = || Ok::<u64, io::Error>(self.header(file)?.len() as u64);
            return Ok(match &section.text {
                None => Plan::Stretch { from: 0, length: file.size()? },
                Some(SectionText::Header) => Plan::Stretch { from: 0, length: header()? },
                Some(SectionText::Fields { .. }) => Plan::Fields { from: 0, length: header()? },
                Some(SectionText::Text) => {
                    let from = header()?;
                    Plan::Stretch { from, length: file.size()?.saturating_sub(from) }
                }
                Some(SectionText::Mime) => Plan::Nil,
            });
        }
        let message = self.message(file)?;
        let wanted = match &section.text {
            None => Want::All,
            // fields are chosen when the item is written: the header is all it takes
            Some(SectionText::Header | SectionText::Fields { .. }) => Want::Header,
            Some(SectionText::Text) => Want::Text,
            Some(SectionText::Mime) => Want::Mime,
        };
        let Some(Cow::Borrowed(bytes)) = message.section(&section.part, wanted) else { return Ok(Plan::Nil) };
        // The slice lies in the message; its place there is its place for the client.
        let from = (bytes.as_ptr() as usize).saturating_sub(message.bytes().as_ptr() as usize) as u64;
        let length = bytes.len() as u64;
        Ok(match section.text {
            Some(SectionText::Fields { .. }) => Plan::Fields { from, length: length.min(HEADER_BYTES as u64) },
            _ => Plan::Stretch { from, length },
        })
    }

    /// Writes an item as a literal (some clients read nothing else there), or only its announcement: then what has to follow is returned.
    pub fn write(&self, file: &MessageFile, item: &BodyItem, plan: Plan, out: &mut Vec<u8>) -> Option<(Box<dyn Read + Send>, u64)> {
        match plan {
            Plan::Nil | Plan::Make | Plan::Decode(_) => out.extend_from_slice(b"NIL"),
            Plan::Fields { from, length } => match self.fields(file, item, from, length) {
                Ok(bytes) => literal(out, &bytes),
                // It could be read before; the answer has begun.
                Err(error) => {
                    tracing::error!(%error, "message cannot be read again");
                    out.extend_from_slice(b"NIL");
                }
            },
            Plan::Stretch { from, length } => {
                if let Some(bytes) = self.in_memory(from, length).filter(|_| length <= COPY_BYTES) {
                    literal(out, bytes);
                    return None;
                }
                literal_header(out, length);
                let failed = |error: io::Error| -> Box<dyn Read + Send> {
                    tracing::error!(%error, "message cannot be read again");
                    Box::new(io::empty())
                };
                return (length > 0).then(|| (file.reader(from).unwrap_or_else(failed), length));
            }
        }
        None
    }

    /// The bytes of an item that is there, and how many.
    pub fn content(&self, file: &MessageFile, item: &BodyItem, plan: Plan) -> io::Result<(Box<dyn Read + Send>, u64)> {
        match plan {
            Plan::Stretch { from, length } => Ok((file.reader(from)?, length)),
            Plan::Fields { from, length } => {
                let bytes = self.fields(file, item, from, length)?;
                let length = bytes.len() as u64;
                Ok((Box::new(io::Cursor::new(bytes)), length))
            }
            Plan::Nil | Plan::Make | Plan::Decode(_) => Ok((Box::new(io::empty()), 0)),
        }
    }

    fn in_memory(&self, from: u64, length: u64) -> Option<&[u8]> {
        let (from, to) = (usize::try_from(from).ok()?, usize::try_from(from + length).ok()?);
        [self.whole.get().map(|whole| &**whole), self.header.get().map(Vec::as_slice)]
            .into_iter()
            .flatten()
            .find_map(|bytes| bytes.get(from..to))
    }

    /// The fields of a header that an item wants.
    fn fields(&self, file: &MessageFile, item: &BodyItem, from: u64, length: u64) -> io::Result<Vec<u8>> {
        let Some(SectionText::Fields { names, not }) = &item.section.text else { return Ok(Vec::new()) };
        if from == 0 && self.in_memory(from, length).is_none() {
            self.header(file)?;
        }
        let header = match self.in_memory(from, length) {
            Some(header) => Cow::Borrowed(header),
            None => Cow::Owned(file.read_range(from, length as usize)?),
        };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let wanted = if *not { Want::HeaderFieldsNot(&names) } else { Want::HeaderFields(&names) };
        let message = Message::parse(&header);
        let found = message.section(&[], wanted).unwrap_or_default();
        Ok(match item.partial {
            Some(partial) => {
                let (skip, length) = cut(found.len() as u64, partial);
                found[skip as usize..(skip + length) as usize].to_vec()
            }
            None => found.into_owned(),
        })
    }
}

/// An item that selects fields of `header`.
pub fn write_fields(header: &[u8], item: &BodyItem, out: &mut Vec<u8>) {
    write_name(out, item);
    out.push(b' ');
    let Some(SectionText::Fields { names, .. }) = &item.section.text else { return out.extend_from_slice(b"NIL") };
    let found = message::pick(header, |name| names.iter().any(|wanted| wanted.as_bytes().eq_ignore_ascii_case(name)));
    literal(out, &found);
}

/// What is in the cell, made when there is nothing yet.
fn keep<T>(cell: &OnceCell<T>, make: impl FnOnce() -> io::Result<T>) -> io::Result<&T> {
    if let Some(kept) = cell.get() {
        return Ok(kept);
    }
    let made = make()?;
    Ok(cell.get_or_init(|| made))
}

/// Cuts `<first.count>` out of `length` bytes: how many to skip, and how many are left; beyond the end there is nothing (RFC 3501 §6.4.5).
fn cut(length: u64, (first, count): (u32, u32)) -> (u64, u64) {
    let skip = u64::from(first).min(length);
    (skip, u64::from(count).min(length - skip))
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
