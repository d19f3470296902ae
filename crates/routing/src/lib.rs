//! Where mail goes: whose an address is, what it expands to, and by which way it leaves.
//!
//! `smtpd` asks [`Router::classify`] at RCPT, `qmgr` asks [`Router::expand`] once per message and [`Router::route`] per recipient; it is the same
//! code on the same settings and tables, so that the two cannot disagree.
//!
//! An address belongs to the first of these classes that its domain is in (Postfix ADDRESS_CLASS_README):
//!
//! | class | domains | known when it is in |
//! |---|---|---|
//! | local | `mydestination` | `virtual_alias_maps`, `alias_maps`, `virtual_mailbox_maps`, `local_recipient_maps`, or the same name is known at `myorigin` |
//! | alias | `virtual_alias_domains` | `virtual_alias_maps` |
//! | mailbox | `virtual_mailbox_domains` | `virtual_alias_maps`, `virtual_mailbox_maps`, or its domain is an alias domain and it is known there |
//! | relay | `relay_domains` | `virtual_alias_maps`, `relay_recipient_maps`; all when that is empty |
//! | other | all others | not ours |
//!
//! Two differences from Postfix, both on the side of not losing mail: a mailbox is not hidden by a catch-all alias (`@domain`) of its own
//! domain; and names at `mydestination` that nothing knows, as well as the `postmaster` of every domain (RFC 5321 §4.5.1), are looked for at
//! `myorigin`, so that `root@localhost` reaches the alias `root@` of the mail domain.
//!
//! A table that cannot tell is [`Unavailable`], never "no such user". Every decision carries its [`Reason`].

mod classify;
mod cleanup;
mod expand;
mod networks;
mod nexthop;
mod owner;
mod reason;
mod router;
mod transport;

pub use classify::{Class, Classified};
pub use cleanup::{Cleanup, Findings, Scan};
pub use expand::{Expanded, Expansion};
pub use networks::mynetworks;
pub use nexthop::{LmtpTarget, NextHop};
pub use reason::Reason;
pub use router::{Router, SetupError};
pub use tables::Unavailable;
pub use transport::{Route, Routed};

#[cfg(test)]
mod tests;
