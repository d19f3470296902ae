//! NOTIFY (RFC 5465): one session acts, others hear of it without asking.

mod common;

use common::{Client, World, message};

const PERSONAL: &str = "NOTIFY SET STATUS (personal (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange ServerMetadataChange))";

async fn file(client: &mut Client, mailbox: &str, subject: &str) {
    let answer = client.append(mailbox, "", &message(subject, "x")).await;
    assert!(answer.starts_with("OK"), "{answer}");
}

/// What is told with the next NOOP, when nothing is told before.
async fn hears_nothing(client: &mut Client) {
    assert_eq!(client.ok("NOOP").await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rfc5465_5_2_messages_in_other_mailboxes_are_told_by_status() {
    let world = World::start().await;
    let (mut actor, mut watcher) = (world.client("ann").await, world.client("ann").await);
    actor.ok("CREATE Lists").await;
    actor.ok("CREATE Lists.Im2000").await;
    actor.ok("CREATE Misc").await;
    file(&mut actor, "Lists", "one").await;
    let told =
        watcher.ok("NOTIFY SET STATUS (selected (MessageNew (UID) MessageExpunge)) (subtree Lists (MessageNew MessageExpunge))").await;
    let validity = |line: &str| line.split("UIDVALIDITY ").nth(1).unwrap().split([' ', ')']).next().unwrap().to_owned();
    let (lists, im2000) = (validity(&told[0]), validity(&told[1]));
    assert_eq!(
        told,
        [
            format!("* STATUS Lists (MESSAGES 1 UIDNEXT 2 UIDVALIDITY {lists})"),
            format!("* STATUS Lists.Im2000 (MESSAGES 0 UIDNEXT 1 UIDVALIDITY {im2000})")
        ]
    );
    // between commands, without IDLE
    file(&mut actor, "Lists.Im2000", "one").await;
    assert_eq!(watcher.line().await, "* STATUS Lists.Im2000 (MESSAGES 1 UIDNEXT 2)");
    // by another program
    std::fs::write(world.maildir("ann").join(".Lists/tmp/1.x.y"), "Subject: x\n\nx\n").unwrap();
    std::fs::rename(world.maildir("ann").join(".Lists/tmp/1.x.y"), world.maildir("ann").join(".Lists/new/1.x.y")).unwrap();
    assert_eq!(watcher.line().await, "* STATUS Lists (MESSAGES 2 UIDNEXT 3)");
    // not asked for: another mailbox, flags, names
    file(&mut actor, "Misc", "one").await;
    actor.ok("CREATE Lists.New").await;
    actor.ok("SELECT Lists").await;
    actor.ok("STORE 1 +FLAGS (\\Deleted)").await;
    actor.ok("EXPUNGE").await;
    assert_eq!(watcher.line().await, "* STATUS Lists (MESSAGES 1 UIDNEXT 3)");
    // a mailbox that came is watched too
    file(&mut actor, "Lists.New", "one").await;
    assert_eq!(watcher.line().await, "* STATUS Lists.New (MESSAGES 1 UIDNEXT 2)");
    // what the client does itself it knows
    file(&mut watcher, "Lists.New", "two").await;
    hears_nothing(&mut watcher).await;
    file(&mut actor, "Lists.New", "three").await;
    assert_eq!(watcher.line().await, "* STATUS Lists.New (MESSAGES 3 UIDNEXT 4)");
    // IDLE tells the same
    watcher.idle().await;
    file(&mut actor, "Lists.New", "four").await;
    assert_eq!(watcher.line().await, "* STATUS Lists.New (MESSAGES 4 UIDNEXT 5)");
    assert_eq!(watcher.done().await, ["OK Idle completed"]);
    watcher.ok("NOTIFY NONE").await;
    file(&mut actor, "Lists.New", "five").await;
    hears_nothing(&mut watcher).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rfc5465_5_1_flags_in_other_mailboxes() {
    let world = World::start().await;
    let (mut actor, mut plain, mut aware) = (world.client("ann").await, world.client("ann").await, world.client("ann").await);
    file(&mut actor, "INBOX", "one").await;
    aware.ok("ENABLE CONDSTORE").await;
    for watcher in [&mut plain, &mut aware] {
        let told = watcher.ok("NOTIFY SET STATUS (inboxes (MessageNew MessageExpunge FlagChange))").await;
        assert!(told[0].starts_with("* STATUS INBOX (MESSAGES 1 UIDNEXT 2 UIDVALIDITY ") && told[0].contains("HIGHESTMODSEQ"), "{told:?}");
    }
    actor.ok("SELECT INBOX").await;
    actor.ok("STORE 1 +FLAGS (\\Flagged)").await;
    let told = aware.line().await;
    assert!(told.starts_with("* STATUS INBOX (UIDVALIDITY ") && told.contains(" HIGHESTMODSEQ ") && !told.contains("UNSEEN"), "{told}");
    actor.ok("STORE 1 +FLAGS (\\Seen)").await;
    let told = plain.line().await;
    assert!(told.starts_with("* STATUS INBOX (UIDVALIDITY ") && told.ends_with(" UNSEEN 0)"), "{told}");
    let told = aware.line().await;
    assert!(told.contains("UNSEEN 0 HIGHESTMODSEQ "), "{told}");
    file(&mut actor, "INBOX", "two").await;
    assert!(aware.line().await.contains("HIGHESTMODSEQ"));
    world.stop().await;
}

/// RFC 5465 §3.1, §6.1: the selected mailbox is told of as SELECTED says, whatever other groups mean it too.
#[tokio::test(flavor = "multi_thread")]
async fn the_selected_mailbox_is_told_of_at_once() {
    let world = World::start().await;
    let mut actor = world.client("ann").await;
    for subject in ["one", "two", "three"] {
        file(&mut actor, "INBOX", subject).await;
    }
    actor.ok("SELECT INBOX").await;
    let mut watchers = Vec::new();
    for enable in ["NOOP", "ENABLE CONDSTORE", "ENABLE QRESYNC"] {
        let mut watcher = world.client("ann").await;
        watcher.ok(enable).await;
        watcher.ok("SELECT INBOX").await;
        watcher
            .ok("NOTIFY SET (selected (MessageNew (UID BODY.PEEK[HEADER.FIELDS (SUBJECT)]) MessageExpunge FlagChange)) (personal (MessageNew MessageExpunge))")
            .await;
        watchers.push(watcher);
    }
    actor.ok("STORE 2 +FLAGS.SILENT (\\Deleted $Work)").await;
    for (watcher, end) in watchers.iter_mut().zip([")", " MODSEQ (", " MODSEQ ("]) {
        let told = watcher.until("* 2 FETCH").await;
        assert!(told.starts_with("* 2 FETCH (UID 2 FLAGS (\\Deleted") && told.contains(end), "{told}");
    }
    actor.ok("EXPUNGE").await;
    for (watcher, want) in watchers.iter_mut().zip(["* 2 EXPUNGE", "* 2 EXPUNGE", "* VANISHED 2"]) {
        assert_eq!(watcher.line().await, want);
    }
    file(&mut actor, "INBOX", "four").await;
    for watcher in &mut watchers {
        assert_eq!(watcher.line().await, "* 3 EXISTS");
        let told = watcher.until("* 3 FETCH").await;
        assert_eq!(told, "* 3 FETCH (UID 4 BODY[HEADER.FIELDS (SUBJECT)] {17}");
        assert_eq!((watcher.line().await, watcher.line().await, watcher.line().await), ("Subject: four".into(), "".into(), ")".into()));
    }
    // the client's own message is not fetched for it (§5.2)
    let own = &mut watchers[0];
    let lines = own.command(&format!("APPEND INBOX {{{}+}}\r\n{}", message("own", "x").len(), message("own", "x"))).await;
    assert!(lines.contains(&"* 4 EXISTS".to_owned()) && !lines.iter().any(|line| line.contains("FETCH")), "{lines:?}");
    // from the moment on that it is not selected any more, it is told of as the others
    own.ok("UNSELECT").await;
    file(&mut actor, "INBOX", "six").await;
    assert_eq!(own.line().await, "* STATUS INBOX (MESSAGES 5 UIDNEXT 7)");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rfc5465_6_1_2_delayed_expunges_wait_for_a_command() {
    let world = World::start().await;
    let (mut actor, mut watcher) = (world.client("ann").await, world.client("ann").await);
    for subject in ["one", "two", "three"] {
        file(&mut actor, "INBOX", subject).await;
    }
    actor.ok("SELECT INBOX").await;
    watcher.ok("SELECT INBOX").await;
    watcher.ok("NOTIFY SET (selected-delayed (MessageNew MessageExpunge FlagChange))").await;
    actor.ok("STORE 1 +FLAGS (\\Deleted)").await;
    assert_eq!(watcher.line().await, "* 1 FETCH (UID 1 FLAGS (\\Deleted \\Recent))".replace(" \\Recent", ""));
    actor.ok("EXPUNGE").await;
    file(&mut actor, "INBOX", "four").await;
    // numbers are still as they were
    assert_eq!(watcher.until("* 4 EXISTS").await, "* 4 EXISTS");
    assert_eq!(watcher.ok("FETCH 2 (UID)").await, ["* 2 FETCH (UID 2)"]);
    assert_eq!(watcher.ok("NOOP").await, ["* 1 EXPUNGE"]);
    assert_eq!(watcher.ok("FETCH 1 (UID)").await, ["* 1 FETCH (UID 2)"]);
    // in IDLE at once
    watcher.idle().await;
    actor.ok("STORE 1 +FLAGS (\\Deleted)").await;
    actor.ok("EXPUNGE").await;
    assert_eq!(watcher.until("* 1 EXPUNGE").await, "* 1 EXPUNGE");
    watcher.done().await;
    world.stop().await;
}

/// RFC 5465 §3.1: without SELECTED nothing is told of messages in the selected mailbox; §5: a snapshot.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_ask_has_a_mailbox_that_stands_still() {
    let world = World::start().await;
    let (mut actor, mut watcher) = (world.client("ann").await, world.client("ann").await);
    for subject in ["one", "two", "three"] {
        file(&mut actor, "INBOX", subject).await;
    }
    actor.ok("SELECT INBOX").await;
    watcher.ok("ENABLE QRESYNC").await;
    watcher.ok("SELECT INBOX").await;
    // what has gathered until then is told
    actor.ok("STORE 3 +FLAGS.SILENT (\\Answered)").await;
    let told = watcher.ok("NOTIFY NONE").await;
    assert!(told.iter().any(|line| line.starts_with("* 3 FETCH (UID 3 FLAGS (\\Answered")), "{told:?}");
    actor.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    actor.ok("EXPUNGE").await;
    file(&mut actor, "INBOX", "four").await;
    actor.ok("STORE 1 +FLAGS.SILENT (\\Flagged)").await;
    hears_nothing(&mut watcher).await;
    // its own changes are answered, and nobody else's
    let told = watcher.ok("STORE 3 +FLAGS (\\Seen)").await;
    assert!(told.len() == 1 && told[0].starts_with("* 3 FETCH (UID 3 FLAGS ("), "{told:?}");
    assert!(watcher.ok("FETCH 3 (FLAGS)").await[0].contains("\\Seen"));
    watcher.idle().await;
    file(&mut actor, "INBOX", "five").await;
    assert_eq!(watcher.done().await, ["OK Idle completed"]);
    // what stood still comes to be told
    let told = watcher.ok("NOTIFY SET (selected (MessageNew (UID) MessageExpunge FlagChange))").await;
    for want in ["* VANISHED 1", "* 4 EXISTS", "* 3 FETCH (UID 4)", "* 4 FETCH (UID 5)"] {
        assert!(told.contains(&want.to_owned()), "{want}: {told:?}");
    }
    // what the client removes itself is told all the same
    watcher.ok("NOTIFY NONE").await;
    watcher.ok("UID STORE 5 +FLAGS.SILENT (\\Deleted)").await;
    assert!(watcher.ok("EXPUNGE").await.contains(&"* VANISHED 5".to_owned()));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rfc5465_5_4_names_subscriptions_and_annotations() {
    let world = World::start().await;
    let (mut actor, mut watcher) = (world.client("ann").await, world.client("ann").await);
    actor.ok("CREATE Work").await;
    watcher.ok(PERSONAL).await;
    actor.ok("CREATE Work.One").await;
    assert_eq!(watcher.line().await, "* LIST (\\HasChildren) \".\" Work");
    assert_eq!(watcher.line().await, "* LIST (\\HasNoChildren) \".\" Work.One");
    actor.ok("SUBSCRIBE Work.One").await;
    assert_eq!(watcher.line().await, "* LIST (\\HasNoChildren \\Subscribed) \".\" Work.One");
    actor.ok("UNSUBSCRIBE Work.One").await;
    assert_eq!(watcher.line().await, "* LIST (\\HasNoChildren) \".\" Work.One");
    actor.ok("RENAME Work Play").await;
    assert_eq!(watcher.line().await, "* LIST (\\HasChildren) \".\" Play (\"OLDNAME\" (Work))");
    actor.ok("SETMETADATA Play (/private/comment \"x\" /shared/comment \"y\")").await;
    assert_eq!(watcher.line().await, "* METADATA Play /private/comment /shared/comment");
    actor.ok("SETMETADATA Play (/private/comment NIL)").await;
    assert_eq!(watcher.line().await, "* METADATA Play /private/comment");
    actor.ok("SETMETADATA \"\" (/private/vendor/x \"x\")").await;
    assert_eq!(watcher.line().await, "* METADATA \"\" /private/vendor/x");
    actor.ok("DELETE Play.One").await;
    assert_eq!(watcher.line().await, "* LIST (\\HasNoChildren) \".\" Play");
    assert_eq!(watcher.line().await, "* LIST (\\NonExistent \\HasNoChildren) \".\" Play.One");
    // what the client does itself is not told (§5)
    for command in ["CREATE Own", "SUBSCRIBE Own", "SETMETADATA Own (/private/comment \"x\")", "RENAME Own Mine", "DELETE Mine"] {
        assert_eq!(watcher.ok(command).await, [""; 0], "{command}");
    }
    // made by another program, step by step
    let other = world.maildir("ann").join(".Other");
    for part in ["", "tmp", "new", "cur"] {
        std::fs::create_dir(other.join(part)).unwrap();
    }
    assert_eq!(watcher.until("* LIST").await, "* LIST (\\HasNoChildren) \".\" Other");
    actor.ok("RENAME Other &AOk-").await;
    assert_eq!(watcher.until("* LIST").await, "* LIST (\\HasNoChildren) \".\" &AOk- (\"OLDNAME\" (Other))");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_told_is_refused_and_what_was_set_stays() {
    let world = World::with("imap_notify_max_mailboxes = 5").await;
    let (mut actor, mut watcher) = (world.client("ann").await, world.client("ann").await);
    assert!(watcher.ok("CAPABILITY").await[0].contains(" NOTIFY"));
    for mailbox in ["A", "B", "C"] {
        actor.ok(&format!("CREATE {mailbox}")).await;
    }
    watcher.ok("NOTIFY SET (personal (MessageNew MessageExpunge MailboxName))").await;
    let all = "BADEVENT (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange ServerMetadataChange)";
    for refused in ["(selected (MessageNew MessageExpunge AnnotationChange))", "(personal (SomethingElse))"] {
        let answer = watcher.command(&format!("NOTIFY SET {refused}")).await.pop().unwrap();
        assert!(answer.starts_with(&format!("NO [{all}]")), "{answer}");
    }
    let names: Vec<String> = (0..6).map(|n| format!("M{n}")).collect();
    let answer = watcher.command(&format!("NOTIFY SET (mailboxes ({}) (MessageNew MessageExpunge))", names.join(" "))).await.pop().unwrap();
    assert!(answer.starts_with("NO [NOTIFICATIONOVERFLOW]"), "{answer}");
    file(&mut actor, "A", "one").await;
    assert_eq!(watcher.line().await, "* STATUS A (MESSAGES 1 UIDNEXT 2)");
    // more and more mailboxes (§5.8)
    actor.ok("CREATE D").await;
    assert_eq!(watcher.line().await, "* LIST (\\HasNoChildren) \".\" D");
    actor.ok("CREATE E").await;
    assert!(watcher.line().await.starts_with("* OK [NOTIFICATIONOVERFLOW]"));
    file(&mut actor, "A", "two").await;
    hears_nothing(&mut watcher).await;
    let answer = watcher.command("NOTIFY SET (personal (MessageNew MessageExpunge))").await.pop().unwrap();
    assert!(answer.starts_with("NO [NOTIFICATIONOVERFLOW]"), "{answer}");
    world.stop().await;
    let world = World::with("imap_notify_max_mailboxes = 0").await;
    let mut client = world.client("ann").await;
    assert!(!client.ok("CAPABILITY").await[0].contains(" NOTIFY"));
    assert!(client.command("NOTIFY SET (personal (MailboxName))").await.pop().unwrap().starts_with("NO [CANNOT]"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rfc5465_5_9_rights_decide_what_is_told() {
    let world = World::with("public_mail_location = \"maildir:{root}/mail/public\"").await;
    let public = world.dir.path().join("mail/public");
    let mailbox = |name: &str, acl: &str| {
        for part in ["tmp", "new", "cur"] {
            std::fs::create_dir_all(public.join(name).join(part)).unwrap();
        }
        std::fs::write(public.join(name).join("dovecot-acl"), acl).unwrap();
    };
    mailbox(".News", "user=ann@example.org lri\nuser=bob@example.org lri\n");
    mailbox(".Locked", "user=bob@example.org l\n");
    mailbox(".Hidden", "user=ann@example.org lri\n");
    let (mut ann, mut bob) = (world.client("ann").await, world.client("bob").await);
    let told = bob.ok("NOTIFY SET STATUS (subtree Public (MessageNew MessageExpunge MailboxName))").await;
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0], "* LIST (\\NoAccess \\HasNoChildren) \".\" Public.Locked");
    assert!(told[1].starts_with("* STATUS Public.News (MESSAGES 0 UIDNEXT 1 "), "{told:?}");
    file(&mut ann, "Public.News", "one").await;
    assert_eq!(bob.line().await, "* STATUS Public.News (MESSAGES 1 UIDNEXT 2)");
    file(&mut ann, "Public.Hidden", "one").await;
    hears_nothing(&mut bob).await;
    // given
    std::fs::write(public.join(".Hidden/dovecot-acl"), "user=ann@example.org lri\nuser=bob@example.org lr\n").unwrap();
    assert_eq!(bob.line().await, "* LIST (\\NonExistent \\HasChildren) \".\" Public");
    assert_eq!(bob.line().await, "* LIST (\\HasNoChildren) \".\" Public.Hidden");
    assert_eq!(bob.line().await, "* STATUS Public.Hidden (MESSAGES 1 UIDNEXT 2)");
    // and taken
    std::fs::write(public.join(".News/dovecot-acl"), "user=ann@example.org lri\n").unwrap();
    assert_eq!(bob.line().await, "* LIST (\\NonExistent \\HasChildren) \".\" Public");
    assert_eq!(bob.line().await, "* LIST (\\NoAccess \\NonExistent \\HasNoChildren) \".\" Public.News");
    file(&mut ann, "Public.News", "two").await;
    hears_nothing(&mut bob).await;
    world.stop().await;
}

/// RFC 5465 §7: what is told of messages that come into a result.
#[tokio::test(flavor = "multi_thread")]
async fn searches_that_are_kept_may_fetch_what_is_new() {
    let world = World::start().await;
    let (mut actor, mut watcher) = (world.client("ann").await, world.client("ann").await);
    file(&mut actor, "INBOX", "boss one").await;
    watcher.ok("SELECT INBOX").await;
    watcher.ok("UID SEARCH RETURN (COUNT UPDATE (UID RFC822.SIZE)) SUBJECT boss").await;
    watcher.ok("NOTIFY SET (selected (MessageNew (UID FLAGS) MessageExpunge))").await;
    file(&mut actor, "INBOX", "boss two").await;
    assert_eq!(watcher.until("* 2 EXISTS").await, "* 2 EXISTS");
    let told = watcher.until("* 2 FETCH").await;
    assert!(told.starts_with("* 2 FETCH (UID 2 FLAGS (") && told.contains(") RFC822.SIZE "), "{told}");
    assert_eq!(watcher.line().await, "* ESEARCH (TAG \"t3\") UID ADDTO (0 2)");
    file(&mut actor, "INBOX", "other").await;
    assert_eq!(watcher.until("* 3 EXISTS").await, "* 3 EXISTS");
    let told = watcher.until("* 3 FETCH").await;
    assert!(told.starts_with("* 3 FETCH (UID 3 FLAGS (") && !told.contains("SIZE"), "{told}");
    world.stop().await;
}

/// RFC 5464 §4.4.2: who enables it hears with the answers to commands what others changed.
#[tokio::test(flavor = "multi_thread")]
async fn rfc5464_4_4_changes_of_annotations_are_told_to_who_enabled_it() {
    let world = World::start().await;
    let (mut actor, mut watcher, mut other) = (world.client("ann").await, world.client("ann").await, world.client("ann").await);
    assert_eq!(watcher.ok("ENABLE METADATA").await, ["* ENABLED METADATA"]);
    assert_eq!(watcher.ok("SETMETADATA INBOX (/private/comment \"own\")").await, [""; 0]);
    watcher.idle().await;
    actor.ok("SETMETADATA INBOX (/private/comment \"x\" /shared/comment \"y\")").await;
    assert_eq!(watcher.line().await, "* METADATA INBOX /private/comment /shared/comment");
    actor.ok("SETMETADATA \"\" (/private/comment \"x\")").await;
    assert_eq!(watcher.line().await, "* METADATA \"\" /private/comment");
    assert_eq!(watcher.done().await, ["OK Idle completed"]);
    actor.ok("SETMETADATA INBOX (/shared/comment NIL)").await;
    let told = loop {
        let told = watcher.ok("NOOP").await;
        if !told.is_empty() {
            break told;
        }
    };
    assert_eq!(told, ["* METADATA INBOX /shared/comment"]);
    hears_nothing(&mut other).await;
    world.stop().await;
}
