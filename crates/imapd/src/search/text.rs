//! Looking for text in messages: decoded first, then compared without case.

use super::day_number;
use crate::selected::Selected;
use message::{Kind, Message};

/// What is looked for, in lower case. The empty string is in everything.
pub struct Needle(String);

impl Needle {
    pub fn new(text: &str) -> Needle {
        Needle(text.to_lowercase())
    }

    pub fn is_in(&self, text: &str) -> bool {
        if self.0.is_empty() {
            return true;
        }
        if text.is_ascii() && self.0.is_ascii() {
            return find_ascii(text.as_bytes(), self.0.as_bytes());
        }
        text.to_lowercase().contains(&self.0)
    }
}

/// Without making a lower-case copy of the text; `needle` is in lower case and not empty.
fn find_ascii(text: &[u8], needle: &[u8]) -> bool {
    let (small, large) = (needle[0], needle[0].to_ascii_uppercase());
    let mut from = 0;
    while let Some(at) = memchr::memchr2(small, large, &text[from..]) {
        let start = from + at;
        let Some(window) = text.get(start..start + needle.len()) else { return false };
        if window.eq_ignore_ascii_case(needle) {
            return true;
        }
        from = start + 1;
    }
    false
}

/// One message's content, read when first needed.
pub struct Content<'s> {
    selected: &'s Selected,
    uid: u32,
    header: Option<Vec<u8>>,
    whole: Option<Vec<u8>>,
}

impl<'s> Content<'s> {
    pub fn new(selected: &'s Selected, uid: u32) -> Content<'s> {
        Content { selected, uid, header: None, whole: None }
    }

    fn header(&mut self) -> mailstore::Result<&[u8]> {
        if let Some(whole) = &self.whole {
            return Ok(&whole[..message::header_length(whole)]);
        }
        if self.header.is_none() {
            let file = self.selected.view.mailbox().read(self.uid)?;
            self.header = Some(file.read_header(crate::fetch::body::HEADER_BYTES).map_err(unreadable)?);
        }
        Ok(self.header.as_deref().unwrap_or_default())
    }

    fn whole(&mut self) -> mailstore::Result<&[u8]> {
        if self.whole.is_none() {
            let file = self.selected.view.mailbox().read(self.uid)?;
            self.whole = Some(file.read_all().map_err(unreadable)?);
        }
        Ok(self.whole.as_deref().unwrap_or_default())
    }

    /// Days since 1970 of the Date header, if there is one that can be read.
    pub fn sent_day(&mut self) -> mailstore::Result<Option<i64>> {
        let field = message::find(self.header()?, "Date");
        Ok(field.and_then(|field| message::Date::parse(field.value())).map(|date| day_number(date.day())))
    }

    /// RFC 3501 §6.4.4 HEADER: in the field's text; an empty needle asks whether the field is there.
    pub fn header_has(&mut self, name: &str, needle: &Needle) -> mailstore::Result<bool> {
        Ok(message::fields(self.header()?).any(|field| field.is(name) && needle.is_in(&field.text())))
    }

    /// BODY: text in any part that is text.
    pub fn body_has(&mut self, needle: &Needle) -> mailstore::Result<bool> {
        let message = Message::parse(self.whole()?);
        Ok(message.parts().iter().any(|part| part.kind == Kind::Text && needle.is_in(&part.text())))
    }

    /// TEXT: header or body, those of messages inside included.
    pub fn text_has(&mut self, needle: &Needle) -> mailstore::Result<bool> {
        let message = Message::parse(self.whole()?);
        Ok(message.parts().iter().any(|part| {
            part.header_fields().any(|field| needle.is_in(&String::from_utf8_lossy(field.name())) || needle.is_in(&field.text()))
                || part.kind == Kind::Text && needle.is_in(&part.text())
        }))
    }
}

fn unreadable(source: std::io::Error) -> mailstore::Error {
    mailstore::Error::Io { step: "read", path: "message".into(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_means_nothing() {
        for (needle, text, want) in [
            ("hello", "Say HELLO there", true),
            ("HELLO", "say hello", true),
            ("Été", "l'été indien", true),
            ("ÉTÉ", "ete", false),
            ("", "", true),
            ("aab", "aaab", true),
            ("b", "", false),
            ("long needle", "long", false),
        ] {
            assert_eq!(Needle::new(needle).is_in(text), want, "{needle:?} in {text:?}");
        }
    }
}
