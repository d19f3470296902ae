//! FETCH items and body sections.

use super::{Result, spaced_set};
use crate::command::{BinaryItem, BodyForm, BodyItem, Command, FetchItem, Section, SectionText};
use crate::cursor::Cursor;
use crate::error::ParseError;

/// Items one FETCH may name. Each can cost a whole message per message; no client needs more than a dozen.
const ITEMS_LIMIT: usize = 250;
/// Part numbers in one section: deeper than MIME nesting is ever parsed.
const PART_DEPTH: usize = 100;
/// Names in one HEADER.FIELDS list.
const FIELDS_LIMIT: usize = 1000;

/// RFC 3501 §9: `fetch = "FETCH" SP sequence-set SP ("ALL" / "FULL" / "FAST" / fetch-att / "(" fetch-att *(SP fetch-att)
/// ")") [fetch-modifiers]`. Macros inside a list are taken too: some clients send `(ALL)`, and their meaning is clear.
pub(super) fn fetch(cursor: &mut Cursor<'_>, uid: bool) -> Result<Command> {
    let set = spaced_set(cursor)?;
    cursor.space()?;
    let mut distinct = if cursor.peek() == Some(b'(') {
        items(cursor)?
    } else {
        let mut items = Vec::new();
        item(cursor, &mut items)?;
        distinct(items)
    };
    // RFC 3501 §6.4.8: UID FETCH answers always have the UID.
    if uid && !distinct.contains(&FetchItem::Uid) {
        distinct.insert(0, FetchItem::Uid);
    }
    let modifiers = super::condstore::fetch_modifiers(cursor, uid)?;
    // RFC 7162 §3.1.4.1
    if modifiers.changed_since.is_some() && !distinct.contains(&FetchItem::ModSeq) {
        distinct.push(FetchItem::ModSeq);
    }
    Ok(Command::Fetch { set, uid, items: distinct, modifiers })
}

/// `"(" fetch-att *(SP fetch-att) ")"`
pub(super) fn items(cursor: &mut Cursor<'_>) -> Result<Vec<FetchItem>> {
    let mut items = Vec::new();
    cursor.list(false, ITEMS_LIMIT, |c| item(c, &mut items))?;
    Ok(distinct(items))
}

/// Named twice is answered once; the order of the client stays.
fn distinct(items: Vec<FetchItem>) -> Vec<FetchItem> {
    let mut distinct: Vec<FetchItem> = Vec::with_capacity(items.len());
    for item in items {
        if !distinct.contains(&item) {
            distinct.push(item);
        }
    }
    distinct
}

/// RFC 3501 §9: `fetch-att = "ENVELOPE" / "FLAGS" / "INTERNALDATE" / "RFC822" [".HEADER" / ".SIZE" / ".TEXT"] / "BODY"
/// ["STRUCTURE"] / "UID" / "BODY" section ["<" number "." nz-number ">"] / "BODY.PEEK" section [...]`
fn item(cursor: &mut Cursor<'_>, items: &mut Vec<FetchItem>) -> Result<()> {
    let name = cursor.take_while(|b| b.is_ascii_alphanumeric() || b == b'.').to_ascii_uppercase();
    let whole = |form, text| {
        let peek = form == BodyForm::Rfc822Header;
        FetchItem::Body(BodyItem { section: Section { part: Vec::new(), text }, peek, partial: None, form })
    };
    let section = cursor.peek() == Some(b'[');
    let item = match name.as_slice() {
        b"FLAGS" => FetchItem::Flags,
        b"UID" => FetchItem::Uid,
        b"INTERNALDATE" => FetchItem::InternalDate,
        b"RFC822.SIZE" => FetchItem::Size,
        b"ENVELOPE" => FetchItem::Envelope,
        b"MODSEQ" => FetchItem::ModSeq,
        b"BODYSTRUCTURE" => FetchItem::Structure { extended: true },
        b"BODY" if !section => FetchItem::Structure { extended: false },
        b"BODY" => body(cursor, false)?,
        b"BODY.PEEK" if section => body(cursor, true)?,
        b"BINARY" if section => binary(cursor, false)?,
        b"BINARY.PEEK" if section => binary(cursor, true)?,
        b"BINARY.SIZE" if section => FetchItem::BinarySize(section_binary(cursor)?),
        b"EMAILID" => FetchItem::EmailId,
        b"THREADID" => FetchItem::ThreadId,
        b"SAVEDATE" => FetchItem::SaveDate,
        b"PREVIEW" => preview(cursor)?,
        b"RFC822" => whole(BodyForm::Rfc822, None),
        b"RFC822.HEADER" => whole(BodyForm::Rfc822Header, Some(SectionText::Header)),
        b"RFC822.TEXT" => whole(BodyForm::Rfc822Text, Some(SectionText::Text)),
        b"ALL" => {
            items.extend([FetchItem::Flags, FetchItem::InternalDate, FetchItem::Size]);
            FetchItem::Envelope
        }
        b"FAST" => {
            items.extend([FetchItem::Flags, FetchItem::InternalDate]);
            FetchItem::Size
        }
        b"FULL" => {
            items.extend([FetchItem::Flags, FetchItem::InternalDate, FetchItem::Size, FetchItem::Envelope]);
            FetchItem::Structure { extended: false }
        }
        _ => return Err(ParseError::syntax("Unknown FETCH item")),
    };
    items.push(item);
    Ok(())
}

