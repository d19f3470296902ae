//! authd as a whole, asked over its sockets.

mod apps;
mod cache;
mod mechanisms;
mod several;
mod upgrade;

use super::*;
use ipc::accounts::{AccountsClient, AccountsError, NewPassword, Request, Services};
use ipc::auth::{AuthClient, AuthFail, AuthRequest, AuthStep};
use ipc::lookup::{Caching, LookupClient};
use ipc::usage::UsageClient;
use ipc::userdb::UserdbClient;
use std::path::Path;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

struct Running {
    dir: Arc<tempfile::TempDir>,
    ctx: Context,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

const FILE: &str = "[[authd.passdb]]\ndriver = \"passwd-file\"\nargs = \"users\"\n[[authd.userdb]]\ndriver = \"static\"\n";

impl Running {
    async fn start(settings: &str) -> Running {
        let dir = Arc::new(tempfile::tempdir().expect("directory"));
        std::fs::write(dir.path().join("users"), "ann@x.org:{PLAIN}pass word\nbob@x.org:{PLAIN}bobs\n").expect("write");
        Running::start_in(dir, settings).await
    }

    async fn start_in(dir: Arc<tempfile::TempDir>, settings: &str) -> Running {
        let text = format!(
            "hostname = \"mx.x.org\"\nmydomain = \"x.org\"\nrun_directory = \".\"\nstate_directory = \".\"\n[mail]\nmail_uid = 0\nmail_gid = 0\n\
             mail_location = \"maildir:mail/%u\"\nvirtual_mailbox_base = \"mail\"\n[authd]\nauth_failure_delay = \"0s\"\n{settings}"
        );
        let file = dir.path().join("facteur.toml");
        let config = Config::from_texts(&file, &[(file.clone(), text)]).unwrap_or_else(|e| panic!("{e}"));
        let ctx = Context::detached("authd", config).expect("context");
        let task = tokio::spawn(crate::run(ctx.clone()));
        let running = Running { dir, ctx, task };
        for _ in 0..1000 {
            // The last socket that is opened; a file of that name may be left from a former run.
            if UnixStream::connect(running.socket("usage")).await.is_ok() || running.task.is_finished() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        running
    }

    async fn stop(self) -> Arc<tempfile::TempDir> {
        self.ctx.shutdown.set();
        self.task.await.expect("task").expect("a clean end");
        self.dir
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn auth(&self) -> AuthClient {
        AuthClient::new(self.socket("auth"))
    }
}

fn login(user: &str, password: &str) -> AuthRequest {
    AuthRequest { remote: Some(([192, 0, 2, 1], 1000).into()), ..AuthRequest::with_password("imap", user, password).expect("no NUL") }
}

async fn verdict(client: &AuthClient, user: &str, password: &str) -> Result<String, AuthFail> {
    client.login(login(user, password)).await.map(|ok| ok.user)
}

/// Logged in, refused, or neither.
fn word(verdict: &Result<String, AuthFail>) -> &str {
    match verdict {
        Ok(user) => user,
        Err(fail) if fail.temporary => "temporary",
        Err(_) => "refused",
    }
}

#[tokio::test]
async fn names_reach_the_databases_as_the_format_has_them() {
    for (format, name, want) in [
        ("%Lu", "ANN@x.org", "ann@x.org"),
        ("%u", "ann@x.org", "ann@x.org"),
        ("%u", "ANN@x.org", "refused"),
        ("%n@%Ld", "ann@X.ORG", "ann@x.org"),
        ("%n@%Ld", "Ann@x.org", "refused"),
        ("%Ln", "Ann@elsewhere.test", "ann"),
    ] {
        let authd = Running::start(&format!("auth_username_format = \"{format}\"\n{FILE}")).await;
        let got = verdict(&authd.auth(), name, "pass word").await;
        assert_eq!(word(&got), want, "{format} {name}");
        if let Ok(user) = got {
            // The name that a login gave is the same user's everywhere else.
            let found = UserdbClient::new(authd.socket("userdb")).ask(&user, "imap").await.expect("an answer");
            assert_eq!(found.map(|found| found.name.clone()), Some(user), "{format}");
        }
        authd.stop().await;
    }
    let accounts = Running::start("auth_username_format = \"%Ln\"\n").await;
    let error = accounts.task.await.expect("task").expect_err("users of the accounts have whole addresses");
    assert!(format!("{error:#}").contains("auth_username_format"), "{error:#}");
}

#[tokio::test]
async fn hostile_names_and_passwords_fail_or_match_exactly() {
    let authd = Running::start(&format!("auth_penalty_after = 1000\n{FILE}")).await;
    let client = authd.auth();
    for (user, password, want) in [
        ("ann@x.org", "pass word", "ann@x.org"),
        ("ANN@X.org", "pass word", "ann@x.org"),
        ("ann", "pass word", "ann@x.org"),
        ("ann@x.org", "pass wordx", "refused"),
        ("ann@x.org", "pass wor", "refused"),
        ("ann@x.org", "Pass word", "refused"),
        ("nobody@x.org", "pass word", "refused"),
        ("ann@y.org", "pass word", "refused"),
        ("bob@x.org", "pass word", "refused"),
        ("%u", "pass word", "refused"),
        ("%{env:HOME}", "pass word", "refused"),
        ("' OR '1'='1", "'; --", "refused"),
        ("ann@x.org'; --", "pass word", "refused"),
        ("*)(uid=*", "pass word", "refused"),
        ("ann@x.org:{PLAIN}x", "x", "refused"),
        ("ann@x.org\nbob@x.org", "pass word", "refused"),
        ("ann@x.org\tuid=0", "pass word", "refused"),
        ("ann*bob", "pass word", "refused"),
        ("../ann@x.org", "pass word", "refused"),
        ("ann@x.org@y", "pass word", "refused"),
        ("ann@x.org", "{PLAIN}pass word", "refused"),
        ("ann@x.org", "🔑🔑🔑", "refused"),
        ("ann@x.org", "pass\u{a0}word", "ann@x.org"),
    ] {
        assert_eq!(word(&verdict(&client, user, password).await), want, "{user:?} {password:?}");
    }
    // Acting as somebody else is not for anybody; as oneself it is.
    for (message, want) in [
        ("ann@x.org\0ann@x.org\0pass word", "ann@x.org"),
        ("Ann\0ann@x.org\0pass word", "ann@x.org"),
        ("bob@x.org\0ann@x.org\0pass word", "refused"),
        ("ann@x.org\0\0pass word", "refused"),
        ("ann@x.org", "refused"),
        ("", "refused"),
        ("\0ann@x.org\0", "refused"),
        ("\0ann@x.org\0pass word\0", "refused"),
    ] {
        let request = AuthRequest { initial: Some(message.as_bytes().to_vec().into()), ..login("", "") };
        let got = client.login(request).await.map(|ok| ok.user);
        assert_eq!(word(&got), want, "{message:?}");
    }
    authd.stop().await;
}

#[tokio::test]
async fn login_in_two_steps_works_and_unknown_mechanisms_are_refused() {
    let authd = Running::start(FILE).await;
    let client = authd.auth();
    assert_eq!(client.mechanisms().await.expect("there").iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["PLAIN", "LOGIN"]);
    let request = AuthRequest { mechanism: "LOGIN".into(), initial: None, ..login("", "") };
    let AuthStep::Continue(user) = client.begin(request.clone()).await else { panic!("a challenge") };
    let AuthStep::Continue(password) = user.answer(b"ann").await else { panic!("a challenge") };
    let AuthStep::Ok(ok) = password.answer(b"pass word").await else { panic!("logged in") };
    assert_eq!(ok.user, "ann@x.org");
    let other = AuthRequest { mechanism: "CRAM-MD5".into(), ..request };
    assert!(matches!(client.begin(other).await, AuthStep::Fail(fail) if !fail.temporary));
    authd.stop().await;
}

/// S24, A2: what a guess costs is counted, so that no clock has to be asked.
#[tokio::test]
async fn an_unknown_user_costs_one_hash_as_a_known_one_and_a_right_password_only_the_first() {
    let authd = Running::start("").await;
    let accounts = AccountsClient::new(authd.socket("accounts"));
    add_ann(&accounts, "secret").await;
    let state = State::open(&authd.ctx.config.get(), None).await.expect("state");
    let check = |user: &str, password: &str| {
        let step =
            sasl::server::offer("PLAIN").expect("PLAIN").begin(Default::default()).start(Some(format!("\0{user}\0{password}").as_bytes()));
        let Ok(sasl::server::Step::Verify(credentials)) = step else { panic!("{step:?}") };
        credentials
    };
    let attempt = crate::login::Attempt { service: "imap".into(), mechanism: "PLAIN", ..Default::default() };
    let cost = async |user: &str, password: &str| {
        let before = state.desk.hashing().0;
        let ok = state.desk.check(&attempt, check(user, password)).await.is_ok();
        (ok, state.desk.hashing().0 - before)
    };
    assert_eq!(cost("ann@x.org", "wrong").await, (false, 1));
    assert_eq!(cost("nobody@x.org", "wrong").await, (false, 1));
    assert_eq!(cost("a/b", "wrong").await, (false, 1));
    assert_eq!(cost("ann@x.org", "secret").await, (true, 1));
    assert_eq!(cost("ann@x.org", "secret").await, (true, 0));
    assert_eq!(cost("ann@x.org", "another").await, (false, 1));
    // Nor is a reload a reason to hash everybody's.
    let reloaded = State::open(&authd.ctx.config.get(), Some(&state)).await.expect("state");
    let before = reloaded.desk.hashing().0;
    assert!(reloaded.desk.check(&attempt, check("ann@x.org", "secret")).await.is_ok());
    assert_eq!(reloaded.desk.hashing().0, before);
    authd.stop().await;
}

async fn add_ann(accounts: &AccountsClient, password: &str) {
    let domain = Request::DomainAdd { domain: "x.org".into(), description: String::new() };
    accounts.ask(domain).await.expect("domain");
    let mailbox =
        Request::MailboxAdd { address: "ann@x.org".into(), password: NewPassword::plain(password), name: "Ann".into(), quota_bytes: 0 };
    accounts.ask(mailbox).await.expect("mailbox");
}

#[tokio::test]
async fn a_changed_password_counts_at_once() {
    let authd = Running::start("").await;
    let (client, accounts) = (authd.auth(), AccountsClient::new(authd.socket("accounts")));
    add_ann(&accounts, "old secret").await;
    assert_eq!(word(&verdict(&client, "ann@x.org", "old secret").await), "ann@x.org");
    let change = |password: NewPassword| Request::MailboxChange {
        address: "ann@x.org".into(),
        password: Some(password),
        name: None,
        quota_bytes: None,
        active: None,
        services: Services::default(),
    };
    accounts.ask(change(NewPassword::plain("new secret"))).await.expect("changed");
    assert_eq!(word(&verdict(&client, "ann@x.org", "old secret").await), "refused");
    assert_eq!(word(&verdict(&client, "ann@x.org", "new secret").await), "ann@x.org");
    // A hash made elsewhere, and one that is none.
    let hash = "{SSHA}jTJk90mUoWBSlOaeNUZpTTa+jilt+9oH";
    accounts.ask(change(NewPassword::hashed(hash))).await.expect("changed");
    assert_eq!(word(&verdict(&client, "ann@x.org", "clé 42").await), "ann@x.org");
    for bad in ["{NOSUCH}x", "no scheme", "{SSHA}!", "{PLAIN}x\ny", "{PLAIN}", "{PLAIN.B64}"] {
        assert!(matches!(accounts.ask(change(NewPassword::hashed(bad))).await, Err(AccountsError::Refused(_))), "{bad}");
    }
    for bad in ["", "a\tb", &"x".repeat(2000)] {
        assert!(matches!(accounts.ask(change(NewPassword::plain(bad))).await, Err(AccountsError::Refused(_))));
    }
    let inactive = Request::MailboxChange {
        address: "ann@x.org".into(),
        password: None,
        name: None,
        quota_bytes: None,
        active: Some(false),
        services: Services::default(),
    };
    accounts.ask(inactive).await.expect("changed");
    assert_eq!(word(&verdict(&client, "ann@x.org", "clé 42").await), "refused");
    authd.stop().await;
}

#[tokio::test]
async fn a_flood_of_checks_is_bounded_and_lookups_go_on() {
    let authd = Running::start("auth_worker_max_count = 1\nauth_worker_queue_limit = 1\nauth_penalty_after = 1000\n").await;
    let accounts = AccountsClient::new(authd.socket("accounts"));
    add_ann(&accounts, "secret").await;
    let client = authd.auth();
    let flood: Vec<_> = (0..200)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { word(&verdict(&client, &format!("user{n}@x.org"), "wrong").await).to_owned() })
        })
        .collect();
    let lookup = LookupClient::with(authd.socket("lookup"), Duration::from_secs(30), Caching::default());
    assert_eq!(lookup.get("accounts:mailboxes", "ann@x.org").await.expect("answered").as_deref(), Some("ann@x.org/"));
    let mut temporary = 0;
    for task in flood {
        match task.await.expect("task").as_str() {
            "temporary" => temporary += 1,
            "refused" => {}
            other => panic!("{other}"),
        }
    }
    assert!(temporary > 0, "nothing was refused for lack of threads");
    // It is over with the flood.
    assert_eq!(word(&verdict(&client, "ann@x.org", "secret").await), "ann@x.org");
    authd.stop().await;
}

