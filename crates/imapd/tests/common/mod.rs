//! imapd in this process, with a stand-in for authd, in a folder of its own.

#![allow(dead_code)] // each test file uses its part

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use config::Config;
use daemon::{Context, Shutdown};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixListener, UnixStream};

/// Longer than anything takes that works.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Accounts `ann`, `bob`, and `quinn` with room for 10 KiB and 3 messages, at example.org, password `pw`. `rita` and `remy` are served elsewhere.
pub struct World {
    pub dir: tempfile::TempDir,
    pub port: u16,
    shutdown: Shutdown,
    run: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl World {
    pub async fn start() -> World {
        World::with("").await
    }

    /// `settings` go into `[imapd]`; `{root}` in them is the folder of this world.
    pub async fn with(settings: &str) -> World {
        let dir = testkit::temp_dir();
        fake_authd(dir.path());
        World::in_dir(dir, settings).await
    }

    pub async fn without_authd() -> World {
        World::in_dir(testkit::temp_dir(), "").await
    }

    async fn in_dir(dir: tempfile::TempDir, settings: &str) -> World {
        let port = testkit::free_port();
        let root = dir.path().display();
        let settings = settings.replace("{root}", &root.to_string());
        let text = format!(
            "hostname = \"mail.example.org\"\nrun_directory = \"{root}\"\nsandbox = false\n\
             [imapd]\nlisten = [\"127.0.0.1:{port}\"]\nlisten_tls = []\nmailbox_auto = \"no\"\n{settings}\n\
             [mail]\nmail_location = \"maildir:{root}/mail/%u\"\nvirtual_mailbox_base = \"{root}/mail\"\nmail_uid = 0\nmail_gid = 0\n"
        );
        let file = dir.path().join("facteur.toml");
        let config = Config::from_texts(&file, &[(file.clone(), text)]).unwrap_or_else(|report| panic!("{report:?}"));
        let ctx = Context::detached("imapd", config).expect("context");
        let shutdown = ctx.shutdown.clone();
        let run = tokio::spawn(imapd::run(ctx));
        let world = World { dir, port, shutdown, run };
        // The listener is bound by the task.
        for _ in 0..500 {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        world
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.expect("imapd listens")
    }

    /// A client that has heard the greeting.
    pub async fn stranger(&self) -> Client {
        let mut client = Client { stream: BufReader::new(self.connect().await), count: 0 };
        client.line().await;
        client
    }

    /// A client that is logged in.
    pub async fn client(&self, user: &str) -> Client {
        let mut client = self.stranger().await;
        client.ok(&format!("LOGIN {user}@example.org pw")).await;
        client
    }

    /// The account's Maildir.
    pub fn maildir(&self, user: &str) -> PathBuf {
        self.dir.path().join("mail").join(format!("{user}@example.org"))
    }

    /// Drops a message into `new/`, as any program may.
    pub fn drop_mail(&self, user: &str, name: &str, text: &str) {
        let maildir = self.maildir(user);
        for sub in ["tmp", "new", "cur"] {
            std::fs::create_dir_all(maildir.join(sub)).expect("maildir");
        }
        std::fs::write(maildir.join("tmp").join(name), text).expect("write");
        std::fs::rename(maildir.join("tmp").join(name), maildir.join("new").join(name)).expect("rename");
    }

    pub async fn stop(self) {
        self.shutdown.set();
        tokio::time::timeout(PATIENCE, self.run).await.expect("run ends").expect("no panic").expect("no error");
    }

    /// Another imapd for the same mail; `between` may do something to ann's Maildir while none runs.
    pub async fn restarted(self, between: impl FnOnce(&Path)) -> World {
        let maildir = self.maildir("ann");
        self.shutdown.set();
        tokio::time::timeout(PATIENCE, self.run).await.expect("run ends").expect("no panic").expect("no error");
        between(&maildir);
        World::in_dir(self.dir, "").await
    }
}

/// A client that speaks line by line.
pub struct Client {
    stream: BufReader<TcpStream>,
    count: u32,
}

impl Client {
    pub async fn line(&mut self) -> String {
        let mut line = Vec::new();
        let read = tokio::time::timeout(PATIENCE, self.stream.read_until(b'\n', &mut line)).await;
        read.expect("an answer in time").expect("connection");
        String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned()
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).await.expect("write");
    }

    /// Sends a command and reads to its tagged answer, which is the last line given.
    pub async fn command(&mut self, text: &str) -> Vec<String> {
        self.count += 1;
        let tag = format!("t{}", self.count);
        self.send(format!("{tag} {text}\r\n").as_bytes()).await;
        self.answer(&tag).await
    }

    async fn answer(&mut self, tag: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await;
            let done = line.strip_prefix(tag).and_then(|rest| rest.strip_prefix(' ')).map(str::to_owned);
            match done {
                Some(rest) => {
                    lines.push(rest);
                    return lines;
                }
                None if line.is_empty() && self.stream.buffer().is_empty() && self.is_closed().await => panic!("closed after {lines:?}"),
                None => lines.push(line),
            }
        }
    }

    async fn is_closed(&mut self) -> bool {
        matches!(tokio::time::timeout(Duration::from_millis(200), self.stream.fill_buf()).await, Ok(Ok(rest)) if rest.is_empty())
    }

    /// As `command`, and the answer must be OK; gives the lines before it.
    pub async fn ok(&mut self, text: &str) -> Vec<String> {
        let mut lines = self.command(text).await;
        let last = lines.pop().unwrap_or_default();
        assert!(last.starts_with("OK"), "{text}: {last} after {lines:?}");
        lines
    }

