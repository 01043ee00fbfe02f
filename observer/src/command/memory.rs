//! What a flood took of memory goes back to the system when it is over.

use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at how much there is to do.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Attempts between two looks that are a flood.
const FLOOD: u64 = 20_000;
/// Of a flood that is over there come no more than so many.
const OVER: u64 = FLOOD / 10;

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
        if self.flood.is_over(attempts()) {
            // It takes milliseconds, which no event may wait. Without a thread it has to do without.
            // SAFETY: takes and gives a number.
            let _ = thread::Builder::new().name("trim".to_owned()).spawn(|| unsafe { libc::malloc_trim(0) });
        }
    }
}

impl Flood {
    /// True once after each flood.
    fn is_over(&mut self, attempts: u64) -> bool {
        let new = attempts.saturating_sub(self.attempts);
        self.attempts = attempts;
        if new >= FLOOD {
            self.is_on = true;
        }
        let is_over = self.is_on && new <= OVER;
        self.is_on &= !is_over;
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_over_once() {
        let mut flood = Flood::default();
        let seen = [0, FLOOD - 1, FLOOD * 2, FLOOD * 4, FLOOD * 4 + OVER + 1, FLOOD * 4 + OVER + 2, FLOOD * 5 - 1];
        assert_eq!(seen.map(|attempts| flood.is_over(attempts)), [false, false, false, false, false, true, false]);
    }
}
