//! `facteur index` and `facteur force-resync`: mailboxes made ready, or sound.

use super::mailbox::chosen;
use crate::cli::Globals;
use crate::mail::{Post, Whose};
use crate::query::Mask;
use mailstore::Error;
use message::Message;
use message::signature::Signer;
use serde_json::json;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What was learnt is written so often.
const SLICE: Duration = Duration::from_secs(1);

/// Give UIDs to messages that came since somebody looked, so that the next client waits for nothing
///
/// Where mailboxes have an index of their words (`fts` in [imapd]), messages that are not in it are read and put into it.
#[derive(Debug, clap::Args)]
pub struct Index {
    #[command(flatten)]
    mailboxes: Mailboxes,
}

/// Make mailboxes sound that something happened to: their lists of UIDs are written anew, the quota is counted anew, leftovers go
///
/// UIDs that clients know stay. Where the list of UIDs was lost altogether, UIDs begin anew under another UIDVALIDITY.
#[derive(Debug, clap::Args)]
pub struct ForceResync {
    #[command(flatten)]
    mailboxes: Mailboxes,
}

#[derive(Debug, clap::Args)]
struct Mailboxes {
    #[command(flatten)]
    whose: Whose,
    /// Names, with * and %
    #[arg(value_name = "MASK", required = true)]
    masks: Vec<String>,
}

impl Index {
    pub fn run(&self, globals: &Globals) -> anyhow::Result<ExitCode> {
        self.mailboxes.each(globals, false)
    }
}

impl ForceResync {
    pub fn run(&self, globals: &Globals) -> anyhow::Result<ExitCode> {
        self.mailboxes.each(globals, true)
    }
}

impl Mailboxes {
    fn each(&self, globals: &Globals, resync: bool) -> anyhow::Result<ExitCode> {
        let mut signer = Signer::default();
        let masks: Vec<Mask> = self.masks.iter().map(|mask| Mask::new(mask)).collect();
        Post::open(globals, &self.whose)?.each(false, |post, person, account| {
            for name in chosen(account, &masks)? {
                post.screen.doing(&format!("{} {name}", person.name));
                let mut work = || {
                    let mailbox = account.open(&name)?;
                    let swept = if resync { mailbox.resync()? } else { 0 };
                    mailbox.mailbox_id()?;
                    if !resync {
                        while !mailbox.sign(Instant::now() + SLICE, |whole| signer.sign(&Message::parse(whole)))? {}
                    }
                    Ok((mailbox.snapshot().len(), swept))
                };
                match work() {
                    Ok((messages, swept)) => {
                        let value = json!({ "user": person.name, "mailbox": name.as_str(), "messages": messages, "leftovers": swept });
                        if post.screen.json {
                            post.screen.row(&person.name, value, "");
                        }
                    }
                    // deleted meanwhile
                    Err(Error::NoSuchMailbox) => {}
                    Err(error) => post.screen.failed(&person.name, &anyhow::Error::new(error).context(name.to_string())),
                }
            }
            if resync {
                account.recount_quota()?;
                post.tell_usage(person, account);
            }
            Ok(())
        })
    }
}