    /// Appends a message to a mailbox with a non-synchronising literal; gives the tagged answer.
    pub async fn append(&mut self, mailbox: &str, arguments: &str, text: &str) -> String {
        let lines = self.command(&format!("APPEND {mailbox} {arguments}{{{}+}}\r\n{text}", text.len())).await;
        lines.last().cloned().unwrap_or_default()
    }

    /// Begins IDLE and waits until it is in force.
    pub async fn idle(&mut self) {
        self.send(b"i IDLE\r\n").await;
        loop {
            if self.line().await.starts_with('+') {
                return;
            }
        }
    }

    /// Ends IDLE; gives what came before the answer.
    pub async fn done(&mut self) -> Vec<String> {
        self.send(b"DONE\r\n").await;
        self.answer("i").await
    }

    /// Reads until a line that begins so, which is given.
    pub async fn until(&mut self, start: &str) -> String {
        loop {
            let line = self.line().await;
            if line.starts_with(start) {
                return line;
            }
        }
    }

    /// Says that nothing more comes, and reads what the server still says.
    pub async fn end(&mut self) {
        let _ = self.stream.get_mut().shutdown().await;
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await;
    }

    /// Reads whatever comes until the connection ends.
    pub async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await.expect("closes in time").expect("connection");
        String::from_utf8_lossy(&rest).into_owned()
    }
}

/// A message with a subject and a body, CRLF line ends.
pub fn message(subject: &str, body: &str) -> String {
    format!(
        "From: Ann <ann@example.org>\r\nTo: bob@example.org\r\nDate: Wed, 17 Jul 1996 02:23:25 -0700\r\nSubject: {subject}\r\nMessage-ID: <{}@example.org>\r\n\r\n{body}\r\n",
        subject.len()
    )
}

/// Takes a lease on a file, as Samba does for its clients: others that open it are told to try again. It ends with what is returned.
pub fn lease(path: &Path) -> std::fs::File {
    use nix::libc;
    use std::os::fd::AsRawFd;
    let file = std::fs::File::options().read(true).write(true).open(path).expect("file");
    // SAFETY: no pointers; the signal says that somebody else opens the file, and would end this process.
    let taken = unsafe {
        libc::signal(libc::SIGIO, libc::SIG_IGN);
        libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK)
    };
    assert_eq!(taken, 0, "{}", std::io::Error::last_os_error());
    file
}

fn fake_authd(dir: &Path) {
    let auth = UnixListener::bind(dir.join("auth")).expect("auth socket");
    let userdb = UnixListener::bind(dir.join("userdb")).expect("userdb socket");
    tokio::spawn(async move {
        while let Ok((stream, _)) = auth.accept().await {
            tokio::spawn(serve_auth(stream));
        }
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = userdb.accept().await {
            tokio::spawn(serve_userdb(stream));
        }
    });
}

async fn serve_auth(stream: UnixStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let hello = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t0123456789abcdef0123456789abcdef\nDONE\n";
    stream.get_mut().write_all(hello.as_bytes()).await?;
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        let fields: Vec<&str> = line.trim_end().split('\t').collect();
        let response = match fields[..] {
            ["AUTH", _, "PLAIN", ..] => fields.last().and_then(|f| f.strip_prefix("resp=")).map(str::to_owned),
            ["CONT", _, response] => Some(response.to_owned()),
            _ => {
                line.clear();
                continue;
            }
        };
        let id = fields[1];
        let answer = match response {
            None => format!("CONT\t{id}\t\n"),
            Some(response) => {
                let plain = String::from_utf8_lossy(&BASE64.decode(response).unwrap_or_default()).into_owned();
                match plain.split('\0').collect::<Vec<_>>()[..] {
                    [_, user @ ("ann@example.org" | "bob@example.org" | "quinn@example.org"), "pw"] => format!("OK\t{id}\tuser={user}\n"),
                    [_, user @ "rita@example.org", "pw"] => format!("OK\t{id}\tuser={user}\tnologin\thost=mail2.example.org\n"),
                    [_, user @ "remy@example.org", "pw"] => format!("OK\t{id}\tuser={user}\n"),
                    [_, user, _] => format!("FAIL\t{id}\tuser={user}\n"),
                    _ => format!("FAIL\t{id}\n"),
                }
            }
        };
        stream.get_mut().write_all(answer.as_bytes()).await?;
        line.clear();
    }
    Ok(())
}

async fn serve_userdb(stream: UnixStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.get_mut().write_all(b"VERSION\t1\t1\nSPID\t1\n").await?;
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        if let ["LIST", id, ..] = line.trim_end().split('\t').collect::<Vec<_>>()[..] {
            let names: String = ["ann", "bob", "quinn"].iter().map(|name| format!("LIST\t{id}\t{name}@example.org\n")).collect();
            stream.get_mut().write_all(format!("{names}DONE\t{id}\n").as_bytes()).await?;
        }
        if let ["USER", id, user, ..] = line.trim_end().split('\t').collect::<Vec<_>>()[..] {
            let quota = if user.starts_with("quinn") { "\tquota_rule=*:storage=10:messages=3" } else { "" };
            let referral = if user.starts_with("remy") { "\treferral=imap://remy@mail3.example.org/" } else { "" };
            stream.get_mut().write_all(format!("USER\t{id}\t{user}{quota}{referral}\n").as_bytes()).await?;
        }
        line.clear();
    }
    Ok(())
}
