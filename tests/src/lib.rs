//! What the end-to-end tests stand on: a whole server in a folder of its own, and the clients and peers they use.
//!
//! Each test starts `facteur up` from the binaries beside it in `target/`, on ports that no other test has, and ends only what
//! it started. A peer that is not installed is named in `target/e2e-skipped.txt`; with `FACTEUR_REQUIRE_PEERS` set it fails the test.

mod certificate;
mod dovecot;
mod exim;
mod imap;
mod lines;
mod load;
mod names;
mod opensmtpd;
mod ports;
mod postfix;
mod server;
mod smtp;
mod tool;
mod unpacked;

pub use certificate::{certificate, fingerprint};
pub use dovecot::{Dovecot, chown_all};
pub use exim::Exim;
pub use imap::Imap;
pub use lines::{Lines, connect_from, trusting};
pub use load::{queue_ids, try_send};
pub use names::Names;
pub use opensmtpd::OpenSmtpd;
pub use ports::PortBase;
pub use postfix::{Postfix, open_to_all};
pub use server::{PASSWORD, Server, ServerBuilder, binary, children, eventually};
pub use smtp::Smtp;
pub use tool::{Daemon, Tool, absent, client, run, skipped, tool};
pub use unpacked::Unpacked;
