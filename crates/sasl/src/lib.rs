//! SASL mechanisms (RFC 4422), both sides. Pure: no socket, file, clock or task.
//!
//! A server mechanism takes the client's messages (already out of base64) and says what it wants next; it never checks a
//! password itself but asks for it, since the check waits for hashing and databases. A client mechanism gives the
//! messages to send. Each exchange has an object of its own, used once and dropped: nothing of a failed login survives into the next
//! (CVE-2011-1720).
//!
//! | mechanism | server | client | standard |
//! |---|---|---|---|
//! | PLAIN | [`server::Plain`] | [`client::Plain`] | RFC 4616 |
//! | LOGIN | [`server::Login`] | [`client::Login`] | draft-murchison-sasl-login, obsolete but what Outlook speaks |

pub mod client;
mod credentials;
pub mod server;

pub use credentials::{Credentials, FIELD_LIMIT_BYTES, MESSAGE_LIMIT_BYTES, Malformed};
