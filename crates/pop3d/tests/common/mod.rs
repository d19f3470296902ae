//! pop3d in a folder of its own, with a stand-in for authd that knows one account.

use config::Config;
use daemon::Context;
use ipc::auth::server as auth;
use ipc::auth::{AuthFail, Mechanism};
use ipc::userdb::server as userdb;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use testkit::Transcript;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixListener};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

pub const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/transcripts/pop3");

/// No answer of these tests takes long; a test that waits for this one has failed.
pub const DEADLINE: Duration = Duration::from_secs(30);

pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

pub struct World {
    folder: tempfile::TempDir,
    connector: TlsConnector,
    config: Config,
    running: Option<(Context, JoinHandle<anyhow::Result<()>>)>,
    authd: Vec<JoinHandle<()>>,
}

impl World {
    /// A folder with settings, certificate and the three messages; nothing runs yet.
    pub fn new(settings: &str) -> World {
        // Another test may have been first.
        let _ = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = testkit::temp_dir();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("certificate");
        std::fs::write(folder.path().join("cert.pem"), made.cert.pem()).expect("write");
        std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).expect("write");
        let mut roots = tokio_rustls::rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("root");
        let client = tokio_rustls::rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let (plain, tls) = (testkit::free_port(), testkit::free_port());
        let text = format!(
            "hostname = \"mail.example.org\"\nrun_directory = \"run\"\nstate_directory = \"state\"\nspool_directory = \"spool\"\n\
             [tls]\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\"\n[mail]\nmail_uid = 0\nmail_gid = 0\n\
             [pop3d]\nlisten = [\"127.0.0.1:{plain}\"]\nlisten_tls = [\"127.0.0.1:{tls}\"]\nsame_host_is_secured = false\n{settings}"
        );
        let file = folder.path().join("facteur.toml");
        std::fs::write(&file, text).expect("write");
        std::fs::create_dir(folder.path().join("run")).expect("folder");
        let config = Config::load(&file).unwrap_or_else(|report| panic!("{report}"));
        let world = World { folder, connector: TlsConnector::from(Arc::new(client)), config, running: None, authd: Vec::new() };
        for n in 1..=3 {
            world.deliver(n, &std::fs::read(format!("{FOLDER}/maildrop/{n}.eml")).expect("message"));
        }
        world
    }

    /// The same with authd and pop3d running.
    pub async fn start(settings: &str) -> World {
        let mut world = World::new(settings);
        world.start_authd();
        world.start_pop3d();
        world
    }

    pub fn maildir(&self) -> PathBuf {
        self.folder.path().join("mail")
    }

    pub fn deliver(&self, number: usize, bytes: &[u8]) {
        let root = self.maildir();
        for part in ["new", "cur", "tmp"] {
            std::fs::create_dir_all(root.join(part)).expect("folder");
        }
        std::fs::write(root.join(format!("new/170000000{number}.M1P1.mail")), bytes).expect("write");
    }

    /// Files of messages in the mailbox.
    pub fn count(&self) -> usize {
        ["new", "cur"].iter().map(|part| std::fs::read_dir(self.maildir().join(part)).expect("folder").count()).sum()
    }

    pub fn start_authd(&mut self) {
        let run = self.folder.path().join("run");
        let maildir = self.maildir();
        self.authd.push(serve(&run.join("auth"), auth::greeting(&mechanisms(), 1, &[7; 16]), Arc::new(answer_login)));
        let answer = move |line: &[u8], _: &mut Vec<String>| match userdb::parse(line).expect("question") {
            userdb::ClientLine::User { id, name, .. } if name == "ann@example.org" => {
                userdb::user(id, &name, &[("mail".to_owned(), format!("maildir:{}", maildir.display()))])
            }
            userdb::ClientLine::User { id, .. } => userdb::not_found(id),
            _ => Vec::new(),
        };
        self.authd.push(serve(&run.join("userdb"), userdb::greeting(), Arc::new(answer)));
    }

    pub fn start_pop3d(&mut self) {
        let ctx = Context::detached("pop3d", self.config.clone()).expect("context");
        self.running = Some((ctx.clone(), tokio::spawn(pop3d::run(ctx))));
    }

    pub async fn stop_pop3d(&mut self) {
        let (ctx, running) = self.running.take().expect("running");
        ctx.shutdown.set();
        running.await.expect("task").expect("run");
        assert!(ctx.shutdown.drained(DEADLINE).await);
    }

    /// Why pop3d ended by itself.
    pub async fn failed(&mut self) -> String {
        let (_, running) = self.running.take().expect("running");
        running.await.expect("task").expect_err("should have failed").to_string()
    }

    async fn connect_to(&self, endpoint: &config::Endpoint) -> TcpStream {
        let config::Endpoint::Tcp(address) = endpoint else { panic!("a TCP address") };
        // The program may still be on its way to bind.
        for _ in 0..1000 {
            if let Ok(stream) = TcpStream::connect(address).await {
                return stream;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("nobody listens on {address}");
    }

    pub async fn connect(&self) -> Box<dyn Io> {
        Box::new(self.connect_to(&self.config.pop3d.listen[0]).await)
    }

    pub async fn connect_tls(&self) -> Box<dyn Io> {
        self.wrap(Box::new(self.connect_to(&self.config.pop3d.listen_tls[0]).await)).await
    }

    pub async fn wrap(&self, stream: Box<dyn Io>) -> Box<dyn Io> {
        let name = ServerName::try_from("localhost").expect("name");
        Box::new(self.connector.connect(name, stream).await.expect("TLS handshake"))
    }

    /// Runs a transcript over a connection to port 110.
    pub async fn run(&self, transcript: &Transcript) {
        let stream = self.connect().await;
        let directive = async |word: &str, stream: Box<dyn Io>| {
            assert_eq!(word, "tls");
            self.wrap(stream).await
        };
        transcript.run_stream(stream, DEADLINE, directive).await;
    }

    /// Runs the lines of a transcript on a connection that is open.
    pub async fn talk(&self, stream: &mut Box<dyn Io>, text: &str) {
        Transcript::parse("talk", text).run_stream(stream, DEADLINE, async |_: &str, stream| stream).await;
    }

    /// A connection that is logged in.
    pub async fn login(&self) -> Box<dyn Io> {
        let mut stream = self.connect_tls().await;
        self.talk(&mut stream, "S: +OK …\nC: USER ann@example.org\nC: PASS secret\nS: +OK\nS: +OK Logged in.").await;
        stream
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.authd.iter().for_each(JoinHandle::abort);
        if let Some((ctx, _)) = &self.running {
            ctx.shutdown.set();
        }
    }
}

fn mechanisms() -> Vec<Mechanism> {
    ["PLAIN", "LOGIN"].map(|name| Mechanism { name: name.into(), plaintext: true, ..Mechanism::default() }).to_vec()
}

type Answer = Arc<dyn Fn(&[u8], &mut Vec<String>) -> Vec<u8> + Send + Sync>;

// A socket on which each line gets the answer of a function.
fn serve(path: &Path, greeting: Vec<u8>, answer: Answer) -> JoinHandle<()> {
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).expect("bind");
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { return };
            let (greeting, answer) = (greeting.clone(), answer.clone());
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let mut lines = BufReader::new(read).split(b'\n');
                let mut memory = Vec::new();
                let _ = write.write_all(&greeting).await;
                while let Ok(Some(line)) = lines.next_segment().await {
                    if write.write_all(&answer(&line, &mut memory)).await.is_err() {
                        return;
                    }
                }
            });
        }
    })
}

