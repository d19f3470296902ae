//! Domain names and address literals, as they stand behind the `@`.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// A domain name or address literal, lower case, without a trailing dot.
///
/// Holds ASCII labels (`a-z 0-9 - _`), labels in UTF-8 (RFC 6531 §3.3), or a literal such as `[192.0.2.1]` or
/// `[ipv6:2001:db8::1]` (RFC 5321 §4.1.3). Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Domain(Arc<str>);

/// Why a text is no domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    #[error("the domain is empty")]
    Empty,
    #[error("the domain is longer than 255 octets")]
    TooLong,
    #[error("a label of the domain is empty or longer than 63 octets")]
    Label,
    #[error("the domain has a character that no domain name may have")]
    Character,
    #[error("the address literal is malformed")]
    Literal,
}

impl Domain {
    /// Parses a domain name or an address literal in brackets; letters become lower case.
    pub fn parse(text: &str) -> Result<Domain, DomainError> {
        if text.is_empty() {
            return Err(DomainError::Empty);
        }
        // RFC 5321 §4.5.3.1.2
        if text.len() > 255 {
            return Err(DomainError::TooLong);
        }
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(DomainError::Literal)?;
            return match parse_literal(inner).ok_or(DomainError::Literal)? {
                IpAddr::V4(ip) => Ok(Domain(format!("[{ip}]").into())),
                IpAddr::V6(ip) => Ok(Domain(format!("[ipv6:{ip}]").into())),
            };
        }
        for label in text.split('.') {
            if label.is_empty() || label.len() > 63 || label.starts_with('-') || label.ends_with('-') {
                return Err(DomainError::Label);
            }
            // `_` is no host name character, but stands in mail domains of the real world; Postfix takes it too.
            let allowed =
                |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || (!c.is_ascii() && c.is_alphanumeric()) || is_mark(c);
            if !label.chars().all(allowed) {
                return Err(DomainError::Character);
            }
        }
        Ok(Domain(text.to_lowercase().into()))
    }

    /// The domain as text: lower case, a literal with its brackets.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address inside an address literal.
    pub fn literal(&self) -> Option<IpAddr> {
        parse_literal(self.0.strip_prefix('[')?.strip_suffix(']')?)
    }

    /// Whether the name has labels outside ASCII, so that only SMTPUTF8 can carry it as it is.
    pub fn is_utf8(&self) -> bool {
        !self.0.is_ascii()
    }

    /// Whether this domain is `parent` or lies below it.
    pub fn is_within(&self, parent: &Domain) -> bool {
        match self.0.strip_suffix(&*parent.0) {
            Some(front) => front.is_empty() || front.ends_with('.'),
            None => false,
        }
    }

    /// The domain without its first label; `None` for a single label or a literal.
    pub fn parent(&self) -> Option<Domain> {
        if self.0.starts_with('[') {
            return None;
        }
        self.0.split_once('.').map(|(_, rest)| Domain(rest.into()))
    }
}

fn is_mark(c: char) -> bool {
    // Combining marks and joiners that IDNA allows inside labels; whether the label is valid IDNA is for the resolver.
    matches!(c, '\u{0300}'..='\u{036f}' | '\u{0900}'..='\u{0dff}' | '\u{0e00}'..='\u{0eff}' | '\u{200c}' | '\u{200d}' | '\u{00b7}' | '\u{30fb}')
}

fn parse_literal(inner: &str) -> Option<IpAddr> {
    match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => inner[5..].parse().ok().map(IpAddr::V6),
        _ => inner.parse().ok().map(IpAddr::V4),
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl std::str::FromStr for Domain {
    type Err = DomainError;
    fn from_str(text: &str) -> Result<Domain, DomainError> {
        Domain::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_parsed_or_refused() {
        for (input, want) in [
            ("Example.ORG", Ok("example.org")),
            ("localhost", Ok("localhost")),
            ("_dmarc.x_y.org", Ok("_dmarc.x_y.org")),
            ("bücher.example", Ok("bücher.example")),
            ("[192.0.2.1]", Ok("[192.0.2.1]")),
            ("[IPv6:2001:DB8::1]", Ok("[ipv6:2001:db8::1]")),
            ("", Err(DomainError::Empty)),
            ("a..b", Err(DomainError::Label)),
            ("us.", Err(DomainError::Label)),
            (".us", Err(DomainError::Label)),
            ("-a.org", Err(DomainError::Label)),
            ("a b.org", Err(DomainError::Character)),
            ("a\0.org", Err(DomainError::Character)),
            ("a/../b", Err(DomainError::Character)),
            ("a/b", Err(DomainError::Character)),
            ("[1.2.3]", Err(DomainError::Literal)),
            ("[::1]", Err(DomainError::Literal)),
            ("[1.2.3.4", Err(DomainError::Literal)),
        ] {
            let got = Domain::parse(input);
            assert_eq!(got.as_ref().map(Domain::as_str), want.as_ref().copied(), "{input:?}");
        }
        assert_eq!(Domain::parse(&"a".repeat(64)), Err(DomainError::Label));
        assert_eq!(Domain::parse(&"a.".repeat(128)), Err(DomainError::TooLong));
    }

    #[test]
    fn a_domain_is_within_itself_and_its_parents_only() {
        let d = |s| Domain::parse(s).expect("test domain");
        assert!(d("a.example.org").is_within(&d("example.org")));
        assert!(d("example.org").is_within(&d("example.org")));
        assert!(!d("badexample.org").is_within(&d("example.org")));
        assert_eq!(d("a.b").parent(), Some(d("b")));
        assert_eq!(d("[1.2.3.4]").parent(), None);
    }
}
