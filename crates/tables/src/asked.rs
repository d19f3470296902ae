//! Tables behind a socket: `socketmap:` (Sendmail's protocol, socketmap_table(5)) and `tcp:` (tcp_table(5)).
//!
//! Both keep one connection, over which questions go one at a time, each with a deadline: a server that hangs makes the table
//! unavailable, and nobody waits for it longer than that. Answers are bounded in size.

use crate::Error;
use std::fmt::Write;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Mutex;
use tokio::time::timeout;

/// One question, with the wait for those before it.
const DEADLINE: Duration = Duration::from_secs(5);
/// Postfix: socketmap_max_reply_size.
const SOCKETMAP_BYTES: usize = 100_000;
/// tcp_table(5).
const TCP_BYTES: usize = 4096;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub(crate) struct Asked {
    place: Place,
    /// The table's name at a socketmap; `None`: the `tcp:` protocol.
    map: Option<String>,
    connection: Mutex<Option<Box<dyn Stream>>>,
}

enum Place {
    Tcp(String),
    Unix(PathBuf),
}

impl Asked {
    /// What stands behind `socketmap:`: `inet:host:port:name` or `unix:/path:name`.
    pub fn socketmap(spec: &str, name: &str, base: &std::path::Path) -> Result<Asked, Error> {
        let wrong = || Error::spec(spec, "expected socketmap:inet:host:port:name or socketmap:unix:/path:name");
        let (place, map) = name.rsplit_once(':').filter(|(_, map)| !map.is_empty()).ok_or_else(wrong)?;
        let place = match (place.strip_prefix("inet:"), place.strip_prefix("unix:")) {
            (Some(host), _) => Place::Tcp(host_port(host).ok_or_else(wrong)?),
            (_, Some(path)) if !path.is_empty() => Place::Unix(base.join(path)),
            _ => return Err(wrong()),
        };
        Ok(Asked { place, map: Some(map.to_owned()), connection: Mutex::default() })
    }

    /// What stands behind `tcp:`: `host:port`.
    pub fn tcp(spec: &str, name: &str) -> Result<Asked, Error> {
        let place = host_port(name).ok_or_else(|| Error::spec(spec, "expected tcp:host:port"))?;
        Ok(Asked { place: Place::Tcp(place), map: None, connection: Mutex::default() })
    }

    pub async fn lookup(&self, key: &str) -> Result<Option<String>, String> {
        match timeout(DEADLINE, self.ask(key)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} s", DEADLINE.as_secs())),
        }
    }

    async fn ask(&self, key: &str) -> Result<Option<String>, String> {
        let mut place = self.connection.lock().await;
        // A connection stays only after a whole answer: one that was given up in the middle would answer the wrong question.
        if let Some(mut kept) = place.take()
            && let Ok(reply) = self.exchange(&mut *kept, key).await
        {
            *place = Some(kept);
            return self.meaning(&reply);
        }
        let mut stream: Box<dyn Stream> = match &self.place {
            Place::Tcp(address) => Box::new(TcpStream::connect(address).await.map_err(|e| format!("connect to {address}: {e}"))?),
            Place::Unix(path) => Box::new(UnixStream::connect(path).await.map_err(|e| format!("connect to {}: {e}", path.display()))?),
        };
        let reply = self.exchange(&mut *stream, key).await.map_err(|e| e.to_string())?;
        *place = Some(stream);
        self.meaning(&reply)
    }

    async fn exchange(&self, stream: &mut dyn Stream, key: &str) -> io::Result<String> {
        let bytes = match &self.map {
            Some(map) => {
                let text = format!("{map} {key}");
                stream.write_all(format!("{}:{text},", text.len()).as_bytes()).await?;
                netstring(stream).await?
            }
            None => {
                stream.write_all(format!("get {}\n", encode(key)).as_bytes()).await?;
                line(stream).await?
            }
        };
        String::from_utf8(bytes).map_err(|_| wrong("the answer is not UTF-8"))
    }

    fn meaning(&self, reply: &str) -> Result<Option<String>, String> {
        let (word, text) = reply.split_once(' ').unwrap_or((reply, ""));
        match (word, self.map.is_some()) {
            ("OK", true) => Ok(Some(text.to_owned())),
            ("NOTFOUND", true) | ("500", false) => Ok(None),
            ("200", false) => decode(text).map(Some).ok_or_else(|| "the answer is wrongly encoded".to_owned()),
            _ => Err(format!("the server said: {}", mail_types::printable(reply))),
        }
    }
}