#[tokio::test]
async fn a_guesser_waits_and_is_put_off_but_only_from_where_it_guesses() {
    let authd = Running::start(&format!("auth_penalty_after = 3\n{FILE}")).await;
    let client = authd.auth();
    for n in 0..3 {
        assert_eq!(word(&verdict(&client, "ann@x.org", &format!("guess {n}")).await), "refused");
    }
    let guesses: Vec<_> = (0..50)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { word(&verdict(&client, "ann@x.org", &format!("guess {n}")).await).to_owned() })
        })
        .collect();
    // The owner comes from elsewhere meanwhile.
    let owner = AuthRequest { remote: Some(([198, 51, 100, 9], 1000).into()), ..login("ann@x.org", "pass word") };
    assert!(client.login(owner).await.is_ok());
    let mut put_off = 0;
    for guess in guesses {
        put_off += usize::from(guess.await.expect("task") == "temporary");
    }
    assert!(put_off >= 40, "{put_off}");
    authd.stop().await;
}

#[tokio::test]
async fn a_restart_is_a_temporary_failure_at_worst_and_over_with_the_next_question() {
    let authd = Running::start(FILE).await;
    let (client, userdb) = (authd.auth(), UserdbClient::new(authd.socket("userdb")));
    assert_eq!(word(&verdict(&client, "ann@x.org", "pass word").await), "ann@x.org");
    let dir = authd.stop().await;
    for _ in 0..3 {
        assert_eq!(word(&verdict(&client, "ann@x.org", "pass word").await), "temporary");
        assert_eq!(word(&verdict(&client, "ann@x.org", "wrong").await), "temporary");
    }
    assert!(userdb.ask("ann@x.org", "lmtp").await.is_err());
    let authd = Running::start_in(dir, FILE).await;
    assert_eq!(word(&verdict(&client, "ann@x.org", "pass word").await), "ann@x.org");
    assert!(userdb.ask("ann@x.org", "lmtp").await.expect("answered").is_some());
    authd.stop().await;
}

