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

use std::sync::atomic::{AtomicU32, Ordering};

/// A folder that is deleted when the value is dropped.
pub fn temp_dir() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("facteur-test-").tempdir().expect("a temporary folder can be made")
}

/// A TCP port on 127.0.0.1 that was free a moment ago, above those that the kernel gives to outgoing connections; no two callers of one program get the
/// same one. Better bind port 0 where the program can tell its port.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    const PORTS: std::ops::Range<u16> = 61_000..65_500;
    // programs that run at the same time begin at different places
    let start = std::process::id().wrapping_mul(97);
    loop {
        let number = start.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + (number % PORTS.len() as u32) as u16;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
