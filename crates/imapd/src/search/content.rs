//! Looking for text in one message: decoded first, then compared without case; in turns, however large the message.

use super::Stop;
use super::needle::Needle;
use super::pieces::Pieces;
use super::turn::Turn;
use crate::facts::{Facts, has_field};
use crate::selected::Selected;
use message::{Field, Kind, Message, Part, collation_key, fields};

/// Of a header field longer than this no more is looked at.
const FIELD_BYTES: usize = 256 << 10;

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

    /// Whether all HEADER keys mean fields that are remembered of messages.
    fn are_remembered(&self) -> bool {
        self.headers.iter().all(|(name, _)| has_field(name.as_bytes()))
    }

    /// Adds a BODY or TEXT key and returns its index.
    pub fn content(&mut self, scope: Scope, needle: Needle) -> usize {
        self.contents.push((scope, needle));
        self.contents.len() - 1
    }
}

/// What is known of one message, and how far it was looked at. All keys of one kind are answered in one go, each text decoded once and held
/// no longer than that.
#[derive(Default)]
pub struct Progress {
    headers: Option<Headers>,
    contents: Option<Contents>,
}

/// One message's content, read when first needed in a turn.
pub struct Content<'s> {
    pub selected: &'s Selected,
    pub message: &'s mailstore::Message,
    pub keys: &'s Keys,
    pub progress: &'s mut Progress,
    pub turn: &'s mut Turn,
}

impl Content<'_> {
    fn read_header(&self) -> mailstore::Result<Vec<u8>> {
        let file = self.selected.view.mailbox().read(self.message.uid())?;
        file.read_header(crate::fetch::body::HEADER_BYTES).map_err(unreadable)
    }

    /// Days since 1970 of the Date header, if there is one that can be read.
    pub fn sent_day(&mut self) -> mailstore::Result<Option<i64>> {
        Ok(self.facts()?.sent_day())
    }

    fn facts(&self) -> mailstore::Result<Facts> {
        Facts::get(self.selected.view.mailbox(), self.message, false)
    }

    /// RFC 3501 §6.4.4 HEADER: in the field's text; an empty needle asks whether the field is there.
    pub fn header_has(&mut self, key: usize) -> Result<bool, Stop> {
        let looked = match self.progress.headers.take() {
            Some(looked) if looked.done => looked,
            begun => {
                let header = if self.keys.are_remembered() { self.facts()?.header().to_vec() } else { self.read_header()? };
                self.turn.reads(header.len());
                begun.unwrap_or_else(|| Headers::new(self.keys)).go_on(&header, self.keys, self.turn)
            }
        };
        let looked = self.progress.headers.insert(looked);
        if looked.done { Ok(looked.holds[key]) } else { Err(Stop::Later) }
    }

    /// RFC 3501 §6.4.4 BODY and TEXT.
    pub fn has(&mut self, key: usize) -> Result<bool, Stop> {
        let looked = match self.progress.contents.take() {
            Some(looked) if looked.done => looked,
            begun => {
                let whole = self.selected.view.mailbox().read(self.message.uid())?.read_all().map_err(unreadable)?;
                self.turn.reads(whole.len());
                begun.unwrap_or_else(|| Contents::new(self.keys)).go_on(&Message::parse(&whole), self.keys, self.turn)
            }
        };
        let looked = self.progress.contents.insert(looked);
        if looked.done { Ok(looked.holds[key]) } else { Err(Stop::Later) }
    }
}

/// Which HEADER keys hold.
struct Headers {
    holds: Vec<bool>,
    /// Where the next field begins.
    at: usize,
    done: bool,
}

impl Headers {
    fn new(keys: &Keys) -> Headers {
        Headers { holds: vec![false; keys.headers.len()], at: 0, done: false }
    }

    /// Looks at fields until the turn is over.
    fn go_on(mut self, header: &[u8], keys: &Keys, turn: &mut Turn) -> Headers {
        while let Some(field) = field_at(header, &mut self.at) {
            let mut text = None;
            for ((name, needle), holds) in keys.headers.iter().zip(&mut self.holds) {
                if !*holds && field.is(name) {
                    *holds = needle.is_in(text.get_or_insert_with(|| keyed_text(&field)));
                }
            }
            if turn.spend(field.raw().len()) {
                return self;
            }
        }
        self.done = true;
        self
    }
}

/// Which BODY and TEXT keys hold.
struct Contents {
    holds: Vec<bool>,
    /// Index of the part being looked at.
    part: usize,
    place: Place,
    /// The end of the part's text so far, as it is compared: what is looked for may begin there.
    overlap: String,
    /// As much of it as is needed.
    overlap_bytes: usize,
    done: bool,
}

/// Where in a part.
enum Place {
    /// Before the field that begins here.
    Field(usize),
    Body(Pieces),
    End,
}

impl Contents {
    fn new(keys: &Keys) -> Contents {
        let longest = keys.contents.iter().map(|(_, needle)| needle.length()).max().unwrap_or(0);
        Contents {
            holds: vec![false; keys.contents.len()],
            part: 0,
            place: Place::Field(0),
            overlap: String::new(),
            overlap_bytes: longest.saturating_sub(1),
            done: false,
        }
    }

