//! What is remembered of logins, and for how long it counts.

use super::*;
use apps::sql;

fn mailbox(user: &str) -> Request {
    let password = NewPassword::plain("secret");
    Request::MailboxAdd { address: user.into(), password, name: String::new(), quota_bytes: 0 }
}

#[tokio::test]
async fn a_login_that_is_remembered_ends_with_its_password_or_its_account() {
    // That somebody was not there a moment ago is remembered otherwise.
    let authd = Running::start("auth_penalty_after = 1000\nauth_cache_negative_ttl = \"0s\"\n").await;
    let (client, accounts) = (authd.auth(), AccountsClient::new(authd.socket("accounts")));
    add_ann(&accounts, "secret").await;
    let dir = authd.dir.path();
    let works = async || {
        // The second one is remembered.
        verdict(&client, "ann@x.org", "secret").await.ok();
        verdict(&client, "ann@x.org", "secret").await.is_ok()
    };
    // As PostfixAdmin writes, without a word to us.
    for (off, on) in [
        ("UPDATE mailbox SET active = 0", "UPDATE mailbox SET active = 1"),
        ("UPDATE domain SET active = 0", "UPDATE domain SET active = 1"),
        ("UPDATE mailbox SET imap_active = 0", "UPDATE mailbox SET imap_active = 1"),
        ("UPDATE mailbox SET password = '{PLAIN}other'", "UPDATE mailbox SET password = '{PLAIN}secret'"),
        ("UPDATE mailbox SET password = ''", "UPDATE mailbox SET password = '{PLAIN}secret'"),
    ] {
        assert!(works().await, "before {off}");
        sql(dir, off).await;
        assert_eq!(word(&verdict(&client, "ann@x.org", "secret").await), "refused", "{off}");
        sql(dir, on).await;
    }
    assert!(works().await);
    accounts.ask(Request::MailboxDelete { address: "ann@x.org".into() }).await.expect("deleted");
    assert_eq!(word(&verdict(&client, "ann@x.org", "secret").await), "refused");
    authd.stop().await;
}

#[tokio::test]
async fn who_was_not_there_logs_in_as_soon_as_our_tools_add_them_and_soon_when_others_do() {
    let authd = Running::start("auth_penalty_after = 1000\nauth_cache_negative_ttl = \"1h\"\n").await;
    let (client, accounts) = (authd.auth(), AccountsClient::new(authd.socket("accounts")));
    add_ann(&accounts, "secret").await;
    let dir = authd.dir.path();
    assert_eq!(word(&verdict(&client, "bob@x.org", "secret").await), "refused");
    assert_eq!(word(&verdict(&client, "bob@x.org", "secret").await), "refused");
    accounts.ask(mailbox("bob@x.org")).await.expect("added");
    assert_eq!(word(&verdict(&client, "bob@x.org", "secret").await), "bob@x.org");

    assert_eq!(word(&verdict(&client, "cat@x.org", "secret").await), "refused");
    let copy = "INSERT INTO mailbox (username, password, maildir, local_part, domain)
         SELECT 'cat@x.org', '{PLAIN}secret', 'cat/', 'cat', domain FROM mailbox WHERE username = 'bob@x.org'";
    sql(dir, copy).await;
    assert_eq!(word(&verdict(&client, "cat@x.org", "secret").await), "refused", "it is remembered that cat is not there");
    // Deliveries do not take the cache's word for it.
    let found = UserdbClient::new(authd.socket("userdb")).ask("cat@x.org", "lmtp").await.expect("an answer");
    assert!(found.is_some());
    let dir = authd.stop().await;

    let authd = Running::start_in(dir, "auth_penalty_after = 1000\nauth_cache_negative_ttl = \"1s\"\n").await;
    let client = authd.auth();
    assert_eq!(word(&verdict(&client, "dan@x.org", "secret").await), "refused");
    sql(
        authd.dir.path(),
        "INSERT INTO mailbox (username, password, maildir, local_part, domain) VALUES ('dan@x.org', '{PLAIN}secret', 'd/', 'dan', 'x.org')",
    )
    .await;
    while word(&verdict(&client, "dan@x.org", "secret").await) != "dan@x.org" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    authd.stop().await;
}
