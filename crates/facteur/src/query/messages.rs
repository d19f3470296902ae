//! Which messages of a mailbox are meant. Text is decoded and compared as IMAP's SEARCH does (RFC 5255 §4.2, i;unicode-casemap).

use super::mailboxes::decide;
use super::threads;
use super::{Key, Query, Span, parts};
use imap_proto::Date;
use mailstore::{Error, Mailbox, Message, Snapshot, Whole};
use message::thread::Item;
use message::{Field, Kind, collation_key};
use std::cell::OnceCell;
use std::collections::HashSet;

/// Of a header field longer than this no more is looked at.
const FIELD_BYTES: usize = 256 << 10;

/// A header is read up to here.
const HEADER_BYTES: usize = 1 << 20;

/// A query on its way through one mailbox.
pub struct Search<'q> {
    test: Test<'q>,
    /// What could not be read to make it ready.
    unreadable: Vec<Unreadable>,
}

/// A message that could not be looked into; it may have been one that is meant.
#[derive(Debug, thiserror::Error)]
#[error("{mailbox}: message with UID {uid}: {source}")]
pub struct Unreadable {
    pub mailbox: String,
    pub uid: u32,
    #[source]
    pub source: Error,
}

/// A key made ready for one mailbox: what the mailbox alone tells is decided, sets are resolved, texts are as they are compared.
enum Test<'q> {
    Known(bool),
    And(Vec<Test<'q>>),
    Or(Vec<Test<'q>>),
    Not(Box<Test<'q>>),
    Numbers(Vec<(u32, u32)>),
    Uids(Vec<(u32, u32)>),
    Keyword(u8),
    Header(&'q str, String),
    Body(String),
    Text(String),
    Part(&'q parts::PartKey),
    /// By their numbers.
    InThread(HashSet<u32>),
    Plain(&'q Key),
}

impl<'q> Search<'q> {
    /// `guid` is the mailbox's id (it may be empty where [`Query::asks_for_guid`] says no).
    pub fn new(query: &'q Query, mailbox: &Mailbox, snapshot: &Snapshot, guid: &str) -> Search<'q> {
        let mut unreadable = Vec::new();
        let test = compile(&query.0, mailbox, snapshot, guid, &mut unreadable);
        Search { test, unreadable }
    }

    /// The messages of `snapshot` that are meant, by rising number, with that (counted from 1). One that somebody else removed meanwhile is
    /// none of them. Blocking.
    pub fn found<'s>(
        &'s mut self,
        mailbox: &'s Mailbox,
        snapshot: &'s Snapshot,
    ) -> impl Iterator<Item = Result<(u32, &'s Message), Unreadable>> {
        let unreadable = std::mem::take(&mut self.unreadable).into_iter().map(Err);
        unreadable.chain(found(&self.test, mailbox, snapshot))
    }
}

fn found<'s>(
    test: &'s Test<'_>,
    mailbox: &'s Mailbox,
    snapshot: &'s Snapshot,
) -> impl Iterator<Item = Result<(u32, &'s Message), Unreadable>> {
    (1..).zip(snapshot.iter()).filter_map(move |(number, message)| {
        let candidate = Candidate { mailbox, message, number, header: OnceCell::new(), whole: OnceCell::new() };
        match candidate.passes(test) {
            Ok(true) => Some(Ok((number, message))),
            Ok(false) | Err(Error::Expunged) => None,
            Err(source) => Some(Err(Unreadable { mailbox: mailbox.name().to_string(), uid: message.uid(), source })),
        }
    })
}

/// Threads take a look at all messages; those that cannot be read are told, and are no part of any.
fn compile<'q>(key: &'q Key, mailbox: &Mailbox, snapshot: &Snapshot, guid: &str, unreadable: &mut Vec<Unreadable>) -> Test<'q> {
    if let Some(known) = decide(key, mailbox.name(), guid) {
        return Test::Known(known);
    }
    let mut all = |keys: &'q [Key]| keys.iter().map(|key| compile(key, mailbox, snapshot, guid, unreadable)).collect();
    let last = || snapshot.get(snapshot.len().wrapping_sub(1));
    match key {
        Key::And(keys) => Test::And(all(keys)),
        Key::Or(keys) => Test::Or(all(keys)),
        Key::Not(key) => Test::Not(Box::new(compile(key, mailbox, snapshot, guid, unreadable))),
        Key::Numbers(set) => Test::Numbers(set.ranges(snapshot.len() as u32)),
        Key::Uids(set) => Test::Uids(set.ranges(last().map_or(0, Message::uid))),
        Key::Keyword(name) => snapshot.keywords().index(name).map_or(Test::Known(false), Test::Keyword),
        Key::Header(field, value) => Test::Header(field, collation_key(value)),
        Key::Body(value) => Test::Body(collation_key(value)),
        Key::Text(value) => Test::Text(collation_key(value)),
        Key::Part(key) => Test::Part(key),
        Key::InThread(algorithm, key) => {
            let test = compile(key, mailbox, snapshot, guid, unreadable);
            let mut keep = |message: Result<_, Unreadable>| message.map_err(|error| unreadable.push(error)).ok();
            let meant = found(&test, mailbox, snapshot).filter_map(&mut keep).map(|(number, _)| number).collect();
            let items = (1..).zip(snapshot.iter()).filter_map(|(number, message)| {
                let candidate = Candidate { mailbox, message, number, header: OnceCell::new(), whole: OnceCell::new() };
                match candidate.item() {
                    Ok(item) => Some((number, item)),
                    Err(Error::Expunged) => None,
                    Err(source) => {
                        keep(Err(Unreadable { mailbox: mailbox.name().to_string(), uid: message.uid(), source }));
                        None
                    }
                }
            });
            Test::InThread(threads::around(*algorithm, items, &meant))
        }
        key => Test::Plain(key),
    }
}

struct Candidate<'s> {
    mailbox: &'s Mailbox,
    message: &'s Message,
    number: u32,
    header: OnceCell<Vec<u8>>,
    whole: OnceCell<Whole>,
}

impl Candidate<'_> {
    fn passes(&self, test: &Test<'_>) -> Result<bool, Error> {
        Ok(match test {
            Test::Known(known) => *known,
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
            Test::Keyword(index) => self.message.keywords().contains(*index),
            Test::Header(name, value) => {
                let mut fields = message::fields(self.header()?).filter(|field| field.is(name));
                fields.any(|field| text_of(&field).contains(value))
            }
            Test::Body(value) => self.contains(value, false)?,
            Test::Text(value) => self.contains(value, true)?,
            Test::Part(key) => parts::has(&message::Message::parse(self.whole()?), key),
            Test::InThread(numbers) => numbers.contains(&self.number),
            Test::Plain(key) => self.holds(key)?,
        })
    }

    /// Keys that are the same in every mailbox.
    fn holds(&self, key: &Key) -> Result<bool, Error> {
        Ok(match key {
            Key::Guid(guid) => self.message.guid() == guid.as_str(),
            Key::Flags(flags) => self.message.flags().contains(*flags),
            Key::Recent => self.message.is_in_new(),
            Key::Received(span) => span.has(self.mailbox.internal_date(self.message)?),
            Key::Saved(span) => span.has(self.mailbox.save_date(self.message)?),
            Key::Sent(span) => {
                let date = message::find(self.header()?, "Date").and_then(|field| message::Date::parse(field.value()));
                date.is_some_and(|date| span.has_date(&date))
            }
            Key::Larger(bytes) => self.mailbox.size(self.message)? > *bytes,
            Key::Smaller(bytes) => self.mailbox.size(self.message)? < *bytes,
            // `compile` left none of the others
            _ => false,
        })
    }

    fn header(&self) -> Result<&[u8], Error> {
        if let Some(whole) = self.whole.get() {
            return Ok(&whole[..message::header_length(whole)]);
        }
        if self.header.get().is_none() {
            let header = self.mailbox.read(self.message.uid())?.read_header(HEADER_BYTES).map_err(unreadable)?;
            return Ok(self.header.get_or_init(|| header));
        }
        Ok(self.header.get().map_or(&[], Vec::as_slice))
    }

    fn whole(&self) -> Result<&Whole, Error> {
        if self.whole.get().is_none() {
            let whole = self.mailbox.read(self.message.uid())?.read_all().map_err(unreadable)?;
            return Ok(self.whole.get_or_init(|| whole));
        }
        self.whole.get().ok_or(Error::Expunged)
    }

    /// What its threads are made of.
    fn item(&self) -> Result<Item, Error> {
        Ok(threads::item(self.header()?, self.mailbox.internal_date(self.message)?))
    }

    /// RFC 9051 §6.4.4 BODY and TEXT: parts that are text, and with `headers` the headers of all parts.
    fn contains(&self, value: &str, headers: bool) -> Result<bool, Error> {
        let message = message::Message::parse(self.whole()?);
        let in_header =
            |field: Field<'_>| collation_key(&String::from_utf8_lossy(field.name())).contains(value) || text_of(&field).contains(value);
        Ok(message.parts().iter().any(|part| {
            headers && message::fields(part.header_bytes()).any(in_header)
                || part.kind == Kind::Text && collation_key(&part.text()).contains(value)
        }))
    }
}

