//! The client's name in the DNS: asked for when it connects, waited for when somebody wants to know.

use crate::desk::Desk;
use crate::server::Server;
use crate::service::Service;
use daemon::Peer;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long the name of a client may take.
const NAME_PATIENCE: Duration = Duration::from_secs(5);

/// The confirmed name, and any name.
pub(crate) type Names = (Result<Option<String>, dns::Error>, Result<Vec<String>, dns::Error>);

/// The client's name in the DNS.
pub(crate) enum PeerName {
    Asked(JoinHandle<Names>),
    Known { name: Option<String>, unavailable: bool },
}

impl Drop for PeerName {
    fn drop(&mut self) {
        if let PeerName::Asked(task) = self {
            task.abort();
        }
    }
}

/// Asks for the name of a client.
pub(crate) fn name_of(server: &Arc<Server>, service: &Service, peer: &Peer) -> PeerName {
    match peer.ip() {
        Some(ip) if ip.is_loopback() => PeerName::Known { name: Some("localhost".into()), unavailable: false },
        Some(ip) if service.smtpd.smtpd_peername_lookup => PeerName::Asked(look_up(server, ip, service.policy.wants_reverse_name())),
        _ => PeerName::Known { name: None, unavailable: false },
    }
}

/// What is known of the name that nobody confirmed, before it is asked for: the name, and whether it may be had later.
pub(crate) fn reverse_of(peer: &Peer) -> (Option<String>, bool) {
    match peer.ip() {
        Some(ip) if ip.is_loopback() => (Some("localhost".into()), false),
        _ => (None, true),
    }
}

impl Desk {
    /// Waits for the client's name, which was asked for when it connected.
    pub(crate) async fn know_name(&mut self) {
        let PeerName::Asked(task) = &mut self.name else { return };
        let (name, reverse) = match tokio::time::timeout(NAME_PATIENCE, task).await {
            Ok(Ok(names)) => names,
            _ => (Err(too_late()), Err(too_late())),
        };
        self.reverse = match reverse {
            Ok(names) => (names.into_iter().next(), false),
            Err(dns::Error::Temporary(_)) => (None, true),
            Err(_) => (None, false),
        };
        self.name = match name {
            Ok(name) => PeerName::Known { name, unavailable: false },
            Err(_) => PeerName::Known { name: None, unavailable: true },
        };
    }
}

fn look_up(server: &Arc<Server>, ip: IpAddr, reverse: bool) -> JoinHandle<Names> {
    let resolver = server.resolver.clone();
    tokio::spawn(async move {
        let confirmed = dns::confirmed_name(&*resolver, ip).await;
        // The answer is in the cache by now.
        let names = if reverse { resolver.ptr(ip).await } else { Err(too_late()) };
        (confirmed, names)
    })
}

fn too_late() -> dns::Error {
    dns::Error::Temporary("not known".into())
}
