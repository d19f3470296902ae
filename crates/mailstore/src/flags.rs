//! Flags and keywords of messages, and how they stand in a Maildir file name (`:2,FS` + `a`..`z` for keywords).

use std::fmt;
use std::sync::Arc;

/// Most keywords one mailbox can have: the letters `a` to `z` in file names.
pub const MOST_KEYWORDS: usize = 26;

/// Longest keyword (SECURITY "Limits to adopt").
pub const LONGEST_KEYWORD: usize = 64;

/// The system flags a client can set (RFC 9051 §2.3.2). `\Recent` is not here: it belongs to a session ([`crate::View`]).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(u8);

impl Flags {
    pub const NONE: Flags = Flags(0);
    pub const DRAFT: Flags = Flags(1);
    pub const FLAGGED: Flags = Flags(2);
    pub const ANSWERED: Flags = Flags(4);
    pub const SEEN: Flags = Flags(8);
    pub const DELETED: Flags = Flags(16);

    /// Each flag with its Maildir letter, in the order the letters stand in a file name.
    const LETTERS: [(Flags, u8); 5] =
        [(Flags::DRAFT, b'D'), (Flags::FLAGGED, b'F'), (Flags::ANSWERED, b'R'), (Flags::SEEN, b'S'), (Flags::DELETED, b'T')];

    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    /// Bits that no flag has are dropped.
    pub(crate) const fn from_bits(bits: u8) -> Flags {
        Flags(bits & 31)
    }

    pub const fn union(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    pub const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }

    /// True when all of `other` are set.
    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn from_letter(letter: u8) -> Option<Flags> {
        Flags::LETTERS.iter().find(|(_, l)| *l == letter).map(|(flag, _)| *flag)
    }
}

impl std::ops::BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        self.union(other)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters: String = Flags::LETTERS.iter().filter(|(flag, _)| self.contains(*flag)).map(|(_, l)| char::from(*l)).collect();
        write!(f, "Flags({letters})")
    }
}

/// Keywords of one message: bit N is the mailbox's keyword N ([`Keywords::name`]), letter `a` + N on disk.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct KeywordBits(pub u32);

impl KeywordBits {
    pub const NONE: KeywordBits = KeywordBits(0);

    pub fn contains(self, index: u8) -> bool {
        self.0 & (1 << index) != 0
    }

    /// Indexes of the keywords set.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..MOST_KEYWORDS as u8).filter(move |index| self.contains(*index))
    }
}

/// The keyword names of one mailbox by index (`dovecot-keywords`). Cheap to clone.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Keywords(Arc<Vec<Option<Box<str>>>>);

impl Keywords {
    pub(crate) fn new(names: Vec<Option<Box<str>>>) -> Keywords {
        Keywords(Arc::new(names))
    }

    pub(crate) fn slots(&self) -> &[Option<Box<str>>] {
        &self.0
    }

    /// Name of keyword `index`. A letter found in a file name that `dovecot-keywords` does not know has no name.
    pub fn name(&self, index: u8) -> Option<&str> {
        self.0.get(usize::from(index))?.as_deref()
    }

    /// Index of the keyword, compared without case (RFC 9051 §2.3.2).
    pub fn index(&self, name: &str) -> Option<u8> {
        self.0.iter().position(|slot| slot.as_deref().is_some_and(|known| known.eq_ignore_ascii_case(name))).map(|index| index as u8)
    }

    /// Names of the keywords in `bits`.
    pub fn names(&self, bits: KeywordBits) -> impl Iterator<Item = &str> {
        bits.iter().filter_map(|index| self.name(index))
    }

    /// All names of the mailbox, for FLAGS and PERMANENTFLAGS.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flatten().map(|name| &**name)
    }

    /// True when one more keyword fits (`\*` in PERMANENTFLAGS).
    pub fn has_room(&self) -> bool {
        self.0.len() < MOST_KEYWORDS || self.0.iter().any(Option::is_none)
    }
}

/// What STORE and APPEND ask for: flags, and keywords by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlagSet {
    pub flags: Flags,
    pub keywords: Vec<String>,
}

impl FlagSet {
    pub fn new(flags: Flags) -> FlagSet {
        FlagSet { flags, keywords: Vec::new() }
    }
}

impl From<Flags> for FlagSet {
    fn from(flags: Flags) -> FlagSet {
        FlagSet::new(flags)
    }
}

/// How STORE applies its flags (`FLAGS`, `+FLAGS`, `-FLAGS`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagMode {
    Replace,
    Add,
    Remove,
}

/// Checks a keyword a client wants to make: an IMAP atom (RFC 3501 §9), no backslash, at most 64 bytes.
pub fn is_valid_keyword(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= LONGEST_KEYWORD
        && name.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']'))
}

/// The part of a file name behind `:2,`, taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Info {
    pub flags: Flags,
    pub keywords: KeywordBits,
    /// `P` (passed) and other letters of other programs, kept as they were: bit N is `A` + N.
    pub other: u32,
}

impl Info {
    /// Reads what stands behind `:2,`. Other characters than letters are dropped at the next change of flags.
    pub fn parse(text: &str) -> Info {
        let mut info = Info::default();
        for letter in text.bytes() {
            match letter {
                b',' => break,
                b'a'..=b'z' => info.keywords.0 |= 1 << (letter - b'a'),
                b'A'..=b'Z' => match Flags::from_letter(letter) {
                    Some(flag) => info.flags = info.flags | flag,
                    None => info.other |= 1 << (letter - b'A'),
                },
                _ => {}
            }
        }
        info
    }

    /// Appends `:2,` and the letters in ASCII order, as the Maildir rules want.
    pub fn write(self, out: &mut String) {
        out.push_str(":2,");
        for letter in b'A'..=b'Z' {
            let set = match Flags::from_letter(letter) {
                Some(flag) => self.flags.contains(flag),
                None => self.other & (1 << (letter - b'A')) != 0,
            };
            if set {
                out.push(char::from(letter));
            }
        }
        out.extend(self.keywords.iter().map(|index| char::from(b'a' + index)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_stand_in_order_and_foreign_ones_survive() {
        for (read, written) in [("", ":2,"), ("SF", ":2,FS"), ("TPSba", ":2,PSTab"), ("S,x", ":2,S"), ("FFSS", ":2,FS"), ("S?1", ":2,S")] {
            let mut out = String::new();
            Info::parse(read).write(&mut out);
            assert_eq!(out, written, "{read}");
        }
    }

    #[test]
    fn keywords_that_would_break_the_protocol_are_refused() {
        for name in ["$Forwarded", "NonJunk", "a:b", "x[1"] {
            assert!(is_valid_keyword(name), "{name}");
        }
        for name in ["", "\\Seen", "a b", "a]", "a\r", "é", "(", &"k".repeat(65)] {
            assert!(!is_valid_keyword(name), "{name}");
        }
    }
}
