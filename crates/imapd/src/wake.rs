//! What a session waits for while no command is at work: the client, and changes it wants to hear of at once.

use crate::session::Session;
use std::time::Duration;
use tokio::time::Instant;

/// What woke us.
pub enum Woken {
    Input(std::io::Result<usize>),
    /// Something may have changed in a mailbox.
    Change,
    Clock,
    Shutdown,
}

/// A burst of deliveries is told at once: a few milliseconds cost nobody anything and save a wake-up per message.
pub async fn gather() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

/// Waits until something happens, at most until `end`. What came from the client was handed to the machine.
pub async fn wait(session: &mut Session, end: Instant) -> Woken {
    let connection = &mut session.connection;
    let shutdown = connection.end.clone();
    let machine = &mut connection.machine;
    let selected = session.selected.as_mut();
    let in_selected = async {
        match selected {
            // The sender lives as long as the mailbox, which we hold; without one there is nothing to wait for.
            Some(selected) => {
                if selected.changes.changed().await.is_err() {
                    std::future::pending().await
                }
            }
            None => std::future::pending().await,
        }
    };
    let notify = session.notify.as_deref();
    let elsewhere = async {
        match notify {
            Some(notify) => notify.woken().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        read = connection.wire.read(|bytes| machine.receive(bytes)) => Woken::Input(read),
        () = in_selected => Woken::Change,
        () = elsewhere => Woken::Change,
        () = tokio::time::sleep_until(end) => Woken::Clock,
        () = shutdown.wait() => Woken::Shutdown,
    }
}
