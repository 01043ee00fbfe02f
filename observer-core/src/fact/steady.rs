//! Time that goes on evenly, whatever the wall clock is set to: windows, deadlines and the
//! join with the mail server's log count by it. What people read is the wall clock's.

use jiff::{SignedDuration, Timestamp};

use crate::attempt::ClockOffset;

/// A change of the wall clock against CLOCK_BOOTTIME by more is a setting of it; less is
/// slewing, or how exactly the two are read.
const SET: SignedDuration = SignedDuration::from_millis(500);
/// Stamps of before the wall clock was set may be read for so long after it.
const STAMPED_BEFORE: SignedDuration = SignedDuration::from_secs(10);

/// One moment, by two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// By the wall clock as it is set now.
    pub wall: Timestamp,
    /// By the clock that nobody sets.
    pub steady: Timestamp,
}

/// Where the wall clock is never set, both are the same.
impl From<Timestamp> for Now {
    fn from(now: Timestamp) -> Self {
        Self { wall: now, steady: now }
    }
}

impl Now {
    /// The steady time of a reading of the wall clock as it is set now.
    pub fn steady_of(self, wall: Timestamp) -> Timestamp {
        shift(wall, self.ahead())
    }

    /// What the wall clock, as it is set now, showed at a steady time.
    pub fn wall_of(self, steady: Timestamp) -> Timestamp {
        shift(steady, -self.ahead())
    }

    /// By how much the steady clock is ahead.
    fn ahead(self) -> SignedDuration {
        self.steady.duration_since(self.wall)
    }
}

/// The steady clock: what the wall clock showed at the first reading, and CLOCK_BOOTTIME
/// since then, which counts suspends.
#[derive(Clone, Copy, Debug)]
pub struct Steady {
    origin: ClockOffset,
    now: Now,
    /// By how much it was ahead before the wall clock was last set, and when that was found.
    before: Option<(SignedDuration, Timestamp)>,
}

impl Steady {
    /// Begins with a reading of CLOCK_BOOTTIME in nanoseconds, and one of both clocks'
    /// difference.
    pub fn new(boot_ns: u64, offset: ClockOffset) -> Self {
        Self { origin: offset, now: offset.wall(boot_ns).into(), before: None }
    }

    /// Takes the next reading.
    pub fn read(&mut self, boot_ns: u64, offset: ClockOffset) -> Now {
        let now = Now { wall: offset.wall(boot_ns), steady: self.origin.wall(boot_ns).max(self.now.steady) };
        if (now.ahead() - self.now.ahead()).abs() > SET {
            self.before = Some((self.now.ahead(), now.steady));
        } else if self.before.is_some_and(|(_, set)| now.steady.duration_since(set) > STAMPED_BEFORE) {
            self.before = None;
        }
        self.now = now;
        now
    }

    /// The last reading.
    pub fn now(&self) -> Now {
        self.now
    }

    /// The steady time of a stamp that somebody else wrote not long ago. Soon after the
    /// wall clock was set, it can be of before: then it is taken by whichever setting puts
    /// it nearer to now, and not after it.
    pub fn steady_of_stamp(&self, stamp: Timestamp) -> Timestamp {
        let current = self.now.steady_of(stamp);
        let Some((ahead, _)) = self.before else { return current };
        let before = shift(stamp, ahead);
        let distance = |time: Timestamp| {
            let age = self.now.steady.duration_since(time);
            (age < -SET, age.abs())
        };
        if distance(before) < distance(current) { before } else { current }
    }
}

/// Saturates where no timestamp is.
fn shift(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.saturating_add(by).unwrap_or(if by.is_negative() { Timestamp::MIN } else { Timestamp::MAX })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn reading(boot_s: u64, wall_s: i64) -> (u64, ClockOffset) {
        (boot_s * 1_000_000_000, ClockOffset::new(boot_s * 1_000_000_000, at(wall_s)))
    }

    fn steady(boot_s: u64, wall_s: i64) -> Steady {
        let (boot, offset) = reading(boot_s, wall_s);
        Steady::new(boot, offset)
    }

    fn read(steady: &mut Steady, boot_s: u64, wall_s: i64) -> Now {
        let (boot, offset) = reading(boot_s, wall_s);
        steady.read(boot, offset)
    }

    #[test]
    fn it_begins_as_the_wall_clock_and_is_never_set() {
        let mut clock = steady(100, 1_000_000);
        assert_eq!(clock.now(), at(1_000_000).into());
        let back = read(&mut clock, 110, 1_000_010 - 3_600);
        assert_eq!(back, Now { wall: at(1_000_010 - 3_600), steady: at(1_000_010) });
        assert_eq!(back.steady_of(at(1_000_009 - 3_600)), at(1_000_009));
        assert_eq!(back.wall_of(at(1_000_000)), at(1_000_000 - 3_600));
    }

    #[test]
    fn stamps_of_before_the_clock_was_set_are_taken_by_that_clock_for_a_while() {
        for by in [-3_600, 86_400] {
            let mut clock = steady(100, 1_000_000);
            read(&mut clock, 110, 1_000_010 + by);
            assert_eq!(clock.steady_of_stamp(at(1_000_009)), at(1_000_009), "{by}");
            assert_eq!(clock.steady_of_stamp(at(1_000_010 + by)), at(1_000_010), "{by}");
            read(&mut clock, 130, 1_000_030 + by);
            assert_eq!(clock.steady_of_stamp(at(1_000_029 + by)), at(1_000_029), "{by}");
            assert_eq!(clock.before, None);
        }
    }

    proptest! {
        /// Whatever is done to the wall clock, steady seconds are those that have passed.
        #[test]
        fn it_counts_the_seconds_that_passed(
            steps in prop::collection::vec((0u64..100_000, -4_000_000_000i64..4_000_000_000), 1..50),
        ) {
            let (mut clock, mut boot) = (steady(7, 1_000_000), 7);
            for (passed, wall) in steps {
                boot += passed;
                let now = read(&mut clock, boot, wall);
                prop_assert_eq!(now.steady, at(1_000_000 + boot as i64 - 7));
                prop_assert_eq!(now.wall_of(now.steady_of(at(wall - 5))), at(wall - 5));
            }
        }
    }
}
