//! What a flood took of memory goes back to the system when it is over.

use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at how much there is to do.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Attempts between two looks that are a flood.
const FLOOD: u64 = 20_000;
/// Of a flood that is over there come no more than so many.
const OVER: u64 = FLOOD / 10;
/// Looks after the end of a flood at which memory is given back: what it filled may be emptied
/// only minutes later, such as history's queue.
const AFTER: [u32; 3] = [0, 3, 12];

/// Few arenas, and large blocks mapped on their own, whatever was freed before.
pub(super) fn keep_small() {
    const ARENAS: libc::c_int = 2;
    const LARGE: libc::c_int = 64 << 10;
    // SAFETY: these take numbers only; one that the C library does not know is ignored.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, LARGE);
    }
}

/// Gives back small blocks too, after a flood: they are freed in the midst of others.
pub(super) struct Memory {
    look_at: Instant,
    flood: Flood,
}

#[derive(Default)]
struct Flood {
    attempts: u64,
    is_on: bool,
    /// Looks since the last one was over; `None` before that.
    looks: Option<u32>,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self { look_at: Instant::now() + LOOK_EVERY, flood: Flood::default() }
    }

    /// To be called at every tick; `attempts` says how many there were until now.
    pub(super) fn tick(&mut self, attempts: impl FnOnce() -> u64) {
        if Instant::now() < self.look_at {
            return;
        }
        self.look_at = Instant::now() + LOOK_EVERY;
        if self.flood.is_due(attempts()) {
            // It takes milliseconds, which no event may wait. Without a thread it has to do without.
            // SAFETY: takes and gives a number.
            let _ = thread::Builder::new().name("trim".to_owned()).spawn(|| unsafe { libc::malloc_trim(0) });
        }
    }
}

impl Flood {
    /// True at each of the looks [`AFTER`] a flood, until the next one.
    fn is_due(&mut self, attempts: u64) -> bool {
        let new = attempts.saturating_sub(self.attempts);
        self.attempts = attempts;
        if new >= FLOOD {
            self.is_on = true;
            self.looks = None;
        } else if self.is_on && new <= OVER {
            self.is_on = false;
            self.looks = Some(0);
        } else {
            self.looks = self.looks.map(|looks| looks.saturating_add(1));
        }
        self.looks.is_some_and(|looks| AFTER.contains(&looks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_over_once() {
        let mut flood = Flood::default();
        let seen = [0, FLOOD - 1, FLOOD * 2, FLOOD * 4, FLOOD * 4 + OVER + 1, FLOOD * 4 + OVER + 2, FLOOD * 5 - 1];
        assert_eq!(seen.map(|attempts| flood.is_due(attempts)), [false, false, false, false, false, true, false]);
    }

    #[test]
    fn memory_is_given_back_again_when_queues_are_empty() {
        let mut flood = Flood::default();
        flood.is_due(FLOOD);
        let due: Vec<_> = (0..20).filter(|_| flood.is_due(FLOOD)).collect();
        assert_eq!(due, [0, 3, 12]);
        assert!(!flood.is_due(FLOOD * 2), "another one has begun");
        assert!(flood.is_due(FLOOD * 2));
    }
}
