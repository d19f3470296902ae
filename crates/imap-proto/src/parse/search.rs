//! SEARCH, SORT and THREAD.

use super::Result;
use crate::command::{Command, FetchItem, Flag, MailboxFilter, Search, SearchKey, SearchReturn, Sort, SortBy, SortKey, ThreadAlgorithm};
use crate::cursor::Cursor;
use crate::date::Date;
use crate::error::ParseError;
use crate::partial::PartialRange;
use crate::sequence::SequenceSet;

/// Nested parentheses and operators. Chains such as `OR a OR b OR c` and `NOT NOT` do not nest, see below.
const DEPTH: usize = 100;
/// Keys in one search.
const KEYS: usize = 10_000;
/// Tags of one CANCELUPDATE.
const TAGS: usize = 100;
/// Criteria of one SORT; there are ten.
const CRITERIA: usize = 20;

/// No message has a higher UID.
const LAST_UID: u32 = u32::MAX - 1;

/// RFC 4466 §2.6.1: `search = "SEARCH" [search-return-opts] SP search-program`,
/// `search-program = ["CHARSET" SP charset SP] search-key *(SP search-key)`
pub(super) fn search(cursor: &mut Cursor<'_>, uid: bool) -> Result<Search> {
    cursor.space()?;
    let (mut returns, mut fetch) = (None, Vec::new());
    if cursor.take_word("RETURN ") {
        returns = Some(return_options(cursor, &mut fetch)?);
        cursor.space()?;
    }
    let mut charset = None;
    if cursor.take_word("CHARSET ") {
        if cursor.dialect().utf8_only {
            // RFC 6855 §3
            return Err(ParseError::syntax("CHARSET is not possible after ENABLE UTF8=ACCEPT"));
        }
        charset = Some(charset_name(cursor)?);
        cursor.space()?;
    }
    scored(Search { uid, returns, charset, key: keys(cursor)?, fetch })
}

/// RFC 6203 §4: the RELEVANCY return option must not be used unless a FUZZY search key is also given.
fn scored(search: Search) -> Result<Search> {
    match search.returns {
        Some(returns) if returns.relevancy && !search.key.has_fuzzy() => Err(ParseError::syntax("RELEVANCY takes a FUZZY search key")),
        _ => Ok(search),
    }
}

/// RFC 7377 §4: `esearch = "ESEARCH" [SP esearch-source-opts] [SP search-return-opts] SP search-program`,
/// `esearch-source-opts = "IN" SP "(" source-mbox [SP "(" scope-options ")"] ")"`; no scope options are defined.
pub(super) fn esearch(cursor: &mut Cursor<'_>) -> Result<Command> {
    let mut sources = Vec::new();
    if cursor.take_word(" IN (") {
        sources = super::filter::sources(cursor)?;
    }
    // RFC 7377 §2.1: the answer is ESEARCH with UIDs, and all of them where nothing else is asked for.
    let mut search = search(cursor, true)?;
    let returns = search.returns.get_or_insert(SearchReturn { all: true, ..SearchReturn::default() });
    // RFC 7377 §2.2
    if returns.save && sources.iter().any(|source| *source != MailboxFilter::Selected) {
        return Err(ParseError::syntax("SAVE is for the selected mailbox"));
    }
    Ok(Command::MultiSearch { sources, search })
}

/// RFC 5267 §5: `"CANCELUPDATE" 1*(SP quoted)`
pub(super) fn cancel_update(cursor: &mut Cursor<'_>) -> Result<Command> {
    let mut tags = Vec::new();
    loop {
        cursor.space()?;
        tags.push(String::from_utf8_lossy(&cursor.string("Expected a quoted tag")?).into_owned());
        if tags.len() > TAGS {
            return Err(ParseError::too_big("Too many tags"));
        }
        // A space at the very end is forgiven by the caller.
        if cursor.rest().len() <= 1 {
            return Ok(Command::CancelUpdate(tags));
        }
    }
}

