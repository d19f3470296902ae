//! `facteur import`: messages of a Maildir, or of mboxes, that are nobody's account here.

mod unpack;

use super::mailbox::make;
use crate::cli::Globals;
use crate::mail::{BATCH, Person, Post, Whose, mailbox_name, meant, query};
use crate::query::Query;
use crate::usage::Usage;
use mailstore::{Account, Gone, Location, MailboxName};
use serde_json::json;
use std::process::ExitCode;
use std::sync::Arc;
use unpack::{Mboxes, Unpacked};

/// Copy messages from a Maildir or from mboxes, with flags, keywords and dates, into mailboxes of the same names
///
/// A Maildir has to belong to the mail user. A mbox is read with the rights of the caller: one file is INBOX, of a folder each file is the mailbox of
/// its path. Messages get new UIDs; `facteur restore` brings UIDs along.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    whose: Whose,
    /// Subscribe to the mailboxes that are made
    #[arg(short, long)]
    subscribe: bool,
    /// Where the mail is: maildir:/path, mbox:/file or mbox:/folder, with :INBOX=/file behind it
    source: String,
    /// Mailboxes are made below this one; '' for none
    parent: String,
    /// Which messages
    #[arg(required = true)]
    query: Vec<String>,
}

pub fn run(globals: &Globals, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let query = query(&arguments.query)?;
    let parent = if arguments.parent.is_empty() { None } else { Some(mailbox_name(&arguments.parent)?) };
    let import = |post: &mut Post, person: &Person, source: &Arc<Account>, account: &Arc<Account>| {
        import(post, person, source, account, &query, parent.as_ref(), arguments.subscribe)
    };
    if let Some(place) = arguments.source.strip_prefix("mbox:") {
        let mboxes = Mboxes::open(place)?;
        return Post::open(globals, &arguments.whose)?.each(true, |post, person, account| {
            let unpacked = Unpacked::new(post, person, account, &mboxes)?;
            import(post, person, unpacked.account(), account)?;
            post.tell_usage(person, account);
            Ok(())
        });
    }
    let path = arguments.source.strip_prefix("maildir:").unwrap_or(&arguments.source);
    let location = Location::maildir(path).map_err(|error| Usage::error(error.to_string()))?;
    Post::open(globals, &arguments.whose)?.each(true, |post, person, account| {
        let source = post.foreign(&location)?;
        import(post, person, &source, account)?;
        post.tell_usage(person, account);
        Ok(())
    })
}

fn import(
    post: &mut Post,
    person: &Person,
    source: &Arc<Account>,
    account: &Arc<Account>,
    query: &Query,
    parent: Option<&MailboxName>,
    subscribe: bool,
) -> anyhow::Result<()> {
    meant(post, person, source, query, |post, from, _, found| {
        let name = below(parent, from.name())?;
        if !account.exists(&name)? {
            make(account, &name, subscribe)?;
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
    })
}

fn below(parent: Option<&MailboxName>, name: &MailboxName) -> anyhow::Result<MailboxName> {
    match parent {
        None => Ok(name.clone()),
        Some(parent) => mailbox_name(&format!("{parent}.{name}")),
    }
}
