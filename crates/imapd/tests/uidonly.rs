//! UIDONLY (RFC 9586): messages without numbers.

mod common;

use common::{World, message};

#[tokio::test(flavor = "multi_thread")]
async fn rfc9586_messages_are_known_by_their_uids_only() {
    let world = World::start().await;
    let (mut actor, mut watcher) = (world.client("ann").await, world.client("ann").await);
    assert!(watcher.ok("CAPABILITY").await[0].contains(" UIDONLY"));
    for subject in ["one", "two", "three"] {
        assert!(actor.append("INBOX", "", &message(subject, "x")).await.starts_with("OK"));
    }
    actor.ok("SELECT INBOX").await;
    actor.ok("STORE 1 +FLAGS (\\Deleted)").await;
    actor.ok("EXPUNGE").await;
    assert_eq!(watcher.ok("ENABLE UIDONLY").await, ["* ENABLED UIDONLY"]);
    let told = watcher.ok("SELECT INBOX").await;
    assert!(told.contains(&"* 2 EXISTS".to_owned()) && !told.iter().any(|line| line.contains("[UNSEEN")), "{told:?}");
    // requests
    for refused in [
        "FETCH 1 (FLAGS)",
        "STORE 1 +FLAGS (\\Seen)",
        "COPY 1 INBOX",
        "MOVE 1 INBOX",
        "SEARCH ALL",
        "UID SEARCH 1:2",
        "UID SEARCH OR NOT 1 SUBJECT x",
        "SORT (DATE) UTF-8 ALL",
        "UID SORT (DATE) UTF-8 1:*",
        "THREAD REFERENCES UTF-8 ALL",
        "REPLACE 1 INBOX {1+}\r\nx",
    ] {
        let answer = watcher.command(refused).await.pop().unwrap();
        assert!(answer.starts_with("BAD [UIDREQUIRED]"), "{refused}: {answer}");
    }
    // answers
    assert_eq!(watcher.ok("UID FETCH 2 (RFC822.SIZE)").await, [format!("* 2 UIDFETCH (UID 2 RFC822.SIZE {})", message("two", "x").len())]);
    assert_eq!(watcher.ok("UID SEARCH SUBJECT three").await, ["* SEARCH 3"]);
    assert_eq!(watcher.ok("UID SEARCH RETURN (SAVE) SUBJECT three").await, [""; 0]);
    assert_eq!(watcher.ok("UID FETCH $ (UID)").await, ["* 3 UIDFETCH (UID 3)"]);
    let told = watcher.ok("UID STORE 3 +FLAGS (\\Flagged)").await;
    assert!(told.len() == 1 && told[0].starts_with("* 3 UIDFETCH (FLAGS (\\Flagged"), "{told:?}");
    // what others do
    watcher.idle().await;
    actor.ok("STORE 1 +FLAGS (\\Deleted)").await;
    assert!(watcher.until("* 2 UIDFETCH").await.contains("\\Deleted"));
    actor.ok("EXPUNGE").await;
    assert_eq!(watcher.until("* VANISHED").await, "* VANISHED 2");
    assert!(actor.append("INBOX", "", &message("four", "x")).await.starts_with("OK"));
    assert_eq!(watcher.until("* 2 EXISTS").await, "* 2 EXISTS");
    watcher.done().await;
    // its own removal
    watcher.ok("UID STORE 4 +FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(watcher.ok("UID EXPUNGE 1:*").await, ["* VANISHED 4"]);
    // with CONDSTORE and NOTIFY
    watcher.ok("ENABLE CONDSTORE").await;
    watcher.ok("NOTIFY SET (selected (MessageNew (UID FLAGS) MessageExpunge FlagChange))").await;
    actor.ok("UID STORE 3 -FLAGS (\\Flagged)").await;
    let told = watcher.until("* 3 UIDFETCH").await;
    assert!(told.contains("MODSEQ ("), "{told}");
    assert!(actor.append("INBOX", "", &message("five", "x")).await.starts_with("OK"));
    assert!(watcher.until("* 5 UIDFETCH").await.starts_with("* 5 UIDFETCH (UID 5 FLAGS ("));
    world.stop().await;
}

/// A search that was told in numbers ends; one in UIDs goes on.
#[tokio::test(flavor = "multi_thread")]
async fn searches_by_number_are_kept_up_to_date_no_more() {
    let world = World::start().await;
    let mut client = world.client("ann").await;
    client.ok("SELECT INBOX").await;
    client.ok("SEARCH RETURN (UPDATE) ALL").await;
    client.ok("UID SEARCH RETURN (UPDATE) ALL").await;
    let told = client.ok("ENABLE UIDONLY").await;
    assert!(told.iter().any(|line| line.starts_with("* NO [NOUPDATE \"t3\"]")), "{told:?}");
    let lines = client.command(&format!("APPEND INBOX {{{}+}}\r\n{}", message("x", "x").len(), message("x", "x"))).await;
    assert!(lines.contains(&"* ESEARCH (TAG \"t4\") UID ADDTO (0 1)".to_owned()), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("\"t3\"")), "{lines:?}");
    world.stop().await;
}
