//! What all sessions share.

use crate::uidl;
use config::Config;
use daemon::{Context, MailAccess};
use ipc::auth::Channel;
use mailstore::Store;
use parking_lot::Mutex;
use std::sync::Arc;

/// Shared by all sessions.
pub struct Server {
    pub ctx: Context,
    pub access: MailAccess,
    pub store: Arc<Store>,
    uidl: Mutex<uidl::Format>,
}

impl Server {
    pub fn new(ctx: Context) -> anyhow::Result<Arc<Server>> {
        let config = ctx.config.get();
        let pop3d = &config.pop3d;
        let uidl = uidl::Format::parse(&config.pop3d.pop3_uidl_format).map_err(anyhow::Error::msg)?;
        Ok(Arc::new(Server {
            access: MailAccess::new(&config, &pop3d.auth_socket_path, &pop3d.userdb_socket_path, pop3d.io_threads),
            store: Store::new(mailstore::Settings::from(&*config)),
            uidl: Mutex::new(uidl),
            ctx,
        }))
    }

    pub fn config(&self) -> Arc<Config> {
        self.ctx.config.get()
    }

    /// Takes what follows from new settings. Sockets and threads stay as they were at the start.
    pub fn reload(&self, config: &Config) {
        // It was checked before the settings were taken.
        if let Ok(format) = uidl::Format::parse(&config.pop3d.pop3_uidl_format) {
            *self.uidl.lock() = format;
        }
    }

    pub fn uidl(&self) -> uidl::Format {
        self.uidl.lock().clone()
    }

    /// Names of the mechanisms a client may use.
    pub async fn mechanisms(&self, secured: bool, channel: &Channel) -> Vec<String> {
        let found = self.access.mechanisms().await;
        found.iter().filter(|m| m.fits(channel) && !m.anonymous && (secured || !m.plaintext)).map(|m| m.name.clone()).collect()
    }
}
