use super::*;

fn source(text: &str) -> anyhow::Result<Inner> {
    read(text, Path::new("/etc/facteur/dovecot-sql.conf.ext"))
}

/// As the guide writes it.
pub(super) const GUIDE: &str = "driver = mysql
connect = host=localhost dbname=postfix_db user=postfix_user password=motdepasse
default_pass_scheme = MD5
user_query = SELECT '/home/vmail/%u' as home, \\
'maildir:/home/vmail/%u' as mail, \\
5000 AS uid, \\
5000 AS gid, \\
concat('dirsize:storage=', quota) AS quota \\
FROM mailbox \\
WHERE username = '%u' AND active = '1'
password_query = SELECT username as user, \\
password, \\
'/home/vmail/%u' as userdb_home \\
FROM mailbox \\
WHERE username = '%u' AND active = '1'
";

#[tokio::test]
async fn the_guides_file_is_understood() {
    let source = source(GUIDE).unwrap_or_else(|e| panic!("{e:#}"));
    assert_eq!(source.scheme.as_deref(), Some("MD5"));
    let asker = Asker { user: "ann@x.org", service: "imap", ..Asker::default() };
    let query = source.password.expect("a password query");
    assert!(query.text().ends_with("FROM mailbox WHERE username = ? AND active = '1'"), "{}", query.text());
    assert_eq!(
        query.parameters_for(&asker),
        Some(["/home/vmail/ann@x.org", "ann@x.org"].map(|text| tables::sql::Value::Key(text.into())).to_vec())
    );
    assert!(source.user.is_some() && source.iterate.is_none());
}

#[tokio::test]
async fn faults_of_the_file_are_told_and_never_show_the_password() {
    for (text, words) in [
        ("driver = mysql", "no connect"),
        ("connect = host=localhost dbname=x user=y", "no driver"),
        ("driver = oracle\nconnect = x", "none of"),
        ("driver = mysql\nconnect = host=localhost user=y password=geheim", "no dbname"),
        ("driver = mysql\nconnect = dbname=x password=geheim", "no user"),
        ("driver = mysql\nconnect = dbname=x user=u secret", "not name=value"),
        ("driver = mysql\nconnect = dbname=x user=u wrong=geheim", "wrong is not known"),
        ("driver = pgsql\nconnect = dbname='x user=u", "does not end"),
        ("driver = pgsql\nconnect = dbname=x user=u sslmode=verify", "sslmode=verify is not known"),
        ("driver = mysql\nconnect = dbname=x user=u ssl_verify_server_cert=maybe", "neither yes nor no"),
        ("driver = mysql\nconnect = dbname=x user=u ssl_cert=/x", "without its key"),
        ("driver = sqlite\nconnect = x\npassword_query = SELECT '%w'", "password_query: %w"),
        (
            "driver = sqlite\nconnect = x\nupdate_query = UPDATE t SET p = 'x' WHERE u = '%u' AND p = '%{old_password}'",
            "lacks %{new_password}",
        ),
        ("driver = sqlite\nconnect = x\nupdate_query = UPDATE t SET p = '%{new_password}' WHERE u = '%u'", "lacks %{old_password}"),
        (
            "driver = sqlite\nconnect = x\nupdate_query = UPDATE t SET p = '%{new_password}' WHERE p = '%{old_password}' AND d = '%d'",
            "lacks %u",
        ),
        ("pasword_query = SELECT 1", "line 1: pasword_query"),
        ("nonsense", "line 1"),
    ] {
        let error = format!("{:#}", source(text).err().unwrap_or_else(|| panic!("{text}")));
        assert!(error.contains(words) && !error.contains("geheim"), "{text}: {error}");
    }
}

#[tokio::test]
async fn a_hash_is_replaced_only_where_it_is_kept_as_a_whole() {
    let folder = tempfile::tempdir().expect("folder");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("db.sqlite")).create_if_missing(true);
    let pool = sqlx::sqlite::SqlitePool::connect_with(options).await.expect("opens");
    let run = async |statement: &'static str| sqlx::query(statement).execute(&pool).await.map(|_| ()).expect(statement);
    run("CREATE TABLE users (mail TEXT, uid TEXT, password TEXT)").await;
    run("INSERT INTO users VALUES ('ann@x.org', 'ann', 'old'), ('bob@x.org', 'bob', 'old')").await;
    let text = "driver = sqlite\nconnect = db.sqlite\n\
        password_query = SELECT uid AS user, password FROM users WHERE mail = '%u' AND '%s' = 'imap'\n\
        update_query = UPDATE users SET password = '%{new_password}' WHERE uid = '%n' AND password = '%{old_password}'\n";
    let path = folder.path().join("users.ext");
    std::fs::write(&path, text).expect("file");
    let queries = SqlSource::open(&path).expect("sound");
    let asked = Asker { user: "ann@x.org", service: "imap", ..Asker::default() };
    let now =
        async || queries.password("ann@x.org", "imap", None).await.expect("answer").expect("there").get("password").map(str::to_owned);
    assert!(!queries.replace_password(&asked, "ann@y.org", "other", "new").await.expect("asked"));
    assert!(queries.replace_password(&asked, "ann@y.org", "old", "new").await.expect("asked"));
    assert_eq!(now().await.as_deref(), Some("new"));
    // As a short column does it.
    run("CREATE TRIGGER cut AFTER UPDATE OF password ON users BEGIN UPDATE users SET password = substr(NEW.password, 1, 5) WHERE uid = NEW.uid; END").await;
    let error = queries.replace_password(&asked, "ann@y.org", "new", "longer").await.expect_err("cut");
    assert!(error.to_string().contains("too short"), "{error:#}");
    assert_eq!(now().await.as_deref(), Some("new"));
    assert!(queries.replace_password(&asked, "ann@y.org", "new", "short").await.expect("asked"));
    assert_eq!(now().await.as_deref(), Some("short"));
    pool.close().await;
}

#[test]
fn words_may_be_quoted() {
    let words = |text| words(text).map(|words| words.iter().map(|word| word.to_string()).collect::<Vec<_>>());
    assert_eq!(words("a=b  c='d e\\'f'").expect("words"), ["a=b", "c=d e'f"]);
    assert_eq!(words("password=o'neil x=y").expect("words"), ["password=o'neil", "x=y"]);
}

#[test]
fn fields_become_those_of_the_user_database() {
    let row = |pairs: &[(&str, Option<&str>)]| Row {
        names: pairs.iter().map(|(name, _)| name.to_string()).collect(),
        values: pairs.iter().map(|(_, value)| value.map(str::to_owned)).collect(),
    };
    let fields = fields(&row(&[("user", Some("ann")), ("userdb_home", Some("/h")), ("userdb_mail", None), ("nologin", Some("N"))]));
    assert!(!fields.is_set("nologin") && fields.is_set("user"));
    let prefetched = fields.prefetched().expect("fields");
    assert_eq!((prefetched.get("home"), prefetched.get("mail")), (Some("/h"), None));
    assert!(super::fields(&row(&[("user", Some("ann"))])).prefetched().is_none());

    for (quota, rule) in [("dirsize:storage=1024", Some("*:bytes=1024")), ("maildir:storage=10", Some("*:storage=10")), ("1024", None)] {
        let others: Vec<_> = super::fields(&row(&[("quota", Some(quota)), ("home", Some("/h"))])).others().collect();
        assert_eq!(others, rule.map(|rule| ("quota_rule".to_owned(), rule.to_owned())).into_iter().collect::<Vec<_>>(), "{quota}");
    }
}
