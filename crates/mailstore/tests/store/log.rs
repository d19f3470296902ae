//! The log of changes (`facteur.log`): MODSEQs of this process are those of another, and never go back.

use crate::common::{Home, inbox, uids};
use mailstore::{FlagMode, Flags, Gone, Mailbox};

fn modseqs(mailbox: &Mailbox) -> Vec<(u32, u64)> {
    mailbox.snapshot().iter().map(|message| (message.uid(), message.modseq())).collect()
}

fn highest(mailbox: &Mailbox) -> u64 {
    mailbox.snapshot().highest_modseq()
}

fn modseq(mailbox: &Mailbox, uid: u32) -> u64 {
    mailbox.snapshot().find(uid).unwrap().1.modseq()
}

fn mark(mailbox: &Mailbox, uids: &[u32], mode: FlagMode, flags: Flags) {
    mailbox.store_flags(uids, mode, &flags.into(), None).unwrap();
}

/// UIDs of the ranges, rising.
fn vanished(mailbox: &Mailbox, since: u64) -> Option<Vec<u32>> {
    let ranges = mailbox.vanished_since(since).unwrap()?;
    let mut uids: Vec<u32> = ranges.into_iter().flat_map(|(first, last)| first..=last).collect();
    uids.sort_unstable();
    Some(uids)
}

#[test]
fn each_change_has_a_higher_modseq_which_another_process_finds() {
    let home = Home::new();
    let mailbox = inbox(&home);
    let mut last = highest(&mailbox);
    assert!(last > 0 && mailbox.snapshot().has_modseqs());
    let mut rises = |what: &str| {
        assert!(highest(&mailbox) > last, "{what}");
        last = highest(&mailbox);
        assert_eq!(highest(&inbox(&home.again())), last, "{what}");
        assert_eq!(modseqs(&inbox(&home.again())), modseqs(&mailbox), "{what}");
    };
    for _ in 0..4 {
        home.append(&mailbox, "x\r\n", Flags::NONE);
        rises("append");
    }
    assert_eq!(modseq(&mailbox, 4), highest(&mailbox));
    mark(&mailbox, &[1, 3], FlagMode::Add, Flags::SEEN);
    rises("store");
    assert_eq!((modseq(&mailbox, 1), modseq(&mailbox, 3)), (highest(&mailbox), highest(&mailbox)));
    home.keyword(&mailbox, "$Work");
    rises("keyword");
    mailbox.expunge(&[2]).unwrap();
    rises("expunge");
    assert!(modseqs(&mailbox).iter().all(|(_, modseq)| *modseq < highest(&mailbox)));
    mailbox.copy(&[1], &mailbox, Gone::Refuse).unwrap();
    rises("copy");
    // RFC 7162 §3.1.11: what is so already is no change
    let before = modseqs(&mailbox);
    mark(&mailbox, &[1, 3], FlagMode::Add, Flags::SEEN);
    assert_eq!((modseqs(&mailbox), highest(&mailbox)), (before, last));
    let _ = mailbox.view(mailstore::Access::ReadWrite).unwrap();
    assert_eq!(highest(&mailbox), last, "moving from new to cur is none either");
}

