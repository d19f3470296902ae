use std::sync::Arc;

use super::*;
use std::time::{Duration, SystemTime};

use crate::account::Account;
use crate::changelog::{self, Locked};
use crate::flags::{FlagMode, Flags};
use crate::location::Location;
use crate::mailbox::Mailbox;
use crate::name::MailboxName;
use crate::store::{Settings, Store};
use crate::uidlist;

/// The Maildir as a process of its own sees it.
fn process(temp: &tempfile::TempDir) -> (Arc<Account>, Arc<Mailbox>) {
    let account = Store::new(Settings::default()).account(&Location::maildir(temp.path().join("m")).unwrap()).unwrap();
    let mailbox = account.open(&MailboxName::inbox()).unwrap();
    (account, mailbox)
}

fn append(mailbox: &Mailbox, count: usize) {
    for _ in 0..count {
        let mut incoming = mailbox.incoming(0).unwrap();
        incoming.write(b"x\r\n").unwrap();
        incoming.describe(Flags::DRAFT.into(), None);
        mailbox.append(vec![incoming]).unwrap();
    }
}

fn uids(mailbox: &Mailbox) -> Vec<u32> {
    mailbox.snapshot().iter().map(|message| message.uid()).collect()
}

fn modseq(mailbox: &Mailbox, uid: u32) -> u64 {
    mailbox.snapshot().find(uid).unwrap().1.modseq()
}

fn mark(mailbox: &Mailbox, uid: u32, mode: FlagMode) {
    mailbox.store_flags(&[uid], mode, &Flags::SEEN.into(), None).unwrap();
}

fn lock(mailbox: &Mailbox) -> Locked {
    Locked::take(&mailbox.folder().unwrap().dir, Duration::from_secs(30)).unwrap()
}

/// Another process writes so.
fn write(mailbox: &Mailbox, what: What) {
    let mut log = lock(mailbox);
    let Found::Whole { records, position, .. } = log.read(None).unwrap() else { panic!("no log") };
    let modseq = records.iter().map(|record| record.modseq).max().unwrap() + 1;
    let settled = log.settle(&position, modseq).unwrap();
    log.append(&settled, &[Record { modseq, what }], false).unwrap();
}

fn rename(mailbox: &Mailbox, uid: u32, info: &str) {
    let (snapshot, folder) = (mailbox.snapshot(), mailbox.folder().unwrap());
    let base = snapshot.find(uid).unwrap().1.base_name();
    let cur = folder.cur.path();
    let old = std::fs::read_dir(cur).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let old = old.into_iter().find(|name| name.starts_with(base)).unwrap();
    std::fs::rename(cur.join(old), cur.join(format!("{base}:2,{info}"))).unwrap();
}

/// Somebody overlooked a file that was renamed meanwhile: the message keeps its UID, and nobody hears that it is gone.
#[test]
fn a_message_that_is_there_does_not_vanish() {
    let temp = tempfile::tempdir().unwrap();
    let (_one, first) = process(&temp);
    append(&first, 3);
    let (_two, second) = process(&temp);
    let before = first.snapshot().highest_modseq();
    write(&first, What::Vanished(vec![(1, 2)]));
    for mailbox in [&first, &second] {
        mailbox.refresh().unwrap();
        assert_eq!(uids(mailbox), [1, 2, 3]);
    }
    first.refresh().unwrap();
    assert_eq!((modseq(&first, 1), modseq(&first, 2)), (modseq(&second, 1), modseq(&second, 2)));
    assert!(modseq(&first, 1) > before);
    let (_three, third) = process(&temp);
    assert_eq!(uids(&third), [1, 2, 3]);
    assert_eq!(third.vanished_since(before).unwrap(), Some(vec![]));
    // a shorter file does not take them away either, from whoever has them under other names
    for round in 0..3000 {
        mark(&first, 1, if round % 2 == 0 { FlagMode::Add } else { FlagMode::Remove });
    }
    mark(&first, 2, FlagMode::Add);
    assert!(lock(&first).read(None).is_ok_and(|found| matches!(found, Found::Whole { position, .. } if position.header.number > 1)));
    for mailbox in [&second, &third] {
        mailbox.refresh().unwrap();
        assert_eq!(uids(mailbox), [1, 2, 3]);
    }
    assert_eq!(first.vanished_since(before).unwrap(), Some(vec![]));
}

