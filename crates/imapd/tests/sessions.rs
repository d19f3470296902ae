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
