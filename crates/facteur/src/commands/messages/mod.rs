//! Messages that a query means: found, shown, changed, moved, removed. Under `facteur mailbox`, and by the same words as doveadm's.

mod change;
mod expunged;
mod fetch;
mod fields;
mod save;

pub use save::unnamed;

use crate::mail::Whose;
use clap::{Args, ValueEnum};
use fetch::Format;

/// Print where messages are: the GUID of the mailbox, and the UID
#[derive(Debug, Args)]
pub struct SearchArguments {
    #[command(flatten)]
    whose: Whose,
    /// Which messages, as in doveadm-search-query(7): mailbox Trash savedbefore 15d
    #[arg(required = true)]
    query: Vec<String>,
}

/// Print messages, or what is known of them
#[derive(Debug, Args)]
pub struct Fetch {
    #[command(flatten)]
    whose: Whose,
    #[arg(short, long, value_enum, default_value_t = Format::Pager)]
    format: Format,
    /// What to print, several in one word or with commas: user, mailbox, mailbox-guid, seq, uid, guid, flags, modseq, date.received, date.saved,
    /// date.sent (each also with .unixtime), size.physical, size.virtual, refcount, pop3.uidl, pop3.order, hdr, hdr.NAME, hdr.NAME.address,
    /// hdr.NAME.address_name, body, body.preview, body.1.2, body.1.2.MIME, binary.1.2, text, text.utf8, imap.envelope, imap.body, imap.bodystructure
    fields: String,
    /// Which messages
    #[arg(required = true)]
    query: Vec<String>,
}

/// Change flags and keywords of messages
#[derive(Debug, Args)]
pub struct FlagsArguments {
    #[command(flatten)]
    whose: Whose,
    #[arg(value_enum)]
    how: How,
    /// Flags and keywords in one word: '\Seen $Forwarded'; nothing ('') to replace them by none
    flags: String,
    /// Which messages
    #[arg(required = true)]
    query: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum How {
    Add,
    Remove,
    Replace,
}

/// Move messages to another mailbox
#[derive(Debug, Args)]
pub struct Move {
    #[command(flatten)]
    to: Destination,
}

/// Copy messages to another mailbox
#[derive(Debug, Args)]
pub struct Copy {
    #[command(flatten)]
    to: Destination,
}

#[derive(Debug, Args)]
struct Destination {
    #[command(flatten)]
    whose: Whose,
    /// Make the mailbox where it is not there
    #[arg(short, long)]
    create: bool,
    /// The mailbox that messages go to
    mailbox: String,
    /// Which messages; `user NAME` in front: those of another account
    #[arg(required = true)]
    query: Vec<String>,
}

/// Put messages into a mailbox, from files or from standard input
#[derive(Debug, Args)]
pub struct Save {
    #[command(flatten)]
    whose: Whose,
    #[arg(short, long, default_value = "INBOX")]
    mailbox: String,
    /// Flags and keywords in one word
    #[arg(long, default_value = "")]
    flags: String,
    /// When they came, as in queries [default: now]
    #[arg(long, value_name = "DATE")]
    received: Option<String>,
    /// One message each; standard input where none is given
    #[arg(value_name = "FILE")]
    files: Vec<std::path::PathBuf>,
}

/// Remove messages: expunge -A mailbox Trash savedbefore 15d
///
/// The query has to name the mailboxes, whichever way a message fits it.
#[derive(Debug, Args)]
pub struct Expunge {
    #[command(flatten)]
    whose: Whose,
    /// Delete mailboxes that are empty then
    #[arg(short, long)]
    delete_empty: bool,
    /// Count only what would be removed
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Which messages
    #[arg(required = true)]
    query: Vec<String>,
}

/// Bring back messages that were removed, as long as they are kept (mail.lazy_expunge_time)
///
/// They go to the mailboxes they were in, which are made again where they are gone, with their flags but for \Deleted.
#[derive(Debug, Args)]
pub struct Restore {
    #[command(flatten)]
    whose: Whose,
    /// Only show them: when each was removed, its mailbox, size, sender and subject
    #[arg(short, long)]
    list: bool,
    /// Of mailboxes of this name, with * and %
    #[arg(short, long, value_name = "MASK")]
    mailbox: Vec<String>,
    /// That were removed since then, as in queries: 2h, 2026-11-23
    #[arg(short, long, value_name = "TIME")]
    since: Option<String>,
    /// Which messages [default: all]
    query: Vec<String>,
}

/// Remove for good what was removed and has been kept long enough (mail.lazy_expunge_time); the daemons do so for accounts that are used
#[derive(Debug, Args)]
pub struct Purge {
    #[command(flatten)]
    whose: Whose,
    /// All that is kept, however young
    #[arg(long)]
    everything: bool,
}
