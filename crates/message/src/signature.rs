//! What a message cannot contain, in a tenth of its text: so that a search for words reads only messages in which they may be.
//!
//! The grams of a text are all its runs of [`GRAM`] bytes, as the text is compared ([`crate::texts`]). What is looked for is in a text only if all its
//! grams are. A signature keeps for each gram one bit, which other grams may share: so it may say that something could be there which is not, and never
//! that something is not there which is.
//!
//! Why bits for each message, and not for each gram the messages that have it: mail is added at the end, each message once, by several processes;
//! a record for it is written once and true for ever, while lists of messages would have to be merged, and everything known again be written. And
//! what is most of a message, and in no other (ids, signatures, keys in the header), costs the list a name and a number each, and here a bit.
//! Going through the signatures of 100,000 messages is reading some 50 MB one after the other.
//!
//! Why four bytes: of English words that are not in a text of 5 kB three let 9 % pass, four 6 %, five 11 %, all in the same room; of 20 kB it is 25 %, 9 % and
//! 13 %. Shorter runs are found somewhere in any long text, longer ones are so many that their bits fill the room. Headers and bodies have bits of their
//! own: the ids in headers would fill those of short bodies.
//!
//! As bytes: version, three zeros, length of the header's filter (4, little-endian); filter of all header fields, filter of all parts that are text. A
//! filter of n bits has for a gram the bit `place * n / 2^21`, bit 0 being the lowest of the first byte; the place is the upper 21 bits of a hash of 32:
//! the gram as a little-endian number x, `x ^= x >> 16`, times 0x85EBCA6B, `x ^= x >> 13`, times 0xC2B2AE35, `x ^= x >> 16`. A filter of no bits is that
//! of texts with no grams.

use crate::Message;
use crate::texts::{Place, Text, Texts};

/// Another number for each other form, also when [`crate::texts`] shows other texts.
const VERSION: u8 = 1;

const HEAD_BYTES: usize = 8;

const GRAM: usize = 4;

/// Places of grams while they are gathered.
const PLACES: usize = 1 << 21;

/// Bits for each gram, where there is room.
const BITS_PER_GRAM: usize = 6;

/// A filter takes a tenth of the text ...
const TEXT_PER_FILTER: usize = 10;
/// ... and so much for the shortest ...
const SMALL_FILTER_BYTES: usize = 128;
/// ... up to so much. Longer texts could be anything.
const LARGEST_FILTER_BYTES: usize = 96 << 10;

/// A message with a longer header has no signature: who searches headers reads no further than some limit, and sees another text where the last
/// field is cut.
const LONGEST_HEADER: usize = 1 << 20;

/// Makes signatures. Takes half a megabyte, whatever the messages are.
pub struct Signer {
    header: Grams,
    body: Grams,
}

impl Default for Signer {
    fn default() -> Signer {
        Signer { header: Grams::new(), body: Grams::new() }
    }
}

impl Signer {
    /// The signature of a message; empty where there is none, and the message could contain anything.
    pub fn sign(&mut self, message: &Message<'_>) -> Vec<u8> {
        if message.root().header_bytes().len() > LONGEST_HEADER {
            return Vec::new();
        }
        let mut texts = Texts::new(true);
        while let Some(text) = texts.next(message) {
            self.add(&text);
        }
        let (header, body) = (self.header.take(), self.body.take());
        let mut out = vec![VERSION, 0, 0, 0];
        out.extend_from_slice(&(header.len() as u32).to_le_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(&body);
        out
    }

    fn add(&mut self, text: &Text) {
        match text.place {
            Place::Name | Place::Value => self.header.add(&text.key, true),
            Place::Body { begins } => self.body.add(&text.key, begins),
        }
    }
}

/// The grams of texts.
struct Grams {
    places: Vec<u64>,
    /// The end of the last piece: grams may lie across two.
    end: Vec<u8>,
    text_bytes: usize,
}

impl Grams {
    fn new() -> Grams {
        Grams { places: vec![0; PLACES / 64], end: Vec::new(), text_bytes: 0 }
    }

    fn add(&mut self, text: &str, begins: bool) {
        let text = text.as_bytes();
        self.text_bytes += text.len();
        if begins {
            self.end.clear();
        }
        // what lies across, once more with grams that were noted before
        self.end.extend_from_slice(&text[..text.len().min(GRAM - 1)]);
        for piece in [&self.end[..], text] {
            for gram in piece.array_windows() {
                let place = place(*gram);
                self.places[place as usize / 64] |= 1 << (place % 64);
            }
        }
        match text.len().checked_sub(GRAM - 1) {
            Some(from) => {
                self.end.clear();
                self.end.extend_from_slice(&text[from..]);
            }
            None => drop(self.end.drain(..self.end.len().saturating_sub(GRAM - 1))),
        }
    }

