//! `maildirsize`: what an account uses, as Maildir++ has it and Dovecot's `maildir` quota writes it.
//!
//! ```text
//! 10485760S,1000C
//! 52345 12
//! 1200 1
//! -600 -1
//! ```
//! First line: the limits it was counted under (`0S` none). Others: bytes and messages added (one `write` each, appended, no lock).
//! Counted anew from the names in all mailboxes when it is missing, damaged, has other limits, is longer than 5120 bytes, or says that
//! the quota is passed and is older than 15 minutes. An account without limits, and without mailboxes that have some, gets no file, but an existing one is kept true.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::dir::Dir;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::name::MailboxName;
use crate::quota_rules::QuotaRules;
use crate::snapshot::size_in_name;

const FILE: &str = "maildirsize";
const LARGEST_BYTES: usize = 5120;
const STALE_SECONDS: i64 = 15 * 60;

/// Limits of an account, 0 = none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub bytes: u64,
    pub messages: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub bytes: i64,
    pub messages: i64,
}

impl Limits {
    pub fn is_none(self) -> bool {
        self == Limits::default()
    }

    fn header(self) -> String {
        match (self.bytes, self.messages) {
            (bytes, 0) => format!("{bytes}S\n"),
            (0, messages) => format!("{messages}C\n"),
            (bytes, messages) => format!("{bytes}S,{messages}C\n"),
        }
    }

    fn passed_by(self, used: Usage) -> bool {
        Room { limits: self, grace: 0 }.check(used, Usage::default()).is_err()
    }
}

/// What may be put into one mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub limits: Limits,
    /// Bytes that one message may go beyond, while the account is not full.
    pub grace: u64,
}

impl Room {
    fn check(self, used: Usage, more: Usage) -> Result<()> {
        let over = |used: i64, more: i64, limit: u64| limit != 0 && used.saturating_add(more) > limit.min(i64::MAX as u64) as i64;
        let Limits { bytes, messages } = self.limits;
        let is_full = over(used.bytes, 0, bytes);
        if over(used.bytes, more.bytes, if is_full { bytes } else { bytes.saturating_add(if bytes == 0 { 0 } else { self.grace }) }) {
            return Err(Error::OverQuota { used: used.bytes.max(0) as u64, limit: bytes, unit: "bytes" });
        }
        if over(used.messages, more.messages, messages) {
            return Err(Error::OverQuota { used: used.messages.max(0) as u64, limit: messages, unit: "messages" });
        }
        Ok(())
    }
}

/// How an account is counted: by which limits, and which of its mailboxes are left out.
#[derive(Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub limits: Limits,
    pub rules: &'a QuotaRules,
    pub layout: Layout,
}

/// Adds to what the account uses, if it fits. Done before the message is stored, so that many deliveries at once cannot all take
/// the same room; a failed one gives its room back with [`release`]. Returns what is used then, when there are limits.
pub(crate) fn charge(root: &Dir, terms: Terms<'_>, room: Room, bytes: u64, messages: u64) -> Result<Option<Usage>> {
    let more = Usage { bytes: bytes as i64, messages: messages as i64 };
    if terms.limits.is_none() && room.limits.is_none() {
        return note(root, more).map(|()| None);
    }
    let used = usage(root, terms)?;
    room.check(used, more)?;
    note(root, more)?;
    Ok(Some(Usage { bytes: used.bytes.saturating_add(more.bytes), messages: used.messages.saturating_add(more.messages) }))
}

/// `OverQuota` when so much more would not fit; nothing is taken.
pub(crate) fn check(root: &Dir, terms: Terms<'_>, room: Room, bytes: u64, messages: u64) -> Result<()> {
    room.check(usage(root, terms)?, Usage { bytes: bytes as i64, messages: messages as i64 })
}

/// Takes room whether there is some or not.
pub(crate) fn charge_always(root: &Dir, bytes: u64, messages: u64) -> Result<()> {
    note(root, Usage { bytes: bytes as i64, messages: messages as i64 })
}

/// Bytes and number of the messages in a directory, by the sizes in their names, else by asking.
pub(crate) fn weigh(dir: &Dir) -> Result<(u64, u64)> {
    let (mut bytes, mut messages) = (0, 0);
    let mut names = Vec::new();
    dir.each_file(|name| !name.starts_with('.'), |name| names.push(name.to_owned()))?;
    for name in &names {
        let base = name.split(':').next().unwrap_or(name);
        bytes += match size_in_name(base, b'S') {
            Some(size) => size,
            None => dir.stat(name)?.map_or(0, |stat| stat.st_size as u64),
        };
        messages += 1;
    }
    Ok((bytes, messages))
}

