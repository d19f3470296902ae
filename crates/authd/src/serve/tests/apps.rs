//! Passwords for apps, services that are switched off, second factors.

use super::*;
use crate::accounts::{Accounts, Source};
use sqlx::Executor;
use sqlx::sqlite::SqlitePool;

pub(super) async fn sql(dir: &Path, statement: &'static str) {
    let file = dir.join("accounts.sqlite");
    let pool = SqlitePool::connect(&format!("sqlite:{}", file.display())).await.expect("opens");
    pool.execute(statement).await.expect(statement);
    pool.close().await;
}

fn login_for(service: &'static str, user: &str, password: &str) -> AuthRequest {
    AuthRequest { service, ..login(user, password) }
}

async fn word_for(client: &AuthClient, service: &'static str, user: &str, password: &str) -> String {
    word(&client.login(login_for(service, user, password)).await.map(|ok| ok.user)).to_owned()
}

fn change(services: Services) -> Request {
    Request::MailboxChange { address: "ann@x.org".into(), password: None, name: None, quota_bytes: None, active: None, services }
}

#[tokio::test]
async fn an_app_password_serves_beside_the_own_one_until_it_is_deleted() {
    let authd = Running::start("").await;
    let (client, accounts) = (authd.auth(), AccountsClient::new(authd.socket("accounts")));
    add_ann(&accounts, "own secret").await;
    let add = |note: &str, password: &str| {
        let hash = passwords::hash("SSHA512", password, None).expect("hashed");
        Request::AppPasswordAdd { address: "Ann@x.org".into(), note: note.into(), password: NewPassword::hashed(hash) }
    };
    accounts.ask(add("phone", "phone secret")).await.expect("added");
    accounts.ask(add("printer", "printer secret")).await.expect("added");
    let unknown = Request::AppPasswordAdd { address: "no@x.org".into(), note: String::new(), password: NewPassword::plain("x") };
    assert!(matches!(accounts.ask(unknown).await, Err(AccountsError::Refused(_))));
    for service in ["imap", "pop3", "smtp"] {
        for (password, want) in
            [("own secret", "ann@x.org"), ("phone secret", "ann@x.org"), ("printer secret", "ann@x.org"), ("other", "refused")]
        {
            assert_eq!(word_for(&client, service, "ann@x.org", password).await, want, "{service} {password}");
        }
    }
    // When it was used is kept in a task of its own.
    let used = async || accounts.app_passwords(Some("ann@x.org")).await.expect("list");
    while used().await.iter().any(|row| row.last_used.is_none()) {
        tokio::task::yield_now().await;
    }
    let rows = used().await;
    assert_eq!(
        rows.iter().map(|row| (row.note.as_str(), row.remote.as_str())).collect::<Vec<_>>(),
        [("phone", "192.0.2.1"), ("printer", "192.0.2.1")]
    );
    accounts.ask(Request::AppPasswordDelete { address: "ann@x.org".into(), id: rows[0].id }).await.expect("deleted");
    let again = Request::AppPasswordDelete { address: "ann@x.org".into(), id: rows[0].id };
    assert!(matches!(accounts.ask(again).await, Err(AccountsError::Refused(_))));
    let others = Request::AppPasswordDelete { address: "bob@x.org".into(), id: rows[1].id };
    assert!(matches!(accounts.ask(others).await, Err(AccountsError::Refused(_))));
    assert_eq!(word_for(&client, "imap", "ann@x.org", "phone secret").await, "refused");
    assert_eq!(word_for(&client, "imap", "ann@x.org", "printer secret").await, "ann@x.org");
    // They go with the mailbox, and do not come back with one of its name.
    accounts.ask(Request::MailboxDelete { address: "ann@x.org".into() }).await.expect("deleted");
    let mailbox =
        Request::MailboxAdd { address: "ann@x.org".into(), password: NewPassword::plain("new"), name: String::new(), quota_bytes: 0 };
    accounts.ask(mailbox).await.expect("mailbox");
    assert_eq!(word_for(&client, "imap", "ann@x.org", "printer secret").await, "refused");
    authd.stop().await;
}

#[tokio::test]
async fn an_app_password_that_nobody_can_use_is_none() {
    let authd = Running::start("auth_penalty_after = 1000\n").await;
    let (client, accounts) = (authd.auth(), AccountsClient::new(authd.socket("accounts")));
    add_ann(&accounts, "own secret").await;
    // As somebody else's program would write it.
    sql(authd.dir.path(), "INSERT INTO mailbox_app_password (username, password_hash) VALUES ('ann@x.org', '{NOSUCH}x')").await;
    for (password, want) in [("own secret", "ann@x.org"), ("wrong", "refused"), ("x", "refused")] {
        assert_eq!(word_for(&client, "imap", "ann@x.org", password).await, want, "{password}");
    }
    // The mailbox's own may be what was given.
    let phone = NewPassword::hashed("{PLAIN}phone secret");
    let add = Request::AppPasswordAdd { address: "ann@x.org".into(), note: String::new(), password: phone };
    accounts.ask(add).await.expect("added");
    sql(authd.dir.path(), "UPDATE mailbox SET password = '{NOSUCH}x'").await;
    for (password, want) in [("phone secret", "ann@x.org"), ("wrong", "temporary")] {
        assert_eq!(word_for(&client, "imap", "ann@x.org", password).await, want, "{password}");
    }
    authd.stop().await;
}

