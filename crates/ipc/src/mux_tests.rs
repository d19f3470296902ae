//! The conversations of this crate against servers that misbehave in every way we can think of.

use crate::auth::{AuthClient, AuthRequest, AuthStep};
use crate::lookup::{Answer, Caching, Found, LOOKUP, LookupClient, Question};
use crate::userdb::UserdbClient;
use crate::{FrameReader, FrameWriter};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

const GREETING: &[u8] = b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t0\nDONE\n";

fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("socket");
    (dir, path)
}

fn login(user: &str) -> AuthRequest {
    AuthRequest::with_password("smtp", user, "secret").expect("no NUL")
}

/// Serves each connection with `answer`: a line in, bytes out (or `None` to close).
fn serve_lines(path: &PathBuf, greeting: &'static [u8], answer: impl Fn(&str) -> Option<Vec<u8>> + Clone + Send + 'static) {
    let listener = UnixListener::bind(path).expect("bind");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let _ = write.write_all(greeting).await;
                let mut lines = BufReader::new(read).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    match answer(&line) {
                        Some(bytes) => drop(write.write_all(&bytes).await),
                        None => return,
                    }
                }
            });
        }
    });
}

fn id_of(line: &str) -> &str {
    line.split('\t').nth(1).expect("id")
}

#[tokio::test]
async fn without_a_partner_a_login_fails_for_the_time_being() {
    let (_dir, path) = place();
    let AuthStep::Fail(fail) = AuthClient::new(&path).begin(login("ann")).await else { panic!("must fail") };
    assert!(fail.temporary && !fail.malformed);
}

#[tokio::test]
async fn a_partner_that_comes_later_is_found_by_the_next_question() {
    let (_dir, path) = place();
    let client = AuthClient::new(&path);
    assert!(client.mechanisms().await.is_err());
    serve_lines(&path, GREETING, |line| match line.starts_with("AUTH") {
        true => Some(format!("OK\t{}\tuser=ann\n", id_of(line)).into_bytes()),
        false => Some(Vec::new()),
    });
    assert_eq!(client.mechanisms().await.expect("there now").len(), 2);
    let AuthStep::Ok(ok) = client.begin(login("ann")).await else { panic!("must succeed") };
    assert_eq!(ok.user, "ann");
}

#[tokio::test]
async fn a_silent_partner_meets_the_deadline_and_is_a_temporary_failure() {
    let (_dir, path) = place();
    serve_lines(&path, GREETING, |_| Some(Vec::new()));
    let client = AuthClient::with_deadline(&path, Duration::from_millis(50));
    let AuthStep::Fail(fail) = client.begin(login("ann")).await else { panic!("must fail") };
    assert!(fail.temporary);
}

#[tokio::test]
async fn a_partner_that_holds_an_answer_back_but_still_greets_is_waited_for() {
    let (_dir, path) = place();
    let listener = UnixListener::bind(&path).expect("bind");
    tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.expect("accept");
        first.write_all(GREETING).await.expect("greeting");
        // Somebody looks whether we are still there: that is when the answer goes out.
        let (mut probe, _) = listener.accept().await.expect("accept");
        probe.write_all(GREETING).await.expect("greeting");
        first.write_all(b"FAIL\t1\tuser=ann\n").await.expect("answer");
        std::future::pending::<()>().await
    });
    let client = AuthClient::with_deadline(&path, Duration::from_millis(200));
    let AuthStep::Fail(fail) = client.begin(login("ann")).await else { panic!("must fail") };
    assert!(!fail.temporary, "{fail:?}");
}

#[tokio::test]
async fn a_partner_that_never_greets_meets_the_deadline_for_all_askers_together() {
    let (_dir, path) = place();
    let _listener = UnixListener::bind(&path).expect("bind");
    let client = AuthClient::with_deadline(&path, Duration::from_millis(100));
    let asked = (0..50).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { matches!(client.begin(login("ann")).await, AuthStep::Fail(fail) if fail.temporary) })
    });
    for answer in asked.collect::<Vec<_>>() {
        assert!(answer.await.expect("task"));
    }
}

#[tokio::test]
async fn a_late_answer_reaches_nobody_else() {
    let (_dir, path) = place();
    // The first login is answered only when the second comes, and with somebody else's name.
    serve_lines(&path, GREETING, |line| {
        Some(match (line.starts_with("AUTH"), id_of(line)) {
            (true, "1") => b"NOTE\tbusy\n".to_vec(),
            (true, id) => format!("OK\t1\tuser=first\nOK\t{id}\tuser=second\n").into_bytes(),
            _ => Vec::new(),
        })
    });
    let client = AuthClient::with_deadline(&path, Duration::from_millis(200));
    let AuthStep::Fail(fail) = client.begin(login("first")).await else { panic!("must fail") };
    assert!(fail.temporary);
    let AuthStep::Ok(ok) = client.begin(login("second")).await else { panic!("must succeed") };
    assert_eq!(ok.user, "second");
}

