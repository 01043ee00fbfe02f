//! Counts for each minute, those of attempts whose event was lost among them.

use jiff::Timestamp;
use observer_core::count::Ended;
use observer_core::event::{Event, Host};
use observer_core::minute::{Minute, MinuteOutcome, Minutes};

/// Counts every event, and what the kernel counted beside.
pub(super) struct MinuteCounts {
    minutes: Minutes,
    host: Host,
    /// Told before their minute was over.
    early: u64,
}

impl MinuteCounts {
    pub(super) fn new(host: Host) -> Self {
        Self { minutes: Minutes::new(Timestamp::now()), host, early: 0 }
    }

    /// Counts an event. Gives what is told now because there is no room for it.
    pub(super) fn add(&mut self, event: &Event) -> Vec<Minute> {
        self.minutes.add(event.time, MinuteOutcome::from(event), 1);
        self.overflow()
    }

    fn overflow(&mut self) -> Vec<Minute> {
        let told = self.minutes.overflow(&self.host);
        self.early += told.len() as u64;
        told
    }

    /// Counts attempts of which no event came, as if they had ended now. Gives the
    /// same as [`Self::add`].
    pub(super) fn missing(&mut self, missing: &[(Ended, u64)]) -> Vec<Minute> {
        let now = Timestamp::now();
        let mut told = Vec::new();
        for (ended, count) in missing {
            self.minutes.add(now, MinuteOutcome::from(ended), *count);
            told.extend(self.overflow());
        }
        told
    }

    /// The minutes that are over; to be called at every tick.
    pub(super) fn tick(&mut self) -> Vec<Minute> {
        self.minutes.take(Timestamp::now(), &self.host)
    }

    /// What was told in parts, because there was no room.
    pub(super) fn early(&self) -> u64 {
        self.early
    }

    /// The rest, when nothing comes any more.
    pub(super) fn last(&mut self) -> Vec<Minute> {
        self.minutes.take_all(&self.host)
    }
}
