//! SEARCH: a compiled search and its walk over the messages (RFC 3501 §6.4.4).

mod text;

use crate::answer::Answer;
use crate::selected::{Selected, system_flag};
use crate::zone;
use imap_proto::{Date, Flag, SearchKey, SequenceSet};
use mailstore::{Flags, Message};
use text::{Content, Needle};

/// A search, made ready for one mailbox: strings decoded, sets resolved, cheap tests first.
pub struct Search {
    test: Test,
}

/// Deeper than `imap_proto` lets a search nest there is nothing, so recursion over it is safe.
enum Test {
    All,
    None,
    And(Vec<Test>),
    Or(Vec<Test>),
    Not(Box<Test>),
    Numbers(Vec<(u32, u32)>),
    Uids(Vec<(u32, u32)>),
    Flags(Flags),
    Keyword(u8),
    Recent,
    Arrived { from: i64, to: i64 },
    Sent { from: i64, to: i64 },
    Larger(u64),
    Smaller(u64),
    Header { name: String, needle: Needle },
    Body(Needle),
    Text(Needle),
}

impl Search {
    /// `NO [BADCHARSET]` for a charset nobody knows (RFC 3501 §6.4.4), `BAD` for numbers that no message has.
    pub fn new(selected: &Selected, key: &SearchKey, charset: Option<&str>) -> Result<Search, Answer> {
        let charset = charset.unwrap_or("UTF-8");
        if !message::charset::is_known(charset.as_bytes()) {
            return Err(Answer::no("BADCHARSET (US-ASCII UTF-8)", "Charset is not known"));
        }
        Ok(Search { test: compile(selected, key, charset)? })
    }

    /// Numbers and UIDs of the messages found, ascending. Blocking.
    pub fn run(&self, selected: &Selected) -> Result<Vec<crate::selected::Target>, Answer> {
        let mut found = Vec::new();
        for (message, number) in selected.view.snapshot().iter().zip(1u32..) {
            if selected.view.is_expunged(message.uid()) {
                continue;
            }
            let mut candidate = Candidate { selected, message, number, content: Content::new(selected, message.uid()) };
            match candidate.passes(&self.test) {
                Ok(true) => found.push(crate::selected::Target { number, uid: message.uid() }),
                Ok(false) => {}
                // Removed by somebody else meanwhile: it is not there to be found.
                Err(mailstore::Error::Expunged) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }
}

fn compile(selected: &Selected, key: &SearchKey, charset: &str) -> Result<Test, Answer> {
    let needle = |bytes: &[u8]| Needle::new(&message::charset::decode(charset.as_bytes(), bytes));
    let all = |keys: &[SearchKey]| {
        let mut tests = keys.iter().map(|key| compile(selected, key, charset)).collect::<Result<Vec<_>, _>>()?;
        tests.sort_by_key(Test::cost);
        Ok::<_, Answer>(tests)
    };
    const FOREVER: i64 = i64::MAX;
    Ok(match key {
        SearchKey::All => Test::All,
        SearchKey::And(keys) => Test::And(all(keys)?),
        SearchKey::Or(keys) => Test::Or(all(keys)?),
        SearchKey::Not(key) => Test::Not(Box::new(compile(selected, key, charset)?)),
        SearchKey::Numbers(set) => Test::Numbers(numbers(selected, set)?),
        SearchKey::Uids(set) => {
            let snapshot = selected.view.snapshot();
            Test::Uids(set.ranges(snapshot.get(snapshot.len().wrapping_sub(1)).map_or(0, Message::uid)))
        }
        SearchKey::Flag(Flag::Keyword(name)) => selected.view.snapshot().keywords().index(name).map_or(Test::None, Test::Keyword),
        SearchKey::Flag(flag) => Test::Flags(system_flag(flag)),
        SearchKey::Recent => Test::Recent,
        SearchKey::Before(day) => Test::Arrived { from: i64::MIN, to: day.days() },
        SearchKey::On(day) => Test::Arrived { from: day.days(), to: day.days() + 1 },
        SearchKey::Since(day) => Test::Arrived { from: day.days(), to: FOREVER },
        SearchKey::SentBefore(day) => Test::Sent { from: i64::MIN, to: day.days() },
        SearchKey::SentOn(day) => Test::Sent { from: day.days(), to: day.days() + 1 },
        SearchKey::SentSince(day) => Test::Sent { from: day.days(), to: FOREVER },
        SearchKey::Header { name, value } => Test::Header { name: name.clone(), needle: needle(value) },
        SearchKey::Body(value) => Test::Body(needle(value)),
        SearchKey::Text(value) => Test::Text(needle(value)),
        SearchKey::Larger(size) => Test::Larger(*size),
        SearchKey::Smaller(size) => Test::Smaller(*size),
    })
}

fn numbers(selected: &Selected, set: &SequenceSet) -> Result<Vec<(u32, u32)>, Answer> {
    let count = selected.view.snapshot().len() as u32;
    // As Dovecot: numbers beyond the end match nothing in a search.
    Ok(set.ranges(count))
}

impl Test {
    /// Tests that need no file come first.
    fn cost(&self) -> u32 {
        match self {
            Test::Body(_) | Test::Text(_) => 3,
            Test::Header { .. } | Test::Sent { .. } => 2,
            Test::Arrived { .. } | Test::Larger(_) | Test::Smaller(_) => 1,
            Test::And(tests) | Test::Or(tests) => tests.iter().map(Test::cost).max().unwrap_or(0),
            Test::Not(test) => test.cost(),
            _ => 0,
        }
    }
}

struct Candidate<'s> {
    selected: &'s Selected,
    message: &'s Message,
    number: u32,
    content: Content<'s>,
}

impl Candidate<'_> {
    fn passes(&mut self, test: &Test) -> mailstore::Result<bool> {
        let mailbox = self.selected.view.mailbox();
        Ok(match test {
            Test::All => true,
            Test::None => false,
            Test::And(tests) => {
                for test in tests {
                    if !self.passes(test)? {
                        return Ok(false);
                    }
                }
                true
            }
            Test::Or(tests) => {
                for test in tests {
                    if self.passes(test)? {
                        return Ok(true);
                    }
                }
                false
            }
            Test::Not(test) => !self.passes(test)?,
            Test::Numbers(ranges) => holds(ranges, self.number),
            Test::Uids(ranges) => holds(ranges, self.message.uid()),
            Test::Flags(flags) => self.message.flags().contains(*flags),
            Test::Keyword(index) => self.message.keywords().contains(*index),
            Test::Recent => self.selected.view.is_recent(self.message.uid()),
            Test::Arrived { from, to } => {
                let day = zone::local(mailbox.internal_date(self.message)?).day().days();
                (*from..*to).contains(&day)
            }
            Test::Sent { from, to } => {
                let day = self.content.sent_day()?;
                day.is_some_and(|day| (*from..*to).contains(&day))
            }
            Test::Larger(size) => mailbox.size(self.message)? > *size,
            Test::Smaller(size) => mailbox.size(self.message)? < *size,
            Test::Header { name, needle } => self.content.header_has(name, needle)?,
            Test::Body(needle) => self.content.body_has(needle)?,
            Test::Text(needle) => self.content.text_has(needle)?,
        })
    }
}

fn holds(ranges: &[(u32, u32)], n: u32) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= n);
    after > 0 && n <= ranges[after - 1].1
}

/// The day of a Date header, in the writer's own zone.
fn day_number((year, month, day): (i32, u8, u8)) -> i64 {
    Date { year: year.clamp(0, 9999) as u16, month, day }.days()
}
