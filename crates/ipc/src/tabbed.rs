//! Lines of fields separated by tabs, as Dovecot's auth protocols have them: escaping, reading, writing.
//!
//! A line ends with LF; a field may hold any byte but those five, which are written as `\001` and a letter. What stands
//! behind an unknown escape stands for itself, as in Dovecot.

/// Appends `text` with NUL, `\001`, TAB, CR and LF escaped.
pub fn escape_into(out: &mut Vec<u8>, text: &[u8]) {
    for &b in text {
        match b {
            0 => out.extend_from_slice(b"\x010"),
            1 => out.extend_from_slice(b"\x011"),
            b'\t' => out.extend_from_slice(b"\x01t"),
            b'\r' => out.extend_from_slice(b"\x01r"),
            b'\n' => out.extend_from_slice(b"\x01n"),
            b => out.push(b),
        }
    }
}

/// The bytes that an escaped field stands for. A `\001` at the very end is dropped.
pub fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut bytes = field.iter();
    while let Some(&b) = bytes.next() {
        if b != 1 {
            out.push(b);
            continue;
        }
        match bytes.next() {
            Some(b'0') => out.push(0),
            Some(b'1') => out.push(1),
            Some(b't') => out.push(b'\t'),
            Some(b'r') => out.push(b'\r'),
            Some(b'n') => out.push(b'\n'),
            Some(&other) => out.push(other),
            None => {}
        }
    }
    out
}

/// A line being written: `Line::new("AUTH").field("1").pair("service", "smtp").end()`.
#[derive(Debug)]
pub struct Line(Vec<u8>);

impl Line {
    /// Starts a line with its command word.
    pub fn new(command: &str) -> Line {
        let mut line = Vec::with_capacity(128);
        line.extend_from_slice(command.as_bytes());
        Line(line)
    }

    /// Adds a field; its text is escaped.
    pub fn field(mut self, text: impl AsRef<[u8]>) -> Line {
        self.0.push(b'\t');
        escape_into(&mut self.0, text.as_ref());
        self
    }

    /// Adds `name=value`; the value is escaped, the name is ours.
    pub fn pair(mut self, name: &str, value: impl AsRef<[u8]>) -> Line {
        self.0.push(b'\t');
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'=');
        escape_into(&mut self.0, value.as_ref());
        self
    }

    /// Adds `name=value` when there is a value.
    pub fn pair_if(self, name: &str, value: Option<impl AsRef<[u8]>>) -> Line {
        match value {
            Some(value) => self.pair(name, value),
            None => self,
        }
    }

    /// Adds `name` when it holds.
    pub fn flag(self, name: &str, holds: bool) -> Line {
        if holds { self.field(name) } else { self }
    }

    /// The finished line with its LF.
    pub fn end(mut self) -> Vec<u8> {
        self.0.push(b'\n');
        self.0
    }
}

/// The fields of one line (without its LF), unescaped one by one.
#[derive(Debug, Clone)]
pub struct Fields<'a>(std::slice::Split<'a, u8, fn(&u8) -> bool>);

impl<'a> Fields<'a> {
    pub fn of(line: &'a [u8]) -> Fields<'a> {
        let is_tab: fn(&u8) -> bool = |b| *b == b'\t';
        Fields(line.split(is_tab))
    }

    /// The next field as text; `Err` when it is no UTF-8, `None` at the end of the line.
    pub fn text(&mut self) -> Option<Result<String, NotText>> {
        let field = self.0.next()?;
        Some(String::from_utf8(unescape(field)).map_err(|_| NotText))
    }

    /// The next field, which has to be there and be a number.
    pub fn number(&mut self) -> Option<u32> {
        std::str::from_utf8(self.0.next()?).ok()?.parse().ok()
    }

    /// The remaining fields as names with their values; a name alone has an empty value. Fields that are no UTF-8 are
    /// left out: nobody can have meant them.
    pub fn pairs(self) -> Vec<(String, String)> {
        self.0
            .filter(|field| !field.is_empty())
            .filter_map(|field| {
                let at = field.iter().position(|b| *b == b'=');
                let (name, value) = match at {
                    Some(at) => (&field[..at], &field[at + 1..]),
                    None => (field, &field[..0]),
                };
                Some((String::from_utf8(unescape(name)).ok()?, String::from_utf8(unescape(value)).ok()?))
            })
            .collect()
    }
}

/// The command word of a client's line (without its LF) and what stands behind it. `Err` is a client that does not speak the protocol:
/// its connection is to be closed.
pub fn command(line: &[u8], limit_bytes: usize) -> Result<(String, Fields<'_>), &'static str> {
    if line.len() > limit_bytes {
        return Err("a line is too long");
    }
    let mut fields = Fields::of(line);
    let word = fields.text().and_then(Result::ok).ok_or("a command is no text")?;
    Ok((word, fields))
}

/// The argument of VERSION, with which each side begins: the major version.
pub fn version(fields: &mut Fields<'_>) -> Result<u32, &'static str> {
    fields.number().ok_or("VERSION has no number")
}

/// A field held bytes that are no UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a field is no UTF-8")]
pub struct NotText;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_five_special_bytes_are_escaped_as_dovecot_does() {
        let mut out = Vec::new();
        escape_into(&mut out, b"a\0b\x01c\td\re\nf");
        assert_eq!(out, b"a\x010b\x011c\x01td\x01re\x01nf");
        assert_eq!(unescape(b"x\x01qy\x01"), b"xqy");
    }

    #[test]
    fn a_value_cannot_forge_a_field_or_a_line() {
        let line = Line::new("USER").field("1").pair("user", "ann\tuid=0\nOK\t1").end();
        assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
        let mut fields = Fields::of(&line[..line.len() - 1]);
        assert_eq!(fields.text(), Some(Ok("USER".into())));
        assert_eq!(fields.number(), Some(1));
        assert_eq!(fields.pairs(), vec![("user".to_string(), "ann\tuid=0\nOK\t1".to_string())]);
    }

    proptest! {
        #[test]
        fn what_is_escaped_comes_back(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut out = Vec::new();
            escape_into(&mut out, &bytes);
            prop_assert!(!out.iter().any(|b| matches!(b, 0 | b'\t' | b'\r' | b'\n')));
            prop_assert_eq!(unescape(&out), bytes);
        }
    }
}
