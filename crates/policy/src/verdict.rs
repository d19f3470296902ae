//! What came out.

use crate::Stage;
use mail_types::{Address, Reply};

/// The answer to a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub action: Action,
    /// Setting, restriction, table and line: for the log, never for the peer.
    pub reason: String,
    pub effects: Effects,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Permit,
    /// With the words for the peer.
    Refuse(Reply),
}

/// What else tables asked for; holds for the whole message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Effects {
    /// To be kept in the queue until somebody releases it.
    pub hold: bool,
    /// To be accepted and thrown away.
    pub discard: bool,
    /// To go to this address instead of all recipients.
    pub redirect: Option<Address>,
    /// To go to these addresses as well.
    pub bcc: Vec<Address>,
    /// To go to this content filter first: `transport:next hop`.
    pub filter: Option<String>,
    /// Header lines to put in front.
    pub prepend: Vec<String>,
    /// Remarks for the log (WARN, INFO, `warn_if_reject`).
    pub remarks: Vec<String>,
}

impl Effects {
    /// Adds what another recipient's verdict asked for.
    pub fn merge(&mut self, other: Effects) {
        self.hold |= other.hold;
        self.discard |= other.discard;
        self.redirect = other.redirect.or(self.redirect.take());
        self.filter = other.filter.or(self.filter.take());
        for address in other.bcc {
            if !self.bcc.contains(&address) {
                self.bcc.push(address);
            }
        }
        for line in other.prepend {
            if !self.prepend.contains(&line) {
                self.prepend.push(line);
            }
        }
        self.remarks.extend(other.remarks);
    }
}

/// One restriction that was asked, for `facteur explain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traced {
    /// Whose list it stands in.
    pub stage: Stage,
    /// As it stands in the setting.
    pub rule: String,
    pub said: String,
    /// Table, key and line, or what decided about the recipient.
    pub detail: String,
}
