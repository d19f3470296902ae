//! SEARCH: a compiled search and its walk over the messages (RFC 3501 §6.4.4), also for messages that are like what is looked for (RFC 6203).
//!
//! Where a message has a signature (`facteur.search`), it is read only if that lets it contain what is looked for. Fuzzy keys read always: a
//! word with another letter has other grams. Below FUZZY the keys for text are fuzzy, except below NOT, where that would find less; others are exact, as
//! RFC 6203 §5 leaves it to us. A message has the mean of the scores of keys that all have to hold, the best of alternatives, 100 for what holds exactly below FUZZY,
//! and 1 if nothing fuzzy speaks for it.

mod content;
mod needle;
mod turn;

use crate::answer::Answer;
use crate::selected::{Selected, Target, system_flag};
use crate::zone;
use content::{Content, Found, Keys, Progress, Scope};
use imap_proto::{Date, Flag, SearchKey, SequenceSet};
use mailstore::{Flags, Message};
use message::fuzzy::{EXACT, MOST_WORDS};
use needle::Needle;
use std::time::Instant;
use turn::Turn;

/// Keys that look into messages, in one search. Each is compared with all of each message.
const MOST_CONTENT_KEYS: usize = 100;

/// Keys that look into headers, in one search. Clients look for a thread by the Message-IDs of all its messages.
const MOST_HEADER_KEYS: usize = 1000;

/// Words that one search may look for one by one, each in each word of each message.
const MOST_FUZZY_WORDS: usize = 64;

/// The longest string looked for. So much of a text is kept while its next piece is looked at.
const LONGEST_NEEDLE: usize = 1 << 10;

/// A search, made ready for one mailbox: strings decoded, sets resolved, cheap tests first; and how far it has come.
pub struct Search {
    test: Test,
    keys: Keys,
    /// Index of the message to look at next.
    next: usize,
    /// How far that one was looked at, when it takes more than a turn.
    progress: Progress,
    /// Index behind the last one to look at.
    end: usize,
    found: Vec<Target>,
    /// How much of what is looked for each of them has, where that is asked.
    scores: Option<Vec<(u32, u8)>>,
    /// A message could not be read; the log has it once.
    unreadable: bool,
    /// One could not be read that may be readable the next time: it may have been one to find.
    pub incomplete: bool,
}

/// Deeper than `imap_proto` lets a search nest there is nothing, so recursion over it is safe.
enum Test {
    /// What holds in there is worth a score.
    Fuzzy(Box<Test>),
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
    Arrived {
        from: i64,
        to: i64,
    },
    Sent {
        from: i64,
        to: i64,
    },
    Larger(u64),
    Smaller(u64),
    /// RFC 8474.
    EmailId(u128),
    /// Days of the save date (RFC 8514).
    Saved {
        from: i64,
        to: i64,
    },
    ModSeq(u64),
    /// INTERNALDATE in seconds since 1970, both ends included.
    Between(i64, i64),
    /// By index into [`Keys`].
    Header(usize),
    Body(usize),
    Text(usize),
}

impl Search {
    /// `NO [BADCHARSET]` for a charset nobody knows (RFC 3501 §6.4.4), `NO [LIMIT]` for too many keys that look into messages, or too long ones.
    pub fn new(selected: &Selected, key: &SearchKey, charset: Option<&str>) -> Result<Search, Answer> {
        let charset = charset.unwrap_or("UTF-8");
        if !message::charset::is_known(charset.as_bytes()) {
            return Err(Answer::no("BADCHARSET (US-ASCII UTF-8)", "Charset is not known"));
        }
        let (contents, headers) = reading_keys(key);
        if contents > MOST_CONTENT_KEYS {
            return Err(Answer::no("LIMIT", format!("More than {MOST_CONTENT_KEYS} search keys that look into messages")));
        }
        if headers > MOST_HEADER_KEYS {
            return Err(Answer::no("LIMIT", format!("More than {MOST_HEADER_KEYS} search keys that look into headers")));
        }
        let mut keys = Keys::default();
        let test = compile(selected, key, Reading { charset, fuzzy: false }, &mut keys)?;
        if keys.words() > MOST_FUZZY_WORDS {
            return Err(Answer::no("LIMIT", format!("More than {MOST_FUZZY_WORDS} words in fuzzy search keys")));
        }
        Ok(Search {
            test,
            keys,
            next: 0,
            end: usize::MAX,
            progress: Progress::default(),
            found: Vec::new(),
            scores: key.has_fuzzy().then(Vec::new),
            unreadable: false,
            incomplete: false,
        })
    }

