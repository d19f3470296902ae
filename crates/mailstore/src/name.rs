//! Checked mailbox names. Whatever becomes part of a path in this crate went through here.

use std::fmt;
use std::sync::Arc;

use crate::mutf7;

/// The hierarchy separator of Maildir++.
pub const SEPARATOR: char = '.';

/// Longest directory name a file system takes.
const LONGEST_DIRECTORY: usize = 255;

/// Deepest hierarchy (SECURITY "Limits to adopt").
const DEEPEST: usize = 32;

/// The name of a mailbox: UTF-8, levels separated by `.`, `INBOX` in capitals for the one every account has.
///
/// A value of this type is safe to use as a directory name: `.` + modified UTF-7, at most 255 bytes, no empty level, no
/// slash, no control character.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MailboxName(Arc<str>);

/// Why a name was refused; the text may be shown to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("mailbox name is empty")]
    Empty,
    #[error("mailbox name has an empty level")]
    EmptyLevel,
    #[error("mailbox name is too long")]
    TooLong,
    #[error("mailbox name has too many levels")]
    TooDeep,
    #[error("mailbox name has a character that is not allowed")]
    Character,
}

impl MailboxName {
    /// Checks a name as a client or setting gives it, already decoded to UTF-8. `inbox` in any case is `INBOX`, also as
    /// first level (`inbox.Sub`).
    pub fn parse(text: &str) -> Result<MailboxName, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > 4 * LONGEST_DIRECTORY {
            return Err(NameError::TooLong);
        }
        // `*` and `%` could be made but never named again in LIST (RFC 3501 §6.3.8)
        if text.chars().any(|c| c.is_control() || matches!(c, '/' | '*' | '%' | '\u{2028}' | '\u{2029}' | '\u{fffd}')) {
            return Err(NameError::Character);
        }
        let mut levels = 0;
        for level in text.split(SEPARATOR) {
            if level.is_empty() {
                return Err(NameError::EmptyLevel);
            }
            levels += 1;
        }
        if levels > DEEPEST {
            return Err(NameError::TooDeep);
        }
        let name = match text.split_once(SEPARATOR) {
            None if text.eq_ignore_ascii_case("INBOX") => "INBOX".into(),
            Some((first, rest)) if first.eq_ignore_ascii_case("INBOX") => format!("INBOX.{rest}").into(),
            _ => Arc::from(text),
        };
        let name = MailboxName(name);
        if name.directory().len() > LONGEST_DIRECTORY {
            return Err(NameError::TooLong);
        }
        Ok(name)
    }

    /// The mailbox every account has; its files lie in the account's root.
    pub fn inbox() -> MailboxName {
        MailboxName("INBOX".into())
    }

    /// True for INBOX itself.
    pub fn is_inbox(&self) -> bool {
        &*self.0 == "INBOX"
    }

    /// UTF-8, levels separated by `.`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same in modified UTF-7, for clients without UTF8=ACCEPT.
    pub fn to_mutf7(&self) -> String {
        mutf7::encode(&self.0)
    }

    /// One level up: `A` for `A.B`.
    pub fn parent(&self) -> Option<MailboxName> {
        self.0.rsplit_once(SEPARATOR).map(|(parent, _)| MailboxName(parent.into()))
    }

    /// True when `self` lies somewhere below `other`.
    pub fn is_below(&self, other: &MailboxName) -> bool {
        self.0.strip_prefix(&*other.0).is_some_and(|rest| rest.starts_with(SEPARATOR))
    }

    /// `self` with the leading `from` replaced by `to`: how children follow a renamed parent.
    pub fn moved(&self, from: &MailboxName, to: &MailboxName) -> Result<MailboxName, NameError> {
        match self.0.strip_prefix(&*from.0) {
            Some(rest) => MailboxName::parse(&format!("{}{rest}", to.0)),
            None => Ok(self.clone()),
        }
    }

    /// Directory below the account's root: empty for INBOX, else `.A.B` in modified UTF-7.
    pub(crate) fn directory(&self) -> String {
        if self.is_inbox() { String::new() } else { format!(".{}", mutf7::encode(&self.0)) }
    }

    /// Reads back a directory name. `None` for anything that is not the one right spelling of a name we would accept.
    pub(crate) fn from_directory(directory: &str) -> Option<MailboxName> {
        let text = mutf7::decode(directory.strip_prefix('.')?)?;
        let name = MailboxName::parse(&text).ok()?;
        (name.as_str() == text && !name.is_inbox()).then_some(name)
    }
}

impl fmt::Display for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_become_one_directory() {
        for (name, directory) in [
            ("INBOX", ""),
            ("inbox", ""),
            ("Sent", ".Sent"),
            ("Inbox.Old", ".INBOX.Old"),
            ("Travail.Projets", ".Travail.Projets"),
            ("Envoyés", ".Envoy&AOk-s"),
            ("R&D", ".R&-D"),
            ("cur", ".cur"),
            ("~root", ".~root"),
        ] {
            assert_eq!(MailboxName::parse(name).unwrap().directory(), directory, "{name}");
        }
    }

    #[test]
    fn names_that_could_leave_the_root_are_refused() {
        let long = "x".repeat(255);
        let deep = vec!["a"; 33].join(".");
        for name in [
            "",
            ".",
            "..",
            "../../x",
            "/etc",
            "a/b",
            "a..b",
            ".hidden",
            "a.",
            "a\0b",
            "a\r",
            "a\nb",
            "%",
            "*",
            "a\u{7f}",
            &long,
            &deep,
            "INBOX/../../u2",
        ] {
            assert!(MailboxName::parse(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn directories_of_other_programs_are_not_mistaken() {
        for directory in ["cur", ".", "..", ".INBOX", ".a..b", ".é", ".&", ".inbox.x", "..x"] {
            assert_eq!(MailboxName::from_directory(directory), None, "{directory}");
        }
        assert_eq!(MailboxName::from_directory(".Envoy&AOk-s").unwrap().as_str(), "Envoyés");
    }

    #[test]
    fn children_follow_their_parent() {
        let name = |text| MailboxName::parse(text).unwrap();
        assert!(name("A.B.C").is_below(&name("A.B")));
        assert!(!name("A.BC").is_below(&name("A.B")));
        assert_eq!(name("A.B.C").moved(&name("A.B"), &name("Z")).unwrap(), name("Z.C"));
    }
}
