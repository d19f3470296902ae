//! What became of one recipient in one attempt.

use crate::{EnhancedCode, Reply};

/// The outcome for one recipient (DESIGN: delivered, deferred, bounced).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The next hop took responsibility.
    Delivered { reply: Reply },
    /// To be tried again.
    Deferred(Failure),
    /// Never to be tried again; the sender is told.
    Bounced(Failure),
}

/// Why a recipient was deferred or bounced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// For the `Status:` field of a notification (RFC 3464 §2.3.4).
    pub status: EnhancedCode,
    /// For people: what happened, without control characters.
    pub reason: String,
    /// The host that said so, and its reply, when one did.
    pub remote: Option<(String, Reply)>,
}

impl Failure {
    pub fn local(status: (u8, u16, u16), reason: impl Into<String>) -> Failure {
        Failure { status: EnhancedCode(status.0, status.1, status.2), reason: crate::printable(&reason.into()), remote: None }
    }
}
