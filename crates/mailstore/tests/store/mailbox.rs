//! Mailboxes through the public API: what one session does, another sees; what other programs do, all see.

use std::time::Duration;

use crate::common::{Home, inbox, uids};
use mailstore::{Access, Error, Expunges, FlagMode, FlagSet, Flags, Gone, MailboxName};

#[test]
fn an_appended_message_reads_back_with_flags_date_and_sizes() {
    let home = Home::new();
    let mailbox = inbox(&home);
    let mut incoming = mailbox.incoming(30).unwrap();
    incoming.write(b"Subject: x\r\n\r\nbo").unwrap();
    incoming.write(b"dy\r\n").unwrap();
    incoming.describe(FlagSet { flags: Flags::SEEN, keywords: vec!["$Forwarded".into()] }, Some(1_000_000_000));
    let added = mailbox.append(vec![incoming]).unwrap();
    assert_eq!(added.uids, [1]);
    for mailbox in [mailbox, inbox(&home.again())] {
        let snapshot = mailbox.snapshot();
        let message = snapshot.get(0).unwrap();
        assert_eq!((message.uid(), message.flags()), (1, Flags::SEEN));
        assert_eq!(snapshot.keywords().names(message.keywords()).collect::<Vec<_>>(), ["$Forwarded"]);
        assert_eq!(mailbox.internal_date(message).unwrap(), 1_000_000_000);
        assert_eq!((mailbox.size(message).unwrap(), mailbox.disk_size(message).unwrap()), (20, 17));
        assert_eq!(*mailbox.read(1).unwrap().read_all().unwrap(), *b"Subject: x\r\n\r\nbody\r\n");
        assert_eq!(snapshot.uid_validity(), added.uid_validity);
        assert_eq!(snapshot.uid_next(), 2);
    }
}

#[test]
fn an_append_given_up_leaves_nothing() {
    let home = Home::new();
    let mailbox = inbox(&home);
    let mut incoming = mailbox.incoming(0).unwrap();
    incoming.write(&vec![b'x'; 200_000]).unwrap();
    drop(incoming);
    assert_eq!(home.count("tmp") + home.count("new") + home.count("cur"), 0);
}

#[test]
fn two_sessions_see_each_others_changes_in_their_own_numbering() {
    let home = Home::new();
    let mailbox = inbox(&home);
    for n in 0..5 {
        home.append(&mailbox, &format!("Subject: {n}\r\n\r\n"), Flags::NONE);
    }
    let mut acting = mailbox.view(Access::ReadWrite).unwrap();
    let mut watching = mailbox.view(Access::ReadWrite).unwrap();
    assert_eq!((acting.recent_count(), watching.recent_count()), (5, 0));
    mailbox.store_flags(&[2, 4], FlagMode::Add, &Flags::DELETED.into(), None).unwrap();
    let changes = watching.sync(Expunges::Report).unwrap();
    assert_eq!(changes.flags, [2, 4]);
    assert_eq!(mailbox.expunge(&[4, 2]).unwrap(), [2, 4]);
    home.append(&mailbox, "Subject: six\r\n\r\n", Flags::NONE);

    let held = watching.sync(Expunges::Hold).unwrap();
    assert_eq!((held.expunged.len(), held.exists), (0, Some(6)));
    assert!(watching.is_expunged(2) && watching.message(2).unwrap().uid() == 2);
    assert!(matches!(mailbox.read(2), Err(Error::Expunged)));
    let told = watching.sync(Expunges::Report).unwrap();
    assert_eq!((told.expunged, told.expunged_uids), (vec![4, 2], vec![4, 2]));
    assert_eq!(uids(watching.snapshot()), [1, 3, 5, 6]);
    assert!(watching.is_recent(6));

    let changes = acting.sync(Expunges::Report).unwrap();
    assert_eq!((changes.expunged, changes.exists), (vec![4, 2], Some(4)));
    assert!(!acting.is_recent(6) && acting.recent_count() == 3);
    assert!(acting.sync(Expunges::Report).unwrap().is_empty());

    // for who wants to hear of nothing, only flags change
    let modseq = acting.highest_modseq();
    mailbox.store_flags(&[1, 3], FlagMode::Add, &Flags::SEEN.into(), None).unwrap();
    mailbox.expunge(&[3]).unwrap();
    home.append(&mailbox, "Subject: seven\r\n\r\n", Flags::NONE);
    for _ in 0..2 {
        let changes = acting.sync(Expunges::Freeze).unwrap();
        assert_eq!((changes.expunged.len(), changes.exists), (0, None));
        home.append(&mailbox, "Subject: more\r\n\r\n", Flags::NONE);
    }
    assert_eq!((uids(acting.snapshot()), acting.highest_modseq()), (vec![1, 3, 5, 6], modseq));
    assert!(acting.message(1).unwrap().flags().contains(Flags::SEEN) && acting.first_new() == 7);
    let changes = acting.sync(Expunges::Hold).unwrap();
    assert_eq!((changes.expunged.len(), changes.exists), (0, Some(7)));
    let changes = acting.sync(Expunges::Report).unwrap();
    assert_eq!((changes.expunged, uids(acting.snapshot())), (vec![2], vec![1, 5, 6, 7, 8, 9]));
    assert!(acting.highest_modseq() > modseq);
}

