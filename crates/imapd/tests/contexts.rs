//! PARTIAL (RFC 9394), contexts (RFC 5267) and ESEARCH (RFC 7377) with real connections: one session acts, one watches.

mod common;

use common::{Client, World, message};

/// Messages with these bodies' lengths, in INBOX.
async fn fill(client: &mut Client, mailbox: &str, subjects: &[&str]) {
    for subject in subjects {
        let answer = client.append(mailbox, "", &message(subject, "x")).await;
        assert!(answer.starts_with("OK"), "{answer}");
    }
}

/// Only what is about the results of searches.
fn esearch(lines: Vec<String>) -> Vec<String> {
    lines.into_iter().filter(|line| line.starts_with("* ESEARCH") || line.contains("NOUPDATE")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_on_results_from_both_ends() {
    let world = World::start().await;
    let mut client = world.client("ann").await;
    assert!(client.ok("CAPABILITY").await[0].contains(" PARTIAL "));
    fill(&mut client, "INBOX", &["c", "a", "d", "b", "e"]).await;
    client.ok("SELECT INBOX").await;
    for (search, want) in [
        ("UID SEARCH RETURN (PARTIAL 1:2) ALL", "UID PARTIAL (1:2 1:2)"),
        ("SEARCH RETURN (PARTIAL -1:-2) ALL", "PARTIAL (-1:-2 4:5)"),
        ("UID SEARCH RETURN (PARTIAL 4:9 COUNT MIN) NOT 2", "UID MIN 1 COUNT 4 PARTIAL (4:9 5)"),
        ("SEARCH RETURN (PARTIAL 6:9) ALL", "PARTIAL (6:9 NIL)"),
        ("SEARCH RETURN (PARTIAL 1:9) SUBJECT zzz", "PARTIAL (1:9 NIL)"),
        ("UID SORT RETURN (PARTIAL 2:4) (SUBJECT) UTF-8 ALL", "UID PARTIAL (2:4 4,1,3)"),
        ("SORT RETURN (PARTIAL -1:-2) (SUBJECT) UTF-8 ALL", "PARTIAL (-1:-2 3,5)"),
    ] {
        let lines = client.ok(search).await;
        assert!(lines[0].ends_with(&format!(") {want}")), "{search}: {lines:?}");
    }
    // RFC 9394 §3.2
    client.ok("SEARCH RETURN (SAVE PARTIAL 2:3 MAX) ALL").await;
    assert_eq!(client.ok("SEARCH $").await, ["* SEARCH 2 3 5"]);
    // RFC 9394 §3.3
    assert_eq!(client.ok("UID FETCH 2:* (UID) (PARTIAL -1:-2)").await, ["* 4 FETCH (UID 4)", "* 5 FETCH (UID 5)"]);
    assert_eq!(client.ok("UID FETCH 2:* (UID) (PARTIAL 1:1)").await, ["* 2 FETCH (UID 2)"]);
    assert!(client.ok("UID FETCH 2:* (UID) (PARTIAL 9:10)").await.is_empty());
    for bad in ["FETCH 1:* (UID) (PARTIAL 1:1)", "SEARCH RETURN (ALL PARTIAL 1:1) ALL"] {
        assert!(client.command(bad).await.pop().unwrap().starts_with("BAD"), "{bad}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_is_kept_up_to_date() {
    let world = World::start().await;
    let (mut watcher, mut actor) = (world.client("ann").await, world.client("ann").await);
    fill(&mut actor, "INBOX", &["one", "two", "three"]).await;
    watcher.ok("SELECT INBOX").await;
    actor.ok("SELECT INBOX").await;
    watcher.send(b"B01 UID SEARCH RETURN (UPDATE COUNT) UNSEEN\r\nB02 SEARCH RETURN (UPDATE) FLAGGED\r\n").await;
    assert_eq!(watcher.until("* ESEARCH").await, "* ESEARCH (TAG \"B01\") UID COUNT 3");
    assert_eq!(watcher.until("* ESEARCH").await, "* ESEARCH (TAG \"B02\")");
    watcher.until("B02 OK").await;
    // RFC 5267 §4.3: a tag has one search
    watcher.send(b"B01 UID SEARCH RETURN (UPDATE COUNT) ALL\r\n").await;
    watcher.until("B01 BAD").await;
    // in IDLE, flags come before the search's change, EXISTS too
    watcher.idle().await;
    actor.ok("STORE 2 FLAGS (\\Seen \\Flagged)").await;
    assert!(watcher.until("* 2 FETCH").await.contains("\\Seen"));
    assert_eq!(watcher.line().await, "* ESEARCH (TAG \"B01\") UID REMOVEFROM (0 2)");
    assert_eq!(watcher.line().await, "* ESEARCH (TAG \"B02\") ADDTO (0 2)");
    fill(&mut actor, "INBOX", &["four"]).await;
    assert_eq!(watcher.until("* 4 EXISTS").await, "* 4 EXISTS");
    assert_eq!(watcher.until("* ESEARCH").await, "* ESEARCH (TAG \"B01\") UID ADDTO (0 4)");
    watcher.done().await;
    // what is gone is told in the old numbers, before EXPUNGE
    actor.ok("STORE 1:2 +FLAGS (\\Deleted)").await;
    actor.ok("EXPUNGE").await;
    let lines = watcher.ok("NOOP").await;
    let at = |start: &str| lines.iter().position(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {lines:?}"));
    assert!(at("* ESEARCH (TAG \"B02\") REMOVEFROM (0 2)") < at("* 2 EXPUNGE"));
    assert!(at("* ESEARCH (TAG \"B01\") UID REMOVEFROM (0 1)") < at("* 1 EXPUNGE"));
    // one's own changes are told as well
    let lines = watcher.ok("STORE 1 +FLAGS (\\Seen)").await;
    assert_eq!(esearch(lines), ["* ESEARCH (TAG \"B01\") UID REMOVEFROM (0 3)"]);
    watcher.ok("CANCELUPDATE \"B01\"").await;
    assert!(esearch(watcher.ok("STORE 2 +FLAGS (\\Seen)").await).is_empty());
    assert!(watcher.command("CANCELUPDATE \"B01\"").await.pop().unwrap().starts_with("BAD"));
    // another SELECT ends the rest
    watcher.ok("SELECT INBOX").await;
    assert!(esearch(watcher.ok("STORE 1 +FLAGS (\\Flagged)").await).is_empty());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_mean_the_messages_they_meant() {
    let world = World::start().await;
    let mut client = world.client("ann").await;
    fill(&mut client, "INBOX", &["one", "two", "three"]).await;
    client.ok("SELECT INBOX").await;
    client.ok("UID SEARCH RETURN (UPDATE ALL) 2:3 UNFLAGGED").await;
    client.ok("STORE 1 +FLAGS (\\Deleted)").await;
    assert!(esearch(client.ok("EXPUNGE").await).is_empty());
    let told = esearch(client.ok("STORE 1 +FLAGS (\\Flagged)").await);
    assert!(told.len() == 1 && told[0].ends_with("UID REMOVEFROM (0 2)"), "{told:?}");
    // `*` is the last one, whichever that is
    client.ok("UID SEARCH RETURN (UPDATE ALL) UID *").await;
    let mut told = client.command(&format!("APPEND INBOX {{{}+}}\r\n{}", message("four", "x").len(), message("four", "x"))).await;
    told.extend(client.ok("NOOP").await);
    let told = esearch(told);
    assert!(told.len() == 1 && told[0].ends_with("UID REMOVEFROM (0 3) ADDTO (0 4)"), "{told:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sort_is_kept_up_to_date_by_places() {
    let world = World::start().await;
    let mut client = world.client("ann").await;
    fill(&mut client, "INBOX", &["m", "c", "x"]).await;
    client.ok("SELECT INBOX").await;
    let lines = client.ok("UID SORT RETURN (UPDATE ALL) (SUBJECT) UTF-8 UNSEEN").await;
    assert!(lines[0].ends_with("UID ALL 2,1,3"), "{lines:?}");
    let mut told = client.command(&format!("APPEND INBOX {{{}+}}\r\n{}", message("a", "x").len(), message("a", "x"))).await;
    told.extend(client.ok("NOOP").await);
    assert!(esearch(told)[0].ends_with("UID ADDTO (1 4)"));
    let told = esearch(client.ok("STORE 1:2 +FLAGS (\\Seen)").await);
    assert!(told.len() == 1 && told[0].ends_with("UID REMOVEFROM (2 2,1)"), "{told:?}");
    let told = esearch(client.ok("STORE 1:2 -FLAGS (\\Seen)").await);
    assert!(told.len() == 1 && told[0].ends_with("UID ADDTO (2 2,1)"), "{told:?}");
    world.stop().await;
}

/// SECURITY I18: what a session makes us remember is bounded.
#[tokio::test(flavor = "multi_thread")]
async fn the_eleventh_context_is_refused_and_searched_all_the_same() {
    let world = World::start().await;
    let mut client = world.client("ann").await;
    fill(&mut client, "INBOX", &["one"]).await;
    client.ok("SELECT INBOX").await;
    for _ in 0..10 {
        assert!(!client.ok("SEARCH RETURN (UPDATE COUNT) ALL").await.iter().any(|line| line.contains("NOUPDATE")));
    }
    let refused = |lines: Vec<String>| {
        assert!(lines[0].ends_with("COUNT 1") && lines[1].starts_with("* NO [NOUPDATE \"t"), "{lines:?}");
    };
    refused(client.ok("SEARCH RETURN (UPDATE COUNT CONTEXT) ALL").await);
    // a search takes memory as long as it is kept
    client.ok("SELECT INBOX").await;
    refused(client.ok(&format!("SEARCH RETURN (UPDATE COUNT) UID {}1", "1,3,".repeat(10_000))).await);
    refused(client.ok(&format!("SEARCH RETURN (UPDATE COUNT) {}ALL", "UNSEEN ".repeat(5_000))).await);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_mailboxes_are_searched_at_once() {
    let world = World::start().await;
    let mut client = world.client("ann").await;
    for name in ["Work", "Work.One", "Work.One.Deep", "Play"] {
        client.ok(&format!("CREATE {name}")).await;
        fill(&mut client, name, &["needle", "hay"]).await;
    }
    fill(&mut client, "INBOX", &["hay"]).await;
    client.ok("SUBSCRIBE Play").await;
    let found = |lines: Vec<String>| -> Vec<String> {
        let name = |line: &String| line.split("MAILBOX ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or("-").to_owned();
        lines.iter().map(name).collect()
    };
    for (sources, want) in [
        ("personal", &["Play", "Work", "Work.One", "Work.One.Deep"][..]),
        ("inboxes", &["Play", "Work", "Work.One", "Work.One.Deep"]),
        ("subtree Work", &["Work", "Work.One", "Work.One.Deep"]),
        ("subtree-one Work", &["Work", "Work.One"]),
        ("subscribed", &["Play"]),
        ("mailboxes (Play INBOX Nowhere) mailboxes Play", &["Play"]),
    ] {
        assert_eq!(found(client.ok(&format!("ESEARCH IN ({sources}) SUBJECT needle")).await), want, "{sources}");
    }
    let lines = client.ok("ESEARCH IN (mailboxes Play) RETURN (COUNT PARTIAL -1:-1) ALL").await;
    assert!(lines[0].contains(" MAILBOX Play UIDVALIDITY ") && lines[0].ends_with(") UID COUNT 2 PARTIAL (-1:-1 2)"), "{lines:?}");
    // nothing is selected, nothing becomes it, nothing is seen or recent for it
    for bad in
        ["ESEARCH ALL", "ESEARCH IN (selected) ALL", "ESEARCH IN (personal) RETURN (UPDATE) ALL", "ESEARCH IN (personal) RETURN (SAVE) ALL"]
    {
        assert!(client.command(bad).await.pop().unwrap().starts_with("BAD"), "{bad}");
    }
    assert!(client.command("FETCH 1 (UID)").await.pop().unwrap().starts_with("BAD"));
    client.ok("SELECT Work").await;
    assert_eq!(found(client.ok("ESEARCH SUBJECT needle").await), ["Work"]);
    assert_eq!(found(client.ok("ESEARCH IN (selected personal) SUBJECT needle").await), ["Work", "Play", "Work.One", "Work.One.Deep"]);
    assert!(client.ok("ESEARCH IN (personal) SUBJECT nothing").await.is_empty());
    client.ok("ESEARCH RETURN (SAVE) SUBJECT needle").await;
    assert_eq!(client.ok("SEARCH $").await, ["* SEARCH 1"]);
    // updates are of the selected mailbox
    client.ok("ESEARCH IN (selected) RETURN (UPDATE) UNSEEN").await;
    let told = esearch(client.ok("STORE 1 +FLAGS (\\Seen)").await);
    assert!(told.len() == 1 && told[0].contains("MAILBOX Work UIDVALIDITY") && told[0].ends_with("UID REMOVEFROM (0 1)"), "{told:?}");
    let lines = client.ok("ESEARCH IN (mailboxes Play) RETURN (UPDATE COUNT) ALL").await;
    assert!(lines[0].starts_with("* NO [NOUPDATE") && lines[1].ends_with("COUNT 2"), "{lines:?}");
    world.stop().await;
}
