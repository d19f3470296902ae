//! The index of words: searches find the same with it as without, and do not read what it rules out. Searches for what is like something (RFC 6203).

mod common;

use common::{Client, World, lease, message};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Searches whose answers an index must not change.
const SEARCHES: [&str; 16] = [
    "TEXT needle",
    "BODY needle",
    "TEXT NEEDLE",
    "NOT TEXT needle",
    "OR TEXT needle SUBJECT 7",
    "TEXT \"caf\u{e9} cr\u{e8}me\"",
    "BODY hidden",
    "TEXT x-odd",
    "BODY x-odd",
    "HEADER X-Odd value",
    "HEADER X-Odd \"\"",
    "HEADER Received \"by mx\"",
    "TEXT ne",
    "TEXT \"\"",
    "BODY \"is in\"",
    "TEXT absent-word",
];

/// Messages of several kinds; a few have what is looked for.
fn text(number: usize) -> String {
    match number % 6 {
        0 => message(&format!("plain {number}"), "the NeEdLe is in the haystack"),
        1 => message(&format!("none {number}"), "nothing to be found in here"),
        2 => format!("Subject: odd {number}\r\nX-Odd: some Value\r\nReceived: from a by mx; date\r\n\r\nbody\r\n"),
        3 => format!("Subject: encoded {number}\r\nContent-Transfer-Encoding: base64\r\n\r\naGlkZGVuIG5lZWRsZQ==\r\n"),
        4 => format!("Subject: =?utf-8?q?Caf=C3=A9_cr=C3=A8me?= {number}\r\n\r\nmore words\r\n"),
        _ => format!(
            "Subject: parts {number}\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: \
             inner needle\r\n\r\ninner\r\n--b\r\nContent-Type: application/x\r\n\r\nneedle of no text\r\n--b--\r\n"
        ),
    }
}

/// Puts a message there under a name that tells its size, which is how others see that it is whole.
fn drop_whole(world: &World, number: usize, text: &str) {
    world.drop_mail("ann", &name(number, text), text);
}

fn name(number: usize, text: &str) -> String {
    format!("{number}.M1P1.host,S={}", text.len())
}

/// The only line before the answer, without its tag.
async fn untagged(client: &mut Client, command: &str) -> String {
    let lines = client.ok(command).await;
    assert_eq!(lines.len(), 1, "{command}: {lines:?}");
    match lines[0].split_once("(TAG \"t").and_then(|(before, rest)| Some((before, rest.split_once(')')?.1))) {
        Some((before, rest)) => format!("{before}(TAG){rest}"),
        None => lines[0].clone(),
    }
}

async fn answers(client: &mut Client) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for search in SEARCHES {
        all.push(client.ok(&format!("UID SEARCH {search}")).await);
    }
    all
}

fn file(world: &World) -> PathBuf {
    world.maildir("ann").join("facteur.search")
}

