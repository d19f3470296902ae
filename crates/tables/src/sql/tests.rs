use super::*;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

async fn place() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("directory");
    let options = SqliteConnectOptions::new().filename(dir.path().join("db.sqlite")).create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await.expect("database");
    for statement in [
        "CREATE TABLE alias (address TEXT, goto TEXT, active INTEGER)",
        "INSERT INTO alias VALUES ('info@x.org', 'ann@x.org', 1), ('info@x.org', 'bob@x.org', 1), ('old@x.org', 'ann@x.org', 0)",
        "CREATE TABLE mailbox (username TEXT, quota BIGINT)",
        "INSERT INTO mailbox VALUES ('ann@x.org', 1073741824), ('bob@x.org', NULL)",
    ] {
        sqlx::query(statement).execute(&pool).await.expect("statement");
    }
    pool.close().await;
    dir
}

fn table(dir: &tempfile::TempDir, text: &str) -> SqlTable {
    let path = dir.path().join("table.cf");
    std::fs::write(&path, format!("dbpath = db.sqlite\n{text}\n")).expect("write");
    SqlTable::open("sqlite", &path).unwrap_or_else(|e| panic!("{e}"))
}

#[tokio::test]
async fn the_guides_queries_work() {
    let dir = place().await;
    let aliases = table(&dir, "query = SELECT goto FROM alias WHERE address='%s' AND active = true");
    assert_eq!(aliases.lookup("info@x.org").await, Ok(Some("ann@x.org,bob@x.org".into())));
    assert_eq!(aliases.lookup("old@x.org").await, Ok(None));
    assert_eq!(aliases.lookup("' OR '1'='1").await, Ok(None));
    let quota = table(&dir, "query = SELECT quota FROM mailbox WHERE username='%s'");
    assert_eq!(quota.lookup("ann@x.org").await, Ok(Some("1073741824".into())));
    assert_eq!(quota.lookup("bob@x.org").await, Ok(None));
    assert!(quota.is_current());
}

#[tokio::test]
async fn older_settings_limits_and_formats_work() {
    let dir = place().await;
    let old = table(&dir, "table = alias\nselect_field = goto\nwhere_field = address\nadditional_conditions = AND active = '1'");
    assert_eq!(old.lookup("info@x.org").await, Ok(Some("ann@x.org,bob@x.org".into())));
    let limited = table(&dir, "query = SELECT goto FROM alias WHERE address='%s'\nexpansion_limit = 1");
    assert!(limited.lookup("info@x.org").await.is_err());
    assert_eq!(limited.lookup("old@x.org").await, Ok(Some("ann@x.org".into())));
    let formatted = table(&dir, "query = SELECT goto FROM alias WHERE address='%s'\nresult_format = %u@y.org\ndomain = x.org");
    assert_eq!(formatted.lookup("old@x.org").await, Ok(Some("ann@y.org".into())));
    assert_eq!(formatted.lookup("old@z.org").await, Ok(None));
    assert_eq!(formatted.lookup("old").await, Ok(None));
}

#[tokio::test]
async fn an_endless_query_is_given_up() {
    let dir = place().await;
    let endless =
        table(&dir, "query = WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n WHERE '%s' = 'k'");
    let error = tokio::time::timeout(std::time::Duration::from_secs(60), endless.lookup("k")).await.expect("an answer").expect_err("none");
    assert!(error.to_string().contains("no answer within"), "{error}");
}

#[tokio::test]
async fn faults_are_told_and_never_mean_not_there() {
    let dir = place().await;
    let missing = table(&dir, "query = SELECT x FROM nowhere WHERE y = '%s'");
    assert!(missing.lookup("k").await.is_err());
    let path = dir.path().join("bad.cf");
    for (kind, text) in [
        ("sqlite", "query = SELECT 1"),
        ("sqlite", "dbpath = db.sqlite"),
        ("sqlite", "dbpath = db.sqlite\nquery = SELECT '%x'"),
        ("mysql", "query = SELECT 1"),
        ("oracle", "query = SELECT 1"),
        ("sqlite", "nonsense"),
    ] {
        std::fs::write(&path, text).expect("write");
        assert!(SqlTable::open(kind, &path).is_err(), "{kind} {text}");
    }
    assert!(SqlTable::open("sqlite", &dir.path().join("none.cf")).is_err());
    // A server that is not there.
    std::fs::write(&path, "hosts = 127.0.0.1:1\ndbname = x\nuser = u\npassword = p\nquery = SELECT goto FROM alias WHERE address='%s'")
        .expect("write");
    for kind in ["mysql", "pgsql"] {
        let table = SqlTable::open(kind, &path).unwrap_or_else(|e| panic!("{e}"));
        let error = table.lookup("k").await.expect_err("nobody is there");
        assert!(!error.to_string().contains("password"), "{error}");
    }
}
