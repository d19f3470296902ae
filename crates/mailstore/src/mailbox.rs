//! One mailbox: the state all its sessions in this process share, and what can be done with it.

use std::sync::Arc;

use tokio::sync::watch;

use crate::error::Result;
use crate::flags::{FlagMode, FlagSet};
use crate::message_file::MessageFile;
use crate::name::MailboxName;
use crate::snapshot::{Message, Snapshot};
use crate::view::{Access, View};

/// A mailbox opened in this process: one shared state for all sessions.
pub struct Mailbox {}

/// UIDs a command gave out, for APPENDUID and COPYUID (RFC 4315).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Added {
    pub uid_validity: u32,
    /// UIDs of the source, in the order of `uids`; empty for APPEND. Messages that were gone are left out.
    pub sources: Vec<u32>,
    /// UIDs given, rising.
    pub uids: Vec<u32>,
}

/// What STORE did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// UIDs whose flags are now as wanted (also those that were so before).
    pub done: Vec<u32>,
    /// UIDs refused because they changed since `unchanged_since`.
    pub modified: Vec<u32>,
    /// UIDs that no longer exist.
    pub expunged: Vec<u32>,
}

/// A message being written to `tmp/`. Dropped unfinished, nothing of it stays.
pub struct Incoming {}

impl Incoming {
    /// Adds bytes, with CRLF or LF line ends, cut anywhere; stored with the line ends of the settings.
    pub fn write(&mut self, _bytes: &[u8]) -> Result<()> {
        unimplemented!()
    }

    /// Flags, keywords and internal date (seconds since 1970; now when not called) of the message.
    pub fn describe(&mut self, _flags: FlagSet, _internal_date: Option<i64>) {}
}

impl Mailbox {
    pub fn name(&self) -> &MailboxName {
        unimplemented!()
    }

    /// Opens a session's view. Blocking.
    pub fn view(self: &Arc<Mailbox>, access: Access) -> Result<View> {
        View::new(self.clone(), access)
    }

    /// What this process knows of the mailbox. Never blocks.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        unimplemented!()
    }

    /// Number of the current snapshot. Never blocks.
    pub fn generation(&self) -> u64 {
        unimplemented!()
    }

    /// Counts up whenever a new snapshot is there: an IDLE session waits on it, then calls [`View::sync`]. Changes by other
    /// programs arrive here within a second without anybody calling [`Mailbox::refresh`].
    pub fn changes(&self) -> watch::Receiver<u64> {
        unimplemented!()
    }

    /// Looks at the disk when something may have changed there since the last look (a few stat calls when nothing did). For
    /// NOOP, CHECK, POLL and before each command that reports state. Blocking.
    pub fn refresh(&self) -> Result<()> {
        unimplemented!()
    }

    /// True once the mailbox was deleted or renamed; sessions should close it.
    pub fn is_deleted(&self) -> bool {
        unimplemented!()
    }

    /// Starts a message for [`Mailbox::append`]; `size` is its announced size (0 if unknown), checked against the quota and
    /// the free space at once. Blocking.
    pub fn incoming(&self, _size: u64) -> Result<Incoming> {
        unimplemented!()
    }

    /// Files messages: all or none. Durable on return (files and directory synced, UIDs on disk). Blocking.
    pub fn append(&self, _messages: Vec<Incoming>) -> Result<Added> {
        unimplemented!()
    }

    /// Copies messages with flags and internal dates; all or none of those that still exist. Durable on return. Blocking.
    pub fn copy(&self, _uids: &[u32], _to: &Mailbox) -> Result<Added> {
        unimplemented!()
    }

    /// Moves messages. After a crash each is in exactly one of the two or in both, never in none. Blocking.
    pub fn move_to(&self, _uids: &[u32], _to: &Mailbox) -> Result<Added> {
        unimplemented!()
    }

    /// Changes flags and keywords of messages; new keywords are made (`Limit` when there is no room or the name is no atom).
    /// With `unchanged_since`, messages whose modseq is higher are left alone. Blocking.
    pub fn store_flags(&self, _uids: &[u32], _mode: FlagMode, _flags: &FlagSet, _unchanged_since: Option<u64>) -> Result<Stored> {
        unimplemented!()
    }

    /// Removes messages for good, whatever their flags; returns the UIDs that were there. Blocking.
    pub fn expunge(&self, _uids: &[u32]) -> Result<Vec<u32>> {
        unimplemented!()
    }

    /// Opens a message for reading. `Expunged` when it is gone. Blocking.
    pub fn read(&self, _uid: u32) -> Result<MessageFile> {
        unimplemented!()
    }

    /// Size with CRLF line ends (RFC822.SIZE); from the name, remembered, or counted by reading the file. Blocking.
    pub fn size(&self, _message: &Message) -> Result<u64> {
        unimplemented!()
    }

    /// Arrival time in seconds since 1970 (INTERNALDATE). Blocking the first time.
    pub fn internal_date(&self, _message: &Message) -> Result<i64> {
        unimplemented!()
    }

    /// When the file came into this mailbox, seconds since 1970 (SAVEDATE, POP3). Blocking.
    pub fn save_date(&self, _message: &Message) -> Result<i64> {
        unimplemented!()
    }

    pub(crate) fn claim_recent(&self) -> Result<Vec<u32>> {
        unimplemented!()
    }
}