/// RFC 5256 §5: `sort = ["UID" SP] "SORT" SP sort-criteria SP search-criteria`; RFC 5267 §7: `search-return-opts` before the criteria.
pub(super) fn sort(cursor: &mut Cursor<'_>, uid: bool) -> Result<Sort> {
    cursor.space()?;
    let (mut returns, mut fetch) = (None, Vec::new());
    if cursor.take_word("RETURN ") {
        returns = Some(return_options(cursor, &mut fetch)?);
        cursor.space()?;
    }
    let mut order = cursor.list(false, CRITERIA, |c| {
        let mut name = c.atom("Expected a sort criterion")?.to_ascii_uppercase();
        let reverse = name == "REVERSE";
        if reverse {
            c.space()?;
            name = c.atom("Expected a sort criterion")?.to_ascii_uppercase();
        }
        let by = match name.as_str() {
            "ARRIVAL" => SortBy::Arrival,
            "CC" => SortBy::Cc,
            "DATE" => SortBy::Date,
            "FROM" => SortBy::From,
            "SIZE" => SortBy::Size,
            "SUBJECT" => SortBy::Subject,
            "TO" => SortBy::To,
            // RFC 5957 §3
            "DISPLAYFROM" => SortBy::DisplayFrom,
            "DISPLAYTO" => SortBy::DisplayTo,
            // RFC 6203 §7
            "RELEVANCY" => SortBy::Relevancy,
            _ => return Err(ParseError::syntax("Unknown sort criterion")),
        };
        Ok(SortKey { reverse, by })
    })?;
    // What is equal by a criterion is so when asked again, whatever the direction.
    let mut seen = Vec::new();
    order.retain(|key| {
        !seen.contains(&key.by) && {
            seen.push(key.by);
            true
        }
    });
    let search = criteria(cursor, uid, returns, fetch)?;
    // RFC 6203 §6
    if order.iter().any(|key| key.by == SortBy::Relevancy) && !search.key.has_fuzzy() {
        return Err(ParseError::syntax("RELEVANCY takes a FUZZY search key"));
    }
    Ok(Sort { search, order })
}

/// RFC 5256 §5: `thread = ["UID" SP] "THREAD" SP thread-alg SP search-criteria`
pub(super) fn thread(cursor: &mut Cursor<'_>, uid: bool) -> Result<Command> {
    cursor.space()?;
    let algorithm = match cursor.atom("Expected a threading algorithm")?.to_ascii_uppercase().as_str() {
        "ORDEREDSUBJECT" => ThreadAlgorithm::OrderedSubject,
        "REFERENCES" => ThreadAlgorithm::References,
        "REFS" => ThreadAlgorithm::Refs,
        _ => return Err(ParseError::syntax("Unknown threading algorithm")),
    };
    Ok(Command::Thread { search: criteria(cursor, uid, None, Vec::new())?, algorithm })
}

/// RFC 5256 §5: `search-criteria = charset 1*(SP search-key)`
fn criteria(cursor: &mut Cursor<'_>, uid: bool, returns: Option<SearchReturn>, fetch: Vec<FetchItem>) -> Result<Search> {
    cursor.space()?;
    let charset = Some(charset_name(cursor)?);
    cursor.space()?;
    scored(Search { uid, returns, charset, key: keys(cursor)?, fetch })
}

fn charset_name(cursor: &mut Cursor<'_>) -> Result<String> {
    let name = cursor.astring("Expected a charset")?;
    if name.len() > 64 {
        return Err(ParseError { kind: crate::error::ParseErrorKind::BadCharset, what: "Unknown charset" });
    }
    Ok(String::from_utf8_lossy(&name).into_owned())
}

/// `search-key *(SP search-key)`
fn keys(cursor: &mut Cursor<'_>) -> Result<SearchKey> {
    let mut budget = KEYS;
    let mut keys = Vec::new();
    loop {
        keys.push(key(cursor, 0, &mut budget)?);
        // A space at the very end is forgiven by the caller.
        if cursor.rest().len() <= 1 || !cursor.take(b' ') {
            break;
        }
    }
    Ok(if keys.len() == 1 { keys.swap_remove(0) } else { SearchKey::And(keys) })
}

