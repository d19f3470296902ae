//! What is held in memory of every message: little, so that a hundred thousand of them cost little.

use crate::journal::Spot;
use mail_types::{Failure, Outcome, QueueId, Recipient, Reply};
use outbound::{Body, Destination};
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
    /// How often a partner could not tell.
    pub stalls: u8,
    /// Its removal was asked for while it was active.
    pub delete: bool,
    /// The same for hold.
    pub hold: bool,
}

impl Entry {
    pub fn new(place: Place) -> Entry {
        Entry { place, state: State::Ready, attempts: 0, repeat: false, stalls: 0, delete: false, hold: false }
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
}

/// One recipient of an active message.
#[derive(Debug, Clone)]
pub struct Target {
    pub recipient: Recipient,
    pub key: u64,
    pub result: Option<Outcome>,
    /// The host or socket that gave the result.
    pub relay: Option<String>,
    /// Handed to a host that does not report further by itself, rather than to a mailbox.
    pub relayed: bool,
}

/// Recipients that go to one destination in one transaction.
#[derive(Debug, Clone)]
pub struct Job {
    pub to: Destination,
    pub partner: bool,
    /// Places in `Active::recipients`.
    pub members: Vec<usize>,
    /// How often the partner was lost in the middle of it.
    pub lost: u8,
}

/// A job as the schedule knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobId {
    pub id: QueueId,
    pub number: usize,
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
