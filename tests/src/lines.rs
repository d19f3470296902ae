//! A connection that is read line by line, for tests that speak a protocol by hand.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A connection to 127.0.0.1; reading waits 20 s at most.
#[derive(Debug)]
pub struct Lines {
    stream: BufReader<Box<dyn Connection>>,
}

trait Connection: Read + Write + Send + std::fmt::Debug {}

impl<T: Read + Write + Send + std::fmt::Debug> Connection for T {}

impl Lines {
    pub fn connect(port: u16) -> Lines {
        Lines::over(TcpStream::connect(("127.0.0.1", port)).expect("connection"))
    }

    /// A connection that is made already.
    pub fn over(stream: TcpStream) -> Lines {
        Lines { stream: BufReader::new(Box::new(patient(stream))) }
    }

    /// TLS from the first byte on.
    pub fn connect_tls(port: u16, tls: &Arc<ClientConfig>) -> Lines {
        let name = ServerName::try_from("localhost").expect("a name");
        let session = ClientConnection::new(tls.clone(), name).expect("TLS settings");
        Lines {
            stream: BufReader::new(Box::new(StreamOwned::new(
                session,
                patient(TcpStream::connect(("127.0.0.1", port)).expect("connection")),
            ))),
        }
    }

    /// Does a TLS handshake on a connection that is there.
    pub fn upgrade(self, tls: &Arc<ClientConfig>) -> Lines {
        let name = ServerName::try_from("localhost").expect("a name");
        let session = ClientConnection::new(tls.clone(), name).expect("TLS settings");
        Lines { stream: BufReader::new(Box::new(StreamOwned::new(session, self.stream.into_inner()))) }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("write");
    }

    pub fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// The next line without its CRLF; `None` at the end of the connection.
    pub fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        match self.stream.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no line within 20 s: {error}"),
        }
    }

    /// Exactly `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).expect("bytes");
        bytes
    }
}

/// A connection to `port` from an address of this machine.
pub fn connect_from(address: [u8; 4], port: u16) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let connection = async {
        let socket = tokio::net::TcpSocket::new_v4().expect("socket");
        socket.bind((address, 0).into()).expect("bind");
        socket.connect(([127, 0, 0, 1], port).into()).await.expect("connection").into_std().expect("a socket")
    };
    let stream = runtime.block_on(connection);
    stream.set_nonblocking(false).expect("blocking");
    stream
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
    stream.set_nodelay(true).expect("nodelay");
    stream
}

/// TLS for clients that trust the certificate in `file` and no other.
pub fn trusting(file: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file).expect("a certificate")).expect("it can be trusted");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}
