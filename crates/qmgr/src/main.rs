//! NAME
//!     qmgr - Facteur's queue manager
//!
//! SYNOPSIS
//!     qmgr [--config FILE | --root DIR]
//!
//! DESCRIPTION
//!     qmgr owns the queue. It learns from smtpd where each accepted message lies, expands aliases once, finds the
//!     route of every recipient, and delivers: by LMTP to deliver (or to another LMTP server), by SMTP to other hosts. What
//!     fails for the moment is tried again with growing waits; what fails for good, or is too old, is reported to its sender.
//!
//!     The usual message is delivered from memory and never has a file of its own. It gets one, `queue/XX/ID`, when its first
//!     attempt failed, when it is held, or when it is large. What became of each message is journalled.
//!
//!     Many destinations take turns; each begins with a few deliveries at a time and gets more with success; one that cannot be
//!     reached is left alone for `minimal_backoff_time`. When deliver or authd is away, mail for it waits and is tried about
//!     every second (`partner_retry_time`), and no attempt is counted. After ten such tries mail for deliver, or for another
//!     LMTP server at a Unix socket, is deferred like any other, and goes on as soon as the server greets again; a message whose
//!     tables could not tell is deferred like any other after eight. No destination may take more than three quarters of the
//!     places and of the memory for bodies, nor may all destinations of a transport with a limit or pause of its own together.
//!
//!     Who asks for mail to be tried now (`facteur queue flush`, ETRN) has destinations tried as well that were found dead before,
//!     but only those of the messages or of the domain that was asked for.
//!
//!     While outcomes cannot be written, on a broken disk, only deliver gets mail, which recognises what it has had: to other
//!     hosts all of it would go once more after a restart. A full disk does not come to that: room for outcomes is kept.
//!
//! PROTOCOL
//!     The socket `queue` in `run_directory`: smtpd's hints (crate ipc, queue.rs).
//!     The socket `control/qmgr`: `facteur status`, `reload`, `queue list|cat|flush|hold|release|delete|requeue|expire`.
//!     As a client: LMTP (RFC 2033), SMTP (RFC 5321) with PIPELINING, STARTTLS, 8BITMIME, SMTPUTF8, DSN,
//!     XFORWARD (`smtp_send_xforward_command`); DNS; authd's `lookup`.
//!
//! FILES
//!     spool/journal/*.segment     read only; smtpd's
//!     spool/queue/in/ID           large messages from smtpd; they stay there until they are removed
//!     spool/queue/XX/ID           messages that wait
//!     spool/queue/outcomes/*      the journal of outcomes
//!     spool/maildrop/*            letters of `sendmail` while smtpd is away; handed to smtpd as soon as it answers
//!     spool/corrupt/*             what was damaged; look at it, then remove it by hand
//!     The formats are described in docs/formats.md and at the top of the files of crate spool that own them.
//!
//! SECURITY
//!     Runs as facteur-queue, without any privilege. Reads replies and DNS answers of strangers, and the envelope of mail
//!     that anybody may send; trusts smtpd, known by its uid (`queue_trusted_users`), to have written valid records, and checks each all the same. Can lose or repeat
//!     mail in the queue, and read it; cannot read mailboxes or passwords. Never runs a program.
//!
//! STANDARDS
//!     RFC 5321 §4.5.4 (retry strategies), RFC 3461 and RFC 3464 (delivery status notifications), RFC 3463 (status codes),
//!     RFC 2852 (deliver by), RFC 4865 (future release: such a message is `asleep`), RFC 6710 and RFC 6758 (priorities), RFC 8689 (REQUIRETLS).
//!
//! DIAGNOSTICS
//!     One line per event and recipient: `queued`, `delivered`, `deferred`, `bounced`, `expired`, `removed`, with `queue_id`, `to`,
//!     `relay`, `delay`, `dsn`, `status`. Errors name the file or host. A damaged record or file is an error in the log
//!     and is kept in `corrupt/`.
//!
//! BUGS
//!     While smtpd is down after having been killed, the last batch it had written waits for its next start.
//!     The queue in memory is not bounded by a setting: about 150 bytes per message that waits.
//!     A letter in `maildrop` waits as a whole while one of its recipients cannot be judged, `maximal_queue_lifetime` at most.

fn main() -> std::process::ExitCode {
    daemon::main("qmgr", qmgr::run)
}
