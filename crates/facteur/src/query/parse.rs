//! Words to a tree.

use super::threads::Algorithm;
use super::value::{self, Clock, Side};
use super::{Key, Mask, Query, parts};
use jiff::tz::TimeZone;
use mailstore::Flags;

/// Deepest nesting of parentheses and NOT.
const DEEPEST: usize = 64;

/// What is wrong with a query, for the one who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("search query: {0}")]
pub struct ParseError(String);

impl ParseError {
    pub(super) fn new(text: String) -> ParseError {
        ParseError(text)
    }
}

impl Query {
    /// Reads a query, one word per argument. Keys after each other all have to hold; of keys with `OR` between them one has to. The two do
    /// not mix without parentheses.
    pub fn parse<S: AsRef<str>>(words: &[S], now: i64, zone: TimeZone) -> Result<Query, ParseError> {
        let mut parser = Parser { words: words.iter().map(AsRef::as_ref).collect(), at: 0, clock: Clock { now, zone } };
        let key = parser.keys(0).and_then(|key| match parser.next() {
            None => Ok(key),
            Some(word) => Err(format!("there is no ( before {word}")),
        });
        key.map(Query).map_err(ParseError)
    }
}

/// Keys that stand in one pair of parentheses.
pub(super) enum Joined<K> {
    /// One at least.
    All(Vec<K>),
    Any(Vec<K>),
}

pub(super) struct Parser<'w> {
    words: Vec<&'w str>,
    at: usize,
    clock: Clock,
}

