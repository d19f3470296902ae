//! Time as an argument: a clock that only goes forward for waiting, and the wall's for ages and dates.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Milliseconds since the program's start; never goes back, whatever happens to the wall clock.
    pub ms: u64,
    /// Microseconds since 1970, as the wall clock says.
    pub unix_micros: u64,
}

impl Now {
    pub fn unix(&self) -> u64 {
        self.unix_micros / 1_000_000
    }
}

/// Where `Now` comes from.
#[derive(Debug, Clone)]
pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    pub fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { ms: self.0.elapsed().as_millis() as u64, unix_micros: unix.as_micros() as u64 }
    }
}
