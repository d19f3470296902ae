//! NAME
//!
//! authd - logins, the user database, and tables that live in databases
//!
//! SYNOPSIS
//!
//! authd [--config FILE | --root DIR]
//!
//! DESCRIPTION
//!
//! The other programs never see a stored password or a database. They relay what a client says for its login to authd, which
//! answers yes, no, or "cannot tell now"; ask it where an account's mail lies and as whom it is to be opened; and
//! ask it for the value of a key in a table. `facteur` has it add, change and delete domains, mailboxes and aliases:
//! authd is the only writer of the accounts database.
//!
//! Passwords come from the accounts database (PostfixAdmin's tables in SQLite) or text files (`passwd-file`), in the
//! order of the settings; likewise uid, gid, home and mail location. See `docs/authd.md` for schemes and examples.
//!
//! PROTOCOL
//!
//! On Unix sockets only, each of one kind (`[[authd.unix_listener]]`):
//!
//! - `client`: Dovecot's auth client protocol 1.2 with the mechanisms PLAIN and LOGIN. Postfix (`smtpd_sasl_type = dovecot`) and Exim
//!   can log people in here.
//! - `userdb`: Dovecot's auth master protocol 1.1: USER, PASS, LIST.
//! - `lookup`, `accounts`, `usage`: private, see `docs/ipc.md`.
//!
//! FILES
//!
//! - `/run/facteur/auth`, `userdb`, `lookup`, `accounts`, `usage`: the sockets
//! - `/var/lib/facteur/accounts.sqlite`: domain, mailbox, alias, alias_domain, quota2 as PostfixAdmin has them, last_login; with `-wal` and
//!   `-shm` beside it while authd runs
//! - passwd-files and SQL table files where the settings say
//!
//! SECURITY
//!
//! Runs as facteur-auth, without the network (a remote database needs a drop-in for its unit). It reads bytes of strangers: user names and
//! passwords, out of base64 and bounded, which are only compared, bound as parameters, or hashed. Whoever takes it over knows
//! all hashes and passwords that are typed, and can let anybody in; it can touch no mail and no queue.
//!
//! Checks run on a bounded number of threads; unknown users cost the same; failed logins are answered late, and later the more there
//! are from one address; see `auth_failure_delay` and `auth_penalty_after`. Passwords are never logged, and kept in memory only as a
//! keyed hash. Peers of the sockets `userdb` and `accounts` are looked at by their credentials, beside the socket's mode.
//!
//! STANDARDS
//!
//! RFC 4422 (SASL), RFC 4616 (PLAIN), RFC 4013 (SASLprep), RFC 9106 (Argon2). Dovecot's auth protocol as of 2.3.
//!
//! DIAGNOSTICS
//!
//! `login`, `login failed` (with `auth_verbose`) and `accounts changed` at info; `login could not be decided` at warn: a database or
//! a stored password is at fault, and the client was told to try again.
//!
//! SIGHUP reads the settings again; what is wrong keeps the old ones in force. Sockets are opened at start only. Text files are read
//! again by themselves when they change.
//!
//! BUGS
//!
//! Accounts in a MySQL or PostgreSQL database of PostfixAdmin can be looked up (`mysql:`, `pgsql:` tables) but do not log in yet. BLF-CRYPT compares
//! 72 bytes of a password, as everywhere. DES, yescrypt and PBKDF2 hashes are not understood.

fn main() -> std::process::ExitCode {
    daemon::main("authd", authd::run)
}
