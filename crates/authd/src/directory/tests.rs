use super::*;
use crate::accounts::NewMailbox;
use mail_types::{Address, Domain};

struct Place {
    dir: tempfile::TempDir,
    accounts: Accounts,
}

impl Place {
    async fn new() -> Place {
        let dir = tempfile::tempdir().expect("directory");
        let accounts = Accounts::open(&crate::accounts::Source::Own(dir.path().join("accounts.sqlite"))).await.expect("accounts");
        Place { dir, accounts }
    }

    fn config(&self, text: &str) -> Config {
        let file = self.dir.path().join("facteur.toml");
        Config::from_texts(&file, &[(file.clone(), format!("hostname = \"mx.mon-domaine.fr\"\n{text}"))]).expect("settings")
    }

    fn open(&self, text: &str) -> anyhow::Result<Directory> {
        Directory::open(&self.config(text), &self.accounts)
    }
}

fn field<'a>(found: &'a Found, name: &str) -> Option<&'a str> {
    found.fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

const GUIDE: &str = "[[authd.passdb]]\ndriver = \"passwd-file\"\nargs = \"passwd\"\n\
                     [[authd.userdb]]\ndriver = \"static\"\nargs = \"uid=5000 gid=5000 home=/home/vmail/%u\"\n";

async fn stored(directory: &Directory, user: &str, remote: Option<IpAddr>) -> Result<Stored, Fault> {
    directory.find(user, "imap", remote, |_| true).await.expect("answer")
}

#[tokio::test]
async fn the_guides_passwd_file_and_static_userdb_work() {
    let place = Place::new().await;
    assert!(place.open(GUIDE).is_err(), "without the file");
    std::fs::write(place.dir.path().join("passwd"), "user1@mon-domaine.fr:{PLAIN}password\nuser3:{PLAIN}x\n").expect("write");
    let directory = place.open(GUIDE).expect("directory");
    let found = directory.user("User1@mon-domaine.fr").await.expect("answer").expect("there");
    assert_eq!(found.name, "user1@mon-domaine.fr");
    assert_eq!(field(&found, "uid"), Some("5000"));
    assert_eq!(field(&found, "home"), Some("/home/vmail/user1@mon-domaine.fr"));
    assert_eq!(field(&found, "mail"), Some("maildir:/home/vmail/user1@mon-domaine.fr"));
    // Without a domain: the default realm, which is $mydomain.
    assert_eq!(directory.user("user3").await.expect("answer").expect("there").name, "user3@mon-domaine.fr");
    assert_eq!(stored(&directory, "user3@mon-domaine.fr", None).await.expect("there").password.as_str(), "{PLAIN}x");
    assert_eq!(directory.user("nobody@mon-domaine.fr").await.expect("answer"), None);
    assert_eq!(directory.user("../user1@mon-domaine.fr").await.expect("answer"), None);
    assert_eq!(directory.list().await.expect("list"), ["user1@mon-domaine.fr", "user3@mon-domaine.fr"]);
}

#[tokio::test]
async fn accounts_give_maildir_and_quota() {
    let place = Place::new().await;
    let directory = place.open("").expect("directory");
    let domain = Domain::parse("example.org").expect("domain");
    place.accounts.domain_add(&domain, "").await.expect("domain");
    let add = |local: &str, maildir: String| NewMailbox {
        address: Address::new(local, Domain::parse("example.org").expect("domain")).expect("address"),
        password: Zeroizing::new("{PLAIN}pw".into()),
        name: String::new(),
        maildir,
        quota_bytes: 100,
    };
    assert_eq!(directory.new_maildir("ann@example.org").expect("path"), "ann@example.org/");
    place.accounts.mailbox_add(&add("ann", directory.new_maildir("ann@example.org").expect("path"))).await.expect("mailbox");
    place.accounts.mailbox_add(&add("bob", String::new())).await.expect("mailbox");
    place.accounts.mailbox_add(&add("eve", "../../etc/".into())).await.expect("mailbox");
    let ann = directory.user("ann@example.org").await.expect("answer").expect("there");
    assert_eq!(field(&ann, "mail"), Some("maildir:/home/vmail/ann@example.org"));
    assert_eq!(field(&ann, "quota_rule"), Some("*:bytes=100"));
    let bob = directory.user("bob@example.org").await.expect("answer").expect("there");
    assert_eq!(field(&bob, "mail"), Some("maildir:/home/vmail/bob@example.org"));
    // A path that leaves the mail root is nobody's mailbox, and not "no such user" either.
    assert!(directory.user("eve@example.org").await.is_err());
    assert_eq!(directory.list().await.expect("list").len(), 3);
}

