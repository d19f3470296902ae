//! APPEND, read up to its message literal.

use super::{Result, flag_list, mailbox, tag};
use crate::command::{Append, AppendNext, Flag};
use crate::cursor::Cursor;
use crate::date::DateTime;

/// What the bytes before a literal mean.
#[derive(Debug, PartialEq)]
pub enum AppendStart {
    /// No APPEND, or its mailbox name is still to come: an ordinary literal.
    No,
    /// The literal is the message.
    Message { tag: String, append: Append },
    /// An APPEND that is not one.
    Broken { tag: String, error: crate::error::ParseError },
}

/// Decides whether a literal of `size` bytes, announced behind `before`, is the message of an APPEND.
///
/// RFC 3501 §9: `append = "APPEND" SP mailbox [SP flag-list] [SP date-time] SP literal`
pub fn append_start(before: &[u8], size: u64) -> AppendStart {
    let mut cursor = Cursor::new(before);
    let Some(tag) = tag(&mut cursor) else { return AppendStart::No };
    if !(cursor.take(b' ') && cursor.take_word("APPEND") && cursor.take(b' ')) || cursor.is_done() {
        return AppendStart::No;
    }
    match arguments(&mut cursor, size) {
        Ok(append) => AppendStart::Message { tag, append },
        Err(error) => AppendStart::Broken { tag, error },
    }
}

/// Reads what stands between one message and the literal of the next, of `size` bytes.
///
/// RFC 3502 §6.3.11: `append = "APPEND" SP mailbox 1*append-message`, `append-message = [SP flag-list] [SP date-time] SP literal`
pub fn append_next(before: &[u8], size: u64) -> Result<AppendNext> {
    let mut cursor = Cursor::new(before);
    cursor.space()?;
    let (flags, date) = options(&mut cursor)?;
    Ok(AppendNext { flags, date, size })
}

fn arguments(cursor: &mut Cursor<'_>, size: u64) -> Result<Append> {
    let mailbox = mailbox(cursor)?;
    cursor.space()?;
    let (flags, date) = options(cursor)?;
    Ok(Append { mailbox, flags, date, size })
}

fn options(cursor: &mut Cursor<'_>) -> Result<(Vec<Flag>, Option<DateTime>)> {
    let mut flags = Vec::new();
    if cursor.peek() == Some(b'(') {
        flags = flag_list(cursor)?;
        cursor.space()?;
    }
    let mut date = None;
    if cursor.peek() == Some(b'"') {
        date = Some(DateTime::parse(cursor)?);
        cursor.space()?;
    }
    cursor.end()?;
    Ok((flags, date))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Mailbox;

    #[test]
    fn the_message_literal_is_told_from_the_mailbox_literal() {
        assert_eq!(append_start(b"a APPEND ", 5), AppendStart::No);
        assert_eq!(append_start(b"a LOGIN x ", 5), AppendStart::No);
        let plain = Append { mailbox: Mailbox("INBOX".into()), flags: vec![], date: None, size: 5 };
        assert_eq!(append_start(b"a append inbox ", 5), AppendStart::Message { tag: "a".into(), append: plain.clone() });
        assert_eq!(append_start(b"a append {5}\r\nINBOX ", 5), AppendStart::Message { tag: "a".into(), append: plain.clone() });
        let full = append_start(b"a APPEND INBOX (\\Seen $X) \"17-Jul-1996 02:44:25 -0700\" ", 5);
        let date = Some(DateTime { unix: 837_596_665, zone: -420 });
        let flags = vec![Flag::Seen, Flag::Keyword("$X".into())];
        assert_eq!(full, AppendStart::Message { tag: "a".into(), append: Append { flags, date, ..plain } });
    }

    #[test]
    fn a_further_message_has_flags_and_date_of_its_own() {
        let next = AppendNext { flags: vec![], date: None, size: 5 };
        assert_eq!(append_next(b" ", 5), Ok(next.clone()));
        assert_eq!(append_next(b" (\\Seen) ", 5), Ok(AppendNext { flags: vec![Flag::Seen], ..next.clone() }));
        let date = Some(DateTime { unix: 837_596_665, zone: -420 });
        assert_eq!(append_next(b" \"17-Jul-1996 02:44:25 -0700\" ", 5), Ok(AppendNext { date, ..next }));
        for bad in ["", "x ", " INBOX ", " (\\Seen "] {
            assert!(append_next(bad.as_bytes(), 5).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn broken_appends_are_known_before_their_message() {
        for before in ["a APPEND INBOX", "a APPEND INBOX (\\Seen", "a APPEND INBOX \"x\" ", "a APPEND INBOX UTF8 (", "a APPEND &x "] {
            assert!(matches!(append_start(before.as_bytes(), 5), AppendStart::Broken { .. }), "{before}");
        }
    }
}
