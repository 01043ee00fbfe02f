//! The kernel's counts since the programs were attached.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use observer_common::stat::{self, Stats};

use super::{DestinationSum, Known};

/// The kernel's counts at one time, with what is known of how attempts ended. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// By index of [`stat`], summed over the CPUs. Of [`stat::OUTCOMES`] those that are known.
    pub stats: Stats,
    /// Attempts in flight, [`Self::unread`] among them.
    pub in_flight: u64,
    /// Attempts that ended, and whose event or counter was not read yet.
    pub unread: u64,
    /// How attempts ended.
    pub known: Known,
    /// The destinations that failed last; empty where nobody asked for them.
    pub destinations: Arc<Vec<DestinationSum>>,
    /// Destinations that the kernel has forgotten for newer ones.
    pub kernel_forgotten: u64,
}

impl Totals {
    /// What was `known` before the kernel's counters were read twice. However the CPUs count
    /// while they are read one after the other: whatever the first reading counts as ended, the
    /// second counts as begun. So what is left over is in flight, or was not read yet.
    pub fn new(known: Known, first: &Stats, second: &Stats) -> Self {
        let mut stats = *second;
        for index in [stat::OUTCOMES, stat::OUTCOMES_FULL, stat::LOST_ATTEMPTS_FULL] {
            stats[index as usize] = first[index as usize];
        }
        let [begun, ended] = [stat::ATTEMPTS, stat::OUTCOMES].map(|index| stats[index as usize]);
        let unread = ended.saturating_sub(known.total() + stats[stat::OUTCOMES_FULL as usize]);
        stats[stat::OUTCOMES as usize] -= unread;
        let gone = ended + stats[stat::LOST_ATTEMPTS_FULL as usize];
        Self { stats, in_flight: begun.saturating_sub(gone) + unread, unread, known, ..Self::default() }
    }

    /// A counter of [`stat`].
    pub fn stat(&self, index: u32) -> u64 {
        self.stats.get(index as usize).copied().unwrap_or(0)
    }

    /// Events committed to the ring buffer.
    pub fn events(&self) -> u64 {
        self.stat(stat::EVENTS)
    }

    /// What was counted since `earlier`; attempts that were in flight then count as
    /// begun since. `events` is how many events of that time went by.
    pub fn since(&self, earlier: &Self, events: u64) -> Self {
        let mut stats = self.stats;
        for (now, then) in stats.iter_mut().zip(earlier.stats) {
            *now = now.saturating_sub(then);
        }
        stats[stat::ATTEMPTS as usize] += earlier.in_flight;
        stats[stat::EVENTS as usize] = events;
        let before = |key| earlier.known.outcomes.get(key).copied().unwrap_or(0);
        let more = self.known.outcomes.iter().map(|(key, count)| (*key, count.saturating_sub(before(key))));
        let known = Known {
            outcomes: Arc::new(more.filter(|&(_, count)| count > 0).collect::<BTreeMap<_, _>>()),
            undecodable: self.known.undecodable.saturating_sub(earlier.known.undecodable),
            forgotten: self.known.forgotten.saturating_sub(earlier.known.forgotten),
        };
        Self {
            stats,
            in_flight: self.in_flight,
            unread: self.unread,
            known,
            destinations: Arc::new(self.destinations_since(earlier)),
            kernel_forgotten: self.kernel_forgotten.saturating_sub(earlier.kernel_forgotten),
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

#[cfg(test)]
mod tests;
