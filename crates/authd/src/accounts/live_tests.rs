//! The same accounts in MariaDB and PostgreSQL, with the tables that PostfixAdmin 3.3 makes there.

use super::*;
use ipc::accounts::Row as AccountsRow;
use ipc::usage::{Login, Note, Stored};
use mail_types::{Address, Domain};
use testkit::databases::{KINDS, Kind as Peer, PASSWORD, Server};

/// What PostfixAdmin's setup has made in the end (`upgrade.php` to version 1847), as the servers tell it; only the tables that we touch.
fn postfixadmin_tables(peer: Peer) -> String {
    let (flag, yes, no, time, begun) = match peer {
        Peer::Mariadb => ("tinyint(1)", "1", "0", "datetime", "'2000-01-01 00:00:00'"),
        Peer::Postgres => ("boolean", "true", "false", "timestamp with time zone", "'2000-01-01 00:00:00'"),
    };
    let times =
        format!("created {time} NOT NULL DEFAULT {begun}, modified {time} NOT NULL DEFAULT {begun}, active {flag} NOT NULL DEFAULT {yes}");
    let mut text = format!(
        "CREATE TABLE domain (domain varchar(255) NOT NULL PRIMARY KEY, description varchar(255) NOT NULL, aliases integer NOT NULL DEFAULT 0,
           mailboxes integer NOT NULL DEFAULT 0, maxquota bigint NOT NULL DEFAULT 0, quota bigint NOT NULL DEFAULT 0,
           transport varchar(255) NOT NULL, backupmx {flag} NOT NULL DEFAULT {no}, {times}, password_expiry integer DEFAULT 0);
         CREATE TABLE mailbox (username varchar(255) NOT NULL PRIMARY KEY, password varchar(255) NOT NULL, name varchar(255) NOT NULL,
           maildir varchar(255) NOT NULL, quota bigint NOT NULL DEFAULT 0, local_part varchar(255) NOT NULL, domain varchar(255) NOT NULL,
           {times}, phone varchar(30) NOT NULL DEFAULT '', email_other varchar(255) NOT NULL DEFAULT '', token varchar(255) NOT NULL DEFAULT '',
           token_validity {time} NOT NULL DEFAULT {begun}, password_expiry {time} NOT NULL DEFAULT {begun});
         CREATE TABLE alias (address varchar(255) NOT NULL PRIMARY KEY, goto text NOT NULL, domain varchar(255) NOT NULL, {times});
         CREATE TABLE alias_domain (alias_domain varchar(255) NOT NULL PRIMARY KEY, target_domain varchar(255) NOT NULL, {times});
         CREATE TABLE admin (username varchar(255) NOT NULL PRIMARY KEY, password varchar(255) NOT NULL, superadmin {flag} NOT NULL DEFAULT {no},
           phone varchar(30) NOT NULL DEFAULT '', email_other varchar(255) NOT NULL DEFAULT '', token varchar(255) NOT NULL DEFAULT '',
           token_validity {time} NOT NULL DEFAULT {begun}, {times});
         CREATE TABLE domain_admins (username varchar(255) NOT NULL, domain varchar(255) NOT NULL, created {time} NOT NULL DEFAULT {begun},
           active {flag} NOT NULL DEFAULT {yes});
         CREATE TABLE quota2 (username varchar(100) NOT NULL PRIMARY KEY, bytes bigint NOT NULL DEFAULT 0, messages integer NOT NULL DEFAULT 0);
         CREATE TABLE vacation (email varchar(255) NOT NULL PRIMARY KEY, domain varchar(255) NOT NULL, {times});
         CREATE TABLE vacation_notification (on_vacation varchar(255) NOT NULL REFERENCES vacation (email), notified varchar(255) NOT NULL);
         INSERT INTO domain (domain, description, transport) VALUES ('ALL', '', '');"
    );
    if peer == Peer::Postgres {
        text.push_str(
            "ALTER TABLE mailbox ADD FOREIGN KEY (domain) REFERENCES domain (domain);
             ALTER TABLE alias ADD FOREIGN KEY (domain) REFERENCES domain (domain);
             ALTER TABLE alias_domain ADD FOREIGN KEY (alias_domain) REFERENCES domain (domain),
               ADD FOREIGN KEY (target_domain) REFERENCES domain (domain);
             ALTER TABLE domain_admins ADD FOREIGN KEY (domain) REFERENCES domain (domain);
             ALTER TABLE vacation ADD FOREIGN KEY (domain) REFERENCES domain (domain);
             CREATE FUNCTION merge_quota2() RETURNS TRIGGER AS $$
             BEGIN
               IF NEW.messages < 0 OR NEW.messages IS NULL THEN
                 IF NEW.messages IS NULL THEN NEW.messages = 0; ELSE NEW.messages = -NEW.messages; END IF;
                 RETURN NEW;
               END IF;
               LOOP
                 UPDATE quota2 SET bytes = bytes + NEW.bytes, messages = messages + NEW.messages WHERE username = NEW.username;
                 IF FOUND THEN RETURN NULL; END IF;
                 BEGIN
                   IF NEW.messages = 0 THEN INSERT INTO quota2 (bytes, messages, username) VALUES (NEW.bytes, NULL, NEW.username);
                   ELSE INSERT INTO quota2 (bytes, messages, username) VALUES (NEW.bytes, -NEW.messages, NEW.username);
                   END IF;
                   RETURN NULL;
                 EXCEPTION WHEN unique_violation THEN
                 END;
               END LOOP;
             END; $$ LANGUAGE plpgsql;
             CREATE TRIGGER mergequota2 BEFORE INSERT ON quota2 FOR EACH ROW EXECUTE PROCEDURE merge_quota2();",
        );
    }
    text
}

