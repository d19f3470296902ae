//! EXPUNGE (RFC 3501 §6.4.3) and UID EXPUNGE (RFC 4315 §2.1).

use crate::answer::Answer;
use crate::place::judge;
use crate::selected::{Selected, limit};
use crate::session::Session;
use imap_proto::SequenceSet;
use mailstore::{Flags, Message, Rights};

/// Removes what is marked as deleted, of `set` only when there is one. The EXPUNGE responses come with the command's report
/// of changes.
pub async fn run(session: &mut Session, set: Option<SequenceSet>) -> Answer {
    // EXPUNGE removes all or it would have no name for what is left
    let most = if set.is_some() { session.connection.config.imapd.imap_message_limit } else { 0 };
    let removed = session
        .with_selected_patiently(move |selected| {
            if selected.read_only {
                return Err(Answer::no("READ-ONLY", "Mailbox is read-only"));
            }
            judge(selected.rights, Rights::EXPUNGE)?;
            let mut uids = deleted(selected)?;
            if let Some(set) = set {
                let largest = uids.last().copied().unwrap_or(0).max(selected.view.snapshot().iter().last().map_or(0, Message::uid));
                let ranges = set.ranges(largest);
                uids.retain(|uid| {
                    if set.is_saved() {
                        return selected.saved.binary_search(uid).is_ok();
                    }
                    let after = ranges.partition_point(|(first, _)| first <= uid);
                    after > 0 && *uid <= ranges[after - 1].1
                });
            }
            let limited = limit(&mut uids, most, |uid| *uid);
            if !uids.is_empty() {
                selected.view.mailbox().expunge(&uids)?;
            }
            Ok((!uids.is_empty(), limited))
        })
        .await;
    match removed {
        Ok((removed, limited)) => {
            session.removed = removed;
            match limited {
                Some(code) => Answer::ok_with(code, "Expunge completed for the newest of the messages"),
                None => Answer::ok("Expunge completed"),
            }
        }
        Err(answer) => answer,
    }
}

/// UIDs marked as deleted, as the disk has it now: another session may have taken the mark back. Blocking.
pub fn deleted(selected: &Selected) -> mailstore::Result<Vec<u32>> {
    let mailbox = selected.view.mailbox();
    mailbox.refresh()?;
    let snapshot = mailbox.snapshot();
    Ok(snapshot.iter().filter(|message| message.flags().contains(Flags::DELETED)).map(Message::uid).collect())
}