#[test]
fn what_other_programs_did_has_its_modseq_when_it_is_noticed() {
    for watched in [false, true] {
        let home = Home::new();
        let mailbox = inbox(&home);
        let _changes = watched.then(|| mailbox.changes());
        for name in ["1.a.host", "2.b.host", "3.c.host"] {
            home.write(&format!("cur/{name}:2,"), "x\n");
        }
        mailbox.refresh().unwrap();
        let (before, last) = (modseqs(&mailbox), highest(&mailbox));
        home.rename("cur/1.a.host:2,", "cur/1.a.host:2,S");
        home.remove("cur/3.c.host:2,");
        home.write("new/4.d.host", "x\n");
        mailbox.refresh().unwrap();
        let after = modseqs(&mailbox);
        assert_eq!(after.iter().map(|(uid, _)| *uid).collect::<Vec<_>>(), [1, 2, 4]);
        assert!(after[0].1 > last && after[1] == before[1] && after[2].1 > last, "{before:?} {after:?}");
        assert_eq!(vanished(&mailbox, last), Some(vec![3]));
        assert_eq!(modseqs(&inbox(&home.again())), after, "watched: {watched}");
        // also what they did while nobody looked
        drop((_changes, mailbox));
        home.rename("cur/1.a.host:2,S", "cur/1.a.host:2,");
        home.remove("cur/2.b.host:2,");
        let again = inbox(&home.again());
        assert_eq!(uids(&again.snapshot()), [1, 4]);
        assert!(modseq(&again, 1) > after[2].1 && modseq(&again, 4) == after[2].1);
        assert_eq!(vanished(&again, after[2].1), Some(vec![2]));
    }
}

#[test]
fn a_conditional_store_fails_when_another_process_was_first() {
    let home = Home::new();
    let (one, two) = (inbox(&home), inbox(&home.again()));
    home.append(&one, "x\r\n", Flags::NONE);
    two.refresh().unwrap();
    let known = highest(&two);
    mark(&one, &[1], FlagMode::Add, Flags::FLAGGED);
    let stored = two.store_flags(&[1], FlagMode::Add, &Flags::SEEN.into(), Some(known)).unwrap();
    assert_eq!((stored.done, stored.modified), (vec![], vec![1]));
    assert_eq!(two.snapshot().get(0).unwrap().flags(), Flags::FLAGGED, "what the other did is known now");
    assert_eq!(modseqs(&one), modseqs(&two));
    let stored = two.store_flags(&[1], FlagMode::Add, &Flags::SEEN.into(), Some(highest(&two))).unwrap();
    assert_eq!((stored.done, stored.modified), (vec![1], vec![]));
    let always = two.store_flags(&[1], FlagMode::Add, &Flags::DRAFT.into(), Some(0)).unwrap();
    assert_eq!(always.modified, [1]);
}

/// Of many that want to be the one to set a flag, one is (RFC 7162 §1: a mailbox as a queue).
#[test]
fn of_processes_that_race_one_wins_each_time() {
    let home = Home::new();
    let first = inbox(&home);
    for _ in 0..20 {
        home.append(&first, "x\r\n", Flags::SEEN);
    }
    let known = highest(&first);
    let won: Vec<Vec<u32>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mailbox = inbox(&home.again());
                    let mut won = Vec::new();
                    for uid in 1..=20 {
                        won.extend(mailbox.store_flags(&[uid], FlagMode::Add, &Flags::FLAGGED.into(), Some(known)).unwrap().done);
                    }
                    won
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut all: Vec<u32> = won.into_iter().flatten().collect();
    all.sort_unstable();
    assert_eq!(all, (1..=20).collect::<Vec<_>>());
    first.refresh().unwrap();
    assert_eq!(modseqs(&first), modseqs(&inbox(&home.again())));
    let mut given: Vec<u64> = modseqs(&first).into_iter().map(|(_, modseq)| modseq).collect();
    given.dedup();
    assert_eq!(given.len(), 20, "RFC 7162 §3.1: each STORE has a MODSEQ of its own");
}

