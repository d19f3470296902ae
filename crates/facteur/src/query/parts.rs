//! MIMEPART: messages by what their parts are, in the words that Dovecot's search has for it. A message is meant when one of its parts is.
//!
//! What stands in an envelope (FROM, SUBJECT, SENTON …) is asked of messages inside of the message, as Dovecot does. A child is any part below.

use super::Span;
use super::messages::text_of;
use super::parse::{Joined, Parser};
use super::value::{self, Side};
use message::{Kind, Message, Part, collation_key};
use std::cmp::Ordering;

/// What a part has to be. Texts are as they are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PartKey {
    And(Vec<PartKey>),
    Or(Vec<PartKey>),
    Not(Box<PartKey>),
    /// Octets of the body, with CRLF line ends.
    Size(Ordering, u64),
    /// 0 is the message itself.
    Depth(Bound, u64),
    /// Among its siblings, from 1.
    Index(u64),
    Is(Name, String),
    Description(String),
    Language(String),
    /// Of the type, or of the disposition; with any value when that is empty.
    Param {
        disposition: bool,
        name: String,
        value: String,
    },
    FileName(Match, String),
    /// A field of the part's own header, and one of the message inside it.
    Header(String, String),
    Envelope(&'static str, String),
    Sent(Span),
    Body(String),
    Text(String),
    /// Nothing behind it: whether there is one.
    Parent(Option<Box<PartKey>>),
    Child(Option<Box<PartKey>>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    Min,
    Max,
    Exactly,
}

/// What is compared as a whole, in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Type,
    Subtype,
    Disposition,
    Encoding,
    Id,
    Location,
    Md5,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    Is,
    Contains,
    Begins,
    Ends,
}

/// `MIMEPART key`; the word itself is read.
pub(super) fn parse(parser: &mut Parser<'_>, depth: usize) -> Result<PartKey, String> {
    let word = parser.value("MIMEPART")?;
    let name = word.to_ascii_uppercase();
    let text = |parser: &mut Parser<'_>| parser.value(&name).map(collation_key);
    let is = |parser: &mut Parser<'_>, what| parser.value(&name).map(|value| PartKey::Is(what, value.to_owned()));
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("MIMEPART {name}: {text} is no number"));
    Ok(match name.as_str() {
        "(" => {
            let list = parser.list(depth + 1, parse)?;
            parser.next().ok_or("a ) is missing")?;
            match list {
                Joined::All(mut keys) if keys.len() == 1 => keys.remove(0),
                Joined::All(keys) => PartKey::And(keys),
                Joined::Any(keys) => PartKey::Or(keys),
            }
        }
        "NOT" => PartKey::Not(Box::new(nested(parser, depth)?)),
        "SIZE" => match parser.one_of(&["LARGER", "SMALLER"]) {
            Some("LARGER") => PartKey::Size(Ordering::Greater, value::size(parser.value(&name)?)?),
            Some(_) => PartKey::Size(Ordering::Less, value::size(parser.value(&name)?)?),
            None => PartKey::Size(Ordering::Equal, value::size(parser.value(&name)?)?),
        },
        "DEPTH" => {
            let bound = match parser.one_of(&["MIN", "MAX"]) {
                Some("MIN") => Bound::Min,
                Some(_) => Bound::Max,
                None => Bound::Exactly,
            };
            PartKey::Depth(bound, number(parser.value(&name)?)?)
        }
        "INDEX" => PartKey::Index(number(parser.value(&name)?)?),
        "TYPE" => is(parser, Name::Type)?,
        "SUBTYPE" => is(parser, Name::Subtype)?,
        "ENCODING" => is(parser, Name::Encoding)?,
        "ID" => is(parser, Name::Id)?,
        "LOCATION" => is(parser, Name::Location)?,
        "MD5" => is(parser, Name::Md5)?,
        "LANGUAGE" => PartKey::Language(parser.value(&name)?.to_owned()),
        "DESCRIPTION" => PartKey::Description(text(parser)?),
        "PARAM" => param(parser, false)?,
        "DISPOSITION" => match parser.one_of(&["TYPE", "PARAM"]) {
            Some("TYPE") => is(parser, Name::Disposition)?,
            Some(_) => param(parser, true)?,
            None => return Err("MIMEPART DISPOSITION: TYPE or PARAM has to follow".into()),
        },
        "FILENAME" => {
            let how = match parser.one_of(&["IS", "CONTAINS", "BEGINS", "ENDS"]) {
                Some("IS") => Match::Is,
                Some("CONTAINS") => Match::Contains,
                Some("BEGINS") => Match::Begins,
                Some(_) => Match::Ends,
                None => return Err("MIMEPART FILENAME: IS, CONTAINS, BEGINS or ENDS has to follow".into()),
            };
            PartKey::FileName(how, text(parser)?)
        }
        "HEADER" => PartKey::Header(parser.value(&name)?.to_owned(), text(parser)?),
        "BODY" => PartKey::Body(text(parser)?),
        "TEXT" => PartKey::Text(text(parser)?),
        "SENTBEFORE" | "SENTON" | "SENTSINCE" => {
            let side = if name.ends_with("BEFORE") {
                Side::Before
            } else if name.ends_with("ON") {
                Side::On
            } else {
                Side::Since
            };
            PartKey::Sent(value::span(parser.value(&name)?, side, parser.clock())?)
        }
        "PARENT" => PartKey::Parent(related(parser, depth)?),
        "CHILD" => PartKey::Child(related(parser, depth)?),
        _ => {
            let fields = ["Bcc", "Cc", "From", "In-Reply-To", "Message-ID", "Reply-To", "Sender", "Subject", "To"];
            match fields.iter().find(|field| field.eq_ignore_ascii_case(&name)) {
                Some(field) => PartKey::Envelope(field, text(parser)?),
                None => return Err(format!("MIMEPART: unknown key {word}")),
            }
        }
    })
}

