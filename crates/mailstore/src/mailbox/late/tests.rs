use std::sync::Arc;
use std::time::Instant;

use super::*;
use crate::account::Account;
use crate::flags::FlagMode;
use crate::location::Location;
use crate::name::MailboxName;
use crate::store::{Settings, Store};
use crate::{Access, Gone};

const COUNT: u32 = 40;

/// The Maildir as a process of its own sees it.
fn process(temp: &tempfile::TempDir) -> (Arc<Account>, Arc<Mailbox>) {
    let account = Store::new(Settings::default()).account(&Location::maildir(temp.path().join("m")).unwrap()).unwrap();
    let mailbox = account.open(&MailboxName::inbox()).unwrap();
    (account, mailbox)
}

fn append(mailbox: &Mailbox, count: u32) {
    for _ in 0..count {
        let mut incoming = mailbox.incoming(0).unwrap();
        incoming.write(b"x\r\n").unwrap();
        incoming.describe(Flags::DRAFT.into(), None);
        mailbox.append(vec![incoming]).unwrap();
    }
}

fn mark_all(mailbox: &Mailbox, mode: FlagMode, flags: Flags) {
    let uids: Vec<u32> = mailbox.snapshot().iter().map(|message| message.uid()).collect();
    let stored = mailbox.store_flags(&uids, mode, &flags.into(), None).unwrap();
    assert_eq!(stored.done, uids);
}

/// The flags in the names of the files, by UID.
fn endings(mailbox: &Mailbox) -> Vec<String> {
    let names = mailbox.folder().unwrap().cur.names().unwrap();
    let of = |base: &str| names.iter().find_map(|name| name.strip_prefix(base)).unwrap().trim_start_matches(":2,").to_owned();
    mailbox.snapshot().iter().map(|message| of(message.base_name())).collect()
}

fn rename(mailbox: &Mailbox, uid: u32, to: &str) {
    let snapshot = mailbox.snapshot();
    let cur = mailbox.folder().unwrap().cur;
    let base = snapshot.find(uid).unwrap().1.base_name();
    let old = cur.names().unwrap().into_iter().find(|name| name.starts_with(base)).unwrap();
    cur.rename(&old, &cur, &format!("{base}:2,{to}")).unwrap();
}

fn flags(mailbox: &Mailbox) -> Vec<Flags> {
    mailbox.snapshot().iter().map(|message| message.flags()).collect()
}

fn what_it_has(mailbox: &Mailbox) -> Vec<(u32, Flags, u64)> {
    mailbox.snapshot().iter().map(|message| (message.uid(), message.flags(), message.modseq())).collect()
}

fn wait_until_named(mailbox: &Mailbox) {
    let begun = Instant::now();
    while !mailbox.state.lock().behind.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(2));
    }
}

const BOTH: Flags = Flags::DRAFT.union(Flags::SEEN);

#[test]
fn what_another_program_made_of_the_flags_meanwhile_stays() {
    let info = |text| Info::parse(text);
    for (before, wanted, there, want) in [
        ("", "S", "", "S"),
        ("", "S", "S", "S"),
        ("", "S", "F", "FS"),
        ("F", "FS", "", "S"),
        ("FS", "F", "FRS", "FR"),
        ("Sa", "Sb", "PSac", "PSbc"),
    ] {
        assert_eq!(merged(info(before), info(wanted), info(there)), info(want), "{before} {wanted} {there}");
    }
}

#[test]
fn files_get_their_names_without_anybody_asking_and_without_news_for_sessions() {
    let temp = tempfile::tempdir().unwrap();
    let (_account, mailbox) = process(&temp);
    append(&mailbox, COUNT);
    let changes = mailbox.changes();
    mailbox.refresh().unwrap();
    mark_all(&mailbox, FlagMode::Add, Flags::SEEN);
    let generation = mailbox.generation();
    assert_eq!(flags(&mailbox), vec![BOTH; COUNT as usize]);
    wait_until_named(&mailbox);
    mailbox.refresh().unwrap();
    assert_eq!(endings(&mailbox), vec!["DS"; COUNT as usize]);
    assert_eq!((mailbox.generation(), flags(&mailbox)), (generation, vec![BOTH; COUNT as usize]));
    // all is settled: what another program does from here on wins
    rename(&mailbox, 1, "D");
    let (_other, again) = process(&temp);
    assert_eq!(flags(&again)[..2], [Flags::DRAFT, BOTH]);
    drop(changes);
}

#[test]
fn another_process_finds_what_was_removed_while_others_were_behind() {
    let temp = tempfile::tempdir().unwrap();
    let (_one, first) = process(&temp);
    append(&first, COUNT);
    let before = first.snapshot().highest_modseq();
    let held = first.names.read();
    mark_all(&first, FlagMode::Add, Flags::SEEN);
    first.expunge(&[2, 3]).unwrap();
    let (_two, second) = process(&temp);
    assert_eq!(what_it_has(&second), what_it_has(&first));
    assert_eq!(second.vanished_since(before).unwrap(), Some(vec![(2, 3)]));
    assert_eq!(endings(&second), vec!["DS"; COUNT as usize - 2]);
    drop(held);
}

