use super::*;
use ipc::accounts::Row;
use ipc::usage::{Login, Note, Stored};
use mail_types::{Address, Domain};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use zeroize::Zeroizing;

async fn open() -> (tempfile::TempDir, Accounts) {
    let dir = tempfile::tempdir().expect("directory");
    let accounts = Accounts::open(&Source::Own(dir.path().join("accounts.sqlite"))).await.expect("open");
    (dir, accounts)
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).expect("domain")
}

fn address(text: &str) -> Address {
    Address::parse(text).expect("address")
}

fn mailbox(text: &str) -> NewMailbox {
    NewMailbox {
        address: address(text),
        password: Zeroizing::new("{PLAIN}pw".into()),
        name: "Ann Lee".into(),
        maildir: format!("{text}/"),
        quota_bytes: 1 << 30,
    }
}

fn why(result: Result<(), WriteError>) -> String {
    match result {
        Err(WriteError::Refused(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_mailbox_has_an_alias_to_itself_and_goes_with_it() {
    let (_dir, accounts) = open().await;
    assert!(why(accounts.mailbox_add(&mailbox("ann@example.org")).await).contains("add it first"));
    accounts.domain_add(&domain("Example.org"), "").await.expect("domain");
    accounts.mailbox_add(&mailbox("Ann@Example.org")).await.expect("mailbox");
    assert!(why(accounts.mailbox_add(&mailbox("ann@example.org")).await).contains("there already"));
    let lookup = |table, key: &'static str| {
        let accounts = accounts.clone();
        async move { accounts.lookup(table, key).await.expect("answer") }
    };
    assert_eq!(lookup(AccountsTable::Domains, "EXAMPLE.org").await.as_deref(), Some("example.org"));
    assert_eq!(lookup(AccountsTable::Mailboxes, "ann@example.ORG").await.as_deref(), Some("Ann@Example.org/"));
    assert_eq!(lookup(AccountsTable::Aliases, "ann@example.org").await.as_deref(), Some("ann@example.org"));
    assert_eq!(lookup(AccountsTable::Aliases, "ann' OR '1'='1").await, None);
    assert!(accounts.list_aliases(None).await.expect("list").is_empty());
    assert_eq!(accounts.list_aliases(Some("ann@example.org")).await.expect("list").len(), 1);
    let row = accounts.mailbox("ann@example.org").await.expect("answer").expect("there");
    assert_eq!((row.username.as_str(), row.quota_bytes), ("ann@example.org", 1 << 30));

    let inactive = MailboxChange { active: Some(false), ..MailboxChange::default() };
    accounts.mailbox_change(&address("ann@example.org"), &inactive).await.expect("change");
    assert_eq!(lookup(AccountsTable::Mailboxes, "ann@example.org").await, None);
    assert_eq!(lookup(AccountsTable::Aliases, "ann@example.org").await, None);
    assert!(accounts.mailbox("ann@example.org").await.expect("answer").is_none());
    accounts.mailbox_delete(&address("ann@example.org")).await.expect("delete");
    assert!(why(accounts.mailbox_delete(&address("ann@example.org")).await).contains("not there"));
    accounts.domain_delete(&domain("example.org"), false).await.expect("empty");
}

#[tokio::test]
async fn an_inactive_domain_takes_everything_in_it_with_it() {
    let (_dir, accounts) = open().await;
    accounts.domain_add(&domain("example.org"), "").await.expect("domain");
    accounts.mailbox_add(&mailbox("ann@example.org")).await.expect("mailbox");
    accounts.alias_add("", &domain("example.org"), &[address("ann@example.org")]).await.expect("catch-all");
    assert!(accounts.lookup(AccountsTable::Aliases, "@example.org").await.expect("answer").is_some());
    accounts.domain_change(&domain("example.org"), None, Some(false), None).await.expect("change");
    for (table, key) in [
        (AccountsTable::Domains, "example.org"),
        (AccountsTable::Mailboxes, "ann@example.org"),
        (AccountsTable::Aliases, "ann@example.org"),
        (AccountsTable::Aliases, "@example.org"),
    ] {
        assert_eq!(accounts.lookup(table, key).await.expect("answer"), None, "{key}");
    }
    assert!(accounts.usernames().await.expect("list").is_empty());
    assert!(accounts.mailbox("ann@example.org").await.expect("answer").is_none());
}

#[tokio::test]
async fn a_domain_with_accounts_is_deleted_only_when_told_so() {
    let (_dir, accounts) = open().await;
    accounts.domain_add(&domain("example.org"), "ours").await.expect("domain");
    accounts.mailbox_add(&mailbox("ann@example.org")).await.expect("mailbox");
    accounts.alias_add("info", &domain("example.org"), &[address("ann@example.org"), address("x@else.org")]).await.expect("alias");
    accounts.alias_domain_add(&domain("example.net"), &domain("example.org")).await.expect("alias domain");
    assert_eq!(accounts.lookup(AccountsTable::AliasDomains, "example.net").await.expect("answer").as_deref(), Some("example.org"));
    assert_eq!(
        accounts.lookup(AccountsTable::Aliases, "info@example.org").await.expect("answer").as_deref(),
        Some("ann@example.org,x@else.org")
    );
    let Some(Row::Domain(row)) = accounts.list_domains(None).await.expect("list").pop() else { panic!("a domain") };
    assert_eq!((row.mailboxes, row.aliases, row.description.as_str()), (1, 1, "ours"));
    assert!(why(accounts.domain_delete(&domain("example.org"), false).await).contains("1 mailboxes"));
    accounts.domain_delete(&domain("example.org"), true).await.expect("delete");
    assert!(accounts.list_mailboxes(None).await.expect("list").is_empty());
    assert!(accounts.list_aliases(None).await.expect("list").is_empty());
    assert!(accounts.list_alias_domains(None).await.expect("list").is_empty());
}

#[tokio::test]
async fn who_gets_a_name_next_inherits_nothing() {
    let (_dir, accounts) = open().await;
    let table = "CREATE TABLE totp_exception_address (id INTEGER PRIMARY KEY, ip VARCHAR(46) NOT NULL, username VARCHAR(255))";
    accounts.ask(table, &[]).await.expect("table");
    accounts.domain_add(&domain("example.org"), "").await.expect("domain");
    // What is left of one that was deleted in PostfixAdmin's pages.
    let left = "INSERT INTO mailbox_app_password (username, password_hash) VALUES ('ann@example.org', '{PLAIN}x'), ('bob@example.org', '{PLAIN}x')";
    accounts.ask(left, &[]).await.expect("rows");
    let exceptions = "INSERT INTO totp_exception_address (ip, username) VALUES ('192.0.2.1', 'example.org'), ('192.0.2.2', '@example.org'),
         ('192.0.2.3', 'ann@example.org'), ('192.0.2.4', 'example.net'), ('192.0.2.5', NULL)";
    accounts.ask(exceptions, &[]).await.expect("rows");
    accounts.mailbox_add(&mailbox("ann@example.org")).await.expect("mailbox");
    assert!(accounts.app_passwords("ann@example.org").await.expect("answer").is_empty());
    assert_eq!(accounts.app_passwords("bob@example.org").await.expect("answer").len(), 1);
    let exceptions = async || {
        let rows = accounts.ask("SELECT ip FROM totp_exception_address ORDER BY ip", &[]).await.expect("rows");
        rows.iter().map(|row| row.text(0).trim_start_matches("192.0.2.").to_owned()).collect::<String>()
    };
    assert_eq!(exceptions().await, "1245");
    accounts.domain_delete(&domain("example.org"), true).await.expect("deleted");
    assert_eq!(exceptions().await, "45");
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_changes_nothing() {
    let (_dir, accounts) = open().await;
    accounts.domain_add(&domain("example.org"), "").await.expect("domain");
    accounts.mailbox_add(&mailbox("ann@example.org")).await.expect("mailbox");
    accounts.alias_add("info", &domain("example.org"), &[address("ann@example.org")]).await.expect("alias");
    accounts.alias_domain_add(&domain("example.net"), &domain("example.org")).await.expect("alias domain");
    let org = domain("example.org");
    for (result, words) in [
        (accounts.domain_add(&org, "").await, "already"),
        (accounts.domain_add(&domain("example.net"), "").await, "alias domain"),
        (accounts.domain_add(&domain("[192.0.2.1]"), "").await, "literal"),
        (accounts.domain_change(&domain("else.org"), None, None, None).await, "not there"),
        (accounts.mailbox_add(&mailbox("info@example.org")).await, "is an alias"),
        (accounts.mailbox_add(&mailbox("\"a b\"@example.org")).await, "cannot have"),
        (accounts.mailbox_add(&mailbox("a/b@example.org")).await, "cannot have"),
        (accounts.alias_add("ann", &org, &[address("x@y.org")]).await, "is a mailbox"),
        (accounts.alias_add("info", &org, &[address("x@y.org")]).await, "already"),
        (accounts.alias_add("new", &org, &[]).await, "at least one"),
        (accounts.alias_add("new", &domain("else.org"), &[address("x@y.org")]).await, "add it first"),
        (accounts.alias_delete("ann", &org).await, "is a mailbox"),
        (accounts.alias_delete("none", &org).await, "not there"),
        (accounts.alias_domain_add(&org, &org).await, "its own"),
        (accounts.alias_domain_add(&domain("x.org"), &domain("example.net")).await, "add it first"),
        (accounts.alias_domain_delete(&domain("x.org")).await, "not there"),
    ] {
        let reason = why(result);
        assert!(reason.contains(words), "{reason}");
    }
    assert_eq!(accounts.list_mailboxes(None).await.expect("list").len(), 1);
    assert_eq!(accounts.list_aliases(None).await.expect("list").len(), 1);
}

#[tokio::test]
async fn usage_is_kept_for_mailboxes_that_are_there() {
    let (_dir, accounts) = open().await;
    accounts.domain_add(&domain("example.org"), "").await.expect("domain");
    accounts.mailbox_add(&mailbox("ann@example.org")).await.expect("mailbox");
    let note = |user: &str| Note {
        user: user.into(),
        stored: Some(Stored { bytes: 1234, messages: 2 }),
        login: Some(Login { service: "imap".into(), time: 1_700_000_000, remote: "192.0.2.1".into() }),
    };
    accounts.keep_usage(&[note("ann@example.org"), note("gone@example.org")]).await.expect("kept");
    let rows = accounts.list_mailboxes(Some("ann@example.org")).await.expect("list");
    assert!(matches!(&rows[..], [Row::Mailbox(row)] if row.used_bytes == Some(1234) && row.scheme == "PLAIN"));
}

#[tokio::test]
async fn a_database_survives_being_opened_again_and_a_later_one_is_refused() {
    let (dir, accounts) = open().await;
    accounts.domain_add(&domain("example.org"), "").await.expect("domain");
    accounts.close().await;
    let path = dir.path().join("accounts.sqlite");
    let accounts = Accounts::open(&Source::Own(path.clone())).await.expect("open again");
    assert_eq!(accounts.list_domains(None).await.expect("list").len(), 1);
    accounts.ask("PRAGMA user_version = 99", &[]).await.expect("pragma");
    accounts.close().await;
    let error = Accounts::open(&Source::Own(path.clone())).await.err().expect("refused");
    assert!(format!("{error:#}").contains("later release"), "{error:#}");
    std::fs::write(&path, "this is no database at all, but a text of some length").expect("write");
    assert!(Accounts::open(&Source::Own(path.clone())).await.is_err());
}

#[tokio::test]
async fn tables_that_postfixadmin_made_are_taken_as_they_are() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("accounts.sqlite");
    let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await.expect("open");
    // Fewer columns than ours, as an old version had; `active` is text there.
    for statement in [
        "CREATE TABLE domain (domain varchar(255) NOT NULL, description varchar(255) NOT NULL, aliases int(10) NOT NULL default '0',
         mailboxes int(10) NOT NULL default '0', maxquota bigint(20) NOT NULL default '0', quota bigint(20) NOT NULL default '0',
         transport varchar(255) NOT NULL, backupmx tinyint(1) NOT NULL default '0', created datetime NOT NULL default '2000-01-01 00:00:00',
         modified datetime NOT NULL default '2000-01-01 00:00:00', active tinyint(1) NOT NULL default '1', PRIMARY KEY (domain))",
        "INSERT INTO domain (domain, description, transport) VALUES ('example.org', '', 'virtual')",
    ] {
        sqlx::query(statement).execute(&pool).await.expect("statement");
    }
    pool.close().await;
    let accounts = Accounts::open(&Source::Own(path.clone())).await.expect("open");
    accounts.mailbox_add(&mailbox("ann@example.org")).await.expect("mailbox");
    assert_eq!(accounts.usernames().await.expect("list"), ["ann@example.org"]);
}

#[tokio::test]
async fn another_hash_is_stored_only_where_the_old_one_still_is() {
    let (_dir, accounts) = open().await;
    accounts.domain_add(&domain("example.org"), "").await.expect("domain");
    accounts.mailbox_add(&mailbox("ann@example.org")).await.expect("mailbox");
    let now = async || accounts.mailbox("ann@example.org").await.expect("answer").expect("there").password;
    assert!(!accounts.replace_password("ann@example.org", "{PLAIN}PW", "{PLAIN}x").await.expect("asked"));
    assert!(!accounts.replace_password("bob@example.org", "{PLAIN}pw", "{PLAIN}x").await.expect("asked"));
    assert_eq!(now().await.as_str(), "{PLAIN}pw");
    assert!(accounts.replace_password("ann@example.org", "{PLAIN}pw", "{PLAIN}x").await.expect("asked"));
    assert!(!accounts.replace_password("ann@example.org", "{PLAIN}pw", "{PLAIN}y").await.expect("asked"));
    assert_eq!(now().await.as_str(), "{PLAIN}x");
    // As a short column does it.
    let cut = "CREATE TRIGGER cut AFTER UPDATE OF password ON mailbox
         BEGIN UPDATE mailbox SET password = substr(NEW.password, 1, 10) WHERE username = NEW.username; END";
    accounts.ask(cut, &[]).await.expect("trigger");
    let result = accounts.replace_password("ann@example.org", "{PLAIN}x", "{PLAIN}longer").await;
    assert!(matches!(&result, Err(WriteError::Refused(why)) if why.contains("too short")), "{result:?}");
    assert_eq!(now().await.as_str(), "{PLAIN}x");
    assert!(accounts.replace_password("ann@example.org", "{PLAIN}x", "{PLAIN}abc").await.expect("asked"));
}

#[tokio::test]
async fn what_is_remembered_holds_until_any_program_changes_it() {
    let folder = tempfile::tempdir().expect("folder");
    let (file, link) = (folder.path().join("real/accounts.sqlite"), folder.path().join("link.sqlite"));
    std::fs::create_dir(folder.path().join("real")).expect("folder");
    std::os::unix::fs::symlink(&file, &link).expect("link");
    for path in [&file, &link] {
        let accounts = Accounts::open(&Source::Own(path.clone())).await.expect("open");
        let name = format!("{}.org", path.file_stem().expect("name").to_string_lossy());
        let domain: Domain = name.parse().expect("domain");
        let there = async || accounts.lookup(AccountsTable::Domains, &name).await.expect("answer").is_some();
        assert!(!there().await && !there().await, "absence is remembered");
        accounts.domain_add(&domain, "").await.expect("add");
        assert!(there().await && there().await);
        let known = accounts.known.clone().expect("our own file");
        let stamp = known.stamp().expect("a header");
        assert!(known.get(stamp, AccountsTable::Domains as usize, &name).is_some(), "it is in memory");
        // another program
        let other = Database::new(vec![Place::own_file(path)]).expect("database");
        let mut change = other.begin().await.expect("begin");
        change.execute(format!("UPDATE domain SET active = 0 WHERE domain = '{name}'").into(), &[]).await.expect("update");
        assert!(there().await, "not before it is committed");
        change.commit().await.expect("commit");
        assert!(!there().await, "{}", path.display());
        accounts.close().await;
    }
}
