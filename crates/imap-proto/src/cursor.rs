//! The words of the grammar: atoms, strings, literals, numbers, dates; a cursor over one complete command.
//!
//! The framer (`frame.rs`) has already cut the command: its bytes hold each literal as `{n}` CRLF and n bytes, so the
//! cursor only has to count. Nothing here recurses, and every function reads each byte once.

use crate::error::ParseError;
use std::borrow::Cow;

type Result<T> = std::result::Result<T, ParseError>;

/// A place in a command.
#[derive(Clone)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    dialect: Dialect,
}

/// What the client has enabled that changes how its words are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dialect {
    /// Mailbox names are UTF-8 and no longer modified UTF-7 (RFC 6855 §3, RFC 9051 §5.1).
    pub utf8_names: bool,
    /// Strings are UTF-8, and nothing else is (RFC 6855 §3).
    pub utf8_only: bool,
}

/// RFC 3501 §9: `atom-specials = "(" / ")" / "{" / SP / CTL / list-wildcards / quoted-specials / resp-specials`
pub fn is_atom_char(b: u8) -> bool {
    (0x21..0x7f).contains(&b) && !matches!(b, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']')
}

/// RFC 3501 §9: `ASTRING-CHAR = ATOM-CHAR / resp-specials`
pub fn is_astring_char(b: u8) -> bool {
    is_atom_char(b) || b == b']'
}