/// Starts what is installed; says what is not.
fn servers() -> impl Iterator<Item = Server> {
    KINDS.into_iter().filter_map(|kind| {
        let server = Server::start(kind);
        if server.is_none() {
            eprintln!("skipped: {kind:?} is not installed");
        }
        server
    })
}

async fn open(server: &Server) -> Accounts {
    let source = Source::PostfixAdmin { url: server.url(), password: Some(Zeroizing::new(PASSWORD.to_owned())) };
    Accounts::open(&source).await.unwrap_or_else(|e| panic!("{e:#}"))
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
        quota_bytes: 3 << 30,
    }
}

#[tokio::test]
async fn postfixadmins_tables_are_read_and_changed_as_they_are() {
    for server in servers() {
        server.run_sql(&postfixadmin_tables(server.kind()));
        let accounts = open(&server).await;
        let told = format!("{:?}", server.kind());
        let lookup = async |table, key: &str| accounts.lookup(table, key).await.unwrap_or_else(|e| panic!("{told} {key}: {e}"));

        // The row for all domains is none, whatever the collation.
        assert_eq!(lookup(AccountsTable::Domains, "all").await, None, "{told}");
        assert!(accounts.list_domains(None).await.expect("list").is_empty(), "{told}");
        accounts.domain_add(&domain("example.org"), "ours").await.unwrap_or_else(|e| panic!("{told}: {e}"));
        accounts.mailbox_add(&mailbox("Ann@example.org")).await.unwrap_or_else(|e| panic!("{told}: {e}"));
        accounts.alias_add("", &domain("example.org"), &[address("ann@example.org")]).await.expect("catch-all");
        accounts.alias_add("info", &domain("example.org"), &[address("ann@example.org"), address("x@else.org")]).await.expect("alias");
        accounts.alias_domain_add(&domain("example.net"), &domain("example.org")).await.expect("alias domain");
        for (table, key, want) in [
            (AccountsTable::Domains, "EXAMPLE.org", Some("example.org")),
            (AccountsTable::RelayDomains, "example.org", None),
            (AccountsTable::Mailboxes, "ann@example.org", Some("Ann@example.org/")),
            // Some collations say that these are the same.
            (AccountsTable::Mailboxes, "änn@example.org", None),
            (AccountsTable::Aliases, "ann@example.org", Some("ann@example.org")),
            (AccountsTable::Aliases, "info@example.org", Some("ann@example.org,x@else.org")),
            (AccountsTable::Aliases, "@example.org", Some("ann@example.org")),
            (AccountsTable::AliasDomains, "example.net", Some("example.org")),
            (AccountsTable::Aliases, "' OR '1'='1", None),
            (AccountsTable::Aliases, "\u{1f600}@example.org", None),
        ] {
            assert_eq!(lookup(table, key).await.as_deref(), want, "{told} {table:?} {key}");
        }
        let row = accounts.mailbox("ann@example.org").await.expect("answer").expect("there");
        assert_eq!((row.username.as_str(), row.quota_bytes, row.password.as_str()), ("ann@example.org", 3 << 30, "{PLAIN}pw"), "{told}");
        assert_eq!(accounts.usernames().await.expect("list"), ["ann@example.org"], "{told}");
        let refused = accounts.mailbox_add(&mailbox("ann@example.org")).await;
        assert!(matches!(refused, Err(WriteError::Refused(_))), "{told}: {refused:?}");

        // Nor are they the same to who changes something.
        for refused in [
            accounts.mailbox_delete(&address("änn@example.org")).await,
            accounts
                .mailbox_change(
                    &address("änn@example.org"),
                    &MailboxChange { password: Some("{PLAIN}other".to_owned().into()), ..MailboxChange::default() },
                )
                .await,
            accounts.alias_delete("ïnfo", &domain("example.org")).await,
        ] {
            assert!(matches!(refused, Err(WriteError::Refused(_))), "{told}: {refused:?}");
        }
        // PostfixAdmin has alias domains in `domain` too.
        server.run_sql("INSERT INTO domain (domain, description, transport, active) VALUES ('off.example', '', '', FALSE)");
        accounts.alias_domain_add(&domain("off.example"), &domain("example.org")).await.expect("alias domain");
        assert_eq!(lookup(AccountsTable::AliasDomains, "off.example").await, None, "{told}");
        accounts.domain_delete(&domain("off.example"), false).await.unwrap_or_else(|e| panic!("{told}: {e}"));
        let left = accounts.list_alias_domains(None).await.expect("list");
        assert!(matches!(&left[..], [_]), "{told}: {left:?}");

        // As its own pages would see it.
        let row = server.query("SELECT username, local_part, domain, name, active FROM mailbox").trim().replace("\tt", "\t1");
        assert_eq!(row, "ann@example.org\tann\texample.org\tAnn Lee\t1", "{told}");
        let listed = accounts.list_domains(Some("example.org")).await.expect("list");
        assert!(
            matches!(&listed[..], [AccountsRow::Domain(row)] if (row.mailboxes, row.aliases, row.active) == (1, 2, true) && row.created.len() == 19),
            "{told}: {listed:?}"
        );
        assert_eq!(accounts.list_aliases(None).await.expect("list").len(), 2, "{told}");
        assert_eq!(accounts.list_aliases(Some("ann@example.org")).await.expect("list").len(), 1, "{told}");
        assert_eq!(accounts.list_alias_domains(None).await.expect("list").len(), 1, "{told}");

        // PostfixAdmin changed something.
        let no = if server.kind() == Peer::Postgres { "false" } else { "0" };
        server.run_sql(&format!("UPDATE domain SET active = {no} WHERE domain = 'example.org'"));
        assert_eq!(lookup(AccountsTable::Mailboxes, "ann@example.org").await, None, "{told}");
        accounts.domain_change(&domain("example.org"), None, Some(true), Some(true)).await.expect("change");
        assert_eq!(lookup(AccountsTable::RelayDomains, "example.org").await.as_deref(), Some("example.org"), "{told}");
        assert_eq!(lookup(AccountsTable::Domains, "example.org").await, None, "{told}");
        let change = MailboxChange {
            password: Some("{PLAIN}new".to_owned().into()),
            quota_bytes: Some(7),
            active: Some(false),
            ..MailboxChange::default()
        };
        accounts.mailbox_change(&address("ann@example.org"), &change).await.expect("change");
        assert_eq!(lookup(AccountsTable::Aliases, "ann@example.org").await, None, "{told}");
        server.run_sql(
            "INSERT INTO vacation (email, domain) VALUES ('ann@example.org', 'example.org'), ('bob@example.org', 'example.org');
             INSERT INTO vacation_notification VALUES ('ann@example.org', 'x@else.org'), ('bob@example.org', 'x@else.org');",
        );
        accounts.mailbox_add(&mailbox("bob@example.org")).await.expect("add");
        accounts.mailbox_delete(&address("bob@example.org")).await.unwrap_or_else(|e| panic!("{told}: {e}"));
        assert_eq!(server.query("SELECT email FROM vacation").trim(), "ann@example.org", "{told}");
        accounts.domain_delete(&domain("example.org"), true).await.unwrap_or_else(|e| panic!("{told}: {e}"));
        for table in ["alias", "vacation", "vacation_notification", "alias_domain"] {
            assert_eq!(server.query(&format!("SELECT COUNT(*) FROM {table}")).trim(), "0", "{told} {table}");
        }
        accounts.close().await;
    }
}

