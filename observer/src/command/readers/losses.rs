//! What readers did not get, all of them together.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count that many add to.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(super) struct Losses {
    /// Events that readers were too slow for.
    pub(super) events: Count,
    /// Readers for whom there was no place.
    pub(super) readers: Count,
    /// Who would probe, and was not admitted.
    pub(super) probers: Count,
    /// Who probed more, or for longer, than goes unrecorded.
    pub(super) probes: Count,
}

impl Losses {
    /// Who met which limit.
    pub(super) fn limits(&self) -> [(&'static str, u64); 3] {
        let probes = "connections and time of a prober";
        [("readers", self.readers.get()), ("probers", self.probers.get()), (probes, self.probes.get())]
    }
}
