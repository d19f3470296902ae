//! Mailboxes of other users (RFC 2342, RFC 4314): ann shares, bob reads.

mod common;

use common::{Client, World, message};

const SHARED: &str = "shared_mailbox_prefix = \"Other Users\"";

/// What a LIST of everything names below the prefix.
async fn listed(client: &mut Client) -> Vec<String> {
    let lines = client.ok("LIST \"\" \"Other Users.*\"").await;
    let mut names: Vec<String> = lines
        .iter()
        .filter(|line| !line.contains("Noselect"))
        .filter_map(|line| line.split("\".\" ").nth(1))
        .map(|name| name.trim_matches('"').to_owned())
        .collect();
    names.sort();
    names
}

/// Waits for the list that is made anew beside the commands.
async fn wait_for(client: &mut Client, want: &[&str]) {
    let end = std::time::Instant::now() + common::PATIENCE;
    while listed(client).await != want {
        assert!(std::time::Instant::now() < end, "{:?}", listed(client).await);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

async fn code(client: &mut Client, command: &str) -> String {
    client.command(command).await.pop().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shared_is_listed_read_and_changed_as_far_as_the_rights_go() {
    let world = World::with(SHARED).await;
    let (mut ann, mut bob) = (world.client("ann").await, world.client("bob").await);
    assert_eq!(ann.ok("NAMESPACE").await, ["* NAMESPACE ((\"\" \".\")) ((\"Other Users.\" \".\")) NIL"]);
    for name in ["Team", "Team.Old", "Private"] {
        ann.ok(&format!("CREATE {name}")).await;
    }
    for mailbox in ["INBOX", "Team", "Private"] {
        ann.append(mailbox, "", &message(mailbox, "x")).await;
    }
    // nobody has shared anything, and the list of that is made
    wait_for(&mut bob, &[]).await;
    ann.ok("SETACL Team bob@example.org lrs").await;
    ann.ok("SETACL INBOX bob@example.org l").await;
    wait_for(&mut bob, &["Other Users.ann.INBOX", "Other Users.ann.Team"]).await;
    for (command, want) in [
        ("SELECT \"Other Users.ann.Private\"", "NO [NONEXISTENT]"),
        ("SELECT \"Other Users.ann.INBOX\"", "NO [NOPERM]"),
        ("SELECT \"Other Users.ann\"", "NO [NONEXISTENT]"),
        ("SELECT \"Other Users.quinn.INBOX\"", "NO [NONEXISTENT]"),
        ("SELECT \"Other Users\"", "NO [NONEXISTENT]"),
        ("CREATE \"Other Users.ann.Mine\"", "NO [NOPERM]"),
        ("CREATE \"Other Users.ann.Team.Mine\"", "NO [NOPERM]"),
        ("DELETE \"Other Users.ann.Team\"", "NO [NOPERM]"),
        ("DELETE \"Other Users.ann.INBOX\"", "NO [NOPERM]"),
        ("RENAME \"Other Users.ann.Team\" Mine", "NO [CANNOT]"),
        ("SETACL \"Other Users.ann.Team\" bob@example.org lrswipkxtea", "NO [NOPERM]"),
        ("MYRIGHTS \"Other Users.ann.Team\"", "OK"),
        ("STATUS \"Other Users.ann.Team\" (MESSAGES)", "OK"),
        ("SUBSCRIBE \"Other Users.ann.Team\"", "OK"),
    ] {
        let answer = code(&mut bob, command).await;
        assert!(answer.contains(want), "{command}: {answer}");
    }
    bob.ok("SELECT \"Other Users.ann.Team\"").await;
    assert!(bob.ok("FETCH 1 BODY[]").await.join("|").contains("Subject: Team"));
    // both see what the other does
    ann.ok("SELECT Team").await;
    assert!(ann.ok("FETCH 1 FLAGS").await.join("|").contains("\\Seen"));
    ann.append("Team", "", &message("two", "x")).await;
    assert!(bob.ok("NOOP").await.contains(&"* 2 EXISTS".to_owned()));
    assert!(bob.ok("COPY 2 INBOX").await.is_empty());
    // taken back: at once, whatever the list of owners still says
    ann.ok("DELETEACL Team bob@example.org").await;
    ann.ok("DELETEACL INBOX bob@example.org").await;
    assert_eq!(listed(&mut bob).await, Vec::<String>::new());
    assert!(code(&mut bob, "SELECT \"Other Users.ann.Team\"").await.contains("NONEXISTENT"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_to_administer_is_shared_too() {
    let world = World::with(SHARED).await;
    let (mut ann, mut bob, mut quinn) = (world.client("ann").await, world.client("bob").await, world.client("quinn").await);
    ann.ok("CREATE Team").await;
    wait_for(&mut bob, &[]).await;
    ann.ok("SETACL Team bob@example.org lrika").await;
    wait_for(&mut bob, &["Other Users.ann.Team"]).await;
    bob.ok("SETACL \"Other Users.ann.Team\" quinn@example.org lr").await;
    wait_for(&mut quinn, &["Other Users.ann.Team"]).await;
    assert!(bob.ok("GETACL \"Other Users.ann.Team\"").await[0].contains("ann@example.org"));
    // a mailbox below is for the same people, and counts in its owner's quota
    bob.ok("CREATE \"Other Users.ann.Team.Sub\"").await;
    bob.append("\"Other Users.ann.Team.Sub\"", "", &message("x", "x")).await;
    wait_for(&mut quinn, &["Other Users.ann.Team", "Other Users.ann.Team.Sub"]).await;
    assert!(world.maildir("ann").join(".Team.Sub/cur").is_dir());
    assert_eq!(bob.ok("GETQUOTAROOT \"Other Users.ann.Team\"").await, ["* QUOTAROOT \"Other Users.ann.Team\""]);
}

/// Lists that Dovecot or a person wrote, and a list of owners that is lost, are found by looking into the accounts.
#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_owners_is_made_anew_when_it_is_lost() {
    let world = World::with(SHARED).await;
    world.drop_mail("ann", "1.x.host", &message("x", "x"));
    for part in ["cur", "new", "tmp"] {
        std::fs::create_dir_all(world.maildir("ann").join(".Team").join(part)).unwrap();
    }
    std::fs::write(world.maildir("ann").join(".Team/dovecot-acl"), "anyone lr\n").unwrap();
    let mut bob = world.client("bob").await;
    wait_for(&mut bob, &["Other Users.ann.Team"]).await;
    // nobody's own mailboxes are shared with oneself, and nobody's Maildir was made for it
    assert_eq!(listed(&mut world.client("ann").await).await, Vec::<String>::new());
    assert!(!world.maildir("quinn").exists());
    std::fs::remove_file(world.dir.path().join("mail/.facteur-shared/owners")).unwrap();
    assert_eq!(listed(&mut bob).await, ["Other Users.ann.Team"], "what was known stays known");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_setting_the_name_is_as_any_other() {
    let world = World::start().await;
    let mut ann = world.client("ann").await;
    ann.ok("CREATE \"Other Users.bob\"").await;
    assert_eq!(ann.ok("NAMESPACE").await, ["* NAMESPACE ((\"\" \".\")) NIL NIL"]);
    ann.ok("SETACL INBOX bob@example.org lr").await;
    assert!(!world.dir.path().join("mail/.facteur-shared").exists());
}
