//! The texts of a message that a search for words looks at (RFC 3501 §6.4.4 BODY and TEXT), as they are compared: decoded, then as
//! i;unicode-casemap has them ([`collation_key`]). One after the other, a large one in pieces, so that nothing is in memory a second time.
//!
//! Whoever looks for words goes through here, and so does who notes which words cannot be there ([`crate::signature`]): the two see the same.

use crate::pieces::Pieces;
use crate::{Field, Kind, Message, collation_key, fields};

/// Of a header field longer than this no more is looked at.
const FIELD_BYTES: usize = 256 << 10;

/// A text, or a piece of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    pub place: Place,
    /// As it is compared.
    pub key: String,
    /// Bytes of the message that were looked at for it.
    pub taken: usize,
}

/// Where a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The name of a header field.
    Name,
    /// What stands in a header field.
    Value,
    /// A part that is text. What does not begin goes on from the piece before: what is looked for may lie across the two.
    Body { begins: bool },
}

/// How far one message was gone through. It holds nothing of the message, which may be read anew between two texts.
pub struct Texts {
    headers: bool,
    /// Index of the part.
    part: usize,
    at: At,
}

/// Where in a part.
enum At {
    /// Before the field that begins here.
    Field(usize),
    /// Between the name and the value of the field that begins here.
    Value(usize),
    Body(Option<Pieces>),
}

impl Texts {
    /// All parts that are text; with `headers` the headers of all parts too.
    pub fn new(headers: bool) -> Texts {
        Texts { headers, part: 0, at: At::Field(0) }
    }

    /// The next text. `message` is the same each time.
    pub fn next(&mut self, message: &Message<'_>) -> Option<Text> {
        loop {
            let part = message.parts().get(self.part)?;
            match &mut self.at {
                At::Field(at) => match field_at(part.header_bytes(), *at).filter(|_| self.headers) {
                    Some(field) => {
                        let key = collation_key(&String::from_utf8_lossy(field.name()));
                        self.at = At::Value(*at);
                        return Some(Text { place: Place::Name, key, taken: 0 });
                    }
                    None => self.at = At::Body(None),
                },
                At::Value(at) => {
                    let field = field_at(part.header_bytes(), *at);
                    let taken = field.map_or(0, |field| field.raw().len());
                    self.at = At::Field(*at + taken);
                    return Some(Text { place: Place::Value, key: field.as_ref().map_or_else(String::new, value_key), taken });
                }
                At::Body(pieces) => {
                    let begins = pieces.is_none();
                    let next = match part.kind {
                        Kind::Text => pieces.get_or_insert_with(|| Pieces::new(part)).next(part),
                        _ => None,
                    };
                    if let Some((piece, taken)) = next {
                        return Some(Text { place: Place::Body { begins }, key: collation_key(&piece), taken });
                    }
                    self.part += 1;
                    self.at = At::Field(0);
                }
            }
        }
    }
}

/// What stands in a header field, as it is compared.
pub fn value_key(field: &Field<'_>) -> String {
    let raw = field.raw();
    let begin = if raw.len() > FIELD_BYTES { fields(&raw[..FIELD_BYTES]).next() } else { None };
    collation_key(&begin.as_ref().unwrap_or(field).text())
}

/// The field that begins at `at`.
pub fn field_at(header: &[u8], at: usize) -> Option<Field<'_>> {
    fields(header.get(at..)?).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(whole: &str, headers: bool) -> Vec<(Place, String)> {
        let message = Message::parse(whole.as_bytes());
        let mut texts = Texts::new(headers);
        std::iter::from_fn(|| texts.next(&message)).map(|text| (text.place, text.key)).collect()
    }

    #[test]
    fn names_values_and_bodies_of_all_parts_come_in_order() {
        let whole = "Subject: =?utf-8?q?=C3=A9t=C3=A9?=\r\nX-Empty:\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n--b\r\n\r\n\
            plain\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inside\r\n\r\ndeep\r\n--b\r\nContent-Type: image/png\r\n\r\npixels\r\n--b--\r\n";
        let key = |text: &str| collation_key(text);
        let body = |text: &str| (Place::Body { begins: true }, key(text));
        assert_eq!(all(whole, false), [body("plain"), body("deep")]);
        let field = |name: &str, value: &str| [(Place::Name, key(name)), (Place::Value, key(value))];
        let mut want: Vec<(Place, String)> = Vec::new();
        want.extend(field("Subject", "été"));
        want.extend(field("X-Empty", ""));
        want.extend(field("Content-Type", "multipart/mixed; boundary=b"));
        want.push(body("plain"));
        want.extend(field("Content-Type", "message/rfc822"));
        want.extend(field("Subject", "inside"));
        want.push(body("deep"));
        want.extend(field("Content-Type", "image/png"));
        assert_eq!(all(whole, true), want);
        assert_eq!(all("", true), [body("")]);
    }

    #[test]
    fn of_a_field_without_end_the_begin_is_shown() {
        let header = format!("X-Long: begin {}end\r\n", "a ".repeat(FIELD_BYTES));
        let key = value_key(&fields(header.as_bytes()).next().expect("a field"));
        assert!(key.starts_with("BEGIN") && !key.ends_with("END") && key.len() <= FIELD_BYTES);
    }
}
