//! What CONDSTORE and QRESYNC add to other commands (RFC 7162 §7).

use super::Result;
use crate::command::{Command, FetchModifiers, Mailbox, Resync, SelectParameters};
use crate::cursor::Cursor;
use crate::error::ParseError;
use crate::partial::PartialRange;
use crate::sequence::SequenceSet;

/// RFC 7162 §7: `mod-sequence-valzer = "0" / mod-sequence-value`, below 2^63.
pub(super) fn modseq(cursor: &mut Cursor<'_>) -> Result<u64> {
    cursor.number64("Invalid mod-sequence")
}

/// RFC 3501 §9: `select = "SELECT" SP mailbox`; RFC 4466 §2.1: `[SP "(" select-param *(SP select-param) ")"]`
pub(super) fn select(cursor: &mut Cursor<'_>, read_only: bool) -> Result<Command> {
    cursor.space()?;
    let mailbox: Mailbox = super::mailbox(cursor)?;
    let mut parameters = SelectParameters::default();
    if cursor.rest().starts_with(b" (") {
        cursor.space()?;
        cursor.list(false, 10, |c| select_parameter(c, &mut parameters))?;
    }
    Ok(Command::Select { mailbox, read_only, parameters })
}

/// RFC 7162 §7: `condstore-param = "CONDSTORE"`, `select-param =/ "QRESYNC" SP "(" uidvalidity SP mod-sequence-value [SP known-uids]
/// [SP seq-match-data] ")"`
fn select_parameter(cursor: &mut Cursor<'_>, parameters: &mut SelectParameters) -> Result<()> {
    match cursor.atom("Expected a parameter")?.to_ascii_uppercase().as_str() {
        "CONDSTORE" => parameters.condstore = true,
        "QRESYNC" if parameters.resync.is_none() => {
            cursor.space()?;
            parameters.resync = Some(resync(cursor)?);
        }
        _ => return Err(ParseError::syntax("Unknown SELECT parameter")),
    }
    Ok(())
}

fn resync(cursor: &mut Cursor<'_>) -> Result<Resync> {
    const WHAT: &str = "Invalid QRESYNC parameter";
    cursor.expect(b'(', WHAT)?;
    let uid_validity = cursor.nz_number(WHAT)?;
    cursor.space()?;
    let modseq = modseq(cursor)?;
    if modseq == 0 {
        return Err(ParseError::syntax("Mod-sequence may not be zero"));
    }
    let mut resync = Resync { uid_validity, modseq, known: None, samples: None };
    let mut more = cursor.take(b' ');
    if more && cursor.peek() != Some(b'(') {
        resync.known = Some(known_set(cursor)?);
        more = cursor.take(b' ');
    }
    if more {
        // RFC 7162 §7: `seq-match-data = "(" known-sequence-set SP known-uid-set ")"`
        cursor.expect(b'(', WHAT)?;
        let numbers = known_set(cursor)?;
        cursor.space()?;
        resync.samples = Some((numbers, known_set(cursor)?));
        cursor.expect(b')', WHAT)?;
    }
    cursor.expect(b')', WHAT)?;
    Ok(resync)
}

/// RFC 7162 §7: `known-uids = sequence-set`, without `*`.
fn known_set(cursor: &mut Cursor<'_>) -> Result<SequenceSet> {
    let set = SequenceSet::parse(cursor)?;
    if set.has_star() || set.is_saved() { Err(ParseError::syntax("This set names its numbers")) } else { Ok(set) }
}

/// RFC 4466 §2.4: `[SP "(" fetch-modifier *(SP fetch-modifier) ")"]`; RFC 7162 §7: `"CHANGEDSINCE" SP mod-sequence-value`, `"VANISHED"`.
/// Zero for "from the beginning" is let through, as Dovecot does.
pub(super) fn fetch_modifiers(cursor: &mut Cursor<'_>, uid: bool) -> Result<FetchModifiers> {
    let mut modifiers = FetchModifiers::default();
    if !cursor.rest().starts_with(b" (") {
        return Ok(modifiers);
    }
    cursor.space()?;
    cursor.list(false, 10, |c| {
        match c.atom("Expected a modifier")?.to_ascii_uppercase().as_str() {
            "CHANGEDSINCE" if modifiers.changed_since.is_none() => {
                c.space()?;
                modifiers.changed_since = Some(modseq(c)?);
            }
            "VANISHED" => modifiers.vanished = true,
            // RFC 9394 §4: `fetch-modifier =/ "PARTIAL" SP partial-range`, for UID FETCH (§3.3).
            "PARTIAL" if uid && modifiers.partial.is_none() => {
                c.space()?;
                modifiers.partial = Some(PartialRange::parse(c)?);
            }
            _ => return Err(ParseError::syntax("Unknown FETCH modifier")),
        }
        Ok(())
    })?;
    // RFC 7162 §3.2.6
    if modifiers.vanished && (!uid || modifiers.changed_since.is_none()) {
        return Err(ParseError::syntax("VANISHED goes with UID FETCH and CHANGEDSINCE"));
    }
    Ok(modifiers)
}