#[test]
fn examine_changes_nothing_on_disk() {
    let home = Home::new();
    let mailbox = inbox(&home);
    home.append(&mailbox, "Subject: x\r\n\r\n", Flags::NONE);
    let view = mailbox.view(Access::ReadOnly).unwrap();
    assert_eq!((view.recent_count(), home.count("new")), (1, 1));
    let view = mailbox.view(Access::ReadWrite).unwrap();
    assert_eq!((view.recent_count(), home.count("new"), home.count("cur")), (1, 0, 1));
}

#[test]
fn files_other_programs_add_rename_and_remove_are_noticed_by_a_refresh() {
    for watched in [false, true] {
        let home = Home::new();
        let mailbox = inbox(&home);
        home.write("new/1000.a.host", "Subject: a\n\nx\n");
        home.write("cur/999.b.host:2,S", "Subject: b\n\nx\n");
        mailbox.refresh().unwrap();
        // not before: the watch may see the first file before the second is there
        let _changes = watched.then(|| mailbox.changes());
        let mut view = mailbox.view(Access::ReadOnly).unwrap();
        assert_eq!(uids(view.snapshot()), [1, 2], "the older file has the lower UID");
        assert_eq!(view.message(1).unwrap().base_name(), "999.b.host");

        home.rename("new/1000.a.host", "cur/1000.a.host:2,FS");
        home.rename("cur/999.b.host:2,S", "cur/999.b.host:2,S,oddly");
        mailbox.refresh().unwrap();
        assert_eq!(view.sync(Expunges::Report).unwrap().flags, [2], "watched: {watched}");
        assert_eq!(*mailbox.read(1).unwrap().read_all().unwrap(), *b"Subject: b\r\n\r\nx\r\n");
        mailbox.store_flags(&[1], FlagMode::Add, &Flags::DELETED.into(), None).unwrap();
        assert!(home.exists("cur/999.b.host:2,ST"));

        home.remove("cur/1000.a.host:2,FS");
        mailbox.refresh().unwrap();
        assert_eq!(view.sync(Expunges::Report).unwrap().expunged, [2]);
        home.write("new/998.c.host", "Subject: c\n\nx\n");
        mailbox.refresh().unwrap();
        assert_eq!(uids(&mailbox.snapshot()), [1, 3]);
    }
}

#[test]
fn a_file_renamed_under_us_is_found_again() {
    let home = Home::new();
    let mailbox = inbox(&home);
    home.append(&mailbox, "Subject: x\r\n\r\n", Flags::SEEN);
    let name = home.names("cur").remove(0);
    home.rename(&format!("cur/{name}"), &format!("cur/{}F", name.replace('S', "").replace(",=", ",S=")));
    assert_eq!(*mailbox.read(1).unwrap().read_all().unwrap(), *b"Subject: x\r\n\r\n");
    let stored = mailbox.store_flags(&[1, 7], FlagMode::Add, &Flags::ANSWERED.into(), None).unwrap();
    assert_eq!((stored.done, stored.expunged), (vec![1], vec![7]));
    let stored = mailbox.store_flags(&[1], FlagMode::Add, &Flags::SEEN.into(), Some(0)).unwrap();
    assert_eq!((stored.done, stored.modified), (vec![], vec![1]));
}