    /// Looks at parts until the turn is over.
    fn go_on(mut self, message: &Message<'_>, keys: &Keys, turn: &mut Turn) -> Contents {
        let has_text_keys = keys.contents.iter().any(|(scope, _)| *scope == Scope::Text);
        while let Some(part) = message.parts().get(self.part) {
            let spent = match &mut self.place {
                Place::Field(at) => match field_at(part.header_bytes(), at).filter(|_| has_text_keys) {
                    Some(field) => {
                        self.look(&collation_key(&String::from_utf8_lossy(field.name())), keys, false);
                        self.look(&keyed_text(&field), keys, false);
                        field.raw().len()
                    }
                    None => {
                        self.place = if part.kind == Kind::Text { Place::Body(Pieces::new(part)) } else { Place::End };
                        0
                    }
                },
                Place::Body(_) => self.look_at_body(part, keys),
                Place::End => {
                    self.part += 1;
                    self.place = Place::Field(0);
                    0
                }
            };
            if self.holds.iter().all(|holds| *holds) {
                break;
            }
            if spent > 0 && turn.spend(spent) {
                return self;
            }
        }
        self.done = true;
        self
    }

    /// Looks at the next piece of a part's text.
    fn look_at_body(&mut self, part: &Part<'_>, keys: &Keys) -> usize {
        let Place::Body(pieces) = &mut self.place else { return 0 };
        let Some((piece, taken)) = pieces.next(part) else {
            self.place = Place::End;
            self.overlap.clear();
            return 0;
        };
        let mut keyed = std::mem::take(&mut self.overlap);
        keyed.push_str(&collation_key(&piece));
        self.look(&keyed, keys, true);
        let keep = (keyed.len().saturating_sub(self.overlap_bytes)..=keyed.len()).find(|at| keyed.is_char_boundary(*at));
        self.overlap = keyed.split_off(keep.unwrap_or(keyed.len()));
        taken
    }

    fn look(&mut self, keyed: &str, keys: &Keys, in_body: bool) {
        for ((scope, needle), holds) in keys.contents.iter().zip(&mut self.holds) {
            *holds = *holds || (in_body || *scope == Scope::Text) && needle.is_in(keyed);
        }
    }
}

/// The field at `at`, which moves behind it.
fn field_at<'h>(header: &'h [u8], at: &mut usize) -> Option<Field<'h>> {
    let field = fields(header.get(*at..)?).next()?;
    *at += field.raw().len();
    Some(field)
}

fn keyed_text(field: &Field<'_>) -> String {
    let raw = field.raw();
    let begin = if raw.len() > FIELD_BYTES { fields(&raw[..FIELD_BYTES]).next() } else { None };
    collation_key(&begin.as_ref().unwrap_or(field).text())
}

fn unreadable(source: std::io::Error) -> mailstore::Error {
    mailstore::Error::Io { step: "read", path: "message".into(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// Looks in as many turns as it takes when each ends as soon as it may.
    fn contents_in(whole: &[u8], wanted: &[(Scope, &str)]) -> (Vec<bool>, usize) {
        let mut keys = Keys::default();
        for (scope, needle) in wanted {
            keys.content(*scope, Needle::new(needle));
        }
        let mut looked = Contents::new(&keys);
        let mut turns = 0;
        while !looked.done {
            let mut turn = Turn::new(Instant::now());
            turn.reads(whole.len());
            looked = looked.go_on(&Message::parse(whole), &keys, &mut turn);
            turns += 1;
        }
        (looked.holds, turns)
    }

    fn headers_in(header: &[u8], wanted: &[(&str, &str)]) -> (Vec<bool>, usize) {
        let mut keys = Keys::default();
        for (name, needle) in wanted {
            keys.header(name, Needle::new(needle));
        }
        let mut looked = Headers::new(&keys);
        let mut turns = 0;
        while !looked.done {
            let mut turn = Turn::new(Instant::now());
            turn.reads(header.len());
            looked = looked.go_on(header, &keys, &mut turn);
            turns += 1;
        }
        (looked.holds, turns)
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
            // in two parts
            (Scope::Body, "wordsdeep", false),
        ];
        // alone, and all at once
        for (scope, needle, want) in cases {
            assert_eq!(contents_in(whole.as_bytes(), &[(scope, needle)]).0, [want], "{needle}");
        }
        assert_eq!(contents_in(whole.as_bytes(), &cases.map(|(scope, needle, _)| (scope, needle))).0, cases.map(|(.., want)| want));
        let keys = [("subject", "ÉTÉ"), ("x-empty", ""), ("x-none", ""), ("subject", "inside")];
        assert_eq!(headers_in(whole.as_bytes(), &keys).0, [true, true, false, false]);
    }

    #[test]
    fn what_lies_across_two_pieces_is_found() {
        let filler = "b ".repeat(50_000);
        for shift in 0..80 {
            let whole = format!("Subject: x\r\n\r\n{}{}NEEDLE WITH É IN IT{filler}", "a ".repeat(32_740), "a".repeat(shift));
            assert_eq!(contents_in(whole.as_bytes(), &[(Scope::Body, "needle with é in it")]).0, [true], "{shift}");
        }
    }

    /// A turn that is over ends inside a message, and a message is not read without end.
    #[test]
    fn a_large_message_is_looked_at_in_turns() {
        let body = "a".repeat(4 << 20);
        let needle = format!("{}b", "a".repeat(1000));
        let (holds, turns) = contents_in(format!("Subject: x\r\n\r\n{body}").as_bytes(), &[(Scope::Body, &needle), (Scope::Text, "x")]);
        assert_eq!(holds, [false, true]);
        assert!((8..=17).contains(&turns), "{turns}");
        let header = "X-Field: something\r\n".repeat(100_000);
        let (holds, turns) = headers_in(header.as_bytes(), &[("x-field", "nothing"), ("x-none", "")]);
        assert_eq!(holds, [false, false]);
        assert!((8..=17).contains(&turns), "{turns}");
    }

    #[test]
    fn of_a_field_without_end_the_begin_is_looked_at() {
        let header = format!("X-Long: begin {}end\r\n", "a ".repeat(FIELD_BYTES));
        assert_eq!(headers_in(header.as_bytes(), &[("X-Long", "BEGIN"), ("X-Long", "end")]).0, [true, false]);
    }
}
