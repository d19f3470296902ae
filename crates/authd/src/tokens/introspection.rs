//! Asking the provider about a token (RFC 7662), in one request of HTTP/1.0 per token: nothing is kept open, and an answer is never in chunks.
//!
//! Only `http://`: authd speaks no TLS. The provider is on this machine, or a proxy there leads to it.

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Shorter than our own clients wait.
const DEADLINE: Duration = Duration::from_secs(3);
const ANSWER_LIMIT_BYTES: u64 = 64 << 10;

pub struct Provider {
    /// Host and port.
    place: String,
    path: String,
    /// The value of Authorization, for who has to log in to ask.
    authorization: Option<zeroize::Zeroizing<String>>,
}

impl Provider {
    /// `http://[user:password@]host[:port]/path`
    pub fn of(url: &str) -> anyhow::Result<Provider> {
        let rest = url.strip_prefix("http://").context("only http:// is possible; let a proxy on this machine speak TLS")?;
        let (place, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let (login, place) = place.rsplit_once('@').map_or((None, place), |(login, place)| (Some(login), place));
        let sound = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        ensure!(sound(place) && sound(path), "no URL");
        let has_port = place.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        Ok(Provider {
            place: if has_port { place.to_owned() } else { format!("{place}:80") },
            path: path.to_owned(),
            authorization: login.map(|login| zeroize::Zeroizing::new(format!("Basic {}", BASE64.encode(login)))),
        })
    }

    /// What the provider says of a token.
    pub async fn ask(&self, token: &str) -> anyhow::Result<Map<String, Value>> {
        tokio::time::timeout(DEADLINE, self.asked(token)).await.context("no answer in time")?
    }

    async fn asked(&self, token: &str) -> anyhow::Result<Map<String, Value>> {
        let body = format!("token={}&token_type_hint=access_token", form(token));
        let authorization = match &self.authorization {
            Some(value) => format!("Authorization: {}\r\n", value.as_str()),
            None => String::new(),
        };
        let request = zeroize::Zeroizing::new(format!(
            "POST {} HTTP/1.0\r\nHost: {}\r\n{authorization}Accept: application/json\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            self.path,
            self.place,
            body.len()
        ));
        let mut stream = TcpStream::connect(&self.place).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_LIMIT_BYTES).read_to_end(&mut answer).await?;
        answer_of(&answer)
    }
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

    #[tokio::test]
    async fn a_provider_is_asked_and_its_answer_understood() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let url = format!("http://me:secret@{}/introspect", listener.local_addr().expect("address"));
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut request = Vec::new();
            while !request.ends_with(b"token_type_hint=access_token") {
                stream.read_buf(&mut request).await.expect("read");
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"active\":true,\"email\":\"ann@x.org\"}")
                .await
                .expect("write");
            String::from_utf8(request).expect("text")
        });
        let claims = Provider::of(&url).expect("URL").ask("a+b&c").await.expect("an answer");
        assert_eq!(claims.get("email"), Some(&Value::from("ann@x.org")));
        let request = served.await.expect("served");
        assert!(
            request.starts_with("POST /introspect HTTP/1.0\r\n") && request.contains("\r\nAuthorization: Basic bWU6c2VjcmV0\r\n"),
            "{request}"
        );
        assert!(request.contains("token=a%2Bb%26c&"), "{request}");
    }

    #[test]
    fn what_is_no_answer_is_none() {
        for answer in
            ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 500 No\r\n\r\n{\"active\":true}", "HTTP/1.1 200 OK\r\n\r\nno", "x 200 \r\n\r\n{}"]
        {
            assert!(answer_of(answer.as_bytes()).is_err(), "{answer:?}");
        }
        for url in ["https://id.test/x", "http://", "http:///x", "id.test", "http://a b/"] {
            assert!(Provider::of(url).is_err(), "{url}");
        }
    }
}
