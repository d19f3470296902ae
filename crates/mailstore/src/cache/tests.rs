//! The cache through mailboxes, and what has become of its file.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use super::{FACTS, LARGEST_CONTENT, SIGNATURES};
use crate::{Access, Account, Location, Mailbox, MailboxName, Message, Settings, Store};

struct Home {
    temp: tempfile::TempDir,
}

impl Home {
    fn new() -> Home {
        Home { temp: tempfile::tempdir().unwrap() }
    }

    fn root(&self) -> PathBuf {
        self.temp.path().join("m")
    }

    fn file(&self) -> PathBuf {
        self.root().join(FACTS.file)
    }

    /// As a process of its own would open it.
    fn account(&self) -> Arc<Account> {
        self.account_with(Settings::default())
    }

    fn account_with(&self, settings: Settings) -> Arc<Account> {
        Store::new(settings).account(&Location::maildir(self.root()).unwrap()).unwrap()
    }

    fn inbox(&self) -> Arc<Mailbox> {
        self.account().open(&MailboxName::inbox()).unwrap()
    }
}

/// Messages that are large enough for what is remembered of them here.
fn append(mailbox: &Arc<Mailbox>, count: usize) {
    let text = "0123456789abcdef\r\n".repeat(1500);
    let messages = (0..count).map(|_| {
        let mut incoming = mailbox.incoming(text.len() as u64).unwrap();
        incoming.write(text.as_bytes()).unwrap();
        incoming
    });
    mailbox.append(messages.collect()).unwrap();
}

fn messages(mailbox: &Arc<Mailbox>) -> Vec<Message> {
    mailbox.refresh().unwrap();
    mailbox.view(Access::ReadOnly).unwrap().snapshot().iter().cloned().collect()
}

/// What is remembered of each message, in one stretch of work.
fn recalled(mailbox: &Arc<Mailbox>) -> Vec<Option<String>> {
    let _hold = mailbox.hold();
    messages(mailbox).iter().map(|message| mailbox.recall(message).map(|bytes| String::from_utf8(bytes).unwrap())).collect()
}

fn remember(mailbox: &Arc<Mailbox>, what: impl Fn(u32) -> String) {
    let _hold = mailbox.hold();
    for message in messages(mailbox) {
        mailbox.remember(&message, what(message.uid()).as_bytes());
    }
}

fn numbered(count: usize, what: impl Fn(u32) -> String) -> Vec<Option<String>> {
    (1..=count as u32).map(|uid| Some(what(uid))).collect()
}

#[test]
fn what_is_remembered_is_recalled_by_this_process_and_the_next() {
    let home = Home::new();
    let inbox = home.inbox();
    append(&inbox, 300);
    assert_eq!(recalled(&inbox), vec![None; 300]);
    let long = |uid: u32| format!("{uid} {}", "long ".repeat(uid as usize * 20));
    {
        let _hold = inbox.hold();
        remember(&inbox, long);
        assert_eq!(recalled(&inbox), numbered(300, long), "before and after it is written");
    }
    assert_eq!(recalled(&inbox), numbered(300, long));
    assert_eq!(recalled(&home.inbox()), numbered(300, long));
    // the later of two counts
    remember(&inbox, |uid| format!("again {uid}"));
    assert_eq!(recalled(&home.inbox()), numbered(300, |uid| format!("again {uid}")));
    std::fs::remove_file(home.file()).unwrap();
    assert_eq!(recalled(&inbox), vec![None; 300]);
}

#[test]
fn two_processes_use_one_file() {
    let home = Home::new();
    let (one, two) = (home.inbox(), home.inbox());
    append(&one, 4);
    let (first, second) = (one.hold(), two.hold());
    let all = messages(&one);
    // both have looked
    assert!(one.recall(&all[0]).is_none() && two.recall(&all[0]).is_none());
    one.remember(&all[0], b"one");
    two.remember(&all[1], b"two");
    drop((first, second));
    for inbox in [&one, &two] {
        assert_eq!(recalled(inbox), [Some("one".into()), Some("two".into()), None, None]);
    }
}

