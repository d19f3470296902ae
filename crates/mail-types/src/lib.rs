//! Words that every part of Facteur shares: addresses, domains, queue ids, replies, envelopes, outcomes.
//!
//! Pure data: no socket, file, clock or task. Each type is checked when it is made, so that code that
//! holds one has nothing left to check. `docs/overview.md` has the glossary.

mod address;
mod domain;
mod envelope;
mod outcome;
mod queue_id;
mod reply;
mod text;
pub mod timestamp;
mod wishes;

pub use address::{Address, AddressError};
pub use domain::{Domain, DomainError};
pub use envelope::{BodyType, Client, DsnNotify, DsnReturn, Envelope, Protocol, Recipient};
pub use outcome::{Failure, Outcome};
pub use queue_id::{QueueId, QueueIdError, QueueIds};
pub use reply::{EnhancedCode, Reply};
pub use text::{Secret, printable, xtext_decode, xtext_encode};
pub use wishes::{ByMode, DeliverBy, Release, TlsWish, Wishes};
