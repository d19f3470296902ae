//! The program over its socket, with a user database of the test's own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use config::Config;
use daemon::Context;
use ipc::userdb::server::{self as userdb, ClientLine};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// A running deliver in a directory of its own.
struct Running {
    temp: tempfile::TempDir,
    shutdown: daemon::Shutdown,
    run: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Running {
    async fn start(settings: &str, users: &[(&str, &[(&str, &str)])]) -> Running {
        let temp = tempfile::tempdir().expect("directory");
        std::fs::create_dir_all(temp.path().join("run")).expect("run");
        let users = users
            .iter()
            .map(|(name, fields)| (name.to_string(), fields.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()))
            .collect();
        tokio::spawn(user_database(UnixListener::bind(temp.path().join("run/userdb")).expect("userdb"), users));
        let root = temp.path().display();
        let text = format!(
            "hostname = \"mx.example.org\"\nrun_directory = \"{root}/run\"\nsandbox = false\n[mail]\nmail_uid = 0\nmail_location = \"maildir:{root}/mail/%d/%n\"\n{settings}"
        );
        let file = temp.path().join("facteur.toml");
        let config = Config::from_texts(&file, &[(file.clone(), text)]).expect("settings");
        let context = Context::detached("deliver", config).expect("context");
        let shutdown = context.shutdown.clone();
        let run = tokio::spawn(deliver::run(context));
        let running = Running { temp, shutdown, run };
        while !running.socket().exists() {
            tokio::task::yield_now().await;
        }
        running
    }

    fn socket(&self) -> PathBuf {
        self.temp.path().join("run/lmtp")
    }

    async fn client(&self) -> Client {
        let mut client = Client(BufReader::new(UnixStream::connect(self.socket()).await.expect("connect")));
        assert!(client.reply().await.starts_with("220 "));
        client
    }

    fn maildir(&self, user: &str) -> PathBuf {
        self.temp.path().join("mail/example.org").join(user)
    }

    /// Contents of the files in a mailbox, `new/` and `cur/`.
    fn messages(&self, user: &str, below: &str) -> Vec<String> {
        let read = |part: &str| read_all(&self.maildir(user).join(below).join(part));
        [read("new"), read("cur")].concat()
    }
}

fn read_all(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| String::from_utf8_lossy(&std::fs::read(entry.expect("entry").path()).expect("file")).into_owned()).collect()
}

async fn user_database(listener: UnixListener, users: HashMap<String, Vec<(String, String)>>) {
    loop {
        let (stream, _) = listener.accept().await.expect("accept");
        let users = users.clone();
        tokio::spawn(async move {
            let mut stream = BufReader::new(stream);
            stream.write_all(&userdb::greeting()).await.expect("greeting");
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).await.expect("read") > 0 {
                line.pop();
                if let Ok(ClientLine::User { id, name, .. }) = userdb::parse(&line) {
                    let answer = match users.get(&name) {
                        Some(_) if name.starts_with("broken") => userdb::fail(id, "database is down"),
                        Some(fields) => userdb::user(id, &name, fields),
                        None => userdb::not_found(id),
                    };
                    stream.write_all(&answer).await.expect("answer");
                }
                line.clear();
            }
        });
    }
}

struct Client(BufReader<UnixStream>);

impl Client {
    /// One reply; its last line.
    async fn reply(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.0.read_line(&mut line).await.expect("reply") > 0, "connection closed");
            if line.as_bytes().get(3) == Some(&b' ') {
                return line.trim_end().to_owned();
            }
        }
    }

    async fn say(&mut self, text: &str) -> String {
        self.send(text).await;
        self.reply().await
    }

    async fn send(&mut self, text: &str) {
        self.0.write_all(format!("{text}\r\n").as_bytes()).await.expect("send");
    }

    /// A whole transaction after LHLO; the replies to the message, or to RCPT where there is none.
    async fn mail(&mut self, from: &str, recipients: &[&str], body: &str) -> Vec<String> {
        self.say("LHLO test").await;
        let reply = self.say(&format!("MAIL FROM:{from}")).await;
        assert!(reply.starts_with("250"), "{reply}");
        let mut replies = Vec::new();
        let mut accepted = 0;
        for recipient in recipients {
            let reply = self.say(&format!("RCPT TO:<{recipient}>")).await;
            if reply.starts_with("250") { accepted += 1 } else { replies.push(reply) }
        }
        if accepted == 0 {
            return replies;
        }
        assert!(self.say("DATA").await.starts_with("354"));
        self.send(&format!("{body}\r\n.")).await;
        for _ in 0..accepted {
            replies.push(self.reply().await);
        }
        replies
    }
}