#[test]
fn an_idle_session_wakes_within_a_second_of_a_delivery() {
    let home = Home::new();
    let mailbox = inbox(&home);
    let mut changes = mailbox.changes();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let view = mailbox.view(Access::ReadOnly).unwrap();
    home.write("tmp/1.x.host", "Subject: x\n\n");
    home.rename("tmp/1.x.host", "new/1.x.host");
    runtime.block_on(async {
        while !view.is_stale() || mailbox.snapshot().is_empty() {
            tokio::time::timeout(Duration::from_secs(30), changes.changed()).await.unwrap().unwrap();
        }
    });
}

#[test]
fn copies_and_moves_keep_flags_keywords_and_dates() {
    let home = Home::new();
    let mailbox = inbox(&home);
    let target = home.mailbox("Work.Proj");
    home.keyword(&target, "Other");
    let mut incoming = mailbox.incoming(0).unwrap();
    incoming.write(b"Subject: x\r\n\r\n").unwrap();
    incoming.describe(FlagSet { flags: Flags::FLAGGED, keywords: vec!["Mine".into()] }, Some(900_000_000));
    mailbox.append(vec![incoming]).unwrap();
    home.append(&mailbox, "Subject: y\r\n\r\n", Flags::NONE);

    let copied = mailbox.copy(&[1, 99], &target, Gone::LeaveOut).unwrap();
    assert_eq!((copied.sources, copied.uids), (vec![1], vec![2]));
    assert!(matches!(mailbox.copy(&[1, 99], &target, Gone::Refuse), Err(Error::Expunged)));
    let moved = mailbox.move_to(&[1, 2], &target, Gone::Refuse).unwrap();
    assert!(moved.error.is_none());
    let moved = moved.added;
    assert_eq!((moved.sources, moved.uids), (vec![1, 2], vec![3, 4]));
    assert!(mailbox.snapshot().is_empty());
    for uid in [2, 3] {
        let snapshot = target.snapshot();
        let (_, message) = snapshot.find(uid).unwrap();
        assert_eq!(message.flags(), Flags::FLAGGED);
        assert_eq!(snapshot.keywords().names(message.keywords()).collect::<Vec<_>>(), ["Mine"]);
        assert_eq!(target.internal_date(message).unwrap(), 900_000_000);
    }
    // within one mailbox too
    assert_eq!(target.copy(&[4], &target, Gone::Refuse).unwrap().uids, [5]);
    assert_eq!(uids(&home.again().mailbox("Work.Proj").snapshot()), [1, 2, 3, 4, 5]);
}

#[test]
fn uids_are_never_used_again() {
    let home = Home::new();
    let mailbox = inbox(&home);
    for _ in 0..3 {
        home.append(&mailbox, "x\r\n", Flags::NONE);
    }
    mailbox.expunge(&[2, 3]).unwrap();
    drop(mailbox);
    let mailbox = inbox(&home.again());
    home.append(&mailbox, "y\r\n", Flags::NONE);
    assert_eq!(uids(&mailbox.snapshot()), [1, 4]);
}

#[test]
fn a_long_used_uidlist_is_made_short_again() {
    let home = Home::new();
    let mailbox = inbox(&home);
    for _ in 0..150 {
        home.append(&mailbox, "x\r\n", Flags::NONE);
        let uid = mailbox.snapshot().get(0).unwrap().uid();
        mailbox.expunge(&[uid]).unwrap();
    }
    assert!(home.read("dovecot-uidlist").lines().count() < 60);
    home.append(&mailbox, "x\r\n", Flags::NONE);
    assert_eq!(uids(&mailbox.snapshot()), [151]);
}

