//! CLOSE (RFC 3501 §6.4.2) and UNSELECT (RFC 3691).

use crate::answer::Answer;
use crate::commands::expunge::deleted;
use crate::selected::Selected;
use crate::session::Session;
use mailstore::Rights;

/// RFC 4314 §4: without the right, CLOSE expunges nothing and says OK.
fn may_expunge(selected: &Selected) -> bool {
    !selected.read_only && selected.rights.contains(Rights::EXPUNGE)
}

/// Leaves the mailbox; CLOSE (`expunge`) first removes what is marked as deleted, without telling.
pub async fn run(session: &mut Session, expunge: bool) -> Answer {
    let mut answer = Answer::ok(if expunge { "Close completed" } else { "Unselect completed" });
    if expunge && session.selected.as_ref().is_some_and(may_expunge) {
        let removed = session
            .with_selected_patiently(|selected| {
                let uids = deleted(selected)?;
                if uids.is_empty() { Ok(Vec::new()) } else { selected.view.mailbox().expunge(&uids) }
            })
            .await;
        if let Err(error) = removed {
            answer = Answer::from(error);
        }
    }
    session.leave();
    answer
}