/// RFC 4731 §4: `search-return-opt = "MIN" / "MAX" / "ALL" / "COUNT"`; none at all means ALL (§3.1). RFC 5182 §3: `"SAVE"`.
/// RFC 5267 §5, RFC 9394 §4: `"CONTEXT" / "UPDATE" / "PARTIAL" SP partial-range`; one of PARTIAL and ALL, once (RFC 9394 §3.1).
/// RFC 6203 §7: `"RELEVANCY"`. RFC 5465 §8: `modifier-update = "UPDATE" ["(" fetch-att *(SP fetch-att) ")"]`; its examples have a space there.
fn return_options(cursor: &mut Cursor<'_>, fetch: &mut Vec<FetchItem>) -> Result<SearchReturn> {
    let mut returns = SearchReturn::default();
    cursor.list(true, 20, |c| {
        match c.atom("Invalid return option")?.to_ascii_uppercase().as_str() {
            "MIN" => returns.min = true,
            "MAX" => returns.max = true,
            "ALL" => returns.all = true,
            "COUNT" => returns.count = true,
            "SAVE" => returns.save = true,
            "CONTEXT" => returns.context = true,
            "RELEVANCY" => returns.relevancy = true,
            "UPDATE" => {
                returns.update = true;
                if c.rest().starts_with(b" (") {
                    c.space()?;
                }
                if c.peek() == Some(b'(') {
                    *fetch = super::fetch::items(c)?;
                }
            }
            "PARTIAL" if returns.partial.is_none() => {
                c.space()?;
                returns.partial = Some(PartialRange::parse(c)?);
            }
            _ => return Err(ParseError::syntax("Unknown return option")),
        }
        Ok(())
    })?;
    if returns.all && returns.partial.is_some() {
        return Err(ParseError::syntax("PARTIAL and ALL exclude each other"));
    }
    if returns == SearchReturn::default() {
        returns.all = true;
    }
    Ok(returns)
}

/// RFC 3501 §9 `search-key`. Recurses only for parentheses, for the first key of OR and for the key of NOT and FUZZY, `DEPTH` deep.
fn key(cursor: &mut Cursor<'_>, depth: usize, budget: &mut usize) -> Result<SearchKey> {
    if depth == DEPTH {
        return Err(ParseError::too_big("Search is nested too deeply"));
    }
    *budget = budget.checked_sub(1).ok_or(ParseError::too_big("Search has too many keys"))?;
    match cursor.peek() {
        Some(b'(') => return group(cursor, depth, budget),
        Some(b'0'..=b'9' | b'*' | b'$') => return SequenceSet::parse(cursor).map(SearchKey::Numbers),
        _ => {}
    }
    let name = cursor.atom("Expected a search key")?.to_ascii_uppercase();
    match name.as_str() {
        "NOT" => not(cursor, depth, budget),
        "OR" => or(cursor, depth, budget),
        "FUZZY" => fuzzy(cursor, depth, budget),
        _ => simple(&name, cursor),
    }
}

/// `"(" search-key *(SP search-key) ")"`
fn group(cursor: &mut Cursor<'_>, depth: usize, budget: &mut usize) -> Result<SearchKey> {
    cursor.take(b'(');
    let mut keys = Vec::new();
    loop {
        keys.push(key(cursor, depth + 1, budget)?);
        if cursor.take(b')') {
            return Ok(if keys.len() == 1 { keys.swap_remove(0) } else { SearchKey::And(keys) });
        }
        cursor.space()?;
    }
}

/// `"NOT" SP search-key`. A chain of NOTs is counted, not nested.
fn not(cursor: &mut Cursor<'_>, depth: usize, budget: &mut usize) -> Result<SearchKey> {
    let mut odd = true;
    cursor.space()?;
    while cursor.take_word("NOT ") {
        odd = !odd;
    }
    let inner = key(cursor, depth + 1, budget)?;
    Ok(if odd { SearchKey::Not(Box::new(inner)) } else { inner })
}

