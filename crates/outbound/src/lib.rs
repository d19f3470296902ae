//! Carries messages to other hosts by SMTP, and to mailboxes by LMTP, with one client machine for both.
//!
//! [`Outbound::deliver`] takes a message to a [`Destination`] for some recipients and tells what became of each. It finds the hosts (MX records,
//! address literals, a relay host), tries them in order, uses TLS as the settings say, and keeps connections for the next message. It
//! carries and does not keep: when, how often and how many at once is the business of `qmgr`.
//!
//! Only a 2xx reply to the whole message is `Delivered`. 5xx replies are `Bounced`; all else, and everything that cannot be made sense of, is
//! `Deferred`. What a peer sends is bounded in size by the machine, in time by the settings, and escaped before it stands in a reason.
//!
//! What TLS has to prove, `smtp_tls_security_level` and `smtp_tls_policy_maps` say ([`Policies`]); where a password is sent the server is always
//! verified. What cannot be proved is `Deferred`; only the level `may` goes back to clear text.

mod attempt;
mod bind;
mod carry;
mod connection;
mod demands;
mod destination;
mod downgrade;
mod explain;
mod form;
mod hosts;
mod logins;
mod message;
mod policy;
mod pool;
mod settings;
mod srv;
mod tls;
mod verdict;
mod wire;

pub use attempt::{Attempt, Trouble, TroubleKind};
pub use carry::Outbound;
pub use destination::Destination;
pub use explain::{TlsChoice, TlsExplainer};
pub use message::{Body, Message, NamedBy};
pub use policy::{NameMatch, Policies, Policy, Versions};
pub use settings::{Settings, SetupError, Tables};

#[cfg(test)]
mod tests;
