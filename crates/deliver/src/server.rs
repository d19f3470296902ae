//! What all sessions share.

use config::Config;
use daemon::{Context, Peer};
use ipc::usage::UsageClient;
use ipc::userdb::UserdbClient;
use mailstore::{Delivery, Store};
use parking_lot::Mutex;
use smtp_proto::server::Settings;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Shared by all sessions.
pub struct Server {
    pub ctx: Context,
    pub userdb: UserdbClient,
    pub usage: UsageClient,
    pub delivery: Arc<Delivery>,
    /// The user we run as, who owns all mail.
    pub uid: u32,
    choices: Mutex<Choices>,
    delivered: AtomicU64,
    failed: AtomicU64,
}

/// What follows from the settings.
struct Choices {
    trusted: HashSet<u32>,
    for_trusted: Arc<Settings>,
    for_others: Arc<Settings>,
}

impl Server {
    pub fn new(ctx: Context) -> anyhow::Result<Arc<Server>> {
        let config = ctx.config.get();
        let userdb = &config.deliver.userdb_socket_path;
        let userdb = if userdb.as_os_str().is_empty() { config.socket("userdb") } else { userdb.clone() };
        Ok(Arc::new(Server {
            userdb: UserdbClient::new(userdb),
            usage: UsageClient::new(config.socket("usage")),
            delivery: Arc::new(Delivery::new(Store::new(mailstore::Settings::from(&*config)))),
            uid: nix::unistd::geteuid().as_raw(),
            choices: Mutex::new(Choices::new(&config)),
            delivered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            ctx,
        }))
    }

    /// Takes what follows from new settings. Sockets and the way files are written stay as they were at the start.
    pub fn reload(&self, config: &Config) {
        *self.choices.lock() = Choices::new(config);
    }

    /// The protocol's choices for this peer: our own queue manager may say which message it brings.
    pub fn settings_for(&self, peer: &Peer) -> Arc<Settings> {
        let choices = self.choices.lock();
        match peer.credentials {
            Some((uid, ..)) if choices.trusted.contains(&uid) => choices.for_trusted.clone(),
            _ => choices.for_others.clone(),
        }
    }

    pub fn count(&self, delivered: bool) {
        let counter = if delivered { &self.delivered } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

impl Choices {
    fn new(config: &Config) -> Choices {
        let mut trusted = HashSet::from([nix::unistd::geteuid().as_raw()]);
        for user in &config.deliver.lmtp_trusted_users {
            match daemon::user_id(user) {
                Ok(uid) => drop(trusted.insert(uid)),
                // everything under one user, as `facteur up` runs it
                Err(error) => tracing::debug!(user, %error, "lmtp_trusted_users: no such user here"),
            }
        }
        let for_others = Settings { size_limit: config.deliver.message_size_limit.bytes(), ..Settings::lmtp(&config.main.hostname) };
        Choices { trusted, for_trusted: Arc::new(Settings { xfacteur: true, ..for_others.clone() }), for_others: Arc::new(for_others) }
    }
}
