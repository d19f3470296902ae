//! What all sessions share.

use config::{Config, Pop3DeleteType};
use daemon::{Context, MailAccess};
use ipc::auth::Channel;
use mailstore::{Store, is_valid_keyword};
use parking_lot::Mutex;
use pop3_proto::uidl;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Accounts whose last login is remembered, for `pop3_login_delay`.
const LOGINS_LIMIT: usize = 100_000;

/// Shared by all sessions.
pub struct Server {
    pub ctx: Context,
    pub access: MailAccess,
    pub store: Arc<Store>,
    terms: Mutex<Terms>,
    logins: Mutex<HashMap<String, Instant>>,
}

/// How maildrops are shown and changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    pub uidl: uidl::Format,
    /// The keyword of messages that are deleted for POP3 clients only.
    pub deleted: Option<String>,
    /// What DELE does: sets that keyword, or removes.
    pub keeps: bool,
}

impl Terms {
    /// The error is a sentence for the administrator.
    pub fn of(config: &Config) -> Result<Terms, String> {
        let pop3d = &config.pop3d;
        let deleted = Some(pop3d.pop3_deleted_flag.clone()).filter(|flag| !flag.is_empty());
        if let Some(flag) = deleted.as_ref().filter(|flag| !is_valid_keyword(flag)) {
            return Err(format!("pop3d.pop3_deleted_flag: \"{flag}\" is no keyword (as $POP3Deleted)"));
        }
        let keeps = match pop3d.pop3_delete_type {
            Pop3DeleteType::Default => deleted.is_some(),
            Pop3DeleteType::Expunge => false,
            Pop3DeleteType::Flag if deleted.is_none() => return Err("pop3d.pop3_delete_type: \"flag\" needs pop3_deleted_flag".into()),
            Pop3DeleteType::Flag => true,
        };
        Ok(Terms { uidl: uidl::Format::parse(&pop3d.pop3_uidl_format)?, deleted, keeps })
    }
}

impl Server {
    pub fn new(ctx: Context) -> anyhow::Result<Arc<Server>> {
        let config = ctx.config.get();
        let pop3d = &config.pop3d;
        let terms = Terms::of(&config).map_err(anyhow::Error::msg)?;
        Ok(Arc::new(Server {
            access: MailAccess::new(&config, &pop3d.auth_socket_path, &pop3d.userdb_socket_path, pop3d.io_threads),
            store: Store::new(mailstore::Settings::from(&*config)),
            terms: Mutex::new(terms),
            logins: Mutex::default(),
            ctx,
        }))
    }

    pub fn config(&self) -> Arc<Config> {
        self.ctx.config.get()
    }

    /// Takes what follows from new settings. Sockets and threads stay as they were at the start.
    pub fn reload(&self, config: &Config) {
        // It was checked before the settings were taken.
        if let Ok(terms) = Terms::of(config) {
            *self.terms.lock() = terms;
        }
    }

    pub fn terms(&self) -> Terms {
        self.terms.lock().clone()
    }

    /// False when the account's last login is less than `delay` ago (RFC 2449 §6.5); such a try does not count as one.
    pub fn may_log_in(&self, user: &str, delay: Duration, now: Instant) -> bool {
        if delay.is_zero() {
            return true;
        }
        let mut logins = self.logins.lock();
        if logins.get(user).is_some_and(|last| now.duration_since(*last) < delay) {
            return false;
        }
        if logins.len() >= LOGINS_LIMIT {
            logins.retain(|_, last| now.duration_since(*last) < delay);
        }
        if logins.len() < LOGINS_LIMIT {
            logins.insert(user.to_owned(), now);
        }
        true
    }

    /// Names of the mechanisms a client may use.
    pub async fn mechanisms(&self, secured: bool, channel: &Channel) -> Vec<String> {
        let found = self.access.mechanisms().await;
        found.iter().filter(|m| m.fits(channel) && !m.anonymous && (secured || !m.plaintext)).map(|m| m.name.clone()).collect()
    }
}
