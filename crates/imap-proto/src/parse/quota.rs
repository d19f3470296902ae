//! QUOTA (RFC 9208).

use super::Result;
use crate::command::Command;
use crate::cursor::Cursor;
use crate::error::ParseError;

/// Longest name of a quota root.
const ROOT_LIMIT: usize = 1000;

/// RFC 9208 §7: `getquota = "GETQUOTA" SP quota-root-name`
pub(super) fn get_quota(cursor: &mut Cursor<'_>) -> Result<Command> {
    Ok(Command::GetQuota(root(cursor)?))
}

/// RFC 9208 §7: `setquota = "SETQUOTA" SP quota-root-name SP setquota-list`, `setquota-list = "(" [setquota-resource *(SP
/// setquota-resource)] ")"`, `setquota-resource = resource-name SP resource-limit`
pub(super) fn set_quota(cursor: &mut Cursor<'_>) -> Result<Command> {
    let root = root(cursor)?;
    cursor.space()?;
    let limits = cursor.list(true, 20, |cursor| {
        let resource = cursor.atom("Expected a resource name")?.to_ascii_uppercase();
        cursor.space()?;
        Ok((resource, cursor.number64("Expected a limit")?))
    })?;
    Ok(Command::SetQuota { root, limits })
}

/// RFC 9208 §7: `quota-root-name = astring`
fn root(cursor: &mut Cursor<'_>) -> Result<String> {
    cursor.space()?;
    let root = cursor.astring_text("Expected a quota root")?;
    if root.len() > ROOT_LIMIT { Err(ParseError::too_big("Name of the quota root is too long")) } else { Ok(root) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Mailbox;
    use crate::parse::tests::read;

    #[test]
    fn commands_of_rfc9208() {
        let limits = |limits: &[(&str, u64)]| limits.iter().map(|(name, limit)| (name.to_string(), *limit)).collect();
        for (text, want) in [
            ("GETQUOTA \"!partition/sda4\"", Command::GetQuota("!partition/sda4".into())),
            ("GETQUOTA \"\"", Command::GetQuota(String::new())),
            ("GETQUOTAROOT inbox", Command::GetQuotaRoot(Mailbox("INBOX".into()))),
            ("SETQUOTA #user (storage 510)", Command::SetQuota { root: "#user".into(), limits: limits(&[("STORAGE", 510)]) }),
            ("SETQUOTA x ()", Command::SetQuota { root: "x".into(), limits: limits(&[]) }),
            (
                "SETQUOTA x (STORAGE 9223372036854775807 MESSAGE 0)",
                Command::SetQuota { root: "x".into(), limits: limits(&[("STORAGE", i64::MAX as u64), ("MESSAGE", 0)]) },
            ),
        ] {
            assert_eq!(read(text.as_bytes()), Ok(Some(want)), "{text}");
        }
        for bad in [
            "GETQUOTA",
            "GETQUOTA a b",
            "GETQUOTAROOT",
            "SETQUOTA x",
            "SETQUOTA x (STORAGE)",
            "SETQUOTA x (STORAGE -1)",
            "SETQUOTA x STORAGE 1",
        ] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
