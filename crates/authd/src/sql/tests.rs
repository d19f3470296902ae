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
        ("pasword_query = SELECT 1", "line 1: pasword_query"),
        ("nonsense", "line 1"),
    ] {
        let error = format!("{:#}", source(text).err().unwrap_or_else(|| panic!("{text}")));
        assert!(error.contains(words) && !error.contains("geheim"), "{text}: {error}");
    }
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
    let fields = Fields::of(&row(&[("user", Some("ann")), ("userdb_home", Some("/h")), ("userdb_mail", None), ("nologin", Some("N"))]));
    assert!(!fields.is_set("nologin") && fields.is_set("user"));
    let prefetched = fields.prefetched().expect("fields");
    assert_eq!((prefetched.get("home"), prefetched.get("mail")), (Some("/h"), None));
    assert!(Fields::of(&row(&[("user", Some("ann"))])).prefetched().is_none());

    for (quota, rule) in [("dirsize:storage=1024", Some("*:bytes=1024")), ("maildir:storage=10", Some("*:storage=10")), ("1024", None)] {
        let others: Vec<_> = Fields::of(&row(&[("quota", Some(quota)), ("home", Some("/h"))])).others().collect();
        assert_eq!(others, rule.map(|rule| ("quota_rule".to_owned(), rule.to_owned())).into_iter().collect::<Vec<_>>(), "{quota}");
    }
}
