//! Replies as a server sends them (RFC 5321 §4.2), bounded (SECURITY: remote replies of any length are cut).

use super::Error;
use crate::input::{Input, Line};
use mail_types::{EnhancedCode, Reply};

/// Longest line of a reply; RFC 5321 §4.5.3.1.5 says 512, some servers tell stories.
const LINE_LIMIT: usize = 4096;
const LINES_LIMIT: usize = 128;
const TEXT_LIMIT: usize = 16 * 1024;

/// The lines of a reply that has not ended.
#[derive(Debug, Default)]
pub(super) struct ReplyReader {
    code: u16,
    enhanced: Option<EnhancedCode>,
    text: String,
    lines: usize,
}

impl ReplyReader {
    /// ```abnf
    /// Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF       ; RFC 5321 §4.2
    /// ```
    /// `None` while the reply is not complete.
    pub(super) fn read(&mut self, input: &mut Input) -> Result<Option<Reply>, Error> {
        loop {
            let line = match input.line(LINE_LIMIT) {
                Line::Complete { bytes, .. } => bytes,
                Line::Partial => return Ok(None),
                Line::TooLong { .. } => return Err(Error::PeerMisbehaved("a reply line is too long")),
            };
            if let Some(reply) = self.line(&line)? {
                return Ok(Some(reply));
            }
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<Option<Reply>, Error> {
        let code = line.get(..3).filter(|code| code.iter().all(u8::is_ascii_digit));
        let code = code.map_or(0, |code| code.iter().fold(0, |n, digit| n * 10 + u16::from(digit - b'0')));
        if !(200..600).contains(&code) {
            return Err(Error::PeerMisbehaved("a reply does not begin with a reply code"));
        }
        let last = match line.get(3) {
            None | Some(b' ') => true,
            Some(b'-') => false,
            Some(_) => return Err(Error::PeerMisbehaved("a reply code is not followed by a space")),
        };
        if self.lines > 0 && self.code != code {
            return Err(Error::PeerMisbehaved("the lines of a reply have different codes"));
        }
        let text = String::from_utf8_lossy(line.get(4..).unwrap_or_default());
        let (enhanced, text) = split_enhanced(code, &text);
        if self.lines == 0 {
            self.code = code;
            self.enhanced = enhanced;
        } else {
            self.text.push('\n');
        }
        self.text.push_str(text);
        self.lines += 1;
        if self.lines > LINES_LIMIT || self.text.len() > TEXT_LIMIT {
            return Err(Error::PeerMisbehaved("a reply is too long"));
        }
        if !last {
            return Ok(None);
        }
        let whole = std::mem::take(self);
        Ok(Some(Reply::new(whole.code, whole.enhanced, whole.text)))
    }
}

/// RFC 2034 §4: the enhanced code stands at the start of each line, and its class is the code's first digit.
fn split_enhanced(code: u16, text: &str) -> (Option<EnhancedCode>, &str) {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    match EnhancedCode::parse(word).filter(|e| u16::from(e.0) == code / 100) {
        Some(enhanced) => (Some(enhanced), rest),
        None => (None, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Option<String>, Error> {
        let (mut input, mut reader) = (Input::default(), ReplyReader::default());
        for octet in bytes {
            input.receive(std::slice::from_ref(octet));
            if let Some(reply) = reader.read(&mut input)? {
                return Ok(Some(reply.to_string()));
            }
        }
        Ok(None)
    }

    #[test]
    fn replies_are_read_or_refused() {
        let misbehaved = |text| Err(Error::PeerMisbehaved(text));
        for (input, want) in [
            ("250 Ok\r\n", Ok(Some("250 Ok"))),
            ("250\r\n", Ok(Some("250 "))),
            ("250 2.1.0 Ok\n", Ok(Some("250 2.1.0 Ok"))),
            ("550-5.1.1 one\r\n550 5.1.1 two\r\n", Ok(Some("550 5.1.1 one two"))),
            ("550 2.1.1 odd\r\n", Ok(Some("550 2.1.1 odd"))),
            ("550 a\0b\x1b\r\n", Ok(Some("550 a?b?"))),
            ("250-one\r\n", Ok(None)),
            ("250-one\r\n251 two\r\n", misbehaved("the lines of a reply have different codes")),
            ("999 x\r\n", misbehaved("a reply does not begin with a reply code")),
            ("100 x\r\n", misbehaved("a reply does not begin with a reply code")),
            ("HTTP/1.1 400\r\n", misbehaved("a reply does not begin with a reply code")),
            ("\r\n", misbehaved("a reply does not begin with a reply code")),
            ("250x\r\n", misbehaved("a reply code is not followed by a space")),
        ] {
            assert_eq!(read(input.as_bytes()), want.map(|w| w.map(String::from)), "{input:?}");
        }
    }

    #[test]
    fn an_endless_reply_is_cut() {
        let too_long = Err(Error::PeerMisbehaved("a reply is too long"));
        assert_eq!(read("250-x\r\n".repeat(1000).as_bytes()), too_long);
        assert_eq!(read(format!("250-{}\r\n", "x".repeat(4000)).repeat(5).as_bytes()), too_long);
        assert_eq!(read(&vec![b'2'; 100_000]), Err(Error::PeerMisbehaved("a reply line is too long")));
    }
}
