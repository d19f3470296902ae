//! Policy services over sockets, and waiting: what restrictions need of the world.

use policy::delegation::{Endpoint, answer};
use policy::{Outside, PolicyService};
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// The longest answer that is read.
const ANSWER_LIMIT: usize = 16 * 1024;

/// Asks on a connection of its own for each question, so that a session never waits for the answer to another one.
pub(crate) struct Sockets {
    /// Where relative paths of sockets begin.
    pub(crate) base: PathBuf,
}

impl Outside for Sockets {
    fn ask<'a>(
        &'a self,
        service: &'a PolicyService,
        question: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>> {
        Box::pin(async move {
            let mut failure = String::new();
            for attempt in 0..service.try_limit.max(1) {
                if attempt > 0 {
                    tokio::time::sleep(service.retry_delay).await;
                }
                match tokio::time::timeout(service.timeout, self.once(service, question)).await {
                    Ok(Ok(text)) => return Ok(text),
                    Ok(Err(why)) => failure = why,
                    Err(_) => failure = "no answer in time".to_owned(),
                }
            }
            Err(failure)
        })
    }

    fn sleep<'a>(&'a self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(tokio::time::sleep(time))
    }
}

impl Sockets {
    async fn once(&self, service: &PolicyService, question: &str) -> Result<String, String> {
        match &service.endpoint {
            Endpoint::Inet(place) => {
                let stream = TcpStream::connect(place.as_str()).await.map_err(|error| format!("connect to {place}: {error}"))?;
                converse(stream, question).await
            }
            Endpoint::Unix(path) => {
                let path = self.base.join(path);
                let stream = UnixStream::connect(&path).await.map_err(|error| format!("connect to {}: {error}", path.display()))?;
                converse(stream, question).await
            }
        }
    }
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, question: &str) -> Result<String, String> {
    stream.write_all(question.as_bytes()).await.map_err(|error| format!("write: {error}"))?;
    let mut read = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let count = stream.read(&mut buffer).await.map_err(|error| format!("read: {error}"))?;
        if count == 0 {
            return Err("the connection was closed before the end of an answer".to_owned());
        }
        read.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&read).replace("\r\n", "\n");
        if let Some((whole, _)) = text.split_once("\n\n") {
            return answer(whole).map(str::to_owned);
        }
        if read.len() > ANSWER_LIMIT {
            return Err("the answer has no end".to_owned());
        }
    }
}
