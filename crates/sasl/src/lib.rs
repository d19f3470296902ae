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
//! | SCRAM-SHA-1, SCRAM-SHA-256 | [`server::Scram`] | [`client::Scram`] | RFC 5802, RFC 7677 |
//! | the same with -PLUS | [`server::Scram`] | | the same, with RFC 9266 and RFC 5929 §4 |
//! | CRAM-MD5 | [`server::CramMd5`] | [`client::CramMd5`] | RFC 2195 |
//! | EXTERNAL | [`server::External`] | | RFC 4422 appendix A |
//! | OAUTHBEARER, XOAUTH2 | [`server::OAuth`] | | RFC 7628; Google's documentation |

pub mod client;
pub mod cram_md5;
mod credentials;
pub mod scram;
pub mod server;

pub use credentials::{Credentials, FIELD_LIMIT_BYTES, MESSAGE_LIMIT_BYTES, Malformed};
