//! The tokens of structured header fields (RFC 5322 §3.2), read without recursion and without failing.

use std::borrow::Cow;

#[derive(Debug, Clone)]
pub(crate) struct Lexer<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Lexer<'a> {
    pub fn new(bytes: &'a [u8]) -> Lexer<'a> {
        Lexer { bytes, at: 0 }
    }

    pub fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub fn advance(&mut self) {
        self.at += 1;
    }

    pub fn eat(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    /// Skips white space and line ends; says whether there was any.
    pub fn space(&mut self) -> bool {
        let from = self.at;
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
        self.at > from
    }

    /// Skips white space and comments; the content of the last comment goes to `comment`.
    pub fn cfws(&mut self, comment: &mut Option<Cow<'a, [u8]>>) -> bool {
        let from = self.at;
        loop {
            self.space();
            if self.peek() != Some(b'(') {
                return self.at > from;
            }
            *comment = Some(self.comment());
        }
    }

    pub fn skip_cfws(&mut self) -> bool {
        self.cfws(&mut None)
    }

    // RFC 5322 §3.2.2. The depth is a number, so nesting costs nothing. An unclosed comment reaches to the end.
    fn comment(&mut self) -> Cow<'a, [u8]> {
        self.at += 1;
        let from = self.at;
        let (mut depth, mut escaped) = (1usize, false);
        while let Some(b) = self.peek() {
            match b {
                b'\\' => {
                    escaped = true;
                    self.at += 1;
                }
                b'(' => depth += 1,
                b')' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                break;
            }
        }
        self.at = self.at.min(self.bytes.len());
        let end = if depth == 0 { self.at - 1 } else { self.at };
        let text = self.bytes[from..end].trim_ascii();
        if escaped || text.contains(&b'\n') { Cow::Owned(unescape(text)) } else { Cow::Borrowed(text) }
    }

    /// A quoted string at the cursor: its content without quotes and backslashes. Unclosed, it reaches to the end.
    pub fn quoted(&mut self) -> Cow<'a, [u8]> {
        self.at += 1;
        let from = self.at;
        let mut plain = true;
        let mut end = None;
        while let Some(b) = self.peek() {
            match b {
                b'"' => {
                    end = Some(self.at);
                    self.at += 1;
                    break;
                }
                b'\\' => {
                    plain = false;
                    self.at += 1;
                }
                b'\r' | b'\n' => plain = false,
                _ => {}
            }
            self.at += 1;
        }
        self.at = self.at.min(self.bytes.len());
        let text = &self.bytes[from..end.unwrap_or(self.at)];
        if plain { Cow::Borrowed(text) } else { Cow::Owned(unescape(text)) }
    }

    /// The bytes up to the first that `stop` names, or the end.
    pub fn until(&mut self, stop: impl Fn(u8) -> bool) -> &'a [u8] {
        let from = self.at;
        while self.peek().is_some_and(|b| !stop(b)) {
            self.at += 1;
        }
        &self.bytes[from..self.at]
    }
}

// Quoted pairs lose their backslash, folds their line end.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(b) = bytes.next() {
        match b {
            b'\\' => out.extend(bytes.next()),
            b'\r' | b'\n' => {}
            b => out.push(*b),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_nest_without_recursion() {
        let deep = [b"(".repeat(100_000), b")".repeat(100_000), b"x".to_vec()].concat();
        let mut lexer = Lexer::new(&deep);
        lexer.skip_cfws();
        assert_eq!(lexer.peek(), Some(b'x'));
        let mut unclosed = Lexer::new(b"(a (b) \\");
        unclosed.skip_cfws();
        assert_eq!(unclosed.peek(), None);
    }

    #[test]
    fn quoted_strings_lose_quotes_backslashes_and_folds() {
        for (input, want) in
            [("\"a\"", "a"), ("\"a\\\"b\"", "a\"b"), ("\"a\r\n b\"", "a b"), ("\"open", "open"), ("\"end\\", "end"), ("\"\"", "")]
        {
            assert_eq!(&*Lexer::new(input.as_bytes()).quoted(), want.as_bytes(), "{input:?}");
        }
    }
}