/// Takes back what [`charge`] added or a removed message used.
pub(crate) fn release(root: &Dir, bytes: u64, messages: u64) {
    if let Err(error) = note(root, Usage { bytes: -(bytes as i64), messages: -(messages as i64) }) {
        tracing::warn!(%error, "maildirsize is too high until it is counted anew");
    }
}

/// What the account uses.
pub(crate) fn usage(root: &Dir, terms: Terms<'_>) -> Result<Usage> {
    let limits = terms.limits;
    let mut text = Vec::new();
    let mut modified = 0;
    match root.open_file(FILE) {
        Ok(file) => {
            modified = nix::sys::stat::fstat(&file).map_or(0, |stat| stat.st_mtime);
            file.take(LARGEST_BYTES as u64 + 1).read_to_end(&mut text).map_err(|e| Error::io("read", root.at(FILE), e))?;
        }
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    if let Some((used, lines)) = parse(&text, limits) {
        let passed = limits.passed_by(used);
        // one line: just counted, by somebody who came to the same result
        if !passed || lines <= 1 || now - modified < STALE_SECONDS {
            return Ok(used);
        }
    }
    recount(root, terms)
}

/// Sum of the file and number of its lines behind the header; `None` when it has to be counted anew.
fn parse(text: &[u8], limits: Limits) -> Option<(Usage, usize)> {
    if text.len() > LARGEST_BYTES || !text.ends_with(b"\n") {
        return None;
    }
    let mut lines = std::str::from_utf8(text).ok()?.lines();
    if format!("{}\n", lines.next()?) != limits.header() {
        return None;
    }
    let (mut used, mut count) = (Usage::default(), 0);
    for line in lines {
        let mut words = line.split_ascii_whitespace();
        used.bytes = used.bytes.checked_add(words.next()?.parse().ok()?)?;
        used.messages = used.messages.checked_add(words.next()?.parse().ok()?)?;
        count += 1;
    }
    (used.bytes >= 0 && used.messages >= 0).then_some((used, count))
}

/// Appends a line when the file is there.
fn note(root: &Dir, more: Usage) -> Result<()> {
    let mut file = match root.open_append(FILE) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(error),
    };
    file.write_all(format!("{} {}\n", more.bytes, more.messages).as_bytes()).map_err(|e| Error::io("write", root.at(FILE), e))
}

/// What is counted is wrong: it is counted anew when somebody asks.
pub(crate) fn forget(root: &Dir) -> Result<()> {
    root.unlink(FILE).map(drop)
}