#[tokio::test]
async fn answers_in_any_order_find_their_askers() {
    let (_dir, path) = place();
    let listener = UnixListener::bind(&path).expect("bind");
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("accept");
        let (read, write) = stream.into_split();
        let (mut reader, mut writer) = (FrameReader::new(read, LOOKUP), FrameWriter::new(write, LOOKUP));
        let mut questions: Vec<Question> = Vec::new();
        while questions.len() < 100 {
            questions.push(reader.next().await.expect("sound").expect("a question"));
        }
        for question in questions.iter().rev() {
            writer.push(&Answer { id: question.id, result: Found::Value(question.key.clone()) }).expect("fits");
        }
        writer.flush().await.expect("written");
    });
    let client = LookupClient::with(&path, Duration::from_secs(30), Caching::default());
    let asked = (0..100).map(|n| {
        let client = client.clone();
        tokio::spawn(async move { (n.to_string(), client.get("accounts:x", &n.to_string()).await) })
    });
    for answer in asked.collect::<Vec<_>>() {
        let (key, value) = answer.await.expect("task");
        assert_eq!(value.expect("answered"), Some(key));
    }
}

#[tokio::test]
async fn a_broken_connection_is_made_again_and_the_question_repeated_once() {
    let (_dir, path) = place();
    let connections = Arc::new(AtomicU32::new(0));
    let seen = connections.clone();
    let listener = UnixListener::bind(&path).expect("bind");
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accept");
            let first = seen.fetch_add(1, Ordering::SeqCst) == 0;
            let (read, write) = stream.into_split();
            let (mut reader, mut writer) = (FrameReader::new(read, LOOKUP), FrameWriter::new(write, LOOKUP));
            while let Ok(Some(question)) = reader.next::<Question>().await {
                if first {
                    break;
                }
                let _ = writer.send(&Answer { id: question.id, result: Found::Nothing }).await;
            }
        }
    });
    let client = LookupClient::new(&path);
    assert_eq!(client.get("t", "k").await.expect("second connection"), None);
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn garbage_ends_the_connection_and_is_no_answer() {
    let (_dir, path) = place();
    serve_lines(&path, b"HTTP/1.1 400 Bad Request\r\n\r\n", |_| None);
    assert!(UserdbClient::new(&path).lookup("ann", "lmtp").await.is_err());
    assert!(LookupClient::new(&path).get("t", "k").await.is_err());
    assert!(
        matches!(AuthClient::with_deadline(&path, Duration::from_millis(200)).begin(login("ann")).await, AuthStep::Fail(f) if f.temporary)
    );
}

#[tokio::test]
async fn a_challenge_is_answered_and_a_dropped_login_is_cancelled() {
    let (_dir, path) = place();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    serve_lines(&path, GREETING, move |line| {
        let _ = tell.send(line.to_owned());
        Some(match line.split('\t').next() {
            Some("AUTH") => format!("CONT\t{}\tVXNlcm5hbWU6\n", id_of(line)).into_bytes(),
            Some("CONT") => format!("OK\t{}\tuser=ann\tnologin\n", id_of(line)).into_bytes(),
            _ => Vec::new(),
        })
    });
    let client = AuthClient::new(&path);
    let request = AuthRequest { mechanism: "login".into(), initial: None, ..login("") };
    let AuthStep::Continue(pending) = client.begin(request.clone()).await else { panic!("a challenge") };
    assert_eq!(pending.challenge(), b"Username:");
    let AuthStep::Ok(ok) = pending.answer(b"ann").await else { panic!("must succeed") };
    assert_eq!((ok.user.as_str(), ok.field("nologin")), ("ann", Some("")));
    let AuthStep::Continue(pending) = client.begin(request).await else { panic!("a challenge") };
    drop(pending);
    loop {
        let line = told.recv().await.expect("the server lives");
        if line == "CANCEL\t2" {
            break;
        }
    }
}

#[tokio::test]
async fn what_is_too_long_is_refused_before_it_is_sent() {
    let (_dir, path) = place();
    let client = AuthClient::new(&path);
    let long = AuthRequest::with_password("smtp", "ann", &"x".repeat(1 << 20)).expect("no NUL");
    assert!(matches!(client.begin(long).await, AuthStep::Fail(f) if f.malformed && !f.temporary));
    let odd = AuthRequest { mechanism: "PL\tAIN".into(), ..login("ann") };
    assert!(matches!(client.begin(odd).await, AuthStep::Fail(f) if f.malformed && !f.temporary));
    assert!(AuthRequest::with_password("smtp", "a\0b", "x").is_none());
}