#[test]
fn a_damaged_uidlist_keeps_every_uid_it_can() {
    let home = Home::new();
    let mailbox = inbox(&home);
    for n in 0..4 {
        home.append(&mailbox, &format!("{n}\r\n"), Flags::NONE);
    }
    let validity = mailbox.snapshot().uid_validity();
    let whole = home.read("dovecot-uidlist");
    let names: Vec<String> = mailbox.snapshot().iter().map(|message| message.base_name().to_owned()).collect();

    // while it is open: nothing is lost whatever happens to the file
    for damage in ["", "garbage", "9 V1 N1 G0\n", &whole[..whole.len() - 70]] {
        home.write("dovecot-uidlist", damage);
        home.append(&mailbox, "more\r\n", Flags::NONE);
        assert_eq!(mailbox.snapshot().uid_validity(), validity, "{damage}");
        assert_eq!(&uids(&mailbox.snapshot())[..4], [1, 2, 3, 4]);
        assert_eq!(uids(&inbox(&home.again()).snapshot()), uids(&mailbox.snapshot()));
        mailbox.expunge(&uids(&mailbox.snapshot())[4..]).unwrap();
    }
    drop(mailbox);

    // cut in the last line: the lines before keep their UIDs, the file of the last gets one never used
    home.write("dovecot-uidlist", &whole[..whole.len() - 10]);
    let mailbox = inbox(&home.again());
    let snapshot = mailbox.snapshot();
    assert_eq!((snapshot.uid_validity(), &uids(&snapshot)[..3]), (validity, &[1, 2, 3][..]));
    assert!(uids(&snapshot)[3] > 1000, "{:?}", uids(&snapshot));
    assert_eq!(snapshot.get(1).unwrap().base_name(), names[1]);
    drop(mailbox);

    // of no use: another UIDVALIDITY
    home.write("dovecot-uidlist", "\0\0\0\0");
    let mailbox = inbox(&home.again());
    assert_ne!(mailbox.snapshot().uid_validity(), validity);
    assert_eq!(uids(&mailbox.snapshot()), [1, 2, 3, 4]);
}

#[test]
fn two_files_with_one_name_become_two_messages_and_two_names_of_one_file_one() {
    let home = Home::new();
    let mailbox = inbox(&home);
    home.write("cur/1.a.host:2,S", "one\n");
    home.write("cur/1.a.host:2,F", "two\n");
    home.write("cur/2.b.host:2,", "three\n");
    std::fs::hard_link(home.path("cur/2.b.host:2,"), home.path("new/2.b.host")).unwrap();
    mailbox.refresh().unwrap();
    assert_eq!(mailbox.snapshot().len(), 3);
    assert_eq!(home.count("cur") + home.count("new"), 3);
    assert!(!home.exists("dovecot-uidlist.lock"));
}

#[test]
fn processes_taking_turns_agree_on_uids() {
    let home = Home::new();
    let (one, two) = (inbox(&home), inbox(&home.again()));
    for round in 0..10 {
        home.append(&one, &format!("{round}\r\n"), Flags::NONE);
        home.append(&two, &format!("{round}\r\n"), Flags::SEEN);
        home.write(&format!("new/{}.z.host", 2_000_000_000 + round), "z\n");
        if round == 5 {
            one.expunge(&[1, 2]).unwrap();
        }
        two.refresh().unwrap();
        one.refresh().unwrap();
    }
    two.refresh().unwrap();
    let list = |mailbox: &mailstore::Mailbox| mailbox.snapshot().iter().map(|m| (m.uid(), m.base_name().to_owned())).collect::<Vec<_>>();
    assert_eq!(list(&one), list(&two));
    assert_eq!(list(&one), list(&inbox(&home.again())));
    assert_eq!(one.snapshot().len(), 28);
}

#[test]
fn a_mailbox_with_links_in_it_is_refused_and_nothing_outside_is_touched() {
    let home = Home::new();
    std::fs::create_dir_all(home.beside("outside/new")).unwrap();
    std::fs::write(home.beside("outside/secret"), "secret").unwrap();
    let mailbox = home.mailbox("Evil");
    std::os::unix::fs::symlink(home.beside("outside/secret"), home.path(".Evil/cur/1.a:2,")).unwrap();
    mailbox.refresh().unwrap();
    assert!(mailbox.snapshot().is_empty());
    // put in the place of a message that is known
    home.append(&mailbox, "x\r\n", Flags::SEEN);
    let name = home.names(".Evil/cur").into_iter().find(|name| name.contains(",S=")).unwrap();
    home.remove(&format!(".Evil/cur/{name}"));
    std::os::unix::fs::symlink(home.beside("outside/secret"), home.path(&format!(".Evil/cur/{name}"))).unwrap();
    assert!(matches!(mailbox.read(1), Err(Error::Unsafe { .. })));
    assert!(mailbox.copy(&[1], &inbox(&home), Gone::Refuse).is_err());
    std::fs::remove_dir(home.path(".Evil/new")).unwrap();
    std::os::unix::fs::symlink(home.beside("outside/new"), home.path(".Evil/new")).unwrap();
    assert!(mailbox.incoming(0).is_err());
    assert_eq!(std::fs::read_dir(home.beside("outside/new")).unwrap().count(), 0);
    assert_eq!(std::fs::read(home.beside("outside/secret")).unwrap(), b"secret");
}

