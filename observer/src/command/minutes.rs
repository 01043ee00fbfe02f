//! Counts for each minute, those of attempts whose event was lost among them.

use jiff::Timestamp;

use super::Failure;
use super::live::Live;
use super::uncounted::{Counts, Uncounted};
use crate::event::Event;
use crate::minute::{Minute, Minutes, Outcome};

/// Counts every event, and what the kernel counted beside.
pub(super) struct MinuteCounts {
    minutes: Minutes,
    uncounted: Uncounted,
}

impl MinuteCounts {
    /// `max_outcomes` is the size of the kernel's table of outcomes.
    pub(super) fn new(max_outcomes: u32) -> Self {
        Self { minutes: Minutes::new(Timestamp::now()), uncounted: Uncounted::new(max_outcomes) }
    }

    /// Counts an event.
    pub(super) fn add(&mut self, event: &Event) {
        self.minutes.add(event.time, Outcome::from(event), 1);
        self.uncounted.told(event);
    }

    /// The minutes that are over; to be called at every tick.
    pub(super) fn tick(&mut self, live: &Live) -> Result<Vec<Minute>, Failure> {
        let missing = self.uncounted.look(live, 0)?;
        self.add_missing(&missing);
        self.uncounted.confirm(&missing);
        Ok(self.minutes.take(Timestamp::now(), live.host()))
    }

    /// The rest, when nothing comes any more.
    pub(super) fn last(&mut self, live: &Live) -> Result<Vec<Minute>, Failure> {
        let missing = self.uncounted.last(live)?;
        self.add_missing(&missing);
        Ok(self.minutes.take_all(live.host()))
    }

    fn add_missing(&mut self, missing: &Counts) {
        let now = Timestamp::now();
        for (key, count) in missing {
            let outcome = Outcome {
                src_ip: key.src_ip,
                dst_ip: key.dst_ip,
                dst_port: Some(key.dst_port).filter(|&port| port != 0),
                label: key.label,
                reason: key.reason,
            };
            self.minutes.add(now, outcome, *count);
        }
    }
}
