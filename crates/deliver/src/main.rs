//! # NAME
//!
//! deliver - files mail into mailboxes
//!
//! # SYNOPSIS
//!
//! `deliver [--config FILE | --root DIR]`
//!
//! # DESCRIPTION
//!
//! The mail delivery agent: an LMTP server that `qmgr` (or a Postfix, by `lmtp:unix:…/lmtp`) hands mail to. For each recipient it asks `authd` over the
//! `userdb` socket where the mail lies, puts `Return-Path` and `Delivered-To` in front, and files the message as a new file of a Maildir in Dovecot's
//! dialect. What another system put as `Return-Path` goes away; a message that bears our own `Delivered-To` for the same recipient goes in circles and
//! is refused (5.4.6).
//!
//! 250 is said for a recipient once the file and its name are durable. Several messages at a time are made durable together (`mailstore`, "rounds"). Each
//! recipient gets its own answer: one that fails does not hold up the others. Missing mailboxes are made.
//!
//! Mail to `user+detail` goes to the INBOX of `user`, or to the mailbox `detail` by setting. Quota comes from the user database (`quota_rule` for `*`; 0 is no limit, and what it leaves out has none), else from the settings; `quota_warning` has the owner told in good time. It is
//! counted in `maildirsize`.
//!
//! # PROTOCOL
//!
//! LMTP (RFC 2033) with PIPELINING, 8BITMIME, SMTPUTF8, CHUNKING, ENHANCEDSTATUSCODES, DSN. To peers that run as a user of `lmtp_trusted_users`, or as
//! deliver itself, `XFACTEUR` is announced: `MAIL FROM:<…> XID=queue-id XTIME=seconds [XREPEAT]`. The name of the file then is made of queue id, time and
//! recipient, and a delivery marked `XREPEAT` is looked for before it is made: found in `new/` or `cur/` it is answered with 250 and not filed again.
//! Other peers' messages get names of their own.
//!
//! | reply | meaning |
//! |---|---|
//! | 250 2.0.0 | filed, durable |
//! | 550 5.1.1 | the user database does not know the recipient |
//! | 552 5.2.2 or 452 4.2.2 | over quota (`quota_full_tempfail`) |
//! | 554 5.4.6 | the message was delivered to this recipient before |
//! | 451 4.3.0 | no answer from the user database, or an error of the disk; nothing is left behind |
//! | 452 4.3.1 | the disk is full; nothing is left behind |
//!
//! # FILES
//!
//! `/etc/facteur/facteur.toml`, sections `[deliver]` and `[mail]`; `/run/facteur/lmtp`, `userdb`, `usage`, `control/deliver`; the Maildirs.
//!
//! # SECURITY
//!
//! Runs as the owner of all mail, with no network but Unix sockets unless told to. It trusts who may connect to its socket to say to whom mail goes, and
//! nobody about where: paths come from the user database and are checked, directories are opened without following links, names of mailboxes are encoded.
//! What can be damaged by a hole in it is mail.
//!
//! # STANDARDS
//!
//! RFC 2033 (LMTP), RFC 5321 §4.4 (Return-Path), RFC 5233 (subaddresses), RFC 3030 (BDAT), RFC 2034 (status codes); Maildir++.
//!
//! # DIAGNOSTICS
//!
//! One log line per recipient: `delivered` with `queue_id`, `to`, `user`, `mailbox`, `file` and `size`, or `not delivered` with the reason.
//!
//! # BUGS
//!
//! The UID of a message is not known when it is filed: the next IMAP or POP3 session gives it. A repeated delivery is not recognised when its owner has
//! moved the message to another mailbox or removed it meanwhile.

fn main() -> std::process::ExitCode {
    daemon::main("deliver", deliver::run)
}
