//! Lookup tables ([`ipc::lookup`]).
//!
//! Questions to the accounts database are answered at once and in batches: as many as have come are answered by one write. Those to
//! other databases, which may be slow or away, are asked in tasks of their own and hold nobody up.

use crate::state::State;
use arc_swap::ArcSwap;
use ipc::lookup::{Answer, Found, KEY_LIMIT_BYTES, LOOKUP, Question, VALUE_LIMIT_BYTES};
use ipc::{FrameReader, FrameWriter};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Questions to other databases that run at a time, per connection.
const SLOW_LIMIT: usize = 64;
/// Those that wait for their turn, per connection. More are told at once that it cannot be said: their askers would not wait so long.
const WAITING_LIMIT: usize = 1024;
/// Answers after which the batch is written, however many more questions wait.
const BATCH: usize = 256;

pub(super) async fn serve(stream: daemon::Stream, state: &Arc<ArcSwap<State>>) -> anyhow::Result<()> {
    let (read, write) = tokio::io::split(stream);
    let (mut reader, mut writer) = (FrameReader::new(read, LOOKUP), FrameWriter::new(write, LOOKUP));
    let mut slow: JoinSet<Answer> = JoinSet::new();
    let free = Arc::new(Semaphore::new(SLOW_LIMIT));
    loop {
        let mut next = tokio::select! {
            // Cancel safe: half a frame stays with the reader.
            question = reader.next::<Question>() => match question? {
                Some(question) => Some(question),
                None => return Ok(()),
            },
            Some(done) = slow.join_next(), if !slow.is_empty() => {
                push(&mut writer, done)?;
                None
            }
        };
        let state = state.load_full();
        let mut batch = 0;
        while let Some(question) = next {
            batch += 1;
            if state.tables.is_quick(&question.table) {
                writer.push(&answer(&state, question).await)?;
            } else if slow.len() >= SLOW_LIMIT + WAITING_LIMIT {
                writer.push(&Answer { id: question.id, result: Found::Unavailable("too many lookups wait for the database".into()) })?;
            } else {
                let (state, free) = (state.clone(), free.clone());
                slow.spawn(async move {
                    let _turn = free.acquire_owned().await;
                    answer(&state, question).await
                });
            }
            next = if batch < BATCH { reader.buffered::<Question>()? } else { None };
        }
        while let Some(done) = slow.try_join_next() {
            push(&mut writer, done)?;
        }
        if writer.pending_bytes() > 0 {
            tokio::time::timeout(super::WRITE_DEADLINE, writer.flush()).await??;
        }
    }
}

fn push<W: tokio::io::AsyncWrite + Unpin>(writer: &mut FrameWriter<W>, done: Result<Answer, tokio::task::JoinError>) -> anyhow::Result<()> {
    // A lookup that panicked has no answer; its asker meets the deadline.
    if let Ok(answer) = done {
        writer.push(&answer)?;
    }
    Ok(())
}

async fn answer(state: &State, question: Question) -> Answer {
    let result = match question.key.len() {
        0 => Found::Nothing,
        length if length > KEY_LIMIT_BYTES => Found::Nothing,
        _ => match state.tables.lookup(&question.table, &question.key).await {
            Ok(Some(value)) if value.len() > VALUE_LIMIT_BYTES => Found::Unavailable("the value is too long".into()),
            Ok(Some(value)) => Found::Value(value),
            Ok(None) => Found::Nothing,
            Err(error) => {
                let reason = format!("{error:#}");
                tracing::warn!(table = %mail_types::printable(&question.table), key = %mail_types::printable(&question.key), error = reason, "lookup failed");
                Found::Unavailable(reason.chars().take(500).collect())
            }
        },
    };
    Answer { id: question.id, result }
}