/// RFC 3501 §9: `list-char = ATOM-CHAR / list-wildcards / resp-specials`
pub fn is_list_char(b: u8) -> bool {
    is_astring_char(b) || b == b'%' || b == b'*'
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, at: 0, dialect: Dialect::default() }
    }

    pub fn in_dialect(bytes: &'a [u8], dialect: Dialect) -> Cursor<'a> {
        Cursor { bytes, at: 0, dialect }
    }

    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub fn at(&self) -> usize {
        self.at
    }

    pub fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    pub fn is_done(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Takes `b` when it is next.
    pub fn take(&mut self, b: u8) -> bool {
        let hit = self.peek() == Some(b);
        self.at += hit as usize;
        hit
    }

    pub fn expect(&mut self, b: u8, what: &'static str) -> Result<()> {
        if self.take(b) { Ok(()) } else { Err(ParseError::syntax(what)) }
    }

    /// One space. Two spaces are an error (RFC 3501 §9 note 2).
    pub fn space(&mut self) -> Result<()> {
        self.expect(b' ', "Expected a space")
    }

    /// The end of the command. Spaces before it are forgiven: several old clients leave one behind.
    pub fn end(&mut self) -> Result<()> {
        while self.take(b' ') {}
        if self.is_done() { Ok(()) } else { Err(ParseError::syntax("Unexpected text at the end of the command")) }
    }

    /// Takes the word when it is next, in any case.
    pub fn take_word(&mut self, word: &str) -> bool {
        let hit = self.rest().get(..word.len()).is_some_and(|b| b.eq_ignore_ascii_case(word.as_bytes()));
        if hit {
            self.at += word.len();
        }
        hit
    }

    pub fn take_while(&mut self, keep: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let n = rest.iter().position(|&b| !keep(b)).unwrap_or(rest.len());
        self.at += n;
        &rest[..n]
    }

    /// RFC 3501 §9: `atom = 1*ATOM-CHAR`
    pub fn atom(&mut self, what: &'static str) -> Result<&'a str> {
        let word = self.take_while(is_atom_char);
        if word.is_empty() {
            return Err(ParseError::syntax(what));
        }
        Ok(std::str::from_utf8(word).expect("atom characters are ASCII"))
    }

    /// RFC 3501 §9: `number = 1*DIGIT`, below 2^32.
    pub fn number(&mut self, what: &'static str) -> Result<u32> {
        u32::try_from(self.number64(what)?).map_err(|_| ParseError::syntax("Number is too large"))
    }

    /// RFC 3501 §9: `nz-number = digit-nz *DIGIT`
    pub fn nz_number(&mut self, what: &'static str) -> Result<u32> {
        match self.number(what)? {
            0 => Err(ParseError::syntax("Number may not be zero")),
            n => Ok(n),
        }
    }

    /// Digits up to 2^63 - 1 (RFC 9051 §9 number64; SIZE of huge mail).
    pub fn number64(&mut self, what: &'static str) -> Result<u64> {
        let digits = self.take_while(|b| b.is_ascii_digit());
        if digits.is_empty() {
            return Err(ParseError::syntax(what));
        }
        decimal(digits).ok_or(ParseError::syntax("Number is too large"))
    }

    /// RFC 3501 §9: `astring = 1*ASTRING-CHAR / string`
    pub fn astring(&mut self, what: &'static str) -> Result<Cow<'a, [u8]>> {
        match self.peek() {
            Some(b'"' | b'{') => self.string(what),
            _ => {
                let word = self.take_while(is_astring_char);
                if word.is_empty() { Err(ParseError::syntax(what)) } else { Ok(Cow::Borrowed(word)) }
            }
        }
    }

    /// An astring that has to be text.
    pub fn astring_text(&mut self, what: &'static str) -> Result<String> {
        let bytes = self.astring(what)?;
        String::from_utf8(bytes.into_owned()).map_err(|_| ParseError::syntax("Text is not UTF-8"))
    }

    /// RFC 3501 §9: `string = quoted / literal`
    pub fn string(&mut self, what: &'static str) -> Result<Cow<'a, [u8]>> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'{') => self.literal().map(Cow::Borrowed),
            Some(b'~') => Err(ParseError::syntax("literal8 is not possible here")),
            _ => Err(ParseError::syntax(what)),
        }
    }

    /// RFC 3501 §9: `nstring = string / nil`
    pub fn nstring(&mut self, what: &'static str) -> Result<Option<Cow<'a, [u8]>>> {
        if matches!(self.peek(), Some(b'"' | b'{')) {
            return self.string(what).map(Some);
        }
        if self.take_word("NIL") { Ok(None) } else { Err(ParseError::syntax(what)) }
    }

    /// RFC 5464 §5: `value = nstring / literal8`; RFC 4466 §6: `literal8 = "~{" number ["+"] "}" CRLF *OCTET`
    pub fn nstring8(&mut self, what: &'static str) -> Result<Option<Cow<'a, [u8]>>> {
        if self.take(b'~') { self.literal_octets().map(|data| Some(Cow::Borrowed(data))) } else { self.nstring(what) }
    }

    /// RFC 3501 §9: `quoted = DQUOTE *QUOTED-CHAR DQUOTE`, `QUOTED-CHAR = <any TEXT-CHAR except quoted-specials> / "\"
    /// quoted-specials`. Bytes above 127 are let through (passwords in UTF-8); who needs text checks for it.
    fn quoted(&mut self) -> Result<Cow<'a, [u8]>> {
        self.at += 1;
        let rest = self.rest();
        let mut unescaped: Option<Vec<u8>> = None;
        let mut i = 0;
        while let Some(&b) = rest.get(i) {
            match b {
                b'"' => {
                    // RFC 6855 §3
                    if self.dialect.utf8_only && std::str::from_utf8(&rest[..i]).is_err() {
                        return Err(ParseError::syntax("Text is not UTF-8"));
                    }
                    self.at += i + 1;
                    return Ok(unescaped.map_or(Cow::Borrowed(&rest[..i]), Cow::Owned));
                }
                b'\\' => {
                    let escaped = match rest.get(i + 1) {
                        Some(&c @ (b'"' | b'\\')) => c,
                        _ => return Err(ParseError::syntax("Invalid escape in a quoted string")),
                    };
                    unescaped.get_or_insert_with(|| rest[..i].to_vec()).push(escaped);
                    i += 2;
                    continue;
                }
                b'\r' | b'\n' | 0 => break,
                _ => {
                    if let Some(text) = &mut unescaped {
                        text.push(b);
                    }
                }
            }
            i += 1;
        }
        Err(ParseError::syntax("Quoted string does not end"))
    }

    /// RFC 3501 §9: `literal = "{" number "}" CRLF *CHAR8`; RFC 7888 §8: `"{" number ["+"] "}"`.
    fn literal(&mut self) -> Result<&'a [u8]> {
        let data = self.literal_octets()?;
        if memchr::memchr(0, data).is_some() {
            return Err(ParseError::syntax("NUL in a literal"));
        }
        Ok(data)
    }

    fn literal_octets(&mut self) -> Result<&'a [u8]> {
        self.expect(b'{', "Expected a literal")?;
        let size = self.number64("Literal needs a size")? as usize;
        self.take(b'+');
        if !(self.take(b'}') && self.take(b'\r') && self.take(b'\n')) {
            return Err(ParseError::syntax("Literal is malformed"));
        }
        let data = self.rest().get(..size).ok_or(ParseError::syntax("Literal is malformed"))?;
        self.at += size;
        Ok(data)
    }

    /// `"(" item *(SP item) ")"`, at least one item, or none when `empty`; each item read by `item`.
    pub fn list<T>(&mut self, empty: bool, limit: usize, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        self.expect(b'(', "Expected a parenthesised list")?;
        let mut items = Vec::new();
        if self.take(b')') {
            return if empty { Ok(items) } else { Err(ParseError::syntax("List is empty")) };
        }
        loop {
            if items.len() == limit {
                return Err(ParseError::too_big("List has too many items"));
            }
            items.push(item(self)?);
            if self.take(b')') {
                return Ok(items);
            }
            self.space()?;
            // Some clients leave a space before the closing parenthesis.
            if self.take(b')') {
                return Ok(items);
            }
        }
    }
}

