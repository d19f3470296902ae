//! MESSAGELIMIT (RFC 9738): one command works on so many messages, the newest of those it means.

mod common;

use common::{Client, World, message};

async fn code(client: &mut Client, command: &str) -> (Vec<String>, String) {
    let mut lines = client.command(command).await;
    let answer = lines.pop().unwrap();
    (lines, answer)
}

fn expunged(lines: &[String]) -> usize {
    lines.iter().filter(|line| line.ends_with(" EXPUNGE")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_for_too_many_messages_works_on_the_newest_and_says_where_to_go_on() {
    let world = World::with("imap_message_limit = 3").await;
    let mut client = world.client("ann").await;
    assert!(client.ok("CAPABILITY").await[0].ends_with(" MESSAGELIMIT=3"));
    client.ok("CREATE Other").await;
    for n in 0..8 {
        client.append("INBOX", "", &message(&n.to_string(), "x")).await;
    }
    client.ok("SELECT INBOX").await;
    let (lines, answer) = code(&mut client, "UID FETCH 1:* (UID)").await;
    assert_eq!(lines, ["* 6 FETCH (UID 6)", "* 7 FETCH (UID 7)", "* 8 FETCH (UID 8)"]);
    assert!(answer.starts_with("OK [MESSAGELIMIT 3 6] "), "{answer}");
    let (lines, answer) = code(&mut client, "FETCH 1:5 (UID)").await;
    assert_eq!((lines.len(), answer.starts_with("OK [MESSAGELIMIT 3 3] ")), (3, true), "{answer}");
    assert!(code(&mut client, "FETCH 1:3 (UID)").await.1.starts_with("OK Fetch"));
    let (lines, answer) = code(&mut client, "STORE 1:8 +FLAGS (\\Deleted)").await;
    assert_eq!((lines.len(), answer.starts_with("OK [MESSAGELIMIT 3 6] ")), (3, true), "{answer}");
    assert!(code(&mut client, "COPY 1:4 Other").await.1.starts_with("NO [MESSAGELIMIT 3] "));
    assert!(code(&mut client, "COPY 1:3 Other").await.1.starts_with("OK [COPYUID "));
    client.ok("STORE 3:5 +FLAGS.SILENT (\\Deleted)").await;
    let (lines, answer) = code(&mut client, "UID EXPUNGE 1:*").await;
    assert_eq!((expunged(&lines), answer.starts_with("OK [MESSAGELIMIT 3 6] ")), (3, true), "{lines:?} {answer}");
    let (lines, answer) = code(&mut client, "UID MOVE 1:* Other").await;
    assert!(lines[0].contains("COPYUID") && expunged(&lines) == 3 && answer.starts_with("OK [MESSAGELIMIT 3 3] "), "{lines:?} {answer}");
    assert_eq!(client.ok("UID SEARCH UIDBEFORE 3").await, ["* SEARCH 1 2"]);
    assert_eq!(client.ok("UID SEARCH UIDAFTER 1").await, ["* SEARCH 2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_setting_there_is_no_limit() {
    let world = World::start().await;
    let mut client = world.client("ann").await;
    assert!(!client.ok("CAPABILITY").await[0].contains("MESSAGELIMIT"));
}
