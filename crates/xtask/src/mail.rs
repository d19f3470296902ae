//! A mail client just good enough to send one message and read it back.

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const SILENCE: Duration = Duration::from_secs(30);

/// Who logs in where.
#[derive(Debug, Clone)]
pub struct Account<'a> {
    pub address: &'a str,
    pub password: &'a str,
}

/// How to trust the server: by its own certificate.
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    pub fn file(cert: &Path) -> anyhow::Result<Trust> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(cert).with_context(|| format!("cannot read {}", cert.display()))?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        Ok(Trust(Arc::new(client.with_root_certificates(roots).with_no_client_auth())))
    }

    fn wrap(&self, stream: TcpStream) -> anyhow::Result<StreamOwned<ClientConnection, TcpStream>> {
        let name = ServerName::try_from("127.0.0.1")?;
        Ok(StreamOwned::new(ClientConnection::new(self.0.clone(), name)?, stream))
    }
}

fn connect(port: u16) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).with_context(|| format!("cannot connect to port {port}"))?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    Ok(stream)
}

/// Sends `text` from `from` to `to` by submission: STARTTLS, AUTH PLAIN. Gives the server's answer to the message.
pub fn submit(port: u16, trust: &Trust, from: &Account<'_>, to: &str, text: &str) -> anyhow::Result<String> {
    let mut plain = Session::new(connect(port)?);
    plain.smtp_reply(220)?;
    plain.smtp("EHLO localhost", 250)?;
    plain.smtp("STARTTLS", 220)?;
    let mut session = Session::new(trust.wrap(plain.into_inner())?);
    session.smtp("EHLO localhost", 250)?;
    let login = STANDARD.encode(format!("\0{}\0{}", from.address, from.password));
    session.smtp(&format!("AUTH PLAIN {login}"), 235)?;
    session.smtp(&format!("MAIL FROM:<{}>", from.address), 250)?;
    session.smtp(&format!("RCPT TO:<{to}>"), 250)?;
    session.smtp("DATA", 354)?;
    let answer = session.smtp(&format!("{text}\r\n."), 250)?;
    session.smtp("QUIT", 221)?;
    Ok(answer)
}

/// The message in INBOX whose header Message-ID is `id`, by IMAP over TLS; `None` when it is not there (yet).
pub fn fetch(port: u16, trust: &Trust, account: &Account<'_>, id: &str) -> anyhow::Result<Option<String>> {
    let mut session = Session::new(trust.wrap(connect(port)?)?);
    session.line()?;
    session.imap(&format!("LOGIN {} {}", account.address, account.password))?;
    session.imap("SELECT INBOX")?;
    let found = session.imap(&format!("UID SEARCH HEADER Message-ID {id}"))?;
    let uid = found.lines().find_map(|line| line.strip_prefix("* SEARCH ")?.split(' ').next()?.parse::<u32>().ok());
    let message = match uid {
        Some(uid) => Some(session.imap(&format!("UID FETCH {uid} BODY.PEEK[]"))?),
        None => None,
    };
    session.imap("LOGOUT")?;
    Ok(message)
}

struct Session<S: Read + Write>(BufReader<S>);

impl<S: Read + Write> Session<S> {
    fn new(stream: S) -> Session<S> {
        Session(BufReader::new(stream))
    }

    fn into_inner(self) -> S {
        self.0.into_inner()
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            bail!("the server closed the connection");
        }
        Ok(line)
    }

    fn send(&mut self, text: &str) -> anyhow::Result<()> {
        let stream = self.0.get_mut();
        stream.write_all(format!("{text}\r\n").as_bytes())?;
        Ok(stream.flush()?)
    }

    fn smtp(&mut self, command: &str, want: u16) -> anyhow::Result<String> {
        self.send(command)?;
        let verb = command.split([' ', '\r']).next().unwrap_or_default().to_owned();
        self.smtp_reply(want).with_context(|| format!("answer to {verb}"))
    }

    fn smtp_reply(&mut self, want: u16) -> anyhow::Result<String> {
        loop {
            let line = self.line()?;
            if line.as_bytes().get(3) != Some(&b'-') {
                if !line.starts_with(&want.to_string()) {
                    bail!("{}", line.trim_end());
                }
                return Ok(line.trim_end().to_owned());
            }
        }
    }

    /// Everything up to the tagged OK. Literals are lines like any other here.
    fn imap(&mut self, command: &str) -> anyhow::Result<String> {
        self.send(&format!("a1 {command}"))?;
        let mut answer = String::new();
        loop {
            let line = self.line()?;
            if let Some(result) = line.strip_prefix("a1 ") {
                if !result.starts_with("OK") {
                    let verb = command.split(' ').next().unwrap_or_default();
                    bail!("answer to {verb}: {}", result.trim_end());
                }
                return Ok(answer);
            }
            answer.push_str(&line);
        }
    }
}
