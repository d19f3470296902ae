//! Taking new settings while sessions run: all of them, or none.

use crate::context::Reloadable;
use crate::log::Logging;
use crate::notify;
use crate::tls::ServerTls;
use config::Config;
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

type Check = Box<dyn Fn(&Config) -> Result<(), String> + Send + Sync>;

// Settings that only a start can follow.
const AT_START: [&str; 8] =
    ["worker_threads", "sandbox", "run_directory", "spool_directory", "state_directory", "log.format", "log.buffer_size", "hostname"];

pub struct Reloader {
    config: Reloadable<Config>,
    tls: Arc<ServerTls>,
    logging: OnceLock<Logging>,
    checks: Mutex<Vec<Check>>,
    report: Mutex<Report>,
    // One at a time, whether by signal, control socket or changed certificates.
    turn: tokio::sync::Mutex<()>,
}

/// How the last loads went.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Seconds since 1970 when settings were last taken.
    pub loaded: u64,
    /// Why the last attempt failed; empty when it did not.
    pub error: String,
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloader").field("report", &*self.report.lock()).finish_non_exhaustive()
    }
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

impl Reloader {
    pub fn new(config: Reloadable<Config>, tls: Arc<ServerTls>) -> Reloader {
        Reloader {
            config,
            tls,
            logging: OnceLock::new(),
            checks: Mutex::default(),
            report: Mutex::new(Report { loaded: now(), error: String::new() }),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    pub fn set_logging(&self, logging: Logging) {
        // Set once, by start-up.
        let _ = self.logging.set(logging);
    }

    pub fn add_check(&self, check: Check) {
        self.checks.lock().push(check);
    }

    pub fn report(&self) -> Report {
        self.report.lock().clone()
    }

    /// Reads the settings again and takes them when all is well. The reason why not is for people, and has been logged.
    pub async fn reload(self: &Arc<Self>) -> Result<(), String> {
        let _turn = self.turn.lock().await;
        notify::reloading();
        let this = self.clone();
        let outcome = match tokio::task::spawn_blocking(move || this.load()).await {
            Ok(outcome) => outcome,
            Err(error) => Err(format!("the reload failed: {error}")),
        };
        notify::ready();
        match &outcome {
            Ok(()) => *self.report.lock() = Report { loaded: now(), error: String::new() },
            Err(error) => {
                tracing::error!(error = %error, "settings not reloaded; the old ones stay");
                self.report.lock().error.clone_from(error);
            }
        }
        outcome
    }

    fn load(&self) -> Result<(), String> {
        let old = self.config.get();
        let new = Config::load(&old.file).map_err(|report| report.to_string())?;
        for check in self.checks.lock().iter() {
            check(&new)?;
        }
        let prepared = self.tls.prepare(&new).map_err(|error| error.to_string())?;
        if let Some(logging) = self.logging.get() {
            logging.reload(&new.log).map_err(|error| error.to_string())?;
        }
        self.tls.take(prepared);
        let changed = changed_settings(&old, &new);
        let late: Vec<&str> = changed.iter().map(String::as_str).filter(|name| waits_for_start(name)).collect();
        tracing::info!(changed = %changed.join(","), "settings reloaded");
        if !late.is_empty() {
            tracing::warn!(settings = %late.join(","), "these settings take effect at the next start");
        }
        self.config.set(new);
        Ok(())
    }

    /// Takes certificates that changed on disk, with the settings in force.
    pub fn reload_certificates(&self) {
        if !self.tls.files_changed() {
            return;
        }
        match self.tls.prepare(&self.config.get()) {
            Ok(prepared) => {
                self.tls.take(prepared);
                tracing::info!("certificates reloaded");
            }
            // A key often follows its certificate a moment later; the next look will find both.
            Err(error) => tracing::warn!(error = %error, "changed certificates not taken; the old ones stay"),
        }
    }
}

fn waits_for_start(name: &str) -> bool {
    AT_START.contains(&name) || name.ends_with("listen") || name.ends_with("listen_tls")
}

fn changed_settings(old: &Config, new: &Config) -> Vec<String> {
    let before: std::collections::HashMap<String, String> = old.values().into_iter().map(|s| (s.name, s.value)).collect();
    let differs = |shown: &config::Shown| before.get(&shown.name) != Some(&shown.value);
    new.values().into_iter().filter(differs).map(|shown| shown.name).collect()
}

#[cfg(test)]
mod tests {
    use crate::Context;
    use config::Config;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn wrong_settings_leave_the_old_ones_in_force() {
        let dir = tempfile::tempdir().expect("directory");
        let file = dir.path().join("facteur.toml");
        let write = |text: &str| std::fs::write(&file, format!("hostname = \"mx.test\"\n{text}")).expect("write");
        write("shutdown_grace = \"7s\"");
        let ctx = Context::detached("imapd", Config::load(&file).expect("settings")).expect("context");
        static CHECKED: AtomicUsize = AtomicUsize::new(0);
        ctx.check_on_reload(|config| {
            CHECKED.fetch_add(1, Ordering::Relaxed);
            if config.main.mydomain == "bad.test" { Err("mydomain: not this one".into()) } else { Ok(()) }
        });
        for (text, want) in [
            ("shutdown_grace = \"9 apples\"", "shutdown_grace"),
            ("no_such_key = 1", "no_such_key"),
            ("mydomain = \"bad.test\"", "not this one"),
            ("[tls]\ncert_file = \"nowhere\"\nkey_file = \"nowhere\"", "nowhere"),
        ] {
            write(text);
            let error = ctx.reloader.reload().await.expect_err("wrong");
            assert!(error.contains(want), "{error}");
            assert_eq!(ctx.reloader.report().error, error);
            assert_eq!(ctx.config.get().main.shutdown_grace.as_secs(), 7);
        }
        write("shutdown_grace = \"8s\"");
        ctx.reloader.reload().await.expect("sound");
        assert_eq!(ctx.config.get().main.shutdown_grace.as_secs(), 8);
        assert_eq!(ctx.reloader.report().error, "");
        assert_eq!(CHECKED.load(Ordering::Relaxed), 3);
    }
}