#[test]
fn processes_that_change_one_mailbox_agree_on_every_modseq() {
    let home = Home::new();
    let first = inbox(&home);
    for _ in 0..10 {
        home.append(&first, "x\r\n", Flags::NONE);
    }
    std::thread::scope(|scope| {
        for thread in 0..3u32 {
            let home = home.again();
            scope.spawn(move || {
                let mailbox = inbox(&home);
                let _changes = (thread > 0).then(|| mailbox.changes());
                for round in 0..30u32 {
                    let uid = (thread * 7 + round) % 10 + 1;
                    let mode = if round % 2 == 0 { FlagMode::Add } else { FlagMode::Remove };
                    mark(&mailbox, &[uid], mode, if thread == 0 { Flags::SEEN } else { Flags::FLAGGED });
                    if round % 10 == 9 {
                        home.append(&mailbox, "y\r\n", Flags::NONE);
                        mailbox.expunge(&[11 + thread * 3]).unwrap();
                    }
                    mailbox.refresh().unwrap();
                }
            });
        }
    });
    first.refresh().unwrap();
    let fresh = inbox(&home.again());
    assert_eq!(modseqs(&first), modseqs(&fresh));
    assert_eq!(highest(&first), highest(&fresh));
    let flags = |mailbox: &Mailbox| mailbox.snapshot().iter().map(|message| (message.uid(), message.flags())).collect::<Vec<_>>();
    assert_eq!(flags(&first), flags(&fresh));
    let highest = highest(&first);
    // nothing is left to be noticed
    assert_eq!(inbox(&home.again()).snapshot().highest_modseq(), highest);
}

#[test]
fn a_lost_or_damaged_log_is_made_anew_with_higher_modseqs() {
    let home = Home::new();
    let mailbox = inbox(&home);
    for _ in 0..3 {
        home.append(&mailbox, "x\r\n", Flags::NONE);
    }
    mark(&mailbox, &[2], FlagMode::Add, Flags::SEEN);
    mailbox.expunge(&[3]).unwrap();
    let last = highest(&mailbox);
    let whole = std::fs::read(home.path("facteur.log")).unwrap();
    drop(mailbox);
    let anew = |what: &str| {
        let mailbox = inbox(&home.again());
        let after = modseqs(&mailbox);
        assert!(after.iter().all(|(_, modseq)| *modseq > last), "{what}: {after:?}");
        assert!(mailbox.snapshot().has_modseqs());
        assert_eq!(vanished(&mailbox, last), None, "{what}: what vanished is not known");
        assert_eq!(modseqs(&inbox(&home.again())), after, "{what}");
    };
    home.remove("facteur.log");
    anew("lost");
    for text in ["", "garbage", &"\0".repeat(500)] {
        home.write("facteur.log", text);
        anew(text);
    }
    for at in (0..64).step_by(5).chain((64..whole.len()).step_by(11)) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        std::fs::write(home.path("facteur.log"), damaged).unwrap();
        anew(&format!("byte {at}"));
    }
    // while it is open
    std::fs::write(home.path("facteur.log"), &whole).unwrap();
    let mailbox = inbox(&home.again());
    home.remove("facteur.log");
    mark(&mailbox, &[1], FlagMode::Add, Flags::SEEN);
    assert!(modseqs(&mailbox).iter().all(|(_, modseq)| *modseq > last));
    assert_eq!(modseqs(&inbox(&home.again())), modseqs(&mailbox));
}

/// A crash takes the end of the file, at any byte: no MODSEQ that was told of another state comes back.
#[test]
fn a_log_cut_anywhere_gives_what_is_found_higher_modseqs() {
    let home = Home::new();
    let mailbox = inbox(&home);
    for _ in 0..3 {
        home.append(&mailbox, "x\r\n", Flags::NONE);
    }
    let start = std::fs::metadata(home.path("facteur.log")).unwrap().len() as usize;
    mark(&mailbox, &[2], FlagMode::Add, Flags::SEEN);
    mailbox.expunge(&[3]).unwrap();
    let (last, told) = (highest(&mailbox), modseq(&mailbox, 2));
    let whole = std::fs::read(home.path("facteur.log")).unwrap();
    drop(mailbox);
    for cut in start..whole.len() {
        std::fs::write(home.path("facteur.log"), &whole[..cut]).unwrap();
        let mailbox = inbox(&home.again());
        assert_eq!(uids(&mailbox.snapshot()), [1, 2]);
        assert!(highest(&mailbox) >= last && modseq(&mailbox, 2) >= told, "{cut}");
        assert_eq!(vanished(&mailbox, told), Some(vec![3]), "{cut}");
    }
}

