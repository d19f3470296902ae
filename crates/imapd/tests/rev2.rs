//! IMAP4rev2 (RFC 9051) and UTF8=ACCEPT (RFC 6855): what changes for clients that enable them, and only for them. docs/imap4rev2.md has the list.

mod common;

use common::{World, message};

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_rev2_folds_in_is_there() {
    let world = World::start().await;
    let mut client = world.client("ann").await;
    let capabilities = client.ok("CAPABILITY").await.join("");
    for name in
        "IMAP4rev1 IMAP4rev2 NAMESPACE UNSELECT UIDPLUS ESEARCH SEARCHRES ENABLE IDLE SASL-IR LIST-EXTENDED LIST-STATUS MOVE SPECIAL-USE \
                 BINARY STATUS=SIZE UTF8=ACCEPT"
            .split_whitespace()
    {
        assert!(capabilities.split(' ').any(|capability| capability == name), "{name} in {capabilities}");
    }
    client.append("INBOX", "($MDNSent $Forwarded $Junk $NonJunk $Phishing) ", &message("x", "y")).await;
    let status = client.ok("STATUS INBOX (SIZE DELETED)").await;
    assert_eq!(status, [format!("* STATUS INBOX (DELETED 0 SIZE {})", message("x", "y").len())]);
    client.ok("SELECT INBOX").await;
    assert_eq!(client.ok("FETCH 1 FLAGS").await, ["* 1 FETCH (FLAGS ($MDNSent $Forwarded $Junk $NonJunk $Phishing))"]);
    for command in ["COPY", "MOVE", "UID COPY", "UID MOVE"] {
        assert!(client.command(&format!("{command} 1 Nowhere")).await[0].starts_with("NO [TRYCREATE] "), "{command}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rev2_changes_after_enable() {
    let world = World::start().await;
    let (mut old, mut new) = (world.client("ann").await, world.client("ann").await);
    assert_eq!(new.ok("ENABLE IMAP4rev2 X-NONE").await, ["* ENABLED IMAP4rev2"]);
    assert_eq!(new.ok("ENABLE imap4rev2").await, ["* ENABLED"]);
    for subject in ["one", "two"] {
        new.append("INBOX", "", &message(subject, "x")).await;
    }
    new.ok("CREATE Work.Sub").await;
    for (client, is_new) in [(&mut new, true), (&mut old, false)] {
        let selected = client.ok("SELECT INBOX").await.join("|");
        assert_eq!(selected.contains("RECENT"), !is_new, "{selected}");
        assert_eq!(selected.contains("[UNSEEN "), !is_new, "{selected}");
        assert_eq!(selected.contains("* LIST () \".\" INBOX"), is_new, "{selected}");
        assert!(!selected.contains("CLOSED"), "{selected}");
        // RFC 7162 §3.2.11: to everybody.
        assert!(client.ok("SELECT INBOX").await[0].starts_with("* OK [CLOSED] "));
        let flags = client.ok("FETCH 1 FLAGS").await;
        assert_eq!(flags, ["* 1 FETCH (FLAGS ())"], "claimed by the first");
        let (all, none) = (client.ok("SEARCH ALL").await, client.ok("UID SEARCH DELETED").await);
        if is_new {
            assert!(all[0].starts_with("* ESEARCH (TAG \"t") && all[0].ends_with("\") ALL 1:2"), "{all:?}");
            assert!(none[0].starts_with("* ESEARCH (TAG \"t") && none[0].ends_with("\") UID"), "{none:?}");
        } else {
            assert_eq!((all[0].as_str(), none[0].as_str()), ("* SEARCH 1 2", "* SEARCH"));
        }
        let levels = client.ok("LIST \"\" Work").await;
        assert_eq!(levels, [format!("* LIST ({} \\HasChildren) \".\" Work", if is_new { "\\NonExistent" } else { "\\Noselect" })]);
    }
    // What others do is told with the UID.
    old.ok("STORE 1 +FLAGS \\Seen").await;
    assert_eq!(new.ok("NOOP").await, ["* 1 FETCH (UID 1 FLAGS (\\Seen))"]);
    new.ok("STORE 1 +FLAGS \\Flagged").await;
    assert_eq!(old.ok("NOOP").await, ["* 1 FETCH (FLAGS (\\Flagged \\Seen))"]);
    // New mail: nobody is told of RECENT.
    old.append("INBOX", "", &message("three", "x")).await;
    assert_eq!(new.ok("NOOP").await, ["* 3 EXISTS"]);
    // RFC 8437 §3: it ends with the login.
    new.ok("UNAUTHENTICATE").await;
    new.ok("LOGIN ann@example.org pw").await;
    assert!(new.ok("SELECT INBOX").await.join("|").contains("RECENT"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_utf8_after_enable() {
    let world = World::start().await;
    for enabled in ["IMAP4rev2", "UTF8=ACCEPT"] {
        let mut client = world.client("ann").await;
        // RFC 6855 §3: quoted UTF-8 is understood by all servers that know it.
        client.ok("CREATE \"été\"").await;
        assert_eq!(client.ok("LIST \"\" &AOk-*").await, ["* LIST (\\HasNoChildren) \".\" &AOk-t&AOk-"]);
        assert_eq!(client.ok(&format!("ENABLE {enabled}")).await, [format!("* ENABLED {enabled}")]);
        assert_eq!(client.ok("LIST \"\" \"é*\"").await, ["* LIST (\\HasNoChildren) \".\" \"été\""]);
        assert_eq!(client.ok("STATUS \"été\" (MESSAGES)").await, ["* STATUS \"été\" (MESSAGES 0)"]);
        client.ok("SUBSCRIBE \"été\"").await;
        assert_eq!(client.ok("LSUB \"\" *").await, ["* LSUB () \".\" \"été\""]);
        // & is a letter now.
        client.ok("CREATE &AOk-").await;
        assert_eq!(client.ok("LIST \"\" &*").await, ["* LIST (\\HasNoChildren) \".\" &AOk-"]);
        assert!(world.maildir("ann").join(".&-AOk-").exists());
        for bad in ["CREATE \"a\u{85}b\"", "CREATE \"a\u{2028}b\"", "CREATE \"../é\""] {
            assert!(client.command(bad).await[0].starts_with("NO "), "{bad}");
        }
        client.ok("DELETE &AOk-").await;
        client.ok("UNSUBSCRIBE \"été\"").await;
        client.ok("DELETE \"été\"").await;
    }
    world.stop().await;
}

/// RFC 6855 §3, §4.
#[tokio::test(flavor = "multi_thread")]
async fn utf8_headers_are_appended_and_charsets_are_not_named() {
    let world = World::start().await;
    let mut client = world.client("ann").await;
    let text = "From: é@exämple.org\r\nSubject: été\r\n\r\nx\r\n";
    let append = format!("APPEND INBOX (\\Seen) UTF8 (~{{{}+}}\r\n{text})", text.len());
    assert!(client.command(&append).await[0].starts_with("NO [CANNOT] "));
    client.ok("ENABLE UTF8=ACCEPT").await;
    assert!(client.command(&append).await[0].starts_with("OK [APPENDUID "));
    client.ok("SELECT INBOX").await;
    assert_eq!(client.ok("FETCH 1 BODY.PEEK[]").await.join("\r\n"), format!("* 1 FETCH (BODY[] {{{}}}\r\n{text})", text.len()));
    assert_eq!(client.ok("SEARCH SUBJECT \"ÉTÉ\"").await, ["* SEARCH 1"]);
    assert!(client.command("SEARCH CHARSET UTF-8 SUBJECT x").await[0].starts_with("BAD "));
    let catenated = format!("APPEND INBOX CATENATE (UTF8 (~{{{}+}}\r\n{text}) URL ;UID=1/;PARTIAL=0.4)", text.len());
    let lines = client.command(&catenated).await;
    assert!(lines.last().unwrap().starts_with("OK [APPENDUID "), "{lines:?}");
    assert!(client.ok("FETCH 2 BODY.PEEK[TEXT]").await.join("|").contains("x|From"));
    client.send(b"z SELECT \"\xff\"\r\n").await;
    assert!(client.line().await.starts_with("z BAD "));
    world.stop().await;
}
