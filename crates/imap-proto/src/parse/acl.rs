//! ACL (RFC 4314).

use super::{Result, spaced_mailbox};
use crate::command::{Command, FlagChange, SetAcl};
use crate::cursor::Cursor;
use crate::error::ParseError;

/// Longest identifier.
const IDENTIFIER_LIMIT: usize = 1000;

/// RFC 4314 §7: `setacl = "SETACL" SP mailbox SP identifier SP mod-rights`, `mod-rights = astring ;; +rights to add, -rights to remove,
/// rights to replace`
pub(super) fn set_acl(cursor: &mut Cursor<'_>) -> Result<Command> {
    let mailbox = spaced_mailbox(cursor)?;
    let identifier = identifier(cursor)?;
    cursor.space()?;
    let rights = cursor.astring_text("Expected rights")?;
    let (change, rights) = match rights.as_bytes().first() {
        Some(b'+') => (FlagChange::Add, &rights[1..]),
        Some(b'-') => (FlagChange::Remove, &rights[1..]),
        _ => (FlagChange::Replace, &rights[..]),
    };
    // RFC 4314 §2.1: `rights = astring ;; only lowercase ASCII letters and digits are allowed`
    if rights.len() > 100 || !rights.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        return Err(ParseError::syntax("Invalid rights"));
    }
    Ok(Command::SetAcl(SetAcl { mailbox, identifier, change, rights: rights.to_owned() }))
}

/// RFC 4314 §7: `deleteacl = "DELETEACL" SP mailbox SP identifier`
pub(super) fn delete_acl(cursor: &mut Cursor<'_>) -> Result<Command> {
    Ok(Command::DeleteAcl { mailbox: spaced_mailbox(cursor)?, identifier: identifier(cursor)? })
}

/// RFC 4314 §7: `listrights = "LISTRIGHTS" SP mailbox SP identifier`
pub(super) fn list_rights(cursor: &mut Cursor<'_>) -> Result<Command> {
    Ok(Command::ListRights { mailbox: spaced_mailbox(cursor)?, identifier: identifier(cursor)? })
}

/// RFC 4314 §7: `identifier = astring`; in UTF-8 (§3).
fn identifier(cursor: &mut Cursor<'_>) -> Result<String> {
    cursor.space()?;
    let identifier = cursor.astring_text("Expected an identifier")?;
    if identifier.is_empty() || identifier.chars().any(char::is_control) {
        return Err(ParseError::syntax("Invalid identifier"));
    }
    if identifier.len() > IDENTIFIER_LIMIT { Err(ParseError::too_big("Identifier is too long")) } else { Ok(identifier) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Mailbox;
    use crate::parse::tests::read;

    #[test]
    fn commands_of_rfc4314() {
        let mailbox = || Mailbox("INBOX".into());
        let set = |identifier: &str, change, rights: &str| {
            Command::SetAcl(SetAcl { mailbox: mailbox(), identifier: identifier.into(), change, rights: rights.into() })
        };
        for (text, want) in [
            ("SETACL INBOX John lrQswicda", None),
            ("SETACL INBOX John lrswicda", Some(set("John", FlagChange::Replace, "lrswicda"))),
            ("SETACL INBOX anyone +l", Some(set("anyone", FlagChange::Add, "l"))),
            ("SETACL INBOX -bob -i", Some(set("-bob", FlagChange::Remove, "i"))),
            ("SETACL INBOX bob \"\"", Some(set("bob", FlagChange::Replace, ""))),
            ("SETACL INBOX bob", None),
            ("SETACL INBOX \"\" l", None),
            ("SETACL INBOX \"a\tb\" l", None),
            ("DELETEACL INBOX Fred", Some(Command::DeleteAcl { mailbox: mailbox(), identifier: "Fred".into() })),
            ("DELETEACL INBOX", None),
            ("GETACL INBOX", Some(Command::GetAcl(mailbox()))),
            ("LISTRIGHTS INBOX smith", Some(Command::ListRights { mailbox: mailbox(), identifier: "smith".into() })),
            ("LISTRIGHTS INBOX", None),
            ("MYRIGHTS inbox", Some(Command::MyRights(mailbox()))),
            ("MYRIGHTS", None),
        ] {
            let parsed = read(text.as_bytes());
            match want {
                Some(want) => assert_eq!(parsed, Ok(Some(want)), "{text}"),
                None => assert!(parsed.is_err(), "{text}"),
            }
        }
    }
}
