use crate::setting::{minutes, secs};
use crate::value::on_all_addresses as on;
use crate::value::{Endpoint, Size};
use crate::{choices, settings};
use std::path::PathBuf;
use std::time::Duration;

choices! {
    /// What happens to the mailboxes with a special use that an account does not have.
    pub enum MailboxAuto { No = "no", Create = "create", Subscribe = "subscribe" }
}

settings! {
    /// IMAP.
    pub struct Imapd in "imapd" {
        /// Where IMAP with STARTTLS is spoken.
        listen: Vec<Endpoint> = on(143), was "Dovecot inet_listener imap";
        /// Where IMAP with TLS from the first byte on is spoken.
        listen_tls: Vec<Endpoint> = on(993), was "Dovecot inet_listener imaps";
        /// The greeting behind `* OK` and the capabilities.
        login_greeting: String = "Facteur ready.", was "Dovecot login_greeting";
        /// Whether passwords are taken only under TLS. Before it, LOGINDISABLED is announced.
        disable_plaintext_auth: bool = true, was "Dovecot disable_plaintext_auth";
        /// Whether a client on this machine (its address is the one it connected to) counts as if it used TLS, as with Dovecot: a webmail beside the server then needs none.
        same_host_is_secured: bool = true;
        /// The socket where logins are checked, in Dovecot's auth protocol. Empty: authd's own, `auth` in `run_directory`.
        auth_socket_path: PathBuf = "", was "Dovecot login_auth_socket_path";
        /// The socket that tells where an account's mail is, in Dovecot's auth master protocol. Empty: authd's own, `userdb` in `run_directory`.
        userdb_socket_path: PathBuf = "", was "Dovecot auth_socket_path";
        /// How long a client may take to log in.
        login_timeout: Duration = secs(60), in secs(5)..=minutes(10), was "Dovecot login_max_logged_out_time";
        /// How long a client that is logged in may say nothing (RFC 3501 section 5.4: at least 30 minutes). Also how long one IDLE may last.
        imap_timeout: Duration = minutes(30), in secs(10)..=minutes(600), was "Dovecot imap_timeout";
        /// How long a client may take nothing of what it asked for, before it is cut off.
        imap_write_timeout: Duration = secs(60), in secs(1)..=minutes(30);
        /// How often a client in IDLE is told that the server is still there, so that routers keep the connection. 0: never.
        imap_idle_notify_interval: Duration = minutes(2), in secs(0)..=minutes(29), was "Dovecot imap_idle_notify_interval";
        /// The longest command, literals included and messages not.
        imap_max_line_length: Size = Size::mib(1), in Size::kib(8)..=Size::mib(64), was "Dovecot imap_max_line_length";
        /// How many messages one FETCH, STORE, MOVE or UID EXPUNGE works on, the newest of those it means, and how many one COPY may mean (MESSAGELIMIT, RFC 9738). Clients that do not know this take the answer for the whole, so set it only where all do; below 1000 it is of no use to any. 0: any number, and MESSAGELIMIT is not announced.
        imap_message_limit: u32 = 0u32, in 0..=100_000_000;
        /// The largest message that a client may put into a mailbox (APPEND).
        append_size_limit: Size = Size::mib(50), in Size::kib(1)..=Size(1 << 40);
        /// Connections at the same time.
        client_limit: u32 = 10_000u32, in 1..=1_000_000, was "Dovecot client_limit, process_limit";
        /// Connections at the same time from one address (IPv6: one /64). 0: any number. A whole office may share one address, and each program keeps about five.
        client_connection_count_limit: u32 = 1000u32, in 0..=1_000_000;
        /// Connections of one account from one address; clients on this machine (webmail) are not counted. 0: any number.
        mail_max_userip_connections: u32 = 10u32, in 0..=100_000, was "Dovecot mail_max_userip_connections";
        /// Threads that read and write mailboxes. One slow disk needs more of them than one fast processor. One account has a quarter of them at most.
        io_threads: u32 = 8u32, in 1..=512;
        /// Memory for mailboxes that nobody has open, so that who opens one again need not wait until it is read (256 bytes a message). 0: none is kept.
        imap_mailbox_cache_size: Size = Size::mib(256), in Size(0)..=Size(1 << 40);
        /// How long a mailbox that nobody opens again is kept in memory.
        imap_mailbox_cache_time: Duration = minutes(30), in secs(1)..=minutes(1440);
        /// Announces LITERAL- instead of LITERAL+ after login: clients then ask before they send more than 4 KiB.
        imap_literal_minus: bool = false, was "Dovecot imap_literal_minus";
        /// The mailbox for drafts. Empty: none has this use.
        drafts_mailbox: String = "Drafts", was "Dovecot mailbox special_use";
        /// The mailbox for copies of sent mail.
        sent_mailbox: String = "Sent", was "Dovecot mailbox special_use";
        /// The mailbox for deleted mail.
        trash_mailbox: String = "Trash", was "Dovecot mailbox special_use";
        /// The mailbox for spam.
        junk_mailbox: String = "Junk", was "Dovecot mailbox special_use";
        /// The mailbox for mail that is put aside.
        archive_mailbox: String = "Archive", was "Dovecot mailbox special_use";
        /// Whether these mailboxes are made at login where they are missing: `no`, `create`, or `subscribe` (made, and shown by clients that show only what is subscribed).
        mailbox_auto: MailboxAuto = MailboxAuto::Subscribe, was "Dovecot mailbox auto";
        /// Whether rights on mailboxes (`dovecot-acl` files) are in force, and clients may change them. On public mailboxes they always are in force.
        imap_acl: bool = true, was "Dovecot mail_plugins acl";
        /// A Maildir whose mailboxes belong to nobody and are there for all whom their rights (`dovecot-acl`) let in: `maildir:/home/vmail/.public`. It may lie in no account's, nor an account's in it. Empty: there is none.
        public_mail_location: String = "", was "Dovecot namespace type=public location";
        /// What the names of public mailboxes begin with.
        public_mailbox_prefix: String = "Public", was "Dovecot namespace type=public prefix";
        /// What the names of mailboxes begin with that other users have shared (SETACL): `Other Users` makes INBOX of ann `Other Users.ann.INBOX` for those in her own domain, and `Other Users.ann@example\2eorg.INBOX` for others. Who has shared something with whom stands in `.facteur-shared` in `mail.virtual_mailbox_base`. Empty: such mailboxes cannot be reached.
        shared_mailbox_prefix: String = "", was "Dovecot namespace type=shared prefix, acl_shared_dict";
        /// The largest annotation of a mailbox that a client may make (METADATA).
        imap_metadata_max_value_size: Size = Size::kib(64), in Size::kib(1)..=Size::mib(1);
        /// How many annotations one mailbox may have.
        imap_metadata_max_entries: u32 = 100u32, in 10..=1000;
        /// The most that all annotations of one mailbox may have together, names and values.
        imap_metadata_max_size: Size = Size::kib(256), in Size::kib(64)..=Size::mib(16);
        /// How often a client that waits for a long command is told that it goes on (INPROGRESS, RFC 9585, which asks for 10 seconds at least). 0: never.
        imap_progress_interval: Duration = secs(10), in secs(0)..=minutes(10);
        /// Whether mailboxes have an index of their words (`facteur.search`), so that a search for text reads only messages in which it may be. Nothing is searched by it alone, so what is found is always
        /// what reading everything would find; it takes about a tenth of the mail's text on disk. SEARCH=FUZZY is announced then. Read at start.
        fts: bool = false, was "Dovecot fts, mail_plugins fts";
        /// Whether imapd indexes mailboxes that clients have open, while it has nothing else to do. Otherwise `facteur index` does; messages that are not indexed are read.
        fts_autoindex: bool = true, was "Dovecot fts_autoindex";
        /// The largest index of one mailbox. Messages beyond are read. Read at start.
        fts_max_size: Size = Size(1 << 30), in Size(1 << 20)..=Size(1 << 40);
        /// How many mailboxes one session may hear of unasked (NOTIFY). Each takes up to three watches of the kernel's (`fs.inotify.max_user_watches`), which sessions of one account share. 0: NOTIFY is not announced, and refused.
        imap_notify_max_mailboxes: u32 = 1000u32, in 0..=100_000;
        /// What clients are told about this server (METADATA `/shared/comment`).
        mail_server_comment: String = "", was "Dovecot mail_server_comment";
        /// Whom clients can tell their users to ask: a URI such as `mailto:postmaster@example.org` (METADATA `/shared/admin`).
        mail_server_admin: String = "", was "Dovecot mail_server_admin";
    }
}
