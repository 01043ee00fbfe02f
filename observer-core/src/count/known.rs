//! How attempts ended, as far as it is known: told by their events, or counted by the
//! kernel where there was no event.

use std::collections::BTreeMap;
use std::sync::Arc;

use observer_common::record::OutcomeKey;

use super::{DestinationSum, Destinations};
use crate::label::{Label, Reason, label};

/// An outcome, and the destination port of its attempts.
pub type ByPort = (Label, Option<Reason>, u16);

/// The sums at one time. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// By outcome and destination port.
    pub outcomes: Arc<BTreeMap<ByPort, u64>>,
    /// Attempts whose record could not be decoded: how they ended is not known.
    pub undecodable: u64,
    /// Destinations that had to go for newer ones.
    pub forgotten: u64,
}

impl Known {
    /// Attempts of which all is known that will be.
    pub fn total(&self) -> u64 {
        self.outcomes.values().sum::<u64>() + self.undecodable
    }

    /// Counts attempts that ended.
    pub fn add(&mut self, ends: &[(OutcomeKey, u64)]) {
        if ends.is_empty() {
            return;
        }
        let sums = Arc::make_mut(&mut self.outcomes);
        for (key, count) in ends {
            let verdict = label(&key.code);
            *sums.entry((verdict.label, verdict.reason, key.destination.dport)).or_default() += count;
        }
    }
}

/// The sums while they grow, with the destinations that failed last.
#[derive(Debug)]
pub struct KnownEnds {
    known: Known,
    destinations: Destinations,
}

impl KnownEnds {
    /// With room for so many destinations.
    pub fn new(max_destinations: usize) -> Self {
        Self { known: Known::default(), destinations: Destinations::new(max_destinations) }
    }

    /// Counts attempts that ended, and records that could not be decoded.
    pub fn add(&mut self, ends: &[(OutcomeKey, u64)], undecodable: u64) {
        self.known.add(ends);
        self.known.undecodable += undecodable;
        for (key, count) in ends {
            self.destinations.add(key, *count);
        }
        self.known.forgotten = self.destinations.forgotten();
    }

    /// The sums as they are now.
    pub fn known(&self) -> Known {
        self.known.clone()
    }

    /// The same by destination.
    pub fn destinations(&self) -> Vec<DestinationSum> {
        self.destinations.sums()
    }
}