/// Clients were told the flags in between with the old MODSEQ.
#[test]
fn flags_taken_back_while_the_log_is_locked_have_another_modseq() {
    let temp = tempfile::tempdir().unwrap();
    let (_account, mailbox) = process(&temp);
    append(&mailbox, 2);
    let before = modseq(&mailbox, 1);
    let held = lock(&mailbox);
    for (info, flags) in [("DS", Flags::DRAFT | Flags::SEEN), ("D", Flags::DRAFT)] {
        rename(&mailbox, 1, info);
        mailbox.refresh_briefly().unwrap();
        let snapshot = mailbox.snapshot();
        assert_eq!((snapshot.get(0).unwrap().flags(), snapshot.has_modseqs()), (flags, false));
    }
    drop(held);
    mailbox.refresh().unwrap();
    assert!(mailbox.snapshot().has_modseqs());
    assert!(modseq(&mailbox, 1) > before);
    assert_eq!(modseq(&mailbox, 1), modseq(&process(&temp).1, 1));
}

/// Of a change that is in the log and not shown yet a client must not think that it has it.
#[test]
fn the_highest_modseq_is_below_what_is_not_shown_yet() {
    let temp = tempfile::tempdir().unwrap();
    let (_account, mailbox) = process(&temp);
    append(&mailbox, 2);
    let before = mailbox.snapshot().highest_modseq();
    let mut held = lock(&mailbox);
    let Found::Whole { position, .. } = held.read(None).unwrap() else { panic!("no log") };
    let record = |modseq, uid, info| Record { modseq, what: What::Flags(vec![(uid, Bits::of(Info::parse(info)))]) };
    held.append(&position, &[record(before + 5, 1, "DS")], true).unwrap();
    mailbox.refresh_briefly().unwrap();
    let shown = |mailbox: &Mailbox| mailbox.snapshot().get(0).map(|message| message.flags().contains(Flags::SEEN));
    assert_eq!((shown(&mailbox), mailbox.snapshot().highest_modseq()), (Some(false), before + 4));
    drop(held);
    mailbox.refresh().unwrap();
    assert_eq!((shown(&mailbox), modseq(&mailbox, 1)), (Some(true), before + 5));
    assert_eq!(mailbox.snapshot().highest_modseq(), before + 5);
}

/// The lost records may have been told, with MODSEQs of a clock that is slower now.
#[test]
fn modseqs_do_not_come_again_when_the_end_of_the_log_is_lost_and_the_clock_set_back() {
    let temp = tempfile::tempdir().unwrap();
    let (_one, mailbox) = process(&temp);
    append(&mailbox, 2);
    let later = SystemTime::now() + Duration::from_secs(3600);
    let log = std::fs::File::options().append(true).open(mailbox.folder().unwrap().dir.at(changelog::FILE)).unwrap();
    std::io::Write::write_all(&mut &log, &[40, 0, 0]).unwrap();
    log.set_modified(later).unwrap();
    let (_two, again) = process(&temp);
    mark(&again, 1, FlagMode::Add);
    let later = later.duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as u64;
    assert!(modseq(&again, 1) > later);
    // and that lasts
    assert_eq!(modseq(&process(&temp).1, 1), modseq(&again, 1));
    assert!(process(&temp).1.snapshot().highest_modseq() > later);
}

#[test]
fn a_directory_in_the_place_of_a_temporary_file_is_no_reason_to_have_no_modseqs() {
    let temp = tempfile::tempdir().unwrap();
    for name in ["facteur.log.tmp", "dovecot-uidlist.tmp"] {
        std::fs::create_dir_all(temp.path().join("m").join(name)).unwrap();
    }
    let (_account, mailbox) = process(&temp);
    append(&mailbox, 1);
    assert!(mailbox.snapshot().has_modseqs());
}

/// The names that a crash took back are in the log only. Who cannot lock it at first does not write down that the flags are gone.
#[test]
fn a_first_look_without_the_log_takes_no_flags_back() {
    let temp = tempfile::tempdir().unwrap();
    let (_one, first) = process(&temp);
    append(&first, 2);
    let before = first.snapshot().highest_modseq();
    let mut held = lock(&first);
    let Found::Whole { position, .. } = held.read(None).unwrap() else { panic!("no log") };
    let record = Record { modseq: before + 5, what: What::Flags(vec![(1, Bits::of(Info::parse("DS")))]) };
    held.append(&position, &[record], true).unwrap();
    let (_two, second) = process(&temp);
    assert!(!second.snapshot().has_modseqs());
    drop(held);
    second.refresh().unwrap();
    let (_three, third) = process(&temp);
    for mailbox in [&second, &third] {
        assert_eq!(mailbox.snapshot().get(0).unwrap().flags(), Flags::DRAFT | Flags::SEEN);
    }
    // it was shown otherwise meanwhile
    assert!(modseq(&second, 1) > before + 5);
    assert_eq!((modseq(&second, 1), second.snapshot().has_modseqs()), (modseq(&third, 1), true));
}

