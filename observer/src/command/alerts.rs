//! Follows how far failures reach while events come in.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::Failure;
use super::live::Live;
use super::unseen::Unseen;
use crate::alert::Alert;
use crate::event::Event;
use crate::scope::ScopeTracker;
use crate::tally::{Budget, Prefixes, Seen, Tallies};

/// Between two looks at the windows, which move in steps of ten seconds.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Counts every event, and says when a scope begins, widens or ends.
pub(super) struct Alerts {
    tallies: Tallies,
    tracker: ScopeTracker,
    unseen: Unseen,
    look_at: Instant,
    now: Timestamp,
}

impl Alerts {
    /// `max_outcomes` is the size of the kernel's table of outcomes.
    pub(super) fn new(max_outcomes: u32) -> Self {
        let budget = Budget { kernel_outcomes: max_outcomes as usize, ..Budget::default() };
        Self {
            tallies: Tallies::new(budget, Prefixes::default()),
            tracker: ScopeTracker::default(),
            unseen: Unseen::default(),
            look_at: Instant::now() + LOOK_EVERY,
            now: Timestamp::now(),
        }
    }

    /// Counts an event; all are wanted, those of successes too.
    pub(super) fn add(&mut self, event: &Event) {
        if let Some(seen) = Seen::from_event(event) {
            self.tallies.add(&seen, self.now);
        }
    }

    /// What has changed; to be called at every tick.
    pub(super) fn tick(&mut self, live: &Live) -> Result<Vec<Alert>, Failure> {
        self.now = Timestamp::now();
        if let Some(counters) = self.unseen.take(live) {
            self.tallies.reconcile(&counters, self.now);
        }
        if Instant::now() < self.look_at {
            return Ok(Vec::new());
        }
        self.look_at = Instant::now() + LOOK_EVERY;
        self.unseen.look(live)?;
        Ok(Alert::of_changes(self.tracker.update(&self.tallies, self.now), live.host()))
    }
}
