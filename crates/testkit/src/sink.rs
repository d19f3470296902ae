//! SMTP and LMTP servers that follow a script, keep what they are given, and misbehave on demand.
//!
//! ```text
//! let sink = Sink::smtp().keywords("PIPELINING SIZE=1000").on("RCPT TO:<bad@", Act::reply("550 5.1.1 no such user")).start().await;
//! … deliver to sink.port() …
//! assert_eq!(sink.messages().len(), 1);
//! ```
//!
//! What no rule names gets the usual answer. A rule is looked for by the beginning of the command line, without regard to case; the names
//! `connect`, `end of data` (SMTP) and `end of data <address>` (LMTP, per recipient) stand for moments that have no command.

use parking_lot::Mutex;
use rustls_pki_types::PrivateKeyDer;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// What a rule does.
#[derive(Debug, Clone)]
pub enum Act {
    /// Sends this reply (lines separated by `\n`), and does not do what the command asks for unless the reply is positive.
    Reply(String),
    /// Sends the reply, then closes.
    ReplyAndClose(String),
    /// Closes without a word.
    Close,
    /// Says nothing and waits until the client is gone.
    Silence,
    /// Sends these bytes as they are, then goes on.
    Raw(Vec<u8>),
    /// Sends these bytes again and again until the client is gone.
    Flood(Vec<u8>),
}

impl Act {
    pub fn reply(text: impl Into<String>) -> Act {
        Act::Reply(text.into())
    }
}

/// A message that was accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Received {
    /// The whole MAIL command.
    pub mail: String,
    /// The whole RCPT commands that were accepted.
    pub recipients: Vec<String>,
    /// As sent, without dot-stuffing.
    pub body: Vec<u8>,
    pub tls: bool,
    /// The login of AUTH, when there was one.
    pub login: Option<String>,
    /// Which connection it came by, from 1.
    pub connection: usize,
}

/// Sets up a sink.
pub struct Builder {
    script: Script,
}

struct Script {
    lmtp: bool,
    keywords: Vec<String>,
    rules: Mutex<Vec<(String, Act, Option<usize>)>>,
    tls: Option<TlsAcceptor>,
    wrapped: bool,
    certificate: String,
}

/// A running server; it ends when the value is dropped.
pub struct Sink {
    port: u16,
    certificate: String,
    kept: Arc<Mutex<Kept>>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Kept {
    messages: Vec<Received>,
    commands: Vec<String>,
    connections: usize,
    open: usize,
}

impl Sink {
    /// SMTP with PIPELINING, 8BITMIME, SMTPUTF8, SIZE, DSN and ENHANCEDSTATUSCODES.
    pub fn smtp() -> Builder {
        Builder::new(false, "PIPELINING 8BITMIME SMTPUTF8 SIZE=10000000 DSN ENHANCEDSTATUSCODES")
    }

    /// LMTP with the same and CHUNKING.
    pub fn lmtp() -> Builder {
        Builder::new(true, "PIPELINING 8BITMIME SMTPUTF8 SIZE=10000000 DSN ENHANCEDSTATUSCODES CHUNKING")
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's certificate in PEM, for clients that verify it; its names are `localhost` and `mx.test`.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    pub fn messages(&self) -> Vec<Received> {
        self.kept.lock().messages.clone()
    }

