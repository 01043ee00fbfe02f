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
    /// begun since, and one whose outcome was not drained yet as in flight. `events` is how many events of that time went by.
    pub fn since(&self, earlier: &Self, events: u64) -> Self {
        let (undrained, before) = (self.undrained(), earlier.undrained());
        let mut stats = self.stats;
        for (now, then) in stats.iter_mut().zip(earlier.stats) {
            *now = now.saturating_sub(then);
        }
        stats[stat::ATTEMPTS as usize] += earlier.in_flight + before;
        stats[stat::OUTCOMES as usize] = (stats[stat::OUTCOMES as usize] + before).saturating_sub(undrained);
        [stats[stat::EVENTS_EVEN as usize], stats[stat::EVENTS_ODD as usize]] = [events, 0];
        stats[stat::EVENTS_UNKEYED as usize] = 0;
        let before = |key| earlier.outcomes.get(key).copied().unwrap_or(0);
        let more = self.outcomes.iter().map(|(key, count)| (*key, count.saturating_sub(before(key))));
        Self {
            stats,
            in_flight: self.in_flight + undrained,
            outcomes: Arc::new(more.filter(|&(_, count)| count > 0).collect()),
            destinations: Arc::new(self.destinations_since(earlier)),
            kernel_forgotten: self.kernel_forgotten.saturating_sub(earlier.kernel_forgotten),
            forgotten: self.forgotten.saturating_sub(earlier.forgotten),
        }
    }

    /// Attempts that had ended, and how was not drained yet.
    fn undrained(&self) -> u64 {
        let known = self.outcomes.values().sum::<u64>() + self.stat(stat::OUTCOMES_FULL);
        self.stat(stat::OUTCOMES).saturating_sub(known)
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
mod tests {
    use super::*;
    use crate::ledger::Ledger;

    /// So many attempts began and ended, and so many outcomes of those were drained.
    fn totals(attempts: u64, ended: u64, drained: u64) -> Totals {
        let mut totals = Totals { in_flight: attempts - ended, ..Totals::default() };
        totals.stats[stat::ATTEMPTS as usize] = attempts;
        totals.stats[stat::OUTCOMES as usize] = ended;
        totals.outcomes = Arc::new([((Label::Refused, Some(Reason::Rst), 25), drained)].into());
        totals
    }

    #[test]
    fn the_time_between_two_readings_balances_whatever_was_drained() {
        for (before, after) in [
            (totals(10, 8, 5), totals(30, 30, 30)),
            (totals(10, 8, 8), totals(30, 28, 20)),
            (totals(10, 8, 3), totals(30, 28, 20)),
        ] {
            let ledger = Ledger::new(&after.since(&before, 0), 0);
            assert_eq!(ledger.imbalance(), 0, "{ledger:?}");
            assert_eq!(ledger.outcomes_unlabelled, 0, "{ledger:?}");
        }
    }

    #[test]
    fn what_was_counted_in_total_only_has_ended() {
        let (before, mut after) = (totals(10, 10, 10), totals(30, 30, 25));
        after.stats[stat::OUTCOMES_FULL as usize] = 5;
        let ledger = Ledger::new(&after.since(&before, 0), 0);
        assert_eq!((ledger.imbalance(), ledger.in_flight, ledger.outcomes_unlabelled), (0, 0, 5));
    }
}