/// What later versions add (`upgrade.php` 1849, and `smtp_active` of version 4).
fn later_tables(peer: Peer) -> String {
    let (id, flag, yes) = match peer {
        Peer::Mariadb => ("integer NOT NULL AUTO_INCREMENT PRIMARY KEY", "tinyint(1)", "1"),
        Peer::Postgres => ("SERIAL PRIMARY KEY", "boolean", "true"),
    };
    format!(
        "ALTER TABLE mailbox ADD COLUMN totp_secret varchar(255) DEFAULT NULL;
         ALTER TABLE mailbox ADD COLUMN smtp_active {flag} NOT NULL DEFAULT {yes};
         CREATE TABLE totp_exception_address (id {id}, ip varchar(46) NOT NULL, username varchar(255) DEFAULT NULL,
           description varchar(255) DEFAULT NULL);
         CREATE TABLE mailbox_app_password (id {id}, username varchar(255) DEFAULT NULL, description varchar(255) DEFAULT NULL,
           password_hash varchar(255) DEFAULT NULL);"
    )
}

#[tokio::test]
async fn what_later_versions_of_postfixadmin_have_is_used_where_it_is_there() {
    for server in servers() {
        let told = format!("{:?}", server.kind());
        server.run_sql(&postfixadmin_tables(server.kind()));
        let ann = address("ann@example.org");
        let off = MailboxChange { services: [Some(false), None, None], ..MailboxChange::default() };
        let accounts = open(&server).await;
        accounts.domain_add(&domain("example.org"), "").await.expect("domain");
        accounts.mailbox_add(&mailbox("ann@example.org")).await.expect("mailbox");
        let row = async |accounts: &Accounts| accounts.mailbox("ann@example.org").await.expect("answer").expect("there");
        assert!(row(&accounts).await.may_use("smtp") && !row(&accounts).await.has_second_factor, "{told}");
        assert!(
            matches!(accounts.mailbox_change(&ann, &off).await, Err(WriteError::Refused(why)) if why.contains("smtp_active")),
            "{told}"
        );
        assert!(matches!(accounts.app_password_add(&ann, "phone", "{PLAIN}x").await, Err(WriteError::Refused(_))), "{told}");
        assert!(accounts.app_passwords("ann@example.org").await.expect("answer").is_empty(), "{told}");
        accounts.close().await;

        server.run_sql(&later_tables(server.kind()));
        let accounts = open(&server).await;
        accounts.mailbox_change(&ann, &off).await.expect("change");
        assert!(!row(&accounts).await.may_use("smtp") && row(&accounts).await.may_use("imap"), "{told}");
        let imap = MailboxChange { services: [None, Some(false), None], ..MailboxChange::default() };
        assert!(matches!(accounts.mailbox_change(&ann, &imap).await, Err(WriteError::Refused(_))), "{told}");
        let AccountsRow::Mailbox(listed) = accounts.list_mailboxes(None).await.expect("list").remove(0) else { panic!("{told}") };
        assert_eq!(listed.off, ["smtp"], "{told}");

        accounts.app_password_add(&ann, "phone", "{PLAIN}x").await.expect("added");
        let found = accounts.app_passwords("ann@example.org").await.expect("answer");
        assert_eq!(found.iter().map(|app| app.password.as_str()).collect::<Vec<_>>(), ["{PLAIN}x"], "{told}");
        accounts.app_password_used("ann@example.org", found[0].id, Some([192, 0, 2, 1].into())).await.expect("kept");
        let listed = accounts.list_app_passwords(Some("example.org")).await.expect("list");
        let AccountsRow::AppPassword(listed) = &listed[0] else { panic!("{told}") };
        assert!(listed.last_used.is_some() && listed.note == "phone" && listed.remote == "192.0.2.1", "{told}: {listed:?}");
        accounts.app_password_delete(&ann, found[0].id).await.expect("deleted");
        assert!(accounts.app_passwords("ann@example.org").await.expect("answer").is_empty(), "{told}");

        server
            .run_sql("UPDATE mailbox SET totp_secret = 'x'; INSERT INTO totp_exception_address (ip, username) VALUES ('192.0.2.9', NULL);");
        assert!(row(&accounts).await.has_second_factor, "{told}");
        for (ip, want) in [([192, 0, 2, 9], true), ([192, 0, 2, 8], false)] {
            assert_eq!(accounts.is_excepted("ann@example.org", Some(ip.into())).await.expect("answer"), want, "{told}");
        }

        // Who gets the name next inherits nothing.
        server.run_sql(
            "INSERT INTO mailbox_app_password (username, password_hash) VALUES ('bob@example.org', 'x');
             INSERT INTO totp_exception_address (ip, username) VALUES ('192.0.2.8', 'example.org'), ('192.0.2.8', '@example.org'),
               ('192.0.2.8', 'bob@example.org'), ('192.0.2.7', 'example.net');",
        );
        accounts.mailbox_add(&mailbox("bob@example.org")).await.unwrap_or_else(|e| panic!("{told}: {e}"));
        assert_eq!(server.query("SELECT COUNT(*) FROM mailbox_app_password").trim(), "0", "{told}");
        accounts.domain_delete(&domain("example.org"), true).await.unwrap_or_else(|e| panic!("{told}: {e}"));
        assert_eq!(server.query("SELECT ip FROM totp_exception_address ORDER BY 1").trim(), "192.0.2.7\n192.0.2.9", "{told}");
        accounts.close().await;
    }
}

