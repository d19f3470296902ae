//! LIST, LSUB, STATUS, CREATE.

use super::{Result, decode_name, mailbox, spaced_mailbox};
use crate::command::{Command, List, ListReturn, ListSelect, SpecialUse, StatusItems};
use crate::cursor::{Cursor, is_list_char};
use crate::error::ParseError;

const PATTERNS_LIMIT: usize = 100;

/// RFC 5258 §6: `list = "LIST" [SP list-select-opts] SP mailbox SP mbox-or-pat [SP list-return-opts]`
pub(super) fn list(cursor: &mut Cursor<'_>) -> Result<Command> {
    let mut list = List::default();
    cursor.space()?;
    if cursor.peek() == Some(b'(') {
        list.extended = true;
        list.select = select_options(cursor)?;
        cursor.space()?;
    }
    list.reference = reference(cursor)?;
    cursor.space()?;
    // patterns = "(" list-mailbox *(SP list-mailbox) ")"
    if cursor.peek() == Some(b'(') {
        list.extended = true;
        list.patterns = cursor.list(false, PATTERNS_LIMIT, pattern)?;
    } else {
        list.patterns = vec![pattern(cursor)?];
    }
    if cursor.take(b' ') && !cursor.is_done() {
        list.extended = true;
        if !cursor.take_word("RETURN") {
            return Err(ParseError::syntax("Expected RETURN"));
        }
        cursor.space()?;
        list.returns = return_options(cursor, &mut list.metadata)?;
    }
    Ok(Command::List(list))
}

/// RFC 5258 §6: `list-select-opts`; RFC 6154 §6: `list-select-base-opt =/ "SPECIAL-USE"`.
fn select_options(cursor: &mut Cursor<'_>) -> Result<ListSelect> {
    let mut select = ListSelect::default();
    for option in cursor.list(true, 20, |c| c.atom("Invalid selection option"))? {
        match option.to_ascii_uppercase().as_str() {
            "SUBSCRIBED" => select.subscribed = true,
            "RECURSIVEMATCH" => select.recursive_match = true,
            "SPECIAL-USE" => select.special_use = true,
            // There are no remote mailboxes to add.
            "REMOTE" => {}
            _ => return Err(ParseError::syntax("Unknown selection option")),
        }
    }
    if select.recursive_match && !(select.subscribed || select.special_use) {
        return Err(ParseError::syntax("RECURSIVEMATCH needs another selection option"));
    }
    Ok(select)
}

/// RFC 5258 §6: `list-return-opts = "RETURN" SP "(" [return-option *(SP return-option)] ")"`; RFC 5819 §4:
/// `status-option = "STATUS" SP "(" status-att *(SP status-att) ")"`; RFC 6154 §6: `"SPECIAL-USE"`; RFC 9590: `"METADATA" SP "(" entry
/// *(SP entry) ")"`.
fn return_options(cursor: &mut Cursor<'_>, metadata: &mut Vec<String>) -> Result<ListReturn> {
    let mut returns = ListReturn::default();
    cursor.list(true, 20, |c| {
        match c.atom("Invalid return option")?.to_ascii_uppercase().as_str() {
            "SUBSCRIBED" => returns.subscribed = true,
            "CHILDREN" => returns.children = true,
            "SPECIAL-USE" => returns.special_use = true,
            // RFC 8440 §5
            "MYRIGHTS" => returns.my_rights = true,
            "STATUS" => {
                c.space()?;
                returns.status = Some(status_items(c)?);
            }
            "METADATA" => {
                c.space()?;
                *metadata = super::metadata::entries(c)?;
            }
            _ => return Err(ParseError::syntax("Unknown return option")),
        }
        Ok(())
    })?;
    Ok(returns)
}

/// RFC 3501 §9: `lsub = "LSUB" SP mailbox SP list-mailbox`
pub(super) fn lsub(cursor: &mut Cursor<'_>) -> Result<Command> {
    cursor.space()?;
    let reference = reference(cursor)?;
    cursor.space()?;
    Ok(Command::Lsub { reference, pattern: pattern(cursor)? })
}

/// The reference is a mailbox that may be empty.
fn reference(cursor: &mut Cursor<'_>) -> Result<String> {
    decode_name(&cursor.astring("Expected a reference name")?, cursor.dialect())
}

/// RFC 3501 §9: `list-mailbox = 1*list-char / string`
fn pattern(cursor: &mut Cursor<'_>) -> Result<String> {
    if matches!(cursor.peek(), Some(b'"' | b'{')) {
        return decode_name(&cursor.string("Expected a mailbox pattern")?, cursor.dialect());
    }
    let word = cursor.take_while(is_list_char);
    if word.is_empty() { Err(ParseError::syntax("Expected a mailbox pattern")) } else { decode_name(word, cursor.dialect()) }
}

/// RFC 3501 §9: `status = "STATUS" SP mailbox SP "(" status-att *(SP status-att) ")"`
pub(super) fn status(cursor: &mut Cursor<'_>) -> Result<Command> {
    let mailbox = spaced_mailbox(cursor)?;
    cursor.space()?;
    Ok(Command::Status { mailbox, items: status_items(cursor)? })
}