#[tokio::test]
async fn a_lookup_is_believed_for_a_while() {
    let (_dir, path) = place();
    let asked = Arc::new(AtomicU32::new(0));
    let count = asked.clone();
    let listener = UnixListener::bind(&path).expect("bind");
    tokio::spawn(async move {
        let (stream, _): (UnixStream, _) = listener.accept().await.expect("accept");
        let (read, write) = stream.into_split();
        let (mut reader, mut writer) = (FrameReader::new(read, LOOKUP), FrameWriter::new(write, LOOKUP));
        while let Ok(Some(question)) = reader.next::<Question>().await {
            let result = match (question.key.as_str(), count.fetch_add(1, Ordering::SeqCst)) {
                ("down", _) => Found::Unavailable("no database".into()),
                (_, n) => Found::Value(n.to_string()),
            };
            let _ = writer.send(&Answer { id: question.id, result }).await;
        }
    });
    let client = LookupClient::new(&path);
    assert_eq!(client.get("t", "k").await.expect("asked").as_deref(), Some("0"));
    assert_eq!(client.get("t", "k").await.expect("cached").as_deref(), Some("0"));
    assert_eq!(client.ask("t", "k").await.expect("asked").as_deref(), Some("1"));
    // A failure is not kept.
    assert!(client.get("t", "down").await.is_err());
    assert!(client.get("t", "down").await.is_err());
    assert_eq!(asked.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn lists_and_users_of_the_userdb_are_read() {
    let (_dir, path) = place();
    serve_lines(&path, b"VERSION\t1\t1\nSPID\t7\n", |line| {
        let mut fields = line.split('\t');
        let (word, id, name) = (fields.next(), fields.next().unwrap_or(""), fields.next().unwrap_or(""));
        Some(match (word, name) {
            (Some("LIST"), _) => format!("LIST\t{id}\ta\nLIST\t{id}\tb\nDONE\t{id}\n").into_bytes(),
            (Some("USER"), "ann") => {
                format!("USER\t{id}\tann\tuid=5000\tgid=5000\thome=/h\tmail=maildir:~/M\tquota_rule=*:bytes=9\n").into_bytes()
            }
            (Some("USER"), "broken") => format!("FAIL\t{id}\treason=disk\n").into_bytes(),
            (Some("USER"), _) => format!("NOTFOUND\t{id}\n").into_bytes(),
            _ => Vec::new(),
        })
    });
    let client = UserdbClient::new(&path);
    assert_eq!(client.list().await.expect("list"), ["a", "b"]);
    let ann = client.lookup("ann", "lmtp").await.expect("answered").expect("there");
    assert_eq!((ann.uid, ann.quota_bytes, ann.maildir()), (Some(5000), Some(9), Some("/h/M".into())));
    assert_eq!(client.lookup("bob", "lmtp").await.expect("answered"), None);
    assert!(client.lookup("broken", "lmtp").await.is_err());
}

#[test]
fn the_encoding_of_questions_and_answers_is_what_it_always_was() {
    use crate::accounts::{ACCOUNTS, NewPassword, Request};
    use crate::usage::{Note, Stored, USAGE};
    let payload = |frame: Vec<u8>| frame[20..].to_vec();
    let mut out = Vec::new();
    LOOKUP.encode(&Question { id: 1, table: "t".into(), key: "k".into() }, &mut out).expect("fits");
    assert_eq!(payload(out), [1, 1, b't', 1, b'k']);
    let mut out = Vec::new();
    LOOKUP.encode(&Answer { id: 2, result: Found::Value("v".into()) }, &mut out).expect("fits");
    assert_eq!(payload(out), [2, 0, 1, b'v']);
    let mut out = Vec::new();
    let request = Request::MailboxChange {
        address: "a@b".into(),
        password: Some(NewPassword::plain("pw")),
        name: None,
        quota_bytes: None,
        active: Some(true),
        services: crate::accounts::Services { smtp: Some(false), ..Default::default() },
    };
    ACCOUNTS.encode(&crate::accounts::Question { id: 3, request: request.clone() }, &mut out).expect("fits");
    let (back, _) = ACCOUNTS.decode::<crate::accounts::Question>(&out).expect("sound").expect("whole");
    assert_eq!(back.request, request);
    assert!(!format!("{back:?}").contains("pw"));
    assert_eq!(payload(out), [3, 5, 3, b'a', b'@', b'b', 1, 0, 2, b'p', b'w', 0, 0, 1, 1, 1, 0, 0, 0]);
    let mut out = Vec::new();
    let note = Note { user: "a".into(), stored: Some(Stored { bytes: 5, messages: 1 }), login: None };
    USAGE.encode(&note, &mut out).expect("fits");
    assert_eq!(payload(out), [1, b'a', 1, 5, 1, 0]);
}

#[tokio::test]
async fn a_login_that_is_not_waited_for_is_cancelled() {
    let (_dir, path) = place();
    let (heard, mut lines) = tokio::sync::mpsc::unbounded_channel();
    serve_lines(&path, GREETING, move |line| {
        let _ = heard.send(line.to_owned());
        Some(Vec::new())
    });
    let mut until = async |word: &str| loop {
        let line = lines.recv().await.expect("a line");
        if line.starts_with(word) {
            return id_of(&line).to_owned();
        }
    };
    // The asker goes away.
    let client = AuthClient::with_deadline(&path, Duration::from_secs(60));
    let asker = client.clone();
    let task = tokio::spawn(async move { asker.begin(login("ann")).await });
    let id = until("AUTH").await;
    task.abort();
    assert_eq!(until("CANCEL").await, id);
}
