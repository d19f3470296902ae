//! The guide's `dovecot-sql.conf.ext` against servers that are there.

use super::*;
use testkit::databases::{DATABASE, KINDS, Kind as Peer, PASSWORD, Server, USER};

#[tokio::test]
async fn the_guides_queries_work_against_real_servers() {
    for kind in KINDS {
        let Some(server) = Server::start(kind) else {
            eprintln!("skipped: {kind:?} is not installed");
            continue;
        };
        let (flag, yes, no) = if kind == Peer::Postgres { ("boolean", "true", "false") } else { ("tinyint(1)", "1", "0") };
        server.run_sql(&format!(
            "CREATE TABLE mailbox (username varchar(255), password varchar(255), quota bigint, active {flag});
             INSERT INTO mailbox VALUES ('ann@x.org', '$1$salt$qJH7.N4xYta3aEG/dfqo/0', 1024000, {yes}), ('off@x.org', 'x', 0, {no}),
               ('two@x.org', 'x', 0, {yes}), ('two@x.org', 'y', 0, {yes});"
        ));
        let folder = testkit::temp_dir();
        let path = folder.path().join("dovecot-sql.conf.ext");
        let guide = super::tests::GUIDE;
        let connect = format!("connect = host=127.0.0.1 port={} dbname={DATABASE} user={USER} password='{PASSWORD}'", server.port());
        let text: Vec<&str> = guide.lines().map(|line| if line.starts_with("connect") { connect.as_str() } else { line }).collect();
        let text = text.join("\n").replace("driver = mysql", &format!("driver = {}", kind.driver()));
        std::fs::write(&path, format!("{text}\niterate_query = SELECT DISTINCT username FROM mailbox ORDER BY 1\n")).expect("file");
        let queries = SqlSource::open(&path).unwrap_or_else(|e| panic!("{e:#}"));

        let fields = queries.password("ann@x.org", "imap", None).await.unwrap_or_else(|e| panic!("{kind:?}: {e:#}")).expect("there");
        assert_eq!(fields.get("user"), Some("ann@x.org"), "{kind:?}");
        assert_eq!(fields.get("password"), Some("$1$salt$qJH7.N4xYta3aEG/dfqo/0"), "{kind:?}");
        assert_eq!(fields.prefetched().expect("fields").get("home"), Some("/home/vmail/ann@x.org"), "{kind:?}");
        let fields = queries.user("ann@x.org").await.unwrap_or_else(|e| panic!("{kind:?}: {e:#}")).expect("there");
        assert_eq!((fields.get("uid"), fields.get("mail")), (Some("5000"), Some("maildir:/home/vmail/ann@x.org")), "{kind:?}");
        let others: Vec<_> = fields.others().collect();
        assert_eq!(others, [("quota_rule".to_owned(), "*:bytes=1024000".to_owned())], "{kind:?}");
        for nobody in ["off@x.org", "none@x.org", "x' OR '1'='1", "ann@x.org' -- "] {
            assert!(queries.password(nobody, "imap", None).await.expect("answer").is_none(), "{kind:?} {nobody}");
        }
        assert!(queries.password("two@x.org", "imap", None).await.is_err(), "{kind:?}: two rows decide nothing");
        let names = Names::new(&config::Authd::default(), "x.org".into()).expect("the defaults are sound");
        assert_eq!(queries.users(&names).await.expect("list"), ["ann@x.org", "off@x.org", "two@x.org"], "{kind:?}");
    }
}

#[tokio::test]
async fn a_hash_is_replaced_whatever_the_types_of_the_columns() {
    for kind in KINDS {
        let Some(server) = Server::start(kind) else {
            eprintln!("skipped: {kind:?} is not installed");
            continue;
        };
        server.run_sql(
            "CREATE TABLE users (id integer, name varchar(255), password varchar(20));
             INSERT INTO users VALUES (42, 'ann', 'old'), (43, 'bob', 'old');",
        );
        let folder = testkit::temp_dir();
        let open = |condition: &str| {
            let path = folder.path().join("users.ext");
            let text = format!(
                "driver = {}\nconnect = host=127.0.0.1 port={} dbname={DATABASE} user={USER} password='{PASSWORD}'\n\
                 password_query = SELECT password FROM users WHERE {condition}\n\
                 update_query = UPDATE users SET password = '%{{new_password}}' WHERE {condition} AND password = '%{{old_password}}'\n",
                kind.driver(),
                server.port()
            );
            std::fs::write(&path, text).expect("file");
            SqlSource::open(&path).unwrap_or_else(|e| panic!("{e:#}"))
        };
        // A parameter beside a number; and one of which PostgreSQL cannot tell what it is, which must not end the transaction.
        for (condition, user) in [("id = '%n'", "42"), ("name = '%n' AND concat('%n') <> ''", "ann")] {
            let queries = open(condition);
            let asked = Asker { user, service: "imap", ..Asker::default() };
            let replace = async |old: &str, new: &str| queries.replace_password(&asked, user, old, new).await;
            let told = format!("{kind:?} {condition}");
            assert!(!replace("other", "new").await.unwrap_or_else(|e| panic!("{told}: {e:#}")), "{told}");
            assert!(replace("old", "new").await.unwrap_or_else(|e| panic!("{told}: {e:#}")), "{told}");
            assert!(replace("new", "longer than twenty letters").await.is_err(), "{told}");
            assert!(replace("new", "old").await.unwrap_or_else(|e| panic!("{told}: {e:#}")), "{told}");
        }
        if kind == Peer::Mariadb {
            // Without its strict mode it cuts, and says nothing.
            server.run_sql("SET GLOBAL sql_mode = ''");
            let queries = open("id = '%n'");
            let asked = Asker { user: "42", service: "imap", ..Asker::default() };
            let error = queries.replace_password(&asked, "42", "old", "longer than twenty letters").await.expect_err("cut");
            assert!(error.to_string().contains("too short"), "{error:#}");
        }
        assert_eq!(server.query("SELECT password FROM users ORDER BY id").trim(), "old\nold", "{kind:?}");
    }
}
