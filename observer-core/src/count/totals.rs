//! The kernel's counts since the programs were attached.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use observer_common::record::OutcomeKey;
use observer_common::stat::{self, Stats};

use super::DestinationSum;
use crate::label::{Label, Reason, label};

/// An outcome, and the destination port of its attempts.
pub type ByPort = (Label, Option<Reason>, u16);

/// The kernel's counts at one time. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// By index of [`stat`], summed over the CPUs.
    pub stats: Stats,
    /// Attempts in flight.
    pub in_flight: u64,
    /// Attempts that ended, by outcome and destination port: those that were
    /// drained. What ends while these are read is in [`Self::stats`] only.
    pub outcomes: Arc<BTreeMap<ByPort, u64>>,
    /// The destinations that failed last; empty where nobody asked for them.
    pub destinations: Arc<Vec<DestinationSum>>,
    /// Destinations that the kernel has forgotten for newer ones.
    pub kernel_forgotten: u64,
    /// The same of [`Self::destinations`].
    pub forgotten: u64,
}

impl Totals {
    /// Counts attempts that ended.
    pub fn add(&mut self, outcomes: &[(OutcomeKey, u64)]) {
        if outcomes.is_empty() {
            return;
        }
        let totals = Arc::make_mut(&mut self.outcomes);
        for (key, count) in outcomes {
            let verdict = label(&key.code);
            *totals.entry((verdict.label, verdict.reason, key.destination.dport)).or_default() += count;
        }
    }

    /// A counter of [`stat`].
    pub fn stat(&self, index: u32) -> u64 {
        self.stats.get(index as usize).copied().unwrap_or(0)
    }

    /// Events committed to the ring buffer.
    pub fn events(&self) -> u64 {
        stat::events(&self.stats)
    }

    /// What was counted since `earlier`; attempts that were in flight then count as
    /// begun since. `events` is how many events of that time went by.
    pub fn since(&self, earlier: &Self, events: u64) -> Self {
        let mut stats = self.stats;
        for (now, then) in stats.iter_mut().zip(earlier.stats) {
            *now = now.saturating_sub(then);
        }
        stats[stat::ATTEMPTS as usize] += earlier.in_flight;
        [stats[stat::EVENTS_EVEN as usize], stats[stat::EVENTS_ODD as usize]] = [events, 0];
        stats[stat::EVENTS_UNKEYED as usize] = 0;
        let before = |key| earlier.outcomes.get(key).copied().unwrap_or(0);
        let more = self.outcomes.iter().map(|(key, count)| (*key, count.saturating_sub(before(key))));
        Self {
            stats,
            in_flight: self.in_flight,
            outcomes: Arc::new(more.filter(|&(_, count)| count > 0).collect()),
            destinations: Arc::new(self.destinations_since(earlier)),
            kernel_forgotten: self.kernel_forgotten.saturating_sub(earlier.kernel_forgotten),
            forgotten: self.forgotten.saturating_sub(earlier.forgotten),
        }
    }

    fn destinations_since(&self, earlier: &Self) -> Vec<DestinationSum> {
        let before: HashMap<_, _> = earlier.destinations.iter().map(|known| ((known.ip, known.port), known)).collect();
        let more = self.destinations.iter().map(|known| match before.get(&(known.ip, known.port)) {
            Some(earlier) => known.since(earlier),
            None => known.clone(),
        });
        more.filter(|known| !known.is_idle()).collect()
    }
}
