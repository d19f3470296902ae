//! `facteur up`: the whole server in one folder, without privileges and without systemd.
//!
//! ```text
//! DIR/etc/facteur.toml   settings, written once and then left alone; conf.d/*.toml beside it
//! DIR/etc/tls/           a certificate that signs itself
//! DIR/spool DIR/state    queue; accounts (SQLite)
//! DIR/run                sockets
//! DIR/mail/DOMAIN/NAME/Maildir
//! ```
//! The supervisor binds all listening sockets, then starts the daemons and hands the sockets over. A daemon that dies is started
//! again at once (within half a second when it keeps dying); clients that come meanwhile wait in the backlog.

mod accounts;
mod certificate;
mod forward;
mod layout;
mod sockets;
mod spawn;
mod supervisor;

use crate::cli::Globals;
use accounts::NewAccount;
use anyhow::Context as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Run the whole server in a folder, on high ports of 127.0.0.1
///
/// Prints `ready` when all listen, and stops cleanly on SIGTERM and Ctrl-C. Settings and certificates are made in DIR when they
/// are not there. Ports: SMTP N+525, submission N+587 (STARTTLS) and N+465 (TLS), IMAP N+143 and N+993 (TLS), POP3 N+110 and N+995 (TLS).
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// An account to make when it is not there yet (its domain too)
    #[arg(long = "user", value_name = "NAME@DOMAIN:PASSWORD")]
    users: Vec<NewAccount>,
    /// The base that port numbers are added to, for settings that are written now
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u16).range(0..=64_540))]
    port_base: u16,
}

/// The folder when `--root` names none.
pub const DEFAULT_ROOT: &str = "./var";

pub async fn run(globals: Globals, arguments: Arguments) -> anyhow::Result<ExitCode> {
    // The server goes on when nobody reads its log any more.
    // SAFETY: to ignore a signal needs no handler.
    unsafe { nix::sys::signal::signal(nix::sys::signal::Signal::SIGPIPE, nix::sys::signal::SigHandler::SigIgn) }?;
    let file = match (&globals.root, &globals.config) {
        (None, Some(file)) => std::path::absolute(file)?,
        (root, _) => {
            let root = root.as_deref().unwrap_or(Path::new(DEFAULT_ROOT));
            let root = std::path::absolute(root)?;
            layout::prepare(&root, arguments.port_base)?
        }
    };
    let config = crate::commands::config::load(&file)?;
    layout::make_folders(&config)?;
    let binaries = binaries()?;
    let running = supervisor::start(&config, &binaries).await?;
    running.serve(arguments.users).await
}

/// The folder with the daemons: beside this program, in `../lib/facteur`, or in /usr/lib/facteur.
fn binaries() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find this program's own place")?;
    let beside = own.parent().unwrap_or(Path::new("/")).to_owned();
    let candidates = [beside.clone(), beside.join("../lib/facteur"), PathBuf::from("/usr/lib/facteur")];
    let found = candidates.iter().find(|folder| folder.join("smtpd").is_file());
    found.cloned().with_context(|| format!("the daemons are neither in {} nor in /usr/lib/facteur", beside.display()))
}
