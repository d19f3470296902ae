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
//!     domain, user, alias, alias-domain   the accounts that authd keeps; `user app-password` makes passwords for single apps
//!     queue       what waits to be delivered: list, histogram, cat, flush, hold, release, requeue, expire, delete
//!     map         what a lookup table answers, which there are, whether they are sound
//!     greylist    who has to come again, and who is known to greylisting
//!     auth        hash passwords, and try logins
//!     mailbox     list, status, create, rename, delete, subscribe, unsubscribe; and of messages search, fetch, flags, move, copy, save, expunge, restore, purge
//!     quota       get, recalc: what accounts hold
//!     backup, restore, import   accounts as a whole, to a tar or a folder and back; messages of another Maildir, or of mboxes
//!     index, force-resync   mailboxes made ready, or sound
//!     who, kick   sessions of imapd, pop3d and smtpd
//!     log         reopen, find, errors
//!     explain     what would become of a message, rule by rule
//!     completions, man   for shells and man(1)
//!
//! MAIL
//!     The commands on mail take `-u USER` (`*` and `?` for several), `-A` for all accounts, or `-F FILE`. The daemons may run or not: the same locks
//!     hold, and sessions see what happens. What goes wrong with one account is told, and the others have their turn. doveadm's own words do as well:
//!     `facteur expunge -A mailbox Trash savedbefore 15d` is `facteur mailbox expunge …`. They print nothing when all went well, for cron; with
//!     `--json` a row for each mailbox or message; on a terminal, how far they are.
//!
//!     Queries are those of doveadm-search-query(7): ALL, sets of numbers, UID, MAILBOX (with `*` and `%`), MAILBOX-GUID, GUID, FROM, TO, CC, BCC, SUBJECT,
//!     HEADER, BODY, TEXT, SEEN, ANSWERED, FLAGGED, DELETED, DRAFT and UN…, NEW, OLD, RECENT, KEYWORD, UNKEYWORD, LARGER, SMALLER (`50k`, `1M`), BEFORE, ON,
//!     SINCE, SENT…, SAVED… (`2026-11-23`, `23-Nov-2026`, seconds since 1970, an age such as `15d`, `2w`, `12h`), NOT, and OR between keys. Keys side by
//!     side all have to hold; they mix with OR only in parentheses, which are words of their own: `mailbox Trash \( seen OR flagged \)`. `expunge`
//!     wants the mailboxes named.
//!
//!     `mimepart KEY` means messages that have such a part, in Dovecot's words: TYPE, SUBTYPE, PARAM, DISPOSITION TYPE and PARAM, FILENAME IS, CONTAINS, BEGINS and ENDS,
//!     ENCODING, ID, DESCRIPTION, LANGUAGE, LOCATION, MD5, SIZE, DEPTH, INDEX, HEADER, BODY, TEXT, PARENT and CHILD; FROM, SUBJECT, SENTON … of messages inside. So
//!     `mimepart \( type application filename ends .exe \)`. `inthread refs KEY` (or references, orderedsubject) means all of a thread that has such a message.
//!
//!     With `mail.lazy_expunge_time`, `facteur mailbox restore -u ann --list --since 2h` shows what was removed and is still kept, and without `--list` brings
//!     it back: to the mailbox it was in, which is made again where it is gone, with its flags but for \Deleted, if the quota has room. Rights and annotations
//!     of a mailbox that was deleted do not come back. `facteur mailbox purge -A` from cron removes for good what is old in accounts that nobody uses.
//!
//!     A backup has each mailbox as it was at one moment: UIDVALIDITY, UIDs, flags, keywords, rights, annotations, then subscriptions and the Sieve scripts
//!     of the home. It is a tar, or a folder, whose `Maildir` Dovecot can serve too. Not in it: MODSEQs; clients with CONDSTORE ask for all flags once
//!     after `restore`. That replaces mailboxes with messages only with `--replace`, and asks no quota. Mail that comes afterwards has UIDs above all
//!     that may have been given since the backup was made. A Maildir of another program, in either layout, can be restored from as well; where there is no
//!     dovecot-uidlist, messages get new UIDs, and that is told.
//!
//!     `import` takes a Maildir, or mboxes: `mbox:/var/mail/ann` as INBOX, `mbox:/home/ann/mail:INBOX=/var/mail/ann` with each file as the mailbox of its path. Flags
//!     come from Status and X-Status, keywords from X-Keywords, the date from the line that begins a message; these fields go, and one `>` of `>From `.
//!     Content-Length is not believed. They are unpacked into `tmp` of the account first, which takes
//!     as much room as they have; what a query does not mean goes again.
//!
//! PROTOCOL
//!     The daemons' control sockets (`ipc::control`) and authd's `accounts` socket (`ipc::accounts`); for mail its `userdb` and `usage` sockets. `up` passes listening sockets as
//!     systemd does (sd_listen_fds(3)) and hears of readiness by sd_notify(3).
//!
//! FILES
//!     /etc/facteur/facteur.toml, or DIR/etc/facteur.toml with --root. /run/facteur/control/DAEMON, or DIR/run/control/DAEMON.
//!
//! SECURITY
//!     Runs as whoever calls it and has that person's rights: the modes of the sockets decide what it may ask for. Passwords given
//!     by `--user` stand in the process list while `up` runs; they are meant for trials and tests.
//!
//!     Commands on mail become the owner of all mail (`mail.mail_uid`; where that is 0, whom authd names) before they open a path of it, and for good: a
//!     link among mail leads nowhere that this user could not go. Files that the caller names (`save`, `backup`, `restore` of a tar) are opened before.
//!     A folder to restore from is read as the owner of mail; mboxes are opened before, and no link below their folder is followed.
//!
//! DIAGNOSTICS
//!     Exit code 0: done. 1: a daemon or the system said no. 2: wrong arguments or wrong settings.
//!
//! BUGS
//!     `fetch` has no storageid and no sections of named header fields. MODSEQs are not backed up.
//!     `up` has no log rotation of its own; give `log.file` and send SIGUSR1, or use systemd.

fn main() -> std::process::ExitCode {
    facteur::main()
}
