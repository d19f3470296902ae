//! The mail store through its public API, against the disk, the kernel and a real Dovecot.

mod account;
mod attic;
mod common;
mod delivery;
mod dovecot;
mod faults;
mod layout;
mod listing;
mod log;
mod mailbox;
mod restore;