/// Counts all mailboxes and writes the file anew (through `tmp/`, as Maildir++ wants).
pub(crate) fn recount(root: &Dir, terms: Terms<'_>) -> Result<Usage> {
    let limits = terms.limits;
    let mut used = Usage::default();
    let mut directories = Vec::new();
    if !terms.rules.ignores(&MailboxName::inbox()) {
        directories.push(String::new());
    }
    let others = terms.layout.candidates(root)?;
    directories.extend(others.into_iter().filter(|(name, _)| !terms.rules.ignores(name)).map(|(_, directory)| directory));
    for directory in directories {
        for part in ["new", "cur"] {
            let below = if directory.is_empty() { part.to_owned() } else { format!("{directory}/{part}") };
            let dir = match root.open_dir(&below) {
                Ok(dir) => dir,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error),
            };
            let (bytes, messages) = weigh(&dir)?;
            used.bytes = used.bytes.saturating_add(bytes as i64);
            used.messages += messages as i64;
        }
    }
    if !limits.is_none() || terms.rules.limit_anything() {
        // Several threads may count at once.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let temporary = format!("maildirsize.{}.{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let text = format!("{}{} {}\n", limits.header(), used.bytes, used.messages);
        let mut file = root.create_or_truncate(&temporary)?;
        if let Err(error) = file.write_all(text.as_bytes()) {
            let _ = root.unlink(&temporary);
            return Err(Error::io("write", root.at(&temporary), error));
        }
        root.rename(&temporary, root, FILE)?;
    }
    Ok(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { bytes: 1000, messages: 5 };

    fn charge(root: &Dir, limits: Limits, bytes: u64, messages: u64) -> Result<Option<Usage>> {
        super::charge(root, terms(limits), Room { limits, grace: 0 }, bytes, messages)
    }

    fn usage(root: &Dir, limits: Limits) -> Result<Usage> {
        super::usage(root, terms(limits))
    }

    fn terms(limits: Limits) -> Terms<'static> {
        static NONE: std::sync::LazyLock<QuotaRules> = std::sync::LazyLock::new(QuotaRules::default);
        Terms { limits, rules: &NONE, layout: Layout::default() }
    }

    #[test]
    fn the_last_message_has_grace_and_the_next_has_none() {
        let (_temp, root) = root();
        let limits = Limits { bytes: 1000, messages: 0 };
        let room = Room { limits, grace: 100 };
        let deliver = |bytes| super::charge(&root, terms(limits), room, bytes, 1);
        assert!(deliver(991).is_err());
        deliver(990).unwrap();
        let error = deliver(1).unwrap_err();
        assert!(matches!(error, Error::OverQuota { used: 1100, limit: 1000, .. }), "{error}");
    }

    #[test]
    fn an_ignored_mailbox_is_not_counted() {
        let (_temp, root) = root();
        let rules = QuotaRules::new(&[config::QuotaRule::parse("Sent:ignore").unwrap()], config::Grace(config::Amount::Fixed(0)));
        let used = super::usage(&root, Terms { limits: LIMITS, rules: &rules, layout: Layout::default() }).unwrap();
        assert_eq!(used, Usage { bytes: 100, messages: 1 });
    }

    fn root() -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        let root = Dir::create_root(&temp.path().join("m")).unwrap();
        for below in ["cur", "new", ".Sent/cur", ".Sent/new"] {
            std::fs::create_dir_all(root.at(below)).unwrap();
        }
        std::fs::write(root.at("new/1.a,S=100,W=110"), "x").unwrap();
        std::fs::write(root.at(".Sent/cur/2.b:2,S"), "0123456789").unwrap();
        (temp, root)
    }

    #[test]
    fn room_is_counted_taken_and_given_back() {
        let (_temp, root) = root();
        charge(&root, LIMITS, 800, 1).unwrap();
        assert_eq!(std::fs::read_to_string(root.at(FILE)).unwrap(), "1000S,5C\n110 2\n800 1\n");
        let error = charge(&root, LIMITS, 100, 1).unwrap_err();
        assert!(matches!(error, Error::OverQuota { used: 910, limit: 1000, .. }), "{error}");
        release(&root, 800, 1);
        assert_eq!(usage(&root, LIMITS).unwrap(), Usage { bytes: 110, messages: 2 });
        assert!(charge(&root, LIMITS, 1, 4).is_err());
        charge(&root, LIMITS, 1, 3).unwrap();
    }

    #[test]
    fn damaged_long_or_foreign_files_are_counted_anew() {
        let (_temp, root) = root();
        let long = format!("1000S,5C\n{}", "1 0\n".repeat(1300));
        for text in ["", "garbage\n", "999S,5C\n1 1\n", "1000S,5C\n1", "1000S,5C\nx y\n", "1000S,5C\n-5 -1\n", &long] {
            std::fs::write(root.at(FILE), text).unwrap();
            assert_eq!(usage(&root, LIMITS).unwrap(), Usage { bytes: 110, messages: 2 }, "{text:.20}");
        }
    }

    /// Else each delivery would count all mailboxes.
    #[test]
    fn an_account_with_a_limit_for_one_mailbox_only_gets_a_file() {
        let (_temp, root) = root();
        let rules = QuotaRules::new(&[config::QuotaRule::parse("Sent:bytes=1000").unwrap()], config::Grace(config::Amount::Fixed(0)));
        let none = Limits::default();
        let room = rules.room(&MailboxName::parse("Sent").unwrap(), none, false);
        let charge = |bytes| super::charge(&root, Terms { limits: none, rules: &rules, layout: Layout::default() }, room, bytes, 1);
        charge(5).unwrap();
        assert_eq!(std::fs::read_to_string(root.at(FILE)).unwrap(), "0S\n110 2\n5 1\n");
        charge(6).unwrap();
        assert_eq!(std::fs::read_to_string(root.at(FILE)).unwrap(), "0S\n110 2\n5 1\n6 1\n");
        assert!(charge(900).is_err());
    }

    #[test]
    fn an_account_without_limits_gets_no_file() {
        let (_temp, root) = root();
        charge(&root, Limits::default(), 1 << 40, 1).unwrap();
        assert!(!root.at(FILE).exists());
    }

    #[test]
    fn fifty_deliveries_into_room_for_ten_take_ten() {
        let (_temp, root) = root();
        let limits = Limits { bytes: 1110, messages: 0 };
        usage(&root, limits).unwrap();
        let taken = (0..50).filter(|_| charge(&root, limits, 100, 1).is_ok()).count();
        assert_eq!(taken, 10);
    }
}
