//! smtpd's connection, as qmgr sees it. The conversation itself is in `ipc::queue`.

use crate::manager::FromPeer;
use daemon::{Peer, Stream};
use ipc::queue::{FromSmtpd, accept};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

static SERIAL: AtomicU64 = AtomicU64::new(1);

/// Serves one connection until it ends. Who may connect at all is decided by the mode and group of the socket.
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
