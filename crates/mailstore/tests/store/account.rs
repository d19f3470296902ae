//! Mailboxes of an account: names, making, removing, renaming, subscribing.

use mailstore::{Error, Flags, MailboxName};

use crate::common::{Home, inbox, uids};

fn name(text: &str) -> MailboxName {
    MailboxName::parse(text).unwrap()
}

fn listed(home: &Home) -> Vec<String> {
    let mark = |exists: bool, children: bool| format!("{}{}", if exists { "" } else { "-" }, if children { "+" } else { "" });
    home.account().list().unwrap().iter().map(|entry| format!("{}{}", mark(entry.exists, entry.has_children), entry.name)).collect()
}

#[test]
fn mailboxes_are_listed_with_the_levels_between() {
    let home = Home::new();
    let account = home.account();
    for mailbox in ["Work.Proj.One", "Sent", "Envoyés", "Work.Proj"] {
        account.create(&name(mailbox)).unwrap();
    }
    std::fs::create_dir(home.path(".not-a-mailbox")).unwrap();
    std::fs::create_dir_all(home.path(".&/cur")).unwrap();
    std::os::unix::fs::symlink(home.path(".Sent"), home.path(".Link")).unwrap();
    assert_eq!(listed(&home), ["INBOX", "Envoyés", "Sent", "-+Work", "+Work.Proj", "Work.Proj.One"]);
    assert!(home.exists(".Envoy&AOk-s/maildirfolder"));
    assert!(matches!(account.create(&name("Sent")), Err(Error::AlreadyExists)));
    assert!(matches!(account.create(&name("inbox")), Err(Error::AlreadyExists)));
    assert!(matches!(account.open(&name("Work")), Err(Error::NoSuchMailbox)));
    assert!(matches!(account.status(&name("None")), Err(Error::NoSuchMailbox)));
}

#[test]
fn a_mailbox_made_anew_has_another_uidvalidity() {
    let home = Home::new();
    let account = home.account();
    account.create(&name("A")).unwrap();
    let first = account.open(&name("A")).unwrap();
    account.delete(&name("A")).unwrap();
    assert!(first.is_deleted());
    assert!(matches!(first.refresh(), Err(Error::NoSuchMailbox)));
    account.create(&name("A")).unwrap();
    let second = account.open(&name("A")).unwrap();
    assert!(second.snapshot().uid_validity() > first.snapshot().uid_validity());
    assert!(second.snapshot().is_empty() && !second.is_deleted());
}

#[test]
fn deleting_leaves_what_is_below_and_refuses_inbox() {
    let home = Home::new();
    home.append(&home.mailbox("A"), "x\r\n", Flags::NONE);
    home.mailbox("A.B");
    let account = home.account();
    account.delete(&name("A")).unwrap();
    assert_eq!(listed(&home), ["INBOX", "-+A", "A.B"]);
    assert!(matches!(account.delete(&name("A")), Err(Error::NoSuchMailbox)));
    assert!(matches!(account.delete(&name("INBOX")), Err(Error::NotAllowed(_))));
    let left: Vec<String> = home.names("").into_iter().filter(|entry| entry.starts_with("..")).collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn renaming_takes_children_along_and_keeps_uids() {
    let home = Home::new();
    let mailbox = home.mailbox("A.B");
    home.append(&mailbox, "x\r\n", Flags::SEEN);
    let validity = mailbox.snapshot().uid_validity();
    home.mailbox("A.B.C");
    home.mailbox("Taken");
    let account = home.account();
    for (from, to) in [("A", "Taken"), ("A.B", "A.B.C.D"), ("Nothing", "X"), ("A", "INBOX")] {
        assert!(account.rename(&name(from), &name(to)).is_err(), "{from} to {to}");
    }
    account.rename(&name("A"), &name("Z.Y")).unwrap();
    assert_eq!(listed(&home), ["INBOX", "Taken", "-+Z", "-+Z.Y", "+Z.Y.B", "Z.Y.B.C"]);
    assert!(mailbox.is_deleted());
    let renamed = account.open(&name("Z.Y.B")).unwrap();
    assert_eq!((uids(&renamed.snapshot()), renamed.snapshot().uid_validity()), (vec![1], validity));
}

#[test]
fn renaming_inbox_moves_its_messages_and_leaves_it_empty() {
    let home = Home::new();
    let mailbox = inbox(&home);
    home.append(&mailbox, "x\r\n", Flags::FLAGGED);
    home.mailbox("INBOX.Sub");
    home.account().rename(&name("INBOX"), &name("Old")).unwrap();
    assert!(mailbox.snapshot().is_empty() && !mailbox.is_deleted());
    assert_eq!(home.mailbox("Old").snapshot().get(0).unwrap().flags(), Flags::FLAGGED);
    assert_eq!(listed(&home), ["+INBOX", "INBOX.Sub", "Old"]);
}

#[test]
fn status_is_right_after_every_change_whether_the_mailbox_is_open_or_not() {
    let home = Home::new();
    home.mailbox("A");
    let account = home.account();
    let status = || account.status(&name("A")).unwrap();
    assert_eq!((status().messages, status().uid_next), (0, 1));
    for n in 1..=3 {
        home.write(&format!(".A/new/{n}.x.host"), "x\n");
        assert_eq!((status().messages, status().recent, status().unseen, status().uid_next), (n, n, n, n + 1));
    }
    let open = account.open(&name("A")).unwrap();
    home.rename(".A/new/1.x.host", ".A/cur/1.x.host:2,ST");
    assert_eq!((status().messages, status().recent, status().unseen, status().deleted), (3, 2, 2, 1));
    drop(open);
    home.remove(".A/cur/1.x.host:2,ST");
    assert_eq!((status().messages, status().uid_next), (2, 4));
}

/// As for somebody who was not there: logins find an account, and programs that hold the old mailboxes learn that they are no more.
#[test]
fn a_maildir_removed_under_an_account_is_made_anew() {
    let home = Home::new();
    let (account, sent) = (home.account(), home.mailbox("Sent"));
    home.append(&sent, "x\r\n", Flags::SEEN);
    std::fs::remove_dir_all(home.path("")).unwrap();
    assert!(std::sync::Arc::ptr_eq(&home.account(), &account));
    assert!(sent.is_deleted());
    assert_eq!(account.list().unwrap().len(), 1);
    home.append(&home.mailbox("INBOX"), "x\r\n", Flags::SEEN);
    assert_eq!((home.count("cur"), home.exists(".Sent")), (1, false));
}

#[test]
fn subscriptions_need_no_mailbox() {
    let home = Home::new();
    let account = home.account();
    account.subscribe(&name("Gone.Away")).unwrap();
    account.subscribe(&name("INBOX")).unwrap();
    assert_eq!(account.subscriptions().unwrap(), [name("Gone.Away"), name("INBOX")]);
    account.unsubscribe(&name("Gone.Away")).unwrap();
    assert_eq!(home.again().account().subscriptions().unwrap(), [name("INBOX")]);
}

#[test]
fn there_is_a_limit_to_mailboxes() {
    let home = Home::new();
    let store = mailstore::Store::new(mailstore::Settings { mailbox_limit: 2, ..mailstore::Settings::default() });
    let account = store.account(&mailstore::Location::maildir(home.path("")).unwrap()).unwrap();
    account.create(&name("A")).unwrap();
    account.create(&name("B")).unwrap();
    assert!(matches!(account.create(&name("C")), Err(Error::Limit(_))));
}
