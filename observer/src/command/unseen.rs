//! What the kernel counted and no event showed.

use super::Failure;
use super::live::Live;
use crate::ledger::Counters;

/// Makes up for events that were lost, from the kernel's counters.
#[derive(Default)]
pub(super) struct Unseen {
    /// Events that had been lost at the last look.
    lost: u64,
    /// Counters that were read, and whose events may not all have been taken.
    read: Option<Counters>,
}

impl Unseen {
    /// Counters to reconcile with, once every event that they count has been
    /// taken or is lost. To be called before [`Self::look`].
    pub(super) fn take(&mut self, live: &Live) -> Option<Counters> {
        self.read.take_if(|_| live.is_drained())
    }

    /// Reads the kernel's counters if events have been lost since the last look.
    pub(super) fn look(&mut self, live: &Live) -> Result<(), Failure> {
        let lost = live.lost()?;
        if lost != self.lost {
            *self = Self { lost, read: Some(live.counters()?) };
        }
        Ok(())
    }
}
