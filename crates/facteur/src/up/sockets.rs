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

/// The sockets of one daemon, with owner and mode of those on Unix paths.
pub fn wanted(daemon: &str, config: &Config) -> Vec<(Endpoint, SocketOptions)> {
    let mut all: Vec<(Endpoint, SocketOptions)> = Vec::new();
    let unix = |name: &str| Endpoint::Unix(config.socket(name));
    let owned = |mode: u32, user: &str, group: &str| {
        let name = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        SocketOptions { user: name(user), group: name(group), ..SocketOptions::mode(mode) }
    };
    // All daemons run as one user here, so only that user has to connect, unless a setting says otherwise.
    let private = SocketOptions::mode(0o600);
    let public = SocketOptions::mode(0o666);
    match daemon {
        "smtpd" => all.extend(config.services.values().flat_map(|s| s.listener.listen.iter().map(|e| (e.clone(), public.clone())))),
        "qmgr" => all.push((unix("queue"), private.clone())),
        "deliver" => {
            let deliver = &config.deliver;
            let options = owned(deliver.lmtp_socket_mode.0, &deliver.lmtp_socket_user, &deliver.lmtp_socket_group);
            let usual = [unix("lmtp")];
            let endpoints = if deliver.listen.is_empty() { usual.as_slice() } else { &deliver.listen };
            all.extend(endpoints.iter().map(|e| (e.clone(), options.clone())));
        }
        "imapd" => all.extend(config.imapd.listen.iter().chain(&config.imapd.listen_tls).map(|e| (e.clone(), public.clone()))),
        "pop3d" => all.extend(config.pop3d.listen.iter().chain(&config.pop3d.listen_tls).map(|e| (e.clone(), public.clone()))),
        "authd" => {
            let tables = &config.authd.unix_listener;
            let path = |table: &config::AuthSocket| Endpoint::Unix(config.main.run_directory.join(&table.path));
            all.extend(tables.iter().map(|t| (path(t), owned(t.mode.0, &t.user, &t.group))));
            for (kind, name) in [
                (SocketKind::Client, "auth"),
                (SocketKind::Userdb, "userdb"),
                (SocketKind::Lookup, "lookup"),
                (SocketKind::Accounts, "accounts"),
                (SocketKind::Usage, "usage"),
            ] {
                if !tables.iter().any(|t| t.kind == kind) {
                    all.push((unix(name), private.clone()));
                }
            }
        }
        _ => {}
    }
    all.push((Endpoint::Unix(config.socket("control").join(daemon)), private));
    let mut seen = BTreeSet::new();
    all.retain(|(endpoint, _)| seen.insert(endpoint.clone()));
    all
}

/// Binds the sockets of one daemon. Waits a while for addresses that a predecessor is about to leave.
pub async fn bind(daemon: &str, config: &Config) -> anyhow::Result<Vec<Held>> {
    let deadline = tokio::time::Instant::now() + PREDECESSOR;
    let mut held = Vec::new();
    for (endpoint, options) in wanted(daemon, config) {
        let socket = loop {
            match daemon::bind(&endpoint, &options) {
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