/// No message tells of a name: it may come before the first message with the letter, and after.
#[test]
fn names_of_keywords_are_found_without_an_event() {
    let home = Home::new();
    let mailbox = inbox(&home);
    home.append(&mailbox, "x\r\n", Flags::SEEN);
    let _changes = mailbox.changes();
    mailbox.refresh().unwrap();
    let names = || mailbox.snapshot().keywords().iter().map(str::to_owned).collect::<Vec<_>>();
    home.write("dovecot-keywords", "0 first\n");
    inbox(&home);
    assert_eq!(names(), ["first"]);
    let name = home.names("cur").remove(0);
    home.rename(&format!("cur/{name}"), &format!("cur/{name}b"));
    mailbox.refresh().unwrap();
    home.write("dovecot-keywords", "0 first\n1 second\n");
    mailbox.refresh().unwrap();
    assert_eq!(names(), ["first", "second"]);
}

#[test]
fn more_keywords_than_letters_are_refused() {
    let home = Home::new();
    let mailbox = inbox(&home);
    home.append(&mailbox, "x\r\n", Flags::NONE);
    let keywords = (0..27).map(|n| format!("kw{n}")).collect();
    let result = mailbox.store_flags(&[1], FlagMode::Add, &FlagSet { flags: Flags::NONE, keywords }, None);
    assert!(matches!(result, Err(Error::Limit(_))));
    let keywords = (0..26).map(|n| format!("kw{n}")).collect();
    mailbox.store_flags(&[1], FlagMode::Replace, &FlagSet { flags: Flags::NONE, keywords }, None).unwrap();
    assert!(!mailbox.snapshot().keywords().has_room());
    assert!(home.names("cur")[0].ends_with(":2,abcdefghijklmnopqrstuvwxyz"));
}

#[test]
fn quota_is_kept_by_appends_copies_and_expunges() {
    let home = Home::new();
    let account = home.account();
    account.set_quota_limits(100, 0);
    let mailbox = account.open(&MailboxName::inbox()).unwrap();
    home.append(&mailbox, &"x".repeat(60), Flags::NONE);
    assert!(matches!(mailbox.copy(&[1], &mailbox, Gone::Refuse), Err(Error::OverQuota { .. })));
    assert!(matches!(mailbox.incoming(50), Err(Error::OverQuota { .. })));
    account.create(&MailboxName::parse("A").unwrap()).unwrap();
    let other = account.open(&MailboxName::parse("A").unwrap()).unwrap();
    mailbox.move_to(&[1], &other, Gone::Refuse).unwrap();
    assert_eq!(account.quota().unwrap().bytes, 60);
    other.expunge(&[1]).unwrap();
    assert_eq!(account.quota().unwrap().bytes, 0);
    home.append(&mailbox, &"x".repeat(100), Flags::NONE);
    assert_eq!(account.quota().unwrap(), account.recount_quota().unwrap());
}

#[test]
fn a_copy_that_does_not_fit_copies_nothing_and_takes_no_room() {
    let home = Home::new();
    let account = home.account();
    let (mailbox, other) = (home.mailbox("INBOX"), home.mailbox("Other"));
    for _ in 0..3 {
        home.append(&mailbox, &"x".repeat(20), Flags::NONE);
    }
    account.set_quota_limits(100, 0);
    assert!(matches!(mailbox.copy(&[1, 2, 3], &other, Gone::Refuse), Err(Error::OverQuota { .. })));
    assert_eq!((other.snapshot().len(), account.quota().unwrap().bytes), (0, 60));
    // a move needs no room
    account.set_quota_limits(60, 3);
    let moved = mailbox.move_to(&[1, 2, 3], &other, Gone::Refuse).unwrap();
    assert_eq!((moved.added.sources, moved.added.uids), (vec![1, 2, 3], vec![1, 2, 3]));
    assert_eq!(account.quota().unwrap().bytes, 60);
    assert_eq!(account.quota().unwrap(), account.recount_quota().unwrap());
}

