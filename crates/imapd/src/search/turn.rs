//! How long a search works on end before others have their turn.

use std::time::Instant;

/// A message that takes longer than a turn is read again in the next one; so each turn does at least this part of it.
const READINGS: usize = 16;

/// One turn at work. Work is counted in bytes of text looked at.
pub struct Turn {
    until: Instant,
    done: usize,
    least: usize,
}

impl Turn {
    pub fn new(until: Instant) -> Turn {
        Turn { until, done: 0, least: 0 }
    }

    /// So many bytes were read, and have to be looked at; a good part of them in this turn, or the reading was for nothing.
    pub fn reads(&mut self, bytes: usize) {
        (self.done, self.least) = (0, bytes / READINGS);
    }

    /// Counts work. True when the turn is over.
    pub fn spend(&mut self, bytes: usize) -> bool {
        self.done += bytes;
        self.done >= self.least && self.is_over()
    }

    /// For work between messages.
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }
}
