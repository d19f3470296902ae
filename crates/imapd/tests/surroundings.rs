//! What is around messages: quota (RFC 9208), annotations (RFC 5464), rights (RFC 4314).

mod common;

use common::{Client, World, message};
use std::path::PathBuf;

#[tokio::test(flavor = "multi_thread")]
async fn rfc9208_quota_is_told_and_holds() {
    let world = World::start().await;
    let mut quinn = world.client("quinn").await;
    assert_eq!(
        quinn.ok("GETQUOTAROOT inbox").await,
        ["* QUOTAROOT INBOX \"User quota\"", "* QUOTA \"User quota\" (STORAGE 0 10 MESSAGE 0 3)"]
    );
    for _ in 0..2 {
        assert!(quinn.append("INBOX", "", &message("one", &"x".repeat(3000))).await.starts_with("OK"));
    }
    assert_eq!(quinn.ok("GETQUOTA \"User quota\"").await, ["* QUOTA \"User quota\" (STORAGE 7 10 MESSAGE 2 3)"]);
    // clients have no grace: by size, by number, by COPY
    let refused = quinn.append("INBOX", "", &message("large", &"x".repeat(5000))).await;
    assert!(refused.starts_with("NO [OVERQUOTA]"), "{refused}");
    quinn.ok("SELECT INBOX").await;
    quinn.ok("CREATE Work").await;
    assert!(quinn.command("COPY 1:2 Work").await.pop().unwrap().starts_with("NO [OVERQUOTA]"));
    assert!(quinn.append("INBOX", "", "Subject: small\r\n\r\nx\r\n").await.starts_with("OK"));
    assert!(quinn.append("INBOX", "", "Subject: fourth\r\n\r\nx\r\n").await.starts_with("NO [OVERQUOTA]"));
    quinn.ok("MOVE 1 Work").await;
    quinn.ok("STORE 1 +FLAGS (\\Deleted)").await;
    let status = quinn.ok("STATUS INBOX (DELETED DELETED-STORAGE)").await;
    let size: u64 =
        status[0].trim_start_matches("* STATUS INBOX (DELETED 1 DELETED-STORAGE ").trim_end_matches(')').parse().expect("a number");
    assert!(size > 3000, "{status:?}");
    quinn.ok("CLOSE").await;
    assert_eq!(quinn.ok("GETQUOTA \"User quota\"").await, ["* QUOTA \"User quota\" (STORAGE 4 10 MESSAGE 2 3)"]);
    // a mailbox need not exist for its quota root
    assert_eq!(quinn.ok("GETQUOTAROOT Nowhere").await[0], "* QUOTAROOT Nowhere \"User quota\"");
    for (command, answer) in [("GETQUOTA other", "NO [NONEXISTENT]"), ("SETQUOTA \"User quota\" (STORAGE 1000)", "NO [NOPERM]")] {
        assert!(quinn.command(command).await.pop().unwrap().starts_with(answer), "{command}");
    }
    // no limit, no root
    let mut ann = world.client("ann").await;
    assert_eq!(ann.ok("GETQUOTAROOT INBOX").await, ["* QUOTAROOT INBOX"]);
    assert!(ann.command("GETQUOTA \"User quota\"").await.pop().unwrap().starts_with("NO [NONEXISTENT]"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rfc5464_annotations_follow_their_mailbox() {
    let settings =
        "mail_server_admin = \"mailto:postmaster@example.org\"\nimap_metadata_max_value_size = 1024\nimap_metadata_max_entries = 10";
    let world = World::with(settings).await;
    let mut ann = world.client("ann").await;
    ann.ok("CREATE Work").await;
    ann.ok("SETMETADATA Work (/private/comment {3+}\r\na\r\n /shared/vendor/x/y \"1\")").await;
    ann.ok("SETMETADATA INBOX (/private/comment \"in\")").await;
    assert_eq!(
        ann.ok("GETMETADATA Work (DEPTH infinity) (/private /shared)").await.join("|"),
        "* METADATA Work (/private/comment {3}|a| /shared/vendor/x/y \"1\")"
    );
    // as by a session that was not there before
    let mut other = world.client("ann").await;
    assert_eq!(other.ok("GETMETADATA (MAXSIZE 2) Work (/private/comment /shared/none)").await, ["* METADATA Work (/shared/none NIL)"]);
    let answer = other.command("GETMETADATA Work (MAXSIZE 2) /private/comment").await;
    assert_eq!(answer, ["OK [METADATA LONGENTRIES 3] Getmetadata completed"]);
    // renamed, copied from INBOX, gone with the mailbox
    ann.ok("RENAME Work Play").await;
    assert_eq!(ann.ok("GETMETADATA Play /shared/vendor/x/y").await, ["* METADATA Play (/shared/vendor/x/y \"1\")"]);
    ann.ok("RENAME INBOX Old").await;
    for mailbox in ["INBOX", "Old"] {
        assert_eq!(
            ann.ok(&format!("GETMETADATA {mailbox} /private/comment")).await,
            [format!("* METADATA {mailbox} (/private/comment \"in\")")]
        );
    }
    ann.ok("DELETE Play").await;
    ann.ok("CREATE Play").await;
    assert_eq!(ann.ok("GETMETADATA Play /private/comment").await, ["* METADATA Play (/private/comment NIL)"]);
    // all or nothing, within limits
    let large = "x".repeat(1025);
    for (command, want) in [
        (format!("SETMETADATA Old (/private/comment \"new\" /private/large \"{large}\")"), "NO [METADATA MAXSIZE 1024]"),
        (format!("SETMETADATA Old ({})", (0..11).map(|n| format!("/private/{n} x")).collect::<Vec<_>>().join(" ")), "BAD"),
        (
            format!("SETMETADATA Old ({})", (0..11).map(|n| format!("/private/{n} \"x\"")).collect::<Vec<_>>().join(" ")),
            "NO [METADATA TOOMANY]",
        ),
        ("SETMETADATA Nowhere (/private/comment \"x\")".into(), "NO [NONEXISTENT]"),
        ("GETMETADATA Nowhere /private/comment".into(), "NO [NONEXISTENT]"),
        ("SETMETADATA \"\" (/shared/admin \"mailto:eve@example.org\")".into(), "NO [NOPERM]"),
        ("SETMETADATA Old (/comment \"x\")".into(), "BAD"),
    ] {
        let answer = ann.command(&command).await.pop().unwrap();
        assert!(answer.starts_with(want), "{command:.60}: {answer}");
    }
    assert_eq!(ann.ok("GETMETADATA Old /private/comment").await, ["* METADATA Old (/private/comment \"in\")"]);
    // the server's
    ann.ok("SETMETADATA \"\" (/private/vendor/x ~{3+}\r\na\0b)").await;
    assert_eq!(
        ann.ok("GETMETADATA \"\" (/shared/admin /private/vendor/x)").await.join("|"),
        "* METADATA \"\" (/shared/admin \"mailto:postmaster@example.org\" /private/vendor/x ~{3}|a\0b)"
    );
    let mut bob = world.client("bob").await;
    assert_eq!(bob.ok("GETMETADATA \"\" /private/vendor/x").await, ["* METADATA \"\" (/private/vendor/x NIL)"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rfc9590_list_tells_annotations() {
    let world = World::start().await;
    let mut ann = world.client("ann").await;
    ann.ok("CREATE Work.One").await;
    ann.ok("SETMETADATA INBOX (/private/color \"red\" /private/comment \"in\")").await;
    assert_eq!(
        ann.ok("LIST \"\" * RETURN (METADATA (/private/color \"/shared/Color\"))").await,
        [
            "* LIST (\\HasNoChildren) \".\" INBOX",
            "* METADATA INBOX (/private/color \"red\" /shared/color NIL)",
            "* LIST (\\NonExistent \\HasChildren) \".\" Work",
            "* LIST (\\HasNoChildren) \".\" Work.One",
            "* METADATA Work.One (/private/color NIL /shared/color NIL)",
        ]
    );
    world.stop().await;
}

/// RFC 9585: once it takes longer than it should.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_told_that_it_goes_on() {
    let world = World::with("imap_progress_interval = \"1ms\"").await;
    let mut ann = world.client("ann").await;
    assert!(ann.ok("CAPABILITY").await[0].contains(" INPROGRESS"));
    for n in 0..50 {
        std::fs::write(world.maildir("ann").join(format!("new/{n}.x.y")), message("x", &"x\r\n".repeat(1000))).unwrap();
    }
    ann.ok("CREATE Work").await;
    ann.ok("SELECT INBOX").await;
    let told = ann.ok("UID COPY 1:* Work").await;
    let (progress, rest): (Vec<_>, Vec<_>) = told.into_iter().partition(|line| line.contains("INPROGRESS"));
    assert!(!progress.is_empty() && progress.iter().all(|line| line.starts_with("* OK [INPROGRESS (\"t5\" NIL NIL)] ")), "{progress:?}");
    assert_eq!(rest, [""; 0]);
    world.stop().await;
    let world = World::with("imap_progress_interval = \"0s\"").await;
    assert!(!world.client("ann").await.ok("CAPABILITY").await[0].contains(" INPROGRESS"));
    world.stop().await;
}

/// A world with the public mailbox `News`, two messages in it, and `ann` having `rights`.
struct Shared {
    world: World,
    acl: PathBuf,
}

impl Shared {
    async fn start() -> Shared {
        Shared::with("").await
    }

    async fn with(settings: &str) -> Shared {
        let world = World::with(&format!("public_mail_location = \"maildir:{{root}}/mail/public\"\n{settings}")).await;
        let root = world.dir.path().join("mail/public");
        let news = root.join(".News");
        for part in ["cur", "new", "tmp"] {
            std::fs::create_dir_all(root.join(part)).expect("maildir");
            std::fs::create_dir_all(news.join(part)).expect("maildir");
        }
        std::fs::write(news.join("maildirfolder"), "").expect("write");
        for n in 1..=2 {
            std::fs::write(news.join("cur").join(format!("{n}.a:2,")), message("news", "x")).expect("write");
        }
        Shared { acl: news.join("dovecot-acl"), world }
    }

    fn grant(&self, rights: &str) {
        std::fs::write(&self.acl, format!("user=ann@example.org {rights}\n")).expect("write");
    }
}

async fn answer(client: &mut Client, command: &str) -> String {
    client.command(command).await.pop().unwrap_or_default()
}

/// RFC 4314 §4: each command with all rights but one. The rights that are needed, and what is done before the right is taken.
#[tokio::test(flavor = "multi_thread")]
async fn rfc4314_4_every_command_asks_for_its_rights() {
    const ALL: &str = "lrswipkxtea";
    let shared = Shared::start().await;
    for (needs, before, command) in [
        ("r", "", "SELECT Public.News"),
        ("r", "", "EXAMINE Public.News"),
        ("r", "", "STATUS Public.News (MESSAGES)"),
        ("r", "", "GETQUOTAROOT Public.News"),
        ("l", "", "SUBSCRIBE Public.News"),
        ("", "", "UNSUBSCRIBE Public.News"),
        ("", "", "LIST \"\" *"),
        ("", "", "LSUB \"\" *"),
        ("k", "", "CREATE Public.News.{n}"),
        ("a", "", "SETACL Public.News bob l"),
        ("a", "", "DELETEACL Public.News bob"),
        ("a", "", "GETACL Public.News"),
        ("a", "", "LISTRIGHTS Public.News bob"),
        ("", "", "MYRIGHTS Public.News"),
        ("i", "", "APPEND Public.News {3+}\r\nx\r\n"),
        ("l", "", "GETMETADATA Public.News /shared/comment"),
        ("l", "", "SETMETADATA Public.News (/shared/comment \"x\")"),
        ("i", "SELECT INBOX", "COPY 1 Public.News"),
        ("", "SELECT Public.News", "FETCH 1 BODY[]"),
        ("", "SELECT Public.News", "STORE 1 FLAGS (\\Seen \\Deleted \\Flagged)"),
        ("s", "SELECT Public.News", "STORE 1 +FLAGS (\\Seen)"),
        ("t", "SELECT Public.News", "STORE 1 +FLAGS (\\Deleted)"),
        ("w", "SELECT Public.News", "STORE 1 +FLAGS (\\Flagged $Work)"),
        ("e", "SELECT Public.News", "EXPUNGE"),
        ("e", "SELECT Public.News", "UID EXPUNGE 999"),
        ("te", "SELECT Public.News", "UID MOVE 999 INBOX"),
        ("", "SELECT Public.News", "CLOSE"),
        ("", "SELECT Public.News", "UNSELECT"),
        ("", "SELECT Public.News", "SEARCH ALL"),
        ("", "SELECT Public.News", "COPY 1 INBOX"),
        ("i", "SELECT INBOX", "REPLACE 1 Public.News {3+}\r\nx\r\n"),
        ("te", "SELECT Public.News", "REPLACE 1 INBOX {3+}\r\nx\r\n"),
    ] {
        for (n, right) in ALL.chars().enumerate() {
            shared.grant(&ALL.replace(right, ""));
            let mut ann = shared.world.client("ann").await;
            assert!(ann.append("INBOX", "", "Subject: x\r\n\r\nx\r\n").await.starts_with("OK"));
            // without `r` there is no selecting it
            if right == 'r' && before.contains("Public") {
                continue;
            }
            if !before.is_empty() {
                ann.ok(before).await;
            }
            let answer = answer(&mut ann, &command.replace("{n}", &n.to_string())).await;
            let want = if needs.contains(right) { "NO [NOPERM]" } else { "OK" };
            assert!(answer.starts_with(want), "{command} without {right}: {answer}");
            let _ = std::fs::remove_dir_all(shared.acl.parent().unwrap().with_file_name(format!(".News.{n}")));
            ann.ok("LOGOUT").await;
        }
    }
    // DELETE and RENAME, which do their work only once
    for right in ALL.chars() {
        shared.grant(&ALL.replace(right, ""));
        let mut ann = shared.world.client("ann").await;
        let mut renamed = answer(&mut ann, "RENAME Public.News Public.Other").await;
        assert!(renamed.starts_with("NO [NOPERM]"), "the top level is nobody's: {renamed}");
        if right != 'k' {
            ann.ok("CREATE Public.News.Sub").await;
            renamed = answer(&mut ann, "RENAME Public.News.Sub Public.News.Moved").await;
            let deleted = answer(&mut ann, "DELETE Public.News.Moved").await;
            let allowed = right != 'x';
            assert_eq!((renamed.starts_with("OK"), deleted.starts_with("OK")), (allowed, allowed), "without {right}: {renamed}, {deleted}");
        }
        let _ = std::fs::remove_dir_all(shared.acl.parent().unwrap().with_file_name(".News.Sub"));
    }
    shared.world.stop().await;
}

/// Without `imap_acl` everybody has all on what is theirs, which the public mailboxes are not.
#[tokio::test(flavor = "multi_thread")]
async fn public_mailboxes_ask_for_rights_whatever_is_set() {
    let shared = Shared::with("imap_acl = false").await;
    let mut ann = shared.world.client("ann").await;
    for (rights, command, want) in [
        ("", "SELECT Public.News", "NO [NONEXISTENT]"),
        ("lr", "SELECT Public.News", "OK [READ-ONLY]"),
        ("lr", "DELETE Public.News", "NO [NOPERM]"),
        ("lr", "CREATE Public.News.Sub", "NO [NOPERM]"),
        ("lr", "CREATE Public.Mine", "NO [NOPERM]"),
        ("lr", "RENAME Public.News Public.Mine", "NO [NOPERM]"),
        ("lr", "CREATE Mine", "OK"),
        ("lr", "RENAME Mine Other", "OK"),
        ("lr", "DELETE Other", "OK"),
    ] {
        shared.grant(rights);
        let answer = answer(&mut ann, command).await;
        assert!(answer.starts_with(want), "{command} with {rights}: {answer}");
    }
    shared.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rfc4314_4_flags_that_may_not_be_set_are_left_out() {
    let shared = Shared::start().await;
    shared.grant("lri");
    let mut ann = shared.world.client("ann").await;
    assert!(ann.append("INBOX", "(\\Seen \\Deleted \\Flagged $Work) ", "Subject: x\r\n\r\nx\r\n").await.starts_with("OK"));
    assert!(ann.append("Public.News", "(\\Seen \\Deleted \\Flagged $Work) ", "Subject: x\r\n\r\nx\r\n").await.starts_with("OK"));
    ann.ok("SELECT INBOX").await;
    ann.ok("COPY 1 Public.News").await;
    assert!(!shared.acl.with_file_name("dovecot-keywords").exists(), "nor have their names a place there");
    let mut selected = ann.command("SELECT Public.News").await;
    assert!(selected.iter().any(|line| line.starts_with("* OK [PERMANENTFLAGS ()]")), "{selected:?}");
    assert!(selected.pop().unwrap().starts_with("OK [READ-WRITE]"));
    for number in 3..=4 {
        let flags = ann.ok(&format!("FETCH {number} FLAGS")).await.pop().unwrap().replace("\\Recent", "");
        assert_eq!(flags, format!("* {number} FETCH (FLAGS ())"));
    }
    // without `s` reading leaves no trace
    ann.ok("FETCH 1 BODY[TEXT]").await;
    assert!(!ann.ok("FETCH 1 FLAGS").await[0].contains("Seen"));
    assert!(answer(&mut ann, "STORE 1 FLAGS ()").await.starts_with("NO [NOPERM]"));
    // with `w` alone, what replaces flags leaves \Seen and \Deleted as they are
    shared.grant("lrw");
    std::fs::rename(shared.acl.with_file_name("cur/1.a:2,"), shared.acl.with_file_name("cur/1.a:2,RST")).unwrap();
    ann.ok("SELECT Public.News").await;
    let told = ann.ok("STORE 1 FLAGS (\\Flagged \\Draft)").await;
    assert!(told.iter().any(|line| line == "* 1 FETCH (FLAGS (\\Flagged \\Deleted \\Seen \\Draft))"), "{told:?}");
    // nothing may be changed: read-only; CLOSE is OK and expunges nothing
    shared.grant("lr");
    assert!(answer(&mut ann, "SELECT Public.News").await.starts_with("OK [READ-ONLY]"));
    ann.ok("CLOSE").await;
    assert_eq!(ann.ok("STATUS Public.News (MESSAGES)").await, ["* STATUS Public.News (MESSAGES 4)"]);
    shared.world.stop().await;
}

/// SECURITY I12: nothing tells a mailbox one may not know of from one that is not there.
#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_known_is_not_there() {
    let shared = Shared::start().await;
    shared.grant("");
    let mut ann = shared.world.client("ann").await;
    for command in [
        "SELECT {m}",
        "EXAMINE {m}",
        "STATUS {m} (MESSAGES)",
        "SUBSCRIBE {m}",
        "DELETE {m}",
        "RENAME {m} Mine",
        "RENAME {m} {m}x",
        "CREATE {m}.Sub",
        "SETACL {m} ann@example.org lr",
        "DELETEACL {m} ann@example.org",
        "GETACL {m}",
        "LISTRIGHTS {m} ann@example.org",
        "MYRIGHTS {m}",
        "GETMETADATA {m} /shared/comment",
        "SETMETADATA {m} (/shared/comment \"x\")",
        "GETQUOTAROOT {m}",
        "APPEND {m} {3+}\r\nx\r\n",
        "LIST \"\" {m}",
        "LIST \"\" {m} RETURN (MYRIGHTS STATUS (MESSAGES))",
        "LSUB \"\" {m}",
    ] {
        let hidden = ann.command(&command.replace("{m}", "Public.News")).await;
        let missing = ann.command(&command.replace("{m}", "Public.None")).await;
        assert_eq!(hidden, missing, "{command}");
        assert!(!hidden.last().unwrap().starts_with("OK") || command.starts_with("L"), "{command}: {hidden:?}");
    }
    assert_eq!(ann.ok("LIST \"\" Pub*").await, Vec::<String>::new());
    shared.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_are_given_taken_and_listed() {
    let shared = Shared::start().await;
    shared.grant("lra");
    let mut ann = shared.world.client("ann").await;
    assert_eq!(ann.ok("NAMESPACE").await, ["* NAMESPACE ((\"\" \".\")) NIL ((\"Public.\" \".\"))"]);
    ann.ok("SETACL Public.News bob@example.org lrk").await;
    ann.ok("SETACL Public.News bob@example.org +s").await;
    ann.ok("SETACL Public.News -$friends w").await;
    ann.ok("SETACL Public.News anyone l").await;
    ann.ok("SETACL Public.News anyone -l").await;
    assert_eq!(ann.ok("GETACL Public.News").await, ["* ACL Public.News ann@example.org lra bob@example.org lrskc -$friends w"]);
    assert!(answer(&mut ann, "SETACL Public.News bob@example.org lry").await.starts_with("BAD"));
    assert!(answer(&mut ann, "SETACL Public.News \"user=x\ny\" l").await.starts_with("BAD"));
    let mut bob = shared.world.client("bob").await;
    assert_eq!(bob.ok("MYRIGHTS Public.News").await, ["* MYRIGHTS Public.News lrskc"]);
    // a new mailbox has the rights of the one above it
    bob.ok("CREATE Public.News.Sub").await;
    assert_eq!(bob.ok("MYRIGHTS Public.News.Sub").await, ["* MYRIGHTS Public.News.Sub lrskc"]);
    assert_eq!(
        bob.ok("LIST \"\" Public.* RETURN (MYRIGHTS)").await,
        [
            "* LIST (\\HasChildren) \".\" Public.News",
            "* MYRIGHTS Public.News lrskc",
            "* LIST (\\HasNoChildren) \".\" Public.News.Sub",
            "* MYRIGHTS Public.News.Sub lrskc"
        ]
    );
    ann.ok("DELETEACL Public.News bob@example.org").await;
    assert!(answer(&mut bob, "SELECT Public.News").await.starts_with("NO [NONEXISTENT]"));
    assert_eq!(bob.ok("LIST \"\" Public*").await[0], "* LIST (\\Noselect \\HasChildren) \".\" Public");
    // one's own mailboxes: everything, and what one takes from oneself
    assert_eq!(bob.ok("MYRIGHTS INBOX").await, ["* MYRIGHTS INBOX lrswipkxteacd"]);
    assert_eq!(bob.ok("GETACL INBOX").await, ["* ACL INBOX bob@example.org lrswipkxteacd"]);
    assert_eq!(bob.ok("LISTRIGHTS INBOX bob@example.org").await, ["* LISTRIGHTS INBOX bob@example.org a l r s w i p k x t e c d"]);
    assert_eq!(bob.ok("LISTRIGHTS INBOX ann@example.org").await, ["* LISTRIGHTS INBOX ann@example.org \"\" l r s w i p k x t e a c d"]);
    bob.ok("CREATE Safe").await;
    bob.ok("SETACL Safe bob@example.org -xte").await;
    assert_eq!(bob.ok("MYRIGHTS Safe").await, ["* MYRIGHTS Safe lrswipkac"]);
    assert!(answer(&mut bob, "DELETE Safe").await.starts_with("NO [NOPERM]"));
    bob.ok("DELETEACL Safe owner").await;
    bob.ok("DELETE Safe").await;
    shared.world.stop().await;
}