/// Flags are durable in the log before the file is renamed: whoever comes after a crash in between makes up for it.
#[test]
fn a_rename_that_a_crash_prevented_is_made_up_for() {
    for already_open in [false, true] {
        let home = Home::new();
        let mailbox = inbox(&home);
        home.append(&mailbox, "x\r\n", Flags::FLAGGED);
        let other = already_open.then(|| inbox(&home.again()));
        mark(&mailbox, &[1], FlagMode::Add, Flags::SEEN);
        let want = modseqs(&mailbox);
        drop(mailbox);
        let name = home.names("cur").remove(0);
        home.rename(&format!("cur/{name}"), &format!("cur/{}", name.replace(":2,FS", ":2,F")));
        // the record of 25 bytes at the end says that the file has its name
        let mut log = std::fs::read(home.path("facteur.log")).unwrap();
        log.truncate(log.len() - 25);
        std::fs::write(home.path("facteur.log"), log).unwrap();
        let after = other.unwrap_or_else(|| inbox(&home.again()));
        after.refresh().unwrap();
        assert_eq!(after.snapshot().get(0).unwrap().flags(), Flags::FLAGGED | Flags::SEEN, "already open: {already_open}");
        assert_eq!(modseqs(&after), want);
        assert!(home.names("cur")[0].ends_with(":2,FS"));
        // now it is settled: another program that takes the flag back is believed
        home.rename(&format!("cur/{name}"), &format!("cur/{}", name.replace(":2,FS", ":2,F")));
        after.refresh().unwrap();
        assert_eq!(after.snapshot().get(0).unwrap().flags(), Flags::FLAGGED);
        assert!(modseqs(&after)[0].1 > want[0].1);
    }
}

/// What was answered is in the Maildir, for other programs and without the log.
#[test]
fn a_store_of_many_has_named_all_files_when_it_returns() {
    let home = Home::new();
    let mailbox = inbox(&home);
    for _ in 0..40 {
        home.append(&mailbox, "x\r\n", Flags::DRAFT);
    }
    let all = uids(&mailbox.snapshot());
    let done = mailbox.store_flags(&all, FlagMode::Add, &Flags::SEEN.into(), None).unwrap().done;
    let names = home.names("cur");
    assert!(done == all && names.iter().all(|name| name.ends_with(":2,DS")), "{names:?}");
    home.remove("facteur.log");
    let again = inbox(&home.again()).snapshot();
    assert!(again.len() == 40 && again.iter().all(|message| message.flags() == Flags::DRAFT | Flags::SEEN));
}

/// A name that cannot get longer: the client hears of it, the other messages are changed, and everybody agrees on what is so.
#[test]
fn a_file_that_cannot_be_renamed_holds_nothing_else_up() {
    let home = Home::new();
    inbox(&home);
    for number in 0..30 {
        let long = if number == 7 { "x".repeat(252 - 4) } else { String::new() };
        home.write(&format!("cur/1{number:02}.{long}"), "x\n");
    }
    let mailbox = inbox(&home);
    mailbox.refresh().unwrap();
    let all = uids(&mailbox.snapshot());
    let before = highest(&mailbox);
    assert!(mailbox.store_flags(&all, FlagMode::Add, &Flags::SEEN.into(), None).is_err());
    home.append(&mailbox, "x\r\n", Flags::SEEN);
    let (snapshot, again) = (mailbox.snapshot(), inbox(&home.again()));
    assert!(snapshot.has_modseqs() && highest(&mailbox) > before);
    let unseen = |mailbox: &Mailbox| -> Vec<u32> {
        let snapshot = mailbox.snapshot();
        snapshot.iter().filter(|message| !message.flags().contains(Flags::SEEN)).map(|message| message.uid()).collect()
    };
    assert_eq!((unseen(&mailbox), unseen(&again)), (vec![8], vec![8]));
    assert_eq!((modseqs(&mailbox), highest(&mailbox)), (modseqs(&again), highest(&again)));
    assert_eq!(home.names("cur").iter().filter(|name| name.ends_with(":2,S")).count(), 30);
}