/// RFC 4466 §2.5: `[SP "(" store-modifier *(SP store-modifier) ")"]`; RFC 7162 §7: `"UNCHANGEDSINCE" SP mod-sequence-valzer`, one only.
pub(super) fn unchanged_since(cursor: &mut Cursor<'_>) -> Result<Option<u64>> {
    if !cursor.rest().starts_with(b" (") {
        return Ok(None);
    }
    cursor.space()?;
    let found = cursor.list(false, 1, |c| {
        if !c.take_word("UNCHANGEDSINCE") {
            return Err(ParseError::syntax("Unknown STORE modifier"));
        }
        c.space()?;
        modseq(c)
    })?;
    Ok(found.first().copied())
}

/// RFC 7162 §7: `search-modsequence = "MODSEQ" [SP entry-name SP entry-type-req] SP mod-sequence-valzer`. A message has one mod-sequence for
/// all its flags, so the entry is read and forgotten (§3.1.5).
pub(super) fn search_modseq(cursor: &mut Cursor<'_>) -> Result<u64> {
    cursor.space()?;
    if cursor.peek() == Some(b'"') {
        let name = cursor.string("Expected an entry name")?;
        if !name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"/flags/")) || name.len() == 7 {
            return Err(ParseError::syntax("Invalid entry name"));
        }
        cursor.space()?;
        if !["priv", "shared", "all"].iter().any(|kind| cursor.take_word(kind)) {
            return Err(ParseError::syntax("Expected priv, shared or all"));
        }
        cursor.space()?;
    }
    modseq(cursor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{FetchItem, Search, SearchKey, Store};
    use crate::parse::tests::read;

    fn set(text: &str) -> SequenceSet {
        SequenceSet::parse(&mut Cursor::new(text.as_bytes())).unwrap()
    }

    #[test]
    fn select_with_parameters() {
        let resync = |known: Option<&str>, samples: Option<(&str, &str)>| {
            let samples = samples.map(|(numbers, uids)| (set(numbers), set(uids)));
            Some(Resync { uid_validity: 67890007, modseq: 20050715194045000, known: known.map(set), samples })
        };
        for (text, condstore, resync) in [
            ("a", false, None),
            ("a (CONDSTORE)", true, None),
            ("a (qresync (67890007 20050715194045000))", false, resync(None, None)),
            ("a (QRESYNC (67890007 20050715194045000 41,43:211))", false, resync(Some("41,43:211"), None)),
            ("a (QRESYNC (67890007 20050715194045000 1:9 (1,5 2,8)) CONDSTORE)", true, resync(Some("1:9"), Some(("1,5", "2,8")))),
            ("a (QRESYNC (67890007 20050715194045000 (1 2)))", false, resync(None, Some(("1", "2")))),
        ] {
            let want =
                Command::Select { mailbox: Mailbox("a".into()), read_only: true, parameters: SelectParameters { condstore, resync } };
            assert_eq!(read(format!("EXAMINE {text}").as_bytes()), Ok(Some(want)), "{text}");
        }
        for bad in [
            "a ()",
            "a CONDSTORE",
            "a (FOO)",
            "a (QRESYNC)",
            "a (QRESYNC 1 2)",
            "a (QRESYNC (0 1))",
            "a (QRESYNC (1 0))",
            "a (QRESYNC (1))",
            "a (QRESYNC (1 9223372036854775808))",
            "a (QRESYNC (1 2 1:*))",
            "a (QRESYNC (1 2 $))",
            "a (QRESYNC (1 2 3 4))",
            "a (QRESYNC (1 2 3 (4)))",
            "a (QRESYNC (1 2 3 (4 *)))",
            "a (QRESYNC (1 2 3 (4 5) 6))",
            "a (QRESYNC (1 2) QRESYNC (1 2))",
        ] {
            assert!(read(format!("SELECT {bad}").as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn fetch_with_modifiers() {
        for (text, changed_since, vanished) in [
            ("UID FETCH 1:* (FLAGS)", None, false),
            ("UID FETCH 1:* (FLAGS) (CHANGEDSINCE 12345)", Some(12345), false),
            ("UID FETCH 1:* FLAGS (changedsince 0 vanished)", Some(0), true),
            ("UID FETCH 1:* FLAGS (VANISHED CHANGEDSINCE 9223372036854775807)", Some(i64::MAX as u64), true),
            ("FETCH 1:2 ALL (CHANGEDSINCE 1)", Some(1), false),
        ] {
            let Ok(Some(Command::Fetch { modifiers, items, .. })) = read(text.as_bytes()) else { panic!("{text}") };
            assert_eq!(modifiers, FetchModifiers { changed_since, vanished, partial: None }, "{text}");
            // RFC 7162 §3.1.4.1
            assert_eq!(items.contains(&FetchItem::ModSeq), changed_since.is_some(), "{text}");
        }
        for bad in [
            "UID FETCH 1 FLAGS (VANISHED)",
            "FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)",
            "UID FETCH 1 FLAGS ()",
            "UID FETCH 1 FLAGS (CHANGEDSINCE)",
            "UID FETCH 1 FLAGS (CHANGEDSINCE -1)",
            "UID FETCH 1 FLAGS (CHANGEDSINCE 1 CHANGEDSINCE 2)",
            "UID FETCH 1 FLAGS (FOO)",
        ] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
        let Ok(Some(Command::Fetch { items, .. })) = read(b"FETCH 1 (MODSEQ)") else { panic!() };
        assert_eq!(items, [FetchItem::ModSeq]);
    }

    #[test]
    fn store_with_a_condition() {
        for (text, want) in [
            ("STORE 1 +FLAGS (\\Seen)", None),
            ("STORE 1 (UNCHANGEDSINCE 0) +FLAGS (\\Seen)", Some(0)),
            ("UID STORE 6,4,8 (unchangedsince 12121230045) +FLAGS.SILENT (\\Deleted)", Some(12121230045)),
        ] {
            let Ok(Some(Command::Store(Store { unchanged_since, .. }))) = read(text.as_bytes()) else { panic!("{text}") };
            assert_eq!(unchanged_since, want, "{text}");
        }
        for bad in ["()", "(UNCHANGEDSINCE)", "(UNCHANGEDSINCE 1 UNCHANGEDSINCE 2)", "(FOO 1)", "(UNCHANGEDSINCE 1)("] {
            assert!(read(format!("STORE 1 {bad} FLAGS ()").as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn search_by_modseq() {
        for text in ["MODSEQ 620162338", "MODSEQ \"/flags/\\\\draft\" all 620162338", "modseq \"/flags/$MDNSent\" priv 620162338"] {
            let Ok(Some(Command::Search(Search { key, .. }))) = read(format!("SEARCH {text}").as_bytes()) else { panic!("{text}") };
            assert_eq!(key, SearchKey::ModSeq(620162338), "{text}");
        }
        for bad in
            ["MODSEQ", "MODSEQ x", "MODSEQ \"/flags/\" all 1", "MODSEQ \"x\" all 1", "MODSEQ \"/flags/a\" 1", "MODSEQ \"/flags/a\" none 1"]
        {
            assert!(read(format!("SEARCH {bad}").as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_makes_a_client_aware_of_modseqs() {
        for (text, want) in [
            ("SELECT a", false),
            ("SELECT a (CONDSTORE)", true),
            ("STATUS a (MESSAGES)", false),
            ("STATUS a (HIGHESTMODSEQ)", true),
            ("LIST \"\" * RETURN (STATUS (HIGHESTMODSEQ))", true),
            ("FETCH 1 FLAGS", false),
            ("FETCH 1 MODSEQ", true),
            ("UID FETCH 1 FLAGS (CHANGEDSINCE 1)", true),
            ("SEARCH OR NOT (MODSEQ 1) ALL", true),
            ("SORT (DATE) UTF-8 MODSEQ 1", true),
            ("SEARCH ALL", false),
            ("STORE 1 (UNCHANGEDSINCE 1) FLAGS ()", true),
            ("STORE 1 FLAGS ()", false),
            ("NOOP", false),
        ] {
            let command = read(text.as_bytes()).unwrap().unwrap();
            assert_eq!(command.uses_modseqs(), want, "{text}");
        }
    }
}