    /// The same search, among messages with these UIDs (rising) only.
    pub fn among(selected: &Selected, key: &SearchKey, charset: Option<&str>, uids: &[u32]) -> Result<Search, Answer> {
        let mut search = Search::new(selected, key, charset)?;
        let snapshot = selected.view.snapshot();
        let (Some(first), Some(last)) = (uids.first(), uids.last()) else { return Ok(Search { end: 0, ..search }) };
        (search.next, search.end) = (snapshot.first_from(*first), snapshot.first_from(last.saturating_add(1)));
        search.test = Test::And(vec![Test::Uids(uids.iter().map(|uid| (*uid, *uid)).collect()), search.test]);
        Ok(search)
    }

    /// So many messages were looked at, of all that there are.
    pub fn looked_at(&self) -> usize {
        self.next
    }

    /// Looks at messages until `until`, also at a part of a large one only; true when all were looked at. Blocking.
    pub fn go_on(&mut self, selected: &Selected, until: Instant) -> Result<bool, Answer> {
        let mut turn = Turn::new(until);
        for message in selected.view.snapshot().iter_from(self.next) {
            if self.next >= self.end {
                break;
            }
            let target = Target { number: self.next as u32 + 1, uid: message.uid() };
            let mut progress = std::mem::take(&mut self.progress);
            if !selected.view.is_expunged(target.uid) {
                let content = Content { selected, message, keys: &self.keys, progress: &mut progress, turn: &mut turn };
                let mut candidate = Candidate { selected, message, number: target.number, scored: self.scores.is_some(), content };
                match candidate.passes(&self.test) {
                    Ok(Found::No) => {}
                    Ok(found) => {
                        self.found.push(target);
                        if let Some(scores) = &mut self.scores {
                            scores.push((target.uid, if let Found::Scored(score) = found { score } else { 1 }));
                        }
                    }
                    Err(Stop::Later) => {
                        self.progress = progress;
                        return Ok(false);
                    }
                    Err(Stop::Failed(error)) => self.failed(target.uid, error)?,
                }
            }
            self.next += 1;
            if turn.is_over() {
                return Ok(self.next >= selected.view.snapshot().len().min(self.end));
            }
        }
        Ok(true)
    }

    /// One file that cannot be read does not keep the others from being found.
    fn failed(&mut self, uid: u32, error: mailstore::Error) -> Result<(), Answer> {
        self.incomplete |= !error.is_lasting();
        match error {
            // Removed by somebody else meanwhile: it is not there to be found.
            mailstore::Error::Expunged => {}
            error @ mailstore::Error::NoSuchMailbox => return Err(error.into()),
            error if self.unreadable => tracing::debug!(uid, %error, "message cannot be searched"),
            error => {
                tracing::error!(uid, %error, "message cannot be searched");
                self.unreadable = true;
            }
        }
        Ok(())
    }

    /// How relevant the messages found are (RFC 6203 §4).
    pub fn take_scores(&mut self) -> Scores {
        Scores(self.scores.take().unwrap_or_default())
    }

    /// The messages found, ascending.
    pub fn into_found(self) -> Vec<Target> {
        self.found
    }
}

/// Relevancy scores by UID, ascending.
#[derive(Default)]
pub struct Scores(Vec<(u32, u8)>);

impl Scores {
    /// 1 to 100; 1 for what was not found.
    pub fn of(&self, uid: u32) -> u8 {
        self.0.binary_search_by_key(&uid, |(uid, _)| *uid).map_or(1, |at| self.0[at].1)
    }
}

/// Why a message has no verdict.
enum Stop {
    /// The turn is over; the next one goes on where this one was.
    Later,
    Failed(mailstore::Error),
}

impl From<mailstore::Error> for Stop {
    fn from(error: mailstore::Error) -> Stop {
        Stop::Failed(error)
    }
}

