//! Looking for text in messages: decoded first, then compared without case.

use super::day_number;
use crate::selected::Selected;
use message::{Kind, Message};
use std::cell::OnceCell;

/// What is looked for, in lower case. The empty string is in everything.
pub struct Needle(String);

/// Where it is looked for, made lower case once for all needles that need it so.
struct Hay {
    text: String,
    lower: OnceCell<String>,
}

impl Hay {
    fn new(text: impl Into<String>) -> Hay {
        Hay { text: text.into(), lower: OnceCell::new() }
    }
}

impl Needle {
    pub fn new(text: &str) -> Needle {
        Needle(text.to_lowercase())
    }

    fn is_in(&self, hay: &Hay) -> bool {
        if self.0.is_empty() {
            return true;
        }
        if hay.text.is_ascii() && self.0.is_ascii() {
            return find_ascii(hay.text.as_bytes(), self.0.as_bytes());
        }
        hay.lower.get_or_init(|| hay.text.to_lowercase()).contains(&self.0)
    }
}

/// The keys of one search that look into messages.
#[derive(Default)]
pub struct Keys {
    headers: Vec<(String, Needle)>,
    contents: Vec<(Scope, Needle)>,
}

/// Which text a key means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Any part that is text.
    Body,
    /// Header or body, those of messages inside included.
    Text,
}

impl Keys {
    /// Adds a HEADER key and returns its index.
    pub fn header(&mut self, name: &str, needle: Needle) -> usize {
        self.headers.push((name.to_owned(), needle));
        self.headers.len() - 1
    }

    /// Adds a BODY or TEXT key and returns its index.
    pub fn content(&mut self, scope: Scope, needle: Needle) -> usize {
        self.contents.push((scope, needle));
        self.contents.len() - 1
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

/// One message's content, read when first needed. All keys of one kind are answered in one go, each text decoded once and held no longer
/// than that.
pub struct Content<'s> {
    selected: &'s Selected,
    uid: u32,
    keys: &'s Keys,
    header: Option<Vec<u8>>,
    /// Which HEADER keys hold.
    headers: Option<Vec<bool>>,
    /// Which BODY and TEXT keys hold.
    contents: Option<Vec<bool>>,
}

impl<'s> Content<'s> {
    pub fn new(selected: &'s Selected, uid: u32, keys: &'s Keys) -> Content<'s> {
        Content { selected, uid, keys, header: None, headers: None, contents: None }
    }

    fn header(&mut self) -> mailstore::Result<&[u8]> {
        if self.header.is_none() {
            let file = self.selected.view.mailbox().read(self.uid)?;
            self.header = Some(file.read_header(crate::fetch::body::HEADER_BYTES).map_err(unreadable)?);
        }
        Ok(self.header.as_deref().unwrap_or_default())
    }

    /// Days since 1970 of the Date header, if there is one that can be read.
    pub fn sent_day(&mut self) -> mailstore::Result<Option<i64>> {
        let field = message::find(self.header()?, "Date");
        Ok(field.and_then(|field| message::Date::parse(field.value())).map(|date| day_number(date.day())))
    }

    /// RFC 3501 §6.4.4 HEADER: in the field's text; an empty needle asks whether the field is there.
    pub fn header_has(&mut self, key: usize) -> mailstore::Result<bool> {
        if self.headers.is_none() {
            let keys = self.keys;
            self.headers = Some(headers_in(self.header()?, &keys.headers));
        }
        Ok(self.headers.as_ref().is_some_and(|holds| holds[key]))
    }

    /// RFC 3501 §6.4.4 BODY and TEXT.
    pub fn has(&mut self, key: usize) -> mailstore::Result<bool> {
        if self.contents.is_none() {
            let file = self.selected.view.mailbox().read(self.uid)?;
            let whole = file.read_all().map_err(unreadable)?;
            self.contents = Some(contents_in(&whole, &self.keys.contents));
        }
        Ok(self.contents.as_ref().is_some_and(|holds| holds[key]))
    }
}

fn headers_in(header: &[u8], keys: &[(String, Needle)]) -> Vec<bool> {
    let mut holds = vec![false; keys.len()];
    for field in message::fields(header) {
        let mut hay = None;
        for ((name, needle), holds) in keys.iter().zip(&mut holds) {
            if !*holds && field.is(name) {
                *holds = needle.is_in(hay.get_or_insert_with(|| Hay::new(field.text())));
            }
        }
    }
    holds
}

fn contents_in(whole: &[u8], keys: &[(Scope, Needle)]) -> Vec<bool> {
    let mut holds = vec![false; keys.len()];
    let mut look = |hay: Hay, in_body: bool| {
        for ((scope, needle), holds) in keys.iter().zip(&mut holds) {
            *holds = *holds || (in_body || *scope == Scope::Text) && needle.is_in(&hay);
        }
        !holds.iter().all(|holds| *holds)
    };
    let has_text_keys = keys.iter().any(|(scope, _)| *scope == Scope::Text);
    let message = Message::parse(whole);
    for part in message.parts() {
        if has_text_keys {
            for field in part.header_fields() {
                if !(look(Hay::new(String::from_utf8_lossy(field.name())), false) && look(Hay::new(field.text()), false)) {
                    return holds;
                }
            }
        }
        if part.kind == Kind::Text && !look(Hay::new(part.text()), true) {
            return holds;
        }
    }
    holds
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
            assert_eq!(Needle::new(needle).is_in(&Hay::new(text)), want, "{needle:?} in {text:?}");
        }
    }

    #[test]
    fn all_keys_are_answered_by_one_reading() {
        let whole = "Subject: =?utf-8?q?=C3=89t=C3=A9?=\r\nX-Empty:\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n\
            plain words\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inside\r\n\r\ndeep\r\n--b--\r\n";
        let cases = [
            (Scope::Body, "PLAIN", true),
            (Scope::Body, "inside", false),
            (Scope::Text, "inside", true),
            (Scope::Text, "été", true),
            (Scope::Text, "x-empty", true),
            (Scope::Body, "deep", true),
            (Scope::Body, "", true),
            (Scope::Text, "absent", false),
        ];
        // alone, and all at once
        for (scope, needle, want) in cases {
            assert_eq!(contents_in(whole.as_bytes(), &[(scope, Needle::new(needle))]), [want], "{needle}");
        }
        let keys: Vec<(Scope, Needle)> = cases.iter().map(|(scope, needle, _)| (*scope, Needle::new(needle))).collect();
        assert_eq!(contents_in(whole.as_bytes(), &keys), cases.map(|(.., want)| want));
        let keys =
            [("subject", "ÉTÉ"), ("x-empty", ""), ("x-none", ""), ("subject", "inside")].map(|(name, n)| (name.to_owned(), Needle::new(n)));
        assert_eq!(headers_in(whole.as_bytes(), &keys), [true, true, false, false]);
    }
}