#[test]
fn a_file_that_is_cut_or_damaged_gives_nothing_wrong() {
    let home = Home::new();
    let inbox = home.inbox();
    append(&inbox, 3);
    remember(&inbox, |uid| format!("content {uid}"));
    let whole = std::fs::read(home.file()).unwrap();
    let right = numbered(3, |uid| format!("content {uid}"));
    for cut in 0..whole.len() {
        std::fs::write(home.file(), &whole[..cut]).unwrap();
        for (found, right) in recalled(&home.inbox()).iter().zip(&right) {
            assert!(found.is_none() || found == right, "{cut}: {found:?}");
        }
        // it is of use again, at the second try at the latest
        remember(&home.inbox(), |uid| format!("content {uid}"));
        recalled(&home.inbox());
        remember(&home.inbox(), |uid| format!("content {uid}"));
        assert_eq!(recalled(&home.inbox()), right, "{cut}");
    }
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x41;
        std::fs::write(home.file(), &bytes).unwrap();
        for (found, right) in recalled(&home.inbox()).iter().zip(&right) {
            assert!(found.is_none() || found == right, "{at}: {found:?}");
        }
        remember(&home.inbox(), |uid| format!("content {uid}"));
        recalled(&home.inbox());
        remember(&home.inbox(), |uid| format!("content {uid}"));
        assert_eq!(recalled(&home.inbox()), right, "{at}");
    }
}