const ANN: (&str, &[(&str, &str)]) = ("ann@example.org", &[("uid", "1"), ("home", "/nowhere")]);
const BOB: (&str, &[(&str, &str)]) = ("bob@example.org", &[]);
const FULL: (&str, &[(&str, &str)]) = ("full@example.org", &[("quota_rule", "*:bytes=10")]);
const BROKEN: (&str, &[(&str, &str)]) = ("broken@example.org", &[]);

fn codes(replies: &[String]) -> Vec<&str> {
    replies.iter().map(|reply| reply.split(" <").next().unwrap_or("")).collect()
}

#[tokio::test]
async fn each_recipient_gets_its_own_answer_and_its_own_header() {
    let running = Running::start("", &[ANN, BOB, FULL, BROKEN]).await;
    let mut client = running.client().await;
    let recipients = ["Ann+shop@Example.ORG", "nobody@example.org", "full@example.org", "broken@example.org", "bob@example.org"];
    let body = "Return-Path: <forged@example.net>\r\nSubject: x\r\nreturn-path:\r\n <again@example.net>\r\nDelivered-To: someone@example.net\r\n\r\n..dot\r\nReturn-Path: body";
    let replies = client.mail("<sender@example.net> SIZE=100", &recipients, body).await;
    assert_eq!(codes(&replies), ["550 5.1.1", "451 4.3.0", "250 2.0.0", "552 5.2.2", "250 2.0.0"]);
    assert_eq!(
        running.messages("ann", ""),
        [
            "Return-Path: <sender@example.net>\nDelivered-To: Ann+shop@example.org\nSubject: x\nDelivered-To: someone@example.net\n\n.dot\nReturn-Path: body\n"
        ]
    );
    assert!(running.messages("bob", "")[0].starts_with("Return-Path: <sender@example.net>\nDelivered-To: bob@example.org\nSubject: x\n"));
    assert_eq!(running.messages("full", "").len(), 0);
    // the null sender, and the same connection again
    assert_eq!(codes(&client.mail("<>", &["bob@example.org"], "\r\nempty header").await), ["250 2.0.0"]);
    assert!(running.messages("bob", "").iter().any(|text| text == "Return-Path: <>\nDelivered-To: bob@example.org\n\nempty header\n"));
    assert_eq!(client.say("QUIT").await.split(' ').next(), Some("221"));
}

#[tokio::test]
async fn a_message_that_was_here_before_is_a_loop() {
    let running = Running::start("", &[ANN, BOB]).await;
    let mut client = running.client().await;
    let replies = client.mail("<s@example.net>", &["ann@example.org", "bob@example.org"], "Delivered-To: ANN@example.org\r\n\r\nx").await;
    assert_eq!(codes(&replies), ["554 5.4.6", "250 2.0.0"]);
    assert_eq!((running.messages("ann", "").len(), running.messages("bob", "").len()), (0, 1));
}

#[tokio::test]
async fn our_queue_manager_may_repeat_a_delivery() {
    let running = Running::start("", &[ANN, BOB]).await;
    let mut client = running.client().await;
    let id = mail_types::QueueId::from_parts(1_700_000_000, 1, 1);
    let first = format!("<s@example.net> XID={id} XTIME=1700000000");
    assert_eq!(codes(&client.mail(&first, &["ann@example.org"], "Subject: x\r\n\r\nx").await), ["250 2.0.0"]);
    let again = format!("<s@example.net> XID={id} XTIME=1700000000 XREPEAT");
    let replies = client.mail(&again, &["ann@example.org", "bob@example.org"], "Subject: x\r\n\r\nx").await;
    assert_eq!(codes(&replies), ["250 2.0.0", "250 2.0.0"]);
    assert!(replies[0].contains("before") && !replies[1].contains("before"), "{replies:?}");
    assert_eq!((running.messages("ann", "").len(), running.messages("bob", "").len()), (1, 1));
    let file = std::fs::read_dir(running.maildir("ann").join("new")).expect("new").next().expect("a file").expect("entry").file_name();
    assert!(file.to_string_lossy().starts_with(&format!("1700000000.{id}_")), "{file:?}");
}

