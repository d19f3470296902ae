//! Asking the provider about a token (RFC 7662), in one request of HTTP/1.0 per token: nothing is kept open, an answer is never in chunks, and
//! leads nowhere else. Over TLS the provider's certificate is verified.

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

/// Shorter than our own clients wait.
const DEADLINE: Duration = Duration::from_secs(3);
const ANSWER_LIMIT_BYTES: u64 = 64 << 10;
/// Questions at a time; others wait within their deadline. Whoever sends us tokens of his making shall not make us flood the provider.
const QUESTIONS_LIMIT: usize = 64;

pub struct Provider {
    /// Host and port.
    place: String,
    /// As the URL has it, for `Host`.
    host: String,
    path: String,
    /// The value of Authorization, for who has to log in to ask.
    authorization: Option<Zeroizing<String>>,
    /// `None`: in the clear.
    tls: Option<(TlsConnector, ServerName<'static>)>,
    turns: Semaphore,
}

impl Provider {
    /// `https://[user[:password]@]host[:port]/path`, or `http://`. Certificates to verify with are read from a file, or are the system's.
    pub fn of(url: &str, password: Option<Zeroizing<String>>, ca_file: &Path) -> anyhow::Result<Provider> {
        let (scheme, rest) = url.split_once("://").context("it has to begin with https:// or http://")?;
        ensure!(matches!(scheme, "http" | "https"), "it has to begin with https:// or http://");
        let (place, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let (login, place) = place.rsplit_once('@').map_or((None, place), |(login, place)| (Some(login), place));
        let sound = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        ensure!(sound(place) && sound(path), "no URL");
        let (host, port) = match place.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
            Some((host, Ok(port))) => (host, port),
            _ => (place, if scheme == "https" { 443 } else { 80 }),
        };
        let login = match (login, password) {
            (Some(user), Some(password)) => Some(Zeroizing::new(format!("{}:{}", user.trim_end_matches(':'), password.as_str()))),
            (None, Some(_)) => bail!("there is a password, but no user to whom it belongs"),
            (login, None) => login.map(|login| Zeroizing::new(login.to_owned())),
        };
        let tls = match scheme {
            "https" => {
                let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                let name = ServerName::try_from(name).context("the host has no name that a certificate could have")?;
                Some((connector(ca_file)?, name))
            }
            _ => None,
        };
        Ok(Provider {
            place: format!("{host}:{port}"),
            host: place.to_owned(),
            path: path.to_owned(),
            authorization: login.map(|login| Zeroizing::new(format!("Basic {}", BASE64.encode(login.as_bytes())))),
            tls,
            turns: Semaphore::new(QUESTIONS_LIMIT),
        })
    }

    /// What the provider says of a token.
    pub async fn ask(&self, token: &str) -> anyhow::Result<Map<String, Value>> {
        tokio::time::timeout(DEADLINE, self.asked(token)).await.context("no answer in time")?
    }

    async fn asked(&self, token: &str) -> anyhow::Result<Map<String, Value>> {
        let _turn = self.turns.acquire().await?;
        let stream = TcpStream::connect(&self.place).await?;
        match &self.tls {
            Some((connector, name)) => self.talk(connector.connect(name.clone(), stream).await?, token).await,
            None => self.talk(stream, token).await,
        }
    }

    async fn talk(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin, token: &str) -> anyhow::Result<Map<String, Value>> {
        let body = Zeroizing::new(format!("token={}&token_type_hint=access_token", form(token)));
        let authorization = match &self.authorization {
            Some(value) => Zeroizing::new(format!("Authorization: {}\r\n", value.as_str())),
            None => Zeroizing::default(),
        };
        let request = Zeroizing::new(format!(
            "POST {} HTTP/1.0\r\nHost: {}\r\n{}Accept: application/json\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{}",
            self.path,
            self.host,
            authorization.as_str(),
            body.len(),
            body.as_str()
        ));
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut answer = Vec::new();
        // Many servers end without close_notify. JSON that was cut off is none, so nothing is lost by taking what came.
        match stream.take(ANSWER_LIMIT_BYTES).read_to_end(&mut answer).await {
            Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => Err(error.into()),
            _ => answer_of(&answer),
        }
    }
}

fn connector(ca_file: &Path) -> anyhow::Result<TlsConnector> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(daemon::tls::roots(ca_file).context("authd.oauth2_tls_ca_cert_file")?)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn answer_of(answer: &[u8]) -> anyhow::Result<Map<String, Value>> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").context("the answer is no HTTP")?;
    let status = answer.split(|b| *b == b' ').nth(1).unwrap_or_default();
    if !answer.starts_with(b"HTTP/1.") || status != b"200" {
        bail!("the answer has status {}", mail_types::printable(&String::from_utf8_lossy(&status[..status.len().min(3)])));
    }
    serde_json::from_slice(&answer[end + 4..]).context("the answer is no JSON")
}

