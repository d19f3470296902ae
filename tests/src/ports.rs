//! Port blocks: every server of every test process gets one of its own.

use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::net::TcpListener;

/// A block of a thousand ports on 127.0.0.1, held until dropped.
#[derive(Debug)]
pub struct PortBase {
    base: u16,
    _lock: Flock<File>,
}

impl PortBase {
    /// Takes a free block. The blocks lie below the range that the kernel gives to outgoing connections.
    pub fn take() -> PortBase {
        let folder = std::env::temp_dir().join("facteur-e2e-ports");
        std::fs::create_dir_all(&folder).expect("folder for port locks");
        for attempt in 0..600 {
            for base in (3000..31_000).step_by(1000) {
                let file = File::options().create(true).append(true).open(folder.join(base.to_string())).expect("port lock file");
                let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { continue };
                let free = [110, 143, 465, 525, 587, 993, 995].iter().all(|port| TcpListener::bind(("127.0.0.1", base + port)).is_ok());
                if free {
                    return PortBase { base, _lock: lock };
                }
            }
            std::thread::sleep(std::time::Duration::from_millis(100 + attempt));
        }
        panic!("no free block of ports within a minute");
    }

    /// What `facteur up --port-base` takes.
    pub fn base(&self) -> u16 {
        self.base
    }

    /// A port of the block that no service of Facteur uses: `n` from 0 to 99.
    pub fn spare(&self, n: u16) -> u16 {
        assert!(n < 100);
        self.base + n
    }
}
