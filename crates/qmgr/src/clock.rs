//! Time as an argument: a clock that only goes forward for waiting, and the wall's for ages and dates.

use std::fmt;
use std::sync::Arc;
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
#[derive(Clone)]
pub struct Clock {
    started: Instant,
    wall: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

impl Clock {
    pub fn start() -> Clock {
        Clock::with_wall(SystemTime::now)
    }

    /// With another clock on the wall, which may be set while we look.
    pub fn with_wall(wall: impl Fn() -> SystemTime + Send + Sync + 'static) -> Clock {
        Clock { started: Instant::now(), wall: Arc::new(wall) }
    }

    pub fn now(&self) -> Now {
        let unix = (self.wall)().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { ms: self.started.elapsed().as_millis() as u64, unix_micros: unix.as_micros() as u64 }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({:?})", self.now())
    }
}
