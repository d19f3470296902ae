//! NOOP (RFC 3501 §6.1.2) and CHECK (§6.4.1): a look at the disk, so that nothing depends on notifications alone.

use crate::answer::Answer;
use crate::session::Session;

pub async fn run(session: &mut Session, done: &'static str) -> Answer {
    if session.selected.is_none() {
        return Answer::ok(done);
    }
    match session.with_selected(|selected| selected.view.mailbox().refresh()).await {
        Ok(()) => Answer::ok(done),
        // A mailbox that went away is told of by `Session::report`.
        Err(mailstore::Error::NoSuchMailbox) => Answer::ok(done),
        Err(error) => error.into(),
    }
}