    /// All command lines so far.
    pub fn commands(&self) -> Vec<String> {
        self.kept.lock().commands.clone()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.kept.lock().connections
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.kept.lock().open
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Builder {
    fn new(lmtp: bool, keywords: &str) -> Builder {
        let script =
            Script { lmtp, keywords: Vec::new(), rules: Mutex::new(Vec::new()), tls: None, wrapped: false, certificate: String::new() };
        Builder { script }.keywords(keywords)
    }

    /// The keywords of the answer to EHLO, separated by spaces; `=` inside of one stands for a space.
    pub fn keywords(mut self, keywords: &str) -> Builder {
        self.script.keywords = keywords.split_whitespace().map(|word| word.replace('=', " ")).collect();
        self
    }

    /// One more keyword.
    pub fn keyword(mut self, keyword: &str) -> Builder {
        self.script.keywords.push(keyword.to_owned());
        self
    }

    /// What happens at a command that begins so; the first rule that fits, every time.
    pub fn on(self, command: &str, act: Act) -> Builder {
        self.script.rules.lock().push((command.to_ascii_uppercase(), act, None));
        self
    }

    /// The same, for the first `times` times.
    pub fn on_first(self, times: usize, command: &str, act: Act) -> Builder {
        self.script.rules.lock().push((command.to_ascii_uppercase(), act, Some(times)));
        self
    }

    /// Offers STARTTLS with a certificate of its own.
    pub fn starttls(self) -> Builder {
        self.keyword("STARTTLS").with_certificate()
    }

    /// TLS from the first byte on.
    pub fn wrapped_tls(mut self) -> Builder {
        self.script.wrapped = true;
        self.with_certificate()
    }

    fn with_certificate(mut self) -> Builder {
        let names = vec!["localhost".to_owned(), "mx.test".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate can be made");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key can be written");
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the default versions are there")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("the key belongs to the certificate");
        self.script.certificate = made.cert.pem();
        self.script.tls = Some(TlsAcceptor::from(Arc::new(config)));
        self
    }

    /// Starts on a free TCP port of 127.0.0.1.
    pub async fn start(self) -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port can be bound");
        self.serve(listener).await
    }

    /// Starts on this TCP address.
    pub async fn start_at(self, address: &str) -> Sink {
        let listener = TcpListener::bind(address).await.unwrap_or_else(|error| panic!("bind {address}: {error}"));
        self.serve(listener).await
    }

    async fn serve(self, listener: TcpListener) -> Sink {
        let port = listener.local_addr().expect("a bound listener has an address").port();
        let (script, kept) = (Arc::new(self.script), Arc::new(Mutex::new(Kept::default())));
        let certificate = script.certificate.clone();
        let for_task = kept.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                spawn(stream, script.clone(), for_task.clone());
            }
        });
        Sink { port, certificate, kept, task }
    }

    /// Starts on a Unix socket, which must not exist.
    pub async fn start_unix(self, path: &Path) -> Sink {
        let listener = UnixListener::bind(path).unwrap_or_else(|error| panic!("bind {}: {error}", path.display()));
        let (script, kept) = (Arc::new(self.script), Arc::new(Mutex::new(Kept::default())));
        let certificate = script.certificate.clone();
        let for_task = kept.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                spawn(stream, script.clone(), for_task.clone());
            }
        });
        Sink { port: 0, certificate, kept, task }
    }
}

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

fn spawn(stream: impl Wire + 'static, script: Arc<Script>, kept: Arc<Mutex<Kept>>) {
    let connection = {
        let mut kept = kept.lock();
        kept.connections += 1;
        kept.open += 1;
        kept.connections
    };
    tokio::spawn(async move {
        let mut session = Session {
            stream: Box::new(stream),
            input: Vec::new(),
            script,
            kept: kept.clone(),
            tls: false,
            login: None,
            transaction: Received::default(),
            connection,
        };
        // The end of a conversation, however it came about, is no news.
        let _ = session.run().await;
        kept.lock().open -= 1;
    });
}

struct Session {
    stream: Box<dyn Wire>,
    input: Vec<u8>,
    script: Arc<Script>,
    kept: Arc<Mutex<Kept>>,
    tls: bool,
    login: Option<String>,
    transaction: Received,
    connection: usize,
}

/// The session is over.
struct Over;

type Going = Result<(), Over>;

impl Session {
    async fn run(&mut self) -> Going {
        if self.script.wrapped {
            self.start_tls().await?;
        }
        let greeting = if self.script.lmtp { "220 sink LMTP" } else { "220 sink ESMTP" };
        self.answer("connect", greeting).await?;
        loop {
            let line = self.line().await?;
            self.kept.lock().commands.push(line.clone());
            self.command(&line).await?;
        }
    }