/// `section ["<" number "." nz-number ">"]`
fn body(cursor: &mut Cursor<'_>, peek: bool) -> Result<FetchItem> {
    let section = section(cursor)?;
    Ok(FetchItem::Body(BodyItem { section, peek, partial: partial(cursor)?, form: BodyForm::Body }))
}

/// RFC 8970 §6: `"PREVIEW" [SP "(" preview-mod *(SP preview-mod) ")"]`, `preview-mod = "LAZY"`
fn preview(cursor: &mut Cursor<'_>) -> Result<FetchItem> {
    // Another parenthesis holds modifiers of the FETCH.
    if !cursor.rest().get(..6).is_some_and(|rest| rest.eq_ignore_ascii_case(b" (LAZY")) {
        return Ok(FetchItem::Preview { lazy: false });
    }
    cursor.space()?;
    let modifiers = cursor.list(false, 10, |c| c.atom("Expected LAZY"))?;
    match modifiers.iter().all(|modifier| modifier.eq_ignore_ascii_case("LAZY")) {
        true => Ok(FetchItem::Preview { lazy: true }),
        false => Err(ParseError::syntax("Unknown modifier of PREVIEW")),
    }
}

/// RFC 3516 §7: `"BINARY" [".PEEK"] section-binary [partial]`
fn binary(cursor: &mut Cursor<'_>, peek: bool) -> Result<FetchItem> {
    let part = section_binary(cursor)?;
    Ok(FetchItem::Binary(BinaryItem { part, peek, partial: partial(cursor)? }))
}

/// RFC 3516 §7: `section-binary = "[" [section-part] "]"`
fn section_binary(cursor: &mut Cursor<'_>) -> Result<Vec<u32>> {
    match section(cursor)? {
        Section { part, text: None } => Ok(part),
        _ => Err(ParseError::syntax("BINARY takes part numbers only")),
    }
}

/// RFC 3516 §7: `partial = "<" number "." nz-number ">"`
fn partial(cursor: &mut Cursor<'_>) -> Result<Option<(u32, u32)>> {
    if !cursor.take(b'<') {
        return Ok(None);
    }
    let first = cursor.number("Invalid partial range")?;
    cursor.expect(b'.', "Invalid partial range")?;
    let count = cursor.nz_number("Invalid partial range")?;
    cursor.expect(b'>', "Invalid partial range")?;
    Ok(Some((first, count)))
}

/// RFC 3501 §9: `section = "[" [section-spec] "]"`, `section-spec = section-msgtext / (section-part ["." section-text])`,
/// `section-part = nz-number *("." nz-number)`, `section-text = section-msgtext / "MIME"`
pub(crate) fn section(cursor: &mut Cursor<'_>) -> Result<Section> {
    const WHAT: &str = "Invalid body section";
    cursor.expect(b'[', WHAT)?;
    let mut section = Section::default();
    let mut more = cursor.peek() != Some(b']');
    while more && cursor.peek().is_some_and(|b| b.is_ascii_digit()) {
        if section.part.len() == PART_DEPTH {
            return Err(ParseError::too_big("Body section is too deep"));
        }
        section.part.push(cursor.nz_number(WHAT)?);
        more = cursor.take(b'.');
    }
    if more {
        section.text = Some(section_text(cursor, !section.part.is_empty())?);
    }
    cursor.expect(b']', WHAT)?;
    Ok(section)
}

