//! The connection: bytes in without a buffer per session, bytes out with back-pressure and a deadline.

use crate::deflate::Deflate;
use daemon::{ServerTls, Stream};
use ipc::auth::Channel;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::ready;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

/// Read at once. On the stack while reading, so that a thousand silent sessions hold nothing.
const READ_BYTES: usize = 16 << 10;

/// Answers above this are sent before more are made (SECURITY I16).
pub const OUT_BYTES: usize = 256 << 10;

/// A client's connection with what is to be sent.
pub struct Wire {
    /// `None` only while TLS is being negotiated.
    stream: Option<Stream>,
    /// RFC 4978.
    deflate: Option<Box<Deflate>>,
    /// Answers that wait for [`Wire::flush`].
    pub out: Vec<u8>,
    /// The client may take no longer than this to accept any byte.
    pub write_timeout: Duration,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

impl Wire {
    pub fn new(stream: Stream, write_timeout: Duration) -> Wire {
        Wire { stream: Some(stream), deflate: None, out: Vec::new(), write_timeout, bytes_in: 0, bytes_out: 0 }
    }

    fn stream(&mut self) -> io::Result<&mut Stream> {
        self.stream.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))
    }

    /// What is known of the client's TLS connection.
    pub fn channel(&self) -> Channel {
        self.stream.as_ref().map(Stream::channel).unwrap_or_default()
    }

    pub fn is_tls(&self) -> bool {
        self.stream.as_ref().is_some_and(Stream::is_tls)
    }

    /// Lets the kernel notice clients that vanished without a word (telephones).
    pub fn keepalive(&self, idle: Duration) {
        if let Some(stream) = &self.stream {
            // Only costs a dead session its time when it cannot be set.
            let _ = stream.keepalive(idle);
        }
    }

    /// Reads some bytes and hands them to `take`; 0 at the end. Cancel safe: what was read was handed over.
    pub async fn read(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<usize> {
        loop {
            let rest = self.deflate.take_if(|deflate| deflate.is_over()).map(|deflate| deflate.end());
            if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
                take(&rest);
                return Ok(rest.len());
            }
            let Some(deflate) = self.deflate.as_deref_mut() else {
                let count = read_once(&mut self.stream, take).await?;
                self.bytes_in += count as u64;
                return Ok(count);
            };
            // In a call of its own: the space is not to be kept while waiting.
            if let count @ 1.. = unpack(deflate, &mut take)? {
                return Ok(count);
            }
            if deflate.is_over() {
                continue;
            }
            let count = read_once(&mut self.stream, |bytes| deflate.receive(bytes)).await?;
            self.bytes_in += count as u64;
            if count == 0 {
                return Ok(0);
            }
        }
    }

    /// From here on both sides compress.
    pub fn start_deflate(&mut self) {
        self.deflate = Some(Box::new(Deflate::new()));
    }

    /// We compress no more, and the client does not behind its last command.
    pub fn end_deflate(&mut self) {
        if let Some(deflate) = &mut self.deflate {
            deflate.leave();
        }
    }

    pub fn is_deflated(&self) -> bool {
        self.deflate.as_ref().is_some_and(|deflate| !deflate.is_left())
    }

    /// True when nobody waits for answers any more.
    pub fn is_gone(&self) -> bool {
        self.stream.as_ref().is_some_and(Stream::is_gone)
    }

    /// Sends everything. An error when the client takes nothing for `write_timeout`.
    pub async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let timeout = self.write_timeout;
        let mut out = std::mem::take(&mut self.out);
        if let Some(deflate) = self.deflate.as_mut().filter(|deflate| !deflate.is_left()) {
            out = deflate.pack(&out)?;
        }
        let stream = self.stream()?;
        let mut sent = 0;
        while sent < out.len() {
            let stalled = || io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing");
            match tokio::time::timeout(timeout, stream.write(&out[sent..])).await.map_err(|_| stalled())?? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => sent += count,
            }
        }
        tokio::time::timeout(timeout, stream.flush()).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        self.bytes_out += sent as u64;
        Ok(())
    }

    /// Sends when enough has gathered.
    pub async fn relieve(&mut self) -> io::Result<()> {
        if self.out.len() >= OUT_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Negotiates TLS. What the client sent before is lost, as it should be.
    pub async fn start_tls(&mut self, tls: &ServerTls) -> io::Result<()> {
        let stream = self.stream.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        self.stream = Some(stream.upgrade_tls(tls).await?);
        Ok(())
    }

    /// Sends what waits and ends the connection. Errors mean that the client was faster.
    pub async fn close(&mut self) {
        let _ = self.flush().await;
        if let Ok(stream) = self.stream() {
            let _ = tokio::time::timeout(Duration::from_secs(5), stream.shutdown()).await;
        }
    }
}

/// Reads from the connection and hands over what came; 0 at the end.
async fn read_once(stream: &mut Option<Stream>, mut take: impl FnMut(&[u8])) -> io::Result<usize> {
    let stream = stream.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
    poll_fn(|cx| {
        let mut space = [MaybeUninit::<u8>::uninit(); READ_BYTES];
        let mut buffer = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
        take(buffer.filled());
        std::task::Poll::Ready(io::Result::Ok(buffer.filled().len()))
    })
    .await
}

fn unpack(deflate: &mut Deflate, take: &mut impl FnMut(&[u8])) -> io::Result<usize> {
    let mut space = [0; READ_BYTES];
    let count = deflate.unpack(&mut space)?;
    if count > 0 {
        take(&space[..count]);
    }
    Ok(count)
}
