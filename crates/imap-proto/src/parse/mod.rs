//! From the bytes of one command to [`Command`].
//!
//! Each function has its ABNF above it. The functions that can nest (search keys) count their depth; everything else is
//! a loop.

mod acl;
mod append;
mod condstore;
mod fetch;
mod filter;
mod list;
mod metadata;
mod notify;
mod quota;
mod search;
pub mod session;

pub(crate) use fetch::section;

pub use append::{Announced, AppendStart, Place, append_more, append_start};

use crate::command::{Command, Flag, FlagChange, Mailbox, Store};
use crate::cursor::{Cursor, Dialect, is_astring_char};
use crate::error::ParseError;
use crate::mutf7;
use crate::sequence::SequenceSet;

pub(crate) type Result<T> = std::result::Result<T, ParseError>;

/// Longest tag, as in Dovecot (SECURITY: unauthenticated clients may not make us echo much).
pub const TAG_LIMIT: usize = 126;
/// Longest mailbox name in bytes of UTF-8: the file system's limit is far below.
const MAILBOX_LIMIT: usize = 4096;
/// Flags one command may name.
const FLAGS_LIMIT: usize = 1000;

/// RFC 3501 §9: `tag = 1*<any ASTRING-CHAR except "+">`. `None` when there is none.
pub fn tag(cursor: &mut Cursor<'_>) -> Option<String> {
    let tag = cursor.take_while(|b| is_astring_char(b) && b != b'+');
    (!tag.is_empty() && tag.len() <= TAG_LIMIT).then(|| String::from_utf8_lossy(tag).into_owned())
}

/// The arguments of `verb`, which the cursor has just passed. `Ok(None)` when nobody knows the verb.
///
/// APPEND is not here: its message is cut by the framer and never in memory as a whole (`append.rs`).
pub fn command(verb: &str, cursor: &mut Cursor<'_>) -> Result<Option<Command>> {
    let parsed = match verb {
        "CAPABILITY" => Command::Capability,
        "NOOP" => Command::Noop,
        "LOGOUT" => Command::Logout,
        "ID" => session::id(cursor)?,
        "STARTTLS" => Command::StartTls,
        "LOGIN" => session::login(cursor)?,
        "AUTHENTICATE" => session::authenticate(cursor)?,
        "UNAUTHENTICATE" => Command::Unauthenticate,
        "COMPRESS" => session::compress(cursor)?,
        "ENABLE" => session::enable(cursor)?,
        "NAMESPACE" => Command::Namespace,
        "SELECT" => condstore::select(cursor, false)?,
        "EXAMINE" => condstore::select(cursor, true)?,
        "CREATE" => list::create(cursor)?,
        "DELETE" => Command::Delete(spaced_mailbox(cursor)?),
        "RENAME" => Command::Rename { from: spaced_mailbox(cursor)?, to: spaced_mailbox(cursor)? },
        "SUBSCRIBE" => Command::Subscribe { mailbox: spaced_mailbox(cursor)?, on: true },
        "UNSUBSCRIBE" => Command::Subscribe { mailbox: spaced_mailbox(cursor)?, on: false },
        "LIST" => list::list(cursor)?,
        "LSUB" => list::lsub(cursor)?,
        "STATUS" => list::status(cursor)?,
        "GETQUOTA" => quota::get_quota(cursor)?,
        "GETQUOTAROOT" => Command::GetQuotaRoot(spaced_mailbox(cursor)?),
        "SETQUOTA" => quota::set_quota(cursor)?,
        "GETMETADATA" => metadata::get_metadata(cursor)?,
        "SETMETADATA" => metadata::set_metadata(cursor)?,
        "SETACL" => acl::set_acl(cursor)?,
        "DELETEACL" => acl::delete_acl(cursor)?,
        "GETACL" => Command::GetAcl(spaced_mailbox(cursor)?),
        "LISTRIGHTS" => acl::list_rights(cursor)?,
        "MYRIGHTS" => Command::MyRights(spaced_mailbox(cursor)?),
        "IDLE" => Command::Idle,
        "NOTIFY" => notify::notify(cursor)?,
        "CHECK" => Command::Check,
        "CLOSE" => Command::Close,
        "UNSELECT" => Command::Unselect,
        "EXPUNGE" => Command::Expunge(None),
        "UID EXPUNGE" => Command::Expunge(Some(spaced_set(cursor)?)),
        "ESEARCH" => search::esearch(cursor)?,
        "CANCELUPDATE" => search::cancel_update(cursor)?,
        "SEARCH" => Command::Search(search::search(cursor, false)?),
        "UID SEARCH" => Command::Search(search::search(cursor, true)?),
        "SORT" => Command::Sort(search::sort(cursor, false)?),
        "UID SORT" => Command::Sort(search::sort(cursor, true)?),
        "THREAD" => search::thread(cursor, false)?,
        "UID THREAD" => search::thread(cursor, true)?,
        "FETCH" => fetch::fetch(cursor, false)?,
        "UID FETCH" => fetch::fetch(cursor, true)?,
        "STORE" => store(cursor, false)?,
        "UID STORE" => store(cursor, true)?,
        "COPY" => copy(cursor, false, false)?,
        "UID COPY" => copy(cursor, true, false)?,
        "MOVE" => copy(cursor, false, true)?,
        "UID MOVE" => copy(cursor, true, true)?,
        _ => return Ok(None),
    };
    cursor.end()?;
    Ok(Some(parsed))
}

