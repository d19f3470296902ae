//! IDLE (RFC 2177): tells changes as they happen until the client says DONE.

use crate::answer::Answer;
use crate::connection::Gone;
use crate::notify;
use crate::session::{Outcome, Session};
use crate::wake::{Woken, gather, wait};
use imap_proto::{Step, encode};
use mailstore::Expunges;
use tokio::time::Instant;

pub async fn run(session: &mut Session) -> Outcome {
    session.end_progress();
    // What is new since the last command comes first, also from the disk.
    if session.selected.is_some() {
        // A mailbox that cannot be looked at now is told of by the report.
        let _ = Box::pin(session.with_selected(|selected| selected.view.mailbox().refresh())).await;
    }
    let go_on = session.connection.machine.idle();
    session.connection.wire.out.extend_from_slice(&go_on);
    Box::pin(session.report(Expunges::Report, false)).await?;
    Box::pin(notify::tell(session)).await?;
    let imapd = &session.connection.config.imapd;
    let (longest, notify) = (imapd.imap_timeout, imapd.imap_idle_notify_interval);
    let end = Instant::now() + longest;
    loop {
        match session.connection.machine.step() {
            Step::IdleEnd(true) => return Ok(Answer::ok("Idle completed")),
            Step::IdleEnd(false) => return Ok(Answer::bad("Expected DONE")),
            Step::NeedInput => {}
            Step::Send(bytes) => session.connection.wire.out.extend_from_slice(&bytes),
            Step::Close => return Err(Gone::Done("too many errors")),
            _ => return Ok(Answer::bad("Expected DONE")),
        }
        session.connection.wire.flush().await?;
        let next = if notify.is_zero() { end } else { end.min(Instant::now() + notify) };
        match wait(session, next).await {
            Woken::Input(Ok(0)) => return Err(Gone::Client("connection closed".into())),
            Woken::Input(Ok(_)) => {}
            Woken::Input(Err(error)) => return Err(error.into()),
            Woken::Change => {
                gather().await;
                Box::pin(session.report(Expunges::Report, false)).await?;
                Box::pin(notify::tell(session)).await?;
            }
            Woken::Clock if Instant::now() >= end => return Err(Gone::Idle),
            Woken::Clock => encode::status(&mut session.connection.wire.out, "*", imap_proto::Status::Ok, "", "Still here"),
            Woken::Shutdown => return Err(Gone::Shutdown),
        }
    }
}
