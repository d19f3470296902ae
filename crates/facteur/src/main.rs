//! NAME
//!     facteur - everything an administrator of a Facteur mail server does by hand
//!
//! SYNOPSIS
//!     facteur [--root DIR | --config FILE] [--json] COMMAND
//!
//! DESCRIPTION
//!     `facteur up` runs the whole server unprivileged in one folder, as its supervisor. The other commands speak to running
//!     daemons or read settings; `facteur help` lists them, `facteur help COMMAND` explains one.
//!
//!     up          run the six daemons in a folder, on high ports of 127.0.0.1
//!     status      each daemon: process, age, sessions, last reload
//!     reload      read settings, tables and certificates again
//!     config      show settings, check them
//!     domain, user, alias, alias-domain   the accounts that authd keeps
//!     queue       what waits to be delivered: list, histogram, cat, flush, hold, release, requeue, expire, delete
//!     map         what a lookup table answers, which there are, whether they are sound
//!     greylist    who has to come again, and who is known to greylisting
//!     auth        hash passwords, and try logins
//!     explain     what would become of a message, rule by rule
//!     completions, man   for shells and man(1)
//!
//! PROTOCOL
//!     The daemons' control sockets (`ipc::control`) and authd's `accounts` socket (`ipc::accounts`). `up` passes listening sockets as
//!     systemd does (sd_listen_fds(3)) and hears of readiness by sd_notify(3).
//!
//! FILES
//!     /etc/facteur/facteur.toml, or DIR/etc/facteur.toml with --root. /run/facteur/control/DAEMON, or DIR/run/control/DAEMON.
//!
//! SECURITY
//!     Runs as whoever calls it and has that person's rights: the modes of the sockets decide what it may ask for. Passwords given
//!     by `--user` stand in the process list while `up` runs; they are meant for trials and tests.
//!
//! DIAGNOSTICS
//!     Exit code 0: done. 1: a daemon or the system said no. 2: wrong arguments or wrong settings.
//!
//! BUGS
//!     `up` has no log rotation of its own; give `log.file` and send SIGUSR1, or use systemd.

fn main() -> std::process::ExitCode {
    facteur::main()
}