fn answer_login(line: &[u8], memory: &mut Vec<String>) -> Vec<u8> {
    let text = |response: auth::Response| match response {
        auth::Response::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        auth::Response::NotBase64 => String::new(),
    };
    let check = |id: u32, user: &str, password: &str| match (user, password) {
        ("ann@example.org", "secret") => auth::ok(id, user, &[]),
        _ => auth::fail(id, &AuthFail { user: Some(user.into()), ..AuthFail::default() }),
    };
    let plain = |id: u32, message: &str| {
        let parts: Vec<&str> = message.split('\0').collect();
        check(id, parts.get(1).unwrap_or(&""), parts.get(2).unwrap_or(&""))
    };
    match auth::parse(line).expect("command") {
        auth::ClientLine::Auth(command) => {
            assert_eq!(command.service, "pop3");
            assert!(command.secured && command.remote.is_some() && !command.session.is_empty());
            memory.clear();
            match (command.mechanism.as_str(), command.initial) {
                ("PLAIN", Some(initial)) => plain(command.id, &text(initial)),
                ("PLAIN", None) => auth::cont(command.id, b""),
                ("LOGIN", _) => {
                    memory.push("LOGIN".into());
                    auth::cont(command.id, b"Username:")
                }
                _ => auth::fail(
                    command.id,
                    &AuthFail { reason: Some("Unsupported authentication mechanism.".into()), ..AuthFail::default() },
                ),
            }
        }
        auth::ClientLine::Continue { id, response } if memory.is_empty() => plain(id, &text(response)),
        auth::ClientLine::Continue { id, response } => {
            memory.push(text(response));
            match &memory[1..] {
                [_] => auth::cont(id, b"Password:"),
                [user, password] => check(id, user, password),
                _ => auth::fail(id, &AuthFail::default()),
            }
        }
        _ => Vec::new(),
    }
}