#[test]
fn a_number_that_another_message_has_now_recalls_nothing() {
    let home = Home::new();
    append(&home.inbox(), 2);
    remember(&home.inbox(), |uid| format!("old {uid}"));
    for entry in ["cur", "new"].iter().flat_map(|part| std::fs::read_dir(home.root().join(part)).unwrap()) {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    std::fs::remove_file(home.root().join("dovecot-uidlist")).unwrap();
    let inbox = home.inbox();
    append(&inbox, 2);
    assert_eq!(recalled(&inbox), [None, None]);
}

#[test]
fn a_file_more_dead_than_alive_gets_shorter() {
    let home = Home::new();
    let inbox = home.inbox();
    append(&inbox, 20);
    let long = |uid: u32| format!("{uid} {}", "x".repeat(40_000));
    for _ in 0..3 {
        remember(&inbox, long);
    }
    assert_eq!(recalled(&inbox), numbered(20, long));
    let size = std::fs::metadata(home.file()).unwrap().len();
    assert!((800_000..1_000_000).contains(&size), "{size}");
}

#[test]
fn what_was_kept_of_removed_messages_does_not_stay() {
    let home = Home::new();
    let inbox = home.inbox();
    append(&inbox, 20);
    remember(&inbox, |_| "x".repeat(45_000));
    let size = || std::fs::metadata(home.file()).unwrap().len();
    assert!(size() > 800_000);
    let _ = inbox.expunge(&(1..=19).collect::<Vec<u32>>());
    assert_eq!(recalled(&inbox).iter().flatten().count(), 1);
    assert!(size() < 50_000, "{}", size());
}

/// Caches do not count against a quota: what is kept has to stand in some relation to the mail.
#[test]
fn of_a_small_message_nothing_large_is_kept() {
    let home = Home::new();
    let inbox = home.inbox();
    append(&inbox, 1);
    remember(&inbox, |_| "x".repeat(60_000));
    assert!(!home.file().exists());
}

#[test]
fn nothing_is_kept_open_or_remembered_for_who_does_not_hold() {
    let home = Home::new();
    let inbox = home.inbox();
    append(&inbox, 1);
    let message = &messages(&inbox)[0];
    inbox.remember(message, b"x");
    assert!(inbox.recall(message).is_none() && !home.file().exists());
    remember(&inbox, |_| "y".into());
    assert!(inbox.recall(message).is_none() && inbox.caches()[0].inner.lock().file.is_none());
}

#[test]
fn no_file_is_made_for_a_mailbox_that_is_gone() {
    let home = Home::new();
    let account = home.account();
    let name = MailboxName::parse("Gone").unwrap();
    account.create(&name).unwrap();
    let mailbox = account.open(&name).unwrap();
    append(&mailbox, 1);
    let hold = mailbox.hold();
    mailbox.remember(&messages(&mailbox)[0], b"x");
    let aside = home.temp.path().join("aside");
    std::fs::rename(home.root().join(".Gone"), &aside).unwrap();
    mailbox.mark_deleted();
    drop(hold);
    assert!(!aside.join(FACTS.file).exists());
}

#[test]
fn what_is_too_long_or_too_much_is_not_kept() {
    let home = Home::new();
    let inbox = home.inbox();
    append(&inbox, 2);
    {
        let _hold = inbox.hold();
        inbox.remember(&messages(&inbox)[0], &vec![b'x'; LARGEST_CONTENT + 1]);
    }
    assert!(!home.file().exists());
    let small = home.account_with(Settings { cache_limit: 10, ..Settings::default() }).open(&MailboxName::inbox()).unwrap();
    remember(&small, |uid| format!("first {uid}"));
    let size = std::fs::metadata(home.file()).unwrap().len();
    remember(&small, |uid| format!("second {uid}"));
    assert_eq!(std::fs::metadata(home.file()).unwrap().len(), size);
    let none = home.account_with(Settings { cache_limit: 0, ..Settings::default() }).open(&MailboxName::inbox()).unwrap();
    remember(&none, |uid| format!("third {uid}"));
    assert_eq!((std::fs::metadata(home.file()).unwrap().len(), recalled(&none)), (size, vec![None; 2]));
}

#[test]
fn what_is_no_file_is_left_alone() {
    let home = Home::new();
    let inbox = home.inbox();
    append(&inbox, 1);
    std::fs::create_dir(home.file()).unwrap();
    remember(&inbox, |_| "x".into());
    assert_eq!(recalled(&inbox), [None]);
    let target = home.temp.path().join("target");
    std::fs::File::create(&target).unwrap().write_all(b"precious").unwrap();
    std::fs::remove_dir(home.file()).unwrap();
    std::os::unix::fs::symlink(&target, home.file()).unwrap();
    let inbox = home.inbox();
    remember(&inbox, |_| "x".into());
    assert_eq!((recalled(&inbox), std::fs::read(&target).unwrap()), (vec![None], b"precious".to_vec()));
}

#[test]
fn many_mailboxes_forget_what_takes_memory() {
    let home = Home::new();
    let account = home.account();
    let first = account.open(&MailboxName::inbox()).unwrap();
    append(&first, 3);
    remember(&first, |uid| uid.to_string());
    assert_eq!(recalled(&first), numbered(3, |uid| uid.to_string()));
    assert_eq!(first.caches()[0].places(), 3);
    // as if others took all there is
    let room = account.store().cache_room().clone();
    room.count.fetch_add(super::PLACES_BYTES, std::sync::atomic::Ordering::Relaxed);
    account.create(&MailboxName::parse("Other").unwrap()).unwrap();
    let other = account.open(&MailboxName::parse("Other").unwrap()).unwrap();
    append(&other, 1);
    recalled(&other);
    assert_eq!(first.caches()[0].places(), 0);
    assert_eq!(recalled(&first), numbered(3, |uid| uid.to_string()));
}

/// With signatures.
fn signing(home: &Home) -> Arc<Mailbox> {
    home.account_with(Settings { signature_limit: 1 << 30, ..Settings::default() }).open(&MailboxName::inbox()).unwrap()
}

/// Signs what is not signed, in turns of one message, and says how many those were.
fn sign(mailbox: &Arc<Mailbox>, mark: &[u8]) -> usize {
    mailbox.refresh().unwrap();
    let mut count = 0;
    while !mailbox
        .sign(std::time::Instant::now(), |whole| {
            count += 1;
            [mark, &whole[..4]].concat()
        })
        .unwrap()
    {}
    count
}

fn signatures(mailbox: &Arc<Mailbox>) -> Vec<Option<String>> {
    let _hold = mailbox.hold();
    messages(mailbox).iter().map(|message| mailbox.signature(message).map(|bytes| String::from_utf8(bytes).unwrap())).collect()
}

/// A program that writes a message where it is to stay has the mailbox see it before it is whole.
#[test]
fn a_file_that_is_still_being_written_is_not_signed() {
    let home = Home::new();
    let inbox = signing(&home);
    let file = home.root().join("cur/1700000000.M1P1.host:2,");
    std::fs::write(&file, "half").unwrap();
    assert_eq!(sign(&inbox, b"a"), 0);
    assert_eq!(signatures(&inbox), [None]);
    std::fs::write(&file, "halfwhole").unwrap();
    append(&inbox, 1);
    sign(&inbox, b"a");
    assert_eq!(signatures(&inbox), [None, None], "those behind it wait with it");
}

#[test]
fn each_message_is_signed_once() {
    let home = Home::new();
    let inbox = signing(&home);
    assert_eq!(sign(&inbox, b"none"), 0);
    append(&inbox, 5);
    assert_eq!(signatures(&inbox), vec![None; 5]);
    assert_eq!(sign(&inbox, b"a"), 5);
    assert_eq!(sign(&inbox, b"b"), 0);
    let first = || Some("a0123".to_owned());
    assert_eq!(signatures(&inbox), vec![first(); 5]);
    append(&inbox, 1);
    // what other processes have signed is signed
    assert_eq!(sign(&signing(&home), b"b"), 1);
    assert_eq!(sign(&inbox, b"c"), 0);
    let mut want = vec![first(); 5];
    want.push(Some("b0123".into()));
    assert_eq!(signatures(&inbox), want);
    // apart from what is remembered otherwise
    remember(&inbox, |uid| uid.to_string());
    assert_eq!(signatures(&inbox), want);
    // a file that went away is made anew
    std::fs::remove_file(home.root().join(SIGNATURES.file)).unwrap();
    assert_eq!(signatures(&inbox), vec![None; 6]);
    assert_eq!(sign(&inbox, b"d"), 6);
    assert_eq!(recalled(&inbox), numbered(6, |uid| uid.to_string()));
}

#[test]
fn a_damaged_signature_is_none_and_is_made_anew() {
    let home = Home::new();
    append(&signing(&home), 3);
    sign(&signing(&home), b"a");
    let file = home.root().join(SIGNATURES.file);
    let whole = std::fs::read(&file).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x41;
        std::fs::write(&file, &bytes).unwrap();
        assert!(signatures(&signing(&home)).iter().flatten().all(|text| text == "a0123"), "{at}");
        std::fs::write(&file, &whole[..at]).unwrap();
        assert!(signatures(&signing(&home)).iter().flatten().all(|text| text == "a0123"), "{at}");
    }
    std::fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(sign(&signing(&home), b"b"), 1);
    // behind the torn record nothing is found: the file is replaced by what is known
    signatures(&signing(&home));
    sign(&signing(&home), b"b");
    assert_eq!(signatures(&signing(&home)).iter().flatten().count(), 3);
}

