//! Looking for text in one message: decoded first, then compared without case; in turns, however large the message.

use super::Stop;
use super::needle::Needle;
use super::turn::Turn;
use crate::facts::{Facts, has_field};
use crate::selected::Selected;
use message::Message;
use message::signature::Signature;
use message::texts::{Place, Texts, field_at, value_key};
use std::ops::Range;

/// The keys of one search that look into messages.
#[derive(Default)]
pub struct Keys {
    headers: Vec<(String, Key)>,
    contents: Vec<(Scope, Key)>,
    /// How many points the keys of each kind have.
    header_points: usize,
    content_points: usize,
}

struct Key {
    needle: Needle,
    /// Which of the points say how far it was found.
    points: Range<usize>,
}

/// Which text a key means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Any part that is text.
    Body,
    /// Header or body, those of messages inside included.
    Text,
}

impl Scope {
    fn has(self, place: Place) -> bool {
        self == Scope::Text || matches!(place, Place::Body { .. })
    }
}

impl Keys {
    /// Adds a HEADER key and returns its index.
    pub fn header(&mut self, name: &str, needle: Needle) -> usize {
        let key = Key::new(needle, &mut self.header_points);
        self.headers.push((name.to_owned(), key));
        self.headers.len() - 1
    }

    /// Whether all HEADER keys mean fields that are remembered of messages.
    fn are_remembered(&self) -> bool {
        self.headers.iter().all(|(name, _)| has_field(name.as_bytes()))
    }

    /// Adds a BODY or TEXT key and returns its index.
    pub fn content(&mut self, scope: Scope, needle: Needle) -> usize {
        let key = Key::new(needle, &mut self.content_points);
        self.contents.push((scope, key));
        self.contents.len() - 1
    }

    /// Words that are looked for one by one.
    pub fn words(&self) -> usize {
        self.headers.iter().map(|(_, key)| key).chain(self.contents.iter().map(|(_, key)| key)).map(|key| key.needle.words()).sum()
    }
}

impl Key {
    fn new(needle: Needle, all: &mut usize) -> Key {
        let from = *all;
        *all += needle.points();
        Key { points: from..*all, needle }
    }

    /// The points of this key among those of all.
    fn of<'p>(&self, points: &'p mut [u8]) -> &'p mut [u8] {
        &mut points[self.points.clone()]
    }

    fn found(&self, points: &[u8]) -> Found {
        match self.needle.score(&points[self.points.clone()]) {
            0 => Found::No,
            score if self.needle.is_fuzzy() => Found::Scored(score),
            _ => Found::Yes,
        }
    }
}

/// Whether a message is one that is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    No,
    Yes,
    /// It is like one, so much (RFC 6203 §4): 1 to 100.
    Scored(u8),
}

/// What is known of one message, and how far it was looked at. All keys of one kind are answered in one go, each text decoded once and held
/// no longer than that.
#[derive(Default)]
pub struct Progress {
    absent: Option<Absent>,
    headers: Option<Headers>,
    contents: Option<Contents>,
}

/// Which keys cannot be found in a message, by its signature.
struct Absent {
    headers: Vec<bool>,
    contents: Vec<bool>,
}

impl Absent {
    fn new(keys: &Keys, signature: Option<Signature<'_>>) -> Absent {
        let none = |count| vec![false; count];
        let Some(signature) = signature else {
            return Absent { headers: none(keys.headers.len()), contents: none(keys.contents.len()) };
        };
        let headers = keys.headers.iter().map(|(_, key)| key.needle.probe().is_some_and(|probe| !signature.header_may_have(probe)));
        let contents = keys.contents.iter().map(|(scope, key)| {
            let may_have = |probe| signature.body_may_have(probe) || *scope == Scope::Text && signature.header_may_have(probe);
            key.needle.probe().is_some_and(|probe| !may_have(probe))
        });
        Absent { headers: headers.collect(), contents: contents.collect() }
    }
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

    fn absent(&mut self) -> &Absent {
        self.progress.absent.get_or_insert_with(|| {
            let kept = self.selected.view.mailbox().signature(self.message);
            Absent::new(self.keys, kept.as_deref().and_then(Signature::new))
        })
    }

    /// RFC 3501 §6.4.4 HEADER: in the field's text; an empty needle asks whether the field is there.
    pub fn header_has(&mut self, key: usize) -> Result<Found, Stop> {
        let are_remembered = self.keys.are_remembered();
        // what is remembered is as soon read as a signature
        if !are_remembered && self.absent().headers[key] {
            return Ok(Found::No);
        }
        let looked = match self.progress.headers.take() {
            Some(looked) if looked.done => looked,
            begun => {
                let header = if are_remembered { self.facts()?.header().to_vec() } else { self.read_header()? };
                self.turn.reads(header.len());
                begun.unwrap_or_else(|| Headers::new(self.keys)).go_on(&header, self.keys, self.turn)
            }
        };
        let looked = self.progress.headers.insert(looked);
        if looked.done { Ok(self.keys.headers[key].1.found(&looked.points)) } else { Err(Stop::Later) }
    }

