//! A real Postfix logs people in at our authd (`smtpd_sasl_type = dovecot`).
//!
//! Skipped, saying so, where Postfix is not installed or the test does not run as root.

use config::Config;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

struct Postfix {
    etc: PathBuf,
    port: u16,
}

impl Postfix {
    fn start(dir: &Path, auth: &Path) -> Option<Postfix> {
        let master = Path::new("/usr/lib/postfix/sbin/master");
        if !master.exists() {
            eprintln!("skipped: postfix is not installed");
            return None;
        }
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: postfix needs root");
            return None;
        }
        let port = testkit::free_port();
        let (etc, queue, data) = (dir.join("etc"), dir.join("queue"), dir.join("data"));
        for folder in [&etc, &queue, &data] {
            std::fs::create_dir_all(folder).expect("folder");
        }
        let owner = nix::unistd::User::from_name("postfix").ok().flatten().expect("user postfix");
        nix::unistd::chown(&data, Some(owner.uid), None).expect("chown");
        let log = dir.join("maillog");
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {}\ndata_directory = {}\ncommand_directory = /usr/sbin\n\
             daemon_directory = /usr/lib/postfix/sbin\nmeta_directory = /etc/postfix\nmaillog_file = {}\nmaillog_file_prefixes = {}\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmyhostname = mail.example.test\nmydestination =\nmynetworks =\n\
             alias_maps =\nlocal_recipient_maps =\nsmtpd_relay_restrictions = permit_sasl_authenticated, reject\n\
             smtpd_tls_security_level = none\nsmtpd_tls_auth_only = no\nsmtpd_sasl_auth_enable = yes\n\
             smtpd_sasl_security_options = noanonymous\nsmtpd_sasl_type = dovecot\nsmtpd_sasl_path = {}\n",
            queue.display(),
            data.display(),
            log.display(),
            dir.display(),
            auth.display()
        );
        let master = format!(
            "127.0.0.1:{port} inet n - n - 20 smtpd\ncleanup unix n - n - 0 cleanup\npickup unix n - n 60 1 pickup\n\
             qmgr unix n - n 300 1 qmgr\nrewrite unix - - n - - trivial-rewrite\nproxymap unix - - n - - proxymap\n\
             anvil unix - - n - 1 anvil\npostlog unix-dgram n - n - 1 postlogd\n"
        );
        std::fs::write(etc.join("main.cf"), main).expect("main.cf");
        std::fs::write(etc.join("master.cf"), master).expect("master.cf");
        std::fs::write(&log, "").expect("log");
        nix::unistd::chown(&log, Some(owner.uid), None).expect("chown");
        let status =
            Command::new("/usr/sbin/postfix").arg("-c").arg(&etc).arg("start").stderr(Stdio::null()).status().expect("postfix runs");
        assert!(status.success(), "{}", std::fs::read_to_string(&log).unwrap_or_default());
        Some(Postfix { etc, port })
    }

    fn connect(&self) -> Client {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            match TcpStream::connect(("127.0.0.1", self.port)) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("timeout");
                    let mut client = Client { read: BufReader::new(stream.try_clone().expect("clone")), write: stream };
                    assert!(client.reply().starts_with("220"));
                    return client;
                }
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let _ = Command::new("/usr/sbin/postfix").arg("-c").arg(&self.etc).arg("stop").stderr(Stdio::null()).status();
    }
}

struct Client {
    read: BufReader<TcpStream>,
    write: TcpStream,
}

impl Client {
    fn say(&mut self, line: &str) -> String {
        self.write.write_all(format!("{line}\r\n").as_bytes()).expect("write");
        self.reply()
    }

    /// All lines of a reply.
    fn reply(&mut self) -> String {
        let mut whole = String::new();
        loop {
            let mut line = String::new();
            assert!(self.read.read_line(&mut line).expect("reply") > 0, "closed after {whole:?}");
            let last = line.as_bytes().get(3) != Some(&b'-');
            whole.push_str(&line);
            if last {
                return whole;
            }
        }
    }
}

#[test]
fn a_real_postfix_logs_people_in_here() {
    let dir = testkit::temp_dir();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("mode");
    let file = dir.path().join("facteur.toml");
    std::fs::write(dir.path().join("users"), "ann@x.org:{SSHA}jTJk90mUoWBSlOaeNUZpTTa+jilt+9oH\n").expect("users");
    // The guide's listener: owned by Postfix's user.
    let settings = "hostname = \"mx.x.org\"\nmydomain = \"x.org\"\nrun_directory = \".\"\nstate_directory = \".\"\n\
                    [mail]\nmail_uid = 0\nmail_gid = 0\n[authd]\nauth_failure_delay = \"0s\"\n\
                    [[authd.unix_listener]]\npath = \"postfix-auth\"\nmode = \"0660\"\nuser = \"postfix\"\ngroup = \"postfix\"\n\
                    [[authd.passdb]]\ndriver = \"passwd-file\"\nargs = \"users\"\n[[authd.userdb]]\ndriver = \"static\"\n";
    let socket = dir.path().join("postfix-auth");
    let Some(postfix) = Postfix::start(dir.path(), &socket) else { return };
    let config = Config::from_texts(&file, &[(file.clone(), settings.to_owned())]).unwrap_or_else(|e| panic!("{e}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    let start = || {
        let ctx = runtime.block_on(async { daemon::Context::detached("authd", config.clone()) }).expect("context");
        let task = runtime.spawn(authd::run(ctx.clone()));
        let until = Instant::now() + Duration::from_secs(20);
        while std::os::unix::net::UnixStream::connect(dir.path().join("usage")).is_err() {
            assert!(!task.is_finished() && Instant::now() < until, "authd does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        (ctx, task)
    };
    let (ctx, task) = start();

    let mut client = postfix.connect();
    let features = client.say("EHLO me");
    assert!(features.contains("AUTH PLAIN LOGIN"), "{features}");
    // "\0ann@x.org\0wrong"
    assert!(client.say("AUTH PLAIN AGFubkB4Lm9yZwB3cm9uZw==").starts_with("535"));
    assert!(client.say("AUTH PLAIN !!!").starts_with("535"));
    // "\0ann@x.org\0clé 42"
    let good = "AGFubkB4Lm9yZwBjbMOpIDQy";
    assert!(client.say(&format!("AUTH PLAIN {good}")).starts_with("235"));
    assert!(client.say("MAIL FROM:<ann@x.org>").starts_with("250"));
    assert!(client.say("RCPT TO:<bob@else.org>").starts_with("250"));

    let mut client = postfix.connect();
    client.say("EHLO me");
    assert!(client.say("AUTH LOGIN").starts_with("334 VXNlcm5hbWU6"));
    // "ann", "clé 42"
    assert!(client.say("YW5u").starts_with("334 UGFzc3dvcmQ6"));
    assert!(client.say("Y2zDqSA0Mg==").starts_with("235"));

    // A restart of authd: the sessions that Postfix has open log people in again.
    let mut client = postfix.connect();
    client.say("EHLO me");
    ctx.shutdown.set();
    runtime.block_on(task).expect("task").expect("a clean end");
    let reply = client.say(&format!("AUTH PLAIN {good}"));
    assert!(reply.starts_with("454") || reply.starts_with("535 5.7.0") || reply.starts_with("421"), "{reply}");
    let (ctx, task) = start();
    let mut client = postfix.connect();
    client.say("EHLO me");
    assert!(client.say(&format!("AUTH PLAIN {good}")).starts_with("235"));
    ctx.shutdown.set();
    runtime.block_on(task).expect("task").expect("a clean end");
}
