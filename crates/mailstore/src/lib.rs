//! Mailboxes on disk, in Dovecot's own Maildir dialect, so that Dovecot and Facteur can take turns on one store.
//!
//! [`Store`] → [`Account`] (one person's mail, [`Location`]) → [`Mailbox`] (what IMAP calls so, one shared state per mailbox
//! and process) → [`View`] (one session's numbering) over [`Snapshot`]s of [`Message`]s. [`Delivery`] files messages
//! without looking at mailboxes, in rounds.
//!
//! **Blocking**: everything here is synchronous and may wait for the disk or for another process's lock, except what says
//! otherwise. Call it in `spawn_blocking`. What never blocks: [`Mailbox::snapshot`], [`Mailbox::changes`], all of
//! [`Snapshot`] and [`Message`], [`View`] except [`View::sync`].
//!
//! On disk (each file is described at the top of the module that owns it): directories (`layout`), removed messages that are kept (`attic`),
//! `dovecot-uidlist` (`uidlist`), `dovecot-keywords` (`keywords`), `facteur.log` (`changelog`), `facteur.index` (`index`), `facteur.cache` and `facteur.search` (`cache`), `subscriptions` (`subscriptions`), `maildirsize`
//! (`quota`), file names `<unique>,S=<size on disk>,W=<size with CRLF>:2,<flags>`.

mod account;
mod acl;
mod annotate;
mod attic;
mod backup;
mod cache;
mod changelog;
mod delivery;
mod dir;
mod error;
mod file_system;
mod flags;
mod incoming;
mod index;
mod keywords;
mod layout;
mod listener;
mod location;
mod lock;
mod mailbox;
mod memory;
mod message_file;
mod metadata;
pub mod mutf7;
mod name;
mod quota;
mod quota_rules;
mod recent;
mod rights;
mod scratch;
mod shares;
mod snapshot;
mod store;
mod subscriptions;
mod uidlist;
mod uidvalidity;
mod view;
mod watch;

pub use account::{Account, Listed, Quota, Status};
pub use acl::{Acl, Grant, Person, RightsChange, Subject};
pub use attic::{Expunged, Keeping};
pub use backup::{Dump, Restoring};
pub use delivery::{Body, Delivered, Delivery, Identity, LargeLetter, Letter};
pub use error::{Error, Result};
pub use flags::{FlagMode, FlagSet, Flags, KeywordBits, Keywords, LONGEST_KEYWORD, MOST_KEYWORDS, is_valid_keyword};
pub use incoming::Incoming;
pub use layout::Layout;
pub use listener::{Listener, News, Touched};
pub use location::{Location, LocationError, check_settings};
pub use lock::SessionLock;
pub use mailbox::{Added, Gone, Hold, Kept, Mailbox, Moved, Pop3Fields, Stored};
pub use message_file::{LARGEST_WHOLE, MessageFile, Whole, to_crlf};
pub use metadata::{AnnotationError, AnnotationLimits, Annotations};
pub use name::{MailboxName, NameError, SEPARATOR};
pub use quota_rules::QuotaRules;
pub use recent::Recent;
pub use rights::Rights;
pub use scratch::Scratch;
pub use shares::{Shares, SharesStamp};
pub use snapshot::{Message, Snapshot};
pub use store::{LineEnds, Settings, Store};
pub use view::{Access, Changes, Expunges, View};
