//! `mysql:` and `pgsql:` tables against servers that are there.

use super::*;
use testkit::databases::{DATABASE, KINDS, Kind as Peer, PASSWORD, Server, USER};

fn table(server: &Server, hosts: &str, text: &str) -> SqlTable {
    let folder = testkit::temp_dir();
    let path = folder.path().join("table.cf");
    let login = format!("user = {USER}\npassword = {PASSWORD}\nhosts = {hosts}\ndbname = {DATABASE}\n");
    std::fs::write(&path, format!("{login}{text}\n")).expect("write");
    SqlTable::open(server.kind().driver(), &path).unwrap_or_else(|e| panic!("{e}"))
}

#[tokio::test]
async fn the_guides_files_work_against_real_servers() {
    for kind in KINDS {
        let Some(mut server) = Server::start(kind) else {
            eprintln!("skipped: {kind:?} is not installed");
            continue;
        };
        let (flag, yes) = if kind == Peer::Postgres { ("boolean", "true") } else { ("tinyint(1)", "1") };
        server.run_sql(&format!(
            "CREATE TABLE alias (address varchar(255), goto text, active {flag});
             INSERT INTO alias VALUES ('info@x.org', 'ann@x.org,bob@x.org', {yes}), ('été@x.org', 'ann@x.org', {yes});
             CREATE TABLE numbered (id integer, host varchar(50), small smallint, name text);
             INSERT INTO numbered VALUES (42, '192.0.2.7', 3, 'forty-two');
             CREATE TABLE mailbox (username varchar(255), quota bigint, share decimal(6,2), small smallint, made timestamp);
             INSERT INTO mailbox VALUES ('ann@x.org', 3221225472, 12.50, 7, '2026-01-02 03:04:05'), ('bob@x.org', NULL, NULL, NULL, NULL);"
        ));
        let told = format!("{kind:?}");
        let tcp = format!("127.0.0.1:{}", server.port());
        let aliases = table(&server, &tcp, "query = SELECT goto FROM alias WHERE address='%s' AND active = true");
        for (key, want) in [
            ("info@x.org", Some("ann@x.org,bob@x.org")),
            ("été@x.org", Some("ann@x.org")),
            ("nobody@x.org", None),
            ("' OR '1'='1", None),
            ("\\' OR 1=1 -- ", None),
            ("\u{1f600}", None),
        ] {
            assert_eq!(aliases.lookup(key).await.unwrap_or_else(|e| panic!("{told} {key}: {e}")).as_deref(), want, "{told} {key}");
        }
        // A server that is not there, before one that is.
        let quota = table(&server, &format!("127.0.0.1:1, {tcp}"), "query = SELECT quota, small FROM mailbox WHERE username='%u@%d'");
        assert_eq!(quota.lookup("ann@x.org").await, Ok(Some("3221225472,7".into())), "{told}");
        assert_eq!(quota.lookup("bob@x.org").await, Ok(None), "{told}");
        // A key is compared as the literal it stands in place of would be.
        let numbered = table(&server, &tcp, "query = SELECT name FROM numbered WHERE id = '%s' OR small = %s + 1");
        assert_eq!(numbered.lookup("42").await, Ok(Some("forty-two".into())), "{told}");
        assert_eq!(numbered.lookup("2").await, Ok(Some("forty-two".into())), "{told}");
        assert_eq!(numbered.lookup("43").await, Ok(None), "{told}");
        if kind == Peer::Postgres {
            let address = table(&server, &tcp, "query = SELECT name FROM numbered WHERE CAST(host AS inet) = '%s' AND name <> '$1'");
            assert_eq!(address.lookup("192.0.2.7").await, Ok(Some("forty-two".into())));
            assert_eq!(address.lookup("192.0.2.8").await, Ok(None));
        }
        // The server has to be the one that the file of certificates vouches for.
        let folder = testkit::temp_dir();
        testkit::databases::certify(folder.path());
        let other = folder.path().join("tls.pem");
        let quota = "query = SELECT quota FROM mailbox WHERE username='%s'";
        let by_name = format!("localhost:{}", server.port());
        for (host, files, verify, is_believed) in [
            (&tcp, &server.certificate(), "no", true),
            (&tcp, &server.certificate(), "yes", true),
            (&by_name, &server.certificate(), "no", false),
            (&tcp, &other, "no", false),
        ] {
            let text = format!("{quota}\ntls_CAfile = {}\ntls_verify_cert = {verify}", files.display());
            let answer = table(&server, host, &text).lookup("ann@x.org").await;
            assert_eq!(answer.is_ok(), is_believed, "{told} {host} {}, {verify}: {answer:?}", files.display());
        }
        // By the socket; and types that are neither text nor whole numbers.
        let socket = match kind {
            Peer::Mariadb => format!("unix:{}", server.socket().display()),
            Peer::Postgres => tcp.clone(),
        };
        let cast =
            table(&server, &socket, "query = SELECT CAST(made AS CHAR(19)), CAST(share AS CHAR(5)) FROM mailbox WHERE username = '%s'");
        assert_eq!(cast.lookup("ann@x.org").await, Ok(Some("2026-01-02 03:04:05,12.50".into())), "{told}");
        let time = table(&server, &tcp, "query = SELECT made FROM mailbox WHERE username='%s'").lookup("ann@x.org").await;
        assert!(time.as_ref().is_err_and(|e| e.to_string().contains("CAST")), "{told}: {time:?}");
        let wrong = table(&server, &tcp, "query = SELECT goto FROM aliases WHERE address='%s'").lookup("x").await;
        assert!(wrong.is_err(), "{told}: {wrong:?}");

        let slow = match kind {
            Peer::Mariadb => "query = SELECT SLEEP(30) FROM alias WHERE '%s' <> ''",
            Peer::Postgres => "query = SELECT CAST(pg_sleep(30) AS text) FROM alias WHERE '%s' <> ''",
        };
        let error = table(&server, &tcp, slow).lookup("k").await.expect_err("it takes too long");
        assert!(error.to_string().contains("no answer within"), "{told}: {error}");

        server.stop();
        assert!(aliases.lookup("info@x.org").await.is_err(), "{told}: away is never \"not there\"");
        server.resume();
        let mut answer = aliases.lookup("info@x.org").await;
        for _ in 0..200 {
            if answer.is_ok() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            answer = aliases.lookup("info@x.org").await;
        }
        assert_eq!(answer, Ok(Some("ann@x.org,bob@x.org".into())), "{told}");
    }
}