#[tokio::test]
async fn the_column_of_new_mailboxes_follows_mail_location() {
    let place = Place::new().await;
    for (location, base, want) in [
        ("maildir:/home/vmail/%u", "/home/vmail", "ann@x.org/"),
        ("maildir:/home/vmail/%d/%n", "/home/vmail/", "x.org/ann/"),
        ("maildir:/home/vmail/%d/%n/Maildir:INDEX=/var/%u", "/home/vmail", "x.org/ann/Maildir/"),
        ("maildir:/srv/%u", "/home/vmail", "x.org/ann/"),
        ("maildir:/d/mail/%d/%n/Maildir", "/d/etc/../mail", "x.org/ann/Maildir/"),
        ("maildir:%h/Maildir", "/home/vmail", "x.org/ann/"),
    ] {
        let settings = format!("[mail]\nmail_location = \"{location}\"\nvirtual_mailbox_base = \"{base}\"\n");
        assert_eq!(place.open(&settings).expect("directory").new_maildir("ann@x.org").expect("path"), want, "{location}");
    }
}

#[tokio::test]
async fn a_mail_root_that_goes_up_from_the_settings_works() {
    let place = Place::new().await;
    let dir = place.dir.path().display();
    let settings = format!("[mail]\nmail_location = \"maildir:{dir}/mail/%d/%n/Maildir\"\nvirtual_mailbox_base = \"x/../mail\"\n");
    let directory = place.open(&settings).expect("directory");
    let domain = Domain::parse("example.org").expect("domain");
    place.accounts.domain_add(&domain, "").await.expect("domain");
    let new = NewMailbox {
        address: Address::parse("ann@example.org").expect("address"),
        password: Zeroizing::new("{PLAIN}pw".into()),
        name: String::new(),
        maildir: directory.new_maildir("ann@example.org").expect("path"),
        quota_bytes: 0,
    };
    place.accounts.mailbox_add(&new).await.expect("mailbox");
    let ann = directory.user("ann@example.org").await.expect("answer").expect("there");
    assert_eq!(field(&ann, "mail").map(str::to_owned), Some(format!("maildir:{dir}/mail/example.org/ann/Maildir")));
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused_at_start() {
    let place = Place::new().await;
    let userdb = |args: &str| format!("[[authd.userdb]]\ndriver = \"static\"\nargs = \"{args}\"\n");
    for (settings, words) in [
        (userdb("uid=0"), "mail_uid"),
        (userdb("gid=1"), "mail_gid"),
        (userdb("uid=no-such-user-here"), "no user"),
        (userdb("home=/%x"), "unknown variable"),
        (userdb("allow_all_users=yes"), "every address"),
        (userdb("home"), "name=value"),
        ("[mail]\nmail_location = \"mbox:/var/mail/%u\"\n".into(), "only maildir"),
        ("[mail]\nmail_location = \"maildir:/%q\"\n".into(), "unknown variable"),
        ("[[authd.passdb]]\ndriver = \"passwd-file\"\n".into(), "needs the path"),
        ("[[authd.passdb]]\ndriver = \"passwd-file\"\nargs = \"/no/such/file\"\n".into(), "/no/such/file"),
    ] {
        let error = place.open(&settings).err().unwrap_or_else(|| panic!("taken: {settings}"));
        assert!(format!("{error:#}").contains(words), "{error:#}");
    }
}

#[tokio::test]
async fn users_of_a_passwd_file_can_have_homes_and_fields_of_their_own() {
    let place = Place::new().await;
    let line = "ann@x.org:{PLAIN}p:5000:5000::/srv/ann::userdb_mail=maildir:~/Maildir userdb_quota_rule=*:storage=5M\n\
                bob@x.org:{PLAIN}p:0:0::/root::\neve@x.org:{PLAIN}p:::::: nologin\n";
    std::fs::write(place.dir.path().join("users"), line).expect("write");
    let settings = "[[authd.passdb]]\ndriver = \"passwd-file\"\nargs = \"scheme=PLAIN users\"\n[[authd.userdb]]\ndriver = \"passwd-file\"\nargs = \"users\"\n";
    let directory = place.open(settings).expect("directory");
    let ann = directory.user("ann@x.org").await.expect("answer").expect("there");
    assert_eq!(
        (field(&ann, "home"), field(&ann, "mail"), field(&ann, "quota_rule")),
        (Some("/srv/ann"), Some("maildir:~/Maildir"), Some("*:storage=5M"))
    );
    assert!(directory.user("bob@x.org").await.is_err(), "mail of root");
    assert!(matches!(stored(&directory, "eve@x.org", None).await, Err(Fault::Barred(_))));
    assert_eq!(directory.known("eve@x.org").await.expect("answer").as_deref(), Some("eve@x.org"));
    assert_eq!(stored(&directory, "ann@x.org", None).await.expect("there").default_scheme, "PLAIN");
}

#[tokio::test]
async fn queries_of_ones_own_give_passwords_and_users() {
    let place = Place::new().await;
    let domain = Domain::parse("example.org").expect("domain");
    place.accounts.domain_add(&domain, "").await.expect("domain");
    let add = NewMailbox {
        address: Address::new("ann", domain.clone()).expect("address"),
        password: Zeroizing::new("{PLAIN}pw".into()),
        name: String::new(),
        maildir: "x/".into(),
        quota_bytes: 2048,
    };
    place.accounts.mailbox_add(&add).await.expect("mailbox");
    let text = "driver = sqlite\nconnect = accounts.sqlite\npassword_query = SELECT username AS user, password, \\\n  '/srv/%d/%n' AS userdb_home, \\\n  \
         'maildir:/srv/%d/%n' AS userdb_mail, '192.0.2.0/24,::1' AS allow_nets FROM mailbox WHERE username = '%u'\n\
         user_query = SELECT '/srv/%u' AS home, concat('dirsize:storage=', quota) AS quota FROM mailbox WHERE username = '%u'\n\
         iterate_query = SELECT username FROM mailbox\n";
    // SQLite before 3.44 has no concat().
    std::fs::write(place.dir.path().join("sql.conf.ext"), text.replace("concat('dirsize:storage=', quota)", "'dirsize:storage=' || quota"))
        .expect("file");
    let sql = "driver = \"sql\"\nargs = \"sql.conf.ext\"\n";
    let directory = place.open(&format!("[[authd.passdb]]\n{sql}[[authd.userdb]]\n{sql}")).expect("directory");
    let ip = |text: &str| Some(text.parse().expect("address"));
    let ann = stored(&directory, "ann@example.org", ip("192.0.2.7")).await.expect("there");
    assert_eq!((ann.user.as_str(), ann.password.as_str(), ann.barred), ("ann@example.org", "{PLAIN}pw", None));
    assert!(matches!(stored(&directory, "ann@example.org", ip("198.51.100.1")).await, Err(Fault::Barred(_))));
    assert!(matches!(stored(&directory, "x' OR '1'='1", None).await, Err(Fault::UnknownUser)));
    let ann = directory.user("Ann@example.org").await.expect("answer").expect("there");
    assert_eq!((field(&ann, "home"), field(&ann, "quota_rule")), (Some("/srv/ann@example.org"), Some("*:bytes=2048")));
    assert_eq!(directory.list().await.expect("list"), ["ann@example.org"]);

    let directory = place.open(&format!("[[authd.passdb]]\n{sql}[[authd.userdb]]\ndriver = \"prefetch\"\n")).expect("directory");
    let ann = directory.user("ann@example.org").await.expect("answer").expect("there");
    assert_eq!((field(&ann, "home"), field(&ann, "mail")), (Some("/srv/example.org/ann"), Some("maildir:/srv/example.org/ann")));
    assert!(directory.user("bob@example.org").await.expect("answer").is_none());
    assert_eq!(directory.list().await.expect("list"), ["ann@example.org"]);
}

#[tokio::test]
async fn an_update_query_stores_another_hash_for_one_user() {
    let place = Place::new().await;
    let domain = Domain::parse("example.org").expect("domain");
    place.accounts.domain_add(&domain, "").await.expect("domain");
    for local in ["ann", "bob"] {
        let add = NewMailbox {
            address: Address::new(local, domain.clone()).expect("address"),
            password: Zeroizing::new("{PLAIN}pw".into()),
            name: String::new(),
            maildir: format!("{local}/"),
            quota_bytes: 0,
        };
        place.accounts.mailbox_add(&add).await.expect("mailbox");
    }
    let sound = "WHERE username = '%u' AND password = '%{old_password}'";
    for (condition, want) in [
        (sound, Some(true)),
        (sound, Some(false)),
        ("WHERE '%u' <> '' AND password <> '%{old_password}'", None),
        ("WHERE '%u%{old_password}' <> ''", None),
    ] {
        let text = format!(
            "driver = sqlite\nconnect = accounts.sqlite\npassword_query = SELECT password FROM mailbox WHERE username = '%u'\n\
             update_query = UPDATE mailbox SET password = '%{{new_password}}' {condition}\n"
        );
        std::fs::write(place.dir.path().join("sql.conf.ext"), text).expect("file");
        let directory = place.open("[[authd.passdb]]\ndriver = \"sql\"\nargs = \"sql.conf.ext\"\n").expect("directory");
        let writer = directory.sources(false).next().expect("a passdb").writer().expect("with an update_query");
        let old = if want.is_some() { "{PLAIN}pw" } else { "{PLAIN}none" };
        let asked = Asker { user: "ann@example.org", ..Asker::default() };
        assert_eq!(writer.replace(&asked, "ann@example.org", old, "{PLAIN}new").await.ok(), want, "{condition}");
        assert_eq!(stored(&directory, "ann@example.org", None).await.expect("there").password.as_str(), "{PLAIN}new", "{condition}");
        assert_eq!(stored(&directory, "bob@example.org", None).await.expect("there").password.as_str(), "{PLAIN}pw", "{condition}");
    }
}

#[cfg(not(feature = "ldap"))]
#[tokio::test]
async fn a_driver_that_was_not_built_in_is_named() {
    let place = Place::new().await;
    for table in ["passdb", "userdb"] {
        let config = place.config(&format!("[[authd.{table}]]\ndriver = \"ldap\"\nargs = \"dovecot-ldap.conf.ext\"\n"));
        let error = Directory::check(&config).expect_err("there is none");
        assert!(format!("{error:#}").contains("this authd was built without LDAP: build with --features ldap"), "{error:#}");
    }
}

#[tokio::test]
async fn people_of_the_system_have_mail_that_belongs_to_the_owner_of_all_mail() {
    let person = std::fs::read_to_string("/etc/passwd").expect("users").lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let is_person = fields.get(2)?.parse::<u32>().is_ok_and(|uid| (1000..65534).contains(&uid));
        is_person.then(|| (fields[0].to_owned(), fields[5].to_owned()))
    });
    let place = Place::new().await;
    let text = "[mail]\nmail_location = \"maildir:/srv/mail/%n\"\n[authd]\nauth_username_format = \"%Ln\"\n[[authd.passdb]]\ndriver = \"passwd-file\"\nargs = \"passwd\"\n\
                [[authd.userdb]]\ndriver = \"passwd\"\n";
    std::fs::write(place.dir.path().join("passwd"), "").expect("write");
    let directory = place.open(text).unwrap_or_else(|e| panic!("{e:#}"));
    assert_eq!(directory.user("root").await.expect("answer"), None);
    assert_eq!(directory.user("no-such-user").await.expect("answer"), None);
    let Some((name, home)) = person else {
        eprintln!("skipped: there are no people on this machine");
        return;
    };
    let found = directory.user(&name).await.expect("answer").expect("there");
    assert_eq!((field(&found, "home"), field(&found, "mail")), (Some(home.as_str()), Some(format!("maildir:/srv/mail/{name}").as_str())));
    let owner = place.config(text).mail.mail_uid.to_string();
    assert_eq!(field(&found, "uid"), Some(owner.as_str()), "not the person's");
    assert!(directory.list().await.expect("list").contains(&name));
    let moved = place.open(&format!("{text}args = \"home=/home/vmail/%u\"\n")).unwrap_or_else(|e| panic!("{e:#}"));
    let found = moved.user(&name).await.expect("answer").expect("there");
    assert_eq!(field(&found, "home"), Some(format!("/home/vmail/{name}").as_str()));
}
