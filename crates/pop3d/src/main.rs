//! # NAME
//!
//! pop3d - gives mailboxes to POP3 clients
//!
//! # SYNOPSIS
//!
//! `pop3d [--config FILE | --root DIR]`
//!
//! # DESCRIPTION
//!
//! Serves the INBOX of each account on ports 110 (STLS) and 995 (TLS). Logins are checked by `authd` over its `auth` socket; where the mail lies is
//! asked over `userdb`. The mailbox is the Maildir that `deliver` and `imapd` use; nothing of it is copied. A session sees the messages that
//! were there when it began. Messages are deleted at QUIT, and at no other end of a session.
//!
//! Only one session at a time has a mailbox. The lock is the file `dovecot-pop3-session.lock`, as Dovecot has it, so that both can serve one store.
//!
//! The names in UIDL follow `pop3_uidl_format`, whose default is Dovecot's; ids and the order of messages that a migration to Dovecot wrote into
//! `dovecot-uidlist` (fields `P`, `O`) come first. After a move from Dovecot no client fetches its mail again. With `pop3_deleted_flag` messages that POP3
//! clients delete stay for IMAP clients.
//!
//! # PROTOCOL
//!
//! USER PASS AUTH (PLAIN, LOGIN, what `authd` offers) STLS CAPA UTF8 LANG STAT LIST UIDL RETR TOP DELE RSET NOOP QUIT, and LAST by `pop3_enable_last`. A
//! client may send many commands at once. Passwords are refused before TLS.
//!
//! # FILES
//!
//! `/etc/facteur/facteur.toml`, section `[pop3d]`; `/run/facteur/auth`, `userdb`, `usage`, `control/pop3d`.
//!
//! # SECURITY
//!
//! Runs as the owner of all mail. It parses bytes of strangers: at most 12 KiB of a line are kept, ten lines that are no commands end the
//! connection, 16 KiB of answers at most wait for a slow reader. It never sees how a password is checked. What can be damaged by a hole in it is mail.
//!
//! # STANDARDS
//!
//! RFC 1939 (POP3), RFC 2449 (CAPA), RFC 2595 (STLS), RFC 3206 (response codes), RFC 5034 (AUTH), RFC 6856 (UTF8, messages are not downgraded;
//! LANG), RFC 8314 (port 995), RFC 1460 (LAST).
//!
//! # DIAGNOSTICS
//!
//! One log line per login (`logged in`, `login failed`) and per end of a session (`session closed`) with what was fetched and deleted. A message
//! that will not be readable by itself is left out, and the log names it; while one cannot be read that may be later, logins are answered
//! `-ERR [SYS/TEMP]`, as clients that keep mail on the server take what is not listed for deleted.
//!
//! # BUGS
//!
//! APOP is not offered: it needs passwords in clear text on the server. Texts are English only (LANG). A message without a line end at its
//! end is sent with one: POP3 cannot say otherwise.

fn main() -> std::process::ExitCode {
    daemon::main("pop3d", pop3d::run)
}
