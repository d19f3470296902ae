use std::time::SystemTime;

use super::*;
use crate::account::Account;
use crate::name::MailboxName;
use crate::{FlagSet, Flags, Location, Settings, Store};

struct World {
    _temp: tempfile::TempDir,
    account: Arc<Account>,
    other: Arc<Account>,
}

fn world() -> World {
    let temp = tempfile::tempdir().expect("folder");
    let store = Store::new(Settings::default());
    let account = |name: &str| store.account(&Location::maildir(temp.path().join(name)).expect("location")).expect("account");
    World { account: account("a"), other: account("b"), _temp: temp }
}

fn name(text: &str) -> MailboxName {
    MailboxName::parse(text).expect(text)
}

fn fill(account: &Arc<Account>, mailbox: &str) -> Arc<Mailbox> {
    let name = name(mailbox);
    if !name.is_inbox() {
        account.create(&name).expect("made");
    }
    let mailbox = account.open(&name).expect("there");
    for n in 0..4 {
        let mut incoming = mailbox.incoming(0).expect("room");
        incoming.write(format!("Subject: {n}\n\nx\n").as_bytes()).expect("written");
        let keywords = if n == 2 { vec!["$Work".to_owned()] } else { Vec::new() };
        let flags = if n == 1 { Flags::SEEN } else { Flags::NONE };
        incoming.describe(FlagSet { flags, keywords }, Some(1_700_000_000 + n));
        mailbox.append(vec![incoming]).expect("filed");
    }
    mailbox.expunge(&[1]).expect("removed");
    mailbox
}

/// All that a client can see.
fn seen(mailbox: &Arc<Mailbox>) -> Vec<String> {
    let snapshot = mailbox.snapshot();
    let line = |message: &Message| {
        let keywords: Vec<&str> = snapshot.keywords.names(message.keywords()).collect();
        let date = mailbox.internal_date(message).expect("date");
        let text = mailbox.read(message.uid()).expect("file").read_all().expect("text");
        let text = String::from_utf8_lossy(&text).into_owned();
        format!("{} {:?} {keywords:?} {} {date} {} {text}", message.uid(), message.flags(), message.in_new, message.guid())
    };
    let head = format!("{} {}", snapshot.uid_validity(), mailbox.mailbox_id().expect("id"));
    std::iter::once(head).chain(snapshot.iter().map(line)).collect()
}

fn carry(from: &Arc<Mailbox>, to: &Arc<Account>, name: &MailboxName, replace: bool) -> Result<usize> {
    let dump = from.dump()?;
    let mut restoring = to.restore(name, &dump.files[0].1[..])?;
    for (file, bytes) in &dump.files[1..] {
        restoring.file(file, &bytes[..])?;
    }
    for (message, path) in dump.messages() {
        let (file, _, modified) = from.raw(message.uid())?;
        let (part, file_name) = path.split_once('/').expect("a part");
        restoring.message(part == "new", file_name, file, modified)?;
    }
    restoring.finish(replace)
}

#[test]
fn a_mailbox_comes_back_with_everything_that_clients_know_of_it() {
    let world = world();
    for mailbox in ["Box.Été", "INBOX"] {
        let from = fill(&world.account, mailbox);
        assert_eq!(carry(&from, &world.other, from.name(), false).expect("restored"), 3);
        let back = world.other.open(from.name()).expect("there");
        assert_eq!(seen(&back), seen(&from), "{mailbox}");
        // and goes on from there, above what may have been given since
        let mut incoming = back.incoming(0).expect("room");
        incoming.write(b"x").expect("written");
        assert_eq!(back.append(vec![incoming]).expect("filed").uids, [5 + (1 << 20)]);
    }
    let hidden = world.other.open_root().expect("root").names().expect("names");
    assert!(hidden.iter().all(|name| !name.starts_with("..")), "{hidden:?}");
}

#[test]
fn messages_that_are_there_are_replaced_only_when_that_is_wanted() {
    let world = world();
    for mailbox in ["Box", "INBOX"] {
        let (from, old) = (fill(&world.account, mailbox), fill(&world.other, mailbox));
        let before = seen(&old);
        assert!(matches!(carry(&from, &world.other, from.name(), false), Err(Error::AlreadyExists)));
        assert_eq!(seen(&old), before);
        carry(&from, &world.other, from.name(), true).expect("restored");
        assert_eq!(seen(&world.other.open(from.name()).expect("there")), seen(&from), "{mailbox}");
    }
}

