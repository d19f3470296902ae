//! smtpd's connection, as qmgr sees it. The conversation itself is in `ipc::queue`.

use crate::manager::FromPeer;
use daemon::{Peer, Stream};
use ipc::queue::{FromSmtpd, accept};
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

static SERIAL: AtomicU64 = AtomicU64::new(1);

/// Who may say which mail has come. A mode is easily set too wide, and a hint brings its message along: whoever gives one sends mail
/// past all of smtpd's checks.
pub struct Trusted(HashSet<u32>);

impl Trusted {
    /// Root, the user we run as, and these.
    pub fn new(users: &[String]) -> Trusted {
        let mut trusted = HashSet::from([0, nix::unistd::geteuid().as_raw()]);
        for user in users {
            match daemon::user_id(user) {
                Ok(uid) => drop(trusted.insert(uid)),
                // Everything runs under one user, as `facteur up` has it.
                Err(error) => tracing::debug!(user, %error, "queue_trusted_users: no such user here"),
            }
        }
        Trusted(trusted)
    }

    pub fn admits(&self, peer: &Peer) -> bool {
        peer.credentials.is_some_and(|(uid, ..)| self.0.contains(&uid))
    }
}

/// Serves one connection until it ends.
pub async fn serve(stream: Stream, peer: Peer, manager: mpsc::Sender<FromPeer>) {
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let (read, write) = tokio::io::split(stream);
    let (mut reader, mut writer) = accept(read, write);
    let (sender, mut finished) = mpsc::unbounded_channel();
    if manager.send(FromPeer::Opened { serial, sender }).await.is_err() {
        return;
    }
    tracing::info!(peer = %peer, "smtpd is there");
    let hear = async {
        loop {
            match reader.next::<FromSmtpd>().await {
                Ok(Some(word)) => {
                    if manager.send(FromPeer::Said(word)).await.is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => return tracing::warn!(peer = %peer, %error, "dropping a connection to the queue socket"),
            }
        }
    };
    let say = async {
        while let Some(word) = finished.recv().await {
            if writer.send(&word).await.is_err() {
                return;
            }
        }
        // A newer connection has taken over; this one is listened to until it ends.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = hear => {}
        () = say => {}
    }
    let _ = manager.send(FromPeer::Closed { serial }).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_taken_from_smtpd_only() {
        let own = nix::unistd::geteuid().as_raw();
        let trusted = Trusted::new(&["4711".into(), "nobody-of-this-name".into()]);
        let peer = |uid: u32| Peer { credentials: Some((uid, 4711, 1)), ..Peer::default() };
        for (uid, want) in [(0, true), (own, true), (4711, true), (4712, false), (65534, false)] {
            assert_eq!(trusted.admits(&peer(uid)), want, "{uid}");
        }
        assert!(!trusted.admits(&Peer::default()), "no credentials");
    }
}
