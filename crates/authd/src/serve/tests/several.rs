//! Several passdbs: deny lists, master users, one after the other.

use super::*;

async fn start(settings: &str, files: &[(&str, &str)]) -> Running {
    let dir = Arc::new(tempfile::tempdir().expect("directory"));
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).expect("write");
    }
    Running::start_in(dir, &format!("auth_penalty_after = 1000\n{settings}[[authd.userdb]]\ndriver = \"static\"\n")).await
}

fn file(name: &str, more: &str) -> String {
    format!("[[authd.passdb]]\ndriver = \"passwd-file\"\nargs = \"{name}\"\n{more}\n")
}

#[tokio::test]
async fn a_deny_list_refuses_whatever_others_say() {
    let settings = file("denied", "deny = true") + &file("users", "");
    let authd = start(&settings, &[("denied", "eve@x.org:\n"), ("users", "ann@x.org:{PLAIN}a\neve@x.org:{PLAIN}e\n")]).await;
    let client = authd.auth();
    assert_eq!(word(&verdict(&client, "ann", "a").await), "ann@x.org");
    assert_eq!(word(&verdict(&client, "eve", "e").await), "refused");
    authd.stop().await;
}

#[tokio::test]
async fn other_letters_are_no_way_around_a_deny_list() {
    let list =
        "driver = sqlite\nconnect = list.sqlite\npassword_query = SELECT name AS user, 'x' AS password FROM list WHERE name = '%u'\n";
    let users = "driver = sqlite\nconnect = list.sqlite\ndefault_pass_scheme = PLAIN\n\
                 password_query = SELECT %s password FROM users WHERE name = '%u' COLLATE NOCASE\n";
    let query = |name: &str, more: &str| format!("[[authd.passdb]]\ndriver = \"sql\"\nargs = \"{name}\"\n{more}\n");
    let denied = [file("denied", "deny = true"), query("list.ext", "deny = true")];
    for (deny, select) in denied.iter().flat_map(|deny| [(deny, ""), (deny, "name AS user,")]) {
        let dir = Arc::new(tempfile::tempdir().expect("directory"));
        let users = users.replace("%s", select);
        for (name, text) in [("denied", "Eve@x.org:\n"), ("list.ext", list), ("users.ext", &users)] {
            std::fs::write(dir.path().join(name), text).expect("write");
        }
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.path().join("list.sqlite")).create_if_missing(true);
        let pool = sqlx::sqlite::SqlitePool::connect_with(options).await.expect("opens");
        for statement in [
            "CREATE TABLE list (name TEXT)",
            "INSERT INTO list VALUES ('eve@x.org')",
            "CREATE TABLE users (name TEXT, password TEXT)",
            "INSERT INTO users VALUES ('eve@x.org', 'e'), ('ann@x.org', 'a')",
        ] {
            sqlx::query(statement).execute(&pool).await.expect(statement);
        }
        pool.close().await;
        let mechanisms = "auth_penalty_after = 1000\nauth_username_format = \"%u\"\nauth_mechanisms = [\"plain\", \"cram-md5\"]\n";
        let settings = format!("{mechanisms}{deny}{}[[authd.userdb]]\ndriver = \"static\"\n", query("users.ext", ""));
        let authd = Running::start_in(dir, &settings).await;
        let client = authd.auth();
        for (user, password, want) in
            [("eve@x.org", "e", false), ("EVE@x.org", "e", false), ("Eve@X.org", "e", false), ("Ann@x.org", "a", true)]
        {
            assert_eq!(verdict(&client, user, password).await.is_ok(), want, "{user} {deny}");
            assert_eq!(mechanisms::log_in(&client, "CRAM-MD5", user, password).await.is_ok(), want, "{user} {deny}");
        }
        authd.stop().await;
    }
    // Nor is a name that a query makes another one's.
    let dir = Arc::new(tempfile::tempdir().expect("directory"));
    let other = "driver = sqlite\nconnect = none.sqlite\npassword_query = SELECT 'eve@x.org' AS user, 'e' AS password\ndefault_pass_scheme = PLAIN\n";
    for (name, text) in [("denied", "eve@x.org:\n"), ("users.ext", other)] {
        std::fs::write(dir.path().join(name), text).expect("write");
    }
    std::fs::write(dir.path().join("none.sqlite"), "").expect("write");
    let mechanisms = "auth_mechanisms = [\"plain\", \"cram-md5\"]\n";
    let settings = format!("{mechanisms}{}{}[[authd.userdb]]\ndriver = \"static\"\n", denied[0], query("users.ext", ""));
    let authd = Running::start_in(dir, &settings).await;
    let client = authd.auth();
    assert_eq!(word(&verdict(&client, "mallory@x.org", "e").await), "refused");
    assert_eq!(word(&mechanisms::log_in(&client, "CRAM-MD5", "mallory@x.org", "e").await), "refused");
    authd.stop().await;
}

#[tokio::test]
async fn a_wrong_password_in_one_passdb_may_be_right_in_the_next() {
    let files = [("first", "ann@x.org:{PLAIN}one\n"), ("second", "ann@x.org:{PLAIN}two\nbob@x.org:{PLAIN}b\n")];
    let authd = start(&(file("first", "") + &file("second", "")), &files).await;
    let client = authd.auth();
    for (user, password, want) in [
        ("ann", "one", "ann@x.org"),
        ("ann", "two", "ann@x.org"),
        ("bob", "b", "bob@x.org"),
        ("ann", "three", "refused"),
        ("eve", "b", "refused"),
    ] {
        assert_eq!(word(&verdict(&client, user, password).await), want, "{user} {password}");
    }
    authd.stop().await;
    let authd = start(&(file("first", "result_failure = \"return-fail\"") + &file("second", "")), &files).await;
    assert_eq!(word(&verdict(&authd.auth(), "ann", "two").await), "refused");
    authd.stop().await;
}

