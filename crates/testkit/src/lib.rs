//! Fakes and runners for tests: transcripts, a DNS server with zones made in code, SMTP and LMTP sinks that follow a
//! script, folders and certificates that go away by themselves.
//!
//! Nothing here is linked into a program.

pub mod databases;
pub mod directories;
pub mod dns;
pub mod sink;
pub mod transcript;

pub use dns::FakeDns;
pub use sink::{Act, Sink};
pub use transcript::{Machine, Transcript};

/// A folder that is deleted when the value is dropped.
pub fn temp_dir() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("facteur-test-").tempdir().expect("a temporary folder can be made")
}

/// A TCP port on 127.0.0.1 that was free a moment ago. Better bind port 0 where the program can tell its port.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port can be bound");
    listener.local_addr().expect("a bound listener has an address").port()
}
