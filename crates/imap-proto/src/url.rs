//! IMAP URLs of messages and their parts (RFC 5092), as CATENATE has them: relative to the session's own account.

use crate::command::Section;
use crate::cursor::Cursor;
use crate::parse::section;

/// Longest URL: a mailbox name and a section, each byte written as three.
const LIMIT: usize = 16 << 10;

/// `/Drafts;UIDVALIDITY=385759045/;UID=20/;SECTION=1.MIME/;PARTIAL=0.1024`
#[derive(Debug, Clone, PartialEq)]
pub struct MessageUrl {
    /// In UTF-8; `None` for the mailbox that is open (RFC 4469 §3).
    pub mailbox: Option<String>,
    pub uid_validity: Option<u32>,
    pub uid: u32,
    pub section: Section,
    /// First byte and number of bytes; to the end without (RFC 5550 §5.7.1).
    pub partial: Option<(u32, Option<u32>)>,
}

impl MessageUrl {
    /// RFC 5092 §11: `imessagepart = imailbox-ref iuid [isection] [ipartial]`, `imailbox-ref = enc-mailbox [";UIDVALIDITY=" nz-number]`,
    /// `iuid = "/" ";UID=" nz-number`, `isection = "/" ";SECTION=" enc-section`, `ipartial = "/" ";PARTIAL=" number ["." nz-number]`; without
    /// `imailbox-ref "/"` the open mailbox is meant. `None` for anything else: other servers and users, lists of messages, URLAUTH.
    pub fn parse(url: &str) -> Option<MessageUrl> {
        if url.len() > LIMIT || url.starts_with("//") {
            return None;
        }
        let path = url.strip_prefix('/');
        let is_relative = path.is_none();
        let mut segments = path.unwrap_or(url).split('/').peekable();
        let mut mailbox = Vec::new();
        let uid = loop {
            let segment = segments.next()?;
            match attribute(segment, ";UID=") {
                Some(uid) => break number(uid).filter(|uid| *uid > 0)?,
                None => mailbox.push(segment),
            }
        };
        let mailbox = mailbox.join("/");
        let (name, uid_validity) = match mailbox.find(';') {
            Some(at) => (&mailbox[..at], Some(number(attribute(&mailbox[at..], ";UIDVALIDITY=")?)?)),
            None => (&*mailbox, None),
        };
        // What has a scheme is no relative URL: its colon stands in the first segment.
        let has_scheme = is_relative && name.split('/').next().is_some_and(|first| first.contains(':'));
        if has_scheme || name.is_empty() && (!is_relative || uid_validity.is_some()) {
            return None;
        }
        let mailbox = if name.is_empty() { None } else { Some(decode(name)?) };
        let mut section = Section::default();
        if let Some(text) = segments.peek().and_then(|segment| attribute(segment, ";SECTION=")) {
            section = parse_section(&decode(text)?)?;
            segments.next();
        }
        let mut partial = None;
        if let Some(text) = segments.peek().and_then(|segment| attribute(segment, ";PARTIAL=")) {
            partial = Some(match text.split_once('.') {
                Some((first, count)) => (number(first)?, Some(number(count).filter(|count| *count > 0)?)),
                None => (number(text)?, None),
            });
            segments.next();
        }
        segments.next().is_none().then_some(MessageUrl { mailbox, uid_validity, uid, section, partial })
    }
}

/// The value behind a name that is written in any case.
fn attribute<'a>(segment: &'a str, name: &str) -> Option<&'a str> {
    let (head, value) = segment.split_at_checked(name.len())?;
    head.eq_ignore_ascii_case(name).then_some(value)
}

fn number(digits: &str) -> Option<u32> {
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

fn parse_section(text: &str) -> Option<Section> {
    let bracketed = format!("[{text}]");
    let mut cursor = Cursor::new(bracketed.as_bytes());
    let section = section(&mut cursor).ok()?;
    cursor.is_done().then_some(section)
}

/// RFC 3986 §2.1: `pct-encoded = "%" HEXDIG HEXDIG`, of UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        match b {
            b'%' => {
                let digit = |b: Option<u8>| char::from(b?).to_digit(16);
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                out.push((high * 16 + low) as u8);
            }
            // what a URL cannot hold
            0..=b' ' | 0x7f => return None,
            b => out.push(b),
        }
    }
    String::from_utf8(out).ok()
}

