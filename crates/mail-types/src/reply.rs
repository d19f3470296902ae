//! SMTP replies with enhanced status codes (RFC 5321 §4.2, RFC 3463).

use std::borrow::Cow;
use std::fmt;

/// `class.subject.detail` (RFC 3463 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EnhancedCode(pub u8, pub u16, pub u16);

impl EnhancedCode {
    /// Parses `5.1.1`; the class must be 2, 4 or 5.
    pub fn parse(text: &str) -> Option<EnhancedCode> {
        let mut parts = text.split('.');
        let mut number = |limit: usize| {
            let part = parts.next()?;
            (!part.is_empty() && part.len() <= limit && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse::<u16>().ok())?
        };
        let code = EnhancedCode(number(1)? as u8, number(3)?, number(3)?);
        (parts.next().is_none() && matches!(code.0, 2 | 4 | 5)).then_some(code)
    }
}

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// A reply: code, enhanced code, and text of one or more lines (separated by `\n`; never with other control characters).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reply {
    code: u16,
    enhanced: Option<EnhancedCode>,
    text: Cow<'static, str>,
}

impl Reply {
    /// `code` is 200 to 599. Control characters in `text` other than `\n` become `?`, so that no peer's bytes can forge a line.
    pub fn new(code: u16, enhanced: Option<EnhancedCode>, text: impl Into<Cow<'static, str>>) -> Reply {
        debug_assert!((200..600).contains(&code), "reply code {code}");
        let text = text.into();
        let text = if !text.bytes().all(|b| matches!(b, b' '..=b'~' | b'\n')) && text.chars().any(|c| c.is_control() && c != '\n') {
            text.chars().map(|c| if c.is_control() && c != '\n' { '?' } else { c }).collect::<String>().into()
        } else {
            text
        };
        Reply { code, enhanced, text }
    }

    /// A reply with an enhanced code, `Reply::with(550, (5, 1, 1), "...")`.
    pub fn with(code: u16, (class, subject, detail): (u8, u16, u16), text: impl Into<Cow<'static, str>>) -> Reply {
        Reply::new(code, Some(EnhancedCode(class, subject, detail)), text)
    }

    pub fn code(&self) -> u16 {
        self.code
    }

    pub fn enhanced(&self) -> Option<EnhancedCode> {
        self.enhanced
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// 2xx or 3xx.
    pub fn is_positive(&self) -> bool {
        self.code < 400
    }

    /// 4xx.
    pub fn is_temporary(&self) -> bool {
        (400..500).contains(&self.code)
    }

    /// 5xx.
    pub fn is_permanent(&self) -> bool {
        self.code >= 500
    }

    /// Appends the reply as it goes over the wire, each line with code and enhanced code (RFC 2034 §4).
    pub fn write(&self, out: &mut Vec<u8>) {
        let lines = self.text.split('\n').count();
        for (at, line) in self.text.split('\n').enumerate() {
            push_number(out, self.code);
            out.push(if at + 1 == lines { b' ' } else { b'-' });
            if let Some(EnhancedCode(class, subject, detail)) = self.enhanced {
                for (number, end) in [(u16::from(class), b'.'), (subject, b'.'), (detail, b' ')] {
                    push_number(out, number);
                    out.push(end);
                }
            }
            out.extend_from_slice(line.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

fn push_number(out: &mut Vec<u8>, number: u16) {
    if number > 9 {
        push_number(out, number / 10);
    }
    out.push(b'0' + (number % 10) as u8);
}

/// On one line, as logs and delivery status notifications show it: `550 5.1.1 text`.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        write!(f, " {}", self.text.replace('\n', " "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enhanced_codes_are_parsed_or_refused() {
        for (input, want) in [
            ("5.1.1", Some(EnhancedCode(5, 1, 1))),
            ("2.0.0", Some(EnhancedCode(2, 0, 0))),
            ("4.7.100", Some(EnhancedCode(4, 7, 100))),
            ("3.1.1", None),
            ("5.1", None),
            ("5.1.1.1", None),
            ("5..1", None),
            ("5.1.1000", None),
            ("x", None),
        ] {
            assert_eq!(EnhancedCode::parse(input), want, "{input:?}");
        }
    }

    #[test]
    fn each_line_carries_the_code_and_no_text_forges_a_line() {
        let mut out = Vec::new();
        Reply::with(550, (5, 1, 1), "one\ntwo\r\x1b[1m").write(&mut out);
        assert_eq!(String::from_utf8(out).expect("text"), "550-5.1.1 one\r\n550 5.1.1 two??[1m\r\n");
        let mut out = Vec::new();
        Reply::with(450, (4, 0, 210), "\u{9b}é").write(&mut out);
        assert_eq!(String::from_utf8(out).expect("text"), "450 4.0.210 ?é\r\n");
    }
}
