//! What a client wants to hear of without asking (RFC 5465).

use crate::command::{FetchItem, MailboxFilter};

/// NOTIFY SET, replacing what was set before.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NotifySet {
    /// A STATUS response for each mailbox comes first.
    pub status: bool,
    pub groups: Vec<EventGroup>,
}

/// Some mailboxes, and what is to be told of them.
#[derive(Debug, Clone, PartialEq)]
pub struct EventGroup {
    pub filter: MailboxFilter,
    pub events: Events,
}

/// Kinds of events (RFC 5465 §5); none for `NONE`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Events {
    /// MessageNew and MessageExpunge, which come together.
    pub messages: bool,
    /// What is told of new messages, in the selected mailbox.
    pub fetch: Vec<FetchItem>,
    /// FlagChange, never without `messages`.
    pub flags: bool,
    /// MailboxName.
    pub names: bool,
    /// SubscriptionChange.
    pub subscriptions: bool,
    /// MailboxMetadataChange.
    pub metadata: bool,
    /// ServerMetadataChange.
    pub server_metadata: bool,
    /// Events that we cannot tell of.
    pub unsupported: bool,
}

/// The names of the events that can be told of.
pub const EVENT_NAMES: [&str; 7] =
    ["MessageNew", "MessageExpunge", "FlagChange", "MailboxName", "SubscriptionChange", "MailboxMetadataChange", "ServerMetadataChange"];