#[tokio::test]
async fn large_messages_go_to_disk_for_every_recipient() {
    let running = Running::start("[deliver]\nmessage_memory_limit = 4096\n", &[ANN, BOB, FULL]).await;
    let mut client = running.client().await;
    let line = "0123456789".repeat(7);
    let body = format!("Return-Path: <x@y>\r\nSubject: large\r\n\r\n{}", format!("{line}\r\n").repeat(20_000));
    let replies = client.mail("<s@example.net>", &["full@example.org", "ann@example.org", "bob@example.org"], &body).await;
    assert_eq!(codes(&replies), ["552 5.2.2", "250 2.0.0", "250 2.0.0"]);
    for user in ["ann", "bob"] {
        let want = format!(
            "Return-Path: <s@example.net>\nDelivered-To: {user}@example.org\nSubject: large\n\n{}\n",
            format!("{line}\n").repeat(20_000)
        );
        assert!(running.messages(user, "") == [want]);
        assert_eq!(std::fs::read_dir(running.maildir(user).join("tmp")).expect("tmp").count(), 0);
    }
    assert_eq!(running.messages("full", "").len(), 0);
}

#[tokio::test]
async fn a_client_that_goes_in_the_middle_leaves_nothing() {
    let running = Running::start("[deliver]\nmessage_memory_limit = 4096\n", &[ANN]).await;
    for length in [10, 100_000] {
        let mut client = running.client().await;
        client.say("LHLO test").await;
        client.say("MAIL FROM:<s@example.net>").await;
        client.say("RCPT TO:<ann@example.org>").await;
        client.say("DATA").await;
        client.send(&"x".repeat(length)).await;
        client.0.get_mut().shutdown().await.expect("shutdown");
        let mut rest = Vec::new();
        client.0.read_to_end(&mut rest).await.expect("end");
    }
    assert_eq!(running.messages("ann", "").len(), 0);
    assert_eq!(read_all(&running.maildir("ann").join("tmp")).len(), 0);
}

#[tokio::test]
async fn details_name_mailboxes_when_the_administrator_wants() {
    let settings = "[deliver]\nlmtp_save_to_detail_mailbox = true\nlda_mailbox_autocreate = true\nlda_mailbox_autosubscribe = true\n";
    let running = Running::start(settings, &[ANN]).await;
    let mut client = running.client().await;
    for recipient in ["ann+Lists.Rust@example.org", "ann+INBOX@example.org", "\"ann+../../x\"@example.org", "\"ann+.\"@example.org"] {
        let replies = client.mail("<s@example.net>", &[recipient], "\r\nx").await;
        assert_eq!(codes(&replies), ["250 2.0.0"], "{recipient}");
    }
    assert_eq!((running.messages("ann", ".Lists.Rust").len(), running.messages("ann", "").len()), (1, 3));
    assert_eq!(std::fs::read_to_string(running.maildir("ann").join("subscriptions")).expect("subscriptions"), "V\t2\n\nLists\tRust\n");
    assert_eq!(std::fs::read_dir(running.temp.path().join("mail")).expect("mail").count(), 1);
}

