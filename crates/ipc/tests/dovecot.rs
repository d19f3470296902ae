//! Our clients against a real Dovecot's auth service, started in a directory of its own.
//!
//! Skipped, saying so, where Dovecot is not installed or the test does not run as root (Dovecot wants to).

use ipc::auth::{AuthClient, AuthRequest, AuthStep};
use ipc::userdb::UserdbClient;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

struct Dovecot {
    dir: tempfile::TempDir,
}

impl Dovecot {
    fn start() -> Option<Dovecot> {
        if !Path::new("/usr/sbin/dovecot").exists() {
            eprintln!("skipped: dovecot is not installed");
            return None;
        }
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: dovecot needs root");
            return None;
        }
        let dir = tempfile::tempdir().expect("temporary directory");
        // Dovecot's own users look into it.
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("mode");
        let at = dir.path().display();
        let config = format!(
            "base_dir = {at}/run\nstate_dir = {at}/state\nlog_path = {at}/log\nprotocols =\nssl = no\nauth_mechanisms = plain login\n\
             auth_failure_delay = 1 s\nfirst_valid_uid = 1\nmail_location = maildir:~/Maildir\n\
             passdb {{\n driver = passwd-file\n args = {at}/users\n}}\nuserdb {{\n driver = passwd-file\n args = {at}/users\n}}\n\
             service auth {{\n unix_listener auth-client {{\n mode = 0666\n }}\n unix_listener auth-userdb {{\n mode = 0666\n }}\n}}\n"
        );
        std::fs::write(dir.path().join("dovecot.conf"), config).expect("settings");
        let users = "ann@example.org:{PLAIN}pa\u{df}:5000:5000::/home/vmail/ann::userdb_quota_rule=*:storage=10M\n\
                     bob@example.org:{SSHA}vkIq9ZuTczNGgsinVJgLE/Urc5HNHCYq:5000:5000::/home/vmail/bob::\n";
        std::fs::write(dir.path().join("users"), users).expect("users");
        let dovecot = Dovecot { dir };
        dovecot.run();
        Some(dovecot)
    }

    fn run(&self) {
        let status = Command::new("/usr/sbin/dovecot").arg("-c").arg(self.config()).stdin(Stdio::null()).status().expect("dovecot runs");
        assert!(status.success(), "{}", std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default());
    }

    fn stop(&self) {
        let _ = Command::new("/usr/sbin/dovecot").arg("-c").arg(self.config()).arg("stop").status();
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("dovecot.conf")
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.dir.path().join("run").join(name)
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A login from an address of its own: Dovecot lets an address with failures wait.
fn login(user: &str, password: &str) -> AuthRequest {
    static LAST: AtomicU8 = AtomicU8::new(0);
    from(LAST.fetch_add(1, Ordering::Relaxed), user, password)
}

fn from(address: u8, user: &str, password: &str) -> AuthRequest {
    AuthRequest {
        secured: true,
        remote: Some(([192, 0, 2, address], 40_000).into()),
        local: Some(([127, 0, 0, 1], 587).into()),
        session: "test".into(),
        ..AuthRequest::with_password("smtp", user, password).expect("no NUL")
    }
}

/// A Dovecot that has just started may need a moment to answer.
async fn mechanisms(client: &AuthClient) -> Vec<String> {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        match client.mechanisms().await {
            Ok(mechanisms) => return mechanisms.iter().map(|m| m.name.clone()).collect(),
            Err(e) => assert!(Instant::now() < until, "{e}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_real_dovecot_is_understood() {
    let Some(dovecot) = Dovecot::start() else { return };
    let client = AuthClient::new(dovecot.socket("auth-client"));
    assert_eq!(mechanisms(&client).await, ["PLAIN", "LOGIN"]);

    let AuthStep::Ok(ok) = client.begin(login("ann@example.org", "pa\u{df}")).await else { panic!("the right password") };
    assert_eq!(ok.user, "ann@example.org");

    // The second failure from one address is held back for more than the deadline, and is an answer all the same.
    let AuthStep::Fail(fail) = client.begin(from(255, "ann@example.org", "wrong")).await else { panic!("a wrong password") };
    assert!(!fail.temporary, "{fail:?}");
    let AuthStep::Fail(fail) = client.begin(from(255, "nobody@example.org", "wrong")).await else { panic!("an unknown user") };
    assert!(!fail.temporary, "{fail:?}");

    // PLAIN without an initial response, and LOGIN.
    let request = AuthRequest { initial: None, ..login("", "") };
    let AuthStep::Continue(pending) = client.begin(request.clone()).await else { panic!("an empty challenge") };
    assert_eq!(pending.challenge(), b"");
    let AuthStep::Ok(_) = pending.answer("\0ann@example.org\0pa\u{df}".as_bytes()).await else { panic!("the right password") };
    let AuthStep::Continue(user) = client.begin(AuthRequest { mechanism: "login".into(), ..request.clone() }).await else {
        panic!("LOGIN")
    };
    assert_eq!(user.challenge(), b"Username:");
    let AuthStep::Continue(password) = user.answer(b"ann@example.org").await else { panic!("a second challenge") };
    assert_eq!(password.challenge(), b"Password:");
    let AuthStep::Ok(_) = password.answer("pa\u{df}".as_bytes()).await else { panic!("the right password") };
    drop(client.begin(AuthRequest { mechanism: "login".into(), ..request }).await);

    // Many at once over the one connection, right and wrong ones mixed.
    let asked = (0..50).map(|n| {
        let client = client.clone();
        tokio::spawn(async move {
            let right = n % 2 == 0;
            let step = client.begin(login("ann@example.org", if right { "pa\u{df}" } else { "no" })).await;
            assert_eq!(matches!(step, AuthStep::Ok(_)), right, "{n}: {step:?}");
        })
    });
    for task in asked.collect::<Vec<_>>() {
        task.await.expect("as expected");
    }

    let userdb = UserdbClient::new(dovecot.socket("auth-userdb"));
    let ann = userdb.lookup("ann@example.org", "lmtp").await.expect("answered").expect("there");
    assert_eq!((ann.uid, ann.gid, ann.home.as_deref()), (Some(5000), Some(5000), Some(Path::new("/home/vmail/ann"))));
    assert_eq!(ann.quota_bytes, Some(10 << 20));
    assert_eq!(userdb.lookup("nobody@example.org", "lmtp").await.expect("answered"), None);
    let mut names = userdb.list().await.expect("a list");
    names.sort();
    assert_eq!(names, ["ann@example.org", "bob@example.org"]);

    // A restart is seen as a temporary failure at worst, and is over with the next question.
    dovecot.stop();
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        match client.begin(login("ann@example.org", "pa\u{df}")).await {
            AuthStep::Fail(fail) => break assert!(fail.temporary, "{fail:?}"),
            // Its auth process takes a moment to see that it shall stop.
            _ => assert!(Instant::now() < until, "it does not stop"),
        }
    }
    dovecot.run();
    mechanisms(&client).await;
    let AuthStep::Ok(_) = client.begin(login("ann@example.org", "pa\u{df}")).await else { panic!("the right password") };
}