/// Number of keys that read messages, and of those that read headers only.
fn reading_keys(key: &SearchKey) -> (usize, usize) {
    match key {
        SearchKey::And(keys) | SearchKey::Or(keys) => {
            keys.iter().map(reading_keys).fold((0, 0), |sum, more| (sum.0 + more.0, sum.1 + more.1))
        }
        SearchKey::Not(key) | SearchKey::Fuzzy(key) => reading_keys(key),
        SearchKey::Body(_) | SearchKey::Text(_) => (1, 0),
        SearchKey::Header { .. } => (0, 1),
        SearchKey::SentBefore(_) | SearchKey::SentOn(_) | SearchKey::SentSince(_) => (0, 1),
        _ => (0, 0),
    }
}

/// How the strings of a search are to be read.
#[derive(Clone, Copy)]
struct Reading<'a> {
    charset: &'a str,
    /// What is like them will do.
    fuzzy: bool,
}

impl Reading<'_> {
    fn needle(self, bytes: &[u8]) -> Result<Needle, Answer> {
        let text = message::charset::decode(self.charset.as_bytes(), bytes);
        let needle = match self.fuzzy {
            false => Needle::new(&text),
            true => {
                Needle::fuzzy(&text).ok_or_else(|| Answer::no("LIMIT", format!("Fuzzy search string has more than {MOST_WORDS} words")))?
            }
        };
        match needle.length() <= LONGEST_NEEDLE {
            true => Ok(needle),
            false => Err(Answer::no("LIMIT", format!("Search string is longer than {LONGEST_NEEDLE} bytes"))),
        }
    }
}

fn compile(selected: &Selected, key: &SearchKey, reading: Reading<'_>, known: &mut Keys) -> Result<Test, Answer> {
    let needle = |bytes: &[u8]| reading.needle(bytes);
    let all = |keys: &[SearchKey], known: &mut Keys| -> Result<Vec<Test>, Answer> {
        let mut tests = keys.iter().map(|key| compile(selected, key, reading, known)).collect::<Result<Vec<Test>, Answer>>()?;
        tests.sort_by_key(Test::cost);
        Ok(tests)
    };
    const FOREVER: i64 = i64::MAX;
    Ok(match key {
        SearchKey::All => Test::All,
        SearchKey::And(keys) => Test::And(all(keys, known)?),
        SearchKey::Or(keys) => Test::Or(all(keys, known)?),
        SearchKey::Not(key) => Test::Not(Box::new(compile(selected, key, Reading { fuzzy: false, ..reading }, known)?)),
        SearchKey::Fuzzy(key) => Test::Fuzzy(Box::new(compile(selected, key, Reading { fuzzy: true, ..reading }, known)?)),
        SearchKey::Numbers(set) | SearchKey::Uids(set) if set.is_saved() => {
            Test::Uids(selected.saved.iter().map(|uid| (*uid, *uid)).collect())
        }
        SearchKey::Numbers(set) => Test::Numbers(numbers(selected, set)),
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
        SearchKey::Header { name, value } => Test::Header(known.header(name, needle(value)?)),
        // RFC 3501 §6.4.4: in any text, and none
        SearchKey::Body(value) | SearchKey::Text(value) if value.is_empty() => Test::All,
        SearchKey::Body(value) => Test::Body(known.content(Scope::Body, needle(value)?)),
        SearchKey::Text(value) => Test::Text(known.content(Scope::Text, needle(value)?)),
        SearchKey::Older(seconds) => Test::Between(i64::MIN, zone::now() - i64::from(*seconds)),
        SearchKey::Younger(seconds) => Test::Between(zone::now() - i64::from(*seconds), i64::MAX),
        SearchKey::EmailId(id) => crate::fetch::email_id(id).map_or(Test::None, Test::EmailId),
        // RFC 8474 §5.2: nobody has one.
        SearchKey::ThreadId(_) => Test::None,
        SearchKey::SavedBefore(day) => Test::Saved { from: i64::MIN, to: day.days() },
        SearchKey::SavedOn(day) => Test::Saved { from: day.days(), to: day.days() + 1 },
        SearchKey::SavedSince(day) => Test::Saved { from: day.days(), to: FOREVER },
        SearchKey::SaveDateSupported => Test::All,
        SearchKey::Larger(size) => Test::Larger(*size),
        SearchKey::Smaller(size) => Test::Smaller(*size),
        SearchKey::ModSeq(modseq) => {
            selected.needs_modseqs()?;
            Test::ModSeq(*modseq)
        }
    })
}

fn numbers(selected: &Selected, set: &SequenceSet) -> Vec<(u32, u32)> {
    let count = selected.view.snapshot().len() as u32;
    // As Dovecot: numbers beyond the end match nothing in a search.
    set.ranges(count)
}