#[tokio::test]
async fn the_owner_is_told_once_that_the_mailbox_gets_full() {
    const CAT: (&str, &[(&str, &str)]) = ("cat@example.org", &[("quota_rule", "*:bytes=10000:messages=100")]);
    let running = Running::start("[deliver]\nquota_warning = [\"storage=50%\", \"storage=80%\", \"messages=4%\"]\n", &[CAT]).await;
    let mut client = running.client().await;
    let mut deliver = async |bytes: usize| {
        let body = format!("Subject: x\r\n\r\n{}", "0123456789abcdef\r\n".repeat(bytes / 18));
        assert_eq!(codes(&client.mail("<s@example.net>", &["cat@example.org"], &body).await), ["250 2.0.0"]);
    };
    let warnings = || {
        let all = running.messages("cat", "");
        all.into_iter().filter(|text| text.contains("Your mailbox is more than")).collect::<Vec<_>>()
    };
    let told = async |count: usize| {
        while warnings().len() < count {
            tokio::task::yield_now().await;
        }
        assert_eq!(warnings().len(), count);
    };
    deliver(1000).await;
    deliver(4500).await;
    told(1).await;
    assert!(warnings()[0].starts_with("Return-Path: <>\n") && warnings()[0].contains("50% full"), "{:?}", warnings());
    // the fourth message: the warning was the third
    deliver(100).await;
    told(2).await;
    assert!(warnings().iter().any(|text| text.contains("uses 4 of 100 messages")), "{:?}", warnings());
    deliver(100).await;
    deliver(100).await;
    told(2).await;
}

#[tokio::test]
async fn counts_of_messages_and_rules_for_all_hold() {
    const DAN: (&str, &[(&str, &str)]) = ("dan@example.org", &[("quota_rule", "*:messages=2")]);
    let running = Running::start("quota_rule = [\"*:bytes=1000\"]\n", &[DAN, BOB]).await;
    let mut client = running.client().await;
    for (recipient, body, want) in [
        ("dan@example.org", "\r\nx".to_owned(), "250 2.0.0"),
        ("dan@example.org", "\r\nx".to_owned(), "250 2.0.0"),
        ("dan@example.org", "\r\nx".to_owned(), "552 5.2.2"),
        // by the rule for all, with grace for the last one
        ("bob@example.org", format!("\r\n{}", "x".repeat(800)), "250 2.0.0"),
        ("bob@example.org", format!("\r\n{}", "x".repeat(500)), "552 5.2.2"),
        ("bob@example.org", format!("\r\n{}", "x".repeat(80)), "250 2.0.0"),
        ("bob@example.org", "\r\nx".to_owned(), "552 5.2.2"),
    ] {
        assert_eq!(codes(&client.mail("<s@example.net>", &[recipient], &body).await), [want], "{recipient} {}", body.len());
    }
}

#[tokio::test]
async fn a_full_mailbox_can_be_a_temporary_failure() {
    let running = Running::start("[deliver]\nquota_full_tempfail = true\n", &[FULL]).await;
    let replies = running.client().await.mail("<s@example.net>", &["full@example.org"], "\r\nxxxxxxxxxx").await;
    assert_eq!(codes(&replies), ["452 4.2.2"]);
}

#[tokio::test]
async fn pipelined_transactions_in_chunks_are_answered_in_order() {
    let running = Running::start("", &[ANN, BOB]).await;
    let mut client = running.client().await;
    client.say("LHLO test").await;
    let mut text = String::new();
    for n in 0..50 {
        text.push_str("MAIL FROM:<s@example.net>\r\nRCPT TO:<ann@example.org>\r\nRCPT TO:<bob@example.org>\r\n");
        let body = format!("Subject: {n}\r\n\r\nx\r\n");
        text.push_str(&format!("BDAT {} LAST\r\n{body}", body.len()));
    }
    client.0.write_all(text.as_bytes()).await.expect("send");
    for n in 0..50 * 5 {
        let reply = client.reply().await;
        assert!(reply.starts_with("250"), "{n}: {reply}");
    }
    assert_eq!((running.messages("ann", "").len(), running.messages("bob", "").len()), (50, 50));
}

#[tokio::test]
async fn stopping_tells_idle_clients_and_lets_a_transaction_end() {
    let running = Running::start("", &[ANN]).await;
    let mut idle = running.client().await;
    let mut busy = running.client().await;
    idle.say("LHLO test").await;
    busy.say("LHLO test").await;
    busy.say("MAIL FROM:<s@example.net>").await;
    busy.say("RCPT TO:<ann@example.org>").await;
    busy.say("DATA").await;
    running.shutdown.set();
    assert!(idle.reply().await.starts_with("421"));
    busy.send("\r\nx\r\n.").await;
    assert!(busy.reply().await.starts_with("250"));
    assert!(busy.reply().await.starts_with("421"));
    running.run.await.expect("task").expect("run");
}
