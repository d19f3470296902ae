//! The spool: where accepted mail is until every recipient has an outcome.
//!
//! The spool is a journal first, and files for what has to wait:
//!
//! ```text
//! journal/0000000000000001.segment   accepted messages, appended by smtpd          segment.rs
//! journal/state                      smtpd's start counter                         ids.rs
//! queue/in/ID                        large messages, streamed there by smtpd       queue_file.rs
//! queue/XX/ID                        what waits longer, written by qmgr            queue_file.rs
//! queue/outcomes/0000000000000001    what became of each message, by qmgr          outcome.rs
//! maildrop/                          for `sendmail` while smtpd is away
//! corrupt/                           what was damaged: set aside, never deleted
//! ```
//!
//! One writer per file: smtpd its segments ([`SpoolWriter`]) and new large messages ([`LargeWriter`]), qmgr the rest
//! ([`QueueFiles`], [`Outcomes`]). [`Reader`] shows a stopped spool to `facteur queue`.
//!
//! A message lives in its segment until a final outcome, or the outcome `moved` to a queue file, is synced; once that
//! holds for all records of a segment, qmgr says `finished` and smtpd uses the segment again under a new generation.

pub mod envelope;
mod error;
mod ids;
mod large;
mod layout;
pub mod outcome;
mod queue_file;
mod reader;
mod segment;
mod segments;
mod writer;

#[cfg(test)]
mod crash_tests;

pub use envelope::{BodySum, Stored};
pub use error::Error;
pub use large::LargeWriter;
pub use layout::Layout;
pub use outcome::Outcomes;
pub use queue_file::{QueueFile, QueueFiles};
pub use reader::{Found, Listed, ListedRecipient, ListedState, Reader};
pub use segment::{Header, Item, Scan, Segment};
pub use writer::{Place, Position, Receipt, SpoolWriter, WriterSettings};

/// Messages whose body is larger go to a file of their own at once.
pub const LARGE_BYTES: usize = 256 << 10;