/// RFC 3501 §9: `mailbox = "INBOX" / astring`, in modified UTF-7 (§5.1.3).
pub(crate) fn mailbox(cursor: &mut Cursor<'_>) -> Result<Mailbox> {
    let name = cursor.astring("Expected a mailbox name")?;
    let name = decode_name(&name, cursor.dialect())?;
    if name.is_empty() {
        return Err(ParseError::bad_mailbox("Mailbox name is empty"));
    }
    Ok(Mailbox(name))
}

/// A mailbox name or LIST pattern (wildcards are plain ASCII). RFC 6855 §3: what is not ASCII is UTF-8 also from who enabled nothing.
pub(crate) fn decode_name(name: &[u8], dialect: Dialect) -> Result<String> {
    if name.len() > MAILBOX_LIMIT {
        return Err(ParseError::bad_mailbox("Mailbox name is too long"));
    }
    if name.eq_ignore_ascii_case(b"INBOX") {
        return Ok("INBOX".to_owned());
    }
    if dialect.utf8_names || !name.is_ascii() {
        return match std::str::from_utf8(name) {
            Ok(name) => Ok(name.to_owned()),
            Err(_) if dialect.utf8_only => Err(ParseError::syntax("Mailbox name is not UTF-8")),
            Err(_) => Err(ParseError::bad_mailbox("Mailbox name is not UTF-8")),
        };
    }
    mutf7::decode(name).ok_or(ParseError::bad_mailbox("Mailbox name is not valid modified UTF-7"))
}

fn spaced_mailbox(cursor: &mut Cursor<'_>) -> Result<Mailbox> {
    cursor.space()?;
    mailbox(cursor)
}

fn spaced_set(cursor: &mut Cursor<'_>) -> Result<SequenceSet> {
    cursor.space()?;
    SequenceSet::parse(cursor)
}

/// RFC 3501 §9: `flag = "\Answered" / "\Flagged" / "\Deleted" / "\Seen" / "\Draft" / flag-keyword / flag-extension`.
/// `None` for `\Recent`, which no client can set.
pub(crate) fn flag(cursor: &mut Cursor<'_>) -> Result<Option<Flag>> {
    if !cursor.take(b'\\') {
        return Ok(Some(Flag::Keyword(cursor.atom("Invalid flag")?.to_owned())));
    }
    Ok(Some(match cursor.atom("Invalid flag")?.to_ascii_lowercase().as_str() {
        "seen" => Flag::Seen,
        "answered" => Flag::Answered,
        "flagged" => Flag::Flagged,
        "deleted" => Flag::Deleted,
        "draft" => Flag::Draft,
        "recent" => return Ok(None),
        _ => return Err(ParseError::syntax("Invalid system flag")),
    }))
}

/// RFC 3501 §9: `flag-list = "(" [flag *(SP flag)] ")"`. `\Recent` in it is passed over: clients copy FLAGS responses back.
pub(crate) fn flag_list(cursor: &mut Cursor<'_>) -> Result<Vec<Flag>> {
    Ok(cursor.list(true, FLAGS_LIMIT, flag)?.into_iter().flatten().collect())
}

/// RFC 3501 §9: `store = "STORE" SP sequence-set [store-modifiers] SP store-att-flags`,
/// `store-att-flags = (["+" / "-"] "FLAGS" [".SILENT"]) SP (flag-list / (flag *(SP flag)))`
fn store(cursor: &mut Cursor<'_>, uid: bool) -> Result<Command> {
    let set = spaced_set(cursor)?;
    let unchanged_since = condstore::unchanged_since(cursor)?;
    cursor.space()?;
    let change = match cursor.peek() {
        Some(b'+') => FlagChange::Add,
        Some(b'-') => FlagChange::Remove,
        _ => FlagChange::Replace,
    };
    let _ = cursor.take(b'+') || cursor.take(b'-');
    if !cursor.take_word("FLAGS") {
        return Err(ParseError::syntax("Expected FLAGS, +FLAGS or -FLAGS"));
    }
    let silent = cursor.take_word(".SILENT");
    cursor.space()?;
    let flags = if cursor.peek() == Some(b'(') {
        flag_list(cursor)?
    } else {
        let mut flags = Vec::new();
        loop {
            flags.extend(flag(cursor)?);
            if flags.len() > FLAGS_LIMIT {
                return Err(ParseError::too_big("Too many flags"));
            }
            if !cursor.take(b' ') {
                break flags;
            }
        }
    };
    Ok(Command::Store(Store { set, uid, unchanged_since, change, silent, flags }))
}

