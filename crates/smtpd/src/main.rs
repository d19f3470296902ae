//! # NAME
//!
//! smtpd - receives mail
//!
//! # SYNOPSIS
//!
//! `smtpd [--config FILE | --root DIR]`
//!
//! # DESCRIPTION
//!
//! Speaks SMTP on port 25 (mail from other servers), 587 (submission, STARTTLS), 465 (submission, TLS from the first byte) and on the Unix
//! socket `submit` (the `sendmail` command). Each of these is a service; any setting of `[smtpd]` can be set for one of them alone
//! in `[smtpd.service.NAME]`, as `-o` in Postfix's master.cf.
//!
//! Whether a message is wanted is decided by the restriction lists (`smtpd_recipient_restrictions` and its kin, with Postfix's
//! words) and by the same routing tables that qmgr delivers by: unknown users are refused at RCPT. An accepted message gets a Received field,
//! on submission also the Date, Message-ID and From that it lacks; its Bcc is removed there. There the sender and the addresses in the
//! From header have to be the login's own, too. `Authentication-Results` that speak in our name are removed, unless a host of `mynetworks`
//! has sent them. The message is written to the spool, and 250 is said when it is on disk. qmgr is told; when qmgr is away, mail is accepted all the same.
//!
//! # PROTOCOL
//!
//! HELO EHLO MAIL RCPT DATA BDAT RSET NOOP VRFY (252) HELP STARTTLS AUTH QUIT, with PIPELINING, SIZE, 8BITMIME, SMTPUTF8, ENHANCEDSTATUSCODES,
//! CHUNKING, DSN. Only CRLF.CRLF ends DATA; a CR or LF alone becomes CRLF, or refuses the message (`smtpd_forbid_bare_newline`). A login is
//! relayed to `authd`, or to whoever listens at `smtpd_sasl_path` (Dovecot's protocol).
//!
//! # FILES
//!
//! `/etc/facteur/facteur.toml`, section `[smtpd]`, and the tables it names; `/var/spool/facteur/journal`, `queue/in`;
//! `/run/facteur/auth`, `lookup`, `queue`, `submit`, `control/smtpd`.
//!
//! # SECURITY
//!
//! Runs as `facteur-smtp`. It parses bytes of strangers and trusts no name that a client gives. It sees passwords pass by on
//! their way to the SASL server, and never checks one; it cannot read mailboxes. A hole in it could damage the spool and forge mail.
//! What a client can cost is bounded: 4 KiB of a command; of a message in memory what `journal_message_limit` and, for its
//! header, `smtpd_message_header_limit` allow; the time of `smtpd_timeout` per command and of `smtpd_min_data_rate` for a message, errors, recipients and connections by their limits.
//! Chunks (BDAT) buy time by their octets only, and the rest of a message that is too large buys none.
//! Whoever reaches the `submit` socket may send mail; who it is is asked of the kernel and logged, and one user has
//! `smtpd_local_connection_count_limit` connections of all.
//!
//! # STANDARDS
//!
//! RFC 5321 (SMTP), RFC 6409 (submission), RFC 8314 (port 465), RFC 2920, 1870, 6152, 6531, 2034, 3030 (without BINARYMIME), 3207, 3461,
//! 4954, 7505 (null MX), 8601 §5 (foreign results).
//!
//! # DIAGNOSTICS
//!
//! One log line per message (`received`, with its queue id), per refusal (`rejected`, with setting, restriction and table line), per
//! login (`logged in`, `login failed`), per session that ended badly (`timeout`, `lost connection`).
//!
//! # BUGS
//!
//! The name of a client is looked up while it talks, and waited for when it is needed. A client that speaks before the greeting is noticed only
//! when it sends more than one command ahead. A service that is new in the settings, or listens elsewhere, waits for the next start.

fn main() -> std::process::ExitCode {
    daemon::main("smtpd", smtpd::run)
}