#[tokio::test]
async fn a_master_user_logs_in_as_those_who_are_there_and_as_nobody_else() {
    let settings = "auth_master_user_separator = \"*\"\n".to_owned() + &file("masters", "master = true") + &file("users", "");
    let files = [("masters", "root@x.org:{PLAIN}m\n"), ("users", "ann@x.org:{PLAIN}a\nbob@x.org:{PLAIN}b::::::nologin\n")];
    let authd = start(&settings, &files).await;
    let client = authd.auth();
    for (user, password, want) in [
        ("ann@x.org*root@x.org", "m", "ann@x.org"),
        ("ann*root", "m", "ann@x.org"),
        ("ann*root", "a", "refused"),
        ("ann*ann", "a", "refused"),
        ("nobody*root", "m", "refused"),
        ("bob*root", "m", "refused"),
        ("*root", "m", "refused"),
        ("ann*", "m", "refused"),
        ("root@x.org", "m", "refused"),
        ("ann", "a", "ann@x.org"),
    ] {
        assert_eq!(word(&verdict(&client, user, password).await), want, "{user} {password}");
    }
    for (message, want) in
        [("ann@x.org\0root@x.org\0m", "ann@x.org"), ("ann@x.org\0bob@x.org\0b", "refused"), ("root@x.org\0ann@x.org\0a", "refused")]
    {
        let request = AuthRequest { initial: Some(message.as_bytes().to_vec().into()), ..login("", "") };
        assert_eq!(word(&client.login(request).await.map(|ok| ok.user)), want, "{message:?}");
    }
    authd.stop().await;
}

#[tokio::test]
async fn an_app_of_a_master_user_opens_nobody_elses_mail() {
    let settings =
        "auth_master_user_separator = \"*\"\n[[authd.passdb]]\ndriver = \"accounts\"\nmaster = true\n".to_owned() + &file("users", "");
    let authd = start(&settings, &[("users", "bob@x.org:{PLAIN}b\n")]).await;
    let (client, accounts) = (authd.auth(), AccountsClient::new(authd.socket("accounts")));
    add_ann(&accounts, "master secret").await;
    let password = NewPassword::hashed("{PLAIN}phone secret");
    accounts.ask(Request::AppPasswordAdd { address: "ann@x.org".into(), note: String::new(), password }).await.expect("added");
    assert_eq!(word(&verdict(&client, "bob*ann", "master secret").await), "bob@x.org");
    assert_eq!(word(&verdict(&client, "bob*ann", "phone secret").await), "refused");
    authd.stop().await;
}

#[tokio::test]
async fn keys_are_taken_from_the_first_passdb_that_has_them_as_the_rules_say() {
    // One file has hashes that serve PLAIN only.
    let files = [
        ("hashes", "ann@x.org:{SSHA}jTJk90mUoWBSlOaeNUZpTTa+jilt+9oH\nbob@x.org:{SSHA}jTJk90mUoWBSlOaeNUZpTTa+jilt+9oH\n"),
        ("plain", "ann@x.org:{PLAIN}a\ncat@x.org:{PLAIN}c\n"),
        ("denied", "cat@x.org:\n"),
    ];
    let mechanisms = "auth_mechanisms = [\"plain\", \"scram-sha-256\", \"cram-md5\"]\n".to_owned();
    for (first, want) in [
        ("", ["ann@x.org", "refused", "cat@x.org"]),
        ("result_failure = \"return-fail\"", ["refused", "refused", "refused"]),
        ("result_failure = \"continue-fail\"", ["ann@x.org", "refused", "cat@x.org"]),
        ("skip = \"unauthenticated\"", ["ann@x.org", "refused", "cat@x.org"]),
    ] {
        let authd = start(&(mechanisms.clone() + &file("hashes", first) + &file("plain", "")), &files).await;
        let client = authd.auth();
        for mechanism in ["SCRAM-SHA-256", "CRAM-MD5"] {
            for ((user, password), want) in [("ann", "a"), ("bob", "clé 42"), ("cat", "c")].into_iter().zip(want) {
                assert_eq!(word(&mechanisms::log_in(&client, mechanism, user, password).await), want, "{mechanism} {user} {first}");
            }
        }
        authd.stop().await;
    }
    let settings = mechanisms + &file("denied", "deny = true") + &file("hashes", "") + &file("plain", "");
    let authd = start(&settings, &files).await;
    assert_eq!(word(&mechanisms::log_in(&authd.auth(), "SCRAM-SHA-256", "cat", "c").await), "refused");
    assert_eq!(word(&mechanisms::log_in(&authd.auth(), "SCRAM-SHA-256", "ann", "a").await), "ann@x.org");
    // A denied user's mail is delivered all the same.
    let userdb = UserdbClient::new(authd.socket("userdb"));
    assert!(userdb.ask("cat@x.org", "lmtp").await.expect("an answer").is_some());
    authd.stop().await;
}