impl<'w> Parser<'w> {
    pub(super) fn next(&mut self) -> Option<&'w str> {
        let word = self.words.get(self.at).copied();
        self.at += usize::from(word.is_some());
        word
    }

    fn next_is(&self, word: &str) -> bool {
        self.words.get(self.at).is_some_and(|next| next.eq_ignore_ascii_case(word))
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The next word, when it is one of these.
    pub(super) fn one_of(&mut self, words: &[&'static str]) -> Option<&'static str> {
        let found = words.iter().copied().find(|word| self.next_is(word));
        self.at += usize::from(found.is_some());
        found
    }

    /// The depth below `depth`.
    pub(super) fn deeper(&self, depth: usize) -> Result<usize, String> {
        if depth > DEEPEST { Err("keys are nested too deeply".into()) } else { Ok(depth + 1) }
    }

    pub(super) fn value(&mut self, key: &str) -> Result<&'w str, String> {
        self.next().ok_or_else(|| format!("{key} lacks its value"))
    }

    /// `list = 1*key / key 1*("OR" key) / "OR" key key`, up to `)` or the end; the last is how IMAP writes it.
    pub(super) fn list<K>(&mut self, depth: usize, key: fn(&mut Self, usize) -> Result<K, String>) -> Result<Joined<K>, String> {
        self.deeper(depth)?;
        let is_prefix = self.next_is("OR");
        let (mut keys, mut ors) = (Vec::new(), 0);
        if is_prefix {
            self.next();
        }
        while !self.next_is(")") && self.at < self.words.len() {
            if self.next_is("OR") && !is_prefix {
                self.next();
                ors += 1;
                if ors != keys.len() {
                    return Err(MIXED.into());
                }
            }
            keys.push(key(self, depth)?);
        }
        match (keys.len(), ors) {
            (0, _) => Err(if depth == 0 { "there is none; ALL means all messages".into() } else { "nothing stands in ( )".into() }),
            (2, 0) if is_prefix => Ok(Joined::Any(keys)),
            (_, 0) if !is_prefix => Ok(Joined::All(keys)),
            (count, ors) if ors + 1 == count && !is_prefix => Ok(Joined::Any(keys)),
            _ => Err(MIXED.into()),
        }
    }

    fn keys(&mut self, depth: usize) -> Result<Key, String> {
        Ok(match self.list(depth, Parser::key)? {
            Joined::All(mut keys) if keys.len() == 1 => keys.remove(0),
            Joined::All(mut keys) => {
                keys.sort_by_key(Key::cost);
                Key::And(keys)
            }
            Joined::Any(mut keys) => {
                keys.sort_by_key(Key::cost);
                Key::Or(keys)
            }
        })
    }

    fn key(&mut self, depth: usize) -> Result<Key, String> {
        let word = self.next().ok_or("a key is missing at the end")?;
        let name = word.to_ascii_uppercase();
        let flag = |flags| Ok(Key::Flags(flags));
        let without = |key| Ok(Key::Not(Box::new(key)));
        match name.as_str() {
            "(" => {
                let list = self.keys(depth + 1)?;
                self.next().map(|_| list).ok_or_else(|| "a ) is missing".into())
            }
            "NOT" => {
                let depth = self.deeper(depth)?;
                without(self.key(depth)?)
            }
            "ALL" => Ok(Key::All),
            "ANSWERED" => flag(Flags::ANSWERED),
            "DELETED" => flag(Flags::DELETED),
            "DRAFT" => flag(Flags::DRAFT),
            "FLAGGED" => flag(Flags::FLAGGED),
            "SEEN" => flag(Flags::SEEN),
            "UNANSWERED" => without(Key::Flags(Flags::ANSWERED)),
            "UNDELETED" => without(Key::Flags(Flags::DELETED)),
            "UNDRAFT" => without(Key::Flags(Flags::DRAFT)),
            "UNFLAGGED" => without(Key::Flags(Flags::FLAGGED)),
            "UNSEEN" => without(Key::Flags(Flags::SEEN)),
            "RECENT" => Ok(Key::Recent),
            "OLD" => without(Key::Recent),
            "NEW" => Ok(Key::And(vec![Key::Recent, Key::Not(Box::new(Key::Flags(Flags::SEEN)))])),
            "KEYWORD" => Ok(Key::Keyword(self.value("KEYWORD")?.to_owned())),
            "UNKEYWORD" => without(Key::Keyword(self.value("UNKEYWORD")?.to_owned())),
            "MAILBOX" => Ok(Key::Mailbox(Mask::new(self.value("MAILBOX")?))),
            "MAILBOX-GUID" => Ok(Key::MailboxGuid(self.value("MAILBOX-GUID")?.to_ascii_lowercase())),
            "GUID" => Ok(Key::Guid(self.value("GUID")?.to_owned())),
            "UID" => Ok(Key::Uids(value::set(self.value("UID")?)?)),
            "FROM" | "TO" | "CC" | "BCC" | "SUBJECT" => Ok(Key::Header(name.clone(), self.value(&name)?.to_owned())),
            "HEADER" => Ok(Key::Header(self.value("HEADER")?.to_owned(), self.value("HEADER")?.to_owned())),
            "BODY" => Ok(Key::Body(self.value("BODY")?.to_owned())),
            "TEXT" => Ok(Key::Text(self.value("TEXT")?.to_owned())),
            "MIMEPART" => parts::parse(self, depth).map(Key::Part),
            "INTHREAD" => {
                let (algorithm, depth) = (Algorithm::parse(self.value("INTHREAD")?)?, self.deeper(depth)?);
                Ok(Key::InThread(algorithm, Box::new(self.key(depth)?)))
            }
            "LARGER" => Ok(Key::Larger(value::size(self.value("LARGER")?)?)),
            "SMALLER" => Ok(Key::Smaller(value::size(self.value("SMALLER")?)?)),
            // RFC 8514 §4.3: we always have a save date
            "SAVEDATESUPPORTED" => Ok(Key::All),
            _ => match dated(&name) {
                Some((key, side)) => Ok(key(value::span(self.value(&name)?, side, &self.clock)?)),
                None if word.starts_with(|c: char| c.is_ascii_digit() || c == '*') => Ok(Key::Numbers(value::set(word)?)),
                None => Err(format!("unknown key {word} (parentheses and keys are words of their own)")),
            },
        }
    }
}

const MIXED: &str = "keys that all have to hold and keys with OR between them need parentheses, as in mailbox Trash ( seen OR flagged )";

/// Makes the key of a span of time.
type Dated = fn(super::Span) -> Key;

/// `SAVEDBEFORE` and the like.
fn dated(name: &str) -> Option<(Dated, Side)> {
    let (key, rest): (Dated, &str) = match name {
        _ if name.starts_with("SAVED") => (Key::Saved, &name[5..]),
        _ if name.starts_with("SENT") => (Key::Sent, &name[4..]),
        _ => (Key::Received, name),
    };
    let side = match rest {
        "BEFORE" => Side::Before,
        "ON" => Side::On,
        "SINCE" => Side::Since,
        _ => return None,
    };
    Some((key, side))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Span;

    const NOW: i64 = 1_795_431_600;

    fn parse(text: &str) -> Result<Key, String> {
        // a word with spaces is written with underscores
        let words: Vec<String> = text.split(' ').filter(|word| !word.is_empty()).map(|word| word.replace('_', " ")).collect();
        Query::parse(&words, NOW, TimeZone::UTC).map(|query| query.0).map_err(|error| error.to_string())
    }

    fn not(key: Key) -> Key {
        Key::Not(Box::new(key))
    }

    fn mailbox(name: &str) -> Key {
        Key::Mailbox(Mask::new(name))
    }

    fn header(name: &str, value: &str) -> Key {
        Key::Header(name.into(), value.into())
    }

    #[test]
    fn each_key_is_known_in_any_case() {
        let before = Span { from: i64::MIN, to: NOW - 15 * 86_400, days: None };
        let day = Span { from: 1_176_422_400, to: 1_176_508_800, days: Some((13_616, 13_617)) };
        let since = Span { to: i64::MAX, days: Some((13_616, i64::MAX)), ..day };
        for (text, want) in [
            ("ALL", Key::All),
            ("all", Key::All),
            ("1:3", Key::Numbers(value::set("1:3").expect("set"))),
            ("*", Key::Numbers(value::set("*").expect("set"))),
            ("uid 5,*", Key::Uids(value::set("5,*").expect("set"))),
            ("seen", Key::Flags(Flags::SEEN)),
            ("ANSWERED", Key::Flags(Flags::ANSWERED)),
            ("Deleted", Key::Flags(Flags::DELETED)),
            ("draft", Key::Flags(Flags::DRAFT)),
            ("flagged", Key::Flags(Flags::FLAGGED)),
            ("unseen", not(Key::Flags(Flags::SEEN))),
            ("unanswered", not(Key::Flags(Flags::ANSWERED))),
            ("undeleted", not(Key::Flags(Flags::DELETED))),
            ("undraft", not(Key::Flags(Flags::DRAFT))),
            ("unflagged", not(Key::Flags(Flags::FLAGGED))),
            ("recent", Key::Recent),
            ("old", not(Key::Recent)),
            ("new", Key::And(vec![Key::Recent, not(Key::Flags(Flags::SEEN))])),
            ("keyword $Forwarded", Key::Keyword("$Forwarded".into())),
            ("unkeyword x", not(Key::Keyword("x".into()))),
            ("mailbox Trash", mailbox("Trash")),
            ("mailbox-guid ABC", Key::MailboxGuid("abc".into())),
            ("guid 1.M2.h", Key::Guid("1.M2.h".into())),
            ("from ann", header("FROM", "ann")),
            ("to ann", header("TO", "ann")),
            ("cc ann", header("CC", "ann")),
            ("bcc ann", header("BCC", "ann")),
            ("subject two_words", header("SUBJECT", "two words")),
            ("header X-Spam yes", header("X-Spam", "yes")),
            ("body x", Key::Body("x".into())),
            ("text OR", Key::Text("OR".into())),
            ("larger 50k", Key::Larger(51_200)),
            ("inthread refs seen", Key::InThread(Algorithm::Refs, Box::new(Key::Flags(Flags::SEEN)))),
            ("mimepart body x", Key::Part(parts::PartKey::Body("X".into()))),
            ("smaller 1M", Key::Smaller(1 << 20)),
            ("before 15d", Key::Received(before)),
            ("savedbefore 15d", Key::Saved(before)),
            ("sentbefore 15d", Key::Sent(before)),
            ("on 2007-04-13", Key::Received(day)),
            ("savedon 13-Apr-2007", Key::Saved(day)),
            ("senton 13-Apr-2007", Key::Sent(day)),
            ("since 2007-04-13", Key::Received(since)),
            ("SavedSince 2007-04-13", Key::Saved(since)),
            ("sentsince 2007-04-13", Key::Sent(since)),
            ("savedatesupported", Key::All),
            ("not seen", not(Key::Flags(Flags::SEEN))),
            ("not not all", not(not(Key::All))),
        ] {
            assert_eq!(parse(text).as_ref(), Ok(&want), "{text}");
        }
    }

    #[test]
    fn keys_are_joined_by_and_or_and_parentheses() {
        let seen = || Key::Flags(Flags::SEEN);
        let flagged = || Key::Flags(Flags::FLAGGED);
        for (text, want) in [
            ("mailbox Trash seen", Key::And(vec![mailbox("Trash"), seen()])),
            ("seen or flagged", Key::Or(vec![seen(), flagged()])),
            ("seen OR flagged OR all", Key::Or(vec![seen(), flagged(), Key::All])),
            // as IMAP has it
            ("or seen flagged", Key::Or(vec![seen(), flagged()])),
            ("mailbox Trash ( seen or flagged )", Key::And(vec![mailbox("Trash"), Key::Or(vec![seen(), flagged()])])),
            ("( or seen flagged ) mailbox Trash", Key::And(vec![Key::Or(vec![seen(), flagged()]), mailbox("Trash")])),
            ("( ( all ) )", Key::All),
            ("not ( seen flagged )", not(Key::And(vec![seen(), flagged()]))),
            ("( mailbox A seen ) or mailbox B", Key::Or(vec![Key::And(vec![mailbox("A"), seen()]), mailbox("B")])),
            // what needs no file comes first
            ("text x larger 1 subject y seen", Key::And(vec![seen(), Key::Larger(1), header("SUBJECT", "y"), Key::Text("x".into())])),
        ] {
            assert_eq!(parse(text).as_ref(), Ok(&want), "{text}");
        }
    }

    #[test]
    fn what_may_mean_two_things_is_refused() {
        let deep = format!("{} all {}", "( ".repeat(100), ") ".repeat(100));
        let many = format!("{} all", "not ".repeat(100));
        for text in [
            "",
            "or",
            "seen or",
            "or seen",
            "or seen flagged all",
            "seen flagged or all",
            "seen or flagged all",
            "seen or or flagged",
            "( seen",
            "seen )",
            "( )",
            ")",
            "(seen or flagged)",
            "not",
            "mailbox",
            "header X",
            "keyword",
            "trash",
            "uid x",
            "1,x",
            "larger x",
            "savedbefore 15",
            "saved 15d",
            deep.as_str(),
            many.as_str(),
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_query_names_mailboxes_when_every_way_through_it_does() {
        for (text, want) in [
            ("mailbox Trash", true),
            ("mailbox Trash savedbefore 15d", true),
            ("mailbox-guid 1 all", true),
            ("all", false),
            ("savedbefore 15d", false),
            ("not mailbox Trash", false),
            ("mailbox Trash or mailbox Junk", true),
            ("mailbox Trash or seen", false),
            ("( mailbox Trash or mailbox Junk ) seen", true),
        ] {
            assert_eq!(parse(text).map(|key| key.names_mailboxes()), Ok(want), "{text}");
        }
    }
}