/// The URL as a response code can hold it (RFC 4469 §5 url-resp-text).
pub fn in_response(url: &str) -> String {
    let mut out = String::new();
    for b in url.bytes().take(1000) {
        match b {
            b']' => out.push_str("%5D"),
            0x20..0x7f => out.push(char::from(b)),
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::SectionText;

    #[test]
    fn rfc5092_message_urls() {
        let url = |mailbox: Option<&str>, uid_validity, uid| MessageUrl {
            mailbox: mailbox.map(str::to_owned),
            uid_validity,
            uid,
            section: Section::default(),
            partial: None,
        };
        let part = |url: MessageUrl, part: &[u32], text| MessageUrl { section: Section { part: part.to_vec(), text }, ..url };
        for (text, want) in [
            ("/Drafts;UIDVALIDITY=385759045/;UID=20", url(Some("Drafts"), Some(385_759_045), 20)),
            ("/Drafts/;uid=20", url(Some("Drafts"), None, 20)),
            ("Drafts/;UID=20", url(Some("Drafts"), None, 20)),
            (";UID=20", url(None, None, 20)),
            ("/Envoy%C3%A9s/;UID=1", url(Some("Envoyés"), None, 1)),
            ("/a%2Fb;uidvalidity=1/;UID=1", url(Some("a/b"), Some(1), 1)),
            ("/D/;UID=20/;section=HEADER", part(url(Some("D"), None, 20), &[], Some(SectionText::Header))),
            ("/D/;UID=20/;Section=1.MIME", part(url(Some("D"), None, 20), &[1], Some(SectionText::Mime))),
            ("/D/;UID=20/;SECTION=2", part(url(Some("D"), None, 20), &[2], None)),
            (
                "/D/;UID=20/;SECTION=HEADER.FIELDS%20(To)",
                part(url(Some("D"), None, 20), &[], Some(SectionText::Fields { names: vec!["To".into()], not: false })),
            ),
            ("/D/;UID=20/;PARTIAL=0.1024", MessageUrl { partial: Some((0, Some(1024))), ..url(Some("D"), None, 20) }),
            (";UID=20/;SECTION=1/;PARTIAL=9", MessageUrl { partial: Some((9, None)), ..part(url(None, None, 20), &[1], None) }),
        ] {
            assert_eq!(MessageUrl::parse(text), Some(want), "{text}");
        }
        for bad in [
            "",
            "/",
            "/Drafts",
            "/Drafts/;UID=0",
            "/Drafts/;UID=x",
            "/Drafts/;UID=4294967296",
            "/;UID=1",
            "//server/Drafts/;UID=1",
            "imap://u@server/Drafts/;UID=1",
            "http://server/;UID=1",
            "/D;UIDVALIDITY=x/;UID=1",
            "/D;X=1/;UID=1",
            "/D/;UID=1/;SECTION=1.",
            "/D/;UID=1/;SECTION=MIME",
            "/D/;UID=1/;PARTIAL=0.0",
            "/D/;UID=1/;PARTIAL=x",
            "/D/;UID=1/;PARTIAL=0.1/;SECTION=1",
            "/D/;UID=1;urlauth=anonymous:internal:1",
            "/D/;UID=1/x",
            "/D%2/;UID=1",
            "/D%FF/;UID=1",
            "/D E/;UID=1",
        ] {
            assert_eq!(MessageUrl::parse(bad), None, "{bad}");
        }
        assert_eq!(MessageUrl::parse(&format!("/{}/;UID=1", "a/".repeat(100_000))), None);
    }

    #[test]
    fn a_response_code_stays_one() {
        assert_eq!(in_response("/a]b\r\né%5D"), "/a%5Db%0D%0A%C3%A9%5D");
        assert!(in_response(&"]".repeat(100_000)).len() <= 3000);
    }
}