/// RFC 8508 §3.4 gives the room of the old message to the one that replaces it, and to no others.
#[test]
fn of_many_that_replace_one_message_one_gets_its_room() {
    let home = Home::new();
    let account = home.account();
    let mailbox = home.mailbox("INBOX");
    home.append(&mailbox, &"x".repeat(60), Flags::NONE);
    account.set_quota_limits(100, 0);
    let prepared: Vec<_> = (0..10)
        .map(|_| {
            let mut incoming = mailbox.incoming_instead(60, &mailbox, 1).unwrap();
            incoming.write("y".repeat(60).as_bytes()).unwrap();
            incoming
        })
        .collect();
    let replace = |incoming| mailbox.replace(incoming, &mailbox, 1);
    let results: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = prepared.into_iter().map(|incoming| scope.spawn(move || replace(incoming))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.iter().all(|result| matches!(result, Ok(_) | Err(Error::OverQuota { .. }))), "{results:?}");
    assert_eq!((mailbox.snapshot().len(), account.recount_quota().unwrap().bytes), (1, 60));
}

/// A mailbox restored under sessions that wait: by a command at once, by IDLE soon.
#[tokio::test]
async fn a_directory_put_in_the_place_of_a_watched_one_is_noticed() {
    let home = Home::polling(Duration::from_millis(20));
    let mailbox = inbox(&home);
    home.append(&mailbox, "old\r\n", Flags::SEEN);
    for round in 0..2 {
        let mut changes = mailbox.changes();
        let restored = home.beside(&format!("restored{round}"));
        for part in ["tmp", "new", "cur"] {
            std::fs::create_dir_all(restored.join(part)).unwrap();
        }
        std::fs::write(restored.join("cur/1000.restored.host:2,S"), "restored\n").unwrap();
        let (here, exchange) = (nix::fcntl::AT_FDCWD, nix::fcntl::RenameFlags::RENAME_EXCHANGE);
        nix::fcntl::renameat2(here, &restored, here, &home.path(""), exchange).unwrap();
        if round == 0 {
            mailbox.refresh().unwrap();
        }
        let base = |mailbox: &mailstore::Mailbox| mailbox.snapshot().iter().map(|m| m.base_name().to_owned()).collect::<Vec<_>>();
        while base(&mailbox) != ["1000.restored.host"] {
            changes.changed().await.unwrap();
        }
        // the new one is watched
        home.write("new/2000.more.host", "more\n");
        while mailbox.snapshot().len() < 2 {
            changes.changed().await.unwrap();
        }
        assert!(!mailbox.is_deleted());
    }
}

#[test]
fn a_mailbox_that_cannot_be_written_can_be_read() {
    let home = Home::new();
    let mailbox = inbox(&home);
    home.append(&mailbox, "one\r\n", Flags::NONE);
    home.append(&mailbox, "two\r\n", Flags::NONE);
    let names: Vec<String> = mailbox.snapshot().iter().map(|message| message.base_name().to_owned()).collect();
    // a rename to this name fails, as all do on a full disk
    std::fs::create_dir(home.path(&format!("cur/{}:2,", names[0]))).unwrap();
    let mut view = mailbox.view(Access::ReadWrite).unwrap();
    assert_eq!((view.snapshot().len(), view.recent_count()), (2, 0));
    home.write("new/3.x.host", "three\n");
    mailbox.refresh().unwrap();
    assert_eq!(view.sync(Expunges::Report).unwrap().exists, Some(3));
    assert_eq!(*mailbox.read(1).unwrap().read_all().unwrap(), *b"one\r\n");
}