/// Decimal digits to a number below 2^63.
pub fn decimal(digits: &[u8]) -> Option<u64> {
    let mut n: u64 = 0;
    for d in digits {
        n = n.checked_mul(10)?.checked_add(u64::from(d - b'0'))?;
    }
    (n < 1 << 63).then_some(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn astrings_in_their_three_forms() {
        for (input, want) in [
            (&b"abc]"[..], &b"abc]"[..]),
            (b"\"a b\"", b"a b"),
            (b"\"a\\\"b\\\\\"", b"a\"b\\"),
            (b"\"\"", b""),
            (b"{3}\r\na\r\n", b"a\r\n"),
            (b"{0}\r\n", b""),
            (b"{3+}\r\nabc", b"abc"),
            (b"\"p\xc3\xa9\"", b"p\xc3\xa9"),
        ] {
            let mut cursor = Cursor::new(input);
            assert_eq!(cursor.astring("?").as_deref(), Ok(want), "{input:?}");
            assert!(cursor.is_done(), "{input:?}");
        }
    }

    #[test]
    fn broken_strings_are_refused() {
        for input in [
            &b"\"abc"[..],
            b"\"a\\n\"",
            b"\"a\\",
            b"\"a\0\"",
            b"{4}\r\nabc",
            b"{-1}\r\n",
            b"{99999999999999999999}\r\n",
            b"{5}\nabcde",
            b"{3}\r\na\0b",
            b"",
            b"(",
            b"\xc3\xa9",
        ] {
            assert!(Cursor::new(input).astring("?").is_err(), "{input:?}");
        }
    }

    #[test]
    fn numbers_stop_at_their_limit() {
        assert_eq!(Cursor::new(b"4294967295").number("?"), Ok(u32::MAX));
        assert!(Cursor::new(b"4294967296").number("?").is_err());
        assert!(Cursor::new(b"0").nz_number("?").is_err());
        assert!(Cursor::new(b"99999999999999999999").number64("?").is_err());
    }

    #[test]
    fn lists_forgive_a_space_before_the_parenthesis_and_count_items() {
        let items = |input: &'static [u8]| Cursor::new(input).list(false, 3, |c| c.atom("?"));
        assert_eq!(items(b"(a b c)"), Ok(vec!["a", "b", "c"]));
        assert_eq!(items(b"(a b )"), Ok(vec!["a", "b"]));
        assert!(items(b"(a b c d)").is_err());
        assert!(items(b"()").is_err());
        assert!(items(b"(a  b)").is_err());
    }
}