/// A client that speaks the protocol by hand.
async fn raw(path: &Path) -> (BufReader<tokio::net::unix::OwnedReadHalf>, tokio::net::unix::OwnedWriteHalf) {
    let (read, mut write) = UnixStream::connect(path).await.expect("connect").into_split();
    let mut read = BufReader::new(read);
    let mut line = String::new();
    while line != "DONE\n" {
        line.clear();
        assert!(read.read_line(&mut line).await.expect("greeting") > 0);
    }
    write.write_all(b"VERSION\t1\t1\nCPID\t1\n").await.expect("write");
    (read, write)
}

#[tokio::test]
async fn bad_base64_fails_its_own_login_only() {
    let authd = Running::start(FILE).await;
    let (mut read, mut write) = raw(&authd.socket("auth")).await;
    // "\0ann@x.org\0pass word"
    let good = "AGFubkB4Lm9yZwBwYXNzIHdvcmQ=";
    let lines = format!(
        "AUTH\t1\tPLAIN\tservice=smtp\nAUTH\t2\tPLAIN\tservice=smtp\tresp=!!!\nAUTH\t3\tPLAIN\tservice=smtp\tresp={good}\nCONT\t1\t{good}\nCONT\t9\t{good}\n"
    );
    write.write_all(lines.as_bytes()).await.expect("write");
    let mut got = Vec::new();
    for _ in 0..5 {
        let mut line = String::new();
        read.read_line(&mut line).await.expect("answer");
        got.push(line);
    }
    got.sort();
    assert_eq!(got, ["CONT\t1\t\n", "FAIL\t2\tcode=invalid_base64\n", "FAIL\t9\n", "OK\t1\tuser=ann@x.org\n", "OK\t3\tuser=ann@x.org\n"]);
    authd.stop().await;
}