/// RFC 6203 §7: `"FUZZY" SP search-key`. Said twice it is no fuzzier.
fn fuzzy(cursor: &mut Cursor<'_>, depth: usize, budget: &mut usize) -> Result<SearchKey> {
    cursor.space()?;
    while cursor.take_word("FUZZY ") {}
    Ok(SearchKey::Fuzzy(Box::new(key(cursor, depth + 1, budget)?)))
}

/// `"OR" SP search-key SP search-key`. Clients look for a hundred message ids by `OR a OR b OR c d`: such a chain is one
/// list here, however long.
fn or(cursor: &mut Cursor<'_>, depth: usize, budget: &mut usize) -> Result<SearchKey> {
    let mut keys = Vec::new();
    loop {
        cursor.space()?;
        keys.push(key(cursor, depth + 1, budget)?);
        cursor.space()?;
        if !cursor.rest().get(..3).is_some_and(|word| word.eq_ignore_ascii_case(b"OR ")) {
            break;
        }
        cursor.take_word("OR");
    }
    keys.push(key(cursor, depth + 1, budget)?);
    Ok(SearchKey::Or(keys))
}

/// The keys that hold no other key.
fn simple(name: &str, cursor: &mut Cursor<'_>) -> Result<SearchKey> {
    let not = |key| SearchKey::Not(Box::new(key));
    let flag = SearchKey::Flag;
    Ok(match name {
        "ALL" => SearchKey::All,
        "ANSWERED" => flag(Flag::Answered),
        "DELETED" => flag(Flag::Deleted),
        "DRAFT" => flag(Flag::Draft),
        "FLAGGED" => flag(Flag::Flagged),
        "SEEN" => flag(Flag::Seen),
        "UNANSWERED" => not(flag(Flag::Answered)),
        "UNDELETED" => not(flag(Flag::Deleted)),
        "UNDRAFT" => not(flag(Flag::Draft)),
        "UNFLAGGED" => not(flag(Flag::Flagged)),
        "UNSEEN" => not(flag(Flag::Seen)),
        "RECENT" => SearchKey::Recent,
        "NEW" => SearchKey::And(vec![SearchKey::Recent, not(flag(Flag::Seen))]),
        "OLD" => not(SearchKey::Recent),
        "KEYWORD" => flag(keyword(cursor)?),
        "UNKEYWORD" => not(flag(keyword(cursor)?)),
        "BEFORE" => SearchKey::Before(date(cursor)?),
        "ON" => SearchKey::On(date(cursor)?),
        "SINCE" => SearchKey::Since(date(cursor)?),
        "SENTBEFORE" => SearchKey::SentBefore(date(cursor)?),
        "SENTON" => SearchKey::SentOn(date(cursor)?),
        "SENTSINCE" => SearchKey::SentSince(date(cursor)?),
        "BCC" | "CC" | "FROM" | "SUBJECT" | "TO" => SearchKey::Header { name: name.to_owned(), value: text(cursor)? },
        "HEADER" => {
            let field = text(cursor)?;
            SearchKey::Header { name: String::from_utf8_lossy(&field).into_owned(), value: text(cursor)? }
        }
        "BODY" => SearchKey::Body(text(cursor)?),
        "TEXT" => SearchKey::Text(text(cursor)?),
        "LARGER" => SearchKey::Larger(size(cursor)?),
        "SMALLER" => SearchKey::Smaller(size(cursor)?),
        // RFC 5032 §3
        "OLDER" => SearchKey::Older(interval(cursor)?),
        "MODSEQ" => SearchKey::ModSeq(super::condstore::search_modseq(cursor)?),
        "YOUNGER" => SearchKey::Younger(interval(cursor)?),
        // RFC 8514 §5
        "SAVEDBEFORE" => SearchKey::SavedBefore(date(cursor)?),
        "SAVEDON" => SearchKey::SavedOn(date(cursor)?),
        "SAVEDSINCE" => SearchKey::SavedSince(date(cursor)?),
        "SAVEDATESUPPORTED" => SearchKey::SaveDateSupported,
        // RFC 8474 §7
        "EMAILID" => SearchKey::EmailId(object_id(cursor)?),
        "THREADID" => SearchKey::ThreadId(object_id(cursor)?),
        "UID" => {
            cursor.space()?;
            SearchKey::Uids(SequenceSet::parse(cursor)?)
        }
        // RFC 9738: `"UIDAFTER" SP uniqueid / "UIDBEFORE" SP uniqueid`; without the trap of `n:*`, which always has the last message
        "UIDAFTER" => {
            cursor.space()?;
            let after = cursor.nz_number("Expected a UID")?;
            SearchKey::Uids(SequenceSet::of((after < LAST_UID).then(|| (after + 1, LAST_UID)).into_iter().collect()))
        }
        "UIDBEFORE" => {
            cursor.space()?;
            let before = cursor.nz_number("Expected a UID")?;
            SearchKey::Uids(SequenceSet::of((before > 1).then(|| (1, before - 1)).into_iter().collect()))
        }
        _ => return Err(ParseError::syntax("Unknown search key")),
    })
}

