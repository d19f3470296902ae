//! APPEND and REPLACE, read up to each literal of a message: those are cut by the framer and never in memory as a whole.

use super::{Result, flag_list, mailbox, tag};
use crate::command::{Append, AppendPiece, Flag, Replaces};
use crate::cursor::{Cursor, Dialect};
use crate::date::DateTime;
use crate::error::ParseError;
use crate::sequence::SequenceSet;

/// Pieces between two literals. Each URL may stand for a whole message.
const PIECES_LIMIT: usize = 1000;

/// A literal's announcement behind what is read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    pub size: u64,
    /// `~{n}`
    pub binary: bool,
}

/// What the bytes before a literal, or before the end of the line, mean.
#[derive(Debug, PartialEq)]
pub enum AppendStart {
    /// No APPEND, or its mailbox name or a URL is still to come: an ordinary literal.
    No,
    /// The literal is a message or a part of one; without a literal the command ends here.
    Message { tag: String, append: Append, place: Place },
    /// An APPEND that is not one.
    Broken { tag: String, error: ParseError },
}

/// Where the grammar stands behind a streamed literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    at: At,
    /// REPLACE takes one message.
    single: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before the first message.
    First,
    /// Behind a message.
    Message,
    /// Behind `CATENATE (`, and behind a part of it.
    Open,
    Part,
    /// Behind the literal in `UTF8 (`, of a message or of a part.
    Utf8,
    Utf8Part,
}

/// Decides whether a literal announced behind `before`, or the end of the line there, belongs to the message of an APPEND.
///
/// RFC 3502 §6.3.11: `append = "APPEND" SP mailbox 1*append-message`; RFC 8508 §5: `replace = "REPLACE" SP seq-number SP mailbox append-message`,
/// `uid-replace = "UID" SP replace`
pub fn append_start(before: &[u8], literal: Option<Announced>, dialect: Dialect) -> AppendStart {
    let mut cursor = Cursor::in_dialect(before, dialect);
    let Some(tag) = tag(&mut cursor) else { return AppendStart::No };
    if !cursor.take(b' ') {
        return AppendStart::No;
    }
    let uid = cursor.take_word("UID REPLACE ");
    let single = uid || cursor.take_word("REPLACE ");
    if !single && !cursor.take_word("APPEND ") {
        return AppendStart::No;
    }
    let mut begin = || {
        let replaces = if single { Some(Replaces { uid, message: seq_number(&mut cursor)? }) } else { None };
        if cursor.is_done() && literal.is_some() {
            return Ok(None);
        }
        let mailbox = mailbox(&mut cursor)?;
        let place = Place { at: At::First, single };
        Ok(pieces(&mut cursor, place, literal)?.map(|(pieces, place)| (Append { mailbox, replaces, pieces }, place)))
    };
    match begin() {
        Ok(None) => AppendStart::No,
        Ok(Some((append, place))) => AppendStart::Message { tag, append, place },
        Err(error) => AppendStart::Broken { tag, error },
    }
}

/// Reads what stands between a literal of an APPEND and the next one, or the end of the line. `None` when the next one is no message: a URL.
pub fn append_more(between: &[u8], place: Place, literal: Option<Announced>) -> Result<Option<(Vec<AppendPiece>, Place)>> {
    pieces(&mut Cursor::new(between), place, literal)
}

/// RFC 3501 §9: `seq-number = nz-number / "*"`, and the space behind it.
fn seq_number(cursor: &mut Cursor<'_>) -> Result<SequenceSet> {
    let number = cursor.take_while(|b| b.is_ascii_digit() || b == b'*');
    let mut inner = Cursor::new(number);
    let set = SequenceSet::parse(&mut inner)?;
    inner.end()?;
    cursor.space()?;
    Ok(set)
}

