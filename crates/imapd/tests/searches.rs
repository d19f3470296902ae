//! SEARCH with real connections: its limits, its turns, and what it says when it cannot know.

mod common;

use common::{World, lease, message};

/// What cannot be read now may be what the client looks for.
#[tokio::test(flavor = "multi_thread")]
async fn a_search_that_missed_messages_does_not_say_ok() {
    let world = World::start().await;
    for name in ["1.first.host", "2.second.host", "3.third.host"] {
        world.drop_mail("ann", name, "Subject: here\n\nsome words\n");
    }
    let mut client = world.client("ann").await;
    client.ok("SELECT INBOX").await;
    let leased = lease(&world.maildir("ann").join("cur/2.second.host:2,"));
    for search in ["SEARCH TEXT words", "SEARCH HEADER Subject here"] {
        let lines = client.command(search).await;
        assert_eq!(lines[0], "* SEARCH 1 3");
        assert!(lines[1].starts_with("NO [UNAVAILABLE]"), "{lines:?}");
    }
    let lines = client.command("UID SEARCH RETURN (COUNT) TEXT words").await;
    assert!(lines[0].ends_with("UID COUNT 2") && lines[1].starts_with("NO [UNAVAILABLE]"), "{lines:?}");
    // RFC 5182 §2.1: nothing is kept of a search that ended so
    client.command("SEARCH RETURN (SAVE) TEXT words").await;
    assert_eq!(client.ok("FETCH $ (UID)").await, Vec::<String>::new());
    drop(leased);
    assert_eq!(client.ok("SEARCH TEXT words").await, ["* SEARCH 1 2 3"]);
    world.stop().await;
}

/// What is read of many messages is remembered, whichever way the work is cut.
#[tokio::test(flavor = "multi_thread")]
async fn headers_that_were_searched_and_sorted_by_are_read_once() {
    let world = World::start().await;
    let cache = world.maildir("ann").join("facteur.cache");
    for (name, command) in [("1.first.host", "SEARCH SUBJECT here"), ("2.second.host", "SORT (SUBJECT) UTF-8 ALL")] {
        world.drop_mail("ann", name, "Subject: here\n\nsome words\n");
        let mut client = world.client("ann").await;
        client.ok("SELECT INBOX").await;
        let before = std::fs::metadata(&cache).map_or(0, |file| file.len());
        client.ok(command).await;
        assert!(std::fs::metadata(&cache).expect("a cache").len() > before, "{command}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_keys_that_read_messages_are_refused() {
    let world = World::start().await;
    let mut client = world.client("ann").await;
    client.append("INBOX", "", &message("one", "x")).await;
    client.ok("SELECT INBOX").await;
    assert_eq!(client.ok(&format!("SEARCH NOT ({})", ["BODY y"; 100].join(" "))).await, ["* SEARCH 1"]);
    for (key, most) in [("BODY y", 100), ("NOT TEXT x", 100), ("HEADER Subject x", 1000), ("SENTON 1-Jan-2020", 1000)] {
        for (count, want) in [(most, "OK"), (most + 1, "NO [LIMIT]")] {
            let answer = client.command(&format!("SEARCH {}", vec![key; count].join(" "))).await.pop().unwrap();
            assert!(answer.starts_with(want), "{count} {key}: {answer}");
        }
    }
    assert_eq!(client.ok(&format!("SEARCH {}", ["UNSEEN"; 101].join(" "))).await, ["* SEARCH 1"]);
    for (length, want) in [(1024, "OK"), (1025, "NO [LIMIT]"), (400_000, "NO [LIMIT]")] {
        let answer = client.command(&format!("SEARCH BODY {{{length}+}}\r\n{}", "a".repeat(length))).await.pop().unwrap();
        assert!(answer.starts_with(want), "{length}: {answer}");
    }
    world.stop().await;
}

/// One thread for disks, and a search that has it for seconds: the other session is answered in between.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_search_lets_others_have_their_turn() {
    let world = World::with("io_threads = 1").await;
    let body = "lorem ipsum dolor sit amet\n".repeat(80_000);
    for n in 0..40 {
        world.drop_mail("ann", &format!("{n}.large.host"), &format!("Subject: {n}\n\n{body}"));
    }
    let (mut searcher, mut other) = (world.client("ann").await, world.client("bob").await);
    searcher.ok("SELECT INBOX").await;
    other.ok("SELECT INBOX").await;
    let keys: Vec<String> = (0..100).map(|n| format!("NOT BODY \"lorem{n}\"")).collect();
    let search = format!("SEARCH {}", keys.join(" "));
    let searching = searcher.ok(&search);
    tokio::pin!(searching);
    for _ in 0..2 {
        tokio::select! {
            biased;
            found = &mut searching => panic!("the search was faster: {found:?}"),
            _ = other.ok("NOOP") => {}
        }
    }
    let told = searching.await;
    // on a busy machine it is told that it goes on
    let found = told.iter().find(|line| line.starts_with("* SEARCH")).expect("an answer");
    assert_eq!(found.split(' ').count(), 42);
    world.stop().await;
}