#[test]
fn where_mailboxes_lie_in_each_other_none_is_lost_with_the_one_above() {
    let world = world();
    let from = fill(&world.account, "Box");
    let temp = tempfile::tempdir().expect("folder");
    let place = format!("maildir:{}/fs:LAYOUT=fs", temp.path().display());
    let account = Store::new(Settings::default()).account(&Location::expand(&place, "ann", None).expect("location")).expect("account");
    carry(&from, &account, &name("A.B"), false).expect("restored");
    assert_eq!(seen(&account.open(&name("A.B")).expect("there")), seen(&from));
    assert!(temp.path().join("fs/A/B/cur").is_dir());
    for replace in [false, true] {
        assert!(matches!(carry(&from, &account, &name("A"), replace), Err(Error::NotAllowed(_))));
    }
    assert!(matches!(carry(&from, &account, &name("A.cur"), false), Err(Error::NotAllowed(_))));
    carry(&from, &account, &name("A.B"), true).expect("replaced");
    assert_eq!(seen(&account.open(&name("A.B")).expect("there")), seen(&from));
}

#[test]
fn uids_given_since_the_backup_are_not_given_again() {
    let world = world();
    for mailbox in ["Box", "INBOX"] {
        let from = fill(&world.account, mailbox);
        let dump = from.dump().expect("dump");
        let mut incoming = from.incoming(0).expect("room");
        incoming.write(b"x").expect("written");
        assert_eq!(from.append(vec![incoming]).expect("filed").uids, [5]);
        let restoring = world.account.restore(from.name(), &dump.files[0].1[..]).expect("begins");
        restoring.finish(true).expect("restored");
        drop(from);
        assert_eq!(world.account.open(&name(mailbox)).expect("there").snapshot().uid_next(), 6, "{mailbox}");
    }
}

/// Of a mailbox that is gone, or was made anew, nobody knows how many UIDs it had given.
#[test]
fn uids_of_a_mailbox_that_is_gone_are_not_given_again() {
    let world = world();
    let from = fill(&world.account, "Box");
    let dump = from.dump().expect("dump");
    drop(from);
    for made_anew in [false, true] {
        world.account.delete(&name("Box")).expect("deleted");
        if made_anew {
            world.account.create(&name("Box")).expect("made");
        }
        world.account.restore(&name("Box"), &dump.files[0].1[..]).expect("begins").finish(false).expect("restored");
        let back = world.account.open(&name("Box")).expect("there").snapshot();
        assert!(back.uid_next() > 1_000_000, "{made_anew}");
        assert!(dump.files[0].1.starts_with(format!("3 V{} ", back.uid_validity()).as_bytes()));
    }
    // where there is no room above, under another UIDVALIDITY
    let list = format!("3 V77 N{} G3085f01b7f11094c501100008c4a11c1\n", u32::MAX - 1000);
    let mut restoring = world.other.restore(&name("Full"), list.as_bytes()).expect("begins");
    restoring.message(false, "1.x.host:2,S", &b"x"[..], SystemTime::now()).expect("written");
    assert_eq!(restoring.finish(false).expect("restored"), 1);
    let full = world.other.open(&name("Full")).expect("there").snapshot();
    assert!(full.uid_validity() > 77 && full.get(0).is_some_and(|message| message.uid() == 1));
    assert!(world.other.restore(&name("Last"), &b"3 V4294967295 N5 G3085f01b7f11094c501100008c4a11c1\n"[..]).is_err());
}

#[test]
fn where_there_is_no_list_messages_get_new_uids() {
    let world = world();
    for (mailbox, uids) in [("Box", [1, 2]), ("INBOX", [1, 2])] {
        let old = fill(&world.other, mailbox).snapshot().uid_validity();
        let mut restoring = world.other.restore_without_list(&name(mailbox)).expect("begins");
        for (file, text) in [("1.x.host:2,S", "a"), ("2.x.host:2,", "b")] {
            restoring.message(false, file, text.as_bytes(), SystemTime::now()).expect("written");
        }
        assert_eq!(restoring.finish(true).expect("restored"), 2);
        let now = world.other.open(&name(mailbox)).expect("there").snapshot();
        assert_eq!(now.iter().map(Message::uid).collect::<Vec<_>>(), uids, "{mailbox}");
        assert!(now.uid_validity() > old, "{mailbox}: {old} {}", now.uid_validity());
    }
}