#[tokio::test]
async fn sizes_are_set_logins_kept_and_admins_written_as_postfixadmin_does() {
    for server in servers() {
        server.run_sql(&postfixadmin_tables(server.kind()));
        let accounts = open(&server).await;
        let told = format!("{:?}", server.kind());
        accounts.domain_add(&domain("example.org"), "").await.expect("domain");
        accounts.mailbox_add(&mailbox("ann@example.org")).await.expect("mailbox");
        for bytes in [1000, 3000, 2000] {
            let login = Login { service: "imap".into(), time: 1_700_000_000 + bytes, remote: "192.0.2.1".into() };
            let note = |user: &str| Note { user: user.into(), stored: Some(Stored { bytes, messages: 2 }), login: Some(login.clone()) };
            accounts.keep_usage(&[note("ann@example.org"), note("gone@example.org")]).await.unwrap_or_else(|e| panic!("{told}: {e}"));
        }
        // Not the sum, which the trigger of PostgreSQL would make.
        assert_eq!(server.query("SELECT username, bytes, messages FROM quota2").trim(), "ann@example.org\t2000\t2", "{told}");
        assert_eq!(server.query("SELECT username, service, time FROM last_login").trim(), "ann@example.org\timap\t1700002000", "{told}");
        let rows = accounts.list_mailboxes(Some("example.org")).await.expect("list");
        assert!(matches!(&rows[..], [AccountsRow::Mailbox(row)] if row.used_bytes == Some(2000)), "{told}: {rows:?}");

        let new = NewAdmin {
            username: address("Root@example.org"),
            password: Zeroizing::new("$1$x".into()),
            domains: vec![domain("example.org")],
            all_domains: true,
        };
        accounts.admin_add(&new).await.unwrap_or_else(|e| panic!("{told}: {e}"));
        assert!(matches!(accounts.admin_add(&new).await, Err(WriteError::Refused(_))), "{told}");
        let admins = accounts.list_admins(None).await.expect("list");
        let [AccountsRow::Admin(admin)] = &admins[..] else { panic!("{told}: {admins:?}") };
        assert_eq!(
            (admin.username.as_str(), &admin.domains[..], admin.all_domains),
            ("root@example.org", &["example.org".to_owned()][..], true)
        );
        let superadmin = server.query("SELECT superadmin FROM admin").trim().replace('t', "1");
        assert_eq!(superadmin, "1", "{told}");
        accounts.admin_change(&new.username, None, Some(&[]), Some(false), Some(false)).await.expect("change");
        assert_eq!(server.query("SELECT COUNT(*) FROM domain_admins").trim(), "0", "{told}");
        accounts.admin_delete(&new.username).await.expect("delete");

        accounts.mailbox_delete(&address("ann@example.org")).await.expect("delete");
        assert_eq!(server.query("SELECT COUNT(*) FROM last_login").trim(), "0", "{told}");
        assert_eq!(server.query("SELECT COUNT(*) FROM quota2").trim(), "0", "{told}");
        accounts.close().await;
    }
}

