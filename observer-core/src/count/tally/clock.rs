//! Time as windows count it: it never goes back.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Ten seconds of a `Clock`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tick(pub(super) u32);

impl Tick {
    /// Seconds in a tick.
    pub const SECONDS: u64 = 10;
}

/// Readings that far before the latest are out of order; further back, the
/// clock was set.
const DISORDER_S: i64 = 60;

/// The wall clock, carried on evenly when it is set back, so that what is in a
/// window leaves it after the window's length, and nothing comes back. When it
/// is set forward, that much time has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Clock {
    latest_s: i64,
    offset_s: i64,
}

impl Clock {
    /// The tick of a reading, which may be the latest.
    pub(super) fn advance(&mut self, now: Timestamp) -> Tick {
        let now_s = now.as_second().saturating_add(self.offset_s);
        if now_s < self.latest_s.saturating_sub(DISORDER_S) {
            self.offset_s = self.latest_s.saturating_sub(now.as_second());
        }
        self.latest_s = self.latest_s.max(now_s);
        tick(self.latest_s)
    }

    /// The tick of the latest reading.
    pub(super) fn latest(self) -> Tick {
        tick(self.latest_s)
    }

    /// The tick of a reading, without taking note of it.
    pub(super) fn now(mut self, now: Timestamp) -> Tick {
        self.advance(now)
    }

    /// The tick in which something happened, at the latest now.
    pub(super) fn place(self, at: Timestamp) -> Tick {
        tick(at.as_second().saturating_add(self.offset_s).min(self.latest_s))
    }
}

fn tick(seconds: i64) -> Tick {
    let ticks = seconds.max(0) / Tick::SECONDS as i64;
    Tick(u32::try_from(ticks).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{Clock, Tick};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn never_goes_back() {
        let mut clock = Clock::default();
        assert_eq!(clock.advance(at(1_000)), Tick(100));
        // Out of order.
        assert_eq!(clock.advance(at(941)), Tick(100));
        assert_eq!(clock.place(at(941)), Tick(94));
        // Set back by 900 s; from there it runs on.
        assert_eq!(clock.advance(at(100)), Tick(100));
        assert_eq!(clock.advance(at(110)), Tick(101));
        assert_eq!(clock.place(at(100)), Tick(100));
        // Nothing happens after now.
        assert_eq!(clock.place(at(500)), Tick(101));
        assert_eq!(clock.now(at(210)), Tick(111));
        assert_eq!(clock.advance(at(110)), Tick(101));
    }

    #[test]
    fn any_time_is_a_tick() {
        for time in [Timestamp::MIN, Timestamp::MAX, Timestamp::UNIX_EPOCH] {
            let mut clock = Clock::default();
            clock.advance(time);
            assert_eq!(clock.advance(Timestamp::MIN), clock.now(Timestamp::MIN));
        }
    }
}
