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
//! ## Restrictions
//!
//! Each stage has a list: `smtpd_client_restrictions`, `_helo_`, `_sender_`, `_relay_`, `_recipient_`, `_data_`, `_end_of_data_`, `_etrn_`. It is read from left
//! to right with Postfix's meaning (postconf(5)); the first restriction that decides, decides, and `permit` ends its own list only. They know
//!
//! - `permit` `reject` `defer` `defer_if_permit` `defer_if_reject` `warn_if_reject` `sleep 5` and the names of `smtpd_restriction_classes`;
//! - `permit_mynetworks` `permit_sasl_authenticated` `permit_tls_clientcerts` `permit_auth_destination` `permit_mx_backup` `reject_unauth_destination` `defer_unauth_destination`
//!   `reject_unlisted_recipient` `reject_unlisted_sender`;
//! - `reject_unknown_client_hostname` `reject_unknown_reverse_client_hostname` `reject_invalid_helo_hostname` `reject_non_fqdn_helo_hostname`
//!   `reject_unknown_helo_hostname` `reject_non_fqdn_sender` `reject_non_fqdn_recipient` `reject_unknown_sender_domain` `reject_unknown_recipient_domain`;
//! - `reject_sender_login_mismatch`, also with `authenticated_`, `unauthenticated_` and `known_` before `sender`; `reject_unauth_pipelining`
//!   `reject_multi_recipient_bounce` `reject_plaintext_session`;
//! - `reject_rbl_client` `reject_rhsbl_client` `reject_rhsbl_reverse_client` `reject_rhsbl_helo` `reject_rhsbl_sender` `reject_rhsbl_recipient` `permit_dnswl_client`
//!   `permit_rhswl_client`, each with a list, `list.test` or `list.test=127.0.0.[2..11;13]`;
//! - `check_client_access` `check_reverse_client_hostname_access` `check_helo_access` `check_sender_access` `check_recipient_access` `check_sasl_access`
//!   `check_etrn_access`, each with a table; all but the last two also as `check_sender_mx_access`, `_ns_`, `_a_`;
//! - `check_greylist`;
//! - `check_policy_service inet:host:port`, `unix:path` or `{ inet:host:port, timeout=10s, default_action=DUNNO }`.
//!
//! An access table answers OK, REJECT, DEFER, DEFER_IF_PERMIT, DEFER_IF_REJECT, a code with a text, HOLD, DISCARD, REDIRECT, BCC, PREPEND, WARN, INFO, DUNNO, FILTER, or
//! restrictions without arguments and classes. FILTER transport:destination sends the message to a content filter, as
//! `content_filter` does for all. Where Postfix passes by what it cannot look up
//! (`check_sender_mx_access`), mail is deferred here. Unlike there `relay_domains_reject_code` is 550.
//!
//! A DNS list cannot reject the world: without a pattern only answers in 127.0.0.0/16 count, and of those not 127.0.0.1 and none that ends in 255; 127.255.255.0/24 and
//! what is not in 127.0.0.0/8 is never a listing. A list that has not 127.0.0.2 or has 127.0.0.1 (one of domains: has `invalid`) is suspended, with one warning,
//! and tested again after ten minutes (`dnsbl_self_test`).
//!
//! `check_greylist` tells a client that comes with an unknown triplet of network (/24, IPv6 /64), sender and recipient to come again (450 4.2.0), as
//! postgrey does; section `[greylist]` has the times and exceptions. It is off until a list has it; put it last, behind `permit_dnswl_client` and what else
//! vouches for clients. Clients of `mynetworks`, logins, services with AUTH and recipients that would be refused anyway are left alone; the tags of VERP, BATV and
//! SRS senders do not count. `facteur greylist list` and `clear` show and empty its memory, which survives a restart.
//!
//! ## Before the greeting, and limits
//!
//! With `postscreen_greet_action` an unknown client gets the first line of the greeting and waits; who speaks meanwhile, or has
//! `postscreen_dnsbl_threshold` points in `postscreen_dnsbl_sites`, is sent away (`drop`) or refused at RCPT (`enforce`). Services with AUTH and `mynetworks` are left alone.
//! The rate limits (`smtpd_client_message_rate_limit` and its kin) count by address, IPv6 by /64.
//!
//! XCLIENT and XFORWARD are for the hosts of `smtpd_authorized_xclient_hosts` and `_xforward_hosts`; a PROXY header, version 1 or 2, is read with
//! `smtpd_upstream_proxy_protocol = "haproxy"`. ETRN flushes domains of `fast_flush_domains`.
//!
//! # PROTOCOL
//!
//! HELO EHLO MAIL RCPT DATA BDAT RSET NOOP VRFY (252) ETRN HELP STARTTLS AUTH QUIT, with PIPELINING, SIZE, 8BITMIME, SMTPUTF8, ENHANCEDSTATUSCODES,
//! CHUNKING, DSN. Only CRLF.CRLF ends DATA; a CR or LF alone becomes CRLF, or refuses the message (`smtpd_forbid_bare_newline`). A login is
//! relayed to `authd`, or to whoever listens at `smtpd_sasl_path` (Dovecot's protocol).
//!
//! # FILES
//!
//! `/etc/facteur/facteur.toml`, section `[smtpd]`, and the tables it names; `/var/spool/facteur/journal`, `queue/in`;
//! `/run/facteur/auth`, `lookup`, `queue`, `submit`, `control/smtpd`. `/var/lib/facteur/smtpd/greylist`: who is known to `check_greylist`, as text.
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
//! RFC 5321 (SMTP), RFC 6409 (submission), RFC 8314 (port 465), RFC 2920, 1870, 6152, 6531, 2034, 3030, 3207, 3461,
//! 4954, 2852 (DELIVERBY), 4865 (FUTURERELEASE, for logins), 6710 (MT-PRIORITY), 6758 (`smtpd_priority_header`), 8689 (REQUIRETLS), 9422 (LIMITS), 7505 (null MX), 8601 §5 (foreign results).
//!
//! # DIAGNOSTICS
//!
//! One log line per message (`received`, with its queue id), per refusal (`rejected`, with setting, restriction and table line), per
//! login (`logged in`, `login failed`), per session that ended badly (`timeout`, `lost connection`). With the classes `policy`, `protocol`, `resource` and
//! `software` in `notify_classes` the postmaster gets the transcript of such sessions, at most `error_notice_rate_limit` in an hour.
//!
//! # BUGS
//!
//! The name of a client is looked up while it talks, and waited for when it is needed. A client that speaks before the greeting is noticed only
//! when it sends more than one command ahead. A service that is new in the settings, or listens elsewhere, waits for the next start.
//! Clients that passed the tests before the greeting are forgotten when smtpd stops.
//! Connections behind a proxy are counted for the proxy in `smtpd_client_connection_count_limit`. Each question to a policy service takes a connection of its own.

fn main() -> std::process::ExitCode {
    daemon::main("smtpd", smtpd::run)
}