#[tokio::test]
async fn a_service_that_is_switched_off_ends_at_once_and_alone() {
    let authd = Running::start("").await;
    let (client, accounts) = (authd.auth(), AccountsClient::new(authd.socket("accounts")));
    add_ann(&accounts, "secret").await;
    let all = async || {
        let mut words = Vec::new();
        for service in ["smtp", "submission", "imap", "pop3"] {
            words.push(word_for(&client, service, "ann@x.org", "secret").await == "ann@x.org");
        }
        words
    };
    assert_eq!(all().await, [true; 4]);
    accounts.ask(change(Services { smtp: Some(false), ..Services::default() })).await.expect("changed");
    assert_eq!(all().await, [false, false, true, true]);
    accounts.ask(change(Services { pop3: Some(false), ..Services::default() })).await.expect("changed");
    assert_eq!(all().await, [false, false, true, false]);
    assert_eq!(accounts.mailboxes(None).await.expect("list")[0].off, ["smtp", "pop3"]);
    // As somebody else's program would write it.
    sql(authd.dir.path(), "UPDATE mailbox SET imap_active = 0").await;
    assert_eq!(all().await, [false; 4]);
    accounts.ask(change(Services { smtp: Some(true), imap: Some(true), pop3: Some(true) })).await.expect("changed");
    assert_eq!(all().await, [true; 4]);
    authd.stop().await;
}

#[tokio::test]
async fn with_a_second_factor_only_app_passwords_do_unless_the_address_is_excepted() {
    let dir = Arc::new(tempfile::tempdir().expect("directory"));
    // As PostfixAdmin has them since 3.4.
    let file = Source::Own(dir.path().join("accounts.sqlite"));
    Accounts::open(&file).await.expect("made").close().await;
    sql(dir.path(), "ALTER TABLE mailbox ADD COLUMN totp_secret VARCHAR(255) DEFAULT NULL").await;
    sql(
        dir.path(),
        "CREATE TABLE totp_exception_address (id INTEGER PRIMARY KEY, ip VARCHAR(46) NOT NULL, username VARCHAR(255), description VARCHAR(255))",
    )
    .await;
    let authd = Running::start_in(dir, "auth_penalty_after = 1000\nauth_mechanisms = [\"plain\", \"scram-sha-256\"]\n").await;
    let (client, accounts) = (authd.auth(), AccountsClient::new(authd.socket("accounts")));
    add_ann(&accounts, "own secret").await;
    let hash = NewPassword::hashed("{PLAIN}phone secret");
    let add = Request::AppPasswordAdd { address: "ann@x.org".into(), note: String::new(), password: hash };
    accounts.ask(add).await.expect("added");
    let from = async |ip: &str, password: &str| {
        let remote = Some((ip.parse::<std::net::IpAddr>().expect("address"), 1000).into());
        let request = AuthRequest { remote, ..login("ann@x.org", password) };
        word(&client.login(request).await.map(|ok| ok.user)).to_owned()
    };
    assert_eq!(from("192.0.2.7", "own secret").await, "ann@x.org");
    // What was right a moment ago is of no use any more.
    sql(authd.dir.path(), "UPDATE mailbox SET totp_secret = 'JBSWY3DPEHPK3PXP'").await;
    assert_eq!(from("192.0.2.7", "own secret").await, "refused");
    assert_eq!(from("192.0.2.7", "phone secret").await, "ann@x.org");
    sql(
        authd.dir.path(),
        "INSERT INTO totp_exception_address (ip, username) VALUES ('192.0.2.7', 'ann@x.org'), ('192.0.2.8', 'x.org'), ('192.0.2.9', NULL),
           ('2001:DB8:0:0::1', '@x.org'), ('192.0.2.10', 'bob@x.org'), ('192.0.2.11', 'y.org')",
    )
    .await;
    for (ip, want) in [
        ("192.0.2.7", "ann@x.org"),
        ("192.0.2.8", "ann@x.org"),
        ("192.0.2.9", "ann@x.org"),
        ("2001:db8::1", "ann@x.org"),
        ("192.0.2.10", "refused"),
        ("192.0.2.11", "refused"),
        ("192.0.2.12", "refused"),
    ] {
        assert_eq!(from(ip, "own secret").await, want, "{ip}");
        assert_eq!(from(ip, "phone secret").await, "ann@x.org", "{ip}");
        assert_eq!(from(ip, "wrong").await, "refused", "{ip}");
    }
    // SCRAM knows the mailbox's own password only, and is no way around.
    sql(authd.dir.path(), "UPDATE mailbox SET password = '{PLAIN}own secret'").await;
    for (ip, want) in [([192, 0, 2, 7], "ann@x.org"), ([192, 0, 2, 12], "refused")] {
        let request = AuthRequest { remote: Some((ip, 1000).into()), ..mechanisms::begin("SCRAM-SHA-256") };
        assert_eq!(word(&mechanisms::log_in_with(&client, request, "ann@x.org", "own secret").await), want, "{ip:?}");
    }
    authd.stop().await;
}