    /// The filter of all texts since the last time.
    fn take(&mut self) -> Vec<u8> {
        let grams = self.places.iter().map(|word| word.count_ones() as usize).sum::<usize>();
        let most = (self.text_bytes / TEXT_PER_FILTER + SMALL_FILTER_BYTES).min(LARGEST_FILTER_BYTES);
        let mut filter = vec![0; (grams * BITS_PER_GRAM).div_ceil(8).min(most)];
        for (index, word) in self.places.iter_mut().enumerate() {
            while *word != 0 {
                let (byte, bit) = spot(filter.len(), index as u32 * 64 + word.trailing_zeros());
                filter[byte] |= bit;
                *word &= *word - 1;
            }
        }
        self.end.clear();
        self.text_bytes = 0;
        filter
    }
}

/// Of a gram, below [`PLACES`].
fn place(gram: [u8; GRAM]) -> u32 {
    let mut x = u32::from_le_bytes(gram);
    x = (x ^ x >> 16).wrapping_mul(0x85EB_CA6B);
    x = (x ^ x >> 13).wrapping_mul(0xC2B2_AE35);
    (x ^ x >> 16) >> 11
}

/// Byte and bit of a place in a filter that has some.
fn spot(filter_bytes: usize, place: u32) -> (usize, u8) {
    let bit = place as usize * filter_bytes * 8 / PLACES;
    (bit / 8, 1 << (bit % 8))
}

/// What has to be in a signature for a text to be in the message.
#[derive(Debug, Clone)]
pub struct Probe(Vec<u32>);

impl Probe {
    /// `key` is what is looked for, as texts are compared. `None` for what is too short to be in any signature.
    pub fn new(key: &str) -> Option<Probe> {
        let mut places: Vec<u32> = key.as_bytes().array_windows().map(|gram| place(*gram)).collect();
        places.sort_unstable();
        places.dedup();
        (!places.is_empty()).then_some(Probe(places))
    }

    fn may_be_in(&self, filter: &[u8]) -> bool {
        self.0.iter().all(|place| {
            let (byte, bit) = spot(filter.len(), *place);
            filter.get(byte).is_some_and(|known| known & bit != 0)
        })
    }
}

/// A signature that was kept.
#[derive(Debug, Clone, Copy)]
pub struct Signature<'a> {
    header: &'a [u8],
    body: &'a [u8],
}