#[tokio::test]
async fn who_breaks_the_protocol_is_cut_off_and_nobody_else() {
    let authd = Running::start(FILE).await;
    let long = format!("AUTH\t1\tPLAIN\tservice=smtp\tresp={}\n", "A".repeat(20_000));
    for hostile in
        ["AUTH\t1\tLOGIN\tservice=x\nAUTH\t1\tLOGIN\tservice=x\n", "AUTH\tx\n", "AUTH\t1\tPLAIN\n", "\u{1}\t\n\u{ff}\n", long.as_str()]
    {
        let (mut read, mut write) = raw(&authd.socket("auth")).await;
        write.write_all(hostile.as_bytes()).await.expect("write");
        let cut = hostile.starts_with("AUTH");
        if cut {
            let mut rest = Vec::new();
            let _ = read.read_to_end(&mut rest).await;
        }
    }
    for path in ["auth", "userdb", "lookup", "accounts", "usage"] {
        let mut stream = UnixStream::connect(authd.socket(path)).await.expect("connect");
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("write");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    }
    assert_eq!(word(&verdict(&authd.auth(), "ann@x.org", "pass word").await), "ann@x.org");
    authd.stop().await;
}

#[tokio::test]
async fn lookups_are_answered_in_great_numbers_and_strange_tables_refused() {
    let authd = Running::start("").await;
    let accounts = AccountsClient::new(authd.socket("accounts"));
    add_ann(&accounts, "secret").await;
    let ask = async |request: Request| accounts.ask(request).await.expect("done");
    ask(Request::AliasAdd { address: "info@x.org".into(), goto: vec!["ann@x.org".into(), "Bob@else.org".into()] }).await;
    ask(Request::AliasAdd { address: "@x.org".into(), goto: vec!["ann@x.org".into()] }).await;
    ask(Request::AliasDomainAdd { alias_domain: "x.net".into(), target_domain: "x.org".into() }).await;
    let path = authd.dir.path().join("mine.cf");
    std::fs::write(&path, "dbpath = accounts.sqlite\nquery = SELECT goto FROM alias WHERE address='%s' AND active = true\n")
        .expect("write");
    let sql = format!("sqlite:{}", path.display());
    let lookup = LookupClient::with(authd.socket("lookup"), Duration::from_secs(30), Caching::default());
    for (table, key, want) in [
        ("accounts:domains", "X.ORG", Some("x.org")),
        ("accounts:domains", "y.org", None),
        ("accounts:mailboxes", "ann@x.org", Some("ann@x.org/")),
        ("accounts:aliases", "info@x.org", Some("ann@x.org,Bob@else.org")),
        ("accounts:aliases", "@x.org", Some("ann@x.org")),
        ("accounts:alias_domains", "x.net", Some("x.org")),
        (sql.as_str(), "info@x.org", Some("ann@x.org,Bob@else.org")),
        (sql.as_str(), "none@x.org", None),
    ] {
        let value = lookup.get(table, key).await.expect("answered");
        assert_eq!(value.as_deref().map(str::to_lowercase), want.map(str::to_lowercase), "{table} {key}");
    }
    for table in ["accounts:passwords", "sqlite:/etc/passwd", "sqlite:../x.cf", "mysql:/etc/x.cf", "hash:/etc/aliases", "", "nonsense"] {
        assert!(lookup.get(table, "x").await.is_err(), "{table}");
    }
    let asked: Vec<_> = (0..5000)
        .map(|n| {
            let lookup = lookup.clone();
            tokio::spawn(async move { lookup.ask("accounts:mailboxes", &format!("user{n}@x.org")).await.expect("answered") })
        })
        .collect();
    for task in asked {
        assert_eq!(task.await.expect("task"), None);
    }
    authd.stop().await;
}

