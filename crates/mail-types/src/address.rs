//! Mail addresses of the envelope (RFC 5321 §4.1.2 Mailbox, RFC 6531 §3.3).

use crate::{Domain, DomainError};
use std::fmt;
use std::sync::Arc;

/// `local-part@domain`. The local part is kept without quotes and with its case; the domain is lower case.
///
/// The null sender is not an address: it is `None` where an `Option<Address>` stands. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    local: Arc<str>,
    domain: Domain,
}

/// Why a text is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("the address has no @")]
    NoDomain,
    #[error("the local part is empty")]
    EmptyLocalPart,
    #[error("the local part is longer than 64 octets")]
    LocalPartTooLong,
    #[error("the local part has a character that needs quotes, or that no address may have")]
    LocalPart,
    #[error(transparent)]
    Domain(#[from] DomainError),
}

impl Address {
    /// Parses `local@domain`, the local part as a dot-string or a quoted string.
    ///
    /// `accepts_odd_dots`: dots at either end of a local part and two in a row are taken, as some mobile providers
    /// hand out such addresses.
    pub fn parse(text: &str) -> Result<Address, AddressError> {
        let (local, domain) = split(text)?;
        Address::new(&local, Domain::parse(domain)?)
    }

    /// Makes an address from an unquoted local part.
    pub fn new(local: &str, domain: Domain) -> Result<Address, AddressError> {
        if local.is_empty() {
            return Err(AddressError::EmptyLocalPart);
        }
        // RFC 5321 §4.5.3.1.1
        if local.len() > 64 {
            return Err(AddressError::LocalPartTooLong);
        }
        if local.chars().any(char::is_control) {
            return Err(AddressError::LocalPart);
        }
        Ok(Address { local: local.into(), domain })
    }

    /// The local part without quotes.
    pub fn local(&self) -> &str {
        &self.local
    }

    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The same local part at another domain.
    pub fn at(&self, domain: Domain) -> Address {
        Address { local: self.local.clone(), domain }
    }

    /// The address in lower case, which is how tables and mailboxes know it.
    pub fn to_lowercase(&self) -> Address {
        Address { local: self.local.to_lowercase().into(), domain: self.domain.clone() }
    }

    /// Splits `user+detail` at the first of `delimiters` that has something on its left.
    /// `None` when the local part has no detail; `owner-` and `-request` names are not special here.
    pub fn split_detail(&self, delimiters: &str) -> Option<(Address, &str)> {
        let at = self.local.char_indices().skip(1).find(|(_, c)| delimiters.contains(*c))?;
        let user = Address { local: self.local[..at.0].into(), domain: self.domain.clone() };
        Some((user, &self.local[at.0 + at.1.len_utf8()..]))
    }

    /// Whether only SMTPUTF8 can carry it (RFC 6531 §3.2).
    pub fn is_utf8(&self) -> bool {
        !self.local.is_ascii() || self.domain.is_utf8()
    }
}

fn split(text: &str) -> Result<(String, &str), AddressError> {
    if !text.starts_with('"') {
        let (local, domain) = text.rsplit_once('@').ok_or(AddressError::NoDomain)?;
        if local.is_empty() {
            return Err(AddressError::EmptyLocalPart);
        }
        return if local.chars().all(is_dot_string_char) { Ok((local.into(), domain)) } else { Err(AddressError::LocalPart) };
    }
    let mut local = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                let domain = text[at + 1..].strip_prefix('@').ok_or(AddressError::NoDomain)?;
                return Ok((local, domain));
            }
            '\\' => match chars.next() {
                Some((_, c)) if !c.is_control() => local.push(c),
                _ => return Err(AddressError::LocalPart),
            },
            c if c.is_control() => return Err(AddressError::LocalPart),
            c => local.push(c),
        }
    }
    Err(AddressError::LocalPart)
}

// RFC 5322 §3.2.3 atext, plus "." and RFC 6532 UTF8-non-ascii.
fn is_dot_string_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c) || (!c.is_ascii() && !c.is_control())
}

/// As it stands between `<` and `>`: the local part is quoted when it has to be.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dots = self.local.starts_with('.') || self.local.ends_with('.') || self.local.contains("..");
        if self.local.chars().all(is_dot_string_char) && !dots {
            return write!(f, "{}@{}", self.local, self.domain);
        }
        f.write_str("\"")?;
        for c in self.local.chars() {
            if c == '"' || c == '\\' {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        write!(f, "\"@{}", self.domain)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{self}>")
    }
}

impl std::str::FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Address, AddressError> {
        Address::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_are_parsed_or_refused() {
        for (input, want) in [
            ("Ann.Lee@Example.org", Ok("Ann.Lee@example.org")),
            ("\"a b\"@x.org", Ok("\"a b\"@x.org")),
            ("\"ann\"@x.org", Ok("ann@x.org")),
            ("\"a\\\"b\"@x.org", Ok("\"a\\\"b\"@x.org")),
            ("a..b@x.org", Ok("\"a..b\"@x.org")),
            ("a@[127.0.0.1]", Ok("a@[127.0.0.1]")),
            ("a%ext@us", Ok("a%ext@us")),
            ("pelé@exämple.org", Ok("pelé@exämple.org")),
            ("ann", Err(AddressError::NoDomain)),
            ("\"a@ext\"@us", Ok("\"a@ext\"@us")),
            ("a@ext@us", Err(AddressError::LocalPart)),
            ("a@ext,b@us", Err(AddressError::LocalPart)),
            ("\"\"@us", Err(AddressError::EmptyLocalPart)),
            ("@us", Err(AddressError::EmptyLocalPart)),
            ("a b@us", Err(AddressError::LocalPart)),
            ("\"a\nb\"@us", Err(AddressError::LocalPart)),
            ("\"a\\\nb\"@us", Err(AddressError::LocalPart)),
            ("\"ab@us", Err(AddressError::LocalPart)),
            // RFC 5321 §4.1.2 has no TAB in quotes; what parts fields by TABs (greylist, state files) relies on that.
            ("\"a\tb\"@us", Err(AddressError::LocalPart)),
            ("\"a\\\tb\"@us", Err(AddressError::LocalPart)),
            ("a@us.", Err(AddressError::Domain(DomainError::Label))),
        ] {
            let got = Address::parse(input).map(|a| a.to_string());
            assert_eq!(got.as_deref().map_err(|e| *e), want, "{input:?}");
        }
        let domain = Domain::parse("us").expect("domain");
        assert_eq!(Address::new("a\tb", domain), Err(AddressError::LocalPart));
        assert_eq!(Address::parse(&format!("{}@x", "a".repeat(65))), Err(AddressError::LocalPartTooLong));
    }

    #[test]
    fn detail_is_split_at_the_first_delimiter() {
        let a = Address::parse("ann+a+b@x.org").expect("address");
        let (user, detail) = a.split_detail("+-").expect("detail");
        assert_eq!((user.to_string().as_str(), detail), ("ann@x.org", "a+b"));
        assert!(Address::parse("+a@x.org").expect("address").split_detail("+").is_none());
        assert!(Address::parse("ann@x.org").expect("address").split_detail("+").is_none());
        assert!(a.split_detail("").is_none());
    }

    proptest! {
        #[test]
        fn what_is_printed_parses_to_the_same(local in "[^\\p{C}]{1,16}", domain in "[a-z]{1,9}(\\.[a-z]{1,9})?") {
            if let Ok(a) = Address::new(&local, Domain::parse(&domain).expect("domain")) {
                prop_assert_eq!(Address::parse(&a.to_string()), Ok(a));
            }
        }
    }
}
