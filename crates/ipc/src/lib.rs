//! Conversations between our programs, over Unix sockets. Each conversation is one file: who asks, who answers, the
//! order of messages, what silence means, limits.
//!
//! | conversation | file | socket |
//! |---|---|---|
//! | smtpd ↔ qmgr: where an accepted message lies | [`queue`] | `queue` |
//! | smtpd, imapd, pop3d → authd: logins | [`auth`] | `auth` (Dovecot's protocol) |
//! | deliver, imapd, pop3d → authd: where a mailbox is | [`userdb`] | `userdb` (Dovecot's protocol) |
//! | smtpd, qmgr → authd: lookup tables | [`lookup`] | `lookup` |
//! | facteur → authd: domains, mailboxes, aliases | [`accounts`] | `accounts` |
//! | deliver, imapd, pop3d → authd: sizes and logins, lossy | [`usage`] | `usage` |
//! | facteur → each daemon | [`control`] | `control/<daemon>` |
//!
//! Private conversations are [`frame`]s of bincode; both ends ship together. bincode is used nowhere else: not on disk,
//! not with anything from the network. [`unix`] connects and binds also where a path is longer than 107 bytes.

pub mod accounts;
pub mod auth;
pub mod control;
pub mod frame;
mod local_stream;
pub mod lookup;
mod mux;
pub mod queue;
pub mod session;
pub mod tabbed;
pub mod unix;
pub mod usage;
pub mod userdb;

pub use frame::{Conversation, FrameError, FrameReader, FrameWriter};
pub use local_stream::LocalStream;
pub use mux::{Input, Unavailable};

#[cfg(test)]
mod mux_tests;