#[test]
fn a_long_log_is_made_short_and_forgets_the_oldest_removals_only() {
    let home = Home::new();
    let mailbox = inbox(&home);
    home.append(&mailbox, "x\r\n", Flags::NONE);
    let size = || std::fs::metadata(home.path("facteur.log")).unwrap().len();
    let watching = inbox(&home.again());
    let mut longest = 0;
    let mut before_last = 0;
    for round in 0..3000 {
        if round % 50 == 49 {
            home.append(&mailbox, "y\r\n", Flags::NONE);
            before_last = highest(&mailbox);
            let uid = uids(&mailbox.snapshot())[1];
            mailbox.expunge(&[uid]).unwrap();
        }
        mark(&mailbox, &[1], if round % 2 == 0 { FlagMode::Add } else { FlagMode::Remove }, Flags::SEEN);
        longest = longest.max(size());
    }
    assert!(longest < 70_000 && size() < longest, "{longest}");
    watching.refresh().unwrap();
    assert_eq!((modseqs(&watching), highest(&watching)), (modseqs(&mailbox), highest(&mailbox)));
    assert_eq!(modseqs(&inbox(&home.again())), modseqs(&mailbox));
    assert_eq!(vanished(&mailbox, before_last), Some(vec![61]));
    assert!(vanished(&mailbox, 1).is_none(), "before the log began");
}

#[test]
fn a_new_uidvalidity_begins_a_new_log() {
    let home = Home::new();
    let mailbox = inbox(&home);
    home.append(&mailbox, "x\r\n", Flags::NONE);
    let last = highest(&mailbox);
    drop(mailbox);
    home.write("dovecot-uidlist", "\0\0");
    let mailbox = inbox(&home.again());
    assert!(modseq(&mailbox, 1) > last);
    assert_eq!(vanished(&mailbox, last), None);
    assert_eq!(modseqs(&inbox(&home.again())), modseqs(&mailbox));
}

/// Another program renamed the file unnoticed: its flag stays, and the log has both.
#[test]
fn flags_that_another_program_set_meanwhile_stay() {
    let home = Home::new();
    let mailbox = inbox(&home);
    home.append(&mailbox, "x\r\n", Flags::DRAFT);
    let other = inbox(&home.again());
    let name = home.names("cur").remove(0);
    home.rename(&format!("cur/{name}"), &format!("cur/{}", name.replace(":2,D", ":2,DF")));
    mark(&mailbox, &[1], FlagMode::Add, Flags::SEEN);
    let all = Flags::DRAFT | Flags::FLAGGED | Flags::SEEN;
    assert!(home.names("cur")[0].ends_with(":2,DFS"), "{:?}", home.names("cur"));
    other.refresh().unwrap();
    for mailbox in [&mailbox, &other, &inbox(&home.again())] {
        assert_eq!(mailbox.snapshot().get(0).unwrap().flags(), all);
        assert_eq!(modseq(mailbox, 1), highest(&other));
    }
}

/// What another program changed is a change, also when only the store finds it (RFC 7162 §3.1.3).
#[test]
fn a_conditional_store_fails_when_another_program_was_first() {
    for watched in [false, true] {
        let home = Home::new();
        let mailbox = inbox(&home);
        let _changes = watched.then(|| mailbox.changes());
        home.append(&mailbox, "x\r\n", Flags::DRAFT);
        mailbox.refresh().unwrap();
        let known = highest(&mailbox);
        let name = home.names("cur").remove(0);
        home.rename(&format!("cur/{name}"), &format!("cur/{}", name.replace(":2,D", ":2,DF")));
        let stored = mailbox.store_flags(&[1], FlagMode::Add, &Flags::SEEN.into(), Some(known)).unwrap();
        assert_eq!((stored.done, stored.modified), (vec![], vec![1]), "watched: {watched}");
        assert_eq!(mailbox.snapshot().get(0).unwrap().flags(), Flags::DRAFT | Flags::FLAGGED);
    }
}

