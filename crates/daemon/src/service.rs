//! The start of a program that serves clients: listeners with one limit, readiness, new limits at a reload, the end.

use crate::context::Context;
use crate::limits::Limits;
use crate::listen::SocketOptions;
use crate::serve::serve;
use crate::stream::{Peer, Stream};
use config::{Config, Endpoint};
use std::future::Future;
use std::io;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Connections a program takes at the same time: in all, and from one address (0: any number).
pub type MostClients = fn(&Config) -> (usize, usize);

/// The listeners of a program and the limit they share.
pub struct Service {
    ctx: Context,
    most: MostClients,
    limits: Arc<Limits>,
    loops: Vec<JoinHandle<()>>,
}

impl Service {
    /// `most` reads the limit from the settings, again at each reload.
    pub fn new(ctx: &Context, most: MostClients) -> Service {
        let (total, per_ip) = most(&ctx.config.get());
        Service { ctx: ctx.clone(), most, limits: ctx.limits(total, per_ip), loops: Vec::new() }
    }

    /// Binds `endpoints` and serves each client there by `handler`, as [`serve`] does. The error names the endpoint.
    pub fn listen<H, F>(&mut self, endpoints: &[Endpoint], options: &SocketOptions, handler: H) -> io::Result<()>
    where
        H: Fn(Stream, Peer) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        for endpoint in endpoints {
            let listener = self.ctx.listen(endpoint, options)?;
            self.loops.push(tokio::spawn(serve(listener, self.limits.clone(), self.ctx.shutdown.clone(), handler.clone())));
        }
        Ok(())
    }

    /// Says that the program serves, and follows the settings until shutdown: `reload` is for what else depends on them. Sessions may
    /// still run when it returns.
    pub async fn run(mut self, mut reload: impl FnMut(&Config)) -> io::Result<()> {
        self.ctx.ready();
        let shutdown = self.ctx.shutdown.clone();
        loop {
            tokio::select! {
                () = shutdown.wait() => break,
                () = self.ctx.config.changed() => {
                    let config = self.ctx.config.get();
                    let (total, per_ip) = (self.most)(&config);
                    self.limits.set(total, per_ip);
                    reload(&config);
                }
            }
        }
        for accepting in self.loops {
            accepting.await.map_err(io::Error::other)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    #[tokio::test]
    async fn clients_are_served_within_the_limit_of_the_settings_in_force() {
        let folder = tempfile::tempdir().expect("folder");
        let endpoint = Endpoint::Unix(folder.path().join("socket"));
        let ctx = Context::detached("imapd", Config::defaults(std::path::Path::new("facteur.toml")).expect("defaults")).expect("context");
        let mut service = Service::new(&ctx, |config| (config.imapd.client_limit as usize, 0));
        let options = SocketOptions::default().refusal(b"no\n");
        let handler = |mut stream: Stream, _: Peer| async move {
            let _ = stream.write_all(b"yes").await;
            // until the client goes
            let _ = stream.read(&mut [0]).await;
        };
        service.listen(std::slice::from_ref(&endpoint), &options, handler).expect("listens");
        let reloads = Arc::new(Mutex::new(0));
        let seen = reloads.clone();
        let running = tokio::spawn(service.run(move |_| *seen.lock().expect("count") += 1));
        let connect = || async {
            let mut stream = UnixStream::connect(folder.path().join("socket")).await.expect("connects");
            let mut answer = [0; 3];
            stream.read_exact(&mut answer).await.expect("an answer");
            (stream, answer)
        };
        let (_first, answer) = connect().await;
        assert_eq!(&answer, b"yes");
        let mut less = Config::defaults(std::path::Path::new("facteur.toml")).expect("defaults");
        less.imapd.client_limit = 1;
        ctx.config.set(less);
        while *reloads.lock().expect("count") == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(&connect().await.1, b"no\n");
        ctx.shutdown.set();
        running.await.expect("no panic").expect("no error");
    }
}