#[tokio::test]
async fn a_server_that_restarts_costs_temporary_failures_and_nothing_else() {
    for mut server in servers() {
        server.run_sql(&postfixadmin_tables(server.kind()));
        let accounts = open(&server).await;
        accounts.domain_add(&domain("example.org"), "").await.expect("domain");
        let lookup = async || accounts.lookup(AccountsTable::Domains, "example.org").await;
        server.stop();
        // Many at a time meet a server that is away: each is told so, none hears that there is no such domain.
        let asked: Vec<_> = (0..200)
            .map(|_| {
                tokio::spawn({
                    let accounts = accounts.clone();
                    async move { accounts.lookup(AccountsTable::Domains, "example.org").await }
                })
            })
            .collect();
        for answer in asked {
            let answer = answer.await.expect("no panic");
            assert!(matches!(answer, Err(Fault::Away(_))), "{answer:?}");
        }
        server.resume();
        let mut answer = lookup().await;
        for _ in 0..200 {
            if answer.is_ok() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            answer = lookup().await;
        }
        assert_eq!(answer.expect("back").as_deref(), Some("example.org"));
        // A restart between two questions is not noticed at all.
        server.stop();
        server.resume();
        assert_eq!(lookup().await.expect("an answer at once").as_deref(), Some("example.org"));
        accounts.domain_add(&domain("example.net"), "").await.expect("and a change");
        accounts.close().await;
    }
}