/// RFC 4466 §3: `append-message = [SP flag-list] [SP date-time] SP append-data`; `append-data = literal`, RFC 3516 §7: `/ literal8`,
/// RFC 4469 §5: `/ "CATENATE" SP "(" cat-part *(SP cat-part) ")"`, `cat-part = "TEXT" SP literal / "URL" SP astring`,
/// RFC 6855 §4: `append-data =/ utf8-literal`, `cat-part =/ utf8-literal`, `utf8-literal = "UTF8" SP "(" literal8 ")"`
fn pieces(cursor: &mut Cursor<'_>, place: Place, literal: Option<Announced>) -> Result<Option<(Vec<AppendPiece>, Place)>> {
    let Place { mut at, single } = place;
    let mut pieces = Vec::new();
    let streamed = |mut pieces: Vec<AppendPiece>, at, utf8: bool| match literal {
        Some(Announced { size, binary }) if binary || !utf8 => {
            pieces.push(AppendPiece::Literal { size, binary, utf8 });
            Ok(Some((pieces, Place { at, single })))
        }
        Some(_) => Err(ParseError::syntax("UTF8 needs a literal8")),
        None => Err(ParseError::syntax("Expected a message literal")),
    };
    loop {
        if pieces.len() >= PIECES_LIMIT {
            return Err(ParseError::too_big("Too many parts in one message"));
        }
        match at {
            // Spaces at the end are forgiven, as everywhere.
            At::Message if literal.is_none() && cursor.rest().iter().all(|b| *b == b' ') => {
                return Ok(Some((pieces, Place { at, single })));
            }
            At::Message if single => return Err(ParseError::syntax("REPLACE takes one message")),
            At::First if cursor.is_done() => return Err(ParseError::syntax("Expected a message literal")),
            At::First | At::Message => {
                if at == At::Message && cursor.peek() != Some(b' ') {
                    return Err(ParseError::syntax("Unexpected text after the message"));
                }
                cursor.space()?;
                let (flags, date) = options(cursor)?;
                let catenated = cursor.take_word("CATENATE (");
                pieces.push(AppendPiece::Message { flags, date, catenated });
                if catenated {
                    at = At::Open;
                } else if cursor.take_word("UTF8 (") {
                    cursor.end()?;
                    return streamed(pieces, At::Utf8, true);
                } else if cursor.is_done() {
                    return streamed(pieces, At::Message, false);
                } else {
                    let what = if at == At::Message { "Unexpected text after the message" } else { "Expected a message literal" };
                    return Err(ParseError::syntax(what));
                }
            }
            At::Part if cursor.take(b')') => at = At::Message,
            At::Open | At::Part => {
                if at == At::Part {
                    cursor.space()?;
                }
                if cursor.take_word("URL ") {
                    if cursor.is_done() && literal.is_some_and(|literal| !literal.binary) {
                        return Ok(None);
                    }
                    pieces.push(AppendPiece::Url(cursor.astring_text("Expected a URL")?));
                    at = At::Part;
                } else if cursor.take_word("TEXT ") {
                    cursor.end()?;
                    return streamed(pieces, At::Part, false);
                } else if cursor.take_word("UTF8 (") {
                    cursor.end()?;
                    return streamed(pieces, At::Utf8Part, true);
                } else {
                    return Err(ParseError::syntax("Expected TEXT or URL"));
                }
            }
            At::Utf8 | At::Utf8Part => {
                cursor.expect(b')', "Expected a parenthesis behind the literal")?;
                at = if at == At::Utf8 { At::Message } else { At::Part };
            }
        }
    }
}