/// The one whose UIDVALIDITY is no longer that of the uidlist leaves the log alone.
#[test]
fn a_log_is_not_replaced_by_one_of_an_old_uidvalidity() {
    let temp = tempfile::tempdir().unwrap();
    let (_one, old) = process(&temp);
    append(&old, 2);
    std::fs::write(old.folder().unwrap().dir.at(uidlist::FILE), "").unwrap();
    let (_two, new) = process(&temp);
    let validity = new.snapshot().uid_validity();
    assert_ne!(validity, old.snapshot().uid_validity());
    let text = std::fs::read(new.folder().unwrap().dir.at(changelog::FILE)).unwrap();
    old.refresh().unwrap();
    assert_eq!(std::fs::read(new.folder().unwrap().dir.at(changelog::FILE)).unwrap(), text);
    old.refresh().unwrap();
    assert_eq!((old.snapshot().uid_validity(), uids(&old)), (validity, uids(&new)));
    assert_eq!((modseq(&old, 1), old.snapshot().has_modseqs()), (modseq(&new, 1), true));
}

/// The log as it may be on the disk after a power cut: what was synced, and nothing that came later.
fn cut_behind_flags(mailbox: &Mailbox) {
    let path = mailbox.folder().unwrap().dir.at(changelog::FILE);
    let Ok(Found::Whole { position, .. }) = changelog::read(&mailbox.folder().unwrap().dir, None) else { panic!("no log") };
    let bytes = std::fs::read(&path).unwrap();
    let is_flags = |record: &Record| matches!(&record.what, What::Flags(list) if !list.is_empty());
    let end = (changelog::HEADER_BYTES..bytes.len()).rev().find(|end| {
        let (records, read, _) = changelog::decode(&bytes[changelog::HEADER_BYTES..*end], position.header.log_id);
        changelog::HEADER_BYTES + read == *end && records.last().is_some_and(is_flags)
    });
    std::fs::write(&path, &bytes[..end.unwrap_or(bytes.len())]).unwrap();
}

/// The next change's sync writes the log; the names that files got before reach the disk with the journal of the file system, later.
#[test]
fn flags_outlive_a_power_cut_that_takes_the_rename_back() {
    let temp = tempfile::tempdir().unwrap();
    let (_one, first) = process(&temp);
    append(&first, 3);
    mark(&first, 1, FlagMode::Add);
    let given = modseq(&first, 1);
    cut_behind_flags(&first);
    rename(&first, 1, "D");
    drop(first);
    for _ in 0..2 {
        let (_two, second) = process(&temp);
        assert_eq!(second.snapshot().get(0).unwrap().flags(), Flags::DRAFT | Flags::SEEN);
        assert_eq!((modseq(&second, 1), second.snapshot().has_modseqs()), (given, true));
        assert_eq!(
            std::fs::read_dir(temp.path().join("m/cur"))
                .unwrap()
                .filter(|e| { e.as_ref().unwrap().file_name().to_str().unwrap().ends_with(":2,DS") })
                .count(),
            1
        );
    }
}

/// A record may be lost that `settled` was about; the clock may be slow.
#[test]
fn a_modseq_that_is_settled_is_not_given_again() {
    let temp = tempfile::tempdir().unwrap();
    let (_one, first) = process(&temp);
    append(&first, 2);
    let ahead = first.snapshot().highest_modseq() + 3_600_000_000;
    let mut log = lock(&first);
    let Found::Whole { position, .. } = log.read(None).unwrap() else { panic!("no log") };
    log.settle(&position, ahead).unwrap();
    drop((log, first));
    let (_two, second) = process(&temp);
    mark(&second, 1, FlagMode::Add);
    assert!(modseq(&second, 1) > ahead, "{} {ahead}", modseq(&second, 1));
    // and its change is carried out
    cut_behind_flags(&second);
    rename(&second, 1, "D");
    assert_eq!(process(&temp).1.snapshot().get(0).unwrap().flags(), Flags::DRAFT | Flags::SEEN);
}

#[test]
fn ranges_without_what_lives() {
    assert_eq!(except(&[(1, 5), (7, 7), (9, 12)], &[3, 7, 12]), [(1, 2), (4, 5), (9, 11)]);
    assert_eq!(except(&[(u32::MAX, u32::MAX)], &[u32::MAX]), []);
    assert_eq!(except(&[(1, u32::MAX)], &[]), [(1, u32::MAX)]);
}