#[tokio::test]
async fn users_are_found_and_listed_and_usage_is_kept() {
    let authd = Running::start("").await;
    let accounts = AccountsClient::new(authd.socket("accounts"));
    add_ann(&accounts, "secret").await;
    let userdb = UserdbClient::new(authd.socket("userdb"));
    let ann = userdb.lookup("Ann", "lmtp").await.expect("answered").expect("there");
    assert_eq!(ann.name, "ann@x.org");
    assert_eq!(ann.uid, Some(nix::unistd::geteuid().as_raw()));
    assert_eq!(ann.maildir(), Some(authd.dir.path().join("mail/ann@x.org")));
    assert_eq!(userdb.lookup("nobody@x.org", "lmtp").await.expect("answered"), None);
    assert_eq!(userdb.list().await.expect("list"), ["ann@x.org"]);
    assert!(userdb.pass("ann@x.org", "imap").await.expect("answered").is_some());
    let usage = UsageClient::new(authd.socket("usage"));
    usage.stored("ann@x.org", 4711, 3);
    usage.login("ann@x.org", "imap", None);
    usage.stored("nobody@x.org", 1, 1);
    loop {
        let rows = accounts.mailboxes(Some("ann@x.org")).await.expect("rows");
        if rows[0].used_bytes == Some(4711) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    authd.stop().await;
}

#[tokio::test]
async fn the_database_is_readable_by_nobody_else_and_survives_kill() {
    let authd = Running::start("").await;
    let accounts = AccountsClient::new(authd.socket("accounts"));
    add_ann(&accounts, "secret").await;
    // As kill -9: nothing is closed or folded; what was answered is in the file and its WAL.
    let copy = Arc::new(tempfile::tempdir().expect("directory"));
    for name in ["accounts.sqlite", "accounts.sqlite-wal"] {
        std::fs::copy(authd.dir.path().join(name), copy.path().join(name)).expect("copy");
    }
    authd.stop().await;
    let authd = Running::start_in(copy, "").await;
    assert_eq!(word(&verdict(&authd.auth(), "ann@x.org", "secret").await), "ann@x.org");
    authd.stop().await;
}

#[tokio::test]
async fn questions_that_a_slow_database_cannot_follow_are_answered_at_once() {
    use ipc::lookup::{Answer, Found, LOOKUP, Question};
    let authd = Running::start("").await;
    let path = authd.dir.path().join("slow.cf");
    let query = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n WHERE '%s' <> ''";
    std::fs::write(&path, format!("dbpath = accounts.sqlite\nquery = {query}\n")).expect("write");
    let (read, write) = UnixStream::connect(authd.socket("lookup")).await.expect("connect").into_split();
    let (mut reader, mut writer) = (ipc::FrameReader::new(read, LOOKUP), ipc::FrameWriter::new(write, LOOKUP));
    let table = format!("sqlite:{}", path.display());
    for id in 0..1200 {
        writer.push(&Question { id, table: table.clone(), key: id.to_string() }).expect("fits");
    }
    writer.flush().await.expect("sent");
    let answer = tokio::time::timeout(Duration::from_secs(60), reader.next::<Answer>()).await.expect("in time").expect("sound");
    let answer = answer.expect("an answer");
    assert!(matches!(&answer.result, Found::Unavailable(reason) if reason.contains("too many lookups")), "{answer:?}");
    // Others are served meanwhile.
    let lookup = LookupClient::new(authd.socket("lookup"));
    assert_eq!(lookup.get("accounts:mailboxes", "nobody@x.org").await.expect("answered"), None);
    authd.stop().await;
}

#[test]
fn peers_of_userdb_and_accounts_are_looked_at() {
    let peers = Peers { own: 990, mail: 5000, group: Some(980), members: vec![1000], owner: Some(105) };
    let peer = |uid: u32, gid: u32| Peer { credentials: Some((uid, gid, 1)), ..Peer::default() };
    for (uid, gid, userdb, accounts) in [
        (0, 0, true, true),
        (990, 990, true, true),
        (5000, 5000, true, false),
        (1000, 1000, true, true),
        (105, 110, true, true),
        (1001, 980, true, true),
        (1001, 1001, false, false),
        (65534, 65534, false, false),
    ] {
        assert_eq!(peers.may_connect(SocketKind::Userdb, &peer(uid, gid)), userdb, "{uid} userdb");
        assert_eq!(peers.may_connect(SocketKind::Accounts, &peer(uid, gid)), accounts, "{uid} accounts");
        assert!(peers.may_connect(SocketKind::Client, &peer(uid, gid)));
    }
    assert!(!peers.may_connect(SocketKind::Client, &Peer::default()), "no credentials");
}

#[test]
fn sockets_are_those_of_the_settings_and_the_usual_ones() {
    let file = Path::new("/etc/facteur/facteur.toml");
    let text = "[[authd.unix_listener]]\npath = \"/var/spool/postfix/private/auth\"\nmode = \"0660\"\nuser = \"postfix\"\ngroup = \"postfix\"\n\
                [[authd.unix_listener]]\npath = \"auth\"\n[[authd.unix_listener]]\npath = \"users\"\nkind = \"userdb\"\nmode = \"0600\"\n";
    let config = Config::from_texts(file, &[(file.to_owned(), format!("hostname = \"mx.x.org\"\n{text}"))]).expect("settings");
    let sockets = sockets(&config);
    let shown: Vec<(String, &str, u32)> = sockets.iter().map(|s| (s.path.display().to_string(), s.kind.as_str(), s.options.mode)).collect();
    assert_eq!(
        shown,
        [
            ("/var/spool/postfix/private/auth".into(), "client", 0o660),
            ("/run/facteur/auth".into(), "client", 0o660),
            ("/run/facteur/users".into(), "userdb", 0o600),
            ("/run/facteur/lookup".into(), "lookup", 0o660),
            ("/run/facteur/accounts".into(), "accounts", 0o660),
            ("/run/facteur/usage".into(), "usage", 0o660),
        ]
    );
    assert_eq!(sockets[0].options.user.as_deref(), Some("postfix"));
}
