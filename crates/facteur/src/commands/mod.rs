//! The commands, one file each. To add one: its module, its variant in [`Command`], its line in [`run`].

pub mod account;
pub mod admin;
mod app_password;
pub mod auth;
pub mod backup;
pub mod completions;
pub mod config;
pub mod explain;
pub mod greylist;
pub mod import;
pub mod log;
pub mod mailbox;
pub mod man;
pub mod map;
pub mod messages;
pub mod queue;
pub mod quota;
pub mod reload;
pub mod restore;
pub mod resync;
pub mod status;
pub mod who;

use crate::cli::Cli;
use crate::up;
use anyhow::Context as _;
use std::future::Future;
use std::process::ExitCode;

/// The daemons in the order in which they are shown and started.
pub const DAEMONS: [&str; 6] = ["authd", "deliver", "qmgr", "smtpd", "imapd", "pop3d"];

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Up(up::Arguments),
    Status(status::Arguments),
    Reload(reload::Arguments),
    Config(config::Arguments),
    Domain(account::DomainArguments),
    User(account::UserArguments),
    Alias(account::AliasArguments),
    AliasDomain(account::AliasDomainArguments),
    Admin(admin::AdminArguments),
    Auth(auth::Arguments),
    Queue(queue::Arguments),
    Map(map::Arguments),
    Explain(explain::Arguments),
    Greylist(greylist::Arguments),
    Log(log::Arguments),
    Mailbox(mailbox::Arguments),
    Who(who::Who),
    Kick(who::Kick),
    Quota(quota::Arguments),
    Backup(backup::Arguments),
    Restore(restore::Arguments),
    Import(import::Arguments),
    Index(resync::Index),
    ForceResync(resync::ForceResync),
    // doveadm's words for what is also under `mailbox`
    #[command(hide = true)]
    Search(messages::SearchArguments),
    #[command(hide = true)]
    Fetch(messages::Fetch),
    #[command(hide = true)]
    Flags(messages::FlagsArguments),
    #[command(hide = true)]
    Move(messages::Move),
    #[command(hide = true)]
    Copy(messages::Copy),
    #[command(hide = true)]
    Save(messages::Save),
    #[command(hide = true)]
    Expunge(messages::Expunge),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

/// Carries a command out. Errors are for people; a `config::Report` among them means wrong settings.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let globals = cli.globals;
    match cli.command {
        Command::Up(arguments) => wait(up::run(globals, arguments)),
        Command::Status(arguments) => wait(status::run(globals, arguments)),
        Command::Reload(arguments) => wait(reload::run(globals, arguments)),
        Command::Config(arguments) => config::run(&globals, &arguments),
        Command::Domain(arguments) => wait(account::domain(globals, arguments)),
        Command::User(arguments) => wait(account::user(globals, arguments)),
        Command::Alias(arguments) => wait(account::alias(globals, arguments)),
        Command::AliasDomain(arguments) => wait(account::alias_domain(globals, arguments)),
        Command::Admin(arguments) => wait(admin::run(globals, arguments)),
        Command::Auth(arguments) => auth::run(&globals, arguments),
        Command::Queue(arguments) => wait(queue::run(globals, arguments)),
        Command::Map(arguments) => wait(map::run(globals, arguments)),
        Command::Explain(arguments) => wait(explain::run(globals, arguments)),
        Command::Greylist(arguments) => wait(greylist::run(globals, arguments)),
        Command::Log(arguments) => wait(log::run(globals, arguments)),
        Command::Mailbox(arguments) => mailbox::run(&globals, &arguments),
        Command::Who(arguments) => wait(who::who(globals, arguments)),
        Command::Kick(arguments) => wait(who::kick(globals, arguments)),
        Command::Quota(arguments) => quota::run(&globals, &arguments),
        Command::Backup(arguments) => backup::run(&globals, &arguments),
        Command::Restore(arguments) => restore::run(&globals, &arguments),
        Command::Import(arguments) => import::run(&globals, &arguments),
        Command::Index(arguments) => arguments.run(&globals),
        Command::ForceResync(arguments) => arguments.run(&globals),
        Command::Search(arguments) => arguments.run(&globals),
        Command::Fetch(arguments) => arguments.run(&globals),
        Command::Flags(arguments) => arguments.run(&globals),
        Command::Move(arguments) => arguments.run(&globals),
        Command::Copy(arguments) => arguments.run(&globals),
        Command::Save(arguments) => arguments.run(&globals),
        Command::Expunge(arguments) => arguments.run(&globals),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
    }
}

/// Runs a command that waits for sockets, on this thread. `up` relies on that: the kernel ends its daemons when the thread that
/// started them ends.
pub fn wait(command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?.block_on(command)
}
