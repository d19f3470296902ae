//! Flags, copies, moves, removal: in batches, so that the daemons have their turn.

use super::{Copy, Destination, Expunge, FlagsArguments, How, Move};
use crate::cli::Globals;
use crate::commands::mailbox::make;
use crate::mail::{BATCH, Person, Post, mailbox_name, meant, query};
use crate::query::Query;
use crate::usage::Usage;
use mail_types::printable;
use mailstore::{Account, Error, FlagMode, FlagSet, Flags, Gone, Mailbox, is_valid_keyword};
use serde_json::json;
use std::process::ExitCode;
use std::sync::Arc;

fn uids(found: &[(u32, u32)]) -> Vec<u32> {
    found.iter().map(|(_, uid)| *uid).collect()
}

/// `\Seen $Forwarded`, as IMAP has them.
pub fn flags(text: &str) -> anyhow::Result<FlagSet> {
    let mut set = FlagSet::default();
    for word in text.split([' ', ',']).filter(|word| !word.is_empty()) {
        let flag = match word.to_ascii_lowercase().as_str() {
            "\\seen" => Flags::SEEN,
            "\\answered" => Flags::ANSWERED,
            "\\flagged" => Flags::FLAGGED,
            "\\deleted" => Flags::DELETED,
            "\\draft" => Flags::DRAFT,
            _ if is_valid_keyword(word) => {
                set.keywords.push(word.to_owned());
                continue;
            }
            _ => return Err(Usage::error(format!("{} is no flag (as \\Seen) and no keyword", printable(word)))),
        };
        set.flags = set.flags | flag;
    }
    Ok(set)
}

impl FlagsArguments {
    pub fn run(&self, globals: &Globals) -> anyhow::Result<ExitCode> {
        let (query, flags) = (query(&self.query)?, flags(&self.flags)?);
        let mode = match self.how {
            How::Add => FlagMode::Add,
            How::Remove => FlagMode::Remove,
            How::Replace => FlagMode::Replace,
        };
        Post::open(globals, &self.whose)?.each(false, |post, person, account| {
            meant(post, person, account, &query, |post, mailbox, _, found| {
                let mut done = 0;
                for batch in uids(&found).chunks(BATCH) {
                    post.screen.doing(&format!("{} {}", person.name, mailbox.name()));
                    done += mailbox.store_flags(batch, mode, &flags, None)?.done.len();
                }
                count(post, person, mailbox, done);
                Ok(())
            })
        })
    }
}

/// For programs only: a script that runs in the night has nothing to say when all went well.
pub fn count(post: &mut Post, person: &Person, mailbox: &Mailbox, messages: usize) {
    if post.screen.json {
        post.screen.row(&person.name, json!({ "user": person.name, "mailbox": mailbox.name().as_str(), "messages": messages }), "");
    } else {
        post.screen.note(&format!("{} {}: {messages} messages", person.name, mailbox.name()));
    }
}

impl Move {
    pub fn run(&self, globals: &Globals) -> anyhow::Result<ExitCode> {
        self.to.transfer(globals, true)
    }
}

impl Copy {
    pub fn run(&self, globals: &Globals) -> anyhow::Result<ExitCode> {
        self.to.transfer(globals, false)
    }
}

impl Destination {
    fn transfer(&self, globals: &Globals, moves: bool) -> anyhow::Result<ExitCode> {
        let (source, words) = source(&self.query)?;
        let (query, name) = (query(words)?, mailbox_name(&self.mailbox)?);
        let mut post = Post::open_with(globals, &self.whose, source.as_slice(), |_| Ok(()))?;
        let source = post.others.first().cloned();
        post.each(true, |post, person, account| {
            if self.create && !account.exists(&name)? {
                make(account, &name, false)?;
            }
            let to = account.open(&name).map_err(|error| anyhow::Error::new(error).context(name.to_string()))?;
            match &source {
                None => transfer(post, person, account, &query, &to, moves)?,
                Some(source) => {
                    let from = post.account(source)?;
                    transfer(post, source, &from, &query, &to, moves)?;
                    post.tell_usage(source, &from);
                }
            }
            post.tell_usage(person, account);
            Ok(())
        })
    }
}