/// `[flag-list SP] [date-time SP]`
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
    while cursor.take(b' ') {}
    Ok((flags, date))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Mailbox;

    const FIVE: Option<Announced> = Some(Announced { size: 5, binary: false });
    const BINARY: Option<Announced> = Some(Announced { size: 5, binary: true });

    fn literal(binary: bool, utf8: bool) -> AppendPiece {
        AppendPiece::Literal { size: 5, binary, utf8 }
    }

    fn plain() -> AppendPiece {
        AppendPiece::Message { flags: vec![], date: None, catenated: false }
    }

    fn catenated(flags: Vec<Flag>) -> AppendPiece {
        AppendPiece::Message { flags, date: None, catenated: true }
    }

    fn started(before: &str, literal: Option<Announced>) -> (Append, Place) {
        match append_start(before.as_bytes(), literal, Dialect::default()) {
            AppendStart::Message { append, place, .. } => (append, place),
            other => panic!("{before}: {other:?}"),
        }
    }

    #[test]
    fn the_message_literal_is_told_from_the_mailbox_literal() {
        for ordinary in ["a APPEND ", "a LOGIN x ", "a REPLACE 1 ", "a UID REPLACE 1 ", "a APPEND x CATENATE (URL "] {
            assert_eq!(append_start(ordinary.as_bytes(), FIVE, Dialect::default()), AppendStart::No, "{ordinary}");
        }
        let inbox = Append { mailbox: Mailbox("INBOX".into()), replaces: None, pieces: vec![plain(), literal(false, false)] };
        assert_eq!(started("a append inbox ", FIVE).0, inbox);
        assert_eq!(started("a append {5}\r\nINBOX ", FIVE).0, inbox);
        let date = Some(DateTime { unix: 837_596_665, zone: -420 });
        let flags = vec![Flag::Seen, Flag::Keyword("$X".into())];
        let pieces = vec![AppendPiece::Message { flags, date, catenated: false }, literal(false, false)];
        assert_eq!(started("a APPEND INBOX (\\Seen $X) \"17-Jul-1996 02:44:25 -0700\" ", FIVE).0.pieces, pieces);
        assert_eq!(started("a APPEND INBOX ", BINARY).0.pieces, [plain(), literal(true, false)]);
    }

    #[test]
    fn a_further_message_has_flags_and_date_of_its_own() {
        let (_, place) = started("a APPEND INBOX ", FIVE);
        let more = |text: &str, literal| append_more(text.as_bytes(), place, literal).map(|found| found.map(|(pieces, _)| pieces));
        assert_eq!(more("", None), Ok(Some(vec![])));
        assert_eq!(more("  ", None), Ok(Some(vec![])));
        assert_eq!(more(" ", FIVE), Ok(Some(vec![plain(), literal(false, false)])));
        let seen = AppendPiece::Message { flags: vec![Flag::Seen], date: None, catenated: false };
        assert_eq!(more(" (\\Seen) ", FIVE), Ok(Some(vec![seen, literal(false, false)])));
        for bad in ["", "x ", " INBOX ", " (\\Seen "] {
            assert!(more(bad, FIVE).is_err(), "{bad:?}");
        }
        assert!(more(" x", None).is_err());
    }

    #[test]
    fn rfc4469_catenate() {
        let url = |text: &str| AppendPiece::Url(text.into());
        let (append, place) = started("a APPEND x (\\Seen) CATENATE (URL \"/a;UID=1\" URL {2}\r\n/b TEXT ", FIVE);
        let seen = catenated(vec![Flag::Seen]);
        assert_eq!(append.pieces, [seen, url("/a;UID=1"), url("/b"), literal(false, false)]);
        let more = |text: &str, literal| append_more(text.as_bytes(), place, literal).map(|found| found.map(|(pieces, _)| pieces));
        assert_eq!(more(")", None), Ok(Some(vec![])));
        assert_eq!(more(" URL /c)", None), Ok(Some(vec![url("/c")])));
        assert_eq!(more(" TEXT ", BINARY), Ok(Some(vec![literal(true, false)])));
        assert_eq!(more(") CATENATE (URL /d)", None), Ok(Some(vec![catenated(vec![]), url("/d")])));
        assert_eq!(more(") ", FIVE), Ok(Some(vec![plain(), literal(false, false)])));
        assert_eq!(more(" URL ", FIVE), Ok(None));
        for bad in ["", " ", " URL", " URL ", "x)", " TEXT", " ) x", ")x"] {
            assert!(more(bad, None).is_err(), "{bad:?}");
        }
        // Without a literal at all.
        assert_eq!(started("a APPEND x CATENATE (URL /a)", None).0.pieces, [catenated(vec![]), url("/a")]);
        for bad in ["a APPEND x CATENATE ()", "a APPEND x CATENATE (URL /a", "a APPEND x CATENATE (BLOB /a)", "a APPEND x"] {
            assert!(matches!(append_start(bad.as_bytes(), None, Dialect::default()), AppendStart::Broken { .. }), "{bad}");
        }
        let many = format!("a APPEND x CATENATE ({}URL /b)", "URL /a ".repeat(2000));
        assert!(matches!(append_start(many.as_bytes(), None, Dialect::default()), AppendStart::Broken { .. }));
    }

    #[test]
    fn rfc6855_utf8_needs_a_literal8_in_parentheses() {
        let (append, place) = started("a APPEND x UTF8 (", BINARY);
        assert_eq!(append.pieces, [plain(), literal(true, true)]);
        assert_eq!(append_more(b")", place, None).unwrap().unwrap().0, []);
        assert!(append_more(b"", place, None).is_err());
        assert!(matches!(append_start(b"a APPEND x UTF8 (", FIVE, Dialect::default()), AppendStart::Broken { .. }));
        let (append, place) = started("a APPEND x CATENATE (UTF8 (", BINARY);
        assert_eq!(append.pieces, [catenated(vec![]), literal(true, true)]);
        assert_eq!(append_more(b") URL /a)", place, None).unwrap().unwrap().0, [AppendPiece::Url("/a".into())]);
    }

    #[test]
    fn rfc8508_replace_takes_one_message() {
        let (append, place) = started("a REPLACE 4 Drafts (\\Seen) ", FIVE);
        assert_eq!(append.replaces, Some(Replaces { uid: false, message: SequenceSet::single(4) }));
        assert!(append_more(b" ", place, FIVE).is_err());
        assert_eq!(append_more(b"", place, None).unwrap().unwrap().0, []);
        assert!(started("a uid replace * Drafts ", FIVE).0.replaces.is_some_and(|replaces| replaces.uid && replaces.message.has_star()));
        for bad in ["a REPLACE 0 x ", "a REPLACE 1:2 x ", "a REPLACE 1,2 x ", "a REPLACE x x ", "a REPLACE 1 x (", "a REPLACE $ x "] {
            assert!(matches!(append_start(bad.as_bytes(), FIVE, Dialect::default()), AppendStart::Broken { .. }), "{bad}");
        }
    }

    #[test]
    fn broken_appends_are_known_before_their_message() {
        for before in ["a APPEND INBOX", "a APPEND INBOX (\\Seen", "a APPEND INBOX \"x\" ", "a APPEND INBOX UTF8 ((", "a APPEND &x "] {
            assert!(matches!(append_start(before.as_bytes(), FIVE, Dialect::default()), AppendStart::Broken { .. }), "{before}");
        }
    }
}
