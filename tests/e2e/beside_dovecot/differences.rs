//! Where our answers are others than those of Dovecot 2.3, and why.

/// Messages that are not what mail should be, by number: the items of FETCH that come out otherwise.
const MESSAGES: [(u32, &[&str], &str); 13] = [
    (5, &["ENVELOPE"], "a tab that folds stays a tab (RFC 5322 §2.2.3); Dovecot shows a space"),
    (
        8,
        &["BODY", "BODYSTRUCTURE", "BODY[3]", "BODY[3.TEXT]"],
        "the line end before a boundary belongs to it, also behind an inner end (RFC 2046 §5.1.1)",
    ),
    (11, &["BODY[1.MIME]"], "a part without header has the empty line that ends it"),
    (13, &["BODY", "BODYSTRUCTURE", "BODY[1]", "BODY[1.MIME]", "BINARY"], "without a boundary there are no parts: we show the text"),
    (14, &["BODY", "BODYSTRUCTURE"], "of a type without subtype, and a disposition of nothing, we show the default"),
    (17, &["BODY[HEADER.FIELDS.NOT"], "fields are followed by an empty line, also where the header has none"),
    (20, &["BODY[HEADER.FIELDS.NOT"], "the same where lines are no fields"),
    (21, &["ENVELOPE"], "of a field that comes twice the first one counts; a comma alone is no address"),
    (31, &["ENVELOPE"], "a quoted string alone is taken for an address, not for a name"),
    (33, &["ENVELOPE"], "an address is one also when the > is missing"),
    (7, &["BODY[1.1]"], "text has no part 1 (RFC 3501 §6.4.5)"),
    (8, &["BODY[1.1]"], "nor has this"),
    (9, &["BODY[1.1]"], "nor this"),
];

/// Commands that are answered otherwise.
pub const COMMANDS: [(&str, &str); 34] = [
    ("FETCH 14 BINARY.PEEK[1]", "Dovecot says NO and shows the UID; we say NO [UNKNOWN-CTE] (RFC 3516 §4.3)"),
    ("SEARCH UNKEYWORD $x", "looking for a keyword does not make it"),
    ("SEARCH KEYWORD nothere", "looking for a keyword does not make it"),
    ("SEARCH NEW", "what was put into cur/ is not recent; Dovecot takes all for recent when it has no uidlist"),
    ("SEARCH OLD", "the same"),
    ("SEARCH RECENT", "the same"),
    ("SEARCH CHARSET X-NONE SUBJECT x", "we name the charsets (RFC 3501 §6.4.4)"),
    ("SEARCH SENTBEFORE 1-Jan-2000", "a message without Date was not sent before any day"),
    ("SEARCH BEFORE 32-Jan-2020", "there is no such day"),
    ("SORT (TO) UTF-8 ALL", "see the ENVELOPE of 21 and 31"),
    ("SORT (DISPLAYTO) UTF-8 ALL", "see the ENVELOPE of 21 and 31"),
    ("THREAD REFS UTF-8 ALL", "threads come in the order of arrival, not of Date"),
    ("LIST (SUBSCRIBED) \"\" *", "we tell of children too (RFC 5258 §3.1: may)"),
    ("LIST (SUBSCRIBED RECURSIVEMATCH) \"\" %", "the same"),
    ("LIST \"\" * RETURN (SUBSCRIBED)", "the same"),
    ("LIST \"\" (INBOX Work) RETURN (STATUS (MESSAGES UNSEEN))", "the same"),
    ("STATUS INBOX (MESSAGES UNSEEN UIDNEXT)", "Dovecot adds CLIENTBUG for the selected mailbox"),
    ("STATUS Work.Sub (MESSAGES UIDNEXT)", "the same"),
    ("STATUS None (MESSAGES)", "we say NONEXISTENT (RFC 5530 §3)"),
    ("EXAMINE None", "the same"),
    ("SUBSCRIBE Nowhere", "the same"),
    ("STORE 1 +FLAGS (\\Flagged)", "of a mailbox opened read-only nothing changes: we say so"),
    ("EXPUNGE", "the same; and of 32 July Dovecot made a message"),
    ("STORE 2 +FLAGS (\\Recent)", "\\Recent is nobody's to set, and passed over"),
    ("APPEND Work \"32-Jul-1996 02:44:25 -0700\" <<Subject: put\\r\\n\\r\\nx", "there is no such day"),
    ("FETCH 1:* UID", "Dovecot has the message of 32 July"),
    ("FETCH 1:* (UID FLAGS)", "the same"),
    ("SELECT Work", "the same"),
    ("LIST \"\" New*", "a mailbox that has only others below it cannot be selected"),
    ("DELETE INBOX", "we say CANNOT (RFC 5530 §3)"),
    ("CREATE bad&name", "the same"),
    ("RENAME INBOX Old", "its messages move (RFC 3501 §6.3.5); Dovecot refuses"),
    ("STATUS Old (MESSAGES UNSEEN)", "the same"),
    ("STATUS INBOX (MESSAGES)", "the same"),
];

/// Why a line may differ, if there is a reason.
pub fn reason(_command: &str, line: &str) -> Option<&'static str> {
    let line = line.split_once('"')?.1;
    let (number, items) = line.strip_prefix("* ")?.split_once(" FETCH ")?;
    let number: u32 = number.parse().ok()?;
    MESSAGES
        .iter()
        .find(|(known, names, _)| *known == number && names.iter().any(|name| items.split(' ').any(|word| is(name, word))))
        .map(|(_, _, reason)| *reason)
}

/// `BODY` is one item and `BODY[1]` another; of those with a bracket the beginning tells.
fn is(name: &str, word: &str) -> bool {
    if name.contains('[') || name == "BINARY" { word.starts_with(name) } else { word == name }
}

/// What has to be met.
pub fn all() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|(command, _)| *command).chain(MESSAGES.iter().map(|(_, _, reason)| *reason))
}