fn nested(parser: &mut Parser<'_>, depth: usize) -> Result<PartKey, String> {
    parser.deeper(depth).and_then(|depth| parse(parser, depth))
}

fn related(parser: &mut Parser<'_>, depth: usize) -> Result<Option<Box<PartKey>>, String> {
    match parser.one_of(&["EXISTS"]) {
        Some(_) => Ok(None),
        None => Ok(Some(Box::new(nested(parser, depth)?))),
    }
}

fn param(parser: &mut Parser<'_>, disposition: bool) -> Result<PartKey, String> {
    let name = parser.value("PARAM")?.to_owned();
    Ok(PartKey::Param { disposition, name, value: collation_key(parser.value("PARAM")?) })
}

/// The parts of a message in their order, each with where it stands.
struct Tree<'m> {
    message: &'m Message<'m>,
    places: Vec<Place<'m>>,
}

struct Place<'m> {
    part: &'m Part<'m>,
    parent: Option<usize>,
    depth: u64,
    index: u64,
    /// Where the parts below it end.
    end: usize,
}

/// Whether a message has such a part.
pub(super) fn has(message: &Message<'_>, key: &PartKey) -> bool {
    let mut tree = Tree { message, places: Vec::new() };
    tree.add(message.root(), None, 0, 1);
    (0..tree.places.len()).any(|at| tree.holds(at, tree.places[at].depth, key))
}

impl<'m> Tree<'m> {
    /// Recursion follows MIME nesting, which is bounded.
    fn add(&mut self, part: &'m Part<'m>, parent: Option<usize>, depth: u64, index: u64) {
        let at = self.places.len();
        self.places.push(Place { part, parent, depth, index, end: 0 });
        let message = self.message;
        for (index, child) in (1..).zip(message.children(part)) {
            self.add(child, Some(at), depth + 1, index);
        }
        self.places[at].end = self.places.len();
    }