/// RFC 3501 §9: `copy = "COPY" SP sequence-set SP mailbox`; RFC 6851 §5: `move = "MOVE" SP sequence-set SP mailbox`
fn copy(cursor: &mut Cursor<'_>, uid: bool, remove: bool) -> Result<Command> {
    Ok(Command::Copy { set: spaced_set(cursor)?, uid, mailbox: spaced_mailbox(cursor)?, remove })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ParseErrorKind;

    pub(crate) fn read(text: &[u8]) -> Result<Option<Command>> {
        let mut cursor = Cursor::new(text);
        let mut verb = cursor.atom("verb")?.to_ascii_uppercase();
        if verb == "UID" {
            cursor.space()?;
            verb = format!("UID {}", cursor.atom("verb")?.to_ascii_uppercase());
        }
        command(&verb, &mut cursor)
    }

    #[test]
    fn store_in_all_its_forms() {
        for (text, change, silent, flags) in [
            (&b"STORE 1 FLAGS (\\Seen)"[..], FlagChange::Replace, false, vec![Flag::Seen]),
            (b"STORE 1 +flags.silent (\\deleted $Junk)", FlagChange::Add, true, vec![Flag::Deleted, Flag::Keyword("$Junk".into())]),
            (b"STORE 1 -FLAGS \\Seen \\Draft", FlagChange::Remove, false, vec![Flag::Seen, Flag::Draft]),
            (b"STORE 1 FLAGS ()", FlagChange::Replace, false, vec![]),
            (b"STORE 1 FLAGS (\\Recent \\Seen)", FlagChange::Replace, false, vec![Flag::Seen]),
        ] {
            let want = Command::Store(Store { set: SequenceSet::single(1), uid: false, unchanged_since: None, change, silent, flags });
            assert_eq!(read(text), Ok(Some(want)), "{}", text.escape_ascii());
        }
        for bad in [
            "STORE 1 FLAGS",
            "STORE 1 ++FLAGS (\\Seen)",
            "STORE FLAGS ()",
            "STORE 1 FLAGS (\\Foo)",
            "STORE 1 FLAGS (a]b)",
            "STORE 1 FLAGS ",
        ] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn mailbox_names_are_decoded_and_inbox_is_inbox() {
        for (text, want) in [
            ("SELECT inBox", "INBOX"),
            ("SELECT \"Envoy&AOk-s\"", "Envoyés"),
            ("SELECT {3}\r\na b", "a b"),
            ("SELECT \"caf\u{e9}&\"", "caf\u{e9}&"),
        ] {
            let want = Command::Select { mailbox: Mailbox(want.into()), read_only: false, parameters: Default::default() };
            assert_eq!(read(text.as_bytes()), Ok(Some(want)), "{text}");
        }
        for bad in ["SELECT &AOk", "SELECT \"\"", "SELECT a b", "SELECT"] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    /// RFC 6855 §3
    #[test]
    fn names_are_utf8_for_who_enabled_it() {
        let read = |text: &[u8], utf8_only| {
            let mut cursor = Cursor::in_dialect(text, Dialect { utf8_names: true, utf8_only });
            command("SELECT", &mut cursor)
        };
        let select =
            |name: &str| Ok(Some(Command::Select { mailbox: Mailbox(name.into()), read_only: false, parameters: Default::default() }));
        assert_eq!(read(" \"Envoy\u{e9}s\"".as_bytes(), true), select("Envoy\u{e9}s"));
        assert_eq!(read(b" Envoy&AOk-s", false), select("Envoy&AOk-s"));
        assert_eq!(read(b" {2}\r\n\xc3\xa9", true), select("\u{e9}"));
        for bad in [&b" \"a\xff\""[..], b" {1}\r\n\xc3", b" \xc3\xa9"] {
            assert_eq!(read(bad, true).map_err(|error| error.kind), Err(ParseErrorKind::Syntax), "{}", bad.escape_ascii());
        }
        let mut cursor = Cursor::in_dialect(b" CHARSET UTF-8 ALL", Dialect { utf8_names: true, utf8_only: true });
        assert!(command("SEARCH", &mut cursor).is_err());
    }

    #[test]
    fn commands_without_arguments_take_none() {
        assert_eq!(read(b"NOOP "), Ok(Some(Command::Noop)));
        assert!(read(b"NOOP x").is_err());
        assert_eq!(read(b"XYZZY"), Ok(None));
    }
}