/// RFC 3501 §9: `section-msgtext = "HEADER" / "HEADER.FIELDS" [".NOT"] SP header-list / "TEXT"`,
/// `header-list = "(" header-fld-name *(SP header-fld-name) ")"`
fn section_text(cursor: &mut Cursor<'_>, in_part: bool) -> Result<SectionText> {
    if cursor.take_word("HEADER.FIELDS") {
        let not = cursor.take_word(".NOT");
        cursor.space()?;
        let names = cursor.list(false, FIELDS_LIMIT, |c| {
            let name = c.astring("Expected a header field name")?;
            // RFC 5322 §2.2: printable ASCII without a colon. Others can match nothing, and would be echoed.
            if name.iter().all(|b| (33..=126).contains(b) && *b != b':') {
                Ok(String::from_utf8_lossy(&name).into_owned())
            } else {
                Err(ParseError::syntax("Invalid header field name"))
            }
        })?;
        return Ok(SectionText::Fields { names, not });
    }
    if cursor.take_word("HEADER") {
        return Ok(SectionText::Header);
    }
    if cursor.take_word("TEXT") {
        return Ok(SectionText::Text);
    }
    if in_part && cursor.take_word("MIME") {
        return Ok(SectionText::Mime);
    }
    Err(ParseError::syntax("Invalid body section"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::tests::read;
    use crate::partial::PartialRange;

    fn items(text: &str) -> Vec<FetchItem> {
        match read(format!("FETCH 1 {text}").as_bytes()) {
            Ok(Some(Command::Fetch { items, .. })) => items,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn section_of(text: &str) -> (Vec<u32>, Option<SectionText>) {
        match items(&format!("BODY[{text}]")).pop() {
            Some(FetchItem::Body(item)) => (item.section.part, item.section.text),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn macros_and_lists() {
        let all = [FetchItem::Flags, FetchItem::InternalDate, FetchItem::Size, FetchItem::Envelope];
        assert_eq!(items("ALL"), all);
        assert_eq!(items("full")[..4], all);
        assert_eq!(items("(FLAGS UID FLAGS)"), [FetchItem::Flags, FetchItem::Uid]);
        assert_eq!(items("body"), [FetchItem::Structure { extended: false }]);
    }

    #[test]
    fn sections() {
        let fields = |not| Some(SectionText::Fields { names: vec!["From".into(), "To".into()], not });
        for (text, part, want) in [
            ("", vec![], None),
            ("1", vec![1], None),
            ("1.2.3", vec![1, 2, 3], None),
            ("HEADER", vec![], Some(SectionText::Header)),
            ("text", vec![], Some(SectionText::Text)),
            ("4.1.MIME", vec![4, 1], Some(SectionText::Mime)),
            ("HEADER.FIELDS (From To)", vec![], fields(false)),
            ("2.HEADER.FIELDS.NOT (\"From\" {2}\r\nTo)", vec![2], fields(true)),
        ] {
            assert_eq!(section_of(text), (part, want), "{text}");
        }
        for bad in ["MIME", "0", "1.", ".1", "1.0", "HEADER.FIELDS", "HEADER.FIELDS ()", "HEADER.FIELDS (a:)", "X", "1 ", "HEADERX"] {
            assert!(read(format!("FETCH 1 BODY[{bad}]").as_bytes()).is_err(), "{bad}");
        }
        assert!(read(format!("FETCH 1 BODY[{}1]", "1.".repeat(10_000)).as_bytes()).is_err());
    }

    #[test]
    fn partials_and_peek() {
        let Some(FetchItem::Body(item)) = items("BODY.PEEK[]<0.4294967295>").pop() else { panic!() };
        assert_eq!((item.peek, item.partial), (true, Some((0, u32::MAX))));
        for bad in ["BODY[]<0.0>", "BODY[]<1>", "BODY[]<4294967296.1>", "BODY.PEEK", "BODY[", "RFC822.PEEK", "(FLAGS", "FLAGS UID"] {
            assert!(read(format!("FETCH 1 {bad}").as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn rfc3516_binary() {
        let item = |part: &[u32], peek, partial| FetchItem::Binary(BinaryItem { part: part.to_vec(), peek, partial });
        for (text, want) in [
            ("BINARY[]", item(&[], false, None)),
            ("binary.peek[1.2]", item(&[1, 2], true, None)),
            ("BINARY[3]<0.10>", item(&[3], false, Some((0, 10)))),
            ("BINARY.SIZE[4]", FetchItem::BinarySize(vec![4])),
            ("BINARY.SIZE[]", FetchItem::BinarySize(vec![])),
        ] {
            assert_eq!(items(text), [want], "{text}");
        }
        for bad in
            ["BINARY", "BINARY[TEXT]", "BINARY[1.MIME]", "BINARY[0]", "BINARY[1.]", "BINARY[1]<0.0>", "BINARY.SIZE[1]<0.1>", "BINARY.SIZE"]
        {
            assert!(read(format!("FETCH 1 {bad}").as_bytes()).is_err(), "{bad}");
        }
        assert!(read(format!("FETCH 1 BINARY[{}1]", "1.".repeat(10_000)).as_bytes()).is_err());
    }

    #[test]
    fn rfc8474_ids_and_rfc8514_save_dates() {
        assert_eq!(items("(emailid THREADID SaveDate)"), [FetchItem::EmailId, FetchItem::ThreadId, FetchItem::SaveDate]);
        assert!(read(b"FETCH 1 EMAILID[1]").is_err());
    }

    #[test]
    fn rfc8970_preview() {
        assert_eq!(items("PREVIEW"), [FetchItem::Preview { lazy: false }]);
        assert_eq!(items("preview (lazy)"), [FetchItem::Preview { lazy: true }]);
        assert_eq!(items("(PREVIEW (LAZY) UID)"), [FetchItem::Preview { lazy: true }, FetchItem::Uid]);
        assert_eq!(items("(PREVIEW UID)"), [FetchItem::Preview { lazy: false }, FetchItem::Uid]);
        for bad in ["PREVIEW ()", "PREVIEW (HASTY)", "PREVIEW (LAZY", "PREVIEW[]"] {
            assert!(read(format!("FETCH 1 {bad}").as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn uid_fetch_always_answers_the_uid() {
        let Ok(Some(Command::Fetch { items, uid, .. })) = read(b"UID FETCH 1:* FLAGS") else { panic!() };
        assert!(uid);
        assert_eq!(items, [FetchItem::Uid, FetchItem::Flags]);
    }

    #[test]
    fn a_window_on_the_messages() {
        let partial = |text: &str| match read(text.as_bytes()) {
            Ok(Some(Command::Fetch { modifiers, .. })) => modifiers.partial,
            other => panic!("{text}: {other:?}"),
        };
        let range = |text: &str| PartialRange::parse(&mut Cursor::new(text.as_bytes())).ok();
        assert_eq!(partial("UID FETCH 1:* (UID FLAGS) (PARTIAL -1:-3)"), range("-1:-3"));
        assert_eq!(partial("UID FETCH 1:* FLAGS (partial 1:5)"), range("1:5"));
        assert_eq!(partial("UID FETCH 1:* PREVIEW (PARTIAL 1:5)"), range("1:5"));
        assert_eq!(partial("UID FETCH 1:* PREVIEW (LAZY) (PARTIAL 1:5)"), range("1:5"));
        assert_eq!(partial("UID FETCH 1:* FLAGS "), None);
        for bad in [
            "FETCH 1:* FLAGS (PARTIAL 1:5)",
            "UID FETCH 1:* FLAGS (PARTIAL 1:5 PARTIAL 1:5)",
            "UID FETCH 1:* FLAGS (PARTIAL 1:*)",
            "UID FETCH 1:* FLAGS (PARTIAL)",
            "UID FETCH 1:* FLAGS (X)",
            "UID FETCH 1:* FLAGS ()",
            "UID FETCH 1:* FLAGS PARTIAL",
            "UID FETCH 1:* PREVIEW (HASTY)",
        ] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_hundred_thousand_items_are_too_many() {
        let text = format!("FETCH 1 ({}UID)", "FLAGS ".repeat(100_000));
        assert!(read(text.as_bytes()).is_err());
    }
}