/// As after a crash, or in pop3d.
#[test]
fn another_process_renames_what_is_behind_and_nobody_is_confused() {
    let temp = tempfile::tempdir().unwrap();
    let (_one, first) = process(&temp);
    append(&first, COUNT);
    let held = first.names.read();
    mark_all(&first, FlagMode::Add, Flags::SEEN);
    assert_eq!(endings(&first), vec!["D"; COUNT as usize]);
    let (_two, second) = process(&temp);
    assert_eq!(what_it_has(&second), what_it_has(&first));
    assert_eq!(endings(&first), vec!["DS"; COUNT as usize]);
    mark_all(&second, FlagMode::Remove, Flags::DRAFT);
    wait_until_named(&second);
    drop(held);
    first.refresh().unwrap();
    wait_until_named(&first);
    assert_eq!(what_it_has(&second), what_it_has(&first));
    assert_eq!(endings(&first), vec!["S"; COUNT as usize]);
}

#[test]
fn messages_that_are_behind_are_read_copied_changed_and_removed() {
    let temp = tempfile::tempdir().unwrap();
    let (account, mailbox) = process(&temp);
    append(&mailbox, COUNT);
    let other = MailboxName::parse("Other").unwrap();
    account.create(&other).unwrap();
    let other = account.open(&other).unwrap();
    let held = mailbox.names.read();
    mark_all(&mailbox, FlagMode::Add, Flags::SEEN);
    let mut view = mailbox.view(Access::ReadWrite).unwrap();
    assert_eq!(mailbox.read(1).unwrap().size().unwrap(), 3);
    let copied = mailbox.copy(&[1, 2], &other, Gone::Refuse).unwrap();
    assert_eq!((copied.uids.len(), flags(&other)), (2, vec![BOTH; 2]));
    // one alone gets its name at once, and needs no other for that
    mailbox.store_flags(&[3], FlagMode::Add, &Flags::FLAGGED.into(), None).unwrap();
    mailbox.store_flags(&[4], FlagMode::Remove, &Flags::SEEN.into(), None).unwrap();
    assert_eq!(endings(&mailbox)[..5], ["D", "D", "DFS", "D", "D"]);
    // taken back before a file moved: nothing is left to do
    mark_all(&mailbox, FlagMode::Remove, Flags::SEEN);
    assert_eq!(mailbox.state.lock().behind.len(), 1);
    mark_all(&mailbox, FlagMode::Add, Flags::ANSWERED);
    assert_eq!(mailbox.expunge(&[1, 2]).unwrap(), [1, 2]);
    // a removal says nothing of the others
    assert_eq!(mailbox.state.lock().behind.len() as u32, COUNT - 2);
    assert_eq!(endings(&mailbox)[..3], ["DFS", "D", "D"]);
    // what comes in is written with its name, and so everything before it is settled
    append(&mailbox, 1);
    assert!(mailbox.state.lock().behind.is_empty());
    assert_eq!(endings(&mailbox)[..3], ["DFR", "DR", "DR"]);
    drop(held);
    view.sync(crate::Expunges::Report).unwrap();
    assert_eq!(view.snapshot().len() as u32, COUNT - 1);
    assert_eq!(mailbox.read(5).unwrap().size().unwrap(), 3);
    let (_other, again) = process(&temp);
    assert_eq!(what_it_has(&again), what_it_has(&mailbox));
}

#[test]
fn flags_that_another_program_sets_meanwhile_are_kept() {
    let temp = tempfile::tempdir().unwrap();
    let (_account, mailbox) = process(&temp);
    append(&mailbox, COUNT);
    let held = mailbox.names.read();
    mark_all(&mailbox, FlagMode::Add, Flags::SEEN);
    let before = mailbox.snapshot().highest_modseq();
    rename(&mailbox, 1, "DF");
    rename(&mailbox, 2, "DS");
    rename(&mailbox, 3, "");
    mailbox.refresh().unwrap();
    let want = [BOTH | Flags::FLAGGED, BOTH, Flags::SEEN, BOTH];
    assert_eq!(flags(&mailbox)[..4], want);
    assert!(mailbox.snapshot().has_modseqs());
    let changed: Vec<u32> = mailbox.snapshot().iter().filter(|message| message.modseq() > before).map(|message| message.uid()).collect();
    assert_eq!(changed, [1, 3]);
    drop(held);
    wait_until_named(&mailbox);
    assert_eq!(endings(&mailbox)[..4], ["DFS", "DS", "S", "DS"]);
    let (_other, again) = process(&temp);
    assert_eq!(what_it_has(&again), what_it_has(&mailbox));
}

/// Before a program ends it gives files their names, so that another program finds the flags.
#[test]
fn a_store_that_is_finished_leaves_nothing_behind() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::new(Settings::default());
    let account = store.account(&Location::maildir(temp.path().join("m")).unwrap()).unwrap();
    let mailbox = account.open(&MailboxName::inbox()).unwrap();
    append(&mailbox, COUNT);
    mark_all(&mailbox, FlagMode::Add, Flags::SEEN);
    drop((mailbox, account));
    store.finish(Duration::from_secs(30));
    let names = std::fs::read_dir(temp.path().join("m/cur")).unwrap();
    assert!(names.map(|name| name.unwrap().file_name().into_string().unwrap()).all(|name| name.ends_with(":2,DS")));
}
