//! Two sessions on one mailbox: one acts, one watches. And what a client can do to the connection.

mod common;

use common::{World, message};
use std::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn mail_dropped_into_new_appears_in_idle_within_a_second() {
    let world = World::start().await;
    world.drop_mail("ann", "1.first.host", "Subject: one\n\nbody\n");
    let mut watcher = world.client("ann").await;
    watcher.ok("SELECT INBOX").await;
    watcher.idle().await;
    let start = Instant::now();
    world.drop_mail("ann", "2.second.host", "Subject: two\n\nbody\n");
    assert_eq!(watcher.until("* 2 EXISTS").await, "* 2 EXISTS");
    assert!(start.elapsed().as_millis() < 1000, "{:?}", start.elapsed());
    assert_eq!(watcher.done().await.pop().unwrap(), "OK Idle completed");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_and_expunges_of_one_session_reach_the_other() {
    let world = World::start().await;
    let (mut actor, mut watcher) = (world.client("ann").await, world.client("ann").await);
    for subject in ["one", "two", "three"] {
        actor.append("INBOX", "", &message(subject, "x")).await;
    }
    actor.ok("SELECT INBOX").await;
    watcher.ok("SELECT INBOX").await;
    watcher.idle().await;
    actor.ok("STORE 2 +FLAGS (\\Deleted $Work)").await;
    let told = watcher.until("* 2 FETCH").await;
    assert!(told.contains("\\Deleted") && told.contains("$Work"), "{told}");
    actor.ok("EXPUNGE").await;
    watcher.until("* 2 EXPUNGE").await;
    watcher.done().await;
    // RFC 3501 §7.4.1: not during FETCH by number, but at the next command that allows it.
    actor.ok("STORE 1 +FLAGS.SILENT \\Deleted").await;
    actor.ok("EXPUNGE").await;
    let during = watcher.ok("FETCH 1:2 (FLAGS)").await;
    assert!(!during.iter().any(|line| line.contains("EXPUNGE")), "{during:?}");
    let after = watcher.ok("NOOP").await;
    assert!(after.contains(&"* 1 EXPUNGE".to_owned()), "{after:?}");
    assert_eq!(watcher.ok("UID SEARCH ALL").await, ["* SEARCH 3"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_mailbox_is_deleted_is_told_and_ends() {
    let world = World::start().await;
    let (mut actor, mut watcher) = (world.client("ann").await, world.client("ann").await);
    actor.ok("CREATE Work").await;
    watcher.ok("SELECT Work").await;
    actor.ok("DELETE Work").await;
    watcher.send(b"x NOOP\r\n").await;
    assert!(watcher.rest().await.contains("* BYE"));
    world.stop().await;
}

/// SECURITY I12.
#[tokio::test(flavor = "multi_thread")]
async fn users_do_not_see_each_other() {
    let world = World::start().await;
    let (mut ann, mut bob) = (world.client("ann").await, world.client("bob").await);
    ann.ok("CREATE Secret").await;
    for name in ["Secret", "../ann@example.org", "/etc", "~ann", "#shared.ann", "INBOX/../../ann@example.org/.Secret"] {
        let answer = bob.command(&format!("SELECT \"{name}\"")).await.pop().unwrap();
        assert!(answer.starts_with("NO ["), "{name}: {answer}");
    }
    assert!(!bob.ok("LIST \"\" *").await.join("\n").contains("Secret"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_authd_logins_are_refused_for_now() {
    let world = World::without_authd().await;
    let mut client = world.stranger().await;
    let answer = client.command("LOGIN ann@example.org pw").await.pop().unwrap();
    assert!(answer.starts_with("NO [UNAVAILABLE]"), "{answer}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_in_the_clear_are_refused_by_setting() {
    let world = World::with("same_host_is_secured = false").await;
    let mut client = world.stranger().await;
    let capabilities = client.ok("CAPABILITY").await.join("");
    assert!(capabilities.contains("LOGINDISABLED") && !capabilities.contains("AUTH=PLAIN"), "{capabilities}");
    for attempt in ["LOGIN ann@example.org pw", "AUTHENTICATE PLAIN AGFubkBleGFtcGxlLm9yZwBwdw=="] {
        let answer = client.command(attempt).await.pop().unwrap();
        assert!(answer.starts_with("NO [PRIVACYREQUIRED]"), "{answer}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn authenticate_with_and_without_initial_response() {
    let world = World::start().await;
    let mut client = world.stranger().await;
    client.ok("AUTHENTICATE PLAIN AGFubkBleGFtcGxlLm9yZwBwdw==").await;
    let mut client = world.stranger().await;
    client.send(b"a AUTHENTICATE PLAIN\r\n").await;
    assert!(client.line().await.starts_with("+"));
    client.send(b"AGFubkBleGFtcGxlLm9yZwBwdw==\r\n").await;
    assert!(client.line().await.starts_with("a OK [CAPABILITY IMAP4rev1 "));
    let mut client = world.stranger().await;
    let answer = client.command("LOGIN ann@example.org wrong").await.pop().unwrap();
    assert_eq!(answer, "NO [AUTHENTICATIONFAILED] Authentication failed");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exchanges_that_are_broken_off_are_counted() {
    let world = World::start().await;
    let mut client = world.stranger().await;
    for _ in 0..6 {
        client.send(b"a AUTHENTICATE PLAIN\r\n").await;
        assert!(client.line().await.starts_with("+"));
        client.send(b"*\r\n").await;
        assert!(client.line().await.starts_with("a BAD"));
    }
    assert_eq!(client.line().await, "* BYE Too many failed logins");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_message_goes_in_and_out_byte_for_byte() {
    let world = World::start().await;
    let mut client = world.client("ann").await;
    let text = message("large", &"0123456789abcdef0123456789abcdef0123456789abcdef\r\n".repeat(60_000));
    let answer = client.append("INBOX", "(\\Seen) \"17-Jul-1996 02:44:25 -0700\" ", &text).await;
    assert!(answer.starts_with("OK [APPENDUID "), "{answer}");
    client.ok("SELECT INBOX").await;
    let lines = client.ok("FETCH 1 (RFC822.SIZE BODY.PEEK[])").await;
    assert!(lines[0].starts_with(&format!("* 1 FETCH (RFC822.SIZE {} BODY[] {{{}}}", text.len(), text.len())), "{}", lines[0]);
    assert_eq!(lines[1..lines.len() - 1].join("\r\n") + "\r\n", text);
    let middle = client.ok("FETCH 1 BODY.PEEK[]<1000000.20>").await;
    assert_eq!(middle[0], "* 1 FETCH (BODY[]<1000000> {20}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_is_cut_off_leaves_nothing() {
    let world = World::start().await;
    let mut client = world.client("ann").await;
    client.send(b"a APPEND INBOX {1000+}\r\nSubject: half").await;
    drop(client);
    let mut client = world.client("ann").await;
    assert!(client.ok("STATUS INBOX (MESSAGES)").await.contains(&"* STATUS INBOX (MESSAGES 0)".to_owned()));
    let answer = client.append("Nowhere", "", "Subject: x\r\n\r\n").await;
    assert!(answer.starts_with("NO [TRYCREATE]"), "{answer}");
    world.stop().await;
    // Nothing is left in tmp either.
}

/// SECURITY I3.
#[tokio::test(flavor = "multi_thread")]
async fn append_over_the_limit_is_refused_before_the_message() {
    let world = World::with("append_size_limit = \"100K\"").await;
    let mut client = world.client("ann").await;
    let answer = client.command("APPEND INBOX {1073741824}").await.pop().unwrap();
    assert!(answer.starts_with("NO [TOOBIG]"), "{answer}");
    client.ok("NOOP").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn special_mailboxes_are_made_and_shown() {
    let world = World::with("").await;
    world.stop().await;
    let world = World::with("archive_mailbox = \"Archive.Old\"\n").await;
    let mut client = world.client("ann").await;
    assert_eq!(client.ok("LIST \"\" *").await.len(), 1);
    client.ok("CREATE Archive.Old").await;
    let listed = client.ok("LIST \"\" *").await;
    assert!(listed.contains(&"* LIST (\\HasNoChildren \\Archive) \".\" Archive.Old".to_owned()), "{listed:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_sessions_are_told_of_a_shutdown() {
    let world = World::start().await;
    let mut idle = world.client("ann").await;
    idle.ok("SELECT INBOX").await;
    idle.idle().await;
    let mut quiet = world.client("bob").await;
    let stopped = tokio::spawn(world.stop());
    assert!(idle.rest().await.contains("* BYE Server shutting down"));
    assert!(quiet.rest().await.contains("* BYE Server shutting down"));
    stopped.await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_no_line_ends_is_cut_off() {
    let world = World::start().await;
    let mut client = world.stranger().await;
    client.send(&vec![b'x'; 20_000]).await;
    assert!(client.rest().await.starts_with("* BYE"));
    world.stop().await;
}

/// RFC 3501 §6.4.6: .SILENT is about the change of this command, not about those of others.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_store_tells_what_others_changed() {
    let world = World::start().await;
    let (mut actor, mut other) = (world.client("ann").await, world.client("ann").await);
    for subject in ["one", "two"] {
        actor.append("INBOX", "", &message(subject, "x")).await;
    }
    actor.ok("SELECT INBOX").await;
    other.ok("SELECT INBOX").await;
    other.ok("STORE 1 +FLAGS (\\Flagged)").await;
    let told = actor.ok("STORE 1:2 +FLAGS.SILENT (\\Seen $Work)").await;
    let fetched: Vec<&String> = told.iter().filter(|line| line.contains("FETCH")).collect();
    assert!(
        matches!(&fetched[..], [line] if line.starts_with("* 1 FETCH") && line.contains("\\Flagged") && line.contains("\\Seen")),
        "{told:?}"
    );
    // known by now
    let told = actor.ok("STORE 1:2 -FLAGS.SILENT ($Work)").await;
    assert!(!told.iter().any(|line| line.contains("FETCH")), "{told:?}");
    let told = actor.ok("STORE 1:2 FLAGS (\\Answered)").await;
    assert_eq!(told.iter().filter(|line| line.contains("FETCH")).count(), 2, "{told:?}");
    world.stop().await;
}

/// A file of the kind a backup or a curious user leaves behind, too large to be held in memory.
fn large_file(world: &World, name: &str) {
    let file = std::fs::File::create(world.maildir("ann").join(name)).unwrap();
    file.set_len(mailstore::LARGEST_WHOLE + 1).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_read_does_not_keep_the_others_away() {
    let world = World::start().await;
    for name in ["1.first.host", "3.third.host"] {
        world.drop_mail("ann", name, "Subject: here\n\nsome words\n");
    }
    large_file(&world, "new/2.second.host");
    std::fs::create_dir(world.maildir("ann").join("new/4.directory.host")).unwrap();
    nix::unistd::mkfifo(&world.maildir("ann").join("new/5.fifo.host"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut client = world.client("ann").await;
    assert!(client.ok("SELECT INBOX").await.contains(&"* 3 EXISTS".to_owned()));
    let mut lines = client.command("FETCH 1:* (UID BODYSTRUCTURE)").await;
    assert!(lines.pop().unwrap().starts_with("NO [UNAVAILABLE]"), "{lines:?}");
    let shown: Vec<&str> = lines.iter().filter_map(|line| line.split(" (BODY").next()?.split(" FETCH").next()).collect();
    assert_eq!(shown, ["* 1", "* 3"], "{lines:?}");
    assert_eq!(client.ok("SEARCH TEXT words").await, ["* SEARCH 1 3"]);
    assert_eq!(client.ok("FETCH 3 (BODY.PEEK[TEXT])").await[1], "some words");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_is_read_though_nothing_can_be_written() {
    let world = World::start().await;
    world.drop_mail("ann", "1.first.host", "Subject: one\n\nbody\n");
    world.drop_mail("ann", "2.second.host", "Subject: two\n\nbody\n");
    // renames to these names fail, as all do on a full disk
    for name in ["1.first.host:2,", "1.first.host:2,S"] {
        std::fs::create_dir(world.maildir("ann").join("cur").join(name)).unwrap();
    }
    let mut client = world.client("ann").await;
    assert!(client.ok("SELECT INBOX").await.contains(&"* 2 EXISTS".to_owned()));
    let lines = client.ok("FETCH 1:2 (BODY[TEXT])").await;
    assert_eq!(lines.iter().filter(|line| *line == "body").count(), 2, "{lines:?}");
    world.stop().await;
}

/// Many items of one message, larger together than what is sent at once, and pieces one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn many_items_of_one_message_are_right_across_batches() {
    let world = World::start().await;
    let header: String = (0..9000).map(|n| format!("X-{n}: {}\r\n", "v".repeat(40))).collect();
    let part = format!("first part\r\n{}", "0123456789abcdef\r\n".repeat(10_000));
    let text = format!(
        "Subject: s\r\n{header}Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n{part}\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>\r\n--b--\r\n"
    );
    let mut client = world.client("ann").await;
    client.append("INBOX", "", &text).await;
    client.ok("SELECT INBOX").await;
    let items: Vec<String> =
        (0..6).flat_map(|n| [format!("BODY.PEEK[HEADER.FIELDS.NOT (Subject Y-{n})]"), format!("BODY.PEEK[1]<{}.20>", n * 18)]).collect();
    let lines = client.ok(&format!("FETCH 1 (UID {} BODY.PEEK[2] ENVELOPE BODYSTRUCTURE RFC822.SIZE)", items.join(" "))).await;
    let whole = lines.join("\n");
    assert_eq!(whole.matches("X-8999: vvv").count(), 6);
    assert_eq!(whole.matches("ENVELOPE (NIL \"s\"").count(), 1);
    assert!(whole.contains("BODY[1]<0> {20}\nfirst part\n01234567 BODY["), "the first piece");
    assert!(whole.contains("BODY[1]<18> {20}\n6789abcdef\n01234567 BODY["), "the second piece");
    assert!(whole.contains(" BODY[2] {3}\n<p> ENVELOPE (") && whole.ends_with(&format!("RFC822.SIZE {})", text.len())));
    // a part in pieces, as telephones fetch it
    let mut fetched = String::new();
    for offset in (0..part.len()).step_by(30_000) {
        let lines = client.ok(&format!("FETCH 1 BODY.PEEK[1]<{offset}.30000>")).await.join("\r\n");
        let (announced, rest) = lines.split_once("}\r\n").unwrap();
        let size: usize = announced.rsplit('{').next().unwrap().parse().unwrap();
        fetched.push_str(&rest[..size]);
    }
    assert_eq!(fetched, part);
    world.stop().await;
}

/// RFC 3501 §6.4.7: all or nothing; RFC 4315 §3: COPYUID says which.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_numbers_that_are_gone_copies_nothing() {
    let world = World::start().await;
    let (mut actor, mut other) = (world.client("ann").await, world.client("ann").await);
    for subject in ["one", "two", "three"] {
        actor.append("INBOX", "", &message(subject, "x")).await;
    }
    actor.ok("CREATE Work").await;
    actor.ok("SELECT INBOX").await;
    other.ok("SELECT INBOX").await;
    other.ok("UID STORE 2 +FLAGS (\\Deleted)").await;
    other.ok("EXPUNGE").await;
    let answer = actor.command("COPY 1:3 Work").await.pop().unwrap();
    assert!(answer.starts_with("NO [EXPUNGEISSUED]"), "{answer}");
    assert!(actor.ok("STATUS Work (MESSAGES)").await.contains(&"* STATUS Work (MESSAGES 0)".to_owned()));
    let answer = actor.command("UID COPY 1:3 Work").await.pop().unwrap();
    assert!(answer.starts_with("OK [COPYUID ") && answer.contains(" 1,3 1:2]"), "{answer}");
    world.stop().await;
}

/// SECURITY I11.
#[tokio::test(flavor = "multi_thread")]
async fn keywords_that_cannot_be_are_refused_and_leave_the_names_of_files_alone() {
    let world = World::start().await;
    let mut client = world.client("ann").await;
    client.append("INBOX", "(\\Seen) ", &message("one", "x")).await;
    client.ok("SELECT INBOX").await;
    let names =
        || -> Vec<_> { std::fs::read_dir(world.maildir("ann").join("cur")).unwrap().map(|entry| entry.unwrap().file_name()).collect() };
    let before = names();
    let distinct: Vec<String> = (0..10_000).map(|n| format!("k{n}")).collect();
    for flags in
        ["k".repeat(10_000), "\\Custom".into(), "a]b".into(), "a\\b".into(), distinct.join(" "), format!("\\Flagged {}", "x".repeat(65))]
    {
        let answer = client.command(&format!("STORE 1 +FLAGS ({flags})")).await.pop().unwrap();
        assert!(answer.starts_with("NO [LIMIT]") || answer.starts_with("BAD"), "{flags:.20}: {answer}");
        assert_eq!(names(), before, "{flags:.20}");
    }
    client.ok("STORE 1 +FLAGS ($Fine)").await;
    world.stop().await;
}

/// SECURITY I13: wherever the connection breaks, the message is in one mailbox, or in both in the middle of a move.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_at_any_byte_loses_no_message() {
    let world = World::start().await;
    let mut checker = world.client("ann").await;
    checker.ok("CREATE Work").await;
    let text = message("kept", "body");
    let script = "a SELECT INBOX\r\nb STORE 1 +FLAGS (\\Flagged $Work)\r\nc MOVE 1 Work\r\nd EXPUNGE\r\n";
    let mut client = world.client("ann").await;
    client.append("INBOX", "", &text).await;
    for cut in 0..=script.len() {
        let mut client = world.client("ann").await;
        client.send(&script.as_bytes()[..cut]).await;
        if cut % 2 == 0 {
            // also when the server has come to the end of what it got
            client.end().await;
        }
        drop(client);
        let mut found = 0;
        for mailbox in ["INBOX", "Work"] {
            checker.ok(&format!("EXAMINE {mailbox}")).await;
            // the move may be going on: then what is asked for has gone, and is in the other one
            let lines = checker.command("UID FETCH 1:* (FLAGS BODY.PEEK[])").await;
            found += lines.iter().filter(|line| line.contains("Subject: kept")).count();
            assert!(
                lines.iter().filter(|line| line.contains("FLAGS (")).all(|line| line.contains("\\Flagged") == line.contains("$Work")),
                "{lines:?}"
            );
        }
        assert!(found >= 1, "cut at {cut}");
        // back for the next round
        checker.ok("SELECT Work").await;
        if checker.command("MOVE 1:* INBOX").await.pop().unwrap().starts_with("OK") {
            checker.ok("SELECT INBOX").await;
            checker.command("STORE 1:* FLAGS ()").await;
        }
    }
    world.stop().await;
}

/// SECURITY I15: what other programs do to files costs no step between client and server.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_cut_by_another_program_keeps_the_client_in_step() {
    let world = World::start().await;
    let mut client = world.client("ann").await;
    let text = message("cut", &"line of text\r\n".repeat(1000));
    client.append("INBOX", "(\\Seen) ", &text).await;
    client.ok("SELECT INBOX").await;
    client.ok("FETCH 1 (RFC822.SIZE BODY.PEEK[])").await;
    let file = std::fs::read_dir(world.maildir("ann").join("cur")).unwrap().next().unwrap().unwrap().path();
    for length in [500, 3, 0] {
        std::fs::File::options().write(true).open(&file).unwrap().set_len(length).unwrap();
        for item in ["BODY.PEEK[]", "BODY.PEEK[]<2.1000>", "BODY.PEEK[TEXT]", "BODY.PEEK[1]", "ENVELOPE", "BODYSTRUCTURE", "RFC822.SIZE"] {
            let answer = client.command(&format!("FETCH 1 ({item} UID)")).await.pop().unwrap();
            assert!(answer.starts_with("OK"), "{item} at {length}: {answer}");
            assert_eq!(client.ok("NOOP").await, Vec::<String>::new(), "{item} at {length}");
        }
    }
    world.stop().await;
}

/// RFC 5182: what a search found stands for `$`, and loses what is expunged.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_result_is_kept_for_the_next_command() {
    let world = World::start().await;
    let (mut client, mut other) = (world.client("ann").await, world.client("ann").await);
    for subject in ["one", "two", "three", "four"] {
        client.append("INBOX", "", &message(subject, "x")).await;
    }
    client.ok("SELECT INBOX").await;
    other.ok("SELECT INBOX").await;
    assert!(client.ok("FETCH $ (UID)").await.is_empty(), "nothing is kept yet");
    assert!(client.ok("SEARCH RETURN (SAVE) OR SUBJECT two OR SUBJECT three SUBJECT four").await.is_empty(), "no answer but OK");
    assert_eq!(client.ok("FETCH $ (UID)").await, ["* 2 FETCH (UID 2)", "* 3 FETCH (UID 3)", "* 4 FETCH (UID 4)"]);
    other.ok("STORE 2 +FLAGS.SILENT \\Deleted").await;
    other.ok("EXPUNGE").await;
    client.ok("NOOP").await;
    assert_eq!(client.ok("UID SEARCH $").await, ["* SEARCH 3 4"]);
    assert_eq!(client.ok("SEARCH NOT UID $").await, ["* SEARCH 1"]);
    client.command("SEARCH FOO").await;
    assert_eq!(client.ok("UID SEARCH RETURN (SAVE MIN) $").await.len(), 1);
    assert_eq!(client.ok("UID SEARCH $").await, ["* SEARCH 3"]);
    client.ok("STORE $ +FLAGS.SILENT \\Deleted").await;
    client.ok("STORE 1 +FLAGS.SILENT \\Deleted").await;
    client.ok("UID EXPUNGE $").await;
    assert_eq!(client.ok("UID SEARCH ALL").await, ["* SEARCH 1 4"]);
    assert!(client.command("SEARCH RETURN (SAVE) CHARSET X-NONE ALL").await.pop().unwrap().starts_with("NO [BADCHARSET"));
    assert_eq!(client.ok("SEARCH $").await, ["* SEARCH"]);
    client.ok("SEARCH RETURN (SAVE) ALL").await;
    client.ok("SELECT INBOX").await;
    assert_eq!(client.ok("SEARCH $").await, ["* SEARCH"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_ages_and_limits_are_told() {
    let world = World::with("append_size_limit = \"1M\"").await;
    let mut client = world.client("ann").await;
    assert!(client.ok("CAPABILITY").await[0].contains(" APPENDLIMIT=1048576 "));
    let (one, two) = (message("one", "x"), message("two", &"line\r\n".repeat(1000)));
    client.append("INBOX", "\"17-Jul-1996 02:44:25 -0700\" ", &one).await;
    client.append("INBOX", "(\\Deleted) ", &two).await;
    let want = format!("* STATUS INBOX (MESSAGES 2 DELETED 1 SIZE {} APPENDLIMIT 1048576)", one.len() + two.len());
    assert_eq!(client.ok("STATUS INBOX (MESSAGES SIZE DELETED APPENDLIMIT)").await, [want]);
    let listed = client.ok("LIST \"\" INBOX RETURN (STATUS (SIZE))").await;
    assert_eq!(listed[1], format!("* STATUS INBOX (SIZE {})", one.len() + two.len()));
    client.ok("SELECT INBOX").await;
    assert_eq!(client.ok("SEARCH OLDER 86400").await, ["* SEARCH 1"]);
    assert_eq!(client.ok("SEARCH YOUNGER 86400").await, ["* SEARCH 2"]);
    assert!(client.command("SEARCH YOUNGER 0").await.pop().unwrap().starts_with("BAD"));
    world.stop().await;
}

/// RFC 8437: the same connection, another user, nothing of the first.
#[tokio::test(flavor = "multi_thread")]
async fn another_user_may_log_in_on_the_same_connection() {
    let world = World::start().await;
    let mut client = world.client("ann").await;
    client.ok("CREATE Secret").await;
    client.append("Secret", "(\\Deleted) ", &message("one", "x")).await;
    client.ok("SELECT Secret").await;
    // What stands behind the command is for the login.
    client.send(b"a UNAUTHENTICATE\r\nb AUTHENTICATE PLAIN AGJvYkBleGFtcGxlLm9yZwBwdw==\r\nc LIST \"\" Secret\r\n").await;
    assert_eq!(client.line().await, "a OK Unauthenticate completed");
    assert!(client.line().await.starts_with("b OK [CAPABILITY"));
    assert_eq!(client.line().await, "c OK List completed");
    client.ok("UNAUTHENTICATE").await;
    assert!(client.command("SELECT INBOX").await.pop().unwrap().starts_with("BAD"));
    assert!(client.ok("CAPABILITY").await[0].contains("AUTH=PLAIN"));
    let mut ann = world.client("ann").await;
    assert_eq!(ann.ok("STATUS Secret (MESSAGES)").await, ["* STATUS Secret (MESSAGES 1)"], "nothing was expunged");
    world.stop().await;
}

/// RFC 4978.
#[tokio::test(flavor = "multi_thread")]
async fn compression_begins_behind_its_answer() {
    use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = World::start().await;
    let text = message("large", &"0123456789abcdef\r\n".repeat(20_000));
    let mut writer = world.client("ann").await;
    writer.append("INBOX", "", &text).await;
    assert!(writer.command("COMPRESS ZSTD").await.pop().unwrap().starts_with("BAD"));
    let mut stream = world.connect().await;
    stream.write_all(b"a LOGIN ann@example.org pw\r\n").await.expect("write");
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("a OK") {
        stream.read_buf(&mut seen).await.expect("read");
    }
    stream.write_all(b"b COMPRESS DEFLATE\r\n").await.expect("write");
    let want = b"b OK DEFLATE active\r\n";
    let mut answer = vec![0; want.len()];
    // What is left of the login's answer comes first.
    while !seen.ends_with(b"\r\n") {
        seen.push(stream.read_u8().await.expect("read"));
    }
    stream.read_exact(&mut answer).await.expect("answer");
    assert_eq!(answer, want);
    let (mut pack, mut unpack) = (Compress::new(Compression::default(), false), Decompress::new(false));
    let mut packed = Vec::with_capacity(1000);
    pack.compress_vec(b"c SELECT INBOX\r\nd FETCH 1 BODY.PEEK[]\r\ne COMPRESS DEFLATE\r\nf LOGOUT\r\n", &mut packed, FlushCompress::Sync)
        .expect("pack");
    for byte in packed {
        stream.write_all(&[byte]).await.expect("write");
    }
    let (mut raw, mut plain) = (Vec::new(), Vec::with_capacity(1 << 20));
    stream.read_to_end(&mut raw).await.expect("read");
    unpack.decompress_vec(&raw, &mut plain, FlushDecompress::Sync).expect("unpack");
    let plain = String::from_utf8(plain).expect("text");
    assert!(plain.contains(&format!("{{{}}}\r\n{text})\r\n", text.len())), "the message");
    assert!(plain.contains("e BAD COMPRESS is active already") && plain.ends_with("f OK Logout completed\r\n"));
    assert!(raw.len() < plain.len() / 20, "{} of {}", raw.len(), plain.len());
    // RFC 8437 §4.1: behind UNAUTHENTICATE the client's text is plain, and so is ours behind the answer.
    let mut stream = world.connect().await;
    stream.write_all(b"a LOGIN ann@example.org pw\r\nb COMPRESS DEFLATE\r\n").await.expect("write");
    let mut seen = Vec::new();
    while !seen.ends_with(b"b OK DEFLATE active\r\n") {
        seen.push(stream.read_u8().await.expect("read"));
    }
    let (mut packed, mut pack) = (Vec::with_capacity(1000), Compress::new(Compression::default(), false));
    pack.compress_vec(b"c NOOP\r\nd UNAUTHENTICATE\r\n", &mut packed, FlushCompress::Finish).expect("pack");
    packed.extend_from_slice(b"e LOGIN bob@example.org pw\r\nf LOGOUT\r\n");
    stream.write_all(&packed).await.expect("write");
    let (mut raw, mut plain) = (Vec::new(), Vec::with_capacity(1000));
    stream.read_to_end(&mut raw).await.expect("read");
    let mut unpack = Decompress::new(false);
    while !plain.ends_with(b"d OK Unauthenticate completed\r\n") {
        let at = unpack.total_in() as usize;
        unpack.decompress_vec(&raw[at..at + 1], &mut plain, FlushDecompress::Sync).expect("unpack");
    }
    let rest = String::from_utf8_lossy(&raw[unpack.total_in() as usize..]);
    assert!(rest.contains("e OK [CAPABILITY") && rest.ends_with("f OK Logout completed\r\n"), "{rest}");
    world.stop().await;
}

/// RFC 3502: all of them or none.
#[tokio::test(flavor = "multi_thread")]
async fn several_messages_come_in_together_or_not_at_all() {
    let world = World::with("append_size_limit = \"1K\"").await;
    let mut client = world.client("ann").await;
    let (one, two) = (message("one", "x"), message("two", "yy"));
    let both = format!(
        "m APPEND INBOX (\\Seen) {{{}+}}\r\n{one} (\\Draft $Work) \"17-Jul-1996 02:44:25 +0000\" {{{}+}}\r\n{two}\r\n",
        one.len(),
        two.len()
    );
    client.send(both.as_bytes()).await;
    let answer = client.until("m OK").await;
    assert!(answer.starts_with("m OK [APPENDUID ") && answer.ends_with(" 1:2] Append completed"), "{answer}");
    client.ok("SELECT INBOX").await;
    let fetched = client.ok("FETCH 1:2 (FLAGS RFC822.SIZE INTERNALDATE)").await;
    assert!(fetched[0].contains("\\Seen") && fetched[0].contains(&format!("RFC822.SIZE {}", one.len())), "{fetched:?}");
    assert!(fetched[1].contains("\\Draft $Work") && fetched[1].contains("17-Jul-1996 02:44:25"), "{fetched:?}");
    // The second is too large, empty, or broken off: the first is not kept either.
    for (second, want) in [
        (format!(" {{2000+}}\r\n{}\r\n", "z".repeat(2000)), "m NO [TOOBIG]"),
        (" {2000}\r\n".to_owned(), "m NO [TOOBIG]"),
        (" {0+}\r\n\r\n".to_owned(), "m NO [CANNOT]"),
        (" INBOX {3+}\r\nabc\r\n".to_owned(), "m BAD"),
    ] {
        client.send(format!("m APPEND INBOX {{{}+}}\r\n{one}{second}", one.len()).as_bytes()).await;
        client.until(want).await;
    }
    let many = format!(" {{{}+}}\r\n{one}", one.len()).repeat(101);
    client.send(format!("m APPEND INBOX{many}\r\n").as_bytes()).await;
    client.until("m NO [LIMIT]").await;
    assert_eq!(client.ok("UID SEARCH ALL").await, ["* SEARCH 1 2"]);
    client.send(format!("m APPEND INBOX {{{}+}}\r\n{one} {{{}+}}\r\nhalf", one.len(), two.len()).as_bytes()).await;
    client.end().await;
    let tmp = world.maildir("ann").join("tmp");
    for _ in 0..500 {
        if std::fs::read_dir(&tmp).expect("tmp").count() == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(std::fs::read_dir(&tmp).expect("tmp").count(), 0);
    world.stop().await;
}

/// RFC 5256, RFC 5957, RFC 5267.
#[tokio::test(flavor = "multi_thread")]
async fn messages_are_sorted_and_threaded() {
    let world = World::start().await;
    let mut client = world.client("ann").await;
    for (header, arrived) in [
        ("From: =?utf-8?q?Zo=C3=AB?= <b@x.org>\r\nSubject: Lunch\r\nDate: Mon, 2 Mar 2020 10:00:00 +0100\r\nMessage-ID: <1@x>\r\n", "03"),
        (
            "From: Ann <c@x.org>\r\nSubject: [x] Re: lunch\r\nDate: Mon, 2 Mar 2020 09:30:00 +0000\r\nMessage-ID: <2@x>\r\nIn-Reply-To: <1@x>\r\n",
            "01",
        ),
        ("From: a@x.org\r\nSubject: Éclair\r\nDate: Mon, 2 Mar 2020 08:00:00 +0000\r\nMessage-ID: <3@x>\r\n", "02"),
        ("Subject: re: dinner\r\nDate: nonsense\r\nMessage-ID: <4@x>\r\nReferences: <0@x> <\"2\"@x>\r\n", "04"),
    ] {
        let text = format!("{header}\r\n{}", "x".repeat(arrived.len() + header.len() % 7));
        client.append("INBOX", &format!("\"{arrived}-Mar-2020 00:00:00 +0000\" "), &text).await;
    }
    client.ok("SELECT INBOX").await;
    for (order, want) in [
        ("ARRIVAL", "2 3 1 4"),
        ("REVERSE ARRIVAL", "4 1 3 2"),
        ("DATE", "3 1 2 4"),
        ("SUBJECT", "4 3 1 2"),
        ("SUBJECT REVERSE DATE", "4 3 2 1"),
        ("FROM", "4 3 1 2"),
        ("DISPLAYFROM", "4 3 2 1"),
        ("TO CC", "1 2 3 4"),
    ] {
        assert_eq!(client.ok(&format!("SORT ({order}) UTF-8 ALL")).await, [format!("* SORT {want}")], "{order}");
    }
    let sizes = client.ok("SORT (SIZE) US-ASCII ALL").await[0].clone();
    let fetched = client.ok("FETCH 1:4 RFC822.SIZE").await;
    let size = |n: &str| fetched[n.parse::<usize>().unwrap() - 1].rsplit(' ').next().unwrap().trim_end_matches(')').parse::<u32>().unwrap();
    let order: Vec<u32> = sizes.split_whitespace().skip(2).map(size).collect();
    assert!(order.is_sorted() && order.len() == 4, "{sizes}");
    assert_eq!(client.ok("UID SORT (DATE) UTF-8 SUBJECT lunch").await, ["* SORT 1 2"]);
    assert_eq!(client.ok("SORT (DATE) UTF-8 SUBJECT supper").await, ["* SORT"]);
    let told = client.ok("SORT RETURN (MIN MAX COUNT ALL SAVE) (REVERSE ARRIVAL) UTF-8 ALL").await;
    assert!(told[0].ends_with(" MIN 4 MAX 2 COUNT 4 ALL 4,1,3,2"), "{told:?}");
    assert_eq!(client.ok("SEARCH $").await, ["* SEARCH 1 2 3 4"]);
    assert_eq!(client.ok("SORT RETURN (SAVE) (REVERSE ARRIVAL) UTF-8 SUBJECT lunch").await.len(), 0);
    assert_eq!(client.ok("SORT (ARRIVAL) UTF-8 $").await, ["* SORT 2 1"]);
    assert!(client.command("SORT (DATE) X-NONE ALL").await.pop().unwrap().starts_with("NO [BADCHARSET"));
    for (algorithm, want) in [("ORDEREDSUBJECT", "(3)(1 2)(4)"), ("REFERENCES", "(3)(1 2 4)"), ("REFS", "(3)(1 2 4)")] {
        assert_eq!(client.ok(&format!("THREAD {algorithm} UTF-8 ALL")).await, [format!("* THREAD {want}")], "{algorithm}");
    }
    assert_eq!(client.ok("UID THREAD REFERENCES UTF-8 NOT UID 2").await, ["* THREAD (3)(1)(4)"]);
    assert_eq!(client.ok("THREAD REFERENCES UTF-8 SUBJECT supper").await, ["* THREAD"]);
    world.stop().await;
}

/// RFC 2221 §4.1, §6: where an account is learns only who has its password.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_served_elsewhere_is_told_where() {
    let world = World::start().await;
    let mut client = world.stranger().await;
    for (login, want) in [
        ("rita@example.org pw", "NO [REFERRAL imap://rita%40example.org;AUTH=*@mail2.example.org/]"),
        ("remy@example.org pw", "NO [REFERRAL imap://remy@mail3.example.org/]"),
        ("remy@example.org wrong", "NO [AUTHENTICATIONFAILED]"),
    ] {
        let answer = client.command(&format!("LOGIN {login}")).await.pop().unwrap();
        assert!(answer.contains(want), "{login}: {answer}");
    }
    assert!(!world.maildir("remy").exists());
}
