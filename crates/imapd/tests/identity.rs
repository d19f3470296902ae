//! What messages and mailboxes are called by programs: OBJECTID (RFC 8474), SAVEDATE (RFC 8514).

mod common;

use common::{World, message};

/// The text between two others.
fn between<'a>(line: &'a str, before: &str, after: &str) -> &'a str {
    line.split_once(before).and_then(|(_, rest)| rest.split_once(after)).unwrap_or_else(|| panic!("no {before} in {line}")).0
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_go_along_with_messages_and_mailboxes() {
    let world = World::start().await;
    let mut client = world.client("ann").await;
    let created = client.command("CREATE Work").await.pop().unwrap();
    let id = between(&created, "OK [MAILBOXID (", ")] ").to_owned();
    for subject in ["one", "two"] {
        client.append("INBOX", "", &message(subject, "x")).await;
    }
    let selected = client.ok("SELECT INBOX").await.join("|");
    let inbox = between(&selected, "* OK [MAILBOXID (", ")] ").to_owned();
    assert_ne!(inbox, id);
    let lines = client.ok("FETCH 1:2 (EMAILID THREADID)").await;
    let (one, two) = (between(&lines[0], "EMAILID (", ")").to_owned(), between(&lines[1], "EMAILID (", ")").to_owned());
    assert_eq!(lines, [format!("* 1 FETCH (EMAILID ({one}) THREADID NIL)"), format!("* 2 FETCH (EMAILID ({two}) THREADID NIL)")]);
    assert_ne!(one, two);
    client.ok("MOVE 2 Work").await;
    client.ok("COPY 1 Work").await;
    client.ok("RENAME Work Play").await;
    assert_eq!(client.ok("STATUS Play (MESSAGES MAILBOXID)").await, [format!("* STATUS Play (MESSAGES 2 MAILBOXID ({id}))")]);
    let listed = client.ok("LIST \"\" * RETURN (STATUS (MAILBOXID))").await;
    assert!(listed.contains(&format!("* STATUS INBOX (MAILBOXID ({inbox}))")), "{listed:?}");
    assert!(client.ok("EXAMINE Play").await.join("|").contains(&format!("[MAILBOXID ({id})]")));
    assert_eq!(client.ok("FETCH 1:2 EMAILID").await, [format!("* 1 FETCH (EMAILID ({two}))"), format!("* 2 FETCH (EMAILID ({one}))")]);
    for (key, want) in [
        (format!("EMAILID {one}"), "* SEARCH 2"),
        (format!("OR EMAILID {one} EMAILID {two}"), "* SEARCH 1 2"),
        (format!("EMAILID {}", one.to_uppercase()), "* SEARCH"),
        ("EMAILID Mx".to_owned(), "* SEARCH"),
        ("THREADID T1".to_owned(), "* SEARCH"),
        ("NOT THREADID T1".to_owned(), "* SEARCH 1 2"),
    ] {
        assert_eq!(client.ok(&format!("SEARCH {key}")).await, [want], "{key}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn save_dates_are_told_and_searched() {
    let world = World::start().await;
    world.drop_mail("ann", "1500000000.M1P1.host", "Subject: x\n\nx\n");
    let mut client = world.client("ann").await;
    client.append("INBOX", "\"17-Jul-1996 02:44:25 +0000\" ", &message("old", "x")).await;
    client.ok("SELECT INBOX").await;
    let lines = client.ok("FETCH 1 SAVEDATE").await;
    // the server's zone
    assert!(lines[0].starts_with("* 1 FETCH (SAVEDATE \"1") && lines[0].contains("-Jul-2017 "), "{lines:?}");
    for (key, want) in [
        ("SAVEDBEFORE 1-Jan-2018", "* SEARCH 1"),
        ("SAVEDSINCE 1-Jan-2018", "* SEARCH 2"),
        ("SAVEDON 1-Jan-2018", "* SEARCH"),
        ("SAVEDATESUPPORTED", "* SEARCH 1 2"),
        ("BEFORE 1-Jan-2018", "* SEARCH 2"),
    ] {
        assert_eq!(client.ok(&format!("SEARCH {key}")).await, [want], "{key}");
    }
    world.stop().await;
}