    async fn command(&mut self, line: &str) -> Going {
        let upper = line.to_ascii_uppercase();
        let verb = upper.split([' ', ':']).next().unwrap_or_default();
        match verb {
            "EHLO" | "LHLO" => {
                let keywords = self.script.keywords.iter().filter(|word| !(self.tls && *word == "STARTTLS"));
                let reply = std::iter::once("sink").chain(keywords.map(String::as_str)).collect::<Vec<_>>().join("\n");
                self.answer(line, &format!("250 {reply}")).await.map(drop)
            }
            "STARTTLS" => {
                if self.answer(line, "220 2.0.0 go ahead").await? {
                    self.start_tls().await?;
                }
                Ok(())
            }
            "AUTH" => self.auth(line).await,
            "MAIL" => {
                if self.answer(line, "250 2.1.0 ok").await? {
                    self.transaction = Received { mail: line.to_owned(), ..Received::default() };
                }
                Ok(())
            }
            "RCPT" => {
                let usual = if self.transaction.mail.is_empty() { "503 5.5.1 no sender" } else { "250 2.1.5 ok" };
                if self.answer(line, usual).await? {
                    self.transaction.recipients.push(line.to_owned());
                }
                Ok(())
            }
            "DATA" => {
                let usual = if self.transaction.recipients.is_empty() { "503 5.5.1 no recipients" } else { "354 go ahead" };
                if self.answer(line, usual).await? {
                    self.data().await?;
                    self.end_of_data().await?;
                }
                Ok(())
            }
            "BDAT" => self.chunk(line).await,
            "RSET" => {
                self.transaction = Received::default();
                self.answer(line, "250 2.0.0 ok").await.map(drop)
            }
            "QUIT" => {
                self.answer(line, "221 2.0.0 bye").await?;
                Err(Over)
            }
            _ => self.answer(line, "250 2.0.0 ok").await.map(drop),
        }
    }

    async fn auth(&mut self, line: &str) -> Going {
        let mut words = line.split(' ').skip(1);
        let mechanism = words.next().unwrap_or_default().to_ascii_uppercase();
        let login = if mechanism == "LOGIN" {
            self.send(b"334 VXNlcm5hbWU6\r\n").await?;
            let user = self.line().await?;
            self.send(b"334 UGFzc3dvcmQ6\r\n").await?;
            let password = self.line().await?;
            format!("LOGIN {user} {password}")
        } else {
            format!("{mechanism} {}", words.next().unwrap_or_default())
        };
        if self.answer("AUTH", "235 2.7.0 welcome").await? {
            self.login = Some(login);
        }
        Ok(())
    }