/// Mail that is delivered while its mailbox is being replaced.
#[test]
fn what_came_into_a_mailbox_that_was_replaced_is_in_the_one_shown() {
    let world = world();
    let (from, open) = (fill(&world.account, "Box"), fill(&world.other, "Box"));
    let dump = from.dump().expect("dump");
    let mut restoring = world.other.restore(&name("Box"), &dump.files[0].1[..]).expect("begins");
    let root = world.other.open_root().expect("root");
    let before = open.snapshot();
    let replaced: std::collections::HashSet<&str> = before.iter().map(Message::base_name).collect();
    let path = |part: &str| root.at(".Box").join(part);
    std::fs::write(path("new/9.late.host"), "late").expect("delivered");
    std::fs::write(path("cur/8.late.host:2,S"), "late").expect("delivered");
    restoring.message(false, "8.late.host:2,S", &b"another"[..], SystemTime::now()).expect("written");
    root.rename_new(".Box", &root, "..deleted.x").expect("renamed");
    let shown = world.other.open_root().and_then(|root| crate::account::prepare_inside(&root, ".Box")).expect("made");
    std::fs::write(path("cur/8.late.host:2,S"), "another").expect("restored");
    let old = root.open_dir("..deleted.x/new").expect("open");
    place::take_down(world.other.store(), &root, "..deleted.x", &replaced, &shown).expect("taken down");
    assert!(root.stat("..deleted.x").expect("stat").is_none());
    assert!(old.create("10.too.late").is_err(), "whoever delivers hears that it did not work");
    drop(open);
    let mut texts: Vec<Vec<u8>> = ["new", "cur"]
        .iter()
        .flat_map(|part| std::fs::read_dir(path(part)).expect("part"))
        .map(|f| std::fs::read(f.expect("file").path()).expect("text"))
        .collect();
    texts.sort();
    assert_eq!(texts, [b"another".to_vec(), b"late".to_vec(), b"late".to_vec()]);
}

/// Two renames instead of one exchange, and between them a crash.
#[test]
fn where_directories_cannot_be_exchanged_a_mailbox_that_went_comes_back() {
    let world = world();
    for is_made_anew in [false, true] {
        let mailbox = if is_made_anew { "Anew" } else { "Box" };
        let before = seen(&fill(&world.other, mailbox));
        let root = world.other.open_root().expect("root");
        let directory = format!(".{mailbox}");
        let (mut place, coming) = place::Place::make(world.other.store(), &root).expect("place");
        std::fs::write(coming.at("cur").join("1.restored.host:2,"), "restored").expect("written");
        let (dir, _) = place.mailbox();
        root.rename_new(&directory, dir, "gone").expect("went");
        std::fs::write(dir.at("replaced"), format!("{directory}\n{}", before.len())).expect("note");
        std::fs::write(dir.at("gone/new/9.late.host"), "late").expect("delivered");
        world.other.forget(&name(mailbox));
        if is_made_anew {
            world.other.create(&name(mailbox)).expect("made");
        }
        place.settle().expect("settled");
        let after = seen(&world.other.open(&name(mailbox)).expect("there"));
        assert_eq!(after.len(), before.len() + 1, "{after:?}");
        assert!(after.iter().any(|line| line.ends_with("late")) && !after.iter().any(|line| line.ends_with("restored")), "{after:?}");
        if !is_made_anew {
            assert_eq!(after[..before.len()], before);
        }
        let hidden = root.names().expect("names");
        assert!(hidden.iter().all(|name| !name.starts_with("..")), "{hidden:?}");
    }
}

/// A session that has INBOX open hears of it: by its UIDVALIDITY, as all it knew is void.
#[test]
fn an_open_inbox_follows_what_is_restored_by_another_process() {
    let world = world();
    // made in the same second both would have the same one
    std::fs::write(world.other.root().join(uidlist::FILE), "3 V1234567 N1 G3085f01b7f11094c501100008c4a11c1\n").expect("list");
    let (from, open) = (fill(&world.account, "INBOX"), fill(&world.other, "INBOX"));
    // two stores are two processes
    let other = Store::new(Settings::default());
    let account = other.account(&Location::maildir(world.other.root()).expect("location")).expect("account");
    carry(&from, &account, &MailboxName::inbox(), true).expect("restored");
    open.refresh().expect("looks");
    assert_eq!(seen(&open), seen(&from));
}

#[test]
fn a_backup_with_names_that_lead_elsewhere_is_refused() {
    let world = world();
    let list = b"3 V1 N5 G3085f01b7f11094c501100008c4a11c1\n";
    let mut restoring = world.other.restore(&name("Box"), &list[..]).expect("begins");
    for file in ["../x", "a/b", ".hidden", "", "a\nb"] {
        assert!(restoring.message(false, file, &b"x"[..], SystemTime::now()).is_err(), "{file:?}");
    }
    restoring.file("../../evil", &b"x"[..]).expect("left out");
    drop(restoring);
    assert!(world.other.restore(&name("Box"), &b"no list"[..]).is_err());
    let names = world.other.open_root().expect("root").names().expect("names");
    assert!(names.iter().all(|name| !name.starts_with("..")), "{names:?}");
}