#[test]
fn signatures_are_of_the_messages_that_are_there() {
    let home = Home::new();
    let inbox = signing(&home);
    append(&inbox, 2);
    sign(&inbox, b"old");
    for entry in ["cur", "new"].iter().flat_map(|part| std::fs::read_dir(home.root().join(part)).unwrap()) {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    std::fs::remove_file(home.root().join("dovecot-uidlist")).unwrap();
    append(&signing(&home), 2);
    // another UIDVALIDITY, also for who has it open
    assert_eq!((signatures(&inbox), sign(&inbox, b"new")), (vec![None, None], 2));
    assert_eq!(signatures(&signing(&home)), vec![Some("new0123".to_owned()); 2]);
}

#[test]
fn what_is_full_or_not_wanted_is_not_signed() {
    let home = Home::new();
    append(&home.inbox(), 3);
    assert_eq!(sign(&home.inbox(), b"a"), 0);
    assert!(!home.root().join(SIGNATURES.file).exists());
    let small = home.account_with(Settings { signature_limit: 30, ..Settings::default() }).open(&MailboxName::inbox()).unwrap();
    assert_eq!(sign(&small, b"a"), 1);
    assert_eq!(sign(&small, b"a"), 0);
    assert_eq!(signatures(&small).iter().flatten().count(), 1);
}
