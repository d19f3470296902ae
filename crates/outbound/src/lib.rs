//! Carries messages to other hosts by SMTP, and to mailboxes by LMTP, with one client machine for both.
//!
//! [`Outbound::deliver`] takes a message to a [`Destination`] for some recipients and tells what became of each. It finds the hosts (MX records,
//! address literals, a relay host), tries them in order, uses TLS as the settings say, and keeps connections for the next message. It
//! carries and does not keep: when, how often and how many at once is the business of `qmgr`.
//!
//! Only a 2xx reply to the whole message is `Delivered`. 5xx replies are `Bounced`; all else, and everything that cannot be made sense of, is
//! `Deferred`. What a peer sends is bounded in size by the machine, in time by the settings, and escaped before it stands in a reason.
//!
//! TLS verifies the server only where a password is sent; elsewhere it keeps passive listeners out, as `smtp_tls_security_level` says.

mod carry;
mod connection;
mod destination;
mod downgrade;
mod hosts;
mod message;
mod pool;
mod settings;
mod tls;
mod verdict;
mod wire;

pub use carry::{Attempt, Outbound};
pub use destination::Destination;
pub use message::{Body, Message};
pub use settings::{Settings, SetupError};

#[cfg(test)]
mod tests;