/// `user NAME` in front of a query.
fn source(words: &[String]) -> anyhow::Result<(Option<&str>, &[String])> {
    match words {
        [word, name, rest @ ..] if word.eq_ignore_ascii_case("user") => Ok((Some(name), rest)),
        [word] if word.eq_ignore_ascii_case("user") => Err(Usage::error("user lacks its name")),
        words => Ok((None, words)),
    }
}

fn transfer(post: &mut Post, of: &Person, account: &Arc<Account>, query: &Query, to: &Mailbox, moves: bool) -> anyhow::Result<()> {
    meant(post, of, account, query, |post, mailbox, _, found| {
        if std::ptr::eq(Arc::as_ptr(mailbox), to) {
            // they are there, some since a moment ago
            return Ok(());
        }
        let mut done = 0;
        for batch in uids(&found).chunks(BATCH) {
            post.screen.doing(&format!("{} {}", of.name, mailbox.name()));
            done += match moves {
                false => mailbox.copy(batch, to, Gone::LeaveOut)?.uids.len(),
                true => {
                    let moved = mailbox.move_to(batch, to, Gone::LeaveOut)?;
                    moved.error.map_or(Ok(()), Err)?;
                    moved.added.uids.len()
                }
            };
        }
        count(post, of, mailbox, done);
        Ok(())
    })
}

impl Expunge {
    pub fn run(&self, globals: &Globals) -> anyhow::Result<ExitCode> {
        let query = query(&self.query)?;
        if !query.names_mailboxes() {
            return Err(Usage::error("to avoid accidents, the query has to name mailboxes (mailbox NAME), on both sides of each OR"));
        }
        Post::open(globals, &self.whose)?.each(false, |post, person, account| {
            meant(post, person, account, &query, |post, mailbox, _, found| {
                let mut done = 0;
                for batch in uids(&found).chunks(BATCH) {
                    post.screen.doing(&format!("{} {}", person.name, mailbox.name()));
                    done += if self.dry_run { batch.len() } else { mailbox.expunge(batch)?.len() };
                }
                if self.dry_run && !post.screen.json {
                    post.screen.row(&person.name, json!(null), &format!("{}: {done} messages", mailbox.name()));
                } else {
                    count(post, person, mailbox, done);
                }
                Ok(())
            })?;
            if self.dry_run {
                return Ok(());
            }
            if self.delete_empty {
                delete_empty(account, &query)?;
            }
            post.tell_usage(person, account);
            Ok(())
        })
    }
}

/// Deletes the mailboxes that the query names and that hold nothing.
fn delete_empty(account: &Arc<Account>, query: &Query) -> anyhow::Result<()> {
    for listed in account.list()?.into_iter().filter(|listed| listed.exists && !listed.name.is_inbox()) {
        let id = if query.asks_for_guid() { account.mailbox_id(&listed.name)? } else { String::new() };
        if query.may_mean(&listed.name, &id) && account.status(&listed.name)?.messages == 0 {
            match account.delete(&listed.name) {
                Err(Error::NoSuchMailbox) => {}
                deleted => deleted?,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_written_as_in_imap() {
        let set = flags("\\Seen \\flagged,$Forwarded").expect("flags");
        assert_eq!((set.flags, set.keywords), (Flags::SEEN | Flags::FLAGGED, vec!["$Forwarded".to_owned()]));
        assert_eq!(flags("").expect("none"), FlagSet::default());
        for text in ["\\Recent", "\\Other", "a(b", "Seen\\"] {
            assert!(flags(text).is_err(), "{text}");
        }
    }
}
