//! `facteur mailbox`: mailboxes and the messages in them, of one account or of many (doveadm mailbox, and doveadm's commands on messages).

mod names;

pub use names::{chosen, make};

use super::messages::{Copy, Expunge, Fetch, FlagsArguments, Move, Purge, Restore, Save, SearchArguments};
use crate::cli::Globals;
use crate::mail::Whose;
use clap::{Args, Subcommand};
use std::process::ExitCode;

/// Mailboxes and the messages in them
///
/// The daemons may run or not: the mail is worked on as they do, and clients that are connected see what happens. As root, this becomes
/// the owner of mail first.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: MailboxCommand,
}

#[derive(Debug, Subcommand)]
enum MailboxCommand {
    List(List),
    Status(Status),
    Create(Create),
    Rename(Rename),
    Delete(Delete),
    Subscribe(Subscribe),
    Unsubscribe(Subscribe),
    Search(SearchArguments),
    Fetch(Fetch),
    Flags(FlagsArguments),
    Move(Move),
    Copy(Copy),
    Save(Save),
    Expunge(Expunge),
    Restore(Restore),
    Purge(Purge),
}

/// List mailboxes
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    whose: Whose,
    /// Those subscribed to, whether they are there or not
    #[arg(short, long)]
    subscribed: bool,
    /// Names, with * for anything and % for anything but the separator [default: all]
    #[arg(value_name = "MASK")]
    masks: Vec<String>,
}

/// Count what is in mailboxes
#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    whose: Whose,
    /// All mailboxes of an account together
    #[arg(short, long)]
    total: bool,
    /// What to tell, several in one word or with commas: messages, unseen, recent, deleted, uidnext, uidvalidity, highestmodseq, guid, vsize,
    /// firstsaved; or all
    fields: String,
    /// Names, with * and % [default: all]
    #[arg(value_name = "MASK")]
    masks: Vec<String>,
}

/// Make mailboxes
#[derive(Debug, Args)]
pub struct Create {
    #[command(flatten)]
    whose: Whose,
    /// Subscribe to them, too
    #[arg(short, long)]
    subscribe: bool,
    #[arg(value_name = "MAILBOX", required = true)]
    names: Vec<String>,
}

/// Give a mailbox another name, and those below it
#[derive(Debug, Args)]
pub struct Rename {
    #[command(flatten)]
    whose: Whose,
    /// Change the subscription as well
    #[arg(short, long)]
    subscribe: bool,
    from: String,
    to: String,
}

/// Delete mailboxes with the messages in them
#[derive(Debug, Args)]
pub struct Delete {
    #[command(flatten)]
    whose: Whose,
    /// Those below, too
    #[arg(short, long)]
    recursive: bool,
    /// Only empty ones
    #[arg(short, long)]
    empty: bool,
    /// Unsubscribe from them, too
    #[arg(short = 's', long)]
    unsubscribe: bool,
    #[arg(value_name = "MAILBOX", required = true)]
    names: Vec<String>,
}

/// Change the list of subscriptions
#[derive(Debug, Args)]
pub struct Subscribe {
    #[command(flatten)]
    whose: Whose,
    #[arg(value_name = "MAILBOX", required = true)]
    names: Vec<String>,
}

pub fn run(globals: &Globals, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        MailboxCommand::List(list) => names::list(globals, list),
        MailboxCommand::Status(status) => names::status(globals, status),
        MailboxCommand::Create(create) => names::create(globals, create),
        MailboxCommand::Rename(rename) => names::rename(globals, rename),
        MailboxCommand::Delete(delete) => names::delete(globals, delete),
        MailboxCommand::Subscribe(names) => names::subscribe(globals, names, true),
        MailboxCommand::Unsubscribe(names) => names::subscribe(globals, names, false),
        MailboxCommand::Search(search) => search.run(globals),
        MailboxCommand::Fetch(fetch) => fetch.run(globals),
        MailboxCommand::Flags(flags) => flags.run(globals),
        MailboxCommand::Move(arguments) => arguments.run(globals),
        MailboxCommand::Copy(arguments) => arguments.run(globals),
        MailboxCommand::Save(save) => save.run(globals),
        MailboxCommand::Expunge(expunge) => expunge.run(globals),
        MailboxCommand::Restore(restore) => restore.run(globals),
        MailboxCommand::Purge(purge) => purge.run(globals),
    }
}
