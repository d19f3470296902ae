use crate::choices;
use crate::quota::{Amount, Grace, QuotaRule};
use crate::setting::{days, secs};
use crate::settings;
use crate::value::Size;
use std::path::PathBuf;
use std::time::Duration;

choices! {
    /// How lines end in the files of mailboxes.
    pub enum LineEnds { Lf = "lf", Crlf = "crlf" }
}

settings! {
    /// Mailboxes on disk; for deliver, imapd and pop3d alike.
    pub struct Mail in "mail" {
        /// Where the mail of an account lies, when the user database does not say: `maildir:` with `%u` (whole login name), `%n` (before the @), `%d` (domain), `%h` (home). With `:LAYOUT=fs` behind it mailboxes lie in each other (`A/B`), as with Dovecot, instead of beside each other (`.A.B`).
        mail_location: String = "maildir:/home/vmail/%u", was "Dovecot mail_location";
        /// The folder that paths in the accounts' `maildir` column start from.
        virtual_mailbox_base: PathBuf = "/home/vmail", was "Postfix virtual_mailbox_base";
        /// User id that owns all mail. 0: that of the daemon, whoever it is.
        mail_uid: u32 = 5000u32, was "Postfix virtual_uid_maps, Dovecot mail_uid";
        /// Group id that owns all mail. 0: that of the daemon.
        mail_gid: u32 = 5000u32, was "Postfix virtual_gid_maps, Dovecot mail_gid";
        /// Line ends of the files we write: `lf` is what Dovecot and local tools write; both are read.
        line_ends: LineEnds = LineEnds::Lf, was "Dovecot mail_save_crlf";
        /// How much an account may hold. `*:storage=1G:messages=10000` holds for accounts whose user database says nothing; `Trash:storage=+10%` lets mail into this mailbox a little longer than into the
        /// others; `Junk:ignore` does not count a mailbox. Read at start.
        quota_rule: Vec<QuotaRule> = Vec::new(), was "Dovecot quota_rule, quota_rule2";
        /// How far beyond its limit of bytes the last message that is delivered may bring an account that is not yet full. Clients have no such grace. Read at start.
        quota_grace: Grace = Grace(Amount::Percent(10)), was "Dovecot quota_grace";
        /// The largest cache (`facteur.cache`) of one mailbox, where envelopes, structures and common header fields are remembered so that listing a mailbox reads no message twice. 0: none. Read at start.
        mail_cache_max_size: Size = Size(1 << 30), in Size(0)..=Size(1 << 40), was "Dovecot mail_cache_max_size";
        /// How long messages that clients remove, and those of mailboxes they delete, can be brought back by `facteur mailbox restore`; then they go within a day. They do not count in the quota. 0: they are gone at once. Read at start.
        lazy_expunge_time: Duration = secs(0), in secs(0)..=days(3650), was "Dovecot lazy_expunge";
        /// The most of one account that is kept so; beyond it what was removed first goes first, and what is removed on a day that alone has more than that goes at once. 0: any amount. Read at start.
        lazy_expunge_limit: Size = Size(10 << 30), in Size(0)..=Size(1 << 50);
    }
}
