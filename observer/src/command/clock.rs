//! This host's clocks, read together.

use jiff::Timestamp;
use observer_core::attempt::ClockOffset;
use observer_core::steady::{Now, Steady};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Tries to read both clocks without being interrupted between.
const TRIES: usize = 5;
/// Nanoseconds between two readings that no try makes closer.
const CLOSE_NS: u64 = 1_000;

/// CLOCK_BOOTTIME, in nanoseconds, and what the wall clock shows beyond it. Measured each
/// time: the wall clock may have been set.
///
/// The wall clock is read between two readings of CLOCK_BOOTTIME, and of a few tries the
/// one counts in which they are closest: a task that waits for a CPU between them would
/// shift every time by that wait.
pub(super) fn clocks() -> (u64, ClockOffset) {
    tightest((0..TRIES).map(|_| {
        let before = nanoseconds(clock_gettime(ClockId::Boottime));
        let wall = Timestamp::now();
        (before, wall, nanoseconds(clock_gettime(ClockId::Boottime)))
    }))
}

/// A steady clock that begins now.
pub(super) fn steady() -> Steady {
    let (boot, offset) = clocks();
    Steady::new(boot, offset)
}

/// The next reading of it.
pub(super) fn read(steady: &mut Steady) -> Now {
    let (boot, offset) = clocks();
    steady.read(boot, offset)
}

fn tightest(readings: impl Iterator<Item = (u64, Timestamp, u64)>) -> (u64, ClockOffset) {
    let mut best: Option<(u64, u64, Timestamp)> = None;
    for (before, wall, after) in readings {
        let apart = after.saturating_sub(before);
        if best.is_none_or(|(closest, ..)| apart < closest) {
            best = Some((apart, before + apart / 2, wall));
        }
        if apart <= CLOSE_NS {
            break;
        }
    }
    let (_, boot, wall) = best.unwrap_or_default();
    (boot, ClockOffset::new(boot, wall))
}

fn nanoseconds(time: Timespec) -> u64 {
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_closest_reading_counts() {
        const MS: u64 = 1_000_000;
        let readings =
            [(100 * MS, wall(7), 900 * MS), (1_000 * MS, wall(8), 1_004 * MS), (2_000 * MS, wall(9), 2_050 * MS)];
        let (boot, offset) = tightest(readings.into_iter());
        assert_eq!(boot, 1_002 * MS);
        assert_eq!(offset.wall(1_002 * MS), wall(8));
        // Nothing could be closer.
        let (boot, _) = tightest([(5, wall(1), 6), (7, wall(2), 7)].into_iter());
        assert_eq!(boot, 5);
    }

    #[test]
    fn both_clocks_go_on_together() {
        let (first, offset) = clocks();
        let (second, _) = clocks();
        assert!(second >= first);
        let now = Timestamp::now();
        assert!(now.duration_since(offset.wall(second)).abs().as_secs() < 60, "{now}");
    }
}