/// RFC 8474: a message and its copies have one id, whatever mailbox they are in and whoever looks; a mailbox keeps its own when it is renamed.
#[test]
fn ids_outlive_copies_moves_renames_and_the_process() {
    let home = Home::new();
    let (inbox, work) = (inbox(&home), home.mailbox("Work"));
    for text in ["x\r\n", "y\r\n"] {
        home.append(&inbox, text, Flags::SEEN);
    }
    let ids = |mailbox: &mailstore::Mailbox| mailbox.snapshot().iter().map(|message| message.email_id()).collect::<Vec<_>>();
    let [first, second] = ids(&inbox)[..] else { panic!() };
    assert_ne!(first, second);
    inbox.copy(&[1, 2], &work, Gone::Refuse).unwrap();
    // a copy of a copy, and a move of one
    work.copy(&[1], &inbox, Gone::Refuse).unwrap();
    work.move_to(&[2], &inbox, Gone::Refuse).unwrap();
    assert_eq!((ids(&inbox), ids(&work)), (vec![first, second, first, second], vec![first]));
    inbox.store_flags(&[3], FlagMode::Add, &Flags::FLAGGED.into(), None).unwrap();
    let id = work.mailbox_id().unwrap();
    assert!(id != inbox.mailbox_id().unwrap() && id.len() == 41, "{id}");
    let account = home.account();
    let name = |text: &str| MailboxName::parse(text).unwrap();
    assert_eq!(account.mailbox_id(&name("Work")).unwrap(), id);
    account.rename(&name("Work"), &name("Play")).unwrap();
    let again = home.again();
    assert_eq!((ids(&crate::common::inbox(&again)), ids(&again.mailbox("Play"))), (vec![first, second, first, second], vec![first]));
    assert_eq!(again.mailbox("Play").mailbox_id().unwrap(), id);
    assert_eq!(again.account().mailbox_id(&name("Play")).unwrap(), id);
    // the list written anew keeps what a copy is of
    home.write("dovecot-uidlist", &format!("{}garbage\n", home.read("dovecot-uidlist")));
    assert_eq!(ids(&crate::common::inbox(&home.again())), [first, second, first, second]);
    // Dovecot keeps the GUID with another UIDVALIDITY; who had none gets one that stays
    home.write(".Play/dovecot-uidlist", &home.read(".Play/dovecot-uidlist").replacen(" V", " V1", 1));
    assert_ne!(home.again().mailbox("Play").mailbox_id().unwrap(), id);
    let old = home.read(".Play/dovecot-uidlist");
    home.write(".Play/dovecot-uidlist", &old.replacen(" G", " X", 1));
    let given = home.again().account().mailbox_id(&name("Play")).unwrap();
    assert_eq!(home.again().mailbox("Play").mailbox_id().unwrap(), given);
    assert!(matches!(account.mailbox_id(&name("None")), Err(mailstore::Error::NoSuchMailbox)));
}

/// RFC 8514 §3: neither the date a client gives nor flags change it; in another mailbox it is another.
#[test]
fn the_save_date_is_when_the_message_came_here() {
    let home = Home::new();
    let (inbox, work) = (inbox(&home), home.mailbox("Work"));
    home.write("cur/1500000000.M1P1.host:2,S", "x\n");
    home.write("cur/1600000000.4F2A_0123456789abcdef.host:2,", "delivered\n");
    inbox.refresh().unwrap();
    let file = std::fs::File::options().write(true).open(home.path("cur/1600000000.4F2A_0123456789abcdef.host:2,")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_900)).unwrap();
    let saved = |mailbox: &mailstore::Mailbox, uid| mailbox.save_date(mailbox.snapshot().find(uid).unwrap().1).unwrap();
    assert_eq!((saved(&inbox, 1), saved(&inbox, 2)), (1_500_000_000, 1_600_000_900));
    inbox.store_flags(&[1, 2], FlagMode::Add, &Flags::FLAGGED.into(), None).unwrap();
    assert_eq!((saved(&inbox, 1), saved(&inbox, 2)), (1_500_000_000, 1_600_000_900));
    let mut incoming = inbox.incoming(0).unwrap();
    incoming.write(b"z\r\n").unwrap();
    incoming.describe(Flags::SEEN.into(), Some(4_000_000_000));
    inbox.append(vec![incoming]).unwrap();
    inbox.copy(&[1], &work, Gone::Refuse).unwrap();
    for (mailbox, uid) in [(&inbox, 3), (&work, 1)] {
        assert!((1_700_000_000..3_900_000_000).contains(&saved(mailbox, uid)), "{}", saved(mailbox, uid));
    }
    assert_eq!(saved(&inbox, 1), 1_500_000_000);
}

/// A session that hears nothing would have numbers for messages that are gone; that new ones cannot be claimed is no reason for it.
#[test]
fn what_changed_is_told_where_new_messages_cannot_be_claimed() {
    let home = Home::new();
    let mailbox = home.mailbox("Box");
    home.append(&mailbox, "x\r\n", Flags::SEEN);
    let mut view = mailbox.view(Access::ReadWrite).unwrap();
    home.append(&mailbox, "x\r\n", Flags::NONE);
    mailbox.expunge(&[1]).unwrap();
    home.rename(".Box", "moved");
    std::os::unix::fs::symlink(home.path("moved"), home.path(".Box")).unwrap();
    let changes = view.sync(Expunges::Report).unwrap();
    assert_eq!((changes.expunged, changes.exists), (vec![1], Some(1)));
    home.remove(".Box");
    home.rename("moved", ".Box");
    home.append(&mailbox, "x\r\n", Flags::NONE);
    assert_eq!(view.sync(Expunges::Report).unwrap().recent, Some(2));
}
