//! What a sender asks of the transport itself: by when, not before, how urgently, how safely.

use crate::timestamp;
use std::fmt;

/// All of it; the default is a message without any wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wishes {
    pub deliver_by: Option<DeliverBy>,
    pub release: Option<Release>,
    /// From -9 to 9; higher goes first (RFC 6710 §5).
    pub priority: i8,
    pub tls: TlsWish,
}

/// BY= (RFC 2852 §4), as a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliverBy {
    /// In seconds since 1970; it may lie in the past.
    pub at_seconds: i64,
    pub mode: ByMode,
    /// The sender wants to hear of each relay.
    pub trace: bool,
}

/// What happens to a message that is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByMode {
    /// `R`: it is returned.
    Return,
    /// `N`: the sender is told, and it is tried on.
    Notify,
}

/// HOLDFOR= or HOLDUNTIL= (RFC 4865 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    /// Not before this second since 1970.
    pub at_seconds: u64,
    /// The interval in seconds, when HOLDFOR asked for one.
    pub interval: Option<u64>,
}

/// Whether the message may travel without TLS (RFC 8689).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsWish {
    /// As the settings say.
    #[default]
    Usual,
    /// REQUIRETLS: only to hosts that prove who they are, and promise the same.
    Required,
    /// `TLS-Required: No`: rather in clear text than not at all.
    Optional,
}

impl DeliverBy {
    pub fn is_over(&self, now_seconds: u64) -> bool {
        self.remaining(now_seconds) <= 0
    }

    /// Seconds that are left; negative once it is over.
    pub fn remaining(&self, now_seconds: u64) -> i64 {
        self.at_seconds.saturating_sub(i64::try_from(now_seconds).unwrap_or(i64::MAX))
    }
}

impl Wishes {
    /// A late message is to be returned, and it is late.
    pub fn is_given_up(&self, now_seconds: u64) -> bool {
        self.deliver_by.is_some_and(|by| by.mode == ByMode::Return && by.is_over(now_seconds))
    }

    /// Until when the message has to wait, if it still has to.
    pub fn sleeps_until(&self, now_seconds: u64) -> Option<u64> {
        self.release.map(|release| release.at_seconds).filter(|at| *at > now_seconds)
    }
}

/// As in the Future-Release-Request field of a notification (RFC 4865 §5.1.2).
impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.interval {
            Some(seconds) => write!(f, "for;{seconds}"),
            None => write!(f, "until;{}", timestamp::write(self.at_seconds)),
        }
    }
}

/// For logs: `by=2026-11-22T12:00:00Z;R release=… priority=4 tls=required`; empty without wishes.
impl fmt::Display for Wishes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        if let Some(by) = &self.deliver_by {
            let mode = if by.mode == ByMode::Return { "R" } else { "N" };
            let trace = if by.trace { "T" } else { "" };
            words.push(format!("by={};{mode}{trace}", timestamp::write(u64::try_from(by.at_seconds).unwrap_or(0))));
        }
        if let Some(release) = &self.release {
            words.push(format!("release={}", timestamp::write(release.at_seconds)));
        }
        if self.priority != 0 {
            words.push(format!("priority={}", self.priority));
        }
        match self.tls {
            TlsWish::Usual => {}
            TlsWish::Required => words.push("tls=required".into()),
            TlsWish::Optional => words.push("tls=optional".into()),
        }
        f.write_str(&words.join(" "))
    }
}