    async fn data(&mut self) -> Going {
        loop {
            let line = self.line_bytes().await?;
            if line == b".\r\n" {
                return Ok(());
            }
            self.transaction.body.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
    }

    async fn chunk(&mut self, line: &str) -> Going {
        let mut words = line.split(' ').skip(1);
        let size: usize = words.next().and_then(|n| n.parse().ok()).ok_or(Over)?;
        let last = words.next().is_some_and(|word| word.eq_ignore_ascii_case("LAST"));
        while self.input.len() < size {
            self.read_more().await?;
        }
        let bytes: Vec<u8> = self.input.drain(..size).collect();
        if self.transaction.recipients.is_empty() {
            return self.answer(line, "503 5.5.1 no recipients").await.map(drop);
        }
        self.transaction.body.extend_from_slice(&bytes);
        if last { self.end_of_data().await } else { self.answer(line, "250 2.0.0 ok").await.map(drop) }
    }

    async fn end_of_data(&mut self) -> Going {
        let mut message = std::mem::take(&mut self.transaction);
        message.tls = self.tls;
        message.login = self.login.clone();
        message.connection = self.connection;
        if !self.script.lmtp {
            // Kept before the answer goes out, so that who sees the answer sees the message.
            let taken = self.act("end of data").is_none_or(|act| matches!(act, Act::Reply(text) if text.starts_with('2')));
            if taken {
                self.kept.lock().messages.push(message);
            }
            return self.answer("end of data", "250 2.0.0 queued").await.map(drop);
        }
        for recipient in message.recipients.clone() {
            let path = recipient.split_once(':').map_or("", |(_, rest)| rest).split(' ').next().unwrap_or_default().to_owned();
            let moment = format!("end of data {path}");
            let taken = self.act(&moment).is_none_or(|act| matches!(act, Act::Reply(text) if text.starts_with('2')));
            if taken {
                self.kept.lock().messages.push(Received { recipients: vec![recipient], ..message.clone() });
            }
            self.answer(&moment, "250 2.0.0 delivered").await?;
        }
        Ok(())
    }

    /// The rule for this moment, without using it up.
    fn act(&self, moment: &str) -> Option<Act> {
        let moment = moment.to_ascii_uppercase();
        let rules = self.script.rules.lock();
        rules.iter().find(|(start, _, left)| moment.starts_with(start) && *left != Some(0)).map(|(_, act, _)| act.clone())
    }

    /// Answers as the rules say, else as usual. `true` when the answer was positive.
    async fn answer(&mut self, moment: &str, usual: &str) -> Result<bool, Over> {
        let upper = moment.to_ascii_uppercase();
        let act = {
            let mut rules = self.script.rules.lock();
            let rule = rules.iter_mut().find(|(start, _, left)| upper.starts_with(start.as_str()) && *left != Some(0));
            rule.map(|(_, act, left)| {
                if let Some(left) = left {
                    *left -= 1;
                }
                act.clone()
            })
        };
        match act.unwrap_or_else(|| Act::reply(usual)) {
            Act::Reply(text) => {
                self.send(&wire_form(&text)).await?;
                Ok(text.starts_with(['2', '3']))
            }
            Act::ReplyAndClose(text) => {
                self.send(&wire_form(&text)).await?;
                Err(Over)
            }
            Act::Close => Err(Over),
            Act::Silence => loop {
                self.read_more().await?;
            },
            Act::Raw(bytes) => {
                self.send(&bytes).await?;
                Ok(true)
            }
            Act::Flood(bytes) => loop {
                self.send(&bytes).await?;
            },
        }
    }

    async fn start_tls(&mut self) -> Going {
        let acceptor = self.script.tls.clone().ok_or(Over)?;
        let plain = std::mem::replace(&mut self.stream, Box::new(tokio::io::empty()));
        self.stream = Box::new(acceptor.accept(plain).await.map_err(|_| Over)?);
        self.tls = true;
        Ok(())
    }

    async fn send(&mut self, bytes: &[u8]) -> Going {
        self.stream.write_all(bytes).await.map_err(|_| Over)?;
        self.stream.flush().await.map_err(|_| Over)
    }

    async fn line(&mut self) -> Result<String, Over> {
        let bytes = self.line_bytes().await?;
        Ok(String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned())
    }

    async fn line_bytes(&mut self) -> Result<Vec<u8>, Over> {
        loop {
            if let Some(end) = self.input.windows(2).position(|w| w == b"\r\n") {
                return Ok(self.input.drain(..end + 2).collect());
            }
            self.read_more().await?;
        }
    }

    async fn read_more(&mut self) -> Going {
        let mut buffer = [0; 16 * 1024];
        match tokio::time::timeout(Duration::from_secs(60), self.stream.read(&mut buffer)).await {
            Ok(Ok(n)) if n > 0 => {
                self.input.extend_from_slice(&buffer[..n]);
                Ok(())
            }
            _ => Err(Over),
        }
    }
}

/// `250 a\nb` → `250-a CRLF 250 b CRLF`.
fn wire_form(text: &str) -> Vec<u8> {
    let (code, rest) = text.split_once(' ').unwrap_or((text, ""));
    let lines: Vec<&str> = rest.split('\n').collect();
    let mut out = String::new();
    for (at, line) in lines.iter().enumerate() {
        let separator = if at + 1 == lines.len() { ' ' } else { '-' };
        out.push_str(&format!("{code}{separator}{line}\r\n"));
    }
    out.into_bytes()
}
