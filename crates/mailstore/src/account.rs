//! One person's mailboxes: a Maildir++ tree.

use std::sync::Arc;

use crate::error::Result;
use crate::mailbox::Mailbox;
use crate::name::MailboxName;

/// One person's mail. Shared by all sessions of that person in this process.
pub struct Account {}

/// A mailbox in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub name: MailboxName,
    /// False for a level that has children but no mailbox of its own (`\NonExistent`).
    pub exists: bool,
    pub has_children: bool,
}

/// STATUS of a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Status {
    pub messages: u32,
    pub recent: u32,
    pub unseen: u32,
    pub deleted: u32,
    pub uid_next: u32,
    pub uid_validity: u32,
    pub highest_modseq: u64,
}

/// Quota of an account: what `maildirsize` counts, and the limits (0 = none).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Quota {
    pub bytes: u64,
    pub messages: u64,
    pub bytes_limit: u64,
    pub messages_limit: u64,
}

impl Account {
    /// All mailboxes and the levels above them, sorted by name, INBOX first.
    pub fn list(&self) -> Result<Vec<Listed>> {
        unimplemented!()
    }

    /// True when the mailbox is there.
    pub fn exists(&self, _name: &MailboxName) -> Result<bool> {
        unimplemented!()
    }

    /// Makes a mailbox, durable on return. `AlreadyExists`, `Limit`.
    pub fn create(&self, _name: &MailboxName) -> Result<()> {
        unimplemented!()
    }

    /// Removes a mailbox and its messages; mailboxes below stay (RFC 9051 §6.3.5). INBOX: `NotAllowed`.
    pub fn delete(&self, _name: &MailboxName) -> Result<()> {
        unimplemented!()
    }

    /// Renames a mailbox and all below it. From INBOX: its messages move to the new mailbox, INBOX stays (RFC 9051 §6.3.6).
    pub fn rename(&self, _from: &MailboxName, _to: &MailboxName) -> Result<()> {
        unimplemented!()
    }

    /// Names subscribed to, sorted; they need not exist.
    pub fn subscriptions(&self) -> Result<Vec<MailboxName>> {
        unimplemented!()
    }

    pub fn subscribe(&self, _name: &MailboxName) -> Result<()> {
        unimplemented!()
    }

    pub fn unsubscribe(&self, _name: &MailboxName) -> Result<()> {
        unimplemented!()
    }

    /// The mailbox's shared state, loaded from disk when nobody in this process has it open. `NoSuchMailbox`.
    pub fn open(&self, _name: &MailboxName) -> Result<Arc<Mailbox>> {
        unimplemented!()
    }

    /// Counts without opening a session; from memory when the mailbox is open, after a look at the disk.
    pub fn status(&self, _name: &MailboxName) -> Result<Status> {
        unimplemented!()
    }

    /// Sets the limits of this account (from the user database; 0 = none). Appends and copies obey them from now on.
    pub fn set_quota_limits(&self, _bytes: u64, _messages: u64) {}

    /// What the account uses, by `maildirsize` or counted anew.
    pub fn quota(&self) -> Result<Quota> {
        unimplemented!()
    }
}
