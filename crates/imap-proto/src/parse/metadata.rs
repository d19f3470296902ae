//! METADATA (RFC 5464).

use super::{Result, decode_name};
use crate::command::{Command, Depth, GetMetadata, Mailbox};
use crate::cursor::Cursor;
use crate::error::ParseError;

/// Entries one command may name.
const ENTRIES_LIMIT: usize = 200;
/// Longest name of an entry.
const ENTRY_LIMIT: usize = 1000;

/// RFC 5464 §5: `getmetadata = "GETMETADATA" [SP getmetadata-options] SP mailbox SP entries`, `entries = entry / "(" entry *(SP entry) ")"`.
///
/// The RFC's own examples have the options behind the mailbox, and entries without parentheses (§4.2.1, §4.4.1): both are taken.
pub(super) fn get_metadata(cursor: &mut Cursor<'_>) -> Result<Command> {
    let mut request = GetMetadata { mailbox: None, depth: Depth::Zero, max_size: None, entries: Vec::new() };
    cursor.space()?;
    if cursor.peek() == Some(b'(') {
        options(cursor, &mut request)?;
        cursor.space()?;
    }
    request.mailbox = mailbox(cursor)?;
    cursor.space()?;
    if has_options(cursor) {
        options(cursor, &mut request)?;
        cursor.space()?;
    }
    if cursor.peek() == Some(b'(') {
        request.entries = entries(cursor)?;
        return Ok(Command::GetMetadata(request));
    }
    loop {
        request.entries.push(entry(cursor)?);
        if request.entries.len() > ENTRIES_LIMIT {
            return Err(ParseError::too_big("Too many entries"));
        }
        if !cursor.take(b' ') || cursor.is_done() {
            return Ok(Command::GetMetadata(request));
        }
    }
}

/// `"(" entry *(SP entry) ")"`
pub(super) fn entries(cursor: &mut Cursor<'_>) -> Result<Vec<String>> {
    cursor.list(false, ENTRIES_LIMIT, entry)
}

/// A list that begins with a word is one of options: the name of an entry begins with a slash or a quote.
fn has_options(cursor: &Cursor<'_>) -> bool {
    let mut ahead = cursor.clone();
    ahead.take(b'(') && ahead.peek().is_some_and(|b| b.is_ascii_alphabetic())
}

/// RFC 5464 §5: `maxsize-opt = "MAXSIZE" SP number`, `scope-opt = "DEPTH" SP ("0" / "1" / "infinity")`
fn options(cursor: &mut Cursor<'_>, request: &mut GetMetadata) -> Result<()> {
    cursor.list(false, 10, |cursor| {
        match cursor.atom("Expected an option")?.to_ascii_uppercase().as_str() {
            "MAXSIZE" => {
                cursor.space()?;
                request.max_size = Some(cursor.number("Expected a size")?);
            }
            "DEPTH" => {
                cursor.space()?;
                request.depth = match cursor.atom("Expected a depth")?.to_ascii_lowercase().as_str() {
                    "0" => Depth::Zero,
                    "1" => Depth::One,
                    "infinity" => Depth::Infinity,
                    _ => return Err(ParseError::syntax("Depth must be 0, 1 or infinity")),
                };
            }
            _ => return Err(ParseError::syntax("Unknown GETMETADATA option")),
        }
        Ok(())
    })?;
    Ok(())
}

/// RFC 5464 §5: `setmetadata = "SETMETADATA" SP mailbox SP entry-values`, `entry-values = "(" entry-value *(SP entry-value) ")"`,
/// `entry-value = entry SP value`, `value = nstring / literal8`
pub(super) fn set_metadata(cursor: &mut Cursor<'_>) -> Result<Command> {
    cursor.space()?;
    let mailbox = mailbox(cursor)?;
    cursor.space()?;
    let entries = cursor.list(false, ENTRIES_LIMIT, |cursor| {
        let entry = entry(cursor)?;
        cursor.space()?;
        Ok((entry, cursor.nstring8("Expected a value")?.map(|value| value.into_owned())))
    })?;
    Ok(Command::SetMetadata { mailbox, entries })
}