    /// `depth` counts from the part whose children are looked at, as Dovecot does.
    fn holds(&self, at: usize, depth: u64, key: &PartKey) -> bool {
        let place = &self.places[at];
        let part = place.part;
        match key {
            PartKey::And(keys) => keys.iter().all(|key| self.holds(at, depth, key)),
            PartKey::Or(keys) => keys.iter().any(|key| self.holds(at, depth, key)),
            PartKey::Not(key) => !self.holds(at, depth, key),
            PartKey::Size(how, bytes) => part.body_size.cmp(bytes) == *how,
            PartKey::Depth(Bound::Min, wanted) => depth >= *wanted,
            PartKey::Depth(Bound::Max, wanted) => depth <= *wanted,
            PartKey::Depth(Bound::Exactly, wanted) => depth == *wanted,
            PartKey::Index(wanted) => place.index == *wanted,
            PartKey::Is(name, value) => is(part, *name, value.as_bytes()),
            PartKey::Description(value) => {
                part.description().is_some_and(|text| collation_key(&message::words::decode(&text)).contains(value))
            }
            PartKey::Language(value) => part.language().iter().any(|tag| tag.eq_ignore_ascii_case(value.as_bytes())),
            PartKey::Param { disposition: false, name, value } => has_param(&part.content_type.params, name, value),
            PartKey::Param { name, value, .. } => part.disposition().is_some_and(|found| has_param(&found.params, name, value)),
            PartKey::FileName(how, value) => file_name(part).is_some_and(|name| match how {
                Match::Is => name == *value,
                Match::Contains => name.contains(value.as_str()),
                Match::Begins => name.starts_with(value.as_str()),
                Match::Ends => name.ends_with(value.as_str()),
            }),
            PartKey::Header(name, value) => has_field(part, name, value),
            PartKey::Envelope(name, value) => self.inner(part).is_some_and(|inner| has_field(inner, name, value)),
            PartKey::Sent(span) => self.inner(part).is_some_and(|inner| {
                let date = message::find(inner.header_bytes(), "Date").and_then(|field| message::Date::parse(field.value()));
                date.is_some_and(|date| span.has_date(&date))
            }),
            PartKey::Body(value) => part.kind == Kind::Text && collation_key(&part.text()).contains(value),
            PartKey::Text(value) => {
                part.header_fields()
                    .any(|field| collation_key(&String::from_utf8_lossy(field.name())).contains(value) || text_of(&field).contains(value))
                    || part.kind == Kind::Text && collation_key(&part.text()).contains(value)
            }
            PartKey::Parent(None) => place.parent.is_some(),
            PartKey::Parent(Some(key)) => place.parent.is_some_and(|parent| self.holds(parent, depth.saturating_sub(1), key)),
            PartKey::Child(None) => place.end > at + 1,
            PartKey::Child(Some(key)) => (at + 1..place.end).any(|below| self.holds(below, self.places[below].depth - place.depth, key)),
        }
    }

    /// The message inside a part.
    fn inner(&self, part: &'m Part<'m>) -> Option<&'m Part<'m>> {
        self.message.children(part).next().filter(|_| part.kind == Kind::Message)
    }
}

fn is(part: &Part<'_>, name: Name, value: &[u8]) -> bool {
    let kind = &part.content_type;
    match name {
        Name::Type => kind.kind.eq_ignore_ascii_case(value),
        Name::Subtype => kind.subtype.eq_ignore_ascii_case(value),
        Name::Disposition => part.disposition_kind().is_some_and(|kind| kind.eq_ignore_ascii_case(value)),
        // RFC 2045 §6.1: what nobody says is 7bit
        Name::Encoding => part.encoding_name().unwrap_or(b"7bit").eq_ignore_ascii_case(value),
        Name::Id => part.id().is_some_and(|id| id.eq_ignore_ascii_case(value)),
        Name::Location => part.location().is_some_and(|location| location.eq_ignore_ascii_case(value)),
        Name::Md5 => part.md5().is_some_and(|md5| *md5 == *value),
    }
}

fn has_param(params: &message::Params<'_>, name: &str, value: &str) -> bool {
    params.text(name).is_some_and(|text| collation_key(&text).contains(value))
}

fn has_field(part: &Part<'_>, name: &str, value: &str) -> bool {
    part.header_fields().any(|field| field.is(name) && text_of(&field).contains(value))
}

/// RFC 2183 §2.3, or the `name` of old programs.
fn file_name(part: &Part<'_>) -> Option<String> {
    let name = part.disposition().and_then(|disposition| disposition.params.text("filename"));
    name.or_else(|| part.content_type.params.text("name")).map(|name| collation_key(&name))
}