/// Nothing changes because the log cannot be written.
#[test]
fn without_a_log_that_can_be_written_nothing_is_told_to_change() {
    let home = Home::new();
    home.append(&inbox(&home), "x\r\n", Flags::DRAFT);
    home.remove("facteur.log");
    // the new file cannot be made
    std::fs::create_dir_all(home.path("facteur.log.tmp/in-the-way")).unwrap();
    let mailbox = inbox(&home.again());
    let before = (modseqs(&mailbox), mailbox.generation());
    for _ in 0..3 {
        mailbox.refresh().unwrap();
        assert_eq!((modseqs(&mailbox), mailbox.generation()), before);
    }
    assert!(!mailbox.snapshot().has_modseqs());
    std::fs::remove_dir_all(home.path("facteur.log.tmp")).unwrap();
    mark(&mailbox, &[1], FlagMode::Add, Flags::SEEN);
    assert!(mailbox.snapshot().has_modseqs() && highest(&mailbox) > before.0[0].1);
}

/// A crash took the record of a message that a client was told of, and the message went: the uidlist still knows of it.
#[test]
fn a_message_whose_record_was_lost_vanishes_all_the_same() {
    let home = Home::new();
    let mailbox = inbox(&home);
    home.append(&mailbox, "x\r\n", Flags::DRAFT);
    let log = std::fs::read(home.path("facteur.log")).unwrap();
    let before = home.names("cur");
    home.append(&mailbox, "x\r\n", Flags::DRAFT);
    let told = highest(&mailbox);
    drop(mailbox);
    std::fs::write(home.path("facteur.log"), log).unwrap();
    let name = home.names("cur").into_iter().find(|name| !before.contains(name)).unwrap();
    home.remove(&format!("cur/{name}"));
    let mailbox = inbox(&home.again());
    assert_eq!((uids(&mailbox.snapshot()), vanished(&mailbox, told)), (vec![1], Some(vec![2])));
    // once is enough
    assert_eq!(highest(&inbox(&home.again())), highest(&mailbox));
}

/// What can be read of a damaged log still says how far MODSEQs were, whatever the clock and the times of directories say.
#[test]
fn a_damaged_log_says_how_high_modseqs_were() {
    let home = Home::new();
    let mailbox = inbox(&home);
    home.append(&mailbox, "x\r\n", Flags::DRAFT);
    drop(mailbox);
    home.remove("facteur.log");
    let hour = std::time::Duration::from_secs(3600);
    let touch =
        |name: &str, ahead| std::fs::File::open(home.path(name)).unwrap().set_modified(std::time::SystemTime::now() + ahead).unwrap();
    touch("cur", hour);
    let mailbox = inbox(&home.again());
    let told = highest(&mailbox);
    mark(&mailbox, &[1], FlagMode::Add, Flags::SEEN);
    drop(mailbox);
    for name in ["cur", "new"] {
        touch(name, std::time::Duration::ZERO);
    }
    let mut log = std::fs::read(home.path("facteur.log")).unwrap();
    *log.last_mut().unwrap() ^= 1;
    std::fs::write(home.path("facteur.log"), log).unwrap();
    let after = highest(&inbox(&home.again()));
    assert!(after > told && told > 0);
    // nor does a wrong time carry them away
    home.remove("facteur.log");
    touch("cur", hour * 24 * 1000);
    assert!(highest(&inbox(&home.again())) < after + 24 * 3_600_000_000);
}
