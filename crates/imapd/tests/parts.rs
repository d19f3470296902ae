//! Messages made of parts, in octets and out of them: BINARY (RFC 3516), CATENATE (RFC 4469), REPLACE (RFC 8508).

mod common;

use common::{Client, World, message};

/// A text in quoted-printable, an attachment in base64 with NUL in it, one nobody can decode, a multipart that says it is encoded.
const MIXED: &str = "Subject: parts\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: base64\r\n\r\n\
    --b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ncaf=C3=A9=\r\n au lait\r\n\
    --b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: BASE64\r\n\r\nYQBi\r\nY2Q=\r\n\
    --b\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\nbegin\r\n--b--\r\n";

async fn with_mixed(world: &World) -> Client {
    let mut client = world.client("ann").await;
    client.append("INBOX", "", MIXED).await;
    client.ok("SELECT INBOX").await;
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_sent_without_their_encoding() {
    let world = World::start().await;
    let mut client = with_mixed(&world).await;
    for (item, want) in [
        ("BINARY.SIZE[1]", "BINARY.SIZE[1] 13)"),
        ("BINARY.SIZE[2]", "BINARY.SIZE[2] 5)"),
        ("BINARY.SIZE[9]", "BINARY.SIZE[9] 0)"),
        ("BINARY.PEEK[1]", "BINARY[1] {13}|café au lait)"),
        ("BINARY.PEEK[1]<5.3>", "BINARY[1]<5> {3}| au)"),
        ("BINARY.PEEK[1]<8.100>", "BINARY[1]<8> {5}| lait)"),
        ("BINARY.PEEK[1]<99.100>", "BINARY[1]<99> {0}|)"),
        // NUL, so a literal8; where there is none in the piece, none
        ("BINARY.PEEK[2]", "BINARY[2] ~{5}|a\0bcd)"),
        ("BINARY.PEEK[2]<2.2>", "BINARY[2]<2> {2}|bc)"),
        ("BINARY.PEEK[9]", "BINARY[9] NIL)"),
        // what is read otherwise is so still
        ("BODY.PEEK[2]", "BODY[2] {10}|YQBi|Y2Q=)"),
    ] {
        let lines = client.ok(&format!("FETCH 1 {item}")).await;
        assert_eq!(lines.join("|"), format!("* 1 FETCH ({want}"), "{item}");
    }
    // Neither the message nor a multipart is encoded, whatever it says.
    let whole = client.ok("FETCH 1 BINARY.PEEK[]").await.join("\r\n");
    assert_eq!(whole, format!("* 1 FETCH (BINARY[] {{{}}}\r\n{MIXED})", MIXED.len()));
    // what cannot be had is not seen either
    assert!(client.command("FETCH 1 (BINARY[1] BINARY[3])").await[0].starts_with("NO [UNKNOWN-CTE] "));
    assert_eq!(client.ok("FETCH 1 FLAGS").await, ["* 1 FETCH (FLAGS (\\Recent))"]);
    // §4.2: without PEEK it is seen.
    assert_eq!(client.ok("FETCH 1 (BINARY[2]<0.1> FLAGS)").await.join("|"), "* 1 FETCH (BINARY[2]<0> {1}|a FLAGS (\\Seen \\Recent))");
    // §4.3
    for item in ["BINARY[3]", "BINARY.SIZE[3]", "(UID BINARY.PEEK[1] BINARY.PEEK[3])"] {
        let lines = client.command(&format!("FETCH 1 {item}")).await;
        assert!(lines.len() == 1 && lines[0].starts_with("NO [UNKNOWN-CTE] "), "{item}: {lines:?}");
    }
    world.stop().await;
}

/// RFC 8970: nothing is seen by that, and the text is UTF-8.
#[tokio::test(flavor = "multi_thread")]
async fn previews_are_a_few_words() {
    let world = World::start().await;
    let mut client = with_mixed(&world).await;
    client.append("INBOX", "", &message("x", "> you\r\nI")).await;
    client.append("INBOX", "", "Content-Type: text/html\r\n\r\n<title>T</title><p>One<p>Two\r\n").await;
    client.append("INBOX", "", "Content-Type: image/png\r\n\r\nx").await;
    let lines = client.ok("FETCH 1:4 (PREVIEW (LAZY) FLAGS)").await.join("|");
    let want = "* 1 FETCH (PREVIEW {13}|café au lait FLAGS (\\Recent))|* 2 FETCH (PREVIEW \"I\" FLAGS (\\Recent))|\
                * 3 FETCH (PREVIEW \"One Two\" FLAGS (\\Recent))|* 4 FETCH (PREVIEW \"\" FLAGS (\\Recent))";
    assert_eq!(lines, want);
    world.stop().await;
}

/// Each piece goes on where the one before ended, also when another came in between; one that is larger than a batch is streamed.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_part_is_fetched_in_pieces_and_at_once() {
    let world = World::start().await;
    let mut client = world.client("ann").await;
    let line = "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYmNk\r\n";
    let text = format!("Subject: x\r\nContent-Type: a/b\r\nContent-Transfer-Encoding: base64\r\n\r\n{}", line.repeat(10_000));
    client.append("INBOX", "", &text).await;
    client.ok("SELECT INBOX").await;
    let decoded = format!("{}bcd", "a".repeat(54)).repeat(10_000);
    assert_eq!(client.ok("FETCH 1 BINARY.SIZE[1]").await, [format!("* 1 FETCH (BINARY.SIZE[1] {})", decoded.len())]);
    for _ in 0..2 {
        let whole = client.ok("FETCH 1 BINARY.PEEK[1]").await;
        assert_eq!(whole[0], format!("* 1 FETCH (BINARY[1] {{{}}}", decoded.len()));
        assert!(whole[1] == format!("{decoded})"));
        for (at, length) in [(0, 50_001), (50_001, 50_001), (100_002, 400_000), (30, 40), (500_002, 100_000)] {
            let piece = client.ok(&format!("FETCH 1 BINARY.PEEK[1]<{at}.{length}>")).await;
            let want = &decoded[at..decoded.len().min(at + length)];
            assert!(piece[1] == format!("{want})"), "{at}.{length}");
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_appended_in_octets_can_be_read_by_everybody() {
    let world = World::start().await;
    let mut client = world.client("ann").await;
    let head = "Subject: octets\r\nMIME-Version: 1.0\r\nContent-Type: a/b\r\nContent-Transfer-Encoding: ";
    let append = async |client: &mut Client, text: &str| {
        let lines = client.command(&format!("APPEND INBOX ~{{{}+}}\r\n{text}", text.len())).await;
        lines.last().cloned().unwrap_or_default()
    };
    assert!(append(&mut client, &format!("{head}binary\r\n\r\na\0b\nc\r")).await.starts_with("OK [APPENDUID "));
    client.ok("SELECT INBOX").await;
    assert_eq!(client.ok("FETCH 1 BODY.PEEK[1]").await.join("|"), "* 1 FETCH (BODY[1] {10}|YQBiCmMN|)");
    let structure = client.ok("FETCH 1 BODYSTRUCTURE").await.join("|");
    assert!(structure.contains("\"base64\" 10 "), "{structure}");
    assert_eq!(client.ok("FETCH 1 BINARY.PEEK[1]").await.join("|"), "* 1 FETCH (BINARY[1] ~{6}|a\0b|c\r)");
    // §6: what is lines already is not touched.
    let plain = format!("{head}8bit\r\n\r\n{}\r\n", "é".repeat(2000));
    assert!(append(&mut client, &plain).await.starts_with("OK [APPENDUID "));
    assert_eq!(client.ok("FETCH 2 BODY.PEEK[]").await.join("\r\n"), format!("* 2 FETCH (BODY[] {{{}}}\r\n{plain})", plain.len()));
    // NUL in a header cannot be encoded, and what somebody signed may not be.
    let signed = "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: binary\r\n\r\n\0\r\n--b--\r\n";
    let own = "Content-Transfer-Encoding: x-uuencode\r\n\r\nbegin\0\r\n";
    for bad in ["Subject: a\0b\r\n\r\nx", signed, own] {
        assert!(append(&mut client, bad).await.starts_with("NO [UNKNOWN-CTE] "), "{bad:?}");
    }
    assert_eq!(client.ok("STATUS INBOX (MESSAGES)").await, ["* STATUS INBOX (MESSAGES 2)"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_put_together_of_parts_on_the_server() {
    let world = World::start().await;
    let mut client = with_mixed(&world).await;
    client.ok("CREATE &AOk-t&AOk-").await;
    let catenate = "APPEND &AOk-t&AOk- (\\Seen) CATENATE (URL \"/INBOX/;UID=1/;SECTION=HEADER\" TEXT {0+}\r\n TEXT {5+}\r\n--b\r\n URL {32+}\r\n/INBOX/;UID=1/;section=2.MIME   ";
    // A URL ends where it ends: spaces are none of it.
    let lines = client.command(&format!("{catenate})")).await;
    assert!(lines[0].starts_with("NO [BADURL /INBOX/;UID=1/;section=2.MIME"), "{lines:?}");
    let catenate = catenate.replace("{32+}", "{29+}").replace("MIME   ", "MIME");
    let lines = client.command(&format!("{catenate} URL /INBOX/;UID=1/;SECTION=2 TEXT {{9+}}\r\n\r\n--b--\r\n)")).await;
    assert!(lines[0].starts_with("OK [APPENDUID "), "{lines:?}");
    let header = MIXED.split_once("--b\r\n").unwrap().0;
    let want = format!("{header}--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: BASE64\r\n\r\nYQBi\r\nY2Q=\r\n--b--\r\n");
    // RFC 4469 §3: nothing is seen by that.
    assert_eq!(client.ok("FETCH 1 FLAGS").await, ["* 1 FETCH (FLAGS (\\Recent))"]);
    client.ok("SELECT &AOk-t&AOk-").await;
    assert_eq!(client.ok("FETCH 1 BODY[]").await.join("\r\n"), format!("* 1 FETCH (BODY[] {{{}}}\r\n{want})", want.len()));
    // RFC 5550 §5.7.1, RFC 3502; the open mailbox, and one with a name in UTF-8.
    let lines =
        client.command("APPEND INBOX CATENATE (URL ;UID=1/;PARTIAL=0.16) CATENATE (URL \"/%C3%A9t%C3%A9/;UID=1/;PARTIAL=9.5\")").await;
    assert!(lines[0].starts_with("OK [APPENDUID ") && lines[0].contains(" 2:3]"), "{lines:?}");
    client.ok("SELECT INBOX").await;
    assert_eq!(client.ok("FETCH 2:3 BODY.PEEK[]").await.join("|"), "* 2 FETCH (BODY[] {16}|Subject: parts|)|* 3 FETCH (BODY[] {5}|parts)");
    world.stop().await;
}

/// RFC 4469 §4; SECURITY I12: what is not the user's looks as if it were not there.
#[tokio::test(flavor = "multi_thread")]
async fn urls_that_mean_nothing_are_named() {
    let world = World::with("append_size_limit = \"1K\"").await;
    let mut client = with_mixed(&world).await;
    for url in [
        "/Nowhere/;UID=1",
        "/INBOX/;UID=7",
        "/INBOX;UIDVALIDITY=1/;UID=1",
        "/INBOX/;UID=1/;SECTION=9",
        "/INBOX",
        "imap://ann@localhost/INBOX/;UID=1",
        "/..%2Fbob@example.org/;UID=1",
        "/INBOX/;UID=1;URLAUTH=anonymous:internal:00",
    ] {
        let lines = client.command(&format!("APPEND INBOX CATENATE (URL /INBOX/;UID=1/;PARTIAL=0.5 URL \"{url}\")")).await;
        assert!(lines.len() == 1 && lines[0].starts_with(&format!("NO [BADURL {url}] ")), "{url}: {lines:?}");
    }
    let twice = format!("APPEND INBOX CATENATE (URL /INBOX/;UID=1 URL /INBOX/;UID=1 TEXT {{{}+}}\r\n{})", 300, "x".repeat(300));
    assert!(client.command(&twice).await[0].starts_with("NO [TOOBIG] "));
    assert!(client.command("APPEND INBOX CATENATE (URL /INBOX/;UID=1/;PARTIAL=9999)").await[0].starts_with("NO [CANNOT] "));
    client.ok("CLOSE").await;
    assert!(client.command("APPEND INBOX CATENATE (URL ;UID=1)").await[0].starts_with("NO [BADURL ;UID=1] "));
    assert_eq!(client.ok("STATUS INBOX (MESSAGES)").await, ["* STATUS INBOX (MESSAGES 1)"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_is_replaced() {
    let world = World::start().await;
    let mut client = world.client("ann").await;
    client.ok("CREATE Sent").await;
    for subject in ["one", "two"] {
        client.append("INBOX", "(\\Draft $Label) ", &message(subject, "x")).await;
    }
    client.ok("SELECT INBOX").await;
    let mut watcher = world.client("ann").await;
    watcher.ok("SELECT INBOX").await;
    let text = message("new", "y");
    let lines = client.command(&format!("REPLACE 1 INBOX (\\Seen) {{{}+}}\r\n{text}", text.len())).await;
    assert!(lines[0].starts_with("* OK [APPENDUID ") && lines[0].contains(" 3] "), "{lines:?}");
    assert_eq!(lines[1..], ["* 1 EXPUNGE", "* 2 EXISTS", "OK Replace completed"]);
    assert_eq!(watcher.ok("NOOP").await, ["* 1 EXPUNGE", "* 2 EXISTS"]);
    // Nothing of the old one is inherited.
    assert_eq!(client.ok("FETCH 2 FLAGS").await, ["* 2 FETCH (FLAGS (\\Seen))"]);
    // Into another mailbox, out of the message itself (§4.2).
    let lines = client.command("UID REPLACE 3 Sent (\\Seen) CATENATE (URL ;UID=3/;SECTION=HEADER TEXT {5+}\r\nbye\r\n)").await;
    assert!(lines[0].contains(" 1] ") && lines[1..] == ["* 2 EXPUNGE", "OK Replace completed"], "{lines:?}");
    assert_eq!(client.ok("STATUS Sent (MESSAGES)").await, ["* STATUS Sent (MESSAGES 1)"]);
    // Neither the old nor the new one, but never none.
    for (command, want) in [
        ("REPLACE 9 INBOX {2+}\r\nxy", "BAD "),
        ("UID REPLACE 9 INBOX {2+}\r\nxy", "NO [EXPUNGEISSUED] "),
        ("REPLACE 1 Nowhere {2+}\r\nxy", "NO [TRYCREATE] "),
        ("REPLACE 1 INBOX CATENATE (URL /INBOX/;UID=99)", "NO [BADURL "),
        ("REPLACE 1 INBOX {0+}\r\n", "NO [CANNOT] "),
        ("REPLACE 1 INBOX {2+}\r\nxy z", "BAD "),
    ] {
        let lines = client.command(command).await;
        assert!(lines.len() == 1 && lines[0].starts_with(want), "{command}: {lines:?}");
    }
    assert_eq!(client.ok("UID SEARCH ALL").await, ["* SEARCH 2"]);
    client.ok("EXAMINE INBOX").await;
    assert!(client.command("REPLACE 1 INBOX {2+}\r\nxy").await[0].starts_with("NO [READ-ONLY] "));
    world.stop().await;
}
