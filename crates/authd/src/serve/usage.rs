//! What the other daemons tell of sizes and logins ([`ipc::usage`]).

use crate::state::State;
use arc_swap::ArcSwap;
use ipc::FrameReader;
use ipc::usage::{Note, USAGE};
use std::collections::HashMap;
use std::sync::Arc;

/// Notes kept in one transaction.
const BATCH: usize = 1_000;

pub(super) async fn serve(stream: daemon::Stream, state: &Arc<ArcSwap<State>>) -> anyhow::Result<()> {
    let mut reader = FrameReader::new(stream, USAGE);
    while let Some(first) = reader.next::<Note>().await? {
        let mut notes = HashMap::new();
        let mut next = Some(first);
        let state = state.load_full();
        while let Some(note) = next {
            // Names as the accounts have them; two notes on one account become one.
            if let Some(user) = state.desk.directory.names.normal(&note.user) {
                let kept: &mut Note = notes.entry(user.clone()).or_insert_with(|| Note { user, ..Note::default() });
                kept.stored = note.stored.or(kept.stored);
                kept.login = note.login.or(kept.login.take());
            }
            next = if notes.len() < BATCH { reader.buffered()? } else { None };
        }
        let notes: Vec<Note> = notes.into_values().collect();
        if let Err(error) = state.accounts.keep_usage(&notes).await {
            // Lossy by agreement: the next note brings the state again.
            tracing::warn!(notes = notes.len(), %error, "usage was not kept");
        }
    }
    Ok(())
}