/// RFC 3501 §9: `status-att = "MESSAGES" / "RECENT" / "UIDNEXT" / "UIDVALIDITY" / "UNSEEN"`; RFC 9051 §9: `"DELETED"`; RFC 8438 §3:
/// `"SIZE"`; RFC 7889 §6: `"APPENDLIMIT"`; RFC 8474 §7: `"MAILBOXID"`; RFC 9208 §7: `"DELETED-STORAGE"`; RFC 7162 §7: `"HIGHESTMODSEQ"`
fn status_items(cursor: &mut Cursor<'_>) -> Result<StatusItems> {
    let mut items = StatusItems::default();
    cursor.list(false, 50, |c| {
        match c.atom("Expected a status item")?.to_ascii_uppercase().as_str() {
            "MESSAGES" => items.messages = true,
            "RECENT" => items.recent = true,
            "UIDNEXT" => items.uid_next = true,
            "UIDVALIDITY" => items.uid_validity = true,
            "UNSEEN" => items.unseen = true,
            "DELETED" => items.deleted = true,
            "DELETED-STORAGE" => items.deleted_storage = true,
            "SIZE" => items.size = true,
            "APPENDLIMIT" => items.append_limit = true,
            "MAILBOXID" => items.mailbox_id = true,
            "HIGHESTMODSEQ" => items.highest_modseq = true,
            _ => return Err(ParseError::syntax("Unknown status item")),
        }
        Ok(())
    })?;
    Ok(items)
}

/// RFC 3501 §9: `create = "CREATE" SP mailbox`; RFC 6154 §6: `create-param =/ "USE" SP "(" [use-attr *(SP use-attr)] ")"`
/// in `"(" create-param *(SP create-param) ")"` (RFC 4466 §2.2).
pub(super) fn create(cursor: &mut Cursor<'_>) -> Result<Command> {
    cursor.space()?;
    let mailbox = mailbox(cursor)?;
    let mut special_use = None;
    if cursor.take(b' ') && !cursor.is_done() {
        cursor.list(false, 1, |c| {
            if !c.take_word("USE") {
                return Err(ParseError::syntax("Unknown CREATE parameter"));
            }
            c.space()?;
            let uses = c.list(true, 7, |c| {
                c.expect(b'\\', "Expected a special use")?;
                let name = c.atom("Expected a special use")?;
                let known = SpecialUse::EVERY.into_iter().find(|u| u.name()[1..].eq_ignore_ascii_case(name));
                known.ok_or(ParseError::syntax("Unknown special use"))
            })?;
            special_use = uses.first().copied();
            Ok(())
        })?;
    }
    Ok(Command::Create { mailbox, special_use })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Mailbox;
    use crate::parse::tests::read;

    fn listed(text: &str) -> List {
        match read(text.as_bytes()) {
            Ok(Some(Command::List(list))) => list,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn list_old_and_extended() {
        let plain = listed("LIST \"\" *");
        assert_eq!((plain.reference.as_str(), plain.patterns, plain.extended), ("", vec!["*".to_owned()], false));
        assert_eq!(listed("LIST \"\" \"%/Envoy&AOk-s*\"").patterns, ["%/Envoyés*"]);
        let full =
            listed("LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (INBOX %) RETURN (CHILDREN SPECIAL-USE MYRIGHTS STATUS (MESSAGES UNSEEN))");
        assert!(full.returns.my_rights);
        assert_eq!(full.patterns, ["INBOX", "%"]);
        assert!(full.select.subscribed && full.select.recursive_match && full.returns.children && full.returns.special_use);
        assert_eq!(full.returns.status, Some(StatusItems { messages: true, unseen: true, ..Default::default() }));
        // RFC 9590
        let annotated = listed("LIST \"\" % RETURN (METADATA (\"/shared/vendor/Color\" /private/comment) CHILDREN)");
        assert_eq!(annotated.metadata, ["/shared/vendor/color", "/private/comment"]);
        assert!(annotated.returns.children);
        assert!(listed("LIST () \"\" % RETURN ()").extended);
        assert!(listed("LIST (REMOTE SPECIAL-USE) \"\" *").select.special_use);
        for bad in [
            "LIST",
            "LIST \"\"",
            "LIST \"\" ()",
            "LIST (RECURSIVEMATCH) \"\" *",
            "LIST (X) \"\" *",
            "LIST \"\" * FOO ()",
            "LIST \"\" * RETURN (STATUS)",
            "LIST \"\" * RETURN (METADATA)",
            "LIST \"\" * RETURN (METADATA ())",
            "LIST \"\" * RETURN (METADATA (comment))",
        ] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn status_and_create() {
        let all = StatusItems { messages: true, recent: true, uid_next: true, uid_validity: true, unseen: true, ..Default::default() };
        let want = StatusItems { deleted: true, deleted_storage: true, size: true, append_limit: true, mailbox_id: true, ..all };
        assert_eq!(
            read(b"STATUS inbox (messages RECENT UIDNEXT UIDVALIDITY UNSEEN DELETED DELETED-STORAGE SIZE APPENDLIMIT MAILBOXID)"),
            Ok(Some(Command::Status { mailbox: Mailbox("INBOX".into()), items: want }))
        );
        assert!(read(b"STATUS INBOX ()").is_err());
        assert_eq!(
            read(b"CREATE Bin (USE (\\trash))"),
            Ok(Some(Command::Create { mailbox: Mailbox("Bin".into()), special_use: Some(SpecialUse::Trash) }))
        );
        assert!(read(b"CREATE Bin (USE (\\Foo))").is_err());
    }
}
