//! Which daemon listens where: what systemd's socket units say for an installed server.

use anyhow::Context as _;
use config::{Config, Endpoint, SocketKind};
use daemon::SocketOptions;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// How long to wait for a server in the same folder that is just stopping.
const PREDECESSOR: Duration = Duration::from_secs(10);

/// A listening socket that the supervisor holds for a daemon.
#[derive(Debug)]
pub struct Held {
    pub endpoint: Endpoint,
    pub socket: OwnedFd,
}

/// The sockets of one daemon with their modes.
pub fn wanted(daemon: &str, config: &Config) -> Vec<(Endpoint, u32)> {
    let mut all: Vec<(Endpoint, u32)> = Vec::new();
    let unix = |name: &str| Endpoint::Unix(config.socket(name));
    match daemon {
        // The local socket is for everybody: who speaks there is known by peer credentials.
        "smtpd" => all.extend(config.services.values().flat_map(|s| s.listener.listen.iter().map(|e| (e.clone(), 0o666)))),
        "qmgr" => all.push((unix("queue"), 0o600)),
        "deliver" if config.deliver.listen.is_empty() => all.push((unix("lmtp"), 0o600)),
        "deliver" => all.extend(config.deliver.listen.iter().map(|e| (e.clone(), 0o600))),
        "imapd" => all.extend(config.imapd.listen.iter().chain(&config.imapd.listen_tls).map(|e| (e.clone(), 0o600))),
        "pop3d" => all.extend(config.pop3d.listen.iter().chain(&config.pop3d.listen_tls).map(|e| (e.clone(), 0o600))),
        "authd" => {
            let tables = &config.authd.unix_listener;
            all.extend(tables.iter().map(|t| (Endpoint::Unix(config.main.run_directory.join(&t.path)), t.mode.0)));
            for (kind, name) in [
                (SocketKind::Client, "auth"),
                (SocketKind::Userdb, "userdb"),
                (SocketKind::Lookup, "lookup"),
                (SocketKind::Accounts, "accounts"),
                (SocketKind::Usage, "usage"),
            ] {
                if !tables.iter().any(|t| t.kind == kind) {
                    all.push((unix(name), 0o600));
                }
            }
        }
        _ => {}
    }
    all.push((Endpoint::Unix(config.socket("control").join(daemon)), 0o600));
    let mut seen = BTreeSet::new();
    all.retain(|(endpoint, _)| seen.insert(endpoint.clone()));
    all
}

/// Binds the sockets of one daemon. Waits a while for addresses that a predecessor is about to leave.
pub async fn bind(daemon: &str, config: &Config) -> anyhow::Result<Vec<Held>> {
    let deadline = tokio::time::Instant::now() + PREDECESSOR;
    let mut held = Vec::new();
    for (endpoint, mode) in wanted(daemon, config) {
        let socket = loop {
            match daemon::bind(&endpoint, &SocketOptions::mode(mode)) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                result => break result.with_context(|| format!("{daemon} cannot listen on {endpoint}"))?,
            }
        };
        held.push(Held { endpoint, socket });
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::DAEMONS;
    use std::path::Path;

    #[test]
    fn every_daemon_has_its_sockets_and_no_two_share_one() {
        let file = Path::new("/srv/facteur/etc/facteur.toml");
        let text = "hostname = \"mx.test\"\nrun_directory = \"../run\"\n\
                    [[authd.unix_listener]]\npath = \"/var/spool/postfix/private/auth\"\nmode = \"0660\"\n";
        let config = Config::from_texts(file, &[(file.to_owned(), text.to_owned())]).expect("settings");
        let mut all = BTreeSet::new();
        for daemon in DAEMONS {
            for (endpoint, _) in wanted(daemon, &config) {
                assert!(all.insert(endpoint.to_string()), "{endpoint} twice");
            }
        }
        for want in ["unix:/srv/facteur/run/queue", "unix:/srv/facteur/run/lmtp", "unix:/srv/facteur/run/control/imapd", "[::]:25"] {
            assert!(all.contains(want), "{want} in {all:?}");
        }
        // A table for one conversation stands in place of its usual socket.
        assert!(all.contains("unix:/var/spool/postfix/private/auth") && !all.contains("unix:/srv/facteur/run/auth"));
        assert!(all.contains("unix:/srv/facteur/run/lookup"));
    }
}
