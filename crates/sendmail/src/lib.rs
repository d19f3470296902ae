//! The command `sendmail`, and what it shares with qmgr: submitting over the socket, and the folder `maildrop`. `main.rs` is the
//! manual page. No runtime and few libraries: the program is setgid.

pub mod compose;
pub mod maildrop;
mod options;
mod privilege;
mod program;
pub mod submit;

pub use program::main;

use mail_types::Address;

/// An envelope as the command line gives it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Letter {
    /// `None` is the null sender.
    pub sender: Option<Address>,
    pub recipients: Vec<Address>,
    /// NOTIFY= for all recipients, RET=, and ENVID= decoded; empty when not given.
    pub notify: String,
    pub ret: String,
    pub envid: String,
    /// REQUIRETLS (RFC 8689).
    pub require_tls: bool,
    /// With CRLF line ends.
    pub message: Vec<u8>,
}