pub(super) fn text_of(field: &Field<'_>) -> String {
    let raw = field.raw();
    let begin = if raw.len() > FIELD_BYTES { message::fields(&raw[..FIELD_BYTES]).next() } else { None };
    collation_key(&begin.as_ref().unwrap_or(field).text())
}

fn unreadable(source: std::io::Error) -> Error {
    Error::Io { step: "read", path: "message".into(), source }
}

fn holds(ranges: &[(u32, u32)], n: u32) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= n);
    after > 0 && n <= ranges[after - 1].1
}

impl Span {
    fn has(&self, seconds: i64) -> bool {
        (self.from..self.to).contains(&seconds)
    }

    /// Days are those of the writer's clock.
    pub(super) fn has_date(&self, date: &message::Date) -> bool {
        let Some((first, end)) = self.days else { return self.has(date.unix()) };
        let (year, month, day) = date.day();
        (first..end).contains(&Date { year: year.clamp(0, 9999) as u16, month, day }.days())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;
    use mailstore::{FlagSet, Flags, Location, MailboxName, Settings, Store};
    use std::sync::Arc;

    /// 2026-11-23 11:00 UTC.
    const NOW: i64 = 1_795_431_600;

    fn mailbox(folder: &std::path::Path) -> Arc<Mailbox> {
        let store = Store::new(Settings::default());
        let account = store.account(&Location::maildir(folder.join("mail")).expect("location")).expect("account");
        let mailbox = account.open(&MailboxName::inbox()).expect("INBOX");
        let texts = [
            ("From: Ann <ann@x.test>\nSubject: =?utf-8?q?=C3=89t=C3=A9?=\nDate: Mon, 23 Nov 2026 00:30:00 +0200\n\nplain words\n", 20),
            ("From: bob@x.test\nTo: ann@x.test\nX-Empty:\nContent-Transfer-Encoding: base64\n\naGlkZGVuIHdvcmRz\n", 10),
            ("Subject: large\n\n", 1),
        ];
        for (index, (text, age_days)) in texts.into_iter().enumerate() {
            let mut incoming = mailbox.incoming(0).expect("incoming");
            incoming.write(text.as_bytes()).expect("written");
            if index == 2 {
                incoming.write(&b"x\n".repeat(1024)).expect("written");
            }
            let mut flags = FlagSet::new(if index == 0 { Flags::SEEN } else { Flags::NONE });
            if index == 1 {
                flags.keywords.push("$Forwarded".into());
            }
            incoming.describe(flags, Some(NOW - age_days * 86_400));
            mailbox.append(vec![incoming]).expect("appended");
        }
        mailbox
    }

    #[test]
    fn messages_are_found_by_each_kind_of_key() {
        let folder = tempfile::tempdir().expect("folder");
        let mailbox = mailbox(folder.path());
        let snapshot = mailbox.snapshot();
        let id = mailbox.mailbox_id().expect("id");
        let guid = format!("guid {}", snapshot.get(1).expect("second").guid());
        for (query, want) in [
            ("all", &[1, 2, 3][..]),
            ("2:*", &[2, 3]),
            ("uid 1,3", &[1, 3]),
            ("seen", &[1]),
            ("unseen", &[2, 3]),
            ("keyword $forwarded", &[2]),
            ("unkeyword $Forwarded", &[1, 3]),
            ("keyword none", &[]),
            ("recent", &[3]),
            ("old", &[1, 2]),
            ("new", &[3]),
            (guid.as_str(), &[2]),
            ("from ann", &[1]),
            ("to ANN@", &[2]),
            ("subject été", &[1]),
            ("header x-empty _", &[2]),
            ("header x-none _", &[]),
            ("body words", &[1, 2]),
            ("body hidden", &[2]),
            ("text x-empty", &[2]),
            ("body x-empty", &[]),
            ("larger 1k", &[3]),
            ("smaller 1k", &[1, 2]),
            ("before 15d", &[1]),
            ("since 15d", &[2, 3]),
            ("on 2026-11-22", &[3]),
            // all were saved when this test ran
            ("savedbefore 2026-01-01", &[]),
            ("mimepart encoding base64", &[2]),
            ("mimepart ( type text body words )", &[1, 2]),
            ("inthread references seen", &[1]),
            ("not inthread refs ( mailbox Other seen )", &[1, 2, 3]),
            ("savedsince 2026-01-01", &[1, 2, 3]),
            // the day of the writer, which was another one in UTC
            ("senton 2026-11-23", &[1]),
            ("sentbefore 1795392000", &[1]),
            ("sentsince 2026-11-24", &[]),
            ("mailbox INBOX seen", &[1]),
            ("mailbox Other or seen", &[1]),
            ("not ( mailbox INBOX seen )", &[2, 3]),
            ("from bob or larger 1k", &[2, 3]),
        ] {
            let words: Vec<&str> = query.split(' ').map(|word| if word == "_" { "" } else { word }).collect();
            let query = Query::parse(&words, NOW, TimeZone::UTC).expect(query);
            let mut search = Search::new(&query, &mailbox, &snapshot, &id);
            let found: Vec<u32> = search.found(&mailbox, &snapshot).map(|found| found.expect("readable").0).collect();
            assert_eq!(found, want, "{words:?}");
        }
    }

    #[test]
    fn a_message_that_cannot_be_read_is_told_and_the_others_are_found() {
        let folder = tempfile::tempdir().expect("folder");
        let mailbox = mailbox(folder.path());
        let snapshot = mailbox.snapshot();
        let cur = folder.path().join("mail/cur");
        let first = std::fs::read_dir(&cur)
            .expect("cur")
            .map(|file| file.expect("file").path())
            .find(|path| path.to_string_lossy().ends_with(",S"));
        let first = first.expect("the message that was seen");
        std::fs::remove_file(&first).expect("removed");
        std::os::unix::fs::symlink("/etc/hostname", &first).expect("link");
        let query = Query::parse(&["body", "words"], NOW, TimeZone::UTC).expect("query");
        let mut search = Search::new(&query, &mailbox, &snapshot, "");
        let found: Vec<Result<u32, u32>> =
            search.found(&mailbox, &snapshot).map(|found| found.map(|found| found.0).map_err(|error| error.uid)).collect();
        assert_eq!(found, [Err(1), Ok(2)]);
    }
}