/// The empty name is the server (RFC 5464 §4.1).
fn mailbox(cursor: &mut Cursor<'_>) -> Result<Option<Mailbox>> {
    let name = decode_name(&cursor.astring("Expected a mailbox name")?, cursor.dialect())?;
    Ok(if name.is_empty() { None } else { Some(Mailbox(name)) })
}

/// RFC 5464 §3.2: begins with a slash, does not end with one, has no two in a row; no `*`, no `%`, nothing but printable ASCII. Case means nothing; small
/// letters come out.
fn entry(cursor: &mut Cursor<'_>) -> Result<String> {
    let name = cursor.astring("Expected an entry name")?;
    let is_good = name.starts_with(b"/")
        && !name.ends_with(b"/")
        && !name.windows(2).any(|pair| pair == b"//")
        && name.iter().all(|b| (0x20..0x7f).contains(b) && !matches!(b, b'*' | b'%'));
    if !is_good {
        return Err(ParseError::syntax("Invalid entry name"));
    }
    if name.len() > ENTRY_LIMIT {
        return Err(ParseError::too_big("Entry name is too long"));
    }
    let name = String::from_utf8_lossy(&name).to_ascii_lowercase();
    // RFC 5464 §3.2: every entry is one or the other.
    match name.split('/').nth(1) {
        Some("private" | "shared") => Ok(name),
        _ => Err(ParseError::syntax("Entry must be below /private or /shared")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::tests::read;

    fn get(mailbox: &str, depth: Depth, max_size: Option<u32>, entries: &[&str]) -> Command {
        let mailbox = (!mailbox.is_empty()).then(|| Mailbox(mailbox.into()));
        Command::GetMetadata(GetMetadata { mailbox, depth, max_size, entries: entries.iter().map(|entry| entry.to_string()).collect() })
    }

    #[test]
    fn getmetadata_as_grammar_and_examples_have_it() {
        let both = &["/shared/comment", "/private/comment"];
        for (text, want) in [
            ("GETMETADATA \"\" /shared/comment", get("", Depth::Zero, None, &both[..1])),
            ("GETMETADATA INBOX (/shared/comment /PRIVATE/Comment)", get("INBOX", Depth::Zero, None, both)),
            ("GETMETADATA \"INBOX\" /shared/comment /private/comment", get("INBOX", Depth::Zero, None, both)),
            ("GETMETADATA (MAXSIZE 1024 DEPTH 1) A (/shared/comment)", get("A", Depth::One, Some(1024), &both[..1])),
            ("GETMETADATA \"A\" (depth INFINITY) /shared/comment", get("A", Depth::Infinity, None, &both[..1])),
            ("GETMETADATA A (DEPTH 0) (\"/shared/comment\")", get("A", Depth::Zero, None, &both[..1])),
        ] {
            assert_eq!(read(text.as_bytes()), Ok(Some(want)), "{text}");
        }
        for bad in [
            "GETMETADATA",
            "GETMETADATA A",
            "GETMETADATA A ()",
            "GETMETADATA A comment",
            "GETMETADATA A /comment",
            "GETMETADATA A /shared/",
            "GETMETADATA A /shared//x",
            "GETMETADATA A /shared/*",
            "GETMETADATA A (DEPTH 2) /shared/x",
            "GETMETADATA A (MAXSIZE) /shared/x",
            "GETMETADATA A (FOO 1) /shared/x",
            "GETMETADATA A \"/shared/\u{e9}\"",
        ] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn setmetadata_takes_strings_literals_and_nil() {
        let want = Command::SetMetadata {
            mailbox: Some(Mailbox("INBOX".into())),
            entries: vec![
                ("/private/comment".into(), Some(b"one\r\ntwo".to_vec())),
                ("/shared/comment".into(), None),
                ("/shared/vendor/x".into(), Some(b"a\0b".to_vec())),
                ("/shared/vendor/y".into(), Some(b"q".to_vec())),
            ],
        };
        let text = b"SETMETADATA INBOX (/private/comment {8}\r\none\r\ntwo /shared/comment NIL /shared/vendor/x ~{3}\r\na\0b /shared/vendor/y \"q\")";
        assert_eq!(read(text), Ok(Some(want)));
        for bad in ["SETMETADATA INBOX", "SETMETADATA INBOX ()", "SETMETADATA INBOX (/shared/x)", "SETMETADATA INBOX (/shared/x y)"] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
