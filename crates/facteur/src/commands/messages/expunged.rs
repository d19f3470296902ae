//! Messages that were removed and are kept for a while: listed, brought back, removed for good.

use super::fields::{Content, Field};
use super::{Purge, Restore};
use crate::cli::Globals;
use crate::mail::{BATCH, Person, Post, meant, query};
use crate::query::{Mask, moment};
use mailstore::{Account, Error, Flags, Gone, Kept, Mailbox, Snapshot};
use serde_json::{Map, json};
use std::process::ExitCode;
use std::sync::Arc;

/// What is told of a message besides its mailbox and when it was removed.
const TOLD: [&str; 6] = ["date.received", "size.physical", "flags", "guid", "hdr.from", "hdr.subject"];

impl Restore {
    pub fn run(&self, globals: &Globals) -> anyhow::Result<ExitCode> {
        let all = ["all".to_owned()];
        let query = query(if self.query.is_empty() { &all } else { &self.query })?;
        let masks: Vec<Mask> = self.mailbox.iter().map(|mask| Mask::new(mask)).collect();
        let now = jiff::Timestamp::now().as_second();
        let since = self.since.as_deref().map(|since| moment(since, now, jiff::tz::TimeZone::system())).transpose()?;
        let fields = Field::parse_all(&TOLD.join(","))?;
        Post::open(globals, &self.whose)?.each(false, |post, person, account| {
            for kept in account.expunged()? {
                meant(post, person, &kept.account, &query, |post, mailbox, snapshot, found| {
                    if !masks.is_empty() && !masks.iter().any(|mask| mask.matches(mailbox.name())) {
                        return Ok(());
                    }
                    let mut wanted = Vec::new();
                    for (number, uid) in found {
                        match kept.removed_at(mailbox, uid) {
                            Ok(removed) if since.is_none_or(|since| since <= removed) => wanted.push((number, uid, removed)),
                            Ok(_) | Err(Error::Expunged) => {}
                            Err(error) => post.screen.failed(&person.name, &error.into()),
                        }
                    }
                    match self.list {
                        true => list(post, person, mailbox, snapshot, &fields, &wanted),
                        false => bring_back(post, person, account, mailbox, &wanted),
                    }
                })?;
            }
            if !self.list {
                post.tell_usage(person, account);
            }
            Ok(())
        })
    }
}

fn list(
    post: &mut Post,
    person: &Person,
    mailbox: &Mailbox,
    snapshot: &Snapshot,
    fields: &[Field],
    wanted: &[(u32, u32, i64)],
) -> anyhow::Result<()> {
    for (number, uid, removed) in wanted {
        let Some((_, message)) = snapshot.find(*uid) else { continue };
        let content = Content::new(&post.config, &person.name, mailbox, snapshot, message, *number);
        let values: mailstore::Result<Vec<_>> = fields.iter().map(|field| Ok((field.to_string(), content.value(field)?))).collect();
        match values {
            Ok(values) => {
                let removed = crate::table::moment(*removed);
                let mut text = format!("{removed} {}:", mailbox.name()).into_bytes();
                for (_, value) in values.iter().filter(|(name, _)| name.starts_with("hdr.") || name.starts_with("size")) {
                    text.push(b' ');
                    value.write_escaped(&mut text);
                }
                let mut row: Map<_, _> = values.into_iter().map(|(name, value)| (name, value.json())).collect();
                row.insert("user".into(), json!(person.name));
                row.insert("mailbox".into(), json!(mailbox.name().as_str()));
                row.insert("date.removed".into(), json!(removed));
                post.screen.row(&person.name, row.into(), &String::from_utf8_lossy(&text));
            }
            // swept meanwhile
            Err(Error::Expunged) => {}
            Err(error) => post.screen.failed(&person.name, &error.into()),
        }
    }
    Ok(())
}

/// A message is in the mailbox, durable, before it leaves the attic. It comes as any other does: with a UID of its own, and if there is room.
fn bring_back(
    post: &mut Post,
    person: &Person,
    account: &Arc<Account>,
    from: &Arc<Mailbox>,
    wanted: &[(u32, u32, i64)],
) -> anyhow::Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    let name = from.name();
    let place = |error: Error| anyhow::Error::new(error).context(name.to_string());
    if !account.exists(name)? {
        // for its owner only: whoever may see the mailbox above it may not have seen this one
        account.create(name).map_err(place)?;
    }
    let to = account.open(name).map_err(place)?;
    let uids: Vec<u32> = wanted.iter().map(|(_, uid, _)| *uid).collect();
    let mut done = 0;
    for batch in uids.chunks(BATCH) {
        post.screen.doing(&format!("{} {name}", person.name));
        let moved = from.move_with(batch, &to, Gone::LeaveOut, Kept { dropped: Flags::DELETED, keywords: true }).map_err(place)?;
        moved.error.map_or(Ok(()), Err).map_err(place)?;
        done += moved.added.uids.len();
    }
    super::change::count(post, person, &to, done);
    Ok(())
}

impl Purge {
    pub fn run(&self, globals: &Globals) -> anyhow::Result<ExitCode> {
        Post::open(globals, &self.whose)?.each(false, |post, person, account| {
            let files = account.purge_expunged(self.everything)?;
            if post.screen.json {
                post.screen.row(&person.name, json!({ "user": person.name, "files": files }), "");
            } else {
                post.screen.note(&format!("{}: {files} files", person.name));
            }
            Ok(())
        })
    }
}