fn text(cursor: &mut Cursor<'_>) -> Result<Vec<u8>> {
    cursor.space()?;
    if matches!(cursor.peek(), Some(b'"' | b'{')) {
        return cursor.string("Expected a string").map(|s| s.into_owned());
    }
    // ASTRING-CHAR, and 8-bit words: clients in the wild forget the quotes around UTF-8.
    let word = cursor.take_while(|b| crate::cursor::is_astring_char(b) || b >= 0x80);
    if word.is_empty() { Err(ParseError::syntax("Expected a string")) } else { Ok(word.to_vec()) }
}

fn date(cursor: &mut Cursor<'_>) -> Result<Date> {
    cursor.space()?;
    Date::parse(cursor)
}

fn size(cursor: &mut Cursor<'_>) -> Result<u64> {
    cursor.space()?;
    cursor.number64("Expected a number")
}

/// Seconds, at least one (RFC 5032 §5).
fn interval(cursor: &mut Cursor<'_>) -> Result<u32> {
    cursor.space()?;
    cursor.nz_number("Expected a number of seconds")
}

/// RFC 8474 §7: `objectid = 1*255(ALPHA / DIGIT / "_" / "-")`
fn object_id(cursor: &mut Cursor<'_>) -> Result<String> {
    cursor.space()?;
    let id = cursor.take_while(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    match id.len() {
        1..=255 => Ok(String::from_utf8_lossy(id).into_owned()),
        _ => Err(ParseError::syntax("Expected an object id")),
    }
}

fn keyword(cursor: &mut Cursor<'_>) -> Result<Flag> {
    cursor.space()?;
    Ok(Flag::Keyword(cursor.atom("Expected a keyword")?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Mailbox;
    use crate::error::ParseErrorKind;
    use crate::parse::tests::read;

    fn searched(text: &str) -> Result<Search> {
        match read(format!("SEARCH {text}").as_bytes()) {
            Ok(Some(Command::Search(search))) => Ok(search),
            Err(error) => Err(error),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn every_key_of_rfc3501_6_4_4() {
        let keys = "1:3,5 ALL ANSWERED BCC a BEFORE 1-Jan-2020 BODY b CC c DELETED DRAFT FLAGGED FROM d HEADER X-A e KEYWORD k LARGER 5 NEW \
                    NOT SEEN OLD ON 1-Jan-2020 OR SEEN DRAFT RECENT SEEN SENTBEFORE 1-Jan-2020 SENTON 1-Jan-2020 SENTSINCE 1-Jan-2020 \
                    SINCE 1-Jan-2020 SMALLER 6 SUBJECT f TEXT g TO h UID 7 UNANSWERED UNDELETED UNDRAFT UNFLAGGED UNKEYWORD k UNSEEN (SEEN DRAFT)";
        let SearchKey::And(keys) = searched(keys).unwrap().key else { panic!() };
        assert_eq!(keys.len(), 37);
    }

    #[test]
    fn structure() {
        let seen = || SearchKey::Flag(Flag::Seen);
        let not = |key| SearchKey::Not(Box::new(key));
        let saved = || SequenceSet::parse(&mut Cursor::new(b"$")).unwrap();
        for (text, want) in [
            ("SEEN", seen()),
            ("(SEEN)", seen()),
            ("NOT SEEN", not(seen())),
            ("FUZZY SEEN", SearchKey::Fuzzy(Box::new(seen()))),
            ("fuzzy fuzzy (SEEN)", SearchKey::Fuzzy(Box::new(seen()))),
            (
                // RFC 6203 §3
                "FUZZY SUBJECT work FROM user@example.com",
                SearchKey::And(vec![
                    SearchKey::Fuzzy(Box::new(SearchKey::Header { name: "SUBJECT".into(), value: b"work".to_vec() })),
                    SearchKey::Header { name: "FROM".into(), value: b"user@example.com".to_vec() },
                ]),
            ),
            ("NOT OLDER 3600", not(SearchKey::Older(3600))),
            ("UIDAFTER 5", SearchKey::Uids(SequenceSet::range(6, u32::MAX - 1))),
            ("UIDAFTER 4294967295", SearchKey::Uids(SequenceSet::of(Vec::new()))),
            ("UIDBEFORE 5", SearchKey::Uids(SequenceSet::range(1, 4))),
            ("UIDBEFORE 1", SearchKey::Uids(SequenceSet::of(Vec::new()))),
            ("OR $ UID $", SearchKey::Or(vec![SearchKey::Numbers(saved()), SearchKey::Uids(saved())])),
            ("EMAILID M6d9-A_", SearchKey::EmailId("M6d9-A_".into())),
            ("THREADID t1", SearchKey::ThreadId("t1".into())),
            ("SAVEDATESUPPORTED", SearchKey::SaveDateSupported),
            ("savedon 1-Jan-2020", SearchKey::SavedOn(Date { year: 2020, month: 1, day: 1 })),
            ("NOT NOT SEEN", seen()),
            ("OR SEEN OR ALL RECENT", SearchKey::Or(vec![seen(), SearchKey::All, SearchKey::Recent])),
            ("OR OR SEEN ALL RECENT", SearchKey::Or(vec![SearchKey::Or(vec![seen(), SearchKey::All]), SearchKey::Recent])),
            ("OR (SEEN ALL) NOT RECENT", SearchKey::Or(vec![SearchKey::And(vec![seen(), SearchKey::All]), not(SearchKey::Recent)])),
            ("SUBJECT {3}\r\na b", SearchKey::Header { name: "SUBJECT".into(), value: b"a b".to_vec() }),
            ("SUBJECT \u{e9}", SearchKey::Header { name: "SUBJECT".into(), value: "\u{e9}".into() }),
        ] {
            assert_eq!(searched(text).unwrap().key, want, "{text}");
        }
        for bad in [
            "",
            "FOO",
            "NOT",
            "FUZZY",
            "FUZZY FUZZY",
            "FUZZYSEEN",
            "OR SEEN",
            "(SEEN",
            "SEEN)",
            "()",
            "FROM",
            "BEFORE x",
            "HEADER a",
            "LARGER -1",
            "SEEN  DRAFT",
            "UIDAFTER 0",
            "UIDBEFORE *",
            "EMAILID",
            "EMAILID a.b",
            "THREADID \"x\"",
            "SAVEDSINCE x",
            "OLDER 0",
            "YOUNGER x",
            "$1",
        ] {
            assert!(searched(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn charset_and_return_options() {
        let search = searched("RETURN (MIN COUNT) CHARSET UTF-8 ALL").unwrap();
        assert_eq!(search.charset.as_deref(), Some("UTF-8"));
        assert_eq!(search.returns, Some(SearchReturn { min: true, count: true, ..Default::default() }));
        assert_eq!(searched("RETURN () ALL").unwrap().returns, Some(SearchReturn { all: true, ..Default::default() }));
        assert_eq!(searched("RETURN (SAVE) ALL").unwrap().returns, Some(SearchReturn { save: true, ..Default::default() }));
        let partial = PartialRange::parse(&mut Cursor::new(b"-1:-10")).ok();
        let want = SearchReturn { count: true, partial, context: true, update: true, ..Default::default() };
        // RFC 5465 §7
        for text in ["RETURN (COUNT UPDATE (UID PREVIEW)) ALL", "RETURN (COUNT UPDATE(UID PREVIEW)) ALL"] {
            let search = searched(text).unwrap();
            assert_eq!(search.returns, Some(SearchReturn { count: true, update: true, ..Default::default() }));
            assert_eq!(search.fetch, [FetchItem::Uid, FetchItem::Preview { lazy: false }]);
        }
        assert_eq!(searched("RETURN (PARTIAL -1:-10 COUNT UPDATE CONTEXT) ALL").unwrap().returns, Some(want));
        // RFC 6203 §4
        let want = SearchReturn { relevancy: true, all: true, ..Default::default() };
        assert_eq!(searched("RETURN (RELEVANCY ALL) FUZZY TEXT \"Helo\"").unwrap().returns, Some(want));
        let want = SearchReturn { relevancy: true, ..Default::default() };
        assert_eq!(searched("RETURN (relevancy) OR SEEN NOT (DRAFT FUZZY TEXT x)").unwrap().returns, Some(want));
        assert!(searched("RETURN (RELEVANCY ALL) TEXT \"Helo\"").is_err());
        for bad in
            ["FOO", "PARTIAL", "PARTIAL 1", "PARTIAL 1:*", "PARTIAL 1:2 ALL", "ALL PARTIAL 1:2", "PARTIAL 1:2 PARTIAL 3:4", "UPDATE ()"]
        {
            assert!(searched(&format!("RETURN ({bad}) ALL")).is_err(), "{bad}");
        }
    }

    #[test]
    fn searches_in_several_mailboxes() {
        let all = SearchReturn { all: true, ..SearchReturn::default() };
        let searched = |text: &str| match read(text.as_bytes()) {
            Ok(Some(Command::MultiSearch { sources, search })) => Some((sources, search.returns.unwrap(), search.uid)),
            Err(_) => None,
            other => panic!("{text}: {other:?}"),
        };
        let names = |names: &[&str]| names.iter().map(|name| Mailbox((*name).into())).collect::<Vec<_>>();
        assert_eq!(searched("ESEARCH UNSEEN"), Some((vec![], all, true)));
        assert_eq!(
            searched("ESEARCH IN (mailboxes \"folder1\" subtree (folder2 inbox)) unseen"),
            Some((vec![MailboxFilter::Mailboxes(names(&["folder1"])), MailboxFilter::Subtree(names(&["folder2", "INBOX"]))], all, true))
        );
        let want = vec![MailboxFilter::Selected, MailboxFilter::SubtreeOne(names(&["a"])), MailboxFilter::Inboxes, MailboxFilter::Personal];
        assert_eq!(
            searched("ESEARCH IN (SELECTED SUBTREE-ONE a INBOXES PERSONAL) RETURN (COUNT) CHARSET UTF-8 ALL"),
            Some((want, SearchReturn { count: true, ..SearchReturn::default() }, true))
        );
        assert!(searched("ESEARCH IN (selected) RETURN (SAVE) ALL").is_some() && searched("ESEARCH RETURN (SAVE) ALL").is_some());
        for bad in [
            "ESEARCH",
            "ESEARCH IN",
            "ESEARCH IN () ALL",
            "ESEARCH IN (personal)",
            "ESEARCH IN (selected-delayed) ALL",
            "ESEARCH IN (mailboxes) ALL",
            "ESEARCH IN (mailboxes ()) ALL",
            "ESEARCH IN (personal (x)) ALL",
            "ESEARCH IN (everything) ALL",
            "ESEARCH IN (personal) RETURN (SAVE) ALL",
            "ESEARCH IN (personal subscribed",
        ] {
            assert_eq!(searched(bad), None, "{bad}");
        }
        assert_eq!(searched(&format!("ESEARCH IN ({}) ALL", "personal ".repeat(100_000) + "personal")), None);
    }

    #[test]
    fn updates_are_cancelled_by_tag() {
        assert_eq!(read(b"CANCELUPDATE \"B01\" \"B 2\""), Ok(Some(Command::CancelUpdate(vec!["B01".into(), "B 2".into()]))));
        for bad in ["CANCELUPDATE", "CANCELUPDATE B01", "CANCELUPDATE \"a\"\"b\"", "CANCELUPDATE \"a\" b"] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(read(format!("CANCELUPDATE{}", " \"a\"".repeat(1000)).as_bytes()).is_err());
    }

    #[test]
    fn sort_and_thread_take_a_charset_and_keys() {
        let seen =
            |uid, returns| Search { uid, returns, charset: Some("UTF-8".into()), key: SearchKey::Flag(Flag::Seen), fetch: Vec::new() };
        let key = |reverse, by| SortKey { reverse, by };
        let order = vec![key(false, SortBy::Subject), key(true, SortBy::Date), key(true, SortBy::DisplayFrom)];
        let want = Command::Sort(Sort { search: seen(true, None), order: order.clone() });
        assert_eq!(read(b"UID SORT (SUBJECT REVERSE DATE reverse displayfrom) UTF-8 SEEN"), Ok(Some(want)));
        let returns = Some(SearchReturn { all: true, count: true, ..SearchReturn::default() });
        let want = Command::Sort(Sort { search: seen(false, returns), order });
        assert_eq!(read(b"SORT RETURN (ALL COUNT) (SUBJECT REVERSE DATE REVERSE DISPLAYFROM) \"UTF-8\" SEEN"), Ok(Some(want)));
        let want = Command::Sort(Sort { search: seen(false, None), order: vec![key(true, SortBy::Date), key(false, SortBy::Cc)] });
        assert_eq!(read(b"SORT (REVERSE DATE CC DATE REVERSE CC CC) UTF-8 SEEN"), Ok(Some(want)));
        // RFC 6203 §6
        let Ok(Some(Command::Sort(sort))) = read(b"SORT RETURN (RELEVANCY ALL) (RELEVANCY) UTF-8 FUZZY TEXT \"Helo\"") else { panic!() };
        assert_eq!((sort.order, sort.search.returns.map(|r| r.relevancy)), (vec![key(false, SortBy::Relevancy)], Some(true)));
        assert!(read(b"ESEARCH IN (personal) RETURN (RELEVANCY COUNT) FUZZY TEXT x").is_ok());
        for (name, algorithm) in [
            ("ORDEREDSUBJECT", ThreadAlgorithm::OrderedSubject),
            ("references", ThreadAlgorithm::References),
            ("REFS", ThreadAlgorithm::Refs),
        ] {
            let want = Command::Thread { search: seen(false, None), algorithm };
            assert_eq!(read(format!("THREAD {name} UTF-8 SEEN").as_bytes()), Ok(Some(want)));
        }
        for bad in [
            "SORT",
            "SORT (SUBJECT)",
            "SORT (SUBJECT) UTF-8",
            "SORT () UTF-8 ALL",
            "SORT (REVERSE) UTF-8 ALL",
            "SORT (FOO) UTF-8 ALL",
            "SORT (RELEVANCY) UTF-8 TEXT x",
            "SORT RETURN (RELEVANCY) (DATE) UTF-8 TEXT x",
            "ESEARCH IN (personal) RETURN (RELEVANCY) TEXT x",
            "SORT SUBJECT UTF-8 ALL",
            "THREAD UTF-8 ALL",
            "THREAD X UTF-8 ALL",
            "THREAD REFS UTF-8",
        ] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn bombs_are_too_big_and_chains_are_not() {
        for text in [
            "(".repeat(100_000),
            "OR ".repeat(100_000),
            "OR NOT ".repeat(50_000),
            "FUZZY NOT ".repeat(50_000),
            "SEEN ".repeat(100_000) + "SEEN",
        ] {
            let error = searched(&text).unwrap_err();
            assert_ne!(error.kind, ParseErrorKind::BadMailbox);
        }
        assert_eq!(searched(&("(".repeat(200) + "ALL" + &")".repeat(200))).unwrap_err().kind, ParseErrorKind::TooBig);
        assert!(searched(&("OR HEADER Message-ID x ".repeat(2000) + "ALL")).is_ok());
        assert!(searched(&("NOT ".repeat(100_001) + "ALL")).is_ok());
    }
}