#[cfg(test)]
mod tests {
    use crate::query::Query;
    use jiff::tz::TimeZone;
    use message::Message;

    const TEXT: &str = "Subject: outer\r\nFrom: ann@x.test\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
        Content-Type: text/plain; charset=utf-8\r\nContent-Language: de, fr\r\n\r\nwords\r\n--b\r\n\
        Content-Type: application/pdf; name=\"old.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\
        Content-Description: =?utf-8?q?der_Vertrag?=\r\nContent-ID: <a@b>\r\n\
        Content-Disposition: attachment; filename*=utf-8''Vertr%C3%A4ge.pdf; size=3\r\n\r\naGlk\r\n--b\r\n\
        Content-Type: message/rfc822\r\n\r\nSubject: inner\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n\
        Content-Type: multipart/alternative; boundary=c\r\n\r\n--c\r\n\r\ndeep\r\n--c--\r\n--b--\r\n";

    fn meant(query: &str) -> bool {
        let words: Vec<&str> = ["mimepart"].into_iter().chain(query.split(' ')).collect();
        let query = Query::parse(&words, 1_795_431_600, TimeZone::UTC).expect(query);
        let crate::query::Key::Part(key) = &query.0 else { panic!("{query:?}") };
        super::has(&Message::parse(TEXT.as_bytes()), key)
    }

    #[test]
    fn parts_are_found_by_each_kind_of_key() {
        for (query, want) in [
            ("type application", true),
            ("type image", false),
            ("subtype PDF", true),
            ("( type application subtype plain )", false),
            ("( type application subtype pdf )", true),
            ("( type image or type application )", true),
            ("( or type image type application )", true),
            ("not type multipart", true),
            ("not depth min 0", false),
            ("filename is verträge.pdf", true),
            ("filename is verträge", false),
            ("filename contains TRÄ", true),
            ("filename begins vert", true),
            ("filename ends .pdf", true),
            ("filename ends .exe", false),
            ("filename is old.pdf", false),
            ("param name old", true),
            ("param charset utf-8", true),
            ("param boundary x", false),
            ("disposition type attachment", true),
            ("disposition param size 3", true),
            ("disposition param size 4", false),
            ("encoding BASE64", true),
            ("encoding 7bit", true),
            ("encoding binary", false),
            ("description vertrag", true),
            ("id <a@b>", true),
            ("id a@b", false),
            ("language fr", true),
            ("language f", false),
            ("md5 x", false),
            ("location x", false),
            ("size 4", true),
            ("size larger 1M", false),
            ("( type application size smaller 5 )", true),
            ("depth 0", true),
            ("depth 3", true),
            ("depth min 4", false),
            ("( depth max 1 type message )", true),
            ("( index 2 type application )", true),
            ("( index 1 type application )", false),
            ("header content-language de", true),
            ("header subject outer", true),
            // of messages inside only
            ("subject inner", true),
            ("subject outer", false),
            ("from ann", false),
            ("senton 2026-11-23", true),
            ("sentbefore 2026-11-23", false),
            ("body words", true),
            ("body deep", true),
            ("( type application body hid )", false),
            ("( depth 1 text fr )", true),
            ("parent exists", true),
            ("( depth 0 parent exists )", false),
            ("( type text parent type multipart )", true),
            ("( type application parent subtype alternative )", false),
            ("( type application child exists )", false),
            ("( depth 0 child subtype alternative )", true),
            ("( type message child ( depth 1 subtype alternative ) )", true),
            ("( type message child type application )", false),
            ("child parent type message", true),
        ] {
            assert_eq!(meant(query), want, "{query}");
        }
    }

    #[test]
    fn what_is_no_key_of_a_part_is_refused() {
        let deep = "not ".repeat(100);
        for query in ["", "seen", "exists", "type", "depth x", "size", "filename x", "disposition x", "( type x", "parent", "index", &deep]
        {
            let words: Vec<&str> = ["mimepart"].into_iter().chain(query.split(' ').filter(|word| !word.is_empty())).collect();
            assert!(Query::parse(&words, 0, TimeZone::UTC).is_err(), "{query}");
        }
    }
}