impl Test {
    /// Tests that need no file come first.
    fn cost(&self) -> u32 {
        match self {
            Test::Body(_) | Test::Text(_) => 3,
            Test::Header(_) | Test::Sent { .. } => 2,
            Test::Arrived { .. } | Test::Saved { .. } | Test::Between(..) | Test::Larger(_) | Test::Smaller(_) => 1,
            Test::And(tests) | Test::Or(tests) => tests.iter().map(Test::cost).max().unwrap_or(0),
            Test::Not(test) | Test::Fuzzy(test) => test.cost(),
            _ => 0,
        }
    }
}

struct Candidate<'s> {
    selected: &'s Selected,
    message: &'s Message,
    number: u32,
    /// It matters how well it is found.
    scored: bool,
    content: Content<'s>,
}

impl Candidate<'_> {
    fn passes(&mut self, test: &Test) -> Result<Found, Stop> {
        Ok(match test {
            Test::And(tests) => {
                let (mut sum, mut count) = (0, 0usize);
                for test in tests {
                    match self.passes(test)? {
                        Found::No => return Ok(Found::No),
                        Found::Yes => {}
                        Found::Scored(score) => (sum, count) = (sum + usize::from(score), count + 1),
                    }
                }
                sum.checked_div(count).map_or(Found::Yes, |mean| Found::Scored(mean as u8))
            }
            Test::Or(tests) => {
                let mut best = Found::No;
                for test in tests {
                    best = better(best, self.passes(test)?);
                    if best == Found::Scored(EXACT) || best == Found::Yes && !self.scored {
                        break;
                    }
                }
                best
            }
            Test::Not(test) => (self.passes(test)? == Found::No).into(),
            Test::Fuzzy(test) => match self.passes(test)? {
                Found::Yes => Found::Scored(EXACT),
                other => other,
            },
            Test::Header(key) => self.content.header_has(*key)?,
            Test::Body(key) | Test::Text(key) => self.content.has(*key)?,
            plain => self.holds(plain)?.into(),
        })
    }

    /// Tests that a message passes or not.
    fn holds(&mut self, test: &Test) -> Result<bool, Stop> {
        let mailbox = self.selected.view.mailbox();
        Ok(match test {
            Test::All => true,
            Test::ModSeq(modseq) => self.message.modseq() >= *modseq,
            Test::Numbers(ranges) => holds(ranges, self.number),
            Test::Uids(ranges) => holds(ranges, self.message.uid()),
            Test::Flags(flags) => self.message.flags().contains(*flags),
            Test::Keyword(index) => self.message.keywords().contains(*index),
            Test::Recent => self.selected.view.is_recent(self.message.uid()),
            Test::Arrived { from, to } => {
                let day = zone::local(mailbox.internal_date(self.message)?).day().days();
                (*from..*to).contains(&day)
            }
            Test::Saved { from, to } => {
                let day = zone::local(mailbox.save_date(self.message)?).day().days();
                (*from..*to).contains(&day)
            }
            Test::EmailId(id) => self.message.email_id() == *id,
            Test::Between(from, to) => (*from..=*to).contains(&mailbox.internal_date(self.message)?),
            Test::Sent { from, to } => {
                let day = self.content.sent_day()?;
                day.is_some_and(|day| (*from..*to).contains(&day))
            }
            Test::Larger(size) => mailbox.size(self.message)? > *size,
            Test::Smaller(size) => mailbox.size(self.message)? < *size,
            // `passes` knows the others
            _ => false,
        })
    }
}

/// What speaks more for a message.
fn better(one: Found, other: Found) -> Found {
    match (one, other) {
        (Found::Scored(a), Found::Scored(b)) => Found::Scored(a.max(b)),
        (Found::Scored(score), _) | (_, Found::Scored(score)) => Found::Scored(score),
        (Found::No, Found::No) => Found::No,
        _ => Found::Yes,
    }
}

impl From<bool> for Found {
    fn from(is: bool) -> Found {
        if is { Found::Yes } else { Found::No }
    }
}

fn holds(ranges: &[(u32, u32)], n: u32) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= n);
    after > 0 && n <= ranges[after - 1].1
}

/// The day of a Date header, in the writer's own zone.
pub fn day_number((year, month, day): (i32, u8, u8)) -> i64 {
    Date { year: year.clamp(0, 9999) as u16, month, day }.days()
}
