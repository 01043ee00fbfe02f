//! Finds attempts that the kernel counted and whose event never came.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::Failure;
use super::live::Live;
use crate::event::Event;
use crate::history::{Look, MinuteKey, Reconciler, minute};

/// Between two comparisons with the kernel's counters, where events were lost.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Attempts by outcome, without a minute.
pub(super) type Counts = Vec<(MinuteKey, u64)>;

/// Compares what events told with what the kernel counted.
pub(super) struct Uncounted {
    reconciler: Reconciler,
    look_at: Instant,
    /// Events lost when it was last looked.
    lost: u64,
}

impl Uncounted {
    /// `max_outcomes` is the size of the kernel's table of outcomes.
    pub(super) fn new(max_outcomes: u32) -> Self {
        let reconciler = Reconciler::new(max_outcomes as usize);
        Self { reconciler, look_at: Instant::now() + LOOK_EVERY, lost: 0 }
    }

    /// An event told of its attempt.
    pub(super) fn told(&mut self, event: &Event) {
        self.told_of(Reconciler::key(event));
    }

    /// As [`Self::told`], by the event's key.
    pub(super) fn told_of(&mut self, key: MinuteKey) {
        self.reconciler.told(key);
    }

    /// What was found; to be called at every tick. `dropped` is how many events were
    /// lost after they had come.
    pub(super) fn look(&mut self, live: &Live, dropped: u64) -> Result<Counts, Failure> {
        if Instant::now() < self.look_at {
            return Ok(Counts::new());
        }
        self.look_at = Instant::now() + LOOK_EVERY;
        let lost = live.lost()? + dropped;
        if lost == self.lost && !self.reconciler.is_suspicious() {
            return Ok(Counts::new());
        }
        self.lost = lost;
        Ok(self.reconciler.missing(&live.outcomes()?, minute(Timestamp::now()), Look::Running))
    }

    /// These are told of now.
    pub(super) fn confirm(&mut self, missing: &Counts) {
        self.reconciler.confirm(missing);
    }

    /// All that is still missing, when nothing comes any more.
    pub(super) fn last(&mut self, live: &Live) -> Result<Counts, Failure> {
        Ok(self.reconciler.missing(&live.outcomes()?, minute(Timestamp::now()), Look::Final))
    }
}
