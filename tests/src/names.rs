//! A name server of the test's own.

use testkit::dns::FakeDns;

/// A running name server; it ends when dropped.
#[derive(Debug)]
pub struct Names {
    address: String,
    _runtime: tokio::runtime::Runtime,
}

impl Names {
    /// `records` as for [`FakeDns::add`], one in a line.
    pub fn start(records: &str) -> Names {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
        let server = runtime.block_on(FakeDns::start(records));
        let address = server.address();
        // It lives as long as the runtime.
        runtime.spawn(async move {
            std::future::pending::<()>().await;
            drop(server);
        });
        Names { address, _runtime: runtime }
    }

    /// The section `[dns]` by which a server asks it.
    pub fn settings(&self) -> String {
        format!("[dns]\nnameservers = [\"{}\"]\n", self.address)
    }
}