/// Waits until so many messages have signatures.
async fn until_signed(file: &Path, count: usize) {
    let begun = Instant::now();
    loop {
        let bytes = std::fs::read(file).unwrap_or_default();
        if bytes.windows(4).filter(|window| window == b"FcR1").count() >= count {
            return;
        }
        assert!(begun.elapsed() < common::PATIENCE, "{} bytes", bytes.len());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_made_and_changes_nothing() {
    let without = World::start().await;
    let with = World::with("fts = true").await;
    for world in [&without, &with] {
        for number in 0..60 {
            drop_whole(world, number, &text(number).replace("\r\n", "\n"));
        }
    }
    let mut plain = without.client("ann").await;
    plain.ok("SELECT INBOX").await;
    let want = answers(&mut plain).await;
    assert!(want[0][0].split(' ').count() > 20, "{want:?}");
    assert!(!file(&without).exists());

    let mut client = with.client("ann").await;
    client.ok("SELECT INBOX").await;
    assert_eq!(answers(&mut client).await, want);
    until_signed(&file(&with), 60).await;
    assert_eq!(answers(&mut client).await, want);

    // what comes later is found at once, and indexed then
    for (world, client) in [(&without, &mut plain), (&with, &mut client)] {
        drop_whole(world, 60, &text(60));
        client.ok("NOOP").await;
    }
    let want = answers(&mut plain).await;
    assert_eq!(answers(&mut client).await, want);
    until_signed(&file(&with), 61).await;
    assert_eq!(answers(&mut client).await, want);

    // damaged in the middle, cut, gone
    let whole = std::fs::read(file(&with)).expect("index");
    for broken in [[&whole[..700], &[0xff; 300], &whole[1000..]].concat(), whole[..whole.len() / 2].to_vec(), Vec::new()] {
        std::fs::write(file(&with), broken).expect("written");
        let mut another = with.client("ann").await;
        another.ok("EXAMINE INBOX").await;
        assert_eq!(answers(&mut another).await, want);
        assert_eq!(answers(&mut client).await, want);
    }
    std::fs::remove_file(file(&with)).expect("removed");
    assert_eq!(answers(&mut client).await, want);
    client.ok("SELECT INBOX").await;
    until_signed(&file(&with), 61).await;
    assert_eq!(answers(&mut client).await, want);
    without.stop().await;
    with.stop().await;
}

/// A search that has to read a message and cannot would say so.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_ruled_out_is_not_read() {
    let world = World::with("fts = true").await;
    for number in 0..3 {
        drop_whole(&world, number, &text(number));
    }
    let mut client = world.client("ann").await;
    client.ok("SELECT INBOX").await;
    until_signed(&file(&world), 3).await;
    let leased = lease(&world.maildir("ann").join(format!("cur/{}:2,", name(1, &text(1)))));
    assert!(client.command("SEARCH TEXT nothing").await[1].starts_with("NO [UNAVAILABLE]"));
    assert_eq!(client.ok("SEARCH TEXT needle").await, ["* SEARCH 1"]);
    assert_eq!(client.ok("SEARCH NOT TEXT needle").await, ["* SEARCH 2 3"]);
    assert_eq!(client.ok("SEARCH HEADER X-Odd value").await, ["* SEARCH 3"]);
    drop(leased);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_setting_there_is_no_fuzzy_search() {
    let world = World::start().await;
    let mut client = world.client("ann").await;
    assert!(!client.ok("CAPABILITY").await[0].contains("FUZZY"));
    client.ok("SELECT INBOX").await;
    for command in ["SEARCH FUZZY TEXT x", "SORT (RELEVANCY) UTF-8 FUZZY TEXT x", "THREAD REFS UTF-8 NOT FUZZY TEXT x", "ESEARCH FUZZY ALL"]
    {
        assert_eq!(client.command(command).await, ["BAD FUZZY is not announced"], "{command}");
    }
    world.stop().await;
}

/// The examples of RFC 6203, on mail that fits them.
#[tokio::test(flavor = "multi_thread")]
async fn rfc6203_examples() {
    let world = World::with("fts = true").await;
    let mut client = world.client("ann").await;
    assert!(client.ok("CAPABILITY").await[0].contains(" SEARCH=FUZZY"));
    for (subject, body) in [
        ("Helo", "as it stands"),
        ("Hello world", "a letter more"),
        ("nothing", "another matter"),
        ("IMAP break", "Hello in a body"),
        ("breaks of Imap", "x"),
    ] {
        client.append("INBOX", "", &message(subject, body)).await;
    }
    client.ok("SELECT INBOX").await;
    // §3
    assert_eq!(client.ok("SEARCH FUZZY (SUBJECT \"IMAP break\")").await, ["* SEARCH 4 5"]);
    assert_eq!(client.ok("SEARCH FUZZY SUBJECT imap FROM ann@example.org").await, ["* SEARCH 4 5"]);
    assert_eq!(client.ok("SEARCH FUZZY SUBJECT imap FROM an@example.org").await, ["* SEARCH"]);
    // §4
    for (command, want) in [
        ("SEARCH RETURN (RELEVANCY ALL) FUZZY TEXT \"Helo\"", "* ESEARCH (TAG) ALL 1:2,4 RELEVANCY (100 40 30)"),
        ("SEARCH RETURN (PARTIAL 2:3 RELEVANCY) FUZZY TEXT \"Helo\"", "* ESEARCH (TAG) PARTIAL (2:3 2,4) RELEVANCY (40 30)"),
        ("SEARCH RETURN (RELEVANCY COUNT) FUZZY TEXT zyzzyva", "* ESEARCH (TAG) COUNT 0 RELEVANCY ()"),
        // §6
        ("SORT (RELEVANCY) UTF-8 FUZZY TEXT \"Helo\"", "* SORT 1 2 4"),
        ("SORT (REVERSE RELEVANCY) UTF-8 FUZZY TEXT \"Helo\"", "* SORT 4 2 1"),
        ("SORT RETURN (RELEVANCY ALL) (RELEVANCY) UTF-8 FUZZY TEXT \"hello\"", "* ESEARCH (TAG) ALL 2,4,1 RELEVANCY (100 90 40)"),
        ("SORT RETURN (PARTIAL 1:2) (RELEVANCY) UTF-8 FUZZY TEXT \"hello\"", "* ESEARCH (TAG) PARTIAL (1:2 2,4)"),
    ] {
        assert_eq!(untagged(&mut client, command).await, want, "{command}");
    }
    let line = untagged(&mut client, "ESEARCH IN (personal) RETURN (RELEVANCY ALL) FUZZY TEXT helo").await;
    assert!(line.ends_with(" UID ALL 1:2,4 RELEVANCY (100 40 30)"), "{line}");
    // "MUST NOT be used unless a FUZZY search key is also given"
    for bad in
        ["SEARCH RETURN (RELEVANCY) TEXT x", "SORT (RELEVANCY) UTF-8 TEXT x", "SORT RETURN (RELEVANCY) (DATE) UTF-8 ALL", "SEARCH FUZZY"]
    {
        let answer = client.command(bad).await;
        assert!(answer[0].starts_with("BAD "), "{bad}: {answer:?}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_text_and_what_is_denied_is_exact() {
    let world = World::with("fts = true").await;
    let mut client = world.client("ann").await;
    for (subject, flags) in [("meeting", "(\\Seen) "), ("meetings", ""), ("lunch", "(\\Seen) ")] {
        client.append("INBOX", flags, &message(subject, "x")).await;
    }
    client.ok("SELECT INBOX").await;
    for (search, want) in [
        ("FUZZY (SEEN SUBJECT meetnig)", "ALL 1 RELEVANCY (40)"),
        ("FUZZY SEEN", "ALL 1,3 RELEVANCY (100 100)"),
        ("FUZZY NOT SUBJECT meetnig", "ALL 1:3 RELEVANCY (100 100 100)"),
        ("FUZZY NOT SUBJECT meeting", "ALL 3 RELEVANCY (100)"),
        ("OR FUZZY SUBJECT meetnig SEEN", "ALL 1,3 RELEVANCY (40 1)"),
        ("FUZZY (OR SUBJECT lunch SUBJECT meetings)", "ALL 1:3 RELEVANCY (60 100 100)"),
        ("FUZZY SUBJECT meeting FUZZY SEEN", "ALL 1 RELEVANCY (100)"),
    ] {
        let lines = client.ok(&format!("SEARCH RETURN (ALL RELEVANCY) {search}")).await;
        assert!(lines[0].ends_with(&format!(") {want}")), "{search}: {lines:?}");
    }
    let words = |count: usize| (0..count).map(|n| format!("w{n}")).collect::<Vec<_>>().join(" ");
    for (search, want) in [
        (format!("FUZZY TEXT \"{}\"", words(16)), "OK"),
        (format!("FUZZY TEXT \"{}\"", words(17)), "NO [LIMIT]"),
        (format!("FUZZY ({})", vec![format!("BODY \"{}\"", words(16)); 4].join(" ")), "OK"),
        (format!("FUZZY ({} BODY x)", vec![format!("BODY \"{}\"", words(16)); 4].join(" ")), "NO [LIMIT]"),
    ] {
        let answer = client.command(&format!("SEARCH {search}")).await.pop().unwrap_or_default();
        assert!(answer.starts_with(want), "{search}: {answer}");
    }
    world.stop().await;
}

/// RFC 5267 with RFC 6203: a sorted result that is kept up to date has what comes in its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_result_by_relevancy_is_kept_up_to_date() {
    let world = World::with("fts = true").await;
    let mut client = world.client("ann").await;
    for subject in ["helo", "hello"] {
        client.append("INBOX", "", &message(subject, "x")).await;
    }
    client.ok("SELECT INBOX").await;
    let sorted = untagged(&mut client, "UID SORT RETURN (UPDATE ALL) (RELEVANCY) UTF-8 FUZZY SUBJECT hello").await;
    assert_eq!(sorted, "* ESEARCH (TAG) UID ALL 2,1");
    let mut other = world.client("ann").await;
    for subject in ["hellos", "hello you"] {
        other.append("INBOX", "", &message(subject, "x")).await;
    }
    let told = client.ok("NOOP").await;
    assert!(told.iter().any(|line| line.ends_with(" UID ADDTO (2 3:4)")), "{told:?}");
    assert_eq!(client.ok("UID SORT (RELEVANCY) UTF-8 FUZZY SUBJECT hello").await, ["* SORT 2 3 4 1"]);
    world.stop().await;
}