    /// RFC 3501 §6.4.4 BODY and TEXT.
    pub fn has(&mut self, key: usize) -> Result<Found, Stop> {
        if self.absent().contents[key] {
            return Ok(Found::No);
        }
        let looked = match self.progress.contents.take() {
            Some(looked) if looked.done => looked,
            begun => {
                let whole = self.selected.view.mailbox().read(self.message.uid())?.read_all().map_err(unreadable)?;
                self.turn.reads(whole.len());
                let begun = begun.unwrap_or_else(|| {
                    let absent = self.progress.absent.as_ref().map_or(&[][..], |absent| &absent.contents);
                    Contents::new(self.keys, absent)
                });
                begun.go_on(&Message::parse(&whole), self.keys, self.turn)
            }
        };
        let looked = self.progress.contents.insert(looked);
        if looked.done { Ok(self.keys.contents[key].1.found(&looked.points)) } else { Err(Stop::Later) }
    }
}

/// How far HEADER keys were found.
struct Headers {
    points: Vec<u8>,
    /// Where the next field begins.
    at: usize,
    done: bool,
}

impl Headers {
    fn new(keys: &Keys) -> Headers {
        Headers { points: vec![0; keys.header_points], at: 0, done: false }
    }

    /// Looks at fields until the turn is over.
    fn go_on(mut self, header: &[u8], keys: &Keys, turn: &mut Turn) -> Headers {
        while let Some(field) = field_at(header, self.at) {
            self.at += field.raw().len();
            let mut text = None;
            for (name, key) in &keys.headers {
                if field.is(name) {
                    key.needle.look(text.get_or_insert_with(|| value_key(&field)), 0, Place::Value, key.of(&mut self.points));
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

/// How far BODY and TEXT keys were found.
struct Contents {
    points: Vec<u8>,
    texts: Texts,
    /// The end of the part's text so far, as it is compared: what is looked for may begin there.
    overlap: String,
    /// As much of it as is needed.
    overlap_bytes: usize,
    /// Keys that are still looked for.
    open: Vec<bool>,
    done: bool,
}

impl Contents {
    /// `absent` are keys that cannot be found; none of them are where it is empty.
    fn new(keys: &Keys, absent: &[bool]) -> Contents {
        let open: Vec<bool> = (0..keys.contents.len()).map(|key| !absent.get(key).copied().unwrap_or(false)).collect();
        let wanted = || keys.contents.iter().zip(&open).filter(|(_, open)| **open).map(|(key, _)| key);
        let longest = wanted().map(|(_, key)| key.needle.length()).max().unwrap_or(0);
        Contents {
            points: vec![0; keys.content_points],
            texts: Texts::new(wanted().any(|(scope, _)| *scope == Scope::Text)),
            overlap: String::new(),
            overlap_bytes: longest.saturating_sub(1),
            open,
            done: false,
        }
    }

    /// Looks at texts until the turn is over.
    fn go_on(mut self, message: &Message<'_>, keys: &Keys, turn: &mut Turn) -> Contents {
        while let Some(text) = self.texts.next(message) {
            match text.place {
                Place::Body { begins } => self.look_at_body(&text.key, begins, keys),
                place => self.look(&text.key, 0, place, keys),
            }
            if !self.open.contains(&true) {
                break;
            }
            if text.taken > 0 && turn.spend(text.taken) {
                return self;
            }
        }
        self.done = true;
        self
    }

    /// Looks at the next piece of a part's text.
    fn look_at_body(&mut self, piece: &str, begins: bool, keys: &Keys) {
        if begins {
            self.overlap.clear();
        }
        let mut keyed = std::mem::take(&mut self.overlap);
        let fresh = keyed.len();
        keyed.push_str(piece);
        self.look(&keyed, fresh, Place::Body { begins }, keys);
        let keep = (keyed.len().saturating_sub(self.overlap_bytes)..=keyed.len()).find(|at| keyed.is_char_boundary(*at));
        self.overlap = keyed.split_off(keep.unwrap_or(keyed.len()));
    }

    fn look(&mut self, keyed: &str, fresh: usize, place: Place, keys: &Keys) {
        for ((scope, key), open) in keys.contents.iter().zip(&mut self.open) {
            if *open && scope.has(place) {
                let points = key.of(&mut self.points);
                key.needle.look(keyed, fresh, place, points);
                // what is found as it is can be found no better
                *open = !points.iter().all(|points| *points == message::fuzzy::EXACT);
            }
        }
    }
}

fn unreadable(source: std::io::Error) -> mailstore::Error {
    mailstore::Error::Io { step: "read", path: "message".into(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use message::signature::Signer;
    use proptest::prelude::*;
    use std::time::Instant;

    /// Looks in as many turns as it takes when each ends as soon as it may.
    fn contents_in(whole: &[u8], wanted: &[(Scope, &str)]) -> (Vec<bool>, usize) {
        let mut keys = Keys::default();
        for (scope, needle) in wanted {
            keys.content(*scope, Needle::new(needle));
        }
        let mut looked = Contents::new(&keys, &[]);
        let mut turns = 0;
        while !looked.done {
            let mut turn = Turn::new(Instant::now());
            turn.reads(whole.len());
            looked = looked.go_on(&Message::parse(whole), &keys, &mut turn);
            turns += 1;
        }
        (keys.contents.iter().map(|(_, key)| key.found(&looked.points) == Found::Yes).collect(), turns)
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
        (keys.headers.iter().map(|(_, key)| key.found(&looked.points) == Found::Yes).collect(), turns)
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
        let header = format!("X-Long: begin {}end\r\n", "a ".repeat(256 << 10));
        assert_eq!(headers_in(header.as_bytes(), &[("X-Long", "BEGIN"), ("X-Long", "end")]).0, [true, false]);
    }

    /// A message of odd parts, some of it in many pieces.
    fn odd_message() -> impl Strategy<Value = String> {
        let text = prop_oneof!["[a-cA-Cé =?\r\n]{0,60}", "\\PC{0,60}", "(word |mot |=C3=A9|w6k= ){0,100}"];
        let label = prop_oneof![Just("utf-8"), Just("iso-8859-1"), Just("utf-7"), Just("utf-16be")];
        let encoding = prop_oneof![Just("8bit"), Just("base64"), Just("quoted-printable")];
        let kind = prop_oneof![Just("text/plain"), Just("text/html"), Just("application/x"), Just("message/rfc822")];
        let part = (kind, label, encoding, text.clone(), text, 1..1500usize).prop_map(|(kind, label, encoding, field, body, times)| {
            let head = format!("Content-Type: {kind}; charset={label}\r\nContent-Transfer-Encoding: {encoding}\r\nX-Field: {field}\r\n");
            format!("{head}Subject: =?{label}?b?w6kg?= {field}\r\n\r\n{}", body.repeat(times))
        });
        proptest::collection::vec(part, 1..3)
            .prop_map(|parts| format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n{}\r\n--b--\r\n", parts.join("\r\n--b\r\n")))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever reading finds, the signature lets be read.
        #[test]
        fn a_signature_hides_nothing_that_reading_finds(whole in odd_message(), picks in proptest::collection::vec((any::<u32>(), 1..40usize), 10)) {
            let parsed = Message::parse(whole.as_bytes());
            let mut texts = Texts::new(true);
            let shown: Vec<String> = std::iter::from_fn(|| texts.next(&parsed)).map(|text| text.key).collect();
            let mut keys = Keys::default();
            for (pick, length) in picks {
                let text: Vec<char> = shown[pick as usize % shown.len()].chars().collect();
                let from = (pick >> 10) as usize % text.len().max(1);
                let wanted: String = text[from..].iter().take(length).collect();
                keys.content(Scope::Body, Needle::new(&wanted));
                keys.content(Scope::Text, Needle::new(&wanted.to_lowercase()));
                keys.header("X-Field", Needle::new(&wanted));
            }
            let bytes = Signer::default().sign(&parsed);
            let absent = Absent::new(&keys, Signature::new(&bytes));
            let mut turn = Turn::new(Instant::now() + std::time::Duration::from_secs(3600));
            let contents = Contents::new(&keys, &[]).go_on(&parsed, &keys, &mut turn);
            let found: Vec<Found> = keys.contents.iter().map(|(_, key)| key.found(&contents.points)).collect();
            prop_assert!(found.contains(&Found::Yes));
            for (found, absent) in found.iter().zip(&absent.contents) {
                prop_assert!(*found == Found::No || !absent);
            }
            // who has a signature finds the same
            let contents = Contents::new(&keys, &absent.contents).go_on(&parsed, &keys, &mut turn);
            prop_assert_eq!(found, keys.contents.iter().map(|(_, key)| key.found(&contents.points)).collect::<Vec<_>>());
            // each part's header as if it were the message's
            for part in parsed.parts() {
                let headers = Headers::new(&keys).go_on(part.header_bytes(), &keys, &mut turn);
                for ((_, key), absent) in keys.headers.iter().zip(&absent.headers) {
                    prop_assert!(key.found(&headers.points) == Found::No || !absent);
                }
            }
        }
    }
}
