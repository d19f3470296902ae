//! `facteur import`: messages of a Maildir that is nobody's account here.

use super::mailbox::make;
use crate::cli::Globals;
use crate::mail::{BATCH, Post, Whose, mailbox_name, meant, query};
use crate::usage::Usage;
use mailstore::{Gone, Location, MailboxName};
use serde_json::json;
use std::process::ExitCode;

/// Copy messages from a Maildir, with flags, keywords and dates, into mailboxes of the same names
///
/// The Maildir has to belong to the mail user. Messages get new UIDs; `facteur restore` brings UIDs along.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    whose: Whose,
    /// Subscribe to the mailboxes that are made
    #[arg(short, long)]
    subscribe: bool,
    /// Where the mail is: maildir:/path
    source: String,
    /// Mailboxes are made below this one; '' for none
    parent: String,
    /// Which messages
    #[arg(required = true)]
    query: Vec<String>,
}

pub fn run(globals: &Globals, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let query = query(&arguments.query)?;
    let path = arguments.source.strip_prefix("maildir:").unwrap_or(&arguments.source);
    let location = Location::maildir(path).map_err(|error| Usage::error(error.to_string()))?;
    let parent = if arguments.parent.is_empty() { None } else { Some(mailbox_name(&arguments.parent)?) };
    Post::open(globals, &arguments.whose)?.each(true, |post, person, account| {
        let source = post.foreign(&location)?;
        meant(post, person, &source, &query, |post, from, _, found| {
            let name = below(parent.as_ref(), from.name())?;
            if !account.exists(&name)? {
                make(account, &name, arguments.subscribe)?;
            }
            let (to, mut done) = (account.open(&name)?, 0);
            let uids: Vec<u32> = found.iter().map(|(_, uid)| *uid).collect();
            for batch in uids.chunks(BATCH) {
                post.screen.doing(&format!("{} {name} {done}/{}", person.name, uids.len()));
                done += from.copy(batch, &to, Gone::LeaveOut)?.uids.len();
            }
            let value = json!({ "user": person.name, "mailbox": name.as_str(), "messages": done });
            post.screen.row(&person.name, value, &format!("{name}: {done} messages"));
            Ok(())
        })?;
        post.tell_usage(person, account);
        Ok(())
    })
}

fn below(parent: Option<&MailboxName>, name: &MailboxName) -> anyhow::Result<MailboxName> {
    match parent {
        None => Ok(name.clone()),
        Some(parent) => mailbox_name(&format!("{parent}.{name}")),
    }
}
