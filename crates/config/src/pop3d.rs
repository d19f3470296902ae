use crate::choices;
use crate::setting::{minutes, secs};
use crate::settings;
use crate::value::Endpoint;
use crate::value::on_all_addresses as on;
use std::path::PathBuf;
use std::time::Duration;

choices! {
    /// What becomes of a message that a POP3 client deletes.
    pub enum Pop3DeleteType { Default = "default", Expunge = "expunge", Flag = "flag" }
}

settings! {
    /// POP3.
    pub struct Pop3d in "pop3d" {
        /// Where POP3 with STLS is spoken.
        listen: Vec<Endpoint> = on(110), was "Dovecot inet_listener pop3";
        /// Where POP3 with TLS from the first byte on is spoken.
        listen_tls: Vec<Endpoint> = on(995), was "Dovecot inet_listener pop3s";
        /// The greeting behind `+OK`.
        login_greeting: String = "Facteur ready.", was "Dovecot login_greeting";
        /// Whether passwords are taken only under TLS.
        disable_plaintext_auth: bool = true, was "Dovecot disable_plaintext_auth";
        /// Whether a client on this machine (its address is the one it connected to) counts as if it used TLS, as with Dovecot.
        same_host_is_secured: bool = true;
        /// The socket where logins are checked, in Dovecot's auth protocol. Empty: authd's own, `auth` in `run_directory`.
        auth_socket_path: PathBuf = "", was "Dovecot login_auth_socket_path";
        /// The socket that tells where an account's mail is, in Dovecot's auth master protocol. Empty: authd's own, `userdb` in `run_directory`.
        userdb_socket_path: PathBuf = "", was "Dovecot auth_socket_path";
        /// How long a client may take to log in.
        login_timeout: Duration = secs(60), in secs(5)..=minutes(10), was "Dovecot login_max_logged_out_time";
        /// How long a client that is logged in may say nothing (RFC 1939 section 3: at least 10 minutes). It is then cut off and nothing is deleted.
        pop3_timeout: Duration = minutes(10), in secs(1)..=minutes(600), was "Dovecot client idle time";
        /// How long a client may take nothing of what it asked for, before it is cut off.
        pop3_write_timeout: Duration = secs(60), in secs(1)..=minutes(30);
        /// How a message is named in UIDL: `%u` UID, `%v` UIDVALIDITY, both also as `%08Xu` (hexadecimal, eight digits) or `%08xu`; `%f` the name of its file without flags; `%g` its GUID. Where it
        /// differs from that of the server before, clients that leave mail on the server fetch everything once more. An id that stands in `dovecot-uidlist` (field `P`) comes before it.
        pop3_uidl_format: String = "%08Xu%08Xv", was "Dovecot pop3_uidl_format";
        /// Whether only one session at a time may have a mailbox open (RFC 1939 section 8). Others hear `[IN-USE]`. The lock is the one of Dovecot.
        pop3_lock_session: bool = true, was "Dovecot pop3_lock_session";
        /// A keyword for messages that POP3 clients delete, such as `$POP3Deleted`: those have it from then on, are no longer shown by POP3, and stay for IMAP clients.
        pop3_deleted_flag: String = "", was "Dovecot pop3_deleted_flag";
        /// What DELE does at the end of a session: `expunge` removes messages, `flag` sets `pop3_deleted_flag`; `default` is `flag` where that is set.
        pop3_delete_type: Pop3DeleteType = Pop3DeleteType::Default, was "Dovecot pop3_delete_type";
        /// Whether LAST (RFC 1460) is answered.
        pop3_enable_last: bool = false, was "Dovecot pop3_enable_last";
        /// After how many days mail is deleted here, as CAPA tells clients (RFC 2449 section 6.7). It is for you to do so, with `facteur mailbox expunge`. 0: never.
        pop3_expire_days: u32 = 0u32, in 0..=36_500;
        /// How long an account has to wait between two logins; CAPA tells it (RFC 2449 section 6.5). 0: not at all. It is counted by each pop3d for itself, from its start.
        pop3_login_delay: Duration = secs(0), in secs(0)..=minutes(1440);
        /// Leaves messages that were fetched unread for IMAP clients.
        pop3_no_flag_updates: bool = false, was "Dovecot pop3_no_flag_updates";
        /// Lines that are no commands, and failed logins, before a client is cut off.
        error_limit: u32 = 10u32, in 1..=1000;
        /// Connections at the same time.
        client_limit: u32 = 2000u32, in 1..=1_000_000, was "Dovecot client_limit, process_limit";
        /// Connections at the same time from one address (IPv6: one /64). 0: any number.
        client_connection_count_limit: u32 = 200u32, in 0..=1_000_000;
        /// Threads that read and change mailboxes. One account has a quarter of them at most.
        io_threads: u32 = 8u32, in 1..=512;
    }
}
