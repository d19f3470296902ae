//! Weak hashes are replaced when their user logs in.

use super::*;
use apps::sql;

const WEAK: &str = "{SSHA}jTJk90mUoWBSlOaeNUZpTTa+jilt+9oH";

async fn scheme(accounts: &AccountsClient) -> String {
    accounts.mailboxes(Some("ann@x.org")).await.expect("list")[0].scheme.clone()
}

async fn with_weak_hash(settings: &str) -> (Running, AuthClient, AccountsClient) {
    with_hash(WEAK, settings).await
}

async fn with_hash(hash: &str, settings: &str) -> (Running, AuthClient, AccountsClient) {
    let authd = Running::start(settings).await;
    let (client, accounts) = (authd.auth(), AccountsClient::new(authd.socket("accounts")));
    add_ann(&accounts, "secret").await;
    let change = Request::MailboxChange {
        address: "ann@x.org".into(),
        password: Some(NewPassword::hashed(hash)),
        name: None,
        quota_bytes: None,
        active: None,
        services: Services::default(),
    };
    accounts.ask(change).await.expect("changed");
    (authd, client, accounts)
}

#[tokio::test]
async fn a_weak_hash_is_another_one_after_a_login() {
    let (authd, client, accounts) = with_weak_hash("auth_upgrade_scheme = \"SHA512-CRYPT\"\n").await;
    assert_eq!(word(&verdict(&client, "ann@x.org", "wrong").await), "refused");
    assert_eq!(scheme(&accounts).await, "SSHA");
    assert_eq!(word(&verdict(&client, "ann@x.org", "clé 42").await), "ann@x.org");
    while scheme(&accounts).await != "SHA512-CRYPT" {
        tokio::task::yield_now().await;
    }
    assert_eq!(word(&verdict(&client, "ann@x.org", "clé 42").await), "ann@x.org");
    assert_eq!(word(&verdict(&client, "ann@x.org", "wrong").await), "refused");
    authd.stop().await;
}

#[tokio::test]
async fn what_is_right_by_half_does_not_become_the_password() {
    for (hash, other, password) in [
        // Another device sends the same letters in other bytes: SASLprep makes them the same, a hash does not.
        (WEAK, "cle\u{301} 42", "clé 42"),
        (WEAK, "clé\u{a0}42", "clé 42"),
        // DES looks at eight characters, and at seven bits of each.
        ("{DES-CRYPT}abk785Uy2EHss", "passw0rd and more", "passw0rd"),
        ("{DES-CRYPT}abk785Uy2EHss", "passw0r\u{4e2d}", "passw0rd"),
    ] {
        // Nothing is remembered: each login may replace the hash.
        let settings = "auth_penalty_after = 1000\nauth_cache_entries = 0\nauth_upgrade_scheme = \"SHA512-CRYPT\"\n";
        let (authd, client, accounts) = with_hash(hash, settings).await;
        assert_eq!(word(&verdict(&client, "ann@x.org", other).await), "ann@x.org", "{other}");
        while scheme(&accounts).await != "SHA512-CRYPT" {
            assert_eq!(word(&verdict(&client, "ann@x.org", password).await), "ann@x.org", "after {other}");
        }
        assert_eq!(word(&verdict(&client, "ann@x.org", password).await), "ann@x.org", "{other}");
        authd.stop().await;
    }
}

#[tokio::test]
async fn what_cannot_be_replaced_lets_in_all_the_same() {
    let (authd, client, accounts) = with_weak_hash("auth_upgrade_scheme = \"SHA512-CRYPT\"\n").await;
    sql(authd.dir.path(), "CREATE TRIGGER never BEFORE UPDATE OF password ON mailbox BEGIN SELECT RAISE(ABORT, 'not now'); END").await;
    for password in ["clé 42", "clé 42"] {
        assert_eq!(word(&verdict(&client, "ann@x.org", password).await), "ann@x.org");
    }
    assert_eq!(scheme(&accounts).await, "SSHA");
    authd.stop().await;
}

#[tokio::test]
async fn without_the_setting_hashes_stay() {
    let (authd, client, accounts) = with_weak_hash("").await;
    assert_eq!(word(&verdict(&client, "ann@x.org", "clé 42").await), "ann@x.org");
    assert_eq!(scheme(&accounts).await, "SSHA");
    authd.stop().await;
    let wrong = Running::start("auth_upgrade_scheme = \"MD5-CRYPT\"\n").await;
    let error = wrong.task.await.expect("task").expect_err("a scheme that is not made");
    assert!(format!("{error:#}").contains("auth_upgrade_scheme"), "{error:#}");
}