/// As application/x-www-form-urlencoded.
fn form(text: &str) -> String {
    let letter = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => (byte as char).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads one request, and answers it.
    async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
        let mut request = Vec::new();
        while !request.ends_with(b"token_type_hint=access_token") {
            assert!(stream.read_buf(&mut request).await.expect("read") > 0, "the client is gone");
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"active\":true,\"email\":\"ann@x.org\"}")
            .await
            .expect("write");
        stream.shutdown().await.expect("end");
        String::from_utf8(request).expect("text")
    }

    async fn listener() -> (tokio::net::TcpListener, u16) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let port = listener.local_addr().expect("address").port();
        (listener, port)
    }

    #[tokio::test]
    async fn a_flood_of_tokens_does_not_flood_the_provider() {
        let (listener, port) = listener().await;
        let provider = Arc::new(Provider::of(&format!("http://127.0.0.1:{port}/"), None, Path::new("")).expect("URL"));
        let asked: Vec<_> = (0..2 * QUESTIONS_LIMIT)
            .map(|n| {
                let provider = provider.clone();
                tokio::spawn(async move { provider.ask(&n.to_string()).await.is_ok() })
            })
            .collect();
        // Nobody is answered before as many have come as may.
        let mut first = Vec::new();
        for _ in 0..QUESTIONS_LIMIT {
            first.push(listener.accept().await.expect("a client").0);
        }
        while provider.turns.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(tokio::time::timeout(Duration::from_millis(100), listener.accept()).await.is_err(), "one more");
        for stream in first {
            tokio::spawn(serve(stream));
        }
        for _ in 0..QUESTIONS_LIMIT {
            tokio::spawn(serve(listener.accept().await.expect("a client").0));
        }
        for task in asked {
            assert!(task.await.expect("task"));
        }
    }

    #[tokio::test]
    async fn a_provider_is_asked_and_its_answer_understood() {
        for (login, password) in [("me:secret", None), ("me", Some("secret")), ("me:", Some("secret"))] {
            let (listener, port) = listener().await;
            let url = format!("http://{login}@127.0.0.1:{port}/introspect");
            let served = tokio::spawn(async move { serve(listener.accept().await.expect("a client").0).await });
            let password = password.map(|password| Zeroizing::new(password.to_owned()));
            let provider = Provider::of(&url, password, Path::new("")).expect("URL");
            assert_eq!(provider.ask("a+b&c").await.expect("an answer").get("email"), Some(&Value::from("ann@x.org")));
            let request = served.await.expect("served");
            assert!(request.starts_with("POST /introspect HTTP/1.0\r\n"), "{request}");
            assert!(request.contains("\r\nAuthorization: Basic bWU6c2VjcmV0\r\n"), "{request}");
            assert!(request.contains("token=a%2Bb%26c&"), "{request}");
        }
    }

    #[tokio::test]
    async fn over_tls_the_provider_has_to_be_who_it_says() {
        let dir = tempfile::tempdir().expect("directory");
        let made = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).expect("certificate");
        for (served_name, trusted_is_other, want) in [("localhost", false, true), ("other.test", false, false), ("localhost", true, false)]
        {
            let certified = made(served_name);
            let trusted = if trusted_is_other { made("localhost").cert.pem() } else { certified.cert.pem() };
            let file = dir.path().join("ca.pem");
            std::fs::write(&file, trusted).expect("write");
            let key = rustls_pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).expect("key");
            let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_no_client_auth()
                .with_single_cert(vec![certified.cert.der().clone()], key)
                .expect("pair");
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
            let (listener, port) = listener().await;
            let served = tokio::spawn(async move {
                let stream = acceptor.accept(listener.accept().await.expect("a client").0).await.ok()?;
                Some(serve(stream).await)
            });
            let provider = Provider::of(&format!("https://me:secret@localhost:{port}/x"), None, &file).expect("URL");
            assert_eq!(provider.ask("t").await.is_ok(), want, "{served_name} {trusted_is_other}");
            // Whoever else is there has seen neither the token nor the password.
            assert_eq!(served.await.expect("served").is_some(), want);
        }
        std::fs::write(dir.path().join("none.pem"), "").expect("write");
        assert!(Provider::of("https://id.test/x", None, &dir.path().join("none.pem")).is_err());
    }

    #[test]
    fn what_is_no_answer_is_none() {
        for answer in
            ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 500 No\r\n\r\n{\"active\":true}", "HTTP/1.1 200 OK\r\n\r\nno", "x 200 \r\n\r\n{}"]
        {
            assert!(answer_of(answer.as_bytes()).is_err(), "{answer:?}");
        }
        for url in ["ftp://id.test/x", "http://", "http:///x", "id.test", "http://a b/", "https://a_b:x/"] {
            assert!(Provider::of(url, None, Path::new("")).is_err(), "{url}");
        }
        assert!(Provider::of("http://id.test/x", Some(Zeroizing::new("secret".into())), Path::new("")).is_err());
    }
}
