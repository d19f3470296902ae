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
//! Passwords come from the accounts database (PostfixAdmin's tables, in our SQLite file or in PostfixAdmin's own database in MariaDB, MySQL or
//! PostgreSQL), queries of the administrator's own (`sql`, as in Dovecot's `dovecot-sql.conf.ext`) or text files (`passwd-file`), in the
//! order of the settings; likewise uid, gid, home and mail location. See `docs/webmail.md` for PostfixAdmin. Where authd was built with
//! `--features ldap` they come from a directory too (`ldap`, see DIRECTORIES).
//!
//! PROTOCOL
//!
//! On Unix sockets only, each of one kind (`[[authd.unix_listener]]`):
//!
//! - `client`: Dovecot's auth client protocol 1.2 with the mechanisms below. Postfix (`smtpd_sasl_type = dovecot`) and Exim
//!   can log people in here.
//!   A field `realm=` of ours names the domain of names that clients type without one (`smtpd_sasl_local_domain`); without it, `auth_default_realm` holds.
//! - `userdb`: Dovecot's auth master protocol 1.1: USER, PASS, LIST.
//! - `lookup`, `accounts`, `usage`: private, see `docs/ipc.md`.
//!
//! MECHANISMS
//!
//! `auth_mechanisms` names those that are offered. Whether a client may use one that shows the password (PLAIN, LOGIN) before TLS is smtpd's, imapd's and
//! pop3d's to say (`smtpd_tls_auth_only`, `smtpd_sasl_security_options`, `disable_plaintext_auth`).
//!
//! - PLAIN, LOGIN: every stored password serves.
//! - SCRAM-SHA-256, SCRAM-SHA-1: stored as `{SCRAM-SHA-256}`, `{SCRAM-SHA-1}` or `{PLAIN}`; others are told the password is wrong. With
//!   `-PLUS` bound to the TLS connection (tls-exporter, tls-server-end-point); these are offered by our own programs only.
//! - CRAM-MD5: stored as `{CRAM-MD5}` or `{PLAIN}`. For old devices.
//! - EXTERNAL: the name in the client's TLS certificate (its email address in subjectAltName, else its common name), when an authority in `tls.ca_file`
//!   vouches for it and `tls.auth_ssl_username_from_cert` is set. Clients of IMAP and POP3 are asked for one with `tls.ssl_verify_client_cert`, those of SMTP
//!   with `smtpd_tls_ask_ccert`; the mechanism is offered to those that showed one. Whom the certificate names has to be in a passdb. Revocation
//!   lists are not read: take the name out of the passdb, or give the authority another key.
//! - OAUTHBEARER, XOAUTH2: a token that is a JWT signed with a key of `oauth2_key_file`, or that the provider at `oauth2_introspection_url` calls
//!   active (over https, its certificate verified by those of the system or `oauth2_tls_ca_cert_file`); made for `oauth2_audience`, by one of `oauth2_issuers`, with `oauth2_scope`. The user has to be in a passdb; the password there does not matter.
//!
//! Somebody who is not there gets a salt too, always the same one: made from the name with a secret in `scram-secret`.
//!
//! SEVERAL SOURCES
//!
//! `[[authd.passdb]]` are asked in order, by default until one finds the password right; `skip` and the three `result_…` settings are Dovecot's. One with
//! `deny = true` refuses whom it lists, in upper or lower case, by the name that was given and by the one that another source makes of it; it has to
//! stand first. One with `master = true` has master users: with `auth_master_user_separator = "*"`
//! `ann*root` and root's password open ann's mail, as does PLAIN with ann as authorization identity. A database that is away decides nothing
//! unless another passdb says yes. For SCRAM and CRAM-MD5 a passdb says yes when it has the user's password in a form that serves; the first such
//! form is compared with, the rules are the same, and there are no master users.
//!
//! `[[authd.userdb]]` have `skip` and the `result_…` settings too: with `result_success = "continue-ok"` the fields of the next one are added. Other
//! than in Dovecot `result_internalfail` is `return` unless set: mail of a user whom a database knows that is away is not put elsewhere.
//!
//! The userdb `passwd` knows the people of the system (getpwnam(3), uid from 1000 on) and their homes, which `args = "home=/home/vmail/%u"` replaces; their mail
//! belongs to `mail_uid` as all mail does. As they have no domain it wants `auth_username_format = "%Ln"`. Those in `/etc/passwd` can be listed.
//!
//! ```toml
//! [authd]
//! auth_master_user_separator = "*"
//! [[authd.passdb]]
//! driver = "passwd-file"
//! args = "denied"
//! deny = true
//! [[authd.passdb]]
//! driver = "passwd-file"
//! args = "masters"
//! master = true
//! [[authd.passdb]]
//! driver = "accounts"
//! ```
//!
//! DIRECTORIES
//!
//! `driver = "ldap"` with `args = "dovecot-ldap.conf.ext"` reads Dovecot's file as it is, for passdb and userdb. It is not in a plain build: `cargo build
//! --release -p authd --features ldap` has it.
//!
//! ```text
//! uris = ldap://ldap.example.org
//! tls = yes
//! dn = cn=mail,dc=example,dc=org
//! dnpass = secret
//! base = ou=people,dc=example,dc=org
//! auth_bind = yes
//! pass_filter = (&(objectClass=inetOrgPerson)(mail=%u))
//! pass_attrs = mail=user
//! user_filter = (&(objectClass=inetOrgPerson)(mail=%u))
//! user_attrs = =home=/home/vmail/%u, mailQuota=quota_rule=*:bytes=%$
//! iterate_filter = (objectClass=inetOrgPerson)
//! iterate_attrs = mail=user
//! ```
//!
//! - `hosts` or `uris` (`ldap://`, `ldaps://`, `ldapi://%2Fpath`), tried in order. With `tls = yes` StartTLS has to succeed. The server's certificate is always
//!   verified, with the name that the setting has, by `tls_ca_cert_file` or the authorities of the system: `tls_require_cert = never` is refused.
//! - Passwords: with `auth_bind = yes` the directory compares them, by a bind as the entry that `pass_filter` finds, or that `auth_bind_userdn` names
//!   without a search. Else the attribute that `pass_attrs` calls `password` is compared here, in the schemes below, or that of `default_pass_scheme`; only so
//!   SCRAM and CRAM-MD5 have something to work with. An empty password is wrong without a question.
//! - `pass_attrs`, `user_attrs`, `iterate_attrs`: `attribute=field`, `attribute=field=text with %$`, `=field=text with %{ldap:attribute}` or
//!   `%{ldap:attribute:default}`. A field whose attribute the entry lacks is not there. Of several values the first is taken, with a warning. The fields
//!   are those of an `sql` passdb and userdb: `password`, `user`, `nologin`, `allow_nets`, `userdb_…`; `home`, `mail`, `uid`, `gid`, `quota_rule`. As all mail has one
//!   owner, `uidNumber=uid` is good only where that is `mail_uid`: name `user_attrs`, or `uid` is in Dovecot's default.
//! - Variables in filters, `base`, `auth_bind_userdn` and values: `%u %n %d %s %r`, also `%{user}`, `%{username}`, `%{domain}`, `%{service}`, `%{rip}`, with `%L` and
//!   `%U`; `%Dd` writes `x.org` as `x,dc=org`. Values are escaped for where they stand.
//! - Two entries for a user decide nothing: that is a temporary failure. Referrals are not followed. SASL binds, entries that other entries name (`@`), certificates of our own,
//!   `ldaprc_path` and `debug_level` are refused by name.
//!
//! SERVICES AND APP PASSWORDS
//!
//! `facteur user change ann@example.org --smtp false` takes sending from a mailbox and leaves reading; `--imap` and `--pop3` likewise. A service
//! that is off refuses every password, at once. `--active false` is all of them, and mail is not received either.
//!
//! `facteur user app-password add ann@example.org "phone"` makes a password for one app and shows it this once. It serves for SMTP, IMAP and POP3
//! with PLAIN and LOGIN; `list` shows which there are and when each was last used (within `auth_cache_ttl`), `delete` ends one at once.
//!
//! In PostfixAdmin's database its own columns and tables are used where they are there: `smtp_active` (since 4.0), `mailbox_app_password`,
//! `totp_secret` and `totp_exception_address` (since 3.4); what is missing is looked for again every five minutes. Mail programs cannot show
//! a second factor: a mailbox with a `totp_secret` is opened with its own password only from addresses in `totp_exception_address` (its own,
//! those of its domain, those without a user), and with app passwords from everywhere. A webmail that asks for the second factor itself needs its
//! address there. Unlike in the query of PostfixAdmin's documents, a mailbox that is not active cannot be used for sending, whatever `smtp_active` says.
//!
//! SCHEMES
//!
//! `{SCHEME}` before a stored password, with Dovecot's names; `facteur auth hash -l` lists them, `facteur auth hash` makes them. Behind the name
//! may stand `.HEX`, `.B64` or `.BASE64`. Without a name the shape tells: `$1$`, `$2a$` to `$2y$`, `$5$`, `$6$`, `$y$`, `$argon2i$`, `$argon2id$`, 32
//! hex digits (MD5), 13 characters (DES), unless `stored_pass_scheme` names another scheme.
//!
//! | scheme | what it is |
//! |---|---|
//! | ARGON2ID, ARGON2I, BLF-CRYPT, YESCRYPT | good; new passwords get ARGON2ID |
//! | SHA512-CRYPT, SHA256-CRYPT, PBKDF2 | many rounds |
//! | SCRAM-SHA-256, SCRAM-SHA-1 | many rounds; the only ones, beside PLAIN, that serve the mechanisms of these names |
//! | SSHA512, SSHA256, SSHA, SMD5, MD5-CRYPT, DES-CRYPT | salted, quick to guess |
//! | SHA512, SHA256, SHA1, SHA, MD5, PLAIN-MD5, LDAP-MD5, CRAM-MD5, HMAC-MD5 | as good as plain |
//! | PLAIN, CLEARTEXT, CLEAR | plain |
//! | CRYPT | any that crypt(3) writes, by its shape |
//!
//! With `auth_upgrade_scheme = "ARGON2ID"` a weaker hash is replaced when its user logs in with PLAIN or LOGIN: in the accounts, and in databases of an `sql`
//! passdb whose file has
//!
//! ```text
//! update_query = UPDATE mailbox SET password = '%{new_password}' WHERE username = '%u' AND password = '%{old_password}'
//! ```
//!
//! A query without one of the three is refused. The condition on the old password keeps one that is changed in the same moment; where the password
//! query does not find the new hash as it is, in a column that is too short, the old one stays. Nobody's login waits for it, and when it fails the
//! log says why and the next login tries again. PostfixAdmin's own pages have to understand the scheme (`$CONF['encrypt']`), or their users cannot log in there any more.
//!
//! A hash that would cost more than a gigabyte of memory, or minutes, is refused as a temporary failure, with a line in the log. So is one of a scheme
//! that is not known; among passwords for apps it is passed over, with the same line.
//!
//! FILES
//!
//! - `/run/facteur/auth`, `userdb`, `lookup`, `accounts`, `usage`: the sockets
//! - `/var/lib/facteur/accounts.sqlite`: domain, mailbox, alias, alias_domain, quota2, mailbox_app_password as PostfixAdmin has them, last_login; with `-wal` and
//!   `-shm` beside it while authd runs
//! - `/var/lib/facteur/scram-secret`: what salts of SCRAM are made with; losing it costs nothing but their staying the same
//! - passwd-files, SQL table files and files of queries where the settings say
//!
//! SECURITY
//!
//! Runs as facteur-auth, without the network (a remote database or provider of tokens needs a drop-in for its unit). It reads bytes of strangers: user names and
//! passwords, out of base64 and bounded, which are only compared, bound as parameters, or hashed. Whoever takes it over knows
//! all hashes and passwords that are typed, and can let anybody in; it can touch no mail and no queue.
//!
//! A database or a directory says who is let in: whoever can answer in its place, as on a network without TLS, is trusted like it.
//!
//! A password that was right is remembered for `auth_cache_ttl`, a wrong one, and that a user is not there, for `auth_cache_negative_ttl`. Each is remembered of
//! the stored password it was compared with, which is read anew for each login (what a directory compared is not remembered): a changed password, an account or a service that is switched off
//! count at once, whoever writes them. A user whom `facteur` adds can log in at once, one whom another program adds within `auth_cache_negative_ttl` when
//! somebody had asked before; deliveries know both at once.
//!
//! Checks run on a bounded number of threads; unknown users cost the same; failed logins are answered late, and later the more there
//! are from one address; see `auth_failure_delay` and `auth_penalty_after`. Passwords are never logged, and kept in memory only as a
//! keyed hash. Peers of the sockets `userdb` and `accounts` are looked at by their credentials, beside the socket's mode.
//!
//! STANDARDS
//!
//! RFC 4422 (SASL, EXTERNAL), RFC 4511 to RFC 4515 (LDAP), RFC 4616 (PLAIN), RFC 5802 and RFC 7677 (SCRAM), RFC 9266 and RFC 5929 (channel bindings), RFC 2195
//! (CRAM-MD5), RFC 7628 (OAUTHBEARER), RFC 7519 and RFC 7515 (JWT), RFC 7662 (introspection), RFC 4013 (SASLprep), RFC 8018 (PBKDF2), RFC 9106 (Argon2). Dovecot's auth protocol as of 2.3.
//!
//! DIAGNOSTICS
//!
//! `login`, `login failed` (with `auth_verbose`) and `accounts changed` at info; `login could not be decided` at warn: a database or
//! a stored password is at fault, and the client was told to try again.
//!
//! A database that is away, or starts again, is a temporary failure for whoever asks meanwhile: it is tried again by itself, at most four
//! connections at a time and with growing pauses up to three seconds. A query has four seconds. A directory likewise, with four connections that search and four
//! that try passwords; listing its users has a minute.
//!
//! `etc/fail2ban/filter.d/facteur.conf` is a filter of fail2ban for `login failed`, whichever program the client spoke to.
//!
//! SIGHUP reads the settings again; what is wrong keeps the old ones in force. Sockets are opened at start only. Text files are read
//! again by themselves when they change.
//!
//! BUGS
//!
//! In a query, a MySQL or PostgreSQL column has to be text or a number: others want a CAST. BLF-CRYPT compares
//! 72 bytes of a password, as everywhere. Yescrypt hashes with parameters that
//! libxcrypt does not make, and scrypt's `$7$`, are not understood.

fn main() -> std::process::ExitCode {
    daemon::main("authd", authd::run)
}