impl<'a> Signature<'a> {
    /// `None` for what is none, or one of another version: the message could contain anything.
    pub fn new(bytes: &'a [u8]) -> Option<Signature<'a>> {
        let (head, filters) = bytes.split_at_checked(HEAD_BYTES)?;
        let length = u32::from_le_bytes(head[4..].try_into().ok()?) as usize;
        let (header, body) = filters.split_at_checked(length)?;
        (head[..4] == [VERSION, 0, 0, 0]).then_some(Signature { header, body })
    }

    /// Whether a header field, of the message or of a part, could contain it.
    pub fn header_may_have(&self, probe: &Probe) -> bool {
        probe.may_be_in(self.header)
    }

    /// Whether a part that is text could contain it.
    pub fn body_may_have(&self, probe: &Probe) -> bool {
        probe.may_be_in(self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collation_key;
    use proptest::prelude::*;

    fn probe(text: &str) -> Probe {
        Probe::new(&collation_key(text)).expect("long enough")
    }

    #[test]
    fn what_is_there_may_be_there_and_most_else_may_not() {
        let whole = b"Subject: =?utf-8?q?=C3=89t=C3=A9_indien?=\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nplain words\r\n\
            --b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inside\r\nContent-Transfer-Encoding: base64\r\n\r\naGlkZGVuIHRoaW5n\r\n--b--\r\n";
        let bytes = Signer::default().sign(&Message::parse(whole));
        let signature = Signature::new(&bytes).expect("a signature");
        for (text, in_header, in_body) in [
            ("été", true, false),
            ("ÉTÉ INDIEN", true, false),
            ("plain w", false, true),
            ("hidden thing", false, true),
            ("inside", true, false),
            ("subject", true, false),
            ("aGlkZGVu", false, false),
            ("zyzzyva", false, false),
            ("wordshidden", false, false),
        ] {
            assert_eq!((signature.header_may_have(&probe(text)), signature.body_may_have(&probe(text))), (in_header, in_body), "{text}");
        }
        assert!(Probe::new("ABC").is_none() && Probe::new("\u{4e2d}\u{6587}").is_some());
    }

    #[test]
    fn a_message_without_words_has_none() {
        let mut signer = Signer::default();
        let bytes = signer.sign(&Message::parse(b""));
        let signature = Signature::new(&bytes).expect("a signature");
        assert!(bytes.len() == HEAD_BYTES && !signature.header_may_have(&probe("abcd")) && !signature.body_may_have(&probe("abcd")));
        // and the next one nothing of the one before
        let one = signer.sign(&Message::parse(b"A: abc\r\n\r\nabcdefg\r\n"));
        signer.sign(&Message::parse(b"B: something else\r\n\r\nand more\r\n"));
        assert_eq!(signer.sign(&Message::parse(b"A: abc\r\n\r\nabcdefg\r\n")), one);
    }

    #[test]
    fn it_takes_a_tenth_of_the_text_and_has_an_end() {
        let mut signer = Signer::default();
        let mut noise = 1u64;
        let mut body = String::new();
        for size in [100, 1000, 10_000, 100_000, 5_000_000] {
            while body.len() < size {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                body.push(char::from(b'a' + (noise >> 33) as u8 % 26));
            }
            let signature = signer.sign(&Message::parse(format!("\r\n{body}").as_bytes()));
            assert!(signature.len() <= HEAD_BYTES + size / 10 + SMALL_FILTER_BYTES, "{size}: {}", signature.len());
            assert!(signature.len() <= HEAD_BYTES + LARGEST_FILTER_BYTES, "{size}");
        }
        let header = "X-Field: something\r\n".repeat(LONGEST_HEADER / 20 + 1);
        assert_eq!(signer.sign(&Message::parse(header.as_bytes())), b"");
    }

    #[test]
    fn what_is_no_signature_is_not_believed() {
        let bytes = Signer::default().sign(&Message::parse(b"A: bcde\r\n\r\nefgh\r\n"));
        assert!(Signature::new(&bytes).is_some());
        for cut in 0..HEAD_BYTES {
            assert!(Signature::new(&bytes[..cut]).is_none(), "{cut}");
        }
        for (at, value) in [(0, VERSION + 1), (1, 4), (2, 1), (6, 1)] {
            let mut other = bytes.clone();
            other[at] = value;
            assert!(Signature::new(&other).is_none(), "{at}");
        }
        assert!(Signature::new(b"").is_none());
    }

    /// A message of odd parts, encodings and charsets around `words`.
    fn message() -> impl Strategy<Value = Vec<u8>> {
        let text = prop_oneof!["[a-zA-Zéßǆ\u{301}ﬁ中 =?\r\n]{0,80}", "\\PC{0,80}", "(word |mot |слово |=C3=A9|w6k= ){0,200}"];
        let label = prop_oneof![Just("utf-8"), Just("iso-8859-1"), Just("utf-7"), Just("iso-2022-jp"), Just("utf-16le"), Just("x")];
        let encoding = prop_oneof![Just("8bit"), Just("base64"), Just("quoted-printable")];
        let kind = prop_oneof![Just("text/plain"), Just("text/html"), Just("image/png"), Just("message/rfc822")];
        let part = (kind, label, encoding, text.clone(), text, 0..40usize).prop_map(|(kind, label, encoding, field, body, times)| {
            format!(
                "X-Field: {field}\r\nSubject: =?{label}?q?{}?=\r\nContent-Type: {kind}; charset={label}\r\nContent-Transfer-Encoding: \
                 {encoding}\r\n\r\n{}",
                field.replace(' ', "_"),
                body.repeat(1 + times * times)
            )
        });
        proptest::collection::vec(part, 1..4).prop_map(|parts| {
            let mut all = String::from("Content-Type: multipart/mixed; boundary=b\r\n");
            parts.iter().for_each(|part| all.push_str(&format!("\r\n--b\r\n{part}")));
            all.into_bytes()
        })
    }

    proptest! {
        /// Whatever stands in a text, also across its pieces, may be there.
        #[test]
        fn nothing_that_is_there_is_ruled_out(whole in message(), picks in proptest::collection::vec((any::<u32>(), 1..200usize), 20)) {
            let message = Message::parse(&whole);
            let bytes = Signer::default().sign(&message);
            let signature = Signature::new(&bytes).expect("a signature");
            let (mut headers, mut bodies) = (Vec::new(), Vec::new());
            let mut texts = Texts::new(true);
            while let Some(text) = texts.next(&message) {
                match text.place {
                    Place::Body { begins: false } => bodies.last_mut().map_or((), |body: &mut String| body.push_str(&text.key)),
                    Place::Body { begins: true } => bodies.push(text.key),
                    _ => headers.push(text.key),
                }
            }
            for (pick, length) in picks {
                for (texts, in_body) in [(&headers, false), (&bodies, true)] {
                    let Some(text) = texts.get(pick as usize % texts.len().max(1)) else { continue };
                    let chars: Vec<char> = text.chars().collect();
                    let from = (pick >> 8) as usize % chars.len().max(1);
                    let some: String = chars[from..].iter().take(length).collect();
                    if let Some(probe) = Probe::new(&some) {
                        let may = if in_body { signature.body_may_have(&probe) } else { signature.header_may_have(&probe) };
                        prop_assert!(may, "{some:?} in {text:?}");
                    }
                }
            }
        }

        #[test]
        fn bytes_of_any_kind_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..64), text in "\\PC{1,20}") {
            if let (Some(signature), Some(probe)) = (Signature::new(&bytes), Probe::new(&text)) {
                signature.header_may_have(&probe);
                signature.body_may_have(&probe);
            }
        }
    }
}
