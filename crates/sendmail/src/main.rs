//! NAME
//!     facteur-sendmail, sendmail, mailq, newaliases - hand mail of this machine to Facteur
//!
//! SYNOPSIS
//!     sendmail [--root DIR | --config FILE] [-i] [-f SENDER] [-F NAME] [-N dsn] [-R ret] [-V envid] [-v] RECIPIENT...
//!     sendmail -t [...]      recipients from To, Cc and Bcc
//!     sendmail -bs           SMTP on standard input and output
//!     mailq, sendmail -bp    what waits
//!     sendmail -q, -qR DOMAIN, -qI ID   try again now
//!     newaliases, sendmail -bi          check the tables
//!
//! DESCRIPTION
//!     For cron, PHP, mutt and whoever else runs sendmail(1). A message is read from standard input (until a line of one dot, unless
//!     `-i`), gets From, Date and Message-ID where it has none, loses its Bcc, and goes to smtpd's socket `submit`. Either all recipients
//!     are taken or nothing is sent, and the reason stands on standard error. When smtpd does not answer, or says that it
//!     cannot tell now, the message is kept in the folder `maildrop` of the queue, durable before this program ends; qmgr hands it to
//!     smtpd as soon as that answers. What smtpd then refuses comes back to the sender as a bounce.
//!
//!     With `-O requiretls` the message leaves only to hosts that prove who they are and take it under the same condition (REQUIRETLS,
//!     RFC 8689), or comes back. Options that other sendmails have and that mean nothing here are taken and ignored: -A -B -C -G -L -U -X
//!     -e -h -m -n -p -x, other words behind -O, and behind -o all but `-oi`.
//!     `-bd` is refused: systemd or `facteur up` starts the server.
//!
//! PROTOCOL
//!     SMTP over `submit`; the file format of `maildrop` is in docs/formats.md. `-bp`, `-q` and `-bi` run `facteur`.
//!
//! FILES
//!     /etc/facteur/facteur.toml, /run/facteur/submit, /var/spool/facteur/maildrop
//!
//! SECURITY
//!     Installed setgid facteur-drop, which may add files to `maildrop` and nothing else. It works with its caller's group, and takes the
//!     other one only while it makes such a file; with --root or --config, or to run `facteur`, it gives it up for good.
//!     The settings are read with its caller's rights: their files have to be readable by everybody, and a password must not stand in them
//!     (outbound.relayhost_password_file). No environment variable is read. Who the caller is comes from the kernel: the peer of the socket, or the owner of the file.
//!
//! DIAGNOSTICS
//!     sysexits(3): 0 sent or kept; 64 wrong arguments; 65 something is no address, or no message; 67 no such recipient; 69 refused;
//!     75 could not be kept now; 78 wrong settings.
//!
//! BUGS
//!     The message is held in memory, up to `message_size_limit`. `-bs` does nothing while smtpd is away.

fn main() -> std::process::ExitCode {
    sendmail::main()
}