fn host_port(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':')?;
    port.parse::<u16>().ok().filter(|port| *port != 0)?;
    (!host.is_empty()).then(|| text.to_owned())
}

fn wrong(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// `5:hello,`
async fn netstring(stream: &mut dyn Stream) -> io::Result<Vec<u8>> {
    let mut length = 0usize;
    loop {
        match stream.read_u8().await? {
            b':' => break,
            digit @ b'0'..=b'9' => length = length * 10 + usize::from(digit - b'0'),
            _ => return Err(wrong("the answer is no netstring")),
        }
        if length > SOCKETMAP_BYTES {
            return Err(wrong("the answer is too long"));
        }
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    if stream.read_u8().await? == b',' { Ok(bytes) } else { Err(wrong("the answer is no netstring")) }
}

async fn line(stream: &mut dyn Stream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        match stream.read_u8().await? {
            b'\n' => break,
            byte => bytes.push(byte),
        }
        if bytes.len() > TCP_BYTES {
            return Err(wrong("the answer is too long"));
        }
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    Ok(bytes)
}

/// `%` and two hexadecimal digits for white space, control characters and `%`.
fn encode(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02x}");
        }
    }
    out
}

fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            out.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use crate::{AddressOrder, Context, Maps, Table};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Answers each question on a connection with the next text, then closes.
    async fn server(answers: &'static [&'static str]) -> (std::net::SocketAddr, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("accept");
            let mut asked = Vec::new();
            for answer in answers {
                let mut buffer = [0; 500];
                let n = stream.read(&mut buffer).await.expect("read");
                asked.push(String::from_utf8_lossy(&buffer[..n]).into_owned());
                stream.write_all(answer.as_bytes()).await.expect("write");
            }
            asked
        });
        (address, serving)
    }

    #[tokio::test]
    async fn a_socketmap_is_asked_over_one_connection() {
        let (address, serving) = server(&["8:OK value,", "9:NOTFOUND ,", "8:TEMP bad,", "99999999:", "x"]).await;
        let table = Table::open(&format!("socketmap:inet:{address}:users"), &Context::local("/")).expect("table");
        assert_eq!(table.lookup("Ann@x.org").await.expect("answer").as_deref(), Some("value"));
        assert_eq!(table.lookup("bob").await.expect("answer"), None);
        assert!(table.lookup("bob").await.expect_err("temporary").to_string().contains("TEMP bad"));
        serving.abort();
        assert!(table.lookup("bob").await.is_err(), "nobody is there any more");
    }

    #[tokio::test]
    async fn a_tcp_table_is_asked_line_by_line() {
        let (address, serving) = server(&["200 a%20b\n", "500 no\n", "400 later\n"]).await;
        let table = Table::open(&format!("tcp:{address}"), &Context::local("/")).expect("table");
        assert_eq!(table.lookup("a %b").await.expect("answer").as_deref(), Some("a b"));
        assert_eq!(table.lookup("b").await.expect("answer"), None);
        assert!(table.lookup("c").await.is_err());
        assert_eq!(serving.await.expect("served"), ["get a%20%25b\n", "get b\n", "get c\n"]);
    }

    /// tcp_table(5): the lookup is of the entire string; a server that answers anything for `@x.org` would else catch all.
    #[tokio::test]
    async fn whole_addresses_are_asked_for_and_no_parts() {
        let (address, serving) = server(&["500 no\n"]).await;
        let maps = Maps::open(&format!("tcp:{address}"), &Context::local("/")).expect("table");
        let order = AddressOrder { delimiters: "+", bare: true, catch_all: true };
        let found = maps.address(&mail_types::Address::parse("ann+list@x.org").expect("address"), order).await.expect("answer");
        assert!(found.is_none());
        assert_eq!(serving.await.expect("served"), ["get ann+list@x.org\n"]);
    }

    #[tokio::test]
    async fn answers_that_make_no_sense_are_failures() {
        for answer in [&["OK\n"][..], &["5:abc,,"], &["200001:"], &[""]] {
            let (address, _serving) = server(answer).await;
            let table = Table::open(&format!("socketmap:inet:{address}:m"), &Context::local("/")).expect("table");
            assert!(table.lookup("k").await.is_err(), "{answer:?}");
        }
    }

    #[test]
    fn wrong_places_are_named() {
        for spec in ["socketmap:inet:host:m", "socketmap:unix::m", "socketmap:host:25:m", "tcp:host", "tcp:host:x"] {
            assert!(Table::open(spec, &Context::local("/")).is_err(), "{spec}");
        }
    }
}
