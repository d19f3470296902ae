use crate::authd::Mode;
use crate::quota::QuotaWarning;
use crate::setting::{minutes, secs};
use crate::settings;
use crate::value::{Endpoint, Size};
use std::path::PathBuf;
use std::time::Duration;

settings! {
    /// Filing mail into mailboxes: the LMTP server that qmgr (or any other mail server) hands mail to.
    pub struct Deliver in "deliver" {
        /// Sockets that LMTP is spoken on. Empty: `lmtp` in `run_directory`. LMTP has no passwords: an address with a port is for trusted networks only.
        listen: Vec<Endpoint> = Vec::new(), was "Dovecot service lmtp";
        /// Who may connect to the Unix sockets: permission bits.
        lmtp_socket_mode: Mode = Mode(0o660), was "Dovecot unix_listener mode";
        /// Owner of the Unix sockets. Empty: the user deliver runs as.
        lmtp_socket_user: String = "", was "Dovecot unix_listener user";
        /// Group of the Unix sockets, such as `postfix` when Postfix is to deliver here. Empty: the group deliver runs as.
        lmtp_socket_group: String = "", was "Dovecot unix_listener group";
        /// Users whose word about the identity of a message is believed (`XFACTEUR`), so that a repeated delivery is recognised. The user deliver runs as is always believed.
        lmtp_trusted_users: Vec<String> = ["facteur-queue"].map(String::from);
        /// The socket that tells where an account's mail is, in Dovecot's auth master protocol. Empty: authd's own, `userdb` in `run_directory`.
        userdb_socket_path: PathBuf = "", was "Dovecot auth_socket_path";
        /// Whether mail to `user+detail` is filed in the mailbox `detail`, if there is one, instead of INBOX. The delimiter is `routing.recipient_delimiter`.
        lmtp_save_to_detail_mailbox: bool = false, was "Dovecot lmtp_save_to_detail_mailbox";
        /// Whether the mailbox `detail` is made when it is not there.
        lda_mailbox_autocreate: bool = false, was "Dovecot lda_mailbox_autocreate";
        /// Whether a mailbox made this way is subscribed to.
        lda_mailbox_autosubscribe: bool = false, was "Dovecot lda_mailbox_autosubscribe";
        /// Whether mail for a full mailbox is tried again later (452 4.2.2) instead of going back to its sender (552 5.2.2).
        quota_full_tempfail: bool = false, was "Dovecot quota_full_tempfail";
        /// Marks, such as `storage=80%` and `storage=95%`: the delivery that brings an account over one files a message in its INBOX that says so. Of several passed at once the highest counts.
        quota_warning: Vec<QuotaWarning> = Vec::new(), was "Dovecot quota_warning";
        /// The largest message taken. 0: any; whoever accepted it has decided.
        message_size_limit: Size = Size(0), was "Postfix message_size_limit";
        /// Messages up to this size are held in memory until they are filed; larger ones are written to disk as they come.
        message_memory_limit: Size = Size::kib(512), in Size(4096)..=Size::mib(64);
        /// Connections at the same time.
        client_limit: u32 = 1000u32, in 1..=100_000, was "Dovecot client_limit";
        /// How long a connection may say nothing between two messages.
        lmtp_idle_timeout: Duration = minutes(30), in secs(10)..=minutes(1440);
        /// How long a client may say nothing within a transaction, or take nothing of what it is told.
        lmtp_timeout: Duration = minutes(5), in secs(5)..=minutes(60), was "Postfix lmtp_data_xfer_timeout";
    }
}
