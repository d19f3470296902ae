//! End to end: real clients and real peers against the real daemons.

mod administration;
mod bad_configs;
mod beside_dovecot;
mod catalogue;
mod clients;
mod command_line;
mod documents;
mod helpers;
mod hostile;
mod independence;
mod installed;
mod mailboxes;
mod many;
mod other_servers;
mod peers;
mod power_cut;
mod queue;
mod reading;
mod receiving;
mod reloading;
mod scenarios;
mod sendmail;
mod soak;
mod submission;
mod tls_levels;
