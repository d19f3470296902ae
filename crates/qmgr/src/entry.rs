//! What is held in memory of every message: little, so that a hundred thousand of them cost little.

use crate::journal::Spot;
use crate::schedule::Weight;
use mail_types::{Failure, Outcome, QueueId, Recipient, Reply};
use outbound::{Body, Destination, NamedBy};
use spool::Stored;
use std::sync::Arc;

/// Where the message lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Journal(Spot),
    File,
}

/// What is going on with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It stands in line for a free place among the active ones.
    Ready,
    /// It is being worked on; its `Active` exists, or is about to.
    Active,
    /// Until this moment of the forward clock, in milliseconds.
    Deferred(u64),
    /// A partner on this machine could not tell; it is asked again in a moment.
    Stalled,
    /// So much waits for its destination that it stands aside.
    Aside,
    /// Until somebody releases it.
    Held,
}

/// A message of the queue.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub place: Place,
    pub state: State,
    pub attempts: u32,
    /// An earlier attempt may have succeeded without our knowing.
    pub repeat: bool,
    /// Since when a partner could not tell, in milliseconds of the clock; 0: none was asked in vain.
    pub stalled_since: u64,
    /// It is on its way to where it waits, and is to be tried at once from there.
    pub flush: bool,
    /// When somebody asked for it to be tried at once, in milliseconds of the clock; 0: nobody did. Destinations that were found dead
    /// before then are tried for it.
    pub asked_at: u64,
    /// Its removal was asked for while it was active.
    pub delete: bool,
    /// The same for hold.
    pub hold: bool,
    /// Its next attempt is its last.
    pub expire: bool,
    /// The absence of a partner that it is deferred for; 0: none.
    pub absence: u32,
    /// As the message asks; 0 until it was read once.
    pub priority: i8,
    /// It lies in the journal, but a move to a file that failed may have left one.
    pub stray: bool,
}

impl Entry {
    pub fn new(place: Place) -> Entry {
        Entry {
            place,
            state: State::Ready,
            attempts: 0,
            repeat: false,
            stalled_since: 0,
            flush: false,
            asked_at: 0,
            delete: false,
            hold: false,
            expire: false,
            absence: 0,
            priority: 0,
            stray: false,
        }
    }
}

/// A message that is being worked on.
#[derive(Debug)]
pub struct Active {
    pub stored: Arc<Stored>,
    pub body: Body,
    /// What the body takes of the memory for bodies.
    pub memory_bytes: usize,
    pub recipients: Vec<Target>,
    pub jobs: Vec<Job>,
    /// Jobs without a result.
    pub outstanding: usize,
    /// The destinations it waits for are dead until this moment.
    pub not_before: u64,
    /// The absence of a partner that it has to wait for; 0: none.
    pub absence: u32,
}

/// One recipient of an active message.
#[derive(Debug, Clone)]
pub struct Target {
    pub recipient: Recipient,
    pub key: u64,
    pub result: Option<Outcome>,
    /// The host or socket that gave the result.
    pub relay: Option<String>,
    /// Handed to another host, rather than to a mailbox.
    pub relayed: bool,
    /// A table could not tell how to go there.
    pub untold: bool,
    /// That host was told what reports the sender wants, and reports further itself (RFC 3461 §5.2.2).
    pub passed_on: bool,
    /// The sender is told of the relay because of BY= (RFC 2852 §4.1.4).
    pub traced: bool,
}

impl Target {
    /// Whether its sender wants to hear of its delivery from us.
    pub fn wants_success(&self) -> bool {
        let asked = self.recipient.notify.wants_success() && !(self.relayed && self.passed_on);
        asked || (self.relayed && self.traced && !self.recipient.notify.is_never())
    }
}

/// Where deliveries queue up: a destination as one transport goes there. Two transports to the same host have each a pace of their own (Postfix: a queue by
/// transport and next hop).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Line {
    pub transport: Arc<str>,
    pub to: Destination,
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.to.fmt(f)
    }
}

/// Recipients that go to one destination in one transaction.
#[derive(Debug, Clone)]
pub struct Job {
    pub to: Line,
    pub partner: bool,
    pub named_by: NamedBy,
    /// Places in `Active::recipients`.
    pub members: Vec<usize>,
    /// How often the partner was lost in the middle of it.
    pub lost: u8,
}

/// A job as the schedule knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobId {
    pub id: QueueId,
    pub number: u32,
    /// What its message takes of the memory for bodies.
    pub bytes: u32,
    pub priority: i8,
}

impl JobId {
    pub fn at(&self) -> usize {
        self.number as usize
    }
}

impl Weight for JobId {
    fn bytes(&self) -> usize {
        self.bytes as usize
    }

    fn priority(&self) -> i8 {
        self.priority
    }
}

pub fn delivered(reply: Reply) -> Outcome {
    Outcome::Delivered { reply }
}

/// The failure of an outcome that is one.
pub fn failure(outcome: &Outcome) -> Option<&Failure> {
    match outcome {
        Outcome::Deferred(failure) | Outcome::Bounced(failure) => Some(failure),
        Outcome::Delivered { .. } => None,
    }
}
